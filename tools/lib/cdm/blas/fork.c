// SPDX-License-Identifier: GPL-2.0
/*
 * A program forks while another thread is about to open the queue of the BLAS: the
 * child closes no file for that. The device is made up here, and its file is where the
 * fork comes from. Prints what is wrong, and fails then.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cdm_accel.h"
#include "cblas.h"

#define FD	1000	/* of the device */
#define N	128	/* rows, enough for the device */

static struct cdm_accel *shared;	/* of all threads of a program */
static int nr_forks, nr_closed, nr_wrong;
static bool is_child;

static void expect(bool ok, const char *what)
{
	if (!ok)
		fprintf(stderr, "fork: %s\n", what);
	nr_wrong += !ok;
}

int close(int fd)
{
	nr_closed++;
	if (is_child && fd != FD)
		fprintf(stderr, "fork: a child closes file %d\n", fd);
	return 0;
}

static void in_child(void)
{
	is_child = true;
}

/* Called by the library. Any other thread could have called fork() here. */
int open(const char *path, int flags, ...)
{
	int status;
	pid_t pid;

	(void)path;
	(void)flags;
	expect(nr_forks || !shared, "a queue is to be seen too early");
	nr_forks++;
	pid = fork();
	if (!pid)
		_exit(nr_closed);
	expect(waitpid(pid, &status, 0) == pid && !status, "a child closes files");
	return FD;
}

/* All calls succeed, and jobs are done. */
int ioctl(int fd, unsigned long cmd, ...)
{
	struct cdm_accel_wait *wait;
	va_list ap;

	expect(fd == FD, "a call of another file");
	va_start(ap, cmd);
	wait = va_arg(ap, void *);
	va_end(ap);
	if (cmd == CDM_ACCEL_IOC_WAIT)
		wait->status = 0;
	return 0;
}

int main(void)
{
	static float a[N * N], b[N * N], c[N * N];
	int status;
	pid_t pid;

	/* What malloc() returns is not zero by chance. */
	mallopt(M_PERTURB, 0x55);
	pthread_atfork(NULL, NULL, in_child);
	expect(!cdm_accel_open(0, &shared), "no queue");
	cblas_sgemm(CBLAS_ROW_MAJOR, CBLAS_NO_TRANS, CBLAS_NO_TRANS, N, N, N, 1, a,
		    N, b, N, 0, c, N);
	expect(nr_forks == 2, "the device was not opened");
	/* A queue that is open is closed in the child, once. */
	pid = fork();
	if (!pid)
		_exit(nr_closed != 1);
	expect(waitpid(pid, &status, 0) == pid && !status, "the child keeps the queue");
	return nr_wrong ? 1 : 0;
}
