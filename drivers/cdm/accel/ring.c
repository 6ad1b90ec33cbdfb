// SPDX-License-Identifier: GPL-2.0
/*
 * Reference accelerator: the rings that the driver and the device share.
 *
 * What the device writes is not trusted: entries are copied before they are
 * looked at, and a ring that makes no sense is a lost device.
 */
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "accel.h"

#define ACCEL_BELL		12	/* in BAR 0: (peer << 16) | vector */
#define ACCEL_PATIENCE		(10 * HZ)	/* for the device to do anything */

static void accel_ring_bell(struct accel *accel, u32 bell)
{
	u32 peer = READ_ONCE(accel->bar->regs.bell_peer);

	writel(peer << 16 | bell, accel->bells + ACCEL_BELL);
}

bool accel_link_is_down(struct accel *accel)
{
	return READ_ONCE(accel->bar->regs.magic) != CDM_ACCEL_MAGIC;
}

void accel_rings_init(struct accel *accel)
{
	spin_lock_init(&accel->cmd_lock);
	spin_lock_init(&accel->inval_lock);
	mutex_init(&accel->drain_lock);
	xa_init_flags(&accel->calls, XA_FLAGS_ALLOC1);
}

/* Entries that the consumer has not taken yet. */
static u32 accel_ring_used(struct cdm_accel_ring *ring)
{
	/* What the consumer has taken, it does not read any more. */
	return READ_ONCE(ring->head) - smp_load_acquire(&ring->tail);
}

static bool accel_try_push(struct accel *accel, const struct cdm_accel_cmd *cmd)
{
	struct cdm_accel_ring *ring = &accel->bar->cmd_ring;
	bool room;

	spin_lock(&accel->cmd_lock);
	room = accel_ring_used(ring) < CDM_ACCEL_CMD_ENTRIES;
	if (room) {
		accel->bar->cmd[ring->head % CDM_ACCEL_CMD_ENTRIES] = *cmd;
		/* The entry comes before. */
		smp_store_release(&ring->head, ring->head + 1);
	}
	spin_unlock(&accel->cmd_lock);
	return room;
}

/*
 * Send a command. The device takes commands off the ring at once, so there will
 * soon be room. The caller holds @sem for reading, or knows the device is there.
 */
int accel_push(struct accel *accel, const struct cdm_accel_cmd *cmd)
{
	unsigned long timeout = jiffies + ACCEL_PATIENCE;

	if (READ_ONCE(accel->gone))
		return -ENODEV;
	while (!accel_try_push(accel, cmd)) {
		if (accel_link_is_down(accel) || time_after(jiffies, timeout)) {
			accel_lose(accel);
			return -ENODEV;
		}
		usleep_range(50, 200);
	}
	accel_ring_bell(accel, CDM_ACCEL_BELL_CMD);
	return 0;
}

/* Send a command; @call->fn is called when it is answered, unless this fails. */
int accel_call_start(struct accel *accel, struct accel_call *call,
		     struct cdm_accel_cmd *cmd)
{
	int ret;

	u32 id;

	ret = xa_alloc_cyclic(&accel->calls, &id, NULL, xa_limit_31b,
			      &accel->next_id, GFP_KERNEL);
	if (ret < 0)
		return ret;
	call->id = id;
	cmd->id = id;
	xa_store(&accel->calls, id, call, GFP_KERNEL);
	/* Pairs with the one in accel_end_calls(): it or accel_push() sees. */
	smp_mb();
	ret = accel_push(accel, cmd);
	/* Whoever takes it out of the table may answer it, and did. */
	if (ret && !xa_erase(&accel->calls, id))
		return 0;
	return ret;
}

struct accel_waiter {
	struct accel_call call;
	struct completion done;
};

static void accel_wake(struct accel_call *call)
{
	complete(&container_of(call, struct accel_waiter, call)->done);
}

/*
 * Send a command and wait for the answer. @done may be NULL. Returns the status
 * of the command, or -ENODEV.
 */
int accel_call_wait(struct accel *accel, struct cdm_accel_cmd *cmd,
		    struct cdm_accel_done *done)
{
	struct accel_waiter waiter = { .call.fn = accel_wake };
	int ret;

	init_completion(&waiter.done);
	ret = accel_call_start(accel, &waiter.call, cmd);
	if (ret)
		return ret;
	/* The watchdog answers for a device that is lost. */
	if (!wait_for_completion_timeout(&waiter.done, ACCEL_PATIENCE)) {
		accel_lose(accel);
		wait_for_completion(&waiter.done);
	}
	if (done)
		*done = waiter.call.done;
	return waiter.call.done.status;
}

static void accel_answer(struct accel *accel, const struct cdm_accel_done *done)
{
	struct accel_call *call = xa_erase(&accel->calls, done->id);

	if (!call)
		return;
	call->done = *done;
	call->fn(call);
}

/* Nobody is there to answer: @gone has been set. */
void accel_end_calls(struct accel *accel)
{
	struct cdm_accel_done done = { .status = -ENODEV };
	struct accel_call *call;
	unsigned long id;

	/* Pairs with the one in accel_call_start(). */
	smp_mb();
	mutex_lock(&accel->drain_lock);
	xa_for_each(&accel->calls, id, call) {
		done.id = id;
		accel_answer(accel, &done);
	}
	mutex_unlock(&accel->drain_lock);
}

/* Returns whether there was room, with the number to wait for in *@seq. */
static bool accel_try_invalidate(struct accel *accel,
				 const struct cdm_accel_inval *inval, u32 *seq)
{
	struct cdm_accel_ring *ring = &accel->bar->inval_ring;
	bool room;

	spin_lock(&accel->inval_lock);
	room = accel_ring_used(ring) < CDM_ACCEL_INVAL_ENTRIES;
	if (room) {
		accel->bar->inval[ring->head % CDM_ACCEL_INVAL_ENTRIES] = *inval;
		*seq = ring->head + 1;
		/* The entry comes before. */
		smp_store_release(&ring->head, *seq);
	}
	spin_unlock(&accel->inval_lock);
	return room;
}

static bool accel_is_invalidated(struct accel *accel, u32 seq)
{
	/* Accesses of the device by the old translation come before. */
	u32 tail = smp_load_acquire(&accel->bar->inval_ring.tail);

	return (s32)(tail - seq) >= 0;
}

/*
 * Forget the device's translations of [@start, @end); when this returns, no
 * access through them is under way any more. A device that does not answer is
 * lost: it cannot be waited for, here of all places.
 */
void accel_invalidate(struct accel *accel, u32 asid, unsigned long start,
		      unsigned long end, bool may_sleep)
{
	struct cdm_accel_inval inval = {
		.start = start, .end = end, .asid = asid,
	};
	unsigned long timeout = jiffies + ACCEL_PATIENCE;
	bool sent = false;
	u32 seq = 0;

	while (!READ_ONCE(accel->gone) && !accel_link_is_down(accel)) {
		if (!sent) {
			sent = accel_try_invalidate(accel, &inval, &seq);
			if (sent)
				accel_ring_bell(accel, CDM_ACCEL_BELL_INVAL);
		}
		if (sent && accel_is_invalidated(accel, seq))
			return;
		if (time_after(jiffies, timeout)) {
			accel_lose(accel);
			return;
		}
		if (may_sleep)
			usleep_range(20, 100);
		else
			cpu_relax();
	}
}

/* Take one entry of @size bytes out of a ring of the device's. */
static bool accel_take(struct accel *accel, struct cdm_accel_ring *ring,
		       const void *entries, u32 nr, void *entry, size_t size)
{
	u32 tail = ring->tail;
	/* Entries come before the head. */
	u32 used = smp_load_acquire(&ring->head) - tail;

	lockdep_assert_held(&accel->drain_lock);
	if (!used || accel_link_is_down(accel))
		return false;
	if (used > nr) {
		dev_err(&accel->pdev->dev, "a ring has run over\n");
		accel_lose(accel);
		return false;
	}
	memcpy(entry, entries + (tail % nr) * size, size);
	/* It has been read, and may be written again. */
	smp_store_release(&ring->tail, tail + 1);
	return true;
}

static void accel_check_errors(struct accel *accel)
{
	struct cdm_accel_regs *regs = &accel->bar->regs;
	u32 error;
	u64 pa;

	if (accel_link_is_down(accel)) {
		accel_lose(accel);
		return;
	}
	/* The address is valid, and does not change, while the bit is set. */
	error = smp_load_acquire(&regs->error);
	if (!error)
		return;
	pa = READ_ONCE(regs->error_pa);
	atomic_andnot(error, (atomic_t *)&regs->error);
	if (error & CDM_ACCEL_ERROR_PAGE)
		memory_failure_queue(PHYS_PFN(pa), 0);
	if (error & CDM_ACCEL_ERROR_PROTO)
		dev_err_ratelimited(&accel->pdev->dev, "the device ignored a command\n");
}

/* Deal with whatever the device has to say. */
void accel_drain(struct accel *accel)
{
	struct cdm_accel_bar *bar = accel->bar;
	struct cdm_accel_fault fault;
	struct cdm_accel_done done;
	struct cdm_accel_note note;

	mutex_lock(&accel->drain_lock);
	while (accel_take(accel, &bar->done_ring, bar->done,
			  CDM_ACCEL_DONE_ENTRIES, &done, sizeof(done)))
		accel_answer(accel, &done);
	while (accel_take(accel, &bar->fault_ring, bar->fault,
			  CDM_ACCEL_FAULT_ENTRIES, &fault, sizeof(fault)))
		accel_fault(accel, &fault);
	while (accel_take(accel, &bar->note_ring, bar->note,
			  CDM_ACCEL_NOTE_ENTRIES, &note, sizeof(note)))
		accel_note(accel, &note);
	accel_check_errors(accel);
	mutex_unlock(&accel->drain_lock);
}
