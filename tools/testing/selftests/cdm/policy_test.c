// SPDX-License-Identifier: GPL-2.0
/*
 * Memory policies: who names a device node gets it, and nobody else does.
 */
#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "cdm_util.h"

#ifndef __NR_pidfd_open
#define __NR_pidfd_open		434
#endif
#ifndef __NR_pidfd_getfd
#define __NR_pidfd_getfd	438
#endif

#define SIZE	(16 * MIB)
#define PAGES	(SIZE / PAGE)
#define SEED	42

#ifndef MPOL_F_STATIC_NODES
#define MPOL_F_STATIC_NODES	32768
#endif

FIXTURE(policy) {
	int dev;
	int ram;
	unsigned long dev_mask;
	struct cdm_child child;
	struct cdm_child other;
};

FIXTURE_SETUP(policy)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	self->ram = cdm_ram(0);
	self->dev_mask = 1UL << self->dev;
}

FIXTURE_TEARDOWN(policy)
{
	EXPECT_EQ(0, cdm_unfenced());
	if (self->child.pid)
		cdm_kill(&self->child);
	if (self->other.pid)
		cdm_kill(&self->other);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

/* Run @load to its end and say where its memory is. */
static struct cdm_spread place(struct cdm_child *child, struct cdm_load *load)
{
	struct cdm_spread none = {};
	char *addr = cdm_load_start(child, load);

	return addr ? cdm_spread_of(child->pid, addr, load->size) : none;
}

TEST_F(policy, bind_anon)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(policy, bind_shmem)
{
	char *addr = cdm_map_shared(SIZE);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(policy, bind_task_anon)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};

	EXPECT_EQ(PAGES, place(&self->child, &load).on[self->dev]);
}

TEST_F(policy, bind_task_shmem)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
		.shared = true,
	};

	EXPECT_EQ(PAGES, place(&self->child, &load).on[self->dev]);
}

static int memfd_fn(struct cdm_child *me, void *arg)
{
	int fd = memfd_create("cdm", 0);
	char *addr;

	if (ftruncate(fd, SIZE) || cdm_bind_task(*(int *)arg))
		return 1;
	addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cdm_fill(addr, SIZE, SEED);
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return 0;
}

TEST_F(policy, bind_task_memfd)
{
	long addr;

	ASSERT_EQ(0, cdm_start(&self->child, memfd_fn, &self->dev));
	addr = cdm_hear(&self->child);
	ASSERT_NE(LONG_MIN, addr);
	EXPECT_EQ(PAGES, cdm_spread_of(self->child.pid, (char *)addr,
				       SIZE).on[self->dev]);
}

TEST_F(policy, bind_static_nodes)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_BIND | MPOL_F_STATIC_NODES,
		.mask = self->dev_mask,
	};

	EXPECT_EQ(PAGES, place(&self->child, &load).on[self->dev]);
}

/* The end of a policy is the end of the name. */
TEST_F(policy, default_after_bind)
{
	char *addr = cdm_map(SIZE);

	ASSERT_EQ(0, cdm_bind_task(self->dev));
	cdm_touch(addr, SIZE / 2);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	cdm_touch(addr + SIZE / 2, SIZE / 2);
	EXPECT_EQ(PAGES / 2, cdm_pages_on(addr, SIZE / 2, self->dev));
	EXPECT_EQ(0, cdm_pages_on(addr + SIZE / 2, SIZE / 2, self->dev));
}

TEST_F(policy, bind_mixed_takes_ram_first)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = self->dev_mask | cdm_mask(cdm_rams()),
	};

	EXPECT_EQ(PAGES, cdm_spread_in(place(&self->child, &load), cdm_rams()));
}

TEST_F_TIMEOUT(policy, bind_mixed_then_takes_device, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = 224 * MIB,
		.mode = MPOL_BIND,
		.mask = self->dev_mask | cdm_mask(cdm_rams()),
	};
	struct cdm_spread spread;

	ASSERT_EQ(0, cdm_leave_ram(160));
	spread = place(&self->child, &load);
	EXPECT_LT(0, cdm_spread_in(spread, cdm_rams()));
	EXPECT_LT(64 * MIB / PAGE, spread.on[self->dev]);
	EXPECT_EQ(load.size / PAGE,
		  spread.on[self->dev] + cdm_spread_in(spread, cdm_rams()));
}

TEST_F(policy, preferred)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_PREFERRED,
		.mask = self->dev_mask,
	};

	EXPECT_EQ(PAGES, place(&self->child, &load).on[self->dev]);
}

TEST_F_TIMEOUT(policy, preferred_falls_back_to_ram, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = 128 * MIB,
		.mode = MPOL_PREFERRED,
		.mask = self->dev_mask,
	};
	struct cdm_spread spread;

	ASSERT_EQ(0, cdm_leave_node(self->dev, 16));
	spread = place(&self->child, &load);
	EXPECT_LT(0, spread.on[self->dev]);
	EXPECT_EQ(load.size / PAGE,
		  spread.on[self->dev] + cdm_spread_in(spread, cdm_rams()));
}

TEST_F(policy, preferred_many_devices)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_PREFERRED_MANY,
		.mask = cdm_mask(cdm_devs()),
	};

	EXPECT_EQ(PAGES, cdm_spread_in(place(&self->child, &load), cdm_devs()));
}

TEST_F_TIMEOUT(policy, preferred_many_devices_falls_back_to_ram, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = 192 * MIB,
		.mode = MPOL_PREFERRED_MANY,
		.mask = cdm_mask(cdm_devs()),
	};
	struct cdm_nodes devs = cdm_devs();
	struct cdm_spread spread;

	for (int i = 0; i < devs.nr; i++)
		ASSERT_EQ(0, cdm_leave_node(devs.nid[i], 16));
	spread = place(&self->child, &load);
	EXPECT_LT(0, cdm_spread_in(spread, cdm_rams()));
	EXPECT_EQ(load.size / PAGE, cdm_spread_in(spread, devs) +
		  cdm_spread_in(spread, cdm_rams()));
}

TEST_F(policy, interleave_one_device)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_INTERLEAVE,
		.mask = self->dev_mask,
	};

	EXPECT_EQ(PAGES, place(&self->child, &load).on[self->dev]);
}

TEST_F(policy, interleave_two_devices)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_INTERLEAVE,
		.mask = cdm_mask(cdm_devs()),
	};
	struct cdm_spread spread;

	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	spread = place(&self->child, &load);
	EXPECT_EQ(PAGES, cdm_spread_in(spread, cdm_devs()));
	for (int i = 0; i < cdm_devs().nr; i++)
		EXPECT_EQ(PAGES / cdm_devs().nr, spread.on[cdm_dev(i)]);
}

/* A mask of RAM and devices is a row of the fence (F1); devices alone here. */
/*
 * get_mempolicy(2) tells what is in effect: the mask as it was given, narrowed
 * to RAM for the modes that name no device if there is RAM as well.
 */
TEST_F(policy, get_mempolicy)
{
	static const int modes[] = {
		MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED_MANY,
	};
	unsigned long got;
	int mode;

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		got = 0;
		ASSERT_EQ(0, cdm_task_policy(modes[i], cdm_all_mask()));
		ASSERT_EQ(0, get_mempolicy(&mode, &got, 64, NULL, 0));
		EXPECT_EQ(modes[i], mode);
		EXPECT_EQ(i ? cdm_mask(cdm_rams()) : cdm_all_mask(), got);

		got = 0;
		ASSERT_EQ(0, cdm_task_policy(modes[i], self->dev_mask));
		ASSERT_EQ(0, get_mempolicy(&mode, &got, 64, NULL, 0));
		EXPECT_EQ(modes[i], mode);
		EXPECT_EQ(self->dev_mask, got);
	}
}

TEST_F(policy, get_mempolicy_mems_allowed)
{
	unsigned long got = 0;

	ASSERT_EQ(0, get_mempolicy(NULL, &got, 64, NULL, MPOL_F_MEMS_ALLOWED));
	EXPECT_EQ(cdm_all_mask(), got);
}

TEST_F(policy, get_mempolicy_of_address)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	int node = -1;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, get_mempolicy(&node, NULL, 0, addr,
				   MPOL_F_NODE | MPOL_F_ADDR));
	EXPECT_EQ(self->dev, node);
}

TEST_F(policy, unknown_node_is_refused)
{
	char *addr = cdm_map(PAGE);

	EXPECT_EQ(-EINVAL, cdm_mbind(addr, PAGE, MPOL_BIND, 1UL << 15, 0));
	EXPECT_EQ(-EINVAL, cdm_bind_task(15));
}

TEST_F(policy, second_device)
{
	char *addr;

	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	addr = cdm_map_on(cdm_dev(1), SIZE, SEED);
	ASSERT_NE(NULL, addr);
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, cdm_dev(0)));
}

/* More than cdm_leave_node(nid, 32) leaves in the worst case. */
#define FULL	(112 * MIB)

/*
 * A task that asks a full device for more may come to SIGBUS, or some
 * of its pages are evicted to RAM. In any case it is no other task's problem,
 * which on the base it may be: there the largest task dies, wherever its memory
 * is. Which one that is varies, so that no case here is named after row F17.
 */
static void expect_dies_alone(struct __test_metadata *_metadata,
			      struct cdm_child *child, struct cdm_child *other,
			      int (*fn)(struct cdm_child *me, void *arg),
			      void *arg)
{
	struct cdm_load bystander = { .size = 256 * MIB };
	struct cdm_spread spread;
	long kills = cdm_vmstat("oom_kill"), addr;
	int status;

	/* More memory and the same score: an easier victim. */
	ASSERT_NE(NULL, cdm_load_start(other, &bystander));
	ASSERT_EQ(0, cdm_start(child, fn, arg));
	addr = cdm_hear(child);
	if (addr == LONG_MIN) {
		status = cdm_wait(child);
		child->pid = 0;
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(SIGBUS, WTERMSIG(status));
	} else {
		spread = cdm_spread_of(child->pid, (char *)addr, FULL);
		EXPECT_EQ(0, spread.absent);
	}
	EXPECT_EQ(0, kill(other->pid, 0));
	EXPECT_EQ(0, waitpid(other->pid, &status, WNOHANG));
	EXPECT_EQ(kills, cdm_vmstat("oom_kill"));
}

TEST_F_TIMEOUT(policy, full_device_and_bound_task, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = FULL,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};
	struct cdm_mark mark;

	ASSERT_EQ(0, cdm_leave_node(self->dev, 32));
	mark = cdm_mark();
	expect_dies_alone(_metadata, &self->child, &self->other, cdm_load_fn,
			  &load);
	/* Another device is no way out. */
	EXPECT_GE(96 * 1024, cdm_leaked(mark));
}

static int mbind_load_fn(struct cdm_child *me, void *arg)
{
	char *addr = cdm_map(FULL);

	if (cdm_mbind(addr, FULL, MPOL_BIND, *(unsigned long *)arg, 0))
		return 1;
	cdm_touch(addr, FULL);
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(policy, full_device_and_bound_mapping, CDM_TIMEOUT)
{
	if (cdm_no_repeats())
		SKIP(return, CDM_REPEATS);
	ASSERT_EQ(0, cdm_leave_node(self->dev, 32));
	expect_dies_alone(_metadata, &self->child, &self->other, mbind_load_fn,
			  &self->dev_mask);
}

TEST_F(policy, fork_and_cow)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	pid_t pid;
	int status;

	ASSERT_NE(NULL, addr);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (cdm_wrong(addr, SIZE, SEED))
			_exit(1);
		cdm_fill(addr, SIZE, SEED + 1);
		if (cdm_pages_on(addr, SIZE, self->dev) != PAGES)
			_exit(2);
		_exit(cdm_wrong(addr, SIZE, SEED + 1) ? 3 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
}

TEST_F(policy, mremap)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED), *moved;

	ASSERT_NE(NULL, addr);
	moved = mremap(addr, SIZE, 2 * SIZE, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(0, cdm_wrong(moved, SIZE, SEED));
	EXPECT_EQ(PAGES, cdm_pages_on(moved, SIZE, self->dev));
	/* The policy went along: the new half is named too. */
	cdm_touch(moved + SIZE, SIZE);
	EXPECT_EQ(PAGES, cdm_pages_on(moved + SIZE, SIZE, self->dev));
}

TEST_F(policy, private_file_cow)
{
	int fd = cdm_open_big(SIZE);
	char *addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
			  0);

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	cdm_fault_in(addr, SIZE);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	cdm_fill(addr, SIZE / 2, SEED);
	EXPECT_EQ(PAGES / 2, cdm_pages_on(addr, SIZE / 2, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE / 2, SEED));
	EXPECT_EQ(0, cdm_pages_on(addr + SIZE / 2, SIZE / 2, self->dev));
}

TEST_F_TIMEOUT(policy, swap_in, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);

	ASSERT_EQ(0, cdm_swap_on(64));
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_pageout(addr, SIZE));
	EXPECT_LT(PAGES / 2, cdm_spread(addr, SIZE).absent);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_LT(PAGES / 2, cdm_pages_on(addr, SIZE, self->dev));
}

TEST_F(policy, mlock)
{
	char *addr = cdm_map(SIZE);

	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	ASSERT_EQ(0, mlock(addr, SIZE));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, munlock(addr, SIZE));
}

static long anon_huge_kb(int nid)
{
	cdm_stat_refresh();
	return cdm_node_meminfo(nid, "AnonHugePages");
}

TEST_F(policy, thp)
{
	char *addr = cdm_map_huge(SIZE);
	long before = anon_huge_kb(self->dev);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(SIZE / 1024, anon_huge_kb(self->dev) - before);
}

TEST_F(policy, thp_of_bound_task)
{
	char *addr = cdm_map_huge(SIZE);
	long before = anon_huge_kb(self->dev);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_bind_task(self->dev));
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	EXPECT_EQ(SIZE / 1024, anon_huge_kb(self->dev) - before);
}

/*
 * Pages of an unmodified program, by node. Only mappings without a file count:
 * the others are page cache.
 */
static struct cdm_spread program_spread(pid_t pid)
{
	struct cdm_spread spread = {};
	char path[64], line[1024];
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/numa_maps", pid);
	maps = fopen(path, "r");
	while (maps && fgets(line, sizeof(line), maps)) {
		char *word = strstr(line, " anon=");
		int nid, len;
		long nr;

		if (!word || strstr(line, "file="))
			continue;
		for (word = strstr(word, " N"); word; word = strstr(word, " N"))
			if (sscanf(word, " N%d=%ld%n", &nid, &nr, &len) == 2) {
				spread.on[nid] += nr;
				spread.total += nr;
				word += len;
			} else {
				word++;
			}
	}
	if (maps)
		fclose(maps);
	return spread;
}

static int numactl_fn(struct cdm_child *me, void *arg)
{
	execlp("numactl", "numactl", arg, "sort", "-S", "8M", NULL);
	return 127;
}

/* Where is the memory of a sort(1) that has read its first input? */
static struct cdm_spread numactl_spread(struct cdm_child *child, char *option)
{
	struct cdm_spread spread = {};
	static char text[60000];
	int pipes[2], in = dup(0), left = 1;

	memset(text, '\n', sizeof(text));
	if (pipe2(pipes, O_CLOEXEC) ||
	    write(pipes[1], text, sizeof(text)) != sizeof(text))
		return spread;
	dup2(pipes[0], 0);
	cdm_start(child, numactl_fn, option);
	dup2(in, 0);
	for (int i = 0; left && i < CDM_ACK_MS / 10; i++) {
		usleep(10000);
		ioctl(pipes[0], FIONREAD, &left);
	}
	return program_spread(child->pid);
}

TEST_F(policy, numactl_membind)
{
	char option[64];
	struct cdm_spread spread;

	snprintf(option, sizeof(option), "--membind=%d", self->dev);
	spread = numactl_spread(&self->child, option);
	EXPECT_LT(10, spread.total);
	EXPECT_EQ(spread.total, spread.on[self->dev]);
}

TEST_F(policy, numactl_interleave_all)
{
	struct cdm_spread spread;

	spread = numactl_spread(&self->child, "--interleave=all");
	EXPECT_LT(10, spread.total);
	EXPECT_EQ(0, cdm_spread_in(spread, cdm_devs()));
}

/*
 * Memory of a process that another one writes to, or brings in from swap. It is placed
 * by the policy of the first, whatever that of the second is.
 */
#define OTHERS	(2 * MIB)

enum way { BY_WRITEV, BY_PROC_MEM, BY_UFFD, BY_SWAPOFF };

FIXTURE(foreign) {
	int dev;
	unsigned long dev_mask;
	struct cdm_child owner;
};

FIXTURE_VARIANT(foreign) {
	enum way way;
	bool shared;
};

FIXTURE_VARIANT_ADD(foreign, writev) { .way = BY_WRITEV };
FIXTURE_VARIANT_ADD(foreign, writev_shared) { .way = BY_WRITEV, .shared = true };
FIXTURE_VARIANT_ADD(foreign, proc_mem) { .way = BY_PROC_MEM };
FIXTURE_VARIANT_ADD(foreign, uffd) { .way = BY_UFFD };
FIXTURE_VARIANT_ADD(foreign, swapoff) { .way = BY_SWAPOFF };
FIXTURE_VARIANT_ADD(foreign, swapoff_shared) { .way = BY_SWAPOFF, .shared = true };

FIXTURE_SETUP(foreign)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	self->dev_mask = 1UL << self->dev;
	if (variant->way == BY_SWAPOFF)
		ASSERT_EQ(0, cdm_swap_on(64));
}

FIXTURE_TEARDOWN(foreign)
{
	if (self->owner.pid)
		cdm_kill(&self->owner);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

struct owner {
	enum way way;
	bool shared;
	int mode;
	unsigned long mask;
};

static int uffd_of(char *addr, size_t size)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return fd;
}

static int owner_fn(struct cdm_child *me, void *arg)
{
	struct owner *owner = arg;
	char *addr = owner->shared ? cdm_map_shared(OTHERS) : cdm_map(OTHERS);
	int fd = 0;

	if (owner->way == BY_SWAPOFF) {
		cdm_fill(addr, OTHERS, SEED);
		cdm_pageout(addr, OTHERS);
	}
	if (owner->way == BY_UFFD)
		fd = uffd_of(addr, OTHERS);
	if (fd < 0 || cdm_task_policy(owner->mode, owner->mask))
		return 1;
	cdm_say(me, (long)addr);
	cdm_say(me, fd);
	/* What is shared is not mapped only because it is there. */
	if (cdm_hear(me) == 1)
		cdm_fault_in(addr, OTHERS);
	cdm_say(me, 0);
	cdm_hear(me);
	return cdm_wrong(addr, OTHERS, SEED) ? 2 : 0;
}

/* Have the pattern at @addr of process @pid. Returns 0 or an error. */
static int bring_in(enum way way, pid_t pid, int uffd, char *addr)
{
	char *from = cdm_map(OTHERS), path[64];
	struct iovec here = { from, OTHERS }, there = { addr, OTHERS };
	struct uffdio_copy copy = {
		.dst = (uintptr_t)addr,
		.src = (uintptr_t)from,
		.len = OTHERS,
	};
	ssize_t nr = -1;
	int fd;

	cdm_fill(from, OTHERS, SEED);
	switch (way) {
	case BY_WRITEV:
		nr = process_vm_writev(pid, &here, 1, &there, 1, 0);
		break;
	case BY_PROC_MEM:
		snprintf(path, sizeof(path), "/proc/%d/mem", pid);
		fd = open(path, O_RDWR | O_CLOEXEC);
		nr = pwrite(fd, from, OTHERS, (uintptr_t)addr);
		close(fd);
		break;
	case BY_UFFD:
		fd = syscall(__NR_pidfd_getfd,
			     syscall(__NR_pidfd_open, pid, 0), uffd, 0);
		if (!ioctl(fd, UFFDIO_COPY, &copy))
			nr = copy.copy;
		close(fd);
		break;
	case BY_SWAPOFF:
		cdm_swap_off();
		nr = OTHERS;
		break;
	}
	return nr == OTHERS ? 0 : -errno;
}

static struct cdm_spread place_foreign(struct __test_metadata *_metadata,
				       struct cdm_child *child,
				       struct owner *owner, int mode,
				       unsigned long mask)
{
	struct cdm_spread spread = {};
	char *addr;
	int err, uffd;

	ASSERT_EQ(0, cdm_start(child, owner_fn, owner));
	addr = (char *)cdm_hear(child);
	ASSERT_NE(LONG_MIN, (long)addr);
	uffd = cdm_hear(child);
	ASSERT_EQ(0, cdm_task_policy(mode, mask));
	err = bring_in(owner->way, child->pid, uffd, addr);
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	ASSERT_EQ(0, err);
	cdm_say(child, owner->shared);
	ASSERT_EQ(0, cdm_hear(child));
	spread = cdm_spread_of(child->pid, addr, OTHERS);
	EXPECT_EQ(0, cdm_wait(child));
	child->pid = 0;
	return spread;
}

TEST_F(foreign, default_owner_and_bound_writer_is_ram)
{
	struct owner owner = { .way = variant->way, .shared = variant->shared };
	struct cdm_spread spread;

	spread = place_foreign(_metadata, &self->owner, &owner, MPOL_BIND,
			       self->dev_mask);
	EXPECT_EQ(spread.total, cdm_spread_in(spread, cdm_rams()));
}

/* What is shared has no owner: nobody of those that map it is at work. */
TEST_F(foreign, bound_owner_and_default_writer_is_device)
{
	struct owner owner = {
		.way = variant->way,
		.shared = variant->shared,
		.mode = MPOL_BIND,
		.mask = self->dev_mask,
	};
	struct cdm_spread spread;

	spread = place_foreign(_metadata, &self->owner, &owner, MPOL_DEFAULT, 0);
	EXPECT_EQ(spread.total, variant->shared ?
		  cdm_spread_in(spread, cdm_rams()) : spread.on[self->dev]);
}

/* So do kernel objects: nobody maps the memory that a write() to a file needs. */
TEST_F(policy, memfd_that_is_not_mapped_is_ram)
{
	int fd = memfd_create("cdm", 0);
	char *buf = cdm_map(OTHERS), *addr;

	cdm_fill(buf, OTHERS, SEED);
	ASSERT_EQ(0, cdm_bind_task(self->dev));
	EXPECT_EQ(OTHERS, pwrite(fd, buf, OTHERS, 0));
	ASSERT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
	addr = mmap(NULL, OTHERS, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	EXPECT_EQ(0, cdm_wrong(addr, OTHERS, SEED));
	EXPECT_EQ(OTHERS / PAGE, cdm_spread_in(cdm_spread(addr, OTHERS),
					       cdm_rams()));
}

TEST_HARNESS_MAIN
