/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_journal.c - a journal as after a crash, a disk error or a manual edit. The first byte
 * selects whether hashes are corrected, so that the code behind their check is reached.
 */
#include "fuzz.h"
#include "journal/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ID "01234567-89ab-4cde-8f01-23456789abcd"

static void seal(uint8_t *bytes, size_t size)
{
	for (size_t i = 0; (i + 1) * sizeof(struct journal_record) <= size && i < JOURNAL_RECORDS;
		i++) {
		struct journal_record record;

		memcpy(&record, bytes + i * sizeof(record), sizeof(record));
		if (!record.magic)
			continue;
		record.hash = journal_hash(&record);
		memcpy(bytes + i * sizeof(record), &record, sizeof(record));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal_file *file = malloc(sizeof(*file));
	uint8_t *bytes = calloc(1, JOURNAL_BYTES + 512);
	char name[64];
	char id[40];
	enum swo_journal_side side;
	uint8_t mode = 0;
	int fd = memfd_create("journal", MFD_CLOEXEC);

	fuzz_check(file && bytes && fd >= 0);
	fuzz_take(&data, &size, &mode, 1);
	/* Most of a file is zeros: they are not the fuzzer's to write. */
	size = size < JOURNAL_BYTES + 512 ? size : JOURNAL_BYTES + 512;
	if (size)
		memcpy(bytes, data, size);
	size_t whole = mode & 2 ? size : JOURNAL_BYTES;
	if (mode & 1)
		seal(bytes, whole);
	fuzz_check(write(fd, bytes, whole) == (ssize_t)whole);
	fuzz_check(!lseek(fd, 0, SEEK_SET));
	side = mode & 4 ? SWO_JOURNAL_TARGET : SWO_JOURNAL_SOURCE;
	if (!journal_load(fd, "fuzz", ID, side, file, NULL)) {
		fuzz_check(file->count >= 1 && file->count <= JOURNAL_RECORDS);
		for (unsigned i = 0; i < file->count; i++)
			fuzz_check(
				memchr(file->records[i].text, 0, sizeof(file->records[i].text)) &&
				memchr(file->records[i].vm, 0, sizeof(file->records[i].vm)) &&
				file->records[i].event < SWO_JOURNAL_EVENTS);
	}
	snprintf(name, sizeof(name), "%.60s", (const char *)bytes);
	if (journal_parse_name(name, id, &side))
		fuzz_check(journal_is_id(id));
	close(fd);
	free(bytes);
	free(file);
	return 0;
}
