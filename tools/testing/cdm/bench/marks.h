/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmarks share, and marks: between these count.c counts the kernel's
 * instructions. Programs that have marks are static, so that nothing else has
 * their addresses.
 */
#ifndef _MARKS_H
#define _MARKS_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define PAGE		4096UL
#define HPAGE		(512 * PAGE)

/* The asm keeps calls from being merged or moved. */
static void __attribute__((noipa, unused)) mark_begin(void)
{
	asm volatile("# begin" ::: "memory");
}

static void __attribute__((noipa, unused)) mark_end(void)
{
	asm volatile("# end" ::: "memory");
}

static void __attribute__((noipa, unused)) mark_done(void)
{
	asm volatile("# done" ::: "memory");
}

static inline void fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n",
		program_invocation_short_name, what, strerror(errno));
	exit(1);
}

/* A store and a load that the compiler does not know better than to leave out. */
static inline void touch(char *addr)
{
	asm volatile("movb $1, %0" : "=m" (*addr));
}

static inline void look(const char *addr)
{
	asm volatile("" : : "r" (*addr) : "memory");
}

static inline void require(int ok, const char *what)
{
	if (!ok)
		fail(what);
}

/* Of whole huge pages, as regards its start. */
static inline char *map_area(unsigned long size, int advice)
{
	char *addr = mmap(NULL, size + HPAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *aligned;

	require(addr != MAP_FAILED, "mmap");
	aligned = addr + (-(unsigned long)addr & (HPAGE - 1));
	if (aligned > addr)
		munmap(addr, aligned - addr);
	munmap(aligned + size, addr + HPAGE - aligned);
	require(!madvise(aligned, size, advice), "madvise");
	return aligned;
}

#endif /* _MARKS_H */
