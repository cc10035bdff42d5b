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
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_LEN 512
#define FD_FLOOR     256 /* for programs that rely on low numbers */

/* A file of the settings. Its descriptor survives a VMM that closes all but its own. */
struct file {
	const char *what, *name; /* name NULL: none */
	atomic_int fd;
};

static struct file log_file = {.what = "log file", .fd = -1};
static struct file record_file = {.what = "record file", .fd = -1};
static bool clocks_recorded;
static pid_t pid; /* a child of vfork has this memory, and descriptors of its own */

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

static bool is_open(struct file *file);

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
	put(is_open(&log_file) ? log_file.fd : STDERR_FILENO, line, end);
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

/* Opens it if it is not. A file that cannot be opened is reported, once. */
static bool is_open(struct file *file)
{
	const char *name = file->name;

	if (file->fd >= 0 || !name)
		return file->fd >= 0;
	file->name = NULL; /* the report itself goes to standard error */
	file->fd = open_named(name, file->what);
	if (file->fd >= 0)
		file->name = name;
	return file->fd >= 0;
}

void trace_open(const struct settings *settings)
{
	pid = getpid();
	log_file.name = settings->log;
	record_file.name = settings->observe;
	is_open(&log_file);
}

void trace_open_late(void)
{
	is_open(&log_file);
}

bool trace_observes(void)
{
	return record_file.name != NULL;
}

/* The name of this process, in a file's name, is another one than its parent's. */
static void leave_to_parent(struct file *file)
{
	if (file->fd < 0 || !file->name || !strstr(file->name, "%p"))
		return;
	real.close(file->fd);
	file->fd = -1;
}

void trace_fork_child(void)
{
	leave_to_parent(&log_file);
	leave_to_parent(&record_file);
	pid = getpid();
	clocks_recorded = false;
}

/* Descriptors in a VMM that did not open them */

bool trace_owns(int fd)
{
	return fd >= 0 && (fd == log_file.fd || fd == record_file.fd);
}

int trace_next_owned(int first)
{
	const int one = log_file.fd, other = record_file.fd;

	if (one >= first && (one <= other || other < first))
		return one;
	return other >= first ? other : -1;
}

void trace_vacate(int fd)
{
	struct file *const file = fd == log_file.fd ? &log_file : &record_file;

	if (!trace_owns(fd) || getpid() != pid)
		return;
	file->fd = real.fcntl(fd, F_DUPFD_CLOEXEC, FD_FLOOR);
	if (file->fd < 0)
		file->name = NULL;
}

/* The record */

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

	put(record_file.fd, line, (size_t)len);
}

void trace_begin_record(void)
{
	if (!is_open(&record_file) || clocks_recorded)
		return;
	clocks_recorded = true;
	record_clocks();
}

static void record(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void record(const char *fmt, ...)
{
	char line[LINE_MAX_LEN];
	va_list args;

	trace_begin_record();
	if (record_file.fd < 0)
		return;
	va_start(args, fmt);
	int len = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (len > 0 && (size_t)len < sizeof(line))
		put(record_file.fd, line, (size_t)len);
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
