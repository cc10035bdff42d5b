/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest runs, pauses, migrates and is checked, under each accelerator: `test-accel
 * kvm|native`.
 */
#include "tests/support/cm.h"
#include "vm.h"

#include "guest/abi.h"
#include "simvf/regs.h"
#include "vmm/accel/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct describer {
	struct vm *vm;
	struct vmm_accel_cpu cpu;
	atomic_bool done;
};

static void the_guest_finds_its_devices_and_sets_them_up(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;

	vm_run(&vm, &fake, 3, VCPUS);
	await_doorbells(&fake, 3 * VCPUS);
	vm_pause(&vm, &fake);
	assert_int_equal(stats_of(&vm).devices, 3);
	assert_int_equal(stats_of(&vm).error, 0);
	for (unsigned i = 0; i < 3; i++) {
		const struct fake_device *device = &fake.device[i];

		assert_int_equal(device->command & 6, 6);
		assert_true(device->msix_on);
		assert_int_equal(
			device->control, SIMVF_CONTROL_DMA | SIMVF_CONTROL_P2P | SIMVF_CONTROL_IRQ);
		assert_int_equal(device->dma_pages, 8);
		assert_non_null(swo_ram_host(vm.ram, device->dma_addr, 8 * SWO_PAGE_SIZE));
		assert_int_equal(device->p2p_addr, fake_bar((i + 1) % 3, 2) + SIMVF_INBOX_SLOT(i));
		for (unsigned v = 0; v < VCPUS; v++) {
			assert_int_equal(device->msix[v * 4], 0xfee00000 | v << 12);
			assert_int_equal(device->msix[v * 4 + 3] & 1, 0);
		}
		assert_int_equal(device->msix[VCPUS * 4 + 3] & 1, 1);
	}
	assert_true(fake.device[0].dma_addr + 8 * SWO_PAGE_SIZE <= fake.device[1].dma_addr);
	expect_no_loss(&fake);
	vm_end(&vm, &fake);
}

static void doorbells_come_in_order_and_memory_is_rewritten(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;

	vm_run(&vm, &fake, 2, VCPUS);
	await_doorbells(&fake, 600);
	vm_pause(&vm, &fake);
	struct vmm_guest_stats stats = stats_of(&vm);

	assert_true(stats.rounds >= 149);
	assert_true(stats.pages_dirtied > 0);
	assert_int_equal(stats.error, 0);
	expect_no_loss(&fake);
	expect_agreement(&vm, &fake, VCPUS);
	expect_whole_ram(&vm);
	vm_end(&vm, &fake);
}

static void devices_that_are_rung_by_turns_get_every_number(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;

	accel_turns = 2;
	vm_boot(&vm, &fake, 3, VCPUS);
	accel_turns = 0;
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 300);
	vm_pause(&vm, &fake);
	struct vmm_guest_stats stats = stats_of(&vm);

	/* Each vCPU may be in the middle of a round. */
	assert_in_range(stats.doorbells, 3 * (stats.rounds - VCPUS), 3 * stats.rounds);
	assert_true(stats.rounds >= 100);
	expect_no_loss(&fake);
	expect_agreement(&vm, &fake, VCPUS);
	vm_end(&vm, &fake);
}

static void interrupts_reach_the_guest_and_stay_pending_while_masked(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;
	struct swo_error err = {0};
	swo_deadline hang = swo_deadline_ms(HANG_MS);
	uint64_t one = 1;

	vm_run(&vm, &fake, 1, 1);
	await_doorbells(&fake, 40);
	while (stats_of(&vm).irqs < 3 && !swo_deadline_passed(hang))
		swo_sleep_until(swo_now_ns() + 1000000);
	assert_true(stats_of(&vm).irqs >= 3);

	/* No more interrupts by doorbells: from here on only those of the test. */
	pthread_mutex_lock(&fake.mutex);
	fake.device[0].control = 0;
	pthread_mutex_unlock(&fake.mutex);
	await_doorbells(&fake, 20);
	must(vmm_accel_msi_set(vm.accel, fake.device[0].handle[0], 0xfee00000, 0x40, true, &err),
		&err);
	uint64_t before = stats_of(&vm).irqs;

	assert_int_equal(write(fake.device[0].eventfd[0], &one, 8), 8);
	await_doorbells(&fake, 20);
	assert_int_equal(stats_of(&vm).irqs, before);
	must(vmm_accel_msi_set(vm.accel, fake.device[0].handle[0], 0xfee00000, 0x40, false, &err),
		&err);
	while (stats_of(&vm).irqs < before + 1 && !swo_deadline_passed(hang))
		swo_sleep_until(swo_now_ns() + 1000000);
	assert_int_equal(stats_of(&vm).irqs, before + 1);
	fake_detach(&fake);
	assert_int_equal(vmm_accel_msi_set(vm.accel, 5, 0, 0, true, &err), -1);
	vm_close(&vm);
	fake_free(&fake);
}

static uint32_t inbox_reads(struct fake *fake)
{
	pthread_mutex_lock(&fake->mutex);
	uint32_t reads = fake->inbox_reads;

	pthread_mutex_unlock(&fake->mutex);
	return reads;
}

static void await_looks(struct vm *vm, uint64_t more)
{
	uint64_t want = stats_of(vm).inbox_looks + more;
	swo_deadline hang = swo_deadline_ms(HANG_MS);

	while (stats_of(vm).inbox_looks < want && !swo_deadline_passed(hang))
		swo_sleep_until(swo_now_ns() + 1000000);
	assert_true(stats_of(vm).inbox_looks >= want);
}

static void a_mapped_bar_is_read_without_the_bus_until_it_is_unmapped(void **state)
{
	(void)state;
	static uint32_t page[SWO_PAGE_SIZE / 4] __attribute__((aligned(SWO_PAGE_SIZE)));
	struct fake fake;
	struct vm vm;
	struct swo_error err = {0};

	vm_run(&vm, &fake, 2, 1);
	await_looks(&vm, 4);
	assert_true(inbox_reads(&fake) >= 4);
	assert_int_equal(stats_of(&vm).inbox_setbacks, 0);
	memset(page, 0x11, sizeof(page));
	for (unsigned i = 0; i < 2; i++)
		must(vmm_accel_map(
			     vm.accel, i, fake_bar(i, SIMVF_BAR_INBOX), SWO_PAGE_SIZE, page, &err),
			&err);
	await_looks(&vm, 4);
	uint32_t trapped = inbox_reads(&fake);

	await_looks(&vm, 20);
	if (accel_kind == VMM_ACCEL_KVM) {
		assert_int_equal(inbox_reads(&fake), trapped);
		assert_int_equal(stats_of(&vm).inbox_setbacks, 0);
		/* The guest reads that memory: a number that decreases is counted, once per device. */
		memset(page, 0x10, sizeof(page));
		await_looks(&vm, 8);
		assert_int_equal(stats_of(&vm).inbox_setbacks, 2);
	} else {
		assert_true(inbox_reads(&fake) >= trapped + 20);
	}
	for (unsigned i = 0; i < 2; i++)
		must(vmm_accel_map(vm.accel, i, fake_bar(i, SIMVF_BAR_INBOX), 0, NULL, &err), &err);
	trapped = inbox_reads(&fake);
	await_looks(&vm, 4);
	assert_true(inbox_reads(&fake) >= trapped + 2);
	vm_pause(&vm, &fake);
	expect_no_loss(&fake);
	vm_end(&vm, &fake);
}

static void no_doorbell_comes_after_a_pause_has_returned(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;

	vm_boot(&vm, &fake, 4, VCPUS);
	for (int i = 0; i < 30; i++) {
		vm_resume(&vm, &fake);
		await_doorbells(&fake, 8);
		vm_pause(&vm, &fake);
		uint64_t there = fake_doorbells(&fake);

		swo_sleep_until(swo_now_ns() + 3000000);
		assert_int_equal(fake_doorbells(&fake), there);
		expect_agreement(&vm, &fake, VCPUS);
		expect_whole_ram(&vm);
	}
	expect_no_loss(&fake);
	vm_end(&vm, &fake);
}

static void a_damaged_word_in_ram_is_found(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;
	uint64_t pages, mismatches;

	vm_run(&vm, &fake, 1, VCPUS);
	await_doorbells(&fake, 100);
	vm_pause(&vm, &fake);
	const struct guest_boot *boot = swo_ram_host(vm.ram, GUEST_BOOT_GPA, sizeof(*boot));
	uint8_t *work = swo_ram_host(vm.ram, boot->work_gpa, 256 * SWO_PAGE_SIZE);

	work[77 * SWO_PAGE_SIZE + 1234] ^= 0x10;
	assert_int_equal(vmm_accel_check_ram(vm.accel, &pages, &mismatches, NULL), 0);
	assert_int_equal(mismatches, 1);
	for (unsigned i = 0; i < 256; i++)
		work[i * SWO_PAGE_SIZE + 4095] ^= 1;
	assert_int_equal(vmm_accel_check_ram(vm.accel, &pages, &mismatches, NULL), 0);
	assert_int_equal(mismatches, 256);
	/* The guest reads the mapping too. */
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 100);
	assert_true(stats_of(&vm).ram_mismatches > 0);
	vm_pause(&vm, &fake);
	vm_end(&vm, &fake);
}

static uint64_t rounds_of(struct vm *vm)
{
	return stats_of(vm).rounds;
}

/* Until the guest has gone on by so many rounds. */
static void await_rounds(struct vm *vm, uint64_t more)
{
	const swo_deadline hang = swo_deadline_ms(HANG_MS);
	const uint64_t until = rounds_of(vm) + more;

	while (rounds_of(vm) < until) {
		assert_false(swo_deadline_passed(hang));
		usleep(1000);
	}
}

static void held_vcpus_do_not_run_and_pause_and_resume_at_once(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;

	vm_run(&vm, &fake, 1, VCPUS);
	await_rounds(&vm, 20);
	vm.accel->ops->hold(vm.accel, true);
	usleep(20000); /* the tick in progress */
	uint64_t held = rounds_of(&vm);

	usleep(100000);
	assert_int_equal(rounds_of(&vm), held);
	/* It is never released: a pause that waited for that would fail. */
	vm_pause(&vm, &fake);
	vm_resume(&vm, &fake);
	usleep(100000);
	assert_int_equal(rounds_of(&vm), held);
	vm_pause(&vm, &fake);
	vm.accel->ops->hold(vm.accel, false);
	usleep(20000);
	assert_int_equal(rounds_of(&vm), held);
	vm_resume(&vm, &fake);
	await_rounds(&vm, 20);
	vm_pause(&vm, &fake);
	expect_no_loss(&fake);
	expect_agreement(&vm, &fake, VCPUS);
	expect_whole_ram(&vm);
	vm_end(&vm, &fake);
}

static void throttled_vcpus_run_for_a_share_of_the_time(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct fake fake;
	struct vm vm;

	vm_boot(&vm, &fake, 1, VCPUS);
	assert_int_equal(vmm_accel_throttle(vm.accel, 100, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	/* Before it runs, too. */
	must(vmm_accel_throttle(vm.accel, 50, &err), &err);
	must(vmm_accel_throttle(vm.accel, 95, &err), &err);
	vm_resume(&vm, &fake);
	const uint64_t from = rounds_of(&vm), begin = swo_now_ns();

	await_rounds(&vm, 50 * VCPUS);
	/* A twentieth of the time, in 50 periods of the guest: a load of the host adds to it. */
	const uint64_t periods = (swo_now_ns() - begin) / (PERIOD_US * 1000);

	assert_true((rounds_of(&vm) - from) / VCPUS < periods / 2);
	must(vmm_accel_throttle(vm.accel, 0, &err), &err);
	await_rounds(&vm, 500);
	/* Taken apart while it is in effect. */
	must(vmm_accel_throttle(vm.accel, 99, &err), &err);
	vm_pause(&vm, &fake);
	expect_no_loss(&fake);
	expect_whole_ram(&vm);
	vm_end(&vm, &fake);
}

static void *describe_cpu(void *opaque)
{
	struct describer *describer = opaque;
	struct swo_error err;

	must(vmm_accel_cpu(describer->vm->accel, &describer->cpu, &err), &err);
	atomic_store(&describer->done, true);
	return NULL;
}

/* Without devices it halts, and its vCPU never leaves the guest. */
static void the_cpu_is_described_while_the_guest_is_idle(void **state)
{
	static struct describer describer; /* big */
	swo_deadline deadline = swo_deadline_ms(20000);
	struct fake fake;
	struct vm vm;
	pthread_t thread;

	(void)state;
	vm_boot(&vm, &fake, 0, 1);
	must(vmm_accel_cpu(vm.accel, &describer.cpu, NULL), NULL);
	const uint32_t paused = describer.cpu.tsc_khz;

	vm_resume(&vm, &fake);
	/* Until it has set itself up, and halts. */
	swo_sleep_until(swo_deadline_ms(200));
	describer.vm = &vm;
	atomic_store(&describer.done, false);
	assert_int_equal(pthread_create(&thread, NULL, describe_cpu, &describer), 0);
	while (!atomic_load(&describer.done) && !swo_deadline_passed(deadline))
		swo_sleep_until(swo_deadline_ms(1));
	const bool in_time = atomic_load(&describer.done);

	vm_pause(&vm, &fake);
	pthread_join(thread, NULL);
	assert_true(in_time);
	assert_int_equal(describer.cpu.tsc_khz, paused);
	fake_detach(&fake);
	vm_close(&vm);
	fake_free(&fake);
}

static void invalid_configurations_are_refused(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;
	struct swo_error err = {0};
	struct vmm_accel_config config = {.kind = accel_kind, .vcpus = 1, .guest = usual_work()};
	struct vmm_accel *accel;

	fake_init(&fake, 1);
	vm_open(&vm, &fake, 1);
	config.ram = vm.ram;
	config.bus = fake_bus(&fake);
	config.vcpus = 65;
	assert_int_equal(vmm_accel_create(&config, &accel, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	config.vcpus = 0;
	assert_int_equal(vmm_accel_create(&config, &accel, &err), -1);
	config.vcpus = 1;
	config.guest.doorbell_period_us = 0;
	must(vmm_accel_create(&config, &accel, &err), &err);
	assert_int_equal(vmm_accel_boot(accel, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	vmm_accel_free(accel);
	config.guest.doorbell_period_us = 1000;
	config.guest.doorbell_turns = 6; /* 166 us each */
	must(vmm_accel_create(&config, &accel, &err), &err);
	assert_int_equal(vmm_accel_boot(accel, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_non_null(strstr(err.text, "in 6 turns"));
	vmm_accel_free(accel);
	config.ram = swo_ram_new();
	assert_int_equal(vmm_accel_create(&config, &accel, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	swo_ram_free(config.ram);
	vm_close(&vm);
	fake_free(&fake);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_finds_its_devices_and_sets_them_up),
		cmocka_unit_test(doorbells_come_in_order_and_memory_is_rewritten),
		cmocka_unit_test(devices_that_are_rung_by_turns_get_every_number),
		cmocka_unit_test(interrupts_reach_the_guest_and_stay_pending_while_masked),
		cmocka_unit_test(a_mapped_bar_is_read_without_the_bus_until_it_is_unmapped),
		cmocka_unit_test(no_doorbell_comes_after_a_pause_has_returned),
		cmocka_unit_test(a_damaged_word_in_ram_is_found),
		cmocka_unit_test(held_vcpus_do_not_run_and_pause_and_resume_at_once),
		cmocka_unit_test(throttled_vcpus_run_for_a_share_of_the_time),
		cmocka_unit_test(the_cpu_is_described_while_the_guest_is_idle),
		cmocka_unit_test(invalid_configurations_are_refused),
	};

	if (!accel_test_begins(argc, argv))
		return argc == 2 ? 0 : 2;
	return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
