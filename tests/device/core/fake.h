/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake.h - a backend in this process whose arcs do what a test's script says:
 * pass, fail, hang until released, or meet those of other devices.
 */
#ifndef TESTS_DEVICE_CORE_FAKE_H
#define TESTS_DEVICE_CORE_FAKE_H

#include "switchover/device.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <string.h>

/* Long enough for any machine: it ends a test that would hang, and decides none. */
#define GUARD_MS 10000

#define ALL_FLAGS (SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY)

/* What an arc does. */
enum deed {
	DO_PASS,
	DO_FAIL,       /* and stay */
	DO_FAIL_THERE, /* says so, but has gone there all the same */
	DO_BREAK,      /* fail into ERROR */
	DO_HANG,       /* until fake_release, then pass */
	DO_MEET,       /* wait until `meeting` devices are inside an arc, then pass */
	DO_LOSE,       /* the backend is gone from now on */
};

/* Where devices meet: proves that their arcs overlap. */
struct meeting {
	int want;
	int here;
	bool failed; /* the guard ended it */
};

enum reset_way { RESET_RUNS, RESET_KEEPS, RESET_FAILS };

struct scene; /* what several devices share: one mutex, one record */

struct fake {
	struct scene *scene;
	char name[16];
	uint64_t flags;
	enum swo_device_state state;
	enum deed deed[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	int times[SWO_DEVICE_STATES][SWO_DEVICE_STATES]; /* how often; 0: always */
	enum reset_way reset_way;
	bool hush_state; /* get_state fails */
	bool odd_state;	 /* get_state answers nonsense */
	bool hang_flags; /* get_mig_flags hangs */
	bool gone;
	bool released;
	int hanging;
	int resets;
	int inside; /* calls at this moment: more than one is an offence */
	int offences;
	pthread_t caller;
	bool called;
	bool destroyed;
	void (*inside_arc)(struct fake *fake, enum swo_device_state to); /* unlocked */
	struct swo_device *dev;
};

struct scene {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	struct meeting meeting;
	int arcs_now;
	int arcs_at_once; /* the most there ever were */
	size_t len;
	char text[8192]; /* "vf0:RUNNING>RUNNING_P2P " as an arc begins */
	struct swo_runstate *rs;
	struct fake vf[8];
	int vfs;
};

void scene_open(struct scene *scene);
/* Destroys every device and checks that no rule of the backend was broken. */
void scene_close(struct scene *scene);
/* One more device, in `state`; its arcs have the guard for a deadline. */
struct fake *scene_add(struct scene *scene, uint64_t flags, enum swo_device_state state);
void scene_forget(struct scene *scene);
/* Compares what was recorded, and forgets it. */
void scene_expect(struct scene *scene, const char *expected);
void scene_note(struct scene *scene, const char *word);
/* Where `what` was recorded first; fails when it was not. */
size_t scene_find(struct scene *scene, const char *what);

void fake_script(struct fake *fake, enum swo_device_state from, enum swo_device_state to,
	enum deed deed, int times);
/* Waits until something of this device hangs. */
void fake_await_hang(struct fake *fake);
void fake_release(struct fake *fake);
/* Lets the deadline of what hangs, or is queued, be over soon; for as long as one wait. */
void fake_hasten(struct fake *fake, bool hasten);
/* What was given up has ended, and its settling is over. */
void fake_await_settled(struct fake *fake);

extern const struct swo_device_ops fake_ops;

#endif
