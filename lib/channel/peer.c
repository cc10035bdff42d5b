/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer.c - whose process is at the other end of a UNIX socket.
 */
#include "channel/peer.h"

#include <sys/socket.h>
#include <unistd.h>

bool swo_peer_is_ours(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	/* As they were when it connected (unix(7)). */
	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && len == sizeof(peer) &&
	       (peer.uid == geteuid() || peer.uid == 0);
}
