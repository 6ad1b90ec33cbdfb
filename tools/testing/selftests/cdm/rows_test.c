// SPDX-License-Identifier: GPL-2.0
/*
 * Rows of the fence, one subsystem each: pools of huge pages, KSM and collapse,
 * NUMA balancing, idle tracking and DAMON.
 *
 * As in fence_test.c, a case whose name begins with a row fails on an unfenced
 * kernel, one without a row guards what such a kernel gets right too.
 */
#include <pthread.h>

#include "rows_util.h"

#define SIZE	(4 * MIB)
#define PAGES	(SIZE / PAGE)
#define SEED	17
#define SWAP	64

FIXTURE(rows) {
	int dev;
	int ram;
	unsigned long dev_mask;
	struct cdm_child child;
	struct cdm_child other;
};

FIXTURE_SETUP(rows)
{
	knobs_reset();
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	self->ram = cdm_ram(0);
	self->dev_mask = 1UL << self->dev;
}

FIXTURE_TEARDOWN(rows)
{
	struct cdm_child *children[] = {
		&self->child, &self->other,
	};

	EXPECT_EQ(0, cdm_unfenced());
	for (int i = 0; i < ARRAY_SIZE(children); i++)
		if (children[i]->pid)
			cdm_kill(children[i]);
	knobs_reset();
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static char *align_huge(char *addr)
{
	return (char *)(((uintptr_t)addr + HPAGE - 1) & ~(HPAGE - 1));
}

/* F4 and F5: pools of huge pages */

struct huge {
	int nid;		/* bind the task, or -1 */
	int late;		/* the mapping gets a policy for this node, or 0 */
	int late_mode;		/* 0: bind */
	long nr;
	size_t size;		/* of a page, 0: 2 MiB */
	int flags;
};

/* Says the address or an error; touches the memory when it is told to. */
static int huge_fn(struct cdm_child *me, void *arg)
{
	struct huge *huge = arg;
	size_t page = huge->size ?: HPAGE;
	char *addr;

	if (huge->nid >= 0 && cdm_bind_task(huge->nid))
		return 2;
	addr = mmap(NULL, huge->nr * page, PROT_READ | PROT_WRITE,
		    MAP_ANONYMOUS | MAP_HUGETLB | __builtin_ctzl(page) << 26 |
		    (huge->flags ?: MAP_PRIVATE), -1, 0);
	cdm_say(me, addr == MAP_FAILED ? -errno : (long)addr);
	if (addr == MAP_FAILED || cdm_hear(me))
		return 1;
	if (huge->late && cdm_mbind(addr, huge->nr * page,
				    huge->late_mode ?: MPOL_BIND,
				    1UL << huge->late, 0))
		return 3;
	for (long i = 0; i < huge->nr; i++)
		addr[i * page] = 1;
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

/* The address that is reserved but not touched yet, or an error. */
static long huge_reserve(struct cdm_child *child, struct huge *huge)
{
	return cdm_start(child, huge_fn, huge) ? LONG_MIN : cdm_hear(child);
}

/* 0, or LONG_MIN if that was its end. */
static long huge_touch(struct cdm_child *child)
{
	cdm_say(child, 0);
	return cdm_hear(child);
}

/* How many of @nr huge pages of the child are on @nid. */
static long huge_on(struct cdm_child *child, long addr, long nr, int nid)
{
	long there = 0;

	for (long i = 0; i < nr; i++)
		there += cdm_spread_of(child->pid, (char *)addr + i * HPAGE,
				       PAGE).on[nid];
	return there;
}

static long hugepages(int nid, const char *what)
{
	char key[64];

	snprintf(key, sizeof(key), "HugePages_%s", what);
	return cdm_node_meminfo(nid, key);
}

static long huge_devs(const char *what)
{
	long sum = 0;

	for (int i = 0; i < cdm_devs().nr; i++)
		sum += hugepages(cdm_dev(i), what);
	return sum;
}

/*
 * F4. The base passes: gigantic pages are not movable, so none is allocated in
 * ZONE_MOVABLE there. RAM has none to give here, being too small.
 */
TEST_F_TIMEOUT(rows, gigantic_pages_of_global_pool, CDM_TIMEOUT)
{
	struct cdm_mark mark = cdm_mark();

	if (gigantic_nr(-1) < 0)
		SKIP(return, "this CPU has no pages of 1 GiB");
	gigantic_set(-1, 4);
	for (int i = 0; i < cdm_devs().nr; i++)
		EXPECT_EQ(0, gigantic_nr(cdm_dev(i)));
	EXPECT_EQ(0, cdm_leaked(mark));
}

/*
 * Nor are they to be had if the node itself is asked: they could not leave it
 * again. The request comes to nothing, and does no harm.
 */
TEST_F_TIMEOUT(rows, gigantic_pages_of_the_node, CDM_TIMEOUT)
{
	struct cdm_mark mark = cdm_mark();

	if (gigantic_nr(self->dev) < 0)
		SKIP(return, "this CPU has no pages of 1 GiB");
	if (cdm_node_meminfo(self->dev, "MemTotal") * 1024 < (long)GIB)
		SKIP(return, "the device holds none of 1 GiB");
	gigantic_set(self->dev, 1);
	EXPECT_EQ(0, gigantic_nr(self->dev));
	EXPECT_EQ(0, gigantic_nr(-1));
	EXPECT_EQ(0, cdm_leaked(mark));
}

/* What is free on a device is no promise to those who did not name it. */
TEST_F(rows, F5_reservation_unnamed)
{
	struct huge private = { .nid = -1, .nr = 1 };
	struct huge shared = { .nid = -1, .nr = 1, .flags = MAP_SHARED };

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	EXPECT_EQ(-ENOMEM, huge_reserve(&self->child, &private));
	EXPECT_EQ(-ENOMEM, huge_reserve(&self->other, &shared));
}

/* Both kinds of reservation at once: neither takes what the other has. */
TEST_F(rows, hugetlb_reservations_side_by_side)
{
	struct huge named = { .nid = self->dev, .nr = 2 };
	struct huge unnamed = { .nid = -1, .nr = 2 };
	long addr, ram;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	ASSERT_EQ(0, cdm_node_hugepages(self->ram, 2));
	addr = huge_reserve(&self->child, &named);
	ASSERT_LT(0, addr);
	ram = huge_reserve(&self->other, &unnamed);
	ASSERT_LT(0, ram);
	EXPECT_EQ(0, huge_touch(&self->other));
	EXPECT_EQ(2, huge_on(&self->other, ram, 2, self->ram));
	EXPECT_EQ(0, huge_touch(&self->child));
	EXPECT_EQ(2, huge_on(&self->child, addr, 2, self->dev));
	EXPECT_EQ(2, hugepages(self->dev, "Free"));
}

/* All of RAM's pool may be reserved beside those who want what the device has. */
TEST_F(rows, hugetlb_reservation_of_all_ram)
{
	struct huge named = { .nid = self->dev, .nr = 4 };
	struct huge unnamed = { .nid = -1, .nr = 2 };
	long addr, ram;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	ASSERT_EQ(0, cdm_node_hugepages(self->ram, 2));
	ram = huge_reserve(&self->other, &unnamed);
	ASSERT_LT(0, ram);
	addr = huge_reserve(&self->child, &named);
	ASSERT_LT(0, addr);
	EXPECT_EQ(0, huge_touch(&self->child));
	EXPECT_EQ(4, huge_on(&self->child, addr, 4, self->dev));
	EXPECT_EQ(0, huge_touch(&self->other));
	EXPECT_EQ(2, huge_on(&self->other, ram, 2, self->ram));
	EXPECT_EQ(0, cdm_meminfo("HugePages_Rsvd"));
}

/* Idle pages of the device make RAM's pool neither larger nor smaller. */
TEST_F(rows, F5_reservations_beyond_ram)
{
	struct huge huge = { .nid = -1, .nr = 4 };

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	ASSERT_EQ(0, cdm_node_hugepages(self->ram, 4));
	ASSERT_LT(0, huge_reserve(&self->child, &huge));
	EXPECT_EQ(-ENOMEM, huge_reserve(&self->other, &huge));
	EXPECT_EQ(0, huge_touch(&self->child));
}

/* A pool that shrinks keeps what is reserved of it. */
TEST_F(rows, hugetlb_pool_keeps_reservations)
{
	struct huge huge = { .nid = -1, .nr = 4 };
	long addr;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	ASSERT_EQ(0, cdm_node_hugepages(self->ram, 8));
	addr = huge_reserve(&self->child, &huge);
	ASSERT_LT(0, addr);
	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 2));
	EXPECT_EQ(2, hugepages(self->dev, "Total"));
	ASSERT_EQ(0, cdm_write("/proc/sys/vm/nr_hugepages", "0"));
	EXPECT_EQ(4, hugepages(self->ram, "Total"));
	EXPECT_EQ(2, hugepages(self->dev, "Total"));
	EXPECT_EQ(0, huge_touch(&self->child));
	EXPECT_EQ(4, huge_on(&self->child, addr, 4, self->ram));
}

/* A mapping without a reservation that names a device takes no reserved page. */
TEST_F(rows, hugetlb_named_beside_reserved)
{
	struct huge unnamed = { .nid = -1, .nr = 2 };
	struct huge named = {
		.nid = -1, .nr = 3, .late = self->dev, .late_mode = MPOL_PREFERRED,
		.flags = MAP_PRIVATE | MAP_NORESERVE,
	};
	long addr, ram;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 2));
	ASSERT_EQ(0, cdm_node_hugepages(self->ram, 2));
	ram = huge_reserve(&self->other, &unnamed);
	ASSERT_LT(0, ram);
	addr = huge_reserve(&self->child, &named);
	ASSERT_LT(0, addr);
	/* Two are on the device, and the third is SIGBUS. */
	EXPECT_EQ(LONG_MIN, huge_touch(&self->child)) {
		TH_LOG("%ld on the device, %ld in RAM, %ld in RAM's pool",
		       huge_on(&self->child, addr, 3, self->dev),
		       huge_on(&self->child, addr, 3, self->ram),
		       hugepages(self->ram, "Total"));
	}
	EXPECT_EQ(2, hugepages(self->ram, "Free"));
	EXPECT_EQ(0, huge_touch(&self->other));
	EXPECT_EQ(2, huge_on(&self->other, ram, 2, self->ram));
}

/*
 * A reservation is spent on a page of the device, which is given back: that is no
 * reason to reserve a page of RAM again, which somebody else has reserved meanwhile.
 */
TEST_F(rows, hugetlb_reservation_spent_on_device)
{
	struct huge unnamed = { .nid = -1, .nr = 1 };
	struct huge thief = {
		.nid = -1, .nr = 1, .flags = MAP_PRIVATE | MAP_NORESERVE,
	};
	struct cdm_child child;
	char *addr;
	long ram;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 1));
	ASSERT_EQ(0, cdm_node_hugepages(self->ram, 2));
	addr = mmap(NULL, 2 * HPAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		    MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, madvise(addr, 2 * HPAGE, MADV_DONTFORK));
	ASSERT_EQ(0, cdm_mbind(addr, HPAGE, MPOL_BIND, self->dev_mask, 0));
	addr[0] = 1;
	ASSERT_EQ(0, hugepages(self->dev, "Free"));
	ram = huge_reserve(&self->other, &unnamed);
	ASSERT_LT(0, ram);
	ASSERT_EQ(0, madvise(addr, HPAGE, MADV_DONTNEED));
	ASSERT_EQ(1, hugepages(self->dev, "Free"));
	ASSERT_LT(0, huge_reserve(&child, &thief));
	EXPECT_EQ(LONG_MIN, huge_touch(&child));
	cdm_kill(&child);
	EXPECT_EQ(2, hugepages(self->ram, "Free"));
	EXPECT_EQ(0, huge_touch(&self->other));
	addr[HPAGE] = 1;
	EXPECT_EQ(0, hugepages(self->ram, "Free"));
	munmap(addr, 2 * HPAGE);
	tenant_end(&self->other);
	EXPECT_EQ(0, cdm_meminfo("HugePages_Rsvd"));
}

/* Bound to RAM as well: reserved if RAM has enough, else what both have. */
TEST_F(rows, hugetlb_bound_to_both)
{
	unsigned long mask = self->dev_mask | 1UL << self->ram;
	struct huge unnamed = { .nid = -1, .nr = 2 };
	char *addr;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 2));
	ASSERT_EQ(0, cdm_node_hugepages(self->ram, 2));
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, mask));
	addr = mmap(NULL, 2 * HPAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	ASSERT_NE(MAP_FAILED, addr);
	EXPECT_EQ(2, cdm_meminfo("HugePages_Rsvd"));
	munmap(addr, 2 * HPAGE);
	addr = mmap(NULL, 4 * HPAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	ASSERT_NE(MAP_FAILED, addr);
	EXPECT_EQ(0, cdm_meminfo("HugePages_Rsvd"));
	for (int i = 0; i < 4; i++)
		addr[i * HPAGE] = 1;
	munmap(addr, 4 * HPAGE);
	/* Pages that another process has reserved are not for this one. */
	cdm_task_policy(MPOL_DEFAULT, 0);
	ASSERT_LT(0, huge_reserve(&self->other, &unnamed));
	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND, mask));
	addr = mmap(NULL, 4 * HPAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	EXPECT_EQ(MAP_FAILED, addr);
	EXPECT_EQ(ENOMEM, errno);
}

/* What is free in RAM does not help those who asked for the device. */
TEST_F(rows, hugetlb_named_beyond_pool)
{
	struct huge named = { .nid = self->dev, .nr = 5 };

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	ASSERT_EQ(0, cdm_node_hugepages(self->ram, 8));
	EXPECT_EQ(-ENOMEM, huge_reserve(&self->child, &named));
}

/* Without a reservation there is nothing to refuse before the first touch. */
TEST_F(rows, F5_noreserve_unnamed)
{
	struct huge huge = {
		.nid = -1, .nr = 1, .flags = MAP_PRIVATE | MAP_NORESERVE,
	};
	int status;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	ASSERT_LT(0, huge_reserve(&self->child, &huge));
	EXPECT_EQ(LONG_MIN, huge_touch(&self->child));
	EXPECT_EQ(4, hugepages(self->dev, "Free"));
	status = cdm_kill(&self->child);
	self->child.pid = 0;
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) {
		TH_LOG("wait status %#x", status);
	}
}

TEST_F(rows, hugetlb_named_by_mbind)
{
	struct huge huge = {
		.nid = -1, .nr = 2, .late = self->dev,
		.flags = MAP_PRIVATE | MAP_NORESERVE,
	};
	long addr;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	addr = huge_reserve(&self->child, &huge);
	ASSERT_LT(0, addr);
	EXPECT_EQ(0, huge_touch(&self->child));
	EXPECT_EQ(2, huge_on(&self->child, addr, 2, self->dev));
}

/* The global pool grows and shrinks past the node's own. */
TEST_F(rows, F5_global_pool_beside_the_nodes)
{
	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 8));
	ASSERT_EQ(0, cdm_write("/proc/sys/vm/nr_hugepages", "24"));
	EXPECT_EQ(8, huge_devs("Total"));
	ASSERT_EQ(0, cdm_write("/proc/sys/vm/nr_hugepages", "0"));
	EXPECT_EQ(8, huge_devs("Total"));
	EXPECT_EQ(0, cdm_nodes_meminfo(cdm_rams(), "HugePages_Total"));
}

/*
 * Surplus pages, where the pool has none left: a first mapping reserves all of
 * it, so that the second one needs some.
 */
TEST_F_TIMEOUT(rows, F5_surplus_beyond_free_ram, CDM_TIMEOUT)
{
	struct huge ballast = { .nid = -1 };
	struct huge huge = { .nid = -1, .nr = 8 };

	ASSERT_TRUE(tighten());
	ballast.nr = cdm_meminfo("HugePages_Free");
	ASSERT_LT(0, huge_reserve(&self->other, &ballast));
	ASSERT_EQ(0, cdm_write(OVERCOMMIT, "8"));
	ASSERT_LT(0, huge_reserve(&self->child, &huge));
	ASSERT_EQ(0, huge_touch(&self->child));
	EXPECT_EQ(8, cdm_meminfo("HugePages_Surp"));
	EXPECT_EQ(0, huge_devs("Total"));
}

TEST_F_TIMEOUT(rows, hugetlb_surplus_of_bound_task, CDM_TIMEOUT)
{
	struct huge huge = {
		.nid = self->dev, .nr = 4, .flags = MAP_PRIVATE | MAP_NORESERVE,
	};
	long addr;

	/* A reservation asks for surplus pages without a name. */
	ASSERT_EQ(0, cdm_write(OVERCOMMIT, "8"));
	addr = huge_reserve(&self->child, &huge);
	ASSERT_LT(0, addr);
	ASSERT_EQ(0, huge_touch(&self->child));
	EXPECT_EQ(4, huge_on(&self->child, addr, 4, self->dev));
	EXPECT_EQ(4, hugepages(self->dev, "Surp"));
	cdm_kill(&self->child);
	self->child.pid = 0;
	EXPECT_EQ(0, huge_devs("Total"));
}

/* F10: merging and collapsing */

static __u64 before[PAGES];

/* Memory with the same page @nr times; @seed 0 gives pages of zeros. */
static char *map_equal(size_t size, __u64 seed)
{
	char *addr = cdm_map(size);

	for (size_t off = 0; off < size; off += PAGE)
		if (seed)
			cdm_fill(addr + off, PAGE, seed);
		else
			addr[off] = 0;
	return addr;
}

static long wrong_equal(const char *addr, size_t size, __u64 seed)
{
	long wrong = 0;

	for (size_t off = 0; off < size; off += PAGE)
		wrong += cdm_wrong(addr + off, PAGE, seed);
	return wrong;
}

/* Wait until the counter has gone through @rounds more rounds. */
static bool wait_rounds(const char *path, long rounds)
{
	long end = cdm_read_long(path) + rounds;

	for (int i = 0; i < CDM_PATIENCE * 10; i++) {
		if (cdm_read_long(path) >= end)
			return true;
		usleep(100000);
	}
	return false;
}

static bool ksm_run(void)
{
	return !cdm_write(KSM "pages_to_scan", "20000") &&
	       !cdm_write(KSM "sleep_millisecs", "10") &&
	       !cdm_write(KSM "run", "1") &&
	       wait_rounds(KSM "full_scans", 4);
}

TEST_F_TIMEOUT(rows, F10_ksm_of_both_sides, CDM_TIMEOUT)
{
	size_t size = SIZE / 4;
	char *ram = map_equal(size, SEED), *dev = map_equal(size, SEED);

	ASSERT_EQ(size / PAGE, cdm_move(dev, size, self->dev));
	ASSERT_EQ(size / PAGE, frames(dev, size, before));
	ASSERT_EQ(0, madvise(ram, size, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(dev, size, MADV_MERGEABLE));
	ASSERT_TRUE(ksm_run());
	EXPECT_LE(size / PAGE - 1, cdm_read_long(KSM "pages_sharing"));

	EXPECT_EQ(0, frames_left(dev, size, before));
	EXPECT_EQ(size / PAGE, cdm_pages_on(dev, size, self->dev));
	EXPECT_EQ(size / PAGE, cdm_spread_in(cdm_spread(ram, size),
					     cdm_rams()));
	EXPECT_EQ(0, wrong_equal(ram, size, SEED));
	EXPECT_EQ(0, wrong_equal(dev, size, SEED));

	/* Copies of merged pages are nobody's on the device either. */
	cdm_fill(ram, size, SEED + 1);
	EXPECT_EQ(0, cdm_wrong(ram, size, SEED + 1));
	EXPECT_EQ(0, wrong_equal(dev, size, SEED));
	EXPECT_EQ(0, cdm_spread_in(cdm_spread(ram, size), cdm_devs()));
}

TEST_F_TIMEOUT(rows, F10_ksm_of_zero_pages, CDM_TIMEOUT)
{
	size_t size = SIZE / 4;
	char *ram = map_equal(size, 0), *dev = map_equal(size, 0);

	ASSERT_EQ(size / PAGE, cdm_move(dev, size, self->dev));
	ASSERT_EQ(size / PAGE, frames(dev, size, before));
	ASSERT_EQ(0, madvise(ram, size, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(dev, size, MADV_MERGEABLE));
	ASSERT_EQ(0, cdm_write(KSM "use_zero_pages", "1"));
	ASSERT_TRUE(ksm_run());
	EXPECT_EQ(size / PAGE, cdm_spread(ram, size).absent);
	EXPECT_EQ(0, frames_left(dev, size, before));
}

/*
 * Three ranges that could be huge pages each: all on the device, one page on
 * the device, none.
 */
#define RANGES	(3 * HPAGE)
#define ODD	100

static char *map_ranges(bool shared, int dev)
{
	char *addr = align_huge(cdm_map(RANGES + HPAGE));

	/* In a file, its start must be the start of a huge page, too. */
	addr = mmap(addr, RANGES, PROT_READ | PROT_WRITE, MAP_ANONYMOUS |
		    MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
	if (addr == MAP_FAILED || madvise(addr, RANGES, MADV_NOHUGEPAGE))
		return NULL;
	cdm_fill(addr, RANGES, SEED);
	if (cdm_move(addr, HPAGE, dev) != HPAGE / PAGE ||
	    cdm_move(addr + HPAGE + ODD * PAGE, PAGE, dev) != 1 ||
	    madvise(addr, RANGES, MADV_HUGEPAGE))
		return NULL;
	frames(addr, 2 * HPAGE, before);
	return addr;
}

static void expect_not_collapsed(struct __test_metadata *_metadata, char *addr)
{
	EXPECT_TRUE(frame_is_huge(addr + 2 * HPAGE));
	EXPECT_EQ(0, cdm_spread_in(cdm_spread(addr + 2 * HPAGE, HPAGE),
				   cdm_devs()));
	EXPECT_EQ(0, frames_left(addr, HPAGE, before));
	EXPECT_EQ(0, frames_left(addr + HPAGE, HPAGE, before + HPAGE / PAGE));
	EXPECT_EQ(0, cdm_wrong(addr, RANGES, SEED));
}

TEST_F_TIMEOUT(rows, F10_khugepaged, CDM_TIMEOUT)
{
	char *addr = map_ranges(false, self->dev);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_write(KHUGEPAGED "pages_to_scan", "65536"));
	ASSERT_EQ(0, cdm_write(KHUGEPAGED "scan_sleep_millisecs", "10"));
	ASSERT_TRUE(wait_rounds(KHUGEPAGED "full_scans", 20));
	expect_not_collapsed(_metadata, addr);
}

TEST_F_TIMEOUT(rows, F10_madv_collapse, CDM_TIMEOUT)
{
	char *addr = map_ranges(false, self->dev);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(-1, madvise(addr, HPAGE, MADV_COLLAPSE));
	EXPECT_EQ(-1, madvise(addr + HPAGE, HPAGE, MADV_COLLAPSE));
	EXPECT_EQ(0, madvise(addr + 2 * HPAGE, HPAGE, MADV_COLLAPSE));
	expect_not_collapsed(_metadata, addr);
}

TEST_F_TIMEOUT(rows, F10_madv_collapse_shmem, CDM_TIMEOUT)
{
	char *addr = map_ranges(true, self->dev);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(-1, madvise(addr, HPAGE, MADV_COLLAPSE));
	EXPECT_EQ(-1, madvise(addr + HPAGE, HPAGE, MADV_COLLAPSE));
	EXPECT_EQ(0, madvise(addr + 2 * HPAGE, HPAGE, MADV_COLLAPSE));
	expect_not_collapsed(_metadata, addr);
}

/* Every other page of the device is free: much to do for a compaction. */
TEST_F_TIMEOUT(rows, F10_compact_memory, CDM_TIMEOUT)
{
	size_t size = 64 * MIB;
	__u64 *place = calloc(size / PAGE, sizeof(*place));
	char *addr = cdm_map_on(self->dev, size, SEED);
	long left = 0;

	ASSERT_NE(NULL, addr);
	for (size_t off = 0; off < size; off += 2 * PAGE)
		madvise(addr + off, PAGE, MADV_DONTNEED);
	ASSERT_EQ(size / PAGE / 2, frames(addr, size, place));
	/* The first one is short of free pages, which per-CPU lists hold. */
	ASSERT_EQ(0, cdm_write("/proc/sys/vm/compact_memory", "1"));
	ASSERT_EQ(0, cdm_write("/proc/sys/vm/compact_memory", "1"));
	for (size_t off = PAGE; off < size; off += 2 * PAGE)
		left += frames_left(addr + off, PAGE, place + off / PAGE);
	EXPECT_EQ(0, left);
	free(place);
}

/* F11: NUMA balancing */

#define NR_RAM_PAGES	16

struct hints {
	int dev;
	bool scanned;		/* some memory is, sooner or later */
	long left;		/* frames, of SIZE in small and SIZE in huge */
	long updates;
	long faults;
	long wrong;
};

static void *sleep_fn(void *arg)
{
	pause();
	return NULL;
}

static long cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void spin_ms(long ms)
{
	for (long end = cpu_ms() + ms; cpu_ms() < end; )
		for (int i = 0; i < 10000; i++)
			asm volatile("");
}

/*
 * Scanning begins after a second of CPU time, and after another one for new
 * mappings. A second thread makes the scanner look at local memory too, which
 * shows that it is at work: some updates there must be.
 */
static int balance_fn(struct cdm_child *me, void *arg)
{
	static __u64 small_before[PAGES], huge_before[PAGES];
	char *small = cdm_map(SIZE), *huge = cdm_map_huge(SIZE);
	char *ram = cdm_map(NR_RAM_PAGES * PAGE);
	struct hints *hints = arg;
	long end = cpu_ms() + 5000;
	pthread_t thread;

	cdm_fill(small, SIZE, SEED);
	cdm_fill(huge, SIZE, SEED);
	if (cdm_move(small, SIZE, hints->dev) != PAGES ||
	    cdm_move(huge, SIZE, hints->dev) != PAGES ||
	    pthread_create(&thread, NULL, sleep_fn, NULL))
		return 1;
	frames(small, SIZE, small_before);
	frames(huge, SIZE, huge_before);
	hints->updates = -cdm_vmstat("numa_pte_updates");
	hints->faults = -cdm_vmstat("numa_hint_faults");
	while (cpu_ms() < end || (hints->scanned && cpu_ms() < end + 60000 &&
				  !(hints->updates +
				    cdm_vmstat("numa_pte_updates")))) {
		cdm_touch(ram, NR_RAM_PAGES * PAGE);
		cdm_fault_in(small, SIZE);
		cdm_fault_in(huge, SIZE);
		/* To touch pages may be dear on an emulated machine. */
		spin_ms(10);
	}
	hints->updates += cdm_vmstat("numa_pte_updates");
	hints->faults += cdm_vmstat("numa_hint_faults");
	hints->left = frames_left(small, SIZE, small_before) +
		      frames_left(huge, SIZE, huge_before);
	hints->wrong = cdm_wrong(small, SIZE, SEED) +
		       cdm_wrong(huge, SIZE, SEED);
	cdm_say(me, 0);
	return 0;
}

static struct hints *balance(struct cdm_child *child, int dev, bool scanned)
{
	struct hints *hints = (struct hints *)cdm_map_shared(PAGE);

	hints->dev = dev;
	hints->scanned = scanned;
	if (cdm_start(child, balance_fn, hints) || cdm_hear(child))
		return NULL;
	return hints;
}

TEST_F_TIMEOUT(rows, F11_balancing, CDM_TIMEOUT)
{
	struct hints *hints;

	ASSERT_EQ(0, cdm_write(BALANCING, "1"));
	hints = balance(&self->child, self->dev, true);
	ASSERT_NE(NULL, hints);
	EXPECT_LT(0, hints->updates);
	EXPECT_GT(PAGES / 2, hints->updates);
	EXPECT_GT(PAGES / 2, hints->faults);
	EXPECT_EQ(0, hints->left);
	EXPECT_EQ(0, hints->wrong);
}

/* Tiering looks at slow memory only; to it, a device must be neither. */
TEST_F_TIMEOUT(rows, F11_tiering, CDM_TIMEOUT)
{
	struct hints *hints;

	ASSERT_EQ(0, cdm_write(BALANCING, "2"));
	hints = balance(&self->child, self->dev, false);
	ASSERT_NE(NULL, hints);
	EXPECT_EQ(0, hints->updates);
	EXPECT_EQ(0, hints->faults);
	EXPECT_EQ(0, hints->left);
	EXPECT_EQ(0, hints->wrong);
}

/* F12: who watches memory */

#define IDLE_BITMAP	"/sys/kernel/mm/page_idle/bitmap"

/* Mark the pages idle and count those that have taken the mark. */
static long mark_idle(const char *addr, size_t size)
{
	static __u64 entry[PAGES];
	int fd = open(IDLE_BITMAP, O_RDWR);
	long idle = 0;

	frames(addr, size, entry);
	for (size_t i = 0; i < size / PAGE; i++) {
		__u64 pfn = entry[i] & FRAME_MASK, bit = 1ULL << pfn % 64;

		if (pwrite(fd, &bit, 8, pfn / 64 * 8) != 8 ||
		    pread(fd, &bit, 8, pfn / 64 * 8) != 8)
			continue;
		idle += bit >> pfn % 64 & 1;
	}
	close(fd);
	return idle;
}

TEST_F(rows, F12_page_idle)
{
	char *ram = cdm_map(SIZE), *dev = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, dev);
	cdm_fill(ram, SIZE, SEED);
	EXPECT_LT(PAGES / 2, mark_idle(ram, SIZE));
	EXPECT_EQ(0, mark_idle(dev, SIZE));
}

#define CONTEXT	DAMON "/0/contexts/0/"
#define SCHEME	CONTEXT "schemes/0/"

/* Page out whatever was not used lately in [start, end), physical. */
static bool damon_pageout(__u64 start, __u64 end)
{
	static const char * const setup[][2] = {
		{ DAMON "/nr_kdamonds", "1" },
		{ DAMON "/0/contexts/nr_contexts", "1" },
		{ CONTEXT "operations", "paddr" },
		{ CONTEXT "targets/nr_targets", "1" },
		{ CONTEXT "targets/0/regions/nr_regions", "1" },
		{ CONTEXT "schemes/nr_schemes", "1" },
		{ SCHEME "action", "pageout" },
		{ SCHEME "access_pattern/sz/max", "18446744073709551615" },
		{ SCHEME "access_pattern/nr_accesses/max", "1" },
		{ SCHEME "access_pattern/age/max", "4294967295" },
	};

	for (int i = 0; i < ARRAY_SIZE(setup); i++)
		if (cdm_write(setup[i][0], setup[i][1]))
			return false;
	return !cdm_writef(CONTEXT "targets/0/regions/0/start", "%llu",
			   start) &&
	       !cdm_writef(CONTEXT "targets/0/regions/0/end", "%llu", end) &&
	       !cdm_write(DAMON "/0/state", "on");
}

static long damon_tried(void)
{
	cdm_write(DAMON "/0/state", "update_schemes_stats");
	return cdm_read_long(SCHEME "stats/nr_tried");
}

TEST_F_TIMEOUT(rows, F12_damon_pageout, CDM_TIMEOUT)
{
	__u64 low = -1, high = 0;
	char *addr;

	if (access(DAMON, F_OK))
		SKIP(return, "this kernel has no DAMON");
	ASSERT_EQ(0, cdm_swap_on(SWAP));
	addr = cdm_map_on(self->dev, SIZE, SEED);
	ASSERT_NE(NULL, addr);
	frames(addr, SIZE, before);
	for (long i = 0; i < PAGES; i++) {
		__u64 pfn = before[i] & FRAME_MASK;

		low = pfn < low ? pfn : low;
		high = pfn > high ? pfn : high;
	}
	ASSERT_TRUE(damon_pageout(low * PAGE, (high + 1) * PAGE));
	for (int i = 0; i < CDM_PATIENCE * 10 && damon_tried() < 3; i++)
		usleep(100000);
	EXPECT_LE(3, damon_tried());
	EXPECT_EQ(0, frames_left(addr, SIZE, before));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_HARNESS_MAIN
