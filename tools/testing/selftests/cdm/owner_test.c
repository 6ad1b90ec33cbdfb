// SPDX-License-Identifier: GPL-2.0
/*
 * What the owner of device memory can do with it: take some for itself, claim it
 * back from tenants, keep a reserve, move memory in the background, be told of
 * what happens, put the device to sleep, and lose it.
 */
#include <linux/limits.h>
#include <setjmp.h>

#include "rows_util.h"

#define SIZE		(4 * MIB)	/* each lost page is a line in the log */
#define PAGES		((long)(SIZE / PAGE))
#define SEED		41
#define ROOM		cdm_effort(64, 32)	/* MiB that are left free */
#define MIB_PAGES	((long)(MIB / PAGE))
#define BLOCK_PAGES	((long)(HPAGE / PAGE))
#define DEADLINE_MS	CDM_ACK_MS
#define GRACE		cdm_seconds(30)	/* s that a call may take beyond that */

#define DISK_DIR	"/tmp/cdm_owner_disk"
#define HARD_OFFLINE	"/sys/devices/system/memory/hard_offline_page"
#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static const unsigned int orders[] = { 0, 9, 10 };

/*
 * Each touch of a page that is lost is a line in the log, and the console is
 * slow. Quiet, it still has panics, and /dev/kmsg has all. A test that is killed
 * restores nothing, so what to restore is known from before the first of them.
 */
#define PRINTK		"/proc/sys/kernel/printk"

static long console_level;

static void __attribute__((constructor)) console_remember(void)
{
	console_level = cdm_read_long(PRINTK);
}

static void console_quiet(void)
{
	cdm_write(PRINTK, "1");
}

static void console_restore(void)
{
	cdm_writef(PRINTK, "%ld", console_level);
}

/*
 * With the checkers it takes seconds to bring up the memory of the device or to
 * take it down, much longer than what is tested. Nothing here depends on how much
 * there is, so that a part of it will do.
 */
#define PART		(256 * MIB)

static struct cdm_test_range part;
static pid_t part_pid;

static void __attribute__((constructor)) part_begin(void)
{
	if (!cdm_flavour_is("debug") || cdm_missing() ||
	    cdm_range(cdm_dev(0), 0, &part) || part.size <= PART ||
	    cdm_unregister(part.nid, DEADLINE_MS, NULL))
		return;
	part.size = PART;
	part_pid = getpid();
	if (cdm_ioctl(CDM_TEST_IOC_REGISTER, &part))
		cdm_register_all();
}

/* All of it again, for others. Children of the test have nothing to do with it. */
static void __attribute__((destructor)) part_end(void)
{
	if (part_pid != getpid())
		return;
	cdm_ioctl(CDM_TEST_IOC_UNREGISTER_ONE, &part.start);
	cdm_register_all();
}

FIXTURE(owner) {
	int dev;
	int ram;
	int fd;			/* holds blocks, and a pin */
	long total;		/* kB */
	struct cdm_child child[4];
};

static int ask(int fd, unsigned long cmd, void *arg)
{
	int ret = ioctl(fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

static int set_reserve(int nid, unsigned long nr_pages)
{
	struct cdm_test_reserve reserve = {
		.nid = nid,
		.deadline_ms = DEADLINE_MS,
		.nr_pages = nr_pages,
	};

	return cdm_ioctl(CDM_TEST_IOC_RESERVE, &reserve);
}

static int suspend(int nid, unsigned int deadline_ms)
{
	struct cdm_test_reserve arg = {
		.nid = nid,
		.deadline_ms = deadline_ms,
	};

	return cdm_ioctl(CDM_TEST_IOC_SUSPEND, &arg);
}

static int resume(int nid)
{
	struct cdm_test_reserve arg = { .nid = nid };

	return cdm_ioctl(CDM_TEST_IOC_RESUME, &arg);
}

/* Returns whether the node is open, or closed for the reasons in @state alone. */
static bool state_is(int nid, const char *state)
{
	char path[128], buf[128] = "";

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cdm/state",
		 nid);
	cdm_read(path, buf, sizeof(buf));
	buf[strcspn(buf, "\n")] = 0;
	return !strcmp(buf, state);
}

static bool state_becomes(int nid, const char *state)
{
	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (state_is(nid, state))
			return true;
		usleep(10000);
	}
	return false;
}

static struct cdm_test_events events(enum cdm_test_engine engine)
{
	struct cdm_test_events events = { .engine = engine };

	cdm_ioctl(CDM_TEST_IOC_EVENTS, &events);
	return events;
}

/* Set the engine to hold what it copies. Returns whether it holds something. */
static bool engine_holds(void)
{
	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (events(CDM_TEST_ENGINE_HOLD).nr_held)
			return true;
		usleep(10000);
	}
	return false;
}

static int set_link(__u32 link)
{
	return cdm_ioctl(CDM_TEST_IOC_LINK, &link);
}

/* What most tests begin with: the device, and a file of its driver. */
static int owner_start(struct __test_metadata *_metadata, int *dev, int *fd)
{
	int err = cdm_reset(_metadata);

	*dev = cdm_dev(0);
	*fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	return err ?: *fd < 0 ? -errno : 0;
}

/* Whatever a test has left behind: nobody else is to stumble over it. */
static int owner_reset(struct __test_metadata *_metadata, int nid, int fd,
		       struct cdm_child *child, int nr)
{
	console_restore();
	for (int i = 0; i < nr; i++)
		tenant_end(&child[i]);
	close(fd);
	events(CDM_TEST_ENGINE_NONE);
	set_link(CDM_TEST_LINK_UP);
	resume(nid);
	set_reserve(nid, 0);
	cdm_write(SHMEM_HUGE, "never");
	return cdm_reset(_metadata);
}

FIXTURE_SETUP(owner)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, owner_start(_metadata, &self->dev, &self->fd));
	self->ram = cdm_ram(0);
	self->total = cdm_node_meminfo(self->dev, "MemTotal");
}

FIXTURE_TEARDOWN(owner)
{
	EXPECT_EQ(0, cdm_judge());
	EXPECT_EQ(0, owner_reset(_metadata, self->dev, self->fd, self->child,
				 ARRAY_SIZE(self->child)));
	EXPECT_EQ(self->total, cdm_node_meminfo(self->dev, "MemTotal"));
}

/* What is free on the node, with what the CPUs keep for themselves. */
static long free_pages(int nid)
{
	cdm_audit(nid, "free");		/* drains the lists of the CPUs */
	return cdm_audit(nid, "free");
}

/* One CPU, or some of what is free may wait on the list of another one. */
static void stay_on_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static int take(int fd, int nid, unsigned int order, unsigned long nr,
		struct cdm_test_recall *got)
{
	struct cdm_test_recall arg = {
		.nid = nid,
		.order = order,
		.nr = nr,
		.alloc_only = 1,
	};
	int ret = ask(fd, CDM_TEST_IOC_RECALL, &arg);

	if (got)
		*got = arg;
	return ret;
}

/* As above, but those who are in the way have to go. */
static int recall(int fd, int nid, unsigned int order, unsigned long nr,
		  unsigned int deadline_ms, struct cdm_test_recall *got)
{
	struct cdm_test_recall arg = {
		.nid = nid,
		.order = order,
		.nr = nr,
		.deadline_ms = deadline_ms,
	};
	time_t from = time(NULL);
	int ret = ask(fd, CDM_TEST_IOC_RECALL, &arg);

	if (time(NULL) - from > deadline_ms / 1000 + GRACE)
		ret = -EPROTO;
	if (got)
		*got = arg;
	return ret;
}

/* Returns how many pages have been spoilt. */
static int give_back(int fd)
{
	return ask(fd, CDM_TEST_IOC_FREE, NULL);
}

static bool owns(int nid, long nr_pages)
{
	return cdm_audit(nid, "owner") == nr_pages &&
	       cdm_audit(nid, "cause_owner") == nr_pages;
}

static long nonzero(const char *addr, size_t size)
{
	const __u64 *word = (const __u64 *)addr;
	long nr = 0;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		nr += word[i] != 0;
	return nr;
}

/* The kinds of memory that tenants have */

enum kind { ANON, LOCKED, COW, SHMEM, THP, SHMEM_THP, NR_KINDS };

static char *map_cow(size_t size)
{
	int fd = cdm_open_big(size);
	char *addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	close(fd);
	return addr == MAP_FAILED ? NULL : addr;
}

static char *map_shared_huge(size_t size)
{
	char *addr;

	cdm_write(SHMEM_HUGE, "advise");
	addr = cdm_map_shared(size + HPAGE);
	if (!addr)
		return NULL;
	addr = (char *)(((uintptr_t)addr + HPAGE - 1) & ~(HPAGE - 1));
	return madvise(addr, size, MADV_HUGEPAGE) ? NULL : addr;
}

static char *map_kind(enum kind kind, size_t size)
{
	char *addr;

	switch (kind) {
	case COW:
		return map_cow(size);
	case SHMEM:
		return cdm_map_shared(size);
	case THP:
		return cdm_map_huge(size);
	case SHMEM_THP:
		return map_shared_huge(size);
	case LOCKED:
		addr = cdm_map(size);
		return addr && mlock(addr, size) ? NULL : addr;
	default:
		return cdm_map(size);
	}
}

/* Memory of a kind with the pattern of SEED, all of it on @nid, or NULL. */
static char *map_kind_on(int nid, enum kind kind, size_t size)
{
	char *addr = map_kind(kind, size);

	if (!addr)
		return NULL;
	cdm_fill(addr, size, SEED);
	return cdm_move(addr, size, nid) == (long)(size / PAGE) ? addr : NULL;
}

/* Page cache of a file of the host, moved to @nid. */
static char *map_file_on(int nid, size_t size, __u64 *hash)
{
	int fd = cdm_open_big(size);
	char *addr = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	close(fd);
	if (addr == MAP_FAILED)
		return NULL;
	*hash = cdm_hash(addr, size);
	return cdm_move(addr, size, nid) == (long)(size / PAGE) ? addr : NULL;
}

static char *start_tenant(struct cdm_child *child, int nid, size_t size,
			  bool huge)
{
	struct tenant tenant = {
		.size = size,
		.mode = MPOL_BIND,
		.mask = 1UL << nid,
		.advice = huge ? MADV_HUGEPAGE : 0,
	};

	return tenant_start(child, &tenant);
}

/* The node works: memory of tenants, of the owner, and all of it. */
static void expect_usable(struct __test_metadata *_metadata, int fd, int nid)
{
	char *addr = cdm_map_on(nid, SIZE, SEED);
	struct cdm_test_recall got;

	EXPECT_NE(NULL, addr);
	if (addr)
		munmap(addr, SIZE);
	EXPECT_EQ(0, take(fd, nid, 0, PAGES, &got));
	EXPECT_EQ(0, got.nr_dirty);
	EXPECT_EQ(0, give_back(fd));
	EXPECT_TRUE(owns(nid, 0));
	EXPECT_TRUE(cdm_state_has("has_coherent_device", nid));
}

/* Allocation */

TEST_F_TIMEOUT(owner, alloc_to_the_last_page, CDM_TIMEOUT)
{
	struct cdm_test_recall got;
	long nr;

	stay_on_cpu();
	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	nr = free_pages(self->dev);
	ASSERT_LT(0, nr);
	EXPECT_EQ(-ENOMEM, take(self->fd, self->dev, 0, nr + 1, &got));
	EXPECT_EQ(nr, got.nr_recalled);
	EXPECT_EQ(0, got.nr_dirty);
	EXPECT_EQ(0, got.nr_evicted);
	EXPECT_TRUE(owns(self->dev, nr));
	EXPECT_EQ(0, free_pages(self->dev));
	cdm_stat_refresh();
	EXPECT_EQ(0, cdm_node_meminfo(self->dev, "MemFree"));
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_TRUE(owns(self->dev, 0));
	EXPECT_EQ(nr, free_pages(self->dev));
}

TEST_F_TIMEOUT(owner, alloc_of_all_orders, CDM_TIMEOUT)
{
	for (int i = 0; i < ARRAY_SIZE(orders); i++) {
		long nr = SIZE * 2 / PAGE >> orders[i], device, node;
		struct cdm_test_recall got;

		cdm_stat_refresh();
		device = cdm_meminfo("DeviceFree");
		node = cdm_node_meminfo(self->dev, "MemFree");
		EXPECT_EQ(0, take(self->fd, self->dev, orders[i], nr, &got));
		EXPECT_EQ(nr, got.nr_recalled);
		EXPECT_EQ(0, got.nr_dirty);
		EXPECT_TRUE(owns(self->dev, 2 * PAGES));
		cdm_stat_refresh();
		EXPECT_GE(device - 2 * PAGES * 4, cdm_meminfo("DeviceFree"));
		EXPECT_GE(node - 2 * PAGES * 4,
			  cdm_node_meminfo(self->dev, "MemFree"));
		EXPECT_EQ(0, give_back(self->fd));
		EXPECT_TRUE(owns(self->dev, 0));
		EXPECT_EQ(self->total / 4, free_pages(self->dev));
	}
}

/* All of the node in the largest blocks there are: nothing is in their way. */
TEST_F_TIMEOUT(owner, alloc_whole_node, CDM_TIMEOUT)
{
	struct cdm_test_recall got;
	long nr = self->total / 4 >> 10;

	EXPECT_EQ(-ENOMEM, take(self->fd, self->dev, 10, nr + 1, &got));
	EXPECT_EQ(nr, got.nr_recalled);
	EXPECT_TRUE(owns(self->dev, nr << 10));
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_EQ(self->total / 4, free_pages(self->dev));
}

/* A file that is closed gives back what it holds. */
TEST_F(owner, close_frees)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR);

	ASSERT_EQ(0, take(fd, self->dev, 0, PAGES, NULL));
	EXPECT_TRUE(owns(self->dev, PAGES));
	close(fd);
	EXPECT_TRUE(owns(self->dev, 0));
}

/* F21: with little room, the owner gets what the tenant has had. */
TEST_F_TIMEOUT(owner, no_data_of_tenants, CDM_TIMEOUT)
{
	struct cdm_test_recall got;

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	for (int i = 0; i < 2; i++) {
		bool huge = orders[i] > 0;

		ASSERT_NE(NULL, start_tenant(&self->child[0], self->dev,
					     (ROOM - 16) * MIB, huge));
		tenant_end(&self->child[0]);
		take(self->fd, self->dev, orders[i],
		     free_pages(self->dev) >> orders[i], &got);
		EXPECT_LE((ROOM - 16) * MIB_PAGES,
			  got.nr_recalled << orders[i]);
		EXPECT_EQ(0, got.nr_dirty);
		EXPECT_EQ(0, give_back(self->fd));
	}
}

/* What it takes again, after it has written to it, is zeroed as well. */
TEST_F_TIMEOUT(owner, no_data_of_itself, CDM_TIMEOUT)
{
	struct cdm_test_recall got;

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	for (int i = 0; i < 2; i++) {
		take(self->fd, self->dev, 0, free_pages(self->dev), &got);
		EXPECT_LT(0, got.nr_recalled);
		EXPECT_EQ(0, got.nr_dirty);
		EXPECT_EQ(0, give_back(self->fd));
	}
}

TEST_F_TIMEOUT(owner, no_data_for_tenants, CDM_TIMEOUT)
{
	static const enum kind kinds[] = { ANON, SHMEM, THP };
	size_t size = (ROOM - 16) * MIB;

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	for (int i = 0; i < ARRAY_SIZE(kinds); i++) {
		char *addr = map_kind(kinds[i], size);

		take(self->fd, self->dev, 0, free_pages(self->dev), NULL);
		EXPECT_EQ(0, give_back(self->fd));
		ASSERT_NE(NULL, addr);
		ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_BIND, 1UL << self->dev,
				       0));
		cdm_fault_in(addr, size);
		for (size_t off = 0; off < size; off += PAGE)
			addr[off] = 0;
		EXPECT_EQ(size / PAGE, cdm_pages_on(addr, size, self->dev));
		EXPECT_EQ(0, nonzero(addr, size));
		munmap(addr, size);
	}
}

/* Half of the room is the owner's; the tenants want all of it. */
TEST_F_TIMEOUT(owner, nobody_else_gets_it, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = 2 * ROOM * MIB,
		.mode = MPOL_PREFERRED,
		.mask = 1UL << self->dev,
	};
	char *addr = cdm_map(SIZE);

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	ASSERT_EQ(0, take(self->fd, self->dev, 9, ROOM / 8, NULL));
	ASSERT_EQ(0, take(self->fd, self->dev, 0, ROOM / 4 * MIB_PAGES, NULL));
	ASSERT_NE(NULL, cdm_load_start(&self->child[0], &load));
	cdm_fill(addr, SIZE, SEED);
	cdm_move(addr, SIZE, self->dev);
	EXPECT_TRUE(owns(self->dev, ROOM / 2 * MIB_PAGES));
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* Recall */

/* The crowd, and what is claimed of it, is smaller where it is slow. */
static long crowd_mib(long mib)
{
	return cdm_effort(mib, mib / 3);
}

/*
 * The node full of tenants of all kinds, with a bit more room than they need;
 * what it takes to see whether they have changed.
 */
struct crowd {
	char *addr[3];
	char *file;
	__u64 hash;
};

#define CROWD		(crowd_mib(144) * MIB)
#define CROWD_KIND	(crowd_mib(24) * MIB)
static const enum kind crowd_kinds[] = { ANON, SHMEM, THP };

static void crowd_come(struct __test_metadata *_metadata, struct crowd *crowd,
		       struct cdm_child *child, int nid)
{
	ASSERT_EQ(0, cdm_leave_node(nid, CROWD / MIB + 8));
	for (int i = 0; i < 2; i++)
		ASSERT_NE(NULL, start_tenant(&child[i], nid,
					     crowd_mib(32) * MIB, i));
	for (int i = 0; i < ARRAY_SIZE(crowd_kinds); i++) {
		crowd->addr[i] = map_kind_on(nid, crowd_kinds[i], CROWD_KIND);
		ASSERT_NE(NULL, crowd->addr[i]);
	}
	crowd->file = map_file_on(nid, SIZE, &crowd->hash);
	ASSERT_NE(NULL, crowd->file);
}

static void crowd_expect(struct __test_metadata *_metadata,
			 struct crowd *crowd, struct cdm_child *child)
{
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, tenant_wrong(&child[i]));
	for (int i = 0; i < ARRAY_SIZE(crowd_kinds); i++)
		EXPECT_EQ(0, cdm_wrong(crowd->addr[i], CROWD_KIND, SEED));
	EXPECT_EQ(crowd->hash, cdm_hash(crowd->file, SIZE));
}

FIXTURE(recall) {
	int dev;
	int fd;
	long kills;
	struct crowd crowd;
	struct cdm_child child[4];
};

FIXTURE_VARIANT(recall) {
	unsigned int order;
	long mib;
};

FIXTURE_VARIANT_ADD(recall, order0) { .order = 0, .mib = 96 };
FIXTURE_VARIANT_ADD(recall, order9) { .order = 9, .mib = 96 };
FIXTURE_VARIANT_ADD(recall, order10) { .order = 10, .mib = 64 };

FIXTURE_SETUP(recall)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, owner_start(_metadata, &self->dev, &self->fd));
	self->kills = cdm_vmstat("oom_kill");
	crowd_come(_metadata, &self->crowd, self->child, self->dev);
}

FIXTURE_TEARDOWN(recall)
{
	EXPECT_EQ(0, cdm_judge());
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
	EXPECT_EQ(0, owner_reset(_metadata, self->dev, self->fd, self->child,
				 ARRAY_SIZE(self->child)));
}

/* Tenants go, as many as have to; what they had is the owner's now, and zero. */
TEST_F_TIMEOUT(recall, tenants_go, CDM_TIMEOUT)
{
	long nr = crowd_mib(variant->mib) * MIB_PAGES >> variant->order;
	long evicted = cdm_vmstat("cdm_evicted_recall");
	long room = free_pages(self->dev);
	long need = (nr << variant->order) - room;
	struct cdm_test_recall got;

	ASSERT_LT(0, need);
	EXPECT_EQ(0, recall(self->fd, self->dev, variant->order, nr,
			    DEADLINE_MS, &got));
	EXPECT_EQ(nr, got.nr_recalled);
	EXPECT_EQ(0, got.nr_dirty);
	EXPECT_TRUE(owns(self->dev, nr << variant->order));
	EXPECT_LE(need, (long)got.nr_evicted);
	EXPECT_GE(CROWD / PAGE + BLOCK_PAGES, got.nr_evicted);
	/* A block may have been half empty, larger ones are here and there. */
	if (!variant->order)
		EXPECT_GE(need + 4 * BLOCK_PAGES, (long)got.nr_evicted);
	EXPECT_EQ(got.nr_evicted,
		  cdm_vmstat("cdm_evicted_recall") - evicted);
	crowd_expect(_metadata, &self->crowd, self->child);
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_TRUE(owns(self->dev, 0));
	crowd_expect(_metadata, &self->crowd, self->child);
}

/* Nothing of it is kept from the tenants for longer than it takes. */
TEST_F_TIMEOUT(recall, tenants_return, CDM_TIMEOUT)
{
	long nr = crowd_mib(variant->mib) * MIB_PAGES >> variant->order;
	char *addr = self->crowd.addr[0];
	long room;

	ASSERT_EQ(0, recall(self->fd, self->dev, variant->order, nr,
			    DEADLINE_MS, NULL));
	EXPECT_EQ(0, give_back(self->fd));
	room = free_pages(self->dev);
	EXPECT_LE(nr << variant->order, room);
	addr = cdm_map(room * PAGE);
	cdm_touch(addr, room * PAGE);
	EXPECT_EQ(room, cdm_move(addr, room * PAGE, self->dev));
}

/* A child that comes back as often as it can. */
static int busy_fn(struct cdm_child *me, void *arg)
{
	char *addr = cdm_map(SIZE);
	struct pollfd pfd = { .fd = me->in, .events = POLLIN };
	long wrong = 0;

	if (cdm_mbind(addr, SIZE, MPOL_PREFERRED, 1UL << *(int *)arg, 0))
		return 1;
	cdm_say(me, 0);
	while (!poll(&pfd, 1, 0)) {
		cdm_stamp(addr, SIZE, SEED);
		wrong += cdm_stamp_wrong(addr, SIZE, SEED);
		madvise(addr, SIZE, MADV_DONTNEED);
	}
	cdm_say(me, wrong);
	return 0;
}

TEST_F_TIMEOUT(recall, tenants_keep_coming, CDM_TIMEOUT)
{
	long nr = crowd_mib(variant->mib) * MIB_PAGES >> variant->order;
	struct cdm_test_recall got;

	for (int i = 2; i < 4; i++) {
		ASSERT_EQ(0, cdm_start(&self->child[i], busy_fn, &self->dev));
		ASSERT_EQ(0, cdm_hear(&self->child[i]));
	}
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, recall(self->fd, self->dev, variant->order, nr,
				    DEADLINE_MS, &got));
		EXPECT_EQ(nr, got.nr_recalled);
		EXPECT_EQ(0, got.nr_dirty);
		EXPECT_EQ(0, give_back(self->fd));
	}
	for (int i = 2; i < 4; i++) {
		cdm_say(&self->child[i], 1);
		EXPECT_EQ(0, cdm_hear(&self->child[i]));
	}
	crowd_expect(_metadata, &self->crowd, self->child);
}

/* A tenant that cannot go: all others do. */
TEST_F_TIMEOUT(owner, recall_past_a_pin, CDM_TIMEOUT)
{
	struct cdm_test_recall got;
	__u64 pin;
	long room;
	char *addr;
	int ret;

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	room = free_pages(self->dev);
	addr = cdm_map_on(self->dev, SIZE, SEED);
	ASSERT_NE(NULL, addr);
	pin = (uintptr_t)addr + SIZE / 2;
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_PIN, &pin));
	ret = recall(self->fd, self->dev, 0, room, 5000, &got);
	EXPECT_TRUE(ret == -EBUSY || ret == -ETIME)
		TH_LOG("error %d", ret);
	EXPECT_EQ(room - 1, got.nr_recalled);
	EXPECT_EQ(PAGES - 1, got.nr_evicted);
	EXPECT_EQ(0, got.nr_dirty);
	EXPECT_TRUE(owns(self->dev, got.nr_recalled));
	EXPECT_EQ(1, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_EQ(0, give_back(self->fd));
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_UNPIN, NULL));
	EXPECT_EQ(0, recall(self->fd, self->dev, 0, room, DEADLINE_MS, &got));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F_TIMEOUT(owner, recall_cancelled, CDM_TIMEOUT)
{
	struct cdm_test_recall arg = {
		.nid = self->dev,
		.deadline_ms = DEADLINE_MS,
		.rounds = 5,
	};
	size_t size = ROOM / 2 * MIB;
	char *addr;
	long room;

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	arg.nr = free_pages(self->dev);
	addr = cdm_map_on(self->dev, size, SEED);
	ASSERT_NE(NULL, addr);
	room = free_pages(self->dev);
	EXPECT_EQ(-ECANCELED, ask(self->fd, CDM_TEST_IOC_RECALL, &arg));
	EXPECT_LE(room, (long)arg.nr_recalled);
	EXPECT_GT(arg.nr, arg.nr_recalled);
	EXPECT_LT(0, arg.nr_evicted);
	EXPECT_GE(5 * BLOCK_PAGES, arg.nr_evicted);
	EXPECT_TRUE(owns(self->dev, arg.nr_recalled));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	EXPECT_EQ(0, give_back(self->fd));
	arg.rounds = 1;
	EXPECT_EQ(-ECANCELED, ask(self->fd, CDM_TEST_IOC_RECALL, &arg));
	EXPECT_EQ(0, give_back(self->fd));
}

/* What the zone keeps from tenants, in pages. */
static long kept(int nid)
{
	char line[256], name[32];
	FILE *file = fopen("/proc/zoneinfo", "re");
	bool here = false;
	long nr = 0;
	int node;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %d, zone %31s", &node, name) == 2)
			here = node == nid && !strcmp(name, "Movable");
		if (!here || !strstr(line, "protection:"))
			continue;
		/* From those who may use this kind of zone and no other */
		for (char *at = strpbrk(line, "(,"); at; at = strpbrk(at + 1, ","))
			nr = atol(at + 1) > nr ? atol(at + 1) : nr;
	}
	if (file)
		fclose(file);
	return nr;
}

struct reserver {
	int nid;
	unsigned long nr;
	unsigned int deadline_ms;
};

static int reserver_fn(struct cdm_child *me, void *arg)
{
	struct reserver *reserver = arg;
	struct cdm_test_reserve ask = {
		.nid = reserver->nid,
		.deadline_ms = reserver->deadline_ms,
		.nr_pages = reserver->nr,
	};

	cdm_say(me, cdm_ioctl(CDM_TEST_IOC_RESERVE, &ask));
	return 0;
}

/* A reserve that cannot be had does not take away the one of a later call. */
TEST_F_TIMEOUT(owner, reserve_survives_another_that_fails, CDM_TIMEOUT)
{
	struct reserver big = { .nid = self->dev, .deadline_ms = 2000 };
	long alone, free;

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	free = free_pages(self->dev);
	big.nr = free / 2;
	ASSERT_EQ(0, set_reserve(self->dev, MIB_PAGES));
	alone = kept(self->dev);
	EXPECT_LE(MIB_PAGES, alone);
	ASSERT_EQ(0, set_reserve(self->dev, 0));
	EXPECT_EQ(0, kept(self->dev));

	/* The owner itself has what it would need. */
	ASSERT_EQ(0, take(self->fd, self->dev, 0, free * 3 / 4, NULL));
	ASSERT_EQ(0, cdm_start(&self->child[0], reserver_fn, &big));
	for (int i = 0; i < CDM_PATIENCE * 100 && !kept(self->dev); i++)
		usleep(10000);
	EXPECT_LT((long)big.nr, kept(self->dev));
	EXPECT_EQ(0, set_reserve(self->dev, MIB_PAGES));
	EXPECT_GT(0, cdm_hear(&self->child[0]));
	EXPECT_EQ(alone, kept(self->dev));
	EXPECT_EQ(0, give_back(self->fd));
}

/* Memory on its way, and who touches it meanwhile. */
struct touched {
	char *addr;
	int nid;
	pid_t toucher;
	bool go;
};

static void *touched_move_fn(void *arg)
{
	struct touched *touched = arg;

	return (void *)(long)cdm_migrate(touched->addr, HPAGE, touched->nid,
					 NULL);
}

static void *toucher_fn(void *arg)
{
	struct touched *touched = arg;

	while (!__atomic_load_n(&touched->go, __ATOMIC_ACQUIRE))
		usleep(1000);
	__atomic_store_n(&touched->toucher, gettid(), __ATOMIC_RELEASE);
	__atomic_load_n((char *)touched->addr, __ATOMIC_RELAXED);
	events(CDM_TEST_ENGINE_NONE);
	return NULL;
}

/* Returns whether the thread waits in the kernel, where no signal reaches it. */
static bool thread_waits(const pid_t *tid)
{
	char path[64], buf[256] = "", *end;

	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
			 __atomic_load_n(tid, __ATOMIC_ACQUIRE));
		cdm_read(path, buf, sizeof(buf));
		end = strrchr(buf, ')');
		if (end && end[2] == 'D')
			return true;
		usleep(10000);
	}
	return false;
}

/* Pages that have moved can be used before the rest of the work is done. */
TEST_F_TIMEOUT(owner, touch_does_not_wait_for_the_owner, CDM_TIMEOUT)
{
	__u64 late = events(CDM_TEST_ENGINE_HOLD).nr_late;
	struct touched touched = {
		.addr = cdm_map(SIZE),
		.nid = self->dev,
	};
	pthread_t mover, toucher;
	void *ret;

	cdm_fill(touched.addr, SIZE, SEED);
	/* Both are there before the address space is locked, for reading. */
	ASSERT_EQ(0, pthread_create(&toucher, NULL, toucher_fn, &touched));
	ASSERT_EQ(0, pthread_create(&mover, NULL, touched_move_fn, &touched));
	EXPECT_TRUE(engine_holds());
	__atomic_store_n(&touched.go, true, __ATOMIC_RELEASE);
	EXPECT_TRUE(thread_waits(&touched.toucher));
	/* The owner is told, and that takes until the page was touched. */
	events(CDM_TEST_ENGINE_MOVED);
	ASSERT_EQ(0, pthread_join(toucher, NULL));
	ASSERT_EQ(0, pthread_join(mover, &ret));
	EXPECT_EQ(NULL, ret);
	EXPECT_EQ(late, events(CDM_TEST_ENGINE_NONE).nr_late);
	EXPECT_EQ(0, cdm_wrong(touched.addr, SIZE, SEED));
}

/* Page cache goes first, and the owner is asked only where there is some. */
TEST_F_TIMEOUT(owner, recall_asks_where_page_cache_is, CDM_TIMEOUT)
{
	const size_t size = ROOM / 4 * MIB;
	struct cdm_test_recall got;
	char *addr[2], *file;
	__u64 hash;

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	addr[0] = cdm_map_on(self->dev, size, SEED);
	file = map_file_on(self->dev, SIZE, &hash);
	addr[1] = cdm_map_on(self->dev, size, SEED);
	ASSERT_TRUE(addr[0] && file && addr[1]);
	ASSERT_EQ(0, recall(self->fd, self->dev, 0,
			    free_pages(self->dev) + PAGES / 2, DEADLINE_MS,
			    &got));
	EXPECT_LE(PAGES / 2, (long)got.nr_evicted);
	EXPECT_GE(PAGES, (long)got.nr_evicted);
	/* It lies in no more pageblocks than that. */
	EXPECT_GE(SIZE / HPAGE + 1, got.nr_asked);
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(size / PAGE,
			  cdm_pages_on(addr[i], size, self->dev));
	EXPECT_EQ(hash, cdm_hash(file, SIZE));
	EXPECT_EQ(0, give_back(self->fd));
}

#define NR_HUGE	4

/* The owner is asked before each pageblock, also while nobody can go. */
TEST_F_TIMEOUT(owner, recall_asks_before_each_block, CDM_TIMEOUT)
{
	struct cdm_test_recall arg = {
		.nid = self->dev,
		.deadline_ms = DEADLINE_MS,
		.rounds = NR_HUGE - 1,
	};
	char *addr = cdm_map_huge(NR_HUGE * HPAGE);
	int fd[NR_HUGE], last = 0;
	__u64 frame[NR_HUGE], pin;

	ASSERT_EQ(0, cdm_mbind(addr, NR_HUGE * HPAGE, MPOL_BIND,
			       1UL << self->dev, 0));
	cdm_fill(addr, NR_HUGE * HPAGE, SEED);
	for (int i = 0; i < NR_HUGE; i++) {
		ASSERT_TRUE(frame_is_huge(addr + i * HPAGE));
		ASSERT_EQ(1, frames(addr + i * HPAGE, PAGE, &frame[i]));
		if (frame[i] > frame[last])
			last = i;
	}
	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	arg.nr = free_pages(self->dev) + NR_HUGE * BLOCK_PAGES;
	/* All but the last can only be asked. */
	for (int i = 0; i < NR_HUGE; i++) {
		fd[i] = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
		pin = (uintptr_t)addr + i * HPAGE;
		if (i != last)
			ASSERT_EQ(0, ask(fd[i], CDM_TEST_IOC_PIN, &pin));
	}
	EXPECT_EQ(-ECANCELED, ask(self->fd, CDM_TEST_IOC_RECALL, &arg));
	EXPECT_EQ(0, arg.nr_evicted);
	for (int i = 0; i < NR_HUGE; i++)
		close(fd[i]);
	EXPECT_EQ(0, cdm_wrong(addr, NR_HUGE * HPAGE, SEED));
	EXPECT_EQ(0, give_back(self->fd));
}

TEST_F_TIMEOUT(owner, recall_without_time, CDM_TIMEOUT)
{
	struct cdm_test_recall got;
	char *addr;
	long room;

	stay_on_cpu();
	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	addr = cdm_map_on(self->dev, SIZE, SEED);
	ASSERT_NE(NULL, addr);
	room = free_pages(self->dev);
	EXPECT_EQ(0, recall(self->fd, self->dev, 0, room, 0, &got));
	EXPECT_EQ(0, got.nr_evicted);
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_EQ(-ETIME, recall(self->fd, self->dev, 0, room + 64, 0, &got));
	EXPECT_EQ(room, got.nr_recalled);
	EXPECT_EQ(0, got.nr_evicted);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* There is no RAM for those who have to go: nobody is to die for it. */
TEST_F_TIMEOUT(owner, recall_without_ram, CDM_TIMEOUT)
{
	int deadline_ms = cdm_flavour_is("debug") ? 12000 : 8000;
	long kills = cdm_vmstat("oom_kill"), evicted = 0;
	size_t size = cdm_effort(320, 240) * MIB;	/* more than RAM has */
	struct cdm_test_recall got;
	char *addr = cdm_map(size);
	long room;
	int ret;

	ASSERT_EQ(0, cdm_leave_node(self->dev, size / MIB + 8));
	room = free_pages(self->dev);
	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_BIND, 1UL << self->dev, 0));
	cdm_stamp(addr, size, SEED);
	ASSERT_NE(NULL, start_tenant(&self->child[0], self->ram, 32 * MIB,
				     false));
	ASSERT_EQ(0, cdm_leave_ram(224));
	/* Too slow, it has not filled RAM yet; what it has moved stays there. */
	for (int i = 0; i < 4; i++, deadline_ms *= 2) {
		ret = recall(self->fd, self->dev, 0, room, deadline_ms, &got);
		evicted += got.nr_evicted;
		if (ret != -ETIME)
			break;
		EXPECT_EQ(0, give_back(self->fd));
	}
	EXPECT_EQ(-ENOMEM, ret);
	EXPECT_LT(0, evicted);
	EXPECT_LE(got.nr_evicted, got.nr_recalled);
	EXPECT_TRUE(owns(self->dev, got.nr_recalled));
	EXPECT_EQ(kills, cdm_vmstat("oom_kill"));
	EXPECT_EQ(0, tenant_wrong(&self->child[0]));
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, SEED));
	cdm_free_ram();
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_EQ(0, recall(self->fd, self->dev, 0, room, DEADLINE_MS, NULL));
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, SEED));
}

TEST_F(owner, recall_refused)
{
	long all = self->total / 4;
	struct cdm_test_recall got;

	EXPECT_EQ(-EINVAL, recall(self->fd, self->dev, 11, 1, 1000, &got));
	EXPECT_EQ(-EINVAL, recall(self->fd, self->dev, 64, 1, 1000, &got));
	EXPECT_EQ(-EINVAL, recall(self->fd, self->dev, 0, all + 1, 1000, &got));
	EXPECT_EQ(-EINVAL, recall(self->fd, self->dev, 9, (all >> 9) + 1, 1000,
				  &got));
	EXPECT_EQ(0, got.nr_recalled);
	EXPECT_EQ(-ENODEV, recall(self->fd, self->ram, 0, 1, 1000, &got));
	EXPECT_EQ(-ENODEV, recall(self->fd, 15, 0, 1, 1000, &got));
	EXPECT_EQ(0, recall(self->fd, self->dev, 0, 0, 1000, &got));
	EXPECT_TRUE(owns(self->dev, 0));
	expect_usable(_metadata, self->fd, self->dev);
}

static void on_signal(int sig)
{
}

/* Asks for what cannot be had, until there is a signal. */
static int stubborn_fn(struct cdm_child *me, void *arg)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR), nid = *(int *)arg;
	struct sigaction action = { .sa_handler = on_signal };
	long nr = cdm_node_meminfo(nid, "MemTotal") / 4;

	sigaction(SIGUSR1, &action, NULL);
	cdm_say(me, 0);
	cdm_say(me, recall(fd, nid, 10, nr >> 10, CDM_ACK_MS / 2, NULL));
	return 0;
}

TEST_F_TIMEOUT(owner, recall_interrupted, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	ASSERT_EQ(0, cdm_start(&self->child[0], stubborn_fn, &self->dev));
	ASSERT_EQ(0, cdm_hear(&self->child[0]));
	for (int i = 0; i < 10; i++) {
		usleep(200000);
		kill(self->child[0].pid, SIGUSR1);
	}
	EXPECT_EQ(-EINTR, cdm_hear(&self->child[0]));
	EXPECT_EQ(0, cdm_wait(&self->child[0]));
	self->child[0].pid = 0;
	EXPECT_TRUE(owns(self->dev, 0));
}

/* Nobody takes away what the owner holds, whoever asks. */
TEST_F_TIMEOUT(owner, unregister_while_held, CDM_TIMEOUT)
{
	time_t from = time(NULL);

	ASSERT_EQ(0, take(self->fd, self->dev, 9, 4, NULL));
	EXPECT_EQ(-EBUSY, cdm_unregister(self->dev, 10 * DEADLINE_MS, NULL));
	EXPECT_GE(GRACE, time(NULL) - from);
	EXPECT_TRUE(owns(self->dev, 4 * BLOCK_PAGES));
	EXPECT_EQ(self->total, cdm_node_meminfo(self->dev, "MemTotal"));
	EXPECT_EQ(0, give_back(self->fd));
	expect_usable(_metadata, self->fd, self->dev);
	EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	EXPECT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->fd, self->dev);
}

/* Reserve */

#define RESERVE		(ROOM * MIB_PAGES)
#define ON_LISTS	1024	/* pages that CPUs may keep, however much is free */

/* The protection of the movable zone of @nid against its own allocations. */
static long kept_pages(int nid)
{
	char line[512], zone[32];
	FILE *file = fopen("/proc/zoneinfo", "r");
	bool here = false;
	long last = -1;
	int node;

	while (file && last < 0 && fgets(line, sizeof(line), file)) {
		char *at = strstr(line, "protection: (");

		if (sscanf(line, "Node %d, zone %31s", &node, zone) == 2)
			here = node == nid && !strcmp(zone, "Movable");
		/* DMA, DMA32, Normal, Movable */
		if (here && at &&
		    sscanf(at, "protection: (%*d, %*d, %*d, %ld", &last) != 1)
			break;
	}
	if (file)
		fclose(file);
	return last;
}

/* Take all that a tenant can have, in large and in small pages. */
static char *fill_node(int nid, size_t size)
{
	char *addr = cdm_map(size);

	cdm_node_hugepages(nid, 1 << 20);
	cdm_touch(addr, size);
	cdm_move(addr, size, nid);
	return addr;
}

TEST_F_TIMEOUT(owner, reserve_is_kept, CDM_TIMEOUT)
{
	long evicted = cdm_vmstat("cdm_evicted_recall");
	struct cdm_test_recall got;
	char *addr;

	ASSERT_EQ(0, set_reserve(self->dev, RESERVE));
	EXPECT_LE(RESERVE, kept_pages(self->dev));
	addr = fill_node(self->dev, ROOM * MIB);
	EXPECT_GT(ROOM * MIB_PAGES, cdm_pages_on(addr, ROOM * MIB, self->dev));
	EXPECT_LE(RESERVE, free_pages(self->dev));
	/* Tenants cannot have huge amounts less than what is kept, either. */
	EXPECT_GE(2 * RESERVE, free_pages(self->dev));
	EXPECT_EQ(0, take(self->fd, self->dev, 0, RESERVE, &got));
	EXPECT_EQ(RESERVE, got.nr_recalled);
	EXPECT_EQ(0, got.nr_dirty);
	EXPECT_EQ(evicted, cdm_vmstat("cdm_evicted_recall"));
	/* What is freed refills it. */
	EXPECT_EQ(0, give_back(self->fd));
	cdm_move(addr, ROOM * MIB, self->dev);
	EXPECT_LE(RESERVE, free_pages(self->dev));
}

/* Whoever is told to go to the node falls back, or evicts, or dies: not there. */
TEST_F_TIMEOUT(owner, reserve_under_pressure, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = ROOM * MIB,
		.mode = MPOL_PREFERRED,
		.mask = 1UL << self->dev,
	};

	ASSERT_EQ(0, set_reserve(self->dev, RESERVE));
	ASSERT_EQ(0, cdm_leave_node(self->dev, 2 * ROOM));
	ASSERT_NE(NULL, cdm_load_start(&self->child[0], &load));
	ASSERT_NE(NULL, start_tenant(&self->child[1], self->dev, ROOM * MIB,
				     false));
	ASSERT_NE(NULL, start_tenant(&self->child[2], self->dev, ROOM * MIB,
				     true));
	EXPECT_LE(RESERVE, free_pages(self->dev));
	EXPECT_EQ(0, tenant_wrong(&self->child[1]));
	EXPECT_EQ(0, tenant_wrong(&self->child[2]));
	EXPECT_EQ(0, take(self->fd, self->dev, 0, RESERVE, NULL));
}

TEST_F_TIMEOUT(owner, reserve_evicts, CDM_TIMEOUT)
{
	long evicted = cdm_vmstat("cdm_evicted_recall");
	char *addr;

	ASSERT_EQ(0, cdm_leave_node(self->dev, 2 * ROOM));
	ASSERT_NE(NULL, start_tenant(&self->child[0], self->dev, ROOM * MIB,
				     false));
	addr = map_kind_on(self->dev, THP, (ROOM - 8) * MIB);
	ASSERT_NE(NULL, addr);
	ASSERT_GT(RESERVE, free_pages(self->dev));
	EXPECT_EQ(0, set_reserve(self->dev, RESERVE));
	EXPECT_LE(RESERVE, free_pages(self->dev));
	EXPECT_LT(evicted, cdm_vmstat("cdm_evicted_recall"));
	EXPECT_EQ(0, take(self->fd, self->dev, 0, RESERVE, NULL));
	EXPECT_EQ(0, tenant_wrong(&self->child[0]));
	EXPECT_EQ(0, cdm_wrong(addr, (ROOM - 8) * MIB, SEED));
}

/* To the last page: what is free is what a tenant can have. */
static void expect_all_usable(struct __test_metadata *_metadata, int nid)
{
	long room;
	char *addr;

	EXPECT_EQ(0, kept_pages(nid));
	stay_on_cpu();
	ASSERT_EQ(0, cdm_leave_node(nid, ROOM));
	room = free_pages(nid);
	addr = cdm_map(room * PAGE);
	cdm_touch(addr, room * PAGE);
	/* But for what the lists of CPUs keep. */
	EXPECT_LE(room - ON_LISTS, cdm_move(addr, room * PAGE, nid));
	munmap(addr, room * PAGE);
	cdm_node_hugepages(nid, 0);
}

TEST_F_TIMEOUT(owner, reserve_given_back, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_reserve(self->dev, RESERVE));
	EXPECT_LE(RESERVE, kept_pages(self->dev));
	ASSERT_EQ(0, set_reserve(self->dev, 2 * RESERVE));
	EXPECT_LE(2 * RESERVE, kept_pages(self->dev));
	ASSERT_EQ(0, set_reserve(self->dev, 0));
	expect_all_usable(_metadata, self->dev);
}

/* It goes with the memory. */
TEST_F_TIMEOUT(owner, reserve_ends_with_the_node, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_reserve(self->dev, RESERVE));
	ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	ASSERT_EQ(0, cdm_register_all());
	expect_all_usable(_metadata, self->dev);
}

TEST_F(owner, reserve_refused)
{
	long kept = kept_pages(self->dev);

	EXPECT_EQ(-EINVAL, set_reserve(self->dev, self->total / 4 + 1));
	EXPECT_EQ(-EINVAL, set_reserve(self->dev, -1UL));
	EXPECT_EQ(-EINVAL, set_reserve(self->dev, LONG_MAX));
	EXPECT_EQ(-ENODEV, set_reserve(self->ram, 1));
	EXPECT_EQ(-ENODEV, set_reserve(15, 1));
	EXPECT_EQ(kept, kept_pages(self->dev));
}

/* One that cannot be had leaves things as they were. */
TEST_F_TIMEOUT(owner, reserve_fails, CDM_TIMEOUT)
{
	struct cdm_test_reserve reserve = {
		.nid = self->dev,
		.deadline_ms = 1000,
		.nr_pages = self->total / 8,
	};
	long kept = kept_pages(self->dev);
	int ret;

	ASSERT_EQ(0, take(self->fd, self->dev, 10, self->total / 4 / 1024 * 3 / 4,
			  NULL));
	ret = cdm_ioctl(CDM_TEST_IOC_RESERVE, &reserve);
	EXPECT_TRUE(ret == -EBUSY || ret == -ETIME);
	EXPECT_EQ(kept, kept_pages(self->dev));
	EXPECT_EQ(0, give_back(self->fd));
}

struct ram_state {
	long available;
	long free;
	long dirty;
	long total;
};

static struct ram_state ram_state(void)
{
	struct ram_state state;

	cdm_settle_ram();
	state.available = cdm_meminfo("MemAvailable");
	state.free = cdm_meminfo("MemFree");
	state.dirty = cdm_vmstat("nr_dirty_threshold");
	state.total = cdm_meminfo("MemTotal");
	return state;
}

/* A1: what is kept on the device says nothing about RAM. */
TEST_F(owner, reserve_is_not_of_ram)
{
	struct ram_state before = ram_state(), after;
	long slack = 32 * MIB / 1024;

	ASSERT_EQ(0, set_reserve(self->dev, self->total / 8));
	after = ram_state();
	EXPECT_EQ(before.total, after.total);
	EXPECT_GE(slack, labs(before.available - after.available));
	EXPECT_GE(slack, labs(before.free - after.free));
	EXPECT_GE(slack / 4 / 4, labs(before.dirty - after.dirty));
	/* Those who tune RAM do not touch it. */
	EXPECT_LT(0, kept_pages(self->dev));
	before.free = kept_pages(self->dev);
	EXPECT_EQ(0, cdm_writef("/proc/sys/vm/min_free_kbytes", "%ld",
				cdm_read_long("/proc/sys/vm/min_free_kbytes")));
	EXPECT_EQ(before.free, kept_pages(self->dev));
}

/* Migration in the background */

static int migrate_async(const void *addr, size_t size, int nid, bool cancel)
{
	struct cdm_test_migrate arg = {
		.addr = (uintptr_t)addr,
		.size = size,
		.status = cancel,
		.nid = nid,
	};

	return ask(open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC),
		   CDM_TEST_IOC_MIGRATE_ASYNC, &arg);
}

TEST_F_TIMEOUT(owner, migrate_async, CDM_TIMEOUT)
{
	static const enum kind kinds[] = { ANON, SHMEM, THP, LOCKED };

	for (int i = 0; i < ARRAY_SIZE(kinds); i++) {
		char *addr = map_kind(kinds[i], SIZE);

		ASSERT_NE(NULL, addr);
		cdm_fill(addr, SIZE, SEED);
		EXPECT_EQ(0, migrate_async(addr, SIZE, self->dev, false));
		EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		EXPECT_EQ(0, migrate_async(addr, SIZE, CDM_TEST_NID_RAM,
					   false));
		EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		munmap(addr, SIZE);
	}
}

/*
 * Whoever does the work, what goes to RAM goes to that which the process may have,
 * though there is room elsewhere.
 */
TEST_F_TIMEOUT(owner, migrate_async_in_the_cpuset, CDM_TIMEOUT)
{
	struct cdm_nodes rams = cdm_rams();
	int home = rams.nid[rams.nr - 1];
	size_t size = cdm_effort(160, 96) * MIB;
	char *addr, mems[16];

	if (rams.nr < 2)
		SKIP(return, "topology %s has one node of RAM", cdm_topology());
	/* Or it has no room there for itself. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	addr = cdm_map(size);
	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_BIND, 1UL << self->dev, 0));
	cdm_stamp(addr, size, SEED);
	ASSERT_EQ(size / PAGE, cdm_pages_on(addr, size, self->dev));
	snprintf(mems, sizeof(mems), "%d,%d", home, self->dev);
	ASSERT_EQ(0, cdm_cgroup_create("cdm_owner"));
	ASSERT_EQ(0, cdm_cgroup_write("cdm_owner", "cpuset.mems", mems));
	ASSERT_EQ(0, cdm_leave_node(home, 64));
	ASSERT_EQ(0, cdm_cgroup_enter("cdm_owner"));
	EXPECT_LE(0, migrate_async(addr, size, CDM_TEST_NID_RAM, false));
	ASSERT_EQ(0, cdm_cgroup_leave());
	EXPECT_GT((long)(size / PAGE), cdm_pages_on(addr, size, self->dev));
	EXPECT_LT(0, cdm_pages_on(addr, size, home));
	EXPECT_EQ(0, cdm_pages_on(addr, size, cdm_ram(0)));
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, SEED));
}

TEST_F(owner, migrate_async_past_a_pin)
{
	char *addr = cdm_map(SIZE);
	__u64 pin = (uintptr_t)addr + SIZE / 2;

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_PIN, &pin));
	EXPECT_EQ(1, migrate_async(addr, SIZE, self->dev, false));
	EXPECT_EQ(PAGES - 1, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(owner, migrate_async_refused)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(-EINVAL, migrate_async(addr + 8, PAGE, self->dev, false));
	EXPECT_EQ(-EINVAL, migrate_async(addr, PAGE + 8, self->dev, false));
	EXPECT_EQ(-EINVAL, migrate_async(addr, 0, self->dev, false));
	EXPECT_EQ(-EINVAL, migrate_async(addr, -PAGE, self->dev, false));
	EXPECT_EQ(-EINVAL, migrate_async((void *)0xffff888000000000UL, PAGE,
					 self->dev, false));
	EXPECT_EQ(-ENODEV, migrate_async(addr, SIZE, 15, false));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* Each page is in one place or the other, whenever the end comes. */
TEST_F_TIMEOUT(owner, migrate_async_cancelled, CDM_TIMEOUT)
{
	size_t size = 32 * MIB;
	char *addr = cdm_map(size);

	cdm_fill(addr, size, SEED);
	for (int i = 0; i < 10; i++) {
		int nid = i % 2 ? CDM_TEST_NID_RAM : self->dev;
		int ret = migrate_async(addr, size, nid, true);
		struct cdm_spread spread = cdm_spread(addr, size);

		EXPECT_TRUE(ret >= 0 || ret == -ECANCELED);
		EXPECT_EQ(0, spread.absent);
		EXPECT_EQ(spread.total, spread.on[self->dev] +
			  cdm_spread_in(spread, cdm_rams()));
		EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	}
}

/* What the owner is told, and is asked to do */

TEST_F_TIMEOUT(owner, told_of_moves, CDM_TIMEOUT)
{
	static const enum kind kinds[] = { ANON, SHMEM, THP };

	for (int i = 0; i < ARRAY_SIZE(kinds); i++) {
		char *addr = map_kind(kinds[i], SIZE);
		struct cdm_test_events was, is;

		cdm_fill(addr, SIZE, SEED);
		was = events(CDM_TEST_ENGINE_NONE);
		ASSERT_EQ(0, cdm_migrate(addr, SIZE, self->dev, NULL));
		is = events(CDM_TEST_ENGINE_NONE);
		EXPECT_EQ(PAGES, is.nr_moved_in - was.nr_moved_in);
		EXPECT_EQ(0, is.nr_moved_out - was.nr_moved_out);
		ASSERT_EQ(0, cdm_migrate(addr, SIZE, self->ram, NULL));
		was = events(CDM_TEST_ENGINE_NONE);
		EXPECT_EQ(0, was.nr_moved_in - is.nr_moved_in);
		EXPECT_EQ(PAGES, was.nr_moved_out - is.nr_moved_out);
		EXPECT_EQ(0, was.nr_copied - is.nr_copied);
		munmap(addr, SIZE);
	}
}

/* A recall, an unregistration, a process: whoever makes them move. */
TEST_F_TIMEOUT(owner, told_of_evictions, CDM_TIMEOUT)
{
	struct cdm_test_events was, is;
	struct cdm_test_recall got;
	char *addr;

	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	addr = cdm_map_on(self->dev, SIZE, SEED);
	ASSERT_NE(NULL, addr);
	was = events(CDM_TEST_ENGINE_NONE);
	ASSERT_EQ(0, recall(self->fd, self->dev, 0,
			    free_pages(self->dev) + PAGES, DEADLINE_MS, &got));
	is = events(CDM_TEST_ENGINE_NONE);
	EXPECT_EQ(PAGES, got.nr_evicted);
	EXPECT_EQ(PAGES, is.nr_moved_out - was.nr_moved_out);
	EXPECT_EQ(0, give_back(self->fd));
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	was = events(CDM_TEST_ENGINE_NONE);
	EXPECT_EQ(PAGES, was.nr_moved_in - is.nr_moved_in);
	ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	is = events(CDM_TEST_ENGINE_NONE);
	EXPECT_EQ(PAGES, is.nr_moved_out - was.nr_moved_out);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

FIXTURE(engine) {
	int dev;
	int ram;
	int fd;
	char *addr;
	__s32 status[SIZE / PAGE];
};

FIXTURE_VARIANT(engine) {
	enum kind kind;
};

FIXTURE_VARIANT_ADD(engine, anon) { .kind = ANON };
FIXTURE_VARIANT_ADD(engine, shmem) { .kind = SHMEM };
FIXTURE_VARIANT_ADD(engine, thp) { .kind = THP };

FIXTURE_SETUP(engine)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, owner_start(_metadata, &self->dev, &self->fd));
	self->ram = cdm_ram(0);
	self->addr = map_kind(variant->kind, SIZE);
	ASSERT_NE(NULL, self->addr);
	cdm_fill(self->addr, SIZE, SEED);
	/* What waits for the LRU with another CPU would move by itself. */
	cdm_drop_caches();
}

FIXTURE_TEARDOWN(engine)
{
	EXPECT_EQ(0, owner_reset(_metadata, self->dev, self->fd, NULL, 0));
}

/* Returns how many pages the engine has copied, or an error. */
static long migrate_by(enum cdm_test_engine engine, char *addr, int nid,
		       __s32 *status)
{
	struct cdm_test_events was = events(engine);
	int ret = cdm_migrate(addr, SIZE, nid, status);

	return ret ?: (long)(events(CDM_TEST_ENGINE_NONE).nr_copied -
			     was.nr_copied);
}

TEST_F_TIMEOUT(engine, copies, CDM_TIMEOUT)
{
	EXPECT_EQ(PAGES, migrate_by(CDM_TEST_ENGINE_WORKS, self->addr,
				    self->dev, self->status));
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
	cdm_fill(self->addr, SIZE, SEED + 1);
	EXPECT_EQ(PAGES, migrate_by(CDM_TEST_ENGINE_WORKS, self->addr,
				    self->ram, self->status));
	EXPECT_EQ(0, cdm_pages_on(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED + 1));
}

/* It is asked once for what one page table maps. */
TEST_F_TIMEOUT(engine, copies_at_once, CDM_TIMEOUT)
{
	struct cdm_test_events was = events(CDM_TEST_ENGINE_NONE);

	if (variant->kind == SHMEM)
		SKIP(return, "no such case: page by page, by migrate_pages()");
	EXPECT_EQ(PAGES, migrate_by(CDM_TEST_ENGINE_WORKS, self->addr,
				    self->dev, self->status));
	EXPECT_GE(SIZE / HPAGE + 1,
		  events(CDM_TEST_ENGINE_NONE).nr_batches - was.nr_batches);
}

/* What can be read moves, next to what cannot. */
TEST_F_TIMEOUT(engine, meets_spots, CDM_TIMEOUT)
{
	static __u64 frame[SIZE / PAGE];
	long i, bad, nr_bad = 0;

	if (variant->kind == THP)
		SKIP(return, "no such case: one spot is the end of a huge page");
	ASSERT_EQ(PAGES, cdm_move(self->addr, SIZE, self->dev));
	frames(self->addr, SIZE, frame);
	EXPECT_EQ(0, migrate_by(CDM_TEST_ENGINE_SPOTS, self->addr, self->ram,
				self->status));
	for (i = 0; i < PAGES; i++) {
		bad = (frame[i] & FRAME_MASK) % 8 == 3;
		nr_bad += bad;
		EXPECT_EQ(bad ? -EBUSY : self->ram, self->status[i]);
	}
	EXPECT_LT(0, nr_bad);
	EXPECT_EQ(nr_bad, cdm_pages_on(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* The CPU does what the engine cannot. */
TEST_F_TIMEOUT(engine, fails, CDM_TIMEOUT)
{
	EXPECT_EQ(0, migrate_by(CDM_TEST_ENGINE_FAILS, self->addr, self->dev,
				self->status));
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
	EXPECT_EQ(0, migrate_by(CDM_TEST_ENGINE_FAILS, self->addr, self->ram,
				self->status));
	EXPECT_EQ(0, cdm_pages_on(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* What cannot be read stays where it is. That is no reason to kill anybody. */
TEST_F_TIMEOUT(engine, meets_poison, CDM_TIMEOUT)
{
	long busy = 0;

	ASSERT_EQ(PAGES, cdm_move(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, migrate_by(CDM_TEST_ENGINE_POISON, self->addr, self->ram,
				self->status));
	for (long i = 0; i < PAGES; i++)
		busy += self->status[i] == -EBUSY;
	EXPECT_EQ(PAGES, busy);
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
	EXPECT_EQ(0, migrate_by(CDM_TEST_ENGINE_NONE, self->addr, self->ram,
				self->status));
	EXPECT_EQ(0, cdm_pages_on(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* Buffers of a disk are kept still by a spin lock, under which no engine sleeps. */
TEST_F_TIMEOUT(owner, engine_is_not_asked_for_buffers, CDM_TIMEOUT)
{
	struct cdm_test_events was, is;
	char *addr, *buf = cdm_map(SIZE), *shared = cdm_map_shared(SIZE);
	int fd;

	if (!cdm_disk())
		SKIP(return, "the machine has no disk: CDM_DISK is not set");
	fd = open(cdm_disk(), O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	cdm_fill(buf, SIZE, SEED);
	ASSERT_EQ(SIZE, pwrite(fd, buf, SIZE, 0));
	ASSERT_EQ(0, fsync(fd));
	addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	cdm_fault_in(addr, SIZE);
	was = events(CDM_TEST_ENGINE_WORKS);
	EXPECT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_EQ(PAGES, cdm_move(addr, SIZE, self->ram));
	is = events(CDM_TEST_ENGINE_WORKS);
	EXPECT_EQ(0, is.nr_atomic - was.nr_atomic);
	EXPECT_EQ(0, is.nr_copied - was.nr_copied);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	/* It is asked for pages of the same size without buffers. */
	cdm_fill(shared, SIZE, SEED);
	EXPECT_EQ(PAGES, cdm_move(shared, SIZE, self->dev));
	was = events(CDM_TEST_ENGINE_NONE);
	EXPECT_EQ(PAGES, was.nr_copied - is.nr_copied);
	munmap(addr, SIZE);
	close(fd);
}

/* Touching what is lost */

static sigjmp_buf bus_env;
static bool touching;
static void *bus_addr;
static int bus_code;

/* The kernel may tell before the touch, too, once: there is nothing to do. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
	__atomic_store_n(&bus_addr, info->si_addr, __ATOMIC_SEQ_CST);
	__atomic_store_n(&bus_code, info->si_code, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&touching, __ATOMIC_SEQ_CST))
		siglongjmp(bus_env, 1);
}

static void catch_bus(void)
{
	struct sigaction action = {
		.sa_sigaction = on_bus,
		.sa_flags = SA_SIGINFO | SA_RESETHAND,
	};

	sigaction(SIGBUS, &action, NULL);
}

/* Is the last SIGBUS about the page at @addr? */
static bool bus_is_at(const char *addr)
{
	void *at = __atomic_load_n(&bus_addr, __ATOMIC_SEQ_CST);

	return (uintptr_t)at / PAGE == (uintptr_t)addr / PAGE;
}

/* The si_code of the SIGBUS of the page at @addr: 0 none, -1 about another. */
static int touch(const char *addr)
{
	__atomic_store_n(&bus_code, 0, __ATOMIC_SEQ_CST);
	catch_bus();
	if (!sigsetjmp(bus_env, 1)) {
		__atomic_store_n(&touching, true, __ATOMIC_SEQ_CST);
		__atomic_load_n(addr, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&touching, false, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&bus_code, __ATOMIC_SEQ_CST) && !bus_is_at(addr))
		return -1;
	return __atomic_load_n(&bus_code, __ATOMIC_SEQ_CST);
}

/* How many pages there are whose touch brings about SIGBUS with @code, or 0. */
static long touch_all(const char *addr, size_t size, int code)
{
	long nr = 0;

	for (size_t off = 0; off < size; off += PAGE)
		nr += touch(addr + off) == code;
	return nr;
}

static long poisoned(const char *addr, size_t size)
{
	return touch_all(addr, size, BUS_MCEERR_AR);
}

/* What was not in the page table has a SIGBUS as any error of a file has. */
static long unreadable(const char *addr, size_t size)
{
	long nr = 0;

	for (size_t off = 0; off < size; off += PAGE)
		nr += touch(addr + off) > 0;
	return nr;
}

/* A page of a tenant fails: the owner is told, and so is whoever touches it. */
TEST_F_TIMEOUT(owner, told_of_failure, CDM_TIMEOUT)
{
	long bad = cdm_meminfo("HardwareCorrupted");
	struct cdm_test_events was, is;
	struct cdm_test_recall got;
	char *addr, *page;
	__u64 frame;

	addr = cdm_map_on(self->dev, SIZE, SEED);
	ASSERT_NE(NULL, addr);
	page = addr + SIZE / 2;
	ASSERT_EQ(1, frames(page, PAGE, &frame));
	was = events(CDM_TEST_ENGINE_NONE);
	catch_bus();
	ASSERT_EQ(0, madvise(page, PAGE, MADV_HWPOISON));
	EXPECT_TRUE(bus_is_at(page));
	/* That it fails again is no news. */
	EXPECT_EQ(-EHWPOISON, cdm_writef(HARD_OFFLINE, "%#llx",
					 (frame & FRAME_MASK) * PAGE));
	is = events(CDM_TEST_ENGINE_NONE);
	EXPECT_EQ(1, is.nr_failed - was.nr_failed);
	EXPECT_EQ(bad + 4, cdm_meminfo("HardwareCorrupted"));
	EXPECT_EQ(BUS_MCEERR_AR, touch(page));
	EXPECT_EQ(1, poisoned(addr, SIZE));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE / 2, SEED));
	EXPECT_EQ(0, cdm_judge());
	/* It is in nobody's way, and forgotten with the node. */
	EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE / 2, SEED));
	EXPECT_EQ(0, cdm_register_all());
	EXPECT_EQ(bad, cdm_meminfo("HardwareCorrupted"));
	EXPECT_EQ(self->total / 4, free_pages(self->dev));
	/* The owner does not find there what it held. */
	EXPECT_EQ(0, recall(self->fd, self->dev, 0, free_pages(self->dev) - 1,
			    DEADLINE_MS, &got));
	EXPECT_EQ(0, got.nr_dirty);
	EXPECT_EQ(0, give_back(self->fd));
	expect_usable(_metadata, self->fd, self->dev);
	EXPECT_EQ(BUS_MCEERR_AR, touch(page));
}

/* Nor is it in the way of a recall, which takes what is around it. */
TEST_F_TIMEOUT(owner, recall_past_a_failure, CDM_TIMEOUT)
{
	struct cdm_test_recall got;
	char *addr;
	long room;

	stay_on_cpu();
	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	room = free_pages(self->dev);
	addr = cdm_map_on(self->dev, SIZE, SEED);
	ASSERT_NE(NULL, addr);
	catch_bus();
	ASSERT_EQ(0, madvise(addr, PAGE, MADV_HWPOISON));
	EXPECT_EQ(0, recall(self->fd, self->dev, 0, room - 1, DEADLINE_MS,
			    &got));
	EXPECT_EQ(PAGES - 1, got.nr_evicted);
	EXPECT_EQ(0, give_back(self->fd));
	munmap(addr, PAGE);
	cdm_node_hugepages(self->dev, 0);
	EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	EXPECT_EQ(0, cdm_register_all());
}

/* Suspend */

TEST_F_TIMEOUT(owner, suspend, CDM_TIMEOUT)
{
	char *addr[3], *more, *file;
	__u64 hash;

	for (int i = 0; i < ARRAY_SIZE(crowd_kinds); i++) {
		addr[i] = map_kind_on(self->dev, crowd_kinds[i], SIZE);
		ASSERT_NE(NULL, addr[i]);
	}
	file = map_file_on(self->dev, SIZE, &hash);
	ASSERT_NE(NULL, file);
	more = cdm_map(SIZE);
	ASSERT_EQ(0, cdm_mbind(more, SIZE, MPOL_BIND, 1UL << self->dev, 0));
	ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
	EXPECT_EQ(0, cdm_audit(self->dev, "total") - free_pages(self->dev));
	for (int i = 0; i < ARRAY_SIZE(crowd_kinds); i++) {
		EXPECT_EQ(0, cdm_pages_on(addr[i], SIZE, self->dev));
		EXPECT_EQ(0, cdm_wrong(addr[i], SIZE, SEED));
	}
	EXPECT_EQ(hash, cdm_hash(file, SIZE));
	/* Policies that name it are no use, and do no harm; new ones are refused. */
	cdm_fill(more, SIZE, SEED);
	EXPECT_EQ(-EINVAL, cdm_mbind(addr[0], SIZE, MPOL_BIND, 1UL << self->dev,
				     0));
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(more, SIZE), cdm_rams()));
	EXPECT_EQ(-ENODEV, cdm_migrate(more, SIZE, self->dev, NULL));
	EXPECT_EQ(0, cdm_audit(self->dev, "total") - free_pages(self->dev));

	ASSERT_EQ(0, resume(self->dev));
	EXPECT_EQ(PAGES, cdm_move(more, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(more, SIZE, SEED));
	expect_usable(_metadata, self->fd, self->dev);
}

static int forked_fn(struct cdm_child *me, void *arg)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	cdm_say(me, cdm_wrong(addr, SIZE, SEED));
	return 0;
}

/* A bound task goes on meanwhile, and is served again when it is over. */
TEST_F_TIMEOUT(owner, suspend_and_a_bound_task, CDM_TIMEOUT)
{
	struct cdm_spread spread;
	char *addr = start_tenant(&self->child[0], self->dev, SIZE, false);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_bind_task(self->dev));
	ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
	EXPECT_EQ(0, tenant_wrong(&self->child[0]));
	spread = cdm_spread_of(self->child[0].pid, addr, SIZE);
	EXPECT_EQ(PAGES, cdm_spread_in(spread, cdm_rams()));
	/* One that forks while its policy is no use. */
	addr = cdm_map(SIZE);
	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	ASSERT_EQ(0, cdm_start(&self->child[1], forked_fn, NULL));
	EXPECT_EQ(0, cdm_hear(&self->child[1]));
	ASSERT_EQ(0, resume(self->dev));
	addr = start_tenant(&self->child[2], self->dev, SIZE, false);
	ASSERT_NE(NULL, addr);
	spread = cdm_spread_of(self->child[2].pid, addr, SIZE);
	EXPECT_EQ(PAGES, spread.on[self->dev]);
}

static long pages_in_use(int nid)
{
	return cdm_audit(nid, "total") - free_pages(nid);
}

/* Of those that wait for memory, nobody gets in after the node was closed. */
TEST_F_TIMEOUT(owner, suspend_under_pressure, CDM_TIMEOUT)
{
	long nr = cdm_node_meminfo(self->dev, "MemFree") / 1024 / 2 - 4;
	struct cdm_faulter faulter[3];

	ASSERT_EQ(0, take(self->fd, self->dev, 9, nr, NULL));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, cdm_faulter_start(&faulter[i], 1UL << self->dev,
					       8 * MIB));
	for (int i = 0; i < cdm_effort(50, 20); i++) {
		usleep(10000 + i % 10 * 3000);
		ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
		/* For a moment somebody may have one, who then sees his mistake. */
		for (int j = 0; j < 10; j++, usleep(1000)) {
			if (pages_in_use(self->dev) == nr * BLOCK_PAGES)
				continue;
			usleep(1000);
			EXPECT_EQ(nr * BLOCK_PAGES, pages_in_use(self->dev));
		}
		ASSERT_EQ(0, resume(self->dev));
	}
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, cdm_faulter_stop(&faulter[i]));
	EXPECT_EQ(0, give_back(self->fd));
	expect_usable(_metadata, self->fd, self->dev);
}

/* Who names two finds his memory on the other, and is not told there is none. */
TEST_F_TIMEOUT(owner, suspend_one_of_two_under_pressure, CDM_TIMEOUT)
{
	struct cdm_nodes devs = cdm_devs();
	struct cdm_faulter faulter[3];

	if (devs.nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	for (int i = 0; i < devs.nr; i++) {
		long nr = cdm_node_meminfo(devs.nid[i], "MemFree") / 1024 / 2;

		ASSERT_EQ(0, take(self->fd, devs.nid[i], 9, nr - 4, NULL));
	}
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, cdm_faulter_start(&faulter[i], cdm_mask(devs),
					       8 * MIB));
	for (int i = 0; i < 50; i++) {
		usleep(10000 + i % 10 * 3000);
		ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
		usleep(10000);
		ASSERT_EQ(0, resume(self->dev));
	}
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, cdm_faulter_stop(&faulter[i]));
	EXPECT_EQ(0, give_back(self->fd));
	expect_usable(_metadata, self->fd, self->dev);
}

/* What the owner holds stays, for it to save. */
TEST_F_TIMEOUT(owner, suspend_with_owner_pages, CDM_TIMEOUT)
{
	ASSERT_EQ(0, take(self->fd, self->dev, 9, 4, NULL));
	EXPECT_EQ(0, suspend(self->dev, DEADLINE_MS));
	EXPECT_TRUE(owns(self->dev, 4 * BLOCK_PAGES));
	EXPECT_EQ(0, resume(self->dev));
	EXPECT_EQ(0, give_back(self->fd));
	expect_usable(_metadata, self->fd, self->dev);
}

TEST_F_TIMEOUT(owner, suspend_with_a_pin, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	__u64 pin = (uintptr_t)addr + SIZE / 2;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_PIN, &pin));
	EXPECT_EQ(-EBUSY, suspend(self->dev, 2000));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	expect_usable(_metadata, self->fd, self->dev);
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_UNPIN, NULL));
	EXPECT_EQ(0, suspend(self->dev, DEADLINE_MS));
	EXPECT_EQ(0, resume(self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F_TIMEOUT(owner, unregister_while_suspended, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
	ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
	EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_FALSE(cdm_state_has("has_coherent_device", self->dev));
	EXPECT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->fd, self->dev);
}

static int unregister_fn(struct cdm_child *me, void *nid)
{
	cdm_say(me, cdm_unregister(*(int *)nid, DEADLINE_MS, NULL));
	return 0;
}

/* The node says why it is closed, and forgets that when it is open. */
TEST_F_TIMEOUT(owner, state, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	__u64 pin = (uintptr_t)addr;

	ASSERT_NE(NULL, addr);
	EXPECT_TRUE(state_is(self->dev, "open"));
	ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
	EXPECT_TRUE(state_is(self->dev, "closed: suspended"));
	ASSERT_EQ(0, resume(self->dev));
	EXPECT_TRUE(state_is(self->dev, "open"));
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_PIN, &pin));
	EXPECT_EQ(-EBUSY, suspend(self->dev, 1000));
	EXPECT_TRUE(state_is(self->dev, "open"));
	ASSERT_EQ(0, cdm_start(&self->child[0], unregister_fn, &self->dev));
	EXPECT_TRUE(state_becomes(self->dev, "closed: unregistering"));
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_UNPIN, NULL));
	EXPECT_EQ(0, cdm_hear(&self->child[0]));
	EXPECT_TRUE(state_is(self->dev, ""));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_TRUE(state_is(self->dev, "open"));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* Nobody opens a node before the machine has come back. */
TEST_F_TIMEOUT(owner, closed_for_hibernation, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);
	int fd;

	cdm_fill(addr, SIZE, SEED);
	/* Opening it is the first step to hibernate, closing it the last. */
	fd = open("/dev/snapshot", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "/dev/snapshot: %s", strerror(errno));
	EXPECT_TRUE(state_is(self->dev, "closed: hibernation"));
	EXPECT_EQ(0, suspend(self->dev, DEADLINE_MS));
	EXPECT_TRUE(state_is(self->dev, "closed: suspended hibernation"));
	EXPECT_EQ(0, resume(self->dev));
	EXPECT_TRUE(state_is(self->dev, "closed: hibernation"));
	EXPECT_EQ(-ENODEV, cdm_migrate(addr, SIZE, self->dev, NULL));
	EXPECT_EQ(0, close(fd));
	EXPECT_TRUE(state_is(self->dev, "open"));
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, self->dev, NULL));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
}

/* An attempt to unregister that fails leaves it suspended. */
TEST_F_TIMEOUT(owner, suspended_stays_suspended, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);

	ASSERT_EQ(0, take(self->fd, self->dev, 0, 1, NULL));
	ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
	EXPECT_EQ(-EBUSY, cdm_unregister(self->dev, 1000, NULL));
	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(-ENODEV, cdm_migrate(addr, SIZE, self->dev, NULL));
	EXPECT_EQ(0, resume(self->dev));
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, self->dev, NULL));
}

/* Loss. What is there after it is not what the tenants had. */

static int lose(int nid, struct cdm_test_lose *got)
{
	struct cdm_test_lose arg = { .nid = nid };
	int ret = cdm_ioctl(CDM_TEST_IOC_LOSE, &arg);

	if (got)
		*got = arg;
	return ret;
}

static bool gone(int nid)
{
	return !cdm_state_has("has_coherent_device", nid) &&
	       !cdm_state_has("has_memory", nid);
}

/* A child that has what the test has, and touches it when it is told to. */
struct heir {
	char *addr;
	bool catch;
};

static int heir_fn(struct cdm_child *me, void *arg)
{
	struct heir *heir = arg;

	if (heir->catch)
		catch_bus();
	else
		signal(SIGBUS, SIG_DFL);
	cdm_say(me, 0);
	if (cdm_hear(me))
		return 0;
	cdm_say(me, heir->catch ? unreadable(heir->addr, SIZE) :
				  (long)heir->addr[SIZE / 2]);
	return 0;
}

static int heir_start(struct cdm_child *child, char *addr, bool catch)
{
	struct heir heir = { .addr = addr, .catch = catch };

	return cdm_start(child, heir_fn, &heir) ?: (int)cdm_hear(child);
}

/* What the machine counts of the memory of processes, device or not. */
static const char * const counters[] = {
	"nr_shmem", "nr_mlock", "nr_shmem_hugepages",
	"nr_anon_transparent_hugepages", "nr_anon_pages", "nr_mapped",
};

static void count_all(long *counts)
{
	cdm_stat_refresh();
	for (int i = 0; i < ARRAY_SIZE(counters); i++)
		counts[i] = cdm_vmstat(counters[i]);
}

FIXTURE(lost) {
	int dev;
	int fd;
	long counts[ARRAY_SIZE(counters)];
	char *addr;
	char *ram;
	struct cdm_child child[3];
};

FIXTURE_VARIANT(lost) {
	enum kind kind;
};

FIXTURE_VARIANT_ADD(lost, anon) { .kind = ANON };
FIXTURE_VARIANT_ADD(lost, locked) { .kind = LOCKED };
FIXTURE_VARIANT_ADD(lost, cow) { .kind = COW };
FIXTURE_VARIANT_ADD(lost, shmem) { .kind = SHMEM };
FIXTURE_VARIANT_ADD(lost, thp) { .kind = THP };
FIXTURE_VARIANT_ADD(lost, shmem_thp) { .kind = SHMEM_THP };

FIXTURE_SETUP(lost)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, owner_start(_metadata, &self->dev, &self->fd));
	console_quiet();
	self->ram = cdm_map(SIZE);
	cdm_fill(self->ram, SIZE, SEED);
	count_all(self->counts);
	self->addr = map_kind_on(self->dev, variant->kind, SIZE);
	ASSERT_NE(NULL, self->addr);
	catch_bus();
}

FIXTURE_TEARDOWN(lost)
{
	EXPECT_EQ(0, owner_reset(_metadata, self->dev, self->fd, self->child,
				 ARRAY_SIZE(self->child)));
}

static void lose_all(struct __test_metadata *_metadata, int nid)
{
	struct cdm_test_lose got;

	ASSERT_EQ(0, lose(nid, &got));
	EXPECT_EQ(PAGES, got.nr_lost);
	EXPECT_EQ(0, got.nr_saved);
	EXPECT_EQ(0, got.nr_left);
	EXPECT_TRUE(gone(nid));
}

/* Whoever touches it is told where, and others notice nothing. */
TEST_F_TIMEOUT(lost, touch, CDM_TIMEOUT)
{
	int status;

	ASSERT_EQ(0, heir_start(&self->child[0], self->addr, false));
	ASSERT_EQ(0, heir_start(&self->child[1], self->addr, true));
	ASSERT_NE(NULL, start_tenant(&self->child[2], cdm_ram(0), SIZE, false));
	lose_all(_metadata, self->dev);
	EXPECT_EQ(PAGES, unreadable(self->addr, SIZE));
	if (variant->kind != SHMEM_THP)
		EXPECT_EQ(PAGES, poisoned(self->addr, SIZE));
	EXPECT_EQ(0, cdm_wrong(self->ram, SIZE, SEED));
	cdm_say(&self->child[1], 0);
	EXPECT_EQ(PAGES, cdm_hear(&self->child[1]));
	cdm_say(&self->child[0], 0);
	status = cdm_wait(&self->child[0]);
	self->child[0].pid = 0;
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	EXPECT_EQ(0, tenant_wrong(&self->child[2]));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(PAGES, unreadable(self->addr, SIZE));
	expect_usable(_metadata, self->fd, self->dev);
}

/* All that can be done with it short of touching: nothing is left behind. */
TEST_F_TIMEOUT(lost, release, CDM_TIMEOUT)
{
	long counts[ARRAY_SIZE(counters)];

	ASSERT_EQ(0, heir_start(&self->child[0], self->addr, false));
	lose_all(_metadata, self->dev);
	tenant_end(&self->child[0]);
	ASSERT_EQ(0, munmap(self->addr, SIZE));
	ASSERT_EQ(0, cdm_register_all());
	cdm_drop_caches();
	count_all(counts);
	for (int i = 0; i < ARRAY_SIZE(counters); i++) {
		EXPECT_GE(PAGES / 4, labs(counts[i] - self->counts[i]))
			TH_LOG("%s: %ld, was %ld", counters[i], counts[i],
			       self->counts[i]);
	}
	EXPECT_EQ(0, cdm_node_named(self->dev));
	EXPECT_EQ(0, cdm_judge());
}

/* A process that has lost something can fork, and have new memory there. */
TEST_F_TIMEOUT(lost, go_on, CDM_TIMEOUT)
{
	bool shared = variant->kind == SHMEM || variant->kind == SHMEM_THP;

	lose_all(_metadata, self->dev);
	ASSERT_EQ(0, heir_start(&self->child[0], self->addr, true));
	cdm_say(&self->child[0], 0);
	EXPECT_EQ(PAGES, cdm_hear(&self->child[0]));
	EXPECT_EQ(0, mprotect(self->addr, SIZE / 2, PROT_READ));
	EXPECT_EQ(0, mprotect(self->addr, SIZE / 2, PROT_READ | PROT_WRITE));
	EXPECT_EQ(PAGES, unreadable(self->addr, SIZE));
	munlock(self->addr, SIZE);
	if (shared)
		ASSERT_EQ(0, madvise(self->addr, SIZE, MADV_REMOVE));
	ASSERT_EQ(0, madvise(self->addr, SIZE, MADV_DONTNEED));
	EXPECT_EQ(PAGES, touch_all(self->addr, SIZE, 0));
	cdm_fill(self->addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(PAGES, cdm_move(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

FIXTURE(lose) {
	int dev;
	int fd;
	long total;
	bool again;		/* it may be lost in part */
	bool mounted;
};

FIXTURE_SETUP(lose)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, owner_start(_metadata, &self->dev, &self->fd));
	self->total = cdm_node_meminfo(self->dev, "MemTotal");
	console_quiet();
	catch_bus();
}

FIXTURE_TEARDOWN(lose)
{
	close(self->fd);
	if (self->again)
		lose(self->dev, NULL);
	if (self->mounted)
		umount2(DISK_DIR, MNT_DETACH);
	EXPECT_EQ(0, owner_reset(_metadata, self->dev, -1, NULL, 0));
	EXPECT_EQ(self->total, cdm_node_meminfo(self->dev, "MemTotal"));
}

TEST_F_TIMEOUT(lose, empty_node, CDM_TIMEOUT)
{
	struct cdm_test_lose got;

	ASSERT_EQ(0, lose(self->dev, &got));
	EXPECT_EQ(0, got.nr_lost + got.nr_saved + got.nr_left);
	EXPECT_TRUE(gone(self->dev));
	EXPECT_EQ(-ENODEV, lose(self->dev, &got));
	ASSERT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->fd, self->dev);
}

/* Both mappings, those to come, and the file: all know. Half of it is in RAM. */
TEST_F_TIMEOUT(lose, memfd, CDM_TIMEOUT)
{
	int fd = memfd_create("cdm", 0);
	struct cdm_test_lose got;
	static char buf[2 * PAGE];
	char *addr[3];

	ASSERT_EQ(0, ftruncate(fd, 2 * SIZE));
	for (int i = 0; i < ARRAY_SIZE(addr); i++) {
		addr[i] = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE,
			       MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, addr[i]);
	}
	cdm_fill(addr[0], 2 * SIZE, SEED);
	ASSERT_EQ(PAGES, cdm_move(addr[0], SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr[1], 2 * SIZE, SEED));
	ASSERT_EQ(0, lose(self->dev, &got));
	EXPECT_EQ(PAGES, got.nr_lost);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(PAGES, poisoned(addr[i], SIZE));
		EXPECT_EQ(PAGES, touch_all(addr[i] + SIZE, SIZE, 0));
	}
	EXPECT_EQ(PAGES, unreadable(addr[2], SIZE));
	EXPECT_EQ(-1, pread(fd, buf, PAGE, SIZE / 2));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(fd, buf, PAGE / 2, SIZE / 2));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(PAGE, pread(fd, buf, PAGE, SIZE));
	EXPECT_EQ(cdm_word(SEED, SIZE / 8), *(__u64 *)buf);
	/* It can be emptied, and used again. */
	ASSERT_EQ(0, ftruncate(fd, 0));
	ASSERT_EQ(0, ftruncate(fd, SIZE));
	EXPECT_EQ(PAGES, touch_all(addr[2], SIZE, 0));
	EXPECT_EQ(0, nonzero(addr[2], SIZE));
	close(fd);
}

/* What is on a disk is read from there again. */
TEST_F_TIMEOUT(lose, clean_file, CDM_TIMEOUT)
{
	struct cdm_test_lose got;
	__u64 hash;
	char *addr = map_file_on(self->dev, SIZE, &hash);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, lose(self->dev, &got));
	EXPECT_LE(PAGES, got.nr_saved);
	EXPECT_EQ(0, got.nr_lost + got.nr_left);
	EXPECT_EQ(PAGES, touch_all(addr, SIZE, 0));
	EXPECT_EQ(hash, cdm_hash(addr, SIZE));
}

/* Returns a file on a disk, or what there is not. */
static const char *open_on_disk(bool *mounted, int *fd)
{
	const char *why = cdm_mount_disk(DISK_DIR);

	if (why)
		return why;
	*mounted = true;
	*fd = open(DISK_DIR "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return *fd < 0 ? strerror(errno) : NULL;
}

/* What was not written yet is lost, and whoever asks for it to be is told. */
TEST_F_TIMEOUT(lose, dirty_file, CDM_TIMEOUT)
{
	struct cdm_test_lose got;
	const char *why;
	char *addr;
	int fd;

	why = open_on_disk(&self->mounted, &fd);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, ftruncate(fd, 2 * SIZE));
	addr = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	cdm_fill(addr, 2 * SIZE, SEED);
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(2 * PAGES, cdm_move(addr, 2 * SIZE, self->dev));
	cdm_fill(addr, SIZE, SEED + 1);
	ASSERT_EQ(0, lose(self->dev, &got));
	EXPECT_EQ(PAGES, got.nr_lost);
	EXPECT_LE(PAGES, got.nr_saved);
	EXPECT_EQ(0, got.nr_left);
	EXPECT_EQ(PAGES, poisoned(addr, SIZE));
	EXPECT_EQ(PAGES, touch_all(addr + SIZE, SIZE, 0));
	EXPECT_EQ(-1, fsync(fd));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, fsync(fd));
	munmap(addr, 2 * SIZE);
	/* The file is as it was when it was last written. */
	addr = mmap(NULL, 2 * SIZE, PROT_READ, MAP_SHARED, fd, 0);
	EXPECT_EQ(0, cdm_wrong(addr, 2 * SIZE, SEED));
	munmap(addr, 2 * SIZE);
	close(fd);
	EXPECT_EQ(0, umount(DISK_DIR));
	self->mounted = false;
}

/* Who holds a page with a pin keeps it; nobody else gets at it. */
TEST_F_TIMEOUT(lose, pinned_page, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED), *more = cdm_map(SIZE);
	__u64 pin = (uintptr_t)addr + SIZE / 2;
	struct cdm_test_lose got;

	ASSERT_NE(NULL, addr);
	cdm_fill(more, SIZE, SEED);
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_PIN, &pin));
	self->again = true;
	EXPECT_EQ(-EBUSY, lose(self->dev, &got));
	EXPECT_EQ(PAGES, got.nr_lost);
	EXPECT_EQ(1, got.nr_left);
	EXPECT_EQ(PAGES, poisoned(addr, SIZE));
	EXPECT_EQ(-ENODEV, cdm_migrate(more, SIZE, self->dev, NULL));
	EXPECT_EQ(-EBUSY, lose(self->dev, &got));
	EXPECT_EQ(0, got.nr_lost);
	EXPECT_EQ(1, got.nr_left);
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_UNPIN, NULL));
	EXPECT_EQ(0, lose(self->dev, &got));
	EXPECT_EQ(0, got.nr_left);
	EXPECT_TRUE(gone(self->dev));
	EXPECT_EQ(0, cdm_wrong(more, SIZE, SEED));
}

/* Resuming what is lost does not let anybody in. */
TEST_F_TIMEOUT(lose, stays_closed, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);
	int ret;

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, take(self->fd, self->dev, 0, 1, NULL));
	self->again = true;
	ASSERT_EQ(-EBUSY, lose(self->dev, NULL));
	resume(self->dev);
	EXPECT_EQ(-ENODEV, cdm_migrate(addr, SIZE, self->dev, NULL));
	EXPECT_EQ(-EBUSY, cdm_unregister(self->dev, 1000, NULL));
	EXPECT_EQ(-ENODEV, cdm_migrate(addr, SIZE, self->dev, NULL));
	EXPECT_NE(0, take(self->fd, self->dev, 0, 1, NULL));
	ret = suspend(self->dev, 1000);
	if (!ret)
		resume(self->dev);
	EXPECT_EQ(-ENODEV, cdm_migrate(addr, SIZE, self->dev, NULL));
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_EQ(0, lose(self->dev, NULL));
}

/* Nor does an attempt to unregister it that fails. */
TEST_F_TIMEOUT(lose, closed_for_good, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED), *more = cdm_map(SIZE);
	__u64 pin = (uintptr_t)addr;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_mbind(more, SIZE, MPOL_BIND, 1UL << self->dev, 0));
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_PIN, &pin));
	self->again = true;
	ASSERT_EQ(-EBUSY, lose(self->dev, NULL));
	EXPECT_TRUE(state_is(self->dev, "closed: lost"));
	EXPECT_GT(0, cdm_unregister(self->dev, 100, NULL));
	EXPECT_TRUE(state_is(self->dev, "closed: lost"));
	cdm_fill(more, SIZE, SEED);
	EXPECT_EQ(0, cdm_pages_on(more, SIZE, self->dev));
	ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_UNPIN, NULL));
	EXPECT_EQ(0, lose(self->dev, NULL));
	EXPECT_TRUE(gone(self->dev));
	EXPECT_EQ(0, cdm_wrong(more, SIZE, SEED));
}

/* The owner is asked to free its own pages first. */
TEST_F_TIMEOUT(lose, owner_pages, CDM_TIMEOUT)
{
	struct cdm_test_lose got;

	ASSERT_EQ(0, take(self->fd, self->dev, 9, 4, NULL));
	self->again = true;
	EXPECT_EQ(-EBUSY, lose(self->dev, &got));
	EXPECT_EQ(0, got.nr_lost);
	EXPECT_EQ(4 * BLOCK_PAGES, got.nr_left);
	EXPECT_TRUE(owns(self->dev, 4 * BLOCK_PAGES));
	EXPECT_EQ(0, give_back(self->fd));
	EXPECT_EQ(0, lose(self->dev, &got));
	EXPECT_TRUE(gone(self->dev));
	ASSERT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->fd, self->dev);
}

TEST_F_TIMEOUT(lose, with_a_reserve, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_reserve(self->dev, RESERVE));
	ASSERT_EQ(0, lose(self->dev, NULL));
	ASSERT_EQ(0, cdm_register_all());
	expect_all_usable(_metadata, self->dev);
}

TEST_F_TIMEOUT(lose, while_suspended, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	struct cdm_test_lose got;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, suspend(self->dev, DEADLINE_MS));
	ASSERT_EQ(0, lose(self->dev, &got));
	EXPECT_EQ(0, got.nr_lost + got.nr_saved + got.nr_left);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	ASSERT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->fd, self->dev);
}

struct homeward {
	char *addr;
	int ram;
	__s32 *status;
	int ret;
};

static void *homeward_fn(void *arg)
{
	struct homeward *home = arg;

	home->ret = cdm_migrate(home->addr, SIZE, home->ram, home->status);
	return NULL;
}

static int unregister_later_fn(struct cdm_child *me, void *nid)
{
	cdm_hear(me);
	return unregister_fn(me, nid);
}

/* An engine that does not come to an end is the misfortune of its own device. */
TEST_F_TIMEOUT(owner, engine_hangs_alone, CDM_TIMEOUT)
{
	struct cdm_nodes devs = cdm_devs();
	__s32 status[PAGES];
	struct homeward home = {
		.ram = self->ram,
		.status = status,
	};
	pthread_t thread;
	int other;

	if (devs.nr < 2)
		SKIP(return, "this topology has one device");
	other = devs.nid[1];
	home.addr = cdm_map_on(self->dev, SIZE, SEED);
	ASSERT_NE(NULL, home.addr);
	/* The mmap lock is held while something is copied: no fork() then. */
	ASSERT_EQ(0, cdm_start(&self->child[0], unregister_later_fn, &other));
	events(CDM_TEST_ENGINE_HOLD);
	ASSERT_EQ(0, pthread_create(&thread, NULL, homeward_fn, &home));
	EXPECT_TRUE(engine_holds());
	cdm_say(&self->child[0], 0);
	EXPECT_EQ(0, cdm_hear(&self->child[0]));
	EXPECT_FALSE(cdm_state_has("has_coherent_device", other));
	EXPECT_EQ(0, cdm_register_all());
	EXPECT_TRUE(engine_holds());
	events(CDM_TEST_ENGINE_WORKS);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, home.ret);
	EXPECT_EQ(0, cdm_pages_on(home.addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(home.addr, SIZE, SEED));
}

/*
 * Loss is marked before anything else is done about it. Nobody knows at which moment,
 * and nothing that was read since then may pass for data.
 */
FIXTURE(marked) {
	int dev;
	int ram;
	int fd;
	struct cdm_nodes devs;	/* all have the same owner */
	char *addr;
	__u64 frame[SIZE / PAGE];
	__s32 status[SIZE / PAGE];
	struct cdm_child child;
};

FIXTURE_VARIANT(marked) {
	enum kind kind;
};

FIXTURE_VARIANT_ADD(marked, anon) { .kind = ANON };
FIXTURE_VARIANT_ADD(marked, shmem) { .kind = SHMEM };
FIXTURE_VARIANT_ADD(marked, thp) { .kind = THP };

FIXTURE_SETUP(marked)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, owner_start(_metadata, &self->dev, &self->fd));
	self->ram = cdm_ram(0);
	self->devs = cdm_devs();
	console_quiet();
	catch_bus();
	self->addr = map_kind_on(self->dev, variant->kind, SIZE);
	ASSERT_NE(NULL, self->addr);
	frames(self->addr, SIZE, self->frame);
}

static int lose_all_nodes(struct cdm_nodes nodes)
{
	int ret = 0;

	for (int i = 0; !ret && i < nodes.nr; i++) {
		while (!ret)
			ret = lose(nodes.nid[i], NULL);
		ret = ret == -ENODEV ? 0 : ret;
	}
	return ret;
}

FIXTURE_TEARDOWN(marked)
{
	tenant_end(&self->child);
	close(self->fd);
	events(CDM_TEST_ENGINE_NONE);
	EXPECT_EQ(0, lose_all_nodes(self->devs));
	EXPECT_EQ(0, owner_reset(_metadata, self->dev, -1, NULL, 0));
}

static void spoil(struct __test_metadata *_metadata, const __u64 *frame)
{
	for (int i = 0; i < PAGES; i++) {
		struct cdm_test_peek arg = {
			.start = (frame[i] & FRAME_MASK) * PAGE,
			.size = PAGE,
		};

		ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_SPOIL, &arg));
	}
}

/* Nothing went home, and whoever touches it is told. */
static void expect_all_lost(struct __test_metadata *_metadata, int dev,
			    char *addr, const __s32 *status)
{
	long i, nr_busy = 0;

	for (i = 0; i < PAGES; i++)
		nr_busy += status[i] == -EBUSY;
	EXPECT_EQ(PAGES, nr_busy);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, dev));
	EXPECT_TRUE(state_is(dev, "closed: lost"));
	EXPECT_EQ(0, lose(dev, NULL));
	EXPECT_EQ(PAGES, unreadable(addr, SIZE));
}

/* The engine has been asked before the mark, and says after it that all is well. */
TEST_F_TIMEOUT(marked, during_a_copy, CDM_TIMEOUT)
{
	struct homeward home = {
		.addr = self->addr,
		.ram = self->ram,
		.status = self->status,
	};
	pthread_t thread;

	events(CDM_TEST_ENGINE_HOLD);
	ASSERT_EQ(0, pthread_create(&thread, NULL, homeward_fn, &home));
	EXPECT_TRUE(engine_holds());
	EXPECT_EQ(0, set_link(CDM_TEST_LINK_MARK));
	spoil(_metadata, self->frame);
	events(CDM_TEST_ENGINE_WORKS);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, home.ret);
	expect_all_lost(_metadata, self->dev, self->addr, self->status);
}

/* Nobody has noticed, and the CPU copies what it takes for data. */
TEST_F_TIMEOUT(marked, by_the_core, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_link(CDM_TEST_LINK_DOWN));
	spoil(_metadata, self->frame);
	EXPECT_EQ(0, cdm_migrate(self->addr, SIZE, self->ram, self->status));
	expect_all_lost(_metadata, self->dev, self->addr, self->status);
}

/* Nor does anything come there. */
TEST_F_TIMEOUT(marked, nobody_comes, CDM_TIMEOUT)
{
	char *bound = cdm_map(SIZE), *more = cdm_map(SIZE);

	cdm_fill(more, SIZE, SEED);
	ASSERT_EQ(0, cdm_mbind(bound, SIZE, MPOL_BIND, 1UL << self->dev, 0));
	ASSERT_EQ(0, set_link(CDM_TEST_LINK_MARK));
	EXPECT_TRUE(state_is(self->dev, "closed: lost"));
	cdm_fill(bound, SIZE, SEED);
	EXPECT_EQ(0, cdm_pages_on(bound, SIZE, self->dev));
	EXPECT_EQ(-ENODEV, cdm_migrate(more, SIZE, self->dev, NULL));
	EXPECT_NE(0, take(self->fd, self->dev, 0, 1, NULL));
	EXPECT_EQ(0, lose(self->dev, NULL));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_TRUE(state_is(self->dev, "open"));
	expect_usable(_metadata, self->fd, self->dev);
	EXPECT_EQ(0, cdm_wrong(bound, SIZE, SEED));
}

static bool keeps_pages(int nid)
{
	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (kept_pages(nid) > 0)
			return true;
		usleep(10000);
	}
	return false;
}

static int wait_fn(struct cdm_child *me, void *arg)
{
	int nid = cdm_dev(0), what = *(int *)arg;
	/* All there is, with the margin for the CPUs. */
	long nr_pages = cdm_node_meminfo(nid, "MemTotal") / 4 -
			sysconf(_SC_NPROCESSORS_CONF) * (BLOCK_PAGES + 128);

	cdm_say(me, 0);
	if (what == 0)
		cdm_say(me, cdm_unregister(nid, DEADLINE_MS, NULL));
	else if (what == 1)
		cdm_say(me, suspend(nid, DEADLINE_MS));
	else
		cdm_say(me, set_reserve(nid, nr_pages));
	return 0;
}

/* A wait for a tenant that does not go ends with the mark. */
TEST_F_TIMEOUT(marked, ends_all_waits, CDM_TIMEOUT)
{
	__u64 pin = (uintptr_t)self->addr;

	if (variant->kind != ANON)
		SKIP(return, "no such case: the kind of memory makes no difference");
	for (int what = 0; what < 3; what++) {
		ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_PIN, &pin));
		ASSERT_EQ(0, cdm_start(&self->child, wait_fn, &what));
		ASSERT_EQ(0, cdm_hear(&self->child));
		/* The wait has begun. */
		EXPECT_TRUE(what == 2 ? keeps_pages(self->dev) :
			    state_becomes(self->dev, what ?
					  "closed: suspended" :
					  "closed: unregistering"));
		ASSERT_EQ(0, set_link(CDM_TEST_LINK_MARK));
		EXPECT_EQ(-ENODEV, cdm_hear(&self->child));
		tenant_end(&self->child);
		ASSERT_EQ(0, ask(self->fd, CDM_TEST_IOC_UNPIN, NULL));
		ASSERT_EQ(0, lose_all_nodes(self->devs));
		ASSERT_EQ(0, cdm_register_all());
		munmap(self->addr, SIZE);
		self->addr = map_kind_on(self->dev, variant->kind, SIZE);
		ASSERT_NE(NULL, self->addr);
	}
}

/* F21: loss is no way for the owner to get at what tenants had. */
TEST_F_TIMEOUT(lose, no_data_of_tenants, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, 4 * SIZE, SEED);
	struct cdm_test_recall got;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, lose(self->dev, NULL));
	ASSERT_EQ(0, cdm_register_all());
	ASSERT_EQ(0, take(self->fd, self->dev, 10, self->total / 4 >> 10,
			  &got));
	EXPECT_EQ(0, got.nr_dirty);
	EXPECT_EQ(0, give_back(self->fd));
}

/* Huge pages of hugetlb are lost as a whole; the pool goes with the node. */
TEST_F_TIMEOUT(lose, private_hugetlb, CDM_TIMEOUT)
{
	long corrupted = cdm_meminfo("HardwareCorrupted");
	struct cdm_test_lose got;
	char *addr;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 8));
	addr = mmap(NULL, 2 * HPAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE,
		    -1, 0);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, cdm_mbind(addr, 2 * HPAGE, MPOL_BIND, 1UL << self->dev,
			       0));
	cdm_fill(addr, 2 * HPAGE, SEED);
	self->again = true;
	EXPECT_EQ(0, lose(self->dev, &got));
	EXPECT_EQ(2 * BLOCK_PAGES, got.nr_lost);
	EXPECT_EQ(0, got.nr_left);
	EXPECT_NE(0, touch(addr));
	EXPECT_NE(0, touch(addr + HPAGE));
	EXPECT_EQ(0, munmap(addr, 2 * HPAGE));
	EXPECT_EQ(0, cdm_node_hugepages_nr(cdm_ram(0)));
	EXPECT_EQ(corrupted, cdm_meminfo("HardwareCorrupted"));
}

/* Of files in hugetlb, which nobody else could take them from. */
TEST_F_TIMEOUT(lose, shared_hugetlb, CDM_TIMEOUT)
{
	struct cdm_test_lose got;
	char *addr;
	int fd;

	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 8));
	fd = memfd_create("cdm", MFD_HUGETLB);
	ASSERT_EQ(0, ftruncate(fd, 2 * HPAGE));
	addr = mmap(NULL, 2 * HPAGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_NORESERVE, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, cdm_mbind(addr, 2 * HPAGE, MPOL_BIND, 1UL << self->dev,
			       0));
	cdm_fill(addr, 2 * HPAGE, SEED);
	self->again = true;
	EXPECT_EQ(-EBUSY, lose(self->dev, &got));
	EXPECT_EQ(2 * BLOCK_PAGES, got.nr_left);
	EXPECT_NE(0, touch(addr));
	EXPECT_EQ(0, munmap(addr, 2 * HPAGE));
	close(fd);
	EXPECT_EQ(0, lose(self->dev, &got));
	EXPECT_TRUE(gone(self->dev));
}

/*
 * The swap cache. A page that has been read from swap is there as long as nobody
 * writes to it and others have the same entry of swap, or the disk is slow.
 */
FIXTURE(lose_swapped) {
	int dev;
	int fd;
	char *addr;
	struct cdm_child child;
};

FIXTURE_VARIANT(lose_swapped) {
	bool disk;		/* and not memory */
	bool shared;		/* with a child, which has not read it */
	bool zswap;		/* which forgets what it was asked for */
};

FIXTURE_VARIANT_ADD(lose_swapped, alone) { .disk = true };
FIXTURE_VARIANT_ADD(lose_swapped, forked) { .shared = true };
FIXTURE_VARIANT_ADD(lose_swapped, zswap) { .shared = true, .zswap = true };

FIXTURE_SETUP(lose_swapped)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	if (variant->disk && !cdm_disk())
		SKIP(return, "the machine has no disk: CDM_DISK is not set");
	ASSERT_EQ(0, owner_start(_metadata, &self->dev, &self->fd));
	console_quiet();
	catch_bus();
	if (variant->zswap)
		ASSERT_EQ(0, cdm_write(ZSWAP, "Y"));
	ASSERT_EQ(0, variant->disk ? cdm_swap_to(cdm_disk(), 64) :
				     cdm_swap_on(64));
	self->addr = cdm_map(SIZE);
	/* zswap does not take what it cannot compress. */
	cdm_stamp(self->addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_pageout(self->addr, SIZE));
	if (variant->shared)
		ASSERT_EQ(0, heir_start(&self->child, self->addr, true));
	cdm_fault_in(self->addr, SIZE);
	ASSERT_EQ(PAGES, cdm_move(self->addr, SIZE, self->dev));
	cdm_stat_refresh();
	ASSERT_EQ(PAGES, cdm_node_vmstat(self->dev, "nr_swapcached"));
}

FIXTURE_TEARDOWN(lose_swapped)
{
	if (self->child.pid)
		cdm_kill(&self->child);
	if (variant->disk && cdm_disk())
		swapoff(cdm_disk());
	cdm_write(ZSWAP, "N");
	EXPECT_EQ(0, owner_reset(_metadata, self->dev, self->fd, NULL, 0));
}

/* The others find neither what is lost nor something older. */
TEST_F_TIMEOUT(lose_swapped, read_again, CDM_TIMEOUT)
{
	bool saved = !variant->zswap;
	struct cdm_test_lose got;

	ASSERT_EQ(0, lose(self->dev, &got));
	EXPECT_EQ(saved ? PAGES : 0, got.nr_saved);
	EXPECT_EQ(saved ? 0 : PAGES, got.nr_lost);
	EXPECT_EQ(0, got.nr_left);
	EXPECT_EQ(saved ? 0 : PAGES, unreadable(self->addr, SIZE));
	if (saved)
		EXPECT_EQ(0, cdm_stamp_wrong(self->addr, SIZE, SEED));
	if (variant->shared) {
		cdm_say(&self->child, 0);
		EXPECT_EQ(saved ? 0 : PAGES, cdm_hear(&self->child));
	}
	tenant_end(&self->child);
	munmap(self->addr, SIZE);
	/* Each CPU keeps some. */
	EXPECT_GE(MIB / 1024,
		  cdm_meminfo("SwapTotal") - cdm_meminfo("SwapFree"));
}

/* Of those who have an entry of swap none is left that has mapped the page. */
TEST_F_TIMEOUT(lose_swapped, unmapped, CDM_TIMEOUT)
{
	bool saved = !variant->zswap;
	struct cdm_test_lose got;

	if (!variant->shared)
		SKIP(return, "no such case: nobody is left");
	munmap(self->addr, SIZE);
	EXPECT_EQ(saved ? 0 : -EBUSY, lose(self->dev, &got));
	EXPECT_EQ(saved ? PAGES : 0, got.nr_saved);
	EXPECT_EQ(0, got.nr_lost);
	EXPECT_EQ(saved ? 0 : PAGES, got.nr_left);
	cdm_say(&self->child, 0);
	EXPECT_EQ(saved ? 0 : PAGES, cdm_hear(&self->child));
	tenant_end(&self->child);
	if (!saved)
		EXPECT_EQ(0, lose(self->dev, NULL));
	EXPECT_TRUE(gone(self->dev));
}

/* One page was being written to swap at the mark: what has come there is no data. */
TEST_F_TIMEOUT(lose_swapped, written_when_it_was_marked, CDM_TIMEOUT)
{
	bool saved = !variant->zswap;
	struct cdm_child writer = {};
	struct cdm_test_lose got;

	ASSERT_TRUE(cdm_hold_start(&writer, self->addr,
				   CDM_TEST_HOLD_WRITEBACK));
	ASSERT_EQ(0, set_link(CDM_TEST_LINK_MARK));
	cdm_hold_end(&writer);
	ASSERT_EQ(0, lose(self->dev, &got));
	EXPECT_EQ(saved ? PAGES - 1 : 0, got.nr_saved);
	EXPECT_EQ(saved ? 1 : PAGES, got.nr_lost);
	EXPECT_EQ(saved ? 1 : PAGES, unreadable(self->addr, SIZE));
	if (variant->shared) {
		cdm_say(&self->child, 0);
		EXPECT_EQ(saved ? 1 : PAGES, cdm_hear(&self->child));
	}
}

/* Two that come and go, and touch what they have, while it is lost. */
TEST_F_TIMEOUT(lose, in_use, CDM_TIMEOUT)
{
	struct cdm_child child[2] = {};
	char *addr = cdm_map(SIZE);
	int status;
	long wrong;

	cdm_fill(addr, SIZE, SEED);
	for (int round = 0; round < cdm_effort(4, 2); round++) {
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, cdm_start(&child[i], busy_fn, &self->dev));
			EXPECT_EQ(0, cdm_hear(&child[i]));
		}
		usleep(50000);
		self->again = true;
		EXPECT_EQ(0, lose(self->dev, NULL));
		for (int i = 0; i < 2; i++) {
			wrong = tenant_wrong(&child[i]);
			status = cdm_wait(&child[i]);
			EXPECT_TRUE((!wrong && !status) ||
				    (WIFSIGNALED(status) &&
				     WTERMSIG(status) == SIGBUS));
		}
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		ASSERT_EQ(0, cdm_register_all());
		expect_usable(_metadata, self->fd, self->dev);
	}
}

/* What /proc says about memory that is no more. */
static void read_proc(const char *name)
{
	char path[64], buf[4096];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/%s", name);
	fd = open(path, O_RDONLY);
	while (fd >= 0 && read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static void look_at_lost(struct __test_metadata *_metadata, char *addr)
{
	static const char * const names[] = {
		"smaps", "smaps_rollup", "numa_maps", "maps", "status",
	};
	static __u64 entry[SIZE / PAGE];
	static unsigned char vec[SIZE / PAGE];

	for (int i = 0; i < ARRAY_SIZE(names); i++)
		read_proc(names[i]);
	EXPECT_EQ(0, frames(addr, SIZE, entry));
	EXPECT_EQ(0, mincore(addr, SIZE, vec));
	EXPECT_EQ(0, cdm_write("/proc/self/clear_refs", "4"));
	EXPECT_EQ(PAGES, cdm_spread(addr, SIZE).absent);
	EXPECT_EQ(PAGES, unreadable(addr, SIZE));
}

TEST_F_TIMEOUT(lose, seen_in_proc, CDM_TIMEOUT)
{
	static const enum kind kinds[] = { ANON, SHMEM, THP };

	for (int i = 0; i < ARRAY_SIZE(kinds); i++) {
		char *addr = map_kind_on(self->dev, kinds[i], SIZE);

		ASSERT_NE(NULL, addr);
		ASSERT_EQ(0, lose(self->dev, NULL));
		look_at_lost(_metadata, addr);
		ASSERT_EQ(0, cdm_register_all());
		look_at_lost(_metadata, addr);
		munmap(addr, SIZE);
	}
}

TEST_HARNESS_MAIN
