/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * faults.c - `switchover-bench faults`: runs all cases of the fault matrix, several in parallel,
 * each in its own process, and prints a row for each.
 */
#include "testbed/faults/faults.h"

#include "cmd/common/args.h"
#include "cmd/common/cmd.h"
#include "testbed/bench/config.h"
#include "testbed/verbs.h"

#include <argp.h>
#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM	 "switchover-bench faults"
#define JOBS_MAX 64
#define CASE_MS	 (90000 * FAULT_SLOWER) /* a case that takes longer hangs */
#define ROW_MAX	 16384

struct options {
	const char *only, *json, *handover;
	unsigned jobs;
	bool list, quick, tap, keep, verbose;
};

struct slot {
	const struct fault_case *c; /* NULL: free */
	pid_t pid;
	int fd;
	swo_deadline deadline;
	char row[ROW_MAX];
	size_t len;
};

struct matrix {
	struct options options;
	struct fault_case *cases;
	size_t count, next;
	struct slot slots[JOBS_MAX];
	FILE *json;
	unsigned planned, done, bad;
	double ms;
	json_t *kinds; /* object: distinct (side, phase, fault) that were run */
};

/* The command line:
 */

enum {
	OPT_JSON = 256,
	OPT_ONLY,
	OPT_HANDOVER,
	OPT_LIST,
	OPT_JOBS,
	OPT_QUICK,
	OPT_TAP,
	OPT_KEEP,
	OPT_VERBOSE
};

static const struct argp_option arguments[] = {
	{"only", OPT_ONLY, "PATTERN", 0,
		"Run the cases whose name matches, as in 'source/*/arc-hang/*'", 0},
	{"handover", OPT_HANDOVER, "HOW", 0,
		"Copy RAM, or hand it over by descriptor: copy or fd (copy)", 0},
	{"quick", OPT_QUICK, NULL, 0, "Run a subset of the cases: some of each kind", 0},
	{"list", OPT_LIST, NULL, 0, "Print the names, or with --json an object each; run nothing",
		0},
	{"jobs", OPT_JOBS, "N", 0, "Run N cases at once (2)", 0},
	{"json", OPT_JSON, "FILE", 0, "Write a JSON object per case", 0},
	{"tap", OPT_TAP, NULL, 0, "Print TAP", 0},
	{"keep", OPT_KEEP, NULL, 0, "Keep logs and sockets of every case", 0},
	{"verbose", OPT_VERBOSE, NULL, 0, "Print a line for every case", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case OPT_ONLY:
		o->only = arg;
		return 0;
	case OPT_HANDOVER:
		if (strcmp(arg, "copy") != 0 && strcmp(arg, "fd") != 0)
			argp_error(state, "--handover: expected copy or fd, got '%s'", arg);
		o->handover = arg;
		return 0;
	case OPT_JSON:
		o->json = arg;
		return 0;
	case OPT_LIST:
		o->list = true;
		return 0;
	case OPT_QUICK:
		o->quick = true;
		return 0;
	case OPT_TAP:
		o->tap = true;
		return 0;
	case OPT_KEEP:
		o->keep = true;
		return 0;
	case OPT_VERBOSE:
		o->verbose = true;
		return 0;
	case OPT_JOBS:
		o->jobs = (unsigned)args_number(state, "jobs", arg, 1, JOBS_MAX);
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
	.doc = "Run the fault matrix: migrations of real processes with one fault each. Check that "
	       "the VM runs once, never on both hosts, and that nothing was lost.\vExit status: 0 "
	       "when no case has a violation, 1 when one has or something failed, 2 on invalid "
	       "usage.",
};

/* Those that do not apply are chosen, too: they are named. */
static bool chosen(const struct options *o, const struct fault_case *c)
{
	return (!o->quick || c->quick) && (!o->only || !fnmatch(o->only, c->name, 0));
}

static bool is_run(const struct options *o, const struct fault_case *c)
{
	return chosen(o, c) && !fault_skipped(c, o->handover);
}

/* One case:
 */

static json_t *row_of(const struct fault_case *c, const struct fault_result *result)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:f}", "case", c->name, "side",
		pair_side_name(c->side), "phase", c->phase, "fault", c->fault, "outcome",
		result->outcome, "violations", result->violations, "error", result->error, "ms",
		result->ms);
}

/* In the child. */
static void run_case(const struct options *o, const struct fault_case *c, int fd)
{
	struct fault_result result;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	process_init();
	fault_run(c, o->handover, &result, o->keep);
	json_t *row = row_of(c, &result);
	char *text = row ? json_dumps(row, JSON_COMPACT) : NULL;

	for (size_t at = 0, len = text ? strlen(text) : 0; at < len;) {
		ssize_t n = write(fd, text + at, len - at);

		if (n > 0)
			at += (size_t)n;
		else if (errno != EINTR)
			break;
	}
	free(text);
	json_decref(row);
	exit(0);
}

static int begin(
	struct matrix *m, struct slot *slot, const struct fault_case *c, struct swo_error *err)
{
	int pipes[2];

	if (pipe(pipes))
		return swo_error_set(err, SWO_E_IO, errno, "%s: pipe", c->name);
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		close(pipes[0]);
		for (unsigned i = 0; i < m->options.jobs; i++)
			if (m->slots[i].c)
				close(m->slots[i].fd);
		run_case(&m->options, c, pipes[1]);
	}
	close(pipes[1]);
	if (pid < 0) {
		close(pipes[0]);
		return swo_error_set(err, SWO_E_NO_MEMORY, errno, "%s: fork", c->name);
	}
	slot->c = c;
	slot->pid = pid;
	slot->fd = pipes[0];
	slot->len = 0;
	slot->deadline = swo_deadline_ms(CASE_MS);
	return 0;
}

/* The result */

static void clear_line(void)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%78s\r", "");
}

static void progress(const struct matrix *m)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r%u of %u cases, %u with violations  ", m->done, m->planned,
			m->bad);
}

static void tell(struct matrix *m, const struct fault_case *c, const json_t *row)
{
	const json_t *violations = json_object_get(row, "violations"), *one;
	bool bad = json_array_size(violations) > 0;
	size_t i;

	if (m->options.tap)
		printf("%s %u - %s ends %s\n", bad ? "not ok" : "ok", m->done, c->name,
			json_path_string(row, "outcome"));
	else if (m->options.verbose)
		printf("%-50s %-10s %6.0f ms  %s\n", c->name, json_path_string(row, "outcome"),
			json_path_number(row, "ms"), bad ? "VIOLATED" : "");
	else if (bad)
		printf("%s\n", c->name);
	if (m->options.verbose && json_path_string(row, "error")[0])
		printf("    (%s)\n", json_path_string(row, "error"));
	json_array_foreach (violations, i, one)
		printf("%s%s\n", m->options.tap ? "# " : "    ", json_string_value(one));
	fflush(stdout);
}

static void end(struct matrix *m, struct slot *slot)
{
	const struct fault_case *c = slot->c;
	json_t *row = json_loadb(slot->row, slot->len, 0, NULL);
	struct fault_result lost = {.outcome = "", .violations = NULL};

	close(slot->fd);
	kill(slot->pid, SIGKILL);
	while (waitpid(slot->pid, NULL, 0) < 0 && errno == EINTR)
		;
	slot->c = NULL;
	if (process_interrupted) {
		json_decref(row);
		return;
	}
	if (!row) {
		lost.violations = json_pack("[s]", "the case itself hung or crashed");
		row = row_of(c, &lost);
	}
	char kind[80];

	snprintf(kind, sizeof(kind), "%s/%s/%s", pair_side_name(c->side), c->phase, c->fault);
	json_object_set_new(m->kinds, kind, json_true());
	m->done++;
	m->bad += json_array_size(json_object_get(row, "violations")) > 0;
	m->ms += json_path_number(row, "ms");
	clear_line();
	tell(m, c, row);
	if (m->json) {
		json_dumpf(row, m->json, JSON_COMPACT | JSON_REAL_PRECISION(6));
		putc('\n', m->json);
	}
	json_decref(row);
	progress(m);
}

/* Reads more of a child's row. The case ends at the end of the row, or when it hangs. */
static void hear(struct matrix *m, struct slot *slot, bool readable)
{
	if (readable) {
		ssize_t n = read(slot->fd, slot->row + slot->len, ROW_MAX - slot->len);

		if (n > 0)
			slot->len += (size_t)n;
		if (n > 0 || (n < 0 && errno == EINTR))
			return;
		end(m, slot);
	} else if (swo_deadline_passed(slot->deadline)) {
		end(m, slot);
	}
}

static void hear_all(struct matrix *m)
{
	struct pollfd fds[JOBS_MAX];

	for (unsigned i = 0; i < m->options.jobs; i++)
		fds[i] = (struct pollfd){
			.fd = m->slots[i].c ? m->slots[i].fd : -1, .events = POLLIN};
	if (poll(fds, m->options.jobs, 200) < 0)
		return;
	for (unsigned i = 0; i < m->options.jobs; i++)
		if (m->slots[i].c)
			hear(m, &m->slots[i], fds[i].revents != 0);
}

static int fill(struct matrix *m, struct swo_error *err)
{
	for (unsigned i = 0; i < m->options.jobs; i++) {
		while (m->next < m->count && !is_run(&m->options, &m->cases[m->next]))
			m->next++;
		if (m->next == m->count || process_interrupted)
			return 0;
		if (!m->slots[i].c && begin(m, &m->slots[i], &m->cases[m->next++], err))
			return -1;
	}
	return 0;
}

/* All slots may be empty while cases remain: the children exit at any time. */
static bool goes_on(const struct matrix *m)
{
	if (m->done < m->planned && !process_interrupted)
		return true;
	for (unsigned i = 0; i < m->options.jobs; i++)
		if (m->slots[i].c)
			return true;
	return false;
}

/* The children receive the interrupt too, and end the processes that they have started. */
static int run_all(struct matrix *m, struct swo_error *err)
{
	bool told = false;

	do {
		if (fill(m, err))
			return -1;
		hear_all(m);
		for (unsigned i = 0; process_interrupted && !told && i < m->options.jobs; i++)
			if (m->slots[i].c)
				kill(m->slots[i].pid, SIGTERM);
		told = process_interrupted;
	} while (goes_on(m));
	return 0;
}

static json_t *description_of(const struct options *o, const struct fault_case *c)
{
	const char *skipped = fault_skipped(c, o->handover);

	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:o}", "case", c->name, "side",
		pair_side_name(c->side), "phase", c->phase, "fault", c->fault, "device",
		c->concerns ? json_integer(c->device) : json_null(), "quick", (int)c->quick,
		"skipped", skipped ? json_string(skipped) : json_null());
}

static int list(struct matrix *m)
{
	const char *path = m->options.json;

	if (path && !(m->json = fopen(path, "we"))) {
		fprintf(stderr, PROGRAM ": --json: open '%s': %s\n", path, strerror(errno));
		return CLI_FAILED;
	}
	for (size_t i = 0; i < m->count; i++) {
		if (!chosen(&m->options, &m->cases[i]))
			continue;
		if (!m->json) {
			puts(m->cases[i].name);
			continue;
		}
		json_t *row = description_of(&m->options, &m->cases[i]);

		json_dumpf(row, m->json, JSON_COMPACT);
		putc('\n', m->json);
		json_decref(row);
	}
	if (m->json && fclose(m->json)) {
		fprintf(stderr, PROGRAM ": --json: write '%s': %s\n", path, strerror(errno));
		return CLI_FAILED;
	}
	return CLI_OK;
}

/* By name, after the cases that were run. */
static void name_skipped(const struct matrix *m)
{
	const char *mark = m->options.tap ? "# " : "";

	for (size_t i = 0; i < m->count; i++) {
		const char *why = fault_skipped(&m->cases[i], m->options.handover);

		if (why && chosen(&m->options, &m->cases[i]))
			printf("%sskipped: %s: %s\n", mark, m->cases[i].name, why);
	}
}

static int run_matrix(struct matrix *m)
{
	struct swo_error err = {0};
	uint64_t start = swo_now_ns();

	for (size_t i = 0; i < m->count; i++)
		m->planned += is_run(&m->options, &m->cases[i]);
	if (!m->planned) {
		fprintf(stderr, PROGRAM ": no case matches --only '%s'; --list names them\n",
			m->options.only);
		return CLI_USAGE;
	}
	if (m->options.json && !(m->json = fopen(m->options.json, "we"))) {
		fprintf(stderr, PROGRAM ": --json: open '%s': %s\n", m->options.json,
			strerror(errno));
		return CLI_FAILED;
	}
	process_init();
	if (m->options.tap)
		printf("1..%u\n", m->planned);
	int rc = run_all(m, &err);

	clear_line();
	if (rc)
		fprintf(stderr, PROGRAM ": %s\n", err.text);
	if (m->json && fclose(m->json)) {
		fprintf(stderr, PROGRAM ": --json: write '%s': %s\n", m->options.json,
			strerror(errno));
		rc = -1;
	}
	name_skipped(m);
	printf("%s%u of %u cases, %zu distinct (side, phase, fault), %u with violations; %.1f s, "
	       "%.2f s per case\n",
		m->options.tap ? "# " : "", m->done, m->planned, json_object_size(m->kinds), m->bad,
		(double)(swo_now_ns() - start) / 1e9, m->done ? m->ms / 1e3 / m->done : 0);
	if (process_interrupted)
		return 128 + process_interrupted;
	return rc || m->bad ? CLI_FAILED : CLI_OK;
}

static int check(const struct options *o, struct swo_error *err)
{
	struct bench_config config;

	bench_defaults(&config);
	config.json = o->json;
	config.pair.handover = o->handover;
	return bench_check(&config, err);
}

int fault_cmd(int argc, char **argv)
{
	static struct matrix m;
	struct swo_error err = {0};

	m.options.jobs = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &m.options);
	if (!m.options.list && check(&m.options, &err)) {
		fprintf(stderr, PROGRAM ": %s\n", err.text);
		return err.code == SWO_E_INVALID ? CLI_USAGE : CLI_FAILED;
	}
	m.cases = fault_cases(&m.count);
	m.kinds = json_object();
	if (!m.cases || !m.kinds) {
		fputs(PROGRAM ": no memory\n", stderr);
		return CLI_FAILED;
	}
	int status = m.options.list ? list(&m) : run_matrix(&m);

	free(m.cases);
	json_decref(m.kinds);
	return status;
}
