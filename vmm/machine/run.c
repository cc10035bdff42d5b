/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.c - starting and stopping by hand: stop, cont, quit, a vCPU that fails; and the queries
 * of a stopped VM.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_MS 10000

static bool is_running(struct vmm_machine *m)
{
	return swo_runstate_get(m->runstate) == SWO_RUN_STATE_RUNNING;
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

	if (!is_running(m))
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
	note(m, from, SWO_EVENT_VCPUS_PAUSE);

	int rc = swo_runstate_change(m->runstate, state, on_error, err);

	if (is_running(m)) {
		vmm_accel_resume(m->accel);
		return -1;
	}
	machine_event(m, "STOP", NULL);
	return rc;
}

/* By hand */

static int stop_refused(struct vmm_machine *m, struct swo_error *err)
{
	struct swo_migration_info info;

	if (vmm_machine_migration_info(m, &info) && info.status == SWO_MIGRATION_DEVICE)
		return swo_error_set(err, SWO_E_STATE, 0,
			"a switchover is in progress; stop the VM on the host where it runs afterwards");
	return 0;
}

int vmm_machine_stop(struct vmm_machine *m, struct swo_error *err)
{
	int rc = 0;

	if (stop_refused(m, err))
		return -1;
	pthread_mutex_lock(&m->run_lock);
	if (is_running(m)) {
		rc = machine_halt(m, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, err);
		if (rc && !is_running(m))
			swo_error_prefix(err, "the VM is paused, with an error");
	} else {
		rc = stop_refused(m, err);
	}
	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

int vmm_machine_cont(struct vmm_machine *m, struct swo_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&m->run_lock);
	if (!is_running(m)) {
		rc = machine_may_cont(m, err);
		if (!rc && machine_start(m, SWO_ON_ERROR_ROLLBACK, err))
			rc = swo_error_prefix(err, "the VM stays stopped");
	}
	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

/* A vCPU that fails */

static void fail(void *opaque)
{
	struct vmm_machine *m = opaque;
	struct swo_error err;
	int rc;

	swo_log(SWO_LOG_ERROR, "%s: %s", m->name, m->fail_text);
	/* A failed VM must not be migrated. */
	if (vmm_machine_cancel(m, &err))
		swo_log(SWO_LOG_DEBUG, "%s", err.text);
	pthread_mutex_lock(&m->run_lock);
	if (is_running(m))
		rc = machine_halt(m, SWO_RUN_STATE_INTERNAL_ERROR, SWO_ON_ERROR_CONTINUE, &err);
	else
		rc = swo_runstate_change(
			m->runstate, SWO_RUN_STATE_INTERNAL_ERROR, SWO_ON_ERROR_CONTINUE, &err);
	if (rc)
		swo_log(SWO_LOG_ERROR, "%s: %s", m->name, err.text);
	pthread_mutex_unlock(&m->run_lock);
}

/* Called by a vCPU's thread, which cannot wait for itself. */
void machine_vcpu_failed(void *opaque, unsigned vcpu, const char *why)
{
	struct vmm_machine *m = opaque;

	if (atomic_exchange(&m->failing, true))
		return;
	snprintf(m->fail_text, sizeof(m->fail_text), "vCPU %u failed: %s", vcpu, why);
	m->fail_job.fn = fail;
	m->fail_job.opaque = m;
	swo_worker_submit(m->worker, &m->fail_job);
}

/* The end */

static int quit_refused(struct vmm_machine *m, struct swo_error *err)
{
	struct swo_migration_info info;
	bool is_source;

	pthread_mutex_lock(&m->lock);
	is_source = m->is_source && machine_is_migrating(m);
	pthread_mutex_unlock(&m->lock);
	if (!is_source || !vmm_machine_migration_info(m, &info) || !info.committed)
		return 0;
	return swo_error_set(err, SWO_E_STATE, 0,
		"migration %s is past its point of no return and in doubt (%s): this may be the only "
		"copy of the VM; resolve it with x-migrate-resolve, or quit with force",
		info.id, swo_migration_status_name(info.status));
}

int vmm_machine_quit(struct vmm_machine *m, bool force, struct swo_error *err)
{
	const uint64_t one = 1;

	if (!force && quit_refused(m, err))
		return -1;
	if (write(m->quit_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return swo_error_set(err, SWO_E_IO, errno, "quit");
	return 0;
}

/* Queries */

int vmm_machine_guest_stats(
	struct vmm_machine *m, struct vmm_guest_stats *out, struct swo_error *err)
{
	return vmm_accel_guest_stats(m->accel, out, err);
}

static int check_still(struct vmm_machine *m, struct swo_error *err)
{
	if (is_running(m))
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
