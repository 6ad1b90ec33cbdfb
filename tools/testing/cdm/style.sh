#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Style of our own files and of the patches; each check is one test.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

OBJ=$BUILD/obj/style
OURS='(mm|drivers)/cdm/|include/(linux|trace/events)/cdm'

# files PATTERN...: ours, as paths in the repository.
files() {
	git -C "$TOP" ls-files -co --exclude-standard -- "$@" |
		while read -r f; do [[ ! -e $TOP/$f ]] || echo "$f"; done
}

# A report is a failure, whatever its exit status.
silent() {
	local out
	out=$("$@" 2>&1 | tee /dev/stderr)
	[[ -z $out ]]
}

# Without a git directory it does not look for Python modules of its own.
checkpatch() {
	GIT_DIR=none "$SRC/scripts/checkpatch.pl" --root="$SRC" --strict --quiet --terse --show-types \
		--no-summary "$@"
}

checkpatch_files() {
	cd "$TOP"
	# shellcheck disable=SC2046
	silent checkpatch -f $(files '*.c' '*.h' ':!include/trace' ':!*/accel_hw.h') || return
	# User space has no BIT().
	# shellcheck disable=SC2046
	silent checkpatch --ignore BIT_MACRO -f $(files '*/accel_hw.h') || return
	# Tracepoints are laid out in a way of their own everywhere.
	# shellcheck disable=SC2046
	silent checkpatch --ignore PARENTHESIS_ALIGNMENT,OPEN_ENDED_LINE -f $(files 'include/trace/*.h')
}

checkpatch_patches() {
	cd "$TOP"
	silent checkpatch "$PATCHES"/*.patch
}

# The base does not annotate the locks of folio_walk_start() and folio_walk_end(),
# nor fully those of page tables, so sparse has the same to say of its own users
# in mm/migrate.c and mm/memory.c.
UNANNOTATED="context imbalance in 'cdm_\\(walk_\\(table\\|huge\\)\\|note_user\\|mark_pte\\|hint_\\(page\\|huge\\)\\|range_\\(isolate\\|unmap\\|map\\)\\|lru_unlock\\)'"

# kernel_build OPTIONS: our objects alone, in a tree of their own; fails on
# any word about our files.
kernel_build() {
	mkdir -p "$OBJ"
	cmp -s "$BUILD/obj/default/.config" "$OBJ/.config" ||
		cp "$BUILD/obj/default/.config" "$OBJ/.config"
	rm -rf "$OBJ/mm/cdm" "$OBJ/drivers/cdm"
	# shellcheck disable=SC2086
	make -C "$SRC" O="$OBJ" $JOBS_ARG -s "$@" mm/cdm/ drivers/cdm/ 2>&1 | tee "$LOG/style.out"
	((PIPESTATUS[0] == 0)) && ! grep -v "$UNANNOTATED" "$LOG/style.out" |
		grep -qE "($OURS).*(warning|error):"
}

# The skeleton of a driver in the documentation builds, without a word.
skeleton() {
	local dir=$OBJ/skeleton
	mkdir -p "$dir"
	cp "$TOP/Documentation/mm/cdm/skeleton.c" "$dir"
	echo 'obj-m := skeleton.o' >"$dir/Makefile"
	silent make -C "$SRC" O="$OBJ" M="$dir" W=1 -s skeleton.o
}

kernel_doc() {
	cd "$TOP"
	# shellcheck disable=SC2046
	silent "$SRC/scripts/kernel-doc" -none -Werror $(files 'mm/cdm/*.[ch]' 'drivers/cdm/*.[ch]' 'include/*.h')
}

shell() {
	cd "$TOP"
	# shellcheck disable=SC2046
	shellcheck -x $(files '*.sh' .ci/run)
}

spdx() {
	local f bad=0
	for f in $(files '*.[ch]' '*.sh' '*.py' '*.rst' '*Makefile' '*Kconfig' '*.config' .ci/run \
			tools/testing/cdm/topology); do
		if ! head -3 "$TOP/$f" | grep -q SPDX-License-Identifier; then
			echo "$f has no SPDX line"
			bad=1
		fi
	done
	return $bad
}

start_results
check "style: checkpatch of files" checkpatch_files
check "style: checkpatch of patches" checkpatch_patches
check "style: W=1" kernel_build W=1
check "style: skeleton of a driver" skeleton
check "style: sparse" kernel_build C=2
check "style: kernel-doc" kernel_doc
check "style: shellcheck" shell
check "style: SPDX" spdx
check "style: refresh after apply changes nothing" "$TOOLS/src.sh" roundtrip
finish
