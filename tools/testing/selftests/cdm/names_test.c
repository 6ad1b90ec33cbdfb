// SPDX-License-Identifier: GPL-2.0
/*
 * What names a device node and what only seems to, where no table says it (see
 * matrix_test for that): weights, home nodes, static and relative masks while
 * cpusets change, policies that processes share, moves between masks, files,
 * two devices at once, cpusets that lose their RAM, nodes that go and come.
 */
#include <linux/magic.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "cdm_util.h"

#ifndef MPOL_F_STATIC_NODES
#define MPOL_F_STATIC_NODES	32768
#endif
#ifndef MPOL_F_RELATIVE_NODES
#define MPOL_F_RELATIVE_NODES	16384
#endif
#ifndef __NR_set_mempolicy_home_node
#define __NR_set_mempolicy_home_node 450
#endif

#define SIZE	(4 * MIB)
#define PAGES	(SIZE / PAGE)
#define SEED	23

#define GROUP	"cdm_names"
#define CHILD	GROUP "/child"

/* What a node may still give when cdm_leave_node(nid, 0) has filled it. */
#define CRUMBS	(16 * MIB / PAGE)

/*
 * A worker does what it is told and says what came of it: @fn with what lies on
 * its desk, which it shares with the test.
 */
struct desk {
	long (*fn)(struct desk *desk);
	const char *group;
	int mode;
	unsigned int flags;
	unsigned long mask;
	char *addr;
	size_t size;
	struct cdm_spread spread;	/* out */
};

struct worker {
	struct cdm_child child;
	struct desk *desk;
};

static int worker_fn(struct cdm_child *me, void *arg)
{
	struct desk *desk = arg;

	while (cdm_hear(me) == 1)
		cdm_say(me, desk->fn(desk));
	return 0;
}

static int hire(struct worker *worker)
{
	worker->desk = (struct desk *)cdm_map_shared(PAGE);
	if (!worker->desk)
		return -ENOMEM;
	return cdm_start(&worker->child, worker_fn, worker->desk);
}

static void dismiss(struct worker *worker)
{
	if (worker->child.pid)
		cdm_kill(&worker->child);
	worker->child.pid = 0;
}

static long tell(struct worker *worker, struct desk desk)
{
	*worker->desk = desk;
	cdm_say(&worker->child, 1);
	return cdm_hear(&worker->child);
}

static long do_enter(struct desk *desk)
{
	return cdm_cgroup_enter(desk->group);
}

static long do_policy(struct desk *desk)
{
	return cdm_task_policy(desk->mode, desk->mask);
}

static long do_mbind(struct desk *desk)
{
	return cdm_mbind(desk->addr, desk->size, desk->mode, desk->mask,
			 desk->flags);
}

static long do_touch(struct desk *desk)
{
	cdm_touch(desk->addr, desk->size);
	desk->spread = cdm_spread(desk->addr, desk->size);
	return 0;
}

/* Touch new memory that has the policy as the mapping's, and forget it. */
static long do_mapping(struct desk *desk)
{
	desk->addr = cdm_map(SIZE);
	desk->size = SIZE;
	return do_mbind(desk) ?: do_touch(desk) ?: munmap(desk->addr, SIZE);
}

/* The same with the policy of the task. */
static long do_fresh(struct desk *desk)
{
	desk->addr = cdm_map(SIZE);
	desk->size = SIZE;
	return do_touch(desk) ?: munmap(desk->addr, SIZE);
}

/* Memory to keep, with a text in it. */
static long do_keep(struct desk *desk)
{
	desk->addr = cdm_map(SIZE);
	if (!desk->addr)
		return -ENOMEM;
	cdm_fill(desk->addr, SIZE, SEED);
	desk->spread = cdm_spread(desk->addr, SIZE);
	return (long)desk->addr;
}

static long do_check(struct desk *desk)
{
	desk->spread = cdm_spread(desk->addr, SIZE);
	return cdm_wrong(desk->addr, SIZE, SEED);
}

static long do_fork(struct desk *desk)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, &status, 0);
	return status;
}

static long enter(struct worker *worker, const char *group)
{
	return tell(worker, (struct desk){ .fn = do_enter, .group = group });
}

static long set_policy(struct worker *worker, int mode, unsigned long mask)
{
	return tell(worker, (struct desk){ .fn = do_policy, .mode = mode,
					   .mask = mask });
}

static long touch(struct worker *worker, char *addr, size_t size)
{
	return tell(worker, (struct desk){ .fn = do_touch, .addr = addr,
					   .size = size });
}

static bool all_on(const struct cdm_spread *spread, unsigned long mask)
{
	long sum = 0;

	for (int nid = 0; nid < CDM_MAX_NODES; nid++)
		if (mask >> nid & 1)
			sum += spread->on[nid];
	return spread->total && sum == spread->total;
}

/* Where new memory of @worker comes from: all of it from nodes of @mask? */
static bool fresh_on(struct worker *worker, unsigned long mask)
{
	return !tell(worker, (struct desk){ .fn = do_fresh }) &&
	       all_on(&worker->desk->spread, mask);
}

/* The same under a policy of the mapping. */
static bool mapping_on(struct worker *worker, int mode, unsigned long nodes,
		       unsigned long mask)
{
	return !tell(worker, (struct desk){ .fn = do_mapping, .mode = mode,
					    .mask = nodes }) &&
	       all_on(&worker->desk->spread, mask);
}

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

static unsigned long effective_mems(const char *group)
{
	char buf[256] = "";

	cdm_cgroup_read(group, "cpuset.mems.effective", buf, sizeof(buf));
	return cdm_mask(cdm_nodes_parse(buf));
}

/* Mems_allowed of /proc/PID/status; 0 stands for the caller. */
static unsigned long mems_allowed(pid_t pid)
{
	char path[64], buf[8192], *at;

	snprintf(path, sizeof(path), "/proc/%d/status", pid ?: getpid());
	if (cdm_read(path, buf, sizeof(buf)) < 0)
		return 0;
	at = strstr(buf, "Mems_allowed_list:");
	if (!at)
		return 0;
	at += strlen("Mems_allowed_list:");
	*strchrnul(at, '\n') = 0;
	return cdm_mask(cdm_nodes_parse(at));
}

static int set_weight(int nid, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/mempolicy/weighted_interleave/node%d", nid);
	return cdm_write(path, text);
}

static long weight_of(int nid)
{
	char path[128];

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/mempolicy/weighted_interleave/node%d", nid);
	return cdm_read_long(path);
}

static void reset_weights(void)
{
	for (int i = 0; i < cdm_devs().nr; i++)
		set_weight(cdm_dev(i), "0");
	for (int i = 0; i < cdm_rams().nr; i++)
		set_weight(cdm_ram(i), "0");
}

FIXTURE(names) {
	int dev;
	unsigned long dev_mask;		/* one device */
	unsigned long devs;
	unsigned long rams;
	unsigned long all;
	struct worker worker;
	struct worker other;
};

FIXTURE_SETUP(names)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	self->dev = cdm_dev(0);
	self->dev_mask = 1UL << self->dev;
	self->devs = cdm_mask(cdm_devs());
	self->rams = cdm_mask(cdm_rams());
	self->all = cdm_all_mask();
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
	ASSERT_EQ(0, hire(&self->worker));
	ASSERT_EQ(0, hire(&self->other));
}

FIXTURE_TEARDOWN(names)
{
	EXPECT_EQ(0, cdm_unfenced());
	dismiss(&self->worker);
	dismiss(&self->other);
	reset_weights();
	EXPECT_EQ(0, cdm_reset(_metadata));
}

/* Weights */

TEST_F(names, weight_of_a_device_is_0)
{
	for (int i = 0; i < cdm_devs().nr; i++)
		EXPECT_EQ(0, weight_of(cdm_dev(i)));
	for (int i = 0; i < cdm_rams().nr; i++)
		EXPECT_EQ(1, weight_of(cdm_ram(i)));
}

TEST_F(names, F7_devices_without_weight_are_refused)
{
	char *addr = cdm_map(SIZE);

	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_WEIGHTED_INTERLEAVE,
					   self->devs));
	EXPECT_EQ(-EINVAL, cdm_mbind(addr, SIZE, MPOL_WEIGHTED_INTERLEAVE,
				     self->devs, 0));
}

TEST_F(names, F7_devices_without_weight_get_nothing)
{
	unsigned long got = 0;
	int mode;

	EXPECT_TRUE(mapping_on(&self->worker, MPOL_WEIGHTED_INTERLEAVE,
			       self->all, self->rams));
	EXPECT_EQ(0, set_policy(&self->worker, MPOL_WEIGHTED_INTERLEAVE,
				self->all));
	EXPECT_TRUE(fresh_on(&self->worker, self->rams));

	ASSERT_EQ(0, cdm_task_policy(MPOL_WEIGHTED_INTERLEAVE, self->all));
	ASSERT_EQ(0, get_mempolicy(&mode, &got, 64, NULL, 0));
	EXPECT_EQ(self->rams, got);
}

/* A quarter of the pages in RAM, three on the device, give or take one turn. */
static void expect_three_to_one(struct __test_metadata *_metadata,
				const struct cdm_spread *spread, int dev)
{
	EXPECT_EQ(PAGES, spread->total);
	EXPECT_LE(PAGES * 3 / 4 - 4, spread->on[dev]);
	EXPECT_GE(PAGES * 3 / 4 + 4, spread->on[dev]);
	EXPECT_EQ(PAGES, spread->on[dev] + spread->on[cdm_ram(0)]);
}

TEST_F(names, weights_spread)
{
	unsigned long mask = self->dev_mask | 1UL << cdm_ram(0);

	ASSERT_EQ(0, set_weight(self->dev, "3"));
	EXPECT_EQ(3, weight_of(self->dev));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_mapping, .mode = MPOL_WEIGHTED_INTERLEAVE,
		.mask = mask }));
	expect_three_to_one(_metadata, &self->worker.desk->spread, self->dev);
	ASSERT_EQ(0, set_policy(&self->worker, MPOL_WEIGHTED_INTERLEAVE, mask));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){ .fn = do_fresh }));
	expect_three_to_one(_metadata, &self->worker.desk->spread, self->dev);
}

TEST_F(names, weights_of_devices_alone)
{
	ASSERT_EQ(0, set_weight(self->dev, "5"));
	EXPECT_TRUE(mapping_on(&self->worker, MPOL_WEIGHTED_INTERLEAVE,
			       self->dev_mask, self->dev_mask));
	/* What the other devices do not have does not come with it. */
	EXPECT_TRUE(mapping_on(&self->worker, MPOL_WEIGHTED_INTERLEAVE,
			       self->devs, self->dev_mask));
	EXPECT_EQ(0, set_policy(&self->worker, MPOL_WEIGHTED_INTERLEAVE,
				self->dev_mask));
	EXPECT_TRUE(fresh_on(&self->worker, self->dev_mask));
}

TEST_F(names, weight_taken_back)
{
	static const char * const none[] = { "0", "\n" };

	for (int i = 0; i < ARRAY_SIZE(none); i++) {
		ASSERT_EQ(0, set_weight(self->dev, "3"));
		EXPECT_EQ(0, cdm_task_policy(MPOL_WEIGHTED_INTERLEAVE,
					     self->dev_mask));
		EXPECT_EQ(0, cdm_task_policy(MPOL_DEFAULT, 0));
		ASSERT_EQ(0, set_weight(self->dev, none[i]));
		EXPECT_EQ(0, weight_of(self->dev));
		EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_WEIGHTED_INTERLEAVE,
						   self->dev_mask));
		EXPECT_TRUE(mapping_on(&self->worker, MPOL_WEIGHTED_INTERLEAVE,
				       self->all, self->rams));
	}
}

/* To take a weight back under a policy that counts on it must not hurt. */
TEST_F(names, weight_taken_back_under_a_policy)
{
	ASSERT_EQ(0, set_weight(self->dev, "3"));
	ASSERT_EQ(0, set_policy(&self->worker, MPOL_WEIGHTED_INTERLEAVE,
				self->dev_mask | self->rams));
	ASSERT_EQ(0, set_policy(&self->other, MPOL_WEIGHTED_INTERLEAVE,
				self->dev_mask));
	EXPECT_FALSE(fresh_on(&self->worker, self->rams));
	EXPECT_TRUE(fresh_on(&self->other, self->dev_mask));
	ASSERT_EQ(0, set_weight(self->dev, "0"));
	EXPECT_TRUE(fresh_on(&self->worker, self->rams));
	EXPECT_TRUE(fresh_on(&self->other, self->rams));
}

/* Home nodes */

static int set_home(char *addr, size_t size, int nid)
{
	return syscall(__NR_set_mempolicy_home_node, addr, size, nid, 0) ?
		-errno : 0;
}

TEST_F(names, home_node_comes_first)
{
	char *addr = cdm_map(SIZE);

	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND,
			       self->rams | self->dev_mask, 0));
	ASSERT_EQ(0, set_home(addr, SIZE, self->dev));
	cdm_touch(addr, SIZE);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
}

TEST_F(names, home_node_in_ram_comes_first)
{
	int last = cdm_ram(cdm_rams().nr - 1);
	char *addr = cdm_map(SIZE);

	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->all, 0));
	ASSERT_EQ(0, set_home(addr, SIZE, last));
	cdm_touch(addr, SIZE);
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, last));
}

/* From the home node on in order of distance, and not to another device. */
TEST_F_TIMEOUT(names, home_node_then_ram, CDM_TIMEOUT)
{
	size_t size = 48 * MIB;
	struct cdm_spread spread;
	char *addr = cdm_map(size);

	ASSERT_EQ(0, cdm_leave_node(self->dev, 0));
	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_BIND,
			       self->rams | self->dev_mask, 0));
	ASSERT_EQ(0, set_home(addr, size, self->dev));
	cdm_touch(addr, size);
	spread = cdm_spread(addr, size);
	EXPECT_TRUE(all_on(&spread, self->rams | self->dev_mask));
	EXPECT_LT(0, cdm_spread_in(spread, cdm_rams()));
}

/* Where to start is no name, also in a mask that holds no device. */
TEST_F(names, home_node_names_nothing)
{
	static const int modes[] = { MPOL_BIND, MPOL_PREFERRED_MANY };
	struct cdm_spread spread;

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		char *addr = cdm_map(SIZE);

		ASSERT_EQ(0, cdm_mbind(addr, SIZE, modes[i], self->rams, 0));
		ASSERT_EQ(0, set_home(addr, SIZE, self->dev));
		cdm_touch(addr, SIZE);
		spread = cdm_spread(addr, SIZE);
		EXPECT_TRUE(all_on(&spread, self->rams));
	}
}

/* Eat until there is no more; say after each step what came from a device. */
static int home_eater_fn(struct cdm_child *me, void *arg)
{
	size_t size = 1024 * MIB, step = 8 * MIB;
	char *addr = cdm_map(size);

	if (cdm_mbind(addr, size, MPOL_PREFERRED_MANY, cdm_mask(cdm_rams()),
		      0) || set_home(addr, size, cdm_dev(0)))
		return 1;
	/* Page tables come from RAM, so not only when there is none. */
	for (size_t off = 0; off < size; off += HPAGE)
		cdm_fault_in(addr + off, PAGE);
	for (size_t off = 0; off < size; off += step) {
		cdm_touch(addr + off, step);
		cdm_say(me, cdm_spread_in(cdm_spread(addr + off, step),
					  cdm_devs()));
	}
	return 0;
}

/*
 * What MPOL_PREFERRED_MANY does not find in its mask it takes from anywhere,
 * beginning at the home node: on an unfenced kernel from the device. Here it is
 * killed. The programs are locked in memory, or their pages would be read again
 * and again.
 */
TEST_F_TIMEOUT(names, F7_home_node_while_ram_is_full, CDM_TIMEOUT)
{
	struct cdm_child child;
	long leaked = 0, got;
	int status;

	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	ASSERT_EQ(0, cdm_leave_ram(160));
	ASSERT_EQ(0, cdm_start(&child, home_eater_fn, NULL));
	while (!leaked && (got = cdm_hear(&child)) != LONG_MIN)
		leaked = got;
	EXPECT_EQ(0, leaked);
	if (leaked)
		kill(child.pid, SIGKILL);
	status = cdm_wait(&child);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Masks and changing cpusets */

static const int all_modes[] = {
	MPOL_BIND, MPOL_PREFERRED, MPOL_PREFERRED_MANY, MPOL_INTERLEAVE,
	MPOL_WEIGHTED_INTERLEAVE,
};

/* A relative mask counts the RAM of the cpuset and folds over it. */
TEST_F(names, F7_relative_nodes_name_no_device)
{
	ASSERT_EQ(0, set_mems(GROUP, self->all));
	ASSERT_EQ(0, enter(&self->worker, GROUP));
	for (int i = 0; i < ARRAY_SIZE(all_modes); i++) {
		int mode = all_modes[i] | MPOL_F_RELATIVE_NODES;
		unsigned long next = 1UL << cdm_rams().nr;

		EXPECT_TRUE(mapping_on(&self->worker, mode, next, self->rams));
		EXPECT_EQ(0, set_policy(&self->worker, mode, next));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams));
		EXPECT_EQ(0, set_policy(&self->worker, mode, 0xff));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams));
		EXPECT_EQ(0, set_policy(&self->worker, MPOL_DEFAULT, 0));
	}
}

/* A task policy and that of a mapping; then the cpuset gets the devices. */
TEST_F(names, F7_relative_nodes_and_a_growing_cpuset)
{
	unsigned long next = 1UL << cdm_rams().nr;

	for (int i = 0; i < ARRAY_SIZE(all_modes); i++) {
		int mode = all_modes[i] | MPOL_F_RELATIVE_NODES;
		char *addr = cdm_map_shared(SIZE);

		dismiss(&self->worker);
		ASSERT_EQ(0, set_mems(GROUP, self->rams));
		/* After the mapping, so that it has it too. */
		ASSERT_EQ(0, hire(&self->worker));
		ASSERT_EQ(0, enter(&self->worker, GROUP));
		ASSERT_EQ(0, set_policy(&self->worker, mode, next));
		ASSERT_EQ(0, tell(&self->worker, (struct desk){
			.fn = do_mbind, .mode = mode, .mask = next,
			.addr = addr, .size = SIZE }));
		ASSERT_EQ(0, set_mems(GROUP, self->all));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams));
		ASSERT_EQ(0, touch(&self->worker, addr, SIZE));
		EXPECT_TRUE(all_on(&self->worker.desk->spread, self->rams));
		munmap(addr, SIZE);
	}
}

/* Named by a policy that remembers: gone and back with the cpuset. */
TEST_F(names, static_nodes_come_back)
{
	for (int i = 0; i < ARRAY_SIZE(all_modes); i++) {
		if (all_modes[i] == MPOL_WEIGHTED_INTERLEAVE)
			continue;
		ASSERT_EQ(0, set_mems(GROUP, self->all));
		ASSERT_EQ(0, enter(&self->worker, GROUP));
		ASSERT_EQ(0, set_policy(&self->worker, all_modes[i] |
					MPOL_F_STATIC_NODES, self->dev_mask));
		EXPECT_TRUE(fresh_on(&self->worker, self->dev_mask));
		ASSERT_EQ(0, set_mems(GROUP, self->rams));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams));
		ASSERT_EQ(0, set_mems(GROUP, self->all));
		EXPECT_TRUE(fresh_on(&self->worker, self->dev_mask));
	}
}

/* No mask with RAM in it comes back as one of devices. */
TEST_F(names, F7_static_nodes_and_a_growing_cpuset)
{
	static const int modes[] = {
		MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE, MPOL_PREFERRED_MANY,
	};

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_EQ(0, set_mems(GROUP, self->rams));
		ASSERT_EQ(0, enter(&self->worker, GROUP));
		ASSERT_EQ(0, set_policy(&self->worker, modes[i] |
					MPOL_F_STATIC_NODES, self->all));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams));
		ASSERT_EQ(0, set_mems(GROUP, self->all));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams));
		ASSERT_EQ(0, set_mems(GROUP, self->rams));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams));
	}
}

/* A device of a bind policy goes with the cpuset; it never becomes RAM's. */
TEST_F(names, bind_follows_the_cpuset)
{
	char *addr = cdm_map_shared(3 * SIZE);

	dismiss(&self->worker);
	ASSERT_EQ(0, hire(&self->worker));
	ASSERT_EQ(0, set_mems(GROUP, self->all));
	ASSERT_EQ(0, enter(&self->worker, GROUP));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_mbind, .mode = MPOL_PREFERRED, .mask = self->dev_mask,
		.addr = addr, .size = 3 * SIZE }));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, set_mems(GROUP, i == 1 ? self->rams : self->all));
		ASSERT_EQ(0, touch(&self->worker, addr + i * SIZE, SIZE));
		EXPECT_TRUE(all_on(&self->worker.desk->spread,
				   i == 1 ? self->rams : self->dev_mask));
	}
}

/* Nobody can live in a cpuset without RAM, inhabited or not. */
TEST_F(names, cpuset_without_ram_is_refused)
{
	EXPECT_EQ(-EINVAL, set_mems(GROUP, self->dev_mask));
	EXPECT_EQ(-EINVAL, set_mems(GROUP, self->devs));
	EXPECT_EQ(self->all, effective_mems(GROUP));
	ASSERT_EQ(0, set_mems(GROUP, self->all));
	ASSERT_EQ(0, enter(&self->worker, GROUP));
	EXPECT_EQ(-EINVAL, set_mems(GROUP, self->devs));
	EXPECT_EQ(self->all, mems_allowed(self->worker.child.pid));
}

/* Policies that processes share */

static long do_attach(struct desk *desk)
{
	void *addr = shmat(desk->flags, NULL, 0);

	return addr == (void *)-1 ? -errno : (long)addr;
}

static long attach(struct worker *worker, int id)
{
	return tell(worker, (struct desk){ .fn = do_attach, .flags = id });
}

/* A segment that is gone when the last one has left it. */
static int shm_segment(struct worker *first, struct worker *second,
		       char **first_addr, char **second_addr)
{
	int id = shmget(IPC_PRIVATE, 4 * SIZE, IPC_CREAT | 0600);

	if (id < 0)
		return -errno;
	*first_addr = (char *)attach(first, id);
	*second_addr = (char *)attach(second, id);
	shmctl(id, IPC_RMID, NULL);
	return (long)*first_addr > 0 && (long)*second_addr > 0 ? 0 : -ENOMEM;
}

TEST_F(names, shm_bound_by_another)
{
	char *mine, *theirs;

	ASSERT_EQ(0, shm_segment(&self->worker, &self->other, &mine, &theirs));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_mbind, .mode = MPOL_BIND, .mask = self->dev_mask,
		.addr = mine, .size = SIZE }));
	ASSERT_EQ(0, touch(&self->other, theirs, SIZE));
	EXPECT_TRUE(all_on(&self->other.desk->spread, self->dev_mask));
	ASSERT_EQ(0, touch(&self->other, theirs + SIZE, SIZE));
	EXPECT_TRUE(all_on(&self->other.desk->spread, self->rams));
}

TEST_F(names, F7_shm_interleaved_by_another)
{
	char *mine, *theirs;

	ASSERT_EQ(0, shm_segment(&self->worker, &self->other, &mine, &theirs));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_mbind, .mode = MPOL_INTERLEAVE, .mask = self->all,
		.addr = mine, .size = SIZE }));
	ASSERT_EQ(0, touch(&self->other, theirs, SIZE));
	EXPECT_TRUE(all_on(&self->other.desk->spread, self->rams));
}

/* What the object says counts, not what the task that faults says. */
TEST_F(names, shm_and_the_policy_of_the_task)
{
	char *mine, *theirs;

	ASSERT_EQ(0, shm_segment(&self->worker, &self->other, &mine, &theirs));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_mbind, .mode = MPOL_BIND, .mask = self->rams,
		.addr = mine, .size = SIZE }));
	ASSERT_EQ(0, set_policy(&self->other, MPOL_BIND, self->dev_mask));
	ASSERT_EQ(0, touch(&self->other, theirs, SIZE));
	EXPECT_TRUE(all_on(&self->other.desk->spread, self->rams));
	ASSERT_EQ(0, touch(&self->other, theirs + SIZE, SIZE));
	EXPECT_TRUE(all_on(&self->other.desk->spread, self->dev_mask));
}

TEST_F(names, memfd_bound_by_another)
{
	int fd = memfd_create("cdm", 0);
	char *addr;

	ASSERT_EQ(0, ftruncate(fd, 2 * SIZE));
	addr = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	dismiss(&self->worker);
	ASSERT_EQ(0, hire(&self->worker));
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	ASSERT_EQ(0, touch(&self->worker, addr, SIZE));
	EXPECT_TRUE(all_on(&self->worker.desk->spread, self->dev_mask));
	ASSERT_EQ(0, touch(&self->worker, addr + SIZE, SIZE));
	EXPECT_TRUE(all_on(&self->worker.desk->spread, self->rams));
}

/* The cpuset of the task that faults is the bound. */
TEST_F(names, shm_and_the_cpuset_of_the_task)
{
	char *mine, *theirs;

	ASSERT_EQ(0, shm_segment(&self->worker, &self->other, &mine, &theirs));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_mbind, .mode = MPOL_BIND, .mask = self->dev_mask,
		.addr = mine, .size = 4 * SIZE }));
	ASSERT_EQ(0, set_mems(GROUP, self->rams));
	ASSERT_EQ(0, enter(&self->other, GROUP));
	ASSERT_EQ(0, touch(&self->other, theirs, SIZE));
	EXPECT_TRUE(all_on(&self->other.desk->spread, self->rams));
	ASSERT_EQ(0, set_mems(GROUP, self->rams | self->dev_mask));
	ASSERT_EQ(0, touch(&self->other, theirs + SIZE, SIZE));
	EXPECT_TRUE(all_on(&self->other.desk->spread, self->dev_mask));
}

/* cgroup v2 migrates as the cpuset changes, by a workqueue. */
static bool leaves_node(struct worker *worker, char *addr, int nid)
{
	for (int i = 0; i < CDM_PATIENCE * 50; i++) {
		if (!cdm_spread_of(worker->child.pid, addr, SIZE).on[nid])
			return true;
		usleep(20000);
	}
	return false;
}

/* The cpuset of who set the policy and mapped it changes. */
TEST_F(names, shm_and_a_shrinking_cpuset)
{
	char *mine, *theirs;

	ASSERT_EQ(0, shm_segment(&self->worker, &self->other, &mine, &theirs));
	ASSERT_EQ(0, set_mems(GROUP, self->rams | self->dev_mask));
	ASSERT_EQ(0, enter(&self->worker, GROUP));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_mbind, .mode = MPOL_BIND, .mask = self->dev_mask,
		.addr = mine, .size = 4 * SIZE }));
	ASSERT_EQ(0, touch(&self->worker, mine, SIZE));
	EXPECT_TRUE(all_on(&self->worker.desk->spread, self->dev_mask));
	ASSERT_EQ(0, set_mems(GROUP, self->rams));
	EXPECT_TRUE(leaves_node(&self->worker, mine, self->dev));
	ASSERT_EQ(0, touch(&self->worker, mine + SIZE, SIZE));
	EXPECT_TRUE(all_on(&self->worker.desk->spread, self->rams));
	/* It is not bound by that cpuset, and the object names the device. */
	ASSERT_EQ(0, touch(&self->other, theirs + 2 * SIZE, SIZE));
	EXPECT_TRUE(all_on(&self->other.desk->spread, self->dev_mask));
	ASSERT_EQ(0, set_mems(GROUP, self->rams | self->dev_mask));
	ASSERT_EQ(0, touch(&self->worker, mine + 3 * SIZE, SIZE));
	EXPECT_TRUE(all_on(&self->worker.desk->spread, self->dev_mask));
}

/* migrate_pages(2) */

static long migrate(unsigned long from, unsigned long to)
{
	long left = migrate_pages(0, 64, &from, &to);

	return left < 0 ? -errno : left;
}

TEST_F(names, migrate_pages_there_and_back)
{
	char *addr = cdm_map_on(cdm_ram(0), SIZE, SEED);

	ASSERT_NE(NULL, addr);
	EXPECT_LE(0, migrate(self->rams, self->dev_mask));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_LE(0, migrate(self->dev_mask, self->rams));
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
}

/* From both to one of them: what is there already stays. */
TEST_F(names, migrate_pages_from_a_mixed_mask)
{
	char *ram = cdm_map_on(cdm_ram(0), SIZE, SEED);
	char *dev = cdm_map_on(self->dev, SIZE, SEED + 1);

	ASSERT_NE(NULL, ram);
	ASSERT_NE(NULL, dev);
	EXPECT_LE(0, migrate(self->rams | self->dev_mask, self->dev_mask));
	EXPECT_EQ(PAGES, cdm_pages_on(ram, SIZE, self->dev));
	EXPECT_EQ(PAGES, cdm_pages_on(dev, SIZE, self->dev));
	EXPECT_LE(0, migrate(self->rams | self->dev_mask, self->rams));
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(ram, SIZE), cdm_rams()));
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(dev, SIZE), cdm_rams()));
	EXPECT_EQ(0, cdm_wrong(ram, SIZE, SEED));
	EXPECT_EQ(0, cdm_wrong(dev, SIZE, SEED + 1));
}

/* mbind(2) of files, and of what is somewhere else already */

static char *map_file(int flags)
{
	char *addr = mmap(NULL, SIZE, PROT_READ |
			  (flags & MAP_PRIVATE ? PROT_WRITE : 0), flags,
			  cdm_open_big(SIZE), 0);

	return addr == MAP_FAILED ? NULL : addr;
}

/* The page cache of a block device: a file that can be written to. */
static char *map_disk(void)
{
	char *addr;
	int fd;

	if (access(CDM_ZRAM, F_OK) && system("modprobe zram"))
		return NULL;
	if (cdm_write("/sys/block/zram0/disksize", "16M"))
		return NULL;
	fd = open(CDM_ZRAM, O_RDWR);
	addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return addr == MAP_FAILED ? NULL : addr;
}

/* Page cache does not come from a device: what cannot be is refused. */
static void expect_refused(struct __test_metadata *_metadata, char *addr,
			   unsigned long device, unsigned long all)
{
	static const int modes[] = {
		MPOL_BIND, MPOL_PREFERRED, MPOL_PREFERRED_MANY,
		MPOL_INTERLEAVE,
	};

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		EXPECT_EQ(-EINVAL, cdm_mbind(addr, SIZE, modes[i], device, 0)) {
			TH_LOG("mode %d", modes[i]);
		}
	}
	EXPECT_EQ(-EINVAL, cdm_mbind(addr, SIZE, MPOL_BIND, all, 0));
	EXPECT_EQ(-EINVAL, cdm_mbind(addr, SIZE, MPOL_BIND, device,
				     MPOL_MF_STRICT));
	cdm_fault_in(addr, SIZE);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
}

TEST_F(names, mbind_of_a_file_is_refused)
{
	char *addr = map_file(MAP_SHARED);

	ASSERT_NE(NULL, addr);
	expect_refused(_metadata, addr, self->dev_mask, self->all);
}

TEST_F(names, mbind_of_a_disk_is_refused)
{
	char *addr = map_disk();

	ASSERT_NE(NULL, addr);
	expect_refused(_metadata, addr, self->dev_mask, self->all);
	munmap(addr, SIZE);
}

/* A range is refused as a whole, whatever else is in it. */
TEST_F(names, mbind_of_memory_and_a_file_is_refused)
{
	char *addr = cdm_map(2 * SIZE), *file;

	file = mmap(addr + SIZE, SIZE, PROT_READ, MAP_SHARED | MAP_FIXED,
		    cdm_open_big(SIZE), 0);
	ASSERT_EQ(addr + SIZE, file);
	EXPECT_EQ(-EINVAL, cdm_mbind(addr, 2 * SIZE, MPOL_BIND, self->dev_mask,
				     0));
	cdm_touch(addr, SIZE);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
}

/* A policy that names no device pretends nothing. */
TEST_F(names, mbind_of_a_file_without_device)
{
	char *addr = map_file(MAP_SHARED);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->rams, 0));
	EXPECT_EQ(0, cdm_mbind(addr, SIZE, MPOL_INTERLEAVE, self->all, 0));
	EXPECT_EQ(0, cdm_mbind(addr, SIZE, MPOL_PREFERRED_MANY, self->all, 0));
	EXPECT_EQ(0, cdm_mbind(addr, SIZE, MPOL_DEFAULT, 0, 0));
}

/* The pages of a private mapping that are written to are the task's own. */
TEST_F(names, mbind_of_a_private_file)
{
	char *addr = map_file(MAP_PRIVATE);

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0));
	cdm_fault_in(addr, SIZE);
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	cdm_touch(addr, SIZE / 2);
	EXPECT_EQ(PAGES / 2, cdm_pages_on(addr, SIZE / 2, self->dev));
	EXPECT_EQ(PAGES / 2, cdm_spread_in(cdm_spread(addr + SIZE / 2,
						      SIZE / 2), cdm_rams()));
}

/* To move what is there is to name it, and must do it. */
TEST_F(names, mbind_moves_a_file)
{
	char *addr = map_file(MAP_SHARED);
	__u64 hash;

	ASSERT_NE(NULL, addr);
	cdm_fault_in(addr, SIZE);
	hash = cdm_hash(addr, SIZE);
	ASSERT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));
	EXPECT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(hash, cdm_hash(addr, SIZE));
}

/* Also what has yet to be written. */
TEST_F(names, mbind_moves_a_disk)
{
	char *addr = map_disk();

	ASSERT_NE(NULL, addr);
	cdm_fill(addr, SIZE, SEED);
	EXPECT_EQ(0, cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->dev));
	EXPECT_EQ(0, msync(addr, SIZE, MS_SYNC));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	munmap(addr, SIZE);
}

/* It is page cache, and shmem as well: place it or refuse it. */
TEST_F(names, mbind_of_a_tmpfs_file_does_not_pretend)
{
	char path[] = "/tmp/cdm_XXXXXX", *addr;
	int fd = mkstemp(path), err;
	struct statfs fs;

	unlink(path);
	ASSERT_EQ(0, fstatfs(fd, &fs));
	ASSERT_EQ(TMPFS_MAGIC, fs.f_type);
	ASSERT_EQ(0, ftruncate(fd, SIZE));
	addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, addr);
	err = cdm_mbind(addr, SIZE, MPOL_BIND, self->dev_mask, 0);
	cdm_touch(addr, SIZE);
	if (err)
		EXPECT_EQ(-EINVAL, err);
	EXPECT_EQ(err ? 0 : PAGES, cdm_pages_on(addr, SIZE, self->dev));
}

/* What a mask is narrowed to is where the pages are to be. */
TEST_F(names, F7_mbind_moves_out_of_a_narrowed_mask)
{
	static const int modes[] = {
		MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE, MPOL_PREFERRED_MANY,
	};

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		char *addr = cdm_map_on(self->dev, SIZE, SEED);

		ASSERT_NE(NULL, addr);
		EXPECT_EQ(0, cdm_mbind(addr, SIZE, modes[i], self->all,
				       MPOL_MF_MOVE | MPOL_MF_STRICT));
		EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE),
					       cdm_rams())) {
			TH_LOG("mode %d", modes[i]);
		}
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		munmap(addr, SIZE);
	}
}

/* Without leave to move, what lies where it may not is told. */
TEST_F(names, mbind_strict_sees_a_narrowed_mask)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(-EIO, cdm_mbind(addr, SIZE, MPOL_INTERLEAVE, self->all,
				  MPOL_MF_STRICT));
}

/* Two devices, two RAM nodes: position and fallback. */
FIXTURE(two) {
	int dev[2];
	int ram[2];
	unsigned long devs;
	unsigned long rams;
	unsigned long all;
	struct worker worker;
};

FIXTURE_SETUP(two)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (cdm_devs().nr < 2 || cdm_rams().nr < 2)
		SKIP(return, "topology %s has not two devices and two RAM nodes",
		     cdm_topology());
	for (int i = 0; i < 2; i++) {
		self->dev[i] = cdm_dev(i);
		self->ram[i] = cdm_ram(i);
	}
	self->devs = cdm_mask(cdm_devs());
	self->rams = cdm_mask(cdm_rams());
	self->all = cdm_all_mask();
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
	ASSERT_EQ(0, hire(&self->worker));
}

FIXTURE_TEARDOWN(two)
{
	EXPECT_EQ(0, cdm_unfenced());
	dismiss(&self->worker);
	rmdir(CDM_CGROUPS "/" CHILD);
	reset_weights();
	EXPECT_EQ(0, cdm_reset(_metadata));
}

#define NODE(nid)	(1UL << (nid))

TEST_F(two, the_right_one)
{
	static const int modes[] = {
		MPOL_BIND, MPOL_PREFERRED, MPOL_PREFERRED_MANY,
		MPOL_INTERLEAVE,
	};

	for (int i = 0; i < 2 * ARRAY_SIZE(modes); i++) {
		unsigned long dev = NODE(self->dev[i % 2]);

		EXPECT_TRUE(mapping_on(&self->worker, modes[i / 2], dev, dev));
		ASSERT_EQ(0, set_policy(&self->worker, modes[i / 2], dev));
		EXPECT_TRUE(fresh_on(&self->worker, dev));
	}
}

TEST_F(two, weights_of_two_devices)
{
	const struct cdm_spread *spread = &self->worker.desk->spread;

	ASSERT_EQ(0, set_weight(self->dev[0], "3"));
	ASSERT_EQ(0, set_weight(self->dev[1], "1"));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_mapping, .mode = MPOL_WEIGHTED_INTERLEAVE,
		.mask = self->devs }));
	EXPECT_LE(PAGES * 3 / 4 - 4, spread->on[self->dev[0]]);
	EXPECT_GE(PAGES * 3 / 4 + 4, spread->on[self->dev[0]]);
	EXPECT_TRUE(all_on(spread, self->devs));
}

/* @mode over @nodes while the first device is full, locked where it gets. */
static struct cdm_spread spread_beside_full(int mode, unsigned long nodes,
					    size_t size)
{
	struct cdm_spread spread = {};
	char *addr = cdm_map(size);

	if (!addr || mlock2(addr, size, MLOCK_ONFAULT) ||
	    cdm_mbind(addr, size, mode, nodes, 0))
		return spread;
	cdm_touch(addr, size);
	spread = cdm_spread(addr, size);
	munmap(addr, size);
	return spread;
}

TEST_F_TIMEOUT(two, full_and_preferred, CDM_TIMEOUT)
{
	struct cdm_spread spread;

	ASSERT_EQ(0, cdm_leave_node(self->dev[0], 0));
	spread = spread_beside_full(MPOL_PREFERRED, NODE(self->dev[0]),
				    32 * MIB);
	EXPECT_TRUE(all_on(&spread, self->rams | NODE(self->dev[0])));
	EXPECT_GE(CRUMBS, spread.on[self->dev[0]]);
	spread = spread_beside_full(MPOL_PREFERRED_MANY, NODE(self->dev[0]),
				    32 * MIB);
	EXPECT_TRUE(all_on(&spread, self->rams | NODE(self->dev[0])));
	/* Both are named here, so the other one may. */
	spread = spread_beside_full(MPOL_PREFERRED_MANY, self->devs, 32 * MIB);
	EXPECT_TRUE(all_on(&spread, self->devs));
}

/* Each device has its turn; what it cannot give comes from RAM. */
TEST_F_TIMEOUT(two, full_and_interleaved, CDM_TIMEOUT)
{
	unsigned long pages = 64 * MIB / PAGE;
	struct cdm_spread spread;

	ASSERT_EQ(0, cdm_leave_node(self->dev[0], 0));
	spread = spread_beside_full(MPOL_INTERLEAVE,
				    NODE(self->dev[0]) | NODE(self->dev[1]),
				    64 * MIB);
	EXPECT_EQ(pages, spread.total);
	EXPECT_EQ(pages / 2, spread.on[self->dev[1]]);
	EXPECT_EQ(pages / 2, spread.on[self->dev[0]] +
		  cdm_spread_in(spread, cdm_rams()));
	EXPECT_GE(CRUMBS, spread.on[self->dev[0]]);
}

static int bind_fn(struct cdm_child *me, void *arg)
{
	spread_beside_full(MPOL_BIND, *(unsigned long *)arg, 32 * MIB);
	return 0;
}

TEST_F_TIMEOUT(two, full_and_bound, CDM_TIMEOUT)
{
	unsigned long nodes = NODE(self->dev[0]);
	struct cdm_child child;
	struct cdm_spread spread;
	int status;
	long used;

	ASSERT_EQ(0, cdm_leave_node(self->dev[0], 0));
	cdm_stat_refresh();
	used = cdm_node_used(self->dev[1]);
	ASSERT_EQ(0, cdm_start(&child, bind_fn, &nodes));
	status = cdm_wait(&child);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) {
		TH_LOG("wait status %#x", status);
	}
	cdm_stat_refresh();
	/* It may get back what a CPU kept. */
	EXPECT_GE(used, cdm_node_used(self->dev[1]));
	/* Both are named here. */
	spread = spread_beside_full(MPOL_BIND, self->devs, 32 * MIB);
	EXPECT_TRUE(all_on(&spread, self->devs));
}

/* Nothing that is to go to the first device may end on the second. */
TEST_F_TIMEOUT(two, full_and_moved_to, CDM_TIMEOUT)
{
	size_t size = 32 * MIB;
	char *addr = cdm_map_on(self->ram[0], size, SEED);
	struct cdm_spread spread;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, mlock(addr, size));
	ASSERT_EQ(0, cdm_leave_node(self->dev[0], 0));
	cdm_move(addr, size, self->dev[0]);
	spread = cdm_spread(addr, size);
	EXPECT_GE(CRUMBS, spread.on[self->dev[0]]);
	EXPECT_TRUE(all_on(&spread, self->rams | NODE(self->dev[0])));
	migrate(self->rams, NODE(self->dev[0]));
	spread = cdm_spread(addr, size);
	EXPECT_TRUE(all_on(&spread, self->rams | NODE(self->dev[0])));
	cdm_mbind(addr, size, MPOL_BIND, NODE(self->dev[0]), MPOL_MF_MOVE);
	spread = cdm_spread(addr, size);
	EXPECT_TRUE(all_on(&spread, self->rams | NODE(self->dev[0])));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
	/* The second has room, and is named now. */
	EXPECT_EQ(size / PAGE, cdm_move(addr, size, self->dev[1]));
	EXPECT_EQ(0, cdm_wrong(addr, size, SEED));
}

TEST_F(two, migrate_pages_to_the_other)
{
	char *ram = cdm_map_on(self->ram[0], SIZE, SEED);
	char *dev = cdm_map_on(self->dev[0], SIZE, SEED + 1);

	ASSERT_NE(NULL, ram);
	ASSERT_NE(NULL, dev);
	EXPECT_LE(0, migrate(NODE(self->ram[0]) | NODE(self->dev[0]),
			     NODE(self->dev[1])));
	EXPECT_EQ(PAGES, cdm_pages_on(ram, SIZE, self->dev[1]));
	EXPECT_EQ(PAGES, cdm_pages_on(dev, SIZE, self->dev[1]));
	/* By position: RAM to RAM and device to device. */
	EXPECT_LE(0, migrate(NODE(self->dev[1]), NODE(self->ram[0])));
	EXPECT_EQ(SIZE / PAGE, cdm_move(dev, SIZE, self->dev[0]));
	EXPECT_LE(0, migrate(NODE(self->ram[0]) | NODE(self->dev[0]),
			     NODE(self->ram[1]) | NODE(self->dev[1])));
	EXPECT_EQ(PAGES, cdm_pages_on(ram, SIZE, self->ram[1]));
	EXPECT_EQ(PAGES, cdm_pages_on(dev, SIZE, self->dev[1]));
	EXPECT_EQ(0, cdm_wrong(ram, SIZE, SEED));
	EXPECT_EQ(0, cdm_wrong(dev, SIZE, SEED + 1));
}

/*
 * The user wrote RAM and a device, so the device is not named, also where the
 * cpuset has only the device of them: in a policy that is set there, and in
 * one that comes there.
 */
TEST_F(two, mixed_mask_without_its_ram)
{
	static const int modes[] = {
		MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE, MPOL_PREFERRED_MANY,
	};
	unsigned long mask = NODE(self->ram[1]) | NODE(self->dev[0]);
	unsigned long mems = NODE(self->ram[0]) | NODE(self->dev[0]);
	long err;

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_EQ(0, set_mems(GROUP, mems));
		ASSERT_EQ(0, enter(&self->worker, GROUP));
		err = set_policy(&self->worker, modes[i], mask);
		if (err)
			EXPECT_EQ(-EINVAL, err);
		EXPECT_TRUE(fresh_on(&self->worker, self->rams)) {
			TH_LOG("mode %d, set there", modes[i]);
		}
		ASSERT_EQ(0, set_mems(GROUP, self->all));
		ASSERT_EQ(0, set_policy(&self->worker, modes[i] |
					MPOL_F_STATIC_NODES, mask));
		ASSERT_EQ(0, set_mems(GROUP, mems));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams)) {
			TH_LOG("mode %d, static", modes[i]);
		}
		ASSERT_EQ(0, set_mems(GROUP, self->all));
		ASSERT_EQ(0, set_policy(&self->worker, modes[i], mask));
		ASSERT_EQ(0, set_mems(GROUP, mems));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams)) {
			TH_LOG("mode %d", modes[i]);
		}
		ASSERT_EQ(0, set_mems(GROUP, self->all));
		ASSERT_EQ(0, set_policy(&self->worker, MPOL_DEFAULT, 0));
	}
}

/* The second node of a mask is not the second node of the next one. */
TEST_F(two, position_makes_no_device)
{
	unsigned long mems = NODE(self->ram[0]) | NODE(self->dev[0]);

	for (int i = 0; i < ARRAY_SIZE(all_modes); i++) {
		ASSERT_EQ(0, set_mems(GROUP, self->rams));
		ASSERT_EQ(0, enter(&self->worker, GROUP));
		ASSERT_EQ(0, set_policy(&self->worker, all_modes[i],
					NODE(self->ram[1])));
		ASSERT_EQ(0, set_mems(GROUP, mems));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams)) {
			TH_LOG("mode %d", all_modes[i]);
		}
	}
}

/* Nor does one device take the place of another. */
TEST_F(two, position_makes_no_other_device)
{
	for (int i = 0; i < ARRAY_SIZE(all_modes); i++) {
		if (all_modes[i] == MPOL_WEIGHTED_INTERLEAVE)
			continue;
		ASSERT_EQ(0, set_mems(GROUP,
				      self->rams | NODE(self->dev[0])));
		ASSERT_EQ(0, enter(&self->worker, GROUP));
		ASSERT_EQ(0, set_policy(&self->worker, all_modes[i],
					NODE(self->dev[0])));
		EXPECT_TRUE(fresh_on(&self->worker, NODE(self->dev[0])));
		ASSERT_EQ(0, set_mems(GROUP,
				      self->rams | NODE(self->dev[1])));
		EXPECT_TRUE(fresh_on(&self->worker, self->rams)) {
			TH_LOG("mode %d", all_modes[i]);
		}
	}
}

/* A cpuset that has no RAM of its own, or not any more */

static int make_child(unsigned long mems)
{
	int err = cdm_cgroup_write(GROUP, "cgroup.subtree_control", "+cpuset");

	if (!err && mkdir(CDM_CGROUPS "/" CHILD, 0755))
		err = -errno;
	return err ?: set_mems(CHILD, mems);
}

/* The task lives on: it can have user memory, kernel memory and children. */
static void expect_alive(struct __test_metadata *_metadata,
			 struct worker *worker, unsigned long rams)
{
	EXPECT_TRUE(fresh_on(worker, rams));
	EXPECT_EQ(0, tell(worker, (struct desk){ .fn = do_fork }));
}

TEST_F_TIMEOUT(two, borrows_ram_but_no_device, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_mems(GROUP, self->all));
	ASSERT_EQ(0, make_child(NODE(self->ram[1])));
	ASSERT_EQ(0, enter(&self->worker, CHILD));
	ASSERT_EQ(0, set_mems(GROUP,
			      NODE(self->ram[0]) | NODE(self->dev[0])));
	EXPECT_EQ(NODE(self->ram[0]), effective_mems(CHILD));
	EXPECT_EQ(NODE(self->ram[0]), mems_allowed(self->worker.child.pid));
	expect_alive(_metadata, &self->worker, self->rams);
	EXPECT_EQ(-EINVAL, set_policy(&self->worker, MPOL_BIND,
				      NODE(self->dev[0])));
	EXPECT_EQ(-EINVAL, set_policy(&self->worker, MPOL_INTERLEAVE,
				      self->devs));
	/* Its own node again. */
	ASSERT_EQ(0, set_mems(GROUP, self->all));
	EXPECT_EQ(NODE(self->ram[1]), effective_mems(CHILD));
}

TEST_F_TIMEOUT(two, borrows_ram_and_keeps_its_device, CDM_TIMEOUT)
{
	unsigned long mems = NODE(self->ram[0]) | NODE(self->dev[0]);

	ASSERT_EQ(0, set_mems(GROUP, self->all));
	ASSERT_EQ(0, make_child(NODE(self->ram[1]) | NODE(self->dev[0])));
	ASSERT_EQ(0, enter(&self->worker, CHILD));
	ASSERT_EQ(0, set_mems(GROUP, mems));
	EXPECT_EQ(mems, effective_mems(CHILD));
	EXPECT_EQ(mems, mems_allowed(self->worker.child.pid));
	expect_alive(_metadata, &self->worker, self->rams);
	EXPECT_EQ(0, set_policy(&self->worker, MPOL_BIND, NODE(self->dev[0])));
	EXPECT_TRUE(fresh_on(&self->worker, NODE(self->dev[0])));
}

TEST_F_TIMEOUT(two, borrows_ram_and_no_other_device, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_mems(GROUP, self->all));
	ASSERT_EQ(0, make_child(NODE(self->ram[1]) | NODE(self->dev[0])));
	ASSERT_EQ(0, enter(&self->worker, CHILD));
	ASSERT_EQ(0, set_policy(&self->worker, MPOL_BIND, NODE(self->dev[0])));
	ASSERT_EQ(0, set_mems(GROUP,
			      NODE(self->ram[0]) | NODE(self->dev[1])));
	EXPECT_EQ(NODE(self->ram[0]), effective_mems(CHILD));
	expect_alive(_metadata, &self->worker, self->rams);
	EXPECT_EQ(-EINVAL, set_policy(&self->worker, MPOL_PREFERRED_MANY,
				      self->devs));
}

/* The node goes and comes; there is no driver for that on the base. */
FIXTURE(plug) {
	int dev;
	unsigned long dev_mask;
	unsigned long rams;
	struct worker worker[4];
};

#define INHERITING	"cdm_names_empty"

FIXTURE_SETUP(plug)
{
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	if (cdm_is_unfenced())
		SKIP(return, "no owner driver on the base");
	self->dev = cdm_dev(0);
	self->dev_mask = 1UL << self->dev;
	self->rams = cdm_mask(cdm_rams());
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
	ASSERT_EQ(0, cdm_cgroup_create(INHERITING));
	ASSERT_EQ(0, set_mems(GROUP, self->rams | self->dev_mask));
	for (int i = 0; i < ARRAY_SIZE(self->worker); i++)
		ASSERT_EQ(0, hire(&self->worker[i]));
}

FIXTURE_TEARDOWN(plug)
{
	for (int i = 0; i < ARRAY_SIZE(self->worker); i++)
		dismiss(&self->worker[i]);
	EXPECT_EQ(0, cdm_reset(_metadata));
	EXPECT_EQ(0, cdm_unfenced());
}

/* Who has a policy that remembers what it named gets it back. */
static const struct {
	int mode;
	bool comes_back;
} policies[] = {
	{ MPOL_BIND | MPOL_F_STATIC_NODES, true },
	{ MPOL_PREFERRED, true },
	{ MPOL_PREFERRED_MANY, true },
	{ MPOL_BIND, false },
};

static void expect_mems(struct __test_metadata *_metadata,
			struct worker *worker, unsigned long mems,
			unsigned long all)
{
	EXPECT_EQ(mems, effective_mems(GROUP));
	EXPECT_EQ(all, effective_mems("."));
	EXPECT_EQ(all, effective_mems(INHERITING));
	EXPECT_EQ(all, mems_allowed(0));
	for (int i = 0; i < ARRAY_SIZE(policies); i++)
		EXPECT_EQ(mems, mems_allowed(worker[i].child.pid));
}

TEST_F_TIMEOUT(plug, bound_cpuset, CDM_TIMEOUT)
{
	struct worker *worker = self->worker;
	unsigned long all = cdm_all_mask();
	char *kept[ARRAY_SIZE(policies)];

	for (int i = 0; i < ARRAY_SIZE(policies); i++) {
		ASSERT_EQ(0, enter(&worker[i], GROUP));
		ASSERT_EQ(0, set_policy(&worker[i], policies[i].mode,
					self->dev_mask));
		kept[i] = (char *)tell(&worker[i],
				       (struct desk){ .fn = do_keep });
		ASSERT_LT(0, (long)kept[i]);
		ASSERT_TRUE(all_on(&worker[i].desk->spread, self->dev_mask));
	}
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	expect_mems(_metadata, worker, self->rams, all & ~self->dev_mask);
	for (int i = 0; i < ARRAY_SIZE(policies); i++) {
		EXPECT_EQ(0, tell(&worker[i], (struct desk){
			.fn = do_check, .addr = kept[i] }));
		EXPECT_TRUE(all_on(&worker[i].desk->spread, self->rams));
		expect_alive(_metadata, &worker[i], self->rams);
	}
	ASSERT_EQ(0, cdm_register_all());
	expect_mems(_metadata, worker, self->rams | self->dev_mask, all);
	for (int i = 0; i < ARRAY_SIZE(policies); i++) {
		EXPECT_TRUE(fresh_on(&worker[i], policies[i].comes_back ?
				     self->dev_mask : self->rams)) {
			TH_LOG("mode %d", policies[i].mode);
		}
		ASSERT_EQ(0, set_policy(&worker[i], policies[i].mode,
					self->dev_mask));
		EXPECT_TRUE(fresh_on(&worker[i], self->dev_mask));
	}
}

/* What watchers of Mems_allowed know and tell; see look() and tick(). */
struct watch {
	long up;		/* odd: registered */
	long looks;
	long wrong;
	unsigned long mask;
	const char *group;
};

static long look(long *counter)
{
	return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

static void tick(long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static int watch_fn(struct cdm_child *me, void *arg)
{
	struct watch *watch = arg;

	if (watch->group && cdm_cgroup_enter(watch->group))
		return 1;
	cdm_say(me, 0);
	for (;;) {
		long up = look(&watch->up);
		unsigned long mems = mems_allowed(0);

		/* Registered before the look and after it? */
		if (up % 2 == 0 || look(&watch->up) != up)
			continue;
		if ((mems & watch->mask) != watch->mask)
			tick(&watch->wrong);
		tick(&watch->looks);
	}
}

static bool waits_for_looks(struct watch *watch, long looks)
{
	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (look(&watch->looks) >= looks)
			return true;
		usleep(10000);
	}
	return false;
}

/* As soon as the node is registered, everybody may name it. */
TEST_F_TIMEOUT(plug, no_window_after_registration, CDM_TIMEOUT)
{
	static const char * const groups[] = { NULL, GROUP, INHERITING };
	struct watch *watch = (struct watch *)cdm_map_shared(PAGE);
	struct cdm_child child[ARRAY_SIZE(groups)];

	for (int i = 0; i < ARRAY_SIZE(groups); i++) {
		watch[i].mask = self->dev_mask;
		watch[i].group = groups[i];
		ASSERT_EQ(0, cdm_start(&child[i], watch_fn, &watch[i]));
		ASSERT_EQ(0, cdm_hear(&child[i]));
	}
	for (int round = 0; round < 4; round++) {
		ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
		ASSERT_EQ(0, cdm_register_all());
		for (int i = 0; i < ARRAY_SIZE(groups); i++)
			tick(&watch[i].up);
		EXPECT_EQ(self->dev_mask, mems_allowed(0) & self->dev_mask);
		EXPECT_EQ(self->dev_mask,
			  effective_mems(GROUP) & self->dev_mask);
		for (int i = 0; i < ARRAY_SIZE(groups); i++) {
			EXPECT_TRUE(waits_for_looks(&watch[i],
						    look(&watch[i].looks) + 2));
			tick(&watch[i].up);
		}
	}
	for (int i = 0; i < ARRAY_SIZE(groups); i++) {
		EXPECT_EQ(0, look(&watch[i].wrong));
		cdm_kill(&child[i]);
	}
}

/* cpusets as cgroup v1 has them */
#define V1	"/tmp/cdm_cpuset"
#define V1_CHILD V1 "/names"

FIXTURE(cpuset1) {
	struct worker worker;
	bool mounted;
	struct cdm_mark mark;
};

/* The controller leaves one hierarchy for the other as soon as it is idle. */
static int mount_v1(void)
{
	int err = -EBUSY;

	cdm_write(CDM_CGROUPS "/cgroup.subtree_control", "-cpuset");
	mkdir(V1, 0755);
	for (int i = 0; err == -EBUSY && i < CDM_PATIENCE * 100; i++) {
		err = mount("cgroup", V1, "cgroup", 0, "cpuset") ? -errno : 0;
		if (err == -EBUSY)
			usleep(10000);
	}
	if (!err && access(V1 "/cpuset.mems", F_OK)) {
		umount(V1);
		err = -EINVAL;
	}
	return err;
}

static bool v2_has_cpusets(void)
{
	char buf[256] = "";

	cdm_read(CDM_CGROUPS "/cgroup.controllers", buf, sizeof(buf));
	return strstr(buf, "cpuset");
}

/* After the last mount it goes by work items, which have their time. */
static bool v2_gets_cpusets(void)
{
	for (int i = 0; i < 60 && !v2_has_cpusets(); i++)
		usleep(50000);
	return v2_has_cpusets();
}

/*
 * A hierarchy goes with its last mount only if no group is left in it, and one
 * that was removed lingers for a while. Then mount it again, to unmount it.
 */
static int umount_v1(void)
{
	for (int i = 0; i < 300 && rmdir(V1_CHILD) && errno == EBUSY; i++)
		usleep(10000);
	for (int i = 0; i < 20; i++) {
		umount(V1);
		if (v2_gets_cpusets())
			return 0;
		mount("cgroup", V1, "cgroup", 0, "cpuset");
	}
	umount(V1);
	return -EBUSY;
}

static int set_v1(const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), V1_CHILD "/%s", file);
	return cdm_write(path, text);
}

static int set_v1_mems(unsigned long mask)
{
	char text[128];
	int len = 0;

	for (int nid = 0; nid < CDM_MAX_NODES; nid++)
		if (mask >> nid & 1)
			len += snprintf(text + len, sizeof(text) - len, "%s%d",
					len ? "," : "", nid);
	return set_v1("cpuset.mems", text);
}

static long do_enter_v1(struct desk *desk)
{
	return set_v1("tasks", "0");
}

static long do_read_files(struct desk *desk)
{
	return cdm_read_files(desk->size);
}

FIXTURE_SETUP(cpuset1)
{
	char cpus[64] = "";
	int err;

	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	err = mount_v1();
	if (err == -EINVAL || err == -ENODEV || err == -ENOENT)
		SKIP(return, "no CONFIG_CPUSETS_V1");
	ASSERT_EQ(0, err);
	self->mounted = true;
	ASSERT_EQ(0, mkdir(V1_CHILD, 0755));
	ASSERT_LT(0, cdm_read(V1 "/cpuset.cpus", cpus, sizeof(cpus)));
	ASSERT_EQ(0, set_v1("cpuset.cpus", cpus));
	ASSERT_EQ(0, set_v1_mems(cdm_all_mask()));
	ASSERT_EQ(0, hire(&self->worker));
	self->mark = cdm_mark();
}

FIXTURE_TEARDOWN(cpuset1)
{
	EXPECT_EQ(0, cdm_unfenced());
	dismiss(&self->worker);
	if (self->mounted)
		EXPECT_EQ(0, umount_v1());
	EXPECT_EQ(0, cdm_reset(_metadata));
}

TEST_F(cpuset1, without_ram_is_refused)
{
	EXPECT_EQ(-EINVAL, set_v1_mems(cdm_mask(cdm_devs())));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){ .fn = do_enter_v1 }));
	EXPECT_EQ(-EINVAL, set_v1_mems(cdm_mask(cdm_devs())));
	EXPECT_EQ(cdm_all_mask(), mems_allowed(self->worker.child.pid));
}

/* To spread page cache over the cpuset is not to name its devices. */
TEST_F_TIMEOUT(cpuset1, F6_spread_page_cache, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_v1("cpuset.memory_spread_page", "1"));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){ .fn = do_enter_v1 }));
	ASSERT_EQ(0, cdm_leave_ram(128));
	self->mark = cdm_mark();
	EXPECT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_read_files, .size = 192 * MIB }));
	EXPECT_EQ(0, cdm_leaked(self->mark));
}

/* A wall around RAM and device is no name; nor is it one for who leaves it. */
TEST_F_TIMEOUT(cpuset1, F6_hardwall, CDM_TIMEOUT)
{
	ASSERT_EQ(0, set_v1("cpuset.mem_hardwall", "1"));
	ASSERT_EQ(0, tell(&self->worker, (struct desk){ .fn = do_enter_v1 }));
	ASSERT_EQ(0, cdm_leave_ram(128));
	self->mark = cdm_mark();
	EXPECT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_read_files, .size = 192 * MIB }));
	expect_alive(_metadata, &self->worker, cdm_mask(cdm_rams()));
	EXPECT_EQ(0, cdm_leaked(self->mark));
	ASSERT_EQ(0, set_v1_mems(cdm_mask(cdm_rams())));
	EXPECT_EQ(0, tell(&self->worker, (struct desk){
		.fn = do_read_files, .size = 192 * MIB }));
	expect_alive(_metadata, &self->worker, cdm_mask(cdm_rams()));
	EXPECT_EQ(0, cdm_leaked(self->mark));
}

TEST_HARNESS_MAIN
