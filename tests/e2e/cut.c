/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cut.c - the link that can be cut: one thread, poll, a pair of sockets a connection.
 */
#include "cut.h"

#include "migration/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINKS_MAX 64
#define ROOM	  65536

/* One direction: what was read and not written yet. */
struct flow {
	char data[ROOM];
	size_t at, len;
	bool ended;
	/* where in a frame its bytes are, to know a GO when it comes */
	uint8_t header[sizeof(struct swo_frame_header)];
	size_t header_have;
	uint64_t payload_left;
};

struct link {
	int fds[2];
	struct flow *flows; /* [0]: fds[0] to fds[1] */
};

struct cut {
	struct sockaddr_un to;
	char path[108];
	int listen_fd, wake[2];
	pthread_t thread;
	struct link links[LINKS_MAX];
	unsigned count;
	bool at_go;
};

static void drop(struct link *link)
{
	close(link->fds[0]);
	close(link->fds[1]);
	free(link->flows);
}

static void take(struct cut *cut, bool on)
{
	struct link link = {.fds = {accept4(cut->listen_fd, NULL, NULL, SOCK_CLOEXEC), -1}};

	if (link.fds[0] < 0)
		return;
	link.fds[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	link.flows = calloc(2, sizeof(*link.flows));
	if (!on || cut->count == LINKS_MAX || !link.flows || link.fds[1] < 0 ||
		connect(link.fds[1], (struct sockaddr *)&cut->to, sizeof(cut->to)))
		drop(&link);
	else
		cut->links[cut->count++] = link;
}

/* Is a GO among these bytes? */
static bool carries_go(struct flow *flow, const char *data, size_t len)
{
	struct swo_frame_header header;

	while (len) {
		size_t n;

		if (flow->payload_left) {
			n = len < flow->payload_left ? len : (size_t)flow->payload_left;
			flow->payload_left -= n;
		} else {
			n = sizeof(flow->header) - flow->header_have;
			n = n < len ? n : len;
			memcpy(flow->header + flow->header_have, data, n);
			flow->header_have += n;
			if (flow->header_have == sizeof(flow->header)) {
				memcpy(&header, flow->header, sizeof(header));
				flow->header_have = 0;
				flow->payload_left = header.length;
				if (header.type == WIRE_GO)
					return true;
			}
		}
		data += n;
		len -= n;
	}
	return false;
}

/* Moves what can be moved without waiting; false: this connection is over. */
static bool move(struct cut *cut, struct link *link, int from, bool *go)
{
	struct flow *flow = &link->flows[from];

	if (flow->at == flow->len && !flow->ended) {
		ssize_t n = recv(link->fds[from], flow->data, ROOM, MSG_DONTWAIT);

		if (n > 0) {
			flow->at = 0;
			flow->len = (size_t)n;
			if (!from && carries_go(flow, flow->data, flow->len) && cut->at_go) {
				*go = true;
				return false;
			}
		} else if (n == 0) {
			flow->ended = true;
			shutdown(link->fds[!from], SHUT_WR);
		} else if (errno != EAGAIN && errno != EINTR) {
			return false;
		}
	}
	if (flow->at < flow->len) {
		ssize_t n = send(link->fds[!from], flow->data + flow->at, flow->len - flow->at,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0)
			flow->at += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return false;
	}
	return !(link->flows[0].ended && link->flows[1].ended);
}

static short wish(const struct link *link, int end)
{
	const struct flow *in = &link->flows[end], *out = &link->flows[!end];

	return (short)((in->at == in->len && !in->ended ? POLLIN : 0) |
		       (out->at < out->len ? POLLOUT : 0));
}

static void drop_all(struct cut *cut)
{
	while (cut->count)
		drop(&cut->links[--cut->count]);
}

static void *run(void *opaque)
{
	struct cut *cut = opaque;
	bool on = true;

	for (;;) {
		bool go = false;

		struct pollfd fds[2 + 2 * LINKS_MAX] = {{.fd = cut->wake[0], .events = POLLIN},
			{.fd = cut->listen_fd, .events = POLLIN}};
		unsigned count = cut->count;

		for (unsigned i = 0; i < 2 * count; i++) {
			struct link *link = &cut->links[i / 2];

			fds[2 + i].events = wish(link, (int)(i % 2));
			fds[2 + i].fd = fds[2 + i].events ? link->fds[i % 2] : -1;
		}
		if (poll(fds, 2 + 2 * count, -1) < 0 && errno != EINTR)
			break;
		char word = 0;
		if (fds[0].revents && read(cut->wake[0], &word, 1) == 1) {
			cut->at_go = word == 'g';
			on = on && cut->at_go ? true : word == '1';
			if (!on)
				drop_all(cut);
			if (word == 'q')
				break;
			continue;
		}
		for (unsigned i = count; i-- > 0;)
			if ((fds[2 + 2 * i].revents || fds[3 + 2 * i].revents) &&
				(!move(cut, &cut->links[i], 0, &go) ||
					!move(cut, &cut->links[i], 1, &go))) {
				drop(&cut->links[i]);
				cut->links[i] = cut->links[--cut->count];
			}
		if (go) {
			on = false;
			drop_all(cut);
		}
		if (fds[1].revents)
			take(cut, on);
	}
	drop_all(cut);
	return NULL;
}

struct cut *cut_start(const char *path, const char *to)
{
	struct cut *cut = calloc(1, sizeof(*cut));
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (!cut)
		return NULL;
	cut->to.sun_family = AF_UNIX;
	snprintf(cut->to.sun_path, sizeof(cut->to.sun_path), "%s", to);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	snprintf(cut->path, sizeof(cut->path), "%s", path);
	cut->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (cut->listen_fd < 0 || pipe(cut->wake) ||
		bind(cut->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) ||
		listen(cut->listen_fd, 32) || pthread_create(&cut->thread, NULL, run, cut)) {
		free(cut);
		return NULL;
	}
	return cut;
}

static void tell(struct cut *cut, char word)
{
	while (write(cut->wake[1], &word, 1) < 0 && errno == EINTR)
		;
}

void cut_set(struct cut *cut, bool on)
{
	tell(cut, on ? '1' : '0');
}

void cut_at_go(struct cut *cut)
{
	tell(cut, 'g');
}

void cut_stop(struct cut *cut)
{
	tell(cut, 'q');
	pthread_join(cut->thread, NULL);
	close(cut->listen_fd);
	close(cut->wake[0]);
	close(cut->wake[1]);
	unlink(cut->path);
	free(cut);
}
