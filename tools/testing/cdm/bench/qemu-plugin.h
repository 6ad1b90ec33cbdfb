/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of QEMU's interface for TCG plugins, version 1, that count.c uses.
 * Debian's QEMU has the functions in it, but no package ships the header.
 */
#ifndef _CDM_QEMU_PLUGIN_H
#define _CDM_QEMU_PLUGIN_H

#include <stddef.h>
#include <linux/types.h>

#define PLUGIN_API	1

enum plugin_op {
	PLUGIN_ADD_U64,
};

enum plugin_regs {
	PLUGIN_NO_REGS,
};

struct plugin_info;
struct plugin_block;
struct plugin_insn;

/* What QEMU expects of a plugin; 0: installed. */
extern int qemu_plugin_version;
int qemu_plugin_install(__u64 id, const struct plugin_info *info, int argc,
			char **argv);

/* To see each block of code as it is translated. */
void qemu_plugin_register_vcpu_tb_trans_cb(__u64 id,
					   void (*fn)(__u64 id,
						      struct plugin_block *));
size_t qemu_plugin_tb_n_insns(const struct plugin_block *block);
struct plugin_insn *qemu_plugin_tb_get_insn(const struct plugin_block *block,
					    size_t i);
__u64 qemu_plugin_insn_vaddr(const struct plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct plugin_insn *insn);
const void *qemu_plugin_insn_data(const struct plugin_insn *insn);

/* Each time before the instruction is executed: add to *@cell, or call @fn. */
void qemu_plugin_register_vcpu_insn_exec_inline(struct plugin_insn *insn,
						enum plugin_op op, void *cell,
						__u64 add);
void qemu_plugin_register_vcpu_insn_exec_cb(struct plugin_insn *insn,
					    void (*fn)(unsigned int vcpu,
						       void *data),
					    enum plugin_regs regs, void *data);

#endif /* _CDM_QEMU_PLUGIN_H */
