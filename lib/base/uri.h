/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uri.h - the address of a migration or a monitor: "unix:PATH" or "tcp:HOST:PORT".
 */
#ifndef BASE_URI_H
#define BASE_URI_H

#include "switchover/base.h"

struct base_uri {
	bool is_unix;
	char path[108]; /* unix: the limit of sockaddr_un */
	char host[256]; /* tcp: a name or address, without brackets; "" means any */
	char port[6];	/* tcp: decimal */
};

/* SWO_E_INVALID with the reason and an example. */
int base_uri_parse(const char *text, struct base_uri *out, struct swo_error *err);

#endif
