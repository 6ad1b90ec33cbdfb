// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: a program takes all RAM there is, until the kernel kills
 * it. The device has room and must not get any of it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tour.h"

#define BAR		24
#define PERIOD_US	20000

struct watch {
	long ram_total;		/* kB */
	long ram_free_min;	/* kB */
	long device_total;	/* pages */
	long device_max;	/* pages in use */
	long allocations;	/* on the device, before */
	int shown;		/* tenths of RAM */
};

/* The kernel shall choose this program when it runs out of memory. */
static void volunteer(void)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "w");

	if (!file || fputs("1000", file) < 0 || fclose(file))
		die("oom_score_adj");
}

static void take_all_ram(size_t limit)
{
	char *data = mmap(NULL, limit, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (data == MAP_FAILED)
		die("mmap");
	volunteer();
	/* Huge pages until there are no more: faster, and fenced as well. */
	madvise(data, limit, MADV_HUGEPAGE);
	for (size_t done = 0; done < limit; done += PAGE)
		data[done] = 1;
}

static void bar(long part, long whole, char c)
{
	long n = whole ? (part * BAR + whole / 2) / whole : 0;

	if (part && !n)
		n = 1;
	printf(" |");
	for (long i = 0; i < BAR; i++)
		putchar(i < n ? c : '.');
	putchar('|');
}

static void show(const struct watch *watch, long ram_free, long device)
{
	long used = watch->ram_total - ram_free;

	printf("  %8ld", used / 1024);
	bar(used, watch->ram_total, '=');
	printf("  %8ld", device);
	bar(device, watch->device_total, '#');
	putchar('\n');
	fflush(stdout);
}

static void observe(struct watch *watch)
{
	long ram_free = node_kb(ram_nid(), "MemFree");
	long device = device_used();
	int tenths;

	if (ram_free < watch->ram_free_min)
		watch->ram_free_min = ram_free;
	if (device > watch->device_max)
		watch->device_max = device;
	tenths = 10 * (watch->ram_total - ram_free) / watch->ram_total;
	if (tenths > watch->shown)
		show(watch, ram_free, device);
	if (tenths > watch->shown)
		watch->shown = tenths;
}

static void watch_start(struct watch *watch)
{
	int nid = device_nid();

	device_settle();
	watch->ram_total = node_kb(ram_nid(), "MemTotal");
	watch->ram_free_min = watch->ram_total;
	watch->device_total = node_kb(nid, "MemTotal") / 4;
	watch->device_max = 0;
	watch->allocations = node_allocations(nid);
	watch->shown = -1;
	printf("\n  %-37s%s\n", "RAM, MiB in use", "device, pages in use");
}

static void watch_end(struct watch *watch, int status)
{
	long allocations = node_allocations(device_nid()) - watch->allocations;
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

	show(watch, watch->ram_free_min, watch->device_max);
	say("in the end; the program was%s killed.", killed ? "" : " not");
	claim(killed, "RAM runs out, the program is killed",
	      "%ld of %ld MiB of RAM left", watch->ram_free_min / 1024,
	      watch->ram_total / 1024);
	claim(!watch->device_max && !allocations,
	      "nothing spills onto the device",
	      "%ld pages, %ld allocations there", watch->device_max,
	      allocations);
}

void tour_pressure(void)
{
	struct watch watch;
	int status;
	pid_t pid;

	watch_start(&watch);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		take_all_ram(2048 * watch.ram_total);
		_exit(0);
	}
	do {
		observe(&watch);
		usleep(PERIOD_US);
	} while (!waitpid(pid, &status, WNOHANG));
	observe(&watch);
	watch_end(&watch, status);
}
