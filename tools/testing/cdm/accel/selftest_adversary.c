// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of what the device does to find mistakes of its driver: the stray check,
 * translations that are used as long as they may be, and misdeeds of all kinds.
 */
#include <errno.h>
#include <unistd.h>

#include "selftest.h"

#define NR	2000	/* pages, more than a TLB has entries */

static int inject(__u32 what, __u64 arg)
{
	return run_op(CDM_ACCEL_OP_INJECT, 0, what, arg).status;
}

static __u64 nr_strays(void)
{
	return get(&dev.bar->regs.nr_strays);
}

/* What the process has, too. */
static void map_cpu(__u64 va, __u64 flags)
{
	set_cpu_pte(0, va, backing(0, va) | flags | USER, 12);
}

static __u32 start_counting(__u64 va)
{
	__u64 args[4] = { va, 1, 1ull << 60 }, start = 0, from = read64(va);
	__u32 id = send_job(CDM_ACCEL_JOB_ATOMIC_ADD, args);

	while (read64(va) == from)
		must_wait(&start, "a job to begin");
	return id;
}

/* The CPUs lose a page, or the right to write to it, and the device uses it on. */
static void expect_stray(__u64 va, __u64 pte)
{
	__u64 before = nr_strays();
	__u32 id;

	map_cpu(va, RW);
	id = start_counting(va);
	set_cpu_pte(0, va, pte, 12);
	expect(wait_done(id).status == -EFAULT);
	expect(nr_strays() > before);
}

/* The same of what is kept, when the device is asked to forget something else. */
static void expect_kept_stray(__u64 va, __u64 other)
{
	__u64 args[4] = { va, 1, 8 }, before = nr_strays();

	map_cpu(va, RW);
	expect(!run_job(CDM_ACCEL_JOB_FILL, args).status);
	set_cpu_pte(0, va, 0, 12);
	invalidate(0, other, other + PAGE);
	expect(nr_strays() > before);
}

void test_stray(void)
{
	__u64 va, huge, before, args[4] = { 0, 1, 8 };
	__u32 id;

	start_over();
	nr_reported();
	va = new_range(2 * PAGE, 0);
	map_cpu(va, RW);
	map_cpu(va + PAGE, RW);
	before = nr_strays();

	/* A driver that shows no page table is not checked. */
	id = start_counting(va);
	set_cpu_pte(0, va, 0, 12);
	usleep(10000);
	cancel(id);
	expect(wait_done(id).status == -ECANCELED);
	map_cpu(va, RW);

	/* What is gone for a moment is no stray. */
	show_cpu_table(0);
	id = start_counting(va);
	set_cpu_pte(0, va, 0, 12);
	usleep(20000);
	map_cpu(va, RW);
	usleep(20000);
	cancel(id);
	expect(wait_done(id).status == -ECANCELED);
	expect(nr_strays() == before);
	expect(nr_reported() == 0);

	/* Nor is a page of a huge page, or what is read of a page that is read-only. */
	huge = (va + HUGE) & ~(HUGE - 1);
	set_huge_pte(0, huge, new_huge_page() | RO);
	set_cpu_pte(0, huge, backing(0, huge) | RW | USER | CDM_ACCEL_PTE_LEAF, 21);
	args[0] = huge + 5 * PAGE;
	args[1] = PAGE;
	expect(!run_job(CDM_ACCEL_JOB_SUM, args).status);
	expect(nr_strays() == before);

	/* Somebody who wants strays waits less for them, and they are not reported. */
	expect(!inject(CDM_ACCEL_INJECT_DEAF, 1));
	expect_stray(va, 0);
	expect_stray(va, backing(0, va) | RO | USER);
	expect_stray(va, backing(0, va) | RW);
	expect_stray(va, backing(0, va + PAGE) | RW | USER);
	expect(nr_reported() == 0);

	/* A deaf device does not forget until it hears again. */
	map_cpu(va, RW);
	id = start_counting(va);
	invalidate(0, va, va + PAGE);
	before = nr_strays();
	set_cpu_pte(0, va, 0, 12);
	expect(wait_done(id).status == -EFAULT);
	expect(nr_strays() == before + 1);
	map_cpu(va, RW);
	expect(!inject(CDM_ACCEL_INJECT_DEAF, 0));

	expect_kept_stray(va, va + PAGE);
	expect_kept_stray(va, va);
	expect(!inject(CDM_ACCEL_INJECT_STRAY, 0));
	expect(nr_reported() == 3);
}

/* Until each of the units has walked for each page, once. */
static void warm_up(const __u64 *args)
{
	__u64 since = get(&dev.bar->regs.nr_tlb_misses), start = 0;
	__u32 ids[4];

	while (get(&dev.bar->regs.nr_tlb_misses) < since + dev.units * NR) {
		for (int i = 0; i < 4; i++)
			ids[i] = send_job(CDM_ACCEL_JOB_SUM, args);
		for (int i = 0; i < 4; i++)
			expect(wait_done(ids[i]).result == NR);
		must_wait(&start, "all units to have all translations");
	}
}

static void change_backing(__u64 va, __u64 value)
{
	__u64 pa = new_page();

	*(__u64 *)pa_ptr(pa) = value;
	set_pte(0, va, pa | RW);
}

/* Every translation is used until the device is told to forget it. */
void test_keep(void)
{
	__u64 args[4], va;

	start_over();
	va = new_range(NR * PAGE, 0);
	args[0] = va;
	args[1] = NR * PAGE;
	for (__u64 i = 0; i < NR; i++)
		write64(va + i * PAGE, 1);
	expect(!inject(CDM_ACCEL_INJECT_KEEP, 1));
	warm_up(args);
	for (__u64 i = 0; i < NR; i += 2)
		change_backing(va + i * PAGE, 3);
	invalidate(0, va, va + PAGE);
	expect(run_job(CDM_ACCEL_JOB_SUM, args).result == NR + 2);
	invalidate(0, va, va + NR * PAGE);
	expect(run_job(CDM_ACCEL_JOB_SUM, args).result == NR * 2);
	expect(!inject(CDM_ACCEL_INJECT_KEEP, 0));
}

#define NR_JOBS	400

/* Jobs of which each gets its answer, or not. Returns how many did in their order. */
static int run_jobs(__u32 misdeed, __u64 va, int *nr_answered, int *nr_garbled)
{
	__u64 args[4] = { va, 7, 8 };
	__u32 ids[NR_JOBS];
	int in_order = 0;

	*nr_answered = 0;
	*nr_garbled = 0;
	expect(!inject(misdeed, seed));
	for (int i = 0; i < NR_JOBS; i++)
		ids[i] = send_job(CDM_ACCEL_JOB_FILL, args);
	/* Of commands that are no jobs every one has its answer. */
	run_op(CDM_ACCEL_OP_DETACH, 0, 0, 0);
	expect(!inject(misdeed, 0));
	for (int i = 0; i < NR_JOBS; i++) {
		if (!is_done(ids[i]))
			continue;
		++*nr_answered;
		*nr_garbled += wait_done(ids[i]).status && wait_done(ids[i]).status != -ECANCELED;
		in_order += i && is_done(ids[i - 1]) && order_of(ids[i]) > order_of(ids[i - 1]);
	}
	return in_order;
}

void test_misdeeds(void)
{
	struct cdm_accel_fault fault;
	struct cdm_accel_note note;
	__u64 va, start = 0;
	int nr, garbled;

	start_over();
	va = new_range(2 * PAGE, 0);
	expect(run_jobs(CDM_ACCEL_INJECT_LATE, va, &nr, &garbled) < NR_JOBS - 20);
	expect(nr == NR_JOBS && !garbled && !nr_unknown());
	run_jobs(CDM_ACCEL_INJECT_ANSWERS, va, &nr, &garbled);
	expect(nr < NR_JOBS && nr > NR_JOBS / 2 && garbled && nr_unknown());

	reset_device();
	expect(!inject(CDM_ACCEL_INJECT_EVENTS, seed));
	while (!take_fault(&fault) || !take_note(&note))
		must_wait(&start, "faults and notes of nothing");
	reset_device();
	usleep(10000);
	expect(!take_fault(&fault) && !take_note(&note));
}

/* Some of what it should write is not what it should be, until a reset. */
static bool is_scribbled(const struct cdm_accel_regs *was)
{
	const struct cdm_accel_regs *regs = &dev.bar->regs;

	return get(&regs->mem_size) != was->mem_size || get(&regs->bell_peer) != was->bell_peer ||
		get(&dev.bar->fault_ring.head) || get(&regs->error);
}

void test_scribble(void)
{
	struct cdm_accel_regs was;
	__u64 start = 0, page, args[4] = { 0, 1, PAGE };

	start_over();
	was = dev.bar->regs;
	expect(!inject(CDM_ACCEL_INJECT_SCRIBBLE, seed));
	while (!is_scribbled(&was))
		must_wait(&start, "a register that is wrong");
	reset_device();
	expect(!is_scribbled(&was));
	page = new_range(PAGE, 0);
	args[0] = page;
	expect(!run_job(CDM_ACCEL_JOB_FILL, args).status);
}

void test_dead(void)
{
	__u64 args[4] = { 0, 1, 1ull << 60 }, was, start = 0;
	__u32 tail;

	start_over();
	args[0] = new_range(PAGE, 0);
	start_counting(args[0]);
	send_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_DEAD, 0);
	do {
		must_wait(&start, "the device's death");
		was = read64(args[0]);
		usleep(20000);
	} while (read64(args[0]) != was);
	tail = post_inval(0, args[0], args[0] + PAGE);
	put(&dev.bar->regs.reset, dev.bar->regs.reset + 1);
	raw_bell(CDM_ACCEL_BELL_CMD);
	usleep(20000);
	expect(get(&dev.bar->inval_ring.tail) != tail);
	expect(get(&dev.bar->regs.reset_done) != dev.bar->regs.reset);
	/* The second one revives it. */
	reset_device();
	expect(!run_op(CDM_ACCEL_OP_NOP, 0, 0, 0).status);
}
