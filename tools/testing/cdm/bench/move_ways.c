// SPDX-License-Identifier: GPL-2.0
/* Benchmarks of migrations: those who move pages. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cdm_test_uapi.h"
#include "move.h"
#include "test_hmm_uapi.h"

/* The first device of lib/test_hmm with coherent memory, and how much it has. */
#define HMM_DEVICE	"/dev/hmm_dmirror2"
#define HMM_SIZE	(256UL << 20)

static void *addresses[MAX_PAGES];
static int nodes[MAX_PAGES], status[MAX_PAGES];
static char *copied;
static int driver_fd, hmm_fd;

void aim(const struct area *area, const struct place *to)
{
	for (unsigned long i = 0; i < area->nr; i++) {
		addresses[i] = area->addr + i * PAGE;
		nodes[i] = to->nid;
		status[i] = -1;		/* no fault on it later */
	}
}

static long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

static int how(const struct area *area)
{
	return area->other ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE;
}

static int open_none(void)
{
	return 0;
}

static long by_move_pages(const struct area *area, const struct place *to)
{
	return result(syscall(SYS_move_pages, 0, area->nr, addresses, nodes,
			      status, how(area)));
}

static long by_mbind(const struct area *area, const struct place *to)
{
	unsigned long mask = 1UL << to->nid;

	return result(syscall(SYS_mbind, area->addr, area->nr * PAGE, MPOL_BIND,
			      &mask, 8 * sizeof(mask), how(area)));
}

static int open_driver(void)
{
	driver_fd = open(CDM_TEST_DEVICE, O_RDWR);
	return driver_fd < 0 ? -errno : 0;
}

static long by_driver(const struct area *area, const struct place *to)
{
	struct cdm_test_migrate ask = {
		.addr = (uintptr_t)area->addr,
		.size = area->nr * PAGE,
		.nid = to->nid,
	};

	return result(ioctl(driver_fd, CDM_TEST_IOC_MIGRATE, &ask));
}

static int open_hmm(void)
{
	hmm_fd = open(HMM_DEVICE, O_RDWR);
	return hmm_fd < 0 ? -errno : 0;
}

/*
 * On the way to its device it reads everything back for its tests. There is no
 * need to have that: the address 0 makes it give up, after the migration. It does
 * so earlier at a page that has not moved; which did, the gate sees.
 */
static long by_hmm(const struct area *area, const struct place *to)
{
	struct hmm_dmirror_cmd ask = {
		.addr = (uintptr_t)area->addr,
		.npages = area->nr,
	};
	long ret;

	if (!to->start)
		return result(ioctl(hmm_fd, HMM_DMIRROR_MIGRATE_TO_SYS, &ask));
	ret = result(ioctl(hmm_fd, HMM_DMIRROR_MIGRATE_TO_DEV, &ask));
	return ret == -EFAULT || ret == -ENOENT ? 0 : ret;
}

/* For scale: what a program's own copy takes, to memory that is there. */
static int open_copy(void)
{
	copied = mmap(NULL, MAX_PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return copied == MAP_FAILED ? -errno : 0;
}

/* The same instruction as copy_page() of a CPU that is good at it. */
static long by_copy(const struct area *area, const struct place *to)
{
	unsigned long words = area->nr * PAGE / 8;
	char *from = area->addr, *dest = copied;

	asm volatile("rep movsq" : "+c" (words), "+S" (from), "+D" (dest) :
		     : "memory");
	return 0;
}

/*
 * The system calls may leave devices to what the driver uses; between nodes of
 * RAM they do what they always did.
 */
const struct way ways[] = {
	{ "move_pages", open_none, by_move_pages },
	{ "mbind", open_none, by_mbind },
	{ "move_pages-ram", open_none, by_move_pages, .ram = true },
	{ "mbind-ram", open_none, by_mbind, .ram = true },
	{ "driver", open_driver, by_driver },
	{ "migrate_vma", open_hmm, by_hmm, .hmm = true },
	{ "copy", open_copy, by_copy, .copy = true },
	{ }
};

const struct way *way_find(const char *name)
{
	const struct way *way = ways;

	while (way->name && strcmp(way->name, name))
		way++;
	if (!way->name) {
		errno = EINVAL;
		fail(name);
	}
	return way;
}

static uint64_t take_from_owner(int nid)
{
	struct cdm_test_unregister ask = { .nid = nid, .deadline_ms = 1000 };
	struct cdm_test_info info;
	uint64_t start = 0;
	int dev = open(CDM_TEST_DEVICE, O_RDWR);

	require(dev >= 0, CDM_TEST_DEVICE);
	require(!ioctl(dev, CDM_TEST_IOC_INFO, &info), "CDM_TEST_IOC_INFO");
	for (unsigned int i = 0; i < info.nr_ranges; i++)
		if (info.ranges[i].nid == nid &&
		    info.ranges[i].size >= 2 * HMM_SIZE)
			start = info.ranges[i].start;
	require(!!start, "memory for test_hmm");
	require(!ioctl(dev, CDM_TEST_IOC_UNREGISTER, &ask),
		"CDM_TEST_IOC_UNREGISTER");
	close(dev);
	return start;
}

/* Its first coherent device has the address that is called the second. */
struct place hmm_setup(int nid)
{
	uint64_t start = take_from_owner(nid);
	char command[160];

	snprintf(command, sizeof(command),
		 "modprobe test_hmm spm_addr_dev0=%#lx spm_addr_dev1=%#lx",
		 (unsigned long)(start + HMM_SIZE), (unsigned long)start);
	require(!system(command), command);
	return (struct place) {
		.start = start,
		.end = start + HMM_SIZE,
	};
}
