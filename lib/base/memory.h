/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.h - memory with its pages present, and memory that a hung thread keeps.
 */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include "switchover/base.h"

/*
 * Allocates zeroed memory with its pages faulted in, so that its use causes no page fault
 * during the downtime. Free it with free(). NULL: no memory.
 */
void *base_calloc_prefaulted(size_t size);

/*
 * Memory that a hung thread may still access: never freed, and kept on a list, so that a leak
 * checker, or a person with a core dump, can distinguish it from a leak.
 */
void base_leak_hung(void *what);

/*
 * Zeroed memory for keys, which core dumps leave out; NULL: none. Freeing overwrites it. `size` is the
 * same in both calls; pages that are not touched cost nothing.
 */
void *base_secret_alloc(size_t size);
void base_secret_free(void *secret, size_t size);

#endif
