// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: sysfs. The link from a node to its owner is described in
 * Documentation/ABI/testing/sysfs-devices-node-cdm.
 */
#include <linux/device.h>
#include <linux/node.h>
#include <linux/sysfs.h>

#include "internal.h"

#define CDM_OWNER_LINK	"coherent_device"

/* Link node @nid to @owner: the device that registered its first range. */
int cdm_sysfs_link(int nid, struct device *owner)
{
	return sysfs_create_link(&node_devices[nid]->dev.kobj, &owner->kobj,
				 CDM_OWNER_LINK);
}

void cdm_sysfs_unlink(int nid)
{
	sysfs_remove_link(&node_devices[nid]->dev.kobj, CDM_OWNER_LINK);
}
