/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * prove.h - what the harnesses of CBMC share: values that may be any, and the names of functions
 * that are local to a file (goto-cc --export-file-local-symbols makes them reachable, so the
 * shipped source is compiled as it is).
 */
#ifndef PROVE_H
#define PROVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* A static function of FILE.c: LOCAL(frame, seal) is seal() of frame.c. */
#define LOCAL(file, function) __CPROVER_file_local_##file##_c_##function

/* Any value of the type: CBMC takes functions of these names for that. */
_Bool nondet_bool(void);
int nondet_int(void);
uint8_t nondet_u8(void);
uint16_t nondet_u16(void);
uint32_t nondet_u32(void);
uint64_t nondet_u64(void);
size_t nondet_size(void);

/* 0 to `most`. */
static inline size_t any_up_to(size_t most)
{
	size_t n = nondet_size();

	__CPROVER_assume(n <= most);
	return n;
}

/* Exactly `size` bytes of any content: one more is out of bounds. Never NULL. */
static inline void *any_bytes(size_t size)
{
	void *at = malloc(size);

	__CPROVER_assume(at != NULL);
	return at;
}

/* Fails unless these bytes may be read. */
static inline void must_be_readable(const void *at, size_t size)
{
	__CPROVER_assert(__CPROVER_r_ok(at, size), "these bytes may be read");
}

#endif
