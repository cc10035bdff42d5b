/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * channel.c - a data connection's reader: RAM directly into guest memory, device state into the
 * device's ring. Every frame is checked.
 */
#include "migration/target/target.h"

#include "memory/ram.h"

#include <inttypes.h>
#include <string.h>

static struct swo_ram_region *ram_place(struct data_reader *reader,
	const struct channel_frame_header *header, uint64_t bytes, struct swo_error *err)
{
	struct swo_migration *m = &reader->target->m;
	struct swo_ram_region *region = header->device < swo_ram_count(m->vm.ram)
						? swo_ram_region(m->vm.ram, header->device)
						: NULL;
	const uint64_t mask = SWO_PAGE_SIZE - 1;

	if (m->share.page) {
		swo_error_set(err, SWO_E_PROTOCOL, 0,
			"unexpected RAM frame on channel %u: RAM was handed over by descriptor",
			reader->channel);
		return NULL;
	}
	if (!region || !bytes || (header->offset & mask) || (bytes & mask) ||
		bytes > region->size || header->offset > region->size - bytes) {
		swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed RAM frame: region %u, offset %" PRIu64 ", %" PRIu64
			" bytes: out of bounds",
			header->device, header->offset, bytes);
		return NULL;
	}
	/* The share of a channel is fixed, so that an older page never follows a newer one. */
	if ((header->offset >> WIRE_RAM_PIECE_SHIFT) !=
			((header->offset + bytes - 1) >> WIRE_RAM_PIECE_SHIFT) ||
		wire_ram_channel(header->offset, reader->target->hello.channels) !=
			reader->channel ||
		header->pass < reader->pass) {
		swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed RAM frame: region %u, offset %" PRIu64 ", pass %" PRIu64
			" on channel %u, out of order",
			header->device, header->offset, header->pass, reader->channel);
		return NULL;
	}
	reader->pass = header->pass;
	return region;
}

static int take_ram(struct data_reader *reader, const struct channel_frame_header *header,
	struct swo_error *err)
{
	struct swo_ram_region *region = ram_place(reader, header, header->length, err);

	if (!region)
		return -1;
	return channel_recv_payload(&reader->target->m.data[reader->channel], header,
		region->host + header->offset, header->length, NULL, 0, err);
}

static int take_zeros(struct data_reader *reader, const struct channel_frame_header *header,
	struct swo_error *err)
{
	struct wire_zero_run run = {0};

	if (header->length != sizeof(run))
		return swo_error_set(
			err, SWO_E_PROTOCOL, 0, "malformed RAM_ZERO: %u bytes", header->length);
	if (channel_recv_payload(&reader->target->m.data[reader->channel], header, &run,
		    sizeof(run), NULL, 0, err))
		return -1;
	struct swo_ram_region *region = ram_place(reader, header, run.bytes, err);

	if (!region)
		return -1;
	memory_region_clear(region, header->offset >> SWO_PAGE_SHIFT, run.bytes >> SWO_PAGE_SHIFT);
	return 0;
}

static int take_fin(struct data_reader *reader, const struct channel_frame_header *header,
	struct swo_error *err)
{
	struct target *t = reader->target;
	struct channel *channel = &t->m.data[reader->channel];
	struct wire_totals own = {
		.frames = channel->frames_received, .bytes = channel->bytes_received};
	struct wire_totals fin;

	if (header->length != sizeof(fin) ||
		channel_recv_payload(channel, header, &fin, sizeof(fin), NULL, 0, err))
		return swo_error_set(
			err, SWO_E_PROTOCOL, 0, "channel %u: malformed FIN", reader->channel);
	if (fin.frames != own.frames || fin.bytes != own.bytes)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"channel %u: %" PRIu64 " frames with %" PRIu64
			" bytes received, expected %" PRIu64 " with %" PRIu64,
			reader->channel, own.frames, own.bytes, fin.frames, fin.bytes);
	pthread_mutex_lock(&t->m.mutex);
	t->fin_count++;
	t->fins.frames += fin.frames;
	t->fins.bytes += fin.bytes;
	bool over = t->fin_count == t->hello.channels;
	pthread_cond_broadcast(&t->m.changed);
	pthread_mutex_unlock(&t->m.mutex);
	if (over)
		target_streams_over(t);
	return 0;
}

/* Returns 1 after the channel's last frame. */
static int take_frame(struct data_reader *reader, struct swo_error *err)
{
	struct target *t = reader->target;
	struct channel *channel = &t->m.data[reader->channel];
	struct channel_frame_header header;

	if (channel_recv_header(channel, &header, WIRE_DEVICE_MAX, 0, err))
		return -1;
	switch (header.type) {
	case WIRE_RAM:
		return take_ram(reader, &header, err);
	case WIRE_RAM_ZERO:
		return take_zeros(reader, &header, err);
	case WIRE_DEVICE:
		return target_device_data(t, reader->channel, &header, err);
	case WIRE_INITIAL:
	case WIRE_DEVICE_END:
		return target_device_mark(t, reader->channel, &header, err);
	case WIRE_FIN:
		return take_fin(reader, &header, err) ? -1 : 1;
	default:
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"channel %u: unexpected frame of type %u on a data channel",
			reader->channel, header.type);
	}
}

void *target_data_reader(void *opaque)
{
	struct data_reader *reader = opaque;
	struct swo_migration *m = &reader->target->m;
	struct swo_error err = {0};
	int rc = 0;

	while (!rc) {
		/* Between passes a channel may be idle; the control connection detects a lost peer. */
		if (!channel_conn_readable(m->data[reader->channel].conn, swo_deadline_ms(1000))) {
			if (atomic_load(&m->abort))
				return NULL;
			continue;
		}
		rc = take_frame(reader, &err);
	}
	if (rc < 0)
		migration_fail(m, &err);
	return NULL;
}
