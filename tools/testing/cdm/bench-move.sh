#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# What a migration costs: kernel instructions for each page, counted by the
# emulator, by move_pages(2), mbind(2) and the driver, there and back. What copies
# is counted apart. The median of a few rounds, of flavour default.
# Environment: KIND (4K or 2M), PAGES.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$TOOLS/bench/plugin.sh"

KIND=${KIND:-4K}
PAGES=${PAGES:-1 8 64 512 4096 65536}
GUEST=$BUILD/bench/move
PLUGIN=$BUILD/bench/count.so
MAP=$(obj default)/System.map

# One CPU, so that nothing else runs, and nothing that differs by chance.
export KERNEL_ARGS="nr_cpus=1 norandmaps mitigations=off numa_balancing=disable"
export ACCEL=icount TIMEOUT=${TIMEOUT:-600} TOPOLOGY=single

build() {
	gcc -O2 -Wall -Wextra -Wno-unused-parameter -Werror -shared -fPIC \
		-o "$PLUGIN" "$TOOLS/bench/count.c"
	# At an address where no other program of the guest is.
	gcc -O2 -Wall -Wextra -Wno-unused-parameter -Werror -static -fno-pie \
		-no-pie -Wl,-Ttext-segment=0x50000000 -I "$TOP/drivers/cdm" \
		-o "$GUEST" "$TOOLS/bench/move.c"
}

# The functions that copy a page.
copies() {
	sort "$MAP" | awk '
	first { print ",copy=" first "-" $1; first = "" }
	$3 ~ /^(copy_page|copy_page_regs|__memcpy|memcpy_orig)$/ { first = $1 }'
}

# count BY
count() {
	local out=$BUILD/bench/move.$1
	QEMU_ARGS=$({ count_plugin "$PLUGIN" "$GUEST" "$MAP" "$out"; copies; } | tr -d '\n') \
		"$TOOLS/vm.sh" "$GUEST 0 1 $1 $KIND $PAGES" >"$out.operations"
}

mkdir -p "$BUILD/bench"
step "build the benchmark" build
for by in move_pages mbind driver; do
	step "count $by" count "$by"
	python3 "$TOOLS/bench/move.py" "$BUILD/bench/move.$by"
done
