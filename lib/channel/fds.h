/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fds.h - descriptors that travel along with a connection's bytes (SCM_RIGHTS): UNIX sockets
 * only, never under TLS, and only where somebody has asked for it.
 */
#ifndef CHANNEL_FDS_H
#define CHANNEL_FDS_H

#include "channel/conn.h"

#include <sys/socket.h>

/* As many as one RAM can have regions, and one more. */
#define SWO_FDS_MAX 17

struct swo_fds {
	int out[SWO_FDS_MAX]; /* borrowed; go with the next byte that is sent */
	unsigned out_count;
	bool welcome; /* what comes along is kept; else the kernel drops it */
	int in[SWO_FDS_MAX];
	unsigned in_count;
	bool cut; /* more came than there is room for */
};

/*
 * Both need a UNIX socket without TLS (SWO_E_UNSUPPORTED elsewhere). attach: they go along with the
 * next byte that is sent, to a process of this user (or root's) only, and stay the caller's.
 * welcome: what comes along from now on is kept; at first, and after false, the kernel closes it.
 */
int swo_conn_attach_fds(
	struct swo_conn *conn, const int *fds, unsigned count, struct swo_error *err);
int swo_conn_accept_fds(struct swo_conn *conn, bool welcome, struct swo_error *err);
/* Exactly so many have come: they are the caller's now. Else all are closed, and it is an error. */
int swo_conn_take_fds(struct swo_conn *conn, int *fds, unsigned count, struct swo_error *err);
/* Closes what came and nobody took; closing the connection does so, too. */
void swo_conn_drop_fds(struct swo_conn *conn);

/* For conn.c */

/* sendmsg or recvmsg of `msg`, with what is to go or may come along. */
ssize_t swo_fds_transfer(struct swo_fds *bag, int fd, struct msghdr *msg, bool sending);
/* Closes what has come and was not taken. */
void swo_fds_drop(struct swo_fds *bag);

#endif
