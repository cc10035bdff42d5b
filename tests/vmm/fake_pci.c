/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_pci.c - configuration space, BARs and interrupts of fake_pci.h.
 */
#include "fake_pci.h"

#include "simvf/regs.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CONFIG_REGION 7
#define CAP_VENDOR    0x60
#define CAP_MSI	      0x50
#define CAP_MSIX      0x40

static void put(struct fake_pci *fake, unsigned at, uint32_t value, unsigned len)
{
	memcpy(fake->config + at, &value, len);
}

void fake_pci_init(struct fake_pci *fake, const char *name)
{
	memset(fake, 0, sizeof(*fake));
	fake_device_init(&fake->device, name, NULL);
	fake->inbox_size = SIMVF_BAR_INBOX_SIZE;
	fake->config_size = sizeof(fake->config);
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

void fake_pci_msi_only(struct fake_pci *fake, unsigned flags)
{
	fake->msi_only = true;
	put(fake, 0x34, CAP_MSI, 1);
	put(fake, CAP_MSI + 2, flags, 2);
}

void fake_pci_fini(struct fake_pci *fake)
{
	assert_int_equal(atomic_load(&fake->device.offences), 0);
	swo_close_fd(&fake->inbox_fd);
	fake_device_fini(&fake->device);
}

uint64_t fake_pci_doorbells(struct fake_pci *fake)
{
	pthread_mutex_lock(&fake->device.own.mutex);
	uint64_t count = fake->doorbells;

	pthread_mutex_unlock(&fake->device.own.mutex);
	return count;
}

unsigned fake_pci_writes(struct fake_pci *fake, uint32_t region, uint64_t offset, uint64_t *last)
{
	unsigned count = 0;

	pthread_mutex_lock(&fake->device.own.mutex);
	for (unsigned i = 0; i < fake->write_count; i++) {
		const struct fake_write *w = &fake->writes[i];

		if (w->region != region || offset < w->offset || offset >= w->offset + w->len)
			continue;
		count++;
		if (last)
			*last = w->value;
	}
	pthread_mutex_unlock(&fake->device.own.mutex);
	return count;
}

/* Regions */

static int region_info(
	void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err)
{
	(void)err;
	*info = (struct swo_region_info){.flags = 3};
	if (region == SIMVF_BAR_REGS)
		info->size = SIMVF_BAR_REGS_SIZE;
	else if (region == SIMVF_BAR_INBOX)
		*info = (struct swo_region_info){((struct fake_pci *)self)->inbox_size, 7};
	else if (region == SIMVF_BAR_MSIX)
		info->size = SIMVF_BAR_MSIX_SIZE;
	else if (region == CONFIG_REGION)
		info->size = ((struct fake_pci *)self)->config_size;
	return 0;
}

/* Registers read as their own offset, but for what a guest looks for. */
static int region_read(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
	struct swo_error *err)
{
	struct fake_pci *fake = self;
	uint64_t value = offset;

	if (__atomic_load_n(&fake->released, __ATOMIC_ACQUIRE))
		return swo_error_set(err, SWO_E_PEER_LOST, ENODEV, "released");
	if (offset == SIMVF_REG_ID)
		value = SIMVF_ID;
	else if (offset == SIMVF_REG_VERSION)
		value = 1;
	if (region == CONFIG_REGION && offset + len > fake->config_size)
		return swo_error_set(err, SWO_E_DEVICE, EINVAL, "beyond the end");
	pthread_mutex_lock(&fake->device.own.mutex);
	fake->reads++;
	if (region == CONFIG_REGION)
		memcpy(buf, fake->config + offset, len);
	else
		memcpy(buf, region == SIMVF_BAR_REGS ? &value : &offset, len > 8 ? 8 : len);
	pthread_mutex_unlock(&fake->device.own.mutex);
	return 0;
}

static int region_write(void *self, uint32_t region, uint64_t offset, const void *buf, uint32_t len,
	bool posted, struct swo_error *err)
{
	struct fake_pci *fake = self;
	struct fake_write write = {
		.region = region, .offset = offset, .len = len, .posted = posted};

	(void)err;
	memcpy(&write.value, buf, len > 8 ? 8 : len);
	if (region == CONFIG_REGION && offset == 4)
		swo_sleep_until(swo_now_ns() + fake->config_delay_ms * UINT64_C(1000000));
	pthread_mutex_lock(&fake->device.own.mutex);
	for (uint32_t i = 0; region == CONFIG_REGION && i < len; i++)
		/* the status is read-only */
		if (offset + i != 6 && offset + i != 7 &&
			!(fake->host_enables && offset + i == CAP_MSIX + 3))
			fake->config[offset + i] = ((const uint8_t *)buf)[i];
	fake->doorbells += region == SIMVF_BAR_REGS && offset >= SIMVF_DOORBELL(0);
	if (fake->write_count < FAKE_WRITES)
		fake->writes[fake->write_count++] = write;
	pthread_mutex_unlock(&fake->device.own.mutex);
	return 0;
}

static int region_fd(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err)
{
	struct fake_pci *fake = self;

	if (region != SIMVF_BAR_INBOX)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0, "not mappable");
	*fd = fake->inbox_fd;
	*fd_offset = *region_offset = 0;
	*size = fake->inbox_size;
	return 0;
}

static int irq_info(void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err)
{
	(void)err;
	const struct fake_pci *fake = self;

	if (index == 3 || index == 4) /* ERR, REQ */
		*info = (struct swo_irq_info){1, 1};
	else
		*info = (struct swo_irq_info){
			1, index == (fake->msi_only ? 1 : 2) ? FAKE_VECTORS : 0};
	return 0;
}

static int set_irqs(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
	struct swo_error *err)
{
	struct fake_pci *fake = self;

	if ((index == 3 || index == 4) && count == 1) {
		fake->host_irqs[index - 3] = *fds;
		return 0;
	}
	if (index != (fake->msi_only ? 1 : 2) || start + count > FAKE_VECTORS)
		return swo_error_set(err, SWO_E_INVALID, 0, "no such interrupt");
	pthread_mutex_lock(&fake->device.own.mutex);
	for (uint32_t v = 0; !count && v < FAKE_VECTORS; v++)
		fake->irqs[v] = -1;
	for (uint32_t i = 0; i < count; i++)
		fake->irqs[start + i] = fds[i];
	if (fake->host_enables && (!count || !fake->irqs_on))
		fake->config[CAP_MSIX + 3] = count ? 0x80 : 0;
	fake->irqs_on = count > 0;
	fake->irq_sets += count > 0;
	fake->irq_offs += !count;
	pthread_mutex_unlock(&fake->device.own.mutex);
	return 0;
}

static void release(void *self)
{
	__atomic_store_n(&((struct fake_pci *)self)->released, true, __ATOMIC_RELEASE);
}

static struct swo_device_ops ops;

static void make_ops(void)
{
	ops = fake_device_ops;
	ops.region_info = region_info;
	ops.region_read = region_read;
	ops.region_write = region_write;
	ops.region_fd = region_fd;
	ops.irq_info = irq_info;
	ops.set_irqs = set_irqs;
	ops.release = release;
}

const struct swo_device_ops *fake_pci_ops(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	/* Guests of earlier machines may be reading it. */
	pthread_once(&once, make_ops);
	return &ops;
}
