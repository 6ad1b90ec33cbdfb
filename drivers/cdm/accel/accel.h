/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Driver of the reference accelerator: what its files share.
 */
#ifndef _CDM_ACCEL_H
#define _CDM_ACCEL_H

#include <linux/cdm-driver.h>
#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "accel_hw.h"

#define ACCEL_WINDOW		PMD_SIZE	/* looked at around a fault */
#define ACCEL_LINE		64		/* bytes of an access that counts */
#define ACCEL_NOTE_SHIFT	16		/* of the small regions with a counter */
#define ACCEL_SPACE_END		BIT(48)		/* of the addresses the device knows */
#define ACCEL_MAX_JOBS		128	/* of a file, with those nobody has waited for */
/* Of an attachment, with those of jobs that are cancelled; others fail. */
#define ACCEL_MAX_FAULTS	(16 * ACCEL_MAX_JOBS)
#define ACCEL_MAX_NOTES		256	/* of an attachment; others are lost */
#define ACCEL_WORKERS		4	/* of an attachment: faults at the same time */
/* Attachments, with closed ones whose workers are not done yet. */
#define ACCEL_MAX_OF_PROCESS	16
#define ACCEL_MAX_OF_USER	(CDM_ACCEL_MAX_ASIDS / 2)

struct device;
struct pci_dev;
struct seq_file;
struct task_struct;
struct vhost_task;

/**
 * struct accel_call - a command that will be answered
 * @fn: called when it is, or when the device is gone (-ENODEV), in process
 *	context
 * @space: of a job, its address space; NULL for other commands
 * @id: of the command
 * @cancelled: when its process has asked for its end first (jiffies), or 0
 * @done: the answer
 */
struct accel_call {
	void (*fn)(struct accel_call *call);
	struct accel_space *space;
	u32 id;
	unsigned long cancelled;
	struct cdm_accel_done done;
};

/**
 * struct accel_ring - what the driver knows of a ring of its own accord
 * @shared: the ring; what the device writes there is not trusted
 * @head: what the producer has written; of a ring of the device's, unused
 * @tail: what the consumer has taken; of a ring of the driver's, when last looked at
 */
struct accel_ring {
	struct cdm_accel_ring *shared;
	u32 head;
	u32 tail;
};

/**
 * enum accel_state - what there is between the driver and the device
 * @ACCEL_STOPPED: the device accesses no memory, and knows no address space
 * @ACCEL_CLOSED: nothing is sent to it any more, but it may be at work yet
 * @ACCEL_OPEN: commands and invalidations are sent
 */
enum accel_state {
	ACCEL_STOPPED,
	ACCEL_CLOSED,
	ACCEL_OPEN,
};

/**
 * struct accel - a device
 * @ref: its driver, each open file, each address space, and @lost_work when it is
 *	queued hold a reference
 * @pdev: the PCI function
 * @bar: what both sides share
 * @regs: what the device said of itself when the driver found it; but @reset counts
 * @bells: BAR 0
 * @mem: the device node's memory; NULL when there is none (any more)
 * @mem_lock: protects @mem
 * @nid: the device node
 * @nr_irqs: interrupts that have been requested
 * @misc: the character device
 * @name: of it
 * @index: in it
 * @sem: held for reading by calls of programs and owner that talk to the device, for
 *	writing to end that; others who do so heed @state
 * @gone: the device is lost or unbound, for good; written under @stop_lock
 * @suspended: the device is suspended, or about to be; under @sem
 * @asleep: it is, and without tenants: its registers say nothing
 * @down: the link has been seen down, which is for good
 * @resumed: those who wait until it is not, or gone; and those who poll
 * @stop_lock: taken to stop and to restart the device. Memory reclaim may want it
 * @state: read under @cmd_lock or @inval_lock, written under both and @stop_lock
 * @nr_stops: how often it has become %ACCEL_STOPPED
 * @cmd_lock: protects the producer's end of the command ring, and the roots
 * @cmd_ring: the command ring
 * @calls: commands that have not been answered, by id; xa_lock
 * @next_id: for these
 * @inval_lock: protects the producer's end of the invalidation ring
 * @inval_ring: the invalidation ring
 * @drain_lock: protects the consumer's ends of the other rings
 * @done_ring: the completion ring
 * @fault_ring: the fault ring
 * @note_ring: the notification ring
 * @spaces_lock: protects @spaces, @next_asid and @all_spaces
 * @spaces: address spaces by number
 * @next_asid: where the search for a free number begins
 * @all_spaces: those with a number, and those that have or had none
 * @space_freed: those who wait until one of the latter has gone
 * @watchdog: looks after lost interrupts and a lost link
 * @lost_work: what is to be done about the latter; queued by accel_lose() alone
 * @nr_moved: pages of tenants that have come to the device or left it
 * @nr_reported: times that accesses were reported
 * @nr_failed: pages of it that have failed
 * @nr_ignored: events of the device that are about nothing, or make no sense
 * @nr_copied: pages that the copy engine has moved
 * @nr_tables: page tables of its address spaces
 * @debugfs: folder
 */
struct accel {
	struct kref ref;
	struct pci_dev *pdev;
	struct cdm_accel_bar *bar;
	struct cdm_accel_regs regs;
	void __iomem *bells;
	struct cdm_memory *mem;
	struct mutex mem_lock;		/* see above */
	int nid;
	int nr_irqs;
	struct miscdevice misc;
	char name[24];
	int index;
	struct rw_semaphore sem;
	bool gone;
	bool suspended;
	bool asleep;
	bool down;
	wait_queue_head_t resumed;
	struct mutex stop_lock;		/* see above */
	enum accel_state state;
	unsigned int nr_stops;
	spinlock_t cmd_lock;		/* see above */
	struct accel_ring cmd_ring;
	struct xarray calls;
	u32 next_id;
	spinlock_t inval_lock;		/* see above */
	struct accel_ring inval_ring;
	struct mutex drain_lock;	/* see above */
	struct accel_ring done_ring;
	struct accel_ring fault_ring;
	struct accel_ring note_ring;
	spinlock_t spaces_lock;		/* see above */
	struct accel_space *spaces[CDM_ACCEL_MAX_ASIDS];
	u32 next_asid;
	struct list_head all_spaces;
	wait_queue_head_t space_freed;
	struct delayed_work watchdog;
	struct work_struct lost_work;
	atomic_long_t nr_moved;
	atomic_long_t nr_reported;
	atomic_long_t nr_failed;
	atomic_long_t nr_ignored;
	atomic_long_t nr_copied;
	atomic_long_t nr_tables;
	struct dentry *debugfs;
};

/**
 * struct accel_worker - a thread of a process that looks after the device's faults
 * @space: the process's
 * @task: the thread
 * @idle: it sleeps, and nobody has woken it; under @queue_lock
 * @done: it does nothing any more; under @queue_lock
 */
struct accel_worker {
	struct accel_space *space;
	struct vhost_task *task;
	bool idle;
	bool done;
};

/**
 * struct accel_space - an address space, as the device sees it
 * @ref: its file, its workers and users under way hold a reference
 * @accel: the device
 * @list: in all of its address spaces
 * @uid: the user who attached
 * @task: the thread that did; its memory policy is that of faults
 * @asid: its number there
 * @flags: CDM_ACCEL_MIGRATE_*
 * @mm: the address space
 * @notifier: tells of changes
 * @lock: protects the page table
 * @root: of that
 * @nr_pending: invalidations that the device has not answered; raised under @lock
 * @dead: no more entries are made; under @lock
 * @queue_lock: protects what follows
 * @closed: nothing is queued any more
 * @faults: that wait for a worker
 * @nr_faults: with those at work
 * @notes: that wait, one of a region
 * @first_note: the oldest of these
 * @nr_notes: how many
 * @workers: threads of the process
 * @nr_workers: that are not done yet, and one while the file is open
 * @end_work: ends them when all are done
 */
struct accel_space {
	struct kref ref;
	struct accel *accel;
	struct list_head list;
	kuid_t uid;
	struct task_struct *task;
	u32 asid;
	u32 flags;
	struct mm_struct *mm;
	struct mmu_interval_notifier notifier;
	struct mutex lock;		/* see above */
	u64 *root;
	atomic_t nr_pending;
	bool dead;
	spinlock_t queue_lock;		/* see above */
	bool closed;
	struct list_head faults;
	unsigned int nr_faults;
	struct cdm_accel_note notes[ACCEL_MAX_NOTES];
	unsigned int first_note;
	unsigned int nr_notes;
	struct accel_worker workers[ACCEL_WORKERS];
	unsigned int nr_workers;
	struct work_struct end_work;
};

/* pci.c */
extern struct workqueue_struct *accel_wq;
extern struct workqueue_struct *accel_end_wq;
void accel_get(struct accel *accel);
void accel_put(struct accel *accel);
int accel_enter(struct accel *accel);
void accel_leave(struct accel *accel);
void accel_lose(struct accel *accel);
int accel_suspend(struct device *dev);
int accel_resume(struct device *dev);

/* ring.c */
void accel_rings_init(struct accel *accel);
int accel_restart(struct accel *accel);
void accel_stop(struct accel *accel);
void accel_set_root(struct accel *accel, u32 asid, u64 pa);
int accel_push(struct accel *accel, const struct cdm_accel_cmd *cmd);
int accel_call_start(struct accel *accel, struct accel_call *call,
		     struct cdm_accel_cmd *cmd);
int accel_call_wait(struct accel *accel, struct cdm_accel_cmd *cmd,
		    struct cdm_accel_done *done);
void accel_end_calls(struct accel *accel, struct accel_space *space,
		     int status);
void accel_end_cancelled(struct accel *accel);
void accel_invalidate(struct accel *accel, u32 asid, unsigned long start,
		      unsigned long end);
void accel_ignore(struct accel *accel, const char *what);
void accel_drain(struct accel *accel);
bool accel_link_is_down(struct accel *accel);

/* mmu.c */
struct accel_space *accel_space_create(struct accel *accel,
				       struct mm_struct *mm, u32 flags);
int accel_space_attach(struct accel_space *space);
void accel_space_detach(struct accel_space *space);
void accel_space_destroy(struct accel_space *space);
struct accel_space *accel_space_get(struct accel *accel, u32 asid);
void accel_space_put(struct accel_space *space);
int accel_resolve(struct accel_space *space, unsigned long addr, bool write);
void accel_attract(struct accel_space *space, unsigned long addr,
		   unsigned long size);
void accel_spaces_stop(struct accel *accel);
void accel_spaces_restart(struct accel *accel);

/* work.c */
void accel_workers_init(struct accel_space *space);
int accel_workers_start(struct accel_space *space);
void accel_workers_end(struct accel_space *space);
void accel_fault(struct accel *accel, struct accel_space *space,
		 const struct cdm_accel_fault *fault);
void accel_note(struct accel *accel, struct accel_space *space,
		const struct cdm_accel_note *note);

/* file.c */
extern const struct file_operations accel_fops;

/* owner.c */
extern const struct cdm_ops accel_cdm_ops;

/* debugfs.c */
void accel_debugfs_init(void);
void accel_debugfs_add(struct accel *accel);
void accel_debugfs_del(struct accel *accel);
void accel_debugfs_exit(void);

#endif /* _CDM_ACCEL_H */
