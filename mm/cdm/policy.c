// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: what memory policies and cpusets make of a device
 * node.
 *
 * A policy is narrowed once, when its nodes are set: from then on MPOL_F_DEVICE
 * says that it names a device node, and ram_nodes is what remains of it where
 * device memory is not for the taking (page cache, kernel memory).
 */
#define pr_fmt(fmt) "cdm: " fmt

#include <linux/cdm.h>
#include <linux/cpuset.h>
#include <linux/mempolicy.h>
#include <linux/printk.h>
#include <linux/topology.h>

#include "internal.h"

/*
 * Modes that spread over their nodes or take any of them name a device node
 * only if they name nothing else: numactl --interleave=all means RAM.
 */
static bool cdm_mode_is_narrowed(unsigned short mode)
{
	return mode == MPOL_INTERLEAVE || mode == MPOL_WEIGHTED_INTERLEAVE ||
	       mode == MPOL_PREFERRED_MANY;
}

/*
 * Split the nodes of a policy of mode @mode: *@nodes becomes what the policy
 * keeps and *@ram the part of it that is RAM. Returns whether a device node
 * is left in *@nodes.
 */
static bool cdm_narrow(unsigned short mode, nodemask_t *nodes, nodemask_t *ram,
		       const nodemask_t *devices)
{
	nodes_andnot(*ram, *nodes, *devices);
	if (cdm_mode_is_narrowed(mode) && !nodes_empty(*ram))
		*nodes = *ram;
	return nodes_intersects(*nodes, *devices);
}

/*
 * A task may allocate while its policy changes. It must not see a device node
 * in a policy without the flag that restricts what it is for, so the flag comes
 * first and goes last.
 */
static void cdm_set_nodes(struct mempolicy *pol, nodemask_t nodes)
{
	nodemask_t ram_nodes;
	bool named;

	named = cdm_narrow(pol->mode, &nodes, &ram_nodes, &cdm_nodes);
	pol->ram_nodes = ram_nodes;
	if (named)
		WRITE_ONCE(pol->flags, pol->flags | MPOL_F_DEVICE);
	pol->nodes = nodes;
	if (!named)
		WRITE_ONCE(pol->flags, pol->flags & ~MPOL_F_DEVICE);
}

void __cdm_policy_narrow(struct mempolicy *pol)
{
	cdm_set_nodes(pol, pol->nodes);
}

/*
 * The nodes that a policy has after those of its cpuset changed from @old to
 * @new. RAM is remapped onto RAM, by position as everywhere; a device node
 * stays what it is or goes, for no other device can stand in for it. A policy
 * that loses all its nodes gets all RAM.
 */
static void cdm_remap(nodemask_t *dst, const nodemask_t *src,
		      const nodemask_t *old, const nodemask_t *new,
		      const nodemask_t *devices)
{
	nodemask_t ram_src, ram_old, ram_new, kept;

	nodes_andnot(ram_src, *src, *devices);
	nodes_andnot(ram_old, *old, *devices);
	nodes_andnot(ram_new, *new, *devices);
	nodes_remap(*dst, ram_src, ram_old, ram_new);

	nodes_and(kept, *src, *devices);
	nodes_and(kept, kept, *new);
	nodes_or(*dst, *dst, kept);
	if (nodes_empty(*dst))
		*dst = ram_new;
}

/* The same for policies that remember the nodes the user asked for. */
static void cdm_restore(nodemask_t *dst, const struct mempolicy *pol,
			const nodemask_t *new, const nodemask_t *devices)
{
	nodemask_t ram_new, tmp;

	nodes_andnot(ram_new, *new, *devices);
	if (pol->flags & MPOL_F_RELATIVE_NODES) {
		nodes_fold(tmp, pol->w.user_nodemask, nodes_weight(ram_new));
		nodes_onto(*dst, tmp, ram_new);
	} else {
		nodes_and(*dst, pol->w.user_nodemask, *new);
	}
	if (nodes_empty(*dst))
		*dst = ram_new;
}

void __cdm_policy_rebind(struct mempolicy *pol, const nodemask_t *nodes)
{
	nodemask_t tmp;

	if (pol->flags & MPOL_MODE_FLAGS) {
		cdm_restore(&tmp, pol, nodes, &cdm_nodes);
	} else {
		cdm_remap(&tmp, &pol->nodes, &pol->w.cpuset_mems_allowed,
			  nodes, &cdm_nodes);
		pol->w.cpuset_mems_allowed = *nodes;
	}
	cdm_set_nodes(pol, tmp);
}

/*
 * The nodemask for an allocation under a policy that names a device node.
 *
 * Only an allocation for a VMA, one that comes with an interleave index, may
 * have device memory; anything else a task allocates (page cache, page tables,
 * slab) gets the policy without its device nodes, and the default policy if
 * there is nothing else. So does everything while the node is being emptied.
 */
nodemask_t *__cdm_policy_nodemask(struct mempolicy *pol, pgoff_t ilx, int *nid,
				  nodemask_t *nodemask)
{
	if (ilx == NO_INTERLEAVE_INDEX ||
	    !nodes_intersects(pol->nodes, cdm_usable_nodes)) {
		if (cdm_node(*nid))
			*nid = numa_node_id();
		if (nodes_empty(pol->ram_nodes))
			return NULL;
		return nodemask ? &pol->ram_nodes : NULL;
	}

	/* Preferred or interleaved: this node first, else RAM. */
	if (!nodemask && cdm_node(*nid))
		return cdm_node_with_ram(*nid);

	return nodemask;
}

/*
 * A device node that @to still holds keeps what is on it; what was elsewhere
 * and must go has RAM to go to, for nobody named a device for it.
 */
static void cdm_strip_move(nodemask_t *from, nodemask_t *to,
			   const nodemask_t *devices)
{
	nodemask_t kept;

	nodes_and(kept, *to, *devices);
	nodes_andnot(*from, *from, kept);
	nodes_andnot(*to, *to, *devices);
}

void __cdm_narrow_move(nodemask_t *from, nodemask_t *to)
{
	cdm_strip_move(from, to, &cdm_nodes);
}

int __cdm_check_mems(const nodemask_t *mems)
{
	if (!nodes_intersects(*mems, cdm_nodes) ||
	    nodes_intersects(*mems, node_states[N_MEMORY]))
		return 0;

	pr_warn_ratelimited("cpuset.mems %*pbl refused: device nodes only, add a node with RAM\n",
			    nodemask_pr_args(mems));
	return -EINVAL;
}

#ifdef CONFIG_CDM_KUNIT_TEST
#include "tests/policy-kunit.h"
#endif
