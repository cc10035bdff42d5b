/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * msix.c - MSI-X on the guest's side (PCI Local Bus 3.0, 6.8.2): the table, the pending bits,
 * and the accelerator's settings for each eventfd. A device with MSI only has the same, with a
 * table that msi.c fills.
 */
#include "internal.h"

#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int pci_msix_init(struct vmm_pci_function *fn, struct swo_error *err)
{
	struct pci_msix *msix = &fn->msix;

	if (!msix->count)
		return 0;
	msix->table = calloc(msix->count, PCI_MSIX_ENTRY);
	msix->vectors = calloc(msix->count, sizeof(*msix->vectors));
	if (!msix->table || !msix->vectors)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s: MSI-X", fn->id);
	for (unsigned v = 0; v < msix->count; v++) {
		msix->table[4 * v + PCI_MSIX_CONTROL] = PCI_MSIX_MASKED;
		msix->vectors[v] = (struct pci_vector){.eventfd = -1, .masked = true};
	}
	return 0;
}

static int connect_vector(
	struct vmm_pci_function *fn, struct pci_vector *vector, struct swo_error *err)
{
	const struct vmm_msi_ops *msi = &fn->pci->msi;

	vector->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vector->eventfd < 0)
		return swo_error_set(err, SWO_E_NO_MEMORY, errno,
			"device %s: cannot create an eventfd for an interrupt; raise the limit on open files "
			"(ulimit -n)",
			fn->id);
	pthread_mutex_lock(&fn->pci->msi_lock);
	vector->added = !msi->add(msi->opaque, vector->eventfd, &vector->handle, err);
	pthread_mutex_unlock(&fn->pci->msi_lock);
	return vector->added ? 0
			     : swo_error_prefix(err, "device %s: cannot add an interrupt", fn->id);
}

static uint32_t irq_index(const struct vmm_pci_function *fn)
{
	return fn->msix.is_msi ? VFIO_PCI_MSI_IRQ_INDEX : VFIO_PCI_MSIX_IRQ_INDEX;
}

static int set_eventfds(struct vmm_pci_function *fn, unsigned count, struct swo_error *err)
{
	struct pci_msix *msix = &fn->msix;
	swo_autofree int *fds = calloc(count + 1, sizeof(*fds));

	if (!fds)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s: interrupts", fn->id);
	for (unsigned v = 0; v < count; v++)
		fds[v] = msix->vectors[v].eventfd;
	if (count && fn->ops->set_irqs(fn->self, irq_index(fn), 0, fds, count, err))
		return -1;
	msix->connected = count;
	return 0;
}

/* The first `count` vectors, and no others: a device with MSI uses as many as are enabled. */
static int set_vectors(struct vmm_pci_function *fn, unsigned count, struct swo_error *err)
{
	struct pci_msix *msix = &fn->msix;

	if (msix->connected && fn->ops->set_irqs(fn->self, irq_index(fn), 0, NULL, 0, err))
		return -1;
	msix->connected = 0;
	return set_eventfds(fn, count, err);
}

/*
 * All vectors at once, before the VM runs: unmasking one must not need the device. Those of MSI have
 * no mask that every device has: they are set on the device once the guest has enabled them.
 */
int pci_msix_connect(struct vmm_pci_function *fn, struct swo_error *err)
{
	struct pci_msix *msix = &fn->msix;

	for (unsigned v = 0; v < msix->count; v++)
		if (connect_vector(fn, &msix->vectors[v], err))
			return -1;
	return msix->count && !msix->is_msi ? set_vectors(fn, msix->count, err) : 0;
}

/*
 * Setting eventfds writes the table of a kernel's device again, but not its enable bit: that one is
 * the host's, whatever the guest's is, and comes back by turning all vectors off first. Of MSI, the
 * kernel shows the guest's.
 */
int pci_msix_renew(struct vmm_pci_function *fn, struct swo_error *err)
{
	const unsigned at = fn->msix.cap + PCI_MSIX_FLAGS;
	uint8_t flags[2];

	if (fn->msix.is_msi)
		return set_vectors(fn, pci_msi_enabled(fn), err);
	if (!fn->msix.count)
		return 0;
	if (pci_config_push(fn, at, 2, err) ||
		fn->ops->region_read(
			fn->self, VFIO_PCI_CONFIG_REGION_INDEX, at, flags, sizeof(flags), err))
		return -1;
	if ((pci_get(flags, 0, 2) & (PCI_MSIX_ENABLE | PCI_MSIX_MASKALL)) != PCI_MSIX_ENABLE)
		return set_vectors(fn, fn->msix.count, err);
	return set_eventfds(fn, fn->msix.count, err);
}

void pci_msix_free(struct vmm_pci_function *fn)
{
	const struct vmm_msi_ops *msi = &fn->pci->msi;

	for (unsigned v = 0; fn->msix.vectors && v < fn->msix.count; v++) {
		struct pci_vector *vector = &fn->msix.vectors[v];

		if (vector->added)
			msi->del(msi->opaque, vector->handle);
		swo_close_fd(&vector->eventfd);
	}
	free(fn->msix.vectors);
	free(fn->msix.table);
}

static void update_vector(struct vmm_pci_function *fn, unsigned v, bool all_masked)
{
	const struct vmm_msi_ops *msi = &fn->pci->msi;
	const uint32_t *entry = &fn->msix.table[4 * v];
	struct pci_vector *vector = &fn->msix.vectors[v];
	bool masked = all_masked || pci_msix_is_masked(fn, v) ||
		      (fn->msix.is_msi && v >= pci_msi_enabled(fn));
	uint64_t addr = (uint64_t)entry[PCI_MSIX_HIGH] << 32 | entry[PCI_MSIX_LOW];
	uint32_t data = entry[PCI_MSIX_DATA];
	struct swo_error err;
	int rc;

	/* Changing a route is expensive, so it is only done if the message has changed. */
	if (masked ? vector->masked
		   : !vector->masked && vector->addr == addr && vector->data == data)
		return;
	pthread_mutex_lock(&fn->pci->msi_lock);
	rc = msi->set(msi->opaque, vector->handle, addr, data, masked, &err);
	pthread_mutex_unlock(&fn->pci->msi_lock);
	if (rc) {
		swo_log(SWO_LOG_WARN, "device %s: interrupt %u: %s", fn->id, v, err.text);
		return;
	}
	vector->masked = masked;
	vector->addr = addr;
	vector->data = data;
}

static bool is_all_masked(const struct vmm_pci_function *fn)
{
	uint32_t flags = pci_get(fn->shadow, fn->msix.cap + PCI_MSIX_FLAGS, 2);

	if (fn->msix.is_msi)
		return !(flags & PCI_MSI_ENABLE);
	return !(flags & PCI_MSIX_ENABLE) || (flags & PCI_MSIX_MASKALL);
}

void pci_msix_update(struct vmm_pci_function *fn)
{
	bool all_masked = is_all_masked(fn);
	struct swo_error err;

	if (fn->msix.is_msi && fn->msix.connected != pci_msi_enabled(fn) &&
		set_vectors(fn, pci_msi_enabled(fn), &err))
		pci_complain(fn, &err);
	for (unsigned v = 0; v < fn->msix.count; v++)
		update_vector(fn, v, all_masked);
}

/* Pending: an eventfd that is not polled keeps its count */

void pci_msix_pending(struct vmm_pci_function *fn, uint64_t *bits)
{
	bool all_masked = is_all_masked(fn);

	struct pollfd fds[PCI_MSIX_VECTORS];

	memset(bits, 0, pci_msix_pending_words(fn) * sizeof(*bits));
	for (unsigned v = 0; v < fn->msix.count; v++) {
		/* The accelerator delivers an interrupt that is not masked. */
		const bool masked = all_masked || pci_msix_is_masked(fn, v);

		fds[v] = (struct pollfd){
			.fd = masked ? fn->msix.vectors[v].eventfd : -1, .events = POLLIN};
	}
	/* In one call, as this is within the stop. */
	if (poll(fds, fn->msix.count, 0) <= 0)
		return;
	for (unsigned v = 0; v < fn->msix.count; v++)
		if (fds[v].revents & POLLIN)
			bits[v / 64] |= UINT64_C(1) << v % 64;
}

void pci_msix_set_pending(struct vmm_pci_function *fn, const uint64_t *bits)
{
	for (unsigned v = 0; v < fn->msix.count; v++) {
		int fd = fn->msix.vectors[v].eventfd;
		uint64_t count = 1;
		bool raise = bits[v / 64] >> v % 64 & 1;

		if ((!raise && read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN) ||
			(raise && write(fd, &count, sizeof(count)) < 0 && errno != EAGAIN))
			swo_log(SWO_LOG_WARN, "device %s: interrupt %u: %s", fn->id, v,
				strerror(errno));
	}
}

/* MMIO */

static bool inside(uint64_t at, unsigned len, uint32_t from, uint64_t size)
{
	return at >= from && at - from < size && len <= size - (at - from);
}

/* Double words only, alone or in pairs; other accesses read 0 and write nothing. */
static bool is_good(uint64_t at, unsigned len)
{
	return !(at % 4) && (len == 4 || len == 8);
}

bool pci_msix_read(struct vmm_pci_function *fn, unsigned bar, uint64_t at, void *data, unsigned len)
{
	struct pci_msix *msix = &fn->msix;
	const unsigned words = pci_msix_pending_words(fn);

	if (!msix->count || msix->is_msi)
		return false;
	if (bar == msix->table_bar &&
		inside(at, len, msix->table_at, (uint64_t)msix->count * PCI_MSIX_ENTRY)) {
		pthread_mutex_lock(&fn->lock);
		if (is_good(at, len))
			memcpy(data, (uint8_t *)msix->table + (at - msix->table_at), len);
		pthread_mutex_unlock(&fn->lock);
		return true;
	}
	if (bar == msix->pba_bar && inside(at, len, msix->pba_at, words * 8ul)) {
		uint64_t bits[PCI_MSIX_VECTORS / 64];

		pthread_mutex_lock(&fn->lock);
		pci_msix_pending(fn, bits);
		pthread_mutex_unlock(&fn->lock);
		if (is_good(at, len))
			memcpy(data, (uint8_t *)bits + (at - msix->pba_at), len);
		return true;
	}
	return false;
}

bool pci_msix_write(
	struct vmm_pci_function *fn, unsigned bar, uint64_t at, const void *data, unsigned len)
{
	struct pci_msix *msix = &fn->msix;

	if (!msix->count || msix->is_msi)
		return false;
	if (bar == msix->pba_bar && inside(at, len, msix->pba_at, pci_msix_pending_words(fn) * 8ul))
		return true;
	if (bar != msix->table_bar ||
		!inside(at, len, msix->table_at, (uint64_t)msix->count * PCI_MSIX_ENTRY))
		return false;
	if (!is_good(at, len))
		return true;

	unsigned word = (unsigned)((at - msix->table_at) / 4);

	pthread_mutex_lock(&fn->lock);
	memcpy(&msix->table[word], data, len);
	for (unsigned w = word; w < word + len / 4; w++) {
		if (w % 4 == PCI_MSIX_CONTROL)
			msix->table[w] &= PCI_MSIX_MASKED;
		update_vector(fn, w / 4, is_all_masked(fn));
	}
	pthread_mutex_unlock(&fn->lock);
	return true;
}
