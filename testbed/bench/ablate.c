/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ablate.c - `switchover-bench ablate`: compares the full pipeline with variants that each have one
 * part switched off, and prints the gain of each part.
 */
#include "testbed/bench/report.h"

#include <stdio.h>
#include <string.h>

static struct bench_variant *add(
	struct bench_variant *out, size_t *count, const struct bench_config *base, const char *name)
{
	struct bench_variant *v = &out[(*count)++];

	*v = (struct bench_variant){.config = *base, .transitions = "parallel"};
	snprintf(v->name, sizeof(v->name), "%s", name);
	/* The slow handler is a separate row: all other rows run without it. */
	v->config.pair.handler_cost_ms = 0;
	return v;
}

size_t bench_variants(const struct bench_config *base, struct bench_variant out[BENCH_VARIANTS_MAX])
{
	size_t count = 0;

	add(out, &count, base, BENCH_FULL);
	add(out, &count, base, "--stream late")->config.pair.stream = "late";
	add(out, &count, base, "--finalise ram")->config.pair.finalise = "ram";
	add(out, &count, base, "--finalise late")->config.pair.finalise = "late";
	add(out, &count, base, "--config late")->config.pair.config = "late";
	/* The VMM's default is pass. */
	if (base->pair.join && !strcmp(base->pair.join, "depth"))
		add(out, &count, base, "--join pass")->config.pair.join = "pass";
	else
		add(out, &count, base, "--join depth")->config.pair.join = "depth";
	add(out, &count, base, "serial")->transitions = "serial";
	if (base->pair.handler_cost_ms) {
		char name[BENCH_NAME_MAX];

		snprintf(name, sizeof(name), "--handler-cost %u", base->pair.handler_cost_ms);
		add(out, &count, base, name)->config.pair.handler_cost_ms =
			base->pair.handler_cost_ms;
		snprintf(name, sizeof(name), "the same, serial");
		struct bench_variant *v = add(out, &count, base, name);

		v->config.pair.handler_cost_ms = base->pair.handler_cost_ms;
		v->transitions = "serial";
	}
	return count;
}

/* As published: nothing of a device is sent, loaded or finalised before all have stopped. */
size_t bench_like(const struct bench_config *base, struct bench_variant out[BENCH_VARIANTS_MAX])
{
	size_t count = 0;

	for (unsigned i = 0; i < base->like_count; i++) {
		struct bench_variant *v = add(out, &count, base, base->like[i]);

		v->config.pair.join = "depth";
		v->config.pair.stream = v->config.pair.finalise = v->config.pair.config = "late";
		v->config.pair.handler_cost_ms = base->pair.handler_cost_ms;
		if (!strcmp(base->like[i], "qemu"))
			v->transitions = "serial";
	}
	return count;
}

static const struct bench_row *full_of(
	const struct bench_row *rows, size_t count, const struct bench_row *row)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].vfs == row->vfs && bench_row_is_full(&rows[i]))
			return rows[i].count ? &rows[i] : NULL;
	return NULL;
}

bool bench_worth(const struct bench_row *rows, size_t count, const struct bench_row *row,
	struct bench_worth *out)
{
	const struct bench_row *full = full_of(rows, count, row);

	/* Of ablate alone: a row of another design has no full pipeline beside it. */
	if (!row->variant || !row->count || !full || !full->variant)
		return false;
	double with = bench_blackout(full).median;

	out->ms = bench_blackout(row).median - with;
	out->percent = with > 0 ? 100 * out->ms / with : 0;
	return true;
}

void bench_print_ablation(FILE *out, const struct bench_row *rows, size_t count)
{
	struct bench_worth worth;

	fprintf(out, "%4s  %-18s  %9s  %21s\n", "VFs", "", "blackout", "longer than full");
	for (size_t i = 0; i < count; i++) {
		if (!bench_worth(rows, count, &rows[i], &worth))
			continue;
		fprintf(out, "%4u  %-18s  %9.1f", rows[i].vfs, rows[i].variant,
			bench_blackout(&rows[i]).median);
		if (bench_row_is_full(&rows[i]))
			putc('\n', out);
		else
			fprintf(out, "  %+8.1f ms  %+6.1f %%\n", worth.ms, worth.percent);
	}
}

int bench_worth_json(
	const struct bench_row *rows, size_t count, const struct bench_row *row, json_t *out)
{
	struct bench_worth worth;

	if (!row->variant)
		return 0;
	if (json_object_set_new(out, "variant", json_string(row->variant)))
		return -1;
	if (!bench_worth(rows, count, row, &worth))
		return 0;
	return json_object_set_new(out, "worth_ms", json_real(worth.ms)) ||
			       json_object_set_new(out, "worth_percent", json_real(worth.percent))
		       ? -1
		       : 0;
}
