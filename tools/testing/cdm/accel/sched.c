// SPDX-License-Identifier: GPL-2.0
/*
 * Jobs and units. A job runs on one unit until its slice is over and others wait,
 * until it faults, or to its end. It makes steps; each is one access section.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "accel.h"

/* A DETACH that waits for running jobs: those of @asid before @number. */
struct accel_detach {
	TAILQ_ENTRY(accel_detach) list;
	__u32 id, asid;
	__u64 number;
};

/*
 * Protects the jobs, which of them run or wait, waiting DETACHes and injected faults.
 * @nr_queued may be read without it.
 */
static pthread_mutex_t sched_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t job_queued = PTHREAD_COND_INITIALIZER;
static pthread_cond_t unit_idle = PTHREAD_COND_INITIALIZER;
static struct accel_jobs jobs = TAILQ_HEAD_INITIALIZER(jobs);
static struct accel_jobs queue = TAILQ_HEAD_INITIALIZER(queue);
static struct accel_jobs unreported = TAILQ_HEAD_INITIALIZER(unreported);
static TAILQ_HEAD(, accel_detach) detaches = TAILQ_HEAD_INITIALIZER(detaches);
static int nr_queued, nr_running, nr_jobs;
static __u64 last_number, last_seq;
static __u64 nr_lost_done;	/* injected faults */
static int spoilt_status;

static void enqueue(struct accel_job *job)
{
	job->state = ACCEL_QUEUED;
	TAILQ_INSERT_TAIL(&queue, job, wait);
	__atomic_add_fetch(&nr_queued, 1, __ATOMIC_RELAXED);
	pthread_cond_signal(&job_queued);
}

static void unqueue(struct accel_job *job)
{
	if (job->state == ACCEL_QUEUED) {
		TAILQ_REMOVE(&queue, job, wait);
		__atomic_sub_fetch(&nr_queued, 1, __ATOMIC_RELAXED);
	} else if (job->state == ACCEL_PARKED && !job->fault_seq) {
		TAILQ_REMOVE(&unreported, job, wait);
	}
}

static void discard(struct accel_job *job)
{
	TAILQ_REMOVE(&jobs, job, all);
	nr_jobs--;
	free(job);
}

static void complete(struct accel_job *job, int status, __u64 addr)
{
	struct cdm_accel_done done = {
		.id = job->cmd.id,
		.status = status,
		.result = status ? 0 : job->result,
		.addr = addr,
		.nr_faults = job->nr_faults,
	};

	if (spoilt_status)
		done.status = spoilt_status;
	spoilt_status = 0;
	if (nr_lost_done)
		nr_lost_done--;
	else
		accel_complete(&done, true);
	discard(job);
}

void accel_spoil_jobs(const struct cdm_accel_cmd *inject)
{
	pthread_mutex_lock(&sched_lock);
	if (inject->args[0] == CDM_ACCEL_INJECT_LOST_DONE)
		nr_lost_done = inject->args[1];
	else
		spoilt_status = inject->args[1];
	pthread_mutex_unlock(&sched_lock);
}

static bool job_remains(const struct accel_detach *detach)
{
	struct accel_job *job;

	TAILQ_FOREACH(job, &jobs, all) {
		if (job->cmd.asid == detach->asid && job->number < detach->number)
			return true;
	}
	return false;
}

static void finish_detaches(void)
{
	struct accel_detach *d, *next;

	for (d = TAILQ_FIRST(&detaches); d; d = next) {
		next = TAILQ_NEXT(d, list);
		if (job_remains(d))
			continue;
		accel_answer(d->id, 0);
		TAILQ_REMOVE(&detaches, d, list);
		free(d);
	}
}

/* A job that is not running ends here, one that is in put_back(). */
static void stop(struct accel_job *job, enum accel_stop how)
{
	if (job->state == ACCEL_RUNNING) {
		__atomic_store_n(&job->stop, how, __ATOMIC_RELAXED);
		return;
	}
	unqueue(job);
	if (how == ACCEL_DISCARD)
		discard(job);
	else
		complete(job, -ECANCELED, 0);
}

static void report(struct accel_job *job)
{
	struct cdm_accel_fault fault = {
		.seq = last_seq + 1,
		.addr = job->fault_va,
		.asid = job->cmd.asid,
		.write = job->fault_write,
		.id = job->cmd.id,
	};

	if (accel_push_fault(&fault)) {
		TAILQ_REMOVE(&unreported, job, wait);
		job->fault_seq = ++last_seq;
		accel_remember_fault(&fault);
	}
}

static bool report_all(void)
{
	while (!TAILQ_EMPTY(&unreported)) {
		struct accel_job *job = TAILQ_FIRST(&unreported);

		report(job);
		if (!job->fault_seq)
			return false;
	}
	return true;
}

/* Returns false if some did not fit. */
bool accel_report_faults(void)
{
	bool all;

	pthread_mutex_lock(&sched_lock);
	all = report_all();
	pthread_mutex_unlock(&sched_lock);
	return all;
}

static void park(struct accel_job *job)
{
	job->state = ACCEL_PARKED;
	job->fault_seq = 0;
	job->nr_faults++;
	accel_add(&accel.bar->regs.nr_faults, 1);
	TAILQ_INSERT_TAIL(&unreported, job, wait);
	if (!report_all())
		accel_wake_reporter();
}

/* What becomes of a job that a unit has let go of. */
static void put_back(struct accel_job *job)
{
	nr_running--;
	if (job->stop == ACCEL_DISCARD)
		discard(job);
	else if (job->step == ACCEL_END)
		complete(job, job->status, job->addr);
	else if (job->stop == ACCEL_CANCEL)
		complete(job, -ECANCELED, 0);
	else if (job->step == ACCEL_FAULT)
		park(job);
	else
		enqueue(job);
	finish_detaches();
	pthread_cond_signal(&unit_idle);
}

/* Slices after faults do not count: they are the fault's doing. */
static void count_slice(struct accel_job *job)
{
	struct cdm_accel_regs *regs = &accel.bar->regs;

	if (!job->started)
		accel_add(&regs->nr_jobs, 1);
	if (!job->started || job->step == ACCEL_MORE)
		accel_add(&regs->nr_slices, 1);
	job->started = true;
}

static struct accel_job *next_job(void)
{
	struct accel_job *job;

	while (!(job = TAILQ_FIRST(&queue)))
		pthread_cond_wait(&job_queued, &sched_lock);
	unqueue(job);
	count_slice(job);
	job->state = ACCEL_RUNNING;
	job->step = ACCEL_MORE;
	nr_running++;
	return job;
}

/* The lock is not fair: let those go first who are waiting for it. */
static void make_step(struct accel_unit *unit, struct accel_job *job)
{
	while (__atomic_load_n(&unit->wanted, __ATOMIC_RELAXED))
		sched_yield();
	pthread_mutex_lock(&unit->access);
	accel_kernels[job->cmd.kernel].step(unit, job);
	pthread_mutex_unlock(&unit->access);
}

static void run(struct accel_unit *unit, struct accel_job *job)
{
	__u64 end = accel_now() + accel.slice;

	do {
		if (job->hang)
			usleep(100);
		else
			make_step(unit, job);
	} while (job->step == ACCEL_MORE &&
		 __atomic_load_n(&job->stop, __ATOMIC_RELAXED) == ACCEL_GO &&
		 (!__atomic_load_n(&nr_queued, __ATOMIC_RELAXED) || accel_now() < end));
}

static void *unit_thread(void *arg)
{
	pthread_mutex_lock(&sched_lock);
	for (;;) {
		struct accel_job *job = next_job();

		pthread_mutex_unlock(&sched_lock);
		run(arg, job);
		pthread_mutex_lock(&sched_lock);
		put_back(job);
	}
	return NULL;
}

void accel_start_units(void)
{
	for (int i = 0; i < accel.nr_units; i++)
		accel_thread(&accel.units[i].thread, unit_thread, &accel.units[i]);
}

static int check_job(const struct cdm_accel_cmd *cmd)
{
	if (cmd->kernel >= CDM_ACCEL_JOB_NR || cmd->asid >= CDM_ACCEL_MAX_ASIDS ||
	    !accel_get(&accel.bar->roots[cmd->asid]))
		return -EINVAL;
	if (!accel_kernels[cmd->kernel].check(cmd->args))
		return -EINVAL;
	return nr_jobs < ACCEL_MAX_JOBS ? 0 : -ENOSPC;
}

static void add_job(const struct cdm_accel_cmd *cmd, bool hang)
{
	struct accel_job *job = accel_alloc(sizeof(*job));

	job->cmd = *cmd;
	job->hang = hang;
	job->number = last_number++;
	TAILQ_INSERT_TAIL(&jobs, job, all);
	nr_jobs++;
	enqueue(job);
}

void accel_queue_job(const struct cdm_accel_cmd *cmd, bool hang)
{
	int error;

	pthread_mutex_lock(&sched_lock);
	error = check_job(cmd);
	if (error)
		accel_answer(cmd->id, error);
	else
		add_job(cmd, hang);
	pthread_mutex_unlock(&sched_lock);
}

/* There may be no such job: it may just have ended. */
void accel_cancel(__u32 id)
{
	struct accel_job *job, *next;

	pthread_mutex_lock(&sched_lock);
	for (job = TAILQ_FIRST(&jobs); job; job = next) {
		next = TAILQ_NEXT(job, all);
		if (job->cmd.id == id)
			stop(job, ACCEL_CANCEL);
	}
	finish_detaches();
	pthread_mutex_unlock(&sched_lock);
}

static struct accel_job *find_fault(__u64 seq)
{
	struct accel_job *job;

	TAILQ_FOREACH(job, &jobs, all) {
		if (job->state == ACCEL_PARKED && job->fault_seq == seq)
			return job;
	}
	return NULL;
}

/* The driver may write errors as negative numbers. */
static int status_of(__u64 error)
{
	if ((__s64)error < 0)
		error = -error;
	return error < 4096 ? -(int)error : -EFAULT;
}

void accel_resume(__u64 seq, __u64 error)
{
	struct accel_job *job;

	pthread_mutex_lock(&sched_lock);
	job = seq ? find_fault(seq) : NULL;
	if (job && error)
		complete(job, status_of(error), job->fault_va);
	else if (job)
		enqueue(job);
	finish_detaches();
	pthread_mutex_unlock(&sched_lock);
}

static void add_detach(const struct cdm_accel_cmd *cmd)
{
	struct accel_detach *d = accel_alloc(sizeof(*d));

	d->id = cmd->id;
	d->asid = cmd->asid;
	d->number = last_number;
	TAILQ_INSERT_TAIL(&detaches, d, list);
}

void accel_detach(const struct cdm_accel_cmd *cmd)
{
	struct accel_job *job, *next;

	pthread_mutex_lock(&sched_lock);
	for (job = TAILQ_FIRST(&jobs); job; job = next) {
		next = TAILQ_NEXT(job, all);
		if (job->cmd.asid == cmd->asid)
			stop(job, ACCEL_CANCEL);
	}
	add_detach(cmd);
	finish_detaches();
	pthread_mutex_unlock(&sched_lock);
}

static void discard_all(void)
{
	struct accel_job *job, *next;
	struct accel_detach *d;

	for (job = TAILQ_FIRST(&jobs); job; job = next) {
		next = TAILQ_NEXT(job, all);
		stop(job, ACCEL_DISCARD);
	}
	while ((d = TAILQ_FIRST(&detaches))) {
		TAILQ_REMOVE(&detaches, d, list);
		free(d);
	}
}

/* End all jobs without a word; returns when no unit touches memory any more. */
void accel_stop_jobs(void)
{
	pthread_mutex_lock(&sched_lock);
	discard_all();
	nr_lost_done = 0;
	spoilt_status = 0;
	while (nr_running)
		pthread_cond_wait(&unit_idle, &sched_lock);
	pthread_mutex_unlock(&sched_lock);
}
