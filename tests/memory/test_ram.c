/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions of guest memory, and the dirty bitmaps over them. */
#include "memory/ram.h"
#include "memory/share.h"
#include "switchover/memory.h"
#include "tests/support/cm.h"
#include "tests/support/dumped.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES(n) ((n)*SWO_PAGE_SIZE)

static struct swo_ram *one_region(uint64_t pages)
{
	struct swo_ram *ram = swo_ram_new();

	assert_non_null(ram);
	assert_int_equal(swo_ram_add(ram, "ram", 0, PAGES(pages), -1, NULL), 0);
	return ram;
}

static long host_page; /* 0: this machine's */

long __real_sysconf(int name);
long __wrap_sysconf(int name);
long __wrap_sysconf(int name)
{
	return name == _SC_PAGESIZE && host_page ? host_page : __real_sysconf(name);
}

static void a_host_with_other_pages_is_refused_by_name(void **state)
{
	(void)state;
	struct swo_ram *ram = swo_ram_new();
	struct swo_error err = {0};

	host_page = 65536;
	assert_int_equal(swo_ram_add(ram, "ram", 0, PAGES(16), -1, &err), -1);
	host_page = 0;
	assert_int_equal(err.code, SWO_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "pages are of 65536 bytes"));
	assert_int_equal(swo_ram_add(ram, "ram", 0, PAGES(16), -1, &err), 0);
	swo_ram_free(ram);
}

static void regions_that_make_no_sense_are_refused(void **state)
{
	(void)state;
	struct swo_ram *ram = swo_ram_new();
	struct swo_error err = {0};

	assert_int_equal(swo_ram_add(ram, "low", PAGES(16), PAGES(16), -1, &err), 0);
	const struct {
		const char *name;
		uint64_t gpa, size;
	} bad[] = {
		{"over-head", PAGES(15), PAGES(2)},
		{"over-tail", PAGES(31), PAGES(2)},
		{"inside", PAGES(20), PAGES(1)},
		{"around", PAGES(1), PAGES(100)},
		{"same", PAGES(16), PAGES(16)},
		{"low", PAGES(64), PAGES(1)},
		{"", PAGES(64), PAGES(1)},
		{"a-name-that-is-longer-than-31-bytes", PAGES(64), PAGES(1)},
		{"empty", PAGES(64), 0},
		{"crooked", PAGES(64) + 8, PAGES(1)},
		{"half", PAGES(64), 2048},
		{"wraps", PAGES(64), UINT64_MAX - PAGES(64) + 1},
	};
	for (size_t i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		memset(&err, 0, sizeof(err));
		assert_int_equal(
			swo_ram_add(ram, bad[i].name, bad[i].gpa, bad[i].size, -1, &err), -1);
		assert_int_equal(err.code, SWO_E_INVALID);
	}
	assert_int_equal(swo_ram_add(ram, "before", PAGES(15), PAGES(1), -1, &err), 0);
	assert_int_equal(swo_ram_add(ram, "after", PAGES(32), PAGES(1), -1, &err), 0);
	assert_int_equal(swo_ram_count(ram), 3);
	assert_int_equal(swo_ram_size(ram), PAGES(18));
	swo_ram_free(ram);
}

static void there_is_room_for_sixteen_regions_and_no_more(void **state)
{
	(void)state;
	struct swo_ram *ram = swo_ram_new();
	char name[] = "a";

	for (unsigned i = 0; i < SWO_RAM_REGIONS_MAX; i++, name[0]++)
		assert_int_equal(swo_ram_add(ram, name, PAGES(i), PAGES(1), -1, NULL), 0);
	assert_int_equal(swo_ram_add(ram, name, PAGES(99), PAGES(1), -1, NULL), -1);
	assert_null(swo_ram_region(ram, SWO_RAM_REGIONS_MAX));
	swo_ram_free(ram);
}

static void a_new_regions_file_cannot_be_resized_by_its_receiver(void **state)
{
	(void)state;
	struct swo_ram *ram = one_region(4);

	assert_int_equal(ftruncate(swo_ram_region(ram, 0)->fd, 0), -1);
	assert_int_equal(ftruncate(swo_ram_region(ram, 0)->fd, PAGES(8)), -1);
	swo_ram_free(ram);
}

static void a_given_fd_is_mapped_and_stays_the_callers_on_failure(void **state)
{
	(void)state;
	struct swo_ram *ram = swo_ram_new();
	struct swo_error err = {0};
	int fd = memfd_create("given", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, PAGES(2)), 0);
	assert_int_equal(pwrite(fd, "hello", 5, PAGES(1)), 5);
	assert_int_equal(swo_ram_add(ram, "given", 0, PAGES(3), fd, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	assert_int_equal(swo_ram_add(ram, "given", 0, PAGES(2), fd, &err), 0);
	assert_memory_equal(swo_ram_host(ram, PAGES(1), 5), "hello", 5);
	swo_ram_free(ram);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void an_address_is_found_only_within_one_region(void **state)
{
	(void)state;
	struct swo_ram *ram = one_region(4);

	assert_int_equal(swo_ram_add(ram, "next", PAGES(4), PAGES(4), -1, NULL), 0);
	uint8_t *low = swo_ram_region(ram, 0)->host;

	assert_ptr_equal(swo_ram_host(ram, 0, PAGES(4)), low);
	assert_ptr_equal(swo_ram_host(ram, PAGES(4) - 1, 1), low + PAGES(4) - 1);
	assert_ptr_equal(swo_ram_host(ram, PAGES(4), 1), swo_ram_region(ram, 1)->host);
	assert_null(swo_ram_host(ram, PAGES(4) - 1, 2));
	assert_null(swo_ram_host(ram, PAGES(8), 1));
	assert_null(swo_ram_host(ram, PAGES(8), 0));
	assert_null(swo_ram_host(ram, 1, UINT64_MAX));
	swo_ram_free(ram);
}

static void runs_are_found_across_word_borders_and_cut_to_size(void **state)
{
	(void)state;
	struct swo_ram *ram = one_region(300);
	uint64_t page = 0, pages = 0;

	swo_ram_mark(ram, PAGES(60), PAGES(140)); /* 60..199: words 0, 1, 2 and 3 */
	swo_ram_mark(ram, PAGES(299), 1);
	assert_int_equal(swo_ram_dirty_pages(ram), 141);
	assert_true(swo_ram_take(ram, 0, &page, UINT64_MAX, 1000, &pages));
	assert_int_equal(page, 60);
	assert_int_equal(pages, 140);
	page += pages;
	assert_true(swo_ram_take(ram, 0, &page, UINT64_MAX, 1000, &pages));
	assert_int_equal(page, 299);
	assert_int_equal(pages, 1);
	page += pages;
	assert_false(swo_ram_take(ram, 0, &page, UINT64_MAX, 1000, &pages));
	assert_int_equal(swo_ram_dirty_pages(ram), 0);

	swo_ram_mark(ram, PAGES(64), PAGES(128));
	page = 65;
	assert_true(swo_ram_take(ram, 0, &page, UINT64_MAX, 70, &pages));
	assert_int_equal(page, 65);
	assert_int_equal(pages, 70);
	page = 0;
	assert_true(swo_ram_take(ram, 0, &page, UINT64_MAX, 1, &pages));
	assert_int_equal(page, 64);
	assert_int_equal(pages, 1);
	page = 0;
	assert_true(swo_ram_take(ram, 0, &page, UINT64_MAX, 1000, &pages));
	assert_int_equal(page, 135);
	assert_int_equal(pages, 57);
	assert_int_equal(swo_ram_dirty_pages(ram), 0);
	assert_false(swo_ram_take(ram, 1, &page, UINT64_MAX, 1, &pages));
	swo_ram_free(ram);
}

static void a_take_stops_before_its_end(void **state)
{
	(void)state;
	struct swo_ram *ram = one_region(300);
	uint64_t page = 0, pages = 0;

	swo_ram_mark(ram, PAGES(60), PAGES(100));
	assert_false(swo_ram_take(ram, 0, &page, 60, 1000, &pages));
	assert_true(swo_ram_take(ram, 0, &page, 130, 1000, &pages));
	assert_int_equal(page, 60);
	assert_int_equal(pages, 70);
	assert_false(swo_ram_take(ram, 0, &page, 130, 1000, &pages));
	page = 131;
	assert_true(swo_ram_take(ram, 0, &page, 140, 1000, &pages));
	assert_int_equal(page, 131);
	assert_int_equal(pages, 9);
	assert_int_equal(swo_ram_dirty_pages(ram), 21);
	swo_ram_free(ram);
}

static void marking_reaches_bytes_not_only_pages_and_stays_in_ram(void **state)
{
	(void)state;
	struct swo_ram *ram = swo_ram_new();

	assert_int_equal(swo_ram_add(ram, "a", PAGES(10), PAGES(10), -1, NULL), 0);
	assert_int_equal(swo_ram_add(ram, "b", PAGES(30), PAGES(10), -1, NULL), 0);
	swo_ram_mark(ram, PAGES(12) + 4095, 2); /* the last byte of one, the first of the next */
	assert_int_equal(swo_ram_dirty_pages(ram), 2);
	swo_ram_mark(ram, PAGES(12), 0);
	swo_ram_mark(ram, PAGES(25), PAGES(5));
	swo_ram_mark(ram, 0, PAGES(10));
	swo_ram_mark(ram, PAGES(40), UINT64_MAX);
	assert_int_equal(swo_ram_dirty_pages(ram), 2);
	swo_ram_mark(ram, PAGES(19), PAGES(12)); /* over the gap into b */
	assert_int_equal(swo_ram_dirty_pages(ram), 4);
	swo_ram_mark_all(ram);
	assert_int_equal(swo_ram_dirty_pages(ram), 20);
	swo_ram_clear_all(ram);
	assert_int_equal(swo_ram_dirty_pages(ram), 0);
	swo_ram_free(ram);
}

/* Every offset of a bitmap against a region that is no multiple of 64, checked bit by bit. */
static void a_bitmap_is_ored_in_at_any_offset(void **state)
{
	(void)state;
	const uint64_t first = 200, total = 150;
	uint64_t bitmap[8];

	srandom(7);
	for (uint64_t at = 0; at < 400; at += 7) {
		for (uint64_t bits = 1; bits <= 512; bits += 73) {
			struct swo_ram *ram = swo_ram_new();

			assert_int_equal(
				swo_ram_add(ram, "r", PAGES(first), PAGES(total), -1, NULL), 0);
			for (size_t w = 0; w < 8; w++)
				bitmap[w] = (uint64_t)random() << 33 ^ (uint64_t)random();
			swo_ram_mark_bitmap(ram, PAGES(at), bitmap, bits);
			const uint64_t *dirty = swo_ram_region(ram, 0)->dirty;

			for (uint64_t p = 0; p < 192; p++) {
				uint64_t from = first + p - at;
				bool want = p < total && first + p >= at && from < bits &&
					    (bitmap[from / 64] >> (from % 64) & 1);

				assert_int_equal(dirty[p / 64] >> (p % 64) & 1, want);
			}
			swo_ram_free(ram);
		}
	}
}

/* Which need not be there. */
static void an_empty_bitmap_marks_nothing(void **state)
{
	(void)state;
	struct swo_ram *ram = swo_ram_new();

	assert_int_equal(swo_ram_add(ram, "r", 0, PAGES(64), -1, NULL), 0);
	for (uint64_t at = 0; at < 70; at++)
		swo_ram_mark_bitmap(ram, PAGES(at), NULL, 0);
	assert_int_equal(swo_ram_dirty_pages(ram), 0);
	swo_ram_free(ram);
}

#define RACE_PAGES  256
#define RACE_ROUNDS 20000

struct race {
	struct swo_ram *ram;
	uint64_t value[RACE_PAGES]; /* "the page": written before it is marked */
	uint64_t seen[RACE_PAGES];
	bool over;
};

static void *race_marker(void *opaque)
{
	struct race *race = opaque;

	for (uint64_t i = 1; i <= RACE_ROUNDS; i++) {
		uint64_t page = i * 37 % RACE_PAGES;

		__atomic_store_n(&race->value[page], i, __ATOMIC_RELAXED);
		swo_ram_mark(race->ram, PAGES(page), 1);
	}
	__atomic_store_n(&race->over, true, __ATOMIC_RELEASE);
	return NULL;
}

static void race_take_all(struct race *race)
{
	uint64_t page = 0, pages;

	while (swo_ram_take(race->ram, 0, &page, UINT64_MAX, 5, &pages)) {
		for (uint64_t i = page; i < page + pages; i++) {
			uint64_t value = __atomic_load_n(&race->value[i], __ATOMIC_RELAXED);
			uint64_t *seen = &race->seen[i], old = __atomic_load_n(seen, 0);

			while (value > old && !__atomic_compare_exchange_n(seen, &old, value, false,
						      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
				;
		}
		page += pages;
	}
}

static void *race_taker(void *opaque)
{
	struct race *race = opaque;

	while (!__atomic_load_n(&race->over, __ATOMIC_ACQUIRE))
		race_take_all(race);
	return NULL;
}

static void no_mark_is_lost_to_takers_that_run_beside_it(void **state)
{
	(void)state;
	struct race *race = calloc(1, sizeof(*race));
	pthread_t marker, taker[2];

	race->ram = one_region(RACE_PAGES);
	assert_int_equal(swo_thread_start(&taker[0], "taker", race_taker, race, NULL), 0);
	assert_int_equal(swo_thread_start(&taker[1], "taker", race_taker, race, NULL), 0);
	assert_int_equal(swo_thread_start(&marker, "marker", race_marker, race, NULL), 0);
	pthread_join(marker, NULL);
	pthread_join(taker[0], NULL);
	pthread_join(taker[1], NULL);
	race_take_all(race);
	assert_memory_equal(race->seen, race->value, sizeof(race->value));
	swo_ram_free(race->ram);
	free(race);
}

static void each_page_is_taken_by_one_taker_only(void **state)
{
	(void)state;
	struct swo_ram *ram = one_region(1000);
	uint64_t page = 0, pages, sum = 0;

	swo_ram_mark_all(ram);
	while (swo_ram_take(ram, 0, &page, UINT64_MAX, 7, &pages)) {
		assert_true(pages <= 7);
		sum += pages;
		page = 0; /* from the start again: no page may be taken twice */
	}
	assert_int_equal(sum, 1000);
	swo_ram_free(ram);
}

static void one_bit_anywhere_makes_a_page_not_zero(void **state)
{
	(void)state;
	uint8_t *page = aligned_alloc(SWO_PAGE_SIZE, PAGES(1));

	memset(page, 0, PAGES(1));
	assert_true(memory_page_is_zero(page));
	for (size_t bit = 0; bit < PAGES(1) * 8; bit++) {
		page[bit / 8] = (uint8_t)(1u << (bit % 8));
		assert_false(memory_page_is_zero(page));
		page[bit / 8] = 0;
	}
	assert_true(memory_page_is_zero(page));
	free(page);
}

static void the_hash_sees_contents_names_and_sizes(void **state)
{
	(void)state;
	struct swo_ram *a = one_region(4), *b = one_region(4), *c = swo_ram_new();

	assert_int_equal(swo_ram_populate(b, NULL), 0);
	assert_int_equal(swo_ram_hash(a), swo_ram_hash(b));
	*(uint8_t *)swo_ram_host(a, PAGES(3), 1) = 1;
	assert_true(swo_ram_hash(a) != swo_ram_hash(b));
	*(uint8_t *)swo_ram_host(b, PAGES(3), 1) = 1;
	assert_int_equal(swo_ram_hash(a), swo_ram_hash(b));
	assert_int_equal(swo_ram_add(c, "other", 0, PAGES(4), -1, NULL), 0);
	*(uint8_t *)swo_ram_host(c, PAGES(3), 1) = 1;
	assert_true(swo_ram_hash(c) != swo_ram_hash(b));
	swo_ram_free(a);
	swo_ram_free(b);
	swo_ram_free(c);
}

static void core_dumps_have_ram_unless_told_otherwise(void **state)
{
	(void)state;
	struct swo_ram *ram = swo_ram_new(), *other = swo_ram_new();
	const uint64_t size = 1 << 20;

	assert_int_equal(swo_ram_add(ram, "low", 0, size, -1, NULL), 0);
	assert_true(dumped_has(swo_ram_host(ram, 0, 1)));
	assert_int_equal(swo_ram_set_dump(ram, false, NULL), 0);
	assert_false(dumped_has(swo_ram_host(ram, 0, 1)));
	/* Also what is added later, and what takes its place. */
	assert_int_equal(swo_ram_add(ram, "high", size, size, -1, NULL), 0);
	assert_false(dumped_has(swo_ram_host(ram, size, 1)));
	int fds[SWO_RAM_REGIONS_MAX];

	assert_int_equal(swo_ram_add(other, "low", 0, size, -1, NULL), 0);
	assert_int_equal(swo_ram_add(other, "high", size, size, -1, NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		fds[i] = fcntl(swo_ram_region(other, i)->fd, F_DUPFD_CLOEXEC, 0);
	assert_int_equal(memory_ram_adopt(ram, fds, NULL), 0);
	assert_false(dumped_has(swo_ram_host(ram, size, 1)));
	assert_int_equal(swo_ram_set_dump(ram, true, NULL), 0);
	assert_true(dumped_has(swo_ram_host(ram, 0, 1)));
	assert_true(dumped_has(swo_ram_host(other, 0, 1)));
	swo_ram_free(ram);
	swo_ram_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_with_other_pages_is_refused_by_name),
		cmocka_unit_test(regions_that_make_no_sense_are_refused),
		cmocka_unit_test(there_is_room_for_sixteen_regions_and_no_more),
		cmocka_unit_test(a_new_regions_file_cannot_be_resized_by_its_receiver),
		cmocka_unit_test(a_given_fd_is_mapped_and_stays_the_callers_on_failure),
		cmocka_unit_test(an_address_is_found_only_within_one_region),
		cmocka_unit_test(runs_are_found_across_word_borders_and_cut_to_size),
		cmocka_unit_test(a_take_stops_before_its_end),
		cmocka_unit_test(marking_reaches_bytes_not_only_pages_and_stays_in_ram),
		cmocka_unit_test(a_bitmap_is_ored_in_at_any_offset),
		cmocka_unit_test(an_empty_bitmap_marks_nothing),
		cmocka_unit_test(no_mark_is_lost_to_takers_that_run_beside_it),
		cmocka_unit_test(each_page_is_taken_by_one_taker_only),
		cmocka_unit_test(one_bit_anywhere_makes_a_page_not_zero),
		cmocka_unit_test(core_dumps_have_ram_unless_told_otherwise),
		cmocka_unit_test(the_hash_sees_contents_names_and_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
