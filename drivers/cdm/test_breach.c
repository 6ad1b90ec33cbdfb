// SPDX-License-Identifier: GPL-2.0
/*
 * Test driver of coherent device memory: holes in the fence, for tests that must see
 * them. What the kernel would do with a patch that is mistaken. Only while nobody
 * hotplugs memory.
 */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "cdm_test_uapi.h"
#include "test.h"

#define CDM_TEST_MAX_LEAK	64

/* Pages of a kind that a file has leaked. */
struct cdm_test_leaked {
	struct list_head list;
	struct delayed_work free_work;
	enum cdm_test_kind kind;
	void *mapped;
	unsigned int nr;
	struct page *pages[CDM_TEST_MAX_LEAK];
};

static bool cdm_test_is_device(const struct zoneref *ref)
{
	return node_state(ref->zone->zone_pgdat->node_id, N_COHERENT_DEVICE);
}

/* Device zones stand in no ordinary list but by cdm_test_breach_list(). */
static void cdm_test_mend_list(struct zonelist *zonelist)
{
	struct zoneref *from = zonelist->_zonerefs, *to = from;

	for (; from->zone; from++) {
		if (!cdm_test_is_device(from))
			*to++ = *from;
	}
	to->zone = NULL;
	to->zone_idx = 0;
}

static void cdm_test_mend(void)
{
	int nid, i;

	for_each_online_node(nid) {
		for (i = 0; i < MAX_ZONELISTS; i++)
			cdm_test_mend_list(&NODE_DATA(nid)->node_zonelists[i]);
	}
}

static void cdm_test_breach_list(struct zonelist *zonelist, bool first)
{
	unsigned int nr_devices = num_node_state(N_COHERENT_DEVICE);
	struct zoneref *ref = zonelist->_zonerefs;
	unsigned int nr = 0;
	int nid;

	while (ref[nr].zone)
		nr++;
	if (first)
		memmove(ref + nr_devices, ref, (nr + 1) * sizeof(*ref));
	else
		ref += nr;
	for_each_node_state(nid, N_COHERENT_DEVICE) {
		ref->zone_idx = ZONE_MOVABLE;
		ref->zone = &NODE_DATA(nid)->node_zones[ZONE_MOVABLE];
		ref++;
	}
}

static void cdm_test_breach(bool first)
{
	int nid;

	for_each_online_node(nid) {
		struct zonelist *lists = NODE_DATA(nid)->node_zonelists;

		cdm_test_breach_list(&lists[ZONELIST_FALLBACK], first);
		if (first && node_state(nid, N_MEMORY))
			cdm_test_breach_list(&lists[ZONELIST_NOFALLBACK], true);
	}
}

long cdm_test_ioc_breach(struct cdm_test_file *priv, void __user *arg)
{
	u32 how;

	if (copy_from_user(&how, arg, sizeof(how)))
		return -EFAULT;
	if (how >= CDM_TEST_BREACH_NR)
		return -EINVAL;

	mutex_lock(&priv->lock);
	if (priv->breach)
		cdm_test_mend();
	if (how != CDM_TEST_BREACH_NONE)
		cdm_test_breach(how == CDM_TEST_BREACH_FIRST);
	priv->breach = how != CDM_TEST_BREACH_NONE;
	mutex_unlock(&priv->lock);
	return 0;
}

/*
 * A page of a device node that nobody names, for the kernel: the node's own list, which
 * is empty, holds its zone for a moment as one for all purposes. Nobody else asks for
 * memory of that node alone.
 */
static struct page *cdm_test_leak_page(int nid, gfp_t gfp)
{
	struct zonelist *zonelist =
		&NODE_DATA(nid)->node_zonelists[ZONELIST_NOFALLBACK];
	struct page *page;

	zonelist->_zonerefs[1].zone = NULL;
	zonelist->_zonerefs[0].zone_idx = ZONE_NORMAL;
	zonelist->_zonerefs[0].zone =
		&NODE_DATA(nid)->node_zones[ZONE_MOVABLE];
	page = alloc_pages_node(nid, gfp | __GFP_THISNODE | __GFP_NOWARN, 0);
	cdm_test_mend_list(zonelist);
	return page;
}

/* The audit tells these kinds by the type of the page. */
static void cdm_test_set_kind(struct page *page, enum cdm_test_kind kind)
{
	if (kind == CDM_TEST_KIND_SLAB)
		__folio_set_slab(page_folio(page));
	else if (kind == CDM_TEST_KIND_TABLE)
		__folio_set_pgtable(page_folio(page));
}

static void cdm_test_clear_kind(struct page *page, enum cdm_test_kind kind)
{
	if (kind == CDM_TEST_KIND_SLAB)
		__folio_clear_slab(page_folio(page));
	else if (kind == CDM_TEST_KIND_TABLE)
		__folio_clear_pgtable(page_folio(page));
}

static void cdm_test_take_back(struct cdm_test_leaked *leaked)
{
	if (leaked->mapped)
		vunmap(leaked->mapped);
	leaked->mapped = NULL;
	while (leaked->nr) {
		struct page *page = leaked->pages[--leaked->nr];

		cdm_test_clear_kind(page, leaked->kind);
		__free_page(page);
	}
}

static void cdm_test_take_back_work(struct work_struct *work)
{
	cdm_test_take_back(container_of(to_delayed_work(work),
					struct cdm_test_leaked, free_work));
}

static int cdm_test_leak(struct cdm_test_leaked *leaked,
			 const struct cdm_test_leak *ask)
{
	gfp_t gfp = GFP_KERNEL | __GFP_MOVABLE;	/* pageblocks stay as they are */

	if (leaked->kind == CDM_TEST_KIND_ACCOUNTED)
		gfp |= __GFP_ACCOUNT;
	while (leaked->nr < ask->nr) {
		struct page *page = cdm_test_leak_page(ask->nid, gfp);

		if (!page)
			return -ENOMEM;
		cdm_test_set_kind(page, leaked->kind);
		leaked->pages[leaked->nr++] = page;
	}
	if (leaked->kind != CDM_TEST_KIND_VMALLOC)
		return 0;
	leaked->mapped = vmap(leaked->pages, leaked->nr, VM_MAP, PAGE_KERNEL);
	return leaked->mapped ? 0 : -ENOMEM;
}

long cdm_test_ioc_leak(struct cdm_test_file *priv, void __user *arg)
{
	struct cdm_test_leaked *leaked;
	struct cdm_test_leak ask;
	int ret;

	if (copy_from_user(&ask, arg, sizeof(ask)))
		return -EFAULT;
	if (!numa_valid_node(ask.nid) ||
	    !node_state(ask.nid, N_COHERENT_DEVICE) ||
	    ask.kind >= CDM_TEST_KIND_NR || !ask.nr ||
	    ask.nr > CDM_TEST_MAX_LEAK)
		return -EINVAL;

	leaked = kzalloc(sizeof(*leaked), GFP_KERNEL);
	if (!leaked)
		return -ENOMEM;
	leaked->kind = ask.kind;
	INIT_DELAYED_WORK(&leaked->free_work, cdm_test_take_back_work);
	mutex_lock(&priv->lock);
	ret = cdm_test_leak(leaked, &ask);
	if (!ret) {
		list_add(&leaked->list, &priv->leaks);
		if (ask.ms)
			schedule_delayed_work(&leaked->free_work,
					      msecs_to_jiffies(ask.ms));
	}
	mutex_unlock(&priv->lock);
	if (ret) {
		cdm_test_take_back(leaked);
		kfree(leaked);
	}
	return ret;
}

/* Nobody has the file any more. */
void cdm_test_breach_release(struct cdm_test_file *priv)
{
	struct cdm_test_leaked *leaked, *next;

	if (priv->breach)
		cdm_test_mend();
	list_for_each_entry_safe(leaked, next, &priv->leaks, list) {
		cancel_delayed_work_sync(&leaked->free_work);
		cdm_test_take_back(leaked);
		kfree(leaked);
	}
}
