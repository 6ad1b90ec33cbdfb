// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: who uses what, for people to look at. A file for each
 * device node in debugfs, with a line for each record, the one with the latest news
 * first; see Documentation/admin-guide/mm/cdm.rst.
 */
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "balance.h"

static struct dentry *cdm_debugfs;

static void *cdm_view_start(struct seq_file *m, loff_t *pos)
	__acquires(&book->lock)
{
	struct cdm_book *book = m->private;

	spin_lock(&book->lock);
	return seq_list_start(&book->records, *pos);
}

static void *cdm_view_next(struct seq_file *m, void *entry, loff_t *pos)
{
	struct cdm_book *book = m->private;

	return seq_list_next(entry, &book->records, pos);
}

static void cdm_view_stop(struct seq_file *m, void *entry)
	__releases(&book->lock)
{
	struct cdm_book *book = m->private;

	spin_unlock(&book->lock);
}

static void cdm_view_owner(struct seq_file *m, struct mm_struct *mm)
{
	char comm[TASK_COMM_LEN] = "-";
	struct task_struct *owner;
	pid_t pid = 0;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	if (owner) {
		pid = task_pid_nr(owner);
		get_task_comm(comm, owner);
	}
	rcu_read_unlock();
	seq_printf(m, "%d %s", pid, comm);
}

static int cdm_view_show(struct seq_file *m, void *entry)
{
	struct cdm_record *record = list_entry(entry, struct cdm_record, list);
	unsigned long long device = 0, cpu = 0;
	unsigned int group, hold = 0;

	cdm_record_fade(record);
	for (group = 0; group < cdm_record_groups(record); group++) {
		device += record->groups[group].device;
		cpu += record->groups[group].cpu;
		hold = max(hold, record->groups[group].hold);
	}
	cdm_view_owner(m, record->key.mm);
	seq_printf(m, " %lx %llu %llu %u ", record->key.start, device, cpu,
		   hold);
	for (group = 0; group < CDM_NR_GROUPS; group++)
		seq_putc(m, test_bit(group, record->resident) ? 'D' : '.');
	seq_puts(m, record->whole ? " huge\n" : "\n");
	return 0;
}

static const struct seq_operations cdm_view_sops = {
	.start = cdm_view_start,
	.next = cdm_view_next,
	.stop = cdm_view_stop,
	.show = cdm_view_show,
};
DEFINE_SEQ_ATTRIBUTE(cdm_view);

/* For a book, which lives forever. */
void cdm_view_add(struct cdm_book *book)
{
	char name[16];

	snprintf(name, sizeof(name), "node%d", book->nid);
	debugfs_create_file(name, 0400, cdm_debugfs, book, &cdm_view_fops);
}

static int __init cdm_view_init(void)
{
	cdm_debugfs = debugfs_create_dir("cdm", NULL);
	return 0;
}
subsys_initcall(cdm_view_init);
