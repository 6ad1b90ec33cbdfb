#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The selftests in the guest: all programs in one boot per topology and owner
# driver. Those of the accelerator (accel_*) need its driver, the others the test
# driver.
# Environment: FLAVOUR, TOPOLOGY (default: single, two, plain, and frontier with
# the accelerators only; debug: two and plain), TESTS, MACHINES (how many to run
# at a time; default: one for each CPU, for most tests keep one CPU busy).
# On flavour base only the fence tests run (those named after a row of the
# contract, as F3_tmpfs), and each must fail: so it can see a leak.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FLAVOUR=${FLAVOUR:-default}
export TIMEOUT=${TIMEOUT:-1800}
PROGRAMS=${PROGRAMS:-$BUILD/selftests}
ROW='^[A-Z][0-9]+_'
leaks="" PARTS=1

# left_out TOPOLOGY PROGRAM: why it is left out there, unless TESTS asks for it.
left_out() {
	[[ -z ${TESTS:-} ]] || return 1
	case $FLAVOUR-$1-$2 in
	*-plain-accel*) echo "topology plain has no device" ;;
	debug-*-workload_test)
		echo "takes too long here: make selftest FLAVOUR=debug TESTS=$2" ;;
	*-frontier-accel_stress_test | default-two-workload_test | default-two-owner_test | \
	default-two-accel_stress_test) echo "takes minutes, and single has run it" ;;
	*-frontier-accel_*) return 1 ;;
	*-frontier-*) echo "several accelerators only" ;;
	*) return 1 ;;
	esac
}

# Nothing is left out silently.
report_left_out() {
	local p reason
	for p in $(cd "$PROGRAMS" && ls -- *_test); do
		if reason=$(left_out "$1" "$p"); then
			result "skip $FLAVOUR/$1/$p # $reason"
		fi
	done
}

# driver PROGRAM: which owner driver it needs.
driver() {
	if [[ $1 == accel* ]]; then
		echo cdm_accel
	else
		echo cdm_test
	fi
}

# programs TOPOLOGY [DRIVER]: what runs there.
programs() {
	local p
	for p in ${TESTS:-$(cd "$PROGRAMS" && ls -- *_test)}; do
		[[ $FLAVOUR != base ]] || rows "$p" | grep -q . || continue
		! left_out "$1" "$p" >/dev/null || continue
		[[ -z ${2:-} || $(driver "$p") == "$2" ]] || continue
		echo "$p"
	done
}

# rows PROGRAM: the names of its fence tests.
rows() {
	{ "$PROGRAMS/$1" -l 2>&1 || true; } | awk '{ print $NF }' | grep -E "$ROW" | sort -u
}

arguments() {
	[[ $FLAVOUR != base ]] || rows "$1" | sed 's/^/-t /' | paste -sd' '
}

guest_command() {
	local p
	for p in "$@"; do
		echo "echo; echo '#cdm begin $p'; since=\$SECONDS"
		echo "$PROGRAMS/$p $(arguments "$p") 2>&1; status=\$?"
		echo "echo; echo \"#cdm end $p \$status \$((SECONDS - since))\""
	done
}

# boot TOPOLOGY OUTPUT PROGRAM...: run them; report what befell the machine.
boot() {
	local topology=$1 out=$2 status=0 name
	shift 2
	name=$FLAVOUR/$topology
	CDM_DRIVER=$(driver "$1") TOPOLOGY=$topology "$TOOLS/vm.sh" "$(guest_command "$@")" >"$out" 2>"$out.err" || status=$?
	! grep -q '^cdm: kmemleak gave up' "$out.err" ||
		result "skip $name/kmemleak # the machine had no memory left for it"
	[[ $status -ne 0 ]] || return 0
	sed 's/^/    /' "$out.err" | grep -A12 'cdm:' >&2 || true
	case $status in
	97) result "not ok $name: device nodes did not come up" ;;
	98) result "not ok $name: the machine died" ;;
	99) result "not ok $name: kernel splat" ;;
	124) result "not ok $name: timeout" ;;
	*) result "not ok $name: the guest failed, status $status" ;;
	esac
	return "$status"
}

# run_driver TOPOLOGY DRIVER PART: every PARTS-th program. One that takes the
# machine down must not hide those after it.
run_driver() {
	local topology=$1 out=$WORK/$1.$2.$3 todo rest nr=0 status
	todo=$(programs "$topology" "$2" | sed -n "$3~${PARTS}p")
	while [[ -n $todo ]]; do
		nr=$((nr + 1))
		status=0
		# shellcheck disable=SC2086
		boot "$topology" "$out.$nr" $todo || status=$?
		cat "$out.$nr" >>"$out.ktap"
		((status == 98 || status == 124)) || break
		rest=$(sed '0,/^'"$(grep '^#cdm begin' "$out.$nr" | tail -1 | cut -d' ' -f3)"'$/d' <<<"$todo")
		[[ $rest != "$todo" ]] || break
		todo=$rest
	done
}

# run TOPOLOGY...: MACHINES at a time.
run() {
	local t driver part
	for t in "$@"; do
		for driver in cdm_test cdm_accel; do
			for part in $(seq "$PARTS"); do
				(($(jobs -rp | wc -l) < MACHINES)) || wait -n || true
				: >"$WORK/$t.$driver.$part.ktap"
				run_driver "$t" "$driver" "$part" &
			done
		done
	done
	wait
}

report() {
	local topology=$1 out=$WORK/$1
	report_left_out "$topology"
	cat "$out".*.ktap >"$out.ktap"
	awk '/^#cdm end/ { printf "   %4d s %s\n", $5, $3 }' "$out.ktap"
	# shellcheck disable=SC2046
	python3 "$TOOLS/ktap.py" $leaks "$FLAVOUR/$topology/" $(programs "$topology") <"$out.ktap" |
		while read -r line; do result "$line"; done
	mv "$out.ktap" "$LOG/selftest-$FLAVOUR-$topology.ktap"
	cat "$out".*.err >"$LOG/selftest-$FLAVOUR-$topology.err"
}

start_results
MACHINES=${MACHINES:-$(nproc)}
mkdir -p "$BUILD/run"
WORK=$(mktemp -d "$BUILD/run/XXXXXX")
trap 'rm -rf "$WORK" ${OWN_RESULTS:+"$RESULTS"}' EXIT
case $FLAVOUR in
base) leaks=--leaks topologies=${TOPOLOGY:-single} ;;
# The checkers make it slow, and two has all that single has.
debug) PARTS=2 topologies=${TOPOLOGY:-two plain} ;;
*) topologies=${TOPOLOGY:-single two plain frontier} ;;
esac
[[ -n $(programs any) ]] || die "no selftests are built"
# shellcheck disable=SC2086
run $topologies
for t in $topologies; do
	report "$t"
done
finish
