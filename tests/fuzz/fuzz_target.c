/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_target.c - a target, and a source that sends anything: frames in any order on any of its
 * connections, good state and bad, GO with the right nonce or another. Whatever came: without a GO
 * that it had asked for, nothing ever ran.
 */
#include "../migration/fake_vm.h"
#include "migration/hello.h"
#include "migration/internal.h"
#include "peer.h"

#define DEVICES	    2
#define DEVICE_SIZE 600

enum kind {
	KIND_CONTROL,
	KIND_DATA,
	KIND_RAW_CONTROL,
	KIND_RAW_DATA,
	KIND_CALL, /* a new connection, whose first frame it is */
	KIND_CONFIG,
	KIND_STATE, /* the next bytes of a device's state, the right ones */
	KIND_END,
	KIND_MACHINE,
	KIND_FIN,
	KIND_GO, /* waits for READY when there is a chance of it */
	KIND_ATTACH,
	KINDS
};

struct play {
	struct fake_vm vm;
	char uri[128];
	struct swo_channel control, data;
	struct wire_go ticket;
	uint64_t sent[DEVICES], chain[DEVICES];
	unsigned good; /* how much of a whole state has been sent */
	bool go_sent;
};

static const char *const id = "00000000-0000-4000-8000-000000000001";

static bool dial(const char *uri, struct swo_channel *out)
{
	struct swo_conn *conn;

	if (swo_conn_open(uri, NULL, swo_deadline_ms(PEER_MS), &conn, NULL))
		return false;
	swo_channel_init(out, conn, PEER_MS);
	return true;
}

/* The payload of the next frame of this type; false when it never comes. */
static bool await(struct swo_channel *channel, int type, uint8_t text[65536], uint32_t *len)
{
	struct swo_frame_header header;

	for (;;) {
		if (!channel->conn || swo_channel_recv_header(channel, &header, 65535, 0, NULL) ||
			swo_channel_recv_payload(
				channel, &header, text, header.length, NULL, 0, NULL))
			return false;
		*len = header.length;
		if (header.type == type)
			return true;
		if (header.type == WIRE_REFUSED || header.type == WIRE_ABORT)
			return false;
	}
}

static void open_target(struct play *play)
{
	struct swo_migration_params params = fake_params();

	fake_vm_open(&play->vm, DEVICES, false, DEVICE_SIZE, SWO_TRANSITIONS_PARALLEL);
	params.setup_deadline_ms = params.idle_deadline_ms = PEER_MS / 2;
	params.commit_deadline_ms = 100;
	strcpy(play->uri, fake_uri());
	fuzz_check(!swo_migration_receive(
		&play->vm.vm, play->uri, &params, NULL, NULL, &play->vm.migration, NULL));
}

static void say_hello(struct play *play)
{
	static uint8_t answer[65536];
	struct swo_buf text = SWO_BUF_INIT(65536);
	struct hello_cost costs[DEVICES];
	struct hello_ok ok = {0};
	struct hello hello;
	uint32_t len;

	fuzz_check(!hello_describe(&play->vm.vm, &hello, NULL));
	strcpy(hello.id, id);
	hello.channels = 1;
	hello.running = true;
	for (unsigned i = 0; i < DEVICES; i++)
		hello.devices[i].window = 65536;
	fuzz_check(!hello_format(&hello, &text, NULL));
	hello_free(&hello);
	strcpy(play->ticket.id, id);
	if (dial(play->uri, &play->control) &&
		peer_frame(&play->control, (struct swo_frame_header){.type = WIRE_HELLO}, text.data,
			text.len) &&
		await(&play->control, WIRE_HELLO_OK, answer, &len) &&
		!hello_ok_parse(answer, len, costs, DEVICES, &ok, NULL) &&
		dial(play->uri, &play->data)) {
		play->ticket.nonce = ok.ticket;
		peer_frame(&play->data, (struct swo_frame_header){.type = WIRE_ATTACH},
			&play->ticket, sizeof(play->ticket));
	}
	swo_buf_free(&text);
}

/* ---- good things -------------------------------------------------------------------------------
 */

static void send_state(struct play *play, unsigned device, size_t len)
{
	struct swo_frame_header header = {
		.type = WIRE_DEVICE, .device = device, .offset = play->sent[device]};
	uint8_t bytes[DEVICE_SIZE];

	if (len > DEVICE_SIZE - play->sent[device] || !len)
		len = DEVICE_SIZE - play->sent[device];
	if (!len || !play->data.conn)
		return;
	for (size_t i = 0; i < len; i++) {
		size_t at = play->sent[device] + i;

		bytes[i] = (uint8_t)(play->vm.devices[device].seed + at * 131 + (at >> 8));
	}
	swo_channel_send(&play->data, &header, bytes, len, NULL);
	play->chain[device] = migration_sum(play->chain[device], header.checksum);
	play->sent[device] += len;
}

static void send_end(struct play *play, unsigned device)
{
	play->good += play->sent[device] == DEVICE_SIZE;
	peer_frame(&play->data,
		(struct swo_frame_header){.type = WIRE_DEVICE_END,
			.device = device,
			.offset = play->sent[device],
			.pass = 1},
		&play->chain[device], sizeof(play->chain[device]));
}

static void send_fin(struct play *play)
{
	struct wire_totals totals = {play->data.frames_sent, play->data.bytes_sent};
	struct wire_end end = {.all = totals, .running = 1};

	peer_frame(
		&play->data, (struct swo_frame_header){.type = WIRE_FIN}, &totals, sizeof(totals));
	peer_frame(
		&play->control, (struct swo_frame_header){.type = WIRE_END_ALL}, &end, sizeof(end));
	play->good++;
}

static void send_go(struct play *play, bool right)
{
	static uint8_t text[65536];
	struct wire_go go = {.nonce = 1};
	uint32_t len;

	if (right && play->good >= DEVICES + 1 && await(&play->control, WIRE_READY, text, &len) &&
		len == sizeof(go)) {
		memcpy(&go, text, sizeof(go));
		play->go_sent = true;
	}
	peer_frame(&play->control, (struct swo_frame_header){.type = WIRE_GO}, &go, sizeof(go));
}

/* ---- anything
 * ------------------------------------------------------------------------------------- */

static void call(struct play *play, struct swo_frame_header header, const void *payload, size_t len)
{
	struct swo_channel channel;

	if (!dial(play->uri, &channel))
		return;
	/* With the right ticket, if it is asked for. */
	if (header.type == WIRE_ASK && header.pass & 1)
		peer_frame(&channel, header, &play->ticket, sizeof(play->ticket));
	else
		peer_frame(&channel, header, payload, len);
	peer_settle(&channel);
	swo_channel_close(&channel);
}

static void take_step(struct play *play, const struct peer_step *step,
	struct swo_frame_header header, const uint8_t *payload)
{
	unsigned device = step->device % DEVICES;
	uint64_t counter = 5;

	switch ((enum kind)((step->kind & 0x7f) % KINDS)) {
	case KIND_CONTROL:
		/* GO is for KIND_GO, which knows what it does. */
		if (header.type != WIRE_GO)
			peer_frame(&play->control, header, payload, step->len);
		break;
	case KIND_DATA:
		peer_frame(&play->data, header, payload, step->len);
		break;
	case KIND_RAW_CONTROL:
		peer_raw(&play->control, payload, step->len);
		break;
	case KIND_RAW_DATA:
		peer_raw(&play->data, payload, step->len);
		break;
	case KIND_CALL:
		call(play, header, payload, step->len);
		break;
	case KIND_CONFIG:
		peer_frame(&play->control,
			(struct swo_frame_header){.type = WIRE_CONFIG, .device = device, .pass = 1},
			"c", 1);
		break;
	case KIND_STATE:
		send_state(play, device, step->len);
		break;
	case KIND_END:
		send_end(play, device);
		break;
	case KIND_MACHINE:
		peer_frame(&play->control, (struct swo_frame_header){.type = WIRE_MACHINE},
			&counter, sizeof(counter));
		break;
	case KIND_FIN:
		send_fin(play);
		break;
	case KIND_GO:
		send_go(play, !(step->device & 1));
		break;
	case KIND_ATTACH:
		header.type = WIRE_ATTACH;
		call(play, header, &play->ticket, sizeof(play->ticket));
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t payload[PEER_PAYLOAD_MAX];
	static struct play play;
	struct peer_input in = {data, size, 0};
	struct swo_frame_header header;
	struct peer_step step;
	uint8_t mode = 0;

	memset(&play, 0, sizeof(play));
	fuzz_take(&in.data, &in.size, &mode, 1);
	open_target(&play);
	if (!(mode & 1))
		say_hello(&play);
	while (peer_next(&in, &step, &header, payload))
		take_step(&play, &step, header, payload);
	peer_settle(&play.data);
	peer_settle(&play.control);
	swo_channel_close(&play.data);
	swo_channel_close(&play.control);
	swo_migration_free(play.vm.migration);
	play.vm.migration = NULL;
	fuzz_check(play.go_sent || (!atomic_load(&play.vm.starts) && !fake_vm_runs(&play.vm)));
	fuzz_check(atomic_load(&play.vm.starts) <= 1);
	fake_vm_close(&play.vm);
	return 0;
}
