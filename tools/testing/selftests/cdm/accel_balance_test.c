// SPDX-License-Identifier: GPL-2.0
/*
 * Placement by use, with a device that computes: programs use plain memory, and
 * it goes where it is used.
 */
#include "accel_util.h"

#define SIZE	(8 * MIB)
#define PAGES	((long)(SIZE / PAGE))
#define SEED	81
#define MODE	"/proc/sys/kernel/numa_balancing"
#define ROUNDS	(CDM_PATIENCE * 50)
/* Of so many pages one may be busy whenever its neighbours move. */
#define FEW(pages)	((pages) / 32)
#define MOST(pages)	((pages) * 31 / 32)

FIXTURE(placed) {
	struct accel a;
	char *addr;
};

FIXTURE_VARIANT(placed) {
	unsigned int flags;
	bool huge;
};

FIXTURE_VARIANT_ADD(placed, counters) {
	.flags = CDM_ACCEL_REPORT_ACCESSES,
};

FIXTURE_VARIANT_ADD(placed, samples) {
	.flags = CDM_ACCEL_REPORT_SAMPLES,
};

FIXTURE_VARIANT_ADD(placed, huge) {
	.flags = CDM_ACCEL_REPORT_ACCESSES,
	.huge = true,
};

FIXTURE_SETUP(placed)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_write(MODE, "4"));
	ASSERT_EQ(0, accel_start(&self->a, variant->flags));
	self->addr = cdm_map_huge(SIZE);
	ASSERT_NE(NULL, self->addr);
	if (!variant->huge)
		ASSERT_EQ(0, madvise(self->addr, SIZE, MADV_NOHUGEPAGE));
	cdm_fill(self->addr, SIZE, SEED);
}

FIXTURE_TEARDOWN(placed)
{
	cdm_write(MODE, "0");
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Jobs read it, until so many pages have come; what they read is right. */
static bool jobs_until(struct accel *a, const char *addr, size_t size, long pages)
{
	__u64 want = cpu_sum(addr, size);

	for (int i = 0; i < ROUNDS; i++) {
		if (cdm_pages_on(addr, size, a->nid) >= pages)
			return true;
		if (accel_sum(a->dev, addr, size) != want)
			return false;
		usleep(20000);
	}
	return false;
}

/* CPUs do, until no more than so many pages are left there. */
static bool cpus_until(struct accel *a, const char *addr, size_t size, long pages)
{
	__u64 want = cpu_sum(addr, size);

	for (int i = 0; i < ROUNDS; i++) {
		if (cdm_pages_on(addr, size, a->nid) <= pages)
			return true;
		if (cpu_sum(addr, size) != want)
			return false;
		usleep(20000);
	}
	return false;
}

TEST_F_TIMEOUT(placed, follows_its_user, CDM_TIMEOUT)
{
	EXPECT_TRUE(jobs_until(&self->a, self->addr, SIZE,
			       MOST(PAGES)));
	EXPECT_TRUE(cpus_until(&self->a, self->addr, SIZE,
			       FEW(PAGES)));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* One half is the device's, one the CPUs'. */
TEST_F_TIMEOUT(placed, each_side_has_its_part, CDM_TIMEOUT)
{
	char *theirs = self->addr, *ours = self->addr + SIZE / 2;
	__u64 want;

	EXPECT_TRUE(jobs_until(&self->a, self->addr, SIZE,
			       MOST(PAGES)));
	want = cpu_sum(ours, SIZE / 2);
	for (int i = 0; i < ROUNDS; i++) {
		accel_sum(self->a.dev, theirs, SIZE / 2);
		ASSERT_EQ(want, cpu_sum(ours, SIZE / 2));
		if (cdm_pages_on(ours, SIZE / 2, self->a.nid) <= FEW(PAGES) &&
		    cdm_pages_on(theirs, SIZE / 2, self->a.nid) >=
		    MOST(PAGES / 2))
			break;
	}
	EXPECT_GE(FEW(PAGES), cdm_pages_on(ours, SIZE / 2, self->a.nid));
	EXPECT_LE(MOST(PAGES / 2),
		  cdm_pages_on(theirs, SIZE / 2, self->a.nid));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* While a job writes to it, and CPUs do, too: no update is lost. */
TEST_F_TIMEOUT(placed, no_update_is_lost, CDM_TIMEOUT)
{
	__u64 *counter = (__u64 *)self->addr, before, own = 0;
	struct cdm_accel_wait done;
	__u32 id;

	before = *counter;
	for (int i = 0; i < 20; i++) {
		__u64 n = 100000;

		ASSERT_EQ(0, cdm_accel_atomic_add(self->a.dev, counter, 1, n,
						  &id));
		for (int k = 0; k < 1000; k++, own++)
			__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
		accel_sum(self->a.dev, self->addr, SIZE);
		ASSERT_EQ(0, cdm_accel_wait(self->a.dev, id, ACCEL_MS, &done));
		own += n;
	}
	EXPECT_EQ(before + own, *counter);
}

/* Accesses by CPUs that debugfs tells of a range; -1 if it knows nothing about it. */
static long long cpu_use(int nid, const char *addr, size_t size)
{
	unsigned long long start, device, cpu;
	long long sum = -1;
	char path[64], line[256];
	FILE *file;
	int pid;

	snprintf(path, sizeof(path), "/sys/kernel/debug/cdm/node%d", nid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%d %*s %llx %llu %llu", &pid, &start, &device,
			   &cpu) != 4 || pid != getpid() || start < va(addr) ||
		    start >= va(addr) + size)
			continue;
		sum = (sum < 0 ? 0 : sum) + cpu;
	}
	if (file)
		fclose(file);
	return sum;
}

/*
 * Each queue has to ask for all pages, and comes upon those that are hinted. Threads of
 * the process resolve that, but no CPU has used the memory.
 */
TEST_F_TIMEOUT(placed, faults_of_the_device_are_no_use_by_cpus, CDM_TIMEOUT)
{
	long hints = cdm_vmstat("cdm_hint_faults");
	struct accel other = self->a;

	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, accel_open(&other, variant->flags));
		ASSERT_NE(~0ULL, accel_sum(other.dev, self->addr, SIZE));
		accel_close(&other);
		if (cdm_vmstat("cdm_hint_faults") > hints + 20)
			break;
		usleep(20000);
	}
	EXPECT_LT(hints, cdm_vmstat("cdm_hint_faults"));
	EXPECT_EQ(0, cpu_use(self->a.nid, self->addr, SIZE));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_F_TIMEOUT(placed, by_page_faults, CDM_TIMEOUT)
{
	struct accel other = self->a;

	ASSERT_EQ(0, accel_open(&other, CDM_ACCEL_REPORT_FAULTS));
	/* Each time the device has lost its translations, it asks again. */
	for (int i = 0; i < ROUNDS; i++) {
		if (cdm_pages_on(self->addr, SIZE, self->a.nid))
			break;
		accel_sum(other.dev, self->addr, SIZE);
		ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_READ));
		ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_READ | PROT_WRITE));
	}
	accel_close(&other);
	EXPECT_LT(0, cdm_pages_on(self->addr, SIZE, self->a.nid));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_HARNESS_MAIN
