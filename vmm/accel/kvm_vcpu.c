/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm_vcpu.c - the vCPU threads: they run the guest, dispatch exits to the buses, and stop
 * within microseconds with every exit completed.
 *
 * The stop signal is blocked except inside KVM_RUN: if it arrives earlier, it stays pending and
 * KVM_RUN returns at once, so it needs no handler and cannot be missed.
 */
#include "kvm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define KICK		 SIGUSR1
#define EXIT_DEADLINE_MS 5000
/* The most fragments of one instruction's accesses: a string instruction may have a few. */
#define COMPLETE_MAX 64

static void die(struct kvm_vcpu *vcpu, const char *why)
{
	const struct vmm_bus *bus = &vcpu->kvm->accel.config.bus;

	vcpu->dead = true;
	if (bus->failed)
		bus->failed(bus->opaque, vcpu->index, why);
}

static void handle_pio(const struct vmm_bus *bus, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus->pio_write(bus->opaque, run->io.port, data, run->io.size);
		else
			bus->pio_read(bus->opaque, run->io.port, data, run->io.size);
	}
}

static void handle_odd_exit(struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct kvm_regs regs = {0};
	char why[160];

	(void)ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		snprintf(why, sizeof(why), "triple fault at rip 0x%llx", regs.rip);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		snprintf(why, sizeof(why), "KVM internal error, suberror %u, at rip 0x%llx",
			run->internal.suberror, regs.rip);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(why, sizeof(why), "KVM_EXIT_FAIL_ENTRY: hardware reason 0x%llx",
			run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		snprintf(why, sizeof(why), "unhandled KVM exit %u at rip 0x%llx", run->exit_reason,
			regs.rip);
	}
	die(vcpu, why);
}

static void handle_exit(struct kvm_vcpu *vcpu)
{
	const struct vmm_bus *bus = &vcpu->kvm->accel.config.bus;
	struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		if (run->mmio.is_write)
			bus->mmio_write(
				bus->opaque, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
		else
			bus->mmio_read(
				bus->opaque, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
		return;
	case KVM_EXIT_IO:
		handle_pio(bus, run);
		return;
	case KVM_EXIT_INTR:
		return;
	default:
		handle_odd_exit(vcpu);
	}
}

static void eat_kick(void)
{
	sigset_t kick;
	struct timespec now = {0};

	sigemptyset(&kick);
	sigaddset(&kick, KICK);
	while (sigtimedwait(&kick, NULL, &now) == KICK)
		;
}

/* One KVM_RUN and its exit; false if it was interrupted. */
static bool run_once(struct kvm_vcpu *vcpu)
{
	if (!ioctl(vcpu->fd, KVM_RUN, 0)) {
		handle_exit(vcpu);
		return true;
	}
	if (errno == EINTR) {
		eat_kick();
		return false;
	}
	if (errno != EAGAIN) {
		char why[160];

		snprintf(why, sizeof(why), "KVM_RUN failed: errno %d", errno);
		die(vcpu, why);
	}
	return true;
}

/*
 * KVM completes an MMIO or PIO instruction only at the next KVM_RUN: with immediate_exit that
 * call does so and runs no further. Otherwise a saved doorbell would be rung again on the
 * target.
 */
static void complete_exit(struct kvm_vcpu *vcpu)
{
	int left = COMPLETE_MAX;

	vcpu->run->immediate_exit = 1;
	while (!vcpu->dead && run_once(vcpu))
		if (!--left)
			die(vcpu, "an instruction has more than the supported number of accesses");
	vcpu->run->immediate_exit = 0;
}

static void run_guest(struct kvm_vcpu *vcpu)
{
	const struct kvm *kvm = vcpu->kvm;

	while (__atomic_load_n(&kvm->run, __ATOMIC_RELAXED) &&
		!__atomic_load_n(&kvm->hold, __ATOMIC_RELAXED) && !vcpu->dead)
		run_once(vcpu);
	complete_exit(vcpu);
}

static void park(struct kvm *kvm, struct kvm_vcpu *vcpu)
{
	if (!vcpu->parked) {
		vcpu->parked = true;
		kvm->parked++;
		pthread_cond_broadcast(&kvm->changed);
	}
	/* Waits while the VM is paused. */
	pthread_cond_wait(&kvm->changed, &kvm->mutex);
}

static void *vcpu_main(void *opaque)
{
	struct kvm_vcpu *vcpu = opaque;
	struct kvm *kvm = vcpu->kvm;

	atomic_store(&kvm->accel.tids[vcpu->index], gettid());
	pthread_mutex_lock(&kvm->mutex);
	while (!kvm->quit) {
		if (!kvm->run || vcpu->dead) {
			park(kvm, vcpu);
			continue;
		}
		if (kvm->hold) {
			pthread_cond_wait(&kvm->changed, &kvm->mutex);
			continue;
		}
		if (vcpu->parked) {
			vcpu->parked = false;
			kvm->parked--;
		}
		pthread_mutex_unlock(&kvm->mutex);
		run_guest(vcpu);
		pthread_mutex_lock(&kvm->mutex);
	}
	kvm->exited++;
	pthread_cond_broadcast(&kvm->changed);
	pthread_mutex_unlock(&kvm->mutex);
	return NULL;
}

/* With the mutex held. */
static void kick_all(struct kvm *kvm)
{
	for (unsigned i = 0; i < kvm->accel.config.vcpus; i++)
		if (kvm->vcpus[i].started && !kvm->vcpus[i].parked)
			pthread_kill(kvm->vcpus[i].thread, KICK);
	pthread_cond_broadcast(&kvm->changed);
}

static void stop_all(struct kvm *kvm)
{
	__atomic_store_n(&kvm->run, false, __ATOMIC_RELAXED);
	kick_all(kvm);
}

void kvm_hold(struct vmm_accel *accel, bool hold)
{
	struct kvm *kvm = kvm_of(accel);

	pthread_mutex_lock(&kvm->mutex);
	__atomic_store_n(&kvm->hold, hold, __ATOMIC_RELAXED);
	if (hold)
		kick_all(kvm);
	else
		pthread_cond_broadcast(&kvm->changed);
	pthread_mutex_unlock(&kvm->mutex);
}

void kvm_resume(struct vmm_accel *accel)
{
	struct kvm *kvm = kvm_of(accel);

	pthread_mutex_lock(&kvm->mutex);
	__atomic_store_n(&kvm->run, true, __ATOMIC_RELAXED);
	pthread_cond_broadcast(&kvm->changed);
	pthread_mutex_unlock(&kvm->mutex);
}

int kvm_pause(struct vmm_accel *accel, swo_deadline deadline, struct swo_error *err)
{
	struct kvm *kvm = kvm_of(accel);
	unsigned vcpus = accel->config.vcpus, stuck = 0;

	pthread_mutex_lock(&kvm->mutex);
	stop_all(kvm);
	while (kvm->parked < vcpus)
		if (swo_cond_wait(&kvm->changed, &kvm->mutex, deadline))
			break;
	bool done = kvm->parked == vcpus;

	while (!done && stuck < vcpus - 1 && kvm->vcpus[stuck].parked)
		stuck++;
	pthread_mutex_unlock(&kvm->mutex);
	if (!done)
		return swo_error_set(err, SWO_E_TIMEOUT, 0,
			"timed out stopping vCPU %u: it waits for a device", stuck);
	return 0;
}

static int set_signal_mask(struct kvm_vcpu *vcpu, struct swo_error *err)
{
	/* The kernel's sigset: 8 bytes, one bit per signal. All but the kick are blocked. */
	struct {
		uint32_t len;
		uint64_t set;
	} __attribute__((packed)) mask = {8, ~(UINT64_C(1) << (KICK - 1))};

	static_assert(sizeof(struct kvm_signal_mask) == sizeof(mask.len), "KVM ABI");

	if (ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &mask))
		return swo_error_set(err, SWO_E_IO, errno,
			"KVM: cannot set the signal mask of vCPU %u", vcpu->index);
	return 0;
}

int kvm_vcpus_start(struct kvm *kvm, struct swo_error *err)
{
	kvm_tsc_khz(kvm);
	for (unsigned i = 0; i < kvm->accel.config.vcpus; i++) {
		struct kvm_vcpu *vcpu = &kvm->vcpus[i];
		char name[16];

		snprintf(name, sizeof(name), "vcpu%u", i);
		if (set_signal_mask(vcpu, err) ||
			swo_thread_start(&vcpu->thread, name, vcpu_main, vcpu, err))
			return -1;
		vcpu->started = true;
	}
	/* Wait until the thread is parked, so that a pause need not. */
	return kvm_pause(&kvm->accel, swo_deadline_ms(EXIT_DEADLINE_MS), err);
}

bool kvm_vcpus_end(struct kvm *kvm)
{
	swo_deadline deadline = swo_deadline_ms(EXIT_DEADLINE_MS);
	unsigned started = 0;

	for (unsigned i = 0; i < kvm->accel.config.vcpus; i++)
		started += kvm->vcpus[i].started;
	pthread_mutex_lock(&kvm->mutex);
	kvm->quit = true;
	stop_all(kvm);
	while (kvm->exited < started)
		if (swo_cond_wait(&kvm->changed, &kvm->mutex, deadline))
			break;
	bool done = kvm->exited == started;

	pthread_mutex_unlock(&kvm->mutex);
	for (unsigned i = 0; done && i < started; i++)
		pthread_join(kvm->vcpus[i].thread, NULL);
	return done;
}
