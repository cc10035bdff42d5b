/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iova.c - which addresses an IOMMU can map: its width, without the windows that it reserves (the
 * MSI window of x86 is 0xfee00000). Requested after a map was refused, for the error.
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <stdio.h>
#include <string.h>

#define RANGES_MAX 32
#define INFO_MAX   4096

struct range {
	uint64_t start;
	uint64_t last;
};

/* The count, or 0: unknown. */
static unsigned ask_iommufd(const struct vfio_kernel *vk, struct range out[RANGES_MAX])
{
	struct iommu_ioas_iova_ranges request = {.size = sizeof(request),
		.ioas_id = vk->space->ioas,
		.num_iovas = RANGES_MAX,
		.allowed_iovas = (uintptr_t)out};

	static_assert(sizeof(struct range) == sizeof(struct iommu_iova_range), "start, last");
	if (kernel_ioctl(vk, vk->space->fd, IOMMU_IOAS_IOVA_RANGES, &request) < 0)
		return 0;
	return request.num_iovas <= RANGES_MAX ? request.num_iovas : 0;
}

static unsigned read_cap(const uint8_t *cap, size_t len, struct range out[RANGES_MAX])
{
	struct vfio_iommu_type1_info_cap_iova_range head;

	if (len < sizeof(head))
		return 0;
	memcpy(&head, cap, sizeof(head));
	if (head.nr_iovas > RANGES_MAX ||
		head.nr_iovas > (len - sizeof(head)) / sizeof(struct range))
		return 0;
	memcpy(out, cap + sizeof(head), head.nr_iovas * sizeof(struct range));
	return head.nr_iovas;
}

static unsigned ask_type1(const struct vfio_kernel *vk, struct range out[RANGES_MAX])
{
	union {
		struct vfio_iommu_type1_info info;
		uint8_t bytes[INFO_MAX];
	} u = {.info = {.argsz = sizeof(u)}};

	if (kernel_ioctl(vk, vk->space->fd, VFIO_IOMMU_GET_INFO, &u) < 0 ||
		!(u.info.flags & VFIO_IOMMU_INFO_CAPS))
		return 0;
	uint32_t at = u.info.cap_offset;

	/* Each capability is after the one before it: the loop ends. */
	while (at >= sizeof(u.info) && at <= sizeof(u) - sizeof(struct vfio_info_cap_header)) {
		struct vfio_info_cap_header head;

		memcpy(&head, u.bytes + at, sizeof(head));
		if (head.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			return read_cap(u.bytes + at, sizeof(u) - at, out);
		if (head.next <= at)
			return 0;
		at = head.next;
	}
	return 0;
}

void kernel_iova_advice(
	const struct vfio_kernel *vk, uint64_t iova, uint64_t size, char *out, size_t room)
{
	struct range ranges[RANGES_MAX];
	unsigned count =
		vk->space->kind == VK_IOAS ? ask_iommufd(vk, ranges) : ask_type1(vk, ranges);
	size_t len;

	*out = '\0';
	for (unsigned i = 0; i < count; i++)
		if (iova >= ranges[i].start && iova + (size - 1) <= ranges[i].last)
			return;
	if (!count)
		return;
	len = (size_t)snprintf(out, room, "; the IOMMU can map only");
	for (unsigned i = 0; i < count && len < room; i++)
		len += (size_t)snprintf(out + len, room - len, "%s 0x%llx to 0x%llx", i ? "," : "",
			(unsigned long long)ranges[i].start, (unsigned long long)ranges[i].last);
}
