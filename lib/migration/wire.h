/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire.h - what the frames of a migration mean: types, fields, payloads.
 *
 * One control connection, and `channels` data connections. Every connection begins with a
 * HELLO (control), ATTACH (data) or ASK (a source in doubt). Little-endian.
 */
#ifndef MIGRATION_WIRE_H
#define MIGRATION_WIRE_H

#include "channel/frame.h"

/*
 * The version is compared first of all, and another one is refused with both named. Within a
 * version the minor one grows: HELLO has the source's, HELLO_OK the lower of both, by which both
 * go. A key of HELLO or HELLO_OK that is not known is ignored.
 */
#define WIRE_VERSION 4
#define WIRE_MINOR   0

enum wire_type {
	/* -- control, source -> target -- */
	WIRE_HELLO = 1, /* JSON, see hello.h */
	WIRE_CLOCK,	/* offset: sender's CLOCK_MONOTONIC; answered by CLOCK_REPLY */
	WIRE_CONFIG,	/* device; pass: generation, 1, 2, ...; payload: the VMM's bytes */
	WIRE_MACHINE,	/* payload: the VMM's bytes */
	WIRE_END_ALL,	/* payload: struct wire_end */
	WIRE_GO,	/* payload: struct wire_go */
	WIRE_ABORT,	/* payload: text. Either direction: it is over, before GO */
	WIRE_DONE, /* the source has it on record that it runs there. Also on a connection of ASK */
	WIRE_ASK, /* payload: struct wire_go: id and ticket. First frame of a connection of a source
		     in doubt */

	/* -- control, target -> source -- */
	WIRE_HELLO_OK = 32,  /* JSON */
	WIRE_CLOCK_REPLY,    /* offset: echoed; pass: the target's CLOCK_MONOTONIC */
	WIRE_CREDIT,	     /* device; offset: bytes of it consumed so far */
	WIRE_INITIAL_LOADED, /* device: all up to its INITIAL mark is loaded */
	WIRE_READY,	     /* payload: struct wire_go: id and the nonce that GO must carry */
	WIRE_STARTING,	     /* GO was taken */
	WIRE_STARTED,  /* it runs; payload: text of what went wrong all the same, or nothing */
	WIRE_REFUSED,  /* it will never run here; payload: why */
	WIRE_TIMELINE, /* JSON of the target's spans */
	WIRE_AGREED,   /* device: it has taken its state, RESUMING->STOP is over */

	/* -- either way, control -- */
	WIRE_PING = 64, /* keeps the other side from thinking that we are gone */

	/* -- data, source -> target -- */
	WIRE_ATTACH = 96, /* device: channel index; payload: struct wire_go: id and ticket */
	WIRE_RAM,	  /* device: region; offset in it; pass; payload: whole pages */
	WIRE_RAM_ZERO,	  /* the same; payload: struct wire_zero_run */
	WIRE_DEVICE,	  /* device; offset in its stream; payload: its bytes */
	WIRE_INITIAL,	  /* device: what was sent so far is its initial data */
	WIRE_DEVICE_END,  /* device; offset: length of its stream; pass: last config generation;
			     payload: u64 sum over its frames */
	WIRE_FIN, /* the channel's last frame; payload: struct wire_totals of this channel */
};

/* How many bytes, whole pages, are zero from the frame's offset on. */
struct wire_zero_run {
	uint64_t bytes;
};

struct wire_totals {
	uint64_t frames;
	uint64_t bytes;
};

struct wire_end {
	struct wire_totals all; /* of all channels' FINs */
	uint64_t running;	/* 1: it ran until this migration stopped it, so it is to run */
};

/*
 * Which migration, and a secret that its target made: the one of HELLO_OK (the ticket) lets a
 * connection belong to it, the one of READY lets GO start it.
 */
struct wire_go {
	char id[40]; /* NUL-padded */
	uint64_t nonce;
};
static_assert(sizeof(struct wire_go) == 48, "id and nonce, no holes");

#define WIRE_ID_LEN	  36
#define WIRE_HELLO_MAX	  (4u << 20)
#define WIRE_TEXT_MAX	  1024u
#define WIRE_TIMELINE_MAX (16u << 20)
#define WIRE_RAM_RUN_MAX  (256u << 10) /* payload of one RAM frame */
#define WIRE_DEVICE_MAX	  (1u << 20)   /* payload of one DEVICE frame */
#define WIRE_CHANNELS_MAX 16

/*
 * RAM travels in pieces of this size, each always on the same channel, so that one page never
 * has two frames on two channels, and a channel's order is the passes' order.
 */
#define WIRE_RAM_PIECE_SHIFT 21

static inline unsigned wire_ram_channel(uint64_t offset, unsigned channels)
{
	return (unsigned)((offset >> WIRE_RAM_PIECE_SHIFT) % channels);
}

/*
 * A device's stream travels on the one channel that is its own, or, if HELLO says that it is
 * spread, in stripes of this size on all of them in turn, beginning with its own. A frame lies
 * within a stripe, and each channel has its stripes in order.
 */
#define WIRE_STRIPE_SHIFT 18
#define WIRE_STRIPE	  (UINT64_C(1) << WIRE_STRIPE_SHIFT)

static inline unsigned wire_device_channel(
	unsigned device, uint64_t offset, bool spread, unsigned channels)
{
	return (unsigned)((device + (spread ? offset >> WIRE_STRIPE_SHIFT : 0)) % channels);
}

#endif
