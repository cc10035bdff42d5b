/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_source.c - a source, and a target that replies with anything. For every input: unless the
 * source has accepted READY, its VM continues to run.
 */
#include "../migration/fake_vm.h"
#include "migration/hello.h"
#include "migration/internal.h"
#include "peer.h"

#include <stdlib.h>

#define DEVICES 2

enum kind { KIND_FRAME, KIND_RAW, KIND_INITIAL, KIND_CREDIT, KIND_READY, KINDS };

struct stage {
	struct fake_vm vm;
	struct channel_listener *listener;
	struct channel control, data;
	pthread_t listen_in[2];
	bool listens[2];
	struct hello hello;
	atomic_uint marks;    /* INITIAL that came */
	atomic_bool all_sent; /* END_ALL was received */
};

static bool take_call(struct stage *stage, struct channel *out)
{
	struct channel_conn *conn;

	if (channel_listener_accept(stage->listener, swo_deadline_ms(PEER_MS), &conn, NULL))
		return false;
	channel_init(out, conn, PEER_MS);
	return true;
}

static bool hear(
	struct channel *channel, struct channel_frame_header *header, uint8_t *text, uint32_t room)
{
	return !channel_recv_header(channel, header, room, 0, NULL) &&
	       !channel_recv_payload(channel, header, text, header->length, NULL, 0, NULL);
}

/*
 * Receives the source's messages, and replies to its clock request: it would not continue
 * otherwise.
 */
static void *listen_in(void *opaque)
{
	struct stage *stage = opaque;
	const uint32_t room = 1 << 20;
	struct channel_frame_header header;
	uint8_t *text = malloc(room);

	while (text && hear(&stage->control, &header, text, room))
		if (header.type == WIRE_CLOCK)
			peer_frame(&stage->control,
				(struct channel_frame_header){
					.type = WIRE_CLOCK_REPLY, .pass = swo_now_ns()},
				NULL, 0);
		else if (header.type == WIRE_END_ALL)
			atomic_store(&stage->all_sent, true);
	free(text);
	return NULL;
}

static void *swallow(void *opaque)
{
	struct stage *stage = opaque;
	const uint32_t room = 1 << 20;
	struct channel_frame_header header;
	uint8_t *text = malloc(room);

	while (text && hear(&stage->data, &header, text, room))
		if (header.type == WIRE_INITIAL)
			atomic_fetch_add(&stage->marks, 1);
	free(text);
	return NULL;
}

static void open_source(struct stage *stage)
{
	struct swo_migration_params params = fake_params();
	const char *uri = fake_uri();

	fake_vm_open(&stage->vm, DEVICES, true, 600, SWO_TRANSITIONS_PARALLEL);
	params.channels = 1;
	params.setup_deadline_ms = params.idle_deadline_ms = PEER_MS / 2;
	params.switchover_deadline_ms = params.commit_deadline_ms = 100;
	fuzz_check(!channel_listener_open(uri, NULL, NULL, &stage->listener, NULL));
	fuzz_check(!swo_migration_send(
		&stage->vm.vm, uri, &params, NULL, NULL, &stage->vm.migration, NULL));
}

static void agree(struct stage *stage)
{
	struct swo_device_costs costs[DEVICES] = {0};
	const struct migration_hello_ok ok = {.ticket = 77};
	struct swo_buf text = SWO_BUF_INIT(65536);

	fuzz_check(!migration_hello_ok_format(costs, DEVICES, &ok, &text, NULL));
	peer_frame(&stage->control, (struct channel_frame_header){.type = WIRE_HELLO_OK}, text.data,
		text.len);
	swo_buf_free(&text);
	stage->listens[0] = !pthread_create(&stage->listen_in[0], NULL, listen_in, stage);
	if (take_call(stage, &stage->data))
		stage->listens[1] = !pthread_create(&stage->listen_in[1], NULL, swallow, stage);
}

static void be_ready(struct stage *stage, bool right)
{
	struct wire_go go = {.nonce = 42};

	for (int i = 0; i < 1000 && right && !atomic_load(&stage->all_sent); i++)
		swo_sleep_until(swo_now_ns() + 200000);
	if (right)
		memcpy(go.id, stage->hello.id, sizeof(go.id));
	peer_frame(&stage->control,
		(struct channel_frame_header){.type = WIRE_READY, .offset = stage->hello.nonce},
		&go, sizeof(go));
}

static void take_step(struct stage *stage, const struct peer_step *step,
	struct channel_frame_header header, const uint8_t *payload, bool *ready)
{
	switch ((enum kind)((step->kind & 0x7f) % KINDS)) {
	case KIND_FRAME:
		/* READY with the right ID cannot be sent by chance, but by a fuzzer that has seen
		   it. */
		if (header.type == WIRE_READY && step->len == sizeof(struct wire_go))
			*ready = true;
		/* A nonce cannot be found by chance; 0 stands for the right one. */
		if (!header.offset && header.type >= WIRE_READY && header.type <= WIRE_REFUSED)
			header.offset = stage->hello.nonce;
		peer_frame(&stage->control, header, payload, step->len);
		break;
	case KIND_RAW:
		peer_raw(&stage->control, payload, step->len);
		break;
	case KIND_INITIAL:
		/* Earlier it is malformed. */
		for (int i = 0; i < 1000 && atomic_load(&stage->marks) < DEVICES; i++)
			swo_sleep_until(swo_now_ns() + 200000);
		for (unsigned i = 0; i < DEVICES; i++)
			peer_frame(&stage->control,
				(struct channel_frame_header){
					.type = WIRE_INITIAL_LOADED, .device = i},
				NULL, 0);
		break;
	case KIND_CREDIT:
		header.type = WIRE_CREDIT;
		peer_frame(&stage->control, header, NULL, 0);
		break;
	case KIND_READY:
		*ready = *ready || !(step->device & 1);
		be_ready(stage, !(step->device & 1));
		break;
	default:
		break;
	}
}

static void close_stage(struct stage *stage, bool ready)
{
	channel_shutdown(&stage->control);
	if (stage->data.conn)
		channel_shutdown(&stage->data);
	for (int i = 0; i < 2; i++)
		if (stage->listens[i])
			pthread_join(stage->listen_in[i], NULL);
	channel_close(&stage->data);
	channel_close(&stage->control);
	channel_listener_close(stage->listener);
	swo_migration_free(stage->vm.migration);
	stage->vm.migration = NULL;
	fuzz_check(ready || fake_vm_runs(&stage->vm));
	migration_hello_free(&stage->hello);
	fake_vm_close(&stage->vm);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t payload[PEER_PAYLOAD_MAX], text[65536];
	static struct stage stage;
	struct peer_input in = {data, size, 0};
	struct channel_frame_header header;
	struct peer_step step;
	bool ready = false;
	uint8_t mode = 0;

	memset(&stage, 0, sizeof(stage));
	fuzz_take(&in.data, &in.size, &mode, 1);
	open_source(&stage);
	fuzz_check(take_call(&stage, &stage.control));
	fuzz_check(hear(&stage.control, &header, text, sizeof(text)) && header.type == WIRE_HELLO);
	fuzz_check(!migration_hello_parse(text, header.length, &stage.hello, NULL));
	if (!(mode & 1))
		agree(&stage);
	while (peer_next(&in, &step, &header, payload))
		take_step(&stage, &step, header, payload, &ready);
	peer_settle(&stage.control);
	close_stage(&stage, ready);
	return 0;
}
