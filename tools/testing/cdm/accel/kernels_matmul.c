// SPDX-License-Identifier: GPL-2.0
/*
 * Product of matrices: c, a, b, n. A part of a row of c, up to a page of it, is
 * summed up in the device, so that c is written once and the order of additions
 * is that of the textbook.
 */
#include <string.h>

#include "accel.h"

#define MAX_N	65536
#define BATCH	(ACCEL_PAGE / sizeof(float))	/* products in a step */

bool accel_check_matmul(const __u64 *args)
{
	__u64 n = args[3];

	return n <= MAX_N && accel_range_ok(args[0], n * n, 4, 4) &&
		accel_range_ok(args[1], n * n, 4, 4) && accel_range_ok(args[2], n * n, 4, 4);
}

static __u64 element(__u64 matrix, __u64 n, __u64 row, __u64 col)
{
	return matrix + (row * n + col) * sizeof(float);
}

static ACCEL_RACY void add_products(float *sum, const float *a, const float *b, __u64 nr)
{
	for (__u64 i = 0; i < nr; i++)
		sum[i] += *a * b[i];
}

static void start_part(struct accel_matmul *m, const __u64 *args)
{
	__u64 n = args[3];

	m->width = accel_part(element(args[0], n, m->row, m->col), (n - m->col) * 4) / 4;
	m->k = 0;
	m->done = 0;
	memset(m->sum, 0, m->width * sizeof(m->sum[0]));
}

static void write_part(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_matmul *m = &job->matmul;
	__u64 n = job->cmd.args[3];
	struct accel_span c = {
		.va = element(job->cmd.args[0], n, m->row, m->col),
		.size = m->width * 4, .write = true,
	};

	if (!accel_access(unit, job, &c, 1))
		return;
	accel_move(c.p, m->sum, c.size);
	m->col += m->width;
	m->width = 0;
	if (m->col == n) {
		m->col = 0;
		m->row++;
	}
	if (m->row == n)
		accel_end(job, 0);
}

/* A factor of a times what one page holds of a row of b; returns their number. */
static __u64 multiply(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_matmul *m = &job->matmul;
	const __u64 *args = job->cmd.args;
	__u64 b = element(args[2], args[3], m->k, m->col + m->done);
	struct accel_span s[2] = {
		{ .va = element(args[1], args[3], m->row, m->k), .size = 4 },
		{ .va = b, .size = accel_part(b, (m->width - m->done) * 4) },
	};
	__u64 nr = s[1].size / 4;

	if (!accel_access(unit, job, s, 2))
		return 0;
	add_products(m->sum + m->done, s[0].p, s[1].p, nr);
	m->done += nr;
	if (m->done == m->width) {
		m->done = 0;
		m->k++;
	}
	return nr;
}

void accel_step_matmul(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_matmul *m = &job->matmul;
	__u64 n = job->cmd.args[3];
	__u64 nr = 0;

	if (!n)
		accel_end(job, 0);
	else if (!m->width)
		start_part(m, job->cmd.args);
	else if (m->k == n)
		write_part(unit, job);
	else
		while (job->step == ACCEL_MORE && m->k < n && nr < BATCH)
			nr += multiply(unit, job);
}
