/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * agreement.c - values that must match on both sides, and the first difference in one line.
 */
#include "migration/agreement.h"

#include "base/sized.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const rule_names[] = {"equal", "subset", "at-least", "within"};

/* Refusals */

static void set_brief(struct refusal *why, const char *what)
{
	snprintf(why->brief, sizeof(why->brief), "%.80s; the values are in the target's log", what);
}

int migration_refusal_set(
	struct refusal *why, enum swo_error_code code, const char *brief, const char *fmt, ...)
{
	char text[sizeof(why->full.text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	set_brief(why, brief);
	return swo_error_set(&why->full, code, 0, "%s", text);
}

/* The part of a text around the first difference: a long one may differ at its end only. */
#define EXCERPT_MAX 96

static void excerpt(const char *text, size_t len, size_t from, char out[EXCERPT_MAX + 8])
{
	const size_t left = len - from;

	snprintf(out, EXCERPT_MAX + 8, "%s%.*s%s", from ? "..." : "",
		(int)(left < EXCERPT_MAX ? left : EXCERPT_MAX), text + from,
		left > EXCERPT_MAX ? "..." : "");
}

static int differs(struct refusal *why, const char *what, const char *a, size_t a_len,
	const char *b, size_t b_len)
{
	char brief[96], source[EXCERPT_MAX + 8], target[EXCERPT_MAX + 8];
	size_t from = 0;

	while (from < a_len && from < b_len && a[from] == b[from])
		from++;
	/* Enough before it to recognise the place. */
	from = a_len <= EXCERPT_MAX && b_len <= EXCERPT_MAX ? 0 : from > 40 ? from - 40 : 0;
	excerpt(a, a_len, from, source);
	excerpt(b, b_len, from, target);
	snprintf(brief, sizeof(brief), "source and target differ: %.60s", what);
	return migration_refusal_set(why, SWO_E_INVALID, brief,
		"source and target differ: %.60s is '%s' on the source and '%s' on the target",
		what, source, target);
}

int migration_refusal_differs(
	struct refusal *why, const char *what, const char *source, const char *target)
{
	return differs(why, what, source, strlen(source), target, strlen(target));
}

int migration_agreement_check_lines(const char *source, const char *target, struct refusal *why)
{
	for (unsigned line = 1; *source || *target; line++) {
		const size_t a = strcspn(source, "\n"), b = strcspn(target, "\n");
		char what[48];

		snprintf(what, sizeof(what), "line %u of the machine", line);
		if (a != b || memcmp(source, target, a))
			return differs(why, what, source, a, target, b);
		source += a + (source[a] == '\n');
		target += b + (target[b] == '\n');
	}
	return 0;
}

/* Entries */

void migration_agreement_free(struct swo_agreement *agreement)
{
	for (unsigned i = 0; i < agreement->count; i++)
		free(agreement->entries[i].text);
	agreement->count = 0;
}

static bool is_number(enum swo_agreement_rule rule)
{
	return rule == SWO_AGREE_AT_LEAST || rule == SWO_AGREE_WITHIN;
}

static struct agreement_entry *find(const struct swo_agreement *agreement, const char *name)
{
	for (unsigned i = 0; i < agreement->count; i++)
		if (!strcmp(agreement->entries[i].name, name))
			return (struct agreement_entry *)&agreement->entries[i];
	return NULL;
}

static const char no_memory[] = "out of memory";

/* NULL, or the fault. */
static const char *append(struct swo_agreement *agreement, const char *name,
	enum swo_agreement_rule rule, const char *text, uint64_t value, uint32_t ppm)
{
	struct agreement_entry *entry = &agreement->entries[agreement->count];

	if (agreement->count == SWO_AGREEMENT_MAX)
		return "too many entries";
	if (!name || !*name || strlen(name) >= sizeof(entry->name) || find(agreement, name))
		return "a name that is missing, too long, or used twice";
	if ((unsigned)rule >= SWO_ARRAY_SIZE(rule_names))
		return "an unknown rule";
	if (is_number(rule) ? value > INT64_MAX : !text || strlen(text) > SWO_AGREEMENT_TEXT_MAX)
		return "a value that is missing or too large";
	*entry = (struct agreement_entry){.rule = rule, .value = value, .ppm = ppm};
	strcpy(entry->name, name);
	if (!is_number(rule)) {
		entry->text = strdup(text);
		if (!entry->text)
			return no_memory;
	}
	agreement->count++;
	return NULL;
}

int swo_agreement_add(struct swo_agreement *agreement, const struct swo_agreement_entry *given,
	struct swo_error *err)
{
	struct swo_agreement_entry entry;

	if (base_sized_copy("swo_agreement_entry", &entry, sizeof(entry), given, err))
		return -1;
	const char *fault =
		append(agreement, entry.name, entry.rule, entry.text, entry.value, entry.ppm);

	return fault ? swo_error_set(err, fault == no_memory ? SWO_E_NO_MEMORY : SWO_E_INVALID, 0,
			       "agreement '%.60s': %s", entry.name ? entry.name : "", fault)
		     : 0;
}

json_t *migration_agreement_json(const struct swo_agreement *agreement)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < agreement->count; i++) {
		const struct agreement_entry *entry = &agreement->entries[i];
		json_t *value = is_number(entry->rule) ? json_integer((json_int_t)entry->value)
						       : json_string(entry->text);

		json_array_append_new(
			list, json_pack("{s:s, s:s, s:o}", "name", entry->name, "rule",
				      rule_names[entry->rule], "value", value));
	}
	return list;
}

static int parse_entry(json_t *item, struct swo_agreement *out)
{
	unsigned rule = 0;
	const char *name, *word;
	json_t *value;

	if (json_unpack(item, "{s:s, s:s, s:o}", "name", &name, "rule", &word, "value", &value))
		return -1;
	while (rule < SWO_ARRAY_SIZE(rule_names) && strcmp(rule_names[rule], word))
		rule++;
	if (is_number((enum swo_agreement_rule)rule)
			? !json_is_integer(value) || json_integer_value(value) < 0
			: !json_is_string(value))
		return -1;
	return append(out, name, (enum swo_agreement_rule)rule, json_string_value(value),
		       (uint64_t)json_integer_value(value), 0)
		       ? -1
		       : 0;
}

int migration_agreement_parse(const json_t *list, struct swo_agreement *out)
{
	size_t i;
	json_t *item;

	out->count = 0;
	if (list && !json_is_array(list))
		return -1;
	json_array_foreach (list, i, item)
		if (parse_entry(item, out))
			return -1;
	return 0;
}

/* Comparison */

static bool has_word(const char *text, const char *word, size_t len)
{
	for (;;) {
		text += strspn(text, " ");
		const size_t n = strcspn(text, " ");

		if (!n)
			return false;
		if (n == len && !memcmp(text, word, len))
			return true;
		text += n;
	}
}

/* Names the words that the target lacks, as many as fit. */
static int check_subset(const struct agreement_entry *source, const struct agreement_entry *target,
	struct refusal *why)
{
	char lacks[200] = "", brief[96];
	size_t used = 0;
	unsigned more = 0;

	for (const char *at = source->text;;) {
		at += strspn(at, " ");
		const size_t n = strcspn(at, " ");

		if (!n)
			break;
		if (!has_word(target->text, at, n)) {
			if (more || used + n + 2 >= sizeof(lacks) - 20)
				more++;
			else
				used += (size_t)snprintf(lacks + used, sizeof(lacks) - used,
					"%s%.*s", used ? " " : "", (int)n, at);
		}
		at += n;
	}
	if (!used && !more)
		return 0;
	if (more)
		snprintf(lacks + used, sizeof(lacks) - used, " and %u more", more);
	snprintf(brief, sizeof(brief), "source and target differ: %.60s", source->name);
	return migration_refusal_set(why, SWO_E_UNSUPPORTED, brief,
		"source and target differ: %.60s: the source has, and the target lacks: %s",
		source->name, lacks);
}

static bool is_within(uint64_t a, uint64_t b, uint32_t ppm)
{
	const uint64_t difference = a > b ? a - b : b - a;

	return !a || !b || ppm == SWO_AGREE_ANY || (double)difference <= (double)a * ppm / 1e6;
}

static int check_entry(const struct agreement_entry *source, const struct agreement_entry *target,
	struct refusal *why)
{
	char a[32], b[64];

	if (source->rule != target->rule)
		return migration_refusal_differs(
			why, source->name, rule_names[source->rule], rule_names[target->rule]);
	if (source->rule == SWO_AGREE_SUBSET)
		return check_subset(source, target, why);
	if (source->rule == SWO_AGREE_EQUAL)
		return strcmp(source->text, target->text)
			       ? migration_refusal_differs(
					 why, source->name, source->text, target->text)
			       : 0;
	if (source->rule == SWO_AGREE_AT_LEAST
			? target->value >= source->value
			: is_within(source->value, target->value, target->ppm))
		return 0;
	snprintf(a, sizeof(a), "%" PRIu64, source->value);
	if (source->rule == SWO_AGREE_AT_LEAST)
		snprintf(b, sizeof(b), "%" PRIu64, target->value);
	else
		snprintf(b, sizeof(b), "%" PRIu64 " (within %u ppm)", target->value, target->ppm);
	return migration_refusal_differs(why, source->name, a, b);
}

int migration_agreement_check(
	const struct swo_agreement *source, const struct swo_agreement *target, struct refusal *why)
{
	for (unsigned i = 0; i < source->count; i++) {
		const struct agreement_entry *entry = &source->entries[i];
		const struct agreement_entry *own = find(target, entry->name);

		if (!own)
			return migration_refusal_differs(
				why, entry->name, "reported", "not reported");
		if (check_entry(entry, own, why))
			return -1;
	}
	for (unsigned i = 0; i < target->count; i++)
		if (!find(source, target->entries[i].name))
			return migration_refusal_differs(
				why, target->entries[i].name, "not reported", "reported");
	return 0;
}
