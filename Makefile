# SPDX-License-Identifier: GPL-2.0
# The workshop of the coherent device memory overlay. Everything that is
# fetched or built lies under build/.
#
# make demo                     set up everything and give the guided tour
# make check                    set up everything and run the tests of the feature
# make check-all                what CI runs: the other flavours and machines, too
# make build    [FLAVOUR=]      kernel, modules, tests; incremental
# make run CMD= [TOPOLOGY= FLAVOUR= TIMEOUT=]  one command in a fresh guest
# make shell    [TOPOLOGY= FLAVOUR=]           the same, interactive
# make selftest [TOPOLOGY= SHRINK= FLAVOUR= VARIANT= TESTS= SEED=]  tests from user space
# make kunit    [FLAVOUR=]      unit tests
# make repeat   [GOAL= TIMES= LOADED=]  is the check the same every time?
# make soak     [HOURS=]        what the checks leave out for its time
# make bench    [FULL=1]        benchmarks; results in build/results
# make bench-fence [PROFILE=]   what the fence costs, in instructions
# make bench-move [KIND= PAGES=] what a migration costs, in instructions
# make bench-place              placement by use, against the best placement
# make performance-table        Documentation/mm/cdm/performance.rst, from make bench
# make fence-table              Documentation/mm/cdm/fence.rst, from make check
# make style                    checkpatch, sparse, W=1, kernel-doc, shellcheck
# make edit                     build/src: the hooks as commits
# make refresh                  write these commits back to patches/
# make export   [VERIFY=1]      hooks and new files as one mailable series;
#                               VERIFY=1 builds each prefix
# make port NEW=VERSION         try the hooks on another linux-source-6.12
#
# CDM_DRIVER: cdm_test (default), or cdm_accel: the devices are accelerators that
#             compute, each a process on the host.
# FLAVOUR: default, unfenced, debug, off, base.
# TOPOLOGY: single (default), two, frontier, eight, plain, small.
# SHRINK: 1 or 2, by what the memory of its nodes is divided.
# VARIANT: kasan, lockdep, vm, kmemleak: flavour default with one checker.

# The command reaches the guest as it was written, dollars included.
unexport CMD
export FLAVOUR VARIANT TOPOLOGY SHRINK TIMEOUT TESTS SEED NEW VERIFY PROFILE CDM_DRIVER KIND PAGES FULL GOAL TIMES LOADED HOURS JOBS
export CDM_CMD := $(value CMD)

tools := tools/testing/cdm

.PHONY: help setup build demo check check-all run shell selftest kunit bench style
.PHONY: edit refresh export port quiet-build bench-fence bench-move fence-table
.PHONY: performance-table bench-place repeat soak

help:
	@sed -n '1d; /^$$/q; s/^# \{0,1\}//p' Makefile

setup:
	@$(tools)/setup.sh

build: setup
	@$(tools)/build.sh

quiet-build:
	@QUIET=1 $(tools)/setup.sh
	@QUIET=1 $(tools)/build.sh

demo: build
	@$(tools)/demo.sh

check check-all selftest: setup
	@$(tools)/check.sh $@

repeat: setup
	@$(tools)/repeat.sh

soak: setup
	@FLAVOUR=default $(tools)/build.sh
	@FLAVOUR=debug $(tools)/build.sh
	@$(tools)/soak.sh

run: quiet-build
	@$(tools)/vm.sh "$$CDM_CMD"

shell: quiet-build
	@$(tools)/vm.sh

kunit style: build
	@$(tools)/$@.sh

bench: build
	@VARIANT=bench FLAVOUR=default $(tools)/build.sh
	@$(tools)/$@.sh

bench-place: build
	@VARIANT=bench FLAVOUR=default $(tools)/build.sh
	@$(tools)/$@.sh

bench-move: setup
	@VARIANT=bench FLAVOUR=default $(tools)/build.sh
	@$(tools)/$@.sh

bench-fence: setup
	@VARIANT=bench FLAVOUR=default $(tools)/build.sh
	@VARIANT=bench FLAVOUR=base $(tools)/build.sh
	@$(tools)/$@.sh

fence-table performance-table:
	@$(tools)/$@.sh

edit refresh: setup
	@$(tools)/src.sh $@

port export: setup
	@$(tools)/export.sh $@
