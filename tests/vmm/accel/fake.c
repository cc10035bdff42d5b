/* SPDX-License-Identifier: BSD-3-Clause */
/* fake.c - the buses of the fake machine: configuration space, BARs, doorbells. */
#include "fake.h"

#include "simvf/regs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BARS_GPA  0xc0000000u
#define BARS_STEP 0x100000u
#define BAR_STEP  0x20000u

uint64_t fake_bar(unsigned i, unsigned bar)
{
	return BARS_GPA + i * BARS_STEP + bar * BAR_STEP;
}

void fake_init(struct fake *fake, unsigned devices)
{
	memset(fake, 0, sizeof(*fake));
	pthread_mutex_init(&fake->mutex, NULL);
	fake->devices = devices;
	for (unsigned i = 0; i < devices; i++)
		for (unsigned v = 0; v < FAKE_VECTORS; v++) {
			fake->device[i].eventfd[v] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
			fake->device[i].msix[v * 4 + 3] = 1;
		}
}

void fake_free(struct fake *fake)
{
	for (unsigned i = 0; i < fake->devices; i++)
		for (unsigned v = 0; v < FAKE_VECTORS; v++)
			close(fake->device[i].eventfd[v]);
	pthread_mutex_destroy(&fake->mutex);
}

static int route(struct fake *fake, struct fake_device *device, unsigned v, struct swo_error *err)
{
	const uint32_t *entry = &device->msix[v * 4];
	bool masked = !device->msix_on || (entry[3] & 1);

	return vmm_accel_msi_set(fake->accel, device->handle[v],
		(uint64_t)entry[1] << 32 | entry[0], entry[2], masked, err);
}

int fake_attach(struct fake *fake, struct vmm_accel *accel, struct swo_error *err)
{
	fake->accel = accel;
	for (unsigned i = 0; i < fake->devices; i++)
		for (unsigned v = 0; v < FAKE_VECTORS; v++) {
			struct fake_device *device = &fake->device[i];

			if (vmm_accel_msi_add(accel, device->eventfd[v], &device->handle[v], err) ||
				route(fake, device, v, err))
				return -1;
		}
	return 0;
}

void fake_detach(struct fake *fake)
{
	for (unsigned i = 0; i < fake->devices; i++)
		for (unsigned v = 0; v < FAKE_VECTORS; v++)
			vmm_accel_msi_del(fake->accel, fake->device[i].handle[v]);
}

uint64_t fake_doorbells(struct fake *fake)
{
	pthread_mutex_lock(&fake->mutex);
	uint64_t doorbells = fake->doorbells;

	pthread_mutex_unlock(&fake->mutex);
	return doorbells;
}

/* Configuration space: a bridge at 00:01.0, VF 0 at 00:02.0, the others on bus 5 */

static int device_at(const struct fake *fake, uint32_t bdf)
{
	if (bdf == 2 << 3)
		return 0;
	uint32_t i = (bdf & 0xff) >> 3;

	return bdf >> 8 == 5 && !(bdf & 7) && i >= 1 && i < fake->devices ? (int)i : -1;
}

static uint32_t bridge_config(uint32_t offset)
{
	switch (offset) {
	case 0x00:
		return 0x000c1b36;
	case 0x0c:
		return 0x010000;
	case 0x18:
		return 0x050500; /* primary 0, secondary 5, subordinate 5 */
	default:
		return 0;
	}
}

static uint32_t device_config(const struct fake_device *device, unsigned i, uint32_t offset)
{
	switch (offset) {
	case 0x00:
		return SIMVF_PCI_DEVICE << 16 | SIMVF_PCI_VENDOR;
	case 0x04:
		return 0x00100000 | device->command;
	case 0x10:
		return (uint32_t)fake_bar(i, 0);
	case 0x18: /* a 64-bit BAR */
		return (uint32_t)fake_bar(i, 2) | 4;
	case 0x20:
		return (uint32_t)fake_bar(i, 4);
	case 0x34:
		return 0x40;
	case 0x40: /* something else first */
		return 0x00005009;
	case 0x50:
		return 0x11u | (FAKE_VECTORS - 1) << 16 | (device->msix_on ? 1u << 31 : 0);
	case 0x54:
		return SIMVF_MSIX_TABLE | 4;
	default:
		return 0;
	}
}

uint32_t fake_config_read(struct fake *fake, uint32_t address)
{
	uint32_t bdf = address >> 8 & 0xffff, offset = address & 0xfc;
	int i = device_at(fake, bdf);

	if (bdf == 1 << 3)
		return bridge_config(offset);
	return i < 0 ? UINT32_MAX : device_config(&fake->device[i], (unsigned)i, offset);
}

static int route_all(struct fake *fake, struct fake_device *device)
{
	for (unsigned v = 0; v < FAKE_VECTORS; v++)
		if (route(fake, device, v, NULL))
			return -1;
	return 0;
}

void fake_config_write(struct fake *fake, uint32_t address, uint32_t value)
{
	int i = device_at(fake, address >> 8 & 0xffff);

	if (i < 0)
		return;
	if ((address & 0xfc) == 0x04)
		fake->device[i].command = value & 0xffff;
	if ((address & 0xfc) == 0x50) {
		fake->device[i].msix_on = value >> 31;
		if (route_all(fake, &fake->device[i]))
			fake->strays++;
	}
}

/* BARs */

static void doorbell(struct fake *fake, struct fake_device *device, unsigned vcpu, uint64_t number)
{
	uint64_t now = swo_now_ns();

	if (vcpu == 0 && device == fake->device) {
		if (fake->at_ns && now - fake->at_ns > fake->gap_max_ns)
			fake->gap_max_ns = now - fake->at_ns;
		fake->at_ns = now;
	}
	if (fake->stopped)
		fake->while_stopped++;
	fake->doorbells++;
	fake->accesses--;
	if (number > device->last[vcpu] + 1)
		device->lost += number - device->last[vcpu] - 1;
	if (number <= device->last[vcpu])
		device->repeated++;
	device->last[vcpu] = number;
	if ((device->control & SIMVF_CONTROL_IRQ) && number % device->irq_every == 0) {
		uint64_t one = 1;

		if (write(device->eventfd[vcpu], &one, sizeof(one)) != sizeof(one))
			fake->strays++;
	}
}

static bool write_register(
	struct fake_device *device, uint64_t offset, uint64_t value, unsigned len)
{
	switch (offset | (uint64_t)len << 32) {
	case SIMVF_REG_CONTROL | 4ull << 32:
		device->control = (uint32_t)value;
		return true;
	case SIMVF_REG_IRQ_EVERY | 4ull << 32:
		device->irq_every = (uint32_t)value;
		return true;
	case SIMVF_REG_DMA_ADDR | 8ull << 32:
		device->dma_addr = value;
		return true;
	case SIMVF_REG_DMA_PAGES | 4ull << 32:
		device->dma_pages = (uint32_t)value;
		return true;
	case SIMVF_REG_DMA_RATE | 4ull << 32:
		device->dma_rate = (uint32_t)value;
		return true;
	case SIMVF_REG_P2P_ADDR | 8ull << 32:
		device->p2p_addr = value;
		return true;
	case SIMVF_REG_P2P_RATE | 4ull << 32:
		device->p2p_rate = (uint32_t)value;
		return true;
	default:
		return false;
	}
}

static bool write_bar(
	struct fake *fake, unsigned i, uint64_t bar, uint64_t offset, uint64_t value, unsigned len)
{
	struct fake_device *device = &fake->device[i];

	if (bar == 4 && len == 4 && offset < sizeof(device->msix)) {
		device->msix[offset / 4] = (uint32_t)value;
		return route(fake, device, (unsigned)offset / 16, NULL) == 0;
	}
	if (bar != 0)
		return false;
	if (offset >= SIMVF_DOORBELL(0) && offset < SIMVF_DOORBELL(FAKE_VCPUS) && len == 8) {
		doorbell(fake, device, (unsigned)(offset - SIMVF_DOORBELL(0)) / 8, value);
		return true;
	}
	return write_register(device, offset, value, len);
}

static void end_access(struct fake *fake)
{
	fake->accesses++;
	pthread_mutex_unlock(&fake->mutex);
	if (fake->on_access)
		fake->on_access(fake->on_access_opaque);
}

static void mmio_write(void *opaque, uint64_t gpa, const void *data, unsigned len)
{
	struct fake *fake = opaque;
	uint64_t value = 0, at = gpa - BARS_GPA;

	pthread_mutex_lock(&fake->mutex);
	memcpy(&value, data, len <= 8 ? len : 8);
	if (gpa < BARS_GPA || at / BARS_STEP >= fake->devices ||
		!write_bar(fake, (unsigned)(at / BARS_STEP), at % BARS_STEP / BAR_STEP,
			at % BAR_STEP, value, len))
		fake->strays++;
	end_access(fake);
}

static void mmio_read(void *opaque, uint64_t gpa, void *data, unsigned len)
{
	struct fake *fake = opaque;
	uint64_t at = gpa - BARS_GPA;
	uint32_t value = UINT32_MAX;

	pthread_mutex_lock(&fake->mutex);
	memset(data, 0xff, len);
	if (gpa >= BARS_GPA && at / BARS_STEP < fake->devices && at % BARS_STEP == SIMVF_REG_ID)
		value = SIMVF_ID;
	else if (gpa >= BARS_GPA && at % BARS_STEP == SIMVF_REG_VERSION)
		value = 1;
	else if (gpa >= BARS_GPA && at / BARS_STEP < fake->devices &&
		 at % BARS_STEP / BAR_STEP == SIMVF_BAR_INBOX)
		value = fake->inbox_reads++;
	else
		fake->strays++;
	memcpy(data, &value, len < 4 ? len : 4);
	end_access(fake);
}

static void pio_write(void *opaque, uint16_t port, const void *data, unsigned len)
{
	struct fake *fake = opaque;
	uint32_t value = 0;

	pthread_mutex_lock(&fake->mutex);
	memcpy(&value, data, len <= 4 ? len : 4);
	if (port == 0xcf8 && len == 4)
		fake->config_address = value;
	else if (port == 0xcfc && len == 4)
		fake_config_write(fake, fake->config_address, value);
	else
		fake->strays++;
	end_access(fake);
}

static void pio_read(void *opaque, uint16_t port, void *data, unsigned len)
{
	struct fake *fake = opaque;
	uint32_t value = UINT32_MAX;

	pthread_mutex_lock(&fake->mutex);
	if (port == 0xcfc && len == 4)
		value = fake_config_read(fake, fake->config_address);
	else
		fake->strays++;
	memcpy(data, &value, len <= 4 ? len : 4);
	end_access(fake);
}

static void failed(void *opaque, unsigned vcpu, const char *why)
{
	struct fake *fake = opaque;

	pthread_mutex_lock(&fake->mutex);
	fake->failed = true;
	snprintf(fake->why, sizeof(fake->why), "vCPU %u: %s", vcpu, why);
	pthread_mutex_unlock(&fake->mutex);
}

struct vmm_bus fake_bus(struct fake *fake)
{
	return (struct vmm_bus){
		.mmio_read = mmio_read,
		.mmio_write = mmio_write,
		.pio_read = pio_read,
		.pio_write = pio_write,
		.failed = failed,
		.opaque = fake,
	};
}
