/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device_costs.c - the costs of devices: simvf's profiles, read by their own parser, or the
 * figures of a host as JSON, figure by figure by the same parser.
 */
#include "cmd/common/device_costs.h"
#include "simvf/profiles/named.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The members of the file; 1 there is `unit` in the structure. */
static const struct {
	const char *key;
	size_t offset;
	double unit;
} members[] = {
	{"to_p2p_ms", offsetof(struct swo_device_costs, running_to_p2p_ns), 1e6},
	{"to_stop_copy_ms", offsetof(struct swo_device_costs, p2p_to_stop_ns), 1e6},
	{"resuming_to_stop_ms", offsetof(struct swo_device_costs, resuming_to_stop_ns), 1e6},
	{"to_running_p2p_ms", offsetof(struct swo_device_costs, stop_to_p2p_ns), 1e6},
	{"to_running_ms", offsetof(struct swo_device_costs, p2p_to_running_ns), 1e6},
	{"config_load_ms", offsetof(struct swo_device_costs, config_load_ns), 1e6},
	{"state_bytes", offsetof(struct swo_device_costs, state_bytes), 1},
	{"precopy_bytes", offsetof(struct swo_device_costs, precopy_bytes), 1},
	{"save_rate", offsetof(struct swo_device_costs, save_rate), 1e6},
	{"load_rate", offsetof(struct swo_device_costs, load_rate), 1e6},
	{"load_fixed_ms", offsetof(struct swo_device_costs, load_fixed_ns), 1e6},
};

static uint64_t *figure_of(struct swo_device_costs *costs, size_t i)
{
	return (uint64_t *)((char *)costs + members[i].offset);
}

json_t *device_costs_json(const struct swo_plan_device *device)
{
	struct swo_device_costs costs = device->costs;
	json_t *object = json_object();
	int rc = object ? 0 : -1;

	if (device->name[0])
		rc |= json_object_set_new(object, "name", json_string(device->name));
	for (size_t i = 0; i < SWO_ARRAY_SIZE(members); i++) {
		const uint64_t value = *figure_of(&costs, i);

		if (value == SWO_UNKNOWN)
			continue;
		rc |= json_object_set_new(object, members[i].key,
			members[i].unit > 1 ? json_real((double)value / members[i].unit)
					    : json_integer((json_int_t)value));
	}
	if (costs.pf >= 0)
		rc |= json_object_set_new(object, "pf", json_integer(costs.pf));
	if (device->depth)
		rc |= json_object_set_new(object, "depth", json_integer(device->depth));
	if (rc) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static struct swo_device_costs costs_of(const struct svf_profile *p)
{
	return (struct swo_device_costs){.running_to_p2p_ns = p->to_p2p_ns,
		.p2p_to_stop_ns = p->to_stop_copy_ns,
		.resuming_to_stop_ns = p->resuming_to_stop_ns,
		.stop_to_p2p_ns = p->to_running_p2p_ns,
		.p2p_to_running_ns = p->to_running_ns,
		.config_load_ns = p->config_load_ns,
		.state_bytes = p->state_bytes,
		.precopy_bytes = svf_profile_precopy_bytes(p),
		.save_rate = p->save_rate,
		.load_rate = p->load_rate,
		.load_fixed_ns = p->load_fixed_ns,
		.pf = -1};
}

/* Profiles */

static int add_profile(const char *name, struct device_kinds *out, struct swo_error *err)
{
	struct svf_profile profile;

	if (out->count == DEVICE_KINDS_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--profile: more than %d kinds of devices", DEVICE_KINDS_MAX);
	if (svf_profile_load(name, &profile, err))
		return -1;
	struct swo_plan_device *d = &out->kinds[out->count++];

	*d = (struct swo_plan_device){.costs = costs_of(&profile)};
	/* As in the bench, unless --pfs overrides it. */
	if (profile.shared_pf)
		d->costs.pf = 0;
	out->guesses |= profile.guesses;
	return 0;
}

int device_costs_read_profiles(const char *names, struct device_kinds *out, struct swo_error *err)
{
	static const char mixed[] = "mixed-mlx5,mixed-qat,mixed-big,mixed-instant";
	swo_autofree char *list = strdup(strcmp(names, "mixed") ? names : mixed);
	char *save = NULL;

	*out = (struct device_kinds){0};
	if (!list)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "--profile");
	for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save))
		if (add_profile(one, out, err))
			return -1;
	return out->count ? 0 : swo_error_set(err, SWO_E_INVALID, 0, "--profile names no profile");
}

/* A probe */

struct reading {
	const char *path;
	unsigned index;
	struct svf_profile profile;
	struct swo_plan_device *device;
	long long pf, depth, precopy; /* -1: not there */
};

static int bad(const struct reading *r, const char *key, const char *why, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_INVALID, 0, "--probe '%s': devices[%u]: %.60s: %s", r->path,
		r->index, key, why);
}

/* As the text that a profile has for it. */
static bool value_text(const json_t *value, char *text, size_t size)
{
	if (json_is_integer(value))
		snprintf(text, size, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(text, size, "%.6f", json_real_value(value));
	else if (json_is_string(value))
		snprintf(text, size, "%s", json_string_value(value));
	else
		return false;
	return true;
}

static int read_whole(struct reading *r, const char *key, const json_t *value, long long max,
	long long *out, struct swo_error *err)
{
	if (!json_is_integer(value) || json_integer_value(value) < -1 ||
		json_integer_value(value) > max)
		return bad(r, key, "not a whole number, or out of bounds", err);
	*out = json_integer_value(value);
	return 0;
}

static int read_figure(
	struct reading *r, const char *key, const json_t *value, struct swo_error *err)
{
	const char *why = "invalid";
	char text[64];

	if (!strcmp(key, "pf"))
		return read_whole(r, key, value, 100000, &r->pf, err);
	if (!strcmp(key, "depth"))
		return read_whole(r, key, value, 1000, &r->depth, err);
	if (!strcmp(key, "precopy_bytes"))
		return read_whole(r, key, value, (long long)SVF_STATE_MAX, &r->precopy, err);
	if (!strcmp(key, "name"))
		return json_is_string(value) ? 0 : bad(r, key, "not a text", err);
	if (!value_text(value, text, sizeof(text)) ||
		!svf_profile_set(&r->profile, key, text, &why))
		return bad(r, key, why, err);
	return 0;
}

static int read_device(struct reading *r, const json_t *object, struct swo_error *err)
{
	const char *name = json_string_value(json_object_get(object, "name")), *key;
	json_t *value;

	svf_profile_init(&r->profile);
	r->profile.state_bytes = 0;
	r->pf = r->depth = r->precopy = -1;
	if (!json_is_object(object))
		return bad(r, "it", "not an object", err);
	json_object_foreach ((json_t *)object, key, value)
		if (read_figure(r, key, value, err))
			return -1;
	*r->device = (struct swo_plan_device){.costs = costs_of(&r->profile)};
	for (size_t i = 0; i < SWO_ARRAY_SIZE(members); i++)
		if (!json_object_get(object, members[i].key))
			*figure_of(&r->device->costs, i) = SWO_UNKNOWN;
	snprintf(r->device->name, sizeof(r->device->name), "%s", name ? name : "");
	r->device->costs.pf = (int)r->pf;
	r->device->depth = r->depth > 0 ? (int)r->depth : 0;
	if (r->precopy >= 0)
		r->device->costs.precopy_bytes = (uint64_t)r->precopy;
	else if (json_object_get(object, "precopy_percent"))
		r->device->costs.precopy_bytes = svf_profile_precopy_bytes(&r->profile);
	if (r->precopy > 0 && (uint64_t)r->precopy > r->profile.state_bytes)
		return bad(r, "precopy_bytes", "more than state_bytes", err);
	return 0;
}

static int link_figure(const json_t *root, const char *path, const char *key, double max,
	double unit, uint64_t *out, struct swo_error *err)
{
	const json_t *value = json_object_get(root, key);
	double number = json_number_value(value);

	*out = SWO_UNKNOWN;
	if (!value)
		return 0;
	if (!json_is_number(value) || !(number >= 0 && number <= max))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--probe '%s': %s is not a number from 0 to %.0f", path, key, max);
	*out = (uint64_t)(number * unit);
	return 0;
}

static int read_link(
	const json_t *root, const char *path, struct probe_link *out, struct swo_error *err)
{
	if (link_figure(root, path, "wire_rate", 1e6, 1e6, &out->wire_rate, err) ||
		link_figure(root, path, "channel_rate", 1e6, 1e6, &out->channel_rate, err) ||
		link_figure(root, path, "channels", 16, 1, &out->channels, err) ||
		link_figure(root, path, "rtt_ms", 3.6e6, 1e6, &out->rtt_ns, err) ||
		link_figure(root, path, "ram_dirty_mb", 1e6, 1e6, &out->ram_bytes, err))
		return -1;
	return 0;
}

static int check_keys(const json_t *root, const char *path, struct swo_error *err)
{
	static const char *const known[] = {"devices", "wire_rate", "channel_rate", "channels",
		"rtt_ms", "ram_dirty_mb", "comment"};
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)root, key, value) {
		size_t i = 0;

		while (i < SWO_ARRAY_SIZE(known) && strcmp(known[i], key) != 0)
			i++;
		if (i == SWO_ARRAY_SIZE(known))
			return swo_error_set(err, SWO_E_INVALID, 0,
				"--probe '%s': unknown figure '%.60s'; see docs/plan.md", path,
				key);
	}
	return 0;
}

/* The format of `switchover probe --json`; its other members are ignored. */
static bool is_probe(const json_t *root)
{
	const char *format = json_string_value(json_object_get(root, "format"));

	return format && !strcmp(format, "switchover-probe");
}

/* Its name for it goes before the figures' own, of which there is none. */
static int read_probed(struct reading *r, const json_t *object, struct swo_error *err)
{
	const json_t *figures = json_object_get(object, "figures");
	const char *name = json_string_value(json_object_get(object, "name"));

	if (!json_is_object(figures))
		return bad(r, "figures", "missing: probe it with --exercise", err);
	if (read_device(r, figures, err))
		return -1;
	snprintf(r->device->name, sizeof(r->device->name), "%s", name ? name : "");
	return 0;
}

static int read_root(const json_t *root, const char *path, struct device_kinds *out,
	struct probe_link *link, struct swo_error *err)
{
	const json_t *devices = json_object_get(root, "devices");
	struct reading r = {.path = path};

	if (!json_array_size(devices) || json_array_size(devices) > DEVICE_KINDS_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--probe '%s': \"devices\" is not an array of 1 to %d devices", path,
			DEVICE_KINDS_MAX);
	if (!is_probe(root) && check_keys(root, path, err))
		return -1;
	for (; r.index < json_array_size(devices); r.index++) {
		r.device = &out->kinds[r.index];
		const json_t *object = json_array_get(devices, r.index);

		if ((is_probe(root) ? read_probed : read_device)(&r, object, err))
			return -1;
		out->guesses |= r.profile.guesses;
	}
	out->count = r.index;
	return read_link(root, path, link, err);
}

int device_costs_read_probe(
	const char *path, struct device_kinds *out, struct probe_link *link, struct swo_error *err)
{
	FILE *file = fopen(path, "re");
	struct probe_link ignored;
	json_error_t why;

	*out = (struct device_kinds){0};
	if (!file)
		return swo_error_set(err, SWO_E_IO, errno, "--probe: open '%s'", path);
	json_t *root = json_loadf(file, JSON_REJECT_DUPLICATES, &why);

	fclose(file);
	if (!root)
		return swo_error_set(err, SWO_E_INVALID, 0, "--probe '%s', line %d: %s", path,
			why.line, why.text);
	int rc = read_root(root, path, out, link ? link : &ignored, err);

	json_decref(root);
	return rc;
}
