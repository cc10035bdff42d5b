/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_msix.c - MSI-X as a guest programs it, and the resulting calls of the accelerator.
 */
#include "rig.h"
#include "tests/support/cm.h"

#include "simvf/regs.h"

#include <stdint.h>
#include <unistd.h>

#define FLAGS_AT 0x42
#define ENABLE	 0x8000
#define MASKALL	 0x4000

static void set_entry(
	struct rig *rig, unsigned vector, uint64_t addr, uint32_t data, uint32_t control)
{
	uint64_t at = rig_bar(rig, 0, 4) + SIMVF_MSIX_TABLE + vector * 16;

	rig_mmio_write(rig, at, addr, 8);
	rig_mmio_write(rig, at + 8, data, 4);
	rig_mmio_write(rig, at + 12, control, 4);
}

static void up(struct rig *rig)
{
	rig_up(rig, 1, 0);
	rig_enable(rig, 0);
}

static void every_vector_has_an_eventfd_that_the_device_and_the_accelerator_share(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 2, 0);
	assert_int_equal(rig.msi_count, 2 * FAKE_VECTORS);
	for (unsigned v = 0; v < FAKE_VECTORS; v++) {
		assert_true(rig.msi[v].eventfd >= 0);
		assert_int_equal(rig.fake[0].irqs[v], rig.msi[v].eventfd);
		assert_int_equal(rig.fake[1].irqs[v], rig.msi[FAKE_VECTORS + v].eventfd);
	}
	rig_down(&rig);
}

static void a_vector_is_delivered_once_it_is_unmasked_and_msix_enabled(void **state)
{
	struct rig rig;

	(void)state;
	up(&rig);
	set_entry(&rig, 3, 0xfee01000, 0x41, 0);
	assert_int_equal(rig.msi[3].sets, 0);
	rig_config_write(&rig, 8, FLAGS_AT, ENABLE, 2);
	assert_false(rig.msi[3].masked);
	assert_int_equal(rig.msi[3].addr, 0xfee01000);
	assert_int_equal(rig.msi[3].data, 0x41);
	assert_true(rig.msi[2].masked);
	set_entry(&rig, 3, 0xfee02000, 0x42, 0);
	assert_int_equal(rig.msi[3].addr, 0xfee02000);
	assert_int_equal(rig.msi[3].data, 0x42);
	rig_down(&rig);
}

static void either_mask_detaches_a_vector(void **state)
{
	struct rig rig;

	(void)state;
	up(&rig);
	rig_config_write(&rig, 8, FLAGS_AT, ENABLE, 2);
	set_entry(&rig, 0, 0xfee00000, 1, 0);
	set_entry(&rig, 1, 0xfee00000, 2, 0);
	assert_false(rig.msi[0].masked);
	set_entry(&rig, 0, 0xfee00000, 1, 1);
	assert_true(rig.msi[0].masked);
	assert_false(rig.msi[1].masked);
	rig_config_write(&rig, 8, FLAGS_AT, ENABLE | MASKALL, 2);
	assert_true(rig.msi[1].masked);
	rig_config_write(&rig, 8, FLAGS_AT, ENABLE, 2);
	assert_false(rig.msi[1].masked);
	rig_config_write(&rig, 8, FLAGS_AT, 0, 2);
	assert_true(rig.msi[1].masked);
	rig_down(&rig);
}

static void an_unchanged_message_sets_no_route(void **state)
{
	struct rig rig;

	(void)state;
	up(&rig);
	rig_config_write(&rig, 8, FLAGS_AT, ENABLE, 2);
	set_entry(&rig, 0, 0xfee00000, 1, 0);
	unsigned before = rig.msi[0].sets;

	set_entry(&rig, 0, 0xfee00000, 1, 0);
	rig_config_write(&rig, 8, FLAGS_AT, ENABLE, 2);
	assert_int_equal(rig.msi[0].sets, before);
	rig_down(&rig);
}

static void the_table_reads_back_and_never_reaches_the_device(void **state)
{
	struct rig rig;

	(void)state;
	up(&rig);
	uint64_t at = rig_bar(&rig, 0, 4);

	assert_int_equal(rig_mmio_read(&rig, at + 12, 4), 1); /* masked at first */
	set_entry(&rig, 15, 0x1234567800ull, 0xabcd, 0xffffffff);
	assert_int_equal(rig_mmio_read(&rig, at + 15 * 16, 8), 0x1234567800ull);
	assert_int_equal(rig_mmio_read(&rig, at + 15 * 16 + 8, 8), 0x10000abcdull);
	assert_int_equal(fake_pci_writes(&rig.fake[0], 4, 15 * 16, NULL), 0);
	/* Unaligned accesses do nothing. */
	rig_mmio_write(&rig, at + 15 * 16, 0, 2);
	rig_mmio_write(&rig, at + 15 * 16 + 2, 0, 4);
	assert_int_equal(rig_mmio_read(&rig, at + 15 * 16, 4), 0x34567800);
	assert_int_equal(rig_mmio_read(&rig, at + 15 * 16 + 1, 2), 0xffff);
	/* Accesses beside the table go to the device. */
	rig_mmio_write(&rig, at + 0x400, 9, 4);
	assert_int_equal(fake_pci_writes(&rig.fake[0], 4, 0x400, NULL), 1);
	rig_down(&rig);
}

static void a_masked_interrupt_is_pending(void **state)
{
	const uint64_t one = 1;
	struct rig rig;

	(void)state;
	up(&rig);
	uint64_t at = rig_bar(&rig, 0, 4) + SIMVF_MSIX_PBA;

	rig_config_write(&rig, 8, FLAGS_AT, ENABLE, 2);
	assert_int_equal(rig_mmio_read(&rig, at, 8), 0);
	assert_int_equal(write(rig.msi[5].eventfd, &one, 8), 8);
	assert_int_equal(rig_mmio_read(&rig, at, 8), 1 << 5);
	rig_mmio_write(&rig, at, 0, 8); /* read-only */
	assert_int_equal(rig_mmio_read(&rig, at, 4), 1 << 5);
	/* Unmasked: the accelerator delivers it. */
	set_entry(&rig, 5, 0xfee00000, 5, 0);
	assert_int_equal(rig_mmio_read(&rig, at, 8), 0);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			every_vector_has_an_eventfd_that_the_device_and_the_accelerator_share),
		cmocka_unit_test(a_vector_is_delivered_once_it_is_unmasked_and_msix_enabled),
		cmocka_unit_test(either_mask_detaches_a_vector),
		cmocka_unit_test(an_unchanged_message_sets_no_route),
		cmocka_unit_test(the_table_reads_back_and_never_reaches_the_device),
		cmocka_unit_test(a_masked_interrupt_is_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
