/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.h - the client's end of one vfio-user connection: commands from any thread, their
 * replies back to the callers, and the server's own commands.
 *
 * Threads: every function may be called from any thread at any time, except open, serve and
 * close. There is no reader thread: one of the threads that wait for a reply reads for all, and
 * without one the process's service thread polls. Only that thread replies to the server's DMA
 * commands.
 *
 * The server is not trusted. Its messages can fail a command (SWO_E_DEVICE for an error reply,
 * SWO_E_PROTOCOL) or, if the stream is malformed, the connection: then every command, pending
 * or later, fails with that error. Each error names the device.
 */
#ifndef DEVICE_VFIO_USER_CLIENT_H
#define DEVICE_VFIO_USER_CLIENT_H

#include "device/vfio_user/message.h"

struct vfio_user_client;

/* The largest data in one message, in either direction: as offered in VERSION. */
#define VFIO_USER_CLIENT_DATA_MAX 1048576u
/* No server has a reason to send a longer payload. */
#define VFIO_USER_CLIENT_PAYLOAD_MAX (VFIO_USER_CLIENT_DATA_MAX + 4096u)

/* A server's access to guest memory; returns 0, or the errno for the reply. */
typedef int vfio_user_dma_fn(void *opaque, bool write, uint64_t addr, void *buf, size_t len);

/* One command. Everything it points to must stay until it is finished or cancelled. */
struct vfio_user_call {
	/* The request: filled in by the caller. */
	uint16_t command;
	const char *what; /* for errors; NULL: the command's name */
	struct iovec request[3];
	const int *fds;
	unsigned fd_count;
	swo_deadline deadline;
	bool access; /* of a region, by the guest perhaps: see vfio_user_client_lost() */
	/* The buffers for the reply's payload, in order, and its minimum length. */
	struct iovec reply[2];
	size_t reply_min;
	struct vfio_user_fds
		*reply_fds; /* NULL: received fds are closed; otherwise the caller closes them */

	/* The reply. */
	size_t reply_len;
	int refused; /* the errno of an error reply, never 0 then */

	/* private */
	struct swo_error err;
	uint64_t number;   /* later calls have larger ones */
	uint64_t received; /* the client's, when it was started */
	uint16_t id;
	bool pending; /* in the client's list */
	bool waiting; /* a thread is in finish */
	bool done;
	pthread_cond_t cond;
	struct vfio_user_call *next;
};

/*
 * Takes ownership of `sock`, also on failure. command_deadline_ms: for each reply to the server's
 * commands, and for an access once the commands before it have ended.
 */
int vfio_user_client_open(const char *name, int sock, vfio_user_dma_fn *dma, void *opaque,
	uint64_t command_deadline_ms, struct vfio_user_client **out, struct swo_error *err);
/*
 * From here on the server may send commands: on `twin` (owned, also on failure) unless it is
 * -1, and on the main socket in any case. Before that they fail the connection.
 */
int vfio_user_client_serve(struct vfio_user_client *client, int twin, struct swo_error *err);
/* No other call may be in progress; started and unfinished commands are dropped. */
void vfio_user_client_close(struct vfio_user_client *client);

/* Sends a command without a reply. `call` may be reused at once. */
int vfio_user_post(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err);
/*
 * Sends; finish collects the reply, and must be called exactly once after a successful start.
 * The memory that `request` points to may be reused when start returns; the rest not.
 */
int vfio_user_start(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err);
/*
 * SWO_E_TIMEOUT: no reply by the call's deadline; a late reply is dropped, and the connection
 * stays usable. Fds are left in reply_fds only on success.
 */
int vfio_user_finish(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err);
/* start and finish. */
int vfio_user_do(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err);

/*
 * A guest waits for a server that is slow, once for one that is lost, and then no more. A server is
 * lost when a message has found no room within its deadline, when a command had no reply within its
 * own and nothing else was received either, or by this call if it owes replies. The deadline of an
 * access begins when no earlier command is within its own any more: one thread may serve both.
 *
 * An access of a lost server fails with SWO_E_TIMEOUT at once, except a posted write for which there
 * is room. It is not lost any more once anything is received from it, or once it has made room.
 */
void vfio_user_client_lost(struct vfio_user_client *client);

const char *vfio_user_command_name(unsigned command);
const char *vfio_user_call_name(const struct vfio_user_call *call);

#endif
