// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: what move_pages(2) may leave to the fast way.
 *
 * What is simple moves first, by range.c. The system call then finds it in place,
 * moves the rest, and says of each page what it always says.
 */
#include <linux/cdm.h>
#include <linux/compat.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/uaccess.h>

#include "../internal.h"
#include "internal.h"

/* Pages next to each other that go to the same node. */
struct cdm_run {
	struct cdm_move move;
	unsigned long start;
	unsigned long nr_pages;
	struct cdm_scratch scratch;
};

static void cdm_run_move(struct cdm_run *run)
{
	while (run->nr_pages && !fatal_signal_pending(current)) {
		unsigned int nr = cdm_batch_pages(run->start, run->nr_pages);

		cdm_move_simple(&run->move, run->start, nr, &run->scratch);
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
 * device nodes; between nodes of RAM nothing is different.
 */
void __cdm_move_ahead(struct mm_struct *mm, const nodemask_t *allowed,
		      unsigned long nr_pages,
		      const void __user * __user *pages,
		      const int __user *nodes)
{
	struct cdm_run run = {
		.move = {
			.mm = mm,
			.nid = NUMA_NO_NODE,
			.reason = MR_SYSCALL,
			.end_pfn = ULONG_MAX,
		},
	};
	const void __user *page;
	unsigned long i;
	int nid;

	if (in_compat_syscall() || cdm_scratch_alloc(&run.scratch))
		return;
	lru_add_drain();
	for (i = 0; i < nr_pages; i++) {
		if (get_user(page, pages + i) || get_user(nid, nodes + i))
			break;
		if (nid < 0 || nid >= MAX_NUMNODES ||
		    !node_isset(nid, *cdm_usable()) ||
		    !node_isset(nid, *allowed))
			break;
		cdm_run_add(&run, (unsigned long)page & PAGE_MASK, nid);
	}
	cdm_run_move(&run);
	cdm_scratch_free(&run.scratch);
}
