// SPDX-License-Identifier: GPL-2.0
/*
 * Rows of the fence, continued: what makes a folio leave, come back or come
 * twice. Soft offline, long-term pins, swap, copy on write, userfaultfd, locked
 * and compressed memory.
 */
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "rows_util.h"

#define SIZE	(4 * MIB)
#define PAGES	(SIZE / PAGE)
#define SEED	19
#define SWAP	64

#define IO_URING	"/proc/sys/kernel/io_uring_disabled"

FIXTURE(paths) {
	int dev;
	int ram;
	unsigned long dev_mask;
	struct cdm_child child;
	struct cdm_child other;
};

FIXTURE_SETUP(paths)
{
	knobs_reset();
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	self->ram = cdm_ram(0);
	self->dev_mask = 1UL << self->dev;
}

FIXTURE_TEARDOWN(paths)
{
	struct cdm_child *children[] = {
		&self->child, &self->other,
	};

	EXPECT_EQ(0, cdm_unfenced());
	for (int i = 0; i < ARRAY_SIZE(children); i++)
		if (children[i]->pid)
			cdm_kill(children[i]);
	knobs_reset();
	EXPECT_EQ(0, cdm_reset(_metadata));
}

static __u64 before[PAGES];

/*
 * F13: pages that leave because their frame is suspect. The base passes: what
 * replaces a page of a kernel zone is one of a kernel zone.
 */

#define NR_SUSPECT	16

TEST_F_TIMEOUT(paths, soft_offline_of_ram, CDM_TIMEOUT)
{
	size_t size = NR_SUSPECT * PAGE;
	char *addr = cdm_map(size);

	cdm_fill(addr, size, SEED);
	frames(addr, size, before);
	ASSERT_TRUE(tighten());
	ASSERT_EQ(0, madvise(addr, size, MADV_SOFT_OFFLINE));
	EXPECT_EQ(NR_SUSPECT, frames_left(addr, size, before));
	EXPECT_EQ(NR_SUSPECT, cdm_spread_in(cdm_spread(addr, size),
					    cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
}

/*
 * F14: long-term pins. The base passes: it keeps them out of ZONE_MOVABLE, and
 * fails them cleanly as long as there is RAM.
 */
static void expect_pinned_in_ram(struct __test_metadata *_metadata, char *addr,
				 size_t size, __u64 pin)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_PIN_LONGTERM, &pin));
	EXPECT_EQ(0, cdm_spread_in(cdm_spread((char *)(uintptr_t)pin, PAGE),
				   cdm_devs()));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	/* Where it is it stays, until it is unpinned. */
	cdm_move((char *)(uintptr_t)pin, PAGE, cdm_dev(0));
	EXPECT_EQ(0, cdm_pages_on((char *)(uintptr_t)pin, PAGE, cdm_dev(0)));
	EXPECT_EQ(0, ioctl(fd, CDM_TEST_IOC_UNPIN, &pin));
	EXPECT_EQ(size / PAGE, cdm_move(addr, size, cdm_dev(0)));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	close(fd);
}

TEST_F(paths, pin_longterm)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	if (cdm_is_unfenced())
		SKIP(return, "the base has no test driver");
	ASSERT_NE(NULL, addr);
	expect_pinned_in_ram(_metadata, addr, SIZE,
			     (uintptr_t)addr + SIZE / 2);
}

TEST_F(paths, pin_longterm_of_shmem)
{
	char *addr = cdm_map_shared(SIZE);

	if (cdm_is_unfenced())
		SKIP(return, "the base has no test driver");
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	expect_pinned_in_ram(_metadata, addr, SIZE,
			     (uintptr_t)addr + SIZE / 2);
}

TEST_F(paths, pin_longterm_of_thp)
{
	char *addr = cdm_map_huge(SIZE);

	if (cdm_is_unfenced())
		SKIP(return, "the base has no test driver");
	ASSERT_NE(NULL, addr);
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	expect_pinned_in_ram(_metadata, addr, SIZE,
			     (uintptr_t)addr + SIZE / 2 + 7 * PAGE);
}

/* No page of RAM for what would have to go there: an error, and that is all. */
TEST_F(paths, pin_longterm_fails)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	long kills = cdm_vmstat("oom_kill");
	__u64 pin = (uintptr_t)addr + SIZE / 2;
	int fd, err, starved;

	if (cdm_is_unfenced())
		SKIP(return, "the base has no test driver");
	if (access(FAIL "probability", F_OK))
		SKIP(return, "the kernel has no FAIL_PAGE_ALLOC");
	ASSERT_NE(NULL, addr);
	fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	starved = starve(true);
	err = ioctl(fd, CDM_TEST_IOC_PIN_LONGTERM, &pin) ? -errno : 0;
	EXPECT_EQ(0, starve(false));
	EXPECT_EQ(0, starved);
	EXPECT_EQ(-ENOMEM, err);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_EQ(kills, cdm_vmstat("oom_kill"));
	/* With pages again, it works. */
	expect_pinned_in_ram(_metadata, addr, SIZE, pin);
	close(fd);
}

/* A ring with @size bytes at @addr as its buffer, or what that failed with. */
static int uring_pin(char *addr, size_t size)
{
	struct iovec iov = { .iov_base = addr, .iov_len = size };
	struct io_uring_params params = {};
	int fd = syscall(__NR_io_uring_setup, 1, &params), err;

	if (fd < 0)
		return -errno;
	if (!syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov,
		     1))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

TEST_F(paths, pin_longterm_by_io_uring)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	int fd;

	ASSERT_NE(NULL, addr);
	if (access(IO_URING, F_OK))
		SKIP(return, "this kernel has no io_uring");
	fd = uring_pin(addr, SIZE);
	ASSERT_LE(0, fd);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	ASSERT_EQ(0, syscall(__NR_io_uring_register, fd,
			     IORING_UNREGISTER_BUFFERS, NULL, 0));
	EXPECT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	close(fd);
}

/* F15: memory that comes back, or comes twice */

TEST_F_TIMEOUT(paths, F15_swap_in_beyond_free_ram, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);
	struct cdm_spread spread;
	long pswpin;

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_pageout(addr, SIZE));
	EXPECT_LT(PAGES / 2, cdm_spread(addr, SIZE).absent);
	ASSERT_TRUE(tighten());
	pswpin = cdm_vmstat("pswpin");
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	/* kswapd, which is behind, may have taken some of them out again. */
	EXPECT_LT(PAGES / 2, cdm_vmstat("pswpin") - pswpin);
	spread = cdm_spread(addr, SIZE);
	EXPECT_LT(0, cdm_spread_in(spread, cdm_rams()));
	EXPECT_EQ(0, cdm_spread_in(spread, cdm_devs()));
}

TEST_F_TIMEOUT(paths, F15_cow_beyond_free_ram, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);
	int status = -1;
	pid_t pid;

	cdm_fill(addr, SIZE, SEED);
	ASSERT_TRUE(tighten());
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		cdm_fill(addr, SIZE, SEED + 1);
		if (cdm_spread_in(cdm_spread(addr, SIZE), cdm_devs()))
			_exit(1);
		_exit(cdm_wrong(addr, SIZE, SEED + 1) ? 2 : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* A new userfaultfd for [addr, addr + size), or an error. */
static int uffd_register(char *addr, size_t size, __u64 features, __u64 mode)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = mode,
	};
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return -errno;
	return fd;
}

/* The first half is copied from @from, the second half becomes zero. */
static bool uffd_fill(int fd, char *addr, const char *from)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)addr,
		.src = (uintptr_t)from,
		.len = SIZE / 2,
	};
	struct uffdio_zeropage zero = {
		.range = {
			.start = (uintptr_t)addr + SIZE / 2,
			.len = SIZE / 2,
		},
	};

	return !ioctl(fd, UFFDIO_COPY, &copy) && copy.copy == SIZE / 2 &&
	       !ioctl(fd, UFFDIO_ZEROPAGE, &zero);
}

static bool all_zero(const char *addr, size_t size)
{
	return !addr[0] && !memcmp(addr, addr + 1, size - 1);
}

/* What is zero is the page that all share, until it is written to. */
TEST_F(paths, uffd_copy_to_bound_mapping)
{
	char *addr = cdm_map(SIZE), *from = cdm_map(SIZE / 2);
	int fd;

	cdm_fill(from, SIZE / 2, SEED);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	fd = uffd_register(addr, SIZE, 0, UFFDIO_REGISTER_MODE_MISSING);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(uffd_fill(fd, addr, from));
	EXPECT_EQ(PAGES / 2, cdm_pages_on(addr, SIZE / 2, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE / 2, SEED));
	EXPECT_TRUE(all_zero(addr + SIZE / 2, SIZE / 2));
	cdm_fill(addr + SIZE / 2, SIZE / 2, SEED);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr + SIZE / 2, SIZE / 2, SEED));
	close(fd);
}

TEST_F_TIMEOUT(paths, F15_uffd_copy_beyond_free_ram, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE), *from = cdm_map(SIZE / 2);
	int fd;

	cdm_fill(from, SIZE / 2, SEED);
	fd = uffd_register(addr, SIZE, 0, UFFDIO_REGISTER_MODE_MISSING);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(tighten());
	ASSERT_TRUE(uffd_fill(fd, addr, from));
	cdm_touch(addr + SIZE / 2, SIZE / 2);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE / 2, SEED));
	close(fd);
}

static long write_protected(const char *addr, size_t size)
{
	static __u64 entry[PAGES];
	long nr = 0;

	frames(addr, size, entry);
	for (size_t i = 0; i < size / PAGE; i++)
		nr += entry[i] >> FRAME_UFFD_WP & 1;
	return nr;
}

/* Can the kernel write to @addr for us? */
static bool can_write(char *addr)
{
	int fd = open("/dev/zero", O_RDONLY);
	bool done = read(fd, addr, 1) == 1;

	close(fd);
	return done;
}

static bool protect(int fd, char *addr, size_t size, __u64 mode)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = size },
		.mode = mode,
	};

	return !ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

/* Write protection goes along, there and back. */
TEST_F(paths, uffd_write_protection_across_the_fence)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	int fd;

	ASSERT_NE(NULL, addr);
	fd = uffd_register(addr, SIZE, UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			   UFFD_FEATURE_SIGBUS, UFFDIO_REGISTER_MODE_WP);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(protect(fd, addr, SIZE, UFFDIO_WRITEPROTECT_MODE_WP));
	EXPECT_EQ(PAGES, write_protected(addr, SIZE));
	EXPECT_EQ(PAGES, cdm_move(addr, SIZE, self->ram));
	EXPECT_EQ(PAGES, write_protected(addr, SIZE));
	EXPECT_FALSE(can_write(addr));
	EXPECT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
	EXPECT_EQ(PAGES, write_protected(addr, SIZE));
	EXPECT_FALSE(can_write(addr));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	ASSERT_TRUE(protect(fd, addr, SIZE / 2, 0));
	EXPECT_TRUE(can_write(addr));
	cdm_touch(addr, SIZE / 2);
	EXPECT_FALSE(can_write(addr + SIZE / 2));
	EXPECT_EQ(PAGES / 2, write_protected(addr, SIZE));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, cdm_wrong(addr + SIZE / 2, SIZE / 2,
			       SEED + SIZE / 2 / sizeof(__u64)));
	close(fd);
}

/*
 * Three of four pages are shared with a task that is bound to the device, which
 * reads them. The fourth is not its own; readahead may bring it in, but not on
 * the device. Readahead by swap slot, not by mapping, is what may do that.
 */
static bool foreign(size_t off)
{
	return off / PAGE % 4 == 3;
}

static int reader_fn(struct cdm_child *me, void *arg)
{
	char *addr = arg;

	for (size_t off = 0; off < SIZE; off += PAGE)
		if (foreign(off))
			munmap(addr + off, PAGE);
	if (cdm_bind_task(cdm_dev(0)))
		return 1;
	for (size_t off = 0; off < SIZE; off += PAGE)
		if (!foreign(off))
			cdm_sink += addr[off];
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

TEST_F_TIMEOUT(paths, F15_swap_readahead, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);
	struct cdm_spread spread;
	long on_device = 0;

	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, cdm_write(VMA_READAHEAD, "0"));
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_pageout(addr, SIZE));
	ASSERT_EQ(0, cdm_start(&self->child, reader_fn, addr));
	ASSERT_EQ(0, cdm_hear(&self->child));
	spread = cdm_spread_of(self->child.pid, addr, SIZE);
	EXPECT_LT(PAGES / 2, spread.on[self->dev]);
	for (size_t off = 0; off < SIZE; off += PAGE) {
		cdm_sink += addr[off];
		if (foreign(off))
			on_device += cdm_pages_on(addr + off, PAGE, self->dev);
	}
	EXPECT_EQ(0, on_device);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* F16: locked memory, and the owner who wants his node back */

TEST_F_TIMEOUT(paths, mlocked_memory_and_unregister, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE);
	long locked;

	if (cdm_is_unfenced())
		SKIP(return, "the base has no owner driver");
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	ASSERT_EQ(0, mlock(addr, SIZE));
	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	cdm_stat_refresh();
	locked = cdm_nodes_meminfo(cdm_rams(), "Mlocked");

	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	cdm_stat_refresh();
	EXPECT_EQ(SIZE / 1024,
		  cdm_nodes_meminfo(cdm_rams(), "Mlocked") - locked);
}

/* F19: compressed memory */

/* Half of each page is noise, so that it is compressed but does not vanish. */
static void fill_half(char *addr, size_t size)
{
	for (size_t off = 0; off < size; off += PAGE)
		for (size_t i = 0; i < PAGE / 2; i += 8)
			*(__u64 *)(addr + off + i) =
				cdm_word(SEED, (off + i) * 31) ^
				cdm_word(SEED + 1, off + i) >> 23;
}

struct swapper {
	int nid;		/* bind the task, or -1 */
	size_t size;
};

static int swapper_fn(struct cdm_child *me, void *arg)
{
	struct swapper *swapper = arg;
	char *addr = cdm_map(swapper->size);
	__u64 hash;

	fill_half(addr, swapper->size);
	hash = cdm_hash(addr, swapper->size);
	if (swapper->nid >= 0 && cdm_bind_task(swapper->nid))
		return 1;
	cdm_say(me, 0);
	if (cdm_hear(me))
		return 2;
	cdm_say(me, cdm_pageout(addr, swapper->size));
	if (cdm_hear(me))
		return 3;
	cdm_say(me, hash != cdm_hash(addr, swapper->size));
	cdm_hear(me);
	return 0;
}

static long zspages(struct cdm_nodes nodes)
{
	long sum = 0;

	for (int i = 0; i < nodes.nr; i++)
		sum += cdm_node_vmstat(nodes.nid[i], "nr_zspages");
	return sum;
}

/*
 * Swap out 16 MiB of RAM, and swap in again. How many pages of devices did the
 * compressed memory take meanwhile? -1 is a failure.
 */
static long swap_out(struct cdm_child *child, int nid, bool tight)
{
	struct swapper swapper = { .nid = nid, .size = 16 * MIB };
	long nr, ram = zspages(cdm_rams());

	if (cdm_start(child, swapper_fn, &swapper) || cdm_hear(child) ||
	    (tight && !tighten()))
		return -1;
	cdm_say(child, 0);
	if (cdm_hear(child))
		return -1;
	nr = zspages(cdm_devs());
	if (!nr && zspages(cdm_rams()) < ram + 4 * MIB / PAGE)
		return -1;
	cdm_say(child, 0);
	return cdm_hear(child) ? -1 : nr;
}

TEST_F_TIMEOUT(paths, F19_zram_of_bound_task, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_zram_on(SWAP));
	EXPECT_EQ(0, swap_out(&self->child, self->dev, false));
}

TEST_F_TIMEOUT(paths, F19_zram_beyond_free_ram, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_zram_on(SWAP));
	EXPECT_EQ(0, swap_out(&self->child, -1, true));
}

TEST_F_TIMEOUT(paths, F19_zswap_of_bound_task, CDM_TIMEOUT)
{
	long outs = cdm_vmstat("zswpout");

	if (access(ZSWAP, F_OK))
		SKIP(return, "this kernel has no zswap");
	ASSERT_EQ(0, cdm_swap_on(SWAP));
	ASSERT_EQ(0, cdm_write(ZSWAP, "Y"));
	EXPECT_EQ(0, swap_out(&self->child, self->dev, false));
	EXPECT_LT(outs, cdm_vmstat("zswpout"));
}

/* The device loses some pages that way, until it is registered again. */
TEST_F_TIMEOUT(paths, soft_offline_of_device, CDM_TIMEOUT)
{
	long total = cdm_node_meminfo(self->dev, "MemTotal");
	long bad = cdm_meminfo("HardwareCorrupted");
	long evicted = cdm_vmstat("cdm_evicted_failure");
	size_t size = NR_SUSPECT * PAGE;
	char *addr;

	if (cdm_is_unfenced())
		SKIP(return, "the base has no owner driver");
	addr = cdm_map_on(self->dev, size, SEED);
	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, madvise(addr, size, MADV_SOFT_OFFLINE));
	EXPECT_EQ(NR_SUSPECT, cdm_spread_in(cdm_spread(addr, size),
					    cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	EXPECT_EQ(bad + size / 1024, cdm_meminfo("HardwareCorrupted"));
	EXPECT_EQ(evicted + NR_SUSPECT, cdm_vmstat("cdm_evicted_failure"));
	EXPECT_EQ(0, cdm_unfenced());

	EXPECT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(0, cdm_register_all());
	EXPECT_EQ(total, cdm_node_meminfo(self->dev, "MemTotal"));
	EXPECT_EQ(bad, cdm_meminfo("HardwareCorrupted"));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
}

TEST_HARNESS_MAIN
