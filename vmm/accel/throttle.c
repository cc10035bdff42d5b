/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * throttle.c - holds all vCPUs for a share of the time: a thread lets them run for a slice, then
 * holds them for as long as the percentage requires. A held vCPU is between two instructions of the
 * guest and stops at once when the VM is paused.
 */
#include "internal.h"

#define RUN_NS UINT64_C(10000000)

/* With the mutex held: until then, or until there is something new. */
static void rest(struct accel_throttle *t, uint64_t ns)
{
	const uint64_t until = swo_now_ns() + ns;
	const unsigned generation = t->generation;

	while (t->generation == generation && swo_now_ns() < until)
		swo_cond_wait(&t->changed, &t->mutex, until);
}

static void *throttle_main(void *opaque)
{
	struct vmm_accel *accel = opaque;
	struct accel_throttle *t = &accel->throttle;

	pthread_mutex_lock(&t->mutex);
	while (!t->quit) {
		const unsigned percent = t->percent;

		if (!percent) {
			pthread_cond_wait(&t->changed, &t->mutex);
			continue;
		}
		rest(t, RUN_NS);
		if (t->percent != percent || t->quit)
			continue;
		accel->ops->hold(accel, true);
		rest(t, RUN_NS * percent / (100 - percent));
		accel->ops->hold(accel, false);
	}
	pthread_mutex_unlock(&t->mutex);
	return NULL;
}

int vmm_accel_throttle(struct vmm_accel *accel, unsigned percent, struct swo_error *err)
{
	struct accel_throttle *t = &accel->throttle;
	int rc = 0;

	if (percent > VMM_THROTTLE_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"cannot throttle the vCPUs by %u percent: expected 0 to %d", percent,
			VMM_THROTTLE_MAX);
	pthread_mutex_lock(&t->mutex);
	if (percent && !t->started) {
		rc = swo_thread_start(&t->thread, "throttle", throttle_main, accel, err);
		t->started = !rc;
	}
	if (!rc && percent != t->percent) {
		t->percent = percent;
		t->generation++;
		pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&t->mutex);
	return rc;
}

void accel_throttle_init(struct vmm_accel *accel)
{
	pthread_mutex_init(&accel->throttle.mutex, NULL);
	swo_cond_init(&accel->throttle.changed);
}

void accel_throttle_end(struct vmm_accel *accel)
{
	struct accel_throttle *t = &accel->throttle;

	pthread_mutex_lock(&t->mutex);
	t->quit = true;
	t->generation++;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->mutex);
	if (t->started)
		pthread_join(t->thread, NULL);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->mutex);
}
