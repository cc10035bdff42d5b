/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * model.h - the simulated VF as a device: PCI config space, registers, internal state, the
 * migration states and the saved stream, its costs in time and its faults. Freestanding: no
 * libc, no clock, no allocation; a server and a kernel module use it.
 *
 * Time: each call takes the current CLOCK_MONOTONIC in ns. No call waits: one that needs
 * time returns SVF_PENDING, and svf_next() returns when to call again.
 * Threads: one at a time per device; only the inbox is written by others at any moment.
 * Errors: negative Linux errnos (SVF_E*).
 */
#ifndef SIMVF_MODEL_MODEL_H
#define SIMVF_MODEL_MODEL_H

#include "../profiles/profile.h"
#include "../regs.h"

/* asm-generic/errno-base.h */
#define SVF_EIO	    5
#define SVF_EAGAIN  11
#define SVF_ENOMEM  12
#define SVF_EBUSY   16
#define SVF_EINVAL  22
#define SVF_ENOSPC  28
#define SVF_PENDING 1 /* not an error: in progress, see svf_next */

#define SVF_NEVER UINT64_MAX

/* enum vfio_device_mig_state of linux/vfio.h */
enum svf_state {
	SVF_ERROR = 0,
	SVF_STOP = 1,
	SVF_RUNNING = 2,
	SVF_STOP_COPY = 3,
	SVF_RESUMING = 4,
	SVF_RUNNING_P2P = 5,
	SVF_PRE_COPY = 6,
	SVF_PRE_COPY_P2P = 7,
};
#define SVF_STATES 8

/* VFIO_MIGRATION_* */
#define SVF_MIG_STOP_COPY 1u
#define SVF_MIG_P2P	  2u
#define SVF_MIG_PRE_COPY  4u

/* vfio-pci's region numbers */
#define SVF_REGION_CONFIG 7
#define SVF_CONFIG_SIZE	  256

#define SVF_AHEAD	(2 * SVF_GRANT) /* saved before read, or accepted before loaded */
#define SVF_INBOX_WORDS (SIMVF_BAR_INBOX_SIZE / 8)
#define SVF_LOG_CHUNKS	4096 /* of 64 pages */
#define SVF_FAULTS	16

const char *svf_state_name(unsigned state);
int svf_state_by_name(const char *name, size_t len); /* -1: no such state */

/*
 * The next single arc on the path from `from` to `to` for a device with these flags: the state,
 * `to` itself when they are the same, or -SVF_EINVAL. Source: linux/vfio.h, migration v2.
 */
int svf_next_state(unsigned from, unsigned to, unsigned mig_flags);

/* Faults */

enum svf_fault_where {
	SVF_AT_ARC,
	SVF_AT_SAVE,
	SVF_AT_LOAD,
	SVF_AT_LOG,
	SVF_AT_DOORBELL,
	SVF_AT_ILLEGAL,
};
enum svf_fault_what {
	SVF_FAIL,     /* the call fails, the device stays where it is */
	SVF_TO_ERROR, /* the arc fails and leaves the device in ERROR */
	SVF_HANG,     /* the arc, read, write or call of the log does not end before svf_release */
	SVF_SLOW,     /* it takes this much longer */
	SVF_SHORT,    /* the saved stream ends early */
	SVF_CORRUPT,  /* a bit of the saved stream flips */
	SVF_ENDLESS,  /* the saved stream has no end */
	SVF_LAX,      /* any loaded data is accepted */
	SVF_LOSE,     /* part of what is loaded is lost */
	SVF_DIE,      /* ops->event(SVF_EVENT_DIE) */
	SVF_CLOSE,    /* ops->event(SVF_EVENT_CLOSE) */
	SVF_RESET,    /* ops->event(SVF_EVENT_RESET) */
};

struct svf_fault {
	bool used;
	bool limited; /* `left` counts */
	uint8_t where, what;
	uint8_t from, to; /* arcs; SVF_STATES: any. LOG: the call, and the state that it comes in */
	int err;
	uint64_t at;  /* bytes into the stream, or doorbells of this process */
	uint64_t arg; /* SLOW: ns */
	uint64_t left;
	uint64_t hits;
};

/* false, with *why, if the spec is invalid. The grammar is in docs/simvf.md. */
bool svf_fault_parse(const char *spec, struct svf_fault *out, const char **why);

/* The environment of the device */

/* RESET: svf_reset is called before this returns. */
enum svf_event { SVF_EVENT_DIE, SVF_EVENT_CLOSE, SVF_EVENT_RESET };
enum svf_lane { SVF_LANE_SAVE, SVF_LANE_LOAD, SVF_LANE_ARC, SVF_LANES };

struct svf_ops {
	/* Guest memory: 0, or a negative errno. */
	int (*dma_read)(void *opaque, uint64_t addr, void *buf, size_t len);
	int (*dma_write)(void *opaque, uint64_t addr, const void *buf, size_t len);
	/* One 8-byte store into a sibling's memory. */
	int (*p2p_write)(void *opaque, uint64_t addr, uint64_t value);
	/* True if an eventfd is set for that vector. */
	bool (*irq)(void *opaque, unsigned vector);
	void (*event)(void *opaque, enum svf_event event);
	/*
	 * Optional: the firmware that the device shares with its siblings. Reserves `duration` after
	 * earlier reservations, not before `earliest`, and returns the end.
	 */
	uint64_t (*reserve)(void *opaque, enum svf_lane lane, uint64_t earliest, uint64_t duration);
};

struct svf_config {
	struct svf_profile profile;
	unsigned mig_flags; /* STOP_COPY always */
	uint64_t seed;
	bool arcs_reserve; /* arcs take turns in SVF_LANE_ARC */
	/* As drivers: in PRE_COPY what has changed is saved in svf_precopy_info only. */
	bool increments;
	bool late_dma; /* RAM is written until the device has stopped, in P2P states too */
	const struct svf_ops *ops;
	void *opaque;
	uint64_t *inbox; /* SVF_INBOX_WORDS words: BAR 2, shared with siblings */
	void *memory;	 /* svf_memory_size() bytes, 8-byte aligned */
};

size_t svf_memory_size(uint64_t state_bytes);

/* Counters of this instance (they do not migrate) */

struct svf_arc_stats {
	uint64_t count, errors, last_start_ns, last_end_ns;
};

struct svf_stats {
	uint64_t doorbells, lost, repeated;
	uint64_t first_doorbell_ns, last_doorbell_ns, max_gap_ns, max_gap_start_ns;
	uint64_t quiesce_violations;
	uint64_t p2p_writes, p2p_received, p2p_backwards, p2p_violations;
	uint64_t state_mismatches, state_hash;
	uint64_t dma_pages, dma_errors, ram_mismatches;
	uint64_t irqs, resets, bytes_saved, bytes_loaded;
	uint64_t fault_hits; /* of all faults, also of those that are spent or cleared */
	struct svf_arc_stats arcs[SVF_STATES][SVF_STATES];
};

/* The device; fields may be read, and are changed by the model only. */

/* What the guest programmed and the device counts: saved in this layout. Little-endian. */
struct svf_regs {
	uint32_t control, irq_every, dma_pages, dma_rate, p2p_rate, zero;
	uint64_t dma_addr, p2p_addr;
	uint64_t doorbells, lost, repeated, irqs, dma_seq, dma_base, p2p_seq;
	uint32_t dma_addr_low, p2p_addr_low; /* low halves written, high halves pending */
	uint64_t last[SIMVF_DOORBELLS];
	uint32_t low[SIMVF_DOORBELLS];
};

struct svf_record { /* precedes all data in the stream except the header */
	uint32_t type, length;
	uint64_t index, version;
	uint64_t checksum; /* of the three words before it and of the payload */
};

struct svf_wire_regs {
	struct svf_regs regs;
	uint64_t inbox[SVF_INBOX_WORDS];
};

#define SVF_STAGE (sizeof(struct svf_record) + sizeof(struct svf_wire_regs))

struct svf_engine { /* of saving or loading: one grant at a time */
	uint64_t grant_bytes, grant_end;
};

struct svf_save {
	bool open, header_sent, regs_sent, end_sent, wrapped;
	struct svf_engine engine;
	uint64_t ready; /* bytes produced, not yet read */
	uint64_t bytes, records, chain, state_hash;
	uint32_t cursor, stage_len, stage_pos;
	uint32_t saved; /* with config.increments: dirty blocks that PRE_COPY may send */
	uint8_t stage[SVF_STAGE];
};

struct svf_load {
	bool open, failed, header, regs, end;
	bool lax;	 /* malformed data was accepted (SVF_LAX) */
	bool completing; /* a write has all, and waits for the fixed time of the load */
	struct svf_engine engine;
	uint64_t queued; /* bytes accepted, not yet loaded */
	uint64_t bytes, records, chain, state_hash;
	uint32_t blocks, stage_len;
	uint8_t stage[SVF_STAGE];
	struct svf_wire_regs staged;
};

struct svf_walk {
	bool active, hung, draining;
	uint8_t target, next;
	uint64_t due, cost;
	uint8_t outcome; /* an svf_fault_what, or SVF_SLOW for none */
	int err;
};

/* A read, a write or a call of the log that a fault holds up. */
struct svf_hold {
	bool on, over; /* over: the call goes on, and its end clears this */
	uint64_t due;
};

enum svf_log_call { SVF_LOG_START, SVF_LOG_REPORT, SVF_LOG_STOP, SVF_LOG_CALLS };

struct svf_log { /* pages that the DMA engine wrote: chunks of 64, hashed by chunk number */
	bool on, all;
	unsigned low, high; /* no chunk outside of [low, high) was ever used */
	struct {
		uint64_t key, bits; /* key: chunk number + 1 */
	} chunk[SVF_LOG_CHUNKS];
};

struct svf {
	struct svf_config config;
	struct svf_stats stats;
	uint64_t seed; /* moves with the state */
	uint8_t state;
	struct svf_regs regs;
	uint8_t pci[SVF_CONFIG_SIZE];
	uint32_t msix[SIMVF_BAR_MSIX_SIZE / 4];
	bool restoring, command_seen;
	uint16_t command_restored;

	uint32_t blocks, precopy_blocks;
	uint32_t *version; /* a block's content is a function of seed, number and version */
	uint64_t *dirty;   /* blocks not yet sent in this session */
	uint32_t dirty_early, dirty_late;
	uint64_t version_sum;

	uint64_t dma_next, p2p_next;
	struct svf_walk walk;
	struct svf_hold hold;
	struct svf_save save;
	struct svf_load load;
	struct svf_log log;
	struct svf_fault faults[SVF_FAULTS];
	uint64_t inbox_still[SVF_INBOX_WORDS]; /* its content when the device stopped */
	uint64_t inbox_seen[SIMVF_INBOX_SLOTS];
	uint64_t page[SVF_BLOCK / 8];
};

/* config.memory may be uninitialised. -SVF_EINVAL if a figure is out of bounds. */
int svf_init(struct svf *dev, const struct svf_config *config, uint64_t now);
/* RUNNING, with the initial state, registers, inbox, config space and log. Ends a pending path. */
void svf_reset(struct svf *dev, uint64_t now);

/* Lets the engines do what is due. Call it at the time of svf_next(), or earlier. */
void svf_run(struct svf *dev, uint64_t now);
/* The next time at which svf_run, svf_advance, or a pending read or write has work to do. */
uint64_t svf_next(const struct svf *dev);

/*
 * BARs and config space. A write takes effect at once; *done_ns is when it may be acknowledged
 * (config restore takes time). -SVF_EINVAL outside of a region. The engines do not run in them: a
 * client may wait for an access's reply with a lock that it needs to answer a DMA message.
 */
int svf_region_read(struct svf *dev, unsigned region, uint64_t offset, void *buf, size_t len);
int svf_region_write(struct svf *dev, unsigned region, uint64_t offset, const void *buf, size_t len,
	uint64_t now, uint64_t *done_ns);
uint64_t svf_region_size(unsigned region); /* 0: no such region */

/*
 * Goes to a state, arc by arc. 0: reached; SVF_PENDING: call svf_advance when it is due; an
 * error: the device is in the state before the arc that failed. -SVF_EBUSY while a change is
 * pending.
 */
int svf_set_state(struct svf *dev, unsigned state, uint64_t now);
int svf_advance(struct svf *dev, uint64_t now);
bool svf_walking(const struct svf *dev);
/* Ends the arc, read, write or call of the log that SVF_HANG holds. */
void svf_release(struct svf *dev, uint64_t now);
/* The caller of a read, write or call of the log that is pending will not call again. */
void svf_abandon(struct svf *dev);

/*
 * Reads the saved stream; *got grows. 0: no more data (in PRE_COPY: for now); SVF_PENDING: more
 * will follow, call again with the same buffer and *got unchanged.
 */
int svf_read(struct svf *dev, void *buf, size_t len, size_t *got, uint64_t now);
/* Accepts all bytes, or (SVF_PENDING) none of them yet. After an error only a reset helps. */
int svf_write(struct svf *dev, const void *buf, size_t len, uint64_t now);
/* VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: the bytes to send if the device stopped now. */
uint64_t svf_stop_copy_length(const struct svf *dev);
/* What many drivers answer instead, at any time: the bytes of the whole state. */
uint64_t svf_full_length(const struct svf *dev);
/*
 * VFIO_MIG_GET_PRECOPY_INFO; -SVF_EINVAL outside of PRE_COPY and PRE_COPY_P2P. With
 * config.increments it saves what has changed, if all before that was read.
 */
int svf_precopy_info(struct svf *dev, uint64_t *initial_bytes, uint64_t *dirty_bytes);
/* Over registers, inbox, and all blocks by their versions. */
uint64_t svf_state_hash(const struct svf *dev);

/*
 * Comes before each call of the log below: 0: go on; SVF_PENDING: a fault holds it up, come here
 * again when it is due; an error: a fault fails it. A caller without faults of the log may omit it.
 */
int svf_log_enter(struct svf *dev, enum svf_log_call call, uint64_t now);
/* The DMA log, in pages of SVF_BLOCK bytes. */
void svf_log_start(struct svf *dev);
void svf_log_stop(struct svf *dev);
/*
 * Sets bit n of `bitmap` for each dirty page of page_size bytes (a power of two, at least
 * SVF_BLOCK) at iova + n * page_size, and clears the page in the log. The caller's bitmap is
 * zeroed and large enough.
 */
int svf_log_report(
	struct svf *dev, uint64_t iova, uint64_t length, uint64_t page_size, uint64_t *bitmap);

int svf_add_fault(struct svf *dev, const struct svf_fault *fault); /* -SVF_ENOSPC */
void svf_clear_faults(struct svf *dev);
void svf_reset_stats(struct svf *dev);
/* Counts the siblings' writes to the inbox since the last call. */
void svf_look_at_inbox(struct svf *dev);

#endif
