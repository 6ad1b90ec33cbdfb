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

#ifdef CONFIG_ARM64_MTE
#include <linux/cpufeature.h>
#include <asm/mte.h>
#endif

#include "internal.h"

/*
 * The range of @pfn, or NULL. Its owner stays until cdm_memory_exit(), however long an
 * op takes, and with it nobody else.
 */
static struct cdm_memory *cdm_memory_enter(unsigned long pfn, int *idx)
{
	struct cdm_memory *mem;

	/* The range is freed after a wait for RCU and then one for SRCU. */
	guard(rcu)();
	mem = cdm_memory_of(pfn);
	if (mem)
		*idx = srcu_read_lock(&mem->srcu);
	return mem;
}

/* The same for any range of @nid. */
static struct cdm_memory *cdm_memory_enter_on(int nid, int *idx)
{
	struct cdm_memory *mem;

	guard(rcu)();
	mem = cdm_memory_on(nid);
	if (mem)
		*idx = srcu_read_lock(&mem->srcu);
	return mem;
}

static void cdm_memory_exit(struct cdm_memory *mem, int idx)
{
	if (mem)
		srcu_read_unlock(&mem->srcu, idx);
}

/* The kernel has dealt with a failure of the page at @pfn. */
void __cdm_note_failure(unsigned long pfn)
{
	const struct cdm_ops *ops;
	struct cdm_memory *mem;
	int idx;

	mem = cdm_memory_enter(pfn, &idx);
	if (!mem)
		return;
	ops = cdm_memory_ops(mem);
	if (ops->failed)
		ops->failed(mem->data, pfn);
	cdm_memory_exit(mem, idx);
}

/* From here on the owners of memory stay, once they have been found. */
void cdm_sides_begin(struct cdm_sides *sides)
{
	sides->asked = false;
	sides->from_section = ULONG_MAX;
	sides->to_section = ULONG_MAX;
	sides->from = NULL;
	sides->to = NULL;
}

void cdm_sides_end(struct cdm_sides *sides)
{
	cdm_memory_exit(sides->from, sides->from_idx);
	cdm_memory_exit(sides->to, sides->to_idx);
}

/* The range of @pfn takes the place of @mem. Returns whether it has yet to be asked. */
static bool cdm_side_find(struct cdm_memory **mem, int *idx, unsigned long pfn)
{
	struct cdm_memory *old = *mem;
	int old_idx = *idx;

	*mem = cdm_memory_enter(pfn, idx);
	cdm_memory_exit(old, old_idx);
	return *mem && *mem != old;
}

void cdm_sides_find_from(struct cdm_sides *sides, unsigned long from)
{
	if (cdm_side_find(&sides->from, &sides->from_idx, from))
		sides->asked = false;
	sides->from_section = pfn_to_section_nr(from);
}

void cdm_sides_find_to(struct cdm_sides *sides, unsigned long to)
{
	if (cdm_side_find(&sides->to, &sides->to_idx, to))
		sides->asked = false;
	sides->to_section = pfn_to_section_nr(to);
}

static void cdm_tell_moved(struct cdm_memory *mem, unsigned long from,
			   unsigned long to, unsigned long nr_pages)
{
	const struct cdm_ops *ops;

	if (!mem)
		return;
	ops = cdm_memory_ops(mem);
	if (ops->moved)
		ops->moved(mem->data, from, to, nr_pages);
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

/* Returns whether the owner lets balancing move this part of @mm. */
bool cdm_owner_permits(int nid, struct mm_struct *mm, unsigned long start,
		       unsigned long size, bool to_device)
{
	const struct cdm_ops *ops;
	struct cdm_memory *mem;
	bool ret = true;
	int idx;

	mem = cdm_memory_enter_on(nid, &idx);
	if (!mem)
		return true;
	ops = cdm_memory_ops(mem);
	if (ops->may_balance)
		ret = ops->may_balance(mem->data, mm, start, size, to_device);
	cdm_memory_exit(mem, idx);
	return ret;
}

/* The owner, if it is there yet, may know of a loss that it has not marked. */
bool cdm_memory_is_alive(struct cdm_memory *mem)
{
	const struct cdm_ops *ops;
	int idx;

	idx = srcu_read_lock(&mem->srcu);
	ops = cdm_memory_ops(mem);
	if (!cdm_memory_is_lost(mem) && ops->alive && !ops->alive(mem->data))
		cdm_mark_lost(mem->owner);
	srcu_read_unlock(&mem->srcu, idx);
	return !cdm_memory_is_lost(mem);
}

void cdm_sides_ask(struct cdm_sides *sides)
{
	smp_rmb();	/* what has been read was read before this */
	if (sides->from)
		cdm_memory_is_alive(sides->from);
	if (sides->to)
		cdm_memory_is_alive(sides->to);
	sides->asked = true;
}

static bool cdm_has_engine(const struct cdm_memory *mem)
{
	return mem && cdm_memory_ops(mem)->copy && !cdm_memory_is_lost(mem) &&
	       !READ_ONCE(mem->offlining);
}

#ifdef CONFIG_ARM64_MTE
/* Some of the folio has tags beside its data, which an engine does not know of. */
static bool cdm_has_tags(struct folio *folio)
{
	long i, nr_pages = folio_nr_pages(folio);

	if (!system_supports_mte())
		return false;
	for (i = 0; i < nr_pages; i++) {
		if (page_mte_tagged(folio_page(folio, i)))
			return true;
	}
	return false;
}
#else
static bool cdm_has_tags(struct folio *folio)
{
	return false;
}
#endif

/*
 * The memory whose owner can copy @from to @to: of the one side, else of the other,
 * or NULL.
 */
struct cdm_memory *cdm_engine(struct cdm_sides *sides, unsigned long from,
			      unsigned long to)
{
	cdm_sides_find(sides, from, to);
	if (cdm_has_tags(pfn_folio(from)))
		return NULL;
	if (cdm_has_engine(sides->from))
		return sides->from;
	return cdm_has_engine(sides->to) ? sides->to : NULL;
}

/* Returns whether @nr_pages are worth asking the engine of @mem. */
bool cdm_engine_wants(const struct cdm_memory *mem, unsigned long nr_pages)
{
	return mem && nr_pages * PAGE_SIZE >= cdm_memory_ops(mem)->copy_min;
}

/*
 * Returns 0, -EHWPOISON if something cannot be read, or another errno if the CPU
 * should copy all of it: the owner may have left since it was asked for.
 */
int cdm_copy_by_engine(struct cdm_memory *mem,
		       const struct cdm_segment *segments, unsigned int nr)
{
	const struct cdm_ops *ops = cdm_memory_ops(mem);

	return ops->copy ? ops->copy(mem->data, segments, nr) : -EOPNOTSUPP;
}

/* A CPU copies so many pages before others may run. */
#define CDM_COPY_PAGES	32

/*
 * The page cache of block devices is migrated with a spin lock held, so that nobody
 * uses the buffers of the folio meanwhile. Neither may the copy of it sleep then.
 */
static bool cdm_may_sleep(struct folio *folio)
{
	return !folio_test_private(folio);
}

/* As folio_mc_copy(), without the offer to reschedule at each page. */
int cdm_copy_large(struct folio *dst, struct folio *src)
{
	unsigned long i, nr_pages = folio_nr_pages(src);

	for (i = 0; i < nr_pages; i++) {
		if (copy_mc_highpage(folio_page(dst, i), folio_page(src, i)))
			return -EHWPOISON;
		if (i % CDM_COPY_PAGES == CDM_COPY_PAGES - 1 &&
		    cdm_may_sleep(src))
			cond_resched();
	}
	return 0;
}

/* Copy a folio that is to be migrated. What is lost is not copied. */
int __cdm_copy_folio(struct folio *dst, struct folio *src)
{
	const struct cdm_segment segment = {
		.from = folio_pfn(src),
		.to = folio_pfn(dst),
		.nr_pages = folio_nr_pages(src),
	};
	int ret = -EOPNOTSUPP;
	struct cdm_sides sides;
	struct cdm_memory *mem;

	cdm_sides_begin(&sides);
	mem = cdm_engine(&sides, segment.from, segment.to);
	if (cdm_is_lost(&sides, segment.from, segment.to))
		ret = -EHWPOISON;
	else if (cdm_may_sleep(src) && cdm_engine_wants(mem, segment.nr_pages))
		ret = cdm_copy_by_engine(mem, &segment, 1);
	if (ret && ret != -EHWPOISON)
		ret = cdm_copy_by_cpu(dst, src);
	if (cdm_was_lost(&sides, segment.from, segment.to))
		ret = -EHWPOISON;
	cdm_sides_end(&sides);
	return ret;
}

/* Returns -EHWPOISON if what the CPU has just read from @from is no data. */
int __cdm_copy_error(struct page *from)
{
	unsigned long pfn = page_to_pfn(from);
	struct cdm_sides sides;
	int ret;

	cdm_sides_begin(&sides);
	ret = cdm_was_lost(&sides, pfn, pfn) ? -EHWPOISON : 0;
	cdm_sides_end(&sides);
	return ret;
}
