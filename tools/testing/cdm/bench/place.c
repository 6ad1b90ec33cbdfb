// SPDX-License-Identifier: GPL-2.0
/*
 * Placement: what CPUs and accelerators pay for their accesses, with memory where
 * the kernel has it, and where it had best been.
 *
 * A workload is a sequence of steps; in a step, CPUs and devices pass over chunks of
 * memory. All accesses are counted here, in cache lines, and where the chunks are is
 * looked at before and after each step. An access costs the latency that firmware
 * gives for it, a page that migrates what it takes to read it here and write it
 * there. Nothing depends on the time that anything takes, but for how far the kernel
 * gets with its moves meanwhile.
 *
 * usage: place MODE NODE...	MODE: 0, 1, 4 for kernel.numa_balancing; device NODEs
 */
#include <errno.h>
#include <numaif.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cdm_accel.h"

#define PAGE		4096UL
#define CHUNK		(64UL << 10)
#define LINES		(CHUNK / 64)
#define HUGE		(2UL << 20)
#define MAX_CHUNKS	1024
#define MAX_DEVICES	2
#define RAM		0	/* places: 0, and one more than the device's index */
#define MAX_PLACES	(1 + MAX_DEVICES)
#define NODE		"/sys/devices/system/node/node"
#define INITIATORS	"/access0/initiators"

static struct cdm_accel *devices[MAX_DEVICES];
static int node_of[MAX_PLACES];
static int nr_places;
static double latency[MAX_PLACES][MAX_PLACES];	/* of a user, to a place */
static double page_cost;

/* A workload at work. */
static struct {
	const char *name;
	int mode;
	char *base;
	int nr_chunks;
	long capacity[MAX_PLACES];	/* chunks that fit */
	double uses[MAX_PLACES][MAX_CHUNKS];	/* lines, by user and chunk */
	double now[MAX_PLACES][MAX_CHUNKS];	/* in this step */
	unsigned char place[MAX_CHUNKS];
	double cost;
	long migrated;			/* pages, at the begin */
	int step;
	unsigned int seed;
} w;

static void fail(const char *what, int err)
{
	fprintf(stderr, "place: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static long number(const char *path, const char *key)
{
	FILE *file = fopen(path, "r");
	char line[256];
	long val = -1;
	size_t len = strlen(key);

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, len) && (!len || line[len] == ' '))
			val = atol(line + len);
	if (file)
		fclose(file);
	return val;
}

static long nr_migrated(void)
{
	return number("/proc/vmstat", "cdm_placed_balance") +
	       number("/proc/vmstat", "cdm_evicted_balance") +
	       number("/proc/vmstat", "numa_pages_migrated");
}

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void write_file(const char *path, long val)
{
	FILE *file = fopen(path, "w");

	if (!file || fprintf(file, "%ld\n", val) < 0 || fclose(file))
		fail(path, errno);
}

/* As firmware says for CPUs; a device is as far from RAM as they are from it. */
static void read_latencies(void)
{
	char path[128];
	long local, far;

	for (int i = 1; i < nr_places; i++) {
		local = number(NODE "0" INITIATORS "/read_latency", "");
		snprintf(path, sizeof(path), NODE "%d" INITIATORS "/read_latency",
			 node_of[i]);
		far = number(path, "");
		if (local <= 0 || far <= 0)
			fail("firmware gives no latencies", ENODATA);
		latency[RAM][RAM] = local;
		latency[RAM][i] = far;
		latency[i][RAM] = far;
		for (int k = 1; k < nr_places; k++)
			latency[i][k] = i == k ? local : 2 * far - local;
	}
	page_cost = PAGE / 64 * (latency[RAM][RAM] + latency[RAM][1]);
}

static char *chunk(int i)
{
	return w.base + i * CHUNK;
}

/* Where most of each chunk is: four of its pages are asked. */
static void look(unsigned char *place)
{
	static void *pages[4 * MAX_CHUNKS];
	static int status[4 * MAX_CHUNKS];

	for (int i = 0; i < 4 * w.nr_chunks; i++)
		pages[i] = w.base + i * (CHUNK / 4);
	if (move_pages(0, 4 * w.nr_chunks, pages, NULL, status, 0))
		fail("move_pages", errno);
	for (int i = 0; i < w.nr_chunks; i++) {
		int votes[MAX_PLACES] = { 0 };

		place[i] = RAM;
		for (int k = 0; k < 4; k++)
			for (int p = 1; p < nr_places; p++)
				votes[p] += status[4 * i + k] == node_of[p];
		for (int p = 1; p < nr_places; p++)
			if (votes[p] > 2)
				place[i] = p;
	}
}

/* CPUs read a chunk so many times, or write to it. */
uint64_t sink;

static void cpu(int i, int passes, bool write)
{
	uint64_t *words = (uint64_t *)chunk(i), sum = 0;

	for (int pass = 0; pass < passes; pass++) {
		for (size_t k = 0; k < CHUNK / 8; k += 8) {
			if (write)
				words[k] += pass;
			else
				sum += words[k];
		}
	}
	sink += sum;
	w.now[RAM][i] += (double)passes * LINES;
}

/* A device reads chunks that are neighbours. */
static void device(int p, int first, int nr, int passes)
{
	__u64 result;
	uint32_t id;
	int ret;

	for (int pass = 0; pass < passes; pass++) {
		ret = cdm_accel_sum(devices[p - 1], (void *)chunk(first), nr * CHUNK, &id);
		if (!ret)
			ret = cdm_accel_finish(devices[p - 1], id, &result);
		if (ret)
			fail("job", ret);
	}
	for (int i = first; i < first + nr; i++)
		w.now[p][i] += (double)passes * LINES;
}

static double price(double uses[][MAX_CHUNKS], int i, int place)
{
	double sum = 0;

	for (int user = 0; user < nr_places; user++)
		sum += uses[user][i] * latency[user][place];
	return sum;
}

/* Add up what the step has cost, and say where things are. */
static void end_step(void)
{
	unsigned char after[MAX_CHUNKS];
	int nr[MAX_PLACES] = { 0 };

	look(after);
	for (int i = 0; i < w.nr_chunks; i++) {
		w.cost += (price(w.now, i, w.place[i]) +
			   price(w.now, i, after[i])) / 2;
		nr[after[i]]++;
		for (int user = 0; user < nr_places; user++) {
			w.uses[user][i] += w.now[user][i];
			w.now[user][i] = 0;
		}
	}
	memcpy(w.place, after, sizeof(after));
	printf("step %s %d %d %.0f %d %d %.0f %ld\n", w.name, w.mode, w.step++,
	       now_ms(), nr[1], nr_places > 2 ? nr[2] : 0, w.cost,
	       nr_migrated() - w.migrated);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

/*
 * The best static placement: each chunk where it is cheapest; if a device cannot
 * hold all that want to be there, those that gain most. Every chunk is of the same
 * size, so for one device no other choice is better. For two it is a bound.
 */
static double oracle(void)
{
	static double gains[MAX_PLACES][MAX_CHUNKS];
	int nr[MAX_PLACES] = { 0 };
	double cost = 0;

	for (int i = 0; i < w.nr_chunks; i++) {
		double ram = price(w.uses, i, RAM), best = ram;
		int at = RAM;

		for (int p = 1; p < nr_places; p++) {
			if (price(w.uses, i, p) < best) {
				best = price(w.uses, i, p);
				at = p;
			}
		}
		cost += ram;
		if (at)
			gains[at][nr[at]++] = ram - best;
	}
	for (int p = 1; p < nr_places; p++) {
		qsort(gains[p], nr[p], sizeof(gains[p][0]), compare);
		for (int i = 0; i < nr[p] && i < w.capacity[p]; i++)
			cost -= gains[p][i];
	}
	return cost;
}

/* All in RAM, or as much as fits on the first device. */
static double fixed(int place)
{
	double cost = 0;

	for (int i = 0; i < w.nr_chunks; i++)
		cost += price(w.uses, i, i < w.capacity[place] ? place : RAM);
	return cost;
}

static int rnd(int n)
{
	w.seed = w.seed * 1103515245 + 12345;
	return (w.seed >> 8) % n;
}

/*
 * (a) Five steps again and again, over more than the device can hold: CPUs make the
 * input, the device computes on it three times, CPUs look at a bit of the result. Most
 * of the work is on the first half.
 */
static void steps(void)
{
	int n = w.nr_chunks, hot = n / 2;

	for (int lap = 0; lap < 150; lap++) {
		for (int i = 0; i < n; i += 16)
			cpu(i, 1, true);
		end_step();
		device(1, 0, hot, 8);
		end_step();
		device(1, hot, n - hot, 2);
		end_step();
		device(1, 0, hot, 8);
		end_step();
		for (int i = 0; i < n; i += 32)
			cpu(i, 1, false);
		end_step();
	}
}

/* (b) CPUs write a window, the device reads it, and the window moves on. */
static void window(void)
{
	int n = w.nr_chunks, size = n / 8;

	for (int lap = 0; lap < 60; lap++) {
		for (int at = 0; at + size <= n; at += size) {
			for (int i = at; i < at + size; i++)
				cpu(i, 1, true);
			device(1, at, size, 12);
			end_step();
		}
	}
}

/* (c) A search: both sides have what they look at most, and look at all. */
static void search(void)
{
	int n = w.nr_chunks, fifth = n / 5;

	for (int step = 0; step < 1500; step++) {
		for (int i = 0; i < 16; i++)
			cpu(rnd(8) ? rnd(fifth) : rnd(n), 2, false);
		for (int i = 0; i < 60; i++)
			device(1, rnd(8) ? n - 1 - rnd(fifth) : rnd(n), 1, 4);
		end_step();
	}
}

/* (d) Both sides use anything, as much. */
static void random_use(void)
{
	int n = w.nr_chunks;

	for (int step = 0; step < 3000; step++) {
		for (int i = 0; i < 40; i++) {
			cpu(rnd(n), 2, false);
			device(1, rnd(n), 1, 2);
		}
		end_step();
	}
}

/* (e) One half is the device's, the other the CPUs'; then they change. */
static void phases(void)
{
	int n = w.nr_chunks, half = n / 2;

	for (int step = 0; step < 800; step++) {
		int theirs = step < 400 ? 0 : half;

		device(1, theirs, half, 10);
		for (int i = 0; i < half; i++)
			cpu(half - theirs + i, 4, false);
		end_step();
	}
}

/* (f) Each device has a third, and so have the CPUs. */
static void two_devices(void)
{
	int n = w.nr_chunks / 3;

	for (int step = 0; step < 400; step++) {
		device(1, 0, n, 10);
		device(2, n, n, 10);
		for (int i = 2 * n; i < 3 * n; i++)
			cpu(i, 4, false);
		end_step();
	}
}

static void run(const char *name, void (*fn)(void), int nr_chunks, long capacity)
{
	double cost, best, begin;
	long migrated;

	memset(&w.uses, 0, sizeof(w.uses));
	memset(&w.now, 0, sizeof(w.now));
	w.name = name;
	w.nr_chunks = nr_chunks;
	w.cost = 0;
	w.step = 0;
	w.seed = 1;
	w.migrated = nr_migrated();
	for (int p = 1; p < nr_places; p++)
		w.capacity[p] = capacity;
	w.capacity[RAM] = MAX_CHUNKS;
	w.base = mmap(NULL, nr_chunks * CHUNK + HUGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w.base == MAP_FAILED)
		fail("mmap", errno);
	w.base = (char *)(((uintptr_t)w.base + HUGE - 1) & ~(HUGE - 1));
	madvise(w.base, nr_chunks * CHUNK, MADV_NOHUGEPAGE);
	memset(w.base, 1, nr_chunks * CHUNK);
	look(w.place);
	begin = now_ms();
	fn();
	migrated = nr_migrated() - w.migrated;
	cost = w.cost + migrated * page_cost;
	best = oracle();
	printf("total %s %d %.0f %ld %.0f %.0f %.0f %d %.0f\n", name, w.mode, cost,
	       migrated, best, fixed(RAM), fixed(1), w.nr_chunks, now_ms() - begin);
	fprintf(stderr, "  %-8s balancing %d: %.3f of the best, %ld pages migrated\n",
		name, w.mode, cost / best, migrated);
	munmap(w.base, nr_chunks * CHUNK);
}

/* Leave so many chunks free on the first device: huge pages take the rest. */
static void leave(long nr)
{
	char meminfo[64], pool[128], key[32];
	long free_kb, want;

	snprintf(meminfo, sizeof(meminfo), "/sys/devices/system/node/node%d/meminfo",
		 node_of[1]);
	snprintf(pool, sizeof(pool),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 node_of[1]);
	write_file(pool, 0);
	if (!nr)
		return;
	snprintf(key, sizeof(key), "Node %d MemFree:", node_of[1]);
	free_kb = number(meminfo, key);
	want = (free_kb * 1024 - nr * (long)CHUNK) / (long)HUGE;
	write_file(pool, want);
}

int main(int argc, char **argv)
{
	int ret, i;

	if (argc < 3 || argc > 2 + MAX_DEVICES)
		fail("usage", EINVAL);
	w.mode = atoi(argv[1]);
	nr_places = argc - 1;
	for (i = 1; i < nr_places; i++) {
		struct cdm_accel_info info;

		ret = cdm_accel_open(i - 1, &devices[i - 1]);
		if (!ret)
			ret = cdm_accel_attach(devices[i - 1], CDM_ACCEL_REPORT_ACCESSES);
		if (!ret)
			ret = cdm_accel_info(devices[i - 1], &info);
		if (ret)
			fail("accelerator", ret);
		node_of[i] = info.nid;
	}
	read_latencies();
	write_file("/proc/sys/kernel/numa_balancing", w.mode);
	if (nr_places > 2) {
		run("two", two_devices, 384, MAX_CHUNKS);
		return 0;
	}
	/* The kernel keeps 2 MiB free when it makes room. */
	leave(256 + 32);
	run("steps", steps, 512, 256);
	leave(0);
	run("window", window, 256, MAX_CHUNKS);
	run("search", search, 320, MAX_CHUNKS);
	run("random", random_use, 256, MAX_CHUNKS);
	run("phases", phases, 256, MAX_CHUNKS);
	return 0;
}
