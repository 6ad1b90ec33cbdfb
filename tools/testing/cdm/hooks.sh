# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Hooks and new files as commits, made in an index aside: no work tree is
# touched, and nothing is ever half applied. For src.sh and export.sh.

OVERLAY="mm include drivers arch kernel tools/mm tools/lib tools/testing/selftests Documentation"
INDEX=$BUILD/src.index.$$

# The git repository build/src, whatever the user's own configuration says.
sgit() {
	GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git -C "$SRC" "$@"
}

igit() {
	GIT_INDEX_FILE=$INDEX sgit "$@"
}

series() {
	[[ ! -e $PATCHES/series ]] || sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$PATCHES/series"
}

# commit_patch PARENT FILE: what git am does with one mail, but in an index of
# its own: strict (no fuzz, no three-way), and nothing is ever half applied.
commit_patch() {
	local tmp info tree
	tmp=$(mktemp -d)
	grep -q '^new file mode' "$2" && die "${2##*/} adds a file: new files belong into the repository"
	info=$(git mailinfo "$tmp/msg" "$tmp/diff" <"$2")
	{
		sed -n 's/^Subject: //p' <<<"$info"
		echo
		cat "$tmp/msg"
	} >"$tmp/full"
	igit apply --cached --whitespace=nowarn "$tmp/diff" ||
		die "patch ${2##*/} does not apply to $(<"$DL/version")"
	tree=$(igit write-tree)
	GIT_AUTHOR_NAME=$(sed -n 's/^Author: //p' <<<"$info") \
	GIT_AUTHOR_EMAIL=$(sed -n 's/^Email: //p' <<<"$info") \
	GIT_AUTHOR_DATE=$(sed -n 's/^Date: //p' <<<"$info") \
	GIT_COMMITTER_DATE=$(sed -n 's/^Date: //p' <<<"$info") \
		sgit commit-tree -p "$1" -F "$tmp/full" "$tree"
	rm -rf "$tmp"
}

new_files() {
	local dirs
	# shellcheck disable=SC2086
	dirs=$(cd "$TOP" && ls -d $OVERLAY 2>/dev/null) || true
	# shellcheck disable=SC2086
	[[ -z $dirs ]] || git -C "$TOP" ls-files -co --exclude-standard -- $dirs |
		sort -u | while read -r f; do [[ ! -e $TOP/$f ]] || echo "$f"; done
}
