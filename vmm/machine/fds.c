/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fds.c - descriptors that a client of the monitor has passed, by its names for them, and the
 * address of the peer that one of them is connected to.
 */
#include "internal.h"

#include "base/net.h"

#include <errno.h>
#include <string.h>

/* With `lock` held: of that name, or a free one for ""; NULL: none. */
static struct machine_fd *find(struct vmm_machine *m, const char *name)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(m->fds); i++)
		if (!strcmp(m->fds[i].name, name))
			return &m->fds[i];
	return NULL;
}

int vmm_machine_keep_fd(struct vmm_machine *m, const char *name, int fd, struct swo_error *err)
{
	struct machine_fd *at;
	int rc = 0;

	/* As in QEMU, where a number is that of a descriptor. */
	if (!*name || (*name >= '0' && *name <= '9') || strlen(name) >= sizeof(at->name)) {
		swo_close_fd(&fd);
		return swo_error_set(err, SWO_E_INVALID, 0,
			"Parameter 'fdname' expects a name of 1 to %zu characters, not starting with "
			"a digit",
			sizeof(at->name) - 1);
	}
	pthread_mutex_lock(&m->lock);
	at = find(m, name);
	at = at ? at : find(m, "");
	if (at) {
		if (*at->name)
			swo_close_fd(&at->fd);
		strcpy(at->name, name);
		at->fd = fd;
	} else {
		swo_close_fd(&fd);
		rc = swo_error_set(err, SWO_E_STATE, 0,
			"there are %zu named descriptors already; close one with closefd",
			SWO_ARRAY_SIZE(m->fds));
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static int take(struct vmm_machine *m, const char *name)
{
	int fd = -1;

	pthread_mutex_lock(&m->lock);
	struct machine_fd *at = *name ? find(m, name) : NULL;

	if (at) {
		fd = at->fd;
		at->name[0] = 0;
	}
	pthread_mutex_unlock(&m->lock);
	return fd;
}

int vmm_machine_close_fd(struct vmm_machine *m, const char *name, struct swo_error *err)
{
	int fd = take(m, name);

	if (fd < 0)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "File descriptor named '%.60s' not found", name);
	swo_close_fd(&fd);
	return 0;
}

void machine_fds_free(struct vmm_machine *m)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(m->fds); i++)
		if (*m->fds[i].name)
			swo_close_fd(&m->fds[i].fd);
}

int vmm_machine_fd_peer(
	struct vmm_machine *m, const char *name, char *uri, size_t size, struct swo_error *err)
{
	struct base_address address = {.len = sizeof(address.un)};
	int fd = take(m, name);

	if (fd < 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"File descriptor named '%.60s' has not been found", name);
	const int rc = getpeername(fd, &address.any, &address.len) ? errno : 0;

	swo_close_fd(&fd);
	if (rc)
		return swo_error_set(
			err, SWO_E_INVALID, rc, "descriptor '%.60s' is no connected socket", name);
	/* One end of a pair has no path, and an abstract socket's begins with a NUL. */
	if (address.any.sa_family == AF_UNIX
			? address.len <= sizeof(sa_family_t) || !address.un.sun_path[0]
			: address.any.sa_family != AF_INET && address.any.sa_family != AF_INET6)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"descriptor '%.60s' is not connected to an address: a migration has several "
			"connections, and opens the others itself",
			name);
	base_address_uri(&address, uri, size);
	return 0;
}
