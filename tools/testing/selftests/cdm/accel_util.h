/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of the reference accelerator share: its devices, jobs that end
 * or never do, and what becomes of memory meanwhile.
 */
#ifndef _ACCEL_UTIL_H
#define _ACCEL_UTIL_H

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "cdm_util.h"
#include "cdm_accel.h"

#define ACCEL_DRIVER	"/sys/bus/pci/drivers/cdm_accel"
#define ACCEL_CLASS	"/sys/class/misc"
#define ACCEL_DEBUG	"/sys/kernel/debug/cdm_accel"

/* Jobs and events have no limit of their own: the host decides how long they take. */
#define ACCEL_MS	CDM_ACK_MS
#define ACCEL_SECONDS	(ACCEL_MS / 1000)
/* So often that nobody lives to see the end. */
#define ACCEL_FOREVER	0x4000000000000000ULL
#define ACCEL_CANARY	0xcafe

/* Short for what <linux/cdm_accel.h> defines. */
#define cdm_vertex	cdm_accel_job_vertex
#define cdm_tree_node	cdm_accel_job_node
#define CDM_UNREACHED	CDM_ACCEL_UNREACHED

/* Why there is nothing to test, or NULL. */
static inline const char *accel_missing(void)
{
	const char *driver = getenv("CDM_DRIVER"), *missing = cdm_missing();

	if (!missing && (!driver || strcmp(driver, "cdm_accel")))
		return "another driver has the devices: needs CDM_DRIVER=cdm_accel";
	return missing;
}

/* Devices */

struct accel_pci {
	char name[64];
};

/* The PCI device behind /dev/cdm_accel<index>. */
static inline int accel_pci(int index, struct accel_pci *pci)
{
	char path[128], real[PATH_MAX];

	snprintf(path, sizeof(path), ACCEL_CLASS "/cdm_accel%d/device", index);
	if (!realpath(path, real))
		return -errno;
	snprintf(pci->name, sizeof(pci->name), "%s", strrchr(real, '/') + 1);
	return 0;
}

/* The number in /dev/cdm_accel<N>, or -1 while it has no driver. */
static inline int accel_index(const struct accel_pci *pci)
{
	struct accel_pci other;

	for (int i = 0; i < CDM_ACCEL_MAX_DEVICES; i++)
		if (!accel_pci(i, &other) && !strcmp(other.name, pci->name))
			return i;
	return -1;
}

/* All devices that have their driver. Returns how many. */
static inline int accel_list(struct accel_pci *pci)
{
	int nr = 0;

	for (int i = 0; i < CDM_ACCEL_MAX_DEVICES; i++)
		nr += !accel_pci(i, &pci[nr]);
	return nr;
}

static inline bool accel_bound(const struct accel_pci *pci)
{
	char path[256];

	snprintf(path, sizeof(path), ACCEL_DRIVER "/%s", pci->name);
	return !access(path, F_OK);
}

static inline int accel_unbind(const struct accel_pci *pci)
{
	return cdm_write(ACCEL_DRIVER "/unbind", pci->name);
}

/* Returns once /dev has it, too. */
static inline int accel_bind(const struct accel_pci *pci)
{
	int err = cdm_write(ACCEL_DRIVER "/bind", pci->name);
	char path[64];

	for (int i = 0; !err && i < CDM_PATIENCE * 100; i++) {
		snprintf(path, sizeof(path), "/dev/cdm_accel%d",
			 accel_index(pci));
		if (!access(path, F_OK))
			return 0;
		usleep(10000);
	}
	return err ?: -ETIME;
}

static inline int accel_debug(const struct accel_pci *pci, const char *file,
			      const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), ACCEL_DEBUG "/%s/%s", pci->name, file);
	return cdm_write(path, text);
}

static inline int accel_inject(const struct accel_pci *pci, const char *fault)
{
	return accel_debug(pci, "inject", fault);
}

static inline int accel_recall(const struct accel_pci *pci, long pages)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", pages);
	return accel_debug(pci, "recall", text);
}

static inline long accel_stat(const struct accel_pci *pci, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), ACCEL_DEBUG "/%s/stats", pci->name);
	return cdm_field(path, name);
}

/* What a test starts with: one device, attached. */
struct accel {
	struct accel_pci pci;
	struct cdm_accel *dev;
	struct cdm_accel_info info;
	int nid;
	int ram;
	long strays;		/* how many the device had seen before */
};

static inline int accel_open(struct accel *accel, unsigned int flags)
{
	int err;

	err = cdm_accel_open(accel_index(&accel->pci), &accel->dev);
	if (err)
		return err;
	err = cdm_accel_info(accel->dev, &accel->info);
	if (!err)
		err = cdm_accel_attach(accel->dev, flags);
	accel->nid = accel->info.nid;
	accel->ram = cdm_ram(0);
	return err;
}

static inline void accel_close(struct accel *accel)
{
	cdm_accel_close(accel->dev);
	accel->dev = NULL;
}

/* The first device, on a machine without traces. */
static inline int accel_start(struct accel *accel, unsigned int flags)
{
	struct accel_pci pci[CDM_ACCEL_MAX_DEVICES];
	struct cdm_nodes devs = cdm_devs();

	cdm_task_policy(MPOL_DEFAULT, 0);
	for (int i = 0; i < devs.nr; i++)
		cdm_node_hugepages(devs.nid[i], 0);
	cdm_drop_caches();
	if (!accel_list(pci))
		return -ENODEV;
	accel->pci = pci[0];
	accel->strays = accel_stat(&accel->pci, "strays");
	return accel_open(accel, flags) ?: cdm_judge();
}

/* Has the device accessed what it may not? One that is lost does not say. */
static inline bool accel_strayed(const struct accel *accel)
{
	long strays = accel_stat(&accel->pci, "strays");

	return strays >= 0 && strays < LONG_MAX && strays != accel->strays;
}

/* Leave it as it was found; the judge has the last word. */
static inline int accel_stop(struct accel *accel)
{
	int err = 0;

	accel_close(accel);
	if (!accel_bound(&accel->pci))
		err = accel_bind(&accel->pci);
	if (!err && accel_strayed(accel))
		err = -EBADE;
	cdm_task_policy(MPOL_DEFAULT, 0);
	cdm_node_hugepages(accel->nid, 0);
	return err ?: cdm_judge();
}

/* The node of a device whose driver has given it up. */
static inline bool accel_is_gone(const struct accel *accel)
{
	unsigned long mask = 1UL << accel->nid;
	char *addr = cdm_map(PAGE);
	bool gone;

	gone = !cdm_state_has("has_coherent_device", accel->nid) &&
	       cdm_node_meminfo(accel->nid, "MemTotal") <= 0 &&
	       cdm_mbind(addr, PAGE, MPOL_BIND, mask, 0) == -EINVAL;
	munmap(addr, PAGE);
	return gone;
}

/* Jobs */

/* Wait for a job. Returns why there is none, or what it ended with. */
static inline int accel_end(struct cdm_accel *dev, __u32 id,
			    struct cdm_accel_wait *done)
{
	struct cdm_accel_wait here = {};
	int err = cdm_accel_wait(dev, id, ACCEL_MS, &here);

	if (done)
		*done = here;
	return err ?: here.status;
}

static inline int accel_run(struct cdm_accel *dev, struct cdm_accel_wait *done,
			    unsigned int kernel, const __u64 *args)
{
	__u32 id;
	int err = cdm_accel_submit(dev, kernel, args, CDM_ACCEL_NR_ARGS, &id);

	return err ?: accel_end(dev, id, done);
}

#define RUN(dev, done, kernel, ...)					\
	accel_run(dev, done, CDM_ACCEL_JOB_##kernel,			\
		  (const __u64[CDM_ACCEL_NR_ARGS]) { __VA_ARGS__ })

/* Pointers as arguments of RUN(). */
static inline __u64 va(const void *addr)
{
	return (uintptr_t)addr;
}

static inline int accel_fill(struct cdm_accel *dev, void *dst, __u64 value,
			     size_t size)
{
	return RUN(dev, NULL, FILL, va(dst), value, size);
}

/* ~0 is as good as any sum, but none that a test expects. */
static inline __u64 accel_sum(struct cdm_accel *dev, const void *src,
			      size_t size)
{
	struct cdm_accel_wait done;

	return RUN(dev, &done, SUM, va(src), size) ? ~0ULL : done.result;
}

static inline __u64 cpu_sum(const void *src, size_t size)
{
	const __u64 *word = src;
	__u64 sum = 0;

	for (size_t i = 0; i < size / sizeof(*word); i++)
		sum += word[i];
	return sum;
}

/* Cancel a job and see it end. */
static inline int accel_cancel(struct cdm_accel *dev, __u32 id)
{
	return cdm_accel_cancel(dev, id) ?: accel_end(dev, id, NULL);
}

/* A job that counts at @counter until something ends it. */
static inline int accel_endless(struct cdm_accel *dev, __u64 *counter,
				__u32 *id)
{
	return cdm_accel_atomic_add(dev, counter, 1, ACCEL_FOREVER, id);
}

static inline __u64 accel_count(const __u64 *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

/* Does it count? */
static inline bool accel_counts(const __u64 *counter)
{
	__u64 from = accel_count(counter);

	for (int i = 0; i < ACCEL_MS / 10; i++) {
		if (accel_count(counter) != from)
			return true;
		usleep(10000);
	}
	return false;
}

/* It does not, not even late. */
static inline bool accel_frozen(const __u64 *counter)
{
	__u64 from = accel_count(counter);

	usleep(300000);
	return accel_count(counter) == from;
}

static inline bool accel_freezes(const __u64 *counter)
{
	for (int i = 0; i < ACCEL_MS / 300; i++)
		if (accel_frozen(counter))
			return true;
	return false;
}

/* Memory */

/* Every second page on the device. */
static inline long accel_scatter(struct cdm_accel *dev, char *addr, size_t size)
{
	long left = 0;

	for (size_t off = PAGE; !left && off < size; off += 2 * PAGE)
		left = cdm_accel_to_device(dev, addr + off, PAGE);
	return left;
}

/* Between two inaccessible pages. */
static inline char *accel_map_guarded(size_t size)
{
	char *addr = cdm_map(size + 2 * PAGE);

	if (!addr || mprotect(addr, PAGE, PROT_NONE) ||
	    mprotect(addr + PAGE + size, PAGE, PROT_NONE))
		return NULL;
	return addr + PAGE;
}

/* The same with the pattern of @seed in it. */
static inline char *accel_map_filled(size_t size, __u64 seed)
{
	char *addr = accel_map_guarded(size);

	if (addr)
		cdm_fill(addr, size, seed);
	return addr;
}

static inline __u64 page_of(__u64 addr)
{
	return addr & ~(PAGE - 1);
}

/* The physical address of a page, or 0. */
static inline __u64 accel_pa(const char *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	__u64 entry = 0;

	if (pread(fd, &entry, sizeof(entry), va(addr) / PAGE * 8) != 8)
		entry = 0;
	close(fd);
	return entry >> 63 ? (entry & ((1ULL << 55) - 1)) * PAGE : 0;
}

/* A userfaultfd for @mode of the range, or -1 */
static inline int accel_uffd(char *addr, size_t size, __u64 mode)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = va(addr), .len = size },
		.mode = mode,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (mode & UFFDIO_REGISTER_MODE_WP)
		api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &reg))
		return -1;
	return fd;
}

#define ACCEL_STUCK_FILES	3
#define ACCEL_STUCK_JOBS	100

/*
 * A child with jobs that fault where nobody provides a page. It tells when the
 * device has found all of them, and, once it has been told to, that it has closed
 * its files.
 */
static inline int accel_stuck_fn(struct cdm_child *me, void *arg)
{
	int nr = ACCEL_STUCK_FILES * ACCEL_STUCK_JOBS;
	struct accel own[ACCEL_STUCK_FILES];
	char *addr = cdm_map(nr * PAGE);
	long faults;
	__u32 id;

	if (accel_uffd(addr, nr * PAGE, UFFDIO_REGISTER_MODE_MISSING) < 0)
		return 1;
	for (int i = 0; i < ACCEL_STUCK_FILES; i++) {
		own[i].pci = *(struct accel_pci *)arg;
		if (accel_open(&own[i], 0))
			return 2;
	}
	faults = accel_stat(&own[0].pci, "faults");
	for (int i = 0; i < nr; i++)
		if (cdm_accel_fill(own[i % ACCEL_STUCK_FILES].dev,
				   addr + i * PAGE, 1, 8, &id))
			return 3;
	while (accel_stat(&own[0].pci, "faults") < faults + nr)
		usleep(10000);
	cdm_say(me, 0);
	cdm_hear(me);
	for (int i = 0; i < ACCEL_STUCK_FILES; i++)
		accel_close(&own[i]);
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

/* Trees of struct cdm_accel_job_node, as the device builds them */

static inline struct cdm_accel_job_node *tree_node(__u64 addr)
{
	return (struct cdm_accel_job_node *)(uintptr_t)addr;
}

/* Returns 1, or 0 if the key was there. */
static inline int tree_insert(__u64 *root, struct cdm_accel_job_node *new)
{
	__u64 *link = root;

	for (;;) {
		__u64 at = __atomic_load_n(link, __ATOMIC_ACQUIRE);

		if (!at && __atomic_compare_exchange_n(link, &at, va(new),
						       false, __ATOMIC_ACQ_REL,
						       __ATOMIC_ACQUIRE))
			return 1;
		if (tree_node(at)->key == new->key)
			return 0;
		link = &tree_node(at)->child[new->key > tree_node(at)->key];
	}
}

static inline bool tree_has(__u64 at, __u64 key)
{
	while (at && tree_node(at)->key != key)
		at = tree_node(at)->child[key > tree_node(at)->key];
	return at;
}

/* Nodes in order, each key in [min, max]; -1 if one is not. */
static inline long tree_size(__u64 at, __u64 min, __u64 max)
{
	struct cdm_accel_job_node *node = tree_node(at);
	long left, right;

	if (!at)
		return 0;
	if (node->key < min || node->key > max)
		return -1;
	left = node->child[0] ? tree_size(node->child[0], min, node->key - 1) : 0;
	right = node->child[1] ? tree_size(node->child[1], node->key + 1, max) : 0;
	return left < 0 || right < 0 ? -1 : left + right + 1;
}

#endif /* _ACCEL_UTIL_H */
