// SPDX-License-Identifier: GPL-2.0
/*
 * Benchmarks of migrations: what else goes on.
 *
 *   plain   nothing
 *   spin    a second thread runs on another CPU, and touches other memory
 *   touch   the same, and it touches what moves
 *   pinned  one page in the middle is pinned
 *   full    the destination has room for half of it
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cdm_test_uapi.h"
#include "move.h"

static pthread_t thread;
static const struct area *touched;
static bool running, stopped;
static char *hog;
static unsigned long hog_size;
static int pin_fd;

void run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	require(!sched_setaffinity(0, sizeof(set), &set), "a second CPU");
}

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

static void *spin(void *unused)
{
	static char own[PAGE];

	run_on(1);
	while (!is_set(&stopped)) {
		touch(own);
		for (unsigned long i = 0; touched && i < touched->nr &&
		     !is_set(&stopped); i++)
			look(touched->addr + i * PAGE);
		set(&running);
	}
	return NULL;
}

static void thread_begin(const struct area *area)
{
	touched = area;
	running = false;
	stopped = false;
	require(!pthread_create(&thread, NULL, spin, NULL), "pthread_create");
	while (!is_set(&running))
		sched_yield();
}

static void begin_spin(const struct area *area, const struct place *to)
{
	thread_begin(NULL);
}

static void begin_touch(const struct area *area, const struct place *to)
{
	thread_begin(area);
}

static void end_thread(void)
{
	set(&stopped);
	pthread_join(thread, NULL);
}

static void begin_pinned(const struct area *area, const struct place *to)
{
	uint64_t addr = (uintptr_t)area->addr + area->nr / 2 * PAGE;

	pin_fd = open(CDM_TEST_DEVICE, O_RDWR);
	require(pin_fd >= 0 && !ioctl(pin_fd, CDM_TEST_IOC_PIN, &addr),
		"CDM_TEST_IOC_PIN");
}

static void end_pinned(void)
{
	close(pin_fd);
}

static void hog_touch(unsigned long first, unsigned long end, int advice)
{
	if (first >= end)
		return;
	madvise(hog + first * PAGE, (end - first) * PAGE, advice);
	for (unsigned long i = first; i < end; i++)
		touch(hog + i * PAGE);
}

/*
 * In huge pages, as far as they go. Each time anew: some ways make room at its
 * expense.
 */
static void begin_full(const struct area *area, const struct place *to)
{
	unsigned long mask = 1UL << to->nid, free = node_free(to->nid);
	unsigned long take = free - area->nr / 2, huge;

	require(free > area->nr / 2, "memory for the hog");
	huge = take / 512 * 512;
	huge -= huge > 1024 ? 1024 : huge;
	kind_set(KIND_2M);
	hog_size = take * PAGE;
	hog = map_area(hog_size, MADV_HUGEPAGE);
	require(!syscall(SYS_mbind, hog, hog_size, MPOL_BIND, &mask,
			 8 * sizeof(mask), 0), "mbind");
	hog_touch(0, huge, MADV_HUGEPAGE);
	hog_touch(huge, take, MADV_NOHUGEPAGE);
}

static void end_full(void)
{
	munmap(hog, hog_size);
}

static const struct variant variants[] = {
	{ "plain" },
	{ "spin", .begin = begin_spin, .end = end_thread },
	{ "touch", .begin = begin_touch, .end = end_thread, .partial = true },
	{ "pinned", .begin = begin_pinned, .end = end_pinned, .partial = true },
	{ "full", .begin = begin_full, .end = end_full,
	  .partial = true, .there = true, .node = true },
};

/* What begins with "nodes" is plain, too. */
const struct variant *variant_find(const char *name)
{
	if (!strncmp(name, "nodes", 5))
		return &variants[0];
	for (size_t i = 0; i < ARRAY_SIZE(variants); i++)
		if (!strcmp(variants[i].name, name))
			return &variants[i];
	errno = EINVAL;
	fail(name);
	return NULL;
}
