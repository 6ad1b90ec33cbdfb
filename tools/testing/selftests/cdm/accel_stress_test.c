// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator under stress: CPUs and jobs at the same words, jobs
 * that make no sense, faults of the device that it survives, and a driver that
 * comes and goes.
 */
#include "accel_util.h"

/* How many of something: make soak, which says how long it takes, asks for all. */
static long effort(long all, long few)
{
	const char *seconds = getenv("CDM_STRESS_SECONDS");

	return seconds && *seconds ? all : few;
}

#define SIZE	(4 * MIB)
#define PAGES	(SIZE / PAGE)
#define SEED	47

FIXTURE(stress) {
	struct accel a;
	struct cdm_accel *dev;
	__u64 *counter;
};

FIXTURE_SETUP(stress)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->dev = self->a.dev;
	self->counter = (__u64 *)cdm_map_shared(PAGE);
	ASSERT_NE(NULL, self->counter);
}

FIXTURE_TEARDOWN(stress)
{
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Coherence */

#define SIDES	4	/* threads, and jobs */
#define STAGES	8	/* which all begin together, or they might miss each other */

struct adder {
	__u64 *counter;
	__u64 times;		/* in each stage */
	int *stage;
	int done;
};

static void *adder_fn(void *arg)
{
	struct adder *adder = arg;

	for (int s = 1; s <= STAGES; s++) {
		while (__atomic_load_n(adder->stage, __ATOMIC_ACQUIRE) < s)
			sched_yield();
		for (__u64 i = 0; i < adder->times; i++)
			__atomic_fetch_add(adder->counter, 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&adder->done, s, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void adder_wait(const struct adder *adder, int stage)
{
	while (__atomic_load_n(&adder->done, __ATOMIC_ACQUIRE) < stage)
		sched_yield();
}

/* SIDES counters on one cache line, a thread and a job at each of them. */
static void add_together(struct __test_metadata *_metadata,
			 struct cdm_accel *dev, __u64 *line)
{
	__u64 times = effort(10000000, 1000000) / (2 * SIDES * STAGES);
	struct adder adder[SIDES] = {};
	pthread_t thread[SIDES];
	__u32 id[SIDES];
	int stage = 0;

	memset(line, 0, 64);
	for (int i = 0; i < SIDES; i++) {
		adder[i].counter = line + i;
		adder[i].times = times;
		adder[i].stage = &stage;
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, adder_fn,
					    &adder[i]));
	}
	for (int s = 1; s <= STAGES; s++) {
		for (int i = 0; i < SIDES; i++)
			ASSERT_EQ(0, cdm_accel_atomic_add(dev, line + i, 1,
							  times, &id[i]));
		__atomic_store_n(&stage, s, __ATOMIC_RELEASE);
		for (int i = 0; i < SIDES; i++) {
			EXPECT_EQ(0, accel_end(dev, id[i], NULL));
			adder_wait(&adder[i], s);
		}
	}
	for (int i = 0; i < SIDES; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_EQ(2 * times * STAGES, line[i]);
	}
	for (int i = SIDES; i < 8; i++)
		EXPECT_EQ(0, line[i]);
}

TEST_F_TIMEOUT(stress, atomics_in_ram, 2 * CDM_TIMEOUT)
{
	add_together(_metadata, self->dev, self->counter);
}

TEST_F_TIMEOUT(stress, atomics_on_device, 2 * CDM_TIMEOUT)
{
	self->counter[0] = 1;
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, self->counter, PAGE));
	add_together(_metadata, self->dev, self->counter);
	EXPECT_EQ(1, cdm_pages_on((char *)self->counter, PAGE, self->a.nid));
}

#define PLANTERS	2	/* threads, and jobs */
#define MAX_NODES	(2 * PLANTERS * 20000)

struct planter {
	__u64 *root;
	struct cdm_accel_job_node *node;
	long nr;
	long inserted;
};

static void *planter_fn(void *arg)
{
	struct planter *planter = arg;

	for (long i = 0; i < planter->nr; i++)
		planter->inserted += tree_insert(planter->root,
						 &planter->node[i]);
	return NULL;
}

/*
 * Threads and jobs build a tree of @node, each with its part of the nodes. There
 * are @keys different ones.
 */
static void plant(struct __test_metadata *_metadata, struct cdm_accel *dev,
		  __u64 *root, struct cdm_accel_job_node *node, long nr, long keys)
{
	struct planter planter[PLANTERS] = {};
	long inserted = 0, missing = 0;
	pthread_t thread[PLANTERS];
	struct cdm_accel_wait done;
	__u32 id[PLANTERS];

	*root = 0;
	nr /= 2 * PLANTERS;
	for (int i = 0; i < PLANTERS; i++) {
		planter[i].root = root;
		planter[i].node = node + 2 * i * nr;
		planter[i].nr = nr;
		ASSERT_EQ(0, cdm_accel_tree_insert(dev, root,
						   node + (2 * i + 1) * nr, nr,
						   &id[i]));
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, planter_fn,
					    &planter[i]));
	}
	for (int i = 0; i < PLANTERS; i++) {
		pthread_join(thread[i], NULL);
		inserted += planter[i].inserted;
		EXPECT_EQ(0, accel_end(dev, id[i], &done));
		inserted += done.result;
	}
	EXPECT_EQ(keys, inserted);
	EXPECT_EQ(keys, tree_size(*root, 0, keys - 1));
	for (long key = 0; key < keys; key++)
		missing += !tree_has(*root, key);
	EXPECT_EQ(0, missing);
}

/* In no order, and a quarter of the keys is there twice. */
static long mixed_keys(struct cdm_accel_job_node *node, long nr)
{
	memset(node, 0, nr * sizeof(*node));
	for (long i = 0; i < nr; i++)
		node[i].key = i * 7919 % (nr * 3 / 4);
	return nr * 3 / 4;
}

/* All parties in step: they meet at the same end of what becomes a list. */
static long rising_keys(struct cdm_accel_job_node *node, long nr)
{
	long part = nr / (2 * PLANTERS);

	memset(node, 0, nr * sizeof(*node));
	for (long i = 0; i < nr; i++)
		node[i].key = i % part * 2 * PLANTERS + i / part;
	return nr;
}

TEST_F_TIMEOUT(stress, tree, CDM_TIMEOUT)
{
	size_t size = (MAX_NODES * sizeof(struct cdm_accel_job_node) / PAGE + 1) *
		      PAGE;
	struct cdm_accel_job_node *node = (void *)cdm_map(size);
	long few = effort(6000, 2000);

	plant(_metadata, self->dev, self->counter, node, MAX_NODES,
	      mixed_keys(node, MAX_NODES));
	for (int i = 0; i < 4; i++)
		plant(_metadata, self->dev, self->counter, node, few,
		      rising_keys(node, few));
	/* And with half of it there. */
	ASSERT_EQ(0, accel_scatter(self->dev, (char *)node, size));
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, self->counter, PAGE));
	plant(_metadata, self->dev, self->counter, node, MAX_NODES,
	      mixed_keys(node, MAX_NODES));
	for (int i = 0; i < 4; i++)
		plant(_metadata, self->dev, self->counter, node, few,
		      rising_keys(node, few));
}

/* Nonsense */

#define ARENA		(256 * 1024UL)
#define BATCH		16

/*
 * Where fuzzed jobs may write is an arena between inaccessible pages. They know
 * of other memory, but may only read it.
 */
struct fuzz {
	struct accel_pci pci;
	__u64 seed;
	char *arena;
	char *canary;		/* read-only */
	char *device_canary;	/* the same on the device */
};

static __u64 fuzz_random(struct fuzz *fuzz, __u64 range)
{
	fuzz->seed ^= fuzz->seed << 13;
	fuzz->seed ^= fuzz->seed >> 7;
	fuzz->seed ^= fuzz->seed << 17;
	return range ? (fuzz->seed >> 11) % range : fuzz->seed;
}

static __u64 fuzz_address(struct fuzz *fuzz)
{
	static const __u64 odd[] = {
		0, 1, 1ULL << 47, 1ULL << 48, ~0ULL, 0xffff888000000000,
	};
	__u64 at = fuzz_random(fuzz, ARENA) & ~7ULL;

	switch (fuzz_random(fuzz, 16)) {
	case 0:
		return va(fuzz->canary) + at % PAGE;
	case 1:
		return va(fuzz->device_canary) + at % PAGE;
	case 2:
		return va(fuzz->arena) - PAGE + at % (2 * PAGE);
	case 3:
		return va(fuzz->arena) + at + fuzz_random(fuzz, 8);
	case 4:
		return odd[fuzz_random(fuzz, ARRAY_SIZE(odd))];
	case 5:
		return fuzz_random(fuzz, 0);
	default:
		return va(fuzz->arena) + at;
	}
}

static __u64 fuzz_size(struct fuzz *fuzz)
{
	switch (fuzz_random(fuzz, 12)) {
	case 0:
		return fuzz_random(fuzz, 0);
	case 1:
		return 1ULL << fuzz_random(fuzz, 64);
	case 2:
		return -1ULL << fuzz_random(fuzz, 64);
	case 3:
		return fuzz_random(fuzz, ARENA);
	default:
		return fuzz_random(fuzz, 512) * 8;
	}
}

/* Which arguments of a kernel are addresses; the others are sizes. */
static const __u8 pointers[] = {
	[CDM_ACCEL_JOB_FILL] = 1,
	[CDM_ACCEL_JOB_SUM] = 1,
	[CDM_ACCEL_JOB_SAXPY] = 1 | 2,
	[CDM_ACCEL_JOB_MATMUL] = 1 | 2 | 4,
	[CDM_ACCEL_JOB_HISTOGRAM] = 1 | 4,
	[CDM_ACCEL_JOB_CRC32] = 1,
	[CDM_ACCEL_JOB_BFS] = 1 | 2,
	[CDM_ACCEL_JOB_TREE_INSERT] = 1 | 2,
	[CDM_ACCEL_JOB_ATOMIC_ADD] = 1,
	[CDM_ACCEL_JOB_COPY] = 1 | 2,
};

/* Every second one is nearly right. */
static unsigned int fuzz_job(struct fuzz *fuzz, __u64 *args)
{
	bool near = fuzz_random(fuzz, 2);
	unsigned int kernel = fuzz_random(fuzz, ARRAY_SIZE(pointers));

	for (int i = 0; i < CDM_ACCEL_NR_ARGS; i++) {
		bool pointer = near ? pointers[kernel] >> i & 1 :
				      fuzz_random(fuzz, 2);

		args[i] = pointer ? fuzz_address(fuzz) : fuzz_size(fuzz);
	}
	if (near || fuzz_random(fuzz, 4))
		return kernel;
	return fuzz_random(fuzz, 2) ? fuzz_random(fuzz, 64) :
				      fuzz_random(fuzz, 0);
}

static bool fuzz_status_is_known(int status)
{
	switch (status) {
	case 0:
	case -EFAULT:
	case -EINVAL:
	case -ENOSPC:
	case -ECANCELED:
		return true;
	}
	return false;
}

/* Some jobs: as many as the driver takes, but none for longer than a moment. */
static long fuzz_batch(struct fuzz *fuzz, struct cdm_accel *dev)
{
	__u64 args[CDM_ACCEL_NR_ARGS];
	__u32 id[BATCH];
	long bad = 0;
	int nr = 0;

	for (int i = 0; i < BATCH; i++) {
		unsigned int kernel = fuzz_job(fuzz, args);
		int err;

		err = cdm_accel_submit(dev, kernel, args, CDM_ACCEL_NR_ARGS,
				       &id[nr]);
		if (kernel >= ARRAY_SIZE(pointers))
			bad += err != -EINVAL;
		else
			bad += err && err != -EAGAIN;
		nr += !err;
	}
	for (int i = 0; i < nr; i++) {
		struct cdm_accel_wait done = {};
		int err = cdm_accel_wait(dev, id[i], 20, &done);

		if (err == -ETIME) {
			cdm_accel_cancel(dev, id[i]);
			err = cdm_accel_wait(dev, id[i], ACCEL_MS, &done);
		}
		bad += err || !fuzz_status_is_known(done.status);
	}
	return bad;
}

static int fuzz_fn(struct cdm_child *me, void *arg)
{
	struct fuzz *fuzz = arg;
	struct accel own = { .pci = fuzz->pci };
	long bad = 0;

	fuzz->arena = accel_map_guarded(ARENA);
	fuzz->canary = accel_map_guarded(PAGE);
	fuzz->device_canary = accel_map_guarded(PAGE);
	if (accel_open(&own, 0))
		return 1;
	cdm_fill(fuzz->arena, ARENA, SEED);
	cdm_fill(fuzz->canary, PAGE, SEED + 1);
	cdm_fill(fuzz->device_canary, PAGE, SEED + 2);
	accel_scatter(own.dev, fuzz->arena, ARENA);
	cdm_accel_to_device(own.dev, fuzz->device_canary, PAGE);
	mprotect(fuzz->canary, PAGE, PROT_READ);
	mprotect(fuzz->device_canary, PAGE, PROT_READ);
	for (int i = 0; i < effort(10000, 1000); i += BATCH)
		bad += fuzz_batch(fuzz, own.dev);
	if (bad)
		fprintf(stderr, "# %ld jobs ended oddly\n", bad);
	bad += cdm_wrong(fuzz->canary, PAGE, SEED + 1);
	bad += cdm_wrong(fuzz->device_canary, PAGE, SEED + 2);
	/* It is still good for a job that is right. */
	bad += !!accel_fill(own.dev, fuzz->arena, 1, ARENA);
	bad += cpu_sum(fuzz->arena, ARENA) != ARENA / 8;
	return bad ? 2 : 0;
}

TEST_F_TIMEOUT(stress, fuzz, 4 * CDM_TIMEOUT)
{
	struct fuzz fuzz = { .pci = self->a.pci, .seed = 88172645463325252 };
	/* What no job of the child may even see. */
	char *ram = cdm_map(ARENA), *device = cdm_map(ARENA);
	struct cdm_child child;

	cdm_fill(ram, ARENA, SEED);
	cdm_fill(device, ARENA, SEED + 1);
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, device, ARENA));
	ASSERT_EQ(0, cdm_start(&child, fuzz_fn, &fuzz));
	EXPECT_EQ(0, cdm_wait(&child));
	EXPECT_EQ(0, cdm_wrong(ram, ARENA, SEED));
	EXPECT_EQ(0, cdm_wrong(device, ARENA, SEED + 1));
	EXPECT_EQ(cpu_sum(ram, ARENA), accel_sum(self->dev, ram, ARENA));
}

/* Faults of the device */

TEST_F_TIMEOUT(stress, hang, CDM_TIMEOUT)
{
	__u32 hung, id;

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, accel_inject(&self->a.pci, "hang"));
		ASSERT_EQ(0, accel_endless(self->dev, self->counter, &hung));
		EXPECT_EQ(-ETIME, cdm_accel_wait(self->dev, hung, 300, NULL));
		EXPECT_TRUE(accel_frozen(self->counter));
		/* It is alone in this. */
		ASSERT_EQ(0, accel_endless(self->dev, self->counter + 1, &id));
		EXPECT_TRUE(accel_counts(self->counter + 1));
		EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, hung));
		EXPECT_EQ(-ECANCELED, accel_cancel(self->dev, id));
	}
	/* Nor does it keep its file open. */
	ASSERT_EQ(0, accel_inject(&self->a.pci, "hang"));
	ASSERT_EQ(0, accel_endless(self->dev, self->counter, &hung));
	accel_close(&self->a);
	ASSERT_EQ(0, accel_open(&self->a, 0));
	EXPECT_EQ(0, accel_fill(self->a.dev, self->counter, 1, PAGE));
}

TEST_F_TIMEOUT(stress, lost_interrupts, CDM_TIMEOUT)
{
	static const char * const faults[] = {
		"lost_irq 1", "lost_irq 1", "lost_irq 2", "lost_irq 5",
	};
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	for (int i = 0; i < ARRAY_SIZE(faults); i++) {
		ASSERT_EQ(0, accel_inject(&self->a.pci, faults[i]));
		EXPECT_EQ(cpu_sum(addr, PAGE), accel_sum(self->dev, addr, PAGE));
	}
	/* Those of page faults, too. */
	ASSERT_EQ(0, accel_inject(&self->a.pci, "lost_irq 3"));
	EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(self->dev, addr, SIZE));
}

TEST_F(stress, unknown_faults)
{
	static const char * const faults[] = {
		"nonsense", "lost_irq x", "bad_page", "bad_page x",
		"bad_page 0x1000",	/* which is RAM */
	};

	for (int i = 0; i < ARRAY_SIZE(faults); i++)
		EXPECT_GT(0, accel_inject(&self->a.pci, faults[i]));
	EXPECT_EQ(0, accel_fill(self->dev, self->counter, 1, PAGE));
}

TEST_F(stress, stats)
{
	static const char * const names[] = {
		"jobs", "slices", "faults", "tlb_misses", "invals", "copied",
	};
	long before[ARRAY_SIZE(names)];
	char *addr = cdm_map(SIZE);

	cdm_fill(addr, SIZE, SEED);
	for (int i = 0; i < ARRAY_SIZE(names); i++) {
		before[i] = accel_stat(&self->a.pci, names[i]);
		EXPECT_LE(0, before[i]);
	}
	accel_sum(self->dev, addr, SIZE);
	cdm_accel_to_device(self->dev, addr, SIZE);
	accel_sum(self->dev, addr, SIZE);
	EXPECT_EQ(before[0] + 2, accel_stat(&self->a.pci, "jobs"));
	/* Translations for 2 MiB and larger folios save a lot, but not all. */
	for (int i = 1; i < 5; i++)
		EXPECT_LT(before[i], accel_stat(&self->a.pci, names[i]));
	EXPECT_LE(before[5], accel_stat(&self->a.pci, "copied"));
}

/* Some MiB more than are free. */
static int recall_some(struct accel *a)
{
	return accel_recall(&a->pci, cdm_node_meminfo(a->nid, "MemFree") / 4 +
				     4 * MIB / PAGE);
}

/* First claim: the owner gets its memory, the tenants keep their data. */
TEST_F_TIMEOUT(stress, recall, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE), *shared = cdm_map_shared(SIZE);

	cdm_fill(addr, SIZE, SEED);
	cdm_fill(shared, SIZE, SEED + 1);
	ASSERT_EQ(0, cdm_leave_node(self->a.nid, 16));
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, addr, SIZE));
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, shared, SIZE));
	EXPECT_EQ(0, recall_some(&self->a));
	EXPECT_GT(2 * PAGES, cdm_pages_on(addr, SIZE, self->a.nid) +
			     cdm_pages_on(shared, SIZE, self->a.nid));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_EQ(0, cdm_wrong(shared, SIZE, SEED + 1));
	EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(self->dev, addr, SIZE));
	/* More than there is. */
	EXPECT_GT(0, accel_recall(&self->a.pci,
				  self->a.info.mem_size / PAGE + 1));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_EQ(0, cdm_wrong(shared, SIZE, SEED + 1));
}

/* The driver comes and goes */

TEST_F_TIMEOUT(stress, unbind_and_bind, CDM_TIMEOUT)
{
	struct pollfd pfd = {
		.fd = cdm_accel_fd(self->dev),
		.events = POLLIN,
	};
	struct cdm_accel_info info;
	char *addr = cdm_map(SIZE);
	struct cdm_accel *dev;
	__u32 running, id;

	cdm_fill(addr, SIZE, SEED);
	ASSERT_EQ(0, cdm_accel_to_device(self->dev, addr, SIZE));
	ASSERT_EQ(0, accel_endless(self->dev, self->counter, &running));
	ASSERT_EQ(0, accel_unbind(&self->a.pci));
	EXPECT_TRUE(accel_is_gone(&self->a));
	EXPECT_TRUE(accel_frozen(self->counter));
	EXPECT_EQ(-1, accel_index(&self->a.pci));
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	/* By its status, or because there is nobody left to ask. */
	EXPECT_EQ(-ENODEV, accel_end(self->dev, running, NULL));
	EXPECT_EQ(-ENODEV, cdm_accel_fill(self->dev, addr, 1, SIZE, &id));
	EXPECT_EQ(-ENODEV, cdm_accel_cancel(self->dev, running));
	EXPECT_EQ(-ENODEV, cdm_accel_info(self->dev, &info));
	EXPECT_EQ(-ENODEV, cdm_accel_to_device(self->dev, addr, SIZE));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams()));

	ASSERT_EQ(0, accel_bind(&self->a.pci));
	/* The old file is of the old device. */
	EXPECT_EQ(-ENODEV, cdm_accel_fill(self->dev, addr, 1, SIZE, &id));
	dev = self->dev;
	ASSERT_EQ(0, accel_open(&self->a, 0));
	cdm_accel_close(dev);
	EXPECT_TRUE(cdm_state_has("has_coherent_device", self->a.nid));
	EXPECT_EQ(cpu_sum(addr, SIZE), accel_sum(self->a.dev, addr, SIZE));
	EXPECT_EQ(0, cdm_accel_to_device(self->a.dev, addr, SIZE));
	EXPECT_EQ(PAGES, cdm_pages_on(addr, SIZE, self->a.nid));
}

static void *waiter_fn(void *arg)
{
	return (void *)(long)cdm_accel_wait(arg, 0, ACCEL_MS, NULL);
}

/* Who sleeps in a call meanwhile is woken up. */
TEST_F_TIMEOUT(stress, unbind_with_waiters, CDM_TIMEOUT)
{
	pthread_t thread[3];
	__u32 id;

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, accel_endless(self->dev, self->counter + i, &id));
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, waiter_fn,
					    self->dev));
	}
	usleep(200000);
	ASSERT_EQ(0, accel_unbind(&self->a.pci));
	for (int i = 0; i < 3; i++) {
		void *ret;

		pthread_join(thread[i], &ret);
		/* It got a job that ended with -ENODEV, or no more than that. */
		EXPECT_TRUE(!ret || (long)ret == -ENODEV);
	}
}

struct tenant {
	struct accel_pci pci;
	int nid;
};

/* Uses the device until it is gone, then looks after its data. */
static int tenant_fn(struct cdm_child *me, void *arg)
{
	struct tenant *tenant = arg;
	struct accel own = { .pci = tenant->pci };
	char *addr = cdm_map(SIZE), *huge = cdm_map_huge(SIZE);
	char *shared = cdm_map_shared(SIZE);
	int err = 0;

	cdm_fill(addr, SIZE, SEED);
	cdm_fill(huge, SIZE, SEED + 1);
	cdm_fill(shared, SIZE, SEED + 2);
	if (accel_open(&own, CDM_ACCEL_MIGRATE_ON_FAULT) ||
	    cdm_accel_to_device(own.dev, addr, SIZE) ||
	    cdm_accel_to_device(own.dev, huge, SIZE) ||
	    cdm_accel_to_device(own.dev, shared, SIZE))
		return 1;
	cdm_say(me, 0);
	while (!err) {
		__u64 want = cpu_sum(addr, SIZE);
		struct cdm_accel_wait done;

		err = RUN(own.dev, &done, SUM, va(addr), SIZE);
		if (!err && done.result != want)
			return 2;
	}
	if (err != -ENODEV)
		return 3;
	/* Only now, when all of the node is gone. */
	cdm_hear(me);
	if (cdm_wrong(addr, SIZE, SEED) || cdm_wrong(huge, SIZE, SEED + 1) ||
	    cdm_wrong(shared, SIZE, SEED + 2))
		return 4;
	if (cdm_pages_on(addr, SIZE, tenant->nid) ||
	    cdm_pages_on(huge, SIZE, tenant->nid) ||
	    cdm_pages_on(shared, SIZE, tenant->nid))
		return 5;
	return 0;
}

TEST_F_TIMEOUT(stress, unbind_under_load, 2 * CDM_TIMEOUT)
{
	struct tenant tenant = { .pci = self->a.pci, .nid = self->a.nid };
	char *file = mmap(NULL, SIZE, PROT_READ, MAP_SHARED,
			  cdm_open_big(SIZE), 0);
	struct cdm_child child[3];
	__u64 hash;

	ASSERT_NE(MAP_FAILED, file);
	hash = cdm_hash(file, SIZE);
	EXPECT_EQ(PAGES, cdm_move(file, SIZE, self->a.nid));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, cdm_start(&child[i], tenant_fn, &tenant));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, cdm_hear(&child[i]));
	/* Let all of them be at it. */
	usleep(500000);
	ASSERT_EQ(0, accel_unbind(&self->a.pci));
	EXPECT_TRUE(accel_is_gone(&self->a));
	EXPECT_EQ(0, cdm_pages_on(file, SIZE, self->a.nid));
	EXPECT_EQ(hash, cdm_hash(file, SIZE));
	for (int i = 0; i < 3; i++)
		cdm_say(&child[i], 0);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, cdm_wait(&child[i]));
}

#define ROOM_MIB	8

/*
 * The whole life, again and again. Its own huge pages leave the node with less
 * room than the tenants want, so that it is full.
 */
TEST_F_TIMEOUT(stress, cycles, 8 * CDM_TIMEOUT)
{
	int cycles = effort(100, 10);
	size_t size = 2 * ROOM_MIB * MIB;
	char *addr = cdm_map(size);
	long total = cdm_node_meminfo(self->a.nid, "MemTotal");

	cdm_fill(addr, size, SEED);
	accel_close(&self->a);
	ASSERT_EQ(0, accel_unbind(&self->a.pci));
	for (int i = 0; i < cycles; i++) {
		ASSERT_EQ(0, accel_bind(&self->a.pci));
		ASSERT_EQ(0, accel_open(&self->a, CDM_ACCEL_MIGRATE_ON_FAULT));
		ASSERT_EQ(total, cdm_node_meminfo(self->a.nid, "MemTotal"));
		ASSERT_EQ(0, cdm_leave_node(self->a.nid, ROOM_MIB));
		ASSERT_LE(0, cdm_accel_to_device(self->a.dev, addr, size));
		ASSERT_LT(0, cdm_pages_on(addr, size, self->a.nid));
		ASSERT_EQ(cpu_sum(addr, size),
			  accel_sum(self->a.dev, addr, size));
		ASSERT_EQ(0, recall_some(&self->a));
		cdm_node_hugepages(self->a.nid, 0);
		accel_close(&self->a);
		ASSERT_EQ(0, accel_unbind(&self->a.pci));
		ASSERT_EQ(0, cdm_wrong(addr, size, SEED));
		ASSERT_TRUE(accel_is_gone(&self->a));
	}
}

TEST_HARNESS_MAIN
