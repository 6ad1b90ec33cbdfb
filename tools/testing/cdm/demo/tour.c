// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the parts that need a program of their own. demo.sh is the
 * guide that calls them.
 *
 *   tour buffer|words|file|home FILE MIB
 *   tour pressure
 *   tour table TITLE
 *   tour row STEP RAM DEVICE
 *   tour legend
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tour.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static const struct stop {
	const char *name;
	void (*fn)(const char *path, size_t size);
} stops[] = {
	{ "buffer", tour_buffer },
	{ "words", tour_words },
	{ "file", tour_file },
	{ "home", tour_home },
};

static int on_data(const char *name, const char *path, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(stops); i++) {
		if (strcmp(stops[i].name, name))
			continue;
		stops[i].fn(path, size);
		return 0;
	}
	return 2;
}

static int show_row(char **argv)
{
	struct place place = {
		.ram = atol(argv[1]),
		.device = atol(argv[2]),
	};

	row(argv[0], -1, &place);
	return 0;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";

	if (argc == 4)
		return on_data(name, argv[2], atol(argv[3]) * MIB);
	if (argc == 5 && !strcmp(name, "row"))
		return show_row(argv + 2);
	if (argc == 3 && !strcmp(name, "table"))
		table(argv[2], false);
	else if (!strcmp(name, "legend"))
		legend();
	else if (!strcmp(name, "pressure"))
		tour_pressure();
	else
		return 2;
	return 0;
}
