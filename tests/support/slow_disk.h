/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slow_disk.h - fdatasync(2) of a test: on request it does not return before slow_disk_answer().
 */
#ifndef TESTS_SUPPORT_SLOW_DISK_H
#define TESTS_SUPPORT_SLOW_DISK_H

#include <stdbool.h>

/* Every call hangs from now on. */
void slow_disk_hang(void);
/* Returns when one hangs; fails the test if that does not happen. */
void slow_disk_await(void);
bool slow_disk_hangs(void);
/* None hangs any more. */
void slow_disk_answer(void);

#endif
