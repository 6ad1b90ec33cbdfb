/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The one function of the standard C interface to BLAS that is needed here, so
 * that no installed BLAS is.
 */
#ifndef _CDM_CBLAS_H
#define _CDM_CBLAS_H

#ifdef __cplusplus
extern "C" {
#endif

#define CBLAS_ROW_MAJOR		101
#define CBLAS_COL_MAJOR		102
#define CBLAS_NO_TRANS		111
#define CBLAS_TRANS		112
#define CBLAS_CONJ_TRANS	113

/*
 * c = alpha * op(a) * op(b) + beta * c, where op(a) has m rows and k columns,
 * op(b) k rows and n columns. The standard has enums for the first three; they
 * are passed in the same way.
 */
void cblas_sgemm(int layout, int trans_a, int trans_b, int m, int n, int k,
		 float alpha, const float *a, int lda, const float *b, int ldb,
		 float beta, float *c, int ldc);

#ifdef __cplusplus
}
#endif

#endif /* _CDM_CBLAS_H */
