// SPDX-License-Identifier: GPL-2.0
/*
 * Reference accelerator: the character device. An open file is a queue of jobs
 * for one address space.
 */
#include <linux/cdm-driver.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <uapi/linux/cdm_accel.h>

#include "accel.h"

struct accel_file {
	struct accel *accel;
	/* Protects @space against another attachment. */
	struct mutex lock;
	struct accel_space *space;
	/* Protects the list, and @done of the jobs in it. */
	spinlock_t jobs_lock;
	struct list_head jobs;
	unsigned int nr_jobs;
	wait_queue_head_t wait;
};

struct accel_job {
	struct accel_call call;
	struct accel_file *file;
	struct list_head list;
	bool done;
};

static long accel_ioc_info(struct accel *accel, void __user *arg)
{
	struct cdm_accel_info info = { .nid = accel->nid };
	int ret;

	ret = accel_enter(accel);
	if (ret)
		return ret;
	info.mem_size = accel->regs.mem_size;
	info.nr_units = accel->regs.nr_units;
	accel_leave(accel);
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static struct accel_space *accel_file_space(struct accel_file *file)
{
	/* Pairs with accel_attach(). */
	return smp_load_acquire(&file->space);
}

/*
 * The address space comes about without @sem: that takes the mmap lock, and whoever
 * suspends the device or finds it lost must not wait for a process.
 */
static int accel_attach(struct accel_file *file,
			struct cdm_accel_attach *attach)
{
	struct accel_space *space;
	int ret;

	lockdep_assert_held(&file->lock);
	if (attach->flags & ~(CDM_ACCEL_MIGRATE_ON_FAULT |
			      CDM_ACCEL_MIGRATE_ON_HINT |
			      CDM_ACCEL_REPORT_ACCESSES |
			      CDM_ACCEL_REPORT_FAULTS |
			      CDM_ACCEL_REPORT_SAMPLES))
		return -EINVAL;
	if (file->space)
		return -EBUSY;
	space = accel_space_create(file->accel, current->mm, attach->flags);
	if (IS_ERR(space))
		return PTR_ERR(space);
	ret = accel_enter(file->accel);
	if (!ret) {
		ret = accel_space_attach(space);
		accel_leave(file->accel);
	}
	if (ret) {
		accel_space_destroy(space);
		return ret;
	}
	attach->asid = space->asid;
	/* Complete for those who look without the lock. */
	smp_store_release(&file->space, space);
	return 0;
}

static long accel_ioc_attach(struct accel_file *file, void __user *arg)
{
	struct cdm_accel_attach attach;
	int ret;

	if (copy_from_user(&attach, arg, sizeof(attach)))
		return -EFAULT;
	if (mutex_lock_killable(&file->lock))
		return -EINTR;
	ret = accel_attach(file, &attach);
	mutex_unlock(&file->lock);
	if (!ret && copy_to_user(arg, &attach, sizeof(attach)))
		ret = -EFAULT;
	return ret;
}

/* Returns whether the caller has inherited the file of another process. */
static bool accel_is_strange(struct accel_file *file)
{
	struct accel_space *space = accel_file_space(file);

	return space && space->mm != current->mm;
}

static void accel_job_done(struct accel_call *call)
{
	struct accel_job *job = container_of(call, struct accel_job, call);
	struct accel_file *file = job->file;

	spin_lock(&file->jobs_lock);
	job->done = true;
	wake_up_all(&file->wait);
	spin_unlock(&file->jobs_lock);
}

static struct accel_job *accel_job_create(struct accel_file *file)
{
	struct accel_job *job;
	bool full;

	job = kzalloc(sizeof(*job), GFP_KERNEL_ACCOUNT);
	if (!job)
		return ERR_PTR(-ENOMEM);
	job->call.fn = accel_job_done;
	job->file = file;

	spin_lock(&file->jobs_lock);
	full = file->nr_jobs == ACCEL_MAX_JOBS;
	if (!full)
		file->nr_jobs++;
	spin_unlock(&file->jobs_lock);
	if (!full)
		return job;
	kfree(job);
	return ERR_PTR(-EAGAIN);
}

/* Nobody refers to the job, and it is in no list. */
static void accel_job_free(struct accel_job *job)
{
	spin_lock(&job->file->jobs_lock);
	job->file->nr_jobs--;
	spin_unlock(&job->file->jobs_lock);
	kfree(job);
}

static int accel_submit_to(struct accel_file *file, struct accel_space *space,
			   struct cdm_accel_submit *submit)
{
	struct cdm_accel_cmd cmd = {
		.op = CDM_ACCEL_OP_JOB,
		.asid = space->asid,
		.kernel = submit->kernel,
	};
	struct accel_job *job;
	int ret;

	memcpy(cmd.args, submit->args, sizeof(cmd.args));
	job = accel_job_create(file);
	if (IS_ERR(job))
		return PTR_ERR(job);
	job->call.space = space;
	ret = accel_call_start(file->accel, &job->call, &cmd);
	if (ret) {
		accel_job_free(job);
		return ret;
	}
	submit->id = cmd.id;

	spin_lock(&file->jobs_lock);
	list_add_tail(&job->list, &file->jobs);
	if (job->done)
		wake_up_all(&file->wait);
	spin_unlock(&file->jobs_lock);
	return 0;
}

static int accel_submit(struct accel_file *file,
			struct cdm_accel_submit *submit)
{
	struct accel_space *space = accel_file_space(file);

	if (submit->kernel >= CDM_ACCEL_JOB_NR)
		return -EINVAL;
	if (!space)
		return -ENXIO;
	return accel_submit_to(file, space, submit);
}

static long accel_ioc_submit(struct accel_file *file, void __user *arg)
{
	struct cdm_accel_submit submit;
	int ret;

	if (copy_from_user(&submit, arg, sizeof(submit)))
		return -EFAULT;
	ret = accel_enter(file->accel);
	if (ret)
		return ret;
	ret = accel_submit(file, &submit);
	accel_leave(file->accel);
	if (!ret && copy_to_user(arg, &submit, sizeof(submit)))
		ret = -EFAULT;
	return ret;
}

/*
 * Take job @id, or with 0 any job, out of the list if it is done. NULL: not yet;
 * or ERR_PTR(-ENOENT): there is none.
 */
static struct accel_job *accel_take_job(struct accel_file *file, u32 id)
{
	struct accel_job *job, *found = ERR_PTR(-ENOENT);

	spin_lock(&file->jobs_lock);
	list_for_each_entry(job, &file->jobs, list) {
		if (id && job->call.id != id)
			continue;
		found = NULL;
		if (job->done) {
			list_del(&job->list);
			found = job;
			break;
		}
	}
	spin_unlock(&file->jobs_lock);
	return found;
}

static struct accel_job *accel_wait(struct accel_file *file, u32 id,
				    s32 timeout_ms)
{
	const ktime_t end = ktime_add_ms(ktime_get(), timeout_ms);
	long timeout = MAX_SCHEDULE_TIMEOUT;
	struct accel_job *job;

	if (timeout_ms >= 0)
		timeout = msecs_to_jiffies(timeout_ms);
	for (;;) {
		timeout = wait_event_freezable_timeout(file->wait,
						       (job = accel_take_job(file, id)),
						       timeout);
		if (job)
			return job;
		if (timeout < 0)
			return ERR_PTR(-EINTR);
		/* Jiffies may have lagged behind the clock when the wait began. */
		if (!ktime_before(ktime_get(), end))
			return ERR_PTR(-ETIME);
		timeout = 1;
	}
}

static long accel_ioc_wait(struct accel_file *file, void __user *arg)
{
	struct cdm_accel_wait wait;
	struct accel_job *job;

	if (copy_from_user(&wait, arg, sizeof(wait)))
		return -EFAULT;
	if (wait.timeout_ms < -1)
		return -EINVAL;
	job = accel_wait(file, wait.id, wait.timeout_ms);
	if (IS_ERR(job))
		return PTR_ERR(job);

	wait.id = job->call.id;
	wait.status = job->call.done.status;
	wait.nr_faults = job->call.done.nr_faults;
	wait.result = job->call.done.result;
	wait.addr = job->call.done.addr;
	accel_job_free(job);
	return copy_to_user(arg, &wait, sizeof(wait)) ? -EFAULT : 0;
}

/* Note when a job is cancelled for the first time. Returns whether there is one. */
static bool accel_note_cancel(struct accel_file *file, u32 id)
{
	struct accel_job *job;
	bool found = false;

	spin_lock(&file->jobs_lock);
	list_for_each_entry(job, &file->jobs, list) {
		if (job->call.id != id)
			continue;
		found = true;
		if (!job->call.cancelled)
			WRITE_ONCE(job->call.cancelled, jiffies ?: 1);
	}
	spin_unlock(&file->jobs_lock);
	return found;
}

static long accel_ioc_cancel(struct accel_file *file, void __user *arg)
{
	struct cdm_accel_cmd cmd = { .op = CDM_ACCEL_OP_CANCEL };
	int ret;

	if (copy_from_user(&cmd.id, arg, sizeof(cmd.id)))
		return -EFAULT;
	ret = accel_enter(file->accel);
	if (ret)
		return ret;
	ret = accel_note_cancel(file, cmd.id) ? accel_push(file->accel, &cmd) :
						-ENOENT;
	accel_leave(file->accel);
	return ret;
}

static long accel_ioc_move(struct accel *accel, void __user *arg)
{
	struct cdm_accel_move move;
	long ret;

	if (copy_from_user(&move, arg, sizeof(move)))
		return -EFAULT;
	if (move.to_device > 1)
		return -EINVAL;
	ret = accel_enter(accel);
	if (ret)
		return ret;
	accel_leave(accel);
	ret = cdm_migrate_range(current->mm, move.addr, move.size,
				move.to_device ? accel->nid : NUMA_NO_NODE,
				NULL);
	if (ret < 0)
		return ret;
	move.nr_left = ret;
	return copy_to_user(arg, &move, sizeof(move)) ? -EFAULT : 0;
}

/*
 * Each call talks to the device between accel_enter() and accel_leave(), which
 * hold up its suspend and its end, so not longer than that takes. WAIT does
 * without: it may take forever, and a job that has ended can be waited for when
 * the device is gone, too. MOVE only looks whether there is a device: what is
 * migrated, the device may copy, and that comes in on its own (accel_copy()).
 */
static long accel_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct accel_file *file = filp->private_data;
	void __user *user = (void __user *)arg;

	if (accel_is_strange(file))
		return -EPERM;
	switch (cmd) {
	case CDM_ACCEL_IOC_INFO:
		return accel_ioc_info(file->accel, user);
	case CDM_ACCEL_IOC_ATTACH:
		return accel_ioc_attach(file, user);
	case CDM_ACCEL_IOC_SUBMIT:
		return accel_ioc_submit(file, user);
	case CDM_ACCEL_IOC_WAIT:
		return accel_ioc_wait(file, user);
	case CDM_ACCEL_IOC_CANCEL:
		return accel_ioc_cancel(file, user);
	case CDM_ACCEL_IOC_MOVE:
		return accel_ioc_move(file->accel, user);
	default:
		return -ENOTTY;
	}
}

static __poll_t accel_poll(struct file *filp, poll_table *wait)
{
	struct accel_file *file = filp->private_data;
	struct accel *accel = file->accel;
	struct accel_job *job;
	__poll_t mask;

	/* Before what they are woken for is looked at. */
	poll_wait(filp, &file->wait, wait);
	poll_wait(filp, &accel->resumed, wait);
	mask = READ_ONCE(accel->gone) ? EPOLLHUP : 0;
	spin_lock(&file->jobs_lock);
	list_for_each_entry(job, &file->jobs, list) {
		if (job->done)
			mask |= EPOLLIN | EPOLLRDNORM;
	}
	spin_unlock(&file->jobs_lock);
	return mask;
}

/* misc_open() holds off misc_deregister(), so the device is there. */
static int accel_open(struct inode *inode, struct file *filp)
{
	struct miscdevice *misc = filp->private_data;
	struct accel *accel = container_of(misc, struct accel, misc);
	struct accel_file *file;

	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	accel_get(accel);
	file->accel = accel;
	mutex_init(&file->lock);
	spin_lock_init(&file->jobs_lock);
	INIT_LIST_HEAD(&file->jobs);
	init_waitqueue_head(&file->wait);
	filp->private_data = file;
	return 0;
}

/* After accel_space_detach() nobody refers to a job any more. */
static int accel_release(struct inode *inode, struct file *filp)
{
	struct accel_file *file = filp->private_data;
	struct accel *accel = file->accel;
	struct accel_job *job, *next;

	down_read(&accel->sem);
	if (file->space)
		accel_space_detach(file->space);
	up_read(&accel->sem);
	if (file->space)
		accel_space_destroy(file->space);
	list_for_each_entry_safe(job, next, &file->jobs, list)
		kfree(job);
	kfree(file);
	accel_put(accel);
	return 0;
}

const struct file_operations accel_fops = {
	.owner = THIS_MODULE,
	.open = accel_open,
	.release = accel_release,
	.unlocked_ioctl = accel_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = accel_poll,
};
