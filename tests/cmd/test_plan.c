/* SPDX-License-Identifier: BSD-3-Clause */
/* The verb's inputs, what it advises, and what it prints. */
#include "cmd/plan/plan.h"
#include "tests/support/cm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

static char path[] = "/tmp/switchover-plan-XXXXXX";

static void write_probe(const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static struct plan_request request_now(void)
{
	struct plan_request request = {.profile = "test"};

	swo_plan_setup_init(&request.setup);
	return request;
}

static void assert_refused(const char *text, const char *word)
{
	static struct device_kinds input;
	struct swo_error err = {0};

	write_probe(text);
	assert_int_equal(device_costs_read_probe(path, &input, NULL, &err), -1);
	if (!strstr(err.text, word))
		fail_msg("error '%s' without '%s'", err.text, word);
}

static struct plan_answer answer_of(
	const struct device_kinds *input, const struct plan_request *request, unsigned vfs)
{
	struct swo_plan_device *devices = calloc(vfs, sizeof(*devices));
	struct swo_plan_setup setup = request->setup;
	struct plan_answer answer;
	struct swo_error err = {0};

	plan_make_devices(input, request, devices, vfs);
	setup.devices = devices;
	setup.count = vfs;
	if (plan_answer(&setup, &answer, NULL, &err))
		fail_msg("%s", err.text);
	free(devices);
	return answer;
}

static const struct plan_change *change_of(const struct plan_answer *answer, const char *word)
{
	for (unsigned i = 0; i < answer->change_count; i++)
		if (strstr(answer->changes[i].what, word))
			return &answer->changes[i];
	return NULL;
}

static void profiles_are_read_by_name_in_turn_and_mixed_is_four(void **state)
{
	(void)state;
	static struct device_kinds input;
	struct swo_error err = {0};

	assert_int_equal(device_costs_read_profiles("even,cx7", &input, &err), 0);
	assert_int_equal(input.count, 2);
	assert_int_equal(input.kinds[0].costs.p2p_to_stop_ns, 40 * MS);
	assert_int_equal(input.kinds[0].costs.precopy_bytes, 32768);
	assert_int_equal(input.kinds[1].costs.save_rate, 400 * MS);
	assert_int_equal(input.kinds[1].costs.pf, 0);
	assert_true(input.guesses);
	assert_int_equal(device_costs_read_profiles("mixed", &input, &err), 0);
	assert_int_equal(input.count, 4);
	assert_int_equal(device_costs_read_profiles("nonesuch", &input, &err), -1);
	assert_non_null(strstr(err.text, "nonesuch"));
	assert_int_equal(device_costs_read_profiles(",", &input, &err), -1);
}

static void a_probe_gives_devices_and_link_but_the_command_line_wins(void **state)
{
	(void)state;
	struct plan_request request = request_now();
	static struct device_kinds input;
	struct swo_error err = {0};

	struct probe_link link;

	request.setup.rtt_ns = 7;
	request.given.rtt = true;
	write_probe("{\"wire_rate\":1200,\"rtt_ms\":0.25,\"ram_dirty_mb\":20,\"channels\":4,"
		    "\"devices\":[{\"name\":\"net0\",\"to_p2p_ms\":31.5,\"state_bytes\":\"1M\","
		    "\"precopy_percent\":50,\"pf\":3,\"depth\":1},{\"save_rate\":12.5}]}");
	if (device_costs_read_probe(path, &input, &link, &err))
		fail_msg("%s", err.text);
	plan_take_link(&request, &link);
	assert_int_equal(link.rtt_ns, 250000);
	assert_int_equal(link.channel_rate, SWO_UNKNOWN);
	assert_int_equal(input.count, 2);
	assert_string_equal(input.kinds[0].name, "net0");
	assert_int_equal(input.kinds[0].costs.running_to_p2p_ns, 31500000);
	assert_int_equal(input.kinds[0].costs.precopy_bytes, 524288);
	assert_int_equal(input.kinds[0].costs.pf, 3);
	assert_int_equal(input.kinds[0].depth, 1);
	assert_int_equal(input.kinds[1].costs.save_rate, 12500000);
	assert_int_equal(input.kinds[1].costs.pf, -1);
	assert_int_equal(input.kinds[1].costs.running_to_p2p_ns, SWO_UNKNOWN);
	assert_int_equal(input.kinds[1].costs.load_rate, SWO_UNKNOWN);
	assert_int_equal(request.setup.wire_rate, 1200000000);
	assert_int_equal(request.setup.rtt_ns, 7);
	assert_int_equal(request.setup.channels, 4);
	struct swo_plan_device devices[3];

	request.pfs = 2;
	plan_make_devices(&input, &request, devices, 3);
	assert_string_equal(devices[0].name, "net0");
	assert_string_equal(devices[1].name, "vf1");
	assert_string_equal(devices[2].name, "vf2");
	assert_int_equal(devices[2].costs.running_to_p2p_ns, 31500000);
	assert_int_equal(devices[1].costs.pf, 1);
}

static void a_device_that_was_written_to_a_probe_is_read_as_it_was(void **state)
{
	(void)state;
	static struct device_kinds profiles, back;
	struct swo_error err = {0};

	assert_int_equal(device_costs_read_profiles("cx7,even", &profiles, &err), 0);
	strcpy(profiles.kinds[0].name, "a");
	profiles.kinds[0].depth = 2;
	profiles.kinds[1].costs.p2p_to_stop_ns = SWO_UNKNOWN;
	json_t *probe = json_pack("{s:[o, o]}", "devices", device_costs_json(&profiles.kinds[0]),
		device_costs_json(&profiles.kinds[1]));
	char *text = json_dumps(probe, JSON_REAL_PRECISION(12));

	write_probe(text);
	if (device_costs_read_probe(path, &back, NULL, &err))
		fail_msg("%s", err.text);
	assert_int_equal(back.count, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_string_equal(back.kinds[i].name, profiles.kinds[i].name);
		assert_memory_equal(&back.kinds[i].costs, &profiles.kinds[i].costs,
			offsetof(struct swo_device_costs, pf));
		assert_int_equal(back.kinds[i].costs.pf, profiles.kinds[i].costs.pf);
		assert_int_equal(back.kinds[i].depth, profiles.kinds[i].depth);
	}
	free(text);
	json_decref(probe);
}

static void a_probe_that_is_wrong_is_refused_by_the_figure(void **state)
{
	(void)state;
	assert_refused("", "line");
	assert_refused("{}", "devices");
	assert_refused("{\"devices\":[7]}", "devices[0]");
	assert_refused("{\"devices\":[{},{\"to_p2p\":1}]}", "devices[1]: to_p2p");
	assert_refused("{\"devices\":[{\"to_p2p_ms\":-1}]}", "to_p2p_ms");
	assert_refused("{\"devices\":[{\"to_p2p_ms\":{}}]}", "to_p2p_ms");
	assert_refused("{\"devices\":[{\"pf\":-2}]}", "pf");
	assert_refused("{\"devices\":[{\"state_bytes\":1,\"precopy_bytes\":5000}]}", "precopy");
	assert_refused("{\"devices\":[{}],\"wire\":1}", "'wire'");
	assert_refused("{\"devices\":[{}],\"wire_rate\":-1}", "wire_rate");
	assert_refused("{\"devices\":[{}],\"rtt_ms\":\"x\"}", "rtt_ms");
}

static void cx7_on_one_pf_is_advised_to_take_two(void **state)
{
	(void)state;
	struct plan_request request = request_now();
	static struct device_kinds input;
	struct swo_error err = {0};

	assert_int_equal(device_costs_read_profiles("cx7", &input, &err), 0);
	struct plan_answer answer = answer_of(&input, &request, 16);

	assert_string_equal(answer.changes[0].what, "put the VFs on 2 PFs");
	double gain = (double)(answer.result.blackout_ns - answer.changes[0].blackout_ns) / 1e6;

	assert_true(fabs(gain - 8 * 20 * 1.048576 / 0.4) < 2);
	assert_string_equal(answer.bound.limited_by, "save of PF 0");
	assert_true(answer.serial_ns > answer.parallel_ns);
	assert_int_equal(answer.pipelined_ns, answer.result.blackout_ns);
	/* Of a kind, no device is to blame. */
	assert_null(change_of(&answer, "unplug"));
	plan_answer_free(&answer);
}

static void each_setting_that_costs_something_is_advised_against(void **state)
{
	(void)state;
	struct plan_request request = request_now();
	static struct device_kinds input;
	struct swo_error err = {0};

	assert_int_equal(device_costs_read_profiles("even", &input, &err), 0);
	request.setup.transitions = SWO_TRANSITIONS_SERIAL;
	struct plan_answer answer = answer_of(&input, &request, 4);

	assert_non_null(strstr(answer.changes[0].what, "transitions=parallel"));
	assert_int_equal(answer.changes[0].blackout_ns, 125 * MS);
	plan_answer_free(&answer);

	request = request_now();
	request.setup.wire_rate = 1000 * MS;
	request.setup.ram_bytes = 1000 * MS;
	answer = answer_of(&input, &request, 4);
	assert_non_null(strstr(answer.changes[0].what, "no memory"));
	/* A wire of twice the rate saves half of it. */
	const struct plan_change *wire = change_of(&answer, "wire");

	assert_non_null(wire);
	assert_true(llabs((long long)(answer.result.blackout_ns - wire->blackout_ns) -
			    (long long)(500 * MS)) < (long long)(2 * MS));
	assert_string_equal(answer.bound.limited_by, "memory on the wire");
	assert_true(answer.bound.total_ns <= answer.result.blackout_ns);
	plan_answer_free(&answer);
}

static void the_device_that_costs_most_is_named(void **state)
{
	(void)state;
	struct plan_request request = request_now();
	static struct device_kinds input;
	struct swo_error err = {0};

	assert_int_equal(device_costs_read_profiles("mixed", &input, &err), 0);
	struct plan_answer answer = answer_of(&input, &request, 4);

	/* The one with 64 MiB of state. */
	assert_non_null(change_of(&answer, "unplug vf2"));
	plan_answer_free(&answer);
}

static void a_host_that_no_change_improves_is_reported(void **state)
{
	(void)state;
	struct plan_request request = request_now();
	static struct device_kinds input;
	struct swo_error err = {0};
	char *text = NULL;
	size_t len;

	write_probe("{\"devices\":[{}]}");
	assert_int_equal(device_costs_read_probe(path, &input, NULL, &err), 0);
	struct plan_answer answer = answer_of(&input, &request, 1);
	FILE *out = open_memstream(&text, &len);

	assert_int_equal(answer.change_count, 0);
	plan_print(out, &request, &input, &answer, 1);
	fclose(out);
	assert_non_null(strstr(text, "No single change"));
	free(text);
	plan_answer_free(&answer);
}

static void the_json_has_the_path_and_the_path_adds_up(void **state)
{
	(void)state;
	struct plan_request request = request_now();
	static struct device_kinds input;
	struct swo_error err = {0};
	double sum = 0;
	size_t i;
	json_t *step;

	assert_int_equal(device_costs_read_profiles("mixed", &input, &err), 0);
	struct plan_answer answer = answer_of(&input, &request, 8);
	json_t *json = plan_json(&request, &answer);

	assert_non_null(json);
	json_array_foreach (json_object_get(json, "critical_path"), i, step)
		sum += json_number_value(json_object_get(step, "ms"));
	assert_true(fabs(sum - json_number_value(json_object_get(json, "blackout_ms"))) < 1e-3);
	assert_int_equal(json_integer_value(json_object_get(json, "vfs")), 8);
	assert_true(json_number_value(json_object_get(json, "lower_bound_ms")) <= sum);
	assert_true(json_array_size(json_object_get(json, "changes")) > 0);
	json_decref(json);
	plan_answer_free(&answer);
}

static int begin(void **state)
{
	(void)state;
	int fd = mkstemp(path);

	return fd < 0 ? -1 : close(fd);
}

static int end(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(profiles_are_read_by_name_in_turn_and_mixed_is_four),
		cmocka_unit_test(a_probe_gives_devices_and_link_but_the_command_line_wins),
		cmocka_unit_test(a_device_that_was_written_to_a_probe_is_read_as_it_was),
		cmocka_unit_test(a_probe_that_is_wrong_is_refused_by_the_figure),
		cmocka_unit_test(cx7_on_one_pf_is_advised_to_take_two),
		cmocka_unit_test(each_setting_that_costs_something_is_advised_against),
		cmocka_unit_test(the_device_that_costs_most_is_named),
		cmocka_unit_test(a_host_that_no_change_improves_is_reported),
		cmocka_unit_test(the_json_has_the_path_and_the_path_adds_up),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
