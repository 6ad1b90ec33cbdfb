// SPDX-License-Identifier: GPL-2.0
/*
 * Rings of the BAR, interrupts and errors. The private copy of an index is what
 * counts; of the other side's index nothing is believed but that it is not more
 * than a ring away.
 */
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accel.h"

struct accel_out {
	struct cdm_accel_ring *ring;
	void *entries;
	size_t size;
	__u32 nr, head;
	bool bad;
};

/* A completion for which the ring has no room yet. */
struct accel_late {
	STAILQ_ENTRY(accel_late) list;
	struct cdm_accel_done done;
};

/* Protects all of @done_out, @fault_out, @note_out and @late. Innermost. */
static pthread_mutex_t ring_lock = PTHREAD_MUTEX_INITIALIZER;
static struct accel_out done_out, fault_out, note_out;
static STAILQ_HEAD(, accel_late) late = STAILQ_HEAD_INITIALIZER(late);
static unsigned int nr_late;

static sem_t reporter_wake;
static __s64 lost_irqs;		/* atomic */

static bool lose_irq(void)
{
	__s64 n = __atomic_load_n(&lost_irqs, __ATOMIC_RELAXED);

	while (n > 0) {
		if (__atomic_compare_exchange_n(&lost_irqs, &n, n - 1, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

/* A write fails only if the guest has not looked 2^64 times. */
void accel_raise(int irq)
{
	__u64 one = 1;

	if (lose_irq())
		return;
	if (write(accel.irqs[irq], &one, sizeof(one)) < 0)
		return;
}

void accel_lose_irqs(__u32 nr)
{
	__atomic_store_n(&lost_irqs, nr, __ATOMIC_RELAXED);
}

void accel_error(__u32 bits)
{
	__atomic_fetch_or(&accel.bar->regs.error, bits, __ATOMIC_RELEASE);
	accel_raise(CDM_ACCEL_IRQ_ERROR);
}

/* @error_pa does not change until the driver has cleared the bit. */
void accel_page_error(__u64 pa)
{
	struct cdm_accel_regs *regs = &accel.bar->regs;

	pthread_mutex_lock(&ring_lock);
	if (!(accel_get(&regs->error) & CDM_ACCEL_ERROR_PAGE))
		__atomic_store_n(&regs->error_pa, pa, __ATOMIC_RELAXED);
	accel_error(CDM_ACCEL_ERROR_PAGE);
	pthread_mutex_unlock(&ring_lock);
}

static void check_distance(__u32 distance, __u32 nr, bool *bad)
{
	if (distance <= nr || *bad)
		return;
	*bad = true;
	accel_error(CDM_ACCEL_ERROR_PROTO);
}

/* Entries to take; 0 also if the ring makes no sense, until the next reset. */
__u32 accel_pending(struct accel_in *in)
{
	__u32 nr = accel_get(&in->ring->head) - in->tail;

	check_distance(nr, in->nr, &in->bad);
	return in->bad ? 0 : nr;
}

/* Returns false if there is no room now. What goes to a bad ring is lost. */
static bool push(struct accel_out *out, const void *entry, int irq)
{
	__u32 used = out->head - accel_get(&out->ring->tail);

	check_distance(used, out->nr, &out->bad);
	if (out->bad)
		return true;
	if (used == out->nr)
		return false;
	memcpy((char *)out->entries + out->head % out->nr * out->size, entry, out->size);
	out->head++;
	accel_put(&out->ring->head, out->head);
	accel_raise(irq);
	return true;
}

static void push_late(const struct cdm_accel_done *done)
{
	struct accel_late *entry = accel_alloc(sizeof(*entry));

	entry->done = *done;
	STAILQ_INSERT_TAIL(&late, entry, list);
	nr_late++;
	accel_wake_reporter();
}

/* Never waits and never loses one: what does not fit follows later, in order. */
void accel_complete_now(const struct cdm_accel_done *done)
{
	pthread_mutex_lock(&ring_lock);
	if (!STAILQ_EMPTY(&late) || !push(&done_out, done, CDM_ACCEL_IRQ_DONE))
		push_late(done);
	pthread_mutex_unlock(&ring_lock);
}

/* The answer to a command, or what an adversary makes of it. */
void accel_complete(const struct cdm_accel_done *done, bool job)
{
	if (!accel_answer_badly(done, job))
		accel_complete_now(done);
}

void accel_answer(__u32 id, int status)
{
	struct cdm_accel_done done = { .id = id, .status = status };

	accel_complete(&done, false);
}

static void free_first(void)
{
	struct accel_late *entry = STAILQ_FIRST(&late);

	STAILQ_REMOVE_HEAD(&late, list);
	nr_late--;
	free(entry);
}

static bool push_all_late(void)
{
	bool empty;

	pthread_mutex_lock(&ring_lock);
	while (!STAILQ_EMPTY(&late) &&
	       push(&done_out, &STAILQ_FIRST(&late)->done, CDM_ACCEL_IRQ_DONE))
		free_first();
	empty = STAILQ_EMPTY(&late);
	pthread_mutex_unlock(&ring_lock);
	return empty;
}

unsigned int accel_nr_late(void)
{
	unsigned int nr;

	pthread_mutex_lock(&ring_lock);
	nr = nr_late;
	pthread_mutex_unlock(&ring_lock);
	return nr;
}

void accel_drop_late(void)
{
	pthread_mutex_lock(&ring_lock);
	while (!STAILQ_EMPTY(&late))
		free_first();
	pthread_mutex_unlock(&ring_lock);
}

bool accel_push_fault(const struct cdm_accel_fault *fault)
{
	bool ok;

	pthread_mutex_lock(&ring_lock);
	ok = push(&fault_out, fault, CDM_ACCEL_IRQ_FAULT);
	pthread_mutex_unlock(&ring_lock);
	return ok;
}

bool accel_push_note(const struct cdm_accel_note *note)
{
	bool ok;

	pthread_mutex_lock(&ring_lock);
	ok = push(&note_out, note, CDM_ACCEL_IRQ_NOTE);
	pthread_mutex_unlock(&ring_lock);
	return ok;
}

/* Who leaves something to the reporter has woken it after. */
void accel_wake_reporter(void)
{
	sem_post(&reporter_wake);
}

/* Brings to the rings what had no room in them. */
static void *reporter_thread(void *arg)
{
	(void)arg;
	for (;;) {
		while (sem_wait(&reporter_wake))
			;
		for (;;) {
			bool done = push_all_late();

			if (accel_report_faults() && done)
				break;
			usleep(100);
		}
	}
	return NULL;
}

static void reset_ring(struct cdm_accel_ring *ring)
{
	accel_put(&ring->head, 0);
	accel_put(&ring->tail, 0);
}

static void reset_out(struct accel_out *out, struct cdm_accel_ring *ring, void *entries,
		      size_t size, __u32 nr)
{
	*out = (struct accel_out){ .ring = ring, .entries = entries, .size = size, .nr = nr };
	reset_ring(ring);
}

/* Nobody takes or adds commands or invalidations meanwhile. */
void accel_reset_rings(void)
{
	struct cdm_accel_bar *bar = accel.bar;

	pthread_mutex_lock(&ring_lock);
	reset_ring(&bar->cmd_ring);
	reset_ring(&bar->inval_ring);
	reset_out(&done_out, &bar->done_ring, bar->done, sizeof(bar->done[0]),
		  CDM_ACCEL_DONE_ENTRIES);
	reset_out(&fault_out, &bar->fault_ring, bar->fault, sizeof(bar->fault[0]),
		  CDM_ACCEL_FAULT_ENTRIES);
	reset_out(&note_out, &bar->note_ring, bar->note, sizeof(bar->note[0]),
		  CDM_ACCEL_NOTE_ENTRIES);
	pthread_mutex_unlock(&ring_lock);
}

void accel_start_rings(void)
{
	static pthread_t thread;

	sem_init(&reporter_wake, 0, 0);
	accel_reset_rings();
	accel_thread(&thread, reporter_thread, NULL);
}
