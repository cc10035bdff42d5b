/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * native_msi.c - interrupts of the native accelerator: one thread polls the devices' eventfds
 * and counts in the guest's memory, as the guest's handler does.
 *
 * Guest memory does not change while the VM is paused: an interrupt then stays in its eventfd,
 * or, after a save, with its vCPU.
 */
#include "native.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAKE UINT32_MAX

GUEST_WRITER static void count_irqs(struct native *native, unsigned vcpu, uint64_t count)
{
	struct guest_vcpu *me = guest_ram(&native->vcpus[vcpu],
		GUEST_VCPU_GPA + vcpu * sizeof(struct guest_vcpu), sizeof(*me));

	__atomic_fetch_add(&me->irqs, count, __ATOMIC_RELAXED);
}

/* Reads the eventfd; false if it is zero. */
static bool take_eventfd(int eventfd, uint64_t *count)
{
	struct pollfd fd = {.fd = eventfd, .events = POLLIN};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN) &&
	       read(eventfd, count, sizeof(*count)) == sizeof(*count);
}

/*
 * The vCPU that a message addresses: its APIC ID, bits 12..19 of the address (Intel SDM 3,
 * 11.11.1).
 */
static bool msi_vcpu(const struct native *native, const struct native_msi *msi, unsigned *vcpu)
{
	*vcpu = (unsigned)(msi->addr >> 12) & 0xff;
	return (msi->addr >> 20) == 0xfee && *vcpu < native->accel.config.vcpus;
}

static void deliver(struct native *native, uint32_t handle)
{
	struct native_msi *msi = &native->msis[handle];
	uint64_t count;
	unsigned vcpu;

	if (msi->used && !msi->masked && take_eventfd(msi->eventfd, &count) &&
		msi_vcpu(native, msi, &vcpu))
		count_irqs(native, vcpu, count);
}

static void *msi_main(void *opaque)
{
	struct native *native = opaque;

	pthread_mutex_lock(&native->mutex);
	while (!native->quit) {
		struct epoll_event events[64];

		if (!native->run) {
			/* Waits while the VM is paused. */
			pthread_cond_wait(&native->changed, &native->mutex);
			continue;
		}
		pthread_mutex_unlock(&native->mutex);
		int count = epoll_wait(native->epoll_fd, events, SWO_ARRAY_SIZE(events), -1);

		pthread_mutex_lock(&native->mutex);
		/* Paused meanwhile: they stay in their eventfds, and epoll reports them again. */
		for (int i = 0; i < count && native->run; i++)
			if (events[i].data.u32 != WAKE)
				deliver(native, events[i].data.u32);
	}
	pthread_mutex_unlock(&native->mutex);
	return NULL;
}

int native_msi_start(struct native *native, struct swo_error *err)
{
	struct epoll_event wake = {.events = EPOLLIN, .data.u32 = WAKE};

	native->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	native->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (native->epoll_fd < 0 || native->wake_fd < 0 ||
		epoll_ctl(native->epoll_fd, EPOLL_CTL_ADD, native->wake_fd, &wake))
		return swo_error_set(err, SWO_E_NO_MEMORY, errno, "native accelerator: epoll");
	if (swo_thread_start(&native->msi_thread, "msi", msi_main, native, err))
		return -1;
	native->msi_started = true;
	return 0;
}

void native_msi_end(struct native *native)
{
	uint64_t one = 1;

	if (native->msi_started) {
		while (write(native->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
			;
		pthread_join(native->msi_thread, NULL);
	}
	swo_close_fd(&native->epoll_fd);
	swo_close_fd(&native->wake_fd);
}

void native_msi_drain(struct native *native)
{
	for (unsigned i = 0; i < native->msi_count; i++) {
		struct native_msi *msi = &native->msis[i];
		uint64_t count;
		unsigned vcpu;

		if (msi->used && !msi->masked && take_eventfd(msi->eventfd, &count) &&
			msi_vcpu(native, msi, &vcpu))
			native->vcpus[vcpu].pending_irqs += count;
	}
}

void native_msi_deliver_pending(struct native *native)
{
	for (unsigned i = 0; i < native->accel.config.vcpus; i++) {
		if (native->vcpus[i].pending_irqs)
			count_irqs(native, i, native->vcpus[i].pending_irqs);
		native->vcpus[i].pending_irqs = 0;
	}
}

int native_msi_add(struct vmm_accel *accel, int eventfd, unsigned *handle, struct swo_error *err)
{
	struct native *native = (struct native *)accel;
	unsigned i = 0;

	pthread_mutex_lock(&native->mutex);
	while (i < native->msi_count && native->msis[i].used)
		i++;
	bool full = i == NATIVE_MSIS_MAX;

	if (!full) {
		native->msis[i] =
			(struct native_msi){.used = true, .masked = true, .eventfd = eventfd};
		if (i == native->msi_count)
			native->msi_count++;
	}
	pthread_mutex_unlock(&native->mutex);
	if (full)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, 0, "more than %d interrupt vectors", NATIVE_MSIS_MAX);
	*handle = i;
	return 0;
}

static int watch(struct native *native, unsigned handle, bool on)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = handle};

	return epoll_ctl(native->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
		native->msis[handle].eventfd, &event);
}

int native_msi_set(struct vmm_accel *accel, unsigned handle, uint64_t addr, uint32_t data,
	bool masked, struct swo_error *err)
{
	struct native *native = (struct native *)accel;
	int rc = 0;

	(void)data;
	pthread_mutex_lock(&native->mutex);
	bool valid = handle < native->msi_count && native->msis[handle].used;

	if (valid && native->msis[handle].masked != masked)
		rc = watch(native, handle, !masked) ? errno : 0;
	if (valid && !rc) {
		native->msis[handle].addr = addr;
		native->msis[handle].masked = masked;
	}
	pthread_mutex_unlock(&native->mutex);
	if (!valid)
		return swo_error_set(err, SWO_E_INVALID, 0, "unknown interrupt vector %u", handle);
	if (rc)
		return swo_error_set(err, SWO_E_IO, rc, "interrupt vector %u: epoll", handle);
	return 0;
}

void native_msi_del(struct vmm_accel *accel, unsigned handle)
{
	struct native *native = (struct native *)accel;

	pthread_mutex_lock(&native->mutex);
	if (handle < native->msi_count && native->msis[handle].used) {
		if (!native->msis[handle].masked)
			watch(native, handle, false);
		native->msis[handle].used = false;
	}
	pthread_mutex_unlock(&native->mutex);
}
