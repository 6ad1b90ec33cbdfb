/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The test of the accelerator plays QEMU, the driver and the processes. What the
 * other side needs is here; tests are in selftest_*.c and listed in
 * accel_selftest.c.
 *
 * Virtual memory of a test is a window of pages that are scattered over RAM and
 * device memory; page tables lie at the start of RAM.
 */
#ifndef _SELFTEST_H
#define _SELFTEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdnoreturn.h>
#include <sys/types.h>

#include "accel_hw.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define PAGE		4096ull
#define HUGE		(2ull << 20)
#define RAM_PA		0x40000000ull	/* in two maps, as around a hole for PCI */
#define RAM_HIGH_PA	0x100000000ull
#define RAM_HALF	(16ull << 20)
#define DEV_PA		0x200000000ull
#define DEV_SIZE	(16ull << 20)
#define NOWHERE_PA	0x300000000ull
#define WINDOW		0x7f1234600000ull
#define WINDOW_PAGES	6144
#define NR_SPACES	4
#define RW		(CDM_ACCEL_PTE_VALID | CDM_ACCEL_PTE_WRITE)
#define RO		CDM_ACCEL_PTE_VALID
#define USER		0x04ull		/* of the CPUs' page tables */

#define get(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define put(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)

/* A condition of the test at hand; it goes on all the same. */
#define expect(cond)	expect_at(cond, #cond, __FILE__, __LINE__)

struct device {
	pid_t pid;
	int sock, units;
	struct cdm_accel_bar *bar;
	int bells[4], irqs[4];
	__u32 done_tail, fault_tail, note_tail;
	__u64 irq_count[4];		/* since the last reset */
};

extern struct device dev;
extern __u32 seed;

/* selftest_device.c: the process and its registers */
noreturn void bail(const char *what);
void expect_at(bool ok, const char *cond, const char *file, int line);
bool take_failure(void);
__u32 rnd(void);
__u64 rnd64(void);
void make_memory(void);
pid_t spawn_device(int units, const char *path);
int connect_device(const char *path);
void start_device(int units);
int stop_device(void);
void reset_device(void);
void start_over(void);
int run_device(char **args);
extern char socket_path[];

/* Patience: false when it has come to an end. Bails out by itself in must_wait(). */
bool poll_irqs(int ms);
void must_wait(__u64 *start, const char *what);

/* Commands and rings */
__u32 send_cmd(const struct cdm_accel_cmd *cmd);
__u32 send_op(__u32 op, __u32 asid, __u64 arg0, __u64 arg1);
__u32 send_job(__u32 kernel, const __u64 *args);
__u32 send_job_of(__u32 asid, __u32 kernel, const __u64 *args);
void cancel(__u32 id);
void resume(__u64 seq, int error);
void raw_bell(int bell);
bool poll_done(void);
bool is_done(__u32 id);
__u32 order_of(__u32 id);
struct cdm_accel_done wait_done(__u32 id);
struct cdm_accel_done run_job(__u32 kernel, const __u64 *args);
struct cdm_accel_done run_op(__u32 op, __u32 asid, __u64 arg0, __u64 arg1);
bool take_fault(struct cdm_accel_fault *fault);
struct cdm_accel_fault wait_fault(void);
bool take_note(struct cdm_accel_note *note);
void invalidate(__u32 asid, __u64 start, __u64 end);
__u32 post_inval(__u32 asid, __u64 start, __u64 end);
__u32 nr_unknown(void);

/* Memory */
void *pa_ptr(__u64 pa);
__u64 new_page(void);
__u64 new_huge_page(void);
void set_pte(__u32 asid, __u64 va, __u64 pte);
void set_huge_pte(__u32 asid, __u64 va, __u64 pte);
void set_cpu_pte(__u32 asid, __u64 va, __u64 pte, int last);
void show_cpu_table(__u32 asid);
int nr_reported(void);
__u64 backing(__u32 asid, __u64 va);
__u64 new_range(__u64 size, __u64 offset);
__u64 new_range_of(__u32 asid, __u64 size, __u64 offset);
void unmap(__u32 asid, __u64 va, __u64 size);
void map_range(__u32 asid, __u64 va, __u64 size, __u64 flags);
void *host(__u64 va);
void write_va(__u64 va, const void *src, __u64 size);
void read_va(__u64 va, void *dst, __u64 size);
void write64(__u64 va, __u64 value);
__u64 read64(__u64 va);

/* Tests */
void test_protocol(void);
void test_arguments(void);
void test_commands(void);
void test_fill(void);
void test_sum(void);
void test_saxpy(void);
void test_matmul(void);
void test_histogram(void);
void test_crc32(void);
void test_bfs(void);
void test_tree(void);
void test_atomic_add(void);
void test_copy_va(void);
void test_huge(void);
void test_bad_jobs(void);
void test_outside(void);
void test_fault(void);
void test_fault_error(void);
void test_write_protection(void);
void test_pager(void);
void test_fault_ring_full(void);
void test_parked(void);
void test_invalidate(void);
void test_preempt(void);
void test_cancel(void);
void test_detach(void);
void test_counters(void);
void test_counters_full(void);
void test_copy(void);
void test_copy_bad(void);
void test_hang(void);
void test_lost_irq(void);
void test_hold_invals(void);
void test_stray(void);
void test_keep(void);
void test_misdeeds(void);
void test_scribble(void);
void test_dead(void);
void test_bad_page(void);
void test_done_ring_full(void);
void test_bad_rings(void);
void test_reset(void);
void test_inval_stress(void);
void test_atomic_stress(void);
void test_tree_stress(void);
void test_fuzz(void);
void test_link_down(void);
void test_exit(void);
void test_parent(void);

#endif /* _SELFTEST_H */
