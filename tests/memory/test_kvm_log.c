/* SPDX-License-Identifier: BSD-3-Clause */
/* KVM's dirty log, of a vCPU in real mode that writes to given pages. */
#include "switchover/memory.h"
#include "tests/support/allocated.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES(n) ((n)*SWO_PAGE_SIZE)

struct kvm {
	int kvm_fd, vm_fd, vcpu_fd;
	struct kvm_run *run;
	int run_size;
	struct swo_ram *ram;
};

static void kvm_close(struct kvm *k)
{
	if (k->run)
		munmap(k->run, (size_t)k->run_size);
	swo_close_fd(&k->vcpu_fd);
	swo_close_fd(&k->vm_fd);
	swo_close_fd(&k->kvm_fd);
	swo_ram_free(k->ram);
}

/* A real-mode VM with two slots; false without KVM. */
static bool kvm_open(struct kvm *k)
{
	*k = (struct kvm){.vm_fd = -1, .vcpu_fd = -1, .kvm_fd = open("/dev/kvm", O_RDWR)};
	if (k->kvm_fd < 0 || (k->vm_fd = ioctl(k->kvm_fd, KVM_CREATE_VM, 0)) < 0) {
		swo_close_fd(&k->kvm_fd);
		return false;
	}
	k->ram = swo_ram_new();
	assert_int_equal(swo_ram_add(k->ram, "low", 0, PAGES(100), -1, NULL), 0);
	assert_int_equal(swo_ram_add(k->ram, "more", PAGES(128), PAGES(70), -1, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		const struct swo_ram_region *region = swo_ram_region(k->ram, i);
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = region->gpa,
			.memory_size = region->size,
			.userspace_addr = (uintptr_t)region->host,
		};
		assert_int_equal(ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot), 0);
	}
	k->vcpu_fd = ioctl(k->vm_fd, KVM_CREATE_VCPU, 0);
	k->run_size = ioctl(k->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	assert_true(k->vcpu_fd >= 0 && k->run_size > 0);
	k->run = mmap(NULL, (size_t)k->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, k->vcpu_fd, 0);
	assert_ptr_not_equal(k->run, MAP_FAILED);
	return true;
}

/* Makes the vCPU write one byte to each page: mov ax, seg; mov ds, ax; mov byte [0], 1 ... hlt. */
static void kvm_write_pages(struct kvm *k, const uint64_t *pages, size_t count)
{
	uint8_t *code = swo_ram_host(k->ram, 0x1000, 4096);
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};

	for (size_t i = 0; i < count; i++) {
		uint16_t seg = (uint16_t)(PAGES(pages[i]) >> 4);
		uint8_t piece[] = {0xb8, (uint8_t)seg, (uint8_t)(seg >> 8), 0x8e, 0xd8, 0xc6, 0x06,
			0x00, 0x00, 0x01};

		memcpy(code, piece, sizeof(piece));
		code += sizeof(piece);
	}
	*code = 0xf4;
	assert_int_equal(ioctl(k->vcpu_fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = sregs.cs.selector = 0;
	assert_int_equal(ioctl(k->vcpu_fd, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(ioctl(k->vcpu_fd, KVM_SET_REGS, &regs), 0);
	assert_int_equal(ioctl(k->vcpu_fd, KVM_RUN, 0), 0);
	assert_int_equal(k->run->exit_reason, KVM_EXIT_HLT);
}

static uint64_t allocated(struct kvm *k)
{
	return allocated_bytes(swo_ram_region(k->ram, 0)->fd) +
	       allocated_bytes(swo_ram_region(k->ram, 1)->fd);
}

static void kvms_log_reports_exactly_what_a_vcpu_wrote(void **state)
{
	(void)state;
	static const uint64_t first[] = {2, 63, 64, 99, 128, 197}, second[] = {3, 99, 130};
	struct kvm k;
	struct swo_dirty_source source;
	struct {
		const uint64_t *pages;
		size_t count;
	} rounds[] = {{first, SWO_ARRAY_SIZE(first)}, {second, SWO_ARRAY_SIZE(second)}};

	assert_true(kvm_open(&k));
	assert_int_equal(swo_dirty_kvm(k.ram, k.vm_fd, &source, NULL), 0);
	const uint64_t touched = allocated(&k);
	assert_int_equal(source.collect(source.self, k.ram, NULL), -1);
	kvm_write_pages(&k, first, SWO_ARRAY_SIZE(first));
	assert_int_equal(source.start(source.self, NULL), 0);
	assert_int_equal(source.collect(source.self, k.ram, NULL), 0);
	assert_int_equal(swo_ram_dirty_pages(k.ram), 0);
	/* The code, the pages of `first`, and nothing that only the log looked at. */
	assert_true(allocated(&k) <= touched + PAGES(1 + SWO_ARRAY_SIZE(first)));
	for (int i = 0; i < 2; i++) {
		kvm_write_pages(&k, rounds[i].pages, rounds[i].count);
		assert_int_equal(source.collect(source.self, k.ram, NULL), 0);
		assert_int_equal(swo_ram_dirty_pages(k.ram), rounds[i].count);
		for (size_t p = 0; p < rounds[i].count; p++) {
			unsigned region = rounds[i].pages[p] >= 128;
			uint64_t want = rounds[i].pages[p] - (region ? 128 : 0), page = want, got;

			assert_true(swo_ram_take(k.ram, region, &page, UINT64_MAX, 1, &got));
			assert_int_equal(page, want);
		}
	}
	kvm_write_pages(&k, first, SWO_ARRAY_SIZE(first));
	assert_int_equal(source.start(source.self, NULL), 0);
	assert_int_equal(source.collect(source.self, k.ram, NULL), 0);
	assert_int_equal(swo_ram_dirty_pages(k.ram), 0);
	source.stop(source.self);
	assert_int_equal(source.collect(source.self, k.ram, NULL), -1);
	source.destroy(source.self);
	kvm_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kvms_log_reports_exactly_what_a_vcpu_wrote),
	};
	struct kvm k;

	if (!kvm_open(&k)) {
		printf("1..0 # SKIP no usable /dev/kvm\n");
		return 0;
	}
	kvm_close(&k);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
