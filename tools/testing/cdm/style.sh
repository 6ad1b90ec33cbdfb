#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Style of our own files and of the patches; each check is one test. One that has
# passed is not run again before something changes that it reads.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

OBJ=$BUILD/obj/style
PASSED=$BUILD/style
OURS='(mm|drivers)/cdm/|include/(linux|trace/events)/cdm'

# files PATTERN...: ours, as paths in the repository.
files() {
	git -C "$TOP" ls-files -co --exclude-standard -- "$@" |
		while read -r f; do [[ ! -e $TOP/$f ]] || echo "$f"; done
}

# changed NAME FILES COMMAND...: the command as a test, as check(), unless it has
# passed with what now is in these files, in the scripts, and in build/src.
changed() {
	local name=$1 passed=$PASSED/${1//[^A-Za-z0-9_=.]/-} key
	# shellcheck disable=SC2086
	key=$({
		sha256sum $2 "$TOOLS"/{style,lib,hooks,src}.sh
		git -C "$SRC" rev-parse HEAD
		git -C "$SRC" diff HEAD
	} | sha256sum)
	if [[ -e $passed && $(<"$passed") == "$key" ]]; then
		result "ok $name # has passed with the same files"
		return
	fi
	shift 2
	check "$name" "$@"
	((STATUS != 0)) || echo "$key" >"$passed"
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
# in mm/migrate.c, mm/memory.c and mm/oom_kill.c. cdm_memory_enter() locks a range if there is one.
UNANNOTATED="context imbalance in '\\(__cdm_oom_points\\|cdm_\\(memory_\\(enter\\|enter_on\\|exit\\)\\|walk_\\(table\\|huge\\)\\|note_user\\|mark_pte\\|hint_\\(page\\|huge\\)\\|range_\\(isolate\\|unmap\\|map\\)\\|lru_unlock\\|count_table\\)\\)'"

# A tree of objects for what is compiled here alone, configured as flavour default.
configured() {
	mkdir -p "$OBJ"
	cmp -s "$BUILD/obj/default/.config" "$OBJ/.config" ||
		cp "$BUILD/obj/default/.config" "$OBJ/.config"
}

# Our objects alone, in a tree of their own; fails on any word of the compiler or of
# sparse about our files.
kernel_build() {
	configured
	rm -rf "$OBJ/mm/cdm" "$OBJ/drivers/cdm"
	# shellcheck disable=SC2086
	make -C "$SRC" O="$OBJ" $JOBS_ARG -s W=1 C=1 mm/cdm/ drivers/cdm/ 2>&1 | tee "$LOG/style.out"
	((PIPESTATUS[0] == 0)) && ! grep -v "$UNANNOTATED" "$LOG/style.out" |
		grep -E "($OURS).*(warning|error):"
}

# The skeleton of a driver in the documentation builds, without a word.
skeleton() {
	local dir=$OBJ/skeleton
	configured
	make -C "$SRC" O="$OBJ" -s prepare >/dev/null
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
	cd "$TOP"
	# shellcheck disable=SC2046
	awk 'FNR <= 3 && /SPDX-License-Identifier/ { has[FILENAME] }
	     END {
		for (i = 1; i < ARGC; i++)
			if (!(ARGV[i] in has))
				missing = missing ARGV[i] " has no SPDX line\n"
		printf "%s", missing
		exit missing != ""
	     }' $(files '*.[ch]' '*.sh' '*.py' '*.rst' '*Makefile' '*Kconfig' '*.config' .ci/run \
			tools/testing/cdm/topology)
}

start_results
mkdir -p "$PASSED"
cd "$TOP"
patches=$(echo "$PATCHES"/*)
kernel=$(files mm drivers include)
compiled="$kernel $BUILD/obj/default/.config $(command -v gcc sparse || true)"
changed "style: checkpatch of files" "$(files '*.c' '*.h' MAINTAINERS)" checkpatch_files
changed "style: checkpatch of patches" "$patches" checkpatch_patches
changed "style: W=1 and sparse" "$compiled" kernel_build
changed "style: skeleton of a driver" "$compiled Documentation/mm/cdm/skeleton.c" skeleton
changed "style: kernel-doc" "$kernel" kernel_doc
changed "style: shellcheck" "$(files '*.sh' '*.shellcheckrc' .ci/run) $(command -v shellcheck)" shell
check "style: SPDX" spdx
changed "style: refresh after apply changes nothing" "$patches $(command -v git)" \
	"$TOOLS/src.sh" roundtrip
finish
