// SPDX-License-Identifier: GPL-2.0
/*
 * Each allocation of a move fails once, the first one, the second one, and so on
 * until there is none left to fail: nothing is lost, and what is said is what is.
 */
#include "rows_util.h"

#define SIZE	(3 * MIB)	/* a huge page, and some of another page table */
#define SEED	61
#define MAX_NTH	500

struct mover {
	int from;
	int to;
	int fd;		/* of the driver, */
	int nth;	/* of fail-nth of this thread */
	char *addr;
	bool reached;	/* an allocation has failed */
};

FIXTURE(fail) {
	struct mover mover;
	struct cdm_child child;
};

enum kind { SMALL, HUGE, FORKED, SHMEM };

FIXTURE_VARIANT(fail) {
	enum kind kind;
	bool by_syscall;
	bool to_ram;
};

FIXTURE_VARIANT_ADD(fail, small_to_device) {};
FIXTURE_VARIANT_ADD(fail, small_to_ram) { .to_ram = true };
FIXTURE_VARIANT_ADD(fail, small_by_syscall_to_device) { .by_syscall = true };
FIXTURE_VARIANT_ADD(fail, small_by_syscall_to_ram) {
	.by_syscall = true, .to_ram = true,
};

FIXTURE_VARIANT_ADD(fail, huge_to_device) { .kind = HUGE };
FIXTURE_VARIANT_ADD(fail, huge_to_ram) { .kind = HUGE, .to_ram = true };
FIXTURE_VARIANT_ADD(fail, forked_to_device) { .kind = FORKED };
FIXTURE_VARIANT_ADD(fail, forked_to_ram) { .kind = FORKED, .to_ram = true };
FIXTURE_VARIANT_ADD(fail, shmem_to_device) { .kind = SHMEM };
FIXTURE_VARIANT_ADD(fail, shmem_to_ram) { .kind = SHMEM, .to_ram = true };

static __s32 status[SIZE / PAGE];
static int nodes[SIZE / PAGE], place[SIZE / PAGE];
static void *address[SIZE / PAGE];

static int idle_fn(struct cdm_child *me, void *arg)
{
	cdm_say(me, 0);
	return cdm_hear(me) == LONG_MIN;
}

static char *map_kind(enum kind kind, struct cdm_child *child)
{
	char *addr = kind == HUGE ? cdm_map_huge(SIZE) :
		     kind == SHMEM ? cdm_map_shared(SIZE) : cdm_map(SIZE);

	if (!addr)
		return NULL;
	cdm_fill(addr, SIZE, SEED);
	if (kind == FORKED && (cdm_start(child, idle_fn, NULL) ||
			       cdm_hear(child)))
		return NULL;
	return addr;
}

/* An allocation that may fail fails, whatever it may do to find memory. */
static bool any_may_fail(const char *name, const char *ignore)
{
	static const char dir[] = "/sys/kernel/debug/";
	char path[128];
	int err;

	snprintf(path, sizeof(path), "%s%s/%s", dir, name, ignore);
	err = cdm_write(path, "N");
	snprintf(path, sizeof(path), "%s%s/verbose", dir, name);
	return !err && !cdm_write(path, "0");
}

FIXTURE_SETUP(fail)
{
	const char *missing = cdm_missing();

	self->mover.nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (missing)
		SKIP(return, "%s", missing);
	if (self->mover.nth < 0 || access("/sys/kernel/debug/failslab", F_OK))
		SKIP(return, "the kernel cannot make allocations fail");
	ASSERT_EQ(0, cdm_reset(_metadata));
	ASSERT_TRUE(any_may_fail("fail_page_alloc", "ignore-gfp-wait"));
	ASSERT_TRUE(any_may_fail("failslab", "ignore-gfp-wait"));
	ASSERT_EQ(0, cdm_write(FAIL "min-order", "0"));
	self->mover.from = variant->to_ram ? cdm_dev(0) : cdm_ram(0);
	self->mover.to = variant->to_ram ? cdm_ram(0) : cdm_dev(0);
	self->mover.fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->mover.fd);
	self->mover.addr = map_kind(variant->kind, &self->child);
	ASSERT_NE(NULL, self->mover.addr);
	for (size_t i = 0; i < SIZE / PAGE; i++) {
		address[i] = self->mover.addr + i * PAGE;
		nodes[i] = self->mover.to;
	}
}

FIXTURE_TEARDOWN(fail)
{
	if (self->child.pid)
		cdm_kill(&self->child);
	EXPECT_EQ(0, cdm_judge());
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static int driver_move(struct mover *mover, int nid)
{
	struct cdm_test_migrate arg = {
		.addr = (uintptr_t)mover->addr,
		.size = SIZE,
		.status = (uintptr_t)status,
		.nid = nid,
	};
	int ret = ioctl(mover->fd, CDM_TEST_IOC_MIGRATE, &arg);

	return ret < 0 ? -errno : ret;
}

static int syscall_move(struct mover *mover)
{
	return move_pages(0, SIZE / PAGE, address, nodes, status,
			  MPOL_MF_MOVE_ALL) ? -errno : 0;
}

/* Everything is written to before, so that no page fault is what fails. */
static int move(struct mover *mover, bool by_syscall, int nth)
{
	char text[16] = "";
	int ret, len = snprintf(text, sizeof(text), "%d", nth);

	memset(status, 0x55, sizeof(status));
	if (write(mover->nth, text, len) != len)
		return -errno;
	ret = by_syscall ? syscall_move(mover) : driver_move(mover, mover->to);
	if (pread(mover->nth, text, sizeof(text), 0) < 1 ||
	    write(mover->nth, "0", 1) != 1)
		return -errno;
	mover->reached = atoi(text) == 0;
	return ret;
}

/* Pages of which something else is said than where they are. */
static long misplaced(struct mover *mover)
{
	long nr = 0;

	if (move_pages(0, SIZE / PAGE, address, NULL, place, 0))
		return -errno;
	for (size_t i = 0; i < SIZE / PAGE; i++)
		nr += place[i] != (status[i] < 0 ? mover->from : status[i]);
	return nr;
}

static long left(void)
{
	long nr = 0;

	for (size_t i = 0; i < SIZE / PAGE; i++)
		nr += status[i] < 0;
	return nr;
}

static void fail_once(struct __test_metadata *_metadata,
		      struct mover *mover, bool by_syscall, int nth)
{
	int ret;
	long rss;

	ASSERT_EQ(0, driver_move(mover, mover->from));
	ASSERT_EQ(SIZE / PAGE, cdm_pages_on(mover->addr, SIZE, mover->from));
	rss = cdm_field("/proc/self/status", "VmRSS");
	ret = move(mover, by_syscall, nth);
	EXPECT_TRUE(ret >= 0 || ret == -ENOMEM);
	EXPECT_EQ(0, cdm_wrong(mover->addr, SIZE, SEED));
	EXPECT_TRUE(!nth || rss == cdm_field("/proc/self/status", "VmRSS"));
	if (ret < 0)
		return;
	EXPECT_EQ(0, misplaced(mover));
	if (!by_syscall)
		EXPECT_EQ(left(), ret);
}

TEST_F_TIMEOUT(fail, each_allocation, CDM_TIMEOUT)
{
	int nth = 0;

	/* What the test needs for itself is there then. */
	fail_once(_metadata, &self->mover, variant->by_syscall, 0);
	do {
		fail_once(_metadata, &self->mover, variant->by_syscall, ++nth);
	} while (self->mover.reached && nth < MAX_NTH && !_metadata->exit_code);
	TH_LOG("%d allocations have failed", nth - 1);
	EXPECT_LT(1, nth);
	EXPECT_FALSE(self->mover.reached);
	EXPECT_EQ(SIZE / PAGE, cdm_pages_on(self->mover.addr, SIZE, self->mover.to));
}

/* Not one page: nothing moves. That may begin with what the move itself needs. */
TEST_F(fail, no_page)
{
	int ret;

	fail_once(_metadata, &self->mover, variant->by_syscall, 0);
	ASSERT_EQ(0, driver_move(&self->mover, self->mover.from));
	ASSERT_EQ(0, starve(true));
	ret = move(&self->mover, variant->by_syscall, 0);
	EXPECT_EQ(0, starve(false));
	EXPECT_TRUE(ret == -ENOMEM || ret == SIZE / PAGE);
	EXPECT_EQ(SIZE / PAGE, cdm_pages_on(self->mover.addr, SIZE, self->mover.from));
	EXPECT_EQ(0, cdm_wrong(self->mover.addr, SIZE, SEED));
	EXPECT_EQ(0, driver_move(&self->mover, self->mover.to));
	EXPECT_EQ(SIZE / PAGE, cdm_pages_on(self->mover.addr, SIZE, self->mover.to));
	EXPECT_EQ(0, cdm_wrong(self->mover.addr, SIZE, SEED));
}

TEST_HARNESS_MAIN
