// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a device node: registration, its zone, and the way home of
 * everything on it when it goes.
 */

#include "cdm_util.h"

#define SIZE		(16 * MIB)
#define PAGES		(SIZE / PAGE)
#define SEED		23
#define DEADLINE_MS	CDM_ACK_MS
#define GRACE		cdm_seconds(15)	/* a last attempt may begin just before a deadline */

#define NODES		"/sys/devices/system/node"
#define AUTO_ONLINE	"/sys/devices/system/memory/auto_online_blocks"

/* Calls @fn for the directory of each memory block of @nid. */
static int walk_blocks(int nid, int (*fn)(const char *path, void *arg),
		       void *arg)
{
	char path[512];
	struct dirent *ent;
	int nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), NODES "/node%d", nid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((ent = readdir(dir))) {
		int block;

		if (sscanf(ent->d_name, "memory%d", &block) != 1)
			continue;
		snprintf(path, sizeof(path), NODES "/node%d/memory%d", nid,
			 block);
		nr += fn(path, arg);
	}
	closedir(dir);
	return nr;
}

static int block_online(const char *path, void *arg)
{
	char file[600];

	snprintf(file, sizeof(file), "%s/state", path);
	return cdm_write(file, "online_movable") ? 0 : 1;
}

static void online_all_blocks(int nid)
{
	walk_blocks(nid, block_online, NULL);
}

FIXTURE(life) {
	int dev;
	struct cdm_test_range range;
	char auto_online[64];
	long total;
	struct cdm_child child;
	struct cdm_child other;
	int fd;			/* holds a pin, if the test has one */
	int pipe[2];		/* the same */
};

FIXTURE_SETUP(life)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	self->fd = -1;
	self->pipe[0] = -1;
	self->pipe[1] = -1;
	ASSERT_EQ(0, cdm_reset(_metadata));
	self->dev = cdm_dev(0);
	self->total = cdm_node_meminfo(self->dev, "MemTotal");
	ASSERT_EQ(0, cdm_range(self->dev, 0, &self->range));
	ASSERT_LT(0, cdm_read(AUTO_ONLINE, self->auto_online,
			      sizeof(self->auto_online)));
}

FIXTURE_TEARDOWN(life)
{
	if (self->child.pid)
		cdm_kill(&self->child);
	if (self->other.pid)
		cdm_kill(&self->other);
	close(self->fd);
	close(self->pipe[0]);
	close(self->pipe[1]);
	cdm_write(AUTO_ONLINE, self->auto_online);
	EXPECT_EQ(0, cdm_reset(_metadata));
	online_all_blocks(self->dev);
	EXPECT_EQ(self->total, cdm_node_meminfo(self->dev, "MemTotal"));
}

/* A block that is offline says "none" or the zones that it could join. */
static int block_is_movable(const char *path, void *arg)
{
	char file[600], zones[128] = "";

	snprintf(file, sizeof(file), "%s/valid_zones", path);
	cdm_read(file, zones, sizeof(zones));
	return !strcmp(zones, "Movable\n");
}

static int block_exists(const char *path, void *arg)
{
	return 1;
}

static bool all_movable(int nid)
{
	int nr = walk_blocks(nid, block_exists, NULL);

	return nr && nr == walk_blocks(nid, block_is_movable, NULL);
}

/* Pages that the zone of this name has on @nid. */
static long zone_present(int nid, const char *zone)
{
	char line[256], name[32];
	FILE *file = fopen("/proc/zoneinfo", "r");
	long present = 0, val;
	bool here = false;
	int node;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %d, zone %31s", &node, name) == 2)
			here = node == nid && !strcmp(name, zone);
		else if (here && sscanf(line, " present %ld", &val) == 1)
			present += val;
	}
	if (file)
		fclose(file);
	return present;
}

static bool only_movable(int nid)
{
	static const char * const kernel_zones[] = { "DMA", "DMA32", "Normal" };

	for (int i = 0; i < ARRAY_SIZE(kernel_zones); i++)
		if (zone_present(nid, kernel_zones[i]))
			return false;
	return zone_present(nid, "Movable") > 0;
}

static bool is_device_node(int nid)
{
	return cdm_state_has("has_coherent_device", nid);
}

static bool mems_allowed_has(int nid)
{
	unsigned long mask = 0;

	get_mempolicy(NULL, &mask, 64, NULL, MPOL_F_MEMS_ALLOWED);
	return mask >> nid & 1;
}

/* The node works: its state, its policy, its size, memory on it. */
static void expect_usable(struct __test_metadata *_metadata, int nid,
			  long total)
{
	char *addr;

	EXPECT_TRUE(is_device_node(nid));
	EXPECT_FALSE(cdm_state_has("has_memory", nid));
	EXPECT_TRUE(mems_allowed_has(nid));
	EXPECT_EQ(total, cdm_node_meminfo(nid, "MemTotal"));
	EXPECT_TRUE(all_movable(nid));
	addr = cdm_map_on(nid, SIZE, SEED);
	EXPECT_NE(NULL, addr);
	if (addr)
		munmap(addr, SIZE);
}

static void expect_gone(struct __test_metadata *_metadata, int nid)
{
	char *addr = cdm_map(PAGE);

	EXPECT_FALSE(is_device_node(nid));
	EXPECT_FALSE(cdm_state_has("has_memory", nid));
	EXPECT_FALSE(mems_allowed_has(nid));
	EXPECT_EQ(0, walk_blocks(nid, block_exists, NULL));
	EXPECT_EQ(-EINVAL, cdm_mbind(addr, PAGE, MPOL_BIND, 1UL << nid, 0));
}

TEST_F(life, node_states)
{
	EXPECT_TRUE(cdm_state_is("has_coherent_device", cdm_devs()));
	EXPECT_TRUE(cdm_state_is("has_memory", cdm_rams()));
	EXPECT_TRUE(cdm_state_is("has_normal_memory", cdm_rams()));
	for (int i = 0; i < cdm_devs().nr; i++) {
		EXPECT_TRUE(cdm_state_has("online", cdm_dev(i)));
		EXPECT_TRUE(only_movable(cdm_dev(i)));
		EXPECT_TRUE(all_movable(cdm_dev(i)));
	}
}

TEST_F(life, link_to_owner)
{
	char path[PATH_MAX], real[PATH_MAX], node[PATH_MAX];

	snprintf(path, sizeof(path), NODES "/node%d/coherent_device",
		 self->dev);
	ASSERT_NE(NULL, realpath(path, real));
	EXPECT_EQ(0, strncmp(real, "/sys/devices/", 13));
	snprintf(path, sizeof(path), NODES "/node%d", self->dev);
	ASSERT_NE(NULL, realpath(path, node));
	EXPECT_STRNE(node, real);
	snprintf(path, sizeof(path), NODES "/node%d/coherent_device",
		 cdm_ram(0));
	EXPECT_NE(0, access(path, F_OK));
}

struct blocks {
	int nr;
	char state[64][600];
};

/* Collects the paths of the state files of the blocks of a node. */
static int block_collect(const char *path, void *arg)
{
	struct blocks *blocks = arg;

	if (blocks->nr < ARRAY_SIZE(blocks->state))
		snprintf(blocks->state[blocks->nr++], sizeof(blocks->state[0]),
			 "%s/state", path);
	return 1;
}

/* L3: by whatever name a block comes online, it is movable or it is not. */
TEST_F_TIMEOUT(life, online_kernel_is_refused, CDM_TIMEOUT)
{
	long refused = cdm_vmstat("cdm_refused_online");
	static struct blocks blocks;

	walk_blocks(self->dev, block_collect, &blocks);
	ASSERT_LT(2, blocks.nr);
	for (int i = 0; i < 3; i++) {
		const char *path = blocks.state[i * (blocks.nr - 1) / 2];

		ASSERT_EQ(0, cdm_write(path, "offline"));
		EXPECT_GT(0, cdm_write(path, "online_kernel"));
		EXPECT_TRUE(only_movable(self->dev));
		EXPECT_EQ(0, cdm_write(path, "online"));
		EXPECT_TRUE(only_movable(self->dev));
	}
	EXPECT_LT(refused, cdm_vmstat("cdm_refused_online"));
	expect_usable(_metadata, self->dev, self->total);
}

TEST_F_TIMEOUT(life, auto_online_kernel, CDM_TIMEOUT)
{
	static const char * const modes[] = {
		"online_kernel", "online", "offline",
	};

	for (int i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
		ASSERT_EQ(0, cdm_write(AUTO_ONLINE, modes[i]));
		ASSERT_EQ(0, cdm_register_all());
		EXPECT_TRUE(only_movable(self->dev));
		expect_usable(_metadata, self->dev, self->total);
	}
}

/* A tenant by its task's policy, that keeps allocating when it is told to. */
static int tenant_fn(struct cdm_child *me, void *arg)
{
	char *addr, *more;
	long val;

	if (cdm_bind_task(*(int *)arg))
		return 1;
	addr = cdm_map(SIZE);
	cdm_fill(addr, SIZE, SEED);
	cdm_say(me, (long)addr);
	while ((val = cdm_hear(me)) == 1) {
		more = cdm_map(SIZE);
		cdm_fill(more, SIZE, SEED + 1);
		cdm_say(me, cdm_wrong(more, SIZE, SEED + 1) +
			    cdm_wrong(addr, SIZE, SEED));
		munmap(more, SIZE);
	}
	return cdm_wrong(addr, SIZE, SEED) ? 2 : 0;
}

TEST_F_TIMEOUT(life, unregister_evacuates, CDM_TIMEOUT)
{
	struct cdm_test_unregister out;
	struct cdm_spread spread;
	char *addr, *own, *file;
	__u64 hash;

	own = cdm_map_on(self->dev, SIZE, SEED);
	ASSERT_NE(NULL, own);
	file = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, cdm_open_big(SIZE), 0);
	hash = cdm_hash(file, SIZE);
	ASSERT_EQ(PAGES, cdm_move(file, SIZE, self->dev));
	ASSERT_EQ(0, cdm_start(&self->child, tenant_fn, &self->dev));
	addr = (char *)cdm_hear(&self->child);
	spread = cdm_spread_of(self->child.pid, addr, SIZE);
	ASSERT_EQ(PAGES, spread.on[self->dev]);

	ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, &out));
	EXPECT_LE(3 * PAGES, out.nr_moved);
	EXPECT_EQ(0, out.nr_pinned + out.nr_no_ram + out.nr_busy);
	expect_gone(_metadata, self->dev);
	EXPECT_EQ(0, cdm_wrong(own, SIZE, SEED));
	EXPECT_EQ(hash, cdm_hash(file, SIZE));
	spread = cdm_spread_of(self->child.pid, addr, SIZE);
	EXPECT_EQ(PAGES, cdm_spread_in(spread, cdm_rams()));

	/* The bound task goes on, in RAM. */
	cdm_say(&self->child, 1);
	EXPECT_EQ(0, cdm_hear(&self->child));
	cdm_say(&self->child, 0);
	EXPECT_EQ(0, cdm_wait(&self->child));
	self->child.pid = 0;

	ASSERT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->dev, self->total);
}

/* What HMAT says of the node; 0 for what is not there. */
static long hmat_value(int nid, const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), NODES "/node%d/access0/initiators/%s", nid,
		 name);
	return access(path, R_OK) ? 0 : cdm_read_long(path);
}

/* How far the memory is and how fast, whenever it comes. */
TEST_F_TIMEOUT(life, performance_attributes_come_back, CDM_TIMEOUT)
{
	static const char * const names[] = {
		"read_bandwidth", "read_latency", "write_bandwidth",
		"write_latency",
	};
	static struct blocks blocks;
	long values[ARRAY_SIZE(names)];
	char path[160];

	snprintf(path, sizeof(path), NODES "/node%d/access0/initiators/node%d",
		 self->dev, cdm_ram(0));
	EXPECT_EQ(0, access(path, F_OK));
	for (int i = 0; i < ARRAY_SIZE(names); i++) {
		values[i] = hmat_value(self->dev, names[i]);
		EXPECT_LT(0, values[i]);
	}
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
		ASSERT_EQ(0, cdm_register_all());
		for (int i = 0; i < ARRAY_SIZE(names); i++)
			EXPECT_EQ(values[i], hmat_value(self->dev, names[i]));
		EXPECT_EQ(0, access(path, F_OK));
	}
	/* A node that has been there all the time has them already. */
	blocks.nr = 0;
	walk_blocks(self->dev, block_collect, &blocks);
	for (int i = 0; i < blocks.nr; i++)
		ASSERT_EQ(0, cdm_write(blocks.state[i], "offline"));
	for (int i = 0; i < blocks.nr; i++)
		ASSERT_EQ(0, cdm_write(blocks.state[i], "online"));
	for (int i = 0; i < ARRAY_SIZE(names); i++)
		EXPECT_EQ(values[i], hmat_value(self->dev, names[i]));
}

TEST_F_TIMEOUT(life, pinned_page_fails_unregister, CDM_TIMEOUT)
{
	struct cdm_test_unregister out;
	int fd = open(CDM_TEST_DEVICE, O_RDWR);
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	__u64 pin = (uintptr_t)addr + SIZE / 2;
	struct timespec from, to;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_PIN, &pin));
	clock_gettime(CLOCK_MONOTONIC, &from);
	EXPECT_EQ(-EBUSY, cdm_unregister(self->dev, 2000, &out));
	clock_gettime(CLOCK_MONOTONIC, &to);
	EXPECT_GE(GRACE, to.tv_sec - from.tv_sec);
	EXPECT_LE(1, out.nr_pinned);
	EXPECT_EQ(0, out.nr_no_ram);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	expect_usable(_metadata, self->dev, self->total);

	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_UNPIN, &pin));
	close(fd);
	EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, &out));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	expect_gone(_metadata, self->dev);
}

/* The failure is told to us, too; nobody touches that page. */
static void ignore_bus(int sig)
{
}

/* A page that has failed and is pinned is in use, not out of use. */
TEST_F_TIMEOUT(life, failed_page_with_pin_fails_unregister, CDM_TIMEOUT)
{
	struct cdm_test_unregister out;
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	__u64 pin = (uintptr_t)addr + SIZE / 2;

	ASSERT_NE(NULL, addr);
	signal(SIGBUS, ignore_bus);
	self->fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_PIN, &pin));
	madvise(addr + SIZE / 2, PAGE, MADV_HWPOISON);
	EXPECT_EQ(-EBUSY, cdm_unregister(self->dev, 500, &out));
	EXPECT_EQ(PAGES - 1, out.nr_moved);
	EXPECT_EQ(1, out.nr_pinned);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE / 2, SEED));
	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_UNPIN, NULL));
	EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	/* The failure is forgotten with the node. */
	ASSERT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->dev, self->total);
}

TEST_F_TIMEOUT(life, ten_cycles_with_tenants, CDM_TIMEOUT)
{
	char *addr = cdm_map(SIZE), *shared = cdm_map_shared(SIZE);

	cdm_fill(addr, SIZE, SEED);
	cdm_fill(shared, SIZE, SEED);
	for (int i = 0; i < 10; i++) {
		EXPECT_EQ(PAGES, cdm_move(addr, SIZE, self->dev));
		EXPECT_EQ(PAGES, cdm_move(shared, SIZE, self->dev));
		ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
		EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
		EXPECT_EQ(0, cdm_wrong(shared, SIZE, SEED));
		ASSERT_EQ(0, cdm_register_all());
	}
	expect_usable(_metadata, self->dev, self->total);
}

/*
 * All tenants have to come home, but there is not enough room. It must not be
 * made by killing somebody.
 */
TEST_F_TIMEOUT(life, unregister_without_ram, 2 * CDM_TIMEOUT)
{
	struct cdm_load easy_victim = { .size = 64 * MIB };
	/* Long enough to fill RAM, or the tenants left are merely busy. */
	int deadline_ms = cdm_flavour_is("debug") ? 30000 : 5000;
	struct cdm_test_unregister out = {};
	long kills = cdm_vmstat("oom_kill"), moved = 0;
	size_t size = 320 * MIB;
	char *addr;

	addr = cdm_map(size);
	ASSERT_EQ(0, cdm_mbind(addr, size, MPOL_BIND, 1UL << self->dev, 0));
	cdm_stamp(addr, size, SEED);
	ASSERT_NE(NULL, cdm_load_start(&self->child, &easy_victim));
	ASSERT_EQ(0, cdm_leave_ram(224));
	for (int i = 0; i < 3 && !out.nr_no_ram; i++, deadline_ms *= 2) {
		ASSERT_EQ(-EBUSY, cdm_unregister(self->dev, deadline_ms, &out));
		moved += out.nr_moved;
	}
	EXPECT_LT(0, moved);
	EXPECT_LT(0, out.nr_no_ram);
	EXPECT_EQ(0, out.nr_pinned);
	EXPECT_EQ(kills, cdm_vmstat("oom_kill"));
	cdm_free_ram();
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, SEED));
	expect_usable(_metadata, self->dev, self->total);
	EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	EXPECT_EQ(0, cdm_stamp_wrong(addr, size, SEED));
}

TEST_F_TIMEOUT(life, unregister_under_allocation, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_start(&self->child, tenant_fn, &self->dev));
	ASSERT_NE(LONG_MIN, cdm_hear(&self->child));
	for (int i = 0; i < 3; i++) {
		/* It allocates while the node goes. */
		cdm_say(&self->child, 1);
		cdm_say(&self->child, 1);
		ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
		EXPECT_EQ(0, cdm_hear(&self->child));
		EXPECT_EQ(0, cdm_hear(&self->child));
		ASSERT_EQ(0, cdm_register_all());
	}
	cdm_say(&self->child, 0);
	EXPECT_EQ(0, cdm_wait(&self->child));
	self->child.pid = 0;
}

struct storm {
	char *addr;
	int dev;
	int ram;
	bool stop;
	long wrong;
	long rounds;
};

/* Faults, moves and frees on the node while it comes and goes. */
static void *storm_fn(void *arg)
{
	struct storm *storm = arg;

	for (; !__atomic_load_n(&storm->stop, __ATOMIC_ACQUIRE);
	     storm->rounds++) {
		cdm_fill(storm->addr, MIB, storm->rounds);
		cdm_move(storm->addr, MIB, storm->dev);
		storm->wrong += cdm_wrong(storm->addr, MIB, storm->rounds);
		cdm_move(storm->addr, MIB, storm->ram);
		storm->wrong += cdm_wrong(storm->addr, MIB, storm->rounds);
		madvise(storm->addr, MIB, MADV_DONTNEED);
	}
	return NULL;
}

TEST_F_TIMEOUT(life, hotplug_and_fault_storm, CDM_TIMEOUT)
{
	struct storm storm[2] = {};
	pthread_t thread[2];

	for (int i = 0; i < 2; i++) {
		storm[i].addr = cdm_map(MIB);
		storm[i].dev = self->dev;
		storm[i].ram = cdm_ram(0);
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, storm_fn,
					    &storm[i]));
	}
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
		EXPECT_EQ(0, cdm_register_all());
	}
	for (int i = 0; i < 2; i++) {
		__atomic_store_n(&storm[i].stop, true, __ATOMIC_RELEASE);
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, storm[i].wrong);
		EXPECT_LT(0, storm[i].rounds);
	}
}

/*
 * The lists of zones change between a look at them and the next. Somebody who is
 * pinned keeps the node, so that it is closed and opened often.
 */
TEST_F_TIMEOUT(life, closed_often_under_allocation, CDM_TIMEOUT)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	char *addr = cdm_map_on(self->dev, PAGE, SEED);
	__u64 pin = (uintptr_t)addr;
	struct cdm_faulter faulter[3];
	long until = time(NULL) + 60;
	int nr;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, ioctl(fd, CDM_TEST_IOC_PIN, &pin));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, cdm_faulter_start(&faulter[i], 1UL << self->dev,
					       16 * PAGE));
	for (nr = 0; nr < 30 || (nr < 300 && time(NULL) < until); nr++)
		EXPECT_EQ(-EBUSY, cdm_unregister(self->dev, 1, NULL));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, cdm_faulter_stop(&faulter[i]));
	close(fd);
	EXPECT_EQ(0, cdm_wrong(addr, PAGE, SEED));
	expect_usable(_metadata, self->dev, self->total);
}

/* A driver leaves. What its tenants do about it does not matter to it. */

static int leave(int nid, unsigned int deadline_ms)
{
	struct cdm_test_reserve arg = {
		.nid = nid,
		.deadline_ms = deadline_ms,
	};

	return cdm_ioctl(CDM_TEST_IOC_LEAVE, &arg);
}

static bool node_state_is(int nid, const char *state)
{
	char path[128], buf[128] = "";

	snprintf(path, sizeof(path), NODES "/node%d/cdm/state", nid);
	cdm_read(path, buf, sizeof(buf));
	buf[strcspn(buf, "\n")] = 0;
	return !strcmp(buf, state);
}

static bool has_owner(int nid)
{
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), NODES "/node%d/coherent_device", nid);
	return !lstat(path, &st);
}

/* Nobody says when: the kernel looks from time to time. */
static bool node_goes(int nid)
{
	for (int i = 0; i < CDM_PATIENCE * 100; i++) {
		if (!is_device_node(nid) && !walk_blocks(nid, block_exists, NULL))
			return true;
		usleep(10000);
	}
	return false;
}

static long pages_home(const char *addr)
{
	return cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams());
}

/* What holds of a node that a driver has left behind with one page of a tenant. */
static void expect_detached(struct __test_metadata *_metadata, int nid,
			    const char *addr)
{
	char *more = cdm_map(SIZE);

	EXPECT_TRUE(node_state_is(nid, "closed: unregistering detached"));
	EXPECT_FALSE(has_owner(nid));
	EXPECT_TRUE(is_device_node(nid));
	EXPECT_EQ(1, cdm_pages_on(addr, SIZE, nid));
	EXPECT_EQ(PAGES - 1, pages_home(addr));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	cdm_mbind(more, SIZE, MPOL_BIND, 1UL << nid, 0);
	cdm_fill(more, SIZE, SEED);
	EXPECT_EQ(PAGES, pages_home(more));
	munmap(more, SIZE);
}

TEST_F_TIMEOUT(life, leave_evacuates, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);

	ASSERT_NE(NULL, addr);
	EXPECT_EQ(0, leave(self->dev, DEADLINE_MS));
	expect_gone(_metadata, self->dev);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	ASSERT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->dev, self->total);
}

/* The driver is gone at its deadline, the node with the last pin. */
TEST_F_TIMEOUT(life, leave_with_pin_is_bounded, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	__u64 pin = (uintptr_t)addr + SIZE / 2;
	struct cdm_test_range again = self->range;

	ASSERT_NE(NULL, addr);
	self->fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_PIN, &pin));
	ASSERT_EQ(-EINPROGRESS, leave(self->dev, 500));
	expect_detached(_metadata, self->dev, addr);
	EXPECT_EQ(-ENODEV, cdm_unregister(self->dev, 500, NULL));

	/* Neither that range nor a part of it comes back yet. */
	again.nid = -1;
	EXPECT_EQ(-EINPROGRESS, cdm_ioctl(CDM_TEST_IOC_REGISTER, &again));
	again.size /= 2;
	EXPECT_EQ(-EINPROGRESS, cdm_ioctl(CDM_TEST_IOC_REGISTER, &again));
	expect_detached(_metadata, self->dev, addr);

	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_UNPIN, NULL));
	EXPECT_TRUE(node_goes(self->dev));
	expect_gone(_metadata, self->dev);
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	ASSERT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->dev, self->total);
}

/* The same after a loss: what is there is out of reach, and goes with the pin. */
TEST_F_TIMEOUT(life, leave_after_loss_is_bounded, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	struct cdm_test_lose lose = { .nid = self->dev };
	__u64 pin = (uintptr_t)addr + SIZE / 2;

	ASSERT_NE(NULL, addr);
	self->fd = open(CDM_TEST_DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_PIN, &pin));
	ASSERT_EQ(-EBUSY, cdm_ioctl(CDM_TEST_IOC_LOSE, &lose));
	EXPECT_TRUE(node_state_is(self->dev, "closed: lost"));
	ASSERT_EQ(-EINPROGRESS, leave(self->dev, 500));
	EXPECT_TRUE(node_state_is(self->dev,
				  "closed: unregistering lost detached"));
	ASSERT_EQ(0, ioctl(self->fd, CDM_TEST_IOC_UNPIN, NULL));
	EXPECT_TRUE(node_goes(self->dev));
	ASSERT_EQ(0, cdm_register_all());
	expect_usable(_metadata, self->dev, self->total);
}

static int load_driver(const char *what)
{
	char command[64];

	snprintf(command, sizeof(command), "modprobe %s cdm_test 2>&1", what);
	return system(command);
}

/* Nothing of the module is left, and no new one has the memory before it is free. */
TEST_F_TIMEOUT(life, unload_with_pin_is_bounded, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	struct iovec vec = { .iov_base = addr, .iov_len = PAGE };

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC));
	ASSERT_EQ(PAGE, vmsplice(self->pipe[1], &vec, 1, 0));
	ASSERT_EQ(0, cdm_write("/sys/module/cdm_test/parameters/leave_ms", "500"));
	ASSERT_EQ(0, load_driver("-r"));
	EXPECT_NE(0, access(CDM_TEST_DEVICE, F_OK));
	expect_detached(_metadata, self->dev, addr);
	EXPECT_NE(0, load_driver(""));
	expect_detached(_metadata, self->dev, addr);
	close(self->pipe[0]);
	close(self->pipe[1]);
	self->pipe[0] = -1;
	self->pipe[1] = -1;
	EXPECT_TRUE(node_goes(self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	ASSERT_EQ(0, load_driver(""));
	expect_usable(_metadata, self->dev, self->total);
}

/*
 * A page that looked free is not, and memory hotplug would wait for it, with its locks.
 * Both the driver that asks and the one that leaves are done at their deadlines.
 */
TEST_F_TIMEOUT(life, offline_does_not_wait_for_tenants, CDM_TIMEOUT)
{
	char *addr = cdm_map_shared(PAGE);

	cdm_fill(addr, PAGE, SEED);
	ASSERT_EQ(1, cdm_move(addr, PAGE, self->dev));
	ASSERT_TRUE(cdm_hold_start(&self->child, addr, CDM_TEST_HOLD_FROZEN));
	EXPECT_EQ(-EBUSY, cdm_unregister(self->dev, 500, NULL));
	EXPECT_TRUE(node_state_is(self->dev, "open"));
	EXPECT_EQ(-EINPROGRESS, leave(self->dev, 500));
	EXPECT_TRUE(node_state_is(self->dev, "closed: unregistering detached"));
	cdm_kill(&self->child);
	self->child.pid = 0;
	EXPECT_TRUE(node_goes(self->dev));
	EXPECT_EQ(0, cdm_wrong(addr, PAGE, SEED));
	ASSERT_EQ(0, cdm_register_all());
}

/* The administrator, too, is told that it cannot be, and others need not wait for that. */
TEST_F_TIMEOUT(life, offline_with_pin_is_bounded, CDM_TIMEOUT)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	struct iovec vec = { .iov_base = addr, .iov_len = PAGE };
	static struct blocks blocks;
	int nr_busy = 0;

	ASSERT_NE(NULL, addr);
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC));
	ASSERT_EQ(PAGE, vmsplice(self->pipe[1], &vec, 1, 0));
	walk_blocks(self->dev, block_collect, &blocks);
	for (int i = 0; i < blocks.nr; i++) {
		int ret = cdm_write(blocks.state[i], "offline");

		if (ret)
			EXPECT_EQ(-EBUSY, ret);
		nr_busy += !!ret;
	}
	EXPECT_EQ(1, nr_busy);
	EXPECT_TRUE(node_state_is(self->dev, "open"));
	EXPECT_EQ(0, cdm_wrong(addr, SIZE, SEED));
	for (int i = 0; i < blocks.nr; i++)
		cdm_write(blocks.state[i], "online");
	expect_usable(_metadata, self->dev, self->total);
}

/* Somebody has one folio locked, or under writeback, for as long as they like. */
FIXTURE(held) {
	int dev;
	char *addr;
	char *page;		/* that one */
	struct cdm_child child;
	bool lost;
};

FIXTURE_VARIANT(held) {
	unsigned int how;
};

FIXTURE_VARIANT_ADD(held, locked) { .how = CDM_TEST_HOLD_LOCKED };
FIXTURE_VARIANT_ADD(held, writeback) { .how = CDM_TEST_HOLD_WRITEBACK };

FIXTURE_SETUP(held)
{
	const char *missing = cdm_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, cdm_reset(_metadata));
	self->dev = cdm_dev(0);
	self->addr = cdm_map_shared(SIZE);
	self->page = self->addr + SIZE / 2;
	cdm_fill(self->addr, SIZE, SEED);
	ASSERT_EQ(PAGES, cdm_move(self->addr, SIZE, self->dev));
	ASSERT_TRUE(cdm_hold_start(&self->child, self->page, variant->how));
}

FIXTURE_TEARDOWN(held)
{
	struct cdm_test_lose lose = { .nid = self->dev };

	if (self->child.pid)
		cdm_hold_end(&self->child);
	if (self->lost)
		cdm_ioctl(CDM_TEST_IOC_LOSE, &lose);
	EXPECT_EQ(0, cdm_reset(_metadata));
}

TEST_F_TIMEOUT(held, folio_does_not_hold_up_unregister, CDM_TIMEOUT)
{
	EXPECT_EQ(-EBUSY, cdm_unregister(self->dev, 500, NULL));
	EXPECT_EQ(PAGES - 1, pages_home(self->addr));
	cdm_hold_end(&self->child);
	EXPECT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

TEST_F_TIMEOUT(held, folio_does_not_hold_up_recall, CDM_TIMEOUT)
{
	struct cdm_test_recall recall = {
		.nid = self->dev,
		.deadline_ms = 1000,
	};
	int err;

	ASSERT_EQ(0, cdm_leave_node(self->dev, 16));
	cdm_audit(self->dev, "free");	/* drains the lists of the CPUs */
	recall.nr = cdm_audit(self->dev, "free") + PAGES;
	err = cdm_ioctl(CDM_TEST_IOC_RECALL, &recall);
	/* The owner has the other pages, until its file is closed, which it is. */
	EXPECT_TRUE(err == -EBUSY || err == -ETIME);
	EXPECT_EQ(PAGES - 1, pages_home(self->addr));
	cdm_hold_end(&self->child);
	EXPECT_EQ(0, cdm_wrong(self->addr, SIZE, SEED));
}

/* What is locked is the one thing that cannot be unmapped, before it is let go. */
TEST_F_TIMEOUT(held, folio_does_not_hold_up_loss, CDM_TIMEOUT)
{
	struct cdm_test_lose lose = { .nid = self->dev };
	bool locked = variant->how == CDM_TEST_HOLD_LOCKED;

	self->lost = true;
	EXPECT_EQ(-EBUSY, cdm_ioctl(CDM_TEST_IOC_LOSE, &lose));
	EXPECT_EQ(1, lose.nr_left);
	EXPECT_EQ(PAGES - 1, lose.nr_lost);
	EXPECT_TRUE(node_state_is(self->dev, "closed: lost"));
	EXPECT_EQ(locked, cdm_pages_on(self->page, PAGE, self->dev));
	cdm_hold_end(&self->child);
	EXPECT_EQ(0, cdm_ioctl(CDM_TEST_IOC_LOSE, &lose));
	EXPECT_EQ(0, lose.nr_left);
	self->lost = false;
	EXPECT_EQ(0, cdm_pages_on(self->addr, SIZE, self->dev));
}

TEST_F(life, unregister_unknown_node)
{
	EXPECT_GT(0, cdm_unregister(cdm_ram(0), 1000, NULL));
	EXPECT_GT(0, cdm_unregister(15, 1000, NULL));
	expect_usable(_metadata, self->dev, self->total);
}

/* What cannot be registered: a distinct error each, and nothing changed. */
static void expect_refused(struct __test_metadata *_metadata, int err,
			   struct cdm_test_range range)
{
	struct cdm_test_info before, after;
	long ram = cdm_meminfo("MemTotal"), dev = cdm_meminfo("DeviceTotal");

	EXPECT_EQ(0, cdm_ioctl(CDM_TEST_IOC_INFO, &before));
	EXPECT_EQ(err, cdm_ioctl(CDM_TEST_IOC_REGISTER, &range));
	EXPECT_EQ(0, cdm_ioctl(CDM_TEST_IOC_INFO, &after));
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
	EXPECT_EQ(ram, cdm_meminfo("MemTotal"));
	EXPECT_EQ(dev, cdm_meminfo("DeviceTotal"));
	EXPECT_TRUE(cdm_state_is("has_memory", cdm_rams()));
}

TEST_F(life, register_twice)
{
	self->range.nid = -1;
	expect_refused(_metadata, -EALREADY, self->range);
	expect_usable(_metadata, self->dev, self->total);
}

TEST_F(life, register_overlap)
{
	struct cdm_test_range range = self->range;

	range.nid = -1;
	range.size /= 2;
	expect_refused(_metadata, -EEXIST, range);
	range.start += range.size;
	expect_refused(_metadata, -EEXIST, range);
	expect_usable(_metadata, self->dev, self->total);
}

TEST_F(life, register_beyond_physical_memory)
{
	struct cdm_test_range range = {
		.start = 1ULL << 52,
		.size = 128 * MIB,
		.nid = -1,
	};

	expect_refused(_metadata, -ERANGE, range);
	range = self->range;
	range.nid = -1;
	range.size = 0;
	expect_refused(_metadata, -ERANGE, range);
}

TEST_F(life, register_unaligned)
{
	struct cdm_test_range range = self->range;

	ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	range.nid = -1;
	range.size -= PAGE;
	expect_refused(_metadata, -EINVAL, range);
	range.start += PAGE;
	expect_refused(_metadata, -EINVAL, range);
	EXPECT_FALSE(is_device_node(self->dev));
}

TEST_F(life, register_ram)
{
	struct cdm_test_range range = {
		.start = 256 * MIB,
		.size = 128 * MIB,
		.nid = -1,
	};

	expect_refused(_metadata, -ENXIO, range);
}

TEST_F(life, register_as_ram_node)
{
	struct cdm_test_range range = self->range;

	ASSERT_EQ(0, cdm_unregister(self->dev, DEADLINE_MS, NULL));
	range.nid = cdm_ram(0);
	expect_refused(_metadata, -ENOTEMPTY, range);
	EXPECT_FALSE(is_device_node(self->dev));
	EXPECT_FALSE(is_device_node(cdm_ram(0)));
}

/* A hole below the physical limit that no firmware table describes. */
TEST_F(life, register_without_proximity_domain)
{
	struct cdm_test_range range = {
		.start = 1ULL << 38,
		.size = 128 * MIB,
		.nid = -1,
		.flags = 1 << 1,	/* CDM_COHERENT_BAR */
	};

	expect_refused(_metadata, -ENODEV, range);
}

TEST_HARNESS_MAIN
