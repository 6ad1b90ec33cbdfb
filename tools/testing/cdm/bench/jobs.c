// SPDX-License-Identifier: GPL-2.0
/*
 * What a job of the accelerator costs its driver: faults, misses of the device's
 * TLB, invalidations and interrupts for each, one job at a time and many.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cdm_accel.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define JOBS	2000
#define DEPTH	32
#define SIZE	(4UL << 20)

static struct cdm_accel *dev;
static bool real_time;

static void fail(const char *what, int ret)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-ret));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* Counters of the first device, and the interrupts of all. */
static const char * const names[] = {
	"faults", "tlb_misses", "invals", "interrupts",
};

#define NR_NAMES	ARRAY_SIZE(names)

static long nr_interrupts(void)
{
	FILE *file = fopen("/proc/interrupts", "r");
	char line[1024];
	long sum = 0;

	while (file && fgets(line, sizeof(line), file)) {
		char *at = strchr(line, ':');

		if (!at || !strstr(line, "cdm_accel"))
			continue;
		for (at++; strspn(at, " 0123456789") && *at; ) {
			char *end;
			long nr = strtol(at, &end, 10);

			if (end == at || (*end != ' ' && *end != '\n'))
				break;
			sum += nr;
			at = end;
		}
	}
	if (file)
		fclose(file);
	return sum;
}

static void read_counters(long *value)
{
	FILE *file = popen("cat /sys/kernel/debug/cdm_accel/*/stats", "r");
	char name[64];
	long nr;

	memset(value, 0, NR_NAMES * sizeof(*value));
	while (file && fscanf(file, "%63s %ld", name, &nr) == 2) {
		for (size_t i = 0; i < NR_NAMES; i++) {
			if (!strcmp(name, names[i]))
				value[i] += nr;
		}
	}
	if (file)
		pclose(file);
	value[NR_NAMES - 1] = nr_interrupts();
}

static void wait_for(__u32 id)
{
	int ret = cdm_accel_finish(dev, id, NULL);

	if (ret)
		fail("job", ret);
}

/* @depth jobs are under way at a time, each on a page of its own. */
static void run(uint64_t *data, int nr, int depth)
{
	__u32 ids[DEPTH];

	for (int i = 0; i < nr; i++) {
		uint64_t *word = data + i * 512UL % (SIZE / 8);
		int ret;

		if (i >= depth)
			wait_for(ids[i % depth]);
		ret = cdm_accel_fill(dev, word, i + 1, 8, &ids[i % depth]);
		if (ret)
			fail("submit", ret);
	}
	for (int i = nr < depth ? 0 : nr - depth; i < nr; i++)
		wait_for(ids[i % depth]);
}

static void measure(const char *what, uint64_t *data, int nr, int depth)
{
	long before[NR_NAMES], after[NR_NAMES];
	double start, time;

	read_counters(before);
	start = now();
	run(data, nr, depth);
	time = now() - start;
	read_counters(after);
	printf("  %-34s", what);
	for (size_t i = 0; i < NR_NAMES; i++)
		printf("  %s %.3f", names[i],
		       (double)(after[i] - before[i]) / nr);
	if (real_time)
		printf("  %.1f us", time / nr);
	printf("\n");
}

int main(int argc, char **argv)
{
	uint64_t *data = aligned_alloc(2UL << 20, SIZE);
	int ret = cdm_accel_open(0, &dev);

	if (ret)
		fail("no accelerator", ret);
	ret = cdm_accel_attach(dev, 0);
	if (ret || !data)
		fail("attach", ret);
	real_time = argc > 1 && !strcmp(argv[1], "kvm");
	memset(data, 0, SIZE);
	printf("jobs of the accelerator, for each job\n");
	measure("first touch, a page each", data, SIZE / 4096, 1);
	measure("again, one at a time", data, JOBS, 1);
	measure("again, 32 at a time", data, JOBS, DEPTH);
	cdm_accel_close(dev);
	return 0;
}
