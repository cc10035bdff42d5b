/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handover's tables, cell by cell: required and forbidden transitions. And its dispatcher: the
 * order of actions, and those that are skipped if a record cannot be written.
 */
#include "migration/handover/handover.h"
#include "switchover/base.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The tables */

static const struct handover_rule *rule(
	const struct handover_table *table, unsigned state, unsigned event)
{
	return &table->rules[state * table->events + event];
}

static unsigned after(const struct handover_table *table, unsigned state, unsigned event)
{
	return rule(table, state, event)->set ? rule(table, state, event)->next : state;
}

static bool in(uint32_t set, unsigned state)
{
	return set >> state & 1;
}

static void only_ready_in_sent_sends_go_and_only_on_record(void **state)
{
	(void)state;
	for (unsigned s = 0; s < SOURCE_STATES; s++)
		for (unsigned e = 0; e < SOURCE_EVENTS; e++) {
			const struct handover_rule *r = rule(&handover_source, s, e);
			const bool here = s == SOURCE_SENT && e == SOURCE_EV_READY;

			assert_int_equal((r->actions & ACT_SEND_GO) != 0, here);
			assert_int_equal(r->next == SOURCE_COMMITTED, here);
		}
	const struct handover_rule *r = rule(&handover_source, SOURCE_SENT, SOURCE_EV_READY);

	assert_true(r->must_record);
	assert_int_equal(r->record, SWO_JOURNAL_COMMITTED);
}

static void only_go_in_ready_starts_the_target_and_only_on_record(void **state)
{
	(void)state;
	for (unsigned s = 0; s < TARGET_STATES; s++)
		for (unsigned e = 0; e < TARGET_EVENTS; e++)
			assert_int_equal((rule(&handover_target, s, e)->actions & ACT_START) != 0,
				s == TARGET_READY && e == TARGET_EV_GO);
	const struct handover_rule *r = rule(&handover_target, TARGET_READY, TARGET_EV_GO);

	assert_true(r->must_record);
	assert_int_equal(r->record, SWO_JOURNAL_STARTING);
	assert_true(rule(&handover_target, TARGET_LOADING, TARGET_EV_LOADED)->must_record);
}

/* The records for a restart: each change of where the VM may run, and each end. */
static void every_decision_where_the_vm_may_run_is_recorded(void **state)
{
	(void)state;
	const struct handover_table *const tables[] = {&handover_source, &handover_target};

	for (unsigned t = 0; t < 2; t++)
		for (unsigned s = 0; s < tables[t]->states; s++)
			for (unsigned e = 0; e < tables[t]->events; e++) {
				const struct handover_rule *r = rule(tables[t], s, e);

				if (!r->set || r->next == s)
					continue;
				if (in(tables[t]->may_run, s) != in(tables[t]->may_run, r->next))
					assert_int_not_equal(r->record, SWO_JOURNAL_NOTHING);
			}
	assert_int_equal(rule(&handover_source, SOURCE_IN_DOUBT, SOURCE_EV_OPERATOR_RUN)->record,
		SWO_JOURNAL_RUN_HERE);
	assert_int_equal(rule(&handover_source, SOURCE_COMMITTED, SOURCE_EV_REFUSED)->record,
		SWO_JOURNAL_REFUSED);
	for (unsigned s = 0; s < TARGET_STATES; s++)
		for (unsigned e = 0; e < TARGET_EVENTS; e++)
			if (s != TARGET_REFUSED && after(&handover_target, s, e) == TARGET_REFUSED)
				assert_int_equal(
					rule(&handover_target, s, e)->record, SWO_JOURNAL_REFUSED);
}

static void before_go_every_failure_takes_the_vm_back(void **state)
{
	(void)state;
	const unsigned before[] = {SOURCE_SETUP, SOURCE_PRECOPY, SOURCE_STOPPING, SOURCE_SENT};
	const unsigned bad[] = {SOURCE_EV_FAIL, SOURCE_EV_CANCEL, SOURCE_EV_LOST, SOURCE_EV_ABORT,
		SOURCE_EV_REFUSED};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(before); i++)
		for (unsigned j = 0; j < SWO_ARRAY_SIZE(bad); j++) {
			const struct handover_rule *r = rule(&handover_source, before[i], bad[j]);

			assert_true(r->actions & ACT_ROLL_BACK);
			assert_int_equal(r->next, SOURCE_TAKE_BACK);
		}
	assert_int_equal(
		after(&handover_source, SOURCE_TAKE_BACK, SOURCE_EV_RESUMED), SOURCE_FAILED);
	/* A late READY starts nothing. */
	assert_false(rule(&handover_source, SOURCE_TAKE_BACK, SOURCE_EV_READY)->set);
}

static void after_go_only_a_refusal_or_an_operator_resumes_the_source(void **state)
{
	(void)state;
	for (unsigned e = 0; e < SOURCE_EVENTS; e++) {
		const unsigned committed = after(&handover_source, SOURCE_COMMITTED, e);
		const unsigned doubt = after(&handover_source, SOURCE_IN_DOUBT, e);

		assert_int_equal(in(handover_source.may_run, committed), e == SOURCE_EV_REFUSED);
		assert_int_equal(in(handover_source.may_run, doubt),
			e == SOURCE_EV_REFUSED || e == SOURCE_EV_OPERATOR_RUN);
		assert_int_equal(
			(rule(&handover_source, SOURCE_IN_DOUBT, e)->actions & ACT_ROLL_BACK) != 0,
			e == SOURCE_EV_REFUSED || e == SOURCE_EV_OPERATOR_RUN);
	}
}

static void a_source_in_doubt_completes_by_started_however_it_comes(void **state)
{
	(void)state;
	const struct handover_rule *r = rule(&handover_source, SOURCE_IN_DOUBT, SOURCE_EV_STARTED);

	assert_int_equal(r->next, SOURCE_COMPLETED);
	assert_int_equal(r->record, SWO_JOURNAL_DONE);
	assert_true(r->actions & ACT_CLEAN_UP && r->actions & ACT_REPORT);
}

static void a_refused_target_never_starts(void **state)
{
	(void)state;
	for (unsigned e = 0; e < TARGET_EVENTS; e++) {
		assert_int_equal(after(&handover_target, TARGET_REFUSED, e), TARGET_REFUSED);
		/* And nothing is rolled back twice. */
		assert_false(rule(&handover_target, TARGET_REFUSED, e)->actions &
			     ~(uint32_t)ACT_SEND_REFUSED);
	}
}

static void a_started_target_stays_started_and_answers_so_each_time(void **state)
{
	(void)state;
	for (unsigned s = TARGET_STARTED; s <= TARGET_SETTLED; s++)
		for (unsigned e = 0; e < TARGET_EVENTS; e++) {
			const struct handover_rule *r = rule(&handover_target, s, e);

			assert_true(in(handover_target.may_run, after(&handover_target, s, e)));
			if (e == TARGET_EV_GO || e == TARGET_EV_ASK)
				assert_int_equal(r->actions, ACT_SEND_STARTED);
			else
				assert_int_equal(r->actions, 0);
		}
}

static void every_query_gets_a_reply_in_every_state_with_the_migration(void **state)
{
	(void)state;
	for (unsigned s = TARGET_LOADING; s < TARGET_STATES; s++)
		assert_true(rule(&handover_target, s, TARGET_EV_ASK)->actions & HANDOVER_ANSWERS);
	assert_int_equal(
		rule(&handover_target, TARGET_STARTING, TARGET_EV_ASK)->actions, ACT_SEND_STARTING);
	assert_int_equal(
		rule(&handover_target, TARGET_STARTING, TARGET_EV_GO)->actions, ACT_SEND_STARTING);
}

static void a_ready_target_refuses_whatever_is_not_go(void **state)
{
	(void)state;
	const unsigned refused[] = {
		TARGET_EV_BAD_GO, TARGET_EV_ASK, TARGET_EV_ABORT, TARGET_EV_FAIL, TARGET_EV_CANCEL};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(refused); i++)
		assert_int_equal(after(&handover_target, TARGET_READY, refused[i]), TARGET_REFUSED);
	/* GO may be in flight: after a lost peer a READY target waits, and a loading one refuses. */
	assert_int_equal(after(&handover_target, TARGET_READY, TARGET_EV_LOST), TARGET_READY);
	assert_int_equal(after(&handover_target, TARGET_LOADING, TARGET_EV_LOST), TARGET_REFUSED);
}

static void final_states_are_final(void **state)
{
	(void)state;
	const struct handover_table *const tables[] = {&handover_source, &handover_target};

	for (unsigned t = 0; t < 2; t++)
		for (unsigned s = 0; s < tables[t]->states; s++)
			for (unsigned e = 0; in(tables[t]->final, s) && e < tables[t]->events; e++)
				assert_int_equal(after(tables[t], s, e), s);
}

static void expect_distinct(const char *const *names, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(names[i], names[j]);
}

static void every_state_and_event_has_a_name_of_its_own(void **state)
{
	(void)state;
	expect_distinct(handover_source.state_names, SOURCE_STATES);
	expect_distinct(handover_source.event_names, SOURCE_EVENTS);
	expect_distinct(handover_target.state_names, TARGET_STATES);
	expect_distinct(handover_target.event_names, TARGET_EVENTS);
}

/* The dispatcher */

struct fake {
	struct handover h;
	char log[512]; /* the calls, in order */
	bool record_fails;
	int coming; /* an event that arrives while a record is written; -1: none */
};

static void note(struct fake *f, const char *what, unsigned value)
{
	snprintf(f->log + strlen(f->log), sizeof(f->log) - strlen(f->log), "%s%s %u",
		f->log[0] ? ", " : "", what, value);
}

static int fake_record(void *opaque, enum swo_journal_event record,
	const struct handover_cause *cause, struct swo_error *err)
{
	struct fake *f = opaque;

	(void)cause;
	note(f, "record", record);
	if (f->coming >= 0)
		atomic_fetch_or(&f->h.coming, 1u << f->coming);
	return f->record_fails ? swo_error_set(err, SWO_E_IO, EIO, "the disk") : 0;
}

static void fake_entered(
	void *opaque, unsigned state, unsigned event, const struct handover_cause *cause)
{
	(void)event;
	(void)cause;
	note(opaque, "enter", state);
}

static void fake_perform(void *opaque, enum handover_action action, void *answer_to)
{
	note(opaque, answer_to ? "answer" : "do", action);
}

static const struct handover_ops fake_ops = {fake_record, fake_entered, fake_perform};

static void open_fake(struct fake *f, const struct handover_table *table, unsigned state)
{
	memset(f, 0, sizeof(*f));
	f->coming = -1;
	handover_init(&f->h, table, &fake_ops, f);
	atomic_store(&f->h.state, state);
}

static void expect(struct fake *f, const char *log)
{
	while (handover_perform(&f->h))
		;
	assert_string_equal(f->log, log);
	f->log[0] = 0;
}

static void the_record_comes_first_then_the_state_then_what_is_due_in_its_order(void **state)
{
	(void)state;
	struct fake f;
	char log[128];

	open_fake(&f, &handover_source, SOURCE_COMMITTED);
	assert_int_equal(handover_raise(&f.h, SOURCE_EV_STARTED, NULL, NULL), HANDOVER_TAKEN);
	/* On whichever thread it was raised: only the migration's own performs. */
	snprintf(log, sizeof(log), "record %d, enter %d", SWO_JOURNAL_DONE, SOURCE_COMPLETED);
	assert_string_equal(f.log, log);
	f.log[0] = 0;
	snprintf(log, sizeof(log), "do %d, do %d, do %d", ACT_SEND_DONE, ACT_CLEAN_UP, ACT_REPORT);
	expect(&f, log);
	/* A repeated event does nothing twice. */
	assert_int_equal(handover_raise(&f.h, SOURCE_EV_STARTED, NULL, NULL), HANDOVER_IGNORED);
	expect(&f, "");
	handover_fini(&f.h);
}

static void go_is_not_sent_when_it_cannot_be_recorded(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct fake f;
	char log[128];

	open_fake(&f, &handover_source, SOURCE_SENT);
	f.record_fails = true;
	assert_int_equal(handover_raise(&f.h, SOURCE_EV_READY, NULL, &err), HANDOVER_UNRECORDED);
	assert_non_null(strstr(err.text, "the disk"));
	snprintf(log, sizeof(log), "record %d, record %d, enter %d, do %d, do %d",
		SWO_JOURNAL_COMMITTED, SWO_JOURNAL_TAKEN_BACK, SOURCE_TAKE_BACK, ACT_ROLL_BACK,
		ACT_SEND_ABORT);
	expect(&f, log);
	handover_fini(&f.h);
}

static void the_target_refuses_when_starting_cannot_be_recorded(void **state)
{
	(void)state;
	struct fake f;
	char log[128];

	open_fake(&f, &handover_target, TARGET_READY);
	f.record_fails = true;
	assert_int_equal(handover_raise(&f.h, TARGET_EV_GO, NULL, NULL), HANDOVER_UNRECORDED);
	snprintf(log, sizeof(log), "record %d, record %d, enter %d, do %d, do %d, do %d",
		SWO_JOURNAL_STARTING, SWO_JOURNAL_REFUSED, TARGET_REFUSED, ACT_SEND_REFUSED,
		ACT_DISCARD, ACT_REPORT);
	expect(&f, log);
	handover_fini(&f.h);
}

static void a_record_that_decides_nothing_may_fail(void **state)
{
	(void)state;
	struct fake f;
	char log[128];

	open_fake(&f, &handover_source, SOURCE_IN_DOUBT);
	f.record_fails = true;
	assert_int_equal(handover_raise(&f.h, SOURCE_EV_REFUSED, NULL, NULL), HANDOVER_TAKEN);
	snprintf(log, sizeof(log), "record %d, enter %d, do %d", SWO_JOURNAL_REFUSED,
		SOURCE_RESUMING, ACT_ROLL_BACK);
	expect(&f, log);
	handover_fini(&f.h);
}

/* Each event that rolls the VM back, arriving while COMMITTED is being recorded. */
static void a_peer_lost_before_go_never_leads_to_go(void **state)
{
	(void)state;
	const int events[] = {SOURCE_EV_LOST, SOURCE_EV_CANCEL, SOURCE_EV_FAIL, SOURCE_EV_REFUSED};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(events); i++) {
		struct fake f;

		open_fake(&f, &handover_source, SOURCE_SENT);
		f.coming = events[i];
		assert_int_equal(
			handover_raise(&f.h, SOURCE_EV_READY, NULL, NULL), HANDOVER_GAVE_WAY);
		assert_true(handover_is(&f.h, SOURCE_SENT));
		assert_false(handover_committed(&f.h));
		f.coming = -1;
		/* And it is taken when its thread continues. */
		assert_int_equal(
			handover_raise(&f.h, (unsigned)events[i], NULL, NULL), HANDOVER_TAKEN);
		while (handover_perform(&f.h))
			;
		assert_true(handover_is(&f.h, SOURCE_TAKE_BACK));
		assert_null(strstr(f.log, "do 32")); /* ACT_SEND_GO */
		assert_int_equal(
			handover_raise(&f.h, SOURCE_EV_READY, NULL, NULL), HANDOVER_IGNORED);
		handover_fini(&f.h);
	}
	assert_int_equal(ACT_SEND_GO, 32);
}

/* Events without a rule do not prevent GO: a timeout, a second READY. */
static void only_an_event_with_a_rule_preempts_a_step(void **state)
{
	(void)state;
	struct fake f;

	open_fake(&f, &handover_source, SOURCE_SENT);
	f.coming = SOURCE_EV_TIMEOUT;
	assert_int_equal(handover_raise(&f.h, SOURCE_EV_READY, NULL, NULL), HANDOVER_TAKEN);
	assert_true(handover_committed(&f.h));
	handover_fini(&f.h);
}

static void a_query_gets_its_reply_at_once_on_its_connection(void **state)
{
	(void)state;
	int connection;
	const struct handover_cause asked = {.answer_to = &connection};
	struct fake f;
	char log[128];

	/* STARTING: the migration's thread has no time for it. */
	open_fake(&f, &handover_target, TARGET_STARTING);
	assert_int_equal(handover_raise(&f.h, TARGET_EV_ASK, &asked, NULL), HANDOVER_TAKEN);
	snprintf(log, sizeof(log), "answer %d", ACT_SEND_STARTING);
	assert_string_equal(f.log, log);
	assert_int_equal(atomic_load(&f.h.due), 0);
	handover_fini(&f.h);

	/* READY: the reply is sent once REFUSED is recorded; the rest is left to the other thread. */
	open_fake(&f, &handover_target, TARGET_READY);
	assert_int_equal(handover_raise(&f.h, TARGET_EV_ASK, &asked, NULL), HANDOVER_TAKEN);
	snprintf(log, sizeof(log), "record %d, enter %d, answer %d", SWO_JOURNAL_REFUSED,
		TARGET_REFUSED, ACT_SEND_REFUSED);
	assert_string_equal(f.log, log);
	assert_int_equal(atomic_load(&f.h.due), ACT_DISCARD | ACT_REPORT);
	handover_fini(&f.h);
}

/* A cancel between STOP_VM and its effect: the VM is stopped first, and then resumed. */
static void what_two_steps_leave_is_done_in_one_order(void **state)
{
	(void)state;
	struct fake f;
	char log[128];

	open_fake(&f, &handover_source, SOURCE_PRECOPY);
	handover_raise(&f.h, SOURCE_EV_CONVERGED, NULL, NULL);
	handover_raise(&f.h, SOURCE_EV_CANCEL, NULL, NULL);
	f.log[0] = 0;
	snprintf(log, sizeof(log), "do %d, do %d, do %d", ACT_STOP_VM, ACT_ROLL_BACK,
		ACT_SEND_ABORT);
	expect(&f, log);
	handover_fini(&f.h);
}

static void unknown_events_are_ignored(void **state)
{
	(void)state;
	struct fake f;

	open_fake(&f, &handover_source, SOURCE_SENT);
	assert_int_equal(handover_raise(&f.h, 99, NULL, NULL), HANDOVER_IGNORED);
	expect(&f, "");
	assert_true(handover_is(&f.h, SOURCE_SENT));
	handover_fini(&f.h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_ready_in_sent_sends_go_and_only_on_record),
		cmocka_unit_test(only_go_in_ready_starts_the_target_and_only_on_record),
		cmocka_unit_test(every_decision_where_the_vm_may_run_is_recorded),
		cmocka_unit_test(before_go_every_failure_takes_the_vm_back),
		cmocka_unit_test(after_go_only_a_refusal_or_an_operator_resumes_the_source),
		cmocka_unit_test(a_source_in_doubt_completes_by_started_however_it_comes),
		cmocka_unit_test(a_refused_target_never_starts),
		cmocka_unit_test(a_started_target_stays_started_and_answers_so_each_time),
		cmocka_unit_test(every_query_gets_a_reply_in_every_state_with_the_migration),
		cmocka_unit_test(a_ready_target_refuses_whatever_is_not_go),
		cmocka_unit_test(final_states_are_final),
		cmocka_unit_test(every_state_and_event_has_a_name_of_its_own),
		cmocka_unit_test(
			the_record_comes_first_then_the_state_then_what_is_due_in_its_order),
		cmocka_unit_test(go_is_not_sent_when_it_cannot_be_recorded),
		cmocka_unit_test(the_target_refuses_when_starting_cannot_be_recorded),
		cmocka_unit_test(a_record_that_decides_nothing_may_fail),
		cmocka_unit_test(a_peer_lost_before_go_never_leads_to_go),
		cmocka_unit_test(only_an_event_with_a_rule_preempts_a_step),
		cmocka_unit_test(a_query_gets_its_reply_at_once_on_its_connection),
		cmocka_unit_test(what_two_steps_leave_is_done_in_one_order),
		cmocka_unit_test(unknown_events_are_ignored),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
