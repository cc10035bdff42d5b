/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * type.c - checks a value against its type. The texts are QEMU's: clients show them.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>

#define PATH_LEN 256

const struct qmp_type qmp_string = {.kind = QMP_STRING}, qmp_int = {.kind = QMP_INT},
		      qmp_number = {.kind = QMP_NUMBER}, qmp_bool = {.kind = QMP_BOOL},
		      qmp_null = {.kind = QMP_NULL}, qmp_any = {.kind = QMP_ANY},
		      qmp_strings = {.kind = QMP_ARRAY, .element = &qmp_string};

static bool has_kind(const struct qmp_type *type, const json_t *value)
{
	switch (type->kind) {
	case QMP_STRING:
	case QMP_ENUM:
		return json_is_string(value);
	case QMP_INT:
		return json_is_integer(value);
	case QMP_NUMBER:
		return json_is_number(value);
	case QMP_BOOL:
		return json_is_boolean(value);
	case QMP_NULL:
		return json_is_null(value);
	case QMP_ARRAY:
		return json_is_array(value);
	case QMP_OBJECT:
		return json_is_object(value);
	case QMP_ANY:
	case QMP_ALTERNATE:
		return true;
	}
	return false;
}

/* "string", or "integer or null" for an alternate. */
static void describe(const struct qmp_type *type, char *out, size_t len)
{
	static const char *const names[] = {[QMP_STRING] = "string",
		[QMP_INT] = "integer",
		[QMP_NUMBER] = "number",
		[QMP_BOOL] = "boolean",
		[QMP_NULL] = "null",
		[QMP_ANY] = "any",
		[QMP_ENUM] = "string",
		[QMP_ARRAY] = "array",
		[QMP_OBJECT] = "object"};
	size_t at = 0;

	if (type->kind != QMP_ALTERNATE) {
		snprintf(out, len, "%s", names[type->kind]);
		return;
	}
	for (const struct qmp_member *m = type->members; m->type && at < len; m++)
		at += (size_t)snprintf(
			out + at, len - at, "%s%s", at ? " or " : "", names[m->type->kind]);
}

static json_t *wrong_type(const struct qmp_type *type, const char *path)
{
	char expected[80];

	describe(type, expected, sizeof(expected));
	return qmp_error(
		"GenericError", "Invalid parameter type for '%s', expected: %s", path, expected);
}

static json_t *check_word(const struct qmp_type *type, const json_t *value, const char *path)
{
	const char *word = json_string_value(value), *leaf = strrchr(path, '.');

	for (const char *const *at = type->values; *at; at++)
		if (!strcmp(*at, word))
			return NULL;
	return qmp_error("GenericError", "Parameter '%s' does not accept value '%.60s'",
		leaf ? leaf + 1 : path, word);
}

static json_t *check_elements(const struct qmp_type *type, const json_t *value, const char *path)
{
	const json_t *element;
	char below[PATH_LEN];
	json_t *error = NULL;
	size_t i;

	json_array_foreach (value, i, element) {
		snprintf(below, sizeof(below), "%s[%zu]", path, i);
		error = qmp_type_check(type->element, element, below);
		if (error)
			break;
	}
	return error;
}

static json_t *check_alternate(const struct qmp_type *type, const json_t *value, const char *path)
{
	const struct qmp_member *m = type->members;

	while (m->type && !has_kind(m->type, value))
		m++;
	return m->type ? qmp_type_check(m->type, value, path) : wrong_type(type, path);
}

const char *const *qmp_type_tags(const struct qmp_type *type)
{
	static const char *const none[] = {NULL};

	for (const struct qmp_member *m = type->members; m && m->name; m++)
		if (m->type && m->type->values && !strcmp(m->name, type->tag))
			return m->type->values;
	return none;
}

/* The members that the tag's value adds; NULL: none. The tag has been checked. */
static const struct qmp_type *variant_of(const struct qmp_type *type, const json_t *value)
{
	const char *word = type->tag ? json_string_value(json_object_get(value, type->tag)) : NULL;

	if (!word)
		return NULL;
	const char *const *tags = qmp_type_tags(type);

	for (size_t i = 0; tags[i]; i++)
		if (!strcmp(tags[i], word))
			return type->variants[i];
	return NULL;
}

static const char *join(char out[PATH_LEN], const char *path, const char *name)
{
	snprintf(out, PATH_LEN, "%s%s%.60s", path, *path ? "." : "", name);
	return out;
}

/* Those that are missing, or of the wrong type; of variants too. */
static json_t *check_known(const struct qmp_type *type, const json_t *value, const char *path)
{
	const struct qmp_type *variant;
	char below[PATH_LEN];

	for (const struct qmp_member *m = type->members; m && m->type; m++) {
		const json_t *member = json_object_get(value, m->name);
		json_t *error = NULL;

		join(below, path, m->name);
		if (member)
			error = qmp_type_check(m->type, member, below);
		else if (!m->optional)
			error = qmp_error("GenericError", "Parameter '%s' is missing", below);
		if (error)
			return error;
	}
	variant = variant_of(type, value);
	return variant ? check_known(variant, value, path) : NULL;
}

static bool is_known(const struct qmp_type *type, const json_t *value, const char *name)
{
	const struct qmp_type *variant = variant_of(type, value);

	for (const struct qmp_member *m = type->members; m && m->type; m++)
		if (!strcmp(m->name, name))
			return true;
	return variant && is_known(variant, value, name);
}

static json_t *check_members(const struct qmp_type *type, const json_t *value, const char *path)
{
	json_t *error = check_known(type, value, path), *member;
	char below[PATH_LEN];
	const char *name;

	if (error)
		return error;
	/* The macro wants it without const, and changes nothing. */
	json_object_foreach ((json_t *)(uintptr_t)value, name, member)
		if (!is_known(type, value, name))
			return qmp_error("GenericError", "Parameter '%s' is unexpected",
				join(below, path, name));
	return NULL;
}

json_t *qmp_type_check(const struct qmp_type *type, const json_t *value, const char *name)
{
	if (!has_kind(type, value))
		return wrong_type(type, name);
	switch (type->kind) {
	case QMP_ENUM:
		return check_word(type, value, name);
	case QMP_ARRAY:
		return check_elements(type, value, name);
	case QMP_OBJECT:
		return check_members(type, value, name);
	case QMP_ALTERNATE:
		return check_alternate(type, value, name);
	default:
		return NULL;
	}
}

json_t *qmp_type_check_members(const struct qmp_type *type, const json_t *value)
{
	static const struct qmp_type empty = {.kind = QMP_OBJECT};

	return check_members(type ? type : &empty, value, "");
}
