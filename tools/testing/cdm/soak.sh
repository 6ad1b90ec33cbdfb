#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# What the checks leave out for its time, as long as HOURS last (default 1): the
# checkers with kmemleak and on a large machine, other seeds, several threads of the
# emulator at once, more devices. Each round begins with a new seed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FOUND=$LOG/soak.txt
export SOAK=1 SHRINK=1 CDM_STRESS_SECONDS=60
END=$((SECONDS + $(awk "BEGIN { print int(${HOURS:-1} * 3600) }")))

# accelerator SEED: its own test, without a machine.
accelerator() {
	((SECONDS < END)) || return 0
	check "accelerator, seed $1" "$BUILD/accelerator/accel-selftest" "$1" |
		tee >(grep "^not ok " >>"$FOUND")
}

# round NAME ENVIRONMENT...: every selftest that way.
round() {
	local name=$1
	shift
	((SECONDS < END)) || return 0
	touch "$LOG/soak.begin"
	env "$@" "$TOOLS/check.sh" selftest >"$LOG/soak.out" 2>&1 || true
	if [[ ! $CHECK.txt -nt $LOG/soak.begin ]]; then
		result "not ok $name # no list of results, see ${LOG#"$TOP"/}/soak.out"
		END=0
		return
	fi
	echo "$name: $(totals "$CHECK.txt")"
	grep '^not ok ' "$CHECK.txt" | sed "s/\$/ ($name)/" | tee -a "$FOUND" || true
	grep '^    again: ' "$LOG/soak.out" || true
	cat "$CHECK.txt" >>"$RESULTS"
}

start_results
: >"$FOUND"
while ((SECONDS < END)); do
	seed=$((RANDOM << 15 | RANDOM))
	round "seed $seed" SEED=$seed TOPOLOGY="single two eight"
	round "seed $seed, checkers" SEED=$seed FLAVOUR=debug TOPOLOGY=two LIMIT=6000 TIMEOUT=10800
	round "several threads" ACCEL=tcg TOPOLOGY="single two"
	accelerator $seed
done
finish
