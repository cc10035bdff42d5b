/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scene.h - several fake devices of one VM, and a record of their arcs in the order in which
 * they began.
 */
#ifndef TESTS_DEVICE_CORE_SCENE_H
#define TESTS_DEVICE_CORE_SCENE_H

#include "testbed/fake_device.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <string.h>

/* Long enough for any machine: it ends a test that would hang, and decides none. */
#define GUARD_MS 10000

struct scene {
	struct fake_group group;
	size_t len;
	char text[8192]; /* "vf0:RUNNING>RUNNING_P2P " as an arc begins */
	struct swo_runstate *rs;
	struct fake_device vf[8];
	int vfs;
};

void scene_open(struct scene *scene);
/* Destroys every device and checks that no rule of the backend was broken. */
void scene_close(struct scene *scene);
/* A device of the scene that is not made yet, in place of the next; it is not closed with it. */
struct fake_device *scene_prepare(
	struct scene *scene, const char *name, uint64_t flags, enum swo_device_state state);
/* One more device, in `state`; its arcs have the guard for a deadline. */
struct fake_device *scene_add(struct scene *scene, uint64_t flags, enum swo_device_state state);
void scene_forget(struct scene *scene);
/* Compares what was recorded, and forgets it. */
void scene_expect(struct scene *scene, const char *expected);
void scene_note(struct scene *scene, const char *word);
/* Where `what` was recorded first; fails when it was not. */
size_t scene_find(struct scene *scene, const char *what);

/* Lets the deadline of what hangs, or is queued, be over soon; for as long as one wait. */
void scene_hasten(struct fake_device *fake, bool hasten);
/* What was given up has ended, and its settling is over. */
void scene_await_settled(struct fake_device *fake);

#endif
