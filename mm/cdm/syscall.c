// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: what move_pages(2) and migrate_pages(2) may leave to the
 * fast way.
 *
 * What is simple moves first, by range.c. The system call then finds it in place,
 * moves the rest, and says of each page what it always says.
 */
#include <linux/cdm.h>
#include <linux/compat.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagewalk.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "../internal.h"
#include "internal.h"

/* Pages next to each other that go to the same node. */
struct cdm_run {
	struct cdm_move move;
	unsigned long start;
	unsigned long nr_pages;
	unsigned long nr_moved;
	struct cdm_scratch scratch;
};

static void cdm_run_move(struct cdm_run *run)
{
	while (run->nr_pages && !fatal_signal_pending(current)) {
		unsigned int nr = cdm_batch_pages(run->start, run->nr_pages);
		int nr_moved = cdm_move_simple(&run->move, run->start, nr,
					       &run->scratch);

		if (nr_moved < 0)
			break;
		run->nr_moved += nr_moved;
		run->start += nr * PAGE_SIZE;
		run->nr_pages -= nr;
		cond_resched();
	}
}

static void cdm_run_add(struct cdm_run *run, unsigned long addr, int nid)
{
	if (addr >= run->move.mm->task_size)
		return;
	if (nid != run->move.nid || addr != run->start + run->nr_pages * PAGE_SIZE) {
		cdm_run_move(run);
		run->start = addr;
		run->nr_pages = 0;
		run->move.nid = nid;
	}
	run->nr_pages++;
}

/*
 * Move what is simple of @pages to @nodes, as far as both make sense: the system
 * call itself complains of the rest, and does nothing beyond that. Only to and from
 * device nodes; between nodes of RAM nothing is different. Returns whether any page
 * has moved: what is in place then is so because it was asked for.
 */
bool __cdm_move_ahead(struct mm_struct *mm, const nodemask_t *allowed,
		      unsigned long nr_pages, const void __user *pages,
		      const int __user *nodes)
{
	const void __user * const __user *list = pages;
	struct cdm_run run = {
		.move = {
			.mm = mm,
			.from = NUMA_NO_NODE,
			.nid = NUMA_NO_NODE,
			.reason = MR_SYSCALL,
			.end_pfn = ULONG_MAX,
		},
	};
	const void __user *page;
	unsigned long i;
	int nid;

	if (in_compat_syscall() || cdm_scratch_alloc(&run.scratch, GFP_KERNEL))
		return false;
	lru_add_drain();
	for (i = 0; i < nr_pages; i++) {
		if (fatal_signal_pending(current))
			break;
		if (i % CDM_BATCH == 0)
			cond_resched();
		if (get_user(page, list + i) || get_user(nid, nodes + i))
			break;
		if (nid < 0 || nid >= MAX_NUMNODES ||
		    !node_isset(nid, *cdm_usable()) ||
		    !node_isset(nid, *allowed))
			break;
		cdm_run_add(&run, (unsigned long)page & PAGE_MASK, nid);
	}
	cdm_run_move(&run);
	cdm_scratch_free(&run.scratch);
	return run.nr_moved;
}

/* The page tables of a process, from @next on. */
struct cdm_sweep {
	struct cdm_move move;
	unsigned long next;
	struct cdm_scratch scratch;
};

static int cdm_sweep_vma(unsigned long start, unsigned long end,
			 struct mm_walk *walk)
{
	return !cdm_vma_is_simple(walk->vma);
}

/* If there is no memory for one page, there is none for the next. */
static bool cdm_sweep_is_over(const int *status, unsigned int nr_pages)
{
	while (nr_pages--) {
		if (*status++ == -ENOMEM)
			return true;
	}
	return fatal_signal_pending(current);
}

/* After each batch in which something has moved others may have the mmap lock. */
static int cdm_sweep_table(pmd_t *pmd, unsigned long start, unsigned long end,
			   struct mm_walk *walk)
{
	struct cdm_sweep *sweep = walk->private;
	int *status = sweep->scratch.status;
	unsigned int nr, nr_moved = 0;

	while (start < end && !nr_moved) {
		if (pmd_leaf(pmdp_get_lockless(pmd)))
			break;
		nr = cdm_batch_pages(start, (end - start) / PAGE_SIZE);
		memset32((u32 *)status, -EAGAIN, nr);
		nr_moved = cdm_move_table(&sweep->move, walk->vma, pmd, start,
					  start + nr * PAGE_SIZE,
					  &sweep->scratch, status);
		if (cdm_sweep_is_over(status, nr))
			return -EINTR;
		start += nr * PAGE_SIZE;
	}
	sweep->next = nr_moved ? start : end;
	cond_resched();
	return nr_moved > 0;
}

static const struct mm_walk_ops cdm_sweep_ops = {
	.test_walk = cdm_sweep_vma,
	.pmd_entry = cdm_sweep_table,
	.walk_lock = PGWALK_RDLOCK,
};

/* Move all that is simple from one node to another, one of them a device node. */
void __cdm_migrate_ahead(struct mm_struct *mm, int from, int to)
{
	struct cdm_sweep sweep = {
		.move = {
			.mm = mm,
			.from = from,
			.nid = to,
			.reason = MR_SYSCALL,
			.end_pfn = ULONG_MAX,
		},
	};
	int more;

	if (cdm_scratch_alloc(&sweep.scratch, GFP_KERNEL))
		return;
	do {
		if (mmap_read_lock_killable(mm))
			break;
		more = walk_page_range(mm, sweep.next, mm->task_size,
				       &cdm_sweep_ops, &sweep);
		mmap_read_unlock(mm);
		cond_resched();
	} while (more > 0);
	cdm_scratch_free(&sweep.scratch);
}
