#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Build one flavour (FLAVOUR, default "default"): configuration, kernel,
# modules, tests, and the init of the guest. Incremental. WHAT=hooked builds
# the objects of hooked files alone; VARIANT=NAME adds config/NAME.config.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FLAVOUR=${FLAVOUR:-default}
[[ $FLAVOUR != unfenced ]] || FLAVOUR=default
KSRC=$(tree "$FLAVOUR")
OBJ=$(obj "$FLAVOUR")
# Same input, same kernel: a rebuild must not differ by its date.
export KBUILD_BUILD_TIMESTAMP="1970-01-01" KBUILD_BUILD_USER=cdm KBUILD_BUILD_HOST=cdm

# KASAN does not watch lockdep: lockdep tests bits with each lock that is taken, and
# checking these tests took longer than lockdep itself.
kmake() {
	# shellcheck disable=SC2086
	make -C "$KSRC" O="$OBJ" $JOBS_ARG -s KASAN_SANITIZE_lockdep.o=n "$@"
}

# The fragments as one, later lines over earlier ones.
requested() {
	# shellcheck disable=SC2046
	sed -n 's/^\(CONFIG_[A-Za-z0-9_]*\)=\(.*\)/\1 \2/p' $(fragments "$FLAVOUR") |
		awk '{ v[$1] = $2 } END { for (s in v) print s "=" v[s] }' | sort
}

assert_config() {
	awk -F= '
	FNR == NR { if (/^CONFIG_/) is[$1] = $2; next }
	$2 == "n" ? ($1 in is) : is[$1] != $2 { print $1 "=" $2 " was requested, is " ($1 in is ? is[$1] : "unset"); bad = 1 }
	END { exit bad }' "$OBJ/.config" "$OBJ/.requested" >&2 ||
		die "the configuration of flavour $FLAVOUR is not as requested"
}

config() {
	local new
	mkdir -p "$OBJ"
	new=$(requested)
	if [[ ! -e $OBJ/.config || ! -e $OBJ/.requested || $new != "$(<"$OBJ/.requested")" ]] ||
	   [[ -n $(find -L "$KSRC" -name 'Kconfig*' -newer "$OBJ/.requested" -print -quit) ]]; then
		rm -f "$OBJ/.requested"
		echo "$new" >"$OBJ/.requested.new"
		cp "$OBJ/.requested.new" "$OBJ/.allconfig"
		step "$FLAVOUR: configure" kmake KCONFIG_ALLCONFIG=.allconfig allnoconfig
		mv "$OBJ/.requested.new" "$OBJ/.requested"
		if ! (assert_config); then
			rm -f "$OBJ/.requested"
			exit 1
		fi
	fi
}

# modprobe -d $OBJ/root finds them.
install_modules() {
	local root=$OBJ/root
	[[ ! -e $root || -n $(find "$OBJ" -name '*.ko' -newer "$root" -not -path "$root/*" -print -quit) ]] || return 0
	step "$FLAVOUR: install modules" kmake INSTALL_MOD_PATH="$root" modules_install
	touch "$root"
}

init() {
	local out=$BUILD/initramfs
	[[ $out.cpio -nt $TOOLS/init.c ]] && return 0
	mkdir -p "$out"
	step "build the init" gcc -O2 -Wall -Wextra -Werror -static -o "$out/init" "$TOOLS/init.c"
	(cd "$out" && echo init | cpio -o -H newc --quiet >"$out.cpio")
}

steady() {
	[[ $BUILD/steady.so -nt $TOOLS/steady.c ]] ||
		step "build the clock of QEMU's TLB" gcc -O2 -Wall -Wextra -Werror -shared -fPIC \
			-o "$BUILD/steady.so" "$TOOLS/steady.c"
}

selftests() {
	local dir=tools/testing/selftests/cdm out=$BUILD/selftests
	# shellcheck disable=SC2153
	[[ -e $SRC/$dir/Makefile ]] || return 0
	if [[ ! -e $out/usr/stamp || -n $(find "$TOP/include/uapi" -newer "$out/usr/stamp") ]]; then
		step "user space headers" make -C "$SRC" O="$BUILD/obj/headers" -s \
			INSTALL_HDR_PATH="$out/usr" headers_install
		touch "$out/usr/stamp"
	fi
	# shellcheck disable=SC2086
	step "build the selftests" make -C "$SRC/$dir" $JOBS_ARG -s OUTPUT="$out" \
		KHDR_INCLUDES="-isystem $out/usr/include" all
}

accelerator() {
	step "build the accelerator" make -C "$TOOLS/accel" -s OUT="$BUILD/accelerator"
	step "build the library" make -C "$TOP/tools/lib/cdm" -s OUT="$BUILD/lib"
	step "build the BLAS" make -C "$TOP/tools/lib/cdm/blas" -s OUT="$BUILD/lib"
}

demo() {
	step "build the demo" make -C "$TOOLS/demo" -s OUT="$BUILD/demo"
}

alone "obj/$FLAVOUR"
config
if [[ ${WHAT:-} == hooked ]]; then
	[[ -n $(hooked) ]] || die "flavour default is not built: make build"
	# shellcheck disable=SC2046
	step "$FLAVOUR: build hooked objects" kmake $(hooked)
	exit
fi
step "$FLAVOUR: build the kernel" kmake vmlinux modules
install_modules
alone tools
init
steady
selftests
accelerator
demo
"$TOOLS/image.sh"
