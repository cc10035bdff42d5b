/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * target.h - the target of a migration, shared by its parts.
 */
#ifndef MIGRATION_TARGET_TARGET_H
#define MIGRATION_TARGET_TARGET_H

#include "base/log.h"
#include "migration/handover/handover.h"
#include "migration/hello.h"
#include "migration/internal.h"

struct target;

/*
 * One device's incoming stream: a ring of `window` bytes between the channels' readers, which
 * fill it, and the device's worker, which writes it to the device. The source never has more
 * bytes in flight than the window, so no reader ever waits and memory is bounded.
 */
struct target_device {
	struct target *target;
	unsigned index;
	struct swo_device *dev;
	const struct swo_device_ops *ops;
	void *backend;
	uint8_t *ring;
	uint64_t window;
	bool begun;		/* a frame of data has come: the ring stays */
	size_t chunk;		/* one write to the device */
	enum swo_when finalise; /* RESUMING->STOP */
	struct swo_job load_job;
	struct swo_job settled_job; /* queued after RESUMING->STOP on the worker */

	pthread_mutex_t mutex;
	pthread_cond_t changed; /* for the worker, and for the readers */
	/* under the device's mutex */
	uint64_t next
		[WIRE_CHANNELS_MAX]; /* the next offset of each channel; UINT64_MAX: not its own */
	uint64_t received;	     /* contiguous bytes of the stream, in the ring or consumed */
	uint64_t furthest;	     /* the end of the received bytes, including gaps */
	uint64_t consumed;	     /* written to the device */
	uint64_t sum;
	uint64_t initial_mark;	 /* the end of the initial data; UINT64_MAX: not received yet */
	uint64_t initial_number; /* of the latest mark: a device may have new initial data */
	bool initial_told;
	bool end_seen;
	bool whole; /* after END: no more data */
	uint64_t end_offset;
	uint64_t end_sum;
	uint64_t end_generation;
	struct swo_buf config;			 /* received, not loaded yet */
	bool in_callback;			 /* the VMM's */
	uint64_t config_received, config_loaded; /* generations */

	/* under the migration's mutex */
	bool loaded;	 /* complete, with the right length and sum */
	bool finalising; /* RESUMING->STOP was launched */
	bool settled;	 /* it has ended */
	bool waited;	 /* it was waited for */
	bool finalised;	 /* it succeeded */
	uint64_t finalise_ns;
	uint64_t flush_ns; /* the device loads the rest since then; 0: it does not */

	/* The migration's thread. */
	bool checking; /* see target_devices_check() */
	bool walking;  /* it is being discarded */
};

/* Connections whose first frame is waited for at the same time: silent ones block no other. */
#define HANDSHAKES_MAX 16

struct target {
	struct swo_migration m; /* first */
	struct channel_listener *listener;
	pthread_t acceptor;
	bool acceptor_runs;
	pthread_mutex_t handshakes_lock; /* of their connections */
	struct base_log_rate refused;	 /* callers */
	pthread_mutex_t taking;		 /* first frames take effect one at a time */
	struct handshake {
		struct target *target;
		pthread_t thread;
		bool runs; /* used by the acceptor: the thread is to be joined */
		/* under handshakes_lock */
		struct channel_conn *conn; /* NULL: its first frame was received, or it is closed */
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
	struct wire_go go;     /* expected in GO */
	struct wire_go ticket; /* expected in ATTACH and ASK */
	atomic_bool recording; /* a step waits for its record */

	/* under the mutex */
	bool migration_hello_seen;  /* a control connection exists and its HELLO was read */
	bool migration_hello_taken; /* it is compatible; ATTACH is allowed */
	struct swo_buf machine;
	bool machine_seen, machine_loaded;
	bool end_all;
	struct wire_end end;
	struct wire_totals fins;
	unsigned fin_count;
	char text[WIRE_TEXT_MAX + 1]; /* of STARTED or REFUSED */
	bool refusal_known;	      /* the source has it, or has rolled back by itself */
	struct swo_error aborted;     /* the reason in ABORT; code NONE: not received */
};

/* device.c */
int target_device_init(struct target *t, unsigned index, struct swo_error *err);
/* Waits for the VMM's callbacks that the devices' workers are in; none begins afterwards. */
void target_devices_close(struct target *t);
/* After its last job. */
void target_device_fini(struct target_device *td);
/* Resets all that are not lost, at the same time. */
void target_devices_discard(struct target *t);
/* All devices into RESUMING, in parallel; then each worker loads the received data. */
int target_devices_resume(struct target *t, struct swo_error *err);
void target_devices_load(struct target *t);
/* stream.c: a reader's frames for a device. */
void target_stream_init(struct target_device *td);
/* Called when every channel has received its last frame. */
void target_streams_over(struct target *t);
int target_device_data(struct target *t, unsigned channel,
	const struct channel_frame_header *header, struct swo_error *err);
/* Before the device's first byte; all windows together are within link_window. */
int target_device_window(
	struct target *t, const struct channel_frame_header *header, struct swo_error *err);
int target_device_mark(struct target *t, unsigned channel,
	const struct channel_frame_header *header, struct swo_error *err);
int target_device_config(struct target *t, const struct channel_frame_header *header,
	const uint8_t *payload, struct swo_error *err);
/* device.c again */
/*
 * On the migration's thread: launches RESUMING->STOP where it is due, and collects the results
 * of those that have ended. settle does the latter for one device; whatever: even if it has to
 * wait.
 */
int target_device_settle(struct target_device *td, bool whatever, struct swo_error *err);
/* The deadline of the first RESUMING->STOP in progress. With the mutex held. */
swo_deadline target_devices_overdue(const struct target *t);
int target_devices_finalise(struct target *t, bool ram_is_in, struct swo_error *err);
/* With the mutex held: true if there is work. Checked before the thread sleeps. */
bool target_devices_due(const struct target *t, bool ram_is_in);
/* Is each device still in the state that it was left in? */
int target_devices_check(struct target *t, struct swo_error *err);
/* Wakes every worker that waits for data (after abort was set). */
void target_devices_wake(struct target *t);

/* setup.c */
/* Returns when a compatible source has connected. */
int target_await_source(struct target *t, struct swo_error *err);
/* All devices to RESUMING, and HELLO_OK. */
int target_open_sessions(struct target *t, struct swo_error *err);
/* load.c: returns when all state is loaded and every device finalised. */
int target_load(struct target *t, struct swo_error *err);

/* channel.c */
void *target_data_reader(void *opaque);
/* accept.c */
void *target_acceptor(void *opaque);

#endif
