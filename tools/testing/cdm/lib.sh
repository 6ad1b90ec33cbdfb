# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
# Shared by the scripts of the workshop: paths, messages, timed steps.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
TOOLS=$TOP/tools/testing/cdm
BUILD=${BUILD:-$TOP/build}
DL=$BUILD/dl
LOG=$BUILD/log
BASE=$BUILD/base
SRC=$BUILD/src
CHECK=$BUILD/check
PATCHES=$TOP/patches/6.12
FLAVOURS="default unfenced debug off base"

# The make of the workshop shares its job slots with that of the kernel, but must not
# leak its variables.
JOBS_ARG=-j$(($(nproc) + 1))
if [[ ${MAKEFLAGS:-} =~ --jobserver-auth=[^[:space:]]+ ]]; then
	export MAKEFLAGS="-j ${BASH_REMATCH[0]}"
	JOBS_ARG=
else
	unset MAKEFLAGS
fi
unset MAKEOVERRIDES MFLAGS MAKELEVEL
export LC_ALL=C
shopt -s inherit_errexit
mkdir -p "$DL" "$LOG" "$BUILD/obj"

# say LINE: progress for people; with QUIET=1 only on a terminal.
say() {
	if [[ -z ${QUIET:-} ]]; then
		echo "$*"
	elif [[ -t 2 ]]; then
		echo "$*" >&2
	fi
}

die() {
	echo "cdm: $*" >&2
	exit 1
}

# logged LOG COMMAND...: sets STATUS. The command, a function perhaps, ends at
# its first error, which it would not do as a condition of if.
logged() {
	local log=$1
	shift
	set +e
	(
		set -e
		"$@"
	) >"$log" 2>&1 </dev/null
	STATUS=$?
	set -e
}

# step NAME COMMAND...: run COMMAND with its output in a log, report the time.
step() {
	local name=$1 log=$LOG/${1//[^A-Za-z0-9_=.]/-}.log start=$SECONDS
	shift
	logged "$log" "$@"
	if ((STATUS == 0)); then
		say "$(printf '  %-36s %4d s' "$name" $((SECONDS - start)))"
		return
	fi
	grep -h '^cdm: ' "$log" >&2 ||
		grep -hE 'error:|Error |ERROR|undefined|No space|^E: |fatal:' "$log" |
		head -15 >&2 || tail -5 "$log" >&2
	die "$name failed, see ${log#"$TOP"/}"
}

# alone NAME: hold a lock until the script ends or asks for another one.
alone() {
	exec 9>"$BUILD/$1.lock"
	flock 9
}

as_root() {
	if ((EUID == 0)); then
		"$@"
	else
		command -v sudo >/dev/null ||
			die "missing packages need root or sudo: $*"
		sudo "$@"
	fi
}

# tree FLAVOUR: the source tree a flavour is built from.
tree() {
	case $1 in
	base) echo "$BASE" ;;
	default | unfenced | debug | off) echo "$SRC" ;;
	*) die "no flavour '$1' (there are: $FLAVOURS)" ;;
	esac
}

# fragments FLAVOUR: the configuration fragments of a flavour, in order.
fragments() {
	echo "$TOOLS/config/common.config"
	case $1 in
	default) echo "$TOOLS/config/cdm.config" ;;
	debug) echo "$TOOLS"/config/{cdm,kasan,lockdep,vm,kmemleak,debug}.config ;;
	esac
	[[ -z ${VARIANT:-} ]] || echo "$TOOLS/config/$VARIANT.config"
}

# obj FLAVOUR: the object tree of its kernel. That of unfenced is the one of default.
obj() {
	echo "$BUILD/obj/${1/#unfenced/default}${VARIANT:+-$VARIANT}"
}

# image FLAVOUR: the root file system of its sealed machines.
image() {
	echo "$BUILD/image/${1/#unfenced/default}${VARIANT:+-$VARIANT}.ext2"
}

# The objects of hooked files, and of those that get our header from a hooked one, as far
# as flavour default has them.
# shellcheck disable=SC2013
hooked() {
	local o
	for o in mm/{debug,rmap}.o $(cat "$PATCHES"/*.patch | sed -n 's|^+++ b/\(.*\)\.c$|\1.o|p' | sort -u); do
		[[ ! -e $(VARIANT='' obj default)/$o ]] || echo "$o"
	done
}

# Results of tests: the script that is called first owns them and prints the
# totals; those it calls only add theirs.
start_results() {
	[[ -z ${RESULTS:-} ]] || return 0
	OWN_RESULTS=1
	RESULTS=$(mktemp "$BUILD/results.XXXXXX")
	export RESULTS
	trap 'rm -f "$RESULTS"' EXIT
}

# result LINE: one test, "ok NAME", "not ok NAME" or "skip NAME # reason".
result() {
	echo "$1"
	echo "$1" >>"$RESULTS"
}

# check NAME COMMAND...: the command as a test, its output in a log.
check() {
	local name=$1 log=$LOG/${1//[^A-Za-z0-9_=.]/-}.log
	shift
	logged "$log" "$@"
	if ((STATUS == 0)); then
		result "ok $name"
	else
		tail -8 "$log" | sed 's/^/    /'
		result "not ok $name # see ${log#"$TOP"/}"
	fi
}

# totals FILE: how many results of each kind it has.
totals() {
	local passed failed skipped
	passed=$(grep -c '^ok ' "$1") || true
	failed=$(grep -c '^not ok ' "$1") || true
	skipped=$(grep -c '^skip ' "$1") || true
	echo "$passed passed, $failed failed, $skipped skipped"
}

# finish: the totals; fails if a test failed or there were none.
finish() {
	[[ -n ${OWN_RESULTS:-} ]] || return 0
	grep '^not ok ' "$RESULTS" | sed 's/^not ok/failed:/' || true
	totals "$RESULTS"
	! grep -q '^not ok ' "$RESULTS" && grep -q '^ok ' "$RESULTS"
}
