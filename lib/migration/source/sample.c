/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sample.c - how long a pass of all RAM takes, by sending a part of it a second time: for the estimate
 * of a stop in which all RAM is sent.
 */
#include "migration/source/source.h"

/* Sent once more: one block in so many, but so much at least. */
#define SAMPLE_STEP_MAX 8
#define SAMPLE_MIN	(UINT64_C(64) << 20)

/* Blocks that are spread over all of it, each on all channels. Their share of it. */
static double mark_sample(struct swo_ram *ram, unsigned channels)
{
	const uint64_t block = (uint64_t)channels << WIRE_RAM_PIECE_SHIFT;
	uint64_t all = 0, marked = 0, n = 0;

	for (unsigned i = 0; i < swo_ram_count(ram); i++)
		all += swo_ram_region(ram, i)->size;
	uint64_t step = all / SAMPLE_MIN;

	step = step < 1 ? 1 : step < SAMPLE_STEP_MAX ? step : SAMPLE_STEP_MAX;
	for (unsigned i = 0; i < swo_ram_count(ram); i++) {
		const struct swo_ram_region *region = swo_ram_region(ram, i);

		for (uint64_t at = 0; at < region->size; at += block) {
			const uint64_t left = region->size - at, len = left < block ? left : block;

			if (n++ % step)
				continue;
			swo_ram_mark(ram, region->gpa + at, len);
			marked += len;
		}
	}
	return (double)marked / (double)all;
}

int source_ram_sample(struct source *s, struct swo_error *err)
{
	/* A pass that is held back for max-bandwidth shows nothing. */
	if (!s->ram || s->ram_pass_ns > 0 || !source_all_ram_due(s) ||
		migration_limits(&s->m).max_bandwidth)
		return 0;
	const double share = mark_sample(s->m.vm.ram, s->m.params.channels);
	const uint64_t start = swo_now_ns();

	if (ram_send_pass(s->ram, source_converge_tick, s, NULL, err))
		return -1;
	if (!s->converge.forced)
		s->ram_pass_ns = (double)(swo_now_ns() - start) / share;
	return 0;
}
