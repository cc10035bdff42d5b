/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meter.c - see meter.h. A send that ends in a large socket buffer does not measure the wire
 * behind it; TCP's acknowledgements do.
 */
#include "channel/meter.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

static uint64_t tcp_rate(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) ||
		len < offsetof(struct tcp_info, tcpi_delivery_rate) +
				sizeof(info.tcpi_delivery_rate))
		return 0;
	return info.tcpi_delivery_rate;
}

struct channel_meter channel_meter_read(struct channel *channel)
{
	pthread_mutex_lock(&channel->send_lock);
	struct channel_meter meter = {.bytes = channel->large_bytes, .busy_ns = channel->large_ns};

	pthread_mutex_unlock(&channel->send_lock);
	meter.tcp_rate = tcp_rate(channel_conn_fd(channel->conn));
	return meter;
}

uint64_t channel_meter_rate(const struct channel_meter *before, const struct channel_meter *after,
	unsigned count, uint64_t least)
{
	double bytes = 0, busy_ns = 1;

	for (unsigned i = 0; i < count; i++) {
		double own = (double)(after[i].bytes - before[i].bytes);
		double ns = (double)(after[i].busy_ns - before[i].busy_ns);

		if (after[i].tcp_rate && own * 1e9 / (double)after[i].tcp_rate > ns)
			ns = own * 1e9 / (double)after[i].tcp_rate;
		bytes += own;
		busy_ns = ns > busy_ns ? ns : busy_ns;
	}
	return bytes < (double)least ? 0 : (uint64_t)(bytes * 1e9 / busy_ns);
}
