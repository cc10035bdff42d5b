/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pidfile.h - the file of `switchover vm --pidfile`.
 */
#ifndef CMD_VM_PIDFILE_H
#define CMD_VM_PIDFILE_H

#include "switchover/base.h"

#include <sys/types.h>

struct vm_pidfile {
	const char *path; /* NULL: none */
	bool written;
	dev_t dev;
	ino_t ino;
};

int vm_pidfile_write(struct vm_pidfile *file, struct swo_error *err);
/* Not what has taken its place: another VM may have the same path by now. */
void vm_pidfile_remove(const struct vm_pidfile *file);

#endif
