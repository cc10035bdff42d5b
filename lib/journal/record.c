/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * record.c - the records of a journal: their validity, their order, and writing them.
 */
#include "journal/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define BIT(event) (1u << SWO_JOURNAL_##event)

/* The allowed next records; 0: final. */
static const uint16_t follows[2][SWO_JOURNAL_EVENTS] = {
	[SWO_JOURNAL_SOURCE] =
		{
			[SWO_JOURNAL_NOTHING] = BIT(BEGIN),
			/*
			 * Operator decisions: COMMITTED may have been lost in a crash of the host.
			 */
			[SWO_JOURNAL_BEGIN] =
				BIT(COMMITTED) | BIT(TAKEN_BACK) | BIT(RUN_HERE) | BIT(RUNS_THERE),
			[SWO_JOURNAL_COMMITTED] = BIT(IN_DOUBT) | BIT(TAKEN_BACK) | BIT(REFUSED) |
						  BIT(DONE) | BIT(RUN_HERE) | BIT(RUNS_THERE),
			[SWO_JOURNAL_IN_DOUBT] =
				BIT(REFUSED) | BIT(DONE) | BIT(RUN_HERE) | BIT(RUNS_THERE),
		},
	[SWO_JOURNAL_TARGET] =
		{
			[SWO_JOURNAL_NOTHING] = BIT(BEGIN),
			[SWO_JOURNAL_BEGIN] = BIT(READY) | BIT(REFUSED),
			[SWO_JOURNAL_READY] = BIT(STARTING) | BIT(REFUSED),
			[SWO_JOURNAL_STARTING] = BIT(STARTED) | BIT(REFUSED),
			[SWO_JOURNAL_STARTED] = BIT(DONE),
		},
};

bool journal_may_follow(enum swo_journal_side side, unsigned last, unsigned next)
{
	return last < SWO_JOURNAL_EVENTS && next < SWO_JOURNAL_EVENTS &&
	       (follows[side][last] >> next & 1);
}

const char *swo_journal_event_name(enum swo_journal_event event)
{
	static const char *const names[SWO_JOURNAL_EVENTS] = {"nothing", "begin", "committed",
		"in-doubt", "taken-back", "refused", "done", "run-here", "runs-there", "ready",
		"starting", "started"};

	return (unsigned)event < SWO_JOURNAL_EVENTS ? names[event] : "unknown";
}

const char *swo_journal_side_name(enum swo_journal_side side)
{
	return side == SWO_JOURNAL_SOURCE ? "source" : "target";
}

uint64_t journal_hash(const struct journal_record *record)
{
	return XXH3_64bits(record, offsetof(struct journal_record, hash));
}

bool journal_is_id(const char *id)
{
	static const char pattern[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	for (unsigned i = 0; i < JOURNAL_ID_LEN; i++)
		if (pattern[i] == '-' ? id[i] != '-' : !id[i] || !strchr("0123456789abcdef", id[i]))
			return false;
	return !id[JOURNAL_ID_LEN];
}

bool journal_parse_name(const char *name, char id[40], enum swo_journal_side *side)
{
	if (strlen(name) != JOURNAL_ID_LEN + strlen(".source"))
		return false;
	memcpy(id, name, JOURNAL_ID_LEN);
	id[JOURNAL_ID_LEN] = 0;
	*side = strcmp(name + JOURNAL_ID_LEN, ".source") ? SWO_JOURNAL_TARGET : SWO_JOURNAL_SOURCE;
	return journal_is_id(id) &&
	       (*side == SWO_JOURNAL_SOURCE || !strcmp(name + JOURNAL_ID_LEN, ".target"));
}

/* Reading */

static int damaged(struct swo_error *err, const char *path, const char *what)
{
	return swo_error_set(err, SWO_E_CORRUPT, 0,
		"the journal %.250s is damaged (%s): it does not prove where the VM may run", path,
		what);
}

static bool is_text(const char *field, size_t room)
{
	return memchr(field, 0, room) != NULL;
}

static bool is_legible(const struct journal_record *r)
{
	return r->magic == JOURNAL_MAGIC && r->hash == journal_hash(r) &&
	       r->version == JOURNAL_VERSION && is_text(r->vm, sizeof(r->vm));
}

/* NULL if it is valid, otherwise the fault. */
static const char *fault_of(const struct journal_record *r, const struct journal_record *first,
	unsigned sequence, const char *id, enum swo_journal_side side, unsigned last)
{
	if (r->magic != JOURNAL_MAGIC)
		return "a record has no magic number";
	if (r->hash != journal_hash(r))
		return "a record has a wrong checksum";
	if (r->version != JOURNAL_VERSION)
		return "it was written by another version of switchover";
	if (!is_text(r->id, sizeof(r->id)) || !is_text(r->vm, sizeof(r->vm)) ||
		!is_text(r->text, sizeof(r->text)) || !is_text(r->boot_id, sizeof(r->boot_id)))
		return "a text is not terminated";
	if (r->sequence != sequence || strcmp(r->id, id) || r->side != side ||
		strcmp(r->vm, first->vm))
		return "a record is of another migration, side or place";
	if (!journal_may_follow(side, last, r->event))
		return "its records are out of order";
	return NULL;
}

static bool is_empty(const struct journal_record *record)
{
	static const struct journal_record none;

	return !memcmp(record, &none, sizeof(none));
}

static ssize_t read_all(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)data + done, len - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -1 : (ssize_t)done;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int journal_load(int fd, const char *path, const char *id, enum swo_journal_side side,
	struct journal_file *out, struct swo_error *err)
{
	struct stat st;
	unsigned last = SWO_JOURNAL_NOTHING;

	out->count = 0;
	out->vm[0] = 0;
	if (fstat(fd, &st))
		return swo_error_set(err, SWO_E_IO, errno, "journal %.250s", path);
	if (st.st_size != (off_t)JOURNAL_BYTES)
		return damaged(err, path, "wrong length");
	ssize_t got = read_all(fd, out, JOURNAL_BYTES);
	if (got < 0)
		return swo_error_set(err, SWO_E_IO, errno, "cannot read the journal %.250s", path);
	if (got != (ssize_t)JOURNAL_BYTES)
		return damaged(err, path, "wrong length");

	/* The VM's identity may be readable even if the rest is not. */
	if (is_legible(&out->records[0]))
		strcpy(out->vm, out->records[0].vm);
	for (unsigned i = 0; i < JOURNAL_RECORDS; i++) {
		const struct journal_record *r = &out->records[i];

		if (is_empty(r))
			continue;
		const char *fault = i != out->count ? "a record is missing before another"
						    : fault_of(r, out->records, i, id, side, last);

		if (fault)
			return damaged(err, path, fault);
		last = r->event;
		out->count++;
	}
	if (!out->count)
		return damaged(err, path, "no record");
	const char *fault = journal_origin_fault(&out->origin);

	return fault ? damaged(err, path, fault) : 0;
}

int journal_open(
	int dir_fd, const char *name, const char *path, int flags, int *fd, struct swo_error *err)
{
	struct stat st;

	*fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return swo_error_set(err, SWO_E_IO, errno, "cannot open the journal %.250s", path);
	if (fstat(*fd, &st) || !S_ISREG(st.st_mode) || (st.st_mode & 022) ||
		(st.st_uid != geteuid() && st.st_uid != 0)) {
		swo_close_fd(fd);
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%.250s is not a journal of this user: others own it or may write to it",
			path);
	}
	return 0;
}

/* Writing */

void journal_seal(struct journal_record *record, unsigned sequence, enum swo_journal_event event,
	uint64_t nonce, const char *text)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	record->sequence = sequence;
	record->event = (uint16_t)event;
	record->time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	record->nonce = nonce;
	memset(record->text, 0, sizeof(record->text));
	snprintf(record->text, sizeof(record->text), "%s", text ? text : "");
	record->hash = journal_hash(record);
}

int journal_put(int fd, const char *path, const struct journal_record *record, bool sync,
	struct swo_error *err)
{
	off_t at = (off_t)(record->sequence * sizeof(*record));
	ssize_t n;

	do
		n = pwrite(fd, record, sizeof(*record), at);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(*record))
		return swo_error_set(err, SWO_E_IO, n < 0 ? errno : ENOSPC,
			"cannot write to the journal %.250s", path);
	if (sync && fdatasync(fd))
		return swo_error_set(err, SWO_E_IO, errno, "cannot sync the journal %.250s", path);
	return 0;
}
