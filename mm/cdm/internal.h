/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coherent device memory: what the files of mm/cdm share.
 */
#ifndef _MM_CDM_INTERNAL_H
#define _MM_CDM_INTERNAL_H

#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/migrate_mode.h>
#include <linux/mmap_lock.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/range.h>
#include <linux/seqlock.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

struct cdm_evacuation;
struct cdm_loss;
struct cdm_ops;
struct cdm_segment;
struct device;
struct mempolicy;
struct resource;
struct vm_area_struct;

/* Causes of a page on a device node; the order of the CDM_PLACED_* events. */
enum cdm_cause {
	CDM_BY_NOBODY,		/* free, or a hole in the fence */
	CDM_BY_POLICY,		/* a memory policy */
	CDM_BY_POOL,		/* nr_hugepages of the node itself */
	CDM_BY_MOVE,		/* move_pages(2), migrate_pages(2), mbind(2) */
	CDM_BY_DRIVER,		/* the owner, for a process */
	CDM_BY_BALANCE,		/* NUMA balancing */
	CDM_BY_OWNER,		/* the owner, for itself */
	CDM_NR_CAUSES
};

/* Reasons not to go to a device node; the order of CDM_REFUSED_*. */
enum cdm_refusal {
	CDM_REFUSE_FULL,	/* no free page on the node */
	CDM_REFUSE_CLOSED,	/* no node of the policy is open */
	CDM_REFUSE_KERNEL,	/* no memory for a VMA: page cache, kernel */
	CDM_REFUSE_NARROWED,	/* a mask that also holds RAM, or no weight */
	CDM_REFUSE_CPUSET,	/* not in cpuset.mems, or no RAM there */
	CDM_REFUSE_FILE,	/* mbind() of page cache */
	CDM_REFUSE_ONLINE,	/* online_kernel */
	CDM_NR_REFUSALS
};

/* Reasons for a node to be closed; the order of the words in its file "state". */
enum cdm_closed {
	CDM_CLOSED_UNREGISTERING,	/* a range is being unregistered */
	CDM_CLOSED_SUSPENDED,		/* a range is suspended, or about to be */
	CDM_CLOSED_HIBERNATION,		/* the machine is about to hibernate */
	CDM_CLOSED_LOST,		/* a range cannot be read any more */
	CDM_CLOSED_DETACHED,		/* the driver of a range has left it behind */
	CDM_NR_CLOSED
};

/**
 * struct cdm_memory - one registered range of device memory
 * @list: entry in the list of all ranges
 * @lock: held by one of unregister, departure, loss, suspend and resume at a time, and
 *	while they wait for tenants; taken before the lock of the list
 * @by_node: entry in the list of those of its node
 * @range: physical addresses, inclusive
 * @nid: the device node
 * @mgid: memory group of its memory blocks
 * @owner: the device that owns the range
 * @res: the claim in the resource tree
 * @ops: what the owner can do and wants to know; nothing once it has left
 * @data: handed to @ops
 * @srcu: held for reading by those who may call @ops, or look at the range without a
 *	page of it in use
 * @removing: it goes offline to be removed, which does not wait for tenants
 * @offlining: some of it goes offline, under the locks of memory hotplug: the engine, which
 *	may hang, is not asked to copy
 * @causes: a byte for each page, why it is in use
 * @nr_owned: pages that the owner has allocated
 * @nr_reserve: pages of the node that no tenant may take; under cdm_kept_lock
 * @reserve_lock: held from a change of @nr_reserve until it holds or is undone
 * @closed: why the node is closed on behalf of the range: bits of enum
 *	cdm_closed. The bit for loss is set from any context and never cleared
 * @retry: the next attempt to remove a range that its driver has left behind, and
 * @retry_ms: how long that one waits
 */
struct cdm_memory {
	struct list_head list;
	struct mutex lock;		/* see above */
	struct hlist_node by_node;
	struct range range;
	int nid;
	int mgid;
	struct device *owner;
	struct resource *res;
	const struct cdm_ops *ops;
	void *data;
	struct srcu_struct srcu;
	bool removing;
	bool offlining;
	u8 *causes;
	atomic_long_t nr_owned;
	unsigned long nr_reserve;
	struct mutex reserve_lock;	/* see above */
	unsigned long closed;
	struct delayed_work retry;
	unsigned int retry_ms;
};

/* Contents of the range that are read or written are worth nothing. */
static inline bool cdm_memory_is_lost(const struct cdm_memory *mem)
{
	return test_bit(CDM_CLOSED_LOST, &mem->closed);
}

/* Its driver has left the range behind, and knows nothing of it any more. */
static inline bool cdm_memory_is_detached(const struct cdm_memory *mem)
{
	return test_bit(CDM_CLOSED_DETACHED, &mem->closed);
}

/* The ops of the owner, which is there as long as the caller holds @mem->srcu. */
static inline const struct cdm_ops *cdm_memory_ops(const struct cdm_memory *mem)
{
	return READ_ONCE(mem->ops);
}

/* node.c */
extern seqcount_t cdm_lists_seq;
extern atomic_t cdm_nr_shut;
int cdm_node_add(int nid);
void cdm_node_del(int nid);
void cdm_nodes_sync(void);
void cdm_node_shut(int nid);
int cdm_nearest_node(int nid, const nodemask_t *nodes);
nodemask_t *cdm_node_only(int nid, enum cdm_cause cause);
nodemask_t *cdm_node_with_ram(int nid);
enum cdm_cause cdm_mask_cause(const nodemask_t *nodemask);
unsigned int cdm_node_zonelists(int nid);

/* An allocation that gets no page while a node is being closed tries again. */
static inline u64 cdm_lists_begin(void)
{
	u64 nr_shut = (unsigned int)atomic_read(&cdm_nr_shut);

	return nr_shut << 32 | read_seqcount_begin(&cdm_lists_seq);
}

static inline bool cdm_lists_retry(u64 begun)
{
	return read_seqcount_retry(&cdm_lists_seq, (unsigned int)begun) ||
	       (unsigned int)atomic_read(&cdm_nr_shut) != begun >> 32;
}

/* policy.c */
bool cdm_policy_names(const struct mempolicy *pol, int nid);
int cdm_first_device(const nodemask_t *nodes);
nodemask_t *cdm_policy_ram(struct mempolicy *pol, pgoff_t ilx, int *nid,
			   nodemask_t *nodemask);

bool cdm_policy_permits(struct vm_area_struct *vma, unsigned long addr, int nid,
			int home);

/* Pages that are handled at a time, within a page table. */
#define CDM_BATCH	512UL

/*
 * Where what is simple goes, and why; NUMA_NO_NODE is RAM, of which @ram, unless
 * NULL, says what may be taken. Only from node @from, or for NUMA_NO_NODE from any,
 * and only page frames from @pfn to @end_pfn.
 */
struct cdm_move {
	struct mm_struct *mm;
	bool nowait;		/* neither for reclaim nor for the process, */
	bool bounded;		/* nor, as here, for locks of folios and writeback */
	bool drained;		/* the batches of all CPUs, for this call */
	int from;
	int nid;
	nodemask_t *ram;
	enum migrate_reason reason;
	unsigned long pfn;
	unsigned long end_pfn;
};

/* Called for what a walk finds at one address, with the PTL held. */
typedef void (*cdm_visit_fn)(struct folio *folio, unsigned int nr_pages,
			     int *status, void *data);

/* migrate.c */
void cdm_walk_locked(struct mm_struct *mm, unsigned long start,
		     unsigned int nr_pages, int *status, cdm_visit_fn visit,
		     void *data);
int cdm_walk(struct mm_struct *mm, unsigned long start, unsigned int nr_pages,
	     int *status, cdm_visit_fn visit, void *data);
int cdm_check_range(const struct mm_struct *mm, unsigned long start,
		    unsigned long size);
int cdm_migrate_folios(struct list_head *folios, const struct cdm_move *move,
		       unsigned int *nr_moved);

bool cdm_in_place(int node, int nid);

/* Pages for those that move, from blocks; end with cdm_blocks_end(). */
struct cdm_blocks {
	int nid;
	bool this_node;		/* and no other */
	nodemask_t *ram;	/* of RAM no other than these; NULL: any */
	bool nowait;		/* do not reclaim for the sake of it */
	enum cdm_cause cause;	/* on a device node */
	unsigned int order;	/* larger blocks have not been found, */
	unsigned int wanted;	/* for so many pages */
	unsigned int nr;	/* what is left of the last block, */
	struct page *page;	/* from here on */
};

/* blocks.c */
struct cdm_blocks cdm_move_blocks(const struct cdm_move *move, int nid);
struct folio *cdm_blocks_folio(const struct cdm_blocks *blocks,
			       unsigned int order);
bool cdm_blocks_refill(struct cdm_blocks *blocks);
void cdm_blocks_end(struct cdm_blocks *blocks);

/* A single page, or NULL. */
static inline struct folio *cdm_blocks_page(struct cdm_blocks *blocks)
{
	if (!blocks->nr && !cdm_blocks_refill(blocks))
		return NULL;
	blocks->nr--;
	return page_folio(blocks->page++);
}

/*
 * The ranges that pages move from and to, whose owners cannot go meanwhile. Both have
 * been asked whether they are alive, since the last copy, if @asked.
 */
struct cdm_sides {
	bool asked;
	int from_idx;
	int to_idx;
	unsigned long from_section;
	unsigned long to_section;
	struct cdm_memory *from;
	struct cdm_memory *to;
};

/* A folio on its way. */
struct cdm_slot {
	struct folio *src;
	struct folio *dst;	/* NULL if there is no memory for it */
	unsigned short nr;	/* of its first page in the range */
	unsigned short nr_pages;
	bool unmapped;
	bool copied;
};

/* The entry of a page, before and while it is on its way. */
struct cdm_entry {
	pte_t was;
	pte_t is;
};

/*
 * The memory that a batch needs, an element for each page, is tried for once where it can
 * be done without: eviction is to give others memory, not to take it.
 */
#define CDM_SCRATCH_TRY	(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)

struct cdm_scratch {
	struct cdm_slot *slots;
	struct cdm_entry *entries;
	struct cdm_segment *segments;
	int *status;
};

/* The number of pages from @addr on in a batch; batches are aligned. */
static inline unsigned int cdm_batch_pages(unsigned long addr,
					   unsigned long nr_pages)
{
	return min(nr_pages, CDM_BATCH - (addr >> PAGE_SHIFT) % CDM_BATCH);
}

/* migrate.c */
int cdm_home(int nid, const nodemask_t *ram);
nodemask_t *cdm_process_ram(struct mm_struct *mm, nodemask_t *ram);
bool cdm_may_target(struct mm_struct *mm, int nid);
int cdm_migrate_batch(struct cdm_move *move, unsigned long start,
		      unsigned int nr_pages, const struct cdm_scratch *scratch);

/*
 * A process may keep its mmap lock for as long as somebody makes it wait, a file
 * server for example. A worker, which serves others too, does not wait for it,
 * and who does can be killed. Returns 0, -EAGAIN or -EINTR.
 */
static inline int cdm_mmap_lock(struct mm_struct *mm, bool nowait)
{
	if (nowait)
		return mmap_read_trylock(mm) ? 0 : -EAGAIN;
	return mmap_read_lock_killable(mm);
}

/* range.c */
bool cdm_vma_is_simple(struct vm_area_struct *vma);
unsigned int cdm_move_table(const struct cdm_move *move,
			    struct vm_area_struct *vma, pmd_t *pmd,
			    unsigned long start, unsigned long end,
			    const struct cdm_scratch *scratch, int *status);
int cdm_move_simple(const struct cdm_move *move, unsigned long start,
		    unsigned int nr_pages, const struct cdm_scratch *scratch);
unsigned int cdm_move_simple_locked(const struct cdm_move *move,
				    unsigned long start, unsigned int nr_pages,
				    const struct cdm_scratch *scratch);
int cdm_scratch_alloc(struct cdm_scratch *scratch, gfp_t gfp);
void cdm_scratch_free(struct cdm_scratch *scratch);

/* evict.c */
struct folio *cdm_next_folio(unsigned long *pfn, unsigned long end_pfn);
bool cdm_has_tenants(unsigned long pfn, unsigned long end_pfn, bool files_only);
int cdm_evict_block(unsigned long *pfn, unsigned long end_pfn,
		    enum migrate_reason reason,
		    const struct cdm_scratch *scratch, unsigned long *nr_used,
		    unsigned int *nr_moved);
int cdm_roomy_home(int nid, const nodemask_t *ram);
int cdm_evict_files(unsigned long *pfn, unsigned long end_pfn,
		    enum migrate_reason reason, unsigned int *nr_moved);
int cdm_evacuate(struct cdm_memory *mem, unsigned long deadline,
		 struct cdm_evacuation *evac);
int cdm_evacuate_block(struct cdm_memory *mem, unsigned long start_pfn,
		       unsigned long nr_pages);
int cdm_evacuate_once(struct cdm_memory *mem, struct cdm_evacuation *evac);
bool cdm_is_free(unsigned long pfn, unsigned long end_pfn);

/* core.c */
unsigned long cdm_why_closed(int nid);

/* lost.c */
void cdm_lose_range(const struct range *range, struct cdm_loss *loss);

/* owner.c */
void cdm_owner_leave(struct cdm_memory *mem);

/* notify.c */
void cdm_sides_begin(struct cdm_sides *sides);
void cdm_sides_end(struct cdm_sides *sides);
void cdm_sides_find_from(struct cdm_sides *sides, unsigned long from);
void cdm_sides_find_to(struct cdm_sides *sides, unsigned long to);
struct cdm_memory *cdm_engine(struct cdm_sides *sides, unsigned long from,
			      unsigned long to);
bool cdm_memory_is_alive(struct cdm_memory *mem);
void cdm_sides_ask(struct cdm_sides *sides);
bool cdm_engine_wants(const struct cdm_memory *mem, unsigned long nr_pages);
int cdm_copy_large(struct folio *dst, struct folio *src);
int cdm_copy_by_engine(struct cdm_memory *mem,
		       const struct cdm_segment *segments, unsigned int nr);
void cdm_moved(struct cdm_sides *sides, unsigned long from, unsigned long to,
	       unsigned long nr_pages);
bool cdm_owner_permits(int nid, struct mm_struct *mm, unsigned long start,
		       unsigned long size, bool to_device);

/* cause.c */
int cdm_causes_add(struct cdm_memory *mem);
void cdm_causes_del(struct cdm_memory *mem);
struct cdm_memory *cdm_memory_of(unsigned long pfn);
struct cdm_memory *cdm_memory_on(int nid);
unsigned long cdm_memory_closed(int nid);
bool cdm_memory_set_lost(int nid, const struct device *owner);
void cdm_clean_pages(struct page *page, unsigned long nr_pages);
enum cdm_cause cdm_cause(unsigned long pfn);
enum cdm_cause cdm_move_cause(enum migrate_reason reason);

/* Pages that follow each other are mostly in the same sections. */
static inline void cdm_sides_find(struct cdm_sides *sides, unsigned long from,
				  unsigned long to)
{
	if (sides->from_section != pfn_to_section_nr(from))
		cdm_sides_find_from(sides, from);
	if (sides->to_section != pfn_to_section_nr(to))
		cdm_sides_find_to(sides, to);
}

/* Returns 0, or -EHWPOISON for what cannot be read. */
static inline int cdm_copy_by_cpu(struct folio *dst, struct folio *src)
{
	if (folio_test_large(src))
		return cdm_copy_large(dst, src);
	return copy_mc_highpage(&dst->page, &src->page) ? -EHWPOISON : 0;
}

/* Then a copy between the two is worth nothing. */
static inline bool cdm_is_lost(struct cdm_sides *sides, unsigned long from,
			       unsigned long to)
{
	cdm_sides_find(sides, from, to);
	return (sides->from && cdm_memory_is_lost(sides->from)) ||
	       (sides->to && cdm_memory_is_lost(sides->to));
}

/*
 * The same after something was copied there, perhaps by the CPU, to which garbage
 * looks like data. The mark may come late, so the owners are asked.
 */
static inline bool cdm_was_lost(struct cdm_sides *sides, unsigned long from,
				unsigned long to)
{
	cdm_sides_find(sides, from, to);
	if (!sides->asked)
		cdm_sides_ask(sides);
	return cdm_is_lost(sides, from, to);
}

void cdm_heat(unsigned long pfn, unsigned long nr_pages);
void cdm_cool(const struct cdm_memory *mem, unsigned long deadline);
bool cdm_is_cold(unsigned long pfn, unsigned long end_pfn);
void cdm_forget_cause(struct page *page, unsigned long nr_pages);
void cdm_note_evicted(unsigned long from, unsigned long nr_pages,
		      enum migrate_reason reason);
void cdm_note_placed(unsigned long to, unsigned long nr_pages,
		     enum migrate_reason reason);
void cdm_note_alloc(unsigned long pfn, unsigned long nr_pages, int nid,
		    enum cdm_cause cause);
void cdm_count_refusal(int nid, enum cdm_refusal refusal,
		       unsigned long nr_pages);

/* audit.c */
unsigned long cdm_nr_used(int nid);
ssize_t cdm_audit(int nid, char *buf);

/* account.c */
u64 cdm_memmap_size(u64 size);

/* sysfs.c */
int cdm_sysfs_add(int nid, struct device *owner);
void cdm_sysfs_unlink(int nid);
void cdm_sysfs_del(int nid);
void cdm_sysfs_forget(int nid);

/* book.c */
#ifdef CONFIG_NUMA_BALANCING
int cdm_book_add(int nid);
void cdm_book_resize(int nid);
void cdm_book_switch(int nid, bool off);
bool cdm_book_is_off(int nid);
void cdm_report_device(int nid, struct mm_struct *mm, unsigned long start,
		       unsigned int nr_pages, unsigned long nr,
		       const int *nodes);
#else
static inline int cdm_book_add(int nid)
{
	return 0;
}

static inline void cdm_book_resize(int nid)
{
}

static inline void cdm_book_switch(int nid, bool off)
{
}

static inline bool cdm_book_is_off(int nid)
{
	return true;
}

static inline void cdm_report_device(int nid, struct mm_struct *mm,
				     unsigned long start, unsigned int nr_pages,
				     unsigned long nr, const int *nodes)
{
}
#endif

#endif /* _MM_CDM_INTERNAL_H */
