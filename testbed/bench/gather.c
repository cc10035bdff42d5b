/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gather.c - computes the figures of one migration from the reports of devices and monitors, and
 * checks them. Reads JSON; does no I/O.
 */
#include "cmd/common/qmp_client.h"
#include "testbed/bench/sample.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPANS_MAX 65536

void bench_gathered_free(struct bench_gathered *g)
{
	json_decref(g->source_reports);
	json_decref(g->target_reports);
	json_decref(g->source_migrate);
	json_decref(g->source_status);
	json_decref(g->target_status);
	json_decref(g->target_guest);
	json_decref(g->target_ram);
	json_decref(g->timeline);
	*g = (struct bench_gathered){0};
}

void bench_sample_free(struct bench_sample *sample)
{
	free(sample->devices);
	free(sample->timeline);
	*sample = (struct bench_sample){0};
}

/* Adds a failed check. */
static void fail_check(struct bench_sample *sample, const char *fmt, ...) SWO_PRINTF(2, 3);
static void fail_check(struct bench_sample *sample, const char *fmt, ...)
{
	size_t used = strlen(sample->failed_checks);
	va_list ap;

	sample->passed = false;
	if (used && used + 2 < sizeof(sample->failed_checks)) {
		strcpy(sample->failed_checks + used, "; ");
		used += 2;
	}
	va_start(ap, fmt);
	vsnprintf(sample->failed_checks + used, sizeof(sample->failed_checks) - used, fmt, ap);
	va_end(ap);
}

static uint64_t count_of(const json_t *report, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(report, key));

	return value > 0 ? (uint64_t)value : 0;
}

/* Sums counters of violations into `total`; each nonzero counter is a failed check. */
static void add_faults(struct bench_sample *sample, const char *side, const json_t *report,
	const char *key, uint64_t *total)
{
	uint64_t value = count_of(report, key);

	*total += value;
	if (value)
		fail_check(sample, "%s's %s: %s %llu", side, json_path_string(report, "device"),
			key, (unsigned long long)value);
}

static void check_report(struct bench_sample *s, const char *side, const json_t *report)
{
	add_faults(s, side, report, "doorbells_lost", &s->doorbells_lost);
	add_faults(s, side, report, "doorbells_repeated", &s->doorbells_repeated);
	add_faults(s, side, report, "p2p_violations", &s->p2p_violations);
	add_faults(s, side, report, "quiesce_violations", &s->quiesce_violations);
	add_faults(s, side, report, "state_mismatches", &s->state_mismatches);
	add_faults(s, side, report, "ram_mismatches", &s->ram_mismatches);
}

static void check_outcome(struct bench_sample *s, const struct bench_gathered *g)
{
	const char *status = json_path_string(g->source_migrate, "status");
	const char *source = json_path_string(g->source_status, "status");
	const char *target = json_path_string(g->target_status, "status");
	const char *why = json_path_string(g->source_migrate, "error-desc");

	if (strcmp(status, "completed"))
		fail_check(s, "the migration's status is %s%s%s", status[0] ? status : "none",
			why[0] ? ": " : "", why);
	if (strcmp(target, "running"))
		fail_check(s, "the target is %s", target[0] ? target : "silent");
	if (!source[0] || !strcmp(source, "running"))
		fail_check(s, "the source is %s", source[0] ? source : "silent");
	if (json_path_number(g->target_guest, "error") != 0)
		fail_check(s, "the guest reports error %.0f",
			json_path_number(g->target_guest, "error"));
	uint64_t seen = count_of(g->target_guest, "ram-mismatches");
	uint64_t found = count_of(g->target_ram, "mismatches");
	s->ram_mismatches += seen + found;
	if (seen || found)
		fail_check(s, "guest memory: %llu pages not as last written",
			(unsigned long long)(seen + found));
	uint64_t setbacks = count_of(g->target_guest, "inbox-setbacks");
	s->state_mismatches += setbacks;
	if (setbacks)
		fail_check(s, "a counter in a device's BAR went backwards %llu times for the guest",
			(unsigned long long)setbacks);
	if (!count_of(g->target_ram, "pages") && !strcmp(status, "completed"))
		fail_check(s, "no page of guest memory could be checked");
}

static double ms_between(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e6 : 0;
}

/* The blackout and the largest gap, from the devices' time stamps alone. */
static void measure(struct bench_sample *s, const struct bench_gathered *g)
{
	uint64_t last = 0, first = UINT64_MAX;

	for (unsigned i = 0; i < g->vfs; i++) {
		const json_t *from = json_array_get(g->source_reports, i);
		const json_t *to = json_array_get(g->target_reports, i);
		uint64_t rung = count_of(from, "last_doorbell_ns");
		uint64_t again = count_of(to, "first_doorbell_ns");
		double gaps[] = {(double)count_of(from, "max_gap_ns") / 1e6,
			(double)count_of(to, "max_gap_ns") / 1e6, ms_between(rung, again)};

		check_report(s, "source", from);
		check_report(s, "target", to);
		if (!rung || !again)
			fail_check(s, "vf%u was not rung on the %s", i, rung ? "target" : "source");
		if (rung > last)
			last = rung;
		if (again && again < first)
			first = again;
		for (size_t k = 0; k < SWO_ARRAY_SIZE(gaps); k++)
			if (gaps[k] > s->device_gap_ms)
				s->device_gap_ms = gaps[k];
	}
	if (first != UINT64_MAX) {
		s->last_doorbell_ns = last;
		s->first_doorbell_ns = first;
		s->blackout_ms = ms_between(last, first);
		if (first <= last)
			fail_check(
				s, "a device of the source was rung when the target already ran");
	}
	/* switchover vm also reports it in nanoseconds. */
	s->switchover_ms = json_path(g->source_migrate, "x-downtime-ns")
				   ? json_path_number(g->source_migrate, "x-downtime-ns") / 1e6
				   : json_path_number(g->source_migrate, "downtime");
	s->total_ms = json_path_number(g->source_migrate, "total-time");
	s->estimate_ms = json_path_number(g->source_migrate, "x-expected-downtime-ns") / 1e6;
}

/* Inputs of the lower bound */

/* Bytes of the source's spans of one kind and device that started after the stop. */
static uint64_t bytes_after_stop(struct swo_timeline *timeline, uint64_t stop_ns,
	enum swo_span_kind kind, const char *device)
{
	struct swo_span span;
	uint64_t bytes = 0;

	for (size_t i = 0; swo_timeline_get(timeline, i, &span); i++)
		if (span.side == SWO_SIDE_SOURCE && span.kind == kind &&
			!strcmp(span.device, device) && span.start_ns >= stop_ns)
			bytes += span.bytes;
	return bytes;
}

/* Time of the last stop of the source's vCPUs; 0 if there is none. */
static uint64_t stop_time(struct swo_timeline *timeline)
{
	struct swo_span span;
	uint64_t stop = 0;

	for (size_t i = 0; swo_timeline_get(timeline, i, &span); i++)
		if (span.side == SWO_SIDE_SOURCE && span.event == SWO_EVENT_VCPUS_STOPPED &&
			span.start_ns > stop)
			stop = span.start_ns;
	return stop;
}

static uint64_t ns_of(const json_t *profile, const char *key)
{
	return (uint64_t)llrint(json_path_number(profile, key) * 1e6);
}

/* All devices have the same depth; the model does not depend on its value. */
static struct swo_plan_device device_of(const struct bench_config *config, unsigned i,
	const json_t *report, struct swo_timeline *timeline, uint64_t stop_ns)
{
	const json_t *p = json_object_get(report, "profile_values");
	struct swo_plan_device d = {
		.costs = {.running_to_p2p_ns = ns_of(p, "to_p2p_ms"),
			.p2p_to_stop_ns = ns_of(p, "to_stop_copy_ms"),
			.resuming_to_stop_ns = ns_of(p, "resuming_to_stop_ms"),
			.stop_to_p2p_ns = ns_of(p, "to_running_p2p_ms"),
			.p2p_to_running_ns = ns_of(p, "to_running_ms"),
			.config_load_ns = ns_of(p, "config_load_ms"),
			.save_rate = count_of(p, "save_bytes_per_s"),
			.load_rate = count_of(p, "load_bytes_per_s"),
			.load_fixed_ns = ns_of(p, "load_fixed_ms"),
			.state_bytes = bytes_after_stop(timeline, stop_ns, SWO_SPAN_STREAM,
				json_path_string(report, "device")),
			.pf = pair_pf_of(&config->pair, i)}};

	snprintf(d.name, sizeof(d.name), "vf%u", i);
	return d;
}

static void note_bound_inputs(
	struct bench_sample *s, const struct bench_config *config, const struct bench_gathered *g)
{
	if (g->timeline)
		s->timeline = json_dumps(g->timeline, JSON_COMPACT);

	struct swo_timeline *timeline = bench_sample_timeline(s, NULL);
	uint64_t stop_ns = stop_time(timeline);

	s->devices = calloc(g->vfs, sizeof(*s->devices));
	for (unsigned i = 0; s->devices && i < g->vfs; i++) {
		const json_t *report = json_array_get(g->source_reports, i);

		s->devices[i] = device_of(config, i, report, timeline, stop_ns);
		s->guesses |= json_is_true(json_path(report, "profile_values.guesses"));
	}
	s->ram_bytes = bytes_after_stop(timeline, stop_ns, SWO_SPAN_RAM, "");
	swo_timeline_free(timeline);
}

struct swo_timeline *bench_sample_timeline(const struct bench_sample *sample, struct swo_error *err)
{
	struct swo_timeline *timeline = swo_timeline_new(SWO_SIDE_SOURCE, SPANS_MAX);

	if (!timeline)
		swo_error_set(err, SWO_E_NO_MEMORY, 0, "no memory for a timeline");
	else if (!sample->timeline)
		swo_error_set(err, SWO_E_INVALID, 0, "this run has no timeline");
	else if (!swo_timeline_add_json(
			 timeline, sample->timeline, strlen(sample->timeline), 0, err))
		return timeline;
	swo_timeline_free(timeline);
	return NULL;
}

void bench_evaluate(const struct bench_config *config, const struct bench_gathered *g,
	struct bench_sample *sample)
{
	sample->passed = true;
	snprintf(sample->accel, sizeof(sample->accel), "%s",
		json_path_string(g->target_guest, "accel"));
	if (!sample->accel[0])
		snprintf(sample->accel, sizeof(sample->accel), "%s", config->pair.accel);
	check_outcome(sample, g);
	measure(sample, g);
	note_bound_inputs(sample, config, g);
	if (!sample->devices)
		fail_check(sample, "no memory for the bound's inputs");
}
