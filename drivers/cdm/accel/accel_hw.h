/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The reference accelerator as its driver sees it. The driver and the device,
 * a process on the host (tools/testing/cdm/accel), share this header. What jobs
 * compute, the header for programs says. A job may be interrupted and resumed
 * between any two elements.
 *
 * The device is a PCI function (QEMU's ivshmem-doorbell). BAR 2 is memory that
 * both sides map: registers, tables and rings, laid out as struct accel_bar.
 * BAR 0 holds the doorbell: the driver writes CDM_ACCEL_BELL_* for the peer
 * that @bell_peer names. The device raises MSI-X vectors CDM_ACCEL_IRQ_*.
 *
 * All numbers are little endian. Addresses are bytes: "va" in the address space
 * of a process, "pa" as the CPUs see physical memory. The device's loads, stores
 * and atomics are coherent with those of the CPUs.
 */
#ifndef _CDM_ACCEL_HW_H
#define _CDM_ACCEL_HW_H

#include <linux/cdm_accel.h>
#include <linux/types.h>

#define CDM_ACCEL_MAGIC		0x4143444d	/* "MDCA" */
#define CDM_ACCEL_VERSION	1
#define CDM_ACCEL_BAR_SIZE	(1 << 20)

#define CDM_ACCEL_MAX_ASIDS	64
#define CDM_ACCEL_CMD_ENTRIES	256	/* each a power of 2 */
#define CDM_ACCEL_DONE_ENTRIES	256
#define CDM_ACCEL_FAULT_ENTRIES	64
#define CDM_ACCEL_NOTE_ENTRIES	64
#define CDM_ACCEL_INVAL_ENTRIES	64

/* Doorbells, by which the driver wakes the device. */
#define CDM_ACCEL_BELL_CMD	0	/* the command ring or @reset has changed */
#define CDM_ACCEL_BELL_INVAL	1	/* the invalidation ring has changed */
#define CDM_ACCEL_NR_BELLS	2

/* Interrupts of the device. */
#define CDM_ACCEL_IRQ_DONE	0	/* the completion ring has changed */
#define CDM_ACCEL_IRQ_FAULT	1	/* the fault ring has changed */
#define CDM_ACCEL_IRQ_NOTE	2	/* the notification ring has changed */
#define CDM_ACCEL_IRQ_ERROR	3	/* look at @magic and @error */
#define CDM_ACCEL_NR_IRQS	4

/*
 * Page tables of the device lie in RAM and look like those of the CPU: four
 * levels of 512 entries for 48 bits of va, the root first. An entry is 0, or
 * holds the pa of the next table or of memory in the bits of
 * CDM_ACCEL_PTE_PA. LEAF in an entry of the last level but one maps 2 MiB.
 * The device keeps translations until they are invalidated; it never keeps
 * that there is none, or none for writing. It writes nothing to the tables.
 */
#define CDM_ACCEL_PTE_VALID	(1ull << 0)
#define CDM_ACCEL_PTE_WRITE	(1ull << 1)
#define CDM_ACCEL_PTE_LEAF	(1ull << 7)	/* last level but one only */
#define CDM_ACCEL_PTE_PA	0x000ffffffffff000ull

/* Operations of commands, and their arguments. */
enum cdm_accel_op {
	/* Run a kernel, of enum cdm_accel_job_kernel. */
	CDM_ACCEL_OP_JOB	= 1,
	/*
	 * End job @id early; it completes all the same. Ignored if there is no
	 * such job.
	 */
	CDM_ACCEL_OP_CANCEL	= 2,
	/* A fault has been dealt with: its seq, 0 (try again) or an errno. */
	CDM_ACCEL_OP_RESUME	= 3,
	/* pa of an array of struct cdm_accel_sg, their number. */
	CDM_ACCEL_OP_COPY	= 4,
	/*
	 * Thresholds per 64 KiB and per 2 MiB; 0 is off. Clears all counts of
	 * @asid.
	 */
	CDM_ACCEL_OP_COUNTERS	= 5,
	/* End all jobs of @asid, then complete. */
	CDM_ACCEL_OP_DETACH	= 6,
	/* enum cdm_accel_inject, its arguments. */
	CDM_ACCEL_OP_INJECT	= 7,
	/* Complete. */
	CDM_ACCEL_OP_NOP	= 8,
};

/* Injected faults. */
enum cdm_accel_inject {
	/* The next job makes no progress until it is cancelled. */
	CDM_ACCEL_INJECT_HANG		= 1,
	/* That many interrupts are not raised. */
	CDM_ACCEL_INJECT_LOST_IRQ	= 2,
	/*
	 * pa of a page of the device: poisoned. Jobs that touch it fail with
	 * -EHWPOISON (133), and CDM_ACCEL_ERROR_PAGE is reported.
	 */
	CDM_ACCEL_INJECT_BAD_PAGE	= 3,
	/*
	 * The registers read as ~0, the device memory is overwritten with 0xdb,
	 * and nothing is answered any more.
	 */
	CDM_ACCEL_INJECT_LINK_DOWN	= 4,
	/*
	 * 1: invalidations are left in their ring, and translations used on, until
	 * 0 or a reset.
	 */
	CDM_ACCEL_INJECT_HOLD_INVALS	= 5,
	/* The tail of the invalidation ring is beyond its head, once. */
	CDM_ACCEL_INJECT_BAD_TAIL	= 6,
	/*
	 * 1: invalidations are answered, and translations used on, until 0 or a
	 * reset. Strays are counted meanwhile, but not reported.
	 */
	CDM_ACCEL_INJECT_DEAF		= 7,
	/*
	 * Until 0 or a reset: no translation is evicted, each is used until the device
	 * is told to forget that very page.
	 */
	CDM_ACCEL_INJECT_KEEP		= 8,
	/* Report a stray that there was not, for those who watch for reports. */
	CDM_ACCEL_INJECT_STRAY		= 9,
	/*
	 * The device behaves as badly as hardware may, with numbers that are random but
	 * repeat themselves with the same seed, until 0 or a reset. LATE: answers come
	 * late and not in order, also those to invalidations. ANSWERS: jobs get none, or
	 * any status, and others come that were not asked for. EVENTS: faults and
	 * notifications of nothing, or once more. SCRIBBLE: anything is written to
	 * entries and indices of its rings and to its registers.
	 */
	CDM_ACCEL_INJECT_LATE		= 10,
	CDM_ACCEL_INJECT_ANSWERS	= 11,
	CDM_ACCEL_INJECT_EVENTS		= 12,
	CDM_ACCEL_INJECT_SCRIBBLE	= 13,
	/* Nothing is accessed or answered any more, not even the next reset. */
	CDM_ACCEL_INJECT_DEAD		= 14,
	/* pa: CDM_ACCEL_ERROR_PAGE is reported of it, whosever it is. */
	CDM_ACCEL_INJECT_PAGE_ERROR	= 16,
	/* So many jobs end without a completion. */
	CDM_ACCEL_INJECT_LOST_DONE	= 17,
	/* The next job completes with this status, whatever it does. */
	CDM_ACCEL_INJECT_STATUS		= 18,
	/* va, asid: a fault of no job. */
	CDM_ACCEL_INJECT_FAULT		= 19,
	/* va, asid, shift, count: a notification of no access. */
	CDM_ACCEL_INJECT_NOTE		= 20,
};

/* A command. Bytes that an op does not use are 0. */
struct cdm_accel_cmd {
	__u32 op;
	__u32 id;	/* comes back in the completion */
	__u32 asid;
	__u32 kernel;
	__u64 args[CDM_ACCEL_NR_ARGS];
	__u64 reserved[6];
};	/* 128 bytes */

/* Scatter list entry of the copy engine: at most 2 MiB each. */
struct cdm_accel_sg {
	__u64 dst;	/* pa */
	__u64 src;	/* pa */
	__u64 size;	/* bytes */
};

/*
 * The completion of a command; every command has just one, but RESUME, CANCEL
 * and an injected LINK_DOWN, which have none. @status is 0 or a negative errno:
 * -EFAULT with the address where the driver would not resolve a fault,
 * -ECANCELED, -EINVAL, -EHWPOISON with the address, -ENOSPC.
 */
struct cdm_accel_done {
	__u32 id;
	__s32 status;
	__u64 result;
	__u64 addr;
	__u64 nr_faults;	/* a job's */
};

/*
 * There is no translation, or none for writing. The job waits until RESUME of
 * @seq; others run meanwhile. The device reports a job's fault once.
 */
struct cdm_accel_fault {
	__u64 seq;
	__u64 addr;
	__u32 asid;
	__u32 write;
	__u32 id;	/* of the job */
	__u32 reserved;
};

/*
 * An access counter has reached its threshold; it starts from 0 again. Accesses
 * are counted in units of 64 bytes, those of all jobs of the address space.
 * If the ring is full a notification is dropped, and the counter goes on.
 */
struct cdm_accel_note {
	__u64 addr;	/* start of the region */
	__u64 count;
	__u32 asid;
	__u32 shift;	/* 16 or 21: size of the region */
};

/*
 * Forget the translations of [@start, @end) of @asid. When the device has moved
 * the ring's tail beyond the entry, no access through one of them is under way
 * any more and none will be made, nor does it look at tables that were taken out of
 * the page table before and mapped nothing else. ASID ~0 is all.
 */
struct cdm_accel_inval {
	__u64 start;
	__u64 end;
	__u32 asid;
	__u32 reserved;
};

/*
 * Bits of @error, set by the device with CDM_ACCEL_IRQ_ERROR, cleared by the
 * driver.
 */
#define CDM_ACCEL_ERROR_PAGE	(1 << 0)	/* @error_pa: a poisoned page was touched */
#define CDM_ACCEL_ERROR_PROTO	(1 << 1)	/* a command that is none was ignored */

/*
 * A ring. @head counts what the producer has written, @tail what the consumer
 * has taken; both run freely, modulo 2^32. An entry is written before @head
 * (release, acquire), and read before @tail.
 */
struct cdm_accel_ring {
	__u32 head;
	__u32 reserved1[15];
	__u32 tail;
	__u32 reserved2[15];
};	/* the ends on cache lines of their own */

struct cdm_accel_regs {
	/* Written by the device before the guest boots, and at the end of a reset. */
	__u32 magic;		/* ~0: the link is down */
	__u32 version;
	__u64 mem_start;	/* pa of its own memory, */
	__u64 mem_size;		/* which firmware lists as special purpose memory */
	__u32 nr_units;		/* jobs that run at the same time */
	__u32 bell_peer;
	__u32 reset_done;	/* the last @reset that was carried out */
	__u32 error;
	__u64 error_pa;		/* does not change while its bit in @error is set */
	/* Written by the driver. */
	/*
	 * Count up: end all jobs, empty rings, caches and access counters, forget
	 * injected faults and asids. Not possible when the link is down.
	 */
	__u32 reset;
	/* Written by the device, with @magic: it wants @pgds. */
	__u32 checks;
	/* Counters of the device, for benchmarks and tests. */
	__u64 nr_jobs;
	__u64 nr_slices;	/* jobs that were interrupted for others: nr_slices - nr_jobs */
	__u64 nr_faults;
	__u64 nr_tlb_misses;
	__u64 nr_invals;
	__u64 nr_copied;	/* bytes, by the copy engine */
	__u64 nr_checks;	/* translations compared with the CPUs' page tables, */
	__u64 nr_strays;	/* and those that were not there */
};

struct cdm_accel_bar {
	union {
		struct cdm_accel_regs regs;
		__u8 page0[4096];
	};
	/* pa of the root table of each address space; 0: none. Written by the driver. */
	__u64 roots[CDM_ACCEL_MAX_ASIDS];
	struct cdm_accel_ring cmd_ring;		/* driver to device */
	struct cdm_accel_ring inval_ring;	/* driver to device */
	struct cdm_accel_ring done_ring;	/* device to driver */
	struct cdm_accel_ring fault_ring;	/* device to driver */
	struct cdm_accel_ring note_ring;	/* device to driver */
	struct cdm_accel_cmd cmd[CDM_ACCEL_CMD_ENTRIES];
	struct cdm_accel_inval inval[CDM_ACCEL_INVAL_ENTRIES];
	struct cdm_accel_done done[CDM_ACCEL_DONE_ENTRIES];
	struct cdm_accel_fault fault[CDM_ACCEL_FAULT_ENTRIES];
	struct cdm_accel_note note[CDM_ACCEL_NOTE_ENTRIES];
	/*
	 * The root of the CPUs' page table, which no hardware would ask for, of each
	 * address space, if those are of x86-64, and in bits 0-11 how many levels it
	 * has. With it the model checks that it accesses nothing that the process
	 * does not map at that moment. Written by the driver before @roots.
	 */
	__u64 pgds[CDM_ACCEL_MAX_ASIDS];
};

#endif /* _CDM_ACCEL_HW_H */
