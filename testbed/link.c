/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link.c - one thread, ppoll, a pair of sockets a connection. Frames are followed as they are read,
 * so that a fault can be struck at a message; what was read is written when its delay is over.
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
#define DELAYED_MAX  (UINT64_C(256) << 20) /* bytes on their way in one flow */

/* What was read at once, and not written yet. */
struct block {
	struct block *next;
	uint64_t due_ns;
	size_t at, len;
	int fds[BASE_FDS_MAX]; /* descriptors that came along with it, to go along with it */
	unsigned fd_count;
	uint8_t data[CHUNK];
};

/* One direction. */
struct flow {
	struct block *first, **end;
	uint64_t queued; /* bytes of its blocks */
	uint64_t carried;
	bool ended, shut; /* no more to read; and all of it has been written */
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
	uint64_t rate;	   /* to the target; 0: no limit */
	uint64_t due_ns;   /* what has passed takes until then */
	uint64_t ahead_ns; /* of due_ns to now at most: a buffer before the rate */
	uint64_t delay_ns; /* one way */
	uint64_t passed;   /* to the target */
	struct conn_pair pairs[PAIRS_MAX];
	unsigned count, taken, hits, turn;
	unsigned seen[MESSAGES_MAX];
};

/* Pairs */

static void drop_fds(struct block *block)
{
	while (block->fd_count)
		close(block->fds[--block->fd_count]);
}

static void drop_first(struct flow *flow)
{
	struct block *block = flow->first;

	drop_fds(block);
	flow->first = block->next;
	if (!flow->first)
		flow->end = &flow->first;
	free(block);
}

static void drop_pair(struct conn_pair *pair)
{
	swo_close_fd(&pair->fds[0]);
	swo_close_fd(&pair->fds[1]);
	for (int i = 0; pair->flows && i < 2; i++)
		while (pair->flows[i].first)
			drop_first(&pair->flows[i]);
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
	for (int i = 0; i < 2; i++)
		pair.flows[i].end = &pair.flows[i].first;
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

static void flip(struct link *link, const struct conn_pair *pair, struct block *block)
{
	if (link->mode != (pair->order ? LINK_FLIP_DATA : LINK_FLIP_CONTROL))
		return;
	block->data[block->len / 2] ^= 0x10;
	link->hits++;
	link->mode = LINK_PASS;
}

/* Messages */

static ssize_t receive(int fd, struct block *block)
{
	struct iovec iov = {.iov_base = block->data, .iov_len = CHUNK};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	bool cut = false;

	return base_recv_fds(fd, &msg, block->fds, BASE_FDS_MAX, &block->fd_count, &cut, 0);
}

/* Up to `end` of the block. */
static ssize_t send_up_to(struct flow *flow, struct block *block, int fd, size_t end)
{
	struct iovec iov = {block->data + block->at, end - block->at};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = base_send_fds(fd, &msg, block->fds, block->fd_count, 0);

	if (n > 0) {
		drop_fds(block);
		block->at += (size_t)n;
		flow->queued -= (size_t)n;
	}
	return n;
}

/* What came before the message passes; it, and what came along with it, is up to the mode. */
static void pass_before(struct flow *flow, struct block *last, int fd, size_t before)
{
	while (flow->first != last && send_up_to(flow, flow->first, fd, flow->first->len) >= 0) {
		if (flow->first->at == flow->first->len)
			drop_first(flow);
	}
	if (flow->first == last && last->at < before)
		(void)send_up_to(flow, last, fd, before);
}

static void follow_frames(struct link *link, struct flow *flow, struct block *block, int fd)
{
	struct channel_frame_header header;
	const uint8_t *data = block->data;
	size_t left = block->len;

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
		size_t read = (size_t)(data - block->data);

		link->message_at = NO_MESSAGE;
		pass_before(flow, block, fd, read > sizeof(header) ? read - sizeof(header) : 0);
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
	return !from && link->rate && swo_now_ns() + link->ahead_ns < link->due_ns;
}

/* Without a delay a block is written before the next is read. */
static bool wants(const struct link *link, const struct conn_pair *pair, int from)
{
	const struct flow *flow = &pair->flows[from];

	return !flow->ended && (!flow->first || (link->delay_ns && flow->queued < DELAYED_MAX)) &&
	       !is_early(link, from);
}

static bool is_due(const struct flow *flow)
{
	return flow->first && (!flow->first->due_ns || flow->first->due_ns <= swo_now_ns());
}

/* Counts what passes to the target, and returns when it has passed the rate. */
static uint64_t count_passed(struct link *link, int from, size_t bytes)
{
	const uint64_t now = swo_now_ns();

	if (from)
		return now;
	link->passed += bytes;
	if (!link->rate)
		return now;
	link->due_ns = link->due_ns > now ? link->due_ns : now;
	link->due_ns += (uint64_t)((double)bytes * 1e9 / (double)link->rate);
	return link->due_ns;
}

/* Reads a block; false: this connection is over. May change the mode. */
static bool take_block(struct link *link, struct conn_pair *pair, int from)
{
	struct flow *flow = &pair->flows[from];
	struct block *block = malloc(sizeof(*block));

	if (!block)
		return false;
	block->next = NULL;
	block->at = block->fd_count = 0;
	block->due_ns = 0;
	ssize_t n = receive(pair->fds[from], block);

	if (n <= 0) {
		drop_fds(block);
		free(block);
		flow->ended |= n == 0;
		return !is_over(n);
	}
	block->len = (size_t)n;
	flow->carried += block->len;
	flow->queued += block->len;
	*flow->end = block;
	flow->end = &block->next;
	const uint64_t passed_ns = count_passed(link, from, block->len);

	/* What the rate alone holds back has waited before it was read. */
	if (link->delay_ns)
		block->due_ns = passed_ns + link->delay_ns;
	follow_frames(link, flow, block, pair->fds[!from]);
	/* Which may have dropped this connection. */
	if (!link->changed || link->mode != LINK_CUT)
		flip(link, pair, block);
	return true;
}

/* Moves what can be moved without waiting; false: this connection is over. */
static bool move(struct link *link, unsigned i, int from)
{
	struct conn_pair *pair = &link->pairs[i];
	struct flow *flow = &pair->flows[from];

	if (is_held(link, i, from))
		return true;
	if (wants(link, pair, from) && !take_block(link, pair, from))
		return false;
	if (link->changed)
		return true;
	while (is_due(flow)) {
		ssize_t n = send_up_to(flow, flow->first, pair->fds[!from], flow->first->len);

		if (is_over(n))
			return false;
		if (flow->first->at < flow->first->len)
			break;
		drop_first(flow);
	}
	if (flow->ended && !flow->first && !flow->shut) {
		flow->shut = true;
		shutdown(pair->fds[!from], SHUT_WR);
	}
	return !(pair->flows[0].shut && pair->flows[1].shut);
}

static short events_of(const struct link *link, unsigned i, int end)
{
	const bool reads = wants(link, &link->pairs[i], end) && !is_held(link, i, end);
	const bool writes = is_due(&link->pairs[i].flows[!end]) && !is_held(link, i, !end);

	return (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
}

/* When something is due that no descriptor reports; UINT64_MAX: never. */
static uint64_t next_due(const struct link *link)
{
	uint64_t next = is_early(link, 0) ? link->due_ns - link->ahead_ns : UINT64_MAX;

	for (unsigned i = 0; i < 2 * link->count; i++) {
		const struct block *first = link->pairs[i / 2].flows[i % 2].first;

		if (first && first->due_ns && !is_due(&link->pairs[i / 2].flows[i % 2]) &&
			first->due_ns < next)
			next = first->due_ns;
	}
	return next;
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
		const uint64_t due = next_due(link), now = swo_now_ns();
		const uint64_t wait = due > now ? due - now : 0;
		const struct timespec timeout = {
			(time_t)(wait / 1000000000), (long)(wait % 1000000000)};

		link->changed = false;
		pthread_mutex_unlock(&link->lock);
		int ready = ppoll(fds, 2 + 2 * count, due == UINT64_MAX ? NULL : &timeout, NULL);

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

void link_set_delay(struct link *link, uint64_t rtt_ns, uint64_t buffer)
{
	pthread_mutex_lock(&link->lock);
	link->delay_ns = rtt_ns / 2;
	link->ahead_ns = link->rate ? (uint64_t)((double)buffer * 1e9 / (double)link->rate) : 0;
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
