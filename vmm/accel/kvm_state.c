/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm_state.c - KVM's state of the vCPUs and the interrupt controllers: reads it, writes it to
 * records, parses records, sets it.
 *
 * A record contains one struct of KVM's ABI (linux/kvm.h, asm/kvm.h), whose size is asserted
 * here. Loading first checks all records, then saves the previous state, then sets the new one;
 * if the kernel rejects a value, the previous state is restored.
 */
#include "kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static_assert(sizeof(struct kvm_regs) == 144, "KVM ABI");
static_assert(sizeof(struct kvm_sregs) == 312, "KVM ABI");
static_assert(sizeof(struct kvm_xcrs) == 392, "KVM ABI");
static_assert(sizeof(struct kvm_lapic_state) == 1024, "KVM ABI");
static_assert(sizeof(struct kvm_vcpu_events) == 64, "KVM ABI");
static_assert(sizeof(struct kvm_debugregs) == 128, "KVM ABI");
static_assert(sizeof(struct kvm_mp_state) == 4, "KVM ABI");
static_assert(sizeof(struct kvm_irqchip) == 520, "KVM ABI");
static_assert(sizeof(struct kvm_clock_data) == 48, "KVM ABI");
static_assert(sizeof(struct kvm_msr_entry) == 16, "KVM ABI");
static_assert(sizeof(struct kvm_xsave) == 4096, "KVM ABI");
static_assert(sizeof(struct kvm_cpuid_entry2) == 40, "KVM ABI");
static_assert(offsetof(struct guest_cpuid, entries) == sizeof(struct kvm_cpuid2), "KVM ABI");

/* Sources: Intel SDM volume 4, AMD64 volume 2 appendix A, and asm/kvm_para.h for KVM's own. */
static const uint32_t msr_list[] = {
	0x10,	    /* TSC */
	0x3b,	    /* TSC_ADJUST */
	0x48,	    /* SPEC_CTRL */
	0x174,	    /* SYSENTER_CS */
	0x175,	    /* SYSENTER_ESP */
	0x176,	    /* SYSENTER_EIP */
	0x1a0,	    /* MISC_ENABLE */
	0x277,	    /* PAT */
	0x2ff,	    /* MTRRdefType */
	0xc0000080, /* EFER */
	0xc0000081, /* STAR */
	0xc0000082, /* LSTAR */
	0xc0000083, /* CSTAR */
	0xc0000084, /* SFMASK */
	0xc0000102, /* KERNEL_GS_BASE */
	0xc0000103, /* TSC_AUX */
	0x4b564d00, /* KVM wall clock */
	0x4b564d01, /* KVM system time */
	0x4b564d02, /* asynchronous page fault */
	0x4b564d03, /* steal time */
	0x4b564d04, /* PV EOI */
	0x6e0,	    /* TSC_DEADLINE: after the local APIC, so last */
};
#define MSRS SWO_ARRAY_SIZE(msr_list)
static_assert(MSRS <= KVM_MSRS_MAX, "kvm.h");
#define MSR_TSC_DEADLINE 0x6e0

/* struct kvm_msrs with space for all of them. */
struct msr_block {
	uint32_t nmsrs;
	uint32_t pad;
	struct kvm_msr_entry entry[MSRS];
};
static_assert(offsetof(struct msr_block, entry) == sizeof(struct kvm_msrs), "KVM ABI");

enum vcpu_part {
	PART_SREGS,
	PART_REGS,
	PART_XCRS,
	PART_XSAVE,
	PART_MSRS,
	PART_LAPIC,
	PART_EVENTS,
	PART_DEBUGREGS,
	PART_MP_STATE,
	VCPU_PARTS,
};
#define TAG_VCPU    0x100u /* + part; index: the vCPU */
#define TAG_IRQCHIP 0x200u /* index: the chip */
#define TAG_CLOCK   0x201u
#define TAG_CPUID   0x202u
#define TAG_TSC	    0x203u /* kHz; 0: unknown */
#define IRQCHIPS    3u

struct vcpu_state {
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_xcrs xcrs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_mp_state mp_state;
	struct msr_block msrs;
	uint8_t xsave[KVM_XSAVE_MAX] __attribute__((aligned(64)));
};

struct kvm_state {
	struct kvm_irqchip chip[IRQCHIPS];
	struct kvm_clock_data clock;
	struct guest_cpuid cpuid;
	uint32_t tsc_khz;
	struct vcpu_state vcpu[];
};

struct part_info {
	const char *name;
	unsigned long get, set;
	size_t offset, size;
};

#define PART(field, NAME)                                                                          \
	{                                                                                          \
#field, KVM_GET_##NAME, KVM_SET_##NAME, offsetof(struct vcpu_state, field),        \
			sizeof(((struct vcpu_state *)0)->field)                                    \
	}

/* In the order in which they can be set: sregs have the APIC's base, on which the rest depends. */
static const struct part_info parts[VCPU_PARTS] = {
	[PART_SREGS] = PART(sregs, SREGS),
	[PART_REGS] = PART(regs, REGS),
	[PART_XCRS] = PART(xcrs, XCRS),
	[PART_XSAVE] = PART(xsave, XSAVE), /* size depends on the host */
	[PART_MSRS] = PART(msrs, MSRS),	   /* count depends on the host */
	[PART_LAPIC] = PART(lapic, LAPIC),
	[PART_EVENTS] = PART(events, VCPU_EVENTS),
	[PART_DEBUGREGS] = PART(debugregs, DEBUGREGS),
	[PART_MP_STATE] = PART(mp_state, MP_STATE),
};

static size_t part_size(const struct kvm *kvm, unsigned part)
{
	return part == PART_XSAVE ? kvm->xsave_size : parts[part].size;
}

static void *part_of(struct vcpu_state *state, unsigned part)
{
	return (uint8_t *)state + parts[part].offset;
}

/* Read from the kernel */

static int get_msrs(struct kvm_vcpu *vcpu, struct msr_block *block)
{
	const struct kvm *kvm = vcpu->kvm;

	for (uint32_t i = 0; i < kvm->msr_count; i++)
		block->entry[i] = (struct kvm_msr_entry){.index = kvm->msrs[i]};
	block->nmsrs = kvm->msr_count;
	return ioctl(vcpu->fd, KVM_GET_MSRS, block) == (int)kvm->msr_count ? 0 : -1;
}

static int get_part(struct kvm_vcpu *vcpu, struct vcpu_state *state, unsigned part)
{
	if (part == PART_MSRS)
		return get_msrs(vcpu, &state->msrs);
	if (part == PART_XSAVE && vcpu->kvm->xsave_size > sizeof(struct kvm_xsave))
		return ioctl(vcpu->fd, KVM_GET_XSAVE2, state->xsave);
	return ioctl(vcpu->fd, parts[part].get, part_of(state, part));
}

static int get_state(struct kvm *kvm, struct kvm_state *state, struct swo_error *err)
{
	state->cpuid = kvm->cpuid;
	state->tsc_khz = kvm_tsc_khz(kvm);
	for (unsigned i = 0; i < kvm->accel.config.vcpus; i++)
		for (unsigned part = 0; part < VCPU_PARTS; part++)
			if (get_part(&kvm->vcpus[i], &state->vcpu[i], part))
				return swo_error_set(err, SWO_E_IO, errno,
					"KVM: vCPU %u: cannot read its %s", i, parts[part].name);
	for (unsigned i = 0; i < IRQCHIPS; i++) {
		state->chip[i].chip_id = i;
		if (ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &state->chip[i]))
			return swo_error_set(err, SWO_E_IO, errno,
				"KVM: cannot read interrupt controller %u", i);
	}
	if (ioctl(kvm->vm_fd, KVM_GET_CLOCK, &state->clock))
		return swo_error_set(err, SWO_E_IO, errno, "KVM: cannot read the clock");
	return 0;
}

/* Set in the kernel */

/* KVM stops at the first MSR that this host lacks: it may be skipped if its value is zero. */
static int set_msrs(struct kvm_vcpu *vcpu, const struct msr_block *block, bool deadline)
{
	struct msr_block now = {0};

	for (uint32_t i = 0; i < block->nmsrs; i++)
		if ((block->entry[i].index == MSR_TSC_DEADLINE) == deadline)
			now.entry[now.nmsrs++] = block->entry[i];
	while (now.nmsrs) {
		int set = ioctl(vcpu->fd, KVM_SET_MSRS, &now);

		if (set < 0)
			return -1;
		if ((uint32_t)set >= now.nmsrs)
			return 0;
		if (now.entry[set].data) {
			errno = EINVAL;
			return -1;
		}
		now.nmsrs -= (uint32_t)set + 1;
		memmove(now.entry, now.entry + set + 1, now.nmsrs * sizeof(now.entry[0]));
	}
	return 0;
}

static int set_part(struct kvm_vcpu *vcpu, struct vcpu_state *state, unsigned part)
{
	if (part == PART_MSRS)
		return set_msrs(vcpu, &state->msrs, false);
	if (ioctl(vcpu->fd, parts[part].set, part_of(state, part)))
		return -1;
	return part == PART_LAPIC ? set_msrs(vcpu, &state->msrs, true) : 0;
}

static bool cpuid_equal(const struct guest_cpuid *a, const struct guest_cpuid *b)
{
	return a->nent == b->nent && !memcmp(a->entries, b->entries, a->nent * sizeof(*a->entries));
}

/* The guest goes on with the CPU that it was booted on, whatever more this host's has. */
static int set_cpu(struct kvm *kvm, const struct kvm_state *state, struct swo_error *err)
{
	const bool other = !cpuid_equal(&state->cpuid, &kvm->cpuid);
	const bool rate = state->tsc_khz && state->tsc_khz != kvm_tsc_khz(kvm);

	for (unsigned i = 0; i < kvm->accel.config.vcpus; i++) {
		struct kvm_vcpu *vcpu = &kvm->vcpus[i];

		if (other && kvm_cpuid_set(vcpu, &state->cpuid))
			return swo_error_set(err, SWO_E_CORRUPT, errno,
				"KVM: cannot set the CPUID of vCPU %u", i);
		if (rate && ioctl(vcpu->fd, KVM_SET_TSC_KHZ, (unsigned long)state->tsc_khz))
			return swo_error_set(err, SWO_E_CORRUPT, errno,
				"KVM: cannot set the TSC frequency of vCPU %u to %u kHz", i,
				state->tsc_khz);
	}
	kvm->cpuid = state->cpuid;
	if (rate)
		kvm_tsc_khz(kvm);
	return 0;
}

static int set_state(struct kvm *kvm, struct kvm_state *state, struct swo_error *err)
{
	state->clock.flags = 0;
	if (set_cpu(kvm, state, err))
		return -1;
	if (ioctl(kvm->vm_fd, KVM_SET_CLOCK, &state->clock))
		return swo_error_set(err, SWO_E_CORRUPT, errno, "KVM: cannot set the clock");
	for (unsigned i = 0; i < kvm->accel.config.vcpus; i++)
		for (unsigned part = 0; part < VCPU_PARTS; part++)
			if (set_part(&kvm->vcpus[i], &state->vcpu[i], part))
				return swo_error_set(err, SWO_E_CORRUPT, errno,
					"KVM: cannot set the %s of vCPU %u", parts[part].name, i);
	for (unsigned i = 0; i < IRQCHIPS; i++) {
		state->chip[i].chip_id = i;
		if (ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &state->chip[i]))
			return swo_error_set(err, SWO_E_CORRUPT, errno,
				"KVM: cannot set interrupt controller %u", i);
	}
	return 0;
}

/* Records */

static int put_part(const struct kvm *kvm, struct swo_buf *out, struct vcpu_state *state,
	unsigned vcpu, unsigned part, struct swo_error *err)
{
	if (part == PART_MSRS)
		return blob_put(out, TAG_VCPU + part, vcpu, state->msrs.entry,
			state->msrs.nmsrs * sizeof(struct kvm_msr_entry), err);
	return blob_put(
		out, TAG_VCPU + part, vcpu, part_of(state, part), part_size(kvm, part), err);
}

int kvm_save(struct vmm_accel *accel, struct swo_buf *out, struct swo_error *err)
{
	struct kvm *kvm = kvm_of(accel);
	struct kvm_state *state = kvm->backup;
	uint32_t vcpus = accel->config.vcpus;

	if (get_state(kvm, state, err) ||
		blob_head(out, BLOB_KIND_KVM, vcpus, vcpus * VCPU_PARTS + IRQCHIPS + 3, err))
		return -1;
	for (unsigned i = 0; i < vcpus; i++)
		for (unsigned part = 0; part < VCPU_PARTS; part++)
			if (put_part(kvm, out, &state->vcpu[i], i, part, err))
				return -1;
	for (unsigned i = 0; i < IRQCHIPS; i++)
		if (blob_put(out, TAG_IRQCHIP, i, &state->chip[i], sizeof(state->chip[i]), err))
			return -1;
	if (blob_put(out, TAG_CPUID, 0, state->cpuid.entries,
		    state->cpuid.nent * sizeof(*state->cpuid.entries), err) ||
		blob_put(out, TAG_TSC, 0, &state->tsc_khz, sizeof(state->tsc_khz), err))
		return -1;
	return blob_put(out, TAG_CLOCK, 0, &state->clock, sizeof(state->clock), err);
}

/* Received records: one bit each, so that each arrives exactly once. */
struct seen {
	uint32_t parts[GUEST_VCPUS_MAX];
	uint32_t chips;
	uint32_t machine; /* clock, CPUID, TSC */
};

static bool first_time(uint32_t *seen, uint32_t bit)
{
	bool first = !(*seen >> bit & 1);

	*seen |= 1u << bit;
	return first;
}

static bool take_msrs(struct msr_block *block, const void *data, uint32_t length)
{
	uint32_t count = length / sizeof(struct kvm_msr_entry);

	if (length % sizeof(struct kvm_msr_entry) || count > MSRS)
		return false;
	memcpy(block->entry, data, length);
	block->nmsrs = count;
	for (uint32_t i = 0; i < count; i++) {
		size_t known = 0;

		while (known < MSRS && msr_list[known] != block->entry[i].index)
			known++;
		if (known == MSRS)
			return false;
	}
	return true;
}

static bool take_cpuid(struct guest_cpuid *cpuid, const void *data, uint32_t length)
{
	if (!length || length % sizeof(*cpuid->entries) || length > sizeof(cpuid->entries))
		return false;
	cpuid->nent = length / sizeof(*cpuid->entries);
	memcpy(cpuid->entries, data, length);
	return true;
}

/* Those of which there is one. */
static bool take_machine_record(struct kvm_state *state, struct seen *seen,
	const struct blob_record *record, const void *data)
{
	if (record->index || !first_time(&seen->machine, record->tag - TAG_CLOCK))
		return false;
	if (record->tag == TAG_CPUID)
		return take_cpuid(&state->cpuid, data, record->length);
	const bool clock = record->tag == TAG_CLOCK;

	if (record->length != (clock ? sizeof(state->clock) : sizeof(state->tsc_khz)))
		return false;
	memcpy(clock ? (void *)&state->clock : &state->tsc_khz, data, record->length);
	return true;
}

/* One of a host with fewer extended states is shorter; they are in the same places. */
static bool take_xsave(
	const struct kvm *kvm, struct vcpu_state *vcpu, const void *data, uint32_t length)
{
	if (length < sizeof(struct kvm_xsave) || length > kvm->xsave_size)
		return false;
	memset(vcpu->xsave, 0, sizeof(vcpu->xsave));
	memcpy(vcpu->xsave, data, length);
	return true;
}

static bool take_record(struct kvm *kvm, struct kvm_state *state, struct seen *seen,
	const struct blob_record *record, const void *data)
{
	uint32_t part = record->tag - TAG_VCPU;

	if (record->tag >= TAG_CLOCK && record->tag <= TAG_TSC)
		return take_machine_record(state, seen, record, data);
	if (record->tag == TAG_IRQCHIP) {
		if (record->index >= IRQCHIPS || record->length != sizeof(struct kvm_irqchip))
			return false;
		memcpy(&state->chip[record->index], data, sizeof(struct kvm_irqchip));
		return first_time(&seen->chips, record->index);
	}
	if (part >= VCPU_PARTS || record->index >= kvm->accel.config.vcpus)
		return false;

	struct vcpu_state *vcpu = &state->vcpu[record->index];

	if (part == PART_MSRS) {
		if (!take_msrs(&vcpu->msrs, data, record->length))
			return false;
	} else if (part == PART_XSAVE) {
		if (!take_xsave(kvm, vcpu, data, record->length))
			return false;
	} else {
		if (record->length != part_size(kvm, part))
			return false;
		memcpy(part_of(vcpu, part), data, record->length);
	}
	return first_time(&seen->parts[record->index], part);
}

static int take_blob(struct kvm *kvm, struct kvm_state *state, const void *data, size_t len,
	struct swo_error *err)
{
	struct seen seen = {0};
	struct blob_reader reader;
	struct blob_record record;
	const void *bytes;
	int more;

	if (blob_open(&reader, data, len, BLOB_KIND_KVM, kvm->accel.config.vcpus, err))
		return -1;
	while ((more = blob_next(&reader, &record, &bytes, err)) > 0)
		if (!take_record(kvm, state, &seen, &record, bytes))
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"vCPU state: unexpected record 0x%x/%u of %u bytes on this host",
				record.tag, record.index, record.length);
	if (more < 0)
		return -1;
	bool complete = seen.machine == 7 && seen.chips == (1u << IRQCHIPS) - 1;

	for (unsigned i = 0; i < kvm->accel.config.vcpus; i++)
		complete = complete && seen.parts[i] == (1u << VCPU_PARTS) - 1;
	if (!complete)
		return swo_error_set(
			err, SWO_E_CORRUPT, 0, "incomplete vCPU state: records are missing");
	return 0;
}

int kvm_load(struct vmm_accel *accel, const void *data, size_t len, struct swo_error *err)
{
	struct kvm *kvm = kvm_of(accel);

	if (take_blob(kvm, kvm->incoming, data, len, err))
		return -1;
	/* A VM that never ran has its initial state, which need not be read during the downtime. */
	if (accel->entered && get_state(kvm, kvm->backup, err))
		return -1;
	if (set_state(kvm, kvm->incoming, err)) {
		struct swo_error again = {0};

		if (set_state(kvm, kvm->backup, &again))
			swo_log(SWO_LOG_ERROR,
				"cannot restore the state before the failed load: %s", again.text);
		return -1;
	}
	for (unsigned i = 0; i < accel->config.vcpus; i++)
		kvm->vcpus[i].dead = false;
	return 0;
}

static void find_msrs(struct kvm *kvm)
{
	for (size_t i = 0; i < MSRS; i++) {
		struct msr_block one = {.nmsrs = 1, .entry = {{.index = msr_list[i]}}};

		if (ioctl(kvm->vcpus[0].fd, KVM_GET_MSRS, &one) == 1)
			kvm->msrs[kvm->msr_count++] = msr_list[i];
	}
}

int kvm_state_prepare(struct kvm *kvm, struct swo_error *err)
{
	size_t size =
		sizeof(struct kvm_state) + kvm->accel.config.vcpus * sizeof(struct vcpu_state);
	int xsave = ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	kvm->xsave_size =
		xsave > (int)sizeof(struct kvm_xsave) ? (uint32_t)xsave : sizeof(struct kvm_xsave);
	if (kvm->xsave_size > KVM_XSAVE_MAX)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"KVM: xsave area of %u bytes, at most %u supported", kvm->xsave_size,
			KVM_XSAVE_MAX);
	if (posix_memalign((void **)&kvm->incoming, 64, size) ||
		posix_memalign((void **)&kvm->backup, 64, size))
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "KVM: vCPU state");
	memset(kvm->incoming, 0, size);
	memset(kvm->backup, 0, size);
	find_msrs(kvm);
	return get_state(kvm, kvm->backup, err);
}

void kvm_state_free(struct kvm *kvm)
{
	free(kvm->incoming);
	free(kvm->backup);
}
