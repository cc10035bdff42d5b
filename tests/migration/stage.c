/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stage.c - simulates the target.
 */
#include "stage.h"

#include <string.h>

const struct swo_journal_config *stage_journal;
const char *stage_monitor;
struct swo_timeline *stage_timeline;
void (*stage_params)(struct swo_migration_params *params);

/* Receives the data channel; RAM that is handed over is not sent over it. */
static void *drain(void *opaque)
{
	struct stage *stage = opaque;
	const bool apart = stage->hello.handover == SWO_HANDOVER_FD;
	struct channel_frame_header header;
	static char bytes[1 << 20];

	while (!channel_recv_header(&stage->data, &header, sizeof(bytes), 30000, NULL) &&
		!channel_recv_payload(&stage->data, &header, bytes, header.length, NULL, 0, NULL)) {
		assert_true(!apart || (header.type != WIRE_RAM && header.type != WIRE_RAM_ZERO));
		if (header.type == WIRE_INITIAL)
			send_frame(&stage->control,
				(struct channel_frame_header){.type = WIRE_INITIAL_LOADED,
					.device = header.device,
					.pass = header.pass},
				NULL, 0);
	}
	return NULL;
}

struct channel stage_take_call(struct stage *stage)
{
	struct channel channel;
	struct channel_conn *conn;

	assert_int_equal(
		channel_listener_accept(stage->listener, swo_deadline_ms(STALL_MS), &conn, NULL),
		0);
	channel_init(&channel, conn, STALL_MS);
	assert_int_equal(channel_conn_accept_fds(conn, true, NULL), 0);
	return channel;
}

static void answer_clock(struct stage *stage)
{
	send_frame(&stage->control,
		(struct channel_frame_header){.type = WIRE_CLOCK_REPLY,
			.offset = stage->header.offset,
			.pass = swo_now_ns()},
		NULL, 0);
}

/* Replies to clock probes meanwhile. */
static int next_control(struct stage *stage, char text[65536])
{
	int type;

	while ((type = next_frame(&stage->control, &stage->header, text)) == WIRE_CLOCK)
		answer_clock(stage);
	return type;
}

static void hash_it(struct fake_vm *vm)
{
	((struct stage *)vm->hook)->hash = swo_ram_hash(vm->vm.ram);
}

void stage_await_hello(struct stage *stage, enum swo_handover asked)
{
	struct swo_migration_params params = fake_params();
	static char bytes[65536];

	memset(stage, 0, sizeof(*stage));
	ram_share_init(&stage->share);
	fake_vm_open(&stage->vm, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	stage->vm.vm.journal = stage_journal;
	stage->vm.vm.monitor = stage_monitor;
	if (asked == SWO_HANDOVER_FD) {
		stage->vm.hook = stage;
		stage->vm.on_save = hash_it;
	}
	strcpy(stage->uri, fake_uri());
	params.channels = 1;
	params.commit_deadline_ms = 200;
	params.handover = asked;
	if (stage_params)
		stage_params(&params);
	assert_int_equal(channel_listener_open(stage->uri, NULL, NULL, &stage->listener, NULL), 0);
	assert_int_equal(swo_migration_send(&stage->vm.vm, stage->uri, &params, NULL,
				 stage_timeline, &stage->vm.migration, NULL),
		0);
	stage->control = stage_take_call(stage);
	assert_int_equal(next_frame(&stage->control, &stage->header, bytes), WIRE_HELLO);
	assert_int_equal(
		migration_hello_parse(bytes, stage->header.length, &stage->hello, NULL), 0);
	assert_int_equal(stage->hello.handover, asked);
	/* Its RAM fits any RAM of that size; this one is at hand. */
	if (asked == SWO_HANDOVER_FD)
		assert_int_equal(
			ram_share_take(&stage->share, stage->vm.vm.ram, stage->control.conn, NULL),
			0);
}

void stage_open(struct stage *stage, enum swo_handover asked, enum swo_handover answer)
{
	struct swo_device_costs costs[2] = {0};
	const struct migration_hello_ok ok = {.ticket = 77, .handover = answer};
	struct swo_buf text = SWO_BUF_INIT(65536);

	stage_await_hello(stage, asked);
	assert_int_equal(migration_hello_ok_format(costs, 2, &ok, &text, NULL), 0);
	send_frame(&stage->control, (struct channel_frame_header){.type = WIRE_HELLO_OK}, text.data,
		text.len);
	swo_buf_free(&text);
}

void stage_reply(struct stage *stage, struct channel *channel, enum wire_type type,
	const void *payload, size_t len)
{
	send_frame(channel,
		(struct channel_frame_header){.type = (uint16_t)type, .offset = stage->hello.nonce},
		payload, len);
}

void stage_play_to_stop(struct stage *stage)
{
	static char text[65536];

	/* Eight probes precede the data channel; both are served in order of arrival. */
	for (int i = 0; i < 8; i++) {
		assert_int_equal(next_frame(&stage->control, &stage->header, text), WIRE_CLOCK);
		answer_clock(stage);
	}
	stage->data = stage_take_call(stage);
	assert_int_equal(pthread_create(&stage->drain, NULL, drain, stage), 0);
}

void stage_play_to_ready(struct stage *stage)
{
	static char text[65536];
	int type;

	stage_play_to_stop(stage);
	while ((type = next_control(stage, text)) != WIRE_END_ALL)
		assert_true(type == WIRE_CONFIG || type == WIRE_MACHINE);
	stage->go = (struct wire_go){.nonce = 42};
	memcpy(stage->go.id, stage->hello.id, sizeof(stage->go.id));
	stage_reply(stage, &stage->control, WIRE_READY, &stage->go, sizeof(stage->go));
}

void stage_play_to_go(struct stage *stage)
{
	static char text[65536];

	stage_play_to_ready(stage);
	assert_int_equal(next_control(stage, text), WIRE_GO);
	assert_memory_equal(text, &stage->go, sizeof(stage->go));
}

struct swo_migration_info stage_await_doubt(struct stage *stage)
{
	struct swo_migration_info info;
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	do {
		swo_migration_info(stage->vm.migration, &info);
		swo_sleep_until(swo_now_ns() + 1000000);
	} while (info.status != SWO_MIGRATION_IN_DOUBT && !swo_deadline_passed(guard));
	assert_int_equal(info.status, SWO_MIGRATION_IN_DOUBT);
	return info;
}

void stage_close(struct stage *stage)
{
	if (stage->data.conn)
		channel_shutdown(&stage->data);
	fake_vm_close(&stage->vm);
	if (stage->data.conn) {
		pthread_join(stage->drain, NULL);
		channel_close(&stage->data);
	}
	channel_close(&stage->control);
	channel_listener_close(stage->listener);
	migration_hello_free(&stage->hello);
	ram_share_close(&stage->share);
}
