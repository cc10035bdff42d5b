/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session.c - one device under test: calls on its worker with a deadline, results, samples.
 */
#include "probe/internal.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS 10000
#define RUNS	    5
#define STATE_MAX   (UINT64_C(256) << 20)
#define CHUNK_MAX   (UINT64_C(4) << 20)
#define PIECES_MAX  100000000u

/* Results */

static struct swo_probe_result *find(const struct session *s, const char *name)
{
	for (unsigned i = 0; i < s->out->result_count; i++)
		if (!strcmp(s->out->results[i].name, name))
			return &s->out->results[i];
	return NULL;
}

static struct swo_probe_result *add(struct session *s, const char *name)
{
	struct swo_probe_device *out = s->out;
	struct swo_probe_result *grown =
		realloc(out->results, (out->result_count + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	out->results = grown;
	grown += out->result_count++;
	*grown = (struct swo_probe_result){0};
	snprintf(grown->name, sizeof(grown->name), "%s", name);
	return grown;
}

void probe_note(struct session *s, enum swo_verdict verdict, const char *name, const char *fmt, ...)
{
	struct swo_probe_result *result = find(s, name);
	va_list args;

	if (!result)
		result = add(s, name);
	if (!result) {
		swo_log(SWO_LOG_ERROR, "out of memory: %s of %s is not reported", name,
			s->target.name);
		return;
	}
	bool worse = verdict > result->verdict || !result->count;

	result->count++;
	if (!worse)
		return;
	result->verdict = verdict;
	va_start(args, fmt);
	vsnprintf(result->text, sizeof(result->text), fmt, args);
	va_end(args);
}

void probe_explain(struct session *s, const char *name, const char *fmt, ...)
{
	struct swo_probe_result *result = find(s, name);
	size_t len = result ? strlen(result->text) : 0;
	char more[sizeof(result->text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(more, sizeof(more), fmt, args);
	va_end(args);
	if (result && !strstr(result->text, more))
		snprintf(result->text + len, sizeof(result->text) - len, "%s", more);
}

enum swo_verdict probe_noted(const struct session *s, const char *name)
{
	const struct swo_probe_result *result = find(s, name);

	return result ? result->verdict : SWO_VERDICT_PASS;
}

const char *probe_arc_name(
	char room[72], const char *prefix, enum swo_device_state from, enum swo_device_state to)
{
	if ((unsigned)to < SWO_DEVICE_STATES)
		snprintf(room, 72, "%s.%s->%s", prefix, swo_device_state_name(from),
			swo_device_state_name(to));
	else
		snprintf(room, 72, "%s.%s->%u", prefix, swo_device_state_name(from), (unsigned)to);
	return room;
}

void probe_sample(struct samples *samples, uint64_t ns)
{
	if (samples->count < SAMPLES_MAX)
		samples->ns[samples->count++] = ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

struct swo_probe_cost probe_cost_of(const struct samples *samples)
{
	struct swo_probe_cost cost = {.count = samples->count};
	uint64_t sorted[SAMPLES_MAX];

	if (!samples->count)
		return cost;
	memcpy(sorted, samples->ns, samples->count * sizeof(sorted[0]));
	qsort(sorted, samples->count, sizeof(sorted[0]), compare);
	cost.median = sorted[samples->count / 2];
	cost.max = sorted[samples->count - 1];
	return cost;
}

/* On the worker */

static int read_all(struct session *s, struct probe_call *c)
{
	const struct swo_device_ops *ops = s->target.ops;
	size_t want = c->piece && c->piece < s->chunk_len ? c->piece : s->chunk_len, got;

	/* In PRE_COPY a device may have data forever: limited by the stream's maximum. */
	for (unsigned i = 0; i < PIECES_MAX; i++) {
		if (ops->data_read(s->target.self, s->chunk, want, &got, &c->err))
			return -1;
		if (!got)
			return 0;
		c->got += got;
		if (swo_buf_append(&s->stream, s->chunk, got, &c->err))
			return -1;
	}
	return swo_error_set(&c->err, SWO_E_DEVICE, 0, "device %s: endless state", s->target.name);
}

static int flush(struct session *s, struct probe_call *c)
{
	/* A backend may still have requests in flight. */
	return s->target.ops->data_flush ? s->target.ops->data_flush(s->target.self, &c->err) : 0;
}

/* Up to `end`. */
static int write_to(struct session *s, struct probe_call *c, size_t end)
{
	while (c->got < end) {
		size_t n = end - c->got;

		if (c->piece && n > c->piece)
			n = c->piece;
		if (s->target.ops->data_write(s->target.self, c->data + c->got, n, &c->err))
			return -1;
		c->got += n;
	}
	return flush(s, c);
}

/* In two halves: what the second takes longer is a fixed cost of the load, at its end. */
static int write_all(struct session *s, struct probe_call *c)
{
	c->half = 0;
	if (!c->piece && c->len > 1) {
		if (write_to(s, c, c->len / 2))
			return -1;
		c->half = swo_now_ns();
	}
	return write_to(s, c, c->len);
}

static int walk(struct session *s, struct probe_call *c)
{
	for (unsigned i = 0; i < c->path_len; i++)
		if (s->target.ops->set_state(s->target.self, c->path[i], &c->err))
			return -1;
	return 0;
}

static int do_op(struct session *s, struct probe_call *c)
{
	const struct swo_device_ops *ops = s->target.ops;
	void *self = s->target.self;

	switch (c->op) {
	case OP_GET_STATE:
		return ops->get_state(self, &c->state, &c->err);
	case OP_SET_STATE:
		return ops->set_state(self, c->state, &c->err);
	case OP_RESET:
		return ops->reset(self, &c->err);
	case OP_READ:
		return ops->data_read(self, s->chunk, s->chunk_len, &c->got, &c->err);
	case OP_WRITE:
		return ops->data_write(self, c->data, c->len, &c->err);
	case OP_READ_ALL:
		return read_all(s, c);
	case OP_WRITE_ALL:
		return write_all(s, c);
	case OP_LOAD:
		return write_all(s, c) || ops->set_state(self, SWO_DEVICE_STOP, &c->err) ? -1 : 0;
	case OP_WALK:
		return walk(s, c);
	case OP_DATA_SIZE:
		return ops->data_size(self, &c->a, &c->err);
	case OP_PRECOPY_INFO: {
		struct swo_precopy_info info = {0};
		const int rc = ops->precopy_info(self, &info, &c->err);

		c->a = info.initial_bytes;
		return rc;
	}
	case OP_FN:
		return c->fn(s, c);
	}
	return -1;
}

static void run_call(void *opaque)
{
	struct session *s = opaque;
	struct probe_call *c = &s->call;

	c->start = swo_now_ns();
	c->rc = do_op(s, c);
	c->end = swo_now_ns();
}

/* Called by other threads */

void probe_perform_start(struct session *s)
{
	struct probe_call *c = &s->call;

	c->job = (struct swo_job){.fn = run_call, .opaque = s};
	c->err = (struct swo_error){0};
	c->got = 0;
	swo_worker_submit(s->worker, &c->job);
}

int probe_perform_end(struct session *s, const char *what)
{
	struct probe_call *c = &s->call;

	if (!swo_job_wait(&c->job, swo_deadline_ms(s->params.deadline_ms))) {
		s->lost = true;
		probe_note(s, SWO_VERDICT_FAIL, what, "hangs: timed out after %llu ms",
			(unsigned long long)s->params.deadline_ms);
		return -1;
	}
	/* A backend with its own deadline, or with a lost connection. */
	if (c->rc && (c->err.code == SWO_E_TIMEOUT || c->err.code == SWO_E_PEER_LOST ||
			     c->err.code == SWO_E_PROTOCOL)) {
		s->lost = true;
		probe_note(s, SWO_VERDICT_FAIL, what, "%s%s",
			c->err.code == SWO_E_TIMEOUT ? "hangs: " : "", c->err.text);
	}
	return c->rc;
}

static bool shall_stop(struct session *s)
{
	if (!s->params.stop || !s->params.stop(s->params.opaque))
		return false;
	s->lost = s->stopped = true;
	probe_note(s, SWO_VERDICT_SKIP, "interrupted", "the rest was not run");
	return true;
}

int probe_perform(struct session *s, const char *what)
{
	if (s->lost || shall_stop(s))
		return -1;
	probe_perform_start(s);
	return probe_perform_end(s, what);
}

int probe_get_state(struct session *s)
{
	s->call.op = OP_GET_STATE;
	if (probe_perform(s, "state")) {
		if (!s->lost)
			probe_note(s, SWO_VERDICT_FAIL, "state", "%s", s->call.err.text);
		return -1;
	}
	s->state = s->call.state;
	return 0;
}

int probe_request_state(struct session *s, enum swo_device_state to)
{
	char name[72];
	struct swo_error why;
	uint64_t start, end;

	s->call.op = OP_SET_STATE;
	s->call.state = to;
	int rc = probe_perform(s, probe_arc_name(name, "arc", s->state, to));

	if (s->lost)
		return -1;
	why = s->call.err;
	start = s->call.start;
	end = s->call.end;
	enum swo_device_state from = s->state;

	if (probe_get_state(s))
		return -1;
	s->call.err = why;
	s->call.start = start;
	s->call.end = end;
	if (!rc && s->state != to) {
		swo_error_set(&s->call.err, SWO_E_DEVICE, 0,
			"device %s: %s->%s succeeded, but the device is in %s", s->target.name,
			swo_device_state_name(from), swo_device_state_name(to),
			swo_device_state_name(s->state));
		return -1;
	}
	return rc;
}

int probe_reset_device(struct session *s)
{
	char name[72];
	enum swo_device_state from = s->state;

	snprintf(name, sizeof(name), "reset.%s", swo_device_state_name(from));
	s->call.op = OP_RESET;
	if (!s->target.ops->reset) {
		probe_note(s, SWO_VERDICT_SKIP, name, "the backend has no reset");
		return -1;
	}
	if (probe_perform(s, name)) {
		if (!s->lost)
			probe_note(s, SWO_VERDICT_FAIL, name, "%s", s->call.err.text);
		return -1;
	}
	uint64_t took = s->call.end - s->call.start;

	if (probe_get_state(s))
		return -1;
	if (s->state != SWO_DEVICE_RUNNING) {
		probe_note(s, SWO_VERDICT_FAIL, name,
			"after a reset in %s the device is in %s, expected RUNNING",
			swo_device_state_name(from), swo_device_state_name(s->state));
		/* Some servers reset the device only: go on as the library does. */
		return probe_request_state(s, SWO_DEVICE_RUNNING);
	}
	probe_sample(&s->resets, took);
	probe_note(s, SWO_VERDICT_PASS, name, "RUNNING");
	return 0;
}

void probe_leave_running(struct session *s)
{
	if (!s->stopped)
		return;
	s->lost = s->stopped = false;
	s->params.stop = NULL;
	if (!probe_get_state(s))
		probe_reset_device(s);
}

/* Creation and destruction */

static size_t chunk_for(const struct swo_probe_target *t)
{
	size_t len = t->ops->read_chunk ? t->ops->read_chunk(t->self) : 65536;

	return !len ? 4096 : len > CHUNK_MAX ? CHUNK_MAX : len;
}

int probe_session_open(struct session *s, const struct swo_probe_target *target,
	const struct swo_probe_params *params, struct swo_probe_device *out, struct swo_error *err)
{
	s->target = *target;
	s->out = out;
	if (params)
		s->params = *params;
	if (!s->params.deadline_ms)
		s->params.deadline_ms = DEADLINE_MS;
	if (!s->params.runs)
		s->params.runs = RUNS;
	if (s->params.runs > SAMPLES_MAX)
		s->params.runs = SAMPLES_MAX;
	if (!s->params.max_state)
		s->params.max_state = STATE_MAX;
	s->stream = (struct swo_buf)SWO_BUF_INIT((size_t)s->params.max_state);
	s->good = s->back = s->stream;
	snprintf(out->name, sizeof(out->name), "%s", target->name);
	snprintf(out->backend, sizeof(out->backend), "%s", target->ops->name);
	s->chunk_len = chunk_for(target);
	s->chunk = malloc(s->chunk_len);
	if (!s->chunk)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", target->name);
	if (swo_worker_create(target->name, &s->worker, err))
		return -1;
	return 0;
}

void probe_session_close(struct session *s)
{
	/* A hung call may still write to this memory. */
	if (s->worker && !swo_worker_destroy(s->worker, swo_deadline_ms(s->lost ? 100 : 10000))) {
		swo_log(SWO_LOG_WARN, "device %s: still hung; leaking it", s->target.name);
		base_leak_hung(s);
		return;
	}
	if (s->target.ops && s->target.ops->destroy)
		s->target.ops->destroy(s->target.self);
	swo_buf_free(&s->stream);
	swo_buf_free(&s->back);
	swo_buf_free(&s->good);
	free(s->bad);
	free(s->chunk);
	free(s);
}
