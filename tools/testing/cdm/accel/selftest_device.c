// SPDX-License-Identifier: GPL-2.0
/*
 * What QEMU and the driver do for the tests: the process, its registers and
 * rings, memory and page tables.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "selftest.h"

#define PATIENCE	60	/* seconds; a device that needs more is stuck */
#define MAX_IDS		131072
#define TABLES_END	(RAM_PA + (4ull << 20))

struct device dev;
__u32 seed;
char socket_path[64];

static char program[4096];
static int ram_fd, dev_fd, strays_fd;
static __u8 *ram, *dev_mem;
static bool failed;
static __u32 last_id;
static bool seen[MAX_IDS];
static struct cdm_accel_done dones[MAX_IDS];
static __u32 unknown, order[MAX_IDS], nr_dones;
static __u64 next_table, next_ram, next_dev, next_va[NR_SPACES];
static __u64 roots[NR_SPACES], cpu_roots[NR_SPACES], window[NR_SPACES][WINDOW_PAGES];

noreturn void bail(const char *what)
{
	printf("Bail out! %s\n", what);
	if (dev.pid)
		kill(dev.pid, SIGKILL);
	exit(1);
}

void expect_at(bool ok, const char *cond, const char *file, int line)
{
	if (ok)
		return;
	printf("# %s:%d: not so: %s\n", file, line, cond);
	failed = true;
}

bool take_failure(void)
{
	bool was = failed;

	failed = false;
	return was;
}

__u32 rnd(void)
{
	static __u64 state;

	if (!state)
		state = seed * 2ull + 1;
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return state >> 33;
}

__u64 rnd64(void)
{
	return (__u64)rnd() << 42 ^ (__u64)rnd() << 21 ^ rnd();
}

static void clean_up(void)
{
	unlink(socket_path);
}

static __u8 *make_file(const char *name, int *fd, __u64 size)
{
	void *p;

	*fd = memfd_create(name, 0);
	if (*fd < 0 || ftruncate(*fd, size))
		bail("memory file");
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (p == MAP_FAILED)
		bail("mapping of memory");
	return p;
}

/* The device inherits the files and opens them by number. */
void make_memory(void)
{
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 32);
	const char *tmp = getenv("TMPDIR");

	if (n < 0)
		bail("where am I?");
	program[n] = 0;
	snprintf(strrchr(program, '/') + 1, 32, "cdm-accel");
	n = snprintf(socket_path, sizeof(socket_path), "%s/cdm-accel-%d",
		     tmp && strlen(tmp) < 32 ? tmp : "/dev/shm", getpid());
	if (n >= (ssize_t)sizeof(socket_path))
		bail("name of the socket");
	atexit(clean_up);
	ram = make_file("ram", &ram_fd, 2 * RAM_HALF);
	dev_mem = make_file("device", &dev_fd, DEV_SIZE);
	strays_fd = memfd_create("strays", 0);
	if (strays_fd < 0)
		bail("file of the strays");
}

/* Lines about strays since the last call. */
int nr_reported(void)
{
	char text[16384];
	ssize_t size = pread(strays_fd, text, sizeof(text), 0);
	int nr = 0;

	for (ssize_t i = 0; i < size; i++)
		nr += text[i] == '\n';
	if (ftruncate(strays_fd, 0))
		bail("file of the strays");
	return nr;
}

int run_device(char **args)
{
	args[0] = program;
	execv(program, args);
	_exit(127);
}

static void exec_device(int units, const char *path)
{
	char map[3][128], mem[64], nr[16], strays[64];
	char *args[18] = { NULL, "--socket", (char *)path, "--mem", mem, "--map", map[0], "--map",
			 map[1], "--map", map[2], "--units", nr, "--slice-us", "500",
			 "--strays", strays, NULL };

	snprintf(mem, sizeof(mem), "%#llx:%#llx", DEV_PA, DEV_SIZE);
	snprintf(nr, sizeof(nr), "%d", units);
	snprintf(strays, sizeof(strays), "/proc/self/fd/%d", strays_fd);
	snprintf(map[0], sizeof(map[0]), "%#llx:%#llx:/proc/self/fd/%d:0", RAM_PA, RAM_HALF,
		 ram_fd);
	snprintf(map[1], sizeof(map[1]), "%#llx:%#llx:/proc/self/fd/%d:%#llx", RAM_HIGH_PA,
		 RAM_HALF, ram_fd, RAM_HALF);
	snprintf(map[2], sizeof(map[2]), "%#llx:%#llx:/proc/self/fd/%d:0", DEV_PA, DEV_SIZE,
		 dev_fd);
	run_device(args);
}

pid_t spawn_device(int units, const char *path)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		bail("fork");
	if (!pid)
		exec_device(units, path);
	return pid;
}

int connect_device(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	__u64 start = 0;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	while (connect(sock, (struct sockaddr *)&addr, sizeof(addr)))
		must_wait(&start, "the device to listen");
	return sock;
}

/* A message of the server; @fd is -1 if there is none with it. */
static __s64 receive(int *fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	__s64 value;
	struct iovec iov = { .iov_base = &value, .iov_len = sizeof(value) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.buf, .msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cmsg;

	if (recvmsg(dev.sock, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof(value))
		bail("the server does not speak");
	*fd = -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (cmsg)
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	return value;
}

static void receive_events(__s64 id, int *fds)
{
	for (int i = 0; i < 4; i++) {
		expect(receive(&fds[i]) == id);
		expect(fds[i] >= 0);
	}
}

static void handshake(void)
{
	int fd;
	__s64 id;

	expect(receive(&fd) == 0 && fd < 0);
	id = receive(&fd);
	expect(id >= 0 && id <= 65535 && fd < 0);
	expect(receive(&fd) == -1 && fd >= 0);
	dev.bar = mmap(NULL, CDM_ACCEL_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (dev.bar == MAP_FAILED)
		bail("mapping of the BAR");
	close(fd);
	expect(get(&dev.bar->regs.magic) == CDM_ACCEL_MAGIC);
	receive_events(dev.bar->regs.bell_peer, dev.bells);
	receive_events(id, dev.irqs);
}

void start_device(int units)
{
	dev.units = units;
	dev.pid = spawn_device(units, socket_path);
	dev.sock = connect_device(socket_path);
	handshake();
	start_over();
}

/* Status as of wait(). */
int stop_device(void)
{
	int status;

	close(dev.sock);
	waitpid(dev.pid, &status, 0);
	munmap(dev.bar, CDM_ACCEL_BAR_SIZE);
	for (int i = 0; i < 4; i++) {
		close(dev.bells[i]);
		close(dev.irqs[i]);
	}
	memset(&dev, 0, sizeof(dev));
	return status;
}

static __u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000 + 1;
}

/* One round of waiting; @start is 0 at first. */
void must_wait(__u64 *start, const char *what)
{
	if (!*start)
		*start = now_ms();
	if (now_ms() - *start > PATIENCE * 1000) {
		printf("# waited in vain for %s\n", what);
		bail(what);
	}
	usleep(50);
}

void raw_bell(int bell)
{
	__u64 one = 1;

	if (write(dev.bells[bell], &one, sizeof(one)) != sizeof(one))
		bail("doorbell");
}

/* Count interrupts; wait for the first. */
bool poll_irqs(int ms)
{
	struct pollfd fds[4];
	__u64 n;

	for (int i = 0; i < 4; i++)
		fds[i] = (struct pollfd){ .fd = dev.irqs[i], .events = POLLIN };
	if (poll(fds, 4, ms) <= 0)
		return false;
	for (int i = 0; i < 4; i++) {
		if (fds[i].revents && read(dev.irqs[i], &n, sizeof(n)) == sizeof(n))
			dev.irq_count[i] += n;
	}
	return true;
}

static void clear_irqs(void)
{
	while (poll_irqs(0))
		;
	memset(dev.irq_count, 0, sizeof(dev.irq_count));
}

void reset_device(void)
{
	__u32 nr = dev.bar->regs.reset + 1;
	__u64 start = 0;

	put(&dev.bar->regs.reset, nr);
	raw_bell(CDM_ACCEL_BELL_CMD);
	while (get(&dev.bar->regs.reset_done) != nr)
		must_wait(&start, "the reset");
	clear_irqs();
	dev.done_tail = 0;
	dev.fault_tail = 0;
	dev.note_tail = 0;
	unknown = 0;
}

/* New page tables, no job, nothing in memory or TLBs. */
void start_over(void)
{
	reset_device();
	memset(ram, 0, 2 * RAM_HALF);
	memset(dev_mem, 0, DEV_SIZE);
	memset(window, 0, sizeof(window));
	next_table = RAM_PA;
	next_ram = RAM_HIGH_PA;
	next_dev = DEV_PA;
	for (int i = 0; i < NR_SPACES; i++) {
		next_va[i] = WINDOW;
		roots[i] = next_table;
		cpu_roots[i] = next_table + PAGE;
		next_table += 2 * PAGE;
		put(&dev.bar->pgds[i], 0);
		put(&dev.bar->roots[i], roots[i]);
	}
}

/* Rings */

static __u32 new_id(void)
{
	last_id = (last_id + 1) % MAX_IDS;
	seen[last_id] = false;
	return last_id;
}

static void push_command(const struct cdm_accel_cmd *cmd)
{
	struct cdm_accel_ring *ring = &dev.bar->cmd_ring;
	__u32 head = ring->head;
	__u64 start = 0;

	while (head - get(&ring->tail) == CDM_ACCEL_CMD_ENTRIES) {
		poll_done();
		must_wait(&start, "room for commands");
	}
	dev.bar->cmd[head % CDM_ACCEL_CMD_ENTRIES] = *cmd;
	put(&ring->head, head + 1);
	raw_bell(CDM_ACCEL_BELL_CMD);
}

__u32 send_cmd(const struct cdm_accel_cmd *cmd)
{
	struct cdm_accel_cmd copy = *cmd;

	copy.id = new_id();
	push_command(&copy);
	return copy.id;
}

__u32 send_op(__u32 op, __u32 asid, __u64 arg0, __u64 arg1)
{
	struct cdm_accel_cmd cmd = { .op = op, .asid = asid, .args = { arg0, arg1 } };

	return send_cmd(&cmd);
}

__u32 send_job_of(__u32 asid, __u32 kernel, const __u64 *args)
{
	struct cdm_accel_cmd cmd = { .op = CDM_ACCEL_OP_JOB, .asid = asid, .kernel = kernel };

	memcpy(cmd.args, args, 4 * sizeof(args[0]));
	return send_cmd(&cmd);
}

__u32 send_job(__u32 kernel, const __u64 *args)
{
	return send_job_of(0, kernel, args);
}

void cancel(__u32 id)
{
	struct cdm_accel_cmd cmd = { .op = CDM_ACCEL_OP_CANCEL, .id = id };

	push_command(&cmd);
}

void resume(__u64 seq, int error)
{
	send_op(CDM_ACCEL_OP_RESUME, 0, seq, error);
}

static bool take(struct cdm_accel_ring *ring, __u32 *tail, const void *entries, __u32 nr,
		 void *entry, size_t size)
{
	if (get(&ring->head) == *tail)
		return false;
	memcpy(entry, (const char *)entries + *tail % nr * size, size);
	put(&ring->tail, ++*tail);
	return true;
}

/* A number that grows from answer to answer */
__u32 order_of(__u32 id)
{
	return order[id];
}

/* Take all completions there are; false if there were none. */
bool poll_done(void)
{
	struct cdm_accel_done done;
	bool any = false;

	while (take(&dev.bar->done_ring, &dev.done_tail, dev.bar->done, CDM_ACCEL_DONE_ENTRIES,
		    &done, sizeof(done))) {
		any = true;
		if (done.id >= MAX_IDS || seen[done.id]) {
			unknown++;
			continue;
		}
		seen[done.id] = true;
		order[done.id] = nr_dones++;
		dones[done.id] = done;
	}
	return any;
}

/* Completions of nothing, or the second of a command. */
__u32 nr_unknown(void)
{
	return unknown;
}

bool is_done(__u32 id)
{
	poll_done();
	return seen[id];
}

struct cdm_accel_done wait_done(__u32 id)
{
	__u64 start = 0;

	while (!is_done(id)) {
		if (!poll_irqs(1))
			must_wait(&start, "a completion");
	}
	return dones[id];
}

struct cdm_accel_done run_job(__u32 kernel, const __u64 *args)
{
	return wait_done(send_job(kernel, args));
}

struct cdm_accel_done run_op(__u32 op, __u32 asid, __u64 arg0, __u64 arg1)
{
	return wait_done(send_op(op, asid, arg0, arg1));
}

bool take_fault(struct cdm_accel_fault *fault)
{
	return take(&dev.bar->fault_ring, &dev.fault_tail, dev.bar->fault,
		    CDM_ACCEL_FAULT_ENTRIES, fault, sizeof(*fault));
}

struct cdm_accel_fault wait_fault(void)
{
	struct cdm_accel_fault fault;
	__u64 start = 0;

	while (!take_fault(&fault)) {
		if (!poll_irqs(1))
			must_wait(&start, "a fault");
	}
	return fault;
}

bool take_note(struct cdm_accel_note *note)
{
	return take(&dev.bar->note_ring, &dev.note_tail, dev.bar->note, CDM_ACCEL_NOTE_ENTRIES,
		    note, sizeof(*note));
}

/* Only one thread at a time invalidates. Returns what the tail will be. */
__u32 post_inval(__u32 asid, __u64 start, __u64 end)
{
	struct cdm_accel_ring *ring = &dev.bar->inval_ring;
	__u32 head = ring->head;

	dev.bar->inval[head % CDM_ACCEL_INVAL_ENTRIES] = (struct cdm_accel_inval){
		.start = start, .end = end, .asid = asid,
	};
	put(&ring->head, head + 1);
	raw_bell(CDM_ACCEL_BELL_INVAL);
	return head + 1;
}

void invalidate(__u32 asid, __u64 start, __u64 end)
{
	__u32 head = post_inval(asid, start, end);
	__u64 since = 0;

	while ((__s32)(get(&dev.bar->inval_ring.tail) - head) < 0)
		must_wait(&since, "an invalidation");
}

/* Memory */

void *pa_ptr(__u64 pa)
{
	if (pa >= DEV_PA)
		return dev_mem + (pa - DEV_PA);
	if (pa >= RAM_HIGH_PA)
		return ram + RAM_HALF + (pa - RAM_HIGH_PA);
	return ram + (pa - RAM_PA);
}

/* By turns from below in RAM and from above in device memory. */
__u64 new_page(void)
{
	static unsigned int turn;
	__u64 pa;

	if (turn++ % 3) {
		pa = next_ram;
		next_ram += PAGE;
	} else {
		next_dev += PAGE;
		pa = DEV_PA + DEV_SIZE - (next_dev - DEV_PA);
	}
	if (next_ram > RAM_HIGH_PA + RAM_HALF || next_dev > DEV_PA + DEV_SIZE / 2)
		bail("the test needs more memory");
	return pa;
}

/* At the start of device memory, two at most. */
__u64 new_huge_page(void)
{
	static __u64 turn;

	return DEV_PA + turn++ % 2 * HUGE;
}

static __u64 *entry_of(__u64 table, __u64 va, int last)
{
	for (int shift = 39; ; shift -= 9) {
		__u64 *entry = (__u64 *)pa_ptr(table) + (va >> shift) % 512;

		if (shift == last)
			return entry;
		if (!*entry) {
			put(entry, next_table | RW | USER);
			next_table += PAGE;
			if (next_table > TABLES_END)
				bail("the test needs more page tables");
		}
		table = *entry & CDM_ACCEL_PTE_PA;
	}
}

void set_pte(__u32 asid, __u64 va, __u64 pte)
{
	put(entry_of(roots[asid], va, 12), pte);
}

/* In the page table of the CPUs; 0 for none, @last 21 for a huge page. */
void set_cpu_pte(__u32 asid, __u64 va, __u64 pte, int last)
{
	put(entry_of(cpu_roots[asid], va, last), pte);
}

/* Let the device check what it does against that page table. */
void show_cpu_table(__u32 asid)
{
	put(&dev.bar->pgds[asid], cpu_roots[asid] | 4);
}

void set_huge_pte(__u32 asid, __u64 va, __u64 pte)
{
	put(entry_of(roots[asid], va, 21), pte | CDM_ACCEL_PTE_LEAF);
	for (__u64 i = 0; i < 512; i++)
		window[asid][(va - WINDOW) / PAGE + i] = (pte & CDM_ACCEL_PTE_PA) + i * PAGE;
}

static __u64 *slot(__u32 asid, __u64 va)
{
	if (va < WINDOW || va >= WINDOW + WINDOW_PAGES * PAGE)
		bail("address of the test");
	return &window[asid][(va - WINDOW) / PAGE];
}

/* The pa that a page of the window has, mapped or not. */
__u64 backing(__u32 asid, __u64 va)
{
	return *slot(asid, va) + va % PAGE;
}

/* New memory at @offset in a page, mapped; an unmapped page follows. */
__u64 new_range_of(__u32 asid, __u64 size, __u64 offset)
{
	__u64 va = next_va[asid];

	for (; next_va[asid] < va + offset + size; next_va[asid] += PAGE)
		*slot(asid, next_va[asid]) = new_page();
	map_range(asid, va, next_va[asid] - va, RW);
	next_va[asid] += PAGE;
	return va + offset;
}

__u64 new_range(__u64 size, __u64 offset)
{
	return new_range_of(0, size, offset);
}

void map_range(__u32 asid, __u64 va, __u64 size, __u64 flags)
{
	for (__u64 page = va - va % PAGE; page < va + size; page += PAGE)
		set_pte(asid, page, *slot(asid, page) | flags);
}

void unmap(__u32 asid, __u64 va, __u64 size)
{
	for (__u64 page = va - va % PAGE; page < va + size; page += PAGE)
		set_pte(asid, page, 0);
	invalidate(asid, va - va % PAGE, va + size);
}

void *host(__u64 va)
{
	return pa_ptr(backing(0, va));
}

static __u64 part(__u64 va, __u64 size)
{
	__u64 room = PAGE - va % PAGE;

	return size < room ? size : room;
}

void write_va(__u64 va, const void *src, __u64 size)
{
	const char *from = src;

	for (__u64 n; size; size -= n) {
		n = part(va, size);
		memcpy(host(va), from, n);
		from += n;
		va += n;
	}
}

void read_va(__u64 va, void *dst, __u64 size)
{
	char *to = dst;

	for (__u64 n; size; size -= n) {
		n = part(va, size);
		memcpy(to, host(va), n);
		to += n;
		va += n;
	}
}

void write64(__u64 va, __u64 value)
{
	put((__u64 *)host(va), value);
}

__u64 read64(__u64 va)
{
	return get((__u64 *)host(va));
}
