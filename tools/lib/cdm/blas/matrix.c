// SPDX-License-Identifier: GPL-2.0
/*
 * An example: multiply matrices with cblas_sgemm(), and check the result. It
 * knows nothing of devices: which BLAS it is linked with or LD_PRELOAD names
 * decides where it computes.
 *
 *   matrix [ROWS [TIMES]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cblas.h"

#define CHECKS	3

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static unsigned long next_random(void)
{
	static unsigned long state = 88172645463325252UL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void *allocate(size_t nr, size_t size)
{
	void *data = calloc(nr, size);

	if (!data) {
		perror("matrix");
		exit(1);
	}
	return data;
}

/* Small integers: there is no rounding, the result is right or wrong. */
static float *random_matrix(int n)
{
	float *data = allocate((size_t)n * n, sizeof(*data));

	for (size_t i = 0; i < (size_t)n * n; i++)
		data[i] = (int)(next_random() >> 32) % 9;
	return data;
}

/* y = matrix * x */
static void apply(const float *matrix, const long *x, long *y, int n)
{
	for (int i = 0; i < n; i++) {
		y[i] = 0;
		for (int j = 0; j < n; j++)
			y[i] += (long)matrix[(size_t)i * n + j] * x[j];
	}
}

/*
 * Is c * x = a * (b * x) for a random x? A wrong c passes once in 65536 times
 * at most.
 */
static int is_product(const float *a, const float *b, const float *c, int n)
{
	long *x = allocate(n, sizeof(*x)), *y = allocate(n, sizeof(*y));
	long *left = allocate(n, sizeof(*left));
	long *right = allocate(n, sizeof(*right));
	int equal = 1;

	for (int i = 0; i < n; i++)
		x[i] = next_random() >> 48;
	apply(c, x, left, n);
	apply(b, x, y, n);
	apply(a, y, right, n);
	for (int i = 0; i < n; i++)
		equal &= left[i] == right[i];
	free(x);
	free(y);
	free(left);
	free(right);
	return equal;
}

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 512;
	int times = argc > 2 ? atoi(argv[2]) : 1;
	float *a, *b, *c;
	int right = 1;

	if (n < 1 || n > 65536 || times < 1) {
		fprintf(stderr, "usage: matrix [ROWS [TIMES]]\n");
		return 2;
	}
	a = random_matrix(n);
	b = random_matrix(n);
	c = random_matrix(n);
	for (int i = 0; i < times; i++) {
		double start = now();

		cblas_sgemm(CBLAS_ROW_MAJOR, CBLAS_NO_TRANS, CBLAS_NO_TRANS,
			    n, n, n, 1, a, n, b, n, 0, c, n);
		printf("%d x %d: %.3f seconds\n", n, n, now() - start);
		fflush(stdout);
	}
	for (int i = 0; i < CHECKS; i++)
		right &= is_product(a, b, c, n);
	printf("the result is %s\n", right ? "right" : "WRONG");
	free(a);
	free(b);
	free(c);
	return !right;
}
