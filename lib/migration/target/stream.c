/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream.c - a device's frames from the readers: bytes into its bounded ring at their offset,
 * from any channel; marks; its configuration.
 */
#include "migration/target/target.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The first byte at or after `from`, the start of a stripe, that is sent on `channel`. */
static uint64_t next_stripe(const struct target_device *td, unsigned channel, uint64_t from)
{
	const unsigned channels = td->target->hello.channels;
	const unsigned there = wire_device_channel(td->index, from, true, channels);

	return from + (uint64_t)((channel + channels - there) % channels) * WIRE_STRIPE;
}

static bool is_spread(const struct target_device *td)
{
	return td->target->hello.devices[td->index].spread;
}

void target_stream_init(struct target_device *td)
{
	const unsigned channels = td->target->hello.channels;
	const unsigned own = wire_device_channel(td->index, 0, false, channels);

	for (unsigned i = 0; i < channels; i++)
		td->next[i] = is_spread(td) ? next_stripe(td, i, 0) : i == own ? 0 : UINT64_MAX;
}

static struct target_device *find(
	struct target *t, const struct channel_frame_header *header, struct swo_error *err)
{
	if (header->device < t->devices_made)
		return &t->devices[header->device];
	swo_error_set(err, SWO_E_PROTOCOL, 0,
		"malformed frame of type %u: device %u, expected less than %u", header->type,
		header->device, t->devices_made);
	return NULL;
}

/* With the device's mutex held: checks that these bytes are allowed here and now. */
static int check_place(const struct target_device *td, unsigned channel,
	const struct channel_frame_header *header, struct swo_error *err)
{
	const char *name = swo_device_name(td->dev);
	const uint64_t due = td->next[channel];

	if (due == UINT64_MAX)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: data on another channel than its own", name);
	if (header->offset != due)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: data at offset %" PRIu64 ", expected %" PRIu64, name,
			header->offset, due);
	if (td->end_seen && (!is_spread(td) || header->offset >= td->end_offset ||
				    header->length > td->end_offset - header->offset))
		return swo_error_set(err, SWO_E_PROTOCOL, 0, "device %s: data after the end", name);
	/* `due` may be stripes beyond the credit, so this is not just a subtraction. */
	const uint64_t limit = td->consumed + td->window;
	const uint64_t room = due < limit ? limit - due : 0;

	if (header->length > room || !header->length)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: %u bytes exceed the window, %" PRIu64 " bytes free", name,
			header->length, room);
	if (is_spread(td) && header->length > WIRE_STRIPE - due % WIRE_STRIPE)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: %u bytes at offset %" PRIu64 " exceed a stripe", name,
			header->length, due);
	return 0;
}

/* With the device's mutex held: accounts for these bytes in the ring. */
static void book(
	struct target_device *td, unsigned channel, const struct channel_frame_header *header)
{
	const uint64_t end = header->offset + header->length;

	td->next[channel] =
		is_spread(td) && end % WIRE_STRIPE == 0 ? next_stripe(td, channel, end) : end;
	td->sum = migration_sum(td->sum, header->checksum);
	if (end > td->furthest)
		td->furthest = end;
	td->received = td->next[0];
	for (unsigned i = 1; i < td->target->hello.channels; i++)
		if (td->next[i] < td->received)
			td->received = td->next[i];
	td->whole = td->whole || (td->end_seen && td->received >= td->end_offset);
}

/* All of them, with this one as requested. UINT64_MAX: no such sum. */
static uint64_t windows_with(const struct target *t, unsigned device, uint64_t window)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < t->devices_made; i++) {
		const uint64_t one = i == device ? window : t->devices[i].window;

		if (one > UINT64_MAX - sum)
			return UINT64_MAX;
		sum += one;
	}
	return sum;
}

int target_device_window(
	struct target *t, const struct channel_frame_header *header, struct swo_error *err)
{
	const uint64_t window = header->offset;

	pthread_mutex_lock(&t->m.mutex);
	const bool open = t->migration_hello_taken;
	pthread_mutex_unlock(&t->m.mutex);
	struct target_device *td = open ? find(t, header, err) : NULL;

	if (!td)
		return open ? -1 : swo_error_set(err, SWO_E_PROTOCOL, 0, "WINDOW before HELLO_OK");
	/* Only this thread changes windows. */
	if (window <= td->window || windows_with(t, td->index, window) > t->m.params.link_window)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: a window of %" PRIu64 " bytes: expected more than %" PRIu64
			", and at most %zu for all devices together (link-window)",
			swo_device_name(td->dev), window, td->window, t->m.params.link_window);
	uint8_t *ring = base_calloc_prefaulted(window);

	if (!ring)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s: window of %" PRIu64,
			swo_device_name(td->dev), window);
	pthread_mutex_lock(&td->mutex);
	const bool late = td->begun;

	if (!late) {
		uint8_t *old = td->ring;

		td->ring = ring;
		td->window = window;
		ring = old;
	}
	pthread_mutex_unlock(&td->mutex);
	free(ring);
	return late ? swo_error_set(err, SWO_E_PROTOCOL, 0, "device %s: WINDOW after its data",
			      swo_device_name(td->dev))
		    : 0;
}

int target_device_data(struct target *t, unsigned channel,
	const struct channel_frame_header *header, struct swo_error *err)
{
	struct target_device *td = find(t, header, err);

	if (!td)
		return -1;
	pthread_mutex_lock(&td->mutex);
	int rc = check_place(td, channel, header, err);
	td->begun = true;
	pthread_mutex_unlock(&td->mutex);
	if (rc)
		return -1;

	/* This part of the ring belongs to this thread until it is accounted: the worker stays before it. */
	uint64_t at = header->offset % td->window;
	size_t first = header->length;

	if (first > td->window - at)
		first = td->window - at;
	if (channel_recv_payload(&t->m.data[channel], header, td->ring + at, first, td->ring,
		    header->length - first, err))
		return swo_error_prefix(err, "device %s", swo_device_name(td->dev));
	pthread_mutex_lock(&td->mutex);
	book(td, channel, header);
	pthread_cond_broadcast(&td->changed);
	pthread_mutex_unlock(&td->mutex);
	return 0;
}

/* With the device's mutex held. */
static int end(struct target_device *td, const struct channel_frame_header *header, uint64_t sum,
	struct swo_error *err)
{
	if (td->furthest > header->offset)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"device %s: received %" PRIu64 " bytes of its state, expected %" PRIu64,
			swo_device_name(td->dev), td->furthest, header->offset);
	td->end_seen = true;
	td->end_offset = header->offset;
	td->end_sum = sum;
	td->end_generation = header->pass;
	/* For a spread device, the rest may still be in flight on other channels. */
	td->whole = !is_spread(td) || td->received >= td->end_offset;
	return 0;
}

int target_device_mark(struct target *t, unsigned channel,
	const struct channel_frame_header *header, struct swo_error *err)
{
	struct target_device *td = find(t, header, err);
	uint64_t sum = 0;
	int rc = 0;

	if (!td)
		return -1;
	if (channel != wire_device_channel(td->index, 0, false, t->hello.channels))
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: mark on another channel than its own",
			swo_device_name(td->dev));
	if (header->length != (header->type == WIRE_DEVICE_END ? sizeof(sum) : 0))
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: malformed mark of type %u: %u bytes", swo_device_name(td->dev),
			header->type, header->length);
	if (channel_recv_payload(&t->m.data[channel], header, &sum, header->length, NULL, 0, err))
		return -1;
	pthread_mutex_lock(&td->mutex);
	if (header->type == WIRE_INITIAL) {
		td->initial_mark = header->offset;
		td->initial_number = header->pass;
		td->initial_told = false;
	} else
		rc = end(td, header, sum, err);
	pthread_cond_broadcast(&td->changed);
	pthread_mutex_unlock(&td->mutex);
	return rc;
}

void target_streams_over(struct target *t)
{
	for (unsigned i = 0; i < t->devices_made; i++) {
		struct target_device *td = &t->devices[i];

		/* Bytes that have not arrived by now are missing: the worker reports it. */
		pthread_mutex_lock(&td->mutex);
		td->whole = td->end_seen;
		pthread_cond_broadcast(&td->changed);
		pthread_mutex_unlock(&td->mutex);
	}
}

int target_device_config(struct target *t, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err)
{
	struct target_device *td = find(t, header, err);

	if (!td)
		return -1;
	pthread_mutex_lock(&td->mutex);
	/* A newer config replaces one that was not loaded yet: only the last counts. */
	td->config.len = 0;
	int rc = swo_buf_append(&td->config, payload, header->length, err);

	td->config_received = header->pass;
	pthread_cond_broadcast(&td->changed);
	pthread_mutex_unlock(&td->mutex);
	return rc;
}
