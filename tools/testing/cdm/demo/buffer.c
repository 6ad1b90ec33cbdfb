// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the five steps on a buffer from malloc().
 */
#include <stdlib.h>

#include "tour.h"

/* The CPU sees what the device wrote, and takes it back. */
static void claim_again(struct place *place, void *data, size_t size,
			const struct result *first)
{
	size_t words = size / sizeof(__u64);
	double start = now();
	struct result again;
	bool equal;
	__u64 added;

	added = cpu_sum(data, size) - first->sum;
	cpu_add(data, size, -1);
	cpu_result(data, size, &again);
	*place = placement((uintptr_t)data, size);
	row("4 CPU: sum, subtract 1, histogram", now() - start, place);
	equal = again.sum == first->sum && equal_counts(first, &again) == 256;
	claim(equal && added == words && place->device == (long)(size / PAGE),
	      "buffer: CPU goes on where the data is",
	      "+1 seen %llu times, %ld pages stay", added, place->device);
}

void tour_buffer(const char *path, size_t size)
{
	struct place before, after, place;
	struct result cpu, device;
	double start = now();
	void *data = allocate(size);
	uintptr_t addr = (uintptr_t)data;

	table("a buffer from malloc()", true);
	place = placement(addr, size);
	row("1 allocate: malloc()", now() - start, &place);

	start = now();
	read_data(path, data, size);
	cpu_result(data, size, &cpu);
	before = placement(addr, size);
	row("2 CPU: read file, sum, histogram", now() - start, &before);

	start = now();
	device_result(data, size, &device);
	device_add(data, size, 1);
	after = placement(addr, size);
	row("3 device: histogram, sum, add 1", now() - start, &after);
	claim_moved("buffer: goes to the device that computes", &before, &after,
		    size);
	claim_result("buffer: sum and histogram are the CPU's", &cpu, &device);

	claim_again(&place, data, size, &cpu);

	start = now();
	free(data);
	place = placement(addr, size);
	row("5 release: free()", now() - start, &place);
	legend();
	claim(!device_tenants() && place.absent == (long)(size / PAGE),
	      "buffer: released", "%ld pages left on device",
	      device_tenants());
}
