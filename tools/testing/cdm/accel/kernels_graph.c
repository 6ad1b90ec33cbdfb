// SPDX-License-Identifier: GPL-2.0
/*
 * Kernels that follow pointers of the process. Nothing of what they read is
 * trusted: each address is checked, each field is an access of its own, since
 * vertices and nodes may lie across pages. An endless loop that a process built
 * is its own; the job can be interrupted and cancelled all the same.
 */
#include <errno.h>

#include "accel.h"

#define BATCH	64	/* elements in a step */

static bool usable(struct accel_job *job, __u64 va, __u64 size)
{
	if (accel_range_ok(va, 1, size, 8))
		return true;
	accel_end(job, -EINVAL);
	return false;
}

/* False: the job has stopped. */
static bool load(struct accel_unit *unit, struct accel_job *job, __u64 va, __u64 *value)
{
	struct accel_span s = { .va = va, .size = 8 };

	if (!usable(job, va, 8) || !accel_access(unit, job, &s, 1))
		return false;
	*value = accel_get((__u64 *)s.p);
	return true;
}

static __u64 field(__u64 va, size_t offset)
{
	return va + offset;
}

/* BFS: start, queue, length */
bool accel_check_bfs(const __u64 *args)
{
	return accel_range_ok(args[0], 1, sizeof(struct cdm_accel_job_vertex), 8) &&
		accel_range_ok(args[1], args[2], 8, 8);
}

/* Both stores or none, so that no vertex is lost in a fault. */
static void reach(struct accel_unit *unit, struct accel_job *job, __u64 vertex, __u64 level)
{
	struct accel_bfs *bfs = &job->bfs;
	const __u64 *args = job->cmd.args;
	struct accel_span s[2] = {
		{ .va = field(vertex, offsetof(struct cdm_accel_job_vertex, level)), .size = 8,
		  .write = true },
		{ .va = args[1] + bfs->tail * 8, .size = 8, .write = true },
	};

	if (bfs->tail == args[2]) {
		accel_end(job, -ENOSPC);
		return;
	}
	if (!accel_access(unit, job, s, 2))
		return;
	accel_put((__u64 *)s[0].p, level);
	accel_put((__u64 *)s[1].p, vertex);
	job->result = ++bfs->tail;
}

static void load_vertex(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_bfs *bfs = &job->bfs;
	__u64 v;

	if (!load(unit, job, job->cmd.args[1] + bfs->head * 8, &v) ||
	    !load(unit, job, field(v, offsetof(struct cdm_accel_job_vertex, nr_edges)),
		  &bfs->nr_edges) ||
	    !load(unit, job, field(v, offsetof(struct cdm_accel_job_vertex, edges)), &bfs->edges) ||
	    !load(unit, job, field(v, offsetof(struct cdm_accel_job_vertex, level)), &bfs->level))
		return;
	if (bfs->nr_edges && !accel_range_ok(bfs->edges, bfs->nr_edges, 8, 8)) {
		accel_end(job, -EINVAL);
		return;
	}
	bfs->edge = 0;
	bfs->loaded = true;
}

static void follow_edge(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_bfs *bfs = &job->bfs;
	__u64 v, level;

	if (!load(unit, job, bfs->edges + bfs->edge * 8, &v) ||
	    !usable(job, v, sizeof(struct cdm_accel_job_vertex)) ||
	    !load(unit, job, field(v, offsetof(struct cdm_accel_job_vertex, level)), &level))
		return;
	if (level == CDM_ACCEL_UNREACHED)
		reach(unit, job, v, bfs->level + 1);
	if (job->step == ACCEL_MORE)
		bfs->edge++;
}

static void search(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_bfs *bfs = &job->bfs;

	if (!bfs->tail) {
		reach(unit, job, job->cmd.args[0], 0);
	} else if (bfs->head == bfs->tail) {
		accel_end(job, 0);
	} else if (!bfs->loaded) {
		load_vertex(unit, job);
	} else if (bfs->edge < bfs->nr_edges) {
		follow_edge(unit, job);
	} else {
		bfs->head++;
		bfs->loaded = false;
	}
}

void accel_step_bfs(struct accel_unit *unit, struct accel_job *job)
{
	for (int i = 0; i < BATCH && job->step == ACCEL_MORE; i++)
		search(unit, job);
}

/* TREE_INSERT: root, nodes, n */
bool accel_check_tree(const __u64 *args)
{
	return accel_range_ok(args[0], 1, 8, 8) &&
		accel_range_ok(args[1], args[2], sizeof(struct cdm_accel_job_node), 8);
}

static __u64 node_va(const struct accel_job *job)
{
	return job->cmd.args[1] + job->tree.node * sizeof(struct cdm_accel_job_node);
}

static void next_node(struct accel_tree *tree)
{
	tree->node++;
	tree->loaded = false;
}

static void load_node(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_tree *tree = &job->tree;

	if (!load(unit, job, node_va(job), &tree->key))
		return;
	tree->link = job->cmd.args[0];
	tree->loaded = true;
}

/* If somebody else was faster, the link is followed next time. */
static void link_node(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_span s = { .va = job->tree.link, .size = 8, .write = true };
	__u64 none = 0;

	if (!accel_access(unit, job, &s, 1))
		return;
	if (__atomic_compare_exchange_n((__u64 *)s.p, &none, node_va(job), false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		job->result++;
		next_node(&job->tree);
	}
}

static void follow_link(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_tree *tree = &job->tree;
	__u64 child, key;

	if (!load(unit, job, tree->link, &child))
		return;
	if (!child) {
		link_node(unit, job);
		return;
	}
	if (!load(unit, job, child, &key))
		return;
	if (key == tree->key)
		next_node(tree);
	else
		tree->link = field(child, offsetof(struct cdm_accel_job_node,
						   child[tree->key > key]));
}

static void insert(struct accel_unit *unit, struct accel_job *job)
{
	struct accel_tree *tree = &job->tree;

	if (tree->node == job->cmd.args[2])
		accel_end(job, 0);
	else if (!tree->loaded)
		load_node(unit, job);
	else
		follow_link(unit, job);
}

void accel_step_tree(struct accel_unit *unit, struct accel_job *job)
{
	for (int i = 0; i < BATCH && job->step == ACCEL_MORE; i++)
		insert(unit, job);
}
