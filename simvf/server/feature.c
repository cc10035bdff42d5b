/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * feature.c - DEVICE_FEATURE and the migration data: the protocol side of states, the DMA log
 * and the stream.
 */
#include "server.h"

#include <errno.h>
#include <string.h>

#define METHODS (VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_SET)

static uint32_t methods_of(const struct srv *s, uint32_t index)
{
	switch (index) {
	case VFIO_USER_FEATURE_MIGRATION:
		return VFIO_USER_FEATURE_GET;
	case VFIO_USER_FEATURE_DMA_LOG_REPORT:
		return s->args->no_dma_log ? 0 : VFIO_USER_FEATURE_GET;
	case VFIO_USER_FEATURE_MIG_STATE:
		return METHODS;
	case VFIO_USER_FEATURE_DMA_LOG_START:
	case VFIO_USER_FEATURE_DMA_LOG_STOP:
		return s->args->no_dma_log ? 0 : VFIO_USER_FEATURE_SET;
	case VFIO_USER_FEATURE_MIG_DATA_SIZE:
		return s->args->no_data_size ? 0 : VFIO_USER_FEATURE_GET;
	default:
		return 0;
	}
}

/* The reply to a GET: truncated to the client's buffer; argsz has the required size. */
static int answer(
	struct srv *s, const struct vfio_user_feature *request, const void *data, size_t len)
{
	struct vfio_user_feature f = {
		.argsz = (uint32_t)(sizeof(f) + len), .flags = request->flags};
	size_t room = request->argsz - sizeof(f);
	uint8_t *reply = srv_reply_room(&s->conn, sizeof(f) + len);

	memcpy(reply, &f, sizeof(f));
	memcpy(reply + sizeof(f), data, len < room ? len : room);
	return (int)(sizeof(f) + (len < room ? len : room));
}

static int echo(struct srv *s, const struct srv_message *m)
{
	uint8_t *reply = srv_reply_room(&s->conn, m->len);

	if (!reply)
		return -ENOMEM;
	memcpy(reply, m->body, m->len);
	return (int)m->len;
}

static int set_state(struct srv *s, const struct srv_message *m, uint64_t now)
{
	struct vfio_user_mig_state state;
	int rc;

	if (m->len < sizeof(struct vfio_user_feature) + sizeof(state))
		return -EINVAL;
	memcpy(&state, m->body + sizeof(struct vfio_user_feature), sizeof(state));
	/* reply first: the model may close the connection, or end the process */
	rc = echo(s, m);
	if (rc < 0)
		return rc;
	s->op.payload = (size_t)rc;
	rc = svf_set_state(s->dev, state.device_state, now);
	if (rc == SVF_PENDING) {
		s->op.kind = SRV_OP_ARC;
		return SRV_LATER;
	}
	return rc ? rc : (int)s->op.payload;
}

/* 0: go on; otherwise what the handler returns. */
static int log_enter(struct srv *s, enum svf_log_call call, uint64_t now)
{
	int rc = svf_log_enter(s->dev, call, now);

	if (rc != SVF_PENDING)
		return rc;
	if (s->op.kind != SRV_OP_LOG) /* else it is held up still, with its message */
		s->op = (struct srv_op){.kind = SRV_OP_LOG};
	return SRV_LATER;
}

static int log_start(struct srv *s, const struct srv_message *m, uint64_t now)
{
	struct vfio_user_log_start start;
	const size_t head = sizeof(struct vfio_user_feature);
	int rc;

	if (m->len < head + sizeof(start))
		return -EINVAL;
	memcpy(&start, m->body + head, sizeof(start));
	if (m->len != head + sizeof(start) +
				(uint64_t)start.num_ranges * sizeof(struct vfio_user_dma_range) ||
		s->dev->log.on)
		return -EINVAL;
	rc = log_enter(s, SVF_LOG_START, now);
	if (rc)
		return rc;
	rc = echo(s, m);
	if (rc < 0)
		return rc;
	start.page_size = SVF_BLOCK;
	memcpy(s->conn.reply + sizeof(struct vfio_user_header) + head, &start, sizeof(start));
	/* All of memory is logged, whatever the ranges: a report may request any range. */
	svf_log_start(s->dev);
	return rc;
}

static int log_report(struct srv *s, const struct srv_message *m,
	const struct vfio_user_feature *feature, uint64_t now)
{
	const size_t head = sizeof(*feature) + sizeof(struct vfio_user_log_report);
	struct vfio_user_log_report report;
	struct vfio_user_feature f = *feature;
	uint64_t pages, bytes;
	uint8_t *reply;
	int rc;

	if (m->len < head)
		return -EINVAL;
	memcpy(&report, m->body + sizeof(f), sizeof(report));
	if (!report.length || report.page_size < SVF_BLOCK)
		return -EINVAL;
	pages = (report.length - 1) / report.page_size + 1;
	bytes = (pages - 1) / 64 * 8 + 8;
	if (bytes > SRV_BITMAP_MAX)
		return -EINVAL;
	reply = srv_reply_room(&s->conn, head + bytes);
	if (!reply)
		return -ENOMEM;
	f.argsz = (uint32_t)(head + bytes);
	memcpy(reply, &f, sizeof(f));
	memcpy(reply + sizeof(f), &report, sizeof(report));
	if (feature->argsz < head + bytes)
		return feature->argsz < head
			       ? -EINVAL
			       : (int)head; /* the client repeats the request: nothing is lost */
	rc = log_enter(s, SVF_LOG_REPORT, now);
	if (rc)
		return rc;
	/* 48 bytes into an allocation, with its header: aligned for words */
	memset(reply + head, 0, bytes);
	rc = svf_log_report(s->dev, report.iova, report.length, report.page_size,
		(uint64_t *)(void *)(reply + head));
	return rc ? rc : (int)(head + bytes);
}

static int log_stop(struct srv *s, const struct srv_message *m, uint64_t now)
{
	int rc = log_enter(s, SVF_LOG_STOP, now);

	if (rc)
		return rc;
	svf_log_stop(s->dev);
	return echo(s, m);
}

static int get(
	struct srv *s, const struct srv_message *m, const struct vfio_user_feature *f, uint64_t now)
{
	struct vfio_user_mig_flags flags = {.flags = s->dev->config.mig_flags};
	struct vfio_user_mig_state state = {.device_state = s->dev->state, .data_fd = UINT32_MAX};
	struct vfio_user_mig_data_size size = {.stop_copy_length = svf_stop_copy_length(s->dev)};

	switch (f->flags & VFIO_USER_FEATURE_INDEX) {
	case VFIO_USER_FEATURE_MIGRATION:
		return answer(s, f, &flags, sizeof(flags));
	case VFIO_USER_FEATURE_MIG_STATE:
		return answer(s, f, &state, sizeof(state));
	case VFIO_USER_FEATURE_MIG_DATA_SIZE:
		return answer(s, f, &size, sizeof(size));
	default:
		return log_report(s, m, f, now);
	}
}

static int set(
	struct srv *s, const struct srv_message *m, const struct vfio_user_feature *f, uint64_t now)
{
	switch (f->flags & VFIO_USER_FEATURE_INDEX) {
	case VFIO_USER_FEATURE_MIG_STATE:
		return set_state(s, m, now);
	case VFIO_USER_FEATURE_DMA_LOG_START:
		return log_start(s, m, now);
	default:
		return log_stop(s, m, now);
	}
}

int srv_device_feature(struct srv *s, const struct srv_message *m, uint64_t now)
{
	struct vfio_user_feature f;
	uint32_t methods, offered;

	if (m->len < sizeof(f))
		return -EINVAL;
	memcpy(&f, m->body, sizeof(f));
	methods = f.flags & METHODS;
	offered = methods_of(s, f.flags & VFIO_USER_FEATURE_INDEX);
	if (f.argsz < sizeof(f) ||
		(f.flags & ~(VFIO_USER_FEATURE_INDEX | METHODS | VFIO_USER_FEATURE_PROBE)))
		return -EINVAL;
	if (!offered)
		return -ENOTTY;
	if (methods & ~offered)
		return -EINVAL;
	if (f.flags & VFIO_USER_FEATURE_PROBE)
		return echo(s, m);
	if (methods == VFIO_USER_FEATURE_GET)
		return get(s, m, &f, now);
	if (methods == VFIO_USER_FEATURE_SET)
		return set(s, m, &f, now);
	return -EINVAL;
}

void srv_mig_data_reply(struct srv *s, const struct vfio_user_header *request)
{
	struct vfio_user_mig_data data = {
		.argsz = (uint32_t)(sizeof(data) + s->op.got), .size = (uint32_t)s->op.got};
	/* Some clients need the padding: it is left out only for clients that negotiate it. */
	const size_t len = s->conn.peer.exact_reads ? s->op.got : s->op.want;
	uint8_t *reply = srv_reply_room(&s->conn, sizeof(data) + len);

	memcpy(reply, &data, sizeof(data));
	memset(reply + sizeof(data) + s->op.got, 0, len - s->op.got);
	srv_reply(s, request, sizeof(data) + len, 0, NULL, 0);
}

int srv_mig_data_read(struct srv *s, const struct srv_message *m, uint64_t now)
{
	struct vfio_user_mig_data data;
	uint8_t *reply;
	int rc;

	if (m->len < sizeof(data))
		return -EINVAL;
	memcpy(&data, m->body, sizeof(data));
	if (data.argsz < sizeof(data) || data.size > SRV_READ_MAX)
		return -EINVAL;
	reply = srv_reply_room(&s->conn, sizeof(data) + data.size);
	if (!reply)
		return -ENOMEM;
	s->op = (struct srv_op){.want = data.size};
	rc = svf_read(s->dev, reply + sizeof(data), data.size, &s->op.got, now);
	if (rc == SVF_PENDING) {
		s->op.kind = SRV_OP_READ;
		return SRV_LATER;
	}
	if (rc)
		return rc;
	srv_mig_data_reply(s, &m->header);
	return SRV_LATER;
}

int srv_mig_data_write(struct srv *s, const struct srv_message *m, uint64_t now)
{
	struct vfio_user_mig_data data;
	int rc;

	if (m->len < sizeof(data))
		return -EINVAL;
	memcpy(&data, m->body, sizeof(data));
	if (data.size != m->len - sizeof(data) || data.argsz < sizeof(data))
		return -EINVAL;
	rc = svf_write(s->dev, m->body + sizeof(data), data.size, now);
	if (rc == SVF_PENDING) {
		s->op = (struct srv_op){.kind = SRV_OP_WRITE};
		return SRV_LATER;
	}
	return rc;
}
