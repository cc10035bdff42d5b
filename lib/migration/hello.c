/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello.c - HELLO and HELLO_OK as JSON, and the check that both sides are compatible.
 */
#include "migration/hello.h"

#include "migration/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const when_names[] = {"early", "ram", "late"};
static const char *const handover_names[] = {"copy", "fd"};

void migration_hello_free(struct hello *hello)
{
	free(hello->identity);
	free(hello->layout);
	free(hello->devices);
	memset(hello, 0, sizeof(*hello));
}

static int dump(json_t *root, struct swo_buf *out, struct swo_error *err)
{
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	int rc = text ? swo_buf_append(out, text, strlen(text), err)
		      : swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "HELLO");

	free(text);
	json_decref(root);
	return rc;
}

int migration_hello_format(const struct hello *hello, struct swo_buf *out, struct swo_error *err)
{
	json_t *ram = json_array(), *devices = json_array();

	for (unsigned i = 0; i < hello->ram_count; i++)
		json_array_append_new(ram, json_pack("{s:s, s:I, s:I}", "name", hello->ram[i].name,
						   "gpa", (json_int_t)hello->ram[i].gpa, "size",
						   (json_int_t)hello->ram[i].size));
	for (unsigned i = 0; i < hello->device_count; i++)
		json_array_append_new(
			devices, json_pack("{s:s, s:I, s:I, s:b}", "name", hello->devices[i].name,
					 "mig-flags", (json_int_t)hello->devices[i].mig_flags,
					 "window", (json_int_t)hello->devices[i].window, "spread",
					 hello->devices[i].spread));
	return dump(json_pack("{s:i, s:i, s:s, s:s, s:i, s:b, s:s, s:s, s:s, s:s, s:o, s:o}",
			    "version", WIRE_VERSION, "minor", (int)hello->minor, "id", hello->id,
			    "vm", hello->identity, "channels", (int)hello->channels, "running",
			    hello->running, "finalise", when_names[hello->finalise], "config",
			    when_names[hello->config], "handover", handover_names[hello->handover],
			    "layout", hello->layout, "ram", ram, "devices", devices),
		out, err);
}

static int bad(struct swo_error *err, const char *what)
{
	return swo_error_set(err, SWO_E_PROTOCOL, 0, "malformed HELLO of the source: %s", what);
}

static int parse_when(const char *text, enum swo_when *out)
{
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(when_names); i++)
		if (!strcmp(text, when_names[i])) {
			*out = (enum swo_when)i;
			return 0;
		}
	return -1;
}

/* A missing key means copy. */
static int parse_handover(const json_t *root, enum swo_handover *out)
{
	const json_t *value = json_object_get(root, "handover");
	const char *text = value ? json_string_value(value) : handover_names[SWO_HANDOVER_COPY];

	for (unsigned i = 0; text && i < SWO_ARRAY_SIZE(handover_names); i++)
		if (!strcmp(text, handover_names[i])) {
			*out = (enum swo_handover)i;
			return 0;
		}
	return -1;
}

static int copy_name(char *to, size_t room, const char *name)
{
	if (!*name || strlen(name) >= room)
		return -1;
	strcpy(to, name);
	return 0;
}

static int parse_ram(json_t *list, struct hello *out, struct swo_error *err)
{
	size_t i;
	json_t *item;

	if (json_array_size(list) > SWO_RAM_REGIONS_MAX)
		return bad(err, "too many RAM regions");
	json_array_foreach (list, i, item) {
		const char *name;
		json_int_t gpa, size;

		if (json_unpack(
			    item, "{s:s, s:I, s:I}", "name", &name, "gpa", &gpa, "size", &size) ||
			gpa < 0 || size <= 0 ||
			copy_name(out->ram[i].name, sizeof(out->ram[i].name), name))
			return bad(err, "a RAM region");
		out->ram[i].gpa = (uint64_t)gpa;
		out->ram[i].size = (uint64_t)size;
	}
	out->ram_count = (unsigned)json_array_size(list);
	return 0;
}

static int parse_devices(json_t *list, struct hello *out, struct swo_error *err)
{
	size_t i, count = json_array_size(list);
	json_t *item;

	if (count > SWO_DEVICES_MAX)
		return bad(err, "too many devices");
	out->devices = calloc(count ? count : 1, sizeof(*out->devices));
	if (!out->devices)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "HELLO of %zu devices", count);
	json_array_foreach (list, i, item) {
		const char *name;
		json_int_t flags, window;
		int spread = 0; /* a missing key means no */

		if (json_unpack(item, "{s:s, s:I, s:I, s?b}", "name", &name, "mig-flags", &flags,
			    "window", &window, "spread", &spread) ||
			flags < 0 || window <= 0 ||
			copy_name(out->devices[i].name, sizeof(out->devices[i].name), name))
			return bad(err, "a device");
		out->devices[i].mig_flags = (uint64_t)flags;
		out->devices[i].window = (uint64_t)window;
		out->devices[i].spread = spread;
	}
	out->device_count = (unsigned)count;
	return 0;
}

/* Checked first: in another version the other fields may have another meaning. */
static int check_version(const json_t *root, const char *side, struct swo_error *err)
{
	const json_t *version = json_object_get(root, "version");

	if (json_is_integer(version) && json_integer_value(version) == WIRE_VERSION)
		return 0;
	if (!json_is_integer(version))
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed HELLO of the %s: no version of the migration protocol, "
			"expected %d",
			side, WIRE_VERSION);
	return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
		"the %s has version %lld of the migration protocol, this side has version %d: run "
		"the same version of switchover on both hosts",
		side, (long long)json_integer_value(version), WIRE_VERSION);
}

static int parse_root(json_t *root, struct hello *out, struct swo_error *err)
{
	const char *id, *finalise, *config, *layout, *identity = ""; /* a missing key means none */
	json_t *ram, *devices;
	int minor = 0, channels, running;

	if (check_version(root, "source", err))
		return -1;
	if (json_unpack(root, "{s?i, s:s, s?s, s:i, s:b, s:s, s:s, s:s, s:o, s:o}", "minor", &minor,
		    "id", &id, "vm", &identity, "channels", &channels, "running", &running,
		    "finalise", &finalise, "config", &config, "layout", &layout, "ram", &ram,
		    "devices", &devices))
		return bad(err, "missing field, or wrong type");
	if (minor < 0 || strlen(id) != WIRE_ID_LEN || channels < 1 ||
		channels > WIRE_CHANNELS_MAX || parse_when(finalise, &out->finalise) ||
		parse_when(config, &out->config) || parse_handover(root, &out->handover) ||
		!json_is_array(ram) || !json_is_array(devices))
		return bad(err, "invalid field");
	strcpy(out->id, id);
	out->minor = (unsigned)minor;
	out->channels = (unsigned)channels;
	out->running = running;
	out->layout = strdup(layout);
	out->identity = strdup(identity);
	if (!out->layout || !out->identity)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "HELLO");
	if (parse_ram(ram, out, err))
		return -1;
	return parse_devices(devices, out, err);
}

int migration_hello_parse(const void *data, size_t len, struct hello *out, struct swo_error *err)
{
	json_error_t where;
	json_t *root = json_loadb(data, len, 0, &where);

	memset(out, 0, sizeof(*out));
	if (!root)
		return bad(err, where.text);
	int rc = parse_root(root, out, err);
	if (rc)
		migration_hello_free(out);
	json_decref(root);
	return rc;
}

/* The costs on the wire; an unknown one is left out. */
static const struct {
	const char *key;
	size_t offset;
} target_costs[] = {
	{"resuming_to_stop_ns", offsetof(struct swo_device_costs, resuming_to_stop_ns)},
	{"stop_to_p2p_ns", offsetof(struct swo_device_costs, stop_to_p2p_ns)},
	{"p2p_to_running_ns", offsetof(struct swo_device_costs, p2p_to_running_ns)},
};

static json_t *costs_json(const struct swo_device_costs *costs)
{
	json_t *object = json_object();

	for (size_t i = 0; i < SWO_ARRAY_SIZE(target_costs); i++) {
		uint64_t ns;

		memcpy(&ns, (const char *)costs + target_costs[i].offset, sizeof(ns));
		if (ns <= INT64_MAX)
			json_object_set_new(
				object, target_costs[i].key, json_integer((json_int_t)ns));
	}
	return object;
}

static int parse_costs(const json_t *object, struct swo_device_costs *out)
{
	swo_device_costs_init(out);
	if (!json_is_object(object))
		return -1;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(target_costs); i++) {
		const json_t *value = json_object_get(object, target_costs[i].key);
		const uint64_t ns = (uint64_t)json_integer_value(value);

		if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
			return -1;
		if (value)
			memcpy((char *)out + target_costs[i].offset, &ns, sizeof(ns));
	}
	return 0;
}

int migration_hello_ok_format(const struct swo_device_costs *costs, unsigned count,
	const struct migration_hello_ok *ok, struct swo_buf *out, struct swo_error *err)
{
	json_t *list = json_array();
	char text[17];

	/* As text: half of all nonces exceed JSON's integers. */
	snprintf(text, sizeof(text), "%016" PRIx64, ok->ticket);

	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, costs_json(&costs[i]));
	return dump(json_pack("{s:i, s:i, s:s, s:s, s:o}", "version", WIRE_VERSION, "minor",
			    (int)ok->minor, "ticket", text, "handover",
			    handover_names[ok->handover], "costs", list),
		out, err);
}

static int parse_ok(const json_t *root, struct swo_device_costs *costs, unsigned count,
	struct migration_hello_ok *out)
{
	const json_t *list = json_object_get(root, "costs");
	const char *text = json_string_value(json_object_get(root, "ticket"));
	const json_int_t minor = json_integer_value(json_object_get(root, "minor"));
	char *end = NULL;

	out->ticket = text && strlen(text) == 16 ? strtoull(text, &end, 16) : 0;
	out->minor = (unsigned)minor;
	if (!end || *end || minor < 0 || minor > WIRE_MINOR ||
		parse_handover(root, &out->handover) || json_array_size(list) != count)
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (parse_costs(json_array_get(list, i), &costs[i]))
			return -1;
	return 0;
}

int migration_hello_ok_parse(const void *data, size_t len, struct swo_device_costs *costs,
	unsigned count, struct migration_hello_ok *out, struct swo_error *err)
{
	json_error_t where;
	json_t *root = json_loadb(data, len, 0, &where);
	int rc = root ? check_version(root, "target", err)
		      : swo_error_set(err, SWO_E_PROTOCOL, 0, "malformed HELLO_OK: %s", where.text);

	if (!rc && parse_ok(root, costs, count, out))
		rc = swo_error_set(err, SWO_E_PROTOCOL, 0,
			"malformed HELLO_OK: a field is missing or out of range");
	json_decref(root);
	return rc;
}

int migration_hello_describe(const struct swo_vm *vm, struct hello *out, struct swo_error *err)
{
	struct swo_buf layout = SWO_BUF_INIT(WIRE_HELLO_MAX / 2);

	memset(out, 0, sizeof(*out));
	if (vm->ops->layout(vm->opaque, &layout, err) || swo_buf_append(&layout, "", 1, err)) {
		swo_buf_free(&layout);
		return -1;
	}
	out->minor = WIRE_MINOR;
	out->layout = (char *)layout.data;
	out->identity = strdup(vm->identity ? vm->identity : "");
	out->ram_count = swo_ram_count(vm->ram);
	for (unsigned i = 0; i < out->ram_count; i++) {
		const struct swo_ram_region *region = swo_ram_region(vm->ram, i);

		memcpy(out->ram[i].name, region->name, sizeof(out->ram[i].name));
		out->ram[i].gpa = region->gpa;
		out->ram[i].size = region->size;
	}
	out->devices = calloc(vm->device_count ? vm->device_count : 1, sizeof(*out->devices));
	if (!out->devices || !out->identity) {
		migration_hello_free(out);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "HELLO");
	}
	out->device_count = vm->device_count;
	for (unsigned i = 0; i < vm->device_count; i++) {
		snprintf(out->devices[i].name, sizeof(out->devices[i].name), "%s",
			swo_device_name(vm->devices[i]));
		out->devices[i].mig_flags = swo_device_mig_flags(vm->devices[i]);
	}
	return 0;
}

static int differs(struct swo_error *err, const char *what, const char *there, const char *here)
{
	return swo_error_set(err, SWO_E_INVALID, 0,
		"source and target differ: %s is '%.120s' on the source and '%.120s' here; start "
		"the target with the same options",
		what, there, here);
}

/* A target with an identity accepts that VM only: this detects a wrong address. */
static int check_identity(
	const struct hello *source, const struct hello *own, struct swo_error *err)
{
	if (!*own->identity || swo_vm_identity_equal(source->identity, own->identity))
		return 0;
	if (!*source->identity)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"this target accepts VM %.64s, and the source reports no identity; "
			"start the source with --uuid",
			own->identity);
	return swo_error_set(err, SWO_E_INVALID, 0,
		"this target accepts VM %.64s, and the source has VM %.64s; check the "
		"address of the target",
		own->identity, source->identity);
}

static int check_ram(const struct hello *source, const struct hello *own, struct swo_error *err)
{
	for (unsigned i = 0; i < own->ram_count; i++) {
		const struct migration_hello_ram *a = &source->ram[i], *b = &own->ram[i];
		char there[96], here[96];

		snprintf(there, sizeof(there), "%s at %#" PRIx64 ", %" PRIu64 " bytes", a->name,
			a->gpa, a->size);
		snprintf(here, sizeof(here), "%s at %#" PRIx64 ", %" PRIu64 " bytes", b->name,
			b->gpa, b->size);
		if (strcmp(there, here))
			return differs(err, "a RAM region", there, here);
	}
	return 0;
}

static int check_devices(const struct hello *source, const struct hello *own, struct swo_error *err)
{
	for (unsigned i = 0; i < own->device_count; i++) {
		if (strcmp(source->devices[i].name, own->devices[i].name))
			return differs(err, "a device's id", source->devices[i].name,
				own->devices[i].name);
		/* P2P and PRE_COPY may differ: they do not affect the stream. */
		if (!(own->devices[i].mig_flags & SWO_MIG_STOP_COPY))
			return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
				"device %s cannot migrate: no STOP_COPY on the target",
				own->devices[i].name);
	}
	return 0;
}

int migration_hello_check(
	const struct hello *source, const struct swo_vm *vm, struct swo_error *err)
{
	struct hello own;
	char there[24], here[24];
	int rc = 0;

	if (migration_hello_describe(vm, &own, err))
		return -1;
	rc = check_identity(source, &own, err);
	if (!rc &&
		(source->ram_count != own.ram_count || source->device_count != own.device_count)) {
		snprintf(
			there, sizeof(there), "%u and %u", source->ram_count, source->device_count);
		snprintf(here, sizeof(here), "%u and %u", own.ram_count, own.device_count);
		rc = differs(err, "the number of RAM regions and devices", there, here);
	}
	if (!rc)
		rc = check_ram(source, &own, err);
	if (!rc)
		rc = check_devices(source, &own, err);
	if (!rc && strcmp(source->layout, own.layout))
		rc = differs(err, "the machine", source->layout, own.layout);
	migration_hello_free(&own);
	return rc;
}
