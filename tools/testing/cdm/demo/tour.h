/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guided tour: what its parts share.
 */
#ifndef _TOUR_H
#define _TOUR_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cdm_accel.h"

#define PAGE	4096UL
#define MIB	(1024 * 1024UL)

/* What the device touches it brings to its memory, this much and aligned. */
#define PIECE	(2 * MIB)

/* Where the pages of a range are. */
struct place {
	long ram;
	long device;
	long absent;
};

/* report.c: tables, claims, errors */
double now(void);
void table(const char *column, bool timed);
void row(const char *step, double seconds, const struct place *place);
void legend(void);
[[gnu::format(printf, 1, 2)]] void say(const char *fmt, ...);
[[gnu::format(printf, 3, 4)]]
void claim(bool ok, const char *text, const char *fmt, ...);
[[gnu::noreturn]] void die(const char *what);

/* device.c: what is asked of the device and of the nodes */
int device_nid(void);
int ram_nid(void);
long node_kb(int nid, const char *key);
long node_allocations(int nid);
long device_tenants(void);
long device_used(void);
void device_settle(void);
long meminfo_kb(const char *key);
struct place placement(uintptr_t addr, size_t size);
struct cdm_accel *device_queue(void);
void device_close(void);
__u64 device_finish(int err, const __u32 *id);
void device_driver(const char *action);

/* data.c: where data comes from */
int open_data(const char *path, size_t size);
void read_data(const char *path, void *data, size_t size);
void *allocate(size_t size);
void *map(size_t size, int prot, int flags, int fd);
void hash_of(const void *data, size_t size, char hex[65]);

/* compute.c: the same computations on both sides */
struct result {
	__u64 sum;
	__u64 counts[256];
};

__u64 cpu_sum(const void *data, size_t size);
void cpu_add(void *data, size_t size, __u64 term);
void cpu_result(const void *data, size_t size, struct result *result);
void device_copy(void *dst, const void *src, size_t size);
__u64 device_crc32(const void *data, size_t size);
void device_result(const void *data, size_t size, struct result *result);
int equal_counts(const struct result *a, const struct result *b);
void claim_moved(const char *text, const struct place *before,
		 const struct place *after, size_t size);
void claim_result(const char *text, const struct result *cpu,
		  const struct result *device);

/* The stops of the tour. */
void tour_buffer(const char *path, size_t size);
void tour_words(const char *path, size_t size);
void tour_file(const char *path, size_t size);
void tour_pressure(void);
void tour_home(const char *path, size_t size);

#endif /* _TOUR_H */
