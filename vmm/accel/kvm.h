/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm.h - private to the KVM accelerator: the VM, its vCPU threads, the saved state, the
 * interrupt routes.
 */
#ifndef VMM_ACCEL_KVM_H
#define VMM_ACCEL_KVM_H

#include "internal.h"

#include <linux/kvm.h>

#define KVM_MSIS_MAX	  2048
#define KVM_FIRST_MSI_GSI 24 /* after the I/O APIC's pins */
#define KVM_MSRS_MAX	  32
#define KVM_XSAVE_MAX	  16384
#define KVM_CPUID_MAX	  256

struct kvm;

struct kvm_vcpu {
	struct kvm *kvm;
	unsigned index;
	int fd;
	struct kvm_run *run; /* shared with the kernel */
	pthread_t thread;
	bool started;
	bool parked;
	bool dead; /* cannot continue; bus.failed was called */
};

struct kvm_vector {
	bool used;
	bool masked;
	bool routed;
	int eventfd;
	uint64_t addr;
	uint32_t data;
};

/* struct kvm_cpuid2 with space for all entries. */
struct guest_cpuid {
	uint32_t nent;
	uint32_t padding;
	struct kvm_cpuid_entry2 entries[KVM_CPUID_MAX];
};

struct kvm {
	struct vmm_accel accel;
	int kvm_fd;
	int vm_fd;
	size_t run_size;
	uint32_t xsave_size;
	struct guest_cpuid cpuid; /* the guest's, but for APIC IDs */
	atomic_uint tsc_khz;	  /* as last read; 0: unknown */
	uint32_t msr_count;	  /* number of saved MSRs that this host has */
	uint32_t msrs[KVM_MSRS_MAX];
	struct kvm_vcpu *vcpus;

	pthread_mutex_t mutex;
	pthread_cond_t changed; /* run, quit, parked, exited */
	bool run, hold;		/* atomic: vCPUs read them without the mutex */
	bool quit;
	unsigned parked;
	unsigned exited;

	struct kvm_state *incoming, *backup;

	pthread_mutex_t msi_mutex;
	unsigned msi_count;
	struct kvm_vector msis[KVM_MSIS_MAX];
	struct kvm_irq_routing *routes; /* allocated for all routes */
};

static inline struct kvm *kvm_of(struct vmm_accel *accel)
{
	return (struct kvm *)accel;
}

/* kvm_cpu.c: CPUID and TSC */

int kvm_cpuid_read(struct kvm *kvm, struct swo_error *err);
/* 0, or -1 with errno. */
int kvm_cpuid_set(struct kvm_vcpu *vcpu, const struct guest_cpuid *cpuid);
/* 0: unknown. While no vCPU runs: the kernel holds the ioctl up for as long as vCPU 0 is in the guest. */
uint32_t kvm_tsc_khz(struct kvm *kvm);
int kvm_cpu(struct vmm_accel *accel, struct vmm_accel_cpu *out, struct swo_error *err);

/* kvm_vcpu.c: threads */

int kvm_vcpus_start(struct kvm *kvm, struct swo_error *err);
/* false: a thread hangs in a device's callback, and its memory must be kept. */
bool kvm_vcpus_end(struct kvm *kvm);
void kvm_resume(struct vmm_accel *accel);
void kvm_hold(struct vmm_accel *accel, bool hold);
int kvm_pause(struct vmm_accel *accel, swo_deadline deadline, struct swo_error *err);

/* kvm_state.c: the saved state */

/* Allocates the buffers of save and load, so that neither allocates during the downtime. */
int kvm_state_prepare(struct kvm *kvm, struct swo_error *err);
void kvm_state_free(struct kvm *kvm);
int kvm_save(struct vmm_accel *accel, struct swo_buf *out, struct swo_error *err);
int kvm_load(struct vmm_accel *accel, const void *data, size_t len, struct swo_error *err);

/* kvm_msi.c: interrupts */

int kvm_msi_prepare(struct kvm *kvm, struct swo_error *err);
int kvm_msi_add(struct vmm_accel *accel, int eventfd, unsigned *handle, struct swo_error *err);
int kvm_msi_set(struct vmm_accel *accel, unsigned handle, uint64_t addr, uint32_t data, bool masked,
	struct swo_error *err);
void kvm_msi_del(struct vmm_accel *accel, unsigned handle);

#endif
