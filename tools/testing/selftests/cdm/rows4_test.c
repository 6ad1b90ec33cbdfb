// SPDX-License-Identifier: GPL-2.0
/*
 * Row F17: the device is full and so is RAM. The task whose own fault cannot be
 * served gets SIGBUS, any other an error; the OOM killer stays out of it.
 *
 * Whom the base kills is not certain, so no case is named after the row.
 */
#include <linux/sched/types.h>
#include <setjmp.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "rows_util.h"

#define ROOM		48		/* MiB of the device that are left */
#define RAM_ROOM	96		/* MiB */
#define SEED		31
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
	if (cdm_is_unfenced())
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

TEST_F_TIMEOUT(full, bound_task_gets_sigbus, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 2 * TOO_MUCH,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};

	EXPECT_EQ(NULL, tenant_start(&self->child[0], &tenant));
	EXPECT_EQ(SIGBUS, end_signal(&self->child[0]));
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

/* Two at a time: neither takes what frees itself at the end of the other, for ever. */
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
		EXPECT_EQ(SIGBUS, end_signal(&self->child[i]));
	}
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
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
	EXPECT_EQ(SIGBUS, end_signal(&self->child[nr]));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
	EXPECT_NE(NULL, tenant_start(&self->child[nr], &ram));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
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
		EXPECT_EQ(SIGBUS, end_signal(child));
	}
}

TEST_F_TIMEOUT(full, bound_task_lives_on_swap, 2 * CDM_TIMEOUT)
{
	/* The next one is the same, with more to wait for. */
	if (cdm_no_repeats())
		SKIP(return, CDM_REPEATS);
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

TEST_F_TIMEOUT(full, bound_task_gets_sigbus_when_swap_is_full, CDM_TIMEOUT)
{
	run_with_swap(_metadata, &self->child[0], self->dev_mask, 16, false);
	EXPECT_EQ(0, tenant_wrong(&self->cold));
	EXPECT_EQ(0, tenant_wrong(&self->bystander));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

/* The signal says where, and who handles it goes on with what there is. */
static sigjmp_buf handled;
static char *fault_addr;

static void handle_sigbus(int sig, siginfo_t *info, void *context)
{
	fault_addr = info->si_code == BUS_ADRERR ? info->si_addr : NULL;
	siglongjmp(handled, 1);
}

static int handler_fn(struct cdm_child *me, void *arg)
{
	struct sigaction sa = {
		.sa_sigaction = handle_sigbus, .sa_flags = SA_SIGINFO,
	};
	unsigned long mask = *(unsigned long *)arg;
	static char *addr, *at;

	addr = cdm_map(2 * TOO_MUCH);
	sigaction(SIGBUS, &sa, NULL);
	if (cdm_mbind(addr, 2 * TOO_MUCH, MPOL_BIND, mask, 0))
		return 1;
	if (!sigsetjmp(handled, 1)) {
		for (char *p = addr; p < addr + 2 * TOO_MUCH; p += PAGE) {
			/* Before the fault, whatever the compiler thinks. */
			__atomic_store_n(&at, p, __ATOMIC_SEQ_CST);
			*(__u64 *)p = cdm_word(SEED, p - addr);
		}
		return 2;
	}
	cdm_say(me, fault_addr == at ? 0 : -EINVAL);
	cdm_say(me, at == addr ? -1 :
		cdm_stamp_wrong(addr, at - addr, SEED));
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(full, sigbus_can_be_handled, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_start(&self->child[0], handler_fn, &self->dev_mask));
	EXPECT_EQ(0, cdm_hear(&self->child[0]));
	EXPECT_EQ(0, cdm_hear(&self->child[0]));
	tenant_end(&self->child[0]);
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

/* A device that is closed has no room, however much of it is free. */
TEST_F_TIMEOUT(full, other_device_is_closed, CDM_TIMEOUT)
{
	struct tenant tenant = {
		.size = 2 * TOO_MUCH,
		.mode = MPOL_BIND,
	};
	struct cdm_test_reserve suspend = { .deadline_ms = CDM_ACK_MS };

	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	suspend.nid = cdm_dev(1);
	tenant.mask = self->dev_mask | 1UL << suspend.nid;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_SUSPEND, &suspend));
	EXPECT_EQ(NULL, tenant_start(&self->child[0], &tenant));
	EXPECT_EQ(SIGBUS, end_signal(&self->child[0]));
	EXPECT_EQ(0, cdm_ioctl(CDM_TEST_IOC_RESUME, &suspend));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

/* A group that is to die together does not die of a full device. */
TEST_F_TIMEOUT(full, group_of_bound_task, CDM_TIMEOUT)
{
	struct tenant mate = { .size = MIB, .cgroup = "cdm_full" };
	struct tenant tenant = {
		.size = 2 * TOO_MUCH,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
		.cgroup = "cdm_full",
	};

	ASSERT_EQ(0, cdm_cgroup_create("cdm_full"));
	ASSERT_EQ(0, cdm_cgroup_write("cdm_full", "memory.oom.group", "1"));
	ASSERT_NE(NULL, tenant_start(&self->child[1], &mate));
	EXPECT_EQ(NULL, tenant_start(&self->child[0], &tenant));
	EXPECT_EQ(SIGBUS, end_signal(&self->child[0]));
	EXPECT_EQ(0, tenant_wrong(&self->child[1]));
	EXPECT_EQ(self->kills, cdm_vmstat("oom_kill"));
}

/* Memory of a task that is bound to the full device, and how somebody fills it. */
enum filler_how { BY_PROC_MEM, BY_WRITEV, BY_PTRACE, BY_OWN_SYSCALL };

struct filler {
	enum filler_how how;
	unsigned long mask;
	pid_t pid;		/* whose memory */
	char *addr;
};

static int bound_fn(struct cdm_child *me, void *arg)
{
	struct filler *filler = arg;
	char *addr = cdm_map(2 * TOO_MUCH);

	if (cdm_mbind(addr, 2 * TOO_MUCH, MPOL_BIND, filler->mask, 0))
		return 1;
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return 0;
}

/* Write to one page. Returns 0 or an error. */
static int fill_one(struct filler *filler, int fd, char *addr)
{
	__u64 word = 1;
	struct iovec from = { &word, sizeof(word) }, to = { addr, sizeof(word) };
	ssize_t nr = -1;

	errno = 0;
	switch (filler->how) {
	case BY_PROC_MEM:
		nr = pwrite(fd, &word, sizeof(word), (uintptr_t)addr);
		break;
	case BY_WRITEV:
		nr = process_vm_writev(filler->pid, &from, 1, &to, 1, 0);
		break;
	case BY_PTRACE:
		if (!ptrace(PTRACE_POKEDATA, filler->pid, addr, word))
			nr = sizeof(word);
		break;
	case BY_OWN_SYSCALL:
		nr = pread(fd, addr, sizeof(word), 0);
		break;
	}
	return nr == sizeof(word) ? 0 : -errno;
}

static int filler_fn(struct cdm_child *me, void *arg)
{
	struct filler *filler = arg;
	char path[64];
	int fd, err = 0;

	if (filler->how == BY_OWN_SYSCALL) {
		filler->addr = cdm_map(2 * TOO_MUCH);
		if (cdm_mbind(filler->addr, 2 * TOO_MUCH, MPOL_BIND,
			      filler->mask, 0))
			return 1;
		fd = open("/proc/self/exe", O_RDONLY);
	} else {
		snprintf(path, sizeof(path), "/proc/%d/mem", filler->pid);
		fd = open(path, O_RDWR);
	}
	if (fd < 0)
		return 2;
	if (filler->how == BY_PTRACE &&
	    (ptrace(PTRACE_ATTACH, filler->pid, NULL, NULL) ||
	     waitpid(filler->pid, NULL, __WALL) != filler->pid))
		return 3;
	for (size_t off = 0; !err && off < 2 * TOO_MUCH; off += PAGE)
		err = fill_one(filler, fd, filler->addr + off);
	cdm_say(me, err);
	cdm_hear(me);
	return 0;
}

FIXTURE(remote) {
	FIXTURE_DATA(full) full;
};

FIXTURE_VARIANT(remote) {
	enum filler_how how;
	int err;
};

FIXTURE_VARIANT_ADD(remote, proc_mem) { .how = BY_PROC_MEM, .err = -EIO };
FIXTURE_VARIANT_ADD(remote, writev) { .how = BY_WRITEV, .err = -EFAULT };
FIXTURE_VARIANT_ADD(remote, ptrace) { .how = BY_PTRACE, .err = -EIO };
FIXTURE_VARIANT_ADD(remote, own_syscall) {
	.how = BY_OWN_SYSCALL, .err = -EFAULT,
};

FIXTURE_SETUP(remote)
{
	full_setup(_metadata, &self->full, NULL);
}

FIXTURE_TEARDOWN(remote)
{
	full_teardown(_metadata, &self->full, NULL);
}

/* The writer gets an error; neither it nor the owner of the memory dies. */
TEST_F_TIMEOUT(remote, gets_an_error, CDM_TIMEOUT)
{
	struct cdm_child *owner = &self->full.child[0];
	struct cdm_child *writer = &self->full.child[1];
	struct filler filler = {
		.how = variant->how, .mask = self->full.dev_mask,
	};

	ASSERT_EQ(0, cdm_start(owner, bound_fn, &filler));
	filler.pid = owner->pid;
	filler.addr = (char *)cdm_hear(owner);
	ASSERT_NE(LONG_MIN, (long)filler.addr);
	ASSERT_EQ(0, cdm_start(writer, filler_fn, &filler));
	EXPECT_EQ(variant->err, cdm_hear(writer));
	EXPECT_EQ(0, kill(owner->pid, 0));
	EXPECT_EQ(0, waitpid(owner->pid, NULL, WNOHANG));
	expect_alive(_metadata, &self->full.cold, self->full.addr,
		     &self->full.bystander);
	EXPECT_EQ(self->full.kills, cdm_vmstat("oom_kill"));
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
	EXPECT_EQ(SIGBUS, end_signal(&self->child[0]));
	expect_alive(_metadata, &self->cold, self->addr, &self->bystander);
}

TEST_HARNESS_MAIN
