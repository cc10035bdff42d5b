/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vf_token.c - reads the token of a VF from a file, a descriptor or the option. It is a secret:
 * it is in no message.
 */
#include "internal.h"

#include "base/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_DEADLINE_NS UINT64_C(5000000000)

/* To the end, without white space after it. */
static int read_token(int fd, const char *id, const char *from, char out[MACHINE_TOKEN_ROOM],
	struct swo_error *err)
{
	swo_deadline deadline = swo_now_ns() + READ_DEADLINE_NS;
	size_t len = 0;
	ssize_t n = 1;

	while (n && len < MACHINE_TOKEN_ROOM - 1) {
		int rc = base_wait_fd(fd, POLLIN, deadline, NULL);

		n = rc ? -1 : read(fd, out + len, MACHINE_TOKEN_ROOM - 1 - len);
		if (n < 0 && !rc && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return swo_error_set(err, SWO_E_IO, rc ? rc : errno,
				"device %s: cannot read the VF token from %s", id, from);
		len += (size_t)n;
	}
	out[len] = '\0';
	out[strcspn(out, " \t\r\n")] = '\0';
	if (*out)
		return 0;
	return swo_error_set(
		err, SWO_E_INVALID, 0, "device %s: there is no VF token in %s", id, from);
}

static int read_file(
	const char *path, const char *id, char out[MACHINE_TOKEN_ROOM], struct swo_error *err)
{
	struct stat st;
	swo_autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st))
		return swo_error_set(
			err, SWO_E_INVALID, errno, "device %s: vf-token-file '%.150s'", id, path);
	if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) || st.st_mode & 077)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: vf-token-file '%.150s' must be a file that only its owner, this user "
			"or root, can read (mode 0600)",
			id, path);
	return read_token(fd, id, "its file", out, err);
}

int machine_vf_token(const struct vmm_device_config *config, const char *id,
	char out[MACHINE_TOKEN_ROOM], struct swo_error *err)
{
	if (*config->token || strstr(config->path, " vf_token="))
		swo_log(SWO_LOG_WARN,
			"device %s: every user of this host can read its VF token in the list of "
			"processes; use vf-token-file= or vf-token-fd=",
			id);
	strcpy(out, config->token);
	if (*config->token_file)
		return read_file(config->token_file, id, out, err);
	if (config->token_fd)
		return read_token(config->token_fd, id, "its descriptor", out, err);
	return 0;
}
