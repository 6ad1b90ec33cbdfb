/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coherent device memory: what the files of mm/cdm share.
 */
#ifndef _MM_CDM_INTERNAL_H
#define _MM_CDM_INTERNAL_H

#include <linux/list.h>
#include <linux/migrate_mode.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/range.h>

struct cdm_evacuation;
struct device;
struct resource;

/**
 * struct cdm_memory - one registered range of device memory
 * @list: entry in the list of all ranges
 * @range: physical addresses, inclusive
 * @nid: the device node
 * @mgid: memory group of its memory blocks
 * @owner: the device that owns the range
 * @res: the claim in the resource tree
 */
struct cdm_memory {
	struct list_head list;
	struct range range;
	int nid;
	int mgid;
	struct device *owner;
	struct resource *res;
};

/* node.c */
int cdm_node_add(int nid);
void cdm_node_del(int nid);
void cdm_node_close(int nid);
void cdm_node_open(int nid);
int cdm_nearest_node(int nid, const nodemask_t *nodes);
nodemask_t *cdm_node_with_ram(int nid);

/* migrate.c */
int cdm_migrate_folios(struct list_head *folios, int nid,
		       enum migrate_reason reason, unsigned int *nr_moved);

/* evict.c */
int cdm_evacuate(const struct range *range, unsigned long deadline,
		 struct cdm_evacuation *evac);

/* account.c */
u64 cdm_memmap_size(u64 size);

/* sysfs.c */
int cdm_sysfs_link(int nid, struct device *owner);
void cdm_sysfs_unlink(int nid);

#endif /* _MM_CDM_INTERNAL_H */
