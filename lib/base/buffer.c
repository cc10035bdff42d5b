/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * buffer.c - a growing byte buffer with a ceiling.
 */
#include "switchover/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int swo_buf_append(struct swo_buf *buf, const void *data, size_t len, struct swo_error *err)
{
	if (len > buf->max - buf->len)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0,
			"buffer full: limit of %zu bytes, %zu more needed", buf->max, len);
	if (len > buf->room - buf->len) {
		size_t room = buf->room ? buf->room : 256;

		while (room - buf->len < len)
			room = room > buf->max / 2 ? buf->max : room * 2;
		uint8_t *grown = realloc(buf->data, room);

		if (!grown)
			return swo_error_set(
				err, SWO_E_NO_MEMORY, ENOMEM, "buffer of %zu bytes", room);
		buf->data = grown;
		buf->room = room;
	}
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	return 0;
}

void swo_buf_free(struct swo_buf *buf)
{
	free(buf->data);
	buf->data = NULL;
	buf->len = buf->room = 0;
}
