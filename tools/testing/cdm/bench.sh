#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Benchmarks in the guest. Without KVM only the ratios mean something: an
# emulator has neither caches nor slow memory.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mkdir -p "$BUILD/bench"
step "build the benchmarks" gcc -O2 -Wall -I "$TOP/drivers/cdm" \
	-o "$BUILD/bench/bench" "$TOOLS/bench/bench.c" -lnuma
accel=$(cut -d' ' -f2 "$BUILD/accel" 2>/dev/null || echo tcg)
TOPOLOGY=single "$TOOLS/vm.sh" \
	"\$CDM_BUILD/bench/bench \$CDM_RAM_NODES \$CDM_DEVICE_NODES $accel"
echo "measured with $accel"
