/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Versions of the protocol: the recorded messages of a released version are accepted or refused, as
 * they must always be. Files in recorded/ are never changed, only added.
 */
#include "stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t recorded(const char *name, char text[65536])
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", getenv("SWITCHOVER_TEST_RECORDED"), name);
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	size_t len = fread(text, 1, 65535, file);
	fclose(file);
	assert_true(len);
	text[len] = 0;
	return len;
}

/* The first frame of a source; the reply is in `text`. */
static int greet(const char *uri, struct channel *channel, char text[65536])
{
	struct channel_frame_header header;

	*channel = dial(uri);
	send_frame(channel, (struct channel_frame_header){.type = WIRE_HELLO}, text, strlen(text));
	return next_frame(channel, &header, text);
}

static void open_target(struct fake_vm *vm, char uri[128])
{
	struct swo_migration_params params = fake_params();

	fake_vm_open(vm, 2, false, 1000, SWO_TRANSITIONS_PARALLEL);
	strcpy(uri, fake_uri());
	assert_int_equal(
		swo_migration_receive(&vm->vm, uri, &params, NULL, NULL, &vm->migration, NULL), 0);
}

static void a_source_of_0_1_is_refused_by_both_versions_and_the_target_goes_on_waiting(void **state)
{
	(void)state;
	static struct fake_vm vm;
	struct channel channel;
	static char text[65536];
	char uri[128];

	open_target(&vm, uri);
	for (int i = 0; i < 2; i++) {
		recorded("hello-0.1.0.json", text);
		assert_int_equal(greet(uri, &channel, text), WIRE_ABORT);
		assert_string_equal(text,
			"the source has version 3 of the migration protocol, this side has version "
			"4: run the same version of switchover on both hosts");
		channel_close(&channel);
	}
	/* A compatible one is accepted, and starts nothing by that. */
	recorded("hello-0.2.0.json", text);
	assert_int_equal(greet(uri, &channel, text), WIRE_HELLO_OK);
	assert_int_equal(atomic_load(&vm.starts), 0);
	channel_close(&channel);
	fake_vm_close(&vm);
}

static void messages_of_0_2_are_accepted(void **state)
{
	(void)state;
	static char text[65536];
	struct swo_device_costs costs[2];
	struct migration_hello_ok ok;
	struct hello hello;
	size_t len = recorded("hello-0.2.0.json", text);

	assert_int_equal(migration_hello_parse(text, len, &hello, NULL), 0);
	assert_int_equal(hello.minor, 0);
	assert_string_equal(hello.id, "00000000-0000-4000-8000-000000000001");
	assert_string_equal(hello.identity, "");
	assert_string_equal(hello.layout, "fake");
	assert_int_equal(hello.channels, 1);
	assert_true(hello.running);
	assert_int_equal(hello.finalise, SWO_WHEN_EARLY);
	assert_int_equal(hello.config, SWO_WHEN_EARLY);
	assert_int_equal(hello.handover, SWO_HANDOVER_COPY);
	assert_int_equal(hello.ram_count, 1);
	assert_int_equal(hello.ram[0].size, 6 << 20);
	assert_int_equal(hello.device_count, 2);
	assert_string_equal(hello.devices[1].name, "vf1");
	assert_int_equal(hello.devices[1].window, 65536);
	migration_hello_free(&hello);

	len = recorded("hello-ok-0.2.0.json", text);
	assert_int_equal(migration_hello_ok_parse(text, len, costs, 2, &ok, NULL), 0);
	assert_int_equal(ok.minor, 0);
	assert_int_equal(ok.ticket, 77);
	assert_int_equal(ok.handover, SWO_HANDOVER_COPY);
	assert_int_equal(costs[0].resuming_to_stop_ns, 1);
	assert_int_equal(costs[1].p2p_to_running_ns, 6);
}

/* A later 0.x may send unknown keys, and a higher minor version. */
static void what_a_later_minor_version_adds_is_ignored_and_the_lower_one_counts(void **state)
{
	(void)state;
	static struct fake_vm vm;
	struct swo_device_costs costs[2];
	struct migration_hello_ok ok;
	struct channel channel;
	static char text[65536], first[65536];
	char uri[128];

	recorded("hello-0.2.0.json", first);
	char *at = strstr(first, "\"minor\":0");
	assert_non_null(at);
	snprintf(text, sizeof(text),
		"%.*s\"minor\":7,\"later\":{\"a\":[1,2]},\"devices-too\":null%s", (int)(at - first),
		first, at + strlen("\"minor\":0"));
	open_target(&vm, uri);
	assert_int_equal(greet(uri, &channel, text), WIRE_HELLO_OK);
	assert_int_equal(migration_hello_ok_parse(text, strlen(text), costs, 2, &ok, NULL), 0);
	assert_int_equal(ok.minor, WIRE_MINOR);
	channel_close(&channel);
	fake_vm_close(&vm);
	/* Likewise from a target; it must not select one that this side does not have. */
	recorded("hello-ok-0.2.0.json", first);
	at = strstr(first, "\"minor\":0");
	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s\"minor\":0,\"later\":1%s", (int)(at - first), first,
		at + strlen("\"minor\":0"));
	assert_int_equal(migration_hello_ok_parse(text, strlen(text), costs, 2, &ok, NULL), 0);
	assert_int_equal(ok.ticket, 77);
	snprintf(text, sizeof(text), "%.*s\"minor\":%d%s", (int)(at - first), first, WIRE_MINOR + 1,
		at + strlen("\"minor\":0"));
	assert_int_equal(migration_hello_ok_parse(text, strlen(text), costs, 2, &ok, NULL), -1);
}

static void costs_that_are_unknown_are_left_out_and_malformed_ones_refused(void **state)
{
	(void)state;
	static const char *const malformed[] = {"[1,2,3]", "null", "7", "{\"stop_to_p2p_ns\":-1}",
		"{\"stop_to_p2p_ns\":\"1\"}", "{\"stop_to_p2p_ns\":1.5}",
		"{\"stop_to_p2p_ns\":null}", "{\"stop_to_p2p_ns\":99999999999999999999}"};
	const struct migration_hello_ok ok = {.ticket = 7};
	struct swo_device_costs costs[2], back[2];
	struct migration_hello_ok ok_back;
	struct swo_buf text = SWO_BUF_INIT(65536);

	for (int i = 0; i < 2; i++)
		swo_device_costs_init(&costs[i]);
	costs[1].resuming_to_stop_ns = 0; /* known */
	costs[1].p2p_to_running_ns = 15;
	costs[1].p2p_to_stop_ns = 40; /* not the target's arc */
	assert_int_equal(migration_hello_ok_format(costs, 2, &ok, &text, NULL), 0);
	assert_int_equal(migration_hello_ok_parse(text.data, text.len, back, 2, &ok_back, NULL), 0);
	assert_int_equal(back[0].resuming_to_stop_ns, SWO_UNKNOWN);
	assert_int_equal(back[0].stop_to_p2p_ns, SWO_UNKNOWN);
	assert_int_equal(back[1].resuming_to_stop_ns, 0);
	assert_int_equal(back[1].stop_to_p2p_ns, SWO_UNKNOWN);
	assert_int_equal(back[1].p2p_to_running_ns, 15);
	assert_int_equal(back[1].p2p_to_stop_ns, SWO_UNKNOWN);
	swo_buf_free(&text);
	for (size_t i = 0; i <= SWO_ARRAY_SIZE(malformed); i++) {
		const bool good = i == SWO_ARRAY_SIZE(malformed);
		char one[256];
		int len = snprintf(one, sizeof(one),
			"{\"version\":%d,\"minor\":0,\"ticket\":\"0000000000000007\","
			"\"handover\":\"copy\",\"costs\":[%s]}",
			WIRE_VERSION, good ? "{\"stop_to_p2p_ns\":1}" : malformed[i]);

		assert_int_equal(
			migration_hello_ok_parse(one, (size_t)len, back, 1, &ok_back, NULL),
			good ? 0 : -1);
	}
}

static void expect_failed(struct stage *stage, const char *words)
{
	struct swo_migration_info info = fake_end(&stage->vm);

	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	if (!strstr(info.error.text, words))
		fail_msg("'%s' instead of '%s'", info.error.text, words);
	assert_true(fake_vm_runs(&stage->vm));
	assert_true(swo_migration_may_run(stage->vm.migration));
	stage_close(stage);
}

static void a_target_of_0_1_fails_the_migration_by_both_versions_and_the_guest_runs_on(void **state)
{
	(void)state;
	static char said[65536];
	static struct stage stage;
	static char text[65536];

	/* As 0.1 rejects a source of another version, */
	stage_await_hello(&stage, SWO_HANDOVER_COPY);
	recorded("abort-0.1.0.txt", said);
	send_frame(&stage.control, (struct channel_frame_header){.type = WIRE_ABORT}, said,
		strlen(said));
	expect_failed(&stage, said);
	/* and as it would reply without the check. */
	stage_await_hello(&stage, SWO_HANDOVER_COPY);
	size_t len = recorded("hello-ok-0.1.0.json", text);
	send_frame(&stage.control, (struct channel_frame_header){.type = WIRE_HELLO_OK}, text, len);
	expect_failed(&stage,
		"the target has version 3 of the migration protocol, this side has version 4: run "
		"the same version of switchover on both hosts");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_source_of_0_1_is_refused_by_both_versions_and_the_target_goes_on_waiting),
		cmocka_unit_test(messages_of_0_2_are_accepted),
		cmocka_unit_test(
			what_a_later_minor_version_adds_is_ignored_and_the_lower_one_counts),
		cmocka_unit_test(costs_that_are_unknown_are_left_out_and_malformed_ones_refused),
		cmocka_unit_test(
			a_target_of_0_1_fails_the_migration_by_both_versions_and_the_guest_runs_on),
	};
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
