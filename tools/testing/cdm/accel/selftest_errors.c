// SPDX-License-Identifier: GPL-2.0
/* The rest of the commands, injected faults, and a driver that misbehaves. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "selftest.h"

/* Run with arguments that are wrong: status 1 and a word about it. */
static void expect_usage(char **args)
{
	char message[512];
	int status, fds[2], n = 0;
	pid_t pid;

	if (pipe(fds))
		bail("pipe");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		dup2(fds[1], 2);
		run_device(args);
	}
	close(fds[1]);
	while (read(fds[0], message + n, 1) == 1 && n < (int)sizeof(message) - 1)
		n++;
	close(fds[0]);
	waitpid(pid, &status, 0);
	expect(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	expect(n > 20 && message[n - 1] == '\n');
}

void test_arguments(void)
{
	static char * const lists[][8] = {
		{ NULL },
		{ NULL, "--socket", "/x" },
		{ NULL, "--mem", "0:4096" },
		{ NULL, "--nonsense" },
		{ NULL, "more" },
		{ NULL, "--socket", "/x", "--mem", "0:4096" },
		{ NULL, "--mem", "0" },
		{ NULL, "--mem", "0:0" },
		{ NULL, "--mem", "0:12" },
		{ NULL, "--mem", "-4096:4096" },
		{ NULL, "--mem", "0xfffffffffffff000:0x2000" },
		{ NULL, "--mem", "0:4096:x" },
		{ NULL, "--map", "0:4096" },
		{ NULL, "--map", "0:4096:/nonexistent" },
		{ NULL, "--map", "0:4096:/nonexistent:0" },
		{ NULL, "--map", "0:4096:/proc/self/exe:4095" },
		{ NULL, "--map", "0:0x10000000000:/proc/self/exe:0" },
		{ NULL, "--units", "0" },
		{ NULL, "--units", "65" },
		{ NULL, "--slice-us", "x" },
		{ NULL, "--slice-us" },
		{ NULL, "--strays", "/nonexistent/file" },
	};
	char *args[9];

	for (unsigned int i = 0; i < ARRAY_SIZE(lists); i++) {
		memcpy(args, lists[i], sizeof(lists[i]));
		args[8] = NULL;
		expect_usage(args);
	}
}

void test_protocol(void)
{
	struct cdm_accel_regs *regs;

	start_device(2);
	regs = &dev.bar->regs;
	expect(regs->version == CDM_ACCEL_VERSION);
	expect(regs->mem_start == DEV_PA && regs->mem_size == DEV_SIZE);
	expect(regs->nr_units == 2);
	expect(!regs->error);
	expect(access(socket_path, F_OK) == 0);
}

void test_commands(void)
{
	struct cdm_accel_done done;
	__u64 start = 0;

	start_over();
	done = run_op(CDM_ACCEL_OP_NOP, 0, 0, 0);
	expect(!done.status && !done.result && !done.addr);
	for (int i = 0; i < 1000; i++)
		expect(!run_op(CDM_ACCEL_OP_NOP, 0, 0, 0).status);
	expect(run_op(CDM_ACCEL_OP_INJECT, 0, 99, 0).status == -EINVAL);
	expect(!get(&dev.bar->regs.error));
	send_op(77, 0, 0, 0);
	while (!dev.irq_count[CDM_ACCEL_IRQ_ERROR]) {
		if (!poll_irqs(1))
			must_wait(&start, "an error");
	}
	expect(get(&dev.bar->regs.error) == CDM_ACCEL_ERROR_PROTO);
	put(&dev.bar->regs.error, 0);
	expect(!run_op(CDM_ACCEL_OP_NOP, 0, 0, 0).status);
	expect(!nr_unknown());
}

static void sum_pages(__u64 va, __u64 nr)
{
	__u64 args[4] = { va, nr * PAGE };

	expect(!run_job(CDM_ACCEL_JOB_SUM, args).status);
}

static __u32 notes_of(__u32 shift, __u64 addr, __u64 count)
{
	struct cdm_accel_note note;
	__u32 nr = 0;

	while (take_note(&note)) {
		if (note.shift != shift)
			continue;
		expect(note.addr == addr && note.count == count && !note.asid);
		nr++;
	}
	return nr;
}

/* A page is 64 accesses. */
void test_counters(void)
{
	struct cdm_accel_note note;
	__u64 va;

	start_over();
	va = new_range(16 * PAGE, 0);
	sum_pages(va, 16);
	expect(!take_note(&note));
	expect(!run_op(CDM_ACCEL_OP_COUNTERS, 0, 100, 0).status);
	sum_pages(va, 16);
	expect(notes_of(16, va, 128) == 8);
	expect(!run_op(CDM_ACCEL_OP_COUNTERS, 0, 0, 1024).status);
	sum_pages(va, 15);
	expect(!take_note(&note));
	sum_pages(va + 15 * PAGE, 1);
	expect(notes_of(21, va, 1024) == 1);

	/* Setting them again clears them. */
	expect(!run_op(CDM_ACCEL_OP_COUNTERS, 0, 100, 1000).status);
	sum_pages(va, 1);
	expect(!run_op(CDM_ACCEL_OP_COUNTERS, 0, 100, 1000).status);
	sum_pages(va, 1);
	expect(!take_note(&note));
	sum_pages(va, 1);
	expect(notes_of(16, va, 128) == 1);

	/* Another address space has counters of its own. */
	expect(!run_op(CDM_ACCEL_OP_COUNTERS, 0, 0, 0).status);
	expect(!run_op(CDM_ACCEL_OP_COUNTERS, 1, 1, 1).status);
	sum_pages(va, 16);
	expect(!take_note(&note));
	expect(run_op(CDM_ACCEL_OP_COUNTERS, CDM_ACCEL_MAX_ASIDS, 1, 1).status == -EINVAL);
	reset_device();
	sum_pages(va, 16);
	expect(!take_note(&note));
}

/* What finds no room is dropped, not its count; and the table has to grow. */
void test_counters_full(void)
{
	__u64 va, nr = 3 * CDM_ACCEL_NOTE_ENTRIES;
	struct cdm_accel_note note;
	__u32 notes = 0;

	start_over();
	va = new_range(PAGE, 0);
	for (__u64 i = 0; i < 2000; i++)
		set_pte(0, WINDOW + (i << 16), backing(0, va) | RW);
	expect(!run_op(CDM_ACCEL_OP_COUNTERS, 0, 64, 0).status);
	for (__u64 i = 0; i < nr; i++)
		sum_pages(WINDOW + (i << 16), 1);
	expect(get(&dev.bar->note_ring.head) == CDM_ACCEL_NOTE_ENTRIES);
	while (take_note(&note))
		expect(note.count == 64 && note.addr == WINDOW + (__u64)notes++ * 0x10000);
	expect(notes == CDM_ACCEL_NOTE_ENTRIES);
	sum_pages(WINDOW + ((nr - 1) << 16), 1);
	expect(take_note(&note) && note.count == 128);
	sum_pages(WINDOW + ((nr - 1) << 16), 1);
	expect(take_note(&note) && note.count == 64);

	expect(!run_op(CDM_ACCEL_OP_COUNTERS, 0, 128, 0).status);
	for (__u64 i = 0; i < 2000; i++)
		sum_pages(WINDOW + (i << 16), 1);
	expect(!take_note(&note));
	for (__u64 i = 0; i < 2000; i += 100) {
		sum_pages(WINDOW + (i << 16), 1);
		expect(take_note(&note) && note.count == 128);
	}
}

/* The list lies at the start of a page of its own. */
static struct cdm_accel_sg *new_list(__u64 *pa)
{
	*pa = new_page();
	return pa_ptr(*pa);
}

void test_copy(void)
{
	struct cdm_accel_done done;
	struct cdm_accel_sg *list;
	__u64 pa, nr_copied;

	start_over();
	list = new_list(&pa);
	nr_copied = get(&dev.bar->regs.nr_copied);
	for (__u64 i = 0; i < HUGE / 8; i++)
		((__u64 *)pa_ptr(RAM_HIGH_PA + 4 * HUGE))[i] = i + 1;
	list[0] = (struct cdm_accel_sg){ DEV_PA, RAM_HIGH_PA + 4 * HUGE, HUGE };
	list[1] = (struct cdm_accel_sg){ RAM_HIGH_PA + 6 * HUGE + 3, DEV_PA + 8, 4097 };
	list[2] = (struct cdm_accel_sg){ RAM_HIGH_PA + 7 * HUGE, DEV_PA + HUGE - 8, 8 };
	done = run_op(CDM_ACCEL_OP_COPY, 0, pa, 3);
	expect(!done.status && done.result == HUGE + 4097 + 8);
	expect(!memcmp(pa_ptr(DEV_PA), pa_ptr(RAM_HIGH_PA + 4 * HUGE), HUGE));
	expect(!memcmp(pa_ptr(RAM_HIGH_PA + 6 * HUGE + 3), pa_ptr(DEV_PA + 8), 4097));
	expect(*(__u64 *)pa_ptr(RAM_HIGH_PA + 7 * HUGE) == HUGE / 8);
	expect(get(&dev.bar->regs.nr_copied) - nr_copied == done.result);
	done = run_op(CDM_ACCEL_OP_COPY, 0, pa, 0);
	expect(!done.status && !done.result);

	/* Jobs that never end do not hold it up. */
	for (int i = 0; i < dev.units; i++) {
		__u64 args[4] = { new_range(8, 0), 1, ~0ull };

		send_job(CDM_ACCEL_JOB_ATOMIC_ADD, args);
	}
	expect(run_op(CDM_ACCEL_OP_COPY, 0, pa, 3).result == HUGE + 4097 + 8);
}

void test_copy_bad(void)
{
	static const struct cdm_accel_sg bad[] = {
		{ DEV_PA, RAM_HIGH_PA, 0 },
		{ DEV_PA, RAM_HIGH_PA, HUGE + 1 },
		{ DEV_PA, RAM_HIGH_PA, ~0ull },
		{ NOWHERE_PA, RAM_HIGH_PA, 8 },
		{ DEV_PA, NOWHERE_PA, 8 },
		{ DEV_PA + DEV_SIZE - 7, RAM_HIGH_PA, 8 },
		{ DEV_PA, RAM_PA + RAM_HALF - 7, 8 },
		{ -8ull, RAM_HIGH_PA, 16 },
	};
	struct cdm_accel_sg *list;
	__u64 pa, page;

	start_over();
	list = new_list(&pa);
	page = new_page();
	*(__u64 *)pa_ptr(page) = 1;
	list[0] = (struct cdm_accel_sg){ DEV_PA, page, 8 };
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		list[1] = bad[i];
		expect(run_op(CDM_ACCEL_OP_COPY, 0, pa, 2).status == -EINVAL);
	}
	expect(*(__u64 *)pa_ptr(DEV_PA) == 0);
	expect(run_op(CDM_ACCEL_OP_COPY, 0, NOWHERE_PA, 1).status == -EINVAL);
	expect(run_op(CDM_ACCEL_OP_COPY, 0, DEV_PA + DEV_SIZE - 8, 1).status == -EINVAL);
	expect(run_op(CDM_ACCEL_OP_COPY, 0, pa, ~0ull / 24).status == -EINVAL);
	expect(run_op(CDM_ACCEL_OP_COPY, 0, pa, ~0ull).status == -EINVAL);
	expect(run_op(CDM_ACCEL_OP_COPY, 0, pa, (1ull << 61) + 1).status == -EINVAL);
}

static void set_args(__u64 *args, __u64 arg0, __u64 arg1, __u64 arg2)
{
	args[0] = arg0;
	args[1] = arg1;
	args[2] = arg2;
	args[3] = 0;
}

void test_hang(void)
{
	__u64 va, args[4], hung[4];
	__u32 id;

	start_over();
	va = new_range(16, 0);
	set_args(hung, va, 1, 8);
	set_args(args, va + 8, 1, 8);
	expect(!run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_HANG, 0).status);
	id = send_job(CDM_ACCEL_JOB_FILL, hung);
	for (int i = 0; i < 10; i++)
		expect(!run_job(CDM_ACCEL_JOB_FILL, args).status);
	/* It does not hold up invalidations either. */
	invalidate(0, va, va + PAGE);
	expect(!is_done(id) && !read64(va) && read64(va + 8) == 1);
	cancel(id);
	expect(wait_done(id).status == -ECANCELED);
	expect(!read64(va));
	expect(!run_job(CDM_ACCEL_JOB_FILL, hung).status);
}

void test_lost_irq(void)
{
	__u64 start = 0;

	start_over();
	expect(!run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_LOST_IRQ, 3).status);
	for (int i = 0; i < 5; i++)
		expect(!run_op(CDM_ACCEL_OP_NOP, 0, 0, 0).status);
	while (dev.irq_count[CDM_ACCEL_IRQ_DONE] < 3) {
		if (!poll_irqs(1))
			must_wait(&start, "three interrupts");
	}
	poll_irqs(10);
	expect(dev.irq_count[CDM_ACCEL_IRQ_DONE] == 3);
}

/* Meanwhile the old page is used. */
void test_hold_invals(void)
{
	__u64 args[4] = { 0, 1, 1ull << 60 }, old, start = 0;
	__u32 id, tail;

	start_over();
	args[0] = new_range(PAGE, 0);
	id = send_job(CDM_ACCEL_JOB_ATOMIC_ADD, args);
	old = backing(0, args[0]);
	while (!get((__u64 *)pa_ptr(old)))
		must_wait(&start, "a job to begin");
	expect(!run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_HOLD_INVALS, 1).status);
	set_pte(0, args[0], new_page() | RW);
	tail = post_inval(0, args[0], args[0] + PAGE);
	for (int i = 0; i < 3; i++) {
		__u64 seen = get((__u64 *)pa_ptr(old));

		start = 0;
		while (get((__u64 *)pa_ptr(old)) == seen)
			must_wait(&start, "the job to use the old page");
	}
	expect(get(&dev.bar->inval_ring.tail) != tail);
	expect(!run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_HOLD_INVALS, 0).status);
	expect(get(&dev.bar->inval_ring.tail) == tail);
	start = 0;
	while (!read64(args[0]))
		must_wait(&start, "the job to use the new page");
	cancel(id);
	expect(wait_done(id).status == -ECANCELED);

	/* A reset ends it. */
	expect(!run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_HOLD_INVALS, 1).status);
	reset_device();
	invalidate(0, args[0], args[0] + PAGE);
}

static void expect_page_error(__u64 pa)
{
	__u64 start = 0;

	while (!(get(&dev.bar->regs.error) & CDM_ACCEL_ERROR_PAGE))
		must_wait(&start, "an error");
	expect(get(&dev.bar->regs.error_pa) == pa);
	while (!dev.irq_count[CDM_ACCEL_IRQ_ERROR]) {
		if (!poll_irqs(1))
			must_wait(&start, "the interrupt of an error");
	}
	put(&dev.bar->regs.error, 0);
	dev.irq_count[CDM_ACCEL_IRQ_ERROR] = 0;
}

static __u64 poison_page(void)
{
	__u64 pa = DEV_PA + 3 * PAGE;

	expect(!run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_BAD_PAGE, pa).status);
	return pa;
}

static void copy_from_poison(__u64 bad)
{
	struct cdm_accel_done done;
	struct cdm_accel_sg *list;
	__u64 pa;

	list = new_list(&pa);
	list[0] = (struct cdm_accel_sg){ RAM_HIGH_PA + 4 * HUGE, DEV_PA, 3 * PAGE };
	list[1] = (struct cdm_accel_sg){ RAM_HIGH_PA + 5 * HUGE, DEV_PA, 8 * PAGE };
	list[2] = (struct cdm_accel_sg){ RAM_HIGH_PA + 6 * HUGE, DEV_PA, PAGE };
	done = run_op(CDM_ACCEL_OP_COPY, 0, pa, 3);
	expect(done.status == -EHWPOISON && done.addr == bad && done.result == 3 * PAGE);
	expect_page_error(bad);
	/* One may write to it. */
	list[0] = (struct cdm_accel_sg){ bad, RAM_HIGH_PA, PAGE };
	expect(!run_op(CDM_ACCEL_OP_COPY, 0, pa, 1).status);
}

void test_bad_page(void)
{
	struct cdm_accel_done done;
	__u64 args[4], bad;

	start_over();
	args[0] = new_range(3 * PAGE, 0);
	args[1] = 3 * PAGE;
	set_pte(0, args[0] + PAGE, (DEV_PA + 3 * PAGE) | RW);
	expect(!run_job(CDM_ACCEL_JOB_SUM, args).status);
	bad = poison_page();
	done = run_job(CDM_ACCEL_JOB_SUM, args);
	expect(done.status == -EHWPOISON && done.addr == args[0] + PAGE);
	expect_page_error(bad);
	copy_from_poison(bad);
	expect(run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_BAD_PAGE, RAM_PA).status == -EINVAL);
	expect(run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_BAD_PAGE,
		      DEV_PA + DEV_SIZE).status == -EINVAL);
	expect(run_job(CDM_ACCEL_JOB_SUM, args).status == -EHWPOISON);
	reset_device();
	expect(!get(&dev.bar->regs.error));
	expect(!run_job(CDM_ACCEL_JOB_SUM, args).status);
}

/* The driver takes no completions for a while, and far too few at first. */
void test_done_ring_full(void)
{
	enum { NR = 4000 };
	struct cdm_accel_cmd cmd = { .op = CDM_ACCEL_OP_NOP };
	struct cdm_accel_ring *ring = &dev.bar->cmd_ring;
	__u64 start = 0, first = 0;
	__u32 id = 0;

	start_over();
	for (int i = 0; i < 700; i++) {
		id = send_cmd(&cmd);
		first = first ? first : id;
		while (get(&ring->tail) != ring->head)
			must_wait(&start, "a command to be taken");
	}
	usleep(1000);
	expect(get(&dev.bar->done_ring.head) == CDM_ACCEL_DONE_ENTRIES);
	expect(!wait_done(id).status);

	/* send_cmd() takes completions when the device does not take commands. */
	for (int i = 0; i < NR; i++)
		id = send_cmd(&cmd);
	wait_done(id);
	for (__u64 i = first; i <= id; i++)
		expect(is_done(i));
	expect(get(&dev.bar->done_ring.head) == NR + 700);
	expect(!nr_unknown());
}

static void expect_proto_error(void)
{
	__u64 start = 0;

	while (!dev.irq_count[CDM_ACCEL_IRQ_ERROR]) {
		if (!poll_irqs(1))
			must_wait(&start, "an error");
	}
	expect(get(&dev.bar->regs.error) == CDM_ACCEL_ERROR_PROTO);
}

void test_bad_rings(void)
{
	__u64 args[4], start = 0;

	start_over();
	put(&dev.bar->cmd_ring.head, CDM_ACCEL_CMD_ENTRIES + 1);
	raw_bell(CDM_ACCEL_BELL_CMD);
	expect_proto_error();
	expect(!get(&dev.bar->cmd_ring.tail));

	start_over();
	put(&dev.bar->inval_ring.head, ~0u);
	raw_bell(CDM_ACCEL_BELL_INVAL);
	expect_proto_error();
	expect(!get(&dev.bar->inval_ring.tail));

	start_over();
	put(&dev.bar->done_ring.tail, 1);
	send_op(CDM_ACCEL_OP_NOP, 0, 0, 0);
	expect_proto_error();
	expect(!get(&dev.bar->done_ring.head));

	start_over();
	args[0] = new_range(8, 0);
	args[1] = 8;
	unmap(0, args[0], 8);
	put(&dev.bar->fault_ring.tail, -(CDM_ACCEL_FAULT_ENTRIES + 1u));
	send_job(CDM_ACCEL_JOB_SUM, args);
	expect_proto_error();
	expect(!get(&dev.bar->fault_ring.head));

	/* The indices wrap. */
	start_over();
	expect(!run_op(CDM_ACCEL_OP_NOP, 0, 0, 0).status);
	while (get(&dev.bar->done_ring.head) != 1)
		must_wait(&start, "a completion");
}

/* Jobs in all states, copies, counters and poison: all gone, in silence. */
void test_reset(void)
{
	__u64 va, args[4], before, list, start = 0;
	struct cdm_accel_fault fault;
	struct cdm_accel_note note;

	start_over();
	va = new_range(3 * PAGE, 0);
	unmap(0, va + PAGE, PAGE);
	set_args(args, va, 1, ~0ull);
	run_op(CDM_ACCEL_OP_COUNTERS, 0, 1, 1);
	run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_HANG, 0);
	for (int i = 0; i < 6; i++)
		send_job(CDM_ACCEL_JOB_ATOMIC_ADD, args);
	args[0] = va + PAGE;
	send_job(CDM_ACCEL_JOB_ATOMIC_ADD, args);
	fault = wait_fault();
	run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_HANG, 0);
	run_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_LOST_IRQ, 1000);
	*new_list(&list) = (struct cdm_accel_sg){ DEV_PA, RAM_HIGH_PA + HUGE, HUGE };
	for (int i = 0; i < 100; i++)
		send_op(CDM_ACCEL_OP_COPY, 0, list, 1);
	send_op(CDM_ACCEL_OP_DETACH, 0, 0, 0);

	reset_device();
	before = read64(va);
	expect(!dev.bar->cmd_ring.head && !dev.bar->cmd_ring.tail && !dev.bar->done_ring.head);
	expect(!dev.bar->fault_ring.head && !dev.bar->note_ring.head && !dev.bar->regs.error);
	expect(dev.bar->regs.magic == CDM_ACCEL_MAGIC);
	resume(fault.seq, 0);
	map_range(0, va + PAGE, PAGE, RW);
	set_args(args, va + 8, 5, 8);
	expect(!run_job(CDM_ACCEL_JOB_FILL, args).status);
	expect(read64(va) == before && read64(va + 8) == 5);
	expect(!take_note(&note) && !take_fault(&fault) && !nr_unknown());
	while (!dev.irq_count[CDM_ACCEL_IRQ_DONE]) {
		if (!poll_irqs(1))
			must_wait(&start, "an interrupt");
	}
}

static bool all_bytes(const void *p, __u64 size, __u8 value)
{
	const __u8 *bytes = p;

	for (__u64 i = 0; i < size; i++) {
		if (bytes[i] != value)
			return false;
	}
	return true;
}

void test_link_down(void)
{
	struct cdm_accel_ring *done = &dev.bar->done_ring;
	__u8 *first = pa_ptr(DEV_PA);
	__u64 args[4], start = 0;

	start_over();
	args[0] = new_range(PAGE, 0);
	args[1] = 1;
	args[2] = ~0ull;
	for (int i = 0; i < 4; i++)
		send_job(CDM_ACCEL_JOB_ATOMIC_ADD, args);
	__atomic_store_n(first, 0, __ATOMIC_SEQ_CST);
	send_op(CDM_ACCEL_OP_INJECT, 0, CDM_ACCEL_INJECT_LINK_DOWN, 0);
	while (!__atomic_load_n(first, __ATOMIC_SEQ_CST))
		must_wait(&start, "the end of the link");
	/* A reader of wiped memory can see that the link is down. */
	expect(get(&dev.bar->regs.magic) == ~0u);
	start = 0;
	while (!dev.irq_count[CDM_ACCEL_IRQ_ERROR]) {
		if (!poll_irqs(1))
			must_wait(&start, "an interrupt");
	}
	expect(all_bytes(pa_ptr(DEV_PA), DEV_SIZE, 0xdb));
	expect(all_bytes(&dev.bar->regs, sizeof(dev.bar->regs), 0xff));
	expect(!done->head);

	send_op(CDM_ACCEL_OP_NOP, 0, 0, 0);
	post_inval(0, 0, ~0ull);
	put(&dev.bar->regs.reset, 1);
	raw_bell(CDM_ACCEL_BELL_CMD);
	poll_irqs(20);
	expect(dev.irq_count[CDM_ACCEL_IRQ_ERROR] == 1 && !dev.irq_count[CDM_ACCEL_IRQ_DONE]);
	expect(!done->head && !dev.bar->inval_ring.tail);
	expect(dev.bar->regs.reset_done == ~0u && dev.bar->regs.magic == ~0u);
	expect(all_bytes(pa_ptr(DEV_PA), DEV_SIZE, 0xdb));
}

/* With jobs in all states, too. */
void test_exit(void)
{
	__u64 args[4];
	int status = stop_device();

	expect(WIFEXITED(status) && !WEXITSTATUS(status));
	expect(access(socket_path, F_OK) == 0);
	start_device(1);
	args[0] = new_range(PAGE, 0);
	args[1] = 1;
	args[2] = ~0ull;
	for (int i = 0; i < 4; i++)
		send_job(CDM_ACCEL_JOB_ATOMIC_ADD, args);
	unmap(0, args[0], 8);
	wait_fault();
	status = stop_device();
	expect(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* A device nobody has connected to, whose parent dies, closes its end of a pipe. */
void test_parent(void)
{
	struct pollfd fd = { .events = POLLIN };
	__u64 start = 0;
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		bail("pipe");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		spawn_device(1, socket_path);
		while (access(socket_path, F_OK))
			must_wait(&start, "the socket");
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	close(fds[1]);
	fd.fd = fds[0];
	expect(poll(&fd, 1, 20000) == 1 && fd.revents & POLLHUP);
	close(fds[0]);
}
