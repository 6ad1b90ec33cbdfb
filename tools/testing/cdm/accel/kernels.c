// SPDX-License-Identifier: GPL-2.0
/*
 * Kernels that go through their data from one end to the other, and the table of
 * all. A step does at most one page of each stream; it changes memory only after
 * all it needs is usable, so that it can be repeated after a fault.
 */
#include <errno.h>
#include <string.h>

#include "accel.h"

static __u32 crc_table[256];

/* @nr elements of @size bytes at @va, aligned, in the address space. */
bool accel_range_ok(__u64 va, __u64 nr, __u64 size, __u64 align)
{
	return va % align == 0 && va <= ACCEL_VA_END && nr <= (ACCEL_VA_END - va) / size;
}

void accel_end(struct accel_job *job, int status)
{
	job->status = status;
	job->step = ACCEL_END;
}

static void advance(struct accel_job *job, __u64 size, __u64 end)
{
	job->pos += size;
	if (job->pos == end)
		accel_end(job, 0);
}

static struct accel_span stream(const struct accel_job *job, __u64 start, __u64 end, bool write)
{
	__u64 va = start + job->pos;

	return (struct accel_span){
		.va = va,
		.size = accel_part(va, end - job->pos),
		.write = write,
	};
}

/* Two streams go on together. */
static void equal_parts(struct accel_span *spans)
{
	spans[0].size = accel_min(spans[0].size, spans[1].size);
	spans[1].size = spans[0].size;
}

/* FILL: dst, value, size */
static bool check_fill(const __u64 *args)
{
	return args[2] % 8 == 0 && accel_range_ok(args[0], args[2], 1, 8);
}

static ACCEL_RACY void fill(__u64 *p, __u64 value, __u64 nr)
{
	for (__u64 i = 0; i < nr; i++)
		p[i] = value;
}

static void step_fill(struct accel_unit *unit, struct accel_job *job)
{
	const __u64 *args = job->cmd.args;
	struct accel_span dst = stream(job, args[0], args[2], true);

	if (!accel_access(unit, job, &dst, 1))
		return;
	fill(dst.p, args[1], dst.size / 8);
	advance(job, dst.size, args[2]);
}

/* SUM: src, size */
static bool check_sum(const __u64 *args)
{
	return args[1] % 8 == 0 && accel_range_ok(args[0], args[1], 1, 8);
}

static ACCEL_RACY __u64 sum(const __u64 *p, __u64 nr)
{
	__u64 total = 0;

	for (__u64 i = 0; i < nr; i++)
		total += p[i];
	return total;
}

static void step_sum(struct accel_unit *unit, struct accel_job *job)
{
	const __u64 *args = job->cmd.args;
	struct accel_span src = stream(job, args[0], args[1], false);

	if (!accel_access(unit, job, &src, 1))
		return;
	job->result += sum(src.p, src.size / 8);
	advance(job, src.size, args[1]);
}

/* SAXPY: y, x, n, bits of a */
static bool check_saxpy(const __u64 *args)
{
	return accel_range_ok(args[0], args[2], 4, 4) && accel_range_ok(args[1], args[2], 4, 4);
}

static ACCEL_RACY void saxpy(float *y, const float *x, __u64 nr, __u32 bits)
{
	float a;

	memcpy(&a, &bits, sizeof(a));
	for (__u64 i = 0; i < nr; i++)
		y[i] += a * x[i];
}

static void step_saxpy(struct accel_unit *unit, struct accel_job *job)
{
	const __u64 *args = job->cmd.args;
	struct accel_span s[2] = {
		stream(job, args[0], args[2] * 4, true),
		stream(job, args[1], args[2] * 4, false),
	};

	equal_parts(s);
	if (!accel_access(unit, job, s, 2))
		return;
	saxpy(s[0].p, s[1].p, s[0].size / 4, args[3]);
	advance(job, s[0].size, args[2] * 4);
}

/* HISTOGRAM: src, size, out */
static bool check_histogram(const __u64 *args)
{
	return accel_range_ok(args[0], args[1], 1, 1) && accel_range_ok(args[2], 256, 8, 8);
}

static ACCEL_RACY void histogram(__u64 *counts, const __u8 *p, __u64 nr)
{
	for (__u64 i = 0; i < nr; i++)
		counts[p[i]]++;
}

/* At the end; several jobs may add to the same. */
static void add_counts(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_histogram *h = &job->histogram;
	__u64 va = job->cmd.args[2] + h->out;
	struct accel_span out = {
		.va = va, .size = accel_part(va, sizeof(h->counts) - h->out), .write = true,
	};

	if (!accel_access(unit, job, &out, 1))
		return;
	for (__u64 i = 0; i < out.size / 8; i++)
		accel_add((__u64 *)out.p + i, h->counts[h->out / 8 + i]);
	h->out += out.size;
	if (h->out == sizeof(h->counts))
		accel_end(job, 0);
}

static void step_histogram(struct accel_unit *unit, struct accel_job *job)
{
	const __u64 *args = job->cmd.args;
	struct accel_span src = stream(job, args[0], args[1], false);

	if (job->pos == args[1]) {
		add_counts(unit, job);
		return;
	}
	if (!accel_access(unit, job, &src, 1))
		return;
	histogram(job->histogram.counts, src.p, src.size);
	job->pos += src.size;
}

/* CRC32: src, size */
static bool check_crc32(const __u64 *args)
{
	return accel_range_ok(args[0], args[1], 1, 1);
}

void accel_init_kernels(void)
{
	for (__u32 i = 0; i < 256; i++) {
		__u32 crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
		crc_table[i] = crc;
	}
}

static ACCEL_RACY __u32 crc32(__u32 crc, const __u8 *p, __u64 nr)
{
	crc = ~crc;
	for (__u64 i = 0; i < nr; i++)
		crc = crc >> 8 ^ crc_table[(crc ^ p[i]) & 0xff];
	return ~crc;
}

static void step_crc32(struct accel_unit *unit, struct accel_job *job)
{
	const __u64 *args = job->cmd.args;
	struct accel_span src = stream(job, args[0], args[1], false);

	if (!accel_access(unit, job, &src, 1))
		return;
	job->crc = crc32(job->crc, src.p, src.size);
	job->result = job->crc;
	advance(job, src.size, args[1]);
}

/* ATOMIC_ADD: counter, addend, times */
static bool check_atomic_add(const __u64 *args)
{
	return accel_range_ok(args[0], 1, 8, 8);
}

static void step_atomic_add(struct accel_unit *unit, struct accel_job *job)
{
	const __u64 *args = job->cmd.args;
	__u64 nr = accel_min(args[2] - job->pos, ACCEL_PAGE / 8);
	struct accel_span counter = { .va = args[0], .size = nr ? 8 : 0, .write = true };

	if (!accel_access(unit, job, &counter, 1))
		return;
	for (__u64 i = 0; i < nr; i++)
		job->result = __atomic_fetch_add((__u64 *)counter.p, args[1], __ATOMIC_SEQ_CST);
	advance(job, nr, args[2]);
}

/* COPY_VA: dst, src, size */
static bool check_copy_va(const __u64 *args)
{
	return accel_range_ok(args[0], args[2], 1, 1) && accel_range_ok(args[1], args[2], 1, 1);
}

static void step_copy_va(struct accel_unit *unit, struct accel_job *job)
{
	const __u64 *args = job->cmd.args;
	struct accel_span s[2] = {
		stream(job, args[0], args[2], true),
		stream(job, args[1], args[2], false),
	};

	equal_parts(s);
	if (!accel_access(unit, job, s, 2))
		return;
	if (s[0].size)
		accel_move(s[0].p, s[1].p, s[0].size);
	advance(job, s[0].size, args[2]);
}

const struct accel_kernel accel_kernels[CDM_ACCEL_JOB_NR] = {
	[CDM_ACCEL_JOB_FILL]		= { check_fill, step_fill },
	[CDM_ACCEL_JOB_SUM]		= { check_sum, step_sum },
	[CDM_ACCEL_JOB_SAXPY]	= { check_saxpy, step_saxpy },
	[CDM_ACCEL_JOB_MATMUL]	= { accel_check_matmul, accel_step_matmul },
	[CDM_ACCEL_JOB_HISTOGRAM]	= { check_histogram, step_histogram },
	[CDM_ACCEL_JOB_CRC32]	= { check_crc32, step_crc32 },
	[CDM_ACCEL_JOB_BFS]		= { accel_check_bfs, accel_step_bfs },
	[CDM_ACCEL_JOB_TREE_INSERT]	= { accel_check_tree, accel_step_tree },
	[CDM_ACCEL_JOB_ATOMIC_ADD]	= { check_atomic_add, step_atomic_add },
	[CDM_ACCEL_JOB_COPY]		= { check_copy_va, step_copy_va },
};
