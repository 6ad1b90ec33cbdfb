// SPDX-License-Identifier: GPL-2.0
/*
 * A machine without a device: the feature is there and says nothing.
 */
#include "cdm_util.h"

FIXTURE(plain) {
	struct cdm_nodes ram;
};

FIXTURE_SETUP(plain)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (cdm_devs().nr)
		SKIP(return, "topology %s has a device", cdm_topology());
	self->ram = cdm_rams();
	ASSERT_LT(0, self->ram.nr);
}

FIXTURE_TEARDOWN(plain)
{
	EXPECT_EQ(0, cdm_reset(_metadata));
}

TEST_F(plain, node_states)
{
	EXPECT_TRUE(cdm_state_is("has_memory", self->ram));
	EXPECT_TRUE(cdm_state_is("has_normal_memory", self->ram));
	EXPECT_TRUE(cdm_state_is("online", self->ram));
	if (!cdm_is_unfenced()) {
		EXPECT_TRUE(cdm_state_is("has_coherent_device",
					 (struct cdm_nodes){}));
	}
}

TEST_F(plain, meminfo)
{
	EXPECT_EQ(cdm_nodes_meminfo(self->ram, "MemTotal"),
		  cdm_meminfo("MemTotal"));
	/* 0 or no line at all */
	EXPECT_GE(0, cdm_meminfo("DeviceTotal"));
	EXPECT_GE(0, cdm_meminfo("DeviceFree"));
}

TEST_F(plain, no_links)
{
	for (int i = 0; i < self->ram.nr; i++) {
		char path[128];

		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/coherent_device",
			 self->ram.nid[i]);
		EXPECT_NE(0, access(path, F_OK));
	}
}

TEST_F(plain, policies)
{
	static const int modes[] = {
		MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED_MANY,
		MPOL_WEIGHTED_INTERLEAVE,
	};
	unsigned long mask = cdm_mask(self->ram), got;
	char *addr;
	int mode;

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_EQ(0, cdm_task_policy(modes[i], mask));
		got = 0;
		ASSERT_EQ(0, get_mempolicy(&mode, &got, 64, NULL, 0));
		EXPECT_EQ(modes[i], mode);
		EXPECT_EQ(mask, got);
		addr = cdm_map(MIB);
		cdm_touch(addr, MIB);
		EXPECT_EQ(MIB / PAGE,
			  cdm_spread_in(cdm_spread(addr, MIB), self->ram));
	}
}

/* Nodes that could hold a device, but do not, cannot be named. */
TEST_F(plain, absent_nodes)
{
	char *addr = cdm_map(PAGE);

	addr[0] = 1;
	EXPECT_EQ(-EINVAL, cdm_bind_task(self->ram.nr));
	EXPECT_EQ(-ENODEV, cdm_move(addr, PAGE, self->ram.nr));
}

TEST_F(plain, hugetlb)
{
	ASSERT_EQ(0, cdm_write("/proc/sys/vm/nr_hugepages", "8"));
	EXPECT_EQ(8, cdm_read_long("/proc/sys/vm/nr_hugepages"));
	EXPECT_EQ(8, cdm_nodes_meminfo(self->ram, "HugePages_Total"));
}

TEST_HARNESS_MAIN
