/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmarks of migrations share: memory to move, who moves it, and what
 * else goes on. Numbers of pages are of 4 KiB.
 */
#ifndef _MOVE_H
#define _MOVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "marks.h"

#define MAX_PAGES	1048576UL

enum kind {
	KIND_4K,
	KIND_64K,
	KIND_2M,
};

enum share {
	SHARE_PRIVATE,	/* anonymous, one process */
	SHARE_FORK,	/* anonymous, mapped by a child, too */
	SHARE_SHMEM,	/* a file of tmpfs, one process */
	SHARE_FILE,	/* a clean file of a disk, one process */
};

struct area {
	char *addr;
	unsigned long nr;
	enum kind kind;
	enum share share;
	int fd;			/* of the file */
	pid_t other;		/* the child */
	unsigned long shift;	/* pages that are left out in front */
};

/* A node, or the memory that lib/test_hmm has. */
struct place {
	int nid;
	uint64_t start;		/* physical; 0: a node */
	uint64_t end;
};

struct way {
	const char *name;
	int (*open)(void);
	/* Returns 0, how many pages are left behind, or a negative errno. */
	long (*move)(const struct area *area, const struct place *to);
	bool hmm;		/* its device is no node */
	bool ram;		/* moves to another node of RAM */
	bool copy;		/* moves nothing */
};

extern const struct way ways[];
const struct way *way_find(const char *name);

/* Everything that takes time but is not the move itself. */
void aim(const struct area *area, const struct place *to);

/* Gives the memory of device node @nid to lib/test_hmm; returns where it is. */
struct place hmm_setup(int nid);

void kind_set(enum kind kind);

/*
 * @area->nr pages in the place @at, brought there by @way if need be. Returns a
 * negative errno if @way refuses.
 */
int area_fill(struct area *area, const struct way *way, const struct place *ram,
	      const struct place *at);
void area_free(struct area *area);

/* The gate: every word as it was; returns how many pages are not in @at. */
unsigned long area_check(const struct area *area, const struct place *at);
unsigned long area_folios(const struct area *area);

/* Of /proc and /sys */
/* -1 if this kernel does not count it */
long vm_counter(const char *name);
long rss_pages(void);
unsigned long node_free(int nid);
void check_isolated(void);

/* What else goes on: see move_variant.c. */
struct variant {
	const char *name;
	void (*begin)(const struct area *area, const struct place *to);
	void (*end)(void);
	bool partial;		/* some pages may be left behind */
	bool there;		/* only for devices as destination */
	bool node;		/* only for nodes as destination */
};

void run_on(int cpu);
const struct variant *variant_find(const char *name);

#endif /* _MOVE_H */
