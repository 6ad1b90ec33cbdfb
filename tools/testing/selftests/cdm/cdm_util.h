/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of coherent device memory share: which nodes the machine has,
 * what lies on them, load that runs beside a test, and the test driver.
 */
#ifndef _CDM_UTIL_H
#define _CDM_UTIL_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <numaif.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "../../../../drivers/cdm/cdm_test_uapi.h"

#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY	5
#endif
#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define CDM_MAX_NODES	16
#define MIB		(1024 * 1024UL)
#define PAGE		4096UL
#define HPAGE		(2 * MIB)

/*
 * A limit in seconds. In a sealed machine (tools/testing/cdm/vm.sh) the time that
 * passes is the guest's own work, so what takes longer hangs. Elsewhere, and in
 * make soak, the limit of the whole machine is the only one.
 */
static inline int cdm_seconds(int sealed)
{
	return getenv("CDM_SEALED") ? sealed : 24 * 60 * 60;
}

#define CDM_TIMEOUT	cdm_seconds(240)
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	CDM_TIMEOUT
/* Until a child answers */
#define CDM_ACK_MS	(1000 * cdm_seconds(120))
/* Until a thread of the kernel has done something */
#define CDM_PATIENCE	cdm_seconds(60)

/* Files */

static inline int cdm_read(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	size_t len = 0;
	ssize_t nr;

	if (fd < 0)
		return -errno;
	while ((nr = read(fd, buf + len, size - 1 - len)) > 0)
		len += nr;
	if (nr < 0)
		nr = -errno;
	buf[len] = 0;
	close(fd);
	return nr < 0 ? nr : (int)len;
}

/* Returns 0, or what the write failed with. */
static inline int cdm_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static inline int cdm_writef(const char *path, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return cdm_write(path, text);
}

static inline long cdm_read_long(const char *path)
{
	char buf[64];

	return cdm_read(path, buf, sizeof(buf)) < 0 ? -1 : atol(buf);
}

/* The number that follows @key at the start of a line or after "Node N ". */
static inline long cdm_field(const char *path, const char *key)
{
	char line[256];
	long val = -1;
	FILE *file = fopen(path, "r");

	if (!file)
		return -1;
	while (val < 0 && fgets(line, sizeof(line), file)) {
		char *at = line;
		int nid, len = 0;

		if (sscanf(line, "Node %d %n", &nid, &len) == 1 && len)
			at += len;
		len = strlen(key);
		if (!strncmp(at, key, len) && strchr(": \t", at[len]))
			val = strtol(at + len + strspn(at + len, ": \t"),
				     NULL, 10);
	}
	fclose(file);
	return val;
}

/* Nodes */

struct cdm_nodes {
	int nr;
	int nid[CDM_MAX_NODES];
};

/* Reads "1 2" as well as "1-2,4". */
static inline struct cdm_nodes cdm_nodes_parse(const char *list)
{
	struct cdm_nodes nodes = {};
	char *end;

	while (*list) {
		long first = strtol(list, &end, 10), last = first;

		if (end == list) {
			list++;
			continue;
		}
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		for (; first <= last && nodes.nr < CDM_MAX_NODES; first++)
			nodes.nid[nodes.nr++] = first;
		list = end;
	}
	return nodes;
}

static inline struct cdm_nodes cdm_nodes_get(const char *env, const char *state)
{
	const char *list = getenv(env);
	char path[128], buf[256] = "";

	if (list)
		return cdm_nodes_parse(list);
	snprintf(path, sizeof(path), "/sys/devices/system/node/%s", state);
	cdm_read(path, buf, sizeof(buf));
	return cdm_nodes_parse(buf);
}

static inline struct cdm_nodes cdm_devs(void)
{
	return cdm_nodes_get("CDM_DEVICE_NODES", "has_coherent_device");
}

static inline struct cdm_nodes cdm_rams(void)
{
	return cdm_nodes_get("CDM_RAM_NODES", "has_memory");
}

static inline int cdm_dev(int i)
{
	return cdm_devs().nid[i];
}

static inline int cdm_ram(int i)
{
	return cdm_rams().nid[i];
}

static inline unsigned long cdm_mask(struct cdm_nodes nodes)
{
	unsigned long mask = 0;

	for (int i = 0; i < nodes.nr; i++)
		mask |= 1UL << nodes.nid[i];
	return mask;
}

static inline unsigned long cdm_all_mask(void)
{
	return cdm_mask(cdm_devs()) | cdm_mask(cdm_rams());
}

/* A file of node states holds exactly the nodes of @nodes. */
static inline bool cdm_state_is(const char *state, struct cdm_nodes nodes)
{
	char path[128], buf[256] = "";

	snprintf(path, sizeof(path), "/sys/devices/system/node/%s", state);
	if (cdm_read(path, buf, sizeof(buf)) < 0)
		return false;
	return cdm_mask(cdm_nodes_parse(buf)) == cdm_mask(nodes);
}

static inline bool cdm_state_has(const char *state, int nid)
{
	char path[128], buf[256] = "";

	snprintf(path, sizeof(path), "/sys/devices/system/node/%s", state);
	cdm_read(path, buf, sizeof(buf));
	return cdm_mask(cdm_nodes_parse(buf)) >> nid & 1;
}

static inline bool cdm_flavour_is(const char *name)
{
	const char *flavour = getenv("CDM_FLAVOUR");

	return flavour && !strcmp(flavour, name);
}

/*
 * With the checkers, a case that takes no path of the kernel which another one has
 * not taken is left to make soak.
 */
#define CDM_REPEATS	"repeats another case with the checkers: make soak runs it"

static inline bool cdm_no_repeats(void)
{
	return cdm_flavour_is("debug") && getenv("CDM_SEALED");
}

/* How many of something: all that is asked for, or fewer where it takes ages. */
static inline long cdm_effort(long all, long debug)
{
	return cdm_flavour_is("debug") ? debug : all;
}

/* The memory is an ordinary node, and there is no driver. */
static inline bool cdm_is_unfenced(void)
{
	return cdm_flavour_is("base") || cdm_flavour_is("unfenced");
}

/* Why there is no device with the test driver, or NULL. */
static inline const char *cdm_missing(void)
{
	if (!cdm_devs().nr)
		return "this topology has no device";
	if (cdm_is_unfenced())
		return "without a fence there is no owner driver";
	return NULL;
}

static inline char *cdm_topology(void)
{
	return getenv("CDM_TOPOLOGY") ?: "unknown";
}

/* Counters */

static inline long cdm_meminfo(const char *key)
{
	return cdm_field("/proc/meminfo", key);
}

static inline long cdm_vmstat(const char *key)
{
	return cdm_field("/proc/vmstat", key);
}

static inline long cdm_node_meminfo(int nid, const char *key)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/meminfo", nid);
	return cdm_field(path, key);
}

static inline long cdm_node_vmstat(int nid, const char *key)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/vmstat", nid);
	return cdm_field(path, key);
}

static inline long cdm_nodes_meminfo(struct cdm_nodes nodes, const char *key)
{
	long sum = 0;

	for (int i = 0; i < nodes.nr; i++)
		sum += cdm_node_meminfo(nodes.nid[i], key);
	return sum;
}

/* Fold the per-CPU parts of all counters, so that 0 means 0. */
static inline void cdm_stat_refresh(void)
{
	cdm_write("/proc/sys/vm/stat_refresh", "1");
}

#define CDM_LISTS	"/proc/sys/vm/percpu_pagelist_high_fraction"

/*
 * What the lists of CPUs hold is not in MemFree, and may be much: as much as a victim
 * of the OOM killer has freed, while another CPU finds nothing and kills the next.
 * Until cdm_reset() they hold as little as they can.
 */
static inline int cdm_short_lists(void)
{
	return cdm_write(CDM_LISTS, "1000000");
}

/* How many pages all of them may hold. */
static inline long cdm_lists_limit(void)
{
	FILE *file = fopen("/proc/zoneinfo", "re");
	long sum = 0, limit;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, " high: %ld", &limit) == 1)
			sum += limit;
	}
	if (file)
		fclose(file);
	return sum;
}

/* With each refresh they may hold an eighth less, and give back what is more. */
static inline void cdm_drain_lists(void)
{
	long limit, was;

	cdm_short_lists();
	limit = cdm_lists_limit();
	do {
		was = limit;
		cdm_stat_refresh();
		limit = cdm_lists_limit();
	} while (limit < was);
}

static inline void cdm_drop_caches(void)
{
	cdm_write("/proc/sys/vm/drop_caches", "3");
}

/*
 * Free what is kept for later: page cache, empty slabs, with these what KASAN has of
 * them in quarantine, and the lists of CPUs.
 */
static inline void cdm_settle_ram(void)
{
	glob_t caches;

	cdm_drop_caches();
	if (!glob("/sys/kernel/slab/*/shrink", 0, NULL, &caches)) {
		for (size_t i = 0; i < caches.gl_pathc; i++)
			cdm_write(caches.gl_pathv[i], "1");
		globfree(&caches);
	}
	cdm_drain_lists();
}

/* All of it: what waits for the LRU with a CPU could not be isolated. */
static inline int cdm_pageout(void *addr, size_t size)
{
	cdm_drop_caches();
	return madvise(addr, size, MADV_PAGEOUT);
}

static inline long cdm_node_used(int nid)
{
	return cdm_node_meminfo(nid, "MemTotal") -
	       cdm_node_meminfo(nid, "MemFree");
}

/* FilePages contains Shmem and the swap cache. */
static inline long cdm_node_named(int nid)
{
	static const char * const keys[] = {
		"AnonPages", "FilePages", "Slab", "PageTables", "KernelStack",
	};
	long sum = 0;

	for (int i = 0; i < ARRAY_SIZE(keys); i++)
		sum += cdm_node_meminfo(nid, keys[i]);
	return sum;
}

/* What lies on the device nodes, in kB, by both ways of counting. */
struct cdm_mark {
	long used;
	long named;
};

static inline struct cdm_mark cdm_mark(void)
{
	struct cdm_nodes devs = cdm_devs();
	struct cdm_mark mark = {};

	cdm_stat_refresh();
	for (int i = 0; i < devs.nr; i++) {
		mark.used += cdm_node_used(devs.nid[i]);
		mark.named += cdm_node_named(devs.nid[i]);
	}
	return mark;
}

/*
 * How many kB came onto the device nodes since @mark. No margin is needed: a
 * page leaves the free lists of a node, be it to a per-CPU list, only by an
 * allocation on that node.
 */
static inline long cdm_leaked(struct cdm_mark mark)
{
	struct cdm_mark now = cdm_mark();
	long used = now.used - mark.used;
	long named = now.named - mark.named;

	return used > named ? used : named;
}

/*
 * The audit: a number of pages by key, -1 where there is none (on the base, or
 * while the node has no memory).
 */
static inline long cdm_audit(int nid, const char *key)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/cdm/audit", nid);
	return cdm_field(path, key);
}

static inline long cdm_audit_all(const char *key)
{
	struct cdm_nodes devs = cdm_devs();
	long sum = 0;

	for (int i = 0; i < devs.nr; i++) {
		long nr = cdm_audit(devs.nid[i], key);

		if (nr > 0)
			sum += nr;
	}
	return sum;
}

/*
 * The judge of the fence: how much on all device nodes is there without a
 * name, and how many ordinary zonelists lead to them.
 */
static inline long cdm_unfenced(void)
{
	static const char * const keys[] = {
		"\nkernel ", "\ncause_unknown ", "\nzonelists ",
	};
	struct cdm_nodes devs = cdm_devs();
	char path[128], buf[4096];
	long sum = 0;

	for (int i = 0; i < devs.nr; i++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/cdm/audit",
			 devs.nid[i]);
		if (cdm_read(path, buf, sizeof(buf)) < 0) {
			/* Not a device node now, or one that hides something. */
			*strrchr(path, '/') = 0;
			sum += !access(path, F_OK);
			continue;
		}
		for (int k = 0; k < ARRAY_SIZE(keys); k++)
			sum += atol(strstr(buf, keys[k]) + strlen(keys[k]));
	}
	return sum;
}

/* Pages in use on all device nodes, by whatever name. */
static inline long cdm_audit_used(void)
{
	return cdm_audit_all("total") - cdm_audit_all("free");
}

/* Returns whether the log has @what, since @kmsg, a file of /dev/kmsg, was opened. */
static inline bool cdm_log_has(int kmsg, const char *what)
{
	static char record[8192];
	ssize_t len;

	while ((len = read(kmsg, record, sizeof(record) - 1)) > 0) {
		record[len] = 0;
		if (strstr(record, what))
			return true;
	}
	return false;
}

/* Memory and where it is */

static inline char *cdm_map(size_t size)
{
	char *addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return addr == MAP_FAILED ? NULL : addr;
}

static inline char *cdm_map_shared(size_t size)
{
	char *addr = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return addr == MAP_FAILED ? NULL : addr;
}

/* Aligned to a huge page. The mapping is not undone as a whole. */
static inline char *cdm_map_huge(size_t size)
{
	char *addr = cdm_map(size + HPAGE);

	if (!addr)
		return NULL;
	addr = (char *)(((uintptr_t)addr + HPAGE - 1) & ~(HPAGE - 1));
	return madvise(addr, size, MADV_HUGEPAGE) ? NULL : addr;
}

static inline void cdm_touch(char *addr, size_t size)
{
	for (size_t off = 0; off < size; off += PAGE)
		addr[off] = 1;
}

static char cdm_sink;

/* Read a byte of each page, which reads a file mapping in. */
static inline void cdm_fault_in(const char *addr, size_t size)
{
	for (size_t off = 0; off < size; off += PAGE)
		cdm_sink += addr[off];
}

/* Every word of the pattern depends on its place, so swapped pages show. */
static __always_inline __u64 cdm_word(__u64 seed, __u64 i)
{
	return (seed + i) * 0x9e3779b97f4a7c15ULL;
}

static inline void cdm_fill(char *addr, size_t size, __u64 seed)
{
	__u64 *word = (__u64 *)addr;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		word[i] = cdm_word(seed, i);
}

/* The number of wrong words. */
static inline long cdm_wrong(const char *addr, size_t size, __u64 seed)
{
	const __u64 *word = (const __u64 *)addr;
	long wrong = 0;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		wrong += word[i] != cdm_word(seed, i);
	return wrong;
}

/* The same with one word a page, for memory too large to fill. */
static inline void cdm_stamp(char *addr, size_t size, __u64 seed)
{
	for (size_t off = 0; off < size; off += PAGE)
		*(__u64 *)(addr + off) = cdm_word(seed, off);
}

static inline long cdm_stamp_wrong(const char *addr, size_t size, __u64 seed)
{
	long wrong = 0;

	for (size_t off = 0; off < size; off += PAGE)
		wrong += *(__u64 *)(addr + off) != cdm_word(seed, off);
	return wrong;
}

static inline __u64 cdm_hash(const void *addr, size_t size)
{
	const __u64 *word = addr;
	__u64 hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		hash = (hash ^ word[i]) * 0x100000001b3ULL;
	return hash;
}

struct cdm_spread {
	long on[CDM_MAX_NODES];
	long absent;		/* no page, or the shared zero page */
	long total;
};

/* A page that is being migrated has no place; look again before saying so. */
static inline int cdm_where(int pid, int nr, void **page, int *status)
{
	bool absent = true;
	int err = 0;

	for (int i = 0; !err && absent && i < 5; i++) {
		if (i)
			usleep(2000);
		err = move_pages(pid, nr, page, NULL, status, 0);
		absent = false;
		for (int j = 0; !err && j < nr; j++)
			absent |= status[j] == -ENOENT;
	}
	return err;
}

static inline struct cdm_spread cdm_spread_of(int pid, const char *addr,
					      size_t size)
{
	struct cdm_spread spread = { .total = size / PAGE };
	void *page[512];
	int status[512];

	for (size_t done = 0; done < spread.total; ) {
		int nr = 0;

		while (nr < 512 && done < spread.total)
			page[nr++] = (void *)(addr + PAGE * done++);
		if (cdm_where(pid, nr, page, status)) {
			spread.absent += nr;
			continue;
		}
		for (int i = 0; i < nr; i++) {
			if (status[i] < 0 || status[i] >= CDM_MAX_NODES)
				spread.absent++;
			else
				spread.on[status[i]]++;
		}
	}
	return spread;
}

static inline struct cdm_spread cdm_spread(const char *addr, size_t size)
{
	return cdm_spread_of(0, addr, size);
}

static inline long cdm_pages_on(const char *addr, size_t size, int nid)
{
	return nid < CDM_MAX_NODES ? cdm_spread(addr, size).on[nid] : 0;
}

static inline long cdm_spread_in(struct cdm_spread spread,
				 struct cdm_nodes nodes)
{
	long sum = 0;

	for (int i = 0; i < nodes.nr; i++)
		sum += spread.on[nodes.nid[i]];
	return sum;
}

/* Returns how many pages are on @nid afterwards, or -errno. */
static inline long cdm_move(const char *addr, size_t size, int nid)
{
	size_t nr = size / PAGE;
	void **page = malloc(nr * sizeof(*page));
	int *node = malloc(nr * sizeof(*node));
	int *status = calloc(nr, sizeof(*status));
	long ret;

	for (size_t i = 0; i < nr; i++) {
		page[i] = (void *)(addr + i * PAGE);
		node[i] = nid;
	}
	ret = move_pages(0, nr, page, node, status, MPOL_MF_MOVE);
	if (ret < 0)
		ret = -errno;
	free(page);
	free(node);
	free(status);
	return ret < 0 ? ret : cdm_pages_on(addr, size, nid);
}

static inline int cdm_task_policy(int mode, unsigned long mask)
{
	return set_mempolicy(mode, mask ? &mask : NULL,
			     mask ? 8 * sizeof(mask) : 0) ? -errno : 0;
}

static inline int cdm_bind_task(int nid)
{
	return cdm_task_policy(MPOL_BIND, 1UL << nid);
}

static inline int cdm_mbind(void *addr, size_t size, int mode,
			    unsigned long mask, unsigned int flags)
{
	return mbind(addr, size, mode, &mask, 8 * sizeof(mask), flags) ?
		-errno : 0;
}

/* Anonymous memory with the pattern of @seed, all of it on @nid, or NULL. */
static inline char *cdm_map_on(int nid, size_t size, __u64 seed)
{
	char *addr = cdm_map(size);

	if (!addr || cdm_mbind(addr, size, MPOL_BIND, 1UL << nid, 0))
		return NULL;
	cdm_fill(addr, size, seed);
	if (cdm_pages_on(addr, size, nid) != size / PAGE)
		return NULL;
	return addr;
}

/* Files of the host, which are read-only here */

/* Calls @fn with each file of a MiB or more in @path until it returns true. */
static inline bool cdm_each_file_in(const char *path,
				    bool (*fn)(int fd, long size, void *arg),
				    void *arg)
{
	DIR *dir = opendir(path);
	struct dirent *ent;
	bool done = false;
	struct stat st;

	while (dir && !done && (ent = readdir(dir))) {
		int fd;

		if (fstatat(dirfd(dir), ent->d_name, &st,
			    AT_SYMLINK_NOFOLLOW) ||
		    !S_ISREG(st.st_mode) || st.st_size < MIB)
			continue;
		fd = openat(dirfd(dir), ent->d_name, O_RDONLY);
		done = fd >= 0 && fn(fd, st.st_size, arg);
		close(fd);
	}
	if (dir)
		closedir(dir);
	return done;
}

static inline bool cdm_each_big_file(bool (*fn)(int fd, long size, void *arg),
				     void *arg)
{
	static const char * const dirs[] = {
		"/usr/lib/x86_64-linux-gnu", "/usr/bin", "/usr/lib",
	};
	const char *files = getenv("CDM_FILES");
	bool done = files && cdm_each_file_in(files, fn, arg);

	for (int i = 0; !done && i < ARRAY_SIZE(dirs); i++)
		done = cdm_each_file_in(dirs[i], fn, arg);
	return done;
}

struct cdm_big {
	size_t min;
	int fd;
};

static inline bool cdm_big_visit(int fd, long size, void *arg)
{
	struct cdm_big *big = arg;

	if (size >= big->min)
		big->fd = dup(fd);
	return big->fd >= 0;
}

/* Open some file of at least @size bytes. */
static inline int cdm_open_big(size_t size)
{
	struct cdm_big big = { .min = size, .fd = -1 };

	cdm_each_big_file(cdm_big_visit, &big);
	return big.fd;
}

static inline bool cdm_read_visit(int fd, long size, void *arg)
{
	static char buf[1024 * 1024];
	long *left = arg;
	ssize_t nr;

	while (*left > 0 && (nr = read(fd, buf, sizeof(buf))) > 0)
		*left -= nr;
	return *left <= 0;
}

/* Fill the page cache with @size bytes of files. Returns what was missing. */
static inline long cdm_read_files(long size)
{
	cdm_each_big_file(cdm_read_visit, &size);
	return size > 0 ? size : 0;
}

/* Children: load beside the test, which talks through pipes */

struct cdm_child {
	pid_t pid;
	int in;
	int out;
};

static inline void cdm_say(struct cdm_child *child, long val)
{
	if (write(child->out, &val, sizeof(val)) != sizeof(val))
		_exit(1);
}

/* What the other side said; LONG_MIN if it is dead or silent. */
static inline long cdm_hear(struct cdm_child *child)
{
	struct pollfd pfd = { .fd = child->in, .events = POLLIN };
	long val;

	if (poll(&pfd, 1, CDM_ACK_MS) != 1 ||
	    read(child->in, &val, sizeof(val)) != sizeof(val))
		return LONG_MIN;
	return val;
}

/*
 * Run @fn in a child. It is the first to go when memory runs out, and goes
 * with the test: a test that failed must leave nothing behind.
 */
static inline int cdm_start(struct cdm_child *child,
			    int (*fn)(struct cdm_child *me, void *arg),
			    void *arg)
{
	int down[2], up[2];

	memset(child, 0, sizeof(*child));
	if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
		return -errno;
	child->pid = fork();
	if (child->pid < 0)
		return -errno;
	if (!child->pid) {
		struct cdm_child me = { .in = down[0], .out = up[1] };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		close(up[0]);
		cdm_write("/proc/self/oom_score_adj", "1000");
		_exit(fn(&me, arg));
	}
	close(down[0]);
	close(up[1]);
	child->in = up[0];
	child->out = down[1];
	return 0;
}

/* The child's wait status. Closing the pipe makes its cdm_hear() return. */
static inline int cdm_wait(struct cdm_child *child)
{
	int status = -1;

	close(child->out);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(child->in);
	return status;
}

static inline int cdm_kill(struct cdm_child *child)
{
	kill(child->pid, SIGKILL);
	return cdm_wait(child);
}

/* What a child does with memory before it waits to be killed. */
struct cdm_load {
	size_t size;
	int mode;		/* memory policy of the task */
	unsigned long mask;
	bool shared;
	bool huge;
	bool lazy;		/* give it to MADV_FREE once it is touched */
	const char *cgroup;
};

static inline int cdm_cgroup_enter(const char *name);

static inline int cdm_load_fn(struct cdm_child *me, void *arg)
{
	struct cdm_load *load = arg;
	char *addr;

	if (load->cgroup && cdm_cgroup_enter(load->cgroup))
		return 2;
	if (cdm_task_policy(load->mode, load->mask))
		return 3;
	if (load->shared)
		addr = cdm_map_shared(load->size);
	else if (load->huge)
		addr = cdm_map_huge(load->size);
	else
		addr = cdm_map(load->size);
	if (!addr)
		return 4;
	cdm_touch(addr, load->size);
	if (load->lazy && madvise(addr, load->size, MADV_FREE))
		return 5;
	cdm_say(me, (long)addr);
	cdm_hear(me);
	return 0;
}

/* Returns the address of the child's memory, or NULL if it did not get it. */
static inline char *cdm_load_start(struct cdm_child *child,
				   struct cdm_load *load)
{
	long addr;

	if (cdm_start(child, cdm_load_fn, load))
		return NULL;
	addr = cdm_hear(child);
	return addr == LONG_MIN ? NULL : (char *)addr;
}

static inline void cdm_interrupt(int sig)
{
}

/*
 * Write "offline" to the state of a block. The kernel tries until a signal comes, so
 * this is no limit but what makes it give up.
 */
static inline bool cdm_try_offline(const char *state)
{
	struct sigaction sa = { .sa_handler = cdm_interrupt };
	bool done;

	sigaction(SIGALRM, &sa, NULL);
	alarm(getenv("CDM_SEALED") ? 20 : 60);
	done = !cdm_write(state, "offline");
	alarm(0);
	return done;
}

/* A thread that gets memory bound to some nodes and frees it, again and again. */
struct cdm_faulter {
	char *addr;
	size_t size;
	long failed;
	bool stop;
	pthread_t thread;
};

static inline void *cdm_faulter_fn(void *arg)
{
	struct cdm_faulter *faulter = arg;

	while (!__atomic_load_n(&faulter->stop, __ATOMIC_ACQUIRE)) {
		/* Only the first page of a call tells why it failed. */
		for (size_t at = 0; at < faulter->size; at += PAGE)
			faulter->failed += !!madvise(faulter->addr + at, PAGE,
						     MADV_POPULATE_WRITE);
		madvise(faulter->addr, faulter->size, MADV_DONTNEED);
	}
	return NULL;
}

static inline int cdm_faulter_start(struct cdm_faulter *faulter,
				    unsigned long mask, size_t size)
{
	*faulter = (struct cdm_faulter){ .addr = cdm_map(size), .size = size };
	return cdm_mbind(faulter->addr, size, MPOL_BIND, mask, 0) ?:
	       pthread_create(&faulter->thread, NULL, cdm_faulter_fn, faulter);
}

/* Returns how often it did not get any. */
static inline long cdm_faulter_stop(struct cdm_faulter *faulter)
{
	__atomic_store_n(&faulter->stop, true, __ATOMIC_RELEASE);
	pthread_join(faulter->thread, NULL);
	return faulter->failed;
}

/* Pressure */

static inline int cdm_node_hugepages(int nid, long nr)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 nid);
	return cdm_writef(path, "%ld", nr);
}

static inline long cdm_node_hugepages_nr(int nid)
{
	return cdm_node_meminfo(nid, "HugePages_Total");
}

/* Up to so many MiB of a node may be too scattered for huge pages. */
#define CDM_SCATTERED	64

/*
 * The node's own huge page pool takes all of @nid but @mib MiB, or as much as it
 * can: it never falls back to other nodes, and needs no page faults, which are
 * dear on an emulated machine. What comes back from per-CPU lists meanwhile, or is
 * brought together, is taken by the next round. Returns how many MiB are left.
 */
static inline long cdm_fill_node(int nid, long mib)
{
	char compact[64];

	snprintf(compact, sizeof(compact),
		 "/sys/devices/system/node/node%d/compact", nid);
	for (int i = 0; i < 5; i++) {
		long free = cdm_node_meminfo(nid, "MemFree") / 1024;
		long nr = cdm_node_hugepages_nr(nid);

		if (free < mib + 4)
			break;
		if (i > 2 && free > mib + CDM_SCATTERED)
			cdm_write(compact, "1");
		if (cdm_node_hugepages(nid, nr + (free - mib) / 2))
			break;
	}
	return cdm_node_meminfo(nid, "MemFree") / 1024;
}

/*
 * What the huge page pools could not have of RAM, for it is too scattered, this
 * has: locked, and no business of children.
 */
struct cdm_ballast {
	char *addr;
	size_t size;
};

static struct cdm_ballast cdm_ballasts[16];

/* MiB: what is worth a page fault, what may be left, what the kernel needs */
#define CDM_BALLAST	2
#define CDM_BALLAST_OFF	16
#define CDM_BALLAST_MIN	64

/* Take all of @nid but @mib MiB. */
static inline int cdm_ballast_take(struct cdm_ballast *ballast, int nid, long mib)
{
	long extra = cdm_node_meminfo(nid, "MemFree") / 1024 - mib;

	if (extra < CDM_BALLAST)
		return 0;
	ballast->size = extra * MIB;
	ballast->addr = cdm_map(ballast->size);
	return !ballast->addr ||
	       madvise(ballast->addr, ballast->size, MADV_DONTFORK) ||
	       cdm_mbind(ballast->addr, ballast->size, MPOL_BIND, 1UL << nid, 0) ||
	       mlock(ballast->addr, ballast->size);
}

static inline void cdm_drop_ballast(void)
{
	for (int i = 0; i < ARRAY_SIZE(cdm_ballasts); i++) {
		if (cdm_ballasts[i].addr)
			munmap(cdm_ballasts[i].addr, cdm_ballasts[i].size);
		cdm_ballasts[i].addr = NULL;
	}
}

/*
 * Leave @mib MiB on each of @nodes, which are RAM, however scattered they are.
 * What the lists of CPUs give back meanwhile is for another round.
 */
static inline int cdm_leave_each(struct cdm_nodes nodes, long mib)
{
	long least = mib > CDM_BALLAST_MIN ? mib : CDM_BALLAST_MIN, left;

	cdm_drop_ballast();
	cdm_drain_lists();
	for (int i = 0; i < nodes.nr; i++)
		cdm_fill_node(nodes.nid[i], mib);
	for (int i = 0; i < ARRAY_SIZE(cdm_ballasts); i++) {
		left = cdm_nodes_meminfo(nodes, "MemFree") / 1024;
		if (left <= least * nodes.nr + CDM_BALLAST_OFF)
			return 0;
		if (cdm_ballast_take(&cdm_ballasts[i], nodes.nid[i % nodes.nr],
				     least))
			break;
	}
	fprintf(stderr, "# RAM: %ld MiB free, not %ld\n", left, mib * nodes.nr);
	return -1;
}

/* Leave @mib MiB on all RAM nodes together. */
static inline int cdm_leave_ram(long mib)
{
	struct cdm_nodes rams = cdm_rams();

	cdm_drop_caches();
	return cdm_leave_each(rams, mib / rams.nr);
}

/* Leave @mib MiB free on @nid. Of RAM nodes only one can be left so. */
static inline int cdm_leave_node(int nid, long mib)
{
	struct cdm_nodes one = { .nr = 1, .nid = { nid } };
	long free;

	if (cdm_mask(cdm_rams()) >> nid & 1)
		return cdm_leave_each(one, mib);
	free = cdm_fill_node(nid, mib);
	if (free <= mib + CDM_SCATTERED)
		return 0;
	fprintf(stderr, "# node %d: %ld MiB free, not %ld\n", nid, free, mib);
	return -1;
}

/* Free what the functions above have taken of RAM. */
static inline void cdm_free_ram(void)
{
	struct cdm_nodes rams = cdm_rams();

	cdm_drop_ballast();
	for (int i = 0; i < rams.nr; i++)
		cdm_node_hugepages(rams.nid[i], 0);
}

/* cgroups */

#define CDM_CGROUPS	"/sys/fs/cgroup"

static inline int cdm_cgroup_write(const char *name, const char *file,
				   const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), CDM_CGROUPS "/%s/%s", name, file);
	return cdm_write(path, text);
}

static inline int cdm_cgroup_read(const char *name, const char *file,
				  char *buf, size_t size)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), CDM_CGROUPS "/%s/%s", name, file);
	return cdm_read(path, buf, size);
}

static inline long cdm_cgroup_stat(const char *name, const char *file,
				   const char *key)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), CDM_CGROUPS "/%s/%s", name, file);
	return cdm_field(path, key);
}

/* Names begin with "cdm_": cdm_reset() removes what a failed test left. */
static inline int cdm_cgroup_create(const char *name)
{
	char path[PATH_MAX];
	int err;

	err = cdm_write(CDM_CGROUPS "/cgroup.subtree_control",
			"+memory +cpuset");
	if (err)
		return err;
	snprintf(path, sizeof(path), CDM_CGROUPS "/%s", name);
	return mkdir(path, 0755) ? -errno : 0;
}

static inline int cdm_cgroup_enter(const char *name)
{
	return cdm_cgroup_write(name, "cgroup.procs", "0");
}

static inline int cdm_cgroup_leave(void)
{
	return cdm_write(CDM_CGROUPS "/cgroup.procs", "0");
}

static inline int cdm_cgroup_remove(const char *name)
{
	char path[PATH_MAX];

	cdm_cgroup_write(name, "cgroup.kill", "1");
	snprintf(path, sizeof(path), CDM_CGROUPS "/%s", name);
	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (!rmdir(path) || errno != EBUSY)
			return 0;
		usleep(10000);
	}
	return -EBUSY;
}

static inline void cdm_cgroup_remove_all(void)
{
	DIR *dir = opendir(CDM_CGROUPS);
	struct dirent *ent;

	if (!dir)
		return;
	while ((ent = readdir(dir)))
		if (!strncmp(ent->d_name, "cdm_", 4))
			cdm_cgroup_remove(ent->d_name);
	closedir(dir);
}

/* The test driver */

static inline int cdm_ioctl(unsigned long cmd, void *arg)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, cmd, arg) < 0)
		err = -errno;
	close(fd);
	return err;
}

/*
 * Let the kernel take a page by the number of a node. Returns where it got it,
 * -1 for nowhere.
 */
static inline int cdm_take(int nid, enum cdm_test_how how)
{
	struct cdm_test_alloc alloc = { .nid = nid, .how = how };
	int err = cdm_ioctl(CDM_TEST_IOC_ALLOC, &alloc);

	return err ?: alloc.nid;
}

/* @status: one value a page, or NULL */
static inline int cdm_migrate(const void *addr, size_t size, int nid,
			      __s32 *status)
{
	struct cdm_test_migrate arg = {
		.addr = (uintptr_t)addr,
		.size = size,
		.status = (uintptr_t)status,
		.nid = nid,
	};

	return cdm_ioctl(CDM_TEST_IOC_MIGRATE, &arg);
}

static inline int cdm_unregister(int nid, unsigned int deadline_ms,
				 struct cdm_test_unregister *out)
{
	struct cdm_test_unregister arg = {
		.nid = nid,
		.deadline_ms = deadline_ms,
	};
	int err = cdm_ioctl(CDM_TEST_IOC_UNREGISTER, &arg);

	if (out)
		*out = arg;
	return err;
}

/* The driver's range on node @nid, or with index @i if @nid is -1. */
static inline int cdm_range(int nid, int i, struct cdm_test_range *range)
{
	struct cdm_test_info info;
	int err = cdm_ioctl(CDM_TEST_IOC_INFO, &info);

	if (err)
		return err;
	for (int j = 0; j < info.nr_ranges; j++) {
		if (nid < 0 ? j != i : info.ranges[j].nid != nid)
			continue;
		*range = info.ranges[j];
		return 0;
	}
	return -ENOENT;
}

static inline int cdm_unregister_all(void)
{
	struct cdm_nodes devs = cdm_devs();
	int err = 0;

	for (int i = 0; !err && i < devs.nr; i++)
		err = cdm_unregister(devs.nid[i], CDM_ACK_MS, NULL);
	return err;
}

/* Does a node have some of range @i? */
static inline bool cdm_range_in_use(const struct cdm_test_info *info, int i)
{
	const struct cdm_test_range *a = &info->ranges[i];

	for (int j = 0; j < info->nr_ranges; j++) {
		const struct cdm_test_range *b = &info->ranges[j];

		if (b->nid >= 0 && a->start < b->start + b->size &&
		    b->start < a->start + a->size)
			return true;
	}
	return false;
}

/*
 * Register every range that has no node at the moment. A part that a test has
 * registered once, and which comes later in the table, stands for its range.
 */
static inline int cdm_register_all(void)
{
	struct cdm_test_info info = {};
	int err = cdm_ioctl(CDM_TEST_IOC_INFO, &info);

	for (int i = info.nr_ranges - 1; !err && i >= 0; i--)
		if (!cdm_range_in_use(&info, i))
			err = cdm_ioctl(CDM_TEST_IOC_REGISTER, &info.ranges[i]);
	return err;
}

static inline int cdm_hold_fn(struct cdm_child *me, void *arg)
{
	struct cdm_test_hold_folio *hold = arg;

	cdm_ioctl(CDM_TEST_IOC_HOLD_FOLIO, hold);
	return 0;
}

/* A child, which has what the test has, holds a folio of it. */
static inline bool cdm_hold_start(struct cdm_child *child, char *addr,
				  unsigned int how)
{
	struct cdm_test_hold_folio hold = {
		.addr = (uintptr_t)addr,
		.how = how,
	};
	struct cdm_test_events events = {};

	if (cdm_start(child, cdm_hold_fn, &hold))
		return false;
	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (!cdm_ioctl(CDM_TEST_IOC_EVENTS, &events) && events.nr_folios)
			return true;
		usleep(10000);
	}
	return false;
}

static inline void cdm_hold_end(struct cdm_child *child)
{
	cdm_kill(child);
	child->pid = 0;
}

/* Swap */

static inline int cdm_swap_to(const char *device, long mib)
{
	char command[128];

	snprintf(command, sizeof(command), "mkswap %s %ld >/dev/null 2>&1", device,
		 mib * 1024);
	if (system(command))
		return -EINVAL;
	return swapon(device, 0) ? -errno : 0;
}

#define CDM_ZRAM	"/dev/zram0"

/* In compressed RAM */
static inline int cdm_zram_on(long mib)
{
	if (access(CDM_ZRAM, F_OK) && system("modprobe zram"))
		return -ENODEV;
	if (cdm_writef("/sys/block/zram0/disksize", "%ldM", mib))
		return -EIO;
	return cdm_swap_to(CDM_ZRAM, mib);
}

/*
 * The swap device of the machine is preferred to compressed RAM: an emulated CPU
 * takes longer to compress a page than for all the rest of reclaim.
 */
static inline int cdm_swap_on(long mib)
{
	const char *device = getenv("CDM_SWAP");

	return device ? cdm_swap_to(device, mib) : cdm_zram_on(mib);
}

static inline void cdm_swap_off(void)
{
	const char *device = getenv("CDM_SWAP");

	if (device)
		swapoff(device);
	if (access(CDM_ZRAM, F_OK))
		return;
	swapoff(CDM_ZRAM);
	cdm_write("/sys/block/zram0/reset", "1");
}

/* A disk that tests may write to, or NULL */
static inline const char *cdm_disk(void)
{
	return getenv("CDM_DISK");
}

/* An empty file system on it, at @dir. Returns why there is none, or NULL. */
static inline const char *cdm_mount_disk(const char *dir)
{
	if (!cdm_disk())
		return "the machine has no disk: CDM_DISK is not set";
	if (system("mke2fs -q -F -t ext2 -m 0 -T largefile4 $CDM_DISK"))
		return "no file system could be made on the disk";
	mkdir(dir, 0755);
	if (!mount(cdm_disk(), dir, "ext2", 0, NULL))
		return NULL;
	return errno == ENODEV ? "the kernel has no ext2" : strerror(errno);
}

/* Every test ends with the judge: what is left of it on the devices, and why. */
static inline int cdm_judge(void)
{
	if (!cdm_unfenced())
		return 0;
	fprintf(stderr, "# unfenced: %ld kernel, %ld unknown, %ld zonelists\n",
		cdm_audit_all("kernel"), cdm_audit_all("cause_unknown"),
		cdm_audit_all("zonelists"));
	return -EPROTO;
}

/*
 * What a test that fails has done to the machine: counters of the kernel and free
 * memory by node, before and after, and the audit of the device nodes.
 */
struct cdm_counter {
	char name[56];
	long value;
};

struct cdm_snapshot {
	struct cdm_counter counter[1024];
	int nr;
};

/* @nid: the node whose counters these are, or -1 for all */
static inline void cdm_snapshot_add(struct cdm_snapshot *snap, const char *path,
				    int nid)
{
	FILE *file = fopen(path, "re");
	char line[128], name[40];
	long value;

	while (file && snap->nr < ARRAY_SIZE(snap->counter) &&
	       fgets(line, sizeof(line), file)) {
		struct cdm_counter *at = &snap->counter[snap->nr];

		if (sscanf(line, "%39s %ld", name, &value) != 2)
			continue;
		if (nid >= 0)
			snprintf(at->name, sizeof(at->name), "node%d %s", nid, name);
		else
			snprintf(at->name, sizeof(at->name), "%s", name);
		at->value = value;
		snap->nr++;
	}
	if (file)
		fclose(file);
}

static inline void cdm_snapshot(struct cdm_snapshot *snap)
{
	unsigned long nodes = cdm_all_mask();
	char path[128];

	snap->nr = 0;
	cdm_snapshot_add(snap, "/proc/vmstat", -1);
	for (int nid = 0; nid < CDM_MAX_NODES; nid++) {
		if (!(nodes >> nid & 1))
			continue;
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/vmstat", nid);
		cdm_snapshot_add(snap, path, nid);
	}
}

static inline void cdm_print_file(const char *path)
{
	char buf[4096], *line, *save;

	if (cdm_read(path, buf, sizeof(buf)) < 0)
		return;
	fprintf(stderr, "# %s:\n", path);
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		fprintf(stderr, "#   %s\n", line);
}

static inline void cdm_print_changes(const struct cdm_snapshot *before)
{
	static struct cdm_snapshot after;
	struct cdm_nodes devs = cdm_devs();
	char path[128];

	cdm_snapshot(&after);
	fprintf(stderr, "# counters that changed, before and after:\n");
	for (int i = 0; i < before->nr && i < after.nr; i++) {
		const struct cdm_counter *a = &before->counter[i];
		const struct cdm_counter *b = &after.counter[i];

		if (a->value != b->value && !strcmp(a->name, b->name))
			fprintf(stderr, "#   %s %ld %ld\n", a->name, a->value, b->value);
	}
	for (int i = 0; i < devs.nr; i++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/cdm/audit", devs.nid[i]);
		cdm_print_file(path);
	}
}

static struct cdm_snapshot cdm_before;

/* How long the test took, for those who want the check to be fast. */
static inline void cdm_print_time(void)
{
	static struct timespec from;
	struct timespec to;

	clock_gettime(CLOCK_MONOTONIC, &to);
	if (from.tv_sec)
		fprintf(stderr, "# took %ld ms\n", (to.tv_sec - from.tv_sec) * 1000 +
			(to.tv_nsec - from.tv_nsec) / 1000000);
	from = to;
}

/*
 * Every test starts on, and leaves behind, a machine without traces. One that has
 * failed leaves its counters in the log.
 */
static inline int cdm_reset(const struct __test_metadata *test)
{
	struct cdm_nodes devs = cdm_devs();
	int err = 0;

	cdm_print_time();
	if (test->exit_code == KSFT_FAIL)
		cdm_print_changes(&cdm_before);
	cdm_task_policy(MPOL_DEFAULT, 0);
	cdm_cgroup_leave();
	cdm_cgroup_remove_all();
	/* What is in swap needs room to come back. */
	cdm_free_ram();
	cdm_swap_off();
	cdm_write(CDM_LISTS, "0");
	cdm_write("/sys/kernel/mm/numa/demotion_enabled", "0");
	cdm_write("/proc/sys/vm/nr_hugepages", "0");
	if (!cdm_is_unfenced() && devs.nr)
		err = cdm_register_all();
	for (int i = 0; i < devs.nr; i++)
		cdm_node_hugepages(devs.nid[i], 0);
	cdm_drop_caches();
	cdm_snapshot(&cdm_before);
	return err ?: cdm_judge();
}

#endif /* _CDM_UTIL_H */
