// SPDX-License-Identifier: GPL-2.0
/* Faults, invalidations, scheduling and the ends of jobs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "selftest.h"

void test_fault(void)
{
	struct cdm_accel_fault fault;
	__u64 args[4];
	__u32 id;

	start_over();
	args[0] = new_range(3 * PAGE, 8);
	args[1] = 2 * PAGE;
	write64(args[0] + PAGE, 5);
	unmap(0, args[0], 3 * PAGE);
	id = send_job(CDM_ACCEL_JOB_SUM, args);
	for (int i = 0; i < 3; i++) {
		__u64 page = args[0] - 8 + i * PAGE;

		fault = wait_fault();
		expect(fault.addr / PAGE == page / PAGE);
		expect(!fault.asid && !fault.write && fault.id == id && fault.seq);
		expect(!is_done(id));
		/* It is still not there: the same again, as a new fault. */
		resume(fault.seq, 0);
		expect(wait_fault().addr == fault.addr);
		map_range(0, page, 1, RO);
		resume(fault.seq, 0);
		resume(fault.seq + 1, 0);
	}
	expect(wait_done(id).result == 5);
	expect(wait_done(id).nr_faults == 6);
	expect(!take_fault(&fault));
}

void test_fault_error(void)
{
	struct cdm_accel_fault fault;
	struct cdm_accel_done done;
	__u64 args[4];
	__u32 id;

	start_over();
	args[0] = new_range(2 * PAGE, 0);
	args[2] = 2 * PAGE;
	unmap(0, args[0] + PAGE, PAGE);
	id = send_job(CDM_ACCEL_JOB_FILL, args);
	fault = wait_fault();
	expect(fault.addr == args[0] + PAGE && fault.write);
	resume(fault.seq, EFAULT);
	done = wait_done(id);
	expect(done.status == -EFAULT && done.addr == fault.addr && done.nr_faults == 1);

	id = send_job(CDM_ACCEL_JOB_FILL, args);
	resume(wait_fault().seq, -ENOSPC);
	expect(wait_done(id).status == -ENOSPC);

	/* An address space that is not there any more. */
	put(&dev.bar->roots[0], 0);
	invalidate(~0u, 0, 0);
	put(&dev.bar->roots[1], 0);
	expect(wait_done(send_job_of(1, CDM_ACCEL_JOB_FILL, args)).status == -EINVAL);
}

/* A translation that was used for reading does not allow to write. */
static void write_protection(void)
{
	struct cdm_accel_fault fault;
	__u64 args[4], fill[4];
	__u32 id;

	reset_device();
	args[0] = new_range(PAGE, 0);
	args[1] = PAGE;
	map_range(0, args[0], PAGE, RO);
	for (int i = 0; i < 2 * dev.units; i++)
		expect(!run_job(CDM_ACCEL_JOB_SUM, args).status);
	fill[0] = args[0];
	fill[1] = 9;
	fill[2] = PAGE;
	id = send_job(CDM_ACCEL_JOB_FILL, fill);
	fault = wait_fault();
	expect(fault.write && fault.addr == args[0] && fault.id == id);
	expect(read64(args[0]) == 0);
	/* More rights need no invalidation. */
	map_range(0, args[0], PAGE, RW);
	resume(fault.seq, 0);
	expect(!wait_done(id).status);
	expect(read64(args[0]) == 9 && read64(args[0] + PAGE - 8) == 9);

	map_range(0, args[0], PAGE, RO);
	invalidate(0, args[0], args[0] + PAGE);
	fill[1] = 10;
	id = send_job(CDM_ACCEL_JOB_FILL, fill);
	resume(wait_fault().seq, EFAULT);
	expect(wait_done(id).status == -EFAULT);
	expect(read64(args[0]) == 9);
}

/* More than once, since which unit is taken is up to chance. */
void test_write_protection(void)
{
	start_over();
	for (int i = 0; i < 20; i++)
		write_protection();
}

/*
 * A pager: all memory of a job is unmapped, a fault maps one page with just the
 * right it needs, and takes away the one that was mapped longest ago.
 */
#define RESIDENT	12

static __u64 resident[RESIDENT];
static unsigned int next_resident;

static void page_in(const struct cdm_accel_fault *fault)
{
	__u64 *old = &resident[next_resident++ % RESIDENT];
	__u64 va = fault->addr - fault->addr % PAGE;

	if (*old)
		unmap(0, *old, PAGE);
	*old = va;
	map_range(0, va, 1, fault->write ? RW : RO);
}

static struct cdm_accel_done page_job(__u32 kernel, const __u64 *args)
{
	__u32 id = send_job(kernel, args);
	struct cdm_accel_fault fault;
	__u64 start = 0, nr_faults = 0;

	while (!is_done(id)) {
		if (!take_fault(&fault)) {
			if (!poll_irqs(1))
				must_wait(&start, "a job with faults");
			continue;
		}
		nr_faults++;
		page_in(&fault);
		resume(fault.seq, 0);
	}
	expect(wait_done(id).nr_faults == nr_faults);
	expect(nr_faults > 0);
	return wait_done(id);
}

static __u64 hidden(__u64 size)
{
	__u64 va = new_range(size, PAGE - 16);

	unmap(0, va, size);
	return va;
}

static void page_streams(void)
{
	__u64 n = 20000, a = hidden(n * 4), b = hidden(n * 4), c = hidden(2048);
	__u64 fill[4] = { a, 0x3f8000003f800000, n * 4 };	/* two times 1.0 */
	__u64 copy[4] = { b, a, n * 4 };
	__u64 saxpy[4] = { b, a, n, 0x40000000 };		/* 2.0 */
	__u64 sum[4] = { b, n * 4 };
	__u64 histogram[4] = { b, n * 4, c };

	page_job(CDM_ACCEL_JOB_FILL, fill);
	page_job(CDM_ACCEL_JOB_COPY, copy);
	page_job(CDM_ACCEL_JOB_SAXPY, saxpy);
	expect(page_job(CDM_ACCEL_JOB_SUM, sum).result == 0x4040000040400000 * (n / 2));
	page_job(CDM_ACCEL_JOB_HISTOGRAM, histogram);
	expect(read64(c) == 2 * n);
	expect(read64(c + 8 * 0x40) == 2 * n);
	expect(page_job(CDM_ACCEL_JOB_CRC32, sum).status == 0);
}

/* Ones times ones. */
static void page_matmul(void)
{
	__u64 n = 100, a = hidden(n * n * 4), c = hidden(n * n * 4);
	__u64 fill[4] = { a, 0x3f8000003f800000, n * n * 4 };
	__u64 args[4] = { c, a, a, n };
	float first, last;

	page_job(CDM_ACCEL_JOB_FILL, fill);
	page_job(CDM_ACCEL_JOB_MATMUL, args);
	read_va(c, &first, 4);
	read_va(c + (n * n - 1) * 4, &last, 4);
	expect(first == n && last == n);
}

/* Each vertex leads to the next two: v to 2v + 1 and 2v + 2. */
static void page_bfs(void)
{
	__u64 n = 1000, vertices = hidden(n * 24), edges = hidden(n * 16);
	__u64 args[4] = { vertices, hidden(n * 8), n };
	__u64 wrong = 0;

	for (__u64 i = 0; i < n; i++) {
		struct cdm_accel_job_vertex v = { 2, edges + i * 16, CDM_ACCEL_UNREACHED };

		write_va(vertices + i * 24, &v, sizeof(v));
		write64(v.edges, vertices + (2 * i + 1) % n * 24);
		write64(v.edges + 8, vertices + (2 * i + 2) % n * 24);
	}
	expect(page_job(CDM_ACCEL_JOB_BFS, args).result == n);
	for (__u64 i = 0; i < n; i++) {
		__u64 level = 63 - __builtin_clzll(i + 1);

		wrong += read64(vertices + i * 24 + 16) > level;
	}
	expect(!wrong);
}

static void page_tree(void)
{
	__u64 n = 400, root = hidden(8), nodes = hidden(n * 24), atomic[4] = { root, 1, 1 };
	__u64 args[4] = { root, nodes, n };

	for (__u64 i = 0; i < n; i++)
		write64(nodes + i * 24, i * 7919 % 397);
	expect(page_job(CDM_ACCEL_JOB_TREE_INSERT, args).result == 397);
	unmap(0, root, 8);
	page_job(CDM_ACCEL_JOB_ATOMIC_ADD, atomic);
}

void test_pager(void)
{
	start_over();
	memset(resident, 0, sizeof(resident));
	page_streams();
	page_matmul();
	page_bfs();
	page_tree();
}

/* End one of the jobs whose fault is not in the full ring; returns its index. */
static int cancel_unreported(const __u32 *ids, int nr)
{
	bool reported[nr];

	memset(reported, 0, sizeof(reported));
	for (int i = 0; i < CDM_ACCEL_FAULT_ENTRIES; i++)
		reported[dev.bar->fault[i].id - ids[0]] = true;
	for (int i = nr / 2; i < nr; i++) {
		if (reported[i])
			continue;
		cancel(ids[i]);
		expect(wait_done(ids[i]).status == -ECANCELED);
		return i;
	}
	bail("fault ring");
}

/* More faults than the ring holds: none gets lost, none comes twice. */
void test_fault_ring_full(void)
{
	enum { NR = 3 * CDM_ACCEL_FAULT_ENTRIES };
	struct cdm_accel_ring *ring = &dev.bar->fault_ring;
	__u64 before, va, start = 0;
	__u32 ids[NR];
	int cancelled;

	start_over();
	before = get(&dev.bar->regs.nr_faults);
	va = new_range(NR * PAGE, 0);
	unmap(0, va, NR * PAGE);
	for (int i = 0; i < NR; i++) {
		__u64 args[4] = { va + i * PAGE, 1, 8 };

		ids[i] = send_job(CDM_ACCEL_JOB_FILL, args);
	}
	while (get(&dev.bar->regs.nr_faults) - before != NR)
		must_wait(&start, "all jobs to fault");
	expect(get(&ring->head) == CDM_ACCEL_FAULT_ENTRIES);
	cancelled = cancel_unreported(ids, NR);
	map_range(0, va, NR * PAGE, RW);
	for (int i = 0; i < NR - 1; i++)
		resume(wait_fault().seq, 0);
	for (int i = 0; i < NR; i++) {
		if (i == cancelled)
			continue;
		expect(!wait_done(ids[i]).status);
		expect(wait_done(ids[i]).nr_faults == 1);
		expect(read64(va + i * PAGE) == 1);
	}
}

/* As many jobs wait as there are units, and more. */
void test_parked(void)
{
	__u64 args[4], sum[4], before, start = 0;
	__u32 ids[8];

	start_over();
	before = get(&dev.bar->regs.nr_faults);
	args[0] = new_range(PAGE, 0);
	args[2] = 8;
	unmap(0, args[0], PAGE);
	sum[0] = new_range(PAGE, 0);
	sum[1] = PAGE;
	for (int i = 0; i < 8; i++)
		ids[i] = send_job(CDM_ACCEL_JOB_FILL, args);
	for (int i = 0; i < 20; i++)
		expect(!run_job(CDM_ACCEL_JOB_SUM, sum).status);
	/* A thread of the device may have taken one and not come to it yet. */
	while (get(&dev.bar->regs.nr_faults) - before != 8)
		must_wait(&start, "all jobs to fault");
	map_range(0, args[0], PAGE, RW);
	for (int i = 0; i < 8; i++) {
		expect(!is_done(ids[i]));
		resume(wait_fault().seq, 0);
	}
	for (int i = 0; i < 8; i++)
		expect(!wait_done(ids[i]).status);
}

static __u64 sum_of(__u32 asid, __u64 va)
{
	__u64 args[4] = { va, 8 };

	return wait_done(send_job_of(asid, CDM_ACCEL_JOB_SUM, args)).result;
}

/* Each of some pages gets another page behind it. */
static void swap_pages(__u32 asid, __u64 va, int nr)
{
	for (int i = 0; i < nr; i++) {
		__u64 page = new_page();

		*(__u64 *)pa_ptr(page) = 100 + i;
		set_pte(asid, va + i * PAGE, page | RW);
	}
}

static bool all_are(__u32 asid, __u64 va, int nr, __u64 first)
{
	bool ok = true;

	/* Often enough that all units have seen them. */
	for (int turn = 0; turn < 4; turn++) {
		for (int i = 0; i < nr; i++)
			ok = ok && sum_of(asid, va + i * PAGE) == first + i;
	}
	return ok;
}

void test_invalidate(void)
{
	__u64 va, other;
	__u32 tail;

	start_over();
	va = new_range_of(0, 10 * PAGE, 0);
	other = new_range_of(1, 10 * PAGE, 0);
	for (int i = 0; i < 10; i++) {
		*(__u64 *)pa_ptr(backing(0, va + i * PAGE)) = i;
		*(__u64 *)pa_ptr(backing(1, other + i * PAGE)) = i + 10;
	}
	expect(all_are(0, va, 10, 0));
	expect(all_are(1, other, 10, 10));
	swap_pages(0, va, 10);
	invalidate(0, va + PAGE, va + 3 * PAGE);
	expect(all_are(0, va + PAGE, 2, 101));
	invalidate(0, va, va + 10 * PAGE);
	expect(all_are(0, va, 10, 100));

	swap_pages(1, other, 10);
	invalidate(~0u, 0, ~0ull);
	expect(all_are(1, other, 10, 100));

	/* Many at once, without waiting in between. */
	swap_pages(0, va, 10);
	for (int i = 0; i < 10; i++)
		tail = post_inval(0, va + i * PAGE, va + (i + 1) * PAGE);
	invalidate(2, 0, PAGE);
	expect((__s32)(get(&dev.bar->inval_ring.tail) - tail) > 0);
	expect(all_are(0, va, 10, 100));
	expect(dev.bar->regs.nr_invals >= 14);
}

#define NR_LONG	6

static __u32 long_job(__u32 asid, __u64 va)
{
	__u64 args[4] = { va, 1, 1ull << 60 };

	return send_job_of(asid, CDM_ACCEL_JOB_ATOMIC_ADD, args);
}

static void wait_progress(__u64 va)
{
	__u64 before = read64(va), start = 0;

	while (read64(va) == before)
		must_wait(&start, "a job to go on");
}

void test_preempt(void)
{
	__u64 va, nr_jobs, nr_slices;
	__u32 ids[NR_LONG];

	start_over();
	nr_jobs = get(&dev.bar->regs.nr_jobs);
	nr_slices = get(&dev.bar->regs.nr_slices);
	va = new_range(NR_LONG * 8, 0);
	for (int i = 0; i < NR_LONG; i++)
		ids[i] = long_job(0, va + i * 8);
	for (int turn = 0; turn < 5; turn++) {
		for (int i = 0; i < NR_LONG; i++)
			wait_progress(va + i * 8);
	}
	for (int i = 0; i < NR_LONG; i++) {
		cancel(ids[i]);
		expect(wait_done(ids[i]).status == -ECANCELED);
	}
	expect(get(&dev.bar->regs.nr_jobs) - nr_jobs == NR_LONG);
	expect(get(&dev.bar->regs.nr_slices) - nr_slices > NR_LONG);
}

/* Running, waiting for a unit, waiting for a fault, unknown. */
void test_cancel(void)
{
	struct cdm_accel_fault fault;
	__u64 va, before;
	__u32 ids[NR_LONG], parked;

	start_over();
	va = new_range(3 * PAGE, 0);
	unmap(0, va + PAGE, PAGE);
	for (int i = 0; i < NR_LONG; i++)
		ids[i] = long_job(0, va + i * 8);
	parked = long_job(0, va + PAGE);
	fault = wait_fault();
	expect(fault.id == parked);
	for (int i = 0; i < NR_LONG; i++) {
		cancel(ids[i]);
		expect(wait_done(ids[i]).status == -ECANCELED);
	}
	cancel(parked);
	expect(wait_done(parked).status == -ECANCELED);
	expect(wait_done(parked).nr_faults == 1);
	before = read64(va + (NR_LONG - 1) * 8);

	cancel(parked);
	cancel(ids[0]);
	resume(fault.seq, 0);
	resume(0, 0);
	resume(12345678, EFAULT);
	expect(!run_op(CDM_ACCEL_OP_NOP, 0, 0, 0).status);
	usleep(1000);
	expect(read64(va + (NR_LONG - 1) * 8) == before);
	expect(!nr_unknown());
}

void test_detach(void)
{
	__u64 va, other;
	__u32 ids[NR_LONG], parked, detach, stays;

	start_over();
	va = new_range_of(1, 2 * PAGE, 0);
	unmap(1, va + PAGE, PAGE);
	other = new_range(8, 0);
	for (int i = 0; i < NR_LONG; i++)
		ids[i] = long_job(1, va + i * 8);
	stays = long_job(0, other);
	parked = long_job(1, va + PAGE);
	expect(wait_fault().id == parked);
	detach = send_op(CDM_ACCEL_OP_DETACH, 1, 0, 0);
	expect(!wait_done(detach).status);
	/* All of them came before. */
	for (int i = 0; i < NR_LONG; i++)
		expect(is_done(ids[i]) && wait_done(ids[i]).status == -ECANCELED);
	expect(is_done(parked) && wait_done(parked).status == -ECANCELED);
	wait_progress(other);
	expect(!is_done(stays));
	expect(!run_op(CDM_ACCEL_OP_DETACH, 2, 0, 0).status);
	expect(run_op(CDM_ACCEL_OP_DETACH, CDM_ACCEL_MAX_ASIDS, 0, 0).status == -EINVAL);
	cancel(stays);
	expect(wait_done(stays).status == -ECANCELED);
}
