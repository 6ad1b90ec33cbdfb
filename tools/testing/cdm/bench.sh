#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Benchmarks in the guest: what a migration costs in instructions, and time within
# one boot, recalls and jobs. Without KVM only the ratios mean something: an
# emulator has neither caches nor slow memory. Results as text, CSV and plots in
# build/results. Nothing passes or fails by a figure.
# Environment: FULL=1 for what takes long.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

OUT=$BUILD/results
EARLY=$BUILD/bench/moves/early
accel=$(cut -d' ' -f2 "$BUILD/accel" 2>/dev/null || echo tcg)
real=$([[ $accel == kvm ]] && echo 1 || echo 0)

# compile NAME ARGUMENTS...
compile() {
	local name=$1
	shift
	gcc -O2 -Wall -o "$BUILD/bench/$name" "$TOOLS/bench/$name.c" "$@"
}

programs() {
	local move=("$TOOLS"/bench/move_{area,ways}.c)
	compile bench "${move[@]}" -I "$TOP/drivers/cdm" -I "$SRC/lib"
	compile recall -I "$TOP/drivers/cdm" -lnuma
	compile jobs -D_GNU_SOURCE -I "$TOP/tools/lib/cdm" \
		-idirafter "$TOP/include/uapi" "$BUILD/lib/libcdm_accel.a" -lpthread
}

about() {
	echo "what,is"
	echo "kernel,$(<"$(VARIANT=bench obj default)/include/config/kernel.release")"
	echo "compiler,$(gcc --version | head -1)"
	echo "emulator,$(qemu-system-x86_64 --version | head -1)"
	echo "accelerator of the times,$accel"
	echo "cpus,$(nproc)"
	echo "load before wall,$load"
	[[ ! -s $EARLY ]] || echo "ended early,$(tr '\n' ' ' <"$EARLY")"
	[[ -n ${FULL:-} ]] ||
		echo "not measured,262144 and 1048576 pages: FULL=1 does"
}

# A machine that fails is said, and the others go on.
early() {
	echo "cdm: $1 ended early, its figures are not complete"
	echo "$1" >>"$EARLY"
}

# timed NAME HMM
timed() {
	local start=$SECONDS
	export TOPOLOGY=bench
	logged "$LOG/bench-$1.log" in_guest "$1" "bench 0 1 2 $2 $real"
	say "$(printf '  time: %-30s %4d s' "$1" $((SECONDS - start)))"
	((STATUS == 0)) || early "$1"
}

in_guest() {
	"$TOOLS/vm.sh" "\$CDM_BUILD/bench/$2" >"$OUT/$1"
}

# said NAME COMMAND: its output is kept, too.
said() {
	"$TOOLS/vm.sh" "\$CDM_BUILD/bench/$2" | tee "$OUT/$1.txt" || early "$1"
}

mkdir -p "$BUILD/bench" "$OUT"
export TIMEOUT=${TIMEOUT:-3000}
step "build the benchmarks" programs
"$TOOLS/bench-move.sh" sweep
load=$(cut -d' ' -f1 /proc/loadavg)
timed wall -1
# A kernel with jump labels does not always survive an emulator of two CPUs.
VARIANT=bench KERNEL_ARGS=nr_cpus=1 timed wall-hmm 3
python3 "$TOOLS/bench/wall.py" "$OUT"/wall "$OUT"/wall-hmm >"$OUT/wall.csv"
export TOPOLOGY=single
said recall "recall \$CDM_DEVICE_NODES $accel"
CDM_DRIVER=cdm_accel STRAYS=0 said jobs "jobs $accel"
"$TOOLS/bench-place.sh"
about >"$OUT/about.csv"
python3 "$TOOLS/bench/performance.py" "$OUT" text | tee "$OUT/targets.txt"
step "draw the plots" python3 "$TOOLS/bench/plots.py" "$OUT"
echo "times measured with $accel; results in ${OUT#"$TOP"/}; make performance-table"
