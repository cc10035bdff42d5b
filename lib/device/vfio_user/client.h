/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client.h - the client's end of one vfio-user connection: commands from any
 * thread, their replies back to whoever asked, and the server's own commands.
 *
 * Threads: every function may be called from any thread at any time, but for open, serve and
 * close. There is no reader thread: of those who wait for a reply one reads for all, and when
 * nobody waits the process's service thread listens. The server's DMA commands are answered on
 * that thread only.
 *
 * The server is not trusted. What it sends can fail a command (SWO_E_DEVICE when it says so,
 * SWO_E_PROTOCOL) or, when the stream makes no sense any more, the connection: then every
 * command, waiting or to come, fails with that same error. Each error names the device.
 */
#ifndef DEVICE_VFIO_USER_CLIENT_H
#define DEVICE_VFIO_USER_CLIENT_H

#include "device/vfio_user/message.h"

struct vfio_user_client;

/* The largest data in one message, either way: what our VERSION offers. */
#define VFIO_USER_CLIENT_DATA_MAX 1048576u
/* No server has a reason to send a longer payload. */
#define VFIO_USER_CLIENT_PAYLOAD_MAX (VFIO_USER_CLIENT_DATA_MAX + 4096u)

/* A server's access to guest memory; returns 0, or the errno of the reply. */
typedef int vfio_user_dma_fn(void *opaque, bool write, uint64_t addr, void *buf, size_t len);

/* One command. All that it points to must stay until it is finished or cancelled. */
struct vfio_user_call {
	/* What is asked: filled in by the caller. */
	uint16_t command;
	const char *what; /* for errors; NULL: the command's name */
	struct iovec request[3];
	const int *fds;
	unsigned fd_count;
	swo_deadline deadline;
	/* Where the reply's payload goes, piece after piece, and how much of it must come. */
	struct iovec reply[2];
	size_t reply_min;
	struct vfio_user_fds *reply_fds; /* NULL: fds that come are closed; else close them */

	/* What came. */
	size_t reply_len;
	int refused; /* the errno of an error reply, never 0 then */

	/* private */
	struct swo_error err;
	uint16_t id;
	bool pending; /* in the client's list */
	bool waiting; /* somebody is in finish */
	bool done;
	pthread_cond_t cond;
	struct vfio_user_call *next;
};

/* Takes over `sock`, also on failure. dma_deadline_ms: for each answer to the server's commands. */
int vfio_user_client_open(const char *name, int sock, vfio_user_dma_fn *dma, void *opaque,
	uint64_t dma_deadline_ms, struct vfio_user_client **out, struct swo_error *err);
/* From here on the server may send commands: on `twin` (taken over, also on failure) unless it is
   -1, and on the main socket in any case. Before that they fail the connection. */
int vfio_user_client_serve(struct vfio_user_client *client, int twin, struct swo_error *err);
/* No other call may be under way; commands that were started and not finished are forgotten. */
void vfio_user_client_close(struct vfio_user_client *client);
const char *vfio_user_client_name(const struct vfio_user_client *client);

/* Sends a command to which no answer is wanted. `call` may be reused at once. */
int vfio_user_post(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err);
/*
 * Sends; the reply is collected by finish, which must be called exactly once after a start that
 * succeeded. What `request` points to may be reused when start returns; the rest not.
 */
int vfio_user_start(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err);
/* SWO_E_TIMEOUT: the answer did not come by the call's deadline; should it come later it is
   dropped, and the connection stays usable. Fds are left in reply_fds only on success. */
int vfio_user_finish(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err);
/* start and finish. */
int vfio_user_do(
	struct vfio_user_client *client, struct vfio_user_call *call, struct swo_error *err);

const char *vfio_user_command_name(unsigned command);
const char *vfio_user_call_name(const struct vfio_user_call *call);

#endif
