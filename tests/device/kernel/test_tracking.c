/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty tracking by the host: iommufd's page tables with dirty bits, VFIO type1 for emulated
 * devices, and the order in which the means are tried. Against a fake kernel.
 */
#include "base/log.h"
#include "device/core/engine.h"
#include "fake_kernel.h"
#include "memory/dma_log.h"
#include "tests/support/must.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OPS	 (&swo_vfio_kernel_ops)
#define PAGE	 4096
#define PAGES(n) ((n)*UINT64_C(4096))

static struct swo_error err;
static uint8_t memory[PAGES(64)];
static struct swo_vfio_context *context;

static int setup(void **state)
{
	(void)state;
	fk_init();
	fk_keep_log(true);
	MUST(swo_vfio_context_new(&context, &err));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	swo_vfio_context_unref(context);
	fk_keep_log(false);
	return fk.open_fds || fk.map_count || fk.hwpt_count || fk.container_tracks;
}

/* With 16 pages mapped at 0, and 16 at page 32. */
static void *open_device(unsigned n, bool by_cdev)
{
	const struct swo_vfio_kernel_params params = {
		.size = sizeof(struct swo_vfio_kernel_params), .context = context};
	char path[48];
	void *self;

	if (by_cdev)
		snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%u", n);
	else
		snprintf(path, sizeof(path), "/dev/vfio/%u:dev%u", 5 + n, n);
	MUST(kernel_open(&fk_sys, "vf0", path, &params, &self, &err));
	MUST(OPS->dma_map(self, 0, PAGES(16), -1, 0, memory, 3, &err));
	MUST(OPS->dma_map(self, PAGES(32), PAGES(16), -1, 0, memory + PAGES(32), 3, &err));
	return self;
}

static enum swo_dirty_tracking start(void *self)
{
	enum swo_dirty_tracking kind = SWO_DIRTY_TRACKING_OFF;
	uint64_t page = 65536;

	MUST(OPS->host_log_start(self, &page, NULL, 0, &kind, &err));
	assert_int_equal(page, PAGE);
	return kind;
}

static void cannot_start(void *self, const char *why)
{
	enum swo_dirty_tracking kind;
	uint64_t page = PAGE;

	FAILS(OPS->host_log_start(self, &page, NULL, 0, &kind, &err), SWO_E_UNSUPPORTED);
	if (!strstr(err.text, why))
		fail_msg("'%s' without '%s'", err.text, why);
	FAILS(OPS->dma_log_report(self, 0, PAGE, PAGE, &(uint64_t){0}, &err), SWO_E_STATE);
}

/* Of the first part; bits that are set already stay. */
static uint64_t report(void *self, uint64_t before)
{
	uint64_t bits = before;

	MUST(OPS->dma_log_report(self, 0, PAGES(16), PAGE, &bits, &err));
	return bits;
}

static void type1_reports_what_the_kernel_writes(void **state)
{
	(void)state;
	fk.device[0].emulated = fk.device[1].emulated = true;
	void *a = open_device(0, false), *b = open_device(1, false);
	uint64_t bits = UINT64_C(1) << 20;

	assert_int_equal(start(a), SWO_DIRTY_TRACKING_TYPE1);
	assert_int_equal(start(b), SWO_DIRTY_TRACKING_TYPE1);
	assert_true(fk.container_tracks);
	fk.container_dirty = 0x21;
	assert_int_equal(report(a, 0x100), 0x121);
	assert_int_equal(report(a, 0), 0);
	fk.container_dirty = UINT64_C(1) << 40 | 2;
	MUST(OPS->dma_log_report(b, 0, PAGES(48), PAGE, &bits, &err));
	assert_int_equal(bits, UINT64_C(1) << 40 | UINT64_C(1) << 20 | 2);
	FAILS(OPS->dma_log_report(b, 0, PAGES(8), PAGE, &bits, &err), SWO_E_DEVICE);
	/* The container's tracking is for both. */
	MUST(OPS->dma_log_stop(a, &err));
	FAILS(OPS->dma_log_report(a, 0, PAGES(16), PAGE, &bits, &err), SWO_E_STATE);
	fk.container_dirty = 0x4;
	assert_int_equal(report(b, 0), 0x4);
	MUST(OPS->dma_log_stop(b, &err));
	assert_false(fk.container_tracks);
	/* A device that is closed stops it, too. */
	start(a);
	OPS->destroy(a);
	assert_false(fk.container_tracks);
	OPS->destroy(b);
}

static void type1_is_not_believed_behind_an_iommu(void **state)
{
	(void)state;
	void *a = open_device(0, false);

	cannot_start(a, "every page");
	assert_false(fk.container_tracks);
	OPS->destroy(a);
	/* One device of the container is enough. */
	fk.device[0].emulated = true;
	a = open_device(0, false);
	void *b = open_device(1, false);

	cannot_start(a, "behind an IOMMU");
	OPS->destroy(b);
	assert_int_equal(start(a), SWO_DIRTY_TRACKING_TYPE1);
	OPS->destroy(a);
}

static void the_dirty_bits_of_an_iommu_are_read(void **state)
{
	(void)state;
	fk.iommus_have_dirty_bits = true;
	void *a = open_device(0, true), *b = open_device(1, true);
	uint64_t bits = 0;

	/* On one IOMMU: one page table. */
	assert_int_equal(fk.hwpt_count, 1);
	fk.hwpt[0].dirty = 0x80;
	assert_int_equal(start(a), SWO_DIRTY_TRACKING_IOMMU);
	assert_int_equal(start(b), SWO_DIRTY_TRACKING_IOMMU);
	fk.hwpt[0].dirty |= 0x5;
	assert_int_equal(report(a, 0x100), 0x105);
	assert_int_equal(report(b, 0), 0);
	/* What is not mapped has no bits. */
	FAILS(OPS->dma_log_report(b, 0, PAGES(48), PAGE, &bits, &err), SWO_E_DEVICE);
	fk.hwpt[0].dirty = UINT64_C(1) << 33;
	MUST(OPS->dma_log_report(b, PAGES(32), PAGES(16), PAGE, &bits, &err));
	assert_int_equal(bits, 0x2);
	MUST(OPS->dma_log_stop(b, &err));
	assert_true(fk.hwpt[0].tracking);
	OPS->destroy(a);
	assert_false(fk.hwpt[0].tracking);
	OPS->destroy(b);
}

static void each_iommu_has_a_page_table_of_its_own(void **state)
{
	(void)state;
	fk.iommus_have_dirty_bits = true;
	fk.device[1].iommu = 1;
	void *a = open_device(0, true), *b = open_device(1, true);

	assert_int_equal(fk.hwpt_count, 2);
	start(a);
	start(b);
	fk.hwpt[0].dirty = 0x1;
	fk.hwpt[1].dirty = 0x2;
	assert_int_equal(report(a, 0), 0x1);
	assert_int_equal(report(b, 0), 0x2);
	OPS->destroy(a);
	OPS->destroy(b);
}

static void without_dirty_bits_there_is_no_tracking(void **state)
{
	(void)state;
	void *a = open_device(0, true);

	cannot_start(a, "no IOMMU with dirty bits");
	OPS->destroy(a);
	fk.iommus_have_dirty_bits = true;
	fk.device[0].emulated = true;
	a = open_device(0, true);
	cannot_start(a, "no IOMMU with dirty bits");
	OPS->destroy(a);
	fk.device[0].emulated = false;
	a = open_device(0, true);
	fk.fail_request = IOMMU_HWPT_GET_DIRTY_BITMAP;
	fk.fail_errno = EOPNOTSUPP;
	fk.fail_count = 1;
	cannot_start(a, "cannot report");
	assert_false(fk.hwpt[0].tracking);
	OPS->destroy(a);
}

/* The order */

struct choice {
	bool emulated, no_reports;
	int start_errno; /* of DMA_LOGGING_START */
	enum swo_dirty_tracking kind;
	const char *words, *more; /* of the error, or of a warning; NULL: neither */
};

static void expect_choice(const struct choice *c)
{
	struct swo_ram *ram = swo_ram_new();
	struct swo_device *dev;

	fk_logged[0] = '\0';
	fk.device[0].emulated = c->emulated;
	fk.no_iommufd = c->no_reports;
	fk.fail_request = VFIO_DEVICE_FEATURE;
	fk.fail_feature = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
	fk.fail_errno = c->start_errno;
	fk.fail_count = c->start_errno ? 2 : 0;
	MUST(swo_ram_add(ram, "ram", 0, PAGES(16), -1, &err));
	MUST(swo_device_create("vf0", OPS, open_device(0, false), NULL, &dev, &err));
	if (c->kind == SWO_DIRTY_TRACKING_NONE)
		FAILS(memory_dma_log_start(dev, ram, &err),
			c->start_errno ? SWO_E_DEVICE : SWO_E_UNSUPPORTED);
	else
		MUST(memory_dma_log_start(dev, ram, &err));
	assert_int_equal(swo_device_dirty_tracking(dev), c->kind);
	base_log_flush();
	const char *text = c->kind == SWO_DIRTY_TRACKING_NONE ? err.text : fk_logged;

	if (c->words ? !strstr(text, c->words) || !strstr(text, c->more) : text[0])
		fail_msg("unexpected text '%s'", text);
	memory_dma_log_stop(dev);
	swo_device_destroy(dev);
	swo_ram_free(ram);
}

static void the_devices_own_log_comes_first(void **state)
{
	static const struct choice choices[] = {
		{true, false, 0, SWO_DIRTY_TRACKING_DEVICE, NULL, NULL},
		{true, true, 0, SWO_DIRTY_TRACKING_TYPE1, NULL, NULL},
		{false, true, 0, SWO_DIRTY_TRACKING_NONE, "CONFIG_IOMMUFD", "every page"},
		/* Not "unsupported": the address space is too large for the device. */
		{true, false, EINVAL, SWO_DIRTY_TRACKING_TYPE1, "too large", "type1 instead"},
		{true, false, EOPNOTSUPP, SWO_DIRTY_TRACKING_TYPE1, "too large", "type1 instead"},
		{false, false, EINVAL, SWO_DIRTY_TRACKING_NONE, "too large", "every page"},
	};

	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(choices); i++)
		expect_choice(&choices[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			type1_reports_what_the_kernel_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(
			type1_is_not_believed_behind_an_iommu, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_dirty_bits_of_an_iommu_are_read, setup, teardown),
		cmocka_unit_test_setup_teardown(
			each_iommu_has_a_page_table_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(
			without_dirty_bits_there_is_no_tracking, setup, teardown),
		cmocka_unit_test_setup_teardown(the_devices_own_log_comes_first, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
