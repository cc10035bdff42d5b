/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * backend.c - the vfio-user backend: connects to a server, negotiates its features and
 * workarounds, and has the table of functions.
 */
#include "device/vfio_user/internal.h"

#include "base/net.h"
#include "base/sized.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMAND_MS   5000
#define SLOW_MS	     120000
#define SEND_ROOM    1048576
#define VERSION_ROOM 16384

#define LEAST_XFER 64

/* Connecting */

static int open_socket(
	const char *name, const char *path, swo_deadline deadline, int *out, struct swo_error *err)
{
	struct base_address address;
	int room = SEND_ROOM;

	if (base_unix_address(path, &address, err))
		return swo_error_prefix(err, "device %s", name);

	int rc = base_connect(&address, 1, deadline, NULL, out);

	if (rc)
		return base_connect_error(err, rc == EAGAIN ? SWO_E_TIMEOUT : SWO_E_IO, rc,
			"device %.60s: cannot connect to vfio-user server '%.150s'%s", name, path,
			rc == EOWNERDEAD ? "" : "; is it running");
	/* Doorbells queue here while a single-threaded server runs an arc; as many as the system
	   allows. */
	setsockopt(*out, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	return 0;
}

static int take_twin(struct vfio_user *vu, const struct vfio_user_caps *caps,
	struct vfio_user_fds *fds, int *twin, struct swo_error *err)
{
	struct stat st;

	*twin = -1;
	if (!caps->twin_socket)
		return 0;
	if (caps->twin_fd_index >= 0)
		*twin = vfio_user_fds_take(fds, (unsigned)caps->twin_fd_index);
	if (*twin >= 0 && !fstat(*twin, &st) && S_ISSOCK(st.st_mode))
		return 0;
	swo_close_fd(twin);
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"device %s: its server announced a twin socket and sent none", vu->name);
}

static uint32_t at_most(uint64_t value, uint32_t limit)
{
	return value < limit ? (uint32_t)value : limit;
}

/* Selects the workarounds for this server, from its VERSION. */
static void choose_limits(struct vfio_user *vu, const struct vfio_user_caps *caps)
{
	uint32_t xfer = at_most(caps->max_data_xfer, VFIO_USER_CLIENT_DATA_MAX);

	vu->quirks = vu->params.quirks;
	/* Only switchover's own server sends this; others may be based on libvfio-user. */
	if (!caps->max_write)
		vu->quirks |= SWO_VFIO_USER_SMALL_WRITES | SWO_VFIO_USER_REPORT_PER_REGION |
			      SWO_VFIO_USER_DETACH_BY_DUMMY;
	vu->max_fds = at_most(caps->max_msg_fds, VFIO_USER_FDS_MAX);
	vu->max_maps = caps->max_dma_maps;
	vu->max_read = xfer;
	vu->max_write =
		vu->quirks & SWO_VFIO_USER_SMALL_WRITES ? at_most(xfer, VU_SMALL_WRITE) : xfer;
	vu->read_chunk = vu->params.read_chunk ? at_most(vu->params.read_chunk, xfer) : xfer;
	if (vu->params.write_chunk)
		vu->write_chunk = at_most(vu->params.write_chunk, xfer);
	else if (vu->quirks & SWO_VFIO_USER_SMALL_WRITES)
		vu->write_chunk = at_most(xfer, VU_SMALL_WRITE);
	else
		vu->write_chunk = at_most(caps->max_write, xfer);
}

static int check_version(
	struct vfio_user *vu, const struct vfio_user_caps *caps, struct swo_error *err)
{
	if (caps->major != VFIO_USER_MAJOR || caps->minor > VFIO_USER_MINOR)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: its server uses vfio-user %u.%u, this client %u.%u", vu->name,
			caps->major, caps->minor, VFIO_USER_MAJOR, VFIO_USER_MINOR);
	if (caps->max_data_xfer < LEAST_XFER)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: its server accepts %llu bytes in a message, at least %d are "
			"needed",
			vu->name, (unsigned long long)caps->max_data_xfer, LEAST_XFER);
	return 0;
}

static int exchange_version(struct vfio_user *vu, struct vfio_user_caps *caps,
	struct vfio_user_fds *fds, struct swo_error *err)
{
	struct swo_buf offer = SWO_BUF_INIT(4096);
	swo_autofree uint8_t *reply = malloc(VERSION_ROOM);
	struct vfio_user_caps ours;

	if (!reply)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", vu->name);
	vfio_user_caps_init(&ours);
	ours.max_msg_fds = 8;
	ours.max_write = VFIO_USER_CLIENT_DATA_MAX; /* a server answers only keys that were named */
	ours.max_data_xfer = VFIO_USER_CLIENT_DATA_MAX;
	ours.twin_socket = true;
	ours.exact_reads = true;
	if (vfio_user_version_build(&ours, &offer, err)) {
		swo_buf_free(&offer);
		return swo_error_prefix(err, "device %s", vu->name);
	}
	struct vfio_user_call call = {.command = VFIO_USER_VERSION,
		.request = {{offer.data, offer.len}},
		.reply = {{reply, VERSION_ROOM}},
		.reply_min = sizeof(struct vfio_user_version),
		.reply_fds = fds,
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};
	int rc = vfio_user_do(vu->client, &call, err);

	swo_buf_free(&offer);
	if (rc)
		return -1;
	if (!vfio_user_version_parse(reply, call.reply_len, caps, err))
		return 0;
	vfio_user_fds_close(fds);
	return swo_error_prefix(err, "device %s", vu->name);
}

static int negotiate(struct vfio_user *vu, struct swo_error *err)
{
	struct vfio_user_caps caps;
	struct vfio_user_fds fds;
	int twin = -1;

	if (exchange_version(vu, &caps, &fds, err))
		return -1;
	int rc = check_version(vu, &caps, err);

	if (!rc)
		rc = take_twin(vu, &caps, &fds, &twin, err);
	vfio_user_fds_close(&fds);
	if (rc)
		return -1;
	choose_limits(vu, &caps);
	return vfio_user_client_serve(vu->client, twin, err);
}

/* Optional features: probed once, at connect. */
static int probe(struct vfio_user *vu, uint32_t flags, bool *has, struct swo_error *err)
{
	uint8_t slack[VU_REPLY_SLACK];
	struct swo_error why;

	*has = !vfio_user_feature(vu, flags | VFIO_USER_FEATURE_PROBE, "a PROBE of its features",
		NULL, 0, slack, 0, sizeof(slack), vu->params.command_deadline_ms, &why);
	if (*has || why.code == SWO_E_DEVICE)
		return 0;
	if (err)
		*err = why;
	return -1;
}

static int set_up(struct vfio_user *vu, struct swo_error *err)
{
	if (negotiate(vu, err) || vfio_user_read_info(vu, err) ||
		probe(vu, VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_MIG_DATA_SIZE,
			&vu->has_data_size, err) ||
		probe(vu, VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOG_START, &vu->has_dma_log,
			err))
		return -1;
	if (!(vu->quirks & SWO_VFIO_USER_DETACH_BY_DUMMY))
		return 0;
	vu->dummy = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vu->dummy < 0)
		return swo_error_set(err, SWO_E_NO_MEMORY, errno, "device %s: eventfd", vu->name);
	return 0;
}

static void vfio_user_destroy(void *self)
{
	struct vfio_user *vu = self;

	if (vu->client)
		vfio_user_client_close(vu->client);
	vfio_user_free_info(vu);
	vfio_user_dma_free(vu);
	swo_close_fd(&vu->dummy);
	pthread_mutex_destroy(&vu->dma_job);
	pthread_mutex_destroy(&vu->dma_lock);
	free(vu);
}

int swo_vfio_user_connect(const char *name, const char *socket_path,
	const struct swo_vfio_user_params *params, void **self, struct swo_error *err)
{
	struct vfio_user *vu = calloc(1, sizeof(*vu));
	int sock = -1;

	if (!vu)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", name);
	snprintf(vu->name, sizeof(vu->name), "%s", name);
	vu->regions.device = vu->name;
	vu->regions.from = "server";
	if (params && base_sized_copy("swo_vfio_user_params", &vu->params, sizeof(vu->params),
			      params, err)) {
		free(vu);
		return swo_error_prefix(err, "device %s", name);
	}
	if (!vu->params.command_deadline_ms)
		vu->params.command_deadline_ms = COMMAND_MS;
	if (!vu->params.slow_deadline_ms)
		vu->params.slow_deadline_ms = SLOW_MS;
	vu->dummy = -1;
	pthread_mutex_init(&vu->dma_job, NULL);
	pthread_mutex_init(&vu->dma_lock, NULL);
	for (unsigned i = 0; i < DEVICE_REGIONS_MAX; i++)
		vu->regions.region[i].fd = -1;
	if (open_socket(name, socket_path, swo_deadline_ms(vu->params.command_deadline_ms), &sock,
		    err) ||
		vfio_user_client_open(name, sock, vfio_user_dma_access, vu,
			vu->params.command_deadline_ms, &vu->client, err) ||
		set_up(vu, err)) {
		vfio_user_destroy(vu);
		return -1;
	}
	*self = vu;
	return 0;
}

static uint32_t vfio_user_features(void *self)
{
	const struct vfio_user *vu = self;

	return SWO_FEATURE_RESET | (vu->has_dma_log ? SWO_FEATURE_DMA_LOG : 0) |
	       (vu->has_data_size ? SWO_FEATURE_DATA_SIZE : 0);
}

const struct swo_device_ops swo_vfio_user_ops = {
	.size = sizeof(struct swo_device_ops),
	.name = "vfio-user",
	.get_mig_flags = vfio_user_get_mig_flags,
	.get_state = vfio_user_get_state,
	.set_state = vfio_user_set_state,
	.data_read = vfio_user_data_read,
	.data_ask = vfio_user_data_ask,
	.data_write = vfio_user_data_write,
	.data_flush = vfio_user_data_flush,
	/* GET_PRECOPY_INFO does not exist in vfio-user. */
	.precopy_info = NULL,
	.data_size = vfio_user_data_size,
	.read_chunk = vfio_user_read_chunk,
	.write_chunk = vfio_user_write_chunk,
	.reset = vfio_user_reset,
	.dma_log_start = vfio_user_dma_log_start,
	.dma_log_stop = vfio_user_dma_log_stop,
	.dma_log_report = vfio_user_dma_log_report,
	.dma_map = vfio_user_dma_map,
	.dma_unmap = vfio_user_dma_unmap,
	.dma_map_many = vfio_user_dma_map_many,
	.region_info = vfio_user_region_info,
	.region_read = vfio_user_region_read,
	.region_write = vfio_user_region_write,
	.region_fd = vfio_user_region_fd,
	.irq_info = vfio_user_irq_info,
	.set_irqs = vfio_user_set_irqs,
	.destroy = vfio_user_destroy,
	.features = vfio_user_features,
	.lost = vfio_user_lost,
	.set_state_seen = vfio_user_set_state_seen,
};
