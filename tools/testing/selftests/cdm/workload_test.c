// SPDX-License-Identifier: GPL-2.0
/*
 * Real workloads with RAM full to the brim: none of them may put a page on a
 * device node, at any time.
 *
 * RAM is filled up to BRIM MiB first, more than half of which are reserves. A workload
 * then asks for more than there is, so that a fenced kernel has to reclaim
 * and to swap, while an unfenced one goes on in the empty device. A child looks
 * at the device nodes all the time, and the worst that it saw is what counts.
 *
 * Cases without a row of the contract in their names pass without a fence, too.
 * They guard what a movable node gives by itself, or the way back: a device
 * full of tenants is no reason to touch RAM.
 */
#include <sys/mount.h>

#include "cdm_util.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* MiB; FILL is more than RAM has left even where each of two nodes has some more. */
#define BRIM		96
#define FILL		160
#define SWAP		1024
#define SPARE		16	/* of the device */

#define LOOK_MS		100
#define LOOKS_PER_AUDIT	8
#define MAX_KNOBS	8
#define KNOB_LEN	96

#define DISK_DIR	"/tmp/cdm_disk"
#define MODPROBE	"modprobe"
#define STRESS_NG	"stress-ng"
#define STRESS_LOG	"/tmp/cdm_stress.log"

#define KSM		"/sys/kernel/mm/ksm/"
#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"
#define DAMON		"/sys/kernel/mm/damon/admin/kdamonds/"
#define CONTEXT		DAMON "0/contexts/0/"
#define REGION		CONTEXT "targets/0/regions/0/"
#define SCHEME		CONTEXT "schemes/0/"
#define ZSWAP		"/sys/module/zswap/parameters/"
#define TRACING		"/sys/kernel/tracing/"
#define SHRINK		TRACING "events/vmscan/mm_vmscan_lru_shrink_inactive/"

/* A debug kernel is slow, and not for want of memory. */
static bool slow(void)
{
	return cdm_flavour_is("debug");
}

/* Looking on */

struct watch {
	struct cdm_mark mark;
	bool named;		/* somebody may name the devices meanwhile */
};

static long kb(long pages)
{
	return pages * (long)(PAGE / 1024);
}

static bool told_within(struct cdm_child *me, int ms)
{
	struct pollfd pfd = { .fd = me->in, .events = POLLIN };

	return poll(&pfd, 1, ms) != 0;
}

/* How many kB are where they should not be. */
static long look(struct watch *watch, bool audit)
{
	long leaked = watch->named ? 0 : cdm_leaked(watch->mark);
	long unfenced = audit ? kb(cdm_unfenced()) : 0;

	return leaked > unfenced ? leaked : unfenced;
}

/* Must see everything: it is neither swapped out nor killed. */
static int watch_fn(struct cdm_child *me, void *arg)
{
	struct watch *watch = arg;
	long worst = 0, now;
	bool told = false;

	cdm_write("/proc/self/oom_score_adj", "-1000");
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		return 1;
	for (int i = 0; !told; i++) {
		told = told_within(me, LOOK_MS);
		now = look(watch, told || i % LOOKS_PER_AUDIT == 0);
		if (now > worst)
			worst = now;
	}
	cdm_say(me, worst);
	return 0;
}

/* What a case changes and the teardown puts back. */

struct knob {
	char path[KNOB_LEN];
	char old[KNOB_LEN];
};

struct knobs {
	int nr;
	struct knob knob[MAX_KNOBS];
};

static bool set_knob(struct knobs *knobs, const char *path, const char *text)
{
	struct knob *knob = &knobs->knob[knobs->nr];

	if (knobs->nr == MAX_KNOBS ||
	    cdm_read(path, knob->old, KNOB_LEN) < 0 || cdm_write(path, text))
		return false;
	snprintf(knob->path, KNOB_LEN, "%s", path);
	knobs->nr++;
	return true;
}

static void reset_knobs(struct knobs *knobs)
{
	while (knobs->nr) {
		knobs->nr--;
		cdm_write(knobs->knob[knobs->nr].path,
			  knobs->knob[knobs->nr].old);
	}
}

struct brim {
	struct cdm_child load[2];
	long stolen;
};

FIXTURE(workload) {
	struct watch watch;
	struct cdm_child watcher;
	struct brim brim;
	struct knobs knobs;
	bool mounted;
	char block[KNOB_LEN];	/* the block of RAM that is offline */
};

/* Pages that reclaim took so far. */
static long stolen(void)
{
	return cdm_vmstat("pgsteal_kswapd") + cdm_vmstat("pgsteal_direct");
}

FIXTURE_SETUP(workload)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->watch.mark = cdm_mark();
	ASSERT_EQ(0, cdm_start(&self->watcher, watch_fn, &self->watch));
}

/* The last look is at what there is when all is done, but not yet undone. */
static void expect_watched(struct __test_metadata *_metadata,
			   struct cdm_child *watcher)
{
	long worst;

	cdm_say(watcher, 0);
	worst = cdm_hear(watcher);
	cdm_kill(watcher);
	EXPECT_EQ(0, worst) {
		TH_LOG("%ld kB on the device nodes at the worst", worst);
	}
}

/* Everything has ended: not even in the lists of a CPU is there a page. */
static void expect_empty(struct __test_metadata *_metadata,
			 struct watch *watch)
{
	/* Pages on their way to the LRU are held by lists of each CPU. */
	cdm_write("/proc/sys/vm/compact_memory", "1");
	EXPECT_EQ(watch->mark.named, cdm_mark().named);
	EXPECT_EQ(0, cdm_unfenced());
	EXPECT_EQ(0, cdm_audit_used());
}

FIXTURE_TEARDOWN(workload)
{
	expect_watched(_metadata, &self->watcher);
	for (int i = 0; i < ARRAY_SIZE(self->brim.load); i++)
		if (self->brim.load[i].pid)
			cdm_kill(&self->brim.load[i]);
	if (self->block[0])
		EXPECT_EQ(0, cdm_write(self->block, "online_kernel"));
	/* What is in swap needs room to come back. */
	cdm_free_ram();
	if (cdm_disk())
		swapoff(cdm_disk());
	reset_knobs(&self->knobs);
	if (self->mounted)
		EXPECT_EQ(0, umount(DISK_DIR));
	EXPECT_EQ(0, cdm_reset(_metadata));
	expect_empty(_metadata, &self->watch);
}

/* From here on RAM is full: what is taken now has to be taken from somebody. */
static bool fill_ram(struct brim *brim, long mib)
{
	if (cdm_leave_ram(mib))
		return false;
	brim->stolen = stolen();
	return true;
}

/* As above, with somewhere to swap out to. */
static bool fill_ram_swap(struct brim *brim, long mib)
{
	return !cdm_swap_on(SWAP) && fill_ram(brim, mib);
}

static bool swap_to_disk(void)
{
	return cdm_disk() && !system("mkswap $CDM_DISK >/dev/null 2>&1") &&
	       !swapon(cdm_disk(), 0);
}

/* There was pressure. Without a fence there is none: the device is empty. */
static void expect_pressure(struct __test_metadata *_metadata,
			    struct brim *brim)
{
	if (!cdm_is_unfenced())
		EXPECT_LT(4 * (long)(MIB / PAGE), stolen() - brim->stolen);
}

/* Anonymous memory with a stamp on each page. */

struct fill {
	size_t size;
	bool huge;
	bool locked;
	bool dense;		/* an eighth of each page does not compress */
	unsigned long nodes;	/* bound to them */
	const char *cgroup;
};

static int fill_fn(struct cdm_child *me, void *arg)
{
	struct fill *fill = arg;
	char *addr;

	if (fill->cgroup && cdm_cgroup_enter(fill->cgroup))
		return 2;
	addr = fill->huge ? cdm_map_huge(fill->size) : cdm_map(fill->size);
	if (!addr)
		return 3;
	if (fill->nodes &&
	    cdm_mbind(addr, fill->size, MPOL_BIND, fill->nodes, 0))
		return 4;
	if (fill->locked && mlock(addr, fill->size))
		return 5;
	cdm_stamp(addr, fill->size, fill->size);
	for (size_t off = 0; fill->dense && off < fill->size; off += PAGE)
		cdm_fill(addr + off, PAGE / 8, fill->size + off);
	cdm_say(me, 0);
	while (cdm_hear(me) != LONG_MIN)
		cdm_say(me, cdm_stamp_wrong(addr, fill->size, fill->size));
	return 0;
}

static bool fill_start(struct cdm_child *child, struct fill *fill)
{
	return !cdm_start(child, fill_fn, fill) && !cdm_hear(child);
}

/* Look at all pages, which swaps in and out. Returns how many are wrong. */
static long fill_check(struct cdm_child *child)
{
	cdm_say(child, 0);
	return cdm_hear(child);
}

TEST_F_TIMEOUT(workload, F1_anon_fill_with_swap, CDM_TIMEOUT)
{
	struct fill fill = { .size = FILL * MIB };

	ASSERT_TRUE(fill_ram_swap(&self->brim, BRIM));
	EXPECT_TRUE(fill_start(&self->brim.load[0], &fill));
	EXPECT_EQ(0, fill_check(&self->brim.load[0]));
	expect_pressure(_metadata, &self->brim);
}

TEST_F_TIMEOUT(workload, F1_anon_fill_with_swap_thp, CDM_TIMEOUT)
{
	struct fill fill = { .size = FILL * MIB, .huge = true };

	ASSERT_TRUE(fill_ram_swap(&self->brim, BRIM));
	EXPECT_TRUE(fill_start(&self->brim.load[0], &fill));
	expect_pressure(_metadata, &self->brim);
}

/* Files */

static bool write_file(int fd, long mib)
{
	static char buf[MIB];

	for (long i = 0; i < mib; i++) {
		cdm_stamp(buf, MIB, i);
		if (write(fd, buf, MIB) != MIB)
			return false;
	}
	return true;
}

/* Returns the number of wrong pages. */
static long read_file(int fd, long mib)
{
	static char buf[MIB];
	long wrong = 0;

	for (long i = 0; i < mib; i++) {
		if (pread(fd, buf, MIB, i * MIB) != MIB)
			return LONG_MIN;
		wrong += cdm_stamp_wrong(buf, MIB, i);
	}
	return wrong;
}

static int temporary_file(const char *dir)
{
	char path[KNOB_LEN];
	int fd;

	snprintf(path, sizeof(path), "%s/cdm_XXXXXX", dir);
	fd = mkstemp(path);
	unlink(path);
	return fd;
}

/* What is written is read again, the first half of it by faults, too. */
static void run_file(struct __test_metadata *_metadata, struct brim *brim,
		     int fd, long mib)
{
	char *addr;

	ASSERT_LE(0, fd);
	EXPECT_TRUE(write_file(fd, mib));
	addr = mmap(NULL, mib / 2 * MIB, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	cdm_fault_in(addr, mib / 2 * MIB);
	EXPECT_EQ(0, read_file(fd, mib));
	munmap(addr, mib / 2 * MIB);
	close(fd);
	expect_pressure(_metadata, brim);
}

TEST_F_TIMEOUT(workload, F3_disk_page_cache_fill, CDM_TIMEOUT)
{
	const char *why = cdm_mount_disk(DISK_DIR);

	if (why)
		SKIP(return, "%s", why);
	self->mounted = true;
	ASSERT_TRUE(fill_ram(&self->brim, BRIM));
	run_file(_metadata, &self->brim, temporary_file(DISK_DIR),
		 2 * FILL);
}

TEST_F_TIMEOUT(workload, F3_tmpfs_fill, CDM_TIMEOUT)
{
	ASSERT_TRUE(fill_ram_swap(&self->brim, BRIM));
	run_file(_metadata, &self->brim, temporary_file("/tmp"), FILL);
}

/*
 * Compressed pages are movable memory of the kernel. What is compressed here is
 * bound to RAM, so that nothing else can come onto a device. An eighth of it is
 * noise: what is compressed must fit into what the watermarks leave of BRIM, which
 * is 29 MiB on two nodes.
 */
static void run_dense_fill(struct __test_metadata *_metadata,
			   struct brim *brim)
{
	struct fill fill = {
		.size = BRIM * MIB,
		.dense = true,
		.nodes = cdm_mask(cdm_rams()),
	};

	EXPECT_TRUE(fill_start(&brim->load[0], &fill));
	expect_pressure(_metadata, brim);
}

TEST_F_TIMEOUT(workload, F19_zram_fill, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_zram_on(SWAP));
	ASSERT_TRUE(fill_ram(&self->brim, BRIM));
	run_dense_fill(_metadata, &self->brim);
}

TEST_F_TIMEOUT(workload, F19_zswap_fill, CDM_TIMEOUT)
{
	long stored = cdm_vmstat("zswpout");

	if (access(ZSWAP "enabled", F_OK))
		SKIP(return, "the kernel has no zswap");
	ASSERT_TRUE(swap_to_disk());
	ASSERT_TRUE(set_knob(&self->knobs, ZSWAP "enabled", "Y"));
	ASSERT_TRUE(fill_ram(&self->brim, BRIM));
	run_dense_fill(_metadata, &self->brim);
	EXPECT_LT(stored, cdm_vmstat("zswpout"));
}

/* Processes */

#define STORM_SLICE	(4 * MIB)
#define STORM_SLICES	8
#define STORM_SHORT	4

struct storm {
	int nr;
	char *addr;
	int ready[2];
	int go[2];
};

/* Processes that come and go at once: page tables, stacks, slab. */
static void storm_short(void)
{
	for (int i = 0; i < STORM_SHORT; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
	}
}

/* Break the sharing of a slice, wait until all have, look at it again. */
static int storm_child(struct storm *storm, int i)
{
	char *slice = storm->addr + i % STORM_SLICES * STORM_SLICE, byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(storm->go[1]);
	cdm_stamp(slice, STORM_SLICE, i);
	storm_short();
	if (write(storm->ready[1], &byte, 1) != 1 ||
	    read(storm->go[0], &byte, 1) != 0)
		return 1;
	return cdm_stamp_wrong(slice, STORM_SLICE, i) != 0;
}

static long storm_end(struct storm *storm)
{
	size_t size = STORM_SLICES * STORM_SLICE;
	long wrong = 0;
	int status;

	close(storm->go[1]);
	while (wait(&status) > 0)
		wrong += status != 0;
	return wrong + cdm_stamp_wrong(storm->addr, size, storm->nr);
}

static int storm_fn(struct cdm_child *me, void *arg)
{
	struct storm storm = { .nr = slow() ? 28 : 32 };
	char byte;

	storm.addr = cdm_map(STORM_SLICES * STORM_SLICE);
	cdm_stamp(storm.addr, STORM_SLICES * STORM_SLICE, storm.nr);
	if (pipe(storm.ready) || pipe(storm.go))
		return 1;
	for (int i = 0; i < storm.nr; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(storm_child(&storm, i));
		if (pid < 0)
			return 2;
	}
	for (int i = 0; i < storm.nr; i++)
		if (read(storm.ready[0], &byte, 1) != 1)
			return 3;
	cdm_say(me, storm_end(&storm));
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(workload, F1_fork_storm, CDM_TIMEOUT)
{
	ASSERT_TRUE(fill_ram_swap(&self->brim, BRIM));
	ASSERT_EQ(0, cdm_start(&self->brim.load[0], storm_fn, NULL));
	EXPECT_EQ(0, cdm_hear(&self->brim.load[0]));
	expect_pressure(_metadata, &self->brim);
}

/* Huge pages */

/* Memory that nobody can take from us until it is given back. */
static char *ballast(size_t size)
{
	char *addr = cdm_map(size);

	if (!addr ||
	    cdm_mbind(addr, size, MPOL_BIND, cdm_mask(cdm_rams()), 0) ||
	    mlock(addr, size))
		return NULL;
	return addr;
}

static char *map_hugetlb(long nr)
{
	return mmap(NULL, nr * HPAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
}

/*
 * All RAM goes into the pool. Then the pool is reserved, and surplus pages are
 * asked for on top. Without ballast the rest of the machine would be killed for
 * the next page that it needs; kmemleak needs one all the time and would give
 * up, so leave it some.
 */
TEST_F_TIMEOUT(workload, F5_hugetlb_grow, CDM_TIMEOUT)
{
	long ram = cdm_nodes_meminfo(cdm_rams(), "MemTotal") / 1024;
	long most = slow() ? ram * 7 / 8 / 2 : 1000000, nr;
	char *held = ballast(BRIM / 2 * MIB);

	ASSERT_NE(NULL, held);
	ASSERT_TRUE(set_knob(&self->knobs,
			     "/proc/sys/vm/nr_overcommit_hugepages",
			     "1000000"));
	ASSERT_EQ(0, cdm_writef("/proc/sys/vm/nr_hugepages", "%ld", most));
	nr = cdm_meminfo("HugePages_Free");
	EXPECT_NE(MAP_FAILED, map_hugetlb(nr));
	for (int i = 0; i < 16; i++)
		map_hugetlb(4);
	munmap(held, BRIM / 2 * MIB);
	EXPECT_LT(ram / 2, nr * (long)(HPAGE / MIB));
	EXPECT_EQ(0, cdm_nodes_meminfo(cdm_devs(), "HugePages_Total"));
	EXPECT_EQ(0, cdm_nodes_meminfo(cdm_devs(), "HugePages_Surp"));
}

/*
 * Shared pages become many again when KSM has to give them up, and khugepaged
 * wants huge pages where there are not even small ones.
 */
#define MERGED		(48 * MIB)
#define COLLAPSED	(32 * MIB)

static bool wait_for(const char *path, long least)
{
	for (int i = 0; i < CDM_PATIENCE * 10; i++) {
		if (cdm_read_long(path) >= least)
			return true;
		usleep(100000);
	}
	return false;
}

static bool merge(struct knobs *knobs, char *addr)
{
	if (!addr || madvise(addr, MERGED, MADV_MERGEABLE))
		return false;
	cdm_touch(addr, MERGED);
	return set_knob(knobs, KSM "sleep_millisecs", "0") &&
	       set_knob(knobs, KSM "pages_to_scan", "10000") &&
	       set_knob(knobs, KSM "run", "1") &&
	       wait_for(KSM "pages_sharing", MERGED / PAGE * 9 / 10);
}

static bool wake_khugepaged(struct knobs *knobs)
{
	return set_knob(knobs, KHUGEPAGED "pages_to_scan", "100000") &&
	       set_knob(knobs, KHUGEPAGED "alloc_sleep_millisecs", "0") &&
	       set_knob(knobs, KHUGEPAGED "scan_sleep_millisecs", "10");
}

TEST_F_TIMEOUT(workload, F10_ksm_and_khugepaged, CDM_TIMEOUT)
{
	struct fill fill = { .size = BRIM * MIB };
	char *shared = cdm_map(MERGED), *small = cdm_map(COLLAPSED);
	long scans;

	ASSERT_TRUE(merge(&self->knobs, shared));
	cdm_stamp(small, COLLAPSED, 10);
	ASSERT_TRUE(fill_ram_swap(&self->brim, BRIM));
	EXPECT_TRUE(fill_start(&self->brim.load[0], &fill));

	ASSERT_EQ(0, madvise(small, COLLAPSED, MADV_HUGEPAGE));
	scans = cdm_read_long(KHUGEPAGED "full_scans");
	ASSERT_TRUE(wake_khugepaged(&self->knobs));
	ASSERT_EQ(0, cdm_write(KSM "run", "2"));
	EXPECT_EQ(0, cdm_read_long(KSM "pages_sharing"));
	EXPECT_TRUE(wait_for(KHUGEPAGED "full_scans", scans + 2));
	/* May fail for want of memory, which is right here. */
	madvise(small, COLLAPSED, MADV_COLLAPSE);

	EXPECT_EQ(0, cdm_stamp_wrong(small, COLLAPSED, 10));
	EXPECT_EQ(0, cdm_spread_in(cdm_spread(small, COLLAPSED), cdm_devs()));
	EXPECT_EQ(0, cdm_spread_in(cdm_spread(shared, MERGED), cdm_devs()));
	expect_pressure(_metadata, &self->brim);
}

/* Memory of the kernel itself */

static int modprobe(const char *options, const char *name)
{
	char command[64];

	snprintf(command, sizeof(command), MODPROBE " %s %s", options, name);
	return system(command);
}

/* Code, data, per-CPU areas and caches of modules, while pages are short. */
TEST_F_TIMEOUT(workload, module_load_unload, CDM_TIMEOUT)
{
	struct fill fill = { .size = FILL * MIB };

	ASSERT_TRUE(swap_to_disk());
	ASSERT_TRUE(fill_ram(&self->brim, BRIM));
	ASSERT_TRUE(fill_start(&self->brim.load[0], &fill));
	cdm_say(&self->brim.load[0], 0);
	for (int i = 0; i < 6; i++) {
		EXPECT_EQ(0, modprobe("", "lkdtm"));
		EXPECT_EQ(0, modprobe("", "zram"));
		EXPECT_EQ(0, modprobe("-r", "zram"));
		EXPECT_EQ(0, modprobe("-r", "lkdtm"));
	}
	EXPECT_EQ(0, cdm_hear(&self->brim.load[0]));
	expect_pressure(_metadata, &self->brim);
}

/* Compaction stays within a node, with a fence and without. */
TEST_F_TIMEOUT(workload, compact_memory, CDM_TIMEOUT)
{
	long moved = cdm_vmstat("compact_migrate_scanned");

	ASSERT_TRUE(fill_ram(&self->brim, BRIM));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, cdm_read_files(96 * MIB));
		EXPECT_EQ(0, cdm_write("/proc/sys/vm/compact_memory", "1"));
	}
	EXPECT_LT(moved, cdm_vmstat("compact_migrate_scanned"));
}

/* A block of RAM goes offline while there is no place for its pages. */

static long block_size(void)
{
	char buf[64] = "";

	cdm_read("/sys/devices/system/memory/block_size_bytes", buf,
		 sizeof(buf));
	return strtol(buf, NULL, 16);
}

/* The block of RAM that a page of ours is in, 0 if there is none. */
static long block_of(int pagemap, const char *addr)
{
	__u64 entry = 0;

	if (pread(pagemap, &entry, sizeof(entry),
		  (uintptr_t)addr / PAGE * sizeof(entry)) != sizeof(entry) ||
	    !(entry >> 63))
		return 0;
	return (entry & ((1ULL << 55) - 1)) * PAGE / block_size();
}

/*
 * A block with a page of the kernel in it stays online, so have many blocks to
 * choose from. All pages are huge ones.
 */
#define OFFLINE_BLOCKS	10
#define MAX_BLOCKS	4096

/*
 * Empty one of the blocks that our pages are in, and take it offline if there is
 * nothing else in it.
 */
static bool offline_a_block(char *state, const char *addr, size_t size)
{
	static int ours[MAX_BLOCKS];
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	long moved = cdm_vmstat("pgmigrate_success");
	bool done = false, enough = false;

	for (size_t off = 0; off < size; off += HPAGE)
		ours[block_of(pagemap, addr + off) % MAX_BLOCKS]++;
	close(pagemap);
	for (int i = 1; i < MAX_BLOCKS && !done && !enough; i++) {
		if (ours[i] < block_size() / HPAGE * 3 / 4)
			continue;
		snprintf(state, KNOB_LEN,
			 "/sys/devices/system/memory/memory%d/state", i);
		done = cdm_try_offline(state);
		enough = cdm_vmstat("pgmigrate_success") - moved >=
			 block_size() / PAGE / 2;
	}
	if (!done)
		state[0] = 0;
	return done || enough;
}

/* What has to make room is easy to reclaim, or this takes minutes. */
TEST_F_TIMEOUT(workload, F13_ram_block_offline, CDM_TIMEOUT)
{
	size_t size = OFFLINE_BLOCKS * block_size();
	struct cdm_load lazy = {
		.size = FILL * MIB,
		.mode = MPOL_BIND,
		.mask = cdm_mask(cdm_rams()),
		.huge = true,
		.lazy = true,
	};
	char *addr = cdm_map_huge(size);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_PREFERRED, 1UL << cdm_ram(0),
			       0));
	cdm_stamp(addr, size, 13);
	ASSERT_NE(NULL, cdm_load_start(&self->brim.load[0], &lazy));
	/* The pages of compressed RAM have to make room as well. */
	ASSERT_EQ(0, cdm_zram_on(SWAP));
	ASSERT_TRUE(fill_ram(&self->brim, BRIM));
	ASSERT_TRUE(offline_a_block(self->block, addr, size));
	EXPECT_EQ(0, cdm_spread_in(cdm_spread(addr, size), cdm_devs()));
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, 13));
	expect_pressure(_metadata, &self->brim);
}

/* What moves memory between nodes */

/* Bound to RAM, but demotion does not mind. */
TEST_F_TIMEOUT(workload, F9_demotion_enabled, CDM_TIMEOUT)
{
	struct fill fill = {
		.size = FILL * MIB,
		.nodes = cdm_mask(cdm_rams()),
	};

	ASSERT_TRUE(set_knob(&self->knobs,
			     "/sys/kernel/mm/numa/demotion_enabled", "1"));
	ASSERT_TRUE(fill_ram_swap(&self->brim, BRIM));
	EXPECT_TRUE(fill_start(&self->brim.load[0], &fill));
	expect_pressure(_metadata, &self->brim);
}

TEST_F_TIMEOUT(workload, F11_numa_balancing, CDM_TIMEOUT)
{
	struct fill fill = { .size = FILL / 2 * MIB };
	struct fill huge = { .size = FILL / 2 * MIB, .huge = true };

	ASSERT_TRUE(set_knob(&self->knobs, "/proc/sys/kernel/numa_balancing",
			     "3"));
	ASSERT_TRUE(fill_ram_swap(&self->brim, BRIM));
	EXPECT_TRUE(fill_start(&self->brim.load[0], &fill));
	EXPECT_TRUE(fill_start(&self->brim.load[1], &huge));
	EXPECT_EQ(0, fill_check(&self->brim.load[0]));
	EXPECT_EQ(0, fill_check(&self->brim.load[1]));
	expect_pressure(_metadata, &self->brim);
}

/* What reclaim of a cgroup has driven out comes back when RAM is full. */
TEST_F_TIMEOUT(workload, F8_memory_reclaim, CDM_TIMEOUT)
{
	struct fill tenant = { .size = BRIM * MIB, .cgroup = "cdm_workload" };
	/* All that is left, and lists of CPUs hide some of it. */
	struct fill locked = {
		.size = BRIM * MIB,
		.locked = true,
		.nodes = cdm_mask(cdm_rams()),
	};
	long out = cdm_vmstat("pswpout");

	ASSERT_EQ(0, cdm_cgroup_create("cdm_workload"));
	ASSERT_TRUE(fill_ram_swap(&self->brim, 2 * BRIM));
	ASSERT_TRUE(fill_start(&self->brim.load[0], &tenant));
	for (int i = 0; i < 4; i++)
		cdm_cgroup_write("cdm_workload", "memory.reclaim", "32M");
	EXPECT_LE(BRIM * 3 / 4 * (long)(MIB / PAGE),
		  cdm_vmstat("pswpout") - out);
	ASSERT_TRUE(fill_start(&self->brim.load[1], &locked));
	EXPECT_EQ(0, fill_check(&self->brim.load[0]));
	expect_pressure(_metadata, &self->brim);
}

/* The memory blocks of all RAM nodes. */
static void ram_span(long *first, long *last)
{
	struct cdm_nodes rams = cdm_rams();

	*first = LONG_MAX;
	*last = 0;
	for (int i = 0; i < 4096; i++) {
		char path[KNOB_LEN];

		for (int j = 0; j < rams.nr; j++) {
			snprintf(path, sizeof(path),
				 "/sys/devices/system/node/node%d/memory%d",
				 rams.nid[j], i);
			if (access(path, F_OK))
				continue;
			*last = i;
			if (i < *first)
				*first = i;
		}
	}
}

/* Page out at once what was not touched for an interval. */
static bool damon_start(struct knobs *knobs)
{
	static const char * const knob[][2] = {
		{ DAMON "0/contexts/nr_contexts", "1" },
		{ CONTEXT "operations", "paddr" },
		{ CONTEXT "targets/nr_targets", "1" },
		{ CONTEXT "targets/0/regions/nr_regions", "1" },
		{ CONTEXT "schemes/nr_schemes", "1" },
		{ SCHEME "action", "pageout" },
		{ SCHEME "access_pattern/sz/max", "1099511627776" },
		{ SCHEME "access_pattern/nr_accesses/max", "0" },
		{ SCHEME "access_pattern/age/min", "1" },
		{ SCHEME "access_pattern/age/max", "1000000" },
	};
	long first, last;

	if (!set_knob(knobs, DAMON "nr_kdamonds", "1"))
		return false;
	for (int i = 0; i < ARRAY_SIZE(knob); i++)
		if (cdm_write(knob[i][0], knob[i][1]))
			return false;
	ram_span(&first, &last);
	return !cdm_writef(REGION "start", "%ld", first * block_size()) &&
	       !cdm_writef(REGION "end", "%ld", (last + 1) * block_size()) &&
	       set_knob(knobs, DAMON "0/state", "on");
}

static bool damon_pages_out(size_t least)
{
	for (int i = 0; i < CDM_PATIENCE * 10; i++) {
		cdm_write(DAMON "0/state", "update_schemes_stats");
		if (cdm_read_long(SCHEME "stats/sz_applied") >= (long)least)
			return true;
		usleep(100000);
	}
	return false;
}

TEST_F_TIMEOUT(workload, F12_damon_pageout, CDM_TIMEOUT)
{
	struct fill fill = { .size = FILL * MIB };

	if (access(DAMON, F_OK))
		SKIP(return, "the kernel has no DAMON_SYSFS");
	ASSERT_TRUE(fill_ram_swap(&self->brim, BRIM));
	EXPECT_TRUE(fill_start(&self->brim.load[0], &fill));
	ASSERT_TRUE(damon_start(&self->knobs));
	/* Most has been swapped out by then. */
	EXPECT_TRUE(damon_pages_out(MIB));
	EXPECT_EQ(0, fill_check(&self->brim.load[0]));
	expect_pressure(_metadata, &self->brim);
}

/* Everything at once */

/* The time is the guest's, so it is as much work on any host; make soak has more. */
static int stress_seconds(void)
{
	const char *seconds = getenv("CDM_STRESS_SECONDS");

	if (seconds && *seconds)
		return atoi(seconds);
	return 6;
}

static bool have_stress_ng(void)
{
	return !system(STRESS_NG " --version >/dev/null 2>&1");
}

#define STRESS_ARGS	32

static int stress_fn(struct cdm_child *me, void *arg)
{
	const char *argv[STRESS_ARGS + 8] = {
		STRESS_NG, "--verify", "--temp-path", "/tmp", "--log-file",
		STRESS_LOG, "--quiet",
	};

	memcpy(argv + 7, arg, STRESS_ARGS * sizeof(argv[0]));
	execvp(argv[0], (char **)argv);
	return 127;
}

/* Returns its exit status. What it said is shown if it failed. */
static int run_stressors(const char **stressors)
{
	struct cdm_child child;
	int status;

	if (cdm_start(&child, stress_fn, stressors))
		return -1;
	waitpid(child.pid, &status, 0);
	if (status && system("cat " STRESS_LOG " >&2"))
		fprintf(stderr, "# stress-ng has left no log\n");
	return status;
}

/*
 * Not shm-sysv, which locks segments: the kernel warns if reclaim has one of their
 * pages in hand at that moment (shmem_writepage()), with or without devices.
 */
TEST_F_TIMEOUT(workload, F1_stress_ng_memory, 2 * CDM_TIMEOUT)
{
	char seconds[16];
	const char *stressors[STRESS_ARGS] = {
		"--vm=2", "--vm-bytes=128m", "--vm-populate",
		"--mmap=1", "--mmap-bytes=96m",
		"--mremap=1", "--mremap-bytes=64m",
		"--brk=1", "--stack=1",
		"--memfd=1", "--memfd-bytes=96m",
		"--hdd=1", "--hdd-bytes=96m",
		"--fork=1", "--fork-vm", "--mlock=1", "--timeout", seconds,
	};

	if (!have_stress_ng())
		SKIP(return, "stress-ng is not installed");
	snprintf(seconds, sizeof(seconds), "%d", stress_seconds());
	ASSERT_TRUE(fill_ram_swap(&self->brim, slow() ? 512 : 2 * BRIM));
	EXPECT_EQ(0, run_stressors(stressors));
	expect_pressure(_metadata, &self->brim);
}

/*
 * The other way round: tenants fill the device while RAM is idle. Nobody looks
 * for something to reclaim in RAM, and nothing is swapped out.
 */
FIXTURE(tenants) {
	struct watch watch;
	struct cdm_child watcher;
	struct cdm_child tenant[CDM_MAX_NODES];
	struct cdm_child resident;
	struct knobs knobs;
};

FIXTURE_SETUP(tenants)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->watch.mark = cdm_mark();
	self->watch.named = true;
	ASSERT_EQ(0, cdm_start(&self->watcher, watch_fn, &self->watch));
}

static void tenants_end(struct cdm_child *tenant)
{
	for (int i = 0; i < CDM_MAX_NODES; i++) {
		if (tenant[i].pid)
			cdm_kill(&tenant[i]);
		tenant[i].pid = 0;
	}
}

FIXTURE_TEARDOWN(tenants)
{
	expect_watched(_metadata, &self->watcher);
	tenants_end(self->tenant);
	if (self->resident.pid)
		cdm_kill(&self->resident);
	reset_knobs(&self->knobs);
	cdm_write(SHRINK "filter", "0");
	EXPECT_EQ(0, cdm_reset(_metadata));
	expect_empty(_metadata, &self->watch);
}

/* All that reclaim does anywhere. */
static const char * const reclaim_keys[] = {
	"pgscan_kswapd", "pgscan_direct", "pgscan_khugepaged",
	"pgsteal_kswapd", "pgsteal_direct", "pgsteal_khugepaged",
	"pgdemote_kswapd", "pgdemote_direct", "slabs_scanned",
	"allocstall_normal", "allocstall_movable", "pswpout",
};

struct reclaim {
	long nr[ARRAY_SIZE(reclaim_keys)];
};

static struct reclaim reclaim_events(void)
{
	struct reclaim events;

	for (int i = 0; i < ARRAY_SIZE(reclaim_keys); i++)
		events.nr[i] = cdm_vmstat(reclaim_keys[i]);
	return events;
}

/* Huge pages to the brim, small ones on top. */
static bool fill_device(struct cdm_child *child, int nid)
{
	long free = cdm_node_meminfo(nid, "MemFree") / 1024;
	struct fill fill = {
		.size = (free - SPARE) * MIB,
		.huge = true,
		.nodes = 1UL << nid,
	};

	/* What CPUs held for the node when it was empty may be free now. */
	return fill_start(child, &fill) &&
	       cdm_node_meminfo(nid, "MemFree") / 1024 < 2 * SPARE;
}

TEST_F_TIMEOUT(tenants, refill_spares_ram, CDM_TIMEOUT)
{
	struct cdm_nodes devs = cdm_devs();
	struct reclaim before, after;

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	before = reclaim_events();
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < devs.nr; i++)
			EXPECT_TRUE(fill_device(&self->tenant[i],
						devs.nid[i]));
		tenants_end(self->tenant);
	}
	after = reclaim_events();
	for (int i = 0; i < ARRAY_SIZE(reclaim_keys); i++) {
		EXPECT_EQ(before.nr[i], after.nr[i]) {
			TH_LOG("%s", reclaim_keys[i]);
		}
	}
}

/* Empty the buffer of the tracer. */
static void forget_trace(void)
{
	int fd = open(TRACING "trace", O_WRONLY | O_TRUNC);

	if (fd >= 0)
		close(fd);
}

/* Scans in the buffer of the tracer. */
static long traced(void)
{
	FILE *file = fopen(TRACING "trace", "r");
	char line[512];
	long nr = 0;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		nr += !!strstr(line, "mm_vmscan_lru_shrink_inactive");
	fclose(file);
	return nr;
}

/*
 * More tenants than there is room: the device is scanned, and its cold pages go
 * to RAM. The trace has the scans of all nodes but the device.
 */
TEST_F_TIMEOUT(tenants, overfill_spares_ram, CDM_TIMEOUT)
{
	struct fill cold = {
		.size = 3 * SPARE * MIB,
		.nodes = 1UL << cdm_dev(0),
	};
	struct fill resident = { .size = 64 * MIB };
	long out, scanned = cdm_vmstat("pgscan_direct");
	char filter[32];

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, cdm_read_files(64 * MIB));
	ASSERT_TRUE(fill_start(&self->resident, &resident));
	ASSERT_EQ(0, cdm_leave_node(cdm_dev(0), 4 * SPARE));
	snprintf(filter, sizeof(filter), "nid != %d", cdm_dev(0));
	ASSERT_EQ(0, cdm_write(SHRINK "filter", filter));
	forget_trace();
	ASSERT_TRUE(set_knob(&self->knobs, SHRINK "enable", "1"));
	out = cdm_vmstat("pswpout");

	ASSERT_TRUE(fill_start(&self->tenant[0], &cold));
	EXPECT_TRUE(fill_start(&self->tenant[1], &cold));
	EXPECT_LT(scanned, cdm_vmstat("pgscan_direct"));
	EXPECT_EQ(0, traced());
	EXPECT_EQ(out, cdm_vmstat("pswpout"));
	EXPECT_EQ(0, fill_check(&self->resident));
	EXPECT_EQ(0, fill_check(&self->tenant[0]));
}

/*
 * It names every node there is, so that pages may be on a device, but none
 * without a name. It may also have moved there what others map, such as the C
 * library; that comes home with the node.
 */
TEST_F_TIMEOUT(tenants, stress_ng_numa, 2 * CDM_TIMEOUT)
{
	char seconds[16];
	const char *stressors[STRESS_ARGS] = { "--numa=2", "--timeout", seconds };

	if (!have_stress_ng())
		SKIP(return, "stress-ng is not installed");
	snprintf(seconds, sizeof(seconds), "%d", stress_seconds());
	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, cdm_leave_ram(BRIM));
	EXPECT_EQ(0, run_stressors(stressors));
	EXPECT_EQ(0, cdm_unfenced());
	EXPECT_EQ(0, cdm_unregister_all());
}

TEST_HARNESS_MAIN
