/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fd.h - how many file descriptors there may be.
 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "switchover/base.h"

/*
 * Raises this process's soft limit on open files to the hard one. A later failure for want of a
 * descriptor (EMFILE) names the limit in its error: see swo_error_set.
 */
void base_raise_open_files(void);

#endif
