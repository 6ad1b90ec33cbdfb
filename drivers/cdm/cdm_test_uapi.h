/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The private ABI between the test driver cdm_test and its tests. It is no
 * user interface of the kernel and changes with them.
 */
#ifndef _CDM_TEST_UAPI_H
#define _CDM_TEST_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CDM_TEST_DEVICE		"/dev/cdm_test"
#define CDM_TEST_MAX_RANGES	16

/* In cdm_test_migrate.nid and cdm_test_compute.nid: the nearest RAM of cpuset.mems. */
#define CDM_TEST_NID_RAM	(-1)
/* In cdm_test_compute.nid: do not migrate, compute where the data is. */
#define CDM_TEST_NID_STAY	(-2)

struct cdm_test_range {
	__u64 start;		/* physical address */
	__u64 size;		/* bytes */
	__s32 nid;		/* -1: found, but not registered */
	__u32 flags;		/* enum cdm_register_flags */
};

/* The special purpose memory that the driver found. */
struct cdm_test_info {
	__u32 nr_ranges;
	__u32 pad;
	struct cdm_test_range ranges[CDM_TEST_MAX_RANGES];
};

/*
 * Migrate [addr, addr + size) of the caller. @status points to one __s32 a
 * page or is 0; it receives the node the page is on, or a negative errno.
 */
struct cdm_test_migrate {
	__u64 addr;
	__u64 size;
	__u64 status;
	__s32 nid;
	__u32 pad;
};

/* Where is [addr, addr + size)? @nodes points to one __s32 a page. */
struct cdm_test_query {
	__u64 addr;
	__u64 size;
	__u64 nodes;
};

enum cdm_test_op {
	CDM_TEST_SUM,		/* result: sum of the __u64 words */
	CDM_TEST_HISTOGRAM,	/* out: __u64[256], how often each byte occurs */
	CDM_TEST_ADD,		/* add @arg to each __u64 word; result: words */
	CDM_TEST_WALK,		/* follow a chain of struct cdm_test_cell */
};

/*
 * What CDM_TEST_WALK follows, from the cell at @arg until next is 0: visits is
 * incremented in each cell, result is the sum of the values, nr the cells.
 */
struct cdm_test_cell {
	__u64 next;		/* user address of the next cell */
	__u64 value;
	__u64 visits;
};

/*
 * Compute on the device side: a kernel thread that borrows the caller's
 * address space migrates [addr, addr + size) to @nid, then reads and writes
 * it by virtual address. The range is page aligned, unless it is not migrated
 * (CDM_TEST_NID_STAY).
 */
struct cdm_test_compute {
	__u64 addr;
	__u64 size;
	__u64 arg;
	__u64 out;		/* user address of the result array, or 0 */
	__u64 result;		/* out */
	__u64 nr;		/* out: words, bytes or cells worked on */
	__s32 nid;
	__u32 op;		/* enum cdm_test_op */
};

/* Unregister every range of @nid; what is left is reported if that fails. */
struct cdm_test_unregister {
	__s32 nid;
	__u32 deadline_ms;
	__u64 nr_moved;		/* out, pages */
	__u64 nr_pinned;	/* out */
	__u64 nr_no_ram;	/* out */
	__u64 nr_busy;		/* out */
};

/* What the owner can read in memory that is not registered at the moment. */
struct cdm_test_peek {
	__u64 start;		/* physical address */
	__u64 size;		/* bytes, both multiples of the page size */
	__u64 nr_nonzero;	/* out: bytes that are not 0 */
};

enum cdm_test_how {
	CDM_TEST_ALLOC_NODE,
	CDM_TEST_ALLOC_THISNODE,
	CDM_TEST_ALLOC_BULK,
	CDM_TEST_ALLOC_INTERRUPT,
	CDM_TEST_ALLOC_NR,
};

struct cdm_test_alloc {
	__s32 nid;		/* in: to ask for, out: got, or -1 */
	__u32 how;		/* enum cdm_test_how */
};

/*
 * Take @nr blocks of 2^@order pages as the owner, evicting tenants unless
 * @alloc_only; the file holds them until FREE or it is closed. The owner writes
 * to all of them.
 */
struct cdm_test_recall {
	__s32 nid;
	__u32 order;
	__u64 nr;
	__u32 deadline_ms;
	__u32 rounds;		/* cancel after that many pageblocks; 0: do not */
	__u32 alloc_only;
	__u32 nr_asked;		/* out: pageblocks before which the owner was asked */
	__u64 nr_recalled;	/* out: blocks */
	__u64 nr_evicted;	/* out: pages */
	__u64 nr_dirty;		/* out: pages that were not zero */
};

/* RESERVE, SUSPEND, RESUME */
struct cdm_test_reserve {
	__s32 nid;
	__u32 deadline_ms;
	__u64 nr_pages;
};

struct cdm_test_lose {
	__s32 nid;
	__u32 reserved;
	__u64 nr_lost;		/* out, pages */
	__u64 nr_saved;		/* out */
	__u64 nr_left;		/* out */
};

enum cdm_test_engine {
	CDM_TEST_ENGINE_NONE,
	CDM_TEST_ENGINE_WORKS,
	CDM_TEST_ENGINE_FAILS,	/* half way */
	CDM_TEST_ENGINE_POISON,	/* cannot read what it is to copy, */
	CDM_TEST_ENGINE_SPOTS,	/* or, of each 8 page frames, the fourth */
	CDM_TEST_ENGINE_HOLD,	/* waits until another one is set, which it is then */
	CDM_TEST_ENGINE_MOVED,	/* none; and who tells of a move waits for another one */
	CDM_TEST_ENGINE_NR,
};

/* Set the copy engine, and see what the owner has been told since boot. */
struct cdm_test_events {
	__u32 engine;		/* enum cdm_test_engine */
	__u32 nr_held;		/* out: calls that wait now */
	__u64 nr_moved_in;	/* out: pages, as all below */
	__u64 nr_moved_out;
	__u64 nr_failed;
	__u64 nr_copied;	/* by the engine, */
	__u64 nr_batches;	/* in so many calls */
	__u64 nr_atomic;	/* out: calls of the engine that may not sleep */
	__u64 held;		/* out: a process has its mmap lock by HOLD */
	__u64 nr_folios;	/* out: that are held by HOLD_FOLIO */
	__u64 nr_late;		/* out: moves that have waited for another engine in vain */
};

/* The device has accessed the range @nr times. */
struct cdm_test_report {
	__u64 addr;
	__u64 size;
	__u64 nr;
	__s32 nid;
	__u32 reserved;
};

/* Balancing may not move anything in this range of addresses; size 0: none. */
struct cdm_test_veto {
	__u64 addr;
	__u64 size;
};

/* Holes in the fence: where device nodes stand in the ordinary zonelists. */
enum cdm_test_breach {
	CDM_TEST_BREACH_NONE,
	CDM_TEST_BREACH_LAST,	/* after all RAM, as on a kernel without a fence, */
	CDM_TEST_BREACH_FIRST,	/* or before, also for who wants RAM of one node */
	CDM_TEST_BREACH_NR,
};

/* Uses that the kernel may have for a page. */
enum cdm_test_kind {
	CDM_TEST_KIND_PLAIN,
	CDM_TEST_KIND_ACCOUNTED,	/* to the memory cgroup of the caller */
	CDM_TEST_KIND_SLAB,
	CDM_TEST_KIND_TABLE,		/* a page table */
	CDM_TEST_KIND_VMALLOC,		/* mapped as vmalloc() and percpu memory are */
	CDM_TEST_KIND_NR,
};

struct cdm_test_leak {
	__s32 nid;
	__u32 kind;		/* enum cdm_test_kind */
	__u32 nr;		/* pages, at most 64 */
	__u32 ms;		/* not 0: given back then */
};

enum cdm_test_hold_how {
	CDM_TEST_HOLD_LOCKED,
	CDM_TEST_HOLD_WRITEBACK,
	CDM_TEST_HOLD_FROZEN,	/* nobody gets a reference: it looks free */
	CDM_TEST_HOLD_NR,
};

struct cdm_test_hold_folio {
	__u64 addr;
	__u32 how;		/* enum cdm_test_hold_how */
	__u32 reserved;
};

enum cdm_test_link {
	CDM_TEST_LINK_UP,
	CDM_TEST_LINK_DOWN,	/* of all ranges, but nobody has noticed yet */
	CDM_TEST_LINK_MARK,	/* cdm_mark_lost(), from a hard interrupt */
};

#define CDM_TEST_IOC_INFO	_IOR('c', 0, struct cdm_test_info)
#define CDM_TEST_IOC_MIGRATE	_IOW('c', 1, struct cdm_test_migrate)
#define CDM_TEST_IOC_QUERY	_IOW('c', 2, struct cdm_test_query)
#define CDM_TEST_IOC_COMPUTE	_IOWR('c', 3, struct cdm_test_compute)
/* nid in cdm_test_range: the node asked for, or -1 for the proximity domain's */
#define CDM_TEST_IOC_REGISTER	_IOWR('c', 4, struct cdm_test_range)
#define CDM_TEST_IOC_UNREGISTER	_IOWR('c', 5, struct cdm_test_unregister)
/*
 * Pin the page at an address where it is, as a short DMA would, or unpin it.
 * One page per open file; closing the file unpins.
 */
#define CDM_TEST_IOC_PIN	_IOW('c', 6, __u64)
#define CDM_TEST_IOC_UNPIN	_IOW('c', 7, __u64)
/* The same for good, as RDMA would: FOLL_LONGTERM. UNPIN undoes it. */
#define CDM_TEST_IOC_PIN_LONGTERM _IOW('c', 8, __u64)
#define CDM_TEST_IOC_PEEK	_IOWR('c', 9, struct cdm_test_peek)
/* enum cdm_test_breach; mended at close. */
#define CDM_TEST_IOC_BREACH	_IOW('c', 10, __u32)
/* Unregister the one range that has this start, within a second. */
#define CDM_TEST_IOC_UNREGISTER_ONE _IOW('c', 11, __u64)
/* Allocate movable pages by the number of a node, and free them. */
#define CDM_TEST_IOC_ALLOC	_IOWR('c', 12, struct cdm_test_alloc)

#define CDM_TEST_IOC_RECALL	_IOWR('c', 13, struct cdm_test_recall)
/* Returns how many pages were not as the owner had left them. */
#define CDM_TEST_IOC_FREE	_IO('c', 14)
#define CDM_TEST_IOC_RESERVE	_IOW('c', 15, struct cdm_test_reserve)
#define CDM_TEST_IOC_SUSPEND	_IOW('c', 16, struct cdm_test_reserve)
#define CDM_TEST_IOC_RESUME	_IOW('c', 17, struct cdm_test_reserve)
/* The link is down: the first range of @nid is lost. */
#define CDM_TEST_IOC_LOSE	_IOWR('c', 18, struct cdm_test_lose)
/* In the background; if @status is not 0, cancelled at once. */
#define CDM_TEST_IOC_MIGRATE_ASYNC _IOW('c', 19, struct cdm_test_migrate)
#define CDM_TEST_IOC_EVENTS	_IOWR('c', 20, struct cdm_test_events)
#define CDM_TEST_IOC_REPORT	_IOW('c', 21, struct cdm_test_report)
/* Until the file is closed. */
#define CDM_TEST_IOC_VETO	_IOW('c', 22, struct cdm_test_veto)
/*
 * Report accesses, and when balancing is about to move what they were to, take the
 * mmap lock of the caller for writing. It is let go at the next signal.
 */
#define CDM_TEST_IOC_HOLD	_IOW('c', 23, struct cdm_test_report)
/* enum cdm_test_link; does not wait for any of the others. */
#define CDM_TEST_IOC_LINK	_IOW('c', 24, __u32)
/* Write nonsense over memory that is registered, as the end of a link may. */
#define CDM_TEST_IOC_SPOIL	_IOW('c', 25, struct cdm_test_peek)
/* Pages of the kernel's on a device node, until the file is closed. */
#define CDM_TEST_IOC_LEAK	_IOW('c', 26, struct cdm_test_leak)

/* Give all ranges of @nid up: what tenants hold until @deadline_ms stays behind. */
#define CDM_TEST_IOC_LEAVE	_IOW('c', 32, struct cdm_test_reserve)
/* Hold the folio at an address of the caller in some state until the next signal. */
#define CDM_TEST_IOC_HOLD_FOLIO	_IOW('c', 33, struct cdm_test_hold_folio)

#endif /* _CDM_TEST_UAPI_H */
