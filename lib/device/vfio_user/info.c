/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * info.c - regions and interrupts of a vfio-user device: read once, at
 * connect, before any state forbids it; then accessed by any thread.
 */
#include "device/vfio_user/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A reply holds the structure and its capabilities; first try, and what we go up to. */
#define REGION_ROOM	4096u
#define REGION_ROOM_MAX 65536u
#define CAPS_MAX	64

/* Parsing */

static int bad_region(const char *name, uint32_t index, const char *why, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"device %s: its server describes region %u wrongly: %s", name, index, why);
}

/* Takes the largest area: with more than one, the others stay trapped. */
static int parse_sparse(const char *name, uint32_t index, const uint8_t *payload, size_t len,
	size_t at, struct vfio_user_region *region, struct swo_error *err)
{
	struct swo_vu_cap_sparse sparse;

	if (len - at < sizeof(sparse))
		return bad_region(name, index, "a sparse mmap capability is cut short", err);
	memcpy(&sparse, payload + at, sizeof(sparse));
	at += sizeof(sparse);
	if (sparse.nr_areas > (len - at) / sizeof(struct swo_vu_sparse_area))
		return bad_region(name, index, "more sparse areas than bytes for them", err);
	region->area_offset = region->area_size = 0;
	for (uint32_t i = 0; i < sparse.nr_areas; i++) {
		struct swo_vu_sparse_area area;

		memcpy(&area, payload + at + i * sizeof(area), sizeof(area));
		if (area.offset > region->info.size || area.size > region->info.size - area.offset)
			return bad_region(name, index, "a sparse area lies outside of it", err);
		if (area.size > region->area_size) {
			region->area_offset = area.offset;
			region->area_size = area.size;
		}
	}
	return 0;
}

static int parse_caps(const char *name, uint32_t index, const uint8_t *payload, size_t len,
	uint32_t offset, struct vfio_user_region *region, struct swo_error *err)
{
	for (unsigned n = 0; offset; n++) {
		struct swo_vu_cap cap;

		/* The chain may run in circles. */
		if (n == CAPS_MAX)
			return bad_region(name, index, "its capabilities have no end", err);
		if (offset < sizeof(struct swo_vu_region_info) || offset > len ||
			len - offset < sizeof(cap))
			return bad_region(name, index, "a capability lies outside the reply", err);
		memcpy(&cap, payload + offset, sizeof(cap));
		if (cap.id == SWO_VU_CAP_SPARSE_MMAP &&
			cap.version == SWO_VU_CAP_SPARSE_MMAP_VERSION &&
			parse_sparse(name, index, payload, len, offset, region, err))
			return -1;
		offset = cap.next;
	}
	return 0;
}

int vfio_user_parse_region(const char *name, uint32_t index, const void *payload, size_t len,
	struct vfio_user_region *region, struct swo_error *err)
{
	struct swo_vu_region_info info;

	if (len < sizeof(info))
		return bad_region(name, index, "the reply is cut short", err);
	memcpy(&info, payload, sizeof(info));
	if (info.index != index)
		return bad_region(name, index, "the reply is about another one", err);
	/* Offsets into a region and into files are signed in the end. */
	if (info.size > INT64_MAX || info.offset > INT64_MAX - info.size)
		return bad_region(name, index, "its size or offset is absurd", err);
	*region = (struct vfio_user_region){
		.info = {.size = info.size,
			.flags = info.flags & (SWO_VU_REGION_READABLE | SWO_VU_REGION_WRITEABLE |
						      SWO_VU_REGION_MMAP)},
		.fd = -1,
		.fd_offset = info.offset,
		.area_size = info.size};
	if (!(info.flags & SWO_VU_REGION_CAPS))
		return 0;
	return parse_caps(name, index, payload, len, info.cap_offset, region, err);
}

/* Asking */

/* An fd that ends before the region does would kill whoever touches the mapping. */
static int adopt_fd(struct vfio_user *vu, uint32_t index, struct vfio_user_region *region,
	struct swo_vu_fds *fds, struct swo_error *err)
{
	struct stat st;
	uint64_t end = region->fd_offset + region->area_offset + region->area_size;

	if (!(region->info.flags & SWO_VU_REGION_MMAP) || !region->area_size || !fds->count) {
		region->info.flags &= ~SWO_VU_REGION_MMAP;
		return 0;
	}
	region->fd = swo_vu_fds_take(fds, 0);
	if (fstat(region->fd, &st) || (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end)) {
		swo_close_fd(&region->fd);
		return bad_region(vu->name, index, "its file is shorter than its area", err);
	}
	return 0;
}

/* One question with room for `room` bytes; *need is what a whole answer takes. */
static int ask_region(struct vfio_user *vu, uint32_t index, uint8_t *payload, uint32_t room,
	uint32_t *need, struct vfio_user_region *region, struct swo_error *err)
{
	struct swo_vu_region_info request = {.argsz = room, .index = index};
	struct swo_vu_fds fds;
	struct swo_vu_call call = {.command = SWO_VU_GET_REGION_INFO,
		.request = {{&request, sizeof(request)}},
		.reply = {{payload, room}},
		.reply_min = sizeof(request),
		.reply_fds = &fds,
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

	if (swo_vu_do(vu->client, &call, err))
		return -1;
	memcpy(need, payload, sizeof(*need)); /* argsz */
	int rc = 0;

	if (*need <= room) {
		rc = vfio_user_parse_region(vu->name, index, payload, call.reply_len, region, err);
		if (!rc)
			rc = adopt_fd(vu, index, region, &fds, err);
	}
	swo_vu_fds_close(&fds);
	return rc;
}

static int read_region(
	struct vfio_user *vu, uint32_t index, uint8_t *payload, struct swo_error *err)
{
	uint32_t need;

	if (ask_region(vu, index, payload, REGION_ROOM, &need, &vu->regions[index], err))
		return -1;
	if (need <= REGION_ROOM)
		return 0;
	if (need > REGION_ROOM_MAX)
		return bad_region(vu->name, index, "it needs more than 64 KiB of description", err);
	uint32_t room = need;

	if (ask_region(vu, index, payload, room, &need, &vu->regions[index], err))
		return -1;
	return need <= room ? 0 : bad_region(vu->name, index, "its description grows", err);
}

static int read_irq(struct vfio_user *vu, uint32_t index, struct swo_error *err)
{
	struct swo_vu_irq_info request = {.argsz = sizeof(request), .index = index};
	struct swo_vu_irq_info reply;

	if (vfio_user_command(vu, SWO_VU_GET_IRQ_INFO, NULL, &request, sizeof(request), &reply,
		    sizeof(reply), sizeof(reply), NULL, vu->params.command_deadline_ms, err))
		return -1;
	if (reply.index != index || reply.count > VU_VECTORS_MAX)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: asked for interrupt %u, its server describes %u with %u "
			"vectors; "
			"at most %d make sense",
			vu->name, index, reply.index, reply.count, VU_VECTORS_MAX);
	vu->irqs[index] = (struct swo_irq_info){.flags = reply.flags, .count = reply.count};
	return 0;
}

int vfio_user_read_info(struct vfio_user *vu, struct swo_error *err)
{
	struct swo_vu_device_info request = {.argsz = sizeof(request)};
	struct swo_vu_device_info info;

	if (vfio_user_command(vu, SWO_VU_GET_INFO, NULL, &request, sizeof(request), &info,
		    sizeof(info), sizeof(info), NULL, vu->params.command_deadline_ms, err))
		return -1;
	if (info.num_regions > VU_REGIONS_MAX || info.num_irqs > VU_IRQS_MAX)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: its server offers %u regions and %u interrupts; at most %d and "
			"%d make sense",
			vu->name, info.num_regions, info.num_irqs, VU_REGIONS_MAX, VU_IRQS_MAX);
	swo_autofree uint8_t *payload = malloc(REGION_ROOM_MAX);

	if (!payload)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "device %s", vu->name);
	vu->region_count = info.num_regions;
	vu->irq_count = info.num_irqs;
	for (uint32_t i = 0; i < vu->region_count; i++)
		if (read_region(vu, i, payload, err))
			return -1;
	for (uint32_t i = 0; i < vu->irq_count; i++)
		if (read_irq(vu, i, err))
			return -1;
	return 0;
}

void vfio_user_free_info(struct vfio_user *vu)
{
	for (uint32_t i = 0; i < VU_REGIONS_MAX; i++)
		swo_close_fd(&vu->regions[i].fd);
}

/* Regions */

int vfio_user_region_info(
	void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err)
{
	struct vfio_user *vu = self;

	if (region >= vu->region_count)
		return swo_error_set(err, SWO_E_INVALID, 0, "device %s: there is no region %u",
			vu->name, region);
	*info = vu->regions[region].info;
	return 0;
}

static int check_access(struct vfio_user *vu, uint32_t region, uint64_t offset, uint32_t len,
	uint32_t flag, struct swo_error *err)
{
	struct swo_region_info info = {0};

	if (vfio_user_region_info(vu, region, &info, err))
		return -1;
	if (offset > info.size || len > info.size - offset || !(info.flags & flag))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: region %u does not allow %s of %u bytes at 0x%llx", vu->name,
			region, flag == SWO_VU_REGION_READABLE ? "a read" : "a write", len,
			(unsigned long long)offset);
	return 0;
}

int vfio_user_region_read(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
	struct swo_error *err)
{
	struct vfio_user *vu = self;
	uint8_t *data = buf;

	if (check_access(vu, region, offset, len, SWO_VU_REGION_READABLE, err))
		return -1;
	while (len) {
		uint32_t piece = len < vu->max_read ? len : vu->max_read;
		struct swo_vu_region_access access = {
			.offset = offset, .region = region, .count = piece};
		struct swo_vu_region_access back;
		struct swo_vu_call call = {.command = SWO_VU_REGION_READ,
			.request = {{&access, sizeof(access)}},
			.reply = {{&back, sizeof(back)}, {data, piece}},
			.reply_min = sizeof(back) + piece,
			.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

		if (swo_vu_do(vu->client, &call, err))
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

static int write_piece(struct vfio_user *vu, const struct swo_vu_region_access *access,
	const void *data, bool posted, struct swo_error *err)
{
	struct swo_vu_region_access back;
	struct swo_vu_call call = {.command = SWO_VU_REGION_WRITE,
		.request = {{(void *)access, sizeof(*access)}, {(void *)data, access->count}},
		.reply = {{&back, sizeof(back)}},
		.reply_min = sizeof(back),
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

	if (posted)
		return swo_vu_post(vu->client, &call, err);
	if (swo_vu_do(vu->client, &call, err))
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

	if (check_access(vu, region, offset, len, SWO_VU_REGION_WRITEABLE, err))
		return -1;
	while (len) {
		uint32_t piece = len < vu->max_write ? len : vu->max_write;
		struct swo_vu_region_access access = {
			.offset = offset, .region = region, .count = piece};

		if (write_piece(vu, &access, data, posted, err))
			return -1;
		offset += piece;
		data += piece;
		len -= piece;
	}
	return 0;
}

int vfio_user_region_fd(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err)
{
	struct vfio_user *vu = self;
	struct swo_region_info info = {0};

	if (vfio_user_region_info(vu, region, &info, err))
		return -1;
	const struct vfio_user_region *r = &vu->regions[region];

	if (r->fd < 0)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: region %u cannot be mapped", vu->name, region);
	*fd = r->fd;
	*fd_offset = r->fd_offset + r->area_offset;
	*region_offset = r->area_offset;
	*size = r->area_size;
	return 0;
}
