/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a source may have to wait for: a name that is not resolved, a target that does not receive,
 * a connection that is not accepted. No deadline here is shorter than the test's guard, except the
 * one that a case names: what ends, has not waited.
 */
#include "stage.h"
#include "tests/support/blocked.h"
#include "tests/support/silent_resolver.h"

#include <semaphore.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOUR_MS (UINT64_C(3600) * 1000)

static void wait_for_ever(struct swo_migration_params *params)
{
	params->idle_deadline_ms = HOUR_MS;
	params->setup_deadline_ms = HOUR_MS;
	params->switchover_deadline_ms = HOUR_MS;
	params->insecure = true;
}

static void with_a_ceiling(struct swo_migration_params *params)
{
	wait_for_ever(params);
	params->downtime_ceiling_ms = 1000;
}

/* A name */

static void start_to(struct fake_vm *vm, const char *uri, uint64_t setup_ms)
{
	struct swo_migration_params params = fake_params();

	wait_for_ever(&params);
	params.setup_deadline_ms = setup_ms;
	fake_vm_open(vm, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	assert_int_equal(
		swo_migration_send(&vm->vm, uri, &params, NULL, NULL, &vm->migration, NULL), 0);
	silent_resolver_await(1);
}

static void a_cancel_does_not_wait_for_a_name(void **state)
{
	(void)state;
	static struct fake_vm vm;

	start_to(&vm, "tcp:host.silent:4444", HOUR_MS);
	assert_int_equal(swo_migration_cancel(vm.migration, NULL), 0);
	assert_int_equal(fake_end(&vm).status, SWO_MIGRATION_CANCELLED);
	assert_true(fake_vm_runs(&vm));
	fake_vm_close(&vm);
	silent_resolver_answer();
}

struct waiting {
	struct fake_vm vm;
	atomic_bool over;
	struct swo_error err;
	int rc;
};

static bool is_over(void *opaque)
{
	return atomic_load(&((struct waiting *)opaque)->over);
}

static void *listen_to_a_name(void *opaque)
{
	struct waiting *w = opaque;
	const struct swo_migration_observer observer = {.gives_up = is_over, .opaque = w};

	w->rc = swo_migration_receive(&w->vm.vm, "tcp:host.silent:4444", NULL, &observer, NULL,
		&w->vm.migration, &w->err);
	return NULL;
}

static void a_target_that_gives_up_does_not_wait_for_a_name(void **state)
{
	(void)state;
	static struct waiting w;
	pthread_t thread;

	fake_vm_open(&w.vm, 2, false, 1000, SWO_TRANSITIONS_PARALLEL);
	assert_int_equal(pthread_create(&thread, NULL, listen_to_a_name, &w), 0);
	silent_resolver_await(1);
	atomic_store(&w.over, true);
	/* Its name is still not answered for. */
	pthread_join(thread, NULL);
	assert_int_equal(w.rc, -1);
	assert_int_equal(w.err.code, SWO_E_CANCELLED);
	assert_non_null(strstr(w.err.text, "host.silent"));
	fake_vm_close(&w.vm);
	silent_resolver_answer();
}

static void a_quit_does_not_wait_for_a_name(void **state)
{
	(void)state;
	static struct fake_vm vm;

	start_to(&vm, "tcp:host.silent:4444", HOUR_MS);
	fake_vm_close(&vm);
	silent_resolver_answer();
}

static void a_name_that_nobody_answers_for_fails_the_migration_in_time(void **state)
{
	(void)state;
	static struct fake_vm vm;

	start_to(&vm, "tcp:host.silent:4444", 1000);
	const struct swo_migration_info info = fake_end(&vm);

	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "'host.silent'"));
	assert_true(fake_vm_runs(&vm));
	fake_vm_close(&vm);
	silent_resolver_answer();
}

/* A control connection that is not read */

static blocked_tid sender;

/* On the source's thread, right before it sends. */
static void note_sender(struct fake_vm *vm)
{
	(void)vm;
	atomic_store(&sender, (int)gettid());
}

/* Until the source stops, whose sending of the machine's state will block. */
static void play_to_stop(struct stage *stage)
{
	atomic_store(&sender, 0);
	stage_open(stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
	stage->vm.padding = 8 << 20;
	stage->vm.on_save = note_sender;
	stage_play_to_stop(stage);
}

static void play_to_blocked(struct stage *stage)
{
	play_to_stop(stage);
	if (!blocked_await(&sender))
		fail_msg("not blocked: %s", fake_end(&stage->vm).error.text);
}

static void expect_back(struct stage *stage, enum swo_migration_status status, const char *words)
{
	const struct swo_migration_info info = fake_end(&stage->vm);

	assert_int_equal(info.status, status);
	if (!strstr(info.error.text, words))
		fail_msg("error '%s' without '%s'", info.error.text, words);
	assert_true(fake_vm_runs(&stage->vm));
	stage_close(stage);
}

static void the_ceiling_reaches_a_send_that_blocks(void **state)
{
	(void)state;
	static struct stage stage;

	stage_params = with_a_ceiling;
	play_to_stop(&stage);
	expect_back(&stage, SWO_MIGRATION_FAILED, "over the downtime-ceiling of 1000 ms");
	assert_true(atomic_load(&sender));
}

static void a_cancel_reaches_a_send_that_blocks(void **state)
{
	(void)state;
	static struct stage stage;

	stage_params = wait_for_ever;
	play_to_blocked(&stage);
	assert_int_equal(swo_migration_cancel(stage.vm.migration, NULL), 0);
	expect_back(&stage, SWO_MIGRATION_CANCELLED, "the migration was cancelled");
}

static void a_refusal_reaches_a_send_that_blocks(void **state)
{
	(void)state;
	static struct stage stage;

	stage_params = wait_for_ever;
	play_to_blocked(&stage);
	stage_reply(&stage, &stage.control, WIRE_REFUSED, "no", 2);
	expect_back(&stage, SWO_MIGRATION_FAILED, "the target refused: no");
}

/* A question that cannot be sent */

#define CALLERS_MAX 200

static unsigned fill_backlog(const struct stage *stage, int fds[CALLERS_MAX])
{
	struct base_address address;
	unsigned count = 0;

	assert_int_equal(base_unix_address(stage->uri + strlen("unix:"), &address, NULL), 0);
	for (;;) {
		assert_true(count < CALLERS_MAX);
		fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_true(fds[count] >= 0);
		if (connect(fds[count++], &address.any, address.len))
			return count;
	}
}

static void an_operator_does_not_wait_for_a_question_that_cannot_be_asked(void **state)
{
	(void)state;
	static struct stage stage;
	int fds[CALLERS_MAX];

	stage_params = wait_for_ever;
	for (int run_here = 0; run_here < 2; run_here++) {
		stage_open(&stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
		stage_play_to_go(&stage);
		unsigned count = fill_backlog(&stage, fds);

		stage_await_doubt(&stage);
		/* ASK has no place now, and tries again for an hour. */
		assert_int_equal(swo_migration_resolve(stage.vm.migration, run_here, NULL), 0);
		assert_int_equal(fake_end(&stage.vm).status, SWO_MIGRATION_FAILED);
		assert_int_equal(fake_vm_runs(&stage.vm), run_here);
		while (count)
			close(fds[--count]);
		stage_close(&stage);
	}
}

/* A log whose sink does not return before the test ends. */

static sem_t may_return;
static atomic_uint held;

static void hold(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque, (void)level, (void)text;
	atomic_fetch_add(&held, 1);
	while (sem_wait(&may_return))
		;
	sem_post(&may_return);
}

static void a_log_that_is_stuck_does_not_hold_up_the_way_back(void **state)
{
	(void)state;
	static struct fake_vm source, target;

	sem_init(&may_return, 0, 0);
	swo_log_set(SWO_LOG_DEBUG, hold, NULL);
	fake_vm_open(&source, 4, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&target, 4, false, 1000, SWO_TRANSITIONS_PARALLEL);
	target.devices[1].refuse = true;
	fake_migrate(&source, &target, NULL);
	assert_int_equal(fake_end(&source).status, SWO_MIGRATION_FAILED);
	assert_true(fake_vm_runs(&source));
	assert_int_equal(fake_end(&target).status, SWO_MIGRATION_FAILED);
	/* It did log, and the first line is still held. */
	assert_int_equal(atomic_load(&held), 1);
	sem_post(&may_return);
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	fake_vm_close(&source);
	fake_vm_close(&target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cancel_does_not_wait_for_a_name),
		cmocka_unit_test(a_target_that_gives_up_does_not_wait_for_a_name),
		cmocka_unit_test(a_quit_does_not_wait_for_a_name),
		cmocka_unit_test(a_name_that_nobody_answers_for_fails_the_migration_in_time),
		cmocka_unit_test(the_ceiling_reaches_a_send_that_blocks),
		cmocka_unit_test(a_cancel_reaches_a_send_that_blocks),
		cmocka_unit_test(a_refusal_reaches_a_send_that_blocks),
		cmocka_unit_test(a_log_that_is_stuck_does_not_hold_up_the_way_back),
		cmocka_unit_test(an_operator_does_not_wait_for_a_question_that_cannot_be_asked),
	};

	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
