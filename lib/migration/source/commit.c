/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * commit.c - from GO on. Nothing that fails here may run the VM: only the target's
 * REFUSED or an operator's word does. Without an answer the source is parked, and asks.
 */
#include "migration/ask.h"
#include "migration/source/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ASK_FIRST_PAUSE_MS 200
#define ASK_LAST_PAUSE_MS  5000
#define TIMELINE_WAIT_MS   3000

static bool answered(void *arg)
{
	struct source *s = arg;

	return s->started || s->refused || s->m.lost;
}

static enum source_event wait_for_answer(struct source *s)
{
	struct swo_migration *m = &s->m;
	int rc = migration_wait_until(m, answered, s, true,
		swo_deadline_ms(m->params.commit_deadline_ms), "STARTED", NULL);

	pthread_mutex_lock(&m->mutex);
	enum source_event event = s->started   ? SOURCE_EV_STARTED
				  : s->refused ? SOURCE_EV_REFUSED
				  : rc	       ? SOURCE_EV_TIMEOUT
					       : SOURCE_EV_LOST;
	pthread_mutex_unlock(&m->mutex);
	return event;
}

/* In doubt */

static bool operator_decided(void *arg)
{
	struct source *s = arg;

	return s->operator_spoke || s->m.quit;
}

static bool gives_up(void *arg)
{
	struct source *s = arg;

	pthread_mutex_lock(&s->m.mutex);
	bool given = operator_decided(s);
	pthread_mutex_unlock(&s->m.mutex);
	return given;
}

/*
 * Where both share RAM they share a word, too, and who comes first there has it: no answer is
 * needed, not even a target that lives.
 */
static bool forbid(struct source *s)
{
	if (!s->m.share.page || !ram_share_forbid(&s->m.share))
		return false;
	pthread_mutex_lock(&s->m.mutex);
	strcpy(s->word, "it had not begun to run the VM, and cannot any more");
	pthread_mutex_unlock(&s->m.mutex);
	return true;
}

/* Asks on a connection of its own. true: *event is the answer. */
static bool ask(struct source *s, enum source_event *event)
{
	struct swo_migration *m = &s->m;
	struct ask question = {.uri = m->uri,
		.security = &m->security,
		.ticket = s->ticket,
		.deadline_ms = m->params.idle_deadline_ms,
		.give_up = gives_up,
		.opaque = s};
	char word[WIRE_TEXT_MAX + 1];
	int answer = migration_ask(&question, word, NULL);

	if (answer != WIRE_STARTED && answer != WIRE_REFUSED)
		return false;
	*event = answer == WIRE_STARTED ? SOURCE_EV_STARTED : SOURCE_EV_REFUSED;
	pthread_mutex_lock(&m->mutex);
	strcpy(s->word, word);
	pthread_mutex_unlock(&m->mutex);
	return true;
}

/* One sentence: what is, and what settles it. */
static void describe_doubt(struct source *s, struct swo_error *err)
{
	const struct swo_journal_config *journal = s->m.vm.journal;

	if (s->m.share.page) {
		swo_error_set(err, SWO_E_TIMEOUT, 0,
			"migration %s is in doubt: the target has begun to run the VM, in the RAM "
			"that both share (handover=fd), and has not confirmed it; it is asked on "
			"and on. If it is gone for good so is the VM: give it up here: switchover "
			"resolve%s%.90s %s --qmp=URI --runs-there",
			s->m.info.id, journal ? " --journal=" : "", journal ? journal->dir : "",
			s->m.info.id);
		return;
	}
	swo_error_set(err, SWO_E_TIMEOUT, 0,
		"migration %s is in doubt: the target was told to run the VM and has not confirmed "
		"it; the VM is parked here and the target is asked again and again. If that host "
		"is gone for good, fence it off and settle it: switchover resolve%s%.90s %s "
		"--qmp=URI --run-here --fenced",
		s->m.info.id, journal ? " --journal=" : "", journal ? journal->dir : "",
		s->m.info.id);
}

/* One step, its record first. */
static void step_on_record(struct source *s, enum source_event event)
{
	struct swo_migration *m = &s->m;

	pthread_mutex_lock(&m->mutex);
	enum source_state next = s->state;
	pthread_mutex_unlock(&m->mutex);
	/* Only this thread steps, so that it comes to the same below. */
	if (source_step(&next, event) & ACT_JOURNAL)
		migration_journal_note(m, source_record(next, event), s->word);
	pthread_mutex_lock(&m->mutex);
	source_event(s, event);
	pthread_mutex_unlock(&m->mutex);
}

/* Stays until it is settled. false: the process gives up on us (quit by force). */
static bool settle_doubt(struct source *s, enum source_event *event)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};
	uint64_t pause = ASK_FIRST_PAUSE_MS;

	*event = SOURCE_EV_REFUSED;
	if (forbid(s))
		return true;
	describe_doubt(s, &err);
	swo_log(SWO_LOG_WARN, "%s", err.text);
	pthread_mutex_lock(&m->mutex);
	m->info.error = err;
	pthread_mutex_unlock(&m->mutex);
	migration_set_status(m, SWO_MIGRATION_IN_DOUBT);

	for (;;) {
		if (ask(s, event))
			return true;
		migration_wait_until(
			m, operator_decided, s, true, swo_deadline_ms(pause), "an answer", NULL);
		pause = pause * 2 < ASK_LAST_PAUSE_MS ? pause * 2 : ASK_LAST_PAUSE_MS;

		pthread_mutex_lock(&m->mutex);
		bool spoke = s->operator_spoke, here = s->operator_run_here, quit = m->quit;
		pthread_mutex_unlock(&m->mutex);
		if (spoke) {
			*event = here ? SOURCE_EV_OPERATOR_RUN : SOURCE_EV_OPERATOR_GONE;
			return true;
		}
		if (quit)
			return false;
	}
}

int source_resolve(struct swo_migration *m, bool run_here, struct swo_error *err)
{
	struct source *s = (struct source *)m;
	int rc = 0;

	pthread_mutex_lock(&m->mutex);
	if (s->state != SOURCE_IN_DOUBT)
		rc = swo_error_set(err, SWO_E_STATE, 0,
			"this migration is not in doubt (it is %s): there is nothing to resolve",
			swo_migration_status_name(m->info.status));
	else if (run_here && !ram_share_forbid(&m->share))
		rc = swo_error_set(err, SWO_E_STATE, 0,
			"the target has begun to run the VM in the RAM that both share "
			"(handover=fd): "
			"what is here is not what was stopped, and cannot run; it can only be "
			"given "
			"up here (run-here false)");
	else if (s->operator_spoke)
		rc = swo_error_set(err, SWO_E_STATE, 0, "this migration is being resolved already");
	s->operator_spoke = s->operator_spoke || !rc;
	if (!rc)
		s->operator_run_here = run_here;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->mutex);
	return rc;
}

/* The end */

static bool has_timeline(void *arg)
{
	struct source *s = arg;

	return s->timeline_in || s->m.lost;
}

static void merge_timeline(struct source *s)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};

	if (!m->timeline)
		return;
	if (migration_wait_until(m, has_timeline, s, true, swo_deadline_ms(TIMELINE_WAIT_MS),
		    "the target's timeline", &err) ||
		!s->timeline_in)
		return;
	if (swo_timeline_add_json(m->timeline, (const char *)s->timeline_json.data,
		    s->timeline_json.len, -s->clock_offset_ns, &err))
		swo_log(SWO_LOG_WARN, "the target's timeline is left out: %s", err.text);
}

void source_finish(struct source *s)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (swo_device_health(m->vm.devices[i]) != SWO_DEVICE_LOST &&
			swo_device_launch(m->vm.devices[i], SWO_DEVICE_STOP, &err))
			swo_log(SWO_LOG_WARN, "after the migration: %s", err.text);
	for (unsigned i = 0; i < m->vm.device_count; i++)
		if (swo_device_health(m->vm.devices[i]) != SWO_DEVICE_LOST &&
			swo_device_wait(m->vm.devices[i], &err))
			swo_log(SWO_LOG_WARN, "after the migration: %s", err.text);
	source_logs_stop(s);
	ram_share_release(&m->share, &m->vm);
	m->vm.ops->set_state(m->vm.opaque, SWO_RUN_STATE_POSTMIGRATE);
	swo_timeline_span(m->timeline, SWO_EVENT_CLEAN_UP, "", start, swo_now_ns(), 0);
}

static void completed(struct source *s)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};

	merge_timeline(s);
	if (m->control_open)
		migration_control(m, WIRE_DONE, NULL, 0, NULL);
	source_finish(s);
	pthread_mutex_lock(&m->mutex);
	bool remarks = s->word[0] != 0;
	if (remarks)
		swo_error_set(
			&err, SWO_E_DEVICE, 0, "the VM runs on the target, but: %.300s", s->word);
	pthread_mutex_unlock(&m->mutex);
	migration_end(m, SWO_MIGRATION_COMPLETED, remarks ? &err : NULL);
}

static void outcome(struct source *s, enum source_event event)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};

	switch (event) {
	case SOURCE_EV_STARTED:
		completed(s);
		return;
	case SOURCE_EV_OPERATOR_GONE:
		source_finish(s);
		swo_error_set(&err, SWO_E_CANCELLED, 0,
			"given up here by an operator's word: the VM is taken to run on the "
			"target");
		migration_end(m, SWO_MIGRATION_FAILED, &err);
		return;
	case SOURCE_EV_OPERATOR_RUN:
		swo_error_set(&err, SWO_E_CANCELLED, 0,
			"the VM runs here again by an operator's word; the target must stay fenced "
			"off");
		break;
	default:
		swo_error_set(
			&err, SWO_E_PEER_LOST, 0, "the target refused after GO: %.300s", s->word);
		break;
	}
	source_roll_back(s, &err, false);
}

void source_commit(struct source *s)
{
	struct swo_migration *m = &s->m;
	uint64_t start = swo_now_ns();

	/* It counts as sent from here on, whatever this returns. */
	swo_timeline_mark(m->timeline, SWO_EVENT_GO);
	migration_control(m, WIRE_GO, &s->go, sizeof(s->go), NULL);

	enum source_event event = wait_for_answer(s);

	pthread_mutex_lock(&m->mutex);
	if (event == SOURCE_EV_STARTED && s->vcpus_stopped_ns)
		m->info.downtime_ns = swo_now_ns() - s->vcpus_stopped_ns;
	pthread_mutex_unlock(&m->mutex);
	swo_timeline_span(m->timeline, SWO_EVENT_WAIT_STARTED, "", start, swo_now_ns(), 0);
	step_on_record(s, event);

	if (event == SOURCE_EV_LOST || event == SOURCE_EV_TIMEOUT) {
		if (!settle_doubt(s, &event))
			return; /* parked to the end of the process: never run here */
		step_on_record(s, event);
	}
	outcome(s, event);
}
