/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The library as it is used: `switchover exec` preloads it into a program that calls libc, with
 * a simulated kernel behind.
 */
#include "command.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <glob.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Removes the library's own messages, so that what the VMM printed is left. */
static void remove_messages(void)
{
	char *at = command_output;

	while ((at = strstr(at, "switchover-preload["))) {
		char *end = strchr(at, '\n');

		assert_non_null(end);
		memmove(at, end + 1, strlen(end + 1) + 1);
	}
}

static void a_vmm_sees_the_same_results_as_without(void **state)
{
	(void)state;
	static char without[COMMAND_OUTPUT_MAX];

	assert_int_equal(command_run("%s 4", FAKE_VMM), 0);
	strcpy(without, command_output);
	command_says("0 late, 0 sessions, P2P broken");
	assert_int_equal(command_run(EXEC "--vmm qemu -- %s 4", FAKE_VMM), 0);
	command_says("]: loaded, pattern qemu\n");
	command_says("]: pattern qemu, 4 VFIO devices, 4 with P2P states\n");
	remove_messages();
	assert_string_equal(command_output, without);
}

static void its_devices_change_state_at_once(void **state)
{
	(void)state;
	assert_int_equal(command_run(EXEC "--vmm qemu -- %s 4 4", FAKE_VMM), 0);
	command_says("0 late, 0 sessions");
}

/* One thread a device and pass, as a VMM with parallel transitions of its own. */
static void a_vmm_that_asks_from_threads_sees_the_same_results(void **state)
{
	(void)state;
	static char without[COMMAND_OUTPUT_MAX];

	assert_int_equal(command_run("%s 8 8 threads", FAKE_VMM), 0);
	strcpy(without, command_output);
	command_says("0 late, 0 sessions");
	for (int round = 0; round < 10; round++) {
		assert_int_equal(command_run(EXEC "--vmm qemu -- %s 8 8 threads", FAKE_VMM), 0);
		command_does_not_say("speculation is disabled");
		remove_messages();
		assert_string_equal(command_output, without);
	}
}

/* A serial VMM is late at the barrier: without this, the case above could not fail. */
static void without_the_library_they_do_not(void **state)
{
	(void)state;
	assert_int_equal(command_run("FAKE_VFIO_PATIENCE_MS=50 %s 2 2", FAKE_VMM), 0);
	command_says("4 late");
	assert_int_equal(command_run("SWITCHOVER_PRELOAD=off FAKE_VFIO_PATIENCE_MS=50 " EXEC
				     "--vmm qemu -- %s 2 2",
				 FAKE_VMM),
		0);
	command_says("4 late");
}

struct records {
	unsigned arcs, ahead, unasked, streams, opened, closed;
};

static struct records read_records(const char *name)
{
	struct records records = {0};
	char path[256], line[1024];

	snprintf(path, sizeof(path), "%s/%s", command_dir, name);
	FILE *file = fopen(path, "r");

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		json_t *record = json_loads(line, 0, NULL);
		const char *kind = json_string_value(json_object_get(record, "kind"));

		assert_non_null(kind);
		if (!strcmp(kind, "arc")) {
			records.arcs++;
			records.ahead += json_is_true(json_object_get(record, "ahead"));
			records.unasked += !json_integer_value(json_object_get(record, "asked_ns"));
		} else if (!strcmp(kind, "stream")) {
			records.streams++;
		} else if (!strcmp(kind, "clock")) {
			assert_int_equal(records.opened, 0);
			assert_true(json_integer_value(json_object_get(record, "realtime_ns")) > 0);
		} else {
			const char *what = json_string_value(json_object_get(record, "name"));

			assert_string_equal(kind, "mark");
			records.opened += !strcmp(what, "opened");
			records.closed += !strcmp(what, "closed");
		}
		json_decref(record);
	}
	fclose(file);
	return records;
}

static void every_arc_is_recorded(void **state)
{
	(void)state;
	assert_int_equal(
		command_run(EXEC "--vmm qemu --record %s/acts -- %s 3", command_dir, FAKE_VMM), 0);
	const struct records acts = read_records("acts");

	assert_int_equal(acts.opened, 3);
	assert_int_equal(acts.arcs, 3 * 7);
	assert_int_equal(acts.ahead, 2 * 4);
	assert_int_equal(acts.unasked, 0);
	assert_int_equal(acts.streams, 6);
}

static void observing_records_and_starts_no_arc(void **state)
{
	(void)state;
	assert_int_equal(command_run("FAKE_VFIO_PATIENCE_MS=50 " EXEC
				     "--vmm qemu --observe %s/looks -- %s 3 2",
				 command_dir, FAKE_VMM),
		0);
	command_says("6 late");
	const struct records looks = read_records("looks");

	assert_int_equal(looks.arcs, 3 * 7);
	assert_int_equal(looks.ahead, 0);
	assert_int_equal(looks.streams, 6);
}

/* The records of the processes of one run, which differ in "%p"; none is left. */
static unsigned take_records(const char *pattern, struct records *sum)
{
	char path[256];
	glob_t found;

	*sum = (struct records){0};
	snprintf(path, sizeof(path), "%s/%s", command_dir, pattern);
	assert_int_equal(glob(path, 0, NULL, &found), 0);
	const unsigned count = (unsigned)found.gl_pathc;

	for (unsigned i = 0; i < count; i++) {
		const struct records one = read_records(strrchr(found.gl_pathv[i], '/') + 1);

		sum->arcs += one.arcs;
		sum->ahead += one.ahead;
		sum->opened += one.opened;
		assert_int_equal(unlink(found.gl_pathv[i]), 0);
	}
	globfree(&found);
	return count;
}

static void a_vmm_that_daemonizes_before_it_opens_devices_gets_parallel_arcs(void **state)
{
	(void)state;
	static char without[COMMAND_OUTPUT_MAX];
	struct records records;

	assert_int_equal(command_run("%s 4 0 daemonize", FAKE_VMM), 0);
	strcpy(without, command_output);
	assert_int_equal(command_run(EXEC "--vmm qemu --record %s/d-%%p -- %s 4 4 daemonize",
				 command_dir, FAKE_VMM),
		0);
	command_says("]: pattern qemu, 4 VFIO devices, 4 with P2P states\n");
	remove_messages();
	assert_string_equal(command_output, without);
	/* That of the process that was started, which had no device, and that of the daemon. */
	assert_int_equal(take_records("d-*", &records), 2);
	assert_int_equal(records.opened, 4);
	assert_int_equal(records.arcs, 4 * 7);
	assert_int_equal(records.ahead, 3 * 4);
	/* The daemon's log is open before it could change its root. */
	assert_int_equal(command_run(EXEC "--vmm qemu --log %s/l-%%p -- %s 2 2 'daemonize, chroot'",
				 command_dir, FAKE_VMM),
		0);
	assert_int_equal(command_run("cat %s/l-*; rm %s/l-*", command_dir, command_dir), 0);
	command_says("]: loaded, pattern qemu\n");
	command_says("]: pattern qemu, 2 VFIO devices, 2 with P2P states\n");
	/* Without "%p" they share one. */
	assert_int_equal(
		command_run(EXEC "--vmm qemu --record %s/d --log %s/d.log -- %s 4 4 daemonize",
			command_dir, command_dir, FAKE_VMM),
		0);
	assert_string_equal(command_output, without);
	assert_int_equal(command_run("cat %s/d.log; rm %s/d.log", command_dir, command_dir), 0);
	command_says("]: loaded, pattern qemu\n");
	command_says("]: pattern qemu, 4 VFIO devices, 4 with P2P states\n");
	assert_int_equal(take_records("d", &records), 1);
	assert_int_equal(records.ahead, 3 * 4);
}

/* Its parent might change them too. */
static void a_vmm_that_forks_with_open_devices_changes_them_on_its_own(void **state)
{
	(void)state;
	static char without[COMMAND_OUTPUT_MAX];

	assert_int_equal(
		command_run("FAKE_VFIO_PATIENCE_MS=50 %s 2 2 'fork with devices'", FAKE_VMM), 0);
	strcpy(without, command_output);
	command_says("4 late, 0 sessions");
	assert_int_equal(command_run("FAKE_VFIO_PATIENCE_MS=50 " EXEC
				     "--vmm qemu -- %s 2 2 'fork with devices'",
				 FAKE_VMM),
		0);
	command_says(
		"]: pattern qemu, 2 VFIO devices, 2 with P2P states: opened before a fork, each "
		"changes state on its own\n");
	remove_messages();
	assert_string_equal(command_output, without);
}

static void a_vmm_that_closes_what_it_does_not_know_keeps_record_and_log(void **state)
{
	(void)state;
	static const char *const ways[] = {"from", "by range", "one by one"};

	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		struct records records;

		assert_int_equal(
			command_run(EXEC "--vmm qemu --record %s/kept --log %s/kept.log -- %s 2 2 "
					 "'daemonize, close %s'",
				command_dir, command_dir, FAKE_VMM, ways[i]),
			0);
		command_says("0 late, 0 sessions");
		command_says("0 bytes of others");
		assert_int_equal(take_records("kept", &records), 1);
		assert_int_equal(records.ahead, 4);
		assert_int_equal(
			command_run("cat %s/kept.log; rm %s/kept.log", command_dir, command_dir),
			0);
		command_says("]: pattern qemu, 2 VFIO devices");
	}
}

static void a_vf_token_is_in_no_record_and_no_message(void **state)
{
	(void)state;
	assert_int_equal(command_run("SWITCHOVER_PRELOAD=on " EXEC
				     "--vmm qemu --verbose --record %s/token -- %s 2 "
				     "2 token",
				 command_dir, FAKE_VMM),
		0);
	command_says("0 late, 0 sessions");
	command_says("of 0000:3b:00.0: started on 1 more");
	command_does_not_say("token");
	command_does_not_say("2b4c8a3e");
	assert_int_equal(command_run("cat %s/token", command_dir), 0);
	command_says("\"0000:3b:00.1\"");
	command_does_not_say("token");
	command_does_not_say("2b4c8a3e");
}

static void a_vmm_without_devices_leaves_a_record_that_can_be_read(void **state)
{
	(void)state;
	assert_int_equal(command_run(EXEC "--vmm qemu --record %s/empty -- true", command_dir), 0);
	command_says("]: loaded, pattern qemu\n");
	const struct records records = read_records("empty");

	assert_int_equal(records.arcs + records.opened, 0);
	assert_int_equal(command_run(SWITCHOVER " observe %s/empty", command_dir), 1);
	command_says("no switchover in the records: no device was stopped, and none was started");
	assert_int_equal(command_run(SWITCHOVER " observe --all %s/empty", command_dir), 0);
	command_says("There is no switchover in the records.\n\nnothing was recorded\n");
}

static void a_program_without_a_pattern_and_devices_leaves_no_record(void **state)
{
	(void)state;
	char path[256];

	assert_int_equal(
		command_run(EXEC "--record %s/none -- sh -c 'true | cat; exit 7'", command_dir), 7);
	assert_string_equal(command_output, "");
	snprintf(path, sizeof(path), "%s/none", command_dir);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_record_that_cannot_be_written_is_reported_and_left_out(void **state)
{
	(void)state;
	assert_int_equal(
		command_run(EXEC "--vmm qemu --record /nonexistent/x -- %s 2", FAKE_VMM), 0);
	command_says("cannot open record file '/nonexistent/x': No such file");
	command_says("0 late, 0 sessions");
}

static void a_fifo_as_log_or_record_does_not_hang_the_vmm(void **state)
{
	(void)state;
	char path[64];

	snprintf(path, sizeof(path), "%s/fifo", command_dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(
		command_run("timeout 20 " EXEC "--vmm qemu --log %s -- %s 2", path, FAKE_VMM), 0);
	command_says("cannot open log file");
	command_says("0 late, 0 sessions");
	/* With a reader it opens, and is refused all the same. */
	assert_int_equal(
		command_run("exec 9<>%s; timeout 20 " EXEC "--vmm qemu --record %s -- %s 2", path,
			path, FAKE_VMM),
		0);
	command_says("is not a regular file of this user");
	command_says("0 late, 0 sessions");
	assert_int_equal(unlink(path), 0);
}

static void an_invalid_setting_is_reported_and_disables_the_library(void **state)
{
	(void)state;
	assert_int_equal(
		command_run("SWITCHOVER_VMM=qmeu LD_PRELOAD=%s %s 2", PRELOAD_LIB, FAKE_VMM), 0);
	command_says("SWITCHOVER_VMM: invalid value");
	command_says("0 sessions");
}

static void a_full_pipe_as_stderr_does_not_hang_the_vmm(void **state)
{
	(void)state;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
	while (write(ends[1], "................", 16) > 0)
		;
	assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
	/* It reports at its start that it has no log; then it has no reader at all. */
	for (int reader = 1; reader >= 0; reader--) {
		assert_int_equal(
			command_run("((timeout 20 " EXEC "--vmm qemu --log %s/none/log -- %s 2 "
				    ">/dev/null) 2>&%d)",
				command_dir, FAKE_VMM, ends[1]),
			0);
		if (reader)
			close(ends[0]);
	}
	close(ends[1]);
	assert_int_equal(
		command_run(EXEC "--vmm qemu --log %s/none/log -- %s 2", command_dir, FAKE_VMM), 0);
	command_says("cannot open log file");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vmm_sees_the_same_results_as_without),
		cmocka_unit_test(its_devices_change_state_at_once),
		cmocka_unit_test(a_vmm_that_asks_from_threads_sees_the_same_results),
		cmocka_unit_test(without_the_library_they_do_not),
		cmocka_unit_test(every_arc_is_recorded),
		cmocka_unit_test(observing_records_and_starts_no_arc),
		cmocka_unit_test(a_vmm_that_daemonizes_before_it_opens_devices_gets_parallel_arcs),
		cmocka_unit_test(a_vmm_that_forks_with_open_devices_changes_them_on_its_own),
		cmocka_unit_test(a_vmm_that_closes_what_it_does_not_know_keeps_record_and_log),
		cmocka_unit_test(a_vf_token_is_in_no_record_and_no_message),
		cmocka_unit_test(a_vmm_without_devices_leaves_a_record_that_can_be_read),
		cmocka_unit_test(a_program_without_a_pattern_and_devices_leaves_no_record),
		cmocka_unit_test(a_record_that_cannot_be_written_is_reported_and_left_out),
		cmocka_unit_test(a_full_pipe_as_stderr_does_not_hang_the_vmm),
		cmocka_unit_test(a_fifo_as_log_or_record_does_not_hang_the_vmm),
		cmocka_unit_test(an_invalid_setting_is_reported_and_disables_the_library),
	};

	return cmocka_run_group_tests(tests, command_make_dir, command_remove_dir);
}
