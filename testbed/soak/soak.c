/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * soak.c - `switchover-bench soak`: migrates one VM with four devices back and forth between two
 * hosts N times; nothing may be lost, and no resource may grow.
 */
#include "cmd/common/args.h"
#include "cmd/common/cmd.h"
#include "testbed/bench/config.h"
#include "testbed/pair/pair.h"
#include "testbed/verbs.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM	 "switchover-bench soak"
#define SOAK_VFS 4
#define END_MS	 60000
#define HOPS_MAX 1000000

/*
 * The counters after each hop. The machine is a new process each time, as between real hosts; the
 * processes of the devices remain.
 */
enum { VM_RSS, VM_FDS, DEVICE_RSS, DEVICE_FDS, BLACKOUT, SERIES };
static const char *const series_names[SERIES] = {
	"vm_rss_kb", "vm_fds", "device_rss_kb", "device_fds", "blackout_ms"};

struct soak {
	struct pair pair;
	struct bench_config config;
	unsigned hops, done;
	double *values[SERIES];
	bool started; /* from this result on, a failure is a finding */
};

/* Counting:
 */

static double resident_kb(pid_t pid)
{
	unsigned long size, resident = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
}

static double open_fds(pid_t pid)
{
	unsigned count = 0;

	process_sample_files(pid, &count);
	return count;
}

static void count_all(struct soak *soak)
{
	pid_t vm = process_pid(soak->pair.ends[PAIR_TARGET].vm);

	soak->values[VM_RSS][soak->done] = resident_kb(vm);
	soak->values[VM_FDS][soak->done] = open_fds(vm);
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < SOAK_VFS; i++) {
			pid_t device = process_pid(soak->pair.ends[side].devs[i]);

			soak->values[DEVICE_RSS][soak->done] += resident_kb(device);
			soak->values[DEVICE_FDS][soak->done] += open_fds(device);
		}
}

static double mean(const double *values, unsigned from, unsigned to)
{
	double sum = 0;

	for (unsigned i = from; i < to; i++)
		sum += values[i];
	return to > from ? sum / (to - from) : 0;
}

/* Slope by least squares, per 100 hops. */
static double slope(const double *values, unsigned count)
{
	double middle = (count - 1) / 2.0, level = mean(values, 0, count), over = 0, under = 0;

	for (unsigned i = 0; i < count; i++) {
		over += (i - middle) * (values[i] - level);
		under += (i - middle) * (i - middle);
	}
	return under > 0 ? 100 * over / under : 0;
}

/* One hop:
 */

static int check_counters(struct soak *soak, struct swo_error *err)
{
	static const char *const never[] = {"doorbells_lost", "doorbells_repeated",
		"p2p_violations", "quiesce_violations", "state_mismatches", "ram_mismatches",
		"resets"};

	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < SOAK_VFS; i++) {
			json_t *report = pair_report(&soak->pair, side, i, err);

			if (!report)
				return -1;
			for (size_t k = 0; k < SWO_ARRAY_SIZE(never); k++) {
				double count = json_path_number(report, never[k]);

				if (count > 0) {
					json_decref(report);
					return swo_error_set(err, SWO_E_CORRUPT, 0,
						"%s's vf%u: %s %.0f", pair_side_name(side), i,
						never[k], count);
				}
			}
			json_decref(report);
		}
	return 0;
}

static int hop(struct soak *soak, struct swo_error *err)
{
	char status[PAIR_STATUS_MAX];
	struct pair *pair = &soak->pair;

	if (pair_migrate(pair, err) || pair_wait_end(pair, END_MS, status, err))
		return -1;
	json_t *answer = pair_qmp(pair, PAIR_SOURCE, "query-migrate", NULL, err);
	if (!answer)
		return -1;
	soak->values[BLACKOUT][soak->done] = json_path_number(answer, "x-downtime-ns") / 1e6;
	if (strcmp(status, "completed") != 0)
		swo_error_set(err, SWO_E_STATE, 0, "it %s: %.300s", status,
			json_path_string(answer, "error-desc"));
	json_decref(answer);
	if (strcmp(status, "completed") != 0 ||
		pair_wait_for_doorbells(pair, PAIR_TARGET, 0, 20, END_MS, err) ||
		check_counters(soak, err))
		return -1;
	count_all(soak);
	soak->done++;
	return soak->done < soak->hops ? pair_turn(pair, err) : 0;
}

static int check_memory(struct soak *soak, struct swo_error *err)
{
	monitor_command(&soak->pair.ends[PAIR_TARGET].qmp, "stop", NULL, NULL);
	json_t *ram = pair_qmp(&soak->pair, PAIR_TARGET, "x-check-ram", NULL, err);

	if (!ram)
		return -1;
	double bad = json_path_number(ram, "mismatches"), pages = json_path_number(ram, "pages");
	json_decref(ram);
	return bad != 0 || pages < 1
		       ? swo_error_set(err, SWO_E_CORRUPT, 0,
				 "%.0f of %.0f pages are not as last written", bad, pages)
		       : 0;
}

static int run(struct soak *soak, struct swo_error *err)
{
	struct pair *pair = &soak->pair;
	bool terminal = isatty(STDERR_FILENO);
	int rc = pair_init(pair, &soak->config.pair, SOAK_VFS, "parallel", err) ||
		 pair_start(pair, err) || pair_boot(pair, err);

	soak->started = !rc;
	while (!rc && soak->done < soak->hops) {
		rc = hop(soak, err);
		if (terminal)
			fprintf(stderr, "\r%u of %u hops  ", soak->done, soak->hops);
	}
	if (terminal)
		fputs("\r                              \r", stderr);
	return rc || check_memory(soak, err) ? -1 : 0;
}

/* Results */

static int show(const struct soak *soak, bool whole, struct swo_error *err)
{
	unsigned tenth = soak->done >= 10 ? soak->done / 10 : 1;
	json_t *row = json_pack(
		"{s:i, s:i, s:b}", "hops", (int)soak->done, "vfs", SOAK_VFS, "whole", (int)whole);

	printf("%u hops of one VM with %d devices\n", soak->done, SOAK_VFS);
	printf("%-16s %12s %12s %16s\n", "", "first tenth", "last tenth", "slope per 100");
	for (unsigned s = 0; s < SERIES && soak->done; s++) {
		double first = mean(soak->values[s], 0, tenth);
		double last = mean(soak->values[s], soak->done - tenth, soak->done);
		double rise = slope(soak->values[s], soak->done);

		printf("%-16s %12.1f %12.1f %16.3f\n", series_names[s], first, last, rise);
		json_object_set_new(row, series_names[s],
			json_pack("{s:f, s:f, s:f}", "first", first, "last", last, "slope", rise));
	}
	if (whole)
		puts("doorbells lost 0, repeated 0; violations 0; mismatches in state 0, in memory "
		     "0");
	int rc = soak->config.json ? json_dump_file(row, soak->config.json, JSON_COMPACT) : 0;
	json_decref(row);
	return rc ? swo_error_set(err, SWO_E_IO, errno, "--json: write '%s'", soak->config.json)
		  : 0;
}

/* The command line */

enum { OPT_HOPS = 256, OPT_JSON, OPT_KEEP, OPT_PROFILE };

static const struct argp_option arguments[] = {
	{"hops", OPT_HOPS, "N", 0, "Migrate N times (100)", 0},
	{"profile", OPT_PROFILE, "NAME", 0, "Profile of the devices (instant)", 0},
	{"json", OPT_JSON, "FILE", 0, "Write a JSON object", 0},
	{"keep", OPT_KEEP, NULL, 0, "Keep logs and sockets", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct soak *soak = state->input;

	switch (key) {
	case OPT_HOPS:
		soak->hops = (unsigned)args_number(state, "hops", arg, 1, HOPS_MAX);
		return 0;
	case OPT_JSON:
		soak->config.json = arg;
		return 0;
	case OPT_KEEP:
		soak->config.keep = true;
		return 0;
	case OPT_PROFILE:
		soak->config.pair.profile = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = arguments,
	.parser = parse_option,
	.doc = "Migrate one VM with four devices back and forth between two hosts. Check after each "
	       "hop that nothing was lost, and report what has grown.\vExit status: 0 when all hops "
	       "passed their checks, 1 when one did not or something failed, 2 on invalid usage.",
};

int soak_cmd(int argc, char **argv)
{
	static struct soak soak;
	struct swo_error err = {0};
	int rc = 0;

	bench_defaults(&soak.config);
	soak.config.pair.accel = "native";
	soak.config.pair.ram = "32M";
	soak.config.pair.vcpus = 1;
	soak.config.pair.profile = "instant";
	soak.hops = 100;
	argp_parse(&argp, argc, argv, 0, NULL, &soak);
	if (bench_check(&soak.config, &err)) {
		fprintf(stderr, PROGRAM ": %s\n", err.text);
		return err.code == SWO_E_INVALID ? CLI_USAGE : CLI_FAILED;
	}
	for (unsigned s = 0; s < SERIES; s++)
		if (!(soak.values[s] = calloc(soak.hops + 1, sizeof(double))))
			return CLI_FAILED;
	process_init();
	if (run(&soak, &err)) {
		rc = -1;
		fprintf(stderr, PROGRAM ": hop %u: %s\n", soak.done + 1, err.text);
	}
	if (show(&soak, !rc, &err)) {
		rc = -1;
		fprintf(stderr, PROGRAM ": %s\n", err.text);
	}
	pair_free(&soak.pair, soak.config.keep || (rc && soak.started && !process_interrupted));
	for (unsigned s = 0; s < SERIES; s++)
		free(soak.values[s]);
	if (process_interrupted)
		return 128 + process_interrupted;
	return rc ? CLI_FAILED : CLI_OK;
}
