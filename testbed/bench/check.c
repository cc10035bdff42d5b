/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.c - checks of the configuration before any process is started.
 */
#include "testbed/bench/config.h"
#include "testbed/process.h"

#include "base/number.h"
#include "cmd/common/overhead.h"
#include "cmd/common/timeline_out.h"
#include "simvf/profiles/named.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB	    (UINT64_C(1) << 20)
#define RAM_MIN	    (8 * MIB) /* of switchover vm */
#define MIXED_KINDS 4

static int invalid(struct swo_error *err, const char *text)
{
	return swo_error_set(err, SWO_E_INVALID, 0, "%s", text);
}

static int check_combinations(const struct bench_config *config, struct swo_error *err)
{
	bool kernel = pair_config_is_kernel(&config->pair);

	if (config->pair.pf && config->pair.pfs)
		return invalid(err, "--pf and --pfs exclude each other");
	if (pair_hands_over(&config->pair) && strcmp(config->pair.channel, "unix") != 0)
		return invalid(err, "--handover fd needs --channel unix");
	if (pair_hands_over(&config->pair) && config->pair.tls)
		return invalid(err, "--handover fd and --tls exclude each other");
#ifndef HAVE_TLS
	if (config->pair.tls)
		return invalid(err, "--tls: this build has no TLS (-Dtls=false)");
#endif
	if (kernel && strpbrk(config->pair.profile, "/."))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--profile: expected a name with --backend %s, got the file '%s'",
			config->pair.backend, config->pair.profile);
	if (config->kind == BENCH_ABLATE &&
		(config->pair.stream || config->pair.finalise || config->pair.config))
		return invalid(err,
			"ablate itself switches --stream, --finalise and --config: leave them out");
	if (config->kind != BENCH_CALIBRATE)
		return 0;
	if (!config->output)
		return invalid(err, "--output is required: the file for the engine overhead");
	if (config->vfs_count != 1 || config->vfs[0] < 2)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--vfs: expected one number from 2 to %d", PAIR_VFS_MAX);
	if (strcmp(config->pair.profile, "instant") != 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--profile: calibrate needs devices that cost nothing, instant; got '%s'",
			config->pair.profile);
	return 0;
}

static int check_ram(const struct bench_config *config, struct swo_error *err)
{
	uint64_t bytes;

	if (base_size("--ram", config->pair.ram, RAM_MIN, UINT64_MAX, &bytes, NULL) || bytes % MIB)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--ram: expected whole MiB from 8M on, as in 256M or 4G; got '%s'",
			config->pair.ram);
	return 0;
}

static int check_profile(const struct bench_config *config, struct swo_error *err)
{
	struct svf_profile profile;

	for (unsigned i = 0; i < MIXED_KINDS; i++)
		if (svf_profile_load(pair_profile_of(&config->pair, i), &profile, err))
			return swo_error_prefix(err, "--profile");
	return 0;
}

int bench_check_output(const char *option, const char *path, struct swo_error *err)
{
	if (!path)
		return 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	bool created = fd >= 0;

	if (!created && errno == EEXIST)
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	/* ENXIO: a FIFO without a reader yet. */
	if (fd < 0 && errno != ENXIO)
		return swo_error_set(err, SWO_E_IO, errno, "%s: open '%s'", option, path);
	if (fd >= 0)
		close(fd);
	if (created)
		unlink(path);
	return 0;
}

static int check_files(struct bench_config *config, struct swo_error *err)
{
	if (config->pair.costs_file &&
		overhead_read(config->pair.costs_file, &config->overhead, err))
		return -1;
	if (config->json && config->timeline && !strcmp(config->json, config->timeline))
		return invalid(err, "--json and --timeline name the same file");
	if (config->output && config->json && !strcmp(config->json, config->output))
		return invalid(err, "--json and --output name the same file");
	return bench_check_output("--output", config->output, err) ||
			       bench_check_output("--json", config->json, err) ||
			       (config->timeline && timeline_check(config->timeline, err))
		       ? -1
		       : 0;
}

static int check_program(const char *name, struct swo_error *err)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%s", process_program_dir(), name);
	return access(path, X_OK) ? swo_error_set(err, SWO_E_IO, errno, "the program '%s'", path)
				  : 0;
}

static int check_host(const struct bench_config *config, struct swo_error *err)
{
	bool kernel = pair_config_is_kernel(&config->pair);
	unsigned most = 0;

	for (unsigned i = 0; i < config->vfs_count; i++)
		most = config->vfs[i] > most ? config->vfs[i] : most;
	if (!strcmp(config->pair.accel, "kvm") && access("/dev/kvm", R_OK | W_OK))
		return swo_error_set(err, SWO_E_IO, errno, "--accel kvm: open '/dev/kvm'");
	if (kernel && pair_check_kernel(&config->pair, 2 * most, err))
		return swo_error_prefix(err, "--backend %s", config->pair.backend);
	return check_program("switchover", err) ||
			       (!kernel && check_program("switchover-simvf", err))
		       ? -1
		       : 0;
}

int bench_check(struct bench_config *config, struct swo_error *err)
{
	return check_combinations(config, err) || check_ram(config, err) ||
			       check_profile(config, err) || check_files(config, err) ||
			       check_host(config, err)
		       ? -1
		       : 0;
}
