/* SPDX-License-Identifier: BSD-3-Clause */
/* The DMA logs of devices. */
#include "device/core/engine.h"
#include "memory/dma_log.h"
#include "switchover/memory.h"
#include "testbed/fake_device.h"
#include "tests/support/cm.h"

#include <stdlib.h>
#include <string.h>

#define PAGES(n) ((n)*SWO_PAGE_SIZE)

struct setting {
	struct swo_ram *ram;
	struct swo_device *dev;
	struct fake_device fake;
};

static void open_setting(struct setting *s, bool has_log)
{
	static struct swo_device_ops without_log;
	struct swo_error err = {0};

	s->ram = swo_ram_new();
	assert_int_equal(swo_ram_add(s->ram, "low", 0, PAGES(100), -1, NULL), 0);
	assert_int_equal(swo_ram_add(s->ram, "high", PAGES(1001), PAGES(70), -1, NULL), 0);
	fake_device_init(&s->fake, "vf0", NULL);
	without_log = fake_device_ops;
	without_log.dma_log_start = NULL;
	if (swo_device_create("vf0", has_log ? &fake_device_ops : &without_log, &s->fake, NULL,
		    &s->dev, &err))
		fail_msg("%s", err.text);
}

static void close_setting(struct setting *s)
{
	swo_device_destroy(s->dev);
	assert_int_equal(atomic_load(&s->fake.offences), 0);
	fake_device_fini(&s->fake);
	swo_ram_free(s->ram);
}

static bool is_dirty(struct swo_ram *ram, uint64_t page)
{
	unsigned region = page >= 1001;
	uint64_t at = page - (region ? 1001 : 0);

	return swo_ram_region(ram, region)->dirty[at / 64] >> (at % 64) & 1;
}

static void a_device_reports_for_all_of_ram(void **state)
{
	(void)state;
	static const uint64_t written[] = {
		PAGES(3), PAGES(99), PAGES(1001), PAGES(1070), PAGES(500)};
	struct setting s;

	open_setting(&s, true);
	s.fake.written = written;
	s.fake.written_count = 5;
	assert_int_equal(memory_dma_log_start(s.dev, s.ram, NULL), 0);
	assert_int_equal(swo_device_dirty_tracking(s.dev), SWO_DIRTY_TRACKING_DEVICE);
	assert_int_equal(s.fake.log_range_count, 2);
	assert_int_equal(s.fake.log_ranges[1].iova, PAGES(1001));
	assert_int_equal(s.fake.log_ranges[1].length, PAGES(70));
	assert_int_equal(memory_dma_log_collect(s.dev, s.ram, NULL), 0);
	assert_int_equal(swo_ram_dirty_pages(s.ram), 4);
	for (size_t i = 0; i < 4; i++)
		assert_true(is_dirty(s.ram, written[i] / SWO_PAGE_SIZE));
	memory_dma_log_stop(s.dev);
	assert_false(s.fake.log_on);
	close_setting(&s);
}

static void larger_pages_of_a_device_are_all_of_their_pages(void **state)
{
	(void)state;
	static const uint64_t written[] = {PAGES(5), PAGES(1008)};
	struct setting s;

	open_setting(&s, true);
	s.fake.log_page = PAGES(16);
	s.fake.written = written;
	s.fake.written_count = 2;
	assert_int_equal(memory_dma_log_start(s.dev, s.ram, NULL), 0);
	assert_int_equal(swo_device_dirty_tracking(s.dev), SWO_DIRTY_TRACKING_DEVICE);
	assert_int_equal(memory_dma_log_collect(s.dev, s.ram, NULL), 0);
	/* 0..15, and 1008..1023: whole pages of 64 KiB, though `high` begins within one. */
	assert_int_equal(swo_ram_dirty_pages(s.ram), 32);
	assert_true(is_dirty(s.ram, 15) && is_dirty(s.ram, 1023));
	assert_false(is_dirty(s.ram, 16) || is_dirty(s.ram, 1007));
	memory_dma_log_stop(s.dev);
	close_setting(&s);
}

static void expect_no_log(bool has_log, bool fails, uint64_t page_size, enum swo_error_code code)
{
	struct swo_error err = {0};
	struct setting s;

	open_setting(&s, has_log);
	s.fake.fail_log_start = fails;
	s.fake.log_page = page_size;
	assert_int_equal(memory_dma_log_start(s.dev, s.ram, &err), -1);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.text, "device vf0"));
	assert_int_equal(swo_device_dirty_tracking(s.dev), SWO_DIRTY_TRACKING_NONE);
	assert_int_equal(device_dma_log_page(s.dev), 0);
	assert_false(s.fake.log_on);
	close_setting(&s);
}

static void a_device_without_a_usable_log_is_named(void **state)
{
	(void)state;
	expect_no_log(false, false, 0, SWO_E_UNSUPPORTED);
	expect_no_log(true, true, 0, SWO_E_DEVICE);
	expect_no_log(true, false, 2048, SWO_E_PROTOCOL);
	expect_no_log(true, false, PAGES(3), SWO_E_PROTOCOL);
	expect_no_log(true, false, UINT64_C(1) << 63, SWO_E_PROTOCOL);
}

static void after_a_failing_report_there_is_no_log(void **state)
{
	(void)state;
	struct swo_error err = {0};
	struct setting s;

	open_setting(&s, true);
	s.fake.fail_log_report = true;
	assert_int_equal(memory_dma_log_start(s.dev, s.ram, NULL), 0);
	assert_int_equal(memory_dma_log_collect(s.dev, s.ram, &err), -1);
	assert_non_null(strstr(err.text, "no report"));
	assert_int_equal(swo_device_dirty_tracking(s.dev), SWO_DIRTY_TRACKING_NONE);
	assert_int_equal(device_dma_log_page(s.dev), 0);
	memory_dma_log_stop(s.dev);
	assert_false(s.fake.log_on);
	close_setting(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_reports_for_all_of_ram),
		cmocka_unit_test(larger_pages_of_a_device_are_all_of_their_pages),
		cmocka_unit_test(a_device_without_a_usable_log_is_named),
		cmocka_unit_test(after_a_failing_report_there_is_no_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
