// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: tables with bars, claims, and errors.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tour.h"

#define BAR	28

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

void table(const char *column, bool timed)
{
	printf("\n  %-36s%8s%8s%8s   %s\n", column, "RAM", "device",
	       timed ? "seconds" : "", "where the pages are");
}

/* One character for every 1/BAR of the pages, and for a smaller rest, too. */
static void bar(const struct place *place)
{
	long total = place->ram + place->device + place->absent;
	long ram, device;

	if (!total)
		total = 1;
	ram = (place->ram * BAR + total - 1) / total;
	device = (place->device * BAR + total - 1) / total;
	if (ram + device > BAR && ram > device)
		ram = BAR - device;
	else if (ram + device > BAR)
		device = BAR - ram;
	printf("  |");
	for (long i = 0; i < BAR; i++)
		putchar(i < ram ? '=' : i < ram + device ? '#' : '.');
	printf("|\n");
}

void row(const char *step, double seconds, const struct place *place)
{
	printf("  %-36s%8ld%8ld", step, place->ram, place->device);
	if (seconds < 0)
		printf("%8s", "");
	else
		printf("%8.2f", seconds);
	bar(place);
	fflush(stdout);
}

void legend(void)
{
	printf("  each column counts pages of 4 KiB;   = in RAM   # on the device   . nowhere\n");
}

void say(const char *fmt, ...)
{
	va_list args;

	printf("  ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* One line for demo.sh, which shows it now and in the summary. */
void claim(bool ok, const char *text, const char *fmt, ...)
{
	const char *path = getenv("TOUR_CLAIMS");
	const char *part = getenv("TOUR_PART");
	va_list args;
	FILE *file;

	file = fopen(path ?: "/dev/stdout", "a");
	if (!file)
		die(path);
	fprintf(file, "%s\t%s\t%s\t", part ?: "-", ok ? "ok" : "FAILED", text);
	va_start(args, fmt);
	vfprintf(file, fmt, args);
	va_end(args);
	fputc('\n', file);
	fclose(file);
}

void die(const char *what)
{
	fflush(stdout);
	fprintf(stderr, "tour: %s: %s\n", what, strerror(errno));
	exit(1);
}
