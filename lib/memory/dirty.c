/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty.c - the dirty bitmaps: marking from any thread, taking runs of pages. A mark releases
 * and a take acquires, so that a thread that takes a page also sees the writes before the mark.
 */
#include "ram.h"

static void or_word(uint64_t *word, uint64_t bits)
{
	/*
	 * Not skipped if the bits are already set: only the read-modify-write orders the write to
	 * the page before a take that clears the bit concurrently.
	 */
	__atomic_fetch_or(word, bits, __ATOMIC_RELEASE);
}

static void count_marked(struct swo_ram_region *region, uint64_t pages)
{
	__atomic_fetch_add(&region->marked, pages, __ATOMIC_RELAXED);
}

uint64_t memory_ram_marked(const struct swo_ram *ram)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < ram->count; i++)
		pages += __atomic_load_n(&ram->region[i].marked, __ATOMIC_RELAXED);
	return pages;
}

void memory_region_mark(struct swo_ram_region *region, uint64_t page, uint64_t pages)
{
	count_marked(region, pages);
	while (pages) {
		unsigned bit = page % 64;
		uint64_t here = 64 - bit < pages ? 64 - bit : pages;

		or_word(&region->dirty[page / 64], bit_run(bit, here));
		page += here;
		pages -= here;
	}
}

/* 64 bits of a bitmap of `bits` bits from bit `from` on, which may be negative; zeros outside. */
static uint64_t gather(const uint64_t *bitmap, uint64_t bits, int64_t from)
{
	if (from <= -64 || (from >= 0 && (uint64_t)from >= bits))
		return 0;
	if (from < 0) {
		uint64_t word = bitmap[0];

		if (bits < 64)
			word &= bit_run(0, bits);
		return word << -from;
	}

	uint64_t index = (uint64_t)from / 64, left = bits - (uint64_t)from;
	unsigned shift = (uint64_t)from % 64;
	uint64_t word = bitmap[index] >> shift;

	if (shift && left > 64 - shift)
		word |= bitmap[index + 1] << (64 - shift);
	return left < 64 ? word & bit_run(0, left) : word;
}

void memory_region_mark_bitmap(struct swo_ram_region *region, const uint64_t *bitmap)
{
	uint64_t pages = region_pages(region), marked = 0;

	for (size_t i = 0; i < bitmap_words(pages); i++) {
		uint64_t left = pages - i * 64;
		uint64_t bits = left < 64 ? bitmap[i] & bit_run(0, left) : bitmap[i];

		if (bits)
			or_word(&region->dirty[i], bits);
		marked += (uint64_t)__builtin_popcountll(bits);
	}
	count_marked(region, marked);
}

void swo_ram_mark(struct swo_ram *ram, uint64_t gpa, uint64_t len)
{
	if (!len)
		return;
	uint64_t last = len - 1 > UINT64_MAX - gpa ? UINT64_MAX : gpa + (len - 1);

	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];
		uint64_t region_last = region->gpa + (region->size - 1);

		if (gpa > region_last || last < region->gpa)
			continue;
		uint64_t from = gpa > region->gpa ? gpa - region->gpa : 0;
		uint64_t to = (last < region_last ? last : region_last) - region->gpa;
		uint64_t page = from >> SWO_PAGE_SHIFT;

		memory_region_mark(region, page, (to >> SWO_PAGE_SHIFT) - page + 1);
	}
}

void swo_ram_mark_all(struct swo_ram *ram)
{
	for (unsigned i = 0; i < ram->count; i++)
		memory_region_mark(&ram->region[i], 0, region_pages(&ram->region[i]));
}

void swo_ram_clear_all(struct swo_ram *ram)
{
	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		for (size_t w = 0; w < bitmap_words(region_pages(region)); w++)
			__atomic_store_n(&region->dirty[w], 0, __ATOMIC_RELAXED);
	}
}

void swo_ram_mark_bitmap(struct swo_ram *ram, uint64_t gpa, const uint64_t *bitmap, uint64_t pages)
{
	uint64_t first = gpa >> SWO_PAGE_SHIFT;

	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];
		uint64_t region_first = region->gpa >> SWO_PAGE_SHIFT;
		uint64_t total = region_pages(region);

		if (!pages || first >= region_first + total || region_first >= first + pages)
			continue;
		/* Only the words of the region that the bitmap covers. */
		uint64_t begin = first > region_first ? first - region_first : 0;
		uint64_t end = first + pages - region_first, marked = 0;

		if (end > total)
			end = total;
		for (uint64_t w = begin / 64; w < bitmap_words(end); w++) {
			uint64_t bits = gather(
				bitmap, pages, (int64_t)(region_first + w * 64) - (int64_t)first);

			if (total - w * 64 < 64)
				bits &= bit_run(0, total - w * 64);
			if (bits)
				or_word(&region->dirty[w], bits);
			marked += (uint64_t)__builtin_popcountll(bits);
		}
		count_marked(region, marked);
	}
}

uint64_t swo_ram_dirty_pages(struct swo_ram *ram)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < ram->count; i++) {
		struct swo_ram_region *region = &ram->region[i];

		for (size_t w = 0; w < bitmap_words(region_pages(region)); w++)
			count += (uint64_t)__builtin_popcountll(
				__atomic_load_n(&region->dirty[w], __ATOMIC_RELAXED));
	}
	return count;
}

/*
 * Clears the run of ones that begins at `bit`, at most `max` long; returns its length, 0 if
 * that bit is clear.
 */
static unsigned take_in_word(uint64_t *word, unsigned bit, uint64_t max)
{
	uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
	unsigned run;

	do {
		uint64_t from = old >> bit;

		run = ~from ? (unsigned)__builtin_ctzll(~from) : 64;
		if (run > max)
			run = (unsigned)max;
		if (!run)
			return 0;
	} while (!__atomic_compare_exchange_n(
		word, &old, old & ~bit_run(bit, run), true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return run;
}

/* The first dirty page at or after `page`; `pages` or more if there is none before it. */
static uint64_t find_dirty(const struct swo_ram_region *region, uint64_t page, uint64_t pages)
{
	if (page >= pages)
		return pages;

	uint64_t w = page / 64;
	uint64_t bits =
		__atomic_load_n(&region->dirty[w], __ATOMIC_RELAXED) & (UINT64_MAX << (page % 64));

	while (!bits) {
		if (++w >= bitmap_words(pages))
			return pages;
		bits = __atomic_load_n(&region->dirty[w], __ATOMIC_RELAXED);
	}
	return w * 64 + (uint64_t)__builtin_ctzll(bits);
}

bool memory_first_dirty(const struct swo_ram *ram, uint64_t *gpa)
{
	for (unsigned i = 0; i < ram->count; i++) {
		const struct swo_ram_region *region = &ram->region[i];
		uint64_t pages = region_pages(region), page = find_dirty(region, 0, pages);

		if (page < pages) {
			*gpa = region->gpa + (page << SWO_PAGE_SHIFT);
			return true;
		}
	}
	return false;
}

bool swo_ram_take(struct swo_ram *ram, unsigned index, uint64_t *page, uint64_t end,
	uint64_t max_pages, uint64_t *pages)
{
	if (index >= ram->count || !max_pages)
		return false;

	struct swo_ram_region *region = &ram->region[index];
	uint64_t at = *page, got = 0;

	if (end > region_pages(region))
		end = region_pages(region);
	while (!got) {
		at = find_dirty(region, at, end);
		if (at >= end)
			return false;
		if (max_pages > end - at)
			max_pages = end - at;
		/* 0 if another thread was faster: continue from there. */
		got = take_in_word(&region->dirty[at / 64], at % 64, max_pages);
	}
	*page = at;
	while (got < max_pages && (at + got) % 64 == 0) {
		unsigned more = take_in_word(&region->dirty[(at + got) / 64], 0, max_pages - got);

		if (!more)
			break;
		got += more;
	}
	*pages = got;
	return true;
}
