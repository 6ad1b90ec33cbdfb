// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the five steps on a hash table of the words of a text. Its
 * cells know each other by their addresses only; the device follows the same
 * pointers as the CPU.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tour.h"

#define CHAINS		4096
#define MAX_WORD	64

/* cell.value says how often the word occurs. */
struct word {
	struct cdm_test_cell cell;
	char text[];
};

/* The heads of the chains and the words are all in one piece of memory. */
struct words {
	__u64 head[CHAINS];
	char *free;
	char *end;
};

/* What one finds who visits all words. */
struct totals {
	__u64 words;
	__u64 occurrences;
	__u64 visits;
};

static struct word *word_at(__u64 addr)
{
	return (struct word *)(uintptr_t)addr;
}

static struct words *words_create(size_t size)
{
	struct words *words = allocate(size);

	memset(words->head, 0, sizeof(words->head));
	words->free = (char *)(words + 1);
	words->end = (char *)words + size;
	return words;
}

/* The pages that the structure has filled so far. */
static size_t words_size(const struct words *words)
{
	size_t used = words->free - (const char *)words;

	return (used + PAGE - 1) / PAGE * PAGE;
}

static struct word *words_new(struct words *words, const char *text, size_t len)
{
	struct word *word = (struct word *)words->free;
	size_t size = (sizeof(*word) + len + 8) / 8 * 8;

	if (words->free + size > words->end) {
		errno = ENOSPC;
		die("hash table");
	}
	words->free += size;
	word->cell.value = 0;
	word->cell.visits = 0;
	memcpy(word->text, text, len);
	word->text[len] = 0;
	return word;
}

static void words_count(struct words *words, unsigned int chain,
			const char *text, size_t len)
{
	__u64 *head = &words->head[chain];
	struct word *word;

	for (__u64 at = *head; at; at = word->cell.next) {
		word = word_at(at);
		if (!strncmp(word->text, text, len) && !word->text[len]) {
			word->cell.value++;
			return;
		}
	}
	word = words_new(words, text, len);
	word->cell.value = 1;
	word->cell.next = *head;
	*head = (uintptr_t)word;
}

/* Count the words of the text. Returns how many there are. */
static __u64 words_fill(struct words *words, const char *text, size_t size)
{
	unsigned int hash = 0;
	size_t len = 0;
	__u64 nr = 0;

	for (size_t i = 0; i < size; i++) {
		unsigned char c = text[i];

		if (len < MAX_WORD && (isalnum(c) || c == '_')) {
			hash = (hash ^ c) * 0x01000193;
			len++;
			continue;
		}
		if (len) {
			words_count(words, (hash ^ hash >> 15) % CHAINS,
				    text + i - len, len);
			nr++;
		}
		hash = 0;
		len = 0;
	}
	return nr;
}

/*
 * Let each chain end in the head of the next, so that who follows the pointers
 * from the first word visits all. Neighbours on this way are not neighbours in
 * memory. Returns the first word.
 */
static __u64 words_tie(struct words *words)
{
	__u64 first = 0;

	for (int i = CHAINS - 1; i >= 0; i--) {
		__u64 at = words->head[i];

		if (!at)
			continue;
		while (word_at(at)->cell.next)
			at = word_at(at)->cell.next;
		word_at(at)->cell.next = first;
		first = words->head[i];
	}
	return first;
}

static void cpu_walk(__u64 at, struct totals *totals)
{
	memset(totals, 0, sizeof(*totals));
	while (at) {
		struct word *word = word_at(at);

		totals->words++;
		totals->occurrences += word->cell.value;
		totals->visits += word->cell.visits;
		word->cell.visits = 0;
		at = word->cell.next;
	}
}

/* The device leaves a mark in each word: it increments cell.visits. */
static void device_walk(const struct words *words, __u64 first,
			struct totals *totals)
{
	struct cdm_test_compute job = {
		.addr = (uintptr_t)words,
		.size = words_size(words),
		.arg = first,
		.nid = device_nid(),
		.op = CDM_TEST_WALK,
	};

	device_compute(&job);
	totals->words = job.nr;
	totals->occurrences = job.result;
}

static void claim_again(const struct words *words, __u64 first,
			const struct totals *before)
{
	double start = now();
	struct totals again;
	struct place place;
	bool same;

	cpu_walk(first, &again);
	place = placement((uintptr_t)words, words_size(words));
	row("4 CPU: walk, clear the marks", now() - start, &place);
	same = again.words == before->words &&
	       again.occurrences == before->occurrences;
	claim(same && again.visits == before->words && !place.ram,
	      "words: CPU goes on where the data is",
	      "%llu marks seen, %ld pages stay", again.visits,
	      place.device);
}

static void give_back(struct words *words)
{
	uintptr_t addr = (uintptr_t)words;
	size_t size = words_size(words);
	double start = now();
	struct place place;

	free(words);
	place = placement(addr, size);
	row("5 release: free()", now() - start, &place);
	legend();
	claim(!device_tenants() && place.absent == (long)(size / PAGE),
	      "words: released", "%ld pages left on device",
	      device_tenants());
}

static struct words *words_of(const char *path, size_t size, __u64 *nr)
{
	struct words *words = words_create(2 * size);
	char *text = allocate(size);
	double start = now();
	struct place place;

	place = placement((uintptr_t)words, words_size(words));
	row("1 allocate: malloc(), empty table", now() - start, &place);

	start = now();
	read_data(path, text, size);
	*nr = words_fill(words, text, size);
	free(text);
	place = placement((uintptr_t)words, words_size(words));
	row("2 CPU: count the words of the text", now() - start, &place);
	return words;
}

void tour_words(const char *path, size_t size)
{
	struct place before, after;
	struct totals cpu, device;
	struct words *words;
	__u64 nr, first;
	double start;

	table("a hash table of words", true);
	words = words_of(path, size, &nr);
	first = words_tie(words);
	cpu_walk(first, &cpu);
	before = placement((uintptr_t)words, words_size(words));

	start = now();
	device_walk(words, first, &device);
	after = placement((uintptr_t)words, words_size(words));
	row("3 device: walk along the pointers", now() - start, &after);
	claim_moved("words: go to the device that computes", &before, &after,
		    words_size(words));
	claim(device.words == cpu.words && device.occurrences == nr,
	      "words: device finds what the CPU counted",
	      "%llu words, %llu occurrences", device.words, device.occurrences);

	claim_again(words, first, &cpu);
	give_back(words);
}
