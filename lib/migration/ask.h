/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ask.h - the question of a source in doubt, on a connection of its own: did you take
 * GO? Asked by the parked source, and by `switchover resolve` for one that is dead.
 */
#ifndef MIGRATION_ASK_H
#define MIGRATION_ASK_H

#include "migration/wire.h"

struct ask {
	const char *uri;
	const struct channel_security *security; /* as the migration's own connections */
	struct wire_go ticket;
	uint64_t deadline_ms;
	/* Looked at while the answer is waited for; true ends that. May be NULL. */
	bool (*give_up)(void *opaque);
	/*
	 * Takes the answer, one of those below, while its connection is there. true: it is on record that
	 * the VM runs there, and the target gets DONE. May be NULL.
	 */
	bool (*take)(void *opaque, enum wire_type answer, const char *text);
	void *opaque;
};

/*
 * WIRE_STARTED, WIRE_STARTING or WIRE_REFUSED, with the target's word; -1: nobody answered, or
 * somebody who does not know this migration. A target that was only READY refuses by this.
 */
int migration_ask(const struct ask *ask, char word[WIRE_TEXT_MAX + 1], struct swo_error *err);

#endif
