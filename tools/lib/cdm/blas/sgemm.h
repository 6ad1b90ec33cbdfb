/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A matrix product after its arguments have been understood: rows are
 * contiguous in memory.
 */
#ifndef _CDM_SGEMM_H
#define _CDM_SGEMM_H

#include <stdbool.h>
#include <stddef.h>

/* Element (i, j) is at data[i * row + j * col]. */
struct matrix {
	const float *data;
	size_t row;
	size_t col;
};

struct sgemm {
	size_t m;
	size_t n;
	size_t k;
	float alpha;
	float beta;
	struct matrix a;
	struct matrix b;
	float *c;		/* element (i, j) is at c[i * ldc + j] */
	size_t ldc;
};

bool sgemm_parse(struct sgemm *op, int layout, int trans_a, int trans_b,
		 int m, int n, int k, float alpha, const float *a, int lda,
		 const float *b, int ldb, float beta, float *c, int ldc);
void sgemm_cpu(const struct sgemm *op);

#endif /* _CDM_SGEMM_H */
