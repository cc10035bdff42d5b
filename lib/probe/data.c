/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * data.c - the life of a data session, pieces of every size, and states that a device must not
 * accept: truncated, extended, changed, foreign.
 */
#include "probe/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ODD_PIECE 1021u /* prime, and smaller than any structure's neighbours */
/* A large state is not read and written in such pieces: it would take too long. */
#define ODD_MAX (UINT64_C(4) << 20)

/* Sessions */

static int read_once(struct session *s, const char *what)
{
	s->call.op = OP_READ;
	return probe_perform(s, what);
}

static void must_not_read(struct session *s, const char *name, const char *where)
{
	if (!read_once(s, name))
		probe_note(s, SWO_VERDICT_FAIL, name,
			"a read %s returns %zu bytes instead of an error", where, s->call.got);
	else if (!s->lost)
		probe_note(s, SWO_VERDICT_PASS, name, "refused");
}

static void check_ends(struct session *s)
{
	if (!probe_reach(s, SWO_DEVICE_RUNNING))
		must_not_read(s, "session.none", "without a session");
	if (s->lost || probe_save_state(s, 0))
		return;
	size_t whole = s->stream.len;

	if (!read_once(s, "session.end")) {
		if (s->call.got)
			probe_note(s, SWO_VERDICT_FAIL, "session.end",
				"%zu more bytes after the end of the state", s->call.got);
		else
			probe_note(s, SWO_VERDICT_PASS, "session.end", "no data after the end");
	} else if (!s->lost) {
		probe_note(s, SWO_VERDICT_FAIL, "session.end",
			"a read at the end of its state fails: %s", s->call.err.text);
	}
	if (s->lost || probe_go_arc(s, SWO_DEVICE_STOP))
		return;
	must_not_read(s, "session.closed", "after STOP_COPY was left");
	if (s->lost || probe_save_state(s, 0))
		return;
	if (s->stream.len == whole)
		probe_note(s, SWO_VERDICT_PASS, "session.again", "%zu bytes", whole);
	else
		probe_note(s, SWO_VERDICT_RISK, "session.again",
			"second session of a stopped device: %zu bytes, the first had %zu",
			s->stream.len, whole);
}

/* The bytes in s->stream must load. */
static void must_load(struct session *s, const char *name, size_t piece)
{
	s->back = s->stream;
	s->stream = (struct swo_buf)SWO_BUF_INIT(s->back.max);
	int rc = probe_load_state(s, s->back.data, s->back.len, piece);

	if (rc > 0) {
		probe_note(s, SWO_VERDICT_FAIL, name, "refused after %zu of %zu bytes: %s",
			s->call.got, s->back.len, s->call.err.text);
	} else if (!rc && !probe_request_state(s, SWO_DEVICE_STOP)) {
		probe_note(s, SWO_VERDICT_PASS, name, "%zu bytes", s->back.len);
	} else if (!rc && !s->lost) {
		probe_note(s, SWO_VERDICT_FAIL, name, "RESUMING->STOP refuses %zu bytes: %s",
			s->back.len, s->call.err.text);
	}
	if (!s->lost && s->state == SWO_DEVICE_RESUMING)
		probe_recover(s, "recovery.load");
	/* A hung call may still read it. */
	if (s->lost)
		return;
	swo_buf_free(&s->stream);
	s->stream = s->back;
	s->back = (struct swo_buf)SWO_BUF_INIT(s->stream.max);
}

/* Reads into s->stream until there is no data, for now or at all. */
static int read_on(struct session *s, const char *name)
{
	s->call.op = OP_READ_ALL;
	s->call.piece = 0;
	if (!probe_perform(s, name))
		return 0;
	if (s->lost)
		return -1;
	if (s->call.err.code == SWO_E_NO_MEMORY)
		probe_note(s, SWO_VERDICT_SKIP, name, "more state than the limit of this run");
	else
		probe_note(s, SWO_VERDICT_FAIL, name, "reading in %s: %s",
			swo_device_state_name(s->state), s->call.err.text);
	probe_recover(s, "recovery.save.read");
	return -1;
}

static void check_pre_copy(struct session *s)
{
	static const char name[] = "session.pre-copy";
	bool p2p = s->flags & SWO_MIG_P2P;

	if (!(s->flags & SWO_MIG_PRE_COPY)) {
		probe_note(s, SWO_VERDICT_SKIP, name, "no PRE_COPY");
		return;
	}
	if (probe_reach(s, SWO_DEVICE_RUNNING) || probe_go_arc(s, SWO_DEVICE_PRE_COPY))
		return;
	s->stream.len = 0;
	if (read_on(s, name) || (p2p && probe_go_arc(s, SWO_DEVICE_PRE_COPY_P2P)) ||
		(p2p && read_on(s, name)) || probe_go_arc(s, SWO_DEVICE_STOP_COPY) ||
		read_on(s, name))
		return;
	must_load(s, name, 0);
}

/* Aborted half-way: the next session must not contain any of it. */
static void check_abort(struct session *s)
{
	static const char name[] = "session.abort";

	if (probe_reach(s, SWO_DEVICE_STOP) || probe_go_arc(s, SWO_DEVICE_STOP_COPY) ||
		read_once(s, name) || probe_go_arc(s, SWO_DEVICE_STOP))
		return;
	if (s->flags & SWO_MIG_PRE_COPY &&
		(probe_reach(s, SWO_DEVICE_RUNNING) || probe_go_arc(s, SWO_DEVICE_PRE_COPY) ||
			read_once(s, name) || probe_go_arc(s, SWO_DEVICE_RUNNING)))
		return;
	if (!probe_save_state(s, 0))
		must_load(s, name, 0);
}

void probe_check_sessions(struct session *s)
{
	if (probe_need_good(s, "session"))
		return;
	check_ends(s);
	if (!s->lost)
		check_pre_copy(s);
	if (!s->lost)
		check_abort(s);
}

/* States that must not be accepted */

static void must_not_load(
	struct session *s, const char *name, const uint8_t *data, size_t len, const char *what)
{
	char back[72];
	int rc = probe_load_state(s, data, len, 0);

	snprintf(back, sizeof(back), "recovery.%s", name);
	if (rc < 0)
		return;
	if (rc > 0) {
		probe_note(s, SWO_VERDICT_PASS, name, "%s refused by a write", what);
	} else if (!probe_request_state(s, SWO_DEVICE_STOP)) {
		probe_note(s, SWO_VERDICT_RISK, name,
			"%s is not detected: RESUMING->STOP accepts it; a VMM that migrates this device "
			"must check lengths and hashes",
			what);
		/* Its present state is unusable. */
		probe_reset_device(s);
		return;
	} else if (s->lost) {
		return;
	} else {
		probe_note(s, SWO_VERDICT_PASS, name, "%s refused by RESUMING->STOP", what);
	}
	if (s->state != SWO_DEVICE_RESUMING && s->state != SWO_DEVICE_ERROR)
		probe_note(s, SWO_VERDICT_FAIL, back,
			"after a refused state the device is in %s, expected RESUMING or "
			"ERROR",
			swo_device_state_name(s->state));
	probe_recover(s, back);
}

static void check_cut(struct session *s)
{
	static const char name[] = "data.truncated";
	size_t len = s->good.len;
	const size_t cuts[] = {0, 1, len / 2, len - 1};
	char what[64];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(cuts) && !s->lost; i++) {
		snprintf(what, sizeof(what), "a state cut to %zu of %zu bytes", cuts[i], len);
		must_not_load(s, name, s->good.data, cuts[i], what);
	}
}

static void check_flips(struct session *s, uint8_t *copy)
{
	size_t len = s->good.len;
	const size_t places[] = {0, len / 3, len / 2, len - 1};
	char what[64];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(places) && !s->lost; i++) {
		copy[places[i]] ^= 0x10;
		snprintf(what, sizeof(what), "a flipped bit in byte %zu of %zu", places[i], len);
		must_not_load(s, "data.corrupted", copy, len, what);
		copy[places[i]] ^= 0x10;
	}
}

static void check_bad_states(struct session *s)
{
	size_t len = s->good.len, more = 64;
	uint8_t *copy = s->bad = malloc(len + more);
	uint32_t x = 12345;

	if (!copy) {
		probe_note(s, SWO_VERDICT_SKIP, "data.corrupted", "not enough memory");
		return;
	}
	memcpy(copy, s->good.data, len);
	memset(copy + len, 0, more);
	check_cut(s);
	if (!s->lost)
		check_flips(s, copy);
	if (!s->lost)
		must_not_load(s, "data.extended", copy, len + more, "a state with 64 more bytes");
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		copy[i] = (uint8_t)(x >> 24);
	}
	if (!s->lost)
		must_not_load(s, "data.foreign", copy, len, "a foreign state");
}

/* And those that must:
 */

static void check_pieces(struct session *s)
{
	if (s->good.len > ODD_MAX) {
		probe_note(
			s, SWO_VERDICT_SKIP, "data.short-reads", "its state is too large for it");
		return;
	}
	if (probe_save_state(s, ODD_PIECE))
		return;
	if (s->stream.len != s->good.len)
		probe_note(s, SWO_VERDICT_RISK, "data.short-reads",
			"%zu bytes when read in small pieces, otherwise %zu", s->stream.len,
			s->good.len);
	must_load(s, "data.short-reads", 0);
	if (!s->lost && !probe_save_state(s, 0))
		must_load(s, "data.short-writes", ODD_PIECE);
}

static void check_identity(struct session *s)
{
	static const char name[] = "data.identity";
	int rc = probe_load_state(s, s->good.data, s->good.len, 0);

	if (rc > 0)
		probe_note(s, SWO_VERDICT_FAIL, name,
			"a state that it accepted before is refused: %s", s->call.err.text);
	if (rc || probe_go_arc(s, SWO_DEVICE_STOP) || probe_save_state(s, 0))
		return;
	if (s->stream.len == s->good.len && !memcmp(s->stream.data, s->good.data, s->good.len)) {
		probe_note(s, SWO_VERDICT_PASS, name, "%zu bytes, the same", s->good.len);
		return;
	}
	size_t at = 0, most = s->stream.len < s->good.len ? s->stream.len : s->good.len;

	while (at < most && s->stream.data[at] == s->good.data[at])
		at++;
	probe_note(s, SWO_VERDICT_RISK, name,
		"saved, loaded and saved again its state differs from byte %zu on (%zu bytes, then "
		"%zu)",
		at, s->good.len, s->stream.len);
}

void probe_check_data(struct session *s)
{
	if (probe_need_good(s, "data"))
		return;
	check_pieces(s);
	if (!s->lost)
		check_identity(s);
	if (!s->lost)
		probe_reach(s, SWO_DEVICE_RUNNING);
}

void probe_check_hostile(struct session *s)
{
	static const char *const names[] = {
		"data.truncated", "data.corrupted", "data.extended", "data.foreign"};

	if (!s->params.hostile) {
		for (unsigned i = 0; i < SWO_ARRAY_SIZE(names); i++)
			probe_note(s, SWO_VERDICT_SKIP, names[i],
				"not requested: it goes into firmware that other devices may share");
		return;
	}
	if (probe_need_good(s, "data"))
		return;
	check_bad_states(s);
	/* After the refused states, a valid one is still accepted. */
	if (s->lost || probe_reach(s, SWO_DEVICE_RUNNING) || probe_save_state(s, 0))
		return;
	must_load(s, "data.after-refusals", 0);
	if (!s->lost)
		probe_reach(s, SWO_DEVICE_RUNNING);
}
