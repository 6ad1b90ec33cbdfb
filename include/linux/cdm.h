/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coherent device memory: what the rest of the kernel sees of it.
 *
 * A device node is a NUMA node whose memory belongs to a device. It is in
 * N_COHERENT_DEVICE and never in N_MEMORY, and its zones stand in no ordinary
 * zonelist; see Documentation/mm/cdm/design.rst. This header is for the hooks,
 * not for drivers; do not include it from mm.h or mmzone.h.
 */
#ifndef _LINUX_CDM_H
#define _LINUX_CDM_H

#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/jump_label.h>
#include <linux/memory_hotplug.h>
#include <linux/mempolicy.h>
#include <linux/migrate_mode.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/sched/sysctl.h>
#include <linux/string.h>

struct alloc_context;
struct hstate;
struct inode;
struct oom_control;
struct seq_file;
struct vm_area_struct;
struct vm_fault;

#ifdef CONFIG_COHERENT_DEVICE

/* True while any node is registered as a device node. */
DECLARE_STATIC_KEY_FALSE(cdm_key);

extern nodemask_t cdm_nodes;
extern nodemask_t cdm_usable_nodes;
extern nodemask_t cdm_present_nodes;
extern nodemask_t cdm_granted_nodes;
extern nodemask_t cdm_weighted_nodes;
extern bool cdm_mems_changed;

struct zonelist *__cdm_zonelist(int nid, gfp_t gfp,
				const nodemask_t *nodemask);
bool __cdm_redirect(struct alloc_context *ac, gfp_t gfp, nodemask_t *nodemask);
struct page *__cdm_alloc_pages(gfp_t gfp, unsigned int order,
			       struct mempolicy *pol, pgoff_t ilx, int nid,
			       nodemask_t *nodemask);
struct page *__cdm_note_pages(struct page *page, unsigned int order,
			      const nodemask_t *nodemask);
struct zonelist *__cdm_ordinary_zonelist(struct zonelist *zonelist);
vm_fault_t __cdm_fault_error(vm_fault_t ret, struct vm_area_struct *vma,
			     unsigned long addr, unsigned int flags);
void __cdm_note_move(struct folio *src, struct folio *dst,
		     enum migrate_reason reason);
int __cdm_copy_folio(struct folio *dst, struct folio *src);
int __cdm_copy_error(struct page *from);
void __cdm_note_written(struct folio *folio);
void __cdm_note_failure(unsigned long pfn);
nodemask_t *__cdm_reserve_nodemask(const struct zonelist *zonelist,
				   nodemask_t *nodemask);
void __cdm_build_zonelists(void);
int __cdm_check_online(struct zone *zone);
bool __cdm_node_is_new(int nid);
nodemask_t *__cdm_policy_nodemask(struct mempolicy *pol, pgoff_t ilx, int *nid,
				  nodemask_t *nodemask);
nodemask_t *__cdm_thisnode_mask(int nid);
nodemask_t *__cdm_pool_mask(int nid);
int __cdm_pool_node(const struct hstate *h, struct vm_area_struct *vma,
		    unsigned long addr);
bool __cdm_no_reserve(const struct hstate *h, struct vm_area_struct *vma,
		      long from, long to);
int __cdm_policy_narrow(struct mempolicy *pol, const nodemask_t *asked);
bool __cdm_shmem_is_ours(struct inode *inode, pgoff_t index);
struct mempolicy *__cdm_task_policy(const struct vm_area_struct *vma);
void __cdm_policy_rebind(struct mempolicy *pol, const nodemask_t *nodes);
int __cdm_check_mbind(struct mm_struct *mm, unsigned long start,
		      unsigned long end, const struct mempolicy *pol,
		      unsigned long flags);
int __cdm_check_mems(const nodemask_t *mems);
void __cdm_fit_mems(nodemask_t *mems, const nodemask_t *allowed,
		    const nodemask_t *parent);
void __cdm_narrow_move(nodemask_t *from, nodemask_t *to);
bool __cdm_move_ahead(struct mm_struct *mm, const nodemask_t *allowed,
		      unsigned long nr_pages, const void __user *pages,
		      const int __user *nodes);
void __cdm_migrate_ahead(struct mm_struct *mm, int from, int to);
int cdm_eviction_node(int nid);
int __cdm_swappiness(int nid);
int __cdm_full_ram_node(int nid);
long __cdm_oom_points(struct task_struct *task, long points,
		      const struct oom_control *oc);
unsigned long __cdm_free_pages(void);
unsigned long __cdm_pool(const struct hstate *h);
unsigned long __cdm_free_pool(const struct hstate *h);
void __cdm_count_pools(unsigned long *count, const struct hstate *h);
unsigned long __cdm_file_pages(void);
unsigned long __cdm_node_pages(enum node_stat_item item);
long __cdm_cached_pages(void);
void cdm_show_meminfo(struct seq_file *m);
bool __cdm_hint_fault(struct folio *folio, struct vm_fault *vmf,
		      unsigned long addr);

extern int cdm_balancing_max;

/* All bits of kernel.numa_balancing. */
#define CDM_BALANCING_MAX	((void *)&cdm_balancing_max)

/* These are nothing if the feature is off. An entry of an initializer has a comma. */
#define CDM_IF(...)	__VA_ARGS__
#define CDM_ENTRY(...)	__VA_ARGS__,

/* The names of the events, in the order of enum vm_event_item. */
#define CDM_VMSTAT_TEXT							\
	"cdm_placed_policy", "cdm_placed_pool", "cdm_placed_move",	\
	"cdm_placed_driver", "cdm_placed_balance",			\
	"cdm_evicted_reclaim", "cdm_evicted_move",			\
	"cdm_evicted_driver", "cdm_evicted_balance",			\
	"cdm_evicted_hotplug", "cdm_evicted_pin",			\
	"cdm_evicted_failure", "cdm_evicted_recall",			\
	"cdm_evicted_other",						\
	"cdm_refused_full", "cdm_refused_closed", "cdm_refused_kernel",	\
	"cdm_refused_narrowed", "cdm_refused_cpuset",			\
	"cdm_refused_file", "cdm_refused_online",			\
	"cdm_hints_set", "cdm_hint_faults", "cdm_kept_shared",		\
	"cdm_kept_held", "cdm_kept_policy", "cdm_kept_veto",		\
	"cdm_kept_full", "cdm_kept_rate", "cdm_kept_busy"

static inline bool cdm_enabled(void)
{
	return static_branch_unlikely(&cdm_key);
}

/**
 * cdm_node - is this a device node?
 * @nid: node id; NUMA_NO_NODE is none
 *
 * True from before the first page of the node is onlined until after the last
 * one is gone, so there is no time at which its memory looks like RAM.
 *
 * Return: whether @nid is registered as a device node.
 */
static inline bool cdm_node(int nid)
{
	return cdm_enabled() && nid >= 0 && node_isset(nid, cdm_nodes);
}

/* Returns whether @nodemask holds device nodes only. */
static inline bool cdm_only(const nodemask_t *nodemask)
{
	return cdm_enabled() && nodemask &&
	       nodes_subset(*nodemask, cdm_nodes);
}

/* Returns whether @folio, of a tenant or somebody else, is on a device node. */
static inline bool cdm_folio(const struct folio *folio)
{
	return cdm_node(folio_nid(folio));
}

/* The node state that stands for "has memory": one or the other, never both. */
static inline enum node_states cdm_memory_state(int nid)
{
	return cdm_node(nid) ? N_COHERENT_DEVICE : N_MEMORY;
}

/* Nodes with memory that somebody may name: RAM and device nodes. */
static inline const nodemask_t *cdm_usable(void)
{
	return cdm_enabled() ? &cdm_usable_nodes : &node_states[N_MEMORY];
}

/*
 * Nodes with memory, including those that are closed: for statistics, and
 * for cpusets, which would forget a node that comes back.
 */
static inline const nodemask_t *cdm_present(void)
{
	return cdm_enabled() ? &cdm_present_nodes : &node_states[N_MEMORY];
}

/* The nodes a new policy may have; relative to others, none is named. */
static inline const nodemask_t *cdm_policy_mems(const struct mempolicy *pol)
{
	if (pol->flags & MPOL_F_RELATIVE_NODES)
		return &node_states[N_MEMORY];
	return cdm_usable();
}

/* Returns whether @pol, the task's or another, names a device node. */
static inline bool cdm_policy(const struct mempolicy *pol)
{
	return cdm_enabled() && (pol->flags & MPOL_F_DEVICE);
}

/*
 * The ordinary zonelist has nothing for @nodemask. If that names a device node,
 * point @ac to a list that leads there.
 */
static inline bool cdm_redirect(struct alloc_context *ac, gfp_t gfp,
				nodemask_t *nodemask)
{
	return cdm_enabled() && nodemask && __cdm_redirect(ac, gfp, nodemask);
}

/*
 * Keep record of pages of a device node; only a nodemask can have named it. NULL
 * if the node has been closed meanwhile: then they are free again.
 */
static inline struct page *cdm_note_pages(struct page *page, unsigned int order,
					  const nodemask_t *nodemask)
{
	if (cdm_enabled() && page)
		return __cdm_note_pages(page, order, nodemask);
	return page;
}

/*
 * The nodemask does not intersect cpuset.mems and is dropped: so must be a list that
 * leads to device nodes, or it would lead to those that nobody named.
 */
static inline struct zonelist *cdm_ordinary_zonelist(struct zonelist *zonelist)
{
	return cdm_enabled() ? __cdm_ordinary_zonelist(zonelist) : zonelist;
}

/*
 * The page fault handler tries again for ever when memory is short, as it counts on
 * the OOM killer, which is no help where a device is full: that ends with SIGBUS.
 */
static inline vm_fault_t cdm_fault_error(vm_fault_t ret,
					 struct vm_area_struct *vma,
					 unsigned long addr, unsigned int flags)
{
	if (cdm_enabled() && unlikely(ret & VM_FAULT_OOM))
		return __cdm_fault_error(ret, vma, addr, flags);
	return ret;
}

/* Tenants of @nid may be evicted to any RAM. False: it is no device node. */
static inline bool cdm_demotion_targets(int nid, nodemask_t *targets)
{
	if (!cdm_node(nid))
		return false;
	*targets = node_states[N_MEMORY];
	return true;
}

/*
 * The swappiness for pages of @nid that a memory cgroup (@memcg), or the machine, gives up.
 * The knob is about swap, and means nothing where pages are evicted to RAM.
 */
static inline int cdm_swappiness(int nid, bool memcg, int swappiness)
{
	return cdm_node(nid) && !memcg ? __cdm_swappiness(nid) : swappiness;
}

/* The RAM node to reclaim first, so that tenants of @nid can be evicted. */
static inline int cdm_full_ram_node(int nid)
{
	return cdm_node(nid) ? __cdm_full_ram_node(nid) : NUMA_NO_NODE;
}

/*
 * The zonelist for reclaim from a memory cgroup. Its limit holds for device nodes, too;
 * proactive reclaim leaves them alone.
 */
static inline struct zonelist *
cdm_memcg_zonelist(int nid, gfp_t gfp, bool proactive)
{
	if (cdm_enabled() && !proactive)
		return __cdm_zonelist(nid, gfp, &cdm_nodes);
	return node_zonelist(nid, gfp);
}

/* The points of @task for the OOM killer, less its memory on device nodes. */
static inline long cdm_oom_points(struct task_struct *task, long points,
				  const struct oom_control *oc)
{
	return cdm_enabled() ? __cdm_oom_points(task, points, oc) : points;
}

/* Keep record of a migration to, from or between device nodes. */
static inline void cdm_note_move(struct folio *src, struct folio *dst,
				 enum migrate_reason reason)
{
	if (cdm_folio(src) || cdm_folio(dst))
		__cdm_note_move(src, dst, reason);
}

/*
 * What move_pages() can leave to a faster way, to and from device nodes. Returns
 * whether anything has moved. Such a page is no reason to move what is queued.
 */
static inline bool cdm_move_ahead(struct mm_struct *mm,
				  const nodemask_t *allowed,
				  unsigned long nr_pages,
				  const void __user *pages,
				  const int __user *nodes)
{
	return cdm_enabled() &&
	       __cdm_move_ahead(mm, allowed, nr_pages, pages, nodes);
}

/* The same for migrate_pages(), and for a cpuset that changes. */
static inline void cdm_migrate_ahead(struct mm_struct *mm, int from, int to)
{
	if (cdm_node(from) || cdm_node(to))
		__cdm_migrate_ahead(mm, from, to);
}

/* Copy a folio that is to be migrated; the owner may have an engine for that. */
static inline int cdm_copy_folio(struct folio *dst, struct folio *src)
{
	if (cdm_folio(src) || cdm_folio(dst))
		return __cdm_copy_folio(dst, src);
	return folio_mc_copy(dst, src);
}

/*
 * Copy a page of a process for copy on write. As copy_mc_user_highpage(), which does
 * not notice that what it has read from a device that is gone is no data.
 */
static inline int cdm_copy_user_page(struct page *to, struct page *from,
				     unsigned long addr,
				     struct vm_area_struct *vma)
{
	int ret = copy_mc_user_highpage(to, from, addr, vma);

	if (!ret && cdm_node(page_to_nid(from)))
		ret = __cdm_copy_error(from);
	return ret;
}

/* A folio has been written to where it is kept: to swap, or to a file. */
static inline void cdm_note_written(struct folio *folio)
{
	if (cdm_folio(folio))
		__cdm_note_written(folio);
}

/* Tell the owner of a page that has failed, if nobody uses it any more. */
static inline void cdm_note_failure(unsigned long pfn, bool out_of_use)
{
	if (cdm_enabled() && out_of_use)
		__cdm_note_failure(pfn);
}

/* Returns whether the hint fault is of placement by use, and no reason to move. */
static inline bool cdm_hint_fault(struct folio *folio, struct vm_fault *vmf,
				  unsigned long addr)
{
	return cdm_enabled() && IS_ENABLED(CONFIG_NUMA_BALANCING) &&
	       __cdm_hint_fault(folio, vmf, addr);
}

/* Placement by use looks for itself; are there others to look for? */
static inline bool cdm_balancing_scans(int mode)
{
	return mode & ~NUMA_BALANCING_COHERENT;
}

/* An allocation to move @folio off a device node may fail, but not kill. */
static inline gfp_t cdm_evict_gfp(const struct folio *folio, gfp_t gfp)
{
	return cdm_folio(folio) ? gfp | __GFP_RETRY_MAYFAIL : gfp;
}

/* The zonelist to search for pages of @nodemask, which may name a device node. */
static inline struct zonelist *
cdm_zonelist(int nid, gfp_t gfp, const nodemask_t *nodemask)
{
	if (cdm_enabled() && nodemask)
		return __cdm_zonelist(nid, gfp, nodemask);
	return node_zonelist(nid, gfp);
}

/* High priority allocations ignore their nodemask, but not the fence. */
static inline nodemask_t *
cdm_reserve_nodemask(const struct zonelist *zonelist, nodemask_t *nodemask)
{
	if (cdm_enabled() && nodemask)
		return __cdm_reserve_nodemask(zonelist, nodemask);
	return NULL;
}

static inline void cdm_build_zonelists(void)
{
	if (cdm_enabled())
		__cdm_build_zonelists();
}

/*
 * The kernel keeps nothing back on a device node: tenants may use it to the last
 * page that the owner leaves them (in lowmem_reserve), and it adds nothing to the
 * reserves of RAM.
 */
static inline bool cdm_no_wmarks(struct zone *zone)
{
	if (!cdm_node(zone_to_nid(zone)))
		return false;
	memset(zone->_watermark, 0, sizeof(zone->_watermark));
	zone->watermark_boost = 0;
	return true;
}

/*
 * Nobody but its tenants uses a device node, so what they free is not kept for
 * others on long per-CPU lists, where it would look used.
 */
static inline int cdm_pcp_high(struct zone *zone, int high_min, int high_max)
{
	return cdm_node(zone_to_nid(zone)) ? high_min : high_max;
}

/* Device memory is never kernel memory: plain "online" means movable. */
static inline enum mmop cdm_online_type(int nid, enum mmop online_type)
{
	if (cdm_node(nid) && online_type == MMOP_ONLINE)
		return MMOP_ONLINE_MOVABLE;
	return online_type;
}

static inline int cdm_check_online(struct zone *zone)
{
	if (cdm_enabled())
		return __cdm_check_online(zone);
	return 0;
}

/*
 * Return true if the device node has come again, and sysfs does not say yet how far its
 * memory is and how fast.
 */
static inline bool cdm_node_is_new(int nid)
{
	return cdm_node(nid) && __cdm_node_is_new(nid);
}

/* The huge pages in the pools of device nodes, and those of them that are free. */
static inline unsigned long cdm_pool(const struct hstate *h)
{
	return cdm_enabled() ? __cdm_pool(h) : 0;
}

static inline unsigned long cdm_free_pool(const struct hstate *h)
{
	return cdm_enabled() ? __cdm_free_pool(h) : 0;
}

/*
 * Of @nr huge pages those in RAM, where reservations count. A device may have served
 * one that its page gives back, so it could be less than none.
 */
static inline unsigned long cdm_available(const struct hstate *h,
					  unsigned long nr)
{
	return nr - min(nr, cdm_free_pool(h));
}

/*
 * The size that is set for the pool of all RAM nodes is meant as a total: add what is
 * in the pools of device nodes.
 */
static inline void cdm_count_pools(unsigned long *count,
				   const nodemask_t *nodes,
				   const struct hstate *h)
{
	if (cdm_enabled() && nodes == &node_states[N_MEMORY])
		__cdm_count_pools(count, h);
}

/* The nodes to search for huge pages under @pol, from @nid on. */
static inline nodemask_t *
cdm_policy_nodemask(struct mempolicy *pol, pgoff_t ilx, int *nid,
		    nodemask_t *nodemask)
{
	if (cdm_policy(pol))
		return __cdm_policy_nodemask(pol, ilx, nid, nodemask);
	return nodemask;
}

/*
 * Reserved huge pages are pages of RAM. Others are for those who name a device: the
 * node that has one for this mapping, or NUMA_NO_NODE.
 */
static inline int cdm_pool_node(const struct hstate *h,
				struct vm_area_struct *vma, unsigned long addr)
{
	return cdm_enabled() ? __cdm_pool_node(h, vma, addr) : NUMA_NO_NODE;
}

/* The task is bound to a device: no RAM is kept back, unless RAM has enough. */
static inline bool cdm_no_reserve(const struct hstate *h,
				  struct vm_area_struct *vma, long from, long to)
{
	return cdm_enabled() && __cdm_no_reserve(h, vma, from, to);
}

/*
 * The policy for memory of @vma, if it has none of its own: that of the task, if the
 * mapping is its own, else that of the process that owns it. To be given back with
 * mpol_cond_put().
 */
static inline struct mempolicy *cdm_task_policy(const struct vm_area_struct *vma)
{
	if (cdm_enabled() &&
	    (vma->vm_mm != current->mm || (current->flags & PF_KTHREAD)))
		return __cdm_task_policy(vma);
	return get_task_policy(current);
}

/*
 * A task policy names a device for the page at @index of a shmem object only if the
 * process has mapped it, and if the object is no file on tmpfs, which is page cache.
 * Shared anonymous memory, SysV shm and memfd are on the kernel's own mount. So are the
 * kernel's own objects, but nobody maps those.
 */
static inline void cdm_shmem_policy(struct inode *inode, pgoff_t index,
				    const struct mempolicy *shared, pgoff_t *ilx)
{
	if (cdm_enabled() && !shared && current->mempolicy &&
	    !__cdm_shmem_is_ours(inode, index))
		*ilx = NO_INTERLEAVE_INDEX;
}

/* The nodemask for an allocation of @nid and no other node. */
static inline nodemask_t *cdm_thisnode_mask(int nid, nodemask_t *nodemask)
{
	if (cdm_node(nid) && !nodemask)
		return __cdm_thisnode_mask(nid);
	return nodemask;
}

/* The nodemask for the pages that @nid's own nr_hugepages asks for. */
static inline nodemask_t *cdm_pool_mask(int nid, nodemask_t *nodemask)
{
	return cdm_node(nid) ? __cdm_pool_mask(nid) : nodemask;
}

/*
 * To be called whenever the nodes of a policy have been set, of those that the
 * user @asked for. An error if none of them can be used.
 */
static inline int cdm_policy_narrow(struct mempolicy *pol,
				    const nodemask_t *asked)
{
	if (cdm_enabled() || (pol->flags & MPOL_F_DEVICE))
		return __cdm_policy_narrow(pol, asked);
	return 0;
}

/* The nodes where mbind() finds a page well placed. */
static inline nodemask_t *cdm_mbind_nodes(struct mempolicy *pol,
					  nodemask_t *asked)
{
	if (cdm_enabled() && pol && nodes_intersects(*asked, cdm_nodes))
		return &pol->nodes;
	return asked;
}

/* Would mbind() only pretend, because page cache does not follow policies? */
static inline int cdm_check_mbind(struct mm_struct *mm, unsigned long start,
				  unsigned long end,
				  const struct mempolicy *pol,
				  unsigned long flags)
{
	if (cdm_enabled() && pol && (pol->flags & MPOL_F_DEVICE))
		return __cdm_check_mbind(mm, start, end, pol, flags);
	return 0;
}

/* Device nodes have weight 0 until somebody writes one. */
static inline u8 cdm_weight(int nid, u8 weight)
{
	return cdm_node(nid) && !node_isset(nid, cdm_weighted_nodes) ?
	       0 : weight;
}

static inline void cdm_set_weight(int nid, u8 weight)
{
	__assign_bit(nid, cdm_weighted_nodes.bits, weight);
}

/* Rebind without folding onto a device; false: there is no device node. */
static inline bool cdm_policy_rebind(struct mempolicy *pol,
				     const nodemask_t *nodes)
{
	if (!cdm_enabled())
		return false;
	__cdm_policy_rebind(pol, nodes);
	return true;
}

/* Returns 0 if @mems may be the memory nodes of a cpuset. */
static inline int cdm_check_mems(const nodemask_t *mems)
{
	return cdm_enabled() ? __cdm_check_mems(mems) : 0;
}

/*
 * The nodes that a cpuset which is given @allowed takes over from its @parent: no device
 * node to which access is granted explicitly only, and if it is left without RAM, no
 * device node at all. A cpuset of cgroup v1 (not @v2) takes nothing over.
 */
static inline void cdm_fit_mems(bool v2, nodemask_t *mems,
				const nodemask_t *allowed,
				const nodemask_t *parent)
{
	if (cdm_enabled() && v2)
		__cdm_fit_mems(mems, allowed, parent);
	else if (cdm_only(mems))
		nodes_clear(*mems);
}

/* Returns whether the masks of tasks have to be computed anew. */
static inline bool cdm_mems_update(void)
{
	return cdm_enabled() && xchg(&cdm_mems_changed, false);
}

/* A cpuset whose nodes change moves RAM to RAM, never to a device. */
static inline void cdm_narrow_move(nodemask_t *from, nodemask_t *to)
{
	if (cdm_enabled())
		__cdm_narrow_move(from, to);
}

/*
 * Leave device memory out of what was read from global statistics. By reference:
 * with the feature off, not even the order of sums changes. The statistics move
 * on between two reads, hence min().
 */
static inline void cdm_exclude_free(unsigned long *nr_pages)
{
	if (cdm_enabled())
		*nr_pages -= min(*nr_pages, __cdm_free_pages());
}

static inline void cdm_exclude_file(unsigned long *nr_pages)
{
	if (cdm_enabled())
		*nr_pages -= min(*nr_pages, __cdm_file_pages());
}

static inline void cdm_exclude_shmem(unsigned long *nr_pages)
{
	if (cdm_enabled())
		*nr_pages -= min(*nr_pages, __cdm_node_pages(NR_SHMEM));
}

static inline void cdm_exclude_cached(long *nr_pages)
{
	if (cdm_enabled())
		*nr_pages -= __cdm_cached_pages();
}

static inline void cdm_exclude_available(long *nr_pages)
{
	if (cdm_enabled())
		*nr_pages -= __cdm_free_pages() + __cdm_file_pages();
}

#else /* !CONFIG_COHERENT_DEVICE */

#define CDM_IF(...)
#define CDM_ENTRY(...)
#define CDM_VMSTAT_TEXT

static inline bool cdm_enabled(void)
{
	return false;
}

static inline bool cdm_node(int nid)
{
	return false;
}

static inline bool cdm_folio(const struct folio *folio)
{
	return false;
}

static inline enum node_states cdm_memory_state(int nid)
{
	return N_MEMORY;
}

static inline const nodemask_t *cdm_usable(void)
{
	return &node_states[N_MEMORY];
}

/* An inline function here changes the order in which GCC emits others. */
#define cdm_present()	((const nodemask_t *)&node_states[N_MEMORY])

static inline const nodemask_t *cdm_policy_mems(const struct mempolicy *pol)
{
	return &node_states[N_MEMORY];
}

static inline bool cdm_policy(const struct mempolicy *pol)
{
	return false;
}

static inline bool cdm_redirect(struct alloc_context *ac, gfp_t gfp,
				nodemask_t *nodemask)
{
	return false;
}

static inline struct page *__cdm_alloc_pages(gfp_t gfp, unsigned int order,
					     struct mempolicy *pol, pgoff_t ilx,
					     int nid, nodemask_t *nodemask)
{
	return NULL;
}

static inline struct page *cdm_note_pages(struct page *page, unsigned int order,
					  const nodemask_t *nodemask)
{
	return page;
}

static inline struct zonelist *cdm_ordinary_zonelist(struct zonelist *zonelist)
{
	return zonelist;
}

static inline vm_fault_t cdm_fault_error(vm_fault_t ret,
					 struct vm_area_struct *vma,
					 unsigned long addr, unsigned int flags)
{
	return ret;
}

#define cdm_memcg_zonelist(nid, gfp, proactive)	\
	((void)(proactive), node_zonelist(nid, gfp))
#define cdm_oom_points(task, points, oc)	((void)(task), (void)(oc), (points))

static inline void cdm_note_move(struct folio *src, struct folio *dst,
				 enum migrate_reason reason)
{
}

#define CDM_BALANCING_MAX		SYSCTL_FOUR
#define cdm_balancing_scans(mode)	(mode)

static inline bool cdm_hint_fault(struct folio *folio, struct vm_fault *vmf,
				  unsigned long addr)
{
	return false;
}

/* A macro: an inline function changes the order in which GCC emits others. */
#define cdm_copy_folio(dst, src)	folio_mc_copy(dst, src)
#define cdm_copy_user_page(to, from, addr, vma)	\
	copy_mc_user_highpage(to, from, addr, vma)

static inline void cdm_note_written(struct folio *folio)
{
}

static inline void cdm_note_failure(unsigned long pfn, bool out_of_use)
{
}

static inline gfp_t cdm_evict_gfp(const struct folio *folio, gfp_t gfp)
{
	return gfp;
}

static inline struct zonelist *
cdm_zonelist(int nid, gfp_t gfp, const nodemask_t *nodemask)
{
	return node_zonelist(nid, gfp);
}

static inline nodemask_t *
cdm_reserve_nodemask(const struct zonelist *zonelist, nodemask_t *nodemask)
{
	return NULL;
}

static inline void cdm_build_zonelists(void)
{
}

static inline bool cdm_no_wmarks(struct zone *zone)
{
	return false;
}

static inline int cdm_pcp_high(struct zone *zone, int high_min, int high_max)
{
	return high_max;
}

static inline enum mmop cdm_online_type(int nid, enum mmop online_type)
{
	return online_type;
}

static inline int cdm_check_online(struct zone *zone)
{
	return 0;
}

static inline bool cdm_node_is_new(int nid)
{
	return false;
}

static inline nodemask_t *
cdm_policy_nodemask(struct mempolicy *pol, pgoff_t ilx, int *nid,
		    nodemask_t *nodemask)
{
	return nodemask;
}

static inline unsigned long cdm_pool(const struct hstate *h)
{
	return 0;
}

static inline unsigned long cdm_free_pool(const struct hstate *h)
{
	return 0;
}

static inline unsigned long cdm_available(const struct hstate *h,
					  unsigned long nr)
{
	return nr;
}

static inline int cdm_pool_node(const struct hstate *h,
				struct vm_area_struct *vma, unsigned long addr)
{
	return NUMA_NO_NODE;
}

static inline bool cdm_no_reserve(const struct hstate *h,
				  struct vm_area_struct *vma, long from, long to)
{
	return false;
}

/* A macro, as is cdm_memcg_zonelist(): see cdm_copy_folio(). */
#define cdm_task_policy(vma)		((void)(vma), get_task_policy(current))

static inline void cdm_shmem_policy(struct inode *inode, pgoff_t index,
				    const struct mempolicy *shared, pgoff_t *ilx)
{
}

static inline nodemask_t *cdm_thisnode_mask(int nid, nodemask_t *nodemask)
{
	return nodemask;
}

static inline nodemask_t *cdm_pool_mask(int nid, nodemask_t *nodemask)
{
	return nodemask;
}

static inline void cdm_count_pools(unsigned long *count,
				   const nodemask_t *nodes,
				   const struct hstate *h)
{
}

static inline int cdm_policy_narrow(struct mempolicy *pol,
				    const nodemask_t *asked)
{
	return 0;
}

static inline nodemask_t *cdm_mbind_nodes(struct mempolicy *pol,
					  nodemask_t *asked)
{
	return asked;
}

static inline int cdm_check_mbind(struct mm_struct *mm, unsigned long start,
				  unsigned long end,
				  const struct mempolicy *pol,
				  unsigned long flags)
{
	return 0;
}

static inline u8 cdm_weight(int nid, u8 weight)
{
	return weight;
}

static inline void cdm_set_weight(int nid, u8 weight)
{
}

static inline bool cdm_policy_rebind(struct mempolicy *pol,
				     const nodemask_t *nodes)
{
	return false;
}

static inline int cdm_check_mems(const nodemask_t *mems)
{
	return 0;
}

/* A macro: GCC would keep some of what it takes to ask for @v2. */
#define cdm_fit_mems(v2, mems, allowed, parent)	\
	((void)sizeof(v2), (void)(mems), (void)(allowed), (void)(parent))

static inline bool cdm_mems_update(void)
{
	return false;
}

static inline void cdm_narrow_move(nodemask_t *from, nodemask_t *to)
{
}

static inline bool cdm_move_ahead(struct mm_struct *mm,
				  const nodemask_t *allowed,
				  unsigned long nr_pages,
				  const void __user *pages,
				  const int __user *nodes)
{
	return false;
}

static inline void cdm_migrate_ahead(struct mm_struct *mm, int from, int to)
{
}

static inline bool cdm_only(const nodemask_t *nodemask)
{
	return false;
}

static inline int cdm_eviction_node(int nid)
{
	return NUMA_NO_NODE;
}

static inline bool cdm_demotion_targets(int nid, nodemask_t *targets)
{
	return false;
}

#define cdm_swappiness(nid, memcg, swappiness)	\
	((void)(nid), (void)(memcg), (swappiness))

static inline int cdm_full_ram_node(int nid)
{
	return NUMA_NO_NODE;
}

static inline void cdm_exclude_free(unsigned long *nr_pages)
{
}

static inline void cdm_exclude_file(unsigned long *nr_pages)
{
}

static inline void cdm_exclude_shmem(unsigned long *nr_pages)
{
}

static inline void cdm_exclude_cached(long *nr_pages)
{
}

static inline void cdm_exclude_available(long *nr_pages)
{
}

static inline void cdm_show_meminfo(struct seq_file *m)
{
}

#endif /* CONFIG_COHERENT_DEVICE */

#endif /* _LINUX_CDM_H */
