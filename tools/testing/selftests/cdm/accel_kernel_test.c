// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator: each of its kernels against the same computation by
 * a CPU, with the data in all places.
 */
#include "accel_util.h"

#define SIZE	MIB
#define PAGES	(SIZE / PAGE)
#define WORDS	(SIZE / sizeof(__u64))
#define SEED	42

FIXTURE(kernel) {
	struct accel a;
	struct cdm_accel *dev;
	char *addr;
	__u64 *word;
	float *real;
};

FIXTURE_VARIANT(kernel) {
	unsigned int flags;
	bool device;
	bool mixed;
};

FIXTURE_VARIANT_ADD(kernel, ram) { };
FIXTURE_VARIANT_ADD(kernel, device) { .device = true };
FIXTURE_VARIANT_ADD(kernel, mixed) { .mixed = true };
FIXTURE_VARIANT_ADD(kernel, on_fault) { .flags = CDM_ACCEL_MIGRATE_ON_FAULT };

FIXTURE_VARIANT_ADD(kernel, on_hint) {
	.flags = CDM_ACCEL_MIGRATE_ON_HINT,
	.mixed = true,
};

FIXTURE_SETUP(kernel)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, variant->flags));
	self->dev = self->a.dev;
	self->addr = cdm_map(SIZE);
	ASSERT_NE(NULL, self->addr);
	self->word = (__u64 *)self->addr;
	self->real = (float *)self->addr;
	cdm_fill(self->addr, SIZE, SEED);
	if (variant->device)
		ASSERT_EQ(0, cdm_accel_to_device(self->dev, self->addr, SIZE));
	if (variant->mixed)
		ASSERT_EQ(0, accel_scatter(self->dev, self->addr, SIZE));
}

/* Without being asked to, a job moves nothing. */
FIXTURE_TEARDOWN(kernel)
{
	if (!variant->flags && self->addr)
		EXPECT_EQ(variant->device ? PAGES : variant->mixed ? PAGES / 2 : 0,
			  cdm_pages_on(self->addr, SIZE, self->a.nid));
	EXPECT_EQ(0, accel_stop(&self->a));
}

static const struct {
	size_t at;
	size_t size;
} spans[] = {
	{ 0, 8 }, { 8, 8 }, { 4088, 8 }, { 4088, 16 }, { 24, 40 },
	{ 0, 4096 }, { 4096, 8192 }, { 4104, 4088 }, { 65528, 69648 },
	{ 8, SIZE - 16 }, { 0, SIZE },
};

TEST_F_TIMEOUT(kernel, fill, CDM_TIMEOUT)
{
	for (int s = 0; s < ARRAY_SIZE(spans); s++) {
		size_t from = spans[s].at / 8;
		size_t to = from + spans[s].size / 8;
		long wrong = 0;
		__u32 id;

		cdm_fill(self->addr, SIZE, SEED);
		ASSERT_EQ(0, cdm_accel_fill(self->dev, self->word + from, s,
					    spans[s].size, &id));
		ASSERT_EQ(0, accel_end(self->dev, id, NULL));
		for (size_t i = 0; i < WORDS; i++)
			wrong += self->word[i] != (i >= from && i < to ? s :
						   cdm_word(SEED, i));
		EXPECT_EQ(0, wrong);
	}
}

TEST_F_TIMEOUT(kernel, sum, CDM_TIMEOUT)
{
	for (int s = 0; s < ARRAY_SIZE(spans); s++) {
		__u64 *src = (__u64 *)(self->addr + spans[s].at);
		struct cdm_accel_wait done;
		__u32 id;

		ASSERT_EQ(0, cdm_accel_sum(self->dev, src, spans[s].size, &id));
		ASSERT_EQ(0, accel_end(self->dev, id, &done));
		EXPECT_EQ(cpu_sum(src, spans[s].size), done.result);
	}
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_F_TIMEOUT(kernel, saxpy, CDM_TIMEOUT)
{
	static const int sizes[] = { 1, 2, 3, 1000, 1023, 65537, 100001 };
	float *x = self->real, *y = self->real + SIZE / 8;

	for (int s = 0; s < ARRAY_SIZE(sizes); s++) {
		int n = sizes[s], at = s % 3;
		long wrong = 0;
		__u32 id;

		/* Sums and products are exact. */
		for (int i = 0; i < SIZE / 8; i++) {
			x[i] = i % 1000;
			y[i] = i % 777;
		}
		ASSERT_EQ(0, cdm_accel_saxpy(self->dev, y + at, x + 1, n, -2.5,
					     &id));
		ASSERT_EQ(0, accel_end(self->dev, id, NULL));
		for (int i = 0; i < SIZE / 8; i++) {
			float want = i % 777;

			if (i >= at && i < at + n)
				want += -2.5f * x[i - at + 1];
			wrong += y[i] != want;
			wrong += x[i] != i % 1000;
		}
		EXPECT_EQ(0, wrong);
	}
}

TEST_F_TIMEOUT(kernel, matmul, CDM_TIMEOUT)
{
	static const int sizes[] = { 1, 2, 3, 7, 31, 64, 129 };

	for (int s = 0; s < ARRAY_SIZE(sizes); s++) {
		int n = sizes[s];
		float *a = self->real + s, *b = a + n * n + 1;
		float *c = b + n * n + 1;
		long wrong = 0;
		__u32 id;

		for (int i = 0; i < n * n; i++) {
			a[i] = i % 13 - 6;
			b[i] = i % 7 - 3;
			c[i] = 1e30;
		}
		c[-1] = 77;
		c[n * n] = 78;
		ASSERT_EQ(0, cdm_accel_matmul(self->dev, c, a, b, n, &id));
		ASSERT_EQ(0, accel_end(self->dev, id, NULL));
		for (int i = 0; i < n * n; i++) {
			float want = 0;

			for (int k = 0; k < n; k++)
				want += a[i / n * n + k] * b[k * n + i % n];
			wrong += c[i] != want;
		}
		EXPECT_EQ(0, wrong);
		EXPECT_EQ(77, c[-1]);
		EXPECT_EQ(78, c[n * n]);
	}
}

static const struct {
	size_t at;
	size_t size;
} byte_spans[] = {
	{ 0, 1 }, { 1, 1 }, { 4095, 2 }, { 3, 13 }, { 4093, 4099 },
	{ 7, 100000 }, { 1, SIZE / 2 },
};

TEST_F_TIMEOUT(kernel, histogram, CDM_TIMEOUT)
{
	__u64 *out = self->word + WORDS - 300, want[256];
	__u32 id;

	for (int s = 0; s < ARRAY_SIZE(byte_spans); s++) {
		const unsigned char *src = (void *)self->addr;

		src += byte_spans[s].at;
		for (int i = 0; i < 256; i++)
			want[i] = i * s;
		memcpy(out, want, sizeof(want));
		for (size_t i = 0; i < byte_spans[s].size; i++)
			want[src[i]]++;
		ASSERT_EQ(0, cdm_accel_histogram(self->dev, src,
						 byte_spans[s].size, out, &id));
		ASSERT_EQ(0, accel_end(self->dev, id, NULL));
		EXPECT_EQ(0, memcmp(want, out, sizeof(want)));
	}
}

static __u32 cpu_crc32(const void *src, size_t size)
{
	const unsigned char *byte = src;
	__u32 crc = ~0U;

	for (size_t i = 0; i < size; i++) {
		crc ^= byte[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

TEST_F_TIMEOUT(kernel, crc32, CDM_TIMEOUT)
{
	struct cdm_accel_wait done;
	__u32 id;

	for (int s = 0; s < ARRAY_SIZE(byte_spans); s++) {
		char *src = self->addr + byte_spans[s].at;
		size_t size = byte_spans[s].size;

		ASSERT_EQ(0, cdm_accel_crc32(self->dev, src, size, &id));
		ASSERT_EQ(0, accel_end(self->dev, id, &done));
		EXPECT_EQ(cpu_crc32(src, size), done.result);
	}
	memcpy(self->addr + 3, "123456789", 9);
	ASSERT_EQ(0, cdm_accel_crc32(self->dev, self->addr + 3, 9, &id));
	ASSERT_EQ(0, accel_end(self->dev, id, &done));
	EXPECT_EQ(0xcbf43926, done.result);
}

#define VERTICES	3000
#define DEGREE		3

/* A graph whose vertices, edges and queue are scattered over the memory. */
struct graph {
	struct cdm_vertex vertex[VERTICES];
	__u64 edge[VERTICES][DEGREE];
	__u64 queue[VERTICES];
};

/* Edges lead anywhere, but not from the first three quarters to the last. */
static void graph_fill(struct graph *graph)
{
	for (int i = 0; i < VERTICES; i++) {
		int reach = i < VERTICES * 3 / 4 ? VERTICES * 3 / 4 : VERTICES;

		for (int j = 0; j < DEGREE; j++) {
			int to = (cdm_word(SEED, i * DEGREE + j) >> 20) % reach;

			/* So that each is reached, on the longest way. */
			if (!j)
				to = (i + 1) % reach;
			graph->edge[i][j] = va(&graph->vertex[to]);
		}
		graph->vertex[i].nr_edges = i % 5 ? DEGREE : 1;
		graph->vertex[i].edges = va(graph->edge[i]);
		graph->vertex[i].level = CDM_UNREACHED;
	}
}

static int vertex_of(const struct graph *graph, int i, int j)
{
	return (const struct cdm_vertex *)(uintptr_t)graph->edge[i][j] -
	       graph->vertex;
}

/* Returns how many vertices are reached. */
static long cpu_bfs(const struct graph *graph, __u64 *level)
{
	static int queue[VERTICES];
	long head = 0, tail = 1;

	for (int i = 0; i < VERTICES; i++)
		level[i] = CDM_UNREACHED;
	level[0] = 0;
	queue[0] = 0;
	while (head < tail) {
		int at = queue[head++];

		for (int j = 0; j < graph->vertex[at].nr_edges; j++) {
			int to = vertex_of(graph, at, j);

			if (level[to] != CDM_UNREACHED)
				continue;
			level[to] = level[at] + 1;
			queue[tail++] = to;
		}
	}
	return tail;
}

TEST_F_TIMEOUT(kernel, bfs, CDM_TIMEOUT)
{
	struct graph *graph = (void *)self->addr;
	static __u64 level[VERTICES];
	struct cdm_accel_wait done;
	long reached, wrong = 0;
	__u32 id;

	ASSERT_GE(SIZE, sizeof(*graph));
	graph_fill(graph);
	reached = cpu_bfs(graph, level);
	EXPECT_EQ(VERTICES * 3 / 4, reached);
	ASSERT_EQ(0, cdm_accel_bfs(self->dev, graph->vertex, graph->queue,
				   VERTICES, &id));
	ASSERT_EQ(0, accel_end(self->dev, id, &done));
	EXPECT_EQ(reached, done.result);
	for (int i = 0; i < VERTICES; i++)
		wrong += graph->vertex[i].level != level[i];
	EXPECT_EQ(0, wrong);

	graph_fill(graph);
	graph->queue[10] = ACCEL_CANARY;
	ASSERT_EQ(0, cdm_accel_bfs(self->dev, graph->vertex, graph->queue, 10,
				   &id));
	EXPECT_EQ(-ENOSPC, accel_end(self->dev, id, NULL));
	EXPECT_EQ(ACCEL_CANARY, graph->queue[10]);
}

#define NODES	5000

TEST_F_TIMEOUT(kernel, tree_insert, CDM_TIMEOUT)
{
	struct cdm_tree_node *node = (void *)(self->word + 2);
	struct cdm_accel_wait done;
	__u64 *root = self->word;
	long missing = 0;
	__u32 id;

	/* Every key of 0 ... NODES / 2 - 1 twice, in no order. */
	*root = 0;
	for (int i = 0; i < NODES; i++) {
		memset(&node[i], 0, sizeof(node[i]));
		node[i].key = i * 1237L % (NODES / 2);
	}
	ASSERT_EQ(0, cdm_accel_tree_insert(self->dev, root, node, NODES, &id));
	ASSERT_EQ(0, accel_end(self->dev, id, &done));
	EXPECT_EQ(NODES / 2, done.result);
	EXPECT_EQ(NODES / 2, tree_size(*root, 0, NODES / 2 - 1));
	for (int key = 0; key < NODES / 2; key++)
		missing += !tree_has(*root, key);
	EXPECT_EQ(0, missing);
}

TEST_F(kernel, atomic_add)
{
	struct cdm_accel_wait done;
	__u32 id;

	self->word[513] = 100;
	ASSERT_EQ(0, cdm_accel_atomic_add(self->dev, self->word + 513, 3, 1000,
					  &id));
	ASSERT_EQ(0, accel_end(self->dev, id, &done));
	EXPECT_EQ(3100, self->word[513]);
	/* The last value before or after its addition. */
	EXPECT_TRUE(done.result == 3100 || done.result == 3097);
	EXPECT_EQ(cdm_word(SEED, 512), self->word[512]);
	EXPECT_EQ(cdm_word(SEED, 514), self->word[514]);
}

TEST_F_TIMEOUT(kernel, copy, CDM_TIMEOUT)
{
	for (int s = 0; s < ARRAY_SIZE(byte_spans); s++) {
		size_t size = byte_spans[s].size;
		char *src = self->addr + byte_spans[s].at;
		char *dst = self->addr + SIZE - 8 - size - s % 5;
		__u32 id;

		/* The longest just fits in beside its source. */
		if (dst < src + size) {
			size -= PAGE;
			dst += PAGE;
		}
		cdm_fill(self->addr, SIZE, SEED);
		dst[-1] = 0x55;
		dst[size] = 0x66;
		ASSERT_EQ(0, cdm_accel_copy(self->dev, dst, src, size, &id));
		ASSERT_EQ(0, accel_end(self->dev, id, NULL));
		EXPECT_EQ(0, memcmp(dst, src, size));
		EXPECT_EQ(0x55, dst[-1]);
		EXPECT_EQ(0x66, dst[size]);
		EXPECT_EQ(0, cdm_wrong(self->addr, (src - self->addr + size) /
					       PAGE * PAGE, SEED));
	}
}

TEST_HARNESS_MAIN
