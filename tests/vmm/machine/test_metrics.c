/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_metrics.c - the metrics of machines before, during and after migrations: read by a parser
 * that takes nothing but the format, and by promtool where it is installed.
 */
#include "box.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AWKWARD	      "a\"b\\c\nd"
#define VM_LABEL      "{vm=\"a\\\"b\\\\c\\nd\""
#define NAME_LETTERS  "abcdefghijklmnopqrstuvwxyz_"
#define LINE_MAX_HERE 400

static void awkward(struct vmm_machine_config *config)
{
	config->name = AWKWARD;
}

static void incoming(struct vmm_machine_config *config)
{
	config->incoming = true;
}

static void incoming_bigger(struct vmm_machine_config *config)
{
	config->incoming = true;
	config->ram_size *= 2;
}

/* Returns what follows `{name="value",...}`. */
static const char *pass_labels(const char *at)
{
	assert_int_equal(*at, '{');
	do {
		const size_t len = strspn(++at, NAME_LETTERS);

		assert_true(len > 0);
		at += len;
		assert_int_equal(strncmp(at, "=\"", 2), 0);
		for (at += 2; *at != '"'; at++) {
			assert_true(*at);
			if (*at == '\\')
				assert_non_null(memchr("\\\"n", *++at, 3));
		}
		at++;
	} while (*at == ',');
	assert_int_equal(*at, '}');
	return at + 1;
}

static void check_sample(const char *line, const char *family)
{
	const size_t len = strlen(family);
	char *end;

	assert_int_equal(strncmp(line, family, len), 0);
	const char *at = pass_labels(line + len);

	assert_int_equal(*at++, ' ');
	assert_in_range(*at, '0', '9');
	strtod(at, &end);
	assert_int_equal(*end, 0);
}

/* Every family once, with HELP, then TYPE, then its samples, each with other labels. */
static void parse(const char *text)
{
	char line[LINE_MAX_HERE], family[80] = "", type[16], again[LINE_MAX_HERE];
	bool typed = false;

	for (const char *at = text, *end; *at; at = end + 1) {
		end = strchr(at, '\n');
		assert_non_null(end);
		assert_true(end - at < LINE_MAX_HERE);
		snprintf(line, sizeof(line), "%.*s", (int)(end - at), at);
		if (!strncmp(line, "# HELP ", 7)) {
			assert_int_equal(
				sscanf(line, "# HELP switchover_%79[a-z_] %*c", family), 1);
			snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "),
				line + 7);
			snprintf(again, sizeof(again), "# HELP %s ", family);
			assert_null(strstr(end, again));
			typed = false;
		} else if (!strncmp(line, "# TYPE ", 7)) {
			assert_false(typed);
			assert_int_equal(sscanf(line, "# TYPE %79s %15s", again, type), 2);
			assert_string_equal(again, family);
			assert_true(!strcmp(type, "counter") || !strcmp(type, "gauge"));
			const size_t len = strlen(family);

			assert_int_equal(!strcmp(family + len - 6, "_total"), *type == 'c');
			typed = true;
		} else {
			assert_true(typed);
			check_sample(line, family);
			snprintf(again, sizeof(again), "\n%.*s ", (int)(strrchr(line, ' ') - line),
				line);
			assert_null(strstr(end, again));
		}
	}
}

static char *metrics(struct talk *talk)
{
	json_t *ret = talk_do(talk, "{\"execute\": \"x-query-metrics\"}");
	char *text = strdup(json_string_value(json_object_get(ret, "text")));

	assert_non_null(text);
	json_decref(ret);
	parse(text);
	return text;
}

/* labels: of the sample, with those of the VM. -1: absent */
static double value(const char *text, const char *name, const char *labels)
{
	char start[200];
	const char *at;

	snprintf(start, sizeof(start), "\nswitchover_%s%s} ", name, labels);
	at = strstr(text, start);
	return at ? strtod(at + strlen(start), NULL) : -1;
}

static void expect(const char *text, const char *name, const char *labels, double expected)
{
	const double got = value(text, name, labels);

	if (got != expected)
		fail_msg("%s%s is %f, not %f, in:\n%s", name, labels, got, expected, text);
}

static void what_is_not_known_is_absent_and_labels_are_escaped(void **state)
{
	struct box_pair pair;

	(void)state;
	box_pair_up(&pair, awkward, incoming);
	char *text = metrics(&pair.s);

	expect(text, "migrations_total", VM_LABEL ",outcome=\"completed\"", 0);
	expect(text, "migration_in_doubt", VM_LABEL, 0);
	assert_null(strstr(text, "downtime_seconds"));
	assert_null(strstr(text, "downtime_predicted"));
	assert_null(strstr(text, "_bytes"));
	assert_null(strstr(text, "device_blackout"));
	free(text);
	box_pair_down(&pair);
}

static void wait_for_end(struct box *box)
{
	assert_true(vmm_machine_migration_wait(box->machine, swo_deadline_ms(20000)));
}

static void try_promtool(const char *text)
{
	if (system("command -v promtool >/dev/null") != 0) {
		print_message("promtool is not installed (./run promtool): its check is skipped\n");
		return;
	}
	FILE *tool = popen("promtool check metrics 2>&1", "w");

	assert_non_null(tool);
	fputs(text, tool);
	assert_int_equal(pclose(tool), 0);
}

static void a_migration_leaves_its_figures_on_the_source(void **state)
{
	struct box_pair pair;

	(void)state;
	box_pair_up(&pair, awkward, incoming);
	box_migrate(&pair);
	box_wait_migration(&pair.s, "completed");
	box_wait_migration(&pair.t, "completed");
	wait_for_end(&pair.source);
	wait_for_end(&pair.target);

	char *text = metrics(&pair.s);
	json_t *info = talk_do(&pair.s, "{\"execute\": \"query-migrate\"}");
	const double ns = (double)json_integer_value(json_object_get(info, "x-downtime-ns"));
	const double seconds = value(text, "downtime_seconds", VM_LABEL);

	assert_true(ns > 0 && seconds * 1e9 > ns - 1 && seconds * 1e9 < ns + 1);
	json_decref(info);
	/* Read twice, counted once. */
	expect(text, "migrations_total", VM_LABEL ",outcome=\"completed\"", 1);
	free(text);
	text = metrics(&pair.s);
	expect(text, "migrations_total", VM_LABEL ",outcome=\"completed\"", 1);
	expect(text, "migrations_total", VM_LABEL ",outcome=\"failed\"", 0);
	assert_true(value(text, "ram_sent_bytes", VM_LABEL) > 0);
	assert_true(value(text, "device_blackout_seconds", VM_LABEL ",device=\"vf0\"") > 0);
	assert_true(value(text, "device_blackout_seconds", VM_LABEL ",device=\"vf1\"") > 0);
	assert_non_null(strstr(text, "\nswitchover_device_arc_seconds" VM_LABEL
				     ",device=\"vf0\",from=\"PRE_COPY_P2P\",to=\"STOP_COPY\"} "));
	try_promtool(text);
	free(text);

	/* The target has measured no downtime. */
	text = metrics(&pair.t);
	assert_null(strstr(text, "switchover_downtime_seconds"));
	assert_null(strstr(text, "_bytes"));
	assert_non_null(strstr(text, "outcome=\"completed\"} 1\n"));
	free(text);
	box_pair_down(&pair);
}

/* The second one is counted when the metrics are read, the first when the second takes its place. */
static void each_failure_is_counted_once_with_its_reason(void **state)
{
	struct box_pair pair;
	double aborts = 0;

	(void)state;
	box_pair_up(&pair, awkward, incoming_bigger);
	for (int i = 0; i < 2; i++) {
		box_migrate(&pair);
		wait_for_end(&pair.source);
		box_wait_migration(&pair.s, "failed");
	}
	char *text = metrics(&pair.s);

	expect(text, "migrations_total", VM_LABEL ",outcome=\"failed\"", 2);
	expect(text, "migrations_total", VM_LABEL ",outcome=\"completed\"", 0);
	for (const char *at = text; (at = strstr(at, "\nswitchover_aborts_total{")); at++)
		aborts += strtod(strstr(at, "\"} ") + 3, NULL);
	assert_true(aborts == 2);
	assert_null(strstr(text, "switchover_downtime_seconds"));
	assert_null(strstr(text, "device_blackout"));
	free(text);
	box_pair_down(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_known_is_absent_and_labels_are_escaped),
		cmocka_unit_test(a_migration_leaves_its_figures_on_the_source),
		cmocka_unit_test(each_failure_is_counted_once_with_its_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
