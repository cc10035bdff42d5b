/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.c - writes the expected costs of the machines' devices, from their profiles, as the file of
 * a probe (docs/plan.md).
 */
#include "cmd/common/device_costs.h"
#include "testbed/pair/pair.h"

#include <errno.h>
#include <stdlib.h>

static json_t *devices_json(const struct pair *pair, struct swo_error *err)
{
	swo_autofree struct device_kinds *kinds = calloc(1, sizeof(*kinds));
	json_t *list = json_array();

	for (unsigned i = 0; kinds && list && i < pair->vfs; i++) {
		struct swo_plan_device *d = &kinds->kinds[0];
		int rc = device_costs_read_profiles(pair_profile_of(pair->config, i), kinds, err);

		snprintf(d->name, sizeof(d->name), "vf%u", i);
		d->costs.pf = pair_pf_of(pair->config, i);
		if (rc || json_array_append_new(list, device_costs_json(d))) {
			json_decref(list);
			list = NULL;
		}
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
