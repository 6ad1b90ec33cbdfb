// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: placement by use, across the fence.
 *
 * What a device and the CPUs use is recorded group by group: book.c. A worker for
 * each device node looks at the records with news, and moves neighbours that should
 * be elsewhere together, through the migration core. Nothing is moved by who happens
 * to come along, neither by a fault of a CPU nor by the report of a device.
 */
#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/vmstat.h>

#include <trace/events/cdm.h>

#include "balance.h"
#include "internal.h"

/* What a worker does in a period, at most: pages in each direction, and hints. */
#define CDM_MAX_MOVES	(SZ_64M / PAGE_SIZE)
#define CDM_MAX_HINTS	256

/* Of so many records, those without news for longest, the one least used goes. */
#define CDM_SEARCH	1024

/* After so many us without a fault, hints are set anew. */
#define CDM_HINT_LIFE	(20 * CDM_PERIOD * USEC_PER_MSEC)

/* Left free for others, when room is made. */
#define CDM_ROOM	(SZ_2M / PAGE_SIZE)

#define CDM_GROUP_PAGES	(CDM_GROUP_SIZE / PAGE_SIZE)

/* A turn of the worker. */
struct cdm_turn {
	struct cdm_book *book;
	struct list_head news;		/* what there was when it began */
	struct cdm_scratch scratch;
	unsigned int nr_moves[2];	/* that are left, by enum cdm_side */
	unsigned int nr_hints;		/* the same */
	bool drained;			/* the batches of all CPUs */
};

/* A record at hand; itself it may be dropped any time. */
struct cdm_case {
	struct cdm_turn *turn;
	struct mm_struct *mm;		/* with a reference to the users */
	unsigned long start;
	int home;			/* where it goes in RAM, and nowhere else */
	bool full;			/* but there is no room there */
	bool busy;			/* it has its mmap lock now */
	bool whole;
	s64 use;			/* of what wants to go to the device */
	DECLARE_BITMAP(resident, CDM_NR_GROUPS);
	DECLARE_BITMAP(strays, CDM_NR_GROUPS);	/* some of it is not */
	unsigned long wants[2][BITS_TO_LONGS(CDM_NR_GROUPS)];	/* by cdm_side */
	DECLARE_BITMAP(hint, CDM_NR_GROUPS);	/* is to be hinted */
	enum cdm_verdict fixed[CDM_NR_GROUPS];	/* CDM_STAY_*, or 0 */
};

static void cdm_note_verdict(const struct cdm_case *c, unsigned int group,
			     const struct cdm_evidence *ev,
			     enum cdm_verdict verdict)
{
	trace_cdm_balance(c->turn->book->nid,
			  c->start + group * CDM_GROUP_SIZE,
			  c->whole ? CDM_RECORD_SIZE : CDM_GROUP_SIZE,
			  ev->device, ev->cpu, ev->lean, ev->hold, verdict);
	if (verdict >= CDM_STAY_SHARED && verdict < CDM_GO_DEVICE)
		count_vm_event(CDM_KEPT_SHARED + verdict - CDM_STAY_SHARED);
}

/* The whole of a huge page, or a group. */
static void cdm_case_want(struct cdm_case *c, unsigned int group,
			  enum cdm_side side)
{
	if (c->whole)
		bitmap_fill(c->wants[side], CDM_NR_GROUPS);
	else
		__set_bit(group, c->wants[side]);
}

/*
 * Is it time to make CPUs fault there? What hints have been set may have got lost, as
 * when pages are migrated.
 */
static bool cdm_wants_hint(const struct cdm_record *record, unsigned int group)
{
	const struct cdm_evidence *ev = &record->groups[group];

	if (!test_bit(group, record->resident) && !ev->device)
		return false;
	return !test_bit(group, record->hinted) ||
	       cdm_now_us() - record->hint_us > CDM_HINT_LIFE;
}

/* After so many periods, what has not moved with its neighbours is fetched. */
#define CDM_FETCH_PERIODS	10

static bool cdm_may_fetch(struct cdm_record *record)
{
	if (bitmap_empty(record->strays, CDM_NR_GROUPS) ||
	    cdm_now() - record->fetched < CDM_FETCH_PERIODS)
		return false;
	record->fetched = cdm_now();
	return true;
}

/* By the evidence alone: what should go where? */
static void cdm_case_judge(struct cdm_case *c, struct cdm_record *record)
{
	bool may_fetch = cdm_may_fetch(record);
	unsigned int group, nr = 0;
	enum cdm_verdict verdict;

	for (group = 0; group < cdm_record_groups(record); group++) {
		const struct cdm_evidence *ev = &record->groups[group];
		enum cdm_side side = test_bit(group, record->resident);

		__assign_bit(group, c->hint, cdm_wants_hint(record, group));
		verdict = cdm_evidence_verdict(ev, side);
		if (verdict == CDM_GO_DEVICE) {
			cdm_case_want(c, group, CDM_ON_DEVICE);
			c->use += ev->use;
			nr++;
		} else if (verdict == CDM_GO_RAM) {
			cdm_case_want(c, group, CDM_IN_RAM);
		} else if (verdict != CDM_STAY_UNSURE) {
			cdm_note_verdict(c, group, ev, verdict);
		} else if (may_fetch && test_bit(group, record->strays) &&
			   cdm_evidence_is_sure(ev, side)) {
			cdm_case_want(c, group, side);
		}
	}
	if (nr)
		c->use = div_s64(c->use, nr);
}

/* Take @record up. Returns false, and drops it, if the process is gone. */
static bool cdm_case_open(struct cdm_case *c, struct cdm_turn *turn,
			  struct cdm_record *record)
{
	lockdep_assert_held(&turn->book->lock);
	if (!mmget_not_zero(record->key.mm)) {
		cdm_record_drop(turn->book, record);
		return false;
	}
	memset(c, 0, sizeof(*c));
	c->turn = turn;
	c->mm = record->key.mm;
	c->start = record->key.start;
	c->whole = record->whole;
	cdm_record_fade(record);
	return true;
}

static void cdm_case_close(struct cdm_case *c)
{
	mmput_async(c->mm);
}

/* What a walk finds: is it there, and may it go? */
struct cdm_survey {
	struct cdm_case *c;
	bool huge;
	enum cdm_verdict fixed[CDM_NR_GROUPS];	/* by what is there */
	int device[CDM_NR_GROUPS];	/* another one on which some is, or 0 */
};

static void cdm_visit_survey(struct folio *folio, unsigned int nr_pages,
			     int *status, void *data)
{
	struct cdm_survey *survey = data;
	unsigned int group = (status - survey->c->turn->scratch.status) /
			     CDM_GROUP_PAGES;
	enum cdm_cause cause;

	*status = folio_nid(folio);
	survey->huge |= nr_pages * PAGE_SIZE >= CDM_RECORD_SIZE;
	/* There are no hints for it. */
	if (folio_test_anon(folio) && folio_likely_mapped_shared(folio))
		survey->fixed[group] = CDM_STAY_SHARED;
	if (!cdm_node(*status))
		return;
	if (*status != survey->c->turn->book->nid)
		survey->device[group] = *status;
	cause = cdm_cause(folio_pfn(folio));
	if (cause == CDM_BY_POLICY || cause == CDM_BY_POOL)
		survey->fixed[group] = CDM_STAY_POLICY;
}

/* Does the device on which it is let it go? */
static bool cdm_device_permits(const struct cdm_case *c, unsigned int group,
			       int nid)
{
	return !nid || (!cdm_book_is_off(nid) &&
			cdm_owner_permits(nid, c->mm,
					  c->start + group * CDM_GROUP_SIZE,
					  CDM_GROUP_SIZE, false));
}

/* Page cache comes to a device only if somebody asks for it. */
static bool cdm_vma_permits(struct vm_area_struct *vma, unsigned long addr,
			    int nid, int home)
{
	return vma_migratable(vma) && !is_vm_hugetlb_page(vma) &&
	       (vma_is_anonymous(vma) || vma_is_shmem(vma)) &&
	       cdm_policy_permits(vma, addr, nid, home);
}

/*
 * Set the bits in @barred of those groups of the record at @start that may not move
 * between RAM of @home and device node @nid, as far as their process goes. A mapping is
 * asked once, which asks all threads, unless it is shared memory with policies of its
 * own for parts of it.
 */
void cdm_find_barred(struct mm_struct *mm, unsigned long start, int nid, int home,
		     unsigned long *barred)
{
	VMA_ITERATOR(vmi, mm, start);
	unsigned long addr, first, last, end = start + CDM_RECORD_SIZE;
	struct vm_area_struct *vma;
	bool permits = false, uniform;

	mmap_assert_locked(mm);
	bitmap_zero(barred, CDM_NR_GROUPS);
	for_each_vma_range(vmi, vma, end) {
		uniform = !vma->vm_ops || !vma->vm_ops->get_policy;
		first = max(start, vma->vm_start);
		last = min(end, vma->vm_end);
		for (addr = first; addr < last;
		     addr = ALIGN_DOWN(addr, CDM_GROUP_SIZE) + CDM_GROUP_SIZE) {
			if (addr == first || !uniform)
				permits = cdm_vma_permits(vma, addr, nid, home);
			if (!permits)
				__set_bit(cdm_group_of(addr), barred);
		}
	}
}

static void cdm_case_find_home(struct cdm_case *c)
{
	int nid = c->turn->book->nid;
	nodemask_t mask, *ram = cdm_process_ram(c->mm, &mask);

	c->home = cdm_roomy_home(nid, ram);
	c->full = c->home == NUMA_NO_NODE;
	if (c->full)
		c->home = cdm_home(nid, ram);
}

/*
 * Look at where it is, and what speaks against moving it. Returns false if what is
 * recorded is not what is there: then it is put right, and judged the next time; or
 * if the process is busy.
 */
static bool cdm_case_survey(struct cdm_case *c)
{
	struct cdm_survey survey = { .c = c };
	int *status = c->turn->scratch.status;
	struct cdm_book *book = c->turn->book;
	DECLARE_BITMAP(barred, CDM_NR_GROUPS);
	struct cdm_record *record;
	unsigned int group;

	cdm_case_find_home(c);
	if (cdm_mmap_lock(c->mm, true)) {
		c->busy = true;
		return false;
	}
	cdm_walk_locked(c->mm, c->start, CDM_RECORD_SIZE / PAGE_SIZE, status,
			cdm_visit_survey, &survey);
	cdm_find_barred(c->mm, c->start, book->nid, c->home, barred);
	mmap_read_unlock(c->mm);
	for (group = 0; group < CDM_NR_GROUPS; group++) {
		cdm_group_see(c->resident, c->strays, group,
			      status + group * CDM_GROUP_PAGES, CDM_GROUP_PAGES,
			      book->nid);
		c->fixed[group] = test_bit(group, barred) ? CDM_STAY_POLICY :
							    survey.fixed[group];
		if (!cdm_device_permits(c, group, survey.device[group]))
			c->fixed[group] = CDM_STAY_VETO;
	}

	spin_lock(&book->lock);
	record = cdm_record_find(book, c->mm, c->start);
	if (record) {
		bitmap_copy(record->resident, c->resident, CDM_NR_GROUPS);
		bitmap_copy(record->strays, c->strays, CDM_NR_GROUPS);
		cdm_record_set_whole(record, survey.huge);
	}
	spin_unlock(&book->lock);
	return survey.huge == c->whole;
}

/* What became of a group; @moved: it is now at @side, and was not before. */
static void cdm_case_result(struct cdm_case *c, unsigned int group,
			    enum cdm_side side, bool moved,
			    enum cdm_verdict verdict)
{
	struct cdm_book *book = c->turn->book;
	struct cdm_record *record;

	spin_lock(&book->lock);
	record = cdm_record_find(book, c->mm, c->start);
	if (record) {
		struct cdm_evidence *ev = &record->groups[c->whole ? 0 : group];

		/* One line for a huge page. */
		if (!c->whole || !group)
			cdm_note_verdict(c, group, ev, verdict);
		if (moved && (!c->whole || !group)) {
			cdm_evidence_moved(ev, side, cdm_now());
			/* Without the hint it had. */
			__clear_bit(group, record->hinted);
			__set_bit(group, c->hint);
		}
		if (moved)
			__assign_bit(group, record->resident,
				     side == CDM_ON_DEVICE);
	}
	spin_unlock(&book->lock);
}

/* Most pages that are there have gone where they should? */
static bool cdm_has_moved(const int *status, int nid)
{
	unsigned int i, nr_there = 0, nr_left = 0;

	for (i = 0; i < CDM_GROUP_PAGES; i++) {
		if (status[i] >= 0 && cdm_in_place(status[i], nid))
			nr_there++;
		else if (status[i] != -ENOENT && status[i] != -EFAULT)
			nr_left++;
	}
	return nr_there > nr_left;
}

/* Move the groups from @first to @end, which are neighbours, to @side. */
static void cdm_case_move(struct cdm_case *c, unsigned int first,
			  unsigned int end, enum cdm_side side,
			  enum cdm_verdict verdict)
{
	int *status = c->turn->scratch.status;
	int nid = c->turn->book->nid;
	nodemask_t ram = nodemask_of_node(c->home);
	struct cdm_move move = {
		.mm = c->mm,
		.nowait = true,
		.drained = c->turn->drained,
		.from = side == CDM_ON_DEVICE ? NUMA_NO_NODE : nid,
		.nid = side == CDM_ON_DEVICE ? nid : NUMA_NO_NODE,
		.ram = side == CDM_ON_DEVICE ? NULL : &ram,
		.reason = MR_NUMA_MISPLACED,
		.end_pfn = ULONG_MAX,
	};
	unsigned int group;

	lru_add_drain();
	c->busy = cdm_migrate_batch(&move, c->start + first * CDM_GROUP_SIZE,
				    (end - first) * CDM_GROUP_PAGES,
				    &c->turn->scratch) < 0;
	c->turn->drained = move.drained;
	if (c->busy)
		return;
	for (group = first; group < end; group++) {
		bool moved = cdm_has_moved(status, move.nid);

		if (test_bit(group, c->resident) != side)
			cdm_case_result(c, group, side, moved,
					moved ? verdict : CDM_STAY_BUSY);
		status += CDM_GROUP_PAGES;
	}
	c->turn->nr_moves[side] -= min(c->turn->nr_moves[side],
				       (end - first) * CDM_GROUP_PAGES);
}

/* Why may this group, which the evidence wants at @side, not go there? */
static enum cdm_verdict cdm_case_obstacle(struct cdm_case *c,
					  unsigned int group,
					  enum cdm_side side)
{
	unsigned long addr = c->start + group * CDM_GROUP_SIZE;
	int nid = c->turn->book->nid;

	if (c->fixed[group])
		return c->fixed[group];
	if (side == CDM_ON_DEVICE && !cdm_may_target(c->mm, nid))
		return CDM_STAY_POLICY;
	if (!cdm_owner_permits(nid, c->mm, addr, CDM_GROUP_SIZE,
			       side == CDM_ON_DEVICE))
		return CDM_STAY_VETO;
	/* A device that is too small is no concern of those in RAM. */
	if (side == CDM_IN_RAM && c->full)
		return CDM_STAY_FULL;
	return 0;
}

/* Leave those out that are there already, or may not go. */
static void cdm_case_narrow(struct cdm_case *c, enum cdm_side side)
{
	enum cdm_verdict obstacle;
	unsigned int group;
	DECLARE_BITMAP(some, CDM_NR_GROUPS);

	if (side == CDM_ON_DEVICE)
		bitmap_complement(some, c->resident, CDM_NR_GROUPS);
	else
		bitmap_copy(some, c->resident, CDM_NR_GROUPS);
	bitmap_or(some, some, c->strays, CDM_NR_GROUPS);
	bitmap_and(c->wants[side], c->wants[side], some, CDM_NR_GROUPS);
	for_each_set_bit(group, c->wants[side], CDM_NR_GROUPS) {
		obstacle = cdm_case_obstacle(c, group, side);
		if (!obstacle)
			continue;
		cdm_case_result(c, group, side, false, obstacle);
		__clear_bit(group, c->wants[side]);
		/* A huge page goes as one. */
		if (c->whole)
			bitmap_zero(c->wants[side], CDM_NR_GROUPS);
	}
}

static void cdm_case_refuse(struct cdm_case *c, enum cdm_side side,
			    enum cdm_verdict verdict)
{
	unsigned int group;

	for_each_set_bit(group, c->wants[side], CDM_NR_GROUPS)
		cdm_case_result(c, group, side, false, verdict);
}

static void cdm_case_move_all(struct cdm_case *c, enum cdm_side side,
			      enum cdm_verdict verdict)
{
	unsigned int first, end;

	if (!c->turn->nr_moves[side]) {
		cdm_case_refuse(c, side, CDM_STAY_RATE);
		return;
	}
	for_each_set_bitrange(first, end, c->wants[side], CDM_NR_GROUPS) {
		cdm_case_move(c, first, end, side, verdict);
		if (c->busy)
			break;
		bitmap_clear(c->wants[side], first, end - first);
	}
}

static bool cdm_has_room(const struct cdm_book *book, unsigned long nr_pages)
{
	struct zone *zone = &NODE_DATA(book->nid)->node_zones[ZONE_MOVABLE];

	return zone_page_state_snapshot(zone, NR_FREE_PAGES) >=
	       nr_pages + CDM_ROOM + zone->lowmem_reserve[ZONE_MOVABLE];
}

/* The mean use of what of @record is on the device. */
static s64 cdm_resident_use(const struct cdm_record *record)
{
	unsigned int group, nr = bitmap_weight(record->resident, CDM_NR_GROUPS);
	s64 use = 0;

	if (record->whole)
		return record->groups[0].use;
	for_each_set_bit(group, record->resident, CDM_NR_GROUPS)
		use += record->groups[group].use;
	return div_s64(use, nr);
}

/*
 * Of the records without news for longest, the one whose pages on the device are
 * used least, if that is less than half of what @c is; but for that of @c.
 */
static struct cdm_record *cdm_least_used(struct cdm_book *book,
					 const struct cdm_case *c)
{
	struct cdm_record *record, *least = NULL;
	s64 use, least_use = c->use / 2;
	u32 now = cdm_now();
	unsigned int nr = 0;

	lockdep_assert_held(&book->lock);
	list_for_each_entry_reverse(record, &book->records, list) {
		if (nr++ == CDM_SEARCH)
			break;
		if (bitmap_empty(record->resident, CDM_NR_GROUPS) ||
		    now - record->asked < CDM_ASK_AGAIN ||
		    (record->key.mm == c->mm && record->key.start == c->start))
			continue;
		cdm_record_fade(record);
		use = cdm_resident_use(record);
		if (use >= least_use)
			continue;
		least = record;
		least_use = use;
	}
	return least;
}

/* Send home what is used much less than what wants to come. */
static bool cdm_make_way(const struct cdm_case *newcomer)
{
	struct cdm_turn *turn = newcomer->turn;
	struct cdm_book *book = turn->book;
	struct cdm_record *record;
	struct cdm_case c;
	bool opened = false;

	spin_lock(&book->lock);
	record = cdm_least_used(book, newcomer);
	if (record) {
		record->asked = cdm_now();
		opened = cdm_case_open(&c, turn, record);
	}
	spin_unlock(&book->lock);
	if (!record)
		return false;
	if (!opened)	/* the process is gone, and what it had */
		return true;

	c.whole = cdm_case_survey(&c) ? c.whole : !c.whole;
	if (!c.busy) {
		bitmap_copy(c.wants[CDM_IN_RAM], c.resident, CDM_NR_GROUPS);
		cdm_case_narrow(&c, CDM_IN_RAM);
		cdm_case_move_all(&c, CDM_IN_RAM, CDM_GO_ROOM);
	}
	cdm_case_close(&c);
	return true;
}

/* So many attempts, as some may not move. */
#define CDM_ATTEMPTS	8

static bool cdm_find_room(const struct cdm_case *c, unsigned long nr_pages)
{
	int i;

	for (i = 0; i < CDM_ATTEMPTS; i++) {
		if (cdm_has_room(c->turn->book, nr_pages))
			return true;
		if (!c->turn->nr_moves[CDM_IN_RAM] || !cdm_make_way(c))
			return false;
	}
	return cdm_has_room(c->turn->book, nr_pages);
}

static void cdm_case_place(struct cdm_case *c)
{
	unsigned int nr;

	cdm_case_narrow(c, CDM_IN_RAM);
	cdm_case_narrow(c, CDM_ON_DEVICE);
	cdm_case_move_all(c, CDM_IN_RAM, CDM_GO_RAM);
	if (c->busy)
		return;

	nr = bitmap_weight(c->wants[CDM_ON_DEVICE], CDM_NR_GROUPS);
	if (nr && !cdm_find_room(c, nr * CDM_GROUP_PAGES))
		cdm_case_refuse(c, CDM_ON_DEVICE, CDM_STAY_FULL);
	else
		cdm_case_move_all(c, CDM_ON_DEVICE, CDM_GO_DEVICE);
}

/* Note which groups are hinted: before they are, since they may fault at once. */
static void cdm_case_note_hints(struct cdm_case *c)
{
	struct cdm_book *book = c->turn->book;
	struct cdm_record *record;
	u32 now = cdm_now_us();
	unsigned int group;

	spin_lock(&book->lock);
	record = cdm_record_find(book, c->mm, c->start);
	if (record) {
		record->hint_gap = record->hint_us ? now - record->hint_us : 0;
		record->hint_us = now;
		for_each_set_bit(group, c->hint, CDM_NR_GROUPS) {
			if (!__test_and_set_bit(group, record->hinted))
				record->groups[group].hinted = now;
		}
	}
	spin_unlock(&book->lock);
}

/* Of those in c->hint none could be set. */
static void cdm_case_unnote_hints(struct cdm_case *c)
{
	struct cdm_book *book = c->turn->book;
	struct cdm_record *record;

	spin_lock(&book->lock);
	record = cdm_record_find(book, c->mm, c->start);
	if (record)
		bitmap_andnot(record->hinted, record->hinted, c->hint,
			      CDM_NR_GROUPS);
	spin_unlock(&book->lock);
}

/* Memory that the owner lets move in neither direction needs no hint faults. */
static void cdm_case_ask_owner(struct cdm_case *c)
{
	unsigned long size = c->whole ? CDM_RECORD_SIZE : CDM_GROUP_SIZE, addr;
	int nid = c->turn->book->nid;
	unsigned int group;

	for_each_set_bit(group, c->hint, CDM_NR_GROUPS) {
		addr = c->start + group * CDM_GROUP_SIZE;
		if (!cdm_owner_permits(nid, c->mm, addr, size, true) &&
		    !cdm_owner_permits(nid, c->mm, addr, size, false))
			__clear_bit(group, c->hint);
	}
}

/*
 * Make CPUs fault, so that their use is known as well. Where that is nowhere possible,
 * what is recorded is not what is there.
 */
static void cdm_case_hint(struct cdm_case *c)
{
	unsigned int nr = bitmap_weight(c->hint, CDM_NR_GROUPS), nr_set, nr_left;
	struct cdm_turn *turn = c->turn;

	if (!nr || !turn->nr_hints)
		return;
	cdm_case_find_home(c);
	cdm_case_note_hints(c);
	cdm_case_ask_owner(c);
	nr_set = cdm_set_hints(c->mm, c->start, c->whole, turn->book->nid,
			       c->home, c->hint);
	turn->nr_hints -= min(turn->nr_hints, nr_set);
	nr_left = bitmap_weight(c->hint, CDM_NR_GROUPS);
	if (nr_left)
		cdm_case_unnote_hints(c);
	if (nr_left == nr)
		cdm_case_survey(c);
}

static void cdm_balance_case(struct cdm_case *c)
{
	if (!cdm_balancing())
		return;
	if ((!bitmap_empty(c->wants[CDM_IN_RAM], CDM_NR_GROUPS) ||
	     !bitmap_empty(c->wants[CDM_ON_DEVICE], CDM_NR_GROUPS)) &&
	    cdm_case_survey(c))
		cdm_case_place(c);
	if (!c->busy)
		cdm_case_hint(c);
	if (c->busy) {
		/* The next news decides, as with pages that cannot be moved. */
		cdm_case_refuse(c, CDM_IN_RAM, CDM_STAY_BUSY);
		cdm_case_refuse(c, CDM_ON_DEVICE, CDM_STAY_BUSY);
	}
}

/* The next record with news; the process of one that has none may be gone. */
static bool cdm_next_case(struct cdm_case *c, struct cdm_turn *turn)
{
	struct cdm_book *book = turn->book;
	struct cdm_record *record;
	bool found = false;

	spin_lock(&book->lock);
	while (!found && !list_empty(&turn->news)) {
		record = list_first_entry(&turn->news, struct cdm_record, news);
		list_del_init(&record->news);
		found = cdm_case_open(c, turn, record);
		if (found)
			cdm_case_judge(c, record);
	}
	spin_unlock(&book->lock);
	return found;
}

/* After so many half-lives without news nothing is left of the evidence. */
#define CDM_FORGOTTEN	16

static bool cdm_is_forgotten(const struct cdm_record *record)
{
	return list_empty(&record->news) &&
	       bitmap_empty(record->resident, CDM_NR_GROUPS) &&
	       cdm_now() - record->faded > CDM_FORGOTTEN * CDM_HALF_LIFE;
}

/* Is it on the device, and nobody knows whether CPUs use it? */
static bool cdm_is_unwatched(const struct cdm_record *record)
{
	return list_empty(&record->news) &&
	       !bitmap_empty(record->resident, CDM_NR_GROUPS) &&
	       cdm_now_us() - record->hint_us > CDM_HINT_LIFE;
}

/* Of those, so many at a time, for there are others to be watched. */
#define CDM_UNWATCHED	4

/* Look after the oldest. */
static void cdm_book_tidy(struct cdm_book *book)
{
	struct cdm_record *record, *next;
	unsigned int nr = 0, nr_unwatched = 0;

	lockdep_assert_held(&book->lock);
	list_for_each_entry_safe_reverse(record, next, &book->records, list) {
		if (nr++ == CDM_SEARCH)
			break;
		if (cdm_is_forgotten(record))
			cdm_record_drop(book, record);
		else if (cdm_is_unwatched(record) &&
			 nr_unwatched++ < CDM_UNWATCHED)
			list_add_tail(&record->news, &book->news);
	}
}

/* How long to wait for the next turn, when there is nothing to do, in ms. */
#define CDM_IDLE_PERIOD	1000

static void cdm_turn_end(struct cdm_book *book)
{
	spin_lock(&book->lock);
	if (!cdm_balancing() || book->off)
		cdm_book_shrink(book, 0);
	/* Those who have ended leave their records. */
	cdm_book_drop_dead(book);
	cdm_book_tidy(book);
	if (book->nr)
		cdm_book_wake(book, list_empty(&book->news) ? CDM_IDLE_PERIOD :
							      CDM_PERIOD);
	spin_unlock(&book->lock);
}

void cdm_balance_work(struct work_struct *work)
{
	struct cdm_book *book = container_of(to_delayed_work(work),
					     struct cdm_book, work);
	struct cdm_turn turn = {
		.book = book,
		.nr_moves = { CDM_MAX_MOVES, CDM_MAX_MOVES },
		.nr_hints = CDM_MAX_HINTS,
	};
	struct cdm_case c;

	if (!cdm_scratch_alloc(&turn.scratch, GFP_KERNEL)) {
		/* News that comes in meanwhile is for the next turn. */
		INIT_LIST_HEAD(&turn.news);
		spin_lock(&book->lock);
		list_splice_init(&book->news, &turn.news);
		spin_unlock(&book->lock);
		while (cdm_next_case(&c, &turn)) {
			cdm_balance_case(&c);
			cdm_case_close(&c);
			cond_resched();
		}
		cdm_scratch_free(&turn.scratch);
	}
	cdm_turn_end(book);
}
