// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: what is asked of the device and of the nodes.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tour.h"

#define NODES		"/sys/devices/system/node/"
#define DRIVER		"/sys/bus/pci/drivers/cdm_accel/"
#define SETTLE_MS	6000

/* The first node of a list like "1-3,5". */
static int first_node(const char *state)
{
	char path[128];
	int nid = -1;
	FILE *file;

	snprintf(path, sizeof(path), NODES "%s", state);
	file = fopen(path, "r");
	if (!file)
		die(path);
	if (fscanf(file, "%d", &nid) != 1) {
		errno = ENODEV;
		die(path);
	}
	fclose(file);
	return nid;
}

/* Remembered, for the tour asks while the node is away, too. */
int device_nid(void)
{
	static int nid = -1;

	if (nid < 0)
		nid = first_node("has_coherent_device");
	return nid;
}

int ram_nid(void)
{
	return first_node("has_memory");
}

/* The number behind @key, which may follow "Node N"; -1 if there is none. */
static long number(const char *path, const char *key)
{
	FILE *file = fopen(path, "r");
	size_t len = strlen(key);
	char line[256];
	long val = -1;

	if (!file)
		return -1;
	while (val < 0 && fgets(line, sizeof(line), file)) {
		char *at = strstr(line, key);

		if (!at || (at != line && at[-1] != ' '))
			continue;
		if (at[len] == ':' || at[len] == ' ')
			val = atol(at + len + 1);
	}
	fclose(file);
	return val;
}

long node_kb(int nid, const char *key)
{
	char path[128];

	snprintf(path, sizeof(path), NODES "node%d/meminfo", nid);
	return number(path, key);
}

long meminfo_kb(const char *key)
{
	return number("/proc/meminfo", key);
}

/* How many times memory of this node was ever allocated. */
long node_allocations(int nid)
{
	char path[128];

	snprintf(path, sizeof(path), NODES "node%d/numastat", nid);
	return number(path, "numa_hit") + number(path, "numa_miss");
}

/* Fold the counters that each CPU keeps for itself. */
static void refresh_counters(void)
{
	FILE *file = fopen("/proc/sys/vm/stat_refresh", "w");

	if (!file)
		return;
	fputs("1", file);
	fclose(file);
}

/* Pages on the device that belong to processes or files. */
long device_tenants(void)
{
	int nid = device_nid();

	refresh_counters();
	return (node_kb(nid, "AnonPages") + node_kb(nid, "FilePages")) / 4;
}

/* Pages of the device that are not free, for whatever reason. */
long device_used(void)
{
	int nid = device_nid();

	return (node_kb(nid, "MemTotal") - node_kb(nid, "MemFree")) / 4;
}

/* Freed pages wait a few seconds in per-CPU lists until they count as free. */
void device_settle(void)
{
	for (int ms = 0; ms < SETTLE_MS; ms += 100) {
		refresh_counters();
		if (!device_used())
			break;
		usleep(100000);
	}
}

static struct place count(const int *nodes, size_t nr)
{
	struct place place = {};

	for (size_t i = 0; i < nr; i++) {
		if (nodes[i] < 0)
			place.absent++;
		else if (nodes[i] == device_nid())
			place.device++;
		else
			place.ram++;
	}
	return place;
}

/* Whole pages. Without nodes to move to, move_pages(2) says where they are. */
struct place placement(uintptr_t addr, size_t size)
{
	size_t nr = size / PAGE;
	void **pages = calloc(nr, sizeof(*pages));
	int *nodes = calloc(nr, sizeof(*nodes));
	struct place place;

	if (!pages || !nodes)
		die("malloc");
	for (size_t i = 0; i < nr; i++)
		pages[i] = (void *)(addr + i * PAGE);
	if (syscall(SYS_move_pages, 0, nr, pages, NULL, nodes, 0))
		die("move_pages");
	place = count(nodes, nr);
	free(pages);
	free(nodes);
	return place;
}

static struct cdm_accel *queue;

/* Opened when it is needed, in this address space and with its pointers. */
struct cdm_accel *device_queue(void)
{
	int err;

	if (queue)
		return queue;
	err = cdm_accel_open(CDM_ACCEL_ANY, &queue);
	if (!err)
		err = cdm_accel_attach(queue, CDM_ACCEL_MIGRATE_ON_FAULT);
	errno = -err;
	if (err)
		die("/dev/cdm_accel");
	return queue;
}

void device_close(void)
{
	cdm_accel_close(queue);
	queue = NULL;
}

/* Wait for the job that was submitted with @err. Returns its result. */
__u64 device_finish(int err, const __u32 *id)
{
	__u64 result = 0;

	if (!err)
		err = cdm_accel_finish(queue, *id, &result);
	errno = -err;
	if (err)
		die("job of the device");
	return result;
}

/* The PCI function behind the device node, also while that is away. */
static const char *pci_name(void)
{
	static char real[PATH_MAX];
	char path[128];

	snprintf(path, sizeof(path), NODES "node%d/coherent_device",
		 device_nid());
	if (!*real && !realpath(path, real))
		die(path);
	return strrchr(real, '/') + 1;
}

/* @action: "unbind" or "bind" */
void device_driver(const char *action)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), DRIVER "%s", action);
	say("$ echo %s >%s", pci_name(), path);
	file = fopen(path, "w");
	if (!file || fputs(pci_name(), file) < 0 || fclose(file))
		die(path);
}
