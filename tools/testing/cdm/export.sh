#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#   export  hooks and new files as one mailable series in build/export; with
#           VERIFY=1 each prefix is built
#   port    try the hooks on the linux-source-6.12 of version $NEW
#
# The new files become the commits described in export/: the first line names
# their paths, the rest is the message. Hooks that touch a Kconfig switch the
# new directories on, so they come after these.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$TOOLS/hooks.sh"

TEXT=$TOOLS/export
OUT=$BUILD/export
HEAD=""
export KBUILD_BUILD_TIMESTAMP="1970-01-01" KBUILD_BUILD_USER=cdm KBUILD_BUILD_HOST=cdm

# commit_new TOPIC: the new files of a topic, on top of HEAD.
commit_new() {
	local paths files author
	paths=$(head -1 "$TEXT/$1")
	# shellcheck disable=SC2086
	files=$(new_files | grep -E "^(${paths// /|})/")
	(cd "$TOP" && xargs env GIT_INDEX_FILE="$INDEX" \
		git --git-dir="$SRC/.git" --work-tree="$TOP" add -f --) <<<"$files"
	author=$(git -C "$TOP" config user.name) || author=cdm
	email=$(git -C "$TOP" config user.email) || email=cdm@localhost
	HEAD=$({
		tail -n +2 "$TEXT/$1"
		printf '\nSigned-off-by: %s <%s>\n' "$author" "$email"
	} | GIT_AUTHOR_NAME=$author GIT_AUTHOR_EMAIL=$email \
		sgit commit-tree -p "$HEAD" -F - "$(igit write-tree)")
}

commit_hooks() {
	local p
	for p in "$@"; do
		HEAD=$(commit_patch "$HEAD" "$PATCHES/$p")
	done
}

hooks() {
	local p
	for p in $(series); do
		if grep -q '^+++ b/.*Kconfig' "$PATCHES/$p"; then
			[[ $1 == switch ]] && echo "$p"
		else
			[[ $1 == code ]] && echo "$p"
		fi
	done
	return 0
}

commits() {
	HEAD=$(sgit rev-parse base)
	igit read-tree base
	commit_new 1-header
	# shellcheck disable=SC2046
	commit_hooks $(hooks code)
	commit_new 2-core
	commit_new 3-drivers
	commit_new 4-selftests
	# shellcheck disable=SC2046
	commit_hooks $(hooks switch)
	commit_new 5-documentation
	rm -f "$INDEX"
	echo "$HEAD" >"$BUILD/export.head"
}

mails() {
	rm -rf "$OUT"
	sgit format-patch -q --cover-letter --zero-commit -o "$OUT" "base..$(<"$BUILD/export.head")"
	python3 - "$OUT/0000-cover-letter.patch" "$TEXT/cover" <<-'END'
	import sys
	letter, text = (open(name).read() for name in sys.argv[1:])
	subject, blurb = text.split("\n\n", 1)
	letter = letter.replace("*** SUBJECT HERE ***", subject)
	letter = letter.replace("*** BLURB HERE ***", blurb.rstrip())
	open(sys.argv[1], "w").write(letter)
	END
}

# The entry in MAINTAINERS is a patch of its own.
checkpatch() {
	GIT_DIR=none "$SRC/scripts/checkpatch.pl" --root="$SRC" --quiet --no-summary \
		--terse --show-types --ignore FILE_PATH_CHANGES "$OUT"/0*[1-9]-*.patch "$OUT"/0*[1-9]0-*.patch
}

# Each prefix: the directories that the series touches.
verify() {
	local tree=$BUILD/export.tree obj=$BUILD/obj/export c dirs
	rm -rf "$tree"
	sgit worktree prune
	sgit worktree add -q --detach "$tree" base
	mkdir -p "$obj"
	for c in $(sgit rev-list --reverse "base..$(<"$BUILD/export.head")"); do
		git -C "$tree" checkout -q "$c"
		cp "$(obj default)/.config" "$obj/.config"
		make -C "$tree" O="$obj" -s olddefconfig
		sgit log -1 --format=%s "$c"
		dirs="mm/ kernel/cgroup/ fs/proc/ drivers/base/"
		[[ ! -e $tree/drivers/cdm ]] || dirs+=" drivers/cdm/"
		# shellcheck disable=SC2086
		make -C "$tree" O="$obj" -j3 -s $dirs ||
			die "does not build: $(sgit log -1 --format=%s "$c")"
	done
	sgit worktree remove --force "$tree"
}

export_series() {
	alone setup
	step "hooks and new files as commits" commits
	step "write the series" mails
	step "checkpatch" checkpatch
	flock -u 9
	[[ -z ${VERIFY:-} ]] || step "build each prefix" verify
	say "$(find "$OUT" -name '*.patch' | wc -l) mails in ${OUT#"$TOP"/}"
}

fetch_new() {
	rm -rf "$1"
	mkdir -p "$1/deb" "$1/tree"
	cd "$1/deb"
	apt-get download "linux-source-6.12=$NEW" || die "there is no linux-source-6.12 of version $NEW"
	dpkg -x ./*.deb .
	tar -xf usr/src/*.tar.xz -C "$1/tree" --strip-components=1
	rm -rf "$1/deb"
}

port() {
	local dir p bad=0
	[[ -n ${NEW:-} ]] || die "usage: make port NEW=VERSION (see: apt-cache madison linux-source-6.12)"
	dir=$BUILD/port/$NEW
	[[ -e $dir/tree/Makefile ]] && rm -rf "$dir"
	step "fetch $NEW" fetch_new "$dir"
	cd "$dir/tree"
	for p in $(series); do
		if GIT_DIR=none git apply --reject "$PATCHES/$p" >"$LOG/port.log" 2>&1; then
			say "  applies: $p"
		else
			say "  rejects: $p"
			sed -n 's/^Rejected hunk/    &/p; s/^error: /    /p' "$LOG/port.log"
			bad=1
		fi
	done
	if ((bad)); then
		die "resolve the .rej files below ${dir#"$TOP"/}/tree, or edit the hooks (make edit)"
	fi
	say "all hooks apply: write $NEW into ${PATCHES#"$TOP"/}/BASE, remove build/ and run make check"
}

case ${1:-} in
export) export_series ;;
port) port ;;
*) die "usage: export.sh export|port" ;;
esac
