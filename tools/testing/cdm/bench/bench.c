// SPDX-License-Identifier: GPL-2.0
/*
 * Wall-clock ratios within one boot: what it costs to fault pages in on a
 * device node, and to migrate them by the driver, against move_pages(2).
 *
 * Two ways A and B are measured in the order A B B A, which cancels a drift;
 * the first round is dropped; printed are the medians, the spread and the
 * ratio. Before a number counts, the pages must be where they should be and
 * hold what they held.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <numaif.h>
#include <stdint.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cdm_test_uapi.h"
#include "marks.h"

#define ROUNDS		7
#define MAX_PAGES	16384UL

static int device_fd, ram_node, device_node;
static void *pages[MAX_PAGES];
static int nodes[MAX_PAGES], status[MAX_PAGES];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static char *map(unsigned long nr, int node)
{
	unsigned long mask = 1UL << node;
	char *buf = mmap(NULL, nr * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (buf == MAP_FAILED)
		fail("mmap");
	madvise(buf, nr * PAGE, MADV_NOHUGEPAGE);
	if (mbind(buf, nr * PAGE, MPOL_BIND, &mask, 64, 0))
		fail("mbind");
	return buf;
}

static void fill(char *buf, unsigned long nr)
{
	for (unsigned long i = 0; i < nr; i++)
		*(uint64_t *)(buf + i * PAGE) = i * 0x9e3779b97f4a7c15;
}

/* The correctness gate. */
static void verify(char *buf, unsigned long nr, int node)
{
	for (unsigned long i = 0; i < nr; i++) {
		pages[i] = buf + i * PAGE;
		if (*(uint64_t *)pages[i] != i * 0x9e3779b97f4a7c15) {
			fprintf(stderr, "page %lu has changed\n", i);
			exit(1);
		}
	}
	if (move_pages(0, nr, pages, NULL, status, 0))
		fail("move_pages");
	for (unsigned long i = 0; i < nr; i++) {
		if (status[i] != node) {
			fprintf(stderr, "page %lu is on node %d\n", i, status[i]);
			exit(1);
		}
	}
}

static double fault(unsigned long nr, int node)
{
	char *buf = map(nr, node);
	double start = now(), time;

	fill(buf, nr);
	time = now() - start;
	verify(buf, nr, node);
	munmap(buf, nr * PAGE);
	return time;
}

static double fault_ram(unsigned long nr)
{
	return fault(nr, ram_node);
}

static double fault_device(unsigned long nr)
{
	return fault(nr, device_node);
}

static double migrate(unsigned long nr, void (*to_device)(char *, unsigned long))
{
	char *buf = map(nr, ram_node);
	double start, time;

	fill(buf, nr);
	for (unsigned long i = 0; i < nr; i++) {
		pages[i] = buf + i * PAGE;
		nodes[i] = device_node;
	}
	start = now();
	to_device(buf, nr);
	time = now() - start;
	verify(buf, nr, device_node);
	munmap(buf, nr * PAGE);
	return time;
}

static void by_system_call(char *buf, unsigned long nr)
{
	if (move_pages(0, nr, pages, nodes, status, MPOL_MF_MOVE))
		fail("move_pages");
}

static void by_driver(char *buf, unsigned long nr)
{
	struct cdm_test_migrate arg = {
		.addr = (uintptr_t)buf,
		.size = nr * PAGE,
		.nid = device_node,
	};

	if (ioctl(device_fd, CDM_TEST_IOC_MIGRATE, &arg))
		fail("CDM_TEST_IOC_MIGRATE");
}

static double move_syscall(unsigned long nr)
{
	return migrate(nr, by_system_call);
}

static double move_driver(unsigned long nr)
{
	return migrate(nr, by_driver);
}

/* An emulator's time means nothing by itself. */
static bool real_time;

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *t, unsigned long nr, const char *name)
{
	const int n = 2 * ROUNDS;
	double mid;

	qsort(t, n, sizeof(*t), ascending);
	mid = (t[n / 2 - 1] + t[n / 2]) / 2;
	printf("  %-28s %6lu pages  spread %+4.0f %% to %+4.0f %%", name, nr,
	       100 * (t[0] / mid - 1), 100 * (t[n - 1] / mid - 1));
	if (real_time)
		printf("  %8.2f us/page", mid / nr);
	printf("\n");
	return mid;
}

static void compare(unsigned long nr, const char *name_a, double (*a)(unsigned long),
		    const char *name_b, double (*b)(unsigned long))
{
	double ta[2 * ROUNDS], tb[2 * ROUNDS];

	for (int i = -1; i < ROUNDS; i++) {
		int at = i < 0 ? 0 : 2 * i;	/* the first round is dropped */

		ta[at] = a(nr);
		tb[at] = b(nr);
		tb[at + 1] = b(nr);
		ta[at + 1] = a(nr);
	}
	printf("  ratio %.2f\n", median(ta, nr, name_a) / median(tb, nr, name_b));
}

int main(int argc, char **argv)
{
	static const unsigned long sizes[] = { 1, 64, 512, 4096, MAX_PAGES };

	if (argc != 4)
		return 2;
	ram_node = atoi(argv[1]);
	device_node = atoi(argv[2]);
	real_time = !strcmp(argv[3], "kvm");
	device_fd = open(CDM_TEST_DEVICE, O_RDWR);
	if (device_fd < 0)
		fail(CDM_TEST_DEVICE);

	printf("page faults: RAM against device\n");
	for (size_t i = 1; i < ARRAY_SIZE(sizes); i++)
		compare(sizes[i], "RAM", fault_ram, "device", fault_device);
	printf("RAM to device: move_pages(2) against the driver\n");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		compare(sizes[i], "move_pages", move_syscall, "driver", move_driver);
	return 0;
}
