/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * slow_disk.h - fdatasync(2) and fsync(2) of a test: on request they do not return before
 * slow_disk_answer(). Records of a journal are synced by the one, its creation by the other.
 */
#ifndef TESTS_SUPPORT_SLOW_DISK_H
#define TESTS_SUPPORT_SLOW_DISK_H

#include <stdbool.h>

/* Every fdatasync hangs from now on. */
void slow_disk_hang(void);
/* Every fsync does. */
void slow_disk_hang_creation(void);
/* Returns when one hangs; fails the test if that does not happen. */
void slow_disk_await(void);
bool slow_disk_hangs(void);
/* None hangs any more. */
void slow_disk_answer(void);

#endif
