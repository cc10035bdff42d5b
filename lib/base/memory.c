/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.c - memory whose pages are there already, memory that is left behind, and
 * __attribute__((cleanup)).
 */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

void *base_calloc_prefaulted(size_t size)
{
	const long page = sysconf(_SC_PAGESIZE);
	/* volatile, since writing zeros to zeroed memory could be optimised out */
	volatile char *memory = calloc(1, size);

	for (size_t at = 0; memory && at < size; at += (size_t)page)
		memory[at] = 0;
	return (void *)memory;
}

void swo_free_ptr(void *pptr)
{
	free(*(void **)pptr);
}

/* Newest first; entries are never removed. */
static struct left_behind {
	struct left_behind *next;
	void *what;
} * _Atomic all_left_behind;

void base_leak_hung(void *what)
{
	struct left_behind *left = malloc(sizeof(*left));

	if (!left)
		return;
	left->what = what;
	left->next = atomic_load(&all_left_behind);
	while (!atomic_compare_exchange_weak(&all_left_behind, &left->next, left))
		;
}
