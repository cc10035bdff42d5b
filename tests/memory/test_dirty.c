/* SPDX-License-Identifier: BSD-3-Clause */
/* The native dirty sources report exactly the written pages. */
#include "switchover/memory.h"
#include "tests/support/cm.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES(n) ((n)*SWO_PAGE_SIZE)
#define NPAGES	 200 /* of the first region: no multiple of 64 */

/* Writes through the process's own mapping */

struct native {
	struct swo_ram *ram;
	struct swo_dirty_source source;
};

static void native_open(struct native *n, bool force_handler)
{
	struct swo_error err = {0};

	n->ram = swo_ram_new();
	assert_int_equal(swo_ram_add(n->ram, "low", 0, PAGES(NPAGES), -1, NULL), 0);
	assert_int_equal(swo_ram_add(n->ram, "high", PAGES(1000), PAGES(70), -1, NULL), 0);
	if (swo_dirty_native(n->ram, force_handler, &n->source, &err))
		fail_msg("%s", err.text);
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

/* Checks that exactly these pages are dirty; clears the bitmaps. */
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

	native_open(&n, force_handler);
	/* Some pages are populated before the log is enabled; none counts. */
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

	native_open(&n, force_handler);
	touch(n.ram, 50);
	assert_int_equal(n.source.start(n.source.self, NULL), 0);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(written); i++)
		touch(n.ram, written[i]);
	/* As reclaim may do at any time: the page stays in the file, the mapping is dropped. */
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

/*
 * All pages of several page tables are written and then dropped, so that the tables may be
 * freed too.
 */
static void check_dropped_tables(bool force_handler)
{
	const uint64_t pages = 2048;
	struct native n;

	native_open(&n, force_handler);
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

/* Copying the dirty pages, pass after pass, concurrently with a writer ends with an equal copy. */
static void check_race(bool force_handler)
{
	struct native n;
	uint64_t copy[WRITER_PAGES] = {0};
	pthread_t thread;

	native_open(&n, force_handler);
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

/* Linked in front of the real one, so that a fault can be held while it is handled. */
int __real_memory_uffd_protect(int uffd, const void *host, uint64_t len, bool protect);
int __wrap_memory_uffd_protect(int uffd, const void *host, uint64_t len, bool protect);

static atomic_bool hold, held, collected;

int __wrap_memory_uffd_protect(int uffd, const void *host, uint64_t len, bool protect)
{
	if (!protect && atomic_load(&hold)) {
		/* The collecting thread may have to wait for this one: then the hold ends by timeout. */
		const swo_deadline enough = swo_deadline_ms(200);

		atomic_store(&held, true);
		while (!atomic_load(&collected) && !swo_deadline_passed(enough))
			swo_sleep_until(swo_now_ns() + 100000);
	}
	return __real_memory_uffd_protect(uffd, host, len, protect);
}

static void *write_once(void *opaque)
{
	__atomic_store_n((uint64_t *)swo_ram_host(opaque, PAGES(5), 8), 7, __ATOMIC_RELAXED);
	return NULL;
}

static void a_write_whose_page_is_collected_before_it_happens_is_not_lost(void **state)
{
	(void)state;
	const swo_deadline hang = swo_deadline_ms(10000);
	uint64_t copy[WRITER_PAGES] = {0};
	struct native n;
	pthread_t thread;

	native_open(&n, true);
	assert_int_equal(n.source.start(n.source.self, NULL), 0);
	atomic_store(&hold, true);
	assert_int_equal(swo_thread_start(&thread, "writer", write_once, n.ram, NULL), 0);
	while (!atomic_load(&held) && !swo_deadline_passed(hang))
		swo_sleep_until(swo_now_ns() + 100000);
	assert_true(atomic_load(&held));
	/* Its fault is recorded and the page not released yet. */
	collect(&n);
	copy_dirty(n.ram, copy);
	atomic_store(&collected, true);
	pthread_join(thread, NULL);
	collect(&n);
	copy_dirty(n.ram, copy);
	assert_int_equal(copy[5], 7);
	atomic_store(&hold, false);
	native_close(&n);
}

static void a_writer_in_a_fault_is_released_when_the_log_stops(void **state)
{
	(void)state;
	struct native n;
	pthread_t thread;

	native_open(&n, true);
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
		cmocka_unit_test(a_write_whose_page_is_collected_before_it_happens_is_not_lost),
		cmocka_unit_test(a_writer_in_a_fault_is_released_when_the_log_stops),
	};
	struct swo_ram *ram = swo_ram_new();
	struct swo_dirty_source source;
	struct swo_error err = {0};

	if (swo_dirty_native(ram, true, &source, &err) && err.code == SWO_E_UNSUPPORTED) {
		printf("1..0 # SKIP %s\n", err.text);
		swo_ram_free(ram);
		return 0;
	}
	source.destroy(source.self);
	swo_ram_free(ram);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
