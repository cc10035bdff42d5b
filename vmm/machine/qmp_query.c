/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_query.c - the query commands: migration, guest, RAM, timeline, devices. Members are QEMU's
 * where it has them.
 */
#include "qmp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)(value > INT64_MAX ? INT64_MAX : value));
}

static json_t *milliseconds(uint64_t ns)
{
	return number((ns + 500000) / 1000000);
}

/* query-migrate */

const struct qmp_type qmp_migration_status = QMP_ENUM_OF("none", "setup", "active", "device",
	"pre-switchover", "cancelling", "cancelled", "completed", "failed", "in-doubt");
static const struct qmp_type ram_info = QMP_OBJECT_OF({"transferred", &qmp_int, false},
	{"remaining", &qmp_int, false}, {"total", &qmp_int, false}, {"duplicate", &qmp_int, false},
	{"normal", &qmp_int, false}, {"normal-bytes", &qmp_int, false},
	{"dirty-pages-rate", &qmp_int, false}, {"mbps", &qmp_number, false},
	{"dirty-sync-count", &qmp_int, false}, {"postcopy-requests", &qmp_int, false},
	{"page-size", &qmp_int, false}, {"multifd-bytes", &qmp_int, false},
	{"pages-per-second", &qmp_int, false}, {"precopy-bytes", &qmp_int, false},
	{"downtime-bytes", &qmp_int, false}, {"postcopy-bytes", &qmp_int, false},
	{"dirty-sync-missed-zero-copy", &qmp_int, false}, {"x-link-mbps", &qmp_number, true});
static const struct qmp_type vfio_info = QMP_OBJECT_OF({"transferred", &qmp_int, false});
const struct qmp_type qmp_migrate_info = QMP_OBJECT_OF({"status", &qmp_migration_status, true},
	{"ram", &ram_info, true}, {"vfio", &vfio_info, true}, {"remaining", &qmp_int, true},
	{"total-time", &qmp_int, true}, {"setup-time", &qmp_int, true},
	{"downtime", &qmp_int, true}, {"expected-downtime", &qmp_int, true},
	{"cpu-throttle-percentage", &qmp_int, true}, {"error-desc", &qmp_string, true},
	{"x-id", &qmp_string, true}, {"x-committed", &qmp_bool, true},
	{"x-downtime-ns", &qmp_int, true}, {"x-expected-downtime-ns", &qmp_int, true},
	{"x-stalled", &qmp_bool, true}, {"x-over-limit", &qmp_int, true},
	{"x-over-limit-reason", &qmp_string, true}, {"x-vfio-remaining", &qmp_int, true},
	{"x-vfio-stopped", &qmp_int, true}, {"x-threads-max", &qmp_int, true},
	{"x-error-code", &qmp_string, true}, {"x-projected-downtime", &qmp_int, true},
	{"x-slowest-device", &qmp_string, true}, {"x-predicted-without", &qmp_int, true},
	{"x-dirty-tracking", &qmp_any, true});

static void put_times(json_t *ret, const struct swo_migration_info *info)
{
	uint64_t end = info->end_ns ? info->end_ns : swo_now_ns();

	json_object_set_new(
		ret, "total-time", milliseconds(info->start_ns ? end - info->start_ns : 0));
	if (info->setup_ns)
		json_object_set_new(ret, "setup-time", milliseconds(info->setup_ns));
	if (info->downtime_ns) {
		json_object_set_new(ret, "downtime", milliseconds(info->downtime_ns));
		json_object_set_new(ret, "x-downtime-ns", number(info->downtime_ns));
	}
	if (info->over_limit_ns) {
		json_object_set_new(ret, "x-over-limit", milliseconds(info->over_limit_ns));
		json_object_set_new(
			ret, "x-over-limit-reason", json_string(info->over_limit_reason));
	}
	if (info->projected_downtime_ns) {
		json_object_set_new(
			ret, "x-projected-downtime", milliseconds(info->projected_downtime_ns));
		json_object_set_new(ret, "x-slowest-device", json_string(info->slowest_device));
	}
	if (info->predicted_downtime_ns) {
		json_object_set_new(
			ret, "expected-downtime", milliseconds(info->predicted_downtime_ns));
		json_object_set_new(
			ret, "x-expected-downtime-ns", number(info->predicted_downtime_ns));
	}
}

/* QEMU's members, none of which is optional. Post-copy and zero-copy do not exist: 0, as there. */
static json_t *ram_members(const struct swo_migration_info *info)
{
	json_t *ram = json_object();

	json_object_set_new(ram, "transferred", number(info->ram_sent));
	json_object_set_new(ram, "remaining", number(info->ram_dirty_pages * SWO_PAGE_SIZE));
	json_object_set_new(ram, "total", number(info->ram_total));
	json_object_set_new(ram, "duplicate", number(info->ram_zero_pages));
	json_object_set_new(ram, "normal", number(info->ram_normal_pages));
	json_object_set_new(ram, "normal-bytes", number(info->ram_normal_pages * SWO_PAGE_SIZE));
	json_object_set_new(ram, "page-size", number(SWO_PAGE_SIZE));
	json_object_set_new(ram, "mbps", json_real((double)info->rate * 8 / 1e6));
	if (info->bandwidth)
		json_object_set_new(
			ram, "x-link-mbps", json_real((double)info->bandwidth * 8 / 1e6));
	/* 0 while it is not known, as in QEMU. */
	json_object_set_new(ram, "dirty-pages-rate", number(info->dirty_rate / SWO_PAGE_SIZE));
	json_object_set_new(ram, "dirty-sync-count", number(info->ram_passes));
	json_object_set_new(ram, "pages-per-second", number(info->page_rate));
	/* The data channels carry all of it. */
	json_object_set_new(ram, "multifd-bytes", number(info->ram_sent));
	json_object_set_new(ram, "precopy-bytes", number(info->ram_sent - info->ram_sent_stopped));
	json_object_set_new(ram, "downtime-bytes", number(info->ram_sent_stopped));
	json_object_set_new(ram, "postcopy-bytes", json_integer(0));
	json_object_set_new(ram, "postcopy-requests", json_integer(0));
	json_object_set_new(ram, "dirty-sync-missed-zero-copy", json_integer(0));
	return ram;
}

/* Of each device of a source, once it is chosen; NULL: not yet, or not needed. */
static json_t *dirty_tracking(struct vmm_machine *machine)
{
	json_t *out = NULL;

	for (unsigned i = 0; i < vmm_machine_device_count(machine); i++) {
		struct swo_device *dev = vmm_machine_device(machine, i);
		const enum swo_dirty_tracking kind = swo_device_dirty_tracking(dev);

		if (kind == SWO_DIRTY_TRACKING_OFF)
			continue;
		out = out ? out : json_object();
		json_object_set_new(
			out, swo_device_name(dev), json_string(swo_dirty_tracking_name(kind)));
	}
	return out;
}

int qmp_query_migrate(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct swo_migration_info info;

	(void)args;
	(void)err;
	/* As in QEMU: empty if there has been no migration. */
	if (!vmm_machine_migration_info(opaque, &info))
		return 0;
	*ret = json_pack("{s:s, s:s, s:b}", "status", swo_migration_status_name(info.status),
		"x-id", info.id, "x-committed", info.committed);
	put_times(*ret, &info);
	json_object_set_new(*ret, "ram", ram_members(&info));
	json_object_set_new(
		*ret, "vfio", json_pack("{s:o}", "transferred", number(info.device_sent)));
	json_object_set_new(*ret, "remaining",
		number(info.ram_dirty_pages * SWO_PAGE_SIZE + info.device_remaining));
	if (info.device_remaining)
		json_object_set_new(*ret, "x-vfio-remaining", number(info.device_remaining));
	json_t *tracking = dirty_tracking(opaque);

	if (tracking)
		json_object_set_new(*ret, "x-dirty-tracking", tracking);
	json_object_set_new(*ret, "x-vfio-stopped", number(info.device_sent_stopped));
	if (info.predicted_without)
		json_object_set_new(*ret, "x-predicted-without", number(info.predicted_without));
	if (info.throttle_percent)
		json_object_set_new(*ret, "cpu-throttle-percentage", number(info.throttle_percent));
	if (info.stalled)
		json_object_set_new(*ret, "x-stalled", json_true());
	json_object_set_new(*ret, "x-threads-max", number(info.threads_max));
	if (info.error.code != SWO_E_NONE) {
		json_object_set_new(*ret, "error-desc", json_string(info.error.text));
		json_object_set_new(
			*ret, "x-error-code", json_string(swo_error_code_name(info.error.code)));
	}
	return 0;
}

/* Guest */

const struct qmp_type qmp_guest_info =
	QMP_OBJECT_OF({"accel", &qmp_string, false}, {"rounds", &qmp_int, false},
		{"doorbells", &qmp_int, false}, {"pages-dirtied", &qmp_int, false},
		{"ram-mismatches", &qmp_int, false}, {"irqs", &qmp_int, false},
		{"inbox-looks", &qmp_int, false}, {"inbox-setbacks", &qmp_int, false},
		{"devices", &qmp_int, false}, {"error", &qmp_int, false});
const struct qmp_type qmp_ram_check =
	QMP_OBJECT_OF({"pages", &qmp_int, false}, {"mismatches", &qmp_int, false});
const struct qmp_type qmp_ram_hash_value = QMP_OBJECT_OF({"hash", &qmp_string, false});

int qmp_query_guest(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct vmm_guest_stats stats;

	(void)args;
	if (vmm_machine_guest_stats(opaque, &stats, err))
		return -1;
	*ret = json_pack("{s:s}", "accel", vmm_machine_accel(opaque));
	json_object_set_new(*ret, "rounds", number(stats.rounds));
	json_object_set_new(*ret, "doorbells", number(stats.doorbells));
	json_object_set_new(*ret, "pages-dirtied", number(stats.pages_dirtied));
	json_object_set_new(*ret, "ram-mismatches", number(stats.ram_mismatches));
	json_object_set_new(*ret, "irqs", number(stats.irqs));
	json_object_set_new(*ret, "inbox-looks", number(stats.inbox_looks));
	json_object_set_new(*ret, "inbox-setbacks", number(stats.inbox_setbacks));
	json_object_set_new(*ret, "devices", number(stats.devices));
	json_object_set_new(*ret, "error", number(stats.error));
	return 0;
}

int qmp_check_ram(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	uint64_t pages, mismatches;

	(void)args;
	if (vmm_machine_check_ram(opaque, &pages, &mismatches, err))
		return -1;
	*ret = json_object();
	json_object_set_new(*ret, "pages", number(pages));
	json_object_set_new(*ret, "mismatches", number(mismatches));
	return 0;
}

int qmp_ram_hash(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	uint64_t hash;
	char text[17];

	(void)args;
	if (vmm_machine_ram_hash(opaque, &hash, err))
		return -1;
	/* As text: half of all hashes exceed JSON's integers. */
	snprintf(text, sizeof(text), "%016" PRIx64, hash);
	*ret = json_pack("{s:s}", "hash", text);
	return 0;
}

/* Timeline */

static const struct qmp_type formats = QMP_ENUM_OF("json", "chrome", "picture");
const struct qmp_type qmp_timeline_args = QMP_OBJECT_OF(
	{"format", &formats, true}, {"columns", &qmp_int, true}, {"utf8", &qmp_bool, true});

static enum vmm_timeline_format take_format(const json_t *args)
{
	const char *word = json_string_value(json_object_get(args, "format"));
	unsigned at = 0;

	while (word && strcmp(formats.values[at], word) != 0)
		at++;
	return (enum vmm_timeline_format)at;
}

static int take_columns(const json_t *args, unsigned *columns, struct swo_error *err)
{
	const json_t *value = json_object_get(args, "columns");

	*columns = 100;
	if (!value)
		return 0;
	if (json_integer_value(value) < 60 || json_integer_value(value) > 1000)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Parameter 'columns' expects a number from 60 to 1000");
	*columns = (unsigned)json_integer_value(value);
	return 0;
}

int qmp_query_timeline(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	const enum vmm_timeline_format format = take_format(args);
	unsigned columns;
	json_error_t error;
	char *text;

	if (take_columns(args, &columns, err) ||
		vmm_machine_timeline(opaque, format, columns,
			json_is_true(json_object_get(args, "utf8")), &text, err))
		return -1;
	if (format == VMM_TIMELINE_PICTURE)
		*ret = json_pack("{s:s}", "text", text);
	else
		*ret = json_loads(text, JSON_DECODE_ANY, &error);
	free(text);
	if (!*ret)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "out of memory for the timeline");
	return 0;
}

/* Devices */

static const struct qmp_type healths = QMP_ENUM_OF("sound", "was-reset", "lost");
static const struct qmp_type arc_info = QMP_OBJECT_OF({"from", &qmp_string, false},
	{"to", &qmp_string, false}, {"count", &qmp_int, false}, {"last-ns", &qmp_int, false},
	{"max-ns", &qmp_int, false}, {"mean-ns", &qmp_int, false});
static const struct qmp_type arc_list = QMP_LIST_OF(&arc_info);
static const struct qmp_type step_info =
	QMP_OBJECT_OF({"step", &qmp_string, false}, {"ns", &qmp_int, false});
static const struct qmp_type device_info = QMP_OBJECT_OF({"id", &qmp_string, false},
	{"backend", &qmp_string, false}, {"address", &qmp_string, false},
	{"state", &qmp_string, false}, {"health", &healths, false}, {"arcs", &arc_list, false},
	{"under-way", &step_info, true});
const struct qmp_type qmp_device_list = QMP_LIST_OF(&device_info);

static json_t *arc_costs(struct swo_device *dev)
{
	json_t *arcs = json_array();

	for (unsigned from = 0; from < SWO_DEVICE_STATES; from++)
		for (unsigned to = 0; to < SWO_DEVICE_STATES; to++) {
			struct swo_arc_cost cost = swo_device_arc_cost(
				dev, (enum swo_device_state)from, (enum swo_device_state)to);

			if (!cost.count)
				continue;
			json_t *arc = json_pack("{s:s, s:s}", "from",
				swo_device_state_name((enum swo_device_state)from), "to",
				swo_device_state_name((enum swo_device_state)to));

			json_object_set_new(arc, "count", number(cost.count));
			json_object_set_new(arc, "last-ns", number(cost.last_ns));
			json_object_set_new(arc, "max-ns", number(cost.max_ns));
			json_object_set_new(arc, "mean-ns", number(cost.mean_ns));
			json_array_append_new(arcs, arc);
		}
	return arcs;
}

static void add_step(json_t *info, struct swo_device *dev)
{
	char step[64];
	const uint64_t ns = swo_device_under_way(dev, step, sizeof(step));

	if (!ns)
		return;
	json_t *under_way = json_pack("{s:s}", "step", step);

	json_object_set_new(under_way, "ns", number(ns));
	json_object_set_new(info, "under-way", under_way);
}

int qmp_query_devices(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)args;
	(void)err;
	*ret = json_array();
	for (unsigned i = 0; i < vmm_machine_device_count(opaque); i++) {
		struct swo_device *dev = vmm_machine_device(opaque, i);
		char address[8];
		void *self;

		vmm_machine_device_address(opaque, i, address);
		json_array_append_new(*ret,
			json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "id", swo_device_name(dev),
				"backend", swo_device_backend(dev, &self)->name, "address", address,
				"state", swo_device_state_name(swo_device_state(dev)), "health",
				healths.values[swo_device_health(dev)], "arcs", arc_costs(dev)));
		add_step(json_array_get(*ret, i), dev);
	}
	return 0;
}
