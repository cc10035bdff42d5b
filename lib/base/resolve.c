/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * resolve.c - the addresses of a URI. A name is looked up on a thread of its own: getaddrinfo(3) has
 * neither a deadline nor a cancel, and a name server that does not answer holds it for 10 s and more.
 */
#include "base/net.h"
#include "base/poll.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Lookups that were left behind end by themselves; there are never more than this many. */
#define ASK_MS	    50 /* between two questions whether it is cancelled */
#define LOOKUPS_MAX 16

static atomic_uint lookups;

/* What the thread owns. It shares no memory with the waiter, so that either may end first. */
struct question {
	struct base_uri uri;
	bool passive;
	int fd; /* where the answer goes */
};

struct answer {
	int rc;
	int count;
	struct base_address addresses[BASE_ADDRESSES_MAX];
};

static void look_up(const struct base_uri *uri, bool passive, int flags, struct answer *out)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = flags | AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
	struct addrinfo *list = NULL;

	memset(out, 0, sizeof(*out));
	out->rc = getaddrinfo(uri->host[0] ? uri->host : NULL, uri->port, &hints, &list);
	if (out->rc)
		return;
	for (const struct addrinfo *ai = list; ai && out->count < BASE_ADDRESSES_MAX;
		ai = ai->ai_next)
		if (ai->ai_addrlen <= sizeof(out->addresses[0].in6)) {
			memcpy(&out->addresses[out->count].any, ai->ai_addr, ai->ai_addrlen);
			out->addresses[out->count++].len = ai->ai_addrlen;
		}
	freeaddrinfo(list);
}

static void *run_lookup(void *opaque)
{
	struct question *question = opaque;
	struct answer answer;

	look_up(&question->uri, question->passive, 0, &answer);
	/* The count first: a waiter that has its answer may start the next one. */
	atomic_fetch_sub(&lookups, 1);
	/* Fails if it was left behind. */
	(void)!send(question->fd, &answer, sizeof(answer), MSG_NOSIGNAL);
	close(question->fd);
	free(question);
	return NULL;
}

/* The descriptor on which the answer comes, or -1. */
static int start_lookup(const struct base_uri *uri, bool passive, struct swo_error *err)
{
	struct question *question = calloc(1, sizeof(*question));
	pthread_t thread;
	int ends[2];

	if (!question || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		swo_error_set(
			err, SWO_E_NO_MEMORY, errno, "cannot resolve the host '%s'", uri->host);
		free(question);
		return -1;
	}
	*question = (struct question){.uri = *uri, .passive = passive, .fd = ends[1]};
	if (atomic_fetch_add(&lookups, 1) >= LOOKUPS_MAX)
		swo_error_set(err, SWO_E_TIMEOUT, 0,
			"cannot resolve the host '%s': %d earlier lookups wait for a name server; "
			"give the address instead of the name",
			uri->host, LOOKUPS_MAX);
	else if (!swo_thread_start(&thread, "swo-resolve", run_lookup, question, err)) {
		pthread_detach(thread);
		return ends[0];
	}
	atomic_fetch_sub(&lookups, 1);
	close(ends[0]);
	close(ends[1]);
	free(question);
	return -1;
}

static int await_answer(int fd, swo_deadline deadline, const struct base_cancel *cancel)
{
	int rc = ETIMEDOUT;

	if (!cancel || !cancel->asked)
		return base_wait_fd(fd, POLLIN, deadline, cancel ? cancel->interrupt : NULL);
	while (rc == ETIMEDOUT && !swo_deadline_passed(deadline)) {
		if (cancel->asked(cancel->opaque))
			return ECANCELED;
		rc = base_wait_fd(fd, POLLIN, swo_deadline_min(deadline, swo_deadline_ms(ASK_MS)),
			cancel->interrupt);
	}
	return rc;
}

static int await_lookup(const struct base_uri *uri, int fd, swo_deadline deadline,
	struct base_cancel *cancel, struct answer *out, struct swo_error *err)
{
	int rc = base_cancel_arm(cancel, fd) ? await_answer(fd, deadline, cancel) : ECANCELED;

	if (!base_cancel_disarm(cancel) || rc == ECANCELED)
		return swo_error_set(err, SWO_E_CANCELLED, 0,
			"resolving the host '%s' was cancelled", uri->host);
	if (rc == ETIMEDOUT)
		return swo_error_set(err, SWO_E_TIMEOUT, 0,
			"timed out resolving the host '%s': no name server has answered",
			uri->host);
	if (rc || recv(fd, out, sizeof(*out), MSG_DONTWAIT) != sizeof(*out))
		return swo_error_set(err, SWO_E_IO, rc, "cannot resolve the host '%s'", uri->host);
	return 0;
}

int base_resolve(const struct base_uri *uri, bool passive, swo_deadline deadline,
	struct base_cancel *cancel, struct base_address out[BASE_ADDRESSES_MAX],
	struct swo_error *err)
{
	struct answer answer;

	if (uri->is_unix)
		return base_unix_address(uri->path, out, err) ? -1 : 1;
	look_up(uri, passive, AI_NUMERICHOST, &answer);
	if (answer.rc) {
		swo_autofd int fd = start_lookup(uri, passive, err);

		if (fd < 0 || await_lookup(uri, fd, deadline, cancel, &answer, err))
			return -1;
	}
	if (answer.rc)
		return swo_error_set(err, SWO_E_INVALID, 0, "cannot resolve the host '%s': %s",
			uri->host, gai_strerror(answer.rc));
	if (!answer.count)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "the host '%s' has no address", uri->host);
	memcpy(out, answer.addresses, sizeof(answer.addresses));
	return answer.count;
}
