// SPDX-License-Identifier: GPL-2.0
/*
 * Reference accelerator: debugfs, for tests: statistics, injected faults, and
 * the owner's claim on its memory.
 *
 *   stats	lines "name value"
 *   inject	write "hang", "lost_irq N", "bad_page PA", "link_down", "hold_invals
 *		0|1", "bad_tail", "deaf 0|1", "keep 0|1", "stray", "late SEED", "answers
 *		SEED", "events SEED", "scribble SEED", "dead", "page_error PA", "lost_done
 *		N", "status N", "fault VA ASID" or "note VA ASID SHIFT COUNT"; 0 as
 *		SEED ends that
 *   recall	write a number of pages, which are recalled and freed again
 *   reserve	write a number of pages to keep from tenants
 *   suspend	write 1 or 0: the device is suspended or resumed, as it is with the
 *		machine
 */
#include <linux/cdm-driver.h>
#include <linux/debugfs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "accel.h"

#define ACCEL_RECALL_MS	60000

static struct dentry *accel_root;

static int accel_stats_show(struct seq_file *m, void *unused)
{
	struct accel *accel = m->private;
	struct cdm_accel_regs *regs = &accel->bar->regs;

	seq_printf(m, "jobs %llu\n", READ_ONCE(regs->nr_jobs));
	seq_printf(m, "slices %llu\n", READ_ONCE(regs->nr_slices));
	seq_printf(m, "faults %llu\n", READ_ONCE(regs->nr_faults));
	seq_printf(m, "tlb_misses %llu\n", READ_ONCE(regs->nr_tlb_misses));
	seq_printf(m, "invals %llu\n", READ_ONCE(regs->nr_invals));
	seq_printf(m, "invals_pending %u\n",
		   READ_ONCE(accel->bar->inval_ring.head) -
		   READ_ONCE(accel->bar->inval_ring.tail));
	seq_printf(m, "copied %llu\n", READ_ONCE(regs->nr_copied));
	seq_printf(m, "checks %llu\n", READ_ONCE(regs->nr_checks));
	seq_printf(m, "strays %llu\n", READ_ONCE(regs->nr_strays));
	seq_printf(m, "moved %lu\n", atomic_long_read(&accel->nr_moved));
	seq_printf(m, "reported %lu\n",
		   atomic_long_read(&accel->nr_reported));
	seq_printf(m, "failed %lu\n", atomic_long_read(&accel->nr_failed));
	seq_printf(m, "ignored %lu\n", atomic_long_read(&accel->nr_ignored));
	seq_printf(m, "copied_pages %lu\n", atomic_long_read(&accel->nr_copied));
	seq_printf(m, "tables %lu\n", atomic_long_read(&accel->nr_tables));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(accel_stats);

static const struct {
	const char *name;
	u32 what;
} accel_faults[] = {
	{ "hang", CDM_ACCEL_INJECT_HANG },
	{ "lost_irq", CDM_ACCEL_INJECT_LOST_IRQ },
	{ "bad_page", CDM_ACCEL_INJECT_BAD_PAGE },
	{ "link_down", CDM_ACCEL_INJECT_LINK_DOWN },
	{ "hold_invals", CDM_ACCEL_INJECT_HOLD_INVALS },
	{ "bad_tail", CDM_ACCEL_INJECT_BAD_TAIL },
	{ "deaf", CDM_ACCEL_INJECT_DEAF },
	{ "keep", CDM_ACCEL_INJECT_KEEP },
	{ "stray", CDM_ACCEL_INJECT_STRAY },
	{ "late", CDM_ACCEL_INJECT_LATE },
	{ "answers", CDM_ACCEL_INJECT_ANSWERS },
	{ "events", CDM_ACCEL_INJECT_EVENTS },
	{ "scribble", CDM_ACCEL_INJECT_SCRIBBLE },
	{ "dead", CDM_ACCEL_INJECT_DEAD },
	{ "page_error", CDM_ACCEL_INJECT_PAGE_ERROR },
	{ "lost_done", CDM_ACCEL_INJECT_LOST_DONE },
	{ "status", CDM_ACCEL_INJECT_STATUS },
	{ "fault", CDM_ACCEL_INJECT_FAULT },
	{ "note", CDM_ACCEL_INJECT_NOTE },
};

static int accel_parse_args(char *text, struct cdm_accel_cmd *cmd)
{
	int i, ret = 0;

	for (i = 1; text && !ret; i++)
		ret = i == ARRAY_SIZE(cmd->args) ? -EINVAL :
		      kstrtou64(strsep(&text, " "), 0, &cmd->args[i]);
	return ret;
}

static int accel_parse_fault(char *text, struct cdm_accel_cmd *cmd)
{
	char *name = strsep(&text, " ");
	int i;

	for (i = 0; i < ARRAY_SIZE(accel_faults); i++) {
		if (strcmp(name, accel_faults[i].name))
			continue;
		cmd->args[0] = accel_faults[i].what;
		return accel_parse_args(text, cmd);
	}
	return -EINVAL;
}

/* A device whose link is down does not answer; that is no error here. */
static int accel_inject(struct accel *accel, struct cdm_accel_cmd *cmd)
{
	int ret;

	ret = accel_enter(accel);
	if (ret)
		return ret;
	ret = accel_call_wait(accel, cmd, NULL);
	accel_leave(accel);
	if (cmd->args[0] == CDM_ACCEL_INJECT_LINK_DOWN)
		return 0;
	return ret;
}

static ssize_t accel_inject_write(struct file *file, const char __user *ubuf,
				  size_t count, loff_t *pos)
{
	struct cdm_accel_cmd cmd = { .op = CDM_ACCEL_OP_INJECT };
	char buf[128];
	ssize_t len;
	int ret;

	len = simple_write_to_buffer(buf, sizeof(buf) - 1, pos, ubuf, count);
	if (len < 0)
		return len;
	buf[len] = 0;
	ret = accel_parse_fault(strim(buf), &cmd);
	if (ret)
		return ret;
	ret = accel_inject(file->private_data, &cmd);
	return ret ?: count;
}

static const struct file_operations accel_inject_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = accel_inject_write,
};

static int accel_recall_set(void *data, u64 nr_pages)
{
	struct accel *accel = data;
	struct cdm_recall recall = {
		.nr = nr_pages,
		.deadline_ms = ACCEL_RECALL_MS,
	};
	unsigned long i;
	int ret;

	if (nr_pages > accel->regs.mem_size >> PAGE_SHIFT)
		return -EINVAL;
	recall.pages = kvcalloc(nr_pages, sizeof(*recall.pages), GFP_KERNEL);
	if (!recall.pages)
		return -ENOMEM;
	mutex_lock(&accel->mem_lock);
	ret = accel->mem ? cdm_recall(accel->mem, &recall) : -ENODEV;
	for (i = 0; i < recall.nr_recalled; i++)
		cdm_free_pages(accel->mem, recall.pages[i], recall.order);
	mutex_unlock(&accel->mem_lock);
	kvfree(recall.pages);
	return ret;
}
DEFINE_DEBUGFS_ATTRIBUTE(accel_recall_fops, NULL, accel_recall_set, "%llu\n");

static int accel_reserve_set(void *data, u64 nr_pages)
{
	struct accel *accel = data;
	int ret = -ENODEV;

	mutex_lock(&accel->mem_lock);
	if (accel->mem)
		ret = cdm_set_reserve(accel->mem, nr_pages, ACCEL_RECALL_MS);
	mutex_unlock(&accel->mem_lock);
	return ret;
}
DEFINE_DEBUGFS_ATTRIBUTE(accel_reserve_fops, NULL, accel_reserve_set, "%llu\n");

/*
 * The driver core holds the lock for power management, and to unbind the driver,
 * which waits for us.
 */
static int accel_suspend_set(void *data, u64 suspend)
{
	struct accel *accel = data;
	struct device *dev = &accel->pdev->dev;
	int ret;

	if (!device_trylock(dev))
		return -EBUSY;
	ret = suspend ? accel_suspend(dev) : accel_resume(dev);
	device_unlock(dev);
	return ret;
}
DEFINE_DEBUGFS_ATTRIBUTE(accel_suspend_fops, NULL, accel_suspend_set, "%llu\n");

void accel_debugfs_init(void)
{
	accel_root = debugfs_create_dir("cdm_accel", NULL);
}

void accel_debugfs_add(struct accel *accel)
{
	accel->debugfs = debugfs_create_dir(pci_name(accel->pdev), accel_root);
	debugfs_create_file("stats", 0400, accel->debugfs, accel,
			    &accel_stats_fops);
	debugfs_create_file("inject", 0200, accel->debugfs, accel,
			    &accel_inject_fops);
	debugfs_create_file("recall", 0200, accel->debugfs, accel,
			    &accel_recall_fops);
	debugfs_create_file("reserve", 0200, accel->debugfs, accel,
			    &accel_reserve_fops);
	debugfs_create_file("suspend", 0200, accel->debugfs, accel,
			    &accel_suspend_fops);
}

/* Waits for those who are in one of the files. */
void accel_debugfs_del(struct accel *accel)
{
	debugfs_remove(accel->debugfs);
}

void accel_debugfs_exit(void)
{
	debugfs_remove(accel_root);
}
