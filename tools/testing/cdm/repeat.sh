#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Is the check the same every time? Runs a goal of check.sh TIMES times, the last
# LOADED of them beside two busy loops, and compares the lists of results, and the logs
# of sealed machines, with the times of their tests.
# Environment: GOAL (default selftest), TIMES (10), LOADED (5), and what check.sh
# reads. Fails if a list differs from the first or holds a failure, and, where QEMU may
# have a real-time priority, if a log differs.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

GOAL=${GOAL:-selftest} TIMES=${TIMES:-10} LOADED=${LOADED:-5}
OUT=$BUILD/repeat
BUSY=()

# What a reason says may hold a number that is measured.
verdicts() {
	sed 's/ # .*//' "$1"
}

# The logs of this run in sealed machines, with what each test took by the guest's clock
sealed_logs() {
	[[ $GOAL != selftest || ${ACCEL:-icount} == icount ]] || return 0
	find "$LOG" \( -name 'selftest-*.ktap' -o -name 'kunit-*.ktap' \) ! -name '*accel*' \
		! -name '*bad_test*' ! -name '*-f1_test*' -newer "$OUT/begin" -exec sha256sum {} + | sort
}

begin_load() {
	local i
	for i in 1 2; do
		(while kill -0 $$ 2>/dev/null; do :; done) &
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
	touch "$OUT/begin"
	[[ $GOAL == selftest ]] || rm -rf "$BUILD/style"
	"$TOOLS/check.sh" "$GOAL" >"$OUT/$i.log" 2>&1 || bad=1
	verdicts "$CHECK.txt" >"$OUT/$i.txt"
	sealed_logs >"$OUT/$i.sums"
	same=same
	cmp -s "$OUT/1.txt" "$OUT/$i.txt" || same=different bad=1
	echo "run $i of $TIMES$( ((${#BUSY[@]})) && echo ", loaded"): $((SECONDS - start)) s," \
		"$(totals "$CHECK.txt"), list: $same ($(sha256sum <"$OUT/$i.txt" | cut -c1-12))," \
		"$(comm -12 "$OUT/1.sums" "$OUT/$i.sums" | wc -l) of $(wc -l <"$OUT/$i.sums") sealed logs: same"
	! chrt --fifo 1 true 2>/dev/null || cmp -s "$OUT/1.sums" "$OUT/$i.sums" || bad=1
	comm -13 "$OUT/1.sums" "$OUT/$i.sums" | sed 's/^[^ ]*/    not as in run 1:/'
	end_load
done
exit $bad
