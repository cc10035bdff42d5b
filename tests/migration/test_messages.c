/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every message that a target can send, twice and at any moment: before GO the source runs on, after
 * GO only a STARTED or a REFUSED decides.
 */
#include "stage.h"

#include <stdlib.h>
#include <string.h>

enum moment { AFTER_HELLO, IN_THE_STOP, AFTER_GO, MOMENTS };

/* Those of a target; any other is of the other direction, of a data channel, or none. */
static const struct message {
	enum wire_type type;
	const char *words; /* of the error before GO */
} messages[] = {
	{WIRE_HELLO_OK, "duplicate HELLO_OK"},
	{WIRE_CLOCK_REPLY, "the target refused: no"},
	{WIRE_CREDIT, "more than may have been sent"}, /* the nonce is the number of bytes */
	{WIRE_INITIAL_LOADED, "mark 0, which was not sent"},
	{WIRE_READY, "the target refused"},
	{WIRE_STARTING, "the target refused: no"},
	{WIRE_STARTED, "the target refused: no"},
	{WIRE_REFUSED, "the target refused: twice"},
	{WIRE_TIMELINE, "the target refused: no"},
	{WIRE_AGREED, "the target refused: no"},
	{WIRE_ABORT, "the target refused: twice"},
	{WIRE_PING, "the target refused: no"},
};

static const unsigned others[] = {0, WIRE_HELLO, WIRE_CLOCK, WIRE_CONFIG, WIRE_MACHINE,
	WIRE_END_ALL, WIRE_GO, WIRE_DONE, WIRE_ASK, WIRE_WINDOW, WIRE_WINDOW + 1, WIRE_HELLO_OK - 1,
	WIRE_AGREED + 1, WIRE_PING + 1, WIRE_ATTACH, WIRE_RAM, WIRE_RAM_ZERO, WIRE_DEVICE,
	WIRE_INITIAL, WIRE_DEVICE_END, WIRE_FIN, WIRE_FIN + 1, 999};

static void play_to(struct stage *stage, enum moment moment)
{
	stage_open(stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
	if (moment == IN_THE_STOP)
		stage_play_to_stop(stage);
	if (moment == AFTER_GO)
		stage_play_to_go(stage);
}

static void send_twice(struct stage *stage, unsigned type)
{
	struct wire_go go = {.nonce = 42};
	const struct channel_frame_header header = {
		.type = (uint16_t)type, .offset = stage->hello.nonce};

	memcpy(go.id, stage->hello.id, sizeof(go.id));
	for (int i = 0; i < 2; i++)
		if (type == WIRE_READY)
			send_frame(&stage->control, header, &go, sizeof(go));
		else
			send_frame(&stage->control, header, "twice", 5);
}

/* A source that has lost its target after GO sends ASK: the answer is REFUSED. */
static struct swo_migration_info await_end(struct stage *stage)
{
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	struct channel_frame_header header;
	static char text[65536];
	struct swo_migration_info info;
	struct channel_conn *conn;

	while (!swo_migration_wait(stage->vm.migration, swo_deadline_ms(2)) &&
		!swo_deadline_passed(guard)) {
		struct channel channel;

		if (channel_listener_accept(stage->listener, swo_deadline_ms(2), &conn, NULL))
			continue;
		channel_init(&channel, conn, STALL_MS);
		if (next_frame(&channel, &header, text) == WIRE_ASK)
			stage_reply(stage, &channel, WIRE_REFUSED, "no", 2);
		channel_close(&channel);
	}
	info = fake_end(&stage->vm);
	return info;
}

static void check(unsigned type, const char *words, enum moment moment)
{
	static struct stage stage;

	play_to(&stage, moment);
	send_twice(&stage, type);
	stage_reply(&stage, &stage.control, WIRE_REFUSED, "no", 2);
	const struct swo_migration_info info = await_end(&stage);
	const bool started = moment == AFTER_GO && type == WIRE_STARTED;

	if (info.status != (started ? SWO_MIGRATION_COMPLETED : SWO_MIGRATION_FAILED) ||
		fake_vm_runs(&stage.vm) == started)
		fail_msg("type %u at %d: status %d, '%s'", type, moment, info.status,
			info.error.text);
	/* READY is out of place until END_ALL, which the source has or has not sent. */
	if (type == WIRE_READY && moment == AFTER_HELLO)
		words = "precedes the end of the state";
	if (type == WIRE_READY && moment == IN_THE_STOP)
		words = "";
	if (moment != AFTER_GO && !strstr(info.error.text, words))
		fail_msg("type %u at %d: '%s' without '%s'", type, moment, info.error.text, words);
	stage_close(&stage);
}

static void before_go_every_message_twice_leaves_the_source_running(void **state)
{
	(void)state;
	for (int moment = AFTER_HELLO; moment < AFTER_GO; moment++) {
		for (size_t i = 0; i < SWO_ARRAY_SIZE(messages); i++)
			check(messages[i].type, messages[i].words, (enum moment)moment);
		for (size_t i = 0; i < SWO_ARRAY_SIZE(others); i++)
			check(others[i], "unexpected frame of type", (enum moment)moment);
	}
}

static void after_go_every_message_twice_decides_nothing_but_started_and_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(messages); i++)
		check(messages[i].type, "", AFTER_GO);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(others); i++)
		check(others[i], "", AFTER_GO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_go_every_message_twice_leaves_the_source_running),
		cmocka_unit_test(
			after_go_every_message_twice_decides_nothing_but_started_and_refused),
	};

	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
