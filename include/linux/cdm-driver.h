/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coherent device memory: the interface of the drivers that own such memory.
 *
 * See Documentation/mm/cdm/api.rst.
 */
#ifndef _LINUX_CDM_DRIVER_H
#define _LINUX_CDM_DRIVER_H

#include <linux/bits.h>
#include <linux/range.h>
#include <linux/types.h>

struct cdm_memory;
struct device;
struct mm_struct;

/**
 * enum cdm_register_flags - how cdm_register_memory() brings a range online
 * @CDM_MEMMAP_ON_DEVICE: place the memmap at the start of each memory block of
 *	the range instead of in RAM. Needs memory_hotplug.memmap_on_memory=1.
 *	Kernel data structures are lost with the device then.
 * @CDM_COHERENT_BAR: the range is a BAR of a coherent device, which firmware
 *	does not list as special purpose memory.
 */
enum cdm_register_flags {
	CDM_MEMMAP_ON_DEVICE	= BIT(0),
	CDM_COHERENT_BAR	= BIT(1),
};

/**
 * struct cdm_evacuation - what an evacuation of device memory came to
 * @nr_moved: pages that were migrated to RAM
 * @nr_pinned: pages left because somebody holds an extra reference on them
 * @nr_no_ram: pages left because no page of RAM could be allocated
 * @nr_busy: pages left for any other, transient, reason
 */
struct cdm_evacuation {
	unsigned long nr_moved;
	unsigned long nr_pinned;
	unsigned long nr_no_ram;
	unsigned long nr_busy;
};

static inline unsigned long
cdm_evacuation_left(const struct cdm_evacuation *evac)
{
	return evac->nr_pinned + evac->nr_no_ram + evac->nr_busy;
}

struct cdm_memory *cdm_register_memory(struct device *owner,
				       const struct range *range, int nid,
				       unsigned int flags);
int cdm_unregister_memory(struct cdm_memory *mem, unsigned int deadline_ms,
			  struct cdm_evacuation *evac);
int cdm_memory_nid(const struct cdm_memory *mem);

int cdm_migrate_range(struct mm_struct *mm, unsigned long start,
		      unsigned long size, int nid, int *status);
int cdm_query_range(struct mm_struct *mm, unsigned long start,
		    unsigned long size, int *nodes);

typedef int (*cdm_spm_fn)(const struct range *range, void *data);

int cdm_walk_spm(cdm_spm_fn fn, void *data);

#endif /* _LINUX_CDM_DRIVER_H */
