/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journals: records are read back, damage is reported and never allows anything, and the
 * journal of a dead process proves no more than it can.
 */
#include "age.h"
#include "journal/write.h"
#include "tests/support/cm.h"
#include "tests/support/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const id = "00000000-0000-4000-8000-000000000001";
static char dir[64];
static struct swo_journal_config config = {.dir = dir, .vm = "web"};

static int setup(void **state)
{
	(void)state;
	return dir_make(dir);
}

static int teardown(void **state)
{
	(void)state;
	config.sync = false;
	config.vm = "web";
	return dir_remove(dir);
}

static const char *path_of(enum swo_journal_side side)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s.%s", dir, id, swo_journal_side_name(side));
	return path;
}

/* Of every flock(2); 0: as ever. */
static int flock_error;

int flock(int fd, int operation)
{
	if (!flock_error)
		return (int)syscall(SYS_flock, fd, operation);
	errno = flock_error;
	return -1;
}

/* Of a file system that copies on write: the flags of a file, which count while it is empty. */
static int file_flags;
static bool was_empty;

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	struct stat st;

	va_start(args, request);
	int *flags = va_arg(args, int *);

	va_end(args);
	if (request == FS_IOC_GETFLAGS) {
		*flags = file_flags;
		return 0;
	}
	if (request == FS_IOC_SETFLAGS) {
		was_empty = !fstat(fd, &st) && !st.st_size;
		file_flags = *flags;
		return 0;
	}
	return (int)syscall(SYS_ioctl, fd, request, flags);
}

static struct swo_journal *begin(enum swo_journal_side side)
{
	struct swo_journal *journal;

	assert_int_equal(journal_create(&config, side, id, "unix:/x", NULL, &journal, NULL), 0);
	return journal;
}

static void put(struct swo_journal *journal, enum swo_journal_event event)
{
	struct swo_error err = {0};

	if (journal_write(journal, event, 7, "why", NULL, &err))
		fail_msg("%s", err.text);
}

/* The journal of a process that died at this point. */
static void leave(enum swo_journal_side side, const enum swo_journal_event *events, size_t count)
{
	dir_empty(dir);
	struct swo_journal *journal = begin(side);

	for (size_t i = 0; i < count; i++)
		put(journal, events[i]);
	journal_close(journal, false);
}
#define LEAVE(side, ...)                                                                           \
	leave(side, (const enum swo_journal_event[]){__VA_ARGS__},                                 \
		sizeof((enum swo_journal_event[]){__VA_ARGS__}) / sizeof(enum swo_journal_event))

static struct swo_journal_info look(enum swo_journal_side side)
{
	struct swo_journal_info info;
	struct swo_error err = {0};

	if (swo_journal_read(path_of(side), &info, &err))
		fail_msg("%s", err.text);
	return info;
}

static void a_written_record_is_read_back(void **state)
{
	(void)state;
	struct swo_journal *journal = begin(SWO_JOURNAL_SOURCE);

	struct swo_journal_info info = look(SWO_JOURNAL_SOURCE);
	assert_int_equal(info.hello_nonce, 0); /* as in a journal of 0.1 */
	journal_set_hello_nonce(journal, UINT64_C(0xfedcba9876543210));
	put(journal, SWO_JOURNAL_COMMITTED);
	info = look(SWO_JOURNAL_SOURCE);
	assert_int_equal(info.hello_nonce, UINT64_C(0xfedcba9876543210));
	assert_true(info.live);
	assert_true(info.complete);
	assert_int_equal(info.damage.code, SWO_E_NONE);
	assert_int_equal(info.last, SWO_JOURNAL_COMMITTED);
	assert_int_equal(info.nonce, 7);
	assert_string_equal(info.id, id);
	assert_string_equal(info.vm, "web");
	assert_string_equal(info.uri, "unix:/x");
	assert_string_equal(info.text, "why");
	put(journal, SWO_JOURNAL_IN_DOUBT);
	journal_close(journal, false);
	info = look(SWO_JOURNAL_SOURCE);
	assert_false(info.live);
	assert_int_equal(info.last, SWO_JOURNAL_IN_DOUBT);
}

static void it_has_all_its_room_and_its_mode_before_it_is_needed(void **state)
{
	(void)state;
	struct stat st;

	umask(0);
	journal_close(begin(SWO_JOURNAL_TARGET), false);
	assert_int_equal(stat(path_of(SWO_JOURNAL_TARGET), &st), 0);
	assert_int_equal(st.st_size, JOURNAL_BYTES);
	assert_true(st.st_blocks * 512 >= (blkcnt_t)JOURNAL_BYTES);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void without_space_there_is_an_error_and_no_journal(void **state)
{
	(void)state;
	struct rlimit before, small;
	struct swo_journal *journal;
	struct swo_journal_info *list;
	struct swo_error err = {0};
	size_t count;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small = before;
	small.rlim_cur = JOURNAL_BYTES / 2;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	int rc = journal_create(&config, SWO_JOURNAL_SOURCE, id, "unix:/x", NULL, &journal, &err);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(rc, -1);
	assert_int_equal(err.code, SWO_E_IO);
	assert_non_null(strstr(err.text, dir));
	assert_int_equal(swo_journal_list(dir, &list, &count, NULL), 0);
	assert_int_equal(count, 0);
	free(list);
}

static void an_invalid_id_never_becomes_a_path(void **state)
{
	(void)state;
	static const char *const bad[] = {"", "x", "../../../../../../etc/passwd-aaaaaaaa",
		"00000000-0000-4000-8000-00000000000/", "00000000-0000-4000-8000-00000000000A"};
	struct swo_journal *journal;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++)
		assert_int_equal(journal_create(&config, SWO_JOURNAL_TARGET, bad[i], "", NULL,
					 &journal, NULL),
			-1);
}

static void a_migration_has_one_journal_a_side(void **state)
{
	(void)state;
	struct swo_journal *journal;
	struct swo_error err = {0};

	journal_close(begin(SWO_JOURNAL_TARGET), false);
	assert_int_equal(
		journal_create(&config, SWO_JOURNAL_TARGET, id, "", NULL, &journal, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	journal_close(begin(SWO_JOURNAL_SOURCE), true);
	assert_int_equal(access(path_of(SWO_JOURNAL_SOURCE), F_OK), -1);
}

static void of_many_processes_that_begin_a_journal_one_does(void **state)
{
	(void)state;
	enum { PROCESSES = 8, ROUNDS = 20 };

	for (int round = 0; round < ROUNDS; round++) {
		int go[2], winners = 0;
		char byte;

		assert_int_equal(pipe2(go, O_CLOEXEC), 0);
		for (int i = 0; i < PROCESSES; i++) {
			pid_t pid = fork();

			assert_true(pid >= 0);
			if (pid)
				continue;
			struct swo_journal *journal;
			struct swo_error err = {0};

			close(go[1]);
			if (read(go[0], &byte, 1) < 0)
				_exit(3);
			if (!journal_create(
				    &config, SWO_JOURNAL_TARGET, id, "", NULL, &journal, &err))
				_exit(1);
			_exit(err.code == SWO_E_STATE ? 0 : 2);
		}
		close(go[0]);
		close(go[1]);
		for (int i = 0; i < PROCESSES; i++) {
			int status;

			assert_true(wait(&status) > 0 && WIFEXITED(status));
			assert_true(WEXITSTATUS(status) <= 1);
			winners += WEXITSTATUS(status);
		}
		assert_int_equal(winners, 1);
		assert_int_equal(unlink(path_of(SWO_JOURNAL_TARGET)), 0);
	}
}

static void where_one_may_not_write_there_is_an_error_and_no_journal(void **state)
{
	(void)state;
	enum { NOBODY = 65534 };
	struct stat before, after;

	if (geteuid())
		skip(); /* only root can change its user */
	assert_int_equal(chown(dir, NOBODY, NOBODY), 0);
	assert_int_equal(chmod(dir, 0500), 0);
	assert_int_equal(stat(dir, &before), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct swo_journal *journal;
		struct swo_error err = {0};

		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(2);
		if (!journal_create(&config, SWO_JOURNAL_SOURCE, id, "", NULL, &journal, &err))
			_exit(3);
		bool said = strstr(err.text, dir) && strstr(err.text, strerror(EACCES));

		_exit(err.code == SWO_E_IO && said ? 0 : 4);
	}
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(chown(dir, 0, 0), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(stat(dir, &after), 0);
	assert_int_equal(before.st_mtime, after.st_mtime);
	assert_int_equal(access(path_of(SWO_JOURNAL_SOURCE), F_OK), -1);
}

static void records_come_in_an_order_that_makes_sense_or_not_at_all(void **state)
{
	(void)state;
	struct swo_journal *journal = begin(SWO_JOURNAL_TARGET);

	assert_int_equal(journal_write(journal, SWO_JOURNAL_STARTING, 0, "", NULL, NULL), -1);
	put(journal, SWO_JOURNAL_READY);
	put(journal, SWO_JOURNAL_REFUSED);
	/* A repeated record is written once; a refused one never. */
	put(journal, SWO_JOURNAL_REFUSED);
	assert_int_equal(journal_write(journal, SWO_JOURNAL_STARTING, 0, "", NULL, NULL), -1);
	journal_close(journal, false);
	assert_int_equal(look(SWO_JOURNAL_TARGET).last, SWO_JOURNAL_REFUSED);
	/* Without a journal every record is accepted. */
	assert_int_equal(journal_write(NULL, SWO_JOURNAL_STARTING, 0, "", NULL, NULL), 0);
}

/* Damage */

static void expect_damage(const char *what)
{
	struct swo_journal_info info = look(SWO_JOURNAL_SOURCE);
	struct swo_error err = {0};

	if (info.damage.code != SWO_E_CORRUPT)
		fail_msg("not detected: %s", what);
	assert_non_null(strstr(info.damage.text, id));
	assert_int_equal(swo_journal_may_boot(dir, "web", &err), -1);
	assert_int_equal(err.code, SWO_E_CORRUPT);
	assert_non_null(strstr(err.text, id));
	assert_false(swo_journal_is_settled(&info));
	info = look(SWO_JOURNAL_SOURCE);
	info.side = SWO_JOURNAL_TARGET;
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NOTHING);
	assert_int_equal(
		swo_journal_settle(path_of(SWO_JOURNAL_SOURCE), SWO_JOURNAL_RUN_HERE, "", NULL),
		-1);
}

static void any_flipped_byte_of_a_record_is_detected_and_never_proves_anything(void **state)
{
	(void)state;
	LEAVE(SWO_JOURNAL_SOURCE, SWO_JOURNAL_COMMITTED, SWO_JOURNAL_REFUSED);
	assert_int_equal(swo_journal_may_boot(dir, "web", NULL), 0);

	swo_autofd int fd = open(path_of(SWO_JOURNAL_SOURCE), O_RDWR | O_CLOEXEC);
	for (off_t at = 0; at < (off_t)(3 * sizeof(struct journal_record)); at++) {
		uint8_t byte, flipped;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		flipped = byte ^ 0x10;
		assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
		expect_damage("a flipped byte");
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	assert_int_equal(swo_journal_may_boot(dir, "web", NULL), 0);
	/* After the records, where only zeros are allowed. */
	assert_int_equal(pwrite(fd, "x", 1, JOURNAL_BYTES - 1), 1);
	expect_damage("rubbish at the end");
	/* Its first record still has the VM. */
	assert_int_equal(swo_journal_may_boot(dir, "db", NULL), 0);
}

static void any_other_length_is_detected_and_never_proves_anything(void **state)
{
	(void)state;
	static const off_t lengths[] = {
		0, 1, 511, 512, 1024, 1535, 1536, JOURNAL_BYTES - 1, JOURNAL_BYTES + 1, 1 << 20};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(lengths); i++) {
		LEAVE(SWO_JOURNAL_SOURCE, SWO_JOURNAL_COMMITTED, SWO_JOURNAL_REFUSED);
		assert_int_equal(truncate(path_of(SWO_JOURNAL_SOURCE), lengths[i]), 0);
		expect_damage("another length");
	}
}

static void a_lost_or_moved_record_is_found(void **state)
{
	(void)state;
	struct journal_record r[3], none = {0};

	for (int mode = 0; mode < 4; mode++) {
		LEAVE(SWO_JOURNAL_SOURCE, SWO_JOURNAL_COMMITTED, SWO_JOURNAL_REFUSED);
		swo_autofd int fd = open(path_of(SWO_JOURNAL_SOURCE), O_RDWR | O_CLOEXEC);
		assert_int_equal(pread(fd, r, sizeof(r), 0), sizeof(r));
		if (mode == 0)
			r[1] = none;
		if (mode == 1)
			r[0] = none;
		if (mode == 2)
			r[1] = r[2];
		if (mode == 3)
			memset(r, 0, sizeof(r));
		assert_int_equal(pwrite(fd, r, sizeof(r), 0), sizeof(r));
		expect_damage("a lost record");
	}
	/* A journal under the name of another. */
	LEAVE(SWO_JOURNAL_SOURCE, SWO_JOURNAL_COMMITTED, SWO_JOURNAL_REFUSED);
	char other[128];
	strcpy(other, path_of(SWO_JOURNAL_TARGET));
	assert_int_equal(rename(path_of(SWO_JOURNAL_SOURCE), other), 0);
	assert_int_equal(look(SWO_JOURNAL_TARGET).damage.code, SWO_E_CORRUPT);
}

/* Permissions */

static void a_journal_that_others_may_write_is_refused(void **state)
{
	(void)state;
	struct swo_journal_info info;
	struct swo_error err = {0};
	char other[128];

	LEAVE(SWO_JOURNAL_SOURCE, SWO_JOURNAL_COMMITTED, SWO_JOURNAL_REFUSED);
	assert_int_equal(chmod(path_of(SWO_JOURNAL_SOURCE), 0620), 0);
	assert_int_equal(swo_journal_read(path_of(SWO_JOURNAL_SOURCE), &info, &err), -1);
	assert_int_equal(swo_journal_may_boot(dir, "web", NULL), -1);
	assert_int_equal(chmod(path_of(SWO_JOURNAL_SOURCE), 0600), 0);

	snprintf(other, sizeof(other), "%s/elsewhere", dir);
	assert_int_equal(rename(path_of(SWO_JOURNAL_SOURCE), other), 0);
	assert_int_equal(symlink(other, path_of(SWO_JOURNAL_SOURCE)), 0);
	assert_int_equal(swo_journal_read(path_of(SWO_JOURNAL_SOURCE), &info, &err), -1);
	assert_int_equal(swo_journal_may_boot(dir, "web", NULL), -1);

	/* A pipe must not block the reader. */
	unlink(path_of(SWO_JOURNAL_SOURCE));
	assert_int_equal(mkfifo(path_of(SWO_JOURNAL_SOURCE), 0600), 0);
	assert_int_equal(swo_journal_read(path_of(SWO_JOURNAL_SOURCE), &info, &err), -1);
	assert_int_equal(swo_journal_may_boot(dir, "web", NULL), -1);
}

static void the_directory_is_its_owners_alone(void **state)
{
	(void)state;
	struct swo_error err = {0};
	char sub[96], deep[128];
	struct stat st;

	assert_int_equal(swo_journal_prepare_dir(dir, false, NULL), 0);
	assert_int_equal(chmod(dir, 0770), 0);
	assert_int_equal(swo_journal_prepare_dir(dir, false, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_non_null(strstr(err.text, dir));
	assert_int_equal(chmod(dir, 0700), 0);

	umask(0);
	snprintf(sub, sizeof(sub), "%s/a", dir);
	snprintf(deep, sizeof(deep), "%s/b", sub);
	assert_int_equal(swo_journal_prepare_dir(deep, false, NULL), -1);
	assert_int_equal(swo_journal_prepare_dir(deep, true, NULL), 0);
	assert_int_equal(stat(deep, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(rmdir(deep), 0);
	assert_int_equal(rmdir(sub), 0);
	/* A file where a directory should be. */
	close(open(sub, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(swo_journal_prepare_dir(sub, false, NULL), -1);
}

/* Interpretation */

static void a_target_s_journal_proves_no_more_than_it_can(void **state)
{
	(void)state;
	struct swo_journal_info info;

	LEAVE(SWO_JOURNAL_TARGET, SWO_JOURNAL_READY);
	info = look(SWO_JOURNAL_TARGET);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NEVER);
	info.live = true;
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NOTHING);
	LEAVE(SWO_JOURNAL_TARGET, SWO_JOURNAL_READY, SWO_JOURNAL_STARTING);
	info = look(SWO_JOURNAL_TARGET);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NOTHING);
	LEAVE(SWO_JOURNAL_TARGET, SWO_JOURNAL_READY, SWO_JOURNAL_STARTING, SWO_JOURNAL_STARTED);
	info = look(SWO_JOURNAL_TARGET);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_RAN);
	LEAVE(SWO_JOURNAL_TARGET, SWO_JOURNAL_READY, SWO_JOURNAL_STARTING, SWO_JOURNAL_REFUSED);
	info = look(SWO_JOURNAL_TARGET);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NEVER);
	/* A source's journal proves nothing about the target. */
	LEAVE(SWO_JOURNAL_SOURCE, SWO_JOURNAL_COMMITTED, SWO_JOURNAL_REFUSED);
	info = look(SWO_JOURNAL_SOURCE);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NOTHING);
}

static void after_the_host_s_death_only_a_durable_journal_is_complete(void **state)
{
	(void)state;
	struct swo_journal_info info;

	LEAVE(SWO_JOURNAL_TARGET, SWO_JOURNAL_READY);
	age(path_of(SWO_JOURNAL_TARGET));
	info = look(SWO_JOURNAL_TARGET);
	assert_int_equal(info.damage.code, SWO_E_NONE);
	assert_false(info.complete);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NOTHING);
	/* Likewise for a source after BEGIN: COMMITTED may be missing. */
	dir_empty(dir);
	journal_close(begin(SWO_JOURNAL_SOURCE), false);
	assert_int_equal(swo_journal_may_boot(dir, "web", NULL), 0);
	age(path_of(SWO_JOURNAL_SOURCE));
	assert_int_equal(swo_journal_may_boot(dir, "web", NULL), -1);

	config.sync = true;
	LEAVE(SWO_JOURNAL_TARGET, SWO_JOURNAL_READY);
	age(path_of(SWO_JOURNAL_TARGET));
	info = look(SWO_JOURNAL_TARGET);
	assert_true(info.complete);
	/* It may be a copy from another host that runs: the lock proves nothing here. */
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_IF_FENCED);
	LEAVE(SWO_JOURNAL_TARGET, SWO_JOURNAL_READY, SWO_JOURNAL_REFUSED);
	age(path_of(SWO_JOURNAL_TARGET));
	info = look(SWO_JOURNAL_TARGET);
	assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NEVER);
}

static void a_vm_that_may_run_elsewhere_is_not_started_and_the_error_says_what_settles_it(
	void **state)
{
	(void)state;
	static const struct {
		enum swo_journal_side side;
		enum swo_journal_event events[4];
		bool may;
	} cases[] = {
		{SWO_JOURNAL_SOURCE, {SWO_JOURNAL_NOTHING}, true},
		{SWO_JOURNAL_SOURCE, {SWO_JOURNAL_COMMITTED}, false},
		{SWO_JOURNAL_SOURCE, {SWO_JOURNAL_COMMITTED, SWO_JOURNAL_IN_DOUBT}, false},
		{SWO_JOURNAL_SOURCE, {SWO_JOURNAL_COMMITTED, SWO_JOURNAL_DONE}, false},
		{SWO_JOURNAL_SOURCE, {SWO_JOURNAL_COMMITTED, SWO_JOURNAL_RUNS_THERE}, false},
		{SWO_JOURNAL_SOURCE, {SWO_JOURNAL_COMMITTED, SWO_JOURNAL_RUN_HERE}, true},
		{SWO_JOURNAL_SOURCE, {SWO_JOURNAL_COMMITTED, SWO_JOURNAL_REFUSED}, true},
		{SWO_JOURNAL_SOURCE, {SWO_JOURNAL_COMMITTED, SWO_JOURNAL_TAKEN_BACK}, true},
		{SWO_JOURNAL_TARGET, {SWO_JOURNAL_NOTHING}, true},
		{SWO_JOURNAL_TARGET, {SWO_JOURNAL_READY}, false},
		{SWO_JOURNAL_TARGET, {SWO_JOURNAL_READY, SWO_JOURNAL_REFUSED}, true},
		{SWO_JOURNAL_TARGET, {SWO_JOURNAL_READY, SWO_JOURNAL_STARTING, SWO_JOURNAL_STARTED},
			true},
	};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(cases); i++) {
		struct swo_error err = {0};
		size_t count = 0;

		while (cases[i].events[count])
			count++;
		leave(cases[i].side, cases[i].events, count);
		int rc = swo_journal_may_boot(dir, "web", &err);
		if (rc != (cases[i].may ? 0 : -1))
			fail_msg("case %u: %d %s", i, rc, err.text);
		if (rc) {
			assert_non_null(strstr(err.text, id));
			assert_non_null(strstr(err.text, "switchover resolve"));
		}
		/* Another VM is not affected. */
		assert_int_equal(swo_journal_may_boot(dir, "db", NULL), 0);
	}
}

static void an_operator_resolves_the_journal_of_a_dead_process_only(void **state)
{
	(void)state;
	struct swo_journal *journal;
	struct swo_error err = {0};
	const char *path;

	dir_empty(dir);
	journal = begin(SWO_JOURNAL_SOURCE);
	path = path_of(SWO_JOURNAL_SOURCE);
	put(journal, SWO_JOURNAL_COMMITTED);
	assert_int_equal(swo_journal_settle(path, SWO_JOURNAL_RUN_HERE, "", &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	journal_close(journal, false);
	assert_int_equal(swo_journal_settle(path, SWO_JOURNAL_RUN_HERE, "fenced", &err), 0);
	assert_string_equal(look(SWO_JOURNAL_SOURCE).text, "fenced");
	assert_int_equal(swo_journal_may_boot(dir, "web", NULL), 0);
	/* A decision is final. */
	assert_int_equal(swo_journal_settle(path, SWO_JOURNAL_RUNS_THERE, "", NULL), -1);
	/* Not in doubt: nothing to decide. */
	dir_empty(dir);
	journal_close(begin(SWO_JOURNAL_SOURCE), false);
	assert_int_equal(swo_journal_settle(path, SWO_JOURNAL_RUN_HERE, "", NULL), -1);
}

static void only_settled_journals_of_the_same_vm_are_forgotten(void **state)
{
	(void)state;
	LEAVE(SWO_JOURNAL_SOURCE, SWO_JOURNAL_COMMITTED, SWO_JOURNAL_DONE);
	journal_remove_settled(dir, "db", "");
	journal_remove_settled(dir, "web", id);
	assert_int_equal(access(path_of(SWO_JOURNAL_SOURCE), F_OK), 0);
	journal_remove_settled(dir, "web", "");
	assert_int_equal(access(path_of(SWO_JOURNAL_SOURCE), F_OK), -1);
	LEAVE(SWO_JOURNAL_SOURCE, SWO_JOURNAL_COMMITTED);
	journal_remove_settled(dir, "web", "");
	assert_int_equal(access(path_of(SWO_JOURNAL_SOURCE), F_OK), 0);
}

#define journal_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static void only_a_lock_proves_that_a_process_is_dead(void **state)
{
	(void)state;
	static const int errors[] = {EWOULDBLOCK, ENOLCK, EINTR, EIO};

	LEAVE(SWO_JOURNAL_TARGET, SWO_JOURNAL_READY);
	assert_false(look(SWO_JOURNAL_TARGET).live);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(errors); i++) {
		flock_error = errors[i];
		const struct swo_journal_info info = look(SWO_JOURNAL_TARGET);

		flock_error = 0;
		assert_true(info.live);
		assert_int_equal(swo_journal_proof(&info, false), SWO_JOURNAL_PROVES_NOTHING);
	}
}

static void a_journal_is_not_copied_on_write(void **state)
{
	(void)state;
	file_flags = FS_NOATIME_FL;
	was_empty = false;
	struct swo_journal *journal = begin(SWO_JOURNAL_SOURCE);

	assert_int_equal(file_flags, FS_NOATIME_FL | FS_NOCOW_FL);
	assert_true(was_empty);
	journal_close(journal, true);
}

/* What is under its path by then is another's. */
static void a_journal_stays_in_the_directory_that_was_checked(void **state)
{
	(void)state;
	char moved[80], decoy[128];
	struct swo_journal *journal = begin(SWO_JOURNAL_SOURCE);
	struct swo_journal_info info;

	snprintf(moved, sizeof(moved), "%s-moved", dir);
	assert_int_equal(rename(dir, moved), 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	snprintf(decoy, sizeof(decoy), "%s", path_of(SWO_JOURNAL_SOURCE));
	FILE *file = fopen(decoy, "we");

	assert_non_null(file);
	fclose(file);
	put(journal, SWO_JOURNAL_TAKEN_BACK);
	snprintf(decoy, sizeof(decoy), "%s/%s.source", moved, id);
	assert_int_equal(swo_journal_read(decoy, &info, NULL), 0);
	assert_int_equal(info.last, SWO_JOURNAL_TAKEN_BACK);
	journal_close(journal, true);
	assert_int_equal(access(decoy, F_OK), -1);
	assert_int_equal(access(path_of(SWO_JOURNAL_SOURCE), F_OK), 0);
	assert_int_equal(rmdir(moved), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		journal_test(a_written_record_is_read_back),
		journal_test(only_a_lock_proves_that_a_process_is_dead),
		journal_test(it_has_all_its_room_and_its_mode_before_it_is_needed),
		journal_test(without_space_there_is_an_error_and_no_journal),
		journal_test(a_journal_is_not_copied_on_write),
		journal_test(a_journal_stays_in_the_directory_that_was_checked),
		journal_test(an_invalid_id_never_becomes_a_path),
		journal_test(a_migration_has_one_journal_a_side),
		journal_test(of_many_processes_that_begin_a_journal_one_does),
		journal_test(where_one_may_not_write_there_is_an_error_and_no_journal),
		journal_test(records_come_in_an_order_that_makes_sense_or_not_at_all),
		journal_test(any_flipped_byte_of_a_record_is_detected_and_never_proves_anything),
		journal_test(any_other_length_is_detected_and_never_proves_anything),
		journal_test(a_lost_or_moved_record_is_found),
		journal_test(a_journal_that_others_may_write_is_refused),
		journal_test(the_directory_is_its_owners_alone),
		journal_test(a_target_s_journal_proves_no_more_than_it_can),
		journal_test(after_the_host_s_death_only_a_durable_journal_is_complete),
		journal_test(
			a_vm_that_may_run_elsewhere_is_not_started_and_the_error_says_what_settles_it),
		journal_test(an_operator_resolves_the_journal_of_a_dead_process_only),
		journal_test(only_settled_journals_of_the_same_vm_are_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
