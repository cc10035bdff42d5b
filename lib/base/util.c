/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * util.c - a bounded buffer and the cleanup helpers.
 */
#include "switchover/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

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

void *swo_calloc_prefaulted(size_t size)
{
	const long page = sysconf(_SC_PAGESIZE);
	/* volatile, since writing zeros to zeroed memory could be optimised out */
	volatile char *memory = calloc(1, size);

	for (size_t at = 0; memory && at < size; at += (size_t)page)
		memory[at] = 0;
	return (void *)memory;
}

void swo_close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

void swo_free_ptr(void *pptr)
{
	free(*(void **)pptr);
}

void swo_raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}
