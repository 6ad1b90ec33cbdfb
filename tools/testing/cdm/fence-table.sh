#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The table of the fence from the logs of the last selftests of the flavours
# default and base. Written to Documentation/; with --check compared to what is
# there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TABLE=$TOP/Documentation/mm/cdm/fence.rst
# Programs that are no matter of the fence.
OTHERS='^(accel|balance|exact|owner)'

logs() {
	local t
	for t in "${@:2}"; do
		[[ -e $LOG/selftest-$1-$t.ktap ]] ||
			die "no log of the selftests of flavour $1, topology $t: make check"
		complete "$LOG/selftest-$1-$t.ktap" "$1" ||
			die "selftests of flavour $1, topology $t, were run only in part: make check"
		echo "$LOG/selftest-$1-$t.ktap"
	done
}

# complete LOG FLAVOUR: has every program of tests left its results in it?
complete() {
	local p
	for p in "$BUILD"/selftests/*_test; do
		p=${p##*/}
		[[ ! $p =~ $OTHERS ]] || continue
		grep -q "^#cdm begin $p\$" "$1" || [[ $p == workload_test && $1 == *-two.ktap ]] ||
			[[ $2 == base && $(row_cases "$p") == 0 ]] || return 1
	done
}

row_cases() {
	"$BUILD/selftests/$1" -l 2>&1 | awk '{ print $NF }' | grep -cE '^[A-Z][0-9]+_'
}

fenced=$(logs default single two plain)
unfenced=$(logs base single)
# shellcheck disable=SC2086
new=$(python3 "$TOOLS/fence.py" "$OTHERS" $fenced -- $unfenced)
if [[ ${1:-} == --check ]]; then
	diff -u "$TABLE" - <<<"$new"
else
	echo "$new" >"$TABLE"
fi
