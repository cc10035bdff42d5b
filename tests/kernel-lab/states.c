/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * states.c - simvf.ko's migration states through the kernel's VFIO core: every pair of
 * them, faults on arcs, reset, and hung arcs. Runs inside the lab.
 */
#include "abi.h"
#include "bed.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TINY "state_bytes = 16K\nprecopy_percent = 50\n"

static void fresh_device_runs_and_offers_everything(void **state)
{
	struct bed_device dev;
	uint64_t flags = 0, size = 0;

	(void)state;
	bed_open(&dev, 0, TINY);
	assert_int_equal(bed_state(&dev), SVF_RUNNING);
	assert_int_equal(bed_feature(&dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION,
				 &flags, sizeof(flags)),
		0);
	assert_int_equal(flags, 7);
	assert_int_equal(bed_feature(&dev, VFIO_DEVICE_FEATURE_GET | LAB_FEATURE_DATA_SIZE, &size,
				 sizeof(size)),
		0);
	assert_true(size > 16384);
	bed_close(&dev);
}

/* The next state on the path, by linux/vfio.h only; 0: refused. */
static bool legal(unsigned from, unsigned to)
{
	if (from == SVF_ERROR || to == SVF_ERROR)
		return false;
	return !(from == SVF_STOP_COPY && (to == SVF_PRE_COPY || to == SVF_PRE_COPY_P2P));
}

static void bring(struct bed_device *dev, unsigned to)
{
	assert_int_equal(bed_reset(dev), 0);
	assert_int_equal(bed_set(dev, to), 0);
	assert_int_equal(bed_state(dev), to);
}

static void every_pair_of_states_is_walked_or_refused_with_einval(void **state)
{
	struct bed_device dev;

	(void)state;
	bed_open(&dev, 0, TINY);
	for (unsigned from = SVF_STOP; from < SVF_STATES; from++)
		for (unsigned to = 0; to < SVF_STATES + 2; to++) {
			int rc;

			bring(&dev, from);
			rc = bed_set(&dev, to);
			if (from == SVF_RESUMING && to != from && to < SVF_STATES &&
				to != SVF_ERROR) {
				/* nothing was written, so the device must refuse */
				assert_int_equal(rc, EINVAL);
				assert_int_equal(bed_state(&dev), SVF_RESUMING);
			} else if (to >= SVF_STATES || !legal(from, to)) {
				assert_int_equal(rc, EINVAL);
				assert_int_equal(bed_state(&dev), from);
			} else {
				assert_int_equal(rc, 0);
				assert_int_equal(bed_state(&dev), to);
			}
		}
	bed_close(&dev);
}

static void sessions_open_only_where_the_uapi_allows(void **state)
{
	struct bed_device dev;

	(void)state;
	bed_open(&dev, 0, TINY);
	for (unsigned from = SVF_STOP; from < SVF_STATES; from++)
		for (unsigned to = SVF_STOP; to < SVF_STATES; to++) {
			bool saves =
				to == SVF_PRE_COPY || to == SVF_PRE_COPY_P2P || to == SVF_STOP_COPY;
			bool saved = from == SVF_PRE_COPY || from == SVF_PRE_COPY_P2P ||
				     from == SVF_STOP_COPY;
			bool opens = to == SVF_RESUMING || (saves && !saved);

			if (from == to || from == SVF_RESUMING || !legal(from, to))
				continue;
			bring(&dev, from);
			if (dev.data >= 0)
				close(dev.data);
			dev.data = -1;
			assert_int_equal(bed_set(&dev, to), 0);
			if ((dev.data >= 0) != opens)
				fail_msg("%s to %s: data_fd %d", svf_state_name(from),
					svf_state_name(to), dev.data);
		}
	bed_close(&dev);
}

static void same_state_again_is_a_no_op(void **state)
{
	struct bed_device dev;

	(void)state;
	bed_open(&dev, 0, TINY);
	for (unsigned to = SVF_STOP; to < SVF_STATES; to++) {
		bring(&dev, to);
		assert_int_equal(bed_put(0, "reset_stats", "1"), 0);
		assert_int_equal(bed_set(&dev, to), 0);
		for (unsigned other = 0; other < SVF_STATES; other++)
			assert_int_equal(bed_arc(0, to, other).start, 0);
	}
	bed_close(&dev);
}

static void failed_arc_leaves_the_device_where_it_was(void **state)
{
	struct bed_device dev;

	(void)state;
	bed_open(&dev, 0, TINY);
	bring(&dev, SVF_PRE_COPY_P2P);
	assert_int_equal(bed_put(0, "faults", "arc=PRE_COPY_P2P->STOP_COPY:fail=ENOSPC,x1"), 0);
	assert_int_equal(bed_set(&dev, SVF_STOP_COPY), ENOSPC);
	assert_int_equal(bed_state(&dev), SVF_PRE_COPY_P2P);
	assert_int_equal(bed_arc(0, SVF_PRE_COPY_P2P, SVF_STOP_COPY).errors, 1);
	assert_int_equal(bed_set(&dev, SVF_RUNNING), 0);
	bed_close(&dev);
}

static void failure_half_way_of_a_combination_leaves_the_state_before_it(void **state)
{
	struct bed_device dev;

	(void)state;
	bed_open(&dev, 0, TINY);
	assert_int_equal(bed_put(0, "faults", "arc=RUNNING_P2P->STOP:fail"), 0);
	assert_int_equal(bed_set(&dev, SVF_STOP_COPY), EIO);
	assert_int_equal(bed_state(&dev), SVF_RUNNING_P2P);
	bed_close(&dev);
}

static void error_state_is_left_by_reset_only(void **state)
{
	struct bed_device dev;

	(void)state;
	bed_open(&dev, 0, TINY);
	assert_int_equal(bed_put(0, "faults", "arc=RUNNING->PRE_COPY:error=EBUSY,x1"), 0);
	assert_int_equal(bed_set(&dev, SVF_PRE_COPY), EBUSY);
	for (unsigned to = 0; to < SVF_STATES; to++) {
		assert_int_equal(bed_set(&dev, to), EINVAL);
		assert_int_equal(bed_state(&dev), SVF_ERROR);
	}
	assert_int_equal(bed_reset(&dev), 0);
	assert_int_equal(bed_state(&dev), SVF_RUNNING);
	bed_close(&dev);
}

static void reset_gives_running_in_every_state(void **state)
{
	struct bed_device dev;

	(void)state;
	bed_open(&dev, 0, TINY);
	for (unsigned from = SVF_STOP; from < SVF_STATES; from++) {
		bring(&dev, from);
		assert_int_equal(bed_reset(&dev), 0);
		assert_int_equal(bed_state(&dev), SVF_RUNNING);
	}
	assert_true(bed_counter(0, "resets") >= 7);
	bed_close(&dev);
}

static void *set_stop(void *opaque)
{
	struct bed_device *dev = opaque;

	return (void *)(intptr_t)bed_set(dev, SVF_STOP);
}

/* The arc counts as started before it hangs; the deadline is a guard only. */
static void await_arc(unsigned index, unsigned from, unsigned to)
{
	for (unsigned tries = 0; tries < 10000 && !bed_arc(index, from, to).start; tries++)
		bed_sleep_ms(1);
	assert_true(bed_arc(index, from, to).start > 0);
}

static void hung_arc_ends_when_it_is_released(void **state)
{
	struct bed_device dev;
	pthread_t thread;
	void *rc;

	(void)state;
	bed_open(&dev, 0, TINY);
	assert_int_equal(bed_put(0, "faults", "arc=RUNNING_P2P->STOP:hang,x1"), 0);
	assert_int_equal(pthread_create(&thread, NULL, set_stop, &dev), 0);
	await_arc(0, SVF_RUNNING_P2P, SVF_STOP);
	bed_sleep_ms(20);
	assert_int_equal(bed_arc(0, SVF_RUNNING_P2P, SVF_STOP).end, 0);
	assert_int_equal(bed_put(0, "release", "1"), 0);
	assert_int_equal(pthread_join(thread, &rc), 0);
	assert_int_equal((intptr_t)rc, 0);
	assert_int_equal(bed_state(&dev), SVF_STOP);
	bed_close(&dev);
}

static void process_with_a_hung_arc_can_be_killed(void **state)
{
	struct bed_device dev;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(bed_put(1, "reset_stats", "1"), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		/* made by bed_open too, so the child must not share the container */
		execl("/lab/bin/lab-states", "lab-states", "hang", (char *)NULL);
		_exit(99);
	}
	await_arc(1, SVF_RUNNING, SVF_RUNNING_P2P);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	bed_open(&dev, 1, TINY);
	assert_int_equal(bed_state(&dev), SVF_RUNNING);
	assert_int_equal(bed_set(&dev, SVF_STOP), 0);
	bed_close(&dev);
}

static int hang(void)
{
	struct bed_device dev;

	bed_open(&dev, 1, TINY);
	if (bed_put(1, "faults", "arc=RUNNING->RUNNING_P2P:hang"))
		return 1;
	return bed_set(&dev, SVF_STOP);
}

static void bad_faults_and_profiles_are_refused(void **state)
{
	struct bed_device dev;

	(void)state;
	bed_open(&dev, 0, TINY);
	assert_int_equal(bed_put(0, "faults", "arc=RUNNING->NOWHERE:fail"), EINVAL);
	assert_int_equal(bed_put(0, "faults", "die@arc=*->*"), EOPNOTSUPP);
	assert_int_equal(bed_put(0, "profile", "no-such-profile"), EINVAL);
	assert_int_equal(bed_put(0, "profile", "to_p2p_ms = soon"), EINVAL);
	assert_int_equal(bed_put(0, "profile", "state_bytes = 1M"), EBUSY);
	assert_int_equal(bed_put(0, "profile", "to_p2p_ms = 1"), 0);
	for (unsigned i = 0; i < SVF_FAULTS; i++)
		assert_int_equal(bed_put(0, "faults", "load:refuse"), 0);
	assert_int_equal(bed_put(0, "faults", "load:refuse"), ENOSPC);
	bed_close(&dev);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		bed_case(fresh_device_runs_and_offers_everything),
		bed_case(every_pair_of_states_is_walked_or_refused_with_einval),
		bed_case(sessions_open_only_where_the_uapi_allows),
		bed_case(same_state_again_is_a_no_op),
		bed_case(failed_arc_leaves_the_device_where_it_was),
		bed_case(failure_half_way_of_a_combination_leaves_the_state_before_it),
		bed_case(error_state_is_left_by_reset_only),
		bed_case(reset_gives_running_in_every_state),
		bed_case(hung_arc_ends_when_it_is_released),
		bed_case(process_with_a_hung_arc_can_be_killed),
		bed_case(bad_faults_and_profiles_are_refused),
	};

	if (argc > 1 && !strcmp(argv[1], "hang"))
		return hang();
	return cmocka_run_group_tests_name("simvf states", tests, NULL, NULL);
}
