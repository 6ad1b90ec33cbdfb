// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: loss of the device, or of the link to it.
 *
 * What is there cannot be read any more. Page tables get the entries of poisoned
 * memory, so that those who touch it, and nobody else, get SIGBUS with the
 * address. What is also on a disk is read from there again.
 */
#include <kunit/static_stub.h>
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/delay.h>
#include <linux/huge_mm.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "../internal.h"
#include "../swap.h"
#include "internal.h"

/* Those who are just taking or freeing a page hold it for a moment. */
#define CDM_LOSE_PASSES	10
#define CDM_LOSE_PAUSE	10	/* ms between two of them */

/* Of a huge page of hugetlb only the first one: the others may be read-only. */
static void cdm_mark_poisoned(struct folio *folio, bool poisoned)
{
	long i, nr_pages = folio_test_hugetlb(folio) ? 1 :
			   folio_nr_pages(folio);

	for (i = 0; i < nr_pages; i++) {
		if (poisoned)
			SetPageHWPoison(folio_page(folio, i));
		else
			ClearPageHWPoison(folio_page(folio, i));
	}
}

/* An entry that unmapping has left behind for a page of @folio. */
static bool cdm_is_entry_of(swp_entry_t entry, struct folio *folio)
{
	return is_hwpoison_entry(entry) &&
	       swp_offset_pfn(entry) - folio_pfn(folio) <
	       folio_nr_pages(folio);
}

/* An entry by which a page of @folio is found in the swap cache. */
static bool cdm_is_swap_of(swp_entry_t entry, struct folio *folio)
{
	return folio_test_swapcache(folio) && !non_swap_entry(entry) &&
	       swp_type(entry) == swp_type(folio->swap) &&
	       swp_offset(entry) - swp_offset(folio->swap) <
	       folio_nr_pages(folio);
}

static void cdm_mark_pte(struct folio *folio, struct vm_area_struct *vma,
			 unsigned long addr)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, addr);
	spinlock_t *ptl;	/* of the page table */
	swp_entry_t entry;
	bool swapped;
	pte_t *pte;

	if (!pmd)
		return;
	pte = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
	if (!pte)
		return;
	if (is_swap_pte(ptep_get(pte))) {
		entry = pte_to_swp_entry(ptep_get(pte));
		swapped = cdm_is_swap_of(entry, folio);
		if (swapped || cdm_is_entry_of(entry, folio))
			set_pte_at(vma->vm_mm, addr, pte,
				   make_pte_marker(PTE_MARKER_POISONED));
		if (swapped) {
			dec_mm_counter(vma->vm_mm, MM_SWAPENTS);
			swap_free(entry);
		}
	}
	pte_unmap_unlock(pte, ptl);
}

static void cdm_mark_huge_pte(struct folio *folio, struct vm_area_struct *vma,
			      unsigned long addr)
{
	struct hstate *h = hstate_vma(vma);
	pte_t *pte = hugetlb_walk(vma, addr, huge_page_size(h));
	spinlock_t *ptl;	/* of the page table */
	pte_t old;

	if (!pte)
		return;
	ptl = huge_pte_lock(h, vma->vm_mm, pte);
	old = huge_ptep_get(vma->vm_mm, addr, pte);
	if (is_swap_pte(old) &&
	    cdm_is_entry_of(pte_to_swp_entry(old), folio))
		set_huge_pte_at(vma->vm_mm, addr, pte,
				make_pte_marker(PTE_MARKER_POISONED),
				huge_page_size(h));
	spin_unlock(ptl);
}

static bool cdm_mark_one(struct folio *folio, struct vm_area_struct *vma,
			 unsigned long addr, void *unused)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	unsigned long end = vma_address_end(&pvmw);

	if (folio_test_hugetlb(folio)) {
		cdm_mark_huge_pte(folio, vma, addr);
		return true;
	}
	for (; addr < end; addr += PAGE_SIZE)
		cdm_mark_pte(folio, vma, addr);
	return true;
}

/*
 * The entries that unmapping leaves behind refer to a page or to swap, and that is
 * going to go. Put markers in their place, which say the same and refer to
 * nothing. The folio is not mapped any more and keeps its anon_vma no longer: the
 * caller does.
 */
static void cdm_mark_ptes(struct folio *folio, bool locked)
{
	struct rmap_walk_control rwc = {
		.rmap_one = cdm_mark_one,
	};

	KUNIT_STATIC_STUB_REDIRECT(cdm_mark_ptes, folio, locked);
	if (locked)
		rmap_walk_locked(folio, &rwc);
	else
		rmap_walk(folio, &rwc);
}

#define CDM_UNMAP	(TTU_IGNORE_MLOCK | TTU_SYNC | TTU_SPLIT_HUGE_PMD)

/*
 * A folio of the swap cache has the data that are in swap, unless it was written to,
 * or never was there: then the page tables get entries of swap, which are read from
 * there. Returns whether that is so. What is being written may have been read too late.
 */
static bool cdm_unmap_swapped(struct folio *folio)
{
	if (!folio_test_swapcache(folio) || folio_test_writeback(folio))
		return false;
	if (folio_mapped(folio))
		try_to_unmap(folio, CDM_UNMAP);
	if (folio_mapped(folio) || folio_test_dirty(folio) ||
	    !folio_test_uptodate(folio))
		return false;
	delete_from_swap_cache(folio);
	return true;
}

/* Unmap a locked folio; with @poison whoever touches it gets SIGBUS. */
static void cdm_unmap_folio(struct folio *folio, bool poison)
{
	enum ttu_flags ttu = CDM_UNMAP | (poison ? TTU_HWPOISON : 0);
	struct address_space *mapping = NULL;

	if (folio_test_hugetlb(folio) && !folio_test_anon(folio)) {
		mapping = hugetlb_folio_mapping_lock_write(folio);
		if (!mapping)
			return;
		ttu |= TTU_RMAP_LOCKED;
	}
	if (folio_mapped(folio))
		try_to_unmap(folio, ttu);
	if (poison)
		cdm_mark_ptes(folio, mapping);
	if (mapping)
		i_mmap_unlock_write(mapping);
}

/* Returns whether the folio, locked and unmapped, is a copy of what is on a disk. */
static bool cdm_on_disk(struct folio *folio)
{
	return !folio_test_anon(folio) && !folio_test_swapbacked(folio) &&
	       !folio_test_hugetlb(folio) && !folio_test_dirty(folio) &&
	       !folio_test_writeback(folio);
}

/*
 * The data of a locked folio of shared memory are gone, and there is no disk to
 * read them from again: leave behind what a failed swap-in would leave, an entry
 * that makes everybody who asks get -EIO, or SIGBUS.
 */
static void cdm_lose_shmem(struct address_space *mapping, struct folio *folio)
{
	struct shmem_inode_info *info = SHMEM_I(mapping->host);
	long nr_pages = folio_nr_pages(folio);
	XA_STATE(xas, &mapping->i_pages, folio->index);

	xas_lock_irq(&xas);
	xas_load(&xas);
	xas_store(&xas, swp_to_radix_entry(make_poisoned_swp_entry()));
	folio->mapping = NULL;
	mapping->nrpages -= nr_pages;
	__lruvec_stat_mod_folio(folio, NR_FILE_PAGES, -nr_pages);
	__lruvec_stat_mod_folio(folio, NR_SHMEM, -nr_pages);
	if (folio_test_pmd_mappable(folio))
		__lruvec_stat_mod_folio(folio, NR_SHMEM_THPS, -nr_pages);
	xas_unlock_irq(&xas);
	folio_put_refs(folio, nr_pages);

	/* Accounted until the file is truncated, as pages in swap are. */
	spin_lock(&info->lock);
	info->alloced -= nr_pages;
	spin_unlock(&info->lock);
}

/* Take the folio out of its file, whose users are to know what happened. */
static void cdm_forget_file(struct folio *folio, bool saved)
{
	struct address_space *mapping = folio_mapping(folio);

	if (!mapping || folio_test_hugetlb(folio))
		return;
	if (shmem_mapping(mapping)) {
		cdm_lose_shmem(mapping, folio);
	} else {
		if (!saved)
			mapping_set_error(mapping, -EIO);
		truncate_inode_folio(mapping, folio);
	}
}

/*
 * Gather the dirty bits of the page tables before the decision whether mappers
 * are to get SIGBUS: they are not if the disk still has what they saw.
 */
static bool cdm_unmap_lost(struct folio *folio)
{
	bool saved;

	if (cdm_unmap_swapped(folio))
		return true;
	if (!folio_test_anon(folio) && folio_mkclean(folio))
		folio_mark_dirty(folio);
	saved = cdm_on_disk(folio);
	if (!saved)
		cdm_mark_poisoned(folio, true);
	cdm_unmap_folio(folio, !saved);
	cdm_mark_poisoned(folio, false);
	return saved;
}

/*
 * A folio that no page table maps needs no walk. One that is mapped keeps its anon_vma
 * until it is unmapped, so a reference for the walk after that is taken here.
 */
static bool cdm_lose_mapped(struct folio *folio)
{
	struct anon_vma *anon_vma;
	bool saved;

	if (!folio_mapped(folio))
		return cdm_unmap_swapped(folio) || cdm_on_disk(folio);
	anon_vma = folio_get_anon_vma(folio);
	/* Those who had it mapped have ended meanwhile. */
	if (!anon_vma && folio_test_anon(folio) && !folio_test_ksm(folio))
		return cdm_unmap_swapped(folio);
	saved = cdm_unmap_lost(folio);
	if (anon_vma)
		put_anon_vma(anon_vma);
	return saved;
}

/*
 * Entries of swap that cannot be found lead to the folio, as long as there are any:
 * whoever comes by one finds that the data could not be read. Reclaim must not find
 * the folio, or what is in swap would be taken for its data. Where reclaim has the folio
 * already, that stays dirty, whatever is written of it.
 */
static void cdm_lose_swapcache(struct folio *folio)
{
	/* Under writeback it stays in the swap cache for the time being. */
	if (!folio_free_swap(folio)) {
		folio_mark_dirty(folio);
		folio_clear_uptodate(folio);
	} else if (folio_test_uptodate(folio)) {
		return;
	}
	/* Reclaim takes a folio that is not up to date for a bug. */
	if (folio_isolate_lru(folio)) {
		folio_clear_active(folio);
		folio_clear_unevictable(folio);
		folio_put(folio);
	}
}

/*
 * Writeback is not waited for: it may be to the device that is lost. Whoever has the
 * folio mapped is cut off all the same; the rest is for a later pass.
 */
static bool cdm_lose_writeback(struct folio *folio)
{
	if (!folio_test_writeback(folio))
		return false;
	if (folio_mapped(folio))
		cdm_lose_mapped(folio);
	/* Nobody maps it again, and a later pass does not take it for data. */
	if (folio_test_swapcache(folio))
		cdm_lose_swapcache(folio);
	else if (folio->mapping && !folio_test_swapbacked(folio))
		mapping_set_error(folio->mapping, -EIO);
	return true;
}

/*
 * @folio has been written, to swap or to its file. If the device was gone by then, that
 * is no data: a folio of the swap cache is dirty again, as after an error, and whoever
 * waits for the file gets one. May be called in an interrupt.
 */
void __cdm_note_written(struct folio *folio)
{
	struct cdm_memory *mem = cdm_memory_of(folio_pfn(folio));

	smp_rmb();	/* what has been written was read before this */
	if (!mem || cdm_memory_is_alive(mem))
		return;
	if (folio_test_swapcache(folio))
		folio_mark_dirty(folio);
	else if (folio->mapping && !folio_test_anon(folio))
		mapping_set_error(folio->mapping, -EIO);
}

static void cdm_lose_locked(struct folio *folio, struct cdm_loss *loss)
{
	long nr_pages = folio_nr_pages(folio);
	bool saved;

	if (cdm_lose_writeback(folio))
		return;
	saved = cdm_lose_mapped(folio);
	if (folio_test_swapcache(folio))
		cdm_lose_swapcache(folio);
	if (folio_mapped(folio) || folio_test_swapcache(folio))
		return;
	cdm_forget_file(folio, saved);
	if (folio_mapping(folio))
		return;
	if (saved)
		loss->nr_saved += nr_pages;
	else
		loss->nr_lost += nr_pages;
}

/* Nobody says how long a folio stays locked: it is tried for again, not waited for. */
static void cdm_lose_folio(struct folio *folio, struct cdm_loss *loss)
{
	if (!folio_mapped(folio) && !folio_mapping(folio) &&
	    !folio_test_swapcache(folio))
		return;
	if (!folio_trylock(folio))
		return;
	cdm_lose_locked(folio, loss);
	folio_unlock(folio);
}

static unsigned long cdm_count_used(const struct range *range)
{
	unsigned long end_pfn = PHYS_PFN(range->end) + 1;
	unsigned long pfn = PHYS_PFN(range->start);
	unsigned long nr_used = 0;
	struct folio *folio;

	while ((folio = cdm_next_folio(&pfn, end_pfn))) {
		nr_used += folio_nr_pages(folio);
		folio_put(folio);
	}
	return nr_used;
}

static void cdm_lose_pass(const struct range *range, struct cdm_loss *loss)
{
	unsigned long end_pfn = PHYS_PFN(range->end) + 1;
	unsigned long pfn = PHYS_PFN(range->start);
	struct folio *folio;

	lru_add_drain_all();
	while ((folio = cdm_next_folio(&pfn, end_pfn))) {
		cdm_lose_folio(folio, loss);
		folio_put(folio);
	}
	lru_add_drain_all();
	loss->nr_left = cdm_count_used(range);
}

/*
 * Cut all users off from [@range], whose node is closed. What is counted as left
 * in @loss is out of reach of page tables, but not free; unless somebody has had it
 * locked all the time.
 */
void cdm_lose_range(const struct range *range, struct cdm_loss *loss)
{
	int i;

	cdm_lose_pass(range, loss);
	for (i = 1; loss->nr_left && i < CDM_LOSE_PASSES; i++) {
		msleep(CDM_LOSE_PAUSE);
		cdm_lose_pass(range, loss);
	}
}

#ifdef CONFIG_CDM_KUNIT_TEST
#include "tests/lost-kunit.h"
#endif
