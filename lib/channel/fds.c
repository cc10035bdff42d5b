/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fds.c - see fds.h: a bound on how many come, and none that is left open.
 */
#include "channel/fds.h"

#include "base/net.h"

#include <unistd.h>

ssize_t swo_fds_transfer(struct swo_fds *bag, int fd, struct msghdr *msg, bool sending)
{
	if (!sending)
		return bag->welcome ? base_recv_fds(fd, msg, bag->in, SWO_FDS_MAX, &bag->in_count,
					      &bag->cut, 0)
				    : recvmsg(fd, msg, 0);

	ssize_t n = base_send_fds(fd, msg, bag->out, bag->out_count, 0);

	/* They belong to the first byte: with any part of the message they are gone. */
	if (n > 0)
		bag->out_count = 0;
	return n;
}

void swo_fds_drop(struct swo_fds *bag)
{
	while (bag->in_count)
		close(bag->in[--bag->in_count]);
	bag->cut = false;
}
