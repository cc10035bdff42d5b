/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uffd.h - shared by the two methods to log writes through this process's own mapping: a
 * userfaultfd on all regions. dirty_scan.c reads from the kernel which pages lost their
 * protection; dirty_handler.c has a thread that handles each fault.
 */
#ifndef MEMORY_UFFD_H
#define MEMORY_UFFD_H

#include "ram.h"

/* A userfaultfd with these features, or -1 and *err (SWO_E_UNSUPPORTED: not in this kernel). */
int memory_uffd_open(uint64_t features, struct swo_error *err);
int memory_uffd_register(int uffd, struct swo_ram *ram, struct swo_error *err);
/* Also takes off all protection and wakes who waits in a fault. */
void memory_uffd_unregister(int uffd, struct swo_ram *ram);
/* Protects or releases [host, host + len); release wakes the writer. 0 or an errno. */
int memory_uffd_protect(int uffd, const void *host, uint64_t len, bool protect);

#endif
