#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The table of the fence from the logs of the last selftests of the flavours
# default and unfenced. Written to Documentation/; with --check compared to what is
# there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TABLE=$TOP/Documentation/mm/cdm/fence.rst
# Programs that are no matter of the fence.
OTHERS='^(accel|balance|exact|owner)'

# last_log FLAVOUR-TOPOLOGY PROGRAM: of the last machine in which it was to run
last_log() {
	local log programs
	while read -r log; do
		programs=${log##*/selftest-"$1"-}
		programs=${programs%.ktap}
		if [[ $programs == all || +$programs+ == *+$2+* ]]; then
			echo "$log"
			return
		fi
	done < <(find "$LOG" -name "selftest-$1-*.ktap" -printf '%T@ %p\n' | sort -rn | cut -d' ' -f2)
}

# logs FLAVOUR TOPOLOGY...: PROGRAM=LOG for each program that had to run there; with one
# device not all have to
logs() {
	local t p log
	for t in "${@:2}"; do
		for p in "$BUILD"/selftests/*_test; do
			p=${p##*/}
			if [[ $p =~ $OTHERS ]] || [[ $1 == unfenced && $(row_cases "$p") == 0 ]]; then
				continue
			fi
			log=$(last_log "$1-$t" "$p")
			[[ -n $log || $1-$t != default-single ]] || continue
			if [[ -z $log ]] || ! grep -q "^#cdm end $p " "$log"; then
				die "$p did not run with flavour $1 on $t: make check-all"
			fi
			echo "$p=$log"
		done
	done
}

row_cases() {
	"$BUILD/selftests/$1" -l 2>&1 | awk '{ print $NF }' | grep -cE '^[A-Z][0-9]+_'
}

fenced=$(logs default two plain single)
unfenced=$(logs unfenced single)
# shellcheck disable=SC2086
new=$(python3 "$TOOLS/fence.py" $fenced -- $unfenced)
if [[ ${1:-} == --check ]]; then
	diff -u "$TABLE" - <<<"$new"
else
	echo "$new" >"$TABLE"
fi
