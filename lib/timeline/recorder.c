/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recorder.c - stores spans: one array, one short lock, no allocation after the start. Further
 * spans are counted.
 */
#include "timeline/hold.h"
#include "timeline/internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Many more than any migration records; prevents an overflow of capacity * size. */
#define CAPACITY_MAX (1u << 24)

struct swo_timeline {
	pthread_mutex_t lock;
	enum swo_side side;
	size_t capacity;
	size_t count;
	size_t dropped;
	atomic_uint references;
	struct swo_span spans[];
};

struct swo_timeline *swo_timeline_new(enum swo_side side, size_t capacity)
{
	if (capacity > CAPACITY_MAX)
		return NULL;
	struct swo_timeline *timeline =
		calloc(1, sizeof(*timeline) + capacity * sizeof(timeline->spans[0]));
	if (!timeline)
		return NULL;
	pthread_mutex_init(&timeline->lock, NULL);
	timeline->side = side;
	timeline->capacity = capacity;
	timeline_hold(timeline);
	return timeline;
}

void timeline_hold(struct swo_timeline *timeline)
{
	if (timeline)
		atomic_fetch_add(&timeline->references, 1);
}

void swo_timeline_free(struct swo_timeline *timeline)
{
	if (!timeline || atomic_fetch_sub(&timeline->references, 1) > 1)
		return;
	pthread_mutex_destroy(&timeline->lock);
	free(timeline);
}

void swo_timeline_clear(struct swo_timeline *timeline)
{
	if (!timeline)
		return;
	pthread_mutex_lock(&timeline->lock);
	timeline->count = timeline->dropped = 0;
	pthread_mutex_unlock(&timeline->lock);
}

/* Printable ASCII stays; what a terminal or a JSON reader could stumble over does not. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
}

static void keep(struct swo_timeline *timeline, const struct swo_span *span)
{
	pthread_mutex_lock(&timeline->lock);
	if (timeline->count < timeline->capacity)
		timeline->spans[timeline->count++] = *span;
	else
		timeline->dropped++;
	pthread_mutex_unlock(&timeline->lock);
}

void timeline_add_dropped(struct swo_timeline *timeline, size_t dropped)
{
	pthread_mutex_lock(&timeline->lock);
	if (__builtin_add_overflow(timeline->dropped, dropped, &timeline->dropped))
		timeline->dropped = SIZE_MAX;
	pthread_mutex_unlock(&timeline->lock);
}

void swo_timeline_add(struct swo_timeline *timeline, const struct swo_span *span)
{
	if (!timeline)
		return;
	struct swo_span own = *span;

	if (own.end_ns < own.start_ns)
		own.end_ns = own.start_ns;
	/* The caller may have filled both to the last byte. */
	own.device[sizeof(own.device) - 1] = own.name[sizeof(own.name) - 1] = 0;
	make_printable(own.device);
	if ((unsigned)own.event >= SWO_EVENTS)
		own.event = SWO_EVENT_OTHER;
	if (own.event != SWO_EVENT_OTHER) {
		timeline_set_name(&own);
	} else {
		make_printable(own.name);
		timeline_find_event(&own);
	}
	keep(timeline, &own);
}

void swo_timeline_record(struct swo_timeline *timeline, const struct swo_span *span)
{
	if (!timeline)
		return;
	struct swo_span own = *span;

	own.side = timeline->side;
	swo_timeline_add(timeline, &own);
}

void swo_timeline_span(struct swo_timeline *timeline, enum swo_event event, const char *device,
	uint64_t start_ns, uint64_t end_ns, uint64_t bytes)
{
	struct swo_span span = {
		.event = event, .start_ns = start_ns, .end_ns = end_ns, .bytes = bytes};

	snprintf(span.device, sizeof(span.device), "%s", device ? device : "");
	swo_timeline_record(timeline, &span);
}

void swo_timeline_mark(struct swo_timeline *timeline, enum swo_event event)
{
	uint64_t now = swo_now_ns();

	swo_timeline_span(timeline, event, NULL, now, now, 0);
}

size_t swo_timeline_count(struct swo_timeline *timeline, size_t *dropped)
{
	size_t count = 0, lost = 0;

	if (timeline) {
		pthread_mutex_lock(&timeline->lock);
		count = timeline->count;
		lost = timeline->dropped;
		pthread_mutex_unlock(&timeline->lock);
	}
	if (dropped)
		*dropped = lost;
	return count;
}

bool swo_timeline_get(struct swo_timeline *timeline, size_t i, struct swo_span *out)
{
	if (!timeline)
		return false;
	pthread_mutex_lock(&timeline->lock);
	bool there = i < timeline->count;
	if (there)
		*out = timeline->spans[i];
	pthread_mutex_unlock(&timeline->lock);
	return there;
}

struct swo_span *timeline_copy(struct swo_timeline *timeline, size_t *count, size_t *dropped)
{
	*count = *dropped = 0;
	if (!timeline)
		return calloc(1, sizeof(struct swo_span));
	/* Allocated for the capacity, outside the lock: recording must not wait for malloc. */
	struct swo_span *spans = calloc(timeline->capacity + 1, sizeof(*spans));
	if (!spans)
		return NULL;
	pthread_mutex_lock(&timeline->lock);
	*count = timeline->count;
	*dropped = timeline->dropped;
	memcpy(spans, timeline->spans, *count * sizeof(*spans));
	pthread_mutex_unlock(&timeline->lock);
	return spans;
}

bool swo_timeline_switchover(struct swo_timeline *timeline, uint64_t *from_ns, uint64_t *to_ns)
{
	size_t count, dropped;
	bool stopped = false, started = false;
	uint64_t from = 0, to = 0;
	swo_autofree struct swo_span *spans = timeline_copy(timeline, &count, &dropped);

	if (!spans)
		return false;
	/* The stop is the last one recorded before the target's last arc: earlier attempts
	   may have been rolled back. */
	for (size_t i = 0; i < count; i++) {
		const struct swo_span *span = &spans[i];

		if (span->side == SWO_SIDE_TARGET && span->event == SWO_EVENT_ARC &&
			(span->to == SWO_DEVICE_RUNNING || span->to == SWO_DEVICE_RUNNING_P2P) &&
			(!started || span->end_ns > to)) {
			to = span->end_ns;
			started = true;
		}
	}
	for (size_t i = 0; i < count; i++) {
		const struct swo_span *span = &spans[i];

		if (span->side == SWO_SIDE_SOURCE && span->event == SWO_EVENT_STOP_PREPARE &&
			(!started || span->start_ns < to) && (!stopped || span->start_ns > from)) {
			from = span->start_ns;
			stopped = true;
		}
	}
	if (!stopped || !started)
		return false;
	*from_ns = from;
	*to_ns = to;
	return true;
}
