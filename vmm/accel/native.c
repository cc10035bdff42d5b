/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * native.c - the native accelerator: one thread per vCPU ticks on an absolute clock and does
 * the guest's work. The guest's state is in its RAM, so there is almost nothing to save; a
 * pause takes effect between two ticks.
 */
#include "native.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define EXIT_DEADLINE_MS 5000

static struct native *native_of(struct vmm_accel *accel)
{
	return (struct native *)accel;
}

/* The vCPU threads */

/* From RAM, which a migration's peer may have filled: limited to what the guest accepts. */
static uint64_t period_ns(struct guest_env *vcpu)
{
	const struct guest_boot *boot = guest_ram(vcpu, GUEST_BOOT_GPA, sizeof(*boot));
	uint64_t period_us = boot->period_us;

	if (period_us < 200)
		period_us = 200;
	if (period_us > 4000000)
		period_us = 4000000;
	return period_us * 1000;
}

static void tick(struct guest_env *vcpu, uint64_t due_ns, uint64_t period)
{
	struct guest_status *status = guest_ram(vcpu, GUEST_STATUS_GPA, sizeof(*status));

	if (vcpu->index == 0 && !GUEST_GET(status->configured) && !GUEST_GET(status->error))
		guest_configure(vcpu);
	vcpu->work_until_ns = due_ns + period / 2;
	guest_tick(vcpu, vcpu->index);
}

static void park(struct native *native, struct guest_env *vcpu)
{
	if (!vcpu->parked) {
		vcpu->parked = true;
		native->parked++;
		pthread_cond_broadcast(&native->changed);
	}
	/* Waits while the VM is paused. */
	pthread_cond_wait(&native->changed, &native->mutex);
}

static void *vcpu_main(void *opaque)
{
	struct guest_env *vcpu = opaque;
	struct native *native = vcpu->native;
	uint64_t due = 0;

	atomic_store(&native->accel.tids[vcpu->index], gettid());
	/* The kernel's default timer slack of 50 us would add jitter to each tick. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	pthread_mutex_lock(&native->mutex);
	while (!native->quit) {
		if (!native->run) {
			park(native, vcpu);
			continue;
		}
		if (native->hold) {
			pthread_cond_wait(&native->changed, &native->mutex);
			continue;
		}
		if (vcpu->parked) {
			vcpu->parked = false;
			native->parked--;
			due = swo_now_ns();
		}
		if (swo_now_ns() < due) {
			swo_cond_wait(&native->changed, &native->mutex, due);
			continue;
		}
		pthread_mutex_unlock(&native->mutex);
		uint64_t period = period_ns(vcpu), now = swo_now_ns();

		tick(vcpu, now, period);
		/* Missed ticks are dropped. */
		due = due + period > now ? due + period : now + period;
		pthread_mutex_lock(&native->mutex);
	}
	native->exited++;
	pthread_cond_broadcast(&native->changed);
	pthread_mutex_unlock(&native->mutex);
	return NULL;
}

/* The accelerator */

static int native_boot(struct vmm_accel *accel, struct swo_error *err)
{
	(void)accel;
	(void)err;
	return 0;
}

static void native_resume(struct vmm_accel *accel)
{
	struct native *native = native_of(accel);

	pthread_mutex_lock(&native->mutex);
	native_msi_deliver_pending(native);
	native->run = true;
	pthread_cond_broadcast(&native->changed);
	pthread_mutex_unlock(&native->mutex);
}

static void native_hold(struct vmm_accel *accel, bool hold)
{
	struct native *native = native_of(accel);

	pthread_mutex_lock(&native->mutex);
	native->hold = hold;
	pthread_cond_broadcast(&native->changed);
	pthread_mutex_unlock(&native->mutex);
}

static int native_pause(struct vmm_accel *accel, swo_deadline deadline, struct swo_error *err)
{
	struct native *native = native_of(accel);
	unsigned vcpus = accel->config.vcpus, stuck = 0;

	pthread_mutex_lock(&native->mutex);
	native->run = false;
	pthread_cond_broadcast(&native->changed);
	while (native->parked < vcpus)
		if (swo_cond_wait(&native->changed, &native->mutex, deadline))
			break;
	bool done = native->parked == vcpus;

	while (!done && stuck < vcpus - 1 && native->vcpus[stuck].parked)
		stuck++;
	pthread_mutex_unlock(&native->mutex);
	if (!done)
		return swo_error_set(err, SWO_E_TIMEOUT, 0,
			"timed out stopping vCPU %u: it waits for a device", stuck);
	return 0;
}

#define RECORD_VCPU 1u

struct native_vcpu_record {
	uint64_t pending_irqs;
};

static int native_save(struct vmm_accel *accel, struct swo_buf *out, struct swo_error *err)
{
	struct native *native = native_of(accel);
	unsigned vcpus = accel->config.vcpus;

	pthread_mutex_lock(&native->mutex);
	native_msi_drain(native);
	pthread_mutex_unlock(&native->mutex);
	if (blob_head(out, BLOB_KIND_NATIVE, vcpus, vcpus, err))
		return -1;
	for (unsigned i = 0; i < vcpus; i++) {
		struct native_vcpu_record record = {native->vcpus[i].pending_irqs};

		if (blob_put(out, RECORD_VCPU, i, &record, sizeof(record), err))
			return -1;
	}
	return 0;
}

static int native_load(struct vmm_accel *accel, const void *data, size_t len, struct swo_error *err)
{
	struct native *native = native_of(accel);
	const struct native_vcpu_record *found[GUEST_VCPUS_MAX] = {0};
	unsigned vcpus = accel->config.vcpus, seen = 0;
	struct blob_reader reader;
	struct blob_record record;
	const void *bytes;
	int more;

	if (blob_open(&reader, data, len, BLOB_KIND_NATIVE, vcpus, err))
		return -1;
	while ((more = blob_next(&reader, &record, &bytes, err)) > 0) {
		if (record.tag != RECORD_VCPU || record.index >= vcpus || found[record.index] ||
			record.length != sizeof(struct native_vcpu_record))
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"malformed vCPU state: record %u of vCPU %u", record.tag,
				record.index);
		found[record.index] = bytes;
		seen++;
	}
	if (more < 0)
		return -1;
	if (seen != vcpus)
		return swo_error_set(err, SWO_E_CORRUPT, 0,
			"vCPU state: records of %u vCPUs, expected %u", seen, vcpus);
	pthread_mutex_lock(&native->mutex);
	for (unsigned i = 0; i < vcpus; i++)
		__builtin_memcpy(&native->vcpus[i].pending_irqs, found[i], sizeof(uint64_t));
	pthread_mutex_unlock(&native->mutex);
	return 0;
}

static int native_dirty_source(
	struct vmm_accel *accel, struct swo_dirty_source *out, struct swo_error *err)
{
	return swo_dirty_native(accel->ram, false, out, err);
}

/* The memory of a thread that hangs in a device's callback must be kept. */
static bool end_threads(struct native *native)
{
	swo_deadline deadline = swo_deadline_ms(EXIT_DEADLINE_MS);
	unsigned started = 0;

	for (unsigned i = 0; i < native->accel.config.vcpus; i++)
		started += native->vcpus[i].started;
	pthread_mutex_lock(&native->mutex);
	native->quit = true;
	pthread_cond_broadcast(&native->changed);
	while (native->exited < started)
		if (swo_cond_wait(&native->changed, &native->mutex, deadline))
			break;
	bool done = native->exited == started;

	pthread_mutex_unlock(&native->mutex);
	native_msi_end(native);
	for (unsigned i = 0; done && i < started; i++)
		pthread_join(native->vcpus[i].thread, NULL);
	return done;
}

static void native_free(struct vmm_accel *accel)
{
	struct native *native = native_of(accel);

	if (!end_threads(native)) {
		swo_log(SWO_LOG_WARN, "a vCPU thread hangs in a device; leaking it");
		base_leak_hung(native);
		return;
	}
	pthread_cond_destroy(&native->changed);
	pthread_mutex_destroy(&native->mutex);
	free(native->vcpus);
	free(native);
}

static const struct accel_ops native_ops = {
	.name = "native",
	.free = native_free,
	.boot = native_boot,
	.resume = native_resume,
	.pause = native_pause,
	.hold = native_hold,
	.save = native_save,
	.load = native_load,
	.dirty_source = native_dirty_source,
	.msi_add = native_msi_add,
	.msi_set = native_msi_set,
	.msi_del = native_msi_del,
};

static int start_threads(struct native *native, struct swo_error *err)
{
	for (unsigned i = 0; i < native->accel.config.vcpus; i++) {
		struct guest_env *vcpu = &native->vcpus[i];
		char name[16];

		vcpu->native = native;
		vcpu->index = i;
		snprintf(name, sizeof(name), "vcpu%u", i);
		if (swo_thread_start(&vcpu->thread, name, vcpu_main, vcpu, err))
			return -1;
		vcpu->started = true;
	}
	/* Wait until the thread is parked, so that a pause need not. */
	return native_pause(&native->accel, swo_deadline_ms(EXIT_DEADLINE_MS), err);
}

int accel_native_new(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err)
{
	struct native *native = calloc(1, sizeof(*native));
	struct guest_env *vcpus = calloc(config->vcpus, sizeof(*vcpus));

	if (!native || !vcpus) {
		free(native);
		free(vcpus);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "native accelerator");
	}
	native->accel = (struct vmm_accel){
		.ops = &native_ops, .config = *config, .ram = config->ram, .paused = true};
	native->vcpus = vcpus;
	native->epoll_fd = native->wake_fd = -1;
	pthread_mutex_init(&native->mutex, NULL);
	swo_cond_init(&native->changed);
	if (native_msi_start(native, err) || start_threads(native, err)) {
		native_free(&native->accel);
		return -1;
	}
	*out = &native->accel;
	return 0;
}
