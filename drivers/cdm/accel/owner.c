// SPDX-License-Identifier: GPL-2.0
/*
 * Reference accelerator: what the kernel asks of the owner of device memory.
 */
#include <linux/cdm-driver.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "accel.h"

static void accel_moved(void *data, unsigned long from, unsigned long to,
			unsigned long nr_pages)
{
	struct accel *accel = data;

	atomic_long_add(nr_pages, &accel->nr_moved);
}

static void accel_failed(void *data, unsigned long pfn)
{
	struct accel *accel = data;

	atomic_long_inc(&accel->nr_failed);
	dev_warn(&accel->pdev->dev, "page %#lx has failed\n", pfn);
}

static int accel_copy_folio(struct accel *accel, struct folio *dst,
			    struct folio *src)
{
	struct cdm_accel_sg *sg;
	struct cdm_accel_cmd cmd = { .op = CDM_ACCEL_OP_COPY };
	unsigned int i, nr = DIV_ROUND_UP(folio_size(src), PMD_SIZE);
	int ret;

	sg = kcalloc(nr, sizeof(*sg), GFP_NOIO | __GFP_NOWARN);
	if (!sg)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		sg[i].dst = PFN_PHYS(folio_pfn(dst)) + i * PMD_SIZE;
		sg[i].src = PFN_PHYS(folio_pfn(src)) + i * PMD_SIZE;
		sg[i].size = min(folio_size(src) - i * PMD_SIZE, PMD_SIZE);
	}
	cmd.args[0] = virt_to_phys(sg);
	cmd.args[1] = nr;
	ret = accel_call_wait(accel, &cmd, NULL);
	if (!ret)
		atomic_long_add(folio_nr_pages(src), &accel->nr_copied);
	kfree(sg);
	return ret;
}

/*
 * The folios are locked, and reclaim may be at work for somebody who talks to
 * the device: so do not wait for @sem.
 */
static int accel_copy(void *data, struct folio *dst, struct folio *src)
{
	struct accel *accel = data;
	int ret = -ENODEV;

	if (!down_read_trylock(&accel->sem))
		return -EBUSY;
	if (!accel->gone)
		ret = accel_copy_folio(accel, dst, src);
	up_read(&accel->sem);
	return ret;
}

const struct cdm_ops accel_cdm_ops = {
	.moved = accel_moved,
	.failed = accel_failed,
	.copy = accel_copy,
	.copy_min = PMD_SIZE,
};
