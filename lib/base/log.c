/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.c - the library's only output, with a sink that its user can replace. A thread of its own
 * calls the sink: the reader of a pipe may have stopped, and no migration waits for it.
 */
#include "base/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_LEN 1024
#define QUEUE	     64
/* A sink that works is waited for, so that its output is in order with that of others. */
#define WAIT_MS 50
/* For what is in the queue when the sink is replaced or the process exits. */
#define FLUSH_MS 500

struct line {
	bool is_log; /* otherwise a text for stderr */
	enum swo_log_level level;
	char text[LINE_MAX_LEN];
};

static _Atomic enum swo_log_level log_level = SWO_LOG_WARN;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static pthread_t writer;
static bool writer_runs;
/* under the lock */
static swo_log_sink *log_sink;
static void *log_opaque;
static struct line lines[QUEUE];
static uint64_t queued, written; /* since the start of the process */
static uint64_t left_out;
static bool stuck; /* a line was not written in time, and none has been since */

/* Not by stdio, whose locks a blocked write would hold when the process exits. */
static void write_line(const struct line *line)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	char text[LINE_MAX_LEN + 40];
	int len = line->is_log ? snprintf(text, sizeof(text), "switchover: %s: %s\n",
					 names[line->level], line->text)
			       : snprintf(text, sizeof(text), "%s", line->text);
	const char *at = text;

	while (len > 0) {
		const ssize_t n = write(STDERR_FILENO, at, (size_t)len);

		if (n < 0 && errno != EINTR)
			return;
		at += n > 0 ? n : 0;
		len -= n > 0 ? (int)n : 0;
	}
}

/* With the lock held. */
static void append(bool is_log, enum swo_log_level level, const char *text)
{
	struct line *line = &lines[queued++ % QUEUE];

	line->is_log = is_log;
	line->level = level;
	snprintf(line->text, sizeof(line->text), "%s", text);
	pthread_cond_broadcast(&changed);
}

/* With the lock held. */
static void report_left_out(void)
{
	char text[80];

	if (!left_out)
		return;
	snprintf(text, sizeof(text), "%llu lines of the log were left out: the log was not read",
		(unsigned long long)left_out);
	left_out = 0;
	append(true, SWO_LOG_WARN, text);
}

static void *write_lines(void *opaque)
{
	struct line line;

	(void)opaque;
	pthread_mutex_lock(&lock);
	for (;;) {
		/* Idle until a line is queued. */
		while (queued == written)
			pthread_cond_wait(&changed, &lock);
		line = lines[written % QUEUE];
		swo_log_sink *sink = line.is_log ? log_sink : NULL;
		void *sink_opaque = log_opaque;

		pthread_mutex_unlock(&lock);
		if (sink)
			sink(sink_opaque, line.level, line.text);
		else
			write_line(&line);
		pthread_mutex_lock(&lock);
		written++;
		stuck = false;
		if (queued == written)
			report_left_out();
		pthread_cond_broadcast(&changed);
	}
	return NULL;
}

/* A child of fork(2) has no writer. */
static void forget_writer(void)
{
	pthread_mutex_init(&lock, NULL);
	swo_cond_init(&changed);
	writer_runs = false;
	stuck = false;
	written = queued;
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

/* With the lock held. */
static void wait_for_line(uint64_t number, uint64_t ms)
{
	const swo_deadline deadline = swo_deadline_ms(ms);

	while (written < number && writer_runs)
		if (swo_cond_wait(&changed, &lock, deadline))
			break;
}

static bool is_writer(void)
{
	return writer_runs && pthread_equal(writer, pthread_self());
}

static void flush_at_exit(void)
{
	base_log_flush();
}

/* With the lock held. */
static void start_writer(void)
{
	static bool prepared;

	if (writer_runs)
		return;
	if (!prepared) {
		prepared = true;
		swo_cond_init(&changed);
		pthread_atfork(before_fork, after_fork, forget_writer);
		atexit(flush_at_exit);
	}
	if (swo_thread_start(&writer, "swo-log", write_lines, NULL, NULL))
		return;
	writer_runs = true;
	pthread_detach(writer);
}

static void deliver(bool is_log, enum swo_log_level level, const char *text)
{
	pthread_mutex_lock(&lock);
	start_writer();
	if (!writer_runs || queued - written == QUEUE) {
		left_out++;
		pthread_mutex_unlock(&lock);
		return;
	}
	append(is_log, level, text);
	if (!stuck && !is_writer()) {
		const uint64_t number = queued;

		wait_for_line(number, WAIT_MS);
		stuck = written < number;
	}
	pthread_mutex_unlock(&lock);
}

void base_log_flush(void)
{
	pthread_mutex_lock(&lock);
	if (!is_writer())
		wait_for_line(queued, FLUSH_MS);
	pthread_mutex_unlock(&lock);
}

void swo_log_set(enum swo_log_level most_verbose, swo_log_sink *sink, void *opaque)
{
	base_log_flush();
	pthread_mutex_lock(&lock);
	log_sink = sink;
	log_opaque = opaque;
	pthread_mutex_unlock(&lock);
	atomic_store(&log_level, most_verbose);
}

void swo_log(enum swo_log_level level, const char *fmt, ...)
{
	char raw[LINE_MAX_LEN], text[LINE_MAX_LEN];
	va_list ap;

	if (level > atomic_load(&log_level))
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	swo_escape(raw, text, sizeof(text));
	deliver(true, level, text);
}

void base_print(const char *fmt, ...)
{
	char text[LINE_MAX_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	deliver(false, SWO_LOG_INFO, text);
}

/* Limited */

#define RATE_MS	 10000
#define RATE_MAX 8

static void log_left_out(unsigned count)
{
	if (count)
		swo_log(SWO_LOG_WARN, "%u warnings of this kind were left out", count);
}

void base_log_limited(struct base_log_rate *rate, const char *fmt, ...)
{
	char text[LINE_MAX_LEN];
	unsigned before = 0;
	va_list ap;

	pthread_mutex_lock(&rate->lock);
	if (swo_deadline_passed(rate->until)) {
		rate->until = swo_deadline_ms(RATE_MS);
		rate->logged = 0;
		before = rate->left_out;
		rate->left_out = 0;
	}
	const bool due = rate->logged < RATE_MAX;

	rate->logged += due;
	rate->left_out += !due;
	pthread_mutex_unlock(&rate->lock);
	log_left_out(before);
	if (!due)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	swo_log(SWO_LOG_WARN, "%s", text);
}

void base_log_rate_end(struct base_log_rate *rate)
{
	pthread_mutex_lock(&rate->lock);
	const unsigned before = rate->left_out;

	rate->left_out = 0;
	pthread_mutex_unlock(&rate->lock);
	log_left_out(before);
}
