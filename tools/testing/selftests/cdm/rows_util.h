/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of the rows share: switches of subsystems, scarce RAM, and the
 * frames that pages are in.
 */
#ifndef _ROWS_UTIL_H
#define _ROWS_UTIL_H

#include "cdm_util.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#define KSM		"/sys/kernel/mm/ksm/"
#define KHUGEPAGED	"/sys/kernel/mm/transparent_hugepage/khugepaged/"
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define DAMON		"/sys/kernel/mm/damon/admin/kdamonds"
#define ZSWAP		"/sys/module/zswap/parameters/enabled"
#define SCALE		"/proc/sys/vm/watermark_scale_factor"
#define OVERCOMMIT	"/proc/sys/vm/nr_overcommit_hugepages"
#define PANIC_ON_OOM	"/proc/sys/vm/panic_on_oom"
#define SWAPPINESS	"/proc/sys/vm/swappiness"
#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define VMA_READAHEAD	"/sys/kernel/mm/swap/vma_ra_enabled"

#define GIB		(1024 * MIB)
#define GIGANTIC	"hugepages/hugepages-1048576kB/nr_hugepages"

static inline void gigantic_path(int nid, char *path, size_t size)
{
	if (nid < 0)
		snprintf(path, size, "/sys/kernel/mm/" GIGANTIC);
	else
		snprintf(path, size, "/sys/devices/system/node/node%d/"
			 GIGANTIC, nid);
}

static inline void gigantic_set(int nid, long nr)
{
	char path[128];

	gigantic_path(nid, path, sizeof(path));
	cdm_writef(path, "%ld", nr);
}

static inline long gigantic_nr(int nid)
{
	char path[128];

	gigantic_path(nid, path, sizeof(path));
	return cdm_read_long(path);
}

/* What the cases switch on, back to what it is on a fresh machine. */
static inline void knobs_reset(void)
{
	static const char * const knobs[][2] = {
		{ SCALE, "10" },
		{ OVERCOMMIT, "0" },
		{ KSM "run", "2" },	/* unmerge all, and */
		{ KSM "run", "0" },	/* stop */
		{ KSM "use_zero_pages", "0" },
		{ KSM "sleep_millisecs", "20" },
		{ KSM "pages_to_scan", "100" },
		{ KHUGEPAGED "scan_sleep_millisecs", "10000" },
		{ KHUGEPAGED "pages_to_scan", "4096" },
		{ BALANCING, "0" },
		{ VMA_READAHEAD, "1" },
		{ LRU_GEN, "0" },
		{ PANIC_ON_OOM, "0" },
		{ SWAPPINESS, "60" },
		{ ZSWAP, "N" },
		{ DAMON "/0/state", "off" },
		{ DAMON "/nr_kdamonds", "0" },
	};

	for (int i = 0; i < ARRAY_SIZE(knobs); i++)
		cdm_write(knobs[i][0], knobs[i][1]);
	for (int i = 0; i < cdm_devs().nr; i++)
		gigantic_set(cdm_dev(i), 0);
	gigantic_set(-1, 0);
}

/*
 * Make RAM look scarce: with an eighth of it left and watermarks at almost a third,
 * the first attempt of an allocation fails in RAM. An unfenced kernel goes on with
 * the next node then. A fenced one tries harder and gets what it needs.
 */
static inline bool tighten(void)
{
	long mib = cdm_nodes_meminfo(cdm_rams(), "MemTotal") / 1024;

	return !cdm_leave_ram(mib / 8) && !cdm_write(SCALE, "3000");
}

/* Allocations that fail, where the kernel has FAIL_PAGE_ALLOC */

#define FAIL	"/sys/kernel/debug/fail_page_alloc/"

/* From now on this task gets no page, or all it wants again. */
static inline int starve(bool on)
{
	static const char * const knobs[][2] = {
		{ FAIL "task-filter", "Y" },
		{ FAIL "ignore-gfp-wait", "N" },
		{ FAIL "ignore-gfp-highmem", "N" },
		{ FAIL "min-order", "0" },
		{ FAIL "verbose", "0" },
		{ FAIL "times", "-1" },
		{ FAIL "probability", "100" },
	};
	/* Who starves gets neither a file nor a page of the program any more. */
	static int fd = -1;
	static char text[2] = "01";
	int err = 0;

	if (fd < 0)
		fd = open("/proc/self/make-it-fail", O_WRONLY | O_CLOEXEC);
	if (!on && pwrite(fd, text, 1, 0) != 1)
		return -errno;
	if (!on)
		return cdm_write(FAIL "probability", "0");
	for (int i = 0; !err && i < ARRAY_SIZE(knobs); i++)
		err = cdm_write(knobs[i][0], knobs[i][1]);
	return err ?: pwrite(fd, text + 1, 1, 0) == 1 ? 0 : -errno;
}

/* Frames: in which place of physical memory a page is, and as what */

#define FRAME_MASK	((1ULL << 55) - 1)
#define FRAME_PRESENT	63	/* bits */
#define FRAME_UFFD_WP	57
#define KPF_THP		22

/* One entry of pagemap a page. Returns how many of them are there. */
static inline long frames(const char *addr, size_t size, __u64 *entry)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	size_t len = size / PAGE * sizeof(*entry);
	long nr = 0;

	if (pread(fd, entry, len, (uintptr_t)addr / PAGE * sizeof(*entry)) !=
	    len)
		memset(entry, 0, len);
	close(fd);
	for (size_t i = 0; i < size / PAGE; i++)
		nr += entry[i] >> FRAME_PRESENT & 1;
	return nr;
}

/* How many pages are no longer in the frames that they were in. */
static inline long frames_left(const char *addr, size_t size, const __u64 *before)
{
	__u64 *now = calloc(size / PAGE, sizeof(*now));
	long nr = 0;

	frames(addr, size, now);
	for (size_t i = 0; i < size / PAGE; i++)
		nr += !(now[i] >> FRAME_PRESENT & 1) ||
		      (now[i] & FRAME_MASK) != (before[i] & FRAME_MASK);
	free(now);
	return nr;
}

/* Is the page at @addr part of a huge page? */
static inline bool frame_is_huge(const char *addr)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	__u64 entry, flags = 0;

	frames(addr, PAGE, &entry);
	if (pread(fd, &flags, 8, (entry & FRAME_MASK) * 8) != 8)
		flags = 0;
	close(fd);
	return flags >> KPF_THP & 1;
}

/* Tenants */

#define TENANT_SEED	29

/* A process with memory that it fills and, when it is told to, verifies. */
struct tenant {
	size_t size;
	int mode;
	unsigned long mask;
	const char *cgroup;
	int advice;			/* for madvise(), or 0 */
};

static inline int tenant_fn(struct cdm_child *me, void *arg)
{
	struct tenant *tenant = arg;
	char *addr = cdm_map(tenant->size);

	if (tenant->cgroup && cdm_cgroup_enter(tenant->cgroup))
		return 1;
	if (cdm_task_policy(tenant->mode, tenant->mask))
		return 3;
	cdm_stamp(addr, tenant->size, TENANT_SEED);
	if (tenant->advice && madvise(addr, tenant->size, tenant->advice))
		return 4;
	cdm_say(me, (long)addr);
	while (!cdm_hear(me))
		cdm_say(me, cdm_stamp_wrong(addr, tenant->size, TENANT_SEED));
	return 0;
}

static inline char *tenant_start(struct cdm_child *child, struct tenant *tenant)
{
	long addr;

	if (cdm_start(child, tenant_fn, tenant))
		return NULL;
	addr = cdm_hear(child);
	return addr == LONG_MIN ? NULL : (char *)addr;
}

/* The number of wrong pages; LONG_MIN if the tenant is dead. */
static inline long tenant_wrong(struct cdm_child *child)
{
	long go = 0;

	signal(SIGPIPE, SIG_IGN);
	if (write(child->out, &go, sizeof(go)) != sizeof(go))
		return LONG_MIN;
	return cdm_hear(child);
}

static inline void tenant_end(struct cdm_child *child)
{
	if (child->pid)
		cdm_kill(child);
	child->pid = 0;
}

#endif /* _ROWS_UTIL_H */
