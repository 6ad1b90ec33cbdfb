// SPDX-License-Identifier: GPL-2.0
/*
 * Reference accelerator: faults and notes of the device. Tasks of the process look
 * after them, so its memory policy, cpuset and memory cgroup apply as to a fault of
 * its own. A process whose faults take for ever, as with userfaultfd, has only its
 * own jobs waiting.
 */
#include <linux/cdm-driver.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/sched/vhost_task.h>
#include <linux/slab.h>

#include <uapi/linux/cdm_accel.h>

#include "accel.h"

#define ACCEL_SAMPLE	8	/* one note of so many stands for the others */

struct accel_fault {
	struct list_head list;
	struct cdm_accel_fault fault;
};

static void accel_answer_fault(struct accel *accel,
			       const struct cdm_accel_fault *fault, int error)
{
	struct cdm_accel_cmd cmd = {
		.op = CDM_ACCEL_OP_RESUME,
		.args = { fault->seq, error },
	};

	accel_push(accel, &cmd);
}

/*
 * A device that asks for a page gets all of the window, and does not ask again. As far
 * as one knows it is going to read it.
 */
static void accel_report_fault(struct accel_space *space,
			       const struct cdm_accel_fault *fault)
{
	if (!(space->flags & CDM_ACCEL_REPORT_FAULTS))
		return;
	cdm_report_accesses(space->accel->nid, space->mm,
			    ALIGN_DOWN(fault->addr, ACCEL_WINDOW),
			    ACCEL_WINDOW, ACCEL_WINDOW / ACCEL_LINE);
	atomic_long_inc(&space->accel->nr_reported);
}

/* Whatever the reason why it cannot be resolved, to the job it is -EFAULT. */
static void accel_work_fault(struct accel_space *space,
			     const struct cdm_accel_fault *fault)
{
	int ret;

	ret = cdm_follow_policy(space->task) ?:
	      accel_resolve(space, fault->addr, fault->write);
	/* With the answer the job may have the next one. */
	spin_lock(&space->queue_lock);
	space->nr_faults--;
	spin_unlock(&space->queue_lock);
	accel_answer_fault(space->accel, fault, ret ? EFAULT : 0);
	accel_report_fault(space, fault);
}

static void accel_report_note(struct accel_space *space,
			      const struct cdm_accel_note *note)
{
	u64 nr = note->count;

	if (!(space->flags & CDM_ACCEL_REPORT_ACCESSES)) {
		if (get_random_u32_below(ACCEL_SAMPLE))
			return;
		nr *= ACCEL_SAMPLE;
	}
	cdm_report_accesses(space->accel->nid, space->mm, note->addr,
			    1UL << note->shift, nr);
	atomic_long_inc(&space->accel->nr_reported);
}

static void accel_work_note(struct accel_space *space,
			    const struct cdm_accel_note *note)
{
	if (note->shift == PMD_SHIFT)
		accel_attract(space, note->addr, 1UL << note->shift);
	else
		accel_report_note(space, note);
}

static struct accel_fault *accel_pop_fault(struct accel_space *space)
{
	struct accel_fault *fault;

	lockdep_assert_held(&space->queue_lock);
	fault = list_first_entry_or_null(&space->faults, struct accel_fault,
					 list);
	if (fault)
		list_del(&fault->list);
	return fault;
}

static struct cdm_accel_note *accel_nth_note(struct accel_space *space,
					     unsigned int n)
{
	return &space->notes[(space->first_note + n) % ACCEL_MAX_NOTES];
}

static bool accel_pop_note(struct accel_space *space,
			   struct cdm_accel_note *note)
{
	lockdep_assert_held(&space->queue_lock);
	if (!space->nr_notes)
		return false;
	*note = *accel_nth_note(space, 0);
	space->first_note = (space->first_note + 1) % ACCEL_MAX_NOTES;
	space->nr_notes--;
	return true;
}

/*
 * One more is done, a worker or the file: the last leaves the rest to accel_end_work().
 * Nothing waits there for a worker that is in the middle of a fault.
 */
static void accel_workers_put(struct accel_space *space)
{
	lockdep_assert_held(&space->queue_lock);
	if (!--space->nr_workers)
		queue_work(accel_end_wq, &space->end_work);
}

static void accel_worker_set_done(struct accel_worker *worker)
{
	lockdep_assert_held(&worker->space->queue_lock);
	if (worker->done)
		return;
	worker->done = true;
	accel_workers_put(worker->space);
}

/* Called until there is nothing to do, in a state to sleep then. */
static bool accel_worker_fn(void *data)
{
	struct accel_worker *worker = data;
	struct accel_space *space = worker->space;
	struct cdm_accel_note note;
	struct accel_fault *fault;
	bool idle;

	spin_lock(&space->queue_lock);
	fault = accel_pop_fault(space);
	idle = !fault && !accel_pop_note(space, &note);
	worker->idle = idle;
	if (idle && space->closed)
		accel_worker_set_done(worker);
	spin_unlock(&space->queue_lock);
	if (idle)
		return false;

	__set_current_state(TASK_RUNNING);
	if (!fault) {
		accel_work_note(space, &note);
		return true;
	}
	accel_work_fault(space, &fault->fault);
	kfree(fault);
	return true;
}

/* Nothing is queued any more, and what is there gets its answer. */
static void accel_queue_close(struct accel_space *space)
{
	struct accel_fault *fault, *next;
	LIST_HEAD(faults);

	spin_lock(&space->queue_lock);
	WRITE_ONCE(space->closed, true);
	space->nr_notes = 0;
	list_splice_init(&space->faults, &faults);
	spin_unlock(&space->queue_lock);
	list_for_each_entry_safe(fault, next, &faults, list) {
		accel_answer_fault(space->accel, &fault->fault, EFAULT);
		kfree(fault);
	}
}

/* The process has ended or called exec. Its other workers go, too. */
static void accel_worker_killed(void *data)
{
	struct accel_worker *worker = data;
	struct accel_space *space = worker->space;

	accel_queue_close(space);
	spin_lock(&space->queue_lock);
	accel_worker_set_done(worker);
	spin_unlock(&space->queue_lock);
}

static void accel_wake_worker(struct accel_space *space)
{
	unsigned int i;

	lockdep_assert_held(&space->queue_lock);
	for (i = 0; i < ACCEL_WORKERS; i++) {
		struct accel_worker *worker = &space->workers[i];

		/* One that is at work looks again before it sleeps. */
		if (worker->idle) {
			worker->idle = false;
			vhost_task_wake(worker->task);
			return;
		}
	}
}

static bool accel_queue_fault(struct accel_space *space,
			      const struct cdm_accel_fault *fault)
{
	struct accel_fault *new = kmalloc(sizeof(*new), GFP_KERNEL);
	bool ok;

	if (!new)
		return false;
	new->fault = *fault;
	spin_lock(&space->queue_lock);
	ok = !space->closed && space->nr_faults < ACCEL_MAX_FAULTS;
	if (ok) {
		list_add_tail(&new->list, &space->faults);
		space->nr_faults++;
		accel_wake_worker(space);
	}
	spin_unlock(&space->queue_lock);
	if (!ok)
		kfree(new);
	return ok;
}

/* A fault of a job of @space, whose reference this takes; NULL if there is none. */
void accel_fault(struct accel *accel, struct accel_space *space,
		 const struct cdm_accel_fault *fault)
{
	if (!space || !accel_queue_fault(space, fault))
		accel_answer_fault(accel, fault, EFAULT);
	if (space)
		accel_space_put(space);
}

/* One of a region that waits is added to. If there is no room it is lost. */
static void accel_queue_note(struct accel_space *space,
			     const struct cdm_accel_note *note)
{
	struct cdm_accel_note *waits;
	unsigned int i;

	spin_lock(&space->queue_lock);
	for (i = 0; i < space->nr_notes; i++) {
		waits = accel_nth_note(space, i);
		if (waits->addr == note->addr && waits->shift == note->shift)
			break;
	}
	if (i < space->nr_notes) {
		waits->count += note->count;
	} else if (i < ACCEL_MAX_NOTES && !space->closed) {
		*accel_nth_note(space, i) = *note;
		space->nr_notes++;
		accel_wake_worker(space);
	}
	spin_unlock(&space->queue_lock);
}

/* A region of one of two sizes; its count is bounded, for it is added up. */
static bool accel_note_is_valid(const struct cdm_accel_note *note)
{
	return (note->shift == ACCEL_NOTE_SHIFT || note->shift == PMD_SHIFT) &&
	       IS_ALIGNED(note->addr, 1UL << note->shift) &&
	       note->addr < ACCEL_SPACE_END && note->count <= U32_MAX;
}

/* The number may be that of another process now: return true if it asked for notes. */
static bool accel_note_is_wanted(const struct accel_space *space,
				 const struct cdm_accel_note *note)
{
	if (note->shift == PMD_SHIFT)
		return space->flags & CDM_ACCEL_MIGRATE_ON_HINT;
	return space->flags & (CDM_ACCEL_REPORT_ACCESSES |
			       CDM_ACCEL_REPORT_SAMPLES);
}

/* A note about @space, whose reference this takes; NULL if there is none (any more). */
void accel_note(struct accel *accel, struct accel_space *space,
		const struct cdm_accel_note *note)
{
	if (!accel_note_is_valid(note))
		accel_ignore(accel, "accesses to a region that is none");
	else if (!space || !accel_note_is_wanted(space, note))
		atomic_long_inc(&accel->nr_ignored);
	else
		accel_queue_note(space, note);
	if (space)
		accel_space_put(space);
}

static void accel_end_work(struct work_struct *work)
{
	struct accel_space *space = container_of(work, struct accel_space,
						 end_work);
	unsigned int i;

	for (i = 0; i < ACCEL_WORKERS; i++) {
		if (space->workers[i].task)
			vhost_task_stop(space->workers[i].task);
	}
	accel_space_put(space);
	/* accel_exit() waits for this function. */
	module_put(THIS_MODULE);
}

/*
 * Threads of the caller, who is of the process: they have the memory policy that it
 * has at the time of a fault, and move with the process from cgroup to cgroup. They have
 * a reference, and end with the process or after accel_workers_end(). Context: as for
 * fork(), may take the mmap lock. Returns 0 or what fork() would.
 */
int accel_workers_start(struct accel_space *space)
{
	unsigned int i;

	__module_get(THIS_MODULE);
	kref_get(&space->ref);
	for (i = 0; i < ACCEL_WORKERS; i++) {
		struct accel_worker *worker = &space->workers[i];
		struct vhost_task *task;

		worker->space = space;
		task = vhost_task_create(accel_worker_fn, accel_worker_killed,
					 worker, space->accel->name);
		if (IS_ERR(task)) {
			accel_workers_end(space);
			return PTR_ERR(task);
		}
		spin_lock(&space->queue_lock);
		worker->task = task;
		space->nr_workers++;
		spin_unlock(&space->queue_lock);
		vhost_task_start(task);
	}
	return 0;
}

/*
 * Let the workers go. One may be in the middle of a fault that takes for ever, so
 * this does not wait for them.
 */
void accel_workers_end(struct accel_space *space)
{
	unsigned int i;

	accel_queue_close(space);
	spin_lock(&space->queue_lock);
	/* One that waits in a fault would only fault again. */
	for (i = 0; i < ACCEL_WORKERS; i++)
		accel_wake_worker(space);
	accel_workers_put(space);
	spin_unlock(&space->queue_lock);
}

void accel_workers_init(struct accel_space *space)
{
	spin_lock_init(&space->queue_lock);
	space->nr_workers = 1;
	INIT_LIST_HEAD(&space->faults);
	INIT_WORK(&space->end_work, accel_end_work);
}
