// SPDX-License-Identifier: GPL-2.0
/*
 * Special purpose memory: what firmware marked EFI_MEMORY_SP and the kernel
 * lists as "Soft Reserved" in /proc/iomem, for drivers to claim.
 */
#define pr_fmt(fmt) "cdm: " fmt

#include <linux/cdm-driver.h>
#include <linux/export.h>
#include <linux/ioport.h>
#include <linux/memory.h>
#include <linux/minmax.h>
#include <linux/numa.h>
#include <linux/printk.h>

struct cdm_spm_walk {
	cdm_spm_fn fn;
	void *data;
	unsigned int nr;	/* resources seen */
};

/* The end of the stretch from @start on that lies in one proximity domain. */
static u64 cdm_spm_domain_end(u64 start, u64 end, u64 block_size)
{
	int nid = phys_to_target_node(start);
	u64 addr;

	for (addr = start + block_size; addr < end; addr += block_size) {
		if (phys_to_target_node(addr) != nid)
			return addr;
	}
	return end;
}

/* Whole memory blocks only; neighbours of different domains are told apart. */
static int cdm_spm_visit(struct resource *res, void *arg)
{
	u64 block_size = memory_block_size_bytes();
	u64 start = ALIGN(res->start, block_size);
	u64 end = ALIGN_DOWN(res->end + 1, block_size);
	struct cdm_spm_walk *walk = arg;
	int ret = 0;

	walk->nr++;
	if (start != res->start || end != res->end + 1)
		pr_info("%pR: special purpose memory trimmed to memory blocks of %#llx bytes\n",
			res, block_size);

	while (start < end && !ret) {
		u64 next = cdm_spm_domain_end(start, end, block_size);
		struct range range = { .start = start, .end = next - 1 };

		ret = walk->fn(&range, walk->data);
		start = next;
	}
	return ret;
}

/**
 * cdm_walk_spm - visit the special purpose memory of the machine
 * @fn: called for each range, trimmed to memory blocks and within one proximity
 *	domain; anything but 0 ends the walk
 * @data: handed to @fn
 *
 * Context: process context, may sleep. @fn is called without locks and may
 * register the range.
 * Return: what the last call of @fn returned; %-ENOENT if there is no special
 * purpose memory.
 */
int cdm_walk_spm(cdm_spm_fn fn, void *data)
{
	struct cdm_spm_walk walk = { .fn = fn, .data = data };
	int ret;

	ret = walk_iomem_res_desc(IORES_DESC_SOFT_RESERVED, IORESOURCE_MEM,
				  0, -1, &walk, cdm_spm_visit);
	return walk.nr ? ret : -ENOENT;
}
EXPORT_SYMBOL_GPL(cdm_walk_spm);
