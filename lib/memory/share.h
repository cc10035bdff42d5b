/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * share.h - RAM that changes owner without a copy.
 */
#ifndef MEMORY_SHARE_H
#define MEMORY_SHARE_H

#include "switchover/memory.h"

/*
 * RAM that is handed over by descriptor: the target maps the same memfds instead of a copy.
 *
 * check_fd: checks that this is a memfd for the region: of its size, writable, sealed against
 * shrinking. For region->fd or another process's. SWO_E_UNSUPPORTED has the reason. check_fds:
 * one per region, no duplicates.
 *
 * adopt: maps these at the host addresses of the regions, replacing their content. Takes
 * ownership of the fds (those that are -1 afterwards). No device may access RAM meanwhile.
 *
 * protect: makes RAM read-only for this process, or writable again. KVM without two-dimensional
 * paging makes either cost 0.1 ms per GiB.
 *
 * take_over: adopted RAM becomes writable for this process. is_writable reports that to any
 * thread: a thread that writes for others (a device's DMA by message) checks it first.
 *
 * release: replaces RAM by read-only zeros, permanently. renew: by new memfds, as empty as at the
 * start, and writable; or else releases it.
 */
int memory_ram_check_fd(const struct swo_ram_region *region, int fd, struct swo_error *err);
int memory_ram_check_fds(struct swo_ram *ram, const int *fds, struct swo_error *err);
int memory_ram_adopt(struct swo_ram *ram, int *fds, struct swo_error *err);
int memory_ram_protect(struct swo_ram *ram, bool on, struct swo_error *err);
void memory_ram_take_over(struct swo_ram *ram);
void memory_ram_release(struct swo_ram *ram);
int memory_ram_renew(struct swo_ram *ram, struct swo_error *err);

#endif
