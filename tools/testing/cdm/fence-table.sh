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

# last_log FLAVOUR-TOPOLOGY PROGRAM
last_log() {
	# shellcheck disable=SC2012
	ls -t "$LOG/selftest-$1-"*.ktap | xargs grep -l "^#cdm end $2 " | head -1 || true
}

# logs FLAVOUR TOPOLOGY...: of each program that had to run there; programs share machines
logs() {
	local t p log
	for t in "${@:2}"; do
		for p in "$BUILD"/selftests/*_test; do
			p=${p##*/}
			if [[ $p =~ $OTHERS ]] || [[ $1 == base && $(row_cases "$p") == 0 ]]; then
				continue
			fi
			log=$(last_log "$1-$t" "$p")
			[[ -n $log ]] ||
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
