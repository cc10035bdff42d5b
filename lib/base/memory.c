/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.c - memory whose pages are there already, memory that is left behind, and
 * __attribute__((cleanup)).
 */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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

void *base_secret_alloc(size_t size)
{
	void *secret = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (secret == MAP_FAILED)
		return NULL;
	if (!madvise(secret, size, MADV_DONTDUMP))
		return secret;
	munmap(secret, size);
	return NULL;
}

void base_secret_free(void *secret, size_t size)
{
	if (!secret)
		return;
	explicit_bzero(secret, size);
	munmap(secret, size);
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
