// SPDX-License-Identifier: GPL-2.0
/*
 * Test driver of coherent device memory: what an owner does with its memory
 * itself, and what it is told.
 */
#include <linux/cdm-driver.h>
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "cdm_test_uapi.h"
#include "test.h"

#define CDM_TEST_PATTERN	0xee	/* the owner's own data */
#define CDM_TEST_NONSENSE	0xdb	/* what a dead link leaves */

/* Blocks of pages that a file holds, as one recall has brought them. */
struct cdm_test_blocks {
	struct list_head list;
	int nid;
	unsigned int order;
	unsigned long nr;
	struct page *pages[] __counted_by(nr);
};

static atomic_long_t cdm_test_moved_in, cdm_test_moved_out;
static atomic_long_t cdm_test_failed, cdm_test_copied, cdm_test_batches;
static atomic_long_t cdm_test_atomic, cdm_test_late;
static unsigned int cdm_test_engine;
static DECLARE_WAIT_QUEUE_HEAD(cdm_test_engine_wait);
static atomic_t cdm_test_nr_held;
static bool cdm_test_link_is_down;
static unsigned long cdm_test_veto_start, cdm_test_veto_size;

#define CDM_TEST_MOVED_WAIT	(10 * HZ)

/* May not sleep. A test is to see what others can do meanwhile. */
static void cdm_test_wait_moved(void)
{
	unsigned long end = jiffies + CDM_TEST_MOVED_WAIT;

	if (READ_ONCE(cdm_test_engine) != CDM_TEST_ENGINE_MOVED)
		return;
	atomic_inc(&cdm_test_nr_held);
	while (READ_ONCE(cdm_test_engine) == CDM_TEST_ENGINE_MOVED) {
		if (time_after(jiffies, end)) {
			atomic_long_inc(&cdm_test_late);
			break;
		}
		cpu_relax();
	}
	atomic_dec(&cdm_test_nr_held);
}

static void cdm_test_moved(void *data, unsigned long from, unsigned long to,
			   unsigned long nr_pages)
{
	int nid = pfn_to_nid(to);

	cdm_test_wait_moved();
	if (node_state(nid, N_COHERENT_DEVICE))
		atomic_long_add(nr_pages, &cdm_test_moved_in);
	else
		atomic_long_add(nr_pages, &cdm_test_moved_out);
}

static void cdm_test_page_failed(void *data, unsigned long pfn)
{
	atomic_long_inc(&cdm_test_failed);
}

/* The process that is to have its mmap lock when balancing comes, and how far it is. */
static struct mm_struct *cdm_test_holder;
static bool cdm_test_hold_asked, cdm_test_held;
static DECLARE_WAIT_QUEUE_HEAD(cdm_test_hold_wait);
static atomic_t cdm_test_nr_folios;

/* Balancing goes on when the process has the lock. */
static void cdm_test_meet_holder(struct mm_struct *mm)
{
	if (mm != READ_ONCE(cdm_test_holder))
		return;
	WRITE_ONCE(cdm_test_hold_asked, true);
	wake_up_all(&cdm_test_hold_wait);
	wait_event(cdm_test_hold_wait, READ_ONCE(cdm_test_held) ||
		   mm != READ_ONCE(cdm_test_holder));
}

static bool cdm_test_may_balance(void *data, struct mm_struct *mm,
				 unsigned long start, unsigned long size,
				 bool to_device)
{
	unsigned long first = READ_ONCE(cdm_test_veto_start);

	cdm_test_meet_holder(mm);
	return start + size <= first ||
	       start >= first + READ_ONCE(cdm_test_veto_size);
}

static void cdm_test_copy_segments(const struct cdm_segment *segments,
				   unsigned int nr)
{
	unsigned long i;

	for (; nr--; segments++) {
		for (i = 0; i < segments->nr_pages; i++)
			copy_highpage(pfn_to_page(segments->to + i),
				      pfn_to_page(segments->from + i));
	}
}

static bool cdm_test_has_spot(const struct cdm_segment *segments,
			      unsigned int nr)
{
	unsigned long i;

	for (; nr--; segments++) {
		for (i = 0; i < segments->nr_pages; i++) {
			if ((segments->from + i) % 8 == 3)
				return true;
		}
	}
	return false;
}

/*
 * Without the debugging of sleeps nobody knows who may. But one page cache is known
 * to be migrated with a spin lock held.
 */
static bool cdm_test_is_atomic(const struct cdm_segment *segments,
			       unsigned int nr)
{
	for (; nr--; segments++) {
		struct folio *folio = pfn_folio(segments->from);
		struct address_space *mapping = folio_mapping(folio);

		if (!mapping || folio_test_swapcache(folio))
			continue;
		if (!spin_trylock(&mapping->i_private_lock))
			return true;
		spin_unlock(&mapping->i_private_lock);
	}
	return false;
}

static bool cdm_test_is_alive(void *data)
{
	return !READ_ONCE(cdm_test_link_is_down);
}

/* Something that the engine is to copy waits, as long as a test wants. */
static unsigned int cdm_test_wait_engine(void)
{
	if (READ_ONCE(cdm_test_engine) == CDM_TEST_ENGINE_HOLD) {
		atomic_inc(&cdm_test_nr_held);
		wait_event(cdm_test_engine_wait,
			   READ_ONCE(cdm_test_engine) != CDM_TEST_ENGINE_HOLD);
		atomic_dec(&cdm_test_nr_held);
	}
	return READ_ONCE(cdm_test_engine);
}

static int cdm_test_copy(void *data, const struct cdm_segment *segments,
			 unsigned int nr)
{
	unsigned long nr_pages = 0;
	unsigned int i;

	if (cdm_test_is_atomic(segments, nr))
		atomic_long_inc(&cdm_test_atomic);
	might_sleep();
	switch (cdm_test_wait_engine()) {
	case CDM_TEST_ENGINE_WORKS:
		cdm_test_copy_segments(segments, nr);
		for (i = 0; i < nr; i++)
			nr_pages += segments[i].nr_pages;
		atomic_long_add(nr_pages, &cdm_test_copied);
		atomic_long_inc(&cdm_test_batches);
		return 0;
	case CDM_TEST_ENGINE_FAILS:
		/* Not without leaving half of it behind. */
		cdm_test_copy_segments(segments, nr - nr / 2);
		return -EIO;
	case CDM_TEST_ENGINE_POISON:
		return -EHWPOISON;
	case CDM_TEST_ENGINE_SPOTS:
		if (cdm_test_has_spot(segments, nr))
			return -EHWPOISON;
		cdm_test_copy_segments(segments, nr);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

const struct cdm_ops cdm_test_ops = {
	.alive = cdm_test_is_alive,
	.may_balance = cdm_test_may_balance,
	.moved = cdm_test_moved,
	.failed = cdm_test_page_failed,
	.copy = cdm_test_copy,
};

static long cdm_test_ioc_events(void __user *arg)
{
	struct cdm_test_events events;

	if (copy_from_user(&events, arg, sizeof(events)))
		return -EFAULT;
	if (events.engine >= CDM_TEST_ENGINE_NR)
		return -EINVAL;
	WRITE_ONCE(cdm_test_engine, events.engine);
	wake_up_all(&cdm_test_engine_wait);
	events.nr_held = atomic_read(&cdm_test_nr_held);
	events.nr_moved_in = atomic_long_read(&cdm_test_moved_in);
	events.nr_moved_out = atomic_long_read(&cdm_test_moved_out);
	events.nr_failed = atomic_long_read(&cdm_test_failed);
	events.nr_copied = atomic_long_read(&cdm_test_copied);
	events.nr_batches = atomic_long_read(&cdm_test_batches);
	events.nr_atomic = atomic_long_read(&cdm_test_atomic);
	events.held = READ_ONCE(cdm_test_held);
	events.nr_late = atomic_long_read(&cdm_test_late);
	events.nr_folios = atomic_read(&cdm_test_nr_folios);
	return copy_to_user(arg, &events, sizeof(events)) ? -EFAULT : 0;
}

/* Pages of a block in which there is anything; then the owner's own data. */
static unsigned long cdm_test_use(struct page *page, unsigned int order)
{
	unsigned long i, nr_dirty = 0;

	for (i = 0; i < 1UL << order; i++) {
		u8 *addr = kmap_local_page(page + i);

		nr_dirty += !!memchr_inv(addr, 0, PAGE_SIZE);
		memset(addr, CDM_TEST_PATTERN, PAGE_SIZE);
		kunmap_local(addr);
	}
	return nr_dirty;
}

static bool cdm_test_is_used(struct page *page)
{
	u8 *addr = kmap_local_page(page);
	bool used = !memchr_inv(addr, CDM_TEST_PATTERN, PAGE_SIZE);

	kunmap_local(addr);
	return used;
}

/* How many pages that the owner holds has somebody else written to? */
static unsigned long cdm_test_nr_spoilt(struct cdm_test_blocks *blocks)
{
	unsigned long i, j, nr_spoilt = 0;

	for (i = 0; i < blocks->nr; i++) {
		for (j = 0; j < 1UL << blocks->order; j++)
			nr_spoilt += !cdm_test_is_used(blocks->pages[i] + j);
	}
	return nr_spoilt;
}

struct cdm_test_claim {
	struct cdm_recall recall;
	unsigned int rounds;	/* until it is cancelled, 0: never */
	unsigned int nr_asked;
};

static bool cdm_test_progress(struct cdm_recall *recall)
{
	struct cdm_test_claim *claim =
		container_of(recall, struct cdm_test_claim, recall);

	claim->nr_asked++;
	return !claim->rounds || --claim->rounds;
}

static int cdm_test_claim(struct cdm_memory *mem, struct cdm_test_recall *ask,
			  struct cdm_test_blocks *blocks)
{
	struct cdm_test_claim claim = {
		.recall = {
			.order = ask->order,
			.nr = ask->nr,
			.pages = blocks->pages,
			.deadline_ms = ask->deadline_ms,
			.progress = cdm_test_progress,
		},
		.rounds = ask->rounds,
	};
	int ret;

	ret = cdm_recall(mem, &claim.recall);
	ask->nr_recalled = claim.recall.nr_recalled;
	ask->nr_evicted = claim.recall.nr_evicted;
	ask->nr_asked = claim.nr_asked;
	return ret;
}

/* Free pages, without a recall. */
static int cdm_test_alloc_only(struct cdm_memory *mem,
			       struct cdm_test_recall *ask,
			       struct cdm_test_blocks *blocks)
{
	for (ask->nr_recalled = 0; ask->nr_recalled < ask->nr;
	     ask->nr_recalled++) {
		struct page *page = cdm_alloc_pages(mem, ask->order);

		if (!page)
			return -ENOMEM;
		blocks->pages[ask->nr_recalled] = page;
		cond_resched();
	}
	return 0;
}

static int cdm_test_take(struct cdm_test_file *priv, struct cdm_memory *mem,
			 struct cdm_test_recall *ask)
{
	struct cdm_test_blocks *blocks;
	unsigned long i;
	int ret;

	blocks = kvzalloc(struct_size(blocks, pages, ask->nr), GFP_KERNEL);
	if (!blocks)
		return -ENOMEM;
	blocks->nr = ask->nr;
	blocks->nid = ask->nid;
	blocks->order = ask->order;
	ret = ask->alloc_only ? cdm_test_alloc_only(mem, ask, blocks) :
				cdm_test_claim(mem, ask, blocks);

	blocks->nr = ask->nr_recalled;
	for (i = 0; i < blocks->nr; i++)
		ask->nr_dirty += cdm_test_use(blocks->pages[i], ask->order);
	mutex_lock(&priv->lock);
	list_add(&blocks->list, &priv->blocks);
	mutex_unlock(&priv->lock);
	return ret;
}

static long cdm_test_ioc_recall(struct cdm_test_file *priv, void __user *arg)
{
	struct cdm_test_recall ask;
	struct cdm_memory *mem;
	int ret = -ENODEV;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	if (ask.nr > 1 << 20)
		return -EINVAL;
	ask.nr_recalled = 0;
	ask.nr_evicted = 0;
	ask.nr_asked = 0;
	ask.nr_dirty = 0;

	mutex_lock(&cdm_test_lock);
	mem = cdm_test_memory(ask.nid);
	if (mem)
		ret = cdm_test_take(priv, mem, &ask);
	mutex_unlock(&cdm_test_lock);
	return copy_to_user(arg, &ask, sizeof(ask)) ? -EFAULT : ret;
}

/* Returns how many pages somebody else has written to. */
static unsigned long cdm_test_free_blocks(struct cdm_test_blocks *blocks)
{
	struct cdm_memory *mem = cdm_test_memory(blocks->nid);
	unsigned long i, nr_spoilt = cdm_test_nr_spoilt(blocks);

	for (i = 0; i < blocks->nr; i++)
		cdm_free_pages(mem, blocks->pages[i], blocks->order);
	kvfree(blocks);
	return nr_spoilt;
}

static long cdm_test_ioc_free(struct cdm_test_file *priv)
{
	struct cdm_test_blocks *blocks, *next;
	unsigned long nr_spoilt = 0;

	mutex_lock(&cdm_test_lock);
	mutex_lock(&priv->lock);
	list_for_each_entry_safe(blocks, next, &priv->blocks, list)
		nr_spoilt += cdm_test_free_blocks(blocks);
	INIT_LIST_HEAD(&priv->blocks);
	mutex_unlock(&priv->lock);
	mutex_unlock(&cdm_test_lock);
	return min(nr_spoilt, INT_MAX);
}

static int cdm_test_hold(struct cdm_memory *mem, unsigned int cmd,
			 const struct cdm_test_reserve *ask)
{
	switch (cmd) {
	case CDM_TEST_IOC_RESERVE:
		return cdm_set_reserve(mem, ask->nr_pages, ask->deadline_ms);
	case CDM_TEST_IOC_SUSPEND:
		return cdm_suspend_memory(mem, ask->deadline_ms, NULL);
	default:
		cdm_resume_memory(mem);
		return 0;
	}
}

/* RESERVE, SUSPEND and RESUME, which are asked for in the same way. */
static long cdm_test_ioc_hold(unsigned int cmd, void __user *arg)
{
	struct cdm_test_reserve ask;
	struct cdm_memory *mem;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	scoped_guard(mutex, &cdm_test_lock) {
		mem = cdm_test_memory(ask.nid);
		if (!mem)
			return -ENODEV;
		if (cmd != CDM_TEST_IOC_RESERVE)
			return cdm_test_hold(mem, cmd, &ask);
	}
	/* Several at a time: no test takes the memory away meanwhile. */
	return cdm_test_hold(mem, cmd, &ask);
}

static long cdm_test_ioc_lose(void __user *arg)
{
	struct cdm_test_lose ask;
	struct cdm_loss loss = { };
	struct cdm_memory *mem;
	int ret = -ENODEV;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	mutex_lock(&cdm_test_lock);
	mem = cdm_test_memory(ask.nid);
	if (mem) {
		ret = cdm_lose_memory(mem, &loss);
		cdm_test_forget(mem, !ret);
	}
	mutex_unlock(&cdm_test_lock);
	ask.nr_lost = loss.nr_lost;
	ask.nr_saved = loss.nr_saved;
	ask.nr_left = loss.nr_left;
	return copy_to_user(arg, &ask, sizeof(ask)) ? -EFAULT : ret;
}

static void cdm_test_mark(struct irq_work *work)
{
	WARN_ON(!in_hardirq());
	cdm_mark_lost(cdm_test_device());
}

/* Nothing that others hold is needed: they may be waiting for this. */
static long cdm_test_ioc_link(void __user *arg)
{
	struct irq_work mark = IRQ_WORK_INIT_HARD(cdm_test_mark);
	u32 link;

	if (copy_from_user(&link, arg, sizeof(link)))
		return -EFAULT;
	if (link > CDM_TEST_LINK_MARK)
		return -EINVAL;
	if (link == CDM_TEST_LINK_MARK) {
		irq_work_queue(&mark);
		irq_work_sync(&mark);
		return 0;
	}
	WRITE_ONCE(cdm_test_link_is_down, link == CDM_TEST_LINK_DOWN);
	return 0;
}

static long cdm_test_ioc_spoil(void __user *arg)
{
	struct cdm_test_peek ask;
	u64 addr;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	for (addr = ask.start; addr < ask.start + ask.size; addr += PAGE_SIZE) {
		struct page *page = pfn_to_online_page(PHYS_PFN(addr));

		if (!page || !node_state(page_to_nid(page), N_COHERENT_DEVICE))
			return -EINVAL;
		memset_page(page, 0, CDM_TEST_NONSENSE, PAGE_SIZE);
	}
	return 0;
}

struct cdm_test_async {
	struct cdm_migration migration;
	struct completion done;
	int ret;
};

static void cdm_test_async_done(struct cdm_migration *migration, int ret)
{
	struct cdm_test_async *async =
		container_of(migration, struct cdm_test_async, migration);

	async->ret = ret;
	complete(&async->done);
}

/* A migration in the background, cancelled at once or waited for. */
static long cdm_test_ioc_migrate_async(void __user *arg)
{
	struct cdm_test_migrate ask;
	struct cdm_test_async *async;
	long ret;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	async = kzalloc(sizeof(*async), GFP_KERNEL);
	if (!async)
		return -ENOMEM;
	async->migration.mm = current->mm;
	async->migration.start = ask.addr;
	async->migration.size = ask.size;
	async->migration.nid = ask.nid;
	async->migration.done = cdm_test_async_done;
	init_completion(&async->done);
	cdm_migrate_start(&async->migration);
	if (ask.status)
		cdm_migrate_cancel(&async->migration);
	wait_for_completion(&async->done);
	ret = async->ret;
	/* It may be about to return from @done. */
	flush_work(&async->migration.work);
	kfree(async);
	return ret;
}

static long cdm_test_ioc_report(void __user *arg)
{
	struct cdm_test_report ask;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	return cdm_report_accesses(ask.nid, current->mm, ask.addr, ask.size,
				   ask.nr);
}

static int cdm_test_hold_lock(void)
{
	struct mm_struct *mm = current->mm;
	int ret;

	ret = wait_event_interruptible(cdm_test_hold_wait,
				       READ_ONCE(cdm_test_hold_asked));
	if (ret)
		return ret;
	mmap_write_lock(mm);
	WRITE_ONCE(cdm_test_held, true);
	wake_up_all(&cdm_test_hold_wait);
	ret = wait_event_interruptible(cdm_test_hold_wait, false);
	mmap_write_unlock(mm);
	return ret;
}

static long cdm_test_ioc_hold_mmap(void __user *arg)
{
	struct cdm_test_report ask;
	int ret;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	if (cmpxchg(&cdm_test_holder, NULL, current->mm))
		return -EBUSY;
	ret = cdm_report_accesses(ask.nid, current->mm, ask.addr, ask.size,
				  ask.nr);
	if (!ret)
		ret = cdm_test_hold_lock();
	WRITE_ONCE(cdm_test_hold_asked, false);
	WRITE_ONCE(cdm_test_held, false);
	WRITE_ONCE(cdm_test_holder, NULL);
	wake_up_all(&cdm_test_hold_wait);
	/* The report has been made, and must not be made again by a restart. */
	return ret == -ERESTARTSYS ? -EINTR : ret;
}

/* But for writeback there is no reference of ours: the caller maps it, and is here. */
static long cdm_test_hold_folio(struct folio *folio, unsigned int how)
{
	int ret, nr_refs = 0;

	folio_lock(folio);
	if (how == CDM_TEST_HOLD_WRITEBACK) {
		folio_get(folio);
		folio_start_writeback(folio);
	}
	if (how == CDM_TEST_HOLD_FROZEN) {
		nr_refs = folio_ref_count(folio);
		if (!folio_ref_freeze(folio, nr_refs)) {
			folio_unlock(folio);
			return -EAGAIN;
		}
	}
	if (how != CDM_TEST_HOLD_LOCKED)
		folio_unlock(folio);
	atomic_inc(&cdm_test_nr_folios);
	ret = wait_event_interruptible(cdm_test_hold_wait, false);
	atomic_dec(&cdm_test_nr_folios);
	if (how == CDM_TEST_HOLD_LOCKED)
		folio_unlock(folio);
	if (how == CDM_TEST_HOLD_WRITEBACK) {
		folio_end_writeback(folio);
		folio_put(folio);
	}
	if (how == CDM_TEST_HOLD_FROZEN)
		folio_ref_unfreeze(folio, nr_refs);
	return ret == -ERESTARTSYS ? -EINTR : ret;
}

static long cdm_test_ioc_hold_folio(void __user *arg)
{
	struct cdm_test_hold_folio ask;
	struct page *page;
	int ret;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	if (ask.how >= CDM_TEST_HOLD_NR)
		return -EINVAL;
	/* A folio under writeback stays shared, and as clean as it is. */
	ret = get_user_pages_fast(ask.addr, 1,
				  ask.how == CDM_TEST_HOLD_WRITEBACK ? 0 :
				  FOLL_WRITE, &page);
	if (ret < 0)
		return ret;
	put_page(page);
	return cdm_test_hold_folio(page_folio(page), ask.how);
}

static long cdm_test_ioc_veto(struct cdm_test_file *priv, void __user *arg)
{
	struct cdm_test_veto veto;

	if (copy_from_user(&veto, arg, sizeof(veto)))
		return -EFAULT;
	WRITE_ONCE(cdm_test_veto_start, veto.addr);
	WRITE_ONCE(cdm_test_veto_size, veto.size);
	priv->veto = true;
	return 0;
}

long cdm_test_owner_ioctl(struct cdm_test_file *priv, unsigned int cmd,
			  void __user *user)
{
	switch (cmd) {
	case CDM_TEST_IOC_RECALL:
		return cdm_test_ioc_recall(priv, user);
	case CDM_TEST_IOC_FREE:
		return cdm_test_ioc_free(priv);
	case CDM_TEST_IOC_RESERVE:
	case CDM_TEST_IOC_SUSPEND:
	case CDM_TEST_IOC_RESUME:
		return cdm_test_ioc_hold(cmd, user);
	case CDM_TEST_IOC_LOSE:
		return cdm_test_ioc_lose(user);
	case CDM_TEST_IOC_MIGRATE_ASYNC:
		return cdm_test_ioc_migrate_async(user);
	case CDM_TEST_IOC_EVENTS:
		return cdm_test_ioc_events(user);
	case CDM_TEST_IOC_REPORT:
		return cdm_test_ioc_report(user);
	case CDM_TEST_IOC_LINK:
		return cdm_test_ioc_link(user);
	case CDM_TEST_IOC_SPOIL:
		return cdm_test_ioc_spoil(user);
	case CDM_TEST_IOC_VETO:
		return cdm_test_ioc_veto(priv, user);
	case CDM_TEST_IOC_HOLD:
		return cdm_test_ioc_hold_mmap(user);
	case CDM_TEST_IOC_HOLD_FOLIO:
		return cdm_test_ioc_hold_folio(user);
	default:
		return -ENOTTY;
	}
}

void cdm_test_owner_release(struct cdm_test_file *priv)
{
	cdm_test_ioc_free(priv);
	if (priv->veto)
		WRITE_ONCE(cdm_test_veto_size, 0);
}
