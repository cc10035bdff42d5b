/* SPDX-License-Identifier: BSD-3-Clause */
/* The model as its guest, its siblings and its VMM see it: doorbells, DMA, P2P, config space. */
#include "rig.h"

static struct rig *fresh(void)
{
	struct svf_profile profile = rig_profile(64 * 4096, 50);

	return rig_new(&profile, 7, 42);
}

static void registers_name_the_device_and_refuse_what_is_outside(void **state)
{
	(void)state;
	struct rig *rig = fresh();
	uint64_t word = 0, done;

	assert_int_equal(rig_get(rig, SIMVF_REG_ID, 4), SIMVF_ID);
	assert_int_equal(rig_get(rig, SIMVF_REG_VERSION, 4), 1);
	assert_int_equal(rig_get(rig, SIMVF_REG_ID + 1, 2), SIMVF_ID >> 8 & 0xffff);
	assert_int_equal(
		svf_region_read(&rig->dev, 0, SIMVF_BAR_REGS_SIZE - 4, &word, 8), -SVF_EINVAL);
	assert_int_equal(svf_region_read(&rig->dev, 0, UINT64_MAX, &word, 8), -SVF_EINVAL);
	assert_int_equal(svf_region_read(&rig->dev, 1, 0, &word, 4), -SVF_EINVAL);
	assert_int_equal(
		svf_region_write(&rig->dev, 7, 253, &word, 4, rig->now, &done), -SVF_EINVAL);
	rig_set(rig, SIMVF_REG_DMA_ADDR, 0x55667788, 4);
	assert_int_equal(rig_get(rig, SIMVF_REG_DMA_ADDR, 8), 0);
	rig_set(rig, SIMVF_REG_DMA_ADDR + 4, 0x11223344, 4);
	assert_true(rig_get(rig, SIMVF_REG_DMA_ADDR, 8) == UINT64_C(0x1122334455667788));
	rig_free(rig);
}

static void lost_and_repeated_doorbells_are_counted_per_vcpu(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	rig_doorbell(rig, 0, 1);
	rig_doorbell(rig, 1, 1);
	rig_doorbell(rig, 0, 2);
	assert_int_equal(rig->dev.stats.lost + rig->dev.stats.repeated, 0);
	rig_doorbell(rig, 0, 5);
	assert_int_equal(rig->dev.stats.lost, 2);
	rig_doorbell(rig, 0, 5);
	rig_doorbell(rig, 0, 4);
	assert_int_equal(rig->dev.stats.repeated, 2);
	rig_doorbell(rig, 1, 2);
	assert_int_equal(rig->dev.stats.lost, 2);
	assert_int_equal(rig_get(rig, SIMVF_REG_DOORBELLS, 8), 7);
	/* halves: the write takes effect with the high one */
	rig_set(rig, SIMVF_DOORBELL(1), 3, 4);
	assert_int_equal(rig->dev.stats.doorbells, 7);
	rig_set(rig, SIMVF_DOORBELL(1) + 4, 0, 4);
	assert_int_equal(rig->dev.stats.doorbells, 8);
	assert_int_equal(rig_get(rig, SIMVF_DOORBELL(1), 8), 3);
	rig_free(rig);
}

static void the_largest_gap_between_doorbells_is_kept(void **state)
{
	(void)state;
	struct rig *rig = fresh();
	uint64_t second;

	rig_doorbell(rig, 0, 1);
	rig->now += 3 * MS;
	rig_doorbell(rig, 0, 2);
	second = rig->now;
	rig->now += 20 * MS;
	rig_doorbell(rig, 1, 1);
	rig->now += 4 * MS;
	rig_doorbell(rig, 0, 3);
	assert_int_equal(rig->dev.stats.max_gap_ns, 20 * MS);
	assert_int_equal(rig->dev.stats.max_gap_start_ns, second);
	assert_int_equal(rig->dev.stats.first_doorbell_ns, second - 3 * MS);
	assert_int_equal(rig->dev.stats.last_doorbell_ns, rig->now);
	rig_free(rig);
}

static void interrupts_follow_every_nth_doorbell_of_their_vcpu(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	rig_set(rig, SIMVF_REG_IRQ_EVERY, 3, 4);
	for (uint64_t n = 1; n <= 9; n++)
		rig_doorbell(rig, 2, n);
	assert_int_equal(rig->irqs[2], 0);
	rig_set(rig, SIMVF_REG_CONTROL, SIMVF_CONTROL_IRQ, 4);
	for (uint64_t n = 10; n <= 18; n++)
		rig_doorbell(rig, 2, n);
	for (uint64_t n = 1; n <= 6; n++)
		rig_doorbell(rig, 2 + SIMVF_MSIX_VECTORS, n);
	assert_int_equal(rig->irqs[2], 5);
	assert_int_equal(rig->irqs[3], 0);
	assert_int_equal(rig_get(rig, SIMVF_REG_IRQS, 8), 5);
	rig_free(rig);
}

static void start_dma(struct rig *rig, uint32_t pages, uint32_t rate)
{
	rig_set(rig, SIMVF_REG_DMA_ADDR, 4096, 8);
	rig_set(rig, SIMVF_REG_DMA_PAGES, pages, 4);
	rig_set(rig, SIMVF_REG_DMA_RATE, rate, 4);
	rig_set(rig, SIMVF_REG_CONTROL, SIMVF_CONTROL_DMA, 4);
}

static void check_page(const struct rig *rig, unsigned page, uint64_t number)
{
	const uint64_t *words = (const uint64_t *)(rig->ram + 4096 + page * 4096);

	assert_true(words[0] == number + 1);
	assert_true(words[1] == 42);
	for (unsigned i = 2; i < 512; i++)
		assert_true(words[i] == SIMVF_DMA_WORD(42, number, i));
}

static void the_dma_engine_writes_its_pattern_at_its_rate(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	start_dma(rig, 4, 1000);
	rig_pass(rig, 10 * MS);
	assert_int_equal(rig_get(rig, SIMVF_REG_DMA_SEQ, 8), 10);
	check_page(rig, 0, 8);
	check_page(rig, 1, 9);
	check_page(rig, 2, 6);
	check_page(rig, 3, 7);
	assert_int_equal(rig->ram[0], 0);
	assert_int_equal(rig->ram[5 * 4096], 0);
	assert_int_equal(rig->dev.stats.ram_mismatches, 0);
	/* missed pages are not written later */
	rig->now += 60000 * MS;
	svf_run(&rig->dev, rig->now);
	assert_in_range(rig->dev.stats.dma_pages, 11, 200);
	rig_free(rig);
}

static void a_page_with_another_content_than_written_is_found(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	start_dma(rig, 4, 1000);
	rig_pass(rig, 8 * MS);
	rig->ram[4096 + 2 * 4096 + 100] ^= 1;
	rig_pass(rig, 2 * MS);
	assert_int_equal(rig->dev.stats.ram_mismatches, 0);
	rig_pass(rig, 1 * MS);
	assert_int_equal(rig->dev.stats.ram_mismatches, 1);
	rig_pass(rig, 8 * MS);
	assert_int_equal(rig->dev.stats.ram_mismatches, 1);
	/* a new ring may have any content */
	memset(rig->ram, 0, sizeof(rig->ram));
	rig_set(rig, SIMVF_REG_DMA_PAGES, 3, 4);
	rig_pass(rig, 8 * MS);
	assert_int_equal(rig->dev.stats.ram_mismatches, 1);
	rig_free(rig);
}

static void dma_stops_with_the_p2p_states_and_never_catches_up(void **state)
{
	(void)state;
	struct rig *rig = fresh();
	uint64_t pages;

	rig->dev.config.profile.to_p2p_ns = 50 * MS;
	start_dma(rig, 4, 1000);
	assert_int_equal(rig_go(rig, SVF_PRE_COPY), 0);
	rig_pass(rig, 5 * MS);
	pages = rig->dev.stats.dma_pages;
	assert_int_equal(pages, 5);
	assert_int_equal(rig_go(rig, SVF_PRE_COPY_P2P), 0);
	assert_int_equal(rig->dev.stats.dma_pages, pages);
	rig_pass(rig, 1000 * MS);
	assert_int_equal(rig_go(rig, SVF_STOP_COPY), 0);
	rig_pass(rig, 1000 * MS);
	assert_int_equal(rig->dev.stats.dma_pages, pages);
	assert_int_equal(rig_go(rig, SVF_RUNNING), 0);
	assert_int_equal(rig->dev.stats.dma_pages, pages);
	rig_pass(rig, 3 * MS);
	assert_int_equal(rig->dev.stats.dma_pages, pages + 3);
	rig_free(rig);
}

static void late_dma_goes_on_until_the_device_has_stopped(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	rig->dev.config.late_dma = true;
	rig->dev.config.profile.to_stop_copy_ns = 4 * MS;
	start_dma(rig, 8, 1000);
	assert_int_equal(rig_go(rig, SVF_PRE_COPY_P2P), 0);
	svf_log_start(&rig->dev);
	rig_pass(rig, 5 * MS);
	assert_int_equal(rig->dev.stats.dma_pages, 5);
	/* Within the arc, and once more as it ends. */
	assert_int_equal(rig_go(rig, SVF_STOP_COPY), 0);
	const uint64_t pages = rig->dev.stats.dma_pages;
	uint64_t bitmap = 0;

	assert_in_range(pages, 6, 10);
	check_page(rig, (unsigned)((pages - 1) % 8), pages - 1);
	assert_int_equal(svf_log_report(&rig->dev, 4096, (uint64_t)8 * 4096, 4096, &bitmap), 0);
	assert_true(bitmap >> (pages - 1) % 8 & 1);
	rig_pass(rig, 1000 * MS);
	assert_int_equal(rig->dev.stats.dma_pages, pages);
	rig_free(rig);
}

static void the_log_has_each_page_once_and_at_any_page_size(void **state)
{
	(void)state;
	struct rig *rig = fresh();
	uint64_t bits[2] = {0};

	start_dma(rig, 6, 1000);
	rig_pass(rig, 3 * MS);
	assert_int_equal(svf_log_report(&rig->dev, 0, RIG_RAM, 4096, bits), -SVF_EINVAL);
	svf_log_start(&rig->dev);
	rig_pass(rig, 2 * MS); /* pages 3 and 4 of the ring, which begins at page 1 */
	assert_int_equal(svf_log_report(&rig->dev, 0, RIG_RAM, 4096, bits), 0);
	assert_int_equal(bits[0], 1 << 4 | 1 << 5);
	bits[0] = 0;
	assert_int_equal(svf_log_report(&rig->dev, 0, RIG_RAM, 4096, bits), 0);
	assert_int_equal(bits[0], 0);
	rig_pass(rig, 3 * MS); /* 6, 1, 2 */
	assert_int_equal(svf_log_report(&rig->dev, 4096, 4096, 4096, bits), 0);
	assert_int_equal(bits[0], 1);
	bits[0] = 0;
	assert_int_equal(svf_log_report(&rig->dev, 0, RIG_RAM, 16384, bits), 0);
	assert_int_equal(bits[0], 3);
	assert_int_equal(svf_log_report(&rig->dev, 0, RIG_RAM, 2048, bits), -SVF_EINVAL);
	assert_int_equal(svf_log_report(&rig->dev, 0, RIG_RAM, 12288, bits), -SVF_EINVAL);
	assert_int_equal(svf_log_report(&rig->dev, 0, 0, 4096, bits), -SVF_EINVAL);
	assert_int_equal(
		svf_log_report(&rig->dev, UINT64_MAX & ~4095ull, 8192, 4096, bits), -SVF_EINVAL);
	rig_free(rig);
}

static void a_log_that_overflows_calls_everything_dirty(void **state)
{
	(void)state;
	struct rig *rig = fresh();
	uint64_t bits = 0;

	svf_log_start(&rig->dev);
	/* pages too far apart to be one ring: each uses a chunk of the log, and the write fails */
	rig_set(rig, SIMVF_REG_DMA_PAGES, 1, 4);
	rig_set(rig, SIMVF_REG_DMA_RATE, 1000, 4);
	rig_set(rig, SIMVF_REG_CONTROL, SIMVF_CONTROL_DMA, 4);
	for (uint64_t chunk = 0; chunk <= SVF_LOG_CHUNKS; chunk++) {
		assert_int_equal(svf_log_report(&rig->dev, 1 << 30, 10 * 4096, 4096, &bits), 0);
		assert_int_equal(bits & ~1ull, 0);
		bits = 0;
		rig_set(rig, SIMVF_REG_DMA_ADDR, (1 << 30) + (chunk << 18), 8);
		rig_pass(rig, 1 * MS);
	}
	assert_int_equal(svf_log_report(&rig->dev, 1 << 30, 10 * 4096, 4096, &bits), 0);
	assert_int_equal(bits, 0x3ff);
	rig_free(rig);
}

static void p2p_numbers_run_on_and_only_while_it_may(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	rig_set(rig, SIMVF_REG_P2P_ADDR, SIMVF_INBOX_SLOT(3), 8);
	rig_set(rig, SIMVF_REG_P2P_RATE, 1000, 4);
	rig_set(rig, SIMVF_REG_CONTROL, SIMVF_CONTROL_P2P, 4);
	rig_pass(rig, 7 * MS);
	assert_int_equal(rig->sibling[SIMVF_INBOX_SLOT(3) / 8], 7);
	assert_int_equal(rig_go(rig, SVF_RUNNING_P2P), 0);
	rig_pass(rig, 100 * MS);
	assert_int_equal(rig->sibling[SIMVF_INBOX_SLOT(3) / 8], 7);
	assert_int_equal(rig_go(rig, SVF_RUNNING), 0);
	rig_pass(rig, 1 * MS);
	assert_int_equal(rig->sibling[SIMVF_INBOX_SLOT(3) / 8], 8);
	assert_int_equal(rig->dev.stats.p2p_writes, 8);
	rig_free(rig);
}

static void a_write_into_a_stopped_devices_inbox_is_a_violation(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	rig->inbox[SIMVF_INBOX_SLOT(1) / 8] = 5;
	assert_int_equal(rig_go(rig, SVF_RUNNING_P2P), 0);
	rig->inbox[SIMVF_INBOX_SLOT(1) / 8] = 6; /* writes outstanding: correct */
	assert_int_equal(rig_go(rig, SVF_STOP), 0);
	assert_int_equal(rig_go(rig, SVF_RUNNING), 0);
	assert_int_equal(rig->dev.stats.p2p_violations, 0);
	assert_int_equal(rig->dev.stats.p2p_received, 6);
	assert_int_equal(rig_go(rig, SVF_STOP_COPY), 0);
	rig->inbox[SIMVF_INBOX_SLOT(1) / 8] = 7;
	rig->inbox[3] = 1; /* between the slots: a violation too */
	assert_int_equal(rig_go(rig, SVF_RUNNING), 0);
	assert_int_equal(rig->dev.stats.p2p_violations, 2);
	rig_free(rig);
}

static void guest_accesses_to_a_quiet_device_are_counted_and_config_is_not(void **state)
{
	(void)state;
	struct rig *rig = fresh();
	uint32_t word = 0;
	uint64_t done;

	rig_get(rig, SIMVF_REG_ID, 4);
	assert_int_equal(rig->dev.stats.quiesce_violations, 0);
	assert_int_equal(rig_go(rig, SVF_RUNNING_P2P), 0);
	rig_doorbell(rig, 0, 1);
	assert_int_equal(rig->dev.stats.quiesce_violations, 1);
	assert_int_equal(rig_go(rig, SVF_STOP), 0);
	rig_get(rig, SIMVF_REG_ID, 4);
	assert_int_equal(rig->dev.stats.quiesce_violations, 2);
	svf_region_write(&rig->dev, SVF_REGION_CONFIG, 4, &word, 2, rig->now, &done);
	svf_region_write(&rig->dev, SIMVF_BAR_MSIX, 0, &word, 4, rig->now, &done);
	assert_int_equal(rig->dev.stats.quiesce_violations, 2);
	rig_free(rig);
}

static uint32_t config(struct rig *rig, uint64_t at, size_t len)
{
	uint32_t word = 0;

	assert_int_equal(svf_region_read(&rig->dev, SVF_REGION_CONFIG, at, &word, len), 0);
	return word;
}

static uint64_t config_cost(struct rig *rig, uint64_t at, uint32_t value, size_t len)
{
	uint64_t done;

	assert_int_equal(
		svf_region_write(&rig->dev, SVF_REGION_CONFIG, at, &value, len, rig->now, &done),
		0);
	return done - rig->now;
}

static void config_space_is_an_endpoint_with_bars_and_msix(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	assert_int_equal(config(rig, 0, 4), SIMVF_PCI_VENDOR | SIMVF_PCI_DEVICE << 16);
	assert_int_equal(config(rig, 8, 4) >> 8, SIMVF_PCI_CLASS);
	assert_int_equal(config(rig, 6, 2) & 0x10, 0x10);
	assert_int_equal(config(rig, config(rig, 0x34, 1), 1), 0x11);
	assert_int_equal(config(rig, 0x42, 2), SIMVF_MSIX_VECTORS - 1);
	config_cost(rig, 0x10, 0xffffffff, 4);
	assert_int_equal(config(rig, 0x10, 4), (uint32_t)-SIMVF_BAR_REGS_SIZE);
	config_cost(rig, 0x14, 0xffffffff, 4);
	assert_int_equal(config(rig, 0x14, 4), 0);
	config_cost(rig, 0x18, 0xfebf0123, 4);
	assert_int_equal(config(rig, 0x18, 4), 0xfebf0000);
	config_cost(rig, 0, 0, 4);
	assert_int_equal(config(rig, 0, 2), SIMVF_PCI_VENDOR);
	config_cost(rig, 0x42, 0xffff, 2);
	assert_int_equal(config(rig, 0x42, 2), 0xc000 | (SIMVF_MSIX_VECTORS - 1));
	rig_free(rig);
}

static void restoring_the_command_costs_once_and_again_when_it_changes(void **state)
{
	(void)state;
	struct rig *rig = fresh();

	rig->dev.config.profile.config_load_ns = 70 * MS;
	assert_int_equal(config_cost(rig, 4, 7, 2), 0); /* no cost while running */
	assert_int_equal(rig_go(rig, SVF_RESUMING), 0);
	assert_int_equal(config_cost(rig, 0x10, 0xfe000000, 4), 0);
	assert_int_equal(config_cost(rig, 4, 6, 2), 70 * MS);
	assert_int_equal(config_cost(rig, 4, 6, 2), 0);
	assert_int_equal(config_cost(rig, 4, 0x100406, 4), 70 * MS);
	assert_int_equal(config_cost(rig, 0, 0, 4), 0);
	svf_reset(&rig->dev, rig->now);
	assert_int_equal(config(rig, 4, 2), 0);
	assert_int_equal(config(rig, 0x10, 4), 0);
	assert_int_equal(rig_go(rig, SVF_RESUMING), 0);
	assert_int_equal(config_cost(rig, 4, 6, 2), 70 * MS);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_name_the_device_and_refuse_what_is_outside),
		cmocka_unit_test(lost_and_repeated_doorbells_are_counted_per_vcpu),
		cmocka_unit_test(the_largest_gap_between_doorbells_is_kept),
		cmocka_unit_test(interrupts_follow_every_nth_doorbell_of_their_vcpu),
		cmocka_unit_test(the_dma_engine_writes_its_pattern_at_its_rate),
		cmocka_unit_test(a_page_with_another_content_than_written_is_found),
		cmocka_unit_test(dma_stops_with_the_p2p_states_and_never_catches_up),
		cmocka_unit_test(late_dma_goes_on_until_the_device_has_stopped),
		cmocka_unit_test(the_log_has_each_page_once_and_at_any_page_size),
		cmocka_unit_test(a_log_that_overflows_calls_everything_dirty),
		cmocka_unit_test(p2p_numbers_run_on_and_only_while_it_may),
		cmocka_unit_test(a_write_into_a_stopped_devices_inbox_is_a_violation),
		cmocka_unit_test(guest_accesses_to_a_quiet_device_are_counted_and_config_is_not),
		cmocka_unit_test(config_space_is_an_endpoint_with_bars_and_msix),
		cmocka_unit_test(restoring_the_command_costs_once_and_again_when_it_changes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
