# SPDX-License-Identifier: GPL-2.0
# The workshop of the coherent device memory overlay. Base tree, build trees
# and results live under build/.

FLAVOUR  ?= default
TOPOLOGY ?= single
TIMEOUT  ?= 300
export FLAVOUR TOPOLOGY TIMEOUT

# The command reaches the guest as it was written, dollars included.
unexport CMD
CDM_CMD := $(value CMD)

tools := tools/testing/cdm

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

.PHONY: help setup build run shell

setup:
	@$(tools)/setup.sh

# make build [FLAVOUR=default|debug|off|base]   kernel, modules, tests
build: setup
	@$(tools)/build.sh

# make run CMD='...' [TOPOLOGY=single] [FLAVOUR=default] [TIMEOUT=300]
run: export CDM_CMD := $(CDM_CMD)
run:
	@QUIET=1 $(MAKE) -s build
	@$(tools)/vm.sh "$$CDM_CMD"

# make shell [TOPOLOGY=...] [FLAVOUR=...]       an interactive guest
shell:
	@QUIET=1 $(MAKE) -s build
	@$(tools)/vm.sh
