/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link.c - a bad link between two machines: passes UNIX connections on, and cuts,
 * stalls, reorders or changes them when told to. One thread, poll, a pair of sockets each.
 */
#include "channel/fds.h"
#include "testbed/faults/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PAIRS_MAX 32
#define ROOM	  65536

/* One direction: what was read and not written yet. */
struct flow {
	uint8_t data[ROOM];
	size_t at, len;
	struct swo_fds fds; /* descriptors that came along with it, to go along with it */
	uint64_t carried;
	bool ended;
};

struct pair {
	unsigned order; /* of its coming: the first is the control connection */
	int fds[2];
	struct flow *flows; /* [0]: fds[0] to fds[1] */
};

struct link {
	struct sockaddr_un to;
	char path[108];
	int listen_fd, wake[2];
	pthread_t thread;
	struct pair pairs[PAIRS_MAX];
	unsigned count, taken;
	enum link_mode mode;
};

static void drop(struct pair *pair)
{
	close(pair->fds[0]);
	if (pair->fds[1] >= 0)
		close(pair->fds[1]);
	for (int i = 0; pair->flows && i < 2; i++)
		swo_fds_drop(&pair->flows[i].fds);
	free(pair->flows);
}

static void begin_pair(struct link *link, struct pair *pair)
{
	fcntl(pair->fds[1], F_SETFL, fcntl(pair->fds[1], F_GETFL) | O_NONBLOCK);
	pair->order = link->taken++;
	pair->flows[0].fds.welcome = pair->flows[1].fds.welcome = true;
	link->pairs[link->count++] = *pair;
}

static ssize_t receive(struct flow *flow, int fd)
{
	struct iovec iov = {.iov_base = flow->data, .iov_len = ROOM};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	return swo_fds_transfer(&flow->fds, fd, &msg, false);
}

static ssize_t forward(struct flow *flow, int fd)
{
	struct iovec iov = {.iov_base = flow->data + flow->at, .iov_len = flow->len - flow->at};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	memcpy(flow->fds.out, flow->fds.in, sizeof(flow->fds.in));
	flow->fds.out_count = flow->fds.in_count;
	ssize_t n = swo_fds_transfer(&flow->fds, fd, &msg, true);

	if (n > 0)
		swo_fds_drop(&flow->fds);
	return n;
}

static void take(struct link *link)
{
	struct pair pair = {
		.fds = {accept4(link->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), -1}};

	if (pair.fds[0] < 0)
		return;
	pair.fds[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pair.flows = calloc(2, sizeof(*pair.flows));
	if (link->mode == LINK_CUT || link->count == PAIRS_MAX || !pair.flows || pair.fds[1] < 0 ||
		connect(pair.fds[1], (struct sockaddr *)&link->to, sizeof(link->to)))
		drop(&pair);
	else
		begin_pair(link, &pair);
}

/* Is this the byte that is to change? */
static bool strikes(const struct link *link, const struct pair *pair)
{
	return (link->mode == LINK_FLIP_CONTROL && pair->order == 0) ||
	       (link->mode == LINK_FLIP_DATA && pair->order > 0);
}

/* Moves what can be moved without waiting; false: this connection is over. */
static bool move(struct link *link, struct pair *pair, int from)
{
	struct flow *flow = &pair->flows[from];

	if (flow->at == flow->len && !flow->ended) {
		ssize_t n = receive(flow, pair->fds[from]);

		if (n > 0) {
			flow->at = 0;
			flow->len = (size_t)n;
			flow->carried += (uint64_t)n;
			if (strikes(link, pair)) {
				flow->data[n / 2] ^= 0x10;
				link->mode = LINK_PASS;
			}
		} else if (n == 0) {
			flow->ended = true;
			shutdown(pair->fds[!from], SHUT_WR);
		} else if (errno != EAGAIN && errno != EINTR) {
			return false;
		}
	}
	if (flow->at < flow->len) {
		ssize_t n = forward(flow, pair->fds[!from]);

		if (n > 0)
			flow->at += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return false;
	}
	return !(pair->flows[0].ended && pair->flows[1].ended);
}

static short wish(const struct pair *pair, int end)
{
	const struct flow *in = &pair->flows[end], *out = &pair->flows[!end];

	return (short)((in->at == in->len && !in->ended ? POLLIN : 0) |
		       (out->at < out->len ? POLLOUT : 0));
}

/* The one that waits while the others go ahead. */
static unsigned busiest(const struct link *link)
{
	unsigned found = 0;

	for (unsigned i = 1; i < link->count; i++)
		if (link->pairs[i].flows[0].carried > link->pairs[found].flows[0].carried)
			found = i;
	return found;
}

static bool waits(const struct link *link, unsigned i)
{
	return link->mode == LINK_STALL || (link->mode == LINK_REORDER && i == busiest(link));
}

static void drop_all(struct link *link)
{
	while (link->count)
		drop(&link->pairs[--link->count]);
}

static void move_all(struct link *link, const struct pollfd *fds, unsigned count)
{
	for (unsigned i = count; i-- > 0;)
		if ((fds[2 * i].revents || fds[2 * i + 1].revents) &&
			(!move(link, &link->pairs[i], 0) || !move(link, &link->pairs[i], 1))) {
			drop(&link->pairs[i]);
			link->pairs[i] = link->pairs[--link->count];
		}
}

static void *run(void *opaque)
{
	struct link *link = opaque;

	for (;;) {
		struct pollfd fds[2 + 2 * PAIRS_MAX] = {{.fd = link->wake[0], .events = POLLIN},
			{.fd = link->listen_fd, .events = POLLIN}};
		unsigned count = link->count;
		char word;

		for (unsigned i = 0; i < 2 * count; i++) {
			fds[2 + i].events = wish(&link->pairs[i / 2], (int)(i % 2));
			fds[2 + i].fd = fds[2 + i].events && !waits(link, i / 2)
						? link->pairs[i / 2].fds[i % 2]
						: -1;
		}
		if (poll(fds, 2 + 2 * count, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents && read(link->wake[0], &word, 1) == 1) {
			if (word == 'q')
				break;
			link->mode = (enum link_mode)(word - '0');
			if (link->mode == LINK_CUT)
				drop_all(link);
			continue;
		}
		move_all(link, fds + 2, count);
		if (fds[1].revents)
			take(link);
	}
	drop_all(link);
	return NULL;
}

struct link *link_start(const char *path, const char *to)
{
	struct link *link = calloc(1, sizeof(*link));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (!link)
		return NULL;
	link->to.sun_family = AF_UNIX;
	snprintf(link->to.sun_path, sizeof(link->to.sun_path), "%s", to);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	snprintf(link->path, sizeof(link->path), "%s", path);
	link->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (link->listen_fd < 0 || pipe(link->wake) ||
		bind(link->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) ||
		listen(link->listen_fd, 32) || pthread_create(&link->thread, NULL, run, link)) {
		free(link);
		return NULL;
	}
	return link;
}

static void tell(struct link *link, char word)
{
	while (write(link->wake[1], &word, 1) < 0 && errno == EINTR)
		;
}

void link_set(struct link *link, enum link_mode mode)
{
	tell(link, (char)('0' + mode));
}

void link_stop(struct link *link)
{
	tell(link, 'q');
	pthread_join(link->thread, NULL);
	close(link->listen_fd);
	close(link->wake[0]);
	close(link->wake[1]);
	unlink(link->path);
	free(link);
}
