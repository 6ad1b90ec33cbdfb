// SPDX-License-Identifier: GPL-2.0
/*
 * Migrations to a device and back, between marks, for count.c to count the
 * kernel's instructions:
 *
 *   move RAM RAM2 DEVICE HMM WAY,KIND,SHARE,VARIANT,PAGES[,PAGES...]...
 *
 * RAM, RAM2, DEVICE and HMM are nodes; RAM2 stands for a device where a way moves
 * only RAM (-1: there is none); what belongs to HMM is given to lib/test_hmm (-1:
 * nothing). WAY is one of move_ways.c, KIND 4K, 64K or 2M, SHARE private, fork,
 * shmem or file, VARIANT one of move_variant.c, or nodesN: only the devices up to
 * node N are there. For each number of pages, there and back, it prints
 *
 *   op WAY KIND SHARE VARIANT DIRECTION PAGES MARKS LEFT FLUSHES BEFORE AFTER
 *
 * LEFT pages did not move, there were FLUSHES remote flushes of TLBs (-1: this
 * kernel does not count them), both in all MARKS together, and the memory
 * consists of BEFORE folios and then of AFTER. It ends if the pages are not where
 * they should be, do not hold what they held, if any are left isolated or if the
 * RSS has changed. What cannot be measured is said:
 *
 *   skip WAY KIND SHARE VARIANT DIRECTION PAGES WHY
 *
 * Each WAY,... has a process of its own: what it leaves in the address space is
 * gone with it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cdm_test_uapi.h"
#include "move.h"

#define ROUNDS		5
#define BULK		4096UL		/* from here on rounds are dear */

/*
 * Between operations, or the first to free memory pays for what the one before has
 * left on the lists of the CPU. The guest's clock jumps over idle time.
 */
#define SETTLE_S	30

#define ALL_KINDS	{ "4K", "64K", "2M" }
#define ALL_SHARES	{ "private", "fork", "shmem", "file" }

struct test {
	const struct way *way;
	const struct variant *variant;
	const char *kind_name;
	const char *share_name;
	const char *variant_name;
	enum kind kind;
	enum share share;
};

struct sums {
	long left;
	long flushes;
	unsigned long before;
	unsigned long after;
};

static const unsigned long folio_pages[] = { 1, 16, 512 };

static struct place ram, ram2, device, hmm;
static int max_device = 64;

static int find(const char *name, const char *const *names, int nr)
{
	for (int i = 0; i < nr; i++)
		if (!strcmp(names[i], name))
			return i;
	errno = EINVAL;
	fail(name);
	return -1;
}

static void print_head(const char *what, const struct test *test,
		       const struct place *to, unsigned long nr)
{
	printf("%s %s %s %s %s %s %lu ", what, test->way->name, test->kind_name,
	       test->share_name, test->variant_name,
	       to == &ram ? "back" : "there", nr);
}

static void skip(const struct test *test, const struct place *to,
		 unsigned long nr, const char *why)
{
	print_head("skip", test, to, nr);
	printf("%s\n", why);
	fflush(stdout);
}

/*
 * The gate behind each move: all is as it was, and each page is in one place or
 * the other. Returns how many are not where they should be.
 */
static unsigned long gate(const struct test *test, const struct area *area,
			  const struct place *from, const struct place *to)
{
	unsigned long away;

	if (test->way->copy)
		return 0;
	away = area_check(area, to);
	if (away && away + area_check(area, from) != area->nr) {
		fprintf(stderr, "move: pages are in neither place\n");
		exit(1);
	}
	return away;
}

static long move_marked(const struct test *test, const struct area *area,
			const struct place *to, bool marked)
{
	long left;

	if (test->variant->begin)
		test->variant->begin(area, to);
	if (marked)
		mark_begin();
	left = test->way->move(area, to);
	if (marked)
		mark_end();
	if (test->variant->end)
		test->variant->end();
	return left;
}

/* What CPUs have counted each for itself: a batch of theirs, or nothing. */
static long rss_slack(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus > 1 ? 64 * cpus : 0;
}

static long move_area(const struct test *test, const struct area *area,
		      const struct place *from, const struct place *to,
		      struct sums *sums)
{
	long flushes = vm_counter("nr_tlb_remote_flush"), rss = rss_pages(), ret;
	unsigned long away;

	ret = move_marked(test, area, to, !!sums);
	if (ret < 0 && !test->variant->partial)
		return ret;
	flushes = flushes < 0 ? -1 : vm_counter("nr_tlb_remote_flush") - flushes;
	rss -= rss_pages();
	if (labs(rss) > rss_slack() && !test->way->copy) {
		fprintf(stderr, "move: the RSS has changed by %ld\n", -rss);
		exit(1);
	}
	away = gate(test, area, from, to);
	if (away && !test->variant->partial)
		return -EBUSY;
	if (sums) {
		sums->flushes += flushes;
		sums->left += away;
	}
	return 0;
}

/* Returns a negative errno if it is refused. */
static long move_once(const struct test *test, unsigned long nr,
		      const struct place *from, const struct place *to,
		      struct sums *sums)
{
	struct area area = {
		.nr = nr, .kind = test->kind, .share = test->share,
	};
	long ret;

	kind_set(test->kind);
	ret = area_fill(&area, test->way, &ram, from);
	if (!ret && area_check(&area, from))
		ret = -EBUSY;
	if (!ret && area_folios(&area) != nr / folio_pages[test->kind])
		ret = -ENOMEM;
	if (!ret) {
		aim(&area, to);
		if (sums)
			sums->before = area_folios(&area);
		ret = move_area(test, &area, from, to, sums);
		if (sums)
			sums->after = area_folios(&area);
	}
	area_free(&area);
	return ret;
}

static const char *why_failed(long ret)
{
	switch (ret) {
	case -EBUSY:
		return "does not move them";
	case -ENOMEM:
		return "no folios of that size there";
	default:
		return strerror(-ret);
	}
}

static void measure(const struct test *test, unsigned long nr,
		    const struct place *from, const struct place *to)
{
	int rounds = nr < BULK ? ROUNDS : nr == BULK ? 3 : 1;
	struct sums sums = { };
	static bool refused[2];
	long ret = 0;

	if (refused[to == &ram]) {
		skip(test, to, nr, "refused already");
		return;
	}
	sleep(SETTLE_S);
	/* Once for the caches, and to see whether it does. */
	if (nr <= BULK || test->way->copy)
		ret = move_once(test, nr, from, to, NULL);
	refused[to == &ram] = ret;
	for (int i = 0; i < rounds && !ret; i++) {
		ret = move_once(test, nr, from, to, &sums);
		require(!ret, "a move that worked before");
	}
	if (ret) {
		skip(test, to, nr, why_failed(ret));
		return;
	}
	check_isolated();
	print_head("op", test, to, nr);
	printf("%d %ld %ld %lu %lu\n", rounds, sums.left, sums.flushes,
	       sums.before, sums.after);
	fflush(stdout);
}

static const char *why_not(const struct test *test, const struct place *to)
{
	if (test->variant->there && (to == &ram || test->way->ram))
		return "only for a device";
	if (test->variant->node && test->way->hmm)
		return "its device is no node";
	if (test->variant->node && test->way->copy)
		return "moves nothing";
	return NULL;
}

static void measure_unless(const struct test *test, unsigned long nr,
			   const struct place *from, const struct place *to)
{
	const char *why = why_not(test, to);

	if (why)
		skip(test, to, nr, why);
	else
		measure(test, nr, from, to);
}

static struct test parse(char **rest)
{
	static const char *const kinds[] = ALL_KINDS, *const shares[] = ALL_SHARES;
	struct test test = {
		.way = way_find(strsep(rest, ",")),
		.kind_name = strsep(rest, ","),
		.share_name = strsep(rest, ","),
		.variant_name = strsep(rest, ","),
	};

	require(!!test.variant_name, "WAY,KIND,SHARE,VARIANT,PAGES");
	test.kind = find(test.kind_name, kinds, ARRAY_SIZE(kinds));
	test.share = find(test.share_name, shares, ARRAY_SIZE(shares));
	test.variant = variant_find(test.variant_name);
	return test;
}

static void run(const struct test *test, char *rest)
{
	const struct place *there = test->way->hmm ? &hmm :
				    test->way->ram ? &ram2 : &device;
	int err = test->way->open();
	char *pages;

	/* That of the RAM: some ways take what is near. */
	run_on(0);
	if (!err && (there->nid < 0 || (test->way->hmm && !hmm.start)))
		err = -ENODEV;
	while ((pages = strsep(&rest, ","))) {
		unsigned long nr = strtoul(pages, NULL, 0);

		require(nr && nr <= MAX_PAGES, "number of pages");
		if (err) {
			skip(test, there, nr, strerror(-err));
			continue;
		}
		measure_unless(test, nr, &ram, there);
		measure_unless(test, nr, there, &ram);
	}
	exit(0);
}

/* Takes away the devices behind node @nid. */
static void keep_devices(int nid)
{
	int fd = open(CDM_TEST_DEVICE, O_RDWR);
	struct cdm_test_info info;

	require(fd >= 0 && !ioctl(fd, CDM_TEST_IOC_INFO, &info),
		"CDM_TEST_IOC_INFO");
	for (unsigned int i = 0; i < info.nr_ranges; i++) {
		struct cdm_test_unregister ask = {
			.nid = info.ranges[i].nid, .deadline_ms = 1000,
		};

		if (ask.nid > nid)
			require(!ioctl(fd, CDM_TEST_IOC_UNREGISTER, &ask),
				"CDM_TEST_IOC_UNREGISTER");
	}
	close(fd);
	max_device = nid;
}

static void run_alone(char *rest)
{
	struct test test = parse(&rest);
	int status, nid;
	pid_t child;

	if (sscanf(test.variant_name, "nodes%d", &nid) == 1 && nid < max_device)
		keep_devices(nid);
	fflush(stdout);
	child = fork();
	require(child >= 0, "fork");
	if (!child)
		run(&test, rest);
	require(waitpid(child, &status, 0) == child, "waitpid");
	if (status) {
		fprintf(stderr, "move: %s %s %s %s: failed\n", test.way->name,
			test.kind_name, test.share_name, test.variant_name);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc < 6) {
		fprintf(stderr,
			"usage: move RAM RAM2 DEVICE HMM WAY,KIND,SHARE,VARIANT,PAGES...\n");
		return 1;
	}
	ram.nid = atoi(argv[1]);
	ram2.nid = atoi(argv[2]);
	device.nid = atoi(argv[3]);
	if (atoi(argv[4]) >= 0)
		hmm = hmm_setup(atoi(argv[4]));
	for (int i = 5; i < argc; i++)
		run_alone(argv[i]);
	mark_done();
	return 0;
}
