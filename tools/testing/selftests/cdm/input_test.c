// SPDX-License-Identifier: GPL-2.0
/*
 * Bad input to the files that device nodes add or that treat them in a way of
 * their own: it is refused, and nothing has changed. The words that "access"
 * takes are with the other tests of it, in audit_test.c.
 */
#include "cdm_util.h"

#define SIZE	(8 * MIB)
#define PAGES	((long)(SIZE / PAGE))
#define SEED	31
#define GROUP	"cdm_input"
#define MEMS	CDM_CGROUPS "/" GROUP "/cpuset.mems"
#define NODES	"/sys/devices/system/node"
#define WEIGHTS	"/sys/kernel/mm/mempolicy/weighted_interleave"

/* More than a page, the most that a write to sysfs passes on. */
static char huge[5001];

FIXTURE(input) {
	int dev;
	char access[128];
	char audit[128];
	char weight[128];
	char pool[128];
	struct cdm_child child[3];
};

FIXTURE_SETUP(input)
{
	memset(huge, 'x', sizeof(huge) - 1);
	ASSERT_EQ(0, cdm_reset(_metadata));
	if (!cdm_devs().nr)
		SKIP(return, "topology %s has no device", cdm_topology());
	if (cdm_is_unfenced())
		SKIP(return, "the files are not there without a fence");
	self->dev = cdm_dev(0);
	snprintf(self->access, sizeof(self->access), NODES "/node%d/cdm/access",
		 self->dev);
	snprintf(self->audit, sizeof(self->audit), NODES "/node%d/cdm/audit",
		 self->dev);
	snprintf(self->weight, sizeof(self->weight), WEIGHTS "/node%d",
		 self->dev);
	snprintf(self->pool, sizeof(self->pool),
		 NODES "/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 self->dev);
	ASSERT_EQ(0, cdm_cgroup_create(GROUP));
}

FIXTURE_TEARDOWN(input)
{
	for (int i = 0; i < ARRAY_SIZE(self->child); i++)
		if (self->child[i].pid)
			cdm_kill(&self->child[i]);
	cdm_write(self->weight, "0");
	cdm_write(self->access, "open");
	EXPECT_EQ(0, cdm_reset(_metadata));
	EXPECT_EQ(0, cdm_unfenced());
}

/* What is in a file, or why not. */
struct text {
	char s[1024];
};

static struct text text_of(const char *path)
{
	struct text text = {};
	int ret = cdm_read(path, text.s, sizeof(text.s));

	if (ret < 0)
		snprintf(text.s, sizeof(text.s), "error %d", ret);
	return text;
}

static bool same(struct text a, struct text b)
{
	return !strcmp(a.s, b.s);
}

struct bad {
	const char *text;
	int err;
};

/* How many writes have another result than @bad says, or an effect. */
static int accepted(const char *path, const struct bad *bad, int nr)
{
	struct text before = text_of(path);
	int wrong = 0;

	for (int i = 0; i < nr; i++) {
		int err = cdm_write(path, bad[i].text);
		struct text after = text_of(path);

		if (err == bad[i].err && same(before, after))
			continue;
		fprintf(stderr, "# '%.40s' to %s: error %d, reads %s",
			bad[i].text, path, err, after.s);
		wrong++;
	}
	return wrong;
}

/* Three write to a file at once: two of them what is good, one what is not. */
struct race {
	const char *path;
	const char *good[2];
	struct bad bad;
};

struct racer {
	const char *path;
	const char *text;
	int err;
};

static int racer_fn(struct cdm_child *me, void *arg)
{
	struct racer *racer = arg;

	for (int i = 0; i < 30; i++)
		if (cdm_write(racer->path, racer->text) != racer->err)
			return 1;
	return 0;
}

static int start_race(struct cdm_child *child, const struct race *race)
{
	struct racer racer[] = {
		{ race->path, race->good[0] },
		{ race->path, race->good[1] },
		{ race->path, race->bad.text, race->bad.err },
	};
	int err = 0;

	for (int i = 0; !err && i < ARRAY_SIZE(racer); i++)
		err = cdm_start(&child[i], racer_fn, &racer[i]);
	return err;
}

static int end_race(struct cdm_child *child)
{
	int failed = 0;

	for (int i = 0; i < 3; i++) {
		failed += !!cdm_wait(&child[i]);
		child[i].pid = 0;
	}
	return failed;
}

/*
 * At all times the file reads as one of what is good, and so it does in the
 * end. What that looks like is learned from a write without rivals.
 */
static int race(struct cdm_child *child, const struct race *race)
{
	struct text good[2], now;
	int wrong = 0;

	for (int i = 0; i < 2; i++) {
		if (cdm_write(race->path, race->good[i]))
			return -1;
		good[i] = text_of(race->path);
	}
	if (same(good[0], good[1]) || start_race(child, race))
		return -1;
	for (int i = 0; i < 100; i++) {
		now = text_of(race->path);
		wrong += !same(now, good[0]) && !same(now, good[1]);
		usleep(1000);
	}
	wrong += end_race(child);
	now = text_of(race->path);
	return wrong + (!same(now, good[0]) && !same(now, good[1]));
}

/* Access */

static bool access_is(const char *path, const char *want)
{
	struct text text = text_of(path);

	text.s[strcspn(text.s, "\n")] = 0;
	return !strcmp(text.s, want);
}

TEST_F(input, access_empty_write)
{
	static const char * const states[] = { "granted", "open" };

	for (int i = 0; i < ARRAY_SIZE(states); i++) {
		ASSERT_EQ(0, cdm_write(self->access, states[i]));
		EXPECT_EQ(0, cdm_write(self->access, ""));
		EXPECT_TRUE(access_is(self->access, states[i]));
	}
}

/* A file that was opened in the life before acts on nothing any more. */
static int dead(int fd, const char *text)
{
	char buf[64];

	if (pread(fd, buf, sizeof(buf), 0) >= 0 || errno != ENODEV)
		return 1;
	if (text && (pwrite(fd, text, strlen(text), 0) >= 0 || errno != ENODEV))
		return 2;
	return 0;
}

TEST_F_TIMEOUT(input, access_of_a_node_that_left, CDM_TIMEOUT)
{
	int fd = open(self->access, O_RDWR | O_CLOEXEC);
	char buf[64];

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(-ENOENT, cdm_read(self->access, buf, sizeof(buf)));
	EXPECT_EQ(-ENOENT, cdm_write(self->access, "granted"));
	EXPECT_EQ(0, dead(fd, "granted"));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(0, dead(fd, "granted"));
	EXPECT_TRUE(access_is(self->access, "open"));
	close(fd);
}

static int toggle_fn(struct cdm_child *me, void *arg)
{
	struct pollfd pfd = { .fd = me->in, .events = POLLIN };
	bool open = false;
	int nr = 0, err;

	while (!poll(&pfd, 1, 0)) {
		err = cdm_write(arg, open ? "open" : "granted");
		if (err && err != -ENOENT && err != -ENODEV)
			return 1;
		nr += !err;
		open = !open;
	}
	return nr ? 0 : 2;
}

/*
 * The node comes and goes while two others open it and close it. A task that
 * had memory there has it in RAM in the end.
 */
TEST_F_TIMEOUT(input, access_during_hotplug, CDM_TIMEOUT)
{
	struct cdm_load load = {
		.size = SIZE,
		.mode = MPOL_BIND,
		.mask = 1UL << self->dev,
		.cgroup = GROUP,
	};
	char *addr = cdm_load_start(&self->child[2], &load);

	ASSERT_NE(NULL, addr);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, cdm_start(&self->child[i], toggle_fn,
				       self->access));
	for (int i = 0; i < 3; i++) {
		usleep(200000);
		ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
		ASSERT_EQ(0, cdm_register_all());
	}
	for (int i = 0; i < 2; i++) {
		cdm_say(&self->child[i], 0);
		EXPECT_EQ(0, cdm_wait(&self->child[i]));
		self->child[i].pid = 0;
	}
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_TRUE(access_is(self->access, "open"));
	EXPECT_EQ(PAGES, cdm_spread_in(cdm_spread_of(self->child[2].pid, addr,
						     SIZE), cdm_rams()));
}

/* Files that can only be read */

static int open_err(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Root may change the mode: there is nothing behind it. */
static int write_anyway(const char *path, mode_t mode)
{
	int err;

	if (chmod(path, 0600))
		return -errno;
	err = cdm_write(path, "0");
	chmod(path, mode);
	return err;
}

TEST_F(input, read_only_files)
{
	const struct {
		const char *path;
		mode_t mode;
	} file[] = {
		{ self->audit, 0400 },
		{ NODES "/has_coherent_device", 0444 },
	};

	for (int i = 0; i < ARRAY_SIZE(file); i++) {
		struct text before = text_of(file[i].path);

		EXPECT_EQ(-EACCES, open_err(file[i].path, O_WRONLY));
		EXPECT_EQ(-EACCES, open_err(file[i].path, O_RDWR));
		EXPECT_EQ(-EIO, write_anyway(file[i].path, file[i].mode));
		EXPECT_TRUE(same(before, text_of(file[i].path)));
	}
}

/* Audit */

static struct text text_in_pieces(const char *path, size_t piece)
{
	struct text text = {};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t nr;

	while (len + piece < sizeof(text.s) &&
	       (nr = read(fd, text.s + len, piece)) > 0)
		len += nr;
	close(fd);
	return text;
}

TEST_F(input, audit_in_pieces)
{
	char *addr = cdm_map_on(self->dev, SIZE, SEED);
	struct text whole = text_of(self->audit);

	ASSERT_NE(NULL, addr);
	ASSERT_NE(NULL, strstr(whole.s, "anon 2048\n"));
	EXPECT_STREQ(whole.s, text_in_pieces(self->audit, 1).s);
	EXPECT_STREQ(whole.s, text_in_pieces(self->audit, 7).s);
	EXPECT_STREQ(whole.s, text_in_pieces(self->audit, 1000).s);
}

TEST_F(input, audit_from_anywhere)
{
	struct text whole = text_of(self->audit);
	int fd = open(self->audit, O_RDONLY | O_CLOEXEC);
	long len = strlen(whole.s);
	const long offsets[] = { 13, 1, len - 3, 0, 7, len, len + 1, 1 << 20 };
	char buf[8];

	ASSERT_LE(0, fd);
	for (int i = 0; i < ARRAY_SIZE(offsets); i++) {
		long want = len - offsets[i];

		want = want < 0 ? 0 : want > 7 ? 7 : want;
		EXPECT_EQ(want, pread(fd, buf, 7, offsets[i]));
		EXPECT_EQ(0, strncmp(buf, whole.s + (want ? offsets[i] : 0),
				     want));
	}
	EXPECT_EQ(-1, pread(fd, buf, 7, -1));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

/* Of a file that has been read in part, the rest is left, as it was. */
TEST_F_TIMEOUT(input, audit_of_a_node_that_left, CDM_TIMEOUT)
{
	struct text whole = text_of(self->audit), rest = {};
	int unread = open(self->audit, O_RDONLY | O_CLOEXEC);
	int fd = open(self->audit, O_RDONLY | O_CLOEXEC);
	char buf[7];

	ASSERT_LE(0, fd);
	ASSERT_EQ(sizeof(buf), read(fd, buf, sizeof(buf)));
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(-ENOENT, open_err(self->audit, O_RDONLY));
	EXPECT_LT(0, read(fd, rest.s, sizeof(rest.s) - 1));
	EXPECT_STREQ(whole.s + sizeof(buf), rest.s);
	EXPECT_EQ(0, dead(fd, NULL));
	EXPECT_EQ(0, dead(unread, NULL));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(0, dead(fd, NULL));
	EXPECT_EQ(0, dead(unread, NULL));
	EXPECT_TRUE(same(whole, text_of(self->audit)));
	close(unread);
	close(fd);
}

/* Weights */

/* A write of no bytes is none. One empty line takes the weight back. */
static const struct bad bad_weights[] = {
	{ "", 0 },
	{ "-1", -EINVAL },
	{ "256", -EINVAL },
	{ "99999999999", -EINVAL },
	{ "99999999999999999999999", -EINVAL },
	{ "foo", -EINVAL },
	{ " ", -EINVAL },
	{ " 1", -EINVAL },
	{ "1 2", -EINVAL },
	{ "0x", -EINVAL },
	{ "1\n\n", -EINVAL },
	{ huge, -EINVAL },
};

TEST_F(input, weight_bad_input)
{
	static const char * const weights[] = { "3", "255", "0" };

	EXPECT_EQ(0, cdm_read_long(self->weight));
	for (int i = 0; i < ARRAY_SIZE(weights); i++) {
		ASSERT_EQ(0, cdm_write(self->weight, weights[i]));
		EXPECT_EQ(0, accepted(self->weight, bad_weights,
				      ARRAY_SIZE(bad_weights)));
		EXPECT_EQ(atol(weights[i]), cdm_read_long(self->weight));
	}
	/* Without a weight there is no such policy, whatever was tried. */
	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_WEIGHTED_INTERLEAVE,
					   1UL << self->dev));
	ASSERT_EQ(0, cdm_write(self->weight, "3"));
	EXPECT_EQ(0, cdm_write(self->weight, "\n"));
	EXPECT_EQ(0, cdm_read_long(self->weight));
	EXPECT_EQ(-ENOENT, cdm_write(WEIGHTS "/node1000", "1"));
}

TEST_F_TIMEOUT(input, weight_concurrent_writers, CDM_TIMEOUT)
{
	struct race weights = {
		self->weight, { "3", "5" }, { "256", -EINVAL },
	};

	EXPECT_EQ(0, race(self->child, &weights));
}

/* The file stays when the node goes, and so does the weight. */
TEST_F_TIMEOUT(input, weight_of_a_node_that_left, CDM_TIMEOUT)
{
	ASSERT_EQ(0, cdm_write(self->weight, "3"));
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(3, cdm_read_long(self->weight));
	EXPECT_EQ(0, accepted(self->weight, bad_weights,
			      ARRAY_SIZE(bad_weights)));
	EXPECT_EQ(-EINVAL, cdm_task_policy(MPOL_WEIGHTED_INTERLEAVE,
					   1UL << self->dev));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(3, cdm_read_long(self->weight));
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	/* No weight: 1, as for any other node, until it is a device again. */
	ASSERT_EQ(0, cdm_write(self->weight, "0"));
	EXPECT_EQ(1, cdm_read_long(self->weight));
	EXPECT_EQ(0, accepted(self->weight, bad_weights,
			      ARRAY_SIZE(bad_weights)));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(0, cdm_read_long(self->weight));
}

/* cpuset.mems */

static const struct bad bad_mems[] = {
	{ "", 0 },
	{ "-1", -EINVAL },
	{ "foo", -EINVAL },
	{ "0,foo", -EINVAL },
	{ "0;1", -EINVAL },
	{ "0-", -EINVAL },
	{ "1-0", -EINVAL },
	{ "0-1:1/0", -EINVAL },
	{ "13", -EINVAL },	/* no topology has that many nodes */
	{ "0,13", -EINVAL },
	{ "0-99999", -ERANGE },
	{ "1000", -ERANGE },
	{ "0,99999999999999999999", -EOVERFLOW },
	{ huge, -E2BIG },
};

static unsigned long mems_of(const char *file)
{
	char buf[256] = "";

	cdm_cgroup_read(GROUP, file, buf, sizeof(buf));
	return cdm_mask(cdm_nodes_parse(buf));
}

static unsigned long effective_mems(void)
{
	return mems_of("cpuset.mems.effective");
}

static int set_mems(unsigned long mask)
{
	char text[128] = "";

	for (int nid = 0, len = 0; nid < CDM_MAX_NODES; nid++)
		if (mask >> nid & 1)
			len += snprintf(text + len, sizeof(text) - len, "%s%d",
					len ? "," : "", nid);
	return cdm_write(MEMS, text);
}

TEST_F(input, mems_bad_input)
{
	unsigned long both = cdm_mask(cdm_rams()) | 1UL << self->dev;

	EXPECT_EQ(0, accepted(MEMS, bad_mems, ARRAY_SIZE(bad_mems)));
	EXPECT_EQ(0, mems_of("cpuset.mems"));
	EXPECT_EQ(cdm_all_mask(), effective_mems());

	ASSERT_EQ(0, set_mems(both));
	EXPECT_EQ(0, accepted(MEMS, bad_mems, ARRAY_SIZE(bad_mems)));
	EXPECT_EQ(both, mems_of("cpuset.mems"));
	EXPECT_EQ(both, effective_mems());

	EXPECT_EQ(-EINVAL, cdm_cgroup_write(GROUP, "cpuset.mems.effective",
					    "0"));
	EXPECT_EQ(both, effective_mems());
}

/* An empty line is valid: the group has what its parent has. */
TEST_F(input, mems_empty_line)
{
	ASSERT_EQ(0, set_mems(cdm_mask(cdm_rams())));
	EXPECT_EQ(cdm_mask(cdm_rams()), effective_mems());
	EXPECT_EQ(0, cdm_write(MEMS, "\n"));
	EXPECT_EQ(0, mems_of("cpuset.mems"));
	EXPECT_EQ(cdm_all_mask(), effective_mems());
}

TEST_F_TIMEOUT(input, mems_concurrent_writers, CDM_TIMEOUT)
{
	char rams[64] = "", both[128];
	struct race mems = { MEMS, { both, rams }, { "foo", -EINVAL } };

	for (int i = 0; i < cdm_rams().nr; i++)
		snprintf(rams + strlen(rams), sizeof(rams) - strlen(rams),
			 "%s%d", i ? "," : "", cdm_ram(i));
	snprintf(both, sizeof(both), "%s,%d", rams, self->dev);
	EXPECT_EQ(0, race(self->child, &mems));
	EXPECT_EQ(mems_of("cpuset.mems"), effective_mems());
}

/* How much of what nobody has named a device for is not in RAM? */
static long unnamed_on_device(void)
{
	char *addr = cdm_map(SIZE);
	long nr;

	cdm_touch(addr, SIZE);
	nr = PAGES - cdm_spread_in(cdm_spread(addr, SIZE), cdm_rams());
	munmap(addr, SIZE);
	return nr;
}

static long named_on_device(int dev)
{
	char *addr = cdm_map(SIZE);
	long ret = cdm_mbind(addr, SIZE, MPOL_BIND, 1UL << dev, 0);

	if (!ret) {
		cdm_touch(addr, SIZE);
		ret = cdm_pages_on(addr, SIZE, dev);
	}
	munmap(addr, SIZE);
	return ret;
}

/* A member of the group that, when told to, says what it can have. */
static int member_fn(struct cdm_child *me, void *arg)
{
	if (cdm_cgroup_enter(GROUP))
		return 1;
	cdm_say(me, 0);
	while (cdm_hear(me) != LONG_MIN) {
		cdm_say(me, unnamed_on_device());
		cdm_say(me, named_on_device(*(int *)arg));
	}
	return 0;
}

static bool join(struct cdm_child *child, int *dev)
{
	return !cdm_start(child, member_fn, dev) && !cdm_hear(child);
}

/* Runs in RAM, and gets @named pages or that error if it names the device. */
static bool runs(struct cdm_child *child, long named)
{
	long unnamed, got;

	cdm_say(child, 0);
	unnamed = cdm_hear(child);
	got = cdm_hear(child);
	if (!unnamed && got == named)
		return true;
	fprintf(stderr, "# unnamed %ld, named %ld\n", unnamed, got);
	return false;
}

/*
 * A device node that has left is a number like any other, and a mask of it
 * alone is not refused. The group borrows the RAM of its parent, then and when
 * the device is back; it keeps what it lists.
 */
TEST_F_TIMEOUT(input, mems_of_a_node_that_left, CDM_TIMEOUT)
{
	unsigned long dev = 1UL << self->dev, rams = cdm_mask(cdm_rams());

	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(0, accepted(MEMS, bad_mems, ARRAY_SIZE(bad_mems)));
	EXPECT_EQ(0, set_mems(dev));
	EXPECT_EQ(dev, mems_of("cpuset.mems"));
	EXPECT_EQ(rams, effective_mems());
	ASSERT_TRUE(join(&self->child[0], &self->dev));
	EXPECT_TRUE(runs(&self->child[0], -EINVAL));

	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(dev, mems_of("cpuset.mems"));
	EXPECT_EQ(rams | dev, effective_mems());
	EXPECT_TRUE(runs(&self->child[0], PAGES));
	/* One that joins now has the same. */
	ASSERT_TRUE(join(&self->child[1], &self->dev));
	EXPECT_TRUE(runs(&self->child[1], PAGES));
	/* To ask for it now is an error, which takes nothing away. */
	EXPECT_EQ(-EINVAL, set_mems(dev));
	EXPECT_EQ(dev, mems_of("cpuset.mems"));
	EXPECT_TRUE(runs(&self->child[0], PAGES));

	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(rams, effective_mems());
	EXPECT_TRUE(runs(&self->child[0], -EINVAL));
	ASSERT_EQ(0, cdm_register_all());
}

/* A mask with RAM is what it was when the node is back. */
TEST_F_TIMEOUT(input, mems_with_a_node_that_left, CDM_TIMEOUT)
{
	unsigned long dev = 1UL << self->dev, rams = cdm_mask(cdm_rams());

	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(0, set_mems(rams | dev));
	EXPECT_EQ(rams, effective_mems());
	ASSERT_TRUE(join(&self->child[0], &self->dev));
	EXPECT_TRUE(runs(&self->child[0], -EINVAL));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(rams | dev, mems_of("cpuset.mems"));
	EXPECT_EQ(rams | dev, effective_mems());
	EXPECT_TRUE(runs(&self->child[0], PAGES));
}

/* Huge pages of the node */

static const struct bad bad_pools[] = {
	{ "", 0 },
	{ "-1", -EINVAL },
	{ "abc", -EINVAL },
	{ " ", -EINVAL },
	{ "\n", -EINVAL },
	{ "1 2", -EINVAL },
	{ "0x10", -EINVAL },
	{ "4k", -EINVAL },
	{ "18446744073709551616", -ERANGE },
	{ huge, -EINVAL },
};

static long ram_hugepages(void)
{
	return cdm_nodes_meminfo(cdm_rams(), "HugePages_Total");
}

TEST_F(input, pool_bad_input)
{
	static const long sizes[] = { 0, 4 };

	for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(0, cdm_node_hugepages(self->dev, sizes[i]));
		EXPECT_EQ(0, accepted(self->pool, bad_pools,
				      ARRAY_SIZE(bad_pools)));
		EXPECT_EQ(sizes[i], cdm_node_hugepages_nr(self->dev));
		EXPECT_EQ(sizes[i] * 512, cdm_audit(self->dev, "hugetlb"));
		EXPECT_EQ(0, ram_hugepages());
	}
}

/* As many as there are, all of them on the node. */
TEST_F_TIMEOUT(input, pool_of_too_many, CDM_TIMEOUT)
{
	static const char * const sizes[] = {
		"99999999999", "18446744073709551615",
	};
	long total = cdm_audit(self->dev, "total");

	for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_EQ(0, cdm_write(self->pool, sizes[i]));
		EXPECT_LT(0, cdm_read_long(self->pool));
		EXPECT_GE(total / 512, cdm_read_long(self->pool));
		EXPECT_EQ(cdm_read_long(self->pool) * 512,
			  cdm_audit(self->dev, "hugetlb"));
		EXPECT_EQ(0, ram_hugepages());
		EXPECT_EQ(0, cdm_unfenced());
		EXPECT_EQ(0, cdm_write(self->pool, "0"));
		EXPECT_EQ(total, cdm_audit(self->dev, "free"));
	}
}

TEST_F_TIMEOUT(input, pool_concurrent_writers, CDM_TIMEOUT)
{
	static const struct bad bad = { "abc", -EINVAL };
	struct cdm_child *child = self->child;
	struct race pools = { self->pool, { "8", "2" }, bad };
	long nr;

	/* It grows and shrinks page by page: only the end is one of the two. */
	ASSERT_EQ(0, start_race(child, &pools));
	EXPECT_EQ(0, end_race(child));
	nr = cdm_read_long(self->pool);
	EXPECT_TRUE(nr == 8 || nr == 2);
	EXPECT_EQ(0, ram_hugepages());
	ASSERT_EQ(0, cdm_write(self->pool, "0"));
	EXPECT_EQ(0, cdm_audit_used());
}

/* The pool goes with the node: no page of it is left or turns up in RAM. */
TEST_F_TIMEOUT(input, pool_of_a_node_that_left, CDM_TIMEOUT)
{
	int fd = open(self->pool, O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, cdm_write(self->pool, "4"));
	ASSERT_EQ(0, cdm_unregister(self->dev, CDM_ACK_MS, NULL));
	EXPECT_EQ(-ENOENT, cdm_write(self->pool, "4"));
	EXPECT_EQ(0, dead(fd, "4"));
	EXPECT_EQ(0, cdm_meminfo("HugePages_Total"));
	ASSERT_EQ(0, cdm_register_all());
	EXPECT_EQ(0, dead(fd, "4"));
	EXPECT_EQ(0, cdm_read_long(self->pool));
	EXPECT_EQ(0, cdm_audit_used());
	close(fd);
}

/* Memory blocks */

/* The file "state" of some memory block of @nid. */
static bool block_state(int nid, char *path, size_t size)
{
	char dir[128];
	struct dirent *ent;
	bool found = false;
	DIR *nodes;
	int block;

	snprintf(dir, sizeof(dir), NODES "/node%d", nid);
	nodes = opendir(dir);
	while (nodes && !found && (ent = readdir(nodes))) {
		if (sscanf(ent->d_name, "memory%d", &block) != 1)
			continue;
		snprintf(path, size, "%s/memory%d/state", dir, block);
		found = true;
	}
	if (nodes)
		closedir(nodes);
	return found;
}

TEST_F(input, block_state_bad_input)
{
	static const struct bad bad[] = {
		{ "", 0 },
		{ "foo", -EINVAL },
		{ "offlin", -EINVAL },
		{ "1", -EINVAL },
		{ "online_kernel", -EINVAL },
		{ "online_movable", -EINVAL },
		{ huge, -EINVAL },
	};
	long total = cdm_audit(self->dev, "total");
	char path[256];

	ASSERT_TRUE(block_state(self->dev, path, sizeof(path)));
	EXPECT_EQ(0, accepted(path, bad, ARRAY_SIZE(bad)));
	EXPECT_EQ(total, cdm_audit(self->dev, "total"));
}

TEST_HARNESS_MAIN
