// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator: memory that goes bad, and a device that is lost.
 * There is no way back from either before the next boot, so this is the last of
 * its suites, and the loss the last of its cases.
 */
#include <setjmp.h>

#include "accel_util.h"

#define SIZE	(16 * PAGE)
#define SEED	53
#define BAD	(7 * PAGE)	/* offset of the page that goes bad */

/* What a touch brings about */

static sigjmp_buf touch_env;
static bool touching;
static void *bus_addr;

/* The kernel may tell before the touch, too: there is nothing to do then. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
	if (!__atomic_load_n(&touching, __ATOMIC_SEQ_CST))
		return;
	__atomic_store_n(&bus_addr, info->si_addr, __ATOMIC_SEQ_CST);
	siglongjmp(touch_env, 1);
}

static void catch_bus(void)
{
	struct sigaction action = {
		.sa_sigaction = on_bus,
		.sa_flags = SA_SIGINFO,
	};

	sigaction(SIGBUS, &action, NULL);
}

/* The address that SIGBUS is about, or NULL if there is none. */
static void *touch(const char *addr)
{
	__atomic_store_n(&bus_addr, NULL, __ATOMIC_SEQ_CST);
	if (!sigsetjmp(touch_env, 1)) {
		__atomic_store_n(&touching, true, __ATOMIC_SEQ_CST);
		__atomic_load_n(addr, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&touching, false, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&bus_addr, __ATOMIC_SEQ_CST);
}

/* The driver may still be about to find out. Returns whether the touch told. */
static bool is_lost(const char *addr)
{
	for (int i = 0; i < ACCEL_MS / 20; i++) {
		void *at = touch(addr);

		if (at)
			return page_of(va(at)) == page_of(va(addr));
		usleep(20000);
	}
	return false;
}

static char *map_on_device(struct accel *own, bool shared)
{
	char *addr = shared ? cdm_map_shared(SIZE) : cdm_map(SIZE);

	if (!addr)
		return NULL;
	cdm_fill(addr, SIZE, SEED);
	return cdm_accel_to_device(own->dev, addr, SIZE) ? NULL : addr;
}

/* Wrong words in all pages but the one that is bad. */
static long wrong_elsewhere(const char *addr)
{
	long wrong = 0;

	for (size_t i = 0; i < SIZE / 8; i++)
		if (i * 8 / PAGE != BAD / PAGE)
			wrong += ((__u64 *)addr)[i] != cdm_word(SEED, i);
	return wrong;
}

FIXTURE(bad) {
	struct accel a;
	struct cdm_child user;
	struct cdm_child other;
};

FIXTURE_SETUP(bad)
{
	const char *missing = accel_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
}

FIXTURE_TEARDOWN(bad)
{
	if (self->user.pid)
		cdm_kill(&self->user);
	if (self->other.pid)
		cdm_kill(&self->other);
	EXPECT_EQ(0, accel_stop(&self->a));
}

/* Returns what is wrong with it, as the number of a check. */
static int page_user_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	struct cdm_accel_wait done;
	char *addr;

	catch_bus();
	if (accel_open(&own, 0))
		return 1;
	addr = map_on_device(&own, false);
	if (!addr)
		return 2;
	cdm_say(me, accel_pa(addr + BAD));
	cdm_hear(me);
	if (RUN(own.dev, &done, SUM, va(addr), SIZE) != -EHWPOISON)
		return 3;
	if (page_of(done.addr) != va(addr) + BAD)
		return 4;
	if (!is_lost(addr + BAD))
		return 5;
	if (wrong_elsewhere(addr))
		return 6;
	if (accel_sum(own.dev, addr, BAD) != cpu_sum(addr, BAD))
		return 7;
	/* By then it is no page for anybody. */
	switch (RUN(own.dev, &done, SUM, va(addr) + BAD, PAGE)) {
	case -EHWPOISON:
	case -EFAULT:
		break;
	default:
		return 8;
	}
	/* A page can be had in its place. */
	if (mmap(addr + BAD, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return 9;
	if (accel_fill(own.dev, addr, 1, SIZE) ||
	    cpu_sum(addr, SIZE) != SIZE / 8)
		return 10;
	return 0;
}

static int page_neighbour_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	char *addr;

	if (accel_open(&own, 0))
		return 1;
	addr = map_on_device(&own, false);
	if (!addr)
		return 2;
	do {
		if (accel_sum(own.dev, addr, SIZE) != cpu_sum(addr, SIZE))
			return 3;
		if (cdm_wrong(addr, SIZE, SEED))
			return 4;
		cdm_say(me, 0);
	} while (cdm_hear(me) == 1);
	return 0;
}

TEST_F_TIMEOUT(bad, page, CDM_TIMEOUT)
{
	char text[64];
	long pa;

	ASSERT_EQ(0, cdm_start(&self->other, page_neighbour_fn, &self->a.pci));
	ASSERT_EQ(0, cdm_hear(&self->other));
	ASSERT_EQ(0, cdm_start(&self->user, page_user_fn, &self->a.pci));
	pa = cdm_hear(&self->user);
	ASSERT_LT(0, pa);
	snprintf(text, sizeof(text), "bad_page 0x%lx", pa);
	ASSERT_EQ(0, accel_inject(&self->a.pci, text));
	cdm_say(&self->user, 0);
	EXPECT_EQ(0, cdm_wait(&self->user));
	self->user.pid = 0;
	/* Everybody else goes on, the device included. */
	cdm_say(&self->other, 1);
	EXPECT_EQ(0, cdm_hear(&self->other));
	cdm_say(&self->other, 0);
	EXPECT_EQ(0, cdm_wait(&self->other));
	self->other.pid = 0;
}

/* The end of the last device: others, where there are some, must go on. */
FIXTURE(lost) {
	struct accel a;
	struct cdm_child child[5];
};

FIXTURE_SETUP(lost)
{
	const char *missing = accel_missing();
	struct accel_pci pci[CDM_ACCEL_MAX_DEVICES];

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, accel_start(&self->a, 0));
	accel_close(&self->a);
	self->a.pci = pci[accel_list(pci) - 1];
	ASSERT_EQ(0, accel_open(&self->a, 0));
}

FIXTURE_TEARDOWN(lost)
{
	accel_close(&self->a);
	for (int i = 0; i < ARRAY_SIZE(self->child); i++)
		if (self->child[i].pid)
			cdm_kill(&self->child[i]);
	EXPECT_EQ(0, cdm_judge());
}

static bool all_in(const char *addr, int nid)
{
	return cdm_pages_on(addr, SIZE, nid) == SIZE / PAGE;
}

/* Has nothing on the device but jobs. */
static int bystander_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	char *addr = cdm_map(SIZE);
	__u64 counter = 0;
	__u32 id, none;

	cdm_fill(addr, SIZE, SEED);
	if (accel_open(&own, 0) || accel_endless(own.dev, &counter, &id) ||
	    !accel_counts(&counter))
		return 1;
	cdm_say(me, 0);
	cdm_hear(me);
	if (accel_end(own.dev, id, NULL) != -ENODEV)
		return 2;
	if (!accel_frozen(&counter))
		return 3;
	if (cdm_accel_fill(own.dev, addr, 1, SIZE, &none) != -ENODEV)
		return 4;
	return cdm_wrong(addr, SIZE, SEED) ? 5 : 0;
}

/* Has data in both places, and goes on without the half that is lost. */
static int survivor_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	char *addr, *shared, *ram = cdm_map(SIZE);
	__u32 id;

	catch_bus();
	cdm_fill(ram, SIZE, SEED + 1);
	if (accel_open(&own, 0))
		return 1;
	addr = map_on_device(&own, false);
	shared = map_on_device(&own, true);
	if (!addr || !shared || !all_in(addr, own.nid) ||
	    !all_in(shared, own.nid))
		return 2;
	if (cdm_accel_atomic_add(own.dev, (__u64 *)addr, 0, ACCEL_FOREVER, &id))
		return 3;
	cdm_say(me, 0);
	cdm_hear(me);
	if (accel_end(own.dev, id, NULL) != -ENODEV)
		return 4;
	for (size_t off = 0; off < SIZE; off += PAGE) {
		if (!is_lost(addr + off) || !is_lost(shared + off + 8))
			return 5;
	}
	if (cdm_wrong(ram, SIZE, SEED + 1))
		return 6;
	/* The addresses are good for something else. */
	if (mmap(addr, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return 7;
	cdm_fill(addr, SIZE, SEED);
	return cdm_wrong(addr, SIZE, SEED) ? 8 : 0;
}

/* Does not expect a signal. */
static int victim_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };
	char *addr;

	if (accel_open(&own, 0))
		return 1;
	addr = map_on_device(&own, false);
	if (!addr)
		return 2;
	cdm_say(me, 0);
	cdm_hear(me);
	for (int i = 0; i < ACCEL_MS / 20; i++) {
		touch(addr);
		usleep(20000);
	}
	return 3;
}

/* Never touches what it lost, and so need not know. */
static int sleeper_fn(struct cdm_child *me, void *arg)
{
	struct accel own = { .pci = *(struct accel_pci *)arg };

	if (accel_open(&own, 0) || !map_on_device(&own, false))
		return 1;
	cdm_say(me, 0);
	cdm_hear(me);
	return 0;
}

static bool node_goes(const struct accel *a)
{
	for (int i = 0; i < ACCEL_MS / 100; i++) {
		if (accel_is_gone(a))
			return true;
		usleep(100000);
	}
	return false;
}

/* All devices but the one that is lost. */
static void expect_others_work(struct __test_metadata *_metadata,
			       const struct accel *lost)
{
	struct accel_pci pci[CDM_ACCEL_MAX_DEVICES];
	int nr = accel_list(pci);

	for (int i = 0; i < nr; i++) {
		struct accel other = { .pci = pci[i] };
		char *addr;

		if (!strcmp(pci[i].name, lost->pci.name))
			continue;
		EXPECT_EQ(0, accel_open(&other, 0));
		addr = map_on_device(&other, false);
		EXPECT_NE(NULL, addr);
		EXPECT_TRUE(all_in(addr, other.nid));
		EXPECT_EQ(cpu_sum(addr, SIZE),
			  accel_sum(other.dev, addr, SIZE));
		accel_close(&other);
	}
}

TEST_F_TIMEOUT(lost, link, 2 * CDM_TIMEOUT)
{
	static int (* const fn[])(struct cdm_child *me, void *arg) = {
		bystander_fn, survivor_fn, victim_fn, sleeper_fn,
		accel_stuck_fn,
	};
	char *ram = cdm_map(SIZE);
	struct cdm_accel *dev;
	__u32 id;

	cdm_fill(ram, SIZE, SEED);
	for (int i = 0; i < ARRAY_SIZE(fn); i++) {
		ASSERT_EQ(0, cdm_start(&self->child[i], fn[i], &self->a.pci));
		ASSERT_EQ(0, cdm_hear(&self->child[i]));
	}
	ASSERT_EQ(0, cdm_accel_atomic_add(self->a.dev, (__u64 *)ram, 0,
					  ACCEL_FOREVER, &id));
	/* Whatever it says: there may be nobody left to answer. */
	accel_inject(&self->a.pci, "link_down");
	EXPECT_EQ(-ENODEV, accel_end(self->a.dev, id, NULL));
	EXPECT_EQ(-ENODEV, cdm_accel_fill(self->a.dev, ram, 1, SIZE, &id));
	EXPECT_EQ(0, cdm_wrong(ram, SIZE, SEED));
	for (int i = 0; i < ARRAY_SIZE(fn); i++)
		cdm_say(&self->child[i], 0);
	for (int i = 0; i < ARRAY_SIZE(fn); i++) {
		int status = cdm_wait(&self->child[i]);

		self->child[i].pid = 0;
		if (fn[i] == victim_fn)
			status = !WIFSIGNALED(status) ||
				 WTERMSIG(status) != SIGBUS;
		EXPECT_EQ(0, status);
	}
	EXPECT_TRUE(node_goes(&self->a));
	EXPECT_GT(0, cdm_accel_open(accel_index(&self->a.pci), &dev));
	expect_others_work(_metadata, &self->a);
	EXPECT_EQ(0, cdm_wrong(ram, SIZE, SEED));
	/* Not even for a driver that tries again. */
	accel_close(&self->a);
	accel_unbind(&self->a.pci);
	EXPECT_GT(0, accel_bind(&self->a.pci));
	expect_others_work(_metadata, &self->a);
}

TEST_HARNESS_MAIN
