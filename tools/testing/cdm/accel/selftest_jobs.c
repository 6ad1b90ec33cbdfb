// SPDX-License-Identifier: GPL-2.0
/* Kernels against what the test computes itself, at awkward places. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "selftest.h"

static const __u64 offsets[] = { 0, 8, 2048, PAGE - 8 };

static __u8 *random_bytes(__u64 size)
{
	__u8 *p = malloc(size + 1);

	for (__u64 i = 0; i < size; i++)
		p[i] = rnd();
	return p;
}

static void expect_ok(struct cdm_accel_done done, __u64 result)
{
	expect(!done.status);
	expect(done.result == result);
	expect(!done.addr);
	expect(!done.nr_faults);
}

/* The words around must stay as they are. */
static void fill_at(__u64 offset, __u64 size)
{
	__u64 va = new_range(size + 16, offset) + 8;
	__u64 args[4] = { va, rnd64(), size };
	bool ok = true;

	write64(va - 8, 1);
	write64(va + size, 2);
	expect_ok(run_job(CDM_ACCEL_JOB_FILL, args), 0);
	for (__u64 i = 0; i < size; i += 8)
		ok = ok && read64(va + i) == args[1];
	expect(ok);
	expect(read64(va - 8) == 1);
	expect(read64(va + size) == 2);
}

void test_fill(void)
{
	static const __u64 sizes[] = { 0, 8, PAGE, 10 * PAGE + 24 };

	start_over();
	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (unsigned int j = 0; j < ARRAY_SIZE(sizes); j++)
			fill_at(offsets[i], sizes[j]);
	}
}

static void sum_at(__u64 offset, __u64 size)
{
	__u64 args[4] = { new_range(size + 8, offset), size };
	__u64 sum = 0;

	for (__u64 i = 0; i < size; i += 8) {
		__u64 value = rnd64();

		write64(args[0] + i, value);
		sum += value;
	}
	expect_ok(run_job(CDM_ACCEL_JOB_SUM, args), sum);
}

void test_sum(void)
{
	start_over();
	for (unsigned int i = 0; i < ARRAY_SIZE(offsets); i++) {
		sum_at(offsets[i], 0);
		sum_at(offsets[i], 8);
		sum_at(offsets[i], 100 * PAGE + 8);
	}
}

static float *random_floats(__u64 n)
{
	float *p = malloc(n * sizeof(*p) + 1);

	for (__u64 i = 0; i < n; i++)
		p[i] = (int)(rnd() % 2001 - 1000) / 64.0f;
	return p;
}

static __u64 put_floats(const float *p, __u64 n, __u64 offset)
{
	__u64 va = new_range(n * 4 + 4, offset);

	write_va(va, p, n * 4);
	return va;
}

static bool floats_are(__u64 va, const float *p, __u64 n)
{
	float *q = malloc(n * 4 + 1);
	bool same;

	read_va(va, q, n * 4);
	same = !memcmp(p, q, n * 4);
	free(q);
	return same;
}

static void saxpy_of(__u64 n, __u64 y_offset, __u64 x_offset)
{
	float *y = random_floats(n), *x = random_floats(n), a = 1.7f;
	__u64 args[4] = { put_floats(y, n, y_offset), put_floats(x, n, x_offset), n };

	memcpy(&args[3], &a, sizeof(a));
	for (__u64 i = 0; i < n; i++)
		y[i] += a * x[i];
	expect_ok(run_job(CDM_ACCEL_JOB_SAXPY, args), 0);
	expect(floats_are(args[0], y, n));
	expect(floats_are(args[1], x, n));
	free(x);
	free(y);
}

void test_saxpy(void)
{
	start_over();
	saxpy_of(0, 0, 0);
	saxpy_of(1, PAGE - 4, 4);
	saxpy_of(5000, 0, 0);
	saxpy_of(5001, 4, PAGE - 4);
	saxpy_of(30000, 1236, 2000);
}

static void multiply(float *c, const float *a, const float *b, __u64 n)
{
	for (__u64 i = 0; i < n; i++) {
		for (__u64 k = 0; k < n; k++) {
			for (__u64 j = 0; j < n; j++)
				c[i * n + j] += a[i * n + k] * b[k * n + j];
		}
	}
}

static void matmul_of(__u64 n)
{
	float *a = random_floats(n * n), *b = random_floats(n * n);
	float *c = calloc(n * n + 1, sizeof(*c));
	__u64 args[4] = { put_floats(c, n * n, 4), put_floats(a, n * n, 8),
			  put_floats(b, n * n, PAGE - 4), n };

	multiply(c, a, b, n);
	expect_ok(run_job(CDM_ACCEL_JOB_MATMUL, args), 0);
	expect(floats_are(args[0], c, n * n));
	free(a);
	free(b);
	free(c);
}

void test_matmul(void)
{
	static const __u64 sizes[] = { 0, 1, 2, 7, 33, 130, 400 };

	start_over();
	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++)
		matmul_of(sizes[i]);
}

static void histogram_of(__u64 size, __u64 src_offset, __u64 out_offset)
{
	__u64 args[4] = { new_range(size + 1, src_offset), size, new_range(2048, out_offset) };
	__u8 *p = random_bytes(size);
	__u64 counts[256], out[256];

	for (int i = 0; i < 256; i++)
		counts[i] = 1000 * i;
	write_va(args[0], p, size);
	write_va(args[2], counts, sizeof(counts));
	for (__u64 i = 0; i < size; i++)
		counts[p[i]]++;
	expect_ok(run_job(CDM_ACCEL_JOB_HISTOGRAM, args), 0);
	read_va(args[2], out, sizeof(out));
	expect(!memcmp(counts, out, sizeof(out)));
	free(p);
}

void test_histogram(void)
{
	start_over();
	histogram_of(0, 3, 0);
	histogram_of(1, PAGE - 1, PAGE - 8);
	histogram_of(100001, 777, PAGE - 1024);
}

static __u32 slow_crc32(const __u8 *p, __u64 size)
{
	__u32 crc = ~0u;

	for (__u64 i = 0; i < size; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
	}
	return ~crc;
}

void test_crc32(void)
{
	__u8 *p = random_bytes(100000);
	__u64 args[4];

	start_over();
	args[0] = new_range(100000, PAGE - 5);
	args[1] = 9;
	write_va(args[0], "123456789", 9);
	expect_ok(run_job(CDM_ACCEL_JOB_CRC32, args), 0xcbf43926);
	write_va(args[0], p, 100000);
	args[1] = 100000;
	expect_ok(run_job(CDM_ACCEL_JOB_CRC32, args), slow_crc32(p, 100000));
	args[1] = 0;
	expect_ok(run_job(CDM_ACCEL_JOB_CRC32, args), 0);
	free(p);
}

#define NR_VERTICES	3000
#define MAX_EDGES	4

static struct {
	__u32 nr, to[MAX_EDGES];
	__u64 level;
} graph[NR_VERTICES];

static void make_graph(void)
{
	for (int i = 0; i < NR_VERTICES; i++) {
		graph[i].nr = rnd() % (MAX_EDGES + 1);
		graph[i].level = CDM_ACCEL_UNREACHED;
		for (__u32 j = 0; j < graph[i].nr; j++)
			graph[i].to[j] = rnd() % NR_VERTICES;
	}
	graph[0].nr = MAX_EDGES;
}

static __u32 search_graph(void)
{
	static int queue[NR_VERTICES];
	__u32 tail = 0;

	graph[0].level = 0;
	queue[tail++] = 0;
	for (__u32 head = 0; head < tail; head++) {
		int v = queue[head];

		for (__u32 j = 0; j < graph[v].nr; j++) {
			int w = graph[v].to[j];

			if (graph[w].level != CDM_ACCEL_UNREACHED)
				continue;
			graph[w].level = graph[v].level + 1;
			queue[tail++] = w;
		}
	}
	return tail;
}

static void put_graph(__u64 vertices, __u64 edges)
{
	for (int i = 0; i < NR_VERTICES; i++) {
		struct cdm_accel_job_vertex v = {
			.nr_edges = graph[i].nr,
			.edges = edges + i * MAX_EDGES * 8,
			.level = CDM_ACCEL_UNREACHED,
		};

		write_va(vertices + i * sizeof(v), &v, sizeof(v));
		for (__u32 j = 0; j < graph[i].nr; j++)
			write64(v.edges + j * 8, vertices + graph[i].to[j] * sizeof(v));
	}
}

static bool levels_are_right(__u64 vertices)
{
	struct cdm_accel_job_vertex v;

	for (int i = 0; i < NR_VERTICES; i++) {
		read_va(vertices + i * sizeof(v), &v, sizeof(v));
		if (v.level != graph[i].level)
			return false;
	}
	return true;
}

void test_bfs(void)
{
	__u64 edges, args[4];
	__u32 reached;

	start_over();
	make_graph();
	args[0] = new_range(NR_VERTICES * sizeof(struct cdm_accel_job_vertex), PAGE - 8);
	args[1] = new_range(NR_VERTICES * 8, 16);
	args[2] = NR_VERTICES;
	edges = new_range(NR_VERTICES * MAX_EDGES * 8, PAGE - 16);
	put_graph(args[0], edges);
	reached = search_graph();
	expect_ok(run_job(CDM_ACCEL_JOB_BFS, args), reached);
	expect(levels_are_right(args[0]));

	put_graph(args[0], edges);
	args[2] = reached - 1;
	expect(run_job(CDM_ACCEL_JOB_BFS, args).status == -ENOSPC);
	put_graph(args[0], edges);
	args[2] = 0;
	expect(run_job(CDM_ACCEL_JOB_BFS, args).status == -ENOSPC);
}

/* In order; returns the number of nodes, ~0 if they are not sorted. */
static __u32 walk_tree(__u64 va, __u64 min, __u64 max)
{
	struct cdm_accel_job_node n;
	__u32 left, right;

	if (!va)
		return 0;
	read_va(va, &n, sizeof(n));
	if (n.key < min || n.key > max)
		return ~0u;
	left = n.key ? walk_tree(n.child[0], min, n.key - 1) : 0;
	right = ~n.key ? walk_tree(n.child[1], n.key + 1, max) : 0;
	return left == ~0u || right == ~0u ? ~0u : left + right + 1;
}

void test_tree(void)
{
	__u64 n = 3000, keys = 2000;
	__u64 args[4];
	bool used[2000] = { };
	__u32 different = 0;

	start_over();
	args[0] = new_range(8, PAGE - 8);
	args[1] = new_range(n * sizeof(struct cdm_accel_job_node), PAGE - 8);
	args[2] = n;
	for (__u64 i = 0; i < n; i++) {
		__u64 key = rnd() % keys;

		write64(args[1] + i * sizeof(struct cdm_accel_job_node), key - 1000);
		different += !used[key];
		used[key] = true;
	}
	expect_ok(run_job(CDM_ACCEL_JOB_TREE_INSERT, args), different);
	expect(walk_tree(read64(args[0]), 0, ~0ull) == different);
	expect_ok(run_job(CDM_ACCEL_JOB_TREE_INSERT, args), 0);
}

void test_atomic_add(void)
{
	__u64 args[4];

	start_over();
	args[0] = new_range(8, PAGE - 8);
	args[1] = 3;
	args[2] = 1000000;
	write64(args[0], -3);
	expect_ok(run_job(CDM_ACCEL_JOB_ATOMIC_ADD, args), 3 * 1000000 - 6);
	expect(read64(args[0]) == 3 * 1000000 - 3);
	args[2] = 0;
	expect_ok(run_job(CDM_ACCEL_JOB_ATOMIC_ADD, args), 0);
	expect(read64(args[0]) == 3 * 1000000 - 3);
}

static void copy_of(__u64 size, __u64 dst_offset, __u64 src_offset)
{
	__u64 args[4] = { new_range(size + 2, dst_offset), new_range(size + 1, src_offset), size };
	__u8 *p = random_bytes(size), *q = malloc(size + 3);

	args[0]++;
	write_va(args[1], p, size);
	expect_ok(run_job(CDM_ACCEL_JOB_COPY, args), 0);
	read_va(args[0] - 1, q, size + 2);
	expect(!memcmp(q + 1, p, size));
	expect(!q[0] && !q[size + 1]);
	free(p);
	free(q);
}

void test_copy_va(void)
{
	start_over();
	copy_of(0, 0, 0);
	copy_of(1, PAGE - 1, PAGE - 1);
	copy_of(50000, 0, 0);
	copy_of(50001, 17, PAGE - 3);
}

void test_huge(void)
{
	__u64 pa, va = WINDOW + HUGE, args[4] = { va + PAGE, 7, HUGE - 2 * PAGE };

	start_over();
	pa = new_huge_page();
	set_huge_pte(0, va, pa | RW);
	expect_ok(run_job(CDM_ACCEL_JOB_FILL, args), 0);
	expect(*(__u64 *)pa_ptr(pa) == 0);
	expect(*(__u64 *)pa_ptr(pa + PAGE) == 7);
	expect(*(__u64 *)pa_ptr(pa + HUGE - PAGE - 8) == 7);
	expect(*(__u64 *)pa_ptr(pa + HUGE - PAGE) == 0);

	/* The same va elsewhere; only a part is invalidated, and used. */
	set_huge_pte(0, va, new_huge_page() | RW);
	invalidate(0, va + 5 * PAGE, va + 6 * PAGE);
	args[0] = va + 5 * PAGE;
	args[1] = 512 * 8;
	expect_ok(run_job(CDM_ACCEL_JOB_SUM, args), 0);
}

static const struct {
	__u32 asid, kernel;
	__u64 args[4];
} bad_jobs[] = {
	{ 0, CDM_ACCEL_JOB_NR, { } },
	{ 0, ~0u, { } },
	{ CDM_ACCEL_MAX_ASIDS, CDM_ACCEL_JOB_FILL, { } },
	{ ~0u, CDM_ACCEL_JOB_FILL, { } },
	{ NR_SPACES, CDM_ACCEL_JOB_FILL, { } },
	{ 0, CDM_ACCEL_JOB_FILL, { WINDOW + 4, 0, 8 } },
	{ 0, CDM_ACCEL_JOB_FILL, { WINDOW, 0, 12 } },
	{ 0, CDM_ACCEL_JOB_FILL, { 1ull << 48, 0, 8 } },
	{ 0, CDM_ACCEL_JOB_FILL, { (1ull << 48) - 8, 0, 16 } },
	{ 0, CDM_ACCEL_JOB_FILL, { -8ull, 0, 16 } },
	{ 0, CDM_ACCEL_JOB_FILL, { WINDOW, 0, -8ull } },
	{ 0, CDM_ACCEL_JOB_SUM, { WINDOW + 1, 8 } },
	{ 0, CDM_ACCEL_JOB_SUM, { WINDOW, 7 } },
	{ 0, CDM_ACCEL_JOB_SAXPY, { WINDOW + 2, WINDOW, 1 } },
	{ 0, CDM_ACCEL_JOB_SAXPY, { WINDOW, WINDOW + 1, 1 } },
	{ 0, CDM_ACCEL_JOB_SAXPY, { WINDOW, WINDOW, 1ull << 62 } },
	{ 0, CDM_ACCEL_JOB_SAXPY, { WINDOW, 1ull << 63, 1 } },
	{ 0, CDM_ACCEL_JOB_MATMUL, { WINDOW, WINDOW, WINDOW, 65537 } },
	{ 0, CDM_ACCEL_JOB_MATMUL, { WINDOW, WINDOW, WINDOW, 1ull << 32 } },
	{ 0, CDM_ACCEL_JOB_MATMUL, { WINDOW + 1, WINDOW, WINDOW, 1 } },
	{ 0, CDM_ACCEL_JOB_MATMUL, { WINDOW, WINDOW + 1, WINDOW, 1 } },
	{ 0, CDM_ACCEL_JOB_MATMUL, { WINDOW, WINDOW, WINDOW + 1, 1 } },
	{ 0, CDM_ACCEL_JOB_HISTOGRAM, { WINDOW, -1ull, WINDOW } },
	{ 0, CDM_ACCEL_JOB_HISTOGRAM, { WINDOW, 1, WINDOW + 4 } },
	{ 0, CDM_ACCEL_JOB_HISTOGRAM, { WINDOW, 1, (1ull << 48) - 2040 } },
	{ 0, CDM_ACCEL_JOB_CRC32, { WINDOW, 1ull << 48 } },
	{ 0, CDM_ACCEL_JOB_BFS, { WINDOW + 4, WINDOW, 1 } },
	{ 0, CDM_ACCEL_JOB_BFS, { WINDOW, WINDOW + 4, 1 } },
	{ 0, CDM_ACCEL_JOB_BFS, { WINDOW, WINDOW, 1ull << 61 } },
	{ 0, CDM_ACCEL_JOB_TREE_INSERT, { WINDOW + 1, WINDOW, 1 } },
	{ 0, CDM_ACCEL_JOB_TREE_INSERT, { WINDOW, WINDOW + 1, 1 } },
	{ 0, CDM_ACCEL_JOB_TREE_INSERT, { WINDOW, WINDOW, 1ull << 60 } },
	{ 0, CDM_ACCEL_JOB_ATOMIC_ADD, { WINDOW + 4, 1, 1 } },
	{ 0, CDM_ACCEL_JOB_ATOMIC_ADD, { 1ull << 48, 1, 1 } },
	{ 0, CDM_ACCEL_JOB_COPY, { WINDOW, -1ull, 2 } },
	{ 0, CDM_ACCEL_JOB_COPY, { (1ull << 48) - 1, WINDOW, 2 } },
};

/* Pointers in memory are no better than arguments. */
static void bad_pointers(void)
{
	static const __u64 bad[] = { 4, 1ull << 48, -8ull, -16ull, -24ull };
	__u64 va = new_range(64, 0), edge = new_range(8, 0), queue = new_range(80, 0);
	__u64 bfs[4] = { va, queue, 10 }, tree[4] = { edge, va, 1 };

	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		write64(va, 1);
		write64(va + 8, edge);
		write64(va + 16, CDM_ACCEL_UNREACHED);
		write64(edge, bad[i]);
		expect(run_job(CDM_ACCEL_JOB_BFS, bfs).status == -EINVAL);
		write64(va + 16, CDM_ACCEL_UNREACHED);
		write64(va + 8, bad[i]);
		expect(run_job(CDM_ACCEL_JOB_BFS, bfs).status == -EINVAL);
		expect(run_job(CDM_ACCEL_JOB_TREE_INSERT, tree).status == -EINVAL);
	}
	write64(va, 1ull << 61);
	write64(va + 8, edge);
	expect(run_job(CDM_ACCEL_JOB_BFS, bfs).status == -EINVAL);
}

void test_bad_jobs(void)
{
	start_over();
	new_range(16 * PAGE, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad_jobs); i++) {
		__u32 id = send_job_of(bad_jobs[i].asid, bad_jobs[i].kernel, bad_jobs[i].args);

		expect(wait_done(id).status == -EINVAL);
	}
	bad_pointers();
}

void test_outside(void)
{
	__u64 args[4] = { WINDOW, 1, 16 };
	struct cdm_accel_done done;

	start_over();
	new_range(PAGE, 0);
	set_pte(0, WINDOW, NOWHERE_PA | RW);
	done = run_job(CDM_ACCEL_JOB_FILL, args);
	expect(done.status == -EFAULT && done.addr == WINDOW);
	set_pte(0, WINDOW, (DEV_PA + DEV_SIZE) | RW);
	expect(run_job(CDM_ACCEL_JOB_FILL, args).status == -EFAULT);

	/* Tables that lie nowhere, a leaf where there can be none. */
	*((__u64 *)pa_ptr(dev.bar->roots[0]) + (WINDOW >> 39) % 512) = NOWHERE_PA | RW;
	expect(run_job(CDM_ACCEL_JOB_FILL, args).status == -EFAULT);
	*((__u64 *)pa_ptr(dev.bar->roots[0]) + (WINDOW >> 39) % 512) =
		DEV_PA | RW | CDM_ACCEL_PTE_LEAF;
	expect(run_job(CDM_ACCEL_JOB_FILL, args).status == -EFAULT);
	put(&dev.bar->roots[0], NOWHERE_PA);
	expect(run_job(CDM_ACCEL_JOB_FILL, args).status == -EFAULT);
}
