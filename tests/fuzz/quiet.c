/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * quiet.c - disables the library's log under libFuzzer: it would be printed a million times.
 */
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	swo_log_set(SWO_LOG_ERROR, fuzz_quiet, NULL);
	return 0;
}
