// SPDX-License-Identifier: GPL-2.0
/*
 * Migration of an address range by the driver, and computation by the device
 * on what it has migrated.
 */
#include <pthread.h>

#include "cdm_util.h"

#define SIZE	(8 * MIB)
#define PAGES	(SIZE / PAGE)
#define WORDS	(SIZE / sizeof(__u64))
#define SEED	31
#define ROUNDS	50

FIXTURE(range) {
	int dev;
	int ram;
	__s32 *status;
};

FIXTURE_SETUP(range)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_reset(_metadata));
	self->dev = cdm_dev(0);
	self->ram = cdm_ram(0);
	self->status = calloc(PAGES, sizeof(*self->status));
	ASSERT_NE(NULL, self->status);
	memset(self->status, 0x55, PAGES * sizeof(*self->status));
}

FIXTURE_TEARDOWN(range)
{
	free(self->status);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

/* How many of @status are @value. */
static long count_status(const __s32 *status, long nr, int value)
{
	long count = 0;

	for (long i = 0; i < nr; i++)
		count += status[i] == value;
	return count;
}

static void there_and_back(struct __test_metadata *_metadata, char *addr,
			   __s32 *status, int dev, int ram)
{
	__u64 hash = cdm_hash(addr, SIZE);

	EXPECT_EQ(0, cdm_migrate(addr, SIZE, dev, status));
	EXPECT_EQ(PAGES, count_status(status, PAGES, dev));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, dev));
	EXPECT_EQ(hash, cdm_hash(addr, SIZE));

	EXPECT_EQ(0, cdm_migrate(addr, SIZE, ram, status));
	EXPECT_EQ(PAGES, count_status(status, PAGES, ram));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, ram));
	EXPECT_EQ(hash, cdm_hash(addr, SIZE));
}

TEST_F(range, anon)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	there_and_back(_metadata, addr, self->status, self->dev, self->ram);
}

TEST_F(range, shmem)
{
	char *addr = cdm_map_shared(SIZE);

	cdm_fill(addr, SIZE, SEED);
	there_and_back(_metadata, addr, self->status, self->dev, self->ram);
}

TEST_F(range, shared_file)
{
	char *addr = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, cdm_open_big(SIZE),
			  0);

	ASSERT_NE(MAP_FAILED, addr);
	cdm_fault_in(addr, SIZE);
	there_and_back(_metadata, addr, self->status, self->dev, self->ram);
}

TEST_F(range, private_file)
{
	char *addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			  cdm_open_big(SIZE), 0);

	ASSERT_NE(MAP_FAILED, addr);
	cdm_fault_in(addr, SIZE);
	cdm_fill(addr + SIZE / 4, SIZE / 4, SEED);
	there_and_back(_metadata, addr, self->status, self->dev, self->ram);
	EXPECT_EQ(0, cdm_wrong(addr + SIZE / 4, SIZE / 4, SEED));
}

/* What this process and others execute: it is not for one of them to move. */
TEST_F(range, code_of_library)
{
	char *addr = (char *)((uintptr_t)qsort & ~(PAGE - 1));
	__s32 *status = self->status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		cdm_fault_in(addr, PAGE);
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, NULL, WUNTRACED));
	cdm_fault_in(addr, PAGE);
	EXPECT_EQ(0, cdm_migrate(addr, PAGE, self->dev, status));
	EXPECT_EQ(-EACCES, status[0]);
	EXPECT_EQ(0, cdm_pages_on(addr, PAGE, self->dev));
	EXPECT_EQ(0, cdm_migrate(addr, PAGE, CDM_TEST_NID_RAM, status));
	kill(pid, SIGKILL);
	EXPECT_EQ(pid, waitpid(pid, NULL, 0));
}

TEST_F(range, thp)
{
	char *addr = cdm_map_huge(SIZE);

	ASSERT_NE(NULL, addr);
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_migrate(addr, SIZE, self->dev, self->status));
	EXPECT_EQ(PAGES, count_status(self->status, PAGES, self->dev));
	cdm_stat_refresh();
	EXPECT_EQ(SIZE / 1024, cdm_node_meminfo(self->dev, "AnonHugePages"));
	there_and_back(_metadata, addr, self->status, self->dev, self->ram);
}

/* A part of a huge page: whatever moves, the status must be the truth. */
TEST_F(range, part_of_thp)
{
	char *addr = cdm_map_huge(SIZE);
	long nr = MIB / PAGE;

	ASSERT_NE(NULL, addr);
	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(0, cdm_migrate(addr + MIB / 2, MIB, self->dev, self->status));
	EXPECT_EQ(cdm_pages_on(addr + MIB / 2, MIB, self->dev),
		  count_status(self->status, nr, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(range, nearest_ram)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, CDM_TEST_NID_RAM, self->status));
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	EXPECT_EQ(0, count_status(self->status, PAGES, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(range, between_devices)
{
	char *addr;

	if (cdm_devs().nr < 2)
		SKIP(return, "topology %s has one device", cdm_topology());
	addr = cdm_map_on(cdm_dev(0), SIZE, SEED);
	ASSERT_NE(NULL, addr);
	there_and_back(_metadata, addr, self->status, cdm_dev(1), cdm_dev(0));
}

TEST_F(range, holes)
{
	char *addr = cdm_map(SIZE);

	for (long i = 0; i < PAGES; i += 2)
		addr[i * PAGE] = i;
	ASSERT_EQ(0, cdm_migrate(addr, SIZE, self->dev, self->status));
	for (long i = 0; i < PAGES; i++)
		ASSERT_EQ(i % 2 ? -ENOENT : self->dev, self->status[i]);
	for (long i = 0; i < PAGES; i += 2)
		ASSERT_EQ((char)i, addr[i * PAGE]);
}

TEST_F(range, hole_between_mappings)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, munmap(addr + SIZE / 4, SIZE / 4));
	ASSERT_EQ(0, cdm_migrate(addr, SIZE, self->dev, self->status));
	EXPECT_EQ(PAGES * 3 / 4, count_status(self->status, PAGES, self->dev));
	EXPECT_EQ(PAGES / 4, count_status(self->status + PAGES / 4, PAGES / 4,
					  -EFAULT));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE / 4, SEED));
}

TEST_F(range, partial)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_migrate(addr + 3 * PAGE, 5 * PAGE, self->dev, NULL));
	EXPECT_EQ(5, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(5, cdm_pages_on(addr + 3 * PAGE, 5 * PAGE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* A page that a device reads or writes stays; its neighbours do not. */
TEST_F(range, pinned_page)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR);
	char *addr = cdm_map(SIZE);
	long at = PAGES / 2;
	__u64 pin = (uintptr_t)addr + at * PAGE;

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_PIN, &pin));
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, self->dev, self->status));
	EXPECT_EQ(-EBUSY, self->status[at]);
	EXPECT_EQ(PAGES - 1, count_status(self->status, PAGES, self->dev));
	EXPECT_EQ(PAGES - 1, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_pages_on(addr + at * PAGE, PAGE, self->dev));
	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_UNPIN, &pin));
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, self->dev, self->status));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	close(fd);
}

TEST_F(range, locked_memory)
{
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, mlock(addr, SIZE));
	there_and_back(_metadata, addr, self->status, self->dev, self->ram);
}

/* Shared after fork: the mapping of both must follow. */
TEST_F(range, shared_after_fork)
{
	char *addr = cdm_map(SIZE);
	int pipes[2], status;
	char go = 0;
	pid_t pid;

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, pipe(pipes));
	pid = fork();
	if (!pid) {
		if (read(pipes[0], &go, 1) != 1)
			_exit(1);
		_exit(cdm_wrong(addr, SIZE, SEED) ? 2 : 0);
	}
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, self->dev, self->status));
	EXPECT_EQ(cdm_pages_on(addr, SIZE, self->dev),
		  count_status(self->status, PAGES, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	ASSERT_EQ(1, write(pipes[1], &go, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(range, full_device)
{
	size_t size = 128 * MIB;
	long nr = size / PAGE;
	char *addr = cdm_map(size);
	__s32 *status = calloc(nr, sizeof(*status));
	long there;

	cdm_fill(addr, size, SEED);
	ASSERT_EQ(0, cdm_leave_node(self->dev, 16));
	cdm_migrate(addr, size, self->dev, status);
	there = cdm_pages_on(addr, size, self->dev);
	EXPECT_LT(0, there);
	EXPECT_GT(nr, there);
	EXPECT_EQ(there, count_status(status, nr, self->dev));
	EXPECT_EQ(nr - there,
		  count_status(status, nr, -ENOMEM));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	free(status);
}

TEST_F(range, refused)
{
	char *addr = cdm_map(SIZE);
	char *kernel = (char *)0xffff888000000000UL;

	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(-EINVAL, cdm_migrate(addr + 8, PAGE, self->dev, NULL));
	EXPECT_EQ(-EINVAL, cdm_migrate(addr, PAGE + 8, self->dev, NULL));
	EXPECT_EQ(-ENODEV, cdm_migrate(addr, SIZE, 15, NULL));
	EXPECT_EQ(-ENODEV, cdm_migrate(addr, SIZE, 1 << 20, NULL));
	EXPECT_EQ(-ENODEV, cdm_migrate(addr, SIZE, -7, NULL));
	EXPECT_GT(0, cdm_migrate(kernel, PAGE, self->dev, self->status));
	EXPECT_GT(0, cdm_migrate(addr, -PAGE, self->dev, NULL));
	EXPECT_GT(0, cdm_migrate(addr, SIZE, self->dev, (__s32 *)8));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(range, node_outside_cpuset)
{
	char *addr = cdm_map(SIZE), mems[64];

	cdm_fill(addr, SIZE, SEED);
	snprintf(mems, sizeof(mems), "%d", self->ram);
	ASSERT_EQ(0, cdm_cgroup_create("cdm_range"));
	ASSERT_EQ(0, cdm_cgroup_write("cdm_range", "cpuset.mems", mems));
	ASSERT_EQ(0, cdm_cgroup_enter("cdm_range"));
	EXPECT_EQ(-EACCES, cdm_migrate(addr, SIZE, self->dev, self->status));
	EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, self->ram, self->status));
	ASSERT_EQ(0, cdm_cgroup_leave());
	EXPECT_EQ(0, cdm_migrate(addr, SIZE, self->dev, self->status));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
}

/* What goes to RAM goes to that which the process may have. */
TEST_F(range, home_is_in_the_cpuset)
{
	struct cdm_nodes rams = cdm_rams();
	char *addr = cdm_map(SIZE), mems[64];

	if (rams.nr < 2)
		SKIP(return, "topology %s has one node of RAM", cdm_topology());
	cdm_fill(addr, SIZE, SEED);
	for (int i = 0; i < rams.nr; i++) {
		ASSERT_EQ(0, cdm_migrate(addr, SIZE, self->dev, self->status));
		snprintf(mems, sizeof(mems), "%d,%d", rams.nid[i], self->dev);
		ASSERT_EQ(0, cdm_cgroup_create("cdm_range"));
		ASSERT_EQ(0, cdm_cgroup_write("cdm_range", "cpuset.mems", mems));
		ASSERT_EQ(0, cdm_cgroup_enter("cdm_range"));
		EXPECT_EQ(0, cdm_migrate(addr, SIZE, -1, self->status));
		EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, rams.nid[i]));
		ASSERT_EQ(0, cdm_cgroup_leave());
		ASSERT_EQ(0, cdm_cgroup_remove("cdm_range"));
	}
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

TEST_F(range, query)
{
	char *addr = cdm_map(SIZE);
	struct cdm_test_query query = {
		.addr = (uintptr_t)addr,
		.size = SIZE,
		.nodes = (uintptr_t)self->status,
	};

	cdm_fill(addr, SIZE / 2, SEED);
	ASSERT_EQ(PAGES / 4, cdm_move(addr, SIZE / 4, self->dev));
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_QUERY, &query));
	EXPECT_EQ(PAGES / 4, count_status(self->status, PAGES / 4, self->dev));
	EXPECT_EQ(0, count_status(self->status + PAGES / 4, PAGES * 3 / 4,
				  self->dev));
	EXPECT_EQ(PAGES / 2, count_status(self->status + PAGES / 2, PAGES / 2,
					  -ENOENT));
	query.addr += 8;
	EXPECT_EQ(-EINVAL, cdm_ioctl(CDM_TEST_IOC_QUERY, &query));
}

/* Pages come and go under the hands of a thread that writes all of them. */
struct writer {
	pthread_t thread;
	__u64 *word;
	bool stop;
	long rounds;
	long wrong;
};

static void *writer_fn(void *arg)
{
	struct writer *writer = arg;

	while (!__atomic_load_n(&writer->stop, __ATOMIC_ACQUIRE)) {
		for (long i = 0; i < 64; i++) {
			__u64 *word = writer->word + i * PAGE / sizeof(*word);

			writer->wrong += *word != writer->rounds;
			*word = writer->rounds + 1;
		}
		writer->rounds++;
	}
	return NULL;
}

/* @fn has 64 pages of its own. */
static int writer_start(struct writer *writer, void *(*fn)(void *arg))
{
	memset(writer, 0, sizeof(*writer));
	writer->word = (__u64 *)cdm_map(64 * PAGE);
	memset(writer->word, 0, 64 * PAGE);
	return pthread_create(&writer->thread, NULL, fn, writer);
}

static void writer_end(struct writer *writer)
{
	__atomic_store_n(&writer->stop, true, __ATOMIC_RELEASE);
	pthread_join(writer->thread, NULL);
}

TEST_F_TIMEOUT(range, writer_during_migration, CDM_TIMEOUT)
{
	struct writer writer;
	long moved = 0;

	ASSERT_EQ(0, writer_start(&writer, writer_fn));
	for (int i = 0; i < ROUNDS || !writer.rounds; i++) {
		int nid = i % 2 ? self->ram : self->dev;

		EXPECT_EQ(0, cdm_migrate(writer.word, 64 * PAGE, nid,
					 self->status));
		moved += count_status(self->status, 64, nid);
	}
	writer_end(&writer);
	EXPECT_EQ(0, writer.wrong);
	EXPECT_LT(0, writer.rounds);
	/* The odd page may be busy, not the odd migration. */
	EXPECT_LT(ROUNDS * 64 / 2, moved);
}

static void *dontneed_fn(void *arg)
{
	struct writer *writer = arg;
	char *addr = (char *)writer->word;

	while (!__atomic_load_n(&writer->stop, __ATOMIC_ACQUIRE)) {
		cdm_fill(addr, 64 * PAGE, SEED);
		writer->wrong += cdm_wrong(addr, 64 * PAGE, SEED);
		madvise(addr + 16 * PAGE, 16 * PAGE, MADV_DONTNEED);
		for (long i = 16 * PAGE; i < 32 * PAGE; i++)
			writer->wrong += addr[i] != 0;
		writer->rounds++;
	}
	return NULL;
}

TEST_F_TIMEOUT(range, dontneed_during_migration, CDM_TIMEOUT)
{
	struct writer writer;

	ASSERT_EQ(0, writer_start(&writer, dontneed_fn));
	for (int i = 0; i < ROUNDS || !writer.rounds; i++)
		EXPECT_EQ(0, cdm_migrate(writer.word, 64 * PAGE,
					 i % 2 ? self->ram : self->dev,
					 self->status));
	writer_end(&writer);
	EXPECT_EQ(0, writer.wrong);
}

TEST_F_TIMEOUT(range, fork_during_migration, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);
	int status;

	cdm_fill(addr, SIZE, SEED);
	for (int i = 0; i < ROUNDS / 5; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(cdm_wrong(addr, SIZE, SEED) ? 1 : 0);
		EXPECT_EQ(0, cdm_migrate(addr, SIZE,
					 i % 2 ? self->ram : self->dev,
					 self->status));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* The device computes: placement follows, and the CPU checks the result. */
FIXTURE(compute) {
	int dev;
	char *addr;
	struct cdm_test_compute arg;
};

FIXTURE_SETUP(compute)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_reset(_metadata));
	self->dev = cdm_dev(0);
	self->addr = cdm_map(SIZE);
	cdm_fill(self->addr, SIZE, SEED);
	self->arg.addr = (uintptr_t)self->addr;
	self->arg.size = SIZE;
	self->arg.nid = self->dev;
}

FIXTURE_TEARDOWN(compute)
{
	EXPECT_EQ(0, cdm_reset(_metadata));
}

TEST_F(compute, sum)
{
	__u64 sum = 0;

	for (long i = 0; i < WORDS; i++)
		sum += cdm_word(SEED, i);
	self->arg.op = CDM_TEST_SUM;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	EXPECT_EQ(sum, self->arg.result);
	EXPECT_EQ(WORDS, self->arg.nr);
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_F(compute, sum_in_place)
{
	self->arg.op = CDM_TEST_SUM;
	self->arg.nid = CDM_TEST_NID_STAY;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	EXPECT_EQ(WORDS, self->arg.nr);
	EXPECT_EQ(0, cdm_pages_on(self->addr, SIZE, self->dev));
}

TEST_F(compute, sum_in_ram)
{
	ASSERT_EQ(PAGES, cdm_move(self->addr, SIZE, self->dev));
	self->arg.op = CDM_TEST_SUM;
	self->arg.nid = CDM_TEST_NID_RAM;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	EXPECT_EQ(WORDS, self->arg.nr);
	EXPECT_EQ(0, cdm_pages_on(self->addr, SIZE, self->dev));
}

TEST_F(compute, histogram)
{
	__u64 want[256] = {}, got[256] = {};

	for (long i = 0; i < SIZE; i++)
		want[(unsigned char)self->addr[i]]++;
	self->arg.op = CDM_TEST_HISTOGRAM;
	self->arg.out = (uintptr_t)got;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	EXPECT_EQ(0, memcmp(want, got, sizeof(want)));
	EXPECT_EQ(SIZE, self->arg.nr);
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->dev));
}

TEST_F(compute, histogram_of_file)
{
	char *file = mmap(NULL, SIZE, PROT_READ, MAP_SHARED,
			  cdm_open_big(SIZE), 0);
	__u64 want[256] = {}, got[256] = {};

	ASSERT_NE(MAP_FAILED, file);
	for (long i = 0; i < SIZE; i++)
		want[(unsigned char)file[i]]++;
	self->arg.addr = (uintptr_t)file;
	self->arg.op = CDM_TEST_HISTOGRAM;
	self->arg.out = (uintptr_t)got;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	EXPECT_EQ(0, memcmp(want, got, sizeof(want)));
	EXPECT_EQ(PAGES, cdm_pages_on(file, SIZE, self->dev));
}

TEST_F(compute, add)
{
	__u64 *word = (__u64 *)self->addr;
	long wrong = 0;

	self->arg.op = CDM_TEST_ADD;
	self->arg.arg = 12345;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	EXPECT_EQ(WORDS, self->arg.result);
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->dev));
	for (long i = 0; i < WORDS; i++)
		wrong += word[i] != cdm_word(SEED, i) + 12345;
	EXPECT_EQ(0, wrong);
}

/* The device writes to memory that is mapped read-only: refused, unchanged. */
TEST_F(compute, add_to_read_only)
{
	ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_READ));
	self->arg.op = CDM_TEST_ADD;
	self->arg.arg = 1;
	EXPECT_GT(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_F(compute, add_to_shared_file)
{
	int fd = memfd_create("cdm", 0);
	__u64 *word, back;

	ASSERT_EQ(0, ftruncate(fd, SIZE));
	word = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, word);
	cdm_fill((char *)word, SIZE, SEED);
	self->arg.addr = (uintptr_t)word;
	self->arg.op = CDM_TEST_ADD;
	self->arg.arg = 5;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	/* As read(2) sees it, not only as the mapping does. */
	for (long i = 0; i < WORDS; i += 4096) {
		ASSERT_EQ(8, pread(fd, &back, 8, i * 8));
		ASSERT_EQ(cdm_word(SEED, i) + 5, back);
	}
	close(fd);
}

/* A chain that visits every cell in an order that no prefetcher guesses. */
TEST_F(compute, walk)
{
	struct cdm_test_cell *cell = (struct cdm_test_cell *)self->addr;
	long nr = SIZE / sizeof(*cell), step = 1000003, wrong = 0;
	__u64 sum = 0;

	for (long i = 0, at = 0; i < nr; i++) {
		long next = (at + step) % nr;

		cell[at].next = i == nr - 1 ? 0 : (uintptr_t)&cell[next];
		cell[at].value = cdm_word(SEED, i);
		cell[at].visits = i;
		sum += cell[at].value;
		at = next;
	}
	self->arg.op = CDM_TEST_WALK;
	self->arg.arg = (uintptr_t)cell;
	ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	EXPECT_EQ(sum, self->arg.result);
	EXPECT_EQ(nr, self->arg.nr);
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->dev));
	for (long i = 0, at = 0; i < nr; i++, at = (at + step) % nr)
		wrong += cell[at].visits != i + 1;
	EXPECT_EQ(0, wrong);
}

TEST_F(compute, refused)
{
	self->arg.op = 99;
	EXPECT_EQ(-EINVAL, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	self->arg.op = CDM_TEST_SUM;
	self->arg.nid = 15;
	EXPECT_EQ(-ENODEV, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
	self->arg.nid = self->dev;
	ASSERT_EQ(0, munmap(self->addr, SIZE));
	EXPECT_EQ(-EFAULT, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
}

/* The five steps: allocate, CPU, device, CPU, release, a few times over. */
TEST_F_TIMEOUT(compute, five_steps, CDM_TIMEOUT)
{
	struct cdm_mark mark;

	ASSERT_EQ(0, munmap(self->addr, SIZE));
	for (int i = 0; i < 4; i++) {
		char *addr = cdm_map(SIZE);
		__u64 *word = (__u64 *)addr;
		long wrong = 0;

		cdm_fill(addr, SIZE, SEED + i);
		self->arg.addr = (uintptr_t)addr;
		self->arg.op = CDM_TEST_ADD;
		self->arg.arg = 1;
		ASSERT_EQ(0, cdm_ioctl(CDM_TEST_IOC_COMPUTE, &self->arg));
		EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
		ASSERT_EQ(0, cdm_migrate(addr, SIZE, CDM_TEST_NID_RAM, NULL));
		EXPECT_EQ(0, cdm_pages_on(addr, SIZE, self->dev));
		for (long j = 0; j < WORDS; j++)
			wrong += word[j]++ != cdm_word(SEED + i, j) + 1;
		EXPECT_EQ(0, wrong);
		munmap(addr, SIZE);
	}
	mark = cdm_mark();
	EXPECT_EQ(0, mark.named);
}

TEST_HARNESS_MAIN
