/* SPDX-License-Identifier: BSD-3-Clause */
/* cm.h - cmocka, after the headers that it needs. */
#ifndef TESTS_SUPPORT_CM_H
#define TESTS_SUPPORT_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
