/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guest.c - the guest as the VMM sees it: writes its image and boot page to RAM, reads its
 * status and its working set.
 */
#include "vmm/accel/internal.h"

#include "guest_image.h"

#include <inttypes.h>
#include <string.h>

static_assert(sizeof(guest_image) <= GUEST_IMAGE_MAX, "guest layout");

#define PTE_PRESENT 0x1u
#define PTE_WRITE   0x2u
#define PTE_LARGE   0x80u

/* Identity: PML4[0], PDPT[0..3], four directories of 2 MiB pages. */
static void build_page_tables(uint64_t *tables)
{
	const unsigned entries = 512;

	memset(tables, 0, 6 * GUEST_PAGE);
	tables[0] = (GUEST_TABLES_GPA + GUEST_PAGE) | PTE_PRESENT | PTE_WRITE;
	for (unsigned i = 0; i < 4; i++)
		tables[entries + i] =
			(GUEST_TABLES_GPA + (2 + i) * GUEST_PAGE) | PTE_PRESENT | PTE_WRITE;
	for (uint64_t i = 0; i < 4 * entries; i++)
		tables[2 * entries + i] = i << 21 | PTE_PRESENT | PTE_WRITE | PTE_LARGE;
}

static uint64_t pages_of(uint64_t bytes)
{
	return bytes / GUEST_PAGE;
}

/* Divides the heap: a version per page, the pages, and at the end the DMA rings. */
static void lay_out(struct guest_boot *boot, const struct vmm_guest_params *params, uint64_t ram)
{
	uint64_t end = pages_of(ram < GUEST_ADDRESS_END ? ram : GUEST_ADDRESS_END);
	uint64_t heap = end - pages_of(GUEST_HEAP_GPA);
	uint64_t dma = (uint64_t)params->dma_pages * GUEST_DEVICES_MAX;
	uint64_t work = pages_of(params->dirty_bytes ? params->dirty_bytes : ram / 2);

	if (dma > heap / 4)
		dma = heap / 4;
	heap -= dma;
	/* Each page of the working set needs 8 bytes of version; the versions fill whole pages. */
	if (work > (heap - 1) * 512 / 513)
		work = (heap - 1) * 512 / 513;
	boot->versions_gpa = GUEST_HEAP_GPA;
	boot->work_gpa = GUEST_HEAP_GPA + (work + 511) / 512 * GUEST_PAGE;
	boot->work_pages = work;
	boot->dma_gpa = (end - dma) * GUEST_PAGE;
	boot->dma_room_pages = dma;
}

/* Each vCPU's equal share of the pages, and its rate; credit accumulates over a few ticks. */
static void share_out(struct guest_vcpu *vcpus, const struct guest_boot *boot)
{
	const uint64_t hold = 4;
	uint64_t each = boot->work_pages / boot->vcpus;

	for (uint64_t i = 0; i < boot->vcpus; i++) {
		struct guest_vcpu *vcpu = &vcpus[i];

		vcpu->first = each * i;
		vcpu->end = i + 1 == boot->vcpus ? boot->work_pages : each * (i + 1);
		vcpu->earned = (uint64_t)boot->dirty_pages_per_s * boot->period_us;
		vcpu->most = vcpu->earned * hold > GUEST_CREDIT_PAGE ? vcpu->earned * hold
								     : GUEST_CREDIT_PAGE;
	}
}

int accel_guest_load(struct vmm_accel *accel, struct swo_error *err)
{
	const struct vmm_guest_params *params = &accel->config.guest;
	uint8_t *ram = swo_ram_host(accel->ram, 0, GUEST_RAM_MIN);

	if (!ram)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"the guest needs one RAM region at address 0 of at least %u MiB",
			GUEST_RAM_MIN >> 20);
	const uint32_t turns = params->doorbell_turns ? params->doorbell_turns : 1;

	if (params->doorbell_period_us / turns < 200 || params->doorbell_period_us > 4000000)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"invalid doorbell period: %u us in %u turns, expected 200 to 4000000 us, and "
			"at least 200 us per turn",
			params->doorbell_period_us, turns);

	uint64_t size = 0;

	for (unsigned i = 0; i < swo_ram_count(accel->ram); i++)
		if (swo_ram_region(accel->ram, i)->gpa == 0)
			size = swo_ram_region(accel->ram, i)->size;
	memset(ram, 0, GUEST_IMAGE_GPA);
	memcpy(ram + GUEST_IMAGE_GPA, guest_image, sizeof(guest_image));
	build_page_tables((uint64_t *)(ram + GUEST_TABLES_GPA));

	struct guest_boot *boot = (struct guest_boot *)(ram + GUEST_BOOT_GPA);

	*boot = (struct guest_boot){
		.magic = GUEST_BOOT_MAGIC,
		.version = GUEST_ABI_VERSION,
		.vcpus = accel->config.vcpus,
		.period_us = params->doorbell_period_us / turns,
		.turns = turns,
		.dirty_pages_per_s = params->dirty_pages_per_s,
		.dma_pages = params->dma_pages,
		.dma_rate = params->dma_rate,
		.p2p_rate = params->p2p_rate,
		.irq_every = params->irq_every,
	};
	lay_out(boot, params, size);
	share_out((struct guest_vcpu *)(ram + GUEST_VCPU_GPA), boot);
	/* The pages are zero in new memory, which is version 0. */
	for (uint64_t i = 0; i < boot->work_pages; i++)
		if (((uint64_t *)(ram + boot->versions_gpa))[i])
			return swo_error_set(err, SWO_E_STATE, 0,
				"the guest has already been booted in this memory");
	return 0;
}

/* A page without meaning to the guest: its first word is its address, plus one. */
static void fill_pages(struct swo_ram *ram, uint64_t from, uint64_t end)
{
	for (uint64_t at = from; at < end; at += GUEST_PAGE) {
		uint64_t *word = swo_ram_host(ram, at, GUEST_PAGE);

		if (word)
			*word = at + 1;
	}
}

/* As if the guest had rewritten each page of its working set once. */
static void fill_work(struct swo_ram *ram, const struct guest_boot *boot)
{
	uint64_t *versions = swo_ram_host(ram, boot->versions_gpa, boot->work_pages * 8);
	uint64_t *words = swo_ram_host(ram, boot->work_gpa, boot->work_pages * GUEST_PAGE);

	for (uint64_t page = 0; versions && words && page < boot->work_pages;
		page++, words += GUEST_PAGE / 8) {
		words[0] = guest_page_word(page, 1, 0);
		words[1] = guest_page_word(page, 1, 1);
		words[GUEST_WORD_MIDDLE] = guest_page_word(page, 1, GUEST_WORD_MIDDLE);
		words[GUEST_WORD_LAST] = guest_page_word(page, 1, GUEST_WORD_LAST);
		versions[page] = 1;
	}
}

int vmm_accel_fill_ram(struct vmm_accel *accel, struct swo_error *err)
{
	const uint8_t *low = swo_ram_host(accel->ram, 0, GUEST_RAM_MIN);

	if (!accel->paused || !accel->entered || !low)
		return swo_error_set(
			err, SWO_E_STATE, 0, "cannot fill RAM: the guest has not been booted");

	const struct guest_boot *boot = (const struct guest_boot *)(low + GUEST_BOOT_GPA);

	fill_work(accel->ram, boot);
	fill_pages(accel->ram, boot->work_gpa + boot->work_pages * GUEST_PAGE, boot->dma_gpa);
	for (unsigned i = 0; i < swo_ram_count(accel->ram); i++) {
		const struct swo_ram_region *region = swo_ram_region(accel->ram, i);

		if (region->gpa)
			fill_pages(accel->ram, region->gpa, region->gpa + region->size);
	}
	return 0;
}

int vmm_accel_spare_ram(
	struct vmm_accel *accel, uint64_t *gpa, uint64_t *pages, struct swo_error *err)
{
	const uint8_t *low = swo_ram_host(accel->ram, 0, GUEST_RAM_MIN);
	const struct guest_boot *boot =
		low ? (const struct guest_boot *)(low + GUEST_BOOT_GPA) : NULL;

	if (!boot || boot->magic != GUEST_BOOT_MAGIC ||
		boot->work_pages > GUEST_ADDRESS_END / GUEST_PAGE)
		return swo_error_set(err, SWO_E_STATE, 0, "the guest has not been booted");
	*gpa = boot->work_gpa + boot->work_pages * GUEST_PAGE;
	*pages = *gpa < boot->dma_gpa ? (boot->dma_gpa - *gpa) / GUEST_PAGE : 0;
	return 0;
}

int vmm_accel_guest_stats(
	struct vmm_accel *accel, struct vmm_guest_stats *out, struct swo_error *err)
{
	uint8_t *ram = swo_ram_host(accel->ram, 0, GUEST_RAM_MIN);

	if (!ram)
		return swo_error_set(err, SWO_E_INVALID, 0, "the VM has no RAM at address 0");

	struct guest_status *status = (struct guest_status *)(ram + GUEST_STATUS_GPA);
	struct guest_vcpu *vcpus = (struct guest_vcpu *)(ram + GUEST_VCPU_GPA);

	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < accel->config.vcpus; i++) {
		struct guest_vcpu *vcpu = &vcpus[i];

		out->rounds += __atomic_load_n(&vcpu->rounds, __ATOMIC_RELAXED);
		out->doorbells += __atomic_load_n(&vcpu->doorbells, __ATOMIC_RELAXED);
		out->pages_dirtied += __atomic_load_n(&vcpu->pages_dirtied, __ATOMIC_RELAXED);
		out->ram_mismatches += __atomic_load_n(&vcpu->ram_mismatches, __ATOMIC_RELAXED);
		out->irqs += __atomic_load_n(&vcpu->irqs, __ATOMIC_RELAXED);
		out->inbox_looks += __atomic_load_n(&vcpu->inbox_looks, __ATOMIC_RELAXED);
		out->inbox_setbacks += __atomic_load_n(&vcpu->inbox_setbacks, __ATOMIC_RELAXED);
	}
	out->error = __atomic_load_n(&status->error, __ATOMIC_ACQUIRE);
	out->devices = __atomic_load_n(&status->devices, __ATOMIC_RELAXED);
	return 0;
}

/* 0, or the version that this page may have besides the one in the table. */
static uint64_t busy_version(const struct guest_vcpu *vcpus, unsigned count, uint64_t page)
{
	for (unsigned i = 0; i < count; i++)
		if (vcpus[i].busy_page == page + 1)
			return vcpus[i].busy_version;
	return 0;
}

/*
 * `other` 0: all words of one version. Otherwise a vCPU was stopped in the middle: each word of
 * either.
 */
static bool page_is_whole(const uint64_t *words, uint64_t page, uint64_t version, uint64_t other)
{
	for (unsigned i = 0; i < GUEST_PAGE / 8; i++)
		if (words[i] != guest_page_word(page, version, i) &&
			(!other || words[i] != guest_page_word(page, other, i)))
			return false;
	return true;
}

int vmm_accel_check_ram(
	struct vmm_accel *accel, uint64_t *pages, uint64_t *mismatches, struct swo_error *err)
{
	const uint8_t *ram = swo_ram_host(accel->ram, 0, GUEST_RAM_MIN);

	if (!accel->paused)
		return swo_error_set(err, SWO_E_STATE, 0,
			"cannot check RAM: the vCPUs are running; pause them first");
	if (!ram)
		return swo_error_set(err, SWO_E_INVALID, 0, "the VM has no RAM at address 0");

	const struct guest_boot *boot = (const struct guest_boot *)(ram + GUEST_BOOT_GPA);
	const struct guest_vcpu *vcpus = (const struct guest_vcpu *)(ram + GUEST_VCPU_GPA);
	uint64_t count = boot->work_pages;

	if (boot->magic != GUEST_BOOT_MAGIC || count > GUEST_ADDRESS_END / GUEST_PAGE ||
		boot->versions_gpa % 8 || boot->work_gpa % 8)
		return swo_error_set(err, SWO_E_CORRUPT, 0, "the guest's boot page has changed");

	const uint64_t *versions = swo_ram_host(accel->ram, boot->versions_gpa, count * 8);
	const uint64_t *work = swo_ram_host(accel->ram, boot->work_gpa, count * GUEST_PAGE);

	if (!versions || !work)
		return swo_error_set(
			err, SWO_E_CORRUPT, 0, "the guest's working set is outside RAM");
	*pages = count;
	*mismatches = 0;
	for (uint64_t page = 0; page < count; page++) {
		/* As it should be, without a read that would allocate it. */
		if (!versions[page] &&
			swo_ram_is_hole(accel->ram, boot->work_gpa + page * GUEST_PAGE, GUEST_PAGE))
			continue;
		if (!page_is_whole(work + page * (GUEST_PAGE / 8), page, versions[page],
			    busy_version(vcpus, accel->config.vcpus, page)))
			++*mismatches;
	}
	return 0;
}
