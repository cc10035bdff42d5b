/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm.c - the KVM accelerator: creates the VM and its vCPUs, and sets their initial state.
 * Interface: the kernel's Documentation/virt/kvm/api.rst.
 */
#include "kvm.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Three pages, plus one that Intel hosts need in the guest's address space, just below the
 * firmware.
 */
#define TSS_GPA		 0xfffbd000ul
#define IDENTITY_MAP_GPA 0xfffbc000ull

static int unsupported(struct swo_error *err, int errnum, const char *what)
{
	return swo_error_set(err, SWO_E_UNSUPPORTED, errnum,
		"KVM: %s; use the native accelerator (--accel native)", what);
}

static int open_kvm(struct kvm *kvm, struct swo_error *err)
{
	static const struct {
		int cap;
		const char *name;
	} needed[] = {
		{KVM_CAP_IRQCHIP, "no interrupt controller in the kernel"},
		{KVM_CAP_IRQFD, "no irqfd"},
		{KVM_CAP_IRQ_ROUTING, "no interrupt routing"},
		{KVM_CAP_IMMEDIATE_EXIT, "no immediate_exit"},
		{KVM_CAP_XSAVE, "no xsave"},
		{KVM_CAP_XCRS, "no xcrs"},
		{KVM_CAP_VCPU_EVENTS, "no vcpu_events"},
		{KVM_CAP_DEBUGREGS, "no debugregs"},
		{KVM_CAP_MP_STATE, "no mp_state"},
		{KVM_CAP_EXT_CPUID, "no cpuid"},
	};

	kvm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm->kvm_fd < 0)
		return unsupported(err, errno, "/dev/kvm");
	if (ioctl(kvm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return unsupported(err, 0, "unknown API version");
	kvm->vm_fd = ioctl(kvm->kvm_fd, KVM_CREATE_VM, 0);
	if (kvm->vm_fd < 0)
		return unsupported(err, errno, "cannot create a VM");
	for (size_t i = 0; i < SWO_ARRAY_SIZE(needed); i++)
		if (ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return unsupported(err, 0, needed[i].name);
	return 0;
}

static int set_slot(struct kvm *kvm, unsigned slot, uint64_t gpa, uint64_t size, void *host)
{
	struct kvm_userspace_memory_region region = {.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host};

	return ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int set_up_vm(struct kvm *kvm, struct swo_error *err)
{
	uint64_t identity = IDENTITY_MAP_GPA;
	struct swo_ram *ram = kvm->accel.ram;

	if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA) ||
		ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity))
		return swo_error_set(err, SWO_E_IO, errno, "KVM: cannot set the TSS address");
	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0))
		return unsupported(err, errno, "cannot create the interrupt controller");
	for (unsigned i = 0; i < swo_ram_count(ram); i++) {
		const struct swo_ram_region *region = swo_ram_region(ram, i);

		if (set_slot(kvm, i, region->gpa, region->size, region->host))
			return swo_error_set(err, SWO_E_IO, errno,
				"KVM: cannot set a memory slot for RAM region '%s'", region->name);
	}
	return 0;
}

static int create_vcpu(struct kvm *kvm, struct kvm_vcpu *vcpu, struct swo_error *err)
{
	vcpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, vcpu->index);
	if (vcpu->fd < 0)
		return swo_error_set(
			err, SWO_E_NO_MEMORY, errno, "KVM: cannot create vCPU %u", vcpu->index);
	vcpu->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return swo_error_set(err, SWO_E_NO_MEMORY, errno,
			"KVM: cannot map the run page of vCPU %u", vcpu->index);
	}
	if (kvm_cpuid_set(vcpu, &kvm->cpuid))
		return swo_error_set(err, SWO_E_IO, errno, "KVM: vCPU %u: cpuid", vcpu->index);
	return 0;
}

static int create_vcpus(struct kvm *kvm, struct swo_error *err)
{
	int size = ioctl(kvm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (size < (int)sizeof(struct kvm_run))
		return swo_error_set(
			err, SWO_E_IO, 0, "KVM: run page of %d bytes, too small", size);
	kvm->run_size = (size_t)size;
	if (kvm_cpuid_read(kvm, err))
		return -1;
	for (unsigned i = 0; i < kvm->accel.config.vcpus; i++) {
		kvm->vcpus[i].kvm = kvm;
		kvm->vcpus[i].index = i;
		if (create_vcpu(kvm, &kvm->vcpus[i], err))
			return -1;
	}
	return 0;
}

/* The first state */

static void set_segment(struct kvm_segment *segment, uint16_t selector, bool code)
{
	*segment = (struct kvm_segment){
		.limit = UINT32_MAX,
		.selector = selector,
		.type = code ? 0xb : 0x3, /* accessed; code: readable, data: writable */
		.present = 1,
		.s = 1,
		.g = 1,
		.l = code,
		.db = !code,
	};
}

/* 64-bit mode at once, which guest/metal.c expects at its entry. */
static int boot_vcpu(struct kvm_vcpu *vcpu, struct swo_error *err)
{
	struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_regs regs = {
		.rip = GUEST_IMAGE_GPA,
		.rsp = GUEST_STACKS_GPA + (vcpu->index + 1) * GUEST_PAGE - 8,
		.rdi = vcpu->index,
		.rflags = 2,
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return swo_error_set(err, SWO_E_IO, errno, "KVM: vCPU %u: sregs", vcpu->index);
	set_segment(&sregs.cs, 0x08, true);
	set_segment(&sregs.ds, 0x10, false);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.gs.base = GUEST_VCPU_GPA + vcpu->index * sizeof(struct guest_vcpu);
	sregs.cr0 = 0x80050033; /* PG AM WP NE ET MP PE */
	sregs.cr3 = GUEST_TABLES_GPA;
	sregs.cr4 = 0x620;  /* PAE OSFXSR OSXMMEXCPT */
	sregs.efer = 0x500; /* LME LMA */
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) || ioctl(vcpu->fd, KVM_SET_REGS, &regs) ||
		ioctl(vcpu->fd, KVM_SET_MP_STATE, &runnable))
		return swo_error_set(err, SWO_E_IO, errno,
			"KVM: cannot set the initial state of vCPU %u", vcpu->index);
	return 0;
}

static int kvm_boot(struct vmm_accel *accel, struct swo_error *err)
{
	for (unsigned i = 0; i < accel->config.vcpus; i++)
		if (boot_vcpu(&kvm_of(accel)->vcpus[i], err))
			return -1;
	return 0;
}

/* RAM uses the first slots. */
static int kvm_map(struct vmm_accel *accel, unsigned slot, uint64_t gpa, uint64_t size, void *host,
	struct swo_error *err)
{
	if (!set_slot(kvm_of(accel), swo_ram_count(accel->ram) + slot, gpa, size, host))
		return 0;
	return swo_error_set(err, SWO_E_IO, errno, "KVM: cannot set memory slot %u at 0x%llx",
		swo_ram_count(accel->ram) + slot, (unsigned long long)gpa);
}

static int kvm_dirty_source(
	struct vmm_accel *accel, struct swo_dirty_source *out, struct swo_error *err)
{
	return swo_dirty_kvm(accel->ram, kvm_of(accel)->vm_fd, out, err);
}

/* The accelerator */

static void kvm_free(struct vmm_accel *accel)
{
	struct kvm *kvm = kvm_of(accel);

	if (!kvm_vcpus_end(kvm)) {
		swo_log(SWO_LOG_WARN, "a vCPU thread hangs in a device; leaking it");
		base_leak_hung(accel);
		return;
	}
	for (unsigned i = 0; i < accel->config.vcpus; i++) {
		if (kvm->vcpus[i].run)
			munmap(kvm->vcpus[i].run, kvm->run_size);
		swo_close_fd(&kvm->vcpus[i].fd);
	}
	swo_close_fd(&kvm->vm_fd);
	swo_close_fd(&kvm->kvm_fd);
	kvm_state_free(kvm);
	pthread_cond_destroy(&kvm->changed);
	pthread_mutex_destroy(&kvm->mutex);
	pthread_mutex_destroy(&kvm->msi_mutex);
	free(kvm->routes);
	free(kvm->vcpus);
	free(kvm);
}

static const struct accel_ops kvm_ops = {
	.name = "kvm",
	.free = kvm_free,
	.boot = kvm_boot,
	.resume = kvm_resume,
	.pause = kvm_pause,
	.hold = kvm_hold,
	.save = kvm_save,
	.load = kvm_load,
	.dirty_source = kvm_dirty_source,
	.msi_add = kvm_msi_add,
	.msi_set = kvm_msi_set,
	.msi_del = kvm_msi_del,
	.map = kvm_map,
	.cpu = kvm_cpu,
};

int accel_kvm_new(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err)
{
	struct kvm *kvm = calloc(1, sizeof(*kvm));
	struct kvm_vcpu *vcpus = calloc(config->vcpus, sizeof(*vcpus));

	if (!kvm || !vcpus) {
		free(kvm);
		free(vcpus);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "KVM accelerator");
	}
	kvm->accel = (struct vmm_accel){
		.ops = &kvm_ops, .config = *config, .ram = config->ram, .paused = true};
	kvm->kvm_fd = kvm->vm_fd = -1;
	kvm->vcpus = vcpus;
	for (unsigned i = 0; i < config->vcpus; i++)
		vcpus[i].fd = -1;
	pthread_mutex_init(&kvm->mutex, NULL);
	pthread_mutex_init(&kvm->msi_mutex, NULL);
	swo_cond_init(&kvm->changed);
	if (open_kvm(kvm, err) || set_up_vm(kvm, err) || create_vcpus(kvm, err) ||
		kvm_state_prepare(kvm, err) || kvm_msi_prepare(kvm, err) ||
		kvm_vcpus_start(kvm, err)) {
		kvm_free(&kvm->accel);
		return -1;
	}
	*out = &kvm->accel;
	return 0;
}
