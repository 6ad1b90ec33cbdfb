// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: why a page is where it is.
 *
 * One byte for each page of device memory says why it was taken, whether it has been
 * used since it was last zeroed, and how much the device uses it. It is written when a
 * page leaves the free lists by a device zonelist, so a page in use without a cause got
 * there through a hole in the fence. It is not written when a page is freed, which
 * would cost every page of the machine; the audit forgets the causes of what it
 * finds to be free.
 */
#include <linux/cdm.h>
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/memory.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/notifier.h>
#include <linux/range.h>
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/vmstat.h>

#include <trace/events/cdm.h>

#include "../internal.h"
#include "internal.h"

#define CDM_CAUSE_MASK	0x0f
#define CDM_USED	0x80	/* may hold what a tenant has written */
#define CDM_HEAT	0x30	/* the device uses it: cold (0) to hot (3) */
#define CDM_HEAT_ONE	0x10	/* a step; who has just come is not cold */
#define CDM_UNKNOWN	0x40	/* or whatever there was before the range came */

/*
 * The registered ranges of each node. A range, and the bytes of its pages, is there
 * from before its first page is online until after the last one is gone. Memory
 * that another driver has added to a device node has neither. Written under the
 * lock of registration, read under RCU.
 */
static struct hlist_head cdm_memory_by_node[MAX_NUMNODES];

/*
 * The registered range that @pfn is part of, or NULL. It stays as long as the page
 * is in use, or the owners cannot go.
 */
struct cdm_memory *cdm_memory_of(unsigned long pfn)
{
	int nid = page_to_nid(pfn_to_page(pfn));
	struct cdm_memory *mem;

	if (!cdm_node(nid))
		return NULL;
	rcu_read_lock();
	hlist_for_each_entry_rcu(mem, &cdm_memory_by_node[nid], by_node) {
		if (PFN_PHYS(pfn) >= mem->range.start &&
		    PFN_PHYS(pfn) <= mem->range.end)
			break;
	}
	rcu_read_unlock();
	return mem;
}

/* The first of the registered ranges of @nid, or NULL; they have the same owner. */
struct cdm_memory *cdm_memory_on(int nid)
{
	struct cdm_memory *mem;

	rcu_read_lock();
	mem = hlist_entry_safe(rcu_dereference(hlist_first_rcu(&cdm_memory_by_node[nid])),
			       struct cdm_memory, by_node);
	rcu_read_unlock();
	return mem;
}

/* The reasons of the ranges of @nid to keep it closed, bits of enum cdm_closed. */
unsigned long cdm_memory_closed(int nid)
{
	unsigned long closed = 0;
	struct cdm_memory *mem;

	rcu_read_lock();
	hlist_for_each_entry_rcu(mem, &cdm_memory_by_node[nid], by_node)
		closed |= READ_ONCE(mem->closed);
	rcu_read_unlock();
	return closed;
}

/* Mark the ranges of @owner on @nid as lost. Returns whether one was not. */
bool cdm_memory_set_lost(int nid, const struct device *owner)
{
	struct cdm_memory *mem;
	bool news = false;

	RCU_LOCKDEP_WARN(!rcu_read_lock_held(), "the range may go");
	hlist_for_each_entry_rcu(mem, &cdm_memory_by_node[nid], by_node) {
		if (mem->owner == owner)
			news |= !test_and_set_bit(CDM_CLOSED_LOST, &mem->closed);
	}
	return news;
}

/* The byte of @pfn, which those of its range follow, or NULL. */
static u8 *cdm_cause_byte(unsigned long pfn)
{
	struct cdm_memory *mem = cdm_memory_of(pfn);

	return mem ? mem->causes + pfn - PHYS_PFN(mem->range.start) : NULL;
}

/* None of the pages of @mem is online. Ops that are under way still look at it. */
void cdm_causes_del(struct cdm_memory *mem)
{
	hlist_del_rcu(&mem->by_node);
	synchronize_rcu();
}

int cdm_causes_add(struct cdm_memory *mem)
{
	unsigned long nr_pages = PHYS_PFN(range_len(&mem->range));

	mem->causes = kvmalloc(nr_pages, GFP_KERNEL);
	if (!mem->causes)
		return -ENOMEM;
	memset(mem->causes, CDM_UNKNOWN, nr_pages);
	hlist_add_head_rcu(&mem->by_node, &cdm_memory_by_node[mem->nid]);
	return 0;
}

enum cdm_cause cdm_cause(unsigned long pfn)
{
	const u8 *byte = cdm_cause_byte(pfn);

	return byte ? READ_ONCE(*byte) & CDM_CAUSE_MASK : CDM_BY_NOBODY;
}

/* Pages that follow each other may be of two ranges, which consist of sections. */
static void cdm_set_cause(unsigned long pfn, unsigned long nr_pages,
			  enum cdm_cause cause)
{
	unsigned long end_pfn = pfn + nr_pages;

	while (pfn < end_pfn) {
		unsigned long next = min(end_pfn, SECTION_ALIGN_UP(pfn + 1));
		u8 *byte = cdm_cause_byte(pfn);

		if (byte && next - pfn == 1)
			*byte = cause | CDM_USED | CDM_HEAT_ONE;
		else if (byte)
			memset(byte, cause | CDM_USED | CDM_HEAT_ONE,
			       next - pfn);
		pfn = next;
	}
}

/*
 * Pages that the owner takes are still to be zeroed, if used before: cdm_clean_pages().
 * It is a block, and as such part of one range.
 */
static void cdm_set_owner(unsigned long pfn, unsigned long nr_pages)
{
	u8 *byte = cdm_cause_byte(pfn);

	for (; byte && nr_pages--; byte++)
		*byte = (*byte & ~CDM_CAUSE_MASK) | CDM_BY_OWNER;
}

static bool cdm_has_cause(const u8 *bytes, unsigned long nr_pages)
{
	while (nr_pages--) {
		if (READ_ONCE(*bytes++) & CDM_CAUSE_MASK)
			return true;
	}
	return false;
}

/*
 * Forget why the pages of a free block, which is part of one range, were in
 * use. Under the lock of the zone, or they might have been taken again, and
 * noted, since they were seen free.
 */
void cdm_forget_cause(struct page *page, unsigned long nr_pages)
{
	u8 *bytes = cdm_cause_byte(page_to_pfn(page));
	struct zone *zone = page_zone(page);
	unsigned long flags;

	if (!bytes || !cdm_has_cause(bytes, nr_pages))
		return;
	spin_lock_irqsave(&zone->lock, flags);
	if (PageBuddy(page) && nr_pages <= 1UL << buddy_order(page)) {
		while (nr_pages--)
			*bytes++ &= ~CDM_CAUSE_MASK;
	}
	spin_unlock_irqrestore(&zone->lock, flags);
}

/* Others may write the rest of the byte meanwhile. */
static void cdm_set_heat(u8 *byte, u8 heat)
{
	u8 old = READ_ONCE(*byte);

	while (!try_cmpxchg(byte, &old, (old & ~CDM_HEAT) | heat))
		;
}

/* The device has used a folio. */
void cdm_heat(unsigned long pfn, unsigned long nr_pages)
{
	u8 *byte = cdm_cause_byte(pfn);

	for (; byte && nr_pages--; byte++) {
		if ((READ_ONCE(*byte) & CDM_HEAT) != CDM_HEAT)
			cdm_set_heat(byte, CDM_HEAT);
	}
}

/* A step less for all pages of @mem, if that is done by @deadline (jiffies). */
void cdm_cool(const struct cdm_memory *mem, unsigned long deadline)
{
	unsigned long i, nr_pages = PHYS_PFN(range_len(&mem->range));
	u8 heat;

	for (i = 0; i < nr_pages; i++) {
		heat = READ_ONCE(mem->causes[i]) & CDM_HEAT;
		if (heat)
			cdm_set_heat(&mem->causes[i], heat - CDM_HEAT_ONE);
		if (i % SZ_64K)
			continue;
		cond_resched();
		if (signal_pending(current) || time_after_eq(jiffies, deadline))
			return;
	}
}

/* Of the pages of tenants in a pageblock, does the device use an eighth at most? */
bool cdm_is_cold(unsigned long pfn, unsigned long end_pfn)
{
	const u8 *bytes = cdm_cause_byte(pfn);
	unsigned long i, nr_used = 0, nr_hot = 0;

	for (i = 0; bytes && i < end_pfn - pfn; i++) {
		u8 byte = READ_ONCE(bytes[i]), cause = byte & CDM_CAUSE_MASK;

		if (cause == CDM_BY_NOBODY || cause == CDM_BY_OWNER)
			continue;
		nr_used++;
		nr_hot += !!(byte & CDM_HEAT);
	}
	return 8 * nr_hot <= nr_used;
}

static void cdm_count_place(unsigned long pfn, unsigned long nr_pages, int nid,
			    enum cdm_cause cause)
{
	count_vm_events(CDM_PLACED_POLICY + cause - CDM_BY_POLICY, nr_pages);
	trace_cdm_place(nid, pfn, nr_pages, cause);
}

/*
 * Pages have been taken off the free lists of device node @nid. Those that a
 * folio is to be moved to count when it has been moved.
 */
void cdm_note_alloc(unsigned long pfn, unsigned long nr_pages, int nid,
		    enum cdm_cause cause)
{
	if (cause == CDM_BY_OWNER)
		cdm_set_owner(pfn, nr_pages);
	else
		cdm_set_cause(pfn, nr_pages, cause);
	if (cause == CDM_BY_POLICY || cause == CDM_BY_POOL)
		cdm_count_place(pfn, nr_pages, nid, cause);
}

static enum vm_event_item cdm_evict_event(enum migrate_reason reason)
{
	switch (reason) {
	case MR_DEMOTION:
		return CDM_EVICTED_RECLAIM;
	case MR_SYSCALL:
	case MR_MEMPOLICY_MBIND:
		return CDM_EVICTED_MOVE;
	case MR_DEVICE:
		return CDM_EVICTED_DRIVER;
	case MR_NUMA_MISPLACED:
		return CDM_EVICTED_BALANCE;
	case MR_MEMORY_HOTPLUG:
		return CDM_EVICTED_HOTPLUG;
	case MR_CONTIG_RANGE:	/* alloc_contig_range() gets no device memory */
		return CDM_EVICTED_RECALL;
	case MR_LONGTERM_PIN:
		return CDM_EVICTED_PIN;
	case MR_MEMORY_FAILURE:
		return CDM_EVICTED_FAILURE;
	default:
		return CDM_EVICTED_OTHER;
	}
}

/* The cause of pages that have moved to a device node for @reason. */
enum cdm_cause cdm_move_cause(enum migrate_reason reason)
{
	switch (reason) {
	case MR_DEVICE:
		return CDM_BY_DRIVER;
	case MR_NUMA_MISPLACED:
		return CDM_BY_BALANCE;
	default:
		return CDM_BY_MOVE;
	}
}

/* @nr_pages pages of a device node have moved from @from to RAM. */
void cdm_note_evicted(unsigned long from, unsigned long nr_pages,
		      enum migrate_reason reason)
{
	enum vm_event_item event = cdm_evict_event(reason);

	count_vm_events(event, nr_pages);
	trace_cdm_evict(page_to_nid(pfn_to_page(from)), from, nr_pages,
			event - CDM_EVICTED_RECLAIM);
}

/*
 * @nr_pages pages, allocated alike, have moved to @to on a device node, from another
 * node. What mbind() moves is allocated by its policy, and has been counted then.
 */
void cdm_note_placed(unsigned long to, unsigned long nr_pages,
		     enum migrate_reason reason)
{
	enum cdm_cause cause = cdm_move_cause(reason), so_far = cdm_cause(to);

	if (so_far == CDM_BY_POLICY)
		return;
	if (so_far != cause)
		cdm_set_cause(to, nr_pages, cause);
	cdm_count_place(to, nr_pages, page_to_nid(pfn_to_page(to)), cause);
}

/* A folio has moved from @src to @dst, one of which is on a device node. */
void __cdm_note_move(struct folio *src, struct folio *dst,
		     enum migrate_reason reason)
{
	unsigned long from = folio_pfn(src), to = folio_pfn(dst);
	long nr_pages = folio_nr_pages(dst);
	struct cdm_sides sides;

	cdm_sides_begin(&sides);
	cdm_moved(&sides, from, to, nr_pages);
	cdm_sides_end(&sides);

	if (!cdm_node(folio_nid(dst)))
		cdm_note_evicted(from, nr_pages, reason);
	else if (folio_nid(src) != folio_nid(dst))
		cdm_note_placed(to, nr_pages, reason);
	else	/* within its node, it is there for the same reason */
		cdm_set_cause(to, nr_pages, cdm_cause(from));
}

void cdm_count_refusal(int nid, enum cdm_refusal refusal,
		       unsigned long nr_pages)
{
	count_vm_events(CDM_REFUSED_FULL + refusal, nr_pages);
	trace_cdm_refuse(nid, nr_pages, refusal);
}

/* Zero a page unless that was done when it was freed. */
static void cdm_zero_page(struct page *page)
{
	if (want_init_on_free() || PageHWPoison(page))
		return;
	debug_pagealloc_map_pages(page, 1);
	clear_highpage_kasan_tagged(page);
}

/*
 * Zero what tenants have left behind in a memory block, which is part of one range. Only
 * pages that were used since the last time; and none where the link is down.
 */
static void cdm_zero_used(unsigned long pfn, unsigned long nr_pages)
{
	struct cdm_memory *mem = cdm_memory_of(pfn);
	u8 *bytes = cdm_cause_byte(pfn);
	bool alive = true;
	unsigned long i;

	for (i = 0; bytes && i < nr_pages; i++) {
		if (i % pageblock_nr_pages == 0)
			alive = cdm_memory_is_alive(mem);
		if (!(bytes[i] & CDM_USED))
			continue;
		if (alive)
			cdm_zero_page(pfn_to_page(pfn + i));
		bytes[i] = 0;
		cond_resched();
	}
}

/*
 * The owner gets this block of pages now, with nothing of a tenant in it. It is
 * going to write there itself, so they are to be zeroed again the next time. Of
 * pages without bytes nobody knows what they hold.
 */
void cdm_clean_pages(struct page *page, unsigned long nr_pages)
{
	u8 *bytes = cdm_cause_byte(page_to_pfn(page));
	unsigned long i;

	for (i = 0; i < nr_pages; i++) {
		if (!bytes || bytes[i] & (CDM_USED | CDM_UNKNOWN))
			cdm_zero_page(page + i);
		if (bytes)
			bytes[i] = (bytes[i] | CDM_USED) & ~CDM_UNKNOWN;
	}
}

/*
 * Offlining a page that is pinned would take for ever, with the locks of memory hotplug,
 * for which other drivers wait that remove memory. A range that is removed was found empty
 * before.
 */
static int cdm_going_offline(struct cdm_memory *mem, unsigned long pfn,
			     unsigned long nr_pages)
{
	WRITE_ONCE(mem->offlining, true);
	if (!READ_ONCE(mem->removing))
		return cdm_evacuate_block(mem, pfn, nr_pages);
	return cdm_is_free(pfn, pfn + nr_pages) ? 0 : -EBUSY;
}

/*
 * Memory that has gone offline is empty and still mapped. Whoever gets it next,
 * the owner or a tenant of another node, must not see what was there.
 */
static int cdm_memory_notify(struct notifier_block *self, unsigned long action,
			     void *arg)
{
	const struct memory_notify *notify = arg;
	struct cdm_memory *mem;

	/* Before and after other actions there may be no memmap. */
	if (action != MEM_GOING_OFFLINE && action != MEM_CANCEL_OFFLINE &&
	    action != MEM_OFFLINE)
		return NOTIFY_OK;
	mem = cdm_memory_of(notify->start_pfn);
	if (mem && action == MEM_GOING_OFFLINE)
		return notifier_from_errno(cdm_going_offline(mem, notify->start_pfn,
							     notify->nr_pages));
	if (mem)
		WRITE_ONCE(mem->offlining, false);
	if (action == MEM_OFFLINE)
		cdm_zero_used(notify->start_pfn, notify->nr_pages);
	return NOTIFY_OK;
}

static struct notifier_block cdm_memory_nb = {
	.notifier_call = cdm_memory_notify,
};

static int __init cdm_cause_init(void)
{
	return register_memory_notifier(&cdm_memory_nb);
}
subsys_initcall(cdm_cause_init);
