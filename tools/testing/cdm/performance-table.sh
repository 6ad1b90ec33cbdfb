#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Documentation/mm/cdm/performance.rst from the results of the last make bench.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TABLE=$TOP/Documentation/mm/cdm/performance.rst

new=$(python3 "$TOOLS/bench/performance.py" "$BUILD/results")
echo "$new" >"$TABLE"
