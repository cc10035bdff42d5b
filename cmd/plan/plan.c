/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plan.c - `switchover plan`: predictions for a host that there may not be yet, or the critical
 * path of a switchover that took place.
 */
#include "cmd/plan/plan.h"
#include "cmd/common/cmd.h"
#include "cmd/common/file.h"
#include "cmd/common/overhead.h"
#include "cmd/common/text_in.h"
#include "cmd/common/verbs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PREDICTED_SPANS (SWO_DEVICES_MAX * 8 + 64)

static int dump(json_t *object, struct swo_error *err)
{
	int rc = !object || json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12)) ||
		 putchar('\n') == EOF;

	json_decref(object);
	return rc ? swo_error_set(err, SWO_E_IO, 0, "the JSON could not be written") : 0;
}

/* One that took place */

static int show_path(
	const struct plan_request *request, struct swo_timeline *timeline, struct swo_error *err)
{
	struct swo_path path;
	int rc = 0;

	if (swo_critical_path(timeline, &path, err))
		return swo_error_prefix(err, "'%s'", request->timeline);
	if (request->json)
		rc = dump(json_pack("{s:s, s:f, s:o}", "timeline", request->timeline, "blackout_ms",
				  (double)(path.end_ns - path.start_ns) / 1e6, "critical_path",
				  plan_path_json(&path)),
			err);
	else
		plan_print_path(stdout, &path);
	swo_path_free(&path);
	return rc;
}

static int recorded(const struct plan_request *request, struct swo_error *err)
{
	struct swo_buf text = SWO_BUF_INIT(TEXT_BYTES_MAX);
	struct swo_timeline *timeline = NULL;
	size_t dropped;
	int rc = text_read("--timeline", request->timeline, &text, err);

	if (!rc && !(timeline = timeline_parse(&text, request->timeline, err)))
		rc = -1;
	if (!rc)
		rc = show_path(request, timeline, err);
	swo_timeline_count(timeline, &dropped);
	if (!rc && dropped)
		fprintf(stderr, "switchover plan: %zu spans of this timeline were not kept\n",
			dropped);
	swo_timeline_free(timeline);
	swo_buf_free(&text);
	return rc;
}

/* Those that did not */

static int save_timeline(const char *path, struct swo_timeline *timeline, struct swo_error *err)
{
	swo_autofree char *text = swo_timeline_to_json(timeline);
	FILE *out;

	if (!text)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "--save-timeline");
	out = fopen(path, "we");
	if (!out)
		return swo_error_set(err, SWO_E_IO, errno, "--save-timeline: open '%s'", path);
	int rc = fputs(text, out) == EOF;

	rc |= fclose(out);
	return rc ? swo_error_set(err, SWO_E_IO, errno, "--save-timeline: write '%s'", path) : 0;
}

static int answer_one(const struct plan_request *request, const struct device_kinds *kinds,
	unsigned vfs, struct plan_answer *answer, struct swo_error *err)
{
	swo_autofree struct swo_plan_device *devices = calloc(vfs, sizeof(*devices));
	struct swo_plan_setup setup = request->setup;
	struct swo_timeline *timeline =
		request->save_timeline ? swo_timeline_new(SWO_SIDE_SOURCE, PREDICTED_SPANS) : NULL;
	int rc = 0;

	if (!devices || (request->save_timeline && !timeline))
		rc = swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a plan of %u devices", vfs);
	if (!rc) {
		plan_make_devices(kinds, request, devices, vfs);
		setup.devices = devices;
		setup.count = vfs;
		rc = plan_answer(&setup, answer, timeline, err);
	}
	if (!rc && timeline && save_timeline(request->save_timeline, timeline, err)) {
		plan_answer_free(answer);
		rc = -1;
	}
	swo_timeline_free(timeline);
	return rc;
}

static int show(const struct plan_request *request, const struct device_kinds *kinds,
	const struct plan_answer *answers, unsigned count, struct swo_error *err)
{
	if (!request->json) {
		plan_print(stdout, request, kinds, answers, count);
		return 0;
	}
	for (unsigned i = 0; i < count; i++)
		if (dump(plan_json(request, &answers[i]), err))
			return -1;
	return 0;
}

static void choose_numbers(struct plan_request *request, const struct device_kinds *kinds)
{
	static const unsigned usual[] = {1, 4, 16};

	if (request->vfs_count)
		return;
	if (request->probe) {
		request->vfs[0] = kinds->count;
		request->vfs_count = 1;
		return;
	}
	memcpy(request->vfs, usual, sizeof(usual));
	request->vfs_count = SWO_ARRAY_SIZE(usual);
}

static int predicted(struct plan_request *request, struct swo_error *err)
{
	swo_autofree struct plan_answer *answers = calloc(PLAN_LIST_MAX, sizeof(*answers));
	swo_autofree struct device_kinds *kinds = calloc(1, sizeof(*kinds));
	unsigned done = 0;

	if (!answers || !kinds)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a plan");
	struct probe_link link;
	int rc = request->probe ? device_costs_read_probe(request->probe, kinds, &link, err)
				: device_costs_read_profiles(request->profile, kinds, err);

	if (!rc && request->probe)
		plan_take_link(request, &link);

	if (!rc && request->costs)
		rc = overhead_read(request->costs, &request->setup.overhead, err);
	choose_numbers(request, kinds);
	while (!rc && done < request->vfs_count) {
		rc = answer_one(request, kinds, request->vfs[done], &answers[done], err);
		done += !rc;
	}
	if (!rc)
		rc = show(request, kinds, answers, done, err);
	for (unsigned i = 0; i < done; i++)
		plan_answer_free(&answers[i]);
	return rc;
}

int cmd_plan(int argc, char **argv)
{
	struct plan_request request;
	struct swo_error err = {0};

	plan_parse_args(argc, argv, &request);
	if (!redirect_output("--json", request.json_file, &err) &&
		!(request.timeline ? recorded(&request, &err) : predicted(&request, &err)))
		return CLI_OK;
	fprintf(stderr, "switchover plan: %s\n", err.text);
	return err.code == SWO_E_INVALID || err.code == SWO_E_PROTOCOL ? CLI_USAGE : CLI_FAILED;
}
