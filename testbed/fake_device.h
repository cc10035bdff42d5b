/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_device.h - a device in this process behind `struct swo_device_ops`: its arcs
 * follow a script (pass, fail, break, hang, meet those of other devices), its state is bytes,
 * its DMA log and maps are kept to be looked at. As strict as a driver: single arcs of the uAPI
 * only, data in the states that have a session, one call at a time on one thread. What breaks a
 * rule is an offence, counted, for the test's end to look at.
 */
#ifndef TESTBED_FAKE_DEVICE_H
#define TESTBED_FAKE_DEVICE_H

#include "switchover/device.h"

#include <pthread.h>
#include <stdatomic.h>

#define FAKE_GUARD_MS	30000 /* ends a test that would hang; decides none */
#define FAKE_FLAGS_ALL	(SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY)
#define FAKE_MAPS_MAX	64
#define FAKE_RANGES_MAX 16

/* What an arc does. */
enum fake_deed {
	FAKE_PASS,
	FAKE_FAIL,	 /* and stay */
	FAKE_FAIL_THERE, /* return an error, but change the state all the same */
	FAKE_BREAK,	 /* fail into ERROR */
	FAKE_HANG,	 /* until fake_release, then pass */
	FAKE_MEET,	 /* wait until group->want devices are inside an arc, then pass */
	FAKE_LOSE,	 /* the backend is lost from now on */
};

/* A call of the backend. */
enum fake_call {
	FAKE_CALL_NONE,
	FAKE_CALL_STATE,
	FAKE_CALL_READ,
	FAKE_CALL_WRITE,
	FAKE_CALL_SIZE,
	FAKE_CALL_INFO,
	FAKE_CALL_RESET,
	FAKE_CALL_LOG_START,
	FAKE_CALL_LOG_STOP,
	FAKE_CALL_LOG_REPORT,
};

enum fake_reset {
	FAKE_RESET_RUNS,
	FAKE_RESET_KEEPS,	/* the migration state, as libvfio-user does */
	FAKE_RESET_NOT_STOPPED, /* refused in STOP and STOP_COPY, as libvfio-user does */
	FAKE_RESET_FAILS,
	FAKE_RESET_UNSUPPORTED,
};

/* What devices that are looked at together share. */
struct fake_group {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int want, here; /* FAKE_MEET: proves that arcs overlap */
	bool missed;	/* the guard ended it */
	int arcs_now, arcs_at_once;
};

struct fake_map {
	uint64_t iova, size, offset;
	int fd;
};

struct fake_device {
	char name[16];
	struct swo_device *dev; /* the test's to make */
	void *opaque;		/* the test's own */
	struct fake_group *group, own;
	uint64_t flags;
	enum swo_device_state
		state; /* under the group's mutex, like everything not marked otherwise */

	/* -- the script -- */
	struct fake_script {
		enum fake_deed deed;
		int times; /* how often, then FAKE_PASS; 0: always */
	} script[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	enum fake_reset reset;
	bool reset_meets; /* a reset waits for those of the group's other devices */
	bool mute_state;  /* get_state fails */
	bool odd_state;	  /* get_state answers nonsense */
	bool hang_flags;  /* get_mig_flags hangs */
	/* The next such call, in this state (ERROR: any), hangs until fake_release, then passes. */
	enum fake_call hang_in;
	enum swo_device_state hang_at;
	enum fake_call lose_in; /* the next such read or write loses the backend */
	bool gone;
	bool released;
	int hanging;
	/* As an arc begins, before it is judged: unlocked. And each call, under the mutex. */
	void (*inside_arc)(struct fake_device *fake, enum swo_device_state to);
	void (*record)(struct fake_device *fake, const char *what);

	/* -- state as bytes: the worker's, not under the mutex -- */
	size_t size;
	size_t precopy; /* bytes of it that may go in PRE_COPY; 0: half of it */
	/*
	 * What changes after that: increment n is saved, as drivers do, by the n-th call of
	 * precopy_info in PRE_COPY that finds everything read, the rest when the device stops. Each
	 * is the last bytes of `precopy` again. Both sides.
	 */
	const size_t *increments;
	unsigned increment_count, increments_saved;
	unsigned reinit_at;	 /* this increment, from 1 on, is new initial data; 0: none */
	bool reinit_stopped;	 /* it reports new initial data once its vCPUs have stopped */
	bool no_info;		 /* no precopy_info, as a vfio-user server */
	bool no_size;		 /* no data_size */
	bool fail_size;		 /* data_size fails */
	unsigned info_calls;	 /* of precopy_info */
	size_t chunk;		 /* of a read or write */
	bool owns_state;	 /* by fake_device_give_state */
	const uint8_t *saved;	 /* what is read */
	uint8_t *loaded;	 /* what was written */
	const uint8_t *expected; /* what must have been written, or it is refused; NULL: anything */
	size_t read_at, loaded_len, initial_end;
	const void *asked[SWO_READS_AHEAD]; /* oldest first; NULL: none */
	size_t fail_read_at;		    /* a read fails from this byte on; 0: never */
	size_t fail_write_at;		    /* likewise a write */
	size_t hang_write_at; /* the write that reaches this byte hangs until fake_release; 0: none */
	bool churns;	      /* in PRE_COPY all of it changes faster than it is read; both sides */
	bool refuse;	      /* RESUMING->STOP fails */
	bool loaded_ok;	      /* it found the whole */

	/* -- the DMA log and maps -- */
	bool log_on, fail_log_start, fail_log_report;
	uint64_t
		log_page; /* the page size it selects; 0: the requested one. After start: that of the log */
	struct swo_dma_range log_ranges[FAKE_RANGES_MAX];
	size_t log_range_count;
	const uint64_t *written; /* addresses, which every report has; NULL: none */
	size_t written_count;
	struct fake_map maps[FAKE_MAPS_MAX];
	unsigned map_count, map_calls, unmap_calls;

	/* -- what was done to it -- */
	int resets;
	atomic_int told_lost;
	int inside; /* calls at this moment: more than one is an offence */
	pthread_t caller;
	bool called;
	atomic_int offences;
	bool destroyed;
};

/* All of the functions but those of regions and interrupts. */
extern const struct swo_device_ops fake_device_ops;

void fake_group_init(struct fake_group *group);
void fake_group_fini(struct fake_group *group);

/* In RUNNING, with all flags and no state. `group` NULL: by itself. */
void fake_device_init(struct fake_device *fake, const char *name, struct fake_group *group);
/* After the device is destroyed. */
void fake_device_fini(struct fake_device *fake);
/* Memory for so much state, made of `seed`; what is loaded must be of the same. fini frees it.
   False: no memory. */
bool fake_device_give_state(struct fake_device *fake, size_t size, uint8_t seed);

enum swo_device_state fake_state(struct fake_device *fake);
void fake_script(struct fake_device *fake, enum swo_device_state from, enum swo_device_state to,
	enum fake_deed deed, int times);
/* Waits until something of this device hangs; false: it did not. */
bool fake_await_hang(struct fake_device *fake);
void fake_release(struct fake_device *fake);
bool fake_has_map(struct fake_device *fake, uint64_t iova, uint64_t size, int fd);

#endif
