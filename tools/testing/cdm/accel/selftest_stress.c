// SPDX-License-Identifier: GPL-2.0
/* Both sides at the same time, and nonsense. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "selftest.h"

#define NR_PAGES	8
#define NR_SWAPS	1500

/* The device is at work on what is at @va. */
static void wait_start(__u64 va)
{
	__u64 start = 0;

	while (!read64(va))
		must_wait(&start, "the device to start");
}

static __u64 stress_va;
static int stress_over;

static bool page_is(__u64 pa, __u64 value)
{
	__u64 *p = pa_ptr(pa);

	for (unsigned int i = 0; i < PAGE / 8; i++) {
		if (get(&p[i]) != value)
			return false;
	}
	return true;
}

static void fill_page(__u64 pa, __u64 value)
{
	__u64 *p = pa_ptr(pa);

	for (unsigned int i = 0; i < PAGE / 8; i++)
		put(&p[i], value);
}

/*
 * Put another page behind an address while jobs write there. After the
 * invalidation nothing may change in the old one. Every other time, there is no
 * page behind it for a moment.
 */
static void swap_page(__u64 *pages, __u64 *spare, __u64 nr)
{
	__u32 i = rnd() % NR_PAGES;
	__u64 va = stress_va + i * PAGE, old = pages[i];

	set_pte(0, va, nr % 2 ? *spare | RW : 0);
	invalidate(0, va, va + PAGE);
	fill_page(old, ~nr);
	if (nr % 2 == 0)
		set_pte(0, va, *spare | RW);
	if (nr % 8 == 0)
		usleep(300);
	pages[i] = *spare;
	*spare = old;
}

static void *swap_pages(void *arg)
{
	__u64 pages[NR_PAGES], spare = *(__u64 *)arg;

	for (int i = 0; i < NR_PAGES; i++)
		pages[i] = backing(0, stress_va + i * PAGE);
	fill_page(spare, ~0ull);
	for (__u64 i = 0; i < NR_SWAPS; i++) {
		/* What was put there at the last turn. */
		expect(page_is(spare, i ? ~(i - 1) : ~0ull));
		swap_page(pages, &spare, i);
	}
	put(&stress_over, 1);
	return NULL;
}

static __u32 stress_job(__u64 nr)
{
	__u64 half = NR_PAGES / 2 * PAGE;
	__u64 fill[4] = { stress_va, nr, 2 * half };
	__u64 copy[4] = { stress_va, stress_va + half, half };
	__u64 saxpy[4] = { stress_va, stress_va + half, half / 4, 0 };

	if (nr % 3 == 0)
		return send_job(CDM_ACCEL_JOB_COPY, copy);
	if (nr % 3 == 1)
		return send_job(CDM_ACCEL_JOB_FILL, fill);
	return send_job(CDM_ACCEL_JOB_SAXPY, saxpy);
}

static void resume_all(void)
{
	struct cdm_accel_fault fault;

	while (take_fault(&fault))
		resume(fault.seq, 0);
}

static void wait_while_faulting(__u32 id)
{
	__u64 start = 0;

	while (!is_done(id)) {
		resume_all();
		if (!poll_irqs(1))
			must_wait(&start, "a job of the stress");
	}
	expect(!wait_done(id).status);
}

void test_inval_stress(void)
{
	__u64 spare, nr = 0;
	pthread_t thread;
	__u32 ids[4];

	start_over();
	stress_va = new_range(NR_PAGES * PAGE, 0);
	spare = new_page();
	put(&stress_over, 0);
	for (; nr < ARRAY_SIZE(ids); nr++)
		ids[nr] = stress_job(nr);
	if (pthread_create(&thread, NULL, swap_pages, &spare))
		bail("thread");
	for (; !get(&stress_over); nr++) {
		wait_while_faulting(ids[nr % ARRAY_SIZE(ids)]);
		ids[nr % ARRAY_SIZE(ids)] = stress_job(nr);
	}
	pthread_join(thread, NULL);
	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++)
		wait_while_faulting(ids[i]);
	printf("# %llu jobs, %llu faults\n", nr, dev.bar->regs.nr_faults);
}

/* Two jobs and this thread, at least a million each; nothing may be lost. */
void test_atomic_stress(void)
{
	__u64 n = 16000000, own = 0, args[4];
	__u32 ids[2];

	start_over();
	args[0] = new_range(8, 64);
	args[1] = 1;
	args[2] = n;
	for (int i = 0; i < 2; i++)
		ids[i] = send_job(CDM_ACCEL_JOB_ATOMIC_ADD, args);
	wait_start(args[0]);
	while (own < n / 4 || !is_done(ids[0]) || !is_done(ids[1])) {
		for (int i = 0; i < 1000; i++)
			__atomic_fetch_add((__u64 *)host(args[0]), 1, __ATOMIC_RELAXED);
		own += 1000;
	}
	for (int i = 0; i < 2; i++)
		expect(!wait_done(ids[i]).status);
	expect(read64(args[0]) == 2 * n + own);
}

/* The same as the device, on the same tree; true if the key is new. */
static bool insert(__u64 root, __u64 node)
{
	__u64 link = root, key = read64(node);

	for (;;) {
		__u64 child = read64(link);

		if (!child) {
			if (__atomic_compare_exchange_n((__u64 *)host(link), &child, node, false,
							__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
				return true;
			continue;
		}
		if (read64(child) == key)
			return false;
		link = child + (key > read64(child) ? 16 : 8);
	}
}

/* In order, all that insert meet at the same link. */
static __u64 new_nodes(__u64 n, __u64 keys, bool sorted, int who)
{
	__u64 va = new_range(n * 24, 8);

	for (__u64 i = 0; i < n; i++)
		write64(va + i * 24, sorted ? i * 3 + who : rnd() % keys);
	return va;
}

static __u64 count_sorted(__u64 va, __u64 min, __u64 max, bool *found)
{
	__u64 key;

	if (!va)
		return 0;
	key = read64(va);
	if (key < min || key > max) {
		expect(key >= min && key <= max);
		return 0;
	}
	found[key] = true;
	return 1 + count_sorted(read64(va + 8), min, key ? key - 1 : 0, found) +
		count_sorted(read64(va + 16), key + 1, max, found);
}

#define MAX_KEYS	6000

static void grow_tree(__u64 n, __u64 keys, bool sorted)
{
	static bool found[MAX_KEYS];
	__u64 root, nodes[3], inserted = 0, missing = 0;
	__u32 ids[2];

	start_over();
	memset(found, 0, sizeof(found));
	root = new_range(8, 0);
	for (int i = 0; i < 3; i++)
		nodes[i] = new_nodes(n, keys, sorted, i);
	for (int i = 0; i < 2; i++) {
		__u64 args[4] = { root, nodes[i], n };

		ids[i] = send_job(CDM_ACCEL_JOB_TREE_INSERT, args);
	}
	wait_start(root);
	for (__u64 i = 0; i < n; i++)
		inserted += insert(root, nodes[2] + i * 24);
	for (int i = 0; i < 2; i++)
		inserted += wait_done(ids[i]).result;
	expect(count_sorted(read64(root), 0, keys - 1, found) == inserted);
	for (int i = 0; i < 3; i++) {
		for (__u64 j = 0; j < n; j++)
			missing += !found[read64(nodes[i] + j * 24)];
	}
	expect(!missing);
}

void test_tree_stress(void)
{
	grow_tree(8000, MAX_KEYS, false);
	for (int i = 0; i < 30; i++)
		grow_tree(500, 1500, true);
}

/* Fuzz. Values that nearly make sense reach further than any others. */

static __u64 fuzz_value(void)
{
	switch (rnd() % 10) {
	case 0:
		return rnd64();
	case 1:
		return rnd() % 64;
	case 2:
		return 1ull << rnd() % 64;
	case 3:
		return -(__u64)(rnd() % 4096);
	case 4:
		return (rnd() % 4 ? RAM_HIGH_PA : RAM_PA) + rnd() % RAM_HALF;
	case 5:
		return DEV_PA + (rnd() % DEV_SIZE & ~7u);
	case 6:
		return rnd() % 100000 & ~7u;
	default:
		return WINDOW + (rnd() % (WINDOW_PAGES * PAGE) & ~7u);
	}
}

static __u64 fuzz_page(void)
{
	return (rnd() % 2 ? RAM_HIGH_PA : DEV_PA) + rnd() % 4096 * PAGE;
}

static __u64 fuzz_pte(void)
{
	__u64 flags = rnd() % 4 | (rnd() % 8 ? 0 : CDM_ACCEL_PTE_LEAF);

	return rnd() % 16 ? (fuzz_value() & ~0xfffull) | flags : rnd64();
}

/* All but the end of the link, of which there is no way back, and a long wait. */
static void fuzz_command(struct cdm_accel_cmd *cmd)
{
	cmd->op = rnd() % 16 ? rnd() % 10 : rnd();
	cmd->id = rnd() % 8 ? rnd() % 64 : rnd();
	cmd->asid = rnd() % 8 ? rnd() % 2 : rnd();
	cmd->kernel = rnd() % 16 ? rnd() % CDM_ACCEL_JOB_NR : rnd();
	for (int i = 0; i < CDM_ACCEL_NR_ARGS; i++)
		cmd->args[i] = fuzz_value();
	if (cmd->op == CDM_ACCEL_OP_INJECT) {
		cmd->args[0] = rnd() % 8;
		if (cmd->args[0] == CDM_ACCEL_INJECT_LINK_DOWN ||
		    cmd->args[0] == CDM_ACCEL_INJECT_HOLD_INVALS)
			cmd->args[0] = CDM_ACCEL_INJECT_HANG;
	}
	if (cmd->op == CDM_ACCEL_OP_COUNTERS && rnd() % 2)
		cmd->args[0] = 1;
}

static void fuzz_tables(void)
{
	for (__u64 i = 0; i < WINDOW_PAGES; i++) {
		for (__u32 asid = 0; asid < 2; asid++) {
			__u64 good = fuzz_page() | (rnd() % 3 ? RW : RO);

			set_pte(asid, WINDOW + i * PAGE, rnd() % 4 ? good : fuzz_pte());
		}
		if (i % 1000 == 999)
			invalidate(i % 2, rnd64(), rnd64());
	}
}

static void fuzz_answers(void)
{
	struct cdm_accel_fault fault;
	struct cdm_accel_note note;

	poll_done();
	while (take_fault(&fault)) {
		if (rnd() % 8)
			resume(fault.seq, rnd() % 4 ? EFAULT : 0);
	}
	while (take_note(&note))
		;
	poll_irqs(0);
}

static void expect_alive(void)
{
	__u64 args[4] = { 0, 1, 8 };

	start_over();
	args[0] = new_range(8, 0);
	expect(!run_job(CDM_ACCEL_JOB_FILL, args).status);
	expect(read64(args[0]) == 1);
}

/* Jobs may write to the very tables, which therefore are made anew by resets. */
static void fuzz(int nr)
{
	struct cdm_accel_ring *ring = &dev.bar->cmd_ring;
	__u64 start = 0;

	start_over();
	fuzz_tables();
	for (int i = 0; i < nr; i++) {
		struct cdm_accel_cmd cmd = { };

		fuzz_command(&cmd);
		dev.bar->cmd[ring->head % CDM_ACCEL_CMD_ENTRIES] = cmd;
		put(&ring->head, ring->head + 1);
		raw_bell(CDM_ACCEL_BELL_CMD);
		fuzz_answers();
		if (rnd() % 4 == 0)
			usleep(rnd() % 200);
		while (ring->head - get(&ring->tail) > CDM_ACCEL_CMD_ENTRIES - 100) {
			must_wait(&start, "the fuzzed device");
			poll_done();
		}
		start = 0;
	}
	expect_alive();
}

void test_fuzz(void)
{
	for (int i = 0; i < 20; i++)
		fuzz(500);
}
