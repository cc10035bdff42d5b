/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * speculate.h - starts on every device the arc that a VMM requests on one, and returns the
 * results when the VMM requests them. docs/preload.md gives the reason why each step is legal.
 *
 * Errors are those of the kernel: each function returns what the intercepted call would return,
 * and sets errno. Any thread. A wait here replaces the wait in the ioctl, which has no deadline
 * either.
 */
#ifndef PRELOAD_SPECULATE_H
#define PRELOAD_SPECULATE_H

#include "devices.h"
#include "settings.h"

#include <sys/types.h>

void speculate_init(const struct settings *settings);
/* The pattern by which arcs start early in this process; NULL: none start. */
const char *speculate_pattern(void);

/* True if the ioctl may concern a device. One or two comparisons for all others. */
bool speculate_concerns(int fd, unsigned long request);
/* Handles one ioctl. */
int speculate_ioctl(int fd, unsigned long request, void *arg);
/* Before any other use of a tracked descriptor: waits for the arc in progress. */
void speculate_settle(int fd);
/* Before a write to a session: no arc may have been started while the VMM still writes. */
void speculate_settle_write(int fd);
/* For the trace: `bytes` moved through a session since start_ns. */
void speculate_moved(int fd, bool save, uint64_t start_ns, ssize_t bytes);
/* Before a descriptor is closed. */
void speculate_close(int fd);
void speculate_close_range(unsigned first, unsigned last);
/*
 * After a descriptor was duplicated. Call speculate_close(copy) first for a number that is
 * replaced.
 */
void speculate_dup(int fd, int copy);

/*
 * Around fork. A child has none of the threads. One that inherits no device starts afresh, as a
 * VMM does that daemonizes before it opens them. With an inherited device, which its parent may
 * change too, it starts no arc until it has closed all of those, and passes each request on.
 */
void speculate_fork_before(void);
void speculate_fork_parent(void);
void speculate_fork_child(void);

/*
 * The number of arcs started speculatively, and how many of them were requested later. For
 * tests.
 */
void speculate_counts(unsigned *started, unsigned *requested);

#endif
