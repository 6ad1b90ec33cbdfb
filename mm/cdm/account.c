// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: accounting. Device memory is not RAM, so what the
 * machine says about its RAM must leave it out.
 */
#include <linux/cdm.h>
#include <linux/huge_mm.h>
#include <linux/limits.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/vmstat.h>

#include "internal.h"

/* Free pages of all device nodes, which NR_FREE_PAGES counts with the rest. */
unsigned long __cdm_free_pages(void)
{
	unsigned long nr_pages = 0;
	int nid;

	for_each_node_mask(nid, cdm_nodes)
		nr_pages += sum_zone_node_page_state(nid, NR_FREE_PAGES);
	return nr_pages;
}

/* The pages of all device nodes that @item counts. */
unsigned long __cdm_node_pages(enum node_stat_item item)
{
	unsigned long nr_pages = 0;
	int nid;

	for_each_node_mask(nid, cdm_nodes)
		nr_pages += node_page_state(NODE_DATA(nid), item);
	return nr_pages;
}

/* File folios on device nodes: not page cache that RAM could get back. */
unsigned long __cdm_file_pages(void)
{
	return __cdm_node_pages(NR_ACTIVE_FILE) +
	       __cdm_node_pages(NR_INACTIVE_FILE);
}

/* The part of "Cached" that is on device nodes, shared memory for the most part. */
long __cdm_cached_pages(void)
{
	return __cdm_node_pages(NR_FILE_PAGES) -
	       __cdm_node_pages(NR_SWAPCACHE);
}

static unsigned long cdm_total_pages(void)
{
	unsigned long nr_pages = 0;
	int nid;

	for_each_node_mask(nid, cdm_nodes)
		nr_pages += zone_managed_pages(&NODE_DATA(nid)->node_zones[ZONE_MOVABLE]);
	return nr_pages;
}

/* The lines of /proc/meminfo; none where no device node is registered. */
void cdm_show_meminfo(struct seq_file *m)
{
	if (!cdm_enabled())
		return;

	seq_printf(m, "DeviceTotal:    %8lu kB\n",
		   cdm_total_pages() << (PAGE_SHIFT - 10));
	seq_printf(m, "DeviceFree:     %8lu kB\n",
		   __cdm_free_pages() << (PAGE_SHIFT - 10));
}

/* A look at the page tables of a process, which ends when @enough are found. */
struct cdm_count {
	unsigned long nr_pages;		/* on device nodes */
	unsigned long enough;
	long *budget;			/* entries of page tables */
};

/* Returns whether the walk can end, as walk_page_range() wants to know it. */
static int cdm_count_is_over(struct cdm_count *count, unsigned long nr_entries)
{
	*count->budget -= nr_entries;
	return count->nr_pages >= count->enough || *count->budget < 0;
}

/* Huge pages of this size are not on a device node, and must not be split here. */
static int cdm_count_pud(pud_t *pud, unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	if (pud_trans_huge(*pud) || pud_devmap(*pud))
		walk->action = ACTION_CONTINUE;
	return 0;
}

/* Count the pages of one page table that are on device nodes. */
static int cdm_count_table(pmd_t *pmd, unsigned long addr, unsigned long end,
			   struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	struct cdm_count *count = walk->private;
	struct page *page;
	unsigned long nr_entries = (end - addr) >> PAGE_SHIFT;
	pte_t *first, *pte;
	spinlock_t *ptl;	/* of the page table, or the PMD */

	ptl = pmd_trans_huge_lock(pmd, vma);
	if (ptl) {
		page = pmd_present(*pmd) ? vm_normal_page_pmd(vma, addr, *pmd) :
					   NULL;
		if (page && cdm_node(page_to_nid(page)))
			count->nr_pages += (end - addr) >> PAGE_SHIFT;
		spin_unlock(ptl);
		return cdm_count_is_over(count, 1);
	}
	first = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!first)
		return 0;
	for (pte = first; addr < end; pte++, addr += PAGE_SIZE) {
		pte_t entry = ptep_get(pte);

		page = pte_present(entry) ? vm_normal_page(vma, addr, entry) :
					    NULL;
		count->nr_pages += page && cdm_node(page_to_nid(page));
	}
	pte_unmap_unlock(first, ptl);
	return cdm_count_is_over(count, nr_entries);
}

static const struct mm_walk_ops cdm_count_ops = {
	.pud_entry = cdm_count_pud,
	.pmd_entry = cdm_count_table,
	.walk_lock = PGWALK_RDLOCK,
};

/*
 * The pages of @mm on device nodes, or at least @enough. The caller may hold locks of
 * others, so a process that is busy with its mappings is not waited for: it has none.
 */
static unsigned long cdm_mm_pages(struct mm_struct *mm, unsigned long enough,
				  long *budget)
{
	struct cdm_count count = {
		.enough = enough,
		.budget = budget,
	};

	if (!mmap_read_trylock(mm))
		return 0;
	walk_page_range(mm, 0, mm->task_size, &cdm_count_ops, &count);
	mmap_read_unlock(mm);
	return count.nr_pages;
}

/*
 * The OOM killer gives @task so many @points, of which some are for device memory.
 * Where RAM is short, that would not help: take them off. The limit of a memory cgroup
 * counts both. It walks page tables, so only for a task that would be the worst yet, and
 * until it is clear that it is not. Nothing can interrupt the choice: it looks at as many
 * entries as the machine has pages. Tasks that it does not get to count with all they have.
 */
long __cdm_oom_points(struct task_struct *task, long points,
		      const struct oom_control *oc)
{
	static long budget;	/* under oom_lock */
	struct mm_struct *mm = NULL;

	/* The first task is chosen, whatever it has. */
	if (!oc->chosen)
		budget = totalram_pages() + cdm_total_pages();
	if (oc->memcg || points == LONG_MIN || points < oc->chosen_points ||
	    !(__cdm_node_pages(NR_ANON_MAPPED) + __cdm_node_pages(NR_FILE_MAPPED)))
		return points;
	task = find_lock_task_mm(task);
	if (!task)
		return points;
	if (mmget_not_zero(task->mm))
		mm = task->mm;
	task_unlock(task);
	if (!mm)
		return points;
	points -= cdm_mm_pages(mm, oc->chosen ? points - oc->chosen_points + 1 :
						ULONG_MAX, &budget);
	mmput_async(mm);
	return points;
}

/* Bytes of memmap that describe @size bytes of memory. */
u64 cdm_memmap_size(u64 size)
{
	return (size >> PAGE_SHIFT) * sizeof(struct page);
}
