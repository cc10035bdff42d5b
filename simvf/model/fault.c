/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * fault.c - injected faults: parses their specs, and finds the fault for an arc, an offset in a
 * stream, or a doorbell. Grammar: docs/simvf.md.
 */
#include "internal.h"

#define MS UINT64_C(1000000)

static bool fail(const char **why, const char *text)
{
	*why = text;
	return false;
}

/* Consumes `word` at the start of *p. */
static bool word(const char **p, const char *text)
{
	size_t i = 0;

	while (text[i] && (*p)[i] == text[i])
		i++;
	if (text[i])
		return false;
	*p += i;
	return true;
}

static bool state(const char **p, uint8_t *out)
{
	size_t len = 0;
	int found;

	if (word(p, "*")) {
		*out = SVF_STATES;
		return true;
	}
	while (((*p)[len] >= 'A' && (*p)[len] <= 'Z') || (*p)[len] == '_' || (*p)[len] == '2')
		len++;
	found = svf_state_by_name(*p, len);
	*p += len;
	*out = (uint8_t)found;
	return found >= 0;
}

static bool arc(const char **p, struct svf_fault *f)
{
	f->where = SVF_AT_ARC;
	return state(p, &f->from) && word(p, "->") && state(p, &f->to);
}

static bool error_number(const char **p, struct svf_fault *f)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {{"EIO", SVF_EIO}, {"ENOMEM", SVF_ENOMEM}, {"EBUSY", SVF_EBUSY},
		{"EINVAL", SVF_EINVAL}, {"ENOSPC", SVF_ENOSPC}, {"ETIMEDOUT", 110}};
	uint64_t number;

	if (!word(p, "="))
		return true;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (word(p, known[i].name)) {
			f->err = known[i].number;
			return true;
		}
	if (!svf_text_number(p, &number) || !number || number > 4095)
		return false;
	f->err = (int)number;
	return true;
}

static bool milliseconds(const char **p, struct svf_fault *f, const char **why)
{
	uint64_t ms;

	if (!word(p, "=") || !svf_text_number(p, &ms) || ms > 3600 * 1000)
		return fail(why, "expected slow=MS, at most 3600000 ms");
	f->arg = ms * MS;
	return true;
}

static bool arc_fault(const char **p, struct svf_fault *f, const char **why)
{
	if (!arc(p, f) || !word(p, ":"))
		return fail(why, "expected arc=STATE->STATE:WHAT, each STATE a name or *");
	if (word(p, "fail"))
		f->what = SVF_FAIL;
	else if (word(p, "error"))
		f->what = SVF_TO_ERROR;
	else if (word(p, "hang"))
		f->what = SVF_HANG;
	else if (word(p, "die"))
		f->what = SVF_DIE;
	else if (word(p, "slow"))
		f->what = SVF_SLOW;
	else
		return fail(why, "expected fail, error, hang, slow=MS or die after the arc");
	if (f->what == SVF_SLOW)
		return milliseconds(p, f, why);
	if (f->what == SVF_HANG || f->what == SVF_DIE || error_number(p, f))
		return true;
	return fail(why, "expected an errno: a number up to 4095, or a name such as EIO");
}

static bool stream_fault(const char **p, struct svf_fault *f, const char **why)
{
	bool needs_at = false;

	if (word(p, "hang")) {
		f->what = SVF_HANG;
	} else if (word(p, "slow")) {
		f->what = SVF_SLOW;
		if (!milliseconds(p, f, why))
			return false;
	} else if (f->where == SVF_AT_SAVE && word(p, "break")) {
		f->what = SVF_FAIL;
	} else if (f->where == SVF_AT_SAVE && word(p, "short")) {
		f->what = SVF_SHORT;
		needs_at = true;
	} else if (f->where == SVF_AT_SAVE && word(p, "corrupt")) {
		f->what = SVF_CORRUPT;
		needs_at = true;
	} else if (f->where == SVF_AT_SAVE && word(p, "endless")) {
		f->what = SVF_ENDLESS;
		return true;
	} else if (f->where == SVF_AT_LOAD && word(p, "lax")) {
		f->what = SVF_LAX;
		return true;
	} else if (f->where == SVF_AT_LOAD && word(p, "lose")) {
		f->what = SVF_LOSE;
		return true;
	} else if (f->where == SVF_AT_LOAD && word(p, "fail")) {
		f->what = SVF_FAIL;
	} else if (f->where == SVF_AT_LOAD && word(p, "refuse")) {
		f->where = SVF_AT_ARC;
		f->what = SVF_FAIL;
		f->from = SVF_RESUMING;
		f->to = SVF_STOP;
		f->err = SVF_EINVAL;
		return error_number(p, f) || fail(why, "not an errno");
	} else {
		return fail(why, "expected save:break|short|corrupt|endless|hang|slow or "
				 "load:fail|refuse|lax|lose|hang|slow");
	}
	if (word(p, "@")) {
		if (!svf_text_number(p, &f->at))
			return fail(why, "expected a number of bytes after @");
	} else if (needs_at) {
		return fail(why, "expected @BYTES after save:short and save:corrupt");
	}
	if (f->what == SVF_HANG || f->what == SVF_SLOW)
		return true;
	return error_number(p, f) || fail(why, "not an errno");
}

static bool log_fault(const char **p, struct svf_fault *f, const char **why)
{
	static const char *const calls[SVF_LOG_CALLS] = {"start", "report", "stop"};

	f->where = SVF_AT_LOG;
	f->to = SVF_STATES;
	for (f->from = 0; f->from < SVF_LOG_CALLS && !word(p, calls[f->from]);)
		f->from++;
	if (f->from == SVF_LOG_CALLS || (word(p, "@") && !state(p, &f->to)) || !word(p, ":"))
		return fail(why, "expected log=start|report|stop[@STATE]:WHAT");
	if (word(p, "hang")) {
		f->what = SVF_HANG;
		return true;
	}
	if (word(p, "slow")) {
		f->what = SVF_SLOW;
		return milliseconds(p, f, why);
	}
	if (!word(p, "fail"))
		return fail(why, "expected fail, hang or slow=MS after the call of the log");
	return error_number(p, f) || fail(why, "not an errno");
}

static bool event_fault(const char **p, struct svf_fault *f, const char **why)
{
	if (word(p, "arc="))
		return arc(p, f) || fail(why, "expected arc=STATE->STATE");
	if (word(p, "save="))
		f->where = SVF_AT_SAVE;
	else if (word(p, "load="))
		f->where = SVF_AT_LOAD;
	else if (word(p, "doorbell="))
		f->where = SVF_AT_DOORBELL;
	else
		return fail(
			why, "expected an event: arc=A->B, save=BYTES, load=BYTES or doorbell=N");
	return svf_text_number(p, &f->at) || fail(why, "expected a number after the event");
}

bool svf_fault_parse(const char *spec, struct svf_fault *out, const char **why)
{
	struct svf_fault f = {.used = true, .err = SVF_EIO};
	const char *p = spec;
	bool ok;

	if (word(&p, "arc=")) {
		ok = arc_fault(&p, &f, why);
	} else if (word(&p, "save:")) {
		f.where = SVF_AT_SAVE;
		ok = stream_fault(&p, &f, why);
	} else if (word(&p, "load:")) {
		f.where = SVF_AT_LOAD;
		ok = stream_fault(&p, &f, why);
	} else if (word(&p, "log=")) {
		ok = log_fault(&p, &f, why);
	} else if (word(&p, "illegal:fail")) {
		f.where = SVF_AT_ILLEGAL;
		ok = error_number(&p, &f) || fail(why, "not an errno");
	} else if (word(&p, "die@")) {
		f.what = SVF_DIE;
		ok = event_fault(&p, &f, why);
	} else if (word(&p, "socket:close@")) {
		f.what = SVF_CLOSE;
		ok = event_fault(&p, &f, why);
	} else if (word(&p, "reset@")) {
		f.what = SVF_RESET;
		ok = event_fault(&p, &f, why);
	} else {
		return fail(why, "expected arc=, save:, load:, log=, illegal:, die@, reset@ or "
				 "socket:close@");
	}
	if (!ok)
		return false;
	if (word(&p, ",x")) {
		if (!svf_text_number(&p, &f.left) || !f.left)
			return fail(why, "expected a count of 1 or more after ,x");
		f.limited = true;
	}
	if (*p)
		return fail(why, "unexpected text after the fault");
	*out = f;
	return true;
}

int svf_add_fault(struct svf *dev, const struct svf_fault *fault)
{
	for (unsigned i = 0; i < SVF_FAULTS; i++)
		if (!dev->faults[i].used) {
			dev->faults[i] = *fault;
			return 0;
		}
	return -SVF_ENOSPC;
}

void svf_clear_faults(struct svf *dev)
{
	svf_zero(dev->faults, sizeof(dev->faults));
}

static struct svf_fault *hit(struct svf *dev, struct svf_fault *f)
{
	dev->stats.fault_hits++;
	f->hits++;
	if (f->limited && !--f->left)
		f->used = false;
	return f;
}

static bool fits(uint8_t pattern, unsigned value)
{
	return pattern == SVF_STATES || pattern == value;
}

struct svf_fault *svf_fault_arc(struct svf *dev, unsigned from, unsigned to, unsigned what)
{
	for (unsigned i = 0; i < SVF_FAULTS; i++) {
		struct svf_fault *f = &dev->faults[i];

		if (f->used && f->where == SVF_AT_ARC && f->what == what && fits(f->from, from) &&
			fits(f->to, to))
			return hit(dev, f);
	}
	return NULL;
}

struct svf_fault *svf_fault_stream(
	struct svf *dev, unsigned where, unsigned what, uint64_t bytes, uint64_t *limit)
{
	for (unsigned i = 0; i < SVF_FAULTS; i++) {
		struct svf_fault *f = &dev->faults[i];

		if (!f->used || f->where != where || f->what != what)
			continue;
		if (bytes >= f->at)
			return hit(dev, f);
		*limit = svf_min(*limit, f->at - bytes);
	}
	return NULL;
}

struct svf_fault *svf_fault_at(struct svf *dev, unsigned where, unsigned what)
{
	for (unsigned i = 0; i < SVF_FAULTS; i++) {
		struct svf_fault *f = &dev->faults[i];

		if (f->used && f->where == where && f->what == what)
			return hit(dev, f);
	}
	return NULL;
}

bool svf_fault_waits(const struct svf *dev, unsigned where, unsigned what, uint64_t bytes)
{
	for (unsigned i = 0; i < SVF_FAULTS; i++) {
		const struct svf_fault *f = &dev->faults[i];

		if (f->used && f->where == where && f->what == what && bytes >= f->at)
			return true;
	}
	return false;
}

void svf_fault_corrupt(struct svf *dev, uint64_t offset, uint8_t *data, size_t len)
{
	for (unsigned i = 0; i < SVF_FAULTS; i++) {
		struct svf_fault *f = &dev->faults[i];

		if (!f->used || f->what != SVF_CORRUPT || f->at < offset || f->at - offset >= len)
			continue;
		data[f->at - offset] ^= 0x10;
		hit(dev, f);
	}
}

bool svf_fault_events(struct svf *dev, unsigned where, uint64_t before, uint64_t reached)
{
	bool was_reset = false;

	for (unsigned i = 0; i < SVF_FAULTS; i++) {
		struct svf_fault *f = &dev->faults[i];

		if (!f->used || f->where != where ||
			(f->what != SVF_DIE && f->what != SVF_CLOSE && f->what != SVF_RESET) ||
			reached < f->at || (before >= f->at && (before || f->at)))
			continue;
		hit(dev, f);
		was_reset |= f->what == SVF_RESET;
		dev->config.ops->event(dev->config.opaque, f->what == SVF_DIE ? SVF_EVENT_DIE
							   : f->what == SVF_RESET
								   ? SVF_EVENT_RESET
								   : SVF_EVENT_CLOSE);
	}
	return was_reset;
}

/* Calls that are held up */

static bool hold(struct svf *dev, const struct svf_fault *f, uint64_t now)
{
	if (!f)
		return false;
	dev->hold.on = true;
	dev->hold.due = f->what == SVF_HANG ? SVF_NEVER : now + f->arg;
	return now < dev->hold.due;
}

/* Whether the hold of an earlier call of it goes on. */
static bool still_held(struct svf *dev, uint64_t now)
{
	if (!dev->hold.on || now < dev->hold.due)
		return dev->hold.on;
	dev->hold = (struct svf_hold){.over = true};
	return false;
}

bool svf_fault_holds(struct svf *dev, unsigned where, uint64_t bytes, uint64_t *limit, uint64_t now)
{
	struct svf_fault *f;

	if (still_held(dev, now))
		return true;
	if (dev->hold.over)
		return false;
	f = svf_fault_stream(dev, where, SVF_HANG, bytes, limit);
	if (!f)
		f = svf_fault_stream(dev, where, SVF_SLOW, bytes, limit);
	return hold(dev, f, now);
}

static struct svf_fault *log_fault_of(struct svf *dev, enum svf_log_call call)
{
	for (unsigned i = 0; i < SVF_FAULTS; i++) {
		struct svf_fault *f = &dev->faults[i];

		if (f->used && f->where == SVF_AT_LOG && f->from == call && fits(f->to, dev->state))
			return hit(dev, f);
	}
	return NULL;
}

int svf_log_enter(struct svf *dev, enum svf_log_call call, uint64_t now)
{
	struct svf_fault *f;

	if (still_held(dev, now))
		return SVF_PENDING;
	if (dev->hold.over) {
		dev->hold.over = false;
		return 0;
	}
	f = log_fault_of(dev, call);
	if (f && f->what == SVF_FAIL)
		return -f->err;
	return hold(dev, f, now) ? SVF_PENDING : 0;
}
