// SPDX-License-Identifier: GPL-2.0
/*
 * The copy engine: lists of ranges of physical memory, one list after the other.
 *
 * A list lies in memory of the VM, where it may change. It is checked twice: all
 * of it before anything is copied, and each entry when it is its turn.
 */
#include <errno.h>
#include <stdlib.h>

#include "accel.h"

struct accel_copy {
	STAILQ_ENTRY(accel_copy) list;
	struct cdm_accel_cmd cmd;
};

/* Protects @queue, @nr and @busy. */
static pthread_mutex_t copy_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t copy_queued = PTHREAD_COND_INITIALIZER;
static pthread_cond_t copy_idle = PTHREAD_COND_INITIALIZER;
static STAILQ_HEAD(, accel_copy) queue = STAILQ_HEAD_INITIALIZER(queue);
static unsigned int nr;
static bool busy;
static int aborted;		/* atomic */

/* Also false if the list of the command does not lie in memory. */
static bool read_entry(const struct cdm_accel_cmd *cmd, __u64 i, struct cdm_accel_sg *sg)
{
	void *p = accel_pa(cmd->args[0] + i * sizeof(*sg), sizeof(*sg));

	if (!p)
		return false;
	accel_move(sg, p, sizeof(*sg));
	return sg->size && sg->size <= ACCEL_HUGE &&
		accel_pa(sg->dst, sg->size) && accel_pa(sg->src, sg->size);
}

static bool list_ok(const struct cdm_accel_cmd *cmd)
{
	__u64 n = cmd->args[1];
	struct cdm_accel_sg sg;

	if (!n)
		return true;
	if (n > ~0ull / sizeof(sg) || !accel_pa(cmd->args[0], n * sizeof(sg)))
		return false;
	for (__u64 i = 0; i < n; i++) {
		if (accel_get(&aborted) || !read_entry(cmd, i, &sg))
			return false;
	}
	return true;
}

static int copy_entry(const struct cdm_accel_cmd *cmd, __u64 i, struct cdm_accel_done *done)
{
	struct cdm_accel_sg sg;
	__u64 poisoned;

	if (accel_get(&aborted) || !read_entry(cmd, i, &sg))
		return -EINVAL;
	poisoned = accel_find_poison(sg.src, sg.size);
	if (poisoned != ~0ull) {
		accel_page_error(poisoned);
		done->addr = poisoned;
		return -EHWPOISON;
	}
	accel_move(accel_pa(sg.dst, sg.size), accel_pa(sg.src, sg.size), sg.size);
	accel_add(&accel.bar->regs.nr_copied, sg.size);
	done->result += sg.size;
	return 0;
}

/* The result says how far it came, with an error too. */
static void copy(const struct cdm_accel_cmd *cmd)
{
	struct cdm_accel_done done = { .id = cmd->id };

	if (!list_ok(cmd))
		done.status = -EINVAL;
	for (__u64 i = 0; i < cmd->args[1] && !done.status; i++)
		done.status = copy_entry(cmd, i, &done);
	if (!accel_get(&aborted))
		accel_complete(&done, false);
}

static struct accel_copy *next_copy(void)
{
	struct accel_copy *copy;

	while (STAILQ_EMPTY(&queue))
		pthread_cond_wait(&copy_queued, &copy_lock);
	copy = STAILQ_FIRST(&queue);
	STAILQ_REMOVE_HEAD(&queue, list);
	nr--;
	return copy;
}

static void *copy_thread(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&copy_lock);
	for (;;) {
		struct accel_copy *next = next_copy();

		busy = true;
		pthread_mutex_unlock(&copy_lock);
		copy(&next->cmd);
		free(next);
		pthread_mutex_lock(&copy_lock);
		busy = false;
		pthread_cond_signal(&copy_idle);
	}
	return NULL;
}

void accel_queue_copy(const struct cdm_accel_cmd *cmd)
{
	struct accel_copy *copy = accel_alloc(sizeof(*copy));
	bool full;

	copy->cmd = *cmd;
	pthread_mutex_lock(&copy_lock);
	full = nr == ACCEL_MAX_JOBS;
	if (!full) {
		STAILQ_INSERT_TAIL(&queue, copy, list);
		nr++;
		pthread_cond_signal(&copy_queued);
	}
	pthread_mutex_unlock(&copy_lock);
	if (full) {
		free(copy);
		accel_answer(cmd->id, -ENOSPC);
	}
}

static void discard_all(void)
{
	while (!STAILQ_EMPTY(&queue)) {
		struct accel_copy *copy = STAILQ_FIRST(&queue);

		STAILQ_REMOVE_HEAD(&queue, list);
		nr--;
		free(copy);
	}
}

/* End all copies without a word; returns when nothing is copied any more. */
void accel_stop_copies(void)
{
	pthread_mutex_lock(&copy_lock);
	accel_put(&aborted, 1);
	discard_all();
	while (busy)
		pthread_cond_wait(&copy_idle, &copy_lock);
	accel_put(&aborted, 0);
	pthread_mutex_unlock(&copy_lock);
}

void accel_start_copies(void)
{
	static pthread_t thread;

	accel_thread(&thread, copy_thread, NULL);
}
