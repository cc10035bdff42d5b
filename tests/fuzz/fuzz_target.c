/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_target.c - a target, and a source that sends anything: frames in any order on any of its
 * connections, good state and bad, GO with the right nonce or another; with one data channel or
 * two and a device over both, with RAM copied or handed over by descriptor. For every input: without
 * a GO that it was ready for, the VM never ran.
 */
#include "../migration/fake_vm.h"
#include "migration/hello.h"
#include "migration/internal.h"
#include "peer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICES	     2
#define DEVICE_SIZE  600
#define CHANNELS_MAX 2

/* The first byte of an input. */
enum {
	MODE_STRANGER = 1, /* sends no HELLO */
	MODE_SPREAD = 2,   /* device 0 over both of two channels */
	MODE_FD = 4,
	MODE_FD_WORD = 8, /* with a shared word that is already written */
};

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
	KIND_DATA_SECOND,
	KIND_RAW_SECOND,
	KINDS
};

struct play {
	struct fake_vm vm;
	char uri[128];
	struct channel control, data[CHANNELS_MAX];
	unsigned channels;
	uint8_t mode;
	struct wire_go ticket;
	uint64_t sent[DEVICES], chain[DEVICES];
	unsigned good; /* how much of a whole state has been sent */
	bool go_sent;
};

static const char *const id = "00000000-0000-4000-8000-000000000001";

static bool dial(const char *uri, struct channel *out)
{
	struct channel_conn *conn;

	if (channel_conn_open(uri, NULL, swo_deadline_ms(PEER_MS), &conn, NULL))
		return false;
	channel_init(out, conn, PEER_MS);
	return true;
}

/* The payload of the next frame of this type; false when it never comes. */
static bool await(struct channel *channel, int type, uint8_t text[65536], uint32_t *len)
{
	struct channel_frame_header header;

	for (;;) {
		if (!channel->conn || channel_recv_header(channel, &header, 65535, 0, NULL) ||
			channel_recv_payload(channel, &header, text, header.length, NULL, 0, NULL))
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
	play->vm.any_length = true;
	params.setup_deadline_ms = params.idle_deadline_ms = PEER_MS / 2;
	params.commit_deadline_ms = 100;
	strcpy(play->uri, fake_uri());
	fuzz_check(!swo_migration_receive(
		&play->vm.vm, play->uri, &params, NULL, NULL, &play->vm.migration, NULL));
}

static int memory(uint64_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	fuzz_check(fd >= 0 && !ftruncate(fd, (off_t)size) &&
		   !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	return fd;
}

/* The word and RAM, as a source passes them. */
static void attach_memory(struct play *play, int fds[2])
{
	const uint64_t magic = 0x444e414853574f53u;
	const uint32_t word = play->mode & MODE_FD_WORD ? 2 : 0;

	fds[0] = memory(SWO_PAGE_SIZE);
	fds[1] = memory(swo_ram_region(play->vm.vm.ram, 0)->size);
	fuzz_check(pwrite(fds[0], &magic, sizeof(magic), 0) == sizeof(magic) &&
		   pwrite(fds[0], &word, sizeof(word), sizeof(magic)) == sizeof(word));
	fuzz_check(!channel_conn_attach_fds(play->control.conn, fds, 2, NULL));
}

static void open_data(struct play *play)
{
	for (unsigned i = 0; i < play->channels; i++)
		if (dial(play->uri, &play->data[i]))
			peer_frame(&play->data[i],
				(struct channel_frame_header){.type = WIRE_ATTACH, .device = i},
				&play->ticket, sizeof(play->ticket));
}

static void say_hello(struct play *play)
{
	static uint8_t answer[65536];
	struct swo_buf text = SWO_BUF_INIT(65536);
	struct swo_device_costs costs[DEVICES];
	struct migration_hello_ok ok = {0};
	struct hello hello;
	uint32_t len;

	fuzz_check(!migration_hello_describe(&play->vm.vm, &hello, NULL));
	strcpy(hello.id, id);
	hello.channels = play->channels;
	hello.running = true;
	hello.handover = play->mode & MODE_FD ? SWO_HANDOVER_FD : SWO_HANDOVER_COPY;
	for (unsigned i = 0; i < DEVICES; i++)
		hello.devices[i].window = 65536;
	if (play->mode & MODE_SPREAD) {
		hello.devices[0].spread = true;
		hello.devices[0].window = (size_t)CHANNELS_MAX * 4 * WIRE_STRIPE;
	}
	fuzz_check(!migration_hello_format(&hello, &text, NULL));
	migration_hello_free(&hello);
	strcpy(play->ticket.id, id);
	bool called = dial(play->uri, &play->control);
	int fds[2] = {-1, -1};

	if (called && play->mode & MODE_FD)
		attach_memory(play, fds);
	if (called &&
		peer_frame(&play->control, (struct channel_frame_header){.type = WIRE_HELLO},
			text.data, text.len) &&
		await(&play->control, WIRE_HELLO_OK, answer, &len) &&
		!migration_hello_ok_parse(answer, len, costs, DEVICES, &ok, NULL)) {
		play->ticket.nonce = ok.ticket;
		open_data(play);
	}
	swo_close_fd(&fds[0]);
	swo_close_fd(&fds[1]);
	swo_buf_free(&text);
}

/* Good things:
 */

/* A spread device's first stripe has its own place, its marks and the others' bytes another. */
static struct channel *data_of(struct play *play, unsigned device, bool mark)
{
	bool spread = play->mode & MODE_SPREAD && !device && !mark;

	return &play->data[wire_device_channel(device, 0, spread, play->channels)];
}

static void send_state(struct play *play, unsigned device, size_t len)
{
	struct channel_frame_header header = {
		.type = WIRE_DEVICE, .device = device, .offset = play->sent[device]};

	if (len > DEVICE_SIZE - play->sent[device] || !len)
		len = DEVICE_SIZE - play->sent[device];
	if (!len || !data_of(play, device, false)->conn)
		return;
	channel_send(data_of(play, device, false), &header,
		play->vm.devices[device].saved + play->sent[device], len, NULL);
	play->chain[device] = migration_sum(play->chain[device], header.checksum);
	play->sent[device] += len;
}

static void send_end(struct play *play, unsigned device)
{
	play->good += play->sent[device] == DEVICE_SIZE;
	peer_frame(data_of(play, device, true),
		(struct channel_frame_header){.type = WIRE_DEVICE_END,
			.device = device,
			.offset = play->sent[device],
			.pass = 1},
		&play->chain[device], sizeof(play->chain[device]));
}

static void send_fin(struct play *play)
{
	struct wire_end end = {.running = 1};

	for (unsigned i = 0; i < play->channels; i++) {
		struct wire_totals totals = {play->data[i].frames_sent, play->data[i].bytes_sent};

		end.all.frames += totals.frames;
		end.all.bytes += totals.bytes;
		peer_frame(&play->data[i], (struct channel_frame_header){.type = WIRE_FIN}, &totals,
			sizeof(totals));
	}
	peer_frame(&play->control, (struct channel_frame_header){.type = WIRE_END_ALL}, &end,
		sizeof(end));
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
	peer_frame(&play->control, (struct channel_frame_header){.type = WIRE_GO}, &go, sizeof(go));
}

/* Anything */

static void call(
	struct play *play, struct channel_frame_header header, const void *payload, size_t len)
{
	struct channel channel;

	if (!dial(play->uri, &channel))
		return;
	/* With the right nonce, if requested. */
	if (header.type == WIRE_ASK && header.pass & 1)
		peer_frame(&channel, header, &play->ticket, sizeof(play->ticket));
	else
		peer_frame(&channel, header, payload, len);
	peer_settle(&channel);
	channel_close(&channel);
}

static void take_step(struct play *play, const struct peer_step *step,
	struct channel_frame_header header, const uint8_t *payload)
{
	unsigned device = step->device % DEVICES;
	uint64_t counter = 5;

	switch ((enum kind)((step->kind & 0x7f) % KINDS)) {
	case KIND_CONTROL:
		/* GO is only sent by KIND_GO. */
		if (header.type != WIRE_GO)
			peer_frame(&play->control, header, payload, step->len);
		break;
	case KIND_DATA:
		peer_frame(&play->data[0], header, payload, step->len);
		break;
	case KIND_DATA_SECOND:
		peer_frame(&play->data[1], header, payload, step->len);
		break;
	case KIND_RAW_SECOND:
		peer_raw(&play->data[1], payload, step->len);
		break;
	case KIND_RAW_CONTROL:
		peer_raw(&play->control, payload, step->len);
		break;
	case KIND_RAW_DATA:
		peer_raw(&play->data[0], payload, step->len);
		break;
	case KIND_CALL:
		call(play, header, payload, step->len);
		break;
	case KIND_CONFIG:
		peer_frame(&play->control,
			(struct channel_frame_header){
				.type = WIRE_CONFIG, .device = device, .pass = 1},
			"c", 1);
		break;
	case KIND_STATE:
		send_state(play, device, step->len);
		break;
	case KIND_END:
		send_end(play, device);
		break;
	case KIND_MACHINE:
		peer_frame(&play->control, (struct channel_frame_header){.type = WIRE_MACHINE},
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
	struct channel_frame_header header;
	struct peer_step step;

	memset(&play, 0, sizeof(play));
	fuzz_take(&in.data, &in.size, &play.mode, 1);
	play.channels = play.mode & MODE_SPREAD ? 2 : 1;
	open_target(&play);
	if (!(play.mode & MODE_STRANGER))
		say_hello(&play);
	while (peer_next(&in, &step, &header, payload))
		take_step(&play, &step, header, payload);
	for (unsigned i = 0; i < CHANNELS_MAX; i++)
		peer_settle(&play.data[i]);
	peer_settle(&play.control);
	for (unsigned i = 0; i < CHANNELS_MAX; i++)
		channel_close(&play.data[i]);
	channel_close(&play.control);
	swo_migration_free(play.vm.migration);
	play.vm.migration = NULL;
	fuzz_check(play.go_sent || (!atomic_load(&play.vm.starts) && !fake_vm_runs(&play.vm)));
	fuzz_check(atomic_load(&play.vm.starts) <= 1);
	/* Forbidden by the word is forbidden, GO or not. */
	if (play.mode & MODE_FD && play.mode & MODE_FD_WORD)
		fuzz_check(!atomic_load(&play.vm.starts));
	fake_vm_close(&play.vm);
	return 0;
}
