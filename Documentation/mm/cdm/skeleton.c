// SPDX-License-Identifier: GPL-2.0
/*
 * Skeleton of a driver whose device has memory that the CPUs share coherently.
 * What a real driver fills in is marked by "here:".
 */
#include <linux/cdm-driver.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/numa.h>
#include <linux/pci.h>

#define SKEL_DEADLINE_MS	10000
#define SKEL_RESERVE		(16UL << (20 - PAGE_SHIFT))	/* 16 MiB */

struct skel {
	struct pci_dev *pdev;
	struct cdm_memory *mem;
};

/* Here: the device must not use the page any more. */
static void skel_failed(void *data, unsigned long pfn)
{
	struct skel *skel = data;

	dev_warn(&skel->pdev->dev, "page %#lx has failed\n", pfn);
}

/* Here: return whether the link is up, by a read of a register. */
static bool skel_alive(void *data)
{
	return true;
}

static const struct cdm_ops skel_ops = {
	.failed = skel_failed,
	.alive = skel_alive,
};

/* The first range of special purpose memory is taken. */
static int skel_register(const struct range *range, void *data)
{
	struct skel *skel = data;
	struct cdm_memory *mem;

	/* Here: return 0 for a range that is not this device's. */
	mem = cdm_register_memory(&skel->pdev->dev, range, NUMA_NO_NODE, 0,
				  &skel_ops, skel);
	if (IS_ERR(mem))
		return PTR_ERR(mem);
	skel->mem = mem;
	return 1;
}

/* Memory for the device itself: tenants have to make room. */
static struct page *skel_alloc_huge(struct skel *skel)
{
	struct page *page = NULL;
	struct cdm_recall recall = {
		.order = PMD_ORDER,
		.nr = 1,
		.pages = &page,
		.deadline_ms = SKEL_DEADLINE_MS,
	};

	cdm_recall(skel->mem, &recall);
	return page;
}

static int skel_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct skel *skel;
	struct page *page;
	int ret;

	skel = devm_kzalloc(&pdev->dev, sizeof(*skel), GFP_KERNEL);
	if (!skel)
		return -ENOMEM;
	skel->pdev = pdev;
	pci_set_drvdata(pdev, skel);

	/* Here: start the device. */
	ret = cdm_walk_spm(skel_register, skel);
	if (ret < 0)
		return ret;
	if (!skel->mem)
		return -ENODEV;
	dev_info(&pdev->dev, "my memory is node %d\n", cdm_memory_nid(skel->mem));

	/* Nobody is there yet, so this cannot take long. */
	ret = cdm_set_reserve(skel->mem, SKEL_RESERVE, SKEL_DEADLINE_MS);
	if (ret)
		dev_warn(&pdev->dev, "no reserve: %d\n", ret);
	page = skel_alloc_huge(skel);
	if (page)
		cdm_free_pages(skel->mem, page, PMD_ORDER);
	return 0;
}

/*
 * There is no way back. What tenants hold beyond the deadline stays behind without us,
 * and the core removes it later.
 */
static void skel_remove(struct pci_dev *pdev)
{
	struct skel *skel = pci_get_drvdata(pdev);

	/*
	 * Here: stop the device, but for its memory, which the CPUs may go on using. All
	 * that it has allocated is free.
	 */
	if (skel->mem)
		cdm_leave_memory(skel->mem, SKEL_DEADLINE_MS, NULL);
}

/* Here: call this as soon as the link is down, from an interrupt, say. */
static void __maybe_unused skel_link_is_down(struct skel *skel)
{
	cdm_mark_lost(&skel->pdev->dev);
}

/* Here: call this then, in process context. */
static void __maybe_unused skel_link_down(struct skel *skel)
{
	cdm_leave_memory(skel->mem, SKEL_DEADLINE_MS, NULL);
	skel->mem = NULL;
}

static int skel_suspend(struct device *dev)
{
	struct skel *skel = dev_get_drvdata(dev);

	return cdm_suspend_memory(skel->mem, SKEL_DEADLINE_MS, NULL);
}

static int skel_resume(struct device *dev)
{
	struct skel *skel = dev_get_drvdata(dev);

	cdm_resume_memory(skel->mem);
	return 0;
}

static DEFINE_SIMPLE_DEV_PM_OPS(skel_pm_ops, skel_suspend, skel_resume);

static const struct pci_device_id skel_ids[] = {
	{ PCI_DEVICE(0x1234, 0x5678) },	/* here */
	{ }
};
MODULE_DEVICE_TABLE(pci, skel_ids);

static struct pci_driver skel_driver = {
	.name = "skel",
	.id_table = skel_ids,
	.probe = skel_probe,
	.remove = skel_remove,
	.driver.pm = pm_sleep_ptr(&skel_pm_ops),
};
module_pci_driver(skel_driver);

MODULE_DESCRIPTION("Skeleton of a driver of coherent device memory");
MODULE_LICENSE("GPL");
