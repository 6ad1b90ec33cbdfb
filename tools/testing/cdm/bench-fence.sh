#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# What the fence costs those who do not use it: kernel instructions, counted by
# the emulator, against the base. Flavours default and base must be built as
# VARIANT=bench; off is taken along if it is. Each machine is booted twice, to
# see whether the counts are the same. Fails if the cost is more than the
# contract allows.
# Environment: PROFILE, one of OPERATIONS or named-anon, named-thp: shows instead
# in which functions of the kernel it is spent.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$TOOLS/bench/plugin.sh"

export VARIANT=bench
PROFILE=${PROFILE:-}
OPERATIONS="anon thp unmap write miss hit fork"
NAMED="anon thp"
GUEST=$BUILD/bench/fence
PLUGIN=$BUILD/bench/count.so
COUNTS=$BUILD/bench/counts
MACHINES="base/plain base/single off/plain default/plain default/single"
[[ $PROFILE != named-* ]] || MACHINES="base/single default/single"
BOOTS="1 2"
[[ -z $PROFILE ]] || BOOTS=1

# One CPU, so that nothing else runs, and nothing that differs by chance.
export KERNEL_ARGS="nr_cpus=1 norandmaps mitigations=off numa_balancing=disable"
export ACCEL=icount TIMEOUT=${TIMEOUT:-240}

build() {
	gcc -O2 -Wall -Wextra -Wno-unused-parameter -Werror -shared -fPIC \
		-o "$PLUGIN" "$TOOLS/bench/count.c"
	# At an address where no other program of the guest is.
	gcc -O2 -Wall -Wextra -Wno-unused-parameter -Werror -static -fno-pie \
		-no-pie -Wl,-Ttext-segment=0x50000000 \
		-o "$GUEST" "$TOOLS/bench/fence.c"
}

is_built() {
	[[ -e $(obj "$1")/vmlinux ]] && grep -q '^CONFIG_PVH=y' "$(obj "$1")/.config"
}

# options FLAVOUR: its configuration but for the feature.
options() {
	grep '^CONFIG_' "$(obj "$1")/.config" | grep -vE '^CONFIG_(COHERENT_DEVICE|CDM_)'
}

# Fails if the kernels differ in more than the feature.
comparable() {
	local f status=0
	for f in base default off; do
		is_built "$f" || continue
		if [[ $(obj "$f")/.config -nt $(obj "$f")/vmlinux ]]; then
			echo "notice: $f is older than its configuration: make bench-fence"
			status=1
		elif ! cmp -s <(options base) <(options "$f"); then
			echo "notice: base and $f are configured differently, so do not compare them"
			status=1
		fi
	done
	return "$status"
}

# plugin FLAVOUR OUT
plugin() {
	count_plugin "$PLUGIN" "$GUEST" "$(obj "$1")/System.map" "$2"
	echo "${PROFILE:+,profile=$2.profile}"
}

# guest_command TOPOLOGY: the second node is named where there is one.
guest_command() {
	echo "modprobe zram && echo 64M >/sys/block/zram0/disksize"
	case $PROFILE in
	named-*) echo "&& $GUEST 1 named ${PROFILE#named-}" ;;
	?*) echo "&& $GUEST -1 unnamed $PROFILE" ;;
	*)
		echo "&& $GUEST -1 unnamed $OPERATIONS"
		[[ $1 == plain ]] || echo "&& $GUEST 1 named $NAMED"
		;;
	esac
}

# boot FLAVOUR TOPOLOGY OUT
boot() {
	FLAVOUR=$1 TOPOLOGY=$2 QEMU_ARGS=$(plugin "$1" "$3" | tr -d '\n') \
		"$TOOLS/vm.sh" "$(guest_command "$2" | tr '\n' ' ')" >"$3.operations"
}

rm -rf "$COUNTS"
mkdir -p "$COUNTS"
for f in base default; do
	is_built $f || die "flavour $f is not built: make bench-fence"
done
step "build the benchmark" build
for m in $MACHINES; do
	is_built "${m%/*}" || continue
	cp "$(obj "${m%/*}")/System.map" "$COUNTS/${m%/*}.map"
	for i in $BOOTS; do
		step "$m, boot $i" boot "${m%/*}" "${m#*/}" "$COUNTS/${m/\//-}.$i"
	done
done
if [[ -n $PROFILE ]]; then
	comparable || true
	python3 "$TOOLS/bench/fence.py" profile "$COUNTS"
elif comparable; then
	python3 "$TOOLS/bench/fence.py" judge "$COUNTS"
else
	python3 "$TOOLS/bench/fence.py" table "$COUNTS"
	die "the contract cannot be judged by kernels that are not comparable"
fi
