// SPDX-License-Identifier: GPL-2.0
/*
 * Migration to a device node and back, between marks, for count.c to count the
 * kernel's instructions:
 *
 *   move RAM DEVICE BY KIND PAGES...
 *
 * BY is move_pages, mbind or driver; KIND is 4K or 2M; PAGES are numbers of pages
 * of 4 KiB. For each of these it prints "BY-KIND-PAGES-there marks pages", and
 * with "back" for "there", if the pages are where they should be and hold what
 * they held, and nothing is left isolated.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cdm_test_uapi.h"
#include "marks.h"

#define MAX_PAGES	262144UL
#define ROUNDS		5
#define BULK		16384UL		/* from here on rounds are dear */

/* The guest's clock jumps over idle time: this costs nothing. */
#define SETTLE_S	30

static void *addresses[MAX_PAGES];
static int nodes[MAX_PAGES], status[MAX_PAGES];
static int ram, device, fd;

static void bind_area(char *addr, unsigned long size, int node, int flags)
{
	unsigned long mask = 1UL << node;

	require(!syscall(SYS_mbind, addr, size, MPOL_BIND, &mask,
			 8 * sizeof(mask), flags), "mbind");
}

static uint64_t word(unsigned long i)
{
	return i * 0x9e3779b97f4a7c15;
}

/* @nr pages on @node; the policy does not hold them there. */
static char *fill(unsigned long nr, int node, int advice)
{
	char *addr = map_area(nr * PAGE, advice);

	bind_area(addr, nr * PAGE, node, 0);
	for (unsigned long i = 0; i < nr; i++)
		*(uint64_t *)(addr + i * PAGE) = word(i);
	require(!syscall(SYS_mbind, addr, nr * PAGE, MPOL_DEFAULT, NULL, 0, 0),
		"mbind");
	return addr;
}

static void check(const char *addr, unsigned long nr, int node)
{
	for (unsigned long i = 0; i < nr; i++) {
		addresses[i] = (void *)(addr + i * PAGE);
		if (*(uint64_t *)(addr + i * PAGE) != word(i)) {
			fprintf(stderr, "move: page %lu has changed\n", i);
			exit(1);
		}
	}
	require(!syscall(SYS_move_pages, 0, nr, addresses, NULL, status, 0),
		"move_pages");
	for (unsigned long i = 0; i < nr; i++) {
		if (status[i] == node)
			continue;
		fprintf(stderr, "move: page %lu is on node %d, not %d\n", i,
			status[i], node);
		exit(1);
	}
}

static void check_isolated(void)
{
	FILE *file = fopen("/proc/vmstat", "r");
	char line[128];
	long nr;

	require(!!file, "/proc/vmstat");
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "nr_isolated_anon %ld", &nr) == 1 && nr) {
			fprintf(stderr, "move: %ld pages are isolated\n", nr);
			exit(1);
		}
	}
	fclose(file);
}

static void by_move_pages(char *addr, unsigned long nr, int node)
{
	require(!syscall(SYS_move_pages, 0, nr, addresses, nodes, status,
			 MPOL_MF_MOVE), "move_pages");
}

static void by_mbind(char *addr, unsigned long nr, int node)
{
	bind_area(addr, nr * PAGE, node, MPOL_MF_MOVE);
}

static void by_driver(char *addr, unsigned long nr, int node)
{
	struct cdm_test_migrate ask = {
		.addr = (uintptr_t)addr,
		.size = nr * PAGE,
		.nid = node,
	};

	require(!ioctl(fd, CDM_TEST_IOC_MIGRATE, &ask), "CDM_TEST_IOC_MIGRATE");
}

static const struct way {
	const char *name;
	void (*move)(char *addr, unsigned long nr, int node);
} ways[] = {
	{ "move_pages", by_move_pages },
	{ "mbind", by_mbind },
	{ "driver", by_driver },
};

static void move_once(const struct way *way, unsigned long nr, int from, int to,
		      int advice, int measure)
{
	char *addr = fill(nr, from, advice);

	for (unsigned long i = 0; i < nr; i++) {
		addresses[i] = addr + i * PAGE;
		nodes[i] = to;
	}
	if (measure)
		mark_begin();
	way->move(addr, nr, to);
	if (measure)
		mark_end();
	check(addr, nr, to);
	munmap(addr, nr * PAGE);
}

static void measure(const struct way *way, const char *kind, unsigned long nr,
		    int from, int to)
{
	int advice = strcmp(kind, "2M") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE;
	int rounds = nr < BULK ? ROUNDS : 2;

	move_once(way, nr, from, to, advice, 0);
	for (int i = 0; i < rounds; i++)
		move_once(way, nr, from, to, advice, 1);
	check_isolated();
	printf("%s-%s-%lu-%s %d %lu\n", way->name, kind, nr,
	       to == device ? "there" : "back", rounds, nr);
	fflush(stdout);
}

static const struct way *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(ways[i].name, name))
			return &ways[i];
	errno = EINVAL;
	fail(name);
	return NULL;
}

int main(int argc, char **argv)
{
	const struct way *way;

	if (argc < 6) {
		fprintf(stderr, "usage: move RAM DEVICE BY KIND PAGES...\n");
		return 1;
	}
	ram = atoi(argv[1]);
	device = atoi(argv[2]);
	way = find(argv[3]);
	if (way->move == by_driver) {
		fd = open(CDM_TEST_DEVICE, O_RDWR);
		require(fd >= 0, CDM_TEST_DEVICE);
	}
	sleep(SETTLE_S);
	for (int i = 5; i < argc; i++) {
		unsigned long nr = strtoul(argv[i], NULL, 0);

		require(nr && nr <= MAX_PAGES, "number of pages");
		measure(way, argv[4], nr, ram, device);
		measure(way, argv[4], nr, device, ram);
	}
	mark_done();
	return 0;
}
