/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pidfile.c - see pidfile.h.
 */
#include "cmd/vm/pidfile.h"

#include "cmd/common/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

int vm_pidfile_write(struct vm_pidfile *file, struct swo_error *err)
{
	struct stat st = {0};
	FILE *out;

	if (!file->path)
		return 0;
	if (create_file("--pidfile", file->path, &out, err))
		return -1;
	file->written = !fstat(fileno(out), &st);
	file->dev = st.st_dev;
	file->ino = st.st_ino;
	int error = fprintf(out, "%d\n", (int)getpid()) < 0 ? errno : 0;

	if (fclose(out) && !error)
		error = errno;
	return error ? swo_error_set(
			       err, SWO_E_IO, error, "--pidfile: cannot write '%s'", file->path)
		     : 0;
}

void vm_pidfile_remove(const struct vm_pidfile *file)
{
	struct stat st;

	if (file->written && !lstat(file->path, &st) && st.st_dev == file->dev &&
		st.st_ino == file->ino)
		unlink(file->path);
}
