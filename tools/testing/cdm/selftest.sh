#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# One program of the selftests in a machine of its own.
#   selftest.sh FLAVOUR TOPOLOGY PROGRAM
# Those of the accelerator (accel_*) need its driver, the others the test driver and
# a sealed machine (see vm.sh), in which one SEED (environment, default 1) gives one
# run. On flavour base only the fence tests run (those named after a row of the
# contract, as F3_tmpfs), and each must fail: so it can see a leak.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FLAVOUR=$1 TOPOLOGY=$2 PROGRAM=$3
export FLAVOUR TOPOLOGY
NAME=selftest-$FLAVOUR-$TOPOLOGY-$PROGRAM
KTAP=$LOG/$NAME.ktap
PROGRAMS=${PROGRAMS:-$BUILD/selftests}
ROW='^[A-Z][0-9]+_'
SEED=${SEED:-1}

# left_out: why it is left out there.
left_out() {
	case $FLAVOUR-$TOPOLOGY-$PROGRAM in
	*-plain-accel*) echo "topology plain has no device" ;;
	debug-small-workload_test)
		[[ -z ${SOAK:-} ]] || return 1
		echo "it lasts long with the checkers: make soak runs it"
		;;
	*) return 1 ;;
	esac
}

# rows: the names of its fence tests.
rows() {
	{ "$PROGRAMS/$PROGRAM" -l 2>&1 || true; } | awk '{ print $NF }' | grep -E "$ROW" | sort -u
}

arguments() {
	[[ $FLAVOUR != base ]] || rows | sed 's/^/-t /' | paste -sd' '
}

# Where the program is for the guest
path() {
	if [[ $ROOT == image ]]; then
		echo "/selftests/$PROGRAM"
	else
		echo "$PROGRAMS/$PROGRAM"
	fi
}

guest_command() {
	echo "echo '#cdm begin $PROGRAM'"
	echo "$(path) $(arguments) 2>&1; status=\$?"
	echo "echo; echo \"#cdm end $PROGRAM \$status\""
}

# machine: run it; say what befell the machine.
machine() {
	local status=0
	"$TOOLS/vm.sh" "$(guest_command)" >"$KTAP" 2>"$KTAP.err" || status=$?
	! grep -q '^cdm: kmemleak gave up' "$KTAP.err" ||
		result "skip $PREFIX$PROGRAM: kmemleak # the machine had no memory left for it"
	sed 's/^/    /' "$KTAP.err" | grep -A12 'cdm:' >&2 || true
	case $status in
	0) ;;
	97) result "not ok $PREFIX$PROGRAM: device nodes did not come up" ;;
	98) result "not ok $PREFIX$PROGRAM: the machine died" ;;
	99) result "not ok $PREFIX$PROGRAM: kernel splat" ;;
	124) result "not ok $PREFIX$PROGRAM: timeout" ;;
	*) result "not ok $PREFIX$PROGRAM: the guest failed, status $status" ;;
	esac
}

# kmemleak costs a third of the time, so it watches those programs alone that
# allocate in all ways there are.
checkers() {
	[[ $FLAVOUR == debug ]] || return 0
	case $PROGRAM in
	lifecycle_test | accel_test) ;;
	*)
		[[ -z ${SOAK:-} ]] || return 0
		KERNEL_ARGS="${KERNEL_ARGS:-} kmemleak=off"
		result "skip $PREFIX$PROGRAM: kmemleak # it watches lifecycle_test and accel_test; make soak has it everywhere"
		;;
	esac
	export KERNEL_ARGS
}

# What is needed to see it again, and to understand it.
advice() {
	grep -q '^not ok ' "$RESULTS" || return 0
	echo "    again:   make selftest FLAVOUR=$FLAVOUR TOPOLOGY=$TOPOLOGY TESTS=$PROGRAM SEED=$SEED"
	echo "    results: ${KTAP#"$TOP"/}, with the counters before and after, and the audit"
	echo "    console: ${CONSOLE#"$TOP"/}"
}

start_results
export CONSOLE=$LOG/$NAME.console.log
PREFIX=$FLAVOUR/$TOPOLOGY/ LEAKS=""
if reason=$(left_out); then
	result "skip $PREFIX$PROGRAM # $reason"
	finish
	exit
fi
[[ $FLAVOUR != base ]] || LEAKS=--leaks
if [[ $FLAVOUR == base ]] && ! rows | grep -q .; then
	result "not ok $PREFIX$PROGRAM # no test is named after a row: it has nothing to see here"
	finish
	exit
fi
export ROOT=${ROOT:-image} TIMEOUT=${TIMEOUT:-2400} LIMIT=${LIMIT:-1200}
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
python3 "$TOOLS/ktap.py" $LEAKS "$PREFIX" "$PROGRAM" <"$KTAP" |
	while read -r line; do result "$line"; done
advice
finish
