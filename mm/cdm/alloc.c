// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: allocation.
 *
 * The page allocator looks at its ordinary zonelist first, which holds no device
 * node; so what nobody named costs nothing. Only where that finds nothing, and
 * the nodemask names a device node, does it go on with the lists of node.c.
 * Every page that leaves the free lists of a device node this way is noted there
 * and then, with the cause (cause.c).
 */
#define pr_fmt(fmt) "cdm: " fmt

#include <linux/cdm.h>
#include <linux/cpuset.h>
#include <linux/huge_mm.h>
#include <linux/memory_hotplug.h>
#include <linux/mempolicy.h>
#include <linux/printk.h>
#include <linux/topology.h>

#include "../internal.h"
#include "internal.h"

/* The node whose ordinary zonelist this is. */
static int cdm_zonelist_nid(struct zonelist *zonelist, gfp_t gfp)
{
	return container_of(zonelist - gfp_zonelist(gfp), pg_data_t,
			    node_zonelists[0])->node_id;
}

/*
 * The first attempt has failed: go on with the list that holds device nodes, if
 * the nodemask names one. It begins with the same RAM, in order of distance.
 */
bool __cdm_redirect(struct alloc_context *ac, gfp_t gfp, nodemask_t *nodemask)
{
	int nid = cdm_zonelist_nid(ac->zonelist, gfp);
	struct zonelist *zonelist = __cdm_zonelist(nid, gfp, nodemask);

	if (zonelist == ac->zonelist)
		return false;
	ac->zonelist = zonelist;
	ac->preferred_zoneref = first_zones_zonelist(zonelist,
						     ac->highest_zoneidx,
						     nodemask);
	return true;
}

/* The first of several attempts: nothing is reclaimed, and no reserve touched. */
static struct page *cdm_try_alloc(gfp_t gfp, unsigned int order, int nid,
				  nodemask_t *nodemask)
{
	gfp |= __GFP_NOWARN | __GFP_NOMEMALLOC;
	gfp &= ~(__GFP_DIRECT_RECLAIM | __GFP_NOFAIL);
	return __alloc_pages_noprof(gfp, order, nid, nodemask);
}

static bool cdm_huge(unsigned int order)
{
	return IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) &&
	       order == HPAGE_PMD_ORDER;
}

/*
 * One device node first, else RAM. A huge page on the way is no reason to leave
 * the node, where there may be small ones.
 */
static struct page *cdm_alloc_preferred(gfp_t gfp, unsigned int order, int nid,
					nodemask_t *nodemask)
{
	struct page *page;

	page = cdm_try_alloc(gfp, order, nid, nodemask);
	if (page || (cdm_huge(order) && !(gfp & __GFP_DIRECT_RECLAIM)))
		return page;
	cdm_count_refusal(cdm_first_device(nodemask), CDM_REFUSE_FULL,
			  1 << order);
	return __alloc_pages_noprof(gfp, order, nid, NULL);
}

/*
 * The nodes of @nodes that are no farther from @nid than the nearest device
 * node of them. Returns whether this leaves out some RAM.
 */
static bool cdm_nodes_before_ram(nodemask_t *near, int nid,
				 const nodemask_t *nodes)
{
	nodemask_t devices;
	int node, dev;

	nodes_and(devices, *nodes, cdm_nodes);
	nodes_and(devices, devices, cdm_usable_nodes);
	dev = cdm_nearest_node(nid, &devices);
	if (dev == NUMA_NO_NODE)
		return false;

	nodes_clear(*near);
	for_each_node_mask(node, *nodes) {
		if (node_distance(nid, node) <= node_distance(nid, dev))
			node_set(node, *near);
	}
	nodes_andnot(devices, *nodes, *near);
	return nodes_intersects(devices, node_states[N_MEMORY]);
}

/*
 * An allocation that finds no RAM for all nodes of @nodemask that cpuset.mems holds
 * are device nodes may fail: to kill somebody who has RAM would not help it. Larger
 * orders do not kill, and with the flag would try harder.
 */
static gfp_t cdm_bound_gfp(gfp_t gfp, unsigned int order,
			   const nodemask_t *nodemask)
{
	nodemask_t nodes;

	nodes_and(nodes, *nodemask, cpuset_current_mems_allowed);
	if (order > PAGE_ALLOC_COSTLY_ORDER || !cdm_only(&nodes))
		return gfp;
	return gfp | __GFP_RETRY_MAYFAIL | __GFP_NOWARN;
}

/*
 * RAM and device nodes in order of distance from @nid. The allocator takes RAM
 * first, which is right unless some of it is farther than a device node.
 */
static struct page *cdm_alloc_bound(gfp_t gfp, unsigned int order, int nid,
				    nodemask_t *nodemask)
{
	struct page *page;
	nodemask_t near;

	if (nodes_intersects(*nodemask, node_states[N_MEMORY]) &&
	    cdm_nodes_before_ram(&near, nid, nodemask)) {
		page = cdm_try_alloc(gfp, order, nid, &near);
		if (page)
			return page;
	}
	page = __alloc_pages_noprof(cdm_bound_gfp(gfp, order, nodemask), order,
				    nid, nodemask);
	if (!page)
		cdm_count_refusal(cdm_first_device(nodemask), CDM_REFUSE_FULL,
				  1 << order);
	return page;
}

/* The nodes of @pol that an allocation for a VMA can have are not all closed. */
static bool cdm_policy_is_usable(const struct mempolicy *pol, pgoff_t ilx)
{
	return ilx != NO_INTERLEAVE_INDEX &&
	       nodes_intersects(pol->nodes, cdm_usable_nodes);
}

/* As the base counts it: a page on the node whose turn it was. */
static void cdm_count_interleave(const struct page *page,
				 const struct mempolicy *pol, int nid)
{
	if (pol->mode != MPOL_INTERLEAVE || page_to_nid(page) != nid ||
	    !static_branch_likely(&vm_numa_stat_key))
		return;
	preempt_disable();
	__count_numa_event(page_zone(page), NUMA_INTERLEAVE_HIT);
	preempt_enable();
}

/*
 * The nodes of the policy of a task change with its cpuset, also while it allocates. They
 * are copied, so that what comes of it is judged by what was asked for.
 */
static struct page *cdm_alloc_named(gfp_t gfp, unsigned int order,
				    struct mempolicy *pol, int nid,
				    const nodemask_t *nodemask)
{
	nodemask_t nodes;

	if (nodemask)
		nodes = *nodemask;
	if (nodemask && pol->mode == MPOL_BIND)
		return cdm_alloc_bound(gfp, order, nid, &nodes);
	if (nodemask)
		return cdm_alloc_preferred(gfp, order, nid, &nodes);
	if (!cdm_policy_names(pol, nid))
		return __alloc_pages_noprof(gfp, order, nid, NULL);
	return cdm_alloc_preferred(gfp, order, nid,
				   cdm_node_only(nid, CDM_BY_POLICY));
}

/*
 * Allocate under @pol, which names a device node. @nid and @nodemask are what
 * the mode of the policy makes of it, with a nodemask for MPOL_BIND and
 * MPOL_PREFERRED_MANY only.
 *
 * Only an allocation for a VMA, one that comes with an interleave index, may
 * have device memory; anything else a task allocates (page cache, page tables,
 * slab) gets the policy without its device nodes, and the default policy if
 * there is nothing else. So does everything while the node is closed.
 */
struct page *__cdm_alloc_pages(gfp_t gfp, unsigned int order,
			       struct mempolicy *pol, pgoff_t ilx, int nid,
			       nodemask_t *nodemask)
{
	struct page *page;
	u64 begun;

	do {
		begun = cdm_lists_begin();
		if (!cdm_policy_is_usable(pol, ilx)) {
			nodemask = cdm_policy_ram(pol, ilx, &nid, nodemask);
			return __alloc_pages_noprof(gfp, order, nid, nodemask);
		}
		page = cdm_alloc_named(gfp, order, pol, nid, nodemask);
		/* A node may have been closed meanwhile, and there may be others. */
	} while (!page && cdm_lists_retry(begun));
	if (page)
		cdm_count_interleave(page, pol, nid);
	return page;
}

/*
 * After an allocation that the ordinary lists could not serve. Who has waited for
 * memory may have picked a zone before its node was closed.
 */
struct page *__cdm_note_pages(struct page *page, unsigned int order,
			      const nodemask_t *nodemask)
{
	int nid = page_to_nid(page);

	if (!cdm_node(nid))
		return page;
	if (unlikely(!nodemask || !node_isset(nid, *nodemask))) {
		pr_err_once("%s/%d: page of device node %d, which was not asked for: a hole in the fence\n",
			    current->comm, task_pid_nr(current), nid);
		cdm_note_alloc(page_to_pfn(page), 1UL << order, nid,
			       CDM_BY_NOBODY);
		return page;
	}
	smp_mb();	/* pairs with those in cdm_nodes_sync() and cdm_node_shut() */
	if (unlikely(!node_isset(nid, cdm_usable_nodes))) {
		__free_pages(page, order);
		return NULL;
	}
	cdm_note_alloc(page_to_pfn(page), 1UL << order, nid,
		       cdm_mask_cause(nodemask));
	return page;
}

/* Returns whether no node of @nodes has a page that a tenant could have. */
static bool cdm_nodes_are_full(const nodemask_t *nodes)
{
	int nid;

	for_each_node_mask(nid, *nodes) {
		struct zone *zone = &NODE_DATA(nid)->node_zones[ZONE_MOVABLE];

		if (zone_watermark_ok(zone, 0, 0, ZONE_MOVABLE, 0))
			return false;
	}
	return true;
}

/* The open device nodes that a mapping is bound to; none if there is RAM as well. */
static void cdm_bound_nodes(nodemask_t *nodes, struct vm_area_struct *vma,
			    unsigned long addr)
{
	struct mempolicy *pol;
	pgoff_t ilx;

	pol = get_vma_policy(vma, addr, 0, &ilx);
	nodes_and(*nodes, pol->nodes, cpuset_current_mems_allowed);
	if (pol->mode != MPOL_BIND || !cdm_policy(pol) || !cdm_only(nodes))
		nodes_clear(*nodes);
	nodes_and(*nodes, *nodes, cdm_usable_nodes);
	mpol_cond_put(pol);
}

/*
 * The task's own fault failed, and its policy leaves nothing but devices that are
 * full. Whoever faults for another one, or in a system call, has an error to return.
 */
vm_fault_t __cdm_fault_error(vm_fault_t ret, struct vm_area_struct *vma,
			     unsigned long addr, unsigned int flags)
{
	nodemask_t nodes;

	/* With these the mapping may be gone. */
	if (ret & (VM_FAULT_RETRY | VM_FAULT_COMPLETED))
		return ret;
	/* The limit of a memory cgroup comes first, in its own way. */
	if (!(flags & FAULT_FLAG_USER) || task_in_memcg_oom(current))
		return ret;
	cdm_bound_nodes(&nodes, vma, addr);
	if (nodes_empty(nodes) || !cdm_nodes_are_full(&nodes))
		return ret;
	pr_warn_ratelimited("%s/%d: SIGBUS, device nodes %*pbl are full\n",
			    current->comm, task_pid_nr(current),
			    nodemask_pr_args(&nodes));
	return (ret & ~VM_FAULT_OOM) | VM_FAULT_SIGBUS;
}
