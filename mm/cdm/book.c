// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: the records of who uses what.
 *
 * Each device node has a book with a record for each 2 MiB of an address space that
 * the device has used lately. There are at most twice as many as fit on the node:
 * the one that had no news for longest makes room for a new one. Of one address space
 * there are as many as fit on it.
 */
#include <linux/cdm.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/rhashtable.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "balance.h"
#include "internal.h"

static const struct rhashtable_params cdm_book_params = {
	.head_offset = offsetof(struct cdm_record, node),
	.key_offset = offsetof(struct cdm_record, key),
	.key_len = sizeof_field(struct cdm_record, key),
	.automatic_shrinking = true,
};

static struct kmem_cache *cdm_record_cache;

/* Of each node that ever was a device node; set once, when it is registered. */
static struct cdm_book *cdm_books[MAX_NUMNODES];

struct cdm_book *cdm_book(int nid)
{
	/* With what smp_store_release() published. */
	return smp_load_acquire(&cdm_books[nid]);
}

/* Make a book for @nid, which is being registered, unless it has one. */
int cdm_book_add(int nid)
{
	struct cdm_book *book;
	int ret;

	if (cdm_book(nid))
		return 0;
	book = kzalloc(sizeof(*book), GFP_KERNEL);
	if (!book)
		return -ENOMEM;
	ret = rhashtable_init(&book->table, &cdm_book_params);
	if (ret) {
		kfree(book);
		return ret;
	}
	book->nid = nid;
	spin_lock_init(&book->lock);
	INIT_LIST_HEAD(&book->records);
	INIT_LIST_HEAD(&book->news);
	hash_init(book->users);
	INIT_LIST_HEAD(&book->all_users);
	INIT_DELAYED_WORK(&book->work, cdm_balance_work);
	/* Reports look for it without a lock. */
	smp_store_release(&cdm_books[nid], book);
	cdm_view_add(book);
	return 0;
}

/* Drop the oldest records, until there are no more than @nr. May let go of the lock. */
void cdm_book_shrink(struct cdm_book *book, unsigned long nr)
{
	lockdep_assert_held(&book->lock);
	while (book->nr > nr) {
		cdm_record_drop(book, list_last_entry(&book->records,
						      struct cdm_record, list));
		cond_resched_lock(&book->lock);
	}
}

/* The memory of @nid has become more or less. */
void cdm_book_resize(int nid)
{
	struct cdm_book *book = cdm_book(nid);

	spin_lock(&book->lock);
	book->max = 2 * DIV_ROUND_UP(node_present_pages(nid),
				     CDM_RECORD_SIZE / PAGE_SIZE);
	cdm_book_shrink(book, book->max);
	/* The next owner begins anew. */
	if (!book->max)
		book->off = false;
	spin_unlock(&book->lock);
}

unsigned long cdm_now(void)
{
	return jiffies / msecs_to_jiffies(CDM_PERIOD);
}

u32 cdm_now_us(void)
{
	return ktime_to_us(ktime_get());
}

struct cdm_record *cdm_record_find(struct cdm_book *book, struct mm_struct *mm,
				   unsigned long addr)
{
	const struct cdm_record_key key = {
		.mm = mm,
		.start = ALIGN_DOWN(addr, CDM_RECORD_SIZE),
	};

	lockdep_assert_held(&book->lock);
	return rhashtable_lookup_fast(&book->table, &key, cdm_book_params);
}

static struct cdm_user *cdm_user_find(struct cdm_book *book,
				      struct mm_struct *mm)
{
	struct cdm_user *user;

	lockdep_assert_held(&book->lock);
	hash_for_each_possible(book->users, user, node, (unsigned long)mm) {
		if (user->mm == mm)
			return user;
	}
	return NULL;
}

static struct cdm_user *cdm_user_add(struct cdm_book *book, struct mm_struct *mm)
{
	struct cdm_user *user;

	lockdep_assert_held(&book->lock);
	user = kzalloc(sizeof(*user), GFP_NOWAIT | __GFP_NOWARN);
	if (!user)
		return NULL;
	INIT_LIST_HEAD(&user->records);
	user->mm = mm;
	mmgrab(mm);
	hash_add(book->users, &user->node, (unsigned long)mm);
	list_add_tail(&user->list, &book->all_users);
	return user;
}

/* An address space without records is nobody's business. */
static void cdm_user_put(struct cdm_book *book, struct cdm_user *user)
{
	lockdep_assert_held(&book->lock);
	if (user->nr)
		return;
	hash_del(&user->node);
	list_del(&user->list);
	mmdrop(user->mm);
	kfree(user);
}

void cdm_record_drop(struct cdm_book *book, struct cdm_record *record)
{
	struct cdm_user *user = record->user;

	lockdep_assert_held(&book->lock);
	rhashtable_remove_fast(&book->table, &record->node, cdm_book_params);
	list_del(&record->list);
	list_del(&record->news);
	list_del(&record->own);
	book->nr--;
	user->nr--;
	record->user = NULL;
	cdm_user_put(book, user);
	kfree_rcu(record, rcu);
}

/* Drop all records of an address space. Lets go of the lock, if it takes long. */
static void cdm_user_drop(struct cdm_book *book, struct mm_struct *mm)
{
	struct cdm_user *user;

	lockdep_assert_held(&book->lock);
	mmgrab(mm);
	while ((user = cdm_user_find(book, mm))) {
		cdm_record_drop(book, list_last_entry(&user->records,
						      struct cdm_record, own));
		cond_resched_lock(&book->lock);
	}
	mmdrop(mm);
}

/*
 * Drop the records of address spaces that have ended, and whose structures are kept by
 * nothing else. May let go of the lock.
 */
void cdm_book_drop_dead(struct cdm_book *book)
{
	struct cdm_user *user;
	unsigned long nr;

	lockdep_assert_held(&book->lock);
	nr = list_count_nodes(&book->all_users);
	for (; nr && !list_empty(&book->all_users); nr--) {
		user = list_first_entry(&book->all_users, struct cdm_user, list);
		list_move_tail(&user->list, &book->all_users);
		if (!atomic_read(&user->mm->mm_users))
			cdm_user_drop(book, user->mm);
		cond_resched_lock(&book->lock);
	}
}

/* An address space that has as many records as it may have loses its oldest. */
static void cdm_user_make_room(struct cdm_book *book, struct mm_struct *mm)
{
	struct cdm_user *user = cdm_user_find(book, mm);

	lockdep_assert_held(&book->lock);
	if (user && user->nr >= max(book->max / 2, 1UL))
		cdm_record_drop(book, list_last_entry(&user->records,
						      struct cdm_record, own));
}

static struct cdm_record *cdm_record_add(struct cdm_book *book,
					 struct mm_struct *mm,
					 unsigned long addr)
{
	struct cdm_record *record;
	struct cdm_user *user;

	lockdep_assert_held(&book->lock);
	if (!book->max || book->off)
		return NULL;
	cdm_user_make_room(book, mm);
	cdm_book_shrink(book, book->max - 1);
	record = kmem_cache_zalloc(cdm_record_cache,
				   GFP_NOWAIT | __GFP_NOWARN);
	if (!record)
		return NULL;
	user = cdm_user_find(book, mm) ?: cdm_user_add(book, mm);
	if (!user)
		goto err_free;
	record->user = user;
	record->key.mm = mm;
	record->key.start = ALIGN_DOWN(addr, CDM_RECORD_SIZE);
	/* All fade at the same time, so that they can be compared. */
	record->faded = rounddown(cdm_now(), CDM_HALF_LIFE);
	record->asked = cdm_now() - CDM_ASK_AGAIN;
	INIT_LIST_HEAD(&record->news);
	if (rhashtable_insert_fast(&book->table, &record->node,
				   cdm_book_params))
		goto err_user;
	list_add(&record->list, &book->records);
	list_add(&record->own, &user->records);
	book->nr++;
	user->nr++;
	return record;

err_user:
	cdm_user_put(book, user);
err_free:
	kmem_cache_free(cdm_record_cache, record);
	return NULL;
}

/* Take the evidence down for its age. */
void cdm_record_fade(struct cdm_record *record)
{
	unsigned long nr_halves = (cdm_now() - record->faded) / CDM_HALF_LIFE;
	unsigned int i;

	if (!nr_halves)
		return;
	for (i = 0; i < cdm_record_groups(record); i++)
		cdm_evidence_fade(&record->groups[i], nr_halves);
	record->faded += nr_halves * CDM_HALF_LIFE;
}

/* It has become one huge page, or ceased to be one: as on average, or as it was. */
void cdm_record_set_whole(struct cdm_record *record, bool whole)
{
	struct cdm_evidence *first = &record->groups[0];
	u64 device = 0, cpu = 0;
	s64 lean = 0, use = 0;
	unsigned int i;

	if (record->whole == whole)
		return;
	record->whole = whole;
	for (i = 0; whole && i < CDM_NR_GROUPS; i++) {
		lean += record->groups[i].lean;
		use += record->groups[i].use;
		device += record->groups[i].device;
		cpu += record->groups[i].cpu;
	}
	if (whole) {
		first->lean = div_s64(lean, CDM_NR_GROUPS);
		first->use = div_s64(use, CDM_NR_GROUPS);
		first->device = device / CDM_NR_GROUPS;
		first->cpu = cpu / CDM_NR_GROUPS;
	}
	for (i = 1; !whole && i < CDM_NR_GROUPS; i++)
		record->groups[i] = *first;
	bitmap_zero(record->hinted, CDM_NR_GROUPS);
}

/* Have the worker look after it, in so many ms. */
void cdm_book_wake(struct cdm_book *book, unsigned int delay)
{
	mod_delayed_work(system_unbound_wq, &book->work,
			 msecs_to_jiffies(delay));
}

/* There are news about @record: first among all, and something for the worker. */
static void cdm_record_touch(struct cdm_book *book, struct cdm_record *record)
{
	lockdep_assert_held(&book->lock);
	list_move(&record->list, &book->records);
	list_move(&record->own, &record->user->records);
	if (!list_empty(&record->news))
		return;
	if (list_empty(&book->news))
		cdm_book_wake(book, CDM_PERIOD);
	list_add_tail(&record->news, &book->news);
}

/* The administrator may want none. */
void cdm_book_switch(int nid, bool off)
{
	struct cdm_book *book = cdm_book(nid);

	spin_lock(&book->lock);
	book->off = off;
	if (off)
		cdm_book_shrink(book, 0);
	spin_unlock(&book->lock);
}

bool cdm_book_is_off(int nid)
{
	return READ_ONCE(cdm_book(nid)->off);
}

/* Accesses to a group, or a part of one, of which page @addr is the first. */
static void cdm_record_count(struct cdm_record *record, unsigned long addr,
			     u32 device, u32 cpu)
{
	unsigned int group = cdm_group_of(addr);

	cdm_record_fade(record);
	if (record->whole)
		cdm_evidence_add(&record->groups[0],
				 DIV_ROUND_UP(device, CDM_NR_GROUPS),
				 DIV_ROUND_UP(cpu, CDM_NR_GROUPS));
	else
		cdm_evidence_add(&record->groups[group], device, cpu);
}

/* Where the pages of a group are: most of them on @nid, or some elsewhere? */
void cdm_group_see(unsigned long *resident, unsigned long *strays,
		   unsigned int group, const int *nodes, unsigned int nr_pages,
		   int nid)
{
	unsigned int i, nr_there = 0, nr_elsewhere = 0;

	for (i = 0; i < nr_pages; i++) {
		nr_there += nodes[i] == nid;
		nr_elsewhere += nodes[i] >= 0 && nodes[i] != nid;
	}
	__assign_bit(group, resident, nr_there > nr_elsewhere);
	__assign_bit(group, strays, nr_there && nr_elsewhere);
}

/* The device has used a group, or a part of it. */
static void cdm_report_group(struct cdm_book *book, struct mm_struct *mm,
			     unsigned long addr, unsigned int nr_pages, u32 nr,
			     const int *nodes)
{
	struct cdm_record *record = cdm_record_find(book, mm, addr) ?:
				    cdm_record_add(book, mm, addr);

	lockdep_assert_held(&book->lock);
	if (!record)
		return;
	cdm_group_see(record->resident, record->strays, cdm_group_of(addr),
		      nodes, nr_pages, book->nid);
	if (record->whole && test_bit(cdm_group_of(addr), record->resident))
		bitmap_fill(record->resident, CDM_NR_GROUPS);
	else if (record->whole)
		bitmap_zero(record->resident, CDM_NR_GROUPS);
	cdm_record_count(record, addr, nr, 0);
	cdm_record_touch(book, record);
}

/*
 * Another device has. That speaks against its coming to this one; what is there
 * already is for the other one to take.
 */
static void cdm_report_rival(struct cdm_book *book, struct mm_struct *mm,
			     unsigned long addr, u32 nr)
{
	struct cdm_record *record;

	if (!READ_ONCE(book->nr))
		return;
	spin_lock(&book->lock);
	record = cdm_record_find(book, mm, addr);
	if (record && !test_bit(cdm_group_of(addr), record->resident))
		cdm_record_count(record, addr, 0, nr);
	spin_unlock(&book->lock);
}

static bool cdm_is_present(const int *nodes, unsigned int nr_pages)
{
	unsigned int i;

	for (i = 0; i < nr_pages; i++) {
		if (nodes[i] >= 0)
			return true;
	}
	return false;
}

/*
 * Device node @nid has accessed @nr_pages pages from @start on, within a record,
 * @nr times; @nodes says where they are.
 */
void cdm_report_device(int nid, struct mm_struct *mm, unsigned long start,
		       unsigned int nr_pages, unsigned long nr,
		       const int *nodes)
{
	unsigned long addr = start, end = start + nr_pages * PAGE_SIZE, next;
	struct cdm_book *book = cdm_book(nid);
	u32 nr_here;
	int other;

	if (!cdm_balancing())
		return;
	for (; addr < end; addr = next) {
		next = min(end, ALIGN_DOWN(addr, CDM_GROUP_SIZE) +
				CDM_GROUP_SIZE);
		/* Memory that is not there cannot be moved. */
		if (!cdm_is_present(nodes + (addr - start) / PAGE_SIZE,
				    (next - addr) / PAGE_SIZE))
			continue;
		nr_here = min_t(u64, U32_MAX / 2,
				mul_u64_u64_div_u64(nr, next - addr,
						    end - start));
		spin_lock(&book->lock);
		cdm_report_group(book, mm, addr, (next - addr) / PAGE_SIZE,
				 nr_here, nodes + (addr - start) / PAGE_SIZE);
		spin_unlock(&book->lock);
		for_each_node_mask(other, cdm_nodes) {
			if (other != nid && cdm_book(other))
				cdm_report_rival(cdm_book(other), mm, addr,
						 nr_here);
		}
	}
}

/*
 * Somebody has come to a group on which one had to fault: a CPU, or the device, which
 * counts its accesses itself. The hint is gone in any case.
 */
static void cdm_record_fault(struct cdm_book *book, struct cdm_record *record,
			     unsigned long addr, bool by_cpu)
{
	unsigned int group = record->whole ? 0 : cdm_group_of(addr);
	struct cdm_evidence *ev = &record->groups[group];
	u32 passes;

	lockdep_assert_held(&book->lock);
	if (!__test_and_clear_bit(group, record->hinted))
		return;
	cdm_record_touch(book, record);
	if (!by_cpu)
		return;
	passes = cdm_evidence_passes(record->hint_gap,
				     cdm_now_us() - ev->hinted);
	cdm_record_count(record, addr,
			 0, passes * CDM_PASS *
			    (record->whole ? CDM_NR_GROUPS : 1));
}

static bool cdm_record_is_hinted(const struct cdm_record *record,
				 unsigned long addr)
{
	unsigned int group = READ_ONCE(record->whole) ? 0 : cdm_group_of(addr);

	return test_bit(group, record->hinted);
}

/*
 * Most hint faults of a machine are those of other kinds of balancing, and of no concern
 * here: they do not take the lock of each book. A hint of ours is noted before anybody
 * can fault on it.
 */
void cdm_report_fault(struct mm_struct *mm, unsigned long addr, bool by_cpu)
{
	const struct cdm_record_key key = {
		.mm = mm,
		.start = ALIGN_DOWN(addr, CDM_RECORD_SIZE),
	};
	struct cdm_record *record;
	struct cdm_book *book;
	int nid;

	rcu_read_lock();
	for_each_node_mask(nid, cdm_nodes) {
		book = cdm_book(nid);
		if (!book || !READ_ONCE(book->nr))
			continue;
		record = rhashtable_lookup(&book->table, &key, cdm_book_params);
		if (!record || !cdm_record_is_hinted(record, addr))
			continue;
		spin_lock(&book->lock);
		if (record->user)
			cdm_record_fault(book, record, addr, by_cpu);
		spin_unlock(&book->lock);
	}
	rcu_read_unlock();
}

static int __init cdm_book_init(void)
{
	cdm_record_cache = KMEM_CACHE(cdm_record, SLAB_PANIC);
	return 0;
}
subsys_initcall(cdm_book_init);
