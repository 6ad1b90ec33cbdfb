#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# One stage of check.mk: run a command and leave its results in build/check/STAGE.
#   stage.sh STAGE COMMAND...
# A build, the demo, the table of the fence, and the tests of the library and of the
# accelerator are one test each; all others report their own. Fails only if a build
# does, for then nothing that needs it can run.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

STAGE=$1 OUT=$LOG/$1.out start=$SECONDS
shift
mkdir -p "$CHECK"
export RESULTS=$CHECK/$STAGE
rm -f "$RESULTS" "$RESULTS.new"
RESULTS+=.new
: >"$RESULTS"

# What is said of the stage is said in one piece, whoever else says something.
report() {
	printf '%5d s  %-44s %s\n' $((SECONDS - start)) "$STAGE" "$(totals "$RESULTS")"
	grep '^not ok ' "$RESULTS" || return 0
	grep -E '^    (again|results|console):' "$OUT" || tail -n 12 "$OUT" | sed 's/^/    /'
}

logged "$OUT" "$@"
if ((STATUS == 0)) && [[ ! -s $RESULTS ]]; then
	case $STAGE in
	build.* | demo | accelerator | library | fence-table) echo "ok $STAGE" ;;
	*) echo "not ok $STAGE # it reported no test" ;;
	esac >>"$RESULTS"
elif ((STATUS != 0)) && ! grep -q '^not ok ' "$RESULTS"; then
	echo "not ok $STAGE # status $STATUS, see ${OUT#"$TOP"/}" >>"$RESULTS"
fi
said=$(report)
echo "$said"
mv "$RESULTS" "${RESULTS%.new}"
[[ $STAGE != build.* ]] || exit "$STATUS"
