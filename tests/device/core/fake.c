/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake.c - the scripted backend, and the scene its devices share.
 */
#include "fake.h"

#include "device/core/internal.h"

#include <errno.h>
#include <stdlib.h>

/* Every migration function: one at a time, and always by the same thread. */
static void enter(struct fake *fake)
{
	pthread_mutex_lock(&fake->scene->mutex);
	if (fake->inside++)
		fake->offences++;
	if (fake->called && !pthread_equal(fake->caller, pthread_self()))
		fake->offences++;
	fake->caller = pthread_self();
	fake->called = true;
}

static int leave(struct fake *fake, int rc)
{
	fake->inside--;
	pthread_cond_broadcast(&fake->scene->changed);
	pthread_mutex_unlock(&fake->scene->mutex);
	return rc;
}

static void hang(struct fake *fake)
{
	fake->hanging++;
	pthread_cond_broadcast(&fake->scene->changed);
	while (!fake->released)
		pthread_cond_wait(&fake->scene->changed, &fake->scene->mutex);
	fake->released = false;
	fake->hanging--;
}

static void meet(struct scene *scene)
{
	swo_deadline guard = swo_deadline_ms(GUARD_MS);

	scene->meeting.here++;
	pthread_cond_broadcast(&scene->changed);
	while (scene->meeting.here < scene->meeting.want && !scene->meeting.failed)
		if (swo_cond_wait(&scene->changed, &scene->mutex, guard))
			scene->meeting.failed = true;
}

static int gone(struct swo_error *err)
{
	return swo_error_set(err, SWO_E_PEER_LOST, 0, "nobody there");
}

static int fake_get_mig_flags(void *self, uint64_t *flags, struct swo_error *err)
{
	struct fake *fake = self;

	(void)err;
	enter(fake);
	if (fake->hang_flags)
		hang(fake);
	*flags = fake->flags;
	return leave(fake, 0);
}

static int fake_get_state(void *self, enum swo_device_state *state, struct swo_error *err)
{
	struct fake *fake = self;

	enter(fake);
	if (fake->gone)
		return leave(fake, gone(err));
	if (fake->hush_state)
		return leave(fake, swo_error_set(err, SWO_E_DEVICE, EIO, "does not say"));
	*state = fake->odd_state ? (enum swo_device_state)77 : fake->state;
	return leave(fake, 0);
}

static enum deed take_deed(struct fake *fake, enum swo_device_state to)
{
	enum deed *deed = &fake->deed[fake->state][to];
	int *times = &fake->times[fake->state][to];
	enum deed now = *deed;

	if (*times && !--*times)
		*deed = DO_PASS;
	return now;
}

/* The uapi lets a driver walk; ours must be asked for single arcs only. */
static bool is_single(const struct fake *fake, enum swo_device_state to)
{
	enum swo_device_state next;

	return !swo_device_next_state(fake->state, to, fake->flags, &next) && next == to;
}

static int do_deed(
	struct fake *fake, enum deed deed, enum swo_device_state to, struct swo_error *err)
{
	switch (deed) {
	case DO_FAIL:
		return swo_error_set(err, SWO_E_DEVICE, EBUSY, "refuses");
	case DO_FAIL_THERE:
		fake->state = to;
		return swo_error_set(err, SWO_E_DEVICE, EINTR, "was interrupted");
	case DO_BREAK:
		fake->state = SWO_DEVICE_ERROR;
		return swo_error_set(err, SWO_E_DEVICE, EIO, "broke");
	case DO_LOSE:
		fake->gone = true;
		return gone(err);
	case DO_HANG:
		hang(fake);
		break;
	case DO_MEET:
		meet(fake->scene);
		break;
	case DO_PASS:
		break;
	}
	fake->state = to;
	return 0;
}

static int fake_set_state(void *self, enum swo_device_state to, struct swo_error *err)
{
	struct fake *fake = self;
	struct scene *scene = fake->scene;
	int rc;

	enter(fake);
	if (fake->gone)
		return leave(fake, gone(err));
	scene->len += (size_t)snprintf(scene->text + scene->len, sizeof(scene->text) - scene->len,
		"%s:%s>%s ", fake->name, swo_device_state_name(fake->state),
		swo_device_state_name(to));
	if (!is_single(fake, to)) {
		fake->offences++;
		return leave(fake, swo_error_set(err, SWO_E_INVALID, EINVAL, "not a single arc"));
	}
	if (++scene->arcs_now > scene->arcs_at_once)
		scene->arcs_at_once = scene->arcs_now;
	if (fake->inside_arc) {
		pthread_mutex_unlock(&scene->mutex);
		fake->inside_arc(fake, to);
		pthread_mutex_lock(&scene->mutex);
	}
	rc = do_deed(fake, take_deed(fake, to), to, err);
	scene->arcs_now--;
	return leave(fake, rc);
}

static int fake_reset(void *self, struct swo_error *err)
{
	struct fake *fake = self;

	enter(fake);
	if (fake->gone)
		return leave(fake, gone(err));
	fake->resets++;
	scene_note(fake->scene, fake->name);
	scene_note(fake->scene, "reset ");
	if (fake->reset_way == RESET_FAILS)
		return leave(fake, swo_error_set(err, SWO_E_DEVICE, EIO, "will not be reset"));
	if (fake->reset_way == RESET_RUNS)
		fake->state = SWO_DEVICE_RUNNING;
	return leave(fake, 0);
}

static void fake_destroy(void *self)
{
	struct fake *fake = self;

	pthread_mutex_lock(&fake->scene->mutex);
	fake->destroyed = true;
	pthread_mutex_unlock(&fake->scene->mutex);
}

const struct swo_device_ops fake_ops = {
	.name = "fake",
	.get_mig_flags = fake_get_mig_flags,
	.get_state = fake_get_state,
	.set_state = fake_set_state,
	.reset = fake_reset,
	.destroy = fake_destroy,
};

/* What the library says of failures that a case brings about itself. */
static void hush(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque;
	(void)level;
	(void)text;
}

void scene_open(struct scene *scene)
{
	swo_log_set(SWO_LOG_WARN, hush, NULL);
	memset(scene, 0, sizeof(*scene));
	pthread_mutex_init(&scene->mutex, NULL);
	assert_int_equal(swo_cond_init(&scene->changed), 0);
}

void scene_close(struct scene *scene)
{
	for (int i = 0; i < scene->vfs; i++) {
		swo_device_destroy(scene->vf[i].dev);
		assert_int_equal(scene->vf[i].offences, 0);
		assert_true(scene->vf[i].destroyed);
	}
	assert_false(scene->meeting.failed);
	swo_runstate_free(scene->rs);
	pthread_cond_destroy(&scene->changed);
	pthread_mutex_destroy(&scene->mutex);
}

struct fake *scene_add(struct scene *scene, uint64_t flags, enum swo_device_state state)
{
	struct fake *fake = &scene->vf[scene->vfs];
	struct swo_device_params params = {.arc_deadline_ms = GUARD_MS};
	struct swo_error err = {0};

	fake->scene = scene;
	fake->flags = flags;
	fake->state = state;
	snprintf(fake->name, sizeof(fake->name), "vf%d", scene->vfs);
	assert_int_equal(
		swo_device_create(fake->name, &fake_ops, fake, &params, &fake->dev, &err), 0);
	scene->vfs++;
	return fake;
}

void scene_note(struct scene *scene, const char *word)
{
	scene->len += (size_t)snprintf(
		scene->text + scene->len, sizeof(scene->text) - scene->len, "%s", word);
	if (word[strlen(word) - 1] != ' ')
		scene->text[scene->len++] = ':';
	scene->text[scene->len] = 0;
}

void scene_forget(struct scene *scene)
{
	pthread_mutex_lock(&scene->mutex);
	scene->len = 0;
	scene->text[0] = 0;
	pthread_mutex_unlock(&scene->mutex);
}

void scene_expect(struct scene *scene, const char *expected)
{
	char text[sizeof(scene->text)];

	pthread_mutex_lock(&scene->mutex);
	memcpy(text, scene->text, sizeof(text));
	pthread_mutex_unlock(&scene->mutex);
	assert_string_equal(text, expected);
	scene_forget(scene);
}

size_t scene_find(struct scene *scene, const char *what)
{
	const char *at = strstr(scene->text, what);

	assert_non_null(at);
	return (size_t)(at - scene->text);
}

void fake_script(struct fake *fake, enum swo_device_state from, enum swo_device_state to,
	enum deed deed, int times)
{
	pthread_mutex_lock(&fake->scene->mutex);
	fake->deed[from][to] = deed;
	fake->times[from][to] = times;
	pthread_mutex_unlock(&fake->scene->mutex);
}

void fake_await_hang(struct fake *fake)
{
	swo_deadline guard = swo_deadline_ms(GUARD_MS);

	pthread_mutex_lock(&fake->scene->mutex);
	while (!fake->hanging)
		if (swo_cond_wait(&fake->scene->changed, &fake->scene->mutex, guard))
			break;
	int hanging = fake->hanging;
	pthread_mutex_unlock(&fake->scene->mutex);
	assert_int_equal(hanging, 1);
}

void fake_release(struct fake *fake)
{
	pthread_mutex_lock(&fake->scene->mutex);
	fake->released = true;
	pthread_cond_broadcast(&fake->scene->changed);
	pthread_mutex_unlock(&fake->scene->mutex);
}

void fake_hasten(struct fake *fake, bool hasten)
{
	pthread_mutex_lock(&fake->dev->mutex);
	fake->dev->arc_deadline_ms = hasten ? 1 : GUARD_MS;
	pthread_cond_broadcast(&fake->dev->changed);
	pthread_mutex_unlock(&fake->dev->mutex);
}

void fake_await_settled(struct fake *fake)
{
	assert_true(swo_worker_idle_wait(swo_device_worker(fake->dev), swo_deadline_ms(GUARD_MS)));
}
