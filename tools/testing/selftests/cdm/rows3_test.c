// SPDX-License-Identifier: GPL-2.0
/*
 * Rows of the fence that concern the whole machine: reclaim on both sides,
 * watermarks, hibernation, what is left in freed memory, and what the machine
 * says about itself.
 *
 * As in fence_test.c, a case whose name begins with a row fails on an unfenced
 * kernel.
 */
#include <sys/sysinfo.h>

#include <numa.h>

#include "rows_util.h"

#define SEED	29
#define SWAP	256
#define ROOM	128		/* MiB of the device that are left */

/* F8 with both kinds of reclaim, and with and without a way to swap */
FIXTURE(reclaim) {
	int dev;
	unsigned long dev_mask;
	long pswpout;
	long kills;
	struct cdm_child child;
	struct cdm_child other;
	struct cdm_child third;
};

FIXTURE_VARIANT(reclaim) {
	const char *lru_gen;
	bool swap;
	bool repeats;		/* rows4_test swaps so, too */
};

FIXTURE_VARIANT_ADD(reclaim, lru) {
	.lru_gen = "0",
};

FIXTURE_VARIANT_ADD(reclaim, lru_swap) {
	.lru_gen = "0",
	.swap = true,
	.repeats = true,
};

FIXTURE_VARIANT_ADD(reclaim, mglru) {
	.lru_gen = "7",
};

FIXTURE_VARIANT_ADD(reclaim, mglru_swap) {
	.lru_gen = "7",
	.swap = true,
};

FIXTURE_SETUP(reclaim)
{
	knobs_reset();
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	if (variant->repeats && cdm_no_repeats())
		SKIP(return, CDM_REPEATS);
	ASSERT_EQ(0, cdm_write(LRU_GEN, variant->lru_gen));
	if (variant->swap)
		ASSERT_EQ(0, cdm_swap_on(SWAP));
	self->dev = cdm_dev(0);
	self->dev_mask = 1UL << self->dev;
	self->pswpout = cdm_vmstat("pswpout");
	self->kills = cdm_vmstat("oom_kill");
}

FIXTURE_TEARDOWN(reclaim)
{
	EXPECT_EQ(0, cdm_unfenced());
	tenant_end(&self->child);
	tenant_end(&self->other);
	tenant_end(&self->third);
	EXPECT_EQ(0, cdm_reset(_metadata));
	knobs_reset();
}

/* Is all of the child's memory on the nodes? */
static bool all_on(struct cdm_child *child, char *addr, size_t size,
		   struct cdm_nodes nodes)
{
	return cdm_spread_in(cdm_spread_of(child->pid, addr, size), nodes) ==
	       size / PAGE;
}

static struct cdm_nodes one_node(int nid)
{
	struct cdm_nodes nodes = { .nr = 1, .nid = { nid } };

	return nodes;
}

/* All that user space can say to make memory cold. */
static const int colds[] = { 0, MADV_COLD, MADV_FREE };

TEST_F_TIMEOUT(reclaim, F8_memory_reclaim, CDM_TIMEOUT)
{
	struct tenant on_device = {
		.size = 16 * MIB,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
		.cgroup = "cdm_rows",
	};

	ASSERT_EQ(0, cdm_cgroup_create("cdm_rows"));
	for (int i = 0; i < ARRAY_SIZE(colds); i++) {
		char *addr;

		on_device.advice = colds[i];
		addr = tenant_start(&self->child, &on_device);
		ASSERT_NE(NULL, addr);
		for (int j = 0; j < 4; j++)
			cdm_cgroup_write("cdm_rows", "memory.reclaim", "8M");
		EXPECT_TRUE(all_on(&self->child, addr, on_device.size,
				   one_node(self->dev))) {
			TH_LOG("advice %d", colds[i]);
		}
		EXPECT_EQ(0, tenant_wrong(&self->child));
		tenant_end(&self->child);
	}
	EXPECT_EQ(self->pswpout, cdm_vmstat("pswpout"));
}

TEST_F_TIMEOUT(reclaim, pageout_and_cold, CDM_TIMEOUT)
{
	size_t size = 8 * MIB;
	char *addr = cdm_map_on(self->dev, size, SEED);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, madvise(addr, size, MADV_COLD));
	EXPECT_EQ(size / PAGE, cdm_pages_on(addr, size, self->dev));
	if (cdm_is_unfenced())
		SKIP(return, "the base swaps");
	ASSERT_EQ(0, cdm_pageout(addr, size));
	EXPECT_EQ(size / PAGE, cdm_spread_in(cdm_spread(addr, size),
					     cdm_rams()));
	EXPECT_EQ(self->pswpout, cdm_vmstat("pswpout"));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
}

/*
 * More than there is: RAM is swapped out or, without swap, given up where it
 * may be. An unfenced kernel takes what the device has left instead.
 */
TEST_F_TIMEOUT(reclaim, F8_ram_pressure, 2 * CDM_TIMEOUT)
{
	struct tenant on_device = {
		.size = 32 * MIB,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
		.advice = variant->swap ? MADV_COLD : MADV_FREE,
	};
	struct tenant lazy = {
		.size = cdm_effort(192, 128) * MIB,
		.advice = MADV_FREE,
	};
	struct tenant ram = { .size = cdm_effort(192, 160) * MIB };
	char *addr, *in_ram;

	/* The other tests of the variant show that swap is used. */
	if (variant->swap && cdm_no_repeats())
		SKIP(return, CDM_REPEATS);
	addr = tenant_start(&self->child, &on_device);
	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_leave_ram(variant->swap ? 128 :
				   128 + lazy.size / MIB));
	if (!variant->swap)
		ASSERT_NE(NULL, tenant_start(&self->other, &lazy));
	in_ram = tenant_start(&self->third, &ram);
	ASSERT_NE(NULL, in_ram);
	EXPECT_EQ(0, cdm_spread_in(cdm_spread_of(self->third.pid, in_ram,
						 ram.size), cdm_devs()));
	if (variant->swap)
		EXPECT_LT(self->pswpout, cdm_vmstat("pswpout"));
	EXPECT_TRUE(all_on(&self->child, addr, on_device.size,
			   one_node(self->dev)));
	EXPECT_EQ(0, tenant_wrong(&self->child));
	EXPECT_EQ(0, tenant_wrong(&self->third));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

/*
 * F17 as well: more tenants than the device holds. The colder ones go to RAM,
 * nobody is swapped out or killed, and nothing of RAM is reclaimed.
 */
TEST_F_TIMEOUT(reclaim, F8_device_pressure, CDM_TIMEOUT)
{
	struct tenant in_ram = { .size = 32 * MIB, .advice = MADV_COLD };
	struct tenant tenant = {
		.size = ROOM * MIB * 3 / 4,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};
	struct cdm_spread spread;
	char *ram, *first, *second;

	ram = tenant_start(&self->third, &in_ram);
	ASSERT_NE(NULL, ram);
	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	first = tenant_start(&self->child, &tenant);
	ASSERT_NE(NULL, first);
	second = tenant_start(&self->other, &tenant);
	EXPECT_NE(NULL, second);

	spread = cdm_spread_of(self->child.pid, first, tenant.size);
	EXPECT_EQ(0, spread.absent);
	EXPECT_LT(0, cdm_spread_in(spread, cdm_rams()));
	spread = cdm_spread_of(self->other.pid, second, tenant.size);
	EXPECT_EQ(0, spread.absent);
	EXPECT_LT(spread.total / 2, spread.on[self->dev]);
	EXPECT_TRUE(all_on(&self->third, ram, in_ram.size, cdm_rams()));
	EXPECT_EQ(0, tenant_wrong(&self->child));
	EXPECT_EQ(0, tenant_wrong(&self->other));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
	EXPECT_EQ(self->pswpout, cdm_vmstat("pswpout"));
}

/* F18 and the rest: the machine with its device, and without */
FIXTURE(machine) {
	int dev;
	unsigned long dev_mask;
	struct cdm_test_range range;
	struct cdm_child child;
	struct cdm_child other;
};

FIXTURE_SETUP(machine)
{
	knobs_reset();
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	self->dev_mask = 1UL << self->dev;
	if (!cdm_is_unfenced())
		ASSERT_EQ(0, cdm_range(self->dev, 0, &self->range));
}

FIXTURE_TEARDOWN(machine)
{
	EXPECT_EQ(0, cdm_unfenced());
	tenant_end(&self->child);
	tenant_end(&self->other);
	EXPECT_EQ(0, cdm_reset(_metadata));
	knobs_reset();
}

static int nearest_ram(int dev)
{
	int nearest = cdm_ram(0);

	for (int i = 1; i < cdm_rams().nr; i++)
		if (numa_distance(dev, cdm_ram(i)) < numa_distance(dev, nearest))
			nearest = cdm_ram(i);
	return nearest;
}

/* Two tenants, and room for one and a half: the first goes home in part. */
static void expect_home(struct __test_metadata *_metadata, int dev,
			struct cdm_child *cold, struct cdm_child *hot)
{
	struct tenant tenant = {
		.size = 64 * MIB,
		.mode = MPOL_BIND,
		.mask = 1UL << dev,
	};
	struct cdm_spread spread;
	char *addr;

	ASSERT_EQ(0, cdm_leave_node(dev, 96));
	addr = tenant_start(cold, &tenant);
	ASSERT_NE(NULL, addr);
	ASSERT_NE(NULL, tenant_start(hot, &tenant));
	spread = cdm_spread_of(cold->pid, addr, tenant.size);
	EXPECT_LT(0, cdm_spread_in(spread, cdm_rams()));
	EXPECT_EQ(tenant.size / PAGE,
		  cdm_spread_in(spread, one_node(nearest_ram(dev))) +
		  cdm_spread_in(spread, one_node(dev)));
	tenant_end(cold);
	tenant_end(hot);
}

TEST_F_TIMEOUT(machine, evicted_to_the_nearest_ram, CDM_TIMEOUT)
{
	if (cdm_is_unfenced())
		SKIP(return, "the base evicts nothing");
	if (cdm_rams().nr < 2)
		SKIP(return, "topology %s has one RAM node", cdm_topology());
	for (int i = 0; i < cdm_devs().nr; i++)
		expect_home(_metadata, cdm_dev(i), &self->child, &self->other);
}

/* Who wants nothing swapped out does not mean this. */
TEST_F_TIMEOUT(machine, evicted_with_swappiness_0, CDM_TIMEOUT)
{
	if (cdm_is_unfenced())
		SKIP(return, "the base evicts nothing");
	ASSERT_EQ(0, cdm_write(SWAPPINESS, "0"));
	expect_home(_metadata, self->dev, &self->child, &self->other);
	ASSERT_EQ(0, cdm_write(LRU_GEN, "7"));
	expect_home(_metadata, self->dev, &self->child, &self->other);
}

/* What the zones of RAM keep back, as text of /proc/zoneinfo. */
static void ram_watermarks(char *buf, size_t size)
{
	static const char * const keys[] = {
		"min ", "low ", "high ", "managed ", "protection: ",
	};
	FILE *file = fopen("/proc/zoneinfo", "r");
	char line[1024], *text;
	bool ram = false;
	size_t len = 0;
	int nid;

	buf[0] = 0;
	while (file && fgets(line, sizeof(line), file)) {
		text = line + strspn(line, " ");
		if (sscanf(line, "Node %d, zone", &nid) == 1)
			ram = cdm_mask(cdm_rams()) >> nid & 1;
		for (int i = 0; ram && i < ARRAY_SIZE(keys); i++)
			if (!strncmp(text, keys[i], strlen(keys[i])))
				len += snprintf(buf + len, size - len, "%s",
						text);
	}
	if (file)
		fclose(file);
}

TEST_F_TIMEOUT(machine, watermarks_without_device, CDM_TIMEOUT)
{
	static char with[16384], without[16384], again[16384];
	long min_free = cdm_read_long("/proc/sys/vm/min_free_kbytes");

	if (cdm_is_unfenced())
		SKIP(return, "the base has no owner driver");
	ram_watermarks(with, sizeof(with));
	ASSERT_NE(NULL, strstr(with, "protection"));
	ASSERT_EQ(0, cdm_unregister_all());
	ram_watermarks(without, sizeof(without));
	EXPECT_EQ(min_free, cdm_read_long("/proc/sys/vm/min_free_kbytes"));
	EXPECT_STREQ(with, without);
	ASSERT_EQ(0, cdm_register_all());
	ram_watermarks(again, sizeof(again));
	EXPECT_EQ(min_free, cdm_read_long("/proc/sys/vm/min_free_kbytes"));
	EXPECT_STREQ(with, again);
}

/* An unfenced kernel keeps watermarks here too, some MiB of the device. */
TEST_F_TIMEOUT(machine, F18_last_page, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 160 * MIB,
		.mode = MPOL_PREFERRED,
		.mask = self->dev_mask,
	};
	char *addr;

	ASSERT_EQ(0, cdm_leave_node(self->dev, 32));
	addr = tenant_start(&self->child, &tenant);
	ASSERT_NE(NULL, addr);
	EXPECT_GT(256, cdm_node_meminfo(self->dev, "MemFree"));
	EXPECT_EQ(0, tenant_wrong(&self->child));
}

/* F20. The base calls the range "System RAM (kmem)", which is fine as well. */
static long lines_of_ram(const char *path, __u64 start, __u64 end)
{
	unsigned long long from, to;
	char line[256], name[128];
	FILE *file = fopen(path, "r");
	long nr = 0;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%llx-%llx : %127[^\n]", &from, &to,
			   name) == 3 &&
		    from < end && to >= start && !strcmp(name, "System RAM"))
			nr++;
	if (file)
		fclose(file);
	return nr;
}

static long firmware_entries(void)
{
	DIR *dir = opendir("/sys/firmware/memmap");
	struct dirent *ent;
	long nr = 0;

	while (dir && (ent = readdir(dir)))
		nr += ent->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return nr;
}

/* What kexec(8) takes for RAM: these lines and these entries. */
TEST_F_TIMEOUT(machine, range_is_not_for_kexec, CDM_TIMEOUT)
{
	__u64 end = self->range.start + self->range.size;
	long entries = firmware_entries();

	if (cdm_is_unfenced())
		SKIP(return, "the base has no owner driver");
	EXPECT_EQ(1, lines_of_ram("/proc/iomem", 256 * MIB, 257 * MIB));
	EXPECT_EQ(0, lines_of_ram("/proc/iomem", self->range.start, end));
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(entries, firmware_entries());
	EXPECT_EQ(0, lines_of_ram("/proc/iomem", self->range.start, end));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(entries, firmware_entries());
}

/* The image would hold pages that the device has lost when the machine wakes. */
TEST_F_TIMEOUT(machine, hibernation_is_refused, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 4 * MIB,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};
	char states[128] = "";

	if (cdm_is_unfenced())
		SKIP(return, "the base would hibernate");
	cdm_read("/sys/power/state", states, sizeof(states));
	if (!strstr(states, "disk"))
		SKIP(return, "this kernel has no hibernation");
	ASSERT_NE(NULL, tenant_start(&self->child, &tenant));
	EXPECT_EQ(-EBUSY, cdm_write("/sys/power/state", "disk"));
	EXPECT_EQ(0, tenant_wrong(&self->child));
}

/* F21: what the last tenant has left. The base zeroes user memory, too. */

static bool all_zero(const char *addr, size_t size)
{
	return !addr[0] && !memcmp(addr, addr + 1, size - 1);
}

enum kind { ANON, SHMEM, THP, HUGETLB, NR_KINDS };

static char *map_kind(enum kind kind, size_t size, int nid)
{
	int flags = MAP_ANONYMOUS | (kind == HUGETLB ? MAP_HUGETLB : 0) |
		    (kind == SHMEM ? MAP_SHARED : MAP_PRIVATE);
	char *addr;

	if (kind == THP)
		addr = cdm_map_huge(size);
	else
		addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    flags | MAP_NORESERVE, -1, 0);
	if (!addr || addr == MAP_FAILED ||
	    cdm_mbind(addr, size, MPOL_BIND, 1UL << nid, 0))
		return NULL;
	return addr;
}

/* Look at new memory, all of it on the device, and soil it. */
static int soil_fn(struct cdm_child *me, void *arg)
{
	size_t size = 16 * MIB;
	char *addr = map_kind(*(enum kind *)arg, size, cdm_dev(0));
	long dirty = 0;

	if (!addr)
		return 1;
	for (size_t off = 0; off < size; off += PAGE) {
		dirty += !all_zero(addr + off, PAGE);
		memset(addr + off, 0xa5, PAGE);
	}
	cdm_say(me, dirty);
	cdm_hear(me);
	return 0;
}

/* One after the other in little room, so that they use the same frames. */
TEST_F_TIMEOUT(machine, freed_pages_are_zero, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_leave_node(self->dev, 32));
	for (int i = 0; i < 2 * NR_KINDS; i++) {
		enum kind kind = i % NR_KINDS;

		ASSERT_EQ(0, cdm_start(&self->child, soil_fn, &kind));
		EXPECT_EQ(0, cdm_hear(&self->child)) {
			TH_LOG("kind %d in round %d", kind, i);
		}
		tenant_end(&self->child);
	}
}

/*
 * Pages that were freed before, some that are used when the device goes, and
 * some of each kind.
 */
TEST_F_TIMEOUT(machine, owner_finds_zeroes, CDM_TIMEOUT)
{
	size_t size = 16 * MIB;
	struct cdm_test_peek peek = {
		.start = self->range.start,
		.size = self->range.size,
		.nr_nonzero = -1,
	};
	char *addr;

	if (cdm_is_unfenced())
		SKIP(return, "the base has no owner driver");
	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 8));
	for (enum kind kind = 0; kind < NR_KINDS; kind++) {
		ASSERT_EQ(0, cdm_start(&self->child, soil_fn, &kind));
		ASSERT_NE(LONG_MIN, cdm_hear(&self->child));
		tenant_end(&self->child);
	}
	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 0));
	addr = cdm_map_on(self->dev, size, SEED);
	ASSERT_NE(NULL, addr);

	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	EXPECT_EQ(0, cdm_ioctl(CDM_TEST_IOC_PEEK, &peek));
	EXPECT_EQ(0, peek.nr_nonzero);
}

/* A1: the same machine with and without its device */

struct says {
	long total;
	long commit;
	long sysinfo;
	long dirty;
	long avail;
};

static struct says machine_says(void)
{
	struct says says;
	struct sysinfo info;

	cdm_settle_ram();
	sysinfo(&info);
	says.total = cdm_meminfo("MemTotal");
	says.commit = cdm_meminfo("CommitLimit");
	says.sysinfo = info.totalram;
	says.dirty = cdm_vmstat("nr_dirty_threshold") * 4;
	says.avail = cdm_meminfo("MemAvailable");
	return says;
}

/* Other tasks allocate meanwhile. */
#define NOISE_KB	(48 * 1024)

TEST_F_TIMEOUT(machine, meminfo_without_device, CDM_TIMEOUT)
{
	struct says with = machine_says(), without;
	/* The memmap of the device is in RAM; with KASAN, its shadow is, too. */
	long memmap = cdm_meminfo("DeviceTotal") / 64;
	long shadow = cdm_flavour_is("debug") ? memmap * 8 : 0;

	if (cdm_is_unfenced())
		SKIP(return, "the base has no owner driver");
	ASSERT_LT(0, memmap);
	ASSERT_EQ(0, cdm_unregister_all());
	without = machine_says();
	EXPECT_GE(0, cdm_meminfo("DeviceTotal"));
	EXPECT_EQ(with.total, without.total);
	EXPECT_EQ(with.commit, without.commit);
	EXPECT_EQ(with.sysinfo, without.sysinfo);
	/* A fifth of what may be dirty, and so of what has come free. */
	EXPECT_GE(NOISE_KB + (memmap + shadow) / 5,
		  labs(with.dirty - without.dirty));
	/* What the tests before have left in caches and lists comes and goes. */
	EXPECT_GE(128 * 1024,
		  labs(with.avail + memmap + shadow - without.avail));
}

/* The first number after @key in the output of a program, or -1. */
static double says_after(const char *command, const char *key, int nth)
{
	FILE *pipe = popen(command, "r");
	double val = -1;
	char line[1024];

	while (pipe && fgets(line, sizeof(line), pipe)) {
		char *at = line;

		if (strncmp(line, key, strlen(key)))
			continue;
		at += strlen(key);
		for (int i = 0; i <= nth; i++) {
			at += strcspn(at, "0123456789");
			val = *at ? strtod(at, &at) : -1;
		}
	}
	if (pipe)
		pclose(pipe);
	return val;
}

#define FREE(nth)	says_after("free -k", "Mem:", nth)
#define TOP(nth)	says_after("LC_ALL=C top -b -n1", "MiB Mem", nth)

/* total, used, free, shared, buff/cache, available */
TEST_F_TIMEOUT(machine, A1_free, CDM_TIMEOUT)
{
	EXPECT_EQ(cdm_nodes_meminfo(cdm_rams(), "MemTotal"), FREE(0));
	EXPECT_GE(NOISE_KB, labs((long)FREE(2) -
				 cdm_nodes_meminfo(cdm_rams(), "MemFree")));
	EXPECT_GT(FREE(0), FREE(1));
	EXPECT_GT(FREE(0), FREE(5));
}

/* total, free, used, buff/cache */
TEST_F_TIMEOUT(machine, A1_top, CDM_TIMEOUT)
{
	double mib = cdm_nodes_meminfo(cdm_rams(), "MemTotal") / 1024.0;

	EXPECT_GE(1, labs((long)(TOP(0) - mib)));
	EXPECT_GT(TOP(0), TOP(1));
	EXPECT_GT(TOP(0), TOP(2));
}

/*
 * What is free and cached is a part of the total, also while shared memory on the
 * device is larger than what is used of RAM.
 */
TEST_F_TIMEOUT(machine, free_adds_up, CDM_TIMEOUT)
{
	size_t size = cdm_effort(384, 128) * MIB;
	char *addr = cdm_map_shared(size);

	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_BIND, self->dev_mask, 0));
	cdm_touch(addr, size);
	EXPECT_GT(size / 1024, FREE(3));
	EXPECT_GT(size / 1024, FREE(4));
	EXPECT_GE(FREE(0), FREE(2) + FREE(4));
	EXPECT_GE(TOP(0), TOP(1) + TOP(3));
}

static int idle_fn(struct cdm_child *me, void *arg)
{
	cdm_hear(me);
	return 0;
}

/*
 * What comes back from swap onto the device stays in the swap cache while a
 * child may want it, too. That is no page cache of RAM.
 */
TEST_F_TIMEOUT(machine, swap_cache_on_device, CDM_TIMEOUT)
{
	size_t size = 32 * MIB;
	char *addr = cdm_map(size);
	long cached;

	cdm_stamp(addr, size, SEED);
	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, cdm_pageout(addr, size));
	EXPECT_EQ(size / PAGE, cdm_spread(addr, size).absent);
	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_BIND, self->dev_mask, 0));
	ASSERT_EQ(0, cdm_start(&self->child, idle_fn, NULL));
	cdm_stat_refresh();
	cached = cdm_meminfo("Cached");
	cdm_fault_in(addr, size);
	cdm_stat_refresh();
	EXPECT_EQ(size / PAGE, cdm_pages_on(addr, size, self->dev));
	EXPECT_LE(size / PAGE / 2,
		  cdm_node_vmstat(self->dev, "nr_swapcached"));
	EXPECT_GE(2 * 1024, labs(cached - cdm_meminfo("Cached")));
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, SEED));
}

/* The sum of @key over all nodes in memory.numa_stat. */
static long numa_stat_sum(const char *cgroup, const char *key)
{
	char buf[8192] = "", *line, *at;
	long sum = 0;

	cdm_cgroup_read(cgroup, "memory.numa_stat", buf, sizeof(buf));
	line = strstr(buf, key);
	if (!line)
		return -1;
	line[strcspn(line, "\n")] = 0;
	for (at = strchr(line, '='); at; at = strchr(at + 1, '='))
		sum += atol(at + 1);
	return sum;
}

/* Who reads cgroups sees a tenant once, and RAM as if there were none. */
TEST_F_TIMEOUT(machine, agent_that_reads_cgroups, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 256 * MIB,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
		.cgroup = "cdm_agent",
	};
	long used, anon, current;

	ASSERT_EQ(0, cdm_cgroup_create("cdm_agent"));
	used = cdm_meminfo("MemTotal") - cdm_meminfo("MemAvailable");
	ASSERT_NE(NULL, tenant_start(&self->child, &tenant));
	/* The counters are flushed every two seconds. */
	sleep(3);
	anon = cdm_cgroup_stat("cdm_agent", "memory.stat", "anon");
	current = cdm_read_long(CDM_CGROUPS
				"/cdm_agent/memory.current");
	EXPECT_LE((long)tenant.size, anon);
	EXPECT_EQ(anon, numa_stat_sum("cdm_agent", "anon "));
	EXPECT_LE((long)tenant.size, current);
	EXPECT_GT((long)tenant.size * 3 / 2, current);
	EXPECT_GT((long)tenant.size / 1024 / 2, cdm_meminfo("MemTotal") -
		  cdm_meminfo("MemAvailable") - used);
}

/* In hundredths of MiB, which it rounds to. */
static long numastat_total(int column)
{
	return says_after("numastat -m 2>/dev/null", "MemTotal", column) * 100 +
	       0.5;
}

/* Columns by node, and their sum. */
TEST_F_TIMEOUT(machine, numastat_of_meminfo, CDM_TIMEOUT)
{
	int nr = cdm_devs().nr + cdm_rams().nr;
	long sum = 0;

	for (int nid = 0; nid < nr; nid++) {
		long total = numastat_total(nid);

		EXPECT_GE(1, labs(cdm_node_meminfo(nid, "MemTotal") * 100 /
				  1024 - total));
		sum += total;
	}
	EXPECT_GE(nr, labs(sum - numastat_total(nr)));
}

TEST_HARNESS_MAIN
