/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm.h - a VM on the fake machine, and the operations of the accelerator tests. Test programs
 * take the kind as their argument: `test-accel kvm|native`.
 */
#ifndef TESTS_VMM_ACCEL_VM_H
#define TESTS_VMM_ACCEL_VM_H

#include "fake.h"

#define RAM_SIZE   (16u << 20)
#define VCPUS	   2u
#define PERIOD_US  2000u
#define HANG_MS	   30000u
#define DIRTY_RATE 500u

extern enum vmm_accel_kind accel_kind;
extern unsigned accel_turns; /* ticks per round of doorbells, for VMs that are opened from now on */
/* Reads the kind; false if it cannot run here (with a TAP skip), or is unknown. */
bool accel_test_begins(int argc, char **argv);

/* One VM: memory and an accelerator on the fake machine. */
struct vm {
	struct swo_ram *ram;
	struct vmm_accel *accel;
};

struct vmm_guest_params usual_work(void);
void must(int rc, const struct swo_error *err);
void vm_open(struct vm *vm, struct fake *fake, unsigned vcpus);
void vm_close(struct vm *vm);
void vm_boot(struct vm *vm, struct fake *fake, unsigned devices, unsigned vcpus);
/* The same, and it runs. */
void vm_run(struct vm *vm, struct fake *fake, unsigned devices, unsigned vcpus);
/* Of both: closed, and free. */
void vm_end(struct vm *vm, struct fake *fake);
void vm_pause(struct vm *vm, struct fake *fake);
void vm_resume(struct vm *vm, struct fake *fake);
struct vmm_guest_stats stats_of(struct vm *vm);
/* Waits for that many more doorbells. */
void await_doorbells(struct fake *fake, uint64_t more);
void expect_no_loss(struct fake *fake);
/* The sequence numbers that the devices received match the guest's count, up to the last one. */
void expect_agreement(struct vm *vm, struct fake *fake, unsigned vcpus);
void expect_whole_ram(struct vm *vm);
/* Copies the dirty pages and the vCPUs to an open VM; the two must then be equal. */
void move_paused(struct vm *from, struct vm *to, struct fake *fake);
/* Moves a running VM by its dirty log and its saved vCPUs; the devices stay. */
void move(struct vm *from, struct vm *to, struct fake *fake);

#endif
