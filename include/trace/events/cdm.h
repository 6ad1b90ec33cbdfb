/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cdm

#if !defined(_TRACE_CDM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_CDM_H

#include <linux/tracepoint.h>
#include <linux/types.h>

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

#endif /* _TRACE_CDM_H */

#include <trace/define_trace.h>
