// SPDX-License-Identifier: GPL-2.0
/*
 * Reference accelerator: address spaces. The page table of the device mirrors
 * that of the process: a fault of the device is resolved as one of the CPU would
 * be, and what the kernel takes back from the process it takes back from the
 * device first.
 */
#include <linux/cdm-driver.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/hmm.h>
#include <linux/huge_mm.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include <uapi/linux/cdm_accel.h>

#include "accel.h"

#define ACCEL_LEVELS	4
#define ACCEL_ENTRIES	512
#define ACCEL_RETRY	(10 * HZ)	/* a page that others keep changing */
#define ACCEL_ADMIT	HZ		/* for those that have been closed */

static_assert(ACCEL_SPACE_END == 1UL << (PAGE_SHIFT + 9 * ACCEL_LEVELS));

static unsigned int accel_shift(int level)
{
	return PAGE_SHIFT + 9 * level;
}

/* Level 0 holds the entries of pages, and ACCEL_LEVELS - 1 is the root. */
static u64 *accel_entry(u64 *table, int level, unsigned long addr)
{
	return &table[(addr >> accel_shift(level)) % ACCEL_ENTRIES];
}

static u64 *accel_table(u64 entry)
{
	return phys_to_virt(entry & CDM_ACCEL_PTE_PA);
}

static bool accel_is_table(u64 entry, int level)
{
	return level && entry && !(entry & CDM_ACCEL_PTE_LEAF);
}

/* Charged to the caller, who is of the process, and counted as those of KVM are. */
static u64 *accel_table_alloc(struct accel_space *space)
{
	struct ptdesc *ptdesc = pagetable_alloc(GFP_KERNEL_ACCOUNT | __GFP_ZERO,
						0);

	if (!ptdesc)
		return NULL;
	mod_lruvec_page_state(ptdesc_page(ptdesc), NR_SECONDARY_PAGETABLE, 1);
	atomic_long_inc(&space->accel->nr_tables);
	return ptdesc_address(ptdesc);
}

static void accel_table_free(struct accel_space *space, u64 *table)
{
	struct ptdesc *ptdesc = virt_to_ptdesc(table);

	mod_lruvec_page_state(ptdesc_page(ptdesc), NR_SECONDARY_PAGETABLE, -1);
	atomic_long_dec(&space->accel->nr_tables);
	pagetable_free(ptdesc);
}

/* Tables for one window, since the lock is no place to wait for memory. */
struct accel_spares {
	u64 *tables[ACCEL_LEVELS - 1];
	int nr;
};

static int accel_spares_fill(struct accel_space *space,
			     struct accel_spares *spares)
{
	while (spares->nr < ARRAY_SIZE(spares->tables)) {
		u64 *table = accel_table_alloc(space);

		if (!table)
			return -ENOMEM;
		spares->tables[spares->nr++] = table;
	}
	return 0;
}

static void accel_spares_free(struct accel_space *space,
			      struct accel_spares *spares)
{
	while (spares->nr)
		accel_table_free(space, spares->tables[--spares->nr]);
}

static void accel_tables_free(struct accel_space *space, u64 *table, int level)
{
	int i;

	for (i = 0; level && i < ACCEL_ENTRIES; i++) {
		if (accel_is_table(table[i], level))
			accel_tables_free(space, accel_table(table[i]),
					  level - 1);
	}
	accel_table_free(space, table);
}

/*
 * A range that the device has to forget, and the tables that mapped it, which it may
 * look at until then.
 */
struct accel_gone {
	unsigned long start;
	unsigned long end;
	struct list_head tables;
};

/* Clear an entry that maps [@start, @end), or a table that maps nothing there. */
static void accel_entry_clear(u64 *entry, unsigned long start,
			      unsigned long end, struct accel_gone *gone)
{
	WRITE_ONCE(*entry, 0);
	gone->start = min(gone->start, start);
	gone->end = max(gone->end, end);
}

/*
 * Find the entries of [@start, @end) in a table. With @gone they are cleared, and
 * @gone grows to all that they mapped: a notifier that begins or ends within a huge
 * page takes all of its entry. Tables that are empty then go, too. Returns whether
 * there were any entries.
 */
static bool accel_table_find(u64 *table, int level, unsigned long start,
			     unsigned long end, struct accel_gone *gone)
{
	unsigned long size = 1UL << accel_shift(level);
	unsigned long addr, base, next;
	bool found = false;
	u64 *below;

	for (addr = start; addr < end; addr = next) {
		u64 *entry = accel_entry(table, level, addr);

		base = ALIGN_DOWN(addr, size);
		next = min(end, base + size);
		if (!accel_is_table(*entry, level)) {
			if (!*entry)
				continue;
			found = true;
			if (gone)
				accel_entry_clear(entry, base, base + size,
						  gone);
			continue;
		}
		below = accel_table(*entry);
		if (!accel_table_find(below, level - 1, addr, next, gone))
			continue;
		found = true;
		if (gone && !memchr_inv(below, 0, PAGE_SIZE)) {
			accel_entry_clear(entry, base, base + size, gone);
			list_add(&virt_to_ptdesc(below)->pt_list,
				 &gone->tables);
		}
	}
	return found;
}

/* The entry of level @level that maps @addr, with the tables it takes. */
static u64 *accel_make_entry(struct accel_space *space, unsigned long addr,
			     int level, struct accel_spares *spares)
{
	u64 *table = space->root;
	int i;

	lockdep_assert_held(&space->lock);
	for (i = ACCEL_LEVELS - 1; i > level; i--) {
		u64 *entry = accel_entry(table, i, addr);

		if (!accel_is_table(*entry, i)) {
			u64 *new = spares->tables[--spares->nr];

			/* Zeroed before the device can see it. */
			smp_store_release(entry, virt_to_phys(new) |
						 CDM_ACCEL_PTE_VALID |
						 CDM_ACCEL_PTE_WRITE);
		}
		table = accel_table(*entry);
	}
	return accel_entry(table, level, addr);
}

static void accel_space_free(struct kref *ref)
{
	struct accel_space *space = container_of(ref, struct accel_space, ref);
	struct accel *accel = space->accel;

	spin_lock(&accel->spaces_lock);
	list_del(&space->list);
	spin_unlock(&accel->spaces_lock);
	wake_up_all(&accel->space_freed);
	if (space->root)
		accel_tables_free(space, space->root, ACCEL_LEVELS - 1);
	mmdrop(space->mm);
	put_task_struct(space->task);
	kfree(space);
	accel_put(accel);
}

void accel_space_put(struct accel_space *space)
{
	kref_put(&space->ref, accel_space_free);
}

struct accel_space *accel_space_get(struct accel *accel, u32 asid)
{
	struct accel_space *space = NULL;

	spin_lock(&accel->spaces_lock);
	if (asid < CDM_ACCEL_MAX_ASIDS)
		space = accel->spaces[asid];
	if (space)
		kref_get(&space->ref);
	spin_unlock(&accel->spaces_lock);
	return space;
}

/*
 * Make the device forget what has gone from the page table. Until it answers, the
 * table does not say what the device uses, so the caller has counted this in
 * @nr_pending under the same hold of the lock that changed the table.
 */
static void accel_space_forget(struct accel_space *space,
			       struct accel_gone *gone)
{
	struct ptdesc *ptdesc, *next;

	accel_invalidate(space->accel, space->asid, gone->start, gone->end);
	atomic_dec(&space->nr_pending);
	list_for_each_entry_safe(ptdesc, next, &gone->tables, pt_list)
		accel_table_free(space, ptdesc_address(ptdesc));
}

/*
 * Clear the entries of @gone, which grows to what the device has to forget. Returns
 * whether that is anything. While another invalidation is pending, it may be that of
 * entries that were here: so the device is asked even if there is no entry.
 */
static bool accel_space_clear(struct accel_space *space,
			      struct accel_gone *gone)
{
	bool found;

	lockdep_assert_held(&space->lock);
	found = accel_table_find(space->root, ACCEL_LEVELS - 1, gone->start,
				 gone->end, gone);
	if (!found && !atomic_read(&space->nr_pending))
		return false;
	atomic_inc(&space->nr_pending);
	return true;
}

static bool accel_space_is_clear(struct accel_space *space,
				 const struct accel_gone *gone)
{
	lockdep_assert_held(&space->lock);
	return !atomic_read(&space->nr_pending) &&
	       !accel_table_find(space->root, ACCEL_LEVELS - 1, gone->start,
				 gone->end, NULL);
}

/*
 * The process is about to lose [range->start, range->end). The sequence number
 * makes a fault that is being resolved start anew. A caller that must not sleep, as
 * the OOM reaper, cannot have what the device uses: the answer takes as long as the
 * device likes.
 */
static bool accel_invalidate_cb(struct mmu_interval_notifier *notifier,
				const struct mmu_notifier_range *range,
				unsigned long seq)
{
	struct accel_space *space =
		container_of(notifier, struct accel_space, notifier);
	bool may_sleep = mmu_notifier_range_blockable(range);
	struct accel_gone gone = {
		.start = range->start,
		.end = min(range->end, ACCEL_SPACE_END),
		.tables = LIST_HEAD_INIT(gone.tables),
	};
	bool ok = true, forget = false;

	if (may_sleep)
		mutex_lock(&space->lock);
	else if (!mutex_trylock(&space->lock))
		return false;
	if (may_sleep)
		forget = accel_space_clear(space, &gone);
	else
		ok = accel_space_is_clear(space, &gone);
	if (ok)
		mmu_interval_set_seq(notifier, seq);
	mutex_unlock(&space->lock);
	if (forget)
		accel_space_forget(space, &gone);
	return ok;
}

static const struct mmu_interval_notifier_ops accel_notifier_ops = {
	.invalidate = accel_invalidate_cb,
};

static u64 accel_pte(unsigned long hmm_pfn)
{
	u64 pte = (u64)PFN_PHYS(hmm_pfn & ~HMM_PFN_FLAGS) | CDM_ACCEL_PTE_VALID;

	return hmm_pfn & HMM_PFN_WRITE ? pte | CDM_ACCEL_PTE_WRITE : pte;
}

/*
 * Returns whether a translation has changed that the device may have kept. One that
 * has only got the right to write has not: the device does not keep that it lacks
 * that. And what is there with the right keeps it, since no notifier has taken it.
 */
static bool accel_set_entry(u64 *entry, u64 pte)
{
	u64 old = *entry;

	if (old == pte || old == (pte | CDM_ACCEL_PTE_WRITE))
		return false;
	WRITE_ONCE(*entry, pte);
	return old && (old | CDM_ACCEL_PTE_WRITE) != pte;
}

/*
 * Decide what of the window the device may write to. It does so without a word, and
 * the process's page table does not tell it from the state of the page: so what it
 * gets is dirty from here on. Nothing makes a page clean without a notifier first,
 * which takes the entry away. What a fault for reading finds stays clean. Pages that
 * the process has given up (MADV_FREE) stay so, unless it is them that are wanted.
 */
static void accel_allow_writes(unsigned long *pfns, unsigned int wanted,
			       bool write)
{
	struct folio *folio, *asked = page_folio(hmm_pfn_to_page(pfns[wanted]));
	unsigned int i;

	for (i = 0; i < ACCEL_ENTRIES; i++) {
		if (!(pfns[i] & HMM_PFN_VALID) || !(pfns[i] & HMM_PFN_WRITE))
			continue;
		folio = page_folio(hmm_pfn_to_page(pfns[i]));
		if (write && (folio == asked || !folio_test_anon(folio) ||
			      folio_test_swapbacked(folio)))
			folio_mark_dirty(folio);
		else
			pfns[i] &= ~HMM_PFN_WRITE;
	}
}

/* Returns whether all of the window is one huge page, with the same rights. */
static bool accel_is_huge(const unsigned long *pfns)
{
	return hmm_pfn_to_map_order(pfns[0]) >= PMD_ORDER &&
	       IS_ALIGNED(pfns[0] & ~HMM_PFN_FLAGS, ACCEL_ENTRIES) &&
	       (pfns[0] & HMM_PFN_VALID);
}

/* Enter what the window holds. Returns whether the device must forget some. */
static bool accel_map_window(struct accel_space *space, unsigned long start,
			     const unsigned long *pfns,
			     struct accel_spares *spares)
{
	u64 *entry = accel_make_entry(space, start, 1, spares);
	bool changed;
	int i;

	if (accel_is_huge(pfns) && !accel_is_table(*entry, 1))
		return accel_set_entry(entry, accel_pte(pfns[0]) |
					      CDM_ACCEL_PTE_LEAF);

	changed = *entry & CDM_ACCEL_PTE_LEAF;
	for (i = 0; i < ACCEL_ENTRIES; i++) {
		if (!(pfns[i] & HMM_PFN_VALID) || (pfns[i] & HMM_PFN_ERROR))
			continue;
		entry = accel_make_entry(space, start + i * PAGE_SIZE, 0,
					 spares);
		changed |= accel_set_entry(entry, accel_pte(pfns[i]));
	}
	return changed;
}

/*
 * May the device do with a mapping what a load or a store of the process could? Flags
 * of the mapping and bits of the page table are not all: protection keys say what
 * threads may, of which this one has the rights that the thread had which attached; and
 * shadow stacks are written by calls, not by stores.
 */
static bool accel_vma_permits(struct vm_area_struct *vma, bool write)
{
	if (write && (vma->vm_flags & VM_SHADOW_STACK))
		return false;
	return arch_vma_access_permitted(vma, write, false, false);
}

/* Leave out what the process could not do, in the mappings that the window holds. */
static void accel_window_narrow(struct mm_struct *mm, unsigned long start,
				unsigned long *pfns)
{
	VMA_ITERATOR(vmi, mm, start);
	unsigned long end = start + ACCEL_WINDOW, addr, last, keep;
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);
	for_each_vma_range(vmi, vma, end) {
		/* Which also may be read. */
		if (accel_vma_permits(vma, true))
			continue;
		keep = accel_vma_permits(vma, false) ? ~HMM_PFN_WRITE : 0;
		last = min(end, vma->vm_end);
		for (addr = max(start, vma->vm_start); addr < last; addr += PAGE_SIZE)
			pfns[(addr - start) >> PAGE_SHIFT] &= keep;
	}
}

/*
 * Fault a page in as the process would. hmm_range_fault() can do that as well,
 * but not wait for somebody who has to be asked, as with userfaultfd.
 */
static int accel_touch(struct mm_struct *mm, unsigned long addr, bool write)
{
	struct vm_area_struct *vma;
	bool unlocked = false;
	int ret = -EFAULT;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma = vma_lookup(mm, addr);
	if (!vma || accel_vma_permits(vma, write))
		ret = fixup_user_fault(mm, addr, write ? FAULT_FLAG_WRITE : 0,
				       &unlocked);
	mmap_read_unlock(mm);
	return ret;
}

static bool accel_is_there(unsigned long hmm_pfn, bool write)
{
	return (hmm_pfn & HMM_PFN_VALID) &&
	       (!write || (hmm_pfn & HMM_PFN_WRITE));
}

/*
 * Look at the window around @addr, where that one page should be, and map what
 * is there. Returns 0, -EBUSY if the window changed meanwhile, or another errno.
 */
static int accel_try_fault(struct accel_space *space, unsigned long addr,
			   bool write, unsigned long *pfns)
{
	unsigned long start = ALIGN_DOWN(addr, ACCEL_WINDOW);
	unsigned int wanted = (addr - start) >> PAGE_SHIFT;
	struct hmm_range range = {
		.notifier = &space->notifier,
		.start = start,
		.end = start + ACCEL_WINDOW,
		.hmm_pfns = pfns,
	};
	struct accel_gone gone = {
		.start = start,
		.end = start + ACCEL_WINDOW,
		.tables = LIST_HEAD_INIT(gone.tables),
	};
	struct accel_spares spares = { };
	bool changed = false;
	int ret;

	ret = accel_spares_fill(space, &spares);
	if (ret)
		goto out;
	memset(pfns, 0, ACCEL_ENTRIES * sizeof(*pfns));
	range.notifier_seq = mmu_interval_read_begin(range.notifier);
	ret = -EINTR;
	if (mmap_read_lock_killable(space->mm))
		goto out;
	ret = hmm_range_fault(&range);
	if (!ret)
		accel_window_narrow(space->mm, start, pfns);
	mmap_read_unlock(space->mm);
	if (ret)
		goto out;

	mutex_lock(&space->lock);
	if (space->dead) {
		ret = -EFAULT;
	} else if (mmu_interval_read_retry(range.notifier, range.notifier_seq)) {
		ret = -EBUSY;
	} else if (pfns[wanted] & HMM_PFN_ERROR) {
		ret = -EFAULT;	/* nothing that a device can map */
	} else if (!accel_is_there(pfns[wanted], write)) {
		ret = -EBUSY;
	} else {
		/* The pages stay mapped meanwhile: a notifier would need the lock. */
		accel_allow_writes(pfns, wanted, write);
		changed = accel_map_window(space, start, pfns, &spares);
	}
	if (changed)
		atomic_inc(&space->nr_pending);
	mutex_unlock(&space->lock);
	if (changed)
		accel_space_forget(space, &gone);
out:
	accel_spares_free(space, &spares);
	return ret;
}

static int accel_fault_in(struct accel_space *space, unsigned long addr,
			  bool write, unsigned long *pfns)
{
	unsigned long timeout = jiffies + ACCEL_RETRY;
	int ret;

	do {
		ret = accel_touch(space->mm, addr, write) ?:
		      accel_try_fault(space, addr, write, pfns);
		cond_resched();
	} while (ret == -EBUSY && time_before(jiffies, timeout));
	return ret;
}

/* Move the window to the device; what does not want to move stays. */
void accel_attract(struct accel_space *space, unsigned long addr,
		   unsigned long size)
{
	struct accel *accel = space->accel;
	unsigned long start = ALIGN_DOWN(addr, size);

	if (start + size <= space->mm->task_size)
		cdm_migrate_range(space->mm, start, size, accel->nid, NULL);
}

/* Returns whether the page is not on the device. Takes the mmap lock. */
static bool accel_is_away(struct accel_space *space, unsigned long addr)
{
	int nid;

	return cdm_query_range(space->mm, addr & PAGE_MASK, PAGE_SIZE, &nid) ||
	       nid != space->accel->nid;
}

/* Make @addr accessible to the device. The caller is a task of the process. */
int accel_resolve(struct accel_space *space, unsigned long addr, bool write)
{
	unsigned long *pfns;
	int ret;

	if (addr >= ACCEL_SPACE_END)
		return -EFAULT;
	pfns = kmalloc_array(ACCEL_ENTRIES, sizeof(*pfns), GFP_KERNEL_ACCOUNT);
	if (!pfns)
		return -ENOMEM;
	ret = accel_fault_in(space, addr, write, pfns);
	if (!ret && (space->flags & CDM_ACCEL_MIGRATE_ON_FAULT) &&
	    accel_is_away(space, addr)) {
		accel_attract(space, addr, ACCEL_WINDOW);
		ret = accel_fault_in(space, addr, write, pfns);
	}
	kfree(pfns);
	return ret;
}

/* Numbers go round, so that the one that has just become free is the last to be had. */
static int accel_space_number(struct accel_space *space)
{
	struct accel *accel = space->accel;
	int i, ret = -ENOSPC;
	u32 asid;

	spin_lock(&accel->spaces_lock);
	for (i = 0; i < CDM_ACCEL_MAX_ASIDS && ret < 0; i++) {
		asid = accel->next_asid++ % CDM_ACCEL_MAX_ASIDS;
		if (accel->spaces[asid])
			continue;
		accel->spaces[asid] = space;
		space->asid = asid;
		ret = 0;
	}
	spin_unlock(&accel->spaces_lock);
	return ret;
}

static void accel_space_hide(struct accel_space *space)
{
	struct accel *accel = space->accel;

	spin_lock(&accel->spaces_lock);
	accel->spaces[space->asid] = NULL;
	spin_unlock(&accel->spaces_lock);
}

/* Accesses of 64 bytes in 2 MiB, and in 64 KiB, after which the device notes them. */
#define ACCEL_HINT	(2 * PMD_SIZE / ACCEL_LINE)
#define ACCEL_REPORT	(SZ_64K / ACCEL_LINE)

static void accel_space_count(struct accel_space *space)
{
	struct cdm_accel_cmd cmd = {
		.op = CDM_ACCEL_OP_COUNTERS,
		.asid = space->asid,
	};

	if (space->flags & (CDM_ACCEL_REPORT_ACCESSES |
			    CDM_ACCEL_REPORT_SAMPLES))
		cmd.args[0] = ACCEL_REPORT;
	if (space->flags & CDM_ACCEL_MIGRATE_ON_HINT)
		cmd.args[1] = ACCEL_HINT;
	accel_call_wait(space->accel, &cmd, NULL);
}

/* A device that checks itself looks at the page table of the process's CPUs, too. */
static void accel_space_show_pgd(struct accel_space *space)
{
	struct accel *accel = space->accel;
	u64 levels = mm_p4d_folded(space->mm) ? 4 : 5;

	if (accel->regs.checks)
		WRITE_ONCE(accel->bar->pgds[space->asid],
			   virt_to_phys(space->mm->pgd) | levels);
}

static void accel_space_show(struct accel_space *space)
{
	accel_space_show_pgd(space);
	mutex_lock(&space->lock);
	if (!space->dead)
		accel_set_root(space->accel, space->asid,
			       virt_to_phys(space->root));
	mutex_unlock(&space->lock);
	accel_space_count(space);
}

/*
 * The device ends all jobs. If there is no memory for the command they end when they
 * find no translation any more, and those that touch no memory do no harm.
 */
static void accel_space_end_jobs(struct accel_space *space)
{
	struct cdm_accel_cmd cmd = {
		.op = CDM_ACCEL_OP_DETACH,
		.asid = space->asid,
	};
	unsigned long timeout = jiffies + ACCEL_RETRY;

	while (accel_call_wait(space->accel, &cmd, NULL) == -ENOMEM &&
	       time_before(jiffies, timeout))
		msleep(20);
}

/* Call @fn for each address space, unless the device is gone. */
static void accel_spaces_each(struct accel *accel,
			      void (*fn)(struct accel_space *space))
{
	u32 asid;

	down_read(&accel->sem);
	for (asid = 0; asid < CDM_ACCEL_MAX_ASIDS && !accel->gone; asid++) {
		struct accel_space *space = accel_space_get(accel, asid);

		if (!space)
			continue;
		fn(space);
		accel_space_put(space);
	}
	up_read(&accel->sem);
}

/* End all jobs. The device is about to be suspended, so there are no others. */
void accel_spaces_stop(struct accel *accel)
{
	accel_spaces_each(accel, accel_space_end_jobs);
}

/* The device has forgotten them. */
void accel_spaces_restart(struct accel *accel)
{
	accel_spaces_each(accel, accel_space_show);
}

/*
 * Count @space among those of its process and of its user. Returns 0 or -EDQUOT; -EAGAIN
 * if there are too many, but one of them has been closed, and may soon be gone.
 */
static int accel_space_try_admit(struct accel_space *space, bool privileged)
{
	unsigned int nr_of_process = 0, nr_of_user = 0;
	struct accel *accel = space->accel;
	struct accel_space *other;
	bool closed = false;
	int ret = 0;

	spin_lock(&accel->spaces_lock);
	list_for_each_entry(other, &accel->all_spaces, list) {
		if (!uid_eq(other->uid, space->uid) && other->mm != space->mm)
			continue;
		nr_of_user += uid_eq(other->uid, space->uid);
		nr_of_process += other->mm == space->mm;
		closed |= READ_ONCE(other->closed);
	}
	if (nr_of_process >= ACCEL_MAX_OF_PROCESS ||
	    (nr_of_user >= ACCEL_MAX_OF_USER && !privileged))
		ret = closed ? -EAGAIN : -EDQUOT;
	else
		list_add_tail(&space->list, &accel->all_spaces);
	spin_unlock(&accel->spaces_lock);
	return ret;
}

/* Closed ones without a fault under way go at once, but not before close() returns. */
static int accel_space_admit(struct accel_space *space)
{
	bool privileged = capable(CAP_SYS_RESOURCE);
	long left;
	int ret;

	left = wait_event_killable_timeout(space->accel->space_freed,
					   (ret = accel_space_try_admit(space, privileged)) !=
					   -EAGAIN, ACCEL_ADMIT);
	if (left < 0)
		return -EINTR;
	return ret == -EAGAIN ? -EDQUOT : ret;
}

/*
 * An address space for @mm, the caller's, which the device does not see yet. Waits
 * for the mmap lock, so the caller must hold nothing that others need.
 */
struct accel_space *accel_space_create(struct accel *accel,
				       struct mm_struct *mm, u32 flags)
{
	struct accel_space *space;
	int ret;

	space = kzalloc(sizeof(*space), GFP_KERNEL_ACCOUNT);
	if (!space)
		return ERR_PTR(-ENOMEM);
	kref_init(&space->ref);
	mutex_init(&space->lock);
	accel_workers_init(space);
	INIT_LIST_HEAD(&space->list);
	space->accel = accel;
	space->uid = current_uid();
	space->task = get_task_struct(current);
	space->mm = mm;
	space->flags = flags;
	accel_get(accel);
	mmgrab(mm);

	ret = accel_space_admit(space);
	if (ret)
		goto err_put;
	ret = -ENOMEM;
	space->root = accel_table_alloc(space);
	if (!space->root)
		goto err_put;
	ret = mmu_interval_notifier_insert(&space->notifier, mm, 0,
					   ULONG_MAX & PAGE_MASK,
					   &accel_notifier_ops);
	if (ret)
		goto err_put;
	ret = accel_workers_start(space);
	if (ret)
		goto err_notifier;
	return space;

err_notifier:
	mmu_interval_notifier_remove(&space->notifier);
err_put:
	accel_space_put(space);
	return ERR_PTR(ret);
}

/* Make the device see it. The caller holds @sem for reading. */
int accel_space_attach(struct accel_space *space)
{
	int ret = accel_space_number(space);

	/* With its number others find it. */
	if (!ret)
		accel_space_show(space);
	return ret;
}

/*
 * The device must not see the address space any more, and its number is free
 * for others. When this returns, no job of it accesses memory, and those of which the
 * device has not said that they have ended have been ended here: whoever closes a file
 * waits for nothing that the device might never say. The caller holds @sem for reading.
 */
void accel_space_detach(struct accel_space *space)
{
	struct accel *accel = space->accel;

	mutex_lock(&space->lock);
	space->dead = true;
	mutex_unlock(&space->lock);
	accel_space_end_jobs(space);
	accel_set_root(accel, space->asid, 0);
	/* From here on no access is under way, whatever became of the jobs. */
	accel_invalidate(accel, space->asid, 0, ACCEL_SPACE_END);
	accel_end_calls(accel, space, -ECANCELED);
	/* Events that are pending for the number are about this space. */
	accel_drain(accel);
	accel_space_hide(space);
}

/* Waits for notifiers of the process, so the caller must hold nothing. */
void accel_space_destroy(struct accel_space *space)
{
	mmu_interval_notifier_remove(&space->notifier);
	accel_workers_end(space);
	accel_space_put(space);
}
