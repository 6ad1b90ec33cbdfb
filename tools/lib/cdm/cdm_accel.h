/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libcdm_accel: the reference accelerator for programs.
 *
 * A struct cdm_accel is a queue of jobs of this process. Jobs take ordinary
 * pointers, and end in any order. All functions return 0 (or what they say) or a
 * negative errno. They may be called by several threads at the same time with
 * the same queue, but for cdm_accel_open() before and cdm_accel_close() after
 * all others. A child needs a queue of its own: it gets -EPERM with that of its
 * parent.
 */
#ifndef _CDM_ACCEL_H
#define _CDM_ACCEL_H

#include <stddef.h>

#include <linux/cdm_accel.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CDM_ACCEL_ANY		(-1)
#define CDM_ACCEL_MAX_DEVICES	16

struct cdm_accel;

int cdm_accel_open(int index, struct cdm_accel **dev);
void cdm_accel_close(struct cdm_accel *dev);
int cdm_accel_fd(const struct cdm_accel *dev);
int cdm_accel_info(struct cdm_accel *dev, struct cdm_accel_info *info);
int cdm_accel_attach(struct cdm_accel *dev, unsigned int flags);

int cdm_accel_submit(struct cdm_accel *dev, unsigned int kernel,
		     const __u64 *args, unsigned int nr_args, __u32 *id);
int cdm_accel_fill(struct cdm_accel *dev, void *dst, __u64 value, size_t size,
		   __u32 *id);
int cdm_accel_sum(struct cdm_accel *dev, const __u64 *src, size_t size,
		  __u32 *id);
int cdm_accel_saxpy(struct cdm_accel *dev, float *y, const float *x, size_t n,
		    float a, __u32 *id);
int cdm_accel_matmul(struct cdm_accel *dev, float *c, const float *a,
		     const float *b, size_t n, __u32 *id);
int cdm_accel_histogram(struct cdm_accel *dev, const void *src, size_t size,
			__u64 *out, __u32 *id);
int cdm_accel_crc32(struct cdm_accel *dev, const void *src, size_t size,
		    __u32 *id);
int cdm_accel_bfs(struct cdm_accel *dev, struct cdm_accel_job_vertex *start,
		  __u64 *queue, size_t len, __u32 *id);
int cdm_accel_tree_insert(struct cdm_accel *dev, __u64 *root,
			  struct cdm_accel_job_node *nodes, size_t n, __u32 *id);
int cdm_accel_atomic_add(struct cdm_accel *dev, __u64 *counter, __u64 addend,
			 __u64 times, __u32 *id);
int cdm_accel_copy(struct cdm_accel *dev, void *dst, const void *src,
		   size_t size, __u32 *id);

int cdm_accel_wait(struct cdm_accel *dev, __u32 id, int timeout_ms,
		   struct cdm_accel_wait *done);
int cdm_accel_finish(struct cdm_accel *dev, __u32 id, __u64 *result);
int cdm_accel_cancel(struct cdm_accel *dev, __u32 id);

long cdm_accel_to_device(struct cdm_accel *dev, void *addr, size_t size);
long cdm_accel_to_ram(struct cdm_accel *dev, void *addr, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* _CDM_ACCEL_H */
