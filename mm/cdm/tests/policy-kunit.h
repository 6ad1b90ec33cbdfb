/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests of narrowing and rebinding; included by policy.c. In all of them
 * nodes 2 and 3 are devices.
 */
#ifndef _MM_CDM_TESTS_POLICY_KUNIT_H
#define _MM_CDM_TESTS_POLICY_KUNIT_H

#include <kunit/test.h>

#define CDM_DEVICES	0xc
#define CDM_WEIGHTED	0x8

static nodemask_t cdm_mask(unsigned long bits)
{
	nodemask_t mask = NODE_MASK_NONE;

	nodes_addr(mask)[0] = bits;
	return mask;
}

static unsigned long cdm_bits(const nodemask_t *mask)
{
	return nodes_addr(*mask)[0];
}

static void cdm_expect_narrow(struct kunit *test, unsigned short mode,
			      unsigned long nodes, unsigned long kept,
			      unsigned long ram, bool named)
{
	nodemask_t devices = cdm_mask(CDM_DEVICES);
	nodemask_t weighted = cdm_mask(CDM_WEIGHTED);
	nodemask_t mask = cdm_mask(nodes), asked = mask, ram_mask;

	KUNIT_EXPECT_EQ(test, named,
			cdm_narrow(mode, &mask, &ram_mask, &asked, &devices,
				   &weighted));
	KUNIT_EXPECT_EQ(test, kept, cdm_bits(&mask));
	KUNIT_EXPECT_EQ(test, ram, cdm_bits(&ram_mask));
}

static void cdm_test_narrow_bind(struct kunit *test)
{
	/* bind is literal */
	cdm_expect_narrow(test, MPOL_BIND, 0x4, 0x4, 0x0, true);
	cdm_expect_narrow(test, MPOL_BIND, 0x7, 0x7, 0x3, true);
	cdm_expect_narrow(test, MPOL_BIND, 0x3, 0x3, 0x3, false);
	cdm_expect_narrow(test, MPOL_PREFERRED, 0x8, 0x8, 0x0, true);
}

static void cdm_test_narrow_spread(struct kunit *test)
{
	static const unsigned short modes[] = {
		MPOL_INTERLEAVE, MPOL_PREFERRED_MANY,
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		cdm_expect_narrow(test, modes[i], 0xf, 0x3, 0x3, false);
		cdm_expect_narrow(test, modes[i], 0x5, 0x1, 0x1, false);
		cdm_expect_narrow(test, modes[i], 0xc, 0xc, 0x0, true);
		cdm_expect_narrow(test, modes[i], 0x1, 0x1, 0x1, false);
	}
}

/* Of the devices only node 3 has a weight. */
static void cdm_test_narrow_weighted(struct kunit *test)
{
	const unsigned short mode = MPOL_WEIGHTED_INTERLEAVE;

	cdm_expect_narrow(test, mode, 0xf, 0xb, 0x3, true);
	cdm_expect_narrow(test, mode, 0x7, 0x3, 0x3, false);
	cdm_expect_narrow(test, mode, 0xc, 0x8, 0x0, true);
	cdm_expect_narrow(test, mode, 0x4, 0x0, 0x0, false);
}

static void cdm_expect_remap(struct kunit *test, unsigned long src,
			     unsigned long old, unsigned long new,
			     unsigned long want, unsigned long devices_bits)
{
	nodemask_t devices = cdm_mask(devices_bits);
	nodemask_t s = cdm_mask(src), o = cdm_mask(old), n = cdm_mask(new), dst;

	cdm_remap(&dst, &s, &o, &n, &devices);
	KUNIT_EXPECT_EQ(test, want, cdm_bits(&dst));
}

static void cdm_test_remap(struct kunit *test)
{
	/* a device comes: nothing changes, also if its number is lower */
	cdm_expect_remap(test, 0x2, 0x3, 0x7, 0x2, CDM_DEVICES);
	cdm_expect_remap(test, 0x4, 0x5, 0x7, 0x4, 0x2);
	/* RAM is remapped by position */
	cdm_expect_remap(test, 0x1, 0x1, 0x2, 0x2, CDM_DEVICES);
	/* a device goes: what is left of the policy, else all RAM */
	cdm_expect_remap(test, 0x5, 0x7, 0x3, 0x1, CDM_DEVICES);
	cdm_expect_remap(test, 0x4, 0x7, 0x3, 0x3, CDM_DEVICES);
	/* and never the other device */
	cdm_expect_remap(test, 0x4, 0x5, 0x9, 0x1, CDM_DEVICES);
	/* RAM never becomes a device */
	cdm_expect_remap(test, 0x2, 0x3, 0xd, 0x1, CDM_DEVICES);
}

static void cdm_expect_restore(struct kunit *test, unsigned short flags,
			       unsigned long user, unsigned long new,
			       unsigned long want)
{
	struct mempolicy pol = {
		.flags = flags,
		.w.user_nodemask = cdm_mask(user),
	};
	nodemask_t devices = cdm_mask(CDM_DEVICES), n = cdm_mask(new), dst;

	cdm_restore(&dst, &pol, &n, &devices);
	KUNIT_EXPECT_EQ(test, want, cdm_bits(&dst));
}

static void cdm_test_restore(struct kunit *test)
{
	cdm_expect_restore(test, MPOL_F_STATIC_NODES, 0x4, 0x7, 0x4);
	cdm_expect_restore(test, MPOL_F_STATIC_NODES, 0x4, 0xb, 0x3);
	cdm_expect_restore(test, MPOL_F_RELATIVE_NODES, 0x2, 0x7, 0x2);
	cdm_expect_restore(test, MPOL_F_RELATIVE_NODES, 0x4, 0x7, 0x1);
	/* a cpuset of version 1 may be left with a device alone */
	cdm_expect_restore(test, MPOL_F_RELATIVE_NODES, 0x2, 0x4, 0x0);
}

/* A flag that is no way to remember nodes is no reason to look for them. */
static void cdm_test_rebind_balanced(struct kunit *test)
{
	struct mempolicy pol = {
		.mode = MPOL_BIND,
		.flags = MPOL_F_NUMA_BALANCING | MPOL_F_MOF | MPOL_F_MORON,
		.nodes = cdm_mask(0x1),
		.w.cpuset_mems_allowed = cdm_mask(0x3),
	};
	nodemask_t new = cdm_mask(0x2);

	__cdm_policy_rebind(&pol, &new);
	KUNIT_EXPECT_EQ(test, 0x2, cdm_bits(&pol.nodes));
	KUNIT_EXPECT_EQ(test, 0x2, cdm_bits(&pol.w.cpuset_mems_allowed));
	/* Of the cpuset that grows again, the policy has what it has now. */
	new = cdm_mask(0x3);
	__cdm_policy_rebind(&pol, &new);
	KUNIT_EXPECT_EQ(test, 0x1, cdm_bits(&pol.nodes));
}

static void cdm_expect_strip(struct kunit *test, unsigned long from,
			     unsigned long to, unsigned long want_from,
			     unsigned long want_to)
{
	nodemask_t devices = cdm_mask(CDM_DEVICES);
	nodemask_t f = cdm_mask(from), t = cdm_mask(to);

	cdm_strip_move(&f, &t, &devices);
	KUNIT_EXPECT_EQ(test, want_from, cdm_bits(&f));
	KUNIT_EXPECT_EQ(test, want_to, cdm_bits(&t));
}

static void cdm_test_strip_move(struct kunit *test)
{
	/* RAM to RAM as ever */
	cdm_expect_strip(test, 0x1, 0x2, 0x1, 0x2);
	/* RAM is not moved to a device that comes in its place */
	cdm_expect_strip(test, 0x3, 0x6, 0x3, 0x2);
	/* a device that stays keeps its folios */
	cdm_expect_strip(test, 0x7, 0x5, 0x3, 0x1);
	/* one that goes sends them to RAM, not to the other device */
	cdm_expect_strip(test, 0x5, 0x9, 0x5, 0x1);
}

static struct kunit_case cdm_policy_cases[] = {
	KUNIT_CASE(cdm_test_narrow_bind),
	KUNIT_CASE(cdm_test_narrow_spread),
	KUNIT_CASE(cdm_test_narrow_weighted),
	KUNIT_CASE(cdm_test_remap),
	KUNIT_CASE(cdm_test_restore),
	KUNIT_CASE(cdm_test_rebind_balanced),
	KUNIT_CASE(cdm_test_strip_move),
	{}
};

static struct kunit_suite cdm_policy_suite = {
	.name = "cdm_policy",
	.test_cases = cdm_policy_cases,
};

kunit_test_suite(cdm_policy_suite);

#endif /* _MM_CDM_TESTS_POLICY_KUNIT_H */
