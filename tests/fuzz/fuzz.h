/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz.h - shared by the fuzzers. Each is libFuzzer's LLVMFuzzerTestOneInput;
 * `./run fuzz` links them with libFuzzer, the tests with replay.c, which feeds them the corpus.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "switchover/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* An assertion for every input: a finding otherwise. */
#define fuzz_check(what)                                                                           \
	do {                                                                                       \
		if (!(what))                                                                       \
			__builtin_trap();                                                          \
	} while (0)

/* Takes n bytes from the front into *out; zeros when there are not so many. */
static inline void fuzz_take(const uint8_t **data, size_t *size, void *out, size_t n)
{
	uint8_t *to = out;

	for (size_t i = 0; i < n; i++)
		to[i] = i < *size ? (*data)[i] : 0;
	n = n < *size ? n : *size;
	*data += n;
	*size -= n;
}

static inline void fuzz_quiet(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque, (void)level, (void)text;
}

#endif
