# SPDX-License-Identifier: GPL-2.0
# What make check, make check-all, make selftest and make soak run: stages, each
# after what it needs. check.sh says how many run at a time, and a build of a kernel
# takes the job slots that are free. The results of a stage are in
# build/check/STAGE.

tools := tools/testing/cdm
stage = +@$(tools)/stage.sh $@
source := tools/testing/selftests/cdm

ALL_TESTS := $(patsubst $(source)/%.c,%,$(wildcard $(source)/*_test.c))
# The longest first, so that all slots have something to do near the end.
LONG := owner_test rows4_test workload_test accel_stress_test exact_test rows3_test
ORDERED := $(filter $(LONG),$(ALL_TESTS)) $(filter-out $(LONG),$(ALL_TESTS))
# Programs that with the checkers need more RAM than small has: eight blocks of it for
# one to be taken offline, and a tenth of a node that is
# more than what cannot be filled.
ROOMY := balance_test fence_test
# Programs with tests that are named after a row of the contract
ROW_TESTS := $(patsubst $(source)/%.c,%,$(shell grep -lE '^TEST.*\<[A-Z][0-9]+_[a-z]' $(source)/*_test.c))

# Those that share a machine, which takes as long to start as each of them to run.
# Each test of flavours base and unfenced is alone: it must not see what another one left.
SHARED := plain_test+policy_test+cpuset_test+move_test+migrate_test+rows_test+rows2_test \
	exact_fail_test+input_test+names_test audit_test+fence_test+balance_test+memcg_test lifecycle_test+memcg1_test \
	accel_kernel_test+accel_balance_test+accel_memory_test+accel_broken_test+accel_adversary_test+accel_z_test
space := $(subst ,, )
apart = $(subst +, ,$(1))
together = $(subst $(space),+,$(strip $(1)))
shared = $(filter-out $(call apart,$(SHARED)),$(1)) \
	$(foreach s,$(SHARED),$(call together,$(filter $(1),$(call apart,$(s)))))

# tests FLAVOUR,TOPOLOGIES,PROGRAMS: the names of stages
tests = $(foreach t,$(2),$(patsubst %,selftest.$(1).$(t).%,$(3)))

# Programs for a machine with one device: its users and its driver, and how it goes
ALONE := $(filter plain_test+% lifecycle_test+%,$(SHARED)) accel_test
$(if $(word 3,$(ALONE)),,$(error no group begins with plain_test or with lifecycle_test))

# The selftests of a flavour. All run with two devices.
default := $(call tests,default,two,$(call shared,$(ORDERED))) \
	$(call tests,default,single,$(ALONE)) \
	$(call tests,default,frontier,cpuset_test)
debug := $(call tests,debug,small,$(call shared,$(filter-out $(ROOMY),$(ORDERED)))) \
	$(call tests,debug,two,$(call together,$(ROOMY)))
base := $(call tests,base,single,$(filter $(ROW_TESTS),$(ORDERED)))
unfenced := $(subst .base.,.unfenced.,$(base))

check := build.default $(default) demo accelerator library style kunit.default harness
check-all := $(check) build.off build.debug $(debug) kunit.debug $(unfenced) \
	$(call tests,default,frontier,accel_test accel_move_test) \
	$(call tests,default,plain,all) off fence-table

# make selftest: those of the flavour, or the programs or the topologies asked for
flavour := $(or $(FLAVOUR),default)
topologies := $(or $(TOPOLOGY),$(if $(filter debug,$(flavour)),small,\
	$(if $(filter base unfenced,$(flavour)),single,single two)))
programs := $(or $(TESTS),$(if $(filter base unfenced,$(flavour)),$(filter $(ROW_TESTS),$(ORDERED)),\
	$(call shared,$(ORDERED))))
selftest := build.$(flavour:unfenced=default) $(or $(if $(TESTS)$(TOPOLOGY),,$($(flavour))),\
	$(call tests,$(flavour),$(topologies),$(programs)))
selftests := $(sort $(filter selftest.%,$(check-all) $(selftest)))

.PHONY: check check-all selftest list-check list-check-all list-selftest
.PHONY: $(sort $(check-all) $(selftest))

check: $(check)
check-all: $(check-all)
selftest: $(selftest)
list-check list-check-all list-selftest: list-%:
	@echo $($*)

style build.off: | build.default
# One kernel is built at a time.
ifneq ($(filter check-all,$(MAKECMDGOALS)),)
build.debug: | build.off
endif

build.default build.base build.debug:
	$(stage) env FLAVOUR=$(subst build.,,$@) $(tools)/build.sh
# The objects to compare, of the patches with the option off and of the base
build.off:
	$(stage) sh -c 'for f in base off; do FLAVOUR=$$f WHAT=hooked $(tools)/build.sh || exit; done'

# after_build FLAVOUR: its selftests and unit tests
define after_build
$(filter selftest.$(1).%,$(selftests)) kunit.$(1): | build.$(1)
endef
$(foreach f,default base debug,$(eval $(call after_build,$(f))))
$(filter selftest.unfenced.%,$(selftests)): | build.default

$(selftests):
	$(stage) $(tools)/selftest.sh $(subst ., ,$(patsubst selftest.%,%,$@))
kunit.default kunit.debug: kunit.%:
	$(stage) env FLAVOUR=$* $(tools)/kunit.sh

demo harness accelerator library: | build.default
demo style harness:
	$(stage) $(tools)/$@.sh
accelerator:
	$(stage) build/accelerator/accel-selftest
library:
	$(stage) sh -c 'build/lib/check && build/lib/fork'
off: | build.off
	$(stage) $(tools)/off.sh
fence-table: | $(filter selftest.default.% selftest.unfenced.%,$(check-all))
	$(stage) $(tools)/fence-table.sh --check
