/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_vm.h - a VM without a guest: RAM that a thread keeps writing to while it runs, devices whose
 * state is bytes, and switches that make any part fail. For tests of the engine.
 */
#ifndef TESTS_MIGRATION_FAKE_VM_H
#define TESTS_MIGRATION_FAKE_VM_H

#include "switchover/migration.h"
#include "testbed/fake_device.h"
#include "tests/support/cm.h"

#include <stdatomic.h>
#include <stdbool.h>

#define FAKE_DEVICES_MAX 8
#define FAKE_THROTTLES	 8

struct fake_vm {
	struct swo_vm vm;
	struct fake_device devices[FAKE_DEVICES_MAX];
	struct swo_device *table[FAKE_DEVICES_MAX];
	struct swo_dirty_source dirty;
	pthread_t writer;
	pthread_mutex_t mutex; /* the "vCPU" writes and logs under it */
	bool quit;
	bool running;
	atomic_int starts;
	atomic_int offences; /* rules that the engine broke; checked at close */
	uint64_t counter;    /* the machine's state */
	size_t padding;	     /* bytes of it that mean nothing; only a source has them */
	uint64_t *written;   /* a bit a page since the last collect */
	bool leaves;	     /* start() does not start it */
	bool fail_stop, fail_start, fail_machine_save, fail_machine_load, fail_config_load,
		fail_config_renew;
	bool any_length;		     /* its source may send less state than a device has */
	void (*on_load)(struct fake_vm *vm); /* target: before READY */
	void (*_Atomic on_start)(struct fake_vm *vm); /* before any device leaves its stop */
	void (*on_stop)(struct fake_vm *vm);	      /* before it stops */
	void (*on_save)(struct fake_vm *vm);	      /* it stands still, and all is written */
	void *hook;				      /* for the test's own use */
	bool out_of_reach;			      /* devices have no way to RAM */
	bool fail_reach;			      /* putting RAM back into reach fails */
	atomic_int log_starts;
	atomic_uint throttle; /* percent of the turns in which the "vCPU" does nothing */
	atomic_uint throttle_calls;
	unsigned throttles[FAKE_THROTTLES]; /* the first requests */
	bool fail_throttle;
	char layout[64];
	uint8_t config[FAKE_DEVICES_MAX];      /* the VMM's config of each device */
	uint8_t config_seen[FAKE_DEVICES_MAX]; /* loaded at the target */
	unsigned renewed[FAKE_DEVICES_MAX];    /* and how often renewed */
	struct swo_migration *migration;
};

/* Of the devices of every VM that is opened from here on; at first FAKE_FLAGS_ALL. */
extern uint64_t fake_vm_flags;
/* Of the devices of VMs that are opened from then on; 0: 2000. */
extern uint64_t fake_arc_deadlines_ms[FAKE_DEVICES_MAX];

void fake_vm_open(struct fake_vm *vm, unsigned devices, bool running, size_t device_size,
	enum swo_transitions transitions);
void fake_vm_close(struct fake_vm *vm);
bool fake_vm_runs(struct fake_vm *vm);
void fake_vm_run(struct fake_vm *vm, bool running);

/* A URI of its own; fake_vm's tests run in a directory of their own. */
const char *fake_uri(void);

/* How many entries a directory has, as /proc/self/fd and /proc/self/task do. */
unsigned fake_entries(const char *path);

/* Starts target and source with these parameters (NULL: defaults with a large downtime-limit). */
void fake_migrate(
	struct fake_vm *source, struct fake_vm *target, const struct swo_migration_params *params);
struct swo_migration_params fake_params(void);
/* Waits for the end; fails the test on a timeout. */
struct swo_migration_info fake_end(struct fake_vm *vm);

#endif
