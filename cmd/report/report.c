/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.c - `switchover report FILE...`: timelines and rows as one page.
 */
#include "cmd/report/report.h"

#include "cmd/common/cmd.h"
#include "cmd/common/file.h"
#include "cmd/common/verbs.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 64

enum { OPT_OUTPUT = 256, OPT_SVG };

struct request {
	const char *output, *file[FILES_MAX];
	unsigned files;
	bool svg;
};

static const struct argp_option options[] = {
	{"output", OPT_OUTPUT, "FILE", 0, "Write it to FILE (to standard output)", 0},
	{"svg", OPT_SVG, NULL, 0, "As SVG: the figures alone", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct request *r = state->input;

	switch (key) {
	case OPT_OUTPUT:
		r->output = arg;
		return 0;
	case OPT_SVG:
		r->svg = true;
		return 0;
	case ARGP_KEY_ARG:
		if (r->files == FILES_MAX)
			argp_error(state, "more than %d files", FILES_MAX);
		r->file[r->files++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (!r->files)
			argp_error(state, "missing files: timelines, or rows of switchover-bench");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {options, parse_option, "FILE...",
	"Show where the time of switchovers went as one page of HTML, which needs neither script nor "
	"network: for timelines (--timeline of switchover-bench, observe, vm) lanes of source and target "
	"on one axis, with the critical path; for rows (--json of switchover-bench and the lab) the time "
	"against the number of VFs.\vExit status: 0, 1 when it cannot be written, 2 on invalid "
	"usage or a file that is neither.",
	NULL, NULL, NULL};

static int write_report(const struct request *r, const struct report *report, struct swo_error *err)
{
	FILE *out = stdout;

	if (r->output && create_file("--output", r->output, &out, err))
		return -1;
	int rc = (r->svg ? report_svg : report_page)(out, report)
			 ? swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a report")
			 : 0;
	bool failed = ferror(out) || fflush(out);

	if (out != stdout)
		failed |= fclose(out) != 0;
	if (!rc && failed)
		rc = swo_error_set(err, SWO_E_IO, errno, "write the report");
	return rc;
}

int cmd_report(int argc, char **argv)
{
	struct request request = {0};
	struct report report = {0};
	struct swo_error err;
	int rc = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &request);
	for (unsigned i = 0; !rc && i < request.files; i++)
		rc = report_read(&report, request.file[i], &err);
	/* Before the file is emptied. */
	rc = rc || write_report(&request, &report, &err);
	report_free(&report);
	if (!rc)
		return CLI_OK;
	fprintf(stderr, "switchover report: %s\n", err.text);
	return err.code == SWO_E_INVALID || err.code == SWO_E_PROTOCOL ? CLI_USAGE : CLI_FAILED;
}
