/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_params.c - migration parameters and capabilities by their QMP names: QEMU's where it has
 * one, otherwise x- and the name of the field in migration.h. Of QEMU's others only what requests
 * nothing is accepted.
 */
#include "qmp.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Parameters */

struct param {
	const char *name;
	const struct qmp_type *type;
	size_t offset, size; /* in struct vmm_migration_setup */
};

/* As QEMU's StrOrNull: null means no string. */
static const struct qmp_type text = {
	.kind = QMP_ALTERNATE, .members = QMP_MEMBERS({.type = &qmp_string}, {.type = &qmp_null})};
/* null or "default": as if it had not been set. */
static const struct qmp_type word_default = QMP_ENUM_OF("default");
static const struct qmp_type ceiling = {.kind = QMP_ALTERNATE,
	.members = QMP_MEMBERS({.type = &qmp_int}, {.type = &word_default}, {.type = &qmp_null})};
/* Their values have the numbers of the enumerations in the public headers. */
static const struct qmp_type when = QMP_ENUM_OF("early", "ram", "late");
static const struct qmp_type transitions = QMP_ENUM_OF("serial", "parallel");
static const struct qmp_type joins = QMP_ENUM_OF("depth", "pass");
static const struct qmp_type handover = QMP_ENUM_OF("copy", "fd");
static const struct qmp_type tls_kind = QMP_ENUM_OF("auto", "x509", "psk");
static const struct qmp_type on_timeout = QMP_ENUM_OF("cancel", "force");

#define SETUP(f)                                                                                   \
	offsetof(struct vmm_migration_setup, f), sizeof(((struct vmm_migration_setup *)0)->f)
#define FIELD(f) SETUP(params.f)

static const struct param params[] = {
	{"downtime-limit", &qmp_int, FIELD(downtime_limit_ms)},
	{"max-bandwidth", &qmp_int, FIELD(max_bandwidth)},
	{"cpu-throttle-initial", &qmp_int, FIELD(converge.throttle_initial)},
	{"cpu-throttle-increment", &qmp_int, FIELD(converge.throttle_increment)},
	{"max-cpu-throttle", &qmp_int, FIELD(converge.throttle_max)},
	{"x-timeout-ms", &qmp_int, FIELD(converge.timeout_ms)},
	{"x-stall-timeout-ms", &qmp_int, FIELD(converge.stall_timeout_ms)},
	{"x-timeout-strategy", &on_timeout, FIELD(converge.on_timeout)},
	{"multifd-channels", &qmp_int, FIELD(channels)},
	{"x-downtime-ceiling-ms", &ceiling, FIELD(downtime_ceiling_ms)},
	{"x-device-window", &qmp_int, FIELD(device_window)},
	{"x-link-window", &qmp_int, FIELD(link_window)},
	{"x-stream", &when, FIELD(stream)},
	{"x-finalise", &when, FIELD(finalise)},
	{"x-config", &when, FIELD(config)},
	{"x-handover", &handover, FIELD(handover)},
	{"x-setup-deadline-ms", &qmp_int, FIELD(setup_deadline_ms)},
	{"x-switchover-deadline-ms", &qmp_int, FIELD(switchover_deadline_ms)},
	{"x-commit-deadline-ms", &qmp_int, FIELD(commit_deadline_ms)},
	{"x-idle-deadline-ms", &qmp_int, FIELD(idle_deadline_ms)},
	{"x-transitions", &transitions, SETUP(transitions)},
	{"x-join", &joins, SETUP(join)},
	{"tls-creds", &text, FIELD(tls.creds)},
	{"tls-hostname", &text, FIELD(tls.hostname)},
	{"tls-authz", &text, FIELD(tls.authz)},
	{"x-tls-username", &text, FIELD(tls.username)},
	{"x-tls-kind", &tls_kind, FIELD(tls.kind)},
	{"x-insecure", &qmp_bool, FIELD(insecure)},
	{"x-allow-no-p2p", &qmp_bool, FIELD(allow_no_p2p)},
	{"x-allow-no-dirty-tracking", &qmp_bool, FIELD(allow_no_dirty_tracking)},
};

/* QEMU's parameters that have no counterpart here, with the only value that requests nothing. */
struct foreign {
	const char *name;
	const struct qmp_type *type;
	const char *value; /* JSON */
};

static const struct qmp_type only_none = QMP_ENUM_OF("none");
static const struct qmp_type only_normal = QMP_ENUM_OF("normal");
static const struct qmp_type only_multifd = QMP_ENUM_OF("multifd");
static const struct qmp_type list = QMP_LIST_OF(&qmp_any);

static const struct foreign foreigns[] = {
	{"announce-initial", &qmp_int, "50"},
	{"announce-max", &qmp_int, "550"},
	{"announce-rounds", &qmp_int, "5"},
	{"announce-step", &qmp_int, "100"},
	{"avail-switchover-bandwidth", &qmp_int, "0"},
	{"block-bitmap-mapping", &list, "[]"},
	{"cpr-exec-command", &qmp_strings, "[]"},
	{"cpu-throttle-tailslow", &qmp_bool, "false"},
	{"direct-io", &qmp_bool, "false"},
	{"max-postcopy-bandwidth", &qmp_int, "0"},
	{"mode", &only_normal, "\"normal\""},
	{"multifd-compression", &only_none, "\"none\""},
	{"multifd-qatzip-level", &qmp_int, "1"},
	{"multifd-zlib-level", &qmp_int, "1"},
	{"multifd-zstd-level", &qmp_int, "1"},
	{"throttle-trigger-threshold", &qmp_int, "50"},
	{"vcpu-dirty-limit", &qmp_int, "1"},
	{"x-checkpoint-delay", &qmp_int, "20000"},
	{"x-rdma-chunk-size", &qmp_int, "1048576"},
	{"x-vcpu-dirty-limit-period", &qmp_int, "1000"},
	{"xbzrle-cache-size", &qmp_int, "67108864"},
	{"zero-page-detection", &only_multifd, "\"multifd\""},
};

/* Times may be written without -ms, as QEMU writes its own: the length of such a name, or 0. */
static size_t short_length(const char *name)
{
	const size_t len = strlen(name);

	return len > 3 && !strcmp(name + len - 3, "-ms") ? len - 3 : 0;
}

static const struct param *find(const char *name)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(params); i++) {
		const char *known = params[i].name;
		const size_t len = short_length(known);

		if (!strcmp(known, name) ||
			(len && strlen(name) == len && !strncmp(known, name, len)))
			return &params[i];
	}
	return NULL;
}

static const struct foreign *find_foreign(const char *name)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(foreigns); i++)
		if (!strcmp(foreigns[i].name, name))
			return &foreigns[i];
	return NULL;
}

static uint64_t get(const struct vmm_migration_setup *setup, const struct param *param)
{
	const char *at = (const char *)setup + param->offset;
	uint64_t wide;
	uint32_t narrow;

	if (param->size == sizeof(bool))
		return *(const bool *)at;
	if (param->size == sizeof(narrow)) {
		memcpy(&narrow, at, sizeof(narrow));
		return narrow;
	}
	memcpy(&wide, at, sizeof(wide));
	return wide;
}

static void put(struct vmm_migration_setup *setup, const struct param *param, uint64_t value)
{
	char *at = (char *)setup + param->offset;
	const uint32_t narrow = (uint32_t)value;

	if (param->size == sizeof(bool))
		*(bool *)at = value;
	else if (param->size == sizeof(narrow))
		memcpy(at, &narrow, sizeof(narrow));
	else
		memcpy(at, &value, sizeof(value));
}

static uint64_t word_number(const struct qmp_type *type, const char *word)
{
	uint64_t at = 0;

	while (strcmp(type->values[at], word) != 0)
		at++;
	return at;
}

static int take_number(struct vmm_migration_setup *setup, const struct param *param,
	const json_t *value, struct swo_error *err)
{
	const json_int_t number = json_integer_value(value);
	const json_int_t most = param->size == sizeof(uint64_t) ? INT64_MAX : INT32_MAX;

	if (number < 0 || number > most)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Parameter '%s' expects a number from 0 to %" JSON_INTEGER_FORMAT,
			param->name, most);
	put(setup, param, (uint64_t)number);
	return 0;
}

static int take_text(struct vmm_migration_setup *setup, const struct param *param,
	const json_t *value, struct swo_error *err)
{
	const char *string = json_is_null(value) ? "" : json_string_value(value);

	if (strlen(string) >= param->size)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Parameter '%s' takes %zu characters at most", param->name,
			param->size - 1);
	memcpy((char *)setup + param->offset, string, strlen(string) + 1);
	return 0;
}

/* Of the parameter's type. */
static int take_value(struct vmm_migration_setup *setup, const struct param *param,
	const json_t *value, struct swo_error *err)
{
	if (param->type == &text)
		return take_text(setup, param, value, err);
	if (json_is_integer(value))
		return take_number(setup, param, value, err);
	if (param->type == &ceiling)
		put(setup, param, SWO_CEILING_DEFAULT);
	else if (param->type == &qmp_bool)
		put(setup, param, json_is_true(value));
	else
		put(setup, param, word_number(param->type, json_string_value(value)));
	return 0;
}

static int take_foreign(const struct foreign *foreign, const json_t *value, struct swo_error *err)
{
	json_error_t error;
	json_t *only = json_loads(foreign->value, JSON_DECODE_ANY, &error);
	const bool same = json_equal(only, (json_t *)(uintptr_t)value);

	json_decref(only);
	if (same)
		return 0;
	return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
		"Parameter '%s' has no effect here: it can only be %s", foreign->name,
		foreign->value);
}

/* An object of qmp_parameters' type. */
static int apply_parameters(
	struct vmm_migration_setup *setup, const void *opaque, struct swo_error *err)
{
	const char *name;
	json_t *value;

	/* The macro wants it without const, and changes nothing. */
	json_object_foreach ((json_t *)(uintptr_t)opaque, name, value) {
		const struct foreign *foreign = find_foreign(name);

		if (foreign ? take_foreign(foreign, value, err)
			    : take_value(setup, find(name), value, err))
			return -1;
	}
	return 0;
}

int qmp_set_parameters(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)ret;
	return vmm_machine_change_setup(opaque, apply_parameters, args, err);
}

static json_t *value_of(const struct vmm_migration_setup *setup, const struct param *param)
{
	if (param->type == &text)
		return json_string((const char *)setup + param->offset);
	uint64_t value = get(setup, param);

	if (param->type == &qmp_bool)
		return json_boolean(value);
	/* What it comes to: a program reads a number. */
	if (param->type == &ceiling && value == SWO_CEILING_DEFAULT)
		value = swo_migration_default_ceiling_ms(setup->params.downtime_limit_ms);
	return param->type->kind == QMP_ENUM ? json_string(param->type->values[value])
					     : json_integer((json_int_t)value);
}

int qmp_query_parameters(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct vmm_migration_setup setup;
	json_error_t error;

	(void)args;
	(void)err;
	vmm_machine_get_setup(opaque, &setup);
	*ret = json_object();
	for (size_t i = 0; i < SWO_ARRAY_SIZE(params); i++)
		json_object_set_new(*ret, params[i].name, value_of(&setup, &params[i]));
	for (size_t i = 0; i < SWO_ARRAY_SIZE(foreigns); i++)
		json_object_set_new(*ret, foreigns[i].name,
			json_loads(foreigns[i].value, JSON_DECODE_ANY, &error));
	return 0;
}

/* The type of the parameters, from the two tables */

#define MEMBERS_MAX (2 * SWO_ARRAY_SIZE(params) + SWO_ARRAY_SIZE(foreigns) + 1)
static struct qmp_member members[MEMBERS_MAX];
static char short_names[SWO_ARRAY_SIZE(params)][40];
const struct qmp_type qmp_parameters = {.kind = QMP_OBJECT, .members = members};

static void make_members(void)
{
	struct qmp_member *next = members;

	for (size_t i = 0; i < SWO_ARRAY_SIZE(params); i++) {
		const int len = (int)short_length(params[i].name);

		*next++ = (struct qmp_member){params[i].name, params[i].type, true};
		if (!len)
			continue;
		snprintf(short_names[i], sizeof(short_names[i]), "%.*s", len, params[i].name);
		*next++ = (struct qmp_member){short_names[i], params[i].type, true};
	}
	for (size_t i = 0; i < SWO_ARRAY_SIZE(foreigns); i++)
		*next++ = (struct qmp_member){foreigns[i].name, foreigns[i].type, true};
}

void qmp_params_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_members);
}

/* Capabilities */

static const struct capability {
	const char *name;
	size_t offset; /* of a bool in struct vmm_migration_setup */
} capabilities[] = {
#define FLAG(f) offsetof(struct vmm_migration_setup, f)
	{"multifd", FLAG(multifd)},
	{"events", FLAG(events)},
	{"auto-converge", FLAG(params.converge.auto_converge)},
	{"pause-before-switchover", FLAG(params.pause_before_switchover)},
	/* What these request is done in any case. */
	{"return-path", FLAG(return_path)},
	{"switchover-ack", FLAG(switchover_ack)},
#undef FLAG
};

/* Those above, and QEMU's others, which can only be off. */
static const struct qmp_type capability_names = QMP_ENUM_OF("multifd", "events", "auto-converge",
	"return-path", "switchover-ack", "background-snapshot", "dirty-bitmaps", "dirty-limit",
	"late-block-activate", "mapped-ram", "pause-before-switchover", "postcopy-blocktime",
	"postcopy-preempt", "postcopy-ram", "rdma-pin-all", "release-ram", "validate-uuid",
	"x-colo", "x-ignore-shared", "xbzrle", "zero-copy-send");
static const struct qmp_type capability_status =
	QMP_OBJECT_OF({"capability", &capability_names, false}, {"state", &qmp_bool, false});
const struct qmp_type qmp_capability_list = QMP_LIST_OF(&capability_status);

static bool *capability(struct vmm_migration_setup *setup, const char *name)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(capabilities); i++)
		if (!strcmp(capabilities[i].name, name))
			return (bool *)((char *)setup + capabilities[i].offset);
	return NULL;
}

/* A list of qmp_capability_list's type. */
static int apply_capabilities(
	struct vmm_migration_setup *setup, const void *opaque, struct swo_error *err)
{
	json_t *entry;
	size_t i;

	json_array_foreach ((const json_t *)opaque, i, entry) {
		const char *name = json_string_value(json_object_get(entry, "capability"));
		const bool state = json_is_true(json_object_get(entry, "state"));
		bool *on = capability(setup, name);

		if (!on && state)
			return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
				"Capability '%s' is not supported: it can only be off", name);
		if (on)
			*on = state;
	}
	return 0;
}

int qmp_set_capabilities(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)ret;
	return vmm_machine_change_setup(
		opaque, apply_capabilities, json_object_get(args, "capabilities"), err);
}

int qmp_query_capabilities(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct vmm_migration_setup setup;

	(void)args;
	(void)err;
	vmm_machine_get_setup(opaque, &setup);
	*ret = json_array();
	for (size_t i = 0; i < SWO_ARRAY_SIZE(capabilities); i++)
		json_array_append_new(
			*ret, json_pack("{s:s, s:b}", "capability", capabilities[i].name, "state",
				      *capability(&setup, capabilities[i].name)));
	return 0;
}

int qmp_params_once(struct vmm_machine *machine, const json_t *parameters,
	const json_t *capability_list, struct vmm_migration_setup *out, struct swo_error *err)
{
	vmm_machine_get_setup(machine, out);
	if ((parameters && apply_parameters(out, parameters, err)) ||
		(capability_list && apply_capabilities(out, capability_list, err)))
		return -1;
	return swo_migration_params_check(&out->params, err);
}
