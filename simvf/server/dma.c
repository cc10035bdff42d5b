/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma.c - the device's access to guest memory and to its siblings: mapped where the client
 * passed an fd, by DMA_READ and DMA_WRITE messages otherwise.
 */
#include "server.h"

#include "base/poll.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE	    4096u
#define ANSWER_MS   2000 /* timeout for the reply to a DMA message */
#define KNOWN_FLAGS 15u	 /* READ, WRITE, and two that a client may set and that need nothing */

/* A client may truncate the file under a map: then the access fails, not the process. */
static volatile sig_atomic_t copying;
static sigjmp_buf copy_failed;

static void on_bus_error(int signo)
{
	if (copying) {
		sigset_t this;

		/* not sigsetjmp, which costs a system call for each copy */
		sigemptyset(&this);
		sigaddset(&this, signo);
		sigprocmask(SIG_UNBLOCK, &this, NULL);
		siglongjmp(copy_failed, 1);
	}
	signal(signo, SIG_DFL);
	raise(signo);
}

static void catch_bus_errors(void)
{
	struct sigaction action = {.sa_handler = on_bus_error};

	sigaction(SIGBUS, &action, NULL);
}

static int copy(void *to, const void *from, size_t len)
{
	if (sigsetjmp(copy_failed, 0)) {
		copying = 0;
		return -EFAULT;
	}
	copying = 1;
	memcpy(to, from, len);
	copying = 0;
	return 0;
}

static int store(void *to, uint64_t value)
{
	if (sigsetjmp(copy_failed, 0)) {
		copying = 0;
		return -EFAULT;
	}
	copying = 1;
	__atomic_store_n((uint64_t *)to, value, __ATOMIC_RELEASE);
	copying = 0;
	return 0;
}

static bool is_at(const struct srv_map *map, uint64_t addr)
{
	return addr >= map->iova && addr - map->iova < map->size;
}

/* Successive accesses usually use the same map. */
static struct srv_map *find(struct srv *s, uint64_t addr)
{
	if (s->map_last < s->map_count && is_at(&s->maps[s->map_last], addr))
		return &s->maps[s->map_last];
	for (unsigned i = 0; i < s->map_count; i++)
		if (is_at(&s->maps[i], addr)) {
			s->map_last = i;
			return &s->maps[i];
		}
	return NULL;
}

/* DMA by messages */

/* -EIO is kept for a stream that may be lost. */
static int error_of(const struct vfio_user_header *reply)
{
	return reply->flags & VFIO_USER_ERROR ? -EFAULT : 0;
}

/* Sends the rest of a reply: nothing else may be sent in the middle of it. */
static int finish_reply(struct srv *s)
{
	swo_deadline deadline = swo_deadline_ms(ANSWER_MS);

	while (srv_conn_sending(&s->conn)) {
		if (base_wait_fd(s->conn.fd, POLLOUT, deadline, NULL) == ETIMEDOUT)
			return -EIO;
		srv_conn_flush(s);
	}
	return s->conn.doomed ? -EIO : 0;
}

/*
 * A client may hold what its answer to a DMA message needs while it waits for the reply to a
 * command: QEMU holds its big lock during an access to a region. So commands are executed
 * meanwhile, except those that change the device's state, and those behind them.
 */
static bool may_go_first(const struct srv *s, const struct srv_message *m)
{
	switch (m->header.command) {
	case VFIO_USER_VERSION:
	case VFIO_USER_RESET:
	case VFIO_USER_DEVICE_FEATURE:
	case VFIO_USER_MIG_DATA_READ:
	case VFIO_USER_MIG_DATA_WRITE:
		return false;
	default:
		return !s->conn.deferred && s->op.kind == SRV_OP_NONE;
	}
}

/* The reply of the command that the DMA belongs to may be half made: it is put aside. */
static int go_first(struct srv *s, struct srv_message *m)
{
	struct srv_conn *c = &s->conn;
	uint8_t *reply = c->reply;
	size_t room = c->reply_room;
	int rc;

	c->reply = NULL;
	c->reply_room = 0;
	srv_command(s, m, swo_now_ns());
	rc = finish_reply(s);
	if (s->op.kind != SRV_OP_NONE) /* nothing takes time while the device moves data */
		rc = -EIO;
	free(c->reply);
	c->reply = reply;
	c->reply_room = room;
	return rc;
}

/* What arrives on the main socket meanwhile; *reply is the caller's, or NULL. */
static int take_main(struct srv *s, struct srv_message **reply)
{
	struct srv_conn *c = &s->conn;
	struct srv_message *m;
	int rc = srv_conn_receive(s, &m);

	*reply = NULL;
	if (rc <= 0)
		return rc ? -EIO : 0;
	if (vfio_user_is_reply(&m->header)) {
		*reply = m;
		return 0;
	}
	if (may_go_first(s, m))
		return go_first(s, m);
	*c->deferred_end = m;
	c->deferred_end = &m->next;
	c->deferred_count++;
	return 0;
}

/* A reply that comes later than its request waits is dropped when it comes. */
static int await(struct srv *s, uint16_t id, uint8_t *buf, size_t room, size_t *len)
{
	swo_deadline deadline = swo_deadline_ms(ANSWER_MS);
	struct srv_conn *c = &s->conn;
	struct pollfd fds[] = {{.fd = c->fd, .events = POLLIN}, {.fd = c->twin, .events = POLLIN}};

	while (!swo_deadline_passed(deadline) && c->deferred_count < SRV_DEFERRED) {
		struct vfio_user_header header = {0};
		struct srv_message *m;
		int rc = take_main(s, &m);

		if (rc)
			return rc;
		if (m) {
			header = m->header;
			memcpy(buf, m->body, m->len < room ? m->len : room);
			srv_message_free(m);
		} else {
			base_poll(fds, 2, deadline);
			if (fds[1].revents &&
				vfio_user_recv(c->twin, &header, buf, room, NULL, deadline, NULL))
				return -EIO;
		}
		if (vfio_user_is_reply(&header) && header.id == id) {
			*len = vfio_user_payload(&header);
			return error_of(&header);
		}
	}
	return -ETIMEDOUT;
}

/* At most a page, and what the client accepts; *done of `len` bytes. */
static int by_message(
	struct srv *s, uint64_t addr, uint8_t *data, size_t len, bool write, size_t *done)
{
	struct srv_conn *c = &s->conn;
	uint8_t answer[sizeof(struct vfio_user_dma_access) + PAGE];
	struct vfio_user_dma_access access = {.address = addr};
	struct vfio_user_header header;
	size_t got = 0;
	int rc;

	if (c->fd < 0 || c->doomed || !c->peer.max_data_xfer || finish_reply(s))
		return -EIO;
	len = len < PAGE ? len : PAGE;
	len = len < c->peer.max_data_xfer ? len : (size_t)c->peer.max_data_xfer;
	access.count = len;
	header = vfio_user_command_header(c->next_id++,
		write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ,
		sizeof(access) + (write ? len : 0), false);
	const struct iovec pieces[] = {
		{&header, sizeof(header)}, {&access, sizeof(access)}, {data, len}};

	c->awaiting = true;
	if (vfio_user_send(c->twin >= 0 ? c->twin : c->fd, pieces, write ? 3 : 2, NULL, 0,
		    swo_deadline_ms(ANSWER_MS), NULL, NULL))
		rc = -EIO;
	else
		rc = await(s, header.id, answer, sizeof(answer), &got);
	c->awaiting = false;
	if (rc == -EIO)
		c->doomed = true; /* the stream may be lost */
	if (!rc && !write) {
		if (got != sizeof(access) + len)
			return -EFAULT;
		memcpy(data, answer + sizeof(access), len);
	}
	*done = len;
	return rc;
}

/* Called by the device */

static int dma(struct srv *s, uint64_t addr, uint8_t *data, size_t len, bool write)
{
	while (len) {
		struct srv_map *map = find(s, addr);
		uint64_t in;
		size_t n;
		int rc;

		if (!map ||
			!(map->prot & (write ? VFIO_USER_DMA_PROT_WRITE : VFIO_USER_DMA_PROT_READ)))
			return -EFAULT;
		in = addr - map->iova;
		n = len < map->size - in ? len : (size_t)(map->size - in);
		if (!map->host)
			rc = by_message(s, addr, data, n, write, &n);
		else if (write)
			rc = copy(map->host + in, data, n);
		else
			rc = copy(data, map->host + in, n);
		if (rc)
			return rc;
		addr += n;
		data += n;
		len -= n;
	}
	return 0;
}

static int dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	return dma(opaque, addr, buf, len, false);
}

static int dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	return dma(opaque, addr, (uint8_t *)(uintptr_t)buf, len, true);
}

/*
 * One store, which a sibling sees whole. By message where the client has passed no descriptor
 * of the sibling's BAR; a sibling with a single thread serves that while it waits itself.
 */
static int p2p_write(void *opaque, uint64_t addr, uint64_t value)
{
	struct srv *s = opaque;
	struct srv_map *map = find(s, addr);
	size_t done;

	if (!map || !(map->prot & VFIO_USER_DMA_PROT_WRITE) || addr % 8 ||
		map->size - (addr - map->iova) < 8)
		return -EFAULT;
	if (!map->host)
		return by_message(s, addr, (uint8_t *)&value, sizeof(value), true, &done);
	return store(map->host + (addr - map->iova), value);
}

static bool irq(void *opaque, unsigned vector)
{
	return srv_irq_raise(opaque, vector);
}

static void event(void *opaque, enum svf_event what)
{
	struct srv *s = opaque;

	if (what == SVF_EVENT_DIE)
		_exit(3);
	if (what == SVF_EVENT_RESET) {
		svf_reset(s->dev, swo_now_ns());
		return;
	}
	s->conn.doomed = s->conn.cut = true;
	s->conn.out_len = s->conn.out_pos = 0;
}

static uint64_t reserve(void *opaque, enum svf_lane lane, uint64_t earliest, uint64_t duration)
{
	struct srv *s = opaque;

	if (!s->pf)
		return earliest + duration;
	return srv_pf_reserve(s->pf, lane, earliest, duration);
}

const struct svf_ops srv_device_ops = {
	.dma_read = dma_read,
	.dma_write = dma_write,
	.p2p_write = p2p_write,
	.irq = irq,
	.event = event,
	.reserve = reserve,
};

/* DMA_MAP and DMA_UNMAP */

static void unmap(struct srv *s, unsigned i)
{
	if (s->maps[i].host)
		munmap(s->maps[i].host, s->maps[i].size);
	s->maps[i] = s->maps[--s->map_count];
	s->map_last = 0;
}

void srv_dma_drop(struct srv *s)
{
	while (s->map_count)
		unmap(s, s->map_count - 1);
}

/* Which file it is, if the client has passed one. */
static int identify(struct srv_map *map, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode) && (map->offset > (uint64_t)st.st_size ||
					   map->size > (uint64_t)st.st_size - map->offset))
		return -EINVAL;
	map->dev = st.st_dev;
	map->ino = st.st_ino;
	return 0;
}

static int map_fd(struct srv_map *map, int fd)
{
	int prot = (map->prot & VFIO_USER_DMA_PROT_READ ? PROT_READ : 0) |
		   (map->prot & VFIO_USER_DMA_PROT_WRITE ? PROT_READ | PROT_WRITE : 0);
	void *host = mmap(NULL, map->size, prot, MAP_SHARED, fd, (off_t)map->offset);

	if (host == MAP_FAILED)
		return -errno;
	map->host = host;
	return 0;
}

/* 1: the same map of the same file exists already; 0: free. */
static int overlap(const struct srv *s, const struct srv_map *map)
{
	for (unsigned i = 0; i < s->map_count; i++) {
		const struct srv_map *old = &s->maps[i];

		if (old->iova == map->iova && old->size == map->size && old->prot == map->prot &&
			old->dev == map->dev && old->ino == map->ino && old->offset == map->offset)
			return 1;
		if (map->iova < old->iova + old->size && old->iova < map->iova + map->size)
			return -EEXIST;
	}
	return 0;
}

int srv_dma_map(struct srv *s, struct srv_message *m)
{
	struct vfio_user_dma_map request;
	struct srv_map map;
	int rc;

	if (m->len < sizeof(request))
		return -EINVAL;
	memcpy(&request, m->body, sizeof(request));
	map = (struct srv_map){
		.iova = request.address, .size = request.size, .prot = request.flags & 3};
	if (m->fds.count)
		map.offset = request.offset;
	if (request.argsz < sizeof(request) || (request.flags & ~KNOWN_FLAGS) || !map.size ||
		map.iova % PAGE || map.size % PAGE || map.iova + map.size < map.iova ||
		request.offset % PAGE || request.offset > INT64_MAX || m->fds.count > 1)
		return -EINVAL;
	rc = m->fds.count ? identify(&map, m->fds.fd[0]) : 0;
	if (!rc)
		rc = overlap(s, &map);
	if (rc)
		return rc < 0 ? rc : 0;
	if (s->map_count == s->map_room) {
		unsigned room = s->map_room ? 2 * s->map_room : 16;
		struct srv_map *more;

		if (s->map_count >= SRV_MAPS_MAX)
			return -ENOSPC;
		more = realloc(s->maps, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		s->maps = more;
		s->map_room = room;
	}
	catch_bus_errors();
	rc = m->fds.count ? map_fd(&map, m->fds.fd[0]) : 0;
	if (rc)
		return rc;
	s->maps[s->map_count++] = map;
	return 0;
}

#define UNMAP_ALL 2u

int srv_dma_unmap(struct srv *s, const struct srv_message *m)
{
	struct vfio_user_dma_unmap request;

	if (m->len < sizeof(request))
		return -EINVAL;
	memcpy(&request, m->body, sizeof(request));
	if (request.argsz < sizeof(request) || (request.flags & ~UNMAP_ALL))
		return -EINVAL;
	memcpy(srv_reply_room(&s->conn, sizeof(request)), &request, sizeof(request));
	if (request.flags & UNMAP_ALL) {
		if (request.address || request.size)
			return -EINVAL;
		srv_dma_drop(s);
		return sizeof(request);
	}
	for (unsigned i = 0; i < s->map_count; i++)
		if (s->maps[i].iova == request.address && s->maps[i].size == request.size) {
			unmap(s, i);
			return sizeof(request);
		}
	return -ENOENT;
}
