// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the device goes away while a process has data on it, and
 * comes back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tour.h"

#define DEADLINE_MS	60000
#define KINDS		3

/* Memory of one kind, with a hash of what is in it. */
struct tenant {
	const char *kind;
	void *data;
	size_t size;
	char hash[65];
};

static void *map(size_t size, int prot, int flags, int fd)
{
	void *data = mmap(NULL, size, prot, flags, fd, 0);

	if (data == MAP_FAILED)
		die("mmap");
	return data;
}

static void move_in(struct tenant *tenants, const char *path, size_t size)
{
	int fd = open_data(path, size), prot = PROT_READ | PROT_WRITE;

	tenants[0].kind = "malloc()";
	tenants[0].data = allocate(size);
	read_data(path, tenants[0].data, size);
	tenants[1].kind = "shared memory";
	tenants[1].data = map(size, prot, MAP_SHARED | MAP_ANONYMOUS, -1);
	read_data(path, tenants[1].data, size);
	tenants[2].kind = "mapped file";
	tenants[2].data = map(size, PROT_READ, MAP_SHARED, fd);
	close(fd);
	for (int i = 0; i < KINDS; i++) {
		tenants[i].size = size;
		hash_of(tenants[i].data, size, tenants[i].hash);
	}
}

static void place_all(const struct tenant *tenants)
{
	for (int i = 0; i < KINDS; i++)
		device_migrate((uintptr_t)tenants[i].data, tenants[i].size,
			       device_nid());
}

static struct place show(const char *when, const struct tenant *tenants)
{
	struct place sum = {};

	table(when, false);
	for (int i = 0; i < KINDS; i++) {
		struct place place = placement((uintptr_t)tenants[i].data,
					   tenants[i].size);

		row(tenants[i].kind, -1, &place);
		sum.ram += place.ram;
		sum.device += place.device;
		sum.absent += place.absent;
	}
	return sum;
}

/* Bytes of those tenants whose hash is what it was. */
static size_t unchanged(const struct tenant *tenants)
{
	size_t size = 0;
	char hash[65];

	for (int i = 0; i < KINDS; i++) {
		hash_of(tenants[i].data, tenants[i].size, hash);
		say("SHA-256 of %-14s %.16s... before, %.16s... now",
		    tenants[i].kind, tenants[i].hash, hash);
		if (!strcmp(hash, tenants[i].hash))
			size += tenants[i].size;
	}
	return size;
}

static void show_numactl(void)
{
	say("$ numactl -H");
	if (system("numactl -H | sed 's/^/    /'"))
		die("numactl");
}

static void claim_away(long mem_total)
{
	char path[64];
	bool gone;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d",
		 device_nid());
	gone = access(path, F_OK);
	claim(gone, "unregister: the node is gone", "node %d %s",
	      device_nid(), gone ? "is not there" : "is still there");
	claim(meminfo_kb("MemTotal") == mem_total,
	      "unregister: MemTotal is what it was",
	      "%ld kB, was %ld kB", meminfo_kb("MemTotal"), mem_total);
}

static void go_home(const struct tenant *tenants)
{
	struct cdm_test_unregister ask = {
		.nid = device_nid(),
		.deadline_ms = DEADLINE_MS,
	};
	long mem_total = meminfo_kb("MemTotal");
	size_t size = KINDS * tenants[0].size, same;
	double start = now();
	struct place place;

	device_unregister(&ask);
	putchar('\n');
	say("The driver has unregistered the node in %.2f s; %llu pages moved to RAM.",
	    now() - start, ask.nr_moved);
	place = show("after unregister", tenants);
	putchar('\n');
	same = unchanged(tenants);
	claim(place.ram == (long)(size / PAGE) && same == size,
	      "unregister: every byte comes home",
	      "%zu of %zu bytes", same, size);
	putchar('\n');
	show_numactl();
	claim_away(mem_total);
}

static void come_back(const struct tenant *tenants)
{
	size_t size = KINDS * tenants[0].size, same;
	struct place place;
	long used;

	device_register_all();
	used = device_used();
	claim(node_kb(device_nid(), "MemTotal") > 0 && !used,
	      "register: the node is back, and empty",
	      "%ld MiB, %ld pages in use",
	      node_kb(device_nid(), "MemTotal") / 1024, used);
	place_all(tenants);
	place = show("registered again, and moved there", tenants);
	legend();
	putchar('\n');
	same = unchanged(tenants);
	claim(place.device == (long)(size / PAGE) && same == size,
	      "register: the same data goes there again",
	      "%ld of %zu pages", place.device, size / PAGE);
}

void tour_home(const char *path, size_t size)
{
	struct tenant tenants[KINDS] = {};
	struct place place;

	move_in(tenants, path, size);
	show("a process with data of three kinds", tenants);
	place_all(tenants);
	place = show("moved to the device", tenants);
	if (place.ram || place.absent)
		say("%ld pages did not move", place.ram + place.absent);
	go_home(tenants);
	come_back(tenants);
}
