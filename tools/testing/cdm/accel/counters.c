// SPDX-License-Identifier: GPL-2.0
/*
 * Access counters, in a hash table with open addressing. Its memory has a bound:
 * a table that is too large is forgotten, and counting starts again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "accel.h"

#define FIRST_SIZE	1024
#define LAST_SIZE	0x100000

static const int shifts[2] = { 16, 21 };

struct counter {
	__u64 key;		/* 0: unused */
	__u64 count;
};

/* Protects the table. Thresholds are atomic. */
static pthread_mutex_t counters_lock = PTHREAD_MUTEX_INITIALIZER;
static struct counter *table;
static __u32 size, used;
static __u64 thresholds[CDM_ACCEL_MAX_ASIDS][2];

static __u64 make_key(__u32 asid, int kind, __u64 va)
{
	return 1ull << 63 | (__u64)asid << 50 | (__u64)kind << 48 | va >> shifts[kind];
}

static __u32 asid_of(__u64 key)
{
	return key >> 50 & (CDM_ACCEL_MAX_ASIDS - 1);
}

static struct counter *find(__u64 key)
{
	__u32 i = (key * 0x9e3779b97f4a7c15ull) >> 40;

	while (table[i % size].key && table[i % size].key != key)
		i++;
	return &table[i % size];
}

/* A table of @new_size with all counters but those of @except. */
static void rebuild(__u32 new_size, __u32 except)
{
	struct counter *old = table;
	__u32 old_size = size;

	table = accel_alloc(new_size * sizeof(*table));
	size = new_size;
	used = 0;
	for (__u32 i = 0; i < old_size; i++) {
		if (!old[i].key || asid_of(old[i].key) == except)
			continue;
		*find(old[i].key) = old[i];
		used++;
	}
	free(old);
}

static void forget(void)
{
	free(table);
	table = NULL;
	size = 0;
	used = 0;
}

static void grow(void)
{
	if (size == LAST_SIZE)
		forget();
	rebuild(size ? size * 2 : FIRST_SIZE, ~0u);
}

static struct counter *get_counter(__u64 key)
{
	struct counter *c;

	if (used >= size / 2)
		grow();
	c = find(key);
	if (!c->key) {
		c->key = key;
		used++;
	}
	return c;
}

/* A note that finds no room leaves the counter as it is, above its threshold. */
static void add(__u32 asid, int kind, __u64 va, __u64 lines, __u64 threshold)
{
	struct counter *c = get_counter(make_key(asid, kind, va));
	struct cdm_accel_note note = {
		.addr = va >> shifts[kind] << shifts[kind],
		.asid = asid,
		.shift = shifts[kind],
	};

	c->count += lines;
	note.count = c->count;
	if (c->count >= threshold && accel_push_note(&note))
		c->count = 0;
}

/* An access within a page; every 64 bytes of it count. */
void accel_count(__u32 asid, __u64 va, __u64 bytes)
{
	__u64 t[2] = {
		__atomic_load_n(&thresholds[asid][0], __ATOMIC_RELAXED),
		__atomic_load_n(&thresholds[asid][1], __ATOMIC_RELAXED),
	};

	if ((!t[0] && !t[1]) || !bytes)
		return;
	pthread_mutex_lock(&counters_lock);
	for (int kind = 0; kind < 2; kind++) {
		if (t[kind])
			add(asid, kind, va, (va + bytes - 1) / 64 - va / 64 + 1, t[kind]);
	}
	pthread_mutex_unlock(&counters_lock);
}

static void set_thresholds(__u32 asid, __u64 small, __u64 large)
{
	__atomic_store_n(&thresholds[asid][0], small, __ATOMIC_RELAXED);
	__atomic_store_n(&thresholds[asid][1], large, __ATOMIC_RELAXED);
}

void accel_set_counters(__u32 asid, __u64 small, __u64 large)
{
	pthread_mutex_lock(&counters_lock);
	set_thresholds(asid, small, large);
	if (size)
		rebuild(size, asid);
	pthread_mutex_unlock(&counters_lock);
}

void accel_clear_counters(void)
{
	pthread_mutex_lock(&counters_lock);
	for (__u32 asid = 0; asid < CDM_ACCEL_MAX_ASIDS; asid++)
		set_thresholds(asid, 0, 0);
	forget();
	pthread_mutex_unlock(&counters_lock);
}
