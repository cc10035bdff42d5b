/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello.c - HELLO and HELLO_OK as JSON, and the check that both sides are compatible.
 */
#include "migration/hello.h"

#include "journal/write.h"
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
	migration_agreement_free(&hello->agreement);
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

/* A nonce is sent as text: half of all nonces exceed JSON's integers. */
#define NONCE_TEXT 17

static void nonce_text(uint64_t nonce, char out[NONCE_TEXT])
{
	snprintf(out, NONCE_TEXT, "%016" PRIx64, nonce);
}

static int parse_nonce(const char *text, uint64_t *out)
{
	if (!text || strlen(text) != NONCE_TEXT - 1 ||
		strspn(text, "0123456789abcdef") != NONCE_TEXT - 1)
		return -1;
	*out = strtoull(text, NULL, 16);
	return 0;
}

int migration_hello_format(const struct hello *hello, struct swo_buf *out, struct swo_error *err)
{
	json_t *ram = json_array(), *devices = json_array();
	char nonce[NONCE_TEXT];

	nonce_text(hello->nonce, nonce);
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
	return dump(
		json_pack(
			"{s:i, s:i, s:s, s:s, s:s, s:i, s:b, s:s, s:s, s:s, s:b, s:s, s:o, s:o, s:o}",
			"version", WIRE_VERSION, "minor", (int)hello->minor, "id", hello->id,
			"nonce", nonce, "vm", hello->identity, "channels", (int)hello->channels,
			"running", hello->running, "finalise", when_names[hello->finalise],
			"config", when_names[hello->config], "handover",
			handover_names[hello->handover], "allow-no-p2p", hello->allow_no_p2p,
			"layout", hello->layout, "agreement",
			migration_agreement_json(&hello->agreement), "ram", ram, "devices",
			devices),
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
	const char *id, *finalise, *config, *layout, *nonce = NULL;
	const char *identity = ""; /* a missing key means none */
	json_t *ram, *devices;
	int minor = 0, channels, running, allow_no_p2p = 0;

	if (check_version(root, "source", err))
		return -1;
	if (json_unpack(root, "{s?i, s:s, s?s, s?s, s:i, s:b, s:s, s:s, s?b, s:s, s:o, s:o}",
		    "minor", &minor, "id", &id, "nonce", &nonce, "vm", &identity, "channels",
		    &channels, "running", &running, "finalise", &finalise, "config", &config,
		    "allow-no-p2p", &allow_no_p2p, "layout", &layout, "ram", &ram, "devices",
		    &devices))
		return bad(err, "missing field, or wrong type");
	if (minor < 0 || !journal_is_id(id) || (nonce && parse_nonce(nonce, &out->nonce)) ||
		channels < 1 || channels > WIRE_CHANNELS_MAX ||
		parse_when(finalise, &out->finalise) || parse_when(config, &out->config) ||
		parse_handover(root, &out->handover) || !json_is_array(ram) ||
		!json_is_array(devices))
		return bad(err, "invalid field");
	strcpy(out->id, id);
	out->minor = (unsigned)minor;
	out->channels = (unsigned)channels;
	out->running = running;
	out->allow_no_p2p = allow_no_p2p;
	out->layout = strdup(layout);
	out->identity = strdup(identity);
	if (!out->layout || !out->identity)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "HELLO");
	if (migration_agreement_parse(json_object_get(root, "agreement"), &out->agreement))
		return bad(err, "field agreement");
	if (parse_ram(ram, out, err))
		return -1;
	return parse_devices(devices, out, err);
}

/*
 * An empty value takes up to 100 times its bytes in memory, so they are counted first. 1024 devices
 * have about 10000, with the commas of their layout.
 */
#define VALUES_MAX 20000

/* NULL, and the fault in where->text. */
static json_t *load(const void *data, size_t len, json_error_t *where)
{
	const char *text = data;
	unsigned values = 0;

	for (size_t i = 0; i < len; i++)
		values += text[i] == '{' || text[i] == '[' || text[i] == ',';
	if (values <= VALUES_MAX)
		return json_loadb(data, len, 0, where);
	snprintf(where->text, sizeof(where->text), "too many values");
	return NULL;
}

int migration_hello_parse(const void *data, size_t len, struct hello *out, struct swo_error *err)
{
	json_error_t where;
	json_t *root = load(data, len, &where);

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
	{"load_fixed_ns", offsetof(struct swo_device_costs, load_fixed_ns)},
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
	char text[NONCE_TEXT];

	nonce_text(ok->ticket, text);
	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, costs_json(&costs[i]));
	return dump(
		json_pack("{s:i, s:i, s:s, s:s, s:I, s:o}", "version", WIRE_VERSION, "minor",
			(int)ok->minor, "ticket", text, "handover", handover_names[ok->handover],
			"link_window", (json_int_t)ok->link_window, "costs", list),
		out, err);
}

static int parse_ok(const json_t *root, struct swo_device_costs *costs, unsigned count,
	struct migration_hello_ok *out)
{
	const json_t *list = json_object_get(root, "costs");
	const json_int_t minor = json_integer_value(json_object_get(root, "minor"));
	const json_int_t link_window = json_integer_value(json_object_get(root, "link_window"));

	out->minor = (unsigned)minor;
	out->link_window = link_window > 0 ? (uint64_t)link_window : 0;
	if (parse_nonce(json_string_value(json_object_get(root, "ticket")), &out->ticket) ||
		minor < 0 || minor > WIRE_MINOR || parse_handover(root, &out->handover) ||
		json_array_size(list) != count)
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
	json_t *root = load(data, len, &where);
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
	if (vm->ops->agree && vm->ops->agree(vm->opaque, &out->agreement, err)) {
		migration_hello_free(out);
		return -1;
	}
	out->device_count = vm->device_count;
	for (unsigned i = 0; i < vm->device_count; i++) {
		snprintf(out->devices[i].name, sizeof(out->devices[i].name), "%s",
			swo_device_name(vm->devices[i]));
		out->devices[i].mig_flags = swo_device_mig_flags(vm->devices[i]);
	}
	return 0;
}

/* A target with an identity accepts that VM only: this detects a wrong address. */
static int check_identity(const struct hello *source, const struct hello *own, struct refusal *why)
{
	static const char brief[] = "this target accepts another VM; check its address";

	if (!*own->identity || swo_vm_identity_equal(source->identity, own->identity))
		return 0;
	if (!*source->identity)
		return migration_refusal_set(why, SWO_E_INVALID, brief,
			"this target accepts VM %.64s, and the source reports no identity; "
			"start the source with --uuid",
			own->identity);
	return migration_refusal_set(why, SWO_E_INVALID, brief,
		"this target accepts VM %.64s, and the source has VM %.64s; check the "
		"address of the target",
		own->identity, source->identity);
}

static int check_counts(const struct hello *source, const struct hello *own, struct refusal *why)
{
	char there[24], here[24];

	if (source->ram_count == own->ram_count && source->device_count == own->device_count)
		return 0;
	snprintf(there, sizeof(there), "%u and %u", source->ram_count, source->device_count);
	snprintf(here, sizeof(here), "%u and %u", own->ram_count, own->device_count);
	return migration_refusal_differs(why, "the number of RAM regions and devices", there, here);
}

static int check_ram(const struct hello *source, const struct hello *own, struct refusal *why)
{
	for (unsigned i = 0; i < own->ram_count; i++) {
		const struct migration_hello_ram *a = &source->ram[i], *b = &own->ram[i];
		char there[96], here[96];

		snprintf(there, sizeof(there), "%s at %#" PRIx64 ", %" PRIu64 " bytes", a->name,
			a->gpa, a->size);
		snprintf(here, sizeof(here), "%s at %#" PRIx64 ", %" PRIu64 " bytes", b->name,
			b->gpa, b->size);
		if (strcmp(there, here))
			return migration_refusal_differs(why, "a RAM region", there, here);
	}
	return 0;
}

static int check_devices(const struct hello *source, const struct hello *own,
	const struct swo_migration_params *params, struct refusal *why)
{
	for (unsigned i = 0; i < own->device_count; i++) {
		const struct migration_hello_device *a = &source->devices[i], *b = &own->devices[i];

		if (strcmp(a->name, b->name))
			return migration_refusal_differs(why, "a device's id", a->name, b->name);
		/* PRE_COPY may differ: it does not affect the target's side of the stream. */
		if (!(b->mig_flags & SWO_MIG_STOP_COPY))
			return migration_refusal_set(why, SWO_E_UNSUPPORTED,
				"a device of the target cannot migrate",
				"device %s cannot migrate: no STOP_COPY on the target", b->name);
		/* The source proposes the window; the target limits it. */
		if (a->window > params->device_window)
			return migration_refusal_set(why, SWO_E_INVALID,
				"device-window: the source's is larger than the target's",
				"device %s: the source requests %" PRIu64
				" bytes in flight, at most %zu on the target; set the same "
				"device-window on both sides",
				a->name, a->window, params->device_window);
	}
	return 0;
}

int migration_hello_check_p2p(
	const struct hello *hello, const char *side, bool allow, struct refusal *why)
{
	for (unsigned i = 0; i < hello->device_count && hello->device_count > 1 && !allow; i++)
		if (!(hello->devices[i].mig_flags & SWO_MIG_P2P))
			return migration_refusal_set(why, SWO_E_UNSUPPORTED,
				"a device has no P2P state, which several devices need",
				"device %s has no P2P state on the %s: of %u devices, one that "
				"still runs could write into one that has stopped; to migrate all "
				"the same, set the parameter allow-no-p2p (QMP: x-allow-no-p2p)",
				hello->devices[i].name, side, hello->device_count);
	return 0;
}

int migration_hello_check(const struct hello *source, const struct swo_vm *vm,
	const struct swo_migration_params *params, struct refusal *why)
{
	struct hello own;
	int rc = -1;

	if (migration_hello_describe(vm, &own, &why->full)) {
		snprintf(why->brief, sizeof(why->brief), "the target cannot describe its VM");
		return -1;
	}
	if (!check_identity(source, &own, why) && !check_counts(source, &own, why) &&
		!check_ram(source, &own, why) && !check_devices(source, &own, params, why) &&
		!migration_hello_check_p2p(source, "source", source->allow_no_p2p, why) &&
		!migration_hello_check_p2p(&own, "target", source->allow_no_p2p, why) &&
		!migration_agreement_check_lines(source->layout, own.layout, why))
		rc = migration_agreement_check(&source->agreement, &own.agreement, why);
	migration_hello_free(&own);
	return rc;
}
