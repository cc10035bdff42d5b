/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * info.c - regions and interrupts of a vfio-user device: read once, at connect, before a state
 * forbids it; then accessed by any thread.
 */
#include "device/vfio_user/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Reading the descriptions */

/* A file that is shorter than the region would kill a thread that accesses the mapping. */
static int adopt_fd(
	struct vfio_user *vu, uint32_t index, struct vfio_user_fds *fds, struct swo_error *err)
{
	struct device_region *region = &vu->regions.region[index];
	struct stat st;
	uint64_t end = region->fd_offset + region->area_offset + region->area_size;

	if (!region->area_size || !fds->count) {
		region->info.flags &= ~VFIO_USER_REGION_MMAP;
		return 0;
	}
	region->fd = vfio_user_fds_take(fds, 0);
	if (fstat(region->fd, &st) || (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end)) {
		swo_close_fd(&region->fd);
		return device_region_bad(
			&vu->regions, index, "its file is shorter than its area", err);
	}
	return 0;
}

/* One request with a reply buffer of `room` bytes; *need is the size of the complete reply. */
static int ask_region(struct vfio_user *vu, uint32_t index, uint8_t *payload, uint32_t room,
	uint32_t *need, struct swo_error *err)
{
	struct vfio_user_region_info request = {.argsz = room, .index = index};
	struct vfio_user_fds fds;
	struct vfio_user_call call = {.command = VFIO_USER_GET_REGION_INFO,
		.request = {{&request, sizeof(request)}},
		.reply = {{payload, room}},
		.reply_min = sizeof(request),
		.reply_fds = &fds,
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

	if (vfio_user_do(vu->client, &call, err))
		return -1;
	memcpy(need, payload, sizeof(*need)); /* argsz */
	int rc = 0;

	if (*need <= room) {
		rc = device_region_parse(&vu->regions, index, payload, call.reply_len, err);
		if (!rc)
			rc = adopt_fd(vu, index, &fds, err);
	}
	vfio_user_fds_close(&fds);
	return rc;
}

static int read_region(
	struct vfio_user *vu, uint32_t index, uint8_t *payload, struct swo_error *err)
{
	uint32_t need;

	if (ask_region(vu, index, payload, DEVICE_REGION_ROOM, &need, err))
		return -1;
	if (need <= DEVICE_REGION_ROOM)
		return 0;
	if (need > DEVICE_REGION_ROOM_MAX)
		return device_region_bad(
			&vu->regions, index, "it needs more than 64 KiB of description", err);
	uint32_t room = need;

	if (ask_region(vu, index, payload, room, &need, err))
		return -1;
	return need <= room ? 0 : device_region_bad(&vu->regions, index, "inconsistent size", err);
}

static int read_irq(struct vfio_user *vu, uint32_t index, struct swo_error *err)
{
	struct vfio_user_irq_info request = {.argsz = sizeof(request), .index = index};
	struct vfio_user_irq_info reply;

	if (vfio_user_command(vu, VFIO_USER_GET_IRQ_INFO, NULL, &request, sizeof(request), &reply,
		    sizeof(reply), sizeof(reply), NULL, vu->params.command_deadline_ms, err))
		return -1;
	if (reply.index != index)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: requested interrupt %u, its server describes %u", vu->name,
			index, reply.index);
	return device_irq_describe(&vu->regions, index, reply.flags, reply.count, err);
}

int vfio_user_read_info(struct vfio_user *vu, struct swo_error *err)
{
	struct vfio_user_device_info request = {.argsz = sizeof(request)};
	struct vfio_user_device_info info;

	if (vfio_user_command(vu, VFIO_USER_GET_INFO, NULL, &request, sizeof(request), &info,
		    sizeof(info), sizeof(info), NULL, vu->params.command_deadline_ms, err))
		return -1;
	if (info.num_regions > DEVICE_REGIONS_MAX || info.num_irqs > DEVICE_IRQS_MAX)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: its server reports %u regions and %u interrupts, at most %d and "
			"%d make sense",
			vu->name, info.num_regions, info.num_irqs, DEVICE_REGIONS_MAX,
			DEVICE_IRQS_MAX);
	swo_autofree uint8_t *payload = malloc(DEVICE_REGION_ROOM_MAX);

	if (!payload)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "device %s", vu->name);
	vu->regions.count = info.num_regions;
	vu->regions.irq_count = info.num_irqs;
	for (uint32_t i = 0; i < vu->regions.count; i++)
		if (read_region(vu, i, payload, err))
			return -1;
	for (uint32_t i = 0; i < vu->regions.irq_count; i++)
		if (read_irq(vu, i, err))
			return -1;
	return 0;
}

void vfio_user_free_info(struct vfio_user *vu)
{
	for (uint32_t i = 0; i < DEVICE_REGIONS_MAX; i++)
		swo_close_fd(&vu->regions.region[i].fd);
}

/* Regions */

int vfio_user_region_info(
	void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err)
{
	return device_region_info(&((struct vfio_user *)self)->regions, region, info, err);
}

int vfio_user_region_read(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
	struct swo_error *err)
{
	struct vfio_user *vu = self;
	uint8_t *data = buf;

	if (device_region_check(&vu->regions, region, offset, len, true, err))
		return -1;
	while (len) {
		uint32_t piece = len < vu->max_read ? len : vu->max_read;
		struct vfio_user_region_access access = {
			.offset = offset, .region = region, .count = piece};
		struct vfio_user_region_access back;
		struct vfio_user_call call = {.command = VFIO_USER_REGION_READ,
			.request = {{&access, sizeof(access)}},
			.reply = {{&back, sizeof(back)}, {data, piece}},
			.reply_min = sizeof(back) + piece,
			.access = true,
			.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

		if (vfio_user_do(vu->client, &call, err))
			return -1;
		if (back.count != piece)
			return swo_error_set(err, SWO_E_PROTOCOL, 0,
				"device %s: its server read %u of %u bytes of region %u", vu->name,
				back.count, piece, region);
		offset += piece;
		data += piece;
		len -= piece;
	}
	return 0;
}

static int write_piece(struct vfio_user *vu, const struct vfio_user_region_access *access,
	const void *data, bool posted, struct swo_error *err)
{
	struct vfio_user_region_access back;
	struct vfio_user_call call = {.command = VFIO_USER_REGION_WRITE,
		.request = {{(void *)access, sizeof(*access)}, {(void *)data, access->count}},
		.reply = {{&back, sizeof(back)}},
		.reply_min = sizeof(back),
		.access = true,
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

	if (posted)
		return vfio_user_post(vu->client, &call, err);
	if (vfio_user_do(vu->client, &call, err))
		return -1;
	if (back.count != access->count)
		return swo_error_set(err, SWO_E_DEVICE, 0,
			"device %s: its server wrote %u of %u bytes to region %u", vu->name,
			back.count, access->count, access->region);
	return 0;
}

int vfio_user_region_write(void *self, uint32_t region, uint64_t offset, const void *buf,
	uint32_t len, bool posted, struct swo_error *err)
{
	struct vfio_user *vu = self;
	const uint8_t *data = buf;

	if (device_region_check(&vu->regions, region, offset, len, false, err))
		return -1;
	while (len) {
		uint32_t piece = len < vu->max_write ? len : vu->max_write;
		struct vfio_user_region_access access = {
			.offset = offset, .region = region, .count = piece};

		if (write_piece(vu, &access, data, posted, err))
			return -1;
		offset += piece;
		data += piece;
		len -= piece;
	}
	return 0;
}

void vfio_user_lost(void *self)
{
	vfio_user_client_lost(((struct vfio_user *)self)->client);
}

int vfio_user_region_fd(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err)
{
	return device_region_fd(&((struct vfio_user *)self)->regions, region, fd, fd_offset,
		region_offset, size, err);
}

/* Interrupts: eventfds, in as many messages as the server's limit on fds requires */

int vfio_user_irq_info(void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err)
{
	return device_irq_info(&((struct vfio_user *)self)->regions, index, info, err);
}

static int send_set(struct vfio_user *vu, uint32_t data, uint32_t index, uint32_t start,
	uint32_t count, const int *fds, unsigned fd_count, struct swo_error *err)
{
	struct vfio_user_irq_set set = {.argsz = sizeof(set),
		.flags = data | VFIO_USER_IRQ_ACTION_TRIGGER,
		.index = index,
		.start = start,
		.count = count};
	uint8_t slack[VU_REPLY_SLACK];
	struct vfio_user_call call = {.command = VFIO_USER_SET_IRQS,
		.request = {{&set, sizeof(set)}},
		.fds = fds,
		.fd_count = fd_count,
		.reply = {{slack, sizeof(slack)}},
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

	return vfio_user_do(vu->client, &call, err);
}

/* The number of fds[0..count) from the first on that are set, or not set, like the first. */
static uint32_t run_length(const int *fds, uint32_t count)
{
	uint32_t n = 1;

	while (n < count && (fds[n] < 0) == (fds[0] < 0))
		n++;
	return n;
}

static int attach(struct vfio_user *vu, uint32_t index, uint32_t start, const int *fds,
	uint32_t count, struct swo_error *err)
{
	if (!vu->max_fds)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: its server accepts no fds, so it cannot send interrupts",
			vu->name);
	while (count) {
		uint32_t slice = count < vu->max_fds ? count : vu->max_fds;

		if (send_set(vu, VFIO_USER_IRQ_DATA_EVENTFD, index, start, slice, fds, slice, err))
			return -1;
		start += slice;
		fds += slice;
		count -= slice;
	}
	return 0;
}

static int detach(
	struct vfio_user *vu, uint32_t index, uint32_t start, uint32_t count, struct swo_error *err)
{
	if (!start || !(vu->quirks & SWO_VFIO_USER_DETACH_BY_DUMMY))
		return send_set(vu, VFIO_USER_IRQ_DATA_EVENTFD, index, start, count, NULL, 0, err);
	while (count--)
		if (attach(vu, index, start++, &vu->dummy, 1, err))
			return -1;
	return 0;
}

int vfio_user_set_irqs(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
	struct swo_error *err)
{
	struct vfio_user *vu = self;

	if (device_irq_check(&vu->regions, index, start, count, err))
		return -1;
	if (!count)
		return send_set(vu, VFIO_USER_IRQ_DATA_NONE, index, 0, 0, NULL, 0, err);
	while (count) {
		uint32_t run = run_length(fds, count);

		if (fds[0] < 0 ? detach(vu, index, start, run, err)
			       : attach(vu, index, start, fds, run, err))
			return -1;
		start += run;
		fds += run;
		count -= run;
	}
	return 0;
}
