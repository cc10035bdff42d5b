/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migration.c - states and state data over vfio-user: features of a server, arcs, reads
 * directly into the caller's buffer, writes in a window.
 */
#include "device/vfio_user/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int vfio_user_get_mig_flags(void *self, uint64_t *flags, struct swo_error *err)
{
	struct vfio_user *vu = self;
	struct vfio_user_mig_flags reply;
	struct swo_error why;

	if (vfio_user_feature(vu, VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_MIGRATION, "MIGRATION",
		    NULL, 0, &reply, sizeof(reply), sizeof(reply), vu->params.command_deadline_ms,
		    &why)) {
		if (vfio_user_is_unsupported(&why))
			return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
				"device %s: its vfio-user server does not support migration",
				vu->name);
		if (err)
			*err = why;
		return -1;
	}
	*flags = reply.flags & (SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY);
	if (vu->quirks & SWO_VFIO_USER_DISCARD_PRECOPY)
		*flags &= ~SWO_MIG_PRE_COPY;
	if (!(*flags & SWO_MIG_STOP_COPY))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: migration flags 0x%llx without STOP_COPY", vu->name,
			(unsigned long long)reply.flags);
	return 0;
}

/* A request for or of a state. */
struct state_request {
	struct vfio_user_call call;
	struct vfio_user_feature head, back;
	struct vfio_user_mig_state data, reply;
	uint8_t slack[VU_REPLY_SLACK];
	char what[64];
};

/* set NULL: requests the present one. */
static void state_request(
	struct state_request *request, const enum swo_device_state *set, uint64_t deadline_ms)
{
	const bool get = !set;
	const size_t room = get ? sizeof(request->reply) : sizeof(request->slack);

	request->head =
		(struct vfio_user_feature){.argsz = (uint32_t)(sizeof(request->head) + room),
			.flags = (get ? VFIO_USER_FEATURE_GET : VFIO_USER_FEATURE_SET) |
				 VFIO_USER_FEATURE_MIG_STATE};
	request->data =
		(struct vfio_user_mig_state){.device_state = set ? *set : 0, .data_fd = UINT32_MAX};
	if (get)
		strcpy(request->what, "GET MIG_DEVICE_STATE");
	else
		snprintf(request->what, sizeof(request->what), "SET MIG_DEVICE_STATE %s",
			swo_device_state_name(*set));
	request->call = (struct vfio_user_call){.command = VFIO_USER_DEVICE_FEATURE,
		.what = request->what,
		.request = {{&request->head, sizeof(request->head)},
			{&request->data, get ? 0 : sizeof(request->data)}},
		.reply = {{&request->back, sizeof(request->back)},
			{get ? (void *)&request->reply : request->slack, room}},
		.reply_min = get ? sizeof(request->back) + sizeof(request->reply) : 0,
		.deadline = swo_deadline_ms(deadline_ms)};
}

static int take_state(const struct vfio_user *vu, const struct state_request *request,
	enum swo_device_state *state, struct swo_error *err)
{
	if (request->reply.device_state >= SWO_DEVICE_STATES)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: its server reports the unknown state %u", vu->name,
			request->reply.device_state);
	*state = (enum swo_device_state)request->reply.device_state;
	return 0;
}

int vfio_user_get_state(void *self, enum swo_device_state *state, struct swo_error *err)
{
	struct vfio_user *vu = self;
	struct state_request request;

	state_request(&request, NULL, vu->params.command_deadline_ms);
	return vfio_user_do(vu->client, &request.call, err) || take_state(vu, &request, state, err)
		       ? -1
		       : 0;
}

/* The window of writes */

static int finish_oldest(struct vfio_user *vu, struct swo_error *err)
{
	struct vfio_user_write *write = &vu->window[vu->window_first];

	vu->window_first = (vu->window_first + 1) % VU_WINDOW;
	vu->window_count--;
	return vfio_user_finish(vu->client, &write->call, err);
}

/* Waits for all writes in flight; the first failure is returned, once. */
static int drain(struct vfio_user *vu, struct swo_error *err)
{
	struct swo_error first, next;
	int rc = 0;

	while (vu->window_count)
		if (finish_oldest(vu, rc ? &next : &first))
			rc = -1;
	if (rc && err)
		*err = first;
	return rc;
}

static int start_write(struct vfio_user *vu, const void *buf, uint32_t len, struct swo_error *err)
{
	struct vfio_user_write *write =
		&vu->window[(vu->window_first + vu->window_count) % VU_WINDOW];
	struct vfio_user_mig_data head = {.argsz = (uint32_t)sizeof(head) + len, .size = len};

	write->call = (struct vfio_user_call){.command = VFIO_USER_MIG_DATA_WRITE,
		.request = {{&head, sizeof(head)}, {(void *)buf, len}},
		.reply = {{write->reply, sizeof(write->reply)}},
		.deadline = swo_deadline_ms(vu->params.slow_deadline_ms)};
	if (vfio_user_start(vu->client, &write->call, err))
		return -1;
	vu->window_count++;
	return 0;
}

int vfio_user_data_write(void *self, const void *buf, size_t len, struct swo_error *err)
{
	struct vfio_user *vu = self;
	const uint8_t *data = buf;

	while (len) {
		uint32_t piece = len < vu->write_chunk ? (uint32_t)len : vu->write_chunk;

		if ((vu->window_count == VU_WINDOW && finish_oldest(vu, err)) ||
			start_write(vu, data, piece, err)) {
			/* The first failure is the one to return; later ones follow from it. */
			drain(vu, NULL);
			return -1;
		}
		data += piece;
		len -= piece;
	}
	return 0;
}

int vfio_user_data_flush(void *self, struct swo_error *err)
{
	return drain(self, err);
}

/* Reads, some of them in advance */

static int start_read(struct vfio_user *vu, void *buf, size_t len, struct swo_error *err)
{
	struct vfio_user_read *read =
		&vu->reads[(vu->reads_first + vu->reads_count) % SWO_READS_AHEAD];
	uint32_t want = len < vu->read_chunk ? (uint32_t)len : vu->read_chunk;
	struct vfio_user_mig_data head = {.argsz = (uint32_t)sizeof(head) + want, .size = want};

	if (!want)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "device %s: a read of 0 bytes", vu->name);
	if (vu->reads_count == SWO_READS_AHEAD)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: %d reads were requested and not collected", vu->name,
			SWO_READS_AHEAD);
	read->buf = buf;
	read->call = (struct vfio_user_call){.command = VFIO_USER_MIG_DATA_READ,
		.request = {{&head, sizeof(head)}},
		.reply = {{&read->head, sizeof(read->head)}, {buf, want}},
		.reply_min = sizeof(read->head),
		.deadline = swo_deadline_ms(vu->params.slow_deadline_ms)};
	if (vfio_user_start(vu->client, &read->call, err))
		return -1;
	vu->reads_count++;
	return 0;
}

/* The oldest request. */
static int finish_read(struct vfio_user *vu, size_t *got, struct swo_error *err)
{
	struct vfio_user_read *read = &vu->reads[vu->reads_first];
	size_t want = read->call.reply[1].iov_len;

	vu->reads_first = (vu->reads_first + 1) % SWO_READS_AHEAD;
	vu->reads_count--;
	if (vfio_user_finish(vu->client, &read->call, err)) {
		/* The kernel's errno for "no data for now"; a server may pass it on. */
		if (!vu->pre_copy || read->call.refused != ENOMSG)
			return -1;
		*got = 0;
		return 0;
	}
	/* Some servers pad the reply to the requested length: only `size` counts. */
	if (read->head.size > want || read->call.reply_len < sizeof(read->head) + read->head.size)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: malformed reply to a read of %zu bytes: size %u in a payload "
			"of %zu",
			vu->name, want, read->head.size, read->call.reply_len);
	*got = read->head.size;
	return 0;
}

/* Replies that will not be collected must not be written to memory that may be reused. */
static void forget_reads(struct vfio_user *vu)
{
	size_t got;

	while (vu->reads_count)
		finish_read(vu, &got, NULL);
}

int vfio_user_data_ask(void *self, void *buf, size_t len, struct swo_error *err)
{
	struct vfio_user *vu = self;

	/* libvfio-user takes the next message on the socket for the reply to its own command. */
	if (vu->quirks & SWO_VFIO_USER_SMALL_WRITES)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: its server supports one request at a time", vu->name);
	return start_read(vu, buf, len, err);
}

int vfio_user_data_read(void *self, void *buf, size_t len, size_t *got, struct swo_error *err)
{
	struct vfio_user *vu = self;

	if (!vu->reads_count && start_read(vu, buf, len, err))
		return -1;
	if (vu->reads[vu->reads_first].buf != buf)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: a direct read while a requested one is outstanding", vu->name);
	return finish_read(vu, got, err);
}

/* Other operations */

/* What was sent before it belongs to the state that it leaves. */
static int before_arc(struct vfio_user *vu, enum swo_device_state state, struct swo_error *err)
{
	forget_reads(vu);
	/* A refused write must not be finalised as if it had been loaded. */
	if (drain(vu, err))
		return -1;
	vu->pre_copy = state == SWO_DEVICE_PRE_COPY || state == SWO_DEVICE_PRE_COPY_P2P;
	return 0;
}

int vfio_user_set_state(void *self, enum swo_device_state state, struct swo_error *err)
{
	struct vfio_user *vu = self;
	struct state_request request;

	if (before_arc(vu, state, err))
		return -1;
	state_request(&request, &state, vu->params.slow_deadline_ms);
	return vfio_user_do(vu->client, &request.call, err);
}

/* Three requests and one wait: the server answers them in order. */
int vfio_user_set_state_seen(void *self, enum swo_device_state state, enum swo_device_state seen[2],
	struct swo_error *err)
{
	struct vfio_user *vu = self;
	struct state_request requests[3];
	struct swo_error later;
	unsigned started = 0;
	int rc;

	/* libvfio-user takes the next message on the socket for the reply to its own command. */
	if (vu->quirks & SWO_VFIO_USER_SMALL_WRITES)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: its server supports one request at a time", vu->name);
	rc = before_arc(vu, state, err);
	while (!rc && started < SWO_ARRAY_SIZE(requests)) {
		state_request(&requests[started], started == 1 ? &state : NULL,
			vu->params.slow_deadline_ms);
		rc = vfio_user_start(vu->client, &requests[started].call, err);
		started += !rc;
	}
	for (unsigned i = 0; i < started; i++)
		if (vfio_user_finish(vu->client, &requests[i].call, rc ? &later : err))
			rc = -1;
	if (rc)
		return -1;
	return take_state(vu, &requests[0], &seen[0], err) ||
			       take_state(vu, &requests[2], &seen[1], err)
		       ? -1
		       : 0;
}

int vfio_user_data_size(void *self, uint64_t *stop_copy_length, struct swo_error *err)
{
	struct vfio_user *vu = self;
	struct vfio_user_mig_data_size reply;

	if (!vu->has_data_size)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: its vfio-user server has no MIG_DATA_SIZE", vu->name);
	if (vfio_user_feature(vu, VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_MIG_DATA_SIZE,
		    "MIG_DATA_SIZE", NULL, 0, &reply, sizeof(reply), sizeof(reply),
		    vu->params.command_deadline_ms, err))
		return -1;
	*stop_copy_length = reply.stop_copy_length;
	return 0;
}

size_t vfio_user_read_chunk(void *self)
{
	return ((struct vfio_user *)self)->read_chunk;
}

size_t vfio_user_write_chunk(void *self)
{
	return ((struct vfio_user *)self)->write_chunk;
}

int vfio_user_reset(void *self, struct swo_error *err)
{
	struct vfio_user *vu = self;
	uint8_t slack[VU_REPLY_SLACK];

	/* This ends any earlier failure with state data. */
	forget_reads(vu);
	drain(vu, NULL);
	return vfio_user_command(vu, VFIO_USER_RESET, NULL, NULL, 0, slack, 0, sizeof(slack), NULL,
		vu->params.slow_deadline_ms, err);
}
