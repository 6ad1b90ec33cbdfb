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

/* The first job brings the data to the device, the others find it there. */
void device_result(const void *data, size_t size, struct result *result)
{
	struct cdm_accel *dev = device_queue();
	__u32 id;
	int err;

	memset(result, 0, sizeof(*result));
	err = cdm_accel_histogram(dev, data, size, result->counts, &id);
	device_finish(err, &id);
	err = cdm_accel_sum(dev, data, size, &id);
	result->sum = device_finish(err, &id);
}

void device_copy(void *dst, const void *src, size_t size)
{
	__u32 id;
	int err = cdm_accel_copy(device_queue(), dst, src, size, &id);

	device_finish(err, &id);
}

__u64 device_crc32(const void *data, size_t size)
{
	__u32 id;
	int err = cdm_accel_crc32(device_queue(), data, size, &id);

	return device_finish(err, &id);
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
