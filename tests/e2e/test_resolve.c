/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_resolve.c - GO was sent and a process died: the results of the journals, of `switchover
 * resolve` and of a new start. The VM never runs on both hosts, and a migration in doubt is
 * reported.
 */
#include "e2e.h"
#include "migration/wire.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OK = 0, FAILED = 1, USAGE = 2, IN_DOUBT = 3 };

static struct pair pair;
static struct link *link_between;
static char id[40];
static char said[8192];

/* The stage:
 */

static int teardown(void **state)
{
	link_stop(link_between);
	link_between = NULL;
	return e2e_teardown(state);
}

static void start_with(const char *simvf_option)
{
	static struct pair_config config;

	config = e2e_config();
	config.channels = 1;
	e2e_must(&pair, pair_init(&pair, &config, 2, "parallel", err));
	pair.simvf_option = simvf_option;
	e2e_must(&pair, !(link_between = pair_put_link(&pair, err)));
	e2e_must(&pair, pair_start(&pair, err) || pair_boot(&pair, err));
}

static void read_id(struct pair *of, enum pair_side side, char out[40])
{
	json_t *info = pair_qmp(of, side, "query-migrate", NULL, NULL);

	snprintf(out, 40, "%s", json_path_string(info, "x-id"));
	json_decref(info);
	assert_int_equal(strlen(out), 36);
}

static void take_id(enum pair_side side)
{
	read_id(&pair, side, id);
}

static void start(void)
{
	start_with(NULL);
}

/* GO is sent and lost, and the target cannot be queried: the source is parked. */
static void lose_go(void)
{
	char status[PAIR_STATUS_MAX];

	start();
	link_at(link_between, WIRE_GO, LINK_CUT);
	e2e_must(
		&pair, pair_migrate(&pair, err) || pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "in-doubt");
	take_id(PAIR_SOURCE);
	pair.deaths_expected = true;
}

/* The target has received GO and is about to run, for long enough to kill a process. */
static void until_the_target_starts(void)
{
	start_with("--fault=arc=RUNNING_P2P->RUNNING:slow=700,x2");
	e2e_must(&pair, pair_migrate(&pair, err));
	e2e_await(&pair, "after-go");
	take_id(PAIR_TARGET);
	pair.deaths_expected = true;
}

static bool runs(enum pair_side side)
{
	return e2e_runs(&pair, side);
}

static void await_running(enum pair_side side)
{
	assert_true(e2e_comes_to_run(&pair, side, E2E_GUARD_MS));
}

/* The command:
 */

/* Runs the command; its output, both streams, is in `said`. */
static int run(const char *fmt, ...) SWO_PRINTF(1, 2);
static int run(const char *fmt, ...)
{
	char command[2048];
	va_list ap;
	int used = snprintf(command, sizeof(command), "%s/switchover ", process_program_dir());

	va_start(ap, fmt);
	used += vsnprintf(command + used, sizeof(command) - (size_t)used, fmt, ap);
	va_end(ap);
	snprintf(command + used, sizeof(command) - (size_t)used, " 2>&1");
	FILE *pipe = popen(command, "re");
	assert_non_null(pipe);
	size_t got = fread(said, 1, sizeof(said) - 1, pipe);
	said[got] = 0;
	int status = pclose(pipe);
	print_message(
		"# %s: %d\n", command + strlen(process_program_dir()) + 1, WEXITSTATUS(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect(int status, int wanted, const char *words)
{
	if (status != wanted || !strstr(said, words))
		fail_msg("status %d, wanted %d with '%s': %s", status, wanted, words, said);
}

#define RESOLVE(options, ...) run("resolve --journal=%s " options, pair.dir, __VA_ARGS__)

/* A start of the same VM: refused, naming the migration; or not refused. */
static void expect_start(bool may)
{
	int status = run("vm --uuid=" PAIR_UUID " --accel=native --ram=64M --journal=%s "
			 "--device=vfio-user,socket=%s/not-there",
		pair.dir, pair.dir);

	assert_int_equal(status, FAILED);
	/* Once the journal permits the start, the next obstacle is a missing device. */
	if (may)
		expect(status, FAILED, "not-there");
	else
		expect(status, FAILED, id);
	assert_int_equal(strstr(said, "is not started") != NULL, !may);
}

/* A source in doubt: the first signal is refused with the reason, the second one ends it. */
static void expect_two_signals(void)
{
	const pid_t pid = process_pid(pair.ends[PAIR_SOURCE].vm);
	swo_deadline guard = swo_deadline_ms(E2E_GUARD_MS);
	char path[256], text[8192] = "";
	struct swo_error err = {0};

	snprintf(path, sizeof(path), "%s/%s.log", pair.dir, pair_host(&pair, PAIR_SOURCE));
	assert_int_equal(kill(pid, SIGHUP), 0);
	while (!strstr(text, "x-migrate-resolve") || !strstr(text, "a second signal")) {
		FILE *file = fopen(path, "re");

		assert_false(swo_deadline_passed(guard));
		assert_non_null(file);
		text[fread(text, 1, sizeof(text) - 1, file)] = 0;
		fclose(file);
		swo_sleep_until(swo_now_ns() + 10000000);
	}
	assert_int_equal(process_check_alive(&err), 0);
	assert_int_equal(kill(pid, SIGTERM), 0);
	while (!process_check_alive(&err))
		assert_false(swo_deadline_passed(guard));
}

/* Cases */

static void a_parked_source_reports_how_to_resolve_it_and_does_nothing_else(void **state)
{
	(void)state;
	static const char *const refused[] = {"cont", "quit", "migrate_cancel"};
	struct swo_error err = {0};

	lose_go();
	json_t *info = pair_qmp(&pair, PAIR_SOURCE, "query-migrate", NULL, NULL);
	const char *why = json_path_string(info, "error-desc");
	assert_non_null(strstr(why, id));
	assert_non_null(strstr(why, ", run: switchover resolve --qmp=unix:/"));
	assert_non_null(strstr(why, "--fenced"));
	json_decref(info);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(refused); i++) {
		assert_int_equal(
			monitor_command(&pair.ends[PAIR_SOURCE].qmp, refused[i], NULL, &err), -1);
		assert_int_equal(err.code, SWO_E_STATE);
		assert_false(runs(PAIR_SOURCE));
	}
	/* A target never starts before GO, even by an operator: cont is about what comes. */
	assert_int_equal(monitor_command(&pair.ends[PAIR_TARGET].qmp, "cont", NULL, &err), 0);
	assert_false(runs(PAIR_TARGET));
	expect(RESOLVE("%s", ""), IN_DOUBT, "use --qmp with the URI of its monitor");
	expect(RESOLVE("%s", id), FAILED, "--qmp");
	expect(RESOLVE("--qmp=unix:%s/source.qmp %s", pair.dir, id), IN_DOUBT, "in doubt");
	expect(RESOLVE("%s --run-here", id), USAGE, "fence");
	expect_start(false);
	expect_two_signals();
	pair_free(&pair, false);
}

static void a_link_that_comes_back_settles_it_by_itself(void **state)
{
	(void)state;
	lose_go();
	link_set(link_between, LINK_PASS);
	await_running(PAIR_SOURCE);
	assert_false(runs(PAIR_TARGET));
	e2e_rings_on(&pair, PAIR_SOURCE, 0);
	expect(RESOLVE("--qmp=unix:%s/source.qmp", pair.dir), OK, "not in doubt");
	pair_free(&pair, false);
}

/* GO arrives, STARTED does not: the guest runs on the target, and the source has no report of it. */
static void a_started_that_is_lost_parks_the_source_until_the_link_is_back(void **state)
{
	(void)state;
	char status[PAIR_STATUS_MAX];

	start();
	link_at(link_between, WIRE_STARTED, LINK_CUT);
	e2e_must(
		&pair, pair_migrate(&pair, err) || pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "in-doubt");
	assert_true(link_hits(link_between) > 0);
	await_running(PAIR_TARGET);
	assert_false(runs(PAIR_SOURCE));
	link_set(link_between, LINK_PASS);
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "completed");
	assert_false(runs(PAIR_SOURCE));
	e2e_rings_on(&pair, PAIR_TARGET, 0);
	pair_free(&pair, false);
}

static void a_dead_source_whose_go_was_lost_is_resolved_by_a_query_to_the_target(void **state)
{
	(void)state;
	lose_go();
	process_kill(pair.ends[PAIR_SOURCE].vm);
	expect_start(false);
	/* No process listens at the URI of the journal; the outcome is not guessed. */
	expect(RESOLVE("%s", id), IN_DOUBT, "stays in doubt");
	expect_start(false);
	expect(RESOLVE("%s --uri=%s --json", id, pair.listen_uri), OK, "\"outcome\":\"run-here\"");
	assert_false(runs(PAIR_TARGET));
	expect_start(true);
	pair_free(&pair, false);
}

static void a_living_source_is_settled_by_the_journal_of_a_target_that_never_started(void **state)
{
	(void)state;
	lose_go();
	/* While that target is alive, it could still receive GO. */
	expect(RESOLVE("--qmp=unix:%s/source.qmp --target-journal=%s %s", pair.dir, pair.dir, id),
		IN_DOUBT, "is alive");
	assert_false(runs(PAIR_SOURCE));
	process_kill(pair.ends[PAIR_TARGET].vm);
	expect(RESOLVE("--qmp=unix:%s/source.qmp --target-journal=%s %s", pair.dir, pair.dir, id),
		OK, "never ran there");
	await_running(PAIR_SOURCE);
	e2e_rings_on(&pair, PAIR_SOURCE, 0);
	pair_free(&pair, false);
}

static void with_both_dead_the_target_s_journal_still_decides(void **state)
{
	(void)state;
	lose_go();
	process_kill(pair.ends[PAIR_SOURCE].vm);
	process_kill(pair.ends[PAIR_TARGET].vm);
	expect_start(false);
	expect(RESOLVE("--target-journal=%s %s", pair.dir, id), OK, "never ran there");
	expect_start(true);
	/* It applies to the target, too: no journal is open any more. */
	expect(RESOLVE("%s", "--json"), OK, "\"state\":\"refused\"");
	expect(RESOLVE("%s", "--prune"), OK, "2 removed");
	pair_free(&pair, false);
}

/* The id of one migration, and the address or journal of another's target. */
static void another_migration_s_target_settles_nothing(void **state)
{
	(void)state;
	static struct pair other;
	static struct pair_config config;
	char status[PAIR_STATUS_MAX], theirs[40];

	config = e2e_config();
	e2e_must(&other, pair_init(&other, &config, 1, "parallel", err) ||
				 pair_start(&other, err) || pair_boot(&other, err) ||
				 pair_migrate(&other, err) ||
				 pair_wait_end(&other, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "completed");
	read_id(&other, PAIR_TARGET, theirs);

	lose_go();
	process_kill(pair.ends[PAIR_SOURCE].vm);
	/* A running target of another VM: it must prove nothing. */
	expect(RESOLVE("%s --uri=%s", id, other.listen_uri), IN_DOUBT, "stays in doubt");
	expect(RESOLVE("%s --target-journal=%s/%s.target", id, other.dir, theirs), FAILED,
		"is not the target's journal of migration");
	/* A directory without its journal. */
	expect(RESOLVE("%s --target-journal=%s", id, other.dir), FAILED, id);
	expect_start(false);
	/* The right one still can. */
	expect(RESOLVE("%s --uri=%s", id, pair.listen_uri), OK, "never run");
	expect_start(true);
	pair_free(&pair, false);
	pair_free(&other, false);
}

static void a_damaged_journal_is_named_and_settles_nothing(void **state)
{
	(void)state;
	char path[256];

	lose_go();
	process_kill(pair.ends[PAIR_SOURCE].vm);
	process_kill(pair.ends[PAIR_TARGET].vm);
	snprintf(path, sizeof(path), "%s/%s.target", pair.dir, id);
	assert_int_equal(truncate(path, 600), 0);
	expect(RESOLVE("--target-journal=%s %s", pair.dir, id), FAILED, path);
	expect_start(false);
	snprintf(path, sizeof(path), "%s/%s.source", pair.dir, id);
	assert_int_equal(truncate(path, 600), 0);
	expect(RESOLVE("%s --run-here --fenced", id), FAILED, path);
	expect(RESOLVE("%s", ""), FAILED, "damaged");
	expect_start(false);
	pair_free(&pair, false);
}

static void a_source_killed_after_go_is_never_started_while_the_target_runs(void **state)
{
	(void)state;
	until_the_target_starts();
	process_kill(pair.ends[PAIR_SOURCE].vm);
	await_running(PAIR_TARGET);
	expect_start(false);
	expect(RESOLVE("--uri=%s %s", pair.listen_uri, id), OK, "runs there");
	expect_start(false);
	e2e_rings_on(&pair, PAIR_TARGET, 0);
	assert_true(runs(PAIR_TARGET));
	expect(RESOLVE("%s", id), OK, "not in doubt");
	pair_free(&pair, false);
}

static void a_target_killed_while_it_starts_is_left_to_the_operator(void **state)
{
	(void)state;
	char status[PAIR_STATUS_MAX];

	until_the_target_starts();
	process_kill(pair.ends[PAIR_TARGET].vm);
	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	if (!strcmp(status, "completed")) {
		/* STARTED was sent before the kill: then the migration has completed. */
		pair_free(&pair, false);
		skip();
	}
	assert_string_equal(status, "in-doubt");
	int rc = RESOLVE("--qmp=unix:%s/source.qmp --target-journal=%s %s", pair.dir, pair.dir, id);
	if (rc == IN_DOUBT) {
		expect(rc, IN_DOUBT, "may have run there");
		assert_false(runs(PAIR_SOURCE));
		expect(RESOLVE("--qmp=unix:%s/source.qmp --run-here --fenced %s", pair.dir, id), OK,
			"operator");
		await_running(PAIR_SOURCE);
	} else {
		expect(rc, OK, "has run there");
		assert_false(runs(PAIR_SOURCE));
	}
	pair_free(&pair, false);
}

#define resolve_test(f) cmocka_unit_test_teardown(f, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		resolve_test(a_parked_source_reports_how_to_resolve_it_and_does_nothing_else),
		resolve_test(a_link_that_comes_back_settles_it_by_itself),
		resolve_test(a_started_that_is_lost_parks_the_source_until_the_link_is_back),
		resolve_test(a_dead_source_whose_go_was_lost_is_resolved_by_a_query_to_the_target),
		resolve_test(
			a_living_source_is_settled_by_the_journal_of_a_target_that_never_started),
		resolve_test(with_both_dead_the_target_s_journal_still_decides),
		resolve_test(another_migration_s_target_settles_nothing),
		resolve_test(a_damaged_journal_is_named_and_settles_nothing),
		resolve_test(a_source_killed_after_go_is_never_started_while_the_target_runs),
		resolve_test(a_target_killed_while_it_starts_is_left_to_the_operator),
	};
	process_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
