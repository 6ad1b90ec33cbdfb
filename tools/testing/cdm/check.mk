# SPDX-License-Identifier: GPL-2.0
# What make check, make check-all, make selftest and make soak run: stages, each
# after what it needs. make runs as many at a time as check.sh says, and a build of
# a kernel takes the job slots that are free. The results of a stage are in
# build/check/STAGE.

tools := tools/testing/cdm
stage = +@$(tools)/stage.sh $@
source := tools/testing/selftests/cdm

PROGRAMS := $(patsubst $(source)/%.c,%,$(wildcard $(source)/*_test.c))
# The longest first, so that all slots have something to do near the end.
LONG := owner_test rows4_test workload_test accel_stress_test exact_test rows3_test
ORDERED := $(filter $(LONG),$(PROGRAMS)) $(filter-out $(LONG),$(PROGRAMS))
ACCEL := $(filter accel%,$(ORDERED))
# Programs that with the checkers need more RAM than small has: eight blocks of it for
# one to be taken offline, and a tenth of a node that is
# more than what cannot be filled.
ROOMY := balance_test fence_test
# Programs with tests that are named after a row of the contract
ROWS := $(patsubst $(source)/%.c,%,$(shell grep -lE '^TEST.*\<[A-Z][0-9]+_[a-z]' $(source)/*_test.c))

# tests FLAVOUR,TOPOLOGIES,PROGRAMS: the names of stages
tests = $(foreach t,$(2),$(patsubst %,selftest.$(1).$(t).%,$(3)))

check := build.default $(call tests,default,single two,$(ORDERED)) demo accelerator \
	library style kunit.default harness
check-all := $(check) build.base build.off build.debug \
	$(call tests,debug,small,$(filter-out $(ROOMY),$(ORDERED))) \
	$(call tests,debug,two,$(ROOMY)) kunit.debug \
	$(call tests,base,single,$(filter $(ROWS),$(ORDERED))) \
	$(call tests,default,frontier,$(ACCEL)) $(call tests,default,plain,$(ORDERED)) \
	off fence-table

# make selftest: those that are asked for
selftest := build.$(or $(FLAVOUR),default) $(call tests,$(or $(FLAVOUR),default),$(or $(TOPOLOGY),\
	$(if $(filter debug,$(FLAVOUR)),small,single two)),$(or $(TESTS),$(ORDERED)))
selftests := $(sort $(filter selftest.%,$(check-all) $(selftest)))

.PHONY: check check-all selftest list-check list-check-all list-selftest
.PHONY: $(sort $(check-all) $(selftest))

check: $(check)
check-all: $(check-all)
selftest: $(selftest)
list-check list-check-all list-selftest: list-%:
	@echo $($*)

# One kernel is built at a time, and the objects of style after that.
build.base style: | build.default
build.off: | build.base
build.debug: | build.off

build.default build.base build.debug:
	$(stage) env FLAVOUR=$(subst build.,,$@) $(tools)/build.sh
build.off:
	$(stage) env FLAVOUR=off WHAT=hooked $(tools)/build.sh

# after_build FLAVOUR: its selftests and unit tests
define after_build
$(filter selftest.$(1).%,$(selftests)) kunit.$(1): | build.$(1)
endef
$(foreach f,default base debug,$(eval $(call after_build,$(f))))

$(selftests):
	$(stage) $(tools)/selftest.sh $(subst ., ,$(patsubst selftest.%,%,$@))
kunit.%:
	$(stage) env FLAVOUR=$* $(tools)/kunit.sh

demo harness accelerator library: | build.default
demo style harness:
	$(stage) $(tools)/$@.sh
accelerator:
	$(stage) build/accelerator/accel-selftest
library:
	$(stage) build/lib/check
off: | build.off
	$(stage) $(tools)/off.sh
fence-table: | $(filter selftest.default.% selftest.base.%,$(check-all))
	$(stage) $(tools)/fence-table.sh --check
