// SPDX-License-Identifier: GPL-2.0
/*
 * The matrix product on the CPU, and what is common to both implementations.
 */
#include <stdio.h>
#include <string.h>

#include "cblas.h"
#include "sgemm.h"

/* A block of b that stays in the cache while all of a passes by. */
#define BLOCK_K	64
#define BLOCK_N	256

static bool is_trans(int trans)
{
	return trans == CBLAS_TRANS || trans == CBLAS_CONJ_TRANS;
}

static int at_least(int a, int b)
{
	return a > b ? a : b;
}

/* The number of the first argument that is wrong, or 0. */
static int wrong_argument(int layout, int trans_a, int trans_b, int m, int n,
			  int k, int lda, int ldb, int ldc)
{
	bool rows = layout == CBLAS_ROW_MAJOR;

	if (layout != CBLAS_ROW_MAJOR && layout != CBLAS_COL_MAJOR)
		return 1;
	if (trans_a != CBLAS_NO_TRANS && !is_trans(trans_a))
		return 2;
	if (trans_b != CBLAS_NO_TRANS && !is_trans(trans_b))
		return 3;
	if (m < 0)
		return 4;
	if (n < 0)
		return 5;
	if (k < 0)
		return 6;
	if (lda < at_least(1, rows != is_trans(trans_a) ? k : m))
		return 9;
	if (ldb < at_least(1, rows != is_trans(trans_b) ? n : k))
		return 11;
	if (ldc < at_least(1, rows ? n : m))
		return 14;
	return 0;
}

static struct matrix matrix(const float *data, int ld, bool trans)
{
	struct matrix matrix = {
		.data = data,
		.row = trans ? 1 : ld,
		.col = trans ? ld : 1,
	};

	return matrix;
}

/*
 * By columns c = a * b is the transposed of everything by rows: c' = b' * a'.
 * Returns false, and says why, if the arguments make no sense.
 */
bool sgemm_parse(struct sgemm *op, int layout, int trans_a, int trans_b,
		 int m, int n, int k, float alpha, const float *a, int lda,
		 const float *b, int ldb, float beta, float *c, int ldc)
{
	bool rows = layout == CBLAS_ROW_MAJOR;
	int wrong = wrong_argument(layout, trans_a, trans_b, m, n, k, lda, ldb,
				   ldc);

	if (wrong) {
		fprintf(stderr, "cblas_sgemm: argument %d is wrong\n", wrong);
		return false;
	}
	op->m = rows ? m : n;
	op->n = rows ? n : m;
	op->k = k;
	op->alpha = alpha;
	op->beta = beta;
	op->a = rows ? matrix(a, lda, is_trans(trans_a)) :
		       matrix(b, ldb, is_trans(trans_b));
	op->b = rows ? matrix(b, ldb, is_trans(trans_b)) :
		       matrix(a, lda, is_trans(trans_a));
	op->c = c;
	op->ldc = ldc;
	return true;
}

/* What was in c does not matter if beta is 0, not even a NaN. */
static void scale(const struct sgemm *op)
{
	for (size_t i = 0; i < op->m; i++) {
		float *row = op->c + i * op->ldc;

		if (op->beta == 0)
			memset(row, 0, op->n * sizeof(*row));
		else if (op->beta != 1)
			for (size_t j = 0; j < op->n; j++)
				row[j] *= op->beta;
	}
}

static void add_scaled(float *restrict c, const float *restrict b, float a,
		       size_t n)
{
	for (size_t j = 0; j < n; j++)
		c[j] += a * b[j];
}

/* Add what columns [l, l + nk) of a and [j, j + nj) of b make of c. */
static void multiply_block(const struct sgemm *op, size_t l, size_t nk,
			   size_t j, size_t nj)
{
	float block[BLOCK_K][BLOCK_N];

	for (size_t p = 0; p < nk; p++) {
		const float *from = op->b.data + (l + p) * op->b.row;

		for (size_t q = 0; q < nj; q++)
			block[p][q] = from[(j + q) * op->b.col];
	}
	for (size_t i = 0; i < op->m; i++) {
		const float *a = op->a.data + i * op->a.row;

		for (size_t p = 0; p < nk; p++)
			add_scaled(op->c + i * op->ldc + j, block[p],
				   op->alpha * a[(l + p) * op->a.col], nj);
	}
}

static size_t at_most(size_t a, size_t b)
{
	return a < b ? a : b;
}

void sgemm_cpu(const struct sgemm *op)
{
	scale(op);
	if (op->alpha == 0)
		return;
	for (size_t l = 0; l < op->k; l += BLOCK_K)
		for (size_t j = 0; j < op->n; j += BLOCK_N)
			multiply_block(op, l, at_most(BLOCK_K, op->k - l),
				       j, at_most(BLOCK_N, op->n - j));
}
