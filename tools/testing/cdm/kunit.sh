#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The unit tests: they ran when the guest booted, their results are files.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FLAVOUR=${FLAVOUR:-default}
OUT=$LOG/kunit-$FLAVOUR.ktap
SUITES=$(sed -n 's/^kunit_test_suite(\(.*\)_suite);$/\1/p' "$TOP"/mm/cdm/tests/*.h)
start_results

# shellcheck disable=SC2016
if TOPOLOGY=${TOPOLOGY:-plain} TIMEOUT=${TIMEOUT:-2400} LIMIT=${LIMIT:-1200} \
	ROOT=image ACCEL=icount SHIFT=2 KUNIT=1 "$TOOLS/vm.sh" '
	for f in /sys/kernel/debug/kunit/*/results; do
		suite=$(basename "$(dirname "$f")")
		echo "#cdm begin $suite"
		cat "$f"
		! grep -q "^ *not ok" "$f"
		echo "#cdm end $suite $?"
	done' >"$OUT"; then
	# shellcheck disable=SC2086
	python3 "$TOOLS/ktap.py" "$FLAVOUR/kunit/" $SUITES <"$OUT" |
		while read -r line; do result "$line"; done
else
	result "not ok $FLAVOUR/kunit # the guest failed"
fi
finish
