#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Placement by use: each workload with balancing off, between CPUs, and across the
# fence, against the best static placement. Counts of accesses, weighted by the
# latencies that firmware gives; no times. And what finding out about CPUs costs them,
# in instructions. make bench runs this as well.
# Environment: MODES, those of kernel.numa_balancing to compare (default: 0 1 4).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$TOOLS/bench/plugin.sh"

OUT=$BUILD/results
export CDM_DRIVER=cdm_accel TIMEOUT=${TIMEOUT:-1500}

# placed TOPOLOGY MODE NODE...: each in a machine of its own.
placed() {
	local topology=$1
	shift
	TOPOLOGY=$topology "$TOOLS/vm.sh" "\$CDM_BUILD/bench/place $*" >>"$OUT/place.txt"
}

# static_program NAME: at an address where no other program of the guest is.
static_program() {
	gcc -O2 -Wall -static -fno-pie -no-pie -Wl,-Ttext-segment=0x50000000 \
		-o "$BUILD/bench/$1" "$TOOLS/bench/$1.c" -I "$TOP/drivers/cdm"
}

# One CPU, so that nothing else runs, and nothing that differs by chance.
scan() {
	local plugin=$BUILD/bench/count.so
	static_program scan
	gcc -O2 -Wall -Wextra -Wno-unused-parameter -Werror -shared -fPIC \
		-o "$plugin" "$TOOLS/bench/count.c"
	KERNEL_ARGS="nr_cpus=1 norandmaps mitigations=off" ACCEL=icount VARIANT=bench \
		FLAVOUR=default TOPOLOGY=single CDM_DRIVER=cdm_test \
		QEMU_ARGS=$(count_plugin "$plugin" "$BUILD/bench/scan" \
			"$(VARIANT=bench obj default)/System.map" "$OUT/scan.counts" | tr -d '\n') \
		"$TOOLS/vm.sh" "\$CDM_BUILD/bench/scan 1" >"$OUT/scan.txt"
}

mkdir -p "$BUILD/bench" "$OUT"
gcc -O2 -Wall -D_GNU_SOURCE -o "$BUILD/bench/place" "$TOOLS/bench/place.c" \
	-I "$TOP/tools/lib/cdm" -idirafter "$TOP/include/uapi" \
	"$BUILD/lib/libcdm_accel.a" -lnuma -lpthread
: >"$OUT/place.txt"
for mode in ${MODES:-0 1 4}; do
	placed single "$mode" 1
	placed two "$mode" 2 3
done
step "count: balancing" scan
python3 "$TOOLS/bench/placement.py" "$OUT"
