// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: pools of huge pages.
 *
 * A device node has a pool of its own, for those who name it. The numbers of struct
 * hstate count all nodes; a reservation, which is one of them, means RAM.
 */
#include <linux/cdm.h>
#include <linux/cpuset.h>
#include <linux/hugetlb.h>
#include <linux/mempolicy.h>
#include <linux/overflow.h>

#include "internal.h"

static unsigned long cdm_sum(const unsigned int *nr_by_node)
{
	unsigned long nr = 0;
	int nid;

	for_each_node_mask(nid, cdm_nodes)
		nr += READ_ONCE(nr_by_node[nid]);
	return nr;
}

unsigned long __cdm_pool(const struct hstate *h)
{
	return cdm_sum(h->nr_huge_pages_node);
}

unsigned long __cdm_free_pool(const struct hstate *h)
{
	return cdm_sum(h->free_huge_pages_node);
}

void __cdm_count_pools(unsigned long *count, const struct hstate *h)
{
	if (check_add_overflow(*count, __cdm_pool(h) -
			       cdm_sum(h->surplus_huge_pages_node), count))
		*count = ULONG_MAX;
}

/*
 * The device node of the mapping's policy that is nearest and has a huge page in its
 * pool. Reservations are none of its business.
 */
int __cdm_pool_node(const struct hstate *h, struct vm_area_struct *vma,
		    unsigned long addr)
{
	nodemask_t devices, *nodemask;
	struct mempolicy *pol;
	int node, nid;

	nodes_and(devices, cdm_nodes, cdm_usable_nodes);
	nodes_and(devices, devices, cpuset_current_mems_allowed);
	nid = huge_node(vma, addr, GFP_HIGHUSER_MOVABLE, &pol, &nodemask);
	if (nodemask)
		nodes_and(devices, devices, *nodemask);
	else
		nodes_clear(devices);
	mpol_cond_put(pol);
	for_each_node_mask(node, devices) {
		if (!h->free_huge_pages_node[node])
			node_clear(node, devices);
	}
	return cdm_nearest_node(nid, &devices);
}

/* Huge pages in the pools of device nodes, of those of @nodes. */
static long cdm_bound_pool(const struct hstate *h, const nodemask_t *nodes)
{
	long nr = 0;
	int nid;

	for_each_node_mask(nid, *nodes) {
		if (cdm_node(nid))
			nr += READ_ONCE(h->free_huge_pages_node[nid]);
	}
	return nr;
}

/*
 * If a reservation counted the huge pages of a device, others could find their own
 * gone; if not, it would take RAM from them for somebody who wants a device. So a
 * mapping whose task is bound to devices makes none, or if it is bound to RAM as well
 * and RAM does not have enough. If there are not enough pages for [@from, @to) then
 * either, the way on leads to -ENOMEM.
 */
bool __cdm_no_reserve(const struct hstate *h, struct vm_area_struct *vma,
		      long from, long to)
{
	struct mempolicy *pol = current->mempolicy;
	long nr_ram = 0;
	nodemask_t nodes;

	if (!pol || pol->mode != MPOL_BIND || !cdm_policy(pol))
		return false;
	nodes_and(nodes, pol->nodes, cpuset_current_mems_allowed);
	nodes_and(nodes, nodes, cdm_usable_nodes);
	if (!cdm_only(&nodes))
		nr_ram = cdm_available(h, h->free_huge_pages -
					  h->resv_huge_pages);
	if (to - from <= nr_ram ||
	    to - from > nr_ram + cdm_bound_pool(h, &nodes))
		return false;
	if (vma)
		vm_flags_set(vma, VM_NORESERVE);
	return true;
}
