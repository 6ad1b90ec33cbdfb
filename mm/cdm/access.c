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

struct cdm_access {
	struct folio *last;	/* a large folio is met once a page */
	unsigned long nr_used;	/* pages */
};

static void cdm_visit_used(struct folio *folio, int *status, void *data)
{
	struct cdm_access *access = data;

	access->nr_used++;
	if (folio == access->last)
		return;
	access->last = folio;
	folio_mark_accessed(folio);
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
	unsigned long nr_pages = size >> PAGE_SHIFT, done;
	struct cdm_access access = { };
	int *status;
	int ret;

	ret = cdm_check_range(mm, start, size);
	if (ret)
		return ret;
	status = kmalloc_array(CDM_BATCH, sizeof(*status), GFP_KERNEL);
	if (!status)
		return -ENOMEM;
	for (done = 0; done < nr_pages; done += CDM_BATCH) {
		access.last = NULL;
		cdm_walk(mm, start + (done << PAGE_SHIFT),
			 min(nr_pages - done, CDM_BATCH), status,
			 cdm_visit_used, &access);
		cond_resched();
	}
	kfree(status);
	trace_cdm_access(start, nr_pages, nr, access.nr_used);
	return 0;
}
EXPORT_SYMBOL_GPL(cdm_report_accesses);
