/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm_cpu.c - the CPU that the guest sees: its CPUID and TSC frequency, and their description for
 * the other side of a migration.
 */
#include "kvm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define TSC_PPM 250 /* KVM takes a deviation up to this as its own rate (tsc_tolerance_ppm) */

/* CPUID */

static const struct kvm_cpuid_entry2 *find_leaf(
	const struct guest_cpuid *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	return NULL;
}

/* The host's, without nested virtualisation, whose state is not saved. */
int kvm_cpuid_read(struct kvm *kvm, struct swo_error *err)
{
	kvm->cpuid.nent = KVM_CPUID_MAX;
	if (ioctl(kvm->kvm_fd, KVM_GET_SUPPORTED_CPUID, &kvm->cpuid))
		return swo_error_set(err, SWO_E_IO, errno, "KVM: cpuid");
	for (uint32_t i = 0; i < kvm->cpuid.nent; i++) {
		struct kvm_cpuid_entry2 *entry = &kvm->cpuid.entries[i];

		if (entry->function == 1)
			entry->ecx &= ~(1u << 5); /* VMX */
		else if (entry->function == 0x80000001)
			entry->ecx &= ~(1u << 2); /* SVM */
	}
	return 0;
}

/* With the vCPU's APIC ID. Once a vCPU has run, KVM accepts the same one only. */
int kvm_cpuid_set(struct kvm_vcpu *vcpu, const struct guest_cpuid *cpuid)
{
	struct guest_cpuid own = *cpuid;

	for (uint32_t i = 0; i < own.nent; i++) {
		struct kvm_cpuid_entry2 *entry = &own.entries[i];

		if (entry->function == 1)
			entry->ebx = (entry->ebx & 0xffffff) | vcpu->index << 24;
		else if (entry->function == 0xb || entry->function == 0x1f)
			entry->edx = vcpu->index;
	}
	return ioctl(vcpu->fd, KVM_SET_CPUID2, &own);
}

/* Names of the bits, from 0 on, as in Linux' /proc/cpuinfo; a bit beyond, or "-", has a number. */
static const struct feature_register {
	uint32_t function, index;
	size_t offset;
	uint32_t ignored; /* bits that follow the guest's control registers */
	const char *name;
	const char *bits;
} registers[] = {
#define REGISTER(f, i, r) f, i, offsetof(struct kvm_cpuid_entry2, r)
	{REGISTER(1, 0, edx), 0, "1.edx",
		"fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn "
		"clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe"},
	{REGISTER(1, 0, ecx), 1u << 27, "1.ecx",
		"sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr "
		"pdcm - pcid dca sse4_1 sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave "
		"osxsave avx f16c rdrand hypervisor"},
	{REGISTER(7, 0, ebx), 0, "7.0.ebx",
		"fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx "
		"rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb intel_pt "
		"avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
	{REGISTER(7, 0, ecx), 1u << 4, "7.0.ecx",
		"- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq "
		"avx512_vnni avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid - "
		"bus_lock_detect cldemote - movdiri movdir64b enqcmd"},
	{REGISTER(7, 0, edx), 0, "7.0.edx",
		"- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - "
		"serialize - tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile "
		"amx_int8 spec_ctrl intel_stibp flush_l1d arch_capabilities core_capabilities "
		"ssbd"},
	{REGISTER(7, 1, eax), 0, "7.1.eax", ""},
	{REGISTER(7, 1, edx), 0, "7.1.edx", ""},
	{REGISTER(7, 2, edx), 0, "7.2.edx", ""},
	{REGISTER(0xd, 0, eax), 0, "xcr0", ""},
	{REGISTER(0xd, 1, eax), 0, "d.1.eax", "xsaveopt xsavec xgetbv1 xsaves"},
	{REGISTER(0x80000001, 0, ecx), 0, "80000001.ecx",
		"lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch"},
	{REGISTER(0x80000001, 0, edx), 0, "80000001.edx",
		"- - - - - - - - - - - syscall - - - - - - - - nx - mmxext - - fxsr_opt pdpe1gb "
		"rdtscp - lm"},
	{REGISTER(0x80000007, 0, edx), 0, "80000007.edx", "- - - - - - - - constant_tsc"},
	{REGISTER(0x80000008, 0, ebx), 0, "80000008.ebx", ""},
	{REGISTER(0x80000021, 0, eax), 0, "80000021.eax", ""},
	{REGISTER(0x40000001, 0, eax), 0, "kvm", ""},
#undef REGISTER
};

static int add_feature(const struct feature_register *reg, unsigned bit, struct swo_buf *out,
	struct swo_error *err)
{
	const char *name = reg->bits;
	char text[48];
	size_t len;

	for (unsigned i = 0; i < bit && *name; i++) {
		name += strcspn(name, " ");
		name += *name == ' ';
	}
	len = strcspn(name, " ");
	if (!len || *name == '-')
		snprintf(text, sizeof(text), "%s.%u ", reg->name, bit);
	else
		snprintf(text, sizeof(text), "%.*s ", (int)len, name);
	return swo_buf_append(out, text, strlen(text), err);
}

static int add_features(const struct guest_cpuid *cpuid, struct swo_buf *out, struct swo_error *err)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(registers); i++) {
		const struct feature_register *reg = &registers[i];
		const struct kvm_cpuid_entry2 *leaf = find_leaf(cpuid, reg->function, reg->index);
		uint32_t value = 0;

		if (leaf)
			memcpy(&value, (const char *)leaf + reg->offset, sizeof(value));
		value &= ~reg->ignored;
		for (unsigned bit = 0; bit < 32; bit++)
			if (value >> bit & 1 && add_feature(reg, bit, out, err))
				return -1;
	}
	return swo_buf_append(out, "", 1, err);
}

/* TSC */

uint32_t kvm_tsc_khz(struct kvm *kvm)
{
	int khz = ioctl(kvm->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);

	atomic_store(&kvm->tsc_khz, khz > 0 ? (unsigned)khz : 0);
	return atomic_load(&kvm->tsc_khz);
}

int kvm_cpu(struct vmm_accel *accel, struct vmm_accel_cpu *out, struct swo_error *err)
{
	const struct kvm *kvm = kvm_of(accel);
	const struct kvm_cpuid_entry2 *leaf = find_leaf(&kvm->cpuid, 0, 0);
	struct swo_buf features = SWO_BUF_INIT(sizeof(out->features));

	memset(out, 0, sizeof(*out));
	if (add_features(&kvm->cpuid, &features, err)) {
		swo_buf_free(&features);
		return -1;
	}
	memcpy(out->features, features.data, features.len);
	swo_buf_free(&features);
	if (leaf)
		memcpy(out->vendor, (const uint32_t[]){leaf->ebx, leaf->edx, leaf->ecx}, 12);
	out->xsave_bytes = kvm->xsave_size;
	out->tsc_khz = atomic_load(&kvm->tsc_khz);
	/* The guest's rate is then set to the source's. */
	out->tsc_any = ioctl(kvm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
	out->tsc_ppm = TSC_PPM;
	return 0;
}
