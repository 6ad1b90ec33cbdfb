// SPDX-License-Identifier: GPL-2.0
/*
 * The guided tour: the five steps on a tree of the words of a text. Its nodes
 * know each other by their addresses only; CPU and device follow and set the
 * same pointers.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tour.h"

#define PRIME	0x100000001b3ULL

/* The root and a node for each word of the text are in one piece of memory. */
struct words {
	__u64 root;
	__u64 nr;
	struct cdm_accel_job_node node[];
};

/* What one finds who visits all nodes of the tree in order. */
struct totals {
	__u64 words;
	__u64 hash;
};

static struct cdm_accel_job_node *node_at(__u64 addr)
{
	return (struct cdm_accel_job_node *)(uintptr_t)addr;
}

/* The pages that the words have filled. */
static size_t words_size(const struct words *words)
{
	size_t used = sizeof(*words) + words->nr * sizeof(words->node[0]);

	return (used + PAGE - 1) / PAGE * PAGE;
}

static void words_new(struct words *words, __u64 key, size_t room)
{
	struct cdm_accel_job_node *node = &words->node[words->nr++];

	if ((char *)(node + 1) > (char *)words + room) {
		errno = ENOSPC;
		die("tree");
	}
	node->key = key;
	node->child[0] = 0;
	node->child[1] = 0;
}

/* A node for each word, outside the tree. Its key is a hash of the word. */
static void words_read(struct words *words, size_t room, const char *text,
		       size_t size)
{
	__u64 hash = 0;

	words->root = 0;
	words->nr = 0;
	for (size_t i = 0; i < size; i++) {
		unsigned char c = text[i];

		if (isalnum(c) || c == '_') {
			hash = (hash ^ c) * PRIME;
		} else if (hash) {
			words_new(words, hash * 0x9e3779b97f4a7c15ULL, room);
			hash = 0;
		}
	}
}

/* Returns 1, or 0 if the word was there. */
static int insert(__u64 *root, struct cdm_accel_job_node *new)
{
	__u64 *link = root;

	while (*link) {
		struct cdm_accel_job_node *at = node_at(*link);

		if (at->key == new->key)
			return 0;
		link = &at->child[new->key > at->key];
	}
	*link = (uintptr_t)new;
	return 1;
}

/* Returns how many of the words were new. */
static __u64 cpu_insert(struct words *words, __u64 from, __u64 to)
{
	__u64 nr = 0;

	for (__u64 i = from; i < to; i++)
		nr += insert(&words->root, &words->node[i]);
	return nr;
}

static __u64 device_insert(struct words *words, __u64 from, __u64 to)
{
	__u32 id;
	int err = cdm_accel_tree_insert(device_queue(), &words->root,
					&words->node[from], to - from, &id);

	return device_finish(err, &id);
}

/* Visit all nodes in order, and clear the pointers on the way back. */
static void take_apart(__u64 *link, struct totals *totals)
{
	struct cdm_accel_job_node *node = node_at(*link);

	if (!node)
		return;
	take_apart(&node->child[0], totals);
	totals->words++;
	totals->hash = (totals->hash ^ node->key) * PRIME;
	take_apart(&node->child[1], totals);
	*link = 0;
}

/*
 * What the CPU alone makes of the words. Returns how many of the second half
 * were new.
 */
static __u64 alone(const struct words *words, size_t room,
		   struct totals *totals)
{
	struct words *copy = allocate(room);
	__u64 nr;

	memcpy(copy, words, words_size(words));
	cpu_insert(copy, 0, copy->nr / 2);
	nr = cpu_insert(copy, copy->nr / 2, copy->nr);
	memset(totals, 0, sizeof(*totals));
	take_apart(&copy->root, totals);
	free(copy);
	return nr;
}

static void claim_again(struct words *words, const struct totals *cpu)
{
	struct totals both = {};
	double start = now();
	struct place place;

	take_apart(&words->root, &both);
	place = placement((uintptr_t)words, words_size(words));
	row("4 CPU: walk in order, take it apart", now() - start, &place);
	claim(both.words == cpu->words && both.hash == cpu->hash && !place.ram,
	      "words: CPU goes on where the data is",
	      "%llu words in order, %ld pages stay", both.words, place.device);
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
	claim(!device_tenants() && place.absent == (long)(size / PAGE),
	      "words: released", "%ld pages left on device",
	      device_tenants());
}

static struct words *words_of(const char *path, size_t size, size_t room)
{
	char *text = allocate(size);
	double start = now();
	struct words *words = allocate(room);
	struct place place;

	place = placement((uintptr_t)words, room);
	row("1 allocate: malloc()", now() - start, &place);
	read_data(path, text, size);
	words_read(words, room, text, size);
	free(text);
	return words;
}

void tour_words(const char *path, size_t size)
{
	size_t room = 6 * size;
	struct place before, after;
	struct totals cpu;
	struct words *words;
	__u64 nr, want, half;
	double start;

	table("a tree of words", true);
	words = words_of(path, size, room);
	half = words->nr / 2;
	want = alone(words, room, &cpu);

	start = now();
	cpu_insert(words, 0, half);
	before = placement((uintptr_t)words, words_size(words));
	row("2 CPU: insert half of the words", now() - start, &before);

	start = now();
	nr = device_insert(words, half, words->nr);
	after = placement((uintptr_t)words, words_size(words));
	row("3 device: insert the other half", now() - start, &after);
	claim_moved("words: go to the device that computes", &before, &after,
		    words_size(words));
	claim(nr == want, "words: device finds those that are new",
	      "%llu of %llu, CPU alone: %llu", nr, words->nr - half, want);

	claim_again(words, &cpu);
	give_back(words);
}
