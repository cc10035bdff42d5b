/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.c - the pages written by a vfio-user device: the server's log for its own mappings, this
 * client's log for its DMA_WRITE messages, merged per map.
 *
 * A report clears the server's log, and some servers only report from a map's start. So every
 * reply is first merged into the map's pending bits; the requested bits are taken out of them,
 * the others stay for later reports.
 */
#include "device/vfio_user/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_PAGE 4096u
#define PAGE_MAX     (UINT64_C(1) << 30)
/* The number of ranges that fit a small message; with more, everything is logged. */
#define RANGES_MAX 1024u
/* Bitmap words of one report: a reply of at most 1 MiB of data. */
#define REPORT_WORDS ((VFIO_USER_CLIENT_DATA_MAX - 64) / sizeof(uint64_t))

static uint64_t pages_of(uint64_t len, uint64_t page)
{
	return len / page + (len % page != 0);
}

static size_t words_of(uint64_t bits)
{
	return (size_t)(bits / 64 + (bits % 64 != 0));
}

/* Bits */

static void or_bits(uint64_t *map, uint64_t bit, uint64_t bits)
{
	unsigned shift = bit % 64;

	map[bit / 64] |= bits << shift;
	if (shift && bits >> (64 - shift))
		map[bit / 64 + 1] |= bits >> (64 - shift);
}

static uint64_t take_bits(uint64_t *map, uint64_t bit, unsigned count)
{
	unsigned shift = bit % 64;
	uint64_t mask = count == 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
	uint64_t bits = map[bit / 64] >> shift & mask;

	map[bit / 64] &= ~(mask << shift);
	if (shift && count > 64 - shift) {
		bits |= map[bit / 64 + 1] << (64 - shift) & mask;
		map[bit / 64 + 1] &= ~(mask >> (64 - shift));
	}
	return bits;
}

static void set_run(uint64_t *map, uint64_t bit, uint64_t count)
{
	while (count) {
		unsigned n = count < 64 ? (unsigned)count : 64;

		or_bits(map, bit, n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1);
		bit += n;
		count -= n;
	}
}

/* Moves `count` bits, clearing them where they were. */
static void move_bits(
	uint64_t *to, uint64_t to_bit, uint64_t *from, uint64_t from_bit, uint64_t count)
{
	/* The usual case, and most words are empty. */
	for (; count >= 64 && to_bit % 64 == 0 && from_bit % 64 == 0; count -= 64) {
		uint64_t *word = &from[from_bit / 64];

		if (*word) {
			to[to_bit / 64] |= *word;
			*word = 0;
		}
		to_bit += 64;
		from_bit += 64;
	}
	while (count) {
		unsigned n = count < 64 ? (unsigned)count : 64;
		uint64_t bits = take_bits(from, from_bit, n);

		if (bits)
			or_bits(to, to_bit, bits);
		to_bit += n;
		from_bit += n;
		count -= n;
	}
}

/* Pending bits */

static int no_memory(struct vfio_user *vu, struct swo_error *err)
{
	return swo_error_set(
		err, SWO_E_NO_MEMORY, ENOMEM, "device %s: log of its DMA writes", vu->name);
}

int vfio_user_log_add_map(struct vfio_user *vu, struct vfio_user_map *map, struct swo_error *err)
{
	if (!vu->logging)
		return 0;
	size_t words = words_of(pages_of(map->size, vu->log_page));
	size_t reply = words < REPORT_WORDS ? words : REPORT_WORDS;

	if (reply > vu->report_words) {
		uint64_t *grown = realloc(vu->report, reply * sizeof(*grown));

		if (!grown)
			return no_memory(vu, err);
		vu->report = grown;
		vu->report_words = reply;
	}
	map->pending = calloc(words, sizeof(*map->pending));
	return map->pending ? 0 : no_memory(vu, err);
}

void vfio_user_log_mark(struct vfio_user *vu, uint64_t addr, uint64_t len)
{
	for (struct vfio_user_map *map = vu->maps; map; map = map->next) {
		uint64_t from = addr > map->iova ? addr - map->iova : 0;
		uint64_t to = addr + len - 1 - map->iova;

		if (!map->pending || addr + len - 1 < map->iova || from >= map->size)
			continue;
		if (to >= map->size)
			to = map->size - 1;
		set_run(map->pending, from / vu->log_page,
			to / vu->log_page - from / vu->log_page + 1);
	}
}

/* With dma_lock held. */
static void stop_tracking(struct vfio_user *vu)
{
	vu->logging = false;
	for (struct vfio_user_map *map = vu->maps; map; map = map->next) {
		free(map->pending);
		map->pending = NULL;
	}
}

static int start_tracking(
	struct vfio_user *vu, uint64_t page, bool all_dirty, struct swo_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&vu->dma_lock);
	stop_tracking(vu);
	vu->logging = true;
	vu->log_page = page;
	for (struct vfio_user_map *map = vu->maps; map && !rc; map = map->next) {
		rc = vfio_user_log_add_map(vu, map, err);
		if (!rc && all_dirty)
			set_run(map->pending, 0, pages_of(map->size, page));
	}
	if (rc)
		stop_tracking(vu);
	pthread_mutex_unlock(&vu->dma_lock);
	return rc;
}

/* Start and stop */

static bool is_page_size(uint64_t page)
{
	return page && !(page & (page - 1)) && page <= PAGE_MAX;
}

static int send_start(struct vfio_user *vu, uint64_t *page, const struct swo_dma_range *ranges,
	size_t count, struct swo_error *err)
{
	struct {
		struct vfio_user_log_start start;
		struct vfio_user_dma_range ranges[RANGES_MAX];
	} VFIO_USER_PACKED request;
	/* Separate from the request: the reply may arrive before the send returns. */
	struct vfio_user_dma_range echo[RANGES_MAX];

	if (count > RANGES_MAX)
		count = 0;
	request.start =
		(struct vfio_user_log_start){.page_size = *page, .num_ranges = (uint32_t)count};
	for (size_t i = 0; i < count; i++)
		request.ranges[i] = (struct vfio_user_dma_range){
			.iova = ranges[i].iova, .length = ranges[i].length};
	/* The reply repeats the request: the ranges are received, and ignored. */
	struct vfio_user_feature head = {.argsz = (uint32_t)(sizeof(head) + sizeof(request.start) +
							     count * sizeof(request.ranges[0])),
		.flags = VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOG_START};
	size_t len = head.argsz - sizeof(head);
	struct {
		struct vfio_user_feature head;
		struct vfio_user_log_start start;
	} VFIO_USER_PACKED back;
	struct vfio_user_call call = {.command = VFIO_USER_DEVICE_FEATURE,
		.what = "DMA_LOGGING_START",
		.request = {{&head, sizeof(head)}, {&request, len}},
		.reply = {{&back, sizeof(back)}, {echo, sizeof(echo)}},
		.reply_min = sizeof(back),
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

	if (vfio_user_do(vu->client, &call, err))
		return -1;
	if (!is_page_size(back.start.page_size))
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"device %s: its server logs DMA in pages of %llu bytes, which is no page "
			"size",
			vu->name, (unsigned long long)back.start.page_size);
	*page = back.start.page_size;
	return 0;
}

static int send_stop(struct vfio_user *vu, struct swo_error *err)
{
	uint8_t slack[VU_REPLY_SLACK];

	return vfio_user_feature(vu, VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOG_STOP,
		"DMA_LOGGING_STOP", NULL, 0, slack, 0, sizeof(slack),
		vu->params.command_deadline_ms, err);
}

static int log_start(struct vfio_user *vu, uint64_t *page_size, const struct swo_dma_range *ranges,
	size_t count, struct swo_error *err)
{
	uint64_t hint = is_page_size(*page_size) ? *page_size : DEFAULT_PAGE, page = hint;

	if (!vu->has_dma_log)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: its vfio-user server has no DMA log", vu->name);
	/* This log starts before the server's: no write may be missed in between. */
	if (start_tracking(vu, page, false, err))
		return -1;
	if (!send_start(vu, &page, ranges, count, err)) {
		if (page == hint || !start_tracking(vu, page, true, err)) {
			*page_size = page;
			return 0;
		}
	}
	pthread_mutex_lock(&vu->dma_lock);
	stop_tracking(vu);
	pthread_mutex_unlock(&vu->dma_lock);
	/* The server may have started the log: stop it. */
	if (!err || err->code != SWO_E_DEVICE)
		send_stop(vu, NULL);
	return -1;
}

int vfio_user_dma_log_start(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
	size_t count, struct swo_error *err)
{
	struct vfio_user *vu = self;

	pthread_mutex_lock(&vu->dma_job);
	int rc = log_start(vu, page_size, ranges, count, err);

	pthread_mutex_unlock(&vu->dma_job);
	return rc;
}

int vfio_user_dma_log_stop(void *self, struct swo_error *err)
{
	struct vfio_user *vu = self;

	pthread_mutex_lock(&vu->dma_job);
	pthread_mutex_lock(&vu->dma_lock);
	bool was = vu->logging;

	stop_tracking(vu);
	pthread_mutex_unlock(&vu->dma_lock);
	int rc = was ? send_stop(vu, err) : 0;

	pthread_mutex_unlock(&vu->dma_job);
	return rc;
}

/* Report */

static int bad_report(struct vfio_user *vu, const struct vfio_user_log_report *asked,
	const char *why, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_PROTOCOL, 0,
		"device %s: its server's DMA log of 0x%llx+0x%llx %s", vu->name,
		(unsigned long long)asked->iova, (unsigned long long)asked->length, why);
}

/* One request; the reply is merged into the map's pending bits. */
static int ask_log(struct vfio_user *vu, struct vfio_user_map *map, uint64_t iova, uint64_t length,
	struct swo_error *err)
{
	uint64_t page = vu->log_page, bits = pages_of(length, page);
	size_t words = words_of(bits);
	struct vfio_user_log_report ask = {.iova = iova, .length = length, .page_size = page};
	struct {
		struct vfio_user_feature head;
		struct vfio_user_log_report report;
	} VFIO_USER_PACKED back;
	struct vfio_user_feature head = {
		.argsz = (uint32_t)(sizeof(back) + words * sizeof(uint64_t)),
		.flags = VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_DMA_LOG_REPORT};
	struct vfio_user_call call = {.command = VFIO_USER_DEVICE_FEATURE,
		.what = "DMA_LOGGING_REPORT",
		.request = {{&head, sizeof(head)}, {&ask, sizeof(ask)}},
		.reply = {{&back, sizeof(back)}, {vu->report, words * sizeof(uint64_t)}},
		.reply_min = sizeof(back),
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};

	if (vfio_user_do(vu->client, &call, err))
		return -1;
	if (memcmp(&back.report, &ask, sizeof(ask)))
		return bad_report(vu, &ask, "is for another range", err);
	bool none = call.reply_len == sizeof(back);

	if (!none && call.reply_len < sizeof(back) + words * sizeof(uint64_t))
		return bad_report(vu, &ask, "is truncated", err);
	uint64_t at = (iova - map->iova) / page;

	pthread_mutex_lock(&vu->dma_lock);
	/* Success without a bitmap: libvfio-user has no data. */
	if (none)
		set_run(map->pending, at, bits);
	else
		move_bits(map->pending, at, vu->report, 0, bits);
	pthread_mutex_unlock(&vu->dma_lock);
	return 0;
}

/* Requests all of the map's offsets [from, to), or more, for servers that require it. */
static int ask_map(struct vfio_user *vu, struct vfio_user_map *map, uint64_t from, uint64_t to,
	struct swo_error *err)
{
	uint64_t most = (uint64_t)vu->report_words * 64 * vu->log_page;

	if (vu->quirks & SWO_VFIO_USER_REPORT_PER_REGION)
		from = 0;
	from -= from % vu->log_page;
	while (from < to) {
		/* Complete pages, except at the end of the map. */
		uint64_t page = vu->log_page, end = to - to % page;

		if (to % page)
			end = map->size - end < page ? map->size : end + page;
		uint64_t length = end - from < most ? end - from : most;

		if (ask_log(vu, map, map->iova + from, length, err))
			return -1;
		from += length;
	}
	return 0;
}

/*
 * Moves the map's offsets [from, to) out of its pending bits; `shift` is the offset of the
 * map's start in the caller's range.
 */
static void take_pending(struct vfio_user *vu, struct vfio_user_map *map, uint64_t from,
	uint64_t to, uint64_t iova, uint64_t *bitmap)
{
	uint64_t page = vu->log_page;
	bool aligned = from % page == 0 && (to % page == 0 || to == map->size) &&
		       (map->iova + from - iova) % page == 0;

	pthread_mutex_lock(&vu->dma_lock);
	if (aligned) {
		move_bits(bitmap, (map->iova + from - iova) / page, map->pending, from / page,
			pages_of(to - from, page));
	} else {
		/* The caller's pages are not aligned to the map's: both pages of a bit are dirty. */
		for (uint64_t bit = from / page; bit * page < to; bit++) {
			uint64_t start = bit * page < from ? from : bit * page;
			uint64_t end = (bit + 1) * page < to ? (bit + 1) * page : to;

			if (!(map->pending[bit / 64] >> bit % 64 & 1))
				continue;
			uint64_t first = (map->iova + start - iova) / page;

			set_run(bitmap, first, (map->iova + end - 1 - iova) / page - first + 1);
			/* Bits outside of the range stay for later reports. */
			if (start == bit * page && (end == (bit + 1) * page || end == map->size))
				map->pending[bit / 64] &= ~(UINT64_C(1) << bit % 64);
		}
	}
	pthread_mutex_unlock(&vu->dma_lock);
}

static int log_report(struct vfio_user *vu, uint64_t iova, uint64_t length, uint64_t page_size,
	uint64_t *bitmap, struct swo_error *err)
{
	if (!vu->logging || page_size != vu->log_page || !length || length - 1 > UINT64_MAX - iova)
		return swo_error_set(err, vu->logging ? SWO_E_INVALID : SWO_E_STATE, 0,
			"device %s: cannot report DMA writes to 0x%llx+0x%llx in pages of %llu: %s",
			vu->name, (unsigned long long)iova, (unsigned long long)length,
			(unsigned long long)page_size,
			vu->logging ? "another page size was negotiated" : "no log is running");
	uint64_t last = iova + (length - 1);

	/* Maps change only under dma_job, which is held; pending bits under dma_lock. */
	for (struct vfio_user_map *map = vu->maps; map; map = map->next) {
		uint64_t map_last = map->iova + (map->size - 1);

		if (map_last < iova || map->iova > last)
			continue;
		uint64_t from = iova > map->iova ? iova - map->iova : 0;
		uint64_t to = (last < map_last ? last : map_last) - map->iova + 1;

		if (map->by_fd && ask_map(vu, map, from, to, err))
			return -1;
		take_pending(vu, map, from, to, iova, bitmap);
	}
	return 0;
}

int vfio_user_dma_log_report(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
	uint64_t *bitmap, struct swo_error *err)
{
	struct vfio_user *vu = self;

	pthread_mutex_lock(&vu->dma_job);
	int rc = log_report(vu, iova, length, page_size, bitmap, err);

	pthread_mutex_unlock(&vu->dma_job);
	return rc;
}
