/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gap.c - a yardstick: migrates N pairs of simvf.ko devices by bare ioctls, serially and in
 * parallel, and prints a JSON row with the gap that the devices' own counters show.
 */
#include "bed.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RUNS  5
#define PAIRS (BED_DEVICES / 2)

static struct bed_device sources[PAIRS], targets[PAIRS];
static pthread_barrier_t barrier;
static unsigned count;
static bool parallel;
static uint64_t median; /* of the last row */

static uint8_t buffers[PAIRS][1 << 20];

static int copy(unsigned i)
{
	ssize_t n;

	while ((n = read(sources[i].data, buffers[i], sizeof(buffers[i]))) > 0)
		if (bed_write_all(&targets[i], buffers[i], (size_t)n))
			return 1;
	return n < 0;
}

/* The time between the barriers that P2P needs; 0 on success. */
static int step(unsigned i, unsigned part)
{
	switch (part) {
	case 0:
		return bed_set(&sources[i], SVF_PRE_COPY_P2P);
	case 1:
		return bed_set(&sources[i], SVF_STOP_COPY) || copy(i) ||
		       bed_set(&targets[i], SVF_STOP) || bed_set(&targets[i], SVF_RUNNING_P2P);
	default:
		return bed_set(&targets[i], SVF_RUNNING);
	}
}

static void *worker(void *opaque)
{
	unsigned i = (unsigned)((struct bed_device *)opaque - sources);
	int bad = 0;

	for (unsigned part = 0; part < 3; part++) {
		bad |= step(i, part);
		pthread_barrier_wait(&barrier);
	}
	return bad ? opaque : NULL;
}

static void hand_over(void)
{
	pthread_t threads[PAIRS];
	void *bad;

	if (!parallel) {
		for (unsigned part = 0; part < 3; part++)
			for (unsigned i = 0; i < count; i++)
				assert_int_equal(step(i, part), 0);
		return;
	}
	assert_int_equal(pthread_barrier_init(&barrier, NULL, count), 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, &sources[i]), 0);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(pthread_join(threads[i], &bad), 0);
		assert_null(bad);
	}
	pthread_barrier_destroy(&barrier);
}

static uint64_t run(void)
{
	uint64_t first = UINT64_MAX, last = 0;

	for (unsigned i = 0; i < count; i++) {
		bed_open(&sources[i], i, "even");
		bed_open(&targets[i], PAIRS + i, "even");
		assert_int_equal(bed_put(i, "p2p_set", "1"), 0);
		assert_int_equal(bed_put(PAIRS + i, "p2p_set", "2"), 0);
		assert_int_equal(bed_set(&targets[i], SVF_RESUMING), 0);
		assert_int_equal(bed_set(&sources[i], SVF_PRE_COPY), 0);
	}
	hand_over();
	for (unsigned i = 0; i < count; i++) {
		uint64_t start = bed_arc(i, SVF_PRE_COPY, SVF_PRE_COPY_P2P).start;
		uint64_t end = bed_arc(PAIRS + i, SVF_RUNNING_P2P, SVF_RUNNING).end;

		first = start < first ? start : first;
		last = end > last ? end : last;
		assert_int_equal(bed_counter(i, "p2p_order_violations"), 0);
		assert_int_equal(bed_counter(PAIRS + i, "p2p_order_violations"), 0);
		assert_int_equal(bed_counter(PAIRS + i, "state_mismatches"), 0);
		bed_close(&sources[i]);
		bed_close(&targets[i]);
	}
	return last - first;
}

static int ascending(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void row(void **state)
{
	uint64_t gap[RUNS];

	(void)state;
	for (unsigned i = 0; i < RUNS; i++)
		gap[i] = run();
	qsort(gap, RUNS, sizeof(gap[0]), ascending);
	median = gap[RUNS / 2];
	printf("{\"vfs\":%u,\"transitions\":\"%s\",\"profile\":\"even\",\"vmm\":\"none\","
	       "\"backend\":\"kernel\",\"clock\":\"%s\",\"runs\":%d,\"device_gap_ms\":{\"min\":%."
	       "3f,\"median\":%.3f,"
	       "\"max\":%.3f}}\n",
		count, parallel ? "parallel" : "serial",
		getenv("LAB_MODE") ? getenv("LAB_MODE") : "real", RUNS, (double)gap[0] / 1e6,
		(double)gap[RUNS / 2] / 1e6, (double)gap[RUNS - 1] / 1e6);
}

/* lab-gap RATIO COUNT...: no parallel row may take more than RATIO times the first one. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {bed_case(row)};
	double limit = argc > 2 ? atof(argv[1]) : 0;
	uint64_t first = 0;

	for (int i = 2; i < argc; i++) {
		count = (unsigned)atoi(argv[i]);
		if (!count || count > PAIRS)
			return 2;
		for (unsigned mode = 0; mode < 2; mode++) {
			parallel = mode;
			if (cmocka_run_group_tests_name("gap", tests, NULL, NULL))
				return 1;
		}
		first = first ? first : median;
		if ((double)median > limit * (double)first) {
			fprintf(stderr,
				"%u devices in parallel take %.3f times what %s takes; %.2f is "
				"allowed\n",
				count, (double)median / (double)first, argv[2], limit);
			return 1;
		}
	}
	return first ? 0 : 2;
}
