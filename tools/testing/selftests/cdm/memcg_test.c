// SPDX-License-Identifier: GPL-2.0
/*
 * Memory cgroups (row F22): their limits hold for tenants of a device node as for memory
 * on any other node, and their statistics show it. And who dies if RAM is out (row F17).
 * No case is named after its row: an unfenced kernel passes, or by luck.
 */
#include "rows_util.h"

#define GROUP	"cdm_memcg"
#define LIMIT	8		/* MiB */
#define SIZE	(24 * MIB)
#define PAGES	(SIZE / PAGE)
#define SWAP	128		/* MiB */
/* What the group has besides its memory, page tables for example, in pages */
#define SLACK	512

static struct tenant bound_tenant(void)
{
	return (struct tenant){
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = 1UL << cdm_dev(0),
		.cgroup = GROUP,
	};
}

FIXTURE(memcg) {
	int dev;
	struct tenant tenant;
	struct cdm_child child;
	struct cdm_child other;
};

FIXTURE_VARIANT(memcg) {
	const char *lru_gen;
};

FIXTURE_VARIANT_ADD(memcg, lru) { .lru_gen = "0" };
FIXTURE_VARIANT_ADD(memcg, mglru) { .lru_gen = "7" };

FIXTURE_SETUP(memcg)
{
	knobs_reset();
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	ASSERT_EQ(0, cdm_write(LRU_GEN, variant->lru_gen));
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
	self->dev = cdm_dev(0);
	self->tenant = bound_tenant();
}

FIXTURE_TEARDOWN(memcg)
{
	EXPECT_EQ(0, cdm_unfenced());
	tenant_end(&self->child);
	tenant_end(&self->other);
	EXPECT_EQ(0, cdm_reset(_metadata));
	knobs_reset();
}

static int limit(const char *file, long mib)
{
	char text[32];

	snprintf(text, sizeof(text), "%ldM", mib);
	return cdm_cgroup_write(GROUP, file, text);
}

static long group_pages(const char *file)
{
	char buf[64];

	if (cdm_cgroup_read(GROUP, file, buf, sizeof(buf)) < 0)
		return -1;
	return strtol(buf, NULL, 10) / (long)PAGE;
}

static long event(const char *key)
{
	return cdm_cgroup_stat(GROUP, "memory.events", key);
}

/* What is over the limit is in swap, whose pages are the tenant's own, and exact. */
static void expect_swapped(struct __test_metadata *_metadata,
			   struct cdm_child *child, const char *addr, int dev)
{
	struct cdm_spread spread;

	spread = cdm_spread_of(child->pid, addr, SIZE);
	EXPECT_EQ(PAGES, spread.on[dev] + spread.absent);
	EXPECT_LE(PAGES - LIMIT * MIB / PAGE - SLACK, spread.absent);
	EXPECT_LE(PAGES - LIMIT * MIB / PAGE - SLACK,
		  group_pages("memory.swap.current"));
	EXPECT_EQ(0, tenant_wrong(child));
	EXPECT_EQ(0, event("oom"));
	EXPECT_EQ(0, event("oom_kill"));
}

TEST_F_TIMEOUT(memcg, high_swaps_tenants, CDM_TIMEOUT)
{
	char *addr;

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, limit("memory.high", LIMIT));
	addr = tenant_start(&self->child, &self->tenant);
	ASSERT_NE(NULL, addr);
	EXPECT_LT(0, event("high"));
	EXPECT_GE(LIMIT * MIB / PAGE + SLACK, group_pages("memory.current"));
	expect_swapped(_metadata, &self->child, addr, self->dev);
}

TEST_F_TIMEOUT(memcg, max_swaps_tenants, CDM_TIMEOUT)
{
	char *addr;

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, limit("memory.max", LIMIT));
	addr = tenant_start(&self->child, &self->tenant);
	ASSERT_NE(NULL, addr);
	EXPECT_LT(0, event("max"));
	EXPECT_GE(LIMIT * MIB / PAGE, group_pages("memory.current"));
	expect_swapped(_metadata, &self->child, addr, self->dev);
}

FIXTURE(group) {
	int dev;
	struct tenant tenant;
	struct cdm_child child;
	struct cdm_child other;
};

FIXTURE_SETUP(group)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
	self->dev = cdm_dev(0);
	self->tenant = bound_tenant();
}

FIXTURE_TEARDOWN(group)
{
	EXPECT_EQ(0, cdm_unfenced());
	tenant_end(&self->child);
	tenant_end(&self->other);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

/* A limit that is set later takes what is there already. */
TEST_F_TIMEOUT(group, lower_max_swaps_tenants, CDM_TIMEOUT)
{
	char *addr;

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	addr = tenant_start(&self->child, &self->tenant);
	ASSERT_NE(NULL, addr);
	ASSERT_EQ(PAGES, cdm_spread_of(self->child.pid, addr, SIZE).on[self->dev]);
	ASSERT_EQ(0, limit("memory.max", LIMIT));
	EXPECT_GE(LIMIT * MIB / PAGE, group_pages("memory.current"));
	expect_swapped(_metadata, &self->child, addr, self->dev);
}

/* At the limit, memory in RAM and on the device are worth the same. */
TEST_F_TIMEOUT(group, max_swaps_ram_and_device, CDM_TIMEOUT)
{
	struct tenant in_ram = { .size = SIZE, .cgroup = GROUP };
	struct cdm_spread spread;
	char *addr, *ram;

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	addr = tenant_start(&self->child, &self->tenant);
	ASSERT_NE(NULL, addr);
	ram = tenant_start(&self->other, &in_ram);
	ASSERT_NE(NULL, ram);
	ASSERT_EQ(0, limit("memory.max", LIMIT));
	EXPECT_GE(LIMIT * MIB / PAGE, group_pages("memory.current"));
	spread = cdm_spread_of(self->child.pid, addr, SIZE);
	EXPECT_EQ(PAGES, spread.on[self->dev] + spread.absent);
	EXPECT_LT(0, spread.absent);
	spread = cdm_spread_of(self->other.pid, ram, SIZE);
	EXPECT_LT(0, spread.absent);
	EXPECT_EQ(0, cdm_spread_in(spread, cdm_devs()));
	EXPECT_EQ(0, tenant_wrong(&self->child));
	EXPECT_EQ(0, tenant_wrong(&self->other));
	EXPECT_EQ(0, event("oom_kill"));
}

/* Without swap, or with as much as the group may not use, it ends as in RAM. */
static void expect_killed(struct __test_metadata *_metadata,
			  struct cdm_child *child, struct tenant *tenant)
{
	struct tenant bystander = { .size = 2 * SIZE };
	struct cdm_child other;
	int status;

	ASSERT_NE(NULL, tenant_start(&other, &bystander));
	EXPECT_EQ(NULL, tenant_start(child, tenant));
	status = cdm_wait(child);
	child->pid = 0;
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_EQ(0, tenant_wrong(&other));
	tenant_end(&other);
}

TEST_F_TIMEOUT(group, max_without_swap_kills_one_of_it, CDM_TIMEOUT)
{
	ASSERT_EQ(0, limit("memory.max", LIMIT));
	expect_killed(_metadata, &self->child, &self->tenant);
	EXPECT_EQ(1, event("oom_kill"));
	EXPECT_EQ(0, event("oom_group_kill"));
}

TEST_F_TIMEOUT(group, swap_max_kills_one_of_it, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, limit("memory.max", LIMIT));
	ASSERT_EQ(0, limit("memory.swap.max", LIMIT / 2));
	expect_killed(_metadata, &self->child, &self->tenant);
	EXPECT_EQ(1, event("oom_kill"));
	EXPECT_LE(LIMIT * MIB / PAGE / 4,
		  cdm_cgroup_stat(GROUP, "memory.stat", "pswpout"));
}

TEST_F_TIMEOUT(group, oom_group_kills_all, CDM_TIMEOUT)
{
	struct tenant small = { .size = MIB, .cgroup = GROUP };
	int status;

	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "memory.oom.group", "1"));
	ASSERT_EQ(0, limit("memory.max", LIMIT));
	ASSERT_NE(NULL, tenant_start(&self->other, &small));
	expect_killed(_metadata, &self->child, &self->tenant);
	status = cdm_wait(&self->other);
	self->other.pid = 0;
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_EQ(1, event("oom_group_kill"));
}

/* Too much for one side */
FIXTURE(pressure) {
	struct cdm_child child;
	struct cdm_child other;
};

FIXTURE_SETUP(pressure)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
}

FIXTURE_TEARDOWN(pressure)
{
	EXPECT_EQ(0, cdm_unfenced());
	tenant_end(&self->child);
	tenant_end(&self->other);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

/*
 * F17: where RAM is short, what somebody has on a device is no reason to kill him: it
 * would give nothing back.
 */
TEST_F_TIMEOUT(pressure, ram_oom_spares_tenants, CDM_TIMEOUT)
{
	struct tenant on_device = {
		.size = 256 * MIB,
		.mode = MPOL_BIND,
		.mask = 1UL << cdm_dev(0),
	};
	struct tenant eater = { .size = 224 * MIB };
	int status;

	ASSERT_NE(NULL, tenant_start(&self->child, &on_device));
	ASSERT_EQ(0, cdm_leave_ram(160));
	EXPECT_EQ(NULL, tenant_start(&self->other, &eater));
	status = cdm_wait(&self->other);
	self->other.pid = 0;
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	EXPECT_EQ(0, tenant_wrong(&self->child));
}

TEST_HARNESS_MAIN
