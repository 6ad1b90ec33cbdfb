// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator and the memory of a process: a job may what the
 * process may, no more, and sees what it sees.
 */
#include <linux/loop.h>

#include "accel_util.h"

#define SIZE	(2 * MIB)
#define PAGES	(SIZE / PAGE)
#define WORDS	(SIZE / sizeof(__u64))
#define SEED	43

/* The same computations on all kinds of memory. */
enum kind {
	ANON,
	SHARED,
	MEMFD,
	HUGE,
	TMPFS,
	COPY_OF_FILE,
};

FIXTURE(kind) {
	struct accel a;
	struct cdm_accel *dev;
	char *addr;
	int fd;
};

FIXTURE_VARIANT(kind) {
	enum kind kind;
	bool written_back;	/* the file sees what is written */
};

FIXTURE_VARIANT_ADD(kind, anon) { .kind = ANON };
FIXTURE_VARIANT_ADD(kind, shared) { .kind = SHARED };
FIXTURE_VARIANT_ADD(kind, memfd) { .kind = MEMFD, .written_back = true };
FIXTURE_VARIANT_ADD(kind, huge) { .kind = HUGE };
FIXTURE_VARIANT_ADD(kind, tmpfs) { .kind = TMPFS, .written_back = true };
FIXTURE_VARIANT_ADD(kind, copy_of_file) { .kind = COPY_OF_FILE };

static char *map_file(int fd, int flags)
{
	char *addr = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, SIZE))
		addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, flags, fd, 0);
	return addr == MAP_FAILED ? NULL : addr;
}

static char *map_kind(enum kind kind, int *fd)
{
	char path[] = "/tmp/cdm_accel.XXXXXX";

	switch (kind) {
	case SHARED:
		return cdm_map_shared(SIZE);
	case HUGE:
		return cdm_map_huge(SIZE);
	case TMPFS:
		*fd = mkstemp(path);
		unlink(path);
		return map_file(*fd, MAP_SHARED);
	case MEMFD:
		*fd = memfd_create("cdm", 0);
		return map_file(*fd, MAP_SHARED);
	case COPY_OF_FILE:
		*fd = memfd_create("cdm", 0);
		return map_file(*fd, MAP_PRIVATE);
	default:
		return cdm_map(SIZE);
	}
}

FIXTURE_SETUP(kind)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	self->fd = -1;
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->dev = self->a.dev;
	self->addr = map_kind(variant->kind, &self->fd);
	ASSERT_NE(NULL, self->addr);
}

FIXTURE_TEARDOWN(kind)
{
	close(self->fd);
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Reads and writes, small and large, with what the CPU expects after each. */
static void compute(struct __test_metadata *_metadata, struct cdm_accel *dev,
		    char *addr)
{
	__u64 *word = (__u64 *)addr, count[256] = {}, want[256] = {};
	struct cdm_accel_wait done;
	long wrong = 0;

	EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(dev, addr, SIZE));
	EXPECT_EQ(0, RUN(dev, &done, HISTOGRAM, va(addr), SIZE, va(count)));
	for (size_t i = 0; i < SIZE; i++)
		want[(unsigned char)addr[i]]++;
	EXPECT_EQ(0, memcmp(want, count, sizeof(want)));
	EXPECT_EQ(0, RUN(dev, NULL, COPY, va(addr) + SIZE / 2, va(addr),
			 SIZE / 4));
	EXPECT_EQ(0, accel_fill(dev, addr + SIZE * 3 / 4, 9, SIZE / 4 - 8));
	EXPECT_EQ(0, RUN(dev, NULL, ATOMIC_ADD, va(word + WORDS - 1), 1, 10));
	for (size_t i = 0; i < WORDS - 1; i++)
		wrong += word[i] != (i < WORDS / 2 ? cdm_word(SEED, i) :
				     i < WORDS * 3 / 4 ?
				     cdm_word(SEED, i - WORDS / 2) : 9);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(cdm_word(SEED, WORDS - 1) + 10, word[WORDS - 1]);
}

TEST_F_TIMEOUT(kind, compute, CDM_TIMEOUT)
{
	__u64 back = 0;

	cdm_fill(self->addr, SIZE, SEED);
	compute(_metadata, self->dev, self->addr);
	EXPECT_EQ(0, cdm_pages_on(self->addr, SIZE, self->a.nid));

	cdm_fill(self->addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, self->addr, SIZE));
	compute(_metadata, self->dev, self->addr);
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->a.nid));
	if (self->fd < 0)
		return;
	/* As read(2) sees it. */
	ASSERT_EQ(8, pread(self->fd, &back, 8, SIZE * 3 / 4));
	EXPECT_EQ(variant->written_back ? 9 : 0, back);
}

/* Jobs are the first to touch it. */
TEST_F_TIMEOUT(kind, untouched, CDM_TIMEOUT)
{
	__u64 *word = (__u64 *)self->addr;

	EXPECT_EQ(0, accel_sum(self->dev, self->addr, SIZE / 2));
	EXPECT_EQ(0, accel_fill(self->dev, self->addr, 3, SIZE / 4));
	EXPECT_EQ(0, accel_fill(self->dev, self->addr + SIZE / 2, 4, SIZE / 2));
	EXPECT_EQ(3 * WORDS / 4 + 4 * WORDS / 2, cpu_sum(self->addr, SIZE));
	EXPECT_EQ(3, word[WORDS / 4 - 1]);
	EXPECT_EQ(0, word[WORDS / 4]);
	EXPECT_EQ(4, word[WORDS / 2]);
	/* The zero page is still one. */
	EXPECT_EQ(0, cpu_sum(cdm_map(SIZE), SIZE));
}

/* Everything else goes by one address space, with memory in RAM at first. */
FIXTURE(mem) {
	struct accel a;
	struct cdm_accel *dev;
	char *addr;
};

FIXTURE_SETUP(mem)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->dev = self->a.dev;
	self->addr = accel_map_filled(SIZE, SEED);
	ASSERT_NE(NULL, self->addr);
}

FIXTURE_TEARDOWN(mem)
{
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Wherever a program may have its data. */
TEST_F(mem, anywhere)
{
	static __u64 data[1000] = { 1, 2, 3 };
	static const __u64 text[1000] = { 4, 5, 6 };
	__u64 stack[1000] = { 7, 8, 9 };
	__u64 *heap = calloc(1000, sizeof(*heap));

	heap[999] = 1;
	EXPECT_EQ(6, accel_sum(self->dev, data, sizeof(data)));
	EXPECT_EQ(15, accel_sum(self->dev, text, sizeof(text)));
	EXPECT_EQ(24, accel_sum(self->dev, stack, sizeof(stack)));
	EXPECT_EQ(1, accel_sum(self->dev, heap, sizeof(stack)));
	EXPECT_EQ(0, accel_fill(self->dev, data + 1, 3, 998 * 8));
	EXPECT_EQ(1 + 998 * 3, cpu_sum(data, sizeof(data)));
	EXPECT_EQ(0, accel_fill(self->dev, stack + 1, 3, 998 * 8));
	EXPECT_EQ(7 + 998 * 3, cpu_sum(stack, sizeof(stack)));
	EXPECT_EQ(0, accel_fill(self->dev, heap + 1, 3, 998 * 8));
	EXPECT_EQ(1 + 998 * 3, cpu_sum(heap, sizeof(stack)));
	EXPECT_EQ(-EFAULT, accel_fill(self->dev, (void *)text, 3, 8));
	free(heap);
}

/* The job fails at this page, and tells so. */
static void expect_fault(struct __test_metadata *_metadata,
			 struct cdm_accel *dev, unsigned int kernel,
			 const void *addr, __u64 size, __u64 at)
{
	__u64 fill[CDM_ACCEL_NR_ARGS] = { va(addr), 1, size };
	__u64 sum[CDM_ACCEL_NR_ARGS] = { va(addr), size };
	struct cdm_accel_wait done;

	EXPECT_EQ(-EFAULT, accel_run(dev, &done, kernel,
				     kernel == CDM_ACCEL_JOB_SUM ? sum : fill));
	EXPECT_EQ(page_of(at), page_of(done.addr));
}

#define EXPECT_FAULT(kernel, addr, size, at)				\
	expect_fault(_metadata, self->dev, CDM_ACCEL_JOB_##kernel, addr, size, \
		     va(at))

TEST_F(mem, read_only)
{
	ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_READ));
	for (int i = 0; i < 2; i++) {
		EXPECT_FAULT(FILL, self->addr + 3 * PAGE, PAGE,
			     self->addr + 3 * PAGE);
		EXPECT_EQ(-EFAULT, RUN(self->dev, NULL, ATOMIC_ADD,
				       va(self->addr), 1, 1));
		EXPECT_EQ(-EFAULT, RUN(self->dev, NULL, COPY,
				       va(self->addr), va(self->addr) + PAGE,
				       PAGE));
		EXPECT_EQ(cpu_sum(self->addr, SIZE),
			  accel_sum(self->dev, self->addr, SIZE));
		EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
		/* Now the same on the device. */
		EXPECT_EQ(0, cdm_accel_to_device(self->dev, self->addr, SIZE));
	}
	ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, accel_fill(self->dev, self->addr, 1, SIZE));
}

/* A job that was allowed to write is not for ever. */
TEST_F(mem, read_only_after_writing)
{
	char *addr = self->addr;

	ASSERT_EQ(0, accel_fill(self->dev, addr, 1, SIZE));
	ASSERT_EQ(0, mprotect(addr + SIZE / 2, PAGE, PROT_READ));
	EXPECT_FAULT(FILL, addr, SIZE, addr + SIZE / 2);
	EXPECT_EQ(PAGE / 8, cpu_sum(addr + SIZE / 2, PAGE));
	ASSERT_EQ(0, mprotect(addr + SIZE / 2, PAGE, PROT_NONE));
	EXPECT_FAULT(SUM, addr, SIZE, addr + SIZE / 2);
	ASSERT_EQ(0, munmap(addr + SIZE / 2, PAGE));
	EXPECT_FAULT(SUM, addr, SIZE, addr + SIZE / 2);
	EXPECT_FAULT(FILL, addr, SIZE, addr + SIZE / 2);
	EXPECT_EQ(WORDS / 2, accel_sum(self->dev, addr, SIZE / 2));
}

TEST_F(mem, no_access)
{
	char *addr = self->addr;

	EXPECT_FAULT(SUM, addr - PAGE, SIZE, addr - PAGE);
	EXPECT_FAULT(FILL, addr - 8, 64, addr - 8);
	EXPECT_FAULT(SUM, addr, SIZE + 8, addr + SIZE);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_FAULT(FILL, addr + SIZE - 64, 128, addr + SIZE);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE - 64, SEED));
}

/* The process can read it, but it is no memory that a device may have. */
TEST_F(mem, vvar)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long addr = 0;
	char line[256];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (strstr(line, "[vvar]"))
			addr = strtoul(line, NULL, 16);
	}
	if (maps)
		fclose(maps);
	ASSERT_NE(0, addr);
	EXPECT_FAULT(SUM, (char *)addr, PAGE, (char *)addr);
}

TEST_F(mem, wrong_address)
{
	static const __u64 bad[] = {
		0, 8, 1ULL << 46, (1ULL << 47) - PAGE, 1ULL << 47, 1ULL << 48,
		1ULL << 56, 0x8000000000000000, 0xffff800000000000,
		0xffff888000000000, 0xffffffff81000000, 0xffffffffff600000,
		-PAGE, -8ULL,
	};

	for (int i = 0; i < ARRAY_SIZE(bad); i++) {
		__u64 args[CDM_ACCEL_NR_ARGS] = { bad[i], 1, 8 };
		struct cdm_accel_wait done;
		int err;

		err = accel_run(self->dev, &done, CDM_ACCEL_JOB_FILL, args);
		EXPECT_TRUE(err == -EFAULT || err == -EINVAL);
		EXPECT_TRUE(err != -EFAULT ||
			    page_of(done.addr) == page_of(bad[i]));
		args[1] = 8;
		err = accel_run(self->dev, NULL, CDM_ACCEL_JOB_SUM, args);
		EXPECT_TRUE(err == -EFAULT || err == -EINVAL);
		err = RUN(self->dev, NULL, COPY, va(self->addr), bad[i], 8);
		EXPECT_TRUE(err == -EFAULT || err == -EINVAL);
	}
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* It ends where the memory ends, or does not begin. */
TEST_F(mem, huge_size)
{
	static const __u64 sizes[] = {
		1ULL << 40, 1ULL << 47, 1ULL << 63, -PAGE, -8ULL,
	};
	int err;

	for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
		err = RUN(self->dev, NULL, SUM, va(self->addr), sizes[i]);
		EXPECT_TRUE(err == -EFAULT || err == -EINVAL);
		err = RUN(self->dev, NULL, FILL, va(self->addr) + SIZE - PAGE,
			  1, sizes[i]);
		EXPECT_TRUE(err == -EFAULT || err == -EINVAL);
		err = RUN(self->dev, NULL, SAXPY, va(self->addr) + SIZE - PAGE,
			  va(self->addr) + SIZE - PAGE, sizes[i], 0);
		EXPECT_TRUE(err == -EFAULT || err == -EINVAL);
	}
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE - PAGE, SEED));
}

/* Where the process would get SIGBUS. */
TEST_F(mem, beyond_end_of_file)
{
	int fd = memfd_create("cdm", 0);
	char *addr;

	ASSERT_EQ(0, ftruncate(fd, PAGE));
	addr = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	EXPECT_FAULT(SUM, addr, 2 * PAGE, addr + PAGE);
	EXPECT_FAULT(FILL, addr, 2 * PAGE, addr + PAGE);
	EXPECT_EQ(PAGE / 8, cpu_sum(addr, PAGE));
	ASSERT_EQ(0, ftruncate(fd, 0));
	EXPECT_FAULT(SUM, addr, PAGE, addr);
	close(fd);
}

/* A file that nobody may write to. */
TEST_F(mem, file)
{
	int fd = cdm_open_big(SIZE);
	char *addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
	char *copy = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
			  0);
	__u64 hash;

	ASSERT_NE(MAP_FAILED, addr);
	ASSERT_NE(MAP_FAILED, copy);
	hash = cdm_hash(addr, SIZE);
	EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(self->dev, addr, SIZE));
	EXPECT_FAULT(FILL, addr, PAGE, addr);
	EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(self->dev, copy, SIZE));
	EXPECT_EQ(0, accel_fill(self->dev, copy, 2, SIZE / 2));
	EXPECT_EQ(WORDS, cpu_sum(copy, SIZE / 2));
	EXPECT_EQ(0, memcmp(addr + SIZE / 2, copy + SIZE / 2, SIZE / 2));
	EXPECT_EQ(hash, cdm_hash(addr, SIZE));
	close(fd);
}

/* Copy on write: who writes gets a copy, who does not keeps what he had. */
static void cow(struct __test_metadata *_metadata, struct accel *a, char *addr)
{
	struct accel own = { .pci = a->pci };
	int pipes[2], status;
	char go = 0;
	pid_t pid;

	cdm_fill(addr, SIZE, SEED);
	/* The device has translations for writing from here on. */
	ASSERT_EQ(0, RUN(a->dev, NULL, ATOMIC_ADD, va(addr) + 8, 0, 1));
	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	if (!pid) {
		if (read(pipes[0], &go, 1) != 1)
			_exit(1);
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		EXPECT_EQ(0, accel_open(&own, 0));
		EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(own.dev, addr, SIZE));
		EXPECT_EQ(0, accel_fill(own.dev, addr, 5, SIZE));
		EXPECT_EQ(5 * WORDS, cpu_sum(addr, SIZE));
		_exit(0);
	}
	EXPECT_EQ(0, accel_fill(a->dev, addr, 6, SIZE / 2));
	EXPECT_EQ(1, write(pipes[1], &go, 1));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(6 * WORDS / 2, cpu_sum(addr, SIZE / 2));
	EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(a->dev, addr, SIZE));
	for (size_t i = WORDS / 2; i < WORDS; i++)
		ASSERT_EQ(cdm_word(SEED, i), ((__u64 *)addr)[i]);
	close(pipes[0]);
	close(pipes[1]);
}

TEST_F_TIMEOUT(mem, copy_on_write, CDM_TIMEOUT)
{
	cow(_metadata, &self->a, self->addr);
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, self->addr, SIZE));
	cow(_metadata, &self->a, self->addr);
}

TEST_F_TIMEOUT(mem, copy_on_write_huge, CDM_TIMEOUT)
{
	char *addr = cdm_map_huge(SIZE);

	ASSERT_NE(NULL, addr);
	cow(_metadata, &self->a, addr);
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, addr, SIZE));
	cow(_metadata, &self->a, addr);
}

/* Pages that a thread of the process provides when they are first touched. */
static void *provider_fn(void *arg)
{
	int fd = *(int *)arg;
	char page[PAGE];
	struct uffd_msg msg;

	while (read(fd, &msg, sizeof(msg)) == sizeof(msg)) {
		struct uffdio_copy copy = {
			.dst = page_of(msg.arg.pagefault.address),
			.src = va(page),
			.len = PAGE,
		};

		for (int i = 0; i < PAGE / 8; i++)
			((__u64 *)page)[i] = copy.dst;
		ioctl(fd, UFFDIO_COPY, &copy);
	}
	return NULL;
}

TEST_F_TIMEOUT(mem, userfaultfd, CDM_TIMEOUT)
{
	char *addr = cdm_map(16 * PAGE);
	int fd = accel_uffd(addr, 16 * PAGE, UFFDIO_REGISTER_MODE_MISSING);
	pthread_t thread;
	__u64 want = 0;

	if (fd < 0)
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, pthread_create(&thread, NULL, provider_fn, &fd));
	for (int i = 0; i < 16; i++)
		want += va(addr + i * PAGE) * (PAGE / 8);
	EXPECT_EQ(0, accel_fill(self->dev, addr + 5 * PAGE + 8, 1, 8));
	want += 1 - va(addr + 5 * PAGE);
	EXPECT_EQ(want, accel_sum(self->dev, addr, 16 * PAGE));
	EXPECT_EQ(want, cpu_sum(addr, 16 * PAGE));
}

static int bound_fn(struct cdm_child *me, void *arg)
{
	const struct accel *a = arg;
	struct accel own = { .pci = a->pci };
	char *addr = cdm_map_huge(2 * SIZE);
	int nid = a->nid;

	/* The second half is of pages that are not huge. */
	if (madvise(addr + SIZE, SIZE, MADV_NOHUGEPAGE) || cdm_bind_task(nid) ||
	    accel_open(&own, 0) || accel_fill(own.dev, addr, 7, 2 * SIZE))
		return 1;
	if (cdm_pages_on(addr, 2 * SIZE, nid) != 2 * PAGES)
		return 2;
	return cpu_sum(addr, 2 * SIZE) != 2 * 7 * WORDS;
}

/* As numactl --membind. */
TEST_F_TIMEOUT(mem, task_policy, CDM_TIMEOUT)
{
	struct cdm_child child;

	ASSERT_EQ(0, cdm_start(&child, bound_fn, &self->a));
	EXPECT_EQ(0, cdm_wait(&child));
}

static int bound_later_fn(struct cdm_child *me, void *arg)
{
	const struct accel *a = arg;
	struct accel own = { .pci = a->pci };
	char *addr = cdm_map(3 * SIZE);
	int nid = a->nid;

	if (accel_open(&own, 0) || accel_fill(own.dev, addr, 7, PAGE))
		return 1;
	if (cdm_pages_on(addr, SIZE, nid) || cdm_bind_task(nid) ||
	    accel_fill(own.dev, addr + SIZE, 7, SIZE))
		return 2;
	if (cdm_pages_on(addr + SIZE, SIZE, nid) != PAGES)
		return 3;
	if (cdm_task_policy(MPOL_DEFAULT, 0) ||
	    accel_fill(own.dev, addr + 2 * SIZE, 7, SIZE))
		return 4;
	return cdm_pages_on(addr + 2 * SIZE, SIZE, nid) ? 5 : 0;
}

/* What set_mempolicy() says after the queue has been attached. */
TEST_F_TIMEOUT(mem, task_policy_set_later, CDM_TIMEOUT)
{
	struct cdm_child child;

	ASSERT_EQ(0, cdm_start(&child, bound_later_fn, &self->a));
	EXPECT_EQ(0, cdm_wait(&child));
}

#define GROUP	"cdm_accel"

static int confined_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	char *addr = cdm_map(SIZE);

	if (cdm_cgroup_enter(GROUP) || accel_open(&own, 0) ||
	    accel_fill(own.dev, addr, 7, SIZE))
		return 1;
	return cdm_pages_on(addr, SIZE, cdm_ram(1)) != PAGES;
}

TEST_F_TIMEOUT(mem, cpuset, CDM_TIMEOUT)
{
	struct cdm_child child;
	char mems[16];

	if (cdm_rams().nr < 2)
		SKIP(return, "needs two RAM nodes");
	snprintf(mems, sizeof(mems), "%d", cdm_ram(1));
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
	ASSERT_EQ(0, cdm_cgroup_write(GROUP, "cpuset.mems", mems));
	ASSERT_EQ(0, cdm_start(&child, confined_fn, &self->a.pci));
	EXPECT_EQ(0, cdm_wait(&child));
	EXPECT_EQ(0, cdm_cgroup_remove(GROUP));
}

#define SPREAD	64	/* pages, each in a window of its own */

static int fill_spread(struct cdm_accel *dev, char *addr)
{
	int err = 0;

	for (int i = 0; !err && i < SPREAD; i++)
		err = accel_fill(dev, addr + i * SIZE, 1, PAGE);
	return err;
}

/* Page tables of the device go with the memory that they map. */
TEST_F_TIMEOUT(mem, tables_go, CDM_TIMEOUT)
{
	char *addr = cdm_map(SPREAD * SIZE);
	long before;

	ASSERT_EQ(0, accel_fill(self->dev, self->addr, 1, PAGE));
	before = accel_stat(&self->a.pci, "tables");
	ASSERT_LT(0, before);
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, fill_spread(self->dev, addr));
		EXPECT_LE(before + SPREAD,
			  accel_stat(&self->a.pci, "tables"));
		ASSERT_EQ(0, madvise(addr, SPREAD * SIZE, MADV_DONTNEED));
		EXPECT_GE(before + 2, accel_stat(&self->a.pci, "tables"));
	}
	munmap(addr, SPREAD * SIZE);
	EXPECT_GE(before, accel_stat(&self->a.pci, "tables"));
}

static int tables_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	char *addr = cdm_map(SPREAD * SIZE);

	if (cdm_cgroup_enter(GROUP) || accel_open(&own, 0) ||
	    fill_spread(own.dev, addr))
		return 1;
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

/* The statistics of a group lag behind. */
static bool group_has_tables(long min, long max)
{
	for (int i = 0; i < ACCEL_MS / 100; i++) {
		long size = cdm_cgroup_stat(GROUP, "memory.stat",
					    "sec_pagetables");

		if (size >= min && size <= max)
			return true;
		usleep(100000);
	}
	return false;
}

TEST_F_TIMEOUT(mem, tables_are_charged, CDM_TIMEOUT)
{
	struct cdm_child child;

	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
	ASSERT_EQ(0, cdm_start(&child, tables_fn, &self->a.pci));
	ASSERT_EQ(0, cdm_hear(&child));
	EXPECT_TRUE(group_has_tables(SPREAD * PAGE, 2 * SPREAD * PAGE));
	cdm_kill(&child);
	EXPECT_TRUE(group_has_tables(0, 0));
	EXPECT_EQ(0, cdm_cgroup_remove(GROUP));
}

/*
 * Pages that are clean, so that reclaim would throw them away, are written by the
 * device. It has been at them before, or at a page beside them.
 */
enum clean {
	CLEAN_FREED,
	CLEAN_FREED_HUGE,
	CLEAN_SWAPPED,
	CLEAN_SHMEM,
	CLEAN_FILE,
};

#define DISK_DIR	"/tmp/cdm_disk"

FIXTURE(clean) {
	struct accel a;
	struct cdm_accel *dev;
	char *addr;		/* two pages of one huge page's size */
	char swap[32];
	int loop;
	int fd;
};

FIXTURE_VARIANT(clean) {
	enum clean kind;
};

FIXTURE_VARIANT_ADD(clean, freed) { .kind = CLEAN_FREED };
FIXTURE_VARIANT_ADD(clean, freed_huge) { .kind = CLEAN_FREED_HUGE };
FIXTURE_VARIANT_ADD(clean, swapped) { .kind = CLEAN_SWAPPED };
FIXTURE_VARIANT_ADD(clean, shmem) { .kind = CLEAN_SHMEM };
FIXTURE_VARIANT_ADD(clean, file) { .kind = CLEAN_FILE };

/* Swap on a device that is not memory: its pages stay in the swap cache. */
static int swap_on_loop(char *path, size_t size, int *loop)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int file = memfd_create("swap", 0);
	int nr = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);

	close(control);
	snprintf(path, size, "/dev/loop%d", nr);
	*loop = open(path, O_RDWR | O_CLOEXEC);
	if (nr < 0 || *loop < 0 || ftruncate(file, 16 * MIB) ||
	    ioctl(*loop, LOOP_SET_FD, file))
		return -errno;
	close(file);
	return cdm_swap_to(path, 16);
}

FIXTURE_SETUP(clean)
{
	const char *missing = accel_missing();
	int fd = -1, flags = MAP_SHARED;

	if (missing)
		SKIP(return, "%s", missing);
	if (variant->kind == CLEAN_FILE)
		missing = cdm_mount_disk(DISK_DIR);
	if (missing)
		SKIP(return, "%s", missing);
	self->loop = -1;
	self->fd = -1;
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->dev = self->a.dev;
	if (variant->kind == CLEAN_FILE) {
		self->fd = open(DISK_DIR "/file", O_RDWR | O_CREAT, 0600);
		ASSERT_EQ(0, ftruncate(self->fd, SIZE));
		fd = self->fd;
	} else {
		ASSERT_EQ(0, swap_on_loop(self->swap, sizeof(self->swap),
					  &self->loop));
		flags = (variant->kind == CLEAN_SHMEM ? MAP_SHARED :
			 MAP_PRIVATE) | MAP_ANONYMOUS;
	}
	self->addr = cdm_map(2 * SIZE);
	ASSERT_NE(NULL, self->addr);
	self->addr = (char *)((va(self->addr) + SIZE - 1) & ~(SIZE - 1));
	ASSERT_EQ(self->addr, mmap(self->addr, SIZE, PROT_READ | PROT_WRITE,
				   flags | MAP_FIXED, fd, 0));
	if (variant->kind == CLEAN_FREED_HUGE)
		ASSERT_EQ(0, madvise(self->addr, SIZE, MADV_HUGEPAGE));
}

FIXTURE_TEARDOWN(clean)
{
	if (self->addr)
		munmap(self->addr, SIZE);
	if (self->loop >= 0) {
		EXPECT_EQ(0, swapoff(self->swap));
		EXPECT_EQ(0, ioctl(self->loop, LOOP_CLR_FD));
		close(self->loop);
	}
	if (self->fd >= 0) {
		close(self->fd);
		EXPECT_EQ(0, umount(DISK_DIR));
	}
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Nothing of the first page is anywhere but where it came from. */
static int make_clean(enum clean kind, char *addr)
{
	size_t size = kind == CLEAN_FREED_HUGE ? SIZE : PAGE;

	switch (kind) {
	case CLEAN_FREED:
	case CLEAN_FREED_HUGE:
		cdm_fill(addr, 2 * PAGE, SEED);
		return madvise(addr, size, MADV_FREE);
	case CLEAN_SWAPPED:
		cdm_fill(addr, 2 * PAGE, SEED);
		if (cdm_pageout(addr, PAGE))
			return -1;
		return accel_count((__u64 *)addr) != cdm_word(SEED, 0);
	case CLEAN_SHMEM:
		cdm_fill(addr + PAGE, PAGE, SEED);
		if (madvise(addr, PAGE, MADV_REMOVE))
			return -1;
		return accel_count((__u64 *)addr);
	default:
		cdm_fill(addr, 2 * PAGE, SEED);
		return msync(addr, 2 * PAGE, MS_SYNC);
	}
}

/* The page is not in the page table of the process. */
static bool is_out(const char *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = ~0ULL;

	if (pread(fd, &entry, sizeof(entry), va(addr) / PAGE * 8) != 8)
		entry = ~0ULL;
	close(fd);
	return !(entry >> 63);
}

static void expect_kept(struct __test_metadata *_metadata, char *addr,
			size_t size, __u64 value)
{
	/*
	 * Reclaim first takes back that the page was given up. And what it has begun to
	 * write to swap goes when that is done.
	 */
	EXPECT_EQ(0, cdm_pageout(addr, size));
	for (int i = 0; i < ACCEL_MS / 10 && !is_out(addr); i++) {
		usleep(10000);
		EXPECT_EQ(0, cdm_pageout(addr, size));
	}
	EXPECT_TRUE(is_out(addr));
	EXPECT_EQ(value * PAGE / 8, cpu_sum(addr, PAGE));
}

TEST_F_TIMEOUT(clean, beside, CDM_TIMEOUT)
{
	size_t size = variant->kind == CLEAN_FREED_HUGE ? SIZE : PAGE;

	for (int i = 1; i <= 2; i++) {
		ASSERT_EQ(0, make_clean(variant->kind, self->addr));
		EXPECT_EQ(0, accel_fill(self->dev, self->addr + PAGE, 9, PAGE));
		EXPECT_EQ(0, accel_fill(self->dev, self->addr, i, PAGE));
		expect_kept(_metadata, self->addr, size, i);
	}
}

TEST_F_TIMEOUT(clean, after_reading, CDM_TIMEOUT)
{
	size_t size = variant->kind == CLEAN_FREED_HUGE ? SIZE : PAGE;

	for (int i = 1; i <= 2; i++) {
		ASSERT_EQ(0, make_clean(variant->kind, self->addr));
		EXPECT_NE(~0ULL, accel_sum(self->dev, self->addr, PAGE));
		EXPECT_EQ(0, accel_fill(self->dev, self->addr, i, PAGE));
		expect_kept(_metadata, self->addr, size, i);
	}
}

TEST_HARNESS_MAIN
