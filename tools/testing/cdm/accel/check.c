// SPDX-License-Identifier: GPL-2.0
/*
 * The stray check: the device compares what it uses, and what it keeps to use, with the
 * page tables of the CPUs (x86-64).
 *
 * The kernel tells the device to forget a translation and waits for the answer before
 * it changes its own page table. So at any moment each translation of the device is
 * also one of the process's CPUs: the same page, and writable there if it is writable
 * here. The CPU may be in the middle of a change that tells nobody, as of the bit for an
 * access, where the entry is empty for some instructions. So only a difference that
 * stays is a stray. The caller holds unit->access, and with it the answer to any
 * invalidation, so nothing that is right can become wrong meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "accel.h"

#define PRESENT		0x01ull
#define WRITABLE	0x02ull
#define USER		0x04ull
#define LEAF		0x80ull
#define PROTNONE	0x100ull	/* if not present; the address is inverted then */
#define MAX_LEVELS	5
#define PATIENCE	3000000000ull	/* ns; a CPU of the VM may not run now */
#define MAX_REPORTS	20

static int strays = -1;
static int expected;			/* atomic */
static int nr_reports;			/* atomic */

void accel_check_to(const char *path)
{
	strays = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (strays < 0)
		accel_die("--strays: %s: %s", path, strerror(errno));
	accel.checks = true;
}

/* Strays are somebody's intention: they are counted only. */
void accel_expect_strays(bool is_expected)
{
	__atomic_store_n(&expected, is_expected, __ATOMIC_RELAXED);
}

/*
 * Hints of NUMA balancing make an entry of the CPUs inaccessible and tell no device: the
 * page stays where it is, and the process's. So those are as good as others here; what
 * mprotect() does in the same way the device has been told of.
 */
static __u64 without_hint(__u64 pte)
{
	if (pte & PRESENT || !(pte & PROTNONE))
		return pte;
	return (pte ^ CDM_ACCEL_PTE_PA) | PRESENT | WRITABLE | USER;
}

/* The entry of the CPUs for a page as one of a last level, or 0 if there is none. */
static __u64 walk_cpu(__u64 root, __u64 va)
{
	__u64 table = root & CDM_ACCEL_PTE_PA, rights = PRESENT | WRITABLE | USER;

	for (int level = root % ACCEL_PAGE - 1; level >= 0; level--) {
		int shift = 12 + 9 * level;
		__u64 *entry = accel_pa(table + (va >> shift) % 512 * 8, 8);
		__u64 pte = entry ? without_hint(accel_get(entry)) : 0, offset;

		rights &= pte;
		if (!(rights & PRESENT) || !(rights & USER))
			return 0;
		table = pte & CDM_ACCEL_PTE_PA;
		if (level && (level > 2 || !(pte & LEAF)))
			continue;
		offset = va & ((1ull << shift) - 1) & ~(ACCEL_PAGE - 1);
		return (table & ~((1ull << shift) - 1)) | offset | rights;
	}
	return 0;
}

static bool is_same(const struct accel_tlb *e, __u64 pte)
{
	return pte && (pte & CDM_ACCEL_PTE_PA) == e->pa && (!e->write || pte & WRITABLE);
}

static void report(const char *line)
{
	ssize_t size = strlen(line);

	accel_add(&accel.bar->regs.nr_strays, 1);
	if (strays < 0 || __atomic_load_n(&expected, __ATOMIC_RELAXED) ||
	    accel_add(&nr_reports, 1) >= MAX_REPORTS)
		return;
	fprintf(stderr, "cdm-accel: %s", line);
	if (write(strays, line, size) != size)
		accel_die("--strays: %s", strerror(errno));
}

static void report_entry(const struct accel_tlb *e, __u64 pte, const char *what)
{
	char line[256];

	snprintf(line, sizeof(line),
		 "stray: asid %u va %#llx pa %#llx%s is %s, the CPUs have %#llx\n",
		 e->asid, e->vpn * ACCEL_PAGE, e->pa, e->write ? " for writing" : "", what, pte);
	report(line);
}

/* An injected one */
void accel_stray(void)
{
	report("stray: none, somebody asked for a report\n");
}

/*
 * Returns whether the CPUs of the process have that translation, too. @what says what
 * the device does with it.
 */
bool accel_check(const struct accel_tlb *e, const char *what)
{
	__u64 root = accel.checks ? accel_get(&accel.bar->pgds[e->asid]) : 0;
	__u64 pte, start = 0;

	if (root % ACCEL_PAGE < 4 || root % ACCEL_PAGE > MAX_LEVELS)
		return true;
	accel_add(&accel.bar->regs.nr_checks, 1);
	while (!is_same(e, pte = walk_cpu(root, e->vpn * ACCEL_PAGE))) {
		if (!start)
			start = accel_now();
		/* Those that are expected, the test waits for. */
		if (accel_now() - start > (__atomic_load_n(&expected, __ATOMIC_RELAXED) ?
					   PATIENCE / 50 : PATIENCE)) {
			report_entry(e, pte, what);
			return false;
		}
		usleep(20);
	}
	return true;
}
