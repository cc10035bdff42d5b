/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm_msi.c - interrupts under KVM: each vector's eventfd is an irqfd on a separate GSI, and
 * the routing table maps that GSI to the message.
 *
 * A masked vector has no irqfd: its eventfd keeps the count, and KVM checks it when the irqfd
 * is attached again. Its route stays, so that masking needs no new table.
 */
#include "kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

int kvm_msi_prepare(struct kvm *kvm, struct swo_error *err)
{
	kvm->routes =
		calloc(1, sizeof(*kvm->routes) + KVM_MSIS_MAX * sizeof(kvm->routes->entries[0]));
	if (!kvm->routes)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "KVM: interrupt routes");
	return 0;
}

/* KVM only sets complete tables. The guest has no device on the I/O APIC's pins. */
static int set_routes(struct kvm *kvm, struct swo_error *err)
{
	struct kvm_irq_routing *table = kvm->routes;

	table->nr = 0;
	for (unsigned i = 0; i < kvm->msi_count; i++) {
		const struct kvm_vector *msi = &kvm->msis[i];

		if (!msi->used || !msi->routed)
			continue;
		table->entries[table->nr++] = (struct kvm_irq_routing_entry){
			.gsi = KVM_FIRST_MSI_GSI + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)msi->addr,
				.address_hi = (uint32_t)(msi->addr >> 32),
				.data = msi->data},
		};
	}
	if (ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, table))
		return swo_error_set(
			err, SWO_E_IO, errno, "KVM: cannot set %u interrupt routes", table->nr);
	return 0;
}

static int set_irqfd(struct kvm *kvm, unsigned handle, bool on, struct swo_error *err)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)kvm->msis[handle].eventfd,
		.gsi = KVM_FIRST_MSI_GSI + handle,
		.flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	if (ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd))
		return swo_error_set(err, SWO_E_IO, errno,
			"KVM: cannot set the irqfd of interrupt vector %u", handle);
	return 0;
}

int kvm_msi_add(struct vmm_accel *accel, int eventfd, unsigned *handle, struct swo_error *err)
{
	struct kvm *kvm = kvm_of(accel);
	unsigned i = 0;

	pthread_mutex_lock(&kvm->msi_mutex);
	while (i < kvm->msi_count && kvm->msis[i].used)
		i++;
	bool full = i == KVM_MSIS_MAX;

	if (!full) {
		kvm->msis[i] =
			(struct kvm_vector){.used = true, .masked = true, .eventfd = eventfd};
		if (i == kvm->msi_count)
			kvm->msi_count++;
	}
	pthread_mutex_unlock(&kvm->msi_mutex);
	if (full)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, 0, "more than %d interrupt vectors", KVM_MSIS_MAX);
	*handle = i;
	return 0;
}

/* With the mutex held. A masked vector's message is only stored: the guest writes it in parts. */
static int apply(struct kvm *kvm, unsigned handle, uint64_t addr, uint32_t data, bool masked,
	struct swo_error *err)
{
	struct kvm_vector *msi = &kvm->msis[handle];
	bool changed = !msi->routed || msi->addr != addr || msi->data != data;

	if (masked && !msi->masked) {
		if (set_irqfd(kvm, handle, false, err))
			return -1;
		msi->masked = true;
	}
	if (masked) {
		if (changed)
			msi->routed = false;
		msi->addr = addr;
		msi->data = data;
		return 0;
	}
	msi->addr = addr;
	msi->data = data;
	msi->routed = true;
	if (changed && set_routes(kvm, err)) {
		msi->routed = false;
		return -1;
	}
	if (msi->masked && set_irqfd(kvm, handle, true, err))
		return -1;
	msi->masked = false;
	return 0;
}

int kvm_msi_set(struct vmm_accel *accel, unsigned handle, uint64_t addr, uint32_t data, bool masked,
	struct swo_error *err)
{
	struct kvm *kvm = kvm_of(accel);
	int rc;

	pthread_mutex_lock(&kvm->msi_mutex);
	if (handle < kvm->msi_count && kvm->msis[handle].used)
		rc = apply(kvm, handle, addr, data, masked, err);
	else
		rc = swo_error_set(err, SWO_E_INVALID, 0, "unknown interrupt vector %u", handle);
	pthread_mutex_unlock(&kvm->msi_mutex);
	return rc;
}

void kvm_msi_del(struct vmm_accel *accel, unsigned handle)
{
	struct kvm *kvm = kvm_of(accel);
	struct swo_error err = {0};

	pthread_mutex_lock(&kvm->msi_mutex);
	if (handle < kvm->msi_count && kvm->msis[handle].used) {
		if (!kvm->msis[handle].masked && set_irqfd(kvm, handle, false, &err))
			swo_log(SWO_LOG_WARN, "%s", err.text);
		/* The route of an unused GSI is harmless; the next table drops it. */
		kvm->msis[handle].used = false;
	}
	pthread_mutex_unlock(&kvm->msi_mutex);
}
