// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator as an adversary: it behaves as badly as hardware may, and
 * checks that each of its accesses is to a page that the process has at that moment.
 */
#include "accel_util.h"

#define SEED		59

/* The stray check sees what it is for: a device that does not forget. */
enum change {
	CHANGE_DONTNEED,
	CHANGE_MUNMAP,
	CHANGE_MPROTECT,
	CHANGE_FORK,
	CHANGE_MIGRATE,
	CHANGE_SPLIT,
};

FIXTURE(check) {
	struct accel a;
	char *addr;
	__u32 id;
};

FIXTURE_VARIANT(check) {
	enum change change;
};

FIXTURE_VARIANT_ADD(check, dontneed) { .change = CHANGE_DONTNEED };
FIXTURE_VARIANT_ADD(check, munmap) { .change = CHANGE_MUNMAP };
FIXTURE_VARIANT_ADD(check, mprotect) { .change = CHANGE_MPROTECT };
FIXTURE_VARIANT_ADD(check, fork) { .change = CHANGE_FORK };
FIXTURE_VARIANT_ADD(check, migrate) { .change = CHANGE_MIGRATE };
FIXTURE_VARIANT_ADD(check, split) { .change = CHANGE_SPLIT };

/* Wait until the device has looked at the page table of the CPUs. */
static bool checks(const struct accel_pci *pci)
{
	long from = accel_stat(pci, "checks");

	for (int i = 0; i < ACCEL_MS / 10; i++) {
		if (accel_stat(pci, "checks") > from + 2)
			return true;
		usleep(10000);
	}
	return false;
}

/* The job writes nothing new: what it strays to is not damaged. */
FIXTURE_SETUP(check)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	self->addr = cdm_map_huge(HPAGE);
	ASSERT_NE(NULL, self->addr);
	cdm_fill(self->addr, HPAGE, SEED);
	ASSERT_EQ(0, cdm_accel_atomic_add(self->a.dev,
					  (__u64 *)(self->addr + 7 * PAGE), 0,
					  ACCEL_FOREVER, &self->id));
	ASSERT_TRUE(checks(&self->a.pci));
	ASSERT_EQ(0, accel_inject(&self->a.pci, "deaf 1"));
}

FIXTURE_TEARDOWN(check)
{
	accel_inject(&self->a.pci, "deaf 0");
	self->a.strays = accel_stat(&self->a.pci, "strays");
	EXPECT_EQ(0, accel_stop(&self->a));
}

static int change_memory(struct accel *a, char *addr, enum change change)
{
	char *page = addr + 7 * PAGE;
	pid_t pid;

	switch (change) {
	case CHANGE_DONTNEED:
		return madvise(page, PAGE, MADV_DONTNEED);
	case CHANGE_MUNMAP:
		return munmap(page, PAGE);
	case CHANGE_MPROTECT:
		return mprotect(page, PAGE, PROT_READ);
	case CHANGE_FORK:
		pid = fork();
		if (!pid)
			_exit(0);
		return waitpid(pid, NULL, 0) != pid;
	case CHANGE_MIGRATE:
		return cdm_accel_to_device(a->dev, addr, HPAGE);
	default:
		/* A page beside it first, which splits the huge page. */
		return madvise(addr + 5 * PAGE, PAGE, MADV_DONTNEED) ||
		       madvise(addr, HPAGE, MADV_DONTNEED);
	}
}

TEST_F_TIMEOUT(check, sees_what_is_not_forgotten, CDM_TIMEOUT)
{
	long strays = accel_stat(&self->a.pci, "strays");

	ASSERT_EQ(0, change_memory(&self->a, self->addr, variant->change));
	EXPECT_EQ(-EFAULT, accel_end(self->a.dev, self->id, NULL));
	EXPECT_LT(strays, accel_stat(&self->a.pci, "strays"));
}

/* Processes that do what they like with memory that jobs are at work on. */
#define WORKERS		3
#define ROUNDS		30
#define AREA		(3 * HPAGE)
#define OWN_SIZE	(16 * PAGE)
#define MAX_IDS		6

FIXTURE(adversary) {
	struct accel a;
	struct cdm_child worker[WORKERS];
	struct cdm_child bystander;
};

FIXTURE_VARIANT(adversary) {
	const char *mode;
	bool honest;	/* what the device answers is true */
};

FIXTURE_VARIANT_ADD(adversary, keep) { .mode = "keep", .honest = true };
FIXTURE_VARIANT_ADD(adversary, late) { .mode = "late", .honest = true };
FIXTURE_VARIANT_ADD(adversary, answers) { .mode = "answers" };
FIXTURE_VARIANT_ADD(adversary, events) { .mode = "events", .honest = true };
FIXTURE_VARIANT_ADD(adversary, scribble) { .mode = "scribble" };
FIXTURE_VARIANT_ADD(adversary, dead) { .mode = "dead" };

struct worker {
	struct accel a;
	bool honest;
	unsigned int number;
	char *area;		/* its jobs are at work there */
	char *own;		/* nobody but itself changes what is there */
	char *canary;		/* it tells the device nothing of that */
	__u32 ids[MAX_IDS];
	unsigned int nr_ids;
	__u64 state;		/* of the random numbers */
};

static __u32 rnd(struct worker *w, __u32 n)
{
	w->state = w->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (w->state >> 33) % n;
}

/* A part of the area: often of a huge page, sometimes all of one. */
static char *part(struct worker *w, size_t *size)
{
	__u32 first = rnd(w, AREA / PAGE), nr = 1 + rnd(w, rnd(w, 2) ? 8 : 512);

	if (nr > AREA / PAGE - first)
		nr = AREA / PAGE - first;
	if (!rnd(w, 8)) {
		first = first / 512 * 512;
		nr = 512;
	}
	*size = nr * PAGE;
	return w->area + first * PAGE;
}

static char *map_at(char *addr, size_t size)
{
	addr = mmap(addr, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (addr != MAP_FAILED)
		madvise(addr, size, MADV_HUGEPAGE);
	return addr;
}

/* The pages go elsewhere, and others come in their place. */
static void move_away(char *addr, size_t size)
{
	char *to = cdm_map(size);

	if (mremap(addr, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		return;
	map_at(addr, size);
	munmap(to, size);
}

static void fork_off(struct worker *w, char *addr, size_t size)
{
	pid_t pid = fork();

	if (!pid) {
		for (size_t off = 0; off < size; off += 4 * PAGE)
			addr[off] = off;
		_exit(0);
	}
	if (rnd(w, 2))
		addr[size - 1] = 1;
	waitpid(pid, NULL, 0);
}

static void change_part(struct worker *w)
{
	size_t size;
	char *addr = part(w, &size);

	switch (rnd(w, 13)) {
	case 0:
		madvise(addr, size, MADV_DONTNEED);
		break;
	case 1:
		madvise(addr, size, MADV_FREE);
		break;
	case 2:
		munmap(addr, size);
		map_at(addr, size);
		break;
	case 3:
		move_away(addr, size);
		break;
	case 4:
		mprotect(addr, size, rnd(w, 2) ? PROT_READ : PROT_NONE);
		mprotect(addr, size, PROT_READ | PROT_WRITE);
		break;
	case 5:
		fork_off(w, addr, size);
		break;
	case 6:
		cdm_move(addr, size, rnd(w, 2) ? w->a.nid : w->a.ram);
		break;
	case 7:
		cdm_accel_to_device(w->a.dev, addr, size);
		break;
	case 8:
		cdm_accel_to_ram(w->a.dev, addr, size);
		break;
	case 9:
		madvise(addr, size, MADV_PAGEOUT);
		break;
	case 10:
		madvise(addr, size, MADV_COLD);
		break;
	case 11:
		madvise(w->area, AREA, MADV_COLLAPSE);
		break;
	default:
		cdm_touch(addr, size);
	}
}

static int start_job(struct worker *w)
{
	size_t size, other;
	char *addr = part(w, &size), *from = part(w, &other);
	__u32 *id = &w->ids[w->nr_ids];
	int err;

	if (other > size)
		other = size;
	switch (rnd(w, 4)) {
	case 0:
		err = cdm_accel_atomic_add(w->a.dev, (__u64 *)addr, 1,
					   ACCEL_FOREVER, id);
		break;
	case 1:
		err = cdm_accel_fill(w->a.dev, addr, 5, size, id);
		break;
	case 2:
		err = cdm_accel_sum(w->a.dev, (__u64 *)addr, size, id);
		break;
	default:
		err = cdm_accel_copy(w->a.dev, addr, from, other, id);
	}
	w->nr_ids += !err;
	return err;
}

/* Whatever a device says, it is a status; an honest one has reasons for few of them. */
static bool is_allowed(const struct worker *w, int status)
{
	if (!w->honest)
		return status <= 0 && status >= -4095 && status != -ETIME;
	return !status || status == -ECANCELED || status == -EFAULT;
}

/* End the job that was started first. */
static int end_job(struct worker *w)
{
	struct cdm_accel_wait done = {};
	__u32 id = w->ids[0];
	int err;

	memmove(w->ids, w->ids + 1, --w->nr_ids * sizeof(id));
	cdm_accel_cancel(w->a.dev, id);
	err = cdm_accel_wait(w->a.dev, id, ACCEL_MS, &done);
	return is_allowed(w, err ?: done.status) ? 0 : -EBADE;
}

/* Memory that only the device changes has what it has written. */
static int compute(struct worker *w, __u64 value)
{
	int err;

	err = accel_fill(w->a.dev, w->own, value, OWN_SIZE);
	if (!err && rnd(w, 2))
		cdm_move(w->own, OWN_SIZE, rnd(w, 2) ? w->a.nid : w->a.ram);
	if (!err)
		err = accel_fill(w->a.dev, w->own, value + 1, OWN_SIZE / 2);
	if (err)
		return err;
	return cpu_sum(w->own, OWN_SIZE) != OWN_SIZE / 16 * (2 * value + 1);
}

static int reopen(struct worker *w)
{
	accel_close(&w->a);
	w->nr_ids = 0;
	return accel_open(&w->a, rnd(w, 4));
}

static int work(struct worker *w)
{
	int err = 0;

	for (int i = 0; !err && i < ROUNDS; i++) {
		if (w->nr_ids < MAX_IDS)
			err = start_job(w);
		change_part(w);
		if (!err && w->nr_ids && !rnd(w, 3))
			err = end_job(w);
		if (!err && w->honest && !rnd(w, 8))
			err = compute(w, i);
		if (!err && !rnd(w, 32))
			err = reopen(w);
		/* Some end in the middle of their jobs. */
		if (!rnd(w, 4 * ROUNDS))
			break;
	}
	while (!err && w->nr_ids && rnd(w, 16))
		err = end_job(w);
	return err;
}

static int worker_fn(struct cdm_child *me, void *arg)
{
	struct worker *w = arg;
	int err;

	w->state = SEED + w->number;
	w->area = cdm_map_huge(AREA);
	w->own = cdm_map(OWN_SIZE);
	w->canary = cdm_map(HPAGE);
	cdm_fill(w->canary, HPAGE, SEED + w->number);
	if (accel_open(&w->a, rnd(w, 4)))
		return 1;
	cdm_say(me, 0);
	cdm_hear(me);
	err = work(w);
	/* A device that is lost is the end of the work, not of the process. */
	if (err && (w->honest || err != -ENODEV)) {
		fprintf(stderr, "# worker %d: %d\n", w->number, err);
		return 2;
	}
	return cdm_wrong(w->canary, HPAGE, SEED + w->number) ? 3 : 0;
}

/* Has memory on the device and in RAM, and nothing to do with jobs. */
static int bystander_fn(struct cdm_child *me, void *arg)
{
	char *ram = cdm_map(HPAGE);
	char *dev = cdm_map_on(*(int *)arg, HPAGE, SEED);

	if (!dev)
		return 1;
	cdm_fill(ram, HPAGE, SEED + 1);
	cdm_say(me, 0);
	cdm_hear(me);
	return cdm_wrong(dev, HPAGE, SEED) ||
	       cdm_wrong(ram, HPAGE, SEED + 1);
}

FIXTURE_SETUP(adversary)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	ASSERT_EQ(0, cdm_start(&self->bystander, bystander_fn, &self->a.nid));
	ASSERT_EQ(0, cdm_hear(&self->bystander));
}

FIXTURE_TEARDOWN(adversary)
{
	for (int i = 0; i < WORKERS; i++)
		if (self->worker[i].pid)
			cdm_kill(&self->worker[i]);
	if (self->bystander.pid)
		cdm_kill(&self->bystander);
	EXPECT_EQ(0, accel_stop(&self->a));
}

TEST_F_TIMEOUT(adversary, nobody_suffers, 2 * CDM_TIMEOUT)
{
	struct worker w[WORKERS] = {};
	char text[32], *addr = cdm_map(PAGE);
	long before = accel_stat(&self->a.pci, "checks");

	for (int i = 0; i < WORKERS; i++) {
		w[i].a.pci = self->a.pci;
		w[i].number = i;
		w[i].honest = variant->honest;
		ASSERT_EQ(0, cdm_start(&self->worker[i], worker_fn, &w[i]));
		ASSERT_EQ(0, cdm_hear(&self->worker[i]));
	}
	for (int i = 0; i < WORKERS; i++)
		cdm_say(&self->worker[i], 0);
	/* One that is dead does not say so. */
	snprintf(text, sizeof(text), "%s %d", variant->mode, SEED);
	EXPECT_TRUE(!accel_inject(&self->a.pci, text) || !variant->honest);
	for (int i = 0; i < WORKERS; i++) {
		EXPECT_EQ(0, cdm_wait(&self->worker[i]));
		self->worker[i].pid = 0;
	}
	if (variant->honest)
		EXPECT_LT(before, accel_stat(&self->a.pci, "checks"));
	accel_close(&self->a);
	ASSERT_EQ(0, accel_unbind(&self->a.pci));
	ASSERT_EQ(0, accel_bind(&self->a.pci));
	cdm_say(&self->bystander, 0);
	EXPECT_EQ(0, cdm_wait(&self->bystander));
	self->bystander.pid = 0;
	ASSERT_EQ(0, accel_open(&self->a, 0));
	EXPECT_EQ(0, accel_fill(self->a.dev, addr, 1, PAGE));
}

TEST_HARNESS_MAIN
