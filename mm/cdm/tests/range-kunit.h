/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of the fast path; included by range.c.
 */
#ifndef _MM_CDM_TESTS_RANGE_KUNIT_H
#define _MM_CDM_TESTS_RANGE_KUNIT_H

#include <kunit/test.h>

#include <linux/mman.h>
#include <linux/uaccess.h>

/* The one folio that comes along, and for how many entries interrupts were disabled. */
struct cdm_test_idle {
	struct folio *folio;
	unsigned int nr_disabled;
};

static int cdm_test_isolate_at(struct cdm_range *range, unsigned int nr,
			       pte_t *pte, struct cdm_lru *lru,
			       unsigned int *nr_pages)
{
	struct cdm_test_idle *idle = kunit_get_current_test()->priv;

	*nr_pages = 1;
	if (!nr) {
		cdm_lru_lock(lru, idle->folio);
		range->nr++;
	}
	idle->nr_disabled += irqs_disabled();
	return -EAGAIN;
}

/* The lock of the LRU is not kept for entries that are of no interest. */
static void cdm_test_lock_is_bounded(struct kunit *test)
{
	struct cdm_test_idle idle = { };
	struct cdm_range range = { };
	unsigned long addr;
	struct page *page;
	int *status;

	status = kunit_kcalloc(test, CDM_BATCH, sizeof(*status), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, status);
	addr = kunit_vm_mmap(test, NULL, 0, 2 * PMD_SIZE,
			     PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, 0UL, addr);
	addr = ALIGN(addr, PMD_SIZE);
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)addr));
	KUNIT_ASSERT_EQ(test, 1,
			get_user_pages_fast(addr, 1, FOLL_WRITE, &page));
	idle.folio = page_folio(page);

	mmap_read_lock(current->mm);
	range.vma = vma_lookup(current->mm, addr);
	range.pmd = mm_find_pmd(current->mm, addr);
	range.start = addr;
	range.end = addr + CDM_BATCH * PAGE_SIZE;
	range.from = folio_nid(idle.folio);
	test->priv = &idle;
	kunit_activate_static_stub(test, cdm_isolate_at, cdm_test_isolate_at);
	if (range.pmd)
		cdm_range_isolate(&range, status);
	kunit_deactivate_static_stub(test, cdm_isolate_at);
	mmap_read_unlock(current->mm);
	put_page(page);

	KUNIT_EXPECT_EQ(test, 1U, range.nr);
	KUNIT_EXPECT_LT(test, 0U, idle.nr_disabled);
	KUNIT_EXPECT_GE(test, SWAP_CLUSTER_MAX + 1, idle.nr_disabled);
}

static struct kunit_case cdm_range_cases[] = {
	KUNIT_CASE(cdm_test_lock_is_bounded),
	{}
};

static struct kunit_suite cdm_range_suite = {
	.name = "cdm_range",
	.test_cases = cdm_range_cases,
};

kunit_test_suite(cdm_range_suite);

#endif /* _MM_CDM_TESTS_RANGE_KUNIT_H */
