// SPDX-License-Identifier: GPL-2.0
/*
 * What it takes the owner to get memory back from a node full of tenants: pages
 * evicted for pages asked for, the time for each relative to the smallest recall,
 * and how long after its deadline a recall ends.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <numaif.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cdm_test_uapi.h"
#include "marks.h"

#define BLOCK		512UL	/* pages */
#define FOREVER		600000	/* ms */

static int device_fd, device_node;
static bool real_time;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static unsigned long node_free(void)
{
	long long size = 0;
	char path[64], line[128];
	unsigned long kib = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 device_node);
	file = fopen(path, "r");
	if (!file)
		fail(path);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %*d MemFree: %lld", &size) == 1)
			kib = size;
	}
	fclose(file);
	return kib * 1024;
}

/* A tenant that has all of the node. */
static char *fill_node(size_t *size, bool huge)
{
	unsigned long mask = 1UL << device_node;
	char *addr;

	*size = node_free() / HPAGE * HPAGE - 2 * HPAGE;
	addr = mmap(NULL, *size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (addr == MAP_FAILED)
		fail("mmap");
	madvise(addr, *size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (mbind(addr, *size, MPOL_BIND, &mask, 64, 0))
		fail("mbind");
	for (size_t off = 0; off < *size; off += PAGE)
		*(uint64_t *)(addr + off) = off;
	return addr;
}

/* The correctness gate. */
static void verify(const char *addr, size_t size)
{
	for (size_t off = 0; off < size; off += PAGE) {
		if (*(const uint64_t *)(addr + off) != off) {
			fprintf(stderr, "byte %zu has changed\n", off);
			exit(1);
		}
	}
}

static double recall(struct cdm_test_recall *ask, bool must_fail)
{
	double start = now(), time;
	int ret;

	ret = ioctl(device_fd, CDM_TEST_IOC_RECALL, ask);
	time = now() - start;
	if (!ret == must_fail)
		fail("CDM_TEST_IOC_RECALL");
	if (ioctl(device_fd, CDM_TEST_IOC_FREE) || ask->nr_dirty) {
		fprintf(stderr, "%llu pages are not clean\n",
			(unsigned long long)ask->nr_dirty);
		exit(1);
	}
	return time;
}

static double measure(unsigned long nr, bool huge, double unit)
{
	struct cdm_test_recall ask = {
		.nid = device_node,
		.nr = nr,
		.deadline_ms = FOREVER,
	};
	double per_page;
	size_t size;
	char *addr;

	addr = fill_node(&size, huge);
	per_page = recall(&ask, false) / nr;
	verify(addr, size);
	munmap(addr, size);
	printf("  %-5s %7lu pages  evicted %7llu  time a page %5.2f",
	       huge ? "2M" : "4K", nr, (unsigned long long)ask.nr_evicted,
	       unit ? per_page / unit : 1.0);
	if (real_time)
		printf("  %8.2f us", per_page * 1000);
	printf("\n");
	return unit ?: per_page;
}

/* In units of the time that one pageblock takes to evict. */
static void measure_deadline(unsigned int ms, double per_page)
{
	struct cdm_test_recall ask = {
		.nid = device_node,
		.deadline_ms = ms,
	};
	double late;
	size_t size;
	char *addr;

	addr = fill_node(&size, false);
	ask.nr = size / PAGE / 2;
	late = recall(&ask, true) - ms;
	verify(addr, size);
	munmap(addr, size);
	printf("  deadline %4u ms: %7llu of %7llu pages, late by the time for %.1f pageblocks\n",
	       ms, (unsigned long long)ask.nr_recalled,
	       (unsigned long long)ask.nr, late / (per_page * BLOCK));
}

int main(int argc, char **argv)
{
	static const unsigned long sizes[] = { 512, 4096, 32768, 131072 };
	static const unsigned int deadlines[] = { 20, 200 };
	double unit = 0, unit_huge = 0;

	if (argc != 3)
		return 2;
	device_node = atoi(argv[1]);
	real_time = !strcmp(argv[2], "kvm");
	device_fd = open(CDM_TEST_DEVICE, O_RDWR);
	if (device_fd < 0)
		fail(CDM_TEST_DEVICE);

	printf("recall from a full node, time relative to the first row\n");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		unit = measure(sizes[i], false, unit);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		unit_huge = measure(sizes[i], true, unit_huge);
	for (size_t i = 0; i < ARRAY_SIZE(deadlines); i++)
		measure_deadline(deadlines[i], unit);
	return 0;
}
