/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * work.c - a tick of one vCPU: doorbells of every device first, then rewriting pages
 * of the working set at a set rate for as long as there is time.
 *
 * Every instruction counts: some hosts emulate them one by one.
 */
#include "work.h"

#include "../simvf/regs.h"

#define CREDIT_PAGE 1000000u /* what one page costs; a tick earns rate * period */
#define CREDIT_HOLD 4u	     /* ticks' worth that may be saved up */

GUEST_WRITER static void ring_all(struct guest_env *env, unsigned vcpu, uint32_t devices)
{
	uint64_t *bells = guest_ram(
		env, GUEST_BELLS_GPA + vcpu * GUEST_DEVICES_MAX * 8ull, GUEST_DEVICES_MAX * 8ull);
	const struct guest_device *device =
		guest_ram(env, GUEST_DEVICE_GPA, GUEST_DEVICES_MAX * sizeof(*device));

	for (uint32_t i = 0; i < devices; i++)
		guest_mmio_write64(env, device[i].regs + SIMVF_DOORBELL(vcpu), ++bells[i]);
}

static bool page_holds(const uint64_t *words, uint64_t page, uint64_t version)
{
	return words[0] == guest_page_word(page, version, 0) &&
	       words[1] == guest_page_word(page, version, 1) &&
	       words[GUEST_WORD_MIDDLE] == guest_page_word(page, version, GUEST_WORD_MIDDLE) &&
	       words[GUEST_WORD_LAST] == guest_page_word(page, version, GUEST_WORD_LAST);
}

/* The VMM may look at any moment between two instructions: busy_* says what is half done. */
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

GUEST_WRITER static void rewrite_pages(
	struct guest_env *env, const struct guest_boot *boot, struct guest_vcpu *me, unsigned vcpu)
{
	uint64_t first = guest_share(boot->work_pages, vcpu, boot->vcpus);
	uint64_t end = guest_share(boot->work_pages, vcpu + 1, boot->vcpus);
	uint64_t earned = (uint64_t)boot->dirty_pages_per_s * boot->period_us;
	uint64_t most = earned * CREDIT_HOLD > CREDIT_PAGE ? earned * CREDIT_HOLD : CREDIT_PAGE;

	me->credit = me->credit + earned < most ? me->credit + earned : most;
	while (me->credit >= CREDIT_PAGE && first < end && guest_may_work(env, vcpu)) {
		if (me->cursor < first || me->cursor >= end)
			me->cursor = first;
		rewrite_page(env, boot, me, me->cursor++);
		me->credit -= CREDIT_PAGE;
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

	if (devices > GUEST_DEVICES_MAX)
		devices = GUEST_DEVICES_MAX;
	ring_all(env, vcpu, devices);
	GUEST_SET(me->ticks, me->ticks + 1);
	GUEST_SET(me->doorbells, me->doorbells + devices);
	if (vcpu < boot->vcpus)
		rewrite_pages(env, boot, me, vcpu);
}
