/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * version.c - the VERSION payload: two numbers and a JSON text, built and parsed. The input is
 * not trusted.
 */
#include "device/vfio_user/message.h"

#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* No valid text is longer; jansson limits the nesting. */
#define TEXT_MAX 16384

void vfio_user_caps_init(struct vfio_user_caps *caps)
{
	*caps = (struct vfio_user_caps){
		.major = VFIO_USER_MAJOR,
		.minor = VFIO_USER_MINOR,
		.keys = VFIO_USER_HAS_ALL,
		.max_msg_fds = VFIO_USER_DEFAULT_MAX_MSG_FDS,
		.max_data_xfer = VFIO_USER_DEFAULT_MAX_DATA_XFER,
		.max_dma_maps = VFIO_USER_DEFAULT_MAX_DMA_MAPS,
		.pgsizes = VFIO_USER_DEFAULT_PGSIZES,
		.twin_fd_index = -1,
	};
}

/* The keys with a number. */
static const struct {
	unsigned key;
	const char *name;
	size_t at; /* in struct vfio_user_caps */
} numbers[] = {
	{VFIO_USER_HAS_MAX_MSG_FDS, VFIO_USER_KEY_MAX_MSG_FDS,
		offsetof(struct vfio_user_caps, max_msg_fds)},
	{VFIO_USER_HAS_MAX_DATA_XFER, VFIO_USER_KEY_MAX_DATA_XFER,
		offsetof(struct vfio_user_caps, max_data_xfer)},
	{VFIO_USER_HAS_MAX_DMA_MAPS, VFIO_USER_KEY_MAX_DMA_MAPS,
		offsetof(struct vfio_user_caps, max_dma_maps)},
	{VFIO_USER_HAS_PGSIZES, VFIO_USER_KEY_PGSIZES, offsetof(struct vfio_user_caps, pgsizes)},
};

static uint64_t *number_of(struct vfio_user_caps *caps, size_t i)
{
	return (uint64_t *)(void *)((char *)caps + numbers[i].at);
}

/* NULL: no extension to send. */
static json_t *ours_to_json(const struct vfio_user_caps *caps)
{
	json_t *ours = caps->max_write || caps->exact_reads ? json_object() : NULL;

	if (ours && caps->max_write)
		json_object_set_new(
			ours, VFIO_USER_KEY_MAX_WRITE, json_integer((json_int_t)caps->max_write));
	if (ours && caps->exact_reads)
		json_object_set_new(ours, VFIO_USER_KEY_EXACT_READS, json_true());
	return ours;
}

/* Takes the value, if its key is to be sent. */
static void put(const struct vfio_user_caps *caps, unsigned key, json_t *inner, const char *name,
	json_t *value)
{
	if (caps->keys & key)
		json_object_set_new(inner, name, value); /* which takes it in any case */
	else
		json_decref(value);
}

static json_t *twin_to_json(const struct vfio_user_caps *caps)
{
	json_t *twin = json_pack("{s:b}", VFIO_USER_KEY_SUPPORTED, caps->twin_socket);

	if (twin && caps->twin_fd_index >= 0)
		json_object_set_new(
			twin, VFIO_USER_KEY_FD_INDEX, json_integer(caps->twin_fd_index));
	return twin;
}

static json_t *caps_to_json(struct vfio_user_caps caps)
{
	json_t *inner = json_object(), *ours = ours_to_json(&caps);

	for (size_t i = 0; i < SWO_ARRAY_SIZE(numbers); i++)
		put(&caps, numbers[i].key, inner, numbers[i].name,
			json_integer((json_int_t)*number_of(&caps, i)));
	put(&caps, VFIO_USER_HAS_TWIN_SOCKET, inner, VFIO_USER_KEY_TWIN_SOCKET,
		twin_to_json(&caps));
	put(&caps, VFIO_USER_HAS_WRITE_MULTIPLE, inner, VFIO_USER_KEY_WRITE_MULTIPLE,
		json_boolean(caps.write_multiple));
	if (ours)
		put(&caps, VFIO_USER_HAS_X_SWITCHOVER, inner, VFIO_USER_KEY_X_SWITCHOVER, ours);
	return json_pack("{s:o}", VFIO_USER_KEY_CAPABILITIES, inner);
}

int vfio_user_version_build(
	const struct vfio_user_caps *caps, struct swo_buf *out, struct swo_error *err)
{
	struct vfio_user_version version = {.major = caps->major, .minor = caps->minor};
	json_t *root = caps_to_json(*caps);
	char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	int rc;

	json_decref(root);
	if (!text)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "vfio-user VERSION message");
	rc = swo_buf_append(out, &version, sizeof(version), err);
	if (!rc)
		rc = swo_buf_append(out, text, strlen(text) + 1, err);
	free(text);
	return rc;
}

/* A missing key leaves *value unchanged. */
static int take_number(json_t *object, const char *key, uint64_t *value, struct swo_error *err)
{
	json_t *number = json_object_get(object, key);

	if (!number)
		return 0;
	if (!json_is_integer(number) || json_integer_value(number) < 0)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"VERSION: '%s' must be a number that is not negative", key);
	*value = (uint64_t)json_integer_value(number);
	return 0;
}

static int take_bool(json_t *object, const char *key, bool *value, struct swo_error *err)
{
	json_t *flag = json_object_get(object, key);

	if (!flag)
		return 0;
	if (!json_is_boolean(flag))
		return swo_error_set(
			err, SWO_E_PROTOCOL, 0, "VERSION: '%s' must be true or false", key);
	*value = json_is_true(flag);
	return 0;
}

static int take_object(json_t *object, const char *key, json_t **value, struct swo_error *err)
{
	*value = json_object_get(object, key);
	if (*value && !json_is_object(*value))
		return swo_error_set(
			err, SWO_E_PROTOCOL, 0, "VERSION: '%s' must be an object", key);
	return 0;
}

static int take_twin(json_t *inner, struct vfio_user_caps *caps, struct swo_error *err)
{
	uint64_t index = UINT64_MAX;
	json_t *twin;

	if (take_object(inner, VFIO_USER_KEY_TWIN_SOCKET, &twin, err))
		return -1;
	if (!twin)
		return 0;
	if (take_bool(twin, VFIO_USER_KEY_SUPPORTED, &caps->twin_socket, err) ||
		take_number(twin, VFIO_USER_KEY_FD_INDEX, &index, err))
		return -1;
	/* An index beyond any message counts as missing: the same error for the caller. */
	if (index < VFIO_USER_FDS_MAX)
		caps->twin_fd_index = (int)index;
	return 0;
}

static void note(json_t *inner, const char *name, unsigned key, struct vfio_user_caps *caps)
{
	if (json_object_get(inner, name))
		caps->keys |= key;
}

static int take_caps(json_t *root, struct vfio_user_caps *caps, struct swo_error *err)
{
	json_t *inner, *ours;

	if (!json_is_object(root))
		return swo_error_set(err, SWO_E_PROTOCOL, 0, "VERSION: the JSON is not an object");
	if (take_object(root, VFIO_USER_KEY_CAPABILITIES, &inner, err))
		return -1;
	if (!inner)
		return 0;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(numbers); i++) {
		if (take_number(inner, numbers[i].name, number_of(caps, i), err))
			return -1;
		note(inner, numbers[i].name, numbers[i].key, caps);
	}
	if (take_bool(inner, VFIO_USER_KEY_WRITE_MULTIPLE, &caps->write_multiple, err) ||
		take_twin(inner, caps, err) ||
		take_object(inner, VFIO_USER_KEY_X_SWITCHOVER, &ours, err))
		return -1;
	note(inner, VFIO_USER_KEY_WRITE_MULTIPLE, VFIO_USER_HAS_WRITE_MULTIPLE, caps);
	note(inner, VFIO_USER_KEY_TWIN_SOCKET, VFIO_USER_HAS_TWIN_SOCKET, caps);
	note(inner, VFIO_USER_KEY_X_SWITCHOVER, VFIO_USER_HAS_X_SWITCHOVER, caps);
	if (!ours)
		return 0;
	if (take_number(ours, VFIO_USER_KEY_MAX_WRITE, &caps->max_write, err))
		return -1;
	return take_bool(ours, VFIO_USER_KEY_EXACT_READS, &caps->exact_reads, err);
}

int vfio_user_version_parse(
	const void *payload, size_t len, struct vfio_user_caps *caps, struct swo_error *err)
{
	struct vfio_user_version version;

	vfio_user_caps_init(caps);
	caps->keys = 0;
	if (len < sizeof(version) || len > TEXT_MAX)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"VERSION: payload of %zu bytes, expected %zu to %d", len, sizeof(version),
			TEXT_MAX);
	memcpy(&version, payload, sizeof(version));
	caps->major = version.major;
	caps->minor = version.minor;
	if (len == sizeof(version))
		return 0;

	const char *text = (const char *)payload + sizeof(version);
	size_t text_len = strnlen(text, len - sizeof(version));

	if (text_len == len - sizeof(version))
		return swo_error_set(
			err, SWO_E_PROTOCOL, 0, "VERSION: the JSON does not end with a NUL");
	json_error_t where;
	json_t *root = json_loadb(text, text_len, JSON_REJECT_DUPLICATES, &where);

	if (!root)
		return swo_error_set(err, SWO_E_PROTOCOL, 0,
			"VERSION: invalid JSON after the numbers (%s)", where.text);
	int rc = take_caps(root, caps, err);

	json_decref(root);
	return rc;
}
