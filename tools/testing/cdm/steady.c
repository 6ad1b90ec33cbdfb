// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into a QEMU whose clock counts instructions. It makes its TLB smaller if few
 * entries were in use for 100 ms of the host's clock, and which entries are there
 * decides when the guest's accessed bits are set. The only caller of gettimeofday()
 * that matters is its flush of the TLB, so here time goes by with each call.
 */
#include <sys/time.h>

#define US_A_CALL	200

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	static __thread unsigned long us;

	(void)tz;
	us += US_A_CALL;
	tv->tv_sec = us / 1000000;
	tv->tv_usec = us % 1000000;
	return 0;
}
