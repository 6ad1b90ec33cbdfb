// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: what the owners of device memory are told, and asked
 * to do, while others use it.
 */
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/highmem.h>
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

/* The kernel has dealt with a failure of the page at @pfn. */
void __cdm_note_failure(unsigned long pfn)
{
	int idx = srcu_read_lock(&cdm_ops_srcu);
	struct cdm_memory *mem = cdm_memory_of(pfn);

	if (mem && mem->ops && mem->ops->failed)
		mem->ops->failed(mem->data, pfn);
	srcu_read_unlock(&cdm_ops_srcu, idx);
}

/* Pages that follow each other are mostly in the same sections. */
void cdm_sides_begin(struct cdm_sides *sides)
	__acquires(&cdm_ops_srcu)
{
	sides->idx = srcu_read_lock(&cdm_ops_srcu);
	sides->from_section = ULONG_MAX;
	sides->to_section = ULONG_MAX;
}

void cdm_sides_end(struct cdm_sides *sides)
	__releases(&cdm_ops_srcu)
{
	srcu_read_unlock(&cdm_ops_srcu, sides->idx);
}

static void cdm_sides_find(struct cdm_sides *sides, unsigned long from,
			   unsigned long to)
{
	if (sides->from_section != pfn_to_section_nr(from)) {
		sides->from_section = pfn_to_section_nr(from);
		sides->from = cdm_memory_of(from);
	}
	if (sides->to_section != pfn_to_section_nr(to)) {
		sides->to_section = pfn_to_section_nr(to);
		sides->to = cdm_memory_of(to);
	}
}

static void cdm_tell_moved(struct cdm_memory *mem, unsigned long from,
			   unsigned long to, unsigned long nr_pages)
{
	if (mem && mem->ops && mem->ops->moved)
		mem->ops->moved(mem->data, from, to, nr_pages);
}

/* Tell the owners of both sides, which may be the same one, or none. */
void cdm_moved(struct cdm_sides *sides, unsigned long from, unsigned long to,
	       unsigned long nr_pages)
{
	cdm_sides_find(sides, from, to);
	cdm_tell_moved(sides->from, from, to, nr_pages);
	if (sides->to && (!sides->from || sides->to->data != sides->from->data))
		cdm_tell_moved(sides->to, from, to, nr_pages);
}

static bool cdm_is_lost(const struct cdm_memory *mem)
{
	return mem && READ_ONCE(mem->lost);
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
int cdm_copy(struct cdm_sides *sides, struct folio *dst, struct folio *src)
{
	int ret;

	cdm_sides_find(sides, folio_pfn(src), folio_pfn(dst));
	if (cdm_is_lost(sides->from) || cdm_is_lost(sides->to))
		return -EHWPOISON;
	ret = cdm_copy_by(sides->from, dst, src);
	if (ret && ret != -EHWPOISON)
		ret = cdm_copy_by(sides->to, dst, src);
	if (!ret || ret == -EHWPOISON)
		return ret;
	if (folio_test_large(src))
		return folio_mc_copy(dst, src);
	return copy_mc_highpage(&dst->page, &src->page) ? -EHWPOISON : 0;
}

int __cdm_copy_folio(struct folio *dst, struct folio *src)
{
	struct cdm_sides sides;
	int ret;

	cdm_sides_begin(&sides);
	ret = cdm_copy(&sides, dst, src);
	cdm_sides_end(&sides);
	return ret;
}
