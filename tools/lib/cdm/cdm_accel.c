// SPDX-License-Identifier: GPL-2.0
/*
 * libcdm_accel: the reference accelerator for programs.
 *
 * Each function is one ioctl on a file that does not change, which is why they
 * need no lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cdm_accel.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

struct cdm_accel {
	int fd;
};

static int call(struct cdm_accel *dev, unsigned long cmd, void *arg)
{
	return ioctl(dev->fd, cmd, arg) < 0 ? -errno : 0;
}

static __u64 va(const void *addr)
{
	return (uintptr_t)addr;
}

static int open_index(int index, struct cdm_accel *dev)
{
	struct cdm_accel_info info;
	char path[64];
	int err;

	snprintf(path, sizeof(path), "/dev/cdm_accel%d", index);
	dev->fd = open(path, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0)
		return -errno;
	/* Is it there, or only its file? */
	err = call(dev, CDM_ACCEL_IOC_INFO, &info);
	if (err)
		close(dev->fd);
	return err;
}

static int open_any(struct cdm_accel *dev)
{
	int ret = -ENODEV;

	for (int i = 0; i < CDM_ACCEL_MAX_DEVICES; i++) {
		int err = open_index(i, dev);

		if (!err)
			return 0;
		/* Why the one that is there cannot be had says more. */
		if (err != -ENOENT)
			ret = err;
	}
	return ret;
}

/**
 * cdm_accel_open() - open a queue of jobs
 * @index: of /dev/cdm_accel<index>, or CDM_ACCEL_ANY for the first that works
 * @dev: out: the queue; NULL before it is open, and on failure
 *
 * The queue can submit jobs once it is attached. It is closed by exec.
 *
 * Return: 0, -ENOENT no such device, -ENODEV it is lost, or there is none at
 * all, -EACCES, -ENOMEM.
 */
int cdm_accel_open(int index, struct cdm_accel **dev)
{
	struct cdm_accel *new = malloc(sizeof(*new));
	int err;

	*dev = NULL;
	if (!new)
		return -ENOMEM;
	err = index == CDM_ACCEL_ANY ? open_any(new) : open_index(index, new);
	if (err) {
		free(new);
		return err;
	}
	/* Another thread may fork, and the child close what it sees. */
	__atomic_store_n(dev, new, __ATOMIC_RELEASE);
	return 0;
}

/**
 * cdm_accel_close() - close a queue
 * @dev: the queue, or NULL
 *
 * Jobs that still run are cancelled. No other function may be at work on the
 * queue. In a child this gives up the child's part of the parent's queue, which
 * goes on.
 */
void cdm_accel_close(struct cdm_accel *dev)
{
	if (!dev)
		return;
	close(dev->fd);
	free(dev);
}

/**
 * cdm_accel_fd() - the file behind a queue
 * @dev: the queue
 *
 * For poll(2): it is readable while there are jobs that are done and that nobody
 * has waited for. It belongs to the queue.
 *
 * Return: the descriptor.
 */
int cdm_accel_fd(const struct cdm_accel *dev)
{
	return dev->fd;
}

/**
 * cdm_accel_info() - what device is this?
 * @dev: the queue
 * @info: out: size of its memory, node, number of units
 *
 * Return: 0 or -ENODEV.
 */
int cdm_accel_info(struct cdm_accel *dev, struct cdm_accel_info *info)
{
	return call(dev, CDM_ACCEL_IOC_INFO, info);
}

/**
 * cdm_accel_attach() - attach a queue to the address space of the caller
 * @dev: the queue
 * @flags: CDM_ACCEL_MIGRATE_*; 0: memory stays where it is
 *
 * Jobs that touch memory first do so by the memory policy that the caller has then, or
 * had when it ended.
 *
 * Return: 0, -EBUSY attached already, -EINVAL flags, -ENOSPC too many address
 * spaces, -EDQUOT too many of this process or user, -EAGAIN too many threads,
 * -ENOMEM, -EINTR, -ENODEV.
 */
int cdm_accel_attach(struct cdm_accel *dev, unsigned int flags)
{
	struct cdm_accel_attach attach = { .flags = flags };

	return call(dev, CDM_ACCEL_IOC_ATTACH, &attach);
}

/**
 * cdm_accel_submit() - submit a job of any kind
 * @dev: the queue
 * @kernel: enum cdm_accel_job_kernel
 * @args: arguments of the kernel
 * @nr_args: how many of them; the others are 0
 * @id: out: the job, for cdm_accel_wait(), cdm_accel_finish(), cdm_accel_cancel()
 *
 * Does not wait for the job.
 *
 * Return: 0, -EINVAL no such kernel or too many arguments, -ENXIO not attached,
 * -EPERM not the process that attached, -EAGAIN too many jobs: wait for some,
 * -ENODEV.
 */
int cdm_accel_submit(struct cdm_accel *dev, unsigned int kernel,
		     const __u64 *args, unsigned int nr_args, __u32 *id)
{
	struct cdm_accel_submit submit = { .kernel = kernel };
	int err;

	if (nr_args > CDM_ACCEL_NR_ARGS)
		return -EINVAL;
	memcpy(submit.args, args, nr_args * sizeof(*args));
	err = call(dev, CDM_ACCEL_IOC_SUBMIT, &submit);
	if (!err)
		*id = submit.id;
	return err;
}

#define SUBMIT(dev, kernel, id, ...)					\
({									\
	const __u64 args[] = { __VA_ARGS__ };				\
									\
	cdm_accel_submit(dev, kernel, args, ARRAY_SIZE(args), id);	\
})

/**
 * cdm_accel_fill() - submit a job that fills memory
 * @dev: the queue
 * @dst: what to fill, aligned to 8 bytes
 * @value: with what
 * @size: bytes, a multiple of 8
 * @id: out: the job
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_fill(struct cdm_accel *dev, void *dst, __u64 value, size_t size,
		   __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_FILL, id, va(dst), value, size);
}

/**
 * cdm_accel_sum() - submit a job that adds up words
 * @dev: the queue
 * @src: the words
 * @size: bytes, a multiple of 8
 * @id: out: the job; its result is the sum modulo 2^64
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_sum(struct cdm_accel *dev, const __u64 *src, size_t size,
		  __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_SUM, id, va(src), size);
}

/**
 * cdm_accel_saxpy() - submit a job that computes y += a * x
 * @dev: the queue
 * @y: vector
 * @x: vector
 * @n: elements of each
 * @a: factor
 * @id: out: the job
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_saxpy(struct cdm_accel *dev, float *y, const float *x, size_t n,
		    float a, __u32 *id)
{
	__u32 bits;

	memcpy(&bits, &a, sizeof(bits));
	return SUBMIT(dev, CDM_ACCEL_JOB_SAXPY, id, va(y), va(x), n, bits);
}

/**
 * cdm_accel_matmul() - submit a job that computes c = a * b
 * @dev: the queue
 * @c: matrix, n rows of n elements, apart from the others
 * @a: matrix
 * @b: matrix
 * @n: rows, at most 65536
 * @id: out: the job
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_matmul(struct cdm_accel *dev, float *c, const float *a,
		     const float *b, size_t n, __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_MATMUL, id, va(c), va(a), va(b), n);
}

/**
 * cdm_accel_histogram() - submit a job that counts how often each byte occurs
 * @dev: the queue
 * @src: bytes
 * @size: how many
 * @out: 256 counters, which it adds to
 * @id: out: the job
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_histogram(struct cdm_accel *dev, const void *src, size_t size,
			__u64 *out, __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_HISTOGRAM, id, va(src), size, va(out));
}

/**
 * cdm_accel_crc32() - submit a job that computes a check sum
 * @dev: the queue
 * @src: bytes
 * @size: how many
 * @id: out: the job; its result is the CRC-32 of zlib, PNG and Ethernet
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_crc32(struct cdm_accel *dev, const void *src, size_t size,
		    __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_CRC32, id, va(src), size);
}

/**
 * cdm_accel_bfs() - submit a job that searches a graph, breadth first
 * @dev: the queue
 * @start: where to start; level of all vertices is CDM_ACCEL_UNREACHED
 * @queue: room for one entry for each vertex
 * @len: entries of @queue; the job ends with -ENOSPC if there are too few
 * @id: out: the job; its result is the number of vertices reached
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_bfs(struct cdm_accel *dev, struct cdm_accel_job_vertex *start,
		  __u64 *queue, size_t len, __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_BFS, id, va(start), va(queue), len);
}

/**
 * cdm_accel_tree_insert() - submit a job that inserts nodes into a binary tree
 * @dev: the queue
 * @root: holds the address of the first node, or 0
 * @nodes: keys, and children that are 0
 * @n: number of @nodes
 * @id: out: the job; its result is the number of nodes that were inserted: those
 *	whose key was there already are left out
 *
 * CPUs and other jobs may insert at the same time, with compare-and-swap on
 * @root and struct cdm_accel_job_node.child.
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_tree_insert(struct cdm_accel *dev, __u64 *root,
			  struct cdm_accel_job_node *nodes, size_t n, __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_TREE_INSERT, id, va(root), va(nodes),
		      n);
}

/**
 * cdm_accel_atomic_add() - submit a job that adds to a counter, atomically
 * @dev: the queue
 * @counter: where
 * @addend: what
 * @times: how often
 * @id: out: the job; its result is the last value seen
 *
 * CPUs and other jobs may use atomic operations on it at the same time.
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_atomic_add(struct cdm_accel *dev, __u64 *counter, __u64 addend,
			 __u64 times, __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_ATOMIC_ADD, id, va(counter), addend,
		      times);
}

/**
 * cdm_accel_copy() - submit a job that copies memory
 * @dev: the queue
 * @dst: where to, apart from the source
 * @src: where from
 * @size: bytes
 * @id: out: the job
 *
 * Return: as cdm_accel_submit().
 */
int cdm_accel_copy(struct cdm_accel *dev, void *dst, const void *src,
		   size_t size, __u32 *id)
{
	return SUBMIT(dev, CDM_ACCEL_JOB_COPY, id, va(dst), va(src), size);
}

/**
 * cdm_accel_wait() - wait for a job and forget it
 * @dev: the queue
 * @id: the job; 0: any that is done, or the first that will be
 * @timeout_ms: -1: forever; 0: do not wait
 * @done: out, or NULL: id, status, result, faults and address of the job
 *
 * A job that failed is no failure of this function: see @done->status.
 *
 * Return: 0, -ENOENT no such job, -ETIME, -EINTR, -EPERM, -ENODEV.
 */
int cdm_accel_wait(struct cdm_accel *dev, __u32 id, int timeout_ms,
		   struct cdm_accel_wait *done)
{
	struct cdm_accel_wait wait = { .id = id, .timeout_ms = timeout_ms };
	int err = call(dev, CDM_ACCEL_IOC_WAIT, &wait);

	if (!err && done)
		*done = wait;
	return err;
}

/**
 * cdm_accel_finish() - wait for a job, whatever it takes
 * @dev: the queue
 * @id: the job
 * @result: out, or NULL: its result
 *
 * Signals do not interrupt it.
 *
 * Return: 0 if the job has done its work, or what ended it, as -EFAULT, or
 * -ENOENT no such job, -EPERM, -ENODEV.
 */
int cdm_accel_finish(struct cdm_accel *dev, __u32 id, __u64 *result)
{
	struct cdm_accel_wait done;
	int err;

	do {
		err = cdm_accel_wait(dev, id, -1, &done);
	} while (err == -EINTR);
	if (err)
		return err;
	if (result)
		*result = done.result;
	return done.status;
}

/**
 * cdm_accel_cancel() - end a job early
 * @dev: the queue
 * @id: the job
 *
 * The job ends with -ECANCELED unless it was faster. It is still to be waited
 * for.
 *
 * Return: 0, -ENOENT no such job, -EPERM, -ENODEV.
 */
int cdm_accel_cancel(struct cdm_accel *dev, __u32 id)
{
	return call(dev, CDM_ACCEL_IOC_CANCEL, &id);
}

static long move(struct cdm_accel *dev, void *addr, size_t size, int to_device)
{
	__u64 page = sysconf(_SC_PAGESIZE);
	__u64 start = va(addr) & ~(page - 1);
	__u64 end = (va(addr) + size + page - 1) & ~(page - 1);
	struct cdm_accel_move arg = {
		.addr = start,
		.size = end - start,
		.to_device = to_device,
	};
	int err;

	if (!size)
		return 0;
	err = call(dev, CDM_ACCEL_IOC_MOVE, &arg);
	return err ? err : (long)arg.nr_left;
}

/**
 * cdm_accel_to_device() - move memory to the device
 * @dev: the queue, attached
 * @addr: start, not necessarily that of a page
 * @size: bytes
 *
 * All pages that hold a part of the range move, and keep their contents. This
 * is never needed for a job to be right, only for it to be fast.
 *
 * Return: the number of pages that did not move, or -ENXIO not attached, -EPERM,
 * -ENODEV.
 */
long cdm_accel_to_device(struct cdm_accel *dev, void *addr, size_t size)
{
	return move(dev, addr, size, 1);
}

/**
 * cdm_accel_to_ram() - move memory back to RAM
 * @dev: the queue, attached
 * @addr: start, not necessarily that of a page
 * @size: bytes
 *
 * Return: as cdm_accel_to_device().
 */
long cdm_accel_to_ram(struct cdm_accel *dev, void *addr, size_t size)
{
	return move(dev, addr, size, 0);
}
