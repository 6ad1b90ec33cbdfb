// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: what to make of accesses by a device and by CPUs.
 *
 * Where should a group of pages be? Each access by the side that is far from it
 * costs something, and so does moving it. Not knowing what comes next, a group
 * should move when it has lost by staying what a move costs: then it never pays
 * more than three times what somebody would who knew the future (the work function
 * algorithm for two states: Borodin, Linial and Saks, "An optimal on-line algorithm
 * for metrical task system", 1992). @lean is the difference of the work functions
 * of both sides, which is why it is bounded by the charge.
 *
 * Two more rules keep still what gains nothing by moving: a group moves only if the
 * one side has lately used it half as much again as the other; and each time it
 * comes back, it takes four times the evidence to move it again, until one side has
 * it for itself. The first rule costs some of the above: a bit less than four times.
 */
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "balance.h"

static s32 cdm_evidence_bound(const struct cdm_evidence *ev)
{
	return CDM_CHARGE << 2 * ev->hold;
}

/* Add accesses of both sides. */
void cdm_evidence_add(struct cdm_evidence *ev, u32 device, u32 cpu)
{
	s64 bound = cdm_evidence_bound(ev);
	s64 lean = (s64)ev->lean + device - cpu;

	ev->lean = clamp(lean, -bound, bound);
	ev->use = clamp((s64)ev->use + device - cpu, S32_MIN, S32_MAX);
	ev->device = min((u64)ev->device + device, U32_MAX / 2);
	ev->cpu = min((u64)ev->cpu + cpu, U32_MAX / 2);
	while (ev->device + ev->cpu > CDM_RATE_SPAN * bound) {
		ev->device /= 2;
		ev->cpu /= 2;
	}
}

/* Does the first side use it half as much again as the second? */
static bool cdm_evidence_is_more(u32 first, u32 second)
{
	return 2 * (u64)first >= 3 * (u64)second;
}

/* Has one side it as good as for itself? */
static bool cdm_evidence_is_private(const struct cdm_evidence *ev)
{
	return ev->device / 4 >= ev->cpu || ev->cpu / 4 >= ev->device;
}

/* So many half-lives have passed. */
void cdm_evidence_fade(struct cdm_evidence *ev, unsigned long nr_halves)
{
	nr_halves = min(nr_halves, 31);
	if (cdm_evidence_is_private(ev))
		ev->hold -= min(nr_halves, ev->hold);
	ev->lean /= 1 << min(nr_halves, 30);
	ev->use /= 1 << min(nr_halves, 30);
	ev->device >>= nr_halves;
	ev->cpu >>= nr_halves;
}

/* What should become of a group that is at @side? */
enum cdm_verdict cdm_evidence_verdict(const struct cdm_evidence *ev,
				      enum cdm_side side)
{
	bool in_ram = side == CDM_IN_RAM;
	s32 gain = in_ram ? ev->lean : -ev->lean;

	if (gain < CDM_CHARGE)
		return CDM_STAY_UNSURE;
	if (gain < cdm_evidence_bound(ev))
		return CDM_STAY_HELD;
	if (in_ram)
		return cdm_evidence_is_more(ev->device, ev->cpu) ?
		       CDM_GO_DEVICE : CDM_STAY_SHARED;
	return cdm_evidence_is_more(ev->cpu, ev->device) ? CDM_GO_RAM :
							   CDM_STAY_SHARED;
}

/* Is @side the right place beyond doubt, for what is there? */
bool cdm_evidence_is_sure(const struct cdm_evidence *ev, enum cdm_side side)
{
	return (side == CDM_ON_DEVICE ? ev->lean : -ev->lean) >= CDM_CHARGE;
}

/*
 * A group has moved to @to, at @now in periods. If it was moved before not long ago,
 * it comes back from where it went to then; the longer it has been held since, the
 * longer ago that may be.
 */
void cdm_evidence_moved(struct cdm_evidence *ev, enum cdm_side to, u16 now)
{
	if (ev->moved && (u16)(now - ev->moved) < CDM_HALF_LIFE << 2 * ev->hold &&
	    ev->hold < CDM_MAX_HOLD)
		ev->hold++;
	ev->moved = now ?: 1;
	/* It has been paid for, and is as sure of its place as can be. */
	ev->lean = to == CDM_ON_DEVICE ? CDM_CHARGE : -CDM_CHARGE;
}

/*
 * CPUs were made to fault on a page of a group, and @waited us later one did. Until
 * the next time, which will be after @gap us, nobody looks. Who comes so soon comes
 * so often: estimate the passes over the group until then.
 */
u32 cdm_evidence_passes(u32 gap, u32 waited)
{
	return clamp(gap / max(waited, 1U), 1U, 64U);
}

#ifdef CONFIG_CDM_KUNIT_TEST
#include "tests/evidence-kunit.h"
#endif
