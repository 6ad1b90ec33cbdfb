// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: the audit, by which an administrator proves the fence.
 *
 * It looks at every page of a node and says what it is and why it is there.
 * "kernel", "cause_unknown" and "zonelists" must be 0.
 */
#define pr_fmt(fmt) "cdm: " fmt

#include <linux/cdm.h>
#include <linux/delay.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/page-flags.h>
#include <linux/printk.h>
#include <linux/sysfs.h>

#include "../internal.h"
#include "internal.h"

enum cdm_kind {
	CDM_FREE,
	CDM_ANON,
	CDM_SHMEM,
	CDM_FILE,
	CDM_HUGETLB,
	CDM_OWNER,
	CDM_KERNEL,
	CDM_TRANSIT,
	CDM_NR_KINDS
};

static const char * const cdm_kind_names[CDM_NR_KINDS] = {
	[CDM_FREE]	= "free",
	[CDM_ANON]	= "anon",
	[CDM_SHMEM]	= "shmem",
	[CDM_FILE]	= "file",
	[CDM_HUGETLB]	= "hugetlb",
	[CDM_OWNER]	= "owner",
	[CDM_KERNEL]	= "kernel",
	[CDM_TRANSIT]	= "transit",
};

static const char * const cdm_cause_names[CDM_NR_CAUSES] = {
	[CDM_BY_NOBODY]	 = "cause_unknown",
	[CDM_BY_POLICY]	 = "cause_policy",
	[CDM_BY_POOL]	 = "cause_pool",
	[CDM_BY_MOVE]	 = "cause_move",
	[CDM_BY_DRIVER]	 = "cause_driver",
	[CDM_BY_BALANCE] = "cause_balance",
	[CDM_BY_OWNER]	 = "cause_owner",
};

/*
 * The number of looks at a page that seems to be a hole, with pauses. An audit that finds
 * many looks at the last ones only once: then it has found some that stay.
 */
#define CDM_AUDIT_LOOKS		32
#define CDM_AUDIT_PAUSE		10	/* ms */
#define CDM_AUDIT_PATIENCE	(2 * HZ)	/* from the first one on */

struct cdm_audit {
	unsigned long total;
	unsigned long kind[CDM_NR_KINDS];
	unsigned long cause[CDM_NR_CAUSES];
	unsigned long deadline;		/* jiffies, from the first hole on; 0: none yet */
};

/* One look at the page or pages at some place. */
struct cdm_finding {
	enum cdm_kind kind;
	enum cdm_cause cause;
	unsigned long nr_pages;
};

/*
 * Without a reference or a lock: what is found may be over by the time it is
 * reported, but is never read through a pointer that may be gone.
 */
static enum cdm_kind cdm_folio_kind(const struct folio *folio)
{
	if (folio_test_hugetlb(folio))
		return CDM_HUGETLB;
	if (!folio_ref_count(folio))
		return CDM_FREE;	/* on a list of some CPU, or frozen */
	if (page_has_type(&folio->page) || folio_test_slab(folio) ||
	    __folio_test_movable(folio) ||
	    (READ_ONCE(folio->memcg_data) & MEMCG_DATA_KMEM))
		return CDM_KERNEL;
	if (folio_test_anon(folio) || folio_test_swapcache(folio))
		return CDM_ANON;
	if (!folio->mapping)
		return CDM_TRANSIT;
	return folio_test_swapbacked(folio) ? CDM_SHMEM : CDM_FILE;
}

/* A page that came in by no name, and is nothing yet, is the kernel's. */
static void cdm_look_at_folio(struct page *page, struct cdm_finding *found)
{
	const struct folio *folio = page_folio(page);

	found->kind = cdm_folio_kind(folio);
	found->cause = cdm_cause(page_to_pfn(page));
	if (found->kind == CDM_TRANSIT && found->cause == CDM_BY_NOBODY)
		found->kind = CDM_KERNEL;
	if (found->kind == CDM_TRANSIT && found->cause == CDM_BY_OWNER)
		found->kind = CDM_OWNER;
	if (page == &folio->page)
		found->nr_pages = folio_nr_pages(folio);
}

static void cdm_look(struct page *page, struct cdm_finding *found)
{
	found->nr_pages = 1;
	if (PageBuddy(page)) {
		unsigned int order = buddy_order_unsafe(page);

		found->kind = CDM_FREE;
		if (order <= MAX_PAGE_ORDER)
			found->nr_pages = 1UL << order;
	} else if (PageReserved(page) || PageHWPoison(page)) {
		found->kind = CDM_OWNER;	/* its memmap; out of use */
		found->cause = CDM_BY_OWNER;
	} else {
		cdm_look_at_folio(page, found);
	}
}

static bool cdm_is_hole(const struct cdm_finding *found)
{
	return found->kind == CDM_KERNEL ||
	       (found->kind != CDM_FREE && found->cause == CDM_BY_NOBODY);
}

static bool cdm_audit_has_time(struct cdm_audit *audit)
{
	if (!audit->deadline)
		audit->deadline = (jiffies + CDM_AUDIT_PATIENCE) ?: 1;
	return time_before(jiffies, audit->deadline);
}

/* A page may be seen before the one who takes it has noted why. Look twice. */
static void cdm_look_well(struct page *page, struct cdm_finding *found,
			  struct cdm_audit *audit)
{
	unsigned int i;

	cdm_look(page, found);
	for (i = 1; i < CDM_AUDIT_LOOKS; i++) {
		if (!cdm_is_hole(found) || !cdm_audit_has_time(audit))
			break;
		msleep(CDM_AUDIT_PAUSE);
		cdm_look(page, found);
	}
}

static void cdm_audit_block(unsigned long pfn, unsigned long end_pfn, int nid,
			    struct cdm_audit *audit)
{
	while (pfn < end_pfn) {
		struct page *page = pfn_to_online_page(pfn);
		struct cdm_finding found = { };

		if (!page || page_to_nid(page) != nid) {
			pfn++;
			continue;
		}
		cdm_look_well(page, &found, audit);
		found.nr_pages = min(found.nr_pages, end_pfn - pfn);
		audit->total += found.nr_pages;
		audit->kind[found.kind] += found.nr_pages;
		if (found.kind == CDM_FREE)
			cdm_forget_cause(page, found.nr_pages);
		else
			audit->cause[found.cause] += found.nr_pages;
		pfn += found.nr_pages;
	}
}

/*
 * Section by section, with memory hotplug held off only for each of them: what
 * goes meanwhile is not online any more when its turn comes.
 */
static void cdm_audit_node(int nid, struct cdm_audit *audit)
{
	pg_data_t *pgdat = NODE_DATA(nid);
	unsigned long pfn = pgdat->node_start_pfn;
	unsigned long end_pfn = pgdat_end_pfn(pgdat);

	get_online_mems();
	drain_all_pages(&pgdat->node_zones[ZONE_MOVABLE]);
	put_online_mems();
	while (pfn < end_pfn) {
		unsigned long next = min(end_pfn, SECTION_ALIGN_UP(pfn + 1));

		get_online_mems();
		cdm_audit_block(pfn, next, nid, audit);
		put_online_mems();
		pfn = next;
		cond_resched();
	}
}

/* The number of pages in use on a node, exactly if nobody takes or frees any. */
unsigned long cdm_nr_used(int nid)
{
	struct cdm_audit audit = { };

	cdm_audit_node(nid, &audit);
	return audit.total - audit.kind[CDM_FREE] - audit.kind[CDM_OWNER];
}

/* Audit a node and format the result, one number of pages in each line. */
ssize_t cdm_audit(int nid, char *buf)
{
	struct cdm_audit audit = { };
	ssize_t len;
	int i;

	cdm_audit_node(nid, &audit);
	if (audit.kind[CDM_KERNEL] || audit.cause[CDM_BY_NOBODY])
		pr_err_once("audit of node %d: %lu pages of the kernel, %lu that nobody asked for: a hole in the fence\n",
			    nid, audit.kind[CDM_KERNEL],
			    audit.cause[CDM_BY_NOBODY]);
	len = sysfs_emit(buf, "total %lu\n", audit.total);
	for (i = 0; i < CDM_NR_KINDS; i++)
		len += sysfs_emit_at(buf, len, "%s %lu\n", cdm_kind_names[i],
				     audit.kind[i]);
	for (i = 1; i < CDM_NR_CAUSES; i++)
		len += sysfs_emit_at(buf, len, "%s %lu\n", cdm_cause_names[i],
				     audit.cause[i]);
	len += sysfs_emit_at(buf, len, "%s %lu\n",
			     cdm_cause_names[CDM_BY_NOBODY],
			     audit.cause[CDM_BY_NOBODY]);
	len += sysfs_emit_at(buf, len, "zonelists %u\n",
			     cdm_node_zonelists(nid));
	return len;
}
