// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: what the owners of device memory are told, and asked
 * to do, while others use it.
 */
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/srcu.h>

#include "internal.h"

/* Protects the owner's ops and data against unregistration while they run. */
DEFINE_STATIC_SRCU(cdm_ops_srcu);

/* No call of an op begins any more for memory that is not registered. */
void cdm_ops_drain(void)
{
	synchronize_srcu(&cdm_ops_srcu);
}

static void cdm_ops_moved_one(struct cdm_memory *mem, unsigned long from,
			      unsigned long to, unsigned long nr_pages)
{
	if (mem && mem->ops && mem->ops->moved)
		mem->ops->moved(mem->data, from, to, nr_pages);
}

/* Tell the owners of both sides, which may be the same one, or none. */
void cdm_ops_moved(unsigned long from, unsigned long to,
		   unsigned long nr_pages)
{
	int idx = srcu_read_lock(&cdm_ops_srcu);
	struct cdm_memory *src = cdm_memory_of(from);
	struct cdm_memory *dst = cdm_memory_of(to);

	cdm_ops_moved_one(src, from, to, nr_pages);
	if (dst && (!src || dst->data != src->data))
		cdm_ops_moved_one(dst, from, to, nr_pages);
	srcu_read_unlock(&cdm_ops_srcu, idx);
}

/* The kernel has dealt with a failure of the page at @pfn. */
void __cdm_note_failure(unsigned long pfn)
{
	int idx = srcu_read_lock(&cdm_ops_srcu);
	struct cdm_memory *mem = cdm_memory_of(pfn);

	if (mem && mem->ops && mem->ops->failed)
		mem->ops->failed(mem->data, pfn);
	srcu_read_unlock(&cdm_ops_srcu, idx);
}

/* The copy engine of @mem, if it has one that is worth it, or -EOPNOTSUPP. */
static int cdm_copy_by(struct cdm_memory *mem, struct folio *dst,
		       struct folio *src)
{
	if (!mem || !mem->ops || !mem->ops->copy ||
	    folio_size(src) < mem->ops->copy_min)
		return -EOPNOTSUPP;
	return mem->ops->copy(mem->data, dst, src);
}

/*
 * Copy a folio that is to be migrated to or from device memory: by the engine of
 * the one side, else of the other, else by the CPU. What is lost is not copied.
 */
int __cdm_copy_folio(struct folio *dst, struct folio *src)
{
	int idx = srcu_read_lock(&cdm_ops_srcu);
	struct cdm_memory *from = cdm_memory_of(folio_pfn(src));
	struct cdm_memory *to = cdm_memory_of(folio_pfn(dst));
	int ret = -EHWPOISON;

	if ((!from || !READ_ONCE(from->lost)) &&
	    (!to || !READ_ONCE(to->lost))) {
		ret = cdm_copy_by(from, dst, src);
		if (ret && ret != -EHWPOISON)
			ret = cdm_copy_by(to, dst, src);
	}
	srcu_read_unlock(&cdm_ops_srcu, idx);
	if (ret && ret != -EHWPOISON)
		ret = folio_mc_copy(dst, src);
	return ret;
}
