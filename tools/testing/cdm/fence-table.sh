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

STAGES=$(make -C "$TOP" -f "$TOOLS/check.mk" -s list-check-all | tr ' ' '\n')

# had_to_run FLAVOUR TOPOLOGY PROGRAM: in make check-all
had_to_run() {
	grep -qE "^selftest\.$1\.$2\.(.*\+)?($3|all)(\+|\$)" <<<"$STAGES"
}

# logs FLAVOUR TOPOLOGY...: PROGRAM=LOG for each program that had to run there
logs() {
	local t p log
	for t in "${@:2}"; do
		for p in "$BUILD"/selftests/*_test; do
			p=${p##*/}
			if [[ $p =~ $OTHERS ]] || ! had_to_run "$1" "$t" "$p"; then
				continue
			fi
			log=$(last_log "$1-$t" "$p")
			if [[ -z $log ]] || ! grep -q "^#cdm end $p " "$log"; then
				die "$p did not run with flavour $1 on $t: make check-all"
			fi
			echo "$p=$log"
		done
	done
}

fenced=$(logs default two plain single)
unfenced=$(logs unfenced single)
# shellcheck disable=SC2086
new=$(python3 "$TOOLS/fence.py" $fenced -- $unfenced)
! grep 'not run$' <<<"$new" >&2 || die "tests that are named after a row did not run without a fence"
if [[ ${1:-} == --check ]]; then
	diff -u "$TABLE" - <<<"$new"
else
	echo "$new" >"$TABLE"
fi
