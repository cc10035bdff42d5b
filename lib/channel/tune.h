/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tune.h - options of a socket that carries a migration: buffer sizes, and the congestion
 * control within a host.
 */
#ifndef CHANNEL_TUNE_H
#define CHANNEL_TUNE_H

#include <stdbool.h>
#include <sys/socket.h>

/* An address of this host: a UNIX address, or loopback (127/8, ::1). */
bool channel_address_is_local(const struct sockaddr *address);
/* For a connected stream socket. Failures are ignored: the socket works without the options. */
void channel_tune(int fd);

#endif
