// SPDX-License-Identifier: GPL-2.0
/*
 * QEMU plugin: how many kernel instructions a guest executes between two
 * functions of a guest program. For a guest with one CPU.
 *
 * Arguments, as name=value:
 *   out      file for the records, one line for each time the guest came from
 *            begin to end: kernel instructions, nops among them, interrupts,
 *            context switches, instructions that copy, those that mirror,
 *            instructions of the program, kernel instructions from unmap to
 *            map (0: it did not come there), and whether it was stopped
 *   begin, end, done   addresses of the functions; at done the file is written
 *   irq      address of an interrupt entry; may be repeated
 *   switch   address of the context switch
 *   copy     FIRST-END, addresses of code that copies pages; may be repeated
 *   mirror   the same, of what only the test module of an opponent does
 *   unmap    address of a function that takes a page out of a page table, map
 *            of one that puts it back; may be repeated
 *   stop     address of a function that ends the count before end does
 *   profile  file for "mark address count" of what was executed from begin to
 *            end; mark is the number of the line in out, from 0
 *
 * The virtual machine is killed in the end, so nothing is left to its exit.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu-plugin.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define KERNEL_START	0xffff800000000000ULL
#define MAX_FUNCTIONS	64
#define MAX_CODES	128
#define NR_BUCKETS	65536

/* Increased by the translated code. */
struct counts {
	__u64 kernel;
	__u64 nops;
	__u64 irqs;
	__u64 switches;
	__u64 copies;
	__u64 mirror;
	__u64 user;
};

/* Functions of which any will do. */
struct functions {
	__u64 addr[MAX_FUNCTIONS];
	unsigned int nr;
};

struct code {
	__u64 first;
	__u64 end;
};

struct codes {
	struct code code[MAX_CODES];
	unsigned int nr;
};

/* How often an instruction was executed, now and at begin. */
struct cell {
	struct cell *next;
	__u64 addr;
	__u64 count;
	__u64 start;
};

int qemu_plugin_version = PLUGIN_API;

static struct counts now, start, stopped;
static struct functions irq, unmap, map;
static struct codes copy, mirror;
static __u64 begin, end, done, context_switch, stop;
static __u64 unmapped, stall;
static unsigned long nr_marks;
static bool inside;
static FILE *out, *profile;
static struct cell *cells[NR_BUCKETS];

static void profile_begin(void)
{
	for (unsigned int i = 0; i < NR_BUCKETS; i++)
		for (struct cell *cell = cells[i]; cell; cell = cell->next)
			cell->start = cell->count;
}

static void profile_end(void)
{
	for (unsigned int i = 0; i < NR_BUCKETS; i++)
		for (struct cell *cell = cells[i]; cell; cell = cell->next)
			if (cell->count != cell->start)
				fprintf(profile, "%lu %llx %llu\n", nr_marks,
					cell->addr, cell->count - cell->start);
}

static void at_begin(unsigned int vcpu, void *data)
{
	if (profile)
		profile_begin();
	start = now;
	stopped.kernel = 0;
	unmapped = 0;
	stall = 0;
	inside = true;
}

static void at_end(unsigned int vcpu, void *data)
{
	const struct counts *last = stopped.kernel ? &stopped : &now;

	if (!inside)
		return;
	inside = false;
	fprintf(out, "%llu %llu %llu %llu %llu %llu %llu %llu %d\n",
		last->kernel - start.kernel, last->nops - start.nops,
		last->irqs - start.irqs, last->switches - start.switches,
		last->copies - start.copies, last->mirror - start.mirror,
		last->user - start.user, stall, stopped.kernel != 0);
	fflush(out);
	if (profile && !stopped.kernel)
		profile_end();
	nr_marks++;
}

static void at_done(unsigned int vcpu, void *data)
{
	if (profile)
		fflush(profile);
}

static void at_stop(unsigned int vcpu, void *data)
{
	if (!inside || stopped.kernel)
		return;
	stopped = now;
	if (profile)
		profile_end();
}

static void at_unmap(unsigned int vcpu, void *data)
{
	if (inside && !unmapped)
		unmapped = now.kernel;
}

static void at_map(unsigned int vcpu, void *data)
{
	if (inside && unmapped && !stall)
		stall = now.kernel - unmapped;
}

static void call(struct plugin_insn *insn, void (*fn)(unsigned int, void *),
		 void *data)
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, fn, PLUGIN_NO_REGS, data);
}

static void add(struct plugin_insn *insn, __u64 *counter)
{
	qemu_plugin_register_vcpu_insn_exec_inline(insn, PLUGIN_ADD_U64,
						   counter, 1);
}

/* 90 or 0f 1f behind prefixes, as jump labels and alternatives use them. */
static bool is_nop(const struct plugin_insn *insn)
{
	const unsigned char *byte = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn);

	while (size && (*byte == 0x66 || *byte == 0x2e)) {
		byte++;
		size--;
	}
	return (size == 1 && *byte == 0x90) ||
	       (size > 2 && byte[0] == 0x0f && byte[1] == 0x1f);
}

static bool is_one_of(const struct functions *functions, __u64 addr)
{
	for (unsigned int i = 0; i < functions->nr; i++)
		if (functions->addr[i] == addr)
			return true;
	return false;
}

static bool is_in(const struct codes *codes, __u64 addr)
{
	for (unsigned int i = 0; i < codes->nr; i++)
		if (addr >= codes->code[i].first && addr < codes->code[i].end)
			return true;
	return false;
}

static struct cell *find_cell(__u64 addr)
{
	struct cell **bucket = &cells[addr % NR_BUCKETS], *cell;

	for (cell = *bucket; cell; cell = cell->next)
		if (cell->addr == addr)
			return cell;
	cell = calloc(1, sizeof(*cell));
	if (!cell)
		abort();
	cell->addr = addr;
	cell->next = *bucket;
	*bucket = cell;
	return cell;
}

static void kernel_call(struct plugin_insn *insn, __u64 addr)
{
	if (is_one_of(&unmap, addr))
		call(insn, at_unmap, NULL);
	if (is_one_of(&map, addr))
		call(insn, at_map, NULL);
	if (addr == stop)
		call(insn, at_stop, NULL);
}

static void kernel_insn(struct plugin_insn *insn, __u64 addr)
{
	add(insn, &now.kernel);
	if (is_nop(insn))
		add(insn, &now.nops);
	if (is_one_of(&irq, addr))
		add(insn, &now.irqs);
	if (addr == context_switch)
		add(insn, &now.switches);
	if (is_in(&copy, addr))
		add(insn, &now.copies);
	if (is_in(&mirror, addr))
		add(insn, &now.mirror);
	if (profile)
		add(insn, &find_cell(addr)->count);
	kernel_call(insn, addr);
}

static void user_insn(struct plugin_insn *insn, __u64 addr)
{
	add(insn, &now.user);
	if (addr == begin)
		call(insn, at_begin, NULL);
	else if (addr == end)
		call(insn, at_end, NULL);
	else if (addr == done)
		call(insn, at_done, NULL);
}

/*
 * Instruction by instruction: a block that takes a page fault in the middle is
 * not executed to its end.
 */
static void translate(__u64 id, struct plugin_block *block)
{
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
		struct plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
		__u64 addr = qemu_plugin_insn_vaddr(insn);

		if (addr >= KERNEL_START)
			kernel_insn(insn, addr);
		else
			user_insn(insn, addr);
	}
}

static int open_file(FILE **file, const char *value)
{
	*file = fopen(value, "w");
	return *file ? 0 : -1;
}

static int parse_code(struct codes *codes, const char *value)
{
	struct code *code = &codes->code[codes->nr];

	if (codes->nr++ == MAX_CODES)
		return -1;
	return sscanf(value, "%llx-%llx", &code->first, &code->end) == 2 ? 0 : -1;
}

static int parse_function(struct functions *functions, const char *value)
{
	if (functions->nr == MAX_FUNCTIONS)
		return -1;
	functions->addr[functions->nr++] = strtoul(value, NULL, 16);
	return 0;
}

static int parse(const char *name, const char *value)
{
	static const struct {
		const char *name;
		__u64 *addr;
		struct functions *functions;
		struct codes *codes;
		FILE **file;
	} arguments[] = {
		{ "begin", .addr = &begin }, { "end", .addr = &end },
		{ "done", .addr = &done }, { "switch", .addr = &context_switch },
		{ "stop", .addr = &stop }, { "irq", .functions = &irq },
		{ "unmap", .functions = &unmap }, { "map", .functions = &map },
		{ "copy", .codes = &copy }, { "mirror", .codes = &mirror },
		{ "out", .file = &out }, { "profile", .file = &profile },
	};

	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++) {
		if (strcmp(name, arguments[i].name))
			continue;
		if (arguments[i].file)
			return open_file(arguments[i].file, value);
		if (arguments[i].codes)
			return parse_code(arguments[i].codes, value);
		if (arguments[i].functions)
			return parse_function(arguments[i].functions, value);
		*arguments[i].addr = strtoul(value, NULL, 16);
		return 0;
	}
	return -1;
}

int qemu_plugin_install(__u64 id, const struct plugin_info *info, int argc,
			char **argv)
{
	for (int i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (value)
			*value++ = 0;
		if (!value || parse(argv[i], value)) {
			fprintf(stderr, "count: bad argument %s\n", argv[i]);
			return -1;
		}
	}
	if (!out || !begin || !end || !done || !context_switch || !irq.nr) {
		fprintf(stderr, "count: an argument is missing\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
