// SPDX-License-Identifier: GPL-2.0
/*
 * Placement by use across the fence: the rules. The device's accesses are what the
 * test driver is told to report, those of the CPUs are real.
 */
#include <pthread.h>
#include <time.h>

#include "cdm_util.h"

#define SIZE		(4 * MIB)
#define PAGES		((long)(SIZE / PAGE))
#define SEED		11
/* Of so many pages one may be busy whenever its neighbours move home. */
#define FEW		(PAGES / 32)
#define LINE		64
#define MODE		"/proc/sys/kernel/numa_balancing"
#define WATERMARKS	"/proc/sys/vm/watermark_scale_factor"
#define WAIT_MS		(CDM_TIMEOUT * 1000 / 4)

#ifndef MPOL_F_NUMA_BALANCING
#define MPOL_F_NUMA_BALANCING	0x2000
#endif

static void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static int balance_attr(int nid, const char *text)
{
	char path[96];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/cdm/balance", nid);
	return cdm_write(path, text);
}

FIXTURE(balance) {
	int dev;
	int ram;
};

FIXTURE_SETUP(balance)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (cdm_missing())
		SKIP(return, "%s", cdm_missing());
	self->dev = cdm_dev(0);
	self->ram = cdm_ram(0);
	ASSERT_EQ(0, cdm_write(MODE, "4"));
}

FIXTURE_TEARDOWN(balance)
{
	cdm_write(MODE, "0");
	cdm_write(WATERMARKS, "10");
	if (cdm_devs().nr)
		balance_attr(self->dev, "1");
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static int report_to(int nid, const void *addr, size_t size, double passes)
{
	struct cdm_test_report report = {
		.addr = (uintptr_t)addr,
		.size = size,
		.nr = size / LINE * passes,
		.nid = nid,
	};

	return cdm_ioctl(CDM_TEST_IOC_REPORT, &report);
}

/* The device uses it, until so many pages are there or it has had its time. */
static bool use_passes_until(int nid, const char *addr, size_t size,
			     double passes, long nr_pages)
{
	for (long ms = 0; ms < WAIT_MS; ms += 50) {
		if (cdm_pages_on(addr, size, nid) >= nr_pages)
			return true;
		if (report_to(nid, addr, size, passes))
			return false;
		sleep_ms(50);
	}
	return false;
}

static bool use_until(int nid, const char *addr, size_t size, long nr_pages)
{
	return use_passes_until(nid, addr, size, 3, nr_pages);
}

#define HOT	(4 * SIZE)

/*
 * The device uses it a lot, until more is there than there was room for: the last
 * 2 MiB of a device are left free.
 */
static bool use_beyond_room(int nid, const char *addr)
{
	long free;

	cdm_stat_refresh();
	free = cdm_node_meminfo(nid, "MemFree") * 1024 / PAGE;
	return use_passes_until(nid, addr, HOT, 50, free - MIB / PAGE);
}

/* CPUs use it, until no more pages than that are on the device. */
static bool read_until(int nid, const char *addr, size_t size, long nr_pages)
{
	for (long ms = 0; ms < WAIT_MS; ms += 10) {
		cdm_fault_in(addr, size);
		if (!(ms % 200) && cdm_pages_on(addr, size, nid) <= nr_pages)
			return true;
		sleep_ms(10);
	}
	return false;
}

/* The device uses it, until the counter says that it was kept from coming. */
static bool kept(int nid, const char *addr, size_t size, const char *counter)
{
	long before = cdm_vmstat(counter);

	for (long ms = 0; ms < WAIT_MS; ms += 50) {
		if (report_to(nid, addr, size, 3))
			return false;
		sleep_ms(50);
		if (cdm_vmstat(counter) > before)
			return true;
	}
	return false;
}

/* A move is counted when it is over, which is a bit later than it can be seen. */
static bool counted(const char *counter, long nr)
{
	for (long ms = 0; ms < WAIT_MS; ms += 10) {
		if (cdm_vmstat(counter) >= nr)
			return true;
		sleep_ms(10);
	}
	return false;
}

static char *map_filled(size_t size)
{
	char *addr = cdm_map(size + HPAGE);

	addr = (char *)(((uintptr_t)addr + HPAGE - 1) & ~(HPAGE - 1));
	madvise(addr, size, MADV_NOHUGEPAGE);
	cdm_fill(addr, size, SEED);
	return addr;
}

TEST_F_TIMEOUT(balance, what_the_device_uses_comes, CDM_TIMEOUT)
{
	long placed = cdm_vmstat("cdm_placed_balance");
	char *addr = map_filled(SIZE);

	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_TRUE(counted("cdm_placed_balance", placed + PAGES));
	EXPECT_EQ(PAGES, cdm_vmstat("cdm_placed_balance") - placed);
	EXPECT_EQ(PAGES, cdm_audit(self->dev, "cause_balance"));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F_TIMEOUT(balance, neighbours_that_are_not_used_stay, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);

	EXPECT_TRUE(use_until(self->dev, addr + MIB, MIB, MIB / PAGE));
	EXPECT_EQ(MIB / PAGE, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* Lines of debugfs that begin with @who, and how many groups they have on the device. */
static long nr_records_of(int nid, const char *who, long *nr_there)
{
	char path[64], line[256];
	long nr = 0;
	FILE *file;

	*nr_there = 0;
	snprintf(path, sizeof(path), "/sys/kernel/debug/cdm/node%d", nid);
	file = fopen(path, "r");
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, who, strlen(who)))
			continue;
		nr++;
		for (char *at = strrchr(line, ' '); *at; at++)
			*nr_there += *at == 'D';
	}
	fclose(file);
	return nr;
}

static long nr_own_records(int nid, long *nr_there)
{
	char who[64];

	snprintf(who, sizeof(who), "%d balance_test ", getpid());
	return nr_records_of(nid, who, nr_there);
}

/* What debugfs says of us, soon: all that the device uses is there. */
TEST_F_TIMEOUT(balance, anybody_can_see_it, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);
	long nr_there = 0;

	ASSERT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	for (long ms = 0; ms < WAIT_MS && nr_there * 16 < PAGES * 9 / 10; ms += 50) {
		sleep_ms(50);
		EXPECT_EQ((long)(SIZE / HPAGE),
			  nr_own_records(self->dev, &nr_there));
	}
	EXPECT_LE(PAGES * 9 / 10, nr_there * 16);
}

/* A pass and a half is less than what it costs to move. */
TEST_F_TIMEOUT(balance, little_use_moves_nothing, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);

	EXPECT_EQ(0, report_to(self->dev, addr, SIZE, 1.5));
	sleep_ms(1000);
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
}

TEST_F_TIMEOUT(balance, what_cpus_use_comes_home, CDM_TIMEOUT)
{
	long faults = cdm_vmstat("cdm_hint_faults");
	long evicted = cdm_vmstat("cdm_evicted_balance");
	char *addr = map_filled(SIZE);

	ASSERT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	EXPECT_TRUE(read_until(self->dev, addr, SIZE, FEW));
	EXPECT_LT(faults, cdm_vmstat("cdm_hint_faults"));
	EXPECT_TRUE(counted("cdm_evicted_balance", evicted + PAGES - FEW));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F_TIMEOUT(balance, who_comes_back_is_held, CDM_TIMEOUT)
{
	char *addr = map_filled(MIB);
	long held;

	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(use_until(self->dev, addr, MIB, MIB / PAGE));
		ASSERT_TRUE(read_until(self->dev, addr, MIB, FEW));
	}
	held = cdm_vmstat("cdm_kept_held");
	ASSERT_TRUE(use_until(self->dev, addr, MIB, MIB / PAGE));
	EXPECT_LT(held, cdm_vmstat("cdm_kept_held"));
	EXPECT_EQ(0, cdm_wrong(addr, MIB, SEED));
}

TEST_F_TIMEOUT(balance, other_modes_move_nothing, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);
	char mode[2] = "0";

	for (; mode[0] < '4'; mode[0]++) {
		ASSERT_EQ(0, cdm_write(MODE, mode));
		EXPECT_EQ(0, report_to(self->dev, addr, SIZE, 8));
		sleep_ms(500);
		EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
	}
	/* Together with the others it does. */
	ASSERT_EQ(0, cdm_write(MODE, "7"));
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
}

TEST_F_TIMEOUT(balance, bad_modes, CDM_TIMEOUT)
{
	EXPECT_EQ(-EINVAL, cdm_write(MODE, "8"));
	EXPECT_EQ(-EINVAL, cdm_write(MODE, "-1"));
	EXPECT_EQ(4, cdm_read_long(MODE));
	for (char mode[2] = "0"; mode[0] < '8'; mode[0]++)
		EXPECT_EQ(0, cdm_write(MODE, mode));
}

TEST_F_TIMEOUT(balance, a_node_may_be_left_out, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);

	EXPECT_EQ(-EINVAL, balance_attr(self->dev, "perhaps"));
	ASSERT_EQ(0, balance_attr(self->dev, "0"));
	EXPECT_EQ(0, report_to(self->dev, addr, SIZE, 8));
	sleep_ms(500);
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
	ASSERT_EQ(0, balance_attr(self->dev, "1"));
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
}

TEST_F_TIMEOUT(balance, bad_reports, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);

	EXPECT_EQ(-ENODEV, report_to(self->ram, addr, SIZE, 3));
	EXPECT_EQ(-ENODEV, report_to(-1, addr, SIZE, 3));
	EXPECT_EQ(-ENODEV, report_to(1 << 20, addr, SIZE, 3));
	EXPECT_EQ(-EINVAL, report_to(self->dev, addr + 1, SIZE, 3));
	EXPECT_EQ(-EINVAL, report_to(self->dev, addr, 0, 3));
	EXPECT_EQ(-EINVAL, report_to(self->dev, addr, SIZE + 1, 3));
	EXPECT_EQ(-EINVAL, report_to(self->dev, (void *)-PAGE, 2 * PAGE, 3));
	/* Nothing there is nothing to move. */
	munmap(addr, SIZE);
	EXPECT_EQ(0, report_to(self->dev, addr, SIZE, 1e12));
	sleep_ms(300);
}

TEST_F_TIMEOUT(balance, where_nothing_is_there_is_no_record, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);
	long nr_there;

	ASSERT_EQ(0, report_to(self->dev, addr, SIZE, 0.1));
	EXPECT_EQ((long)(SIZE / HPAGE), nr_own_records(self->dev, &nr_there));
	munmap(addr, SIZE);
	addr = cdm_map(HOT);
	ASSERT_EQ(0, report_to(self->dev, addr, HOT, 0.1));
	EXPECT_GE((long)(SIZE / HPAGE), nr_own_records(self->dev, &nr_there));
}

/* As many 2 MiB, with a page in each, as there are records at most. */
static char *map_sparse(int nid, long *nr)
{
	char *addr;

	*nr = 2 * (cdm_node_meminfo(nid, "MemTotal") * 1024 / HPAGE + 1);
	addr = cdm_map((*nr + 1) * HPAGE);
	if (!addr)
		return NULL;
	addr = (char *)(((uintptr_t)addr + HPAGE - 1) & ~(HPAGE - 1));
	madvise(addr, *nr * HPAGE, MADV_NOHUGEPAGE);
	for (long i = 0; i < *nr; i++)
		addr[i * HPAGE] = 1;
	return addr;
}

/* Has some records, and ends when they are no longer news. */
static int records_fn(struct cdm_child *me, void *arg)
{
	int dev = *(int *)arg;
	char *addr = map_sparse(dev, &(long){ 0 });

	if (!addr || report_to(dev, addr, 64 * HPAGE, 0.01))
		return 1;
	sleep_ms(1000);
	return nr_own_records(dev, &(long){ 0 }) < 64 ? 2 : 0;
}

TEST_F_TIMEOUT(balance, one_process_has_half_of_the_records, CDM_TIMEOUT)
{
	struct cdm_child child;
	long nr, nr_there;
	char *addr = map_sparse(self->dev, &nr);

	ASSERT_NE(NULL, addr);
	for (long i = 0; i < nr; i++)
		ASSERT_EQ(0, report_to(self->dev, addr + i * HPAGE, HPAGE, 0.01));
	EXPECT_LE(nr / 4, nr_own_records(self->dev, &nr_there));
	EXPECT_GE(nr / 2, nr_own_records(self->dev, &nr_there));
	/* Those of a process that has ended go, although they are not the oldest. */
	ASSERT_EQ(0, cdm_start(&child, records_fn, &self->dev));
	EXPECT_EQ(0, cdm_wait(&child));
	for (long ms = 0; ms < WAIT_MS; ms += 100) {
		if (!nr_records_of(self->dev, "0 -", &nr_there))
			break;
		sleep_ms(100);
	}
	EXPECT_EQ(0, nr_records_of(self->dev, "0 -", &nr_there));
	munmap(addr, nr * HPAGE);
}

TEST_F_TIMEOUT(balance, a_policy_of_the_mapping_rules, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);

	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, 1UL << self->ram, 0));
	EXPECT_TRUE(kept(self->dev, addr, SIZE, "cdm_kept_policy"));
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_DEFAULT, 0, 0));
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
}

TEST_F_TIMEOUT(balance, a_policy_of_the_task_rules, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);

	ASSERT_EQ(0, cdm_task_policy(MPOL_LOCAL, 0));
	EXPECT_TRUE(kept(self->dev, addr, SIZE, "cdm_kept_policy"));
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
}

/* What a policy has put on the device stays there, whatever CPUs do. */
TEST_F_TIMEOUT(balance, a_policy_rules_on_the_device, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, report_to(self->dev, addr, SIZE, 0.1));
	for (long ms = 0; ms < 3000; ms += 10) {
		cdm_fault_in(addr, SIZE);
		sleep_ms(10);
	}
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
}

/*
 * Nobody has to fault for memory that does not move anyway: where a policy of the task
 * or of the mapping says where it is. That of others goes on.
 */
TEST_F_TIMEOUT(balance, who_opts_out_takes_no_hint_faults, CDM_TIMEOUT)
{
	char *ours = map_filled(SIZE), *bound = map_filled(SIZE);
	long hints = cdm_vmstat("cdm_hints_set");

	ASSERT_EQ(0, cdm_mbind(bound, SIZE, MPOL_BIND, 1UL << self->ram, 0));
	for (int i = 0; i < 30; i++) {
		ASSERT_EQ(0, report_to(self->dev, bound, SIZE, 0.5));
		cdm_fault_in(bound, SIZE);
		sleep_ms(100);
	}
	EXPECT_EQ(hints, cdm_vmstat("cdm_hints_set"));
	ASSERT_EQ(0, cdm_task_policy(MPOL_LOCAL, 0));
	for (int i = 0; i < 30; i++) {
		ASSERT_EQ(0, report_to(self->dev, ours, SIZE, 0.5));
		cdm_fault_in(ours, SIZE);
		sleep_ms(100);
	}
	EXPECT_EQ(hints, cdm_vmstat("cdm_hints_set"));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	ASSERT_EQ(0, report_to(self->dev, ours, SIZE, 0.5));
	EXPECT_TRUE(counted("cdm_hints_set", hints + 1));
}

TEST_F_TIMEOUT(balance, a_policy_may_ask_for_it, CDM_TIMEOUT)
{
	unsigned long mask = 1UL << self->ram | 1UL << self->dev;
	char *addr = map_filled(SIZE);

	ASSERT_EQ(0, cdm_task_policy(MPOL_BIND | MPOL_F_NUMA_BALANCING, mask));
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F_TIMEOUT(balance, a_cpuset_rules, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE), mems[16];

	snprintf(mems, sizeof(mems), "%d", self->ram);
	ASSERT_EQ(0, cdm_cgroup_create("cdm_balance"));
	ASSERT_EQ(0, cdm_cgroup_write("cdm_balance", "cpuset.mems", mems));
	ASSERT_EQ(0, cdm_cgroup_enter("cdm_balance"));
	EXPECT_TRUE(kept(self->dev, addr, SIZE, "cdm_kept_policy"));
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
	ASSERT_EQ(0, cdm_cgroup_leave());
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
}

/* Enter a cpuset of one node of RAM and the device. */
static int enter_cpuset(int ram, int dev)
{
	char mems[16];

	snprintf(mems, sizeof(mems), "%d,%d", ram, dev);
	return cdm_cgroup_create("cdm_balance") ?:
	       cdm_cgroup_write("cdm_balance", "cpuset.mems", mems) ?:
	       cdm_cgroup_enter("cdm_balance");
}

/* Whichever RAM a process may have, that is where its memory comes home to. */
TEST_F_TIMEOUT(balance, home_is_in_the_cpuset, CDM_TIMEOUT)
{
	struct cdm_nodes rams = cdm_rams();

	if (rams.nr < 2)
		SKIP(return, "topology %s has one node of RAM", cdm_topology());
	for (int i = 0; i < rams.nr; i++) {
		char *addr;

		ASSERT_EQ(0, enter_cpuset(rams.nid[i], self->dev));
		addr = map_filled(SIZE);
		EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
		EXPECT_TRUE(read_until(self->dev, addr, SIZE, FEW));
		EXPECT_LE(PAGES - FEW, cdm_pages_on(addr, SIZE, rams.nid[i]));
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		ASSERT_EQ(0, cdm_cgroup_leave());
		ASSERT_EQ(0, cdm_cgroup_remove("cdm_balance"));
	}
}

/*
 * If there is no room in it, RAM elsewhere is no substitute. With watermarks at a
 * tenth of a node it is full while a part is free: whatever else runs, it stays
 * so. The other node has room, even by these watermarks; it is the nearer one.
 */
TEST_F_TIMEOUT(balance, home_is_nowhere_else, CDM_TIMEOUT)
{
	struct cdm_nodes rams = cdm_rams();
	long full = cdm_vmstat("cdm_kept_full");
	int home = rams.nid[rams.nr - 1];
	char *addr;

	if (rams.nr < 2)
		SKIP(return, "topology %s has one node of RAM", cdm_topology());
	ASSERT_EQ(0, enter_cpuset(home, self->dev));
	addr = map_filled(SIZE);
	ASSERT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	ASSERT_EQ(0, cdm_leave_node(home, 64));
	ASSERT_EQ(0, cdm_write(WATERMARKS, "1000"));
	for (long ms = 0; ms < WAIT_MS; ms += 10) {
		cdm_fault_in(addr, SIZE);
		if (cdm_vmstat("cdm_kept_full") > full)
			break;
		sleep_ms(10);
	}
	EXPECT_LT(full, cdm_vmstat("cdm_kept_full"));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	ASSERT_EQ(0, cdm_write(WATERMARKS, "10"));
	EXPECT_TRUE(read_until(self->dev, addr, SIZE, FEW));
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->ram));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	ASSERT_EQ(0, cdm_cgroup_leave());
}

/* Within the cpuset, what the nearest RAM has no room for goes to the next. */
TEST_F_TIMEOUT(balance, home_is_the_next_with_room, CDM_TIMEOUT)
{
	struct cdm_nodes rams = cdm_rams();
	int home, dev;
	char *addr;

	if (rams.nr < 2)
		SKIP(return, "topology %s has one node of RAM", cdm_topology());
	home = rams.nid[1];	/* of the second device */
	dev = cdm_dev(1);
	addr = map_filled(SIZE);
	ASSERT_TRUE(use_until(dev, addr, SIZE, PAGES));
	ASSERT_EQ(0, cdm_leave_node(home, 64));
	ASSERT_EQ(0, cdm_write(WATERMARKS, "1000"));
	EXPECT_TRUE(read_until(dev, addr, SIZE, FEW));
	EXPECT_LE(PAGES - FEW, cdm_pages_on(addr, SIZE, self->ram));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* In a cpuset of one node of RAM and a device, uses the device once. */
static int cold_fn(struct cdm_child *me, void *arg)
{
	const int *nodes = arg;
	char *addr;

	if (enter_cpuset(nodes[0], nodes[1]))
		return 2;
	addr = map_filled(SIZE);
	if (!use_until(nodes[1], addr, SIZE, PAGES))
		return 3;
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return cdm_wrong(addr, SIZE, SEED) ? 4 : 0;
}

/* Who has no home to go to does not keep others from making room. */
TEST_F_TIMEOUT(balance, one_full_home_is_not_all, CDM_TIMEOUT)
{
	struct cdm_nodes rams = cdm_rams();
	int nodes[] = { rams.nid[rams.nr - 1], self->dev };
	struct cdm_child child;
	char *cold, *hot;

	if (rams.nr < 2)
		SKIP(return, "topology %s has one node of RAM", cdm_topology());
	ASSERT_EQ(0, cdm_start(&child, cold_fn, nodes));
	ASSERT_LT(0, cdm_hear(&child));
	cold = map_filled(SIZE);
	hot = map_filled(HOT);
	/* A bit more than the child. */
	ASSERT_TRUE(use_until(self->dev, cold, SIZE, PAGES));
	ASSERT_EQ(0, report_to(self->dev, cold, SIZE, 3));
	ASSERT_EQ(0, cdm_leave_node(nodes[0], 64));
	ASSERT_EQ(0, cdm_leave_node(self->dev, 2));
	ASSERT_EQ(0, cdm_write(WATERMARKS, "1000"));
	EXPECT_TRUE(use_beyond_room(self->dev, hot));
	EXPECT_GT(PAGES, cdm_pages_on(cold, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(hot, HOT, SEED));
	EXPECT_EQ(0, cdm_wrong(cold, SIZE, SEED));
	EXPECT_EQ(0, cdm_wait(&child));
}

TEST_F_TIMEOUT(balance, the_owner_may_refuse, CDM_TIMEOUT)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	char *addr = map_filled(SIZE);
	long hints = cdm_vmstat("cdm_hints_set");
	struct cdm_test_veto veto = {
		.addr = (uintptr_t)addr,
		.size = SIZE,
	};

	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_VETO, &veto));
	EXPECT_TRUE(kept(self->dev, addr, SIZE, "cdm_kept_veto"));
	/* Then nobody has to fault for it. */
	EXPECT_EQ(hints, cdm_vmstat("cdm_hints_set"));
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
	close(fd);
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
}

static void on_signal(int sig)
{
}

/* The child holds its mmap lock when balancing comes, until there is a signal. */
static int holder_fn(struct cdm_child *me, void *arg)
{
	struct sigaction sa = { .sa_handler = on_signal };
	char *addr = map_filled(SIZE);
	struct cdm_test_report report = {
		.addr = (uintptr_t)addr,
		.size = SIZE,
		.nr = SIZE / LINE * 8,
		.nid = *(int *)arg,
	};

	sigaction(SIGUSR1, &sa, NULL);
	cdm_say(me, cdm_ioctl(CDM_TEST_IOC_HOLD, &report));
	cdm_say(me, use_until(report.nid, addr, SIZE, PAGES));
	cdm_hear(me);
	return 0;
}

static bool somebody_holds(void)
{
	for (long ms = 0; ms < WAIT_MS; ms += 10) {
		struct cdm_test_events events = {};

		if (!cdm_ioctl(CDM_TEST_IOC_EVENTS, &events) && events.held)
			return true;
		sleep_ms(10);
	}
	return false;
}

/* A process that does not let go of its mmap lock makes nobody else wait. */
TEST_F_TIMEOUT(balance, busy_process_delays_nobody, CDM_TIMEOUT)
{
	long busy = cdm_vmstat("cdm_kept_busy");
	struct cdm_child child;
	char *addr;

	ASSERT_EQ(0, cdm_start(&child, holder_fn, &self->dev));
	EXPECT_TRUE(somebody_holds());
	addr = map_filled(SIZE);	/* nothing that the child has, too */
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	EXPECT_TRUE(counted("cdm_kept_busy", busy + 1));
	kill(child.pid, SIGUSR1);
	EXPECT_EQ(-EINTR, cdm_hear(&child));
	EXPECT_EQ(true, cdm_hear(&child));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	cdm_kill(&child);
}

TEST_F_TIMEOUT(balance, shared_memory, CDM_TIMEOUT)
{
	char *addr = cdm_map_shared(SIZE);

	cdm_fill(addr, SIZE, SEED);
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F_TIMEOUT(balance, page_cache_stays, CDM_TIMEOUT)
{
	char *addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, cdm_open_big(SIZE),
			  0);

	ASSERT_NE(MAP_FAILED, addr);
	cdm_fault_in(addr, SIZE);
	EXPECT_TRUE(kept(self->dev, addr, SIZE, "cdm_kept_policy"));
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
}

TEST_F_TIMEOUT(balance, huge_pages_move_whole, CDM_TIMEOUT)
{
	long split = cdm_vmstat("thp_split_page");
	char *addr = cdm_map_huge(SIZE);

	ASSERT_NE(NULL, addr);
	cdm_fill(addr, SIZE, SEED);
	EXPECT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	cdm_stat_refresh();
	EXPECT_EQ(SIZE / 1024, cdm_node_meminfo(self->dev, "AnonHugePages"));
	EXPECT_TRUE(read_until(self->dev, addr, SIZE, FEW));
	EXPECT_EQ(split, cdm_vmstat("thp_split_page"));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* What is pinned is where it is. */
TEST_F_TIMEOUT(balance, pinned_pages_stay, CDM_TIMEOUT)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	char *addr = map_filled(MIB);
	__u64 pin = (uintptr_t)addr;

	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_PIN, &pin));
	EXPECT_TRUE(use_until(self->dev, addr, MIB, MIB / PAGE - 1));
	EXPECT_EQ(0, cdm_pages_on(addr, PAGE, self->dev));
	close(fd);
	EXPECT_EQ(0, cdm_wrong(addr, MIB, SEED));
}

TEST_F_TIMEOUT(balance, a_full_device_takes_no_more, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);

	ASSERT_EQ(0, cdm_leave_node(self->dev, 1));
	EXPECT_TRUE(kept(self->dev, addr, SIZE, "cdm_kept_full"));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* Who is used a lot takes the place of who was once. */
TEST_F_TIMEOUT(balance, what_is_used_least_makes_room, CDM_TIMEOUT)
{
	char *cold = map_filled(SIZE), *hot = map_filled(HOT);

	ASSERT_TRUE(use_until(self->dev, cold, SIZE, PAGES));
	ASSERT_EQ(0, cdm_leave_node(self->dev, 2));
	EXPECT_TRUE(use_beyond_room(self->dev, hot));
	EXPECT_GT(PAGES, cdm_pages_on(cold, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(hot, HOT, SEED));
	EXPECT_EQ(0, cdm_wrong(cold, SIZE, SEED));
}

/* The owner claims all that is free on @nid, and @mib MiB of tenants' memory. */
static int recall(int fd, int nid, long mib)
{
	struct cdm_test_recall ask = {
		.nid = nid,
		.order = 9,
		.nr = (cdm_node_meminfo(nid, "MemFree") / 1024 + mib) / 2,
		.deadline_ms = WAIT_MS,
	};

	return ioctl(fd, CDM_TEST_IOC_RECALL, &ask) ? -errno : 0;
}

/* Though it lies first, and was there before the other. */
TEST_F_TIMEOUT(balance, a_recall_takes_what_is_used_least, CDM_TIMEOUT)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	char *hot = cdm_map_on(self->dev, 8 * SIZE, SEED);
	char *cold = cdm_map_on(self->dev, 8 * SIZE, SEED);

	ASSERT_NE(NULL, hot);
	ASSERT_NE(NULL, cold);
	ASSERT_EQ(0, report_to(self->dev, hot, 8 * SIZE, 1));
	ASSERT_EQ(0, recall(fd, self->dev, 4 * SIZE / MIB));
	EXPECT_LE(8 * PAGES * 9 / 10, cdm_pages_on(hot, 8 * SIZE, self->dev));
	EXPECT_GE(6 * PAGES, cdm_pages_on(cold, 8 * SIZE, self->dev));
	/* In the end nobody is spared. */
	ASSERT_EQ(0, recall(fd, self->dev, 8 * SIZE / MIB));
	EXPECT_GE(5 * PAGES, cdm_pages_on(hot, 8 * SIZE, self->dev));
	close(fd);
	EXPECT_EQ(0, cdm_wrong(hot, 8 * SIZE, SEED));
	EXPECT_EQ(0, cdm_wrong(cold, 8 * SIZE, SEED));
}

TEST_F_TIMEOUT(balance, a_recall_takes_page_cache_first, CDM_TIMEOUT)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	char *anon = cdm_map_on(self->dev, 4 * SIZE, SEED);
	char *file = mmap(NULL, 4 * SIZE, PROT_READ, MAP_SHARED,
			  cdm_open_big(4 * SIZE), 0);

	ASSERT_NE(NULL, anon);
	ASSERT_NE(MAP_FAILED, file);
	cdm_fault_in(file, 4 * SIZE);
	ASSERT_EQ(0, cdm_migrate(file, 4 * SIZE, self->dev, NULL));
	ASSERT_EQ(0, report_to(self->dev, file, 4 * SIZE, 1));
	ASSERT_EQ(0, recall(fd, self->dev, 2 * SIZE / MIB));
	EXPECT_EQ(4 * PAGES, cdm_pages_on(anon, 4 * SIZE, self->dev));
	EXPECT_GE(3 * PAGES, cdm_pages_on(file, 4 * SIZE, self->dev));
	close(fd);
	EXPECT_EQ(0, cdm_wrong(anon, 4 * SIZE, SEED));
}

TEST_F_TIMEOUT(balance, straight_to_the_other_device, CDM_TIMEOUT)
{
	char *addr = map_filled(SIZE);
	long evicted;

	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	ASSERT_TRUE(use_until(self->dev, addr, SIZE, PAGES));
	evicted = cdm_vmstat("cdm_evicted_balance");
	EXPECT_TRUE(use_until(cdm_dev(1), addr, SIZE, PAGES));
	EXPECT_EQ(evicted, cdm_vmstat("cdm_evicted_balance"));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

struct user {
	int nid;
	char *addr;
	bool stop;
};

/* A device that never rests. */
static void *reporter(void *arg)
{
	struct user *user = arg;

	while (!__atomic_load_n(&user->stop, __ATOMIC_RELAXED)) {
		report_to(user->nid, user->addr, SIZE, 3);
		sleep_ms(5);
	}
	return NULL;
}

/* Each word is counted up by one CPU, while its page goes to and fro. */
TEST_F_TIMEOUT(balance, nothing_is_lost_on_the_way, CDM_TIMEOUT)
{
	struct user user = { .nid = self->dev, .addr = cdm_map(SIZE) };
	__u64 *words = (__u64 *)user.addr, rounds = 0;
	long moved = cdm_vmstat("cdm_placed_balance"), wrong = 0;
	pthread_t thread;

	madvise(user.addr, SIZE, MADV_NOHUGEPAGE);
	cdm_touch(user.addr, SIZE);
	memset(user.addr, 0, SIZE);
	ASSERT_EQ(0, pthread_create(&thread, NULL, reporter, &user));
	for (long until = time(NULL) + 60; time(NULL) < until; rounds++) {
		for (size_t i = 0; i < SIZE / sizeof(*words); i += 64)
			words[i]++;
		if (!(rounds % 64) &&
		    cdm_vmstat("cdm_placed_balance") - moved >= PAGES)
			until = 0;
	}
	__atomic_store_n(&user.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	for (size_t i = 0; i < SIZE / sizeof(*words); i += 64)
		wrong += words[i] != rounds;
	EXPECT_EQ(0, wrong);
	EXPECT_LT(moved, cdm_vmstat("cdm_placed_balance"));
}

/* Mappings that come and go, processes that fork and exit, all while it moves. */
TEST_F_TIMEOUT(balance, address_spaces_that_change, CDM_TIMEOUT)
{
	struct user user = { .nid = self->dev, .addr = map_filled(SIZE) };
	char *part, *away = cdm_map(MIB);
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, reporter, &user));
	for (int i = 0; i < 100; i++) {
		part = user.addr + i % 4 * MIB;
		if (!fork())
			_exit(cdm_wrong(user.addr, SIZE, SEED) != 0);
		ASSERT_EQ(0, mprotect(part, MIB, PROT_READ));
		ASSERT_EQ(0, mprotect(part, MIB, PROT_READ | PROT_WRITE));
		ASSERT_EQ(away, mremap(part, MIB, MIB,
				       MREMAP_MAYMOVE | MREMAP_FIXED, away));
		ASSERT_EQ(part, mremap(away, MIB, MIB,
				       MREMAP_MAYMOVE | MREMAP_FIXED, part));
	}
	__atomic_store_n(&user.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	for (int status; wait(&status) > 0;)
		EXPECT_EQ(0, status);
	EXPECT_EQ(0, cdm_wrong(user.addr, SIZE, SEED));
}

TEST_F_TIMEOUT(balance, a_device_that_goes, CDM_TIMEOUT)
{
	struct user user = { .nid = self->dev, .addr = map_filled(SIZE) };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, reporter, &user));
	for (int i = 0; i < 5; i++) {
		EXPECT_TRUE(use_until(self->dev, user.addr, SIZE, PAGES / 2));
		ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
		EXPECT_EQ(-ENODEV, report_to(self->dev, user.addr, SIZE, 3));
		ASSERT_EQ(0, cdm_register_all());
	}
	__atomic_store_n(&user.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, cdm_wrong(user.addr, SIZE, SEED));
}

TEST_HARNESS_MAIN
