/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * out.c - the output of `switchover resolve`: a table, a line of text, or JSON.
 */
#include "base/shell.h"
#include "cmd/resolve/resolve.h"

#include <jansson.h>
#include <string.h>
#include <time.h>

bool resolve_is_open(const struct swo_journal_info *info)
{
	if (info->damage.code != SWO_E_NONE)
		return true;
	if (info->side == SWO_JOURNAL_SOURCE)
		return info->last == SWO_JOURNAL_COMMITTED || info->last == SWO_JOURNAL_IN_DOUBT ||
		       (info->last == SWO_JOURNAL_BEGIN && !info->live &&
			       !(info->complete && info->original));
	return !info->live &&
	       (info->last == SWO_JOURNAL_READY || info->last == SWO_JOURNAL_STARTING);
}

static const char *state_of(const struct swo_journal_info *info)
{
	return info->damage.code != SWO_E_NONE ? "damaged" : swo_journal_event_name(info->last);
}

/* The texts in a journal come from the migration's peer. */
static void make_printable(struct swo_journal_info *info)
{
	struct swo_journal_info raw = *info;

	swo_escape(raw.path, info->path, sizeof(info->path));
	swo_escape(raw.vm, info->vm, sizeof(info->vm));
	swo_escape(raw.uri, info->uri, sizeof(info->uri));
	swo_escape(raw.text, info->text, sizeof(info->text));
}

static json_t *describe(const struct swo_journal_info *info)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b, s:b}", "id", info->id, "side",
		swo_journal_side_name(info->side), "path", info->path, "state", state_of(info),
		"live", info->live, "open", resolve_is_open(info));

	if (info->damage.code != SWO_E_NONE) {
		json_object_set_new(o, "error", json_string(info->damage.text));
		return o;
	}
	json_object_set_new(o, "vm", json_string(info->vm));
	json_object_set_new(o, "uri", json_string(info->uri));
	json_object_set_new(o, "complete", json_boolean(info->complete));
	json_object_set_new(o, "original", json_boolean(info->original));
	json_object_set_new(o, "time", json_real((double)info->time_ns / 1e9));
	if (info->text[0])
		json_object_set_new(o, "text", json_string(info->text));
	return o;
}

static void put_json(FILE *out, json_t *value)
{
	json_dumpf(value, out, JSON_COMPACT);
	fputc('\n', out);
	json_decref(value);
}

static void print_line(FILE *out, const struct swo_journal_info *info)
{
	time_t seconds = (time_t)(info->time_ns / 1000000000);
	char when[32] = "-";
	struct tm tm;

	if (seconds && localtime_r(&seconds, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(out, "%-36s  %-6s  %-10s  %-7s  %-19s  %-16s  %s\n", info->id,
		swo_journal_side_name(info->side), state_of(info), info->live ? "alive" : "dead",
		when, info->vm[0] ? info->vm : "-", info->uri[0] ? info->uri : "-");
}

/* How to resolve it, as a command where there is one. */
static void print_advice(FILE *out, const char *dir, const struct swo_journal_info *info)
{
	char quoted[2048];

	if (info->live)
		fprintf(out,
			"\n%s is in doubt, and its process queries the target; to decide for it, use "
			"--qmp with the URI of its monitor\n",
			info->id);
	else if (base_shell_quote(dir, quoted, sizeof(quoted)))
		fprintf(out,
			"\n%s is in doubt; to resolve it:\n  switchover resolve --journal=%s %s\n",
			info->id, quoted, info->id);
	else
		fprintf(out, "\n%s is in doubt; to resolve it, add its ID\n", info->id);
}

void resolve_print_list(FILE *out, const struct resolve_request *request,
	struct swo_journal_info *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		make_printable(&list[i]);
	if (request->json) {
		json_t *array = json_array();

		for (size_t i = 0; i < count; i++)
			json_array_append_new(array, describe(&list[i]));
		put_json(
			out, json_pack("{s:s, s:o}", "journal", request->dir, "migrations", array));
		return;
	}
	if (!count) {
		fprintf(out, "no journals in %s\n", request->dir);
		return;
	}
	fprintf(out, "%-36s  %-6s  %-10s  %-7s  %-19s  %-16s  %s\n", "MIGRATION", "SIDE", "STATE",
		"PROCESS", "LAST RECORD", "VM", "TARGET");
	for (size_t i = 0; i < count; i++)
		print_line(out, &list[i]);
	for (size_t i = 0; i < count; i++)
		if (list[i].damage.code != SWO_E_NONE)
			fprintf(out, "\n%s\n", list[i].damage.text);
		else if (list[i].side == SWO_JOURNAL_SOURCE && resolve_is_open(&list[i]))
			print_advice(out, request->dir, &list[i]);
}

void resolve_print_result(
	FILE *out, const struct resolve_request *request, const struct resolve_result *result)
{
	static const char *const outcomes[] = {
		"not-in-doubt", "run-here", "runs-there", "in-doubt", "forgotten"};

	if (!request->json) {
		fprintf(out, "%s\n", result->text);
		return;
	}
	json_t *o = json_pack("{s:s, s:s, s:s}", "id", result->id, "outcome",
		outcomes[result->outcome], "by", result->by);

	json_object_set_new(o, "text", json_string(result->text));
	put_json(out, o);
}
