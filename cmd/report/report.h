/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.h - the parts of `switchover report`: what was read, and its figures as SVG.
 */
#ifndef CMD_REPORT_REPORT_H
#define CMD_REPORT_REPORT_H

#include "switchover/plan.h"

#include <stdio.h>

/* One migration. */
struct report_run {
	const char *file;
	struct swo_span *spans;
	size_t count, dropped;
	bool switched; /* from_ns and to_ns are its switchover; else all of it */
	uint64_t from_ns, to_ns;
	struct swo_path path; /* count 0: there is none */
};

/* A number of VFs, measured. */
struct report_row {
	char series[128]; /* what the rows of one line have in common */
	char profile[32];
	unsigned vfs;
	double min, median, max; /* ms */
	double bound;		 /* ms; 0: unknown */
};

struct report {
	struct report_run *runs;
	struct report_row *rows;
	size_t run_count, row_count;
};

/* read.c: adds what is in the file, a timeline or rows of switchover-bench. */
int report_read(struct report *report, const char *path, struct swo_error *err);
void report_free(struct report *report);
/* Of its runs, in ns. */
uint64_t report_longest(const struct report *report);

/* svg.c */
/* With what XML takes as markup replaced, and what a terminal must not get. */
void report_text(FILE *out, const char *text);
/* Its beginning; `label` is read to those who do not see it. */
void report_svg_begin(FILE *out, unsigned width, unsigned height, const char *label);
void report_svg_end(FILE *out);
/* The colours of both figures, for a page or an SVG; light and dark. */
extern const char report_style[];
/* Steps of 1, 2 or 5 for about so many lines on an axis of this length. */
double report_step(double length, unsigned lines);

/* The figures return their height; all are REPORT_WIDTH wide. */
#define REPORT_WIDTH 1100
/* lanes.c: one migration, on an axis of `length_ns`, that of the longest, and a little more. */
unsigned report_lanes(FILE *out, const struct report_run *run, uint64_t length_ns);
/* plot.c: the rows of one profile. */
unsigned report_plot(FILE *out, const struct report *report, const char *profile);
/* page.c: all of it as one page of HTML; or its figures as one SVG. 0, or -1: no memory. */
int report_page(FILE *out, const struct report *report);
int report_svg(FILE *out, const struct report *report);

#endif
