/* SPDX-License-Identifier: BSD-3-Clause */
/* lib/base: errors, deadlines, workers, the bounded buffer. */
#include "base/fd.h"
#include "switchover/base.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void error_text_carries_the_errno(void **state)
{
	(void)state;
	struct swo_error err = {0};

	assert_int_equal(swo_error_set(&err, SWO_E_IO, ENOENT, "open '%s'", "/x"), -1);
	assert_int_equal(err.code, SWO_E_IO);
	assert_int_equal(err.os_errno, ENOENT);
	assert_string_equal(err.text, "open '/x': No such file or directory");
	assert_int_equal(swo_error_prefix(&err, "device %s", "vf0"), -1);
	assert_string_equal(err.text, "device vf0: open '/x': No such file or directory");
}

static void an_error_for_want_of_descriptors_names_the_limit(void **state)
{
	(void)state;
	struct rlimit limit;
	struct swo_error err;
	char expected[80];

	base_raise_open_files();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(limit.rlim_cur == limit.rlim_max);
	swo_error_set(&err, SWO_E_NO_MEMORY, EMFILE, "socket");
	snprintf(expected, sizeof(expected), "socket: no more than %llu open files",
		(unsigned long long)limit.rlim_cur);
	assert_non_null(strstr(err.text, expected));
	assert_non_null(strstr(err.text, "ulimit -Hn"));
}

static void error_may_be_ignored_and_may_quote_itself(void **state)
{
	(void)state;
	struct swo_error err = {0};
	char longish[1000];

	assert_int_equal(swo_error_set(NULL, SWO_E_IO, 0, "no listener"), -1);
	memset(longish, 'x', sizeof(longish) - 1);
	longish[sizeof(longish) - 1] = 0;
	swo_error_set(&err, SWO_E_IO, EIO, "%s", longish);
	assert_non_null(strstr(err.text, "Input/output error"));
	swo_error_set(&err, SWO_E_IO, 0, "inner");
	swo_error_set(&err, SWO_E_DEVICE, 0, "outer: %s", err.text);
	assert_string_equal(err.text, "outer: inner");
}

static void what_comes_from_outside_is_printed_as_one_harmless_line(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"plain", "plain"},
		{"a\nswitchover: info: completed", "a\\x0aswitchover: info: completed"},
		{"\x1b]0;title\x07", "\\x1b]0;title\\x07"},
		{"\x7f\r\t", "\\x7f\\x0d\\x09"},
		{"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80",
			"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"\xff\xfe", "\\xff\\xfe"},
		{"\xc0\xaf", "\\xc0\\xaf"},
		{"\xed\xa0\x80!", "\\xed\\xa0\\x80!"},
		{"\xf5\x80\x80\x80!", "\\xf5\\x80\\x80\\x80!"},
		{"\xc2\x9b"
		 "31m",
			"\\xc2\\x9b"
			"31m"},
		{"\xe2\x80\xae"
		 "txt",
			"\\xe2\\x80\\xae"
			"txt"},
		{"cut \xe2\x82", "cut "},
	};
	char out[64];
	struct swo_error err = {0};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(cases); i++) {
		swo_escape(cases[i].in, out, sizeof(out));
		assert_string_equal(out, cases[i].out);
		/* Idempotent. */
		char again[64];

		swo_escape(out, again, sizeof(again));
		assert_string_equal(again, out);
		swo_error_set(&err, SWO_E_PROTOCOL, 0, "%s", cases[i].in);
		assert_string_equal(err.text, cases[i].out);
	}
	/* It ends between characters, for any size of the buffer. */
	for (size_t room = 1; room < 10; room++) {
		memset(out, 'x', sizeof(out));
		swo_escape("\xe2\x82\xac\n\xc3\xbc", out, room);
		assert_true(strlen(out) < room);
		assert_true(strlen(out) == 0 || strlen(out) == 3 || strlen(out) == 7 ||
			    strlen(out) == 9);
	}
}

static void every_error_code_has_a_name(void **state)
{
	(void)state;
	for (int code = SWO_E_NONE; code <= SWO_E_CORRUPT; code++)
		assert_string_not_equal(swo_error_code_name((enum swo_error_code)code), "unknown");
	assert_string_equal(swo_error_code_name((enum swo_error_code)99), "unknown");
}

static void a_deadline_saturates_and_passes(void **state)
{
	(void)state;
	assert_true(swo_deadline_passed(0));
	assert_int_equal(swo_deadline_poll_ms(0), 0);
	swo_deadline far = swo_deadline_ms(UINT64_MAX);
	assert_false(swo_deadline_passed(far));
	assert_true(swo_deadline_poll_ms(far) > 1000000);
}

struct record {
	int *next;
	int seen;
};

static void note_order(void *opaque)
{
	struct record *record = opaque;
	record->seen = (*record->next)++;
}

static void block_until_set(void *opaque)
{
	while (!__atomic_load_n((bool *)opaque, __ATOMIC_ACQUIRE))
		swo_sleep_until(swo_now_ns() + 100000);
}

static void a_worker_runs_jobs_in_order_and_first_jobs_first(void **state)
{
	(void)state;
	struct swo_worker *worker;
	bool go = false;
	int next = 0;
	struct record r[3] = {{.next = &next}, {.next = &next}, {.next = &next}};
	struct swo_job gate = {.fn = block_until_set, .opaque = &go};
	struct swo_job job[3];

	assert_int_equal(swo_worker_create("test", &worker, NULL), 0);
	swo_worker_submit(worker, &gate);
	for (int i = 0; i < 3; i++) {
		job[i] = (struct swo_job){.fn = note_order, .opaque = &r[i]};
		if (i == 2)
			swo_worker_submit_first(worker, &job[i]);
		else
			swo_worker_submit(worker, &job[i]);
	}
	assert_false(swo_job_wait(&job[0], swo_deadline_ms(1)));
	__atomic_store_n(&go, true, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++)
		assert_true(swo_job_wait(&job[i], swo_deadline_ms(10000)));
	/* The gate's job may not have started when job 2 was queued before it. */
	assert_true(r[2].seen < r[0].seen);
	assert_true(r[0].seen < r[1].seen);
	assert_true(swo_worker_idle_wait(worker, swo_deadline_ms(10000)));
	assert_true(swo_worker_destroy(worker, swo_deadline_ms(10000)));
}

static void a_hanging_worker_is_left_behind(void **state)
{
	(void)state;
	/* Static: the thread outlives this function. */
	static bool go;
	static struct swo_job gate = {.fn = block_until_set, .opaque = &go};
	struct swo_worker *worker;

	assert_int_equal(swo_worker_create("hangs", &worker, NULL), 0);
	swo_worker_submit(worker, &gate);
	assert_false(swo_worker_destroy(worker, swo_deadline_ms(5)));
	__atomic_store_n(&go, true, __ATOMIC_RELEASE);
}

static void a_buffer_grows_to_its_ceiling_and_not_past_it(void **state)
{
	(void)state;
	struct swo_buf buf = SWO_BUF_INIT(1000);
	struct swo_error err = {0};
	char bytes[600] = {1};

	assert_int_equal(swo_buf_append(&buf, bytes, 600, &err), 0);
	assert_int_equal(swo_buf_append(&buf, bytes, 401, &err), -1);
	assert_int_equal(err.code, SWO_E_NO_MEMORY);
	assert_int_equal(buf.len, 600);
	assert_int_equal(swo_buf_append(&buf, bytes, 400, &err), 0);
	assert_int_equal(buf.len, 1000);
	swo_buf_free(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_text_carries_the_errno),
		cmocka_unit_test(an_error_for_want_of_descriptors_names_the_limit),
		cmocka_unit_test(error_may_be_ignored_and_may_quote_itself),
		cmocka_unit_test(what_comes_from_outside_is_printed_as_one_harmless_line),
		cmocka_unit_test(every_error_code_has_a_name),
		cmocka_unit_test(a_deadline_saturates_and_passes),
		cmocka_unit_test(a_worker_runs_jobs_in_order_and_first_jobs_first),
		cmocka_unit_test(a_hanging_worker_is_left_behind),
		cmocka_unit_test(a_buffer_grows_to_its_ceiling_and_not_past_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
