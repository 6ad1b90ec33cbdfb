// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the device loses its driver while a process has data on it,
 * and gets it back.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tour.h"

#define KINDS		3

/* Memory of one kind, and what CPU and device have made of it. */
struct tenant {
	const char *kind;
	void *data;
	size_t size;
	char hash[65];
	__u64 crc;
};

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

/*
 * The data goes to the device because that computes. Returns how many results are
 * what they were the last time.
 */
static int compute(struct tenant *tenants)
{
	int same = 0;

	for (int i = 0; i < KINDS; i++) {
		__u64 crc = device_crc32(tenants[i].data, tenants[i].size);

		same += crc == tenants[i].crc;
		tenants[i].crc = crc;
	}
	return same;
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
	claim(gone, "unbind: the node is gone", "node %d %s",
	      device_nid(), gone ? "is not there" : "is still there");
	claim(meminfo_kb("MemTotal") == mem_total,
	      "unbind: MemTotal is what it was",
	      "%ld kB, was %ld kB", meminfo_kb("MemTotal"), mem_total);
}

/* The queue of before, which is of no use any more. */
static void claim_refused(const struct tenant *tenant)
{
	__u32 id;
	int err = cdm_accel_crc32(device_queue(), tenant->data, tenant->size,
				  &id);

	claim(err == -ENODEV, "unbind: the device computes no more",
	      "a job gets \"%s\"", strerror(-err));
	device_close();
}

static void go_home(const struct tenant *tenants, long there)
{
	long mem_total = meminfo_kb("MemTotal");
	size_t size = KINDS * tenants[0].size, same;
	long nr = size / PAGE;
	struct place place;
	double start;

	putchar('\n');
	start = now();
	device_driver("unbind");
	say("That took %.2f s.", now() - start);
	place = show("without its driver", tenants);
	putchar('\n');
	same = unchanged(tenants);
	claim(there == nr && place.ram == nr && same == size,
	      "unbind: every byte comes home",
	      "%ld there, then %ld in RAM, %zu bytes equal", there,
	      place.ram, same);
	putchar('\n');
	show_numactl();
	claim_away(mem_total);
	claim_refused(&tenants[0]);
}

static void come_back(struct tenant *tenants)
{
	size_t size = KINDS * tenants[0].size;
	struct place place;
	long used;
	int same;

	putchar('\n');
	device_driver("bind");
	used = device_used();
	claim(node_kb(device_nid(), "MemTotal") > 0 && !used,
	      "bind: the node is back, and empty",
	      "%ld MiB, %ld pages in use",
	      node_kb(device_nid(), "MemTotal") / 1024, used);
	same = compute(tenants);
	place = show("the device computes CRC-32 again", tenants);
	legend();
	claim(place.device == (long)(size / PAGE) && same == KINDS,
	      "bind: the device goes on with the data",
	      "%ld of %zu pages, %d of %d results equal", place.device,
	      size / PAGE, same, KINDS);
}

void tour_home(const char *path, size_t size)
{
	struct tenant tenants[KINDS] = {};
	struct place place;

	move_in(tenants, path, size);
	show("a process with data of three kinds", tenants);
	compute(tenants);
	place = show("the device computes CRC-32", tenants);
	go_home(tenants, place.device);
	come_back(tenants);
}
