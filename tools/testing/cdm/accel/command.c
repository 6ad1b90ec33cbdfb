// SPDX-License-Identifier: GPL-2.0
/*
 * The command ring, injected faults, reset and the end of the link. All of this
 * is the main thread's, which never waits for the driver.
 */
#include <errno.h>
#include <string.h>

#include "accel.h"

static struct accel_in cmd_in;
static bool hang_next;
static __u32 last_reset;		/* that was carried out or passed over */
static bool passed_over;		/* one, by a device that is dead */

static void reset_regs(void)
{
	struct cdm_accel_regs *regs = &accel.bar->regs;

	__atomic_store_n(&regs->error_pa, 0, __ATOMIC_RELAXED);
	accel_put(&regs->error, 0);
	accel_fill_regs();
}

/* Jobs and copies first: nothing else goes on by itself. */
static void reset(__u32 nr)
{
	accel_stop_jobs();
	accel_stop_copies();
	accel_stop_invals();
	accel_behave();
	accel_drop_late();
	accel_reset_rings();
	accel.dead = false;
	passed_over = false;
	accel_resume_invals();
	accel_keep_translations(false);
	accel_flush_tlbs();
	accel_expect_strays(false);
	accel_clear_counters();
	accel_clear_poison();
	accel_lose_irqs(0);
	hang_next = false;
	cmd_in.tail = 0;
	cmd_in.bad = false;
	reset_regs();
	accel_put(&accel.bar->regs.reset_done, nr);
}

static void check_reset(void)
{
	__u32 nr = accel_get(&accel.bar->regs.reset);

	if (nr == last_reset)
		return;
	last_reset = nr;
	if (accel.dead && !passed_over)
		passed_over = true;
	else
		reset(nr);
}

/* Jobs and copies have ended without a word; what was not answered never is. */
static void stop_all(void)
{
	accel_stop_jobs();
	accel_stop_copies();
	accel_stop_invals();
	accel_behave();
	accel_drop_late();
}

static void die(void)
{
	stop_all();
	accel.dead = true;
	accel_resume_invals();
}

/*
 * Nothing is accessed any more once @magic reads ~0. Memory is not wiped before that can
 * be read, so that a CPU which copies what is left of it finds out afterwards.
 */
static void link_down(void)
{
	struct cdm_accel_regs *regs = &accel.bar->regs;

	stop_all();
	accel.link_down = true;
	accel_resume_invals();
	memset(&regs->version, 0xff, sizeof(*regs) - offsetof(struct cdm_accel_regs, version));
	accel_put(&regs->magic, ~0u);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	accel_wipe_memory();
	accel_raise(CDM_ACCEL_IRQ_ERROR);
}

/* Events that nothing has brought about. */
static void inject_event(const struct cdm_accel_cmd *cmd)
{
	struct cdm_accel_fault fault = { .addr = cmd->args[1], .asid = cmd->args[2] };
	struct cdm_accel_note note = {
		.addr = cmd->args[1], .asid = cmd->args[2],
		.shift = cmd->args[3], .count = cmd->args[4],
	};
	bool ok;

	if (cmd->args[0] == CDM_ACCEL_INJECT_FAULT)
		ok = accel_push_fault(&fault);
	else
		ok = accel_push_note(&note);
	accel_answer(cmd->id, ok ? 0 : -ENOSPC);
}

static void inject_bad_page(const struct cdm_accel_cmd *cmd)
{
	bool ok = accel_poison(cmd->args[1]);

	if (ok)
		accel_flush_tlbs();
	accel_answer(cmd->id, ok ? 0 : -EINVAL);
}

/* This is answered, first or last. */
static void misbehave(const struct cdm_accel_cmd *cmd, enum accel_misdeed misdeed)
{
	struct cdm_accel_done done = { .id = cmd->id };
	__u64 seed = cmd->args[1];

	if (!seed)
		accel_misbehave(misdeed, 0);
	accel_complete_now(&done);
	if (seed)
		accel_misbehave(misdeed, seed);
}

/* The interrupt of the answer itself is not among those that get lost. */
static void inject(const struct cdm_accel_cmd *cmd)
{
	switch (cmd->args[0]) {
	case CDM_ACCEL_INJECT_HANG:
		hang_next = true;
		accel_answer(cmd->id, 0);
		break;
	case CDM_ACCEL_INJECT_LOST_IRQ:
		accel_answer(cmd->id, 0);
		accel_lose_irqs(accel_min(cmd->args[1], ~0u));
		break;
	case CDM_ACCEL_INJECT_BAD_PAGE:
		inject_bad_page(cmd);
		break;
	case CDM_ACCEL_INJECT_LINK_DOWN:
		link_down();
		break;
	case CDM_ACCEL_INJECT_BAD_TAIL:
		accel_lie_about_invals();
		accel_answer(cmd->id, 0);
		break;
	case CDM_ACCEL_INJECT_PAGE_ERROR:
		accel_page_error(cmd->args[1]);
		accel_answer(cmd->id, 0);
		break;
	case CDM_ACCEL_INJECT_LOST_DONE:
	case CDM_ACCEL_INJECT_STATUS:
		accel_spoil_jobs(cmd);
		accel_answer(cmd->id, 0);
		break;
	case CDM_ACCEL_INJECT_FAULT:
	case CDM_ACCEL_INJECT_NOTE:
		inject_event(cmd);
		break;
	case CDM_ACCEL_INJECT_HOLD_INVALS:
		accel_hold_invals(cmd->args[1]);
		accel_answer(cmd->id, 0);
		break;
	case CDM_ACCEL_INJECT_DEAF:
		accel_ignore_invals(cmd->args[1]);
		accel_answer(cmd->id, 0);
		break;
	case CDM_ACCEL_INJECT_STRAY:
		accel_stray();
		accel_answer(cmd->id, 0);
		break;
	case CDM_ACCEL_INJECT_KEEP:
		accel_keep_translations(cmd->args[1]);
		accel_answer(cmd->id, 0);
		break;
	case CDM_ACCEL_INJECT_LATE:
		misbehave(cmd, ACCEL_LATE);
		break;
	case CDM_ACCEL_INJECT_ANSWERS:
		misbehave(cmd, ACCEL_ANSWERS);
		break;
	case CDM_ACCEL_INJECT_EVENTS:
		misbehave(cmd, ACCEL_EVENTS);
		break;
	case CDM_ACCEL_INJECT_SCRIBBLE:
		misbehave(cmd, ACCEL_SCRIBBLE);
		break;
	case CDM_ACCEL_INJECT_DEAD:
		die();
		break;
	default:
		accel_answer(cmd->id, -EINVAL);
	}
}

static void set_counters(const struct cdm_accel_cmd *cmd)
{
	if (cmd->asid < CDM_ACCEL_MAX_ASIDS)
		accel_set_counters(cmd->asid, cmd->args[0], cmd->args[1]);
	accel_answer(cmd->id, cmd->asid < CDM_ACCEL_MAX_ASIDS ? 0 : -EINVAL);
}

static void detach(const struct cdm_accel_cmd *cmd)
{
	if (cmd->asid < CDM_ACCEL_MAX_ASIDS)
		accel_detach(cmd);
	else
		accel_answer(cmd->id, -EINVAL);
}

static void carry_out(const struct cdm_accel_cmd *cmd)
{
	switch (cmd->op) {
	case CDM_ACCEL_OP_JOB:
		accel_queue_job(cmd, hang_next);
		hang_next = false;
		break;
	case CDM_ACCEL_OP_CANCEL:
		accel_cancel(cmd->id);
		break;
	case CDM_ACCEL_OP_RESUME:
		accel_resume(cmd->args[0], cmd->args[1]);
		break;
	case CDM_ACCEL_OP_COPY:
		accel_queue_copy(cmd);
		break;
	case CDM_ACCEL_OP_COUNTERS:
		set_counters(cmd);
		break;
	case CDM_ACCEL_OP_DETACH:
		detach(cmd);
		break;
	case CDM_ACCEL_OP_INJECT:
		inject(cmd);
		break;
	case CDM_ACCEL_OP_NOP:
		accel_answer(cmd->id, 0);
		break;
	default:
		accel_error(CDM_ACCEL_ERROR_PROTO);
	}
}

static bool next_command(struct cdm_accel_cmd *cmd)
{
	cmd_in.ring = &accel.bar->cmd_ring;
	cmd_in.nr = CDM_ACCEL_CMD_ENTRIES;
	if (!accel_pending(&cmd_in))
		return false;
	memcpy(cmd, &accel.bar->cmd[cmd_in.tail % CDM_ACCEL_CMD_ENTRIES], sizeof(*cmd));
	accel_put(&cmd_in.ring->tail, ++cmd_in.tail);
	return true;
}

/*
 * Carry out what the ring holds. Returns true if that is to be tried again soon:
 * a driver that does not take completions gets no new ones.
 */
bool accel_commands(void)
{
	struct cdm_accel_cmd cmd;

	while (!accel.link_down) {
		check_reset();
		if (accel.dead)
			return false;
		if (accel_nr_late() > ACCEL_MAX_LATE)
			return true;
		if (!next_command(&cmd))
			return false;
		carry_out(&cmd);
	}
	return false;
}
