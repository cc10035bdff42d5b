/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * formats.c - what a probe found, for test runners: TAP 13, and JUnit's XML.
 */
#include "cmd/probe/probe.h"

#include <string.h>

static bool is_bad(const struct swo_probe_result *r, bool risks_ok)
{
	return r->verdict == SWO_VERDICT_FAIL || (r->verdict == SWO_VERDICT_RISK && !risks_ok);
}

/* TAP */

/* One line, without what TAP takes for a directive. */
static void write_plain(FILE *to, const char *text)
{
	for (; *text; text++)
		fputc(*text == '#' || *text == '\n' ? ' ' : *text, to);
}

static void write_quoted(FILE *to, const char *key, const char *text)
{
	fprintf(to, "  %s: \"", key);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', to);
		fputc(*text == '\n' ? ' ' : *text, to);
	}
	fputs("\"\n", to);
}

void probe_write_tap(FILE *to, const struct swo_probe_report *report, bool risks_ok)
{
	unsigned all = 0, number = 0;

	for (unsigned i = 0; i < report->device_count; i++)
		all += report->devices[i].result_count;
	fprintf(to, "TAP version 13\n1..%u\n", all);
	for (unsigned i = 0; i < report->device_count; i++)
		for (unsigned k = 0; k < report->devices[i].result_count; k++) {
			const struct swo_probe_result *r = &report->devices[i].results[k];
			bool skipped = r->verdict == SWO_VERDICT_SKIP;

			fprintf(to, "%s %u - %s ", is_bad(r, risks_ok) ? "not ok" : "ok", ++number,
				report->devices[i].name);
			write_plain(to, r->name);
			if (skipped)
				fputs(" # SKIP ", to);
			if (skipped)
				write_plain(to, r->text);
			fputc('\n', to);
			if (r->verdict < SWO_VERDICT_RISK)
				continue;
			fputs("  ---\n", to);
			write_quoted(to, "severity", swo_verdict_name(r->verdict));
			write_quoted(to, "message", r->text);
			write_quoted(to, "rule", swo_probe_rule(r->name));
			fputs("  ...\n", to);
		}
	if (report->interrupted)
		fputs("Bail out! interrupted\n", to);
}

/* JUnit */

static void write_xml(FILE *to, const char *text)
{
	static const char special[] = "&<>\"'";
	static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};

	for (; *text; text++) {
		const char *at = strchr(special, *text);

		if (at)
			fputs(entities[at - special], to);
		else
			fputc((unsigned char)*text < 0x20 ? ' ' : *text, to);
	}
}

static void write_case(
	FILE *to, const char *device, const struct swo_probe_result *r, bool risks_ok)
{
	fputs("    <testcase classname=\"", to);
	write_xml(to, device);
	fputs("\" name=\"", to);
	write_xml(to, r->name);
	if (r->verdict == SWO_VERDICT_PASS) {
		fputs("\"/>\n", to);
		return;
	}
	const char *element = r->verdict == SWO_VERDICT_SKIP ? "skipped"
			      : is_bad(r, risks_ok)	     ? "failure"
							     : "system-out";

	fprintf(to, "\">\n      <%s", element);
	if (is_bad(r, risks_ok))
		fprintf(to, " type=\"%s\"", swo_verdict_name(r->verdict));
	if (strcmp(element, "system-out") != 0) {
		fputs(" message=\"", to);
		write_xml(to, r->text);
		fputc('"', to);
	}
	fputc('>', to);
	if (r->verdict == SWO_VERDICT_RISK && risks_ok)
		write_xml(to, r->text);
	else if (is_bad(r, risks_ok))
		write_xml(to, swo_probe_rule(r->name));
	fprintf(to, "</%s>\n    </testcase>\n", element);
}

void probe_write_junit(FILE *to, const struct swo_probe_report *report, bool risks_ok)
{
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", to);
	for (unsigned i = 0; i < report->device_count; i++) {
		const struct swo_probe_device *d = &report->devices[i];
		unsigned failed = 0, skipped = 0;

		for (unsigned k = 0; k < d->result_count; k++) {
			failed += is_bad(&d->results[k], risks_ok);
			skipped += d->results[k].verdict == SWO_VERDICT_SKIP;
		}
		fputs("  <testsuite name=\"", to);
		write_xml(to, d->name);
		fprintf(to, "\" tests=\"%u\" failures=\"%u\" skipped=\"%u\">\n", d->result_count,
			failed, skipped);
		for (unsigned k = 0; k < d->result_count; k++)
			write_case(to, d->name, &d->results[k], risks_ok);
		fputs("  </testsuite>\n", to);
	}
	fputs("</testsuites>\n", to);
}
