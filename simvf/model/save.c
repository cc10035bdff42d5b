/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * save.c - the saved stream: a header, the changed blocks, then the registers and an end record
 * with the checksum of everything. Produced ahead of its reader at the profile's rate.
 */
#include "internal.h"

void svf_save_open(struct svf *dev)
{
	struct svf_save *s = &dev->save;

	svf_zero(s, offsetof(struct svf_save, stage));
	s->open = true;
	svf_blocks_all_dirty(dev);
	s->saved = dev->dirty_early;
}

void svf_save_close(struct svf *dev)
{
	dev->save.open = false;
	dev->save.engine.grant_bytes = 0;
	dev->hold = (struct svf_hold){0};
}

/* The bytes that the stream still has at present, the half-read record included. */
uint64_t svf_grant_end(
	struct svf *dev, enum svf_lane lane, uint64_t start, uint64_t bytes, uint64_t rate)
{
	const struct svf_config *c = &dev->config;
	/* bytes <= SVF_GRANT, so that the product fits */
	uint64_t duration = bytes * UINT64_C(1000000000) / rate;

	if (c->ops->reserve)
		return c->ops->reserve(c->opaque, lane, start, duration);
	return start + duration;
}

static uint64_t pending_with(const struct svf *dev, uint32_t dirty_early)
{
	const struct svf_save *s = &dev->save;
	uint64_t bytes = s->stage_len - s->stage_pos;

	if (!s->header_sent)
		bytes += sizeof(struct svf_header);
	bytes += (uint64_t)dirty_early * SVF_BLOCK_RECORD;
	if (dev->state != SVF_STOP_COPY)
		return bytes;
	bytes += (uint64_t)dev->dirty_late * SVF_BLOCK_RECORD;
	if (!s->regs_sent)
		bytes += SVF_REGS_RECORD;
	if (!s->end_sent)
		bytes += SVF_END_RECORD;
	return bytes;
}

/* What can be read. */
static uint64_t pending(const struct svf *dev)
{
	uint32_t early = dev->dirty_early;

	if (dev->config.increments && dev->state != SVF_STOP_COPY && dev->save.saved < early)
		early = dev->save.saved;
	return pending_with(dev, early);
}

uint64_t svf_full_length(const struct svf *dev)
{
	return sizeof(struct svf_header) + (uint64_t)dev->blocks * SVF_BLOCK_RECORD +
	       SVF_REGS_RECORD + SVF_END_RECORD;
}

uint64_t svf_stop_copy_length(const struct svf *dev)
{
	uint64_t tail = SVF_REGS_RECORD + SVF_END_RECORD;

	if (!dev->save.open)
		return svf_full_length(dev);
	if (dev->state == SVF_STOP_COPY)
		return pending(dev);
	return pending_with(dev, dev->dirty_early) + (uint64_t)dev->dirty_late * SVF_BLOCK_RECORD +
	       tail;
}

int svf_precopy_info(struct svf *dev, uint64_t *initial_bytes, uint64_t *dirty_bytes)
{
	struct svf_save *s = &dev->save;
	uint64_t first = 0, all;

	if (dev->state != SVF_PRE_COPY && dev->state != SVF_PRE_COPY_P2P)
		return -SVF_EINVAL;
	if (!s->wrapped && s->cursor < dev->precopy_blocks)
		first = dev->precopy_blocks - s->cursor;
	/* A device that is quiet saves nothing. */
	if (dev->state == SVF_PRE_COPY && !pending(dev))
		s->saved = dev->dirty_early;
	all = pending_with(dev, dev->dirty_early);
	*initial_bytes = svf_min(first * SVF_BLOCK_RECORD, all);
	*dirty_bytes = all - *initial_bytes;
	return 0;
}

/* One grant after another, while there is data to save and space ahead of the reader. */
void svf_save_pump(struct svf *dev, uint64_t now)
{
	struct svf_save *s = &dev->save;
	uint64_t rate = dev->config.profile.save_rate, start = now;

	while (s->open && rate) {
		uint64_t left = pending(dev), grant;

		if (s->engine.grant_bytes) {
			if (now < s->engine.grant_end)
				return;
			s->ready += s->engine.grant_bytes;
			s->engine.grant_bytes = 0;
			start = s->engine.grant_end;
		}
		s->ready = svf_min(s->ready, left);
		grant = svf_min(left - s->ready, SVF_GRANT);
		if (!grant || s->ready + grant > SVF_AHEAD)
			return;
		s->engine.grant_bytes = grant;
		s->engine.grant_end = svf_grant_end(dev, SVF_LANE_SAVE, start, grant, rate);
	}
}

static size_t put_record(struct svf *dev, struct svf_record *record, uint8_t *out)
{
	struct svf_save *s = &dev->save;

	record->checksum = svf_record_checksum(record, out + sizeof(*record));
	svf_copy(out, record, sizeof(*record));
	s->chain = svf_chain(s->chain, record->checksum);
	s->records++;
	return sizeof(*record) + record->length;
}

static size_t put_header(struct svf *dev, uint8_t *out)
{
	struct svf_header h = {
		.magic = SVF_MAGIC,
		.version = SVF_VERSION,
		.kind = SVF_KIND,
		.state_bytes = (uint64_t)dev->blocks * SVF_BLOCK,
		.seed = dev->seed,
		.block_bytes = SVF_BLOCK,
		.regs_bytes = sizeof(struct svf_wire_regs),
	};

	h.checksum = svf_hash(SVF_KIND, &h, offsetof(struct svf_header, checksum));
	svf_copy(out, &h, sizeof(h));
	dev->save.chain = svf_chain(dev->save.chain, h.checksum);
	dev->save.header_sent = true;
	return sizeof(h);
}

static size_t put_block(struct svf *dev, uint8_t *out)
{
	struct svf_save *s = &dev->save;
	uint32_t limit = dev->state == SVF_STOP_COPY ? dev->blocks : dev->precopy_blocks;
	struct svf_record record = {.type = SVF_REC_BLOCK, .length = SVF_BLOCK};

	for (;;) {
		if (s->cursor >= limit) {
			s->cursor = 0;
			s->wrapped = true;
		}
		/* skip 64 clean blocks at once: a large state is mostly clean */
		if (s->cursor % 64 == 0 && !dev->dirty[s->cursor / 64])
			s->cursor += 64;
		else if (svf_block_take(dev, s->cursor++))
			break;
	}
	if (s->saved)
		s->saved--;
	record.index = s->cursor - 1;
	record.version = dev->version[s->cursor - 1];
	svf_block_fill(dev, s->cursor - 1, (uint32_t)record.version, out + sizeof(record));
	return put_record(dev, &record, out);
}

static size_t put_regs(struct svf *dev, uint8_t *out)
{
	struct svf_record record = {.type = SVF_REC_REGS, .length = sizeof(struct svf_wire_regs)};
	uint8_t *payload = out + sizeof(record);

	svf_copy(payload, &dev->regs, sizeof(dev->regs));
	/* the inbox as of the stop: the live one must not have changed */
	svf_copy(payload + sizeof(dev->regs), dev->inbox_still, sizeof(dev->inbox_still));
	dev->save.regs_sent = true;
	dev->save.state_hash = dev->stats.state_hash = svf_state_hash(dev);
	return put_record(dev, &record, out);
}

static size_t put_end(struct svf *dev, uint8_t *out)
{
	struct svf_save *s = &dev->save;
	struct svf_end end = {.chain = s->chain, .state_hash = s->state_hash};
	struct svf_record record = {.type = SVF_REC_END,
		.length = sizeof(end),
		.index = s->records,
		.version = s->bytes};

	svf_copy(out + sizeof(record), &end, sizeof(end));
	s->end_sent = true;
	return put_record(dev, &record, out);
}

/* Writes the next record to `out`, which has space for any; there is one. */
static size_t put_next(struct svf *dev, uint8_t *out)
{
	struct svf_save *s = &dev->save;

	if (!s->header_sent)
		return put_header(dev, out);
	if (dev->dirty_early || (dev->state == SVF_STOP_COPY && dev->dirty_late))
		return put_block(dev, out);
	if (!s->regs_sent)
		return put_regs(dev, out);
	return put_end(dev, out);
}

/* Copies up to `len` bytes of pending data. */
static size_t produce(struct svf *dev, uint8_t *out, size_t len)
{
	struct svf_save *s = &dev->save;
	size_t done = 0;

	while (done < len && pending(dev)) {
		size_t n;

		if (s->stage_pos == s->stage_len) {
			s->stage_pos = s->stage_len = 0;
			if (len - done >= SVF_STAGE) {
				n = put_next(dev, out + done);
				s->bytes += n;
				done += n;
				continue;
			}
			s->stage_len = (uint32_t)put_next(dev, s->stage);
		}
		n = svf_min(len - done, s->stage_len - s->stage_pos);
		svf_copy(out + done, s->stage + s->stage_pos, n);
		s->stage_pos += (uint32_t)n;
		s->bytes += n;
		done += n;
	}
	return done;
}

/* Bytes read before a fault are returned first: the next read meets it. */
static bool fault_is_next(const struct svf *dev)
{
	static const uint8_t whats[] = {SVF_FAIL, SVF_SHORT, SVF_HANG, SVF_SLOW};
	size_t count = dev->hold.over ? 2 : 4; /* the hold that is over was met by this read */

	for (size_t i = 0; i < count; i++)
		if (svf_fault_waits(dev, SVF_AT_SAVE, whats[i], dev->save.bytes))
			return true;
	return false;
}

static int read_some(struct svf *dev, void *buf, size_t len, size_t *got, uint64_t now)
{
	struct svf_save *s = &dev->save;
	uint64_t rate = dev->config.profile.save_rate;

	if (!s->open || !svf_state_saves(dev->state) || dev->walk.active)
		return -SVF_EINVAL;
	svf_save_pump(dev, now);
	while (*got < len && pending(dev)) {
		uint64_t room = len - *got, before = s->bytes;
		uint8_t *out = (uint8_t *)buf + *got;
		struct svf_fault *fault;
		size_t n;

		if (*got && fault_is_next(dev))
			return 0;
		if (svf_fault_holds(dev, SVF_AT_SAVE, s->bytes, &room, now))
			return SVF_PENDING;
		fault = svf_fault_stream(dev, SVF_AT_SAVE, SVF_FAIL, s->bytes, &room);
		if (fault)
			return -fault->err;
		if (svf_fault_stream(dev, SVF_AT_SAVE, SVF_SHORT, s->bytes, &room))
			return 0;
		if (rate)
			room = svf_min(room, s->ready);
		if (!room)
			return SVF_PENDING;
		n = produce(dev, out, (size_t)room);
		svf_fault_corrupt(dev, before, out, n);
		*got += n;
		dev->stats.bytes_saved += n;
		if (rate)
			s->ready -= svf_min(n, s->ready);
		svf_save_pump(dev, now);
		if (svf_fault_events(dev, SVF_AT_SAVE, before, s->bytes))
			return 0;
	}
	if (!*got && len && dev->state == SVF_STOP_COPY &&
		svf_fault_at(dev, SVF_AT_SAVE, SVF_ENDLESS)) {
		svf_zero(buf, len);
		*got = len;
	}
	return 0;
}

int svf_read(struct svf *dev, void *buf, size_t len, size_t *got, uint64_t now)
{
	int ret = read_some(dev, buf, len, got, now);

	if (ret != SVF_PENDING)
		dev->hold.over = false;
	return ret;
}
