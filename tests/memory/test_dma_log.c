/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA logs of devices, over a backend that is played here. */
#include "switchover/memory.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGES(n) ((n)*SWO_PAGE_SIZE)

/* What the device wrote (pages by number), and how it answers. */
struct player {
	uint64_t page_size; /* that it chooses; 0: what was asked */
	bool refuse_start;
	bool fail_report;
	bool on;
	size_t ranges;
	struct swo_dma_range range[SWO_RAM_REGIONS_MAX];
	uint64_t chosen;
	uint64_t written[8];
	size_t count;
};

static int get_flags(void *self, uint64_t *flags, struct swo_error *err)
{
	(void)self;
	(void)err;
	*flags = SWO_MIG_STOP_COPY;
	return 0;
}

static int get_state(void *self, enum swo_device_state *state, struct swo_error *err)
{
	(void)self;
	(void)err;
	*state = SWO_DEVICE_RUNNING;
	return 0;
}

static int set_state(void *self, enum swo_device_state state, struct swo_error *err)
{
	(void)self;
	(void)state;
	(void)err;
	return 0;
}

static int log_start(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
	size_t count, struct swo_error *err)
{
	struct player *player = self;

	if (player->refuse_start)
		return swo_error_set(err, SWO_E_DEVICE, EIO, "no");
	player->on = true;
	player->ranges = count;
	memcpy(player->range, ranges, count * sizeof(*ranges));
	if (player->page_size)
		*page_size = player->page_size;
	player->chosen = *page_size;
	return 0;
}

static int log_stop(void *self, struct swo_error *err)
{
	(void)err;
	((struct player *)self)->on = false;
	return 0;
}

static int log_report(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
	uint64_t *bitmap, struct swo_error *err)
{
	struct player *player = self;

	if (player->fail_report)
		return swo_error_set(err, SWO_E_DEVICE, EIO, "no report");
	assert_true(player->on);
	assert_int_equal(page_size, player->chosen);
	assert_int_equal(iova % page_size, 0);
	assert_int_equal(length % page_size, 0);
	for (size_t i = 0; i < player->count; i++) {
		uint64_t at = PAGES(player->written[i]) - iova;

		if (PAGES(player->written[i]) >= iova && at < length)
			bitmap[at / page_size / 64] |= UINT64_C(1) << (at / page_size % 64);
	}
	return 0;
}

static void destroy(void *self)
{
	(void)self;
}

static const struct swo_device_ops with_log = {
	.name = "played",
	.get_mig_flags = get_flags,
	.get_state = get_state,
	.set_state = set_state,
	.dma_log_start = log_start,
	.dma_log_stop = log_stop,
	.dma_log_report = log_report,
	.destroy = destroy,
};

static const struct swo_device_ops without_log = {
	.name = "played",
	.get_mig_flags = get_flags,
	.get_state = get_state,
	.set_state = set_state,
	.destroy = destroy,
};

static unsigned warnings;

static void count_warning(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque;
	(void)text;
	warnings += level == SWO_LOG_WARN;
}

struct setting {
	struct swo_ram *ram;
	struct swo_device *dev;
	struct player player;
};

static void open_setting(struct setting *s, const struct swo_device_ops *ops)
{
	struct swo_error err = {0};

	warnings = 0;
	s->ram = swo_ram_new();
	assert_int_equal(swo_ram_add(s->ram, "low", 0, PAGES(100), -1, NULL), 0);
	assert_int_equal(swo_ram_add(s->ram, "high", PAGES(1001), PAGES(70), -1, NULL), 0);
	if (swo_device_create("vf0", ops, &s->player, NULL, &s->dev, &err))
		fail_msg("%s", err.text);
}

static void close_setting(struct setting *s)
{
	swo_device_destroy(s->dev);
	swo_ram_free(s->ram);
}

static bool is_dirty(struct swo_ram *ram, uint64_t page)
{
	unsigned region = page >= 1001;
	uint64_t at = page - (region ? 1001 : 0);

	return swo_ram_region(ram, region)->dirty[at / 64] >> (at % 64) & 1;
}

static void a_device_is_asked_for_all_of_ram_and_believed(void **state)
{
	(void)state;
	struct setting s = {.player = {.written = {3, 99, 1001, 1070, 500}, .count = 5}};
	bool logged = false;

	open_setting(&s, &with_log);
	assert_int_equal(swo_dma_log_start(s.dev, s.ram, &logged, NULL), 0);
	assert_true(logged);
	assert_int_equal(s.player.ranges, 2);
	assert_int_equal(s.player.range[1].iova, PAGES(1001));
	assert_int_equal(s.player.range[1].length, PAGES(70));
	assert_int_equal(swo_dma_log_collect(s.dev, s.ram, NULL), 0);
	assert_int_equal(swo_ram_dirty_pages(s.ram), 4);
	for (size_t i = 0; i < 4; i++)
		assert_true(is_dirty(s.ram, s.player.written[i]));
	swo_dma_log_stop(s.dev);
	assert_false(s.player.on);
	close_setting(&s);
}

static void larger_pages_of_a_device_are_all_of_their_pages(void **state)
{
	(void)state;
	struct setting s = {.player = {.page_size = PAGES(16), .written = {5, 1008}, .count = 2}};
	bool logged = false;

	open_setting(&s, &with_log);
	assert_int_equal(swo_dma_log_start(s.dev, s.ram, &logged, NULL), 0);
	assert_true(logged);
	assert_int_equal(swo_dma_log_collect(s.dev, s.ram, NULL), 0);
	/* 0..15, and 1008..1023: whole pages of 64 KiB, though `high` begins within one. */
	assert_int_equal(swo_ram_dirty_pages(s.ram), 32);
	assert_true(is_dirty(s.ram, 15) && is_dirty(s.ram, 1023));
	assert_false(is_dirty(s.ram, 16) || is_dirty(s.ram, 1007));
	swo_dma_log_stop(s.dev);
	close_setting(&s);
}

static void expect_no_log(const struct swo_device_ops *ops, struct player player, unsigned warned)
{
	struct setting s = {.player = player};
	bool logged = true;

	open_setting(&s, ops);
	assert_int_equal(swo_dma_log_start(s.dev, s.ram, &logged, NULL), 0);
	assert_false(logged);
	assert_int_equal(warnings, warned);
	assert_int_equal(swo_dma_log_collect(s.dev, s.ram, NULL), 0);
	assert_int_equal(swo_ram_dirty_pages(s.ram), 170);
	swo_dma_log_stop(s.dev);
	assert_false(s.player.on);
	close_setting(&s);
}

static void without_a_log_all_of_ram_is_dirty(void **state)
{
	(void)state;
	expect_no_log(&without_log, (struct player){0}, 0);
	expect_no_log(&with_log, (struct player){.refuse_start = true}, 1);
	expect_no_log(&with_log, (struct player){.page_size = 2048}, 1);
	expect_no_log(&with_log, (struct player){.page_size = PAGES(3)}, 1);
	expect_no_log(&with_log, (struct player){.page_size = UINT64_C(1) << 63}, 1);
}

static void a_failing_report_marks_all_and_says_so_once(void **state)
{
	(void)state;
	struct setting s = {.player = {.fail_report = true}};
	bool logged = false;

	open_setting(&s, &with_log);
	assert_int_equal(swo_dma_log_start(s.dev, s.ram, &logged, NULL), 0);
	for (int i = 0; i < 3; i++) {
		swo_ram_clear_all(s.ram);
		assert_int_equal(swo_dma_log_collect(s.dev, s.ram, NULL), 0);
		assert_int_equal(swo_ram_dirty_pages(s.ram), 170);
	}
	assert_int_equal(warnings, 1);
	swo_dma_log_stop(s.dev);
	close_setting(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_is_asked_for_all_of_ram_and_believed),
		cmocka_unit_test(larger_pages_of_a_device_are_all_of_their_pages),
		cmocka_unit_test(without_a_log_all_of_ram_is_dirty),
		cmocka_unit_test(a_failing_report_marks_all_and_says_so_once),
	};

	swo_log_set(SWO_LOG_WARN, count_warning, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
