// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: accounting. Device memory is not RAM, so what the
 * machine says about its RAM must leave it out.
 */
#include <linux/cdm.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <linux/vmstat.h>

#include "internal.h"

/* Free pages of all device nodes, which NR_FREE_PAGES counts with the rest. */
unsigned long __cdm_free_pages(void)
{
	unsigned long nr_pages = 0;
	int nid;

	for_each_node_mask(nid, cdm_nodes)
		nr_pages += sum_zone_node_page_state(nid, NR_FREE_PAGES);
	return nr_pages;
}

/* The pages of all device nodes that @item counts. */
unsigned long __cdm_node_pages(enum node_stat_item item)
{
	unsigned long nr_pages = 0;
	int nid;

	for_each_node_mask(nid, cdm_nodes)
		nr_pages += node_page_state(NODE_DATA(nid), item);
	return nr_pages;
}

/* File folios on device nodes: not page cache that RAM could get back. */
unsigned long __cdm_file_pages(void)
{
	return __cdm_node_pages(NR_ACTIVE_FILE) +
	       __cdm_node_pages(NR_INACTIVE_FILE);
}

/* What "Cached" counts of device nodes, shared memory for the most part. */
long __cdm_cached_pages(void)
{
	return __cdm_node_pages(NR_FILE_PAGES) -
	       __cdm_node_pages(NR_SWAPCACHE);
}

static unsigned long cdm_total_pages(void)
{
	unsigned long nr_pages = 0;
	int nid;

	for_each_node_mask(nid, cdm_nodes)
		nr_pages += zone_managed_pages(&NODE_DATA(nid)->node_zones[ZONE_MOVABLE]);
	return nr_pages;
}

/* The lines of /proc/meminfo; none where no device node is registered. */
void cdm_show_meminfo(struct seq_file *m)
{
	if (!cdm_enabled())
		return;

	seq_printf(m, "DeviceTotal:    %8lu kB\n",
		   cdm_total_pages() << (PAGE_SHIFT - 10));
	seq_printf(m, "DeviceFree:     %8lu kB\n",
		   __cdm_free_pages() << (PAGE_SHIFT - 10));
}

/* Bytes of memmap that describe @size bytes of memory. */
u64 cdm_memmap_size(u64 size)
{
	return (size >> PAGE_SHIFT) * sizeof(struct page);
}
