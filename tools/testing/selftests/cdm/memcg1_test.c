// SPDX-License-Identifier: GPL-2.0
/*
 * Memory cgroups as cgroup v1 has them. The controller comes from cgroup v2 and goes back
 * there, which its counters do not survive if it was in use before (page_counter
 * underflow): so this is a program of its own, which shares its machine with none that
 * has groups.
 */
#include "rows_util.h"

#define LIMIT	8		/* MiB */
#define SIZE	(24 * MIB)
#define PAGES	(SIZE / PAGE)
#define SWAP	128		/* MiB */

#define V1		"/tmp/cdm_memcg"
#define V1_GROUP	V1 "/group"

FIXTURE(memcg1) {
	int dev;
	bool mounted;
	struct cdm_child child;
};

static bool v2_has_memory(void)
{
	char buf[256] = "";

	cdm_read(CDM_CGROUPS "/cgroup.controllers", buf, sizeof(buf));
	return strstr(buf, "memory");
}

/* The controller leaves one hierarchy for the other as soon as no group is left. */
static int mount_v1(void)
{
	int err = -EBUSY;

	cdm_write(CDM_CGROUPS "/cgroup.subtree_control", "-memory");
	mkdir(V1, 0755);
	for (int i = 0; err == -EBUSY && i < 100; i++) {
		err = mount("cgroup", V1, "cgroup", 0, "memory") ? -errno : 0;
		if (err != -EBUSY)
			break;
		cdm_drop_caches();
		usleep(50000);
	}
	return err;
}

/*
 * A hierarchy goes with its last mount only if no group is left in it, and one
 * that was removed lingers for a while. Then mount it again, to unmount it.
 */
static int umount_v1(void)
{
	/* Pages of programs and libraries that its tasks were the first to use */
	cdm_write(V1_GROUP "/memory.force_empty", "0");
	for (int i = 0; i < 100 && rmdir(V1_GROUP) && errno == EBUSY; i++)
		usleep(20000);
	for (int i = 0; i < 20; i++) {
		cdm_drop_caches();
		umount(V1);
		for (int j = 0; j < 20 && !v2_has_memory(); j++)
			usleep(50000);
		if (v2_has_memory())
			return 0;
		mount("cgroup", V1, "cgroup", 0, "memory");
	}
	umount(V1);
	return -EBUSY;
}

FIXTURE_SETUP(memcg1)
{
	int err;

	knobs_reset();
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	err = mount_v1();
	if (err == -EINVAL || err == -ENODEV || err == -ENOENT)
		SKIP(return, "no CONFIG_MEMCG_V1");
	ASSERT_EQ(0, err);
	self->mounted = true;
	ASSERT_EQ(0, mkdir(V1_GROUP, 0755));
}

FIXTURE_TEARDOWN(memcg1)
{
	EXPECT_EQ(0, cdm_unfenced());
	tenant_end(&self->child);
	if (self->mounted)
		EXPECT_EQ(0, umount_v1());
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static int tenant1_fn(struct cdm_child *me, void *arg)
{
	if (cdm_write(V1_GROUP "/tasks", "0"))
		return 1;
	return tenant_fn(me, arg);
}

/* The number after @key in the line of numa_stat that begins with @what. */
static long numa_stat(const char *path, const char *what, int nid)
{
	char line[512], key[16], *at;
	FILE *file = fopen(path, "re");
	long val = -1;

	snprintf(key, sizeof(key), " N%d=", nid);
	while (file && val < 0 && fgets(line, sizeof(line), file)) {
		at = strstr(line, key);
		if (at && !strncmp(line, what, strlen(what)) &&
		    line[strlen(what)] == '=')
			val = atol(at + strlen(key));
	}
	if (file)
		fclose(file);
	return val;
}

TEST_F_TIMEOUT(memcg1, limit_and_numa_stat, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = 1UL << self->dev,
	};
	struct cdm_spread spread;
	char *addr;

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, cdm_writef(V1_GROUP "/memory.limit_in_bytes", "%dM", LIMIT));
	ASSERT_EQ(0, cdm_start(&self->child, tenant1_fn, &tenant));
	addr = (char *)cdm_hear(&self->child);
	ASSERT_NE(LONG_MIN, (long)addr);
	spread = cdm_spread_of(self->child.pid, addr, SIZE);
	EXPECT_EQ(PAGES, spread.on[self->dev] + spread.absent);
	EXPECT_LE(PAGES - LIMIT * MIB / PAGE, spread.absent);
	EXPECT_GE(LIMIT * MIB, cdm_read_long(V1_GROUP "/memory.usage_in_bytes"));
	EXPECT_LE(spread.on[self->dev] - 64,
		  numa_stat(V1_GROUP "/memory.numa_stat", "anon", self->dev));
	EXPECT_LE(spread.on[self->dev] - 64,
		  numa_stat(V1_GROUP "/memory.numa_stat", "hierarchical_total",
			    self->dev));
	EXPECT_EQ(0, tenant_wrong(&self->child));
}

TEST_HARNESS_MAIN
