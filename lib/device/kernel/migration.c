/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migration.c - states by VFIO_DEVICE_FEATURE, state data through the data fd. All on the
 * device's worker.
 *
 * Source of the rules: uapi linux/vfio.h, and the behaviour of the drivers of Linux 6.12 to 7.2
 * (docs/device.md).
 */
#include "device/core/vfio_abi.h"
#include "device/kernel/internal.h"

#include <errno.h>
#include <stdio.h>

#define RESET_RETRY_MS 100
#define RESET_PAUSE_MS 2
#define ERRNO_MAX      4095 /* MAX_ERRNO of the kernel */

#define GET(index) (VFIO_DEVICE_FEATURE_GET | (index))
#define SET(index) (VFIO_DEVICE_FEATURE_SET | (index))

int kernel_get_mig_flags(void *self, uint64_t *flags, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct vfio_device_feature_migration data = {0};
	int rc = kernel_feature(vk, GET(VFIO_DEVICE_FEATURE_MIGRATION), &data, sizeof(data));

	if (rc && kernel_is_unsupported(-rc)) {
		char why[256];

		kernel_why_no_migration(vk->sys, vk->dir, why, sizeof(why));
		return swo_error_set(err, SWO_E_UNSUPPORTED, -rc, "device %s: %s", vk->name, why);
	}
	if (rc)
		return swo_error_set(err, SWO_E_DEVICE, -rc,
			"device %s: VFIO_DEVICE_FEATURE_MIGRATION", vk->name);
	*flags = data.flags & (SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY);
	if (!(*flags & SWO_MIG_STOP_COPY))
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: migration flags 0x%llx without STOP_COPY", vk->name,
			(unsigned long long)data.flags);
	return 0;
}

/* States and the session */

static bool has_session(enum swo_device_state state)
{
	return state == SWO_DEVICE_PRE_COPY || state == SWO_DEVICE_PRE_COPY_P2P ||
	       state == SWO_DEVICE_STOP_COPY || state == SWO_DEVICE_RESUMING;
}

void kernel_close_session(struct vfio_kernel *vk)
{
	if (vk->data_fd >= 0)
		vk->sys->close(vk->data_fd);
	vk->data_fd = -1;
}

static void arrived(struct vfio_kernel *vk, enum swo_device_state state)
{
	vk->state = state;
	if (!has_session(state))
		kernel_close_session(vk);
	if (state != SWO_DEVICE_RESUMING)
		vk->write_failed = false;
}

int kernel_get_state(void *self, enum swo_device_state *state, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct vfio_device_feature_mig_state data = {.data_fd = -1};
	int rc = kernel_feature(vk, GET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), &data, sizeof(data));

	if (rc)
		return swo_error_set(err, SWO_E_DEVICE, -rc,
			"device %s: GET VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE", vk->name);
	if (data.device_state >= SWO_DEVICE_STATES)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: its driver reports the unknown state %u", vk->name,
			data.device_state);
	*state = (enum swo_device_state)data.device_state;
	arrived(vk, *state);
	return 0;
}

int kernel_set_state(void *self, enum swo_device_state state, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct vfio_device_feature_mig_state data = {.device_state = state, .data_fd = -1};

	/* Not every driver detects missing bytes. */
	if (vk->write_failed && state != SWO_DEVICE_RESUMING)
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: a write of its state failed; only a reset leads out of "
			"RESUMING now",
			vk->name);
	int rc = kernel_feature(vk, SET(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), &data, sizeof(data));

	if (rc)
		return swo_error_set(err, SWO_E_DEVICE, -rc,
			"device %s: SET VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE %s", vk->name,
			swo_device_state_name(state));
	if (data.data_fd >= 0) {
		kernel_close_session(vk);
		vk->data_fd = data.data_fd;
	}
	arrived(vk, state);
	return 0;
}

/*
 * The kernel only tries to lock the device, and reports EAGAIN while another user has it: a
 * sysfs access is enough.
 */
static int reset(const struct vfio_kernel *vk)
{
	const swo_deadline end = swo_deadline_ms(RESET_RETRY_MS);
	int rc;

	while ((rc = kernel_ioctl(vk, vk->fd, VFIO_DEVICE_RESET, NULL)) == -EAGAIN &&
		!swo_deadline_passed(end))
		swo_sleep_until(swo_deadline_ms(RESET_PAUSE_MS));
	return rc;
}

int kernel_reset(void *self, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	enum swo_device_state state;
	int rc = reset(vk);

	if (rc < 0)
		return swo_error_set(err,
			kernel_is_unsupported(-rc) ? SWO_E_UNSUPPORTED : SWO_E_DEVICE, -rc,
			"device %s: VFIO_DEVICE_RESET%s", vk->name,
			kernel_is_unsupported(-rc)
				? "; its driver has none: close and reopen the device"
				: "");
	kernel_close_session(vk);
	vk->write_failed = false;
	kernel_peer_redo(vk);
	/* Interrupts of a PCI device survive a reset; its migration state does not. */
	return kernel_get_state(vk, &state, err);
}

/* Data */

static int no_session(const struct vfio_kernel *vk, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_STATE, 0, "device %s: no state to %s in %s", vk->name,
		vk->state == SWO_DEVICE_RESUMING ? "write" : "read",
		swo_device_state_name(vk->state));
}

int kernel_data_read(void *self, void *buf, size_t len, size_t *got, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	bool pre_copy = vk->state == SWO_DEVICE_PRE_COPY || vk->state == SWO_DEVICE_PRE_COPY_P2P;
	ssize_t n;

	if (vk->data_fd < 0)
		return no_session(vk, err);
	if (!len)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "device %s: a read of 0 bytes", vk->name);
	do {
		n = vk->sys->read(vk->data_fd, buf, len, -1);
	} while (n < 0 && errno == EINTR);
	/* No data for now: ENOMSG by the uAPI; QAT, HiSilicon and mtty return 0. */
	if (n < 0 && errno == ENOMSG && pre_copy)
		n = 0;
	if (n < 0 || (size_t)n > len)
		return swo_error_set(err, SWO_E_DEVICE, n < 0 ? errno : EIO,
			"device %s: cannot read its state in %s", vk->name,
			swo_device_state_name(vk->state));
	*got = (size_t)n;
	return 0;
}

int kernel_data_write(void *self, const void *buf, size_t len, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	const uint8_t *data = buf;

	if (vk->data_fd < 0)
		return no_session(vk, err);
	if (vk->write_failed)
		return swo_error_set(err, SWO_E_STATE, 0,
			"device %s: an earlier write of its state failed; reset it", vk->name);
	while (len) {
		size_t piece = len < vk->params.write_chunk ? len : vk->params.write_chunk;
		ssize_t n = vk->sys->write(vk->data_fd, data, piece, -1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || (size_t)n > piece) {
			int why = n < 0 ? errno : EIO;

			vk->write_failed = true;
			return swo_error_set(err, SWO_E_DEVICE, why,
				"device %s: cannot write its state; it must be reset now",
				vk->name);
		}
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

int kernel_precopy_info(void *self, struct swo_precopy_info *out, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct vfio_precopy_info info = {.argsz = sizeof(info)};

	if (vk->data_fd < 0)
		return no_session(vk, err);
	int rc = kernel_ioctl(vk, vk->data_fd, VFIO_MIG_GET_PRECOPY_INFO, &info);

	if (rc == -ENOTTY)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: its driver has no VFIO_MIG_GET_PRECOPY_INFO", vk->name);
	if (rc < 0)
		return swo_error_set(err, SWO_E_DEVICE, -rc,
			"device %s: VFIO_MIG_GET_PRECOPY_INFO in %s", vk->name,
			swo_device_state_name(vk->state));
	/* Drivers leave the flags as they were unless version 2 was enabled. */
	*out = (struct swo_precopy_info){.initial_bytes = info.initial_bytes,
		.dirty_bytes = info.dirty_bytes,
		.reinit = vk->has_precopy_v2 && (info.flags & VFIO_PRECOPY_INFO_REINIT)};
	return 0;
}

int kernel_data_size(void *self, uint64_t *stop_copy_length, struct swo_error *err)
{
	struct vfio_kernel *vk = self;
	struct vfio_device_feature_mig_data_size data = {0};

	if (!vk->has_data_size)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: the kernel has no VFIO_DEVICE_FEATURE_MIG_DATA_SIZE", vk->name);
	int rc = kernel_feature(vk, GET(VFIO_DEVICE_FEATURE_MIG_DATA_SIZE), &data, sizeof(data));

	/* Drivers have returned an error as the value (an unsigned long). */
	if (!rc && data.stop_copy_length >= (uint64_t)-ERRNO_MAX)
		rc = (int)(int64_t)data.stop_copy_length;
	if (rc)
		return swo_error_set(err, SWO_E_DEVICE, -rc,
			"device %s: VFIO_DEVICE_FEATURE_MIG_DATA_SIZE", vk->name);
	*stop_copy_length = data.stop_copy_length;
	return 0;
}

size_t kernel_read_chunk(void *self)
{
	return ((struct vfio_kernel *)self)->params.read_chunk;
}

size_t kernel_write_chunk(void *self)
{
	return ((struct vfio_kernel *)self)->params.write_chunk;
}
