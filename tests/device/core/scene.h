/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scene.h - several fake devices of one VM, and a record of their arcs in the order of their
 * starts.
 */
#ifndef TESTS_DEVICE_CORE_SCENE_H
#define TESTS_DEVICE_CORE_SCENE_H

#include "testbed/fake_device.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <string.h>

/* Long enough for any machine: it only ends a test that hangs. */
#define GUARD_MS 10000

struct scene {
	struct fake_group group;
	size_t len;
	char text[8192]; /* "vf0:RUNNING>RUNNING_P2P " for each start of an arc */
	struct swo_runstate *rs;
	struct fake_device vf[8];
	int vfs;
};

void scene_open(struct scene *scene);
/* Destroys every device and checks that no rule of the backend was broken. */
void scene_close(struct scene *scene);
/* Replaces the next device by one that the scene does not create; the scene does not close it. */
struct fake_device *scene_prepare(
	struct scene *scene, const char *name, uint64_t flags, enum swo_device_state state);
/* Adds a device in `state`; its arcs have the guard as deadline. */
struct fake_device *scene_add(struct scene *scene, uint64_t flags, enum swo_device_state state);
void scene_forget(struct scene *scene);
/* Compares the record, and clears it. */
void scene_expect(struct scene *scene, const char *expected);
void scene_note(struct scene *scene, const char *word);
/* The position of `what` in the record; fails if there is none. */
size_t scene_find(struct scene *scene, const char *what);

/* Makes the deadline of a hung or queued call expire soon; for one wait. */
void scene_hasten(struct fake_device *fake, bool hasten);
/* Waits until an abandoned call has ended and the device has been handled. */
void scene_await_settled(struct fake_device *fake);

#endif
