// SPDX-License-Identifier: GPL-2.0
/*
 * The init of the guest.
 *
 * Mounts a root file system read-only, that of the host or an image, runs one
 * script in it and reports to the host over a virtio-serial port. The script is in
 * the initramfs, as /script. The report is a stream of frames, each a header line
 * "<type> <length>\n" and <length> bytes:
 *
 *   O, E  standard output and standard error of the script
 *   S     one line about a kernel splat
 *   X     exit status of the script, last of all
 *
 * Environment (from the kernel command line):
 *   CDM_IMAGE  the block device of the root file system; if unset, it is the host's
 *   CDM_TOP    the repository, which must be visible with the host's
 *   CDM_BATCH  if unset, the script talks to the console hvc0 instead
 *   CDM_LIMIT  seconds of the guest's own clock after which the script has failed
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define PORT		"/dev/vport0p1"
#define SCRIPT		"/run/script"
#define MAX_SPLAT_LINES	60
#define TIMEOUT_STATUS	124

/* Any of these in a line of the kernel's own log is a splat. */
static const char * const splats[] = {
	"WARNING: ", "BUG: ", "kernel BUG at", "UBSAN: ", "KASAN", "cut here",
	"possible circular", "possible recursive", "suspicious RCU",
	"inconsistent lock state", "invalid wait context",
	"blocked for more than", "rcu: INFO", "soft lockup", "hard LOCKUP",
	"general protection", "Oops", "Bad page", "bad page",
	"kmemleak: Cannot insert", "new suspected memory leaks",
};

/* Taints that mean trouble: D(ie), W(arn), B(ad page), L(ockup). */
static const unsigned long bad_taints = 1 << 7 | 1 << 9 | 1 << 5 | 1 << 14;

static int port, kmsg;
static int splat_lines;

static void write_all(int fd, const char *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		buf += n;
		len -= n;
	}
}

static void send_frame(char type, const char *buf, size_t len)
{
	char head[32];

	write_all(port, head, snprintf(head, sizeof(head), "%c %zu\n", type, len));
	write_all(port, buf, len);
}

static void splat(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (splat_lines++ >= MAX_SPLAT_LINES)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	send_frame('S', line, strlen(line));
}

static void die(const char *what)
{
	fprintf(stderr, "init: %s: %s\n", what, strerror(errno));
	reboot(RB_AUTOBOOT);
	_exit(1);
}

static void make_dirs(const char *path)
{
	char dir[4096];

	for (size_t i = 1; path[i - 1] && i < sizeof(dir); i++) {
		if (path[i] && path[i] != '/')
			continue;
		memcpy(dir, path, i);
		dir[i] = 0;
		mkdir(dir, 0755);
	}
}

static void mount_at(const char *type, const char *dir, const char *options)
{
	make_dirs(dir);
	if (mount(type, dir, type, 0, options))
		die(dir);
}

static int open_retry(const char *path, int flags)
{
	int fd = -1;

	for (int i = 0; i < 6000 && fd < 0; i++) {
		fd = open(path, flags);
		if (fd < 0)
			usleep(10000);
	}
	if (fd < 0)
		die(path);
	return fd;
}

/* At /host, for the repository may have to be found there once more. */
static void mount_host(void)
{
	mkdir("/host", 0755);
	if (mount("host", "/host", "9p", MS_RDONLY,
		  "trans=virtio,version=9p2000.L,msize=512000,cache=loose"))
		die("host file system");
	if (mount("/host", "/root", NULL, MS_BIND, NULL))
		die("/root");
}

static void mount_image(const char *image)
{
	close(open_retry(image, O_RDONLY));
	if (mount(image, "/root", "ext2", MS_RDONLY, NULL))
		die(image);
}

/* A repository of the host below /tmp would be hidden now. */
static void show_repository(const char *top)
{
	char from[4096], to[4096];

	snprintf(from, sizeof(from), "/host%s", top);
	snprintf(to, sizeof(to), "/root%s", top);
	if (!access(to, F_OK))
		return;
	make_dirs(to);
	if (mount(from, to, NULL, MS_BIND, NULL))
		die(to);
}

/* The root, with what must be writable or ours put over it. */
static void mount_all(const char *image, const char *top)
{
	mkdir("/dev", 0755);
	mkdir("/root", 0755);
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL))
		die("/dev");
	if (image)
		mount_image(image);
	else
		mount_host();

	mount_at("proc", "/root/proc", "");
	mount_at("sysfs", "/root/sys", "");
	mount_at("devtmpfs", "/root/dev", "");
	mount_at("devpts", "/root/dev/pts", "ptmxmode=0666");
	mount_at("tmpfs", "/root/dev/shm", "mode=1777");
	mount_at("hugetlbfs", "/root/dev/hugepages", "");
	mount_at("tmpfs", "/root/tmp", "mode=1777");
	mount_at("tmpfs", "/root/run", "mode=0755");
	mount_at("tmpfs", "/root/var/tmp", "mode=1777");
	mount_at("debugfs", "/root/sys/kernel/debug", "");
	mount_at("tracefs", "/root/sys/kernel/tracing", "");
	mount_at("cgroup2", "/root/sys/fs/cgroup", "");
	if (!image)
		show_repository(top);
	symlink("/proc/self/fd", "/root/dev/fd");
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		die("chroot");
}

/* The initramfs is out of sight for the shell. */
static void save_script(int from)
{
	int to = open(SCRIPT, O_WRONLY | O_CREAT, 0644);
	char buf[4096];
	ssize_t nr;

	if (from < 0 || to < 0)
		die(SCRIPT);
	while ((nr = read(from, buf, sizeof(buf))) > 0)
		write_all(to, buf, nr);
	close(from);
	close(to);
}

static pid_t run_script(int out, int err)
{
	pid_t pid = fork();
	int in;

	if (pid)
		return pid;
	setsid();
	if (!getenv("CDM_BATCH")) {
		in = open_retry("/dev/hvc0", O_RDWR);
		out = in;
		err = in;
		ioctl(in, TIOCSCTTY, 0);
	} else {
		in = open("/dev/null", O_RDONLY);
	}
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	for (int fd = 3; fd < 20; fd++)
		close(fd);
	execl("/bin/bash", "bash", SCRIPT, (char *)NULL);
	perror("exec /bin/bash");
	_exit(127);
}

/* Pass on what a pipe holds. Returns false at its end or when it is empty. */
static int relay(struct pollfd *p, char type)
{
	static char buf[65536];
	ssize_t n = read(p->fd, buf, sizeof(buf));

	if (n > 0)
		send_frame(type, buf, n);
	else if (n == 0)
		p->fd = -1;
	return n > 0;
}

/* Check one record of the kernel's log. Returns false when there is none. */
static int read_kmsg(void)
{
	static bool in_splat;
	char rec[8192], *text;
	ssize_t n = read(kmsg, rec, sizeof(rec) - 1);

	if (n < 0)
		return errno == EPIPE;	/* records were overwritten: go on */
	rec[n] = 0;
	text = strchr(rec, ';');
	if (!text || strtoul(rec, NULL, 10) >= 8)	/* not from the kernel */
		return 1;
	*strchrnul(++text, '\n') = 0;
	for (size_t i = 0; !in_splat && i < ARRAY_SIZE(splats); i++)
		in_splat = strstr(text, splats[i]);
	if (in_splat)	/* this line and those that follow it */
		splat("%s", text);
	return 1;
}

static int wait_for(pid_t child)
{
	int status;
	pid_t pid;

	for (;;) {
		pid = waitpid(-1, &status, WNOHANG);
		if (pid <= 0)
			return -1;
		if (pid == child)
			return WIFEXITED(status) ? WEXITSTATUS(status) :
						   128 + WTERMSIG(status);
	}
}

/* Seconds after which the script has failed, by the guest's clock; 0: none */
static time_t limit(void)
{
	const char *text = getenv("CDM_LIMIT");

	return text ? atol(text) : 0;
}

static time_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* The console's log shows where everybody is and what memory there is. */
static int give_up(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY);

	write_all(fd, "l", 1);
	write_all(fd, "w", 1);
	write_all(fd, "m", 1);
	close(fd);
	kill(-1, SIGKILL);
	return TIMEOUT_STATUS;
}

/*
 * Pass on output and watch the kernel's log until the script has ended or had its
 * time.
 */
static int supervise(pid_t child, int out, int err)
{
	struct pollfd p[] = {
		{ .fd = out, .events = POLLIN },
		{ .fd = err, .events = POLLIN },
		{ .fd = kmsg, .events = POLLIN },
	};
	time_t end = limit() ? now() + limit() : 0;
	int status;

	do {
		poll(p, ARRAY_SIZE(p), 20);
		if (p[0].revents)
			relay(&p[0], 'O');
		if (p[1].revents)
			relay(&p[1], 'E');
		if (p[2].revents)
			read_kmsg();
		status = wait_for(child);
		if (status < 0 && end && now() >= end)
			status = give_up();
	} while (status < 0);
	while (relay(&p[0], 'O'))
		;
	while (relay(&p[1], 'E'))
		;
	return status;
}

static size_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
	return n > 0 ? n : 0;
}

static void check_taint(void)
{
	char buf[64];
	unsigned long taint;

	read_file("/proc/sys/kernel/tainted", buf, sizeof(buf));
	taint = strtoul(buf, NULL, 10);
	if (taint & bad_taints)
		splat("the kernel is tainted: %#lx", taint & bad_taints);
}

static void check_lockdep(void)
{
	static char buf[65536];
	char *p;

	read_file("/proc/lockdep_stats", buf, sizeof(buf));
	p = strstr(buf, "debug_locks:");
	if (p && strtol(p + strlen("debug_locks:"), NULL, 10) == 0)
		splat("lockdep has turned itself off");
}

/*
 * An object counts as leaked if two scans, seconds apart, find no reference.
 * Without memory for its own notes kmemleak turns itself off.
 */
static void check_kmemleak(void)
{
	static const char gave_up[] = "cdm: kmemleak gave up\n";
	static char buf[65536];
	char *line, *save;
	int fd = open("/sys/kernel/debug/kmemleak", O_WRONLY);

	if (fd < 0)
		return;
	read_file("/proc/cmdline", buf, sizeof(buf));
	if (strstr(buf, "kmemleak=off"))
		return;
	sleep(6);
	if (write(fd, "scan", 4) < 0 && errno == EPERM)
		send_frame('E', gave_up, strlen(gave_up));
	else
		write_all(fd, "scan", 4);
	close(fd);
	read_file("/sys/kernel/debug/kmemleak", buf, sizeof(buf));
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		splat("kmemleak: %s", line);
}

int main(void)
{
	const char *image = getenv("CDM_IMAGE"), *top = getenv("CDM_TOP");
	int script = open("/script", O_RDONLY);
	int out[2], err[2], status;
	char text[16];

	if (!image && !top)
		die("neither CDM_IMAGE nor CDM_TOP is set");
	mount_all(image, top);
	save_script(script);
	sethostname("cdm", 3);
	port = open_retry(PORT, O_RDWR);
	kmsg = open_retry("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (pipe(out) || pipe(err))
		die("pipe");
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);

	status = supervise(run_script(out[1], err[1]), out[0], err[0]);

	check_kmemleak();
	while (read_kmsg())
		;
	check_taint();
	check_lockdep();
	send_frame('X', text, snprintf(text, sizeof(text), "%d", status));
	/* The host ends the machine when it has read everything. */
	sleep(5);
	reboot(RB_AUTOBOOT);
	return 0;
}
