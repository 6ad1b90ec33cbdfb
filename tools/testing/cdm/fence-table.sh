#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The table of the fence from the logs of the last selftests of the flavours
# default and base. Written to Documentation/; with --check compared to what is
# there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TABLE=$TOP/Documentation/mm/cdm/fence.rst

logs() {
	local t
	for t in "${@:2}"; do
		[[ -e $LOG/selftest-$1-$t.ktap ]] ||
			die "no log of the selftests of flavour $1, topology $t: make check"
		echo "$LOG/selftest-$1-$t.ktap"
	done
}

# shellcheck disable=SC2046
new=$(python3 "$TOOLS/fence.py" $(logs default single two plain) -- $(logs base single))
if [[ ${1:-} == --check ]]; then
	diff -u "$TABLE" - <<<"$new"
else
	echo "$new" >"$TABLE"
fi
