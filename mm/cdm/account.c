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

/* What "Cached" counts of device nodes, shared memory for the most part. */
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

/* Count the pages of one page table that are on device nodes. */
static int cdm_count_table(pmd_t *pmd, unsigned long addr, unsigned long end,
			   struct mm_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;
	unsigned long *nr_pages = walk->private;
	struct page *page;
	pte_t *first, *pte;
	spinlock_t *ptl;	/* of the page table, or the PMD */

	ptl = pmd_trans_huge_lock(pmd, vma);
	if (ptl) {
		page = pmd_present(*pmd) ? vm_normal_page_pmd(vma, addr, *pmd) :
					   NULL;
		if (page && cdm_node(page_to_nid(page)))
			*nr_pages += (end - addr) >> PAGE_SHIFT;
		spin_unlock(ptl);
		return 0;
	}
	first = pte_offset_map_lock(walk->mm, pmd, addr, &ptl);
	if (!first)
		return 0;
	for (pte = first; addr < end; pte++, addr += PAGE_SIZE) {
		pte_t entry = ptep_get(pte);

		page = pte_present(entry) ? vm_normal_page(vma, addr, entry) :
					    NULL;
		*nr_pages += page && cdm_node(page_to_nid(page));
	}
	pte_unmap_unlock(first, ptl);
	return 0;
}

static const struct mm_walk_ops cdm_count_ops = {
	.pmd_entry = cdm_count_table,
	.walk_lock = PGWALK_RDLOCK,
};

/*
 * The pages of @mm on device nodes. The caller may hold locks of others, so a process
 * that is busy with its mappings is not waited for: it has none.
 */
static unsigned long cdm_mm_pages(struct mm_struct *mm)
{
	unsigned long nr_pages = 0;

	if (!mmap_read_trylock(mm))
		return 0;
	walk_page_range(mm, 0, mm->task_size, &cdm_count_ops, &nr_pages);
	mmap_read_unlock(mm);
	return nr_pages;
}

/*
 * The OOM killer gives @task so many @points, of which some are for device memory.
 * Where RAM is short, that would not help: take them off. The limit of a memory cgroup
 * counts both. It walks page tables, so only for a task that would be the worst yet.
 */
long __cdm_oom_points(struct task_struct *task, long points,
		      const struct oom_control *oc)
{
	struct mm_struct *mm = NULL;

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
	points -= cdm_mm_pages(mm);
	mmput_async(mm);
	return points;
}

/* Bytes of memmap that describe @size bytes of memory. */
u64 cdm_memmap_size(u64 size)
{
	return (size >> PAGE_SHIFT) * sizeof(struct page);
}
