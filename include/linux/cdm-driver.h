/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coherent device memory: the interface of the drivers that own such memory.
 *
 * See Documentation/mm/cdm/api.rst.
 */
#ifndef _LINUX_CDM_DRIVER_H
#define _LINUX_CDM_DRIVER_H

#include <linux/bits.h>
#include <linux/range.h>
#include <linux/types.h>
#include <linux/workqueue_types.h>

struct cdm_memory;
struct device;
struct folio;
struct mm_struct;
struct page;
struct task_struct;

/**
 * enum cdm_register_flags - how cdm_register_memory() brings a range online
 * @CDM_MEMMAP_ON_DEVICE: place the memmap at the start of each memory block of
 *	the range instead of in RAM. Needs memory_hotplug.memmap_on_memory=1.
 *	Kernel data structures are lost with the device then.
 * @CDM_COHERENT_BAR: the range is a BAR of a coherent device, which firmware
 *	does not list as special purpose memory.
 */
enum cdm_register_flags {
	CDM_MEMMAP_ON_DEVICE	= BIT(0),
	CDM_COHERENT_BAR	= BIT(1),
};

/**
 * struct cdm_evacuation - what an evacuation of device memory came to
 * @nr_moved: pages that were migrated to RAM
 * @nr_pinned: pages left because somebody holds an extra reference on them
 * @nr_no_ram: pages left because no page of RAM could be allocated
 * @nr_busy: pages left for any other, transient, reason
 * @nr_owner: pages left that the owner itself has allocated
 */
struct cdm_evacuation {
	unsigned long nr_moved;
	unsigned long nr_pinned;
	unsigned long nr_no_ram;
	unsigned long nr_busy;
	unsigned long nr_owner;
};

static inline unsigned long
cdm_evacuation_left(const struct cdm_evacuation *evac)
{
	return evac->nr_pinned + evac->nr_no_ram + evac->nr_busy +
	       evac->nr_owner;
}

/**
 * struct cdm_segment - pages next to each other, to be copied
 * @from: the first page frame
 * @to: the one it is copied to
 * @nr_pages: how many
 */
struct cdm_segment {
	unsigned long from;
	unsigned long to;
	unsigned long nr_pages;
};

/**
 * struct cdm_ops - what the owner of device memory can do and wants to know
 * @moved: @nr_pages pages, one folio or several next to each other, have moved
 *	from page frame @from to @to, one or both of which are in the owner's
 *	memory: tenants have come, left (been evicted), or changed places. @from
 *	can no more be reached by way of a process. May not sleep and not migrate
 *	anything: folios are locked.
 * @failed: the page frame @pfn has failed and is not used again (memory
 *	failure). Called in process context, from where the failure is handled;
 *	may sleep, but not take folio locks or free pages.
 * @copy: copy @nr segments, of which one side or both are in the owner's memory,
 *	and return when that is done. An error makes the CPU copy all of them.
 *	%-EHWPOISON says that something cannot be read; each folio is then asked
 *	for on its own, and one for which that is the answer again stays where
 *	it is. May sleep, but the folios are locked, and the mmap lock of a
 *	process may be held for reading: it must not wait for folio locks, for
 *	anybody who takes an mmap lock, or for allocations that do I/O. Not called
 *	for page cache with buffers, which is migrated under a spin lock, nor for
 *	memory with tags beside its data (MTE of arm64).
 * @copy_min: the least that is worth @copy, in bytes of all segments
 * @alive: is the device there, and the link to it up? Asked whenever the CPU has
 *	copied something from the owner's memory or to it, and while tenants are
 *	waited for, so it should take no longer than a read of a register. If not,
 *	all memory of the owner is taken for lost, as by cdm_mark_lost(). Without
 *	it, a copy counts that was made between the loss and the mark. A device
 *	that sleeps, and has no tenants, is there. May be called in an interrupt, and
 *	may not sleep.
 * @may_balance: may NUMA balancing move this part of @mm to the device, or if not
 *	@to_device, away from it? Without it, yes. For an owner that wants to have a
 *	range where it is. May sleep; no lock is held. Where it says no to both, CPUs
 *	are not made to fault either (hints, see cdm_report_accesses())
 *
 * All are optional, and are called with the data of cdm_register_memory(). None
 * is called any more once cdm_unregister_memory() has succeeded or cdm_leave_memory()
 * has returned.
 */
struct cdm_ops {
	void (*moved)(void *data, unsigned long from, unsigned long to,
		      unsigned long nr_pages);
	void (*failed)(void *data, unsigned long pfn);
	int (*copy)(void *data, const struct cdm_segment *segments,
		    unsigned int nr);
	size_t copy_min;
	bool (*alive)(void *data);
	bool (*may_balance)(void *data, struct mm_struct *mm,
			    unsigned long start, unsigned long size,
			    bool to_device);
};

/**
 * struct cdm_recall - memory that the owner claims back
 * @order: of each block of pages, at most MAX_PAGE_ORDER
 * @nr: the number of blocks
 * @pages: out: the blocks, in an array with @nr entries
 * @deadline_ms: milliseconds the tenants are given to leave
 * @progress: NULL, or called before each pageblock that is to be evicted, and each
 *	time that all have been asked and nobody could go; false cancels the recall
 * @nr_recalled: out: blocks that @pages holds; they are the owner's, whatever
 *	cdm_recall() returns
 * @nr_evicted: out: pages that were migrated to RAM
 */
struct cdm_recall {
	unsigned int order;
	unsigned long nr;
	struct page **pages;
	unsigned int deadline_ms;
	bool (*progress)(struct cdm_recall *recall);
	unsigned long nr_recalled;
	unsigned long nr_evicted;
};

/**
 * struct cdm_loss - what the loss of device memory came to
 * @nr_lost: pages whose contents are lost; whoever touches them gets SIGBUS, or
 *	%-EIO from a system call
 * @nr_saved: pages that were copies of what is on a disk
 * @nr_left: pages that somebody still holds: pinned, or the owner's
 */
struct cdm_loss {
	unsigned long nr_lost;
	unsigned long nr_saved;
	unsigned long nr_left;
};

/**
 * struct cdm_migration - a migration in the background
 * @mm: the address space, and
 * @start: first user address,
 * @size: bytes,
 * @nid: node and
 * @status: result of each page, as for cdm_migrate_range()
 * @done: called in process context at the end, with what cdm_migrate_range()
 *	would have returned; %-ECANCELED after cdm_migrate_cancel(). May free the
 *	structure unless somebody is going to call cdm_migrate_cancel().
 * @work: private
 * @cancelled: private
 */
struct cdm_migration {
	struct mm_struct *mm;
	unsigned long start;
	unsigned long size;
	int nid;
	int *status;
	void (*done)(struct cdm_migration *migration, int ret);
	struct work_struct work;
	bool cancelled;
};

struct cdm_memory *cdm_register_memory(struct device *owner,
				       const struct range *range, int nid,
				       unsigned int flags,
				       const struct cdm_ops *ops, void *data);
int cdm_unregister_memory(struct cdm_memory *mem, unsigned int deadline_ms,
			  struct cdm_evacuation *evac);
void cdm_mark_lost(struct device *owner);
int cdm_lose_memory(struct cdm_memory *mem, struct cdm_loss *loss);
int cdm_leave_memory(struct cdm_memory *mem, unsigned int deadline_ms,
		     struct cdm_evacuation *evac);
int cdm_suspend_memory(struct cdm_memory *mem, unsigned int deadline_ms,
		       struct cdm_evacuation *evac);
void cdm_resume_memory(struct cdm_memory *mem);
int cdm_memory_nid(const struct cdm_memory *mem);

struct page *cdm_alloc_pages(struct cdm_memory *mem, unsigned int order);
void cdm_free_pages(struct cdm_memory *mem, struct page *page,
		    unsigned int order);
int cdm_recall(struct cdm_memory *mem, struct cdm_recall *recall);
int cdm_set_reserve(struct cdm_memory *mem, unsigned long nr_pages,
		    unsigned int deadline_ms);

int cdm_migrate_range(struct mm_struct *mm, unsigned long start,
		      unsigned long size, int nid, int *status);
void cdm_migrate_start(struct cdm_migration *migration);
void cdm_migrate_cancel(struct cdm_migration *migration);
int cdm_report_accesses(int nid, struct mm_struct *mm, unsigned long start,
			unsigned long size, unsigned long nr);
int cdm_follow_policy(struct task_struct *task);
int cdm_query_range(struct mm_struct *mm, unsigned long start,
		    unsigned long size, int *nodes);

typedef int (*cdm_spm_fn)(const struct range *range, void *data);

int cdm_walk_spm(cdm_spm_fn fn, void *data);

#endif /* _LINUX_CDM_DRIVER_H */
