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

static struct zoneref *cdm_test_list(int nid)
{
	return cdm_lists[nid].zonelists[ZONELIST_FALLBACK]._zonerefs;
}

static void cdm_test_rebuild(struct cdm_memory *mem, bool closed)
{
	assign_bit(CDM_CLOSED_SUSPENDED, &mem->closed, closed);
	mem_hotplug_begin();
	__cdm_build_zonelists();
	mem_hotplug_done();
}

static void cdm_test_closed(struct kunit *test, const struct zoneref *before,
			    const struct zoneref *list, int nr_zones, int nid)
{
	int i;

	KUNIT_EXPECT_FALSE(test, node_isset(nid, cdm_usable_nodes));
	for (i = 0; i < nr_zones && list[i].zone; i++) {
		KUNIT_EXPECT_PTR_EQ(test, before[i].zone, list[i].zone);
		KUNIT_EXPECT_EQ(test, list[i].zone_idx,
				zone_to_nid(list[i].zone) == nid ?
				MAX_NR_ZONES : before[i].zone_idx);
	}
	KUNIT_EXPECT_EQ(test, i, num_possible_nodes() * MAX_NR_ZONES);
}

/* An allocator holds pointers into a list: no zone may ever leave its place. */
static void cdm_test_places(struct kunit *test)
{
	int nr_zones = nr_node_ids * MAX_NR_ZONES, nid = first_online_node;
	size_t size = nr_zones * sizeof(struct zoneref);
	struct cdm_memory mem = { .nid = nid, .range.end = PAGE_SIZE - 1 };
	struct zoneref *before, *list;

	before = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, before);
	KUNIT_ASSERT_EQ(test, 0, cdm_alloc_lists());
	KUNIT_ASSERT_EQ(test, 0, cdm_causes_add(&mem));
	cdm_test_rebuild(&mem, false);
	list = cdm_test_list(nid);
	memcpy(before, list, size);

	cdm_test_rebuild(&mem, true);
	cdm_test_closed(test, before, list, nr_zones, nid);
	cdm_test_rebuild(&mem, false);
	KUNIT_EXPECT_MEMEQ(test, before, list, size);

	cdm_node_shut(nid);
	cdm_test_closed(test, before, list, nr_zones, nid);
	cdm_test_rebuild(&mem, false);
	KUNIT_EXPECT_MEMEQ(test, before, list, size);
	cdm_causes_del(&mem);
	kvfree(mem.causes);
}

static struct kunit_case cdm_node_cases[] = {
	KUNIT_CASE(cdm_test_places),
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
