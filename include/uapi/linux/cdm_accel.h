/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The reference accelerator: /dev/cdm_accel<N>.
 *
 * An open file is a queue of jobs. It is attached to the address space of the
 * process that attaches it, and the jobs' arguments are ordinary pointers into
 * that: whatever the process may read or write there, a job may, no more. Of
 * protection keys (pkeys(7)) it has the rights of the thread that attaches, at that
 * moment; it does not write to shadow stacks.
 * Another process that inherits the file gets -EPERM.
 *
 * Once the device is lost or its driver unbound, calls fail with -ENODEV; jobs
 * that were running end with that status, and can still be waited for. poll()
 * says POLLIN while there is a job that is done and nobody has waited for, and
 * POLLHUP when the device is gone.
 *
 * When the device is suspended, jobs end with -ECANCELED, and memory that is on
 * the device comes home to RAM. Calls but that which waits for a job do not
 * return before the device has been resumed, or a signal comes.
 */
#ifndef _UAPI_LINUX_CDM_ACCEL_H
#define _UAPI_LINUX_CDM_ACCEL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CDM_ACCEL_NR_ARGS	8

/*
 * Kernels, with their arguments and what is in the result. All data are at
 * addresses of the process, aligned to their own size, or the job ends with
 * -EINVAL. Float is IEEE single. A job without anything to do succeeds.
 *
 * FILL		dst, value (u64), size in bytes, a multiple of 8
 * SUM		src (u64[]), size in bytes; result: sum modulo 2^64
 * SAXPY	y (float[]), x (float[]), n, bits of the float a: y += a * x
 * MATMUL	c, a, b (float[n][n], rows), n, at most 65536: c = a * b
 * HISTOGRAM	src (u8[]), size, out (u64[256], added to)
 * CRC32	src (u8[]), size; result: CRC-32 as that of zlib
 * BFS		start (struct cdm_accel_job_vertex *), queue (u64[]), its length;
 *		result: vertices reached
 * TREE_INSERT	root (u64 *), nodes (struct cdm_accel_job_node[]), n; result:
 *		nodes inserted
 * ATOMIC_ADD	counter (u64 *), addend, times; result: value before the last
 *		addition
 * COPY		dst, src, size in bytes
 */
enum cdm_accel_job_kernel {
	CDM_ACCEL_JOB_FILL		= 0,
	CDM_ACCEL_JOB_SUM		= 1,
	CDM_ACCEL_JOB_SAXPY		= 2,
	CDM_ACCEL_JOB_MATMUL		= 3,
	CDM_ACCEL_JOB_HISTOGRAM		= 4,
	CDM_ACCEL_JOB_CRC32		= 5,
	CDM_ACCEL_JOB_BFS		= 6,
	CDM_ACCEL_JOB_TREE_INSERT	= 7,
	CDM_ACCEL_JOB_ATOMIC_ADD	= 8,
	CDM_ACCEL_JOB_COPY		= 9,
	/* private: */
	CDM_ACCEL_JOB_NR
};

/* @level of a vertex that has not been reached. */
#define CDM_ACCEL_UNREACHED	(~0ULL)

/**
 * struct cdm_accel_job_vertex - a vertex of a graph
 * @nr_edges: number of edges
 * @edges: address of u64[@nr_edges], each the address of a vertex
 * @level: distance from the start; CDM_ACCEL_UNREACHED before, in all vertices. A
 *	queue that is too short for the search ends the job with -ENOSPC
 */
struct cdm_accel_job_vertex {
	__u64 nr_edges;
	__u64 edges;
	__u64 level;
};

/**
 * struct cdm_accel_job_node - a node of a binary search tree
 * @key: smaller keys are to the left; one that is there is not inserted again
 * @child: addresses, 0 for none. Nodes are linked in with compare-and-swap, so
 *	that CPUs and several jobs may insert at the same time
 */
struct cdm_accel_job_node {
	__u64 key;
	__u64 child[2];
};

/**
 * struct cdm_accel_info - what device is this?
 * @mem_size: bytes of its memory
 * @nid: the device node, or -1 while it has none
 * @nr_units: jobs that run at the same time
 */
struct cdm_accel_info {
	__u64 mem_size;
	__s32 nid;
	__u32 nr_units;
};

/* Flags of struct cdm_accel_attach. */
/* Memory that a job touches for the first time moves to the device. */
#define CDM_ACCEL_MIGRATE_ON_FAULT	(1 << 0)
/* Memory that jobs touch often does, by access counters. */
#define CDM_ACCEL_MIGRATE_ON_HINT	(1 << 1)
/*
 * What jobs touch counts as used, and is not what eviction takes first; with
 * kernel.numa_balancing=4 it moves to the device if that uses it more than CPUs. By
 * access counters,
 */
#define CDM_ACCEL_REPORT_ACCESSES	(1 << 2)
/* by page faults, as a device without them would, */
#define CDM_ACCEL_REPORT_FAULTS		(1 << 3)
/* or by samples of the counters, where they are too many. */
#define CDM_ACCEL_REPORT_SAMPLES	(1 << 4)

/**
 * struct cdm_accel_attach - attach the file to the caller's address space
 * @flags: CDM_ACCEL_*, see above; without any, memory stays where it is
 * @asid: out: number of the address space on the device
 *
 * Threads are made that resolve the faults of jobs, with the memory policy that the
 * caller has by then. Errors: -EBUSY attached already, -EINVAL flags, -ENOSPC too many address
 * spaces, -EDQUOT too many of the process or, without CAP_SYS_RESOURCE, of the user,
 * -EAGAIN too many threads, -ENOMEM, -EINTR.
 */
struct cdm_accel_attach {
	__u32 flags;
	__u32 asid;
};

/**
 * struct cdm_accel_submit - submit a job
 * @kernel: enum cdm_accel_job_kernel
 * @id: out: for cdm_accel_wait and CANCEL
 * @args: arguments
 *
 * Errors: -EINVAL no such kernel, -ENXIO not attached, -EPERM not the process
 * that attached, -EAGAIN too many jobs: wait for some.
 */
struct cdm_accel_submit {
	__u32 kernel;
	__u32 id;
	__u64 args[CDM_ACCEL_NR_ARGS];
};

/**
 * struct cdm_accel_wait - wait for a job and forget it
 * @id: the job; 0 for any that is done or the first that will be; out: its id
 * @timeout_ms: -1 forever, 0 do not wait
 * @status: out: 0, or what ended the job: -EFAULT, -ECANCELED (by CANCEL, 10 s
 *	later at most if the device does not say that it has ended; also: by a
 *	suspend), -EINVAL, -EHWPOISON, -ENOSPC (also: too many jobs for the
 *	device), -EIO the device says what makes no sense, -ENODEV
 * @nr_faults: out: page faults the job took
 * @result: out: as the kernel's description says
 * @addr: out: the address, for -EFAULT and -EHWPOISON
 *
 * Errors: -ENOENT no such job, -ETIME, -EINTR, -EINVAL @timeout_ms.
 */
struct cdm_accel_wait {
	__u32 id;
	__s32 timeout_ms;
	__s32 status;
	__u32 nr_faults;
	__u64 result;
	__u64 addr;
};

/**
 * struct cdm_accel_move - move memory to the device, or back to RAM
 * @addr: page aligned
 * @size: bytes, a multiple of the page size
 * @to_device: 1 or 0
 * @nr_left: out: pages that are there and did not move
 *
 * The file need not be attached. Errors: -EINVAL bad range, -EACCES cpuset.mems
 * does not hold the device node, -EINTR, -ENOMEM.
 */
struct cdm_accel_move {
	__u64 addr;
	__u64 size;
	__u32 to_device;
	__u32 nr_left;
};

#define CDM_ACCEL_IOC_INFO	_IOR('c', 0xa0, struct cdm_accel_info)
#define CDM_ACCEL_IOC_ATTACH	_IOWR('c', 0xa1, struct cdm_accel_attach)
#define CDM_ACCEL_IOC_SUBMIT	_IOWR('c', 0xa2, struct cdm_accel_submit)
#define CDM_ACCEL_IOC_WAIT	_IOWR('c', 0xa3, struct cdm_accel_wait)
/* End a job early, unless it is done. Error: -ENOENT no such job. */
#define CDM_ACCEL_IOC_CANCEL	_IOW('c', 0xa4, __u32)
#define CDM_ACCEL_IOC_MOVE	_IOWR('c', 0xa5, struct cdm_accel_move)

#endif /* _UAPI_LINUX_CDM_ACCEL_H */
