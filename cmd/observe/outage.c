/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * outage.c - finds the last switchover among the arcs of a VMM, and its passes:
 * the periods in which it requested the same arc of one device after another.
 */
#include "cmd/observe/observe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool begins_dma(enum swo_device_state state)
{
	return state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_PRE_COPY;
}

static bool is_p2p(enum swo_device_state state)
{
	return state == SWO_DEVICE_RUNNING_P2P || state == SWO_DEVICE_PRE_COPY_P2P;
}

static int by_start(const void *a, const void *b)
{
	const struct observed_arc *left = a, *right = b;

	return left->start_ns < right->start_ns ? -1 : left->start_ns > right->start_ns;
}

/* The end of it all: the target's last arc to RUNNING, or without a target the source's last to
 * STOP_COPY. */
static bool find_end(const struct observed_arc *arcs, size_t count, enum swo_side side,
	enum swo_device_state to, uint64_t *out)
{
	bool found = false;

	for (size_t i = 0; i < count; i++)
		if (arcs[i].side == side && arcs[i].to == to && !arcs[i].error &&
			(!found || arcs[i].end_ns > *out)) {
			*out = arcs[i].end_ns;
			found = true;
		}
	return found;
}

/*
 * Its start: the first arc of the last stop before `end` in which the source's devices leave a
 * state in which they can start DMA; a VMM that continues to run afterwards starts another one.
 */
static bool find_stop(const struct observed_arc *arcs, size_t count, uint64_t end, uint64_t *out)
{
	bool found = false;

	for (size_t i = 0; i < count; i++) {
		const struct observed_arc *arc = &arcs[i];

		if (arc->side != SWO_SIDE_SOURCE || arc->start_ns > end)
			continue;
		if (begins_dma(arc->from) && !begins_dma(arc->to)) {
			if (!found)
				*out = arc->start_ns;
			found = true;
		} else if (begins_dma(arc->to)) {
			found = false;
		}
	}
	return found;
}

/* A target alone: the first of its arcs out of RESUMING. */
static bool find_start(const struct observed_arc *arcs, size_t count, uint64_t *out)
{
	for (size_t i = count; i-- > 0;)
		if (arcs[i].side == SWO_SIDE_TARGET && arcs[i].to == SWO_DEVICE_RESUMING) {
			for (; i < count; i++)
				if (is_p2p(arcs[i].to) || arcs[i].to == SWO_DEVICE_RUNNING) {
					*out = arcs[i].start_ns;
					return true;
				}
			return false;
		}
	return false;
}

static void add_to_pass(struct observed_pass *pass, const struct observed_arc *arc)
{
	pass->arcs++;
	pass->ahead += arc->ahead;
	pass->failed += arc->error != 0;
	pass->sum_ns += arc->end_ns - arc->start_ns;
	if (arc->asked_ns && arc->answered_ns > arc->asked_ns)
		pass->waited_ns += arc->answered_ns - arc->asked_ns;
	if (arc->end_ns > pass->to_ns)
		pass->to_ns = arc->end_ns;
}

static void add_arc(struct observed_outage *out, const struct observed_arc *arc)
{
	struct observed_pass *last = out->count ? &out->passes[out->count - 1] : NULL;

	/* Devices in other states go the same way in the same pass: only the end counts. */
	if (!last || last->side != arc->side || last->to != arc->to) {
		if (out->count == OBSERVED_PASSES_MAX)
			return;
		last = &out->passes[out->count++];
		*last = (struct observed_pass){.side = arc->side,
			.to = arc->to,
			.from_ns = arc->start_ns,
			.to_ns = arc->end_ns};
		snprintf(last->name, sizeof(last->name), "%s", arc->name);
	}
	add_to_pass(last, arc);
}

#define NAMES_MAX 256 /* as many devices as the library takes */

/* On the side that has more of them: on the other one some may have failed early. */
static unsigned count_devices(
	const struct observed_arc *arcs, size_t count, const struct observed_outage *out)
{
	const char *names[2][NAMES_MAX];
	unsigned devices[2] = {0};

	for (size_t i = 0; i < count; i++) {
		const enum swo_side side = arcs[i].side;
		bool seen = arcs[i].start_ns < out->from_ns || arcs[i].start_ns > out->to_ns;

		for (unsigned j = 0; j < devices[side] && !seen; j++)
			seen = !strcmp(names[side][j], arcs[i].device);
		if (!seen && devices[side] < NAMES_MAX)
			names[side][devices[side]++] = arcs[i].device;
	}
	return devices[0] > devices[1] ? devices[0] : devices[1];
}

int observed_outage(
	const struct observed *observed, struct observed_outage *out, struct swo_error *err)
{
	struct observed_arc *arcs = observed->arcs;
	const size_t count = observed->count;
	uint64_t end = 0;

	*out = (struct observed_outage){0};
	if (count)
		qsort(arcs, count, sizeof(*arcs), by_start);
	const bool arrived = find_end(arcs, count, SWO_SIDE_TARGET, SWO_DEVICE_RUNNING, &end);
	const bool left =
		arrived || find_end(arcs, count, SWO_SIDE_SOURCE, SWO_DEVICE_STOP_COPY, &end);

	if (!left || (!find_stop(arcs, count, end, &out->from_ns) &&
			     !(arrived && find_start(arcs, count, &out->from_ns))))
		return swo_error_set(err, SWO_E_STATE, 0,
			"no switchover in the records: no device was stopped, and none was "
			"started");
	out->to_ns = end;
	out->devices = count_devices(arcs, count, out);
	for (size_t i = 0; i < count; i++)
		if (arcs[i].start_ns >= out->from_ns && arcs[i].start_ns <= end)
			add_arc(out, &arcs[i]);
	return 0;
}
