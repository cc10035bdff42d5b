/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * soak.c - `switchover-bench soak`: migrates one VM with four devices back and forth between two
 * hosts N times, with a fault in each hop if requested; nothing may be lost, and no resource may
 * grow.
 */
#include "cmd/common/args.h"
#include "cmd/common/cmd.h"
#include "testbed/bench/config.h"
#include "testbed/faults/faults.h"
#include "testbed/pair/pair.h"
#include "testbed/verbs.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM	 "switchover-bench soak"
#define SOAK_VFS FAULT_VFS
#define END_MS	 60000
#define HOPS_MAX 1000000

/*
 * The counters after each hop. The machine is a new process each time, as between real hosts; the
 * processes of the devices remain.
 */
enum { VM_RSS, VM_FDS, VM_THREADS, DEVICE_RSS, DEVICE_SIZE, DEVICE_FDS, BLACKOUT, SERIES };
static const char *const series_names[SERIES] = {"vm_rss_kb", "vm_fds", "vm_threads",
	"device_rss_kb", "device_size_kb", "device_fds", "blackout_ms"};

/* Caches fill in the first hops. From here on nothing may grow by more than this a 100 hops. */
#define SETTLED	     100
#define RECENT	     20
#define FLAT_PERCENT 0.1
#define JUDGED_FROM  300 /* hops, fewer prove nothing */

struct soak {
	struct fault_run run; /* its pair is the soak's, and the rest the fault's of this hop */
	struct bench_config config;
	unsigned hops, done;
	double *values[SERIES];
	double recent[PAIR_SIDES][SOAK_VFS][RECENT]; /* by the hosts, which do not turn */
	bool started; /* from this result on, a failure is a finding */

	bool random_faults, verbose;
	uint64_t seed, dice;
	struct fault_case *cases;
	size_t case_count;
	unsigned faults, restarts; /* hops with one; starts of a VM that was lost */
	unsigned bad;		   /* hops with violations */
	json_t *violations;	   /* array of strings */
	json_t *kinds;		   /* object: distinct (side, phase, fault) */
};

/* Counting:
 */

static double open_fds(pid_t pid)
{
	unsigned count = 0;

	process_sample_files(pid, &count);
	return count;
}

/*
 * The least of the last hops: the C library gives what was freed back to the system at times of its
 * own, which hides a small growth.
 */
static double floor_kb(struct soak *soak, const char *host, unsigned i, double now)
{
	double *recent = soak->recent[!strcmp(host, "target")][i], least = now;

	recent[soak->done % RECENT] = now;
	for (unsigned k = 0; k < RECENT && k <= soak->done; k++)
		least = recent[k] < least ? recent[k] : least;
	return least;
}

/* The migration's own end a moment after it. */
static double threads_of(pid_t pid)
{
	unsigned fewest = 0;

	for (unsigned look = 0; look < 5; look++) {
		unsigned threads = 0;
		uint64_t ignored = 0;

		process_sample(pid, &threads, &ignored);
		fewest = !look || threads < fewest ? threads : fewest;
		swo_sleep_until(swo_now_ns() + 10000000);
	}
	return fewest;
}

/*
 * A device maps the guest's RAM: as much of it is resident as the device happened to touch. Its own
 * memory is counted without it, and its address space shows a mapping that was left behind.
 */
static void count_all(struct soak *soak)
{
	pid_t vm = process_pid(soak->run.pair.ends[PAIR_TARGET].vm);

	soak->values[VM_RSS][soak->done] = (double)process_memory(vm).resident / 1024;
	soak->values[VM_FDS][soak->done] = open_fds(vm);

	soak->values[VM_THREADS][soak->done] = threads_of(vm);
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < SOAK_VFS; i++) {
			pid_t device = process_pid(soak->run.pair.ends[side].devs[i]);
			struct process_memory memory = process_memory(device);

			soak->values[DEVICE_RSS][soak->done] +=
				floor_kb(soak, pair_host(&soak->run.pair, side), i,
					(double)memory.anonymous / 1024);
			soak->values[DEVICE_SIZE][soak->done] += (double)memory.size / 1024;
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
			json_t *report = pair_report(&soak->run.pair, side, i, err);

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

/* A plain hop; the source is left as it is. */
static int migrate(struct soak *soak, struct swo_error *err)
{
	char status[PAIR_STATUS_MAX];
	struct pair *pair = &soak->run.pair;

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
	return 0;
}

/* A hop with a fault:
 */

/* The devices live through all hops, and have the options that they were started with. */
static bool suits(const struct fault_case *c, const char *handover)
{
	return !fault_skipped(c, handover) && !c->simvf_option && !c->finalise &&
	       c->strike.kind != STRIKE_KILL_DEVICE && strncmp(c->spec, "die@", 4) != 0;
}

/* xorshift64*: the same seed draws the same faults on every host. */
static uint64_t roll(struct soak *soak)
{
	soak->dice ^= soak->dice >> 12;
	soak->dice ^= soak->dice << 25;
	soak->dice ^= soak->dice >> 27;
	return soak->dice * UINT64_C(2685821657736338717);
}

/* NULL: none, in one hop of four. */
static const struct fault_case *draw(struct soak *soak)
{
	if (roll(soak) % 4 == 0)
		return NULL;
	for (;;) {
		const struct fault_case *c = &soak->cases[roll(soak) % soak->case_count];

		if (suits(c, soak->config.pair.handover))
			return c;
	}
}

static int end_faults(struct soak *soak, struct swo_error *err)
{
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < SOAK_VFS; i++)
			for (unsigned k = 0; k < 2; k++) {
				json_t *answer =
					control_request(&soak->run.pair.ends[side].controls[i],
						k ? "release" : "clear-faults", err);

				if (!answer)
					return -1;
				json_decref(answer);
			}
	return 0;
}

static bool is_sound(struct soak *soak, enum pair_side side)
{
	json_t *devices = pair_qmp(&soak->run.pair, side, "x-query-devices", NULL, NULL), *device;
	bool sound = json_array_size(devices) == SOAK_VFS;
	size_t i;

	json_array_foreach (devices, i, device)
		sound &= !strcmp(json_path_string(device, "health"), "sound");
	json_decref(devices);
	return sound;
}

/* The VM is on the target with all of its devices: by itself, by another migration, or restarted. */
static int recover(struct soak *soak, struct swo_error *err)
{
	struct fault_run *run = &soak->run;

	if (end_faults(soak, err))
		return -1;
	bool here = fault_runs(run, PAIR_SOURCE), there = fault_runs(run, PAIR_TARGET);

	if ((!here && !there) || !is_sound(soak, there ? PAIR_TARGET : PAIR_SOURCE)) {
		soak->restarts++;
		if (!fault_restart(run))
			return swo_error_set(err, SWO_E_STATE, 0, "the VM cannot be restarted");
		there = false;
	}
	run->pair.deaths_expected = false;
	/* The link that lost STARTED is gone, too: only an operator ends a source in doubt. */
	if (there && !fault_has_status(run, PAIR_SOURCE, "completed"))
		pair_end_machine(&run->pair, PAIR_SOURCE);
	if (there)
		return 0;
	return pair_renew_machine(&run->pair, PAIR_TARGET, err) ||
			       pair_reset_counters(&run->pair, err) || migrate(soak, err)
		       ? -1
		       : 0;
}

static void note(struct soak *soak, const struct fault_case *c, const json_t *violations)
{
	const json_t *one;
	size_t i;

	soak->bad += json_array_size(violations) > 0;
	if (json_array_size(violations) || soak->verbose)
		printf("hop %u: %s: %s\n", soak->done + 1, c->name, soak->run.result->outcome);
	json_array_foreach (violations, i, one) {
		printf("    %s\n", json_string_value(one));
		json_array_append_new(
			soak->violations, json_sprintf("hop %u: %s: %s", soak->done + 1, c->name,
						  json_string_value(one)));
	}
}

static int struck_hop(struct soak *soak, const struct fault_case *c, struct swo_error *err)
{
	struct fault_result result = {.outcome = "", .violations = json_array()};
	struct fault_run *run = &soak->run;
	char kind[80];

	run->c = c;
	run->result = &result;
	run->struck = (struct strike_result){.hit = false};
	run->source_gone = run->target_gone = run->link_gone = run->fresh = run->again = false;
	run->lost[PAIR_SOURCE] = run->lost[PAIR_TARGET] = 0;
	snprintf(kind, sizeof(kind), "%s/%s/%s", pair_side_name(c->side), c->phase, c->fault);
	json_object_set_new(soak->kinds, kind, json_true());
	soak->faults++;
	int rc = pair_reset_counters(&run->pair, err) || fault_inject(run, err);

	if (!rc)
		fault_judge(run);
	link_stop(run->link);
	run->link = NULL;
	strcpy(run->pair.uri, run->pair.listen_uri);
	if (!rc)
		rc = recover(soak, err);
	if (rc)
		swo_error_prefix(err, "%s", c->name);
	note(soak, c, result.violations);
	json_decref(result.violations);
	run->result = NULL;
	return rc;
}

static int hop(struct soak *soak, struct swo_error *err)
{
	const struct fault_case *c = soak->random_faults ? draw(soak) : NULL;

	if (c ? struck_hop(soak, c, err)
	      : pair_reset_counters(&soak->run.pair, err) || migrate(soak, err))
		return -1;
	count_all(soak);
	soak->done++;
	return soak->done < soak->hops ? pair_turn(&soak->run.pair, err) : 0;
}

static int check_memory(struct soak *soak, struct swo_error *err)
{
	monitor_command(&soak->run.pair.ends[PAIR_TARGET].qmp, "stop", NULL, NULL);
	json_t *ram = pair_qmp(&soak->run.pair, PAIR_TARGET, "x-check-ram", NULL, err);

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
	struct pair *pair = &soak->run.pair;
	bool terminal = isatty(STDERR_FILENO);
	int rc = soak->random_faults
			 ? fault_prepare(
				   &soak->run, &soak->config.pair, soak->config.pair.handover, err)
			 : pair_init(pair, &soak->config.pair, SOAK_VFS, "parallel", err);

	/* A VM that is restarted has as much of its RAM as the one before. */
	soak->config.pair.fill_ram = soak->random_faults;
	rc = rc || pair_start(pair, err) || pair_boot(pair, err);
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

/* Growth in per cent of the mean per 100 hops, once caches have filled. */
static double growth(const double *values, unsigned count)
{
	unsigned from = count > SETTLED ? SETTLED : 0;
	double level = mean(values, from, count);

	return level > 0 ? 100 * slope(values + from, count - from) / level : 0;
}

/* The blackout is a time: it is shown, and not judged. */
static int judge_growth(const struct soak *soak, struct swo_error *err)
{
	for (unsigned s = 0; s < BLACKOUT && soak->done >= JUDGED_FROM; s++) {
		double percent = growth(soak->values[s], soak->done);

		if (percent > FLAT_PERCENT)
			return swo_error_set(err, SWO_E_STATE, 0,
				"%s grows by %.3f %% per 100 hops, at most %.1f are allowed",
				series_names[s], percent, FLAT_PERCENT);
	}
	return 0;
}

static void show_faults(const struct soak *soak, json_t *row)
{
	printf("seed %llu: %u hops with a fault, %zu distinct (side, phase, fault), %u with "
	       "violations; the VM was restarted %u times\n",
		(unsigned long long)soak->seed, soak->faults, json_object_size(soak->kinds),
		soak->bad, soak->restarts);
	json_object_set_new(row, "faults",
		json_pack("{s:I, s:i, s:i, s:i, s:O}", "seed", (json_int_t)soak->seed, "hops",
			(int)soak->faults, "distinct", (int)json_object_size(soak->kinds), "anew",
			(int)soak->restarts, "violations", soak->violations));
}

static int show(const struct soak *soak, bool whole, struct swo_error *err)
{
	unsigned tenth = soak->done >= 10 ? soak->done / 10 : 1;
	json_t *row = json_pack(
		"{s:i, s:i, s:b}", "hops", (int)soak->done, "vfs", SOAK_VFS, "whole", (int)whole);

	printf("%u hops of one VM with %d devices\n", soak->done, SOAK_VFS);
	printf("%-16s %12s %12s %16s %12s\n", "", "first tenth", "last tenth", "slope per 100",
		"settled, %");
	for (unsigned s = 0; s < SERIES && soak->done; s++) {
		double first = mean(soak->values[s], 0, tenth);
		double last = mean(soak->values[s], soak->done - tenth, soak->done);
		double rise = slope(soak->values[s], soak->done);

		double percent = growth(soak->values[s], soak->done);

		printf("%-16s %12.1f %12.1f %16.3f %12.3f\n", series_names[s], first, last, rise,
			percent);
		json_object_set_new(row, series_names[s],
			json_pack("{s:f, s:f, s:f, s:f}", "first", first, "last", last, "slope",
				rise, "growth_percent", percent));
	}
	if (soak->random_faults)
		show_faults(soak, row);
	if (whole)
		puts("doorbells lost 0, repeated 0; violations 0; mismatches in state 0, in memory "
		     "0");
	int rc = soak->config.json ? json_dump_file(row, soak->config.json, JSON_COMPACT) : 0;
	json_decref(row);
	return rc ? swo_error_set(err, SWO_E_IO, errno, "--json: write '%s'", soak->config.json)
		  : 0;
}

/* The command line */

enum {
	OPT_HOPS = 256,
	OPT_JSON,
	OPT_KEEP,
	OPT_PROFILE,
	OPT_RANDOM_FAULTS,
	OPT_SEED,
	OPT_HANDOVER,
	OPT_VERBOSE
};

static const struct argp_option arguments[] = {
	{"hops", OPT_HOPS, "N", 0, "Migrate N times (100)", 0},
	{"profile", OPT_PROFILE, "NAME", 0, "Profile of the devices (instant)", 0},
	{"random-faults", OPT_RANDOM_FAULTS, NULL, 0,
		"Inject a fault of the matrix into three hops of four, judge and recover", 0},
	{"seed", OPT_SEED, "N", 0, "Choose the faults (1)", 0},
	{"handover", OPT_HANDOVER, "HOW", 0,
		"Copy RAM, or hand it over by descriptor: copy or fd (copy)", 0},
	{"verbose", OPT_VERBOSE, NULL, 0, "Print a line for every hop with a fault", 0},
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
	case OPT_RANDOM_FAULTS:
		soak->random_faults = true;
		return 0;
	case OPT_SEED:
		soak->seed = args_number(state, "seed", arg, 1, UINT32_MAX);
		return 0;
	case OPT_HANDOVER:
		if (strcmp(arg, "copy") != 0 && strcmp(arg, "fd") != 0)
			argp_error(state, "--handover: expected copy or fd, got '%s'", arg);
		soak->config.pair.handover = arg;
		return 0;
	case OPT_VERBOSE:
		soak->verbose = true;
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
	soak.seed = 1;
	argp_parse(&argp, argc, argv, 0, NULL, &soak);
	if (bench_check(&soak.config, &err)) {
		fprintf(stderr, PROGRAM ": %s\n", err.text);
		return err.code == SWO_E_INVALID ? CLI_USAGE : CLI_FAILED;
	}
	for (unsigned s = 0; s < SERIES; s++)
		if (!(soak.values[s] = calloc(soak.hops + 1, sizeof(double))))
			return CLI_FAILED;
	soak.cases = fault_cases(&soak.case_count);
	soak.violations = json_array();
	soak.kinds = json_object();
	if (!soak.cases || !soak.violations || !soak.kinds)
		return CLI_FAILED;
	soak.dice = soak.seed;
	process_init();
	if (run(&soak, &err)) {
		rc = -1;
		fprintf(stderr, PROGRAM ": hop %u: %s\n", soak.done + 1, err.text);
	}
	if (soak.bad) {
		rc = -1;
		fprintf(stderr, PROGRAM ": %u hops have violations\n", soak.bad);
	}
	if (!rc && judge_growth(&soak, &err)) {
		rc = -1;
		fprintf(stderr, PROGRAM ": %s\n", err.text);
	}
	if (show(&soak, !rc, &err)) {
		rc = -1;
		fprintf(stderr, PROGRAM ": %s\n", err.text);
	}
	fault_finish(&soak.run, soak.config.keep || (rc && soak.started && !process_interrupted));
	for (unsigned s = 0; s < SERIES; s++)
		free(soak.values[s]);
	free(soak.cases);
	json_decref(soak.violations);
	json_decref(soak.kinds);
	if (process_interrupted)
		return 128 + process_interrupted;
	return rc ? CLI_FAILED : CLI_OK;
}
