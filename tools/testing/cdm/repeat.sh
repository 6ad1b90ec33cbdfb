#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Is the check the same every time? Runs a goal of check.sh TIMES times, the last
# LOADED of them beside two busy loops, and compares the lists of results.
# Environment: GOAL (default selftest), TIMES (10), LOADED (5), and what check.sh
# reads. Fails if a list differs from the first or holds a failure.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

GOAL=${GOAL:-selftest} TIMES=${TIMES:-10} LOADED=${LOADED:-5}
OUT=$BUILD/repeat
BUSY=()

# What a reason says may hold a number that is measured.
verdicts() {
	sed 's/ # .*//' "$1"
}

begin_load() {
	local i
	for i in 1 2; do
		(while :; do :; done) &
		BUSY+=($!)
	done
}

end_load() {
	((${#BUSY[@]} == 0)) || kill "${BUSY[@]}"
	BUSY=()
}

trap end_load EXIT
rm -rf "$OUT"
mkdir -p "$OUT"
bad=0
for ((i = 1; i <= TIMES; i++)); do
	((i <= TIMES - LOADED)) || begin_load
	start=$SECONDS
	rm -rf "$BUILD/style"
	"$TOOLS/check.sh" "$GOAL" >"$OUT/$i.log" 2>&1 || bad=1
	verdicts "$CHECK.txt" >"$OUT/$i.txt"
	same=same
	cmp -s "$OUT/1.txt" "$OUT/$i.txt" || same=different
	[[ $same == same ]] || bad=1
	echo "run $i of $TIMES$( ((${#BUSY[@]})) && echo ", loaded"): $((SECONDS - start)) s," \
		"$(totals "$CHECK.txt"), list: $same ($(sha256sum <"$OUT/$i.txt" | cut -c1-12))"
	end_load
done
exit $bad
