/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pf.c - the firmware that the VFs of one physical function share, across processes: a small
 * file with the time until which each lane is reserved. A reservation is one addition under a
 * short flock; that of a process that died just expires.
 */
#include "server.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct shared {
	char boot[40]; /* times of another boot are invalid */
	uint64_t busy_until[SVF_LANES];
};

struct srv_pf {
	int fd;
	struct shared *shared;
};

static void read_boot_id(char *out, size_t room)
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(out, 0, room);
	if (!file)
		return;
	if (!fgets(out, (int)room, file))
		out[0] = 0;
	fclose(file);
}

static bool good_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || len > 64)
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && *name != '-' && *name != '_')
			return false;
	return true;
}

static int attach(struct srv_pf *pf, const char *path, struct swo_error *err)
{
	char boot[sizeof(pf->shared->boot)];
	struct stat st;

	pf->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (pf->fd < 0)
		return swo_error_set(err, SWO_E_IO, errno, "--pf: cannot open '%s'", path);
	if (fstat(pf->fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid())
		return swo_error_set(
			err, SWO_E_INVALID, 0, "--pf: '%s' is not a file of this user", path);
	flock(pf->fd, LOCK_EX);
	if (ftruncate(pf->fd, sizeof(*pf->shared)) ||
		(pf->shared = mmap(NULL, sizeof(*pf->shared), PROT_READ | PROT_WRITE, MAP_SHARED,
			 pf->fd, 0)) == MAP_FAILED) {
		pf->shared = NULL;
		return swo_error_set(err, SWO_E_IO, errno, "--pf: cannot use '%s'", path);
	}
	read_boot_id(boot, sizeof(boot));
	if (memcmp(boot, pf->shared->boot, sizeof(boot))) {
		memset(pf->shared, 0, sizeof(*pf->shared));
		memcpy(pf->shared->boot, boot, sizeof(boot));
	}
	flock(pf->fd, LOCK_UN);
	return 0;
}

int srv_pf_open(const char *dir, const char *name, struct srv_pf **out, struct swo_error *err)
{
	char path[512];
	struct srv_pf *pf;

	if (!dir)
		dir = getenv("XDG_RUNTIME_DIR") ? getenv("XDG_RUNTIME_DIR") : "/tmp";
	if (!good_name(name))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"--pf '%s': a name is 1 to 64 letters, digits, '-' and '_'", name);
	if (snprintf(path, sizeof(path), "%s/switchover-pf-%s", dir, name) >= (int)sizeof(path))
		return swo_error_set(err, SWO_E_INVALID, 0, "--pf-dir '%s' is too long", dir);
	pf = calloc(1, sizeof(*pf));
	if (!pf)
		return swo_error_set(err, SWO_E_NO_MEMORY, 0, "--pf");
	pf->fd = -1;
	if (attach(pf, path, err)) {
		srv_pf_close(pf);
		return -1;
	}
	*out = pf;
	return 0;
}

void srv_pf_close(struct srv_pf *pf)
{
	if (!pf)
		return;
	if (pf->shared)
		munmap(pf->shared, sizeof(*pf->shared));
	swo_close_fd(&pf->fd);
	free(pf);
}

uint64_t srv_pf_reserve(struct srv_pf *pf, enum svf_lane lane, uint64_t earliest, uint64_t duration)
{
	uint64_t *until = &pf->shared->busy_until[lane];
	uint64_t start, end;

	flock(pf->fd, LOCK_EX);
	start = *until > earliest ? *until : earliest;
	end = start + duration;
	*until = end;
	flock(pf->fd, LOCK_UN);
	return end;
}
