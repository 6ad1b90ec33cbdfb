/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of the checks at registration; included by core.c.
 */
#ifndef _MM_CDM_TESTS_CORE_KUNIT_H
#define _MM_CDM_TESTS_CORE_KUNIT_H

#include <kunit/test.h>

#define MIB(n)	((u64)(n) << 20)
#define RANGE(from, to)	(&(struct range){ .start = (from), .end = (to) - 1 })

static void cdm_test_compare(struct kunit *test)
{
	const struct range *old = RANGE(MIB(256), MIB(512));

	KUNIT_EXPECT_EQ(test, -EALREADY,
			cdm_compare(old, RANGE(MIB(256), MIB(512))));
	KUNIT_EXPECT_EQ(test, -EEXIST,
			cdm_compare(old, RANGE(MIB(256), MIB(384))));
	KUNIT_EXPECT_EQ(test, -EEXIST,
			cdm_compare(old, RANGE(MIB(384), MIB(640))));
	KUNIT_EXPECT_EQ(test, -EEXIST,
			cdm_compare(old, RANGE(MIB(128), MIB(640))));
	/* neighbours */
	KUNIT_EXPECT_EQ(test, 0, cdm_compare(old, RANGE(MIB(512), MIB(640))));
	KUNIT_EXPECT_EQ(test, 0, cdm_compare(old, RANGE(MIB(128), MIB(256))));
}

static void cdm_test_numbers(struct kunit *test)
{
	const struct range *all = RANGE(0, MIB(4096));

	KUNIT_EXPECT_EQ(test, 0,
			cdm_check_numbers(RANGE(MIB(128), MIB(384)), MIB(128),
					  all));
	KUNIT_EXPECT_EQ(test, 0,
			cdm_check_numbers(RANGE(MIB(3968), MIB(4096)),
					  MIB(128), all));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			cdm_check_numbers(RANGE(MIB(64), MIB(256)), MIB(128),
					  all));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			cdm_check_numbers(RANGE(MIB(128), MIB(256) + 1),
					  MIB(128), all));
	KUNIT_EXPECT_EQ(test, -ERANGE,
			cdm_check_numbers(RANGE(MIB(3968), MIB(4224)),
					  MIB(128), all));
	/* empty, and upside down */
	KUNIT_EXPECT_EQ(test, -ERANGE,
			cdm_check_numbers(RANGE(MIB(128), MIB(128)), MIB(128),
					  all));
	KUNIT_EXPECT_EQ(test, -ERANGE,
			cdm_check_numbers(RANGE(MIB(256), MIB(128)), MIB(128),
					  all));
}

static void cdm_test_memmap_size(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, (u64)sizeof(struct page),
			cdm_memmap_size(PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, cdm_memmap_size(0));
	KUNIT_EXPECT_EQ(test, sizeof(struct page) * MIB(1024) / PAGE_SIZE,
			cdm_memmap_size(MIB(1024)));
}

static struct kunit_case cdm_core_cases[] = {
	KUNIT_CASE(cdm_test_compare),
	KUNIT_CASE(cdm_test_numbers),
	KUNIT_CASE(cdm_test_memmap_size),
	{}
};

static struct kunit_suite cdm_core_suite = {
	.name = "cdm_core",
	.test_cases = cdm_core_cases,
};

kunit_test_suite(cdm_core_suite);

#endif /* _MM_CDM_TESTS_CORE_KUNIT_H */
