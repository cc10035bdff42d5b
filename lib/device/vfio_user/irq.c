/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * irq.c - interrupts of a vfio-user device: eventfds for its vectors,
 * in as many messages as the server's limit on fds makes necessary.
 */
#include "device/vfio_user/internal.h"

int vfio_user_irq_info(void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err)
{
	struct vfio_user *vu = self;

	if (index >= vu->irq_count)
		return swo_error_set(err, SWO_E_INVALID, 0, "device %s: there is no interrupt %u",
			vu->name, index);
	*info = vu->irqs[index];
	return 0;
}

static int send_set(struct vfio_user *vu, uint32_t data, uint32_t index, uint32_t start,
	uint32_t count, const int *fds, unsigned fd_count, struct swo_error *err)
{
	struct swo_vu_irq_set set = {.argsz = sizeof(set),
		.flags = data | SWO_VU_IRQ_ACTION_TRIGGER,
		.index = index,
		.start = start,
		.count = count};
	uint8_t slack[VU_REPLY_SLACK];
	struct swo_vu_call call = {.command = SWO_VU_SET_IRQS,
		.request = {{&set, sizeof(set)}},
		.fds = fds,
		.fd_count = fd_count,
		.reply = {{slack, sizeof(slack)}},
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

	return swo_vu_do(vu->client, &call, err);
}

/* How many of fds[0..count) from the first on are given, or are not, like the first. */
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
			"device %s: its server takes no fds, so it cannot interrupt", vu->name);
	while (count) {
		uint32_t slice = count < vu->max_fds ? count : vu->max_fds;

		if (send_set(vu, SWO_VU_IRQ_DATA_EVENTFD, index, start, slice, fds, slice, err))
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
		return send_set(vu, SWO_VU_IRQ_DATA_EVENTFD, index, start, count, NULL, 0, err);
	while (count--)
		if (attach(vu, index, start++, &vu->dummy, 1, err))
			return -1;
	return 0;
}

int vfio_user_set_irqs(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
	struct swo_error *err)
{
	struct vfio_user *vu = self;
	struct swo_irq_info info = {0};

	if (vfio_user_irq_info(vu, index, &info, err))
		return -1;
	if (start > info.count || count > info.count - start)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: interrupt %u has %u vectors; %u from %u on are too many",
			vu->name, index, info.count, count, start);
	if (!count)
		return send_set(vu, SWO_VU_IRQ_DATA_NONE, index, 0, 0, NULL, 0, err);
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
