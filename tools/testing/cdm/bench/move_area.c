// SPDX-License-Identifier: GPL-2.0
/* Benchmarks of migrations: memory of all kinds, and whether it is unharmed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "move.h"

#define THP		"/sys/kernel/mm/transparent_hugepage/hugepages-"
#define FILE_PATH	"/tmp/disk/bench"
#define WORDS		(PAGE / sizeof(uint64_t))
#define CHUNK		512UL
#define PM_PFN		0x7fffffffffffffULL
#define PM_PRESENT	0x8000000000000000ULL
#define KPF_TAIL	0x10000ULL

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	require(fd >= 0 && write(fd, text, strlen(text)) > 0, path);
	close(fd);
}

/* Which size of page a fault takes, where it is asked for. */
void kind_set(enum kind kind)
{
	write_text(THP "64kB/enabled", kind == KIND_64K ? "madvise" : "never");
	write_text(THP "2048kB/enabled", kind == KIND_2M ? "madvise" : "never");
}

static void bind_to(const struct area *area, int nid)
{
	unsigned long mask = 1UL << nid;

	require(!syscall(SYS_mbind, area->addr, area->nr * PAGE,
			 nid < 0 ? MPOL_DEFAULT : MPOL_BIND,
			 nid < 0 ? NULL : &mask,
			 nid < 0 ? 0 : 8 * sizeof(mask), 0), "mbind");
}

static uint64_t word(unsigned long i)
{
	return i * 0x9e3779b97f4a7c15;
}

static void write_words(const struct area *area)
{
	uint64_t *at = (uint64_t *)area->addr;

	for (unsigned long i = 0; i < area->nr * WORDS; i++)
		at[i] = word(i);
}

static void check_words(const struct area *area)
{
	const uint64_t *at = (uint64_t *)area->addr;

	for (unsigned long i = 0; i < area->nr * WORDS; i++) {
		if (at[i] == word(i))
			continue;
		fprintf(stderr, "page %lu has changed\n", i / WORDS);
		exit(1);
	}
}

/* The child looks at every page and then does nothing. */
static void share_with_child(struct area *area)
{
	int ready[2];
	char byte;

	require(!pipe(ready), "pipe");
	area->other = fork();
	require(area->other >= 0, "fork");
	if (!area->other) {
		for (unsigned long i = 0; i < area->nr; i++)
			look(area->addr + i * PAGE);
		require(write(ready[1], "", 1) == 1, "write");
		for (;;)
			pause();
	}
	require(read(ready[0], &byte, 1) == 1, "read");
	close(ready[0]);
	close(ready[1]);
}

static void map_file(struct area *area)
{
	area->fd = area->share == SHARE_SHMEM ? memfd_create("bench", 0) :
		   open(FILE_PATH, O_RDWR | O_CREAT | O_TRUNC, 0600);
	require(area->fd >= 0, FILE_PATH);
	require(!ftruncate(area->fd, area->nr * PAGE), "ftruncate");
	area->addr = mmap(NULL, area->nr * PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED, area->fd, 0);
	require(area->addr != MAP_FAILED, "mmap");
}

static bool is_file(const struct area *area)
{
	return area->share == SHARE_SHMEM || area->share == SHARE_FILE;
}

static void map(struct area *area)
{
	unsigned long shift = area->kind == KIND_4K ? area->shift : 0;

	if (is_file(area)) {
		map_file(area);
		return;
	}
	area->addr = map_area((area->nr + shift) * PAGE,
			      area->kind == KIND_4K ? MADV_NOHUGEPAGE :
			      MADV_HUGEPAGE);
	if (shift)
		munmap(area->addr, shift * PAGE);
	area->addr += shift * PAGE;
	area->shift = shift;
}

/* Files and memory that is no node are filled in RAM and moved. */
int area_fill(struct area *area, const struct way *way, const struct place *ram,
	      const struct place *at)
{
	bool direct = !is_file(area) && !at->start;
	long left = 0;

	map(area);
	if (!is_file(area))
		bind_to(area, direct ? at->nid : ram->nid);
	write_words(area);
	if (!is_file(area))
		bind_to(area, -1);
	if (area->share == SHARE_FILE)
		require(!fsync(area->fd), "fsync");
	if (!direct && at != ram) {
		aim(area, at);
		left = way->move(area, at);
	}
	if (area->share == SHARE_FORK)
		share_with_child(area);
	return left > 0 ? -EBUSY : left;
}

void area_free(struct area *area)
{
	if (area->other > 0) {
		kill(area->other, SIGKILL);
		waitpid(area->other, NULL, 0);
	}
	munmap(area->addr, area->nr * PAGE);
	if (area->fd > 0) {
		require(!ftruncate(area->fd, 0), "ftruncate");
		close(area->fd);
	}
	area->other = 0;
	area->fd = 0;
}

/* Entries of /proc/self/pagemap for the CHUNK pages from @first on. */
static unsigned long read_pagemap(const struct area *area, unsigned long first,
				  uint64_t *entries)
{
	static int fd = -1;
	static pid_t opener;
	unsigned long nr = area->nr - first < CHUNK ? area->nr - first : CHUNK;
	uintptr_t at = (uintptr_t)area->addr / PAGE + first;

	if (opener != getpid()) {
		opener = getpid();
		fd = open("/proc/self/pagemap", O_RDONLY);
	}
	require(pread(fd, entries, nr * 8, at * 8) == (ssize_t)nr * 8,
		"/proc/self/pagemap");
	return nr;
}

static unsigned long nr_outside(const struct area *area,
				const struct place *at)
{
	uint64_t entries[CHUNK];
	unsigned long i, j, nr, outside = 0;

	for (i = 0; i < area->nr; i += nr) {
		nr = read_pagemap(area, i, entries);
		for (j = 0; j < nr; j++) {
			uint64_t addr = (entries[j] & PM_PFN) * PAGE;

			outside += !(entries[j] & PM_PRESENT) ||
				   addr < at->start || addr >= at->end;
		}
	}
	return outside;
}

static unsigned long nr_elsewhere(const struct area *area, int nid)
{
	void *addresses[CHUNK];
	int status[CHUNK];
	unsigned long i, j, nr, elsewhere = 0;

	for (i = 0; i < area->nr; i += nr) {
		nr = area->nr - i < CHUNK ? area->nr - i : CHUNK;
		for (j = 0; j < nr; j++)
			addresses[j] = area->addr + (i + j) * PAGE;
		require(!syscall(SYS_move_pages, 0, nr, addresses, NULL, status,
				 0), "move_pages");
		for (j = 0; j < nr; j++)
			elsewhere += status[j] != nid;
	}
	return elsewhere;
}

unsigned long area_check(const struct area *area, const struct place *at)
{
	check_words(area);
	return at->start ? nr_outside(area, at) : nr_elsewhere(area, at->nid);
}

/* How many folios it consists of, all of it being present. */
unsigned long area_folios(const struct area *area)
{
	uint64_t entries[CHUNK], flags;
	unsigned long i, j, nr, folios = 0;
	int fd = open("/proc/kpageflags", O_RDONLY);

	require(fd >= 0, "/proc/kpageflags");
	for (i = 0; i < area->nr; i += nr) {
		nr = read_pagemap(area, i, entries);
		for (j = 0; j < nr; j++) {
			require(pread(fd, &flags, 8,
				      (entries[j] & PM_PFN) * 8) == 8,
				"/proc/kpageflags");
			folios += !(flags & KPF_TAIL);
		}
	}
	close(fd);
	return folios;
}

static long field(const char *path, const char *format)
{
	FILE *file = fopen(path, "r");
	char line[256];
	long value = -1;

	require(!!file, path);
	while (value < 0 && fgets(line, sizeof(line), file)) {
		if (sscanf(line, format, &value) != 1)
			value = -1;
	}
	fclose(file);
	return value;
}

long vm_counter(const char *name)
{
	char format[64];

	snprintf(format, sizeof(format), "%s %%ld", name);
	return field("/proc/vmstat", format);
}

long rss_pages(void)
{
	return field("/proc/self/statm", "%*d %ld");
}

unsigned long node_free(int nid)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 nid);
	return field(path, "Node %*d MemFree: %ld") * 1024 / PAGE;
}

void check_isolated(void)
{
	long nr;

	/* What CPUs have counted and not yet told */
	write_text("/proc/sys/vm/stat_refresh", "1");
	nr = vm_counter("nr_isolated_anon") + vm_counter("nr_isolated_file");
	if (nr) {
		fprintf(stderr, "%ld pages are isolated\n", nr);
		exit(1);
	}
}
