/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - starting and stopping the guest, and what can be queried of a VM that stands still.
 */
#include "internal.h"

#define PAUSE_MS 10000

bool machine_is_running(struct vmm_machine *m)
{
	return swo_runstate_get(m->runstate) == SWO_RUN_STATE_RUNNING;
}

void machine_event(struct vmm_machine *m, const char *name, json_t *data)
{
	if (m->config.event)
		m->config.event(m->config.opaque, name, data);
	else
		json_decref(data);
}

/* Only changes that belong to a migration are recorded in its timeline. */
static void note(struct vmm_machine *m, uint64_t from, enum swo_event event)
{
	pthread_mutex_lock(&m->lock);
	bool migrating = m->migration && !swo_migration_wait(m->migration, swo_now_ns());

	if (migrating)
		swo_timeline_span(m->timeline, event, "", from, swo_now_ns(), 0);
	pthread_mutex_unlock(&m->lock);
}

/* With run_lock held. Devices first: a vCPU must not access a stopped device. */
int machine_start(struct vmm_machine *m, enum swo_on_error on_error, struct swo_error *err)
{
	int rc = swo_runstate_change(m->runstate, SWO_RUN_STATE_RUNNING, on_error, err);

	if (!machine_is_running(m))
		return -1;
	uint64_t from = swo_now_ns();

	vmm_accel_resume(m->accel);
	note(m, from, SWO_EVENT_VCPUS_RESUME);
	machine_event(m, "RESUME", NULL);
	return rc;
}

/* With run_lock held; the VM runs. */
int machine_halt(struct vmm_machine *m, enum swo_run_state state, enum swo_on_error on_error,
	struct swo_error *err)
{
	uint64_t from = swo_now_ns();

	if (vmm_accel_pause(m->accel, swo_deadline_ms(PAUSE_MS), err)) {
		vmm_accel_resume(m->accel);
		return swo_error_prefix(err, "cannot pause the vCPUs; the VM continues to run");
	}
	/* It failed before it paused: its state is not that of a guest that could go on. */
	if (atomic_load(&m->failing) && state != SWO_RUN_STATE_INTERNAL_ERROR) {
		vmm_accel_resume(m->accel);
		return swo_error_set(err, SWO_E_STATE, 0, "%s", m->fail_text);
	}
	note(m, from, SWO_EVENT_VCPUS_PAUSE);

	int rc = swo_runstate_change(m->runstate, state, on_error, err);

	if (machine_is_running(m)) {
		vmm_accel_resume(m->accel);
		return -1;
	}
	machine_event(m, "STOP", NULL);
	return rc;
}

/* Queries */

int vmm_machine_guest_stats(
	struct vmm_machine *m, struct vmm_guest_stats *out, struct swo_error *err)
{
	return vmm_accel_guest_stats(m->accel, out, err);
}

static int check_still(struct vmm_machine *m, struct swo_error *err)
{
	if (machine_is_running(m))
		return swo_error_set(err, SWO_E_STATE, 0,
			"the VM is running and changes its RAM; stop it first");
	if (swo_ram_is_gone(m->ram))
		return swo_error_set(err, SWO_E_STATE, 0,
			"the VM's RAM was handed over to the target (handover=fd)");
	return 0;
}

int vmm_machine_check_ram(
	struct vmm_machine *m, uint64_t *pages, uint64_t *mismatches, struct swo_error *err)
{
	pthread_mutex_lock(&m->run_lock);
	int rc = check_still(m, err);

	if (!rc)
		rc = vmm_accel_check_ram(m->accel, pages, mismatches, err);
	if (!rc)
		*mismatches += m->stop_writes.lost;
	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

int vmm_machine_ram_hash(struct vmm_machine *m, uint64_t *hash, struct swo_error *err)
{
	pthread_mutex_lock(&m->run_lock);
	int rc = check_still(m, err);

	if (!rc)
		*hash = swo_ram_hash(m->ram);
	pthread_mutex_unlock(&m->run_lock);
	return rc;
}
