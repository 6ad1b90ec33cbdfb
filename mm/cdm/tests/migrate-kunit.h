/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of migration for drivers; included by migrate.c. Nothing moves, so that
 * nothing depends on what nodes there are.
 */
#ifndef _MM_CDM_TESTS_MIGRATE_KUNIT_H
#define _MM_CDM_TESTS_MIGRATE_KUNIT_H

#include <kunit/test.h>

#include <linux/mman.h>
#include <linux/uaccess.h>

/* How often the batches of the CPUs have been drained. */
static void cdm_test_drain_lru(void)
{
	int *nr_drains = kunit_get_current_test()->priv;

	(*nr_drains)++;
}

/* A folio of its own in each of two batches, which somebody else has isolated. */
static struct folio *cdm_test_isolated(struct kunit *test, unsigned long addr)
{
	struct page *page;

	KUNIT_ASSERT_EQ(test, 0, put_user(1, (int __user *)addr));
	KUNIT_ASSERT_EQ(test, 1,
			get_user_pages_fast(addr, 1, FOLL_WRITE, &page));
	lru_add_drain_all();
	KUNIT_ASSERT_TRUE(test, folio_isolate_lru(page_folio(page)));
	return page_folio(page);
}

/* A call drains the batches of all CPUs once at most. */
static void cdm_test_drains_once(struct kunit *test)
{
	struct cdm_move move = {
		.from = NUMA_NO_NODE,
		.nid = numa_node_id() + 1,
		.reason = MR_DEVICE,
		.end_pfn = ULONG_MAX,
	};
	const unsigned long size = CDM_BATCH * PAGE_SIZE;
	struct cdm_scratch scratch = { };
	struct folio *folios[2];
	unsigned long addr;
	int i, nr_drains = 0;

	addr = kunit_vm_mmap(test, NULL, 0, 3 * size, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, 0UL, addr);
	addr = ALIGN(addr, size);
	KUNIT_ASSERT_EQ(test, 0, cdm_scratch_alloc(&scratch, GFP_KERNEL));
	for (i = 0; i < 2; i++)
		folios[i] = cdm_test_isolated(test, addr + i * size);
	test->priv = &nr_drains;
	kunit_activate_static_stub(test, cdm_drain_lru, cdm_test_drain_lru);
	move.mm = current->mm;
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, 1,
				cdm_migrate_batch(&move, addr + i * size, 1,
						  &scratch));
	kunit_deactivate_static_stub(test, cdm_drain_lru);
	KUNIT_EXPECT_EQ(test, 1, nr_drains);
	for (i = 0; i < 2; i++) {
		folio_putback_lru(folios[i]);
		folio_put(folios[i]);
	}
	cdm_scratch_free(&scratch);
}

static struct kunit_case cdm_migrate_cases[] = {
	KUNIT_CASE(cdm_test_drains_once),
	{}
};

static struct kunit_suite cdm_migrate_suite = {
	.name = "cdm_migrate",
	.test_cases = cdm_migrate_cases,
};

kunit_test_suite(cdm_migrate_suite);

#endif /* _MM_CDM_TESTS_MIGRATE_KUNIT_H */
