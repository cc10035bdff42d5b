/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp_params.c - migration parameters and capabilities by their QMP names: QEMU's where it has
 * one, otherwise x- and the name of the field in migration.h.
 */
#include "qmp.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

enum param_kind {
	PARAM_U64,
	PARAM_CEILING,
	PARAM_UNSIGNED,
	PARAM_SIZE,
	PARAM_WHEN,
	PARAM_TRANSITIONS,
	PARAM_JOIN,
	PARAM_HANDOVER,
	PARAM_TLS_KIND,
	PARAM_ON_TIMEOUT,
	PARAM_BOOL,
	PARAM_STRING
};

struct param {
	const char *name;
	enum param_kind kind;
	size_t offset; /* in struct vmm_migration_setup */
	size_t size;   /* of a string's array */
};

#define FIELD(f)  offsetof(struct vmm_migration_setup, params.f)
#define STRING(f) FIELD(f), sizeof(((struct vmm_migration_setup *)0)->params.f)

static const struct param params[] = {
	{"downtime-limit", PARAM_U64, FIELD(downtime_limit_ms), 0},
	{"max-bandwidth", PARAM_U64, FIELD(max_bandwidth), 0},
	{"cpu-throttle-initial", PARAM_UNSIGNED, FIELD(converge.throttle_initial), 0},
	{"cpu-throttle-increment", PARAM_UNSIGNED, FIELD(converge.throttle_increment), 0},
	{"max-cpu-throttle", PARAM_UNSIGNED, FIELD(converge.throttle_max), 0},
	{"x-timeout-ms", PARAM_U64, FIELD(converge.timeout_ms), 0},
	{"x-stall-timeout-ms", PARAM_U64, FIELD(converge.stall_timeout_ms), 0},
	{"x-timeout-strategy", PARAM_ON_TIMEOUT, FIELD(converge.on_timeout), 0},
	{"multifd-channels", PARAM_UNSIGNED, FIELD(channels), 0},
	{"x-downtime-ceiling-ms", PARAM_CEILING, FIELD(downtime_ceiling_ms), 0},
	{"x-device-window", PARAM_SIZE, FIELD(device_window), 0},
	{"x-stream", PARAM_WHEN, FIELD(stream), 0},
	{"x-finalise", PARAM_WHEN, FIELD(finalise), 0},
	{"x-config", PARAM_WHEN, FIELD(config), 0},
	{"x-handover", PARAM_HANDOVER, FIELD(handover), 0},
	{"x-setup-deadline-ms", PARAM_U64, FIELD(setup_deadline_ms), 0},
	{"x-switchover-deadline-ms", PARAM_U64, FIELD(switchover_deadline_ms), 0},
	{"x-commit-deadline-ms", PARAM_U64, FIELD(commit_deadline_ms), 0},
	{"x-idle-deadline-ms", PARAM_U64, FIELD(idle_deadline_ms), 0},
	{"x-transitions", PARAM_TRANSITIONS, offsetof(struct vmm_migration_setup, transitions), 0},
	{"x-join", PARAM_JOIN, offsetof(struct vmm_migration_setup, join), 0},
	{"tls-creds", PARAM_STRING, STRING(tls.creds)},
	{"tls-hostname", PARAM_STRING, STRING(tls.hostname)},
	{"tls-authz", PARAM_STRING, STRING(tls.authz)},
	{"x-tls-username", PARAM_STRING, STRING(tls.username)},
	{"x-tls-kind", PARAM_TLS_KIND, FIELD(tls.kind), 0},
	{"x-insecure", PARAM_BOOL, FIELD(insecure), 0},
	{"x-allow-no-p2p", PARAM_BOOL, FIELD(allow_no_p2p), 0},
	{"x-allow-no-dirty-tracking", PARAM_BOOL, FIELD(allow_no_dirty_tracking), 0},
};

static const char *const when_words[] = {"early", "ram", "late", NULL};
static const char *const transitions_words[] = {"serial", "parallel", NULL};
static const char *const join_words[] = {"depth", "pass", NULL};
static const char *const handover_words[] = {"copy", "fd", NULL};
static const char *const tls_kind_words[] = {"auto", "x509", "psk", NULL};
static const char *const on_timeout_words[] = {"cancel", "force", NULL};

/* The names of an enumeration's values; NULL: the parameter is a number. */
static const char *const *words_of(enum param_kind kind)
{
	switch (kind) {
	case PARAM_WHEN:
		return when_words;
	case PARAM_TRANSITIONS:
		return transitions_words;
	case PARAM_JOIN:
		return join_words;
	case PARAM_HANDOVER:
		return handover_words;
	case PARAM_TLS_KIND:
		return tls_kind_words;
	case PARAM_ON_TIMEOUT:
		return on_timeout_words;
	default:
		return NULL;
	}
}

/* Times may be written without -ms, as QEMU writes its own. */
static const struct param *find(const char *name)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(params); i++) {
		const char *known = params[i].name;
		size_t len = strlen(known);

		if (!strcmp(known, name))
			return &params[i];
		if (len > 3 && !strcmp(known + len - 3, "-ms") && strlen(name) == len - 3 &&
			!strncmp(known, name, len - 3))
			return &params[i];
	}
	return NULL;
}

static uint64_t get(const struct vmm_migration_setup *setup, const struct param *param)
{
	const char *at = (const char *)setup + param->offset;

	switch (param->kind) {
	case PARAM_U64:
	case PARAM_CEILING:
		return *(const uint64_t *)at;
	case PARAM_SIZE:
		return *(const size_t *)at;
	case PARAM_WHEN:
		return *(const enum swo_when *)at;
	case PARAM_TRANSITIONS:
		return *(const enum swo_transitions *)at;
	case PARAM_JOIN:
		return *(const enum swo_join *)at;
	case PARAM_HANDOVER:
		return *(const enum swo_handover *)at;
	case PARAM_TLS_KIND:
		return *(const enum swo_tls_kind *)at;
	case PARAM_ON_TIMEOUT:
		return *(const enum swo_on_timeout *)at;
	case PARAM_BOOL:
		return *(const bool *)at;
	default:
		return *(const unsigned *)at;
	}
}

static void put(struct vmm_migration_setup *setup, const struct param *param, uint64_t value)
{
	char *at = (char *)setup + param->offset;

	switch (param->kind) {
	case PARAM_U64:
	case PARAM_CEILING:
		*(uint64_t *)at = value;
		break;
	case PARAM_SIZE:
		*(size_t *)at = value;
		break;
	case PARAM_WHEN:
		*(enum swo_when *)at = (enum swo_when)value;
		break;
	case PARAM_TRANSITIONS:
		*(enum swo_transitions *)at = (enum swo_transitions)value;
		break;
	case PARAM_JOIN:
		*(enum swo_join *)at = (enum swo_join)value;
		break;
	case PARAM_HANDOVER:
		*(enum swo_handover *)at = (enum swo_handover)value;
		break;
	case PARAM_TLS_KIND:
		*(enum swo_tls_kind *)at = (enum swo_tls_kind)value;
		break;
	case PARAM_ON_TIMEOUT:
		*(enum swo_on_timeout *)at = (enum swo_on_timeout)value;
		break;
	case PARAM_BOOL:
		*(bool *)at = value;
		break;
	default:
		*(unsigned *)at = (unsigned)value;
		break;
	}
}

static int take_word(
	const struct param *param, const json_t *value, uint64_t *out, struct swo_error *err)
{
	const char *const *words = words_of(param->kind);

	if (!json_is_string(value))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Invalid parameter type for '%s', expected: string", param->name);
	for (*out = 0; words[*out]; ++*out)
		if (!strcmp(words[*out], json_string_value(value)))
			return 0;
	return swo_error_set(err, SWO_E_INVALID, 0, "Parameter '%s' does not accept value '%.60s'",
		param->name, json_string_value(value));
}

static bool is_word(const json_t *value, const char *word)
{
	return json_is_string(value) && !strcmp(json_string_value(value), word);
}

static int take_number(
	const struct param *param, const json_t *value, uint64_t *out, struct swo_error *err)
{
	json_int_t number = json_integer_value(value);
	json_int_t most = param->kind == PARAM_UNSIGNED ? INT32_MAX : INT64_MAX;

	/* As if it had not been set. */
	if (param->kind == PARAM_CEILING && (json_is_null(value) || is_word(value, "default"))) {
		*out = SWO_CEILING_DEFAULT;
		return 0;
	}
	if (!json_is_integer(value))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Invalid parameter type for '%s', expected: integer", param->name);
	if (number < 0 || number > most)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Parameter '%s' expects a number from 0 to %" JSON_INTEGER_FORMAT,
			param->name, most);
	*out = (uint64_t)number;
	return 0;
}

static int take_bool(
	const struct param *param, const json_t *value, uint64_t *out, struct swo_error *err)
{
	if (!json_is_boolean(value))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Invalid parameter type for '%s', expected: boolean", param->name);
	*out = json_is_true(value);
	return 0;
}

/* As QEMU's StrOrNull: null means no string. */
static int take_string(struct vmm_migration_setup *setup, const struct param *param,
	const json_t *value, struct swo_error *err)
{
	const char *text = json_is_null(value) ? "" : json_string_value(value);

	if (!text)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Invalid parameter type for '%s', expected: string", param->name);
	if (strlen(text) >= param->size)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Parameter '%s' takes %zu characters at most", param->name,
			param->size - 1);
	memcpy((char *)setup + param->offset, text, strlen(text) + 1);
	return 0;
}

static int take_value(struct vmm_migration_setup *setup, const struct param *param,
	const json_t *value, struct swo_error *err)
{
	uint64_t number;

	if (param->kind == PARAM_STRING)
		return take_string(setup, param, value, err);
	if ((param->kind == PARAM_BOOL	    ? take_bool
		    : words_of(param->kind) ? take_word
					    : take_number)(param, value, &number, err))
		return -1;
	put(setup, param, number);
	return 0;
}

static int apply_parameters(
	struct vmm_migration_setup *setup, const void *opaque, struct swo_error *err)
{
	const char *name;
	json_t *value;

	/* The macro wants it without const, and changes nothing. */
	json_object_foreach ((json_t *)(uintptr_t)opaque, name, value) {
		const struct param *param = find(name);

		if (!param)
			return swo_error_set(
				err, SWO_E_INVALID, 0, "Parameter '%.60s' is unexpected", name);
		if (take_value(setup, param, value, err))
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
	const char *const *words = words_of(param->kind);

	if (param->kind == PARAM_STRING)
		return json_string((const char *)setup + param->offset);
	uint64_t value = get(setup, param);

	if (param->kind == PARAM_BOOL)
		return json_boolean(value);
	/* What it comes to: a program reads a number. */
	if (param->kind == PARAM_CEILING && value == SWO_CEILING_DEFAULT)
		value = swo_migration_default_ceiling_ms(setup->params.downtime_limit_ms);
	return words ? json_string(words[value]) : json_integer((json_int_t)value);
}

int qmp_query_parameters(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct vmm_migration_setup setup;

	(void)args;
	(void)err;
	vmm_machine_get_setup(opaque, &setup);
	*ret = json_object();
	for (size_t i = 0; i < SWO_ARRAY_SIZE(params); i++)
		json_object_set_new(*ret, params[i].name, value_of(&setup, &params[i]));
	return 0;
}

/* Capabilities */

static bool *capability(struct vmm_migration_setup *setup, const char *name)
{
	if (!strcmp(name, "multifd"))
		return &setup->multifd;
	if (!strcmp(name, "events"))
		return &setup->events;
	if (!strcmp(name, "auto-converge"))
		return &setup->params.converge.auto_converge;
	return NULL;
}

static int apply_capabilities(
	struct vmm_migration_setup *setup, const void *opaque, struct swo_error *err)
{
	json_t *entry;
	size_t i;

	json_array_foreach ((const json_t *)opaque, i, entry) {
		const char *name = json_string_value(json_object_get(entry, "capability"));
		const json_t *state = json_object_get(entry, "state");

		if (!name || !json_is_boolean(state) || json_object_size(entry) != 2)
			return swo_error_set(err, SWO_E_INVALID, 0,
				"Each of 'capabilities' has a 'capability' (string) and a 'state' "
				"(boolean)");
		bool *on = capability(setup, name);

		if (!on)
			return swo_error_set(err, SWO_E_INVALID, 0,
				"Parameter 'capability' does not accept value '%.60s'", name);
		*on = json_is_true(state);
	}
	return 0;
}

int qmp_set_capabilities(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)ret;
	return vmm_machine_change_setup(
		opaque, apply_capabilities, json_object_get(args, "capabilities"), err);
}

int qmp_migrate(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	const json_t *parameters = json_object_get(args, "x-parameters");
	const json_t *capabilities = json_object_get(args, "x-capabilities");
	struct vmm_migration_setup once;

	(void)ret;
	vmm_machine_get_setup(opaque, &once);
	if ((parameters && apply_parameters(&once, parameters, err)) ||
		(capabilities && apply_capabilities(&once, capabilities, err)) ||
		swo_migration_params_check(&once.params, err))
		return -1;
	return vmm_machine_migrate(
		opaque, json_string_value(json_object_get(args, "uri")), &once, err);
}

int qmp_query_capabilities(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct vmm_migration_setup setup;

	(void)args;
	(void)err;
	vmm_machine_get_setup(opaque, &setup);
	*ret = json_pack("[{s:s, s:b}, {s:s, s:b}, {s:s, s:b}]", "capability", "multifd", "state",
		setup.multifd, "capability", "events", "state", setup.events, "capability",
		"auto-converge", "state", setup.params.converge.auto_converge);
	return 0;
}
