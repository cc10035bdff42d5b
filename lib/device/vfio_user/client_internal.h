/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client_internal.h - what client.c (commands and who reads) shares with
 * client_rx.c (what is read): the connection's inside.
 */
#ifndef DEVICE_VFIO_USER_CLIENT_INTERNAL_H
#define DEVICE_VFIO_USER_CLIENT_INTERNAL_H

#include "device/vfio_user/client.h"
#include "device/vfio_user/service.h"

enum swo_vu_target {
	SWO_VU_TO_HEADER,  /* a header is being read */
	SWO_VU_TO_CALL,	   /* a body, into its call's reply */
	SWO_VU_TO_COMMAND, /* a body, of the server's command */
	SWO_VU_TO_NOWHERE, /* a body nobody wants */
};

/*
 * One direction of one socket. It can stop after any byte and be carried on by another thread:
 * no reader that gives up leaves a half-read message behind.
 */
struct swo_vu_rx {
	int sock;
	bool replies; /* may they come here? */
	struct swo_vu_header header;
	size_t header_got;
	struct swo_vu_fds fds;
	enum swo_vu_target target;
	struct swo_vu_call *call;
	size_t body_got;
	uint8_t *command; /* body of a server's command; made with the first */
};

struct swo_vu_client {
	char name[64];
	swo_vu_dma_fn *dma;
	void *opaque;
	uint64_t dma_deadline_ms;

	pthread_mutex_t send_lock; /* of `sending` only, so that waiting for it has a deadline */
	pthread_cond_t send_free;
	bool sending;	      /* a message is going out */
	pthread_mutex_t lock; /* everything below; never held while anything blocks */
	struct swo_vu_rx rx;  /* of the main socket: owned by whoever set `reading` */
	bool reading;
	bool armed;	   /* the service listens to the main socket */
	bool command_here; /* rx holds a whole command; the service thread owns `reading` */
	struct swo_vu_call *calls;
	uint16_t next_id;
	uint8_t owed[8192]; /* a bit per id: given up, its reply is still to come */
	bool dead;	    /* read without the lock, too */
	struct swo_error why;

	bool serving;	       /* the server may send commands; set once */
	struct swo_vu_rx twin; /* only the service thread's */
	struct swo_vu_watch main_watch;
	struct swo_vu_watch twin_watch;
};

enum swo_vu_rx_result {
	SWO_VU_RX_MORE,	   /* went on; there may be more */
	SWO_VU_RX_BLOCKED, /* nothing there at the moment */
	SWO_VU_RX_COMMAND, /* rx holds a whole command of the server: answer it, then rx_reset */
	SWO_VU_RX_FAILED,  /* *err says why: the stream is lost */
};

/* Reads what is there, without blocking; client->lock must be held. Completes calls. */
enum swo_vu_rx_result swo_vu_rx_step(
	struct swo_vu_client *client, struct swo_vu_rx *rx, struct swo_error *err);
/* Ready for the next header. */
void swo_vu_rx_reset(struct swo_vu_rx *rx);
/* Carries out a command and sends the answer; without client->lock. -1: the stream is lost. */
int swo_vu_rx_answer(struct swo_vu_client *client, struct swo_vu_rx *rx, struct swo_error *err);
void swo_vu_rx_free(struct swo_vu_rx *rx);

/* With the lock held: the reply is there (or refused, or bad); wakes who waits. */
void swo_vu_call_done(struct swo_vu_client *client, struct swo_vu_call *call);
/* With the lock held: nothing will come of this connection any more. */
void swo_vu_client_fail(struct swo_vu_client *client, const struct swo_error *err);
/* The right to send on the main socket: one message at a time. */
int swo_vu_client_begin_send(
	struct swo_vu_client *client, swo_deadline deadline, struct swo_error *err);
void swo_vu_client_end_send(struct swo_vu_client *client);

static inline bool swo_vu_owed(const struct swo_vu_client *client, uint16_t id)
{
	return client->owed[id / 8] >> (id % 8) & 1;
}

static inline void swo_vu_set_owed(struct swo_vu_client *client, uint16_t id, bool owed)
{
	uint8_t bit = (uint8_t)(1u << (id % 8));

	if (owed)
		client->owed[id / 8] |= bit;
	else
		client->owed[id / 8] &= (uint8_t)~bit;
}

#endif
