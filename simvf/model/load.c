/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * load.c - loads a saved stream, in pieces of any size. The stream is not trusted: each record
 * is checked, and RESUMING->STOP fails unless the stream is complete.
 */
#include "internal.h"

void svf_load_open(struct svf *dev)
{
	struct svf_load *l = &dev->load;

	svf_zero(l, offsetof(struct svf_load, stage));
	l->open = true;
	svf_blocks_empty(dev);
}

/* Processes received bytes, a grant at a time. That of the last ones takes the fixed time as well. */
void svf_load_pump(struct svf *dev, uint64_t now)
{
	struct svf_load *l = &dev->load;
	uint64_t rate = dev->config.profile.load_rate, start = now;

	while (l->queued) {
		if (l->engine.grant_bytes) {
			if (now < l->engine.grant_end)
				return;
			l->queued -= l->engine.grant_bytes;
			l->engine.grant_bytes = 0;
			start = l->engine.grant_end;
			continue;
		}
		l->engine.grant_bytes = svf_min(l->queued, SVF_GRANT);
		l->engine.grant_end =
			rate ? svf_grant_end(dev, SVF_LANE_LOAD, start, l->engine.grant_bytes, rate)
			     : start;
		/* Not in turns with its siblings. */
		if (l->end && l->engine.grant_bytes == l->queued)
			l->engine.grant_end += dev->config.profile.load_fixed_ns;
	}
}

static bool take_header(struct svf *dev, const uint8_t *data)
{
	struct svf_load *l = &dev->load;
	struct svf_header h;

	svf_copy(&h, data, sizeof(h));
	if (h.checksum != svf_hash(SVF_KIND, &h, offsetof(struct svf_header, checksum)) ||
		h.magic != SVF_MAGIC || h.version != SVF_VERSION || h.kind != SVF_KIND ||
		h.state_bytes != (uint64_t)dev->blocks * SVF_BLOCK || h.block_bytes != SVF_BLOCK ||
		h.regs_bytes != sizeof(struct svf_wire_regs) || h.zero[0] || h.zero[1])
		return false;
	dev->seed = h.seed;
	l->header = true;
	l->chain = svf_chain(l->chain, h.checksum);
	return true;
}

static bool take_block(struct svf *dev, const struct svf_record *r, const uint8_t *payload)
{
	struct svf_load *l = &dev->load;
	uint32_t block = (uint32_t)r->index, version = (uint32_t)r->version;

	if (l->regs || r->index >= dev->blocks || !r->version || r->version > UINT32_MAX)
		return false;
	if (!svf_block_check(dev, block, version, payload)) {
		dev->stats.state_mismatches++;
		return false;
	}
	if (!dev->version[block])
		l->blocks++;
	svf_block_set(dev, block, version);
	return true;
}

static bool take_end(struct svf *dev, const struct svf_record *r, const uint8_t *payload)
{
	struct svf_load *l = &dev->load;
	struct svf_end end;

	svf_copy(&end, payload, sizeof(end));
	if (!l->regs || l->blocks != dev->blocks || r->index != l->records ||
		r->version != l->bytes || end.chain != l->chain)
		return false;
	l->state_hash = end.state_hash;
	l->end = true;
	return true;
}

static bool take_record(struct svf *dev, const uint8_t *data)
{
	struct svf_load *l = &dev->load;
	const uint8_t *payload = data + sizeof(struct svf_record);
	struct svf_record r;
	bool good;

	svf_copy(&r, data, sizeof(r));
	if (r.checksum != svf_record_checksum(&r, payload)) {
		dev->stats.state_mismatches++;
		return false;
	}
	if (r.type == SVF_REC_BLOCK) {
		good = take_block(dev, &r, payload);
	} else if (r.type == SVF_REC_END) {
		good = take_end(dev, &r, payload);
	} else {
		good = !l->regs && !r.index && !r.version;
		svf_copy(&l->staged, payload, sizeof(l->staged));
		l->regs = true;
	}
	l->chain = svf_chain(l->chain, r.checksum);
	l->records++;
	return good;
}

/* The length of the element at `data`, of which `have` bytes have arrived; 0: unknown. */
static size_t needed(const struct svf_load *l, const uint8_t *data, size_t have)
{
	struct svf_record r;

	if (!l->header)
		return sizeof(struct svf_header);
	if (have < sizeof(r))
		return sizeof(r);
	svf_copy(&r, data, sizeof(r));
	if ((r.type == SVF_REC_BLOCK && r.length == SVF_BLOCK) ||
		(r.type == SVF_REC_REGS && r.length == sizeof(struct svf_wire_regs)) ||
		(r.type == SVF_REC_END && r.length == sizeof(struct svf_end)))
		return sizeof(r) + r.length;
	return 0;
}

static bool take_one(struct svf *dev, const uint8_t *data, size_t size)
{
	bool good = dev->load.header ? take_record(dev, data) : take_header(dev, data);

	dev->load.bytes += size;
	return good;
}

static bool take(struct svf *dev, const uint8_t *data, size_t len)
{
	struct svf_load *l = &dev->load;

	while (len) {
		size_t need, n;

		if (l->end) /* no data after the end */
			return false;
		if (!l->stage_len) {
			need = needed(l, data, len);
			if (!need)
				return false;
			if (need <= len && (need > sizeof(struct svf_record) || !l->header)) {
				if (!take_one(dev, data, need))
					return false;
				data += need;
				len -= need;
				continue;
			}
		}
		need = needed(l, l->stage, l->stage_len);
		if (!need)
			return false;
		n = svf_min(need - l->stage_len, len);
		svf_copy(l->stage + l->stage_len, data, n);
		l->stage_len += (uint32_t)n;
		data += n;
		len -= n;
		need = needed(l, l->stage, l->stage_len);
		if (!need)
			return false;
		if (l->stage_len < need)
			continue;
		if (!take_one(dev, l->stage, need))
			return false;
		l->stage_len = 0;
	}
	return true;
}

static int write_all(struct svf *dev, const void *buf, size_t len, uint64_t now)
{
	struct svf_load *l = &dev->load;
	uint64_t before = dev->stats.bytes_loaded, room = len;
	uint64_t reached = l->bytes + l->stage_len;
	struct svf_fault *fault;

	if (dev->state != SVF_RESUMING || !l->open || dev->walk.active || l->failed)
		return -SVF_EINVAL;
	svf_load_pump(dev, now);
	if (l->completing) {
		l->completing = l->queued;
		return l->completing ? SVF_PENDING : 0;
	}
	if (l->queued && l->queued + len > SVF_AHEAD)
		return SVF_PENDING;
	/* Of a fault further on in this piece, all of it is held up, or fails. */
	if (svf_fault_holds(dev, SVF_AT_LOAD, reached, &room, now))
		return SVF_PENDING;
	if (room < len && svf_fault_holds(dev, SVF_AT_LOAD, reached + len, &room, now))
		return SVF_PENDING;
	room = len;
	fault = svf_fault_stream(dev, SVF_AT_LOAD, SVF_FAIL, reached, &room);
	if (!fault && room < len)
		fault = svf_fault_stream(dev, SVF_AT_LOAD, SVF_FAIL, reached + len, &room);
	if (fault) {
		l->failed = true;
		return -fault->err;
	}
	dev->stats.bytes_loaded = before + len;
	if (svf_fault_events(dev, SVF_AT_LOAD, reached, reached + len))
		return 0;
	if (!l->lax && !take(dev, buf, len)) {
		l->lax = svf_fault_at(dev, SVF_AT_LOAD, SVF_LAX) != NULL;
		l->failed = !l->lax;
		if (l->failed)
			return -SVF_EINVAL;
	}
	if (dev->config.profile.load_rate || dev->config.profile.load_fixed_ns) {
		l->queued += len;
		svf_load_pump(dev, now);
	}
	/* As mlx5: the firmware loads in the write that completes the image. */
	l->completing = l->end && l->queued && dev->config.profile.load_fixed_ns;
	return l->completing ? SVF_PENDING : 0;
}

int svf_write(struct svf *dev, const void *buf, size_t len, uint64_t now)
{
	int ret = write_all(dev, buf, len, now);

	if (ret != SVF_PENDING)
		dev->hold.over = false;
	return ret;
}

/* A device without checks: it continues with any data. */
static int finish_anything(struct svf *dev)
{
	svf_inbox_compare(dev);
	svf_blocks_fresh(dev);
	dev->stats.state_hash = svf_state_hash(dev);
	dev->load.open = false;
	return 0;
}

int svf_load_finish(struct svf *dev)
{
	struct svf_load *l = &dev->load;

	if (l->lax || (!l->failed && (!l->end || l->stage_len) &&
			      svf_fault_at(dev, SVF_AT_LOAD, SVF_LAX)))
		return finish_anything(dev);
	/* A stream that ends early is an error like a malformed one; both require a reset. */
	if (l->failed || !l->end || l->stage_len) {
		l->failed = true;
		return -SVF_EINVAL;
	}
	svf_inbox_compare(dev);
	dev->regs = l->staged.regs;
	svf_inbox_set(dev, l->staged.inbox);
	dev->stats.state_hash = svf_state_hash(dev);
	if (dev->stats.state_hash != l->state_hash) {
		dev->stats.state_mismatches++;
		l->failed = true;
		return -SVF_EINVAL;
	}
	if (svf_fault_at(dev, SVF_AT_LOAD, SVF_LOSE)) {
		svf_blocks_touch(dev, 0, 0);
		dev->stats.state_hash = svf_state_hash(dev);
	}
	l->open = false;
	return 0;
}
