// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: what the owner takes for itself.
 *
 * The owner has the first claim. Pages that no tenant may take are kept by the
 * zone's lowmem_reserve, which every allocation respects but those that may
 * ignore watermarks, and among the latter are the owner's. A recall keeps what
 * it asks for in the same way while it evicts tenants, so that what these leave
 * is not taken by others.
 */
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/swap.h>

#include <trace/events/cdm.h>

#include "../internal.h"
#include "internal.h"

#define CDM_RECALL_PAUSE	10	/* ms, when nobody would go */

#define CDM_OWNER_GFP	(__GFP_HIGHMEM | __GFP_MOVABLE | __GFP_THISNODE | \
			 __GFP_MEMALLOC | __GFP_NOWARN)

/* Protects lowmem_reserve of device zones, and nr_reserve of ranges. */
static DEFINE_SPINLOCK(cdm_kept_lock);

static struct zone *cdm_zone(const struct cdm_memory *mem)
{
	return &NODE_DATA(mem->nid)->node_zones[ZONE_MOVABLE];
}

/* Keep @nr_pages more pages from tenants; what is negative is given back. */
static void cdm_keep(struct cdm_memory *mem, long nr_pages)
{
	spin_lock(&cdm_kept_lock);
	cdm_zone(mem)->lowmem_reserve[ZONE_MOVABLE] += nr_pages;
	spin_unlock(&cdm_kept_lock);
}

/*
 * A tenant looks at the number of free pages first and takes some then. All CPUs
 * may be between the two with a huge page each, and have free pages that they
 * have not told anybody about.
 */
static unsigned long cdm_margin(void)
{
	return num_possible_cpus() * (pageblock_nr_pages + 128);
}

/* Pages to keep, so that @nr_pages are really there. */
static unsigned long cdm_to_keep(unsigned long nr_pages)
{
	return nr_pages ? nr_pages + cdm_margin() : 0;
}

/* Memory that another driver has added to the node is counted for nobody. */
static void cdm_count_owned(struct page *page, long nr_pages)
{
	struct cdm_memory *mem = cdm_memory_of(page_to_pfn(page));

	if (mem)
		atomic_long_add(nr_pages, &mem->nr_owned);
}

/**
 * cdm_alloc_pages - allocate device memory for the owner itself
 * @mem: from cdm_register_memory()
 * @order: of the block of pages, at most MAX_PAGE_ORDER
 *
 * Takes what is free on the node, including what is kept from tenants, and
 * evicts nobody: see cdm_recall() for that. The pages are zeroed, are a compound
 * page if there are several, and are not moved until they are freed.
 *
 * Context: process context, does not sleep for memory.
 * Return: the first page, or NULL.
 */
struct page *cdm_alloc_pages(struct cdm_memory *mem, unsigned int order)
{
	struct page *page;

	page = __alloc_pages_noprof(CDM_OWNER_GFP | (order ? __GFP_COMP : 0),
				    order, mem->nid,
				    cdm_node_only(mem->nid, CDM_BY_OWNER));
	if (!page)
		return NULL;
	clear_page_pfmemalloc(page);
	cdm_clean_pages(page, 1UL << order);
	cdm_count_owned(page, 1L << order);
	return page;
}
EXPORT_SYMBOL_GPL(cdm_alloc_pages);

/**
 * cdm_free_pages - free what the owner has allocated or recalled
 * @mem: from cdm_register_memory()
 * @page: the first page
 * @order: as when it was allocated
 *
 * Nobody sees what the owner has left there.
 *
 * Context: any but NMI.
 */
void cdm_free_pages(struct cdm_memory *mem, struct page *page,
		    unsigned int order)
{
	cdm_count_owned(page, -(1L << order));
	__free_pages(page, order);
}
EXPORT_SYMBOL_GPL(cdm_free_pages);

/*
 * Who has to go first: page cache, and then what the device uses least. Its memory
 * is swept again and again, and everything is taken for cooler than the time before,
 * until there is enough room or all have been asked.
 */
enum cdm_sweep {
	CDM_SWEEP_FILES,
	CDM_SWEEP_COLD,
	CDM_SWEEP_COOL,
	CDM_SWEEP_WARM,
	CDM_SWEEP_ALL,
};

/* An eviction under way on behalf of the owner. */
struct cdm_room {
	struct cdm_memory *mem;
	unsigned long deadline;		/* jiffies */
	enum cdm_sweep sweep;
	unsigned long pfn;		/* where it is */
	bool moved;			/* something, in this lap of sweeps */
	int error;			/* of the lap before */
	unsigned long nr_evicted;
	int stop;			/* why it ends before there is enough */
	struct cdm_scratch scratch;
	bool (*enough)(struct cdm_room *room);
	struct cdm_recall *recall;	/* what for, or NULL */
	unsigned long nr_pages;		/* to be free, without a recall */
};

/* Returns 0 to go on; asked before each pageblock, and the owner if @ask. */
static int cdm_room_stop(struct cdm_room *room, bool ask)
{
	if (!cdm_memory_is_alive(room->mem))
		return -ENODEV;
	if (signal_pending(current))
		return -EINTR;
	if (ask && room->recall && room->recall->progress &&
	    !room->recall->progress(room->recall))
		return -ECANCELED;
	if (time_after_eq(jiffies, room->deadline))
		return room->error ?: -ETIME;
	return 0;
}

static void cdm_room_begin(struct cdm_room *room, enum cdm_sweep sweep)
{
	pg_data_t *pgdat = NODE_DATA(room->mem->nid);

	if (sweep == CDM_SWEEP_FILES &&
	    !node_page_state(pgdat, NR_INACTIVE_FILE) &&
	    !node_page_state(pgdat, NR_ACTIVE_FILE))
		sweep++;
	if (sweep > CDM_SWEEP_COLD)
		cdm_cool(room->mem, room->deadline);
	room->sweep = sweep;
	room->pfn = PHYS_PFN(room->mem->range.start);
}

/* All have been asked. If nobody would go: perhaps a bit later. */
static void cdm_room_lap(struct cdm_room *room, int error)
{
	room->error = room->moved ? 0 : error ?: -EBUSY;
	room->stop = cdm_room_stop(room, !room->moved);
	if (room->stop)
		return;
	if (!room->moved)
		msleep(CDM_RECALL_PAUSE);
	lru_add_drain_all();
	room->moved = false;
	cdm_room_begin(room, CDM_SWEEP_FILES);
}

/* Returns whether this pageblock has tenants whose turn it is. */
static bool cdm_room_wants(const struct cdm_room *room, unsigned long block_end)
{
	if (room->sweep != CDM_SWEEP_FILES && room->sweep != CDM_SWEEP_ALL &&
	    !cdm_is_cold(room->pfn, block_end))
		return false;
	return cdm_has_tenants(room->pfn, block_end,
			       room->sweep == CDM_SWEEP_FILES);
}

/* Evict from a pageblock, unless it is not yet its turn. */
static int cdm_room_evict_block(struct cdm_room *room, unsigned long end_pfn,
				unsigned int *nr_moved)
{
	unsigned long block_end = min(end_pfn, pageblock_end_pfn(room->pfn));
	bool wants = cdm_room_wants(room, block_end);
	unsigned long nr_used;

	room->stop = cdm_room_stop(room, wants);
	if (room->stop)
		return 0;
	if (wants && room->sweep == CDM_SWEEP_FILES)
		return cdm_evict_files(&room->pfn, end_pfn, MR_CONTIG_RANGE,
				       nr_moved);
	if (wants)
		return cdm_evict_block(&room->pfn, end_pfn, MR_CONTIG_RANGE,
				       &room->scratch, &nr_used, nr_moved);
	room->pfn = block_end;
	return 0;
}

/* Go on with the sweep until somebody goes. */
static int cdm_room_sweep(struct cdm_room *room, unsigned int *nr_moved)
{
	unsigned long end_pfn = PHYS_PFN(room->mem->range.end) + 1;
	int ret = 0;

	while (room->pfn < end_pfn && !*nr_moved && ret != -ENOMEM &&
	       !room->stop) {
		ret = cdm_room_evict_block(room, end_pfn, nr_moved);
		cond_resched();
	}
	if (room->pfn < end_pfn || *nr_moved || ret == -ENOMEM)
		return ret;
	if (room->sweep < CDM_SWEEP_ALL)
		cdm_room_begin(room, room->sweep + 1);
	else
		cdm_room_lap(room, 0);
	return ret;
}

/* Evict from the next pageblock that has a tenant who can go. */
static void cdm_room_evict(struct cdm_room *room)
{
	unsigned int nr_moved = 0;
	enum cdm_sweep sweep;
	int ret;

	do {
		sweep = room->sweep;
		ret = cdm_room_sweep(room, &nr_moved);
	} while (room->sweep > sweep && !room->stop);
	room->nr_evicted += nr_moved;
	room->moved |= nr_moved;
	if (room->recall)
		room->recall->nr_evicted = room->nr_evicted;
	if (ret == -ENOMEM)
		cdm_room_lap(room, ret);
}

/*
 * Evict tenants until there is enough room, in which case 0 is returned, or
 * there is a reason to stop. The caller keeps others from taking it.
 */
static int cdm_make_room(struct cdm_room *room)
{
	bool enough = room->enough(room);

	if (!cdm_memory_is_alive(room->mem))
		return -ENODEV;
	if (enough)
		return 0;
	cdm_scratch_alloc(&room->scratch, CDM_SCRATCH_TRY);
	lru_add_drain_all();
	cdm_room_begin(room, CDM_SWEEP_FILES);
	while (!enough && !room->stop) {
		cdm_room_evict(room);
		drain_all_pages(cdm_zone(room->mem));
		enough = room->enough(room);
	}
	cdm_scratch_free(&room->scratch);
	return enough ? 0 : room->stop;
}

/* Take what is there. */
static bool cdm_recall_take(struct cdm_room *room)
{
	struct cdm_recall *recall = room->recall;
	struct page *page;

	while (recall->nr_recalled < recall->nr) {
		page = cdm_alloc_pages(room->mem, recall->order);
		if (!page)
			return false;
		/* Pages that have been taken need not be kept any more. */
		cdm_keep(room->mem, -(1L << recall->order));
		recall->pages[recall->nr_recalled++] = page;
	}
	return true;
}

/**
 * cdm_recall - claim device memory back from the tenants
 * @mem: from cdm_register_memory()
 * @recall: what is to be had until when, and what came of it
 *
 * Takes free memory first, then evicts tenants to RAM, pageblock by pageblock,
 * until there is enough: page cache first, and what the device uses most, by
 * cdm_report_accesses(), last. Contents and mappings of tenants are preserved, and no
 * tenant takes what another one has left. The time it takes is bounded by the
 * deadline and, beyond it, by one pageblock (2 MiB on x86).
 *
 * Context: process context, may sleep. May run concurrently with itself and with
 * any other function but those that free @mem: cdm_unregister_memory() and
 * cdm_lose_memory(). cdm_mark_lost() ends it.
 * Return: 0 if @recall->pages is full. Or, with @recall->nr_recalled blocks that
 * are the owner's all the same: %-ETIME at the deadline; or then, if nobody could
 * be evicted lately, %-EBUSY (pinned pages, the owner's own) or %-ENOMEM (no RAM);
 * %-ECANCELED, %-EINTR on a signal; %-ENODEV if the memory is lost; %-EINVAL for a
 * bad @recall.
 */
int cdm_recall(struct cdm_memory *mem, struct cdm_recall *recall)
{
	unsigned long nr_kept;
	struct cdm_room room = {
		.mem = mem,
		.deadline = jiffies + msecs_to_jiffies(recall->deadline_ms),
		.enough = cdm_recall_take,
		.recall = recall,
	};
	int ret;

	recall->nr_recalled = 0;
	recall->nr_evicted = 0;
	if (recall->order > MAX_PAGE_ORDER ||
	    recall->nr > PHYS_PFN(range_len(&mem->range)) >> recall->order)
		return -EINVAL;

	nr_kept = (recall->nr << recall->order) + cdm_margin();
	cdm_keep(mem, nr_kept);
	ret = cdm_make_room(&room);
	nr_kept -= recall->nr_recalled << recall->order;
	cdm_keep(mem, -(long)nr_kept);
	trace_cdm_recall(mem->nid, recall->order, recall->nr,
			 recall->nr_recalled, recall->nr_evicted, ret);
	return ret;
}
EXPORT_SYMBOL_GPL(cdm_recall);

static bool cdm_reserve_is_free(struct cdm_room *room)
{
	return zone_page_state_snapshot(cdm_zone(room->mem), NR_FREE_PAGES) >=
	       room->nr_pages;
}

/* Returns what was kept before. */
static unsigned long cdm_replace_reserve(struct cdm_memory *mem,
					 unsigned long nr_pages)
{
	unsigned long old;

	lockdep_assert_held(&mem->reserve_lock);
	spin_lock(&cdm_kept_lock);
	old = mem->nr_reserve;
	mem->nr_reserve = nr_pages;
	cdm_zone(mem)->lowmem_reserve[ZONE_MOVABLE] += nr_pages - old;
	spin_unlock(&cdm_kept_lock);
	return old;
}

/**
 * cdm_set_reserve - keep some device memory for the owner
 * @mem: from cdm_register_memory()
 * @nr_pages: to be kept on the node for cdm_alloc_pages(), instead of what was;
 *	0 gives everything to the tenants
 * @deadline_ms: milliseconds that tenants in the way are given to leave
 *
 * No tenant can take pages that are kept, not even one that is being killed for
 * want of memory. To make sure of that, a bit more is kept: 2 MiB and 128 pages
 * for each CPU. What the owner allocates comes out of the reserve, too, when
 * nothing else is free; what it frees refills it.
 *
 * Context: process context, may sleep. A concurrent call for @mem is waited for
 * first, until a signal comes.
 * Return: 0; or, with the reserve as it was before, %-EINVAL if the range is too
 * small, or an error of cdm_recall().
 */
int cdm_set_reserve(struct cdm_memory *mem, unsigned long nr_pages,
		    unsigned int deadline_ms)
{
	struct cdm_room room = {
		.mem = mem,
		.enough = cdm_reserve_is_free,
		.nr_pages = cdm_to_keep(nr_pages),
	};
	unsigned long old;
	int ret;

	if (nr_pages > PHYS_PFN(range_len(&mem->range)) ||
	    room.nr_pages > PHYS_PFN(range_len(&mem->range)))
		return -EINVAL;

	/* The reserve may be that of another call, which gives it up itself. */
	if (mutex_lock_interruptible(&mem->reserve_lock))
		return -EINTR;
	room.deadline = jiffies + msecs_to_jiffies(deadline_ms);
	old = cdm_replace_reserve(mem, room.nr_pages);
	ret = nr_pages ? cdm_make_room(&room) : 0;
	if (ret)
		cdm_replace_reserve(mem, old);
	mutex_unlock(&mem->reserve_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(cdm_set_reserve);

/* The range is gone, and what was kept of it. */
void cdm_owner_leave(struct cdm_memory *mem)
{
	cdm_keep(mem, -(long)mem->nr_reserve);
	mem->nr_reserve = 0;
}
