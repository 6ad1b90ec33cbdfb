// SPDX-License-Identifier: GPL-2.0
/*
 * The fence: nothing lands on a device node unless somebody named it.
 *
 * A case whose name begins with the row of the contract (F1, A1, ...) fails on
 * an unfenced kernel, where the same memory is an ordinary movable node. Cases
 * without a row guard what such a kernel gets right too: a movable node keeps
 * kernel memory out by itself, for one.
 */
#include "cdm_util.h"

/*
 * The pressure of this test: LEAVE MiB of RAM are left free, LAZY MiB of them
 * are then taken by memory that reclaim frees at once, and FILL MiB are asked
 * for. That is more than is free and less than can be had: a fenced kernel has
 * to reclaim, an unfenced one falls back to the device node before it does.
 */
#define LEAVE	512
#define LAZY	320
#define FILL	320

FIXTURE(fence) {
	struct cdm_mark mark;
	struct cdm_child lazy;
};

FIXTURE_SETUP(fence)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->mark = cdm_mark();
}

FIXTURE_TEARDOWN(fence)
{
	if (self->lazy.pid)
		cdm_kill(&self->lazy);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static bool press(struct cdm_child *child)
{
	struct cdm_load lazy = {
		.size = LAZY * MIB,
		.mode = MPOL_BIND,
		.mask = cdm_mask(cdm_rams()),
		.huge = true,
		.lazy = true,
	};

	return !cdm_leave_ram(LEAVE) && cdm_load_start(child, &lazy);
}

/* Run @load to its end; it must succeed and stay off the devices. */
static void expect_fenced(struct __test_metadata *_metadata,
			  struct cdm_load *load)
{
	struct cdm_mark mark = cdm_mark();
	struct cdm_child child;
	struct cdm_spread spread;
	char *addr;

	addr = cdm_load_start(&child, load);
	EXPECT_NE(NULL, addr);
	spread = cdm_spread_of(child.pid, addr, load->size);
	EXPECT_EQ(0, cdm_spread_in(spread, cdm_devs()));
	EXPECT_EQ(spread.total, cdm_spread_in(spread, cdm_rams()));
	EXPECT_EQ(0, cdm_leaked(mark));
	EXPECT_EQ(0, cdm_unfenced());
	cdm_kill(&child);
}

TEST_F_TIMEOUT(fence, F1_anon_beyond_free_ram, CDM_TIMEOUT)
{
	struct cdm_load load = { .size = FILL * MIB };

	ASSERT_TRUE(press(&self->lazy));
	expect_fenced(_metadata, &load);
}

TEST_F_TIMEOUT(fence, F1_preferred_many_with_ram, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = FILL * MIB,
		.mode = MPOL_PREFERRED_MANY,
		.mask = cdm_all_mask(),
	};

	ASSERT_TRUE(press(&self->lazy));
	expect_fenced(_metadata, &load);
}

/* Kernel code that knows the number of a node does not name it thereby. */
static void expect_none_taken(struct __test_metadata *_metadata)
{
	unsigned long devs = cdm_mask(cdm_devs());

	for (int i = 0; i < 256; i++) {
		enum cdm_test_how how = i % CDM_TEST_ALLOC_NR;
		int nid = cdm_take(cdm_dev(i % cdm_devs().nr), how);

		ASSERT_LE(-1, nid);
		ASSERT_FALSE(nid >= 0 && devs >> nid & 1);
		ASSERT_FALSE(nid >= 0 && how == CDM_TEST_ALLOC_THISNODE);
	}
}

TEST_F_TIMEOUT(fence, kernel_asks_by_number, CDM_TIMEOUT)
{
	if (cdm_is_unfenced())
		SKIP(return, "the base has no driver to ask for it");
	expect_none_taken(_metadata);
	ASSERT_TRUE(press(&self->lazy));
	expect_none_taken(_metadata);
}

TEST_F_TIMEOUT(fence, F1_interleave_all, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = 64 * MIB,
		.mode = MPOL_INTERLEAVE,
		.mask = cdm_all_mask(),
	};

	expect_fenced(_metadata, &load);
}

TEST_F_TIMEOUT(fence, F1_interleave_all_shmem, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = 64 * MIB,
		.mode = MPOL_INTERLEAVE,
		.mask = cdm_all_mask(),
		.shared = true,
	};

	expect_fenced(_metadata, &load);
}

TEST_F_TIMEOUT(fence, F1_weighted_interleave_all, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = 64 * MIB,
		.mode = MPOL_WEIGHTED_INTERLEAVE,
		.mask = cdm_all_mask(),
	};

	expect_fenced(_metadata, &load);
}

static int eat_all_fn(struct cdm_child *me, void *arg)
{
	size_t size = 64UL << 30, step = 8 * MIB;
	char *addr;

	/* Before there is a mapping that must not be locked. */
	mlockall(MCL_CURRENT);
	addr = cdm_map(size);
	/* Faster than anybody can look: wait until the parent has looked. */
	for (size_t off = 0; off < size; off += step) {
		cdm_touch(addr + off, step);
		cdm_say(me, off);
		if (cdm_hear(me))
			return 0;
	}
	return 0;
}

/*
 * Without anything to reclaim, up to the OOM kill. The high-priority access to
 * the reserves that a victim gets must not open the device either. The programs
 * are locked in memory, or their pages would be read again and again.
 */
TEST_F_TIMEOUT(fence, F1_oom_victim, CDM_TIMEOUT)
{
	struct cdm_child child;
	long leaked = 0;
	int status;

	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	ASSERT_EQ(0, cdm_leave_ram(128));
	self->mark = cdm_mark();
	/* It may be killed while it waits. */
	signal(SIGPIPE, SIG_IGN);
	ASSERT_EQ(0, cdm_start(&child, eat_all_fn, NULL));
	/* An unfenced kernel would give the whole device: stop early there. */
	while (leaked < 16 * 1024 && cdm_hear(&child) != LONG_MIN) {
		leaked = cdm_leaked(self->mark);
		if (write(child.out, &leaked, sizeof(leaked)) < 0)
			break;
	}
	EXPECT_EQ(0, leaked);
	if (leaked) {
		cdm_kill(&child);
		return;
	}
	status = cdm_wait(&child);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	EXPECT_EQ(0, cdm_leaked(self->mark));
}

#define NR_STACKS	32

static int stack_fn(void *unused)
{
	pause();
	return 0;
}

/* Page tables, kernel stacks, slab and pipe buffers, as many as it gets. */
static int kernel_memory_fn(struct cdm_child *me, void *arg)
{
	char *addr, *text = calloc(1, 65536);
	int err = cdm_bind_task(*(int *)arg);

	if (err)
		return 1;
	addr = cdm_map(512 * HPAGE);
	for (int i = 0; i < 512; i++)
		addr[i * HPAGE] = 1;
	for (int i = 0; i < NR_STACKS; i++) {
		char *stack = malloc(65536);
		int pipes[2];

		if (clone(stack_fn, stack + 65536,
			  CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, NULL) < 0)
			return 2;
		if (pipe(pipes) || write(pipes[1], text, 65536) != 65536)
			return 3;
	}
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return 0;
}

/*
 * F2. The base passes: its node is ZONE_MOVABLE, which keeps kernel memory
 * away. The fence must not lose that, nor fail the allocations of a task that
 * is bound to a node without kernel memory.
 */
TEST_F_TIMEOUT(fence, kernel_memory_of_bound_task, CDM_TIMEOUT)
{
	static const char * const keys[] = {
		"Slab", "PageTables", "SecPageTables", "KernelStack", "Bounce",
	};
	int nid = cdm_dev(0);
	struct cdm_child child;
	long tables = cdm_nodes_meminfo(cdm_rams(), "PageTables");

	ASSERT_EQ(0, cdm_start(&child, kernel_memory_fn, &nid));
	ASSERT_NE(LONG_MIN, cdm_hear(&child));
	cdm_stat_refresh();
	for (int i = 0; i < ARRAY_SIZE(keys); i++) {
		EXPECT_EQ(0, cdm_node_meminfo(nid, keys[i])) {
			TH_LOG("%s on node %d", keys[i], nid);
		}
	}
	EXPECT_GE(cdm_nodes_meminfo(cdm_rams(), "PageTables"),
		  tables + 512 * 4);
	cdm_kill(&child);
}

TEST_F_TIMEOUT(fence, F3_page_cache_under_pressure, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_leave_ram(128));
	self->mark = cdm_mark();
	ASSERT_EQ(0, cdm_read_files(224 * MIB));
	EXPECT_EQ(0, cdm_leaked(self->mark));
}

static int read_bound_fn(struct cdm_child *me, void *arg)
{
	if (cdm_bind_task(*(int *)arg))
		return 1;
	cdm_say(me, cdm_read_files(48 * MIB));
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(fence, F3_page_cache_of_bound_task, CDM_TIMEOUT)
{
	int nid = cdm_dev(0);
	struct cdm_child child;
	struct cdm_mark now;

	ASSERT_EQ(0, cdm_start(&child, read_bound_fn, &nid));
	ASSERT_EQ(0, cdm_hear(&child));
	EXPECT_EQ(0, cdm_node_meminfo(nid, "FilePages"));
	cdm_kill(&child);
	/* The bss and stack of the child were named; they are gone now. */
	now = cdm_mark();
	EXPECT_EQ(self->mark.named, now.named);
}

/* A mapping is read in by faults, and by readahead around them. */
static int fault_bound_fn(struct cdm_child *me, void *arg)
{
	int fd = cdm_open_big(8 * MIB);
	char *addr;

	if (cdm_bind_task(*(int *)arg))
		return 1;
	addr = mmap(NULL, 8 * MIB, PROT_READ, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED)
		return 2;
	readahead(fd, 0, 4 * MIB);
	cdm_fault_in(addr, 8 * MIB);
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(fence, F3_mapped_file_of_bound_task, CDM_TIMEOUT)
{
	int nid = cdm_dev(0);
	struct cdm_spread spread;
	struct cdm_child child;
	long addr;

	ASSERT_EQ(0, cdm_start(&child, fault_bound_fn, &nid));
	addr = cdm_hear(&child);
	ASSERT_NE(LONG_MIN, addr);
	spread = cdm_spread_of(child.pid, (char *)addr, 8 * MIB);
	EXPECT_EQ(0, cdm_spread_in(spread, cdm_devs()));
	EXPECT_EQ(spread.total, cdm_spread_in(spread, cdm_rams()));
	cdm_stat_refresh();
	EXPECT_EQ(0, cdm_node_meminfo(nid, "FilePages"));
	cdm_kill(&child);
}

/* A file on tmpfs is page cache, unlike the memory of a memfd. */
static int tmpfs_bound_fn(struct cdm_child *me, void *arg)
{
	char path[] = "/tmp/cdm_XXXXXX", *text = calloc(1, MIB);
	int fd = mkstemp(path);

	unlink(path);
	if (cdm_bind_task(*(int *)arg))
		return 1;
	for (int i = 0; i < 16; i++)
		if (write(fd, text, MIB) != MIB)
			return 2;
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(fence, F3_tmpfs_of_bound_task, CDM_TIMEOUT)
{
	int nid = cdm_dev(0);
	struct cdm_child child;

	ASSERT_EQ(0, cdm_start(&child, tmpfs_bound_fn, &nid));
	ASSERT_EQ(0, cdm_hear(&child));
	cdm_stat_refresh();
	EXPECT_EQ(0, cdm_node_meminfo(nid, "Shmem"));
	EXPECT_LE(16 * 1024, cdm_nodes_meminfo(cdm_rams(), "Shmem"));
	cdm_kill(&child);
}

TEST_F_TIMEOUT(fence, F3_tmpfs_beyond_free_ram, CDM_TIMEOUT)
{
	char path[] = "/tmp/cdm_XXXXXX";
	static char buf[1 << 20];
	int fd;

	ASSERT_TRUE(press(&self->lazy));
	self->mark = cdm_mark();
	fd = mkstemp(path);
	ASSERT_LE(0, fd);
	unlink(path);
	for (int i = 0; i < FILL; i++)
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			break;
	EXPECT_EQ(FILL * MIB, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(0, cdm_leaked(self->mark));
	close(fd);
}

TEST_F_TIMEOUT(fence, F3_shmem_beyond_free_ram, CDM_TIMEOUT)
{
	struct cdm_load load = { .size = FILL * MIB, .shared = true };

	ASSERT_TRUE(press(&self->lazy));
	expect_fenced(_metadata, &load);
}

TEST_F_TIMEOUT(fence, F5_global_nr_hugepages, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_write("/proc/sys/vm/nr_hugepages", "64"));
	EXPECT_EQ(64, cdm_read_long("/proc/sys/vm/nr_hugepages"));
	EXPECT_EQ(0, cdm_nodes_meminfo(cdm_devs(), "HugePages_Total"));
	EXPECT_EQ(64, cdm_nodes_meminfo(cdm_rams(), "HugePages_Total"));
	EXPECT_EQ(0, cdm_leaked(self->mark));
}

/* Shrinking the global pool must not take what was given to the node. */
TEST_F_TIMEOUT(fence, hugetlb_pool_of_the_node, CDM_TIMEOUT)
{
	int nid = cdm_dev(0);

	ASSERT_EQ(0, cdm_node_hugepages(nid, 8));
	EXPECT_EQ(8, cdm_node_hugepages_nr(nid));
	EXPECT_EQ(0, cdm_nodes_meminfo(cdm_rams(), "HugePages_Total"));
	ASSERT_EQ(0, cdm_node_hugepages(nid, 0));
	EXPECT_EQ(0, cdm_node_hugepages_nr(nid));
}

static int map_hugetlb_fn(struct cdm_child *me, void *arg)
{
	int nid = *(int *)arg;
	char *addr;

	if (nid >= 0 && cdm_bind_task(nid))
		return 2;
	addr = mmap(NULL, HPAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (addr == MAP_FAILED)
		return errno == ENOMEM ? 3 : 4;
	addr[0] = 1;
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return 0;
}

/* With huge pages on the device alone, ENOMEM or SIGBUS are both right. */
/* A shared mapping of huge pages is a file, but none that policies ignore. */
TEST_F_TIMEOUT(fence, hugetlb_shared_and_named, CDM_TIMEOUT)
{
	int nid = cdm_dev(0);
	char *addr;

	ASSERT_EQ(0, cdm_node_hugepages(nid, 4));
	addr = mmap(NULL, 2 * HPAGE, PROT_READ | PROT_WRITE, MAP_SHARED |
		    MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, cdm_mbind(addr, 2 * HPAGE, MPOL_BIND, 1UL << nid, 0));
	cdm_touch(addr, 2 * HPAGE);
	EXPECT_EQ(2, cdm_node_meminfo(nid, "HugePages_Free"));
	munmap(addr, 2 * HPAGE);
	ASSERT_EQ(0, cdm_node_hugepages(nid, 0));
}

TEST_F_TIMEOUT(fence, F5_unnamed_hugetlb_mapping, CDM_TIMEOUT)
{
	struct cdm_child child;
	int nid = cdm_dev(0), none = -1, status;

	ASSERT_EQ(0, cdm_node_hugepages(nid, 4));
	ASSERT_EQ(0, cdm_start(&child, map_hugetlb_fn, &none));
	EXPECT_EQ(LONG_MIN, cdm_hear(&child));
	EXPECT_EQ(4, cdm_node_meminfo(nid, "HugePages_Free"));
	status = cdm_wait(&child);
	EXPECT_TRUE((WIFEXITED(status) && WEXITSTATUS(status) == 3) ||
		    (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)) {
		TH_LOG("wait status %#x", status);
	}
}

TEST_F_TIMEOUT(fence, named_hugetlb_mapping, CDM_TIMEOUT)
{
	struct cdm_child child;
	int nid = cdm_dev(0);
	long addr;

	ASSERT_EQ(0, cdm_node_hugepages(nid, 4));
	ASSERT_EQ(0, cdm_start(&child, map_hugetlb_fn, &nid));
	addr = cdm_hear(&child);
	ASSERT_NE(LONG_MIN, addr);
	EXPECT_EQ(1, cdm_spread_of(child.pid, (char *)addr, PAGE).on[nid]);
	EXPECT_EQ(3, cdm_node_meminfo(nid, "HugePages_Free"));
	cdm_kill(&child);
}

/* F8 and F9 reclaim in a memory cgroup, which needs no global pressure. */
FIXTURE(reclaim) {
	struct cdm_child device;
	struct cdm_child ram;
};

FIXTURE_SETUP(reclaim)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	ASSERT_EQ(0, cdm_cgroup_create("cdm_reclaim"));
}

FIXTURE_TEARDOWN(reclaim)
{
	if (self->device.pid)
		cdm_kill(&self->device);
	if (self->ram.pid)
		cdm_kill(&self->ram);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

/*
 * Memory given to MADV_FREE is the easiest prey of reclaim, and needs no swap.
 * What is in RAM may go; the device's must stay although more was asked for.
 */
TEST_F_TIMEOUT(reclaim, F8_memory_reclaim_spares_device, CDM_TIMEOUT)
{
	struct cdm_load on_device = {
		.size = 32 * MIB,
		.mode = MPOL_BIND,
		.mask = 1UL << cdm_dev(0),
		.lazy = true,
		.cgroup = "cdm_reclaim",
	};
	struct cdm_load in_ram = {
		.size = 32 * MIB,
		.lazy = true,
		.cgroup = "cdm_reclaim",
	};
	struct cdm_spread spread;
	char *addr, *ram;

	addr = cdm_load_start(&self->device, &on_device);
	ASSERT_NE(NULL, addr);
	ram = cdm_load_start(&self->ram, &in_ram);
	ASSERT_NE(NULL, ram);
	spread = cdm_spread_of(self->device.pid, addr, on_device.size);
	ASSERT_EQ(spread.total, spread.on[cdm_dev(0)]);

	/* -EAGAIN: not as much could be had, which is right here. */
	cdm_cgroup_write("cdm_reclaim", "memory.reclaim", "60M");

	spread = cdm_spread_of(self->device.pid, addr, on_device.size);
	EXPECT_EQ(spread.total, spread.on[cdm_dev(0)]);
	spread = cdm_spread_of(self->ram.pid, ram, in_ram.size);
	EXPECT_GT(spread.total / 2, cdm_spread_in(spread, cdm_rams()));
}

static int file_on_device_fn(struct cdm_child *me, void *arg)
{
	int fd = cdm_open_big(8 * MIB);
	char *addr;

	if (cdm_cgroup_enter("cdm_reclaim"))
		return 1;
	addr = mmap(NULL, 8 * MIB, PROT_READ, MAP_PRIVATE, fd, 0);
	if (addr == MAP_FAILED)
		return 2;
	cdm_fault_in(addr, 8 * MIB);
	if (cdm_move(addr, 8 * MIB, cdm_dev(0)) != 8 * MIB / PAGE)
		return 3;
	cdm_say(me, (long)addr);
	if (cdm_hear(me) == 1)
		cdm_say(me, cdm_pageout(addr, 8 * MIB));
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(reclaim, F8_memory_reclaim_spares_mapped_file, CDM_TIMEOUT)
{
	struct cdm_spread spread;
	long addr;

	ASSERT_EQ(0, cdm_start(&self->device, file_on_device_fn, NULL));
	addr = cdm_hear(&self->device);
	ASSERT_NE(LONG_MIN, addr);
	for (int i = 0; i < 4; i++)
		cdm_cgroup_write("cdm_reclaim", "memory.reclaim", "8M");
	spread = cdm_spread_of(self->device.pid, (char *)addr, 8 * MIB);
	EXPECT_EQ(spread.total, spread.on[cdm_dev(0)]);
}

/* To page out from a device node is to evict to RAM: the page stays mapped. */
TEST_F_TIMEOUT(reclaim, F8_pageout_evicts_to_ram, CDM_TIMEOUT)
{
	struct cdm_spread spread;
	long addr;

	ASSERT_EQ(0, cdm_start(&self->device, file_on_device_fn, NULL));
	addr = cdm_hear(&self->device);
	ASSERT_NE(LONG_MIN, addr);
	cdm_say(&self->device, 1);
	ASSERT_EQ(0, cdm_hear(&self->device));
	spread = cdm_spread_of(self->device.pid, (char *)addr, 8 * MIB);
	EXPECT_EQ(0, spread.absent);
	EXPECT_EQ(spread.total, cdm_spread_in(spread, cdm_rams()));
}

/* With swap there is a way out for anonymous memory too. */
TEST_F_TIMEOUT(reclaim, F8_memory_reclaim_never_swaps_device, CDM_TIMEOUT)
{
	struct cdm_load on_device = {
		.size = 32 * MIB,
		.mode = MPOL_BIND,
		.mask = 1UL << cdm_dev(0),
		.cgroup = "cdm_reclaim",
	};
	struct cdm_spread spread;
	char *addr;

	ASSERT_EQ(0, cdm_swap_on(128));
	addr = cdm_load_start(&self->device, &on_device);
	ASSERT_NE(NULL, addr);
	for (int i = 0; i < 4; i++)
		cdm_cgroup_write("cdm_reclaim", "memory.reclaim", "16M");
	spread = cdm_spread_of(self->device.pid, addr, on_device.size);
	EXPECT_EQ(spread.total, spread.on[cdm_dev(0)]);
	EXPECT_GE(0, cdm_cgroup_stat("cdm_reclaim", "memory.stat", "pswpout"));
}

TEST_F_TIMEOUT(reclaim, F8_pageout_never_swaps_device, CDM_TIMEOUT)
{
	size_t size = 8 * MIB;
	struct cdm_spread spread;
	char *addr;

	ASSERT_EQ(0, cdm_swap_on(128));
	addr = cdm_map_on(cdm_dev(0), size, 8);
	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_pageout(addr, size));
	spread = cdm_spread(addr, size);
	EXPECT_EQ(0, spread.absent);
	EXPECT_EQ(spread.total, cdm_spread_in(spread, cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(addr, size, 8));
}

/*
 * Global pressure. The base may pass: it uses up the free memory of the
 * device node first, before it looks for something to reclaim there.
 */
TEST_F_TIMEOUT(reclaim, ram_pressure_spares_device, CDM_TIMEOUT)
{
	struct cdm_load on_device = {
		.size = 32 * MIB,
		.mode = MPOL_BIND,
		.mask = 1UL << cdm_dev(0),
		.lazy = true,
	};
	struct cdm_spread spread;
	char *addr;

	addr = cdm_load_start(&self->device, &on_device);
	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_leave_ram(128));
	ASSERT_EQ(0, cdm_read_files(192 * MIB));
	spread = cdm_spread_of(self->device.pid, addr, on_device.size);
	EXPECT_EQ(spread.total, spread.on[cdm_dev(0)]);
}

/*
 * Pressure on the device evicts to RAM, but must not reclaim RAM. No row: the base
 * does not reclaim RAM either, for a bind policy limits reclaim to its nodes.
 */
TEST_F_TIMEOUT(reclaim, device_pressure_spares_ram, CDM_TIMEOUT)
{
	struct cdm_load in_ram = { .size = 64 * MIB, .lazy = true };
	struct cdm_load on_device = {
		.size = 112 * MIB,
		.mode = MPOL_BIND,
		.mask = 1UL << cdm_dev(0),
	};
	struct cdm_spread spread;
	char *addr;

	addr = cdm_load_start(&self->ram, &in_ram);
	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_leave_node(cdm_dev(0), 32));
	EXPECT_NE(NULL, cdm_load_start(&self->device, &on_device));
	spread = cdm_spread_of(self->ram.pid, addr, in_ram.size);
	EXPECT_EQ(spread.total, cdm_spread_in(spread, cdm_rams()));
}

TEST_F_TIMEOUT(reclaim, F9_demotion_by_memory_reclaim, CDM_TIMEOUT)
{
	struct cdm_load in_ram = { .size = 48 * MIB, .cgroup = "cdm_reclaim" };
	struct cdm_mark mark = cdm_mark();
	struct cdm_spread spread;
	char *addr;

	ASSERT_EQ(0, cdm_write("/sys/kernel/mm/numa/demotion_enabled", "1"));
	addr = cdm_load_start(&self->ram, &in_ram);
	ASSERT_NE(NULL, addr);
	for (int i = 0; i < 4; i++)
		cdm_cgroup_write("cdm_reclaim", "memory.reclaim", "32M");
	spread = cdm_spread_of(self->ram.pid, addr, in_ram.size);
	EXPECT_EQ(0, cdm_spread_in(spread, cdm_devs()));
	EXPECT_EQ(0, cdm_leaked(mark));
}

/* F13: a block of RAM goes offline, its pages must find a place in RAM. */
#define STATE_LEN	128

FIXTURE(offline) {
	char state[STATE_LEN];
	struct cdm_child lazy;
};

FIXTURE_SETUP(offline)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
}

FIXTURE_TEARDOWN(offline)
{
	if (self->lazy.pid)
		cdm_kill(&self->lazy);
	if (self->state[0])
		EXPECT_EQ(0, cdm_write(self->state, "online_kernel"));
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static unsigned long block_size(void)
{
	char buf[64] = "";

	cdm_read("/sys/devices/system/memory/block_size_bytes", buf,
		 sizeof(buf));
	return strtoul(buf, NULL, 16);
}

/* Count how much of [addr, addr + size) lies in each memory block. */
static void count_blocks(const char *addr, size_t size, int *count, int nr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	unsigned long per_block = block_size() / PAGE;
	__u64 entry[512];

	for (size_t i = 0; i < size / PAGE; i += 512) {
		off_t pos = ((uintptr_t)addr / PAGE + i) * sizeof(entry[0]);

		if (pread(fd, entry, sizeof(entry), pos) != sizeof(entry))
			break;
		for (int j = 0; j < 512; j++) {
			__u64 block = (entry[j] & ((1ULL << 55) - 1)) /
					 per_block;

			if (entry[j] >> 63 && block < nr)
				count[block]++;
		}
	}
	close(fd);
}

/*
 * A block with a page of the kernel in it stays online, so there are some to
 * choose from that are full of the test's own movable pages. Leaves the path of
 * the block that went offline in @state.
 */
static bool offline_some_block(char *state, const char *addr, size_t size)
{
	static int count[4096];

	memset(count, 0, sizeof(count));
	count_blocks(addr, size, count, ARRAY_SIZE(count));
	for (int i = 0; i < ARRAY_SIZE(count); i++) {
		char path[STATE_LEN];

		if (count[i] < block_size() / PAGE * 3 / 4)
			continue;
		snprintf(path, sizeof(path),
			 "/sys/devices/system/memory/memory%d/state", i);
		if (!cdm_try_offline(path))
			continue;
		memcpy(state, path, sizeof(path));
		return true;
	}
	return false;
}

/*
 * The pages of a block go to other nodes if there are any. With a second RAM
 * node they would go there in any case; so that it matters, leave it less free
 * memory than the block needs, and more of what can be reclaimed.
 */
static bool fill_other_ram(struct cdm_child *child, size_t size)
{
	struct cdm_load lazy = {
		.size = 3 * size,
		.mode = MPOL_BIND,
		.huge = true,
		.lazy = true,
	};

	if (cdm_rams().nr < 2)
		return true;
	lazy.mask = 1UL << cdm_ram(1);
	return !cdm_leave_node(cdm_ram(1), 3 * size / MIB + 96) &&
	       cdm_load_start(child, &lazy);
}

TEST_F_TIMEOUT(offline, F13_offline_ram_block, CDM_TIMEOUT)
{
	size_t size = 8 * block_size();
	char *addr = cdm_map_huge(size);
	struct cdm_mark mark = cdm_mark();

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_PREFERRED, 1UL << cdm_ram(0),
			       0));
	cdm_stamp(addr, size, 13);
	ASSERT_TRUE(fill_other_ram(&self->lazy, block_size()));
	ASSERT_TRUE(offline_some_block(self->state, addr, size));
	EXPECT_EQ(0, cdm_spread_in(cdm_spread(addr, size), cdm_devs()));
	EXPECT_EQ(0, cdm_leaked(mark));
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, 13));
}

/* A1: what the machine says about its memory describes RAM only. */
FIXTURE(account) {
	struct cdm_nodes ram;
	struct cdm_nodes dev;
};

FIXTURE_SETUP(account)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->ram = cdm_rams();
	self->dev = cdm_devs();
	cdm_stat_refresh();
}

FIXTURE_TEARDOWN(account)
{
	EXPECT_EQ(0, cdm_reset(_metadata));
}

/* Others allocate and free meanwhile; the devices have at least 1 GiB. */
#define NOISE_KB	(96 * 1024)

TEST_F(account, A1_mem_total)
{
	EXPECT_EQ(cdm_nodes_meminfo(self->ram, "MemTotal"),
		  cdm_meminfo("MemTotal"));
}

TEST_F(account, A1_mem_free)
{
	long ram = cdm_nodes_meminfo(self->ram, "MemFree");

	EXPECT_GE(NOISE_KB, labs(cdm_meminfo("MemFree") - ram));
	EXPECT_LE(cdm_meminfo("MemFree"), cdm_meminfo("MemTotal"));
}

TEST_F(account, A1_mem_available)
{
	static const char * const keys[] = {
		"MemFree", "Active(file)", "Inactive(file)", "KReclaimable",
	};
	long most = NOISE_KB;

	for (int i = 0; i < ARRAY_SIZE(keys); i++)
		most += cdm_nodes_meminfo(self->ram, keys[i]);
	EXPECT_LE(cdm_meminfo("MemAvailable"), most);
	EXPECT_GE(cdm_meminfo("MemAvailable"),
		  cdm_nodes_meminfo(self->ram, "MemFree") * 3 / 4);
}

TEST_F(account, A1_commit_limit)
{
	long ratio = cdm_read_long("/proc/sys/vm/overcommit_ratio");
	long total = cdm_nodes_meminfo(self->ram, "MemTotal");

	ASSERT_LT(0, ratio);
	EXPECT_GE(4, labs(total * ratio / 100 + cdm_meminfo("SwapTotal") -
			  cdm_meminfo("CommitLimit")));
}

/* The size of one is no part of the size of the other. */
TEST_F(account, hugetlb_pools_of_ram_and_device)
{
	static const char * const sizes[] = { "16", "16", "8", "0" };
	int nid = cdm_dev(0);

	if (cdm_is_unfenced())
		SKIP(return, "the base has one pool");
	ASSERT_EQ(0, cdm_node_hugepages(nid, 32));
	for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, cdm_write("/proc/sys/vm/nr_hugepages", sizes[i]));
		EXPECT_EQ(atol(sizes[i]),
			  cdm_nodes_meminfo(self->ram, "HugePages_Total"));
		EXPECT_EQ(32, cdm_node_hugepages_nr(nid));
	}
	ASSERT_EQ(0, cdm_node_hugepages(nid, 0));
}

/* Huge pages of a device are taken from nobody. */
TEST_F(account, commit_limit_with_device_pool)
{
	int nid = cdm_dev(0);
	long limit = cdm_meminfo("CommitLimit");

	ASSERT_EQ(0, cdm_node_hugepages(nid, 64));
	EXPECT_EQ(limit, cdm_meminfo("CommitLimit"));
	EXPECT_EQ(64, cdm_node_hugepages_nr(nid));
	ASSERT_EQ(0, cdm_node_hugepages(nid, 0));
}

TEST_F(account, A1_sysinfo)
{
	long pages = sysconf(_SC_PHYS_PAGES), avail = sysconf(_SC_AVPHYS_PAGES);

	EXPECT_EQ(cdm_nodes_meminfo(self->ram, "MemTotal"), pages * 4);
	EXPECT_GE(cdm_nodes_meminfo(self->ram, "MemFree") + NOISE_KB,
		  avail * 4);
}

TEST_F(account, A1_dirty_threshold)
{
	static const char * const keys[] = {
		"MemFree", "Active(file)", "Inactive(file)",
	};
	long ratio = cdm_read_long("/proc/sys/vm/dirty_ratio");
	long most = NOISE_KB;

	ASSERT_LT(0, ratio);
	for (int i = 0; i < ARRAY_SIZE(keys); i++)
		most += cdm_nodes_meminfo(self->ram, keys[i]);
	EXPECT_LT(0, cdm_vmstat("nr_dirty_threshold"));
	EXPECT_LE(cdm_vmstat("nr_dirty_threshold") * 4, most * ratio / 100);
}

TEST_F(account, A1_device_lines)
{
	EXPECT_EQ(cdm_nodes_meminfo(self->dev, "MemTotal"),
		  cdm_meminfo("DeviceTotal"));
	EXPECT_GE(1024, labs(cdm_nodes_meminfo(self->dev, "MemFree") -
			     cdm_meminfo("DeviceFree")));
}

/* What tenants take shows up there, and not in the lines of RAM. */
TEST_F_TIMEOUT(account, A1_tenants, CDM_TIMEOUT)
{
	long mem = cdm_meminfo("MemFree"), dev = cdm_meminfo("DeviceFree");
	char *addr = cdm_map_on(cdm_dev(0), 128 * MIB, 1);

	ASSERT_NE(NULL, addr);
	cdm_stat_refresh();
	EXPECT_GE(NOISE_KB, labs(cdm_meminfo("MemFree") - mem));
	EXPECT_LE(128 * 1024 - NOISE_KB, dev - cdm_meminfo("DeviceFree"));
	EXPECT_GE(128 * 1024 + NOISE_KB, dev - cdm_meminfo("DeviceFree"));
}

TEST_HARNESS_MAIN
