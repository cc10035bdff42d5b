/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state.c - a device's configuration as bytes for a migration, and back: the only place with
 * their format. Little-endian, as both ends are x86.
 */
#include "internal.h"

#include <linux/vfio.h>
#include <string.h>
#include <xxhash.h>

#define STATE_MAGIC   0x43505753u /* "SWPC" */
#define STATE_VERSION 1

/*
 * Followed by 16 bytes of MSI-X table per vector (of a device with MSI: its message as such a table),
 * the pending bits as u64 words, XXH3 of all before.
 */
struct state_wire {
	uint32_t magic;
	uint16_t version;
	uint16_t vectors;
	uint16_t vendor, device;
	uint16_t command;
	uint16_t msix_flags;
	uint8_t cache_line, latency, int_line, is_msi;
	uint32_t length; /* of all of it */
	uint64_t address[PCI_BARS];
	uint64_t size[PCI_BARS];
};
_Static_assert(sizeof(struct state_wire) == 120, "format of a device's configuration");

static size_t state_length(const struct vmm_pci_function *fn)
{
	return sizeof(struct state_wire) + (size_t)fn->msix.count * PCI_MSIX_ENTRY +
	       pci_msix_pending_words(fn) * sizeof(uint64_t) + sizeof(uint64_t);
}

static uint32_t msix_flags(const struct vmm_pci_function *fn)
{
	return fn->msix.count ? pci_get(fn->shadow, fn->msix.cap + PCI_MSIX_FLAGS, 2) : 0;
}

static void fill(const struct vmm_pci_function *fn, struct state_wire *wire)
{
	*wire = (struct state_wire){.magic = STATE_MAGIC,
		.version = STATE_VERSION,
		.vectors = (uint16_t)fn->msix.count,
		.vendor = (uint16_t)pci_get(fn->shadow, PCI_VENDOR_ID, 2),
		.device = (uint16_t)pci_get(fn->shadow, PCI_DEVICE_ID, 2),
		.command = (uint16_t)pci_get(fn->shadow, PCI_COMMAND, 2),
		.msix_flags = (uint16_t)msix_flags(fn),
		.cache_line = fn->shadow[PCI_CACHE_LINE],
		.latency = fn->shadow[PCI_LATENCY],
		.int_line = fn->shadow[PCI_INT_LINE],
		.is_msi = fn->msix.is_msi,
		.length = (uint32_t)state_length(fn)};
	for (unsigned bar = 0; bar < PCI_BARS; bar++) {
		wire->size[bar] = fn->bar[bar].size;
		wire->address[bar] = fn->bar[bar].size ? pci_bar_address(fn, bar) : 0;
	}
}

static int append(struct vmm_pci_function *fn, struct swo_buf *out, struct swo_error *err)
{
	uint64_t bits[PCI_MSIX_VECTORS / 64], hash;
	struct state_wire wire;
	size_t start = out->len;

	fill(fn, &wire);
	if (fn->msix.count)
		pci_msix_pending(fn, bits);
	if (swo_buf_append(out, &wire, sizeof(wire), err) ||
		(fn->msix.count &&
			(swo_buf_append(out, fn->msix.table,
				 (size_t)fn->msix.count * PCI_MSIX_ENTRY, err) ||
				swo_buf_append(out, bits,
					pci_msix_pending_words(fn) * sizeof(*bits), err))))
		return -1;
	hash = XXH3_64bits(out->data + start, out->len - start);
	return swo_buf_append(out, &hash, sizeof(hash), err);
}

int vmm_pci_save(struct vmm_pci_function *fn, struct swo_buf *out, struct swo_error *err)
{
	pthread_mutex_lock(&fn->lock);
	int rc = append(fn, out, err);

	pthread_mutex_unlock(&fn->lock);
	return rc ? swo_error_prefix(err, "device %s: cannot save its configuration", fn->id) : 0;
}

/* Loading */

static int check_bars(
	const struct vmm_pci_function *fn, const struct state_wire *wire, struct swo_error *err)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &fn->bar[i];
		uint64_t address = wire->address[i];

		if (wire->size[i] != bar->size)
			return swo_error_set(err, SWO_E_INVALID, 0,
				"device %s: BAR %u of %llu bytes, expected %llu: "
				"they are different devices",
				fn->id, i, (unsigned long long)wire->size[i],
				(unsigned long long)bar->size);
		if ((!bar->size && address) || (bar->size && address & (bar->size - 1)) ||
			(!bar->wide && address > UINT32_MAX))
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"device %s: malformed configuration: BAR %u at 0x%llx, where it "
				"cannot be",
				fn->id, i, (unsigned long long)address);
	}
	return 0;
}

static int check_msix(const struct vmm_pci_function *fn, const struct state_wire *wire,
	const uint8_t *rest, struct swo_error *err)
{
	const uint32_t writable = fn->msix.is_msi ? PCI_MSI_ENABLE | PCI_MSI_ALLOWED
						  : PCI_MSIX_ENABLE | PCI_MSIX_MASKALL;
	const unsigned count = fn->msix.count;
	uint64_t last = 0;

	if ((wire->msix_flags ^ msix_flags(fn)) & ~writable)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"device %s: malformed configuration: MSI-X flags 0x%x", fn->id,
			wire->msix_flags);
	for (unsigned v = 0; v < count; v++)
		if (pci_get(rest + v * PCI_MSIX_ENTRY, 12, 4) & ~(uint32_t)PCI_MSIX_MASKED)
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"device %s: malformed configuration: MSI-X table entry %u", fn->id,
				v);
	if (count)
		memcpy(&last,
			rest + (size_t)count * PCI_MSIX_ENTRY + (count - 1) / 64 * sizeof(last),
			sizeof(last));
	if (count % 64 && last >> count % 64)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"device %s: malformed configuration: pending bits beyond its vectors",
			fn->id);
	return 0;
}

static int check(const struct vmm_pci_function *fn, const uint8_t *data, size_t len,
	struct state_wire *wire, struct swo_error *err)
{
	uint64_t hash;

	if (len < sizeof(*wire) + sizeof(hash))
		return swo_error_set(
			err, SWO_E_CORRUPT, 0, "device %s: truncated configuration", fn->id);
	memcpy(wire, data, sizeof(*wire));
	memcpy(&hash, data + len - sizeof(hash), sizeof(hash));
	if (wire->magic != STATE_MAGIC || wire->length != len ||
		XXH3_64bits(data, len - sizeof(hash)) != hash)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"device %s: malformed configuration: the hash does not match", fn->id);
	if (wire->version != STATE_VERSION)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: configuration version %u, expected %d", fn->id, wire->version,
			STATE_VERSION);
	if (wire->vendor != pci_get(fn->shadow, PCI_VENDOR_ID, 2) ||
		wire->device != pci_get(fn->shadow, PCI_DEVICE_ID, 2) ||
		wire->vectors != fn->msix.count || wire->is_msi != fn->msix.is_msi ||
		len != state_length(fn))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: the source has %04x:%04x with %u vectors; this is "
			"another device",
			fn->id, wire->vendor, wire->device, wire->vectors);
	if (wire->command & ~PCI_COMMAND_BITS)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"device %s: malformed configuration: reserved bits set", fn->id);
	if (check_bars(fn, wire, err))
		return -1;
	return check_msix(fn, wire, data + sizeof(*wire), err);
}

static int load_bars(
	struct vmm_pci_function *fn, const struct state_wire *wire, struct swo_error *err)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		if (!fn->bar[i].size || (fn->loaded && pci_bar_address(fn, i) == wire->address[i]))
			continue;
		pci_bar_set_address(fn, i, wire->address[i]);
		if (pci_config_push(fn, PCI_BAR(i), fn->bar[i].wide ? 8 : 4, err))
			return -1;
	}
	return 0;
}

static int load_msix(struct vmm_pci_function *fn, const struct state_wire *wire,
	const uint8_t *rest, struct swo_error *err)
{
	const size_t table = (size_t)fn->msix.count * PCI_MSIX_ENTRY;
	uint64_t bits[PCI_MSIX_VECTORS / 64];
	unsigned flags_at = fn->msix.cap + PCI_MSIX_FLAGS;

	if (!fn->msix.count)
		return 0;
	memcpy(fn->msix.table, rest, table);
	memcpy(bits, rest + table, pci_msix_pending_words(fn) * sizeof(*bits));
	if (!fn->loaded || msix_flags(fn) != wire->msix_flags) {
		pci_put(fn->shadow, flags_at, wire->msix_flags, 2);
		if (!fn->msix.is_msi && pci_config_push(fn, flags_at, 2, err))
			return -1;
	}
	if (fn->msix.is_msi)
		pci_msi_loaded(fn);
	pci_msix_set_pending(fn, bits);
	pci_msix_update(fn);
	return 0;
}

/* Last: this write makes a device apply its configuration, which takes time. */
static int load_command(
	struct vmm_pci_function *fn, const struct state_wire *wire, struct swo_error *err)
{
	pci_put(fn->shadow, PCI_COMMAND, wire->command, 2);
	pci_bars_changed(fn);
	if (fn->loaded && fn->loaded_command == wire->command)
		return 0;
	if (pci_config_push(fn, PCI_COMMAND, 2, err))
		return -1;
	fn->loaded_command = wire->command;
	return 0;
}

static int load(struct vmm_pci_function *fn, const struct state_wire *wire, const uint8_t *rest,
	struct swo_error *err)
{
	fn->shadow[PCI_CACHE_LINE] = wire->cache_line;
	fn->shadow[PCI_LATENCY] = wire->latency;
	fn->shadow[PCI_INT_LINE] = wire->int_line;
	if (load_bars(fn, wire, err) || load_msix(fn, wire, rest, err) ||
		load_command(fn, wire, err)) {
		fn->loaded = false;
		return swo_error_prefix(err, "device %s: cannot load its configuration", fn->id);
	}
	fn->loaded = true;
	return 0;
}

int vmm_pci_load(struct vmm_pci_function *fn, const void *data, size_t len, struct swo_error *err)
{
	struct state_wire wire;

	pthread_mutex_lock(&fn->lock);
	int rc = check(fn, data, len, &wire, err);

	if (!rc)
		rc = load(fn, &wire, (const uint8_t *)data + sizeof(wire), err);
	pthread_mutex_unlock(&fn->lock);
	return rc;
}

/*
 * A vfio-user server has the eventfds, which no image can overwrite: one read shows whether anything
 * is to be set again. Of a kernel's device the table can be lost unseen.
 */
static bool needs_nothing(struct vmm_pci_function *fn)
{
	const bool msix = fn->msix.count && !fn->msix.is_msi;
	const unsigned flags_at = fn->msix.cap + PCI_MSIX_FLAGS;
	const unsigned end = msix ? flags_at + 2 : PCI_COMMAND + 2;
	uint8_t now[PCI_CONFIG_SIZE];
	struct swo_error err;

	if (strcmp(fn->ops->name, "vfio-user") != 0 ||
		fn->ops->region_read(fn->self, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND,
			now + PCI_COMMAND, end - PCI_COMMAND, &err))
		return false;
	return !memcmp(now + PCI_COMMAND, fn->shadow + PCI_COMMAND, 2) &&
	       (!msix || !memcmp(now + flags_at, fn->shadow + flags_at, 2));
}

/* BARs first: decoding them begins with the command. */
static int renew(struct vmm_pci_function *fn, bool bars, struct swo_error *err)
{
	for (unsigned i = 0; bars && i < PCI_BARS; i++)
		if (fn->bar[i].size &&
			pci_config_push(fn, PCI_BAR(i), fn->bar[i].wide ? 8 : 4, err))
			return -1;
	if (!bars && needs_nothing(fn))
		return 0;
	if (pci_config_push(fn, PCI_COMMAND, 2, err))
		return -1;
	return pci_msix_renew(fn, err);
}

int vmm_pci_renew(struct vmm_pci_function *fn, bool bars, struct swo_error *err)
{
	pthread_mutex_lock(&fn->lock);
	int rc = renew(fn, bars, err);

	pthread_mutex_unlock(&fn->lock);
	return rc ? swo_error_prefix(err, "device %s: cannot set its configuration again", fn->id)
		  : 0;
}

void vmm_pci_begin_load(struct vmm_pci *pci)
{
	for (struct vmm_pci_function *fn = pci_next_device(pci->first); fn;
		fn = pci_next_device(fn->next)) {
		pthread_mutex_lock(&fn->lock);
		fn->loaded = false;
		pthread_mutex_unlock(&fn->lock);
	}
}
