/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Coherent device memory: what the files of placement by use share.
 */
#ifndef _MM_CDM_BALANCE_H
#define _MM_CDM_BALANCE_H

#include <linux/bitmap.h>
#include <linux/hashtable.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/rhashtable-types.h>
#include <linux/sched/sysctl.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

/* Both sides' accesses are counted in cache lines. */
#define CDM_LINE		64

/* What is decided about at a time, and how much of it one record is about. */
#define CDM_GROUP_SIZE		SZ_64K
#define CDM_RECORD_SIZE		SZ_2M
#define CDM_NR_GROUPS		(CDM_RECORD_SIZE / CDM_GROUP_SIZE)

/* The accesses of one pass over a group. */
#define CDM_PASS		(CDM_GROUP_SIZE / CDM_LINE)

/*
 * What it costs to move a group, in accesses by the wrong side: each line is read
 * from the one side and written to the other.
 */
#define CDM_CHARGE		(2 * CDM_PASS)

/* Who comes back for the nth time has to lean 4^n times as far to go, up to this. */
#define CDM_MAX_HOLD		3

/* Of so many times the evidence that it takes to move, the earlier counts half. */
#define CDM_RATE_SPAN		4

/* A device's worker looks at what is new so often, in ms. */
#define CDM_PERIOD		100

/* Who was asked to make room is left alone for so many periods. */
#define CDM_ASK_AGAIN		80

/* After so many periods old evidence counts half. */
#define CDM_HALF_LIFE		80

enum cdm_side {
	CDM_IN_RAM,
	CDM_ON_DEVICE,
};

/* Why a group stays or moves; the order of show_cdm_verdict(). */
enum cdm_verdict {
	CDM_STAY_UNSURE,	/* too little evidence to pay for a move */
	CDM_STAY_SHARED,	/* neither side uses it much more */
	CDM_STAY_HELD,		/* moved back and forth lately */
	CDM_STAY_POLICY,	/* a memory policy or cpuset says where it is */
	CDM_STAY_VETO,		/* the owner wants it so */
	CDM_STAY_FULL,		/* nothing on the device is used less */
	CDM_STAY_RATE,		/* enough has been moved for now */
	CDM_STAY_BUSY,		/* it cannot be moved now */
	CDM_GO_DEVICE,
	CDM_GO_RAM,
	CDM_GO_ROOM,		/* to RAM, for what is used more */
	CDM_NR_VERDICTS
};

/**
 * struct cdm_evidence - who uses a group, as seen by one device
 * @lean: what the group would have gained on the device, in accesses; bounded by
 *	what it costs to move it
 * @device: accesses by the device; with @cpu, of the last ones, however long ago
 * @cpu: by others
 * @use: accesses that the device would not have had to make far away, minus those
 *	of others; of a half-life, say
 * @hinted: when CPUs were made to fault on it, in us
 * @moved: when it was moved, in periods
 * @hold: how often it went back to where it came from
 */
struct cdm_evidence {
	s32 lean;
	u32 device;
	u32 cpu;
	s32 use;
	u32 hinted;
	u16 moved;
	u8 hold;
};

/**
 * struct cdm_user - an address space with records
 * @node: in the hash table of the users of the book, by @mm
 * @list: all of them
 * @mm: the address space, whose structure this keeps
 * @records: its records, from the one with the latest news on
 * @nr: how many
 */
struct cdm_user {
	struct hlist_node node;
	struct list_head list;
	struct mm_struct *mm;
	struct list_head records;
	unsigned long nr;
};

/**
 * struct cdm_record - evidence about a part of an address space
 * @node: in the hash table, by @key; looked up under RCU, too
 * @key: address space and start
 * @rcu: for its end
 * @user: of the address space; NULL once the record has been dropped
 * @own: in the records of @user
 * @list: all records of the device, from the one with the latest news on
 * @news: those with news
 * @faded: when the evidence was last taken down for its age, in periods
 * @hint_us: when hints were last set, in us
 * @hint_gap: and how long after the time before
 * @resident: groups of which most is on the device, when last seen
 * @strays: groups of which some is there and some elsewhere
 * @fetched: when strays were last fetched, in periods
 * @hinted: groups on which CPUs fault
 * @asked: when it was last asked to make room, in periods
 * @whole: it is one huge page: the first group's evidence is that of all
 * @groups: evidence
 */
struct cdm_record {
	struct rhash_head node;
	struct cdm_record_key {
		struct mm_struct *mm;
		unsigned long start;
	} key;
	struct rcu_head rcu;
	struct cdm_user *user;
	struct list_head own;
	struct list_head list;
	struct list_head news;
	unsigned long faded;
	unsigned long fetched;
	u32 hint_us;
	u32 hint_gap;
	DECLARE_BITMAP(resident, CDM_NR_GROUPS);
	DECLARE_BITMAP(strays, CDM_NR_GROUPS);
	DECLARE_BITMAP(hinted, CDM_NR_GROUPS);
	u32 asked;
	bool whole;
	struct cdm_evidence groups[CDM_NR_GROUPS];
};

/* Buckets of the users of a book, as a power of 2. */
#define CDM_USER_BITS	7

/**
 * struct cdm_book - the records of a device node; lives forever
 * @nid: the node
 * @lock: protects what follows, and the contents of the records. Taken under page
 *	table locks
 * @table: records by address
 * @records: in the order of their news
 * @news: those with news that the worker has not seen
 * @users: address spaces with records, by address
 * @all_users: the same, as a list
 * @nr: records
 * @max: how many there may be; 0 for none. One address space has half of them
 * @off: the administrator does not want any
 * @work: looks at what is new
 */
struct cdm_book {
	int nid;
	spinlock_t lock;		/* see above */
	struct rhashtable table;
	struct list_head records;
	struct list_head news;
	DECLARE_HASHTABLE(users, CDM_USER_BITS);
	struct list_head all_users;
	unsigned long nr;
	unsigned long max;
	bool off;
	struct delayed_work work;
};

/* evidence.c */
void cdm_evidence_add(struct cdm_evidence *ev, u32 device, u32 cpu);
void cdm_evidence_fade(struct cdm_evidence *ev, unsigned long nr_halves);
enum cdm_verdict cdm_evidence_verdict(const struct cdm_evidence *ev,
				      enum cdm_side side);
bool cdm_evidence_is_sure(const struct cdm_evidence *ev, enum cdm_side side);
void cdm_evidence_moved(struct cdm_evidence *ev, enum cdm_side to, u16 now);
u32 cdm_evidence_passes(u32 gap, u32 waited);

/* book.c */
struct cdm_book *cdm_book(int nid);
void cdm_book_shrink(struct cdm_book *book, unsigned long nr);
void cdm_book_drop_dead(struct cdm_book *book);
void cdm_book_wake(struct cdm_book *book, unsigned int delay);
unsigned long cdm_now(void);
u32 cdm_now_us(void);
void cdm_group_see(unsigned long *resident, unsigned long *strays,
		   unsigned int group, const int *nodes, unsigned int nr_pages,
		   int nid);
struct cdm_record *cdm_record_find(struct cdm_book *book, struct mm_struct *mm,
				   unsigned long addr);
void cdm_record_drop(struct cdm_book *book, struct cdm_record *record);
void cdm_record_fade(struct cdm_record *record);
void cdm_record_set_whole(struct cdm_record *record, bool whole);
void cdm_report_fault(struct mm_struct *mm, unsigned long addr, bool by_cpu);

/* Is placement by use wanted at all? */
static inline bool cdm_balancing(void)
{
	return READ_ONCE(sysctl_numa_balancing_mode) & NUMA_BALANCING_COHERENT;
}

static inline unsigned int cdm_group_of(unsigned long addr)
{
	return addr % CDM_RECORD_SIZE / CDM_GROUP_SIZE;
}

static inline unsigned int cdm_record_groups(const struct cdm_record *record)
{
	return record->whole ? 1 : CDM_NR_GROUPS;
}

/* hint.c */
unsigned int cdm_set_hints(struct mm_struct *mm, unsigned long start, bool whole,
			   int nid, int home, unsigned long *groups);

/* view.c */
void cdm_view_add(struct cdm_book *book);

/* balance.c */
void cdm_find_barred(struct mm_struct *mm, unsigned long start, int nid, int home,
		     unsigned long *barred);
void cdm_balance_work(struct work_struct *work);

#endif /* _MM_CDM_BALANCE_H */
