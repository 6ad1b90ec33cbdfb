// SPDX-License-Identifier: GPL-2.0
/*
 * Row F17: the device is full and so is RAM. A bound task that cannot be served
 * dies alone, or gets SIGBUS if it must not be killed; nobody else notices.
 *
 * Whom the base kills is not certain, so no case is named after the row.
 */
#include <linux/sched/types.h>
#include <sys/syscall.h>

#include "rows_util.h"

#define ROOM		48		/* MiB of the device that are left */
#define RAM_ROOM	96		/* MiB */
#define TENANT		(32 * MIB)	/* fills most of it first */
#define NR_TENANTS	24

FIXTURE(full) {
	int dev;
	unsigned long dev_mask;
	long kills;
	char *addr;
	struct cdm_child cold;		/* has filled the device */
	struct cdm_child bystander;	/* in RAM, the largest of all */
	struct cdm_child child[NR_TENANTS];
	int slow;			/* threads of kswapd */
};

FIXTURE_SETUP(full)
{
	struct tenant cold = { .size = TENANT, .mode = MPOL_BIND };
	struct tenant bystander = { .size = 128 * MIB };

	knobs_reset();
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	if (cdm_is_base())
		SKIP(return, "the base kills anybody");
	/* Or the programs of this test are read again and again. */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	self->dev = cdm_dev(0);
	self->dev_mask = 1UL << self->dev;
	cold.mask = self->dev_mask;
	ASSERT_NE(NULL, tenant_start(&self->bystander, &bystander));
	ASSERT_EQ(0, cdm_leave_node(self->dev, ROOM));
	self->addr = tenant_start(&self->cold, &cold);
	ASSERT_NE(NULL, self->addr);
	ASSERT_EQ(0, cdm_leave_ram(RAM_ROOM));
	self->kills = cdm_vmstat("oom_kill");
}

/* A millisecond in each second; who runs by deadlines may run on any CPU. */
static int slow_down(pid_t pid, cpu_set_t *cpus)
{
	const struct sched_attr slow = {
		.size = sizeof(slow),
		.sched_policy = SCHED_DEADLINE,
		.sched_runtime = 1000000,
		.sched_deadline = 1000000000,
		.sched_period = 1000000000,
	};
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	if (sched_getaffinity(pid, sizeof(*cpus), cpus) ||
	    sched_setaffinity(pid, sizeof(all), &all))
		return -1;
	if (!syscall(__NR_sched_setattr, pid, &slow, 0))
		return 0;
	sched_setaffinity(pid, sizeof(*cpus), cpus);
	return -1;
}

static int speed_up(pid_t pid, const cpu_set_t *cpus)
{
	const struct sched_param param = {};

	if (sched_setscheduler(pid, SCHED_OTHER, &param))
		return -1;
	return sched_setaffinity(pid, sizeof(*cpus), cpus);
}

/* Whether the threads of kswapd hardly get a CPU. Returns how many there are. */
static int kswapd_slow(bool slow)
{
	static cpu_set_t cpus[CDM_MAX_NODES];
	char comm[32];
	glob_t all;
	int nid, nr = 0;

	if (glob("/proc/[0-9]*/comm", 0, NULL, &all))
		return 0;
	for (size_t i = 0; i < all.gl_pathc; i++) {
		const char *path = all.gl_pathv[i];
		pid_t pid = atoi(path + strlen("/proc/"));

		if (cdm_read(path, comm, sizeof(comm)) < 0 ||
		    sscanf(comm, "kswapd%d", &nid) != 1 || nid >= CDM_MAX_NODES)
			continue;
		nr += !(slow ? slow_down(pid, &cpus[nid]) :
			       speed_up(pid, &cpus[nid]));
	}
	globfree(&all);
	return nr;
}

FIXTURE_TEARDOWN(full)
{
	if (self->slow)
		EXPECT_EQ(self->slow, kswapd_slow(false));
	EXPECT_EQ(0, cdm_unfenced());
	tenant_end(&self->cold);
	tenant_end(&self->bystander);
	for (int i = 0; i < ARRAY_SIZE(self->child); i++)
		tenant_end(&self->child[i]);
	EXPECT_EQ(0, cdm_reset(_metadata));
	knobs_reset();
}

/* Those who had their memory have it still. */
static void expect_alive(struct __test_metadata *_metadata,
			 struct cdm_child *cold, char *addr,
			 struct cdm_child *bystander)
{
	EXPECT_EQ(0, tenant_wrong(cold));
	EXPECT_EQ(0, cdm_spread_of(cold->pid, addr, TENANT).absent);
	EXPECT_EQ(0, tenant_wrong(bystander));
}

/* The signal that has ended the child, 0 if none has. */
static int end_signal(struct cdm_child *child)
{
	int status = cdm_wait(child);

	child->pid = 0;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* More than the room that is left, there and in RAM. */
#define TOO_MUCH	(160 * MIB)

TEST_F_TIMEOUT(full, bound_task_dies_alone, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 2 * TOO_MUCH,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};

	EXPECT_EQ(NULL, tenant_start(&self->child[0], &tenant));
	EXPECT_EQ(SIGKILL, end_signal(&self->child[0]));
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
	EXPECT_EQ(self->kills + 1, cdm_vmstat("oom_kill"));
}

/* Two at a time: they die, in a time that ends. */
TEST_F_TIMEOUT(full, bound_tasks_do_not_hang, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 2 * TOO_MUCH,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, cdm_start(&self->child[i], tenant_fn, &tenant));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(LONG_MIN, cdm_hear(&self->child[i]));
		EXPECT_EQ(SIGKILL, end_signal(&self->child[i]));
	}
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
	EXPECT_EQ(self->kills + 2, cdm_vmstat("oom_kill"));
}

/*
 * As many tenants as there can be; those that do not fit on the device are in
 * RAM now. That must not be the end of RAM: what others still ask for there is
 * no reason to kill somebody.
 */
TEST_F_TIMEOUT(full, tenants_leave_some_ram, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 20 * MIB,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};
	struct tenant ram = { .size = 8 * MIB };
	int nr = 0;

	while (nr < NR_TENANTS && tenant_start(&self->child[nr], &tenant))
		nr++;
	ASSERT_GT(NR_TENANTS, nr);
	EXPECT_EQ(SIGKILL, end_signal(&self->child[nr]));
	EXPECT_EQ(self->kills + 1, cdm_vmstat("oom_kill"));
	EXPECT_NE(NULL, tenant_start(&self->child[nr], &ram));
	EXPECT_EQ(self->kills + 1, cdm_vmstat("oom_kill"));
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
	for (int i = 0; i < nr; i++)
		EXPECT_EQ(0, tenant_wrong(&self->child[i]));
}

/* With swap, what comes home from the device is room like any other. */
static void run_with_swap(struct __test_metadata *_metadata,
			  struct cdm_child *child, unsigned long dev_mask,
			  long mib, bool fits)
{
	struct tenant tenant = {
		.size = fits ? TOO_MUCH : 2 * TOO_MUCH,
		.mode = MPOL_BIND,
		.mask = dev_mask,
	};
	long out = cdm_vmstat("pswpout");
	char *addr;

	ASSERT_EQ(0, cdm_swap_on(mib));
	addr = tenant_start(child, &tenant);
	if (fits) {
		ASSERT_NE(NULL, addr);
		EXPECT_EQ(0, tenant_wrong(child));
		EXPECT_LT(out, cdm_vmstat("pswpout"));
	} else {
		ASSERT_EQ(NULL, addr);
		EXPECT_EQ(SIGKILL, end_signal(child));
	}
}

TEST_F_TIMEOUT(full, bound_task_lives_on_swap, 2 * CDM_TIMEOUT)
{
	run_with_swap(_metadata, &self->child[0], self->dev_mask, 512, true);
	EXPECT_EQ(0, tenant_wrong(&self->cold));
	EXPECT_EQ(0, tenant_wrong(&self->bystander));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

/* Eviction does not reclaim RAM. If kswapd is late, who waits does it himself. */
TEST_F_TIMEOUT(full, bound_task_does_not_wait_for_kswapd, CDM_TIMEOUT)
{
	self->slow = kswapd_slow(true);
	ASSERT_LE(cdm_rams().nr, self->slow);
	run_with_swap(_metadata, &self->child[0], self->dev_mask, 512, true);
	EXPECT_EQ(0, tenant_wrong(&self->cold));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

TEST_F_TIMEOUT(full, bound_task_dies_when_swap_is_full, CDM_TIMEOUT)
{
	run_with_swap(_metadata, &self->child[0], self->dev_mask, 16, false);
	EXPECT_EQ(0, tenant_wrong(&self->cold));
	EXPECT_EQ(0, tenant_wrong(&self->bystander));
	EXPECT_EQ(self->kills + 1, cdm_vmstat("oom_kill"));
}

/* Who must not be killed is told by a signal that he may handle. */
TEST_F_TIMEOUT(full, unkillable_task_gets_sigbus, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 2 * TOO_MUCH,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
		.oom_score_adj = "-1000",
	};

	EXPECT_EQ(NULL, tenant_start(&self->child[0], &tenant));
	EXPECT_EQ(SIGBUS, end_signal(&self->child[0]));
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

/* A full device is not "out of memory", which is what this asks to panic on. */
TEST_F_TIMEOUT(full, panic_on_oom, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 2 * TOO_MUCH,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};

	ASSERT_EQ(0, cdm_write(PANIC_ON_OOM, "1"));
	EXPECT_EQ(NULL, tenant_start(&self->child[0], &tenant));
	EXPECT_EQ(SIGKILL, end_signal(&self->child[0]));
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
}

TEST_HARNESS_MAIN
