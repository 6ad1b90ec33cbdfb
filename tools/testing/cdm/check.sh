#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Everything: the builds of all flavours and every test. The last line is
# "N passed, N failed, N skipped".
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# stage NAME COMMAND...: results are counted, so a failure does not end it.
stage() {
	local name=$1 start=$SECONDS
	shift
	echo "== $name"
	"$@" || true
	echo "== $name: $((SECONDS - start)) s"
}

flavour() {
	local f=$1
	shift
	FLAVOUR=$f "$@"
}

start_results
unset FLAVOUR TOPOLOGY TIMEOUT VARIANT
for f in default base off debug; do
	what=kernel
	[[ $f != off ]] || what=hooked
	stage "build $f" check "build $f" env FLAVOUR="$f" WHAT="$what" "$TOOLS/build.sh"
	case $f in
	default)
		stage "style" "$TOOLS/style.sh"
		stage "kunit" "$TOOLS/kunit.sh"
		stage "harness" "$TOOLS/harness.sh"
		stage "accelerator" check "accelerator" "$BUILD/accelerator/accel-selftest"
		stage "library" check "library" "$BUILD/lib/check"
		stage "selftests" "$TOOLS/selftest.sh"
		stage "demo" check "demo" "$TOOLS/demo.sh"
		;;
	base) stage "the tests see a leak" flavour base "$TOOLS/selftest.sh" ;;
	off) stage "off is off" "$TOOLS/off.sh" ;;
	debug)
		stage "kunit, debug" flavour debug "$TOOLS/kunit.sh"
		TIMEOUT=4500 stage "selftests, debug" flavour debug "$TOOLS/selftest.sh"
		;;
	esac
done
stage "table of the fence" check "table of the fence" "$TOOLS/fence-table.sh" --check
echo "== total: $SECONDS s"
finish
