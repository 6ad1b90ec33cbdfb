// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the five steps on a mapped file.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tour.h"

static void claim_again(const void *data, size_t size,
			const struct result *first)
{
	double start = now();
	struct result again;
	struct place place;
	bool equal;

	cpu_result(data, size, &again);
	place = placement((uintptr_t)data, size);
	row("4 CPU: sum, histogram", now() - start, &place);
	equal = again.sum == first->sum && equal_counts(first, &again) == 256;
	claim(equal && place.device == (long)(size / PAGE),
	      "file: CPU goes on where the data is",
	      "same result, %ld pages stay", place.device);
}

/* The pages are the page cache's, so unmapping alone does not free them. */
static void give_back(int fd, void *data, size_t size)
{
	uintptr_t addr = (uintptr_t)data;
	double start = now();
	struct place place;
	long cached;

	munmap(data, size);
	place = placement(addr, size);
	row("5 release: munmap()", now() - start, &place);
	cached = device_tenants();
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	claim(!device_tenants() && place.absent == (long)(size / PAGE),
	      "file: released", "%ld pages left on device", device_tenants());
	say("The pages are those of the page cache, so unmapping alone left %ld of them there;",
	    cached);
	say("posix_fadvise(POSIX_FADV_DONTNEED) has dropped them, as it does in RAM.");
}

void tour_file(const char *path, size_t size)
{
	struct place before, after;
	struct result cpu, *device = allocate(sizeof(*device));
	double start = now();
	int fd = open_data(path, size);
	void *data = map(size, PROT_READ, MAP_SHARED, fd);

	table("a mapped file (shared, read-only)", true);
	before = placement((uintptr_t)data, size);
	row("1 allocate: mmap()", now() - start, &before);

	start = now();
	cpu_result(data, size, &cpu);
	before = placement((uintptr_t)data, size);
	row("2 CPU: sum, histogram", now() - start, &before);

	start = now();
	device_result(data, size, device);
	after = placement((uintptr_t)data, size);
	row("3 device: histogram, sum", now() - start, &after);
	claim_moved("file: goes to the device that computes", &before, &after,
		    size);
	claim_result("file: sum and histogram are the CPU's", &cpu, device);
	free(device);

	claim_again(data, size, &cpu);
	give_back(fd, data, size);
	close(fd);
}
