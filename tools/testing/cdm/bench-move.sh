#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# What a migration costs: kernel instructions for each page, counted by the
# emulator, by the driver and by those who do the same otherwise. The kernel is
# flavour default, VARIANT bench.
#   bench-move.sh        a short table
#   bench-move.sh sweep  all that performance.rst has; results in build/results
# Environment: KIND (4K, 64K or 2M) and PAGES, for the table; FULL=1: the sweep
# with what takes long; BOOTS, names: these of the sweep again, the others
# as they are, which must have been with the same kernel.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$TOOLS/bench/plugin.sh"

export VARIANT=bench FLAVOUR=default ACCEL=icount
KIND=${KIND:-4K}
PAGES=${PAGES:-1 8 64 512 4096 65536}
GUEST=$BUILD/bench/move
PLUGIN=$BUILD/bench/count.so
COUNTS=$BUILD/bench/moves
MAP=$(obj default)/System.map
OUT=$BUILD/results
WAYS="move_pages mbind driver migrate_vma move_pages-ram mbind-ram"

# Nothing that differs by chance, and one CPU so that nothing else runs.
QUIET_ARGS="norandmaps mitigations=off numa_balancing=disable"
ONE_CPU="nr_cpus=1 $QUIET_ARGS"

build() {
	gcc -O2 -Wall -Wextra -Wno-unused-parameter -Werror -shared -fPIC \
		-o "$PLUGIN" "$TOOLS/bench/count.c"
	# At an address where no other program of the guest is.
	gcc -O2 -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers \
		-Werror -static -fno-pie -no-pie -Wl,-Ttext-segment=0x50000000 \
		-I "$TOP/drivers/cdm" -I "$SRC/lib" -o "$GUEST" \
		"$TOOLS"/bench/move{,_area,_ways,_variant}.c -lpthread
}

# ranges ARGUMENT PATTERN: the code of functions, neighbours as one.
ranges() {
	sort "$MAP" | awk -v name="$1" -v pattern="$2" '
	$3 ~ pattern { if (!first) first = $1; next }
	first { printf ",%s=%s-%s\n", name, first, $1; first = "" }'
}

# functions ARGUMENT PATTERN: where they begin.
functions() {
	sed -nE "s/^([0-9a-f]*) [tT] ($2)(\..*)?$/,$1=\1/p" "$MAP"
}

# plugin OUT: what copies; what the test module of migrate_vma does for itself,
# and where it begins to read back; where a page vanishes and comes back.
plugin() {
	count_plugin "$PLUGIN" "$GUEST" "$MAP" "$1"
	ranges copy '^(copy_page|copy_page_regs|__memcpy|memcpy_orig)$'
	ranges mirror '^(__)?xas?_'
	echo ",mirror=ffffffffa0000000-ffffffffff000000"
	functions stop vmalloc_noprof
	functions unmap 'try_to_migrate_one|migrate_vma_collect_pmd'
	functions map remove_migration_pte
	python3 "$TOOLS/bench/inlined.py" "$(obj default)" mm/cdm/range.o \
		cdm_range_unmap cdm_range_map | sed 's/cdm_range_\(.*\) /,\1=/'
	echo "${PROFILE:+,profile=$1.profile}"
}

# cases WAYS KINDS SHARES VARIANTS PAGES
cases() {
	local way kind share variant
	for way in $1; do
		for kind in $2; do
			for share in $3; do
				for variant in $4; do
					echo "$way,$kind,$share,$variant,${5// /,}"
				done
			done
		done
	done
}

# nodes TOPOLOGY: RAM, a second one, a device, and what migrate_vma gets.
nodes() {
	[[ $1 == bench ]] && echo 0 1 2 3 || echo 0 -1 1 -1
}

# boot NAME CASES...
boot() {
	local out=$COUNTS/$1 command
	shift
	command="mke2fs -q \$CDM_DISK && mkdir /tmp/disk && mount \$CDM_DISK /tmp/disk &&
		$GUEST $(nodes "$TOPOLOGY") $* && sed -n '/\[/s/^/symbol /p' /proc/kallsyms"
	QEMU_ARGS=$(plugin "$out" | tr -d '\n') \
		"$TOOLS/vm.sh" "$(tr '\n' ' ' <<<"$command")" >"$out.operations"
}

# forget NAME: what that boot has left the last time.
forget() {
	rm -f "$COUNTS/$1"{,.operations,.profile}
	sed -i "/^$1\$/d" "$COUNTS/early"
}

# counted NAME KERNEL_ARGS TOPOLOGY CASES...: a boot that fails is said, and
# the others go on.
counted() {
	local name=$1 start=$SECONDS
	[[ " ${BOOTS:-$name} " == *" $name "* ]] || return 0
	forget "$name"
	export KERNEL_ARGS=$2 TOPOLOGY=$3 TIMEOUT=${TIMEOUT:-3000}
	logged "$LOG/bench-$name.log" boot "$name" "${@:4}"
	say "$(printf '  count: %-29s %4d s' "$name" $((SECONDS - start)))"
	((STATUS == 0)) && return
	tail -3 "$LOG/bench-$name.log"
	echo "cdm: $name ended early, its figures are not complete"
	echo "$name" >>"$COUNTS/early"
}

# The sweep. Of 64K and 2M there are no fewer pages than one folio has.
# shellcheck disable=SC2046
sweep() {
	counted small "$ONE_CPU" bench \
		$(cases "$WAYS copy" 4K private plain "1 8 64 512 4096 65536")
	counted large "$ONE_CPU" bench \
		$(cases "$WAYS" 64K private plain "16 64 512 4096 65536") \
		$(cases "$WAYS" 2M private plain "512 4096 65536")
	counted shared "$ONE_CPU" bench \
		$(cases "$WAYS" 4K "fork shmem file" plain "1 8 64 512 4096 65536") \
		$(cases "$WAYS" 2M fork plain "512 4096")
	counted stall "$ONE_CPU" bench \
		$(cases "$WAYS" 4K private plain "2 4 16 32 128 256")
	counted variants "$QUIET_ARGS" bench \
		$(cases "$WAYS" 4K private "spin touch pinned full" "512 4096")
	counted nodes "$ONE_CPU" eight \
		$(for n in 8 4 2 1; do cases driver 4K private nodes$n "1 512 4096"; done)
	PROFILE=1 counted profile "$ONE_CPU" bench \
		$(cases "$WAYS" "4K 2M" private plain 4096) \
		$(cases "$WAYS" 4K private plain 1)
	growth
}

# A process has as many pages as this only in a larger machine.
growth() {
	if [[ -z ${FULL:-} ]]; then
		echo "not measured: 262144 and 1048576 pages (FULL=1 does)"
		return
	fi
	# shellcheck disable=SC2046
	counted growth "$ONE_CPU" large \
		$(cases driver 4K private plain "512 4096 65536 262144 1048576")
}

mkdir -p "$COUNTS"
[[ -n ${BOOTS:-} ]] || rm -f "$COUNTS"/*
touch "$COUNTS/early"
step "build the benchmark" build
if [[ ${1:-} == sweep ]]; then
	sweep
	mkdir -p "$OUT"
	python3 "$TOOLS/bench/move.py" csv "$COUNTS" >"$OUT/move.csv"
	python3 "$TOOLS/bench/move.py" table "$COUNTS" >"$OUT/move.txt"
	python3 "$TOOLS/bench/move.py" profile "$COUNTS" "$MAP" >"$OUT/profile.csv"
else
	# shellcheck disable=SC2046
	counted table "$ONE_CPU" bench \
		$(cases "$WAYS copy" "$KIND" private plain "$PAGES")
	python3 "$TOOLS/bench/move.py" table "$COUNTS"
fi
