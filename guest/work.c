/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work.c - a tick of one vCPU: first the doorbells of the devices that are due, then pages of
 * the working set, rewritten at a set rate for as long as there is time.
 *
 * Every instruction counts: some hosts emulate them one by one.
 */
#include "work.h"

#include "../simvf/regs.h"

/* Rings every `turns`th device from `first` on; returns the number of devices. */
GUEST_WRITER static uint64_t ring(struct guest_env *env, unsigned vcpu, uint32_t devices,
	uint64_t first, uint64_t turns, uint64_t number)
{
	const struct guest_device *device =
		guest_ram(env, GUEST_DEVICE_GPA, GUEST_DEVICES_MAX * sizeof(*device));
	uint64_t rung = 0;

	for (uint64_t i = first; i < devices; i += turns, rung++)
		guest_mmio_write64(env, device[i].regs + SIMVF_DOORBELL(vcpu), number);
	return rung;
}

/*
 * The number in a device's inbox only increases, whatever happens to its neighbour: checked for
 * one device per tick.
 */
GUEST_WRITER static void look_at_inbox(
	struct guest_env *env, struct guest_vcpu *me, uint32_t devices)
{
	uint64_t at = me->inbox_cursor < devices ? me->inbox_cursor : 0;
	uint64_t neighbour = (at ? at : devices) - 1;
	struct guest_device *device =
		guest_ram(env, GUEST_DEVICE_GPA + at * sizeof(*device), sizeof(*device));

	me->inbox_cursor = at + 1;
	if (!device->inbox)
		return;
	uint32_t number = guest_mmio_read(
		env, device->inbox + SIMVF_INBOX_SLOT(neighbour % SIMVF_INBOX_SLOTS));

	if ((int32_t)(number - device->seen) < 0)
		GUEST_SET(me->inbox_setbacks, me->inbox_setbacks + 1);
	device->seen = number;
	GUEST_SET(me->inbox_looks, me->inbox_looks + 1);
}

static bool page_holds(const uint64_t *words, uint64_t page, uint64_t version)
{
	return words[0] == guest_page_word(page, version, 0) &&
	       words[1] == guest_page_word(page, version, 1) &&
	       words[GUEST_WORD_MIDDLE] == guest_page_word(page, version, GUEST_WORD_MIDDLE) &&
	       words[GUEST_WORD_LAST] == guest_page_word(page, version, GUEST_WORD_LAST);
}

/* The VMM may read between any two instructions: busy_* describes the write in progress. */
GUEST_WRITER static void rewrite_page(
	struct guest_env *env, const struct guest_boot *boot, struct guest_vcpu *me, uint64_t page)
{
	uint64_t *version = guest_ram(env, boot->versions_gpa + page * 8, 8);
	uint64_t *words = guest_ram(env, boot->work_gpa + page * GUEST_PAGE, GUEST_PAGE);
	uint64_t next = *version + 1;

	if (!page_holds(words, page, *version))
		GUEST_SET(me->ram_mismatches, me->ram_mismatches + 1);
	GUEST_PUBLISH(me->busy_version, next);
	GUEST_PUBLISH(me->busy_page, page + 1);
	GUEST_PUBLISH(words[0], guest_page_word(page, next, 0));
	GUEST_PUBLISH(words[1], next);
	GUEST_PUBLISH(words[GUEST_WORD_MIDDLE], guest_page_word(page, next, GUEST_WORD_MIDDLE));
	GUEST_PUBLISH(words[GUEST_WORD_LAST], guest_page_word(page, next, GUEST_WORD_LAST));
	GUEST_PUBLISH(*version, next);
	GUEST_PUBLISH(me->busy_page, 0);
	GUEST_SET(me->pages_dirtied, me->pages_dirtied + 1);
}

/* Not inlined, so that a tick without rewriting does not save registers for it. */
__attribute__((noinline)) GUEST_WRITER static void rewrite_pages(
	struct guest_env *env, const struct guest_boot *boot, struct guest_vcpu *me, unsigned vcpu)
{
	while (me->credit >= GUEST_CREDIT_PAGE && guest_may_work(env, vcpu)) {
		if (me->cursor < me->first || me->cursor >= me->end)
			me->cursor = me->first;
		rewrite_page(env, boot, me, me->cursor++);
		me->credit -= GUEST_CREDIT_PAGE;
	}
}

GUEST_WRITER void guest_tick(struct guest_env *env, unsigned vcpu)
{
	const struct guest_boot *boot = guest_ram(env, GUEST_BOOT_GPA, sizeof(*boot));
	const struct guest_status *status = guest_ram(env, GUEST_STATUS_GPA, sizeof(*status));
	struct guest_vcpu *me = guest_ram(env, GUEST_VCPU_GPA + vcpu * sizeof(*me), sizeof(*me));

	if (!__atomic_load_n(&status->configured, __ATOMIC_ACQUIRE))
		return;

	uint32_t devices = GUEST_GET(status->devices);
	uint64_t turns = boot->turns ? boot->turns : 1;
	uint64_t turn = me->turn < turns ? me->turn : 0, number = me->rounds + !turn;

	if (devices > GUEST_DEVICES_MAX)
		devices = GUEST_DEVICES_MAX;
	/* Counted first: if it stops half-way, some devices have the last number and none a later
	   one. */
	GUEST_SET(me->rounds, number);
	GUEST_SET(me->doorbells, me->doorbells + ring(env, vcpu, devices, turn, turns, number));
	me->turn = turn + 1;
	if (!vcpu && boot->p2p_rate && devices > 1)
		look_at_inbox(env, me, devices);
	if (!me->earned || me->first >= me->end)
		return;
	me->credit += me->earned;
	if (me->credit > me->most)
		me->credit = me->most;
	if (me->credit >= GUEST_CREDIT_PAGE)
		rewrite_pages(env, boot, me, vcpu);
}
