// SPDX-License-Identifier: GPL-2.0
/*
 * What proves the fence: the audit of a node, the counters and tracepoints, and
 * who has access to a node.
 */
#include <sys/klog.h>
#include <sys/mount.h>

#include "cdm_util.h"

#define SIZE	(8 * MIB)
#define PAGES	((long)(SIZE / PAGE))
#define SEED	5
#define TRACING	"/sys/kernel/tracing"

FIXTURE(audit) {
	int dev;
	int breach;		/* file that broke the fence, or -1 */
	struct cdm_child child;
	struct cdm_child other;
};

FIXTURE_SETUP(audit)
{
	self->breach = -1;
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	if (cdm_is_unfenced())
		SKIP(return, "nothing to audit without a fence");
	self->dev = cdm_dev(0);
}

FIXTURE_TEARDOWN(audit)
{
	__u32 off = 0;

	if (self->breach >= 0) {
		ioctl(self->breach, CDM_TEST_IOC_BREACH, &off);
		close(self->breach);
	}
	if (self->child.pid)
		cdm_kill(&self->child);
	if (self->other.pid)
		cdm_kill(&self->other);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static const char *node_file(int nid, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cdm/%s",
		 nid, name);
	return path;
}

TEST_F(audit, audit_of_empty_node)
{
	long total = cdm_node_meminfo(self->dev, "MemTotal") / 4;

	EXPECT_EQ(total, cdm_audit(self->dev, "total"));
	EXPECT_EQ(total, cdm_audit(self->dev, "free"));
	EXPECT_EQ(0, cdm_audit(self->dev, "zonelists"));
}

TEST_F(audit, audit_of_anon)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "anon"));
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "cause_policy"));
	munmap(addr, SIZE);
	/* Another CPU may still have some on the way to the LRU. */
	cdm_drop_caches();
	EXPECT_EQ(0, cdm_audit_used());
}

TEST_F(audit, audit_of_thp)
{
	char *addr = cdm_map_huge(SIZE);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, 1UL << self->dev, 0));
	cdm_touch(addr, SIZE);
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "anon"));
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "cause_policy"));
}

TEST_F(audit, audit_of_shmem)
{
	char *addr = cdm_map_shared(SIZE);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, 1UL << self->dev, 0));
	cdm_touch(addr, SIZE);
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "shmem"));
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "cause_policy"));
}

TEST_F(audit, audit_of_file)
{
	char *addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, cdm_open_big(SIZE),
			  0);

	ASSERT_NE(MAP_FAILED, addr);
	cdm_fault_in(addr, SIZE);
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	EXPECT_LE(PAGES, cdm_audit(self->dev, "file"));
	EXPECT_LE(PAGES, cdm_audit(self->dev, "cause_move"));
	EXPECT_EQ(0, cdm_audit(self->dev, "transit"));
}

TEST_F(audit, audit_of_hugetlb)
{
	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 4));
	EXPECT_EQ(4 * 512, cdm_audit(self->dev, "hugetlb"));
	EXPECT_EQ(4 * 512, cdm_audit(self->dev, "cause_pool"));
}

TEST_F(audit, audit_of_driver)
{
	char *addr = cdm_map(SIZE);

	ASSERT_NE(NULL, addr);
	cdm_touch(addr, SIZE);
	ASSERT_EQ(0, cdm_migrate(addr, SIZE, self->dev, NULL));
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "anon"));
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "cause_driver"));
}

/* The causes of pages that are free again are forgotten, and not mixed up. */
TEST_F(audit, audit_of_reused_pages)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, addr);
	munmap(addr, SIZE);
	addr = cdm_map(SIZE);
	cdm_touch(addr, SIZE);
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "cause_move"));
	EXPECT_EQ(0, cdm_audit(self->dev, "cause_policy"));
}

/* A fence that is broken on purpose: the audit must see it, before and after. */
static int breach_as(int *file, __u32 how)
{
	*file = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	if (*file < 0)
		return -errno;
	return ioctl(*file, CDM_TEST_IOC_BREACH, &how) ? -errno : 0;
}

static int breach(int *file)
{
	return breach_as(file, CDM_TEST_BREACH_LAST);
}

/* Others have got in, too: the nodes have to be emptied. */
static void expect_mended(struct __test_metadata *_metadata, int file)
{
	__u32 off = 0;

	ASSERT_EQ(0, ioctl(file, CDM_TEST_IOC_BREACH, &off));
	EXPECT_EQ(0, cdm_audit_all("zonelists"));
	cdm_free_ram();
	EXPECT_EQ(0, cdm_unregister_all());
	EXPECT_EQ(0, cdm_register_all());
	EXPECT_EQ(0, cdm_unfenced());
}

/* RAM comes first even then, and reclaim may just have found some. */
static bool kernel_gets_in(int nid)
{
	for (int i = 0; i < 64; i++) {
		if (cdm_mask(cdm_devs()) >> cdm_take(nid, CDM_TEST_ALLOC_NODE) & 1)
			return true;
		cdm_fill(cdm_map(4 * MIB), 4 * MIB, i);
	}
	return false;
}

TEST_F_TIMEOUT(audit, audit_sees_a_breach, CDM_TIMEOUT)
{
	struct cdm_load load = { .size = 448 * MIB };

	ASSERT_EQ(0, cdm_leave_ram(256));
	ASSERT_EQ(0, breach(&self->breach));
	EXPECT_LT(0, cdm_audit(self->dev, "zonelists"));
	ASSERT_NE(NULL, cdm_load_start(&self->child, &load));
	EXPECT_LT(0, cdm_audit_all("cause_unknown"));
	EXPECT_NE(0, cdm_unfenced());
	/* What a test of the fence proper looks for is there, too. */
	EXPECT_TRUE(kernel_gets_in(self->dev));
	cdm_kill(&self->child);
	self->child.pid = 0;
	expect_mended(_metadata, self->breach);
}

/* A policy that names a device is no reason for pages on another one. */
struct elsewhere {
	int named;
	size_t size;
};

static int elsewhere_fn(struct cdm_child *me, void *arg)
{
	struct elsewhere *elsewhere = arg;
	char *addr = cdm_map(elsewhere->size);

	if (cdm_cgroup_enter("cdm_audit") ||
	    cdm_task_policy(MPOL_PREFERRED, 1UL << elsewhere->named))
		return 1;
	/* Page tables are RAM, of which there will be none left. */
	madvise(addr, elsewhere->size, MADV_NOHUGEPAGE);
	cdm_fault_in(addr, elsewhere->size);
	cdm_say(me, 0);
	if (cdm_hear(me))
		return 2;
	cdm_touch(addr, elsewhere->size);
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(audit, audit_sees_another_device, CDM_TIMEOUT)
{
	struct elsewhere elsewhere = { .named = self->dev, .size = 448 * MIB };
	struct cdm_spread spread;
	char mems[64], *addr;
	long named;

	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	ASSERT_EQ(0, cdm_cgroup_create("cdm_audit"));
	ASSERT_EQ(0, cdm_start(&self->child, elsewhere_fn, &elsewhere));
	ASSERT_EQ(0, cdm_hear(&self->child));
	snprintf(mems, sizeof(mems), "%d-%d,%d", cdm_ram(0),
		 cdm_ram(cdm_rams().nr - 1), cdm_dev(1));
	ASSERT_EQ(0, cdm_cgroup_write("cdm_audit", "cpuset.mems", mems));
	ASSERT_EQ(0, cdm_leave_ram(256));
	/* The stack of the child may be there. */
	named = cdm_audit_all("cause_policy");
	ASSERT_EQ(0, breach(&self->breach));
	cdm_say(&self->child, 0);
	addr = (char *)cdm_hear(&self->child);
	ASSERT_NE(LONG_MIN, (long)addr);
	spread = cdm_spread_of(self->child.pid, addr, elsewhere.size);
	EXPECT_LT(0, spread.on[cdm_dev(1)]);
	EXPECT_EQ(0, spread.on[self->dev]);
	EXPECT_GE(named, cdm_audit_all("cause_policy"));
	EXPECT_LE(spread.on[cdm_dev(1)], cdm_audit(cdm_dev(1), "cause_unknown"));
	cdm_kill(&self->child);
	self->child.pid = 0;
	expect_mended(_metadata, self->breach);
}

TEST_F(audit, interleave_hits)
{
	static const char stat[] = "/sys/devices/system/node/node%d/numastat";
	char *addr = cdm_map(SIZE), path[64];
	long hits;

	snprintf(path, sizeof(path), stat, self->dev);
	hits = cdm_field(path, "interleave_hit");
	ASSERT_LE(0, hits);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_INTERLEAVE, 1UL << self->dev, 0));
	cdm_touch(addr, SIZE);
	ASSERT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	cdm_stat_refresh();
	EXPECT_EQ(hits + PAGES, cdm_field(path, "interleave_hit"));
}

/*
 * Compressed pages are memory of the kernel, and it takes movable pages too. Stop
 * when the first are on a device: who needs RAM proper must find some yet.
 */
static bool compress_noise(int zram, int nid)
{
	char *noise = cdm_map(MIB);	/* aligned, for O_DIRECT */
	long free = cdm_node_meminfo(nid, "MemFree");

	for (int i = 0; i < 448; i++) {
		cdm_fill(noise, MIB, i);
		if (pwrite(zram, noise, MIB, i * MIB) != MIB)
			return false;
		if (cdm_node_meminfo(nid, "MemFree") < free - 1024)
			return true;
	}
	return false;
}

TEST_F_TIMEOUT(audit, audit_sees_kernel_memory, CDM_TIMEOUT)
{
	int zram;

	ASSERT_EQ(0, cdm_zram_on(512));
	ASSERT_EQ(0, swapoff(CDM_ZRAM));
	zram = open(CDM_ZRAM, O_WRONLY | O_DIRECT);
	ASSERT_LE(0, zram);
	ASSERT_EQ(0, cdm_leave_ram(256));
	ASSERT_EQ(0, breach(&self->breach));
	/* The lists of all nodes go on with the first device. */
	EXPECT_TRUE(compress_noise(zram, self->dev));
	close(zram);
	EXPECT_LT(0, cdm_audit_all("kernel"));
	EXPECT_LT(0, cdm_audit_all("cause_unknown"));
	cdm_swap_off();
	expect_mended(_metadata, self->breach);
}

/* Whatever there is behind the fence, and nobody named the node. */
FIXTURE(leak) {
	int dev;
	int file;		/* that made the hole, or -1 */
	bool breach;
	struct cdm_child child;
};

enum leak {
	LEAK_ANON,
	LEAK_HUGE,
	LEAK_SHMEM,
	LEAK_FILE,
	LEAK_HUGETLB,
	LEAK_KERNEL,
};

FIXTURE_VARIANT(leak) {
	enum leak leak;
	enum cdm_test_kind kind;
	const char *name;	/* in the audit */
};

FIXTURE_VARIANT_ADD(leak, anon) { LEAK_ANON, 0, "anon" };
FIXTURE_VARIANT_ADD(leak, huge) { LEAK_HUGE, 0, "anon" };
FIXTURE_VARIANT_ADD(leak, shmem) { LEAK_SHMEM, 0, "shmem" };
FIXTURE_VARIANT_ADD(leak, file) { LEAK_FILE, 0, "file" };
FIXTURE_VARIANT_ADD(leak, hugetlb) { LEAK_HUGETLB, 0, "hugetlb" };
FIXTURE_VARIANT_ADD(leak, kernel) { LEAK_KERNEL, CDM_TEST_KIND_PLAIN, "kernel" };
FIXTURE_VARIANT_ADD(leak, accounted) {
	LEAK_KERNEL, CDM_TEST_KIND_ACCOUNTED, "kernel"
};

FIXTURE_VARIANT_ADD(leak, slab) { LEAK_KERNEL, CDM_TEST_KIND_SLAB, "kernel" };
FIXTURE_VARIANT_ADD(leak, page_table) {
	LEAK_KERNEL, CDM_TEST_KIND_TABLE, "kernel"
};

FIXTURE_VARIANT_ADD(leak, vmalloc) {
	LEAK_KERNEL, CDM_TEST_KIND_VMALLOC, "kernel"
};

FIXTURE_SETUP(leak)
{
	self->file = -1;
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	if (cdm_is_unfenced())
		SKIP(return, "nothing to audit without a fence");
	self->dev = cdm_dev(0);
	/* The pages that a test before has left have no cause any more. */
	cdm_drop_caches();
	ASSERT_EQ(0, cdm_audit_used());
	ASSERT_EQ(0, cdm_unfenced());
}

FIXTURE_TEARDOWN(leak)
{
	if (self->child.pid)
		cdm_kill(&self->child);
	if (self->file >= 0)
		close(self->file);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

#define OVERCOMMIT	"/proc/sys/vm/nr_overcommit_hugepages"
#define LEAK_SIZE	(2 * MIB)
#define LEAK_PAGES	((long)(LEAK_SIZE / PAGE))

static int leak_kernel(int *file, struct cdm_test_leak *leak)
{
	if (*file < 0)
		*file = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	if (*file < 0)
		return -errno;
	return ioctl(*file, CDM_TEST_IOC_LEAK, leak) ? -errno : 0;
}

struct leaker {
	int dev;
	enum leak leak;
	enum cdm_test_kind kind;
	int file;
};

/* Returns how many pages there must be; the child has them until it ends. */
static long leak_pages(struct leaker *leaker)
{
	struct cdm_test_leak kernel = {
		.nid = leaker->dev,
		.kind = leaker->kind,
		.nr = 2,
	};
	char *addr = NULL;

	switch (leaker->leak) {
	case LEAK_ANON:
		addr = cdm_map(LEAK_SIZE);
		madvise(addr, LEAK_SIZE, MADV_NOHUGEPAGE);
		break;
	case LEAK_HUGE:
		addr = cdm_map_huge(LEAK_SIZE);
		break;
	case LEAK_SHMEM:
		addr = cdm_map_shared(LEAK_SIZE);
		break;
	case LEAK_FILE:
		addr = mmap(NULL, LEAK_SIZE, PROT_READ, MAP_SHARED,
			    cdm_open_big(LEAK_SIZE), 0);
		cdm_fault_in(addr, LEAK_SIZE);
		return LEAK_PAGES / 2;
	case LEAK_HUGETLB:
		/* A page of the device is none that could be reserved. */
		addr = mmap(NULL, LEAK_SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			    MAP_NORESERVE, -1, 0);
		if (addr == MAP_FAILED)
			return -1;
		break;
	default:
		return leak_kernel(&leaker->file, &kernel) ? -1 : kernel.nr;
	}
	cdm_touch(addr, LEAK_SIZE);
	return LEAK_PAGES;
}

static int leak_fn(struct cdm_child *me, void *arg)
{
	struct leaker *leaker = arg;

	leaker->file = -1;
	if (cdm_cgroup_enter("cdm_audit"))
		return 1;
	cdm_say(me, leak_pages(leaker));
	cdm_hear(me);
	return 0;
}

static bool log_has(const char *text)
{
	static char log[2 * MIB];
	int size = klogctl(3, log, sizeof(log) - 1);	/* all of it */

	return size > 0 && strstr(log, text);
}

/* The number behind @name at the start of a line, or -1 */
static long line_of(const char *text, const char *name)
{
	size_t size = strlen(name);

	for (; text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (!strncmp(text, name, size) && text[size] == ' ')
			return atol(text + size);
	}
	return -1;
}

TEST_F_TIMEOUT(leak, is_seen, CDM_TIMEOUT)
{
	struct leaker leaker = {
		.dev = self->dev,
		.leak = variant->leak,
		.kind = variant->kind,
	};
	char audit[4096] = "";
	long nr;

	ASSERT_EQ(0, cdm_cgroup_create("cdm_audit"));
	ASSERT_EQ(0, cdm_write(OVERCOMMIT, "1"));
	if (variant->leak != LEAK_KERNEL)
		ASSERT_EQ(0, breach_as(&self->file, CDM_TEST_BREACH_FIRST));
	ASSERT_EQ(0, cdm_start(&self->child, leak_fn, &leaker));
	nr = cdm_hear(&self->child);
	EXPECT_LT(0, nr);
	/* Of one audit, which takes its time if there is a hole. */
	cdm_read(node_file(self->dev, "audit"), audit, sizeof(audit));
	EXPECT_LE(nr, line_of(audit, variant->name));
	EXPECT_LE(nr, line_of(audit, "cause_unknown"));
	EXPECT_TRUE(log_has("a hole in the fence"));
	cdm_kill(&self->child);
	self->child.pid = 0;
	EXPECT_EQ(0, cdm_write(OVERCOMMIT, "0"));
	if (variant->leak == LEAK_KERNEL) {
		EXPECT_EQ(0, cdm_unfenced());
		return;
	}
	expect_mended(_metadata, self->file);
}

/* A page that stays is no reason to take one that is about to go for another. */
TEST_F(audit, audit_looks_at_each_page_again)
{
	struct cdm_test_leak leak = { .nid = self->dev, .nr = 1 };

	ASSERT_EQ(0, cdm_unfenced());
	/* It lies between two that stay. */
	for (int i = 0; i < 3; i++) {
		leak.ms = i == 1 ? 600 : 0;
		ASSERT_EQ(0, leak_kernel(&self->breach, &leak));
	}
	EXPECT_EQ(2, cdm_audit(self->dev, "cause_unknown"));
}

static int read_audit_fn(struct cdm_child *me, void *arg)
{
	long nr = 0;
	char buf[4096];

	cdm_say(me, 0);
	while (kill(getppid(), 0) == 0) {
		int ret = cdm_read(node_file(*(int *)arg, "audit"), buf,
				   sizeof(buf));
		struct pollfd pfd = { .fd = me->in, .events = POLLIN };

		if (ret > 0 && !strstr(buf, "cause_unknown"))
			return 1;
		if (ret < 0 && ret != -ENOENT && ret != -ENODEV)
			return 2;
		nr += ret > 0;
		if (poll(&pfd, 1, 0))
			return nr ? 0 : 3;
	}
	return 0;
}

/* The node comes and goes while two others read. */
TEST_F_TIMEOUT(audit, audit_during_hotplug, CDM_TIMEOUT)
{
	int status;

	ASSERT_EQ(0, cdm_start(&self->child, read_audit_fn, &self->dev));
	ASSERT_EQ(0, cdm_start(&self->other, read_audit_fn, &self->dev));
	ASSERT_EQ(0, cdm_hear(&self->child));
	ASSERT_EQ(0, cdm_hear(&self->other));
	for (int i = 0; i < 5; i++) {
		char *addr = cdm_map_on(self->dev, SIZE, SEED);

		ASSERT_NE(NULL, addr);
		ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
		EXPECT_EQ(-1, cdm_audit(self->dev, "total"));
		ASSERT_EQ(0, cdm_register_all());
		EXPECT_LT(0, cdm_audit(self->dev, "total"));
		munmap(addr, SIZE);
	}
	cdm_say(&self->child, 0);
	cdm_say(&self->other, 0);
	status = cdm_wait(&self->child);
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	status = cdm_wait(&self->other);
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	self->child.pid = 0;
	self->other.pid = 0;
}

static int open_as_nobody_fn(struct cdm_child *me, void *arg)
{
	if (setuid(65534))
		return 2;
	return open(node_file(*(int *)arg, "audit"), O_RDONLY) < 0 &&
	       errno == EACCES ? 0 : 1;
}

TEST_F(audit, audit_is_for_root)
{
	int status;

	ASSERT_EQ(0, cdm_start(&self->child, open_as_nobody_fn, &self->dev));
	status = cdm_wait(&self->child);
	self->child.pid = 0;
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* Counters */

struct count {
	const char *key;
	long before;
};

static struct count count(const char *key)
{
	return (struct count){ key, cdm_vmstat(key) };
}

static long counted(struct count count)
{
	return cdm_vmstat(count.key) - count.before;
}

TEST_F(audit, counters_of_placement)
{
	struct count policy = count("cdm_placed_policy");
	struct count pool = count("cdm_placed_pool");
	struct count move = count("cdm_placed_move");
	struct count driver = count("cdm_placed_driver");
	struct count balance = count("cdm_placed_balance");
	char *addr = cdm_map_on(self->dev, SIZE, SEED), *ram = cdm_map(SIZE);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(PAGES, counted(policy));
	ASSERT_EQ(0, cdm_node_hugepages(self->dev, 2));
	EXPECT_EQ(2 * 512, counted(pool));
	cdm_touch(ram, SIZE);
	ASSERT_EQ(PAGES, cdm_move(ram, SIZE, self->dev));
	EXPECT_EQ(PAGES, counted(move));
	ASSERT_EQ(0, cdm_migrate(ram, SIZE, CDM_TEST_NID_RAM, NULL));
	ASSERT_EQ(0, cdm_migrate(ram, SIZE, self->dev, NULL));
	EXPECT_EQ(PAGES, counted(driver));
	EXPECT_EQ(PAGES, counted(policy));
	EXPECT_EQ(0, counted(balance));
}

TEST_F_TIMEOUT(audit, counters_of_eviction, CDM_TIMEOUT)
{
	struct count reclaim = count("cdm_evicted_reclaim");
	struct count move = count("cdm_evicted_move");
	struct count driver = count("cdm_evicted_driver");
	struct count hotplug = count("cdm_evicted_hotplug");
	struct count pin = count("cdm_evicted_pin");
	int fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	__u64 at = (uintptr_t)addr;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, cdm_ram(0)));
	EXPECT_EQ(PAGES, counted(move));
	ASSERT_EQ(0, cdm_migrate(addr, SIZE, self->dev, NULL));
	ASSERT_EQ(0, cdm_migrate(addr, SIZE, CDM_TEST_NID_RAM, NULL));
	EXPECT_EQ(PAGES, counted(driver));
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_PIN_LONGTERM, &at));
	EXPECT_EQ(1, counted(pin));
	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_UNPIN));
	close(fd);
	ASSERT_EQ(0, cdm_pageout(addr + PAGE, PAGE));
	EXPECT_EQ(1, counted(reclaim));
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(PAGES - 2, counted(hotplug));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F_TIMEOUT(audit, counters_of_refusal, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_PREFERRED,
		.mask = 1UL << self->dev,
	};
	struct count full = count("cdm_refused_full");
	struct count kernel = count("cdm_refused_kernel");
	struct count narrowed = count("cdm_refused_narrowed");
	struct count cpuset = count("cdm_refused_cpuset");
	struct count file = count("cdm_refused_file");
	char *addr;

	ASSERT_EQ(0, cdm_task_policy(MPOL_INTERLEAVE, cdm_all_mask()));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(1, counted(narrowed));
	ASSERT_EQ(0, cdm_cgroup_create("cdm_audit"));
	ASSERT_NE(0, cdm_writef(CDM_CGROUPS "/cdm_audit/cpuset.mems", "%d",
				self->dev));
	EXPECT_EQ(1, counted(cpuset));
	addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, cdm_open_big(SIZE), 0);
	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(-EINVAL, cdm_mbind(addr, SIZE, MPOL_BIND, 1UL << self->dev,
				     0));
	EXPECT_EQ(PAGES, counted(file));
	ASSERT_EQ(0, cdm_leave_node(self->dev, 0));
	ASSERT_NE(NULL, cdm_load_start(&self->child, &load));
	EXPECT_LT(0, counted(full));
	EXPECT_LT(0, counted(kernel));
}

static bool trace_has(const char *event, const char *text)
{
	FILE *file = fopen(TRACING "/trace", "r");
	char line[512];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = strstr(line, event) && strstr(line, text);
	if (file)
		fclose(file);
	return found;
}

TEST_F(audit, tracepoints)
{
	char want[64], *addr;

	if (access(TRACING "/events/cdm", F_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	ASSERT_EQ(0, cdm_write(TRACING "/trace", ""));
	ASSERT_EQ(0, cdm_write(TRACING "/events/cdm/enable", "1"));
	addr = cdm_map_on(self->dev, SIZE, SEED);
	EXPECT_NE(NULL, addr);
	EXPECT_EQ(PAGES, cdm_move(addr, SIZE, cdm_ram(0)));
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, self->dev, NULL));
	EXPECT_EQ(0, cdm_task_policy(MPOL_INTERLEAVE, cdm_all_mask()));
	cdm_write(TRACING "/events/cdm/enable", "0");
	EXPECT_TRUE(trace_has("cdm_place:", "cause=policy"));
	EXPECT_TRUE(trace_has("cdm_place:", "cause=driver"));
	EXPECT_TRUE(trace_has("cdm_evict:", "cause=move"));
	EXPECT_TRUE(trace_has("cdm_refuse:", "cause=narrowed"));
	EXPECT_TRUE(trace_has("cdm_migrate:", "nr_moved"));
	snprintf(want, sizeof(want), "from=%d to=%d isolate=", cdm_ram(0),
		 self->dev);
	EXPECT_TRUE(trace_has("cdm_range:", want));
	EXPECT_FALSE(trace_has("cdm_range:", "copy=0 "));
	cdm_write(TRACING "/trace", "");
}

/* Access */

static int access_is(int nid, const char *want)
{
	char buf[64] = "";

	cdm_read(node_file(nid, "access"), buf, sizeof(buf));
	buf[strcspn(buf, "\n")] = 0;
	return !strcmp(buf, want);
}

TEST_F(audit, access_bad_input)
{
	static const char * const bad[] = {
		"foo", "-1", "0", "1", "99999999999999999999", "opened", "ope",
		" open", "open granted", "GRANTED", "\n",
	};
	static const char * const states[] = { "granted", "open" };
	char huge[5000];

	memset(huge, 'o', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = 0;
	EXPECT_TRUE(access_is(self->dev, "open"));
	for (int i = 0; i < ARRAY_SIZE(states); i++) {
		ASSERT_EQ(0, cdm_write(node_file(self->dev, "access"),
				       states[i]));
		for (int j = 0; j < ARRAY_SIZE(bad); j++) {
			EXPECT_EQ(-EINVAL,
				  cdm_write(node_file(self->dev, "access"),
					    bad[j])) {
				TH_LOG("'%s'", bad[j]);
			}
		}
		EXPECT_EQ(-EINVAL, cdm_write(node_file(self->dev, "access"),
					     huge));
		EXPECT_TRUE(access_is(self->dev, states[i]));
	}
	/* A RAM node, and one that is not there, have no such file. */
	EXPECT_EQ(-ENOENT, cdm_write(node_file(cdm_ram(0), "access"), "open"));
	EXPECT_EQ(-ENOENT, cdm_write(node_file(13, "access"), "open"));
}

static int toggle_fn(struct cdm_child *me, void *arg)
{
	for (int i = 0; i < 50; i++)
		if (cdm_write(node_file(*(int *)arg, "access"),
			      i % 2 ? "open" : "granted"))
			return 1;
	return 0;
}

TEST_F_TIMEOUT(audit, access_concurrent_writers, CDM_TIMEOUT)
{
	int status;

	ASSERT_EQ(0, cdm_start(&self->child, toggle_fn, &self->dev));
	ASSERT_EQ(0, cdm_start(&self->other, toggle_fn, &self->dev));
	status = cdm_wait(&self->child);
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	status = cdm_wait(&self->other);
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	self->child.pid = 0;
	self->other.pid = 0;
	EXPECT_TRUE(access_is(self->dev, "open"));
}

/* A member of @arg's cgroup: may it bind memory to the device? */
struct member {
	const char *cgroup;
	int dev;
};

static int member_fn(struct cdm_child *me, void *arg)
{
	struct member *member = arg;
	char *addr = cdm_map(SIZE);

	if (cdm_cgroup_enter(member->cgroup))
		return 1;
	do {
		int err = cdm_mbind(addr, SIZE, MPOL_BIND, 1UL << member->dev,
				    MPOL_MF_MOVE);

		cdm_say(me, err);
		cdm_touch(addr, SIZE);
		/* A cpuset moves what has to go in the background. */
		for (int i = 0; err && i < CDM_PATIENCE * 100 &&
		     cdm_pages_on(addr, SIZE, member->dev); i++)
			usleep(10000);
		cdm_say(me, cdm_pages_on(addr, SIZE, member->dev));
	} while (cdm_hear(me) != LONG_MIN);
	return 0;
}

static bool member_may(struct cdm_child *child, bool first)
{
	if (!first)
		cdm_say(child, 0);
	return cdm_hear(child) == 0 && cdm_hear(child) == PAGES;
}

static bool member_may_not(struct cdm_child *child)
{
	cdm_say(child, 0);
	return cdm_hear(child) == -EINVAL && cdm_hear(child) == 0;
}

TEST_F_TIMEOUT(audit, access_granted, CDM_TIMEOUT)
{
	struct member heir = { "cdm_heir", self->dev };
	struct member lists = { "cdm_lists", self->dev };
	unsigned long mems = cdm_all_mask();
	char list[64] = "";

	for (int nid = 0; nid < CDM_MAX_NODES; nid++)
		if (mems >> nid & 1)
			snprintf(list + strlen(list),
				 sizeof(list) - strlen(list), "%d,", nid);
	list[strlen(list) - 1] = 0;
	ASSERT_EQ(0, cdm_cgroup_create(heir.cgroup));
	ASSERT_EQ(0, cdm_cgroup_create(lists.cgroup));
	ASSERT_EQ(0, cdm_cgroup_write(lists.cgroup, "cpuset.mems", list));

	ASSERT_EQ(0, cdm_start(&self->child, member_fn, &heir));
	ASSERT_EQ(0, cdm_start(&self->other, member_fn, &lists));
	EXPECT_TRUE(member_may(&self->child, true));
	EXPECT_TRUE(member_may(&self->other, true));

	ASSERT_EQ(0, cdm_write(node_file(self->dev, "access"), "granted"));
	EXPECT_TRUE(member_may_not(&self->child));
	EXPECT_TRUE(member_may(&self->other, false));
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "anon"));

	ASSERT_EQ(0, cdm_write(node_file(self->dev, "access"), "open"));
	EXPECT_TRUE(member_may(&self->child, false));
	EXPECT_TRUE(member_may(&self->other, false));
}

static bool has_mem(const char *cgroup, int nid)
{
	char buf[64] = "";

	cdm_cgroup_read(cgroup, "cpuset.mems.effective", buf, sizeof(buf));
	return cdm_mask(cdm_nodes_parse(buf)) >> nid & 1;
}

/* All cgroups on the way must list the node, not only the last one. */
TEST_F(audit, access_granted_nested)
{
	char mems[32];

	ASSERT_EQ(0, cdm_cgroup_create("cdm_outer"));
	ASSERT_EQ(0, cdm_cgroup_write("cdm_outer", "cgroup.subtree_control",
				      "+cpuset"));
	ASSERT_EQ(0, mkdir(CDM_CGROUPS "/cdm_outer/cdm_inner", 0755));
	snprintf(mems, sizeof(mems), "%d,%d", cdm_ram(0), self->dev);
	EXPECT_EQ(0, cdm_cgroup_write("cdm_outer/cdm_inner", "cpuset.mems",
				      mems));
	EXPECT_TRUE(has_mem("cdm_outer/cdm_inner", self->dev));
	ASSERT_EQ(0, cdm_write(node_file(self->dev, "access"), "granted"));
	EXPECT_FALSE(has_mem("cdm_outer/cdm_inner", self->dev));
	EXPECT_EQ(0, cdm_cgroup_write("cdm_outer", "cpuset.mems", mems));
	EXPECT_TRUE(has_mem("cdm_outer/cdm_inner", self->dev));
	rmdir(CDM_CGROUPS "/cdm_outer/cdm_inner");
	EXPECT_EQ(0, cdm_write(node_file(self->dev, "access"), "open"));
}

/* A cgroup that comes later does not inherit it either. */
TEST_F(audit, access_granted_before)
{
	char buf[64] = "";

	ASSERT_EQ(0, cdm_write(node_file(self->dev, "access"), "granted"));
	ASSERT_EQ(0, cdm_cgroup_create("cdm_later"));
	ASSERT_LT(0, cdm_cgroup_read("cdm_later", "cpuset.mems.effective", buf,
				     sizeof(buf)));
	EXPECT_FALSE(cdm_mask(cdm_nodes_parse(buf)) >> self->dev & 1);
	ASSERT_EQ(0, cdm_write(node_file(self->dev, "access"), "open"));
	ASSERT_LT(0, cdm_cgroup_read("cdm_later", "cpuset.mems.effective", buf,
				     sizeof(buf)));
	EXPECT_TRUE(cdm_mask(cdm_nodes_parse(buf)) >> self->dev & 1);
}

/* The administrator's word is for the node, not for what comes after it. */
TEST_F_TIMEOUT(audit, access_opens_with_a_new_node, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_write(node_file(self->dev, "access"), "granted"));
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_TRUE(access_is(self->dev, "open"));
}

/* Two ranges, of which one leaves: the node stays, and all that names it. */
TEST_F_TIMEOUT(audit, one_of_two_ranges_leaves, CDM_TIMEOUT)
{
	struct cdm_test_range whole, half[2];
	char *addr, link[128];

	ASSERT_EQ(0, cdm_range(self->dev, 0, &whole));
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	for (int i = 0; i < 2; i++) {
		half[i] = whole;
		half[i].size = whole.size / 2;
		half[i].start = whole.start + i * half[i].size;
		ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_REGISTER, &half[i]));
	}
	EXPECT_EQ(whole.size / PAGE, cdm_audit(self->dev, "total"));
	addr = cdm_map_on(self->dev, SIZE, SEED);
	EXPECT_NE(NULL, addr);
	for (int i = 0; i < 2; i++) {
		if (i)
			ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_REGISTER, &half[0]));
		EXPECT_EQ(0, cdm_ioctl(CDM_TEST_IOC_UNREGISTER_ONE,
				       &half[i].start));
		EXPECT_EQ(half[i].size / PAGE, cdm_audit(self->dev, "total"));
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		EXPECT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
		snprintf(link, sizeof(link),
			 "/sys/devices/system/node/node%d/coherent_device",
			 self->dev);
		EXPECT_EQ(0, access(link, F_OK));
	}
	EXPECT_EQ(0, cdm_ioctl(CDM_TEST_IOC_UNREGISTER_ONE, &half[0].start));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_HARNESS_MAIN
