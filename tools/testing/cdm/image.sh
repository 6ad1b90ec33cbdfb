#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The root file system of a sealed machine: the programs that tests start, the
# modules of FLAVOUR, and the selftests, in an image of ext2. Whatever the host has
# and does beside, a test finds the same.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FLAVOUR=${FLAVOUR:-default}
IMAGE=$(image "$FLAVOUR")
STAGE=$IMAGE.tree
MODULES=$(obj "$FLAVOUR")/root

PROGRAMS="bash sh
	basename cat cmp cut dirname dmesg env false grep head ls mkdir rm sed seq sleep
	sort stty tail touch true
	free losetup migratepages mke2fs mkswap mount numactl numastat stress-ng
	swapoff swapon top umount
	kmod modprobe rmmod lsmod"
DIRS="dev etc proc sys tmp run root var/tmp usr/bin usr/sbin usr/lib lib64 selftests files"
# A file to read into the page cache: no two pages alike, and then holes.
FILE_MIB=2048 TEXT_MIB=32

libraries() {
	ldd "$@" 2>/dev/null | awk '$2 == "=>" { print $3 } $1 ~ /^\/.*[^:]$/ { print $1 }' | sort -u
}

# copy FILE...: to where it is on the host, with the names that lead to it.
copy() {
	local f
	for f in "$@"; do
		mkdir -p "$STAGE$(dirname "$f")"
		cp -L "$f" "$STAGE$f"
	done
}

programs() {
	local p files=()
	for p in $PROGRAMS; do
		files+=("$(PATH=$PATH:/usr/sbin:/sbin type -P "$p")") ||
			die "the host has no $p"
	done
	copy "${files[@]}"
	# shellcheck disable=SC2046
	copy $(libraries "${files[@]}" "$BUILD"/selftests/*_test)
}

stage() {
	local d
	rm -rf "$STAGE"
	for d in $DIRS; do
		mkdir -p "$STAGE/$d"
	done
	for d in bin sbin lib; do
		ln -s "usr/$d" "$STAGE/$d"
	done
	programs
	copy /etc/mke2fs.conf /lib/terminfo/d/dumb
	printf 'root:x:0:0:root:/root:/bin/bash\n' >"$STAGE/etc/passwd"
	ln -s /proc/mounts "$STAGE/etc/mtab"
	cp "$BUILD"/selftests/*_test "$STAGE/selftests"
	[[ ! -e $MODULES ]] || cp -r "$MODULES/lib/modules" "$STAGE/usr/lib/modules"
	seq -w 0 $(((TEXT_MIB << 17) - 1)) >"$STAGE/files/big"
	truncate -s "${FILE_MIB}M" "$STAGE/files/big"
}

# A fixed identity and time, so that the same content is the same image.
make_image() {
	local mib
	stage
	find "$STAGE" -exec touch -h -d @0 {} +
	mib=$((($(du -sm "$STAGE" | cut -f1) * 5 / 4 + 32 + 127) / 128 * 128))
	rm -f "$IMAGE.new"
	E2FSPROGS_FAKE_TIME=1 /sbin/mke2fs -q -t ext2 -m 0 -b 4096 -O ^resize_inode \
		-U 00000000-0000-0000-0000-00000000cd00 \
		-E hash_seed=00000000-0000-0000-0000-00000000cd00,root_owner=0:0 \
		-d "$STAGE" "$IMAGE.new" "${mib}M"
	rm -rf "$STAGE"
	mv "$IMAGE.new" "$IMAGE"
}

newer() {
	[[ ! -e $IMAGE || $0 -nt $IMAGE ||
		-n $(find "$BUILD/selftests" "$MODULES" -newer "$IMAGE" -print -quit 2>/dev/null) ]]
}

mkdir -p "${IMAGE%/*}"
! newer || step "$FLAVOUR: make the image" make_image
