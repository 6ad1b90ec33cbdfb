// SPDX-License-Identifier: GPL-2.0
/*
 * libplain_blas: a BLAS that knows nothing of devices.
 */
#include "cblas.h"
#include "sgemm.h"

void cblas_sgemm(int layout, int trans_a, int trans_b, int m, int n, int k,
		 float alpha, const float *a, int lda, const float *b, int ldb,
		 float beta, float *c, int ldc)
{
	struct sgemm op;

	if (sgemm_parse(&op, layout, trans_a, trans_b, m, n, k, alpha, a, lda,
			b, ldb, beta, c, ldc))
		sgemm_cpu(&op);
}
