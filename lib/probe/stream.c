/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream.c - saves and loads complete states, and provides one that is known to load.
 */
#include "probe/internal.h"

#include <stdio.h>
#include <string.h>

/* The size of the state as reported by the device; 0: not reported. */
static uint64_t ask_size(struct session *s)
{
	if (!s->target.ops->data_size)
		return 0;
	s->call.op = OP_DATA_SIZE;
	return probe_perform(s, "data-size") ? 0 : s->call.a;
}

int probe_save_state(struct session *s, size_t piece)
{
	if (probe_reach(s, SWO_DEVICE_STOP) || probe_go_arc(s, SWO_DEVICE_STOP_COPY))
		return -1;
	const uint64_t told = ask_size(s);

	if (s->lost)
		return -1;
	s->stream.len = 0;
	s->call.op = OP_READ_ALL;
	s->call.piece = piece;
	if (!probe_perform(s, "save.read")) {
		probe_note(s, SWO_VERDICT_PASS, "save.read", "%zu bytes", s->stream.len);
		if (!piece)
			probe_sample(&s->saves, s->call.end - s->call.start);
		return 0;
	}
	if (s->lost)
		return -1;
	/* Its own estimate may be wrong, but not by this much. */
	if (s->call.err.code == SWO_E_NO_MEMORY && told && s->call.got / 2 > told)
		probe_note(s, SWO_VERDICT_FAIL, "save.read",
			"endless state: %zu bytes, MIG_DATA_SIZE reported %llu", s->call.got,
			(unsigned long long)told);
	else if (s->call.err.code == SWO_E_NO_MEMORY)
		probe_note(s, SWO_VERDICT_SKIP, "save.read",
			"state larger than the limit of %llu bytes",
			(unsigned long long)s->params.max_state);
	else
		probe_note(s, SWO_VERDICT_FAIL, "save.read", "%s (after %zu bytes)",
			s->call.err.text, s->stream.len);
	probe_recover(s, "recovery.save.read");
	return -1;
}

/* Less than this, and less than a quarter of the load, may be chance. */
#define FIXED_MIN_NS UINT64_C(2000000)

static void sample_load(struct session *s)
{
	const struct probe_call *c = &s->call;
	const uint64_t all = c->end - c->start, first = c->half ? c->half - c->start : 0,
		       second = all - first;

	probe_sample(&s->loads, all);
	if (c->half && second > first && second - first >= FIXED_MIN_NS &&
		second - first >= all / 4)
		probe_sample(&s->fixed, second - first);
}

int probe_load_state(struct session *s, const uint8_t *data, size_t len, size_t piece)
{
	if (probe_reach(s, SWO_DEVICE_STOP) || probe_go_arc(s, SWO_DEVICE_RESUMING))
		return -1;
	s->call.op = OP_WRITE_ALL;
	s->call.data = data;
	s->call.len = len;
	s->call.piece = piece;
	if (probe_perform(s, "load.write"))
		return s->lost ? -1 : 1;
	if (!piece && data == s->good.data)
		sample_load(s);
	return 0;
}

/* Saves, loads the saved state, and finalises it. */
static int try_good(struct session *s)
{
	if (probe_save_state(s, 0))
		return -1;
	s->good.len = 0;
	if (swo_buf_append(&s->good, s->stream.data, s->stream.len, NULL)) {
		probe_note(s, SWO_VERDICT_SKIP, "load.write", "not enough memory for its state");
		s->no_good = true;
		return -1;
	}
	int rc = probe_load_state(s, s->good.data, s->good.len, 0);

	if (rc > 0) {
		probe_note(s, SWO_VERDICT_FAIL, "load.write",
			"its own saved state is refused after %zu of %zu bytes: %s", s->call.got,
			s->good.len, s->call.err.text);
		probe_recover(s, "recovery.load.write");
	}
	if (rc)
		return -1;
	probe_note(s, SWO_VERDICT_PASS, "load.write", "%zu bytes", s->good.len);
	if (probe_go_arc(s, SWO_DEVICE_STOP)) {
		/* The only arc out of RESUMING: a failure is due to the state, not to the arc. */
		s->failures[SWO_DEVICE_RESUMING][SWO_DEVICE_STOP] = 0;
		if (!s->lost) {
			probe_explain(s, "arc.RESUMING->STOP",
				"; that was its own saved state (%zu bytes): what it saves, or what "
				"it loads, is wrong",
				s->good.len);
			probe_note(s, SWO_VERDICT_SKIP, "load.finalise", "see arc.RESUMING->STOP");
		}
		return -1;
	}
	probe_note(s, SWO_VERDICT_PASS, "load.finalise", "ok");
	return 0;
}

int probe_need_good(struct session *s, const char *for_check)
{
	if (!s->no_good && !s->good.len) {
		/* A fault may trigger once; a device that always refuses is not tried forever. */
		for (int i = 0; i < TRIES && !s->lost && !s->no_good; i++) {
			if (!try_good(s)) {
				s->out->state_bytes = s->good.len;
				return 0;
			}
			s->good.len = 0;
		}
		s->no_good = true;
	}
	if (!s->no_good)
		return 0;
	if (!s->lost)
		probe_note(s, SWO_VERDICT_SKIP, for_check, "no state that loads");
	return -1;
}
