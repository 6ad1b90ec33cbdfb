/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUnit tests of evidence.c, which includes this file: rules of placement by use,
 * without clocks and without memory.
 */
#include <kunit/test.h>

static void evidence_takes_a_charge_to_move(struct kunit *test)
{
	struct cdm_evidence ev = { };

	cdm_evidence_add(&ev, CDM_CHARGE - 1, 0);
	KUNIT_EXPECT_EQ(test, cdm_evidence_verdict(&ev, CDM_IN_RAM),
			CDM_STAY_UNSURE);
	cdm_evidence_add(&ev, 1, 0);
	KUNIT_EXPECT_EQ(test, cdm_evidence_verdict(&ev, CDM_IN_RAM),
			CDM_GO_DEVICE);
	/* Where it is already, it stays. */
	KUNIT_EXPECT_EQ(test, cdm_evidence_verdict(&ev, CDM_ON_DEVICE),
			CDM_STAY_UNSURE);
}

/* However long it was used there, it comes home after twice the charge. */
static void evidence_forgets_what_was_long_ago(struct kunit *test)
{
	struct cdm_evidence ev = { };
	int i;

	for (i = 0; i < 1000; i++)
		cdm_evidence_add(&ev, CDM_CHARGE, 0);
	cdm_evidence_moved(&ev, CDM_ON_DEVICE, 1);
	KUNIT_EXPECT_EQ(test, ev.lean, CDM_CHARGE);
	for (i = 0; i < 2 * CDM_CHARGE / CDM_PASS; i++) {
		KUNIT_EXPECT_LT(test, cdm_evidence_verdict(&ev, CDM_ON_DEVICE),
				CDM_GO_DEVICE);
		cdm_evidence_add(&ev, 0, CDM_PASS);
	}
	KUNIT_EXPECT_EQ(test, ev.lean, -CDM_CHARGE);
	/* The rates of both sides follow within their span. */
	for (i = 0; i < CDM_RATE_SPAN * CDM_CHARGE / CDM_PASS; i++)
		cdm_evidence_add(&ev, 0, CDM_PASS);
	KUNIT_EXPECT_EQ(test, cdm_evidence_verdict(&ev, CDM_ON_DEVICE),
			CDM_GO_RAM);
}

/* Never more than four times the cost of who knows the future, and a charge. */
static void evidence_competes(struct kunit *test)
{
	u64 state = 1, paid = 0, best[2] = { 0, CDM_CHARGE };
	struct cdm_evidence ev = { };
	enum cdm_side side = CDM_IN_RAM;
	int i;

	for (i = 0; i < 20000; i++) {
		u32 device, cpu;
		enum cdm_verdict verdict;

		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		device = (i / 50) % 2 ? 0 : (state >> 40) % CDM_PASS;
		cpu = (i / 50) % 2 ? (state >> 40) % CDM_PASS : 0;
		paid += side == CDM_IN_RAM ? device : cpu;
		best[CDM_IN_RAM] += device;
		best[CDM_ON_DEVICE] += cpu;
		best[0] = min(best[0], best[1] + CDM_CHARGE);
		best[1] = min(best[1], best[0] + CDM_CHARGE);

		cdm_evidence_add(&ev, device, cpu);
		verdict = cdm_evidence_verdict(&ev, side);
		if (verdict < CDM_GO_DEVICE)
			continue;
		side = verdict == CDM_GO_DEVICE ? CDM_ON_DEVICE : CDM_IN_RAM;
		paid += CDM_CHARGE;
		/* So seldom that there is nothing to be damped. */
		cdm_evidence_moved(&ev, side, i * CDM_HALF_LIFE);
	}
	KUNIT_EXPECT_LE(test, paid, 4 * min(best[0], best[1]) + CDM_CHARGE);
}

/* What is done to a group, from a report or two in each period. */
struct evidence_run {
	struct cdm_evidence ev;
	enum cdm_side side;
	u64 state;
	int now;
	int nr_moves;
};

static u32 evidence_random(struct evidence_run *run)
{
	run->state = run->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return run->state >> 32;
}

static void evidence_run(struct evidence_run *run, u32 device, u32 cpu)
{
	enum cdm_verdict verdict;

	if (++run->now % CDM_HALF_LIFE == 0)
		cdm_evidence_fade(&run->ev, 1);
	cdm_evidence_add(&run->ev, device, cpu);
	verdict = cdm_evidence_verdict(&run->ev, run->side);
	if (verdict < CDM_GO_DEVICE)
		return;
	run->side = verdict == CDM_GO_DEVICE ? CDM_ON_DEVICE : CDM_IN_RAM;
	cdm_evidence_moved(&run->ev, run->side, run->now);
	run->nr_moves++;
}

/* One in a hundred moves in a second, which is ten periods, is too much. */
static void evidence_of_both_sides_moves_little(struct kunit *test)
{
	struct evidence_run run = { .state = 1 };
	int i, nr_first;

	for (i = 0; i < 10000; i++)
		evidence_run(&run, evidence_random(&run) % 2 * CDM_PASS,
			     evidence_random(&run) % 2 * CDM_PASS);
	nr_first = run.nr_moves;
	for (i = 0; i < 90000; i++)
		evidence_run(&run, evidence_random(&run) % 2 * CDM_PASS,
			     evidence_random(&run) % 2 * CDM_PASS);
	kunit_info(test, "%d moves, then %d", nr_first, run.nr_moves - nr_first);
	KUNIT_EXPECT_LE(test, nr_first, 20);
	KUNIT_EXPECT_LE(test, run.nr_moves - nr_first, 90);
}

/* What each side has for itself for a while follows, also after it was shared. */
static void evidence_recovers_from_sharing(struct kunit *test)
{
	struct evidence_run run = { .state = 1 };
	int i;

	for (i = 0; i < 1000; i++)
		evidence_run(&run, evidence_random(&run) % 2 * CDM_PASS,
			     evidence_random(&run) % 2 * CDM_PASS);
	for (i = 0; i < (2 << 2 * CDM_MAX_HOLD) * 2 * CDM_RATE_SPAN; i++)
		evidence_run(&run, CDM_PASS, 0);
	KUNIT_EXPECT_EQ(test, run.side, CDM_ON_DEVICE);
	for (i = 0; i < (2 << 2 * CDM_MAX_HOLD) * 2 * CDM_RATE_SPAN; i++)
		evidence_run(&run, 0, CDM_PASS);
	KUNIT_EXPECT_EQ(test, run.side, CDM_IN_RAM);
}

static void evidence_holds_who_comes_back(struct kunit *test)
{
	struct cdm_evidence ev = { };
	int hold;

	cdm_evidence_moved(&ev, CDM_ON_DEVICE, 10);
	KUNIT_EXPECT_EQ(test, ev.hold, 0);
	for (hold = 1; hold <= CDM_MAX_HOLD; hold++) {
		cdm_evidence_moved(&ev, hold % 2 ? CDM_IN_RAM : CDM_ON_DEVICE,
				   10 + hold);
		KUNIT_EXPECT_EQ(test, ev.hold, hold);
	}
	cdm_evidence_moved(&ev, CDM_ON_DEVICE, 20);
	KUNIT_EXPECT_EQ(test, ev.hold, CDM_MAX_HOLD);

	/* From here on it takes as much more. */
	cdm_evidence_add(&ev, 0, 2 * CDM_CHARGE);
	KUNIT_EXPECT_EQ(test, cdm_evidence_verdict(&ev, CDM_ON_DEVICE),
			CDM_STAY_HELD);
	cdm_evidence_add(&ev, 0, CDM_CHARGE << 2 * CDM_MAX_HOLD);
	KUNIT_EXPECT_EQ(test, cdm_evidence_verdict(&ev, CDM_ON_DEVICE),
			CDM_GO_RAM);
}

static void evidence_does_not_hold_who_stayed_long(struct kunit *test)
{
	struct cdm_evidence ev = { };

	cdm_evidence_moved(&ev, CDM_ON_DEVICE, 10);
	cdm_evidence_moved(&ev, CDM_IN_RAM, 10 + CDM_HALF_LIFE);
	KUNIT_EXPECT_EQ(test, ev.hold, 0);
}

static void evidence_fades(struct kunit *test)
{
	struct cdm_evidence ev = { };

	cdm_evidence_add(&ev, CDM_CHARGE, 100);
	ev.hold = 2;
	cdm_evidence_fade(&ev, 1);
	KUNIT_EXPECT_EQ(test, ev.device, CDM_CHARGE / 2);
	KUNIT_EXPECT_EQ(test, ev.cpu, 50);
	KUNIT_EXPECT_EQ(test, ev.use, (CDM_CHARGE - 100) / 2);
	KUNIT_EXPECT_EQ(test, ev.lean, (CDM_CHARGE - 100) / 2);
	KUNIT_EXPECT_EQ(test, ev.hold, 1);
	cdm_evidence_fade(&ev, ULONG_MAX);
	KUNIT_EXPECT_EQ(test, ev.device, 0);
	KUNIT_EXPECT_EQ(test, ev.lean, 0);
	KUNIT_EXPECT_EQ(test, ev.hold, 0);
}

/* What is used eight times as much is seen to be, however long that goes on. */
static void evidence_tells_more_from_less(struct kunit *test)
{
	struct cdm_evidence hot = { }, cold = { };
	int i;

	for (i = 0; i < 10000; i++) {
		cdm_evidence_add(&hot, 8 * CDM_PASS, 0);
		cdm_evidence_add(&cold, CDM_PASS, 0);
		if (i % CDM_HALF_LIFE)
			continue;
		cdm_evidence_fade(&hot, 1);
		cdm_evidence_fade(&cold, 1);
	}
	KUNIT_EXPECT_GT(test, hot.use, 7 * cold.use);
	KUNIT_EXPECT_LT(test, hot.use, 9 * cold.use);
}

static void evidence_does_not_overflow(struct kunit *test)
{
	struct cdm_evidence ev = { .hold = CDM_MAX_HOLD };

	cdm_evidence_add(&ev, U32_MAX, U32_MAX);
	cdm_evidence_add(&ev, U32_MAX, 0);
	KUNIT_EXPECT_EQ(test, ev.lean, CDM_CHARGE << 2 * CDM_MAX_HOLD);
	KUNIT_EXPECT_EQ(test, ev.use, S32_MAX);
	cdm_evidence_add(&ev, 0, U32_MAX);
	KUNIT_EXPECT_EQ(test, ev.lean, -(CDM_CHARGE << 2 * CDM_MAX_HOLD));
	KUNIT_EXPECT_LE(test, ev.device + ev.cpu,
			(CDM_RATE_SPAN * CDM_CHARGE) << 2 * CDM_MAX_HOLD);
}

static void evidence_estimates_passes(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, cdm_evidence_passes(1000, 1000), 1);
	KUNIT_EXPECT_EQ(test, cdm_evidence_passes(1000, 100), 10);
	KUNIT_EXPECT_EQ(test, cdm_evidence_passes(1000, 100000), 1);
	KUNIT_EXPECT_EQ(test, cdm_evidence_passes(U32_MAX, 0), 64);
	KUNIT_EXPECT_EQ(test, cdm_evidence_passes(0, 0), 1);
}

static struct kunit_case cdm_evidence_cases[] = {
	KUNIT_CASE(evidence_takes_a_charge_to_move),
	KUNIT_CASE(evidence_forgets_what_was_long_ago),
	KUNIT_CASE(evidence_competes),
	KUNIT_CASE(evidence_of_both_sides_moves_little),
	KUNIT_CASE(evidence_recovers_from_sharing),
	KUNIT_CASE(evidence_holds_who_comes_back),
	KUNIT_CASE(evidence_does_not_hold_who_stayed_long),
	KUNIT_CASE(evidence_fades),
	KUNIT_CASE(evidence_tells_more_from_less),
	KUNIT_CASE(evidence_does_not_overflow),
	KUNIT_CASE(evidence_estimates_passes),
	{ }
};

static struct kunit_suite cdm_evidence_suite = {
	.name = "cdm_evidence",
	.test_cases = cdm_evidence_cases,
};

kunit_test_suite(cdm_evidence_suite);
