// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: accesses of the device.
 *
 * The page tables of the CPUs do not tell what a device uses, so to reclaim its
 * data look cold. The owner knows better.
 */
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include <trace/events/cdm.h>

#include "internal.h"

static void cdm_visit_used(struct folio *folio, unsigned int nr_pages,
			   int *status, void *data)
{
	struct folio **last = data;

	*status = folio_nid(folio);
	/* A large one may be met once a page. */
	if (folio != *last)
		folio_mark_accessed(folio);
	*last = folio;
}

/* Of a batch: how many pages have been marked? */
static unsigned int cdm_mark_used(struct mm_struct *mm, unsigned long start,
				  unsigned int nr_pages, int *status)
{
	struct folio *last = NULL;
	unsigned int i, nr_used = 0;

	cdm_walk(mm, start, nr_pages, status, cdm_visit_used, &last);
	for (i = 0; i < nr_pages; i++)
		nr_used += status[i] >= 0;
	return nr_used;
}

/**
 * cdm_report_accesses - a device has used part of an address space
 * @mm: the address space; the caller holds a reference (mmget())
 * @start: first user address, page aligned
 * @size: bytes, a multiple of the page size
 * @nr: accesses to the range since the last report of it, in any unit that is
 *	the same for all reports
 *
 * What is reported counts as used, as if a CPU had read it by a system call, so
 * that eviction takes something else. The owner reports what it learns from
 * counters, page faults or samples of its device, and not each access.
 *
 * Context: process context, may sleep. Takes the mmap lock of @mm for reading;
 * the caller must not hold it.
 * Return: 0; %-EINVAL for a range that is not page aligned or not user memory;
 * or %-ENOMEM.
 */
int cdm_report_accesses(struct mm_struct *mm, unsigned long start,
			unsigned long size, unsigned long nr)
{
	unsigned long nr_pages = size >> PAGE_SHIFT, nr_used = 0, done;
	int *status;
	int ret;

	ret = cdm_check_range(mm, start, size);
	if (ret)
		return ret;
	status = kmalloc_array(CDM_BATCH, sizeof(*status), GFP_KERNEL);
	if (!status)
		return -ENOMEM;
	for (done = 0; done < nr_pages; done += CDM_BATCH) {
		nr_used += cdm_mark_used(mm, start + (done << PAGE_SHIFT),
					 min(nr_pages - done, CDM_BATCH),
					 status);
		cond_resched();
	}
	kfree(status);
	trace_cdm_access(start, nr_pages, nr, nr_used);
	return 0;
}
EXPORT_SYMBOL_GPL(cdm_report_accesses);
