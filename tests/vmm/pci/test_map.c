/* SPDX-License-Identifier: BSD-3-Clause */
/* BARs that a guest accesses without a trap: what is mapped, and the accelerator's mappings. */
#include "rig.h"
#include "tests/support/cm.h"

#include "simvf/regs.h"

#include <string.h>
#include <unistd.h>

#define INBOX 0x18 /* the BAR's register */

static uint64_t in_memory(struct fake_pci *fake, uint64_t at)
{
	uint64_t word = 0;

	assert_int_equal(pread(fake->inbox_fd, &word, sizeof(word), (off_t)at), sizeof(word));
	return word;
}

static void a_mapped_bar_is_reached_in_its_memory_not_through_the_backend(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 1, 0);
	rig_enable(&rig, 0);
	uint64_t inbox = rig_bar(&rig, 0, 2);
	unsigned reads = rig.fake[0].reads;

	rig_mmio_write(&rig, inbox + 64, UINT64_C(0x1122334455667788), 8);
	assert_true(in_memory(&rig.fake[0], 64) == UINT64_C(0x1122334455667788));
	rig_mmio_write(&rig, inbox + 64, 0xaabbccdd, 4);
	assert_true(rig_mmio_read(&rig, inbox + 64, 8) == UINT64_C(0x11223344aabbccdd));
	rig_mmio_write(&rig, inbox + 67, 0xee, 1);
	assert_int_equal(rig_mmio_read(&rig, inbox + 64, 4), 0xeebbccdd);
	assert_int_equal(rig_mmio_read(&rig, inbox + 66, 2), 0xeebb);
	/* The last bytes, and beyond the end. */
	assert_int_equal(rig_mmio_read(&rig, inbox + SIMVF_BAR_INBOX_SIZE - 8, 8), 0);
	assert_true(rig_mmio_read(&rig, inbox + SIMVF_BAR_INBOX_SIZE - 4, 8) == UINT64_MAX);
	assert_int_equal(fake_pci_writes(&rig.fake[0], 2, 64, NULL), 0);
	assert_int_equal(rig.fake[0].reads, reads);
	rig_down(&rig);
}

static void the_accelerator_has_it_where_it_answers_and_nowhere_else(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 2, 0);
	assert_int_equal(rig.map[0].size, 0); /* memory is off */
	rig_enable(&rig, 0);
	assert_true(rig.map[0].gpa == rig_bar(&rig, 0, 2));
	assert_int_equal(rig.map[0].size, SIMVF_BAR_INBOX_SIZE);
	assert_int_equal(rig.map[1].size, 0);
	rig_config_write(&rig, 1 << 3, INBOX, 0xf2000000, 4);
	assert_true(rig.map[0].gpa == 0xf2000000 && rig.map[0].size);
	/* Sized. */
	rig_config_write(&rig, 1 << 3, INBOX, 0xffffffff, 4);
	assert_int_equal(rig.map[0].size, 0);
	rig_config_write(&rig, 1 << 3, INBOX, 0xf3000000, 4);
	assert_true(rig.map[0].gpa == 0xf3000000 && rig.map[0].size);
	/* Off. */
	rig_config_write(&rig, 1 << 3, 4, 0, 2);
	assert_int_equal(rig.map[0].size, 0);
	rig_enable(&rig, 0);
	assert_true(rig.map[0].size != 0);
	assert_int_equal(rig.map_clashes, 0);
	rig_down(&rig);
}

static void a_bar_over_another_is_trapped(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 2, 0);
	rig_enable(&rig, 0);
	rig_enable(&rig, 1);
	rig_config_write(&rig, 1 << 3, 0x10, 0xf0000000, 4);
	rig_config_write(&rig, 2 << 3, INBOX, 0xf0008000, 4); /* in the first one's registers */
	assert_int_equal(rig.map[1].size, 0);
	rig_config_write(&rig, 2 << 3, INBOX, 0xf4000000, 4);
	assert_true(rig.map[1].gpa == 0xf4000000 && rig.map[1].size);
	/* One over the other: only one is mapped, and never both at once. */
	rig_config_write(&rig, 1 << 3, INBOX, 0xf4000000, 4);
	assert_true(!rig.map[0].size != !rig.map[1].size);
	rig_config_write(&rig, 2 << 3, INBOX, 0xf5000000, 4);
	assert_true(rig.map[0].size && rig.map[0].gpa == 0xf4000000);
	assert_true(rig.map[1].size && rig.map[1].gpa == 0xf5000000);
	assert_int_equal(rig.map_clashes, 0);
	rig_down(&rig);
}

static void a_bar_that_the_accelerator_refuses_is_trapped(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 1, 0);
	rig.map_refuses = true;
	rig_enable(&rig, 0);
	assert_int_equal(rig.map[0].size, 0);
	rig_mmio_write(&rig, rig_bar(&rig, 0, 2), 9, 8);
	assert_int_equal(in_memory(&rig.fake[0], 0), 9);
	rig.map_refuses = false;
	rig_config_write(&rig, 1 << 3, 4, 0, 2);
	rig_enable(&rig, 0);
	assert_true(rig.map[0].size != 0);
	rig_down(&rig);
}

/* One device whose MSI-X table and pending bits are at these offsets of its mappable BAR. */
static void with_msix_within(struct rig *rig, uint32_t table, uint32_t pba, uint64_t size)
{
	struct fake_pci *fake = &rig->fake[0];

	table |= SIMVF_BAR_INBOX;
	pba |= SIMVF_BAR_INBOX;
	rig_begin(rig);
	fake_pci_init(fake, "vf0");
	fake->inbox_size = size;
	assert_int_equal(ftruncate(fake->inbox_fd, (off_t)size), 0);
	memcpy(fake->config + 0x44, &table, sizeof(table));
	memcpy(fake->config + 0x48, &pba, sizeof(pba));
	rig_add(rig, "vf0", NULL);
	rig_end(rig);
	rig_enable(rig, 0);
}

static void the_pages_of_an_msix_table_stay_the_vmm_s(void **state)
{
	struct rig rig;

	(void)state;
	with_msix_within(&rig, 0x0, 0x800, 0x4000); /* first page: the rest is mapped */
	assert_true(rig.map[0].gpa == rig_bar(&rig, 0, 2) + 0x1000);
	assert_int_equal(rig.map[0].size, 0x3000);
	rig_mmio_write(&rig, rig_bar(&rig, 0, 2) + 8, 0x4242, 4); /* vector 0's data */
	assert_int_equal(rig_mmio_read(&rig, rig_bar(&rig, 0, 2) + 8, 4), 0x4242);
	assert_int_equal(in_memory(&rig.fake[0], 8), 0);
	rig_mmio_write(&rig, rig_bar(&rig, 0, 2) + 0x1008, 0x4343, 4);
	assert_int_equal(in_memory(&rig.fake[0], 0x1008), 0x4343);
	rig_down(&rig);

	with_msix_within(&rig, 0x3000, 0x3800, 0x4000); /* last page */
	assert_true(rig.map[0].gpa == rig_bar(&rig, 0, 2));
	assert_int_equal(rig.map[0].size, 0x3000);
	rig_down(&rig);

	with_msix_within(&rig, 0x1000, 0x3000, 0x4000); /* the table; then, of two pages, one */
	assert_int_equal(rig.map[0].size, 0x1000);
	rig_down(&rig);

	with_msix_within(&rig, 0x0, 0x800, 0x1000); /* all of it */
	assert_int_equal(rig.map[0].size, 0);
	rig_down(&rig);
}

static uint64_t wide_bar(struct rig *rig, unsigned bdf)
{
	return rig_config_read(rig, bdf, 0x18, 4) - 4ull +
	       ((uint64_t)rig_config_read(rig, bdf, 0x1c, 4) << 32);
}

/* Of 8 GiB each, one of them behind a port, beside 2 MiB of RAM above 4 GiB. */
static void large_64_bit_bars_are_above_ram(void **state)
{
	static const uint64_t size = UINT64_C(8) << 30, gib = UINT64_C(1) << 30;
	struct swo_error err;
	struct rig rig;

	(void)state;
	rig_begin(&rig);
	assert_int_equal(swo_ram_add(rig.ram, "high", 4 * gib, 2 << 20, -1, &err), 0);
	assert_int_equal(vmm_pci_add_root_port(rig.pci, "rp0", &err), 0);
	for (unsigned i = 0; i < 2; i++) {
		fake_pci_init(&rig.fake[i], i ? "vf1" : "vf0");
		rig.fake[i].inbox_size = size;
		rig.fake[i].config[0x18] = 4;
		assert_int_equal(ftruncate(rig.fake[i].inbox_fd, (off_t)size), 0);
		rig_add(&rig, i ? "vf1" : "vf0", i ? "rp0" : NULL);
	}
	rig_end(&rig);

	const unsigned bdf[] = {2 << 3, 1 << 8};

	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rig_bdf(&rig, i), bdf[i]);
		rig_enable(&rig, i);
		assert_int_equal(wide_bar(&rig, bdf[i]), 8 * gib + i * size);
		assert_int_equal(rig.map[i].gpa, 8 * gib + i * size);
		assert_int_equal(rig.map[i].size, size);
		rig_mmio_write(&rig, 16 * gib + i * size - 8, 0x99, 8);
		assert_int_equal(in_memory(&rig.fake[i], size - 8), 0x99);
	}
	/* Sized by a guest, as any other. */
	rig_config_write(&rig, bdf[0], 0x18, 0xffffffff, 4);
	rig_config_write(&rig, bdf[0], 0x1c, 0xffffffff, 4);
	assert_int_equal(wide_bar(&rig, bdf[0]), -size);
	/* The port's window is the BAR behind it. */
	assert_int_equal(rig_config_read(&rig, 1 << 3, 0x24, 4), 0xfff10001);
	assert_int_equal(rig_config_read(&rig, 1 << 3, 0x28, 4), 4);
	assert_int_equal(rig_config_read(&rig, 1 << 3, 0x2c, 4), 5);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mapped_bar_is_reached_in_its_memory_not_through_the_backend),
		cmocka_unit_test(the_accelerator_has_it_where_it_answers_and_nowhere_else),
		cmocka_unit_test(a_bar_over_another_is_trapped),
		cmocka_unit_test(a_bar_that_the_accelerator_refuses_is_trapped),
		cmocka_unit_test(the_pages_of_an_msix_table_stay_the_vmm_s),
		cmocka_unit_test(large_64_bit_bars_are_above_ram),
	};

	return cmocka_run_group_tests_name("vmm pci map", tests, NULL, NULL);
}
