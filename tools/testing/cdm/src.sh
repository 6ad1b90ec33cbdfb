#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The patched tree build/src: hooks as commits on the tag "base", new files as
# links into this repository.
#   sync     apply changed patches, link new files; own work is never touched
#   edit     sync, and say how to edit
#   refresh  write the commits back to patches/6.12
#   roundtrip  check that applying and writing back changes no byte
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$TOOLS/hooks.sh"

STAMP=$BUILD/src.stamp	# hash of the patches, commit they became

patches_hash() {
	{
		cat "$DL/version"
		series
		series | sed "s|^|$PATCHES/|" | xargs -r cat
	} | sha256sum | cut -d' ' -f1
}

# apply_series: the commit that the patches become.
apply_series() {
	local p head
	head=$(sgit rev-parse base)
	igit read-tree base
	for p in $(series); do
		head=$(commit_patch "$head" "$PATCHES/$p")
	done
	rm -f "$INDEX"
	echo "$head"
}

# Only files that differ are touched, so builds stay incremental.
apply() {
	local head
	head=$(apply_series)
	sgit reset -q --keep "$head"
	echo "$(patches_hash) $head" >"$STAMP"
}

clean() {
	sgit diff-index --quiet HEAD
}

sync_hooks() {
	local have="" applied want head
	sgit rev-parse -q --verify base >/dev/null ||
		sgit tag base "$(sgit rev-list --max-parents=0 HEAD)"
	applied=$(sgit rev-parse base)
	[[ ! -e $STAMP ]] || read -r have applied <"$STAMP"
	want=$(patches_hash)
	head=$(sgit rev-parse HEAD)
	sgit update-index -q --refresh || true
	if [[ $head != "$applied" ]] || ! clean; then
		say "notice: hooks in build/src differ from patches/: make refresh writes them back"
	elif [[ $want != "$have" ]]; then
		step "apply the hooks" apply
	fi
}

links() {
	# shellcheck disable=SC2086
	(cd "$SRC" && find $OVERLAY -type l -lname "$TOP/*" 2>/dev/null | sort) || true
}

link_new_files() {
	local files stale f
	files=$(new_files)
	if [[ -n $files ]]; then
		f=$(xargs git -C "$SRC" ls-tree -r --name-only base -- <<<"$files" | head -3)
		[[ -z $f ]] || die "exists in the base, so it must be a patch: $f"
	fi
	stale=$(comm -13 <(echo "$files") <(links))
	for f in $stale; do
		rm -f "$SRC/$f"
	done
	for f in $files; do
		[[ $SRC/$f -ef $TOP/$f ]] && continue
		mkdir -p "$SRC/${f%/*}"
		ln -sf "$TOP/$f" "$SRC/$f"
	done
	# shellcheck disable=SC2086
	printf '/%s\n' $files >"$SRC/.git/info/exclude"
}

sync() {
	sync_hooks
	link_new_files
}

slug() {
	tr '[:upper:]' '[:lower:]' <<<"$1" | sed -e 's/[^a-z0-9]\+/-/g' -e 's/^-//' -e 's/-$//'
}

# name_of SUBJECT: the patch that had this subject keeps its name.
name_of() {
	local p
	for p in $(series); do
		if [[ $(git mailinfo /dev/null /dev/null <"$PATCHES/$p" 2>/dev/null |
			sed -n 's/^Subject: //p') == "$1" ]]; then
			echo "$p"
			return
		fi
	done
	echo "$(slug "$1").patch"
}

# write_patches COMMIT DIRECTORY: base..COMMIT as patches and a series.
write_patches() {
	local c name
	touch "$2/series"
	for c in $(sgit rev-list --reverse "base..$1"); do
		name=$(name_of "$(sgit log -1 --format=%s "$c")")
		[[ ! -e $2/$name ]] || die "two commits would become $name"
		sgit -c diff.algorithm=histogram format-patch -1 --stdout --zero-commit \
			--no-signature --no-numbered --full-index "$c" >"$2/$name"
		echo "$name" >>"$2/series"
	done
}

refresh() {
	local p new
	clean || die "commit the changes in build/src first (git -C build/src commit)"
	new=$(sgit diff --diff-filter=A --name-only base HEAD)
	[[ -z $new ]] || die "new files belong into the repository, not into a patch: $new"
	new=$(mktemp -d)
	write_patches HEAD "$new"
	for p in $(series); do
		[[ -e $new/$p ]] || rm -f "$PATCHES/$p"
	done
	cp "$new"/* "$PATCHES/"
	rm -rf "$new"
	echo "$(patches_hash) $(sgit rev-parse HEAD)" >"$STAMP"
	say "$(series | wc -l) patches in ${PATCHES#"$TOP"/}"
}

# Apply and refresh, aside: must give the patches again, byte by byte.
roundtrip() {
	local new head status=0
	new=$(mktemp -d)
	head=$(apply_series)
	write_patches "$head" "$new"
	cp "$PATCHES/BASE" "$new"
	diff -r "$new" "$PATCHES" || status=1
	rm -rf "$new"
	return $status
}

edit() {
	sync
	cat <<-END
	build/src is a git repository: the commits base..HEAD are the hooks, new
	files are links into this repository. Change hooks there as commits
	(git commit, git rebase -i base), build with make build, then write them
	back to ${PATCHES#"$TOP"/} with make refresh.
	END
}

case ${1:-} in
sync | edit | refresh | roundtrip) "$1" ;;
*) die "usage: src.sh sync|edit|refresh|roundtrip" ;;
esac
