/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * siblings.c - several devices in parallel: whether the P2P barriers hold, and whether a shared
 * component (a firmware, a physical function) serves them one after another.
 */
#include "probe/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *swo_sharing_name(enum swo_sharing sharing)
{
	static const char *const names[] = {"unknown", "independent", "partly", "serialised"};

	return (unsigned)sharing < SWO_ARRAY_SIZE(names) ? names[sharing] : "unknown";
}

/* Shorter times depend on the clock and the scheduler. */
#define LEAST_NS UINT64_C(2000000)

static bool all_well(struct session **s, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (s[i]->lost)
			return false;
	return true;
}

static void start_walk(struct session *s, const enum swo_device_state *path, unsigned len)
{
	s->call.op = OP_WALK;
	memcpy(s->call.path, path, len * sizeof(*path));
	s->call.path_len = len;
	probe_perform_start(s);
}

/* Waits for the call of each; *took: from the first start to the last end. */
static int end_all(struct session **s, unsigned count, const char *what, uint64_t *took)
{
	uint64_t first = UINT64_MAX, last = 0;
	int rc = 0;

	for (unsigned i = 0; i < count; i++) {
		if (probe_perform_end(s[i], what)) {
			if (!s[i]->lost)
				probe_note(s[i], SWO_VERDICT_FAIL, what, "%s", s[i]->call.err.text);
			rc = -1;
			continue;
		}
		first = s[i]->call.start < first ? s[i]->call.start : first;
		last = s[i]->call.end > last ? s[i]->call.end : last;
	}
	if (took && !rc)
		*took = last - first;
	for (unsigned i = 0; i < count; i++)
		if (!s[i]->lost && probe_get_state(s[i]))
			rc = -1;
	return rc;
}

static int reach_all(struct session **s, unsigned count, enum swo_device_state to)
{
	for (unsigned i = 0; i < count; i++)
		if (probe_reach(s[i], to))
			return -1;
	return 0;
}

/* The order of P2P */

static int step_all(struct session **s, unsigned count, enum swo_device_state to)
{
	static const char name[] = "p2p.order";

	for (unsigned i = 0; i < count; i++)
		start_walk(s[i], &to, 1);
	if (end_all(s, count, name, NULL))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (s[i]->state != to) {
			probe_note(s[i], SWO_VERDICT_FAIL, name,
				"set to %s together with its siblings, the device is in %s",
				swo_device_state_name(to), swo_device_state_name(s[i]->state));
			return -1;
		}
	return 0;
}

static void check_p2p(struct session **s, unsigned count)
{
	static const enum swo_device_state steps[] = {SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP,
		SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING};
	bool lacks = false;

	for (unsigned i = 0; i < count; i++)
		if (!(s[i]->flags & SWO_MIG_P2P)) {
			probe_note(s[i], SWO_VERDICT_RISK, "p2p.order",
				"without P2P the device cannot be stopped together with devices that write "
				"to it");
			lacks = true;
		}
	if (lacks || reach_all(s, count, SWO_DEVICE_RUNNING))
		return;
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(steps); i++)
		if (step_all(s, count, steps[i]))
			return;
	for (unsigned i = 0; i < count; i++)
		probe_note(s[i], SWO_VERDICT_PASS, "p2p.order",
			"all in P2P, all stopped, and all back");
}

/* Alone and together */

enum work { QUIESCE, SAVE, LOAD };

static int get_ready(struct session *s, enum work work)
{
	switch (work) {
	case QUIESCE:
		return probe_reach(s, SWO_DEVICE_RUNNING);
	case SAVE:
		s->stream.len = 0;
		/* From STOP: data that PRE_COPY has sent would be missing. */
		return probe_reach(s, SWO_DEVICE_STOP) || probe_go_arc(s, SWO_DEVICE_STOP_COPY) ? -1
												: 0;
	default:
		return probe_reach(s, SWO_DEVICE_STOP) || probe_go_arc(s, SWO_DEVICE_RESUMING) ? -1
											       : 0;
	}
}

static void begin(struct session *s, enum work work)
{
	static const enum swo_device_state path[] = {SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP};
	bool p2p = s->flags & SWO_MIG_P2P;

	s->call.piece = 0;
	switch (work) {
	case QUIESCE:
		start_walk(s, p2p ? path : path + 1, p2p ? 2 : 1);
		return;
	case SAVE:
		s->call.op = OP_READ_ALL;
		break;
	case LOAD:
		s->call.op = OP_LOAD;
		s->call.data = s->good.data;
		s->call.len = s->good.len;
		break;
	}
	probe_perform_start(s);
}

static enum swo_sharing judge(const struct swo_probe_siblings *sib)
{
	if (sib->alone_max < LEAST_NS || sib->alone_sum <= sib->alone_max + LEAST_NS / 2)
		return SWO_SHARING_UNKNOWN;
	double over = sib->parallel > sib->alone_max ? (double)(sib->parallel - sib->alone_max) : 0;
	double share = over / (double)(sib->alone_sum - sib->alone_max);

	return share < 0.3   ? SWO_SHARING_INDEPENDENT
	       : share > 0.7 ? SWO_SHARING_SERIALISED
			     : SWO_SHARING_PARTLY;
}

/* One run of `count` devices from s on, in parallel. */
static int measure(struct session **s, unsigned count, enum work work, const char *name,
	struct samples *samples)
{
	uint64_t took;

	for (unsigned i = 0; i < count; i++)
		if (get_ready(s[i], work))
			return -1;
	for (unsigned i = 0; i < count; i++)
		begin(s[i], work);
	if (end_all(s, count, name, &took))
		return -1;
	probe_sample(samples, took);
	return 0;
}

/* Alone and together in turns, so that other load affects both. */
static void compare_work(struct session **s, unsigned count, enum work work, const char *name,
	struct swo_probe_siblings *out)
{
	struct samples *alone = calloc(count, sizeof(*alone)), together = {0};
	unsigned runs = s[0]->params.runs;
	bool ok = alone != NULL;

	for (unsigned run = 0; run < runs && ok; run++) {
		for (unsigned i = 0; i < count && ok; i++)
			ok = !measure(&s[i], 1, work, name, &alone[i]);
		ok = ok && !measure(s, count, work, name, &together);
	}
	for (unsigned i = 0; i < count && ok; i++) {
		uint64_t median = probe_cost_of(&alone[i]).median;

		out->alone_sum += median;
		out->alone_max = median > out->alone_max ? median : out->alone_max;
	}
	if (ok) {
		out->parallel = probe_cost_of(&together).median;
		out->sharing = judge(out);
		probe_note(s[0], SWO_VERDICT_PASS, name, "%s", swo_sharing_name(out->sharing));
	}
	free(alone);
}

void probe_check_siblings(struct session **s, unsigned count, struct swo_probe_report *report)
{
	bool good = true;

	if (count < 2 || !all_well(s, count))
		return;
	check_p2p(s, count);
	if (all_well(s, count))
		compare_work(s, count, QUIESCE, "siblings.quiesce", &report->quiesce);
	for (unsigned i = 0; i < count; i++)
		good = good && s[i]->good.len;
	if (good && all_well(s, count))
		compare_work(s, count, SAVE, "siblings.save", &report->save);
	if (good && all_well(s, count))
		compare_work(s, count, LOAD, "siblings.load", &report->load);
	for (unsigned i = 0; i < count; i++)
		if (!s[i]->lost)
			probe_reach(s[i], SWO_DEVICE_RUNNING);
}
