// SPDX-License-Identifier: GPL-2.0
/*
 * Wall-clock ratios within one boot: what it costs to fault pages in on a device
 * node, and to migrate them by the driver, against those who do the same
 * otherwise.
 *
 *   bench RAM RAM2 DEVICE HMM REAL
 *
 * RAM, RAM2, DEVICE and HMM are nodes; RAM2 stands for a device where a way moves
 * only RAM; what belongs to HMM is given to lib/test_hmm (-1: nothing). REAL is 1
 * where time means something by itself. Two ways A and B are measured in the order
 * A B B A, which cancels a drift; the first round is dropped. For each pair it
 * prints
 *
 *   wall A B KIND DIRECTION PAGES RATIO LOW HIGH US_A US_B
 *
 * with the median of the ratios of the rounds, the lowest and the highest, and the
 * median time for each page, 0 unless REAL. Before a number counts, the pages must
 * be where they should be and hold what they held.
 */
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>

#include "move.h"

#define ROUNDS		7

/* What is measured: a move, or with no way a fault at @from. */
struct subject {
	const char *name;
	const struct way *way;
	const struct place *from;
	const struct place *to;
};

static struct place ram, ram2, device, hmm;
static bool real_time;
static const char *const kind_names[] = { "4K", "64K", "2M" };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void verify(const struct subject *subject, const struct area *area)
{
	const struct place *at = subject->way ? subject->to : subject->from;
	unsigned long away;

	if (subject->way && subject->way->copy)
		return;
	away = area_check(area, at);
	if (away) {
		fprintf(stderr, "bench: %s: %lu pages are not there\n",
			subject->name, away);
		exit(1);
	}
}

/*
 * Pages whose copies are a round number of pages apart collide in the TLB of an
 * emulator, so no two rounds begin at the same one.
 */
static double once(const struct subject *subject, enum kind kind,
		   unsigned long nr)
{
	static unsigned long shift;
	struct area area = { .nr = nr, .kind = kind, .shift = shift };
	const struct way *way = subject->way;
	double start = now(), time;

	shift = (shift + 37) % 512;
	require(!area_fill(&area, way, &ram, subject->from), subject->name);
	if (way) {
		aim(&area, subject->to);
		start = now();
		require(!way->move(&area, subject->to), subject->name);
	}
	time = now() - start;
	verify(subject, &area);
	area_free(&area);
	return time;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *of)
{
	qsort(of, ROUNDS, sizeof(*of), ascending);
	return of[ROUNDS / 2];
}

static void compare(const struct subject *a, const struct subject *b,
		    enum kind kind, const char *direction, unsigned long nr)
{
	double time_a[ROUNDS], time_b[ROUNDS], ratio[ROUNDS];

	kind_set(kind);
	for (int i = -1; i < ROUNDS; i++) {
		int at = i < 0 ? 0 : i;		/* the first is dropped */

		time_a[at] = once(a, kind, nr);
		time_b[at] = once(b, kind, nr);
		time_b[at] += once(b, kind, nr);
		time_a[at] += once(a, kind, nr);
		ratio[at] = time_a[at] / time_b[at];
	}
	median(ratio);
	printf("wall %s %s %s %s %lu %.3f %.3f %.3f %.3f %.3f\n", a->name,
	       b->name, kind_names[kind], direction, nr, ratio[ROUNDS / 2],
	       ratio[0], ratio[ROUNDS - 1],
	       real_time ? median(time_a) / 2 / nr : 0,
	       real_time ? median(time_b) / 2 / nr : 0);
	fflush(stdout);
}

static struct subject mover(const char *name, bool back)
{
	struct subject subject = { .name = name, .way = way_find(name) };
	const struct place *away = subject.way->hmm ? &hmm :
				   subject.way->ram ? &ram2 : &device;

	subject.from = back ? away : &ram;
	subject.to = back ? &ram : away;
	return subject;
}

static void compare_moves(const char *a, const char *b, enum kind kind,
			  const unsigned long *sizes, bool there)
{
	for (; *sizes; sizes++) {
		for (int back = !there; back < 2; back++) {
			struct subject one = mover(a, back), two = mover(b, back);

			compare(&one, &two, kind, back ? "back" : "there",
				*sizes);
		}
	}
}

static void compare_faults(const unsigned long *sizes)
{
	static const struct subject on_ram = { "fault-RAM", .from = &ram },
				    on_device = { "fault-device", .from = &device };

	for (; *sizes; sizes++)
		compare(&on_ram, &on_device, KIND_4K, "fault", *sizes);
}

int main(int argc, char **argv)
{
	static const unsigned long sizes[] = { 1, 64, 512, 4096, 16384, 0 };
	static const unsigned long bulk[] = { 512, 4096, 0 };

	if (argc != 6)
		return 2;
	ram.nid = atoi(argv[1]);
	ram2.nid = atoi(argv[2]);
	device.nid = atoi(argv[3]);
	if (atoi(argv[4]) >= 0)
		hmm = hmm_setup(atoi(argv[4]));
	real_time = atoi(argv[5]);
	require(!way_find("driver")->open(), "the driver");
	require(!way_find("copy")->open(), "copy");

	compare_faults(sizes + 1);
	compare_moves("move_pages-ram", "driver", KIND_4K, sizes, true);
	compare_moves("mbind-ram", "driver", KIND_4K, bulk, true);
	compare_moves("move_pages", "driver", KIND_4K, bulk, true);
	compare_moves("move_pages-ram", "driver", KIND_2M, bulk, true);
	compare_moves("driver", "copy", KIND_4K, bulk, true);
	/* Last: what it leaves in the address space slows down the others. */
	if (!hmm.start)
		return 0;
	require(!way_find("migrate_vma")->open(), "test_hmm");
	/* There, the module reads back what it has moved. */
	compare_moves("move_pages-ram", "migrate_vma", KIND_4K, bulk, false);
	compare_moves("driver", "migrate_vma", KIND_4K, bulk, false);
	return 0;
}
