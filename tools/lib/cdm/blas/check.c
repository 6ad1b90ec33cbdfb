// SPDX-License-Identifier: GPL-2.0
/*
 * Every form of cblas_sgemm() against its definition. Prints what is wrong, and
 * fails then. With LD_PRELOAD it checks another BLAS.
 */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cblas.h"

#define GUARD	12345.0f
#define THREADS	4

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

struct form {
	int layout;
	int trans_a;
	int trans_b;
	int m;
	int n;
	int k;
	int gap;		/* of each row or column to the next */
	float alpha;
	float beta;
};

static int at(const struct form *form, int trans, int i, int j, int ld)
{
	int rows = form->layout == CBLAS_ROW_MAJOR;

	return rows != (trans != CBLAS_NO_TRANS) ? i * ld + j : j * ld + i;
}

/* The leading dimension of a matrix of @m rows after it was transposed. */
static int leading(const struct form *form, int trans, int m, int n)
{
	int rows = form->layout == CBLAS_ROW_MAJOR;

	return (rows != (trans != CBLAS_NO_TRANS) ? n : m) + form->gap;
}

static float *numbers(size_t nr, unsigned int seed)
{
	float *data = malloc(nr * sizeof(*data));

	for (size_t i = 0; i < nr; i++) {
		seed = seed * 1664525 + 1013904223;
		data[i] = (int)(seed >> 24) % 17 - 8;
	}
	return data;
}

static size_t size_of(const struct form *form, int m, int n)
{
	return (size_t)(m + form->gap + 1) * (n + form->gap + 1);
}

static float want(const struct form *form, const float *a, int lda,
		  const float *b, int ldb, float old, int i, int j)
{
	float sum = 0;

	for (int l = 0; l < form->k; l++)
		sum += a[at(form, form->trans_a, i, l, lda)] *
		       b[at(form, form->trans_b, l, j, ldb)];
	return form->alpha * sum + (form->beta ? form->beta * old : 0);
}

/* Returns how many elements are wrong, those between the rows included. */
static long check(const struct form *form)
{
	int m = form->m, n = form->n, k = form->k;
	int lda = leading(form, form->trans_a, m, k);
	int ldb = leading(form, form->trans_b, k, n);
	int ldc = leading(form, CBLAS_NO_TRANS, m, n);
	size_t size = size_of(form, m, n);
	float *a = numbers(size_of(form, m, k), 1);
	float *b = numbers(size_of(form, k, n), 2);
	float *c = malloc(size * sizeof(*c));
	float *old = malloc(size * sizeof(*old));
	long wrong = 0;

	for (size_t i = 0; i < size; i++)
		c[i] = GUARD;
	/* Nobody may look at c if beta is 0. */
	for (int i = 0; i < m; i++)
		for (int j = 0; j < n; j++)
			c[at(form, CBLAS_NO_TRANS, i, j, ldc)] =
				form->beta ? i % 7 - j % 5 : NAN;
	memcpy(old, c, size * sizeof(*c));
	cblas_sgemm(form->layout, form->trans_a, form->trans_b, m, n, k,
		    form->alpha, a, lda, b, ldb, form->beta, c, ldc);
	for (int i = 0; i < m; i++) {
		for (int j = 0; j < n; j++) {
			int o = at(form, CBLAS_NO_TRANS, i, j, ldc);

			wrong += c[o] != want(form, a, lda, b, ldb, old[o], i,
					      j);
			c[o] = GUARD;
		}
	}
	for (size_t i = 0; i < size; i++)
		wrong += c[i] != GUARD;
	free(a);
	free(b);
	free(c);
	free(old);
	return wrong;
}

static int report(const struct form *form)
{
	long wrong = check(form);

	if (wrong)
		printf("WRONG: %d %d %d, %d x %d x %d, gap %d, %g, %g: %ld\n",
		       form->layout, form->trans_a, form->trans_b, form->m,
		       form->k, form->n, form->gap, form->alpha, form->beta,
		       wrong);
	return !!wrong;
}

static const struct {
	int m;
	int n;
	int k;
} sizes[] = {
	{ 0, 3, 3 }, { 3, 0, 3 }, { 3, 3, 0 }, { 1, 1, 1 }, { 2, 3, 4 },
	{ 7, 5, 3 }, { 33, 33, 33 }, { 65, 257, 63 }, { 5, 300, 130 },
	{ 130, 130, 130 },
};

static const float factors[][2] = {
	{ 1, 0 }, { 1, 1 }, { 0, 2 }, { 0, 0 }, { -2, 0.5 },
};

/* All forms of one size. */
static int report_size(int s, int *nr)
{
	struct form form = {
		.m = sizes[s].m,
		.n = sizes[s].n,
		.k = sizes[s].k,
	};
	int failed = 0;

	for (int i = 0; i < 16; i++) {
		form.layout = i & 1 ? CBLAS_ROW_MAJOR : CBLAS_COL_MAJOR;
		form.trans_a = i & 2 ? CBLAS_NO_TRANS : CBLAS_TRANS;
		form.trans_b = i & 4 ? CBLAS_NO_TRANS : CBLAS_TRANS;
		form.gap = i & 8 ? 0 : 3;
		if (form.m + form.gap == 0 || form.n + form.gap == 0 ||
		    form.k + form.gap == 0)
			continue;
		for (size_t f = 0; f < ARRAY_SIZE(factors); f++) {
			form.alpha = factors[f][0];
			form.beta = factors[f][1];
			failed += report(&form);
			++*nr;
		}
	}
	return failed;
}

static void *thread_fn(void *arg)
{
	struct form form = {
		.layout = CBLAS_ROW_MAJOR,
		.trans_a = CBLAS_NO_TRANS,
		.trans_b = CBLAS_NO_TRANS,
		.m = 150,
		.n = 150,
		.k = 150,
		.alpha = 1,
	};

	(void)arg;
	return (void *)(intptr_t)report(&form);
}

static int report_threads(void)
{
	pthread_t thread[THREADS];
	int failed = 0;
	void *ret;

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, thread_fn, NULL))
			exit(1);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &ret);
		failed += !!ret;
	}
	return failed;
}

/* A child of a process that has computed already. */
static int report_child(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(!!thread_fn(NULL));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		printf("WRONG: the child\n");
		return 1;
	}
	return 0;
}

int main(void)
{
	int nr = 0, failed = 0;

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
		failed += report_size(s, &nr);
	failed += report_threads();
	failed += report_child();
	nr += THREADS + 1;
	printf("%d of %d products are right\n", nr - failed, nr);
	return !!failed;
}
