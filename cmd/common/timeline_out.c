/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timeline_out.c - writes and draws timelines.
 */
#include "cmd/common/timeline_out.h"
#include "cmd/common/file.h"

#include "switchover/plan.h"

#include <errno.h>
#include <jansson.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void trace_path(const char *path, char *out, size_t len)
{
	size_t stem = strlen(path);

	if (stem > 5 && !strcmp(path + stem - 5, ".json"))
		stem -= 5;
	snprintf(out, len, "%.*s.trace.json", (int)stem, path);
}

/* The event of the trace that a step of the path is a part of; times in us from `zero_ns`. */
static json_t *find_slice(json_t *events, const struct swo_path_step *step, double at)
{
	json_t *event, *rank = NULL;
	size_t i;

	json_array_foreach (events, i, event) {
		const char *phase = json_string_value(json_object_get(event, "ph"));
		const char *name = json_string_value(json_object_get(event, "name"));
		const double from = json_number_value(json_object_get(event, "ts"));
		const double length = json_number_value(json_object_get(event, "dur"));

		if (!phase || *phase != 'X' || !name || strcmp(name, step->name) ||
			json_integer_value(json_object_get(event, "pid")) != (int)step->side + 1 ||
			at < from || at > from + length)
			continue;
		/* Devices have spans of one name: the one that ends with the step. */
		const double end = at + (double)(step->end_ns - step->start_ns) / 1e3;

		if (end - from - length < 0.5 && from + length - end < 0.5)
			return event;
		rank = rank ? rank : event;
	}
	return rank;
}

/* Arrows from step to step of the critical path (s, t, f), each in the middle of what it runs
   through. None: the switchover did not complete. */
static void add_flows(struct swo_timeline *timeline, json_t *root)
{
	json_t *events = json_object_get(root, "traceEvents");
	struct swo_path path;
	struct swo_span span;
	uint64_t zero = UINT64_MAX;
	json_t *last = NULL;
	bool any = false;

	for (size_t i = 0; swo_timeline_get(timeline, i, &span); i++)
		zero = span.start_ns < zero ? span.start_ns : zero;
	if (!events || swo_critical_path(timeline, &path, NULL))
		return;
	for (size_t i = 0; i < path.count; i++) {
		const struct swo_path_step *step = &path.steps[i];
		const double at = (double)(step->start_ns - zero) / 1e3;
		json_t *slice = step->gap ? NULL : find_slice(events, step, at);

		if (!slice)
			continue;
		last = json_pack("{s:s, s:s, s:s, s:i, s:f, s:O, s:O, s:s}", "name",
			"critical path", "cat", "path", "ph", any ? "t" : "s", "id", 1, "ts",
			at + (double)(step->end_ns - step->start_ns) / 2e3, "pid",
			json_object_get(slice, "pid"), "tid", json_object_get(slice, "tid"), "bp",
			"e");
		json_array_append_new(events, last);
		any = true;
	}
	if (last)
		json_object_set_new(last, "ph", json_string("f"));
	swo_path_free(&path);
}

static char *trace_of(struct swo_timeline *timeline)
{
	swo_autofree char *text = swo_timeline_to_chrome(timeline);
	json_t *root = text ? json_loads(text, 0, NULL) : NULL;

	if (root)
		add_flows(timeline, root);
	char *out = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;

	json_decref(root);
	return out;
}

int timeline_write(struct swo_timeline *timeline, const char *path, struct swo_error *err)
{
	swo_autofree char *json = swo_timeline_to_json(timeline);
	swo_autofree char *trace = trace_of(timeline);
	char beside[4200];

	if (!json || !trace)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "--timeline");
	trace_path(path, beside, sizeof(beside));
	return write_file("--timeline", path, json, err) ||
			       write_file("--timeline", beside, trace, err)
		       ? -1
		       : 0;
}

int timeline_check(const char *path, struct swo_error *err)
{
	char beside[4200];

	trace_path(path, beside, sizeof(beside));
	return check_file("--timeline", path, err) || check_file("--timeline", beside, err) ? -1
											    : 0;
}

static unsigned terminal_columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_col < 80 ? 80
	       : size.ws_col > 160					   ? 160
									   : size.ws_col;
}

/* Of a terminal that has it, unless the user does without: https://no-color.org */
bool timeline_has_colour(bool terminal, const char *no_color, const char *term)
{
	return terminal && !(no_color && *no_color) && term && *term && strcmp(term, "dumb");
}

/* The colours of `switchover report`, as near as 8 of them come. "": none. */
static const char *colour_of(const char *c)
{
	switch (*c) {
	case 'P':
		return "36";
	case 'S':
		return "34";
	case 'F':
		return "32";
	case 'Q':
		return "35";
	case 'R':
		return "31";
	case '=':
		return "33";
	default:
		return strncmp(c, "═", 3) ? "" : "33";
	}
}

static bool continues(const char *c)
{
	return *c == '-' || !strncmp(c, "─", 3);
}

/* The part of a device's row that is drawn: a sign colours what it begins. */
static void print_spans(FILE *out, const char *c, size_t len)
{
	const char *colour = "";

	for (const char *end = c + len; c < end; c++) {
		const char *next = continues(c) ? colour : colour_of(c);

		/* Not within a character. */
		if (((unsigned char)*c & 0xc0) != 0x80 && strcmp(next, colour)) {
			fprintf(out, *next ? "\033[%sm" : "\033[0%sm", next);
			colour = next;
		}
		putc(*c, out);
	}
	fputs(*colour ? "\033[0m" : "", out);
}

/* Names and words are left as they are: the axis begins where that of the scale does. */
void timeline_print_colours(FILE *out, const char *picture)
{
	const char *second = strchr(picture, '\n');
	const size_t axis = second ? strspn(second + 1, " ") : 0;
	bool drawing = true;

	while (*picture) {
		const size_t len = strcspn(picture, "\n");

		drawing &= len > 0;
		const bool spans = axis > 7 && len > axis && strspn(picture, " ") < axis &&
				   strncmp(picture + 7, "marks ", 6) &&
				   strncmp(picture + 7, "passes ", 7) &&
				   strncmp(picture + 7, "phases ", 7);

		if (drawing && spans) {
			fwrite(picture, 1, axis, out);
			print_spans(out, picture + axis, len - axis);
		} else if (!drawing && len > 5 && !strncmp(picture, "  ", 2)) {
			const char *colour = colour_of(picture + 2);
			const size_t sign = (unsigned char)picture[2] < 0x80 ? 1 : 3;

			fprintf(out, *colour ? "  \033[%sm%.*s\033[0m%.*s" : "  %s%.*s%.*s", colour,
				(int)sign, picture + 2, (int)(len - 2 - sign), picture + 2 + sign);
		} else {
			fwrite(picture, 1, len, out);
		}
		picture += len;
		if (*picture)
			putc(*picture++, out);
	}
}

void timeline_print(struct swo_timeline *timeline, uint64_t from_ns, uint64_t to_ns)
{
	const bool utf8 = !strcmp(nl_langinfo(CODESET), "UTF-8");

	if (to_ns > from_ns) {
		const uint64_t margin = (to_ns - from_ns) / 40;

		from_ns -= margin < from_ns ? margin : 0;
		to_ns += margin;
	}
	swo_autofree char *picture =
		swo_timeline_picture(timeline, terminal_columns(), utf8, from_ns, to_ns);
	if (picture &&
		timeline_has_colour(isatty(STDOUT_FILENO), getenv("NO_COLOR"), getenv("TERM")))
		timeline_print_colours(stdout, picture);
	else
		printf("%s", picture ? picture : "(no memory for its picture)\n");
}
