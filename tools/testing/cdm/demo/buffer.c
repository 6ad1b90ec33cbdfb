// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the five steps on a buffer from malloc().
 */
#include <stdlib.h>

#include "tour.h"

static size_t equal_words(const __u64 *a, const __u64 *b, size_t size)
{
	size_t equal = 0;

	for (size_t i = 0; i < size / sizeof(*a); i++)
		equal += a[i] == b[i];
	return equal;
}

/* The CPU sees what the device wrote, and goes on writing there. */
static void claim_again(void *data, size_t size, __u64 first_half)
{
	size_t half = size / 2, words = size / sizeof(__u64), copied;
	double start = now();
	struct place place;
	__u64 sum;

	copied = equal_words(data, data + half, half);
	cpu_add(data, size, 1);
	sum = cpu_sum(data, size);
	place = placement((uintptr_t)data, size);
	row("4 CPU: compare, add 1, sum", now() - start, &place);
	claim(copied == words / 2 && sum == 2 * first_half + words &&
	      place.device == (long)(size / PAGE),
	      "buffer: CPU goes on where the data is",
	      "%zu words copied, %ld pages stay", copied, place.device);
}

static void give_back(void *data, size_t size)
{
	uintptr_t addr = (uintptr_t)data;
	double start = now();
	struct place place;

	free(data);
	place = placement(addr, size);
	row("5 release: free()", now() - start, &place);
	legend();
	claim(!device_tenants() && place.absent == (long)(size / PAGE),
	      "buffer: released", "%ld pages left on device",
	      device_tenants());
}

void tour_buffer(const char *path, size_t size)
{
	struct result cpu, *device = allocate(sizeof(*device));
	struct place before, after;
	double start = now();
	void *data = allocate(size);
	uintptr_t addr = (uintptr_t)data;

	table("a buffer from malloc()", true);
	before = placement(addr, size);
	row("1 allocate: malloc()", now() - start, &before);

	start = now();
	read_data(path, data, size);
	cpu_result(data, size, &cpu);
	before = placement(addr, size);
	row("2 CPU: read file, histogram, sum", now() - start, &before);

	start = now();
	device_result(data, size, device);
	device_copy(data + size / 2, data, size / 2);
	after = placement(addr, size);
	row("3 device: histogram, sum, copy half", now() - start, &after);
	claim_moved("buffer: goes to the device that computes", &before, &after,
		    size);
	claim_result("buffer: histogram and sum are the CPU's", &cpu, device);
	free(device);

	claim_again(data, size, cpu_sum(data, size / 2));
	give_back(data, size);
}
