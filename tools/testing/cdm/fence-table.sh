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

# logs FLAVOUR TOPOLOGY...: of each program that had to run there; on plain all of them
# run in one machine
logs() {
	local t p log
	for t in "${@:2}"; do
		for p in "$BUILD"/selftests/*_test; do
			p=${p##*/}
			log=$LOG/selftest-$1-$t-$p.ktap
			[[ $t != plain ]] || log=$LOG/selftest-$1-$t-all.ktap
			if [[ $p =~ $OTHERS ]] || [[ $1 == base && $(row_cases "$p") == 0 ]]; then
				continue
			fi
			grep -q "^#cdm end $p " "$log" ||
				die "$p did not run with flavour $1 on $t: make check-all"
			echo "$log"
		done
	done
}

row_cases() {
	"$BUILD/selftests/$1" -l 2>&1 | awk '{ print $NF }' | grep -cE '^[A-Z][0-9]+_'
}

fenced=$(logs default single two plain | sort -u)
unfenced=$(logs base single)
# shellcheck disable=SC2086
new=$(python3 "$TOOLS/fence.py" "$OTHERS" $fenced -- $unfenced)
if [[ ${1:-} == --check ]]; then
	diff -u "$TABLE" - <<<"$new"
else
	echo "$new" >"$TABLE"
fi
