/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake.h - a scripted vfio-user server in a thread of the test: well-behaved by default, with
 * hooks for tests that need it malformed.
 */
#ifndef TESTS_DEVICE_VFIO_USER_FAKE_H
#define TESTS_DEVICE_VFIO_USER_FAKE_H

#include "device/vfio_user/message.h"
#include "switchover/device.h"

#define FAKE_BODY_MAX ((1u << 20) + 4096u)
#define FAKE_BAR_SIZE 0x10000u
#define FAKE_VECTORS  16u
#define FAKE_LOG_MAX  256u

struct fake;

/* The received message: the header, its body and fds. */
struct fake_message {
	struct vfio_user_header header;
	uint8_t *body;
	size_t len;
	struct vfio_user_fds fds;
};

/* One entry per received message, for tests that check the order and sizes. */
struct fake_log {
	uint16_t command;
	uint32_t flags;
	size_t len;
	unsigned fds;
	uint8_t head[48]; /* the body's first bytes */
};

struct fake {
	/* Set by the test before fake_start. */
	struct vfio_user_caps caps;
	const char *version_text; /* instead of caps; then without more */
	uint64_t mig_flags;	  /* 0: no migration at all */
	bool pad;		  /* MIG_DATA_READ replies are padded */
	bool has_data_size;
	bool has_dma_log;
	uint64_t log_page; /* the reply to START; 0: the requested size */
	/* true: the hook has replied itself (or no reply is wanted). */
	bool (*hook)(struct fake *fake, struct fake_message *m);
	/* Modifies a reply (header first) before it is sent; *len are the bytes sent. */
	void (*bend)(struct fake *fake, const struct fake_message *m, uint8_t *reply, size_t *len);
	/* The reply's fds; -1: none. */
	int region_fd;
	void *opaque;

	/* The device. */
	uint32_t state;
	uint8_t *data; /* read by MIG_DATA_READ */
	size_t data_len;
	size_t data_at;
	struct swo_buf written;
	uint8_t bar[FAKE_BAR_SIZE];
	uint64_t dirty_words[64]; /* the reply to REPORT; cleared by it */

	/* Where it lives. */
	char dir[64];
	char path[96];
	int listener;
	int sock;
	int twin; /* our end; -1 */
	pthread_t thread;
	pthread_mutex_t lock; /* of the log */
	struct fake_log log[FAKE_LOG_MAX];
	unsigned logged;
	uint8_t *body;
	uint8_t *reply;
};

void fake_init(struct fake *fake);
int fake_start(struct fake *fake);
/* After the client has closed. */
void fake_stop(struct fake *fake);

/* For hooks. payload NULL with len: zeros. */
void fake_reply(struct fake *fake, const struct fake_message *m, const void *payload, size_t len);
void fake_refuse(struct fake *fake, const struct fake_message *m, int error);
/* The default reply without the hook. */
void fake_handle(struct fake *fake, struct fake_message *m);
/* Raw bytes on the main socket. */
void fake_raw(struct fake *fake, const void *data, size_t len);
/* A command to the client, and its answer: 0, its errno, or -1 when there was none. The answer
   must be the next message on that socket. */
int fake_dma(struct fake *fake, int sock, bool write, uint64_t addr, void *buf, uint64_t count);
/* Any command to the client; the answer's errno as above. */
int fake_command(struct fake *fake, int sock, uint16_t command, const void *payload, size_t len,
	void *reply, size_t room);

/* Log entries of a command; the i-th. */
unsigned fake_count(struct fake *fake, uint16_t command);
struct fake_log fake_nth(struct fake *fake, uint16_t command, unsigned n);

#endif
