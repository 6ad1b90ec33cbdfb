// SPDX-License-Identifier: GPL-2.0
/*
 * The system calls that move pages: to name a node there is to name it.
 */
#include <sys/uio.h>

#include "cdm_util.h"

#define SIZE	(16 * MIB)
#define PAGES	(SIZE / PAGE)
#define SEED	7

FIXTURE(move) {
	int dev;
	int ram;
	unsigned long dev_mask;
	unsigned long ram_mask;
	struct cdm_child child;
};

FIXTURE_SETUP(move)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	self->ram = cdm_ram(0);
	self->dev_mask = 1UL << self->dev;
	self->ram_mask = 1UL << self->ram;
}

FIXTURE_TEARDOWN(move)
{
	if (self->child.pid)
		cdm_kill(&self->child);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

/* Move @addr to the device and back; the pages must go and keep their text. */
static void there_and_back(struct __test_metadata *_metadata,
			   const char *addr, size_t size, int dev, int ram)
{
	__u64 hash = cdm_hash(addr, size);

	EXPECT_EQ(size / PAGE, cdm_move(addr, size, dev));
	EXPECT_EQ(hash, cdm_hash(addr, size));
	EXPECT_EQ(size / PAGE, cdm_pages_on(addr, size, dev));
	EXPECT_EQ(size / PAGE, cdm_move(addr, size, ram));
	EXPECT_EQ(hash, cdm_hash(addr, size));
}

TEST_F(move, anon)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	there_and_back(_metadata, addr, SIZE, self->dev, self->ram);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(move, shmem)
{
	char *addr = cdm_map_shared(SIZE);

	cdm_fill(addr, SIZE, SEED);
	there_and_back(_metadata, addr, SIZE, self->dev, self->ram);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(move, mapped_file)
{
	char *addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED,
			  cdm_open_big(SIZE), 0);

	ASSERT_NE(MAP_FAILED, addr);
	there_and_back(_metadata, addr, SIZE, self->dev, self->ram);
}

TEST_F(move, thp)
{
	char *addr = cdm_map_huge(SIZE);

	ASSERT_NE(NULL, addr);
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	cdm_stat_refresh();
	EXPECT_EQ(SIZE / 1024, cdm_node_meminfo(self->dev, "AnonHugePages"));
	EXPECT_EQ(PAGES, cdm_move(addr, SIZE, self->ram));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(move, between_devices)
{
	char *addr;

	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	addr = cdm_map_on(cdm_dev(0), SIZE, SEED);
	ASSERT_NE(NULL, addr);
	there_and_back(_metadata, addr, SIZE, cdm_dev(1), cdm_dev(0));
}

/* One page moves, one is a hole in a mapping, one is not mapped at all. */
TEST_F(move, status)
{
	char *addr = cdm_map(3 * PAGE);
	void *page[] = { addr, addr + PAGE, addr + 2 * PAGE };
	int node[] = { self->dev, self->dev, self->dev };
	int status[] = { -1, -1, -1 };

	addr[0] = 1;
	ASSERT_EQ(0, munmap(addr + 2 * PAGE, PAGE));
	ASSERT_EQ(0, move_pages(0, 3, page, node, status, MPOL_MF_MOVE));
	EXPECT_EQ(self->dev, status[0]);
	EXPECT_EQ(-ENOENT, status[1]);
	EXPECT_EQ(-EFAULT, status[2]);
	EXPECT_EQ(1, addr[0]);
}

/* Nor does one that cannot move keep quiet about one that is there already. */
TEST_F(move, status_beside_a_page_that_stays)
{
	char *addr = cdm_map(3 * PAGE);
	void *page[] = { addr, addr + PAGE, addr + 2 * PAGE };
	int node[] = { self->dev, self->dev, self->dev };
	int status[] = { -1, -1, -1 };
	struct iovec pinned = { .iov_base = page[1], .iov_len = PAGE };
	int pipes[2];

	cdm_fill(addr, 3 * PAGE, SEED);
	ASSERT_EQ(1, cdm_move(page[2], PAGE, self->dev));
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	ASSERT_EQ(PAGE, vmsplice(pipes[1], &pinned, 1, 0));
	EXPECT_EQ(1, move_pages(0, 3, page, node, status, MPOL_MF_MOVE));
	EXPECT_EQ(self->dev, status[0]);
	EXPECT_EQ(-1, status[1]);
	EXPECT_EQ(self->dev, status[2]);
	EXPECT_EQ(0, cdm_wrong(addr, 3 * PAGE, SEED));
	close(pipes[0]);
	close(pipes[1]);
}

TEST_F(move, unknown_node)
{
	char *addr = cdm_map(PAGE);

	addr[0] = 1;
	EXPECT_EQ(-ENODEV, cdm_move(addr, PAGE, 15));
	EXPECT_EQ(-ENODEV, cdm_move(addr, PAGE, 1 << 20));
	EXPECT_EQ(1, cdm_spread_in(cdm_spread(addr, PAGE), cdm_rams()));
}

TEST_F(move, node_outside_cpuset)
{
	char *addr = cdm_map(PAGE), mems[64];

	addr[0] = 1;
	snprintf(mems, sizeof(mems), "%d", self->ram);
	ASSERT_EQ(0, cdm_cgroup_create("cdm_move"));
	ASSERT_EQ(0, cdm_cgroup_write("cdm_move", "cpuset.mems", mems));
	ASSERT_EQ(0, cdm_cgroup_enter("cdm_move"));
	EXPECT_EQ(-EACCES, cdm_move(addr, PAGE, self->dev));
	EXPECT_EQ(0, cdm_pages_on(addr, PAGE, self->dev));
	ASSERT_EQ(0, cdm_cgroup_leave());
	EXPECT_EQ(1, cdm_move(addr, PAGE, self->dev));
}

static int sleeper_fn(struct cdm_child *me, void *arg)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return cdm_wrong(addr, SIZE, SEED) ? 1 : 0;
}

/* migrate_pages(2) takes a whole process, here one that sleeps. */
TEST_F(move, migrate_pages)
{
	unsigned long all_ram = cdm_mask(cdm_rams());
	struct cdm_spread spread;
	struct cdm_child child;
	char *addr;

	ASSERT_EQ(0, cdm_start(&child, sleeper_fn, NULL));
	addr = (char *)cdm_hear(&child);
	EXPECT_LE(0, migrate_pages(child.pid, 64, &all_ram, &self->dev_mask));
	spread = cdm_spread_of(child.pid, addr, SIZE);
	EXPECT_EQ(PAGES, spread.on[self->dev]);
	EXPECT_LE(0, migrate_pages(child.pid, 64, &self->dev_mask,
				   &self->ram_mask));
	spread = cdm_spread_of(child.pid, addr, SIZE);
	EXPECT_EQ(PAGES, spread.on[self->ram]);
	cdm_say(&child, 0);
	EXPECT_EQ(0, cdm_wait(&child));
}

TEST_F(move, mbind_move)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->ram_mask,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->ram));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(move, mbind_strict_sees_device)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	EXPECT_EQ(-EIO, cdm_mbind(addr, SIZE, MPOL_BIND, self->ram_mask,
				  MPOL_MF_STRICT));
	EXPECT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask,
			       MPOL_MF_STRICT));
}

/* The count that numa_maps shows for the mapping at @addr, or 0. */
static long numa_maps_count(const char *addr, int nid)
{
	char line[1024], key[32];
	long nr = 0;
	FILE *maps = fopen("/proc/self/numa_maps", "r");

	snprintf(key, sizeof(key), " N%d=", nid);
	while (maps && fgets(line, sizeof(line), maps)) {
		char *at = strstr(line, key);

		if (strtoul(line, NULL, 16) == (uintptr_t)addr && at)
			nr = atol(at + strlen(key));
	}
	if (maps)
		fclose(maps);
	return nr;
}

TEST_F(move, numa_maps)
{
	char *addr = cdm_map(SIZE);

	/* A policy of its own keeps the mapping from being merged. */
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_PREFERRED, self->ram_mask, 0));
	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(PAGES, numa_maps_count(addr, self->ram));
	ASSERT_EQ(PAGES / 2, cdm_move(addr, SIZE / 2, self->dev));
	EXPECT_EQ(PAGES / 2, numa_maps_count(addr, self->dev));
	EXPECT_EQ(PAGES / 2, numa_maps_count(addr, self->ram));
}

/* Bytes of @key on @nid in memory.numa_stat of the cgroup, or -1. */
static long bytes_on_node(const char *group, const char *key, int nid)
{
	char buf[8192], want[32], *at;
	size_t len = strlen(key);

	if (cdm_cgroup_read(group, "memory.numa_stat", buf, sizeof(buf)) < 0)
		return -1;
	snprintf(want, sizeof(want), " N%d=", nid);
	for (at = strtok(buf, "\n"); at; at = strtok(NULL, "\n")) {
		if (strncmp(at, key, len) || at[len] != ' ')
			continue;
		at = strstr(at, want);
		return at ? atol(at + strlen(want)) : -1;
	}
	return -1;
}

/* A2: charged once, wherever it is, and shown where it is. */
TEST_F(move, memory_cgroup)
{
	char *addr = cdm_map(SIZE);
	long before, after;

	ASSERT_EQ(0, cdm_cgroup_create("cdm_move"));
	ASSERT_EQ(0, cdm_cgroup_enter("cdm_move"));
	cdm_fill(addr, SIZE, SEED);
	before = cdm_cgroup_stat("cdm_move", "memory.stat", "anon");
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	after = cdm_cgroup_stat("cdm_move", "memory.stat", "anon");
	EXPECT_LE(SIZE, after);
	EXPECT_GE(SIZE / 4, labs(after - before));
	/* The counters are flushed every two seconds. */
	sleep(3);
	EXPECT_EQ(SIZE, bytes_on_node("cdm_move", "anon", self->dev));
	ASSERT_EQ(0, cdm_cgroup_leave());
}

/* A moved page names nothing: its copy is made by the policy, in RAM. */
TEST_F(move, cow_after_move)
{
	char *addr = cdm_map(SIZE);
	int status = -1;
	pid_t pid;

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	pid = fork();
	if (!pid) {
		cdm_fill(addr, SIZE, SEED + 1);
		if (cdm_pages_on(addr, SIZE, self->dev))
			_exit(1);
		_exit(cdm_wrong(addr, SIZE, SEED + 1) ? 2 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
}

/* What the kernel traces of the test itself. */
#define TRACING	"/sys/kernel/tracing"

static bool trace_set(const char *event, bool on)
{
	char path[128];

	snprintf(path, sizeof(path), TRACING "/events/%s/enable", event);
	return !cdm_write(path, on ? "1" : "0");
}

/* Returns whether there are such events. */
static bool trace_begin(const char * const *events, int nr)
{
	bool found = true;

	if (access(TRACING "/events/cdm", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	cdm_writef(TRACING "/set_event_pid", "%d", getpid());
	cdm_write(TRACING "/trace", "");
	for (int i = 0; i < nr; i++)
		found &= trace_set(events[i], true);
	return found;
}

static FILE *trace_end(const char * const *events, int nr)
{
	for (int i = 0; i < nr; i++)
		trace_set(events[i], false);
	cdm_write(TRACING "/set_event_pid", "");
	return fopen(TRACING "/trace", "re");
}

/* The notice, and the flush with it, are for the first to the last page that moves. */
TEST_F(move, notice_covers_what_moves)
{
	static const char * const events[] = { "tlb/tlb_flush" };
	char *addr = cdm_map_huge(HPAGE), line[512];
	bool narrow = false, wide = false;
	long pages;
	FILE *trace;

	madvise(addr, HPAGE, MADV_NOHUGEPAGE);
	cdm_fill(addr, HPAGE, SEED);
	ASSERT_EQ(HPAGE / PAGE, cdm_move(addr, HPAGE, self->dev));
	/* Two of them are to go back. */
	ASSERT_EQ(1, cdm_move(addr + 100 * PAGE, PAGE, self->ram));
	ASSERT_EQ(1, cdm_move(addr + 120 * PAGE, PAGE, self->ram));
	if (!trace_begin(events, ARRAY_SIZE(events))) {
		trace_end(events, ARRAY_SIZE(events));
		SKIP(return, "no tracepoint of flushes here");
	}
	ASSERT_EQ(0, cdm_migrate(addr, HPAGE, self->dev, NULL));
	trace = trace_end(events, ARRAY_SIZE(events));
	ASSERT_NE(NULL, trace);
	while (fgets(line, sizeof(line), trace)) {
		if (!strstr(line, "tlb_flush:") ||
		    sscanf(strstr(line, "pages:"), "pages:%ld", &pages) != 1)
			continue;
		narrow |= pages == 21;
		wide |= pages == HPAGE / PAGE || pages == -1;
	}
	fclose(trace);
	EXPECT_TRUE(narrow);
	EXPECT_FALSE(wide);
	EXPECT_EQ(HPAGE / PAGE, cdm_pages_on(addr, HPAGE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, HPAGE, SEED));
}

/* Who wants to change the mappings would wait for it. */
TEST_F_TIMEOUT(move, no_reclaim_under_the_mmap_lock, CDM_TIMEOUT)
{
	static const char * const events[] = {
		"mmap_lock/mmap_lock_acquire_returned",
		"mmap_lock/mmap_lock_released",
		"vmscan/mm_vmscan_direct_reclaim_begin",
	};
	struct cdm_load easy_victim = { .size = 16 * MIB };
	const size_t size = 20 * SIZE;
	char *addr = cdm_map_on(self->dev, size, SEED), line[512];
	long nr_reclaims = 0, nr_under = 0;
	bool locked = false;
	FILE *trace;

	ASSERT_NE(NULL, addr);
	ASSERT_NE(NULL, cdm_load_start(&self->child, &easy_victim));
	ASSERT_EQ(0, cdm_leave_ram(224));
	if (!trace_begin(events, ARRAY_SIZE(events))) {
		trace_end(events, ARRAY_SIZE(events));
		SKIP(return, "no tracepoints of locks and reclaim here");
	}
	EXPECT_LE(0, cdm_migrate(addr, size, CDM_TEST_NID_RAM, NULL));
	trace = trace_end(events, ARRAY_SIZE(events));
	cdm_free_ram();
	ASSERT_NE(NULL, trace);
	while (fgets(line, sizeof(line), trace)) {
		if (strstr(line, "mmap_lock_acquire_returned:"))
			locked = strstr(line, "success=true");
		else if (strstr(line, "mmap_lock_released:"))
			locked = false;
		else if (strstr(line, "direct_reclaim_begin:") && ++nr_reclaims)
			nr_under += locked;
	}
	fclose(trace);
	EXPECT_LT(0, nr_reclaims);
	EXPECT_EQ(0, nr_under);
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
}

/* What a recall needs for itself, it takes once, and from nobody else. */
TEST_F_TIMEOUT(move, recall_takes_scratch_memory_once, CDM_TIMEOUT)
{
	static const char * const events[] = { "kmem/kmalloc" };
	char *addr = cdm_map_on(self->dev, SIZE, SEED), line[512];
	struct cdm_test_recall recall = {
		.nid = self->dev,
		.deadline_ms = CDM_ACK_MS,
	};
	long nr = 0, nr_polite = 0;
	FILE *trace;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_leave_node(self->dev, 16));
	cdm_audit(self->dev, "free");	/* drains the lists of the CPUs */
	recall.nr = cdm_audit(self->dev, "free") + PAGES * 3 / 4;
	if (!trace_begin(events, ARRAY_SIZE(events))) {
		trace_end(events, ARRAY_SIZE(events));
		SKIP(return, "no tracepoint of allocations here");
	}
	EXPECT_EQ(0, cdm_ioctl(CDM_TEST_IOC_RECALL, &recall));
	trace = trace_end(events, ARRAY_SIZE(events));
	ASSERT_NE(NULL, trace);
	while (fgets(line, sizeof(line), trace)) {
		if (!strstr(line, "call_site=cdm_scratch_alloc"))
			continue;
		nr++;
		nr_polite += !!strstr(line, "__GFP_NORETRY");
	}
	fclose(trace);
	/* From several pageblocks */
	EXPECT_LE(3 * HPAGE / PAGE, recall.nr_evicted);
	EXPECT_EQ(4, nr);
	EXPECT_EQ(nr, nr_polite);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_HARNESS_MAIN
