/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * base.h - errors as values, clocks and deadlines, worker threads. Does not depend on devices,
 * run states or migrations.
 */
#ifndef SWITCHOVER_BASE_H
#define SWITCHOVER_BASE_H

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SWO_API		 __attribute__((visibility("default")))
#define SWO_PRINTF(f, a) __attribute__((format(printf, f, a)))

/*
 * Structures that a program fills begin with their size, so that the library may have more fields
 * than the headers that the program was compiled with: it takes those as 0. Fields that the library
 * lacks must be 0: SWO_E_UNSUPPORTED.
 */

/* Errors */

/*
 * The kind of an error, for a program to decide on; `text` is for a person: what failed, on
 * which device or peer, the values, and what to do about it.
 */
enum swo_error_code {
	SWO_E_NONE = 0,
	SWO_E_INVALID,	   /* an argument, option, file or config is invalid */
	SWO_E_NO_MEMORY,   /* out of memory, threads or file descriptors */
	SWO_E_IO,	   /* a system call failed with os_errno */
	SWO_E_TIMEOUT,	   /* a deadline passed */
	SWO_E_PROTOCOL,	   /* a peer violated the protocol */
	SWO_E_STATE,	   /* a request that is not allowed in this state */
	SWO_E_CANCELLED,   /* the operation was cancelled */
	SWO_E_PEER_LOST,   /* the other end closed or broke the connection */
	SWO_E_DEVICE,	   /* a device refused or failed; os_errno is its errno */
	SWO_E_UNSUPPORTED, /* the device, kernel or peer does not support this */
	SWO_E_CORRUPT,	   /* received bytes differ from the ones that were sent */
};

struct swo_error {
	enum swo_error_code code;
	int os_errno; /* 0 if there is none */
	char text[400];
};

/*
 * Fills *err (which may be NULL) and returns -1, so that a failing line reads `return
 * swo_error_set(err, ...)`. os_errno, if not 0, is appended to the text as ": strerror"; EMFILE
 * also names the limit and how to raise it. Always overwrites: an error is set once, where it
 * happens. Thread-safe.
 */
SWO_API int swo_error_set(struct swo_error *err, enum swo_error_code code, int os_errno,
	const char *fmt, ...) SWO_PRINTF(4, 5);
/* Prepends "context: " to the text of an error that was set; returns -1. */
SWO_API int swo_error_prefix(struct swo_error *err, const char *fmt, ...) SWO_PRINTF(2, 3);
SWO_API const char *swo_error_code_name(enum swo_error_code code);

/* Clocks and deadlines */

/* CLOCK_MONOTONIC in nanoseconds, the clock of all times in this library. */
SWO_API uint64_t swo_now_ns(void);

/* An absolute time on that clock. There is no infinite deadline, on purpose. */
typedef uint64_t swo_deadline;

SWO_API swo_deadline swo_deadline_ms(uint64_t milliseconds_from_now);
SWO_API bool swo_deadline_passed(swo_deadline deadline);
/* Remaining time for poll(2): rounded up, 0 when passed, at most INT_MAX. */
SWO_API int swo_deadline_poll_ms(swo_deadline deadline);
/* The earlier of the two. */
static inline swo_deadline swo_deadline_min(swo_deadline a, swo_deadline b)
{
	return a < b ? a : b;
}
/* Sleeps until `deadline`; returns at once if it has passed. */
SWO_API void swo_sleep_until(uint64_t when_ns);

/* A condition variable on CLOCK_MONOTONIC. Returns 0, or an errno. */
SWO_API int swo_cond_init(pthread_cond_t *cond);
/* pthread_cond_timedwait with a deadline: 0 or ETIMEDOUT. */
SWO_API int swo_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, swo_deadline deadline);

/* Threads */

/*
 * Starts a named thread with every signal blocked (drivers wait interruptibly: a stray signal
 * must not abort an arc). name: at most 15 bytes are kept.
 */
SWO_API int swo_thread_start(pthread_t *thread, const char *name, void *(*fn)(void *), void *opaque,
	struct swo_error *err);

/*
 * A worker: one thread that runs jobs one after another, in the order of submission. A device
 * has exactly one, so two migration jobs never run on one device concurrently.
 *
 * The caller owns a job's memory, which must stay until the job is done. `fn` runs on the
 * worker's thread. Any thread may submit, wait and poll.
 */
struct swo_worker;

struct swo_job {
	void (*fn)(void *opaque);
	void *opaque;
	/*
	 * Optional: called with `opaque` on the worker's thread after fn, once nothing accesses the
	 * job any more. A job whose memory is counted drops its reference here, not in fn.
	 */
	void (*release)(void *opaque);
	/* private */
	struct swo_job *next;
	struct swo_worker *worker;
	bool done;
};

SWO_API int swo_worker_create(const char *name, struct swo_worker **out, struct swo_error *err);
/* `job` must not be pending. Never fails, never allocates, never blocks for long. */
SWO_API void swo_worker_submit(struct swo_worker *worker, struct swo_job *job);
/* Submits ahead of queued jobs (the running job continues). */
SWO_API void swo_worker_submit_first(struct swo_worker *worker, struct swo_job *job);
/* true when the job is done; false if the deadline passed first. */
SWO_API bool swo_job_wait(struct swo_job *job, swo_deadline deadline);
SWO_API bool swo_job_done(struct swo_job *job);
/* true once the worker has nothing queued or running. */
SWO_API bool swo_worker_idle_wait(struct swo_worker *worker, swo_deadline deadline);
SWO_API bool swo_worker_is_current(const struct swo_worker *worker);
/*
 * Finishes queued jobs, then ends the thread and frees the worker: returns true. If that is not
 * done by the deadline (a driver hangs in a job), the thread and its memory are leaked, and
 * false is returned.
 */
SWO_API bool swo_worker_destroy(struct swo_worker *worker, swo_deadline deadline);

/* Log */

enum swo_log_level { SWO_LOG_ERROR, SWO_LOG_WARN, SWO_LOG_INFO, SWO_LOG_DEBUG };

/*
 * The library's only output. Default: ERROR and WARN to stderr as "switchover: LEVEL: text".
 * NULL as `sink` restores that.
 *
 * The sink is called on one thread of its own, never concurrently. It may block: swo_log() waits
 * for it for 50 ms, and not at all while an earlier line is stuck. At most 64 lines are kept then;
 * how many were left out is logged after them. swo_log_set() returns when the previous sink has
 * returned, or after 500 ms: of a sink that may block, `opaque` must stay valid.
 */
typedef void swo_log_sink(void *opaque, enum swo_log_level level, const char *text);
SWO_API void swo_log_set(enum swo_log_level most_verbose, swo_log_sink *sink, void *opaque);
SWO_API void swo_log(enum swo_log_level level, const char *fmt, ...) SWO_PRINTF(2, 3);

/*
 * Copies text that may come from outside, for a terminal or a log: control characters, bytes that
 * are not UTF-8 and marks that reorder a line become \xNN. The result is UTF-8, of one line, and cut
 * to `room` between characters. Errors and logs pass through it.
 */
SWO_API void swo_escape(const char *text, char *out, size_t room);

/*
 * UNIX sockets: besides the processes of this user and of root, those of `uid` may connect and may
 * be connected to. Set it before other threads use the library.
 */
SWO_API void swo_peer_uid_allow(uid_t uid);

/* Utilities */

#define SWO_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/*
 * A growing byte buffer with a ceiling: swo_buf_append fails (SWO_E_NO_MEMORY)
 * rather than grow past `max`. Zero-initialise with SWO_BUF_INIT(max).
 */
struct swo_buf {
	uint8_t *data;
	size_t len;
	size_t room;
	size_t max;
};
#define SWO_BUF_INIT(max_bytes)                                                                    \
	{                                                                                          \
		.max = (max_bytes)                                                                 \
	}
SWO_API int swo_buf_append(
	struct swo_buf *buf, const void *data, size_t len, struct swo_error *err);
SWO_API void swo_buf_free(struct swo_buf *buf);

/* __attribute__((cleanup)) helpers, statement-local. */
SWO_API void swo_close_fd(int *fd);    /* closes *fd when >= 0, sets -1, keeps errno */
SWO_API void swo_free_ptr(void *pptr); /* frees *(void **)pptr */
#define swo_autofd   __attribute__((cleanup(swo_close_fd)))
#define swo_autofree __attribute__((cleanup(swo_free_ptr)))

#ifdef __cplusplus
}
#endif

#endif
