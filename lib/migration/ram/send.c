/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * send.c - RAM passes: runs of dirty pages, zero pages apart, framed and sent by
 * worker per channel.
 */
#include "migration/ram/send.h"

#include "memory/ram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 100

struct sender {
	struct ram_send *owner;
	unsigned channel;
	struct swo_worker *worker;
	struct swo_job job;
	uint8_t *bounce;
	struct swo_error err;
	int rc;
	/* since the migration began; read by any thread */
	_Atomic uint64_t bytes;
	_Atomic uint64_t normal_pages;
	_Atomic uint64_t zero_pages;
	_Atomic uint64_t content; /* pages of its pieces that were not zero when last sent */
};

struct ram_send {
	struct swo_migration *m;
	struct sender senders[WIRE_CHANNELS_MAX];
	unsigned count;
	_Atomic uint64_t pass;
	atomic_bool cut; /* the pass ends early */
	bool still;	 /* no vCPU or device writes */
	/* A bit a page, counted in senders' `content`. No two senders share a word. */
	uint64_t *content[SWO_RAM_REGIONS_MAX];
};
static_assert(WIRE_RAM_PIECE_SHIFT >= SWO_PAGE_SHIFT + 6, "no word belongs to two pieces");

static void note_content(
	struct sender *sender, unsigned region, uint64_t page, uint64_t pages, bool content)
{
	while (pages) {
		const unsigned bit = page % 64;
		const uint64_t n = 64 - bit < pages ? 64 - bit : pages, run = bit_run(bit, n);
		uint64_t *word = &sender->owner->content[region][page / 64];
		const uint64_t before = *word;

		*word = content ? before | run : before & ~run;
		sender->content += (uint64_t)__builtin_popcountll(*word) -
				   (uint64_t)__builtin_popcountll(before);
		page += n;
		pages -= n;
	}
}

static int send_zero(struct sender *sender, unsigned region, uint64_t offset, uint64_t bytes)
{
	struct channel_frame_header header = {.type = WIRE_RAM_ZERO,
		.device = region,
		.offset = offset,
		.pass = sender->owner->pass};
	struct wire_zero_run run = {.bytes = bytes};

	note_content(sender, region, offset >> SWO_PAGE_SHIFT, bytes >> SWO_PAGE_SHIFT, false);
	sender->zero_pages += bytes >> SWO_PAGE_SHIFT;
	sender->bytes += sizeof(header) + sizeof(run);
	return channel_send(
		&sender->owner->m->data[sender->channel], &header, &run, sizeof(run), &sender->err);
}

static int send_pages(struct sender *sender, unsigned region, const uint8_t *host, uint64_t offset,
	uint64_t bytes)
{
	struct channel_frame_header header = {
		.type = WIRE_RAM, .device = region, .offset = offset, .pass = sender->owner->pass};

	const uint8_t *from = host + offset;

	/*
	 * Through a buffer: the guest or a device may be writing to the page, and the checksum must
	 * be that of the bytes sent. A page that changed meanwhile is dirty again.
	 */
	if (!sender->owner->still)
		from = memcpy(sender->bounce, from, bytes);
	if (channel_send(
		    &sender->owner->m->data[sender->channel], &header, from, bytes, &sender->err))
		return -1;
	note_content(sender, region, offset >> SWO_PAGE_SHIFT, bytes >> SWO_PAGE_SHIFT, true);
	sender->normal_pages += bytes >> SWO_PAGE_SHIFT;
	sender->bytes += sizeof(header) + bytes;
	migration_pace(sender->owner->m, bytes);
	return 0;
}

/* Pages that are allocated, split where zero pages start and end. */
static int send_allocated(
	struct sender *sender, unsigned region, const uint8_t *host, uint64_t page, uint64_t end)
{
	while (page < end) {
		bool zero = memory_page_is_zero(host + (page << SWO_PAGE_SHIFT));
		uint64_t next = page + 1;

		while (next < end && memory_page_is_zero(host + (next << SWO_PAGE_SHIFT)) == zero)
			next++;
		uint64_t offset = page << SWO_PAGE_SHIFT, bytes = (next - page) << SWO_PAGE_SHIFT;

		if (zero ? send_zero(sender, region, offset, bytes)
			 : send_pages(sender, region, host, offset, bytes))
			return -1;
		page = next;
	}
	return 0;
}

/*
 * A run of dirty pages. Holes are not read, which would allocate them, but sent as zeros: the
 * target's memory may have content, from an earlier attempt for example.
 */
static int send_run(struct sender *sender, unsigned index, const struct swo_ram_region *region,
	uint64_t page, uint64_t pages)
{
	const uint64_t end = page + pages;
	bool hole;

	while (page < end) {
		const uint64_t next = memory_region_extent(region, page, end, &hole);

		if (hole ? send_zero(sender, index, page << SWO_PAGE_SHIFT,
				   (next - page) << SWO_PAGE_SHIFT)
			 : send_allocated(sender, index, region->host, page, next))
			return -1;
		page = next;
	}
	return 0;
}

static int send_region(struct sender *sender, unsigned index)
{
	struct ram_send *send = sender->owner;
	const struct swo_ram_region *region = swo_ram_region(send->m->vm.ram, index);
	const uint64_t all = region->size >> SWO_PAGE_SHIFT;
	const uint64_t piece = UINT64_C(1) << (WIRE_RAM_PIECE_SHIFT - SWO_PAGE_SHIFT);
	const uint64_t run_max = WIRE_RAM_RUN_MAX >> SWO_PAGE_SHIFT;

	for (uint64_t begin = 0; begin < all && !atomic_load(&send->cut); begin += piece) {
		uint64_t end = begin + piece < all ? begin + piece : all, page = begin, pages;

		if (wire_ram_channel(begin << SWO_PAGE_SHIFT, send->count) != sender->channel)
			continue;
		while (swo_ram_take(send->m->vm.ram, index, &page, end, run_max, &pages)) {
			if (atomic_load(&send->m->abort))
				return swo_error_set(&sender->err, SWO_E_CANCELLED, 0,
					"the migration was aborted while RAM was sent");
			if (send_run(sender, index, region, page, pages))
				return -1;
			if (atomic_load(&send->cut))
				return 0;
			page += pages;
		}
	}
	return 0;
}

static void sender_job(void *opaque)
{
	struct sender *sender = opaque;

	sender->rc = 0;
	for (unsigned i = 0; !sender->rc && i < swo_ram_count(sender->owner->m->vm.ram); i++)
		sender->rc = send_region(sender, i);
	if (sender->rc)
		migration_fail(sender->owner->m, &sender->err);
}

int ram_send_create(struct swo_migration *m, struct ram_send **out, struct swo_error *err)
{
	struct ram_send *send = calloc(1, sizeof(*send));

	if (!send)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "RAM senders");
	send->m = m;
	for (unsigned i = 0; i < swo_ram_count(m->vm.ram); i++) {
		send->content[i] = calloc(
			bitmap_words(region_pages(swo_ram_region(m->vm.ram, i))), sizeof(uint64_t));
		if (!send->content[i]) {
			ram_send_destroy(send);
			return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "RAM senders");
		}
	}
	for (unsigned i = 0; i < m->params.channels; i++) {
		struct sender *sender = &send->senders[i];
		char name[24];

		sender->owner = send;
		sender->channel = i;
		sender->job = (struct swo_job){.fn = sender_job, .opaque = sender};
		sender->bounce = malloc(WIRE_RAM_RUN_MAX);
		snprintf(name, sizeof(name), "swo-ram-%u", i);
		send->count = i + 1;
		if (!sender->bounce) {
			swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "RAM sender's buffer");
			ram_send_destroy(send);
			return -1;
		}
		if (swo_worker_create(name, &sender->worker, err)) {
			ram_send_destroy(send);
			return -1;
		}
	}
	*out = send;
	return 0;
}

void ram_send_destroy(struct ram_send *send)
{
	if (!send)
		return;
	for (unsigned i = 0; i < send->count; i++) {
		/* Its sends have deadlines and its channel was shut down: it ends. */
		if (send->senders[i].worker)
			swo_worker_destroy(send->senders[i].worker, swo_deadline_ms(3600000));
		free(send->senders[i].bounce);
	}
	for (unsigned i = 0; i < SWO_RAM_REGIONS_MAX; i++)
		free(send->content[i]);
	free(send);
}

void ram_send_progress(struct ram_send *send, struct swo_migration_info *out)
{
	out->ram_sent = out->ram_normal_pages = out->ram_zero_pages = 0;
	for (unsigned i = 0; i < send->count; i++) {
		out->ram_sent += send->senders[i].bytes;
		out->ram_normal_pages += send->senders[i].normal_pages;
		out->ram_zero_pages += send->senders[i].zero_pages;
	}
	out->ram_passes = send->pass;
	out->ram_dirty_pages = swo_ram_dirty_pages(send->m->vm.ram);
}

static void add_up(struct ram_send *send)
{
	struct swo_migration *m = send->m;
	struct swo_migration_info now;

	ram_send_progress(send, &now);
	pthread_mutex_lock(&m->mutex);
	m->info.ram_sent = now.ram_sent;
	m->info.ram_normal_pages = now.ram_normal_pages;
	m->info.ram_zero_pages = now.ram_zero_pages;
	m->info.ram_passes = now.ram_passes;
	m->info.ram_dirty_pages = now.ram_dirty_pages;
	pthread_mutex_unlock(&m->mutex);
}

uint64_t ram_send_bytes(const struct ram_send *send)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < send->count; i++)
		bytes += send->senders[i].bytes;
	return bytes;
}

uint64_t ram_send_content(const struct ram_send *send)
{
	uint64_t pages = 0;

	for (unsigned i = 0; i < send->count; i++)
		pages += send->senders[i].content;
	return pages << SWO_PAGE_SHIFT;
}

void ram_send_still(struct ram_send *send, bool still)
{
	send->still = still;
}

int ram_send_pass(struct ram_send *send, bool (*tick)(void *opaque), void *opaque, uint64_t *bytes,
	struct swo_error *err)
{
	uint64_t start = swo_now_ns(), before = 0, after = 0;
	int rc = 0;

	send->pass++;
	atomic_store(&send->cut, false);
	for (unsigned i = 0; i < send->count; i++) {
		before += send->senders[i].bytes;
		swo_worker_submit(send->senders[i].worker, &send->senders[i].job);
	}
	for (unsigned i = 0; i < send->count; i++) {
		/* Terminates: every send detects a stall. */
		while (!swo_job_wait(&send->senders[i].job, swo_deadline_ms(TICK_MS)))
			if (tick && !tick(opaque))
				atomic_store(&send->cut, true);
		after += send->senders[i].bytes;
		if (send->senders[i].rc && !rc) {
			rc = -1;
			if (err)
				*err = send->senders[i].err;
		}
	}
	add_up(send);
	swo_timeline_record(send->m->timeline, &(struct swo_span){.event = SWO_EVENT_RAM_PASS,
						       .number = send->pass,
						       .start_ns = start,
						       .end_ns = swo_now_ns(),
						       .bytes = after - before});
	if (bytes)
		*bytes = after - before;
	return rc;
}
