/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scene.c - the scene that fake devices share.
 */
#include "scene.h"

#include "device/core/internal.h"

/* The log of failures that a case causes itself. */
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
	fake_group_init(&scene->group);
}

void scene_close(struct scene *scene)
{
	for (int i = 0; i < scene->vfs; i++) {
		swo_device_destroy(scene->vf[i].dev);
		assert_int_equal(scene->vf[i].offences, 0);
		assert_true(scene->vf[i].destroyed);
	}
	assert_false(scene->group.missed);
	swo_runstate_free(scene->rs);
	fake_group_fini(&scene->group);
}

static void append(struct scene *scene, const char *format, ...) SWO_PRINTF(2, 3);
static void append(struct scene *scene, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	scene->len += (size_t)vsnprintf(
		scene->text + scene->len, sizeof(scene->text) - scene->len, format, ap);
	va_end(ap);
	assert_true(scene->len < sizeof(scene->text));
}

static void record(struct fake_device *fake, const char *what)
{
	append(fake->opaque, "%s:%s ", fake->name, what);
}

struct fake_device *scene_prepare(
	struct scene *scene, const char *name, uint64_t flags, enum swo_device_state state)
{
	struct fake_device *fake = &scene->vf[scene->vfs];

	fake_device_init(fake, name, &scene->group);
	fake->opaque = scene;
	fake->record = record;
	fake->flags = flags;
	fake->state = state;
	return fake;
}

struct fake_device *scene_add(struct scene *scene, uint64_t flags, enum swo_device_state state)
{
	struct swo_device_params params = {
		.size = sizeof(struct swo_device_params), .arc_deadline_ms = GUARD_MS};
	char name[16];

	snprintf(name, sizeof(name), "vf%d", scene->vfs);
	struct fake_device *fake = scene_prepare(scene, name, flags, state);

	assert_int_equal(
		swo_device_create(name, &fake_device_ops, fake, &params, &fake->dev, NULL), 0);
	scene->vfs++;
	return fake;
}

void scene_note(struct scene *scene, const char *word)
{
	append(scene, word[strlen(word) - 1] == ' ' ? "%s" : "%s:", word);
}

void scene_forget(struct scene *scene)
{
	pthread_mutex_lock(&scene->group.mutex);
	scene->len = 0;
	scene->text[0] = 0;
	pthread_mutex_unlock(&scene->group.mutex);
}

void scene_expect(struct scene *scene, const char *expected)
{
	char text[sizeof(scene->text)];

	pthread_mutex_lock(&scene->group.mutex);
	memcpy(text, scene->text, sizeof(text));
	pthread_mutex_unlock(&scene->group.mutex);
	assert_string_equal(text, expected);
	scene_forget(scene);
}

size_t scene_find(struct scene *scene, const char *what)
{
	const char *at = strstr(scene->text, what);

	assert_non_null(at);
	return (size_t)(at - scene->text);
}

void scene_hasten(struct fake_device *fake, bool hasten)
{
	pthread_mutex_lock(&fake->dev->mutex);
	fake->dev->arc_deadline_ms = hasten ? 1 : GUARD_MS;
	pthread_cond_broadcast(&fake->dev->changed);
	pthread_mutex_unlock(&fake->dev->mutex);
}

void scene_await_settled(struct fake_device *fake)
{
	assert_true(swo_worker_idle_wait(swo_device_worker(fake->dev), swo_deadline_ms(GUARD_MS)));
}
