/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * strike.h - what can be done to a pair from outside, at any moment: the one fault injector of the
 * fault matrix and the end-to-end tests. What a device does by itself is simvf's (docs/simvf.md).
 */
#ifndef TESTBED_STRIKE_H
#define TESTBED_STRIKE_H

#include "testbed/pair/pair.h"

enum strike_kind {
	STRIKE_NOTHING,
	STRIKE_KILL_VM,
	STRIKE_KILL_DEVICE,
	STRIKE_LINK,	      /* is set to `mode` */
	STRIKE_NO_MEMORY,     /* what is mapped now is all there is; for `ms` */
	STRIKE_FREEZE,	      /* SIGSTOP, for `ms` */
	STRIKE_FREEZE_DEVICE, /* the same of a device's server */
	STRIKE_RESET_DEVICE,  /* the device resets itself */
	STRIKE_COMMAND,	      /* of the monitor */
	STRIKE_SIGNAL,	      /* to the machine */
};

struct strike {
	enum strike_kind kind;
	enum link_mode mode;
	unsigned ms;	     /* of the link: then it passes again; 0: for good */
	const char *command; /* "migrate" and "migrate-incoming" get the pair's URI */
	int signo;
};

struct strike_result {
	bool hit;	/* it was there to be struck, and was; of the link see link_hits() */
	bool refused;	/* the command, with its reason in `text` */
	char text[300]; /* also why it was not hit */
};

/* Does it to a side, its device i, or the link between them. Returns when it is over, or there for
   good. */
struct strike_result strike(struct pair *pair, struct link *link, enum pair_side side, unsigned i,
	const struct strike *what);

#endif
