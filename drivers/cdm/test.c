// SPDX-License-Identifier: GPL-2.0
/*
 * Test driver of coherent device memory: owns the special purpose memory of
 * the machine, one device node per range, and plays the device. Its computing
 * side is a kernel thread that borrows the address space of the caller.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cdm-driver.h>
#include <linux/completion.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/numa.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "cdm_test_uapi.h"
#include "test.h"

#define CDM_TEST_UNREGISTER_MS	60000	/* where nobody says how long */
#define CDM_TEST_CHUNK		PAGE_SIZE

static unsigned int cdm_test_leave_ms = CDM_TEST_UNREGISTER_MS;
module_param_named(leave_ms, cdm_test_leave_ms, uint, 0644);
MODULE_PARM_DESC(leave_ms, "milliseconds that tenants are given to leave when the module is unloaded");

/* One range of special purpose memory; mem is NULL while not registered. */
struct cdm_test_slot {
	struct range range;
	unsigned int flags;
	struct cdm_memory *mem;
	bool lost;		/* and not erased since */
};

/* Protects the slots, of which the first are what was found at load. */
DEFINE_MUTEX(cdm_test_lock);
static struct cdm_test_slot cdm_test_slots[CDM_TEST_MAX_RANGES];
static unsigned int cdm_test_nr_slots;
static unsigned int cdm_test_nr_found;

static struct miscdevice cdm_test_misc;

/* The owner of all ranges. */
struct device *cdm_test_device(void)
{
	return cdm_test_misc.this_device;
}

static long cdm_test_info(void __user *arg)
{
	struct cdm_test_info *info;
	unsigned int i;
	long ret = 0;

	info = kzalloc(sizeof(*info), GFP_KERNEL);
	if (!info)
		return -ENOMEM;

	mutex_lock(&cdm_test_lock);
	info->nr_ranges = cdm_test_nr_slots;
	for (i = 0; i < cdm_test_nr_slots; i++) {
		struct cdm_test_slot *slot = &cdm_test_slots[i];

		info->ranges[i].start = slot->range.start;
		info->ranges[i].size = range_len(&slot->range);
		info->ranges[i].flags = slot->flags;
		info->ranges[i].nid = slot->mem ? cdm_memory_nid(slot->mem) :
						  NUMA_NO_NODE;
	}
	mutex_unlock(&cdm_test_lock);

	if (copy_to_user(arg, info, sizeof(*info)))
		ret = -EFAULT;
	kfree(info);
	return ret;
}

/* The slot of a range that is in the table; else a free one, or NULL. */
static struct cdm_test_slot *cdm_test_find_slot(const struct range *range)
{
	unsigned int i;

	lockdep_assert_held(&cdm_test_lock);
	for (i = 0; i < cdm_test_nr_slots; i++) {
		struct cdm_test_slot *slot = &cdm_test_slots[i];

		if (slot->range.start == range->start &&
		    slot->range.end == range->end)
			return slot;
	}
	return i < CDM_TEST_MAX_RANGES ? &cdm_test_slots[i] : NULL;
}

/* A device that is reset does this: nobody is to see what it held. */
static int cdm_test_erase(struct cdm_test_slot *slot)
{
	u64 addr;

	for (addr = slot->range.start; addr < slot->range.end;
	     addr += PMD_SIZE) {
		void *data = memremap(addr, PMD_SIZE, MEMREMAP_WB);

		if (!data)
			return -ENOMEM;
		memset(data, 0, PMD_SIZE);
		memunmap(data);
		cond_resched();
	}
	slot->lost = false;
	return 0;
}

static int cdm_test_register(const struct range *range, int nid,
			     unsigned int flags)
{
	struct cdm_test_slot *slot;
	struct cdm_memory *mem;

	lockdep_assert_held(&cdm_test_lock);
	slot = cdm_test_find_slot(range);
	if (!slot)
		return -ENOSPC;
	if (slot->lost && cdm_test_erase(slot))
		return -ENOMEM;

	mem = cdm_register_memory(cdm_test_device(), range, nid, flags,
				  &cdm_test_ops, NULL);
	if (IS_ERR(mem))
		return PTR_ERR(mem);

	slot->range = *range;
	slot->flags = flags;
	slot->mem = mem;
	if (slot == &cdm_test_slots[cdm_test_nr_slots])
		cdm_test_nr_slots++;
	return cdm_memory_nid(mem);
}

/* The first range of @nid that is registered, or NULL. */
static struct cdm_test_slot *cdm_test_slot(int nid)
{
	unsigned int i;

	lockdep_assert_held(&cdm_test_lock);
	for (i = 0; i < cdm_test_nr_slots; i++) {
		struct cdm_test_slot *slot = &cdm_test_slots[i];

		if (slot->mem && cdm_memory_nid(slot->mem) == nid)
			return slot;
	}
	return NULL;
}

struct cdm_memory *cdm_test_memory(int nid)
{
	struct cdm_test_slot *slot = cdm_test_slot(nid);

	return slot ? slot->mem : NULL;
}

/* The memory is lost, and has @gone, or what somebody holds of it is left. */
void cdm_test_forget(struct cdm_memory *mem, bool gone)
{
	unsigned int i;

	lockdep_assert_held(&cdm_test_lock);
	for (i = 0; i < cdm_test_nr_slots; i++) {
		if (cdm_test_slots[i].mem != mem)
			continue;
		if (gone)
			cdm_test_slots[i].mem = NULL;
		cdm_test_slots[i].lost = true;
	}
}

static long cdm_test_ioc_register(void __user *arg)
{
	struct cdm_test_range ask;
	struct range range;
	int nid;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	range.start = ask.start;
	range.end = ask.start + ask.size - 1;

	mutex_lock(&cdm_test_lock);
	nid = cdm_test_register(&range, ask.nid, ask.flags);
	mutex_unlock(&cdm_test_lock);
	if (nid < 0)
		return nid;

	ask.nid = nid;
	return copy_to_user(arg, &ask, sizeof(ask)) ? -EFAULT : 0;
}

/* Unregister every range of @nid; stops at the first that does not go. */
static int cdm_test_unregister(int nid, unsigned int deadline_ms,
			       struct cdm_evacuation *sum)
{
	unsigned int i;
	int ret = -ENODEV;

	lockdep_assert_held(&cdm_test_lock);
	for (i = 0; i < cdm_test_nr_slots; i++) {
		struct cdm_test_slot *slot = &cdm_test_slots[i];
		struct cdm_evacuation evac;

		if (!slot->mem || cdm_memory_nid(slot->mem) != nid)
			continue;
		ret = cdm_unregister_memory(slot->mem, deadline_ms, &evac);
		sum->nr_moved += evac.nr_moved;
		sum->nr_pinned += evac.nr_pinned;
		sum->nr_no_ram += evac.nr_no_ram;
		sum->nr_busy += evac.nr_busy;
		sum->nr_owner += evac.nr_owner;
		if (ret)
			break;
		slot->mem = NULL;
	}
	return ret;
}

static long cdm_test_ioc_unregister(void __user *arg)
{
	struct cdm_evacuation evac = { };
	struct cdm_test_unregister ask;
	int ret;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;

	mutex_lock(&cdm_test_lock);
	ret = cdm_test_unregister(ask.nid, ask.deadline_ms, &evac);
	mutex_unlock(&cdm_test_lock);

	ask.nr_moved = evac.nr_moved;
	ask.nr_pinned = evac.nr_pinned;
	ask.nr_no_ram = evac.nr_no_ram;
	ask.nr_busy = evac.nr_busy;
	if (copy_to_user(arg, &ask, sizeof(ask)))
		return -EFAULT;
	return ret;
}

/* Unlike UNREGISTER, this leaves behind what is still in use. */
static long cdm_test_ioc_leave(void __user *arg)
{
	struct cdm_test_reserve ask;
	int err, ret = -ENODEV;
	unsigned int i;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	guard(mutex)(&cdm_test_lock);
	for (i = 0; i < cdm_test_nr_slots; i++) {
		struct cdm_test_slot *slot = &cdm_test_slots[i];

		if (!slot->mem || cdm_memory_nid(slot->mem) != ask.nid)
			continue;
		err = cdm_leave_memory(slot->mem, ask.deadline_ms, NULL);
		if (err || ret == -ENODEV)
			ret = err;
		slot->mem = NULL;
		/* Memory left behind is in use, and not ours to erase. */
		slot->lost &= !err;
	}
	return ret;
}

/* Forget parts of ranges that tests had registered. */
static void cdm_test_drop_slots(void)
{
	lockdep_assert_held(&cdm_test_lock);
	while (cdm_test_nr_slots > cdm_test_nr_found &&
	       !cdm_test_slots[cdm_test_nr_slots - 1].mem)
		cdm_test_nr_slots--;
}

static long cdm_test_ioc_unregister_one(void __user *arg)
{
	unsigned int i;
	u64 start;
	int ret = -ENOENT;

	if (copy_from_user(&start, arg, sizeof(start)))
		return -EFAULT;

	mutex_lock(&cdm_test_lock);
	for (i = 0; i < cdm_test_nr_slots; i++) {
		struct cdm_test_slot *slot = &cdm_test_slots[i];

		if (!slot->mem || slot->range.start != start)
			continue;
		ret = cdm_unregister_memory(slot->mem,
					    CDM_TEST_UNREGISTER_MS, NULL);
		if (!ret)
			slot->mem = NULL;
		break;
	}
	cdm_test_drop_slots();
	mutex_unlock(&cdm_test_lock);
	return ret;
}

/* Is [@start, @start + @size) part of a range that is not registered? */
static bool cdm_test_is_ours(u64 start, u64 size)
{
	unsigned int i;

	lockdep_assert_held(&cdm_test_lock);
	for (i = 0; i < cdm_test_nr_slots; i++) {
		const struct cdm_test_slot *slot = &cdm_test_slots[i];

		if (!slot->mem && start >= slot->range.start &&
		    size <= range_len(&slot->range) &&
		    start - slot->range.start <= range_len(&slot->range) - size)
			return true;
	}
	return false;
}

/*
 * The memory as the device sees it when the kernel has given it back. Mapping takes
 * longer than looking, so as much is mapped at a time as cdm_test_erase() maps.
 */
static int cdm_test_peek(struct cdm_test_peek *ask)
{
	u64 addr, size, end = ask->start + ask->size;

	lockdep_assert_held(&cdm_test_lock);
	for (addr = ask->start; addr < end; addr += size) {
		const u8 *mem;
		size_t i;

		size = min_t(u64, end - addr, PMD_SIZE);
		mem = memremap(addr, size, MEMREMAP_WB);
		if (!mem)
			return -ENOMEM;
		if (memchr_inv(mem, 0, size)) {
			for (i = 0; i < size; i++)
				ask->nr_nonzero += mem[i] != 0;
		}
		memunmap((void *)mem);
		cond_resched();
	}
	return 0;
}

static long cdm_test_ioc_peek(void __user *arg)
{
	struct cdm_test_peek ask;
	int ret = -EBUSY;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	if (!PAGE_ALIGNED(ask.start) || !PAGE_ALIGNED(ask.size))
		return -EINVAL;

	ask.nr_nonzero = 0;
	mutex_lock(&cdm_test_lock);
	if (cdm_test_is_ours(ask.start, ask.size))
		ret = cdm_test_peek(&ask);
	mutex_unlock(&cdm_test_lock);
	if (!ret && copy_to_user(arg, &ask, sizeof(ask)))
		ret = -EFAULT;
	return ret;
}

/* An array with one entry a page of @size bytes, or an ERR_PTR(). */
static int *cdm_test_alloc_nodes(u64 size)
{
	int *nodes;

	if (!size || !PAGE_ALIGNED(size) || size > TASK_SIZE)
		return ERR_PTR(-EINVAL);
	nodes = kvmalloc_array(size >> PAGE_SHIFT, sizeof(int),
			       GFP_KERNEL | __GFP_NOWARN);
	return nodes ?: ERR_PTR(-ENOMEM);
}

static int cdm_test_copy_nodes(u64 to, const int *nodes, u64 size)
{
	if (copy_to_user(u64_to_user_ptr(to), nodes,
			 (size >> PAGE_SHIFT) * sizeof(int)))
		return -EFAULT;
	return 0;
}

static long cdm_test_ioc_migrate(void __user *arg)
{
	struct cdm_test_migrate ask;
	int *status = NULL;
	long ret;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	if (ask.status)
		status = cdm_test_alloc_nodes(ask.size);
	if (IS_ERR(status))
		return PTR_ERR(status);

	ret = cdm_migrate_range(current->mm, ask.addr, ask.size, ask.nid,
				status);
	if (ret >= 0 && ask.status &&
	    cdm_test_copy_nodes(ask.status, status, ask.size))
		ret = -EFAULT;
	kvfree(status);
	return ret;
}

static long cdm_test_ioc_query(void __user *arg)
{
	struct cdm_test_query ask;
	int *nodes;
	long ret;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	nodes = cdm_test_alloc_nodes(ask.size);
	if (IS_ERR(nodes))
		return PTR_ERR(nodes);

	ret = cdm_query_range(current->mm, ask.addr, ask.size, nodes);
	if (!ret)
		ret = cdm_test_copy_nodes(ask.nodes, nodes, ask.size);
	kvfree(nodes);
	return ret;
}

/* The memory that the thread which plays the device works on */
struct cdm_test_job {
	struct cdm_test_compute *ask;
	struct mm_struct *mm;
	u64 *chunk;		/* CDM_TEST_CHUNK bytes */
	u64 histogram[256];
	int ret;
	struct completion done;
};

typedef void (*cdm_test_chunk_fn)(struct cdm_test_job *job, size_t len);

static void cdm_test_sum(struct cdm_test_job *job, size_t len)
{
	size_t i;

	for (i = 0; i < len / sizeof(u64); i++)
		job->ask->result += job->chunk[i];
	job->ask->nr += len / sizeof(u64);
}

static void cdm_test_add(struct cdm_test_job *job, size_t len)
{
	size_t i;

	for (i = 0; i < len / sizeof(u64); i++)
		job->chunk[i] += job->ask->arg;
	job->ask->nr += len / sizeof(u64);
	job->ask->result = job->ask->nr;
}

static void cdm_test_histogram(struct cdm_test_job *job, size_t len)
{
	const u8 *bytes = (u8 *)job->chunk;
	size_t i;

	for (i = 0; i < len; i++)
		job->histogram[bytes[i]]++;
	job->ask->nr += len;
}

/* Apply @fn chunk by chunk, by virtual address; @write: and store the result. */
static int cdm_test_stream(struct cdm_test_job *job, cdm_test_chunk_fn fn,
			   bool write)
{
	u64 addr = job->ask->addr, end = addr + job->ask->size;

	while (addr < end) {
		size_t len = min_t(u64, end - addr, CDM_TEST_CHUNK);
		void __user *data = u64_to_user_ptr(addr);

		if (copy_from_user(job->chunk, data, len))
			return -EFAULT;
		fn(job, len);
		if (write && copy_to_user(data, job->chunk, len))
			return -EFAULT;
		if (kthread_should_stop())
			return -EINTR;
		addr += len;
		cond_resched();
	}
	return 0;
}

static int cdm_test_store_histogram(struct cdm_test_job *job)
{
	if (copy_to_user(u64_to_user_ptr(job->ask->out), job->histogram,
			 sizeof(job->histogram)))
		return -EFAULT;
	return 0;
}

/* Follow the pointers as the CPU would; a chain may be as long as memory is. */
static int cdm_test_walk(struct cdm_test_job *job)
{
	u64 addr = job->ask->arg;

	while (addr) {
		struct cdm_test_cell __user *user = u64_to_user_ptr(addr);
		struct cdm_test_cell cell;

		if (copy_from_user(&cell, user, sizeof(cell)))
			return -EFAULT;
		cell.visits++;
		if (put_user(cell.visits, &user->visits))
			return -EFAULT;
		if (kthread_should_stop())
			return -EINTR;
		job->ask->result += cell.value;
		job->ask->nr++;
		addr = cell.next;
		cond_resched();
	}
	return 0;
}

static int cdm_test_run(struct cdm_test_job *job)
{
	struct cdm_test_compute *ask = job->ask;
	int ret;

	ask->result = 0;
	ask->nr = 0;
	if (ask->nid != CDM_TEST_NID_STAY) {
		ret = cdm_migrate_range(job->mm, ask->addr, ask->size,
					ask->nid, NULL);
		if (ret < 0)
			return ret;
	}

	switch (ask->op) {
	case CDM_TEST_SUM:
		return cdm_test_stream(job, cdm_test_sum, false);
	case CDM_TEST_ADD:
		return cdm_test_stream(job, cdm_test_add, true);
	case CDM_TEST_HISTOGRAM:
		return cdm_test_stream(job, cdm_test_histogram, false) ?:
		       cdm_test_store_histogram(job);
	case CDM_TEST_WALK:
		return cdm_test_walk(job);
	default:
		return -EINVAL;
	}
}

static int cdm_test_thread(void *data)
{
	struct cdm_test_job *job = data;

	kthread_use_mm(job->mm);
	job->ret = cdm_test_run(job);
	kthread_unuse_mm(job->mm);
	complete(&job->done);

	/* The caller stops the thread when it has seen the completion. */
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

/* Run the job on the device side and wait; a killed caller stops it early. */
static int cdm_test_submit(struct cdm_test_job *job)
{
	struct task_struct *thread;

	thread = kthread_run(cdm_test_thread, job, "cdm_test/%d",
			     current->pid);
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	get_task_struct(thread);
	if (wait_for_completion_killable(&job->done))
		job->ret = -EINTR;
	kthread_stop(thread);
	put_task_struct(thread);
	return job->ret;
}

static int cdm_test_check_compute(const struct cdm_test_compute *ask)
{
	if (ask->op > CDM_TEST_WALK || ask->size > TASK_SIZE)
		return -EINVAL;
	/* SUM and ADD work on words */
	if (ask->op != CDM_TEST_HISTOGRAM && !IS_ALIGNED(ask->size, sizeof(u64)))
		return -EINVAL;
	return 0;
}

static long cdm_test_ioc_compute(void __user *arg)
{
	struct cdm_test_compute ask;
	struct cdm_test_job *job;
	long ret = -ENOMEM;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	if (cdm_test_check_compute(&ask))
		return -EINVAL;

	job = kzalloc(sizeof(*job), GFP_KERNEL);
	if (!job)
		return -ENOMEM;
	job->ask = &ask;
	job->mm = current->mm;
	init_completion(&job->done);
	job->chunk = kmalloc(CDM_TEST_CHUNK, GFP_KERNEL);
	if (!job->chunk)
		goto out;

	ret = cdm_test_submit(job);
	if (!ret && copy_to_user(arg, &ask, sizeof(ask)))
		ret = -EFAULT;
	kfree(job->chunk);
out:
	kfree(job);
	return ret;
}

static long cdm_test_ioc_pin(struct cdm_test_file *priv, void __user *arg,
			     unsigned int gup_flags)
{
	u64 addr;
	long ret;

	if (copy_from_user(&addr, arg, sizeof(addr)))
		return -EFAULT;

	mutex_lock(&priv->lock);
	if (priv->page)
		ret = -EBUSY;
	else
		ret = pin_user_pages_fast(addr, 1, gup_flags, &priv->page);
	mutex_unlock(&priv->lock);
	return ret < 0 ? ret : 0;
}

static long cdm_test_ioc_unpin(struct cdm_test_file *priv)
{
	long ret = -ENOENT;

	mutex_lock(&priv->lock);
	if (priv->page) {
		unpin_user_page(priv->page);
		priv->page = NULL;
		ret = 0;
	}
	mutex_unlock(&priv->lock);
	return ret;
}

#define CDM_TEST_BULK	8	/* pages at a time */

struct cdm_test_interrupt {
	struct irq_work work;
	int nid;
	struct page *page;
};

static void cdm_test_interrupt(struct irq_work *work)
{
	struct cdm_test_interrupt *irq =
		container_of(work, struct cdm_test_interrupt, work);

	irq->page = alloc_pages_node(irq->nid, GFP_ATOMIC | __GFP_HIGHMEM |
				     __GFP_MOVABLE | __GFP_NOWARN, 0);
}

static struct page *cdm_test_alloc_in_interrupt(int nid)
{
	struct cdm_test_interrupt irq = { .nid = nid };

	init_irq_work(&irq.work, cdm_test_interrupt);
	irq_work_queue(&irq.work);
	irq_work_sync(&irq.work);
	return irq.page;
}

static struct page *cdm_test_alloc_bulk(int nid, gfp_t gfp)
{
	struct page *pages[CDM_TEST_BULK] = { };
	unsigned long i;

	alloc_pages_bulk_array_node(gfp, nid, ARRAY_SIZE(pages), pages);
	for (i = 1; i < ARRAY_SIZE(pages) && pages[i]; i++)
		__free_page(pages[i]);
	return pages[0];
}

/*
 * Ask for pages of a node as kernel code does that knows its number and nothing
 * of devices. Returns the node that the last of them was on.
 */
static long cdm_test_ioc_alloc(void __user *arg)
{
	gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_NORETRY | __GFP_NOWARN;
	struct cdm_test_alloc alloc;
	struct page *page;

	if (copy_from_user(&alloc, arg, sizeof(alloc)))
		return -EFAULT;
	if (!numa_valid_node(alloc.nid) || !node_online(alloc.nid))
		return -EINVAL;

	switch (alloc.how) {
	case CDM_TEST_ALLOC_NODE:
		page = alloc_pages_node(alloc.nid, gfp, 0);
		break;
	case CDM_TEST_ALLOC_THISNODE:
		page = alloc_pages_node(alloc.nid, gfp | __GFP_THISNODE, 0);
		break;
	case CDM_TEST_ALLOC_BULK:
		page = cdm_test_alloc_bulk(alloc.nid, gfp);
		break;
	case CDM_TEST_ALLOC_INTERRUPT:
		page = cdm_test_alloc_in_interrupt(alloc.nid);
		break;
	default:
		return -EINVAL;
	}

	alloc.nid = page ? page_to_nid(page) : NUMA_NO_NODE;
	if (page)
		__free_page(page);
	return copy_to_user(arg, &alloc, sizeof(alloc)) ? -EFAULT : 0;
}

static long cdm_test_ioctl(struct file *file, unsigned int cmd,
			   unsigned long arg)
{
	struct cdm_test_file *priv = file->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case CDM_TEST_IOC_INFO:
		return cdm_test_info(user);
	case CDM_TEST_IOC_MIGRATE:
		return cdm_test_ioc_migrate(user);
	case CDM_TEST_IOC_QUERY:
		return cdm_test_ioc_query(user);
	case CDM_TEST_IOC_COMPUTE:
		return cdm_test_ioc_compute(user);
	case CDM_TEST_IOC_REGISTER:
		return cdm_test_ioc_register(user);
	case CDM_TEST_IOC_UNREGISTER:
		return cdm_test_ioc_unregister(user);
	case CDM_TEST_IOC_PIN:
		return cdm_test_ioc_pin(priv, user, FOLL_WRITE);
	case CDM_TEST_IOC_PIN_LONGTERM:
		return cdm_test_ioc_pin(priv, user, FOLL_WRITE | FOLL_LONGTERM);
	case CDM_TEST_IOC_UNPIN:
		return cdm_test_ioc_unpin(priv);
	case CDM_TEST_IOC_PEEK:
		return cdm_test_ioc_peek(user);
	case CDM_TEST_IOC_BREACH:
		return cdm_test_ioc_breach(priv, user);
	case CDM_TEST_IOC_LEAK:
		return cdm_test_ioc_leak(priv, user);
	case CDM_TEST_IOC_UNREGISTER_ONE:
		return cdm_test_ioc_unregister_one(user);
	case CDM_TEST_IOC_ALLOC:
		return cdm_test_ioc_alloc(user);
	case CDM_TEST_IOC_LEAVE:
		return cdm_test_ioc_leave(user);
	default:
		return cdm_test_owner_ioctl(priv, cmd, user);
	}
}

static int cdm_test_open(struct inode *inode, struct file *file)
{
	struct cdm_test_file *priv;

	priv = kzalloc(sizeof(*priv), GFP_KERNEL);
	if (!priv)
		return -ENOMEM;
	mutex_init(&priv->lock);
	INIT_LIST_HEAD(&priv->blocks);
	INIT_LIST_HEAD(&priv->leaks);
	file->private_data = priv;
	return 0;
}

static int cdm_test_release(struct inode *inode, struct file *file)
{
	struct cdm_test_file *priv = file->private_data;

	if (priv->page)
		unpin_user_page(priv->page);
	cdm_test_breach_release(priv);
	cdm_test_owner_release(priv);
	kfree(priv);
	return 0;
}

static const struct file_operations cdm_test_fops = {
	.owner = THIS_MODULE,
	.open = cdm_test_open,
	.release = cdm_test_release,
	.unlocked_ioctl = cdm_test_ioctl,
};

static struct miscdevice cdm_test_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "cdm_test",
	.mode = 0600,
	.fops = &cdm_test_fops,
};

static int cdm_test_register_spm(const struct range *range, void *data)
{
	int nid = cdm_test_register(range, NUMA_NO_NODE, 0);

	return nid < 0 ? nid : 0;
}

/* At unload every range goes, or stays behind if some tenant cannot leave in time. */
static void cdm_test_leave_all(void)
{
	unsigned int i;

	guard(mutex)(&cdm_test_lock);
	for (i = 0; i < cdm_test_nr_slots; i++) {
		struct cdm_test_slot *slot = &cdm_test_slots[i];

		if (slot->mem)
			cdm_leave_memory(slot->mem, cdm_test_leave_ms, NULL);
		slot->mem = NULL;
	}
}

static int __init cdm_test_init(void)
{
	int ret;

	ret = misc_register(&cdm_test_misc);
	if (ret)
		return ret;

	mutex_lock(&cdm_test_lock);
	ret = cdm_walk_spm(cdm_test_register_spm, NULL);
	cdm_test_nr_found = cdm_test_nr_slots;
	mutex_unlock(&cdm_test_lock);
	if (!ret)
		return 0;

	if (ret == -ENOENT)
		pr_err("no special purpose memory (Soft Reserved in /proc/iomem): firmware must mark it, or memmap= on the command line\n");
	cdm_test_leave_all();
	misc_deregister(&cdm_test_misc);
	return ret;
}
module_init(cdm_test_init);

static void __exit cdm_test_exit(void)
{
	/* Nobody opens the file of a module that is going. */
	cdm_test_leave_all();
	misc_deregister(&cdm_test_misc);
}
module_exit(cdm_test_exit);

MODULE_DESCRIPTION("Test driver of coherent device memory nodes");
MODULE_LICENSE("GPL");
