/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cdm

#if !defined(_TRACE_CDM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_CDM_H

#include <linux/tracepoint.h>
#include <linux/types.h>

#ifndef _TRACE_CDM_STEPS	/* this file is read several times */
#define _TRACE_CDM_STEPS
/* The steps of a migration that does without the reverse map. */
enum cdm_step {
	CDM_ISOLATE,
	CDM_ALLOC,
	CDM_UNMAP,
	CDM_COPY,
	CDM_MAP,
	CDM_FINISH,
	CDM_NR_STEPS
};
#endif

TRACE_EVENT(cdm_migrate,

	TP_PROTO(unsigned long start, unsigned int nr_pages, int nid,
		 unsigned int nr_moved, unsigned int nr_left, int ret),

	TP_ARGS(start, nr_pages, nid, nr_moved, nr_left, ret),

	TP_STRUCT__entry(
		__field(unsigned long, start)
		__field(unsigned int, nr_pages)
		__field(int, nid)
		__field(unsigned int, nr_moved)
		__field(unsigned int, nr_left)
		__field(int, ret)
	),

	TP_fast_assign(
		__entry->start = start;
		__entry->nr_pages = nr_pages;
		__entry->nid = nid;
		__entry->nr_moved = nr_moved;
		__entry->nr_left = nr_left;
		__entry->ret = ret;
	),

	TP_printk("start=%#lx nr_pages=%u nid=%d nr_moved=%u nr_left=%u ret=%d",
		  __entry->start, __entry->nr_pages, __entry->nid,
		  __entry->nr_moved, __entry->nr_left, __entry->ret)
);

TRACE_EVENT(cdm_range,

	TP_PROTO(unsigned long start, unsigned int nr_folios,
		 unsigned int nr_pages, unsigned int nr_moved, int from, int to,
		 const u64 *ns),

	TP_ARGS(start, nr_folios, nr_pages, nr_moved, from, to, ns),

	TP_STRUCT__entry(
		__field(unsigned long, start)
		__field(unsigned int, nr_folios)
		__field(unsigned int, nr_pages)
		__field(unsigned int, nr_moved)
		__field(int, from)
		__field(int, to)
		__array(u64, ns, CDM_NR_STEPS)
	),

	TP_fast_assign(
		__entry->start = start;
		__entry->nr_folios = nr_folios;
		__entry->nr_pages = nr_pages;
		__entry->nr_moved = nr_moved;
		__entry->from = from;
		__entry->to = to;
		memcpy(__entry->ns, ns, sizeof(__entry->ns));
	),

	TP_printk("start=%#lx nr_folios=%u nr_pages=%u nr_moved=%u from=%d to=%d isolate=%llu alloc=%llu unmap=%llu copy=%llu map=%llu finish=%llu",
		  __entry->start, __entry->nr_folios, __entry->nr_pages,
		  __entry->nr_moved, __entry->from, __entry->to,
		  __entry->ns[CDM_ISOLATE], __entry->ns[CDM_ALLOC],
		  __entry->ns[CDM_UNMAP], __entry->ns[CDM_COPY],
		  __entry->ns[CDM_MAP], __entry->ns[CDM_FINISH])
);

TRACE_EVENT(cdm_access,

	TP_PROTO(unsigned long start, unsigned long nr_pages, unsigned long nr,
		 unsigned long nr_used),

	TP_ARGS(start, nr_pages, nr, nr_used),

	TP_STRUCT__entry(
		__field(unsigned long, start)
		__field(unsigned long, nr_pages)
		__field(unsigned long, nr)
		__field(unsigned long, nr_used)
	),

	TP_fast_assign(
		__entry->start = start;
		__entry->nr_pages = nr_pages;
		__entry->nr = nr;
		__entry->nr_used = nr_used;
	),

	TP_printk("start=%#lx nr_pages=%lu nr=%lu nr_used=%lu",
		  __entry->start, __entry->nr_pages, __entry->nr,
		  __entry->nr_used)
);

TRACE_EVENT(cdm_evacuate,

	TP_PROTO(u64 start, u64 size, unsigned long nr_moved,
		 unsigned long nr_left),

	TP_ARGS(start, size, nr_moved, nr_left),

	TP_STRUCT__entry(
		__field(u64, start)
		__field(u64, size)
		__field(unsigned long, nr_moved)
		__field(unsigned long, nr_left)
	),

	TP_fast_assign(
		__entry->start = start;
		__entry->size = size;
		__entry->nr_moved = nr_moved;
		__entry->nr_left = nr_left;
	),

	TP_printk("start=%#llx size=%#llx nr_moved=%lu nr_left=%lu",
		  __entry->start, __entry->size, __entry->nr_moved,
		  __entry->nr_left)
);

TRACE_EVENT(cdm_recall,

	TP_PROTO(int nid, unsigned int order, unsigned long nr,
		 unsigned long nr_recalled, unsigned long nr_evicted, int ret),

	TP_ARGS(nid, order, nr, nr_recalled, nr_evicted, ret),

	TP_STRUCT__entry(
		__field(int, nid)
		__field(unsigned int, order)
		__field(unsigned long, nr)
		__field(unsigned long, nr_recalled)
		__field(unsigned long, nr_evicted)
		__field(int, ret)
	),

	TP_fast_assign(
		__entry->nid = nid;
		__entry->order = order;
		__entry->nr = nr;
		__entry->nr_recalled = nr_recalled;
		__entry->nr_evicted = nr_evicted;
		__entry->ret = ret;
	),

	TP_printk("nid=%d order=%u nr=%lu nr_recalled=%lu nr_evicted=%lu ret=%d",
		  __entry->nid, __entry->order, __entry->nr,
		  __entry->nr_recalled, __entry->nr_evicted, __entry->ret)
);

TRACE_EVENT(cdm_lose,

	TP_PROTO(u64 start, u64 size, unsigned long nr_lost,
		 unsigned long nr_saved, unsigned long nr_left),

	TP_ARGS(start, size, nr_lost, nr_saved, nr_left),

	TP_STRUCT__entry(
		__field(u64, start)
		__field(u64, size)
		__field(unsigned long, nr_lost)
		__field(unsigned long, nr_saved)
		__field(unsigned long, nr_left)
	),

	TP_fast_assign(
		__entry->start = start;
		__entry->size = size;
		__entry->nr_lost = nr_lost;
		__entry->nr_saved = nr_saved;
		__entry->nr_left = nr_left;
	),

	TP_printk("start=%#llx size=%#llx nr_lost=%lu nr_saved=%lu nr_left=%lu",
		  __entry->start, __entry->size, __entry->nr_lost,
		  __entry->nr_saved, __entry->nr_left)
);

#define show_cdm_verdict(verdict)					\
	__print_symbolic(verdict, { 0, "unsure" }, { 1, "shared" },	\
			 { 2, "held" }, { 3, "policy" }, { 4, "veto" },	\
			 { 5, "full" }, { 6, "rate" }, { 7, "busy" },	\
			 { 8, "to-device" }, { 9, "to-ram" },		\
			 { 10, "room" })

TRACE_EVENT(cdm_balance,

	TP_PROTO(int nid, unsigned long start, unsigned long size, u32 device,
		 u32 cpu, s32 lean, u8 hold, int verdict),

	TP_ARGS(nid, start, size, device, cpu, lean, hold, verdict),

	TP_STRUCT__entry(
		__field(int, nid)
		__field(unsigned long, start)
		__field(unsigned long, size)
		__field(u32, device)
		__field(u32, cpu)
		__field(s32, lean)
		__field(u8, hold)
		__field(int, verdict)
	),

	TP_fast_assign(
		__entry->nid = nid;
		__entry->start = start;
		__entry->size = size;
		__entry->device = device;
		__entry->cpu = cpu;
		__entry->lean = lean;
		__entry->hold = hold;
		__entry->verdict = verdict;
	),

	TP_printk("nid=%d start=%#lx size=%#lx device=%u cpu=%u lean=%d hold=%u verdict=%s",
		  __entry->nid, __entry->start, __entry->size, __entry->device,
		  __entry->cpu, __entry->lean, __entry->hold,
		  show_cdm_verdict(__entry->verdict))
);

#define show_cdm_cause(cause)						\
	__print_symbolic(cause, { 0, "unknown" }, { 1, "policy" },	\
			 { 2, "pool" }, { 3, "move" }, { 4, "driver" },	\
			 { 5, "balance" }, { 6, "owner" })

#define show_cdm_eviction(cause)					\
	__print_symbolic(cause, { 0, "reclaim" }, { 1, "move" },	\
			 { 2, "driver" }, { 3, "balance" },		\
			 { 4, "hotplug" }, { 5, "pin" },		\
			 { 6, "failure" }, { 7, "recall" },		\
			 { 8, "other" })

#define show_cdm_refusal(refusal)					\
	__print_symbolic(refusal, { 0, "full" }, { 1, "closed" },	\
			 { 2, "kernel" }, { 3, "narrowed" },		\
			 { 4, "cpuset" }, { 5, "file" }, { 6, "online" })

DECLARE_EVENT_CLASS(cdm_pages,

	TP_PROTO(int nid, unsigned long pfn, unsigned long nr_pages, int cause),

	TP_ARGS(nid, pfn, nr_pages, cause),

	TP_STRUCT__entry(
		__field(int, nid)
		__field(unsigned long, pfn)
		__field(unsigned long, nr_pages)
		__field(int, cause)
	),

	TP_fast_assign(
		__entry->nid = nid;
		__entry->pfn = pfn;
		__entry->nr_pages = nr_pages;
		__entry->cause = cause;
	),

	TP_printk("nid=%d pfn=%#lx nr_pages=%lu cause=%s",
		  __entry->nid, __entry->pfn, __entry->nr_pages,
		  show_cdm_cause(__entry->cause))
);

DEFINE_EVENT(cdm_pages, cdm_place,

	TP_PROTO(int nid, unsigned long pfn, unsigned long nr_pages, int cause),

	TP_ARGS(nid, pfn, nr_pages, cause)
);

DEFINE_EVENT_PRINT(cdm_pages, cdm_evict,

	TP_PROTO(int nid, unsigned long pfn, unsigned long nr_pages, int cause),

	TP_ARGS(nid, pfn, nr_pages, cause),

	TP_printk("nid=%d pfn=%#lx nr_pages=%lu cause=%s",
		  __entry->nid, __entry->pfn, __entry->nr_pages,
		  show_cdm_eviction(__entry->cause))
);

TRACE_EVENT(cdm_refuse,

	TP_PROTO(int nid, unsigned long nr_pages, int refusal),

	TP_ARGS(nid, nr_pages, refusal),

	TP_STRUCT__entry(
		__field(int, nid)
		__field(unsigned long, nr_pages)
		__field(int, refusal)
	),

	TP_fast_assign(
		__entry->nid = nid;
		__entry->nr_pages = nr_pages;
		__entry->refusal = refusal;
	),

	TP_printk("nid=%d nr_pages=%lu cause=%s",
		  __entry->nid, __entry->nr_pages,
		  show_cdm_refusal(__entry->refusal))
);

#endif /* _TRACE_CDM_H */

#include <trace/define_trace.h>
