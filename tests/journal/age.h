/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * age.h - makes a journal one that was written before the host's last boot.
 */
#ifndef TESTS_JOURNAL_AGE_H
#define TESTS_JOURNAL_AGE_H

#include "journal/internal.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <unistd.h>

static inline void age(const char *path)
{
	struct journal_record r;
	swo_autofd int fd = open(path, O_RDWR | O_CLOEXEC);

	for (off_t at = 0;; at += (off_t)sizeof(r)) {
		assert_int_equal(pread(fd, &r, sizeof(r), at), sizeof(r));
		if (!r.magic)
			return;
		r.boot_id[0] = r.boot_id[0] == 'x' ? 'y' : 'x';
		r.hash = journal_hash(&r);
		assert_int_equal(pwrite(fd, &r, sizeof(r), at), sizeof(r));
	}
}

#endif
