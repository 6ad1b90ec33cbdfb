// SPDX-License-Identifier: GPL-2.0
/*
 * The server of QEMU's ivshmem-doorbell device (docs/specs/ivshmem-spec), for
 * exactly one client. A message is a number of 64 bits, perhaps with a file
 * descriptor. The peer of the client is this process itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "accel.h"

#define PROTOCOL	0
#define CLIENT_ID	0
#define OUR_ID		1
#define SHARED_MEMORY	(-1)

static void remove_socket(const char *path)
{
	struct stat st;

	if (!lstat(path, &st) && S_ISSOCK(st.st_mode))
		unlink(path);
}

/* The name appears when connections are possible, so that one may wait for it. */
int accel_listen(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s~", path) >=
	    (int)sizeof(addr.sun_path))
		accel_die("--socket: '%s' is too long", path);
	remove_socket(addr.sun_path);
	if (sock < 0 || bind(sock, (struct sockaddr *)&addr, sizeof(addr)) || listen(sock, 1))
		accel_die("--socket: %s: %s", addr.sun_path, strerror(errno));
	remove_socket(path);
	if (rename(addr.sun_path, path))
		accel_die("--socket: %s: %s", path, strerror(errno));
	return sock;
}

static void attach_fd(struct msghdr *msg, int fd)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
}

/* If the client is gone the main loop will see it. */
static void send_message(__s64 value, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { };
	struct iovec iov = { .iov_base = &value, .iov_len = sizeof(value) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		attach_fd(&msg, fd);
	}
	while (sendmsg(accel.client, &msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static void make_events(int *fds)
{
	for (int i = 0; i < ACCEL_VECTORS; i++) {
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fds[i] < 0)
			accel_die("eventfd: %s", strerror(errno));
	}
}

/* The magic comes last. */
void accel_fill_regs(void)
{
	struct cdm_accel_regs *regs = &accel.bar->regs;

	regs->version = CDM_ACCEL_VERSION;
	regs->mem_start = accel.mem_start;
	regs->mem_size = accel.mem_size;
	regs->nr_units = accel.nr_units;
	regs->bell_peer = OUR_ID;
	regs->checks = accel.checks;
	accel_put(&regs->magic, CDM_ACCEL_MAGIC);
}

static void greet(void)
{
	send_message(PROTOCOL, -1);
	send_message(CLIENT_ID, -1);
	send_message(SHARED_MEMORY, accel.bar_fd);
	for (int i = 0; i < ACCEL_VECTORS; i++)
		send_message(OUR_ID, accel.bells[i]);
	for (int i = 0; i < ACCEL_VECTORS; i++)
		send_message(CLIENT_ID, accel.irqs[i]);
}

/* Events and registers are there before anybody can use them. */
void accel_prepare(void)
{
	make_events(accel.bells);
	make_events(accel.irqs);
	accel_fill_regs();
}

void accel_accept(int sock)
{
	do {
		accel.client = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
	} while (accel.client < 0 && errno == EINTR);
	if (accel.client < 0)
		accel_die("accept: %s", strerror(errno));
	close(sock);
	greet();
}
