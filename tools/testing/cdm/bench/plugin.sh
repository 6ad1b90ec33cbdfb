# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# For benchmarks that count instructions: the plugin, and what it has to look at.

# count_plugin PLUGIN GUEST SYSTEM.MAP OUT: arguments of QEMU.
count_plugin() {
	echo "-plugin $1,out=$4"
	nm "$2" | sed -n 's/^0*\([0-9a-f]*\) . mark_\(begin\|end\|done\)$/,\2=\1/p'
	sed -nE -e 's/^([0-9a-f]*) . asm_(sysvec_.*|common_interrupt|spurious.*)$/,irq=\1/p' \
		-e 's/^([0-9a-f]*) . __switch_to_asm$/,switch=\1/p' "$3"
}
