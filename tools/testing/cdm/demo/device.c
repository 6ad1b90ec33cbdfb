// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: what is asked of the driver and of the nodes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tour.h"

#define NODES		"/sys/devices/system/node/"
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

static int driver_ioctl(unsigned long cmd, void *arg)
{
	static int fd = -1;

	if (fd < 0)
		fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(CDM_TEST_DEVICE);
	return ioctl(fd, cmd, arg);
}

void device_migrate(uintptr_t addr, size_t size, int nid)
{
	struct cdm_test_migrate ask = {
		.addr = addr,
		.size = size,
		.nid = nid,
	};

	if (driver_ioctl(CDM_TEST_IOC_MIGRATE, &ask) < 0)
		die("driver: migrate");
}

static struct place count(const __s32 *nodes, size_t nr)
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

/* Whole pages. */
struct place placement(uintptr_t addr, size_t size)
{
	size_t nr = size / PAGE;
	__s32 *nodes = calloc(nr, sizeof(*nodes));
	struct cdm_test_query ask = {
		.addr = addr,
		.size = size,
		.nodes = (uintptr_t)nodes,
	};
	struct place place;

	if (!nodes || driver_ioctl(CDM_TEST_IOC_QUERY, &ask))
		die("driver: query");
	place = count(nodes, nr);
	free(nodes);
	return place;
}

void device_compute(struct cdm_test_compute *job)
{
	if (driver_ioctl(CDM_TEST_IOC_COMPUTE, job))
		die("driver: compute");
}

void device_unregister(struct cdm_test_unregister *ask)
{
	if (driver_ioctl(CDM_TEST_IOC_UNREGISTER, ask))
		die("driver: unregister");
}

void device_register_all(void)
{
	struct cdm_test_info info;

	if (driver_ioctl(CDM_TEST_IOC_INFO, &info))
		die("driver: info");
	for (unsigned int i = 0; i < info.nr_ranges; i++) {
		if (info.ranges[i].nid >= 0)
			continue;
		if (driver_ioctl(CDM_TEST_IOC_REGISTER, &info.ranges[i]))
			die("driver: register");
	}
}
