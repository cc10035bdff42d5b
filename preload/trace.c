/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace.c - writes lines. No stdio streams and no allocation: this runs inside of a VMM's
 * ioctl, possibly inside its sandbox.
 */
#include "trace.h"

#include "real.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN 512
#define FD_FLOOR     256 /* for programs that rely on low numbers */

static int message_fd = STDERR_FILENO;
static int record_fd = -1;
static const char *record_name;

uint64_t trace_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* stderr may be a pipe that is full, or without a reader: no ioctl waits for it, no SIGPIPE. */
static bool is_writable(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};

	return !real.poll || (real.poll(&ready, 1, 0) == 1 && ready.revents == POLLOUT);
}

static void put(int fd, const char *line, size_t len)
{
	const int kept = errno;

	/* At most PIPE_BUF bytes: a pipe that is writable has space for all of them. */
	if (!is_writable(fd)) {
		errno = kept;
		return;
	}
	while (real.write(fd, line, len) < 0 && errno == EINTR)
		;
	errno = kept;
}

void trace_message(const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	int head = snprintf(line, sizeof(line), "switchover-preload[%d]: ", (int)getpid());
	va_list args;

	va_start(args, fmt);
	int len = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, args);
	va_end(args);
	if (len < 0)
		return;
	size_t end = (size_t)(head + len);

	if (end > sizeof(line) - 2)
		end = sizeof(line) - 2;
	line[end++] = '\n';
	put(message_fd, line, end);
}

/*
 * "%p" is replaced by the process ID, so that source and target on one host use different
 * files.
 */
static int open_named(const char *name, const char *what)
{
	char path[4096];
	const char *at = strstr(name, "%p");
	int len = at ? snprintf(path, sizeof(path), "%.*s%d%s", (int)(at - name), name,
			       (int)getpid(), at + 2)
		     : snprintf(path, sizeof(path), "%s", name);
	int fd = -1;

	/* O_NONBLOCK: a FIFO without a reader must not hang the VMM at its start. */
	if (len > 0 && (size_t)len < sizeof(path))
		fd = open(path,
			O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK |
				O_NOCTTY,
			0600);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid())) {
		trace_message("%s '%s' is not a regular file of this user; continuing without it",
			what, name);
		real.close(fd);
		return -1;
	}
	if (fd < 0) {
		trace_message("cannot open %s '%s': %s; continuing without it", what, name,
			strerror(errno));
		return -1;
	}
	int high = real.fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);

	if (high < 0)
		return fd;
	real.close(fd);
	return high;
}

void trace_open(const struct settings *settings)
{
	if (settings->log) {
		int fd = open_named(settings->log, "log file");

		if (fd >= 0)
			message_fd = fd;
	}
	/* Opened for the first device: most processes that inherit the variable have none. */
	record_name = settings->observe;
}

bool trace_observes(void)
{
	return record_name != NULL;
}

/* Aligns the records of two hosts. */
static void record_clocks(void)
{
	char line[LINE_MAX_LEN];
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	const int len = snprintf(line, sizeof(line),
		"{\"kind\":\"clock\",\"monotonic_ns\":%llu,\"realtime_ns\":%llu,\"pid\":%d}\n",
		(unsigned long long)trace_now(),
		(unsigned long long)wall.tv_sec * 1000000000u + (unsigned long long)wall.tv_nsec,
		(int)getpid());

	put(record_fd, line, (size_t)len);
}

static void record(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void record(const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	va_list args;

	if (record_fd < 0) {
		if (!record_name)
			return;
		record_fd = open_named(record_name, "record file");
		if (record_fd < 0) {
			record_name = NULL;
			return;
		}
		record_clocks();
	}
	va_start(args, fmt);
	int len = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (len > 0 && (size_t)len < sizeof(line))
		put(record_fd, line, (size_t)len);
}

void trace_arc(const struct trace_arc *arc)
{
	record("{\"kind\":\"arc\",\"device\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",\"asked_ns\":%"
	       "llu,"
	       "\"start_ns\":%llu,\"end_ns\":%llu,\"answered_ns\":%llu,\"errno\":%d,\"ahead\":%s}"
	       "\n",
		arc->device, pattern_state_name(arc->from), pattern_state_name(arc->to),
		(unsigned long long)arc->asked_ns, (unsigned long long)arc->start_ns,
		(unsigned long long)arc->end_ns, (unsigned long long)arc->answered_ns, arc->error,
		arc->ahead ? "true" : "false");
}

void trace_stream(const char *device, bool save, uint64_t start_ns, uint64_t end_ns, uint64_t bytes)
{
	record("{\"kind\":\"stream\",\"device\":\"%s\",\"name\":\"%s\",\"start_ns\":%llu,"
	       "\"end_ns\":%llu,\"bytes\":%llu}\n",
		device, save ? "save" : "load", (unsigned long long)start_ns,
		(unsigned long long)end_ns, (unsigned long long)bytes);
}

void trace_mark(const char *device, const char *what)
{
	record("{\"kind\":\"mark\",\"device\":\"%s\",\"name\":\"%s\",\"start_ns\":%llu}\n", device,
		what, (unsigned long long)trace_now());
}
