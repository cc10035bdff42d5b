/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sparse RAM stays sparse on both sides: what was never touched is neither read at the source nor
 * written at the target, whose memory is nevertheless the source's afterwards.
 */
#include "outcome.h"
#include "tests/support/allocated.h"

#include <stdio.h>
#include <string.h>

#define HIGH	    (UINT64_C(1) << 32)
#define HIGH_PAGES  (UINT64_C(16) << 10) /* 64 MiB */
#define PAGE(n)	    ((uint64_t)(n) << SWO_PAGE_SHIFT)
#define IN_THE_STOP 9999

struct pair {
	struct fake_vm source, target;
};

static struct swo_ram_region *high(struct fake_vm *vm)
{
	return swo_ram_region(vm->vm.ram, 1);
}

static uint64_t high_pages(struct fake_vm *vm)
{
	return allocated_bytes(high(vm)->fd) >> SWO_PAGE_SHIFT;
}

static void write_pages(struct fake_vm *vm, const uint64_t *pages, size_t count, uint8_t value)
{
	for (size_t i = 0; i < count; i++)
		memset(high(vm)->host + PAGE(pages[i]), value, SWO_PAGE_SIZE);
}

/* Besides the region that the "vCPU" writes all over, another one. */
static void open_pair(struct pair *pair)
{
	fake_vm_open(&pair->source, 1, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&pair->target, 1, false, 1000, SWO_TRANSITIONS_PARALLEL);
	pair->target.vm.autostart = false;
	assert_int_equal(
		swo_ram_add(pair->source.vm.ram, "high", HIGH, PAGE(HIGH_PAGES), -1, NULL), 0);
	assert_int_equal(
		swo_ram_add(pair->target.vm.ram, "high", HIGH, PAGE(HIGH_PAGES), -1, NULL), 0);
}

static void close_pair(struct pair *pair)
{
	fake_vm_close(&pair->source);
	fake_vm_close(&pair->target);
}

static void migrate(struct pair *pair, unsigned channels, enum swo_handover handover)
{
	struct swo_migration_params params = fake_params();

	params.channels = channels;
	params.handover = handover;
	fake_migrate(&pair->source, &pair->target, &params);
	expect_arrived(&pair->source, &pair->target, false);
}

static void sparse_ram_is_copied_and_stays_sparse(void **state)
{
	(void)state;
	/* A zero page that is allocated, first and last pages, and some with the others' neighbours. */
	static const uint64_t data[] = {0, 1, 63, 4096, 4097, 9000, HIGH_PAGES - 1},
			      zero[] = {5000};

	for (unsigned channels = 1; channels <= 4; channels += 3) {
		static struct pair pair;

		open_pair(&pair);
		write_pages(&pair.source, data, SWO_ARRAY_SIZE(data), 0x5a);
		write_pages(&pair.source, zero, 1, 0);
		const uint64_t touched = high_pages(&pair.source);

		migrate(&pair, channels, SWO_HANDOVER_COPY);
		assert_int_equal(touched, SWO_ARRAY_SIZE(data) + 1);
		assert_int_equal(high_pages(&pair.source), touched);
		assert_int_equal(high_pages(&pair.target), SWO_ARRAY_SIZE(data));
		assert_int_equal(
			swo_ram_hash(pair.source.vm.ram), swo_ram_hash(pair.target.vm.ram));
		close_pair(&pair);
	}
}

static void what_a_target_had_where_the_source_has_nothing_is_gone(void **state)
{
	(void)state;
	static const uint64_t data[] = {7, 8}, old[] = {0, 8, 3000, HIGH_PAGES - 1};
	static struct pair pair;

	open_pair(&pair);
	write_pages(&pair.source, data, SWO_ARRAY_SIZE(data), 0x5a);
	write_pages(&pair.target, old, SWO_ARRAY_SIZE(old), 0xff);
	migrate(&pair, 2, SWO_HANDOVER_COPY);
	assert_int_equal(high_pages(&pair.source), SWO_ARRAY_SIZE(data));
	assert_int_equal(high_pages(&pair.target), 5);
	assert_int_equal(swo_ram_hash(pair.source.vm.ram), swo_ram_hash(pair.target.vm.ram));
	close_pair(&pair);
}

/* The first write to pages that were sent as holes, reported as a device's DMA would be. */
static void write_holes(struct fake_device *d, enum swo_device_state to)
{
	struct fake_vm *vm = d->opaque;
	const uint64_t pages[] = {IN_THE_STOP, HIGH_PAGES / 2};

	if (to != SWO_DEVICE_STOP_COPY || d->state == to)
		return;
	write_pages(vm, pages, 2, 0x77);
	for (size_t i = 0; i < 2; i++)
		swo_ram_mark(vm->vm.ram, HIGH + PAGE(pages[i]), 1);
}

static void a_hole_that_is_written_on_the_way_arrives(void **state)
{
	(void)state;
	static struct pair pair;

	open_pair(&pair);
	pair.source.devices[0].inside_arc = write_holes;
	migrate(&pair, 2, SWO_HANDOVER_COPY);
	assert_int_equal(high(&pair.source)->host[PAGE(IN_THE_STOP)], 0x77);
	assert_int_equal(high(&pair.target)->host[PAGE(IN_THE_STOP)], 0x77);
	assert_int_equal(high_pages(&pair.target), 2);
	assert_int_equal(swo_ram_hash(pair.source.vm.ram), swo_ram_hash(pair.target.vm.ram));
	close_pair(&pair);
}

static void ram_that_is_handed_over_stays_sparse(void **state)
{
	(void)state;
	static const uint64_t data[] = {7, 8, 12345};
	static struct pair pair;

	open_pair(&pair);
	write_pages(&pair.source, data, SWO_ARRAY_SIZE(data), 0x5a);
	migrate(&pair, 1, SWO_HANDOVER_FD);
	assert_int_equal(high_pages(&pair.target), SWO_ARRAY_SIZE(data));
	assert_int_equal(high(&pair.target)->host[PAGE(12345)], 0x5a);
	close_pair(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sparse_ram_is_copied_and_stays_sparse),
		cmocka_unit_test(what_a_target_had_where_the_source_has_nothing_is_gone),
		cmocka_unit_test(a_hole_that_is_written_on_the_way_arrives),
		cmocka_unit_test(ram_that_is_handed_over_stays_sparse),
	};

	if (!allocates_single_pages()) {
		printf("1..0 # SKIP memfds have huge pages here\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
