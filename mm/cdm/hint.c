// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: do CPUs use it?
 *
 * Nobody counts the accesses of CPUs. So now and then one page of a group, picked at
 * random, is made to fault when a CPU comes to it, as for NUMA balancing between
 * nodes with CPUs. The device does not notice: its translations stay valid, since
 * nothing moves, and no MMU notifier is called.
 */
#include <linux/cdm.h>
#include <linux/huge_mm.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/random.h>
#include <linux/rmap.h>
#include <linux/sched/sysctl.h>
#include <linux/vmstat.h>

#include <asm/tlbflush.h>

#include "../internal.h"
#include "balance.h"
#include "internal.h"

int cdm_balancing_max = NUMA_BALANCING_NORMAL | NUMA_BALANCING_MEMORY_TIERING |
			NUMA_BALANCING_COHERENT;

/* Pages that are not going to move, or are shared with others, tell nothing. */
static bool cdm_is_hintable(struct vm_area_struct *vma, struct folio *folio)
{
	return folio && !folio_is_zone_device(folio) &&
	       !folio_test_ksm(folio) && !folio_maybe_dma_pinned(folio) &&
	       !(is_cow_mapping(vma->vm_flags) &&
		 folio_likely_mapped_shared(folio));
}

/* Returns whether CPUs fault there now. */
static bool cdm_hint_page(struct vm_area_struct *vma, unsigned long addr)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, addr);
	pte_t *ptep = NULL, pte;
	bool hint = false;
	spinlock_t *ptl;	/* of the page table */

	if (pmd)
		ptep = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!ptep)
		return false;
	pte = ptep_get(ptep);
	if (pte_present(pte))
		hint = cdm_is_hintable(vma, vm_normal_folio(vma, addr, pte));
	if (hint && !pte_protnone(pte)) {
		pte = ptep_modify_prot_start(vma, addr, ptep);
		ptep_modify_prot_commit(vma, addr, ptep, pte,
					pte_modify(pte, PAGE_NONE));
	}
	pte_unmap_unlock(ptep, ptl);
	return hint;
}

static bool cdm_hint_huge(struct vm_area_struct *vma, unsigned long addr)
{
	pmd_t *pmdp = mm_find_pmd(vma->vm_mm, addr);
	bool hint = false;
	spinlock_t *ptl;	/* of the PMD */
	pmd_t pmd;

	ptl = pmdp ? pmd_trans_huge_lock(pmdp, vma) : NULL;
	if (!ptl)
		return false;
	pmd = pmdp_get(pmdp);
	if (pmd_present(pmd))
		hint = cdm_is_hintable(vma, vm_normal_folio_pmd(vma, addr, pmd));
	if (hint && !pmd_protnone(pmd)) {
		pmd = pmdp_invalidate_ad(vma, addr, pmdp);
		set_pmd_at(vma->vm_mm, addr, pmdp, pmd_modify(pmd, PAGE_NONE));
	}
	spin_unlock(ptl);
	return hint;
}

static bool cdm_hint_group(struct mm_struct *mm, unsigned long start,
			   bool whole)
{
	unsigned long nr_pages = CDM_GROUP_SIZE / PAGE_SIZE;
	unsigned long addr = start;
	struct vm_area_struct *vma;

	if (!whole && nr_pages > 1)
		addr += get_random_u32_below(nr_pages) * PAGE_SIZE;
	vma = vma_lookup(mm, addr);
	if (!vma || !vma_is_accessible(vma) || !vma_migratable(vma) ||
	    is_vm_hugetlb_page(vma) || (vma->vm_flags & VM_MIXEDMAP))
		return false;
	return whole ? cdm_hint_huge(vma, addr) : cdm_hint_page(vma, addr);
}

/*
 * Make CPUs fault on one page of each of @groups, of the record at @start. Those are
 * left of which none could be. Where policies let nothing move between device node @nid
 * and RAM of @home, nobody has to fault: those groups are looked at again when the hints
 * of the others are. A process that is busy with its mappings is not waited for. Returns
 * of how many groups a page is hinted.
 */
unsigned int cdm_set_hints(struct mm_struct *mm, unsigned long start, bool whole,
			   int nid, int home, unsigned long *groups)
{
	DECLARE_BITMAP(barred, CDM_NR_GROUPS);
	struct vm_area_struct *vma;
	unsigned int group, nr = 0;

	if (!mmap_read_trylock(mm))
		return 0;
	cdm_find_barred(mm, start, nid, home, barred);
	/* A huge page goes as one. */
	if (whole && !bitmap_empty(barred, CDM_NR_GROUPS))
		bitmap_fill(barred, CDM_NR_GROUPS);
	bitmap_andnot(groups, groups, barred, CDM_NR_GROUPS);
	inc_tlb_flush_pending(mm);
	for_each_set_bit(group, groups, CDM_NR_GROUPS) {
		if (!cdm_hint_group(mm, start + group * CDM_GROUP_SIZE, whole))
			continue;
		__clear_bit(group, groups);
		nr++;
	}
	count_vm_events(CDM_HINTS_SET, nr);
	vma = find_vma(mm, start);
	if (vma && nr)
		flush_tlb_range(vma, start, start + CDM_RECORD_SIZE);
	dec_tlb_flush_pending(mm);
	mmap_read_unlock(mm);
	return nr;
}

/*
 * A CPU faults on a hint of ours, or of NUMA balancing between other nodes. Returns
 * whether that is all there is to it: what is on a device is not moved by a fault,
 * and nothing is while the other kinds of balancing are off. A fault of a CPU gives way to
 * signals; one that a driver resolves for its device, be it in a thread of the process,
 * does not.
 */
bool __cdm_hint_fault(struct folio *folio, struct vm_fault *vmf,
		      unsigned long addr)
{
	int mode = READ_ONCE(sysctl_numa_balancing_mode);
	struct mm_struct *mm = vmf->vma->vm_mm;

	if (mode & NUMA_BALANCING_COHERENT) {
		count_vm_event(CDM_HINT_FAULTS);
		cdm_report_fault(mm, addr,
				 vmf->flags & FAULT_FLAG_INTERRUPTIBLE);
	}
	return cdm_folio(folio) ||
	       !(mode & (NUMA_BALANCING_NORMAL |
			 NUMA_BALANCING_MEMORY_TIERING));
}
