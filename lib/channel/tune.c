/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tune.c - see tune.h. The sizes and the algorithm were measured (docs/results.md, "Bytes").
 */
#include "channel/tune.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

/* Several frames: a network must be kept full over a round trip. */
#define FAR_BUFFER (2 << 20)
/*
 * Within a host only the buffered bytes are in flight, and they should still be in the caches
 * when they are read.
 */
#define LOCAL_BUFFER (512 << 10)

bool channel_address_is_local(const struct sockaddr *address)
{
	if (address->sa_family == AF_UNIX)
		return true;
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;

		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	}
	const struct in6_addr *in6 = &((const struct sockaddr_in6 *)address)->sin6_addr;

	return address->sa_family == AF_INET6 &&
	       (IN6_IS_ADDR_LOOPBACK(in6) ||
		       (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127));
}

static bool peer_is_local(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);

	return !getpeername(fd, (struct sockaddr *)&address, &len) &&
	       channel_address_is_local((struct sockaddr *)&address);
}

void channel_tune(int fd)
{
	/* Others pace what they send, with timers and in small segments; here no path can be
	   congested. Every kernel has this one, and allows every user to select it. */
	static const char local_algorithm[] = "reno";
	const bool local = peer_is_local(fd);
	int size = local ? LOCAL_BUFFER : FAR_BUFFER, on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (local)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, local_algorithm,
			sizeof(local_algorithm) - 1);
}
