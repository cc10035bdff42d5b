/* SPDX-License-Identifier: BSD-3-Clause */
/* RAM that was never touched: found, left alone, and not allocated by anything here. */
#include "memory/ram.h"
#include "tests/support/allocated.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES(n) ((n)*SWO_PAGE_SIZE)
#define ALL	 4096 /* pages: several page tables, and looks of mincore() */

static struct swo_ram *sparse_ram(int fd)
{
	struct swo_ram *ram = swo_ram_new();

	assert_non_null(ram);
	assert_int_equal(swo_ram_add(ram, "ram", PAGES(16), PAGES(ALL), fd, NULL), 0);
	return ram;
}

static void write_page(struct swo_ram *ram, uint64_t page, uint8_t value)
{
	memset(swo_ram_region(ram, 0)->host + PAGES(page), value, SWO_PAGE_SIZE);
}

/* The runs of a region cover all of it, and are holes exactly where `touched` has no page. */
static void expect_extents(struct swo_ram *ram, const bool touched[ALL])
{
	struct swo_ram_region *region = swo_ram_region(ram, 0);

	for (uint64_t page = 0; page < ALL;) {
		bool hole;
		const uint64_t next = memory_region_extent(region, page, ALL, &hole);

		assert_true(next > page && next <= ALL);
		for (; page < next; page++)
			assert_int_equal(hole, !touched[page]);
	}
}

static void holes_are_found_exactly(void **state)
{
	(void)state;
	static const uint64_t pages[] = {0, 1, 2, 511, 512, 700, 1023, 3000, 3001, ALL - 1};
	struct swo_ram *ram = sparse_ram(-1);
	struct swo_ram_region *region = swo_ram_region(ram, 0);
	bool touched[ALL] = {0}, hole;

	expect_extents(ram, touched);
	assert_true(swo_ram_is_hole(ram, PAGES(16), PAGES(ALL)));
	for (size_t i = 0; i < SWO_ARRAY_SIZE(pages); i++) {
		write_page(ram, pages[i], 1);
		touched[pages[i]] = true;
	}
	expect_extents(ram, touched);
	/* A page that is in the file, but not in this process's page table. */
	assert_int_equal(madvise(region->host, region->size, MADV_DONTNEED), 0);
	expect_extents(ram, touched);
	/* It ends where its caller wants. */
	assert_int_equal(memory_region_extent(region, 3, 5, &hole), 5);
	assert_true(hole);
	assert_int_equal(memory_region_extent(region, 1, 2, &hole), 2);
	assert_false(hole);
	assert_true(swo_ram_is_hole(ram, PAGES(16 + 3), PAGES(500)));
	assert_true(swo_ram_is_hole(ram, PAGES(16 + 3) + 7, 1));
	assert_false(swo_ram_is_hole(ram, PAGES(16 + 3), PAGES(508) + 1));
	assert_false(swo_ram_is_hole(ram, PAGES(16 + 2), PAGES(3)));
	assert_false(swo_ram_is_hole(ram, PAGES(15), PAGES(1)));
	assert_false(swo_ram_is_hole(ram, PAGES(16 + 3), PAGES(ALL)));
	assert_false(swo_ram_is_hole(ram, PAGES(16 + 3), 0));
	swo_ram_free(ram);
}

/* The page cache of a file may have more than was written: then a hole may count as data. */
static void a_page_that_was_written_is_never_in_a_hole_of_a_file(void **state)
{
	(void)state;
	char path[] = "/tmp/swo-hole-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	assert_int_equal(ftruncate(fd, (off_t)PAGES(ALL)), 0);
	struct swo_ram *ram = sparse_ram(fd);

	for (uint64_t page = 0; page < ALL; page += 1 + page / 3)
		write_page(ram, page, 1);
	for (uint64_t page = 0; page < ALL; page += 1 + page / 3)
		assert_false(swo_ram_is_hole(ram, PAGES(16 + page), 1));
	swo_ram_free(ram);
}

static void clearing_leaves_holes_and_pages_where_they_are(void **state)
{
	(void)state;
	struct swo_ram *ram = sparse_ram(-1);
	struct swo_ram_region *region = swo_ram_region(ram, 0);

	write_page(ram, 0, 0xff);
	write_page(ram, 600, 0xff);
	write_page(ram, 601, 0);
	write_page(ram, 602, 0xff);
	write_page(ram, ALL - 1, 0xff);
	const uint64_t before = allocated_bytes(region->fd);

	memory_region_clear(region, 1, 601);
	assert_int_equal(region->host[0], 0xff);
	assert_int_equal(region->host[PAGES(602)], 0xff);
	assert_true(memory_page_is_zero(region->host + PAGES(600)));
	memory_region_clear(region, 0, ALL);
	assert_int_equal(allocated_bytes(region->fd), before);
	for (uint64_t page = 0; page < ALL; page++)
		if (!swo_ram_is_hole(ram, PAGES(16 + page), 1))
			assert_true(memory_page_is_zero(region->host + PAGES(page)));
	assert_int_equal(allocated_bytes(region->fd), before);
	swo_ram_free(ram);
}

static void the_hash_is_that_of_the_content_and_allocates_nothing(void **state)
{
	(void)state;
	struct swo_ram *sparse = sparse_ram(-1), *full = sparse_ram(-1);
	const int fd = swo_ram_region(sparse, 0)->fd;

	assert_int_equal(swo_ram_populate(full, NULL), 0);
	assert_int_equal(allocated_bytes(swo_ram_region(full, 0)->fd), PAGES(ALL));
	write_page(sparse, 1000, 3);
	write_page(full, 1000, 3);
	const uint64_t before = allocated_bytes(fd);

	assert_true(before < PAGES(ALL));
	assert_int_equal(swo_ram_hash(sparse), swo_ram_hash(full));
	assert_int_equal(allocated_bytes(fd), before);
	write_page(sparse, 1001, 4);
	assert_true(swo_ram_hash(sparse) != swo_ram_hash(full));
	swo_ram_free(sparse);
	swo_ram_free(full);
}

/* Started, read twice, and stopped; with a page written, and one in a hole of a table's size. */
static void check_log(bool force_handler)
{
	struct swo_ram *ram = sparse_ram(-1);
	const int fd = swo_ram_region(ram, 0)->fd;
	struct swo_dirty_source log;
	struct swo_error err = {0};

	write_page(ram, 5, 1);
	if (swo_dirty_native(ram, force_handler, &log, &err))
		fail_msg("%s", err.text);
	const uint64_t one = allocated_bytes(fd);

	assert_int_equal(log.start(log.self, NULL), 0);
	assert_int_equal(log.collect(log.self, ram, NULL), 0);
	assert_int_equal(allocated_bytes(fd), one);
	assert_int_equal(swo_ram_dirty_pages(ram), 0);
	write_page(ram, 5, 2);
	write_page(ram, 3333, 2);
	assert_int_equal(log.collect(log.self, ram, NULL), 0);
	assert_int_equal(swo_ram_dirty_pages(ram), 2);
	log.stop(log.self);
	assert_int_equal(allocated_bytes(fd), 2 * one);
	log.destroy(log.self);
	swo_ram_free(ram);
}

static void a_log_of_writes_allocates_nothing(void **state)
{
	(void)state;
	check_log(false);
	check_log(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holes_are_found_exactly),
		cmocka_unit_test(a_page_that_was_written_is_never_in_a_hole_of_a_file),
		cmocka_unit_test(clearing_leaves_holes_and_pages_where_they_are),
		cmocka_unit_test(the_hash_is_that_of_the_content_and_allocates_nothing),
		cmocka_unit_test(a_log_of_writes_allocates_nothing),
	};

	if (!allocates_single_pages()) {
		printf("1..0 # SKIP memfds have huge pages here\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
