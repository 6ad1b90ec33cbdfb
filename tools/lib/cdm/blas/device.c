// SPDX-License-Identifier: GPL-2.0
/*
 * libcdm_blas: a BLAS that computes on the accelerator what that can do, in the
 * memory of the caller, and the rest on the CPU.
 *
 * Environment:
 *   CDM_BLAS_VERBOSE=1	say on stderr where each product is computed
 *   CDM_BLAS_MIN=N	products of matrices with fewer rows are left to the CPU
 *   CDM_BLAS_DEVICE=N	use /dev/cdm_accel<N>, not the first that works
 *   CDM_BLAS_MIGRATE=1	move the matrices to the device. Faster, but a device
 *			that is lost takes them along. Without, they stay
 *			where they are, and a loss costs only time.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cdm_accel.h"
#include "cblas.h"
#include "sgemm.h"

#define MIN_ROWS	128
#define MAX_ROWS	65536

/* The queue of this process. Once there, it stays: others may be using it. */
static struct {
	pthread_mutex_t lock;
	bool tried;
	int err;		/* why there is none, or no more */
	struct cdm_accel *dev;
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool verbose;
static size_t min_rows = MIN_ROWS;

static long setting(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text && *text ? atol(text) : otherwise;
}

/* The parent's queue is of no use to a child, nor is the state of its lock. */
static void forget_queue(void)
{
	pthread_mutex_init(&queue.lock, NULL);
	cdm_accel_close(queue.dev);
	queue.dev = NULL;
	queue.tried = false;
	queue.err = 0;
}

static void set_up(void)
{
	verbose = setting("CDM_BLAS_VERBOSE", 0);
	min_rows = setting("CDM_BLAS_MIN", MIN_ROWS);
	pthread_atfork(NULL, NULL, forget_queue);
}

static int open_queue(void)
{
	struct cdm_accel *dev;
	unsigned int flags = 0;
	int err;

	if (setting("CDM_BLAS_MIGRATE", 0))
		flags |= CDM_ACCEL_MIGRATE_ON_FAULT;
	err = cdm_accel_open(setting("CDM_BLAS_DEVICE", CDM_ACCEL_ANY), &dev);
	if (err)
		return err;
	err = cdm_accel_attach(dev, flags);
	if (err) {
		cdm_accel_close(dev);
		return err;
	}
	/* forget_queue() closes it in the child of a thread that forks. */
	__atomic_store_n(&queue.dev, dev, __ATOMIC_RELEASE);
	return 0;
}

static int get_queue(struct cdm_accel **dev)
{
	int err;

	pthread_mutex_lock(&queue.lock);
	if (!queue.tried)
		queue.err = open_queue();
	queue.tried = true;
	err = queue.err;
	*dev = queue.dev;
	pthread_mutex_unlock(&queue.lock);
	return err;
}

static void lose_queue(void)
{
	pthread_mutex_lock(&queue.lock);
	queue.err = -ENODEV;
	pthread_mutex_unlock(&queue.lock);
}

/* What the device can do: c = a * b, square, rows without gaps. */
static bool suits_device(const struct sgemm *op)
{
	size_t n = op->n;

	return n && n >= min_rows && n <= MAX_ROWS &&
	       op->m == n && op->k == n &&
	       op->alpha == 1 && op->beta == 0 && op->ldc == n &&
	       op->a.row == n && op->a.col == 1 &&
	       op->b.row == n && op->b.col == 1;
}

/*
 * Half a result does no harm: as beta is 0, nothing of what was in c is needed
 * to begin again.
 */
static int sgemm_device(const struct sgemm *op)
{
	struct cdm_accel *dev;
	__u32 id;
	int err;

	err = get_queue(&dev);
	if (err)
		return err;
	err = cdm_accel_matmul(dev, op->c, op->a.data, op->b.data, op->n, &id);
	if (!err)
		err = cdm_accel_finish(dev, id, NULL);
	if (err == -ENODEV)
		lose_queue();
	return err;
}

static void report(const struct sgemm *op, const char *where, const char *why)
{
	if (verbose)
		fprintf(stderr, "cblas_sgemm: %zu x %zu x %zu on the %s%s%s\n",
			op->m, op->k, op->n, where, *why ? ": " : "", why);
}

void cblas_sgemm(int layout, int trans_a, int trans_b, int m, int n, int k,
		 float alpha, const float *a, int lda, const float *b, int ldb,
		 float beta, float *c, int ldc)
{
	struct sgemm op;
	int err;

	pthread_once(&once, set_up);
	if (!sgemm_parse(&op, layout, trans_a, trans_b, m, n, k, alpha, a, lda,
			 b, ldb, beta, c, ldc))
		return;
	if (!suits_device(&op)) {
		report(&op, "CPU", "nothing for the device");
		sgemm_cpu(&op);
		return;
	}
	err = sgemm_device(&op);
	if (err) {
		report(&op, "CPU", strerror(-err));
		sgemm_cpu(&op);
		return;
	}
	report(&op, "device", "");
}
