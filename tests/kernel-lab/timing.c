/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timing.c - the times that simvf.ko takes match its profile: arcs, saving, loading, config
 * restore, and a PF that serves its devices in turn. Only lower bounds and ratios are asserted.
 */
#include "bed.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define MS    UINT64_C(1000000)
#define COUNT 4

static uint8_t stream[BED_STREAM];
static struct bed_device devs[COUNT];

static void open_all(const char *profile, const char *pf, const char *pf_arcs)
{
	for (unsigned i = 0; i < COUNT; i++) {
		bed_open(&devs[i], i, profile);
		assert_int_equal(bed_put(i, "pf", pf), 0);
		assert_int_equal(bed_put(i, "pf_arcs", pf_arcs), 0);
	}
}

static void close_all(void)
{
	for (unsigned i = 0; i < COUNT; i++)
		bed_close(&devs[i]);
}

static void every_arc_takes_at_least_its_time(void **state)
{
	static const struct {
		unsigned from, to;
		uint64_t ms;
	} arcs[] = {{SVF_RUNNING, SVF_PRE_COPY, 0}, {SVF_PRE_COPY, SVF_PRE_COPY_P2P, 25},
		{SVF_PRE_COPY_P2P, SVF_STOP_COPY, 40}, {SVF_STOP_COPY, SVF_STOP, 0},
		{SVF_STOP, SVF_RUNNING_P2P, 25}, {SVF_RUNNING_P2P, SVF_RUNNING, 15},
		{SVF_RUNNING, SVF_RUNNING_P2P, 25}, {SVF_RUNNING_P2P, SVF_STOP, 40}};
	struct bed_device *dev = &devs[0];

	(void)state;
	bed_open(dev, 0, "even");
	for (unsigned i = 0; i < sizeof(arcs) / sizeof(arcs[0]); i++) {
		uint64_t before = bed_now(), took;
		struct bed_arc arc;

		assert_int_equal(bed_set(dev, arcs[i].to), 0);
		took = bed_now() - before;
		arc = bed_arc(0, arcs[i].from, arcs[i].to);
		assert_int_equal(arc.count, 1);
		assert_true(arc.end - arc.start >= arcs[i].ms * MS);
		assert_true(took >= arc.end - arc.start);
		assert_int_equal(arc.max, arc.end - arc.start);
		assert_int_equal(arc.sum, arc.max);
		assert_true(arc.start >= before && arc.end <= before + took);
	}
	bed_close(dev);
}

static void *stop_one(void *opaque)
{
	return (void *)(intptr_t)bed_set(opaque, SVF_STOP);
}

/* Stops all four: one after the other, or a thread each. */
static uint64_t stop_all(bool parallel)
{
	pthread_t threads[COUNT];
	uint64_t before = bed_now();
	void *rc = NULL;

	for (unsigned i = 0; i < COUNT; i++) {
		if (!parallel)
			rc = stop_one(&devs[i]);
		else
			assert_int_equal(pthread_create(&threads[i], NULL, stop_one, &devs[i]), 0);
		assert_null(rc);
	}
	for (unsigned i = 0; parallel && i < COUNT; i++) {
		assert_int_equal(pthread_join(threads[i], &rc), 0);
		assert_null(rc);
	}
	return bed_now() - before;
}

static void devices_stop_side_by_side(void **state)
{
	uint64_t serial, parallel;

	(void)state;
	open_all("even", "0", "0");
	serial = stop_all(false);
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(bed_reset(&devs[i]), 0);
	parallel = stop_all(true);
	close_all();
	assert_true(serial >= COUNT * 65 * MS);
	if (parallel * 2 > serial)
		fail_msg("serial %llu ms, parallel %llu ms", (unsigned long long)(serial / MS),
			(unsigned long long)(parallel / MS));
}

static void pf_that_serialises_arcs_makes_them_a_sum(void **state)
{
	(void)state;
	open_all("even", "3", "1");
	assert_true(stop_all(true) >= COUNT * 65 * MS);
	close_all();
}

static void *save_one(void *opaque)
{
	struct bed_device *dev = opaque;
	static uint8_t waste[COUNT][1 << 20];
	ssize_t n;

	if (bed_set(dev, SVF_STOP_COPY))
		return dev;
	while ((n = read(dev->data, waste[dev->index], sizeof(waste[0]))) > 0)
		;
	return n ? dev : NULL;
}

static uint64_t save_all(const char *pf)
{
	pthread_t threads[COUNT];
	uint64_t before;
	void *rc;

	open_all("state_bytes = 1M\nsave_rate = 20\n", pf, "0");
	before = bed_now();
	for (unsigned i = 0; i < COUNT; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, save_one, &devs[i]), 0);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(pthread_join(threads[i], &rc), 0);
		assert_null(rc);
	}
	before = bed_now() - before;
	close_all();
	return before;
}

/* A MiB at 20 MB/s: 52 ms each. */
static void saving_takes_its_time_and_a_pf_makes_it_a_sum(void **state)
{
	uint64_t apart = save_all("0"), shared = save_all("7");

	(void)state;
	assert_true(apart >= 52 * MS);
	assert_true(shared >= COUNT * 52 * MS);
	assert_true(apart < shared);
}

static void loading_takes_its_time(void **state)
{
	struct bed_device *source = &devs[0], *target = &devs[1];
	uint64_t before;
	ssize_t len;

	(void)state;
	bed_open(source, 0, "state_bytes = 4M\n");
	bed_open(target, 1, "state_bytes = 4M\nload_rate = 40\nresuming_to_stop_ms = 10\n");
	assert_int_equal(bed_set(source, SVF_STOP_COPY), 0);
	len = bed_read_all(source, stream, sizeof(stream));
	assert_true(len > 4 << 20);
	assert_int_equal(bed_set(target, SVF_RESUMING), 0);
	before = bed_now();
	assert_int_equal(bed_write_all(target, stream, (size_t)len), 0);
	assert_true(bed_now() - before >= 52 * MS); /* all but the 2 MiB in front of the engine */
	assert_int_equal(bed_set(target, SVF_STOP), 0);
	assert_true(bed_now() - before >= 114 * MS);
	bed_close(source);
	bed_close(target);
}

static void restoring_the_command_register_takes_its_time_once(void **state)
{
	struct bed_device *dev = &devs[0];
	uint64_t before;

	(void)state;
	bed_open(dev, 0, "state_bytes = 64K\nconfig_load_ms = 30\n");
	assert_int_equal(bed_set(dev, SVF_RESUMING), 0);
	before = bed_now();
	assert_int_equal(bed_poke(dev, SVF_REGION_CONFIG, 4, 6, 2), 0);
	assert_true(bed_now() - before >= 30 * MS);
	before = bed_now();
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(bed_poke(dev, SVF_REGION_CONFIG, 4, 6, 2), 0);
	assert_true(bed_now() - before < 20 * 30 * MS);
	bed_close(dev);
}

static void slow_fault_adds_to_the_arc(void **state)
{
	struct bed_arc arc;

	(void)state;
	bed_open(&devs[0], 0, "instant");
	assert_int_equal(bed_put(0, "faults", "arc=RUNNING->RUNNING_P2P:slow=35"), 0);
	assert_int_equal(bed_set(&devs[0], SVF_RUNNING_P2P), 0);
	arc = bed_arc(0, SVF_RUNNING, SVF_RUNNING_P2P);
	assert_true(arc.end - arc.start >= 35 * MS);
	bed_close(&devs[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		bed_case(every_arc_takes_at_least_its_time),
		bed_case(devices_stop_side_by_side),
		bed_case(pf_that_serialises_arcs_makes_them_a_sum),
		bed_case(saving_takes_its_time_and_a_pf_makes_it_a_sum),
		bed_case(loading_takes_its_time),
		bed_case(restoring_the_command_register_takes_its_time_once),
		bed_case(slow_fault_adds_to_the_arc),
	};

	return cmocka_run_group_tests_name("simvf timing", tests, NULL, NULL);
}
