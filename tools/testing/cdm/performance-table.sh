#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Documentation/mm/cdm/performance.rst and placement.rst from the results of the
# last make bench, or what there is of them.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

DOC=$TOP/Documentation/mm/cdm RESULTS_OF=$BUILD/results

if [[ -e $RESULTS_OF/move.csv ]]; then
	new=$(python3 "$TOOLS/bench/performance.py" "$RESULTS_OF")
	echo "$new" >"$DOC/performance.rst"
fi
if [[ -e $RESULTS_OF/place.txt ]]; then
	new=$(python3 "$TOOLS/bench/placement.py" "$RESULTS_OF" rst)
	echo "$new" >"$DOC/placement.rst"
fi
