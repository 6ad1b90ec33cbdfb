// SPDX-License-Identifier: GPL-2.0
/*
 * The cpuset is an upper bound: a device node must be in it and be named.
 */
#include <sys/syscall.h>

#include "cdm_util.h"

#ifndef __NR_set_mempolicy_home_node
#define __NR_set_mempolicy_home_node	450
#endif

#define SIZE	(16 * MIB)
#define PAGES	(SIZE / PAGE)
#define SEED	11
#define GROUP	"cdm_cpuset"

#ifndef MPOL_F_STATIC_NODES
#define MPOL_F_STATIC_NODES	32768
#endif

FIXTURE(cpuset) {
	int dev;
	char ram[64];		/* as cpuset.mems takes it */
	char both[128];
	struct cdm_child child;
};

FIXTURE_SETUP(cpuset)
{
	int len = 0;

	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	for (int i = 0; i < cdm_rams().nr; i++)
		len += snprintf(self->ram + len, sizeof(self->ram) - len,
				"%s%d", i ? "," : "", cdm_ram(i));
	snprintf(self->both, sizeof(self->both), "%s,%d", self->ram, self->dev);
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
}

FIXTURE_TEARDOWN(cpuset)
{
	EXPECT_EQ(0, cdm_unfenced());
	if (self->child.pid)
		cdm_kill(&self->child);
	rmdir(CDM_CGROUPS "/" GROUP "/child");
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static unsigned long mems_of(const char *group, const char *file)
{
	char buf[256] = "";

	cdm_cgroup_read(group, file, buf, sizeof(buf));
	return cdm_mask(cdm_nodes_parse(buf));
}

static unsigned long mems_allowed(void)
{
	char buf[8192], *at;

	if (cdm_read("/proc/self/status", buf, sizeof(buf)) < 0)
		return 0;
	at = strstr(buf, "Mems_allowed_list:");
	if (!at)
		return 0;
	at += strlen("Mems_allowed_list:");
	*strchrnul(at, '\n') = 0;
	return cdm_mask(cdm_nodes_parse(at));
}

TEST_F(cpuset, root_holds_devices)
{
	EXPECT_EQ(cdm_all_mask(), mems_allowed());
	EXPECT_EQ(cdm_all_mask(), mems_of(".", "cpuset.mems.effective"));
}

TEST_F(cpuset, empty_mems_inherits)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = 1UL << self->dev,
		.cgroup = GROUP,
	};
	char *addr;

	EXPECT_EQ(cdm_all_mask(), mems_of(GROUP, "cpuset.mems.effective"));
	addr = cdm_load_start(&self->child, &load);
	ASSERT_NE(NULL, addr);
	EXPECT_EQ(PAGES,
		  cdm_spread_of(self->child.pid, addr, SIZE).on[self->dev]);
}

TEST_F(cpuset, without_device)
{
	unsigned long dev_mask = 1UL << self->dev;
	unsigned long ram_mask = cdm_mask(cdm_rams());
	char *addr = cdm_map(SIZE);

	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", self->ram));
	ASSERT_EQ(0, cdm_cgroup_enter(GROUP));
	EXPECT_EQ(ram_mask, mems_allowed());
	EXPECT_EQ(-EINVAL, cdm_bind_task(self->dev));
	EXPECT_EQ(-EINVAL, cdm_mbind(addr, SIZE, MPOL_BIND, dev_mask, 0));
	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_PREFERRED_MANY, dev_mask));
	cdm_touch(addr, SIZE);
	EXPECT_EQ(-EACCES, cdm_move(addr, SIZE, self->dev));
	EXPECT_GT(0, migrate_pages(0, 64, &ram_mask, &dev_mask));
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
}

/* A mask that names more than the cpuset has is cut down to it. */
TEST_F(cpuset, mixed_mask_without_device)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = cdm_all_mask(),
		.cgroup = GROUP,
	};
	char *addr;

	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", self->ram));
	addr = cdm_load_start(&self->child, &load);
	ASSERT_NE(NULL, addr);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread_of(self->child.pid, addr,
						     SIZE), cdm_rams()));
}

TEST_F(cpuset, with_device)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = 1UL << self->dev,
		.cgroup = GROUP,
	};
	char *addr;

	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", self->both));
	EXPECT_EQ(cdm_mask(cdm_rams()) | 1UL << self->dev,
		  mems_of(GROUP, "cpuset.mems.effective"));
	addr = cdm_load_start(&self->child, &load);
	ASSERT_NE(NULL, addr);
	EXPECT_EQ(PAGES,
		  cdm_spread_of(self->child.pid, addr, SIZE).on[self->dev]);
}

/* To be in the cpuset is not to be named. */
TEST_F(cpuset, with_device_unnamed)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_INTERLEAVE,
		.mask = cdm_all_mask(),
		.cgroup = GROUP,
	};
	char *addr;

	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", self->both));
	addr = cdm_load_start(&self->child, &load);
	ASSERT_NE(NULL, addr);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread_of(self->child.pid, addr,
						     SIZE), cdm_rams()));
}

TEST_F(cpuset, device_only_is_refused)
{
	char mems[32];

	snprintf(mems, sizeof(mems), "%d", self->dev);
	EXPECT_EQ(-EINVAL, cdm_cgroup_write(GROUP, "cpuset.mems", mems));
	EXPECT_EQ(0, mems_of(GROUP, "cpuset.mems"));
	EXPECT_EQ(cdm_all_mask(), mems_of(GROUP, "cpuset.mems.effective"));

	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", self->both));
	EXPECT_EQ(-EINVAL, cdm_cgroup_write(GROUP, "cpuset.mems", mems));
	EXPECT_EQ(cdm_mask(cdm_rams()) | 1UL << self->dev,
		  mems_of(GROUP, "cpuset.mems"));
}

/*
 * All RAM of a cpuset is not in that of its parent: it has RAM all the same, which it
 * borrows. It is not one of movable nodes alone, for which the page allocator would look
 * twice from then on.
 */
TEST_F(cpuset, that_borrows_ram_is_sane)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char mems[64];

	if (cdm_rams().nr < 2)
		SKIP(return, "topology %s has one RAM node", cdm_topology());
	ASSERT_LE(0, kmsg);
	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cgroup.subtree_control", "+cpuset"));
	ASSERT_EQ(0, mkdir(CDM_CGROUPS "/" GROUP "/child", 0755));
	snprintf(mems, sizeof(mems), "%d,%d", cdm_ram(0), self->dev);
	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", mems));
	snprintf(mems, sizeof(mems), "%d,%d", cdm_ram(1), self->dev);
	ASSERT_EQ(0, cdm_cgroup_write(GROUP "/child", "cpuset.mems", mems));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(1UL << cdm_ram(0) | 1UL << self->dev,
			  mems_of(GROUP "/child", "cpuset.mems.effective"));
		ASSERT_EQ(0, cdm_unregister(cdm_dev(1), CDM_ACK_MS, NULL));
		ASSERT_EQ(0, cdm_register_all());
	}
	EXPECT_FALSE(cdm_log_has(kmsg, "movable nodes only"));
	close(kmsg);
}

/* A task that, when told to, allocates and says what came from a device. */
static int busy_fn(struct cdm_child *me, void *arg)
{
	struct cdm_load *load = arg;
	char *addr, *more;

	if (cdm_cgroup_enter(GROUP) || cdm_task_policy(load->mode, load->mask))
		return 1;
	addr = cdm_map(SIZE);
	cdm_fill(addr, SIZE, SEED);
	cdm_say(me, (long)addr);
	while (cdm_hear(me) == 1) {
		more = cdm_map(MIB);
		cdm_touch(more, MIB);
		cdm_say(me, cdm_spread_in(cdm_spread(more, MIB), cdm_devs()));
		munmap(more, MIB);
	}
	return cdm_wrong(addr, SIZE, SEED) ? 2 : 0;
}

/* Take the device out of the cpuset of a task that is bound to it. */
static void shrink(struct __test_metadata *_metadata, struct cdm_child *child,
		   int mode, int dev, const char *both, const char *ram)
{
	struct cdm_load load = { .mode = mode, .mask = 1UL << dev };
	char *addr;
	long got;

	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", both));
	ASSERT_EQ(0, cdm_start(child, busy_fn, &load));
	addr = (char *)cdm_hear(child);
	EXPECT_EQ(PAGES, cdm_spread_of(child->pid, addr, SIZE).on[dev]);
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems",
					      i % 2 ? both : ram));
		cdm_say(child, 1);
		got = cdm_hear(child);
		ASSERT_NE(LONG_MIN, got);
		/* Back in the cpuset, the device may have to be named anew. */
		if (i % 2 == 0)
			EXPECT_EQ(0, got);
	}
	/* cgroup v2 migrates as the cpuset changes, by a workqueue. */
	for (int i = 0; i < CDM_PATIENCE * 20; i++) {
		if (!cdm_spread_of(child->pid, addr, SIZE).on[dev])
			break;
		usleep(50000);
	}
	EXPECT_EQ(0, cdm_spread_of(child->pid, addr, SIZE).on[dev]);
	cdm_say(child, 0);
	EXPECT_EQ(0, cdm_wait(child));
	child->pid = 0;
}

TEST_F_TIMEOUT(cpuset, shrink_under_bound_task, CDM_TIMEOUT)
{
	shrink(_metadata, &self->child, MPOL_BIND, self->dev, self->both,
	       self->ram);
}

TEST_F_TIMEOUT(cpuset, shrink_under_static_nodes, CDM_TIMEOUT)
{
	shrink(_metadata, &self->child, MPOL_BIND | MPOL_F_STATIC_NODES,
	       self->dev, self->both, self->ram);
}

TEST_F_TIMEOUT(cpuset, shrink_under_preferred, CDM_TIMEOUT)
{
	shrink(_metadata, &self->child, MPOL_PREFERRED, self->dev, self->both,
	       self->ram);
}

/*
 * F7: a rebind maps nodes by their place in the cpuset, and moves pages so. The
 * second RAM node must not become the device that takes its place there.
 */
TEST_F_TIMEOUT(cpuset, remap_names_no_device, CDM_TIMEOUT)
{
	struct cdm_load load = { .mode = MPOL_BIND };
	char mems[64], *addr;

	if (cdm_rams().nr < 2)
		SKIP(return, "topology %s has one RAM node", cdm_topology());
	load.mask = 1UL << cdm_ram(1);
	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", self->ram));
	ASSERT_EQ(0, cdm_start(&self->child, busy_fn, &load));
	addr = (char *)cdm_hear(&self->child);
	snprintf(mems, sizeof(mems), "%d,%d", cdm_ram(0), self->dev);
	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", mems));
	cdm_say(&self->child, 1);
	EXPECT_EQ(0, cdm_hear(&self->child));
	/* Pages move by a workqueue: give it time to do wrong. */
	sleep(1);
	EXPECT_EQ(0, cdm_spread_of(self->child.pid, addr, SIZE).on[self->dev]);
	cdm_say(&self->child, 0);
	EXPECT_EQ(0, cdm_wait(&self->child));
	self->child.pid = 0;
}

/*
 * A policy names one device, the cpuset holds another one, perhaps nearer to the first
 * than RAM is. The other must not stand in for the first.
 */
FIXTURE(outside) {
	int named;
	int other;
	char before[64];
	char after[64];
	struct cdm_child child;
};

FIXTURE_VARIANT(outside) {
	int mode;
	bool shared;		/* the policy is that of shared memory */
	bool home;		/* the other one is its home node */
};

FIXTURE_VARIANT_ADD(outside, preferred) { .mode = MPOL_PREFERRED };
FIXTURE_VARIANT_ADD(outside, preferred_many) { .mode = MPOL_PREFERRED_MANY };
FIXTURE_VARIANT_ADD(outside, interleave) { .mode = MPOL_INTERLEAVE };
FIXTURE_VARIANT_ADD(outside, bind) { .mode = MPOL_BIND };
FIXTURE_VARIANT_ADD(outside, shared_preferred) { .mode = MPOL_PREFERRED, .shared = true };
FIXTURE_VARIANT_ADD(outside, shared_preferred_many) { .mode = MPOL_PREFERRED_MANY, .shared = true };
FIXTURE_VARIANT_ADD(outside, shared_interleave) { .mode = MPOL_INTERLEAVE, .shared = true };
FIXTURE_VARIANT_ADD(outside, shared_bind) { .mode = MPOL_BIND, .shared = true };
FIXTURE_VARIANT_ADD(outside, shared_bind_home) { .mode = MPOL_BIND, .shared = true, .home = true };

FIXTURE_SETUP(outside)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	self->named = cdm_dev(0);
	self->other = cdm_dev(1);
	snprintf(self->before, sizeof(self->before), "%d,%d,%d", cdm_ram(0),
		 self->named, self->other);
	snprintf(self->after, sizeof(self->after), "%d,%d", cdm_ram(0),
		 self->other);
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", self->before));
}

FIXTURE_TEARDOWN(outside)
{
	EXPECT_EQ(0, cdm_unfenced());
	if (self->child.pid)
		cdm_kill(&self->child);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

struct outside {
	int mode;
	bool shared;
	int named;
	int home;		/* or -1 */
};

static int set_home_node(char *addr, size_t size, int nid)
{
	return syscall(__NR_set_mempolicy_home_node, addr, size, nid, 0) ?
		-errno : 0;
}

static int outside_fn(struct cdm_child *me, void *arg)
{
	struct outside *outside = arg;
	unsigned long mask = 1UL << outside->named;
	char *addr = outside->shared ? cdm_map_shared(SIZE) : cdm_map(SIZE);

	if (cdm_cgroup_enter(GROUP) || !addr)
		return 1;
	if (outside->shared ? cdm_mbind(addr, SIZE, outside->mode, mask, 0) :
			      cdm_task_policy(outside->mode, mask))
		return 2;
	if (outside->home >= 0 && set_home_node(addr, SIZE, outside->home))
		return 3;
	cdm_say(me, (long)addr);
	if (cdm_hear(me) != 1)
		return 4;
	cdm_touch(addr, SIZE);
	cdm_say(me, 1);
	cdm_hear(me);
	return 0;
}

TEST_F(outside, names_no_other)
{
	struct outside outside = {
		.mode = variant->mode,
		.shared = variant->shared,
		.named = self->named,
		.home = variant->home ? self->other : -1,
	};
	struct cdm_spread spread;
	char *addr;

	ASSERT_EQ(0, cdm_start(&self->child, outside_fn, &outside));
	addr = (char *)cdm_hear(&self->child);
	ASSERT_NE(LONG_MIN, (long)addr);
	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", self->after));
	cdm_say(&self->child, 1);
	ASSERT_EQ(1, cdm_hear(&self->child));
	spread = cdm_spread_of(self->child.pid, addr, SIZE);
	EXPECT_EQ(0, spread.on[self->other]);
	EXPECT_EQ(PAGES, spread.on[cdm_ram(0)]);
	EXPECT_EQ(0, cdm_audit_all("cause_unknown"));
}

TEST_HARNESS_MAIN
