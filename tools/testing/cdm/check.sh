#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Run a goal of check.mk (check, check-all, selftest) and print what was skipped,
# what failed, and the totals: "N passed, N failed, N skipped".
# Environment: JOBS (how many stages at a time); for selftest TESTS, and what vm.sh and
# build.sh read.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

GOAL=${1:-check}

goal() {
	make -C "$TOP" -f "$TOOLS/check.mk" --no-print-directory "$@"
}

# slots: a CPU for each stage, and the memory of its machine.
slots() {
	awk -v cpus="$(nproc)" '/^MemAvailable/ {
		n = int($2 / (8 * 1024 * 1024))
		print n < 1 ? 1 : n < cpus ? n : cpus }' /proc/meminfo
}

# collect STAGE...: the results in an order that does not depend on who was first.
collect() {
	local s
	for s in "$@"; do
		if [[ -e $CHECK/$s ]]; then
			cat "$CHECK/$s"
		else
			echo "not ok $s # did not run"
		fi
	done
}

# twice FILE: each result is one of its own.
twice() {
	sed -E 's/^(ok|not ok|skip) //; s/ # .*//' "$1" | sort | uniq -d | sed 's/.*/not ok & # has two results/'
}

# nowhere FILE: a test, or a program, that no topology and no flavour ran, and that there
# is. Those without a fence show that a test can fail.
nowhere() {
	sed -E '/^[a-z ]* (base|unfenced)\//d; s/^(ok|not ok|skip) [^ ]*\//\1 /; s/: all [0-9]+ tests / /' "$1" |
		awk -F ' # ' '
		/^skip / {
			sub(/^skip /, "", $1)
			if ($2 ~ /make soak/ || $1 ~ /: kmemleak$/)
				next
			skipped[$1] = $2
			if ($2 ~ /^no such case: /)
				known[$1]
			next
		}
		{
			sub(/^(not )?ok /, "", $1)
			ran[$1]
			sub(/: .*/, "", $1)
			ran[$1]
		}
		END {
			for (t in skipped)
				if (!(t in ran) && !(t in known))
					print "not ok " t " # skipped everywhere: " skipped[t]
		}' | sort
}

[[ $GOAL == selftest ]] || unset TESTS FLAVOUR VARIANT TOPOLOGY SHRINK ACCEL SHIFT SEED \
	TIMEOUT LIMIT CDM_STRESS_SECONDS
unset KUNIT ROOT
# Stages that outlive a check which was killed hold the lock, too: they write results.
alone check
rm -rf "$CHECK" "$CHECK.txt"
mkdir -p "$CHECK"
stages=$(goal -s "list-$GOAL")
goal -k -j"${JOBS:-$(slots)}" "$GOAL" || true
# shellcheck disable=SC2086
collect $stages >"$CHECK.txt"
more=$(twice "$CHECK.txt"; [[ $GOAL != check-all ]] || nowhere "$CHECK.txt")
[[ -z $more ]] || echo "$more" >>"$CHECK.txt"
grep '^skip ' "$CHECK.txt" || true
grep '^not ok ' "$CHECK.txt" | sed 's/^not ok/failed:/' || true
echo "== total: $SECONDS s; all results in ${CHECK#"$TOP"/}.txt"
totals "$CHECK.txt"
! grep -q '^not ok ' "$CHECK.txt" && grep -q '^ok ' "$CHECK.txt"
