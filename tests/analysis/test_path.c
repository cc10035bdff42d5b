/* SPDX-License-Identifier: BSD-3-Clause */
/* The critical path of hand-made timelines: who is named, and that it adds up. */
#include "switchover/plan.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS   UINT64_C(1000000)
#define ZERO (5000 * MS)
#define SRC  SWO_SIDE_SOURCE
#define DST  SWO_SIDE_TARGET

static struct swo_span spans[512];
static size_t count;

static void put(enum swo_side side, enum swo_span_kind kind, const char *device, const char *name,
	double from_ms, double to_ms)
{
	struct swo_span *span = &spans[count++];

	assert_true(count <= SWO_ARRAY_SIZE(spans));
	*span = (struct swo_span){.side = side,
		.kind = kind,
		.start_ns = ZERO + (uint64_t)(from_ms * 1e6),
		.end_ns = ZERO + (uint64_t)(to_ms * 1e6)};
	snprintf(span->name, sizeof(span->name), "%s", name);
	snprintf(span->device, sizeof(span->device), "%s", device);
}

static void mark(enum swo_side side, const char *name, double at_ms)
{
	put(side, SWO_SPAN_MARK, "", name, at_ms, at_ms);
}

/* Ends of what one device does. Gaps of 0.1 ms are the machine's. */
struct device {
	double p2p, stop, saved, loaded, finalised, released, run;
};

static const struct device plain = {25, 65, 67, 67.5, 88, 114, 130};

/* A whole migration: each stage begins when the slowest of the one before has ended. */
static void migration(const struct device *d, int n)
{
	double p2p = 0, stop = 0, saved = 0, finalised = 0, released = 0, run = 0;

	count = 0;
	for (int i = 0; i < n; i++) {
		p2p = d[i].p2p > p2p ? d[i].p2p : p2p;
		stop = d[i].stop > stop ? d[i].stop : stop;
		saved = d[i].saved > saved ? d[i].saved : saved;
		finalised = d[i].finalised > finalised ? d[i].finalised : finalised;
		released = d[i].released > released ? d[i].released : released;
		run = d[i].run > run ? d[i].run : run;
	}
	mark(SRC, "vCPUs stopped", 0);
	put(SRC, SWO_SPAN_PASS, "", "stop: prepare pass", 0, p2p + 0.1);
	put(SRC, SWO_SPAN_RAM, "", "RAM pass 2", 0.1, 3);
	for (int i = 0; i < n; i++) {
		char name[16];

		snprintf(name, sizeof(name), "vf%d", i);
		put(SRC, SWO_SPAN_ARC, name, "PRE_COPY->PRE_COPY_P2P", 0.1, d[i].p2p);
		put(SRC, SWO_SPAN_ARC, name, "PRE_COPY_P2P->STOP_COPY", p2p + 0.1, d[i].stop);
		put(SRC, SWO_SPAN_STREAM, name, "save", d[i].stop + 0.1, d[i].saved);
		/* It began with what came before the stop. */
		put(DST, SWO_SPAN_STREAM, name, "load", -50, d[i].loaded);
		put(DST, SWO_SPAN_ARC, name, "RESUMING->STOP", d[i].loaded + 0.1, d[i].finalised);
		put(DST, SWO_SPAN_ARC, name, "STOP->RUNNING_P2P", finalised + 0.5, d[i].released);
		put(DST, SWO_SPAN_ARC, name, "RUNNING_P2P->RUNNING", released + 0.1, d[i].run);
		put(SRC, SWO_SPAN_ARC, name, "STOP_COPY->STOP", run + 1, run + 2);
	}
	put(SRC, SWO_SPAN_WORK, "", "vCPU and board state", stop + 0.1, stop + 0.3);
	put(DST, SWO_SPAN_WORK, "", "vCPU and board state", stop + 0.4, stop + 0.5);
	put(SRC, SWO_SPAN_WAIT, "", "waiting for READY", saved + 0.1, finalised + 0.2);
	mark(DST, "READY", finalised + 0.1);
	mark(SRC, "GO", finalised + 0.2);
	mark(DST, "GO", finalised + 0.3);
	put(DST, SWO_SPAN_WORK, "", "vCPUs resume", run + 0.1, run + 0.2);
	mark(DST, "STARTED", run + 0.3);
}

/* As texts, in the way of a file: what they mean is found by the timeline. */
static int critical_path(struct swo_path *path, struct swo_error *err)
{
	struct swo_timeline *timeline = swo_timeline_new(SRC, SWO_ARRAY_SIZE(spans));

	for (size_t i = 0; i < count; i++)
		swo_timeline_add(timeline, &spans[i]);
	int rc = swo_critical_path(timeline, path, err);

	swo_timeline_free(timeline);
	return rc;
}

static struct swo_path path_now(void)
{
	struct swo_path path;
	struct swo_error err = {0};

	if (critical_path(&path, &err))
		fail_msg("%s", err.text);
	/* It always adds up, and is a chain. */
	uint64_t at = path.start_ns;

	for (size_t i = 0; i < path.count; i++) {
		assert_int_equal(path.steps[i].start_ns, at);
		assert_true(path.steps[i].end_ns > path.steps[i].start_ns);
		at = path.steps[i].end_ns;
	}
	assert_int_equal(at, path.end_ns);
	return path;
}

/* The path's spans as "device name, ...", gaps left out. */
static const char *said(const struct swo_path *path)
{
	static char text[8192];
	size_t used = 0;

	text[0] = 0;
	for (size_t i = 0; i < path->count; i++)
		if (!path->steps[i].gap)
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s%s%s",
				used ? ", " : "", path->steps[i].device,
				path->steps[i].device[0] ? " " : "", path->steps[i].name);
	return text;
}

static double ms_of(const struct swo_path *path, const char *device, const char *name)
{
	double sum = 0;

	for (size_t i = 0; i < path->count; i++)
		if (!strcmp(path->steps[i].device, device) && !strcmp(path->steps[i].name, name))
			sum += (double)(path->steps[i].end_ns - path->steps[i].start_ns) / 1e6;
	return sum;
}

static void assert_ms(double got, double wanted)
{
	if (got < wanted - 1e-5 || got > wanted + 1e-5)
		fail_msg("%f ms, not %f", got, wanted);
}

static void one_devices_path_is_its_arcs_its_stream_and_small_gaps(void **state)
{
	(void)state;
	migration(&plain, 1);
	struct swo_path path = path_now();

	assert_string_equal(said(&path),
		"vf0 PRE_COPY->PRE_COPY_P2P, vf0 PRE_COPY_P2P->STOP_COPY, vf0 save, vf0 load, vf0 "
		"RESUMING->STOP, vf0 STOP->RUNNING_P2P, vf0 RUNNING_P2P->RUNNING, vCPUs resume");
	assert_ms((double)(path.end_ns - path.start_ns) / 1e6, 130.3);
	/* Only what loading adds after the last byte was sent counts as loading. */
	assert_ms(ms_of(&path, "vf0", "load"), 0.5);
	assert_ms(ms_of(&path, "vf0", "save"), 1.9);
	assert_ms(ms_of(&path, "", "wire"), 0.2);
	assert_ms(ms_of(&path, "vf0", "joining the prepare pass"), 0.2);
	swo_path_free(&path);
}

static void the_slow_device_is_named_whichever_its_slow_arc_is(void **state)
{
	(void)state;
	static const struct {
		struct device slow;
		const char *arc;
	} cases[] = {
		{{45, 65, 67, 67.5, 88, 114, 130}, "PRE_COPY->PRE_COPY_P2P"},
		{{25, 95, 96, 97, 117, 140, 156}, "PRE_COPY_P2P->STOP_COPY"},
		{{25, 65, 67, 67.5, 128, 154, 170}, "RESUMING->STOP"},
		{{25, 65, 67, 67.5, 88, 164, 180}, "STOP->RUNNING_P2P"},
		{{25, 65, 67, 67.5, 88, 114, 190}, "RUNNING_P2P->RUNNING"},
	};

	for (size_t c = 0; c < SWO_ARRAY_SIZE(cases); c++)
		for (int slow = 0; slow < 4; slow++) {
			struct device devices[] = {plain, plain, plain, plain};
			char name[16];

			/* What follows a slow arc is later for all. */
			for (int i = 0; i < 4; i++) {
				if (c == 1 || c == 2 || c == 3)
					devices[i].released = cases[c].slow.released - 1;
				if (c != 0)
					devices[i].run = cases[c].slow.run - 1;
				if (c == 4)
					devices[i].run = plain.run;
				if (c == 0)
					devices[i].stop = 66 + (i == slow);
			}
			devices[slow] = cases[c].slow;
			if (c == 0)
				devices[slow].stop = 66.5;
			migration(devices, 4);
			struct swo_path path = path_now();

			snprintf(name, sizeof(name), "vf%d", slow);
			if (ms_of(&path, name, cases[c].arc) < 10)
				fail_msg("%s of %s is not in: %s", cases[c].arc, name, said(&path));
			swo_path_free(&path);
		}
}

static void one_device_at_a_time_all_are_on_the_path(void **state)
{
	(void)state;
	count = 0;
	mark(SRC, "vCPUs stopped", 0);
	for (int i = 0; i < 4; i++) {
		char name[16];

		snprintf(name, sizeof(name), "vf%d", i);
		put(SRC, SWO_SPAN_ARC, name, "PRE_COPY->PRE_COPY_P2P", 25 * i + 0.1, 25 * (i + 1));
		put(SRC, SWO_SPAN_ARC, name, "PRE_COPY_P2P->STOP_COPY", 100 + 40 * i + 0.1,
			100 + 40 * (i + 1));
		put(SRC, SWO_SPAN_STREAM, name, "save", 140 + 40 * i + 0.1, 140 + 40 * i + 0.2);
		put(DST, SWO_SPAN_STREAM, name, "load", -3, 140 + 40 * i + 0.4);
		put(DST, SWO_SPAN_ARC, name, "RESUMING->STOP", 140 + 40 * i + 0.5,
			160 + 40 * i + 0.5);
		put(DST, SWO_SPAN_ARC, name, "STOP->RUNNING_P2P", 281 + 25 * i + 0.1,
			281 + 25 * (i + 1));
		put(DST, SWO_SPAN_ARC, name, "RUNNING_P2P->RUNNING", 381 + 15 * i + 0.1,
			381 + 15 * (i + 1));
	}
	put(SRC, SWO_SPAN_WAIT, "", "waiting for READY", 260.3, 280.8);
	mark(DST, "READY", 280.7);
	mark(SRC, "GO", 280.8);
	mark(DST, "GO", 280.9);
	mark(DST, "STARTED", 441.5);
	struct swo_path path = path_now();

	assert_string_equal(said(&path),
		"vf0 PRE_COPY->PRE_COPY_P2P, vf1 PRE_COPY->PRE_COPY_P2P, vf2 "
		"PRE_COPY->PRE_COPY_P2P, "
		"vf3 PRE_COPY->PRE_COPY_P2P, vf0 PRE_COPY_P2P->STOP_COPY, vf1 "
		"PRE_COPY_P2P->STOP_COPY, vf2 PRE_COPY_P2P->STOP_COPY, vf3 "
		"PRE_COPY_P2P->STOP_COPY, "
		"vf3 save, vf3 load, vf3 RESUMING->STOP, vf0 STOP->RUNNING_P2P, vf1 "
		"STOP->RUNNING_P2P, vf2 STOP->RUNNING_P2P, vf3 STOP->RUNNING_P2P, vf0 "
		"RUNNING_P2P->RUNNING, vf1 RUNNING_P2P->RUNNING, vf2 RUNNING_P2P->RUNNING, vf3 "
		"RUNNING_P2P->RUNNING");
	swo_path_free(&path);
}

static void the_last_ram_pass_is_the_path_when_it_ends_last(void **state)
{
	(void)state;
	migration(&plain, 1);
	for (size_t i = 0; i < count; i++) {
		struct swo_span *span = &spans[i];
		bool late = span->side == DST || span->kind == SWO_SPAN_WAIT ||
			    !strcmp(span->name, "GO");

		if (span->kind == SWO_SPAN_RAM)
			span->end_ns = ZERO + 300 * MS;
		else if (span->start_ns >= ZERO + 88 * MS && late)
			span->start_ns += 300 * MS, span->end_ns += 300 * MS;
		if (span->kind == SWO_SPAN_WAIT)
			span->start_ns = ZERO + 3001 * MS / 10,
			span->end_ns = ZERO + 3882 * MS / 10;
	}
	for (size_t i = 0; i < count; i++)
		if (!strcmp(spans[i].name, "READY"))
			spans[i].start_ns = spans[i].end_ns = ZERO + 3003 * MS / 10;
		else if (!strcmp(spans[i].name, "GO"))
			spans[i].start_ns = spans[i].end_ns = ZERO + 3005 * MS / 10;
	struct swo_path path = path_now();

	assert_ms(ms_of(&path, "", "RAM pass 2"), 299.9);
	assert_null(strstr(said(&path), "STOP_COPY"));
	assert_null(strstr(said(&path), "RESUMING->STOP"));
	swo_path_free(&path);
}

static void a_ram_pass_after_a_device_has_stopped_leads_to_that_device(void **state)
{
	(void)state;
	migration(&plain, 1);
	put(SRC, SWO_SPAN_RAM, "", "RAM pass 3", 65.2, 87.5);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(spans[i].name, "waiting for READY"))
			spans[i].start_ns = ZERO + 8805 * MS / 100;
	struct swo_path path = path_now();

	assert_string_equal(said(&path),
		"vf0 PRE_COPY->PRE_COPY_P2P, vf0 PRE_COPY_P2P->STOP_COPY, RAM pass 3, vf0 "
		"STOP->RUNNING_P2P, vf0 RUNNING_P2P->RUNNING, vCPUs resume");
	swo_path_free(&path);
}

static void the_stream_of_the_device_that_ended_last_is_the_path(void **state)
{
	(void)state;
	struct device devices[] = {plain, plain, plain};

	devices[1].saved = 265;
	devices[1].loaded = 268;
	devices[1].finalised = 289;
	for (int i = 0; i < 3; i++)
		devices[i].released = 315, devices[i].run = 331;
	migration(devices, 3);
	struct swo_path path = path_now();

	assert_ms(ms_of(&path, "vf1", "save"), 199.9);
	assert_ms(ms_of(&path, "vf1", "load"), 3);
	assert_ms(ms_of(&path, "vf1", "RESUMING->STOP"), 20.9);
	swo_path_free(&path);
}

static void streams_that_waited_for_all_devices_lead_to_the_last_to_stop(void **state)
{
	(void)state;
	struct device devices[] = {plain, plain};

	devices[0].saved = 120;
	devices[0].loaded = 121;
	devices[0].finalised = 141;
	devices[1].stop = 90;
	devices[1].saved = 91;
	devices[1].loaded = 92;
	devices[1].finalised = 112;
	for (int i = 0; i < 2; i++)
		devices[i].released = 167, devices[i].run = 182;
	migration(devices, 2);
	for (size_t i = 0; i < count; i++)
		if (spans[i].kind == SWO_SPAN_STREAM && spans[i].side == SRC)
			spans[i].start_ns = ZERO + 902 * MS / 10;
	struct swo_path path = path_now();

	assert_ms(ms_of(&path, "vf1", "PRE_COPY_P2P->STOP_COPY"), 64.9);
	assert_ms(ms_of(&path, "vf0", "save"), 29.8);
	assert_ms(ms_of(&path, "vf0", "waiting until all devices have stopped"), 0.2);
	swo_path_free(&path);
}

static void a_finalise_that_waited_for_ram_leads_to_the_ram(void **state)
{
	(void)state;
	migration(&plain, 1);
	for (size_t i = 0; i < count; i++) {
		if (spans[i].kind == SWO_SPAN_RAM)
			spans[i].end_ns = ZERO + 75 * MS;
		if (!strcmp(spans[i].name, "RESUMING->STOP"))
			spans[i].start_ns = ZERO + 755 * MS / 10;
		if (!strcmp(spans[i].name, "waiting for READY"))
			spans[i].start_ns = ZERO + 752 * MS / 10;
	}
	struct swo_path path = path_now();

	assert_string_equal(said(&path),
		"RAM pass 2, vf0 RESUMING->STOP, vf0 STOP->RUNNING_P2P, vf0 RUNNING_P2P->RUNNING, "
		"vCPUs resume");
	assert_ms(ms_of(&path, "vf0", "waiting until all is in"), 0.3);
	swo_path_free(&path);
}

static void a_finalise_after_go_is_part_of_the_start(void **state)
{
	(void)state;
	migration(&plain, 1);
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(spans[i].name, "RESUMING->STOP"))
			spans[i].start_ns = ZERO + 69 * MS, spans[i].end_ns = ZERO + 884 * MS / 10;
		if (!strcmp(spans[i].name, "READY"))
			spans[i].start_ns = spans[i].end_ns = ZERO + 676 * MS / 10;
		if (!strcmp(spans[i].name, "GO"))
			spans[i].start_ns = spans[i].end_ns = ZERO + 68 * MS;
	}
	struct swo_path path = path_now();

	assert_ms(ms_of(&path, "vf0", "RESUMING->STOP"), 19.4);
	assert_ms(ms_of(&path, "vf0", "load"), 0.5);
	swo_path_free(&path);
}

/* It was loaded before the stop, and once more after the data: the arcs of the source count. */
static void a_config_that_is_loaded_again_hides_nothing(void **state)
{
	(void)state;
	migration(&plain, 1);
	put(DST, SWO_SPAN_WORK, "vf0", "config", -49, -40);
	put(DST, SWO_SPAN_WORK, "vf0", "config", 67.46, 67.48);
	struct swo_path path = path_now();

	assert_ms(ms_of(&path, "vf0", "PRE_COPY->PRE_COPY_P2P"), 24.9);
	assert_ms(ms_of(&path, "vf0", "PRE_COPY_P2P->STOP_COPY"), 39.9);
	assert_ms(ms_of(&path, "vf0", "wire"), 0.46);
	swo_path_free(&path);
}

/* One thing at a time: not what was on the wire long before. */
static void vcpu_state_that_is_loaded_after_the_devices_hides_nothing(void **state)
{
	(void)state;
	migration(&plain, 1);
	for (size_t i = 0; i < count; i++)
		if (spans[i].side == DST && !strcmp(spans[i].name, "vCPU and board state")) {
			spans[i].start_ns = ZERO + (uint64_t)(88.02 * 1e6);
			spans[i].end_ns = ZERO + (uint64_t)(88.05 * 1e6);
		}
	struct swo_path path = path_now();

	assert_ms(ms_of(&path, "vf0", "RESUMING->STOP"), 20.4);
	assert_ms(ms_of(&path, "vf0", "PRE_COPY_P2P->STOP_COPY"), 39.9);
	swo_path_free(&path);
}

static void a_config_that_came_late_is_named(void **state)
{
	(void)state;
	struct device device = plain;

	device.loaded = 73;
	device.finalised = 94;
	device.released = 120;
	device.run = 136;
	migration(&device, 1);
	put(DST, SWO_SPAN_WORK, "vf0", "config", 0.4, 72.4);
	struct swo_path path = path_now();

	assert_ms(ms_of(&path, "vf0", "config"), 72);
	assert_ms(ms_of(&path, "vf0", "load"), 0.6);
	swo_path_free(&path);
}

static void an_unrecorded_span_is_a_named_gap_and_the_path_still_adds_up(void **state)
{
	(void)state;
	static struct swo_span whole[512];
	struct device devices[] = {plain, plain};

	migration(devices, 2);
	size_t all = count;

	memcpy(whole, spans, sizeof(whole));
	for (size_t left_out = 0; left_out < all; left_out++) {
		count = 0;
		for (size_t i = 0; i < all; i++)
			if (i != left_out)
				spans[count++] = whole[i];
		struct swo_path path;
		struct swo_error err;
		const char *name = whole[left_out].name;

		if (!strcmp(name, "vCPUs stopped") || !strcmp(name, "STARTED")) {
			assert_int_equal(critical_path(&path, &err), -1);
			assert_non_null(strstr(err.text, name));
			continue;
		}
		path = path_now();
		swo_path_free(&path);
	}
	/* All arcs and streams of the target are lost. */
	count = 0;
	for (size_t i = 0; i < all; i++)
		if (whole[i].side == SRC || whole[i].kind == SWO_SPAN_MARK)
			spans[count++] = whole[i];
	struct swo_path path = path_now();

	assert_non_null(strstr(said(&path), "PRE_COPY_P2P->STOP_COPY"));
	assert_true(ms_of(&path, "", "nothing recorded") > 40);
	swo_path_free(&path);
}

static void any_spans_give_a_path_that_adds_up(void **state)
{
	(void)state;
	static const char *const names[] = {"RESUMING->STOP", "STOP->RUNNING_P2P",
		"RUNNING_P2P->RUNNING", "PRE_COPY->PRE_COPY_P2P", "PRE_COPY_P2P->STOP_COPY", "save",
		"load", "config", "GO", "READY", "waiting for READY", "vCPU and board state",
		"vCPUs resume", "RAM pass 9"};
	unsigned seed = 1;

	for (int round = 0; round < 300; round++) {
		count = 0;
		mark(SRC, "vCPUs stopped", 0);
		mark(DST, "STARTED", 100);
		for (int i = 0; i < 60; i++) {
			double from = rand_r(&seed) % 130 - 15, len = rand_r(&seed) % 30;
			char device[8];

			snprintf(device, sizeof(device), "vf%d", rand_r(&seed) % 3);
			put(rand_r(&seed) % 2 ? SRC : DST,
				(enum swo_span_kind)(rand_r(&seed) % (SWO_SPAN_MARK + 1)), device,
				names[(size_t)rand_r(&seed) % SWO_ARRAY_SIZE(names)], from,
				from + len);
		}
		struct swo_path path = path_now(), again = path_now();

		/* And it is the same each time. */
		assert_int_equal(path.count, again.count);
		assert_memory_equal(path.steps, again.steps, path.count * sizeof(*path.steps));
		swo_path_free(&path);
		swo_path_free(&again);
	}
}

static void of_two_attempts_the_one_that_got_through_counts(void **state)
{
	(void)state;
	migration(&plain, 1);
	mark(SRC, "vCPUs stopped", -500);
	put(SRC, SWO_SPAN_ARC, "vf0", "PRE_COPY->PRE_COPY_P2P", -499, -470);
	struct swo_path path = path_now();

	assert_int_equal(path.start_ns, ZERO);
	swo_path_free(&path);
}

static void a_machine_without_devices_has_a_path_too(void **state)
{
	(void)state;
	count = 0;
	mark(SRC, "vCPUs stopped", 0);
	put(SRC, SWO_SPAN_RAM, "", "RAM pass 2", 0.1, 3);
	put(SRC, SWO_SPAN_WAIT, "", "waiting for READY", 3.1, 3.6);
	mark(DST, "READY", 3.4);
	mark(SRC, "GO", 3.5);
	mark(DST, "GO", 3.6);
	put(DST, SWO_SPAN_WORK, "", "vCPUs resume", 3.7, 3.9);
	mark(DST, "STARTED", 4);
	struct swo_path path = path_now();

	assert_string_equal(said(&path), "RAM pass 2, vCPUs resume");
	assert_ms(ms_of(&path, "", "nothing recorded"), 0);
	swo_path_free(&path);
}

static void a_timeline_read_from_its_json_has_the_same_path(void **state)
{
	(void)state;
	struct swo_timeline *source = swo_timeline_new(SRC, 512),
			    *target = swo_timeline_new(DST, 512);
	struct swo_timeline *both = swo_timeline_new(SRC, 512);
	struct swo_error err = {0};

	migration(&plain, 1);
	for (size_t i = 0; i < count; i++)
		swo_timeline_record(spans[i].side == SRC ? source : target, &spans[i]);
	char *one = swo_timeline_to_json(source), *other = swo_timeline_to_json(target);

	assert_int_equal(swo_timeline_add_json(both, one, strlen(one), 0, &err), 0);
	assert_int_equal(swo_timeline_add_json(both, other, strlen(other), 0, &err), 0);
	struct swo_path path, direct = path_now();

	assert_int_equal(swo_critical_path(both, &path, &err), 0);
	assert_int_equal(path.count, direct.count);
	assert_memory_equal(path.steps, direct.steps, path.count * sizeof(*path.steps));
	swo_path_free(&path);
	swo_path_free(&direct);
	/* One side alone never gets to STARTED. */
	assert_int_equal(swo_critical_path(source, &path, &err), -1);
	assert_non_null(strstr(err.text, "STARTED"));
	free(one);
	free(other);
	swo_timeline_free(source);
	swo_timeline_free(target);
	swo_timeline_free(both);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_devices_path_is_its_arcs_its_stream_and_small_gaps),
		cmocka_unit_test(the_slow_device_is_named_whichever_its_slow_arc_is),
		cmocka_unit_test(one_device_at_a_time_all_are_on_the_path),
		cmocka_unit_test(the_last_ram_pass_is_the_path_when_it_ends_last),
		cmocka_unit_test(a_ram_pass_after_a_device_has_stopped_leads_to_that_device),
		cmocka_unit_test(the_stream_of_the_device_that_ended_last_is_the_path),
		cmocka_unit_test(streams_that_waited_for_all_devices_lead_to_the_last_to_stop),
		cmocka_unit_test(a_finalise_that_waited_for_ram_leads_to_the_ram),
		cmocka_unit_test(a_finalise_after_go_is_part_of_the_start),
		cmocka_unit_test(a_config_that_is_loaded_again_hides_nothing),
		cmocka_unit_test(vcpu_state_that_is_loaded_after_the_devices_hides_nothing),
		cmocka_unit_test(a_config_that_came_late_is_named),
		cmocka_unit_test(an_unrecorded_span_is_a_named_gap_and_the_path_still_adds_up),
		cmocka_unit_test(any_spans_give_a_path_that_adds_up),
		cmocka_unit_test(of_two_attempts_the_one_that_got_through_counts),
		cmocka_unit_test(a_machine_without_devices_has_a_path_too),
		cmocka_unit_test(a_timeline_read_from_its_json_has_the_same_path),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
