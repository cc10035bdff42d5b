/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance run against simulated VFs, valid ones and ones with injected faults: argv[1]
 * is switchover-simvf, argv[2] switchover.
 */
#include "tests/support/must.h"
#include "tests/support/simvf_process.h"
#include "verdicts.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS_MAX 12

static const char *simvf_path, *switchover_path;
static struct swo_error err;
static char dir[64];

/* Servers */

struct vf {
	pid_t pid;
	char name[16];
	char socket[128];
};

static void vf_start(struct vf *vf, unsigned n, const char *const *options)
{
	static const char *const fixed[] = {
		"--state-size", "64K", "--precopy-percent", "50", "--pf-dir", dir};
	const char *all[SWO_ARRAY_SIZE(fixed) + OPTIONS_MAX + 1];
	unsigned count = 0;

	for (; count < SWO_ARRAY_SIZE(fixed); count++)
		all[count] = fixed[count];
	for (; options && *options; options++)
		all[count++] = *options;
	all[count] = NULL;
	snprintf(vf->name, sizeof(vf->name), "vf%u", n);
	snprintf(vf->socket, sizeof(vf->socket), "%s/%s.sock", dir, vf->name);
	vf->pid = simvf_process_start(simvf_path, vf->socket, all);
}

static void vf_stop(struct vf *vf)
{
	kill(vf->pid, SIGKILL);
	waitpid(vf->pid, NULL, 0);
	unlink(vf->socket);
}

static struct swo_probe_report *probe(
	struct vf *vfs, unsigned count, const struct swo_probe_params *params)
{
	static const struct swo_vfio_user_params patient = {
		.size = sizeof(struct swo_vfio_user_params),
		.command_deadline_ms = 60000,
		.slow_deadline_ms = 60000};
	struct swo_probe_target targets[4];
	struct swo_probe_report *report;

	for (unsigned i = 0; i < count; i++) {
		targets[i] = (struct swo_probe_target){vfs[i].name, &swo_vfio_user_ops, NULL};
		MUST(swo_vfio_user_connect(
			vfs[i].name, vfs[i].socket, &patient, &targets[i].self, &err));
	}
	struct swo_probe_params how = params ? *params : (struct swo_probe_params){0};

	how.hostile = true;
	MUST(swo_probe_exercise(targets, count, &how, &report, &err));
	return report;
}

static struct swo_probe_report *probe_with(
	const char *const *options, const struct swo_probe_params *params)
{
	struct vf vf;

	vf_start(&vf, 0, options);
	struct swo_probe_report *report = probe(&vf, 1, params);

	vf_stop(&vf);
	return report;
}

static struct swo_probe_report *probe_fault(
	const char *fault, const struct swo_probe_params *params)
{
	const char *const options[] = {"--fault", fault, NULL};

	return probe_with(options, params);
}

static const struct verdicts_face face = {probe_fault, true};

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/swo-probe-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[80];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

/* Valid devices */

static void is_clean(const char *const *options, const char *without)
{
	struct swo_probe_report *report = probe_with(options, NULL);

	verdicts_must_be_clean(&face, report);
	for (unsigned i = 0; i < report->devices[0].result_count; i++)
		if (without && strstr(report->devices[0].results[i].name, without))
			fail_msg("%s was run", report->devices[0].results[i].name);
	assert_true(report->devices[0].state_bytes > 65536);
	swo_probe_report_free(report);
}

static void a_good_device_has_no_findings(void **state)
{
	(void)state;
	is_clean(NULL, NULL);
}

static void a_device_without_p2p_or_pre_copy_gets_no_such_requests(void **state)
{
	(void)state;
	is_clean((const char *const[]){"--no-p2p", NULL}, "P2P->");
	is_clean((const char *const[]){"--no-pre-copy", "--no-data-size", NULL}, "arc.PRE_COPY");
	is_clean((const char *const[]){"--no-p2p", "--no-pre-copy", NULL}, "arc.PRE_COPY");
}

/* Injected faults */

/* With a kernel's device the VFIO core refuses before the driver is called. */
static void a_device_that_refuses_with_another_errno_is_named_wherever_it_does(void **state)
{
	(void)state;
	static const char fault[] = "illegal:fail=EBUSY";
	static const struct swo_probe_params params = {.runs = 1};
	unsigned tried = 0;

	struct swo_probe_report *report = probe_fault(fault, &params);

	for (unsigned i = 0; i < report->devices[0].result_count; i++) {
		const struct swo_probe_result *result = &report->devices[0].results[i];

		if (strncmp(result->name, "illegal.", 8) != 0)
			continue;
		verdicts_must_be(report, result->name, SWO_VERDICT_RISK, fault);
		tried++;
	}
	assert_true(tried >= 16); /* two unknown states from each of seven, and more */
	swo_probe_report_free(report);
}

static void a_device_that_goes_away_in_an_arc_is_named(void **state)
{
	(void)state;
	verdicts_arcs(probe_fault, "die", false);
}

/* Siblings */

static struct swo_probe_report *probe_three(const char *const *options)
{
	static const struct swo_probe_params params = {.runs = 3};
	struct vf vfs[3];

	for (unsigned i = 0; i < 3; i++)
		vf_start(&vfs[i], i, options);
	struct swo_probe_report *report = probe(vfs, 3, &params);

	for (unsigned i = 0; i < 3; i++)
		vf_stop(&vfs[i]);
	if (report->fails)
		verdicts_print(report);
	assert_int_equal(report->fails, 0);
	verdicts_must_be(report, "p2p.order", SWO_VERDICT_PASS, "none");
	return report;
}

/* 60 ms arcs: much more than a busy machine adds. */
static void siblings_that_take_turns_are_distinguished_from_others(void **state)
{
	(void)state;
	struct swo_probe_report *report = probe_three(
		(const char *const[]){"--to-p2p-ms", "60", "--pf", "pf0", "--pf-arcs", NULL});

	assert_int_equal(report->quiesce.sharing, SWO_SHARING_SERIALISED);
	swo_probe_report_free(report);
	report = probe_three((const char *const[]){"--to-p2p-ms", "60", "--pf", "pf0", NULL});
	assert_int_equal(report->quiesce.sharing, SWO_SHARING_INDEPENDENT);
	swo_probe_report_free(report);
}

static void siblings_that_share_saving_and_loading_are_reported(void **state)
{
	(void)state;
	/* 64 KiB at 1 MB/s. */
	struct swo_probe_report *report = probe_three(
		(const char *const[]){"--save-rate", "1", "--load-rate", "1", "--pf", "pf0", NULL});

	assert_int_equal(report->save.sharing, SWO_SHARING_SERIALISED);
	assert_int_equal(report->load.sharing, SWO_SHARING_SERIALISED);
	swo_probe_report_free(report);
}

/* The verb */

static int run_verb(struct vf *vf, const char *arguments, json_t **json)
{
	char command[512];

	snprintf(command, sizeof(command),
		"'%s' probe --json vfio-user:'%s' %s 2>/dev/null </dev/null", switchover_path,
		vf->socket, arguments);
	FILE *out = popen(command, "re");

	assert_non_null(out);
	*json = json_loadf(out, 0, NULL);
	int status = pclose(out);

	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void the_verb_describes_and_changes_nothing_without_exercise(void **state)
{
	(void)state;
	struct vf vf;
	json_t *json;

	vf_start(&vf, 0, (const char *const[]){"--fault", "arc=*->*:die", NULL});
	/* One request for a state would trigger the fault. */
	assert_int_equal(run_verb(&vf, "", &json), 0);
	json_t *device = json_array_get(json_object_get(json, "devices"), 0);

	assert_string_equal(json_string_value(json_object_get(json, "format")), "switchover-probe");
	assert_true(json_is_true(json_object_get(json_object_get(device, "offers"), "pre_copy")));
	assert_null(json_object_get(device, "results"));
	json_decref(json);
	assert_int_equal(run_verb(&vf, "", &json), 0);
	json_decref(json);
	vf_stop(&vf);
}

static double figure_of(const json_t *json, const char *key)
{
	const json_t *device = json_array_get(json_object_get(json, "devices"), 0);

	return json_number_value(json_object_get(json_object_get(device, "figures"), key));
}

static void fixed_cost_of_a_load_is_separated_from_its_rate(void **state)
{
	(void)state;
	for (int fixed = 0; fixed < 2; fixed++) {
		struct vf vf;
		json_t *json;

		/* 42 ms at the rate, and 300. */
		vf_start(&vf, 0,
			(const char *const[]){"--state-size", "4M", "--load-rate", "100",
				"--load-fixed-ms", fixed ? "300" : "0", NULL});
		run_verb(&vf, "--exercise --yes --runs 3", &json);
		assert_non_null(json);
		if (fixed)
			assert_true(figure_of(json, "load_fixed_ms") > 200);
		else
			assert_true(figure_of(json, "load_fixed_ms") < 200);
		json_decref(json);
		vf_stop(&vf);
	}
}

static void the_verb_reports_by_its_exit_status(void **state)
{
	(void)state;
	struct vf vf;
	json_t *json;

	vf_start(&vf, 0, NULL);
	assert_int_equal(run_verb(&vf, "--exercise --yes --runs 1", &json), 0);
	assert_int_equal(json_integer_value(json_object_get(json, "fails")), 0);
	json_decref(json);
	assert_int_equal(run_verb(&vf, "--runs 0", &json), 2);
	/* A script, too, has to confirm. */
	assert_int_equal(run_verb(&vf, "--exercise", &json), 2);
	assert_null(json);
	assert_int_equal(run_verb(&vf, "/dev/vfio/devices/vfio4000", &json), 4);
	json_decref(json);
	vf_stop(&vf);
	assert_int_equal(run_verb(&vf, "--exercise --yes", &json), 4);
	json_decref(json);
	vf_start(&vf, 0, (const char *const[]){"--fault", "load:refuse", NULL});
	assert_int_equal(run_verb(&vf, "--exercise --yes --runs 1", &json), 1);
	assert_true(json_integer_value(json_object_get(json, "fails")) > 0);
	json_decref(json);
	vf_stop(&vf);
}

/* A fault, a skip, and a text with every character that XML reserves: the device's path. */
static void test_runners_read_what_was_found(void **state)
{
	(void)state;
	static const char script[] =
		"import sys, xml.etree.ElementTree as tree\n"
		"tap = open(sys.argv[1]).read().splitlines()\n"
		"points = [l for l in tap if l.startswith(('ok ', 'not ok '))]\n"
		"assert tap[0] == 'TAP version 13' and tap[1] == f'1..{len(points)}', tap[:2]\n"
		"bad = [l for l in points if l.startswith('not')]\n"
		"skips = [l for l in points if ' # SKIP ' in l]\n"
		"assert len(bad) == 1 and 'arc.STOP->RESUMING' in bad[0], bad\n"
		"assert any('data.foreign' in l for l in skips), skips\n"
		"assert any(l.startswith('  rule: \\\"linux/vfio.h') for l in tap)\n"
		"suite = tree.parse(sys.argv[2]).getroot().find('testsuite')\n"
		"cases = suite.findall('testcase')\n"
		"assert len(cases) == len(points) == int(suite.get('tests'))\n"
		"fails = suite.findall('testcase/failure')\n"
		"assert len(fails) == 1 == int(suite.get('failures'))\n"
		"assert 'Input/output error' in fails[0].get('message')\n"
		"assert len(suite.findall('testcase/skipped')) == len(skips)\n";
	char command[3000];
	struct vf vf;

	vf_start(&vf, 0, (const char *const[]){"--fault", "arc=STOP->RESUMING:fail=EIO", NULL});
	snprintf(command, sizeof(command),
		"'%s' probe --exercise --yes --runs 1 --tap='%s/tap' --junit='%s/junit' '%s' "
		">/dev/null 2>&1; [ $? -eq 1 ] && python3 -c \"%s\" '%s/tap' '%s/junit'",
		switchover_path, dir, dir, vf.socket, script, dir, dir);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "'%s' probe --tap '%s' 2>/dev/null", switchover_path,
		vf.socket);
	assert_int_equal(WEXITSTATUS(system(command)), 2);
	snprintf(command, sizeof(command),
		"'%s' probe --exercise --yes --tap --json '%s' 2>/dev/null", switchover_path,
		vf.socket);
	assert_int_equal(WEXITSTATUS(system(command)), 2);
	vf_stop(&vf);
}

static enum swo_device_state state_of(struct vf *vf)
{
	enum swo_device_state state;
	void *self;

	MUST(swo_vfio_user_connect(vf->name, vf->socket, NULL, &self, &err));
	MUST(swo_vfio_user_ops.get_state(self, &state, &err));
	swo_vfio_user_ops.destroy(self);
	return state;
}

/* Starts a run with long arcs, and interrupts it during one of them. */
static void ctrl_c_resets_the_device_and_is_reported(void **state)
{
	(void)state;
	char command[700];
	struct vf vf;

	vf_start(&vf, 0,
		(const char *const[]){"--to-p2p-ms", "300", "--to-stop-copy-ms", "300", NULL});
	snprintf(command, sizeof(command),
		"'%s' probe --exercise --yes --json='%s/json' '%s' >/dev/null 2>'%s/err' & pid=$!; sleep 1; "
		"kill -INT $pid; wait $pid",
		switchover_path, dir, vf.socket, dir);
	int status = system(command);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(state_of(&vf), SWO_DEVICE_RUNNING);
	snprintf(command, sizeof(command), "%s/json", dir);
	json_t *json = json_load_file(command, 0, NULL);

	assert_true(json_is_true(json_object_get(json, "interrupted")));
	assert_int_equal(json_integer_value(json_object_get(json, "fails")), 0);
	json_decref(json);
	snprintf(command, sizeof(command), "grep -q 'interrupted; every device' '%s/err'", dir);
	assert_int_equal(system(command), 0);
	vf_stop(&vf);
}

static void a_device_in_use_is_left_alone_and_reported(void **state)
{
	(void)state;
	struct vf vf;
	json_t *json;
	void *user;

	vf_start(&vf, 0, NULL);
	MUST(swo_vfio_user_connect("vm", vf.socket, NULL, &user, &err));
	MUST(swo_vfio_user_ops.set_state(user, SWO_DEVICE_PRE_COPY, &err));
	assert_int_equal(run_verb(&vf, "--exercise --yes --deadline 200", &json), 4);
	json_t *device = json_array_get(json_object_get(json, "devices"), 0);
	const char *why = json_string_value(json_object_get(device, "error"));

	assert_non_null(why);
	assert_non_null(strstr(why, "is the device in use"));
	json_decref(json);
	enum swo_device_state still;

	MUST(swo_vfio_user_ops.get_state(user, &still, &err));
	assert_int_equal(still, SWO_DEVICE_PRE_COPY);
	swo_vfio_user_ops.destroy(user);
	vf_stop(&vf);
}

/* Arcs of the profile `even`: 25, 40, 20, 25, 15 ms. */
static void what_it_measured_is_what_plan_reads(void **state)
{
	(void)state;
	char command[700], text[16384] = "";
	struct vf vf;
	json_t *json;

	vf_start(&vf, 0, (const char *const[]){"--profile", "even", NULL});
	assert_int_equal(run_verb(&vf, "--exercise --yes --runs 1", &json), 0);
	vf_stop(&vf);
	const json_t *device = json_array_get(json_object_get(json, "devices"), 0);
	const json_t *figures = json_object_get(device, "figures");

	assert_true(json_number_value(json_object_get(figures, "to_stop_copy_ms")) >= 40);
	assert_true(json_number_value(json_object_get(figures, "to_running_ms")) >= 15);
	json_int_t all = json_integer_value(json_object_get(figures, "state_bytes"));
	json_int_t ahead = json_integer_value(json_object_get(figures, "precopy_bytes"));

	assert_true(all >= 65536);
	assert_true(ahead > 0 && ahead < all);
	snprintf(command, sizeof(command), "%s/probe.json", dir);
	assert_int_equal(json_dump_file(json, command, 0), 0);
	json_decref(json);
	snprintf(command, sizeof(command), "%s plan --probe %s/probe.json --vfs 1,4 --json",
		switchover_path, dir);
	FILE *out = popen(command, "r");

	assert_non_null(out);
	assert_true(fread(text, 1, sizeof(text) - 1, out) > 0);
	assert_int_equal(pclose(out), 0);
	assert_non_null(strstr(text, "\"vfs\":4"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(a_good_device_has_no_findings),
		CASE(a_device_without_p2p_or_pre_copy_gets_no_such_requests),
		CASE(a_device_that_goes_away_in_an_arc_is_named),
		CASE(a_device_that_refuses_with_another_errno_is_named_wherever_it_does),
		VERDICTS_CASES(setup, teardown, (void *)&face),
		CASE(siblings_that_take_turns_are_distinguished_from_others),
		CASE(siblings_that_share_saving_and_loading_are_reported),
		CASE(the_verb_describes_and_changes_nothing_without_exercise),
		CASE(fixed_cost_of_a_load_is_separated_from_its_rate),
		CASE(the_verb_reports_by_its_exit_status),
		CASE(test_runners_read_what_was_found),
		CASE(ctrl_c_resets_the_device_and_is_reported),
		CASE(a_device_in_use_is_left_alone_and_reported),
		CASE(what_it_measured_is_what_plan_reads),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: %s SWITCHOVER-SIMVF SWITCHOVER\n", argv[0]);
		return 1;
	}
	simvf_path = argv[1];
	switchover_path = argv[2];
	return cmocka_run_group_tests_name("probe_simvf", tests, NULL, NULL);
}
