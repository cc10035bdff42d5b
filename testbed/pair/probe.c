/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.c - what the machines are told to expect of their devices: the profiles' figures, in
 * the form in which a probe's are given to them (docs/plan.md).
 */
#include "simvf/profiles/named.h"
#include "testbed/pair/pair.h"

#include <errno.h>

static json_t *device_json(const struct svf_profile *p, unsigned i, int pf)
{
	char name[16];

	snprintf(name, sizeof(name), "vf%u", i);
	return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:f, s:f, s:i}", "name", name,
		"to_p2p_ms", (double)p->to_p2p_ns / 1e6, "to_stop_copy_ms",
		(double)p->to_stop_copy_ns / 1e6, "resuming_to_stop_ms",
		(double)p->resuming_to_stop_ns / 1e6, "to_running_p2p_ms",
		(double)p->to_running_p2p_ns / 1e6, "to_running_ms", (double)p->to_running_ns / 1e6,
		"state_bytes", (json_int_t)p->state_bytes, "precopy_bytes",
		(json_int_t)svf_profile_precopy_bytes(p), "save_rate", (double)p->save_rate / 1e6,
		"load_rate", (double)p->load_rate / 1e6, "pf", pf);
}

static json_t *devices_json(const struct pair *pair, struct swo_error *err)
{
	struct svf_profile profile;
	json_t *list = json_array();

	for (unsigned i = 0; list && i < pair->vfs; i++)
		if (svf_profile_load(bench_profile_of(pair->config, i), &profile, err) ||
			json_array_append_new(
				list, device_json(&profile, i, bench_pf_of(pair->config, i)))) {
			json_decref(list);
			list = NULL;
		}
	return list;
}

int pair_write_probe(const struct pair *pair, struct swo_error *err)
{
	char path[PAIR_PATH_MAX];
	json_t *devices = devices_json(pair, err);

	if (!devices)
		return -1;
	json_t *probe = json_pack("{s:o}", "devices", devices);

	snprintf(path, sizeof(path), "%s/" PAIR_PROBE, pair->dir);
	int rc = !probe || json_dump_file(probe, path, JSON_REAL_PRECISION(12));

	json_decref(probe);
	return rc ? swo_error_set(err, SWO_E_IO, errno, "write '%s'", path) : 0;
}
