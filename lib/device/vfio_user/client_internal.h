/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client_internal.h - shared by client.c (commands and the reader role) and client_rx.c
 * (received messages): the state of a connection.
 */
#ifndef DEVICE_VFIO_USER_CLIENT_INTERNAL_H
#define DEVICE_VFIO_USER_CLIENT_INTERNAL_H

#include "device/vfio_user/client.h"
#include "device/vfio_user/service.h"

enum vfio_user_target {
	VFIO_USER_TO_HEADER,  /* a header is being read */
	VFIO_USER_TO_CALL,    /* a body, into its call's reply */
	VFIO_USER_TO_COMMAND, /* a body, of the server's command */
	VFIO_USER_TO_NOWHERE, /* a body to skip */
};

/*
 * One direction of one socket. It can stop after any byte and be continued by another thread: a
 * reader that times out leaves no half-read message behind.
 */
struct vfio_user_rx {
	int sock;
	bool replies; /* replies are allowed here */
	struct vfio_user_header header;
	size_t header_got;
	struct vfio_user_fds fds;
	enum vfio_user_target target;
	struct vfio_user_call *call;
	size_t body_got;
	uint8_t *command; /* body of a server's command; allocated for the first */
};

struct vfio_user_client {
	char name[64];
	vfio_user_dma_fn *dma;
	void *opaque;
	uint64_t command_deadline_ms;

	pthread_mutex_t send_lock; /* of `sending` only, so that waiting for it has a deadline */
	pthread_cond_t send_free;
	bool sending;		/* a message is being sent */
	pthread_mutex_t lock;	/* for everything below; never held across a blocking call */
	struct vfio_user_rx rx; /* of the main socket: owned by the thread that set `reading` */
	bool reading;
	bool armed;	   /* the service thread polls the main socket */
	bool command_here; /* rx has a complete command; the service thread owns `reading` */
	struct vfio_user_call *calls;
	uint16_t next_id;
	uint8_t owed[8192]; /* a bit per ID: timed out, its reply is outstanding */
	uint64_t started;   /* commands; read without the lock, too, as the next ones */
	uint64_t received;  /* pieces of messages that have arrived */
	bool silent;	    /* a command had no reply, and nothing was received since */
	bool choked;	    /* a message had no room, and none was sent since */
	bool dead;
	struct swo_error why;

	bool serving;		  /* the server may send commands; set once */
	struct vfio_user_rx twin; /* only the service thread's */
	struct vfio_user_watch main_watch;
	struct vfio_user_watch twin_watch;
};

enum vfio_user_rx_result {
	VFIO_USER_RX_MORE,    /* made progress; there may be more */
	VFIO_USER_RX_BLOCKED, /* no data at present */
	VFIO_USER_RX_COMMAND, /* rx has a complete command of the server: reply, then rx_reset */
	VFIO_USER_RX_FAILED,  /* the stream is lost, with *err */
};

/* Reads available data, without blocking; with client->lock held. Completes calls. */
enum vfio_user_rx_result vfio_user_rx_step(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct swo_error *err);
/* Ready for the next header. */
void vfio_user_rx_reset(struct vfio_user_rx *rx);
/* Executes a command and sends the reply; without client->lock. -1: the stream is lost. */
int vfio_user_rx_answer(
	struct vfio_user_client *client, struct vfio_user_rx *rx, struct swo_error *err);
void vfio_user_rx_free(struct vfio_user_rx *rx);

/* With the lock held: completes a call (reply, refusal or error); wakes its waiter. */
void vfio_user_call_done(struct vfio_user_client *client, struct vfio_user_call *call);
/* With the lock held: marks the connection as lost. */
void vfio_user_client_fail(struct vfio_user_client *client, const struct swo_error *err);
/* The right to send on the main socket: one message at a time. */
int vfio_user_client_begin_send(
	struct vfio_user_client *client, swo_deadline deadline, struct swo_error *err);
void vfio_user_client_end_send(struct vfio_user_client *client);

static inline bool vfio_user_owed(const struct vfio_user_client *client, uint16_t id)
{
	return client->owed[id / 8] >> (id % 8) & 1;
}

static inline void vfio_user_set_owed(struct vfio_user_client *client, uint16_t id, bool owed)
{
	uint8_t bit = (uint8_t)(1u << (id % 8));

	if (owed)
		client->owed[id / 8] |= bit;
	else
		client->owed[id / 8] &= (uint8_t)~bit;
}

#endif
