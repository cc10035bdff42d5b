/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page.c - the page: figures, and below each what it shows as a table, for those who cannot hover. It
 * has no script and needs no network. An SVG has the figures alone.
 */
#include "cmd/report/report.h"

#include <stdlib.h>
#include <string.h>

static const char page_style[] =
	"*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:1180px;"
	"font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back)}"
	"h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .3rem;overflow-wrap:anywhere}"
	".figure{overflow-x:auto}.figure svg{min-width:760px;width:100%;height:auto}"
	".table{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;margin:.6rem 0}"
	"th,td{padding:.15rem .7rem;text-align:right;border-bottom:1px solid var(--grid)}"
	"th:first-child,td:first-child{text-align:left;padding-left:0}"
	"td.l,th.l{text-align:left}"
	".key{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.85rem;margin:.4rem 0}"
	".key i{display:inline-block;width:1.1em;height:.8em;margin-right:.4em}"
	"summary{cursor:pointer}p{margin:.3rem 0}"
	"@media print{details>*{display:block}.figure svg{min-width:0}body{max-width:none}}";

static const struct {
	const char *colour, *text;
} key[] = {
	{"quiesce", "to a P2P state"},
	{"stop", "to STOP_COPY"},
	{"data", "state: save, load"},
	{"finalise", "RESUMING to STOP"},
	{"start", "to RUNNING_P2P"},
	{"run", "to RUNNING"},
	{"ram", "memory"},
	{"work", "other work"},
};

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/* Of a switchover, from the stop of the vCPUs to STARTED; 0: it has none. */
static double blackout_ms(const struct report_run *run)
{
	return run->path.count ? ms(run->path.end_ns - run->path.start_ns) : 0;
}

static void write_path(FILE *out, const struct report_run *run)
{
	if (!run->path.count)
		return;
	fprintf(out,
		"<details><summary>Critical path: %zu steps, %.1f ms</summary><div "
		"class=\"table\"><table><tr><th>step</th><th class=\"l\">side</th><th "
		"class=\"l\">device</th><th>from ms</th><th>ms</th></tr>\n",
		run->path.count, blackout_ms(run));
	for (size_t i = 0; i < run->path.count; i++) {
		const struct swo_path_step *step = &run->path.steps[i];

		fputs("<tr><td>", out);
		report_text(out, step->name);
		fprintf(out, "</td><td class=\"l\">%s</td><td class=\"l\">",
			step->side == SWO_SIDE_SOURCE ? "source" : "target");
		report_text(out, step->device);
		fprintf(out, "</td><td>%.3f</td><td>%.3f</td></tr>\n",
			ms(step->start_ns - run->path.start_ns), ms(step->end_ns - step->start_ns));
	}
	fputs("</table></div></details>\n", out);
}

static void write_run(FILE *out, const struct report_run *run, uint64_t length_ns)
{
	fputs("<h2>", out);
	report_text(out, run->file);
	fputs("</h2>\n<p>", out);
	if (run->path.count)
		fprintf(out, "vCPUs stopped to STARTED: <b>%.1f ms</b>.", blackout_ms(run));
	else if (run->switched)
		fprintf(out, "First source arc to last target arc: <b>%.1f ms</b>.",
			ms(run->to_ns - run->from_ns));
	else
		fputs("All that was recorded: no arcs of a completed switchover are in it.", out);
	if (run->dropped)
		fprintf(out, " %zu spans were not kept.", run->dropped);
	fputs("</p>\n<div class=\"figure\">", out);
	report_lanes(out, run, length_ns);
	fputs("</div>\n", out);
	write_path(out, run);
}

static void write_key(FILE *out)
{
	fputs("<div class=\"key\">", out);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(key); i++)
		fprintf(out, "<span><i style=\"background:var(--%s)\"></i>%s</span>", key[i].colour,
			key[i].text);
	fputs("<span>thick line below: critical path; dashed: a wait on it</span>"
	      "<span>grey bar: a barrier of all devices</span></div>\n",
		out);
}

static void write_rows(FILE *out, const struct report *report, const char *profile)
{
	fputs("<h2>", out);
	report_text(out, *profile ? profile : "rows without a profile");
	fputs("</h2>\n<div class=\"figure\">", out);
	report_plot(out, report, profile);
	fputs("</div>\n<div class=\"table\"><table><tr><th>series</th><th>VFs</th><th>median "
	      "ms</th><th>min</th><th>max</th><th>lower bound</th><th>over it</th></tr>\n",
		out);
	for (size_t i = 0; i < report->row_count; i++) {
		const struct report_row *row = &report->rows[i];

		if (strcmp(row->profile, profile) != 0)
			continue;
		fputs("<tr><td>", out);
		report_text(out, row->series);
		fprintf(out, "</td><td>%u</td><td>%.1f</td><td>%.1f</td><td>%.1f</td>", row->vfs,
			row->median, row->min, row->max);
		if (row->bound > 0)
			fprintf(out, "<td>%.1f</td><td>%.1f</td></tr>\n", row->bound,
				row->median - row->bound);
		else
			fputs("<td>unknown</td><td>unknown</td></tr>\n", out);
	}
	fputs("</table></div>\n", out);
}

/* The first of its rows: a profile is shown once. */
static bool is_first(const struct report *report, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (!strcmp(report->rows[i].profile, report->rows[at].profile))
			return false;
	return true;
}

int report_page(FILE *out, const struct report *report)
{
	fprintf(out,
		"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
		"name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta "
		"name=\"color-scheme\" content=\"light dark\"><title>switchover: "
		"report</title><style>%s%s</style></head><body>\n<h1>Where the time of a switchover "
		"went</h1>\n",
		report_style, page_style);
	if (report->run_count) {
		fputs("<p>Times in ms from the stop of the vCPUs, or from the first record where that was "
		      "not recorded; all migrations on one scale. Rest the pointer on anything for its "
		      "figures.</p>\n",
			out);
		write_key(out);
	}
	for (size_t i = 0; i < report->run_count; i++)
		write_run(out, &report->runs[i], report_longest(report));
	for (size_t i = 0; i < report->row_count; i++)
		if (is_first(report, i))
			write_rows(out, report, report->rows[i].profile);
	fputs("</body></html>\n", out);
	return 0;
}

static void write_below(FILE *out, unsigned top, const char *name, const char *figure)
{
	fprintf(out, "<text class=\"head\" x=\"12\" y=\"%u\">", top + 18);
	report_text(out, name);
	fprintf(out, "</text><g transform=\"translate(0 %u)\">%s</g>\n", top + 26, figure);
}

int report_svg(FILE *out, const struct report *report)
{
	char *text = NULL;
	size_t len;
	unsigned top = 0;
	FILE *figures = open_memstream(&text, &len);

	for (size_t i = 0; figures && i < report->run_count + report->row_count; i++) {
		const struct report_run *run = i < report->run_count ? &report->runs[i] : NULL;
		const size_t row = i - report->run_count;
		char *figure = NULL;

		if (!run && !is_first(report, row))
			continue;
		FILE *one = open_memstream(&figure, &len);

		if (!one)
			break;
		const unsigned height = run ? report_lanes(one, run, report_longest(report))
					    : report_plot(one, report, report->rows[row].profile);

		fclose(one);
		write_below(figures, top, run ? run->file : report->rows[row].profile, figure);
		free(figure);
		top += height + 26;
	}
	if (!figures)
		return -1;
	fclose(figures);
	report_svg_begin(out, REPORT_WIDTH, top + 8, "where the time of a switchover went");
	fprintf(out, "<style>%s</style>\n%s", report_style, text);
	report_svg_end(out);
	free(text);
	return 0;
}
