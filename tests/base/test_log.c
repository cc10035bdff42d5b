/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: whatever its reader does, what logs goes on. */
#include "base/log.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT 64 /* lines, while the sink is stuck */

/* A sink that returns only when it may. */

static sem_t may_return;
static unsigned seen;
static char last[256];

static void hold(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque, (void)level;
	while (sem_wait(&may_return))
		;
	seen++;
	snprintf(last, sizeof(last), "%s", text);
}

static void release(unsigned count)
{
	while (count--)
		sem_post(&may_return);
}

static void a_sink_that_is_stuck_delays_no_caller(void **state)
{
	(void)state;
	const unsigned count = 10000;

	sem_init(&may_return, 0, 0);
	seen = 0;
	swo_log_set(SWO_LOG_WARN, hold, NULL);
	/* With a wait for each of them this would take 500 s. */
	alarm(60);
	for (unsigned i = 0; i < count; i++)
		swo_log(SWO_LOG_WARN, "line %u", i);
	alarm(0);
	release(KEPT + 1);
	base_log_flush();
	assert_int_equal(seen, KEPT + 1);
	/* The last one has the number of the others. */
	assert_string_equal(last, "9936 lines of the log were left out: the log was not read");
	/* It is waited for again. */
	release(1);
	swo_log(SWO_LOG_WARN, "after all");
	base_log_flush();
	assert_string_equal(last, "after all");
	swo_log_set(SWO_LOG_WARN, NULL, NULL);
}

static void log_again(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque;
	if (level == SWO_LOG_ERROR)
		swo_log(SWO_LOG_WARN, "again: %s", text);
	else
		snprintf(last, sizeof(last), "%s", text);
}

static void a_sink_may_log(void **state)
{
	(void)state;
	swo_log_set(SWO_LOG_WARN, log_again, NULL);
	swo_log(SWO_LOG_ERROR, "first");
	base_log_flush();
	assert_string_equal(last, "again: first");
	swo_log(SWO_LOG_INFO, "not at this level");
	base_log_flush();
	assert_string_equal(last, "again: first");
	swo_log_set(SWO_LOG_WARN, NULL, NULL);
}

static void count_lines(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque, (void)level;
	seen++;
	snprintf(last, sizeof(last), "%s", text);
}

static void warnings_of_strangers_are_limited_and_counted(void **state)
{
	(void)state;
	struct base_log_rate rate = BASE_LOG_RATE_INIT;

	seen = 0;
	swo_log_set(SWO_LOG_WARN, count_lines, NULL);
	/* However long this takes: the time starts with the first one, and is set back below. */
	for (int i = 0; i < 8; i++)
		base_log_limited(&rate, "stranger %d", i);
	rate.until = swo_deadline_ms(3600000);
	for (int i = 8; i < 1000; i++)
		base_log_limited(&rate, "stranger %d", i);
	base_log_flush();
	assert_int_equal(seen, 8);
	assert_string_equal(last, "stranger 7");
	/* The next one after that time has the count before it. */
	rate.until = 0;
	base_log_limited(&rate, "stranger");
	base_log_flush();
	assert_int_equal(seen, 10);
	rate.logged = 8;
	rate.until = swo_deadline_ms(3600000);
	for (int i = 0; i < 3; i++)
		base_log_limited(&rate, "stranger");
	base_log_rate_end(&rate);
	base_log_rate_end(&rate);
	base_log_flush();
	assert_int_equal(seen, 11);
	assert_string_equal(last, "3 warnings of this kind were left out");
	swo_log_set(SWO_LOG_WARN, NULL, NULL);
}

/* stderr */

static int own_stderr;

static int pipe_as_stderr(void)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	own_stderr = dup(STDERR_FILENO);
	assert_true(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
	close(ends[1]);
	return ends[0];
}

static void restore_stderr(void)
{
	base_log_flush();
	assert_true(dup2(own_stderr, STDERR_FILENO) == STDERR_FILENO);
	close(own_stderr);
}

static void lines_are_in_order_with_other_output(void **state)
{
	(void)state;
	int end = pipe_as_stderr();
	char text[256] = "";

	swo_log(SWO_LOG_WARN, "one\n%s", "\x1b");
	base_print("two\n");
	base_log_flush();
	assert_int_equal(write(STDERR_FILENO, "three\n", 6), 6);
	restore_stderr();
	assert_true(read(end, text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "switchover: warning: one\\x0a\\x1b\ntwo\nthree\n");
	close(end);
}

static void a_full_pipe_delays_no_caller(void **state)
{
	(void)state;
	static char text[1 << 20];
	int end = pipe_as_stderr(), flags = fcntl(STDERR_FILENO, F_GETFL);
	const char *line;
	ssize_t n;

	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK), 0);
	while (write(STDERR_FILENO, "................", 16) > 0)
		;
	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, flags), 0);
	alarm(60);
	for (unsigned i = 0; i < 10000; i++)
		swo_log(SWO_LOG_ERROR, "line %u", i);
	alarm(0);
	/* All that was kept is there once it is read. */
	assert_int_equal(fcntl(end, F_SETFL, O_NONBLOCK), 0);
	size_t len = 0;

	for (swo_deadline guard = swo_deadline_ms(30000);
		!strstr(text, "were left out") && !swo_deadline_passed(guard);) {
		n = read(end, text + len, sizeof(text) - 1 - len);
		len += n > 0 ? (size_t)n : 0;
		if (n <= 0)
			swo_sleep_until(swo_now_ns() + 1000000);
	}
	line = strstr(text, "switchover: error: line 0\n");
	assert_non_null(line);
	assert_non_null(strstr(line, "line 63\nswitchover: warning: 9936 lines of the log"));
	restore_stderr();
	close(end);
}

static void a_pipe_without_a_reader_kills_no_process(void **state)
{
	(void)state;
	close(pipe_as_stderr());
	assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	swo_log(SWO_LOG_ERROR, "to no reader");
	base_log_flush();
	restore_stderr();
}

static void a_child_has_a_log_of_its_own(void **state)
{
	(void)state;
#ifdef __SANITIZE_THREAD__
	skip(); /* it allows no thread in a child of a process with threads */
#endif
	int end = pipe_as_stderr(), status = -1;
	char text[256] = "";

	swo_log(SWO_LOG_WARN, "parent");
	base_log_flush();
	pid_t child = fork();

	if (!child) {
		swo_log(SWO_LOG_WARN, "child");
		base_log_flush();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	restore_stderr();
	assert_int_equal(status, 0);
	assert_true(read(end, text, sizeof(text) - 1) > 0);
	assert_string_equal(text, "switchover: warning: parent\nswitchover: warning: child\n");
	close(end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sink_that_is_stuck_delays_no_caller),
		cmocka_unit_test(a_sink_may_log),
		cmocka_unit_test(warnings_of_strangers_are_limited_and_counted),
		cmocka_unit_test(lines_are_in_order_with_other_output),
		cmocka_unit_test(a_full_pipe_delays_no_caller),
		cmocka_unit_test(a_pipe_without_a_reader_kills_no_process),
		cmocka_unit_test(a_child_has_a_log_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
