/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regions.c - device info, regions and their accesses, and interrupts, as vfio-user requests
 * them.
 */
#include "server.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

int srv_get_info(struct srv *s, const struct srv_message *m)
{
	struct vfio_user_device_info info;

	if (m->len < sizeof(info))
		return -EINVAL;
	memcpy(&info, m->body, sizeof(info));
	if (info.argsz < sizeof(info))
		return -EINVAL;
	info = (struct vfio_user_device_info){.argsz = sizeof(info),
		.flags = VFIO_USER_DEVICE_RESET | VFIO_USER_DEVICE_PCI,
		.num_regions = VFIO_USER_PCI_REGIONS,
		.num_irqs = VFIO_USER_PCI_IRQS};
	memcpy(srv_reply_room(&s->conn, sizeof(info)), &info, sizeof(info));
	return sizeof(info);
}

/* The inbox: all of it may be mapped, which the capability repeats. */
struct inbox_info {
	struct vfio_user_region_info info;
	struct vfio_user_cap_sparse sparse;
	struct vfio_user_sparse_area area;
} VFIO_USER_PACKED;

int srv_get_region_info(struct srv *s, const struct srv_message *m)
{
	struct inbox_info all = {0};
	struct vfio_user_region_info *info = &all.info;
	uint32_t asked;

	if (m->len < sizeof(*info))
		return -EINVAL;
	memcpy(info, m->body, sizeof(*info));
	asked = info->argsz;
	if (asked < sizeof(*info) || info->index >= VFIO_USER_PCI_REGIONS)
		return -EINVAL;
	*info = (struct vfio_user_region_info){
		.argsz = sizeof(*info), .index = info->index, .size = svf_region_size(info->index)};
	if (info->size)
		info->flags = VFIO_USER_REGION_READABLE | VFIO_USER_REGION_WRITEABLE;
	if (info->index != SIMVF_BAR_INBOX) {
		memcpy(srv_reply_room(&s->conn, sizeof(*info)), info, sizeof(*info));
		return sizeof(*info);
	}
	info->argsz = sizeof(all);
	info->flags |= VFIO_USER_REGION_MMAP;
	/* No CAPS without room for them: a client then takes the offset 0 for an error. */
	if (asked < sizeof(all)) {
		memcpy(srv_reply_room(&s->conn, sizeof(*info)), info, sizeof(*info));
		return sizeof(*info);
	}
	info->flags |= VFIO_USER_REGION_CAPS;
	info->cap_offset = offsetof(struct inbox_info, sparse);
	all.sparse.header.id = VFIO_USER_CAP_SPARSE_MMAP;
	all.sparse.header.version = VFIO_USER_CAP_SPARSE_MMAP_VERSION;
	all.sparse.nr_areas = 1;
	all.area.size = info->size;
	memcpy(srv_reply_room(&s->conn, sizeof(all)), &all, sizeof(all));
	srv_reply(s, &m->header, sizeof(all), 0, &s->inbox_fd, 1);
	return SRV_LATER;
}

int srv_get_region_io_fds(struct srv *s, const struct srv_message *m)
{
	struct {
		uint32_t argsz, flags, index, count;
	} none;

	if (m->len < sizeof(none))
		return -EINVAL;
	memcpy(&none, m->body, sizeof(none));
	if (none.argsz < sizeof(none) || none.flags || none.index >= VFIO_USER_PCI_REGIONS)
		return -EINVAL;
	none.argsz = sizeof(none);
	none.count = 0;
	memcpy(srv_reply_room(&s->conn, sizeof(none)), &none, sizeof(none));
	return sizeof(none);
}

static uint32_t irq_count(uint32_t index)
{
	return index == VFIO_USER_PCI_MSIX ? SIMVF_MSIX_VECTORS : 0;
}

int srv_get_irq_info(struct srv *s, const struct srv_message *m)
{
	struct vfio_user_irq_info info;

	if (m->len < sizeof(info))
		return -EINVAL;
	memcpy(&info, m->body, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_USER_PCI_IRQS)
		return -EINVAL;
	info.argsz = sizeof(info);
	info.flags = VFIO_USER_IRQ_EVENTFD;
	info.count = irq_count(info.index);
	memcpy(srv_reply_room(&s->conn, sizeof(info)), &info, sizeof(info));
	return sizeof(info);
}

void srv_irqs_drop(struct srv *s)
{
	for (unsigned vector = 0; vector < SIMVF_MSIX_VECTORS; vector++)
		swo_close_fd(&s->irq[vector]);
}

bool srv_irq_raise(struct srv *s, unsigned vector)
{
	struct pollfd room = {.fd = s->irq[vector], .events = POLLOUT};
	uint64_t one = 1;

	if (room.fd < 0)
		return false;
	/* A full eventfd is signalled already, and must not stop the device. */
	if (poll(&room, 1, 0) == 1 && (room.revents & POLLOUT))
		return write(room.fd, &one, sizeof(one)) == (ssize_t)sizeof(one);
	return !room.revents;
}

static int set_eventfds(struct srv *s, const struct vfio_user_irq_set *set, struct srv_message *m)
{
	if (m->fds.count && m->fds.count != set->count)
		return -EINVAL;
	for (unsigned i = 0; i < set->count; i++) {
		swo_close_fd(&s->irq[set->start + i]);
		if (m->fds.count)
			s->irq[set->start + i] = vfio_user_fds_take(&m->fds, i);
	}
	return 0;
}

int srv_set_irqs(struct srv *s, struct srv_message *m)
{
	struct vfio_user_irq_set set;
	uint32_t data, action;
	size_t bools = 0;

	if (m->len < sizeof(set))
		return -EINVAL;
	memcpy(&set, m->body, sizeof(set));
	data = set.flags & 7;
	action = set.flags & ~7u;
	if (data == VFIO_USER_IRQ_DATA_BOOL)
		bools = set.count;
	if (m->len < sizeof(set) + bools || set.argsz < sizeof(set) + bools ||
		set.index >= VFIO_USER_PCI_IRQS || set.start > irq_count(set.index) ||
		set.count > irq_count(set.index) - set.start ||
		action != VFIO_USER_IRQ_ACTION_TRIGGER)
		return -EINVAL;
	switch (data) {
	case VFIO_USER_IRQ_DATA_EVENTFD:
		return set_eventfds(s, &set, m);
	case VFIO_USER_IRQ_DATA_NONE:
		if (!set.count && set.index == VFIO_USER_PCI_MSIX)
			srv_irqs_drop(s);
		for (uint32_t i = 0; i < set.count; i++)
			srv_irq_raise(s, set.start + i);
		return 0;
	case VFIO_USER_IRQ_DATA_BOOL:
		for (uint32_t i = 0; i < set.count; i++)
			if (m->body[sizeof(set) + i])
				srv_irq_raise(s, set.start + i);
		return 0;
	default:
		return -EINVAL;
	}
}

int srv_region_read(struct srv *s, const struct srv_message *m)
{
	struct vfio_user_region_access access;
	uint8_t *reply;
	int rc;

	if (m->len < sizeof(access))
		return -EINVAL;
	memcpy(&access, m->body, sizeof(access));
	if (access.count > SRV_DATA_MAX)
		return -EINVAL;
	reply = srv_reply_room(&s->conn, sizeof(access) + access.count);
	if (!reply)
		return -ENOMEM;
	memcpy(reply, &access, sizeof(access));
	rc = svf_region_read(
		s->dev, access.region, access.offset, reply + sizeof(access), access.count);
	return rc ? rc : (int)(sizeof(access) + access.count);
}

static int later(struct srv *s, uint64_t due, uint64_t now, size_t payload)
{
	if (due <= now)
		return (int)payload;
	s->op.kind = SRV_OP_DELAY;
	s->op.due = due;
	s->op.payload = payload;
	return SRV_LATER;
}

int srv_region_write(struct srv *s, const struct srv_message *m, uint64_t now)
{
	struct vfio_user_region_access access;
	uint64_t due;
	int rc;

	if (m->len < sizeof(access))
		return -EINVAL;
	memcpy(&access, m->body, sizeof(access));
	if (access.count != m->len - sizeof(access))
		return -EINVAL;
	rc = svf_region_write(s->dev, access.region, access.offset, m->body + sizeof(access),
		access.count, now, &due);
	if (rc)
		return rc;
	memcpy(srv_reply_room(&s->conn, sizeof(access)), &access, sizeof(access));
	return later(s, due, now, sizeof(access));
}

int srv_region_write_multi(struct srv *s, const struct srv_message *m, uint64_t now)
{
	struct {
		struct vfio_user_region_access access;
		uint8_t data[8];
	} VFIO_USER_PACKED one;
	uint64_t count, due, last = now;

	if (m->len < sizeof(count))
		return -EINVAL;
	memcpy(&count, m->body, sizeof(count));
	if (count != (m->len - sizeof(count)) / sizeof(one) ||
		(m->len - sizeof(count)) % sizeof(one))
		return -EINVAL;
	for (uint64_t i = 0; i < count; i++) {
		int rc;

		memcpy(&one, m->body + sizeof(count) + i * sizeof(one), sizeof(one));
		if (one.access.count > sizeof(one.data))
			return -EINVAL;
		rc = svf_region_write(s->dev, one.access.region, one.access.offset, one.data,
			one.access.count, now, &due);
		if (rc)
			return rc;
		last = due > last ? due : last;
	}
	memcpy(srv_reply_room(&s->conn, sizeof(count)), &count, sizeof(count));
	return later(s, last, now, sizeof(count));
}
