// SPDX-License-Identifier: GPL-2.0
/*
 * Reference accelerator: a PCI function with memory of its own, which the CPUs
 * share with it coherently. The device is a process on the host of a virtual
 * machine (tools/testing/cdm/accel). Its driver is the example of how a vendor's
 * driver uses the interface of cdm-driver.h.
 */
#include <linux/cdm-driver.h>
#include <linux/idr.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "accel.h"

#define ACCEL_IVSHMEM		0x1110
#define ACCEL_BELLS_BAR		0
#define ACCEL_SHARED_BAR	2
#define ACCEL_WATCHDOG		(HZ / 5)

static unsigned int accel_leave_ms = 60000;
module_param_named(leave_ms, accel_leave_ms, uint, 0644);
MODULE_PARM_DESC(leave_ms, "milliseconds that tenants are given to leave the memory");

/* For devices: what may take long on behalf of a process does not come here. */
struct workqueue_struct *accel_wq;
/* For workers of processes that end, and have nothing to do any more. */
struct workqueue_struct *accel_end_wq;
static DEFINE_IDA(accel_ida);

static void accel_free(struct kref *ref)
{
	struct accel *accel = container_of(ref, struct accel, ref);

	xa_destroy(&accel->calls);
	if (accel->bar)
		memunmap(accel->bar);
	if (accel->bells)
		iounmap(accel->bells);
	pci_dev_put(accel->pdev);
	ida_free(&accel_ida, accel->index);
	kfree(accel);
}

void accel_get(struct accel *accel)
{
	kref_get(&accel->ref);
}

void accel_put(struct accel *accel)
{
	kref_put(&accel->ref, accel_free);
}

/*
 * Mark the memory as lost if the link is down, before anything else is done: nobody may
 * read behind it, or wait for others to do so. Any context.
 */
static bool accel_check_link(struct accel *accel)
{
	bool down = accel_link_is_down(accel);

	if (down)
		cdm_mark_lost(&accel->pdev->dev);
	return down;
}

static irqreturn_t accel_hardirq(int irq, void *data)
{
	accel_check_link(data);
	return IRQ_WAKE_THREAD;
}

static irqreturn_t accel_interrupt(int irq, void *data)
{
	accel_drain(data);
	return IRQ_HANDLED;
}

static void accel_watchdog(struct work_struct *work)
{
	struct accel *accel = container_of(to_delayed_work(work), struct accel,
					   watchdog);

	if (!accel_check_link(accel)) {
		accel_drain(accel);
		accel_end_cancelled(accel);
	}
	/* Of a device that is gone the memory is in use, while there is a link. */
	if (accel_check_link(accel))
		accel_lose(accel);
	else
		queue_delayed_work(accel_wq, &accel->watchdog, ACCEL_WATCHDOG);
}

/*
 * Let the caller talk to the device; accel_leave() ends that if this returns 0. While
 * the device is suspended, this waits.
 */
int accel_enter(struct accel *accel)
{
	int ret = 0;

	do {
		down_read(&accel->sem);
		if (accel->gone)
			ret = -ENODEV;
		else if (!accel->suspended)
			return 0;
		up_read(&accel->sem);
		if (!ret)
			ret = wait_event_freezable(accel->resumed,
						   !READ_ONCE(accel->suspended) ||
						   READ_ONCE(accel->gone));
	} while (!ret);
	return ret;
}

void accel_leave(struct accel *accel)
{
	up_read(&accel->sem);
}

/* The device is lost, or as good as that. The worker has a reference. */
void accel_lose(struct accel *accel)
{
	accel_check_link(accel);
	accel_get(accel);
	if (!queue_work(accel_wq, &accel->lost_work))
		accel_put(accel);
}

/*
 * End what is under way, after the device has stopped. Afterwards nobody talks
 * to the device any more: those who did held @sem, and find out now.
 */
static void accel_set_gone(struct accel *accel)
{
	mutex_lock(&accel->stop_lock);
	WRITE_ONCE(accel->gone, true);
	mutex_unlock(&accel->stop_lock);
	accel_stop(accel);
	wake_up_all(&accel->resumed);
	down_write(&accel->sem);
	up_write(&accel->sem);
}

/*
 * There is no way back: what tenants hold beyond the deadline stays behind, and the core
 * removes it later. If the link goes down meanwhile, they are told so.
 */
static void accel_forget_memory(struct accel *accel)
{
	mutex_lock(&accel->mem_lock);
	if (accel->mem) {
		accel_check_link(accel);
		cdm_leave_memory(accel->mem, READ_ONCE(accel->down) ? 0 :
				 READ_ONCE(accel_leave_ms), NULL);
	}
	accel->mem = NULL;
	mutex_unlock(&accel->mem_lock);
}

static void accel_lost_work(struct work_struct *work)
{
	struct accel *accel = container_of(work, struct accel, lost_work);
	bool down = accel_link_is_down(accel);

	if (!READ_ONCE(accel->gone)) {
		dev_err(&accel->pdev->dev, "%s\n",
			down ? "the link is down" : "the device does not answer");
		accel_set_gone(accel);
	}
	/* Otherwise its memory is as good as ever, until it is unbound. */
	if (down)
		accel_forget_memory(accel);
	accel_put(accel);
}

static int accel_map(struct accel *accel)
{
	struct pci_dev *pdev = accel->pdev;

	if (pci_resource_len(pdev, ACCEL_SHARED_BAR) < CDM_ACCEL_BAR_SIZE)
		return -ENODEV;
	accel->bells = ioremap(pci_resource_start(pdev, ACCEL_BELLS_BAR),
			       pci_resource_len(pdev, ACCEL_BELLS_BAR));
	/* Memory that both sides use with ordinary loads and stores. */
	accel->bar = memremap(pci_resource_start(pdev, ACCEL_SHARED_BAR),
			      CDM_ACCEL_BAR_SIZE, MEMREMAP_WB);
	if (!accel->bells || !accel->bar)
		return -ENOMEM;
	accel->regs = accel->bar->regs;
	/* Memory that an earlier driver has left behind is lost with the link. */
	if (accel->regs.magic != CDM_ACCEL_MAGIC)
		cdm_mark_lost(&pdev->dev);
	if (accel->regs.magic != CDM_ACCEL_MAGIC ||
	    accel->regs.version != CDM_ACCEL_VERSION)
		return -ENODEV;
	return accel_restart(accel);
}

static void accel_irqs_free(struct accel *accel)
{
	while (accel->nr_irqs)
		free_irq(pci_irq_vector(accel->pdev, --accel->nr_irqs), accel);
	pci_free_irq_vectors(accel->pdev);
}

static int accel_irqs(struct accel *accel)
{
	struct pci_dev *pdev = accel->pdev;
	int ret;

	ret = pci_alloc_irq_vectors(pdev, CDM_ACCEL_NR_IRQS, CDM_ACCEL_NR_IRQS,
				    PCI_IRQ_MSIX);
	while (ret >= 0 && accel->nr_irqs < CDM_ACCEL_NR_IRQS) {
		ret = request_threaded_irq(pci_irq_vector(pdev, accel->nr_irqs),
					   accel_hardirq, accel_interrupt,
					   IRQF_ONESHOT, accel->name, accel);
		if (ret)
			break;
		accel->nr_irqs++;
	}
	return min(ret, 0);
}

/* Under @mem_lock, so that a device that is lost finds its memory. */
static int accel_register(struct accel *accel)
{
	const struct cdm_accel_regs *regs = &accel->regs;
	struct range range = {
		.start = regs->mem_start,
		.end = regs->mem_start + regs->mem_size - 1,
	};
	struct cdm_memory *mem = ERR_PTR(-ENODEV);

	mutex_lock(&accel->mem_lock);
	if (!READ_ONCE(accel->gone))
		mem = cdm_register_memory(&accel->pdev->dev, &range,
					  NUMA_NO_NODE, 0, &accel_cdm_ops,
					  accel);
	if (!IS_ERR(mem)) {
		accel->mem = mem;
		WRITE_ONCE(accel->nid, cdm_memory_nid(mem));
		/* A mark of before does not count for it. */
		if (accel_link_is_down(accel))
			accel_lose(accel);
	}
	mutex_unlock(&accel->mem_lock);
	return PTR_ERR_OR_ZERO(mem);
}

static int accel_misc(struct accel *accel)
{
	accel->misc.minor = MISC_DYNAMIC_MINOR;
	accel->misc.name = accel->name;
	accel->misc.parent = &accel->pdev->dev;
	accel->misc.mode = 0666;
	accel->misc.fops = &accel_fops;
	return misc_register(&accel->misc);
}

static struct accel *accel_alloc(struct pci_dev *pdev)
{
	struct accel *accel;
	int index;

	accel = kzalloc(sizeof(*accel), GFP_KERNEL);
	if (!accel)
		return ERR_PTR(-ENOMEM);
	index = ida_alloc(&accel_ida, GFP_KERNEL);
	if (index < 0) {
		kfree(accel);
		return ERR_PTR(index);
	}
	accel->index = index;
	snprintf(accel->name, sizeof(accel->name), "cdm_accel%d", index);
	kref_init(&accel->ref);
	init_rwsem(&accel->sem);
	init_waitqueue_head(&accel->resumed);
	mutex_init(&accel->mem_lock);
	spin_lock_init(&accel->spaces_lock);
	INIT_LIST_HEAD(&accel->all_spaces);
	init_waitqueue_head(&accel->space_freed);
	INIT_DELAYED_WORK(&accel->watchdog, accel_watchdog);
	INIT_WORK(&accel->lost_work, accel_lost_work);
	accel_rings_init(accel);
	accel->pdev = pci_dev_get(pdev);
	accel->nid = NUMA_NO_NODE;
	return accel;
}

static int accel_start(struct accel *accel)
{
	int ret;

	ret = accel_irqs(accel);
	if (ret)
		return ret;
	ret = accel_register(accel);
	if (ret)
		return ret;
	ret = accel_misc(accel);
	if (ret)
		return ret;
	accel_debugfs_add(accel);
	queue_delayed_work(accel_wq, &accel->watchdog, ACCEL_WATCHDOG);
	return 0;
}

/*
 * Files may still be open: their owners get -ENODEV. The device runs nothing any
 * more before tenants are sent home, and those lose nothing. Once there are no
 * interrupts and no watchdog, nobody finds the device lost.
 */
static void accel_shut_down(struct accel *accel)
{
	accel_set_gone(accel);
	accel_debugfs_del(accel);
	accel_irqs_free(accel);
	cancel_delayed_work_sync(&accel->watchdog);
	flush_work(&accel->lost_work);
	accel_forget_memory(accel);
	accel_put(accel);
}

static int accel_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct accel *accel;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = pcim_request_all_regions(pdev, "cdm_accel");
	if (ret)
		return ret;
	accel = accel_alloc(pdev);
	if (IS_ERR(accel))
		return PTR_ERR(accel);
	ret = accel_map(accel);
	if (!ret)
		ret = accel_start(accel);
	if (ret) {
		accel_shut_down(accel);
		return ret;
	}
	pci_set_drvdata(pdev, accel);
	return 0;
}

static void accel_remove(struct pci_dev *pdev)
{
	struct accel *accel = pci_get_drvdata(pdev);

	misc_deregister(&accel->misc);
	accel_shut_down(accel);
}

/* Nobody talks to the device any more when this returns. */
static void accel_set_suspended(struct accel *accel, bool suspended)
{
	down_write(&accel->sem);
	WRITE_ONCE(accel->suspended, suspended);
	up_write(&accel->sem);
	wake_up_all(&accel->resumed);
}

/* Memory that is lost has no tenants to save, and does not keep anybody awake. */
static int accel_suspend_memory(struct accel *accel)
{
	int ret = 0;

	mutex_lock(&accel->mem_lock);
	if (accel->mem && !accel_check_link(accel))
		ret = cdm_suspend_memory(accel->mem, READ_ONCE(accel_leave_ms),
					 NULL);
	mutex_unlock(&accel->mem_lock);
	return ret;
}

static void accel_resume_memory(struct accel *accel)
{
	mutex_lock(&accel->mem_lock);
	if (accel->mem)
		cdm_resume_memory(accel->mem);
	mutex_unlock(&accel->mem_lock);
}

/*
 * Power goes: jobs end, tenants go home, and the device forgets everything. In
 * this order, since its copy engine helps them on their way. The watchdog would
 * take a device without power for one that is lost.
 */
int accel_suspend(struct device *dev)
{
	struct accel *accel = dev_get_drvdata(dev);
	int ret;

	accel_set_suspended(accel, true);
	accel_spaces_stop(accel);
	ret = accel_suspend_memory(accel);
	if (ret) {
		accel_set_suspended(accel, false);
		return ret;
	}
	cancel_delayed_work_sync(&accel->watchdog);
	accel_stop(accel);
	/* The PCI core restores this at resume, before there is a reset. */
	pci_clear_master(accel->pdev);
	WRITE_ONCE(accel->asleep, true);
	return 0;
}

int accel_resume(struct device *dev)
{
	struct accel *accel = dev_get_drvdata(dev);
	int ret;

	if (!accel->suspended)
		return 0;
	ret = accel_restart(accel);
	/* The registers say something again, or should. */
	WRITE_ONCE(accel->asleep, false);
	if (!ret)
		accel_spaces_restart(accel);
	else
		accel_lose(accel);
	/* The memory of a device that does not answer is as good as ever. */
	accel_resume_memory(accel);
	accel_set_suspended(accel, false);
	queue_delayed_work(accel_wq, &accel->watchdog, ACCEL_WATCHDOG);
	return ret;
}

static DEFINE_SIMPLE_DEV_PM_OPS(accel_pm_ops, accel_suspend, accel_resume);

static const struct pci_device_id accel_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, ACCEL_IVSHMEM) },
	{ }
};
MODULE_DEVICE_TABLE(pci, accel_ids);

static struct pci_driver accel_driver = {
	.name = "cdm_accel",
	.id_table = accel_ids,
	.probe = accel_probe,
	.remove = accel_remove,
	.driver.pm = pm_sleep_ptr(&accel_pm_ops),
};

static int __init accel_init(void)
{
	int ret;

	accel_wq = alloc_workqueue("cdm_accel", WQ_UNBOUND, 0);
	if (!accel_wq)
		return -ENOMEM;
	ret = -ENOMEM;
	accel_end_wq = alloc_workqueue("cdm_accel_end", WQ_UNBOUND, 0);
	if (!accel_end_wq)
		goto err_wq;
	accel_debugfs_init();
	ret = pci_register_driver(&accel_driver);
	if (ret)
		goto err_debugfs;
	return 0;

err_debugfs:
	accel_debugfs_exit();
	destroy_workqueue(accel_end_wq);
err_wq:
	destroy_workqueue(accel_wq);
	return ret;
}
module_init(accel_init);

static void __exit accel_exit(void)
{
	pci_unregister_driver(&accel_driver);
	destroy_workqueue(accel_end_wq);
	destroy_workqueue(accel_wq);
	accel_debugfs_exit();
	ida_destroy(&accel_ida);
}
module_exit(accel_exit);

MODULE_DESCRIPTION("Reference accelerator with coherent device memory");
MODULE_LICENSE("GPL");
