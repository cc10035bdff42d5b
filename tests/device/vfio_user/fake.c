/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake.c - the scripted server: accepts one client and replies until it closes.
 */
#include "fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LONG() swo_deadline_ms(60000)

void fake_init(struct fake *fake)
{
	memset(fake, 0, sizeof(*fake));
	vfio_user_caps_init(&fake->caps);
	fake->caps.max_msg_fds = 8;
	fake->mig_flags = SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY;
	fake->has_data_size = fake->has_dma_log = true;
	fake->pad = true;
	fake->region_fd = fake->sock = fake->twin = fake->listener = -1;
	fake->state = SWO_DEVICE_RUNNING;
	fake->written.max = 64u << 20;
	pthread_mutex_init(&fake->lock, NULL);
}

/* Messages */

void fake_raw(struct fake *fake, const void *data, size_t len)
{
	struct iovec iov = {(void *)data, len};

	vfio_user_send(fake->sock, &iov, 1, NULL, 0, LONG(), NULL, NULL);
}

static void send_reply(struct fake *fake, const struct fake_message *m, const void *payload,
	size_t len, int error, const int *fds, unsigned fd_count)
{
	struct vfio_user_header header = vfio_user_reply_header(&m->header, len, error);
	size_t total = header.size;

	if (m->header.flags & VFIO_USER_NO_REPLY)
		return;
	memcpy(fake->reply, &header, sizeof(header));
	if (total > sizeof(header)) {
		memset(fake->reply + sizeof(header), 0, len);
		if (payload)
			memcpy(fake->reply + sizeof(header), payload, len);
	}
	if (fake->bend)
		fake->bend(fake, m, fake->reply, &total);
	struct iovec iov = {fake->reply, total};

	if (total)
		vfio_user_send(fake->sock, &iov, 1, fds, fd_count, LONG(), NULL, NULL);
}

void fake_reply(struct fake *fake, const struct fake_message *m, const void *payload, size_t len)
{
	send_reply(fake, m, payload, len, 0, NULL, 0);
}

void fake_refuse(struct fake *fake, const struct fake_message *m, int error)
{
	send_reply(fake, m, NULL, 0, error, NULL, 0);
}

int fake_command(struct fake *fake, int sock, uint16_t command, const void *payload, size_t len,
	void *reply, size_t room)
{
	struct vfio_user_header header = vfio_user_command_header(4711, command, len, false);
	struct iovec iov[] = {{&header, sizeof(header)}, {(void *)payload, len}};
	struct vfio_user_header back;

	(void)fake;
	if (vfio_user_send(sock, iov, 2, NULL, 0, LONG(), NULL, NULL) ||
		vfio_user_recv(sock, &back, reply, room, NULL, LONG(), NULL))
		return -1;
	if (!vfio_user_is_reply(&back) || back.id != 4711 || back.command != command)
		return -1;
	return back.flags & VFIO_USER_ERROR ? (int)back.error : 0;
}

int fake_dma(struct fake *fake, int sock, bool write, uint64_t addr, void *buf, uint64_t count)
{
	struct vfio_user_dma_access access = {.address = addr, .count = count};
	size_t out = sizeof(access) + (write ? count : 0);
	uint8_t *request = malloc(sizeof(access) + count);
	uint8_t *reply = calloc(1, sizeof(access) + count);

	memcpy(request, &access, sizeof(access));
	if (write)
		memcpy(request + sizeof(access), buf, count);
	int rc = fake_command(fake, sock, write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ, request,
		out, reply, sizeof(access) + (write ? 0 : count));

	if (!rc && memcmp(reply, &access, sizeof(access)))
		rc = -1;
	if (!rc && !write)
		memcpy(buf, reply + sizeof(access), count);
	free(request);
	free(reply);
	return rc;
}

/* The default server */

static void do_version(struct fake *fake, struct fake_message *m)
{
	struct swo_buf buf = SWO_BUF_INIT(65536);
	struct vfio_user_version numbers = {.major = fake->caps.major, .minor = fake->caps.minor};
	int sv[2] = {-1, -1};

	if (fake->version_text) {
		swo_buf_append(&buf, &numbers, sizeof(numbers), NULL);
		swo_buf_append(&buf, fake->version_text, strlen(fake->version_text) + 1, NULL);
	} else {
		if (fake->caps.twin_socket && !socketpair(AF_UNIX, SOCK_STREAM, 0, sv)) {
			fake->twin = sv[0];
			fake->caps.twin_fd_index = 0;
		}
		vfio_user_version_build(&fake->caps, &buf, NULL);
	}
	send_reply(fake, m, buf.data, buf.len, 0, &sv[1], sv[1] >= 0);
	swo_close_fd(&sv[1]);
	swo_buf_free(&buf);
}

static void do_region_info(struct fake *fake, struct fake_message *m)
{
	struct {
		struct vfio_user_region_info info;
		struct vfio_user_cap_sparse sparse;
		struct vfio_user_sparse_area area[2];
	} VFIO_USER_PACKED reply = {0};
	size_t len = sizeof(reply.info);

	memcpy(&reply.info, m->body, sizeof(reply.info));
	if (reply.info.index == VFIO_USER_PCI_BAR0) {
		reply.info.size = FAKE_BAR_SIZE;
		reply.info.flags = VFIO_USER_REGION_READABLE | VFIO_USER_REGION_WRITEABLE;
	} else if (reply.info.index == 2) {
		/* Two areas of a region of three pages, at file offset 0x1000. */
		reply.info.size = 0x3000;
		reply.info.flags = VFIO_USER_REGION_READABLE | VFIO_USER_REGION_WRITEABLE |
				   VFIO_USER_REGION_MMAP | VFIO_USER_REGION_CAPS;
		reply.info.offset = 0x1000;
		reply.info.cap_offset = sizeof(reply.info);
		reply.sparse.header.id = VFIO_USER_CAP_SPARSE_MMAP;
		reply.sparse.header.version = VFIO_USER_CAP_SPARSE_MMAP_VERSION;
		reply.sparse.nr_areas = 2;
		reply.area[0] = (struct vfio_user_sparse_area){.offset = 0, .size = 0x800};
		reply.area[1] = (struct vfio_user_sparse_area){.offset = 0x1000, .size = 0x2000};
		len = sizeof(reply);
	}
	reply.info.argsz = (uint32_t)len;
	bool fd = reply.info.index == 2 && fake->region_fd >= 0;

	send_reply(fake, m, &reply, len, 0, &fake->region_fd, fd);
}

static void do_region_access(struct fake *fake, struct fake_message *m)
{
	struct vfio_user_region_access access;

	memcpy(&access, m->body, sizeof(access));
	if (access.region || access.offset > FAKE_BAR_SIZE ||
		access.count > FAKE_BAR_SIZE - access.offset) {
		fake_refuse(fake, m, EINVAL);
	} else if (m->header.command == VFIO_USER_REGION_WRITE) {
		memcpy(fake->bar + access.offset, m->body + sizeof(access), access.count);
		fake_reply(fake, m, &access, sizeof(access));
	} else {
		uint8_t *reply = malloc(sizeof(access) + access.count);

		memcpy(reply, &access, sizeof(access));
		memcpy(reply + sizeof(access), fake->bar + access.offset, access.count);
		fake_reply(fake, m, reply, sizeof(access) + access.count);
		free(reply);
	}
}

static void do_report(struct fake *fake, struct fake_message *m)
{
	struct vfio_user_log_report ask;
	size_t head = sizeof(struct vfio_user_feature) + sizeof(ask);

	memcpy(&ask, m->body + sizeof(struct vfio_user_feature), sizeof(ask));
	uint64_t bits = (ask.length + ask.page_size - 1) / ask.page_size;
	size_t bytes = (size_t)(bits + 63) / 64 * 8;
	uint8_t *reply = calloc(1, head + bytes);

	memcpy(reply, m->body, head);
	memcpy(reply + head, fake->dirty_words,
		bytes < sizeof(fake->dirty_words) ? bytes : sizeof(fake->dirty_words));
	memset(fake->dirty_words, 0, sizeof(fake->dirty_words));
	fake_reply(fake, m, reply, head + bytes);
	free(reply);
}

static void do_feature(struct fake *fake, struct fake_message *m)
{
	struct vfio_user_feature head;
	uint64_t reply[3] = {0};

	memcpy(&head, m->body, sizeof(head));
	memcpy(reply, &head, sizeof(head));
	unsigned index = head.flags & VFIO_USER_FEATURE_INDEX;
	bool has = index == VFIO_USER_FEATURE_MIG_DATA_SIZE   ? fake->has_data_size
		   : index >= VFIO_USER_FEATURE_DMA_LOG_START ? fake->has_dma_log
							      : fake->mig_flags != 0;

	if (!has) {
		fake_refuse(fake, m, EINVAL);
	} else if (head.flags & VFIO_USER_FEATURE_PROBE) {
		fake_reply(fake, m, m->body, m->len);
	} else if (index == VFIO_USER_FEATURE_MIGRATION) {
		reply[1] = fake->mig_flags;
		fake_reply(fake, m, reply, 16);
	} else if (index == VFIO_USER_FEATURE_MIG_STATE && head.flags & VFIO_USER_FEATURE_SET) {
		memcpy(&fake->state, m->body + sizeof(head), sizeof(fake->state));
		fake_reply(fake, m, m->body, m->len);
	} else if (index == VFIO_USER_FEATURE_MIG_STATE) {
		reply[1] = fake->state;
		fake_reply(fake, m, reply, 16);
	} else if (index == VFIO_USER_FEATURE_MIG_DATA_SIZE) {
		reply[1] = fake->data_len;
		fake_reply(fake, m, reply, 16);
	} else if (index == VFIO_USER_FEATURE_DMA_LOG_REPORT) {
		do_report(fake, m);
	} else {
		if (index == VFIO_USER_FEATURE_DMA_LOG_START && fake->log_page)
			memcpy(m->body + sizeof(head), &fake->log_page, sizeof(fake->log_page));
		fake_reply(fake, m, m->body, m->len);
	}
}

static void do_data_read(struct fake *fake, struct fake_message *m)
{
	struct vfio_user_mig_data ask;

	memcpy(&ask, m->body, sizeof(ask));
	size_t left = fake->data_len - fake->data_at, n = left < ask.size ? left : ask.size;
	uint8_t *reply = calloc(1, sizeof(ask) + ask.size);
	struct vfio_user_mig_data head = {.argsz = ask.argsz, .size = (uint32_t)n};

	memcpy(reply, &head, sizeof(head));
	if (n)
		memcpy(reply + sizeof(head), fake->data + fake->data_at, n);
	fake->data_at += n;
	fake_reply(fake, m, reply, sizeof(head) + (fake->pad ? ask.size : n));
	free(reply);
}

void fake_handle(struct fake *fake, struct fake_message *m)
{
	struct vfio_user_device_info info = {
		.argsz = 16, .flags = 3, .num_regions = VFIO_USER_PCI_REGIONS, .num_irqs = 5};
	struct vfio_user_irq_info irq = {.argsz = 16, .flags = VFIO_USER_IRQ_EVENTFD};

	switch (m->header.command) {
	case VFIO_USER_VERSION:
		do_version(fake, m);
		break;
	case VFIO_USER_GET_INFO:
		fake_reply(fake, m, &info, sizeof(info));
		break;
	case VFIO_USER_GET_REGION_INFO:
		do_region_info(fake, m);
		break;
	case VFIO_USER_GET_IRQ_INFO:
		memcpy(&irq.index, m->body + 8, sizeof(irq.index));
		irq.count = irq.index == VFIO_USER_PCI_MSIX ? FAKE_VECTORS : 0;
		fake_reply(fake, m, &irq, sizeof(irq));
		break;
	case VFIO_USER_REGION_READ:
	case VFIO_USER_REGION_WRITE:
		do_region_access(fake, m);
		break;
	case VFIO_USER_DEVICE_FEATURE:
		do_feature(fake, m);
		break;
	case VFIO_USER_MIG_DATA_READ:
		do_data_read(fake, m);
		break;
	case VFIO_USER_MIG_DATA_WRITE:
		swo_buf_append(&fake->written, m->body + 8, m->len - 8, NULL);
		fake_reply(fake, m, NULL, 0);
		break;
	case VFIO_USER_DMA_UNMAP:
		fake_reply(fake, m, m->body, m->len);
		break;
	case VFIO_USER_DMA_MAP:
	case VFIO_USER_SET_IRQS:
	case VFIO_USER_RESET:
		fake_reply(fake, m, NULL, 0);
		break;
	default:
		fake_refuse(fake, m, ENOTSUP);
		break;
	}
}

/* Life */

static void note(struct fake *fake, const struct fake_message *m)
{
	pthread_mutex_lock(&fake->lock);
	if (fake->logged < FAKE_LOG_MAX) {
		struct fake_log *log = &fake->log[fake->logged++];

		*log = (struct fake_log){.command = m->header.command,
			.flags = m->header.flags,
			.len = m->len,
			.fds = m->fds.count};
		memcpy(log->head, m->body, m->len < sizeof(log->head) ? m->len : sizeof(log->head));
	}
	pthread_mutex_unlock(&fake->lock);
}

static void *fake_main(void *opaque)
{
	struct fake *fake = opaque;
	struct fake_message m = {.body = fake->body};

	fake->sock = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
	while (fake->sock >= 0 && !vfio_user_recv(fake->sock, &m.header, m.body, FAKE_BODY_MAX,
					  &m.fds, LONG(), NULL)) {
		m.len = vfio_user_payload(&m.header);
		note(fake, &m);
		/* A reply to something that only looked like a command of the client. */
		if (vfio_user_is_reply(&m.header))
			continue;
		if (!fake->hook || !fake->hook(fake, &m))
			fake_handle(fake, &m);
		vfio_user_fds_close(&m.fds);
	}
	return NULL;
}

int fake_start(struct fake *fake)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(fake->dir, sizeof(fake->dir), "/tmp/swo-fake-XXXXXX");
	if (!mkdtemp(fake->dir))
		return -1;
	snprintf(fake->path, sizeof(fake->path), "%s/sock", fake->dir);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", fake->path);
	fake->body = malloc(FAKE_BODY_MAX);
	fake->reply = malloc(FAKE_BODY_MAX + 65536);
	fake->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fake->listener, (struct sockaddr *)&addr, sizeof(addr)) ||
		listen(fake->listener, 1))
		return -1;
	return swo_thread_start(&fake->thread, "fake", fake_main, fake, NULL);
}

void fake_stop(struct fake *fake)
{
	shutdown(fake->listener, SHUT_RDWR);
	pthread_join(fake->thread, NULL);
	swo_close_fd(&fake->listener);
	swo_close_fd(&fake->sock);
	swo_close_fd(&fake->twin);
	swo_close_fd(&fake->region_fd);
	unlink(fake->path);
	rmdir(fake->dir);
	free(fake->body);
	free(fake->reply);
	swo_buf_free(&fake->written);
	pthread_mutex_destroy(&fake->lock);
}

unsigned fake_count(struct fake *fake, uint16_t command)
{
	unsigned n = 0;

	pthread_mutex_lock(&fake->lock);
	for (unsigned i = 0; i < fake->logged; i++)
		n += fake->log[i].command == command;
	pthread_mutex_unlock(&fake->lock);
	return n;
}

struct fake_log fake_nth(struct fake *fake, uint16_t command, unsigned n)
{
	struct fake_log found = {0};

	pthread_mutex_lock(&fake->lock);
	for (unsigned i = 0; i < fake->logged; i++)
		if (fake->log[i].command == command && !n--) {
			found = fake->log[i];
			break;
		}
	pthread_mutex_unlock(&fake->lock);
	return found;
}
