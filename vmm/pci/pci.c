/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci.c - the bus: its functions and their slots, configuration mechanism #1 (PCI Local Bus
 * 3.0, 3.2.2.3.2), and realize.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_ENABLE 0x80000000u

/* Functions and their slots */

static struct vmm_pci_function *pci_function_new(
	struct vmm_pci *pci, enum pci_kind kind, const char *id, struct swo_error *err)
{
	if (!*id || strlen(id) >= PCI_ID_MAX) {
		swo_error_set(err, SWO_E_INVALID, 0, "PCI: id '%.40s' must have 1 to %d characters",
			id, PCI_ID_MAX - 1);
		return NULL;
	}
	for (struct vmm_pci_function *fn = pci->first; fn; fn = fn->next)
		if (!strcmp(fn->id, id)) {
			swo_error_set(err, SWO_E_INVALID, 0, "PCI: duplicate id '%s'", id);
			return NULL;
		}

	struct vmm_pci_function *fn = calloc(1, sizeof(*fn));

	if (!fn) {
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "PCI: '%s'", id);
		return NULL;
	}
	fn->pci = pci;
	fn->kind = kind;
	snprintf(fn->id, sizeof(fn->id), "%s", id);
	pthread_mutex_init(&fn->lock, NULL);
	for (unsigned bar = 0; bar < PCI_BARS; bar++) {
		fn->bar[bar].fd = -1;
		fn->bar[bar].decoded = BAR_NOWHERE;
		fn->bar[bar].mapped = BAR_NOWHERE;
		fn->bar[bar].given = BAR_NOWHERE;
	}
	return fn;
}

static void pci_function_free(struct vmm_pci_function *fn)
{
	pci_msix_free(fn);
	pci_map_free(fn);
	pthread_mutex_destroy(&fn->lock);
	free(fn);
}

static void append(struct vmm_pci *pci, struct pci_bus *bus, struct vmm_pci_function *fn)
{
	bus->at[fn->slot][fn->function] = fn;
	*pci->last = fn;
	pci->last = &fn->next;
}

/* First function 0 of each slot; when all are used, further functions of the first slots. */
static int find_place(const struct pci_bus *bus, struct vmm_pci_function *fn)
{
	for (unsigned function = 0; function < PCI_FUNCTIONS; function++)
		for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
			const struct vmm_pci_function *zero = bus->at[slot][0];

			if (bus->at[slot][function] || (function && !zero) ||
				(zero && zero->kind != PCI_KIND_DEVICE))
				continue;
			fn->slot = slot;
			fn->function = function;
			return 0;
		}
	return -1;
}

static int take_place(const struct pci_bus *bus, struct vmm_pci_function *fn, int slot,
	int function, struct swo_error *err)
{
	if (slot < 0) {
		if (find_place(bus, fn))
			return swo_error_set(err, SWO_E_INVALID, 0,
				"PCI: no free slot for '%s' on its bus; put it behind another root port",
				fn->id);
		return 0;
	}
	if (slot >= PCI_SLOTS || function < 0 || function >= PCI_FUNCTIONS)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"PCI: '%s' at %d.%d: expected slots 0 to %d, functions 0 to %d", fn->id,
			slot, function, PCI_SLOTS - 1, PCI_FUNCTIONS - 1);
	if (bus->at[slot][function])
		return swo_error_set(err, SWO_E_INVALID, 0, "PCI: '%s' at %d.%d: used by '%s'",
			fn->id, slot, function, bus->at[slot][function]->id);
	fn->slot = (unsigned)slot;
	fn->function = (unsigned)function;
	return 0;
}

static int add_host_bridge(struct vmm_pci *pci, struct swo_error *err)
{
	struct vmm_pci_function *fn = pci_function_new(pci, PCI_KIND_HOST, "host-bridge", err);

	if (!fn)
		return -1;
	pci_bridge_init_header(fn);
	append(pci, &pci->root, fn);
	return 0;
}

int vmm_pci_create(struct swo_ram *ram, const struct vmm_msi_ops *msi,
	const struct vmm_map_ops *map, struct vmm_pci **out, struct swo_error *err)
{
	struct vmm_pci *pci = calloc(1, sizeof(*pci));

	if (!pci)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "PCI");
	pci->ram = ram;
	pci->msi = *msi;
	pci->map = *map;
	pci->last = &pci->first;
	pthread_mutex_init(&pci->lock, NULL);
	pthread_mutex_init(&pci->msi_lock, NULL);
	if (add_host_bridge(pci, err)) {
		vmm_pci_free(pci);
		return -1;
	}
	*out = pci;
	return 0;
}

void vmm_pci_free(struct vmm_pci *pci)
{
	if (!pci)
		return;
	while (pci->first) {
		struct vmm_pci_function *fn = pci->first;

		pci->first = fn->next;
		pci_function_free(fn);
	}
	free(pci->windows);
	pthread_mutex_destroy(&pci->lock);
	pthread_mutex_destroy(&pci->msi_lock);
	free(pci);
}

static int check_open(const struct vmm_pci *pci, const char *id, struct swo_error *err)
{
	if (pci->realized)
		return swo_error_set(
			err, SWO_E_STATE, 0, "PCI: cannot add '%s': the bus is in use", id);
	return 0;
}

int vmm_pci_add_root_port(struct vmm_pci *pci, const char *id, struct swo_error *err)
{
	struct vmm_pci_function *fn;

	if (check_open(pci, id, err))
		return -1;
	fn = pci_function_new(pci, PCI_KIND_PORT, id, err);
	if (!fn)
		return -1;
	if (take_place(&pci->root, fn, -1, 0, err)) {
		pci_function_free(fn);
		return -1;
	}
	pci_bridge_init_header(fn);
	append(pci, &pci->root, fn);
	return 0;
}

static int find_bus(struct vmm_pci *pci, const struct vmm_pci_device_desc *desc,
	struct vmm_pci_function *fn, struct pci_bus **bus, struct swo_error *err)
{
	*bus = &pci->root;
	if (!desc->bus)
		return 0;
	for (struct vmm_pci_function *port = pci->first; port; port = port->next)
		if (port->kind == PCI_KIND_PORT && !strcmp(port->id, desc->bus)) {
			fn->port = port;
			*bus = &port->behind;
			return 0;
		}
	return swo_error_set(err, SWO_E_INVALID, 0, "PCI: '%s': no root port has the id '%.40s'",
		desc->id, desc->bus);
}

int vmm_pci_add_device(struct vmm_pci *pci, const struct vmm_pci_device_desc *desc,
	struct vmm_pci_function **out, struct swo_error *err)
{
	struct vmm_pci_function *fn;
	struct pci_bus *bus;

	if (check_open(pci, desc->id, err))
		return -1;
	fn = pci_function_new(pci, PCI_KIND_DEVICE, desc->id, err);
	if (!fn)
		return -1;
	fn->ops = desc->ops;
	fn->self = desc->self;
	if (find_bus(pci, desc, fn, &bus, err) ||
		take_place(bus, fn, desc->slot, desc->function, err) || pci_device_probe(fn, err)) {
		pci_function_free(fn);
		return -1;
	}
	append(pci, bus, fn);
	*out = fn;
	return 0;
}

/* A guest does not probe further functions if function 0 is missing. */
static int check_functions(const struct vmm_pci *pci, struct swo_error *err)
{
	for (const struct vmm_pci_function *fn = pci->first; fn; fn = fn->next) {
		const struct pci_bus *bus = fn->port ? &fn->port->behind : &pci->root;

		if (!bus->at[fn->slot][0])
			return swo_error_set(err, SWO_E_INVALID, 0,
				"PCI: '%s' is at %u.%u, without a function %u.0: a guest would not "
				"find it",
				fn->id, fn->slot, fn->function, fn->slot);
	}
	return 0;
}

int vmm_pci_realize(struct vmm_pci *pci, struct swo_error *err)
{
	if (check_open(pci, "realize", err) || check_functions(pci, err) ||
		pci_bars_assign(pci, err) || pci_windows_init(pci, err))
		return -1;
	for (struct vmm_pci_function *fn = pci_next_device(pci->first); fn;
		fn = pci_next_device(fn->next))
		if (pci_msix_connect(fn, err))
			return -1;
	if (pci_dma_init(pci, err))
		return -1;
	pci->realized = true;
	return 0;
}

void vmm_pci_release(struct vmm_pci_function *fn)
{
	pthread_mutex_lock(&fn->pci->lock);
	atomic_store(&fn->released, true);
	pci_map_release(fn);
	pci_dma_release(fn);
	pthread_mutex_unlock(&fn->pci->lock);
}

int vmm_pci_depth(const struct vmm_pci_function *fn)
{
	return fn->kind == PCI_KIND_HOST ? 0 : fn->port ? 2 : 1;
}

void vmm_pci_address(const struct vmm_pci_function *fn, char out[8])
{
	snprintf(out, 8, "%02x:%02x.%x", (fn->port ? fn->port->bus_number : 0) & 0xff,
		fn->slot & 0x1f, fn->function & 7);
}

int vmm_pci_describe(const struct vmm_pci_function *fn, struct swo_buf *out, struct swo_error *err)
{
	char text[512], address[8];
	int n;

	vmm_pci_address(fn, address);
	n = snprintf(text, sizeof(text), "device %s at %s: %04x:%04x, %u vectors, regions", fn->id,
		address, pci_get(fn->shadow, PCI_VENDOR_ID, 2),
		pci_get(fn->shadow, PCI_DEVICE_ID, 2), fn->msix.count);
	for (unsigned bar = 0; bar < PCI_BARS; bar++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, " %llx%s",
			(unsigned long long)fn->bar[bar].region_size, fn->bar[bar].wide ? "w" : "");
	return swo_buf_append(out, text, (size_t)n, err);
}

/* Configuration mechanism #1 */

static struct vmm_pci_function *route(struct vmm_pci *pci, uint32_t address)
{
	unsigned bus = address >> 16 & 0xff, slot = address >> 11 & 0x1f,
		 function = address >> 8 & 7;

	if (!bus)
		return pci->root.at[slot][function];
	for (unsigned s = 0; s < PCI_SLOTS; s++) {
		struct vmm_pci_function *port = pci->root.at[s][0];

		if (!port || port->kind != PCI_KIND_PORT)
			continue;
		pthread_mutex_lock(&port->lock);
		bool mine = port->shadow[PCI_BUS_SECONDARY] == bus;
		pthread_mutex_unlock(&port->lock);
		if (mine)
			return port->behind.at[slot][function];
	}
	return NULL;
}

/* The function and offset that an access of `len` bytes to the data port addresses, or NULL. */
static struct vmm_pci_function *addressed(
	struct vmm_pci *pci, uint16_t port, unsigned len, unsigned *at)
{
	uint32_t address = atomic_load(&pci->config_address);

	if (!(address & ADDRESS_ENABLE) || port < PCI_CONFIG_DATA || port > PCI_CONFIG_DATA + 3 ||
		!len || len > PCI_CONFIG_DATA + 4u - port)
		return NULL;
	*at = (address & 0xfc) | (port & 3u);
	return route(pci, address);
}

void vmm_pci_pio_read(void *opaque, uint16_t port, void *data, unsigned len)
{
	struct vmm_pci *pci = opaque;
	struct vmm_pci_function *fn;
	unsigned at;
	uint32_t value;

	memset(data, 0xff, len);
	if (port == PCI_CONFIG_ADDRESS && len == 4) {
		value = atomic_load(&pci->config_address);
		memcpy(data, &value, 4);
		return;
	}
	fn = addressed(pci, port, len, &at);
	if (!fn)
		return;
	value = pci_config_read(fn, at, len);
	memcpy(data, &value, len);
}

void vmm_pci_pio_write(void *opaque, uint16_t port, const void *data, unsigned len)
{
	struct vmm_pci *pci = opaque;
	struct vmm_pci_function *fn;
	unsigned at;
	uint32_t value = 0;

	if (len > sizeof(value))
		return;
	memcpy(&value, data, len);
	if (port == PCI_CONFIG_ADDRESS && len == 4) {
		atomic_store(&pci->config_address, value & ~0x7f000003u);
		return;
	}
	fn = addressed(pci, port, len, &at);
	if (fn)
		pci_config_write(fn, at, value, len);
}
