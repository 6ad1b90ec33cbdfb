/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of the loss of a device; included by lost.c. Nothing of it depends on
 * where the folio is.
 */
#ifndef _MM_CDM_TESTS_LOST_KUNIT_H
#define _MM_CDM_TESTS_LOST_KUNIT_H

#include <kunit/test.h>

#include <linux/mman.h>
#include <linux/uaccess.h>

/* The mapping of a page, and what its reverse map is found by. */
struct cdm_test_mapping {
	unsigned long addr;
	struct anon_vma *anon_vma;
	int nr_refs;		/* on the latter, when the page tables are walked */
};

/* The process ends between the time that it loses a page and the walk. */
static void cdm_test_mark_ptes(struct folio *folio, bool locked)
{
	struct kunit *test = kunit_get_current_test();
	struct cdm_test_mapping *map = test->priv;

	KUNIT_EXPECT_FALSE(test, folio_mapped(folio));
	KUNIT_EXPECT_EQ(test, 0, vm_munmap(map->addr, PAGE_SIZE));
	map->nr_refs = atomic_read(&map->anon_vma->refcount);
}

static void cdm_test_lose_exit(struct kunit *test)
{
	struct cdm_test_mapping map = { };
	struct cdm_loss loss = { };
	struct folio *folio;
	struct page *page;

	map.addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
				 PROT_READ | PROT_WRITE,
				 MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, 0UL, map.addr);
	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)map.addr));
	KUNIT_ASSERT_EQ(test, 1,
			get_user_pages_fast(map.addr, 1, FOLL_WRITE, &page));
	folio = page_folio(page);
	map.anon_vma = folio_anon_vma(folio);
	KUNIT_ASSERT_NOT_NULL(test, map.anon_vma);
	test->priv = &map;
	kunit_activate_static_stub(test, cdm_mark_ptes, cdm_test_mark_ptes);
	cdm_lose_folio(folio, &loss);
	kunit_deactivate_static_stub(test, cdm_mark_ptes);
	KUNIT_EXPECT_EQ(test, 1UL, loss.nr_lost);
	KUNIT_EXPECT_LT(test, 0, map.nr_refs);
	folio_put(folio);
}

static struct kunit_case cdm_lost_cases[] = {
	KUNIT_CASE(cdm_test_lose_exit),
	{}
};

static struct kunit_suite cdm_lost_suite = {
	.name = "cdm_lost",
	.test_cases = cdm_lost_cases,
};

kunit_test_suite(cdm_lost_suite);

#endif /* _MM_CDM_TESTS_LOST_KUNIT_H */
