/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * version.c - the version that the library was built as.
 */
#include "switchover/version.h"

const char *swo_version(void)
{
	return SWO_VERSION;
}
