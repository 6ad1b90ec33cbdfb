// SPDX-License-Identifier: GPL-2.0
/*
 * The reference accelerator: a process that shares the memory of a VM.
 *
 *   cdm-accel --socket PATH --mem PA:SIZE --map PA:SIZE:FILE:OFFSET...
 *             [--units N] [--slice-us N] [--strays FILE]
 *
 * It waits at PATH for QEMU (-device ivshmem-doorbell) and ends with it.
 * Every --map is a piece of the VM's physical memory; one of them holds --mem,
 * the memory of the device. With --strays each access is checked, and what is wrong
 * is added to FILE.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "accel.h"

struct accel accel = { .nr_units = 2, .slice = 2000 * 1000 };

static_assert(sizeof(struct cdm_accel_bar) <= CDM_ACCEL_BAR_SIZE, "BAR is too small");
static_assert(sizeof(struct cdm_accel_cmd) == 128, "size of a command");

void accel_die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "cdm-accel: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	_exit(1);
}

void *accel_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		accel_die("out of memory");
	return p;
}

void accel_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
	int err = pthread_create(thread, NULL, fn, arg);

	if (err)
		accel_die("thread: %s", strerror(err));
	pthread_detach(*thread);
}

__u64 accel_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* A number up to @end; returns what follows. */
static const char *parse_number(const char *s, __u64 *value, char end, const char *option)
{
	char *rest;

	errno = 0;
	*value = strtoull(s, &rest, 0);
	if (errno || rest == s || *s == '-' || *rest != end)
		accel_die("%s: '%s' is not a number", option, s);
	return *rest ? rest + 1 : rest;
}

static void parse_range(const char *s, __u64 *pa, __u64 *size, char end, const char *option,
			const char **rest)
{
	*rest = parse_number(parse_number(s, pa, ':', option), size, end, option);
	if (*pa % ACCEL_PAGE || *size % ACCEL_PAGE || !*size || *pa + *size < *pa)
		accel_die("%s: '%s' is not a range of pages", option, s);
}

static void parse_map(char *s)
{
	__u64 pa, size, offset;
	const char *file;
	char *colon;

	parse_range(s, &pa, &size, ':', "--map", &file);
	colon = strrchr(file, ':');
	if (!colon)
		accel_die("--map: '%s' has no offset", s);
	parse_number(colon + 1, &offset, 0, "--map");
	if (offset % ACCEL_PAGE)
		accel_die("--map: offset %s is not that of a page", colon + 1);
	*colon = 0;
	accel_add_map(pa, size, file, offset);
}

static __u64 parse_count(const char *s, __u64 max, const char *option)
{
	__u64 value;

	parse_number(s, &value, 0, option);
	if (!value || value > max)
		accel_die("%s: not from 1 to %llu", option, max);
	return value;
}

static const char *parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "mem", required_argument, NULL, 'm' },
		{ "map", required_argument, NULL, 'p' },
		{ "units", required_argument, NULL, 'u' },
		{ "slice-us", required_argument, NULL, 't' },
		{ "strays", required_argument, NULL, 'c' },
		{ }
	};
	const char *path = NULL, *rest;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			path = optarg;
		else if (c == 'm')
			parse_range(optarg, &accel.mem_start, &accel.mem_size, 0, "--mem", &rest);
		else if (c == 'p')
			parse_map(optarg);
		else if (c == 'u')
			accel.nr_units = parse_count(optarg, ACCEL_MAX_UNITS, "--units");
		else if (c == 't')
			accel.slice = parse_count(optarg, 10000000, "--slice-us") * 1000;
		else if (c == 'c')
			accel_check_to(optarg);
		else
			exit(1);
	}
	if (optind < argc)
		accel_die("unexpected argument '%s'", argv[optind]);
	if (!path || !accel.mem_size)
		accel_die("--socket and --mem are needed");
	return path;
}

/* Whoever started the VM and this process is gone: so are we. */
static void die_with_parent(void)
{
	pid_t parent = getppid();

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		exit(1);
}

static void make_bar(void)
{
	accel.bar_fd = memfd_create("cdm-accel", MFD_CLOEXEC);
	if (accel.bar_fd < 0 || ftruncate(accel.bar_fd, CDM_ACCEL_BAR_SIZE))
		accel_die("memory of the BAR: %s", strerror(errno));
	accel.bar = mmap(NULL, CDM_ACCEL_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			 accel.bar_fd, 0);
	if (accel.bar == MAP_FAILED)
		accel_die("mapping of the BAR: %s", strerror(errno));
}

static void start_device(void)
{
	make_bar();
	accel_prepare();
	accel_reset_rings();
	accel_init_kernels();
	accel_start_rings();
	accel_start_invals();
	accel_start_copies();
	accel_start_adversary();
	accel_start_units();
}

static void clear_bell(int bell)
{
	__u64 value;

	while (read(bell, &value, sizeof(value)) < 0 && errno == EINTR)
		;
}

/* The client has nothing to say: any event is its end. */
static void serve(void)
{
	struct pollfd fds[] = {
		{ .fd = accel.client, .events = POLLIN },
		{ .fd = accel.bells[CDM_ACCEL_BELL_CMD], .events = POLLIN },
	};
	bool more = false;

	for (;;) {
		if (poll(fds, 2, more ? 1 : -1) < 0 && errno != EINTR)
			accel_die("poll: %s", strerror(errno));
		if (fds[0].revents)
			return;
		if (fds[1].revents & POLLIN)
			clear_bell(fds[1].fd);
		more = accel_commands();
	}
}

int main(int argc, char **argv)
{
	const char *path;
	int sock;

	die_with_parent();
	signal(SIGPIPE, SIG_IGN);
	path = parse_options(argc, argv);
	accel_own_memory();
	start_device();
	sock = accel_listen(path);
	accel_accept(sock);
	serve();
	exit(0);
}
