// SPDX-License-Identifier: GPL-2.0
/*
 * Coherent device memory: sysfs. The files are described in
 * Documentation/ABI/testing/sysfs-devices-node-cdm.
 */
#include <linux/cdm.h>
#include <linux/cpu.h>
#include <linux/cpuset.h>
#include <linux/device.h>
#include <linux/node.h>
#include <linux/sysfs.h>

#include "internal.h"

#define CDM_OWNER_LINK	"coherent_device"

static const char * const cdm_access_names[] = { "open", "granted" };

static ssize_t access_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	bool granted = node_isset(dev->id, cdm_granted_nodes);

	return sysfs_emit(buf, "%s\n", cdm_access_names[granted]);
}

/* Tasks that lose access lose what they have on the node as well: to RAM. */
static ssize_t access_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	int granted = sysfs_match_string(cdm_access_names, buf);

	if (granted < 0)
		return granted;
	assign_bit(dev->id, cdm_granted_nodes.bits, granted);
	WRITE_ONCE(cdm_mems_changed, true);
	cpus_read_lock();
	cpuset_update_active_cpus();
	cpus_read_unlock();
	return count;
}
static DEVICE_ATTR_RW(access);

static ssize_t audit_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	return cdm_audit(dev->id, buf);
}
static DEVICE_ATTR_ADMIN_RO(audit);

static ssize_t balance_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%d\n", !cdm_book_is_off(dev->id));
}

static ssize_t balance_store(struct device *dev, struct device_attribute *attr,
			     const char *buf, size_t count)
{
	bool on;
	int ret;

	ret = kstrtobool(buf, &on);
	if (ret)
		return ret;
	cdm_book_switch(dev->id, !on);
	return count;
}
static DEVICE_ATTR_RW(balance);

static const char * const cdm_closed_names[] = {
	[CDM_CLOSED_UNREGISTERING]	= "unregistering",
	[CDM_CLOSED_SUSPENDED]		= "suspended",
	[CDM_CLOSED_HIBERNATION]	= "hibernation",
	[CDM_CLOSED_LOST]		= "lost",
	[CDM_CLOSED_DETACHED]		= "detached",
};

static ssize_t state_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	unsigned long why = cdm_why_closed(dev->id);
	unsigned int reason;
	ssize_t len;

	if (!why)
		return sysfs_emit(buf, "open\n");
	len = sysfs_emit(buf, "closed:");
	for_each_set_bit(reason, &why, CDM_NR_CLOSED)
		len += sysfs_emit_at(buf, len, " %s", cdm_closed_names[reason]);
	return len + sysfs_emit_at(buf, len, "\n");
}
static DEVICE_ATTR_RO(state);

static struct attribute *cdm_attrs[] = {
	&dev_attr_access.attr,
	&dev_attr_audit.attr,
	&dev_attr_balance.attr,
	&dev_attr_state.attr,
	NULL
};

static umode_t cdm_attr_mode(struct kobject *kobj, struct attribute *attr, int n)
{
	if (attr == &dev_attr_balance.attr && !IS_ENABLED(CONFIG_NUMA_BALANCING))
		return 0;
	return attr->mode;
}

static const struct attribute_group cdm_group = {
	.name = "cdm",
	.attrs = cdm_attrs,
	.is_visible = cdm_attr_mode,
};

/*
 * The files of device node @nid, and a link to @owner: the device that has
 * registered its first range, or NULL if its driver has left that behind.
 */
int cdm_sysfs_add(int nid, struct device *owner)
{
	struct kobject *kobj = &node_devices[nid]->dev.kobj;
	int ret = 0;

	if (owner)
		ret = sysfs_create_link(kobj, &owner->kobj, CDM_OWNER_LINK);
	if (ret)
		return ret;
	ret = sysfs_create_group(kobj, &cdm_group);
	if (ret)
		sysfs_remove_link(kobj, CDM_OWNER_LINK);
	return ret;
}

/* The owner has left: whatever happens to the device from now on, the files stay. */
void cdm_sysfs_unlink(int nid)
{
	sysfs_remove_link(&node_devices[nid]->dev.kobj, CDM_OWNER_LINK);
}

/* Waits for readers: hold no lock that they take, as that of memory hotplug. */
void cdm_sysfs_del(int nid)
{
	cdm_sysfs_unlink(nid);
	sysfs_remove_group(&node_devices[nid]->dev.kobj, &cdm_group);
}

/*
 * The node has gone with its memory. Nodes with CPUs keep links to it, by which they say
 * how far it is, and which would be in the way when it comes again.
 */
void cdm_sysfs_forget(int nid)
{
	char name[16], class[16];
	struct device *dev;
	int node, i;

	snprintf(name, sizeof(name), "node%d", nid);
	for_each_online_node(node) {
		for (i = 0; i < ACCESS_COORDINATE_MAX; i++) {
			snprintf(class, sizeof(class), "access%d", i);
			dev = device_find_child_by_name(&node_devices[node]->dev,
							class);
			if (!dev)
				continue;
			sysfs_remove_link_from_group(&dev->kobj, "targets",
						     name);
			put_device(dev);
		}
	}
}

bool __cdm_node_is_new(int nid)
{
	return list_empty(&node_devices[nid]->access_list);
}
