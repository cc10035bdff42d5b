/* SPDX-License-Identifier: BSD-3-Clause */
/* Dirty sources report exactly the pages that were written. */
#include "../cm.h"
#include "switchover/memory.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES(n) ((n)*SWO_PAGE_SIZE)
#define NPAGES	 200 /* of the first region: no multiple of 64 */

/* ---- writes through our own mapping ---------------------------------------- */

struct native {
	struct swo_ram *ram;
	struct swo_dirty_source source;
};

static bool native_open(struct native *n, bool force_handler)
{
	struct swo_error err = {0};

	n->ram = swo_ram_new();
	assert_int_equal(swo_ram_add(n->ram, "low", 0, PAGES(NPAGES), -1, NULL), 0);
	assert_int_equal(swo_ram_add(n->ram, "high", PAGES(1000), PAGES(70), -1, NULL), 0);
	if (!swo_dirty_native(n->ram, force_handler, &n->source, &err))
		return true;
	swo_ram_free(n->ram);
	printf("# %s\n", err.text);
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	return false;
}

static void native_close(struct native *n)
{
	n->source.destroy(n->source.self);
	swo_ram_free(n->ram);
}

static void touch(struct swo_ram *ram, uint64_t page)
{
	*(volatile uint8_t *)swo_ram_host(ram, PAGES(page) + page % 4096, 1) += 1;
}

/* What is dirty now, and nothing else; leaves the bitmaps clear. */
static void expect_dirty(struct swo_ram *ram, const uint64_t *pages, size_t count)
{
	assert_int_equal(swo_ram_dirty_pages(ram), count);
	for (size_t i = 0; i < count; i++) {
		unsigned region = pages[i] >= 1000;
		uint64_t page = pages[i] - (region ? 1000 : 0), got;

		assert_true(swo_ram_take(ram, region, &page, UINT64_MAX, 1, &got));
		assert_int_equal(page, pages[i] - (region ? 1000 : 0));
	}
}

static void collect(struct native *n)
{
	struct swo_error err = {0};

	if (n->source.collect(n->source.self, n->ram, &err))
		fail_msg("%s", err.text);
}

static void check_exact(bool force_handler)
{
	struct native n;
	static const uint64_t writes[] = {0, 63, 64, 65, 127, 199, 1000, 1069};

	if (!native_open(&n, force_handler))
		skip();
	/* Some pages are there before the log is on, some are not; neither counts. */
	for (uint64_t page = 60; page < 70; page++)
		touch(n.ram, page);
	assert_int_equal(n.source.start(n.source.self, NULL), 0);
	collect(&n);
	expect_dirty(n.ram, NULL, 0);
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < SWO_ARRAY_SIZE(writes); i++)
			touch(n.ram, writes[i]);
		/* Reading is not writing. */
		for (uint64_t page = 0; page < NPAGES; page++)
			(void)*(volatile uint8_t *)swo_ram_host(n.ram, PAGES(page), 1);
		collect(&n);
		expect_dirty(n.ram, writes, SWO_ARRAY_SIZE(writes));
		collect(&n);
		expect_dirty(n.ram, NULL, 0);
	}
	touch(n.ram, 5);
	assert_int_equal(n.source.start(n.source.self, NULL), 0);
	collect(&n);
	expect_dirty(n.ram, NULL, 0);
	n.source.stop(n.source.self);
	touch(n.ram, 5);
	assert_int_equal(n.source.collect(n.source.self, n.ram, NULL), -1);
	native_close(&n);
}

static void the_native_log_reports_exactly_what_was_written(void **state)
{
	(void)state;
	check_exact(false);
}

static void the_fault_handler_reports_exactly_what_was_written(void **state)
{
	(void)state;
	check_exact(true);
}

static void check_dropped(bool force_handler)
{
	struct native n;
	static const uint64_t written[] = {7, 100, 1001};

	if (!native_open(&n, force_handler))
		skip();
	touch(n.ram, 50);
	assert_int_equal(n.source.start(n.source.self, NULL), 0);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(written); i++)
		touch(n.ram, written[i]);
	/* What reclaim may do at any time: the page stays in the file, the mapping goes. */
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(madvise(swo_ram_region(n.ram, i)->host,
					 swo_ram_region(n.ram, i)->size, MADV_DONTNEED),
			0);
	collect(&n);
	expect_dirty(n.ram, written, SWO_ARRAY_SIZE(written));
	touch(n.ram, 50);
	collect(&n);
	expect_dirty(n.ram, (const uint64_t[]){50}, 1);
	native_close(&n);
}

/* All of several page tables is written and then dropped, so that the tables may go as well. */
static void check_dropped_tables(bool force_handler)
{
	const uint64_t pages = 2048;
	struct native n;

	if (!native_open(&n, force_handler))
		skip();
	n.source.destroy(n.source.self);
	assert_int_equal(swo_ram_add(n.ram, "wide", PAGES(4096), PAGES(pages), -1, NULL), 0);
	assert_int_equal(swo_dirty_native(n.ram, force_handler, &n.source, NULL), 0);
	assert_int_equal(n.source.start(n.source.self, NULL), 0);
	for (uint64_t page = 0; page < pages; page++)
		touch(n.ram, 4096 + page);
	assert_int_equal(madvise(swo_ram_region(n.ram, 2)->host, PAGES(pages), MADV_DONTNEED), 0);
	collect(&n);
	assert_int_equal(swo_ram_dirty_pages(n.ram), pages);
	swo_ram_clear_all(n.ram);
	touch(n.ram, 4096 + 1000);
	collect(&n);
	assert_int_equal(swo_ram_dirty_pages(n.ram), 1);
	native_close(&n);
}

static void written_pages_are_reported_though_their_page_tables_are_gone(void **state)
{
	(void)state;
	check_dropped_tables(false);
	check_dropped_tables(true);
}

static void a_written_page_is_reported_though_its_mapping_was_dropped(void **state)
{
	(void)state;
	check_dropped(false);
}

static void the_handler_reports_a_written_page_though_its_mapping_was_dropped(void **state)
{
	(void)state;
	check_dropped(true);
}

#define WRITER_PAGES 64

struct writer {
	struct swo_ram *ram;
	bool over;
};

static void *writer_main(void *opaque)
{
	struct writer *w = opaque;

	for (uint64_t i = 1; !__atomic_load_n(&w->over, __ATOMIC_ACQUIRE); i++)
		__atomic_store_n((uint64_t *)swo_ram_host(w->ram, PAGES(i * 13 % WRITER_PAGES), 8),
			i, __ATOMIC_RELAXED);
	return NULL;
}

static void copy_dirty(struct swo_ram *ram, uint64_t *copy)
{
	uint64_t page = 0, pages;

	while (swo_ram_take(ram, 0, &page, UINT64_MAX, 16, &pages)) {
		for (uint64_t i = page; i < page + pages; i++)
			copy[i] = __atomic_load_n(
				(uint64_t *)swo_ram_host(ram, PAGES(i), 8), __ATOMIC_RELAXED);
		page += pages;
	}
}

/* Copying the dirty pages, pass after pass, beside a writer ends with an equal copy. */
static void check_race(bool force_handler)
{
	struct native n;
	uint64_t copy[WRITER_PAGES] = {0};
	pthread_t thread;

	if (!native_open(&n, force_handler))
		skip();
	struct writer w = {.ram = n.ram};

	assert_int_equal(n.source.start(n.source.self, NULL), 0);
	assert_int_equal(swo_thread_start(&thread, "writer", writer_main, &w, NULL), 0);
	for (int pass = 0; pass < 100; pass++) {
		collect(&n);
		copy_dirty(n.ram, copy);
	}
	__atomic_store_n(&w.over, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	collect(&n);
	copy_dirty(n.ram, copy);
	for (uint64_t i = 0; i < WRITER_PAGES; i++)
		assert_int_equal(copy[i], *(uint64_t *)swo_ram_host(n.ram, PAGES(i), 8));
	native_close(&n);
}

static void no_write_beside_the_native_log_is_lost(void **state)
{
	(void)state;
	check_race(false);
}

static void no_write_beside_the_fault_handler_is_lost(void **state)
{
	(void)state;
	check_race(true);
}

static void a_writer_in_a_fault_is_let_go_when_the_log_stops(void **state)
{
	(void)state;
	struct native n;
	pthread_t thread;

	if (!native_open(&n, true))
		skip();
	struct writer w = {.ram = n.ram};

	assert_int_equal(swo_thread_start(&thread, "writer", writer_main, &w, NULL), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(n.source.start(n.source.self, NULL), 0);
		n.source.stop(n.source.self);
	}
	__atomic_store_n(&w.over, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	native_close(&n);
}

/* ---- writes of a vCPU -------------------------------------------------------- */

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

/* A real-mode VM with two slots; false when there is no KVM here. */
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

/* Has the vCPU write one byte to each page: mov ax, seg; mov ds, ax; mov byte [0], 1 ... hlt. */
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

	if (!kvm_open(&k)) {
		printf("# no usable /dev/kvm\n");
		skip();
	}
	assert_int_equal(swo_dirty_kvm(k.ram, k.vm_fd, &source, NULL), 0);
	assert_int_equal(source.collect(source.self, k.ram, NULL), -1);
	kvm_write_pages(&k, first, SWO_ARRAY_SIZE(first));
	assert_int_equal(source.start(source.self, NULL), 0);
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
		cmocka_unit_test(the_native_log_reports_exactly_what_was_written),
		cmocka_unit_test(the_fault_handler_reports_exactly_what_was_written),
		cmocka_unit_test(a_written_page_is_reported_though_its_mapping_was_dropped),
		cmocka_unit_test(the_handler_reports_a_written_page_though_its_mapping_was_dropped),
		cmocka_unit_test(written_pages_are_reported_though_their_page_tables_are_gone),
		cmocka_unit_test(no_write_beside_the_native_log_is_lost),
		cmocka_unit_test(no_write_beside_the_fault_handler_is_lost),
		cmocka_unit_test(a_writer_in_a_fault_is_let_go_when_the_log_stops),
		cmocka_unit_test(kvms_log_reports_exactly_what_a_vcpu_wrote),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
