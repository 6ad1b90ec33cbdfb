// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator and memory that changes under its jobs: whatever
 * happens to it makes no difference to the result, or to somebody else; and
 * memory that follows the jobs to the device.
 */
#include <linux/fs.h>
#include <sys/uio.h>

#include "accel_util.h"
#include "../../../../drivers/cdm/accel/accel_hw.h"

#define SIZE	(2 * MIB)
#define PAGES	(SIZE / PAGE)
#define WORDS	(SIZE / sizeof(__u64))
#define SEED	44

FIXTURE(under) {
	struct accel a;
	struct cdm_accel *dev;
	char *addr;
	__u64 *counter;		/* shared with children */
};

FIXTURE_SETUP(under)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->dev = self->a.dev;
	self->addr = accel_map_guarded(SIZE);
	self->counter = (__u64 *)cdm_map_shared(PAGE);
	ASSERT_NE(NULL, self->addr);
	ASSERT_NE(NULL, self->counter);
	cdm_fill(self->addr, SIZE, SEED);
}

FIXTURE_TEARDOWN(under)
{
	EXPECT_EQ(0, accel_stop(&self->a));
}

TEST_F_TIMEOUT(under, munmap, CDM_TIMEOUT)
{
	__u64 *counter = (__u64 *)self->addr;
	struct cdm_accel_wait done;
	__u32 id;

	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, accel_endless(self->dev, counter + 3, &id));
		ASSERT_TRUE(accel_counts(counter + 3));
		ASSERT_EQ(0, munmap(counter, PAGE));
		EXPECT_EQ(-EFAULT, accel_end(self->dev, id, &done));
		EXPECT_EQ(page_of(va(counter)), page_of(done.addr));
		/* What comes to this address next is none of its business. */
		ASSERT_EQ(counter, mmap(counter, PAGE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS |
					MAP_FIXED_NOREPLACE, -1, 0));
		EXPECT_EQ(0, counter[3]);
		EXPECT_TRUE(i || accel_frozen(counter + 3));
		counter[3] = 1;
		if (i % 2)
			EXPECT_EQ(0, cdm_accel_to_device(self->dev, counter,
							 PAGE));
	}
}

/* Mapped anew at once: the job goes on there, and not where it was. */
TEST_F_TIMEOUT(under, replaced, CDM_TIMEOUT)
{
	int fd[2] = { memfd_create("cdm", 0), memfd_create("cdm", 0) };
	struct pollfd end = {
		.fd = cdm_accel_fd(self->dev),
		.events = POLLIN,
	};
	__u64 *at[2], *counter = (__u64 *)self->addr;
	__u32 id;

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, ftruncate(fd[i], PAGE));
		at[i] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			     fd[i], 0);
		ASSERT_NE(MAP_FAILED, at[i]);
	}
	ASSERT_EQ(counter, mmap(counter, PAGE, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED, fd[0], 0));
	ASSERT_EQ(0, accel_endless(self->dev, counter, &id));
	ASSERT_TRUE(accel_counts(at[0]));
	ASSERT_EQ(counter, mmap(counter, PAGE, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED, fd[1], 0));
	EXPECT_TRUE(accel_frozen(at[0]));
	/* mmap() shows nobody a gap between the two, so the job did not end. */
	while (!accel_count(at[1]))
		ASSERT_EQ(0, poll(&end, 1, 10));
	EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, id));
	close(fd[0]);
	close(fd[1]);
}

TEST_F_TIMEOUT(under, mremap, CDM_TIMEOUT)
{
	__u64 *counter = (__u64 *)self->addr, *new;
	struct cdm_accel_wait done;
	__u64 seen;
	__u32 id;

	counter[0] = 0;
	ASSERT_EQ(0, accel_endless(self->dev, counter, &id));
	ASSERT_TRUE(accel_counts(counter));
	new = mremap(counter, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		     cdm_map(PAGE));
	ASSERT_NE(MAP_FAILED, new);
	seen = accel_count(new);
	EXPECT_NE(0, seen);
	EXPECT_EQ(-EFAULT, accel_end(self->dev, id, &done));
	EXPECT_EQ(page_of(va(counter)), page_of(done.addr));
	EXPECT_TRUE(accel_frozen(new));
	EXPECT_EQ(seen, accel_count(new));
}

TEST_F_TIMEOUT(under, mprotect, CDM_TIMEOUT)
{
	__u64 *counter = (__u64 *)self->addr;
	struct cdm_accel_wait done;
	__u64 seen;
	__u32 id;

	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, accel_endless(self->dev, counter, &id));
		ASSERT_TRUE(accel_counts(counter));
		ASSERT_EQ(0, mprotect(counter, PAGE, PROT_READ));
		/* From here on, not one more. */
		seen = accel_count(counter);
		EXPECT_EQ(-EFAULT, accel_end(self->dev, id, &done));
		EXPECT_EQ(page_of(va(counter)), page_of(done.addr));
		EXPECT_EQ(seen, accel_count(counter));
		ASSERT_EQ(0, mprotect(counter, PAGE, PROT_READ | PROT_WRITE));
		EXPECT_TRUE(i || accel_frozen(counter));
		if (i % 2)
			EXPECT_EQ(0, cdm_accel_to_device(self->dev, counter,
							 PAGE));
	}
}

TEST_F_TIMEOUT(under, fork, CDM_TIMEOUT)
{
	__u64 *counter = (__u64 *)self->addr;
	int status;
	__u32 id;

	ASSERT_EQ(0, accel_endless(self->dev, counter, &id));
	for (int i = 0; i < 4; i++) {
		pid_t pid;

		if (i % 2)
			cdm_accel_to_device(self->dev, counter, PAGE);
		ASSERT_TRUE(accel_counts(counter));
		pid = fork();
		if (!pid) {
			__u64 seen = accel_count(counter);

			EXPECT_TRUE(accel_frozen(counter));
			EXPECT_EQ(seen, accel_count(counter));
			*counter = 0;
			EXPECT_TRUE(accel_frozen(counter));
			_exit(*counter ? 1 : 0);
		}
		EXPECT_TRUE(accel_counts(counter));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_TRUE(accel_counts(counter));
	}
	EXPECT_NE(0, *counter);
	EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, id));
}

/* How a process ends under its jobs. */
enum end {
	END_EXIT,
	END_KILLED,
	END_EXEC,
	END_EXEC_WITH_FILE,	/* which is good for nothing then */
	END_CRASH,
	END_THREAD,		/* exec by a thread, with others waiting */
	END_NR,
};

struct ending {
	struct accel_pci pci;
	__u64 *counter;
	enum end how;
};

static void *exec_fn(void *arg)
{
	usleep(100000);
	execlp("sleep", "sleep", "1000", NULL);
	_exit(1);
}

static int ending_fn(struct cdm_child *me, void *arg)
{
	struct ending *ending = arg;
	struct accel own = { .pci = ending->pci };
	char *private = cdm_map(SIZE);
	pthread_t thread;
	__u32 id;

	if (accel_open(&own, 0) || accel_endless(own.dev, ending->counter, &id))
		return 1;
	/* And some in memory that nobody else has. */
	for (int i = 0; i < 8; i++)
		accel_endless(own.dev, (__u64 *)(private + i * PAGE), &id);
	cdm_accel_to_device(own.dev, private, SIZE / 2);
	if (!accel_counts(ending->counter))
		return 2;
	cdm_say(me, 0);
	cdm_hear(me);
	switch (ending->how) {
	case END_EXIT:
		return 0;
	case END_EXEC:
	case END_EXEC_WITH_FILE:
		if (ending->how == END_EXEC_WITH_FILE)
			fcntl(cdm_accel_fd(own.dev), F_SETFD, 0);
		execlp("sleep", "sleep", "1000", NULL);
		return 3;
	case END_CRASH:
		raise(SIGSEGV);
		return 4;
	case END_THREAD:
		pthread_create(&thread, NULL, exec_fn, NULL);
		cdm_accel_wait(own.dev, id, -1, NULL);
		pause();
		return 5;
	default:
		pause();
		return 6;
	}
}

TEST_F_TIMEOUT(under, process_ends, CDM_TIMEOUT)
{
	struct ending ending = {
		.pci = self->a.pci,
		.counter = self->counter,
	};
	struct cdm_child child;

	for (int i = 0; i < END_NR; i++) {
		ending.how = i;
		ASSERT_EQ(0, cdm_start(&child, ending_fn, &ending));
		ASSERT_EQ(0, cdm_hear(&child));
		if (i == END_KILLED)
			kill(child.pid, SIGKILL);
		else
			cdm_say(&child, 0);
		EXPECT_TRUE(accel_freezes(self->counter));
		cdm_kill(&child);
		EXPECT_TRUE(accel_frozen(self->counter));
		EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
		EXPECT_EQ(cpu_sum(self->addr, SIZE),
			  accel_sum(self->dev, self->addr, SIZE));
	}
}

/* Somebody who throws pages away, or moves them, as long as jobs run. */
struct mover {
	char *addr;
	size_t size;
	struct accel *a;
	bool dontneed;
	bool by_driver;
	bool stop;
	long rounds;
	long moved;		/* rounds after which pages were where they had to go */
};

static void *mover_fn(void *arg)
{
	struct mover *m = arg;

	for (; !__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE); m->rounds++) {
		bool there = m->rounds % 2 == 0;
		int nid = there ? m->a->nid : m->a->ram;

		if (m->dontneed) {
			madvise(m->addr, m->size, MADV_DONTNEED);
			/* Or no fault of the device ever finds a quiet moment. */
			usleep(1000);
		} else if (!m->by_driver) {
			cdm_move(m->addr, m->size, nid);
		} else if (there) {
			cdm_accel_to_device(m->a->dev, m->addr, m->size);
		} else {
			cdm_accel_to_ram(m->a->dev, m->addr, m->size);
		}
		if (!m->dontneed && cdm_pages_on(m->addr, m->size, nid) > 0)
			__atomic_fetch_add(&m->moved, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void mover_stop(struct mover *mover, pthread_t thread)
{
	__atomic_store_n(&mover->stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
}

TEST_F_TIMEOUT(under, dontneed, CDM_TIMEOUT)
{
	struct mover mover = {
		.addr = self->addr + SIZE / 4,
		.size = SIZE / 4,
		.a = &self->a,
		.dontneed = true,
	};
	__u64 *word = (__u64 *)self->addr;
	long wrong = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, mover_fn, &mover));
	for (int i = 1; i <= 30 || !mover.rounds; i++)
		EXPECT_EQ(0, accel_fill(self->dev, self->addr, i, SIZE));
	mover_stop(&mover, thread);
	EXPECT_EQ(0, accel_fill(self->dev, self->addr, 99, SIZE / 2 - PAGE));
	/* What nobody threw away is there, and of the rest nothing else. */
	for (size_t i = 0; i < WORDS; i++) {
		if (i < (SIZE / 2 - PAGE) / 8)
			wrong += word[i] != 99;
		else if (i < WORDS / 2)
			wrong += word[i] && word[i] != word[WORDS - 1];
		else
			wrong += word[i] != word[WORDS - 1];
	}
	EXPECT_EQ(0, wrong);
}

#define COUNTERS	16

/* Counters on pages that never stay where they are: none of the adds is lost. */
static void count_on_moving_pages(struct __test_metadata *_metadata,
				  struct accel *a, char *addr, size_t size,
				  bool by_driver)
{
	struct mover mover = {
		.addr = addr,
		.size = size,
		.a = a,
		.by_driver = by_driver,
	};
	__u64 times = cdm_flavour_is("debug") ? 20000 : 200000, all = 0;
	long since;
	size_t step = size / COUNTERS;
	__u32 id[COUNTERS];
	pthread_t thread;

	memset(addr, 0, size);
	ASSERT_EQ(0, pthread_create(&thread, NULL, mover_fn, &mover));
	since = __atomic_load_n(&mover.moved, __ATOMIC_RELAXED);
	do {
		for (int i = 0; i < COUNTERS; i++)
			ASSERT_EQ(0, cdm_accel_atomic_add(a->dev,
							  (__u64 *)(addr + i * step),
							  1, times, &id[i]));
		for (__u64 t = 0; t < times; t++)
			__atomic_fetch_add((__u64 *)(addr + t % COUNTERS * step),
					   1, __ATOMIC_SEQ_CST);
		for (int i = 0; i < COUNTERS; i++)
			EXPECT_EQ(0, accel_end(a->dev, id[i], NULL));
		all += times;
		/* The pages have been there and back meanwhile. */
	} while (__atomic_load_n(&mover.moved, __ATOMIC_RELAXED) < since + 3);
	mover_stop(&mover, thread);
	for (int i = 0; i < COUNTERS; i++)
		EXPECT_EQ(all + all / COUNTERS,
			  *(__u64 *)(addr + i * step));
}

TEST_F_TIMEOUT(under, move_pages, CDM_TIMEOUT)
{
	count_on_moving_pages(_metadata, &self->a, self->addr, 16 * PAGE,
			      false);
}

TEST_F_TIMEOUT(under, move, CDM_TIMEOUT)
{
	count_on_moving_pages(_metadata, &self->a, self->addr, 16 * PAGE, true);
}

TEST_F_TIMEOUT(under, move_huge_pages, CDM_TIMEOUT)
{
	char *addr = cdm_map_huge(4 * MIB);

	ASSERT_NE(NULL, addr);
	count_on_moving_pages(_metadata, &self->a, addr, 4 * MIB, true);
}

TEST_F_TIMEOUT(under, results_while_moving, CDM_TIMEOUT)
{
	struct mover mover = {
		.addr = self->addr,
		.size = SIZE,
		.a = &self->a,
	};
	__u64 want = cpu_sum(self->addr, SIZE);
	char *copy = cdm_map(SIZE);
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, mover_fn, &mover));
	for (int i = 0; i < 20 || mover.rounds < 4; i++) {
		EXPECT_EQ(want, accel_sum(self->dev, self->addr, SIZE));
		EXPECT_EQ(0, RUN(self->dev, NULL, COPY, va(copy),
				 va(self->addr), SIZE));
		EXPECT_EQ(0, cdm_wrong(copy, SIZE, SEED));
		/* Back from where it is to where it comes from. */
		EXPECT_EQ(0, RUN(self->dev, NULL, COPY, va(self->addr),
				 va(copy), SIZE));
	}
	mover_stop(&mover, thread);
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/*
 * A part of a huge page is taken from a process, and then all of it. The device
 * writes elsewhere in the huge page, and must stop when that is taken.
 */
enum part {
	PART_DONTNEED,
	PART_FREE,
	PART_PUNCH,
	PART_WRITEPROTECT,
	PART_MPROTECT,
};

FIXTURE(part) {
	struct accel a;
	struct cdm_accel *dev;
	char *addr;		/* a huge page */
	__u64 *counter;		/* in it */
	int fd;
	int uffd;
	__u32 id;
};

FIXTURE_VARIANT(part) {
	enum part part;
};

FIXTURE_VARIANT_ADD(part, dontneed) { .part = PART_DONTNEED };
FIXTURE_VARIANT_ADD(part, free) { .part = PART_FREE };
FIXTURE_VARIANT_ADD(part, punch_hole) { .part = PART_PUNCH };
FIXTURE_VARIANT_ADD(part, writeprotect) { .part = PART_WRITEPROTECT };
FIXTURE_VARIANT_ADD(part, mprotect) { .part = PART_MPROTECT };

#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static char *map_huge_memfd(int *fd)
{
	char *addr = cdm_map(2 * SIZE);

	*fd = memfd_create("cdm", 0);
	if (!addr || *fd < 0 || ftruncate(*fd, SIZE) ||
	    cdm_write(SHMEM_HUGE, "advise"))
		return NULL;
	addr = (char *)((va(addr) + SIZE - 1) & ~(SIZE - 1));
	addr = mmap(addr, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		    *fd, 0);
	return addr == MAP_FAILED || madvise(addr, SIZE, MADV_HUGEPAGE) ?
	       NULL : addr;
}

/* Of the page table of this process. */
static long huge_kib(const char *addr)
{
	char start[32], line[256];
	bool here = false;
	long kib = 0, n;
	FILE *file = fopen("/proc/self/smaps", "r");

	snprintf(start, sizeof(start), "%llx-", va(addr));
	while (file && fgets(line, sizeof(line), file)) {
		if (!strncmp(line, start, strlen(start)))
			here = true;
		if (here && (sscanf(line, "AnonHugePages: %ld", &n) == 1 ||
			     sscanf(line, "ShmemPmdMapped: %ld", &n) == 1))
			kib += n;
		if (here && !strncmp(line, "VmFlags", 7))
			break;
	}
	if (file)
		fclose(file);
	return kib;
}

FIXTURE_SETUP(part)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	self->fd = -1;
	self->uffd = -1;
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->dev = self->a.dev;
	self->addr = variant->part == PART_PUNCH ? map_huge_memfd(&self->fd) :
						   cdm_map_huge(SIZE);
	ASSERT_NE(NULL, self->addr);
	if (variant->part == PART_WRITEPROTECT) {
		self->uffd = accel_uffd(self->addr, SIZE,
					UFFDIO_REGISTER_MODE_WP);
		ASSERT_LE(0, self->uffd);
	}
	self->addr[0] = 1;
	ASSERT_EQ(SIZE / 1024, huge_kib(self->addr));
	self->counter = (__u64 *)(self->addr + 7 * PAGE);
	ASSERT_EQ(0, accel_endless(self->dev, self->counter, &self->id));
	ASSERT_TRUE(accel_counts(self->counter));
}

FIXTURE_TEARDOWN(part)
{
	close(self->fd);
	close(self->uffd);
	EXPECT_EQ(0, cdm_write(SHMEM_HUGE, "never"));
	EXPECT_EQ(0, accel_stop(&self->a));
}

static int take_part(enum part part, char *addr, int fd, int uffd)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = va(addr), .len = PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	switch (part) {
	case PART_DONTNEED:
		return madvise(addr, PAGE, MADV_DONTNEED);
	case PART_FREE:
		return madvise(addr, PAGE, MADV_FREE);
	case PART_PUNCH:
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE |
				 FALLOC_FL_KEEP_SIZE, 5 * PAGE, PAGE);
	case PART_WRITEPROTECT:
		return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
	default:
		return mprotect(addr, PAGE, PROT_READ);
	}
}

#define TAKE_PART() \
	take_part(variant->part, self->addr + 5 * PAGE, self->fd, self->uffd)

/* The job meets the end of its memory, wherever it thinks it writes. */
static void expect_end(struct __test_metadata *_metadata,
		       struct cdm_accel *dev, __u32 id, const void *addr)
{
	struct cdm_accel_wait done;

	EXPECT_EQ(-EFAULT, accel_end(dev, id, &done));
	EXPECT_EQ(page_of(va(addr)), page_of(done.addr));
}

TEST_F_TIMEOUT(part, then_munmap, CDM_TIMEOUT)
{
	ASSERT_EQ(0, TAKE_PART());
	ASSERT_EQ(0, munmap(self->addr, SIZE));
	expect_end(_metadata, self->dev, self->id, self->counter);
}

TEST_F_TIMEOUT(part, then_mprotect, CDM_TIMEOUT)
{
	__u64 seen;

	ASSERT_EQ(0, TAKE_PART());
	ASSERT_EQ(0, mprotect(self->addr, SIZE, PROT_READ));
	seen = accel_count(self->counter);
	expect_end(_metadata, self->dev, self->id, self->counter);
	EXPECT_EQ(seen, accel_count(self->counter));
}

/* The child keeps what was there when it was made, but of what both share. */
TEST_F_TIMEOUT(part, then_fork, CDM_TIMEOUT)
{
	bool shared = variant->part == PART_PUNCH;
	int down[2], up[2], status;
	__u64 seen = 0;
	long faults;
	pid_t pid;

	ASSERT_EQ(0, pipe(down));
	ASSERT_EQ(0, pipe(up));
	ASSERT_EQ(0, TAKE_PART());
	/* Of the faults that this has brought about none is under way any more. */
	ASSERT_TRUE(accel_counts(self->counter));
	faults = accel_stat(&self->a.pci, "faults");
	pid = fork();
	if (!pid) {
		seen = accel_count(self->counter);
		if (write(up[1], &seen, 1) != 1 || read(down[0], &status, 1) != 1)
			_exit(2);
		_exit(seen != accel_count(self->counter));
	}
	ASSERT_EQ(1, read(up[0], &seen, 1));
	/* The device wants a page of its own. */
	for (int i = 0; !shared && i < ACCEL_MS / 10; i++) {
		if (accel_stat(&self->a.pci, "faults") > faults)
			break;
		usleep(10000);
	}
	if (!shared)
		EXPECT_LT(faults, accel_stat(&self->a.pci, "faults"));
	EXPECT_TRUE(accel_counts(self->counter));
	EXPECT_EQ(1, write(down[1], &seen, 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(shared, WEXITSTATUS(status));
	EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, self->id));
}

/*
 * Two take the same memory from a process. Both have to wait until the device has
 * forgotten it, which takes as long as the test likes. It is a process of its own,
 * since the one that looks on must not need the lock of the address space.
 */
struct takers {
	struct accel_pci pci;
	int allowed;		/* threads that may go on */
	int done;		/* threads that have the memory */
};

struct taker {
	struct takers *all;
	char *addr;
	int number;
};

FIXTURE(at_once) {
	struct accel a;
	struct cdm_child child;
	struct takers *takers;
};

static void *taker_fn(void *arg)
{
	struct taker *me = arg;

	while (__atomic_load_n(&me->all->allowed, __ATOMIC_ACQUIRE) <= me->number)
		usleep(1000);
	madvise(me->addr, SIZE, MADV_DONTNEED);
	__atomic_fetch_add(&me->all->done, 1, __ATOMIC_ACQ_REL);
	return NULL;
}

static int victim_fn(struct cdm_child *me, void *arg)
{
	struct takers *takers = arg;
	struct accel own = { .pci = takers->pci };
	char *addr = cdm_map_huge(SIZE);
	struct taker taker[2] = { { takers, addr, 0 }, { takers, addr, 1 } };
	pthread_t thread;
	__u32 id;

	if (accel_open(&own, 0) || accel_endless(own.dev, (__u64 *)addr, &id) ||
	    !accel_counts((__u64 *)addr))
		return 1;
	for (int i = 0; i < 2; i++)
		if (pthread_create(&thread, NULL, taker_fn, &taker[i]))
			return 2;
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

FIXTURE_SETUP(at_once)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->takers = (struct takers *)cdm_map_shared(PAGE);
	ASSERT_NE(NULL, self->takers);
	self->takers->pci = self->a.pci;
	ASSERT_EQ(0, cdm_start(&self->child, victim_fn, self->takers));
	ASSERT_EQ(0, cdm_hear(&self->child));
	ASSERT_EQ(0, accel_inject(&self->a.pci, "hold_invals 1"));
}

FIXTURE_TEARDOWN(at_once)
{
	accel_inject(&self->a.pci, "hold_invals 0");
	if (self->child.pid)
		cdm_kill(&self->child);
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Let one more go on. False: it has not waited for the device. */
static bool takers_wait(struct takers *takers, int nr)
{
	__atomic_store_n(&takers->allowed, nr, __ATOMIC_RELEASE);
	for (int i = 0; i < ACCEL_MS / 10; i++) {
		if (__atomic_load_n(&takers->done, __ATOMIC_ACQUIRE))
			return false;
		if (accel_stat(&takers->pci, "invals_pending") == nr)
			return true;
		usleep(10000);
	}
	return false;
}

TEST_F_TIMEOUT(at_once, dontneed, CDM_TIMEOUT)
{
	EXPECT_TRUE(takers_wait(self->takers, 1));
	EXPECT_TRUE(takers_wait(self->takers, 2));
	ASSERT_EQ(0, accel_inject(&self->a.pci, "hold_invals 0"));
	while (__atomic_load_n(&self->takers->done, __ATOMIC_ACQUIRE) < 2)
		usleep(1000);
	EXPECT_EQ(0, accel_stat(&self->a.pci, "invals_pending"));
}

/* A reaper that cannot wait gets nothing while the device is not done. */
TEST_F_TIMEOUT(at_once, reaper, CDM_TIMEOUT)
{
	int pidfd = syscall(__NR_pidfd_open, self->child.pid, 0);

	ASSERT_LE(0, pidfd);
	EXPECT_TRUE(takers_wait(self->takers, 1));
	ASSERT_EQ(0, kill(self->child.pid, SIGKILL));
	EXPECT_EQ(-1, syscall(__NR_process_mrelease, pidfd, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1, accel_stat(&self->a.pci, "invals_pending"));
	close(pidfd);
}

/* A device that says what cannot be is not believed, but stopped. */
TEST_F_TIMEOUT(at_once, bad_tail, CDM_TIMEOUT)
{
	char *addr = cdm_map(PAGE);
	__u32 id;

	EXPECT_TRUE(takers_wait(self->takers, 1));
	/* It may be stopped before it answers. */
	accel_inject(&self->a.pci, "bad_tail");
	while (!__atomic_load_n(&self->takers->done, __ATOMIC_ACQUIRE))
		usleep(1000);
	EXPECT_EQ(-ENODEV, cdm_accel_fill(self->a.dev, addr, 1, PAGE, &id));
	cdm_kill(&self->child);
	self->child.pid = 0;
	EXPECT_EQ(0, accel_unbind(&self->a.pci));
	accel_close(&self->a);
	ASSERT_EQ(0, accel_bind(&self->a.pci));
	ASSERT_EQ(0, accel_open(&self->a, 0));
	EXPECT_EQ(0, accel_fill(self->a.dev, addr, 1, PAGE));
}

/* A process whose faults nobody resolves is a problem of its own. */
FIXTURE(stuck) {
	struct accel a;
	struct cdm_child child;
};

FIXTURE_SETUP(stuck)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	ASSERT_EQ(0, cdm_start(&self->child, accel_stuck_fn, &self->a.pci));
	ASSERT_EQ(0, cdm_hear(&self->child));
}

FIXTURE_TEARDOWN(stuck)
{
	cdm_kill(&self->child);
	EXPECT_EQ(0, accel_stop(&self->a));
}

TEST_F_TIMEOUT(stuck, others, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);

	EXPECT_EQ(0, accel_fill(self->a.dev, addr, 1, SIZE));
	EXPECT_EQ(WORDS, cpu_sum(addr, SIZE));
}

TEST_F_TIMEOUT(stuck, close, CDM_TIMEOUT)
{
	cdm_say(&self->child, 0);
	EXPECT_EQ(0, cdm_hear(&self->child));
}

TEST_F_TIMEOUT(stuck, unbind, CDM_TIMEOUT)
{
	EXPECT_EQ(0, accel_unbind(&self->a.pci));
	accel_close(&self->a);
	ASSERT_EQ(0, accel_bind(&self->a.pci));
	EXPECT_EQ(0, accel_open(&self->a, 0));
}

/* Memory that follows the jobs. */
FIXTURE(follow) {
	struct accel a;
	struct cdm_accel *dev;
	char *addr;
};

FIXTURE_VARIANT(follow) {
	bool huge;
};

FIXTURE_VARIANT_ADD(follow, small) {
};

FIXTURE_VARIANT_ADD(follow, huge) {
	.huge = true,
};

FIXTURE_SETUP(follow)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	/* The tests open it with flags of their own. */
	ASSERT_EQ(0, accel_start(&self->a, 0));
	accel_close(&self->a);
	self->addr = variant->huge ? cdm_map_huge(SIZE) : cdm_map(SIZE);
	ASSERT_NE(NULL, self->addr);
	cdm_fill(self->addr, SIZE, SEED);
}

FIXTURE_TEARDOWN(follow)
{
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Reads and writes of the CPU do not bring it back. */
static void expect_stays(struct __test_metadata *_metadata, struct accel *a,
			 char *addr)
{
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		cdm_fill(addr, SIZE, SEED);
	}
	usleep(500000);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, a->nid));
	EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(a->dev, addr, SIZE));
}

TEST_F_TIMEOUT(follow, fault, CDM_TIMEOUT)
{
	char *fresh = cdm_map(SIZE);

	ASSERT_EQ(0, accel_open(&self->a, CDM_ACCEL_MIGRATE_ON_FAULT));
	EXPECT_EQ(cpu_sum(self->addr, SIZE),
		  accel_sum(self->a.dev, self->addr, SIZE));
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->a.nid));
	cdm_stat_refresh();
	if (variant->huge)
		EXPECT_LE(SIZE / 1024, cdm_node_meminfo(self->a.nid,
							"AnonHugePages"));
	expect_stays(_metadata, &self->a, self->addr);
	/* Memory that nobody has touched before, too. */
	EXPECT_EQ(0, accel_fill(self->a.dev, fresh, 7, SIZE));
	EXPECT_EQ(PAGES, cdm_pages_on(fresh, SIZE, self->a.nid));
	EXPECT_EQ(7 * WORDS, cpu_sum(fresh, SIZE));
}

TEST_F_TIMEOUT(follow, hint, CDM_TIMEOUT)
{
	__u64 want = cpu_sum(self->addr, SIZE);
	/* With nothing else in any region that access counters see. */
	char *cold = cdm_map(6 * HPAGE) + 2 * HPAGE;
	time_t end = time(NULL) + ACCEL_SECONDS;

	cdm_fill(cold, SIZE, SEED);
	ASSERT_EQ(0, accel_open(&self->a, CDM_ACCEL_MIGRATE_ON_HINT));
	/* A single word here and there is not often. */
	EXPECT_EQ(*(__u64 *)cold, accel_sum(self->a.dev, cold, 8));
	while (cdm_pages_on(self->addr, SIZE, self->a.nid) != PAGES &&
	       time(NULL) < end)
		EXPECT_EQ(want, accel_sum(self->a.dev, self->addr, SIZE));
	EXPECT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->a.nid));
	EXPECT_EQ(0, cdm_pages_on(cold, SIZE, self->a.nid));
	expect_stays(_metadata, &self->a, self->addr);
}

/* A device that is full serves from RAM. */
TEST_F_TIMEOUT(follow, full_device, CDM_TIMEOUT)
{
	size_t size = 64 * MIB;
	char *addr = cdm_map(size);
	long there;

	cdm_stamp(addr, size, SEED);
	ASSERT_EQ(0, accel_open(&self->a, CDM_ACCEL_MIGRATE_ON_FAULT));
	ASSERT_EQ(0, cdm_leave_node(self->a.nid, 16));
	EXPECT_EQ(cpu_sum(addr, size), accel_sum(self->a.dev, addr, size));
	there = cdm_pages_on(addr, size, self->a.nid);
	EXPECT_GT(size / PAGE, there);
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, SEED));
	cdm_node_hugepages(self->a.nid, 0);
	munmap(addr, size);
}

static char *map_on(struct accel *a, size_t size, bool huge)
{
	char *addr = huge ? cdm_map_huge(size) : cdm_map(size);

	if (!addr)
		return NULL;
	cdm_stamp(addr, size, SEED);
	return cdm_accel_to_device(a->dev, addr, size) ? NULL : addr;
}

/* The driver reports when it comes to it. */
static bool reported_since(const struct accel *a, long before, long nr, int ms)
{
	for (int i = 0; i < ms; i += 100) {
		if (accel_stat(&a->pci, "reported") >= before + nr)
			return true;
		usleep(100000);
	}
	return false;
}

/*
 * What the device reads often is not what has to make room, though it came first
 * and no CPU has touched it since.
 */
TEST_F_TIMEOUT(follow, report, CDM_TIMEOUT)
{
	size_t hot_size = 8 * MIB, cold_size = 40 * MIB, new_size = 128 * MIB;
	long reported, enough = 4 * hot_size / (64 << 10);
	char *hot, *cold, *new = cdm_map(new_size);
	int sums = 0;
	__u64 want;

	ASSERT_EQ(0, accel_open(&self->a, CDM_ACCEL_REPORT_ACCESSES));
	ASSERT_EQ(0, cdm_leave_node(self->a.nid, 96));
	hot = map_on(&self->a, hot_size, variant->huge);
	cold = map_on(&self->a, cold_size, variant->huge);
	ASSERT_NE(NULL, hot);
	ASSERT_NE(NULL, cold);

	reported = accel_stat(&self->a.pci, "reported");
	want = accel_sum(self->a.dev, hot, hot_size);
	/* One report says "used", only a second one says "often". */
	do {
		EXPECT_EQ(want, accel_sum(self->a.dev, hot, hot_size));
	} while (++sums < 50 && !reported_since(&self->a, reported, enough, 1));
	EXPECT_TRUE(reported_since(&self->a, reported, enough, ACCEL_MS));

	ASSERT_EQ(0, cdm_mbind(new, new_size, MPOL_BIND, 1UL << self->a.nid, 0));
	cdm_stamp(new, new_size, SEED);
	EXPECT_LE((long)(hot_size / PAGE) * 9 / 10,
		  cdm_pages_on(hot, hot_size, self->a.nid));
	EXPECT_GE((long)(cold_size / PAGE) / 2,
		  cdm_pages_on(cold, cold_size, self->a.nid));
	EXPECT_EQ(0, cdm_stamp_wrong(hot, hot_size, SEED));
	EXPECT_EQ(0, cdm_stamp_wrong(cold, cold_size, SEED));
	cdm_node_hugepages(self->a.nid, 0);
	munmap(new, new_size);
}

/*
 * Suspend and resume, as with the machine. The machine itself cannot do that here:
 * it would not find its root file system again, since that has no such thing.
 */
FIXTURE(power) {
	struct accel a;
	struct cdm_child child;
	char *addr;
	__u64 *counter;
};

FIXTURE_SETUP(power)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->addr = cdm_map(SIZE);
	self->counter = (__u64 *)cdm_map_shared(PAGE);
	ASSERT_NE(NULL, self->addr);
	ASSERT_NE(NULL, self->counter);
	cdm_fill(self->addr, SIZE, SEED);
}

FIXTURE_TEARDOWN(power)
{
	accel_debug(&self->a.pci, "suspend", "0");
	if (self->child.pid)
		cdm_kill(&self->child);
	EXPECT_EQ(0, accel_stop(&self->a));
}

static int suspend(const struct accel *a)
{
	return accel_debug(&a->pci, "suspend", "1");
}

static int resume(const struct accel *a)
{
	return accel_debug(&a->pci, "suspend", "0");
}

static long pages_home(const char *addr)
{
	return cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams());
}

/* Tenants come home; what happens meanwhile, the device sees afterwards. */
TEST_F_TIMEOUT(power, suspend, CDM_TIMEOUT)
{
	struct cdm_accel *dev = self->a.dev;
	char *gone = cdm_map(SIZE);
	__u32 id;

	cdm_fill(gone, SIZE, SEED);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, cdm_accel_to_device(dev, self->addr, SIZE));
		ASSERT_EQ(PAGES, cdm_pages_on(self->addr, SIZE, self->a.nid));
		EXPECT_EQ(cpu_sum(gone, SIZE), accel_sum(dev, gone, SIZE));
		ASSERT_EQ(0, accel_endless(dev, self->counter, &id));
		ASSERT_TRUE(accel_counts(self->counter));

		ASSERT_EQ(0, suspend(&self->a));
		EXPECT_EQ(-ECANCELED, accel_end(dev, id, NULL));
		EXPECT_TRUE(accel_frozen(self->counter));
		EXPECT_EQ(PAGES, pages_home(self->addr));
		EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED + i));
		cdm_fill(self->addr, SIZE, SEED + i + 1);
		EXPECT_EQ(0, madvise(gone, SIZE, MADV_DONTNEED));

		ASSERT_EQ(0, resume(&self->a));
		EXPECT_EQ(0, accel_sum(dev, gone, SIZE));
		cdm_fill(gone, SIZE, SEED);
		EXPECT_EQ(cpu_sum(self->addr, SIZE),
			  accel_sum(dev, self->addr, SIZE));
		EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED + i + 1));
	}
}

/* Says what became of a job, once it is told to submit it. */
static int submitter_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	char *addr = cdm_map(SIZE);
	int err;

	if (accel_open(&own, 0) || cdm_accel_to_device(own.dev, addr, SIZE))
		return 1;
	cdm_say(me, 0);
	cdm_hear(me);
	err = accel_fill(own.dev, addr, 7, SIZE);
	if (!err && cpu_sum(addr, SIZE) != 7 * WORDS)
		return 2;
	cdm_say(me, err);
	return 0;
}

/* A child that has told nothing after a while waits. */
static bool is_silent(const struct cdm_child *child)
{
	struct pollfd pfd = { .fd = child->in, .events = POLLIN };

	return !poll(&pfd, 1, 500);
}

static void start_submitter(struct __test_metadata *_metadata, struct accel *a,
			    struct cdm_child *child)
{
	ASSERT_EQ(0, cdm_start(child, submitter_fn, &a->pci));
	ASSERT_EQ(0, cdm_hear(child));
	ASSERT_EQ(0, suspend(a));
	cdm_say(child, 0);
	EXPECT_TRUE(is_silent(child));
}

/* Who wants something of the device waits. */
TEST_F_TIMEOUT(power, submit, CDM_TIMEOUT)
{
	start_submitter(_metadata, &self->a, &self->child);
	ASSERT_EQ(0, resume(&self->a));
	EXPECT_EQ(0, cdm_hear(&self->child));
	EXPECT_EQ(0, cdm_wait(&self->child));
	self->child.pid = 0;
}

/* Who waits can be killed; and who has files can close them. */
TEST_F_TIMEOUT(power, close, CDM_TIMEOUT)
{
	start_submitter(_metadata, &self->a, &self->child);
	EXPECT_EQ(SIGKILL, WTERMSIG(cdm_kill(&self->child)));
	self->child.pid = 0;
	accel_close(&self->a);
	ASSERT_EQ(0, resume(&self->a));
	ASSERT_EQ(0, accel_open(&self->a, 0));
	EXPECT_EQ(cpu_sum(self->addr, SIZE),
		  accel_sum(self->a.dev, self->addr, SIZE));
}

/*
 * A process attaches while somebody holds the lock of its address space: whoever
 * writes there and waits for a frozen file system does.
 */
#define FROZEN_DIR	"/tmp/cdm_frozen"

FIXTURE(locked) {
	struct accel a;
	struct cdm_child owner;
	struct cdm_child writer;
	struct cdm_child suspender;
	int dir;
};

struct locked {
	struct accel a;
	char *addr;		/* in the owner: in a file that is frozen */
	pid_t owner;
};

FIXTURE_SETUP(locked)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	missing = cdm_mount_disk(FROZEN_DIR);
	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->dir = open(FROZEN_DIR, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->dir);
}

FIXTURE_TEARDOWN(locked)
{
	if (self->dir > 0) {
		ioctl(self->dir, FITHAW, 0);
		close(self->dir);
	}
	if (self->writer.pid)
		cdm_kill(&self->writer);
	if (self->suspender.pid)
		cdm_kill(&self->suspender);
	accel_debug(&self->a.pci, "suspend", "0");
	if (self->owner.pid)
		cdm_kill(&self->owner);
	EXPECT_EQ(0, umount(FROZEN_DIR));
	EXPECT_EQ(0, accel_stop(&self->a));
}

static int owner_fn(struct cdm_child *me, void *arg)
{
	struct locked *locked = arg;
	struct cdm_accel *dev;

	if (cdm_accel_open(accel_index(&locked->a.pci), &dev))
		return 1;
	cdm_say(me, 0);
	cdm_hear(me);
	cdm_say(me, cdm_accel_attach(dev, 0));
	cdm_hear(me);
	return 0;
}

static int writer_fn(struct cdm_child *me, void *arg)
{
	struct locked *locked = arg;
	char byte = 1;
	struct iovec here = { &byte, 1 }, there = { locked->addr, 1 };

	return process_vm_writev(locked->owner, &here, 1, &there, 1, 0) != 1;
}

static int suspender_fn(struct cdm_child *me, void *arg)
{
	struct locked *locked = arg;

	cdm_say(me, suspend(&locked->a));
	return 0;
}

/* It waits for something that no signal ends. */
static bool gets_stuck(const struct cdm_child *child)
{
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", child->pid);
	for (int i = 0; i < ACCEL_MS / 10; i++) {
		if (cdm_read(path, line, sizeof(line)) < 0)
			return false;
		if (!strncmp(strrchr(line, ')'), ") D", 3))
			return true;
		usleep(10000);
	}
	return false;
}

/* Suspend does not wait for the process. */
TEST_F_TIMEOUT(locked, attach, CDM_TIMEOUT)
{
	int fd = open(FROZEN_DIR "/file", O_RDWR | O_CREAT, 0600);
	struct locked locked = { .a = self->a };

	ASSERT_EQ(0, ftruncate(fd, PAGE));
	locked.addr = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, locked.addr);
	close(fd);
	ASSERT_EQ(0, cdm_start(&self->owner, owner_fn, &locked));
	ASSERT_EQ(0, cdm_hear(&self->owner));
	munmap(locked.addr, PAGE);
	ASSERT_EQ(0, ioctl(self->dir, FIFREEZE, 0));
	locked.owner = self->owner.pid;
	ASSERT_EQ(0, cdm_start(&self->writer, writer_fn, &locked));
	ASSERT_TRUE(gets_stuck(&self->writer));
	cdm_say(&self->owner, 0);
	ASSERT_TRUE(gets_stuck(&self->owner));

	ASSERT_EQ(0, cdm_start(&self->suspender, suspender_fn, &locked));
	EXPECT_EQ(0, cdm_hear(&self->suspender));
	ASSERT_EQ(0, ioctl(self->dir, FITHAW, 0));
	EXPECT_EQ(0, cdm_wait(&self->writer));
	self->writer.pid = 0;
	EXPECT_EQ(0, cdm_wait(&self->suspender));
	self->suspender.pid = 0;
	EXPECT_EQ(0, resume(&self->a));
	EXPECT_EQ(0, cdm_hear(&self->owner));
}

/* A driver that does not wait for the resume. */
TEST_F_TIMEOUT(power, unbind, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_accel_to_device(self->a.dev, self->addr, SIZE));
	start_submitter(_metadata, &self->a, &self->child);
	ASSERT_EQ(0, accel_unbind(&self->a.pci));
	EXPECT_EQ(-ENODEV, cdm_hear(&self->child));
	EXPECT_EQ(0, cdm_wait(&self->child));
	self->child.pid = 0;
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
	accel_close(&self->a);
	ASSERT_EQ(0, accel_bind(&self->a.pci));
	ASSERT_EQ(0, accel_open(&self->a, 0));
	EXPECT_EQ(0, cdm_accel_to_device(self->a.dev, self->addr, SIZE));
	EXPECT_EQ(cpu_sum(self->addr, SIZE),
		  accel_sum(self->a.dev, self->addr, SIZE));
}

/*
 * A page that is held keeps the driver waiting, and the link goes down: for all that
 * the driver can see. The device is there all the time, and can be used again.
 */
FIXTURE(link) {
	struct accel a;
	struct cdm_child child;
	struct cdm_accel_regs *regs;
	char *addr;
	char *held;
	struct holder {
		struct accel_pci pci;
		int pipe[2];	/* holds a page */
	} holder;
	int kmsg;
};

static struct cdm_accel_regs *map_regs(const struct accel_pci *pci)
{
	struct cdm_accel_regs *regs;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource2",
		 pci->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	regs = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return regs == MAP_FAILED ? NULL : regs;
}

static void set_magic(struct cdm_accel_regs *regs, __u32 magic)
{
	__atomic_store_n(&regs->magic, magic, __ATOMIC_SEQ_CST);
}

FIXTURE_SETUP(link)
{
	const char *missing = accel_missing();
	struct iovec vec = { .iov_len = PAGE };

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->regs = map_regs(&self->a.pci);
	ASSERT_NE(NULL, self->regs);
	ASSERT_EQ(CDM_ACCEL_MAGIC, self->regs->magic);
	self->addr = cdm_map(SIZE);
	self->held = cdm_map(PAGE);
	cdm_fill(self->addr, SIZE, SEED);
	cdm_fill(self->held, PAGE, SEED);
	ASSERT_EQ(0, cdm_accel_to_device(self->a.dev, self->addr, SIZE));
	ASSERT_EQ(0, cdm_accel_to_device(self->a.dev, self->held, PAGE));
	vec.iov_base = self->held;
	self->holder.pci = self->a.pci;
	ASSERT_EQ(0, pipe2(self->holder.pipe, O_CLOEXEC));
	ASSERT_EQ(PAGE, vmsplice(self->holder.pipe[1], &vec, 1, 0));
	self->kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, self->kmsg);
	lseek(self->kmsg, 0, SEEK_END);
}

static void release_held(struct holder *holder)
{
	for (int i = 0; i < 2; i++) {
		close(holder->pipe[i]);
		holder->pipe[i] = -1;
	}
}

static int set_leave_ms(const char *ms)
{
	return cdm_write("/sys/module/cdm_accel/parameters/leave_ms", ms);
}

static bool becomes_gone(const struct accel *a)
{
	for (int i = 0; i < ACCEL_MS / 10 && !accel_is_gone(a); i++)
		usleep(10000);
	return accel_is_gone(a);
}

FIXTURE_TEARDOWN(link)
{
	release_held(&self->holder);
	set_leave_ms("60000");
	close(self->kmsg);
	if (self->child.pid)
		cdm_kill(&self->child);
	accel_close(&self->a);
	accel_unbind(&self->a.pci);
	EXPECT_TRUE(becomes_gone(&self->a));
	set_magic(self->regs, CDM_ACCEL_MAGIC);
	ASSERT_EQ(0, accel_bind(&self->a.pci));
	ASSERT_EQ(0, accel_open(&self->a, 0));
	EXPECT_EQ(0, accel_stop(&self->a));
}

static bool is_unreadable(const char *addr)
{
	int fd[2], len = 1;

	if (pipe2(fd, O_CLOEXEC))
		return false;
	for (int i = 0; len == 1 && i < ACCEL_MS / 10; i++) {
		usleep(10000);
		len = write(fd[1], addr, 1);
		if (len == 1 && read(fd[0], &(char){ 0 }, 1) != 1)
			break;
	}
	close(fd[0]);
	close(fd[1]);
	return len < 0;
}

static int unbind_fn(struct cdm_child *me, void *arg)
{
	struct holder *holder = arg;

	release_held(holder);
	cdm_say(me, accel_unbind(&holder->pci));
	return 0;
}

static int suspend_fn(struct cdm_child *me, void *arg)
{
	struct holder *holder = arg;

	release_held(holder);
	cdm_say(me, accel_debug(&holder->pci, "suspend", "1"));
	return 0;
}

static bool closed_for(const struct accel *a, const char *reason)
{
	char path[128], buf[128];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cdm/state",
		 a->nid);
	for (int i = 0; i < ACCEL_MS / 10; i++) {
		if (cdm_read(path, buf, sizeof(buf)) > 0 && strstr(buf, reason))
			return true;
		usleep(10000);
	}
	return false;
}

/* Pages that could go home are there; others are out of reach. */
TEST_F_TIMEOUT(link, down_while_unbinding, CDM_TIMEOUT)
{
	char text[64];

	ASSERT_EQ(0, cdm_start(&self->child, unbind_fn, &self->holder));
	ASSERT_TRUE(closed_for(&self->a, "unregistering"));
	for (int i = 0; i < ACCEL_MS &&
	     !cdm_spread_in(cdm_spread(self->addr, SIZE), cdm_rams()); i++)
		usleep(1000);
	set_magic(self->regs, ~0u);
	/* As soon as the loss is known, and not at the deadline. */
	EXPECT_TRUE(is_unreadable(self->held));
	snprintf(text, sizeof(text), "node %d: closed, ", self->a.nid);
	EXPECT_TRUE(cdm_log_has(self->kmsg, text));
	for (size_t off = 0; off < SIZE; off += PAGE) {
		char *page = self->addr + off;

		if (cdm_spread_in(cdm_spread(page, PAGE), cdm_rams())) {
			EXPECT_EQ(0, cdm_wrong(page, PAGE,
					       SEED + off / sizeof(__u64)));
		} else {
			EXPECT_TRUE(is_unreadable(page));
		}
	}
	release_held(&self->holder);
	EXPECT_EQ(0, cdm_hear(&self->child));
	EXPECT_TRUE(accel_is_gone(&self->a));
}

TEST_F_TIMEOUT(link, down_while_suspending, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_start(&self->child, suspend_fn, &self->holder));
	ASSERT_TRUE(closed_for(&self->a, "suspended"));
	set_magic(self->regs, ~0u);
	EXPECT_EQ(-ENODEV, cdm_hear(&self->child));
	EXPECT_TRUE(is_unreadable(self->held));
	release_held(&self->holder);
	EXPECT_TRUE(becomes_gone(&self->a));
}

/* The driver does not wait for a page that is held; the node goes when that is free. */
TEST_F_TIMEOUT(link, unbind_with_pin_is_bounded, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_leave_ms("1000"));
	EXPECT_EQ(0, accel_unbind(&self->a.pci));
	EXPECT_TRUE(closed_for(&self->a, "closed: unregistering detached"));
	EXPECT_EQ(PAGES, pages_home(self->addr));
	EXPECT_EQ(1, cdm_pages_on(self->held, PAGE, self->a.nid));
	EXPECT_EQ(0, cdm_wrong(self->held, PAGE, SEED));
	/* Nor does one come back before. */
	EXPECT_GT(0, cdm_write(ACCEL_DRIVER "/bind", self->a.pci.name));
	EXPECT_TRUE(closed_for(&self->a, "detached"));
	release_held(&self->holder);
	EXPECT_TRUE(becomes_gone(&self->a));
	EXPECT_EQ(0, cdm_wrong(self->held, PAGE, SEED));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_F_TIMEOUT(link, suspend_with_pin_is_bounded, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_leave_ms("1000"));
	EXPECT_EQ(-EBUSY, accel_debug(&self->a.pci, "suspend", "1"));
	EXPECT_TRUE(closed_for(&self->a, "open"));
	EXPECT_EQ(cpu_sum(self->held, PAGE),
		  accel_sum(self->a.dev, self->held, PAGE));
}

TEST_F_TIMEOUT(link, down_with_pin_is_bounded, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_leave_ms("1000"));
	set_magic(self->regs, ~0u);
	EXPECT_TRUE(closed_for(&self->a, "lost detached"));
	EXPECT_TRUE(is_unreadable(self->held));
	EXPECT_EQ(0, accel_unbind(&self->a.pci));
	release_held(&self->holder);
	EXPECT_TRUE(becomes_gone(&self->a));
}

TEST_HARNESS_MAIN
