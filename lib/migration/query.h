/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * query.h - the query of a source in doubt, on a separate connection: did the target receive GO?
 * Sent by the parked source, and by `switchover resolve` for a dead one.
 */
#ifndef MIGRATION_QUERY_H
#define MIGRATION_QUERY_H

#include "migration/wire.h"

struct ask {
	const char *uri;
	const struct channel_security *security; /* as for the migration's own connections */
	struct wire_go ticket;
	uint64_t hello_nonce; /* in the target's replies */
	uint64_t deadline_ms;
	struct base_cancel *attempt; /* aborts resolving and connecting. May be NULL. */
	/* Polled during the wait for the reply; true cancels it. May be NULL. */
	bool (*give_up)(void *opaque);
	/*
	 * Receives the reply, one of those below, while its connection is open. true: the outcome "the
	 * VM runs there" is recorded, and the target gets DONE. May be NULL.
	 */
	bool (*take)(void *opaque, enum wire_type answer, const char *text);
	void *opaque;
};

/*
 * WIRE_STARTED, WIRE_STARTING or WIRE_REFUSED, with the target's text; -1: no reply, or from a
 * process without a record of this migration, or without the nonce of its HELLO. A target in state
 * READY refuses on this query.
 */
int migration_ask(const struct ask *ask, char text[WIRE_TEXT_MAX + 1], struct swo_error *err);

#endif
