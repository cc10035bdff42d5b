/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * source.c - the source of a migration: its life cycle, its thread, and its actions for each step
 * of the handover. After GO no failure here may start the VM: only the target's REFUSED or an
 * operator does. Without a reply the source is parked, and sends ASK.
 */
#include "migration/source/source.h"

#include "base/shell.h"
#include "migration/query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ASK_FIRST_PAUSE_MS 200
#define ASK_LAST_PAUSE_MS  5000
#define TIMELINE_WAIT_MS   3000

#define RATE_MARK_NS UINT64_C(500000000)

/* Waiting for a step */

static bool is_ready(void *arg)
{
	struct source *s = arg;

	return s->ready;
}

/* What the target has loaded is what there is, and what there will be. */
static int check_before_go(struct source *s, struct swo_error *err)
{
	if (source_devices_check_wait(s, source_switchover_deadline(s), err))
		return -1;
	return source_still_check(s, err);
}

/* State SENT: waits for READY; raises FAIL if a check fails. */
static void await_ready(struct source *s)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	if (source_ceiling_wait(
		    s, is_ready, "the target's READY", source_switchover_deadline(s), &err) ||
		check_before_go(s, &err) || source_ceiling_check(s, &err)) {
		migration_raise(m, SOURCE_EV_FAIL, &err);
		return;
	}
	pthread_mutex_lock(&m->mutex);
	s->ready_ns = swo_now_ns();
	pthread_mutex_unlock(&m->mutex);
	swo_timeline_span(m->timeline, SWO_EVENT_WAIT_READY, "", start, swo_now_ns(), 0);
	if (migration_raise(m, SOURCE_EV_READY, NULL) == HANDOVER_GAVE_WAY)
		migration_wait_step(m, SOURCE_SENT, swo_deadline_ms(1000), "the next step", NULL);
}

/* State COMMITTED: waits for STARTED, REFUSED or the loss of the connection; each is a step. */
static void await_answer(struct source *s)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	if (migration_wait_step(m, SOURCE_COMMITTED, swo_deadline_ms(m->params.commit_deadline_ms),
		    "STARTED", &err))
		migration_raise(m, SOURCE_EV_TIMEOUT, &err);
	swo_timeline_span(m->timeline, SWO_EVENT_WAIT_STARTED, "", start, swo_now_ns(), 0);
}

/* In doubt */

static bool is_decided(void *arg)
{
	struct source *s = arg;

	return !handover_is(&s->m.handover, SOURCE_IN_DOUBT) || s->m.quit;
}

static bool gives_up(void *arg)
{
	struct source *s = arg;

	pthread_mutex_lock(&s->m.mutex);
	bool over = is_decided(s);
	pthread_mutex_unlock(&s->m.mutex);
	return over;
}

/* Raises the event of a reply; true: the migration is completed. */
static bool take_answer(void *opaque, enum wire_type answer, const char *text)
{
	struct source *s = opaque;

	if (answer == WIRE_STARTED)
		source_take_started(s, text);
	else if (answer == WIRE_REFUSED)
		source_take_refused(s, text);
	return handover_is(&s->m.handover, SOURCE_COMPLETED);
}

/* Sends ASK on a separate connection. */
static void ask(struct source *s)
{
	struct swo_migration *m = &s->m;
	struct ask question = {.uri = m->uri,
		.security = &m->security,
		.ticket = s->ticket,
		.hello_nonce = s->hello_nonce,
		.deadline_ms = m->params.idle_deadline_ms,
		.attempt = &s->asking,
		.give_up = gives_up,
		.take = take_answer,
		.opaque = s};
	char text[WIRE_TEXT_MAX + 1];

	migration_ask(&question, text, NULL);
}

/* The error of a migration in doubt: its state, and how to resolve it. */
static void describe_doubt(struct source *s, struct swo_error *err)
{
	const bool shared = s->m.share.page;
	const char *monitor = s->m.vm.monitor;
	char uri[128], command[200] = "";

	if (monitor && base_shell_quote(monitor, uri, sizeof(uri)))
		snprintf(command, sizeof(command), ", run: switchover resolve --qmp=%s%s", uri,
			shared ? " --runs-there" : " --run-here --fenced");
	if (shared)
		swo_error_set(err, SWO_E_TIMEOUT, 0,
			"migration %s is in doubt: the target has started the VM in the shared "
			"RAM (handover=fd) and has not confirmed it; ASK is repeated. If "
			"the target is lost, so is the VM: then give it up here%s",
			s->m.info.id, command);
	else
		swo_error_set(err, SWO_E_TIMEOUT, 0,
			"migration %s is in doubt: GO was sent and the target has not confirmed "
			"it; the VM is parked here and ASK is repeated. If the target is lost, "
			"fence its host, and then, to run the VM here%s%s",
			s->m.info.id, command[0] ? "" : ", use `switchover resolve`", command);
}

/*
 * With shared RAM both sides share an atomic word, and the first exchange of it decides: neither a
 * reply nor a live target is needed.
 */
static void park(struct source *s)
{
	struct swo_migration *m = &s->m;
	struct swo_error err = {0};

	if (m->share.page && ram_share_forbid(&m->share)) {
		source_take_refused(s, "it had not started the VM and no longer can");
		return;
	}
	describe_doubt(s, &err);
	swo_log(SWO_LOG_WARN, "%s", err.text);
	pthread_mutex_lock(&m->mutex);
	m->info.error = err;
	pthread_mutex_unlock(&m->mutex);
	migration_set_status(m, SWO_MIGRATION_IN_DOUBT);
}

/* State IN_DOUBT: sends ASK until it is resolved. false: the process exits (forced quit). */
static bool settle_doubt(struct source *s)
{
	struct swo_migration *m = &s->m;
	uint64_t pause = ASK_FIRST_PAUSE_MS;

	while (!gives_up(s)) {
		ask(s);
		migration_wait_until(m, is_decided, s, true, swo_deadline_ms(pause),
			"a reply of the target", NULL);
		pause = pause * 2 < ASK_LAST_PAUSE_MS ? pause * 2 : ASK_LAST_PAUSE_MS;
	}
	return !handover_is(&m->handover, SOURCE_IN_DOUBT);
}

/* Applies an operator's decision; called from any thread. */
static int resolve(struct swo_migration *m, bool run_here, struct swo_error *err)
{
	struct source *s = (struct source *)m;
	struct swo_error why;

	if (!handover_is(&m->handover, SOURCE_IN_DOUBT)) {
		pthread_mutex_lock(&m->mutex);
		const char *status = swo_migration_status_name(m->info.status);
		pthread_mutex_unlock(&m->mutex);
		return swo_error_set(err, SWO_E_STATE, 0,
			"this migration is not in doubt (it is %s): there is nothing to resolve",
			status);
	}
	if (run_here && !ram_share_forbid(&s->m.share))
		return swo_error_set(err, SWO_E_STATE, 0,
			"the target has started the VM in the RAM that both share "
			"(handover=fd): the RAM has changed since the stop, so the VM cannot run here; "
			"it can only be given up (run-here false)");
	if (run_here)
		swo_error_set(&why, SWO_E_CANCELLED, 0,
			"the VM runs here again, decided by an operator; the target must stay "
			"fenced");
	else
		swo_error_set(&why, SWO_E_CANCELLED, 0,
			"given up here, decided by an operator: the VM runs on the "
			"target");
	if (migration_raise(m, run_here ? SOURCE_EV_OPERATOR_RUN : SOURCE_EV_OPERATOR_GONE, &why) !=
		HANDOVER_TAKEN)
		return swo_error_set(
			err, SWO_E_STATE, 0, "this migration has already been resolved");
	return 0;
}

/* Steps */

static int record(void *opaque, enum swo_journal_event event, const struct handover_cause *cause,
	struct swo_error *err)
{
	struct source *s = opaque;
	const bool commits = event == SWO_JOURNAL_COMMITTED;

	if (!migration_record(&s->m, event, commits ? s->ticket.nonce : 0, cause,
		    source_ceiling_deadline(s, source_switchover_deadline(s)), err))
		return 0;
	if (commits)
		source_ceiling_explain_record(s, err);
	return -1;
}

static void entered(
	void *opaque, unsigned state, unsigned event, const struct handover_cause *cause)
{
	struct source *s = opaque;

	/* ASK may wait for a host that does not answer: who has decided does not. */
	if (s->doubted && state != SOURCE_IN_DOUBT)
		base_cancel_fire(&s->asking);
	pthread_mutex_lock(&s->m.mutex);
	s->doubted = s->doubted || state == SOURCE_IN_DOUBT;
	if (state == SOURCE_COMPLETED && !s->doubted && s->vcpus_stopped_ns)
		source_explain_downtime(s);
	pthread_mutex_unlock(&s->m.mutex);
	migration_entered(
		&s->m, event, cause, state == SOURCE_TAKE_BACK || state == SOURCE_RESUMING);
}

static void stop_vm(struct source *s)
{
	struct swo_error err = {0};

	if (source_stop(s, &err)) {
		source_ceiling_explain(s, &err);
		migration_raise(&s->m, SOURCE_EV_FAIL, &err);
		return;
	}
	migration_raise(&s->m, SOURCE_EV_ALL_SENT, NULL);
}

static void send_end(struct source *s)
{
	struct swo_error err = {0};

	if (!source_send_end(s, &err)) {
		/* All of their state has been read: a later reset takes nothing from it. */
		source_devices_check_begin(s);
		return;
	}
	source_ceiling_explain(s, &err);
	migration_raise(&s->m, SOURCE_EV_FAIL, &err);
}

static void send_go(struct source *s)
{
	/* GO counts as sent from here on, even if this fails. */
	source_ceiling_disarm(s);
	swo_timeline_mark(s->m.timeline, SWO_EVENT_GO);
	migration_control(&s->m, WIRE_GO, &s->go, sizeof(s->go), NULL);
}

static void roll_back(struct source *s)
{
	struct swo_migration *m = &s->m;

	pthread_mutex_lock(&m->mutex);
	struct swo_error why = m->reason;

	/* Report the first failure, not its consequences. */
	if (handover_is(&m->handover, SOURCE_TAKE_BACK)) {
		m->journal_remove = true;
		if (!m->cancelled && m->failure.code != SWO_E_NONE)
			why = m->failure;
	}
	pthread_mutex_unlock(&m->mutex);
	migration_report_cancel(m);
	if (s->stopped_by_us)
		source_learn(s);
	source_roll_back(s, &why);
	migration_raise(m, SOURCE_EV_RESUMED, &why);
}

/* Called after the VM has resumed: a peer that does not read must not delay that. */
static void send_abort(struct source *s)
{
	struct swo_migration *m = &s->m;

	pthread_mutex_lock(&m->mutex);
	const struct swo_error why = m->reason;
	pthread_mutex_unlock(&m->mutex);
	if (m->control_open)
		migration_control(m, WIRE_ABORT, why.text, strlen(why.text), NULL);
}

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
		swo_log(SWO_LOG_WARN, "leaving out the target's timeline: %s", err.text);
}

static void send_done(struct source *s)
{
	merge_timeline(s);
	if (s->m.control_open)
		migration_control(&s->m, WIRE_DONE, NULL, 0, NULL);
}

static void report(struct source *s)
{
	struct swo_migration *m = &s->m;

	pthread_mutex_lock(&m->mutex);
	const struct swo_error why = m->reason;
	const bool cancelled = m->cancelled;
	pthread_mutex_unlock(&m->mutex);
	if (handover_is(&m->handover, SOURCE_COMPLETED))
		migration_end(m, SWO_MIGRATION_COMPLETED, why.code != SWO_E_NONE ? &why : NULL);
	else
		migration_end(m, cancelled ? SWO_MIGRATION_CANCELLED : SWO_MIGRATION_FAILED, &why);
}

static void perform(void *opaque, enum handover_action action, void *answer_to)
{
	struct source *s = opaque;

	(void)answer_to;
	switch (action) {
	case ACT_STOP_VM:
		stop_vm(s);
		break;
	case ACT_SEND_END:
		send_end(s);
		break;
	case ACT_SEND_GO:
		send_go(s);
		break;
	case ACT_PARK:
		park(s);
		break;
	case ACT_ROLL_BACK:
		roll_back(s);
		break;
	case ACT_SEND_ABORT:
		send_abort(s);
		break;
	case ACT_SEND_DONE:
		send_done(s);
		break;
	case ACT_CLEAN_UP:
		source_finish(s);
		break;
	case ACT_REPORT:
		report(s);
		break;
	default: /* actions of the target */
		break;
	}
}

static const struct handover_ops source_handover = {
	.record = record, .entered = entered, .perform = perform};

/* The thread */

static int until_converged(struct source *s, struct swo_error *err)
{
	struct swo_migration *m = &s->m;
	uint64_t begin = swo_now_ns();

	migration_report_setup(m);
	if (source_setup(s, err))
		return -1;
	migration_raise(m, SOURCE_EV_HELLO_OK, NULL);
	pthread_mutex_lock(&m->mutex);
	m->info.setup_ns = swo_now_ns() - begin;
	s->marks[0] = s->marks[1] = (struct source_mark){swo_now_ns(), 0, 0};
	pthread_mutex_unlock(&m->mutex);
	swo_timeline_span(m->timeline, SWO_EVENT_SETUP, "", begin, swo_now_ns(), 0);

	migration_set_status(m, SWO_MIGRATION_ACTIVE);
	begin = swo_now_ns();
	if (source_precopy(s, err))
		return -1;
	source_devices_check_begin(s);
	if (source_devices_check_wait(s, swo_deadline_ms(m->params.setup_deadline_ms), err) ||
		source_ceiling_check(s, err))
		return -1;
	if (source_vm_runs(s))
		source_report_unknown(s);
	swo_timeline_span(m->timeline, SWO_EVENT_PRECOPY, "", begin, swo_now_ns(), 0);
	return 0;
}

static void source_main(struct swo_migration *m)
{
	struct source *s = (struct source *)m;
	struct swo_error err = {0};

	if (until_converged(s, &err))
		migration_raise(m, SOURCE_EV_FAIL, &err);
	else
		migration_raise(m, SOURCE_EV_CONVERGED, NULL);
	while (!handover_final(&m->handover)) {
		migration_perform(m);
		if (handover_is(&m->handover, SOURCE_SENT))
			await_ready(s);
		else if (handover_is(&m->handover, SOURCE_COMMITTED))
			await_answer(s);
		else if (handover_is(&m->handover, SOURCE_IN_DOUBT) && !settle_doubt(s))
			return; /* parked until the process exits; the VM never runs here */
	}
	migration_perform(m);
}

/* Life cycle */

static void interrupt(struct swo_migration *m)
{
	struct source *s = (struct source *)m;
	const bool abort = atomic_load(&m->abort);

	if (abort)
		base_cancel_fire(&s->attempt);
	/* Also on a quit, which leaves the doubt. */
	base_cancel_fire(&s->asking);
	/* Data channels may block a sender until a stall times out: shut them down first. */
	pthread_mutex_lock(&m->mutex);
	if (abort)
		for (unsigned i = 0; i < m->data_open; i++)
			channel_shutdown(&m->data[i]);
	pthread_mutex_unlock(&m->mutex);
	migration_wake(m);
}

static void wake(struct swo_migration *m)
{
	struct source *s = (struct source *)m;

	for (unsigned i = 0; i < m->vm.device_count; i++)
		pthread_cond_broadcast(&s->devices[i].credit);
}

static uint64_t per_second(uint64_t count, uint64_t ns)
{
	return ns ? (uint64_t)((double)count * 1e9 / (double)ns) : 0;
}

/* The rates of late: since the mark before the last one, half a second to one ago. */
static void take_rates(struct source *s, struct swo_migration_info *out)
{
	struct source_mark *last = &s->marks[1],
			   now = {swo_now_ns(), out->ram_sent + out->device_sent,
				   out->ram_normal_pages + out->ram_zero_pages};

	if (out->end_ns && out->end_ns > out->start_ns) {
		out->rate = per_second(now.bytes, out->end_ns - out->start_ns);
		out->page_rate = per_second(now.pages, out->end_ns - out->start_ns);
		return;
	}
	if (!last->ns)
		return;
	if (now.ns - last->ns >= RATE_MARK_NS) {
		s->marks[0] = *last;
		*last = now;
	}
	out->rate = per_second(now.bytes - s->marks[0].bytes, now.ns - s->marks[0].ns);
	out->page_rate = per_second(now.pages - s->marks[0].pages, now.ns - s->marks[0].ns);
}

/* What a pass or a round changes all the time; the rest of the figures is in m->info. */
static void progress(struct swo_migration *m, struct swo_migration_info *out)
{
	struct source *s = (struct source *)m;

	pthread_mutex_lock(&m->mutex);
	struct ram_send *ram = s->ram;
	pthread_mutex_unlock(&m->mutex);
	if (ram && !out->end_ns)
		ram_send_progress(ram, out);
	pthread_mutex_lock(&m->mutex);
	take_rates(s, out);
	if (s->vcpus_stopped_ns)
		out->ram_sent_stopped = out->ram_sent - s->ram_before_stop;
	for (unsigned i = 0; !out->end_ns && i < m->vm.device_count; i++)
		if (!s->devices[i].streamed && s->devices[i].stop_bytes != SWO_UNKNOWN)
			out->device_remaining += s->devices[i].stop_bytes;
	pthread_mutex_unlock(&m->mutex);
}

static void source_close(struct swo_migration *m)
{
	struct source *s = (struct source *)m;

	if (m->control_open)
		channel_shutdown(&m->control);
	for (unsigned i = 0; i < m->data_open; i++)
		channel_shutdown(&m->data[i]);
	if (m->control_reader_runs)
		pthread_join(m->control_reader, NULL);
	if (s->on_stop)
		swo_runstate_remove(m->vm.runstate, s->on_stop);
	if (s->on_last)
		swo_runstate_remove(m->vm.runstate, s->on_last);
	for (unsigned i = 0; s->devices && i < m->vm.device_count; i++)
		source_device_close(&s->devices[i]);
	/* Its sends have deadlines and the channels are shut down: it ends. */
	if (s->stop_worker)
		swo_worker_destroy(s->stop_worker, swo_deadline_ms(3600000));
	if (s->own_log.self)
		s->own_log.destroy(s->own_log.self);
	ram_send_destroy(s->ram);
}

static void source_destroy(struct swo_migration *m)
{
	struct source *s = (struct source *)m;

	for (unsigned i = 0; s->devices && i < m->vm.device_count; i++) {
		source_device_fini(&s->devices[i]);
		pthread_cond_destroy(&s->devices[i].credit);
		pthread_mutex_destroy(&s->devices[i].config_lock);
	}
	source_state_send_destroy(s->state_send);
	for (unsigned i = 0; i < m->data_open; i++)
		channel_close(&m->data[i]);
	if (m->control_open)
		channel_close(&m->control);
	swo_buf_free(&s->timeline_json);
	free(s->devices);
	free(s->costs);
	migration_fini(m);
	free(s);
}

static const struct migration_ops source_ops = {
	.main = source_main,
	.resolve = resolve,
	.wake = wake,
	.interrupt = interrupt,
	.progress = progress,
	.close = source_close,
	.destroy = source_destroy,
};

int swo_migration_send(const struct swo_vm *vm, const char *uri,
	const struct swo_migration_params *params, const struct swo_migration_observer *observer,
	struct swo_timeline *timeline, struct swo_migration **out, struct swo_error *err)
{
	struct source *s = calloc(1, sizeof(*s));

	if (!s)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "migration");
	s->m.is_source = true;
	if (migration_init(&s->m, &source_ops, &handover_source, &source_handover, vm, uri, params,
		    observer, timeline, err)) {
		free(s);
		return -1;
	}
	s->attempt = (struct base_cancel)BASE_CANCEL_INIT;
	s->asking = (struct base_cancel)BASE_CANCEL_INIT;
	s->timeline_json = (struct swo_buf)SWO_BUF_INIT(WIRE_TIMELINE_MAX);
	s->stop_job = (struct swo_job){.fn = source_stop_job, .opaque = s};
	s->was_running = source_vm_runs(s);
	s->devices = calloc(vm->device_count + 1, sizeof(*s->devices));
	s->costs = calloc(vm->device_count + 1, sizeof(*s->costs));
	for (unsigned i = 0; s->devices && i < vm->device_count; i++) {
		swo_cond_init(&s->devices[i].credit);
		pthread_mutex_init(&s->devices[i].config_lock, NULL);
	}
	if (!s->devices || !s->costs) {
		swo_error_set(
			err, SWO_E_NO_MEMORY, ENOMEM, "migration of %u devices", vm->device_count);
		goto fail;
	}
	migration_watch(&s->m, true);
	if (migration_make_id(s->m.info.id, err) || migration_random(&s->hello_nonce, err) ||
		source_add_handlers(s, err) || migration_run(&s->m, err))
		goto fail;
	*out = &s->m;
	return 0;
fail:
	migration_close(&s->m);
	return -1;
}
