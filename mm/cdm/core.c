// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: registration. See Documentation/mm/cdm/design.rst.
 *
 * A range becomes a device node's memory in this order: checked, claimed, node
 * fenced, added, onlined. So there is no time at which its pages can be
 * allocated and the fence does not stand; removal goes the other way round.
 */
#define pr_fmt(fmt) "cdm: " fmt

#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/export.h>
#include <linux/ioport.h>
#include <linux/jiffies.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/notifier.h>
#include <linux/numa.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/suspend.h>
#include <linux/workqueue.h>

#include <trace/events/cdm.h>

#include "internal.h"

/* The format is prescribed by add_memory_driver_managed(). */
#define CDM_RESOURCE_NAME	"System RAM (cdm)"

#define CDM_REMOVE_PAUSE	10	/* ms, when a page was in use after all */

/* Attempts to remove what a driver has left behind: ms to the next, first and last. */
#define CDM_RETRY_MIN		100
#define CDM_RETRY_MAX		10000

/*
 * Protects the list, and with it which nodes are device nodes. It is not held while
 * tenants leave, which depends on the owner of the range.
 */
static DEFINE_MUTEX(cdm_lock);
static LIST_HEAD(cdm_memories);

/* For ranges that their drivers have left behind. */
static struct workqueue_struct *cdm_wq;

/* An owner that has nothing to say, or has left. */
static const struct cdm_ops cdm_no_ops;

/* From PM_HIBERNATION_PREPARE to PM_POST_HIBERNATION; written under cdm_lock. */
static bool cdm_hibernating;

/*
 * The reasons for @nid to be closed, bits of enum cdm_closed. A node is open if there is
 * none, and nobody decides that in any other way.
 */
unsigned long cdm_why_closed(int nid)
{
	unsigned long why = cdm_memory_closed(nid);

	if (READ_ONCE(cdm_hibernating) && node_isset(nid, cdm_nodes))
		why |= BIT(CDM_CLOSED_HIBERNATION);
	return why;
}

static bool cdm_node_in_use(int nid)
{
	struct cdm_memory *mem;

	lockdep_assert_held(&cdm_lock);
	list_for_each_entry(mem, &cdm_memories, list) {
		if (mem->nid == nid)
			return true;
	}
	return false;
}

/* Compare @new to a range that is registered. Returns 0 or an errno. */
static int cdm_compare(const struct range *old, const struct range *new)
{
	if (old->start == new->start && old->end == new->end)
		return -EALREADY;
	if (old->start <= new->end && new->start <= old->end)
		return -EEXIST;
	return 0;
}

static int cdm_refuse_detached(const struct cdm_memory *mem,
			       const struct range *range)
{
	pr_err("%#llx-%#llx: refused, the last driver of node %d has left %#llx-%#llx behind: it goes when nobody holds its pages\n",
	       range->start, range->end, mem->nid, mem->range.start,
	       mem->range.end);
	return -EINPROGRESS;
}

static int cdm_check_registered(const struct range *range)
{
	struct cdm_memory *mem;
	int ret;

	lockdep_assert_held(&cdm_lock);
	list_for_each_entry(mem, &cdm_memories, list) {
		ret = cdm_compare(&mem->range, range);
		if (ret && cdm_memory_is_detached(mem))
			return cdm_refuse_detached(mem, range);
		if (ret) {
			pr_err("%#llx-%#llx: refused, %#llx-%#llx is registered for node %d: unregister that first\n",
			       range->start, range->end, mem->range.start,
			       mem->range.end, mem->nid);
			return ret;
		}
	}
	return 0;
}

/* The ranges of a node have one owner: its allocations may come from any. */
static int cdm_check_owner(const struct cdm_memory *new)
{
	struct cdm_memory *mem;

	lockdep_assert_held(&cdm_lock);
	list_for_each_entry(mem, &cdm_memories, list) {
		if (mem->nid == new->nid && cdm_memory_is_detached(mem))
			return cdm_refuse_detached(mem, &new->range);
		if (mem->nid == new->nid && mem->owner != new->owner) {
			pr_err("%#llx-%#llx: refused, node %d belongs to %s\n",
			       new->range.start, new->range.end, new->nid,
			       dev_name(mem->owner));
			return -EPERM;
		}
	}
	return 0;
}

/* Returns 0 if memory hotplug can handle the numbers of @range. */
static int cdm_check_numbers(const struct range *range, u64 block_size,
			     const struct range *pluggable)
{
	if (range->start > range->end || range->start < pluggable->start ||
	    range->end > pluggable->end)
		return -ERANGE;
	if (!IS_ALIGNED(range->start, block_size) ||
	    !IS_ALIGNED(range_len(range), block_size))
		return -EINVAL;
	return 0;
}

static int cdm_check_address(const struct range *range)
{
	struct range pluggable = mhp_get_pluggable_range(true);
	u64 block_size = memory_block_size_bytes();
	int ret;

	ret = cdm_check_numbers(range, block_size, &pluggable);
	if (ret == -ERANGE)
		pr_err("%#llx-%#llx: refused, not within the addressable memory %#llx-%#llx\n",
		       range->start, range->end, pluggable.start,
		       pluggable.end);
	else if (ret)
		pr_err("%#llx-%#llx: refused, align it to memory blocks of %#llx bytes\n",
		       range->start, range->end, block_size);
	return ret;
}

static int cdm_check_kind(const struct range *range, unsigned int flags)
{
	if (flags & CDM_COHERENT_BAR)
		return 0;
	if (region_intersects(range->start, range_len(range), IORESOURCE_MEM,
			      IORES_DESC_SOFT_RESERVED) == REGION_INTERSECTS)
		return 0;
	pr_err("%#llx-%#llx: refused, no special purpose memory: firmware must mark it EFI_MEMORY_SP (Soft Reserved in /proc/iomem)\n",
	       range->start, range->end);
	return -ENXIO;
}

/* The node of @range, @nid if that is given; or a negative errno. */
static int cdm_find_nid(const struct range *range, int nid)
{
	if (nid == NUMA_NO_NODE)
		nid = phys_to_target_node(range->start);
	if (nid < 0 || nid >= MAX_NUMNODES || !node_possible(nid)) {
		pr_err("%#llx-%#llx: refused, no proximity domain: firmware must describe it in SRAT\n",
		       range->start, range->end);
		return -ENODEV;
	}
	if (node_state(nid, N_MEMORY)) {
		pr_err("%#llx-%#llx: refused, node %d has RAM: device memory needs a node of its own\n",
		       range->start, range->end, nid);
		return -ENOTEMPTY;
	}
	return nid;
}

/*
 * Claim the range. The claim is not busy, so that the memory resource fits
 * into it.
 */
static int cdm_claim(struct cdm_memory *mem)
{
	mem->res = request_mem_region(mem->range.start, range_len(&mem->range),
				      dev_name(mem->owner));
	if (!mem->res) {
		pr_err("%#llx-%#llx: refused, claimed in /proc/iomem: unbind the driver that has it\n",
		       mem->range.start, mem->range.end);
		return -EBUSY;
	}
	mem->res->flags = IORESOURCE_SYSTEM_RAM;
	return 0;
}

static void cdm_unclaim(struct cdm_memory *mem)
{
	remove_resource(mem->res);
	kfree(mem->res);
}

static int cdm_online_block(struct memory_block *block, void *arg)
{
	int ret;

	/* With auto_online_blocks it may be online already. */
	if (block->state == MEM_ONLINE)
		return 0;
	block->online_type = MMOP_ONLINE_MOVABLE;
	ret = device_online(&block->dev);
	return ret < 0 ? ret : 0;
}

static int cdm_online(struct cdm_memory *mem)
{
	int ret;

	lock_device_hotplug();
	ret = walk_memory_blocks(mem->range.start, range_len(&mem->range),
				 NULL, cdm_online_block);
	unlock_device_hotplug();
	return ret;
}

static void cdm_warn_partly(const struct cdm_memory *mem, int ret)
{
	pr_warn("%#llx-%#llx: only partly online on node %d, error %d, and does not go offline: unregister it later\n",
		mem->range.start, mem->range.end, mem->nid, ret);
}

/*
 * Add the memory to its node, which is fenced already, and online it; @first:
 * the node has none so far. What is online may have tenants, so if it does not
 * come online in full and does not go again either, it stays as it is, fenced,
 * for the owner to unregister.
 */
static int cdm_add_memory(struct cdm_memory *mem, bool first,
			  unsigned int flags)
{
	u64 start = mem->range.start, size = range_len(&mem->range);
	mhp_t mhp_flags = MHP_NID_IS_MGID;
	int ret;

	if (flags & CDM_MEMMAP_ON_DEVICE)
		mhp_flags |= MHP_MEMMAP_ON_MEMORY;

	ret = cdm_causes_add(mem);
	if (ret)
		return ret;

	ret = memory_group_register_static(mem->nid, PFN_UP(size));
	if (ret < 0)
		goto err_causes;
	mem->mgid = ret;

	ret = add_memory_driver_managed(mem->mgid, start, size,
					CDM_RESOURCE_NAME, mhp_flags);
	if (ret)
		goto err_group;

	if (first)
		ret = cdm_sysfs_add(mem->nid, mem->owner);
	if (!ret)
		ret = cdm_online(mem);
	cdm_book_resize(mem->nid);
	if (!ret)
		return 0;

	if (first)
		cdm_sysfs_del(mem->nid);
	if (offline_and_remove_memory(start, size)) {
		cdm_warn_partly(mem, ret);
		return 0;
	}
	if (!node_online(mem->nid))
		cdm_sysfs_forget(mem->nid);
err_group:
	memory_group_unregister(mem->mgid);
err_causes:
	cdm_causes_del(mem);
	return ret;
}

/* Fence the node unless it is, then give it memory. */
static int cdm_populate(struct cdm_memory *mem, unsigned int flags)
{
	bool first = !cdm_node_in_use(mem->nid);
	bool fence = !cdm_node(mem->nid);
	int ret = 0;

	if (fence)
		ret = cdm_node_add(mem->nid);
	if (ret)
		goto err;
	ret = cdm_add_memory(mem, first, flags);
	if (!ret)
		return 0;

	if (fence)
		cdm_node_del(mem->nid);
err:
	pr_err("%#llx-%#llx: cannot be brought online on node %d: error %d\n",
	       mem->range.start, mem->range.end, mem->nid, ret);
	return ret;
}

static void cdm_retry_work(struct work_struct *work);

static struct cdm_memory *cdm_memory_alloc(struct device *owner)
{
	struct cdm_memory *mem;

	mem = kzalloc(sizeof(*mem), GFP_KERNEL);
	if (!mem)
		return NULL;
	if (init_srcu_struct(&mem->srcu)) {
		kfree(mem);
		return NULL;
	}
	mutex_init(&mem->lock);
	mutex_init(&mem->reserve_lock);
	INIT_DELAYED_WORK(&mem->retry, cdm_retry_work);
	mem->owner = get_device(owner);
	return mem;
}

/*
 * Nobody finds the range any more. Ops of its owner that are under way are waited
 * for, with no lock that others want.
 */
static void cdm_memory_free(struct cdm_memory *mem)
{
	synchronize_srcu(&mem->srcu);
	cleanup_srcu_struct(&mem->srcu);
	kvfree(mem->causes);
	put_device(mem->owner);
	kfree(mem);
}

static int cdm_register(struct cdm_memory *mem, unsigned int flags)
{
	int ret;

	lockdep_assert_held(&cdm_lock);
	ret = cdm_check_address(&mem->range);
	if (ret)
		return ret;
	ret = cdm_check_registered(&mem->range);
	if (ret)
		return ret;
	ret = cdm_check_kind(&mem->range, flags);
	if (ret)
		return ret;
	ret = cdm_find_nid(&mem->range, mem->nid);
	if (ret < 0)
		return ret;
	mem->nid = ret;
	ret = cdm_check_owner(mem);
	if (ret)
		return ret;

	ret = cdm_claim(mem);
	if (ret)
		return ret;
	ret = cdm_populate(mem, flags);
	if (ret) {
		cdm_unclaim(mem);
		return ret;
	}
	list_add_tail(&mem->list, &cdm_memories);
	return 0;
}

/**
 * cdm_register_memory - bring device memory online as a device node
 * @owner: the device the memory belongs to; the node's sysfs link points there
 * @range: physical addresses (inclusive), aligned to memory blocks: special
 *	purpose memory, or any other that is not RAM with %CDM_COHERENT_BAR
 * @nid: the node; NUMA_NO_NODE for the one firmware names in SRAT (proximity
 *	domain)
 * @flags: enum cdm_register_flags
 * @ops: what the owner can do and wants to know; or NULL
 * @data: handed to @ops
 *
 * When this returns, the node is online, in N_COHERENT_DEVICE and in the
 * Mems_allowed of every task whose cpuset does not say otherwise. There is no
 * time at which its memory is allocatable and not fenced. All of it is in
 * ZONE_MOVABLE. Several ranges may have the same node, if they have the same
 * owner.
 *
 * Context: process context, may sleep. The caller must hold no lock that is
 * taken under the memory hotplug lock.
 * Return: a handle for cdm_unregister_memory(); with a warning if some memory
 * blocks could not be brought online and others not be taken back. Or an
 * ERR_PTR(), with one line in the log (but for %-ENOMEM) and nothing changed:
 * %-EINVAL not aligned or bad @flags, %-ERANGE not addressable, %-EALREADY
 * registered before, %-EEXIST overlaps with a registered range, %-ENXIO not
 * special purpose memory, %-ENODEV no proximity domain, %-ENOTEMPTY the node has
 * RAM, %-EPERM the node is another owner's, %-EINPROGRESS a driver has left the
 * memory, or other memory of the node, behind: see cdm_leave_memory(), %-EBUSY
 * claimed by another driver,
 * %-EOPNOTSUPP for %CDM_MEMMAP_ON_DEVICE where the kernel runs without
 * memory_hotplug.memmap_on_memory=1, %-ENOMEM.
 */
struct cdm_memory *cdm_register_memory(struct device *owner,
				       const struct range *range, int nid,
				       unsigned int flags,
				       const struct cdm_ops *ops, void *data)
{
	struct cdm_memory *mem;
	u64 size = range_len(range);
	int ret;

	if (flags & ~(CDM_MEMMAP_ON_DEVICE | CDM_COHERENT_BAR)) {
		pr_err("%#llx-%#llx: refused, unknown flags %#x\n",
		       range->start, range->end, flags);
		return ERR_PTR(-EINVAL);
	}
	if ((flags & CDM_MEMMAP_ON_DEVICE) && !mhp_supports_memmap_on_memory()) {
		pr_err("%#llx-%#llx: refused, a memmap on the device needs memory_hotplug.memmap_on_memory=1\n",
		       range->start, range->end);
		return ERR_PTR(-EOPNOTSUPP);
	}

	mem = cdm_memory_alloc(owner);
	if (!mem)
		return ERR_PTR(-ENOMEM);
	mem->range = *range;
	mem->nid = nid;
	mem->ops = ops ?: &cdm_no_ops;
	mem->data = data;

	mutex_lock(&cdm_lock);
	ret = cdm_register(mem, flags);
	mutex_unlock(&cdm_lock);
	if (ret) {
		cdm_memory_free(mem);
		return ERR_PTR(ret);
	}
	pr_info("%#llx-%#llx: %llu MiB of %s are device node %d; memmap %llu MiB (%llu MiB per GiB) %s\n",
		range->start, range->end, size >> 20, dev_name(owner),
		mem->nid, cdm_memmap_size(size) >> 20,
		cdm_memmap_size(SZ_1G) >> 20,
		flags & CDM_MEMMAP_ON_DEVICE ? "on the device" : "in RAM");
	return mem;
}
EXPORT_SYMBOL_GPL(cdm_register_memory);

/* Link the node to the owner of its first range that is left, if any. */
static void cdm_relink(int nid)
{
	struct cdm_memory *mem;

	lockdep_assert_held(&cdm_lock);
	cdm_sysfs_del(nid);
	list_for_each_entry(mem, &cdm_memories, list) {
		if (mem->nid != nid)
			continue;
		if (cdm_sysfs_add(nid, cdm_memory_is_detached(mem) ? NULL :
								     mem->owner))
			pr_warn("node %d: no link to %s, no files\n", nid,
				dev_name(mem->owner));
		return;
	}
}

/* The memory is gone; and with the last of it, the node. */
static void cdm_memory_release(struct cdm_memory *mem)
{
	lockdep_assert_held(&cdm_lock);
	memory_group_unregister(mem->mgid);
	if (!node_online(mem->nid))
		cdm_sysfs_forget(mem->nid);
	cdm_book_resize(mem->nid);
	cdm_owner_leave(mem);
	cdm_causes_del(mem);
	cdm_unclaim(mem);
	/* Memory that another driver has added keeps the node fenced. */
	if (cdm_node_in_use(mem->nid) ||
	    node_state(mem->nid, N_COHERENT_DEVICE))
		cdm_nodes_sync();
	else
		cdm_node_del(mem->nid);
}

/*
 * Take a range offline that is empty, and whose node is closed. Returns 0; -EBUSY if a
 * page is in use after all; or another error of memory offlining.
 */
static int cdm_remove(struct cdm_memory *mem)
{
	int ret;

	lockdep_assert_held(&mem->lock);
	mutex_lock(&cdm_lock);
	list_del(&mem->list);
	cdm_relink(mem->nid);
	WRITE_ONCE(mem->removing, true);
	ret = offline_and_remove_memory(mem->range.start,
					range_len(&mem->range));
	if (ret) {
		WRITE_ONCE(mem->removing, false);
		list_add_tail(&mem->list, &cdm_memories);
		cdm_relink(mem->nid);
	} else {
		cdm_memory_release(mem);
	}
	mutex_unlock(&cdm_lock);
	return ret;
}

/* The node is closed because of @mem, for one more reason or one less. */
static void cdm_set_closed(struct cdm_memory *mem, enum cdm_closed reason,
			   bool closed)
{
	lockdep_assert_held(&mem->lock);
	assign_bit(reason, &mem->closed, closed);
	cdm_nodes_sync();
}

/*
 * Empty a range whose node is closed, and take it offline, until @deadline (jiffies).
 * What is found empty stays empty, but for a page that nobody could take a reference on
 * when it was looked at: being split, or allocated when the node was closed.
 */
static int cdm_empty(struct cdm_memory *mem, unsigned long deadline,
		     struct cdm_evacuation *evac)
{
	int ret;

	for (;;) {
		ret = cdm_evacuate(mem, deadline, evac) ?: cdm_remove(mem);
		if (ret != -EBUSY || time_after_eq(jiffies, deadline))
			return ret;
		msleep(CDM_REMOVE_PAUSE);
	}
}

static int cdm_unregister(struct cdm_memory *mem, unsigned long deadline,
			  struct cdm_evacuation *evac)
{
	int ret;

	lockdep_assert_held(&mem->lock);
	evac->nr_owner = atomic_long_read(&mem->nr_owned);
	if (evac->nr_owner)
		return -EBUSY;

	cdm_set_closed(mem, CDM_CLOSED_UNREGISTERING, true);
	ret = cdm_empty(mem, deadline, evac);
	if (ret)
		cdm_set_closed(mem, CDM_CLOSED_UNREGISTERING, false);
	return ret;
}

/**
 * cdm_unregister_memory - send all tenants home and take device memory offline
 * @mem: from cdm_register_memory(); freed on success
 * @deadline_ms: milliseconds that tenants are given to leave
 * @evac: NULL, or where to report what moved and what is left, and why
 *
 * No new tenant comes in while this runs; policies that name only this node
 * act as the default policy. Contents and mappings of tenants are preserved.
 *
 * Context: process context, may sleep. A suspend or loss of @mem that is under way is
 * waited for first, until a signal comes; then beyond the deadline only for the
 * pageblock at hand, for offlining, which finds the memory empty or fails, and for ops
 * of the owner that are under way. Holds up nobody else meanwhile but for offlining. As
 * it frees @mem, no other call for it may be under way that could outlast it.
 * Return: 0; or with the node as usable as before, and @mem still valid: %-EBUSY
 * if tenants are left at the deadline or the owner has not freed all it has
 * allocated, %-EINTR on a signal, %-ENODEV if the memory is lost (which
 * cdm_lose_memory() is for), or the error of memory offlining.
 */
int cdm_unregister_memory(struct cdm_memory *mem, unsigned int deadline_ms,
			  struct cdm_evacuation *evac)
{
	struct cdm_evacuation local = { };
	struct range range = mem->range;
	int ret, nid = mem->nid;

	if (mutex_lock_interruptible(&mem->lock))
		return -EINTR;
	ret = cdm_unregister(mem, jiffies + msecs_to_jiffies(deadline_ms),
			     &local);
	mutex_unlock(&mem->lock);

	if (evac)
		*evac = local;
	if (ret) {
		pr_warn("%#llx-%#llx: stays on node %d, error %d: %lu pages moved; left: %lu pinned, %lu without RAM, %lu busy, %lu of the owner\n",
			range.start, range.end, nid, ret, local.nr_moved,
			local.nr_pinned, local.nr_no_ram, local.nr_busy,
			local.nr_owner);
		return ret;
	}

	pr_info("%#llx-%#llx: left node %d, %lu pages moved to RAM\n",
		range.start, range.end, nid, local.nr_moved);
	cdm_memory_free(mem);
	return 0;
}
EXPORT_SYMBOL_GPL(cdm_unregister_memory);

/**
 * cdm_mark_lost - the device or the link to it is lost: from now on, not later
 * @owner: the device, as in cdm_register_memory()
 *
 * The first thing to do when that is found out, and all that can be done at once, for
 * all memory that the device has registered. When this returns, nothing more is
 * copied from there or to there, and what was being copied does not count; nothing is
 * allocated there; and whoever waits for its tenants to leave, in
 * cdm_unregister_memory(), cdm_suspend_memory(), cdm_recall() or cdm_set_reserve(),
 * is about to return with %-ENODEV. There is no way back: the rest is for
 * cdm_lose_memory() or cdm_leave_memory() to do. Memory that is registered later is not lost.
 *
 * Context: any, even NMI; takes no lock. The caller has a reference on @owner.
 */
void cdm_mark_lost(struct device *owner)
{
	int nid;

	/* A node that is left meanwhile does not come back before this is over. */
	guard(rcu)();
	for_each_node_mask(nid, cdm_nodes) {
		if (!cdm_memory_set_lost(nid, owner))
			continue;
		cdm_node_shut(nid);
		pr_err("node %d: closed, %s is lost\n", nid, dev_name(owner));
	}
}
EXPORT_SYMBOL_GPL(cdm_mark_lost);

static void cdm_warn_lost(const struct cdm_memory *mem,
			  const struct cdm_loss *loss, int ret)
{
	pr_warn("%#llx-%#llx: lost with node %d: %lu pages, %lu others are on a disk, %lu still held, error %d\n",
		mem->range.start, mem->range.end, mem->nid, loss->nr_lost,
		loss->nr_saved, loss->nr_left, ret);
}

static int cdm_lose(struct cdm_memory *mem, struct cdm_loss *loss)
{
	lockdep_assert_held(&mem->lock);
	cdm_nodes_sync();
	cdm_lose_range(&mem->range, loss);
	trace_cdm_lose(mem->range.start, range_len(&mem->range), loss->nr_lost,
		       loss->nr_saved, loss->nr_left);
	return loss->nr_left ? -EBUSY : cdm_remove(mem);
}

/**
 * cdm_lose_memory - the device or the link to it is lost
 * @mem: from cdm_register_memory(); freed on success
 * @loss: NULL, or where to report what was lost
 *
 * For memory that must not be read any more; cdm_mark_lost() comes first where the
 * whole device is lost. Whoever touches what was there gets SIGBUS with the address:
 * BUS_MCEERR_AR, or BUS_ADRERR for a page of a file in memory, or of the swap cache,
 * that was not mapped by then. A system call on such a file gets %-EIO. Page cache
 * that is also on a disk is read again, and what is in swap. Processes that had nothing
 * there notice nothing. The owner frees its own pages first. The node is closed
 * from now on, whatever is returned, and removed on success. What the device may
 * hold yet is not erased: that is for the owner to do before it registers the
 * memory again.
 *
 * Context: process context, may sleep. As it frees @mem, other calls for it have to
 * be over: cdm_mark_lost() ends those that wait.
 * Return: 0; or with @mem still valid, for another attempt, %-EBUSY if somebody
 * still holds pages (a pin; the owner; shared huge pages of hugetlb, whose file
 * has to be deleted; entries of swap; writeback; a lock, in which case the page is still
 * mapped), or the error of memory offlining.
 */
int cdm_lose_memory(struct cdm_memory *mem, struct cdm_loss *loss)
{
	struct cdm_loss local = { };
	int ret;

	/* The holder of the lock waits for tenants, sees the mark and stops. */
	if (!test_and_set_bit(CDM_CLOSED_LOST, &mem->closed))
		cdm_node_shut(mem->nid);
	mutex_lock(&mem->lock);
	ret = cdm_lose(mem, &local);
	mutex_unlock(&mem->lock);

	if (loss)
		*loss = local;
	cdm_warn_lost(mem, &local, ret);
	if (ret)
		return ret;
	cdm_memory_free(mem);
	return 0;
}
EXPORT_SYMBOL_GPL(cdm_lose_memory);

/* A driver leaves: as cdm_unregister() or cdm_lose(), whatever befalls the device. */
static int cdm_leave(struct cdm_memory *mem, unsigned long deadline,
		     struct cdm_evacuation *evac)
{
	struct cdm_loss loss = { };
	int ret = -ENODEV;

	lockdep_assert_held(&mem->lock);
	evac->nr_owner = atomic_long_read(&mem->nr_owned);
	cdm_set_closed(mem, CDM_CLOSED_UNREGISTERING, true);
	if (!cdm_memory_is_lost(mem))
		ret = cdm_empty(mem, deadline, evac);
	if (ret != -ENODEV)
		return ret;
	for (;;) {
		ret = cdm_lose(mem, &loss);
		if (!ret || signal_pending(current) ||
		    time_after_eq(jiffies, deadline))
			break;
		msleep(CDM_REMOVE_PAUSE);
	}
	cdm_warn_lost(mem, &loss, ret);
	return ret;
}

/*
 * The driver is gone from here on. Its ops are called no more, though some may be under
 * way, and the link in sysfs leads nowhere.
 */
static void cdm_detach(struct cdm_memory *mem)
{
	lockdep_assert_held(&mem->lock);
	mutex_lock(&cdm_lock);
	set_bit(CDM_CLOSED_DETACHED, &mem->closed);
	cdm_sysfs_unlink(mem->nid);
	mutex_unlock(&cdm_lock);
	WRITE_ONCE(mem->ops, &cdm_no_ops);
}

/* One attempt to remove what a driver has left behind. */
static int cdm_retry(struct cdm_memory *mem)
{
	struct cdm_evacuation evac = { };
	struct cdm_loss loss = { };
	int ret = -ENODEV;

	lockdep_assert_held(&mem->lock);
	/* The owner's own pages are in the way of offlining, not of tenants. */
	evac.nr_owner = atomic_long_read(&mem->nr_owned);
	if (!cdm_memory_is_lost(mem))
		ret = cdm_evacuate_once(mem, &evac) ?: cdm_remove(mem);
	return ret == -ENODEV ? cdm_lose(mem, &loss) : ret;
}

/* Nobody says when a pin goes. The longer it has been there, the longer it may stay. */
static void cdm_retry_work(struct work_struct *work)
{
	struct cdm_memory *mem = container_of(to_delayed_work(work),
					      struct cdm_memory, retry);
	int ret;

	mutex_lock(&mem->lock);
	ret = cdm_retry(mem);
	mutex_unlock(&mem->lock);
	if (ret) {
		mem->retry_ms = min(2 * mem->retry_ms, CDM_RETRY_MAX);
		queue_delayed_work(cdm_wq, &mem->retry,
				   msecs_to_jiffies(mem->retry_ms));
		return;
	}
	pr_info("%#llx-%#llx: left node %d, after its driver\n",
		mem->range.start, mem->range.end, mem->nid);
	cdm_memory_free(mem);
}

/**
 * cdm_leave_memory - the driver leaves, and its memory with it, now or later
 * @mem: from cdm_register_memory(); not to be used any more when this returns
 * @deadline_ms: milliseconds that tenants are given to leave
 * @evac: NULL, or where to report what moved and what is left, and why
 *
 * For remove(), which cannot fail and should not wait for whoever holds a page; and for
 * a device that is lost, after cdm_mark_lost(). Tenants move to RAM as by
 * cdm_unregister_memory(), or, where the memory is lost or gets lost meanwhile, are cut
 * off as by cdm_lose_memory(). What cannot go until the deadline, because of a pin for
 * example, stays behind: its node remains closed, and the core removes the memory when
 * the last page is free. Its users notice nothing; so the memory has to stay accessible,
 * as if the driver were there. A signal is taken for the deadline.
 *
 * No op of the owner is called any more when this returns: the module may go. The owner
 * frees its own pages first; those it does not free keep the memory for ever. Until the
 * memory is gone it cannot be registered again, and no driver may erase it.
 *
 * Context: process context, may sleep. A suspend or loss of @mem that is under way is
 * waited for first; then beyond the deadline as by cdm_unregister_memory(). As it gives
 * @mem away, no other call for it may be under way that could outlast it.
 * Return: 0 if the memory is gone, %-EINPROGRESS if it is left behind.
 */
int cdm_leave_memory(struct cdm_memory *mem, unsigned int deadline_ms,
		     struct cdm_evacuation *evac)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(deadline_ms);
	struct cdm_evacuation local = { };
	int ret;

	mutex_lock(&mem->lock);
	ret = cdm_leave(mem, deadline, &local);
	if (ret)
		cdm_detach(mem);
	mutex_unlock(&mem->lock);

	if (evac)
		*evac = local;
	if (!ret) {
		pr_info("%#llx-%#llx: left node %d, %lu pages moved to RAM\n",
			mem->range.start, mem->range.end, mem->nid,
			local.nr_moved);
		cdm_memory_free(mem);
		return 0;
	}
	pr_warn("%#llx-%#llx: stays on node %d, closed, after its driver, error %d: %lu pages moved; left: %lu pinned, %lu without RAM, %lu busy, %lu of the owner\n",
		mem->range.start, mem->range.end, mem->nid, ret, local.nr_moved,
		local.nr_pinned, local.nr_no_ram, local.nr_busy, local.nr_owner);
	synchronize_srcu(&mem->srcu);
	mem->retry_ms = CDM_RETRY_MIN;
	queue_delayed_work(cdm_wq, &mem->retry,
			   msecs_to_jiffies(mem->retry_ms));
	return -EINPROGRESS;
}
EXPORT_SYMBOL_GPL(cdm_leave_memory);

/**
 * cdm_suspend_memory - send all tenants home, for the time that power is off
 * @mem: from cdm_register_memory()
 * @deadline_ms: milliseconds that tenants are given to leave
 * @evac: NULL, or where to report what moved and what is left, and why
 *
 * Afterwards the node is closed: nothing is allocated there, and nothing is lost
 * if the device loses power. What the owner has allocated stays, and is for the
 * owner to save. For the suspend callback of a driver.
 *
 * Context: process context, may sleep.
 * Return: 0; or with the node as usable as before, %-EBUSY, %-EINTR or %-ENODEV
 * as cdm_unregister_memory().
 */
int cdm_suspend_memory(struct cdm_memory *mem, unsigned int deadline_ms,
		       struct cdm_evacuation *evac)
{
	struct cdm_evacuation local = { };
	bool suspended;
	int ret;

	if (mutex_lock_interruptible(&mem->lock))
		return -EINTR;
	suspended = test_bit(CDM_CLOSED_SUSPENDED, &mem->closed);
	cdm_set_closed(mem, CDM_CLOSED_SUSPENDED, true);
	ret = cdm_evacuate(mem, jiffies + msecs_to_jiffies(deadline_ms),
			   &local);
	if (ret)
		cdm_set_closed(mem, CDM_CLOSED_SUSPENDED, suspended);
	mutex_unlock(&mem->lock);
	if (evac)
		*evac = local;
	return ret;
}
EXPORT_SYMBOL_GPL(cdm_suspend_memory);

/**
 * cdm_resume_memory - let tenants in again
 * @mem: suspended by cdm_suspend_memory()
 *
 * The node stays closed as long as there is another reason for that: it is lost,
 * the machine is about to hibernate, or another range is suspended.
 *
 * Context: process context, may sleep.
 */
void cdm_resume_memory(struct cdm_memory *mem)
{
	mutex_lock(&mem->lock);
	cdm_set_closed(mem, CDM_CLOSED_SUSPENDED, false);
	mutex_unlock(&mem->lock);
}
EXPORT_SYMBOL_GPL(cdm_resume_memory);

/**
 * cdm_memory_nid - the node of registered memory
 * @mem: from cdm_register_memory()
 *
 * Context: any, as long as @mem is not being unregistered.
 * Return: the node id.
 */
int cdm_memory_nid(const struct cdm_memory *mem)
{
	return mem->nid;
}
EXPORT_SYMBOL_GPL(cdm_memory_nid);

/* Whatever the owner or the administrator asks for: never kernel memory. */
int __cdm_check_online(struct zone *zone)
{
	int nid = zone_to_nid(zone);

	if (!cdm_node(nid) || zone_idx(zone) == ZONE_MOVABLE)
		return 0;
	cdm_count_refusal(nid, CDM_REFUSE_ONLINE, 1);
	pr_warn_once("memory of device node %d refused as kernel memory: write online_movable\n",
		     nid);
	return -EPERM;
}

/* All device nodes are closed now, or not on this account any more. */
static void cdm_set_hibernating(bool hibernating)
{
	lockdep_assert_held(&cdm_lock);
	WRITE_ONCE(cdm_hibernating, hibernating);
	if (cdm_enabled())
		cdm_nodes_sync();
}

/* No tenant comes in any more: are there any? */
static int cdm_check_empty(void)
{
	int nid;

	lockdep_assert_held(&cdm_lock);
	for_each_node_mask(nid, cdm_nodes) {
		unsigned long nr_pages = cdm_nr_used(nid);

		if (!nr_pages)
			continue;
		pr_err("hibernation refused: %lu pages in use on device node %d, which loses power\n",
		       nr_pages, nid);
		return -EBUSY;
	}
	return 0;
}

/* A device without a driver has nobody who could send its tenants home. */
static int cdm_check_detached(void)
{
	struct cdm_memory *mem;

	lockdep_assert_held(&cdm_lock);
	list_for_each_entry(mem, &cdm_memories, list) {
		if (!cdm_memory_is_detached(mem) || cdm_memory_is_lost(mem))
			continue;
		pr_err("suspend refused: the driver of node %d has left, and pages of it are in use\n",
		       mem->nid);
		return -EBUSY;
	}
	return 0;
}

/*
 * The image of a hibernated machine is one of its RAM. What is on a device is
 * lost with its power, so there must be nothing.
 */
static int cdm_pm_notify(struct notifier_block *self, unsigned long action,
			 void *unused)
{
	int ret = 0;

	if (action == PM_SUSPEND_PREPARE) {
		guard(mutex)(&cdm_lock);
		return notifier_from_errno(cdm_check_detached());
	}
	if (action != PM_HIBERNATION_PREPARE && action != PM_POST_HIBERNATION)
		return NOTIFY_DONE;

	mutex_lock(&cdm_lock);
	cdm_set_hibernating(action == PM_HIBERNATION_PREPARE);
	if (action == PM_HIBERNATION_PREPARE)
		ret = cdm_check_empty();
	if (ret)
		cdm_set_hibernating(false);
	mutex_unlock(&cdm_lock);
	return notifier_from_errno(ret);
}

static struct notifier_block cdm_pm_nb = {
	.notifier_call = cdm_pm_notify,
};

static int __init cdm_core_init(void)
{
	cdm_wq = alloc_workqueue("cdm", WQ_UNBOUND | WQ_FREEZABLE, 0);
	if (!cdm_wq)
		return -ENOMEM;
	return register_pm_notifier(&cdm_pm_nb);
}
subsys_initcall(cdm_core_init);

#ifdef CONFIG_CDM_KUNIT_TEST
#include "tests/core-kunit.h"
#endif
