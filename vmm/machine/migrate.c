/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migrate.c - the machine's current or last migration: starts it, queries it, frees it.
 */
#include "internal.h"

#include "base/uri.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define TIMELINE_SPANS 32768
#define CANCEL_MS      120000
#define LAUNCH_MS      10000
#define END_MS	       1000

bool machine_is_migrating(struct vmm_machine *m)
{
	struct swo_migration_info info;
	swo_deadline deadline = swo_now_ns();

	if (m->changing || !m->migration)
		return m->changing;
	/* The end has been reported, so it must be visible: this takes microseconds. */
	swo_migration_info(m->migration, &info);
	if (info.status == SWO_MIGRATION_COMPLETED || info.status == SWO_MIGRATION_FAILED ||
		info.status == SWO_MIGRATION_CANCELLED)
		deadline = swo_deadline_ms(END_MS);
	return !swo_migration_wait(m->migration, deadline);
}

/* Callbacks of the migration */

static void tell_status(void *opaque, enum swo_migration_status status)
{
	struct vmm_machine *m = opaque;

	/* No lock here: the callback may run inside a call that was made with it held. */
	if (atomic_load(&m->events))
		machine_event(m, "MIGRATION",
			json_pack("{s:s}", "status", swo_migration_status_name(status)));
	if (m->config.migration_status)
		m->config.migration_status(m->config.opaque, status);
}

static void tell_pass(void *opaque, uint64_t pass)
{
	struct vmm_machine *m = opaque;

	if (atomic_load(&m->events))
		machine_event(m, "MIGRATION_PASS", json_pack("{s:I}", "pass", (json_int_t)pass));
}

/* VfioMigrationState of QEMU's qapi/vfio.json; it has no name for ERROR. */
static void tell_device(void *opaque, unsigned index, enum swo_device_state state)
{
	static const char *const names[SWO_DEVICE_STATES] = {
		[SWO_DEVICE_STOP] = "stop",
		[SWO_DEVICE_RUNNING] = "running",
		[SWO_DEVICE_STOP_COPY] = "stop-copy",
		[SWO_DEVICE_RESUMING] = "resuming",
		[SWO_DEVICE_RUNNING_P2P] = "running-p2p",
		[SWO_DEVICE_PRE_COPY] = "pre-copy",
		[SWO_DEVICE_PRE_COPY_P2P] = "pre-copy-p2p",
	};
	struct vmm_machine *m = opaque;
	const char *id = swo_device_name(m->devices[index].dev);

	/* Costs time on the device's path, and wakes a reader for each: off by default. */
	if (m->devices[index].migration_events && (unsigned)state < SWO_DEVICE_STATES &&
		names[state])
		machine_event(m, "VFIO_MIGRATION",
			json_pack("{s:s, s:s+, s:s}", "device-id", id, "qom-path",
				"/machine/peripheral/", id, "device-state", names[state]));
}

/* A cancel or a quit while it is being set up: the lookup of a name may take a while. */
static bool gives_up(void *opaque)
{
	struct vmm_machine *m = opaque;
	struct pollfd quit = {.fd = m->quit_fd, .events = POLLIN};

	pthread_mutex_lock(&m->lock);
	const bool cancelled = m->cancelled;
	pthread_mutex_unlock(&m->lock);
	return cancelled || poll(&quit, 1, 0) > 0;
}

/* Starting a migration */

static int check_source(struct vmm_machine *m, struct swo_error *err)
{
	enum swo_run_state state = swo_runstate_get(m->runstate);

	if (state == SWO_RUN_STATE_INMIGRATE)
		return swo_error_set(err, SWO_E_STATE, 0,
			"this VM is waiting for an incoming migration: there is nothing to send yet");
	if (machine_is_migrating(m))
		return swo_error_set(err, SWO_E_STATE, 0,
			"a migration is in progress; cancel it, or wait for its end");
	if (!atomic_load(&m->launched))
		return swo_error_set(
			err, SWO_E_STATE, 0, "this VM is being started: try again when it is");
	if (m->migration && !swo_migration_may_run(m->migration))
		return swo_error_set(
			err, SWO_E_STATE, 0, "this VM has been migrated: it runs on the target");
	if (state == SWO_RUN_STATE_INTERNAL_ERROR || atomic_load(&m->failing))
		return swo_error_set(err, SWO_E_STATE, 0,
			"this VM cannot be migrated: its state is internal-error");
	return 0;
}

static int check_target(struct vmm_machine *m, struct swo_error *err)
{
	if (!m->config.incoming)
		return swo_error_set(
			err, SWO_E_STATE, 0, "this VM was not started with --incoming");
	/* After one that has failed it is as it was. */
	if (m->changing || swo_runstate_get(m->runstate) != SWO_RUN_STATE_INMIGRATE ||
		(m->migration && machine_is_migrating(m)))
		return swo_error_set(err, SWO_E_STATE, 0,
			"this VM already has or had an incoming migration; cancel it, or start a "
			"new VM");
	return 0;
}

static void drop_earlier(struct machine_earlier *earlier)
{
	swo_migration_free(earlier->migration);
	swo_timeline_free(earlier->timeline);
	free(earlier);
}

/* Frees those whose outcome is known to their sources, or all. */
static void tidy_earlier(struct vmm_machine *m, bool all)
{
	struct machine_earlier **at = &m->earlier, *earlier;

	while ((earlier = *at)) {
		if (!all && !swo_migration_settled(earlier->migration)) {
			at = &earlier->next;
			continue;
		}
		*at = earlier->next;
		drop_earlier(earlier);
	}
}

/*
 * The last migration has ended, but its source may be in doubt: it is kept, to answer, with the
 * timeline that it writes to. False: there is no reason to, or no memory.
 */
static bool keep(struct vmm_machine *m, struct swo_migration *old)
{
	struct machine_earlier *earlier;

	if (!old || m->is_source || !swo_migration_wait(old, swo_now_ns()) ||
		swo_migration_settled(old))
		return false;
	earlier = malloc(sizeof(*earlier));
	if (!earlier)
		return false;
	pthread_mutex_lock(&m->run_lock);
	pthread_mutex_lock(&m->lock);
	*earlier = (struct machine_earlier){m->earlier, old, m->timeline};
	m->earlier = earlier;
	m->timeline = NULL;
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->run_lock);
	return true;
}

/* With `lock` released: frees the last migration. No other thread does while `changing` is set. */
static void tidy(struct vmm_machine *m)
{
	struct swo_migration *old = m->migration;

	pthread_mutex_lock(&m->lock);
	machine_count_ended(m);
	m->migration = NULL;
	m->counted = false;
	pthread_mutex_unlock(&m->lock);
	if (!keep(m, old))
		swo_migration_free(old);
	for (unsigned i = 0; i < m->device_count; i++)
		swo_device_set_timeline(m->devices[i].dev, NULL);
	if (m->cpu_dirty.destroy)
		m->cpu_dirty.destroy(m->cpu_dirty.self);
	m->cpu_dirty = (struct swo_dirty_source){0};
}

static struct swo_vm describe(struct vmm_machine *m)
{
	return (struct swo_vm){.ops = &machine_ops,
		.opaque = m,
		.runstate = m->runstate,
		.ram = m->ram,
		.cpu_dirty = m->is_source ? &m->cpu_dirty : NULL,
		.devices = m->device_list,
		.device_count = m->device_count,
		.transitions = m->running.transitions,
		.autostart = true, /* see start() of ops.c */
		.journal = m->config.journal,
		.identity = m->config.uuid,
		.monitor = m->config.monitor};
}

/* With run_lock and lock held. */
static int follow(
	struct vmm_machine *m, const struct vmm_migration_setup *setup, struct swo_error *err)
{
	if (m->transitions == setup->transitions && m->join == setup->join)
		return 0;
	if (machine_devices_follow(m, setup, err))
		return -1;
	m->transitions = setup->transitions;
	m->join = setup->join;
	return 0;
}

static int prepare(struct vmm_machine *m, bool is_source, struct swo_error *err)
{
	struct swo_timeline *timeline =
		swo_timeline_new(is_source ? SWO_SIDE_SOURCE : SWO_SIDE_TARGET, TIMELINE_SPANS);

	tidy(m);
	/* No migration is in progress: freeing one of these affects none. */
	tidy_earlier(m, false);
	if (!timeline)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a timeline");
	/* Handlers read it while they change the run state. */
	pthread_mutex_lock(&m->run_lock);
	pthread_mutex_lock(&m->lock);
	swo_timeline_free(m->timeline);
	m->timeline = timeline;
	m->is_source = is_source;
	int rc = follow(m, &m->running, err);
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->run_lock);
	if (rc)
		return -1;
	if (is_source)
		return vmm_accel_dirty_source(m->accel, &m->cpu_dirty, err);
	vmm_pci_begin_load(m->pci);
	return 0;
}

static int begin(struct vmm_machine *m, const char *uri, bool is_source, struct swo_error *err)
{
	struct swo_migration_observer observer = {.status = tell_status,
		.device_state = tell_device,
		.opaque = m,
		.gives_up = gives_up,
		.pass = tell_pass};
	struct swo_migration *migration = NULL;
	struct swo_migration_params params;
	struct swo_vm vm;

	if (prepare(m, is_source, err))
		return -1;
	pthread_mutex_lock(&m->lock);
	params = m->running.params;
	if (!m->running.multifd)
		params.channels = 1;
	vm = describe(m);
	pthread_mutex_unlock(&m->lock);
	if ((is_source ? swo_migration_send : swo_migration_receive)(
		    &vm, uri, &params, &observer, m->timeline, &migration, err))
		return -1;
	pthread_mutex_lock(&m->lock);
	m->migration = migration;
	/* It cannot be too late for it. */
	if (m->cancelled)
		swo_migration_cancel(migration, &(struct swo_error){0});
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int begin_checked(struct vmm_machine *m, const char *uri, bool is_source, bool exit_on_error,
	const struct vmm_migration_setup *once,
	int (*check)(struct vmm_machine *m, struct swo_error *err), struct swo_error *err)
{
	struct base_uri parsed;

	/* The engine would fail too, but only after the reply to the command. */
	if (base_uri_parse(uri, &parsed, err))
		return -1;
	pthread_mutex_lock(&m->lock);
	int rc = check(m, err);

	if (!rc) {
		m->changing = true;
		m->running = once ? *once : m->setup;
		atomic_store(&m->events, m->running.events);
		m->cancelled = false;
		m->exit_on_error = exit_on_error;
	}
	pthread_mutex_unlock(&m->lock);
	if (rc)
		return -1;
	rc = begin(m, uri, is_source, err);
	pthread_mutex_lock(&m->lock);
	m->changing = false;
	pthread_mutex_unlock(&m->lock);
	return rc;
}

/* A monitor may be faster than the launch, and the VM would count as a paused one. */
static void await_launch(struct vmm_machine *m)
{
	swo_deadline deadline = swo_deadline_ms(LAUNCH_MS);

	while (!atomic_load(&m->launched) && !swo_deadline_passed(deadline))
		swo_sleep_until(swo_deadline_min(deadline, swo_deadline_ms(1)));
}

int vmm_machine_migrate(struct vmm_machine *m, const char *uri,
	const struct vmm_migration_setup *once, struct swo_error *err)
{
	await_launch(m);
	return begin_checked(m, uri, true, false, once, check_source, err);
}

int vmm_machine_incoming(
	struct vmm_machine *m, const char *uri, bool exit_on_error, struct swo_error *err)
{
	return begin_checked(m, uri, false, exit_on_error, NULL, check_target, err);
}

bool vmm_machine_exits_on_error(const struct vmm_machine *m)
{
	return m->config.exit_on_error;
}

enum vmm_incoming vmm_machine_incoming_failed(struct vmm_machine *m)
{
	enum vmm_incoming failed = VMM_INCOMING_GOES_ON;

	pthread_mutex_lock(&m->lock);
	if (m->exit_on_error && m->migration && !m->is_source && !machine_is_migrating(m) &&
		!swo_migration_may_run(m->migration))
		failed = swo_migration_settled(m->migration) ? VMM_INCOMING_FAILED
							     : VMM_INCOMING_ANSWERS;
	pthread_mutex_unlock(&m->lock);
	return failed;
}

/* During a migration, and after it */

int vmm_machine_cancel(struct vmm_machine *m, struct swo_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	/* While it is being set up: begin() does it. */
	m->cancelled = m->changing;
	/* As in QEMU, cancelling without a migration is no error. */
	if (!m->changing && machine_is_migrating(m))
		rc = swo_migration_cancel(m->migration, err);
	pthread_mutex_unlock(&m->lock);
	return rc;
}

int vmm_machine_continue(struct vmm_machine *m, struct swo_error *err)
{
	int rc;

	pthread_mutex_lock(&m->lock);
	if (m->migration && !m->changing)
		rc = swo_migration_continue(m->migration, err);
	else
		rc = swo_error_set(err, SWO_E_STATE, 0, "Migration not in expected state: %s",
			m->changing ? "setup" : "none");
	pthread_mutex_unlock(&m->lock);
	return rc;
}

void machine_migration_abort(struct vmm_machine *m, const char *why)
{
	struct swo_error reason, err;

	swo_error_set(&reason, SWO_E_STATE, 0, "%s", why);
	pthread_mutex_lock(&m->lock);
	if (!m->changing && machine_is_migrating(m) &&
		swo_migration_abort(m->migration, &reason, &err))
		swo_log(SWO_LOG_DEBUG, "%s", err.text);
	pthread_mutex_unlock(&m->lock);
}

int vmm_machine_resolve(struct vmm_machine *m, bool run_here, struct swo_error *err)
{
	struct swo_migration *migration;

	/* Only other commands on this worker free it. */
	pthread_mutex_lock(&m->lock);
	migration = m->migration;
	pthread_mutex_unlock(&m->lock);
	if (!migration)
		return swo_error_set(err, SWO_E_STATE, 0, "no migration in doubt");
	return swo_migration_resolve(migration, run_here, err);
}

bool vmm_machine_migration_info(struct vmm_machine *m, struct swo_migration_info *out)
{
	pthread_mutex_lock(&m->lock);
	bool any = m->migration;

	if (any)
		swo_migration_info(m->migration, out);
	pthread_mutex_unlock(&m->lock);
	return any;
}

bool vmm_machine_migration_wait(struct vmm_machine *m, swo_deadline deadline)
{
	for (;;) {
		pthread_mutex_lock(&m->lock);
		bool migrating = machine_is_migrating(m);

		pthread_mutex_unlock(&m->lock);
		if (!migrating || swo_deadline_passed(deadline))
			return !migrating;
		/* Not under the lock, so that queries continue. */
		swo_sleep_until(swo_deadline_min(deadline, swo_deadline_ms(1)));
	}
}

int machine_may_cont(struct vmm_machine *m, struct swo_error *err)
{
	enum swo_run_state state = swo_runstate_get(m->runstate);
	const char *why = NULL;

	pthread_mutex_lock(&m->lock);
	const bool may_run = !m->migration || swo_migration_may_run(m->migration);
	struct swo_migration_info info = {0};

	if (m->migration)
		swo_migration_info(m->migration, &info);
	if (state == SWO_RUN_STATE_INTERNAL_ERROR || state == SWO_RUN_STATE_SHUTDOWN ||
		atomic_load(&m->failing))
		why = "it has failed or ended; start a new VM";
	else if (state == SWO_RUN_STATE_INMIGRATE && m->migration && info.given_up)
		why = "its incoming migration has failed; start another one, with migrate-incoming";
	else if (state == SWO_RUN_STATE_INMIGRATE && (!m->migration || !may_run))
		why = NULL; /* it runs when it has arrived */
	else if (!may_run)
		why = "it runs on the target, or may do so (see query-migrate)";
	else if (machine_is_migrating(m))
		why = "a migration is in progress; cancel it, or wait for its end";
	pthread_mutex_unlock(&m->lock);
	if (why)
		return swo_error_set(err, SWO_E_STATE, 0, "cannot start the VM: %s", why);
	return 0;
}

void machine_migration_end(struct vmm_machine *m)
{
	struct swo_error err;

	/* Past its point of no return it is not cancelled: freeing it waits for the outcome. */
	if (!vmm_machine_cancel(m, &err))
		vmm_machine_migration_wait(m, swo_deadline_ms(CANCEL_MS));
	tidy(m);
	tidy_earlier(m, true);
}

/* Setup */

void vmm_machine_get_setup(struct vmm_machine *m, struct vmm_migration_setup *out)
{
	pthread_mutex_lock(&m->lock);
	*out = m->setup;
	pthread_mutex_unlock(&m->lock);
}

static struct swo_migration_limits limits_of(const struct swo_migration_params *params)
{
	return (struct swo_migration_limits){.size = sizeof(struct swo_migration_limits),
		.downtime_limit_ms = params->downtime_limit_ms,
		.downtime_ceiling_ms = params->downtime_ceiling_ms,
		.max_bandwidth = params->max_bandwidth,
		.converge = params->converge};
}

/* But for what may change while a migration is in progress. */
static bool is_same(const struct vmm_migration_setup *x, const struct vmm_migration_setup *y)
{
	struct swo_migration_params params = x->params;

	params.downtime_limit_ms = y->params.downtime_limit_ms;
	params.downtime_ceiling_ms = y->params.downtime_ceiling_ms;
	params.max_bandwidth = y->params.max_bandwidth;
	params.converge = y->params.converge;
	return x->multifd == y->multifd && x->transitions == y->transitions && x->join == y->join &&
	       swo_migration_params_equal(&params, &y->params);
}

/* With `lock` held, while a migration is in progress. */
static int change_running(struct vmm_machine *m, vmm_setup_change *change, const void *opaque,
	struct vmm_migration_setup *setup, struct swo_error *err)
{
	struct vmm_migration_setup running = m->running;

	if (change(&running, opaque, err))
		return -1;
	if (!is_same(&running, &m->running) || !is_same(setup, &m->setup))
		return swo_error_set(err, SWO_E_STATE, 0,
			"a migration is in progress; of its parameters only downtime-limit, "
			"x-downtime-ceiling-ms, max-bandwidth, cpu-throttle-*, max-cpu-throttle and "
			"x-*timeout* can change");
	const struct swo_migration_limits limits = limits_of(&running.params);

	if (m->migration && swo_migration_set_limits(m->migration, &limits, err))
		return -1;
	m->running = running;
	atomic_store(&m->events, running.events);
	return 0;
}

/*
 * Without run_lock, which is held for as long as a stop takes. False: nothing was decided, as there
 * is no migration.
 */
static bool changed_running(struct vmm_machine *m, vmm_setup_change *change, const void *opaque,
	int *rc, struct swo_error *err)
{
	pthread_mutex_lock(&m->lock);
	struct vmm_migration_setup setup = m->setup;
	const bool migrating = machine_is_migrating(m);

	if (migrating) {
		*rc = change(&setup, opaque, err) ||
				      swo_migration_params_check(&setup.params, err) ||
				      change_running(m, change, opaque, &setup, err)
			      ? -1
			      : 0;
		if (!*rc)
			m->setup = setup;
	}
	pthread_mutex_unlock(&m->lock);
	return migrating;
}

int vmm_machine_change_setup(
	struct vmm_machine *m, vmm_setup_change *change, const void *opaque, struct swo_error *err)
{
	int rc;

	if (changed_running(m, change, opaque, &rc, err))
		return rc;
	/* Only this thread, the worker of commands, starts migrations. */
	pthread_mutex_lock(&m->run_lock);
	pthread_mutex_lock(&m->lock);
	struct vmm_migration_setup setup = m->setup;

	rc = change(&setup, opaque, err) || swo_migration_params_check(&setup.params, err) ||
			     follow(m, &setup, err)
		     ? -1
		     : 0;
	if (!rc) {
		m->setup = setup;
		atomic_store(&m->events, setup.events);
	}
	pthread_mutex_unlock(&m->lock);
	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

/* Timeline */

int vmm_machine_timeline(struct vmm_machine *m, enum vmm_timeline_format format, unsigned columns,
	bool utf8, char **out, struct swo_error *err)
{
	int rc = 0;

	*out = NULL;
	pthread_mutex_lock(&m->lock);
	if (!m->timeline)
		rc = swo_error_set(err, SWO_E_STATE, 0, "no migration yet");
	else if (format == VMM_TIMELINE_CHROME)
		*out = swo_timeline_to_chrome(m->timeline);
	else if (format == VMM_TIMELINE_PICTURE)
		*out = swo_timeline_picture(m->timeline, columns, utf8, 0, 0);
	else
		*out = swo_timeline_to_json(m->timeline);
	pthread_mutex_unlock(&m->lock);
	if (!rc && !*out)
		rc = swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "the timeline");
	return rc;
}
