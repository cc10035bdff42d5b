/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notify.h - reports to who started this process, without waiting: a byte on a
 * descriptor once it is ready, and systemd's protocol (sd_notify(3)) where NOTIFY_SOCKET is set.
 */
#ifndef CMD_VM_NOTIFY_H
#define CMD_VM_NOTIFY_H

#include "switchover/base.h"

/* Is it an open descriptor that can be written to? */
int vm_ready_fd_check(int fd, struct swo_error *err);
/* One byte, then the descriptor is closed. -1: nothing. */
void vm_ready_fd_write(int fd);
/* One datagram, "READY=1" or the like; lost when no process takes it. */
void vm_notify(const char *format, ...) SWO_PRINTF(1, 2);

#endif
