#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Benchmarks in the guest. Without KVM only the ratios mean something: an
# emulator has neither caches nor slow memory.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

mkdir -p "$BUILD/bench"
compile() {
	local name=$1
	shift
	gcc -O2 -Wall -o "$BUILD/bench/$name" "$TOOLS/bench/$name.c" "$@"
}
uapi=(-I "$TOP/drivers/cdm" -lnuma)
library=(-D_GNU_SOURCE -I "$TOP/tools/lib/cdm" -idirafter "$TOP/include/uapi"
	"$BUILD/lib/libcdm_accel.a" -lpthread)
step "build the benchmarks: migration" compile bench "${uapi[@]}"
step "build the benchmarks: recall" compile recall "${uapi[@]}"
step "build the benchmarks: jobs" compile jobs "${library[@]}"
accel=$(cut -d' ' -f2 "$BUILD/accel" 2>/dev/null || echo tcg)
export TOPOLOGY=single TIMEOUT=${TIMEOUT:-900}
"$TOOLS/vm.sh" "\$CDM_BUILD/bench/bench \$CDM_RAM_NODES \$CDM_DEVICE_NODES $accel"
"$TOOLS/vm.sh" "\$CDM_BUILD/bench/recall \$CDM_DEVICE_NODES $accel"
CDM_DRIVER=cdm_accel "$TOOLS/vm.sh" "\$CDM_BUILD/bench/jobs $accel"
echo "measured with $accel"
