/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link.c - one thread, poll, a pair of sockets a connection. Frames are followed on the way, so
 * that a fault can be struck at a message.
 */
#include "testbed/link.h"

#include "base/net.h"
#include "channel/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define PAIRS_MAX    64
#define CHUNK	     65536
#define CONNECT_MS   10000
#define MESSAGES_MAX 256
#define NO_MESSAGE   MESSAGES_MAX

/* One direction: data that was read and not written yet. */
struct flow {
	uint8_t data[CHUNK];
	size_t at, len;
	int fds[BASE_FDS_MAX]; /* descriptors that came along with it, to go along with it */
	unsigned fd_count;
	uint64_t carried;
	bool ended;
	/* Where in a frame its bytes are. */
	uint8_t header[sizeof(struct channel_frame_header)];
	size_t header_have;
	uint64_t payload_left;
	bool opaque; /* no frames: TLS */
};

struct conn_pair {
	unsigned order;	    /* of its coming: the first is the control connection */
	int fds[2];	    /* the source's, the target's */
	struct flow *flows; /* [0]: to the target, [1]: to the source */
};

struct link {
	struct base_address to;
	char uri[128], path[108]; /* path: of a UNIX socket, to be removed */
	int listen_fd, wake;
	pthread_t thread;
	pthread_mutex_t lock; /* over all that follows; the thread waits without it */
	bool quits, changed;  /* changed: the mode, so that the result of poll is stale */
	enum link_mode mode, mode_at;
	unsigned message_at;
	uint64_t rate;	 /* to the target; 0: no limit */
	uint64_t due_ns; /* what has passed takes until then */
	uint64_t passed; /* to the target */
	struct conn_pair pairs[PAIRS_MAX];
	unsigned count, taken, hits, turn;
	unsigned seen[MESSAGES_MAX];
};

/* Pairs */

static void drop_fds(struct flow *flow)
{
	while (flow->fd_count)
		close(flow->fds[--flow->fd_count]);
}

static void drop_pair(struct conn_pair *pair)
{
	swo_close_fd(&pair->fds[0]);
	swo_close_fd(&pair->fds[1]);
	for (int i = 0; pair->flows && i < 2; i++)
		drop_fds(&pair->flows[i]);
	free(pair->flows);
}

static void drop_all(struct link *link)
{
	while (link->count)
		drop_pair(&link->pairs[--link->count]);
}

/* The connection that waits while the others go ahead. */
static unsigned busiest(const struct link *link)
{
	unsigned found = 0;

	for (unsigned i = 1; i < link->count; i++)
		if (link->pairs[i].flows[0].carried > link->pairs[found].flows[0].carried)
			found = i;
	return found;
}

static bool is_held(const struct link *link, unsigned i, int flow)
{
	return link->mode == LINK_STALL || (link->mode == LINK_STALL_TO_TARGET && flow == 0) ||
	       (link->mode == LINK_STALL_TO_SOURCE && flow == 1) ||
	       (link->mode == LINK_REORDER && i == busiest(link));
}

static void accept_pair(struct link *link)
{
	struct conn_pair pair = {.fds = {base_accept(link->listen_fd), -1}};

	if (pair.fds[0] < 0)
		return;
	link->hits += link->mode == LINK_CUT;
	pair.flows = calloc(2, sizeof(*pair.flows));
	if (link->mode == LINK_CUT || link->count == PAIRS_MAX || !pair.flows ||
		base_connect(&link->to, 1, swo_deadline_ms(CONNECT_MS), NULL, &pair.fds[1])) {
		drop_pair(&pair);
		return;
	}
	pair.order = link->taken++;
	link->pairs[link->count++] = pair;
	link->hits += is_held(link, link->count - 1, 0) || is_held(link, link->count - 1, 1);
}

/* Modes */

static void set_mode(struct link *link, enum link_mode mode)
{
	link->mode = mode;
	link->changed = true;
	for (unsigned i = 0; i < link->count; i++)
		link->hits += mode == LINK_CUT || is_held(link, i, 0) || is_held(link, i, 1);
	if (mode == LINK_CUT)
		drop_all(link);
}

static void flip(struct link *link, const struct conn_pair *pair, struct flow *flow)
{
	if (link->mode != (pair->order ? LINK_FLIP_DATA : LINK_FLIP_CONTROL))
		return;
	flow->data[flow->len / 2] ^= 0x10;
	link->hits++;
	link->mode = LINK_PASS;
}

/* Messages */

static ssize_t transfer(struct flow *flow, int fd, bool sending)
{
	struct iovec iov = {.iov_base = flow->data, .iov_len = CHUNK};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (!sending) {
		bool cut = false;

		return base_recv_fds(fd, &msg, flow->fds, BASE_FDS_MAX, &flow->fd_count, &cut, 0);
	}
	iov = (struct iovec){flow->data + flow->at, flow->len - flow->at};
	ssize_t n = base_send_fds(fd, &msg, flow->fds, flow->fd_count, 0);

	if (n > 0)
		drop_fds(flow);
	return n;
}

/* What came before the message passes; it, and what came along with it, is up to the mode. */
static void pass_before(struct flow *flow, int fd, size_t before)
{
	size_t len = flow->len;

	flow->len = before;
	ssize_t n = flow->at < flow->len ? transfer(flow, fd, true) : 0;

	flow->at += n > 0 ? (size_t)n : 0;
	flow->len = len;
}

static void follow_frames(struct link *link, struct flow *flow, int fd)
{
	struct channel_frame_header header;
	const uint8_t *data = flow->data;
	size_t left = flow->len;

	while (left && !flow->opaque) {
		size_t n = sizeof(header) - flow->header_have;

		if (flow->payload_left) {
			n = left < flow->payload_left ? left : (size_t)flow->payload_left;
			flow->payload_left -= n;
		} else {
			n = left < n ? left : n;
			memcpy(flow->header + flow->header_have, data, n);
			flow->header_have += n;
		}
		data += n;
		left -= n;
		if (flow->header_have < sizeof(header))
			continue;
		memcpy(&header, flow->header, sizeof(header));
		flow->header_have = 0;
		flow->payload_left = header.length;
		flow->opaque = header.magic != CHANNEL_FRAME_MAGIC;
		if (flow->opaque || header.type >= MESSAGES_MAX)
			continue;
		link->seen[header.type]++;
		if (header.type != link->message_at)
			continue;
		size_t read = (size_t)(data - flow->data);

		link->message_at = NO_MESSAGE;
		pass_before(flow, fd, read > sizeof(header) ? read - sizeof(header) : 0);
		set_mode(link, link->mode_at);
		/* Which may have dropped this connection. */
		if (link->mode == LINK_CUT)
			return;
	}
}

/* Moving */

static bool is_over(ssize_t n)
{
	return n < 0 && errno != EAGAIN && errno != EINTR;
}

/* Its turn to read comes later. */
static bool is_early(const struct link *link, int from)
{
	return !from && link->rate && swo_now_ns() < link->due_ns;
}

static void count_passed(struct link *link, int from, size_t bytes)
{
	const uint64_t now = swo_now_ns();

	if (from)
		return;
	link->passed += bytes;
	if (!link->rate)
		return;
	link->due_ns = link->due_ns > now ? link->due_ns : now;
	link->due_ns += (uint64_t)((double)bytes * 1e9 / (double)link->rate);
}

/* Moves what can be moved without waiting; false: this connection is over. */
static bool move(struct link *link, unsigned i, int from)
{
	struct conn_pair *pair = &link->pairs[i];
	struct flow *flow = &pair->flows[from];

	if (is_held(link, i, from))
		return true;
	if (flow->at == flow->len && !flow->ended && !is_early(link, from)) {
		ssize_t n = transfer(flow, pair->fds[from], false);

		if (is_over(n))
			return false;
		if (n == 0) {
			flow->ended = true;
			shutdown(pair->fds[!from], SHUT_WR);
		} else if (n > 0) {
			flow->at = 0;
			flow->len = (size_t)n;
			flow->carried += (uint64_t)n;
			count_passed(link, from, (size_t)n);
			follow_frames(link, flow, pair->fds[!from]);
			if (link->changed && link->mode == LINK_CUT)
				return true;
			flip(link, pair, flow);
			if (link->changed)
				return true;
		}
	}
	if (flow->at < flow->len) {
		ssize_t n = transfer(flow, pair->fds[!from], true);

		if (is_over(n))
			return false;
		flow->at += n > 0 ? (size_t)n : 0;
	}
	return !(pair->flows[0].ended && pair->flows[1].ended);
}

static short events_of(const struct link *link, unsigned i, int end)
{
	const struct flow *in = &link->pairs[i].flows[end], *out = &link->pairs[i].flows[!end];
	bool reads =
		in->at == in->len && !in->ended && !is_held(link, i, end) && !is_early(link, end);
	bool writes = out->at < out->len && !is_held(link, i, !end);

	return (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
}

/*
 * A change of mode drops connections, or gives other things to wait for: it ends the round, as a
 * connection that is over does. Each begins with another connection, so that with a rate none starves.
 */
static void move_all(struct link *link, const struct pollfd *fds, unsigned count)
{
	const unsigned first = link->turn++;

	for (unsigned k = 0; k < count && !link->changed; k++) {
		const unsigned i = (first + k) % count;

		if ((fds[2 * i].revents || fds[2 * i + 1].revents) &&
			(!move(link, i, 0) || (!link->changed && !move(link, i, 1)))) {
			drop_pair(&link->pairs[i]);
			link->pairs[i] = link->pairs[--link->count];
			return;
		}
	}
}

static void *run_link(void *opaque)
{
	struct link *link = opaque;

	pthread_mutex_lock(&link->lock);
	while (!link->quits) {
		struct pollfd fds[2 + 2 * PAIRS_MAX] = {{.fd = link->wake, .events = POLLIN},
			{.fd = link->listen_fd, .events = POLLIN}};
		unsigned count = link->count;
		uint64_t wakes;

		for (unsigned i = 0; i < 2 * count; i++) {
			short events = events_of(link, i / 2, (int)(i % 2));

			fds[2 + i] = (struct pollfd){
				events ? link->pairs[i / 2].fds[i % 2] : -1, events, 0};
		}
		const int wait_ms = is_early(link, 0) ? 1 : -1;

		link->changed = false;
		pthread_mutex_unlock(&link->lock);
		int ready = poll(fds, 2 + 2 * count, wait_ms);

		pthread_mutex_lock(&link->lock);
		if (ready > 0 && fds[0].revents && read(link->wake, &wakes, sizeof(wakes)) < 0)
			continue;
		if (ready <= 0 || link->changed)
			continue;
		move_all(link, fds + 2, count);
		if (fds[1].revents)
			accept_pair(link);
	}
	drop_all(link);
	pthread_mutex_unlock(&link->lock);
	return NULL;
}

/* Addresses */

static int resolve(const char *text, struct base_address *out, struct swo_error *err)
{
	struct base_address all[BASE_ADDRESSES_MAX];
	struct base_uri uri;

	if (base_uri_parse(text, &uri, err) ||
		base_resolve(&uri, false, swo_deadline_ms(CONNECT_MS), NULL, all, err) < 0)
		return -1;
	*out = all[0];
	return 0;
}

static int start_listening(struct link *link, const char *uri, struct swo_error *err)
{
	struct base_address at;

	if (resolve(uri, &at, err))
		return -1;

	int rc = base_listen(&at, PAIRS_MAX, &link->listen_fd);

	if (!rc && at.any.sa_family == AF_UNIX)
		snprintf(link->path, sizeof(link->path), "%s", at.un.sun_path);
	if (!rc && getsockname(link->listen_fd, &at.any, &at.len))
		rc = errno;
	base_address_uri(&at, link->uri, sizeof(link->uri));
	return rc ? swo_error_set(err, SWO_E_IO, rc, "link: listen on '%s'", uri) : 0;
}

/* Begin and end */

static void free_link(struct link *link)
{
	swo_close_fd(&link->listen_fd);
	swo_close_fd(&link->wake);
	if (link->path[0])
		unlink(link->path);
	pthread_mutex_destroy(&link->lock);
	free(link);
}

struct link *link_start(const char *listen_uri, const char *to_uri, struct swo_error *err)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link) {
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "link");
		return NULL;
	}
	pthread_mutex_init(&link->lock, NULL);
	link->listen_fd = -1;
	link->message_at = NO_MESSAGE;
	link->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = resolve(to_uri, &link->to, err) || start_listening(link, listen_uri, err);

	if (!rc && (link->wake < 0 || pthread_create(&link->thread, NULL, run_link, link)))
		rc = swo_error_set(err, SWO_E_NO_MEMORY, errno, "link: start its thread");
	if (!rc)
		return link;
	free_link(link);
	return NULL;
}

const char *link_uri(const struct link *link)
{
	return link->uri;
}

/* Ends a change made under the lock: the thread polls again. */
static void unlock_and_wake(struct link *link)
{
	const uint64_t one = 1;

	pthread_mutex_unlock(&link->lock);
	while (write(link->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void link_set(struct link *link, enum link_mode mode)
{
	pthread_mutex_lock(&link->lock);
	set_mode(link, mode);
	unlock_and_wake(link);
}

void link_set_rate(struct link *link, uint64_t rate)
{
	pthread_mutex_lock(&link->lock);
	link->rate = rate;
	unlock_and_wake(link);
}

void link_at(struct link *link, unsigned message, enum link_mode mode)
{
	pthread_mutex_lock(&link->lock);
	link->message_at = message;
	link->mode_at = mode;
	pthread_mutex_unlock(&link->lock);
}

unsigned link_seen(struct link *link, unsigned message)
{
	pthread_mutex_lock(&link->lock);
	unsigned seen = message < MESSAGES_MAX ? link->seen[message] : 0;

	pthread_mutex_unlock(&link->lock);
	return seen;
}

uint64_t link_passed(struct link *link)
{
	pthread_mutex_lock(&link->lock);
	uint64_t passed = link->passed;

	pthread_mutex_unlock(&link->lock);
	return passed;
}

unsigned link_hits(struct link *link)
{
	pthread_mutex_lock(&link->lock);
	unsigned hits = link->hits;

	pthread_mutex_unlock(&link->lock);
	return hits;
}

void link_stop(struct link *link)
{
	if (!link)
		return;
	pthread_mutex_lock(&link->lock);
	link->quits = true;
	unlock_and_wake(link);
	pthread_join(link->thread, NULL);
	free_link(link);
}
