/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_device.c - the backend of fake_device.h.
 */
#include "fake_device.h"

#include "simvf/regs.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CONFIG_REGION 7
#define HOLD_MS	      20000 /* a guard against hanging, nothing more */
#define CAP_VENDOR    0x60
#define CAP_MSI	      0x50
#define CAP_MSIX      0x40

static void put(struct fake_device *fake, unsigned at, uint32_t value, unsigned len)
{
	memcpy(fake->config + at, &value, len);
}

void fake_init(struct fake_device *fake, const char *name)
{
	*fake = (struct fake_device){.name = name,
		.inbox_fd = -1,
		.inbox_size = SIMVF_BAR_INBOX_SIZE,
		.state = SWO_DEVICE_RUNNING};
	pthread_mutex_init(&fake->mutex, NULL);
	swo_cond_init(&fake->changed);
	put(fake, 0x00, SIMVF_PCI_VENDOR | SIMVF_PCI_DEVICE << 16, 4);
	put(fake, 0x06, 0x10, 2);
	put(fake, 0x0a, 0xff00, 2);
	put(fake, 0x34, CAP_MSIX, 1);
	put(fake, CAP_MSIX, 0x11 | CAP_MSI << 8 | (SIMVF_MSIX_VECTORS - 1) << 16, 4);
	put(fake, CAP_MSIX + 4, SIMVF_MSIX_TABLE | SIMVF_BAR_MSIX, 4);
	put(fake, CAP_MSIX + 8, SIMVF_MSIX_PBA | SIMVF_BAR_MSIX, 4);
	put(fake, CAP_MSI, 0x05 | CAP_VENDOR << 8, 4);
	put(fake, CAP_VENDOR, 0x09 | 0x08 << 16, 4);
	put(fake, CAP_VENDOR + 4, 0xdeadbeef, 4);
	put(fake, 0x3d, 1, 1);
	for (unsigned v = 0; v < FAKE_VECTORS; v++)
		fake->irqs[v] = -1;
	fake->inbox_fd = memfd_create(name, MFD_CLOEXEC);
	if (fake->inbox_fd >= 0 && ftruncate(fake->inbox_fd, SIMVF_BAR_INBOX_SIZE))
		swo_close_fd(&fake->inbox_fd);
}

void fake_fini(struct fake_device *fake)
{
	swo_close_fd(&fake->inbox_fd);
	pthread_cond_destroy(&fake->changed);
	pthread_mutex_destroy(&fake->mutex);
}

enum swo_device_state fake_state(struct fake_device *fake)
{
	pthread_mutex_lock(&fake->mutex);
	enum swo_device_state state = fake->state;

	pthread_mutex_unlock(&fake->mutex);
	return state;
}

uint64_t fake_doorbells(struct fake_device *fake)
{
	pthread_mutex_lock(&fake->mutex);
	uint64_t count = fake->doorbells;

	pthread_mutex_unlock(&fake->mutex);
	return count;
}

static void set_under_lock(
	struct fake_device *fake, enum swo_device_state *what, enum swo_device_state to)
{
	pthread_mutex_lock(&fake->mutex);
	*what = to;
	pthread_cond_broadcast(&fake->changed);
	pthread_mutex_unlock(&fake->mutex);
}

void fake_fail(struct fake_device *fake, enum swo_device_state to)
{
	set_under_lock(fake, &fake->fails_to, to);
}

void fake_hold(struct fake_device *fake, enum swo_device_state to)
{
	set_under_lock(fake, &fake->holds_to, to);
}

void fake_release(struct fake_device *fake)
{
	set_under_lock(fake, &fake->holds_to, SWO_DEVICE_ERROR);
}

void fake_wait_held(struct fake_device *fake)
{
	swo_deadline deadline = swo_deadline_ms(HOLD_MS);

	pthread_mutex_lock(&fake->mutex);
	while (!fake->held && !swo_cond_wait(&fake->changed, &fake->mutex, deadline))
		;
	pthread_mutex_unlock(&fake->mutex);
}

unsigned fake_writes(struct fake_device *fake, uint32_t region, uint64_t offset, uint64_t *last)
{
	unsigned count = 0;

	pthread_mutex_lock(&fake->mutex);
	for (unsigned i = 0; i < fake->write_count; i++) {
		const struct fake_write *w = &fake->writes[i];

		if (w->region != region || offset < w->offset || offset >= w->offset + w->len)
			continue;
		count++;
		if (last)
			*last = w->value;
	}
	pthread_mutex_unlock(&fake->mutex);
	return count;
}

bool fake_has_map(struct fake_device *fake, uint64_t iova, uint64_t size, int fd)
{
	bool found = false;

	pthread_mutex_lock(&fake->mutex);
	for (unsigned i = 0; i < fake->map_count; i++)
		found |= fake->maps[i].iova == iova && fake->maps[i].size == size &&
			 fake->maps[i].fd == fd;
	pthread_mutex_unlock(&fake->mutex);
	return found;
}

/* Migration */

static int get_mig_flags(void *self, uint64_t *flags, struct swo_error *err)
{
	(void)self;
	(void)err;
	*flags = SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY;
	return 0;
}

static int get_state(void *self, enum swo_device_state *state, struct swo_error *err)
{
	struct fake_device *fake = self;

	(void)err;
	pthread_mutex_lock(&fake->mutex);
	*state = fake->state;
	pthread_mutex_unlock(&fake->mutex);
	return 0;
}

static int set_state(void *self, enum swo_device_state state, struct swo_error *err)
{
	struct fake_device *fake = self;
	swo_deadline deadline = swo_deadline_ms(HOLD_MS);
	int rc = 0;

	pthread_mutex_lock(&fake->mutex);
	while (fake->holds_to && fake->holds_to == state) {
		fake->held = true;
		pthread_cond_broadcast(&fake->changed);
		if (swo_cond_wait(&fake->changed, &fake->mutex, deadline))
			break;
	}
	fake->held = false;
	if (fake->fails_to && fake->fails_to == state)
		rc = swo_error_set(err, SWO_E_DEVICE, EIO, "device %s refuses", fake->name);
	else
		fake->state = state;
	pthread_mutex_unlock(&fake->mutex);
	return rc;
}

static int data_read(void *self, void *buf, size_t len, size_t *got, struct swo_error *err)
{
	(void)self;
	(void)buf;
	(void)len;
	(void)err;
	*got = 0;
	return 0;
}

static int data_write(void *self, const void *buf, size_t len, struct swo_error *err)
{
	(void)self;
	(void)buf;
	(void)len;
	(void)err;
	return 0;
}

static size_t chunk(void *self)
{
	(void)self;
	return 65536;
}

static int reset(void *self, struct swo_error *err)
{
	return set_state(self, SWO_DEVICE_RUNNING, err);
}

/* DMA */

static int dma_map(void *self, uint64_t iova, uint64_t size, int fd, uint64_t offset, void *host,
	uint32_t prot, struct swo_error *err)
{
	struct fake_device *fake = self;
	int rc = 0;

	(void)host;
	(void)prot;
	pthread_mutex_lock(&fake->mutex);
	fake->map_calls++;
	for (unsigned i = 0; i < fake->map_count; i++)
		if (iova < fake->maps[i].iova + fake->maps[i].size &&
			fake->maps[i].iova < iova + size)
			rc = swo_error_set(err, SWO_E_INVALID, EEXIST, "map overlaps");
	if (!rc && fake->map_count < FAKE_MAPS)
		fake->maps[fake->map_count++] = (struct fake_map){iova, size, offset, fd};
	pthread_mutex_unlock(&fake->mutex);
	return rc;
}

static int dma_unmap(void *self, uint64_t iova, uint64_t size, struct swo_error *err)
{
	struct fake_device *fake = self;
	int rc = -1;

	pthread_mutex_lock(&fake->mutex);
	fake->unmap_calls++;
	for (unsigned i = 0; rc && i < fake->map_count; i++)
		if (fake->maps[i].iova == iova && fake->maps[i].size == size) {
			fake->maps[i] = fake->maps[--fake->map_count];
			rc = 0;
		}
	pthread_mutex_unlock(&fake->mutex);
	return rc ? swo_error_set(err, SWO_E_INVALID, ENOENT, "no such map") : 0;
}

/* Regions:
 */

static int region_info(
	void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err)
{
	(void)err;
	*info = (struct swo_region_info){.flags = 3};
	if (region == SIMVF_BAR_REGS)
		info->size = SIMVF_BAR_REGS_SIZE;
	else if (region == SIMVF_BAR_INBOX)
		*info = (struct swo_region_info){((struct fake_device *)self)->inbox_size, 7};
	else if (region == SIMVF_BAR_MSIX)
		info->size = SIMVF_BAR_MSIX_SIZE;
	else if (region == CONFIG_REGION)
		info->size = sizeof(((struct fake_device *)0)->config);
	return 0;
}

/* Registers read as their own offset, but for what a guest looks for. */
static int region_read(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
	struct swo_error *err)
{
	struct fake_device *fake = self;
	uint64_t value = offset;

	if (offset == SIMVF_REG_ID)
		value = SIMVF_ID;
	else if (offset == SIMVF_REG_VERSION)
		value = 1;
	if (region == CONFIG_REGION && offset + len > sizeof(fake->config))
		return swo_error_set(err, SWO_E_DEVICE, EINVAL, "beyond the end");
	pthread_mutex_lock(&fake->mutex);
	fake->reads++;
	if (region == CONFIG_REGION)
		memcpy(buf, fake->config + offset, len);
	else
		memcpy(buf, region == SIMVF_BAR_REGS ? &value : &offset, len > 8 ? 8 : len);
	pthread_mutex_unlock(&fake->mutex);
	return 0;
}

static int region_write(void *self, uint32_t region, uint64_t offset, const void *buf, uint32_t len,
	bool posted, struct swo_error *err)
{
	struct fake_device *fake = self;
	struct fake_write write = {
		.region = region, .offset = offset, .len = len, .posted = posted};

	(void)err;
	memcpy(&write.value, buf, len > 8 ? 8 : len);
	if (region == CONFIG_REGION && offset == 4)
		swo_sleep_until(swo_now_ns() + fake->config_delay_ms * UINT64_C(1000000));
	pthread_mutex_lock(&fake->mutex);
	for (uint32_t i = 0; region == CONFIG_REGION && i < len; i++)
		if (offset + i != 6 && offset + i != 7) /* the status is read-only */
			fake->config[offset + i] = ((const uint8_t *)buf)[i];
	fake->doorbells += region == SIMVF_BAR_REGS && offset >= SIMVF_DOORBELL(0);
	if (fake->write_count < FAKE_WRITES)
		fake->writes[fake->write_count++] = write;
	pthread_mutex_unlock(&fake->mutex);
	return 0;
}

static int region_fd(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err)
{
	struct fake_device *fake = self;

	if (region != SIMVF_BAR_INBOX)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0, "not mappable");
	*fd = fake->inbox_fd;
	*fd_offset = *region_offset = 0;
	*size = fake->inbox_size;
	return 0;
}

static int irq_info(void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err)
{
	(void)self;
	(void)err;
	*info = (struct swo_irq_info){1, index == 2 ? FAKE_VECTORS : 0};
	return 0;
}

static int set_irqs(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
	struct swo_error *err)
{
	struct fake_device *fake = self;

	if (index != 2 || start + count > FAKE_VECTORS)
		return swo_error_set(err, SWO_E_INVALID, 0, "no such interrupt");
	pthread_mutex_lock(&fake->mutex);
	for (uint32_t i = 0; i < count; i++)
		fake->irqs[start + i] = fds[i];
	pthread_mutex_unlock(&fake->mutex);
	return 0;
}

static void destroy(void *self)
{
	struct fake_device *fake = self;

	fake->destroyed = true;
}

const struct swo_device_ops fake_ops = {
	.name = "fake",
	.get_mig_flags = get_mig_flags,
	.get_state = get_state,
	.set_state = set_state,
	.data_read = data_read,
	.data_write = data_write,
	.read_chunk = chunk,
	.write_chunk = chunk,
	.reset = reset,
	.dma_map = dma_map,
	.dma_unmap = dma_unmap,
	.region_info = region_info,
	.region_read = region_read,
	.region_write = region_write,
	.region_fd = region_fd,
	.irq_info = irq_info,
	.set_irqs = set_irqs,
	.destroy = destroy,
};
