// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the same computations by the CPU and by the device.
 */
#include <string.h>

#include "tour.h"

__u64 cpu_sum(const void *data, size_t size)
{
	const __u64 *word = data;
	__u64 sum = 0;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		sum += word[i];
	return sum;
}

void cpu_add(void *data, size_t size, __u64 term)
{
	__u64 *word = data;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		word[i] += term;
}

static void cpu_histogram(const void *data, size_t size, __u64 *counts)
{
	const unsigned char *byte = data;

	memset(counts, 0, 256 * sizeof(*counts));
	for (size_t i = 0; i < size; i++)
		counts[byte[i]]++;
}

void cpu_result(const void *data, size_t size, struct result *result)
{
	result->sum = cpu_sum(data, size);
	cpu_histogram(data, size, result->counts);
}

/* The first job takes the data to the device, the others find it there. */
void device_result(const void *data, size_t size, struct result *result)
{
	struct cdm_test_compute job = {
		.addr = (uintptr_t)data,
		.size = size,
		.out = (uintptr_t)result->counts,
		.nid = device_nid(),
		.op = CDM_TEST_HISTOGRAM,
	};

	device_compute(&job);
	job.nid = CDM_TEST_NID_STAY;
	job.op = CDM_TEST_SUM;
	device_compute(&job);
	result->sum = job.result;
}

void device_add(void *data, size_t size, __u64 term)
{
	struct cdm_test_compute job = {
		.addr = (uintptr_t)data,
		.size = size,
		.arg = term,
		.nid = CDM_TEST_NID_STAY,
		.op = CDM_TEST_ADD,
	};

	device_compute(&job);
}

int equal_counts(const struct result *a, const struct result *b)
{
	int equal = 0;

	for (int i = 0; i < 256; i++)
		equal += a->counts[i] == b->counts[i];
	return equal;
}

void claim_moved(const char *text, const struct place *before,
		 const struct place *after, size_t size)
{
	long nr = size / PAGE;

	claim(before->ram == nr && after->device == nr, text,
	      "%ld in RAM, then %ld on device", before->ram, after->device);
}

void claim_result(const char *text, const struct result *cpu,
		  const struct result *device)
{
	claim(cpu->sum == device->sum && equal_counts(cpu, device) == 256, text,
	      "%016llx, %d of 256 equal", device->sum,
	      equal_counts(cpu, device));
}
