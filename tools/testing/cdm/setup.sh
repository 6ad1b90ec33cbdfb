#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Packages, the base source and its two trees: build/base stays pristine,
# build/src is a git repository that carries the hooks.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

PACKAGES="gcc libc6-dev make flex bison libelf-dev libssl-dev bc kmod cpio
	rsync xz-utils git python3 qemu-system-x86 seabios numactl libnuma-dev
	e2fsprogs stress-ng procps mount sparse shellcheck gnuplot-nox patch perl"
SOURCE=linux-source-6.12
NEEDED_MIB=12000

packages() {
	local missing=() p
	command -v dpkg-query apt-get >/dev/null ||
		die "this needs Debian's dpkg and apt-get; or install: ${PACKAGES//[$'\n\t']/ }"
	for p in $PACKAGES; do
		[[ -e /var/lib/dpkg/info/$p.list || -e /var/lib/dpkg/info/$p:amd64.list ]] ||
			missing+=("$p")
	done
	((${#missing[@]})) || return 0
	step "apt-get update" as_root apt-get update
	step "install packages" as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y --no-install-recommends "${missing[@]}"
}

disk_space() {
	local free
	free=$(df -m --output=avail "$BUILD" | tail -1)
	((free >= NEEDED_MIB)) ||
		die "${BUILD#"$TOP"/} needs $NEEDED_MIB MiB of disk, $((free)) are free"
}

# The pinned version if it is still to be had, else the newest.
fetch() {
	local want
	want=$(<"$PATCHES/BASE")
	rm -rf "$DL/deb"
	mkdir -p "$DL/deb"
	cd "$DL/deb"
	apt-cache show "$SOURCE" >/dev/null 2>&1 || as_root apt-get update
	apt-get download "$SOURCE=$want" || apt-get download "$SOURCE"
	dpkg -x ./*.deb .
	dpkg-deb -f ./*.deb Version >"$DL/version"
	mv usr/src/$SOURCE.tar.xz "$DL/"
	cd "$DL"
	rm -rf "$DL/deb"
}

unpack() {
	rm -rf "$BASE.tmp"
	mkdir "$BASE.tmp"
	tar -xf "$DL/$SOURCE.tar.xz" -C "$BASE.tmp" --strip-components=1
	mv "$BASE.tmp" "$BASE"
}

# Debian's .gitignore hides everything, hence the force.
repository() {
	local tmp=$SRC.tmp
	rm -rf "$tmp"
	cp -a "$BASE" "$tmp"
	git -C "$tmp" init -q -b main
	git -C "$tmp" config core.compression 0
	git -C "$tmp" config core.fsync none
	git -C "$tmp" config gc.auto 0
	git -C "$tmp" config user.name cdm
	git -C "$tmp" config user.email cdm@localhost
	git -C "$tmp" add -A -f .
	git -C "$tmp" commit -q -m base
	git -C "$tmp" tag base
	mv "$tmp" "$SRC"
}

[[ $TOP != *[[:space:]:]* ]] || die "the path of the checkout must not hold spaces or colons"
alone setup
packages
[[ -e $DL/$SOURCE.tar.xz && -e $BASE && -e $SRC ]] || disk_space
if [[ ! -e $DL/$SOURCE.tar.xz ]]; then
	step "fetch $SOURCE" fetch
	[[ $(<"$DL/version") == "$(<"$PATCHES/BASE")" ]] ||
		say "notice: base $(<"$PATCHES/BASE") is gone, using $(<"$DL/version")"
fi
[[ -e $BASE ]] || step "unpack the base" unpack
[[ -e $SRC ]] || step "make build/src a repository" repository
"$TOOLS/src.sh" sync
