/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * request.c - one command and its reply, with a deadline.
 */
#include "device/vfio_user/internal.h"

#include <errno.h>

int vfio_user_command(struct vfio_user *vu, uint16_t command, const char *what, const void *request,
	size_t request_len, void *reply, size_t reply_min, size_t reply_room, size_t *reply_len,
	uint64_t deadline_ms, struct swo_error *err)
{
	struct vfio_user_call call = {.command = command,
		.what = what,
		.request = {{(void *)request, request_len}},
		.reply = {{reply, reply_room}},
		.reply_min = reply_min,
		.deadline = swo_deadline_ms(deadline_ms)};

	if (vfio_user_do(vu->client, &call, err))
		return -1;
	if (reply_len)
		*reply_len = call.reply_len;
	return 0;
}

int vfio_user_feature(struct vfio_user *vu, uint32_t flags, const char *what, const void *data,
	size_t data_len, void *reply, size_t reply_min, size_t reply_room, uint64_t deadline_ms,
	struct swo_error *err)
{
	size_t most = data_len > reply_room ? data_len : reply_room;
	struct vfio_user_feature head = {.argsz = (uint32_t)(sizeof(head) + most), .flags = flags};
	struct vfio_user_feature back;
	struct vfio_user_call call = {.command = VFIO_USER_DEVICE_FEATURE,
		.what = what,
		.request = {{&head, sizeof(head)}, {(void *)data, data_len}},
		.reply = {{&back, sizeof(back)}, {reply, reply_room}},
		.reply_min = reply_min ? sizeof(back) + reply_min : 0,
		.deadline = swo_deadline_ms(deadline_ms)};

	return vfio_user_do(vu->client, &call, err);
}

bool vfio_user_is_unsupported(const struct swo_error *err)
{
	static const int numbers[] = {EINVAL, ENOTTY, ENOTSUP, EOPNOTSUPP, ENOSYS};

	if (err->code == SWO_E_DEVICE)
		for (unsigned i = 0; i < SWO_ARRAY_SIZE(numbers); i++)
			if (err->os_errno == numbers[i])
				return true;
	return false;
}
