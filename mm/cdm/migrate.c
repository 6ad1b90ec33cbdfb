// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: migration that a driver asks for.
 *
 * What is simple goes the fast way of range.c. For the rest a walk collects the
 * folios of a stretch of the address space, the migration core of mm/migrate.c
 * moves them, and a second walk finds out where each page really is, so that what
 * is reported is what is.
 */
#include <kunit/static_stub.h>
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/cpuset.h>
#include <linux/export.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/topology.h>
#include <linux/workqueue.h>

#define CREATE_TRACE_POINTS
#include <trace/events/cdm.h>

#include "../internal.h"
#include "internal.h"

/* Memory for the folios of a list. */
struct cdm_targets {
	const struct cdm_move *move;
	struct cdm_blocks blocks;
};

/* The RAM that is nearest to @nid, of @ram unless NULL. */
int cdm_home(int nid, const nodemask_t *ram)
{
	return cdm_nearest_node(nid, ram ?: &node_states[N_MEMORY]);
}

static struct folio *cdm_alloc_other(const struct cdm_move *move,
				     struct folio *src, int nid)
{
	struct migration_target_control mtc = {
		.nid = nid,
		.nmask = move->ram,
		.gfp_mask = GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
			    __GFP_RETRY_MAYFAIL,
		.reason = move->reason,
	};

	if (move->nid != NUMA_NO_NODE)
		mtc.gfp_mask |= __GFP_THISNODE;
	return alloc_migration_target(src, (unsigned long)&mtc);
}

/*
 * RAM is the node nearest to where the folio is. What comes from elsewhere than the
 * first one does not share its blocks.
 */
static struct folio *cdm_alloc_target(struct folio *src, unsigned long private)
{
	struct cdm_targets *targets = (void *)private;
	const struct cdm_move *move = targets->move;
	struct cdm_blocks *blocks = &targets->blocks;
	int nid = move->nid;

	if (nid == NUMA_NO_NODE)
		nid = cdm_home(folio_nid(src), move->ram);
	if (blocks->nid == NUMA_NO_NODE)
		blocks->nid = nid;
	if (folio_test_hugetlb(src) || nid != blocks->nid)
		return cdm_alloc_other(move, src, nid);
	if (!folio_test_large(src))
		return cdm_blocks_page(blocks);
	/* These do not reclaim for the sake of a large folio. */
	if (cdm_node(nid) || move->nowait)
		return cdm_blocks_folio(blocks, folio_order(src));
	return cdm_alloc_other(move, src, nid);
}

static unsigned int cdm_count_small(struct list_head *folios)
{
	struct folio *folio;
	unsigned int nr = 0;

	list_for_each_entry(folio, folios, lru)
		nr += !folio_test_large(folio);
	return nr;
}

/* Folios that are locked or under writeback are waited for only by who can wait. */
static enum migrate_mode cdm_migrate_mode(const struct cdm_move *move)
{
	return move->nowait || move->bounded ? MIGRATE_ASYNC : MIGRATE_SYNC;
}

/*
 * Move isolated folios to the node of @move. A node that is asked for is taken and
 * no other, RAM may fall back to more distant RAM. Neither invokes the OOM killer.
 * Folios that do not move are put back.
 *
 * Returns 0, the number of folios that did not move, or -ENOMEM.
 */
int cdm_migrate_folios(struct list_head *folios, const struct cdm_move *move,
		       unsigned int *nr_moved)
{
	struct cdm_targets targets = {
		.move = move,
		.blocks = cdm_move_blocks(move, move->nid),
	};
	int ret;

	*nr_moved = 0;
	if (list_empty(folios))
		return 0;

	targets.blocks.wanted = cdm_count_small(folios);
	ret = migrate_pages(folios, cdm_alloc_target, NULL,
			    (unsigned long)&targets, cdm_migrate_mode(move),
			    move->reason, nr_moved);
	cdm_blocks_end(&targets.blocks);
	if (ret)
		putback_movable_pages(folios);
	return ret;
}

bool cdm_in_place(int node, int nid)
{
	return nid == NUMA_NO_NODE ? !cdm_node(node) : node == nid;
}

/* The page of an entry, or why there is none to move. */
static void cdm_walk_pte(struct vm_area_struct *vma, unsigned long addr,
			 pte_t pte, int *status, cdm_visit_fn visit, void *data)
{
	struct folio *folio;

	*status = -ENOENT;
	if (!pte_present(pte))
		return;
	folio = vm_normal_folio(vma, addr, pte);
	if (folio)
		visit(folio, 1, status, data);
	else if (is_zero_pfn(pte_pfn(pte)))
		*status = -EFAULT;
}

/* All that one page table maps. Returns false if there is none. */
static bool cdm_walk_table(struct vm_area_struct *vma, unsigned long addr,
			   unsigned int nr_pages, int *status,
			   cdm_visit_fn visit, void *data)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, addr);
	pte_t *table = NULL;
	spinlock_t *ptl;	/* of the page table */
	unsigned int i;

	if (pmd)
		table = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!table)
		return false;
	for (i = 0; i < nr_pages; i++)
		cdm_walk_pte(vma, addr + i * PAGE_SIZE, ptep_get(table + i),
			     status + i, visit, data);
	pte_unmap_unlock(table, ptl);
	return true;
}

/*
 * What is mapped at @addr by an entry for more than a page, if anything. Returns
 * how many pages that is about, all of which have the same status.
 */
static unsigned int cdm_walk_huge(struct vm_area_struct *vma,
				  unsigned long addr, unsigned int nr_pages,
				  int *status, cdm_visit_fn visit, void *data)
{
	struct folio_walk fw;
	struct folio *folio;

	folio = folio_walk_start(&fw, vma, addr, FW_ZEROPAGE);
	*status = folio ? -EFAULT : -ENOENT;
	if (folio && fw.level == FW_LEVEL_PTE)
		nr_pages = 1;
	if (folio && !is_zero_folio(folio) && !is_huge_zero_folio(folio))
		visit(folio, nr_pages, status, data);
	if (folio)
		folio_walk_end(&fw, vma);
	memset32((u32 *)status, *status, nr_pages);
	return nr_pages;
}

/* @nr_pages pages that one entry of a PMD is for. Returns how many are done. */
static unsigned int cdm_walk_pmd(struct vm_area_struct *vma, unsigned long addr,
				 unsigned int nr_pages, int *status,
				 cdm_visit_fn visit, void *data)
{
	if (!is_vm_hugetlb_page(vma) &&
	    cdm_walk_table(vma, addr, nr_pages, status, visit, data))
		return nr_pages;
	return cdm_walk_huge(vma, addr, nr_pages, status, visit, data);
}

/*
 * Visit the folio of each page of [@start, @start + @nr_pages pages), that of an
 * entry for more than a page once, with the number of pages that is about and their
 * status to set; where there is none, the page's @status says
 * why: -EFAULT for no or unmigratable mapping and the zero page, -ENOENT for
 * nothing present.
 */
void cdm_walk_locked(struct mm_struct *mm, unsigned long start,
		     unsigned int nr_pages, int *status, cdm_visit_fn visit,
		     void *data)
{
	unsigned long addr = start, end = start + nr_pages * PAGE_SIZE;
	struct vm_area_struct *vma = NULL;
	unsigned int nr;

	mmap_assert_locked(mm);
	for (; addr < end; addr += nr * PAGE_SIZE, status += nr) {
		nr = 1;
		*status = -EFAULT;
		if (!vma || addr >= vma->vm_end)
			vma = vma_lookup(mm, addr);
		if (!vma || !vma_migratable(vma))
			continue;
		nr = (min3(end, vma->vm_end, pmd_addr_end(addr, end)) - addr) /
		     PAGE_SIZE;
		nr = cdm_walk_pmd(vma, addr, nr, status, visit, data);
	}
}

/* The same, or -EINTR. */
int cdm_walk(struct mm_struct *mm, unsigned long start, unsigned int nr_pages,
	     int *status, cdm_visit_fn visit, void *data)
{
	int ret;

	ret = mmap_read_lock_killable(mm);
	if (ret)
		return ret;
	cdm_walk_locked(mm, start, nr_pages, status, visit, data);
	mmap_read_unlock(mm);
	return 0;
}

static void cdm_visit_nid(struct folio *folio, unsigned int nr_pages,
			  int *status, void *data)
{
	*status = folio_nid(folio);
}

struct cdm_collect {
	struct list_head folios;
	struct folio *last;	/* a large folio is met once a page */
	unsigned int nr_missed;	/* could not be isolated */
	unsigned int nr_left;	/* pages that are not where they should be */
	int from;		/* the only node that is left, or NUMA_NO_NODE */
	int nid;
	int error;		/* of the migration */
};

/*
 * Page cache that others have mapped, too, such as the code of a library, does
 * not go to a device because one process wants it: the others would lose it with
 * the device.
 */
static bool cdm_may_move(struct folio *folio, int nid)
{
	return !cdm_node(nid) || !folio_is_file_lru(folio) ||
	       !folio_likely_mapped_shared(folio);
}

/* A page that can be isolated has the status it gets if it moves. */
static void cdm_visit_collect(struct folio *folio, unsigned int nr_pages,
			      int *status, void *data)
{
	struct cdm_collect *collect = data;

	*status = folio_nid(folio);
	if (cdm_in_place(*status, collect->nid) ||
	    (collect->from != NUMA_NO_NODE && collect->from != *status))
		return;
	if (!cdm_may_move(folio, collect->nid)) {
		*status = -EACCES;
		collect->nr_left += nr_pages;
		return;
	}
	*status = collect->nid;
	if (folio == collect->last)
		return;
	collect->last = folio;
	if (!isolate_folio_to_list(folio, &collect->folios))
		collect->nr_missed++;
}

/* Where the page is in the end, or why it is not where it should be. */
static void cdm_visit_result(struct folio *folio, unsigned int nr_pages,
			     int *status, void *data)
{
	struct cdm_collect *collect = data;

	*status = folio_nid(folio);
	if (cdm_in_place(*status, collect->nid))
		return;
	collect->nr_left += nr_pages;
	if (!cdm_may_move(folio, collect->nid))
		*status = -EACCES;
	else
		*status = collect->error == -ENOMEM ? -ENOMEM : -EBUSY;
}

static int cdm_collect(const struct cdm_move *move, unsigned long start,
		       unsigned int nr_pages, int *status, cdm_visit_fn visit,
		       struct cdm_collect *collect)
{
	int ret;

	ret = cdm_mmap_lock(move->mm, move->nowait);
	if (ret)
		return ret;
	collect->last = NULL;
	collect->nr_missed = 0;
	collect->nr_left = 0;
	cdm_walk_locked(move->mm, start, nr_pages, status, visit, collect);
	mmap_read_unlock(move->mm);
	return 0;
}

/* Folios that are not yet on the LRU, but in the batch of some CPU, are there then. */
static void cdm_drain_lru(void)
{
	KUNIT_STATIC_STUB_REDIRECT(cdm_drain_lru);
	lru_add_drain_all();
}

/*
 * Whatever there is, by the reverse map. Sets @status and how many pages have moved,
 * and returns how many are left, or -EAGAIN or -EINTR without the mmap lock. Where
 * all that was found has moved to the node that was asked for, there is no need to
 * look again.
 */
static int cdm_migrate_any(struct cdm_move *move, unsigned long start,
			   unsigned int nr_pages, int *status,
			   unsigned int *nr_moved, int *error)
{
	struct cdm_collect collect = {
		.folios = LIST_HEAD_INIT(collect.folios),
		.from = move->from,
		.nid = move->nid,
	};
	int ret;

	ret = cdm_collect(move, start, nr_pages, status, cdm_visit_collect,
			  &collect);
	if (!ret && collect.nr_missed && !move->drained) {
		cdm_drain_lru();
		move->drained = true;
		ret = cdm_collect(move, start, nr_pages, status,
				  cdm_visit_collect, &collect);
	}
	/* Folios that have been isolated are moved in any case. */
	collect.error = cdm_migrate_folios(&collect.folios, move, nr_moved);
	*error = collect.error;
	if (!ret && (collect.error || collect.nr_missed ||
		     move->nid == NUMA_NO_NODE))
		ret = cdm_collect(move, start, nr_pages, status,
				  cdm_visit_result, &collect);
	return ret ?: (int)collect.nr_left;
}

/* RAM can be reclaimed, but not by the fast way. */
static bool cdm_may_reclaim(const struct cdm_move *move)
{
	return !move->nowait &&
	       (move->nid == NUMA_NO_NODE || !cdm_node(move->nid));
}

/* Returns whether pages have been left to the general way. */
static bool cdm_is_undecided(const struct cdm_move *move, const int *status,
			     unsigned int nr_pages)
{
	for (; nr_pages--; status++) {
		if (*status == -EAGAIN ||
		    (*status == -ENOMEM && cdm_may_reclaim(move)))
			return true;
	}
	return false;
}

static bool cdm_is_left(int status)
{
	return status < 0 && status != -ENOENT && status != -EFAULT;
}

/* The number of present pages that are not where they should be. */
static unsigned int cdm_count_left(const int *status, unsigned int nr_pages)
{
	unsigned int nr = 0;

	while (nr_pages--)
		nr += cdm_is_left(*status++);
	return nr;
}

/*
 * Migrate up to CDM_BATCH pages and set their status. Returns how many present
 * pages are not where they should be. Or -EINTR, or where the process was not
 * waited for -EAGAIN: then some may have moved all the same.
 */
int cdm_migrate_batch(struct cdm_move *move, unsigned long start,
		      unsigned int nr_pages, const struct cdm_scratch *scratch)
{
	int nr_simple, nr_left = 0, error = 0;
	unsigned int nr_moved = 0;

	nr_simple = cdm_move_simple(move, start, nr_pages, scratch);
	if (nr_simple < 0)
		return nr_simple;
	if (nr_simple < nr_pages) {
		if (cdm_is_undecided(move, scratch->status, nr_pages))
			nr_left = cdm_migrate_any(move, start, nr_pages,
						  scratch->status, &nr_moved,
						  &error);
		else
			nr_left = cdm_count_left(scratch->status, nr_pages);
	}
	trace_cdm_migrate(start, nr_pages, move->nid, nr_simple + nr_moved,
			  max(nr_left, 0), error);
	return nr_left;
}

int cdm_check_range(const struct mm_struct *mm, unsigned long start,
		    unsigned long size)
{
	if (!size || !PAGE_ALIGNED(start) || !PAGE_ALIGNED(size))
		return -EINVAL;
	if (start + size < start || start + size > mm->task_size)
		return -EINVAL;
	return 0;
}

/* The nodes that cpuset.mems of the process holds. */
static int cdm_process_mems(struct mm_struct *mm, nodemask_t *mems)
{
	struct task_struct *task;

	rcu_read_lock();
	task = rcu_dereference(mm->owner);
	if (task)
		*mems = cpuset_mems_allowed(task);
	rcu_read_unlock();
	return task ? 0 : -ESRCH;
}

/* What of RAM they hold, in *@ram; NULL if there is nothing to heed. */
nodemask_t *cdm_process_ram(struct mm_struct *mm, nodemask_t *ram)
{
	if (!cpusets_enabled() || cdm_process_mems(mm, ram))
		return NULL;
	nodes_and(*ram, *ram, node_states[N_MEMORY]);
	return nodes_empty(*ram) ? NULL : ram;
}

/* Device or not, cpuset.mems of the process bounds where its memory may go. */
static int cdm_target_error(struct mm_struct *mm, int nid)
{
	nodemask_t allowed;
	int ret;

	if (nid == NUMA_NO_NODE)
		return 0;
	if (nid < 0 || nid >= MAX_NUMNODES ||
	    !node_isset(nid, *cdm_usable()))
		return -ENODEV;

	ret = cdm_process_mems(mm, &allowed);
	if (ret)
		return ret;
	return node_isset(nid, allowed) ? 0 : -EACCES;
}

bool cdm_may_target(struct mm_struct *mm, int nid)
{
	return !cdm_target_error(mm, nid);
}

static int cdm_check_target(struct mm_struct *mm, int nid)
{
	int ret = cdm_target_error(mm, nid);

	if (ret == -EACCES)
		cdm_count_refusal(nid, CDM_REFUSE_CPUSET, 1);
	return ret;
}

static int cdm_migrate_stop(const struct cdm_migration *migration)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	return READ_ONCE(migration->cancelled) ? -ECANCELED : 0;
}

/* Returns how many pages are left, at most INT_MAX, or an errno. */
static int cdm_migrate_batches(const struct cdm_migration *migration,
			       const struct cdm_scratch *scratch)
{
	struct cdm_move move = {
		.mm = migration->mm,
		.from = NUMA_NO_NODE,
		.nid = migration->nid,
		.reason = MR_DEVICE,
		.end_pfn = ULONG_MAX,
	};
	unsigned long nr_left = 0, nr_pages = migration->size >> PAGE_SHIFT;
	unsigned long done, addr = migration->start;
	nodemask_t ram;
	unsigned int nr;
	int ret;

	for (done = 0; done < nr_pages; done += nr, addr += nr * PAGE_SIZE) {
		nr = cdm_batch_pages(addr, nr_pages - done);
		ret = cdm_migrate_stop(migration);
		if (ret)
			return ret;
		if (move.nid == NUMA_NO_NODE)
			move.ram = cdm_process_ram(move.mm, &ram);
		ret = cdm_migrate_batch(&move, addr, nr, scratch);
		if (ret < 0)
			return ret;
		nr_left += ret;
		if (migration->status)
			memcpy(migration->status + done, scratch->status,
			       nr * sizeof(*scratch->status));
		cond_resched();
	}
	return min(nr_left, INT_MAX);
}

/* So few that it would cost more to allocate what they need. */
#define CDM_FEW		8

static int cdm_migrate_few(const struct cdm_migration *migration)
{
	struct cdm_segment segments[CDM_FEW];
	struct cdm_entry entries[CDM_FEW];
	struct cdm_slot slots[CDM_FEW];
	int status[CDM_FEW];
	const struct cdm_scratch scratch = {
		.slots = slots,
		.entries = entries,
		.segments = segments,
		.status = status,
	};

	return cdm_migrate_batches(migration, &scratch);
}

static int cdm_migrate_many(const struct cdm_migration *migration)
{
	struct cdm_scratch scratch;
	int ret;

	ret = cdm_scratch_alloc(&scratch, GFP_KERNEL);
	if (ret)
		return ret;
	ret = cdm_migrate_batches(migration, &scratch);
	cdm_scratch_free(&scratch);
	return ret;
}

static int cdm_migrate(const struct cdm_migration *migration)
{
	int ret;

	ret = cdm_check_range(migration->mm, migration->start, migration->size);
	if (ret)
		return ret;
	ret = cdm_check_target(migration->mm, migration->nid);
	if (ret)
		return ret;

	lru_add_drain();
	if (migration->size <= CDM_FEW * PAGE_SIZE)
		return cdm_migrate_few(migration);
	return cdm_migrate_many(migration);
}

/**
 * cdm_migrate_range - move a range of an address space to a node
 * @mm: the address space; the caller holds a reference (mmget())
 * @start: first user address, page aligned
 * @size: bytes, a multiple of the page size
 * @nid: the node, a device node or one with RAM; NUMA_NO_NODE is RAM that
 *	cpuset.mems of the process holds (and that of the caller), for each folio
 *	the node nearest to where it is
 * @status: NULL, or one entry a page: the node where the page is in the end,
 *	-ENOENT if there is none at the address, -EFAULT if nothing migratable
 *	is mapped there, -EBUSY if it could not be moved (pinned, say), -EACCES
 *	for page cache that others have mapped, too, and that does not go to a
 *	device, -ENOMEM if there was no memory on the node
 *
 * Moves anonymous, shmem and mapped file folios, private and shared ones, but for
 * shared page cache to a device. What is not present is not faulted in. Folios
 * that cannot be moved stay where they are, fully usable, and do not keep the
 * others from moving. A fatal signal ends the call between two batches, or while
 * it waits for the mmap lock.
 *
 * Context: process context, may sleep. Takes the mmap lock of @mm for reading;
 * the caller must not hold it, nor any folio lock.
 * Return: 0 if all present pages are on the node; the number of pages that are
 * not, at most INT_MAX; or %-EINVAL for a range that is not page aligned or not
 * user memory, %-ENODEV if @nid has no memory, %-EACCES if cpuset.mems of the
 * process does not hold @nid, %-ESRCH if the process is gone, %-EINTR,
 * %-ENOMEM. Nothing has been moved on errors but %-EINTR.
 */
int cdm_migrate_range(struct mm_struct *mm, unsigned long start,
		      unsigned long size, int nid, int *status)
{
	const struct cdm_migration migration = {
		.mm = mm,
		.start = start,
		.size = size,
		.nid = nid,
		.status = status,
	};

	return cdm_migrate(&migration);
}
EXPORT_SYMBOL_GPL(cdm_migrate_range);

static void cdm_migrate_work(struct work_struct *work)
{
	struct cdm_migration *migration =
		container_of(work, struct cdm_migration, work);
	struct mm_struct *mm = migration->mm;
	int ret;

	ret = cdm_migrate(migration);
	migration->done(migration, ret);
	mmput(mm);
}

/**
 * cdm_migrate_start - move a range of an address space in the background
 * @migration: what to move, and whom to tell; stays valid until @done is called
 *
 * Like cdm_migrate_range(), whose results it has, without waiting. The caller
 * holds a reference on the address space (mmget()) during this call; one more is
 * held until @done has returned.
 *
 * Context: any but NMI. @done is called in process context.
 */
void cdm_migrate_start(struct cdm_migration *migration)
{
	mmget(migration->mm);
	migration->cancelled = false;
	INIT_WORK(&migration->work, cdm_migrate_work);
	queue_work(system_unbound_wq, &migration->work);
}
EXPORT_SYMBOL_GPL(cdm_migrate_start);

/**
 * cdm_migrate_cancel - end a migration in the background early
 * @migration: from cdm_migrate_start()
 *
 * Returns when @done has returned, with %-ECANCELED unless the migration was over
 * already. What has moved until then stays where it is.
 *
 * Context: process context, may sleep. Not from @done.
 */
void cdm_migrate_cancel(struct cdm_migration *migration)
{
	WRITE_ONCE(migration->cancelled, true);
	flush_work(&migration->work);
}
EXPORT_SYMBOL_GPL(cdm_migrate_cancel);

/**
 * cdm_query_range - where are the pages of a range of an address space?
 * @mm: the address space; the caller holds a reference (mmget())
 * @start: first user address, page aligned
 * @size: bytes, a multiple of the page size
 * @nodes: one entry a page: its node, -ENOENT or -EFAULT as in
 *	cdm_migrate_range()
 *
 * Context: process context, may sleep. Takes the mmap lock for reading.
 * Return: 0; %-EINVAL for a range that is not page aligned or not user memory; or
 * %-EINTR if the caller is being killed.
 */
int cdm_query_range(struct mm_struct *mm, unsigned long start,
		    unsigned long size, int *nodes)
{
	unsigned long nr_pages = size >> PAGE_SHIFT, done;
	int ret;

	ret = cdm_check_range(mm, start, size);
	if (ret)
		return ret;

	for (done = 0; done < nr_pages; done += CDM_BATCH) {
		ret = cdm_walk(mm, start + (done << PAGE_SHIFT),
			       min(nr_pages - done, CDM_BATCH), nodes + done,
			       cdm_visit_nid, NULL);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}
EXPORT_SYMBOL_GPL(cdm_query_range);

#ifdef CONFIG_CDM_KUNIT_TEST
#include "tests/migrate-kunit.h"
#endif
