/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_machine_migrate.c - two machines in one process migrate a guest, controlled by their
 * monitors; and what each may do before, during and after.
 */
#include "box.h"
#include "tests/support/cm.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void incoming(struct vmm_machine_config *config)
{
	config->incoming = true;
}

static void incoming_paused(struct vmm_machine_config *config)
{
	config->incoming = config->paused = true;
}

static void incoming_bigger(struct vmm_machine_config *config)
{
	config->incoming = true;
	config->ram_size *= 2;
}

static void expect_clean_ram(struct talk *talk)
{
	json_t *ret = talk_do(talk, "{\"execute\": \"x-check-ram\"}");

	assert_true(json_integer_value(json_object_get(ret, "pages")) > 0);
	assert_int_equal(json_integer_value(json_object_get(ret, "mismatches")), 0);
	json_decref(ret);
}

static void expect_migration_events(struct talk *talk, const char *const *statuses)
{
	for (; *statuses; statuses++) {
		json_t *event = talk_event(talk, "MIGRATION");

		assert_string_equal(json_string_value(json_object_get(
					    json_object_get(event, "data"), "status")),
			*statuses);
		json_decref(event);
	}
}

/* The states in a device's VFIO_MIGRATION events, up to `last`. */
static void expect_device_states(struct talk *talk, const char *id, const char *const *states)
{
	while (*states) {
		json_t *event = talk_event(talk, "VFIO_MIGRATION"),
		       *data = json_object_get(event, "data");

		if (!strcmp(json_string_value(json_object_get(data, "device-id")), id)) {
			assert_string_equal(
				json_string_value(json_object_get(data, "device-state")), *states);
			states++;
		}
		json_decref(event);
	}
}

static void a_guest_moves_completely_and_each_monitor_reports_its_side(void **state)
{
	static const char *const statuses[] = {"setup", "active", "device", "completed", NULL};
	static const char *const states[] = {"pre-copy", "pre-copy-p2p", "stop-copy", "stop", NULL};
	struct box_pair pair;
	char text[256];
	json_t *ret;

	(void)state;
	box_pair_up(&pair, NULL, incoming);
	box_migrate(&pair);
	expect_migration_events(&pair.s, statuses);
	box_wait_migration(&pair.t, "completed");
	expect_device_states(&pair.s, "vf1", states);
	json_decref(talk_event(&pair.s, "STOP"));
	json_decref(talk_event(&pair.t, "RESUME"));
	box_expect_status(&pair.s, "postmigrate", false);
	box_expect_status(&pair.t, "running", true);
	/* So does what the VMM itself wrote after the stop. */
	assert_int_equal(pair.target.machine->stop_writes.generation, 1);
	assert_int_equal(pair.target.machine->stop_writes.pages, BOX_STOP_WRITES);
	assert_int_equal(pair.target.machine->stop_writes.lost, 0);
	box_rings(&pair.target);

	/* It runs on the target, and no command starts it here. */
	talk_refused(&pair.s, "{\"execute\": \"cont\"}", "GenericError", "on the target");
	box_uri_command(text, "migrate", &pair.target);
	talk_refused(&pair.s, text, "GenericError", "on the target");
	json_decref(talk_do(&pair.s, "{\"execute\": \"migrate_cancel\"}"));
	assert_int_equal(fake_state(&pair.source.fake[0].device), SWO_DEVICE_STOP);

	ret = talk_do(&pair.s, "{\"execute\": \"query-migrate\"}");
	assert_true(json_is_true(json_object_get(ret, "x-committed")));
	assert_true(json_integer_value(json_object_get(ret, "x-downtime-ns")) > 0);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(ret, "ram"), "total")), BOX_RAM);
	json_decref(ret);

	json_decref(talk_do(&pair.t, "{\"execute\": \"stop\"}"));
	expect_clean_ram(&pair.t);
	json_decref(talk_do(&pair.t, "{\"execute\": \"cont\"}"));
	box_rings(&pair.target);
	json_decref(talk_do(&pair.s, "{\"execute\": \"quit\"}"));
	box_pair_down(&pair);
}

static void the_timeline_holds_both_sides_in_every_format(void **state)
{
	struct box_pair pair;
	json_t *ret, *span;
	unsigned sides = 0;
	size_t i;

	(void)state;
	box_pair_up(&pair, NULL, incoming);
	talk_refused(
		&pair.s, "{\"execute\": \"x-query-timeline\"}", "GenericError", "no migration");
	box_migrate(&pair);
	box_wait_migration(&pair.s, "completed");
	ret = talk_do(&pair.s, "{\"execute\": \"x-query-timeline\"}");
	json_array_foreach (json_object_get(ret, "spans"), i, span)
		sides |=
			!strcmp(json_string_value(json_object_get(span, "side")), "source") ? 1 : 2;
	assert_int_equal(sides, 3);
	json_decref(ret);
	ret = talk_do(&pair.s, "{\"execute\": \"x-query-timeline\", \"arguments\": {\"format\": "
			       "\"picture\", \"columns\": 80}}");
	assert_non_null(strstr(json_string_value(json_object_get(ret, "text")), "vf1"));
	json_decref(ret);
	ret = talk_do(&pair.s,
		"{\"execute\": \"x-query-timeline\", \"arguments\": {\"format\": \"chrome\"}}");
	json_decref(ret);
	box_pair_down(&pair);
}

static void a_device_arrives_with_its_bars_and_interrupts(void **state)
{
	uint32_t latch = 0x80000000u | 1 << 11 | 0x18, moved = 0xf5000000, got = 0;
	struct box_pair pair;

	(void)state;
	box_pair_up(&pair, NULL, incoming);
	/* The inbox of vf0 moves, and its sibling must be remapped on both hosts. */
	vmm_pci_pio_write(pair.source.machine->pci, 0xcf8, &latch, 4);
	vmm_pci_pio_write(pair.source.machine->pci, 0xcfc, &moved, 4);
	box_migrate(&pair);
	box_wait_migration(&pair.t, "completed");
	vmm_pci_pio_read(pair.target.machine->pci, 0xcfc, &got, 4);
	assert_int_equal(got, moved); /* the latch was migrated, too */
	assert_true(fake_has_map(
		&pair.target.fake[1].device, moved, 0x1000, pair.target.fake[0].inbox_fd));
	assert_true(fake_pci_writes(&pair.target.fake[0], 7, 4, NULL) >= 1);
	box_pair_down(&pair);
}

/* The guest uses vector 0, and never unmasks this one. */
#define MASKED 9

static bool is_pending(const struct fake_pci *fake, unsigned vector)
{
	struct pollfd fd = {.fd = fake->irqs[vector], .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

static void raise_irq(const struct fake_pci *fake, unsigned vector)
{
	const uint64_t one = 1;

	assert_int_equal(write(fake->irqs[vector], &one, sizeof(one)), sizeof(one));
}

static uint64_t guest_irqs(const struct box *box)
{
	struct vmm_guest_stats stats;

	assert_int_equal(vmm_machine_guest_stats(box->machine, &stats, NULL), 0);
	return stats.irqs;
}

/* from == to: before the migration. Otherwise within that arc. */
static void moves_with_interrupts(enum swo_device_state from, enum swo_device_state to)
{
	struct box_pair pair;

	box_pair_up(&pair, NULL, incoming);
	struct fake_pci *fake = &pair.source.fake[0];

	assert_false(is_pending(fake, MASKED));
	if (from == to) {
		raise_irq(fake, MASKED);
		box_migrate(&pair);
	} else {
		fake_script(&fake->device, from, to, FAKE_HANG, 1);
		box_migrate(&pair);
		assert_true(fake_await_hang(&fake->device));
		raise_irq(fake, MASKED);
		raise_irq(fake, 0);
		assert_true(is_pending(fake, 0)); /* no vCPU takes it here any more */
		fake_release(&fake->device);
	}
	box_wait_migration(&pair.s, "completed");
	box_wait_migration(&pair.t, "completed");
	assert_true(is_pending(&pair.target.fake[0], MASKED));
	assert_false(is_pending(&pair.target.fake[1], MASKED));
	assert_int_equal(guest_irqs(&pair.target), from != to);
	box_pair_down(&pair);
}

static void an_interrupt_that_is_raised_until_the_device_has_stopped_arrives(void **state)
{
	(void)state;
	moves_with_interrupts(SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING);
	moves_with_interrupts(SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P);
	moves_with_interrupts(SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY);
}

static void a_target_that_is_to_be_paused_arrives_paused(void **state)
{
	struct box_pair pair;

	(void)state;
	box_pair_up(&pair, NULL, incoming_paused);
	box_migrate(&pair);
	box_wait_migration(&pair.t, "completed");
	box_expect_status(&pair.t, "paused", false);
	expect_clean_ram(&pair.t);
	json_decref(talk_do(&pair.t, "{\"execute\": \"cont\"}"));
	box_rings(&pair.target);
	box_pair_down(&pair);
}

static void a_machine_that_differs_is_refused_and_the_source_runs_on(void **state)
{
	struct box_pair pair;
	json_t *ret;

	(void)state;
	box_pair_up(&pair, NULL, incoming_bigger);
	box_migrate(&pair);
	box_wait_migration(&pair.s, "failed");
	ret = talk_do(&pair.s, "{\"execute\": \"query-migrate\"}");
	assert_true(json_string_length(json_object_get(ret, "error-desc")) > 0);
	json_decref(ret);
	box_expect_status(&pair.s, "running", true);
	box_rings(&pair.source);
	/* It goes on waiting: cont is about what comes. */
	json_decref(talk_do(&pair.t, "{\"execute\": \"cont\"}"));
	box_expect_status(&pair.t, "inmigrate", false);
	box_pair_down(&pair);
}

/* In setup: its first device hangs on the way to RESUMING, until it is released. */
static void up_until_a_target_hangs(struct box_pair *pair)
{
	box_pair_up(pair, NULL, incoming);
	fake_script(
		&pair->target.fake[0].device, SWO_DEVICE_STOP, SWO_DEVICE_RESUMING, FAKE_HANG, 1);
	box_migrate(pair);
	assert_true(fake_await_hang(&pair->target.fake[0].device));
}

static void a_cancelled_migration_leaves_the_source_as_it_was(void **state)
{
	struct box_pair pair;

	(void)state;
	up_until_a_target_hangs(&pair);
	/* In progress: its parameters stay, a stop is allowed, cont is not. */
	talk_refused(&pair.s,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"x-join\": \"depth\"}}",
		"GenericError", "in progress");
	json_decref(talk_do(&pair.s, "{\"execute\": \"stop\"}"));
	talk_refused(&pair.s, "{\"execute\": \"cont\"}", "GenericError", "cancel");
	json_decref(talk_do(&pair.s, "{\"execute\": \"migrate_cancel\"}"));
	box_wait_migration(&pair.s, "cancelled");
	fake_release(&pair.target.fake[0].device);
	box_expect_status(&pair.s, "paused", false);
	json_decref(talk_do(&pair.s, "{\"execute\": \"cont\"}"));
	box_rings(&pair.source);
	box_expect_status(&pair.t, "inmigrate", false);
	box_pair_down(&pair);
}

static void a_migration_fails_when_the_host_requests_a_device(void **state)
{
	struct box_pair pair;

	(void)state;
	up_until_a_target_hangs(&pair);
	assert_int_equal(eventfd_write(pair.source.fake[1].host_irqs[1], 1), 0);
	json_decref(talk_event(&pair.s, "DEVICE_DELETED"));
	box_wait_migration(&pair.s, "failed");

	json_t *info = talk_do(&pair.s, "{\"execute\": \"query-migrate\"}");

	assert_non_null(strstr(json_string_value(json_object_get(info, "error-desc")),
		"the host has requested device vf1"));
	json_decref(info);
	fake_release(&pair.target.fake[0].device);
	box_expect_status(&pair.s, "running", true);
	box_pair_down(&pair);
}

static void between_go_and_started_the_source_neither_runs_nor_quits(void **state)
{
	struct box_pair pair;
	swo_deadline deadline = swo_deadline_ms(TALK_MS);
	bool committed = false;

	(void)state;
	box_pair_up(&pair, NULL, incoming);
	fake_script(&pair.target.fake[1].device, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING,
		FAKE_HANG, 1);
	box_migrate(&pair);
	while (!committed) {
		json_t *ret = talk_do(&pair.s, "{\"execute\": \"query-migrate\"}");

		committed = json_is_true(json_object_get(ret, "x-committed"));
		json_decref(ret);
		assert_false(swo_deadline_passed(deadline));
	}
	talk_refused(&pair.s, "{\"execute\": \"cont\"}", "GenericError", "on the target");
	talk_refused(&pair.s, "{\"execute\": \"quit\"}", "GenericError", "force");
	talk_refused(&pair.s, "{\"execute\": \"migrate_cancel\"}", "GenericError", "no return");
	talk_refused(
		&pair.s, "{\"execute\": \"stop\"}", "GenericError", "a switchover is in progress");
	json_decref(talk_do(&pair.s, "{\"execute\": \"quit\", \"arguments\": {\"force\": true}}"));
	assert_true(fake_await_hang(&pair.target.fake[1].device));
	fake_release(&pair.target.fake[1].device);
	box_wait_migration(&pair.s, "completed");
	box_wait_migration(&pair.t, "completed");
	box_expect_status(&pair.t, "running", true);
	box_rings(&pair.target);
	box_pair_down(&pair);
}

static void a_vm_that_arrived_can_go_on_to_a_third(void **state)
{
	static struct box_pair pair; /* big */
	struct box third;
	struct talk talk;
	char text[256];

	(void)state;
	box_pair_up(&pair, NULL, incoming);
	box_migrate(&pair);
	box_wait_migration(&pair.t, "completed");
	box_rings(&pair.target);
	box_up(&third, incoming);
	talk_open(&talk, third.path, true);
	box_uri_command(text, "migrate-incoming", &third);
	json_decref(talk_do(&talk, text));
	box_uri_command(text, "migrate", &third);
	json_decref(talk_do(&pair.t, text));
	box_wait_migration(&talk, "completed");
	box_wait_migration(&pair.t, "completed");
	box_rings(&third);
	json_decref(talk_do(&talk, "{\"execute\": \"stop\"}"));
	expect_clean_ram(&talk);
	talk_close(&talk);
	box_down(&third);
	box_pair_down(&pair);
}

/* With these members beside the URI. */
static void migrate_with(struct box_pair *pair, const char *members)
{
	char text[512];
	size_t len;

	box_uri_command(text, "migrate", &pair->target);
	len = strlen(text);
	assert_string_equal(text + len - 2, "}}");
	snprintf(text + len - 2, sizeof(text) - len + 2, ", %s}}", members);
	json_decref(talk_do(&pair->s, text));
}

static void expect_parameter(struct talk *talk, const char *name, json_int_t value)
{
	json_t *ret = talk_do(talk, "{\"execute\": \"query-migrate-parameters\"}");

	assert_int_equal(json_integer_value(json_object_get(ret, name)), value);
	json_decref(ret);
}

#define SET(members) "{\"execute\": \"migrate-set-parameters\", \"arguments\": {" members "}}"

static void limits_change_in_flight_and_options_of_one_migration_do_not_stay(void **state)
{
	struct box_pair pair;

	(void)state;
	box_pair_up(&pair, NULL, incoming);
	/* The first pass would take hours. */
	migrate_with(&pair, "\"x-parameters\": {\"max-bandwidth\": 1, \"downtime-limit\": 1, "
			    "\"x-commit-deadline-ms\": 20000}");
	box_wait_migration(&pair.s, "active");
	expect_parameter(&pair.s, "max-bandwidth", 0);
	expect_parameter(&pair.s, "x-commit-deadline-ms", 30000);
	talk_refused(
		&pair.s, SET("\"multifd-channels\": 3"), "GenericError", "only downtime-limit");
	talk_refused(&pair.s, SET("\"max-bandwidth\": 0, \"x-stream\": \"late\""), "GenericError",
		"only downtime-limit");
	json_decref(talk_do(&pair.t, SET("\"downtime-limit\": 70, \"max-bandwidth\": 7000")));
	json_decref(talk_do(&pair.s, SET("\"downtime-limit\": 50000")));
	json_decref(talk_do(&pair.s, SET("\"max-bandwidth\": 0")));
	box_wait_migration(&pair.s, "completed");
	expect_parameter(&pair.s, "downtime-limit", 50000);
	expect_parameter(&pair.t, "max-bandwidth", 7000);
	box_pair_down(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_moves_completely_and_each_monitor_reports_its_side),
		cmocka_unit_test(the_timeline_holds_both_sides_in_every_format),
		cmocka_unit_test(a_device_arrives_with_its_bars_and_interrupts),
		cmocka_unit_test(an_interrupt_that_is_raised_until_the_device_has_stopped_arrives),
		cmocka_unit_test(a_target_that_is_to_be_paused_arrives_paused),
		cmocka_unit_test(a_machine_that_differs_is_refused_and_the_source_runs_on),
		cmocka_unit_test(a_cancelled_migration_leaves_the_source_as_it_was),
		cmocka_unit_test(a_migration_fails_when_the_host_requests_a_device),
		cmocka_unit_test(between_go_and_started_the_source_neither_runs_nor_quits),
		cmocka_unit_test(a_vm_that_arrived_can_go_on_to_a_third),
		cmocka_unit_test(limits_change_in_flight_and_options_of_one_migration_do_not_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
