#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
# The guided tour, in a machine with one RAM node and one device node. Every
# number is measured while it runs.
#   demo.sh [ARCHIVE]
# Exit status: 0 if each claim held, else 1.
set -u

TOP=${CDM_TOP:-$(cd "$(dirname "$0")/../../../.." && pwd)}
BUILD=${CDM_BUILD:-$TOP/build}
ARCHIVE=${1:-$BUILD/dl/linux-source-6.12.tar.xz}
TOUR=$BUILD/demo/tour
NODES=/sys/devices/system/node
BUFFER_MIB=128 TEXT_MIB=8 FILE_MIB=128 SORT_MIB=16 HOME_MIB=16
LIBRARY=$BUILD/lib MATRIX=512

WORK=$(mktemp -d /tmp/tour.XXXXXX)
export LC_ALL=C TOUR_CLAIMS=$WORK/claims TOUR_PART=0
shown=0

# Text

part() {
	TOUR_PART=$1
	printf '\n\n== %s. %s ==\n\n' "$1" "$2"
}

text() {
	sed 's/^[[:space:]]*\(.\)/  \1/'
}

dollar() {
	echo "  \$ $*"
}

# Claims: one line "part TAB ok|FAILED TAB claim TAB measured" each

# check CLAIM MEASURED CONDITION...: the claim holds if the condition does.
check() {
	local claim=$1 measured=$2 status=FAILED
	shift 2
	"$@" && status=ok
	printf '%s\t%s\t%s\t%s\n' "$TOUR_PART" "$status" "$claim" "$measured" >>"$TOUR_CLAIMS"
}

# The claims since the last time.
show_claims() {
	echo
	tail -n +$((shown + 1)) "$TOUR_CLAIMS" |
		awk -F'\t' '{ printf "  %-7s %-42s %s\n", $2, $3, $4 }'
	shown=$(wc -l <"$TOUR_CLAIMS")
}

# A part of the program; that it fails is a claim that did not hold.
tour() {
	local status=0
	"$TOUR" "$@" || status=$?
	((status == 0)) || check "tour $1 runs to its end" "exit status $status" false
}

# Numbers

# kb FILE KEY
kb() {
	awk -v key="$2:" '{ for (i = 1; i < NF; i++) if ($i == key) print $(i + 1) }' "$1"
}

node_kb() {
	kb "$NODES/node$1/meminfo" "$2"
}

# How often memory of a node was ever allocated.
allocations() {
	awk '$1 == "numa_hit" || $1 == "numa_miss" { n += $2 } END { print n }' \
		"$NODES/node$1/numastat"
}

# 1. The machine

show_nodes() {
	local n kind owner cpus
	printf '\n  %-6s%-8s%-6s%14s%16s   %s\n' node kind CPUs MemTotal MemFree owner
	for n in $RAM $DEVICE; do
		kind=RAM owner=-
		[[ $n != "$DEVICE" ]] || kind=device
		[[ ! -e $NODES/node$n/coherent_device ]] ||
			owner=$(readlink -f "$NODES/node$n/coherent_device")
		cpus=$(<"$NODES/node$n/cpulist")
		printf '  %-6s%-8s%-6s%11s kB%13s kB   %s\n' "$n" "$kind" "${cpus:-none}" \
			"$(node_kb "$n" MemTotal)" "$(node_kb "$n" MemFree)" "$owner"
	done
}

the_machine() {
	local owner mem dev
	printf '\nGuided tour of a coherent device memory node, on Linux %s\n' "$(uname -r)"
	part 1 "What the machine has"
	text <<-END
	Node $RAM is ordinary RAM. Node $DEVICE is the memory of an accelerator: the CPUs can address
	it, but the kernel gives it only to those who ask for this node by its number. The device
	itself is a process on the host; to the machine it is a PCI function that shares its memory.

	END
	dollar numactl -H
	numactl -H | sed 's/^/    /'
	show_nodes
	echo
	dollar "grep . has_memory has_coherent_device    (in $NODES)"
	(cd $NODES && grep . has_memory has_coherent_device) | sed 's/^/    /'
	dollar "grep -E '^(Mem|Device)(Total|Free):' /proc/meminfo"
	grep -E '^(Mem|Device)(Total|Free):' /proc/meminfo | sed 's/^/    /'

	owner=$(readlink -f "$NODES/node$DEVICE/coherent_device") || owner=nobody
	mem=$(kb /proc/meminfo MemTotal)
	dev=$(kb /proc/meminfo DeviceTotal)
	check "node $DEVICE has an owner" "${owner#/sys/devices/}" test -d "$owner"
	check "the device node is no RAM node" \
		"has_memory $(<$NODES/has_memory), has_coherent_device $(<$NODES/has_coherent_device)" \
		test "$(<$NODES/has_memory) $(<$NODES/has_coherent_device)" = "$RAM $DEVICE"
	check "MemTotal is the RAM alone" "$mem kB, node $RAM: $(node_kb "$RAM" MemTotal) kB" \
		test "$mem" -eq "$(node_kb "$RAM" MemTotal)"
	check "DeviceTotal is the device" "${dev:-no} kB, node $DEVICE: $(node_kb "$DEVICE" MemTotal) kB" \
		test "${dev:-0}" -eq "$(node_kb "$DEVICE" MemTotal)"
	show_claims
}

# 2. Five steps

five_steps() {
	part 2 "Five steps: the data goes where the computing is"
	text <<-END
	A program allocates memory, the CPU computes on it, the device computes on it, the CPU goes
	on, the memory is released. There is one set of pointers and nothing in the program that moves
	data: the page faults of the device bring the pages to it; the CPU then reads and writes them
	there.
	Data: ${ARCHIVE##*/}, the first $BUFFER_MIB MiB, and $TEXT_MIB MiB of the text in it.
	END
	tour buffer "$ARCHIVE" $BUFFER_MIB
	show_claims
	tour words "$WORK/text" $TEXT_MIB
	show_claims
	tour file "$ARCHIVE" $FILE_MIB
	show_claims
}

# 3. Unmodified programs

# numa_pages PID: pages of /proc/PID/numa_maps: of anonymous mappings in RAM and
# on the device, of file mappings in RAM and on the device, and how many of the
# last two are private copies.
numa_pages() {
	awk -v ram="N$RAM" -v dev="N$DEVICE" '
	{
		r = d = a = file = 0
		for (i = 3; i <= NF; i++) {
			split($i, v, "=")
			if (v[1] == ram) r = v[2]
			if (v[1] == dev) d = v[2]
			if (v[1] == "anon") a = v[2]
			if (v[1] == "file") file = 1
		}
		if (file) { fr += r; fd += d; copies += a } else { ar += r; ad += d }
	}
	END { print ar + 0, ad + 0, fr + 0, fd + 0, copies + 0 }' "/proc/$1/numa_maps"
}

# Wait until the sort has read what it was given: it sleeps and does not grow.
settle() {
	local before='' after i
	for ((i = 0; i < 100; i++)); do
		after="$(awk '{ print $3 }' "/proc/$1/stat") $(numa_pages "$1")"
		[[ $after == "$before" && $after == S* ]] && break
		before=$after
		sleep 0.3
	done
}

# start_sort NAME COMMAND...: the end of its input does not come before
# end_sort, so that it can be looked at with all its memory filled.
start_sort() {
	local fifo=$WORK/fifo
	dollar "${*:2} <text | sha256sum"
	rm -f "$fifo"
	mkfifo "$fifo"
	{
		"${@:2}" <"$fifo" &
		echo $! >"$WORK/pid"
		wait $!
		echo $? >"$WORK/$1.status"
	} | sha256sum >"$WORK/$1.sum" &
	job=$!
	exec 5>"$fifo"
	head -c ${SORT_MIB}M "$WORK/text" >&5
	pid=$(<"$WORK/pid")
	settle "$pid"
}

end_sort() {
	exec 5>&-
	wait $job
}

show_sort() {
	local ar ad fr fd copies
	read -r ar ad fr fd copies < <(numa_pages "$pid")
	"$TOUR" row "$1: its own memory" "$ar" "$ad"
	"$TOUR" row "$1: files" "$fr" "$fd"
}

largest_mapping() {
	echo "  largest mapping in /proc/PID/numa_maps:"
	awk '{ a = 0; for (i = 3; i <= NF; i++) if ($i ~ /^anon=/) a = substr($i, 6) + 0 }
	a > max { max = a; line = $0 }
	END { print "    " line }' "/proc/$pid/numa_maps"
}

sort_bound() {
	local ar ad fr fd copies
	start_sort bound numactl --membind="$DEVICE" "${SORT[@]}"
	largest_mapping
	"$TOUR" table "numactl --membind=$DEVICE"
	show_sort sort
	read -r ar ad fr fd copies < <(numa_pages "$pid")
	check "--membind=$DEVICE: its memory is there" "$ad of $((ar + ad)) pages" \
		test "$ar" -eq 0 -a "$ad" -gt 1000
	check "--membind=$DEVICE: its files stay in RAM" "$((fd - copies)) pages on device" \
		test "$fd" -eq "$copies"
	end_sort
}

sort_interleaved() {
	local ar ad fr fd copies before after
	before=$(allocations "$DEVICE")
	start_sort interleaved numactl --interleave=all "${SORT[@]}"
	largest_mapping
	"$TOUR" table "numactl --interleave=all"
	show_sort sort
	read -r ar ad fr fd copies < <(numa_pages "$pid")
	end_sort
	after=$(allocations "$DEVICE")
	check "--interleave=all: nothing is there" \
		"$((ad + fd)) pages, $((after - before)) allocations there" \
		test $((ad + fd + after - before)) -eq 0 -a "$ar" -gt 1000
}

# migrate FROM TO
migrate() {
	dollar "migratepages $pid $1 $2"
	migratepages "$pid" "$1" "$2" ||
		check "migratepages $1 $2 succeeds" "exit status $?" false
}

sort_migrated() {
	local all ar ad fr fd copies
	start_sort migrated "${SORT[@]}"
	read -r all ad fr fd copies < <(numa_pages "$pid")
	"$TOUR" table "migratepages, no policy"
	show_sort before
	migrate "$RAM" "$DEVICE"
	show_sort there
	read -r ar ad fr fd copies < <(numa_pages "$pid")
	check "migratepages $RAM $DEVICE: it goes there" "$ad of $all pages" \
		test "$ar" -eq 0 -a "$ad" -eq "$all"
	migrate "$DEVICE" "$RAM"
	show_sort back
	read -r ar ad fr fd copies < <(numa_pages "$pid")
	check "migratepages $DEVICE $RAM: it comes back" "$ar of $all pages, $fd of its files' left" \
		test "$ad" -eq 0 -a "$ar" -eq "$all" -a "$fd" -eq 0
	end_sort
}

# How many jobs the device has done since it was started.
jobs_done() {
	awk '$1 == "jobs" { print $2 }' /sys/kernel/debug/cdm_accel/*/stats
}

# run_matrix CLAIM JOBS VARIABLE=VALUE... PROGRAM ARGUMENT
run_matrix() {
	local before jobs out status=0
	before=$(jobs_done)
	dollar "${@:3}"
	out=$(cd "$LIBRARY" && env "${@:3}" 2>&1) || status=$?
	echo "${out//$'\n'/$'\n'    }" | sed '1s/^/    /'
	jobs=$(($(jobs_done) - before))
	check "$1" "jobs of the device: $jobs; ${out##*$'\n'}" \
		test "$status $jobs" = "0 $2"
}

another_library() {
	echo
	text <<-END
	matrix multiplies matrices by cblas_sgemm() and checks the product. It is linked with a
	library that computes on the CPU; another one with the same function uses the device.

	END
	run_matrix "matrix: computed by the CPU" 0 ./matrix $MATRIX
	run_matrix "LD_PRELOAD: computed by the device" 1 \
		LD_PRELOAD=./libcdm_blas.so CDM_BLAS_VERBOSE=1 ./matrix $MATRIX
	show_claims
}

unmodified_programs() {
	local results states
	SORT=(sort -S 96M --parallel=1)
	part 3 "Unmodified programs: on the memory of the device, and on the device"
	text <<-END
	Debian's sort, on $SORT_MIB MiB of text. It is looked at when it has read all its input.
	Its files are program and libraries; a few pages of them it wrote to and has copies of.

	END
	sort_bound
	show_claims
	echo
	sort_interleaved
	show_claims
	echo
	sort_migrated
	"$TOUR" legend
	results=$(sort -u "$WORK"/{bound,interleaved,migrated}.sum | cut -c-16)
	states=$(sort -u "$WORK"/{bound,interleaved,migrated}.status)
	check "all three sort alike" "SHA-256 ${results//$'\n'/, }..., exit status ${states//$'\n'/, }" \
		test "${#results} $states" = "16 0"
	show_claims
	another_library
}

# 4. Pressure

oom_kills() {
	awk '$1 == "oom_kill" { print $2 }' /proc/vmstat
}

memory_pressure() {
	local kills
	part 4 "All RAM is taken: nothing spills onto the device"
	text <<-END
	Files fill the page cache and a tmpfs, then a program writes to more and more memory, until
	no RAM is left for it and the kernel has to kill it. All this time the device is empty.
	END
	kills=$(oom_kills)
	cat "$ARCHIVE" >"$WORK/copy"
	tour pressure
	rm -f "$WORK/copy"
	kills=$(($(oom_kills) - kills))
	check "nobody else is killed" "$kills killed in all" test $kills -eq 1
	show_claims
}

# 5. Home

coming_home() {
	part 5 "The device goes away, and comes back"
	text <<-END
	A process has data on the device when its driver is unbound. The pages must come home to RAM,
	where the process finds them at the same addresses.
	END
	tour home "$ARCHIVE" $HOME_MIB
	show_claims
}

summary() {
	local failed parts total
	total=$(wc -l <"$TOUR_CLAIMS")
	failed=$(grep -c $'\tFAILED\t' "$TOUR_CLAIMS")
	printf '\n\n== Summary: part, claim, and what was measured in this run ==\n\n'
	awk -F'\t' '{ printf "  %s  %-7s %-42s %s\n", $1, $2, $3, $4 }' "$TOUR_CLAIMS"
	parts=$(cut -f1 "$TOUR_CLAIMS" | sort -u | wc -l)
	printf '\n  %d claims, %d held, %d FAILED; %d s\n' "$total" \
		$((total - failed)) "$failed" $SECONDS
	((failed == 0 && parts == TOUR_PART))
}

for file in "$TOUR" "$ARCHIVE" "$LIBRARY"/{matrix,libcdm_blas.so} \
	$NODES/has_coherent_device /dev/cdm_accel0; do
	[[ -e $file ]] || { echo "demo.sh: $file is missing" >&2; exit 1; }
done
RAM=${CDM_RAM_NODES-$(<$NODES/has_memory)}
DEVICE=${CDM_DEVICE_NODES-$(<$NODES/has_coherent_device)}
if [[ ! $RAM =~ ^[0-9]+$ || ! $DEVICE =~ ^[0-9]+$ ]]; then
	echo "demo.sh: needs one RAM node and one device node, not '$RAM' and '$DEVICE'" >&2
	exit 1
fi
xz -dc "$ARCHIVE" 2>/dev/null | head -c ${SORT_MIB}M >"$WORK/text"

the_machine
five_steps
unmodified_programs
memory_pressure
coming_home
summary
status=$?
rm -rf "$WORK"
exit $status
