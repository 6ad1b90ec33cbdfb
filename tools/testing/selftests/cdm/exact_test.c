// SPDX-License-Identifier: GPL-2.0
/*
 * A move loses nothing and counts everything once, in either direction: what
 * pages hold, where they are, the rights and marks of their mappings, and all
 * counters that they appear in. Simple pages and others lie in one range.
 */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "rows_util.h"

#define SIZE		(3 * MIB)
#define SEED		53
#define ODD		5		/* pages from the start of a page table */
#define CGROUP		"cdm_exact"
#define MTHP		"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/"
#define IDLE		"/sys/kernel/mm/page_idle/bitmap"
#define MAX_PAGES	(8 * MIB / PAGE)
#define RACE_MS		cdm_effort(700, 2000)

#define FRAME_SOFT_DIRTY 55	/* bits of an entry of pagemap */
#define FRAME_EXCLUSIVE	56
#define KPF_COMPOUND	(3 << 15)	/* head or tail */

static __u64 was[MAX_PAGES], is[MAX_PAGES];
static __s32 status[MAX_PAGES];
static void *address[MAX_PAGES];

/* Memory on its way. */
struct area {
	int dev;
	int ram;
	int from;
	int to;
	char *addr;
	size_t size;
	long nr;
	bool by_syscall;	/* move_pages(2), else the driver */
};

static const char *area_init(struct area *area, bool to_ram)
{
	/* What the test needs for itself is not to be counted with the rest. */
	memset(was, 0x55, sizeof(was));
	memset(is, 0x55, sizeof(is));
	area->dev = cdm_dev(0);
	area->ram = cdm_ram(0);
	area->from = to_ram ? area->dev : area->ram;
	area->to = to_ram ? area->ram : area->dev;
	return cdm_missing();
}

static bool area_place(struct area *area)
{
	return cdm_move(area->addr, area->size, area->from) == area->nr;
}

/* Address space, in several page tables, neither from nor to the end of one. */
static bool area_reserve(struct area *area, size_t size)
{
	char *addr = cdm_map(size + 2 * HPAGE);

	if (!addr)
		return false;
	addr = (char *)(((uintptr_t)addr + HPAGE - 1) & ~(HPAGE - 1));
	area->addr = addr + ODD * PAGE;
	area->size = size;
	area->nr = size / PAGE;
	return true;
}

static bool area_map(struct area *area, size_t size)
{
	if (!area_reserve(area, size))
		return false;
	cdm_fill(area->addr, size, SEED);
	return area_place(area);
}

/* Pages of the area that are part of a large folio. */
static long large_pages(const struct area *area)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	long nr = 0;

	frames(area->addr, area->size, is);
	for (long i = 0; i < area->nr; i++) {
		__u64 flags = 0;

		if (pread(fd, &flags, 8, (is[i] & FRAME_MASK) * 8) == 8)
			nr += (flags & KPF_COMPOUND) != 0;
	}
	close(fd);
	return nr;
}

/* Folios of 64 KiB, born on that node, from the first @size bytes on. */
static bool area_enlarge(struct area *area, size_t size)
{
	if (cdm_write(MTHP "enabled", "madvise") ||
	    madvise(area->addr, size, MADV_HUGEPAGE) ||
	    cdm_mbind(area->addr, size, MPOL_BIND, 1UL << area->from, 0))
		return false;
	cdm_fill(area->addr, size, SEED);
	return !cdm_mbind(area->addr, size, MPOL_DEFAULT, 0, 0) &&
	       cdm_pages_on(area->addr, area->size, area->from) == area->nr &&
	       large_pages(area) > size / PAGE * 3 / 4;
}

static bool area_map_large(struct area *area, size_t size)
{
	return area_reserve(area, size) && area_enlarge(area, size);
}

static int area_move_pages(const struct area *area, int *nodes)
{
	for (long i = 0; i < area->nr; i++)
		address[i] = area->addr + i * PAGE;
	return move_pages(0, area->nr, address, nodes, status, MPOL_MF_MOVE) ?
		-errno : 0;
}

static int area_move(const struct area *area)
{
	static int nodes[MAX_PAGES];

	memset(status, 0x55, sizeof(status));
	if (!area->by_syscall)
		return cdm_migrate(area->addr, area->size, area->to, status);
	for (long i = 0; i < area->nr; i++)
		nodes[i] = area->to;
	return area_move_pages(area, nodes);
}

static void area_turn(struct area *area)
{
	int from = area->from;

	area->from = area->to;
	area->to = from;
}

static long area_wrong(const struct area *area)
{
	return cdm_wrong(area->addr, area->size, SEED);
}

/* How many of the first @nr pages have @value. */
static long statuses(long nr, int value)
{
	long count = 0;

	for (long i = 0; i < nr; i++)
		count += status[i] == value;
	return count;
}

/* Everything has moved, and says so. */
static bool area_moved(const struct area *area)
{
	long there = cdm_pages_on(area->addr, area->size, area->to);
	long said = statuses(area->nr, area->to);

	if (there == area->nr && said == area->nr)
		return true;
	fprintf(stderr, "# %ld of %ld pages are on node %d, %ld said to be\n",
		there, area->nr, area->to, said);
	return false;
}

/* In how many pages of both snapshots does @bit differ? */
static long bits_differ(long nr, int bit)
{
	long count = 0;

	for (long i = 0; i < nr; i++)
		count += (was[i] ^ is[i]) >> bit & 1;
	return count;
}

static long bits_set(const __u64 *entry, long nr, int bit)
{
	long count = 0;

	for (long i = 0; i < nr; i++)
		count += entry[i] >> bit & 1;
	return count;
}

static __u64 frame_of(const char *addr)
{
	__u64 entry;

	frames(addr, PAGE, &entry);
	return entry & FRAME_MASK;
}

/* Write @val over what it was, and say whether the page is still in its frame. */
static bool write_stays(char *addr, char val)
{
	__u64 frame = frame_of(addr);

	__atomic_store_n(addr, val, __ATOMIC_RELAXED);
	return frame_of(addr) == frame;
}

/* What is isolated comes back, whatever has happened. */
static long isolated(void)
{
	cdm_stat_refresh();
	return cdm_vmstat("nr_isolated_anon");
}

/* Every test ends with that. */
static int area_end(struct __test_metadata *_metadata)
{
	long nr = isolated();
	int err = cdm_judge();

	cdm_write(MTHP "enabled", "never");
	knobs_reset();
	if (nr)
		fprintf(stderr, "# %ld pages are still isolated\n", nr);
	return cdm_reset(_metadata) ?: err ?: nr ? -EPROTO : 0;
}

/* What is counted */

FIXTURE(exact) {
	struct area area;
	struct cdm_child child;
};

FIXTURE_VARIANT(exact) {
	bool to_ram;
	bool large;
	bool mixed;
	bool by_syscall;
};

FIXTURE_VARIANT_ADD(exact, simple_to_device) {};
FIXTURE_VARIANT_ADD(exact, simple_to_ram) { .to_ram = true };
FIXTURE_VARIANT_ADD(exact, syscall_to_device) { .by_syscall = true };
FIXTURE_VARIANT_ADD(exact, syscall_to_ram) {
	.to_ram = true, .by_syscall = true,
};

FIXTURE_VARIANT_ADD(exact, large_to_device) { .large = true };
FIXTURE_VARIANT_ADD(exact, large_to_ram) { .to_ram = true, .large = true };
FIXTURE_VARIANT_ADD(exact, mixed_to_device) { .mixed = true };
FIXTURE_VARIANT_ADD(exact, mixed_to_ram) { .to_ram = true, .mixed = true };

/* The mixture, in this order; all else of it is simple. */
#define MIX		(3 * HPAGE)
#define MIX_HUGE	HPAGE
#define MIX_LOCKED	(MIX_HUGE + MIB)
#define MIX_SHARED	(MIX_LOCKED + MIB / 2)
#define MIX_SHARED_END	(MIX_SHARED + MIB / 4)

static int share_fn(struct cdm_child *me, void *arg)
{
	struct area *area = arg;
	const __u64 *word = (const __u64 *)(area->addr + MIX_SHARED);
	__u64 first = MIX_SHARED / sizeof(*word);

	cdm_say(me, 0);
	while (!cdm_hear(me)) {
		long wrong = 0;

		for (size_t i = 0; i < (MIX_SHARED_END - MIX_SHARED) / 8; i++)
			wrong += word[i] != cdm_word(SEED, first + i);
		cdm_say(me, wrong);
	}
	return 0;
}

/* Only what is meant to be shared with a child is shared. */
static bool area_share(struct area *area, struct cdm_child *child)
{
	char *addr = area->addr;

	return !madvise(addr, MIX_SHARED, MADV_DONTFORK) &&
	       !madvise(addr + MIX_SHARED_END, MIX - MIX_SHARED_END,
			MADV_DONTFORK) &&
	       !cdm_start(child, share_fn, area) && !cdm_hear(child);
}

static bool area_mix(struct area *area, struct cdm_child *child)
{
	char *addr = cdm_map_huge(MIX);

	area->addr = addr;
	area->size = MIX;
	area->nr = MIX / PAGE;
	if (!addr || madvise(addr + MIX_HUGE, MIX - MIX_HUGE, MADV_NOHUGEPAGE))
		return false;
	cdm_fill(addr, MIX, SEED);
	return !mlock(addr + MIX_LOCKED, MIX_SHARED - MIX_LOCKED) &&
	       area_place(area) && area_share(area, child);
}

FIXTURE_SETUP(exact)
{
	struct area *area = &self->area;
	const char *missing = area_init(area, variant->to_ram);

	if (missing)
		SKIP(return, "%s", missing);
	area->by_syscall = variant->by_syscall;
	ASSERT_EQ(0, cdm_reset(_metadata));
	ASSERT_EQ(0, cdm_cgroup_create(CGROUP));
	ASSERT_EQ(0, cdm_cgroup_enter(CGROUP));
	if (variant->large && access(MTHP "enabled", W_OK))
		SKIP(return, "no folios of 64 KiB");
	ASSERT_TRUE(variant->mixed ? area_mix(area, &self->child) :
		    variant->large ? area_map_large(area, SIZE) :
		    area_map(area, SIZE));
	/* What it takes to move is there then, and nothing is moved yet. */
	area_turn(area);
	ASSERT_EQ(0, area_move(area));
	area_turn(area);
	/* Nothing may wait for its list on some CPU. */
	cdm_drop_caches();
}

FIXTURE_TEARDOWN(exact)
{
	EXPECT_TRUE(!self->area.addr || !area_wrong(&self->area));
	EXPECT_TRUE(!self->child.pid || !tenant_wrong(&self->child));
	tenant_end(&self->child);
	EXPECT_EQ(0, area_end(_metadata));
}

TEST_F(exact, content_and_place)
{
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(0, area_move(&self->area));
		EXPECT_TRUE(area_moved(&self->area));
		EXPECT_EQ(0, area_wrong(&self->area));
		area_turn(&self->area);
	}
}

/* Where it is already, nothing happens. */
TEST_F(exact, in_place)
{
	struct area *area = &self->area;

	area_turn(area);
	frames(area->addr, area->size, was);
	EXPECT_EQ(0, area_move(area));
	EXPECT_TRUE(area_moved(area));
	EXPECT_EQ(0, frames_left(area->addr, area->size, was));
}

/* Pages, by node and of all nodes */
enum count {
	FROM_ANON, TO_ANON, FROM_LRU, TO_LRU, FROM_LOCKED, TO_LOCKED,
	ISOLATED, ANON, LOCKED, MIGRATED, FAILED, PLACED, EVICTED, COUNTS
};

static long lru_pages(int nid)
{
	return cdm_node_meminfo(nid, "Active(anon)") / 4 +
	       cdm_node_meminfo(nid, "Inactive(anon)") / 4 +
	       cdm_node_meminfo(nid, "Unevictable") / 4;
}

static void count(const struct area *area, long *nr)
{
	cdm_drop_caches();
	cdm_stat_refresh();
	nr[FROM_ANON] = cdm_node_meminfo(area->from, "AnonPages") / 4;
	nr[TO_ANON] = cdm_node_meminfo(area->to, "AnonPages") / 4;
	nr[FROM_LRU] = lru_pages(area->from);
	nr[TO_LRU] = lru_pages(area->to);
	nr[FROM_LOCKED] = cdm_node_meminfo(area->from, "Mlocked") / 4;
	nr[TO_LOCKED] = cdm_node_meminfo(area->to, "Mlocked") / 4;
	nr[ISOLATED] = cdm_vmstat("nr_isolated_anon");
	nr[ANON] = cdm_vmstat("nr_anon_pages");
	nr[LOCKED] = cdm_vmstat("nr_mlock");
	nr[MIGRATED] = cdm_vmstat("pgmigrate_success");
	nr[FAILED] = cdm_vmstat("pgmigrate_fail");
	nr[PLACED] = cdm_vmstat(area->by_syscall ? "cdm_placed_move" :
				"cdm_placed_driver");
	nr[EVICTED] = cdm_vmstat(area->by_syscall ? "cdm_evicted_move" :
				 "cdm_evicted_driver");
}

TEST_F(exact, counters)
{
	struct area *area = &self->area;
	long nr = area->nr, before[COUNTS], after[COUNTS];
	long locked = variant->mixed ? (MIX_SHARED - MIX_LOCKED) / PAGE : 0;
	long want[COUNTS] = {
		[FROM_ANON] = -nr, [FROM_LRU] = -nr, [FROM_LOCKED] = -locked,
		[TO_ANON] = nr, [TO_LRU] = nr, [TO_LOCKED] = locked,
		[MIGRATED] = nr,
		[PLACED] = variant->to_ram ? 0 : nr,
		[EVICTED] = variant->to_ram ? nr : 0,
	};

	count(area, before);	/* The first time needs memory of its own. */
	count(area, before);
	EXPECT_EQ(0, area_move(area));
	count(area, after);
	for (int i = 0; i < COUNTS; i++) {
		EXPECT_EQ(want[i], after[i] - before[i])
			TH_LOG("counter %d", i);
	}
	EXPECT_EQ(0, after[ISOLATED]);
}

static const char * const smaps_keys[] = {
	"Rss", "Pss", "Shared_Clean", "Shared_Dirty", "Private_Clean",
	"Private_Dirty", "Referenced", "Anonymous", "AnonHugePages", "Swap",
	"Locked",
};

struct smaps {
	long kib[ARRAY_SIZE(smaps_keys)];
};

static void smaps_add(struct smaps *smaps, const char *line)
{
	for (int i = 0; i < ARRAY_SIZE(smaps_keys); i++) {
		int len = strlen(smaps_keys[i]);

		if (!strncmp(line, smaps_keys[i], len) && line[len] == ':')
			smaps->kib[i] += atol(line + len + 1);
	}
}

/* Of all mappings that have some of the area. */
static struct smaps smaps_of(const struct area *area)
{
	unsigned long first = (uintptr_t)area->addr, start, end;
	FILE *file = fopen("/proc/self/smaps", "r");
	struct smaps smaps = {};
	bool inside = false;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start < first + area->size && end > first;
		else if (inside)
			smaps_add(&smaps, line);
	}
	if (file)
		fclose(file);
	return smaps;
}

TEST_F(exact, smaps)
{
	struct smaps before = smaps_of(&self->area), after;

	EXPECT_EQ(0, area_move(&self->area));
	after = smaps_of(&self->area);
	for (int i = 0; i < ARRAY_SIZE(smaps_keys); i++) {
		EXPECT_EQ(before.kib[i], after.kib[i])
			TH_LOG("%s", smaps_keys[i]);
	}
	EXPECT_EQ(self->area.size / 1024, after.kib[7]);
}

TEST_F(exact, resident_set)
{
	static const char * const keys[] = {
		"VmRSS", "VmHWM", "RssAnon", "VmLck", "VmSwap"
	};
	long before[ARRAY_SIZE(keys)];

	/* The first time needs memory of its own, for the moves as well. */
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, area_move(&self->area));
		area_turn(&self->area);
		for (int k = 0; k < ARRAY_SIZE(keys); k++)
			before[k] = cdm_field("/proc/self/status", keys[k]);
	}
	EXPECT_EQ(0, area_move(&self->area));
	for (int i = 0; i < ARRAY_SIZE(keys); i++) {
		EXPECT_EQ(before[i], cdm_field("/proc/self/status", keys[i]))
			TH_LOG("%s", keys[i]);
	}
}

/*
 * The statistics of a cgroup are told of changes when there are enough of them:
 * make some that leave nothing behind.
 */
static void cgroup_settle(void)
{
	char *addr = cdm_map(HPAGE);

	cdm_touch(addr, HPAGE);
	munmap(addr, HPAGE);
}

/* Bytes on node @nid that the cgroup has. */
static long cgroup_anon(int nid)
{
	char buf[4096], key[16], *at;

	cgroup_settle();
	cdm_cgroup_read(CGROUP, "memory.numa_stat", buf, sizeof(buf));
	at = strstr(buf, "anon ");
	if (!at)
		return -1;
	snprintf(key, sizeof(key), " N%d=", nid);
	at = strstr(at, key);
	return at ? atol(at + strlen(key)) : -1;
}

static long cgroup_anon_all(void)
{
	cgroup_settle();
	return cdm_cgroup_stat(CGROUP, "memory.stat", "anon");
}

static long cgroup_current(void)
{
	char buf[64] = "";

	cdm_cgroup_read(CGROUP, "memory.current", buf, sizeof(buf));
	return atol(buf);
}

/* What the cgroup has, in bytes. */
struct charge {
	long from;
	long to;
	long all;
	long current;
};

static struct charge charge(const struct area *area)
{
	struct charge charge;

	charge.from = cgroup_anon(area->from);
	charge.to = cgroup_anon(area->to);
	charge.all = cgroup_anon_all();
	charge.current = cgroup_current();
	return charge;
}

TEST_F(exact, cgroup)
{
	long size = self->area.size;
	struct charge before, after;

	charge(&self->area);	/* The first time needs memory of its own. */
	before = charge(&self->area);
	EXPECT_LE(size, before.all);
	EXPECT_EQ(0, area_move(&self->area));
	/* But for what each CPU has charged ahead, or frees in its own time. */
	EXPECT_GT(size / 4, labs(before.current - cgroup_current()));
	after = charge(&self->area);
	EXPECT_EQ(before.all, after.all);
	EXPECT_EQ(before.from - size, after.from);
	EXPECT_EQ(before.to + size, after.to);
}

/* What the cgroup had, it has no more, wherever it was. */
TEST_F(exact, cgroup_after_unmap)
{
	struct area *area = &self->area;
	long to;

	cgroup_anon(area->to);
	to = cgroup_anon(area->to);
	EXPECT_EQ(0, area_move(area));
	EXPECT_EQ(to + (long)area->size, cgroup_anon(area->to));
	tenant_end(&self->child);
	munmap(area->addr, area->size);
	area->addr = NULL;
	/* The child has brought some, and taken it along. */
	EXPECT_GE(to, cgroup_anon(area->to));
}

/* Marks of mappings */

static void write_some(const struct area *area)
{
	for (long i = 0; i < area->nr; i += 3) {
		__u64 *word = (__u64 *)(area->addr + i * PAGE);

		__atomic_fetch_add(word, 0, __ATOMIC_RELAXED);
	}
}

/* The CPU looks at the page tables again, and notes there what it touches. */
static bool forget_translations(const struct area *area)
{
	return !mprotect(area->addr, area->size, PROT_READ) &&
	       !mprotect(area->addr, area->size, PROT_READ | PROT_WRITE);
}

TEST_F(exact, soft_dirty)
{
	struct area *area = &self->area;

	ASSERT_EQ(0, cdm_write("/proc/self/clear_refs", "4"));
	write_some(area);
	frames(area->addr, area->size, was);
	EXPECT_LE((area->nr + 2) / 3,
		  bits_set(was, area->nr, FRAME_SOFT_DIRTY));
	EXPECT_GT(area->nr, bits_set(was, area->nr, FRAME_SOFT_DIRTY));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, area_move(area));
		frames(area->addr, area->size, is);
		EXPECT_EQ(0, bits_differ(area->nr, FRAME_SOFT_DIRTY));
		area_turn(area);
	}
}

TEST_F(exact, exclusive)
{
	struct area *area = &self->area;

	frames(area->addr, area->size, was);
	EXPECT_EQ(0, area_move(area));
	frames(area->addr, area->size, is);
	EXPECT_EQ(0, bits_differ(area->nr, FRAME_EXCLUSIVE));
	EXPECT_EQ(0, bits_differ(area->nr, FRAME_PRESENT));
}

TEST_F(exact, referenced)
{
	struct smaps before, after;

	ASSERT_EQ(0, cdm_write("/proc/self/clear_refs", "1"));
	ASSERT_TRUE(forget_translations(&self->area));
	write_some(&self->area);
	before = smaps_of(&self->area);
	EXPECT_EQ(0, area_move(&self->area));
	after = smaps_of(&self->area);
	EXPECT_LT(0, before.kib[6]);
	EXPECT_GT((long)self->area.size / 1024, before.kib[6]);
	EXPECT_EQ(before.kib[6], after.kib[6]);
}

/* One way, with simple pages only */

FIXTURE(way) {
	struct area area;
	int fd;
};

FIXTURE_VARIANT(way) {
	bool to_ram;
};

FIXTURE_VARIANT_ADD(way, to_device) {};
FIXTURE_VARIANT_ADD(way, to_ram) { .to_ram = true };

FIXTURE_SETUP(way)
{
	const char *missing = area_init(&self->area, variant->to_ram);

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_reset(_metadata));
	ASSERT_TRUE(area_map(&self->area, SIZE));
	self->fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	cdm_drop_caches();
}

FIXTURE_TEARDOWN(way)
{
	close(self->fd);
	EXPECT_EQ(0, area_end(_metadata));
}

/* Idle marks of the frames, one bit each; eight bytes at a time */

static int idle_fd;

static bool idle_mark(__u64 frame)
{
	__u64 bits = 1ULL << frame % 64;

	return pwrite(idle_fd, &bits, 8, frame / 64 * 8) == 8;
}

static bool idle_marked(__u64 frame)
{
	__u64 bits = 0;

	return pread(idle_fd, &bits, 8, frame / 64 * 8) == 8 &&
	       bits >> frame % 64 & 1;
}

static long idle_pages(const struct area *area)
{
	long nr = 0;

	frames(area->addr, area->size, is);
	for (long i = 0; i < area->nr; i++)
		nr += idle_marked(is[i] & FRAME_MASK);
	return nr;
}

TEST_F(way, idle)
{
	struct area *area = &self->area;

	idle_fd = open(IDLE, O_RDWR);
	if (idle_fd < 0)
		SKIP(return, "no tracking of idle pages");
	if (variant->to_ram)
		SKIP(return, "no such case: device memory is not tracked");
	frames(area->addr, area->size, was);
	for (long i = 0; i < area->nr; i++)
		ASSERT_TRUE(idle_mark(was[i] & FRAME_MASK));
	EXPECT_EQ(area->nr, idle_pages(area));
	ASSERT_TRUE(forget_translations(area));
	write_some(area);
	/* The marks are seen where the pages are tracked: back in RAM. */
	EXPECT_EQ(0, area_move(area));
	area_turn(area);
	EXPECT_EQ(0, area_move(area));
	EXPECT_EQ(area->nr - (area->nr + 2) / 3, idle_pages(area));
	close(idle_fd);
}

/* What is written after the move, or before, is what swap has. */
TEST_F(way, dirty_reaches_swap)
{
	struct area *area = &self->area;

	ASSERT_EQ(0, cdm_swap_on(64));
	EXPECT_EQ(0, area_move(area));
	ASSERT_EQ(0, cdm_pageout(area->addr, area->size));
	EXPECT_EQ(0, area_wrong(area));
	area_turn(area);
	EXPECT_TRUE(cdm_migrate(area->addr, area->size, area->to, NULL) >= 0);
	EXPECT_TRUE(cdm_migrate(area->addr, area->size, area->from, NULL) >= 0);
	cdm_fill(area->addr, area->size / 2, SEED + 1);
	ASSERT_EQ(0, cdm_pageout(area->addr, area->size));
	EXPECT_EQ(0, cdm_wrong(area->addr, area->size / 2, SEED + 1));
	cdm_fill(area->addr, area->size / 2, SEED);
	EXPECT_EQ(0, area_wrong(area));
}

static int verify_fn(struct cdm_child *me, void *arg)
{
	cdm_say(me, 0);
	while (!cdm_hear(me))
		cdm_say(me, area_wrong(arg));
	return 0;
}

/*
 * Clean, and in swap as well: all of that, and every second one only. What is read
 * from swap is in the swap cache, since a child has the same entries.
 */
TEST_F(way, swap_cache)
{
	struct area *area = &self->area;
	struct cdm_child child;

	ASSERT_EQ(0, cdm_swap_on(64));
	/* From a device nothing goes to swap. */
	ASSERT_EQ(0, cdm_migrate(area->addr, area->size, CDM_TEST_NID_RAM, NULL));
	ASSERT_EQ(0, cdm_pageout(area->addr, area->size));
	ASSERT_EQ(0, cdm_start(&child, verify_fn, area));
	ASSERT_EQ(0, cdm_hear(&child));
	for (long i = 0; i < area->nr; i += 2)
		cdm_fault_in(area->addr + i * PAGE, PAGE);
	cdm_move(area->addr, area->size, area->from);
	cdm_stat_refresh();
	EXPECT_LE(area->nr / 2, cdm_vmstat("nr_swapcached"));
	area_move(area);
	EXPECT_EQ(0, statuses(area->nr, -EBUSY) + statuses(area->nr, -ENOMEM));
	EXPECT_EQ(0, area_wrong(area));
	ASSERT_EQ(0, cdm_pageout(area->addr, area->size));
	EXPECT_EQ(0, area_wrong(area));
	EXPECT_EQ(0, area_move(area));
	EXPECT_TRUE(area_moved(area));
	EXPECT_EQ(0, tenant_wrong(&child));
	tenant_end(&child);
	munmap(area->addr, area->size);
	EXPECT_GE(MIB / 1024,
		  cdm_meminfo("SwapTotal") - cdm_meminfo("SwapFree"));
}

/* userfaultfd */

static int uffd_protect(int fd, char *addr, size_t size, bool on)
{
	struct uffdio_writeprotect arg = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &arg) ? -errno : 0;
}

static int uffd_open(__u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	return fd < 0 || ioctl(fd, UFFDIO_API, &api) ? -errno : fd;
}

static int uffd_register(int fd, char *addr, size_t size, __u64 mode)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;
}

static bool uffd_protect_some(int fd, const struct area *area)
{
	for (long i = 0; i < area->nr; i += 3)
		if (uffd_protect(fd, area->addr + i * PAGE, PAGE, true))
			return false;
	return true;
}

static void *write_fn(void *arg)
{
	__atomic_fetch_add((char *)arg, 1, __ATOMIC_RELAXED);
	return NULL;
}

/* Who writes at @addr waits until it is told of, and let through. */
static bool uffd_catches(int fd, char *addr)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg = {};
	pthread_t thread;
	bool caught;

	if (pthread_create(&thread, NULL, write_fn, addr))
		return false;
	caught = poll(&pfd, 1, CDM_ACK_MS) == 1 &&
		 read(fd, &msg, sizeof(msg)) == sizeof(msg) &&
		 msg.event == UFFD_EVENT_PAGEFAULT &&
		 msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP &&
		 msg.arg.pagefault.address == (uintptr_t)addr;
	uffd_protect(fd, addr, PAGE, false);
	pthread_join(thread, NULL);
	return caught;
}

TEST_F(way, uffd_wp)
{
	struct area *area = &self->area;
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);

	if (fd < 0)
		SKIP(return, "no userfaultfd: %s", strerror(-fd));
	ASSERT_EQ(0, uffd_register(fd, area->addr, area->size,
				   UFFDIO_REGISTER_MODE_WP));
	ASSERT_TRUE(uffd_protect_some(fd, area));
	frames(area->addr, area->size, was);
	ASSERT_EQ((area->nr + 2) / 3, bits_set(was, area->nr, FRAME_UFFD_WP));
	EXPECT_EQ(0, area_move(area));
	EXPECT_TRUE(area_moved(area));
	frames(area->addr, area->size, is);
	EXPECT_EQ(0, bits_differ(area->nr, FRAME_UFFD_WP));
	EXPECT_EQ(0, area_wrong(area));
	for (long i = 0; i < area->nr; i++) {
		char *addr = area->addr + i * PAGE;

		/* Who is not to be caught would wait for good. */
		if (i % 3)
			++*addr;
		EXPECT_TRUE(i % 48 || uffd_catches(fd, addr));
	}
	close(fd);
}

/* Locked memory */

static long locked_pages(int nid)
{
	cdm_drop_caches();
	cdm_stat_refresh();
	return cdm_node_meminfo(nid, "Mlocked") / 4;
}

static void expect_locked(struct __test_metadata *_metadata,
			  const struct area *area, long nr)
{
	long from = locked_pages(area->from), to = locked_pages(area->to);

	EXPECT_EQ(nr, from);
	EXPECT_EQ(0, area_move(area));
	EXPECT_EQ(from - nr, locked_pages(area->from));
	EXPECT_EQ(to + nr, locked_pages(area->to));
	EXPECT_EQ(nr * 4, cdm_node_meminfo(area->to, "Unevictable"));
	EXPECT_EQ(0, area_wrong(area));
}

TEST_F(way, locked)
{
	struct area *area = &self->area;

	if (locked_pages(area->from))
		SKIP(return, "others have locked memory");
	ASSERT_EQ(0, mlock(area->addr, area->size));
	expect_locked(_metadata, area, area->nr);
	area_turn(area);
	ASSERT_EQ(0, munlock(area->addr, area->size / 2));
	expect_locked(_metadata, area, area->nr / 2);
	area_turn(area);
	ASSERT_EQ(0, munlock(area->addr, area->size));
	expect_locked(_metadata, area, 0);
	EXPECT_TRUE(area_moved(area));
}

/* What is not there yet is locked when it comes. */
TEST_F(way, locked_on_fault)
{
	struct area *area = &self->area;
	long half = area->size / 2;

	if (locked_pages(area->from) || cdm_vmstat("nr_mlock"))
		SKIP(return, "others have locked memory");
	ASSERT_EQ(0, madvise(area->addr, half, MADV_DONTNEED));
	ASSERT_EQ(0, mlock2(area->addr, area->size, MLOCK_ONFAULT));
	EXPECT_EQ(0, area_move(area));
	EXPECT_EQ(area->nr / 2, statuses(area->nr / 2, -ENOENT));
	EXPECT_EQ(area->nr / 2, statuses(area->nr, area->to));
	EXPECT_EQ(area->nr / 2, locked_pages(area->to));
	cdm_touch(area->addr, half);
	locked_pages(area->from);
	EXPECT_EQ(area->nr, cdm_vmstat("nr_mlock"));
	EXPECT_EQ(0, area_move(area));
	EXPECT_EQ(area->nr, locked_pages(area->to));
	munmap(area->addr, area->size);
	EXPECT_EQ(0, locked_pages(area->to));
}

/* Rights, tried by a system call: it fails where an access would be fatal. */

static bool can_read(const char *addr)
{
	int pipes[2];
	bool can;

	if (pipe(pipes))
		return false;
	can = write(pipes[1], addr, 1) == 1;
	close(pipes[0]);
	close(pipes[1]);
	return can;
}

/* Leaves the byte as it was. */
static bool can_write(char *addr)
{
	char byte = *addr;
	int pipes[2];
	bool can;

	if (pipe(pipes) || write(pipes[1], &byte, 1) != 1)
		return false;
	can = read(pipes[0], addr, 1) == 1;
	close(pipes[0]);
	close(pipes[1]);
	return can;
}

/* A third each without rights, to read, to write; in several mappings. */
TEST_F(way, rights)
{
	struct area *area = &self->area;
	long third = area->nr / 3 * PAGE;
	char *none = area->addr, *read = none + third, *write = read + third;

	ASSERT_EQ(0, mprotect(none, third, PROT_NONE));
	ASSERT_EQ(0, mprotect(read, third, PROT_READ));
	EXPECT_EQ(0, area_move(area));
	EXPECT_TRUE(area_moved(area));
	for (long off = 0; off < third; off += 16 * PAGE) {
		EXPECT_FALSE(can_read(none + off));
		EXPECT_TRUE(can_read(read + off));
		EXPECT_FALSE(can_write(read + off));
		EXPECT_TRUE(can_write(write + off));
	}
	ASSERT_EQ(0, mprotect(none, 2 * third, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, area_wrong(area));
	/* They were nobody else's all the time: there is nothing to copy. */
	for (long i = 0; i < area->nr; i += 16)
		EXPECT_TRUE(write_stays(area->addr + i * PAGE, 1));
}

/* Nobody else's before: no copy afterwards, though each write faults. */
TEST_F(way, exclusive_is_not_copied)
{
	struct area *area = &self->area;

	ASSERT_EQ(0, cdm_write("/proc/self/clear_refs", "4"));
	EXPECT_EQ(0, area_move(area));
	for (long i = 0; i < area->nr; i++)
		EXPECT_TRUE(write_stays(area->addr + i * PAGE, 1));
}

/* Shared with a child: who writes has a copy, and the other what was there. */
TEST_F(way, shared_is_copied)
{
	struct area *area = &self->area;
	struct cdm_child child;
	long i, half = area->nr / 2;

	ASSERT_EQ(0, cdm_start(&child, verify_fn, area));
	ASSERT_EQ(0, cdm_hear(&child));
	cdm_fill(area->addr, area->size / 4, SEED);	/* no longer shared */
	EXPECT_EQ(0, area_move(area));
	EXPECT_EQ(0, area_wrong(area));
	EXPECT_EQ(0, tenant_wrong(&child));
	for (i = 0; i < half / 2; i++)
		EXPECT_TRUE(write_stays(area->addr + i * PAGE, 1));
	for (; i < half; i++)
		EXPECT_FALSE(write_stays(area->addr + i * PAGE, 1));
	EXPECT_EQ(0, tenant_wrong(&child));
	tenant_end(&child);
	/* The other half is the parent's alone now. */
	EXPECT_EQ(0, area_move(area));
	/* A folio in the batch of another CPU is copied, since that holds it. */
	cdm_write("/proc/sys/vm/compact_memory", "1");
	for (; i < area->nr; i++)
		EXPECT_TRUE(write_stays(area->addr + i * PAGE, 1));
	EXPECT_TRUE(area_moved(area));
}

/* Some of a file, and some of their own. */
TEST_F(way, private_file)
{
	struct area *area = &self->area;
	int fd = cdm_open_big(SIZE);
	__u64 hash;

	area->addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
			  0);
	close(fd);
	ASSERT_NE(MAP_FAILED, area->addr);
	cdm_fault_in(area->addr, SIZE);
	for (long i = 0; i < area->nr; i += 2)
		cdm_fill(area->addr + i * PAGE, PAGE, SEED + i);
	hash = cdm_hash(area->addr, SIZE);
	cdm_move(area->addr, area->size, area->from);
	ASSERT_EQ(0, area_move(area));
	EXPECT_EQ(area->nr, statuses(area->nr, area->to) +
		  statuses(area->nr, -EACCES));
	EXPECT_EQ(hash, cdm_hash(area->addr, SIZE));
	for (long i = 0; i < area->nr; i += 2) {
		char *addr = area->addr + i * PAGE;

		ASSERT_EQ(area->to, status[i]);
		ASSERT_EQ(1, cdm_pages_on(addr, PAGE, area->to));
		ASSERT_EQ(0, cdm_wrong(addr, PAGE, SEED + i));
	}
}

/* Written, read only, absent, in turn; and nothing mapped in the middle. */
TEST_F(way, holes)
{
	struct area *area = &self->area;
	long hole = area->nr / 2;

	ASSERT_EQ(0, madvise(area->addr, area->size, MADV_DONTNEED));
	for (long i = 0; i < area->nr; i += 3) {
		cdm_fill(area->addr + i * PAGE, PAGE, SEED + i);
		cdm_fault_in(area->addr + (i + 1) * PAGE, PAGE);
	}
	ASSERT_EQ(0, munmap(area->addr + hole * PAGE, 10 * PAGE));
	cdm_move(area->addr, area->size, area->from);
	frames(area->addr, area->size, was);
	EXPECT_EQ(0, area_move(area));
	frames(area->addr, area->size, is);
	EXPECT_EQ(0, bits_differ(area->nr, FRAME_PRESENT));
	for (long i = 0; i < area->nr; i++) {
		bool mapped = i < hole || i >= hole + 10;

		if (mapped && i % 3 == 0) {
			ASSERT_EQ(area->to, status[i]);
			ASSERT_EQ(0, cdm_wrong(area->addr + i * PAGE, PAGE,
					       SEED + i));
		} else {
			ASSERT_EQ(mapped && i % 3 == 2 ? -ENOENT : -EFAULT,
				  status[i]);
			ASSERT_EQ(was[i], is[i]);
		}
	}
}

struct large {
	long anon;		/* folios of 64 KiB that there are, */
	long split;		/* were split, */
	long deferred;		/* or are to be */
};

static void read_large(struct large *large)
{
	large->anon = cdm_read_long(MTHP "stats/nr_anon");
	large->split = cdm_read_long(MTHP "stats/split");
	large->deferred = cdm_read_long(MTHP "stats/split_deferred");
}

/* Half of it in folios of 64 KiB, which move as such, as often as you like. */
TEST_F(way, large_folios)
{
	struct area *area = &self->area;
	size_t half = area->size / 2;
	struct large large, now;
	long nr;

	if (cdm_write(MTHP "enabled", "madvise"))
		SKIP(return, "no folios of 64 KiB");
	ASSERT_EQ(0, madvise(area->addr, half, MADV_DONTNEED));
	ASSERT_TRUE(area_enlarge(area, half));
	nr = large_pages(area);
	read_large(&large);
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(0, area_move(area));
		EXPECT_TRUE(area_moved(area));
		EXPECT_EQ(nr, large_pages(area));
		EXPECT_EQ(0, area_wrong(area));
		area_turn(area);
	}
	read_large(&now);
	EXPECT_EQ(large.split, now.split);
	EXPECT_EQ(large.deferred, now.deferred);
	EXPECT_EQ(large.anon, now.anon);
}

/* A huge page of which half is unmapped, and one that is mapped by pages. */
TEST_F(way, parts_of_huge_pages)
{
	struct area *area = &self->area;
	char *addr = cdm_map_huge(2 * HPAGE);

	ASSERT_NE(NULL, addr);
	area->addr = addr;
	area->size = 2 * HPAGE;
	area->nr = 2 * HPAGE / PAGE;
	cdm_fill(addr, area->size, SEED);
	ASSERT_TRUE(area_place(area));
	ASSERT_EQ(0, mprotect(addr + MIB, PAGE, PROT_READ));
	ASSERT_EQ(0, munmap(addr + HPAGE + MIB, MIB));
	EXPECT_EQ(0, area_move(area));
	area->size -= MIB;
	area->nr -= MIB / PAGE;
	EXPECT_TRUE(area_moved(area));
	EXPECT_EQ(MIB / PAGE, statuses(2 * HPAGE / PAGE, -EFAULT));
	EXPECT_EQ(0, area_wrong(area));
	EXPECT_FALSE(can_write(addr + MIB));
	EXPECT_TRUE(can_write(addr + MIB + PAGE));
}

/* Huge pages of a pool move if the driver says so, to those of the other side. */
TEST_F(way, hugetlb)
{
	struct area *area = &self->area;
	size_t size = 2 * HPAGE;
	char *addr;

	ASSERT_EQ(0, cdm_node_hugepages(area->from, 2));
	ASSERT_EQ(0, cdm_node_hugepages(area->to, 2));
	ASSERT_EQ(2, cdm_node_hugepages_nr(area->from));
	ASSERT_EQ(2, cdm_node_hugepages_nr(area->to));
	addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_BIND, 1UL << area->from, 0));
	cdm_fill(addr, size, SEED);
	ASSERT_EQ(size / PAGE, cdm_pages_on(addr, size, area->from));
	EXPECT_EQ(0, cdm_migrate(addr, size, area->to, status));
	EXPECT_EQ(size / PAGE, cdm_pages_on(addr, size, area->to));
	EXPECT_EQ(size / PAGE, statuses(size / PAGE, area->to));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	munmap(addr, size);
	EXPECT_EQ(0, cdm_node_hugepages(area->from, 0));
	EXPECT_EQ(0, cdm_node_hugepages(area->to, 0));
}

/* Half of it merged with one another, on whichever side they are then. */
static bool merge(const struct area *area)
{
	size_t half = area->size / 2;

	for (size_t off = 0; off < half; off += PAGE)
		cdm_fill(area->addr + off, PAGE, SEED);
	if (madvise(area->addr, half, MADV_MERGEABLE) ||
	    cdm_write(KSM "pages_to_scan", "20000") ||
	    cdm_write(KSM "sleep_millisecs", "10") ||
	    cdm_write(KSM "run", "1"))
		return false;
	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (cdm_read_long(KSM "pages_sharing") > 100)
			break;
		usleep(10000);
	}
	return !cdm_write(KSM "run", "0") &&
	       cdm_read_long(KSM "pages_sharing") > 100;
}

static long merged_wrong(const struct area *area)
{
	long wrong = 0;

	for (size_t off = 0; off < area->size / 2; off += PAGE)
		wrong += cdm_wrong(area->addr + off, PAGE, SEED);
	return wrong;
}

TEST_F(way, merged)
{
	struct area *area = &self->area;

	/* Memory of devices is not merged. */
	cdm_move(area->addr, area->size, area->ram);
	ASSERT_TRUE(merge(area));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, area_move(area));
		EXPECT_TRUE(area_moved(area));
		EXPECT_EQ(0, merged_wrong(area));
		area_turn(area);
	}
	EXPECT_FALSE(write_stays(area->addr, 1));
	*(__u64 *)area->addr = cdm_word(SEED, 0);
	EXPECT_EQ(0, merged_wrong(area));
}

/* Who has pinned a page goes on to see what the process writes there. */
TEST_F(way, pinned)
{
	struct area *area = &self->area;
	long at = area->nr / 2, errors;
	char *addr = area->addr + at * PAGE;
	__u64 pin = (uintptr_t)addr, frame = frame_of(addr);

	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_PIN, &pin));
	errors = cdm_migrate(area->addr, area->size, area->to, status);
	EXPECT_EQ(0, errors);
	EXPECT_EQ(-EBUSY, status[at]);
	EXPECT_EQ(area->nr - 1, statuses(area->nr, area->to));
	EXPECT_EQ(area->nr - 1, cdm_pages_on(area->addr, area->size, area->to));
	EXPECT_EQ(frame, frame_of(addr));
	EXPECT_TRUE(write_stays(addr, *addr));
	ASSERT_EQ(0, mprotect(addr, PAGE, PROT_READ));
	ASSERT_EQ(0, mprotect(addr, PAGE, PROT_READ | PROT_WRITE));
	EXPECT_TRUE(write_stays(addr, *addr));
	EXPECT_EQ(frame, frame_of(addr));
	EXPECT_EQ(0, area_wrong(area));
	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_UNPIN, &pin));
	EXPECT_EQ(0, area_move(area));
	EXPECT_TRUE(area_moved(area));
	EXPECT_EQ(0, area_wrong(area));
}

/* A large folio that moves as a whole does not make up for one that does not. */
TEST_F(way, pinned_beside_large)
{
	struct area *area = &self->area;
	struct cdm_test_migrate ask = { .size = 2 * PAGE, .nid = area->to };
	struct area large = *area;
	__u64 pin;

	if (access(MTHP "enabled", W_OK))
		SKIP(return, "no folios of 64 KiB");
	ASSERT_TRUE(area_map_large(&large, SIZE));
	pin = ((uintptr_t)large.addr + MIB) & ~(64 * 1024UL - 1);
	ask.addr = pin - PAGE;
	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_PIN, &pin));
	EXPECT_EQ(1, ioctl(self->fd, CDM_TEST_IOC_MIGRATE, &ask));
	EXPECT_EQ(1, cdm_pages_on((char *)pin, PAGE, area->from));
	EXPECT_EQ(1, cdm_pages_on((char *)pin - PAGE, PAGE, area->to));
	EXPECT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_UNPIN, &pin));
	EXPECT_EQ(0, area_wrong(&large));
}

/* Neither the pages before nor those behind; across two mappings. */
TEST_F(way, part_of_it)
{
	struct area *area = &self->area;
	struct area part = *area;

	ASSERT_EQ(0, mprotect(area->addr + MIB, MIB, PROT_READ));
	part.addr += 3 * PAGE;
	part.nr -= 3 + 7;
	part.size = part.nr * PAGE;
	EXPECT_EQ(0, area_move(&part));
	EXPECT_TRUE(area_moved(&part));
	EXPECT_EQ(0x55555555, status[part.nr]);
	EXPECT_EQ(3, cdm_pages_on(area->addr, 3 * PAGE, area->from));
	EXPECT_EQ(7, cdm_pages_on(part.addr + part.size, 7 * PAGE, area->from));
	EXPECT_EQ(0, area_wrong(area));
	/* One page alone, at the end of a page table, and the next one. */
	area_turn(&part);
	part.addr = (char *)((uintptr_t)(area->addr + HPAGE) & ~(HPAGE - 1)) -
		    PAGE;
	for (part.nr = 1, part.size = PAGE; part.nr <= 2; part.nr++) {
		EXPECT_EQ(0, area_move(&part));
		EXPECT_TRUE(area_moved(&part));
		part.size += PAGE;
	}
	EXPECT_EQ(0, area_wrong(area));
}

/*
 * move_pages() ends at the page whose node is not there, or not allowed: those
 * before it have moved, those behind it have not.
 */
TEST_F(way, move_pages_ends)
{
	static const struct { int node, err; } bad[] = {
		{ -1, -ENODEV }, { 1 << 20, -ENODEV }, { 63, -ENODEV },
	};
	struct area *area = &self->area;
	long half = area->nr / 2;
	static int nodes[MAX_PAGES];

	for (int k = 0; k < ARRAY_SIZE(bad); k++) {
		for (long i = 0; i < area->nr; i++)
			nodes[i] = area->to;
		nodes[half] = bad[k].node;
		EXPECT_EQ(bad[k].err, area_move_pages(area, nodes));
		EXPECT_EQ(half, cdm_pages_on(area->addr, area->size, area->to));
		EXPECT_EQ(half, cdm_pages_on(area->addr, half * PAGE, area->to));
		EXPECT_EQ(half, statuses(half, area->to));
		ASSERT_TRUE(area_place(area));
	}
	EXPECT_EQ(0, area_wrong(area));
}

/*
 * What cannot move does not keep others from moving, simple or not; the result is
 * how many did not.
 */
TEST_F(way, move_pages_past_a_pin)
{
	struct area *area = &self->area;
	__u64 pin = (uintptr_t)area->addr;
	static int nodes[MAX_PAGES];
	long locked = area->nr / 2;

	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_PIN, &pin));
	ASSERT_EQ(0, mlock(area->addr + locked * PAGE, locked * PAGE));
	for (long i = 0; i < area->nr; i++) {
		address[i] = area->addr + i * PAGE;
		nodes[i] = area->to;
	}
	EXPECT_EQ(1, move_pages(0, area->nr, address, nodes, status,
				MPOL_MF_MOVE));
	EXPECT_EQ(area->nr - 1,
		  cdm_pages_on(area->addr, area->size, area->to));
	EXPECT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_UNPIN));
	EXPECT_EQ(0, area_wrong(area));
}

/* Neither does it go beyond addresses that it cannot read. */
TEST_F(way, move_pages_unreadable)
{
	struct area *area = &self->area;
	long nr = 64;
	char *list = cdm_map(2 * PAGE);
	void **page = (void **)(list + PAGE - nr / 2 * sizeof(*page));
	static int nodes[MAX_PAGES];

	for (long i = 0; i < nr; i++) {
		page[i] = area->addr + i * PAGE;
		nodes[i] = area->to;
	}
	ASSERT_EQ(0, mprotect(list + PAGE, PAGE, PROT_NONE));
	EXPECT_EQ(-1, move_pages(0, nr, page, nodes, status, MPOL_MF_MOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(nr / 2, cdm_pages_on(area->addr, area->size, area->to));
	EXPECT_EQ(0, area_wrong(area));
}

/* Any order, any alignment, several times, and addresses where nothing is. */
TEST_F(way, move_pages_of_a_list)
{
	struct area *area = &self->area;
	static int nodes[MAX_PAGES];
	long nr = area->nr;

	for (long i = 0; i < nr; i++) {
		address[i] = area->addr + (nr - 1 - i) * PAGE + i % PAGE;
		nodes[i] = i % 3 ? area->to : area->from;
	}
	address[7] = address[nr - 1];
	address[nr / 2] = (void *)~0UL;
	address[nr / 2 + 1] = NULL;
	EXPECT_EQ(0, move_pages(0, nr, address, nodes, status, MPOL_MF_MOVE));
	EXPECT_EQ(-EFAULT, status[nr / 2]);
	EXPECT_EQ(-EFAULT, status[nr / 2 + 1]);
	for (long i = 0; i < nr; i++) {
		if (i != 7 && i != nr - 1 && i != nr / 2 && i != nr / 2 + 1)
			ASSERT_EQ(nodes[i], status[i]);
	}
	EXPECT_EQ(0, area_wrong(area));
}

/* All that a process has there; large folios do not survive the general way. */
TEST_F(way, migrate_pages)
{
	struct area *area = &self->area;
	struct area large = *area;
	unsigned long from, to;
	long nr;

	if (access(MTHP "enabled", W_OK))
		SKIP(return, "no folios of 64 KiB");
	ASSERT_TRUE(area_map_large(&large, SIZE));
	nr = large_pages(&large);
	for (int i = 0; i < 4; i++) {
		from = 1UL << area->from;
		to = 1UL << area->to;
		EXPECT_EQ(0, migrate_pages(0, 64, &from, &to));
		EXPECT_EQ(area->nr, cdm_pages_on(area->addr, SIZE, area->to));
		EXPECT_EQ(area->nr, cdm_pages_on(large.addr, SIZE, area->to));
		EXPECT_EQ(nr, large_pages(&large));
		EXPECT_EQ(0, area_wrong(area));
		EXPECT_EQ(0, area_wrong(&large));
		area_turn(area);
	}
}

/* The failure is told to us, too; nobody touches that page. */
static void ignore_bus(int sig)
{
}

/* A page that has failed is no page any more; those around it move. */
TEST_F(way, poisoned)
{
	struct area *area = &self->area;
	long bad = area->nr / 2;

	if (!variant->to_ram)
		SKIP(return, "no such case: RAM that has failed stays out of use");
	signal(SIGBUS, ignore_bus);
	ASSERT_EQ(0, madvise(area->addr + bad * PAGE, PAGE, MADV_HWPOISON));
	EXPECT_EQ(0, area_move(area));
	EXPECT_EQ(area->nr - 1, statuses(area->nr, area->to));
	EXPECT_EQ(-ENOENT, status[bad]);
	EXPECT_EQ(0, cdm_wrong(area->addr, bad * PAGE, SEED));
	munmap(area->addr + bad * PAGE, PAGE);
	/* It is forgotten with the node. */
	EXPECT_EQ(0, cdm_unregister(area->dev, CDM_TIMEOUT * 1000, NULL));
	EXPECT_EQ(0, cdm_register_all());
}

/* A node that is full */

/* Each page is where its status says; what does not fit has not moved. */
static void expect_full(struct __test_metadata *_metadata,
			const struct area *area)
{
	long there = cdm_pages_on(area->addr, area->size, area->to);
	struct area one = *area;
	long lies = 0;

	EXPECT_LT(0, there);
	EXPECT_GT(area->nr, there);
	EXPECT_EQ(there, statuses(area->nr, area->to));
	EXPECT_EQ(area->nr - there, statuses(area->nr, -ENOMEM));
	EXPECT_EQ(area->nr - there,
		  cdm_pages_on(area->addr, area->size, area->from));
	for (long i = 0; i < area->nr; i += 61) {
		one.addr = area->addr + i * PAGE;
		lies += cdm_pages_on(one.addr, PAGE, area->to) !=
			(status[i] == area->to);
	}
	EXPECT_EQ(0, lies);
	EXPECT_EQ(0, area_wrong(area));
}

/* From one device to another, without RAM in between */

FIXTURE(devices) {
	struct area area;
	long evicted;
};

FIXTURE_SETUP(devices)
{
	const char *missing = area_init(&self->area, false);

	if (missing)
		SKIP(return, "%s", missing);
	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	ASSERT_EQ(0, cdm_reset(_metadata));
	self->area.from = cdm_dev(0);
	self->area.to = cdm_dev(1);
	self->evicted = cdm_vmstat("cdm_evicted_driver");
}

FIXTURE_TEARDOWN(devices)
{
	EXPECT_EQ(self->evicted, cdm_vmstat("cdm_evicted_driver"));
	EXPECT_EQ(0, area_end(_metadata));
}

static void across(struct __test_metadata *_metadata, struct area *area)
{
	long nr = large_pages(area);

	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(0, area_move(area));
		EXPECT_TRUE(area_moved(area));
		EXPECT_EQ(nr, large_pages(area));
		EXPECT_EQ(0, area_wrong(area));
		area_turn(area);
	}
}

TEST_F(devices, small)
{
	ASSERT_TRUE(area_map(&self->area, SIZE));
	across(_metadata, &self->area);
}

TEST_F(devices, large)
{
	if (access(MTHP "enabled", W_OK))
		SKIP(return, "no folios of 64 KiB");
	ASSERT_TRUE(area_map_large(&self->area, SIZE));
	across(_metadata, &self->area);
}

TEST_F(devices, huge)
{
	struct area *area = &self->area;

	area->addr = cdm_map_huge(2 * HPAGE);
	area->size = 2 * HPAGE;
	area->nr = area->size / PAGE;
	ASSERT_NE(NULL, area->addr);
	cdm_fill(area->addr, area->size, SEED);
	ASSERT_TRUE(area_place(area));
	EXPECT_EQ(area->nr, large_pages(area));
	across(_metadata, area);
}

FIXTURE(full) {
	struct area area;
};

FIXTURE_SETUP(full)
{
	const char *missing = area_init(&self->area, false);

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_reset(_metadata));
}

FIXTURE_TEARDOWN(full)
{
	EXPECT_EQ(0, area_end(_metadata));
}

#define LARGE	(MAX_PAGES * PAGE)

/* Take memory of a node until @kib are left of it, but for a large part. */
static char *leave_kib(int nid, long kib)
{
	size_t size = 64 * MIB;
	char *addr = cdm_map(size);
	long left;

	if (cdm_leave_node(nid, 16))
		return NULL;
	cdm_touch(addr, size);
	left = cdm_node_meminfo(nid, "MemFree") - kib;
	if (left > 0 && left < (long)size / 1024)
		cdm_move(addr, (left / 4) * PAGE, nid);
	return addr;
}

TEST_F_TIMEOUT(full, device, CDM_TIMEOUT)
{
	struct area *area = &self->area;

	ASSERT_TRUE(area_map(area, LARGE));
	ASSERT_NE(NULL, leave_kib(area->dev, LARGE / 2 / 1024));
	area_move(area);
	expect_full(_metadata, area);
	EXPECT_EQ(0, isolated());
	/* There is room again. */
	EXPECT_EQ(0, cdm_node_hugepages(area->dev, 0));
	EXPECT_EQ(0, area_move(area));
	EXPECT_TRUE(area_moved(area));
}

/* A node that is asked for is taken, and no other. */
TEST_F_TIMEOUT(full, node_of_ram, CDM_TIMEOUT)
{
	struct area *area = &self->area;
	bool full = false;

	if (cdm_rams().nr < 2)
		SKIP(return, "one node with RAM");
	area_turn(area);
	ASSERT_TRUE(area_map(area, LARGE));
	cdm_drop_caches();
	ASSERT_EQ(0, cdm_leave_node(area->ram, 4));
	for (int i = 0; i < 64 && !full; i++) {
		area_move(area);
		EXPECT_EQ(cdm_pages_on(area->addr, area->size, area->to),
			  statuses(area->nr, area->to));
		EXPECT_EQ(0, cdm_pages_on(area->addr, area->size, cdm_ram(1)));
		EXPECT_EQ(0, area_wrong(area));
		full = statuses(area->nr, area->to) < area->nr;
		ASSERT_TRUE(full || area_map(area, LARGE));
	}
	EXPECT_TRUE(full);
}

/* Races: others work on the memory while it goes there and back */

FIXTURE(race) {
	struct area area;
};

struct racer {
	pthread_t thread;
	const struct area *area;
	int slot;
	long rounds;
	long wrong;
};

static bool race_over;

static bool racing(struct racer *racer)
{
	racer->rounds++;
	return !__atomic_load_n(&race_over, __ATOMIC_ACQUIRE);
}

/* Two halves: one that is only written to, and one to do worse to. */
static char *race_half(const struct area *area)
{
	return area->addr + area->size / 2;
}

/* The first words of each page are the writers', the others do not change. */
static bool race_page_wrong(const struct area *area, long page)
{
	const __u64 *word = (const __u64 *)area->addr;

	for (long i = page * 512 + 8; i < (page + 1) * 512; i += 63)
		if (word[i] != cdm_word(SEED, i))
			return true;
	return false;
}

static long race_wrong(const struct area *area)
{
	long wrong = 0;

	for (long i = 0; i < area->nr / 2; i++)
		wrong += race_page_wrong(area, i);
	return wrong;
}

/* No write is lost: each page has a word of this writer alone. */
static void *writer_fn(void *arg)
{
	struct racer *racer = arg;
	const struct area *area = racer->area;
	__u64 last = 0;

	for (long i = 0; i < area->nr / 2; i++)
		((__u64 *)(area->addr + i * PAGE))[racer->slot] = 0;
	while (racing(racer)) {
		for (long i = 0; i < area->nr / 2; i++) {
			__u64 *word = (__u64 *)(area->addr + i * PAGE) +
				      racer->slot;

			racer->wrong += __atomic_load_n(word,
						__ATOMIC_RELAXED) != last;
			__atomic_store_n(word, last + 1, __ATOMIC_RELAXED);
		}
		last++;
	}
	return NULL;
}

/* As above, through references that the kernel takes. */
static void *mem_writer_fn(void *arg)
{
	struct racer *racer = arg;
	const struct area *area = racer->area;
	int fd = open("/proc/self/mem", O_RDWR);
	__u64 next = cdm_word(SEED, 1), got;

	do {
		for (long i = 0; i < area->nr / 2; i++) {
			off_t at = (uintptr_t)area->addr + i * PAGE +
				   racer->slot * 8;

			if (pwrite(fd, &next, 8, at) != 8 ||
			    pread(fd, &got, 8, at) != 8 || got != next)
				racer->wrong++;
		}
		next++;
	} while (racing(racer));
	close(fd);
	return NULL;
}

static void *mem_reader_fn(void *arg)
{
	struct racer *racer = arg;
	const struct area *area = racer->area;
	int fd = open("/proc/self/mem", O_RDONLY);
	__u64 got[512];

	do {
		for (long i = 0; i < area->nr / 2; i++) {
			off_t at = (uintptr_t)area->addr + i * PAGE;

			if (pread(fd, got, PAGE, at) != PAGE)
				racer->wrong++;
			for (long k = 8; k < 512; k += 63)
				racer->wrong += got[k] !=
						cdm_word(SEED, i * 512 + k);
		}
	} while (racing(racer));
	close(fd);
	return NULL;
}

static void *dontneed_fn(void *arg)
{
	struct racer *racer = arg;
	size_t size = racer->area->size / 2;
	char *addr = race_half(racer->area);

	do {
		cdm_stamp(addr, size, SEED);
		racer->wrong += cdm_stamp_wrong(addr, size, SEED);
		madvise(addr, size, MADV_DONTNEED);
		for (size_t off = 0; off < size; off += 8 * PAGE)
			racer->wrong += addr[off] != 0;
	} while (racing(racer));
	return NULL;
}

static void *remap_fn(void *arg)
{
	struct racer *racer = arg;
	size_t size = racer->area->size / 2;
	char *addr = race_half(racer->area);

	/* In one call, or somebody else might get the addresses. */
	do {
		if (mmap(addr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			 MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) !=
		    addr) {
			racer->wrong++;
			break;
		}
		cdm_stamp(addr, size, SEED);
		racer->wrong += cdm_stamp_wrong(addr, size, SEED);
	} while (racing(racer));
	return NULL;
}

static void *mremap_fn(void *arg)
{
	struct racer *racer = arg;
	size_t size = racer->area->size / 2;
	char *addr = race_half(racer->area), *other = cdm_map(size);
	/* Nobody else is to get the addresses meanwhile. */
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;

	cdm_stamp(addr, size, SEED);
	do {
		if (mremap(addr, size, size, flags, other) != other)
			racer->wrong++;
		racer->wrong += cdm_stamp_wrong(other, size, SEED);
		if (mremap(other, size, size, flags, addr) != addr)
			racer->wrong++;
		racer->wrong += cdm_stamp_wrong(addr, size, SEED);
	} while (!racer->wrong && racing(racer));
	return NULL;
}

/* Pages from one address to another, page by page, and what is busy later. */
static bool uffd_move(int fd, char *to, char *from, size_t size)
{
	struct uffdio_move arg = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)from,
		.len = size,
	};

	while (ioctl(fd, UFFDIO_MOVE, &arg)) {
		if (arg.move < 0 ? arg.move != -EAGAIN && arg.move != -EBUSY :
		    errno != EAGAIN)
			return false;
		if (arg.move > 0) {
			arg.dst += arg.move;
			arg.src += arg.move;
			arg.len -= arg.move;
		}
		arg.move = 0;
	}
	return true;
}

/* The same without the mmap lock for writing: beside a move, not before it. */
static void *uffd_move_fn(void *arg)
{
	struct racer *racer = arg;
	size_t size = racer->area->size / 2;
	char *addr = race_half(racer->area), *other = cdm_map(size);
	int fd = uffd_open(UFFD_FEATURE_MOVE);

	cdm_stamp(addr, size, SEED);
	if (fd < 0 ||
	    uffd_register(fd, addr, size, UFFDIO_REGISTER_MODE_MISSING) ||
	    uffd_register(fd, other, size, UFFDIO_REGISTER_MODE_MISSING))
		racer->wrong++;
	while (!racer->wrong && racing(racer)) {
		racer->wrong += !uffd_move(fd, other, addr, size) ||
				cdm_stamp_wrong(other, size, SEED) ||
				!uffd_move(fd, addr, other, size) ||
				cdm_stamp_wrong(addr, size, SEED);
	}
	close(fd);
	return NULL;
}

static void *mprotect_fn(void *arg)
{
	struct racer *racer = arg;
	size_t size = racer->area->size / 2;
	char *addr = race_half(racer->area);
	__u64 seed = SEED;

	do {
		cdm_stamp(addr, size, ++seed);
		mprotect(addr, size, PROT_READ);
		racer->wrong += cdm_stamp_wrong(addr, size, seed);
		racer->wrong += can_write(addr);
		mprotect(addr, size / 2, PROT_NONE);
		mprotect(addr, size, PROT_READ | PROT_WRITE);
		racer->wrong += cdm_stamp_wrong(addr, size, seed);
	} while (racing(racer));
	return NULL;
}

static int fork_child(const struct area *area)
{
	long wrong = race_wrong(area);

	for (long i = 0; i < area->nr / 2; i += 2)
		*(__u64 *)(area->addr + i * PAGE + 64) = 0;
	return wrong != 0;
}

/* What the children write is theirs alone. */
static void *fork_fn(void *arg)
{
	struct racer *racer = arg;
	int how = -1;
	pid_t pid;

	do {
		pid = fork();
		if (!pid)
			_exit(fork_child(racer->area));
		racer->wrong += race_wrong(racer->area);
		if (waitpid(pid, &how, 0) != pid || how)
			racer->wrong++;
	} while (racing(racer));
	return NULL;
}

static void *pageout_fn(void *arg)
{
	struct racer *racer = arg;
	const struct area *area = racer->area;

	do {
		madvise(area->addr, area->size, MADV_PAGEOUT);
		racer->wrong += race_wrong(area);
	} while (racing(racer));
	return NULL;
}

FIXTURE_VARIANT(race) {
	void *(*fn[4])(void *arg);
	bool large;
	bool swap;
};

FIXTURE_VARIANT_ADD(race, writers) { .fn = { writer_fn, writer_fn } };
FIXTURE_VARIANT_ADD(race, large_writers) {
	.fn = { writer_fn, writer_fn }, .large = true,
};

FIXTURE_VARIANT_ADD(race, large_dontneed) {
	.fn = { dontneed_fn, writer_fn }, .large = true,
};

FIXTURE_VARIANT_ADD(race, large_mremap) {
	.fn = { mremap_fn, writer_fn }, .large = true,
};

FIXTURE_VARIANT_ADD(race, large_all) {
	.fn = { pageout_fn, fork_fn, mem_writer_fn, dontneed_fn },
	.large = true, .swap = true,
};

FIXTURE_VARIANT_ADD(race, proc_mem) {
	.fn = { mem_writer_fn, mem_reader_fn, writer_fn },
};

FIXTURE_VARIANT_ADD(race, dontneed) { .fn = { dontneed_fn, writer_fn } };
FIXTURE_VARIANT_ADD(race, remap) { .fn = { remap_fn, writer_fn } };
FIXTURE_VARIANT_ADD(race, mremap) { .fn = { mremap_fn, writer_fn } };
FIXTURE_VARIANT_ADD(race, uffd_move) { .fn = { uffd_move_fn, writer_fn } };
FIXTURE_VARIANT_ADD(race, mprotect) { .fn = { mprotect_fn, writer_fn } };
FIXTURE_VARIANT_ADD(race, fork) { .fn = { fork_fn, writer_fn } };
FIXTURE_VARIANT_ADD(race, pageout) {
	.fn = { pageout_fn, writer_fn }, .swap = true,
};

FIXTURE_VARIANT_ADD(race, all) {
	.fn = { pageout_fn, fork_fn, mem_writer_fn, dontneed_fn },
	.swap = true,
};

FIXTURE_SETUP(race)
{
	const char *missing = area_init(&self->area, false);

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_reset(_metadata));
	/* Compressed RAM wants pages to be stable while they are written. */
	if (variant->swap)
		ASSERT_EQ(0, cdm_zram_on(64));
	if (variant->large && access(MTHP "enabled", W_OK))
		SKIP(return, "no folios of 64 KiB");
	ASSERT_TRUE(variant->large ? area_map_large(&self->area, SIZE) :
		    area_map(&self->area, SIZE));
}

FIXTURE_TEARDOWN(race)
{
	EXPECT_EQ(0, area_end(_metadata));
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Returns how many pages have moved, or an error. */
static long there_and_back(struct area *area)
{
	long moved = 0, until = now_ms() + RACE_MS;

	do {
		int ret = area_move(area);

		if (ret < 0)
			return ret;
		moved += statuses(area->nr, area->to);
		area_turn(area);
	} while (now_ms() < until);
	return moved;
}

TEST_F_TIMEOUT(race, content, CDM_TIMEOUT)
{
	struct area *area = &self->area;
	struct racer racer[4] = {};
	long moved;
	int nr = 0;

	for (; nr < 4 && variant->fn[nr]; nr++) {
		racer[nr].area = area;
		racer[nr].slot = nr;
		ASSERT_EQ(0, pthread_create(&racer[nr].thread, NULL,
					    variant->fn[nr], &racer[nr]));
	}
	moved = there_and_back(area);
	EXPECT_LT(0, moved);
	__atomic_store_n(&race_over, true, __ATOMIC_RELEASE);
	for (int i = 0; i < nr; i++) {
		pthread_join(racer[i].thread, NULL);
		EXPECT_LT(0, racer[i].rounds);
		EXPECT_EQ(0, racer[i].wrong) TH_LOG("racer %d", i);
	}
	TH_LOG("%ld pages moved, %ld rounds", moved, racer[0].rounds);
	EXPECT_EQ(0, race_wrong(area));
	/* Nothing is held any more. */
	cdm_fault_in(area->addr, area->size / 2);
	area->size /= 2;
	area->nr /= 2;
	EXPECT_EQ(0, area_move(area));
	EXPECT_TRUE(area_moved(area));
	EXPECT_EQ(0, race_wrong(area));
}

/* Those who leave while it moves */

#define LEAVE_SIZE	(16 * MIB)

FIXTURE(leave) {
	struct area area;
	struct cdm_child child;
	long used;		/* pages of all devices */
};

FIXTURE_SETUP(leave)
{
	const char *missing = area_init(&self->area, false);

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_reset(_metadata));
	self->used = cdm_audit_used();
}

FIXTURE_TEARDOWN(leave)
{
	tenant_end(&self->child);
	/* What CPUs still hold in their batches goes when they drain them. */
	for (int i = 0; i < 100 && cdm_audit_used() != self->used; i++) {
		cdm_write("/proc/sys/vm/compact_memory", "1");
		usleep(100000);
	}
	EXPECT_EQ(self->used, cdm_audit_used());
	EXPECT_EQ(0, area_end(_metadata));
}

static int migrate_async(const struct area *area)
{
	struct cdm_test_migrate arg = {
		.addr = (uintptr_t)area->addr,
		.size = area->size,
		.nid = area->to,
	};

	return cdm_ioctl(CDM_TEST_IOC_MIGRATE_ASYNC, &arg);
}

static void *leave_move_fn(void *arg)
{
	struct area area = *(struct area *)arg;

	for (;;) {
		if (cdm_migrate(area.addr, area.size, area.to, NULL) < 0)
			break;
		area_turn(&area);
		if (migrate_async(&area) < 0)
			break;
		area_turn(&area);
	}
	return NULL;
}

/* Exits, or is killed, while a thread of it moves its memory. */
static int leave_fn(struct cdm_child *me, void *arg)
{
	struct area *area = arg;
	pthread_t thread;

	area->addr = cdm_map(LEAVE_SIZE);
	area->size = LEAVE_SIZE;
	area->nr = LEAVE_SIZE / PAGE;
	cdm_touch(area->addr, area->size);
	if (pthread_create(&thread, NULL, leave_move_fn, area))
		return 1;
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

static void leave(struct __test_metadata *_metadata, struct cdm_child *child,
		  struct area *area, int round, bool killed)
{
	int pidfd, how;

	ASSERT_EQ(0, cdm_start(child, leave_fn, area));
	ASSERT_EQ(0, cdm_hear(child));
	/* At any point of it */
	usleep(1000 + round * 7919 % 40000);
	if (!killed) {
		cdm_say(child, 1);
		how = cdm_wait(child);
		EXPECT_EQ(0, how);
		child->pid = 0;
		return;
	}
	pidfd = syscall(SYS_pidfd_open, child->pid, 0);
	kill(child->pid, SIGKILL);
	/* Its memory is taken away beside it, as when there is none left. */
	syscall(SYS_process_mrelease, pidfd, 0);
	close(pidfd);
	how = cdm_wait(child);
	EXPECT_TRUE(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
	child->pid = 0;
}

TEST_F_TIMEOUT(leave, exit, CDM_TIMEOUT)
{
	long until = now_ms() + RACE_MS;

	for (int i = 0; now_ms() < until; i++)
		leave(_metadata, &self->child, &self->area, i, false);
	EXPECT_EQ(0, isolated());
}

TEST_F_TIMEOUT(leave, killed, CDM_TIMEOUT)
{
	long until = now_ms() + 2 * RACE_MS;

	for (int i = 0; now_ms() < until; i++)
		leave(_metadata, &self->child, &self->area, i, true);
	EXPECT_EQ(0, isolated());
}

TEST_HARNESS_MAIN
