// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: memory for what moves, in as few blocks as there are.
 */
#include <linux/cdm.h>
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/mm.h>

#include "../internal.h"
#include "internal.h"

/*
 * Single pages are worth some effort in RAM, and may come from farther away if no
 * node was asked for. On a device only what is free is taken: reclaim there would
 * evict what the same call has just brought in.
 */
static struct page *cdm_block_alloc(const struct cdm_blocks *blocks,
				    unsigned int order, gfp_t gfp)
{
	bool device = cdm_node(blocks->nid);
	nodemask_t *mask = blocks->ram;

	gfp |= GFP_HIGHUSER_MOVABLE | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;
	if (device)
		mask = cdm_node_only(blocks->nid, blocks->cause);
	if (blocks->nowait)
		gfp &= ~__GFP_DIRECT_RECLAIM;
	if (device || order)
		gfp &= ~(__GFP_RECLAIM | __GFP_RETRY_MAYFAIL);
	if (order || blocks->this_node)
		gfp |= __GFP_THISNODE;
	return __alloc_pages_noprof(gfp, order, blocks->nid, mask);
}

/* For what @move takes to @nid. */
struct cdm_blocks cdm_move_blocks(const struct cdm_move *move, int nid)
{
	return (struct cdm_blocks) {
		.nid = nid,
		.this_node = move->nid != NUMA_NO_NODE,
		.ram = move->ram,
		.nowait = move->nowait,
		.cause = cdm_move_cause(move->reason),
		.order = PMD_ORDER,
	};
}

/* A large folio, or NULL. */
struct folio *cdm_blocks_folio(const struct cdm_blocks *blocks,
			       unsigned int order)
{
	struct page *page = cdm_block_alloc(blocks, order, __GFP_COMP);

	return page ? page_rmappable_folio(page) : NULL;
}

/* There is no page left: get a block of as many as are wanted, or fewer. */
bool cdm_blocks_refill(struct cdm_blocks *blocks)
{
	unsigned int order = 0;

	if (blocks->wanted)
		order = min_t(unsigned int, blocks->order,
			      ilog2(blocks->wanted));
	while (!(blocks->page = cdm_block_alloc(blocks, order, 0))) {
		if (!order)
			return false;
		order -= min(order, 3U);
	}
	if (order)
		split_page(blocks->page, order);
	blocks->order = order;
	blocks->nr = 1U << order;
	blocks->wanted -= min(blocks->wanted, blocks->nr);
	return true;
}

/* Free what has not been needed in the end. */
void cdm_blocks_end(struct cdm_blocks *blocks)
{
	for (; blocks->nr; blocks->nr--)
		__free_page(blocks->page++);
}
