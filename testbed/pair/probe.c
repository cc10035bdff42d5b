/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.c - what the machines are told to expect of their devices: the profiles' figures, in
 * the form in which a probe's are given to them (docs/plan.md).
 */
#include "cmd/plan/plan.h"
#include "testbed/pair/pair.h"

#include <errno.h>
#include <stdlib.h>

static json_t *device_json(const struct swo_plan_device *d, unsigned i, int pf)
{
	char name[16];

	snprintf(name, sizeof(name), "vf%u", i);
	return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:f, s:i}", "name", name,
		"to_p2p_ms", (double)d->to_p2p_ns / 1e6, "to_stop_copy_ms",
		(double)d->to_stop_copy_ns / 1e6, "resuming_to_stop_ms",
		(double)d->resuming_to_stop_ns / 1e6, "to_running_p2p_ms",
		(double)d->to_running_p2p_ns / 1e6, "to_running_ms", (double)d->to_running_ns / 1e6,
		"state_bytes", (json_int_t)d->state_bytes, "precopy_bytes",
		(json_int_t)d->precopy_bytes, "save_rate", (double)d->save_rate / 1e6, "load_rate",
		(double)d->load_rate / 1e6, "pf", pf);
}

static json_t *devices_json(const struct lab *lab, struct swo_error *err)
{
	struct plan_input *input = calloc(1, sizeof(*input));
	json_t *list = json_array();

	for (unsigned i = 0; input && list && i < lab->vfs; i++)
		if (plan_read_profiles(bench_profile_of(lab->config, i), input, err) ||
			json_array_append_new(list,
				device_json(&input->kinds[0], i, bench_pf_of(lab->config, i)))) {
			json_decref(list);
			list = NULL;
		}
	free(input);
	return list;
}

int lab_write_probe(const struct lab *lab, struct swo_error *err)
{
	char path[LAB_PATH_MAX];
	json_t *devices = devices_json(lab, err);

	if (!devices)
		return -1;
	json_t *probe = json_pack("{s:o}", "devices", devices);

	snprintf(path, sizeof(path), "%s/" LAB_PROBE, lab->dir);
	int rc = !probe || json_dump_file(probe, path, JSON_REAL_PRECISION(12));

	json_decref(probe);
	return rc ? swo_error_set(err, SWO_E_IO, errno, "write '%s'", path) : 0;
}
