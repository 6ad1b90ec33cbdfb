// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: what memory policies and cpusets make of a device
 * node.
 *
 * A policy is narrowed once, when its nodes are set: from then on MPOL_F_DEVICE
 * says that it names a device node, and ram_nodes is what remains of it where
 * device memory is not for the taking (page cache, kernel memory).
 */
#define pr_fmt(fmt) "cdm: " fmt

#include <linux/cdm-driver.h>
#include <linux/cdm.h>
#include <linux/cpuset.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/printk.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/topology.h>

#include "internal.h"

/*
 * Nodes to which an administrator has given a weight. A device node has none
 * before, which means that weighted interleaving never takes it.
 */
nodemask_t cdm_weighted_nodes;

/*
 * Split the nodes of a policy of mode @mode, of those that the user @asked for:
 * *@nodes becomes what the policy keeps and *@ram the part of it that is RAM.
 * Returns whether a device node is left in *@nodes.
 *
 * Modes that spread over their nodes or take any of them name a device node
 * only if they name nothing else: numactl --interleave=all means RAM. Weights
 * are more explicit than a mask: there, a device node needs one.
 */
static bool cdm_narrow(unsigned short mode, nodemask_t *nodes, nodemask_t *ram,
		       const nodemask_t *asked, const nodemask_t *devices,
		       const nodemask_t *weighted)
{
	nodes_andnot(*ram, *nodes, *devices);
	switch (mode) {
	case MPOL_INTERLEAVE:
	case MPOL_PREFERRED_MANY:
		if (!nodes_subset(*asked, *devices))
			*nodes = *ram;
		break;
	case MPOL_WEIGHTED_INTERLEAVE:
		nodes_and(*nodes, *nodes, *weighted);
		nodes_or(*nodes, *nodes, *ram);
		break;
	}
	return nodes_intersects(*nodes, *devices);
}

/*
 * A task may allocate while its policy changes. It must not see a device node
 * in a policy without the flag that restricts what it is for, so the flag comes
 * first and goes last.
 */
static int cdm_set_nodes(struct mempolicy *pol, nodemask_t nodes,
			 const nodemask_t *asked)
{
	nodemask_t ram_nodes, present, all = nodes;
	bool named;

	nodes_and(present, *asked, cdm_present_nodes);
	named = cdm_narrow(pol->mode, &nodes, &ram_nodes, &present, &cdm_nodes,
			   &cdm_weighted_nodes);
	if (!nodes_equal(nodes, all))
		cdm_count_refusal(first_node(cdm_nodes), CDM_REFUSE_NARROWED,
				  1);
	if (nodes_empty(nodes))
		return -EINVAL;
	pol->ram_nodes = ram_nodes;
	if (named)
		WRITE_ONCE(pol->flags, pol->flags | MPOL_F_DEVICE);
	pol->nodes = nodes;
	if (!named)
		WRITE_ONCE(pol->flags, pol->flags & ~MPOL_F_DEVICE);
	return 0;
}

int __cdm_policy_narrow(struct mempolicy *pol, const nodemask_t *asked)
{
	return cdm_set_nodes(pol, pol->nodes, asked);
}

/*
 * The nodes that a policy has after those of its cpuset changed from @old to
 * @new. RAM is remapped onto RAM, by position as everywhere; a device node
 * stays what it is or goes, for no other device can stand in for it. A policy
 * that loses all its nodes gets all RAM.
 */
static void cdm_remap(nodemask_t *dst, const nodemask_t *src,
		      const nodemask_t *old, const nodemask_t *new,
		      const nodemask_t *devices)
{
	nodemask_t ram_src, ram_old, ram_new, kept;

	nodes_andnot(ram_src, *src, *devices);
	nodes_andnot(ram_old, *old, *devices);
	nodes_andnot(ram_new, *new, *devices);
	nodes_remap(*dst, ram_src, ram_old, ram_new);

	nodes_and(kept, *src, *devices);
	nodes_and(kept, kept, *new);
	nodes_or(*dst, *dst, kept);
	if (nodes_empty(*dst))
		*dst = ram_new;
}

/* The same for policies that remember the nodes the user asked for. */
static void cdm_restore(nodemask_t *dst, const struct mempolicy *pol,
			const nodemask_t *new, const nodemask_t *devices)
{
	nodemask_t ram_new, tmp;

	nodes_andnot(ram_new, *new, *devices);
	nodes_clear(*dst);
	if (!(pol->flags & MPOL_F_RELATIVE_NODES)) {
		nodes_and(*dst, pol->w.user_nodemask, *new);
	} else if (!nodes_empty(ram_new)) {
		nodes_fold(tmp, pol->w.user_nodemask, nodes_weight(ram_new));
		nodes_onto(*dst, tmp, ram_new);
	}
	if (nodes_empty(*dst))
		*dst = ram_new;
}

void __cdm_policy_rebind(struct mempolicy *pol, const nodemask_t *nodes)
{
	nodemask_t tmp, asked;

	if (pol->flags & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)) {
		cdm_restore(&tmp, pol, nodes, &cdm_nodes);
		asked = pol->w.user_nodemask;
	} else {
		cdm_remap(&tmp, &pol->nodes, &pol->w.cpuset_mems_allowed,
			  nodes, &cdm_nodes);
		pol->w.cpuset_mems_allowed = *nodes;
		asked = tmp;
	}
	/* Nothing is left: its RAM, or the weights, may have gone meanwhile. */
	if (cdm_set_nodes(pol, tmp, &asked)) {
		nodes_andnot(tmp, *nodes, cdm_nodes);
		cdm_set_nodes(pol, tmp, &tmp);
	}
}

/* A weight may be taken back from under a policy that counts on it. */
static bool cdm_has_weight(const struct mempolicy *pol, int nid)
{
	return pol->mode != MPOL_WEIGHTED_INTERLEAVE ||
	       node_isset(nid, cdm_weighted_nodes);
}

/*
 * Returns whether @nid, which the mode of @pol has picked, is a device node that @pol
 * names. A home node need not be one of its nodes.
 */
bool cdm_policy_names(const struct mempolicy *pol, int nid)
{
	return cdm_node(nid) && node_isset(nid, pol->nodes) &&
	       cdm_has_weight(pol, nid);
}

/* The device node to blame for a refusal; NUMA_NO_NODE if there is none. */
int cdm_first_device(const nodemask_t *nodes)
{
	nodemask_t devices;

	nodes_and(devices, *nodes, cdm_nodes);
	return nodes_empty(devices) ? NUMA_NO_NODE : first_node(devices);
}

/* The nodes of a policy less its device nodes; NULL for the default policy. */
nodemask_t *cdm_policy_ram(struct mempolicy *pol, pgoff_t ilx, int *nid,
			   nodemask_t *nodemask)
{
	cdm_count_refusal(cdm_first_device(&pol->nodes),
			  ilx == NO_INTERLEAVE_INDEX ? CDM_REFUSE_KERNEL :
						       CDM_REFUSE_CLOSED, 1);
	if (cdm_node(*nid))
		*nid = numa_node_id();
	return nodemask && !nodes_empty(pol->ram_nodes) ? &pol->ram_nodes : NULL;
}

/* Returns whether @mm maps the page at @index of @mapping. */
static bool cdm_mapping_is_mapped_by(struct address_space *mapping,
				     pgoff_t index, const struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	bool found = false;

	if (!mm || !mapping_mapped(mapping))
		return false;
	i_mmap_lock_read(mapping);
	vma_interval_tree_foreach(vma, &mapping->i_mmap, index, index) {
		found = vma->vm_mm == mm;
		if (found)
			break;
	}
	i_mmap_unlock_read(mapping);
	return found;
}

/*
 * Returns whether the policy of the task holds for the page at @index of a shmem
 * object without a policy of its own. One that names no device holds as ever.
 */
bool __cdm_shmem_is_ours(struct inode *inode, pgoff_t index)
{
	if (!cdm_policy(current->mempolicy))
		return true;
	return (inode->i_sb->s_flags & SB_KERNMOUNT) &&
	       cdm_mapping_is_mapped_by(inode->i_mapping, index, current->mm);
}

/*
 * Copies of policies of other tasks, each for the time of an allocation. The copy's
 * own reference and MPOL_F_SHARED keep mpol_cond_put() from freeing it; whoever raises
 * the count from one to two has the copy to himself until he puts it.
 */
#define CDM_NR_COPIES	32

static struct mempolicy cdm_policy_copies[CDM_NR_COPIES] = {
	[0 ... CDM_NR_COPIES - 1] = { .refcnt = ATOMIC_INIT(1) },
};

/* As the default policy of the base, and for a moment at which no copy is left. */
static struct mempolicy cdm_policy_local = {
	.refcnt = ATOMIC_INIT(1),
	.mode = MPOL_LOCAL,
};

static struct mempolicy *cdm_policy_copy(const struct mempolicy *pol)
{
	struct mempolicy *copy;

	for (copy = cdm_policy_copies;
	     copy < cdm_policy_copies + CDM_NR_COPIES; copy++) {
		if (atomic_cmpxchg(&copy->refcnt, 1, 2) != 1)
			continue;
		copy->mode = pol->mode;
		copy->flags = pol->flags | MPOL_F_SHARED;
		copy->nodes = pol->nodes;
		copy->home_node = pol->home_node;
		copy->w = pol->w;
		copy->ram_nodes = pol->ram_nodes;
		return copy;
	}
	return &cdm_policy_local;
}

/* The policy of @owner, unless neither it nor that of the task names a device. */
static struct mempolicy *cdm_policy_of(struct task_struct *owner,
				       struct mempolicy *own)
{
	struct mempolicy *pol = own;

	task_lock(owner);
	if (cdm_policy(own) || (owner->mempolicy && cdm_policy(owner->mempolicy)))
		pol = owner->mempolicy ? cdm_policy_copy(owner->mempolicy) :
					 &cdm_policy_local;
	task_unlock(owner);
	return pol;
}

/*
 * The memory of another process is not placed by the policy of whoever writes to it. The
 * lock of the pools of huge pages does not allow for a look at the owner's: there a
 * device is named by the mapping itself, or by the process itself.
 */
struct mempolicy *__cdm_task_policy(const struct vm_area_struct *vma)
{
	struct mempolicy *pol = get_task_policy(current);
	struct task_struct *owner = NULL;

	rcu_read_lock();
	if (vma->vm_mm && !is_vm_hugetlb_page(vma))
		owner = rcu_dereference(vma->vm_mm->owner);
	if (owner && owner != current)
		pol = cdm_policy_of(owner, pol);
	else if (!owner && cdm_policy(pol))
		pol = &cdm_policy_local;
	rcu_read_unlock();
	return pol;
}

/* As __cdm_alloc_pages(), for huge pages that lie ready in a pool. */
nodemask_t *__cdm_policy_nodemask(struct mempolicy *pol, pgoff_t ilx, int *nid,
				  nodemask_t *nodemask)
{
	if (!nodes_intersects(pol->nodes, cdm_usable_nodes))
		return cdm_policy_ram(pol, ilx, nid, nodemask);

	/* Preferred or interleaved: this node first, else RAM. */
	if (!nodemask && cdm_policy_names(pol, *nid))
		return cdm_node_with_ram(*nid);

	return nodemask;
}

/* Returns whether page cache, which no policy can place, fills this mapping. */
static bool cdm_maps_page_cache(const struct vm_area_struct *vma)
{
	return vma->vm_file && (vma->vm_flags & VM_MAYSHARE) &&
	       !is_vm_hugetlb_page(vma) &&
	       !(vma->vm_ops && vma->vm_ops->set_policy);
}

/*
 * A device node is nothing for page cache. Refuse to set a policy that would
 * have no effect, unless mbind() is asked to move what is there: that it does.
 */
int __cdm_check_mbind(struct mm_struct *mm, unsigned long start,
		      unsigned long end, const struct mempolicy *pol,
		      unsigned long flags)
{
	VMA_ITERATOR(vmi, mm, start);
	struct vm_area_struct *vma;

	if (flags & (MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
		return 0;
	for_each_vma_range(vmi, vma, end) {
		if (!cdm_maps_page_cache(vma))
			continue;
		cdm_count_refusal(first_node(pol->nodes), CDM_REFUSE_FILE,
				  vma_pages(vma));
		pr_warn_ratelimited("%s/%d: mbind of a shared file mapping refused: a policy does not place page cache on device nodes, MPOL_MF_MOVE does\n",
				    current->comm, task_pid_nr(current));
		return -EINVAL;
	}
	return 0;
}

/*
 * A device node that @to still holds keeps what is on it; what was elsewhere
 * and must go has RAM to go to, for nobody named a device for it.
 */
static void cdm_strip_move(nodemask_t *from, nodemask_t *to,
			   const nodemask_t *devices)
{
	nodemask_t kept;

	nodes_and(kept, *to, *devices);
	nodes_andnot(*from, *from, kept);
	nodes_andnot(*to, *to, *devices);
}

void __cdm_narrow_move(nodemask_t *from, nodemask_t *to)
{
	cdm_strip_move(from, to, &cdm_nodes);
}

/*
 * Nodes to which access is granted explicitly only, and whether the masks of
 * tasks have yet to follow. Set by access_store(), read without a lock.
 */
nodemask_t cdm_granted_nodes;
bool cdm_mems_changed;

void __cdm_fit_mems(nodemask_t *mems, const nodemask_t *allowed,
		    const nodemask_t *parent)
{
	nodemask_t ram, devices;

	nodes_and(devices, *parent, cdm_nodes);
	if (nodes_empty(*allowed))
		nodes_andnot(devices, devices, cdm_granted_nodes);
	else
		nodes_and(devices, devices, *allowed);

	nodes_andnot(ram, *mems, cdm_nodes);
	if (nodes_empty(ram) || nodes_empty(*allowed))
		nodes_andnot(ram, *parent, cdm_nodes);
	nodes_or(*mems, ram, devices);
}

int __cdm_check_mems(const nodemask_t *mems)
{
	if (!nodes_intersects(*mems, cdm_nodes) ||
	    nodes_intersects(*mems, node_states[N_MEMORY]))
		return 0;

	cdm_count_refusal(first_node(*mems), CDM_REFUSE_CPUSET, 1);
	pr_warn_ratelimited("cpuset.mems %*pbl refused: device nodes only, add a node with RAM\n",
			    nodemask_pr_args(mems));
	return -EINVAL;
}

/*
 * Who has set a policy has said where its memory should be. Only one that binds to
 * both sides, the device and the RAM to come home to, and asks for balancing between
 * them, leaves that open.
 */
static bool cdm_policy_is_open(const struct mempolicy *pol, int nid, int home)
{
	return !pol || (pol->mode == MPOL_BIND &&
			(pol->flags & MPOL_F_MORON) &&
			node_isset(nid, pol->nodes) &&
			node_isset(home, pol->nodes));
}

/* There is no telling which thread has made use of a mapping. */
static bool cdm_threads_are_open(struct mm_struct *mm, int nid, int home)
{
	struct task_struct *owner, *thread;
	bool open = true;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	if (owner) {
		for_each_thread(owner, thread) {
			/* Those that drivers have made have what another one has. */
			if (thread->flags & PF_USER_WORKER)
				continue;
			task_lock(thread);
			open &= cdm_policy_is_open(thread->mempolicy, nid,
						   home);
			task_unlock(thread);
		}
	}
	rcu_read_unlock();
	return owner && open;
}

/* Do policies let balancing move @addr between device node @nid and RAM of @home? */
bool cdm_policy_permits(struct vm_area_struct *vma, unsigned long addr, int nid,
			int home)
{
	struct mempolicy *pol;
	pgoff_t ilx;
	bool open;

	mmap_assert_locked(vma->vm_mm);
	pol = __get_vma_policy(vma, addr, &ilx);
	if (!pol)
		return cdm_threads_are_open(vma->vm_mm, nid, home);
	open = cdm_policy_is_open(pol, nid, home);
	mpol_cond_put(pol);
	return open;
}

/**
 * cdm_follow_policy - have the memory policy of another thread of the process
 * @task: the thread; the caller holds a reference
 *
 * For a thread that a driver has made in a process to resolve the faults of its device,
 * before each: what set_mempolicy() has changed since applies to these, too. When the
 * other thread has ended, its last policy stays.
 *
 * Context: process context, may sleep. Changes the policy of the caller.
 * Return: 0, or %-ENOMEM, and the policy is what it was.
 */
int cdm_follow_policy(struct task_struct *task)
{
	struct mempolicy *pol = NULL, *old;
	bool same;

	task_lock(task);
	/* A thread that ends loses its policy after it has got this flag. */
	same = mpol_equal(task->mempolicy, current->mempolicy) ||
	       (task->flags & PF_EXITING);
	if (!same) {
		pol = task->mempolicy;
		mpol_get(pol);
	}
	task_unlock(task);
	if (same)
		return 0;

	old = pol;
	pol = mpol_dup(old);
	mpol_put(old);
	if (IS_ERR(pol))
		return PTR_ERR(pol);
	task_lock(current);
	old = current->mempolicy;
	current->mempolicy = pol;
	task_unlock(current);
	mpol_put(old);
	return 0;
}
EXPORT_SYMBOL_GPL(cdm_follow_policy);

#ifdef CONFIG_CDM_KUNIT_TEST
#include "tests/policy-kunit.h"
#endif
