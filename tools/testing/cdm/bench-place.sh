#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Placement by use: each workload with balancing off, between CPUs, and across the
# fence, against the best static placement. Counts of accesses, weighted by the
# latencies that firmware gives; no times. make bench runs this as well.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

OUT=$BUILD/results
export CDM_DRIVER=cdm_accel TIMEOUT=${TIMEOUT:-1500}

# placed TOPOLOGY MODE NODE...: each in a machine of its own.
placed() {
	local topology=$1
	shift
	TOPOLOGY=$topology "$TOOLS/vm.sh" "\$CDM_BUILD/bench/place $*" >>"$OUT/place.txt"
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
python3 "$TOOLS/bench/placement.py" "$OUT"
