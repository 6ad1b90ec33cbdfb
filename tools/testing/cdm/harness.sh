#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The harness tested: each kind of trouble must turn a run red.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FAKES=$BUILD/fakes
PROVOKE='modprobe lkdtm && echo WARNING >/sys/kernel/debug/provoke-crash/DIRECT'
export TOPOLOGY=plain
SAID=$LOG/harness--programs-that-fail.log
names=() wants=()

# expect STATUS COMMAND...
expect() {
	local want=$1 status=0
	shift
	"$@" || status=$?
	echo "exit status $status, expected $want"
	((status == want))
}

vm() {
	"$TOOLS/vm.sh" "$1"
}

bytes() {
	cmp <(vm 'printf "a\0b\n"; echo c >&2' 2>/dev/null) <(printf 'a\0b\n') &&
	cmp <(vm 'seq 300000') <(seq 300000)
}

# sealed SEED: all that a sealed machine says of itself
sealed() {
	SEED=$1 ROOT=image ACCEL=icount SHIFT=2 "$TOOLS/vm.sh" \
		'dmesg; cat /proc/vmstat /proc/interrupts /proc/uptime'
}

repeatable() {
	local out=$BUILD/harness
	sealed 1 >"$out" && cmp "$out" <(sealed 1) &&
		sealed 2 >"$out.2" && ! cmp -s "$out" "$out.2"
}

# strays: an accelerator that accesses what it may not, and a command that succeeds
strays() {
	TOPOLOGY=single CDM_DRIVER=cdm_accel expect 96 \
		vm 'tee /sys/kernel/debug/cdm_accel/*/inject <<<stray'
}

guest_limit() {
	local out
	out=$(LIMIT=5 ROOT=image ACCEL=icount SHIFT=2 expect 124 vm 'sleep 1000' 2>&1) &&
		! grep 'cdm: timeout after' <<<"$out"
}

new_fakes() {
	rm -rf "$FAKES"
	mkdir -p "$FAKES"
}

# fake NAME SCRIPT
fake() {
	printf '#!/bin/bash\n%s\n' "$2" >"$FAKES/$1_test"
	chmod +x "$FAKES/$1_test"
}

# red WANT SCRIPT: a program that does SCRIPT fails, and says how to see it again.
red() {
	local out
	new_fakes
	fake bad "$2"
	out=$(RESULTS='' PROGRAMS=$FAKES ROOT=host \
		"$TOOLS/selftest.sh" default "$TOPOLOGY" bad_test 2>&1) && return 1
	echo "$out"
	grep -q "^not ok .*$1" <<<"$out" && grep -q "again: .*TESTS=bad_test SEED=" <<<"$out"
}

# Of programs that share a machine, what the first found stays, though the second kills it.
shared() {
	local out
	new_fakes
	fake good "$begin; echo ok 2 two"
	fake bad "$begin; sleep 1; echo b >/proc/sysrq-trigger; sleep 9"
	fake late "$begin; echo ok 2 two"
	out=$(RESULTS='' PROGRAMS=$FAKES ROOT=host \
		"$TOOLS/selftest.sh" default "$TOPOLOGY" good_test+bad_test+late_test 2>&1) && return 1
	echo "$out"
	grep -q '^3 passed, ' <<<"$out" && grep -q 'the machine died # during bad_test$' <<<"$out" &&
		grep -q '^not ok .*late_test # did not run' <<<"$out" &&
		grep -q 'again: .*TESTS=good_test+bad_test+late_test SEED=' <<<"$out"
}

# ktap NAME WANT SCRIPT: one more program for the machine of trouble(), and what has
# to be said of it.
ktap() {
	names+=("$1") wants+=("$2")
	fake "f$((${#names[@]}))" "$3"
}

# said PATTERN: of these programs
said() {
	grep "$1" "$SAID" || { cat "$SAID" && return 1; }
}

# trouble: runs these programs, each of which has its own failure and no other's.
trouble() {
	local i all nr=${#names[@]}
	all=$(printf '+f%d_test' $(seq "$nr"))
	check "harness: programs that fail" expect 1 env RESULTS='' PROGRAMS="$FAKES" ROOT=host \
		"$TOOLS/selftest.sh" default "$TOPOLOGY" "${all#+}"
	for i in "${!names[@]}"; do
		check "harness: ${names[i]}" \
			said "^not ok default/$TOPOLOGY/f$((i + 1))_test.*${wants[i]}"
	done
	check "harness: no other failures" said " $((nr + 1)) failed, "
	check "harness: how to see it again" said "again: .*TESTS=${all#+} SEED="
}

start_results
check "harness: success" expect 0 vm true
check "harness: exit status" expect 7 vm 'exit 7'
check "harness: output is exact" bytes
check "harness: warning in the kernel" expect 99 vm "$PROVOKE; true"
check "harness: panic" expect 98 vm 'echo c >/proc/sysrq-trigger'
check "harness: reset" expect 98 vm 'echo b >/proc/sysrq-trigger'
TIMEOUT=10 check "harness: timeout" expect 124 vm 'sleep 60'
check "harness: limit of the guest's own time" guest_limit
check "harness: access of a device that strays" strays
check "harness: a sealed machine repeats itself" repeatable

begin='echo TAP version 13; echo 1..2; echo ok 1 one'
new_fakes
ktap "failing test" "two" "$begin; echo not ok 2 two; exit 1"
ktap "killed test" "two # two: Test terminated" \
	"$begin; echo '# two: Test terminated unexpectedly by signal 9'; echo not ok 2 two; exit 1"
ktap "failing test, exit status 0" "status 0 with a failed" "$begin; echo not ok 2 two"
ktap "exit status 1, no failing test" "status 1 without a failed" "$begin; echo ok 2 two; exit 1"
ktap "short plan" "2 tests planned, 1 reported" "$begin"
ktap "no plan" "no plan" "echo TAP version 13; echo ok 1 one"
ktap "duplicate number" "number 1, expected 2" "$begin; echo ok 1 two"
ktap "no output" "no KTAP" "exit 0"
trouble
check "harness: program that warns" red "kernel splat" "$begin; echo ok 2 two; $PROVOKE"
check "harness: program that kills the machine" \
	red "did not end" "$begin; sleep 1; echo b >/proc/sysrq-trigger; sleep 9"
check "harness: programs that share a machine" shared
finish
