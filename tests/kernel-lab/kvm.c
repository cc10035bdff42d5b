/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm.c - guests of KVM (which the lab's emulated CPU can have) with kernel devices: interrupts
 * by irqfd, a BAR that the guest reaches without a trap, RAM that moves by descriptor.
 */
#include "tests/e2e/e2e.h"

#define VFS 2

static void begin(struct pair *pair, struct pair_config *config, const char *handover)
{
	*config = e2e_config();
	config->backend = "kernel";
	config->accel = "kvm";
	config->handover = handover;
	config->ram = "16M";
	config->dirty_rate = 50;
	config->dma_pages = 8;
	config->irq_every = 2;
	config->doorbell_period_us = 10000;
	e2e_must(pair, pair_init(pair, config, VFS, "parallel", err));
	e2e_must(pair, pair_start(pair, err) || pair_boot(pair, err));
}

static double guest_count(struct pair *pair, enum pair_side side, const char *what)
{
	struct swo_error err = {0};
	json_t *answer = pair_qmp(pair, side, "x-query-guest", NULL, &err);

	if (!answer)
		e2e_fail(pair, "x-query-guest", &err);
	assert_string_equal(json_path_string(answer, "accel"), "kvm");
	assert_true(json_path_number(answer, "error") == 0);
	double count = json_path_number(answer, what);

	json_decref(answer);
	return count;
}

/* Waits for the guest to count more of it. */
static void goes_on(struct pair *pair, enum pair_side side, const char *what)
{
	swo_deadline guard = swo_deadline_ms(E2E_GUARD_MS);
	double before = guest_count(pair, side, what);

	while (guest_count(pair, side, what) <= before) {
		if (swo_deadline_passed(guard)) {
			struct swo_error err = {0};

			swo_error_set(
				&err, SWO_E_TIMEOUT, 0, "%s: no more than %.0f", what, before);
			e2e_fail(pair, pair_side_name(side), &err);
		}
		swo_sleep_until(swo_now_ns() + 5000000);
	}
}

static void moves_whole(const char *handover)
{
	char status[PAIR_STATUS_MAX];
	static struct pair_config config;
	static struct pair pair;

	begin(&pair, &config, handover);
	goes_on(&pair, PAIR_SOURCE, "irqs");
	goes_on(&pair, PAIR_SOURCE, "inbox-looks");
	e2e_must(&pair, pair_migrate(&pair, err));
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "completed");
	e2e_rings_on(&pair, PAIR_TARGET, 0);
	goes_on(&pair, PAIR_TARGET, "irqs");
	goes_on(&pair, PAIR_TARGET, "inbox-looks");
	assert_true(guest_count(&pair, PAIR_TARGET, "inbox-setbacks") == 0);
	assert_true(guest_count(&pair, PAIR_TARGET, "ram-mismatches") == 0);
	pair_free(&pair, false);
}

static void a_guest_moves_completely_and_its_interrupts_and_mapped_bars_continue(void **state)
{
	(void)state;
	e2e_need_kvm();
	moves_whole(NULL);
}

static void a_guest_whose_memory_moves_by_descriptor_does_as_well(void **state)
{
	(void)state;
	e2e_need_kvm();
	moves_whole("fd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		e2e_test(a_guest_moves_completely_and_its_interrupts_and_mapped_bars_continue),
		e2e_test(a_guest_whose_memory_moves_by_descriptor_does_as_well),
	};

	process_init();
	return cmocka_run_group_tests_name("KVM with simvf", tests, NULL, NULL);
}
