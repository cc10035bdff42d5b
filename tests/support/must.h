/* SPDX-License-Identifier: BSD-3-Clause */
/* must.h - calls that must succeed, or fail with a code: their last argument is &err, which is the
 * file's `static struct swo_error err`. */
#ifndef TESTS_SUPPORT_MUST_H
#define TESTS_SUPPORT_MUST_H

#include "switchover/base.h"
#include "tests/support/cm.h"

#define MUST(call)                                                                                 \
	do {                                                                                       \
		if (call)                                                                          \
			fail_msg("%s: %s", #call, err.text);                                       \
	} while (0)
#define FAILS(call, which)                                                                         \
	do {                                                                                       \
		assert_int_equal(call, -1);                                                        \
		assert_int_equal(err.code, which);                                                 \
	} while (0)

#endif
