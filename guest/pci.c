/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci.c - finds the guest's devices and sets them up: PCI configuration mechanism #1, bus 0 and
 * the buses behind bridges. Numbers: PCI Local Bus 3.0, MSI-X in chapter 6.8.
 */
#include "work.h"

#include "../simvf/regs.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA    0xcfc

#define PCI_ID		 0x00
#define PCI_COMMAND	 0x04
#define PCI_CMD_MEMORY	 0x2u
#define PCI_CMD_MASTER	 0x4u
#define PCI_STATUS_CAPS	 (0x10u << 16)
#define PCI_HEADER	 0x0c /* header type in bits 16..23 */
#define PCI_BAR(n)	 (0x10u + 4u * (n))
#define PCI_BUSES	 0x18 /* of a bridge: secondary bus in bits 8..15 */
#define PCI_CAP_POINTER	 0x34
#define PCI_CAP_MSIX	 0x11
#define PCI_MSIX_ENABLE	 (1u << 31)
#define PCI_MSIX_MASKALL (1u << 30)

#define MSI_VECTOR  0x40u
#define MSI_ADDRESS 0xfee00000u

static uint32_t config_read(struct guest_env *env, uint32_t bdf, uint32_t offset)
{
	guest_pio_write(env, PCI_ADDRESS, 0x80000000u | bdf << 8 | (offset & 0xfc));
	return guest_pio_read(env, PCI_DATA);
}

static void config_write(struct guest_env *env, uint32_t bdf, uint32_t offset, uint32_t value)
{
	guest_pio_write(env, PCI_ADDRESS, 0x80000000u | bdf << 8 | (offset & 0xfc));
	guest_pio_write(env, PCI_DATA, value);
}

static struct guest_status *status_of(struct guest_env *env)
{
	return guest_ram(env, GUEST_STATUS_GPA, sizeof(struct guest_status));
}

static struct guest_device *device_of(struct guest_env *env, uint32_t index)
{
	return guest_ram(env, GUEST_DEVICE_GPA + index * sizeof(struct guest_device),
		sizeof(struct guest_device));
}

GUEST_WRITER static void fail(struct guest_env *env, enum guest_error error, uint32_t detail)
{
	struct guest_status *status = status_of(env);

	if (status->error)
		return;
	status->detail = detail;
	GUEST_PUBLISH(status->error, error);
}

static uint64_t read_bar(struct guest_env *env, uint32_t bdf, uint32_t bar)
{
	uint64_t low = config_read(env, bdf, PCI_BAR(bar));
	uint64_t high = 0;

	if ((low & 7) == 4)
		high = config_read(env, bdf, PCI_BAR(bar + 1));
	return high << 32 | (low & ~0xfull);
}

static uint32_t find_cap(struct guest_env *env, uint32_t bdf, uint32_t id)
{
	uint32_t at = config_read(env, bdf, PCI_CAP_POINTER) & 0xfc;

	if (!(config_read(env, bdf, PCI_COMMAND) & PCI_STATUS_CAPS))
		return 0;
	/* Bounded: the capability list may be cyclic. */
	for (unsigned i = 0; at && i < 48; i++) {
		uint32_t head = config_read(env, bdf, at);

		if ((head & 0xff) == id)
			return at;
		at = head >> 8 & 0xfc;
	}
	return 0;
}

GUEST_WRITER static void add_device(struct guest_env *env, uint32_t bdf)
{
	struct guest_status *status = status_of(env);
	uint32_t command = config_read(env, bdf, PCI_COMMAND) & 0xffff;

	if (status->devices == GUEST_DEVICES_MAX) {
		fail(env, GUEST_E_TOO_MANY_DEVICES, GUEST_DEVICES_MAX);
		return;
	}

	struct guest_device *device = device_of(env, status->devices);

	device->bdf = bdf;
	device->regs = read_bar(env, bdf, SIMVF_BAR_REGS);
	device->inbox = read_bar(env, bdf, SIMVF_BAR_INBOX);
	config_write(env, bdf, PCI_COMMAND, command | PCI_CMD_MEMORY | PCI_CMD_MASTER);
	if (!device->regs || device->regs + SIMVF_BAR_REGS_SIZE > GUEST_ADDRESS_END ||
		guest_mmio_read(env, device->regs + SIMVF_REG_ID) != SIMVF_ID ||
		guest_mmio_read(env, device->regs + SIMVF_REG_VERSION) != 1) {
		fail(env, GUEST_E_BAD_DEVICE, bdf);
		return;
	}
	device->msix_cap = find_cap(env, bdf, PCI_CAP_MSIX);
	if (device->msix_cap)
		device->msix = read_bar(env, bdf, config_read(env, bdf, device->msix_cap + 4) & 7);
	GUEST_SET(status->devices, status->devices + 1);
}

static void scan_function(struct guest_env *env, uint32_t bdf, uint32_t *buses)
{
	uint32_t header = config_read(env, bdf, PCI_HEADER) >> 16 & 0x7f;

	if (header == 1) {
		uint32_t behind = config_read(env, bdf, PCI_BUSES) >> 8 & 0xff;

		buses[behind / 32] |= 1u << (behind % 32);
	} else if (config_read(env, bdf, PCI_ID) == (SIMVF_PCI_DEVICE << 16 | SIMVF_PCI_VENDOR)) {
		add_device(env, bdf);
	}
}

static void scan_slot(struct guest_env *env, uint32_t bdf, uint32_t *buses)
{
	if (config_read(env, bdf, PCI_ID) == UINT32_MAX)
		return;
	scan_function(env, bdf, buses);
	if (!(config_read(env, bdf, PCI_HEADER) & 0x800000u))
		return;
	for (uint32_t function = 1; function < 8; function++)
		if (config_read(env, bdf | function, PCI_ID) != UINT32_MAX)
			scan_function(env, bdf | function, buses);
}

/* A bridge's secondary bus has a higher number than its own, so one ascending pass finds all. */
static void scan_buses(struct guest_env *env)
{
	uint32_t buses[8] = {1};

	for (uint32_t bus = 0; bus < 256; bus++)
		for (uint32_t slot = 0; (buses[bus / 32] >> (bus % 32) & 1) && slot < 32; slot++)
			scan_slot(env, bus << 8 | slot << 3, buses);
}

GUEST_WRITER static void set_up_msix(
	struct guest_env *env, struct guest_device *device, uint32_t vcpus)
{
	if (!device->msix_cap || !device->msix) {
		fail(env, GUEST_E_NO_MSIX, device->bdf);
		return;
	}

	uint32_t control = config_read(env, device->bdf, device->msix_cap);
	uint32_t vectors = (control >> 16 & 0x7ff) + 1;
	uint64_t table = device->msix + (config_read(env, device->bdf, device->msix_cap + 4) & ~7u);

	device->vectors = vectors < vcpus ? vectors : vcpus;
	for (uint32_t v = 0; v < device->vectors; v++) {
		guest_mmio_write(env, table + v * 16, MSI_ADDRESS | v << 12);
		guest_mmio_write(env, table + v * 16 + 4, 0);
		guest_mmio_write(env, table + v * 16 + 8, MSI_VECTOR);
		guest_mmio_write(env, table + v * 16 + 12, 0);
	}
	config_write(env, device->bdf, device->msix_cap,
		(control & ~PCI_MSIX_MASKALL) | PCI_MSIX_ENABLE);
}

static void set_up_engines(
	struct guest_env *env, const struct guest_boot *boot, uint32_t index, uint32_t devices)
{
	const struct guest_device *device = device_of(env, index);
	const struct guest_device *next = device_of(env, (index + 1) % devices);
	uint64_t ring = boot->dma_room_pages / devices;
	uint32_t control = 0;

	if (ring > boot->dma_pages)
		ring = boot->dma_pages;
	if (ring && boot->dma_rate) {
		guest_mmio_write64(env, device->regs + SIMVF_REG_DMA_ADDR,
			boot->dma_gpa + index * ring * GUEST_PAGE);
		guest_mmio_write(env, device->regs + SIMVF_REG_DMA_PAGES, (uint32_t)ring);
		guest_mmio_write(env, device->regs + SIMVF_REG_DMA_RATE, boot->dma_rate);
		control |= SIMVF_CONTROL_DMA;
	}
	if (boot->p2p_rate && devices > 1 && next->inbox) {
		guest_mmio_write64(env, device->regs + SIMVF_REG_P2P_ADDR,
			next->inbox + SIMVF_INBOX_SLOT(index % SIMVF_INBOX_SLOTS));
		guest_mmio_write(env, device->regs + SIMVF_REG_P2P_RATE, boot->p2p_rate);
		control |= SIMVF_CONTROL_P2P;
	}
	if (boot->irq_every && device->vectors) {
		guest_mmio_write(env, device->regs + SIMVF_REG_IRQ_EVERY, boot->irq_every);
		control |= SIMVF_CONTROL_IRQ;
	}
	guest_mmio_write(env, device->regs + SIMVF_REG_CONTROL, control);
}

GUEST_WRITER void guest_configure(struct guest_env *env)
{
	const struct guest_boot *boot = guest_ram(env, GUEST_BOOT_GPA, sizeof(*boot));
	struct guest_status *status = status_of(env);

	if (boot->magic != GUEST_BOOT_MAGIC || boot->version != GUEST_ABI_VERSION) {
		fail(env, GUEST_E_BOOT_PAGE, boot->version);
		return;
	}
	scan_buses(env);
	for (uint32_t i = 0; i < status->devices; i++)
		set_up_msix(env, device_of(env, i), boot->vcpus);
	for (uint32_t i = 0; i < status->devices; i++)
		set_up_engines(env, boot, i, status->devices);
	GUEST_PUBLISH(status->configured, 1);
}
