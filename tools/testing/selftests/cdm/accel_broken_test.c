// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator says what is not so, or forgets to say what is: neither
 * harms anybody but the process whose jobs it has.
 */
#include <sys/ioctl.h>

#include "accel_util.h"

#define SIZE	(2 * MIB)
#define PAGES	((long)(SIZE / PAGE))
#define SEED	59

FIXTURE(broken) {
	struct accel a;
	struct accel other;
	struct cdm_child child;
	char *addr;
};

FIXTURE_SETUP(broken)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->other.pci = self->a.pci;
	self->addr = cdm_map_huge(SIZE);
	ASSERT_NE(NULL, self->addr);
}

FIXTURE_TEARDOWN(broken)
{
	if (self->child.pid)
		cdm_kill(&self->child);
	accel_close(&self->other);
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Attach a queue of its own. Returns the number of the address space, or an errno. */
static int attach(struct accel *a, unsigned int flags)
{
	struct cdm_accel_attach attach = { .flags = flags };
	int err = cdm_accel_open(accel_index(&a->pci), &a->dev);

	if (err)
		return err;
	if (ioctl(cdm_accel_fd(a->dev), CDM_ACCEL_IOC_ATTACH, &attach))
		return -errno;
	return attach.asid;
}

/* Bring about an event; until the driver has ignored it, or it has done harm. */
static bool is_ignored(const struct accel *a, const char *event,
		       bool (*harmed)(const struct accel *a, const char *addr),
		       const char *addr)
{
	long ignored = accel_stat(&a->pci, "ignored");

	if (accel_inject(&a->pci, event))
		return false;
	for (int i = 0; i < ACCEL_MS / 10; i++) {
		if (harmed(a, addr))
			return false;
		if (accel_stat(&a->pci, "ignored") > ignored)
			return !harmed(a, addr);
		usleep(10000);
	}
	return false;
}

static bool is_corrupted(const struct accel *a, const char *addr)
{
	return cdm_meminfo("HardwareCorrupted");
}

/* A page of RAM, about which the device has nothing to say. */
TEST_F_TIMEOUT(broken, error_of_a_page_of_ram_is_ignored, CDM_TIMEOUT)
{
	char event[64];
	__u64 pa;

	ASSERT_EQ(0, cdm_meminfo("HardwareCorrupted"));
	cdm_fill(self->addr, SIZE, SEED);
	pa = accel_pa(self->addr);
	ASSERT_NE(0, pa);
	snprintf(event, sizeof(event), "page_error %llu", pa);
	EXPECT_TRUE(is_ignored(&self->a, event, is_corrupted, NULL));
	EXPECT_EQ(pa, accel_pa(self->addr));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* Neither a positive number, nor one beyond all errors, nor one of the kernel's own. */
TEST_F_TIMEOUT(broken, status_of_a_job_is_an_error, CDM_TIMEOUT)
{
	static const int status[] = { 5, -4096, -512 };
	char event[64];

	for (int i = 0; i < ARRAY_SIZE(status); i++) {
		snprintf(event, sizeof(event), "status %llu",
			 (unsigned long long)status[i]);
		ASSERT_EQ(0, accel_inject(&self->a.pci, event));
		EXPECT_EQ(-EIO, accel_fill(self->a.dev, self->addr, 1, PAGE));
	}
	EXPECT_EQ(0, accel_fill(self->a.dev, self->addr, 1, PAGE));
}

static bool is_there(const struct accel *a, const char *addr)
{
	return accel_pa(addr);
}

/* As of a process that had the number of the address space before. */
TEST_F_TIMEOUT(broken, fault_of_no_job_is_ignored, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE), event[64];
	int asid = attach(&self->other, 0);

	ASSERT_LE(0, asid);
	snprintf(event, sizeof(event), "fault %llu %d", va(addr), asid);
	EXPECT_TRUE(is_ignored(&self->a, event, is_there, addr));
	/* While it has jobs, too. */
	EXPECT_EQ(0, accel_fill(self->other.dev, self->addr, 1, PAGE));
	EXPECT_TRUE(is_ignored(&self->a, event, is_there, addr));
}

static bool has_moved(const struct accel *a, const char *addr)
{
	return cdm_pages_on(addr, SIZE, a->nid);
}

static bool note_is_ignored(struct accel *a, int asid, const char *addr,
			    __u64 at, unsigned int shift)
{
	char event[96];

	snprintf(event, sizeof(event), "note %llu %d %u 100000", at, asid,
		 shift);
	return is_ignored(a, event, has_moved, addr);
}

TEST_F_TIMEOUT(broken, note_nobody_asked_for_is_ignored, CDM_TIMEOUT)
{
	int asid = attach(&self->other, 0);

	cdm_fill(self->addr, SIZE, SEED);
	ASSERT_LE(0, asid);
	EXPECT_TRUE(note_is_ignored(&self->a, asid, self->addr,
				    va(self->addr), 21));
	EXPECT_TRUE(note_is_ignored(&self->a, asid, self->addr,
				    va(self->addr), 16));
	accel_close(&self->other);
	asid = attach(&self->other, CDM_ACCEL_MIGRATE_ON_HINT |
				    CDM_ACCEL_REPORT_ACCESSES);
	ASSERT_LE(0, asid);
	/* Regions that are none. */
	EXPECT_TRUE(note_is_ignored(&self->a, asid, self->addr,
				    va(self->addr), 13));
	EXPECT_TRUE(note_is_ignored(&self->a, asid, self->addr,
				    va(self->addr) + PAGE, 21));
	EXPECT_TRUE(note_is_ignored(&self->a, asid, self->addr,
				    -(__u64)SIZE, 21));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* The next who attaches does not get the number that has just become free. */
TEST_F_TIMEOUT(broken, numbers_go_round, CDM_TIMEOUT)
{
	int last = attach(&self->other, 0), asid;

	ASSERT_LE(0, last);
	for (int i = 0; i < 70; i++) {
		accel_close(&self->other);
		asid = attach(&self->other, 0);
		ASSERT_LE(0, asid);
		ASSERT_NE(last, asid);
		last = asid;
	}
}

static int forgotten_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	__u64 *counter = (__u64 *)cdm_map(PAGE);
	__u32 id;

	if (accel_open(&own, 0) || accel_endless(own.dev, counter, &id) ||
	    !accel_counts(counter))
		return 1;
	cdm_say(me, 0);
	cdm_hear(me);
	accel_close(&own);
	if (!accel_frozen(counter))
		return 2;
	cdm_say(me, 1);
	cdm_hear(me);
	return 0;
}

/* The device has ended the job, but does not say so. */
TEST_F_TIMEOUT(broken, close_needs_no_completion, 2 * CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_start(&self->child, forgotten_fn, &self->a.pci));
	ASSERT_EQ(0, cdm_hear(&self->child));
	ASSERT_EQ(0, accel_inject(&self->a.pci, "lost_done 1"));
	cdm_say(&self->child, 0);
	EXPECT_EQ(1, cdm_hear(&self->child));
	/* Others have not noticed. */
	EXPECT_EQ(0, accel_fill(self->a.dev, self->addr, 1, SIZE));
}

/* Nor does a job that is cancelled. */
TEST_F_TIMEOUT(broken, cancel_needs_no_completion, 2 * CDM_TIMEOUT)
{
	struct cdm_accel_wait done = {};
	__u32 id;

	ASSERT_EQ(0, accel_inject(&self->a.pci, "lost_done 1"));
	ASSERT_EQ(0, cdm_accel_fill(self->a.dev, self->addr, 1, SIZE, &id));
	EXPECT_EQ(-ETIME, cdm_accel_wait(self->a.dev, id, 500, &done));
	ASSERT_EQ(0, cdm_accel_cancel(self->a.dev, id));
	ASSERT_EQ(0, cdm_accel_wait(self->a.dev, id, ACCEL_MS, &done));
	EXPECT_EQ(-ECANCELED, done.status);
	EXPECT_EQ(0, accel_fill(self->a.dev, self->addr, 1, SIZE));
}

#define MANY	100

/* A process has so many attachments, with those whose faults nobody resolves. */
FIXTURE(quota) {
	struct accel a;
	struct cdm_child child;
};

FIXTURE_SETUP(quota)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
}

FIXTURE_TEARDOWN(quota)
{
	if (self->child.pid)
		cdm_kill(&self->child);
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Attach until that fails. Returns how often it did not, if it failed with EDQUOT. */
static int attach_all(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	int nr = 0, asid;

	while ((asid = attach(&own, 0)) >= 0)
		nr++;
	cdm_say(me, asid == -EDQUOT ? nr : asid);
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(quota, process_has_a_part_of_the_numbers, CDM_TIMEOUT)
{
	struct accel other = { .pci = self->a.pci };
	long nr;

	ASSERT_EQ(0, cdm_start(&self->child, attach_all, &self->a.pci));
	nr = cdm_hear(&self->child);
	EXPECT_LE(4, nr);
	EXPECT_GE(16, nr);
	EXPECT_EQ(0, accel_open(&other, 0));
	accel_close(&other);
}

static int attach_as_nobody(struct cdm_child *me, void *arg)
{
	struct cdm_child child[8] = {};
	long nr = 0, got = 1;

	if (setuid(65534))
		return 1;
	for (int i = 0; i < ARRAY_SIZE(child) && got > 0; i++) {
		if (cdm_start(&child[i], attach_all, arg))
			return 2;
		got = cdm_hear(&child[i]);
		nr += got;
	}
	cdm_say(me, nr);
	cdm_hear(me);
	for (int i = 0; i < ARRAY_SIZE(child); i++)
		if (child[i].pid)
			cdm_kill(&child[i]);
	return 0;
}

TEST_F_TIMEOUT(quota, user_has_half_of_the_numbers, CDM_TIMEOUT)
{
	struct accel other = { .pci = self->a.pci };
	long nr;

	ASSERT_EQ(0, cdm_start(&self->child, attach_as_nobody, &self->a.pci));
	nr = cdm_hear(&self->child);
	EXPECT_LE(16, nr);
	EXPECT_GE(32, nr);
	EXPECT_EQ(0, accel_open(&other, 0));
	accel_close(&other);
}

/* Returns how many closed files it could leave behind. */
static int leave_stuck(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	char *addr = cdm_map(MANY * PAGE);
	int fd = accel_uffd(addr, MANY * PAGE, UFFDIO_REGISTER_MODE_MISSING);
	int nr, err = 0;
	__u32 id;

	if (fd < 0)
		return 1;
	for (nr = 0; nr < MANY; nr++) {
		long faults = accel_stat(&own.pci, "faults");
		struct uffd_msg msg;

		err = attach(&own, 0);
		if (err < 0)
			break;
		if (cdm_accel_fill(own.dev, addr + nr * PAGE, 1, 8, &id))
			return 2;
		while (accel_stat(&own.pci, "faults") == faults)
			usleep(1000);
		/* A thread of the process waits from here on. */
		if (read(fd, &msg, sizeof(msg)) != sizeof(msg))
			return 3;
		accel_close(&own);
	}
	accel_close(&own);
	cdm_say(me, err == -EDQUOT ? nr : err);
	cdm_hear(me);
	/* When there is nobody to wait for, they go. */
	close(fd);
	for (int i = 0; i < ACCEL_MS / 10; i++) {
		err = attach(&own, 0);
		if (err >= 0)
			break;
		accel_close(&own);
		usleep(10000);
	}
	cdm_say(me, err < 0 ? err : 0);
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(quota, closed_files_count_while_they_are_stuck, CDM_TIMEOUT)
{
	struct accel other = { .pci = self->a.pci };
	long nr;

	ASSERT_EQ(0, cdm_start(&self->child, leave_stuck, &self->a.pci));
	nr = cdm_hear(&self->child);
	EXPECT_LE(4, nr);
	EXPECT_GE(16, nr);
	EXPECT_EQ(0, accel_open(&other, 0));
	accel_close(&other);
	cdm_say(&self->child, 0);
	EXPECT_EQ(0, cdm_hear(&self->child));
}

TEST_HARNESS_MAIN
