/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plot.c - rows of one profile: time against the number of VFs, the median of each with the spread
 * from the least to the most, the lower bound, and what was published of the original.
 */
#include "cmd/report/report.h"

#include <stdlib.h>
#include <string.h>

#define MARGIN	   12
#define LEFT	   64
#define RIGHT	   330 /* the legend */
#define HEIGHT	   360
#define TOP	   20
#define BOTTOM	   46
#define SERIES_MAX 12

/* The series that proposed parallel transitions, with four 102 MiB ConnectX-7 VFs at most: one
   after the other, and in threads (docs/results.md). */
static const struct {
	const char *name;
	unsigned vfs[3];
	double ms[3];
} published[] = {
	{"published: serial (ConnectX-7)", {1, 2, 4}, {497, 758, 1385}},
	{"published: parallel (ConnectX-7)", {1, 2, 4}, {493, 653, 986}},
};

struct plot {
	FILE *out;
	const struct report *report;
	const char *profile;
	unsigned vfs[64]; /* the numbers that occur, in order */
	unsigned vfs_count;
	const char *series[SERIES_MAX];
	unsigned series_count;
	double most; /* ms, at the top */
	bool with_published;
};

static bool is_in(const struct plot *p, const struct report_row *row)
{
	return !strcmp(row->profile, p->profile);
}

static void note_vfs(struct plot *p, unsigned vfs)
{
	unsigned at = 0;

	while (at < p->vfs_count && p->vfs[at] < vfs)
		at++;
	if ((at < p->vfs_count && p->vfs[at] == vfs) || p->vfs_count == SWO_ARRAY_SIZE(p->vfs))
		return;
	memmove(&p->vfs[at + 1], &p->vfs[at], (p->vfs_count - at) * sizeof(p->vfs[0]));
	p->vfs[at] = vfs;
	p->vfs_count++;
}

static void note(struct plot *p, const struct report_row *row)
{
	unsigned i = 0;

	note_vfs(p, row->vfs);
	p->most = row->max > p->most ? row->max : p->most;
	while (i < p->series_count && strcmp(p->series[i], row->series) != 0)
		i++;
	if (i == p->series_count && i < SERIES_MAX)
		p->series[p->series_count++] = row->series;
}

/* Numbers of VFs grow by doubling: they stand at equal distances. */
static double x_of(const struct plot *p, unsigned vfs)
{
	unsigned at = 0;

	while (at < p->vfs_count && p->vfs[at] != vfs)
		at++;
	return LEFT + (REPORT_WIDTH - LEFT - RIGHT) * (at + 0.5) / p->vfs_count;
}

static double y_of(const struct plot *p, double ms)
{
	return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * ms / p->most;
}

static void draw_axes(const struct plot *p)
{
	const double step = report_step(p->most, 6);
	const double right = REPORT_WIDTH - RIGHT;

	for (double at = 0; at <= p->most * 1.0001; at += step)
		fprintf(p->out,
			"<line class=\"grid\" x1=\"%d\" x2=\"%.1f\" y1=\"%.2f\" y2=\"%.2f\"/><text "
			"class=\"faint\" x=\"%d\" y=\"%.2f\" text-anchor=\"end\">%g</text>\n",
			LEFT, right, y_of(p, at), y_of(p, at), LEFT - 6, y_of(p, at) + 4, at);
	for (unsigned i = 0; i < p->vfs_count; i++)
		fprintf(p->out,
			"<text class=\"faint\" x=\"%.2f\" y=\"%d\" text-anchor=\"middle\">%u</text>\n",
			x_of(p, p->vfs[i]), HEIGHT - BOTTOM + 18, p->vfs[i]);
	fprintf(p->out,
		"<text class=\"faint\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">VFs</text><text "
		"class=\"faint\" x=\"%d\" y=\"%d\">ms</text>\n",
		(LEFT + right) / 2, HEIGHT - 10, MARGIN, TOP + 4);
}

static void legend(const struct plot *p, unsigned line, const char *class, const char *text)
{
	const double y = TOP + 10 + line * 20.0, x = REPORT_WIDTH - RIGHT + 16;

	fprintf(p->out,
		"<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%.1f\" "
		"y=\"%.1f\">",
		class, x, x + 22, y, y, x + 30, y + 4);
	report_text(p->out, text);
	fputs("</text>\n", p->out);
}

static void draw_point(
	const struct plot *p, const struct report_row *row, const char *class, double shift)
{
	const double x = x_of(p, row->vfs) + shift;

	fprintf(p->out, "<g><title>");
	report_text(p->out, row->series);
	fprintf(p->out,
		", %u VFs: %.1f ms (%.1f to %.1f)</title><line class=\"%s\" x1=\"%.2f\" x2=\"%.2f\" "
		"y1=\"%.2f\" y2=\"%.2f\"/><circle class=\"%s\" cx=\"%.2f\" cy=\"%.2f\" r=\"4\"/></g>\n",
		row->vfs, row->median, row->min, row->max, class, x, x, y_of(p, row->min),
		y_of(p, row->max), class, x, y_of(p, row->median));
}

static void draw_series(const struct plot *p, unsigned series)
{
	const double shift = (series - (p->series_count - 1) / 2.0) * 6;
	char class[24];

	snprintf(class, sizeof(class), "series s%u", series % 6);
	fprintf(p->out, "<polyline class=\"%s\" points=\"", class);
	for (unsigned v = 0; v < p->vfs_count; v++)
		for (size_t i = 0; i < p->report->row_count; i++) {
			const struct report_row *row = &p->report->rows[i];

			if (is_in(p, row) && row->vfs == p->vfs[v] &&
				!strcmp(row->series, p->series[series]))
				fprintf(p->out, "%.2f,%.2f ", x_of(p, row->vfs) + shift,
					y_of(p, row->median));
		}
	fputs("\"/>\n", p->out);
	for (size_t i = 0; i < p->report->row_count; i++)
		if (is_in(p, &p->report->rows[i]) &&
			!strcmp(p->report->rows[i].series, p->series[series]))
			draw_point(p, &p->report->rows[i], class, shift);
	legend(p, series, class, p->series[series]);
}

static bool draw_bounds(const struct plot *p)
{
	const double half = 0.4 * (REPORT_WIDTH - LEFT - RIGHT) / p->vfs_count;
	bool any = false;

	for (unsigned v = 0; v < p->vfs_count; v++) {
		double bound = 0;

		/* Rows of one number differ by what was measured of the link: the least holds. */
		for (size_t i = 0; i < p->report->row_count; i++) {
			const struct report_row *row = &p->report->rows[i];

			if (is_in(p, row) && row->vfs == p->vfs[v] && row->bound > 0 &&
				(bound <= 0 || row->bound < bound))
				bound = row->bound;
		}
		if (bound <= 0)
			continue;
		any = true;
		fprintf(p->out,
			"<g><title>lower bound, %u VFs: %.1f ms</title><line class=\"bound\" x1=\"%.2f\" "
			"x2=\"%.2f\" y1=\"%.2f\" y2=\"%.2f\"/></g>\n",
			p->vfs[v], bound, x_of(p, p->vfs[v]) - half, x_of(p, p->vfs[v]) + half,
			y_of(p, bound), y_of(p, bound));
	}
	return any;
}

static void draw_published(const struct plot *p, unsigned line)
{
	for (size_t s = 0; s < SWO_ARRAY_SIZE(published); s++) {
		for (unsigned i = 0; i < 3; i++)
			for (unsigned v = 0; v < p->vfs_count; v++)
				if (p->vfs[v] == published[s].vfs[i])
					fprintf(p->out,
						"<g><title>%s, %u VFs: %.0f ms</title><circle class=\"published\" "
						"cx=\"%.2f\" cy=\"%.2f\" r=\"%d\"/></g>\n",
						published[s].name, p->vfs[v], published[s].ms[i],
						x_of(p, p->vfs[v]), y_of(p, published[s].ms[i]),
						s ? 3 : 6);
		const double y = TOP + 10 + (line + (double)s) * 20, x = REPORT_WIDTH - RIGHT + 27;

		fprintf(p->out,
			"<circle class=\"published\" cx=\"%.1f\" cy=\"%.1f\" r=\"%d\"/><text x=\"%.1f\" "
			"y=\"%.1f\">%s</text>\n",
			x, y, s ? 3 : 6, x + 19, y + 4, published[s].name);
	}
}

unsigned report_plot(FILE *out, const struct report *report, const char *profile)
{
	struct plot p = {.out = out, .report = report, .profile = profile};
	char label[128];

	for (size_t i = 0; i < report->row_count; i++)
		if (is_in(&p, &report->rows[i]))
			note(&p, &report->rows[i]);
	if (!p.vfs_count)
		return 0;
	/* The original was measured on that hardware alone. */
	p.with_published = !strncmp(profile, "cx7", 3);
	for (size_t s = 0; s < SWO_ARRAY_SIZE(published) && p.with_published; s++)
		for (unsigned i = 0; i < 3; i++)
			p.most = published[s].ms[i] > p.most ? published[s].ms[i] : p.most;
	p.most *= 1.05;
	snprintf(label, sizeof(label), "time against the number of VFs, profile %.32s",
		*profile ? profile : "not named");
	report_svg_begin(out, REPORT_WIDTH, HEIGHT, label);
	draw_axes(&p);
	unsigned line = p.series_count;

	if (draw_bounds(&p))
		legend(&p, line++, "bound", "lower bound");
	for (unsigned i = 0; i < p.series_count; i++)
		draw_series(&p, i);
	if (p.with_published)
		draw_published(&p, line);
	report_svg_end(out);
	return HEIGHT;
}
