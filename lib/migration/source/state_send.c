/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state_send.c - see state_send.h.
 */
#include "migration/source/state_send.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A chunk that starts in the middle of a stripe covers one more. */
#define PIECES_MAX (WIRE_DEVICE_MAX / WIRE_STRIPE + 1)

struct state_send {
	struct swo_migration *m;
	struct swo_worker *workers[WIRE_CHANNELS_MAX];
};

struct piece {
	struct swo_job job;
	struct channel *channel;
	struct channel_frame_header header;
	const uint8_t *data;
	size_t len;
	struct swo_error err;
	int rc;
};

struct state_lane {
	struct state_send *send;
	unsigned device;
	unsigned current;
	struct half {
		uint8_t *data;
		struct piece pieces[PIECES_MAX];
		unsigned count; /* in flight */
	} halves[2];
};

int source_state_send_create(
	struct swo_migration *m, struct state_send **out, struct swo_error *err)
{
	struct state_send *send = calloc(1, sizeof(*send));

	if (!send)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "cannot create the senders of device state");
	send->m = m;
	for (unsigned i = 0; i < m->params.channels; i++) {
		char name[24];

		snprintf(name, sizeof(name), "swo-state-%u", i);
		if (swo_worker_create(name, &send->workers[i], err)) {
			source_state_send_destroy(send);
			return -1;
		}
	}
	*out = send;
	return 0;
}

void source_state_send_destroy(struct state_send *send)
{
	if (!send)
		return;
	for (unsigned i = 0; i < WIRE_CHANNELS_MAX; i++)
		/* Its sends have deadlines and its channel was shut down: it ends. */
		if (send->workers[i])
			swo_worker_destroy(send->workers[i], swo_deadline_ms(3600000));
	free(send);
}

int source_lane_create(struct state_send *send, unsigned device, size_t chunk,
	struct state_lane **out, struct swo_error *err)
{
	struct state_lane *lane = calloc(1, sizeof(*lane));

	if (lane) {
		lane->send = send;
		lane->device = device;
		lane->halves[0].data = base_calloc_prefaulted(chunk);
		lane->halves[1].data = base_calloc_prefaulted(chunk);
	}
	if (!lane || !lane->halves[0].data || !lane->halves[1].data) {
		source_lane_destroy(lane);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s: buffers",
			swo_device_name(send->m->vm.devices[device]));
	}
	*out = lane;
	return 0;
}

void source_lane_destroy(struct state_lane *lane)
{
	if (!lane)
		return;
	free(lane->halves[0].data);
	free(lane->halves[1].data);
	free(lane);
}

uint8_t *source_lane_buffer(struct state_lane *lane)
{
	return lane->halves[lane->current].data;
}

static void send_piece(void *opaque)
{
	struct piece *piece = opaque;

	piece->rc =
		channel_send(piece->channel, &piece->header, piece->data, piece->len, &piece->err);
}

/* Waits for all, even if one fails: they use the half's memory. */
static int finish(struct half *half, uint64_t *sum, struct swo_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < half->count; i++) {
		struct piece *piece = &half->pieces[i];

		/* Terminates: every send detects a stall. */
		while (!swo_job_wait(&piece->job, swo_deadline_ms(1000)))
			;
		if (piece->rc && !rc && err)
			*err = piece->err;
		rc = piece->rc ? -1 : rc;
		*sum = migration_sum(*sum, piece->header.checksum);
	}
	half->count = 0;
	return rc;
}

int source_lane_send(
	struct state_lane *lane, uint64_t offset, size_t len, uint64_t *sum, struct swo_error *err)
{
	struct swo_migration *m = lane->send->m;
	struct half *half = &lane->halves[lane->current];

	for (size_t at = 0; at < len;) {
		struct piece *piece = &half->pieces[half->count++];
		const uint64_t to = offset + at, room = WIRE_STRIPE - to % WIRE_STRIPE;
		const unsigned channel =
			wire_device_channel(lane->device, to, true, m->params.channels);

		*piece = (struct piece){.channel = &m->data[channel],
			.data = half->data + at,
			.len = len - at < room ? len - at : (size_t)room,
			.header = {.type = WIRE_DEVICE, .device = lane->device, .offset = to},
			.job = {.fn = send_piece, .opaque = piece}};
		at += piece->len;
		swo_worker_submit(lane->send->workers[channel], &piece->job);
	}
	lane->current = !lane->current;
	return finish(&lane->halves[lane->current], sum, err);
}

int source_lane_drain(struct state_lane *lane, uint64_t *sum, struct swo_error *err)
{
	struct swo_error later;
	int rc = finish(&lane->halves[lane->current], sum, err);

	return finish(&lane->halves[!lane->current], sum, rc ? &later : err) ? -1 : rc;
}
