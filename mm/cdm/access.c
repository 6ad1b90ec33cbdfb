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
#include <linux/math64.h>
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
	if (folio != *last) {
		folio_mark_accessed(folio);
		cdm_heat(folio_pfn(folio), folio_nr_pages(folio));
	}
	*last = folio;
}

/*
 * A batch, which the device has accessed @nr times. Returns how many of its pages
 * are there, or -EINTR.
 */
static int cdm_report_batch(int nid, struct mm_struct *mm, unsigned long start,
			    unsigned int nr_pages, unsigned long nr,
			    int *status)
{
	struct folio *last = NULL;
	unsigned int i;
	int ret, nr_used = 0;

	ret = cdm_walk(mm, start, nr_pages, status, cdm_visit_used, &last);
	if (ret)
		return ret;
	for (i = 0; i < nr_pages; i++)
		nr_used += status[i] >= 0;
	cdm_report_device(nid, mm, start, nr_pages, nr, status);
	return nr_used;
}

/**
 * cdm_report_accesses - a device has used part of an address space
 * @nid: the device's node
 * @mm: the address space; the caller holds a reference (mmget())
 * @start: first user address, page aligned
 * @size: bytes, a multiple of the page size
 * @nr: accesses to the range since the last report of it, in cache lines of 64 bytes;
 *	an estimate, if they come from samples or page faults. An owner whose accesses
 *	to RAM cost more than those of a CPU to the device may report more
 *
 * What is reported counts as used, as if a CPU had read it by a system call, so
 * that eviction takes something else. With NUMA balancing across the fence
 * (kernel.numa_balancing=4) it is evidence for moving it to the node, or keeping it
 * there. The owner reports what it learns from counters, page faults or samples of
 * its device, and not each access. Where nothing is, nothing is noted.
 *
 * Hints: to learn what CPUs use, entries of their page tables for what was reported are
 * made inaccessible now and then (%PROT_NONE), and no MMU notifier is called. A device
 * with page tables of its own does not notice. One that walks those of the CPUs (ATS,
 * SVA) would fault on them: its owner says no in @may_balance of &struct cdm_ops, both
 * ways, or for all of the node 0 is written to its file balance. Then nothing is made
 * inaccessible, and nothing moves. A fault that a driver resolves for its device, with
 * fixup_user_fault() or handle_mm_fault(), takes a hint away, but is no use by a CPU.
 *
 * Context: process context, may sleep. Takes the mmap lock of @mm for reading;
 * the caller must not hold it. Moves nothing itself.
 * Return: 0; %-EINVAL for a range that is not page aligned or not user memory;
 * %-ENODEV if @nid is no device node; %-ENOMEM; or %-EINTR if the caller is being
 * killed, with part of it reported.
 */
int cdm_report_accesses(int nid, struct mm_struct *mm, unsigned long start,
			unsigned long size, unsigned long nr)
{
	unsigned long addr, nr_used = 0, end = start + size;
	unsigned int nr_pages;
	int *status;
	int ret;

	ret = cdm_check_range(mm, start, size);
	if (ret)
		return ret;
	if (nid < 0 || nid >= MAX_NUMNODES || !cdm_node(nid))
		return -ENODEV;
	status = kmalloc_array(CDM_BATCH, sizeof(*status), GFP_KERNEL);
	if (!status)
		return -ENOMEM;
	for (addr = start; addr < end; addr += nr_pages * PAGE_SIZE) {
		nr_pages = cdm_batch_pages(addr, (end - addr) / PAGE_SIZE);
		ret = cdm_report_batch(nid, mm, addr, nr_pages,
				       mul_u64_u64_div_u64(nr, nr_pages * PAGE_SIZE, size),
				       status);
		if (ret < 0)
			break;
		nr_used += ret;
		cond_resched();
	}
	kfree(status);
	trace_cdm_access(start, size / PAGE_SIZE, nr, nr_used);
	return min(ret, 0);
}
EXPORT_SYMBOL_GPL(cdm_report_accesses);
