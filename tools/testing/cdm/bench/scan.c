// SPDX-License-Identifier: GPL-2.0
/*
 * What placement by use costs a program that does nothing but use memory on a
 * device, at the worst: its owner keeps it there, so CPUs are asked again and again
 * what they use. The same loop between marks, for count.c to count instructions of
 * the kernel and of the program: with balancing across the fence, and off.
 *
 * usage: scan NODE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cdm_test_uapi.h"
#include "marks.h"

#define SIZE		(64UL << 20)
#define MARKS		10
#define PASSES		3000	/* about 200 M instructions: two periods */
#define MODE		"/proc/sys/kernel/numa_balancing"

static char *area;

static void set_mode(const char *mode)
{
	int fd = open(MODE, O_WRONLY);

	require(fd >= 0 && write(fd, mode, strlen(mode)) > 0, MODE);
	close(fd);
}

static long nr_on(int node)
{
	static void *pages[SIZE / PAGE];
	static int status[SIZE / PAGE];
	long nr = 0;

	for (unsigned long i = 0; i < SIZE / PAGE; i++)
		pages[i] = area + i * PAGE;
	require(!syscall(SYS_move_pages, 0, SIZE / PAGE, pages, NULL, status, 0),
		"move_pages");
	for (unsigned long i = 0; i < SIZE / PAGE; i++)
		nr += status[i] == node;
	return nr;
}

/* A line of each page, again and again. */
static void use(void)
{
	for (int pass = 0; pass < PASSES; pass++) {
		for (unsigned long i = 0; i < SIZE; i += PAGE)
			look(area + i);
	}
}

static void measure(const char *name, const char *mode)
{
	set_mode(mode);
	sleep(2);
	use();
	for (int i = 0; i < MARKS; i++) {
		mark_begin();
		use();
		mark_end();
	}
	printf("%s %d\n", name, MARKS);
}

int main(int argc, char **argv)
{
	int node = argc > 1 ? atoi(argv[1]) : 1, fd = open("/dev/cdm_test", O_RDWR);
	struct cdm_test_report report = { .size = SIZE, .nid = node };
	struct cdm_test_veto veto = { .size = SIZE };

	require(fd >= 0, "/dev/cdm_test");
	area = mmap(NULL, SIZE + HPAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	require(area != MAP_FAILED, "mmap");
	area = (char *)(((unsigned long)area + HPAGE - 1) & ~(HPAGE - 1));
	madvise(area, SIZE, MADV_NOHUGEPAGE);
	memset(area, 1, SIZE);
	report.addr = (unsigned long)area;
	report.nr = SIZE / 64 * 3;
	veto.addr = report.addr;

	set_mode("4");
	while (nr_on(node) < (long)(SIZE / PAGE)) {
		require(!ioctl(fd, CDM_TEST_IOC_REPORT, &report), "report");
		usleep(100000);
	}
	require(!ioctl(fd, CDM_TEST_IOC_VETO, &veto), "veto");
	measure("balancing", "4");
	require(nr_on(node) == SIZE / PAGE, "it has not stayed");
	measure("off", "0");
	mark_done();
	return 0;
}
