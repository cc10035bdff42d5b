/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire.h - the frames of a migration: types, fields, payloads.
 *
 * One control connection, and `channels` data connections. Every connection begins with a
 * HELLO (control), ATTACH (data) or ASK (a source in doubt). Little-endian.
 */
#ifndef MIGRATION_WIRE_H
#define MIGRATION_WIRE_H

#include "channel/frame.h"

/*
 * The version is compared first, and another one is refused with both in the error. Within a
 * version the minor one increases: HELLO has the source's, HELLO_OK the lower of both, which both
 * use. Unknown keys of HELLO or HELLO_OK are ignored.
 */
#define WIRE_VERSION 4
#define WIRE_MINOR   0

enum wire_type {
	/* -- control, source -> target -- */
	WIRE_HELLO = 1, /* JSON, see hello.h */
	WIRE_CLOCK,	/* offset: sender's CLOCK_MONOTONIC; the reply is CLOCK_REPLY */
	WIRE_CONFIG,	/* device; pass: generation, 1, 2, ...; payload: the VMM's bytes */
	WIRE_MACHINE,	/* payload: the VMM's bytes */
	WIRE_END_ALL,	/* payload: struct wire_end */
	WIRE_GO,	/* payload: struct wire_go */
	WIRE_ABORT,	/* payload: text. Either direction: aborted before GO */
	WIRE_DONE, /* the source has recorded that the VM runs there. Also on a connection of ASK */
	WIRE_ASK, /* payload: struct wire_go: ID and ticket. First frame of a connection of a source
		     in doubt */
	WIRE_WINDOW, /* device; offset: its window, larger than HELLO's. Before its first byte */

	/* -- control, target -> source -- */
	WIRE_HELLO_OK = 32,  /* JSON */
	WIRE_CLOCK_REPLY,    /* offset: echoed; pass: the target's CLOCK_MONOTONIC */
	WIRE_CREDIT,	     /* device; offset: bytes of it consumed so far */
	WIRE_INITIAL_LOADED, /* device; pass: all up to this INITIAL mark of it is loaded */
	/* The next four also have in `offset` the nonce of HELLO, which ASK does not show. */
	WIRE_READY,    /* payload: struct wire_go: ID and the nonce expected in GO */
	WIRE_STARTING, /* GO was received */
	WIRE_STARTED,  /* the VM runs; payload: text of errors, or empty */
	WIRE_REFUSED,  /* the VM will never run here; payload: the reason */
	WIRE_TIMELINE, /* JSON of the target's spans */
	WIRE_AGREED,   /* device: RESUMING->STOP has succeeded */

	/* -- either way, control -- */
	WIRE_PING = 64, /* keeps an idle connection alive */

	/* -- data, source -> target -- */
	WIRE_ATTACH = 96, /* device: channel index; payload: struct wire_go: id and ticket */
	WIRE_RAM,	  /* device: region; offset in it; pass; payload: whole pages */
	WIRE_RAM_ZERO,	  /* likewise; payload: struct wire_zero_run */
	WIRE_DEVICE,	  /* device; offset in its stream; payload: its bytes */
	WIRE_INITIAL,	 /* device: the bytes sent so far are its initial data; pass: 0, 1, ...: the
			     number of the mark, as a device may re-initialise */
	WIRE_DEVICE_END, /* device; offset: length of its stream; pass: last config generation;
			     payload: u64 sum over its frames */
	WIRE_FIN,	 /* the channel's last frame; payload: struct wire_totals of this channel */
};

/* The number of zero bytes (complete pages) from the frame's offset on. */
struct wire_zero_run {
	uint64_t bytes;
};

struct wire_totals {
	uint64_t frames;
	uint64_t bytes;
};

struct wire_end {
	struct wire_totals all; /* of all channels' FINs */
	uint64_t running;	/* 1: the VM ran until this migration stopped it, so it is to run */
};

/*
 * The migration, and a secret created by its target: that of HELLO_OK (the ticket) authenticates a
 * connection, that of READY authenticates GO.
 */
struct wire_go {
	char id[40]; /* NUL-padded */
	uint64_t nonce;
};
static_assert(sizeof(struct wire_go) == 48, "id and nonce, no holes");

#define WIRE_ID_LEN	  36
#define WIRE_HELLO_MAX	  (512u << 10)
#define WIRE_TEXT_MAX	  1024u
#define WIRE_TIMELINE_MAX (16u << 20)
#define WIRE_RAM_RUN_MAX  (256u << 10) /* payload of one RAM frame */
#define WIRE_DEVICE_MAX	  (1u << 20)   /* payload of one DEVICE frame */
#define WIRE_CHANNELS_MAX 16

/*
 * RAM is sent in pieces of this size, each always on the same channel, so that one page never
 * has two frames on two channels, and a channel's order is the passes' order.
 */
#define WIRE_RAM_PIECE_SHIFT 21

static inline unsigned wire_ram_channel(uint64_t offset, unsigned channels)
{
	return (unsigned)((offset >> WIRE_RAM_PIECE_SHIFT) % channels);
}

/*
 * A device's stream is sent on its own channel, or, if HELLO marks it as spread, in stripes of
 * this size on all of them in turn, starting with its own. A frame is within one stripe, and each
 * channel has its stripes in order.
 */
#define WIRE_STRIPE_SHIFT 18
#define WIRE_STRIPE	  (UINT64_C(1) << WIRE_STRIPE_SHIFT)

static inline unsigned wire_device_channel(
	unsigned device, uint64_t offset, bool spread, unsigned channels)
{
	return (unsigned)((device + (spread ? offset >> WIRE_STRIPE_SHIFT : 0)) % channels);
}

#endif
