/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lesson.c - what a stop waits for, device by device, and what a stop that is given up has shown: the
 * next migration counts it, instead of stopping the VM for the same again.
 */
#include "device/core/engine.h"
#include "migration/source/source.h"

#include <inttypes.h>
#include <stdio.h>

/* One read, or one wait for credit, that lasts longer is what holds its device up. */
#define HOLD_UP_NS UINT64_C(100000000)
/* An arc that took so many times its usual time. */
#define OUTLIER 2

enum stage { QUIESCE, STOP, SAVE, LOAD, FINALISE, OVER };

/* With the mutex held, in the stop. */
static enum stage stage_of(const struct source *s, const struct source_device *sd)
{
	const enum swo_device_state state = swo_device_state(sd->dev);
	const bool p2p = swo_device_mig_flags(sd->dev) & SWO_MIG_P2P;

	if (!sd->stopped_ns && state != SWO_DEVICE_STOP_COPY)
		return p2p && state != SWO_DEVICE_PRE_COPY_P2P && state != SWO_DEVICE_RUNNING_P2P
			       ? QUIESCE
			       : STOP;
	if (!sd->streamed)
		return sd->wanted ? LOAD : SAVE;
	/* The target reports what it has loaded window by window. */
	if (sd->consumed + sd->window < sd->sent)
		return LOAD;
	return sd->finalised || s->m.params.finalise == SWO_WHEN_LATE ? OVER : FINALISE;
}

const char *source_pending(struct source *s, unsigned index)
{
	static const char *const texts[] = {[QUIESCE] = "its arc to a P2P state",
		[STOP] = "its arc to STOP_COPY",
		[SAVE] = "its state to be read and sent",
		[LOAD] = "its state to be loaded at the target",
		[FINALISE] = "RESUMING->STOP at the target, after its state was sent",
		[OVER] = ""};

	return texts[stage_of(s, &s->devices[index])];
}

/* An arc that has ended, but took far longer than it does: its mean does not show that. */
static uint64_t outlier(
	struct swo_device *dev, enum swo_device_state from, enum swo_device_state to)
{
	const struct swo_arc_cost cost = swo_device_arc_cost(dev, from, to);

	return cost.count && cost.last_ns > OUTLIER * cost.mean_ns ? cost.last_ns : SWO_UNKNOWN;
}

/* Only what one wait has held up: otherwise it is the link's rate, or that of the others. */
static uint64_t held_rate(const struct source_device *sd, uint64_t moved, uint64_t now)
{
	if (!sd->busy_ns || now - sd->busy_ns < HOLD_UP_NS || now <= sd->stopped_ns)
		return 0;
	const uint64_t rate = (uint64_t)((double)moved * 1e9 / (double)(now - sd->stopped_ns));

	return rate ? rate : 1;
}

/* With the mutex held. */
static struct swo_device_costs shown_by(struct source *s, struct source_device *sd)
{
	const uint64_t now = swo_now_ns(), from = s->vcpus_stopped_ns;
	const enum stage stage = stage_of(s, sd);
	struct swo_device_costs shown;

	swo_device_costs_init(&shown);
	shown.save_rate = shown.load_rate = 0;
	if (stage == QUIESCE)
		shown.running_to_p2p_ns = now - from;
	else
		shown.running_to_p2p_ns =
			outlier(sd->dev, SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P);
	if (stage == STOP)
		shown.p2p_to_stop_ns = now - (s->barrier_ns ? s->barrier_ns : from);
	else if (stage > STOP)
		shown.p2p_to_stop_ns =
			outlier(sd->dev, SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY);
	if (stage == SAVE)
		shown.save_rate = held_rate(sd, sd->sent - sd->sent_before, now);
	if (stage == LOAD)
		shown.load_rate = held_rate(sd,
			sd->consumed > sd->sent_before ? sd->consumed - sd->sent_before : 0, now);
	/* Of that, the fixed time of the load has a figure of its own. */
	if (stage == FINALISE) {
		const uint64_t fixed = source_device_costs(s, sd->index).load_fixed_ns,
			       took = now - sd->streamed_ns;

		shown.resuming_to_stop_ns =
			fixed != SWO_UNKNOWN && fixed < took ? took - fixed : took;
	}
	return shown;
}

void source_learn(struct source *s)
{
	pthread_mutex_lock(&s->m.mutex);
	const bool due = s->vcpus_stopped_ns && !s->learned;

	s->learned = true;
	for (unsigned i = 0; due && i < s->m.vm.device_count; i++) {
		const struct swo_device_costs shown = shown_by(s, &s->devices[i]);

		device_learn(s->devices[i].dev, &shown);
	}
	pthread_mutex_unlock(&s->m.mutex);
}

/* Names the devices of which the estimate lacks a figure, before the VM stops for them. */
void source_report_unknown(struct source *s)
{
	struct swo_device *unknown = NULL, *sizeless = NULL;
	unsigned count = 0, sizes = 0;

	pthread_mutex_lock(&s->m.mutex);
	const uint64_t predicted_ms = s->m.info.predicted_downtime_ns / 1000000;

	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		const struct swo_device_costs c = source_device_costs(s, i);

		if (c.state_bytes == SWO_UNKNOWN) {
			sizeless = sizeless ? sizeless : s->devices[i].dev;
			sizes++;
		}
		if (!source_arcs_unknown(&c))
			continue;
		unknown = unknown ? unknown : s->devices[i].dev;
		count++;
	}
	pthread_mutex_unlock(&s->m.mutex);
	if (sizes)
		swo_log(SWO_LOG_WARN,
			"stopping the VM for about %" PRIu64
			" ms and the state of %u device%s of unknown size (%s%s): downtime-limit may "
			"not hold",
			predicted_ms, sizes, sizes == 1 ? "" : "s", swo_device_name(sizeless),
			sizes == 1 ? "" : ", ...");
	if (count)
		swo_log(SWO_LOG_WARN,
			"stopping the VM for about %" PRIu64
			" ms and the arcs of %u device%s of unknown cost (%s%s): downtime-limit may "
			"not hold; `switchover probe` measures them",
			predicted_ms, count, count == 1 ? "" : "s", swo_device_name(unknown),
			count == 1 ? "" : ", ...");
}

bool source_has_learned(struct source *s, unsigned index)
{
	const struct swo_device_costs learned = device_learned(s->devices[index].dev);

	return learned.running_to_p2p_ns != SWO_UNKNOWN || learned.p2p_to_stop_ns != SWO_UNKNOWN ||
	       learned.resuming_to_stop_ns != SWO_UNKNOWN || learned.save_rate || learned.load_rate;
}

void source_explain_downtime(struct source *s)
{
	struct swo_migration_info *info = &s->m.info;
	const uint64_t limit_ns = s->m.params.downtime_limit_ms * 1000000;
	struct part {
		const char *name;
		uint64_t end_ns;
		int device;
	} parts[] = {{"the arcs to a P2P state", s->barrier_ns, -1},
		{"the arcs to STOP_COPY", 0, -1}, {"reading and sending device state", 0, -1},
		{"the rest of RAM and state, until all was sent", s->pause_ns, -1},
		{"the pause before the switchover", s->continued_ns, -1},
		{"the rest of RAM and state, until the target was READY", s->ready_ns, -1},
		{"the start at the target", s->started_ns, -1}};
	uint64_t begin = s->vcpus_stopped_ns, longest = 0;
	const struct part *reason = &parts[0];

	info->downtime_ns = s->started_ns - s->vcpus_stopped_ns;
	if (info->downtime_ns <= limit_ns)
		return;
	for (unsigned i = 0; i < s->m.vm.device_count; i++) {
		const uint64_t ends[] = {s->devices[i].stopped_ns, s->devices[i].streamed_ns};

		for (unsigned k = 0; k < SWO_ARRAY_SIZE(ends); k++)
			if (ends[k] > parts[1 + k].end_ns) {
				parts[1 + k].end_ns = ends[k];
				parts[1 + k].device = (int)i;
			}
	}
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(parts); i++) {
		if (parts[i].end_ns <= begin)
			continue;
		if (parts[i].end_ns - begin > longest) {
			longest = parts[i].end_ns - begin;
			reason = &parts[i];
		}
		begin = parts[i].end_ns;
	}
	info->over_limit_ns = info->downtime_ns - limit_ns;
	snprintf(info->over_limit_reason, sizeof(info->over_limit_reason),
		"%" PRIu64 " ms were expected; %s took %" PRIu64 " ms%s%s",
		info->predicted_downtime_ns / 1000000, reason->name, longest / 1000000,
		reason->device < 0 ? "" : ", the last was device ",
		reason->device < 0 ? "" : swo_device_name(s->m.vm.devices[reason->device]));
}
