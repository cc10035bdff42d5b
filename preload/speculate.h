/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * speculate.h - begins on every device what a VMM asks of one, and hands the results over
 * when it asks for them. docs/preload.md says why each step of it is legal.
 *
 * Errors are the kernel's: each call returns what the call it stands for would have, and
 * sets errno. Any thread. A wait here stands for the ioctl that it waits for, which
 * has no deadline either: a VMM that hangs with us hung without us.
 */
#ifndef PRELOAD_AHEAD_H
#define PRELOAD_AHEAD_H

#include "devices.h"
#include "settings.h"

#include <sys/types.h>

void speculate_init(const struct settings *settings);

/* May this ioctl concern a device? One comparison or two, for the many that do not. */
bool speculate_concerns(int fd, unsigned long request);
/* The whole of an ioctl. */
int speculate_ioctl(int fd, unsigned long request, void *arg);
/* Before anything else is done with a descriptor of ours: what is under way there ends first. */
void speculate_settle(int fd);
/* Before data is written to a session, too: nothing may have been begun while the VMM still writes.
 */
void speculate_settle_write(int fd);
/* For the record: so many bytes went through a session since start_ns. */
void speculate_moved(int fd, bool save, uint64_t start_ns, ssize_t bytes);
/* Before it is closed. */
void speculate_close(int fd);
void speculate_close_range(unsigned first, unsigned last);
/* After it was duplicated; before, speculate_close(copy) for a number that is taken over. */
void speculate_dup(int fd, int copy);

/* Around fork: a child has no threads of ours, and begins nothing. */
void speculate_fork_before(void);
void speculate_fork_parent(void);
void speculate_fork_child(void);

/* How many arcs were begun ahead, and of these asked for later. For tests. */
void speculate_counts(unsigned *begun, unsigned *asked);

#endif
