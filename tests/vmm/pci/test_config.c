/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_config.c - the bus as a guest sees it: the configuration mechanism, BARs and their
 * addresses, root ports.
 */
#include "rig.h"
#include "tests/support/cm.h"

#include "simvf/regs.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static void a_guest_finds_the_functions_and_all_ones_elsewhere(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 2, 0);
	assert_int_equal(rig_config_read(&rig, 0, 0, 4), 0x53421234);
	assert_int_equal(rig_config_read(&rig, 0, 0x0a, 2), 0x0600);
	assert_int_equal(rig_bdf(&rig, 0), 1 << 3);
	assert_int_equal(rig_config_read(&rig, 1 << 3, 0, 4), 0x53561234);
	assert_int_equal(rig_config_read(&rig, 2 << 3, 2, 2), 0x5356);
	assert_int_equal(rig_config_read(&rig, 2 << 3, 3, 1), 0x53);
	assert_int_equal(rig_config_read(&rig, 3 << 3, 0, 4), 0xffffffff);
	assert_int_equal(rig_config_read(&rig, 1 << 3 | 1, 0, 4), 0xffffffff);
	assert_int_equal(rig_config_read(&rig, 5 << 8, 0, 4), 0xffffffff);
	rig_down(&rig);
}

static void the_address_port_takes_double_words_and_the_data_port_any_size_if_enabled(void **state)
{
	uint32_t value = 0x80000000u | 1 << 11, got = 0;
	struct rig rig;

	(void)state;
	rig_up(&rig, 1, 0);
	vmm_pci_pio_write(rig.pci, 0xcf8, &value, 4);
	value = 0;
	vmm_pci_pio_write(rig.pci, 0xcf9, &value, 1); /* not the latch: it is a double word */
	vmm_pci_pio_read(rig.pci, 0xcf8, &got, 4);
	assert_int_equal(got, 0x80000000u | 1 << 11);
	vmm_pci_pio_read(rig.pci, 0xcfe, &got, 4); /* past the end of the data port */
	assert_int_equal(got, 0xffffffff);
	value = 1 << 11; /* not enabled */
	vmm_pci_pio_write(rig.pci, 0xcf8, &value, 4);
	vmm_pci_pio_read(rig.pci, 0xcfc, &got, 4);
	assert_int_equal(got, 0xffffffff);
	vmm_pci_pio_read(rig.pci, 0x60, &got, 1);
	assert_int_equal(got & 0xff, 0xff);
	rig_down(&rig);
}

static void a_bar_written_with_ones_reads_its_size(void **state)
{
	static const uint32_t sizes[6] = {
		SIMVF_BAR_REGS_SIZE, 0, SIMVF_BAR_INBOX_SIZE, 0, SIMVF_BAR_MSIX_SIZE, 0};
	struct rig rig;

	(void)state;
	rig_up(&rig, 1, 0);
	for (unsigned bar = 0; bar < 6; bar++) {
		uint32_t before = rig_bar(&rig, 0, bar), mask;

		rig_config_write(&rig, 8, 0x10 + 4 * bar, 0xffffffff, 4);
		mask = rig_config_read(&rig, 8, 0x10 + 4 * bar, 4) & ~0xfu;
		assert_int_equal(mask, sizes[bar] ? ~(sizes[bar] - 1) : 0);
		rig_config_write(&rig, 8, 0x10 + 4 * bar, before, 4);
		assert_int_equal(rig_bar(&rig, 0, bar), before);
	}
	rig_config_write(&rig, 8, 0x30, 0xffffffff, 4);
	assert_int_equal(rig_config_read(&rig, 8, 0x30, 4), 0); /* no ROM */
	rig_down(&rig);
}

static void bars_are_aligned_apart_and_in_their_bridge_s_window(void **state)
{
	uint64_t start[12], end[12];
	unsigned n = 0;
	struct rig rig;

	(void)state;
	rig_up(&rig, 4, 2);
	for (unsigned device = 0; device < 4; device++)
		for (unsigned bar = 0; bar < 6; bar += 2) {
			uint64_t size = bar ? 0x1000 : 0x10000;

			start[n] = rig_bar(&rig, device, bar);
			end[n] = start[n] + size;
			assert_true(start[n] >= VMM_MMIO_BASE && end[n] <= VMM_MMIO_END);
			assert_int_equal(start[n] % size, 0);
			for (unsigned i = 0; i < n; i++)
				assert_true(start[n] >= end[i] || start[i] >= end[n]);
			n++;
		}
	/* Behind the port: in its window. */
	uint32_t window = rig_config_read(&rig, 1 << 3, 0x20, 4);

	for (unsigned i = 6; i < 12; i++) {
		assert_true(start[i] >= (uint64_t)(window & 0xfff0) << 16);
		assert_true(end[i] - 1 <= ((uint64_t)(window >> 16 & 0xfff0) << 16 | 0xfffff));
	}
	/* The write reached the device, too. */
	assert_int_equal(fake_pci_writes(&rig.fake[0], 7, 0x10, &(uint64_t){0}), 1);
	rig_down(&rig);
}

static void mmio_reaches_the_bar_it_hits_while_memory_decoding_is_on(void **state)
{
	struct rig rig;
	uint64_t last;

	(void)state;
	rig_up(&rig, 2, 0);
	uint64_t bar = rig_bar(&rig, 1, 0);

	assert_int_equal(rig_mmio_read(&rig, bar + 8, 4), 0xffffffff); /* memory is off */
	rig_enable(&rig, 1);
	assert_int_equal(rig_mmio_read(&rig, bar + 8, 4), 8);
	assert_int_equal(rig_mmio_read(&rig, bar + SIMVF_BAR_REGS_SIZE - 4, 4), 0xfffc);
	rig_mmio_write(&rig, bar + 0x1000, 77, 8);
	assert_int_equal(fake_pci_writes(&rig.fake[1], 0, 0x1000, &last), 1);
	assert_int_equal(last, 77);
	assert_true(rig.fake[1].writes[rig.fake[1].write_count - 1].posted);
	assert_int_equal(fake_pci_writes(&rig.fake[0], 0, 0x1000, NULL), 0);
	assert_int_equal(rig_mmio_read(&rig, 0xd0000000, 8), UINT64_MAX);
	rig_mmio_write(&rig, 0xd0000000, 1, 4);
	rig_down(&rig);
}

static void a_moved_bar_is_decoded_at_its_new_address_only_never_over_ram(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 2, 0);
	rig_enable(&rig, 0);
	rig_enable(&rig, 1);
	uint64_t before = rig_bar(&rig, 0, 0);

	rig_config_write(&rig, 8, 0x10, 0xf0000000, 4);
	assert_int_equal(rig_mmio_read(&rig, 0xf0000010, 4), 0x10);
	assert_int_equal(rig_mmio_read(&rig, before + 0x10, 4), 0xffffffff);
	/* Byte by byte works too. */
	rig_config_write(&rig, 8, 0x13, 0xf1, 1);
	assert_int_equal(rig_mmio_read(&rig, 0xf1000010, 4), 0x10);
	/* A BAR over RAM or the interrupt controllers is not decoded. */
	rig_config_write(&rig, 8, 0x10, 0x10000, 4);
	assert_int_equal(rig_mmio_read(&rig, 0x10010, 4), 0xffffffff);
	rig_config_write(&rig, 8, 0x10, 0xfee00000, 4);
	assert_int_equal(rig_mmio_read(&rig, 0xfee00010, 4), 0xffffffff);
	rig_down(&rig);
}

static void of_overlapping_bars_the_lower_one_answers(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 2, 0);
	rig_enable(&rig, 0);
	rig_enable(&rig, 1);
	rig_config_write(&rig, 1 << 3, 0x10, 0xf0000000, 4);
	rig_config_write(&rig, 2 << 3, 0x18, 0xf0008000, 4); /* the inbox, in the middle of it */
	rig_mmio_write(&rig, 0xf0008000, 5, 4);
	assert_int_equal(fake_pci_writes(&rig.fake[0], 0, 0x8000, NULL), 1);
	assert_int_equal(fake_pci_writes(&rig.fake[1], 2, 0, NULL), 0);
	rig_down(&rig);
}

static void a_configuration_space_of_255_bytes_will_do(void **state)
{
	struct rig rig;

	(void)state;
	rig_begin(&rig);
	fake_pci_init(&rig.fake[0], "vf0");
	rig.fake[0].config_size = 255;
	rig.fake[0].config[0xfe] = 0x77;
	rig.fake[0].config[0xff] = 0x88; /* is not there */
	rig_add(&rig, "vf0", NULL);
	rig_end(&rig);

	unsigned reads = rig.fake[0].reads, writes = rig.fake[0].write_count;

	assert_int_equal(rig_config_read(&rig, 8, 0xfc, 4), 0x00770000);
	rig_config_write(&rig, 8, 0xfc, 0, 4);
	assert_int_equal(rig_config_read(&rig, 8, 0xfc, 4), 0x00770000);
	assert_int_equal(rig.fake[0].reads, reads);
	assert_int_equal(rig.fake[0].write_count, writes);
	assert_int_equal(rig_config_read(&rig, 8, 0x64, 4), 0xdeadbeef);
	rig_down(&rig);
}

static void fields_that_are_not_emulated_are_read_from_the_device(void **state)
{
	struct rig rig;
	uint64_t last;

	(void)state;
	rig_up(&rig, 1, 0);
	/* The list of capabilities continues without MSI. */
	assert_int_equal(rig_config_read(&rig, 8, 0x34, 1), 0x40);
	assert_int_equal(rig_config_read(&rig, 8, 0x40, 2), 0x6011);
	assert_int_equal(rig_config_read(&rig, 8, 0x60, 2), 0x0009);
	/* The bytes of a capability come from the device. */
	assert_int_equal(rig_config_read(&rig, 8, 0x64, 4), 0xdeadbeef);
	rig_config_write(&rig, 8, 0x64, 0x12345678, 4);
	assert_int_equal(fake_pci_writes(&rig.fake[0], 7, 0x64, &last), 1);
	assert_int_equal(last, 0x12345678);
	assert_int_equal(rig_config_read(&rig, 8, 0x64, 4), 0x12345678);
	/* Status comes from the device, command from the shadow. */
	rig_config_write(&rig, 8, 4, 0xffff, 2);
	assert_int_equal(rig_config_read(&rig, 8, 4, 4), 0x00100547);
	assert_int_equal(rig_config_read(&rig, 8, 0x3d, 1), 0); /* no pin */
	/* Read-only fields keep their values. */
	unsigned before = rig.fake[0].write_count;

	rig_config_write(&rig, 8, 0, 0, 4);
	assert_int_equal(rig_config_read(&rig, 8, 0, 4), 0x53561234);
	assert_int_equal(rig.fake[0].write_count, before);
	rig_down(&rig);
}

static void devices_behind_a_root_port_answer_on_its_secondary_bus(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 3, 2);
	assert_int_equal(rig_config_read(&rig, 1 << 3, 0x0a, 2), 0x0604);
	assert_int_equal(rig_config_read(&rig, 1 << 3, 0x0e, 1), 1);
	assert_int_equal(rig_config_read(&rig, 1 << 3, 0x18, 4), 0x00010100);
	assert_int_equal(rig_bdf(&rig, 0), 2 << 3);
	assert_int_equal(rig_bdf(&rig, 1), 1 << 8);
	assert_int_equal(rig_bdf(&rig, 2), 1 << 8 | 1 << 3);
	assert_int_equal(vmm_pci_depth(rig.fn[0]), 1);
	assert_int_equal(vmm_pci_depth(rig.fn[1]), 2);
	assert_int_equal(rig_config_read(&rig, 1 << 8, 0, 4), 0x53561234);
	/* After renumbering, the guest finds the devices on the new bus. */
	rig_config_write(&rig, 1 << 3, 0x19, 0x0707, 2);
	assert_int_equal(rig_config_read(&rig, 1 << 8, 0, 4), 0xffffffff);
	assert_int_equal(rig_config_read(&rig, 7 << 8 | 1 << 3, 0, 4), 0x53561234);
	rig_down(&rig);
}

static void devices_fill_slots_then_functions_a_clash_is_refused_by_name(void **state)
{
	struct fake_pci fake[40];
	struct vmm_pci_function *fn;
	struct vmm_pci *pci;
	struct vmm_msi_ops msi = {0};
	struct swo_ram *ram = swo_ram_new();
	struct swo_error err;
	char id[16], address[8];

	(void)state;
	assert_int_equal(vmm_pci_create(ram, &msi, &(struct vmm_map_ops){0}, &pci, &err), 0);
	for (unsigned i = 0; i < 40; i++) {
		struct vmm_pci_device_desc desc = {
			.id = id, .ops = fake_pci_ops(), .self = &fake[i], .slot = -1};

		snprintf(id, sizeof(id), "d%u", i);
		fake_pci_init(&fake[i], "fake");
		assert_int_equal(vmm_pci_add_device(pci, &desc, &fn, &err), 0);
		vmm_pci_address(fn, address);
		if (i == 30)
			assert_string_equal(address, "00:1f.0");
		if (i == 31)
			assert_string_equal(address, "00:01.1");
	}

	struct vmm_pci_device_desc again = {
		.id = "d0", .ops = fake_pci_ops(), .self = &fake[0], .slot = -1};
	struct vmm_pci_device_desc taken = {
		.id = "x", .ops = fake_pci_ops(), .self = &fake[0], .slot = 1};
	struct vmm_pci_device_desc bus = {
		.id = "y", .ops = fake_pci_ops(), .self = &fake[0], .bus = "rp9"};

	assert_int_equal(vmm_pci_add_device(pci, &again, &fn, &err), -1);
	assert_non_null(strstr(err.text, "'d0'"));
	assert_int_equal(vmm_pci_add_device(pci, &taken, &fn, &err), -1);
	assert_non_null(strstr(err.text, "used by 'd0'"));
	assert_int_equal(vmm_pci_add_device(pci, &bus, &fn, &err), -1);
	assert_non_null(strstr(err.text, "'rp9'"));
	vmm_pci_free(pci);
	for (unsigned i = 0; i < 40; i++)
		fake_pci_fini(&fake[i]);
	swo_ram_free(ram);
}

static void every_device_can_reach_ram_and_its_siblings_mappable_bars(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 3, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rig.fake[i].device.map_count, 3); /* RAM and two siblings */
		assert_true(fake_has_map(
			&rig.fake[i].device, 0, 1 << 20, swo_ram_region(rig.ram, 0)->fd));
		for (unsigned j = 0; j < 3; j++)
			assert_int_equal(fake_has_map(&rig.fake[i].device, rig_bar(&rig, j, 2),
						 0x1000, rig.fake[j].inbox_fd),
				i != j);
	}
	rig_down(&rig);
}

static void dma_maps_follow_a_bar_that_moves_and_only_then(void **state)
{
	struct rig rig;

	(void)state;
	rig_up(&rig, 3, 0);
	uint32_t old = rig_bar(&rig, 0, 2), other = rig_bar(&rig, 1, 2);

	/* Sizing with memory off, then the same address: nothing is remapped. */
	rig_config_write(&rig, 8, 0x18, 0xffffffff, 4);
	rig_config_write(&rig, 8, 0x18, old, 4);
	rig_enable(&rig, 0);
	rig_config_write(&rig, 8, 0x18, 0xffffffff, 4);
	rig_config_write(&rig, 8, 0x18, old, 4);
	assert_int_equal(rig.fake[1].device.unmap_calls, 0);
	assert_int_equal(rig.fake[1].device.map_calls, 3);
	/* A move is followed, by the siblings only. */
	rig_config_write(&rig, 8, 0x18, 0xf2000000, 4);
	assert_true(fake_has_map(&rig.fake[1].device, 0xf2000000, 0x1000, rig.fake[0].inbox_fd));
	assert_false(fake_has_map(&rig.fake[1].device, old, 0x1000, rig.fake[0].inbox_fd));
	assert_true(fake_has_map(&rig.fake[2].device, 0xf2000000, 0x1000, rig.fake[0].inbox_fd));
	assert_int_equal(rig.fake[0].device.unmap_calls, 0);
	/* Onto a disabled sibling: its map is removed. */
	rig_config_write(&rig, 8, 0x18, other, 4);
	assert_true(fake_has_map(&rig.fake[2].device, other, 0x1000, rig.fake[0].inbox_fd));
	assert_int_equal(rig.fake[2].device.map_count, 2);
	rig_down(&rig);
}

struct ringer {
	struct rig *rig;
	atomic_bool quit;
	uint64_t rung;
};

static void *ring(void *opaque)
{
	struct ringer *ringer = opaque;

	while (!atomic_load(&ringer->quit)) {
		/* vf1 stays; vf0 is at either address, or briefly at none. */
		rig_mmio_write(ringer->rig, 0xf8000000 + 0x1000, 1, 8);
		rig_mmio_write(ringer->rig, 0xf9000000 + 0x1000, 1, 8);
		rig_mmio_write(ringer->rig, 0xfa000000 + 0x1000, 1, 8);
		ringer->rung++;
	}
	return NULL;
}

static void while_a_bar_moves_its_neighbours_lose_no_write(void **state)
{
	struct ringer ringer[2];
	pthread_t thread[2];
	struct swo_error err;
	struct rig rig;

	(void)state;
	rig_up(&rig, 2, 0);
	rig_enable(&rig, 0);
	rig_enable(&rig, 1);
	rig_config_write(&rig, 2 << 3, 0x10, 0xf9000000, 4);
	for (unsigned i = 0; i < 2; i++) {
		ringer[i].rig = &rig;
		ringer[i].rung = 0;
		atomic_init(&ringer[i].quit, false);
		assert_int_equal(swo_thread_start(&thread[i], "ring", ring, &ringer[i], &err), 0);
	}
	for (unsigned i = 0; i < 500; i++)
		rig_config_write(&rig, 1 << 3, 0x10, i % 2 ? 0xf8000000 : 0xfa000000, 4);
	for (unsigned i = 0; i < 2; i++) {
		atomic_store(&ringer[i].quit, true);
		pthread_join(thread[i], NULL);
	}
	assert_int_equal(fake_pci_doorbells(&rig.fake[1]), ringer[0].rung + ringer[1].rung);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_finds_the_functions_and_all_ones_elsewhere),
		cmocka_unit_test(
			the_address_port_takes_double_words_and_the_data_port_any_size_if_enabled),
		cmocka_unit_test(a_bar_written_with_ones_reads_its_size),
		cmocka_unit_test(bars_are_aligned_apart_and_in_their_bridge_s_window),
		cmocka_unit_test(mmio_reaches_the_bar_it_hits_while_memory_decoding_is_on),
		cmocka_unit_test(a_moved_bar_is_decoded_at_its_new_address_only_never_over_ram),
		cmocka_unit_test(of_overlapping_bars_the_lower_one_answers),
		cmocka_unit_test(a_configuration_space_of_255_bytes_will_do),
		cmocka_unit_test(fields_that_are_not_emulated_are_read_from_the_device),
		cmocka_unit_test(devices_behind_a_root_port_answer_on_its_secondary_bus),
		cmocka_unit_test(devices_fill_slots_then_functions_a_clash_is_refused_by_name),
		cmocka_unit_test(every_device_can_reach_ram_and_its_siblings_mappable_bars),
		cmocka_unit_test(dma_maps_follow_a_bar_that_moves_and_only_then),
		cmocka_unit_test(while_a_bar_moves_its_neighbours_lose_no_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
