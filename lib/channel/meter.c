/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meter.c - see meter.h. A send that ends in a large socket buffer does not measure the wire
 * behind it; TCP's acknowledgements do.
 */
#include "channel/meter.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define HAS(info_len, member)                                                                      \
	((info_len) >= offsetof(struct tcp_info, member) + sizeof(((struct tcp_info *)0)->member))

/* The kernel counts the time in ticks of up to 10 ms. */
#define TCP_BUSY_MIN_NS UINT64_C(100000000)

static void read_tcp(int fd, struct channel_meter *meter)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) || !HAS(len, tcpi_delivery_rate))
		return;
	meter->tcp_rate = info.tcpi_delivery_rate;
	if (!HAS(len, tcpi_busy_time))
		return;
	meter->tcp_acked = info.tcpi_bytes_acked;
	meter->tcp_busy_ns = info.tcpi_busy_time * 1000;
}

struct channel_meter channel_meter_read(struct channel *channel)
{
	channel_turn_take(&channel->turn, NULL);
	struct channel_meter meter = {.bytes = channel->large_bytes, .busy_ns = channel->large_ns};

	channel_turn_leave(&channel->turn);
	read_tcp(channel_conn_fd(channel->conn), &meter);
	return meter;
}

/* What was acknowledged, by the time in which there was something to acknowledge. */
static struct channel_meter_sample acked(
	const struct channel_meter *before, const struct channel_meter *after, unsigned count)
{
	struct channel_meter_sample sample = {0};

	for (unsigned i = 0; i < count; i++) {
		const uint64_t ns = after[i].tcp_busy_ns - before[i].tcp_busy_ns;

		sample.bytes += after[i].tcp_acked - before[i].tcp_acked;
		sample.ns = ns > sample.ns ? ns : sample.ns;
	}
	return sample;
}

struct channel_meter_sample channel_meter_measure(const struct channel_meter *before,
	const struct channel_meter *after, unsigned count, uint64_t least)
{
	const struct channel_meter_sample tcp = acked(before, after, count);
	double bytes = 0, busy_ns = 1;

	if (tcp.ns >= TCP_BUSY_MIN_NS && tcp.bytes >= least)
		return tcp;
	for (unsigned i = 0; i < count; i++) {
		double own = (double)(after[i].bytes - before[i].bytes);
		double ns = (double)(after[i].busy_ns - before[i].busy_ns);

		if (after[i].tcp_rate && own * 1e9 / (double)after[i].tcp_rate > ns)
			ns = own * 1e9 / (double)after[i].tcp_rate;
		bytes += own;
		busy_ns = ns > busy_ns ? ns : busy_ns;
	}
	if (bytes < (double)least)
		return (struct channel_meter_sample){0};
	return (struct channel_meter_sample){(uint64_t)bytes, (uint64_t)busy_ns};
}

uint64_t channel_meter_backlog(struct channel *channel)
{
	int bytes = 0;

	return ioctl(channel_conn_fd(channel->conn), SIOCOUTQ, &bytes) || bytes < 0
		       ? 0
		       : (uint64_t)bytes;
}
