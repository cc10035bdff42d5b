/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * box.c - the machine of box.h.
 */
#include "box.h"

#include "tests/support/cm.h"
#include "tests/support/dir.h"

#include <stdio.h>
#include <string.h>

static void on_event(void *opaque, const char *name, json_t *data)
{
	struct box *box = opaque;

	pthread_mutex_lock(&box->mutex);
	if (box->server)
		qmp_server_event(box->server, name, data);
	else
		json_decref(data);
	pthread_mutex_unlock(&box->mutex);
}

void box_up(struct box *box, box_change *change)
{
	static const char *const ids[BOX_DEVICES] = {"vf0", "vf1"};
	struct vmm_device_config devices[BOX_DEVICES] = {0};
	struct vmm_machine_config config = {.name = "box",
		.accel = VMM_ACCEL_NATIVE,
		.vcpus = 1,
		.ram_size = BOX_RAM,
		.stop_writes = BOX_STOP_WRITES,
		.guest = {.doorbell_period_us = 1000, .dirty_pages_per_s = 500},
		.devices = devices,
		.device_count = BOX_DEVICES,
		.transitions = SWO_TRANSITIONS_PARALLEL,
		.join = SWO_JOIN_PASS,
		.event = on_event,
		.opaque = box};
	struct qmp_server *server;
	struct swo_error err;

	memset(box, 0, sizeof(*box));
	pthread_mutex_init(&box->mutex, NULL);
	assert_int_equal(dir_make(box->dir), 0);
	snprintf(box->path, sizeof(box->path), "%s/qmp", box->dir);
	for (unsigned i = 0; i < BOX_DEVICES; i++) {
		fake_pci_init(&box->fake[i], ids[i]);
		devices[i] = (struct vmm_device_config){.slot = -1,
			.ops = fake_pci_ops(),
			.self = &box->fake[i],
			.migration_events = true};
		strcpy(devices[i].id, ids[i]);
	}
	if (change)
		change(&config);
	if (vmm_machine_create(&config, &box->machine, &err))
		fail_msg("%s", err.text);
	assert_int_equal(qmp_machine_serve(box->machine, box->path, &server, &err), 0);
	pthread_mutex_lock(&box->mutex);
	box->server = server;
	pthread_mutex_unlock(&box->mutex);
	assert_int_equal(vmm_machine_launch(box->machine, &err), 0);
}

void box_down(struct box *box)
{
	pthread_mutex_lock(&box->mutex);
	struct qmp_server *server = box->server;

	box->server = NULL;
	pthread_mutex_unlock(&box->mutex);
	qmp_server_stop(server);
	vmm_machine_free(box->machine);
	for (unsigned i = 0; i < BOX_DEVICES; i++) {
		assert_true(box->fake[i].device.destroyed);
		fake_pci_fini(&box->fake[i]);
	}
	assert_int_equal(dir_remove(box->dir), 0);
	pthread_mutex_destroy(&box->mutex);
}

void box_rings(struct box *box)
{
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	for (unsigned i = 0; i < BOX_DEVICES; i++) {
		uint64_t before = fake_pci_doorbells(&box->fake[i]);

		while (fake_pci_doorbells(&box->fake[i]) < before + 5) {
			assert_false(swo_deadline_passed(deadline));
			swo_sleep_until(swo_now_ns() + 1000000);
		}
	}
}

void box_expect_status(struct talk *talk, const char *status, bool running)
{
	json_t *ret = talk_do(talk, "{\"execute\": \"query-status\"}");

	assert_string_equal(json_string_value(json_object_get(ret, "status")), status);
	assert_int_equal(json_is_true(json_object_get(ret, "running")), running);
	json_decref(ret);
}

void box_wait_migration(struct talk *talk, const char *status)
{
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	for (;;) {
		json_t *ret = talk_do(talk, "{\"execute\": \"query-migrate\"}");
		const char *now = json_string_value(json_object_get(ret, "status"));
		bool there = now && !strcmp(now, status);

		if (!there && swo_deadline_passed(deadline))
			fail_msg("status of the migration: %s, expected %s: %s", now ? now : "none",
				status, json_string_value(json_object_get(ret, "error-desc")));
		json_decref(ret);
		if (there)
			return;
		swo_sleep_until(swo_now_ns() + 2000000);
	}
}

void box_uri_command(char text[256], const char *command, const struct box *box)
{
	snprintf(text, 256, "{\"execute\": \"%s\", \"arguments\": {\"uri\": \"unix:%s/mig\"}}",
		command, box->dir);
}

/* Two */

static void listen_on(struct box_pair *pair)
{
	char text[256];

	box_uri_command(text, "migrate-incoming", &pair->target);
	json_decref(talk_do(&pair->t, text));
}

void box_pair_up(struct box_pair *pair, box_change *source, box_change *target)
{
	static const char events[] =
		"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
		"[{\"capability\": \"events\", \"state\": true}]}}";
	static const char limit[] = "{\"execute\": \"migrate-set-parameters\", \"arguments\": "
				    "{\"downtime-limit\": 60000, \"x-commit-deadline-ms\": "
				    "30000}}";

	box_up(&pair->source, source);
	box_up(&pair->target, target);
	talk_open(&pair->s, pair->source.path, true);
	talk_open(&pair->t, pair->target.path, true);
	json_decref(talk_do(&pair->s, events));
	json_decref(talk_do(&pair->s, limit));
	json_decref(talk_do(&pair->t, events));
	box_rings(&pair->source);
	listen_on(pair);
}

void box_pair_down(struct box_pair *pair)
{
	talk_close(&pair->s);
	talk_close(&pair->t);
	box_down(&pair->source);
	box_down(&pair->target);
}

void box_migrate(struct box_pair *pair)
{
	char text[256];

	box_uri_command(text, "migrate", &pair->target);
	json_decref(talk_do(&pair->s, text));
}
