/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stop_writes.c - a run-state handler that writes to RAM while the VM is stopped, as a VMM's disk
 * or network does when it drains. It marks no page. When the VM runs again, here or elsewhere, the
 * handler checks that RAM has what was written.
 */
#include "internal.h"

static uint64_t word_of(uint64_t generation, uint64_t page, uint64_t word)
{
	return (generation << 40 ^ page << 16 ^ word) * UINT64_C(0x9e3779b97f4a7c15);
}

/* NULL: not in RAM, whose layout comes with a migration. */
static uint64_t *page_at(struct vmm_machine *m, uint64_t page)
{
	uint64_t gpa, pages;

	if (vmm_accel_spare_ram(m->accel, &gpa, &pages, NULL) || page >= pages)
		return NULL;
	return swo_ram_host(m->ram, gpa + page * SWO_PAGE_SIZE, SWO_PAGE_SIZE);
}

static bool page_holds(const uint64_t *words, uint64_t generation, uint64_t page)
{
	for (uint64_t i = 0; words && i < SWO_PAGE_SIZE / 8; i++)
		if (words[i] != word_of(generation, page, i))
			return false;
	return words;
}

static int write_or_check(
	void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	struct vmm_machine *m = opaque;
	struct machine_stop_writes *w = &m->stop_writes;

	(void)state;
	if (running) {
		for (uint64_t page = 0; page < w->pages; page++)
			w->lost += !page_holds(page_at(m, page), w->generation, page);
		return 0;
	}
	w->generation++;
	w->pages = m->config.stop_writes;
	for (uint64_t page = 0; page < w->pages; page++) {
		uint64_t *words = page_at(m, page);

		if (!words)
			return swo_error_set(err, SWO_E_STATE, 0,
				"stop-writes: the guest leaves fewer than %llu pages",
				(unsigned long long)w->pages);
		for (uint64_t i = 0; i < SWO_PAGE_SIZE / 8; i++)
			words[i] = word_of(w->generation, page, i);
	}
	return 0;
}

int machine_stop_writes_add(struct vmm_machine *m, struct swo_error *err)
{
	/* The last handler of a stop, and the first of a start. */
	const struct swo_handler_desc desc = {.size = sizeof(struct swo_handler_desc),
		.name = "writes to RAM in the stop",
		.rank = SWO_RANK_MIN,
		.change = write_or_check,
		.opaque = m};
	struct swo_handler *handler;

	return m->config.stop_writes ? swo_runstate_add(m->runstate, &desc, &handler, err) : 0;
}

int machine_stop_writes_fit(struct vmm_machine *m, struct swo_error *err)
{
	uint64_t gpa, pages;

	if (!m->config.stop_writes)
		return 0;
	if (vmm_accel_spare_ram(m->accel, &gpa, &pages, err))
		return -1;
	if (m->config.stop_writes <= pages)
		return 0;
	return swo_error_set(err, SWO_E_INVALID, 0,
		"stop-writes: %u pages, but the guest leaves only %llu: give it more RAM",
		m->config.stop_writes, (unsigned long long)pages);
}
