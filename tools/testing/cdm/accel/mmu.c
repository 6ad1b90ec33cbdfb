// SPDX-License-Identifier: GPL-2.0
/*
 * Translation: page walks, a TLB in each unit, and invalidations.
 *
 * A TLB entry is one of 4 KiB, also in a huge page. It is there only while the
 * unit's @access is held or until an invalidation takes it, which is why nobody
 * may keep a pointer that accel_access() returned beyond that lock.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "accel.h"

/*
 * Held while invalidations are carried out and acknowledged. A reset and the end
 * of the link take it to stop them.
 */
static pthread_mutex_t inval_lock = PTHREAD_MUTEX_INITIALIZER;
static struct accel_in inval_in;	/* under inval_lock */
static bool held, deaf;			/* under inval_lock: injected faults */
static bool keeps;			/* under all units' @access: as well */

/*
 * The entry for @va, 0 if there is none. *@error: tables or memory lie where the
 * VM has none, or the tables are not those of the header.
 */
static __u64 walk(__u32 asid, __u64 va, int *error)
{
	__u64 table = accel_get(&accel.bar->roots[asid]) & CDM_ACCEL_PTE_PA;

	for (int shift = 39; table; shift -= 9) {
		__u64 *entry = accel_pa(table + (va >> shift) % 512 * 8, 8);
		__u64 pte = entry ? accel_get(entry) : 0;

		if (!entry || (shift > 21 && pte & CDM_ACCEL_PTE_LEAF))
			*error = -EFAULT;
		if (*error || !(pte & CDM_ACCEL_PTE_VALID))
			return 0;
		if (shift == 12)
			return pte;
		if (pte & CDM_ACCEL_PTE_LEAF)
			return (pte & ~(ACCEL_HUGE - ACCEL_PAGE)) |
				(va & (ACCEL_HUGE - ACCEL_PAGE));
		table = pte & CDM_ACCEL_PTE_PA;
	}
	return 0;
}

static void fault(struct accel_job *job, __u64 va, bool write)
{
	job->fault_va = va;
	job->fault_write = write;
	job->step = ACCEL_FAULT;
}

static void fail(struct accel_job *job, __u64 va, int status)
{
	job->addr = va;
	accel_end(job, status);
}

static bool fill_tlb(struct accel_tlb *e, struct accel_job *job, __u64 va, bool write)
{
	int error = 0;
	__u64 pte = walk(job->cmd.asid, va, &error);

	accel_add(&accel.bar->regs.nr_tlb_misses, 1);
	*e = (struct accel_tlb){ .vpn = va / ACCEL_PAGE, .asid = job->cmd.asid };
	if (!error && (!pte || (write && !(pte & CDM_ACCEL_PTE_WRITE)))) {
		fault(job, va, write);
		return false;
	}
	e->pa = pte & CDM_ACCEL_PTE_PA;
	e->page = error ? NULL : accel_pa(e->pa, ACCEL_PAGE);
	if (!e->page) {
		fail(job, va, -EFAULT);
		return false;
	}
	e->write = pte & CDM_ACCEL_PTE_WRITE;
	e->poison = accel_poisoned(e->pa);
	e->valid = true;
	return true;
}

static struct accel_kept **bucket(struct accel_unit *unit, __u32 asid, __u64 vpn)
{
	return &unit->kept[(vpn ^ asid * 67) % ACCEL_KEPT];
}

static void keep(struct accel_unit *unit, const struct accel_tlb *e)
{
	struct accel_kept **head = bucket(unit, e->asid, e->vpn);
	struct accel_kept *kept = accel_alloc(sizeof(*kept));

	kept->tlb = *e;
	kept->next = *head;
	*head = kept;
}

static bool is_for(const struct accel_tlb *e, __u32 asid, __u64 vpn)
{
	return e->valid && e->vpn == vpn && e->asid == asid;
}

/* Move a translation that was kept back to the TLB, if there is one. */
static void take_kept(struct accel_unit *unit, __u32 asid, __u64 vpn, struct accel_tlb *e)
{
	for (struct accel_kept **p = bucket(unit, asid, vpn); *p; p = &(*p)->next) {
		struct accel_kept *kept = *p;

		if (!is_for(&kept->tlb, asid, vpn))
			continue;
		*e = kept->tlb;
		*p = kept->next;
		free(kept);
		return;
	}
}

/* The entry for a page, which may be invalid. */
static struct accel_tlb *look_up(struct accel_unit *unit, __u32 asid, __u64 vpn)
{
	struct accel_tlb *e = &unit->tlb[(vpn ^ asid * 67) % ACCEL_TLB];

	if (is_for(e, asid, vpn))
		return e;
	if (e->valid && keeps)
		keep(unit, e);
	e->valid = false;
	take_kept(unit, asid, vpn, e);
	return e;
}

/*
 * An entry without WRITE does not say that there is none by now: walk again. No access is
 * made by a translation that is none of the process's any more.
 */
static void *translate(struct accel_unit *unit, struct accel_job *job, __u64 va, bool write)
{
	struct accel_tlb *e = look_up(unit, job->cmd.asid, va / ACCEL_PAGE);

	if (!e->valid || (write && !e->write)) {
		if (!fill_tlb(e, job, va, write))
			return NULL;
	}
	if (!accel_check(e, "used")) {
		e->valid = false;
		fail(job, va, -EFAULT);
		return NULL;
	}
	if (e->poison) {
		accel_page_error(e->pa);
		fail(job, va, -EHWPOISON);
		return NULL;
	}
	return e->page + va % ACCEL_PAGE;
}

/*
 * Make all @spans usable, or none: false, and @job has stopped. The caller holds
 * unit->access and has checked that no span leaves its page or the address space.
 */
bool accel_access(struct accel_unit *unit, struct accel_job *job,
		  struct accel_span *spans, int nr)
{
	for (int i = 0; i < nr; i++) {
		if (!spans[i].size)
			continue;
		spans[i].p = translate(unit, job, spans[i].va, spans[i].write);
		if (!spans[i].p)
			return false;
	}
	for (int i = 0; i < nr; i++)
		accel_count(job->cmd.asid, spans[i].va, spans[i].size);
	return true;
}

static void lock_unit(struct accel_unit *unit)
{
	accel_add(&unit->wanted, 1);
	pthread_mutex_lock(&unit->access);
	accel_add(&unit->wanted, -1);
}

static bool matches(const struct accel_tlb *e, const struct cdm_accel_inval *inval)
{
	__u64 va = e->vpn * ACCEL_PAGE;

	if (inval->asid == ~0u)
		return true;
	return e->asid == inval->asid && va < inval->end && inval->start < va + ACCEL_PAGE;
}

/*
 * Drop an entry that is to be forgotten. All of the address space have to be the
 * process's own: what goes as well, since the process keeps it until we have answered.
 */
static void drop_entry(struct accel_tlb *e, const struct cdm_accel_inval *invals, __u32 nr)
{
	bool gone = false, ours = false;

	for (__u32 i = 0; i < nr && e->valid; i++) {
		gone |= matches(e, &invals[i]);
		ours |= e->asid == invals[i].asid;
	}
	if (ours && !accel_check(e, gone ? "to be forgotten" : "kept"))
		gone = true;
	if (gone)
		e->valid = false;
}

static void drop(struct accel_unit *unit, const struct cdm_accel_inval *invals, __u32 nr)
{
	lock_unit(unit);
	for (int i = 0; i < ACCEL_TLB; i++)
		drop_entry(&unit->tlb[i], invals, nr);
	for (int i = 0; i < ACCEL_KEPT; i++) {
		for (struct accel_kept **p = &unit->kept[i]; *p;) {
			struct accel_kept *kept = *p;

			drop_entry(&kept->tlb, invals, nr);
			if (kept->tlb.valid) {
				p = &kept->next;
				continue;
			}
			*p = kept->next;
			free(kept);
		}
	}
	pthread_mutex_unlock(&unit->access);
}

void accel_flush_tlbs(void)
{
	struct cdm_accel_inval all = { .asid = ~0u };

	for (int i = 0; i < accel.nr_units; i++)
		drop(&accel.units[i], &all, 1);
}

/* All entries of the ring at once; each unit is asked only once. */
static void invalidate(__u32 nr)
{
	struct cdm_accel_inval invals[CDM_ACCEL_INVAL_ENTRIES];

	for (__u32 i = 0; i < nr; i++)
		invals[i] = accel.bar->inval[(inval_in.tail + i) % CDM_ACCEL_INVAL_ENTRIES];
	for (int i = 0; i < accel.nr_units && !deaf; i++)
		drop(&accel.units[i], invals, nr);
	accel_add(&accel.bar->regs.nr_invals, nr);
	inval_in.tail += nr;
	accel_put(&inval_in.ring->tail, inval_in.tail);
}

static void check_ring(void)
{
	__u32 nr;

	pthread_mutex_lock(&inval_lock);
	while (!accel.link_down && !accel.dead && !held && (nr = accel_pending(&inval_in))) {
		if (accel_is_bad(ACCEL_LATE)) {
			accel_dawdle();
			nr = 1;
		}
		invalidate(nr);
	}
	pthread_mutex_unlock(&inval_lock);
}

void accel_hold_invals(bool hold)
{
	pthread_mutex_lock(&inval_lock);
	held = hold;
	pthread_mutex_unlock(&inval_lock);
	check_ring();
}

void accel_lie_about_invals(void)
{
	pthread_mutex_lock(&inval_lock);
	/* The driver cannot have asked for as many by then. */
	accel_put(&inval_in.ring->tail, accel_get(&inval_in.ring->head) +
		  CDM_ACCEL_INVAL_ENTRIES + 1);
	pthread_mutex_unlock(&inval_lock);
}

/* Whatever was not forgotten meanwhile is forgotten at the end. */
void accel_ignore_invals(bool ignore)
{
	pthread_mutex_lock(&inval_lock);
	deaf = ignore;
	if (!ignore)
		accel_flush_tlbs();
	accel_expect_strays(ignore);
	pthread_mutex_unlock(&inval_lock);
}

void accel_keep_translations(bool keep)
{
	for (int i = 0; i < accel.nr_units; i++)
		lock_unit(&accel.units[i]);
	keeps = keep;
	for (int i = 0; i < accel.nr_units; i++)
		pthread_mutex_unlock(&accel.units[i].access);
}

/* The bell is cleared before the ring is looked at, so that no entry is missed. */
static void *inval_thread(void *arg)
{
	struct pollfd bell = { .fd = accel.bells[CDM_ACCEL_BELL_INVAL], .events = POLLIN };
	__u64 value;

	(void)arg;
	for (;;) {
		if (poll(&bell, 1, -1) != 1)
			continue;
		if (read(bell.fd, &value, sizeof(value)) == sizeof(value))
			check_ring();
	}
	return NULL;
}

/* Until accel_resume_invals(), which starts with an empty ring. */
void accel_stop_invals(void)
{
	pthread_mutex_lock(&inval_lock);
}

void accel_resume_invals(void)
{
	inval_in.ring = &accel.bar->inval_ring;
	inval_in.nr = CDM_ACCEL_INVAL_ENTRIES;
	inval_in.tail = 0;
	inval_in.bad = false;
	held = false;
	deaf = false;
	pthread_mutex_unlock(&inval_lock);
}

void accel_start_invals(void)
{
	static pthread_t thread;

	for (int i = 0; i < accel.nr_units; i++)
		pthread_mutex_init(&accel.units[i].access, NULL);
	accel_stop_invals();
	accel_resume_invals();
	accel_thread(&thread, inval_thread, NULL);
}
