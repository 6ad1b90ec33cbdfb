// SPDX-License-Identifier: GPL-2.0
/*
 * Test of the reference accelerator without a VM. Runs the cdm-accel that lies
 * beside it, reports as KTAP, and is content if it exits 0.
 *
 *   accel-selftest [SEED]
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "selftest.h"

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "arguments", test_arguments },
	{ "the parent's death", test_parent },
	{ "protocol and registers", test_protocol },
	{ "commands", test_commands },
	{ "kernel: fill", test_fill },
	{ "kernel: sum", test_sum },
	{ "kernel: saxpy", test_saxpy },
	{ "kernel: matmul", test_matmul },
	{ "kernel: histogram", test_histogram },
	{ "kernel: crc32", test_crc32 },
	{ "kernel: bfs", test_bfs },
	{ "kernel: tree insert", test_tree },
	{ "kernel: atomic add", test_atomic_add },
	{ "kernel: copy", test_copy_va },
	{ "huge pages", test_huge },
	{ "jobs that are none", test_bad_jobs },
	{ "memory that is none", test_outside },
	{ "fault and resume", test_fault },
	{ "fault that is not resolved", test_fault_error },
	{ "write protection", test_write_protection },
	{ "all kernels in a few pages of memory", test_pager },
	{ "full fault ring", test_fault_ring_full },
	{ "others run while a job waits", test_parked },
	{ "invalidation", test_invalidate },
	{ "more jobs than units", test_preempt },
	{ "cancel", test_cancel },
	{ "detach", test_detach },
	{ "access counters", test_counters },
	{ "full notification ring", test_counters_full },
	{ "copy engine", test_copy },
	{ "copies that are none", test_copy_bad },
	{ "injection: hang", test_hang },
	{ "injection: lost interrupts", test_lost_irq },
	{ "injection: held invalidations", test_hold_invals },
	{ "stray check", test_stray },
	{ "injection: translations that are kept", test_keep },
	{ "injection: answers and events that nobody asked for", test_misdeeds },
	{ "injection: scribble", test_scribble },
	{ "injection: dead", test_dead },
	{ "injection: bad page", test_bad_page },
	{ "full completion ring", test_done_ring_full },
	{ "rings that make no sense", test_bad_rings },
	{ "reset", test_reset },
	{ "invalidation while jobs run", test_inval_stress },
	{ "atomics of both sides", test_atomic_stress },
	{ "one tree, both sides", test_tree_stress },
	{ "random commands", test_fuzz },
	{ "injection: link down", test_link_down },
	{ "exit", test_exit },
};

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static bool run(unsigned int i)
{
	double start = seconds();
	bool failed;

	tests[i].run();
	failed = take_failure();
	printf("# %.2f s\n", seconds() - start);
	printf("%s %u %s\n", failed ? "not ok" : "ok", i + 1, tests[i].name);
	fflush(stdout);
	return !failed;
}

int main(int argc, char **argv)
{
	unsigned int failed = 0;

	seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
	printf("KTAP version 1\n1..%zu\n# seed %u\n", ARRAY_SIZE(tests), seed);
	fflush(stdout);
	make_memory();
	for (unsigned int i = 0; i < ARRAY_SIZE(tests); i++)
		failed += !run(i);
	return failed ? 1 : 0;
}
