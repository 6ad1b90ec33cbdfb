// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: the nodes, and the zonelists that lead to them.
 *
 * The zones of a device node stand in none of the zonelists of pg_data_t.
 * They stand in a second set of lists, which the allocator takes only for a
 * nodemask that holds a device node. Such a nodemask is made for those who
 * named the node and for nobody else; it then filters the list as usual.
 */
#define pr_fmt(fmt) "cdm: " fmt

#include <linux/cdm.h>
#include <linux/memory_hotplug.h>
#include <linux/slab.h>
#include <linux/topology.h>

#include "internal.h"

/**
 * struct cdm_lists - what an allocation that starts from a node may need
 * @zonelists: RAM and device nodes in order of distance, and the node alone;
 *	the same index as pg_data_t.node_zonelists
 * @only: the node alone, for each cause: the address of a mask tells why an
 *	allocation asks for the node
 * @with_ram: the node and all RAM
 *
 * An allocator keeps a pointer into a list from one look to the next, without a
 * lock, and counts on the zone that was there. So each zone of each possible node
 * has its place in the lists for good. While its node is closed, or it has no
 * memory, its index is greater than that of any zone, and who looks for one passes
 * it over. Who had found it before is seen off by __cdm_note_pages().
 */
struct cdm_lists {
	struct zonelist zonelists[MAX_ZONELISTS];
	nodemask_t only[CDM_NR_CAUSES];
	nodemask_t with_ram;
};

DEFINE_STATIC_KEY_FALSE(cdm_key);

/*
 * Registered nodes; all nodes with memory, and those of them that may be named,
 * which closed ones may not. Written under the hotplug locks but by cdm_node_shut(),
 * read without any.
 */
nodemask_t cdm_nodes;
nodemask_t cdm_present_nodes;
nodemask_t cdm_usable_nodes;

/* Changes with the lists: who got no page as a node was closed tries again. */
seqcount_t cdm_lists_seq = SEQCNT_ZERO(cdm_lists_seq);

/* Changes before and after cdm_node_shut(), which takes no lock. */
atomic_t cdm_nr_shut;

/* Never freed: there is no telling when the last allocator has left a list. */
static struct cdm_lists *cdm_lists;

struct zonelist *__cdm_zonelist(int nid, gfp_t gfp, const nodemask_t *nodemask)
{
	if (!nodes_intersects(*nodemask, cdm_nodes))
		return node_zonelist(nid, gfp);
	return &cdm_lists[nid].zonelists[gfp_zonelist(gfp)];
}

static bool cdm_in_lists(const void *addr)
{
	return addr >= (void *)cdm_lists &&
	       addr < (void *)(cdm_lists + nr_node_ids);
}

/*
 * High priority allocations drop their nodemask. On a list that holds device
 * nodes this would reach devices that nobody named, so there it is kept.
 */
nodemask_t *__cdm_reserve_nodemask(const struct zonelist *zonelist,
				   nodemask_t *nodemask)
{
	return cdm_in_lists(zonelist) ? nodemask : NULL;
}

/* The list of the same node and kind that leads to RAM alone. */
struct zonelist *__cdm_ordinary_zonelist(struct zonelist *zonelist)
{
	size_t nid, i;

	if (!cdm_in_lists(zonelist))
		return zonelist;
	nid = ((void *)zonelist - (void *)cdm_lists) / sizeof(*cdm_lists);
	i = zonelist - cdm_lists[nid].zonelists;
	return &NODE_DATA(nid)->node_zonelists[i];
}

/* The mask of @nid and no other node, for an allocation because of @cause. */
nodemask_t *cdm_node_only(int nid, enum cdm_cause cause)
{
	return &cdm_lists[nid].only[cause];
}

nodemask_t *__cdm_thisnode_mask(int nid)
{
	return cdm_node_only(nid, CDM_BY_MOVE);
}

nodemask_t *__cdm_pool_mask(int nid)
{
	return cdm_node_only(nid, CDM_BY_POOL);
}

/* Why an allocation with @nodemask names a device: by policy, or see above. */
enum cdm_cause cdm_mask_cause(const nodemask_t *nodemask)
{
	const struct cdm_lists *lists;
	size_t i;

	if (!cdm_in_lists(nodemask))
		return CDM_BY_POLICY;
	i = ((void *)nodemask - (void *)cdm_lists) / sizeof(*lists);
	lists = &cdm_lists[i];
	return nodemask == &lists->with_ram ? CDM_BY_POLICY :
					      nodemask - lists->only;
}

nodemask_t *cdm_node_with_ram(int nid)
{
	return &cdm_lists[nid].with_ram;
}

/*
 * The node of @nodes that is nearest to @nid, by the table of distances; the
 * lower number wins a tie. NUMA_NO_NODE if @nodes is empty.
 */
int cdm_nearest_node(int nid, const nodemask_t *nodes)
{
	int node, nearest = NUMA_NO_NODE;

	for_each_node_mask(node, *nodes) {
		if (nearest == NUMA_NO_NODE ||
		    node_distance(nid, node) < node_distance(nid, nearest))
			nearest = node;
	}
	return nearest;
}

static struct zoneref *cdm_add_zones(int nid, struct zoneref *ref)
{
	bool usable = node_isset(nid, cdm_usable_nodes);
	int i;

	for (i = MAX_NR_ZONES - 1; i >= 0; i--) {
		struct zone *zone = &NODE_DATA(nid)->node_zones[i];

		WRITE_ONCE(ref->zone_idx, usable && populated_zone(zone) ?
					  i : MAX_NR_ZONES);
		WRITE_ONCE(ref->zone, zone);
		ref++;
	}
	return ref;
}

/* The end of a list is what has never been written to. */
static void cdm_build_node(int nid)
{
	struct cdm_lists *lists = &cdm_lists[nid];
	nodemask_t left = node_possible_map;
	nodemask_t with_ram = node_states[N_MEMORY];
	struct zoneref *ref;
	int next;

	ref = lists->zonelists[ZONELIST_FALLBACK]._zonerefs;
	while ((next = cdm_nearest_node(nid, &left)) != NUMA_NO_NODE) {
		ref = cdm_add_zones(next, ref);
		node_clear(next, left);
	}
	cdm_add_zones(nid, lists->zonelists[ZONELIST_NOFALLBACK]._zonerefs);

	node_set(nid, with_ram);
	lists->with_ram = with_ram;
}

static void cdm_update_nodes(void)
{
	nodemask_t present, usable;
	int nid;

	nodes_or(present, node_states[N_MEMORY], node_states[N_COHERENT_DEVICE]);
	usable = present;
	for_each_node_mask(nid, present) {
		if (cdm_why_closed(nid))
			node_clear(nid, usable);
	}
	cdm_present_nodes = present;
	cdm_usable_nodes = usable;
}

static bool cdm_zonelist_holds(struct zonelist *zonelist, int nid)
{
	struct zoneref *ref;

	for (ref = zonelist->_zonerefs; ref->zone; ref++) {
		if (zonelist_node_idx(ref) == nid)
			return true;
	}
	return false;
}

/* How many ordinary zonelists lead to device node @nid? It should be none. */
unsigned int cdm_node_zonelists(int nid)
{
	unsigned int nr = 0;
	int node, i;

	for_each_online_node(node) {
		for (i = 0; i < MAX_ZONELISTS; i++)
			nr += cdm_zonelist_holds(&NODE_DATA(node)->node_zonelists[i],
						 nid);
	}
	return nr;
}

/* With the hotplug lock; build_all_zonelists() calls it, too. */
void __cdm_build_zonelists(void)
{
	unsigned long flags;
	int nid, nr_shut;

	local_irq_save(flags);	/* as build_all_zonelists() */
	write_seqcount_begin(&cdm_lists_seq);
	do {
		nr_shut = atomic_read(&cdm_nr_shut);
		smp_rmb();	/* the reason is set before the number changes */
		cdm_update_nodes();
		for_each_node(nid)
			cdm_build_node(nid);
		smp_mb();	/* pairs with the first in cdm_node_shut() */
	} while (atomic_read(&cdm_nr_shut) != nr_shut);
	write_seqcount_end(&cdm_lists_seq);
	local_irq_restore(flags);
}

static int cdm_alloc_lists(void)
{
	int nid, cause;

	if (cdm_lists)
		return 0;

	cdm_lists = kvcalloc(nr_node_ids, sizeof(*cdm_lists), GFP_KERNEL);
	if (!cdm_lists)
		return -ENOMEM;
	for_each_node(nid) {
		for (cause = 0; cause < CDM_NR_CAUSES; cause++)
			node_set(nid, cdm_lists[nid].only[cause]);
	}
	return 0;
}

/*
 * Make @nid a device node, before it has any memory. Every list and mask is
 * in order before the static key lets anybody look at them.
 */
int cdm_node_add(int nid)
{
	int ret;

	ret = cdm_alloc_lists() ?: cdm_book_add(nid);
	if (ret)
		return ret;

	mem_hotplug_begin();
	if (node_state(nid, N_MEMORY)) {
		mem_hotplug_done();
		return -ENOTEMPTY;
	}
	node_set(nid, cdm_nodes);
	/* Else they are up to date: nobody can pick a zone without memory. */
	if (!cdm_enabled())
		__cdm_build_zonelists();
	mem_hotplug_done();

	static_branch_inc(&cdm_key);
	return 0;
}

/* Make @nid an ordinary node again, after its last memory is gone. */
void cdm_node_del(int nid)
{
	static_branch_dec(&cdm_key);

	mem_hotplug_begin();
	node_clear(nid, cdm_nodes);
	node_clear(nid, cdm_granted_nodes);
	__cdm_build_zonelists();
	mem_hotplug_done();
}

/*
 * Close the nodes that there is a reason to close, and open all others. A closed
 * node gets no new tenant: its zones are picked no more, and policies that name
 * nothing else act as if there were none. Nothing is forgotten, so that opening it
 * restores everything.
 */
void cdm_nodes_sync(void)
{
	mem_hotplug_begin();
	build_all_zonelists(NULL);
	mem_hotplug_done();
	/*
	 * An allocator that picked a zone before either finds the node closed and gives the
	 * page back, or has a page by now that whoever looks for pages can see.
	 */
	smp_mb();	/* pairs with the one in __cdm_note_pages() */
}

static void cdm_shut_zones(struct zonelist *zonelist, int nid)
{
	struct zoneref *ref;

	for (ref = zonelist->_zonerefs; ref->zone; ref++) {
		if (zonelist_node_idx(ref) == nid)
			WRITE_ONCE(ref->zone_idx, MAX_NR_ZONES);
	}
}

/*
 * Close @nid at once, whatever the context; the reason is there already, and who
 * builds the lists at the same time either sees it or starts again.
 */
void cdm_node_shut(int nid)
{
	int from, i;

	atomic_inc(&cdm_nr_shut);
	smp_mb();	/* pairs with the second in __cdm_build_zonelists() */
	node_clear(nid, cdm_usable_nodes);
	for_each_node(from) {
		for (i = 0; i < MAX_ZONELISTS; i++)
			cdm_shut_zones(&cdm_lists[from].zonelists[i], nid);
	}
	smp_mb();	/* pairs with the one in __cdm_note_pages() */
	atomic_inc(&cdm_nr_shut);
}

#ifdef CONFIG_CDM_KUNIT_TEST
#include "tests/node-kunit.h"
#endif
