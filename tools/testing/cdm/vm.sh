#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# Run a command in a fresh virtual machine, or a shell if there is none.
#   vm.sh [COMMAND]
# Environment: FLAVOUR, TOPOLOGY, TIMEOUT (s), ACCEL (kvm, tcg, or icount: one
# thread, and a clock that counts instructions), SEED (of all that is random with
# icount), ROOT (host: the files of this machine; image: those of image.sh),
# SHIFT (an instruction takes 2^SHIFT ns then), LIMIT (s of the guest's own clock,
# after which the command has failed), CONSOLE (log of the guest's console),
# KERNEL_ARGS and QEMU_ARGS (more arguments), SHRINK (by what the memory of each node
# is divided), KUNIT (1: unit tests run at boot, 0: they do not), CDM_DRIVER
# (cdm_test, or cdm_accel: the owner of the device memory is an accelerator, a
# process here), STRAYS (0: it does not check what it accesses), and what a test of
# that name reads: CDM_STRESS_SECONDS. SEED is there as CDM_SEED.
# With ACCEL=icount and ROOT=image the machine is sealed: nothing in it depends on what
# the host does beside or how fast it is. One SEED gives one run, to the byte, where
# QEMU may have a real-time priority; without, times differ by milliseconds at times.
# The guest has an empty disk of its own, $CDM_DISK, and one for swap, $CDM_SWAP.
# Exit status: that of the command; 96 an accelerator accessed what it may not, 97
# device nodes did not come up, 98 the machine died, 99 kernel splat, 124 timeout.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FLAVOUR=${FLAVOUR:-default}
TOPOLOGY=${TOPOLOGY:-single}
TIMEOUT=${TIMEOUT:-300}
COMMAND=${1:-}
OBJ=$(obj "$FLAVOUR")
KERNEL=$OBJ/vmlinux
ROOT=${ROOT:-host}
KEEP_LOGS=60
DISK_MIB=2048 SWAP_MIB=1024
SHIFT=${SHIFT:-0}
SHRINK=${SHRINK:-1}

# The topology, by node: ram or device, MiB, CPUs or nearest RAM node; and the
# distances of two nodes that are linked.
kind=() mib=() arg=()
declare -A link=()

read_topology() {
	local k m a ram=0
	[[ $SHRINK == [12] ]] || die "SHRINK is 1 or 2, not '$SHRINK'"
	while read -r k m a; do
		case $k in
		link)
			link[$m]=$a
			continue
			;;
		ram | device) ;;
		*) die "topology $TOPOLOGY: what is '$k'?" ;;
		esac
		kind+=("$k") mib+=("$((m / SHRINK))") arg+=("$a")
		[[ $k == device ]] || ram=$((ram + m / SHRINK))
	done < <(grep -v '^#' "$TOOLS/topology/$TOPOLOGY")
	((ram > $(low_mib))) || die "topology $TOPOLOGY has too little RAM for SHRINK=$SHRINK"
}

# nodes KIND: the ids of the nodes of a kind.
nodes() {
	local n ids=()
	for n in "${!kind[@]}"; do
		[[ ${kind[n]} != "$1" ]] || ids+=("$n")
	done
	echo "${ids[*]}"
}

# distance A B: devices are farther than RAM, the other socket's even more, unless
# there is a link.
distance() {
	case ${link[$1-$2]:-${kind[$1]}-${kind[$2]}} in
	[0-9]*) echo "${link[$1-$2]}" ;;
	ram-ram) echo 20 ;;
	ram-device) (($1 == arg[$2])) && echo 40 || echo 60 ;;
	*) echo 80 ;;
	esac
}

# How many MiB are below 4 GiB; the rest is above, some RAM with it, for that is
# another zone. The end of what is below is firmware's, and must not be in a device.
low_mib() {
	(($(IFS=+; echo "${mib[*]}") > 3072)) && echo 2048 || echo 1024
}

# Physical memory and what it is backed by, as "PA MIB OFFSET" for each stretch of
# a node.
stretches() {
	local n start=0 size low below
	below=$(low_mib)
	for ((n = 0; n < $1; n++)); do
		start=$((start + mib[n]))
	done
	size=${mib[$1]}
	low=$((start < below ? below - start : 0))
	((low <= size)) || low=$size
	((low == 0)) || echo "$((start << 20)) $low 0"
	((low == size)) || echo "$(((start + low + 4096 - below) << 20)) $((size - low)) $((low << 20))"
}

memory_backend() {
	if [[ -z ${memory[$1]:-} ]]; then
		echo "-object memory-backend-ram,id=mem$1,size=${mib[$1]}M"
	else
		echo "-object memory-backend-file,id=mem$1,size=${mib[$1]}M,share=on,mem-path=${memory[$1]}"
	fi
}

# The memory nodes, their distances (SLIT) and their speed (HMAT).
numa_arguments() {
	local a b cpu=0 who
	for a in "${!kind[@]}"; do
		who=initiator=${arg[a]}
		if [[ ${kind[a]} == ram ]]; then
			who=initiator=$a,cpus=$cpu-$((cpu + arg[a] - 1))
			cpu=$((cpu + arg[a]))
		fi
		memory_backend "$a"
		echo "-numa node,nodeid=$a,memdev=mem$a,$who"
	done
	for a in "${!kind[@]}"; do
		for ((b = a + 1; b < ${#kind[@]}; b++)); do
			echo "-numa dist,src=$a,dst=$b,val=$(distance "$a" "$b")"
			echo "-numa dist,src=$b,dst=$a,val=$(distance "$a" "$b")"
		done
	done
	for a in $(nodes ram); do
		for b in "${!kind[@]}"; do
			hmat "$a" "$b"
		done
	done
	a=$(($(IFS=+; echo "${mib[*]}")))
	echo "-m ${a}M,slots=4,maxmem=$((a + 12288))M -smp $cpu,sockets=$(nodes ram | wc -w)"
}

# A disk, another one for swap, and the root's image, as persistent memory: read and
# written by the guest's own CPU, without a thread of the host that may be slow.
disks() {
	echo "-object memory-backend-ram,id=disk,size=${DISK_MIB}M -device nvdimm,memdev=disk,id=nvdisk"
	echo "-object memory-backend-ram,id=swap,size=${SWAP_MIB}M -device nvdimm,memdev=swap,id=nvswap"
	if [[ $ROOT == image ]]; then
		echo "-object memory-backend-file,id=root,mem-path=$IMAGE,size=$(stat -c %s "$IMAGE"),readonly=on"
		echo "-device nvdimm,memdev=root,id=nvroot,unarmed=on"
	else
		echo "-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
		echo "-device virtio-9p-pci,fsdev=host,mount_tag=host"
	fi
}

# hmat INITIATOR TARGET
hmat() {
	local pair="initiator=$1,target=$2,hierarchy=memory"
	local ns=100 bandwidth=10G
	if [[ $1 != "$2" ]]; then
		ns=$((5 * $(distance "$1" "$2")))
		bandwidth=5G
	fi
	echo "-numa hmat-lb,$pair,data-type=access-latency,latency=$ns"
	echo "-numa hmat-lb,$pair,data-type=access-bandwidth,bandwidth=$bandwidth"
}

# Make device nodes Soft Reserved, as firmware does with special purpose memory.
memmap_parameters() {
	local n pa size
	for n in $(nodes device); do
		while read -r pa size _; do
			printf 'memmap=%dM%%%#x-1+0xefffffff ' "$size" "$pa"
		done < <(stretches "$n")
	done
}

# The memory that accelerators share is in files that have no name: however this
# ends, they are gone with it. Where they are depends on the room.
share_memory() {
	local n fd file where=/dev/shm need=$(($(IFS=+; echo "${mib[*]}") + 64))
	[[ $(df -m --output=avail $where 2>/dev/null | tail -1) -gt $need ]] || where=$RUN
	for n in "${!kind[@]}"; do
		file=$(mktemp "$where/cdm.XXXXXX")
		exec {fd}<>"$file"
		rm "$file"
		memory[n]=/proc/$$/fd/$fd
		truncate -s "${mib[n]}M" "${memory[n]}"
	done
}

# An accelerator for each device node, one process each; and how QEMU finds them.
start_accelerators() {
	local n pa size offset maps=() strays=(--strays "$RUN/strays")
	[[ ${STRAYS:-1} != 0 ]] || strays=()
	for n in "${!kind[@]}"; do
		while read -r pa size offset; do
			maps+=(--map "$pa:$((size << 20)):${memory[n]}:$offset")
		done < <(stretches "$n")
	done
	for n in $(nodes device); do
		read -r pa size _ < <(stretches "$n")
		"$BUILD/accelerator/cdm-accel" --socket "$RUN/socket$n" \
			--mem "$pa:$((size << 20))" "${maps[@]}" "${strays[@]}" \
			</dev/null >>"$CONSOLE" 2>&1 &
		ACCELERATORS+="-chardev socket,path=$RUN/socket$n,id=accel$n "
		ACCELERATORS+="-device ivshmem-doorbell,vectors=4,chardev=accel$n "
	done
	for n in $(nodes device); do
		timeout 60 sh -c "until [ -S $RUN/socket$n ]; do sleep 0.05; done" ||
			die "the accelerator did not start, see ${CONSOLE#"$TOP"/}"
	done
}

# strayed STATUS: where the command did well and an accelerator did not
strayed() {
	[[ -s $RUN/strays ]] || return "$1"
	{
		echo "cdm: an accelerator accessed what it may not, console in ${CONSOLE#"$TOP"/}:"
		sed 's/^/  /' "$RUN/strays"
	} >&2
	(($1 == 0)) || return "$1"
	return 96
}

# An emulated CPU may be slow without being stuck. With a clock that counts
# instructions it is slow with string instructions: the kernel clears pages without.
kernel_parameters() {
	echo "console=ttyS0 nokaslr panic=-1 loglevel=5 $(memmap_parameters)" \
		"watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120" \
		"$([[ $ACCEL != icount ]] || echo tsc=reliable)" \
		"$([[ $ACCEL-$ROOT != icount-image ]] || echo clearcpuid=rep_good)" \
		"kunit.enable=${KUNIT:-$([[ $ROOT == image ]] && echo 0 || echo 1)}" \
		"${COMMAND:+CDM_BATCH=1} ${LIMIT:+CDM_LIMIT=$LIMIT} ${KERNEL_ARGS:-}" \
		"$([[ $ROOT == image ]] && echo CDM_IMAGE=/dev/pmem2 || echo "CDM_TOP=$TOP")"
}

# accelerator: kvm if a guest really boots with it, asked once per machine. It does so in 2
# seconds, or never.
accelerator() {
	local cache=$BUILD/accel id
	id=$(cat /proc/sys/kernel/random/boot_id)
	if [[ -e $cache ]] && read -r have answer <"$cache" && [[ $have == "$id" ]]; then
		echo "$answer"
	elif [[ ! -w /dev/kvm ]]; then
		echo "$id tcg" | tee "$cache" | cut -d' ' -f2
	elif boots kvm 20; then
		echo "$id kvm" | tee "$cache" | cut -d' ' -f2
	elif boots tcg 60; then
		echo "$id tcg" | tee "$cache" | cut -d' ' -f2
	else
		echo tcg	# the kernel boots with neither: ask again next time
	fi
}

boots() {
	ACCEL=$1 TOPOLOGY=plain TIMEOUT=$2 "$0" true >/dev/null 2>&1
}

# take_turns: with a clock that counts instructions QEMU's main loop moves the time of
# idle CPUs to the next timer. If it looked while the thread of the CPUs was about to go
# idle, the instructions of that thread would count twice. Nothing but that thread wakes
# the main loop of a sealed machine, so on one CPU of the host for both, where the main
# loop always goes first, it never looks then. The other threads, which it starts, have
# normal priority. The lock keeps other machines of this checkout off that CPU while
# there is another.
take_turns() {
	local cpu
	if ! chrt --fifo 1 true 2>/dev/null; then
		echo "cdm: no real-time priority: times may differ between runs" >>"$CONSOLE"
		return
	fi
	for cpu in $(python3 -c 'import os; print(*os.sched_getaffinity(0))' | tr ' ' '\n' | shuf); do
		exec {TURNS}>"$BUILD/run/cpu$cpu"
		! flock -n "$TURNS" || break
	done
	prefix+=(taskset -c "$cpu" chrt --reset-on-fork --fifo 1)
}

# The script that init starts, and what it needs to know.
write_script() {
	cat <<-END
	export CDM_TOPOLOGY=$TOPOLOGY CDM_FLAVOUR=$FLAVOUR
	export CDM_RAM_NODES="$(nodes ram)" CDM_DEVICE_NODES="$(nodes device)"
	export CDM_DRIVER=$DRIVER
	export CDM_STRESS_SECONDS=${CDM_STRESS_SECONDS:-} CDM_SEED=${SEED:-1}
	END
	if [[ $ROOT == host ]]; then
		echo "export CDM_TOP=$TOP CDM_BUILD=$BUILD CDM_FILES=$DL"
		echo "export MODPROBE_OPTIONS='-d $OBJ/root'"
		echo "cd $TOP"
	else
		echo "export CDM_FILES=/files"
		[[ $ACCEL != icount || -n ${SOAK:-}${VARIANT:-} ]] || echo "export CDM_SEALED=1"
	fi
	cat "$TOOLS/guest.sh"
	if [[ -n $COMMAND ]]; then
		printf 'exec bash -c %q\n' "$COMMAND"
	else
		printf 'stty rows %d cols %d\n' "$(tput lines)" "$(tput cols)"
		echo 'export TERM='"${TERM:-dumb}"
		echo 'exec bash -i'
	fi
}

[[ -e $TOOLS/topology/$TOPOLOGY ]] ||
	die "no topology '$TOPOLOGY' (there are: $(cd "$TOOLS/topology" && echo *))"
[[ -e $KERNEL ]] || die "flavour $FLAVOUR is not built: make build FLAVOUR=$FLAVOUR"

[[ $ROOT == host || $ROOT == image ]] || die "no root '$ROOT'"
IMAGE=$(image "$FLAVOUR")
read_topology
ACCEL=${ACCEL:-$(accelerator)}
DRIVER=${CDM_DRIVER:-cdm_test}
memory=() ACCELERATORS=''
[[ $DRIVER == cdm_test || $DRIVER == cdm_accel ]] || die "no owner driver '$DRIVER'"
if [[ $ACCEL == kvm ]]; then
	cpu="-accel kvm -cpu host"
else
	# Without erms and fsrm the kernel copies by words, not byte by byte.
	cpu="-accel tcg,thread=multi -cpu max,-erms,-fsrm"
	[[ $ACCEL != icount ]] || cpu="${cpu/multi/single} -seed ${SEED:-1} \
		-icount shift=$SHIFT,sleep=off -rtc base=2020-01-01,clock=vm"
fi

mkdir -p "$BUILD/run"
RUN=$(mktemp -d "$BUILD/run/XXXXXX")
trap 'rm -rf "$RUN"' EXIT
CONSOLE=${CONSOLE:-$LOG/vm-$(date +%H%M%S)-${RUN##*/}.console.log}
find "$LOG" -ignore_readdir_race -name 'vm-*.console.log' -printf '%T@ %p\n' | sort -rn |
	sed "1,${KEEP_LOGS}d" | cut -d' ' -f2 | xargs -r rm -f
write_script >"$RUN/script"
{
	cat "$BUILD/initramfs.cpio"
	cd "$RUN"
	touch -d @0 script
	echo script | cpio -o -H newc --quiet --reproducible
} >"$RUN/initrd"
echo "cdm: $ACCEL, flavour $FLAVOUR, topology $TOPOLOGY" >"$CONSOLE"

if [[ $DRIVER == cdm_accel && -n $(nodes device) ]]; then
	share_memory
	start_accelerators
fi

prefix=()
if [[ $ACCEL == icount ]]; then
	[[ -s $BUILD/steady.so && $BUILD != *[:\ ]* ]] || die "$BUILD/steady.so cannot be preloaded"
	prefix=(env LD_PRELOAD="$BUILD/steady.so")
	[[ $ROOT-$DRIVER != image-cdm_test ]] || take_turns
fi
# shellcheck disable=SC2054,SC2206,SC2207
qemu=("${prefix[@]}" qemu-system-x86_64 -machine q35,hmat=on,nvdimm=on,max-ram-below-4g=$(low_mib)M $cpu $(numa_arguments)
	-nodefaults -no-user-config -display none -no-reboot
	-kernel "$KERNEL" -initrd "$RUN/initrd"
	-append "$(kernel_parameters)"
	-chardev "file,id=console,path=$CONSOLE,append=on" -serial chardev:console
	-device virtio-serial-pci,ioeventfd=off -device virtserialport,nr=1,chardev=report
	$(disks) $ACCELERATORS ${QEMU_ARGS:-})

if [[ -n $COMMAND ]]; then
	status=0
	python3 "$TOOLS/relay.py" "$TIMEOUT" "$CONSOLE" "${qemu[@]}" \
		-chardev stdio,id=report,signal=off || status=$?
	strayed "$status"
else
	echo "cdm: $ACCEL, flavour $FLAVOUR, topology $TOPOLOGY; leave with exit" >&2
	"${qemu[@]}" -device virtconsole,nr=0,chardev=tty \
		-chardev stdio,id=tty,signal=off -chardev "file,id=report,path=$RUN/report"
	python3 "$TOOLS/relay.py" --status "$RUN/report"
fi
