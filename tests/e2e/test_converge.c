/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest that dirties 20 MB/s over a link of 4 MB/s: it is reported, and the migration ends. */
#include "e2e.h"

#include <unistd.h>

#define LINK_RATE 4000000

static struct pair pair;
static struct link *between;

static int teardown(void **state)
{
	link_stop(between);
	between = NULL;
	return e2e_teardown(state);
}

#define converge_test(f) cmocka_unit_test_teardown(f, teardown)

static void command(enum pair_side side, const char *name, json_t *arguments)
{
	e2e_must(&pair, monitor_command(&pair.ends[side].qmp, name, arguments, err));
}

static json_t *query(void)
{
	struct swo_error err = {0};
	json_t *info = pair_qmp(&pair, PAIR_SOURCE, "query-migrate", NULL, &err);

	if (!info)
		e2e_fail(&pair, "query-migrate", &err);
	return info;
}

/* Boots, and starts the migration over the slow link. */
static void begin(struct pair_config *config, json_t *parameters, bool auto_converge)
{
	*config = e2e_config();
	config->ram = "32M";
	config->dirty_rate = 5000;
	config->dma_rate = 0;
	e2e_must(&pair, pair_init(&pair, config, 1, "parallel", err));
	pair.parameters = parameters;
	e2e_must(&pair, pair_start(&pair, err) || pair_boot(&pair, err) ||
				!(between = pair_put_link(&pair, err)));
	link_set_rate(between, LINK_RATE);
	e2e_must(&pair, pair_listen(&pair, err));
	if (auto_converge)
		command(PAIR_SOURCE, "migrate-set-capabilities",
			json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", "auto-converge",
				"state", 1));
	e2e_must(&pair, pair_send(&pair, err));
}

/* Until a member of query-migrate is there, which must be before the migration ends. */
static void await_member(const char *path)
{
	const swo_deadline guard = swo_deadline_ms(E2E_GUARD_MS);

	for (bool there = false; !there; usleep(20000)) {
		json_t *info = query();
		const char *status = json_path_string(info, "status");

		if (!strcmp(status, "completed") || !strcmp(status, "failed"))
			fail_msg("%s before %s: %s", status, path,
				json_path_string(info, "error-desc"));
		there = json_path(info, path);
		json_decref(info);
		assert_false(swo_deadline_passed(guard));
	}
}

static void expect_end(const char *wanted)
{
	char status[PAIR_STATUS_MAX];

	e2e_must(&pair, pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, wanted);
}

static void expect_whole_ram(void)
{
	struct swo_error err = {0};

	command(PAIR_TARGET, "stop", NULL);
	json_t *answer = pair_qmp(&pair, PAIR_TARGET, "x-check-ram", NULL, &err);

	assert_non_null(answer);
	assert_int_equal(json_integer_value(json_object_get(answer, "mismatches")), 0);
	json_decref(answer);
}

static void auto_converge_throttles_the_guest_until_it_fits(void **state)
{
	(void)state;
	struct pair_config config;
	json_t *parameters = json_pack("{s:i, s:i, s:i}", "downtime-limit", 500,
		"cpu-throttle-initial", 60, "cpu-throttle-increment", 39);

	begin(&config, parameters, true);
	await_member("ram.dirty-pages-rate");
	await_member("cpu-throttle-percentage");
	expect_end("completed");
	json_t *info = query();

	assert_null(json_path(info, "cpu-throttle-percentage"));
	json_decref(info);
	/* With all of its time again: it is not throttled there. */
	e2e_rings_on(&pair, PAIR_TARGET, 0);
	expect_whole_ram();
	pair_free(&pair, false);
	json_decref(parameters);
}

static void without_it_the_user_sees_that_it_does_not_converge_and_may_cancel_or_force(void **state)
{
	(void)state;
	for (int forced = 0; forced < 2; forced++) {
		struct pair_config config;
		json_t *parameters =
			json_pack("{s:i, s:i}", "downtime-limit", 300, "x-downtime-ceiling-ms", 0);

		begin(&config, parameters, false);
		await_member("x-stalled");
		await_member("ram.dirty-pages-rate");
		/* While it runs. */
		command(PAIR_SOURCE, "migrate-set-parameters",
			json_pack("{s:i, s:s}", "x-timeout-ms", 1, "x-timeout-strategy",
				forced ? "force" : "cancel"));
		expect_end(forced ? "completed" : "failed");
		json_t *info = query();

		if (!forced)
			assert_non_null(
				strstr(json_path_string(info, "error-desc"), "the guest dirties"));
		json_decref(info);
		e2e_rings_on(&pair, forced ? PAIR_TARGET : PAIR_SOURCE, 0);
		if (forced)
			expect_whole_ram();
		link_stop(between);
		between = NULL;
		pair_free(&pair, false);
		json_decref(parameters);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		converge_test(auto_converge_throttles_the_guest_until_it_fits),
		converge_test(
			without_it_the_user_sees_that_it_does_not_converge_and_may_cancel_or_force),
	};
	process_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
