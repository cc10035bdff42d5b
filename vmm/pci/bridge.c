/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bridge.c - the machine's own functions, the host bridge and the root ports: their headers,
 * and their part of the saved board.
 */
#include "internal.h"

#include <string.h>
#include <xxhash.h>

#define OWN_VENDOR  0x1234 /* not assigned to any vendor */
#define HOST_DEVICE 0x5342
#define PORT_DEVICE 0x5350

/*
 * Memory behind a port is decoded wherever a device's BARs are: the port's base and limit are
 * kept for the guest, and filter nothing. There is no I/O window.
 */
void pci_bridge_init_header(struct vmm_pci_function *fn)
{
	bool port = fn->kind == PCI_KIND_PORT;

	memset(fn->ours, 0xff, sizeof(fn->ours));
	pci_put(fn->shadow, PCI_VENDOR_ID, OWN_VENDOR, 2);
	pci_put(fn->shadow, PCI_DEVICE_ID, port ? PORT_DEVICE : HOST_DEVICE, 2);
	pci_put(fn->shadow, PCI_CLASS, port ? 0x0604 : 0x0600, 2);
	pci_put(fn->wmask, PCI_COMMAND, PCI_COMMAND_BITS & ~1u, 2);
	fn->wmask[PCI_CACHE_LINE] = 0xff;
	fn->wmask[PCI_INT_LINE] = 0xff;
	if (!port)
		return;
	fn->shadow[PCI_HEADER_TYPE] = PCI_HEADER_BRIDGE;
	memset(fn->wmask + PCI_BUS_PRIMARY, 0xff, 4); /* and the latency timer behind */
	pci_put(fn->wmask, PCI_MEMORY_BASE, 0xfff0, 2);
	pci_put(fn->wmask, PCI_MEMORY_LIMIT, 0xfff0, 2);
	/* 64-bit BARs above RAM are behind it. */
	pci_put(fn->shadow, PCI_PREFETCH_BASE, PCI_PREFETCH_64, 2);
	pci_put(fn->shadow, PCI_PREFETCH_LIMIT, PCI_PREFETCH_64, 2);
	pci_put(fn->wmask, PCI_PREFETCH_BASE, 0xfff0, 2);
	pci_put(fn->wmask, PCI_PREFETCH_LIMIT, 0xfff0, 2);
	memset(fn->wmask + PCI_PREFETCH_BASE_HIGH, 0xff, 8);
	pci_put(fn->wmask, PCI_BRIDGE_CONTROL, 0x0003, 2);
}

/* The board's state */

#define BOARD_MAGIC   0x4f425753u /* "SWBO" */
#define BOARD_VERSION 1

struct board_wire {
	uint32_t magic;
	uint16_t version;
	uint16_t
		functions; /* the machine's own functions; a header for each follows, then a hash */
	uint32_t config_address;
	uint32_t zero;
};
_Static_assert(sizeof(struct board_wire) == 16, "board format");

static struct vmm_pci_function *next_own(struct vmm_pci_function *fn)
{
	while (fn && fn->kind == PCI_KIND_DEVICE)
		fn = fn->next;
	return fn;
}

int vmm_pci_board_save(struct vmm_pci *pci, struct swo_buf *out, struct swo_error *err)
{
	struct board_wire wire = {.magic = BOARD_MAGIC,
		.version = BOARD_VERSION,
		.config_address = atomic_load(&pci->config_address)};
	size_t start = out->len;
	uint64_t hash;

	for (struct vmm_pci_function *fn = next_own(pci->first); fn; fn = next_own(fn->next))
		wire.functions++;
	if (swo_buf_append(out, &wire, sizeof(wire), err))
		return -1;
	for (struct vmm_pci_function *fn = next_own(pci->first); fn; fn = next_own(fn->next))
		if (swo_buf_append(out, fn->shadow, PCI_HEADER_SIZE, err))
			return -1;
	hash = XXH3_64bits(out->data + start, out->len - start);
	return swo_buf_append(out, &hash, sizeof(hash), err);
}

/* Bits that the guest cannot write must match. */
static bool header_fits(const struct vmm_pci_function *fn, const uint8_t *header)
{
	for (unsigned i = 0; i < PCI_HEADER_SIZE; i++)
		if ((header[i] ^ fn->shadow[i]) & ~fn->wmask[i])
			return false;
	return true;
}

static int board_check(struct vmm_pci *pci, const uint8_t *data, size_t len, struct swo_error *err)
{
	struct board_wire wire;
	size_t at = sizeof(wire);
	uint64_t hash;

	if (len < sizeof(wire) + sizeof(hash))
		return swo_error_set(err, SWO_E_CORRUPT, 0, "PCI board: truncated state");
	memcpy(&wire, data, sizeof(wire));
	memcpy(&hash, data + len - sizeof(hash), sizeof(hash));
	if (wire.magic != BOARD_MAGIC || XXH3_64bits(data, len - sizeof(hash)) != hash)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"PCI board: malformed state: the hash does not match");
	if (wire.version != BOARD_VERSION)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"PCI board: state version %u, expected %d", wire.version, BOARD_VERSION);
	if (len != sizeof(wire) + wire.functions * (size_t)PCI_HEADER_SIZE + sizeof(hash))
		return swo_error_set(
			err, SWO_E_CORRUPT, 0, "PCI board: malformed state: wrong length");
	for (struct vmm_pci_function *fn = next_own(pci->first); fn; fn = next_own(fn->next)) {
		if (!wire.functions-- || !header_fits(fn, data + at))
			return swo_error_set(err, SWO_E_INVALID, 0,
				"PCI board: '%s' differs from the source's; start both sides "
				"with the same root ports",
				fn->id);
		at += PCI_HEADER_SIZE;
	}
	if (wire.functions)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"PCI board: the source has more root ports than the target");
	return 0;
}

int vmm_pci_board_load(struct vmm_pci *pci, const void *data, size_t len, struct swo_error *err)
{
	const uint8_t *bytes = data;
	struct board_wire wire;

	if (board_check(pci, bytes, len, err))
		return -1;
	memcpy(&wire, bytes, sizeof(wire));
	bytes += sizeof(wire);
	atomic_store(&pci->config_address, wire.config_address);
	for (struct vmm_pci_function *fn = next_own(pci->first); fn; fn = next_own(fn->next)) {
		pthread_mutex_lock(&fn->lock);
		memcpy(fn->shadow, bytes, PCI_HEADER_SIZE);
		pthread_mutex_unlock(&fn->lock);
		bytes += PCI_HEADER_SIZE;
	}
	return 0;
}
