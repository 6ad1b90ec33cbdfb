/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inside the reference accelerator.
 *
 * Threads: main (socket, commands, reset), one per unit (jobs), and one each for
 * invalidations, for the copy engine, for what does not fit in a ring yet and for
 * misdeeds.
 *
 * Locks, outer before inner:
 *
 *   sched_lock > ring_lock
 *   inval_lock > unit->access > counters_lock > ring_lock
 *   copy_lock
 *   sched_lock, inval_lock > bad_lock > ring_lock
 *
 * What the VM can write (the BAR, its memory) is never trusted: indices have
 * private copies here, entries are copied before they are looked at.
 */
#ifndef _ACCEL_H
#define _ACCEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdnoreturn.h>
#include <sys/queue.h>

#include "accel_hw.h"

#define ACCEL_PAGE	4096ull
#define ACCEL_HUGE	(2ull << 20)
#define ACCEL_VA_END	0x1000000000000ull
#define ACCEL_MAX_MAPS	64
#define ACCEL_MAX_UNITS	64
#define ACCEL_VECTORS	4
#define ACCEL_TLB	512
#define ACCEL_KEPT	4096
#define ACCEL_MAX_JOBS	65536	/* more than these are refused, -ENOSPC */
#define ACCEL_MAX_LATE	1024	/* completions that wait before commands do */

#define accel_get(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define accel_put(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define accel_add(p, v)	__atomic_fetch_add(p, v, __ATOMIC_RELAXED)

/*
 * For functions that touch the memory of the VM: programs may race there, which
 * is none of the thread sanitizer's business.
 */
#define ACCEL_RACY	__attribute__((no_sanitize_thread))

enum accel_step {
	ACCEL_MORE,	/* call again */
	ACCEL_END,	/* @status holds */
	ACCEL_FAULT,	/* @fault_va cannot be used */
};

enum accel_state {
	ACCEL_QUEUED,
	ACCEL_RUNNING,
	ACCEL_PARKED,
};

enum accel_stop {
	ACCEL_GO,
	ACCEL_CANCEL,	/* complete with -ECANCELED */
	ACCEL_DISCARD,	/* forget */
};

struct accel_matmul {
	__u64 row, col;		/* of the part of a row of c in @sum */
	__u64 width;		/* of this part; 0: none yet */
	__u64 k, done;		/* next factor, floats of @sum that have it */
	float sum[ACCEL_PAGE / sizeof(float)];
};

struct accel_histogram {
	__u64 counts[256];
	__u64 out;		/* bytes of @counts that were added */
};

struct accel_bfs {
	__u64 head, tail;	/* of the queue */
	__u64 level, edges, nr_edges, edge;	/* of the vertex at @head */
	bool loaded;		/* these are valid */
};

struct accel_tree {
	__u64 node;		/* index */
	__u64 key, link;	/* of this node, va where it may go */
	bool loaded;		/* these are valid */
};

/* A job. All but @stop is under sched_lock, or its unit's while it runs. */
struct accel_job {
	TAILQ_ENTRY(accel_job) all;
	TAILQ_ENTRY(accel_job) wait;	/* runnable, or fault not reported yet */
	struct cdm_accel_cmd cmd;
	__u64 number;			/* in the order of arrival */
	enum accel_state state;
	int stop;			/* enum accel_stop, atomic */
	bool hang, started;

	enum accel_step step;
	int status;
	__u64 result, addr;
	__u64 nr_faults, fault_va, fault_seq;	/* @fault_seq 0: not reported */
	bool fault_write;

	__u64 pos;			/* bytes or elements done */
	union {
		struct accel_matmul matmul;
		struct accel_histogram histogram;
		struct accel_bfs bfs;
		struct accel_tree tree;
		__u32 crc;
	};
};

TAILQ_HEAD(accel_jobs, accel_job);

struct accel_tlb {
	__u64 vpn, pa;
	__u8 *page;
	__u32 asid;
	bool valid, write, poison;
};

struct accel_unit {
	pthread_t thread;
	/*
	 * Protects @tlb and @kept, and makes accesses of jobs atomic for invalidations: held
	 * from before a translation until after its last use. Take it with
	 * accel_lock_unit() elsewhere, since the unit itself hardly lets go of it.
	 */
	pthread_mutex_t access;
	int wanted;			/* threads that wait for @access, atomic */
	struct accel_tlb tlb[ACCEL_TLB];
	struct accel_kept *kept[ACCEL_KEPT];	/* by page, under @access */
};

/* A translation that had to make room in the TLB, but may not be evicted. */
struct accel_kept {
	struct accel_kept *next;
	struct accel_tlb tlb;
};

/* A part of a page that a job is about to use. */
struct accel_span {
	__u64 va;
	__u64 size;
	bool write;
	void *p;			/* set by accel_access() */
};

struct accel_kernel {
	bool (*check)(const __u64 *args);
	void (*step)(struct accel_unit *unit, struct accel_job *job);
};

struct accel {
	struct cdm_accel_bar *bar;
	int bar_fd, client;
	int bells[ACCEL_VECTORS], irqs[ACCEL_VECTORS];
	int nr_units;
	__u64 slice;			/* ns */
	__u64 mem_start, mem_size;
	bool checks;			/* accesses, see check.c */
	bool dead;			/* as @link_down */
	bool link_down;			/* main; others under inval_lock */
	struct accel_unit units[ACCEL_MAX_UNITS];
};

extern struct accel accel;
extern const struct accel_kernel accel_kernels[CDM_ACCEL_JOB_NR];

/* main.c */
noreturn void accel_die(const char *fmt, ...);
void *accel_alloc(size_t size);
void accel_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg);
__u64 accel_now(void);

/* ivshmem.c */
void accel_fill_regs(void);
void accel_prepare(void);
int accel_listen(const char *path);
void accel_accept(int sock);

/* memory.c */
void accel_add_map(__u64 pa, __u64 size, const char *file, __u64 offset);
void accel_own_memory(void);
void *accel_pa(__u64 pa, __u64 size);
void accel_move(void *dst, const void *src, size_t size);
bool accel_poison(__u64 pa);
bool accel_poisoned(__u64 pa);
__u64 accel_find_poison(__u64 pa, __u64 size);
void accel_clear_poison(void);
void accel_wipe_memory(void);
__u64 accel_foreign_page(__u64 n);

/* mmu.c */
bool accel_access(struct accel_unit *unit, struct accel_job *job,
		  struct accel_span *spans, int nr);
void accel_flush_tlbs(void);
void accel_stop_invals(void);
void accel_resume_invals(void);
void accel_start_invals(void);
void accel_hold_invals(bool hold);
void accel_lie_about_invals(void);
void accel_ignore_invals(bool ignore);
void accel_keep_translations(bool keep);

/* check.c */
void accel_check_to(const char *path);
bool accel_check(const struct accel_tlb *e, const char *what);
void accel_expect_strays(bool expected);
void accel_stray(void);

/* rings.c */
void accel_start_rings(void);
void accel_reset_rings(void);
void accel_drop_late(void);
void accel_raise(int irq);
void accel_lose_irqs(__u32 nr);
void accel_error(__u32 bits);
void accel_page_error(__u64 pa);
void accel_complete(const struct cdm_accel_done *done, bool job);
void accel_complete_now(const struct cdm_accel_done *done);
void accel_answer(__u32 id, int status);
bool accel_push_fault(const struct cdm_accel_fault *fault);
bool accel_push_note(const struct cdm_accel_note *note);
void accel_wake_reporter(void);
unsigned int accel_nr_late(void);

struct accel_in {
	struct cdm_accel_ring *ring;
	__u32 nr, tail;
	bool bad;
};

__u32 accel_pending(struct accel_in *in);

/* sched.c */
void accel_start_units(void);
void accel_queue_job(const struct cdm_accel_cmd *cmd, bool hang);
void accel_cancel(__u32 id);
void accel_resume(__u64 seq, __u64 error);
void accel_detach(const struct cdm_accel_cmd *cmd);
void accel_stop_jobs(void);
void accel_spoil_jobs(const struct cdm_accel_cmd *inject);
bool accel_report_faults(void);

/* kernels.c */
void accel_init_kernels(void);
bool accel_range_ok(__u64 va, __u64 nr, __u64 size, __u64 align);
void accel_end(struct accel_job *job, int status);
bool accel_check_bfs(const __u64 *args);
void accel_step_bfs(struct accel_unit *unit, struct accel_job *job);
bool accel_check_tree(const __u64 *args);
void accel_step_tree(struct accel_unit *unit, struct accel_job *job);
bool accel_check_matmul(const __u64 *args);
void accel_step_matmul(struct accel_unit *unit, struct accel_job *job);

/* copy.c */
void accel_start_copies(void);
void accel_queue_copy(const struct cdm_accel_cmd *cmd);
void accel_stop_copies(void);

/* counters.c */
void accel_count(__u32 asid, __u64 va, __u64 size);
void accel_set_counters(__u32 asid, __u64 small, __u64 large);
void accel_clear_counters(void);

/* adversary.c */
enum accel_misdeed {
	ACCEL_LATE,
	ACCEL_ANSWERS,
	ACCEL_EVENTS,
	ACCEL_SCRIBBLE,
};

bool accel_is_bad(enum accel_misdeed misdeed);
void accel_misbehave(enum accel_misdeed misdeed, __u64 seed);
void accel_behave(void);
void accel_dawdle(void);
bool accel_answer_badly(const struct cdm_accel_done *done, bool job);
void accel_remember_fault(const struct cdm_accel_fault *fault);
void accel_start_adversary(void);

/* command.c */
bool accel_commands(void);

/* Bytes of @left at @va that lie in one page. */
static inline __u64 accel_part(__u64 va, __u64 left)
{
	__u64 room = ACCEL_PAGE - va % ACCEL_PAGE;

	return left < room ? left : room;
}

static inline __u64 accel_min(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

#endif /* _ACCEL_H */
