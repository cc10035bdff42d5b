/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tune.h - what a socket that carries a migration is told: how much may wait in it, and how to send
 * where there is no network in between.
 */
#ifndef CHANNEL_TUNE_H
#define CHANNEL_TUNE_H

#include <stdbool.h>
#include <sys/socket.h>

/* This host's own: a UNIX address, or one of loopback (127/8, ::1). */
bool swo_address_is_local(const struct sockaddr *address);
/* Of a connected stream socket. All are wishes: one that refuses them still works. */
void swo_socket_tune(int fd);

#endif
