/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * native.h - private to the native accelerator: threads of this process that do the guest's
 * work on the guest's memory.
 */
#ifndef VMM_ACCEL_NATIVE_H
#define VMM_ACCEL_NATIVE_H

#include "internal.h"

#include "guest/work.h"

#define NATIVE_MSIS_MAX 4096

/* One per vCPU; also the environment that the guest's work receives. */
struct guest_env {
	struct native *native;
	unsigned index;
	pthread_t thread;
	bool started;
	bool parked;
	uint64_t work_until_ns; /* end of the tick's time for other work than doorbells */
	uint64_t pending_irqs;	/* read from eventfds at a save; delivered at resume */
	uint64_t scratch[GUEST_RAM_SPAN / 8];
};

struct native_msi {
	bool used;
	bool masked;
	int eventfd;
	uint64_t addr;
};

struct native {
	struct vmm_accel accel;
	pthread_mutex_t mutex;
	pthread_cond_t changed; /* run, quit, parked, exited */
	bool run, hold;
	bool quit;
	unsigned parked;
	unsigned exited;
	struct guest_env *vcpus;

	int epoll_fd;
	int wake_fd; /* ends the MSI thread's epoll_wait */
	pthread_t msi_thread;
	bool msi_started;
	unsigned msi_count;
	struct native_msi msis[NATIVE_MSIS_MAX];
};

/* native_msi.c */

int native_msi_start(struct native *native, struct swo_error *err);
/* quit is set; joins the thread, which never blocks for long. */
void native_msi_end(struct native *native);
/* With the mutex held: move counts from eventfds to pending_irqs; deliver pending_irqs. */
void native_msi_drain(struct native *native);
void native_msi_deliver_pending(struct native *native);
int native_msi_add(struct vmm_accel *accel, int eventfd, unsigned *handle, struct swo_error *err);
int native_msi_set(struct vmm_accel *accel, unsigned handle, uint64_t addr, uint32_t data,
	bool masked, struct swo_error *err);
void native_msi_del(struct vmm_accel *accel, unsigned handle);

#endif
