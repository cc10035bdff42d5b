/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * svg.c - text and frame of an SVG, and the colours. They are those of Okabe and Ito, which people
 * who do not see all colours can distinguish.
 */
#include "cmd/report/report.h"

#include <math.h>

void report_text(FILE *out, const char *text)
{
	char clean[1024];

	swo_escape(text, clean, sizeof(clean));
	for (const char *c = clean; *c; c++)
		switch (*c) {
		case '&':
			fputs("&amp;", out);
			break;
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			putc(*c, out);
		}
}

const char report_style[] =
	":root{--ink:#1b1b1b;--faint:#6b6b6b;--grid:#d9d9d9;--back:#ffffff;--band:#f4f4f4;"
	"--quiesce:#56b4e9;--stop:#0072b2;--data:#e69f00;--finalise:#009e73;--start:#cc79a7;"
	"--run:#d55e00;--ram:#999999;--work:#f0e442;--path:#1b1b1b}"
	"@media (prefers-color-scheme:dark){:root{--ink:#ececec;--faint:#a8a8a8;--grid:#3d3d3d;"
	"--back:#161616;--band:#202020;--path:#ffffff}}"
	"@media print{:root{--ink:#000;--faint:#444;--grid:#ccc;--back:#fff;--band:#f4f4f4;"
	"--path:#000}}"
	"svg{font:12px system-ui,sans-serif;fill:var(--ink)}"
	"svg .back{fill:var(--back)}svg .band{fill:var(--band)}"
	"svg .faint{fill:var(--faint)}svg .head{font-weight:600}"
	"svg line,svg polyline{stroke:var(--ink);fill:none}"
	"svg .grid{stroke:var(--grid)}svg .mark{stroke:var(--faint);stroke-dasharray:3 3}"
	"svg .barrier{stroke:var(--faint);stroke-width:2}"
	"svg .path{stroke:var(--path);stroke-width:3}svg .hop{stroke:var(--path)}"
	"svg .gap{stroke:var(--path);stroke-width:3;stroke-dasharray:2 3}"
	"svg .quiesce{fill:var(--quiesce)}svg .stop{fill:var(--stop)}svg .data{fill:var(--data)}"
	"svg .finalise{fill:var(--finalise)}svg .start{fill:var(--start)}svg .run{fill:var(--run)}"
	"svg .ram{fill:var(--ram)}svg .work{fill:var(--work)}"
	"svg .wait{fill:none;stroke:var(--faint);stroke-dasharray:1 2}"
	"svg .pass{fill:none;stroke:var(--faint)}svg .other{fill:var(--faint)}"
	"svg .failed{stroke:#d00;stroke-width:2}"
	"svg .on{fill:#000}svg .on-dark{fill:#fff}"
	"svg .s0{stroke:var(--stop)}svg .s1{stroke:var(--run)}svg .s2{stroke:var(--finalise)}"
	"svg .s3{stroke:var(--start)}svg .s4{stroke:var(--data)}svg .s5{stroke:var(--quiesce)}"
	"svg .bound{stroke:var(--faint);stroke-width:2;stroke-dasharray:6 3}"
	"svg .published{stroke:var(--faint)}svg circle{fill:var(--back);stroke-width:2}"
	"svg .series{stroke-width:2}";

void report_svg_begin(FILE *out, unsigned width, unsigned height, const char *label)
{
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" width=\"%u\" "
		"height=\"%u\" role=\"img\" aria-label=\"",
		width, height, width, height);
	report_text(out, label);
	fprintf(out, "\"><rect class=\"back\" width=\"%u\" height=\"%u\"/>\n", width, height);
}

void report_svg_end(FILE *out)
{
	fputs("</svg>\n", out);
}

double report_step(double length, unsigned lines)
{
	const double raw = length > 0 ? length / lines : 1;
	const double ten = pow(10, floor(log10(raw)));
	const double part = raw / ten;

	return ten * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}
