#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Run a goal of check.mk (check, check-all, selftest) and print what was skipped,
# what failed, and the totals: "N passed, N failed, N skipped".
# Environment: JOBS (how many stages at a time); for selftest FLAVOUR, TOPOLOGY,
# TESTS and SEED.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

GOAL=${1:-check}

goal() {
	make -C "$TOP" -f "$TOOLS/check.mk" --no-print-directory "$@"
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

[[ $GOAL == selftest ]] || unset FLAVOUR TOPOLOGY TESTS SEED
unset TIMEOUT VARIANT
alone check
rm -rf "$CHECK"
mkdir -p "$CHECK"
stages=$(goal -s "list-$GOAL")
goal -k -O -j"${JOBS:-$(nproc)}" "$GOAL" 9>&- || true
# shellcheck disable=SC2086
collect $stages >"$CHECK.txt"
grep '^skip ' "$CHECK.txt" || true
grep '^not ok ' "$CHECK.txt" | sed 's/^not ok/failed:/' || true
echo "== total: $SECONDS s; all results in ${CHECK#"$TOP"/}.txt"
totals "$CHECK.txt"
! grep -q '^not ok ' "$CHECK.txt" && grep -q '^ok ' "$CHECK.txt"
