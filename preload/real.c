/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * real.c - resolves the next library's functions, once.
 */
#include "real.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>

struct real real;

static atomic_bool found;

void real_find(void)
{
	if (atomic_load_explicit(&found, memory_order_acquire))
		return;
		/* Two threads may do this at once: both find the same functions. */
#define FIND(name)                                                                                 \
	do {                                                                                       \
		void *symbol = dlsym(RTLD_NEXT, #name);                                            \
		__builtin_memcpy(&real.name, &symbol, sizeof(symbol));                             \
	} while (0)
	FIND(ioctl);
	FIND(close);
	FIND(close_range);
	FIND(closefrom);
	FIND(dup);
	FIND(dup2);
	FIND(dup3);
	FIND(fcntl);
	FIND(read);
	FIND(write);
	FIND(readv);
	FIND(writev);
	FIND(pread);
	FIND(pwrite);
	FIND(poll);
	FIND(ppoll);
#undef FIND
	atomic_store_explicit(&found, true, memory_order_release);
}
