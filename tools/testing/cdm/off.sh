#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Off is off: with CONFIG_COHERENT_DEVICE=n the code of every hooked file is
# that of the base. Compares the disassembly of flavours off and base, which
# must be built.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

disassemble() {
	objdump -d -r --no-show-raw-insn "$1" | sed '/file format/d'
}

same_code() {
	local base off
	base=$(disassemble "$BUILD/obj/base/$1") && off=$(disassemble "$BUILD/obj/off/$1") &&
		[[ -n $base ]] || return
	diff <(echo "$base") <(echo "$off") | head -40
	((PIPESTATUS[0] == 0))
}

start_results
[[ -n $(hooked) ]] || result "not ok off: no hooked object"
for o in $(hooked); do
	check "off: ${o%.o} is the base's" same_code "$o"
done
finish
