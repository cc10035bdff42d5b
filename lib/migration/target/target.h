/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * target.h - the target of a migration, as its parts see it.
 */
#ifndef MIGRATION_TARGET_TARGET_H
#define MIGRATION_TARGET_TARGET_H

#include "migration/handover/handover.h"
#include "migration/hello.h"
#include "migration/internal.h"

struct target;

/*
 * One device's incoming stream: a ring of `window` bytes between the channels' readers, which
 * fill it, and the device's worker, which writes it to the device. The source never has more under
 * way than the window, so no reader ever waits and memory is bounded.
 */
struct target_device {
	struct target *target;
	unsigned index;
	struct swo_device *dev;
	const struct swo_device_ops *ops;
	void *backend;
	uint8_t *ring;
	uint64_t window;
	size_t chunk;		/* one write to the device */
	enum swo_when finalise; /* RESUMING->STOP */
	struct swo_job load_job;
	struct swo_job settled_job; /* behind the walk RESUMING->STOP on the worker */

	pthread_mutex_t mutex;
	pthread_cond_t changed; /* the worker's, and the reader's */
	/* under it */
	uint64_t next[WIRE_CHANNELS_MAX]; /* where each channel goes on; UINT64_MAX: not its own */
	uint64_t received; /* bytes of the stream, without a gap, in the ring or beyond */
	uint64_t furthest; /* the end of what has come, gaps or not */
	uint64_t consumed; /* written to the device */
	uint64_t sum;
	uint64_t initial_mark; /* where the initial data ends; UINT64_MAX: not received yet */
	bool initial_told;
	bool end_seen;
	bool whole; /* after END, nothing more can come */
	uint64_t end_offset;
	uint64_t end_sum;
	uint64_t end_generation;
	struct swo_buf config;			 /* not loaded yet */
	uint64_t config_received, config_loaded; /* generations */

	/* under the migration's mutex */
	bool loaded;	 /* all in, length and hash right */
	bool finalising; /* RESUMING->STOP was launched */
	bool settled;	 /* and is over */
	bool waited;	 /* and was waited for */
	bool finalised;	 /* with success */
	uint64_t finalise_ns;
};

/* Connections whose first frame is waited for at the same time: silent ones block no other. */
#define HANDSHAKES_MAX 16

struct target {
	struct swo_migration m; /* first */
	struct channel_listener *listener;
	pthread_t acceptor;
	bool acceptor_runs;
	pthread_mutex_t handshakes_lock; /* of their connections */
	pthread_mutex_t taking;		 /* one caller's words take effect at a time */
	struct handshake {
		struct target *target;
		pthread_t thread;
		bool runs; /* the acceptor's: the thread is to be joined */
		/* under handshakes_lock */
		struct channel_conn *conn; /* NULL: its first frame is in, or it is gone */
		uint64_t since_ns;
		bool over;
	} handshakes[HANDSHAKES_MAX];
	struct hello hello;
	struct target_device *devices;
	unsigned devices_made;
	struct data_reader {
		struct target *target;
		unsigned channel;
		pthread_t thread;
		bool runs;
		uint64_t pass;
	} readers[WIRE_CHANNELS_MAX];
	struct wire_go go;     /* what GO must carry */
	struct wire_go ticket; /* what ATTACH and ASK must carry */

	/* under the mutex */
	bool migration_hello_seen;  /* a control connection is there and its HELLO was read */
	bool migration_hello_taken; /* it fits; ATTACH may come */
	struct swo_buf machine;
	bool machine_seen, machine_loaded;
	bool end_all;
	struct wire_end end;
	struct wire_totals fins;
	unsigned fin_count;
	char text[WIRE_TEXT_MAX + 1]; /* of STARTED or REFUSED */
};

/* device.c */
int target_device_init(struct target *t, unsigned index, struct swo_error *err);
void target_device_fini(struct target_device *td);
/* Into RESUMING, all at once; then each worker loads what comes. */
int target_devices_resume(struct target *t, struct swo_error *err);
void target_devices_load(struct target *t);
/* stream.c: what a reader has for a device. */
void target_stream_init(struct target_device *td);
/* Every channel has had its last frame. */
void target_streams_over(struct target *t);
int target_device_data(struct target *t, unsigned channel,
	const struct channel_frame_header *header, struct swo_error *err);
int target_device_mark(struct target *t, unsigned channel,
	const struct channel_frame_header *header, struct swo_error *err);
int target_device_config(struct target *t, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err);
/* device.c again */
/*
 * On the migration's thread: launches RESUMING->STOP where it is due, and takes the outcome of
 * those that are over. settle does the latter for one device; whatever: even if it has to wait.
 */
int target_device_settle(struct target_device *td, bool whatever, struct swo_error *err);
/* When the first RESUMING->STOP that is under way passes its deadline. With the mutex held. */
swo_deadline target_devices_overdue(const struct target *t);
int target_devices_finalise(struct target *t, bool ram_is_in, struct swo_error *err);
/* With the mutex held: is there something for it to do? For the thread, before it sleeps. */
bool target_devices_due(const struct target *t, bool ram_is_in);
/* Wakes every worker that waits for data (after abort was set). */
void target_devices_wake(struct target *t);

/* setup.c */
/* Returns when a source has come that fits. */
int target_await_source(struct target *t, struct swo_error *err);
/* All devices to RESUMING, and the answer to HELLO. */
int target_open_sessions(struct target *t, struct swo_error *err);
/* load.c: returns when everything is in and every device has accepted. */
int target_load(struct target *t, struct swo_error *err);

/* channel.c */
void *target_data_reader(void *opaque);
/* accept.c */
void *target_acceptor(void *opaque);

#endif
