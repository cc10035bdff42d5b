/* SPDX-License-Identifier: BSD-3-Clause */
/* vm.c - a VM on the fake machine: opened, run, paused, migrated, checked. */
#include "vm.h"
#include "tests/support/cm.h"

#include "guest/abi.h"

#include <stdio.h>
#include <string.h>

enum vmm_accel_kind accel_kind;
unsigned accel_turns;

void must(int rc, const struct swo_error *err)
{
	if (rc)
		fail_msg("%s", err->text);
}

struct vmm_guest_params usual_work(void)
{
	return (struct vmm_guest_params){
		.doorbell_period_us = PERIOD_US,
		.doorbell_turns = accel_turns,
		.dirty_pages_per_s = DIRTY_RATE,
		.dirty_bytes = 256 * SWO_PAGE_SIZE,
		.dma_pages = 8,
		.dma_rate = 10,
		.p2p_rate = 10,
		.irq_every = 4,
	};
}

void vm_open(struct vm *vm, struct fake *fake, unsigned vcpus)
{
	struct swo_error err = {0};

	vm->ram = swo_ram_new();
	must(swo_ram_add(vm->ram, "ram", 0, RAM_SIZE, -1, &err), &err);
	struct vmm_accel_config config = {
		.kind = accel_kind,
		.vcpus = vcpus,
		.ram = vm->ram,
		.bus = fake_bus(fake),
		.guest = usual_work(),
	};
	must(vmm_accel_create(&config, &vm->accel, &err), &err);
}

void vm_close(struct vm *vm)
{
	vmm_accel_free(vm->accel);
	swo_ram_free(vm->ram);
}

void vm_boot(struct vm *vm, struct fake *fake, unsigned devices, unsigned vcpus)
{
	struct swo_error err = {0};

	fake_init(fake, devices);
	vm_open(vm, fake, vcpus);
	must(fake_attach(fake, vm->accel, &err), &err);
	must(vmm_accel_boot(vm->accel, &err), &err);
}

void vm_pause(struct vm *vm, struct fake *fake)
{
	struct swo_error err = {0};

	must(vmm_accel_pause(vm->accel, swo_deadline_ms(HANG_MS), &err), &err);
	pthread_mutex_lock(&fake->mutex);
	fake->stopped = true;
	pthread_mutex_unlock(&fake->mutex);
}

void vm_resume(struct vm *vm, struct fake *fake)
{
	pthread_mutex_lock(&fake->mutex);
	fake->stopped = false;
	pthread_mutex_unlock(&fake->mutex);
	vmm_accel_resume(vm->accel);
}

void vm_run(struct vm *vm, struct fake *fake, unsigned devices, unsigned vcpus)
{
	vm_boot(vm, fake, devices, vcpus);
	vm_resume(vm, fake);
}

void vm_end(struct vm *vm, struct fake *fake)
{
	fake_detach(fake);
	vm_close(vm);
	fake_free(fake);
}

struct vmm_guest_stats stats_of(struct vm *vm)
{
	struct vmm_guest_stats stats;
	struct swo_error err = {0};

	must(vmm_accel_guest_stats(vm->accel, &stats, &err), &err);
	return stats;
}

void await_doorbells(struct fake *fake, uint64_t more)
{
	uint64_t want = fake_doorbells(fake) + more;
	swo_deadline hang = swo_deadline_ms(HANG_MS);

	while (fake_doorbells(fake) < want) {
		if (swo_deadline_passed(hang) || fake->failed)
			fail_msg("only %llu doorbells; %s",
				(unsigned long long)fake_doorbells(fake), fake->why);
		swo_sleep_until(swo_now_ns() + 1000000);
	}
}

void expect_no_loss(struct fake *fake)
{
	for (unsigned i = 0; i < fake->devices; i++) {
		assert_int_equal(fake->device[i].lost, 0);
		assert_int_equal(fake->device[i].repeated, 0);
	}
	assert_int_equal(fake->strays, 0);
	assert_int_equal(fake->while_stopped, 0);
	assert_false(fake->failed);
}

void expect_agreement(struct vm *vm, struct fake *fake, unsigned vcpus)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < fake->devices; i++)
		for (unsigned v = 0; v < vcpus; v++) {
			const struct guest_vcpu *vcpu = swo_ram_host(
				vm->ram, GUEST_VCPU_GPA + v * sizeof(*vcpu), sizeof(*vcpu));

			/* A vCPU may be between counting and ringing. */
			assert_in_range(
				fake->device[i].last[v] + 1, vcpu->rounds, vcpu->rounds + 1);
			sum += fake->device[i].last[v];
		}
	assert_int_equal(sum, fake->doorbells);
}

void expect_whole_ram(struct vm *vm)
{
	struct swo_error err = {0};
	uint64_t pages, mismatches;

	must(vmm_accel_check_ram(vm->accel, &pages, &mismatches, &err), &err);
	assert_int_equal(pages, 256);
	assert_int_equal(mismatches, 0);
	assert_int_equal(stats_of(vm).ram_mismatches, 0);
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

void move_paused(struct vm *from, struct vm *to, struct fake *fake)
{
	struct swo_error err = {0};
	struct swo_buf state = SWO_BUF_INIT(1 << 20);

	must(vmm_accel_save(from->accel, &state, &err), &err);
	copy_dirty(from->ram, to->ram);
	assert_int_equal(swo_ram_hash(from->ram), swo_ram_hash(to->ram));
	must(vmm_accel_load(to->accel, state.data, state.len, &err), &err);
	fake_detach(fake);
	must(fake_attach(fake, to->accel, &err), &err);
	swo_buf_free(&state);
}

void move(struct vm *from, struct vm *to, struct fake *fake)
{
	struct swo_dirty_source dirty;
	struct swo_error err = {0};

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
	must(dirty.collect(dirty.self, from->ram, &err), &err);
	dirty.stop(dirty.self);
	dirty.destroy(dirty.self);
	move_paused(from, to, fake);
}

/* Prints the reason and exits if this kind cannot run here. */
static bool usable(void)
{
	struct vmm_accel_config config = {.kind = accel_kind, .vcpus = 1, .ram = swo_ram_new()};
	struct swo_error err = {0};
	struct vmm_accel *accel = NULL;

	must(swo_ram_add(config.ram, "ram", 0, RAM_SIZE, -1, &err), &err);
	if (vmm_accel_create(&config, &accel, &err))
		printf("1..0 # SKIP %s\n", err.text);
	vmm_accel_free(accel);
	swo_ram_free(config.ram);
	return err.code != SWO_E_UNSUPPORTED;
}

bool accel_test_begins(int argc, char **argv)
{
	if (argc != 2 || (strcmp(argv[1], "kvm") && strcmp(argv[1], "native"))) {
		fprintf(stderr, "usage: %s kvm|native\n", argv[0]);
		return false;
	}
	accel_kind = strcmp(argv[1], "kvm") ? VMM_ACCEL_NATIVE : VMM_ACCEL_KVM;
	return usable();
}
