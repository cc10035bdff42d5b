/* SPDX-License-Identifier: BSD-3-Clause */
/* cm.h - cmocka, with the headers it wants before it, in the order it wants them. */
#ifndef SWO_TESTS_CM_H
#define SWO_TESTS_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
