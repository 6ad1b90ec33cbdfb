/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of the choice of nodes; included by node.c.
 */
#ifndef _MM_CDM_TESTS_NODE_KUNIT_H
#define _MM_CDM_TESTS_NODE_KUNIT_H

#include <kunit/test.h>

static void cdm_test_nearest_none(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, NUMA_NO_NODE,
			cdm_nearest_node(0, &NODE_MASK_NONE));
}

static void cdm_test_nearest_self(struct kunit *test)
{
	int nid;

	for_each_online_node(nid)
		KUNIT_EXPECT_EQ(test, nid,
				cdm_nearest_node(nid, &node_states[N_ONLINE]));
}

/* Taking the nearest of what is left must go through the distances in order. */
static void cdm_test_nearest_order(struct kunit *test)
{
	nodemask_t left = node_states[N_ONLINE];
	int first = first_online_node, last = 0, n = 0, nid;

	while ((nid = cdm_nearest_node(first, &left)) != NUMA_NO_NODE) {
		KUNIT_EXPECT_GE(test, node_distance(first, nid), last);
		last = node_distance(first, nid);
		node_clear(nid, left);
		n++;
	}
	KUNIT_EXPECT_EQ(test, n, num_online_nodes());
}

static struct kunit_case cdm_node_cases[] = {
	KUNIT_CASE(cdm_test_nearest_none),
	KUNIT_CASE(cdm_test_nearest_self),
	KUNIT_CASE(cdm_test_nearest_order),
	{}
};

static struct kunit_suite cdm_node_suite = {
	.name = "cdm_node",
	.test_cases = cdm_node_cases,
};

kunit_test_suite(cdm_node_suite);

#endif /* _MM_CDM_TESTS_NODE_KUNIT_H */
