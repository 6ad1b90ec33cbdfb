// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once, at random: processes that map, write, discard, split, fork, move
 * and swap memory on a device, are killed, and are moved between cpusets, while its
 * owner recalls, suspends, unregisters and loses it. No page may ever have other bytes
 * than its process wrote; only a loss may take one away, and then by SIGBUS.
 *
 * A short while of it runs in the checks. CDM_STRESS_SECONDS makes it longer.
 */
#include <setjmp.h>

#include "rows_util.h"

#define SECONDS		cdm_effort(4, 4)
#define PART		(128 * MIB)	/* of the device: it comes and goes often */
#define CGROUP		"cdm_storm"
#define WORKERS		4
#define REGIONS		6
#define REGION_PAGES	1024		/* 4 MiB at most */
#define LIFE_MS		2000		/* of a process, at most */
#define OPS		200		/* of a process, at most */
#define SWAP		512		/* MiB */
#define PRINTK		"/proc/sys/kernel/printk"

/* Where something was wrong, in the exit status of a process */
enum verdict {
	FINE,
	WRONG_BYTES,
	LOST_WITHOUT_LOSS,
	SYSCALL_FAILED,
};

static const char * const verdicts[] = {
	"fine", "wrong bytes", "SIGBUS without a loss", "a system call failed",
};

enum count {
	N_OPS, N_PAGES, N_SIGBUS, N_LOST, N_FORKS, N_KILLED, N_LOSSES, N_UNREGISTERED,
	N_SUSPENDED, N_RECALLED, N_NR,
};

static const char * const counted[] = {
	"operations", "pages verified", "SIGBUS", "pages lost", "forks", "killed",
	"losses", "unregistered", "suspended", "recalled",
};

/* What all processes of the storm share. */
struct storm {
	int stop;
	/* Odd while the memory of the device is nonsense and still mapped. */
	unsigned long loss;
	long count[N_NR];
	int verdict;			/* the first that was not fine, */
	char what[160];			/* and what it was */
};

static struct storm *storm;

static void count(enum count what, long nr)
{
	__atomic_add_fetch(&storm->count[what], nr, __ATOMIC_RELAXED);
}

static bool stopped(void)
{
	return __atomic_load_n(&storm->stop, __ATOMIC_ACQUIRE);
}

static unsigned long loss_now(void)
{
	return __atomic_load_n(&storm->loss, __ATOMIC_SEQ_CST);
}

/* One sequence of random numbers for each process: xorshift64. */
static __u64 dice;

static unsigned long roll(unsigned long sides)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return dice % sides;
}

static void seed_dice(int who, long nr)
{
	const char *seed = getenv("CDM_SEED");

	dice = cdm_word(seed ? strtoull(seed, NULL, 0) : 1, who * 1000003ULL + nr) | 1;
}

/* Memory of a process, and what must be in each of its pages. */
enum kind { ANON, THP, SHARED, MEMFD, NR_KINDS };

struct region {
	enum kind kind;
	char *addr;
	size_t nr;			/* pages */
	__u32 value[REGION_PAGES];	/* of each page; 0: nobody wrote, it is zero */
	unsigned long loss[REGION_PAGES];	/* the last one that was over then */
};

static struct region regions[REGIONS];
static bool is_child;			/* of the process that has the regions */
static __u32 last_value;

static sigjmp_buf bus_jump;
static int bus_armed;		/* atomic */

/* A signal handler looks at it, so the compiler may not move it. */
static void bus_arm(int armed)
{
	__atomic_store_n(&bus_armed, armed, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void on_bus(int sig)
{
	if (!__atomic_load_n(&bus_armed, __ATOMIC_RELAXED))
		_exit(LOST_WITHOUT_LOSS);
	siglongjmp(bus_jump, 1);
}

static void catch_bus(void)
{
	struct sigaction sa = { .sa_handler = on_bus, .sa_flags = SA_NODEFER };

	sigaction(SIGBUS, &sa, NULL);
}

static void fail(enum verdict verdict, const char *what, const struct region *r,
		 size_t page)
{
	const __u64 *word = (const __u64 *)(r->addr + page * PAGE);
	int fine = FINE, i = 0;

	for (; verdict == WRONG_BYTES && i < PAGE / sizeof(*word) - 1; i++)
		if (word[i] != (r->value[page] ? cdm_word(r->value[page], i) : 0))
			break;
	if (__atomic_compare_exchange_n(&storm->verdict, &fine, verdict, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		snprintf(storm->what, sizeof(storm->what),
			 "%s: %s, kind %d, page %zu of %zu, value %u, losses %lu then, %lu now, word %d is %llx",
			 what, verdicts[verdict], r->kind, page, r->nr, r->value[page],
			 r->loss[page], loss_now(), i,
			 verdict == WRONG_BYTES ? (unsigned long long)word[i] : 0);
	__atomic_store_n(&storm->stop, 1, __ATOMIC_RELEASE);
	_exit(verdict);
}

/* Returns false for SIGBUS. */
static bool try_write(char *addr, __u32 value)
{
	bus_arm(1);
	if (sigsetjmp(bus_jump, 0)) {
		bus_arm(0);
		return false;
	}
	cdm_fill(addr, PAGE, value);
	bus_arm(0);
	return true;
}

/* The number of wrong words, or -1 for SIGBUS. */
static long try_read(const char *addr, __u32 value)
{
	const __u64 *word = (const __u64 *)addr;
	long wrong = 0;

	bus_arm(1);
	if (sigsetjmp(bus_jump, 0)) {
		bus_arm(0);
		return -1;
	}
	for (size_t i = 0; i < PAGE / sizeof(*word); i++)
		wrong += __atomic_load_n(&word[i], __ATOMIC_RELAXED) !=
			 (value ? cdm_word(value, i) : 0);
	bus_arm(0);
	return wrong;
}

static bool region_is_shared(const struct region *r)
{
	return r->kind == SHARED || r->kind == MEMFD;
}

/*
 * The process goes on with empty pages. Those that are shared are the parent's to
 * discard, who would find zeros otherwise.
 */
static void discard(struct region *r, size_t page, size_t nr)
{
	char *addr = r->addr + page * PAGE;

	if (is_child && region_is_shared(r))
		return;
	munlock(r->addr, r->nr * PAGE);
	if (madvise(addr, nr * PAGE, region_is_shared(r) ? MADV_REMOVE : MADV_DONTNEED))
		fail(SYSCALL_FAILED, "discard", r, page);
	for (size_t i = page; i < page + nr; i++)
		r->value[i] = 0;
}

/*
 * The device may be full, closed or gone, which is SIGBUS for a mapping that is bound
 * to it, but takes nothing away: with another policy the page must be there.
 */
static void unbind(struct region *r)
{
	count(N_SIGBUS, 1);
	mbind(r->addr, r->nr * PAGE, MPOL_DEFAULT, NULL, 0, 0);
}

static void write_page(struct region *r, size_t page)
{
	char *addr = r->addr + page * PAGE;
	unsigned long loss = loss_now() & ~1UL;
	__u32 value = ++last_value ?: ++last_value;

	if (!try_write(addr, value)) {
		unbind(r);
		if (!try_write(addr, value)) {
			/* It was written in part, or lost before. */
			if (loss_now() == r->loss[page])
				fail(LOST_WITHOUT_LOSS, "write", r, page);
			count(N_LOST, 1);
			discard(r, page, 1);
			return;
		}
	}
	r->value[page] = value;
	r->loss[page] = loss;
}

/* While nonsense is mapped it may be read. When that is over, it must be gone. */
static void await_loss(void)
{
	while (loss_now() & 1)
		usleep(1000);
}

static void verify_page(struct region *r, size_t page, const char *when)
{
	const char *addr = r->addr + page * PAGE;
	unsigned long loss = loss_now();
	long wrong = try_read(addr, r->value[page]);

	if (wrong < 0) {
		unbind(r);
		wrong = try_read(addr, r->value[page]);
	}
	if (wrong > 0 && (loss & 1 || loss_now() != loss)) {
		await_loss();
		wrong = try_read(addr, r->value[page]);
	}
	if (wrong > 0)
		fail(WRONG_BYTES, when, r, page);
	if (wrong < 0) {
		if (loss_now() == r->loss[page] && r->value[page])
			fail(LOST_WITHOUT_LOSS, when, r, page);
		count(N_LOST, 1);
		discard(r, page, 1);
	}
	count(N_PAGES, 1);
}

static void verify(struct region *r, const char *when)
{
	for (size_t i = 0; i < r->nr; i++)
		verify_page(r, i, when);
}

/* Operations on a region */

static void op_unmap(struct region *r)
{
	verify(r, "munmap");
	munmap(r->addr, r->nr * PAGE);
	r->addr = NULL;
}

static void op_map(struct region *r)
{
	size_t size;
	int fd;

	memset(r, 0, sizeof(*r));
	r->kind = roll(NR_KINDS);
	r->nr = r->kind == THP ? REGION_PAGES : 1 + roll(256);
	size = r->nr * PAGE;
	switch (r->kind) {
	case THP:
		r->addr = cdm_map_huge(size);
		break;
	case SHARED:
		r->addr = cdm_map_shared(size);
		break;
	case MEMFD:
		fd = memfd_create("storm", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, size))
			break;
		r->addr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
		break;
	default:
		r->addr = cdm_map(size);
	}
	if (!r->addr || r->addr == MAP_FAILED)
		_exit(SYSCALL_FAILED);
}

static void op_policy(struct region *r)
{
	static const int modes[] = { MPOL_BIND, MPOL_BIND, MPOL_PREFERRED, MPOL_DEFAULT };
	int mode = modes[roll(4)];
	unsigned long mask = mode ? 1UL << cdm_dev(0) : 0;

	mbind(r->addr, r->nr * PAGE, mode, mode ? &mask : NULL,
	      mode ? 8 * sizeof(mask) : 0, roll(2) ? MPOL_MF_MOVE : 0);
}

static void op_write(struct region *r)
{
	size_t from = roll(r->nr), nr = 1 + roll(r->nr - from);

	for (size_t i = from; i < from + nr; i++)
		write_page(r, i);
}

/*
 * Write what is there already, and one word of it only. What the kernel copies for
 * that, because the page is shared with a child or was made read-only, shows.
 */
static void op_rewrite(struct region *r)
{
	for (size_t i = roll(r->nr); i < r->nr; i++) {
		__u32 value = r->value[i];

		bus_arm(1);
		if (!sigsetjmp(bus_jump, 0) && value)
			__atomic_store_n((__u64 *)(r->addr + i * PAGE),
					 cdm_word(value, 0), __ATOMIC_RELAXED);
		bus_arm(0);
	}
}

static void op_verify(struct region *r)
{
	verify(r, "verify");
}

static void op_discard(struct region *r)
{
	size_t from = roll(r->nr);

	discard(r, from, 1 + roll(r->nr - from));
}

static void op_move_pages(struct region *r)
{
	int nid = roll(2) ? cdm_dev(0) : cdm_ram(0);
	void *page[64];
	int node[64], status[64];
	size_t from = roll(r->nr), nr = 1 + roll(64);

	if (nr > r->nr - from)
		nr = r->nr - from;
	for (size_t i = 0; i < nr; i++) {
		page[i] = r->addr + (from + i) * PAGE;
		node[i] = nid;
	}
	move_pages(0, nr, page, node, status, MPOL_MF_MOVE);
}

static void op_migrate(struct region *r)
{
	cdm_migrate(r->addr, r->nr * PAGE, roll(3) ? cdm_dev(0) : CDM_TEST_NID_RAM, NULL);
}

static void op_migrate_async(struct region *r)
{
	struct cdm_test_migrate arg = {
		.addr = (uintptr_t)r->addr,
		.size = r->nr * PAGE,
		.status = roll(2),
		.nid = roll(3) ? cdm_dev(0) : CDM_TEST_NID_RAM,
	};

	cdm_ioctl(CDM_TEST_IOC_MIGRATE_ASYNC, &arg);
}

static void op_pageout(struct region *r)
{
	madvise(r->addr, r->nr * PAGE, roll(2) ? MADV_PAGEOUT : MADV_COLD);
}

/* A part with another protection splits what is huge. */
static void op_protect(struct region *r)
{
	size_t from = roll(r->nr), nr = 1 + roll(r->nr - from);

	mprotect(r->addr + from * PAGE, nr * PAGE, PROT_READ);
	verify_page(r, from, "mprotect");
	mprotect(r->addr, r->nr * PAGE, PROT_READ | PROT_WRITE);
}

static void op_remap(struct region *r)
{
	size_t size = r->nr * PAGE;
	char *to = r->kind == THP ? cdm_map_huge(size) : cdm_map(size);

	if (!to)
		_exit(SYSCALL_FAILED);
	/* A region of several mappings cannot be moved at once. */
	if (mremap(r->addr, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to)
		r->addr = to;
	else
		munmap(to, size);
}

static void op_lock(struct region *r)
{
	if (roll(2))
		mlock2(r->addr, r->nr * PAGE, MLOCK_ONFAULT);
	else
		munlock(r->addr, r->nr * PAGE);
}

/* The child has the same memory; what it writes is its own, unless that is shared. */
static void op_fork(struct region *r)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return;
	count(N_FORKS, 1);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		is_child = true;
		verify(r, "child");
		if (!region_is_shared(r)) {
			op_rewrite(r);
			op_write(r);
			verify(r, "child's own");
		}
		_exit(FINE);
	}
	op_rewrite(r);
	if (!region_is_shared(r))
		op_write(r);
	while (waitpid(pid, &status, 0) < 0)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
}

static void (*const ops[])(struct region *r) = {
	op_write, op_write, op_rewrite, op_verify, op_policy, op_policy, op_discard, op_move_pages,
	op_migrate, op_migrate, op_migrate_async, op_pageout, op_protect, op_remap,
	op_lock, op_fork, op_unmap,
};

static int live(int who, long nr)
{
	seed_dice(who, nr);
	catch_bus();
	/* A process that is killed for want of memory says nothing of the device. */
	cdm_write("/proc/self/oom_score_adj", "-1000");
	for (int i = 0; i < OPS && !stopped(); i++) {
		struct region *r = &regions[roll(REGIONS)];

		if (r->addr)
			ops[roll(ARRAY_SIZE(ops))](r);
		else
			op_map(r);
		count(N_OPS, 1);
	}
	for (int i = 0; i < REGIONS; i++)
		if (regions[i].addr)
			verify(&regions[i], "end");
	return FINE;
}

/* The processes of one worker, one after the other; many are killed on the way. */
static int worker_fn(struct cdm_child *me, void *arg)
{
	int who = *(int *)arg, status;

	for (long nr = 0; !stopped(); nr++) {
		pid_t pid = fork();

		if (pid < 0)
			return SYSCALL_FAILED;
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(live(who, nr));
		}
		seed_dice(who, ~nr);
		if (!roll(3)) {
			usleep(1000 * roll(LIFE_MS));
			kill(pid, SIGKILL);
			count(N_KILLED, 1);
		}
		while (waitpid(pid, &status, 0) < 0)
			;
		if (WIFEXITED(status) && WEXITSTATUS(status))
			return WEXITSTATUS(status);
		if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
			return LOST_WITHOUT_LOSS;
	}
	return FINE;
}

/* What happens to the device */

static int hold(unsigned long cmd, unsigned long nr_pages, unsigned int deadline_ms)
{
	struct cdm_test_reserve arg = {
		.nid = cdm_dev(0),
		.deadline_ms = deadline_ms,
		.nr_pages = nr_pages,
	};

	return cdm_ioctl(cmd, &arg);
}

/* First the mark, then nonsense in place of all data, then the rest of the loss. */
static void lose(void)
{
	struct cdm_test_lose arg = { .nid = cdm_dev(0) };
	struct cdm_test_range range;
	struct cdm_test_peek spoil;
	__u32 mark = CDM_TEST_LINK_MARK;

	if (cdm_range(arg.nid, 0, &range))
		return;
	spoil = (struct cdm_test_peek){ .start = range.start, .size = range.size };
	__atomic_add_fetch(&storm->loss, 1, __ATOMIC_SEQ_CST);
	cdm_ioctl(CDM_TEST_IOC_LINK, &mark);
	cdm_ioctl(CDM_TEST_IOC_SPOIL, &spoil);
	usleep(1000 * roll(50));
	while (cdm_ioctl(CDM_TEST_IOC_LOSE, &arg) == -EBUSY && !stopped())
		usleep(1000);
	__atomic_add_fetch(&storm->loss, 1, __ATOMIC_SEQ_CST);
	count(N_LOSSES, 1);
}

static int owner_fn(struct cdm_child *me, void *arg)
{
	cdm_write("/proc/self/oom_score_adj", "-1000");
	seed_dice(100, 0);
	while (!stopped()) {
		switch (roll(4)) {
		case 0:
			if (!cdm_unregister(cdm_dev(0), 1 + roll(500), NULL))
				count(N_UNREGISTERED, 1);
			break;
		case 1:
			if (!hold(CDM_TEST_IOC_SUSPEND, 0, 1 + roll(500)))
				count(N_SUSPENDED, 1);
			usleep(1000 * roll(20));
			hold(CDM_TEST_IOC_RESUME, 0, 0);
			break;
		case 2:
			lose();
			break;
		}
		cdm_register_all();
		usleep(1000 * roll(100));
	}
	return 0;
}

static int recall_fn(struct cdm_child *me, void *arg)
{
	cdm_write("/proc/self/oom_score_adj", "-1000");
	seed_dice(101, 0);
	while (!stopped()) {
		int fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
		struct cdm_test_recall arg = {
			.nid = cdm_dev(0),
			.order = roll(2) ? 9 : 0,
			.deadline_ms = 1 + roll(300),
			.rounds = roll(3),
		};

		arg.nr = 1 + roll(PART / PAGE >> arg.order);
		ioctl(fd, CDM_TEST_IOC_RECALL, &arg);
		count(N_RECALLED, arg.nr_recalled);
		usleep(1000 * roll(50));
		close(fd);
		if (!roll(3))
			hold(CDM_TEST_IOC_RESERVE, roll(PART / PAGE / 4), 100);
		usleep(1000 * roll(50));
	}
	hold(CDM_TEST_IOC_RESERVE, 0, 0);
	return 0;
}

static int cgroup_fn(struct cdm_child *me, void *arg)
{
	char both[32], ram[16];

	cdm_write("/proc/self/oom_score_adj", "-1000");
	snprintf(ram, sizeof(ram), "%d", cdm_ram(0));
	snprintf(both, sizeof(both), "%d,%d", cdm_ram(0), cdm_dev(0));
	seed_dice(102, 0);
	while (!stopped()) {
		switch (roll(5)) {
		case 0:
			cdm_cgroup_write(CGROUP, "cpuset.mems", ram);
			break;
		case 1:
		case 2:
			cdm_cgroup_write(CGROUP, "cpuset.mems", both);
			break;
		case 3:
			cdm_cgroup_write(CGROUP, "memory.reclaim", "8M");
			break;
		case 4:
			cdm_cgroup_write(CGROUP, "memory.high", roll(2) ? "max" : "32M");
			break;
		}
		usleep(1000 * roll(50));
	}
	cdm_cgroup_write(CGROUP, "memory.high", "max");
	return 0;
}

FIXTURE(storm) {
	struct cdm_test_range part;
	struct cdm_child worker[WORKERS];
	struct cdm_child actor[3];
	long console;
};

FIXTURE_SETUP(storm)
{
	const char *missing = cdm_missing();
	int dev = cdm_dev(0);

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_reset(_metadata));
	/* Each touch of a page that is lost is a line in the log. */
	self->console = cdm_read_long(PRINTK);
	cdm_write(PRINTK, "1");
	ASSERT_EQ(0, cdm_range(dev, 0, &self->part));
	ASSERT_EQ(0, cdm_unregister(dev, CDM_ACK_MS, NULL));
	if (self->part.size > PART)
		self->part.size = PART;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_REGISTER, &self->part));
	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, cdm_cgroup_create(CGROUP));
	storm = mmap(NULL, sizeof(*storm), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, storm);
}

FIXTURE_TEARDOWN(storm)
{
	cdm_cgroup_remove(CGROUP);
	cdm_swap_off();
	cdm_ioctl(CDM_TEST_IOC_UNREGISTER_ONE, &self->part.start);
	EXPECT_EQ(0, cdm_register_all());
	cdm_writef(PRINTK, "%ld", self->console);
	EXPECT_EQ(0, cdm_reset(_metadata));
	EXPECT_EQ(0, cdm_judge());
	EXPECT_EQ(0, cdm_audit_used());
}

/* The child's wait status, or -1: it is still there when it should have ended. */
static int end_of(struct cdm_child *child)
{
	int status = -1;

	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (waitpid(child->pid, &status, WNOHANG) == child->pid)
			return status;
		usleep(10000);
	}
	return -1;
}

static int (*const actors[])(struct cdm_child *me, void *arg) = {
	owner_fn, recall_fn, cgroup_fn,
};

TEST_F_TIMEOUT(storm, no_byte_is_wrong, cdm_seconds(240) + 24 * 60 * 60)
{
	const char *seconds = getenv("CDM_STRESS_SECONDS");
	long until = seconds && *seconds ? atol(seconds) : SECONDS;
	int who[WORKERS], status;

	until += time(NULL);
	for (int i = 0; i < WORKERS; i++) {
		who[i] = i;
		ASSERT_EQ(0, cdm_start(&self->worker[i], worker_fn, &who[i]));
		cdm_writef(CDM_CGROUPS "/" CGROUP "/cgroup.procs", "%d",
			   self->worker[i].pid);
	}
	for (int i = 0; i < ARRAY_SIZE(actors); i++)
		ASSERT_EQ(0, cdm_start(&self->actor[i], actors[i], NULL));
	while (time(NULL) < until && !stopped())
		usleep(100000);
	__atomic_store_n(&storm->stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < ARRAY_SIZE(actors); i++)
		EXPECT_EQ(0, end_of(&self->actor[i]));
	for (int i = 0; i < WORKERS; i++) {
		status = end_of(&self->worker[i]);
		EXPECT_EQ(0, status) {
			TH_LOG("worker %d: %x", i, status);
		}
	}
	EXPECT_EQ(FINE, storm->verdict) {
		TH_LOG("%s", storm->what);
	}
	for (int i = 0; i < N_NR; i++)
		TH_LOG("%ld %s", storm->count[i], counted[i]);
	EXPECT_LT(0, storm->count[N_LOSSES]);
	EXPECT_LT(0, storm->count[N_PAGES]);
}

TEST_HARNESS_MAIN
