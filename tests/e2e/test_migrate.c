/* SPDX-License-Identifier: BSD-3-Clause */
/* Complete migrations of real processes: devices, transports, kinds of machine. */
#include "e2e.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

static void one_vf_migrates_completely_serially_and_in_parallel(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample sample;

	e2e_migrate_completely(&config, 1, "serial", &sample);
	bench_sample_free(&sample);
	e2e_migrate_completely(&config, 1, "parallel", &sample);
	/* The arcs alone take 125 ms: less would mean that one was not waited for. */
	assert_true(sample.blackout_ms >= 120);
	assert_non_null(sample.timeline);
	bench_sample_free(&sample);
}

static void four_vfs_stand_still_as_long_as_the_slowest_and_in_turn_as_the_sum(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample serial, parallel;

	e2e_migrate_completely(&config, 4, "serial", &serial);
	e2e_migrate_completely(&config, 4, "parallel", &parallel);
	/* Four times 105 ms and more against 125 ms; far apart even on a busy machine. */
	assert_true(serial.blackout_ms >= 400);
	assert_true(parallel.blackout_ms < serial.blackout_ms / 2);
	bench_sample_free(&serial);
	bench_sample_free(&parallel);
}

static void four_vfs_migrate_completely_over_tcp(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample sample;

	config.channel = "tcp";
	config.channels = 4;
	e2e_migrate_completely(&config, 4, "parallel", &sample);
	bench_sample_free(&sample);
}

static void four_vfs_migrate_completely_over_tcp_with_certificates_and_with_a_shared_key(
	void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample sample;

	config.channel = "tcp";
	config.tls = "x509";
	e2e_migrate_completely(&config, 4, "parallel", &sample);
	bench_sample_free(&sample);
	config.tls = "psk";
	e2e_migrate_completely(&config, 4, "parallel", &sample);
	bench_sample_free(&sample);
}

static void mixed_devices_migrate_completely(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample sample;

	config.profile = "mixed";
	e2e_migrate_completely(&config, 4, "parallel", &sample);
	bench_sample_free(&sample);
}

static void four_cx7_on_one_pf_migrate_completely(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample sample;

	config.profile = "cx7";
	e2e_migrate_completely(&config, 4, "parallel", &sample);
	bench_sample_free(&sample);
}

static void the_other_orders_migrate_completely_too(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample sample;

	config.join = "depth";
	config.stream = "late";
	config.finalise = "late";
	config.config = "late";
	e2e_migrate_completely(&config, 2, "parallel", &sample);
	bench_sample_free(&sample);
	config.join = "pass";
	config.finalise = "ram";
	e2e_migrate_completely(&config, 2, "serial", &sample);
	bench_sample_free(&sample);
}

static void kvm_one_vf_migrates_completely(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample sample;

	e2e_need_kvm();
	config.accel = "kvm";
	e2e_migrate_completely(&config, 1, "parallel", &sample);
	assert_string_equal(sample.accel, "kvm");
	bench_sample_free(&sample);
}

static void kvm_four_vfs_and_two_vcpus_migrate_completely(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	struct bench_sample sample;

	e2e_need_kvm();
	config.accel = "kvm";
	config.vcpus = 2;
	e2e_migrate_completely(&config, 4, "parallel", &sample);
	assert_string_equal(sample.accel, "kvm");
	bench_sample_free(&sample);
}

/* The text of x-ram-hash. */
static void ram_hash(struct pair *pair, enum pair_side side, char *out, size_t len)
{
	struct swo_error err = {0};
	json_t *answer = pair_qmp(pair, side, "x-ram-hash", NULL, &err);

	if (!answer)
		e2e_fail(pair, "x-ram-hash", &err);
	snprintf(out, len, "%s", json_path_string(answer, "hash"));
	json_decref(answer);
}

static void a_paused_machine_arrives_paused_with_the_same_memory_and_can_run_on(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	char status[PAIR_STATUS_MAX], here[64], there[64];
	static struct pair pair;

	e2e_must(&pair, pair_init(&pair, &config, 2, "parallel", err) || pair_start(&pair, err) ||
				pair_boot(&pair, err) ||
				monitor_command(&pair.ends[PAIR_SOURCE].qmp, "stop", NULL, err));
	ram_hash(&pair, PAIR_SOURCE, here, sizeof(here));
	e2e_must(
		&pair, pair_migrate(&pair, err) || pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "completed");
	ram_hash(&pair, PAIR_TARGET, there, sizeof(there));
	assert_true(here[0]);
	assert_string_equal(here, there);
	e2e_status(&pair, PAIR_TARGET, status, sizeof(status));
	assert_string_equal(status, "paused");
	e2e_must(&pair, monitor_command(&pair.ends[PAIR_TARGET].qmp, "cont", NULL, err));
	e2e_rings_on(&pair, PAIR_TARGET, 0);
	/* The source must not run the VM again. */
	struct swo_error err = {0};
	assert_int_equal(monitor_command(&pair.ends[PAIR_SOURCE].qmp, "cont", NULL, &err), -1);
	pair_free(&pair, false);
}

static void a_cancelled_migration_leaves_the_guest_at_the_source_with_nothing_lost(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	char status[PAIR_STATUS_MAX];
	static struct pair pair;

	config.max_bandwidth = 1000000; /* so it cannot be over before it is cancelled */
	e2e_must(&pair,
		pair_init(&pair, &config, 2, "parallel", err) || pair_start(&pair, err) ||
			pair_boot(&pair, err) || pair_migrate(&pair, err) ||
			monitor_command(&pair.ends[PAIR_SOURCE].qmp, "migrate_cancel", NULL, err) ||
			pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "cancelled");
	e2e_status(&pair, PAIR_SOURCE, status, sizeof(status));
	assert_string_equal(status, "running");
	e2e_rings_on(&pair, PAIR_SOURCE, 0);
	e2e_status(&pair, PAIR_TARGET, status, sizeof(status));
	assert_string_not_equal(status, "running");
	pair_free(&pair, false);
}

/* What the host has allocated of the RAM of a side's machine, bytes. */
static uint64_t ram_allocated(const struct pair *pair, enum pair_side side)
{
	const int pid = (int)process_pid(pair->ends[side].vm);
	char dir[64], path[400], name[64];
	const struct dirent *entry;
	uint64_t bytes = 0;
	unsigned found = 0;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", pid);
	DIR *fds = opendir(dir);

	assert_non_null(fds);
	while ((entry = readdir(fds))) {
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		const ssize_t len = readlink(path, name, sizeof(name) - 1);

		if (len < 10 || strncmp(name, "/memfd:ram", 10) || stat(path, &st))
			continue;
		bytes += (uint64_t)st.st_blocks * 512;
		found++;
	}
	closedir(fds);
	assert_true(found > 0);
	return bytes;
}

/* Of 4 GiB, a few MiB at most are ever touched. */
static void check_sparse(const char *handover, const char *accel)
{
	const uint64_t few = 64 << 20;
	struct pair_config config = e2e_config();
	static struct pair pair;
	char status[PAIR_STATUS_MAX];

	config.accel = accel;
	config.ram = "4G";
	config.handover = handover;
	e2e_must(&pair, pair_init(&pair, &config, 1, "parallel", err) || pair_start(&pair, err) ||
				pair_boot(&pair, err));
	assert_int_equal(ram_allocated(&pair, PAIR_TARGET), 0);
	e2e_must(
		&pair, pair_migrate(&pair, err) || pair_wait_end(&pair, E2E_GUARD_MS, status, err));
	assert_string_equal(status, "completed");
	e2e_rings_on(&pair, PAIR_TARGET, 0);
	assert_in_range(ram_allocated(&pair, PAIR_TARGET), 1, few);
	/* Handed over, it is no longer there. */
	if (!handover)
		assert_in_range(ram_allocated(&pair, PAIR_SOURCE), 1, few);
	/* Neither does a look at all of it, the guest's own and a hash, allocate it. */
	e2e_must(&pair, monitor_command(&pair.ends[PAIR_TARGET].qmp, "stop", NULL, err));
	struct swo_error err = {0};
	json_t *answer = pair_qmp(&pair, PAIR_TARGET, "x-check-ram", NULL, &err);

	assert_non_null(answer);
	assert_int_equal(json_integer_value(json_object_get(answer, "mismatches")), 0);
	json_decref(answer);
	ram_hash(&pair, PAIR_TARGET, status, sizeof(status));
	assert_in_range(ram_allocated(&pair, PAIR_TARGET), 1, few);
	pair_free(&pair, false);
}

static void ram_that_no_guest_has_touched_is_allocated_on_neither_host(void **state)
{
	(void)state;
	check_sparse(NULL, "native");
}

static void kvm_ram_that_no_guest_has_touched_is_allocated_on_neither_host(void **state)
{
	(void)state;
	e2e_need_kvm();
	check_sparse(NULL, "kvm");
}

static void ram_handed_over_by_descriptor_stays_sparse(void **state)
{
	(void)state;
	check_sparse("fd", "native");
}

static void preallocated_ram_is_all_there_before_a_migration(void **state)
{
	(void)state;
	struct pair_config config = e2e_config();
	static struct pair pair;

	config.prealloc = true;
	e2e_must(&pair, pair_init(&pair, &config, 1, "parallel", err) || pair_start(&pair, err));
	assert_int_equal(ram_allocated(&pair, PAIR_SOURCE), 64 << 20);
	assert_int_equal(ram_allocated(&pair, PAIR_TARGET), 64 << 20);
	pair_free(&pair, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		e2e_test(one_vf_migrates_completely_serially_and_in_parallel),
		e2e_test(four_vfs_stand_still_as_long_as_the_slowest_and_in_turn_as_the_sum),
		e2e_test(four_vfs_migrate_completely_over_tcp),
		e2e_test(
			four_vfs_migrate_completely_over_tcp_with_certificates_and_with_a_shared_key),
		e2e_test(mixed_devices_migrate_completely),
		e2e_test(four_cx7_on_one_pf_migrate_completely),
		e2e_test(the_other_orders_migrate_completely_too),
		e2e_test(kvm_one_vf_migrates_completely),
		e2e_test(kvm_four_vfs_and_two_vcpus_migrate_completely),
		e2e_test(a_paused_machine_arrives_paused_with_the_same_memory_and_can_run_on),
		e2e_test(a_cancelled_migration_leaves_the_guest_at_the_source_with_nothing_lost),
		e2e_test(ram_that_no_guest_has_touched_is_allocated_on_neither_host),
		e2e_test(kvm_ram_that_no_guest_has_touched_is_allocated_on_neither_host),
		e2e_test(ram_handed_over_by_descriptor_stays_sparse),
		e2e_test(preallocated_ram_is_all_there_before_a_migration),
	};
	process_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
