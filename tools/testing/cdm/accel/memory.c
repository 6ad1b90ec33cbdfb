// SPDX-License-Identifier: GPL-2.0
/*
 * Physical memory of the VM, and which pages of the device are poisoned.
 *
 * The maps do not change once threads run. The bitmap of poisoned pages needs no
 * lock: bits are set and read with atomics; who sets one flushes the TLBs after.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "accel.h"

struct accel_map {
	__u64 pa, size;
	__u8 *host;
};

static struct accel_map maps[ACCEL_MAX_MAPS];
static int nr_maps;
static __u64 *poison;		/* a bit for each page of the device */
static __u64 nr_poisoned;

static void check_overlap(__u64 pa, __u64 size)
{
	for (int i = 0; i < nr_maps; i++) {
		if (pa < maps[i].pa + maps[i].size && maps[i].pa < pa + size)
			accel_die("--map: %#llx is there twice", pa);
	}
	if (nr_maps == ACCEL_MAX_MAPS)
		accel_die("--map: more than %d", ACCEL_MAX_MAPS);
}

/* Beyond the end of a file an access would be a SIGBUS. */
static int open_map(const char *file, __u64 end)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		accel_die("--map: %s: %s", file, strerror(errno));
	if (S_ISREG(st.st_mode) && end > (__u64)st.st_size)
		accel_die("--map: %s ends at %lld", file, (long long)st.st_size);
	return fd;
}

void accel_add_map(__u64 pa, __u64 size, const char *file, __u64 offset)
{
	int fd;
	void *p;

	check_overlap(pa, size);
	if (offset + size < offset)
		accel_die("--map: %s: offset is too large", file);
	fd = open_map(file, offset + size);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (p == MAP_FAILED)
		accel_die("--map: %s: %s", file, strerror(errno));
	close(fd);
	maps[nr_maps++] = (struct accel_map){ .pa = pa, .size = size, .host = p };
}

static __u64 poison_words(void)
{
	return (accel.mem_size / ACCEL_PAGE + 63) / 64;
}

void accel_own_memory(void)
{
	if (!accel_pa(accel.mem_start, accel.mem_size))
		accel_die("--mem: is in no --map");
	poison = accel_alloc(poison_words() * sizeof(*poison));
}

/* Where the VM's memory is, NULL if not all of it lies in one map. */
void *accel_pa(__u64 pa, __u64 size)
{
	for (int i = 0; i < nr_maps; i++) {
		if (pa >= maps[i].pa && pa - maps[i].pa < maps[i].size)
			return size <= maps[i].size - (pa - maps[i].pa) ?
				maps[i].host + (pa - maps[i].pa) : NULL;
	}
	return NULL;
}

#ifdef __SANITIZE_THREAD__
/* The sanitizer looks into memmove() itself; see ACCEL_RACY. */
ACCEL_RACY void accel_move(void *dst, const void *src, size_t size)
{
	const __u8 *from = src;
	__u8 *to = dst;

	for (size_t i = 0; i < size; i++)
		__atomic_store_n(&to[i], __atomic_load_n(&from[i], __ATOMIC_RELAXED),
				 __ATOMIC_RELAXED);
}
#else
void accel_move(void *dst, const void *src, size_t size)
{
	memmove(dst, src, size);
}
#endif

static bool is_own(__u64 pa)
{
	return pa >= accel.mem_start && pa - accel.mem_start < accel.mem_size;
}

bool accel_poison(__u64 pa)
{
	__u64 page = (pa - accel.mem_start) / ACCEL_PAGE;

	if (!is_own(pa))
		return false;
	__atomic_fetch_or(&poison[page / 64], 1ull << page % 64, __ATOMIC_RELAXED);
	accel_add(&nr_poisoned, 1);
	return true;
}

bool accel_poisoned(__u64 pa)
{
	__u64 page = (pa - accel.mem_start) / ACCEL_PAGE;

	if (!__atomic_load_n(&nr_poisoned, __ATOMIC_RELAXED) || !is_own(pa))
		return false;
	return __atomic_load_n(&poison[page / 64], __ATOMIC_RELAXED) >> page % 64 & 1;
}

/* The first poisoned page in a range, ~0 if there is none. */
__u64 accel_find_poison(__u64 pa, __u64 size)
{
	if (!__atomic_load_n(&nr_poisoned, __ATOMIC_RELAXED) || !size)
		return ~0ull;
	for (__u64 page = pa - pa % ACCEL_PAGE; page < pa + size; page += ACCEL_PAGE) {
		if (accel_poisoned(page))
			return page;
	}
	return ~0ull;
}

void accel_clear_poison(void)
{
	for (__u64 i = 0; i < poison_words(); i++)
		__atomic_store_n(&poison[i], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&nr_poisoned, 0, __ATOMIC_RELAXED);
}

/* A page of the VM's that is not the device's, or one that is none. */
__u64 accel_foreign_page(__u64 n)
{
	const struct accel_map *map = &maps[n % nr_maps];
	__u64 pa = map->pa + n % (map->size / ACCEL_PAGE) * ACCEL_PAGE;

	return is_own(pa) ? ~pa : pa;
}

void accel_wipe_memory(void)
{
	memset(accel_pa(accel.mem_start, accel.mem_size), 0xdb, accel.mem_size);
}
