// SPDX-License-Identifier: GPL-2.0
/*
 * Reference accelerator: what the kernel asks of the owner of device memory.
 */
#include <linux/cdm-driver.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
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

/* The entries of a segment, which the device takes up to 2 MiB each. */
static unsigned long accel_nr_sg(const struct cdm_segment *segment)
{
	return DIV_ROUND_UP(segment->nr_pages, PMD_SIZE / PAGE_SIZE);
}

static struct cdm_accel_sg *accel_fill_sg(struct cdm_accel_sg *sg,
					  const struct cdm_segment *segment)
{
	u64 done, size = segment->nr_pages * PAGE_SIZE;

	for (done = 0; done < size; done += PMD_SIZE, sg++) {
		sg->dst = PFN_PHYS(segment->to) + done;
		sg->src = PFN_PHYS(segment->from) + done;
		sg->size = min(size - done, PMD_SIZE);
	}
	return sg;
}

static int accel_copy_segments(struct accel *accel,
			       const struct cdm_segment *segments,
			       unsigned int nr)
{
	struct cdm_accel_cmd cmd = { .op = CDM_ACCEL_OP_COPY };
	unsigned long nr_pages = 0, nr_sg = 0;
	struct cdm_accel_sg *list, *sg;
	struct cdm_accel_done done;
	unsigned int i;
	int ret;

	for (i = 0; i < nr; i++) {
		nr_pages += segments[i].nr_pages;
		nr_sg += accel_nr_sg(&segments[i]);
	}
	list = kmalloc_array(nr_sg, sizeof(*list), GFP_KERNEL | __GFP_NOWARN);
	if (!list)
		return -ENOMEM;
	for (i = 0, sg = list; i < nr; i++)
		sg = accel_fill_sg(sg, &segments[i]);
	cmd.args[0] = virt_to_phys(list);
	cmd.args[1] = nr_sg;
	ret = accel_call_wait(accel, &cmd, &done);
	if (!ret && done.result != nr_pages * PAGE_SIZE) {
		accel_ignore(accel, "the success of a copy that is not whole");
		ret = -EIO;
	}
	if (!ret)
		atomic_long_add(nr_pages, &accel->nr_copied);
	kfree(list);
	return ret;
}

/*
 * The folios are locked, the process that maps them too perhaps, and reclaim may be
 * at work for somebody who talks to the device: so neither wait for @sem, nor for
 * memory that somebody must write out. The CPU can copy instead of a device that is
 * gone, but not from behind a link that is down.
 */
static int accel_copy(void *data, const struct cdm_segment *segments,
		      unsigned int nr)
{
	struct accel *accel = data;
	unsigned int noio;
	int ret = -ENODEV;

	if (accel_link_is_down(accel))
		return -EHWPOISON;
	if (!down_read_trylock(&accel->sem))
		return -EBUSY;
	noio = memalloc_noio_save();
	if (!accel->gone)
		ret = accel_copy_segments(accel, segments, nr);
	memalloc_noio_restore(noio);
	up_read(&accel->sem);
	return ret && accel_link_is_down(accel) ? -EHWPOISON : ret;
}

static bool accel_is_alive(void *data)
{
	return !accel_link_is_down(data);
}

const struct cdm_ops accel_cdm_ops = {
	.moved = accel_moved,
	.failed = accel_failed,
	.copy = accel_copy,
	.copy_min = PMD_SIZE,
	.alive = accel_is_alive,
};
