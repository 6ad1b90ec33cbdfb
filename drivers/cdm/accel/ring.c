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

/*
 * The device does not answer, and the caller, or somebody who waits for the
 * caller, cannot go on before it has been stopped.
 */
static void accel_give_up(struct accel *accel)
{
	accel_lose(accel);
	accel_stop(accel);
}

static void accel_ring_bell(struct accel *accel, u32 bell)
{
	writel(accel->regs.bell_peer << 16 | bell, accel->bells + ACCEL_BELL);
}

/*
 * A link that comes back leads to another device than the one that was there. And what
 * looks like a link that is down may be a device that answers nonsense, and goes on: from
 * now on it reaches no memory.
 */
bool accel_link_is_down(struct accel *accel)
{
	if (!READ_ONCE(accel->down) && !READ_ONCE(accel->asleep) &&
	    READ_ONCE(accel->bar->regs.magic) != CDM_ACCEL_MAGIC) {
		pci_clear_master(accel->pdev);
		WRITE_ONCE(accel->down, true);
	}
	return READ_ONCE(accel->down);
}

void accel_rings_init(struct accel *accel)
{
	spin_lock_init(&accel->cmd_lock);
	spin_lock_init(&accel->inval_lock);
	mutex_init(&accel->drain_lock);
	mutex_init(&accel->stop_lock);
	xa_init_flags(&accel->calls, XA_FLAGS_ALLOC1);
}

static void accel_set_state(struct accel *accel, enum accel_state state)
{
	lockdep_assert_held(&accel->stop_lock);
	spin_lock(&accel->cmd_lock);
	spin_lock(&accel->inval_lock);
	WRITE_ONCE(accel->state, state);
	if (state == ACCEL_STOPPED)
		WRITE_ONCE(accel->nr_stops, accel->nr_stops + 1);
	spin_unlock(&accel->inval_lock);
	spin_unlock(&accel->cmd_lock);
}

static void accel_ring_reset(struct accel_ring *ring,
			     struct cdm_accel_ring *shared)
{
	ring->shared = shared;
	ring->head = 0;
	ring->tail = 0;
}

/* Nothing is sent meanwhile; and nobody takes an entry for one of before. */
static int accel_reset(struct accel *accel)
{
	struct cdm_accel_bar *bar = accel->bar;
	unsigned long timeout = jiffies + ACCEL_PATIENCE;
	u32 reset = ++accel->regs.reset;
	int ret = 0;

	lockdep_assert_held(&accel->stop_lock);
	mutex_lock(&accel->drain_lock);
	memset(bar->roots, 0, sizeof(bar->roots));
	/* The device looks at nothing else until it sees this. */
	smp_store_release(&bar->regs.reset, reset);
	accel_ring_bell(accel, CDM_ACCEL_BELL_CMD);
	/* Whatever the device has reset, it has done before this. */
	while (!ret && smp_load_acquire(&bar->regs.reset_done) != reset) {
		if (accel_link_is_down(accel) || time_after(jiffies, timeout))
			ret = -EIO;
		usleep_range(100, 500);
	}
	accel_ring_reset(&accel->cmd_ring, &bar->cmd_ring);
	accel_ring_reset(&accel->inval_ring, &bar->inval_ring);
	accel_ring_reset(&accel->done_ring, &bar->done_ring);
	accel_ring_reset(&accel->fault_ring, &bar->fault_ring);
	accel_ring_reset(&accel->note_ring, &bar->note_ring);
	mutex_unlock(&accel->drain_lock);
	return ret;
}

/* Bring a device that has been stopped, or not been started, into use. */
int accel_restart(struct accel *accel)
{
	int ret;

	mutex_lock(&accel->stop_lock);
	ret = accel->gone ? -ENODEV : accel_reset(accel);
	/* A device that was not reset might use what it was told before. */
	if (!ret) {
		pci_set_master(accel->pdev);
		accel_set_state(accel, ACCEL_OPEN);
	} else {
		pci_clear_master(accel->pdev);
	}
	mutex_unlock(&accel->stop_lock);
	return ret;
}

/*
 * Make the device see an address space, or none; unless it is not to see
 * anything.
 */
void accel_set_root(struct accel *accel, u32 asid, u64 pa)
{
	spin_lock(&accel->cmd_lock);
	if (accel->state == ACCEL_OPEN) {
		/* Zeroed before the device can see it. */
		smp_store_release(&accel->bar->roots[asid], pa);
	}
	spin_unlock(&accel->cmd_lock);
}

/*
 * Entries of a ring of the driver's that the device has not taken yet. -EIO if it
 * says that it has taken what is not there, or what it had said that it had not.
 */
static int accel_ring_used(struct accel_ring *ring)
{
	/* Entries before the tail are not read by the device any more. */
	u32 tail = smp_load_acquire(&ring->shared->tail);

	if (tail - ring->tail > ring->head - ring->tail)
		return -EIO;
	ring->tail = tail;
	return ring->head - tail;
}

/* Returns 0, -EBUSY if there is no room, -EIO or -ENODEV. */
static int accel_try_push(struct accel *accel, const struct cdm_accel_cmd *cmd)
{
	struct accel_ring *ring = &accel->cmd_ring;
	int ret;

	spin_lock(&accel->cmd_lock);
	ret = accel->state == ACCEL_OPEN ? accel_ring_used(ring) : -ENODEV;
	if (ret >= CDM_ACCEL_CMD_ENTRIES) {
		ret = -EBUSY;
	} else if (ret >= 0) {
		accel->bar->cmd[ring->head++ % CDM_ACCEL_CMD_ENTRIES] = *cmd;
		/* The entry comes before. */
		smp_store_release(&ring->shared->head, ring->head);
		ret = 0;
	}
	spin_unlock(&accel->cmd_lock);
	return ret;
}

static bool accel_is_broken(struct accel *accel, int ret)
{
	if (ret == -EIO)
		dev_err_ratelimited(&accel->pdev->dev, "a ring makes no sense\n");
	return ret == -EIO;
}

/*
 * Send a command. The device takes commands off the ring at once, so there will
 * soon be room. May sleep.
 */
int accel_push(struct accel *accel, const struct cdm_accel_cmd *cmd)
{
	unsigned long timeout = jiffies + ACCEL_PATIENCE;
	int ret;

	while ((ret = accel_try_push(accel, cmd)) && ret != -ENODEV) {
		if (accel_link_is_down(accel) || accel_is_broken(accel, ret) ||
		    time_after(jiffies, timeout)) {
			accel_give_up(accel);
			return -ENODEV;
		}
		usleep_range(50, 200);
	}
	if (!ret)
		accel_ring_bell(accel, CDM_ACCEL_BELL_CMD);
	return ret;
}

/* Send a command; @call->fn is called when it is answered, unless this fails. */
int accel_call_start(struct accel *accel, struct accel_call *call,
		     struct cdm_accel_cmd *cmd)
{
	u32 id;
	int ret;

	/* Before it is sent: whatever has been sent, accel_stop() ends. */
	ret = xa_alloc_cyclic(&accel->calls, &call->id, call, xa_limit_31b,
			      &accel->next_id, GFP_KERNEL);
	if (ret < 0)
		return ret;
	/* The device may answer what it has not been asked, which ends the call. */
	id = call->id;
	cmd->id = id;
	ret = accel_push(accel, cmd);
	/* The call is answered by the one who takes it out of the table. */
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
 * of the command, -ENODEV, or -ENOMEM if it was not sent for want of that.
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
	/* A device that does not answer is stopped, which ends the call. */
	if (!wait_for_completion_timeout(&waiter.done, ACCEL_PATIENCE)) {
		accel_give_up(accel);
		wait_for_completion(&waiter.done);
	}
	if (done)
		*done = waiter.call.done;
	return waiter.call.done.status;
}

/* An event of the device makes no sense: count it, and do nothing about it. */
void accel_ignore(struct accel *accel, const char *what)
{
	atomic_long_inc(&accel->nr_ignored);
	dev_warn_ratelimited(&accel->pdev->dev, "the device reports %s, which is ignored\n",
			     what);
}

/*
 * Return true if a command may end with @status. Callers return it, so it must be no
 * number that has a meaning of its own there.
 */
static bool accel_is_status(s32 status)
{
	switch (status) {
	case 0:
	case -ECANCELED:
	case -EFAULT:
	case -EHWPOISON:
	case -EINVAL:
	case -ENOSPC:
		return true;
	default:
		return false;
	}
}

static void accel_answer(struct accel *accel, const struct cdm_accel_done *done)
{
	struct accel_call *call = xa_erase(&accel->calls, done->id);

	if (!call)
		return;
	call->done = *done;
	call->fn(call);
}

/*
 * End calls that the device is not going to answer, or not soon enough, with @status:
 * the jobs of @space, or with NULL all. What the device says of them later is ignored.
 */
void accel_end_calls(struct accel *accel, struct accel_space *space, int status)
{
	struct cdm_accel_done done = { .status = status };
	struct accel_call *call;
	unsigned long id;

	mutex_lock(&accel->drain_lock);
	xa_for_each(&accel->calls, id, call) {
		if (space && call->space != space)
			continue;
		done.id = id;
		accel_answer(accel, &done);
	}
	mutex_unlock(&accel->drain_lock);
}

static bool accel_is_overdue(const struct accel_call *call)
{
	unsigned long cancelled = READ_ONCE(call->cancelled);

	return cancelled && time_after(jiffies, cancelled + ACCEL_PATIENCE);
}

/*
 * End jobs that were cancelled long ago, and of which the device says nothing. If it goes
 * on with one, that uses what its process has, until the address space is detached.
 */
void accel_end_cancelled(struct accel *accel)
{
	struct cdm_accel_done done = { .status = -ECANCELED };
	struct accel_call *call;
	unsigned long id;

	mutex_lock(&accel->drain_lock);
	xa_for_each(&accel->calls, id, call) {
		done.id = id;
		if (accel_is_overdue(call))
			accel_answer(accel, &done);
	}
	mutex_unlock(&accel->drain_lock);
}

/*
 * Stop the device, before calls end that say what memory it uses, and before
 * those go on who take memory from it. Does nothing if it has been stopped. Memory
 * reclaim may be waiting for this, so nothing is allocated.
 */
void accel_stop(struct accel *accel)
{
	mutex_lock(&accel->stop_lock);
	if (accel->state != ACCEL_STOPPED) {
		accel_set_state(accel, ACCEL_CLOSED);
		if (!accel_link_is_down(accel) && accel_reset(accel)) {
			/* The last resort: it reaches no memory any more. */
			dev_err(&accel->pdev->dev, "no reset: cut off\n");
			pci_clear_master(accel->pdev);
		}
		accel_set_state(accel, ACCEL_STOPPED);
	}
	accel_end_calls(accel, NULL, -ENODEV);
	mutex_unlock(&accel->stop_lock);
}

/* Returns whether the device has stopped, now or since there were @nr_stops. */
static bool accel_has_stopped(struct accel *accel, unsigned int nr_stops)
{
	return READ_ONCE(accel->state) == ACCEL_STOPPED ||
	       READ_ONCE(accel->nr_stops) != nr_stops ||
	       accel_link_is_down(accel);
}

/*
 * Returns 0 if it was sent, with the number to wait for in *@seq; -EBUSY if that is to
 * be tried again, or -EIO.
 */
static int accel_try_invalidate(struct accel *accel,
				const struct cdm_accel_inval *inval, u32 *seq)
{
	struct accel_ring *ring = &accel->inval_ring;
	int ret;

	spin_lock(&accel->inval_lock);
	ret = accel->state == ACCEL_OPEN ? accel_ring_used(ring) : -EBUSY;
	if (ret >= CDM_ACCEL_INVAL_ENTRIES) {
		ret = -EBUSY;
	} else if (ret >= 0) {
		accel->bar->inval[ring->head++ % CDM_ACCEL_INVAL_ENTRIES] =
			*inval;
		*seq = ring->head;
		/* The entry comes before. */
		smp_store_release(&ring->shared->head, ring->head);
		ret = 0;
	}
	spin_unlock(&accel->inval_lock);
	return ret;
}

/*
 * Returns 0 if the device has answered, so that its accesses by the old translation
 * came before; -EBUSY if not yet, or -EIO.
 */
static int accel_is_invalidated(struct accel *accel, u32 seq)
{
	struct accel_ring *ring = &accel->inval_ring;
	int ret;

	spin_lock(&accel->inval_lock);
	/* While it is being reset, the ring says nothing. */
	ret = accel->state == ACCEL_OPEN ? accel_ring_used(ring) : -EBUSY;
	if (ret >= 0)
		ret = (s32)(ring->tail - seq) >= 0 ? 0 : -EBUSY;
	spin_unlock(&accel->inval_lock);
	return ret;
}

/*
 * Forget the device's translations of [@start, @end); when this returns, no
 * access through them is under way any more: because the device says so, or
 * because it has been stopped.
 */
void accel_invalidate(struct accel *accel, u32 asid, unsigned long start,
		      unsigned long end)
{
	struct cdm_accel_inval inval = {
		.start = start, .end = end, .asid = asid,
	};
	unsigned int nr_stops = READ_ONCE(accel->nr_stops);
	unsigned long timeout = jiffies + ACCEL_PATIENCE;
	bool sent = false;
	u32 seq = 0;
	int ret;

	might_lock(&accel->stop_lock);
	while (!accel_has_stopped(accel, nr_stops)) {
		if (!sent) {
			ret = accel_try_invalidate(accel, &inval, &seq);
			sent = !ret;
			if (sent)
				accel_ring_bell(accel, CDM_ACCEL_BELL_INVAL);
		}
		if (sent) {
			ret = accel_is_invalidated(accel, seq);
			if (!ret)
				return;
		}
		if (accel_is_broken(accel, ret) || time_after(jiffies, timeout))
			accel_give_up(accel);
		else
			usleep_range(20, 100);
	}
}

/* Take one entry of @size bytes out of a ring of the device's. */
static bool accel_take(struct accel *accel, struct accel_ring *ring,
		       const void *entries, u32 nr, void *entry, size_t size)
{
	u32 used;

	lockdep_assert_held(&accel->drain_lock);
	/* A reset empties the rings. */
	if (READ_ONCE(accel->state) != ACCEL_OPEN || accel_link_is_down(accel))
		return false;
	/* Entries come before the head. */
	used = smp_load_acquire(&ring->shared->head) - ring->tail;
	if (!used)
		return false;
	if (used > nr) {
		dev_err_ratelimited(&accel->pdev->dev, "a ring has run over\n");
		accel_lose(accel);
		return false;
	}
	memcpy(entry, entries + (ring->tail++ % nr) * size, size);
	/* It has been read, and may be written again. */
	smp_store_release(&ring->shared->tail, ring->tail);
	return true;
}

/*
 * The device knows of pages of its own alone. Until its memory has been registered, it
 * may be anything that it says it has.
 */
static void accel_page_error(struct accel *accel, u64 pa)
{
	const struct cdm_accel_regs *regs = &accel->regs;

	if (READ_ONCE(accel->nid) != NUMA_NO_NODE &&
	    pa - regs->mem_start < regs->mem_size)
		memory_failure_queue(PHYS_PFN(pa), 0);
	else
		accel_ignore(accel, "an error of a page that it does not have");
}

static void accel_check_errors(struct accel *accel)
{
	struct cdm_accel_regs *regs = &accel->bar->regs;
	u32 error;
	u64 pa;

	lockdep_assert_held(&accel->drain_lock);
	/* While a device is suspended, its registers say nothing. */
	if (READ_ONCE(accel->state) != ACCEL_OPEN)
		return;
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
		accel_page_error(accel, pa);
	if (error & CDM_ACCEL_ERROR_PROTO)
		dev_err_ratelimited(&accel->pdev->dev, "the device ignored a command\n");
}

static void accel_take_answers_and_errors(struct accel *accel)
{
	struct cdm_accel_bar *bar = accel->bar;
	unsigned int left = CDM_ACCEL_DONE_ENTRIES;
	struct cdm_accel_done done;

	mutex_lock(&accel->drain_lock);
	while (left-- && accel_take(accel, &accel->done_ring, bar->done,
				    CDM_ACCEL_DONE_ENTRIES, &done,
				    sizeof(done))) {
		if (!accel_is_status(done.status)) {
			accel_ignore(accel, "a status that is none");
			done.status = -EIO;
		}
		accel_answer(accel, &done);
	}
	accel_check_errors(accel);
	mutex_unlock(&accel->drain_lock);
}

/* Return true if @id is a job of @space that has not ended. */
static bool accel_has_job(struct accel *accel, u32 id, struct accel_space *space)
{
	struct accel_call *call;
	bool found;

	xa_lock(&accel->calls);
	call = xa_load(&accel->calls, id);
	found = call && call->space == space;
	xa_unlock(&accel->calls);
	return found;
}

/*
 * The address space that a fault is about, with a reference; NULL if its job has ended,
 * and the number is perhaps that of another process by now.
 */
static struct accel_space *accel_fault_space(struct accel *accel,
					     const struct cdm_accel_fault *fault)
{
	struct accel_space *space = accel_space_get(accel, fault->asid);

	if (space && accel_has_job(accel, fault->id, space))
		return space;
	if (space)
		accel_space_put(space);
	atomic_long_inc(&accel->nr_ignored);
	return NULL;
}

/*
 * The space is found under the same hold of the lock that takes the entry: so when
 * accel_drain() returns, no entry of before is taken for one of a later space with the
 * same number.
 */
static bool accel_take_fault(struct accel *accel, struct cdm_accel_fault *fault,
			     struct accel_space **space)
{
	struct cdm_accel_bar *bar = accel->bar;
	bool taken;

	mutex_lock(&accel->drain_lock);
	taken = accel_take(accel, &accel->fault_ring, bar->fault,
			   CDM_ACCEL_FAULT_ENTRIES, fault, sizeof(*fault));
	if (taken)
		*space = accel_fault_space(accel, fault);
	mutex_unlock(&accel->drain_lock);
	return taken;
}

static bool accel_take_note(struct accel *accel, struct cdm_accel_note *note,
			    struct accel_space **space)
{
	struct cdm_accel_bar *bar = accel->bar;
	bool taken;

	mutex_lock(&accel->drain_lock);
	taken = accel_take(accel, &accel->note_ring, bar->note,
			   CDM_ACCEL_NOTE_ENTRIES, note, sizeof(*note));
	if (taken)
		*space = accel_space_get(accel, note->asid);
	mutex_unlock(&accel->drain_lock);
	return taken;
}

/*
 * Deal with whatever the device has to say. Work on faults and notes allocates
 * memory, and reclaim may have to stop the device: so that is done without the
 * lock. A device that says more and more keeps nobody here: what comes after a ring
 * full has interrupts of its own.
 */
void accel_drain(struct accel *accel)
{
	unsigned int left = CDM_ACCEL_FAULT_ENTRIES;
	struct cdm_accel_fault fault;
	struct cdm_accel_note note;
	struct accel_space *space;

	accel_take_answers_and_errors(accel);
	while (left-- && accel_take_fault(accel, &fault, &space)) {
		accel_fault(accel, space, &fault);
		/* The device may wait for room before it takes a command. */
		accel_take_answers_and_errors(accel);
	}
	left = CDM_ACCEL_NOTE_ENTRIES;
	while (left-- && accel_take_note(accel, &note, &space))
		accel_note(accel, space, &note);
}
