// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator: its calls and its jobs, whatever these compute.
 */
#include <sys/time.h>

#include "accel_util.h"

#define SIZE	MIB
#define PAGES	(SIZE / PAGE)
#define WORDS	(SIZE / sizeof(__u64))
#define SEED	41

FIXTURE(call) {
	struct accel a;
	struct cdm_accel *dev;
	char *addr;
	__u64 *counter;
};

FIXTURE_SETUP(call)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->dev = self->a.dev;
	self->addr = cdm_map(SIZE);
	self->counter = (__u64 *)cdm_map_shared(PAGE);
	ASSERT_NE(NULL, self->addr);
	ASSERT_NE(NULL, self->counter);
	cdm_fill(self->addr, SIZE, SEED);
}

FIXTURE_TEARDOWN(call)
{
	EXPECT_EQ(0, accel_stop(&self->a));
}

TEST_F(call, info)
{
	struct cdm_accel_info *info = &self->a.info;
	char path[128], real[PATH_MAX];

	EXPECT_NE(0, cdm_mask(cdm_devs()) >> info->nid & 1);
	EXPECT_TRUE(cdm_state_has("has_coherent_device", info->nid));
	EXPECT_LT(0, info->nr_units);
	/* Some of it may be the memmap. */
	EXPECT_GE(info->mem_size / 1024,
		  cdm_node_meminfo(info->nid, "MemTotal"));
	EXPECT_LT(info->mem_size / 2048,
		  cdm_node_meminfo(info->nid, "MemTotal"));
	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/coherent_device", info->nid);
	ASSERT_NE(NULL, realpath(path, real));
	EXPECT_STREQ(self->a.pci.name, strrchr(real, '/') + 1);
}

/* The same job everywhere: each device uses its own memory. */
TEST_F_TIMEOUT(call, every_device, CDM_TIMEOUT)
{
	struct accel_pci pci[CDM_ACCEL_MAX_DEVICES];
	int nr = accel_list(pci);
	unsigned long mask = 0;

	EXPECT_EQ(cdm_devs().nr, nr);
	for (int i = 0; i < nr; i++) {
		struct accel other = { .pci = pci[i] };
		char *addr = cdm_map(SIZE);

		cdm_fill(addr, SIZE, SEED + i);
		ASSERT_EQ(0, accel_open(&other, CDM_ACCEL_MIGRATE_ON_FAULT));
		EXPECT_EQ(0, mask >> other.nid & 1);
		mask |= 1UL << other.nid;
		EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(other.dev, addr, SIZE));
		EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, other.nid));
		EXPECT_EQ(0, cdm_accel_to_ram(other.dev, addr, SIZE));
		EXPECT_EQ(0, cdm_pages_on(addr, SIZE, other.nid));
		EXPECT_EQ(0, cdm_accel_to_device(other.dev, addr, SIZE));
		EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, other.nid));
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED + i));
		accel_close(&other);
	}
	EXPECT_EQ(cdm_mask(cdm_devs()), mask);
}

/* A device may work on the memory of another one, and leaves it there. */
TEST_F(call, memory_of_another_device)
{
	struct accel_pci pci[CDM_ACCEL_MAX_DEVICES];
	struct accel other = {};

	if (accel_list(pci) < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	other.pci = pci[1];
	ASSERT_EQ(0, accel_open(&other, 0));
	ASSERT_EQ(0, cdm_accel_to_device(other.dev, self->addr, SIZE));
	EXPECT_EQ(cpu_sum(self->addr, SIZE),
		  accel_sum(self->dev, self->addr, SIZE));
	EXPECT_EQ(0, accel_fill(self->dev, self->addr, 7, SIZE));
	EXPECT_EQ(7 * WORDS, cpu_sum(self->addr, SIZE));
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, other.nid));
	accel_close(&other);
}

TEST_F(call, attach_twice)
{
	EXPECT_EQ(-EBUSY, cdm_accel_attach(self->dev, 0));
	EXPECT_EQ(-EBUSY, cdm_accel_attach(self->dev,
					   CDM_ACCEL_MIGRATE_ON_FAULT));
	EXPECT_EQ(cpu_sum(self->addr, SIZE),
		  accel_sum(self->dev, self->addr, SIZE));
}

TEST_F(call, attach_flags)
{
	static const unsigned int bad[] = { 1 << 5, 1 << 31, ~0U };
	struct cdm_accel *dev;

	ASSERT_EQ(0, cdm_accel_open(accel_index(&self->a.pci), &dev));
	for (int i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, cdm_accel_attach(dev, bad[i]));
	EXPECT_EQ(0, cdm_accel_attach(dev, CDM_ACCEL_MIGRATE_ON_FAULT |
					   CDM_ACCEL_MIGRATE_ON_HINT));
	EXPECT_EQ(0, accel_fill(dev, self->addr, 1, SIZE));
	cdm_accel_close(dev);
}

/* Two files of a process do not know of each other's jobs. */
TEST_F(call, two_files)
{
	struct cdm_accel *dev;
	__u32 mine, other;

	ASSERT_EQ(0, cdm_accel_open(accel_index(&self->a.pci), &dev));
	ASSERT_EQ(0, cdm_accel_attach(dev, 0));
	ASSERT_EQ(0, accel_endless(self->dev, self->counter, &mine));
	EXPECT_EQ(-ENOENT, cdm_accel_wait(dev, 0, 0, NULL));
	ASSERT_EQ(0, accel_endless(dev, self->counter + 1, &other));
	EXPECT_TRUE(accel_counts(self->counter + 1));
	EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, mine));
	EXPECT_EQ(-ETIME, cdm_accel_wait(dev, other, 0, NULL));
	cdm_accel_close(dev);
	EXPECT_TRUE(accel_freezes(self->counter + 1));
	EXPECT_EQ(0, accel_fill(self->dev, self->addr, 1, SIZE));
}

TEST_F(call, not_attached)
{
	struct cdm_accel *dev;
	__u32 id = 0;

	ASSERT_EQ(0, cdm_accel_open(accel_index(&self->a.pci), &dev));
	EXPECT_EQ(-ENXIO, cdm_accel_fill(dev, self->addr, 0, SIZE, &id));
	EXPECT_GT(0, cdm_accel_wait(dev, 1, 0, NULL));
	EXPECT_GT(0, cdm_accel_wait(dev, 0, -1, NULL));
	EXPECT_GT(0, cdm_accel_cancel(dev, 1));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
	cdm_accel_close(dev);
}

TEST_F(call, bad_ioctls)
{
	static const unsigned long cmds[] = {
		CDM_ACCEL_IOC_INFO, CDM_ACCEL_IOC_SUBMIT, CDM_ACCEL_IOC_WAIT,
		CDM_ACCEL_IOC_CANCEL, CDM_ACCEL_IOC_MOVE,
	};
	int fd = cdm_accel_fd(self->dev);

	for (int i = 0; i < ARRAY_SIZE(cmds); i++) {
		EXPECT_EQ(-1, ioctl(fd, cmds[i], 8));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, ioctl(fd, cmds[i], 0xffff888000000000UL));
		EXPECT_EQ(EFAULT, errno);
	}
	EXPECT_EQ(-1, ioctl(fd, CDM_ACCEL_IOC_ATTACH, 8));
	EXPECT_EQ(-1, ioctl(fd, _IO('c', 0xaf), 0));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(fd, _IOWR('c', 0xa2, __u64), 0));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(call, unknown_kernel)
{
	static const unsigned int bad[] = { 10, 11, 255, 1 << 31, ~0U };
	__u64 args[CDM_ACCEL_NR_ARGS] = { va(self->addr), 0, SIZE };
	__u32 id;

	for (int i = 0; i < ARRAY_SIZE(bad); i++)
		EXPECT_EQ(-EINVAL, cdm_accel_submit(self->dev, bad[i], args, 8,
						    &id));
	EXPECT_EQ(-ENOENT, cdm_accel_wait(self->dev, 0, 0, NULL));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_F(call, move)
{
	struct cdm_accel_move odd[] = {
		{ .addr = va(self->addr) + 8, .size = PAGE, .to_device = 1 },
		{ .addr = va(self->addr), .size = PAGE + 8, .to_device = 1 },
		{ .addr = va(self->addr), .size = -PAGE, .to_device = 1 },
		{ .addr = 0xffff888000000000UL, .size = PAGE, .to_device = 1 },
	};

	EXPECT_EQ(0, cdm_accel_to_device(self->dev, self->addr, SIZE));
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->a.nid));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
	EXPECT_EQ(0, cdm_accel_to_ram(self->dev, self->addr, SIZE / 2));
	EXPECT_EQ(PAGES / 2, cdm_pages_on(self->addr, SIZE, self->a.nid));
	EXPECT_EQ(PAGES / 2, cdm_spread_in(cdm_spread(self->addr, SIZE),
					   cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
	/* The library takes any pages that hold a part of it. */
	EXPECT_EQ(0, cdm_accel_to_device(self->dev, self->addr + PAGE - 1, 2));
	EXPECT_EQ(PAGES / 2 + 2, cdm_pages_on(self->addr, SIZE, self->a.nid));
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(-1, ioctl(cdm_accel_fd(self->dev), CDM_ACCEL_IOC_MOVE,
				    &odd[i]));
		EXPECT_EQ(EINVAL, errno);
	}
	/* Either an error, or nothing has moved. */
	for (int i = 2; i < 4; i++)
		EXPECT_TRUE(ioctl(cdm_accel_fd(self->dev), CDM_ACCEL_IOC_MOVE,
				  &odd[i]) || odd[i].nr_left);
	EXPECT_EQ(PAGES / 2 + 2, cdm_pages_on(self->addr, SIZE, self->a.nid));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_F(call, wait_forgets)
{
	struct cdm_accel_wait done;
	__u32 id;

	EXPECT_EQ(-ENOENT, cdm_accel_wait(self->dev, 0, -1, NULL));
	EXPECT_EQ(-ENOENT, cdm_accel_wait(self->dev, 12345, -1, NULL));
	ASSERT_EQ(0, cdm_accel_sum(self->dev, (__u64 *)self->addr, SIZE, &id));
	EXPECT_NE(0, id);
	EXPECT_EQ(0, accel_end(self->dev, id, &done));
	EXPECT_EQ(id, done.id);
	EXPECT_EQ(cpu_sum(self->addr, SIZE), done.result);
	EXPECT_EQ(-ENOENT, cdm_accel_wait(self->dev, id, 0, NULL));
	EXPECT_EQ(-ENOENT, cdm_accel_wait(self->dev, 0, 0, NULL));
	EXPECT_EQ(-ENOENT, cdm_accel_cancel(self->dev, id));
}

TEST_F(call, wait_timeout)
{
	struct timespec from, to;
	__u32 id;

	ASSERT_EQ(0, accel_endless(self->dev, self->counter, &id));
	EXPECT_EQ(-ETIME, cdm_accel_wait(self->dev, id, 0, NULL));
	EXPECT_EQ(-ETIME, cdm_accel_wait(self->dev, 0, 0, NULL));
	clock_gettime(CLOCK_MONOTONIC, &from);
	EXPECT_EQ(-ETIME, cdm_accel_wait(self->dev, id, 200, NULL));
	clock_gettime(CLOCK_MONOTONIC, &to);
	EXPECT_LE(200 * 1000000LL, (to.tv_sec - from.tv_sec) * 1000000000LL +
				   to.tv_nsec - from.tv_nsec);
	EXPECT_TRUE(accel_counts(self->counter));
	EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, id));
}

TEST_F(call, wait_for_any)
{
	__u64 *from = (__u64 *)self->addr;
	__u64 sum = 0, want = cpu_sum(from, 3 * PAGE);
	struct cdm_accel_wait done;
	__u32 id[3], seen = 0;

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, cdm_accel_sum(self->dev, from + i * PAGE / 8, PAGE,
					   &id[i]));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, accel_end(self->dev, 0, &done));
		for (int j = 0; j < 3; j++)
			seen |= (done.id == id[j]) << j;
		sum += done.result;
	}
	EXPECT_EQ(7, seen);
	EXPECT_EQ(want, sum);
	EXPECT_EQ(-ENOENT, cdm_accel_wait(self->dev, 0, 0, NULL));
}

static void on_alarm(int sig)
{
}

TEST_F(call, wait_interrupted)
{
	struct sigaction action = { .sa_handler = on_alarm };
	/* More than one: the first may come before the wait. */
	struct itimerval often = { { 1 }, { 1 } }, never = {};
	__u32 id;

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, accel_endless(self->dev, self->counter, &id));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	EXPECT_EQ(-EINTR, cdm_accel_wait(self->dev, id, ACCEL_MS, NULL));
	EXPECT_EQ(-EINTR, cdm_accel_wait(self->dev, 0, ACCEL_MS, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &never, NULL));
	EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, id));
}

TEST_F(call, poll)
{
	struct pollfd pfd = {
		.fd = cdm_accel_fd(self->dev),
		.events = POLLIN,
	};
	__u32 endless, id;

	EXPECT_EQ(0, poll(&pfd, 1, 0));
	ASSERT_EQ(0, accel_endless(self->dev, self->counter, &endless));
	EXPECT_EQ(0, poll(&pfd, 1, 200));
	ASSERT_EQ(0, cdm_accel_fill(self->dev, self->addr, 0, PAGE, &id));
	EXPECT_EQ(1, poll(&pfd, 1, ACCEL_MS));
	EXPECT_EQ(POLLIN, pfd.revents & (POLLIN | POLLERR | POLLHUP));
	EXPECT_EQ(0, cdm_accel_wait(self->dev, id, 0, NULL));
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	EXPECT_EQ(0, cdm_accel_cancel(self->dev, endless));
	EXPECT_EQ(1, poll(&pfd, 1, ACCEL_MS));
	EXPECT_EQ(-ECANCELED, accel_end(self->dev, 0, NULL));
	EXPECT_EQ(0, poll(&pfd, 1, 0));
}

static void *poller_fn(void *arg)
{
	struct pollfd pfd = { .fd = *(int *)arg, .events = POLLIN };

	poll(&pfd, 1, -1);
	return (void *)(long)pfd.revents;
}

/* With no job that could wake it. */
TEST_F_TIMEOUT(call, poll_wakes_when_the_device_goes, CDM_TIMEOUT)
{
	int fd = cdm_accel_fd(self->dev);
	struct timespec limit;
	pthread_t thread;
	void *revents;

	ASSERT_EQ(0, pthread_create(&thread, NULL, poller_fn, &fd));
	usleep(200000);
	ASSERT_EQ(0, accel_unbind(&self->a.pci));
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += ACCEL_SECONDS;
	ASSERT_EQ(0, pthread_timedjoin_np(thread, &revents, &limit));
	EXPECT_EQ(POLLHUP, (long)revents);
}

/* A job that is done stays done. */
TEST_F(call, cancel_too_late)
{
	struct pollfd pfd = {
		.fd = cdm_accel_fd(self->dev),
		.events = POLLIN,
	};
	int err;
	__u32 id;

	EXPECT_EQ(-ENOENT, cdm_accel_cancel(self->dev, 0));
	EXPECT_EQ(-ENOENT, cdm_accel_cancel(self->dev, 12345));
	ASSERT_EQ(0, cdm_accel_fill(self->dev, self->addr, 3, SIZE, &id));
	ASSERT_EQ(1, poll(&pfd, 1, ACCEL_MS));
	err = cdm_accel_cancel(self->dev, id);
	EXPECT_TRUE(!err || err == -ENOENT);
	EXPECT_EQ(0, accel_end(self->dev, id, NULL));
	EXPECT_EQ(3 * WORDS, cpu_sum(self->addr, SIZE));
}

/* Running and queued jobs alike, those in the middle first. */
TEST_F_TIMEOUT(call, cancel_many, CDM_TIMEOUT)
{
	int nr = 4 * self->a.info.nr_units;
	__u32 id[nr];

	ASSERT_GE(PAGE / 8, nr);
	for (int i = 0; i < nr; i++)
		ASSERT_EQ(0, accel_endless(self->dev, self->counter + i,
					   &id[i]));
	for (int i = 0; i < nr; i++)
		EXPECT_EQ(0, cdm_accel_cancel(self->dev,
					      id[(i + nr / 2) % nr]));
	for (int i = 0; i < nr; i++)
		EXPECT_EQ(-ECANCELED, accel_end(self->dev, id[i], NULL));
	for (int i = 0; i < nr; i++)
		EXPECT_TRUE(i % 4 || accel_frozen(self->counter + i));
	EXPECT_EQ(0, accel_fill(self->dev, self->addr, 0, SIZE));
}

TEST_F_TIMEOUT(call, too_many, CDM_TIMEOUT)
{
	int nr = 0, err = 0;
	__u32 id;

	for (; nr < 100000; nr++) {
		err = accel_endless(self->dev, self->counter, &id);
		if (err)
			break;
	}
	EXPECT_EQ(-EAGAIN, err);
	EXPECT_LE(self->a.info.nr_units, nr);
	EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, id));
	EXPECT_EQ(0, accel_endless(self->dev, self->counter, &id));
	/* The rest goes with the file. */
	accel_close(&self->a);
	EXPECT_TRUE(accel_freezes(self->counter));
	ASSERT_EQ(0, accel_open(&self->a, 0));
	EXPECT_EQ(0, accel_fill(self->a.dev, self->addr, 0, SIZE));
}

/* All units are busy for ever, and still everybody gets his turn. */
TEST_F_TIMEOUT(call, preemption, CDM_TIMEOUT)
{
	int nr = 3 * self->a.info.nr_units;
	__u64 want = cpu_sum(self->addr, SIZE);
	long slices = accel_stat(&self->a.pci, "slices");
	__u32 id[nr];

	ASSERT_GE(PAGE / 8, nr);
	for (int i = 0; i < nr; i++)
		ASSERT_EQ(0, accel_endless(self->dev, self->counter + i,
					   &id[i]));
	for (int i = 0; i < nr; i++)
		EXPECT_TRUE(accel_counts(self->counter + i));
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(want, accel_sum(self->dev, self->addr, SIZE));
	EXPECT_LT(slices + 4, accel_stat(&self->a.pci, "slices"));
	for (int i = 0; i < nr; i++)
		EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, id[i]));
}

/* The file of the parent is of no use to a child, a file of its own is. */
TEST_F_TIMEOUT(call, child, CDM_TIMEOUT)
{
	struct cdm_accel_wait wait = {};
	int status;
	pid_t pid;
	__u32 id;

	ASSERT_EQ(0, accel_endless(self->dev, self->counter, &id));
	wait.id = id;
	pid = fork();
	if (!pid) {
		struct accel own = { .pci = self->a.pci };
		__u32 none;

		EXPECT_EQ(-EPERM, cdm_accel_fill(self->dev, self->addr, 0, SIZE,
						 &none));
		EXPECT_EQ(-EPERM, cdm_accel_wait(self->dev, id, 0, &wait));
		EXPECT_EQ(-EPERM, cdm_accel_cancel(self->dev, id));
		EXPECT_EQ(-EPERM, cdm_accel_to_device(self->dev, self->addr,
						      SIZE));
		EXPECT_GT(0, cdm_accel_attach(self->dev, 0));
		EXPECT_EQ(0, accel_open(&own, 0));
		EXPECT_EQ(0, accel_fill(own.dev, self->addr, 1, SIZE));
		EXPECT_EQ(WORDS, cpu_sum(self->addr, SIZE));
		cdm_accel_close(self->dev);
		accel_close(&own);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	/* Nothing that the child did has touched the parent. */
	EXPECT_TRUE(accel_counts(self->counter));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
	EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, id));
	EXPECT_EQ(0, accel_fill(self->dev, self->addr, 2, SIZE));
}

static int address_space_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	int err = accel_open(&own, 0);

	cdm_say(me, err);
	cdm_hear(me);
	if (!err) {
		__u64 word = 0;

		err = accel_fill(own.dev, &word, 5, sizeof(word));
		cdm_say(me, err ?: word);
		cdm_hear(me);
	}
	return 0;
}

/* More processes than the device has address spaces. */
TEST_F_TIMEOUT(call, address_spaces, CDM_TIMEOUT)
{
	static struct cdm_child child[70];
	int err[70], got = 0;

	for (int i = 0; i < 70; i++) {
		ASSERT_EQ(0, cdm_start(&child[i], address_space_fn,
				       &self->a.pci));
		err[i] = cdm_hear(&child[i]);
		got += !err[i];
		EXPECT_TRUE(!err[i] || err[i] == -ENOSPC);
	}
	EXPECT_LT(32, got);
	EXPECT_GT(65, got);
	for (int i = 0; i < 70; i++) {
		if (err[i])
			continue;
		cdm_say(&child[i], 0);
		EXPECT_EQ(5, cdm_hear(&child[i]));
	}
	for (int i = 0; i < 70; i++)
		cdm_kill(&child[i]);
	/* They are to be had again. */
	for (int i = 0; i < 70; i++) {
		ASSERT_EQ(0, cdm_start(&child[0], address_space_fn,
				       &self->a.pci));
		EXPECT_EQ(0, cdm_hear(&child[0]));
		cdm_kill(&child[0]);
	}
}

struct worker {
	struct cdm_accel *dev;
	char *addr;
	__u64 seed;
	long wrong;
};

/* Jobs one after another, each on what the one before has left. */
static void *worker_fn(void *arg)
{
	struct worker *w = arg;
	__u64 half = SIZE / 2;

	for (int i = 0; i < 20; i++) {
		__u64 value = w->seed * 1000 + i;

		w->wrong += !!accel_fill(w->dev, w->addr, value, half);
		w->wrong += !!RUN(w->dev, NULL, COPY, va(w->addr) + half,
				  va(w->addr), half);
		w->wrong += accel_sum(w->dev, w->addr, SIZE) != value * WORDS;
	}
	return NULL;
}

TEST_F_TIMEOUT(call, threads_with_one_file, CDM_TIMEOUT)
{
	struct worker worker[4] = {};
	pthread_t thread[4];

	for (int i = 0; i < 4; i++) {
		worker[i].dev = self->dev;
		worker[i].addr = cdm_map(SIZE);
		worker[i].seed = i;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, worker_fn,
					    &worker[i]));
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, worker[i].wrong);
	}
}

struct rival {
	struct accel_pci pci;
	char *addr;
	int seed;
};

static int rival_fn(struct cdm_child *me, void *arg)
{
	struct rival *rival = arg;
	struct accel own = { .pci = rival->pci };
	struct worker worker = { .addr = rival->addr, .seed = rival->seed };

	if (accel_open(&own, 0))
		return 1;
	worker.dev = own.dev;
	/* The same address in all of them: only the address space differs. */
	worker_fn(&worker);
	return worker.wrong ? 2 : 0;
}

TEST_F_TIMEOUT(call, processes, CDM_TIMEOUT)
{
	struct rival rival = { .pci = self->a.pci, .addr = self->addr };
	struct cdm_child child[4];

	for (int i = 0; i < 4; i++) {
		rival.seed = i + 1;
		ASSERT_EQ(0, cdm_start(&child[i], rival_fn, &rival));
	}
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(0, cdm_wait(&child[i]));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* Not aligned to its own size, or beyond what the kernel takes. */
TEST_F(call, bad_arguments)
{
	__u64 addr = va(self->addr);

	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, FILL, addr + 4, 0, 64));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, FILL, addr, 0, 63));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, SUM, addr + 1, 64));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, SAXPY, addr + 2, addr, 4, 0));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, SAXPY, addr, addr + 3, 4, 0));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, MATMUL, addr + 1, addr,
			       addr + PAGE, 4));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, MATMUL, addr, addr, addr,
			       65537));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, HISTOGRAM, addr, 64,
			       addr + PAGE + 4));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, BFS, addr + 4, addr + PAGE, 8));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, TREE_INSERT, addr + 4,
			       addr + PAGE, 8));
	EXPECT_EQ(-EINVAL, RUN(self->dev, NULL, ATOMIC_ADD, addr + 4, 1, 1));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* Nothing to do is no error, and nobody touches memory for it. */
TEST_F(call, nothing)
{
	struct cdm_accel_wait done;

	EXPECT_EQ(0, RUN(self->dev, NULL, FILL, va(self->addr), 1, 0));
	EXPECT_EQ(0, RUN(self->dev, &done, SUM, 0, 0));
	EXPECT_EQ(0, done.result);
	EXPECT_EQ(0, RUN(self->dev, &done, CRC32, 0, 0));
	EXPECT_EQ(0, done.result);
	EXPECT_EQ(0, RUN(self->dev, NULL, SAXPY, 0, 0, 0, 0));
	EXPECT_EQ(0, RUN(self->dev, NULL, MATMUL, 0, 0, 0, 0));
	EXPECT_EQ(0, RUN(self->dev, NULL, COPY, 0, 0, 0));
	EXPECT_EQ(0, RUN(self->dev, NULL, ATOMIC_ADD, va(self->addr), 1, 0));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_HARNESS_MAIN
