/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * recorder.c - keeps spans: one array, one short lock, no allocation after the
 * start. What does not fit is counted.
 */
#include "timeline/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Far more than any migration records; keeps capacity * size from overflowing. */
#define CAPACITY_MAX (1u << 24)

struct swo_timeline {
	pthread_mutex_t lock;
	enum swo_side side;
	size_t capacity;
	size_t count;
	size_t dropped;
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
	return timeline;
}

void swo_timeline_free(struct swo_timeline *timeline)
{
	if (!timeline)
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

bool timeline_add(struct swo_timeline *timeline, const struct swo_span *span)
{
	pthread_mutex_lock(&timeline->lock);
	bool fits = timeline->count < timeline->capacity;
	if (fits)
		timeline->spans[timeline->count++] = *span;
	else
		timeline->dropped++;
	pthread_mutex_unlock(&timeline->lock);
	return fits;
}

void timeline_add_dropped(struct swo_timeline *timeline, size_t dropped)
{
	pthread_mutex_lock(&timeline->lock);
	if (__builtin_add_overflow(timeline->dropped, dropped, &timeline->dropped))
		timeline->dropped = SIZE_MAX;
	pthread_mutex_unlock(&timeline->lock);
}

void timeline_span_text(struct swo_span *span, const char *device, const char *name)
{
	snprintf(span->device, sizeof(span->device), "%s", device ? device : "");
	snprintf(span->name, sizeof(span->name), "%s", name);
	make_printable(span->device);
	make_printable(span->name);
}

static void record(struct swo_timeline *timeline, struct swo_span *span, const char *device,
	const char *fmt, va_list ap)
{
	char name[sizeof(span->name)];

	vsnprintf(name, sizeof(name), fmt, ap);
	timeline_span_text(span, device, name);
	span->side = timeline->side;
	timeline_add(timeline, span);
}

void swo_timeline_span(struct swo_timeline *timeline, enum swo_span_kind kind, const char *device,
	uint64_t start_ns, uint64_t end_ns, uint64_t bytes, const char *fmt, ...)
{
	if (!timeline)
		return;
	struct swo_span span = {.kind = kind,
		.start_ns = start_ns,
		.end_ns = end_ns < start_ns ? start_ns : end_ns,
		.bytes = bytes};
	va_list ap;

	va_start(ap, fmt);
	record(timeline, &span, device, fmt, ap);
	va_end(ap);
}

void swo_timeline_mark(struct swo_timeline *timeline, const char *device, const char *fmt, ...)
{
	if (!timeline)
		return;
	uint64_t now = swo_now_ns();
	struct swo_span span = {.kind = SWO_SPAN_MARK, .start_ns = now, .end_ns = now};
	va_list ap;

	va_start(ap, fmt);
	record(timeline, &span, device, fmt, ap);
	va_end(ap);
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
	/* The stop is the last one recorded before the target's last arc: an attempt that was
	   taken back may lie before it. */
	for (size_t i = 0; i < count; i++) {
		const struct swo_span *span = &spans[i];

		if (span->side == SWO_SIDE_TARGET && span->kind == SWO_SPAN_ARC &&
			strstr(span->name, "->RUNNING") && (!started || span->end_ns > to)) {
			to = span->end_ns;
			started = true;
		}
	}
	for (size_t i = 0; i < count; i++) {
		const struct swo_span *span = &spans[i];

		if (span->side == SWO_SIDE_SOURCE && span->kind == SWO_SPAN_PASS &&
			!strncmp(span->name, TIMELINE_STOP_PASS, strlen(TIMELINE_STOP_PASS)) &&
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
