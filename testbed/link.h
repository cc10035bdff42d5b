/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link.h - a proxy between a source and a target that is a bad link when it is set to: it passes
 * connections on, counts the frames that it passes, and cuts, stalls, reorders or changes them,
 * at once or when a message is about to pass.
 *
 * Threads: any may call; one of the link's own moves the bytes.
 */
#ifndef TESTBED_LINK_H
#define TESTBED_LINK_H

#include "switchover/base.h"

struct link;

enum link_mode {
	LINK_PASS,
	LINK_CUT,	      /* every connection is dropped, new ones too */
	LINK_STALL,	      /* no data passes; connections stay */
	LINK_STALL_TO_TARGET, /* one direction of every connection */
	LINK_STALL_TO_SOURCE,
	LINK_REORDER,	   /* the connection that carried most waits, the others overtake it */
	LINK_FLIP_CONTROL, /* one bit of what passes next on the first connection; then LINK_PASS */
	LINK_FLIP_DATA,	   /* the same on any other connection */
};

/* Listens on one URI ("unix:PATH", or "tcp:ADDRESS:PORT", where port 0 is any free one) and
   connects to another for every connection that comes. NULL: *err. */
struct link *link_start(const char *listen_uri, const char *to_uri, struct swo_error *err);
/* Where it listens, with the port that it got. */
const char *link_uri(const struct link *link);
/* The mode holds when this returns. */
void link_set(struct link *link, enum link_mode mode);
/* So many bytes a second pass to the target, on all connections together; 0: no limit. */
void link_set_rate(struct link *link, uint64_t rate);
/* What comes from now on takes half of rtt_ns to pass, either way; with a rate, `buffer` bytes more
   may wait for it. 0, 0: as from the start. To be set after the rate. */
void link_set_delay(struct link *link, uint64_t rtt_ns, uint64_t buffer);
/* Bytes that have passed to the target so far, on all connections together. */
uint64_t link_passed(struct link *link);
/* Takes the mode on when the next frame of this type (enum wire_type) is about to pass: with
   LINK_CUT and the stalls it does not. */
void link_at(struct link *link, unsigned message, enum link_mode mode);
/* Frames of this type that have come to the link so far. It cannot see them under TLS. */
unsigned link_seen(struct link *link, unsigned message);
/* Faults that had an effect so far: connections that were dropped, refused or held back, when the
   mode was set or when they came, and bits flipped. */
unsigned link_hits(struct link *link);
/* Drops all connections. NULL: nothing. */
void link_stop(struct link *link);

#endif
