// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: eviction. Tenants go to RAM, never straight to swap; that
 * only the limit of a memory cgroup does, which is no eviction (mm/vmscan.c).
 */
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/memory_hotplug.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#include <trace/events/cdm.h>

#include "../internal.h"
#include "internal.h"

#define CDM_EVICT_PAUSE	10	/* ms between two passes */
/* Time for tenants to leave a block that goes offline, in jiffies */
#define CDM_OFFLINE_PATIENCE	(3 * HZ)

/*
 * A page that has failed belongs to the handler of memory failures, which keeps one
 * reference on it, but for those of others, who still use it. Ours is one more.
 */
static bool cdm_is_set_aside(struct page *page, int nr_refs)
{
	return PageHWPoison(page) && page_count(page) <= 1 + nr_refs;
}

/*
 * A reference on the folio at @pfn, or NULL if the page is free. The reference
 * may turn out to be on something that is no tenant; then it cannot be isolated.
 */
static struct folio *cdm_get_folio(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	struct folio *folio;

	/* Not online, or the memmap if it lies on the device. */
	if (!page || PageReserved(page))
		return NULL;

	folio = page_folio(page);
	if (!folio_try_get(folio))
		return NULL;
	if (unlikely(page_folio(page) != folio) || cdm_is_set_aside(page, 1)) {
		folio_put(folio);
		return NULL;
	}
	return folio;
}

/* The pages from @pfn on that are free for sure, without a look at each. */
static unsigned long cdm_nr_free_at(unsigned long pfn)
{
	struct page *page = pfn_to_online_page(pfn);
	unsigned int order;

	if (!page || !PageBuddy(page))
		return 1;
	order = buddy_order_unsafe(page);
	return order <= MAX_PAGE_ORDER ? 1UL << order : 1;
}

/*
 * The first folio in use from *@pfn on, with a reference, or NULL if there is
 * none before @end_pfn. *@pfn is then where to go on.
 */
struct folio *cdm_next_folio(unsigned long *pfn, unsigned long end_pfn)
{
	while (*pfn < end_pfn) {
		struct folio *folio = cdm_get_folio(*pfn);

		cond_resched();
		if (folio) {
			*pfn = folio_pfn(folio) + folio_nr_pages(folio);
			return folio;
		}
		*pfn += cdm_nr_free_at(*pfn);
	}
	return NULL;
}

/*
 * Is there RAM for @nr_pages more, free, reclaimable or in exchange for swap?
 * Beyond that, tenants that come home would drive others out of memory.
 */
static bool cdm_ram_is_full(unsigned long nr_pages)
{
	return si_mem_available() + get_nr_swap_pages() < (long)nr_pages;
}

/* A process that maps a folio, and the address */
struct cdm_user {
	struct mm_struct *mm;
	unsigned long addr;
};

static bool cdm_note_user(struct folio *folio, struct vm_area_struct *vma,
			  unsigned long addr, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, addr, 0);
	struct cdm_user *user = arg;

	if (!page_vma_mapped_walk(&pvmw))
		return true;
	page_vma_mapped_walk_done(&pvmw);
	if (mmget_not_zero(vma->vm_mm))
		user->mm = vma->vm_mm;
	user->addr = pvmw.address;
	return false;
}

/* A process that maps @folio, with a reference, and where. */
static bool cdm_find_user(struct folio *folio, struct cdm_user *user)
{
	struct rmap_walk_control rwc = {
		.arg = user,
		.rmap_one = cdm_note_user,
		.anon_lock = folio_lock_anon_vma_read,
		.try_lock = true,
	};

	user->mm = NULL;
	if (folio_test_anon(folio) && !folio_test_ksm(folio) &&
	    folio_mapped(folio) && folio_order(folio) < PMD_ORDER)
		rmap_walk(folio, &rwc);
	return user->mm;
}

/*
 * Evict what is simple of the page frames in [@pfn, @end_pfn), by the process that
 * maps @folio: all that is in the same batch of its page table. A process that is
 * busy with its mappings is not waited for, nor does it wait for reclaim.
 */
static unsigned int cdm_evict_beside(struct folio *folio, unsigned long pfn,
				     unsigned long end_pfn,
				     enum migrate_reason reason,
				     const struct cdm_scratch *scratch)
{
	struct cdm_move move = {
		.nowait = true,
		.from = NUMA_NO_NODE,
		.nid = NUMA_NO_NODE,
		.reason = reason,
		.pfn = pfn,
		.end_pfn = end_pfn,
	};
	const unsigned long size = CDM_BATCH * PAGE_SIZE;
	unsigned int nr_moved = 0;
	struct cdm_user user;
	bool found;

	found = cdm_find_user(folio, &user);
	/* A folio with other references does not move. */
	folio_put(folio);
	if (!found)
		return 0;
	move.mm = user.mm;
	if (mmap_read_trylock(user.mm)) {
		nr_moved = cdm_move_simple_locked(&move,
						  ALIGN_DOWN(user.addr, size),
						  CDM_BATCH, scratch);
		mmap_read_unlock(user.mm);
	}
	mmput_async(user.mm);
	return nr_moved;
}

/* After so many processes with little in the block the search does not pay. */
#define CDM_FRUITLESS	4

/*
 * Evict what is simple of [@pfn, @end_pfn) without the reverse map, if @scratch has
 * memory for doing so. Returns how many pages have moved.
 */
static unsigned long cdm_evict_simple(unsigned long pfn, unsigned long end_pfn,
				      enum migrate_reason reason,
				      const struct cdm_scratch *scratch)
{
	unsigned int nr, nr_fruitless = 0;
	unsigned long first = pfn, nr_moved = 0;
	struct folio *folio;

	if (!scratch->slots)
		return 0;
	while (nr_fruitless < CDM_FRUITLESS &&
	       !cdm_ram_is_full(pageblock_nr_pages) &&
	       (folio = cdm_next_folio(&pfn, end_pfn))) {
		nr = cdm_evict_beside(folio, first, end_pfn, reason, scratch);
		nr_fruitless += nr < CDM_BATCH / 32;
		nr_moved += nr;
	}
	return nr_moved;
}

static bool cdm_is_owned(struct folio *folio)
{
	return cdm_cause(folio_pfn(folio)) == CDM_BY_OWNER;
}

static bool cdm_is_page_cache(struct folio *folio)
{
	return folio_is_file_lru(folio) && !folio_test_anon(folio) &&
	       !folio_test_hugetlb(folio);
}

/*
 * Returns whether any of [@pfn, @end_pfn) is in use, but by the owner; for @files_only
 * as page cache.
 */
bool cdm_has_tenants(unsigned long pfn, unsigned long end_pfn, bool files_only)
{
	struct folio *folio;
	bool found = false;

	while (!found && (folio = cdm_next_folio(&pfn, end_pfn))) {
		found = !cdm_is_owned(folio) &&
			(!files_only || cdm_is_page_cache(folio));
		folio_put(folio);
	}
	return found;
}

/*
 * Isolate the used folios of [*@pfn, @end_pfn); *@pfn is then where to go on.
 * Returns the number of pages that were seen to have tenants.
 */
static unsigned long cdm_collect_block(unsigned long *pfn,
				       unsigned long end_pfn, bool files_only,
				       struct list_head *folios)
{
	unsigned long nr_used = 0;
	struct folio *folio;

	while ((folio = cdm_next_folio(pfn, end_pfn))) {
		if (!cdm_is_owned(folio))
			nr_used += folio_nr_pages(folio);
		if (!files_only || cdm_is_page_cache(folio))
			isolate_folio_to_list(folio, folios);
		folio_put(folio);
	}
	return nr_used;
}

static bool cdm_evict_stop(struct cdm_memory *mem, unsigned long deadline)
{
	return signal_pending(current) || time_after_eq(jiffies, deadline) ||
	       !cdm_memory_is_alive(mem);
}

/*
 * Some RAM is left to those who have nothing to do with devices: a device that is
 * too small is no concern of theirs.
 */
static bool cdm_ram_is_for_others(void)
{
	return cdm_ram_is_full(totalram_pages() / 64);
}

/* The node that reclaim evicts tenants of @nid to. */
int cdm_eviction_node(int nid)
{
	return cdm_ram_is_for_others() ? NUMA_NO_NODE : cdm_home(nid, NULL);
}

/* Page cache and anonymous memory are evicted alike. Without room in RAM neither is. */
int __cdm_swappiness(int nid)
{
	return cdm_eviction_node(nid) == NUMA_NO_NODE ? 0 : MAX_SWAPPINESS / 2;
}

static bool cdm_zone_is_low(struct zone *zone)
{
	return !zone_watermark_ok(zone, 0, low_wmark_pages(zone), ZONE_MOVABLE,
				  0);
}

/* Returns whether all zones are low of @nodes, or of all RAM, that @nid allocates from. */
static bool cdm_ram_is_low(int nid, nodemask_t *nodes)
{
	struct zoneref *z;
	struct zone *zone;

	for_each_zone_zonelist_nodemask(zone, z,
					node_zonelist(nid, GFP_KERNEL),
					ZONE_MOVABLE, nodes) {
		if (!cdm_zone_is_low(zone))
			return false;
	}
	return true;
}

/*
 * The node that must be reclaimed from before tenants of @nid can be evicted,
 * or NUMA_NO_NODE: there is room, or what is left is not for them. Eviction
 * allocates without reclaim, and kswapd may come too late for who waits.
 */
int __cdm_full_ram_node(int nid)
{
	int home = cdm_eviction_node(nid);

	if (home == NUMA_NO_NODE || !cdm_ram_is_low(home, NULL))
		return NUMA_NO_NODE;
	return home;
}

/*
 * The RAM, of @ram unless NULL, that is nearest to @nid and where what comes home
 * need not be made room for. Or NUMA_NO_NODE.
 */
int cdm_roomy_home(int nid, const nodemask_t *ram)
{
	nodemask_t left = *(ram ?: &node_states[N_MEMORY]);
	int home;

	if (cdm_ram_is_for_others())
		return NUMA_NO_NODE;
	while ((home = cdm_home(nid, &left)) != NUMA_NO_NODE) {
		nodemask_t only = nodemask_of_node(home);

		if (!cdm_ram_is_low(home, &only))
			break;
		node_clear(home, left);
	}
	return home;
}

/* Eviction has a deadline: a folio that cannot go at once is tried again later. */
static int cdm_send_home(struct list_head *folios, enum migrate_reason reason,
			 unsigned int *nr_moved)
{
	const struct cdm_move move = {
		.bounded = true,
		.nid = NUMA_NO_NODE,
		.reason = reason,
	};

	*nr_moved = 0;
	if (list_empty(folios))
		return 0;
	if (cdm_ram_is_full(pageblock_nr_pages)) {
		putback_movable_pages(folios);
		return -ENOMEM;
	}
	return cdm_migrate_folios(folios, &move, nr_moved);
}

/*
 * Evict the tenants of the pageblock at *@pfn, which is then where to go on.
 * *@nr_used is the number of pages found in use, *@nr_moved of those that moved.
 * Returns as cdm_migrate_folios() does.
 */
int cdm_evict_block(unsigned long *pfn, unsigned long end_pfn,
		    enum migrate_reason reason,
		    const struct cdm_scratch *scratch, unsigned long *nr_used,
		    unsigned int *nr_moved)
{
	unsigned long block_end = min(end_pfn, pageblock_end_pfn(*pfn));
	unsigned long nr_simple;
	LIST_HEAD(folios);
	int ret;

	nr_simple = cdm_evict_simple(*pfn, block_end, reason, scratch);
	*nr_used = nr_simple +
		   cdm_collect_block(pfn, block_end, false, &folios);
	ret = cdm_send_home(&folios, reason, nr_moved);
	*nr_moved += nr_simple;
	return ret;
}

/* The same for page cache alone. */
int cdm_evict_files(unsigned long *pfn, unsigned long end_pfn,
		    enum migrate_reason reason, unsigned int *nr_moved)
{
	LIST_HEAD(folios);

	cdm_collect_block(pfn, min(end_pfn, pageblock_end_pfn(*pfn)), true,
			  &folios);
	return cdm_send_home(&folios, reason, nr_moved);
}

/*
 * One pass over the range. Returns the number of pages that were in use and
 * did not move; *@no_ram says that for some of them there was no RAM. A pass
 * that the deadline cuts short does not take back what the one before found.
 */
static unsigned long cdm_evict_pass(struct cdm_memory *mem,
				    unsigned long deadline,
				    const struct cdm_scratch *scratch,
				    bool *no_ram,
				    struct cdm_evacuation *evac)
{
	unsigned long end_pfn = PHYS_PFN(mem->range.end) + 1;
	unsigned long pfn = PHYS_PFN(mem->range.start);
	unsigned long nr_left = 0;
	bool full = false;

	lru_add_drain_all();
	while (pfn < end_pfn) {
		unsigned long nr_used;
		unsigned int nr_moved;

		/* What is left is what was not looked at, too. */
		if (cdm_evict_stop(mem, deadline)) {
			*no_ram |= full;
			return ULONG_MAX;
		}
		if (cdm_evict_block(&pfn, end_pfn, MR_MEMORY_HOTPLUG, scratch,
				    &nr_used, &nr_moved) == -ENOMEM)
			full = true;
		nr_left += nr_used - min(nr_used, nr_moved);
		evac->nr_moved += nr_moved;
	}
	*no_ram = full;
	return nr_left;
}

/* Returns whether anybody but the page tables and the page cache holds the folio. */
static bool cdm_is_pinned(struct folio *folio)
{
	int expected = 1 + folio_mapcount(folio);	/* ours and theirs */

	if (folio_maybe_dma_pinned(folio))
		return true;
	if (folio_mapping(folio) || folio_test_swapcache(folio))
		expected += folio_nr_pages(folio);
	if (folio_test_private(folio))
		expected++;
	return folio_ref_count(folio) > expected;
}

/* Say of each page that is still in use why it is. */
static void cdm_evict_report(const struct range *range, bool no_ram,
			     struct cdm_evacuation *evac)
{
	unsigned long end_pfn = PHYS_PFN(range->end) + 1;
	unsigned long pfn = PHYS_PFN(range->start);
	struct folio *folio;

	while ((folio = cdm_next_folio(&pfn, end_pfn))) {
		unsigned long nr_pages = folio_nr_pages(folio);

		if (cdm_is_owned(folio))
			;	/* no tenant */
		else if (cdm_is_pinned(folio))
			evac->nr_pinned += nr_pages;
		else if (no_ram)
			evac->nr_no_ram += nr_pages;
		else
			evac->nr_busy += nr_pages;
		folio_put(folio);
	}
}

/* The result. */
static int cdm_evacuated(struct cdm_memory *mem, unsigned long nr_left,
			 bool no_ram, struct cdm_evacuation *evac)
{
	const struct range *range = &mem->range;

	if (nr_left) {
		/* The batches of the CPUs hold references, too. */
		lru_add_drain_all();
		cdm_evict_report(range, no_ram, evac);
	}
	nr_left = cdm_evacuation_left(evac);
	trace_cdm_evacuate(range->start, range_len(range), evac->nr_moved,
			   nr_left);
	if (!nr_left)
		return 0;
	if (cdm_memory_is_lost(mem))
		return -ENODEV;
	return signal_pending(current) ? -EINTR : -EBUSY;
}

/*
 * Migrate every tenant of @mem to RAM until @deadline (jiffies). The node
 * must be closed, or new tenants come in at the other end.
 *
 * Returns 0 when the range is empty. Or, and @evac then counts what is left by
 * reason, -EBUSY at the deadline, -EINTR on a signal, -ENODEV if it is lost.
 */
int cdm_evacuate(struct cdm_memory *mem, unsigned long deadline,
		 struct cdm_evacuation *evac)
{
	struct cdm_scratch scratch;
	unsigned long nr_left;
	bool no_ram = false;

	cdm_scratch_alloc(&scratch, CDM_SCRATCH_TRY);
	for (;;) {
		nr_left = cdm_evict_pass(mem, deadline, &scratch, &no_ram, evac);
		if (!nr_left || cdm_evict_stop(mem, deadline))
			break;
		msleep(CDM_EVICT_PAUSE);
	}
	cdm_scratch_free(&scratch);
	return cdm_evacuated(mem, nr_left, no_ram, evac);
}

/* The same in one pass, for which nobody waits. */
int cdm_evacuate_once(struct cdm_memory *mem, struct cdm_evacuation *evac)
{
	struct cdm_scratch scratch;
	unsigned long nr_left;
	bool no_ram = false;

	cdm_scratch_alloc(&scratch, CDM_SCRATCH_TRY);
	nr_left = cdm_evict_pass(mem, jiffies + MAX_JIFFY_OFFSET, &scratch,
				 &no_ram, evac);
	cdm_scratch_free(&scratch);
	return cdm_evacuated(mem, nr_left, no_ram, evac);
}

/*
 * Returns whether no page of [@pfn, @end_pfn) is in use. Nothing is allocated there: the
 * pageblocks are isolated, and the lists of the CPUs empty, so what is free stays so.
 */
bool cdm_is_free(unsigned long pfn, unsigned long end_pfn)
{
	while (pfn < end_pfn) {
		struct page *page = pfn_to_page(pfn);
		struct folio *folio = page_folio(page);

		if (folio_test_hugetlb(folio) && !folio_ref_count(folio))
			pfn = folio_pfn(folio) + folio_nr_pages(folio);
		else if (PageBuddy(page))
			pfn += cdm_nr_free_at(pfn);
		else if (cdm_is_set_aside(page, 0))
			pfn++;
		else
			return false;
	}
	return true;
}

static bool cdm_has_owned(unsigned long pfn, unsigned long end_pfn)
{
	struct folio *folio;
	bool found = false;

	while (!found && (folio = cdm_next_folio(&pfn, end_pfn))) {
		found = cdm_is_owned(folio);
		folio_put(folio);
	}
	return found;
}

/*
 * Migrate what is in a block of memory that is about to go offline, in the time that those
 * may have to wait who want to remove other memory. Returns 0, -EBUSY or -EINTR.
 */
int cdm_evacuate_block(struct cdm_memory *mem, unsigned long start_pfn,
		       unsigned long nr_pages)
{
	unsigned long end_pfn = start_pfn + nr_pages, pfn, nr_used;
	unsigned long deadline = jiffies + CDM_OFFLINE_PATIENCE;
	const struct cdm_scratch scratch = { };
	unsigned int nr_moved;

	/* The owner's pages do not move. */
	if (cdm_has_owned(start_pfn, end_pfn))
		return -EBUSY;
	for (;;) {
		pfn = start_pfn;
		while (pfn < end_pfn && !cdm_evict_stop(mem, deadline))
			cdm_evict_block(&pfn, end_pfn, MR_MEMORY_HOTPLUG,
					&scratch, &nr_used, &nr_moved);
		if (cdm_is_free(start_pfn, end_pfn))
			return 0;
		if (cdm_evict_stop(mem, deadline))
			return signal_pending(current) ? -EINTR : -EBUSY;
		msleep(CDM_EVICT_PAUSE);
	}
}
