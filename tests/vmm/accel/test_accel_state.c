/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest's state moves between VMs, completely and once, under each accelerator. */
#include "tests/support/cm.h"
#include "vm.h"

#include <stdlib.h>
#include <string.h>

static void a_vm_moves_with_nothing_lost_or_repeated(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm, next;

	vm_run(&vm, &fake, 2, VCPUS);
	for (int i = 0; i < 6; i++) {
		move(&vm, &next, &fake);
		struct vmm_guest_stats before = stats_of(&vm);

		vm_close(&vm);
		vm = next;
		assert_int_equal(stats_of(&vm).rounds, before.rounds);
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
	vm_end(&vm, &fake);
}

static void a_source_that_was_saved_can_go_on(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm, other;

	vm_run(&vm, &fake, 2, VCPUS);
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
	vm_end(&vm, &fake);
}

/* Holds a vCPU inside a doorbell's callback until released. */
struct gate {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool armed, inside, open;
	unsigned pass; /* so many pass before one is held */
};

static void gate_pass(void *opaque)
{
	struct gate *gate = opaque;
	swo_deadline hang = swo_deadline_ms(HANG_MS);

	pthread_mutex_lock(&gate->mutex);
	if (gate->armed && !gate->pass--) {
		gate->armed = false;
		gate->inside = true;
		pthread_cond_broadcast(&gate->changed);
		while (!gate->open && !swo_cond_wait(&gate->changed, &gate->mutex, hang))
			;
	}
	pthread_mutex_unlock(&gate->mutex);
}

static void gate_arm(struct gate *gate, unsigned pass)
{
	pthread_mutex_lock(&gate->mutex);
	gate->armed = true;
	gate->pass = pass;
	gate->inside = gate->open = false;
	pthread_mutex_unlock(&gate->mutex);
}

static void gate_catch(struct gate *gate)
{
	swo_deadline hang = swo_deadline_ms(HANG_MS);

	pthread_mutex_lock(&gate->mutex);
	while (!gate->inside)
		if (swo_cond_wait(&gate->changed, &gate->mutex, hang))
			fail_msg("timed out waiting for an access");
	pthread_mutex_unlock(&gate->mutex);
}

static void gate_open(struct gate *gate)
{
	pthread_mutex_lock(&gate->mutex);
	gate->open = true;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->mutex);
}

/*
 * A vCPU is in an access's callback when the stop is requested: the pause fails while it is
 * held there. Then its instruction must be complete, or it repeats the access on the target.
 */
static void move_from_within(struct vm *vm, struct fake *fake, struct gate *gate)
{
	struct swo_error err = {0};
	struct vm next;

	gate_catch(gate);
	assert_int_equal(vmm_accel_pause(vm->accel, swo_deadline_ms(5), &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	gate_open(gate);
	vm_pause(vm, fake);
	vm_open(&next, fake, 1);
	swo_ram_mark_all(vm->ram);
	move_paused(vm, &next, fake);
	vm_close(vm);
	*vm = next;
}

static void a_doorbell_in_progress_at_the_pause_is_rung_once(void **state)
{
	(void)state;
	struct fake fake;
	struct gate gate = {.mutex = PTHREAD_MUTEX_INITIALIZER};
	struct vm vm;

	swo_cond_init(&gate.changed);
	vm_boot(&vm, &fake, 1, 1);
	fake.on_access = gate_pass;
	fake.on_access_opaque = &gate;
	vm_resume(&vm, &fake);
	for (int i = 0; i < 5; i++) {
		await_doorbells(&fake, 10);
		gate_arm(&gate, 0);
		move_from_within(&vm, &fake, &gate);
		vm_resume(&vm, &fake);
	}
	await_doorbells(&fake, 10);
	vm_pause(&vm, &fake);
	expect_no_loss(&fake);
	expect_agreement(&vm, &fake, 1);
	vm_end(&vm, &fake);
}

/*
 * The number of accesses with which the guest sets up its device when it is moved so many
 * times.
 */
static uint64_t accesses_of_set_up(unsigned moves)
{
	struct fake fake;
	struct gate gate = {.mutex = PTHREAD_MUTEX_INITIALIZER};
	struct vm vm;

	swo_cond_init(&gate.changed);
	vm_boot(&vm, &fake, 1, 1);
	fake.on_access = gate_pass;
	fake.on_access_opaque = &gate;
	for (unsigned i = 0; i < moves; i++) {
		gate_arm(&gate, i * 5);
		vm_resume(&vm, &fake);
		move_from_within(&vm, &fake, &gate);
	}
	vm_resume(&vm, &fake);
	await_doorbells(&fake, 1);
	vm_pause(&vm, &fake);
	expect_no_loss(&fake);
	vm_end(&vm, &fake);
	return fake.accesses;
}

static void a_port_access_in_progress_at_the_pause_is_done_once(void **state)
{
	(void)state;
	assert_int_equal(accesses_of_set_up(10), accesses_of_set_up(0));
}

static void a_damaged_state_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	struct fake fake;
	struct vm vm;
	struct swo_error err = {0};
	struct swo_buf good = SWO_BUF_INIT(1 << 20), after = SWO_BUF_INIT(1 << 20);

	vm_run(&vm, &fake, 1, VCPUS);
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
	for (size_t at = 0; at < 24 + 16; at++) { /* the header, and that of the first record */
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
	vm_end(&vm, &fake);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vm_moves_with_nothing_lost_or_repeated),
		cmocka_unit_test(a_source_that_was_saved_can_go_on),
		cmocka_unit_test(a_doorbell_in_progress_at_the_pause_is_rung_once),
		cmocka_unit_test(a_port_access_in_progress_at_the_pause_is_done_once),
		cmocka_unit_test(a_damaged_state_is_refused_and_changes_nothing),
	};

	if (!accel_test_begins(argc, argv))
		return argc == 2 ? 0 : 2;
	return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL);
}
