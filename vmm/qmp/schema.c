/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * schema.c - query-qmp-schema: the tables of commands and events, and the types that they refer to,
 * in the format of QEMU's introspection. As in QEMU, types have numbers instead of names.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

static const struct qmp_type empty = {.kind = QMP_OBJECT};

struct schema {
	json_t *list;
	json_t *names; /* of the types in it, by their address */
};

static const char *builtin_name(enum qmp_kind kind)
{
	static const char *const names[] = {[QMP_STRING] = "str",
		[QMP_INT] = "int",
		[QMP_NUMBER] = "number",
		[QMP_BOOL] = "bool",
		[QMP_NULL] = "null",
		[QMP_ANY] = "any"};

	return kind <= QMP_ANY ? names[kind] : NULL;
}

static const char *json_type_name(enum qmp_kind kind)
{
	static const char *const names[] = {[QMP_STRING] = "string",
		[QMP_INT] = "int",
		[QMP_NUMBER] = "number",
		[QMP_BOOL] = "boolean",
		[QMP_NULL] = "null",
		[QMP_ANY] = "value"};

	return names[kind];
}

static const char *add_type(struct schema *schema, const struct qmp_type *type);

static json_t *describe_enum(const struct qmp_type *type)
{
	json_t *members = json_array(), *values = json_array();

	for (const char *const *at = type->values; *at; at++) {
		json_array_append_new(members, json_pack("{s:s}", "name", *at));
		json_array_append_new(values, json_string(*at));
	}
	return json_pack(
		"{s:s, s:o, s:o}", "meta-type", "enum", "members", members, "values", values);
}

static json_t *describe_member(struct schema *schema, const struct qmp_member *m)
{
	json_t *entry = json_pack("{s:s, s:s}", "name", m->name, "type", add_type(schema, m->type));

	/* As in QEMU, for one that is optional. */
	if (m->optional)
		json_object_set_new(entry, "default", json_null());
	return entry;
}

static json_t *describe_variants(struct schema *schema, const struct qmp_type *type)
{
	const char *const *tags = qmp_type_tags(type);
	json_t *variants = json_array();

	for (size_t i = 0; tags[i]; i++)
		json_array_append_new(variants, json_pack("{s:s, s:s}", "case", tags[i], "type",
							add_type(schema, type->variants[i])));
	return variants;
}

static json_t *describe_object(struct schema *schema, const struct qmp_type *type)
{
	json_t *members = json_array();
	json_t *entry = json_pack("{s:s, s:o}", "meta-type", "object", "members", members);

	for (const struct qmp_member *m = type->members; m && m->type; m++)
		json_array_append_new(members, describe_member(schema, m));
	if (type->tag) {
		json_object_set_new(entry, "tag", json_string(type->tag));
		json_object_set_new(entry, "variants", describe_variants(schema, type));
	}
	return entry;
}

static json_t *describe_alternate(struct schema *schema, const struct qmp_type *type)
{
	json_t *members = json_array();

	for (const struct qmp_member *m = type->members; m->type; m++)
		json_array_append_new(
			members, json_pack("{s:s}", "type", add_type(schema, m->type)));
	return json_pack("{s:s, s:o}", "meta-type", "alternate", "members", members);
}

static json_t *describe(struct schema *schema, const struct qmp_type *type)
{
	switch (type->kind) {
	case QMP_ENUM:
		return describe_enum(type);
	case QMP_ARRAY:
		return json_pack("{s:s, s:s}", "meta-type", "array", "element-type",
			add_type(schema, type->element));
	case QMP_OBJECT:
		return describe_object(schema, type);
	case QMP_ALTERNATE:
		return describe_alternate(schema, type);
	default:
		return json_pack("{s:s, s:s}", "meta-type", "builtin", "json-type",
			json_type_name(type->kind));
	}
}

/* Its name, which stays valid as long as the schema does; adds it and what it refers to, once. */
static const char *add_type(struct schema *schema, const struct qmp_type *type)
{
	const char *builtin = builtin_name(type->kind);
	char key[32], name[80];
	json_t *known, *entry;

	snprintf(key, sizeof(key), "%p", (const void *)type);
	known = json_object_get(schema->names, key);
	if (known)
		return json_string_value(known);
	if (builtin)
		snprintf(name, sizeof(name), "%s", builtin);
	else if (type->kind == QMP_ARRAY)
		snprintf(name, sizeof(name), "[%.70s]", add_type(schema, type->element));
	else
		snprintf(name, sizeof(name), "%zu", json_object_size(schema->names));
	known = json_string(name);
	json_object_set_new(schema->names, key, known);
	entry = describe(schema, type);
	json_object_set_new(entry, "name", json_string(name));
	json_array_append_new(schema->list, entry);
	return json_string_value(known);
}

static void add_commands(struct schema *schema, const struct qmp_command *commands, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct qmp_command *c = &commands[i];

		json_array_append_new(schema->list,
			json_pack("{s:s, s:s, s:s, s:s}", "name", c->name, "meta-type", "command",
				"arg-type", add_type(schema, c->args ? c->args : &empty),
				"ret-type", add_type(schema, c->ret ? c->ret : &empty)));
	}
}

json_t *qmp_schema(const struct qmp_config *config, const struct qmp_command *own, size_t count)
{
	struct schema schema = {json_array(), json_object()};

	add_commands(&schema, own, count);
	add_commands(&schema, config->commands, config->command_count);
	for (size_t i = 0; i < config->event_count; i++) {
		const struct qmp_type *data = config->events[i].data;

		json_array_append_new(schema.list,
			json_pack("{s:s, s:s, s:s}", "name", config->events[i].name, "meta-type",
				"event", "arg-type", add_type(&schema, data ? data : &empty)));
	}
	json_decref(schema.names);
	return schema.list;
}

/* The type of its own reply */

static const struct qmp_type meta_type =
	QMP_ENUM_OF("builtin", "enum", "array", "object", "alternate", "command", "event");
static const struct qmp_type named = QMP_OBJECT_OF({"name", &qmp_string, false});
static const struct qmp_type names = QMP_LIST_OF(&named);
static const struct qmp_type member = QMP_OBJECT_OF(
	{"name", &qmp_string, false}, {"type", &qmp_string, false}, {"default", &qmp_any, true});
static const struct qmp_type members = QMP_LIST_OF(&member);
static const struct qmp_type variant =
	QMP_OBJECT_OF({"case", &qmp_string, false}, {"type", &qmp_string, false});
static const struct qmp_type variants = QMP_LIST_OF(&variant);
static const struct qmp_type typed = QMP_OBJECT_OF({"type", &qmp_string, false});
static const struct qmp_type types = QMP_LIST_OF(&typed);

static const struct qmp_type of_builtin = QMP_OBJECT_OF({"json-type", &qmp_string, false});
static const struct qmp_type of_enum =
	QMP_OBJECT_OF({"members", &names, false}, {"values", &qmp_strings, false});
static const struct qmp_type of_array = QMP_OBJECT_OF({"element-type", &qmp_string, false});
static const struct qmp_type of_object = QMP_OBJECT_OF(
	{"members", &members, false}, {"tag", &qmp_string, true}, {"variants", &variants, true});
static const struct qmp_type of_alternate = QMP_OBJECT_OF({"members", &types, false});
static const struct qmp_type of_command =
	QMP_OBJECT_OF({"arg-type", &qmp_string, false}, {"ret-type", &qmp_string, false});
static const struct qmp_type of_event = QMP_OBJECT_OF({"arg-type", &qmp_string, false});
static const struct qmp_type entry = {.kind = QMP_OBJECT,
	.members = QMP_MEMBERS({"name", &qmp_string, false}, {"meta-type", &meta_type, false}),
	.tag = "meta-type",
	.variants = (const struct qmp_type *const[]){&of_builtin, &of_enum, &of_array, &of_object,
		&of_alternate, &of_command, &of_event}};
const struct qmp_type qmp_schema_type = QMP_LIST_OF(&entry);
