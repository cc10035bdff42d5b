/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest runs, pauses, moves and is checked, under each accelerator: `test-accel kvm|native`. */
#include "../cm.h"
#include "accel_fake.h"

#include "../../guest/abi.h"
#include "../../simvf/regs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RAM_SIZE   (16u << 20)
#define VCPUS	   2u
#define PERIOD_US  2000u
#define HANG_MS	   30000u
#define DIRTY_RATE 500u

static enum vmm_accel_kind kind;

/* One VM: memory and an accelerator on the fake machine. */
struct vm {
	struct swo_ram *ram;
	struct vmm_accel *accel;
};

static void must(int rc, const struct swo_error *err)
{
	if (rc)
		fail_msg("%s", err->text);
}

static struct vmm_guest_params usual_work(void)
{
	return (struct vmm_guest_params){
		.doorbell_period_us = PERIOD_US,
		.dirty_pages_per_s = DIRTY_RATE,
		.dirty_bytes = 256 * SWO_PAGE_SIZE,
		.dma_pages = 8,
		.dma_rate = 10,
		.p2p_rate = 10,
		.irq_every = 4,
	};
}

static void vm_open(struct vm *vm, struct fake *fake, unsigned vcpus)
{
	struct swo_error err = {0};

	vm->ram = swo_ram_new();
	must(swo_ram_add(vm->ram, "ram", 0, RAM_SIZE, -1, &err), &err);
	struct vmm_accel_config config = {
		.kind = kind,
		.vcpus = vcpus,
		.ram = vm->ram,
		.bus = fake_bus(fake),
		.guest = usual_work(),
	};
	must(vmm_accel_create(&config, &vm->accel, &err), &err);
}

static void vm_close(struct vm *vm)
{
	vmm_accel_free(vm->accel);
	swo_ram_free(vm->ram);
}

static void vm_boot(struct vm *vm, struct fake *fake, unsigned devices, unsigned vcpus)
{
	struct swo_error err = {0};

	fake_init(fake, devices);
	vm_open(vm, fake, vcpus);
	must(fake_attach(fake, vm->accel, &err), &err);
	must(vmm_accel_boot(vm->accel, &err), &err);
}

static void vm_pause(struct vm *vm, struct fake *fake)
{
	struct swo_error err = {0};

	must(vmm_accel_pause(vm->accel, swo_deadline_ms(HANG_MS), &err), &err);
	pthread_mutex_lock(&fake->mutex);
	fake->stopped = true;
	pthread_mutex_unlock(&fake->mutex);
}

static void vm_resume(struct vm *vm, struct fake *fake)
{
	pthread_mutex_lock(&fake->mutex);
	fake->stopped = false;
	pthread_mutex_unlock(&fake->mutex);
	vmm_accel_resume(vm->accel);
}

static struct vmm_guest_stats stats_of(struct vm *vm)
{
	struct vmm_guest_stats stats;
	struct swo_error err = {0};

	must(vmm_accel_guest_stats(vm->accel, &stats, &err), &err);
	return stats;
}

/* Until that many doorbells more have come. */
static void await_doorbells(struct fake *fake, uint64_t more)
{
	uint64_t want = fake_doorbells(fake) + more;
	swo_deadline hang = swo_deadline_ms(HANG_MS);

	while (fake_doorbells(fake) < want) {
		if (swo_deadline_passed(hang) || fake->failed)
			fail_msg("only %llu doorbells came; %s",
				(unsigned long long)fake_doorbells(fake), fake->why);
		swo_sleep_until(swo_now_ns() + 1000000);
	}
}

static void expect_no_loss(struct fake *fake)
{
	for (unsigned i = 0; i < fake->devices; i++) {
		assert_int_equal(fake->device[i].lost, 0);
		assert_int_equal(fake->device[i].repeated, 0);
	}
	assert_int_equal(fake->strays, 0);
	assert_int_equal(fake->while_stopped, 0);
	assert_false(fake->failed);
}

/* The running numbers that devices have seen and the guest's count agree, to the last one. */
static void expect_agreement(struct vm *vm, struct fake *fake, unsigned vcpus)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < fake->devices; i++)
		for (unsigned v = 0; v < vcpus; v++) {
			const struct guest_vcpu *vcpu = swo_ram_host(
				vm->ram, GUEST_VCPU_GPA + v * sizeof(*vcpu), sizeof(*vcpu));

			/* A vCPU may stand between counting and ringing. */
			assert_in_range(fake->device[i].last[v] + 1, vcpu->ticks, vcpu->ticks + 1);
			sum += fake->device[i].last[v];
		}
	assert_int_equal(sum, fake->doorbells);
}

static void expect_whole_ram(struct vm *vm)
{
	struct swo_error err = {0};
	uint64_t pages, mismatches;

	must(vmm_accel_check_ram(vm->accel, &pages, &mismatches, &err), &err);
	assert_int_equal(pages, 256);
	assert_int_equal(mismatches, 0);
	assert_int_equal(stats_of(vm).ram_mismatches, 0);
}

static void the_guest_finds_its_devices_and_sets_them_up(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;

	vm_boot(&vm, &fake, 3, VCPUS);
	vm_resume(&vm, &fake);
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
	fake_detach(&fake);
	vm_close(&vm);
	fake_free(&fake);
}

static void doorbells_come_in_order_and_memory_is_rewritten(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;

	vm_boot(&vm, &fake, 2, VCPUS);
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 600);
	vm_pause(&vm, &fake);
	struct vmm_guest_stats stats = stats_of(&vm);

	assert_true(stats.ticks >= 149);
	assert_true(stats.pages_dirtied > 0);
	assert_int_equal(stats.error, 0);
	expect_no_loss(&fake);
	expect_agreement(&vm, &fake, VCPUS);
	expect_whole_ram(&vm);
	fake_detach(&fake);
	vm_close(&vm);
	fake_free(&fake);
}

static void interrupts_reach_the_guest_and_wait_while_masked(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;
	struct swo_error err = {0};
	swo_deadline hang = swo_deadline_ms(HANG_MS);
	uint64_t one = 1;

	vm_boot(&vm, &fake, 1, 1);
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 40);
	while (stats_of(&vm).irqs < 3 && !swo_deadline_passed(hang))
		swo_sleep_until(swo_now_ns() + 1000000);
	assert_true(stats_of(&vm).irqs >= 3);

	/* No more doorbells' interrupts: from here on only the test's own. */
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
	fake_detach(&fake);
	vm_close(&vm);
	fake_free(&fake);
}

static void copy_dirty(struct swo_ram *from, struct swo_ram *to)
{
	uint64_t page = 0, pages;

	while (swo_ram_take(from, 0, &page, UINT64_MAX, UINT64_MAX, &pages)) {
		memcpy(swo_ram_host(to, page * SWO_PAGE_SIZE, pages * SWO_PAGE_SIZE),
			swo_ram_host(from, page * SWO_PAGE_SIZE, pages * SWO_PAGE_SIZE),
			pages * SWO_PAGE_SIZE);
		page += pages;
	}
}

/* Moves a running VM by its dirty log and its saved vCPUs; the devices stay where they are. */
static void move(struct vm *from, struct vm *to, struct fake *fake)
{
	struct swo_dirty_source dirty;
	struct swo_error err = {0};
	struct swo_buf state = SWO_BUF_INIT(1 << 20);

	vm_open(to, fake, VCPUS);
	must(vmm_accel_dirty_source(from->accel, &dirty, &err), &err);
	must(dirty.start(dirty.self, &err), &err);
	swo_ram_mark_all(from->ram);
	copy_dirty(from->ram, to->ram);
	await_doorbells(fake, 40);
	must(dirty.collect(dirty.self, from->ram, &err), &err);
	copy_dirty(from->ram, to->ram);
	await_doorbells(fake, 40);
	vm_pause(from, fake);
	must(vmm_accel_save(from->accel, &state, &err), &err);
	must(dirty.collect(dirty.self, from->ram, &err), &err);
	copy_dirty(from->ram, to->ram);
	assert_int_equal(swo_ram_hash(from->ram), swo_ram_hash(to->ram));
	dirty.stop(dirty.self);
	dirty.destroy(dirty.self);
	must(vmm_accel_load(to->accel, state.data, state.len, &err), &err);
	fake_detach(fake);
	must(fake_attach(fake, to->accel, &err), &err);
	swo_buf_free(&state);
}

static void a_vm_moves_with_nothing_lost_or_repeated(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm, next;

	vm_boot(&vm, &fake, 2, VCPUS);
	vm_resume(&vm, &fake);
	for (int i = 0; i < 6; i++) {
		move(&vm, &next, &fake);
		struct vmm_guest_stats before = stats_of(&vm);

		vm_close(&vm);
		vm = next;
		assert_int_equal(stats_of(&vm).ticks, before.ticks);
		expect_whole_ram(&vm);
		vm_resume(&vm, &fake);
		await_doorbells(&fake, 40);
		assert_true(stats_of(&vm).irqs >= before.irqs);
	}
	uint64_t irqs = stats_of(&vm).irqs;

	await_doorbells(&fake, 200);
	assert_true(stats_of(&vm).irqs > irqs);
	vm_pause(&vm, &fake);
	expect_no_loss(&fake);
	expect_agreement(&vm, &fake, VCPUS);
	expect_whole_ram(&vm);
	fake_detach(&fake);
	vm_close(&vm);
	fake_free(&fake);
}

static void a_source_that_was_saved_can_go_on(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm, other;

	vm_boot(&vm, &fake, 2, VCPUS);
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 40);
	move(&vm, &other, &fake);
	fake_detach(&fake);
	vm_close(&other);
	assert_int_equal(fake_attach(&fake, vm.accel, NULL), 0);
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 200);
	vm_pause(&vm, &fake);
	expect_no_loss(&fake);
	expect_agreement(&vm, &fake, VCPUS);
	expect_whole_ram(&vm);
	fake_detach(&fake);
	vm_close(&vm);
	fake_free(&fake);
}

static void a_damaged_word_in_ram_is_found(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;
	uint64_t pages, mismatches;

	vm_boot(&vm, &fake, 1, VCPUS);
	vm_resume(&vm, &fake);
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
	/* The guest finds them too. */
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 100);
	assert_true(stats_of(&vm).ram_mismatches > 0);
	vm_pause(&vm, &fake);
	fake_detach(&fake);
	vm_close(&vm);
	fake_free(&fake);
}

static void a_damaged_state_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;
	struct swo_error err = {0};
	struct swo_buf good = SWO_BUF_INIT(1 << 20), after = SWO_BUF_INIT(1 << 20);

	vm_boot(&vm, &fake, 1, VCPUS);
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 20);
	assert_int_equal(vmm_accel_save(vm.accel, &good, NULL), -1);
	assert_int_equal(vmm_accel_load(vm.accel, "", 0, NULL), -1);
	vm_pause(&vm, &fake);
	must(vmm_accel_save(vm.accel, &good, &err), &err);

	uint8_t *copy = malloc(good.len + 1);
	size_t step = good.len / 97 + 1;

	for (size_t cut = 0; cut < good.len; cut += step) {
		memcpy(copy, good.data, good.len);
		memset(&err, 0, sizeof(err));
		assert_int_equal(vmm_accel_load(vm.accel, copy, cut, &err), -1);
		assert_int_equal(err.code, SWO_E_CORRUPT);
	}
	memcpy(copy, good.data, good.len);
	copy[good.len] = 0;
	assert_int_equal(vmm_accel_load(vm.accel, copy, good.len + 1, &err), -1);
	for (size_t at = 0; at < 24 + 16; at++) { /* the head, and that of the first record */
		memcpy(copy, good.data, good.len);
		copy[at] ^= 0x40;
		assert_int_equal(vmm_accel_load(vm.accel, copy, good.len, &err), -1);
		assert_int_equal(err.code, SWO_E_CORRUPT);
	}
	free(copy);
	must(vmm_accel_save(vm.accel, &after, &err), &err);
	assert_int_equal(after.len, good.len);
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 100);
	vm_pause(&vm, &fake);
	expect_no_loss(&fake);
	expect_whole_ram(&vm);
	swo_buf_free(&good);
	swo_buf_free(&after);
	fake_detach(&fake);
	vm_close(&vm);
	fake_free(&fake);
}

static void what_makes_no_sense_is_refused(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;
	struct swo_error err = {0};
	struct vmm_accel_config config = {.kind = kind, .vcpus = 1, .guest = usual_work()};
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
	config.ram = swo_ram_new();
	assert_int_equal(vmm_accel_create(&config, &accel, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	swo_ram_free(config.ram);
	vm_close(&vm);
	fake_free(&fake);
}

/* Says why and ends the program when this kind cannot run here. */
static bool usable(void)
{
	struct vmm_accel_config config = {.kind = kind, .vcpus = 1, .ram = swo_ram_new()};
	struct swo_error err = {0};
	struct vmm_accel *accel = NULL;

	must(swo_ram_add(config.ram, "ram", 0, RAM_SIZE, -1, &err), &err);
	if (vmm_accel_create(&config, &accel, &err))
		printf("1..0 # SKIP %s\n", err.text);
	vmm_accel_free(accel);
	swo_ram_free(config.ram);
	return err.code != SWO_E_UNSUPPORTED;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_finds_its_devices_and_sets_them_up),
		cmocka_unit_test(doorbells_come_in_order_and_memory_is_rewritten),
		cmocka_unit_test(interrupts_reach_the_guest_and_wait_while_masked),
		cmocka_unit_test(no_doorbell_comes_after_a_pause_has_returned),
		cmocka_unit_test(a_vm_moves_with_nothing_lost_or_repeated),
		cmocka_unit_test(a_source_that_was_saved_can_go_on),
		cmocka_unit_test(a_damaged_word_in_ram_is_found),
		cmocka_unit_test(a_damaged_state_is_refused_and_changes_nothing),
		cmocka_unit_test(what_makes_no_sense_is_refused),
	};

	if (argc != 2 || (strcmp(argv[1], "kvm") && strcmp(argv[1], "native"))) {
		fprintf(stderr, "usage: test-accel kvm|native\n");
		return 2;
	}
	kind = strcmp(argv[1], "kvm") ? VMM_ACCEL_NATIVE : VMM_ACCEL_KVM;
	if (!usable())
		return 0;
	return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
