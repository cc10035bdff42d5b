/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * commands.c - from a complete message to its reply: negotiation, dispatch, and the one command
 * that may be waiting for the device.
 */
#include "server.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static int version(struct srv *s, const struct srv_message *m)
{
	struct srv_conn *c = &s->conn;
	struct swo_buf out = SWO_BUF_INIT(4096);
	struct vfio_user_caps caps;
	int pair[2] = {-1, -1};
	uint8_t *room;

	if (c->negotiated)
		return -EINVAL;
	if (vfio_user_version_parse(m->body, m->len, &c->peer, NULL) ||
		c->peer.major != VFIO_USER_MAJOR) {
		c->doomed = true;
		return -EINVAL;
	}
	vfio_user_caps_init(&caps);
	caps.keys = c->peer.keys;
	caps.minor = c->peer.minor < VFIO_USER_MINOR ? c->peer.minor : VFIO_USER_MINOR;
	caps.max_msg_fds = VFIO_USER_FDS_MAX;
	caps.max_data_xfer = SRV_DATA_MAX;
	caps.max_dma_maps = SRV_MAPS_MAX;
	caps.write_multiple = true;
	caps.max_write = SRV_DATA_MAX;
	if (c->peer.twin_socket && c->peer.max_msg_fds && !s->args->no_twin &&
		!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		caps.twin_socket = true;
		caps.twin_fd_index = 0;
	}
	if (vfio_user_version_build(&caps, &out, NULL) || !(room = srv_reply_room(c, out.len))) {
		swo_close_fd(&pair[0]);
		swo_close_fd(&pair[1]);
		swo_buf_free(&out);
		return -ENOMEM;
	}
	memcpy(room, out.data, out.len);
	c->negotiated = true;
	c->twin = pair[0];
	srv_reply(s, &m->header, out.len, 0, &pair[1], pair[1] >= 0);
	swo_close_fd(&pair[1]);
	swo_buf_free(&out);
	return SRV_LATER;
}

static int dispatch(struct srv *s, struct srv_message *m, uint64_t now)
{
	/* An acknowledgement needs a buffer too: the handlers rely on a small one. */
	if (!srv_reply_room(&s->conn, 256))
		return -ENOMEM;
	if (m->header.command == VFIO_USER_VERSION)
		return version(s, m);
	if (!s->conn.negotiated)
		return -EINVAL;
	switch (m->header.command) {
	case VFIO_USER_DMA_MAP:
		return srv_dma_map(s, m);
	case VFIO_USER_DMA_UNMAP:
		return srv_dma_unmap(s, m);
	case VFIO_USER_GET_INFO:
		return srv_get_info(s, m);
	case VFIO_USER_GET_REGION_INFO:
		return srv_get_region_info(s, m);
	case VFIO_USER_GET_REGION_IO_FDS:
		return srv_get_region_io_fds(s, m);
	case VFIO_USER_GET_IRQ_INFO:
		return srv_get_irq_info(s, m);
	case VFIO_USER_SET_IRQS:
		return srv_set_irqs(s, m);
	case VFIO_USER_REGION_READ:
		return srv_region_read(s, m);
	case VFIO_USER_REGION_WRITE:
		return srv_region_write(s, m, now);
	case VFIO_USER_REGION_WRITE_MULTI:
		return srv_region_write_multi(s, m, now);
	case VFIO_USER_RESET:
		svf_reset(s->dev, now);
		return 0;
	case VFIO_USER_DEVICE_FEATURE:
		return srv_device_feature(s, m, now);
	case VFIO_USER_MIG_DATA_READ:
		return srv_mig_data_read(s, m, now);
	case VFIO_USER_MIG_DATA_WRITE:
		return srv_mig_data_write(s, m, now);
	default:
		return -EINVAL;
	}
}

static void answer(struct srv *s, const struct vfio_user_header *request, int rc)
{
	srv_reply(s, request, rc < 0 ? 0 : (size_t)rc, rc < 0 ? -rc : 0, NULL, 0);
}

void srv_command(struct srv *s, struct srv_message *m, uint64_t now)
{
	int rc;

	if (vfio_user_is_reply(&m->header)) { /* to a command of ours that timed out */
		srv_message_free(m);
		return;
	}
	rc = dispatch(s, m, now);
	if (rc != SRV_LATER)
		answer(s, &m->header, rc);
	if (s->op.kind != SRV_OP_NONE && !s->op.message)
		s->op.message = m;
	else
		srv_message_free(m);
}

void srv_progress(struct srv *s, uint64_t now)
{
	struct srv_op *op = &s->op;
	struct srv_message *m = op->message;
	int rc = 0;

	/* An arc continues when its client has disconnected. */
	if (op->kind != SRV_OP_ARC && svf_walking(s->dev))
		svf_advance(s->dev, now);
	switch (op->kind) {
	case SRV_OP_NONE:
		return;
	case SRV_OP_ARC:
		/* A device that reset itself meanwhile has dropped the arc. */
		rc = svf_walking(s->dev) ? svf_advance(s->dev, now) : -EIO;
		if (rc == SVF_PENDING)
			return;
		break;
	case SRV_OP_READ:
		/* Earlier bytes stay: the model appends at *got. */
		rc = svf_read(s->dev,
			srv_reply_room(&s->conn, sizeof(struct vfio_user_mig_data) + op->want) +
				sizeof(struct vfio_user_mig_data),
			op->want, &op->got, now);
		if (rc == SVF_PENDING)
			return;
		break;
	case SRV_OP_WRITE:
		rc = svf_write(s->dev, m->body + sizeof(struct vfio_user_mig_data),
			m->len - sizeof(struct vfio_user_mig_data), now);
		if (rc == SVF_PENDING)
			return;
		break;
	case SRV_OP_LOG:
		rc = srv_device_feature(s, m, now);
		if (rc == SRV_LATER)
			return;
		op->payload = rc < 0 ? 0 : (size_t)rc;
		rc = rc < 0 ? rc : 0;
		break;
	case SRV_OP_DELAY:
		if (now < op->due)
			return;
		break;
	}
	if (op->kind == SRV_OP_READ && !rc)
		srv_mig_data_reply(s, &m->header);
	else
		answer(s, &m->header, rc ? rc : (int)op->payload);
	srv_message_free(m);
	*op = (struct srv_op){0};
}
