/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.c - `switchover probe`: what devices support, and with --exercise whether they follow
 * linux/vfio.h.
 */
#include "cmd/probe/probe.h"

#include "cmd/common/args.h"
#include "cmd/common/cmd.h"
#include "cmd/common/file.h"
#include "cmd/common/verbs.h"

#include <argp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEVICES_MAX 64

struct options {
	struct swo_probe_params params;
	const char *specs[DEVICES_MAX];
	unsigned count;
	const char *json, *tap, *junit; /* "-": stdout */
	bool exercise, yes, risks_ok, verbose;
};

enum {
	OPT_EXERCISE = 256,
	OPT_HOSTILE,
	OPT_YES,
	OPT_JSON,
	OPT_TAP,
	OPT_JUNIT,
	OPT_RUNS,
	OPT_DEADLINE,
	OPT_LIMIT,
	OPT_MAX_STATE,
	OPT_RISKS_OK,
};

static const struct argp_option argp_options[] = {
	{"exercise", OPT_EXERCISE, NULL, 0,
		"Run every arc, save and load, reset, make illegal requests: the device must not be "
		"in use",
		1},
	{"hostile", OPT_HOSTILE, NULL, 0,
		"With --exercise: load damaged states, too, which reach firmware that other "
		"devices may share",
		1},
	{"yes", OPT_YES, NULL, 0, "Confirm that the devices are not in use", 1},
	{"runs", OPT_RUNS, "N", 0, "Measure costs as the median of N runs (5)", 1},
	{"deadline", OPT_DEADLINE, "MS", 0, "Report a call as hung after MS (10000)", 1},
	{"limit", OPT_LIMIT, "MS", 0, "Report an arc as failed if it takes longer (none)", 1},
	{"max-state", OPT_MAX_STATE, "MIB", 0, "Do not load larger states (256)", 1},
	{0, 0, 0, 0, "Output:", 2},
	{"json", OPT_JSON, "FILE", OPTION_ARG_OPTIONAL, "Print JSON, to standard output or to FILE",
		2},
	{"tap", OPT_TAP, "FILE", OPTION_ARG_OPTIONAL,
		"Print the checks as TAP, to standard output or to FILE", 2},
	{"junit", OPT_JUNIT, "FILE", OPTION_ARG_OPTIONAL,
		"Print the checks as JUnit XML, to standard output or to FILE", 2},
	{"risks-ok", OPT_RISKS_OK, NULL, 0, "Exit with 0 if there are only risks", 2},
	{"verbose", 'v', NULL, 0, "Print every check, also passed and skipped ones", 2},
	{0},
};

static bool on_stdout(const char *file)
{
	return file && !strcmp(file, "-");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case OPT_EXERCISE:
		o->exercise = true;
		return 0;
	case OPT_HOSTILE:
		o->params.hostile = true;
		return 0;
	case OPT_YES:
		o->yes = true;
		return 0;
	case OPT_JSON:
		o->json = arg ? arg : "-";
		return 0;
	case OPT_TAP:
		o->tap = arg ? arg : "-";
		return 0;
	case OPT_JUNIT:
		o->junit = arg ? arg : "-";
		return 0;
	case OPT_RUNS:
		o->params.runs = (unsigned)args_number(state, "runs", arg, 1, 64);
		return 0;
	case OPT_DEADLINE:
		o->params.deadline_ms = args_number(state, "deadline", arg, 10, 3600000);
		return 0;
	case OPT_LIMIT:
		o->params.limit_ms = args_number(state, "limit", arg, 1, 3600000);
		return 0;
	case OPT_MAX_STATE:
		o->params.max_state = args_number(state, "max-state", arg, 1, 65536) << 20;
		return 0;
	case OPT_RISKS_OK:
		o->risks_ok = true;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	case ARGP_KEY_ARG:
		if (o->count == DEVICES_MAX)
			argp_error(state, "%d devices at most", DEVICES_MAX);
		else
			o->specs[o->count++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!o->count)
			argp_error(state, "which device?");
		else if ((o->tap || o->junit) && !o->exercise)
			argp_error(state, "--tap and --junit are for --exercise");
		else if (on_stdout(o->json) + on_stdout(o->tap) + on_stdout(o->junit) > 1)
			argp_error(state,
				"only one of --json, --tap and --junit can go to standard "
				"output; name a FILE for the others");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = argp_options,
	.parser = parse,
	.args_doc = "DEVICE...",
	.doc = "Report what a device supports, and whether it follows the rules of VFIO migration.\v"
	       "DEVICE is vfio-user:SOCKET, /dev/vfio/devices/vfioN, /dev/vfio/GROUP[:NAME], a PCI "
	       "address, or a device's path in sysfs. Without --exercise nothing is changed. Exit status: 0 no "
	       "findings; 1 findings, or interrupted; 2 invalid usage; 4 a device cannot be opened.",
};

/* Opening */

static bool is_socket(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISSOCK(st.st_mode);
}

/* "vfio-user:SOCKET", or what swo_vfio_kernel_open takes. */
static int probe_open(struct probe_device *device, uint64_t deadline_ms, struct swo_error *err)
{
	static const char vfio_user[] = "vfio-user:";
	struct swo_vfio_user_params params = {.size = sizeof(struct swo_vfio_user_params),
		/* Ours passes first, so that what hangs has a name. */
		.slow_deadline_ms = deadline_ms + 1000,
		.command_deadline_ms = deadline_ms + 1000};

	const bool named = !strncmp(device->spec, vfio_user, sizeof(vfio_user) - 1);

	if (named || is_socket(device->spec)) {
		device->ops = &swo_vfio_user_ops;
		return swo_vfio_user_connect(device->name,
			device->spec + (named ? sizeof(vfio_user) - 1 : 0), &params, &device->self,
			err);
	}
	device->ops = &swo_vfio_kernel_ops;
	return swo_vfio_kernel_open(device->name, device->spec, NULL, &device->self, err);
}

/* All that can be reached; returns how many cannot. */
static unsigned open_all(const struct options *o, struct probe_device *devices)
{
	uint64_t deadline = o->params.deadline_ms ? o->params.deadline_ms : 10000;
	unsigned unreachable = 0;

	for (unsigned i = 0; i < o->count; i++) {
		struct probe_device *d = &devices[i];
		struct swo_probe_target target;

		d->spec = o->specs[i];
		snprintf(d->name, sizeof(d->name), "vf%u", i);
		if (probe_open(d, deadline, &d->err)) {
			d->self = NULL;
			unreachable++;
			continue;
		}
		target = (struct swo_probe_target){d->name, d->ops, d->self};
		d->described = !swo_probe_describe(&target, &d->info, &d->err);
		unreachable += !d->described && d->err.code != SWO_E_UNSUPPORTED;
	}
	return unreachable;
}

static void close_all(struct probe_device *devices, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (devices[i].self)
			devices[i].ops->destroy(devices[i].self);
}

/* Output */

static FILE *open_output(const char *what, const char *file, struct swo_error *err)
{
	FILE *to = stdout;

	if (!on_stdout(file) && create_file(what, file, &to, err))
		return NULL;
	return to;
}

static int close_output(
	const char *what, const char *file, FILE *to, bool written, struct swo_error *err)
{
	if (to && (to == stdout ? fflush(to) : fclose(to)))
		written = false;
	if (!to)
		fprintf(stderr, "switchover probe: %s\n", err->text);
	else if (!written)
		fprintf(stderr, "switchover probe: %s: cannot write to %s\n", what,
			on_stdout(file) ? "standard output" : file);
	return written ? 0 : -1;
}

static int write_json(const struct options *o, const struct probe_device *devices,
	const struct swo_probe_report *report)
{
	json_t *json = probe_json(devices, o->count, report);
	struct swo_error err;
	FILE *to = open_output("--json", o->json, &err);
	bool written = to && json && !json_dumpf(json, to, JSON_INDENT(2)) && putc('\n', to) != EOF;

	json_decref(json);
	return close_output("--json", o->json, to, written, &err);
}

static int write_tests(const struct options *o, const struct swo_probe_report *report)
{
	const struct {
		const char *what, *file;
		void (*write)(FILE *to, const struct swo_probe_report *report, bool risks_ok);
	} forms[] = {{"--tap", o->tap, probe_write_tap}, {"--junit", o->junit, probe_write_junit}};
	int rc = 0;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(forms); i++) {
		struct swo_error err;

		if (!forms[i].file)
			continue;
		FILE *to = open_output(forms[i].what, forms[i].file, &err);

		if (to)
			forms[i].write(to, report, o->risks_ok);
		rc |= close_output(forms[i].what, forms[i].file, to, to && !ferror(to), &err);
	}
	return rc;
}

static void on_progress(void *opaque, const char *device, const char *what)
{
	(void)opaque;
	fprintf(stderr, "%s: %s\n", device, what);
}

/* Ctrl-C */

static volatile sig_atomic_t interrupted;

static void on_signal(int signo)
{
	(void)signo;
	interrupted = 1;
}

static bool is_interrupted(void *opaque)
{
	(void)opaque;
	return interrupted;
}

/* The first one ends the run, and every device is reset; a second one ends the program. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

/* The whole:
 */

static int may_exercise(const struct options *o)
{
	fprintf(stderr,
		"switchover probe: %u device%s will be stopped, run, saved, loaded%s and reset, many "
		"times; %s state is lost\n",
		o->count, o->count == 1 ? "" : "s",
		o->params.hostile ? " with valid and damaged states" : "",
		o->count == 1 ? "its" : "their");
	if (!o->yes)
		fputs("switchover probe: nothing was done; add --yes if the devices are not in use\n",
			stderr);
	return o->yes ? 0 : -1;
}

static int exercise(const struct options *o, struct probe_device *devices,
	struct swo_probe_report **report, struct swo_error *err)
{
	struct swo_probe_target targets[DEVICES_MAX];
	struct swo_probe_params params = o->params;

	catch_signals();
	params.stop = is_interrupted;
	if (isatty(STDERR_FILENO))
		params.progress = on_progress;
	for (unsigned i = 0; i < o->count; i++) {
		targets[i] =
			(struct swo_probe_target){devices[i].name, devices[i].ops, devices[i].self};
		devices[i].self = NULL; /* taken over */
	}
	return swo_probe_exercise(targets, o->count, &params, report, err);
}

static int finish(const struct options *o, const struct probe_device *devices,
	const struct swo_probe_report *report, unsigned unreachable)
{
	const bool text = !on_stdout(o->json) && !on_stdout(o->tap) && !on_stdout(o->junit);
	unsigned findings = 0;

	for (unsigned i = 0; i < o->count; i++) {
		findings += !devices[i].described;
		if (text)
			probe_write_info(stdout, &devices[i]);
	}
	if (report) {
		findings += report->fails + (o->risks_ok ? 0 : report->risks) + report->interrupted;
		if (report->interrupted)
			fputs("switchover probe: interrupted; every device that was started was "
			      "reset\n",
				stderr);
		if (text)
			probe_write_report(stdout, devices, report, o->verbose);
	}
	if ((o->json && write_json(o, devices, report)) || (report && write_tests(o, report)))
		return CLI_FAILED;
	return unreachable ? CLI_UNREACHABLE : findings ? CLI_FAILED : CLI_OK;
}

static int run(const struct options *o, struct probe_device *devices)
{
	struct swo_probe_report *report = NULL;
	struct swo_error err;

	if (o->exercise && may_exercise(o))
		return CLI_USAGE;
	unsigned unreachable = open_all(o, devices);
	bool all = true;

	for (unsigned i = 0; i < o->count; i++)
		all = all && devices[i].described;
	if (o->exercise && !all)
		fputs("switchover probe: not every device can be exercised, so none was\n", stderr);
	if (o->exercise && all && exercise(o, devices, &report, &err)) {
		fprintf(stderr, "switchover probe: %s\n", err.text);
		return CLI_FAILED;
	}
	int status = finish(o, devices, report, unreachable);

	swo_probe_report_free(report);
	return status;
}

int cmd_probe(int argc, char **argv)
{
	struct options o = {0};
	struct probe_device *devices;
	int status;

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return CLI_USAGE;
	devices = calloc(DEVICES_MAX, sizeof(*devices));
	if (!devices)
		return CLI_FAILED;
	status = run(&o, devices);
	close_all(devices, o.count);
	free(devices);
	return status;
}
