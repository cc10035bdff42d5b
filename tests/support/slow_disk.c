/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slow_disk.c - see slow_disk.h.
 */
#include "slow_disk.h"

#include "switchover/base.h"
#include "tests/support/cm.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <unistd.h>

#define GUARD_MS 30000

static atomic_bool hangs, hangs_creation;
static atomic_uint waiting;

static void nap(void)
{
	swo_sleep_until(swo_now_ns() + 1000000);
}

static int hang_in(const char *name, const atomic_bool *while_true, int fd)
{
	int (*real)(int fd);

	*(void **)&real = dlsym(RTLD_NEXT, name);
	atomic_fetch_add(&waiting, 1);
	while (atomic_load(while_true))
		nap();
	atomic_fetch_sub(&waiting, 1);
	return real(fd);
}

int fdatasync(int fd)
{
	return hang_in("fdatasync", &hangs, fd);
}

int fsync(int fd)
{
	return hang_in("fsync", &hangs_creation, fd);
}

void slow_disk_hang(void)
{
	atomic_store(&hangs, true);
}

void slow_disk_hang_creation(void)
{
	atomic_store(&hangs_creation, true);
}

bool slow_disk_hangs(void)
{
	return (atomic_load(&hangs) || atomic_load(&hangs_creation)) && atomic_load(&waiting);
}

void slow_disk_await(void)
{
	const swo_deadline guard = swo_deadline_ms(GUARD_MS);

	while (!slow_disk_hangs() && !swo_deadline_passed(guard))
		nap();
	assert_true(slow_disk_hangs());
}

void slow_disk_answer(void)
{
	atomic_store(&hangs, false);
	atomic_store(&hangs_creation, false);
}
