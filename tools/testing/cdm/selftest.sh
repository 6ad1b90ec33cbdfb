#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Programs of the selftests in a machine of their own: one, some, or all.
#   selftest.sh FLAVOUR TOPOLOGY PROGRAM[+PROGRAM]...|all
# Those of the accelerator (accel_*) need its driver, the others the test driver and
# a sealed machine (see vm.sh), with the same results for one SEED (environment,
# default 1). On flavours base and unfenced only the fence tests run (those named after a
# row of the contract, as F3_tmpfs), and each must fail: so it can see a leak.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FLAVOUR=$1 TOPOLOGY=$2 PROGRAM=$3
export FLAVOUR TOPOLOGY
NAME=selftest-$FLAVOUR${VARIANT:+-$VARIANT}-$TOPOLOGY-$PROGRAM
KTAP=$LOG/$NAME.ktap
PROGRAMS=${PROGRAMS:-$BUILD/selftests}
ROW='^[A-Z][0-9]+_'
SEED=${SEED:-1}
ASKED=""
for name in VARIANT SHRINK ACCEL SHIFT LIMIT TIMEOUT SOAK CDM_STRESS_SECONDS; do
	[[ -z ${!name:-} ]] || ASKED+=" $name=${!name}"
done

# programs: those that are asked for
programs() {
	if [[ $PROGRAM == all ]]; then
		(cd "$PROGRAMS" && printf '%s\n' *_test)
	else
		tr + '\n' <<<"$PROGRAM"
	fi
}

# left_out PROGRAM: why it is left out there.
left_out() {
	case $FLAVOUR-$TOPOLOGY-$1 in
	*-plain-accel*) echo "topology plain has no device" ;;
	debug-small-workload_test)
		[[ -z ${SOAK:-} ]] || return 1
		echo "it lasts long with the checkers: make soak runs it"
		;;
	*) return 1 ;;
	esac
}

fenced() {
	[[ $FLAVOUR != base && $FLAVOUR != unfenced ]]
}

# rows PROGRAM: the names of its fence tests.
rows() {
	{ "$PROGRAMS/$1" -l 2>&1 || true; } | awk '{ print $NF }' | grep -E "$ROW" | sort -u
}

# arguments PROGRAM
arguments() {
	fenced || rows "$1" | sed 's/^/-t /' | paste -sd' '
}

guest_command() {
	local p where=/selftests
	[[ $ROOT == image ]] || where=$PROGRAMS
	for p in "${run[@]}"; do
		echo "echo '#cdm begin $p'"
		echo "$where/$p $(arguments "$p") 2>&1; status=\$?"
		echo "echo; echo \"#cdm end $p \$status\""
	done
}

# running: the program that began last and did not end
running() {
	awk '/^#cdm begin / { p = $3 } /^#cdm end / { p = "" } END { print p }' "$KTAP"
}

# machine: run it; say what befell the machine, and when.
machine() {
	local status=0 during
	"$TOOLS/vm.sh" "$(guest_command)" >"$KTAP" 2>"$KTAP.err" || status=$?
	! grep -q '^cdm: kmemleak gave up' "$KTAP.err" ||
		result "skip $PREFIX$PROGRAM: kmemleak # the machine had no memory left for it"
	sed 's/^/    /' "$KTAP.err" | grep -A12 'cdm:' >&2 || true
	during=$(running)
	during=${during:+" # during $during"}
	case $status in
	0) ;;
	96) result "not ok $PREFIX$PROGRAM: a device accessed what it may not, see the console" ;;
	97) result "not ok $PREFIX$PROGRAM: device nodes did not come up" ;;
	98) result "not ok $PREFIX$PROGRAM: the machine died$during" ;;
	99) result "not ok $PREFIX$PROGRAM: kernel splat$during" ;;
	124) result "not ok $PREFIX$PROGRAM: timeout$during" ;;
	*) result "not ok $PREFIX$PROGRAM: the guest failed, status $status" ;;
	esac
}

# kmemleak costs a third of the time, so it watches those programs alone that
# allocate in all ways there are.
checkers() {
	local p
	[[ $FLAVOUR == debug ]] || return 0
	case +$PROGRAM+ in
	*+lifecycle_test+* | *+accel_test+*) ;;
	*)
		[[ -z ${SOAK:-} ]] || return 0
		KERNEL_ARGS="${KERNEL_ARGS:-} kmemleak=off"
		for p in "${run[@]}"; do
			result "skip $PREFIX$p: kmemleak # it watches lifecycle_test and accel_test; make soak has it everywhere"
		done
		;;
	esac
	export KERNEL_ARGS
}

# What is needed to see it again, and to understand it.
advice() {
	grep -q '^not ok ' "$RESULTS" || return 0
	[[ $PROGRAM == accel* ]] || ASKED=" SEED=$SEED$ASKED"
	echo "    again:   make selftest FLAVOUR=$FLAVOUR TOPOLOGY=$TOPOLOGY TESTS=$PROGRAM$ASKED"
	echo "    results: ${KTAP#"$TOP"/}$(
		! grep -q '^# counters that changed' "$KTAP" || echo ", with counters and audits")"
	echo "    console: ${CONSOLE#"$TOP"/}"
}

[[ +$PROGRAM != *+accel* ]] || ! programs | grep -qv '^accel' ||
	die "programs of the accelerator share no machine with others: it has another driver"
[[ $PROGRAM != all || $TOPOLOGY == plain ]] || die "all programs in one machine: on topology plain alone"
start_results
export CONSOLE=$LOG/$NAME.console.log
PREFIX=$FLAVOUR/$TOPOLOGY/ LEAKS=""
fenced || LEAKS=--leaks
run=()
for p in $(programs); do
	if reason=$(left_out "$p"); then
		result "skip $PREFIX$p # $reason"
	elif ! fenced && ! rows "$p" | grep -q .; then
		result "not ok $PREFIX$p # no test is named after a row: it has nothing to see here"
	else
		run+=("$p")
	fi
done
if ((${#run[@]} == 0)); then
	finish
	exit
fi
export ROOT=${ROOT:-image} TIMEOUT=${TIMEOUT:-2400} LIMIT=${LIMIT:-1200}
# Half the memory is filled in half the time.
case $FLAVOUR-$TOPOLOGY in
debug-* | *-small | *-eight) export SHRINK=${SHRINK:-1} ;;
*) export SHRINK=${SHRINK:-2} ;;
esac
checkers
if [[ $PROGRAM == accel* ]]; then
	export CDM_DRIVER=cdm_accel
else
	# A kernel with checkers does a third as much with an instruction.
	export ACCEL=${ACCEL:-icount} SEED
	export SHIFT=${SHIFT:-$([[ $FLAVOUR == debug ]] && echo 1 || echo 2)}
fi
machine
# shellcheck disable=SC2086
python3 "$TOOLS/ktap.py" $LEAKS "$PREFIX" "${run[@]}" <"$KTAP" |
	while read -r line; do result "$line"; done
advice
finish
