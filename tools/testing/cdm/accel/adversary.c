// SPDX-License-Identifier: GPL-2.0
/*
 * The device as an adversary: answers, events and writes to the BAR that no driver
 * should have to expect, but that hardware may come up with. What the device may access
 * does not change by any of this.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accel.h"

#define MAX_LATE_NS	20000000ull
#define NR_OLD		16
#define SCRIBBLE_TICKS	8
#define NR_BAD		9

/* An answer that waits for its time. */
struct pending {
	STAILQ_ENTRY(pending) list;
	struct cdm_accel_done done;
	__u64 due;
};

/* Protects what follows, and holds off what the thread does. sched_lock is outside. */
static pthread_mutex_t bad_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t misbehaves = PTHREAD_COND_INITIALIZER;
static STAILQ_HEAD(pendings, pending) pending = STAILQ_HEAD_INITIALIZER(pending);
static struct cdm_accel_fault old_faults[NR_OLD];
static __u32 old_ids[NR_OLD];
static __u32 nr_old_faults, nr_old_ids;
static __u64 state;
static __u32 misdeeds;			/* bits of enum accel_misdeed; atomic */

static __u32 rnd(__u32 n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (state >> 33) % n;
}

static __u64 rnd64(void)
{
	return (__u64)rnd(1u << 31) << 42 ^ (__u64)rnd(1u << 31) << 21 ^ rnd(1u << 31);
}

bool accel_is_bad(enum accel_misdeed misdeed)
{
	return __atomic_load_n(&misdeeds, __ATOMIC_RELAXED) >> misdeed & 1;
}

static void free_first(void)
{
	struct pending *first = STAILQ_FIRST(&pending);

	STAILQ_REMOVE_HEAD(&pending, list);
	free(first);
}

/* The end of all misdeeds, and of answers that have not been given. */
void accel_behave(void)
{
	pthread_mutex_lock(&bad_lock);
	__atomic_store_n(&misdeeds, 0, __ATOMIC_RELAXED);
	while (!STAILQ_EMPTY(&pending))
		free_first();
	nr_old_faults = 0;
	nr_old_ids = 0;
	pthread_mutex_unlock(&bad_lock);
}

/* Before an invalidation is carried out, which until then is none. */
void accel_dawdle(void)
{
	__u32 us;

	pthread_mutex_lock(&bad_lock);
	us = rnd(2000);
	pthread_mutex_unlock(&bad_lock);
	usleep(us);
}

static void answer_late(const struct cdm_accel_done *done)
{
	struct pending *late = accel_alloc(sizeof(*late));

	late->done = *done;
	late->due = accel_now() + rnd(MAX_LATE_NS);
	STAILQ_INSERT_TAIL(&pending, late, list);
}

static void garble(struct cdm_accel_done *done)
{
	done->status = rnd(2) ? (int)rnd64() : -(int)rnd(4096);
	done->result = rnd64();
	done->addr = rnd64();
	done->nr_faults = rnd64();
}

/* To nothing that was asked, or to what has been answered. */
static void answer_unasked(const struct cdm_accel_done *done)
{
	struct cdm_accel_done more = *done;

	if (rnd(2))
		garble(&more);
	switch (rnd(3)) {
	case 0:
		more.id = rnd(2) ? 0 : 1u << 31 | rnd64();
		break;
	case 1:
		more.id = old_ids[rnd(nr_old_ids < NR_OLD ? nr_old_ids : NR_OLD)];
		break;
	}
	answer_late(&more);
}

/* Never leaves out any but those of jobs: without the others the driver gives up. */
static void answer_badly(struct cdm_accel_done done, bool job)
{
	old_ids[nr_old_ids++ % NR_OLD] = done.id;
	if (!rnd(4))
		answer_unasked(&done);
	if (job && !rnd(8))
		return;
	if (job && !rnd(8))
		garble(&done);
	answer_late(&done);
}

/* Returns whether the answer is taken care of, in some way. */
bool accel_answer_badly(const struct cdm_accel_done *done, bool job)
{
	bool bad = true;

	pthread_mutex_lock(&bad_lock);
	if (accel_is_bad(ACCEL_ANSWERS))
		answer_badly(*done, job);
	else if (accel_is_bad(ACCEL_LATE))
		answer_late(done);
	else
		bad = false;
	pthread_mutex_unlock(&bad_lock);
	return bad;
}

/* A fault that has been reported may be reported again, at any time. */
void accel_remember_fault(const struct cdm_accel_fault *fault)
{
	pthread_mutex_lock(&bad_lock);
	old_faults[nr_old_faults++ % NR_OLD] = *fault;
	pthread_mutex_unlock(&bad_lock);
}

/* All that is due, also when misdeeds have ended. */
static void give_answers(void)
{
	struct pendings wait = STAILQ_HEAD_INITIALIZER(wait);
	__u64 now = accel_now();

	while (!STAILQ_EMPTY(&pending)) {
		struct pending *first = STAILQ_FIRST(&pending);

		if (first->due <= now || !misdeeds) {
			accel_complete_now(&first->done);
			free_first();
		} else {
			STAILQ_REMOVE_HEAD(&pending, list);
			STAILQ_INSERT_TAIL(&wait, first, list);
		}
	}
	STAILQ_CONCAT(&pending, &wait);
}

/* From now on with that @seed, or not any more: 0. In the end all answers are given. */
void accel_misbehave(enum accel_misdeed misdeed, __u64 seed)
{
	pthread_mutex_lock(&bad_lock);
	if (seed) {
		state = seed;
		__atomic_fetch_or(&misdeeds, 1u << misdeed, __ATOMIC_RELAXED);
		pthread_cond_signal(&misbehaves);
	} else {
		__atomic_fetch_and(&misdeeds, ~(1u << misdeed), __ATOMIC_RELAXED);
		give_answers();
	}
	pthread_mutex_unlock(&bad_lock);
}

static __u64 bad_address(void)
{
	static const __u64 bad[NR_BAD] = {
		0, ACCEL_PAGE, (1ull << 47) - ACCEL_PAGE, 1ull << 47, ACCEL_VA_END, -ACCEL_PAGE,
		0xffff888000000000, 0xffffffff81000000, 0xffffffffff600000,
	};

	return rnd(2) ? bad[rnd(NR_BAD)] : rnd64();
}

static __u32 bad_asid(void)
{
	switch (rnd(3)) {
	case 0:
		return ~0u;
	case 1:
		return rnd64();
	default:
		return rnd(CDM_ACCEL_MAX_ASIDS);
	}
}

static void tell_fault(void)
{
	struct cdm_accel_fault fault = {
		.seq = 1ull << 63 | rnd64(),
		.addr = bad_address(),
		.asid = bad_asid(),
		.write = rnd64(),
		.id = rnd64(),
	};

	if (nr_old_faults && rnd(2))
		fault = old_faults[rnd(nr_old_faults < NR_OLD ? nr_old_faults : NR_OLD)];
	accel_push_fault(&fault);
}

static void tell_note(void)
{
	struct cdm_accel_note note = {
		.addr = bad_address(),
		.count = rnd64(),
		.asid = bad_asid(),
		.shift = rnd(2) ? rnd(64) : rnd64(),
	};

	accel_push_note(&note);
}

/* Any bytes in any entry of a ring that the device fills. */
static void scribble_entry(void)
{
	struct cdm_accel_bar *bar = accel.bar;
	void *entries[] = { bar->done, bar->fault, bar->note };
	__u32 size[] = { sizeof(bar->done), sizeof(bar->fault), sizeof(bar->note) };
	int ring = rnd(3);
	__u64 *word = (__u64 *)entries[ring] + rnd(size[ring] / 8);

	__atomic_store_n(word, rnd64(), __ATOMIC_RELAXED);
}

/*
 * An index of the device's; but that of invalidations is nowhere where it would say
 * that something was forgotten which was not.
 */
static void scribble_index(void)
{
	struct cdm_accel_bar *bar = accel.bar;

	switch (rnd(5)) {
	case 0:
		accel_put(&bar->done_ring.head, rnd64());
		break;
	case 1:
		accel_put(&bar->fault_ring.head, rnd64());
		break;
	case 2:
		accel_put(&bar->note_ring.head, rnd64());
		break;
	case 3:
		accel_put(&bar->cmd_ring.tail, rnd64());
		break;
	default:
		accel_put(&bar->inval_ring.tail, accel_get(&bar->inval_ring.head) + (1u << 30) +
						 rnd(1u << 30));
	}
}

/* What is not read after the driver has found the device, and errors. */
static void scribble_regs(void)
{
	struct cdm_accel_regs *regs = &accel.bar->regs;

	switch (rnd(6)) {
	case 0:
		__atomic_store_n(&regs->mem_start, rnd64(), __ATOMIC_RELAXED);
		break;
	case 1:
		__atomic_store_n(&regs->mem_size, rnd64(), __ATOMIC_RELAXED);
		break;
	case 2:
		__atomic_store_n(&regs->bell_peer, rnd64(), __ATOMIC_RELAXED);
		break;
	case 3:
		__atomic_store_n(&regs->reset_done, rnd64(), __ATOMIC_RELAXED);
		break;
	default:
		/* A page that it has no business to say anything about */
		__atomic_store_n(&regs->error_pa, accel_foreign_page(rnd64()), __ATOMIC_RELAXED);
		accel_error(rnd64());
	}
}

static void scribble(void)
{
	switch (rnd(16)) {
	case 0:
		scribble_index();
		break;
	case 1:
	case 2:
		scribble_regs();
		break;
	default:
		scribble_entry();
	}
}

static void misbehave(void)
{
	give_answers();
	if (accel_is_bad(ACCEL_EVENTS)) {
		tell_fault();
		tell_note();
	}
	if (accel_is_bad(ACCEL_SCRIBBLE) && !rnd(SCRIBBLE_TICKS))
		scribble();
}

static void *adversary_thread(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&bad_lock);
	for (;;) {
		while (!misdeeds && STAILQ_EMPTY(&pending))
			pthread_cond_wait(&misbehaves, &bad_lock);
		misbehave();
		pthread_mutex_unlock(&bad_lock);
		usleep(1000);
		pthread_mutex_lock(&bad_lock);
	}
	return NULL;
}

void accel_start_adversary(void)
{
	static pthread_t thread;

	accel_thread(&thread, adversary_thread, NULL);
}
