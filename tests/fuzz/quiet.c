/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * quiet.c - under libFuzzer the library says nothing: it would say it a million times.
 */
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	swo_log_set(SWO_LOG_ERROR, fuzz_quiet, NULL);
	return 0;
}
