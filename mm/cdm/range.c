// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: the fast way for what most memory is.
 *
 * An anonymous folio that one page table maps, entirely, and nobody else knows of
 * needs no walk of the reverse map: where it is mapped is where it was found. So
 * all such folios of a page table move together: they are taken off the LRU,
 * unmapped with one notification and one flush of the TLB, copied, and mapped again
 * at the same addresses. The mmap lock is held for reading all the time, which keeps
 * the VMA and its anon_vma as they are. Others may still take entries away (exit,
 * MADV_DONTNEED, the OOM reaper), wait for them (faults), or hold a page (pins):
 * then that page stays, or goes, as it would have without us.
 *
 * Whatever is not so simple is left to migrate_pages().
 */
#include <kunit/static_stub.h>
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/memcontrol.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmu_notifier.h>
#include <linux/page_owner.h>
#include <linux/pagevec.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/vmstat.h>

#include <asm/tlbflush.h>

#include <trace/events/cdm.h>

#include "../internal.h"
#include "internal.h"

/* The flags of a folio that is simple, and those that make it more than that. */
#define CDM_SIMPLE	(BIT(PG_swapbacked) | BIT(PG_uptodate) | \
			 BIT(PG_anon_exclusive))
#define CDM_NOT_SIMPLE	(BIT(PG_writeback) | BIT(PG_mlocked) | \
			 BIT(PG_unevictable) | BIT(PG_reserved) | \
			 BIT(PG_private) | BIT(PG_swapcache))

/* The pages of [@start, @end), which one page table maps, and one VMA. */
struct cdm_range {
	struct vm_area_struct *vma;
	pmd_t *pmd;
	unsigned long start;
	unsigned long end;
	const struct cdm_move *move;	/* as asked for */
	int from;		/* the node of those that move, */
	int to;			/* and the one they move to */
	unsigned int nr;	/* of slots, */
	unsigned int nr_pages;	/* and of pages in them */
	struct cdm_slot *slots;
	struct cdm_entry *entries;
	struct cdm_segment *segments;
	struct cdm_sides sides;
	bool timed;
	u64 begun;		/* the step that is under way, ns */
	u64 ns[CDM_NR_STEPS];
};

static struct cdm_slot *cdm_slots_end(const struct cdm_range *range)
{
	return range->slots + range->nr;
}

/* The place of the contents, and where they are to be mapped */
static struct folio *cdm_slot_folio(const struct cdm_slot *slot)
{
	return slot->copied ? slot->dst : slot->src;
}

static unsigned long cdm_slot_addr(const struct cdm_range *range,
				   const struct cdm_slot *slot)
{
	return range->start + slot->nr * PAGE_SIZE;
}

/* The pages after the first: as exclusive as that, and mapped as often. */
static bool cdm_large_is_simple(const struct folio *folio)
{
	long i, nr_pages = folio_nr_pages(folio);

	if (folio_test_hugetlb(folio) || folio_test_has_hwpoisoned(folio) ||
	    folio_entire_mapcount(folio) || folio_mapcount(folio) != nr_pages ||
	    !list_empty(&folio->_deferred_list))
		return false;
	for (i = 1; i < nr_pages; i++) {
		if (!PageAnonExclusive(folio_page(folio, i)))
			return false;
	}
	return true;
}

/* Mapped once, exclusively; neither of KSM nor in swap, and without an error. */
static bool cdm_is_simple(const struct folio *folio)
{
	const struct page *page = &folio->page;

	if ((folio->flags & (CDM_SIMPLE | CDM_NOT_SIMPLE)) != CDM_SIMPLE ||
	    !folio_test_anon(folio) || folio_test_ksm(folio) ||
	    PageHWPoison(page))
		return false;
	if (folio_test_large(folio))
		return cdm_large_is_simple(folio);
	return !atomic_read(&page->_mapcount);
}

/*
 * Are all pages of @folio mapped one after the other, from @pte on? Inline, like
 * what else does something for each page, so that no loops are left for one page.
 */
static __always_inline bool
cdm_maps_all(pte_t *pte, struct folio *folio, unsigned int nr_pages)
{
	unsigned int i;

	for (i = 0; i < nr_pages; i++) {
		pte_t entry = ptep_get(pte + i);

		if (!pte_present(entry) ||
		    pte_pfn(entry) != folio_pfn(folio) + i)
			return false;
	}
	return true;
}

/* What is counted of one LRU vector, before it is told. */
struct cdm_tally {
	struct lruvec *lruvec;
	int nr_mapped;
};

static void cdm_tell_tally(struct cdm_tally *tally)
{
	if (tally->nr_mapped)
		mod_lruvec_state(tally->lruvec, NR_ANON_MAPPED,
				 tally->nr_mapped);
	tally->nr_mapped = 0;
}

static __always_inline void
cdm_tally(struct cdm_tally *tally, struct lruvec *lruvec, int nr)
{
	if (tally->lruvec != lruvec)
		cdm_tell_tally(tally);
	tally->lruvec = lruvec;
	tally->nr_mapped += nr;
}

/*
 * The lock of an LRU vector, for many pages but not for long, since interrupts are
 * disabled; and what has changed on one of its lists since it was last counted.
 */
struct cdm_lru {
	struct lruvec *lruvec;
	enum lru_list list;
	enum zone_type zone;
	long nr_pages;
	unsigned int nr_folios;
};

static void cdm_lru_count(struct cdm_lru *lru)
{
	if (lru->nr_pages)
		update_lru_size(lru->lruvec, lru->list, lru->zone,
				lru->nr_pages);
	lru->nr_pages = 0;
}

static void cdm_lru_unlock(struct cdm_lru *lru)
{
	if (!lru->lruvec)
		return;
	cdm_lru_count(lru);
	unlock_page_lruvec_irq(lru->lruvec);
	lru->lruvec = NULL;
}

static void cdm_lru_lock(struct cdm_lru *lru, struct folio *folio)
{
	if (lru->nr_folios++ % SWAP_CLUSTER_MAX &&
	    lru->lruvec && folio_matches_lruvec(folio, lru->lruvec))
		return;
	cdm_lru_unlock(lru);
	lru->lruvec = folio_lruvec_lock_irq(folio);
}

static __always_inline void
cdm_lru_change(struct cdm_lru *lru, struct folio *folio, long nr_pages)
{
	enum lru_list list = folio_lru_list(folio);

	if (list != lru->list || folio_zonenum(folio) != lru->zone)
		cdm_lru_count(lru);
	lru->list = list;
	lru->zone = folio_zonenum(folio);
	lru->nr_pages += nr_pages;
}

static void cdm_lru_del(struct cdm_lru *lru, struct folio *folio)
{
	cdm_lru_lock(lru, folio);
	if (lru_gen_del_folio(lru->lruvec, folio, false))
		return;
	cdm_lru_change(lru, folio, -folio_nr_pages(folio));
	list_del(&folio->lru);
}

static void cdm_lru_add(struct cdm_lru *lru, struct folio *folio)
{
	cdm_lru_lock(lru, folio);
	if (!lru_gen_add_folio(lru->lruvec, folio, false)) {
		cdm_lru_change(lru, folio, folio_nr_pages(folio));
		list_add(&folio->lru, &lru->lruvec->lists[lru->list]);
	}
	folio_set_lru(folio);
}

/* Step 1: take simple pages that are elsewhere off the LRU. */

/* Is mapped, and so has a reference while the page table is locked. */
static bool cdm_isolate(struct folio *folio, struct cdm_lru *lru)
{
	if (!folio_test_clear_lru(folio))
		return false;
	folio_get(folio);
	cdm_lru_del(lru, folio);
	return true;
}

/* Can @folio, which is mapped at @range, come along? */
static bool cdm_range_wants(struct cdm_range *range, struct folio *folio)
{
	int nid = folio_nid(folio);

	if (folio_pfn(folio) < range->move->pfn ||
	    folio_pfn(folio) >= range->move->end_pfn)
		return false;
	/* From one node of RAM to another is no business of ours. */
	if (!cdm_node(nid) && !cdm_node(range->to))
		return false;
	if (!cdm_is_simple(folio))
		return false;
	if (range->from == NUMA_NO_NODE)
		range->from = nid;
	if (nid != range->from)
		return false;
	if (range->to == NUMA_NO_NODE)
		range->to = cdm_home(nid, range->move->ram);
	return true;
}

static bool cdm_range_has_all(const struct cdm_range *range, unsigned int nr,
			      pte_t *pte, struct folio *folio)
{
	unsigned int nr_pages;

	if (likely(!folio_test_large(folio)))
		return true;
	nr_pages = folio_nr_pages(folio);
	return nr + nr_pages <= (range->end - range->start) / PAGE_SIZE &&
	       cdm_maps_all(pte, folio, nr_pages);
}

/*
 * What to do with the page that is mapped by @pte, and perhaps with some after it:
 * @nr_pages says how many. -EAGAIN is for migrate_pages() to look at.
 */
static int cdm_isolate_at(struct cdm_range *range, unsigned int nr, pte_t *pte,
			  struct cdm_lru *lru, unsigned int *nr_pages)
{
	pte_t entry = ptep_get(pte);
	struct folio *folio;

	KUNIT_STATIC_STUB_REDIRECT(cdm_isolate_at, range, nr, pte, lru, nr_pages);
	*nr_pages = 1;
	/* As with cdm_walk(), what is on its way somewhere else is not there. */
	if (!pte_present(entry))
		return -ENOENT;
	folio = vm_normal_folio(range->vma, range->start + nr * PAGE_SIZE,
				entry);
	if (!folio)
		return -EAGAIN;
	if (cdm_in_place(folio_nid(folio), range->move->nid))
		return folio_nid(folio);
	if (pte_pfn(entry) != folio_pfn(folio) ||
	    !cdm_range_wants(range, folio) ||
	    !cdm_range_has_all(range, nr, pte, folio) ||
	    !cdm_isolate(folio, lru))
		return -EAGAIN;
	*nr_pages = folio_nr_pages(folio);
	range->slots[range->nr++] = (struct cdm_slot) {
		.src = folio,
		.nr = nr,
		.nr_pages = *nr_pages,
	};
	range->nr_pages += *nr_pages;
	return -EAGAIN;
}

static void cdm_range_isolate(struct cdm_range *range, int *status)
{
	unsigned int i, nr, end = (range->end - range->start) / PAGE_SIZE;
	unsigned int nr_idle = 0, nr_slots;
	struct cdm_lru lru = { };
	spinlock_t *ptl;	/* of the page table */
	pte_t *table;

	table = pte_offset_map_lock(range->vma->vm_mm, range->pmd,
				    range->start, &ptl);
	if (!table)
		return;
	for (i = 0; i < end; i += nr) {
		nr_slots = range->nr;
		status[i] = cdm_isolate_at(range, i, table + i, &lru, &nr);
		nr_idle = range->nr == nr_slots ? nr_idle + 1 : 0;
		/* Interrupts are not disabled for what does not come along. */
		if (nr_idle == SWAP_CLUSTER_MAX)
			cdm_lru_unlock(&lru);
	}
	cdm_lru_unlock(&lru);
	pte_unmap_unlock(table, ptl);
	if (range->nr)
		mod_node_page_state(NODE_DATA(range->from), NR_ISOLATED_ANON,
				    range->nr_pages);
}

/* Step 2: memory for them. */

/*
 * Returns whether there is memory for any. The mmap lock is no place for reclaim,
 * with so many folios isolated: who may do that does it in migrate_pages().
 */
static bool cdm_range_alloc(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	struct cdm_blocks blocks = cdm_move_blocks(range->move, range->to);
	bool found = false;

	mmap_assert_locked(range->vma->vm_mm);
	blocks.nowait = true;
	for (slot = range->slots; slot < end; slot++) {
		if (slot->nr_pages == 1) {
			blocks.wanted++;
			continue;
		}
		slot->dst = cdm_blocks_folio(&blocks, folio_order(slot->src));
		found |= !!slot->dst;
	}
	if (!blocks.wanted)
		return found;
	for (slot = range->slots; slot < end; slot++) {
		if (slot->nr_pages > 1)
			continue;
		slot->dst = cdm_blocks_page(&blocks);
		if (!slot->dst)
			break;
		found = true;
	}
	return found;
}

/* Step 3: unmap them. */

/*
 * Unless something has happened to the entry meanwhile, the page is mapped as it
 * was. What is only to give a hint when it is touched has served its time.
 */
static bool cdm_is_restorable(struct cdm_entry entry, pte_t *ptep)
{
	return pte_same(ptep_get(ptep), entry.is) && !pte_protnone(entry.was);
}

/* The entry of a page that is on its way, with all that @pte says. */
static pte_t cdm_migration_pte(pte_t pte, unsigned long pfn)
{
	swp_entry_t entry;
	pte_t swp;

	if (pte_write(pte))
		entry = make_writable_migration_entry(pfn);
	else
		entry = make_readable_exclusive_migration_entry(pfn);
	if (pte_young(pte))
		entry = make_migration_entry_young(entry);
	if (pte_dirty(pte))
		entry = make_migration_entry_dirty(entry);
	swp = swp_entry_to_pte(entry);
	if (pte_soft_dirty(pte))
		swp = pte_swp_mksoft_dirty(swp);
	if (pte_uffd_wp(pte))
		swp = pte_swp_mkuffd_wp(swp);
	return swp;
}

/* And back, for page @i of @folio. */
static pte_t cdm_mapped_pte(pte_t swp, struct folio *folio, unsigned int i,
			    struct vm_area_struct *vma)
{
	pte_t pte = mk_pte(folio_page(folio, i), READ_ONCE(vma->vm_page_prot));
	swp_entry_t entry = pte_to_swp_entry(swp);

	if (!is_migration_entry_young(entry))
		pte = pte_mkold(pte);
	if (folio_test_dirty(folio) && is_migration_entry_dirty(entry))
		pte = pte_mkdirty(pte);
	if (pte_swp_soft_dirty(swp))
		pte = pte_mksoft_dirty(pte);
	else
		pte = pte_clear_soft_dirty(pte);
	if (is_writable_migration_entry(entry))
		pte = pte_mkwrite(pte, vma);
	else if (pte_swp_uffd_wp(swp))
		pte = pte_mkuffd_wp(pte);
	return pte;
}

/*
 * Clear the entry of page @i of a slot, and with it those that the hardware may hold as
 * one with it. Sets how many these are.
 */
static __always_inline pte_t
cdm_clear_ptes(struct cdm_range *range, struct cdm_slot *slot, unsigned int i,
	       pte_t *ptep, unsigned int nr_pages, unsigned int *nr)
{
	unsigned long addr = cdm_slot_addr(range, slot) + i * PAGE_SIZE;
	unsigned int j;

	*nr = 1;
	if (nr_pages > 1)
		*nr = min(nr_pages - i,
			  pte_batch_hint(ptep + i, ptep_get(ptep + i)));
	for (j = 0; j < *nr; j++)
		flush_cache_page(range->vma, addr + j * PAGE_SIZE,
				 folio_pfn(slot->src) + i + j);
	return get_and_clear_full_ptes(range->vma->vm_mm, addr, ptep + i, *nr,
				       0);
}

/*
 * The entry of page @i of a slot, which was @pte; its entries follow each other from
 * @ptep on. Pinned pages stay what they are, and where.
 */
static __always_inline bool
cdm_unmap_pte(struct cdm_range *range, struct cdm_slot *slot, unsigned int i,
	      pte_t *ptep, pte_t pte)
{
	unsigned long addr = cdm_slot_addr(range, slot) + i * PAGE_SIZE;
	struct cdm_entry *entry = &range->entries[slot->nr + i];
	struct folio *folio = slot->src;

	if (folio_try_share_anon_rmap_pte(folio, folio_page(folio, i)))
		return false;
	if (pte_dirty(pte) && !folio_test_dirty(folio))
		folio_set_dirty(folio);
	entry->was = pte;
	entry->is = cdm_migration_pte(pte, folio_pfn(folio) + i);
	set_pte_at(range->vma->vm_mm, addr, ptep + i, entry->is);
	return true;
}

static __always_inline void
cdm_map_pte(struct cdm_range *range, struct cdm_slot *slot, unsigned int i,
	    pte_t *ptep)
{
	unsigned long addr = cdm_slot_addr(range, slot) + i * PAGE_SIZE;
	struct cdm_entry entry = range->entries[slot->nr + i];
	struct folio *folio = cdm_slot_folio(slot);
	pte_t pte;

	if (likely(cdm_is_restorable(entry, ptep + i)))
		pte = pfn_pte(folio_pfn(folio) + i, pte_pgprot(entry.was));
	else
		pte = cdm_mapped_pte(ptep_get(ptep + i), folio, i, range->vma);
	SetPageAnonExclusive(folio_page(folio, i));
	set_pte_at(range->vma->vm_mm, addr, ptep + i, pte);
	update_mmu_cache(range->vma, addr, ptep + i);
}

/* All entries of a slot, or none. */
static __always_inline bool
cdm_unmap_ptes(struct cdm_range *range, struct cdm_slot *slot, pte_t *ptep,
	       unsigned int nr_pages)
{
	unsigned int i, nr = 0;
	pte_t pte;

	for (i = 0; i < nr_pages; i++, nr--) {
		if (nr)
			pte = pte_next_pfn(pte);
		else
			pte = cdm_clear_ptes(range, slot, i, ptep, nr_pages,
					     &nr);
		if (cdm_unmap_pte(range, slot, i, ptep, pte))
			continue;
		set_ptes(range->vma->vm_mm,
			 cdm_slot_addr(range, slot) + i * PAGE_SIZE, ptep + i,
			 pte, nr);
		while (i--)
			cdm_map_pte(range, slot, i, ptep);
		return false;
	}
	return true;
}

/*
 * Unmap the folio of a slot unless it has changed since it was isolated. The page
 * table is locked, and the TLB is flushed before that ends.
 */
static __always_inline bool
cdm_unmap_folio(struct cdm_range *range, struct cdm_slot *slot, pte_t *ptep,
		struct cdm_tally *tally, unsigned int nr_pages)
{
	struct folio *folio = slot->src;

	if (!cdm_maps_all(ptep, folio, nr_pages) || !folio_trylock(folio))
		return false;
	if (!cdm_is_simple(folio) ||
	    !cdm_unmap_ptes(range, slot, ptep, nr_pages)) {
		folio_unlock(folio);
		return false;
	}
	if (nr_pages > 1) {
		folio_remove_rmap_ptes(folio, &folio->page, nr_pages,
				       range->vma);
	} else {
		atomic_set(&folio->_mapcount, -1);
		cdm_tally(tally, folio_lruvec(folio), -1);
	}
	folio_put_refs(folio, nr_pages);	/* of the page table */
	return true;
}

static bool cdm_unmap_one(struct cdm_range *range, struct cdm_slot *slot,
			  pte_t *ptep, struct cdm_tally *tally)
{
	if (likely(slot->nr_pages == 1))
		return cdm_unmap_folio(range, slot, ptep, tally, 1);
	return cdm_unmap_folio(range, slot, ptep, tally, slot->nr_pages);
}

/* A notice of what there is memory for, from the first page to the last. */
static void cdm_range_notice(const struct cdm_range *range,
			     struct mmu_notifier_range *notice)
{
	const struct cdm_slot *first = range->slots;
	const struct cdm_slot *last = cdm_slots_end(range) - 1;

	while (!first->dst)
		first++;
	while (!last->dst)
		last--;
	mmu_notifier_range_init(notice, MMU_NOTIFY_CLEAR, 0,
				range->vma->vm_mm, cdm_slot_addr(range, first),
				cdm_slot_addr(range, last) +
				last->nr_pages * PAGE_SIZE);
}

static void cdm_range_unmap(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	struct vm_area_struct *vma = range->vma;
	struct mm_struct *mm = vma->vm_mm;
	struct mmu_notifier_range notice;
	struct cdm_tally tally = { };
	bool unmapped = false;
	spinlock_t *ptl;	/* of the page table */
	pte_t *table;

	cdm_range_notice(range, &notice);
	mmu_notifier_invalidate_range_start(&notice);
	table = pte_offset_map_lock(mm, range->pmd, range->start, &ptl);
	if (table) {
		update_hiwater_rss(mm);
		for (slot = range->slots; slot < end; slot++) {
			slot->unmapped = slot->dst &&
				cdm_unmap_one(range, slot, table + slot->nr,
					      &tally);
			unmapped |= slot->unmapped;
		}
		if (unmapped)
			flush_tlb_range(vma, notice.start, notice.end);
		pte_unmap_unlock(table, ptl);
		cdm_tell_tally(&tally);
	}
	mmu_notifier_invalidate_range_end(&notice);
}

/* Step 4: copy what nobody but us holds any more. */

static bool cdm_is_held(const struct cdm_slot *slot)
{
	return folio_ref_count(slot->src) != 1;
}

static void cdm_add_segment(struct cdm_segment *segments, unsigned int *nr,
			    const struct cdm_slot *slot)
{
	struct cdm_segment *last = segments + *nr - 1;
	unsigned long from = folio_pfn(slot->src), to = folio_pfn(slot->dst);

	if (*nr && from == last->from + last->nr_pages &&
	    to == last->to + last->nr_pages) {
		last->nr_pages += slot->nr_pages;
		return;
	}
	segments[(*nr)++] = (struct cdm_segment) {
		.from = from,
		.to = to,
		.nr_pages = slot->nr_pages,
	};
}

/* All that one engine can copy, at once. */
static int cdm_copy_batch(struct cdm_range *range, struct cdm_memory *mem)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	unsigned long nr_pages = 0;
	int ret = -EOPNOTSUPP;
	unsigned int nr = 0;

	for (slot = range->slots; slot < end; slot++) {
		if (!slot->unmapped || cdm_is_held(slot) ||
		    cdm_engine(&range->sides, folio_pfn(slot->src),
			       folio_pfn(slot->dst)) != mem)
			continue;
		slot->copied = true;
		nr_pages += slot->nr_pages;
		cdm_add_segment(range->segments, &nr, slot);
	}
	if (nr && cdm_engine_wants(mem, nr_pages))
		ret = cdm_copy_by_engine(mem, range->segments, nr);
	if (ret) {
		for (slot = range->slots; slot < end; slot++)
			slot->copied = false;
	}
	return ret;
}

/* By the engine of the first folio that can be copied. */
static int cdm_copy_by_engines(struct cdm_range *range)
{
	struct cdm_slot *slot = range->slots;
	struct cdm_memory *mem;

	while (slot < cdm_slots_end(range) && !slot->unmapped)
		slot++;
	if (slot == cdm_slots_end(range))
		return 0;
	mem = cdm_engine(&range->sides, folio_pfn(slot->src),
			 folio_pfn(slot->dst));
	if (!cdm_engine_wants(mem, range->nr_pages))
		return -EOPNOTSUPP;
	return cdm_copy_batch(range, mem);
}

/* Is it this one that cannot be read? Who does not say copies it. */
static int cdm_copy_suspect(struct cdm_sides *sides, const struct cdm_slot *slot)
{
	const struct cdm_segment segment = {
		.from = folio_pfn(slot->src),
		.to = folio_pfn(slot->dst),
		.nr_pages = slot->nr_pages,
	};
	struct cdm_memory *mem = cdm_engine(sides, segment.from, segment.to);

	return mem ? cdm_copy_by_engine(mem, &segment, 1) : -EOPNOTSUPP;
}

static bool cdm_copy_one(struct cdm_sides *sides, const struct cdm_slot *slot,
			 bool suspect)
{
	int ret = -EOPNOTSUPP;

	if (cdm_is_held(slot) || cdm_is_lost(sides, folio_pfn(slot->src),
					     folio_pfn(slot->dst)))
		return false;
	if (unlikely(suspect))
		ret = cdm_copy_suspect(sides, slot);
	if (ret && ret != -EHWPOISON)
		return !cdm_copy_by_cpu(slot->dst, slot->src);
	return !ret;
}

/* All that belongs to the page but its contents */
static void cdm_take_over(struct folio *dst, struct folio *src,
			  enum migrate_reason reason)
{
	__folio_set_locked(dst);
	dst->index = src->index;
	dst->mapping = src->mapping;
	__folio_set_swapbacked(dst);
	folio_migrate_flags(dst, src);
	if (folio_test_large(dst))
		mod_mthp_stat(folio_order(dst), MTHP_STAT_NR_ANON, 1);
	set_page_owner_migrate_reason(&dst->page, reason);
	folio_unlock(dst);
}

static void cdm_range_copy(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	struct cdm_sides *sides = &range->sides;
	bool suspect;

	suspect = cdm_copy_by_engines(range) == -EHWPOISON;
	for (slot = range->slots; slot < end; slot++) {
		if (slot->unmapped && !slot->copied)
			slot->copied = cdm_copy_one(sides, slot, suspect);
	}
	sides->asked = false;
	for (slot = range->slots; slot < end; slot++) {
		if (!slot->copied)
			continue;
		/* Has somebody found it by its number, and looks at it? */
		if (cdm_is_held(slot) ||
		    cdm_was_lost(sides, folio_pfn(slot->src),
				 folio_pfn(slot->dst)))
			slot->copied = false;
		else
			cdm_take_over(slot->dst, slot->src,
				      range->move->reason);
	}
}

/* Step 5: map the copies; and what was not copied, again. */

/* Does the entry of page @i of a slot still say that it is on its way? */
static __always_inline bool
cdm_is_ours(const struct cdm_range *range, const struct cdm_slot *slot,
	    unsigned int i, pte_t *ptep)
{
	pte_t swp = ptep_get(ptep + i);
	swp_entry_t entry;

	if (likely(pte_same(swp, range->entries[slot->nr + i].is)))
		return true;
	if (!is_swap_pte(swp))
		return false;
	entry = pte_to_swp_entry(swp);
	return is_migration_entry(entry) &&
	       swp_offset_pfn(entry) == folio_pfn(slot->src) + i;
}

/* The page table is locked. */
static __always_inline void
cdm_map_folio(struct cdm_range *range, struct cdm_slot *slot, pte_t *ptep,
	      struct cdm_tally *tally, unsigned int nr_pages)
{
	unsigned long addr = cdm_slot_addr(range, slot);
	struct folio *folio = cdm_slot_folio(slot);
	unsigned int i;

	for (i = 0; i < nr_pages; i++) {
		if (!cdm_is_ours(range, slot, i, ptep))
			continue;
		folio_get(folio);	/* of the page table */
		if (nr_pages > 1) {
			folio_add_anon_rmap_pte(folio, folio_page(folio, i),
						range->vma, addr + i * PAGE_SIZE,
						RMAP_EXCLUSIVE);
		} else {
			atomic_set(&folio->_mapcount, 0);
			cdm_tally(tally, folio_lruvec(folio), 1);
		}
		cdm_map_pte(range, slot, i, ptep);
	}
}

static void cdm_map_one(struct cdm_range *range, struct cdm_slot *slot,
			pte_t *ptep, struct cdm_tally *tally)
{
	if (likely(slot->nr_pages == 1))
		cdm_map_folio(range, slot, ptep, tally, 1);
	else
		cdm_map_folio(range, slot, ptep, tally, slot->nr_pages);
}

static void cdm_range_map(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	struct cdm_tally tally = { };
	spinlock_t *ptl;	/* of the page table */
	pte_t *table;

	table = pte_offset_map_lock(range->vma->vm_mm, range->pmd,
				    range->start, &ptl);
	/* A table that is gone has taken the entries along. */
	if (!table)
		return;
	for (slot = range->slots; slot < end; slot++) {
		if (slot->unmapped)
			cdm_map_one(range, slot, table + slot->nr, &tally);
	}
	pte_unmap_unlock(table, ptl);
	cdm_tell_tally(&tally);
}

/* A fault on one of the pages waits for this. */
static void cdm_range_unlock(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);

	for (slot = range->slots; slot < end; slot++) {
		if (slot->unmapped)
			folio_unlock(slot->src);
	}
}

/* Step 6: put everything in its place. */

static void cdm_range_to_lru(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	struct cdm_lru lru = { };

	for (slot = range->slots; slot < end; slot++)
		cdm_lru_add(&lru, cdm_slot_folio(slot));
	cdm_lru_unlock(&lru);
	mod_node_page_state(NODE_DATA(range->from), NR_ISOLATED_ANON,
			    -(long)range->nr_pages);
}

/*
 * Pages next to each other that nobody has any more are freed as blocks, as large
 * as they may be. One by one, in batches, if they lie by themselves; if allocations
 * are accounted to who made them; and those with an error, which do not go back to
 * the free lists.
 */
static void cdm_free_run(struct folio_batch *single, struct page *page,
			 unsigned long nr_pages)
{
	while (nr_pages) {
		unsigned int order = min_t(unsigned int, ilog2(nr_pages),
					   min_t(unsigned int, MAX_PAGE_ORDER,
						 __ffs(page_to_pfn(page))));

		if (mem_alloc_profiling_enabled() || PageHWPoison(page))
			order = 0;
		if (order)
			free_unref_page(page, order);
		else if (!folio_batch_add(single, page_folio(page)))
			free_unref_folios(single);
		page += 1UL << order;
		nr_pages -= 1UL << order;
	}
}

/* The last reference, on a page that is neither charged nor on a list. */
static bool cdm_put_src(struct folio *folio)
{
	if (!folio_put_testzero(folio))
		return false;
	folio->mapping = NULL;
	return true;
}

/* Does @page lie before or after the @nr_pages pages from @first on? */
static bool cdm_free_run_grows(struct page **first, unsigned long nr_pages,
			       struct page *page)
{
	if (!nr_pages || PageHWPoison(page) || PageHWPoison(*first))
		return false;
	if (page == *first + nr_pages)
		return true;
	if (page + 1 != *first)
		return false;
	*first = page;
	return true;
}

/* Memory that was taken from a list where it had been put before is upside down. */
static void cdm_range_free(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	struct page *first = NULL;
	struct folio_batch single;
	unsigned long nr = 0;

	folio_batch_init(&single);
	for (slot = range->slots; slot < end; slot++) {
		if (!slot->copied || slot->nr_pages > 1 ||
		    !cdm_put_src(slot->src))
			continue;
		if (cdm_free_run_grows(&first, nr, &slot->src->page)) {
			nr++;
			continue;
		}
		cdm_free_run(&single, first, nr);
		first = &slot->src->page;
		nr = 1;
	}
	cdm_free_run(&single, first, nr);
	if (folio_batch_count(&single))
		free_unref_folios(&single);
}

/* Drop our references on the others: what is not mapped is freed with that. */
static void cdm_range_put(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);

	for (slot = range->slots; slot < end; slot++) {
		bool freed = slot->copied && slot->nr_pages == 1;

		if (!freed)
			folio_put(slot->src);
		if (slot->dst)
			folio_put(slot->dst);
	}
}

/* Whose memory it is may change with the section. */
static bool cdm_same_sections(unsigned long from, unsigned long to,
			      unsigned long nr_pages)
{
	return pfn_to_section_nr(from) == pfn_to_section_nr(from + nr_pages) &&
	       pfn_to_section_nr(to) == pfn_to_section_nr(to + nr_pages);
}

/* Tell the owners, of pages that have stayed together as of one. */
static void cdm_range_tell(struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	unsigned long from = 0, to = 0, nr = 0;

	for (slot = range->slots; slot < end; slot++) {
		if (!slot->copied)
			continue;
		if (nr && folio_pfn(slot->src) == from + nr &&
		    folio_pfn(slot->dst) == to + nr &&
		    cdm_same_sections(from, to, nr)) {
			nr += slot->nr_pages;
			continue;
		}
		if (nr)
			cdm_moved(&range->sides, from, to, nr);
		from = folio_pfn(slot->src);
		to = folio_pfn(slot->dst);
		nr = slot->nr_pages;
	}
	if (nr)
		cdm_moved(&range->sides, from, to, nr);
}

static void cdm_note_run(const struct cdm_range *range, unsigned long pfn,
			 unsigned long nr_pages)
{
	if (nr_pages && cdm_node(range->to))
		cdm_note_placed(pfn, nr_pages, range->move->reason);
	else if (nr_pages)
		cdm_note_evicted(pfn, nr_pages, range->move->reason);
}

/* Say why they are where they are: of those next to each other at once. */
static void cdm_range_note(const struct cdm_range *range)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	bool placed = cdm_node(range->to);
	unsigned long pfn = 0, nr = 0;

	for (slot = range->slots; slot < end; slot++) {
		unsigned long next;

		if (!slot->copied)
			continue;
		next = folio_pfn(placed ? slot->dst : slot->src);
		if (nr && next == pfn + nr) {
			nr += slot->nr_pages;
			continue;
		}
		cdm_note_run(range, pfn, nr);
		pfn = next;
		nr = slot->nr_pages;
	}
	cdm_note_run(range, pfn, nr);
}

/*
 * Where there is no single page, there is nothing. But who finds no large folio
 * may still find small ones: that is for migrate_pages() to split.
 */
static int cdm_slot_status(const struct cdm_slot *slot)
{
	if (slot->copied)
		return folio_nid(slot->dst);
	return slot->dst || slot->nr_pages > 1 ? -EAGAIN : -ENOMEM;
}

/* The status of each page */
static unsigned int cdm_range_result(const struct cdm_range *range, int *status)
{
	struct cdm_slot *slot, *end = cdm_slots_end(range);
	unsigned int i, nr_moved = 0, nr_thps = 0;

	for (slot = range->slots; slot < end; slot++) {
		int result = cdm_slot_status(slot);

		for (i = 0; i < slot->nr_pages; i++)
			status[slot->nr + i] = result;
		if (slot->copied) {
			nr_moved += slot->nr_pages;
			nr_thps += folio_test_pmd_mappable(slot->dst);
		}
	}
	count_vm_events(PGMIGRATE_SUCCESS, nr_moved);
	if (nr_thps)
		count_vm_events(THP_MIGRATION_SUCCESS, nr_thps);
	return nr_moved;
}

/* Somebody traces: which step takes the time? */
static void cdm_step_done(struct cdm_range *range, enum cdm_step step)
{
	u64 now;

	if (likely(!range->timed))
		return;
	now = ktime_get_ns();
	range->ns[step] = now - range->begun;
	range->begun = now;
}

static void cdm_range_exchange(struct cdm_range *range)
{
	cdm_range_unmap(range);
	cdm_step_done(range, CDM_UNMAP);
	cdm_sides_begin(&range->sides);
	cdm_range_copy(range);
	cdm_step_done(range, CDM_COPY);
	cdm_range_map(range);
	cdm_range_unlock(range);
	cdm_step_done(range, CDM_MAP);
	cdm_range_tell(range);
	cdm_sides_end(&range->sides);
}

static unsigned int cdm_range_finish(struct cdm_range *range, int *status)
{
	unsigned int nr_moved;

	nr_moved = cdm_range_result(range, status);
	cdm_range_note(range);
	cdm_range_to_lru(range);
	cdm_range_free(range);
	cdm_range_put(range);
	cdm_step_done(range, CDM_FINISH);
	return nr_moved;
}

static unsigned int cdm_range_move(struct cdm_range *range, int *status)
{
	unsigned int nr_moved;
	bool found;

	range->timed = trace_cdm_range_enabled();
	range->begun = range->timed ? ktime_get_ns() : 0;
	cdm_range_isolate(range, status);
	cdm_step_done(range, CDM_ISOLATE);
	if (!range->nr)
		return 0;
	found = cdm_range_alloc(range);
	cdm_step_done(range, CDM_ALLOC);
	if (found)
		cdm_range_exchange(range);
	nr_moved = cdm_range_finish(range, status);
	if (unlikely(range->timed))
		trace_cdm_range(range->start, range->nr, range->nr_pages,
				nr_moved, range->from, range->to, range->ns);
	return nr_moved;
}

/* May anonymous memory of @vma move, and is there any? */
bool cdm_vma_is_simple(struct vm_area_struct *vma)
{
	return vma->anon_vma && vma_migratable(vma) &&
	       !is_vm_hugetlb_page(vma) &&
	       !(vma->vm_flags & (VM_LOCKED | VM_PFNMAP | VM_MIXEDMAP | VM_IO));
}

/* As find_vma(), which takes longer where there is one. */
static struct vm_area_struct *cdm_next_vma(struct mm_struct *mm,
					   unsigned long addr)
{
	return vma_lookup(mm, addr) ?: find_vma(mm, addr);
}

/* Move what is simple of [@start, @end), at most CDM_BATCH pages of one table. */
unsigned int cdm_move_table(const struct cdm_move *move,
			    struct vm_area_struct *vma, pmd_t *pmd,
			    unsigned long start, unsigned long end,
			    const struct cdm_scratch *scratch, int *status)
{
	struct cdm_range range = {
		.move = move,
		.vma = vma,
		.pmd = pmd,
		.start = start,
		.end = end,
		.from = move->from,
		.to = move->nid,
		.slots = scratch->slots,
		.entries = scratch->entries,
		.segments = scratch->segments,
	};

	return cdm_range_move(&range, status);
}

/*
 * Move what is simple of [@start, @start + @nr_pages pages), at most CDM_BATCH
 * pages. The status of a page is then the node where it is, -ENOENT if nothing is
 * present, -ENOMEM; or -EAGAIN, if it is not simple, is not asked for, or is in use
 * at the moment. Returns how many pages have moved.
 */
unsigned int cdm_move_simple_locked(const struct cdm_move *move,
				    unsigned long start, unsigned int nr_pages,
				    const struct cdm_scratch *scratch)
{
	unsigned long addr, next, end = start + nr_pages * PAGE_SIZE;
	unsigned int nr_moved = 0;

	mmap_assert_locked(move->mm);
	memset32((u32 *)scratch->status, -EAGAIN, nr_pages);
	for (addr = start; addr < end; addr = next) {
		struct vm_area_struct *vma = cdm_next_vma(move->mm, addr);
		pmd_t *pmd;

		if (!vma)
			break;
		addr = max(addr, vma->vm_start);
		next = min3(end, vma->vm_end, pmd_addr_end(addr, end));
		if (addr >= end)
			break;
		pmd = mm_find_pmd(move->mm, addr);
		if (pmd && cdm_vma_is_simple(vma))
			nr_moved += cdm_move_table(move, vma, pmd, addr, next,
						   scratch, scratch->status +
						   (addr - start) / PAGE_SIZE);
	}
	return nr_moved;
}

/* The same, or -EAGAIN or -EINTR without the mmap lock. */
int cdm_move_simple(const struct cdm_move *move, unsigned long start,
		    unsigned int nr_pages, const struct cdm_scratch *scratch)
{
	int ret;

	ret = cdm_mmap_lock(move->mm, move->nowait);
	if (ret)
		return ret;
	ret = cdm_move_simple_locked(move, start, nr_pages, scratch);
	mmap_read_unlock(move->mm);
	return ret;
}

int cdm_scratch_alloc(struct cdm_scratch *scratch, gfp_t gfp)
{
	scratch->slots = kmalloc_array(CDM_BATCH, sizeof(*scratch->slots), gfp);
	scratch->entries = kmalloc_array(CDM_BATCH, sizeof(*scratch->entries),
					 gfp);
	scratch->segments = kmalloc_array(CDM_BATCH, sizeof(*scratch->segments),
					  gfp);
	scratch->status = kmalloc_array(CDM_BATCH, sizeof(*scratch->status),
					gfp);
	if (scratch->slots && scratch->entries && scratch->segments &&
	    scratch->status)
		return 0;
	cdm_scratch_free(scratch);
	return -ENOMEM;
}

void cdm_scratch_free(struct cdm_scratch *scratch)
{
	kfree(scratch->slots);
	kfree(scratch->entries);
	kfree(scratch->segments);
	kfree(scratch->status);
	*scratch = (struct cdm_scratch) { };
}

#ifdef CONFIG_CDM_KUNIT_TEST
#include "tests/range-kunit.h"
#endif
