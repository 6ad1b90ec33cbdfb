// SPDX-License-Identifier: GPL-2.0
/*
 * What memory management does for everybody, between marks, for count.c to
 * count the kernel's instructions:
 *
 *   fence NODE NAME OPERATION...
 *
 * With NODE >= 0 the task is bound to that node. For each operation it prints
 * "NAME-OPERATION marks pages-per-mark" when the pages were where they should
 * be. Each mark holds one operation, because a typical one can be told from one
 * that refills a list, or is interrupted, as long as they are not summed up.
 * Static, so that nothing else has its addresses.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "marks.h"

#define MAX_PAGES	32768UL
#define TMPFS_FILE	"/tmp/fence"
#define BLOCK_DEVICE	"/dev/zram0"

/* The guest's clock jumps over idle time: this costs nothing. */
#define SETTLE_S	30

struct operation {
	const char *name;
	unsigned int nr;
	unsigned int pages;
	void (*prepare)(const struct operation *op);
	void (*once)(unsigned long i);
	void (*check)(const struct operation *op);
};

static int node;
static char *area;
static int fd;
static long faults;
static char buf[PAGE];
static void *addresses[MAX_PAGES];
static int status[MAX_PAGES];

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

/* Each of the pages, @step apart, must be on the node. */
static void check_nodes(const char *addr, unsigned long nr, unsigned long step)
{
	for (unsigned long i = 0; i < nr; i++)
		addresses[i] = (void *)(addr + i * step);
	require(!syscall(SYS_move_pages, 0, nr, addresses, NULL, status, 0),
		"move_pages");
	for (unsigned long i = 0; i < nr; i++) {
		if (status[i] == node)
			continue;
		fprintf(stderr, "fence: page %lu is on node %d, not %d\n", i,
			status[i], node);
		exit(1);
	}
}

/* Anonymous memory */

static void anon_prepare(const struct operation *op)
{
	area = map_area(op->nr * PAGE, MADV_NOHUGEPAGE);
	faults = minor_faults();
}

static void anon_once(unsigned long i)
{
	touch(area + i * PAGE);
}

static void anon_check(const struct operation *op)
{
	require(minor_faults() - faults == op->nr, "not one fault a page");
	check_nodes(area, op->nr, PAGE);
	munmap(area, op->nr * PAGE);
}

static void thp_prepare(const struct operation *op)
{
	area = map_area(op->nr * HPAGE, MADV_HUGEPAGE);
	faults = minor_faults();
}

static void thp_once(unsigned long i)
{
	touch(area + i * HPAGE);
}

/* The last page of each was not touched, but is there. */
static void thp_check(const struct operation *op)
{
	require(minor_faults() - faults == op->nr, "not one fault a huge page");
	check_nodes(area + HPAGE - PAGE, op->nr, HPAGE);
	munmap(area, op->nr * HPAGE);
}

static void unmap_prepare(const struct operation *op)
{
	area = map_area(op->nr * HPAGE, MADV_NOHUGEPAGE);
	for (unsigned long off = 0; off < op->nr * HPAGE; off += PAGE)
		touch(area + off);
	check_nodes(area, op->nr * HPAGE / PAGE, PAGE);
}

static void unmap_once(unsigned long i)
{
	munmap(area + i * HPAGE, HPAGE);
}

static void unmap_check(const struct operation *op)
{
	unsigned char resident;

	for (unsigned int i = 0; i < op->nr; i++)
		require(mincore(area + i * HPAGE, PAGE, &resident) &&
			errno == ENOMEM, "munmap left something");
}

/* Files. Theirs is page cache, whose place is asked through a mapping. */

static void check_file(unsigned long size)
{
	char *addr = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

	require(addr != MAP_FAILED, "mmap of a file");
	for (unsigned long off = 0; off < size; off += PAGE)
		look(addr + off);
	check_nodes(addr, size / PAGE, PAGE);
	munmap(addr, size);
}

static void write_prepare(const struct operation *op)
{
	fd = open(TMPFS_FILE, O_RDWR | O_CREAT | O_TRUNC | O_NOATIME,
		  0600);
	require(fd >= 0, TMPFS_FILE);
}

static void write_once(unsigned long i)
{
	if (pwrite(fd, buf, PAGE, i * PAGE) != PAGE)
		fail("write");
}

static void read_once(unsigned long i)
{
	if (pread(fd, buf, PAGE, i * PAGE) != PAGE)
		fail("read");
}

static void file_check(const struct operation *op)
{
	check_file(op->nr * PAGE);
	close(fd);
}

static void read_prepare(const struct operation *op)
{
	write_prepare(op);
	for (unsigned int i = 0; i < op->nr; i++)
		write_once(i);
}

/* Page cache of a disk without seeks, and one page at a time. */
static void miss_prepare(const struct operation *op)
{
	unsigned long size = op->nr * PAGE;
	unsigned char *resident = malloc(op->nr);
	char *addr;

	fd = open(BLOCK_DEVICE, O_RDONLY | O_NOATIME);
	require(fd >= 0, BLOCK_DEVICE);
	posix_fadvise(fd, 0, size, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, size, POSIX_FADV_RANDOM);
	addr = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	require(addr != MAP_FAILED && !mincore(addr, size, resident),
		"mincore");
	require(!memchr(resident, 1, op->nr), "still in the page cache");
	munmap(addr, size);
	free(resident);
}

/* Processes */

static void fork_once(unsigned long i)
{
	pid_t pid = fork();
	int exited = -1;

	if (!pid)
		_exit(0);
	if (waitpid(pid, &exited, 0) != pid || exited)
		fail("fork");
}

static void nothing(const struct operation *op)
{
}

static const struct operation operations[] = {
	{ "anon", 8192, 1, anon_prepare, anon_once, anon_check },
	{ "thp", 128, 1, thp_prepare, thp_once, thp_check },
	{ "unmap", 64, 512, unmap_prepare, unmap_once, unmap_check },
	{ "write", 4096, 1, write_prepare, write_once, file_check },
	{ "miss", 4096, 1, miss_prepare, read_once, file_check },
	{ "hit", 4096, 1, read_prepare, read_once, file_check },
	{ "fork", 256, 1, nothing, fork_once, nothing },
};

static void warm(const struct operation *op)
{
	op->prepare(op);
	for (unsigned int i = 0; i < op->nr; i++)
		op->once(i);
	op->check(op);
}

static void measure(const struct operation *op)
{
	op->prepare(op);
	for (unsigned int i = 0; i < op->nr; i++) {
		mark_begin();
		op->once(i);
		mark_end();
	}
	op->check(op);
}

static const struct operation *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	errno = EINVAL;
	fail(name);
	return NULL;
}

static void bind(void)
{
	unsigned long mask = 1UL << node;

	require(!syscall(SYS_set_mempolicy, MPOL_BIND, &mask, 8 * sizeof(mask)),
		"set_mempolicy");
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: fence NODE NAME OPERATION...\n");
		return 1;
	}
	node = atoi(argv[1]);
	if (node >= 0)
		bind();
	else
		node = 0;
	sleep(SETTLE_S);
	for (int i = 3; i < argc; i++) {
		const struct operation *op = find(argv[i]);

		warm(op);
		measure(op);
		printf("%s-%s %u %u\n", argv[2], op->name, op->nr, op->pages);
		fflush(stdout);
	}
	mark_done();
	return 0;
}
