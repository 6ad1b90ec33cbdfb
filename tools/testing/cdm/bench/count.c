// SPDX-License-Identifier: GPL-2.0
/*
 * QEMU plugin: how many kernel instructions a guest executes between two
 * functions of a guest program. For a guest with one CPU.
 *
 * Arguments, as name=value:
 *   out      file for the records, one line for each time the guest came from
 *            begin to end: kernel instructions, nops among them, interrupts,
 *            context switches, instructions that copy
 *   begin, end, done   addresses of the functions; at done the file is written
 *   irq      address of an interrupt entry; may be repeated
 *   switch   address of the context switch
 *   copy     FIRST-END, addresses of code that copies pages; may be repeated
 *   profile  file for "address count" of what was executed from begin to end;
 *            slow
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
#define MAX_IRQS	64
#define MAX_COPIES	8

/* Increased by the translated code. */
struct counts {
	__u64 kernel;
	__u64 nops;
	__u64 irqs;
	__u64 switches;
	__u64 copies;
};

struct code {
	__u64 first;
	__u64 end;
};

/* One for each translation of an instruction. */
struct cell {
	struct cell *next;
	__u64 addr;
	__u64 count;
};

int qemu_plugin_version = PLUGIN_API;

static struct counts now, start;
static __u64 begin, end, done, context_switch, irq[MAX_IRQS];
static struct code copy[MAX_COPIES];
static unsigned int nr_irqs, nr_copies;
static bool inside;
static FILE *out, *profile;
static struct cell *cells;

static void at_begin(unsigned int vcpu, void *data)
{
	start = now;
	inside = true;
}

static void at_end(unsigned int vcpu, void *data)
{
	if (!inside)
		return;
	inside = false;
	fprintf(out, "%llu %llu %llu %llu %llu\n", now.kernel - start.kernel,
		now.nops - start.nops, now.irqs - start.irqs,
		now.switches - start.switches, now.copies - start.copies);
}

static void at_done(unsigned int vcpu, void *data)
{
	fflush(out);
	if (!profile)
		return;
	for (struct cell *cell = cells; cell; cell = cell->next)
		if (cell->count)
			fprintf(profile, "%llx %llu\n", cell->addr, cell->count);
	fclose(profile);
	profile = NULL;
}

static void at_cell(unsigned int vcpu, void *data)
{
	struct cell *cell = data;

	cell->count += inside;
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

static bool is_irq(__u64 addr)
{
	for (unsigned int i = 0; i < nr_irqs; i++)
		if (irq[i] == addr)
			return true;
	return false;
}

static bool is_copy(__u64 addr)
{
	for (unsigned int i = 0; i < nr_copies; i++)
		if (addr >= copy[i].first && addr < copy[i].end)
			return true;
	return false;
}

static void kernel_insn(struct plugin_insn *insn, __u64 addr)
{
	struct cell *cell;

	add(insn, &now.kernel);
	if (is_nop(insn))
		add(insn, &now.nops);
	if (is_irq(addr))
		add(insn, &now.irqs);
	if (addr == context_switch)
		add(insn, &now.switches);
	if (is_copy(addr))
		add(insn, &now.copies);
	if (!profile)
		return;
	cell = calloc(1, sizeof(*cell));
	if (!cell)
		abort();
	cell->addr = addr;
	cell->next = cells;
	cells = cell;
	call(insn, at_cell, cell);
}

static void user_insn(struct plugin_insn *insn, __u64 addr)
{
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

static int parse(const char *name, const char *value)
{
	static const struct {
		const char *name;
		__u64 *addr;
	} functions[] = {
		{ "begin", &begin }, { "end", &end }, { "done", &done },
		{ "switch", &context_switch },
	};

	if (!strcmp(name, "out")) {
		out = fopen(value, "w");
		return out ? 0 : -1;
	}
	if (!strcmp(name, "profile")) {
		profile = fopen(value, "w");
		return profile ? 0 : -1;
	}
	if (!strcmp(name, "irq") && nr_irqs < MAX_IRQS) {
		irq[nr_irqs++] = strtoul(value, NULL, 16);
		return 0;
	}
	if (!strcmp(name, "copy") && nr_copies < MAX_COPIES) {
		struct code *code = &copy[nr_copies++];

		return sscanf(value, "%llx-%llx", &code->first,
			      &code->end) == 2 ? 0 : -1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		if (strcmp(name, functions[i].name))
			continue;
		*functions[i].addr = strtoul(value, NULL, 16);
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
	if (!out || !begin || !end || !done || !context_switch || !nr_irqs) {
		fprintf(stderr, "count: an argument is missing\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
