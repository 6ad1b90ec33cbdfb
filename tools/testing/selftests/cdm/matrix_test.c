// SPDX-License-Identifier: GPL-2.0
/*
 * Who may place memory on a device node: every policy, as the task's and as a
 * mapping's, in every kind of cpuset, while the device and RAM are free, while
 * the device is full and while RAM is full.
 *
 * What must come of a combination is computed by expected() from the contract
 * and nothing else.
 */
#include <sys/syscall.h>

#include "cdm_util.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT	1
#endif

#define GROUP_WITH	"cdm_matrix_with"
#define GROUP_WITHOUT	"cdm_matrix_without"
#define GROUP_EMPTY	"cdm_matrix_empty"

/* How much RAM the state RAM_FULL leaves, and what is asked for there. */
#define SPARE	(16 * MIB)
#define BEYOND	(40 * MIB)

/* More than is left for it to find. */
#define PROBE	(512 * MIB)

/* Crumbs of full devices: what a CPU keeps in its own free lists. */
#define CRUMBS	(2 * MIB / PAGE)

enum nodes {
	NO_NODES,
	ONE_DEVICE,
	ALL_DEVICES,
	ALL_RAM,
	RAM_AND_ONE_DEVICE,
	ALL_NODES,
};

struct policy {
	const char *name;
	int mode;
	enum nodes nodes;
};

static const struct policy policies[] = {
	{ "default", MPOL_DEFAULT, NO_NODES },
	{ "local", MPOL_LOCAL, NO_NODES },
	{ "bind to a device", MPOL_BIND, ONE_DEVICE },
	{ "bind to RAM and a device", MPOL_BIND, RAM_AND_ONE_DEVICE },
	{ "bind to RAM", MPOL_BIND, ALL_RAM },
	{ "prefer a device", MPOL_PREFERRED, ONE_DEVICE },
	{ "prefer the devices", MPOL_PREFERRED_MANY, ALL_DEVICES },
	{ "prefer RAM and devices", MPOL_PREFERRED_MANY, ALL_NODES },
	{ "interleave devices", MPOL_INTERLEAVE, ALL_DEVICES },
	{ "interleave all", MPOL_INTERLEAVE, ALL_NODES },
	{ "weighted interleave all", MPOL_WEIGHTED_INTERLEAVE, ALL_NODES },
	{ "weighted interleave devices", MPOL_WEIGHTED_INTERLEAVE,
	  ALL_DEVICES },
};

struct group {
	const char *name;
	const char *path;	/* NULL: the root */
	bool device;		/* cpuset.mems has the devices */
};

static const struct group groups[] = {
	{ "root", NULL, true },
	{ "with the devices", GROUP_WITH, true },
	{ "without devices", GROUP_WITHOUT, false },
	{ "empty", GROUP_EMPTY, true },
};

enum state {
	FREE,
	DEVICE_FULL,
	RAM_FULL,
};

static const char * const states[] = {
	[FREE] = "all free",
	[DEVICE_FULL] = "devices full",
	[RAM_FULL] = "RAM full",
};

enum outcome {
	REFUSED,	/* EINVAL when the policy is set */
	ON_RAM,		/* all of it */
	ON_DEVICE,	/* all of it */
	ON_BOTH,	/* all of it, at least some on a device */
	KILLED,		/* the task that asked, alone, by the OOM killer */
	SIGNALED,	/* that task has SIGBUS */
	BROKEN,		/* nothing of the contract */
};

static const char * const outcomes[] = {
	[REFUSED] = "refused",
	[ON_RAM] = "in RAM",
	[ON_DEVICE] = "on devices",
	[ON_BOTH] = "in RAM and on devices",
	[KILLED] = "killed",
	[SIGNALED] = "SIGBUS",
	[BROKEN] = "broken",
};

static bool has_device(const struct policy *pol)
{
	return pol->nodes == ONE_DEVICE || pol->nodes == ALL_DEVICES ||
	       pol->nodes == RAM_AND_ONE_DEVICE || pol->nodes == ALL_NODES;
}

static bool has_ram(const struct policy *pol)
{
	return pol->nodes == ALL_RAM || pol->nodes == RAM_AND_ONE_DEVICE ||
	       pol->nodes == ALL_NODES;
}

/* Does @pol, in a cpuset with the devices, name any of them? */
static bool names(const struct policy *pol)
{
	if (!has_device(pol))
		return false;
	/* Literally. */
	if (pol->mode == MPOL_BIND || pol->mode == MPOL_PREFERRED)
		return true;
	/* The weight of every device is 0. */
	if (pol->mode == MPOL_WEIGHTED_INTERLEAVE)
		return false;
	return !has_ram(pol);
}

/* The contract. */
static enum outcome expected(const struct policy *pol, bool device,
			     enum state state)
{
	bool named = device && names(pol);

	/* What is left of a mask of devices alone is nothing. */
	if (has_device(pol) && !has_ram(pol) && !named)
		return REFUSED;
	if (!named)
		return state == RAM_FULL ? KILLED : ON_RAM;
	/* In order of distance: RAM first. */
	if (has_ram(pol))
		return state == RAM_FULL ? ON_BOTH : ON_RAM;
	if (state != DEVICE_FULL)
		return ON_DEVICE;
	return pol->mode == MPOL_BIND ? SIGNALED : ON_RAM;
}

FIXTURE(matrix) {
	struct cdm_child filler[CDM_MAX_NODES];
};

/* The nodes of @mask as cpuset.mems takes them. */
static int set_mems(const char *group, unsigned long mask)
{
	char text[128];
	int len = 0;

	for (int nid = 0; nid < CDM_MAX_NODES; nid++)
		if (mask >> nid & 1)
			len += snprintf(text + len, sizeof(text) - len, "%s%d",
					len ? "," : "", nid);
	return cdm_cgroup_write(group, "cpuset.mems", text);
}

/*
 * Each CPU keeps free pages of its own, which others do not find: a good part of
 * what a test fills. Stay on one of them and let all of them keep as little as
 * can be.
 */
static int stay_on_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(0, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno :
		cdm_short_lists();
}

FIXTURE_SETUP(matrix)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	ASSERT_EQ(0, stay_on_one_cpu());
	ASSERT_EQ(0, cdm_cgroup_create(GROUP_WITH));
	ASSERT_EQ(0, cdm_cgroup_create(GROUP_WITHOUT));
	ASSERT_EQ(0, cdm_cgroup_create(GROUP_EMPTY));
	ASSERT_EQ(0, set_mems(GROUP_WITH, cdm_all_mask()));
	ASSERT_EQ(0, set_mems(GROUP_WITHOUT, cdm_mask(cdm_rams())));
}

FIXTURE_TEARDOWN(matrix)
{
	EXPECT_EQ(0, cdm_unfenced());
	for (int i = 0; i < CDM_MAX_NODES; i++)
		if (self->filler[i].pid)
			cdm_kill(&self->filler[i]);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

struct combination {
	const struct policy *pol;
	const struct group *group;
	bool mapping;		/* mbind() instead of set_mempolicy() */
	enum state state;
	size_t size;
};

static unsigned long mask_of(enum nodes nodes)
{
	unsigned long device = 1UL << cdm_dev(0), ram = cdm_mask(cdm_rams());

	switch (nodes) {
	case ONE_DEVICE:
		return device;
	case ALL_DEVICES:
		return cdm_mask(cdm_devs());
	case ALL_RAM:
		return ram;
	case RAM_AND_ONE_DEVICE:
		return ram | device;
	case ALL_NODES:
		return cdm_all_mask();
	default:
		return 0;
	}
}

static int map_locked(char **addr, size_t size)
{
	*addr = cdm_map(size);
	if (!*addr)
		return 10;
	/* A full device could evict the pages of this very task. */
	return syscall(SYS_mlock2, *addr, size, MLOCK_ONFAULT) ? 11 : 0;
}

static long spread_in_mask(struct cdm_spread *spread, unsigned long mask)
{
	long sum = 0;

	for (int nid = 0; nid < CDM_MAX_NODES; nid++)
		if (mask >> nid & 1)
			sum += spread->on[nid];
	return sum;
}

/* Says what setting the policy returned, then where the pages are. */
static int combination_fn(struct cdm_child *me, void *arg)
{
	struct combination *c = arg;
	unsigned long mask = mask_of(c->pol->nodes);
	struct cdm_spread spread;
	char *addr;
	int err;

	if (c->group->path && cdm_cgroup_enter(c->group->path))
		return 12;
	err = map_locked(&addr, c->size);
	if (err)
		return err;
	if (c->mapping)
		err = cdm_mbind(addr, c->size, c->pol->mode, mask, 0);
	else
		err = cdm_task_policy(c->pol->mode, mask);
	cdm_say(me, err);
	if (err)
		return 0;
	cdm_touch(addr, c->size);
	if (!c->mapping)
		cdm_task_policy(MPOL_DEFAULT, 0);
	spread = cdm_spread(addr, c->size);
	cdm_say(me, cdm_spread_in(spread, cdm_rams()));
	cdm_say(me, cdm_spread_in(spread, cdm_devs()));
	return 0;
}

static enum outcome place(const struct combination *c, long ram, long dev)
{
	/* Crumbs of a full device are as good as none for who prefers it. */
	long most = c->state == DEVICE_FULL && names(c->pol) ? CRUMBS : 0;

	if (ram + dev != c->size / PAGE)
		return BROKEN;
	if (!ram)
		return ON_DEVICE;
	return dev <= most ? ON_RAM : ON_BOTH;
}

/* Run one combination; @detail gets what a human wants to know of it. */
static enum outcome run(struct combination *c, char *detail, size_t size)
{
	long kills = cdm_vmstat("oom_kill"), err, ram = 0, dev = 0;
	struct cdm_child child;
	int status, sig;

	if (cdm_start(&child, combination_fn, c))
		return BROKEN;
	err = cdm_hear(&child);
	if (!err) {
		ram = cdm_hear(&child);
		dev = ram == LONG_MIN ? LONG_MIN : cdm_hear(&child);
	}
	status = cdm_wait(&child);
	kills = cdm_vmstat("oom_kill") - kills;
	sig = WIFSIGNALED(status) && ram == LONG_MIN ? WTERMSIG(status) : 0;
	snprintf(detail, size,
		 "error %ld, %ld pages in RAM, %ld on devices, status %#x, %ld killed",
		 err == LONG_MIN ? 0 : -err, ram == LONG_MIN ? -1 : ram,
		 dev == LONG_MIN ? -1 : dev, status, kills);
	if (sig == SIGKILL)
		return kills == 1 ? KILLED : BROKEN;
	if (sig == SIGBUS)
		return kills ? BROKEN : SIGNALED;
	if (status || kills)
		return BROKEN;
	if (err)
		return err == -EINVAL ? REFUSED : BROKEN;
	return place(c, ram, dev);
}

static void expect_combination(struct __test_metadata *_metadata,
			       struct combination *c)
{
	enum outcome want = expected(c->pol, c->group->device, c->state), got;
	char detail[128];

	got = run(c, detail, sizeof(detail));
	/* How much of the last RAM it takes is for the watermarks to say. */
	if (want == ON_BOTH && got == ON_DEVICE)
		got = ON_BOTH;
	EXPECT_EQ(want, got) {
		TH_LOG("%s, as policy of a %s, cpuset: %s, %s: %s, not %s (%s)",
		       c->pol->name, c->mapping ? "mapping" : "task",
		       c->group->name, states[c->state], outcomes[got],
		       outcomes[want], detail);
	}
}

/* All combinations of one state and cpuset whose policy, unbounded, is @named. */
static void expect_group(struct __test_metadata *_metadata, enum state state,
			 const struct group *group, bool named, size_t size)
{
	for (int i = 0; i < 2 * ARRAY_SIZE(policies); i++) {
		struct combination c = {
			.pol = &policies[i / 2],
			.group = group,
			.mapping = i % 2,
			.state = state,
			.size = size,
		};

		if (names(c.pol) == named)
			expect_combination(_metadata, &c);
	}
}

static void expect_all(struct __test_metadata *_metadata, enum state state,
		       bool named, size_t size)
{
	for (int i = 0; i < ARRAY_SIZE(groups); i++)
		expect_group(_metadata, state, &groups[i], named, size);
}

/* The base interleaves over the device and has no weight 0. */
TEST_F_TIMEOUT(matrix, F7_unnamed_while_all_is_free, CDM_TIMEOUT)
{
	struct cdm_mark mark = cdm_mark();

	expect_all(_metadata, FREE, false, 2 * MIB);
	EXPECT_EQ(0, cdm_leaked(mark));
}

TEST_F_TIMEOUT(matrix, named_while_all_is_free, CDM_TIMEOUT)
{
	expect_all(_metadata, FREE, true, 2 * MIB);
}

struct eater {
	size_t size;
	int mode;
	unsigned long mask;
	long score;
};

/* Take memory until there is no more, or as much as was asked for. */
static int eat_fn(struct cdm_child *me, void *arg)
{
	struct eater *eater = arg;
	struct cdm_spread spread;
	char *addr;
	int err;

	err = map_locked(&addr, eater->size);
	if (err)
		return err;
	if (cdm_writef("/proc/self/oom_score_adj", "%ld", eater->score))
		return 13;
	if (cdm_mbind(addr, eater->size, eater->mode, eater->mask, 0))
		return 14;
	/* RAM is taken in large pieces first, which takes less time. */
	if (eater->mode == MPOL_BIND)
		madvise(addr, eater->size, MADV_HUGEPAGE);
	for (size_t off = 0; off < eater->size; off += MIB) {
		cdm_touch(addr + off, MIB);
		spread = cdm_spread(addr + off, MIB);
		if (!spread_in_mask(&spread, eater->mask))
			break;
		cdm_say(me, off + MIB);
	}
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

/* How much did it get before it was killed, or before there was no more? */
static size_t eaten(struct cdm_child *child)
{
	long last = 0, now;

	while ((now = cdm_hear(child)) > 0)
		last = now;
	return last;
}

/* How much can be had is known only to who tried. */
static size_t probe(struct cdm_child *child, unsigned long mask)
{
	struct eater eater = {
		.size = PROBE,
		.mode = MPOL_BIND,
		.mask = mask,
		.score = 1000,
	};
	size_t got;

	if (cdm_start(child, eat_fn, &eater))
		return 0;
	got = eaten(child);
	cdm_kill(child);
	child->pid = 0;
	return got;
}

/*
 * Bring home the free pages of device nodes that lie with CPUs: a CPU gives back
 * those of another node when its counters were folded three times.
 */
static void drain_cpus(void)
{
	for (int i = 0; i < 5; i++)
		cdm_stat_refresh();
}

/* Leave @mib MiB of each device to a locked tenant, the rest to the pool. */
static void fill_devices(struct __test_metadata *_metadata,
			 struct cdm_child *filler, long mib)
{
	struct eater eater = {
		.size = PROBE,
		.mode = MPOL_PREFERRED,
		/* An easier victim than any that are to come. */
		.score = 1000,
	};

	for (int i = 0; i < cdm_devs().nr; i++) {
		eater.mask = 1UL << cdm_dev(i);
		drain_cpus();
		ASSERT_EQ(0, cdm_leave_node(cdm_dev(i), mib));
		drain_cpus();
		ASSERT_GT(PROBE, probe(&filler[i], eater.mask));
		drain_cpus();
		ASSERT_EQ(0, cdm_start(&filler[i], eat_fn, &eater));
		ASSERT_GT(PROBE, eaten(&filler[i]));
	}
}

/* Who has most of what is short must not be the victim of who asks for more. */
static void expect_alive(struct __test_metadata *_metadata,
			 struct cdm_child *child)
{
	EXPECT_EQ(0, waitpid(child->pid, NULL, WNOHANG));
}

static void expect_all_on_full_devices(struct __test_metadata *_metadata,
				       struct cdm_child *filler)
{
	expect_all(_metadata, DEVICE_FULL, false, 2 * MIB);
	expect_all(_metadata, DEVICE_FULL, true, 8 * MIB);
	for (int i = 0; i < cdm_devs().nr; i++)
		expect_alive(_metadata, &filler[i]);
}

TEST_F_TIMEOUT(matrix, device_full_of_a_locked_tenant, CDM_TIMEOUT)
{
	fill_devices(_metadata, self->filler, 96);
	expect_all_on_full_devices(_metadata, self->filler);
}

/* The pool takes all but crumbs. */
TEST_F_TIMEOUT(matrix, device_full_of_huge_pages, CDM_TIMEOUT)
{
	fill_devices(_metadata, self->filler, 0);
	expect_all_on_full_devices(_metadata, self->filler);
}

/*
 * All RAM but SPARE is taken. The programs are locked in memory, or their pages
 * would be read again and again.
 */
static void fill_ram(struct __test_metadata *_metadata,
		     struct cdm_child *filler)
{
	struct eater eater = {
		.mode = MPOL_BIND,
		.mask = cdm_mask(cdm_rams()),
	};
	size_t got;

	ASSERT_EQ(0, cdm_leave_ram(128));
	got = probe(filler, eater.mask);
	ASSERT_LT(2 * SPARE, got);
	ASSERT_GT(PROBE, got);
	eater.size = got - SPARE;
	ASSERT_EQ(0, cdm_start(filler, eat_fn, &eater));
	ASSERT_EQ(eater.size, eaten(filler));
}

/*
 * RAM is filled anew for each cpuset: a debug kernel keeps what was freed for a
 * while, and then there would be less than SPARE.
 */
static void expect_all_in_full_ram(struct __test_metadata *_metadata,
				   struct cdm_child *filler, bool named)
{
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	for (int i = 0; i < ARRAY_SIZE(groups); i++) {
		fill_ram(_metadata, filler);
		expect_group(_metadata, RAM_FULL, &groups[i], named, BEYOND);
		expect_alive(_metadata, filler);
		cdm_kill(filler);
		filler->pid = 0;
	}
}

/* An unfenced kernel falls back to the device node instead. */
TEST_F_TIMEOUT(matrix, F7_unnamed_while_ram_is_full, CDM_TIMEOUT)
{
	struct cdm_mark mark = cdm_mark();

	/* A program that names nodes gets to more functions of the kernel. */
	if (cdm_no_repeats())
		SKIP(return, CDM_REPEATS);
	expect_all_in_full_ram(_metadata, &self->filler[0], false);
	EXPECT_EQ(0, cdm_leaked(mark));
}

TEST_F_TIMEOUT(matrix, named_while_ram_is_full, CDM_TIMEOUT)
{
	expect_all_in_full_ram(_metadata, &self->filler[0], true);
}

TEST_HARNESS_MAIN
