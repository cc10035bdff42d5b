/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fds.h - descriptors that travel along with a stream's bytes (SCM_RIGHTS): what is to go with the
 * next byte, and what has come. conn.h has the same for a connection.
 */
#ifndef CHANNEL_FDS_H
#define CHANNEL_FDS_H

#include <stdbool.h>
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

/* sendmsg or recvmsg of `msg`, with what is to go or may come along. */
ssize_t swo_fds_transfer(struct swo_fds *bag, int fd, struct msghdr *msg, bool sending);
/* Closes what has come and was not taken. */
void swo_fds_drop(struct swo_fds *bag);

#endif
