/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * internal.h - private to this folder: words, hashes, the record types of the stream.
 */
#ifndef SIMVF_MODEL_INTERNAL_H
#define SIMVF_MODEL_INTERNAL_H

#include "../profiles/text.h"
#include "model.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the stream is little-endian and is written as it lies in memory"
#endif

#define SVF_MAGIC   UINT64_C(0x315453465653564d) /* "MVSVFST1" */
#define SVF_VERSION 1u
#define SVF_KIND    0x46564953u /* "SIVF" */

/* The first bytes of the stream. */
struct svf_header {
	uint64_t magic;
	uint32_t version, kind;
	uint64_t state_bytes, seed;
	uint32_t block_bytes, regs_bytes;
	uint64_t zero[2];
	uint64_t checksum; /* of the words before it */
};

enum { SVF_REC_BLOCK = 1, SVF_REC_REGS = 2, SVF_REC_END = 3 };

/* index of an END record: the number of records before it; version: the number of bytes. */
struct svf_end {
	uint64_t chain; /* of the checksums of header and records, in order */
	uint64_t state_hash;
};

#define SVF_BLOCK_RECORD (sizeof(struct svf_record) + SVF_BLOCK)
#define SVF_REGS_RECORD	 (sizeof(struct svf_record) + sizeof(struct svf_wire_regs))
#define SVF_END_RECORD	 (sizeof(struct svf_record) + sizeof(struct svf_end))

_Static_assert(sizeof(struct svf_header) == 64, "header of the stream");
_Static_assert(sizeof(struct svf_record) == 32, "record header");
_Static_assert(sizeof(struct svf_end) == 16, "end record");
_Static_assert(sizeof(struct svf_regs) == 24 + 9 * 8 + 8 + 64 * 12, "no padding in the registers");

#define svf_copy(to, from, n) __builtin_memcpy(to, from, n)
#define svf_zero(to, n)	      __builtin_memset(to, 0, n)

static inline uint64_t svf_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t svf_word(const void *p)
{
	uint64_t word;

	svf_copy(&word, p, 8);
	return word;
}

/* A finaliser: each bit of the result depends on each bit of x. */
static inline uint64_t svf_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ (x >> 32);
}

static inline uint64_t svf_chain(uint64_t chain, uint64_t next)
{
	return svf_mix(chain * UINT64_C(0x9e3779b97f4a7c15) + next + 1);
}

/* len: a multiple of 8 bytes. */
uint64_t svf_hash(uint64_t seed, const void *data, size_t len);
uint64_t svf_record_checksum(const struct svf_record *record, const void *payload);

/* blocks.c */
void svf_block_fill(const struct svf *dev, uint32_t block, uint32_t version, void *out);
bool svf_block_check(const struct svf *dev, uint32_t block, uint32_t version, const void *data);
void svf_blocks_fresh(struct svf *dev);
void svf_blocks_all_dirty(struct svf *dev);
void svf_blocks_empty(struct svf *dev);
void svf_block_set(struct svf *dev, uint32_t block, uint32_t version);
/* One event (a doorbell, a page of DMA, a P2P write) changes one block. */
void svf_blocks_touch(struct svf *dev, uint64_t kind, uint64_t number);
bool svf_block_take(struct svf *dev, uint32_t block); /* true if it was dirty */

/* engines.c */
void svf_engines_start(struct svf *dev, uint64_t now);

/* save.c and load.c */
void svf_save_open(struct svf *dev);
void svf_save_close(struct svf *dev);
void svf_save_pump(struct svf *dev, uint64_t now);
void svf_load_open(struct svf *dev);
void svf_load_pump(struct svf *dev, uint64_t now);
int svf_load_finish(struct svf *dev);
/* The time that `bytes` take at `rate`, after the devices that share the lane. */
uint64_t svf_grant_end(
	struct svf *dev, enum svf_lane lane, uint64_t start, uint64_t bytes, uint64_t rate);

/* config.c */
void svf_pci_reset(struct svf *dev);
uint64_t svf_pci_write(
	struct svf *dev, uint64_t offset, const uint8_t *data, size_t len, uint64_t now);

/* regs.c */
void svf_regs_reset(struct svf *dev);

/* log.c */
void svf_log_page(struct svf *dev, uint64_t addr);

/* inbox.c */
void svf_inbox_hold(struct svf *dev);
void svf_inbox_compare(struct svf *dev);
void svf_inbox_set(struct svf *dev, const uint64_t *words);
void svf_inbox_get(const struct svf *dev, uint64_t *words);

/* fault.c: the first fault that fits and has hits left; counts the hit. NULL: none. */
struct svf_fault *svf_fault_arc(struct svf *dev, unsigned from, unsigned to, unsigned what);
/* A fault at a stream that has reached `bytes`; *limit is lowered to the next fault ahead. */
struct svf_fault *svf_fault_stream(
	struct svf *dev, unsigned where, unsigned what, uint64_t bytes, uint64_t *limit);
/* A fault without a place. */
struct svf_fault *svf_fault_at(struct svf *dev, unsigned where, unsigned what);
/* True if the fault would trigger; its count stays. */
bool svf_fault_waits(const struct svf *dev, unsigned where, unsigned what, uint64_t bytes);
void svf_fault_corrupt(struct svf *dev, uint64_t offset, uint8_t *data, size_t len);
/*
 * A count (bytes, doorbells) went from `before` to `reached`: triggers die, close and reset faults.
 * True if the device was reset: it then has no session, and the caller changes nothing more.
 */
bool svf_fault_events(struct svf *dev, unsigned where, uint64_t before, uint64_t reached);
/* A stream from `bytes` on is held up by a fault: the call is pending. */
bool svf_fault_holds(
	struct svf *dev, unsigned where, uint64_t bytes, uint64_t *limit, uint64_t now);

static inline bool svf_state_saves(unsigned state)
{
	return state == SVF_PRE_COPY || state == SVF_PRE_COPY_P2P || state == SVF_STOP_COPY;
}

/* With late_dma: one more page, at the very end. */
void svf_write_last(struct svf *dev);

static inline bool svf_state_moves(unsigned state)
{
	return state == SVF_RUNNING || state == SVF_PRE_COPY;
}

static inline bool svf_state_stopped(unsigned state)
{
	return state == SVF_STOP || state == SVF_STOP_COPY || state == SVF_RESUMING;
}

#endif
