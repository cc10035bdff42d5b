/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path.c - the critical path: back from STARTED to "vCPUs stopped", at each point the span whose
 * end enabled the next. What enables what is the schedule of migration/ (docs/migration.md).
 */
#include "switchover/plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A step that starts this soon after its device's last one did not wait for another device. */
#define NEAR_NS UINT64_C(1000000)

#define NOTHING "nothing recorded"

/* The stage of the switchover that a span belongs to. */
enum stage {
	STAGE_OTHER,
	STAGE_STOPPED,	     /* source, mark */
	STAGE_QUIESCE,	     /* source, arcs to a P2P state */
	STAGE_STOP,	     /* source, arcs to STOP and STOP_COPY */
	STAGE_SAVED,	     /* source, a device's stream */
	STAGE_RAM,	     /* source */
	STAGE_MACHINE_SAVED, /* source */
	STAGE_SENT,	     /* source: all is sent; the wait for READY begins */
	STAGE_CONFIGURED,    /* target */
	STAGE_LOADED,	     /* target, a device's stream */
	STAGE_MACHINE_LOADED,
	STAGE_FINALISE, /* target, RESUMING->STOP */
	STAGE_READY,	/* target, mark */
	STAGE_GO_SENT,	/* source, mark */
	STAGE_GO,	/* target, mark */
	STAGE_RELEASE,	/* target, STOP->RUNNING_P2P */
	STAGE_RUN,	/* target, arcs to RUNNING */
	STAGE_RESUMED,	/* target */
	STAGE_STARTED,	/* target, mark */
};

struct item {
	struct swo_span span; /* cut to the interval */
	enum stage stage;
	bool used;
};

struct chain {
	struct item *items;
	size_t count;
	uint64_t from;	    /* "vCPUs stopped" */
	uint64_t cursor;    /* everything later is explained */
	bool devices;	    /* there are arcs at all */
	bool missing;	    /* the expected span was not recorded */
	struct swo_span at; /* what came after it: a gap is its wait */
	struct swo_path *path;
};

/* Stages */

/* A failed arc enables nothing. */
static enum stage arc_stage(const struct swo_span *span)
{
	const bool source = span->side == SWO_SIDE_SOURCE;

	if (span->failed)
		return STAGE_OTHER;
	switch (span->to) {
	case SWO_DEVICE_PRE_COPY_P2P:
		return source ? STAGE_QUIESCE : STAGE_OTHER;
	case SWO_DEVICE_RUNNING_P2P:
		return source ? STAGE_QUIESCE : STAGE_RELEASE;
	case SWO_DEVICE_STOP_COPY:
		return source ? STAGE_STOP : STAGE_OTHER;
	case SWO_DEVICE_STOP:
		return source ? STAGE_STOP : STAGE_FINALISE;
	case SWO_DEVICE_RUNNING:
		return source ? STAGE_OTHER : STAGE_RUN;
	default:
		return STAGE_OTHER;
	}
}

static enum stage stage_of(const struct swo_span *span)
{
	const bool source = span->side == SWO_SIDE_SOURCE;

	switch (span->event) {
	case SWO_EVENT_ARC:
		return arc_stage(span);
	case SWO_EVENT_VCPUS_STOPPED:
		return source ? STAGE_STOPPED : STAGE_OTHER;
	case SWO_EVENT_SAVE:
		return source ? STAGE_SAVED : STAGE_OTHER;
	case SWO_EVENT_WAIT_READY:
		return source ? STAGE_SENT : STAGE_OTHER;
	case SWO_EVENT_MACHINE_STATE:
		return source ? STAGE_MACHINE_SAVED : STAGE_MACHINE_LOADED;
	case SWO_EVENT_GO:
		return source ? STAGE_GO_SENT : STAGE_GO;
	case SWO_EVENT_CONFIG_LOAD:
		return source ? STAGE_OTHER : STAGE_CONFIGURED;
	case SWO_EVENT_LOAD:
		return source ? STAGE_OTHER : STAGE_LOADED;
	case SWO_EVENT_READY:
		return source ? STAGE_OTHER : STAGE_READY;
	case SWO_EVENT_VCPUS_RESUME:
		return source ? STAGE_OTHER : STAGE_RESUMED;
	case SWO_EVENT_STARTED:
		return source ? STAGE_OTHER : STAGE_STARTED;
	default:
		return span->kind == SWO_SPAN_RAM && source ? STAGE_RAM : STAGE_OTHER;
	}
}

/* Building the path, last step first */

static void push_step(struct chain *c, const struct swo_span *span, const char *gap, uint64_t start)
{
	struct swo_path *path = c->path;
	bool last = path->count == SWO_PATH_STEPS_MAX - 1;

	if (last) /* no engine records so many: the sum is still right */
		start = c->from;
	if (start < c->from)
		start = c->from;
	if (start >= c->cursor || path->count == SWO_PATH_STEPS_MAX)
		return;
	struct swo_path_step *step = &path->steps[path->count++];

	*step = (struct swo_path_step){.gap = gap || last,
		.side = span->side,
		.kind = gap || last ? SWO_SPAN_WAIT : span->kind,
		.start_ns = start,
		.end_ns = c->cursor};
	snprintf(step->name, sizeof(step->name), "%s",
		last  ? "all that came before"
		: gap ? gap
		      : span->name);
	snprintf(step->device, sizeof(step->device), "%s", span->device);
	c->cursor = start;
}

/* No span explains the time between `when` and the cursor; a name does. */
static void gap_to(struct chain *c, uint64_t when, const char *name)
{
	push_step(c, &c->at, c->missing ? NOTHING : name, when);
	c->missing = false;
}

/* Goes back to the beginning of a span that ended before the cursor, with `gap` between. */
static void add_step(struct chain *c, struct item *item, const char *gap)
{
	item->used = true;
	gap_to(c, item->span.end_ns, gap);
	push_step(c, &item->span, NULL, item->span.start_ns);
	c->at = item->span;
}

/* Searching */

/* Of two that end together the longer one counts. */
static bool better(const struct item *one, const struct item *other)
{
	if (!other)
		return true;
	if (one->span.end_ns != other->span.end_ns)
		return one->span.end_ns > other->span.end_ns;
	return one->span.start_ns < other->span.start_ns;
}

/* The last of its stage that ended in (after, until]; of `device`, unless that is NULL. */
static struct item *last_of(struct chain *c, enum stage stage, const char *device, uint64_t until)
{
	struct item *best = NULL;

	for (size_t i = 0; i < c->count; i++) {
		struct item *item = &c->items[i];

		if (item->stage == stage && !item->used && item->span.end_ns <= until &&
			(!device || !strcmp(item->span.device, device)) && better(item, best))
			best = item;
	}
	return best;
}

static struct item *later(struct item *one, struct item *other)
{
	if (!one || !other)
		return one ? one : other;
	return better(other, one) ? other : one;
}

static bool near(const struct item *item, uint64_t start)
{
	return item && start - item->span.end_ns <= NEAR_NS;
}

/* A device could have continued earlier: the event that ended later counts. */
static bool waited_for(uint64_t ended, const struct item *own)
{
	return !own || ended > own->span.end_ns + NEAR_NS;
}

/* Waves of arcs */

/*
 * Back through a wave: an arc started with its wave, or after an arc of its device, or (one device
 * at a time, or one depth at a time) after another device's.
 */
static void wave(
	struct chain *c, struct item *arc, enum stage stage, enum stage below, const char *gap)
{
	while (arc) {
		add_step(c, arc, gap);
		uint64_t start = arc->span.start_ns;
		struct item *own = last_of(c, stage, arc->span.device, start);
		struct item *barrier = last_of(c, below, NULL, start);
		struct item *turn = last_of(c, stage, NULL, start);

		if (near(own, start)) {
			arc = own;
			gap = "between two arcs";
			continue;
		}
		if (near(barrier, start) || start - c->from <= NEAR_NS)
			return;
		if (turn && barrier && turn->span.end_ns <= barrier->span.end_ns)
			return;
		arc = turn;
		gap = "waiting for its turn";
	}
}

static void stop_of_vm(struct chain *c)
{
	struct item *arc = last_of(c, STAGE_QUIESCE, NULL, c->cursor);

	/* A VM without P2P devices has no such arcs. */
	if (arc)
		wave(c, arc, STAGE_QUIESCE, STAGE_STOPPED, "joining the prepare pass");
}

static void stop_of(struct chain *c, struct item *arc, const char *gap)
{
	if (arc)
		wave(c, arc, STAGE_STOP, STAGE_QUIESCE, gap);
	else
		c->missing = c->devices;
	stop_of_vm(c);
}

/* A device's way */

static void saving(struct chain *c, struct item *save, const char *gap)
{
	char device[sizeof(save->span.device)];

	memcpy(device, save->span.device, sizeof(device));
	add_step(c, save, gap);
	uint64_t start = save->span.start_ns;
	struct item *own = last_of(c, STAGE_STOP, device, start);
	struct item *last = last_of(c, STAGE_STOP, NULL, start);

	if (last && !near(own, start) && waited_for(last->span.end_ns, own))
		stop_of(c, last, "waiting until all devices have stopped");
	else
		stop_of(c, own, "beginning to stream");
}

/*
 * Loading runs concurrently with saving: only the time after the last byte was sent counts. A late
 * config is loaded by the same worker, before; one that has changed since is loaded again, after all
 * data.
 */
static void loading(struct chain *c, struct item *load, const char *gap)
{
	struct item *save = last_of(c, STAGE_SAVED, load->span.device, UINT64_MAX);
	struct item *config = last_of(c, STAGE_CONFIGURED, load->span.device, load->span.end_ns);
	struct item *cause = later(save, config);

	load->used = true;
	gap_to(c, load->span.end_ns, gap);
	push_step(c, &load->span, NULL, cause ? cause->span.end_ns : load->span.start_ns);
	c->at = load->span;
	if (cause && cause == config) {
		add_step(c, config, "wire");
		if (save && save->span.end_ns <= c->cursor)
			saving(c, save, "wire");
		else
			gap_to(c, c->from, "wire");
	} else if (cause) {
		saving(c, save, "wire");
	} else {
		c->missing = c->devices;
		stop_of(c, last_of(c, STAGE_STOP, load->span.device, c->cursor), NOTHING);
	}
}

/* When all was sent */

static void ram_passes(struct chain *c, struct item *pass)
{
	const char *gap = "ending the channels";

	while (pass) {
		add_step(c, pass, gap);
		struct item *stop = last_of(c, STAGE_STOP, NULL, pass->span.start_ns);
		struct item *before = last_of(c, STAGE_RAM, NULL, pass->span.start_ns);

		gap = "collecting dirty pages";
		if (stop && later(stop, before) == stop) {
			/* Pages that a device dirtied are sent after it has stopped. */
			stop_of(c, stop, gap);
			return;
		}
		pass = before;
	}
}

static void machine_saved(struct chain *c, struct item *machine, const char *gap)
{
	add_step(c, machine, gap);
	stop_of(c, last_of(c, STAGE_STOP, NULL, c->cursor), "joining the change pass");
}

static void all_sent(struct chain *c)
{
	struct item *ram = last_of(c, STAGE_RAM, NULL, c->cursor);
	struct item *save = last_of(c, STAGE_SAVED, NULL, c->cursor);
	struct item *machine = last_of(c, STAGE_MACHINE_SAVED, NULL, c->cursor);
	struct item *last = later(save, later(machine, ram));

	if (!last)
		stop_of(c, last_of(c, STAGE_STOP, NULL, c->cursor), "joining the change pass");
	else if (last == save)
		saving(c, save, "ending the channels");
	else if (last == machine)
		machine_saved(c, machine, "ending the channels");
	else
		ram_passes(c, ram);
}

static void sent_by(struct chain *c, struct item *sent, const char *gap)
{
	sent->used = true;
	gap_to(c, sent->span.start_ns, gap);
	c->at = sent->span;
	all_sent(c);
}

/* RESUMING->STOP */

/* The wait for READY started when everything was sent: that moment counts. */
static struct item *sent_before(struct chain *c, uint64_t until)
{
	struct item *best = NULL;

	for (size_t i = 0; i < c->count; i++) {
		struct item *item = &c->items[i];

		if (item->stage == STAGE_SENT && !item->used && item->span.start_ns <= until &&
			(!best || item->span.start_ns > best->span.start_ns))
			best = item;
	}
	return best;
}

static void finalising(struct chain *c, struct item *arc, const char *gap)
{
	for (;;) {
		add_step(c, arc, gap);
		uint64_t start = arc->span.start_ns;
		struct item *own = last_of(c, STAGE_LOADED, arc->span.device, start);
		struct item *turn = last_of(c, STAGE_FINALISE, NULL, start);
		struct item *sent = sent_before(c, start);
		bool prompt = near(own, start);

		if (!prompt && turn && waited_for(turn->span.end_ns, own) &&
			!(sent && sent->span.start_ns > turn->span.end_ns)) {
			arc = turn;
			gap = "waiting for its turn";
			continue;
		}
		if (!prompt && sent && waited_for(sent->span.start_ns, own)) {
			sent_by(c, sent, "waiting until all is in");
		} else if (own) {
			loading(c, own, "launching RESUMING->STOP");
		} else {
			c->missing = true;
			all_sent(c);
		}
		return;
	}
}

/* The vCPU state is loaded when it has come, or, one thing at a time, after a device's last arc. */
static void machine_loaded(struct chain *c, struct item *machine, const char *gap)
{
	struct item *saved = last_of(c, STAGE_MACHINE_SAVED, NULL, machine->span.end_ns);

	add_step(c, machine, gap);
	struct item *arc = last_of(c, STAGE_FINALISE, NULL, c->cursor);

	if (near(arc, c->cursor) && waited_for(arc->span.end_ns, saved))
		finalising(c, arc, "waiting for its turn");
	else if (saved)
		machine_saved(c, saved, "wire");
	else
		all_sent(c);
}

static void ready(struct chain *c)
{
	const char *const agreeing = "agreeing that all is in";
	struct item *arc = last_of(c, STAGE_FINALISE, NULL, c->cursor);
	struct item *load = last_of(c, STAGE_LOADED, NULL, c->cursor);
	struct item *machine = last_of(c, STAGE_MACHINE_LOADED, NULL, c->cursor);
	struct item *sent = sent_before(c, c->cursor);
	struct item *last = later(arc, later(load, machine));

	if (sent && (!last || sent->span.start_ns > last->span.end_ns)) {
		sent_by(c, sent, "wire");
	} else if (!last) {
		c->missing = true;
		all_sent(c);
	} else if (last == arc) {
		finalising(c, arc, agreeing);
	} else if (last == load) {
		loading(c, load, agreeing);
	} else {
		machine_loaded(c, machine, agreeing);
	}
}

/* The whole */

static void mark(struct chain *c, enum stage stage, const char *gap)
{
	struct item *item = last_of(c, stage, NULL, UINT64_MAX);

	if (item)
		add_step(c, item, gap);
	else
		c->missing = true;
}

static void trace_back(struct chain *c)
{
	struct item *resumed = last_of(c, STAGE_RESUMED, NULL, c->cursor);
	const char *gap = "resuming the vCPUs";

	if (resumed) {
		add_step(c, resumed, "reporting STARTED");
		gap = "joining the change pass";
	}
	struct item *run = last_of(c, STAGE_RUN, NULL, c->cursor);

	if (run)
		wave(c, run, STAGE_RUN, STAGE_RELEASE, gap);
	else
		c->missing = c->devices;
	struct item *release = last_of(c, STAGE_RELEASE, NULL, c->cursor);

	if (release)
		wave(c, release, STAGE_RELEASE, STAGE_GO, "joining the prepare pass");
	mark(c, STAGE_GO, "beginning the start");
	mark(c, STAGE_GO_SENT, "wire");
	mark(c, STAGE_READY, "wire");
	ready(c);
	gap_to(c, c->from, c->devices ? "beginning the stop" : "stopping");
}

/* The last STARTED, and the last stop before it: earlier attempts may have been rolled back. */
static int find_ends(const struct swo_span *spans, size_t count, uint64_t *from, uint64_t *to,
	struct swo_error *err)
{
	bool stopped = false, started = false;

	for (size_t i = 0; i < count; i++)
		if (stage_of(&spans[i]) == STAGE_STARTED && (!started || spans[i].end_ns > *to)) {
			*to = spans[i].end_ns;
			started = true;
		}
	for (size_t i = 0; started && i < count; i++)
		if (stage_of(&spans[i]) == STAGE_STOPPED && spans[i].start_ns <= *to &&
			(!stopped || spans[i].start_ns > *from)) {
			*from = spans[i].start_ns;
			stopped = true;
		}
	if (stopped)
		return 0;
	return swo_error_set(err, SWO_E_INVALID, 0,
		"no completed switchover in this timeline: no mark '%s' %s",
		started ? "vCPUs stopped" : "STARTED",
		started ? "before STARTED (was the VM paused when it was migrated?)"
			: "of the target (did the migration fail, or is this one side only?)");
}

static void keep(struct chain *c, const struct swo_span *span, uint64_t to)
{
	struct item item = {.span = *span, .stage = stage_of(span)};

	if (item.stage == STAGE_OTHER || span->end_ns < c->from || span->start_ns > to)
		return;
	if (item.span.start_ns < c->from)
		item.span.start_ns = c->from;
	if (item.span.end_ns > to)
		item.span.end_ns = to;
	c->devices |= span->kind == SWO_SPAN_ARC;
	c->items[c->count++] = item;
}

/* With --finalise late, RESUMING->STOP belongs to the start. */
static void place_late_arcs(struct chain *c)
{
	struct item *go = last_of(c, STAGE_GO, NULL, UINT64_MAX);

	for (size_t i = 0; go && i < c->count; i++)
		if (c->items[i].stage == STAGE_FINALISE &&
			c->items[i].span.start_ns >= go->span.start_ns)
			c->items[i].stage = STAGE_RELEASE;
}

static void turn_round(struct swo_path *path)
{
	for (size_t i = 0, j = path->count; i + 1 < j; i++) {
		struct swo_path_step swap = path->steps[--j];

		path->steps[j] = path->steps[i];
		path->steps[i] = swap;
	}
}

static int path_of(
	const struct swo_span *spans, size_t count, struct swo_path *out, struct swo_error *err)
{
	*out = (struct swo_path){0};
	if (find_ends(spans, count, &out->start_ns, &out->end_ns, err))
		return -1;
	struct chain c = {.from = out->start_ns,
		.cursor = out->end_ns,
		.path = out,
		.at = {.side = SWO_SIDE_TARGET}};

	c.items = calloc(count, sizeof(*c.items));
	out->steps = calloc(SWO_PATH_STEPS_MAX, sizeof(*out->steps));
	if (!c.items || !out->steps) {
		free(c.items);
		swo_path_free(out);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a path over %zu spans", count);
	}
	for (size_t i = 0; i < count; i++)
		keep(&c, &spans[i], out->end_ns);
	place_late_arcs(&c);
	trace_back(&c);
	turn_round(out);
	free(c.items);
	return 0;
}

int swo_critical_path(struct swo_timeline *timeline, struct swo_path *out, struct swo_error *err)
{
	size_t count = swo_timeline_count(timeline, NULL), got = 0;
	struct swo_span *spans = calloc(count + 1, sizeof(*spans));

	*out = (struct swo_path){0};
	if (!spans)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a path over %zu spans", count);
	while (got < count && swo_timeline_get(timeline, got, &spans[got]))
		got++;
	int rc = path_of(spans, got, out, err);

	free(spans);
	return rc;
}

void swo_path_free(struct swo_path *path)
{
	free(path->steps);
	*path = (struct swo_path){0};
}
