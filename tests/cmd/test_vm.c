/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What `switchover vm` does before its machine is there: the journals that forbid a start, and the
 * files of --pidfile and --metrics.
 */
#include "cmd/vm/journal.h"
#include "cmd/vm/metrics.h"
#include "cmd/vm/notify.h"
#include "cmd/vm/pidfile.h"
#include "tests/support/cm.h"
#include "tests/support/dir.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* The default directory depends on the user; here it is one that cannot be made. */
static bool no_home;

int __real_swo_journal_default_dir(char *out, size_t room, struct swo_error *err);
int __wrap_swo_journal_default_dir(char *out, size_t room, struct swo_error *err);
int __wrap_swo_journal_default_dir(char *out, size_t room, struct swo_error *err)
{
	if (no_home)
		return swo_error_set(err, SWO_E_INVALID, 0, "HOME is not set");
	snprintf(out, room, "/proc/no/switchover");
	return 0;
}

static char warned[600];

static void keep_warning(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque, (void)level;
	snprintf(warned, sizeof(warned), "%s", text);
}

static int open_journal(const char *dir, const char *name, bool incoming,
	struct swo_journal_config *out, struct swo_error *err)
{
	static struct vm_journal journal;

	journal = (struct vm_journal){.dir = dir};
	warned[0] = 0;
	return vm_journal_open(&journal, name, incoming, out, err);
}

static void a_vm_whose_journals_cannot_be_examined_is_not_started(void **state)
{
	(void)state;
	struct swo_journal_config config;
	struct swo_error err;

	for (int i = 0; i < 2; i++) {
		no_home = i;
		assert_int_equal(open_journal(NULL, "web", false, &config, &err), -1);
		assert_int_equal(err.code, SWO_E_STATE);
		if (!strstr(err.text, "VM 'web' is not started") ||
			!strstr(err.text, "--journal=none") ||
			!strstr(err.text, i ? "HOME is not set" : "/proc/no"))
			fail_msg("%s", err.text);
	}
	no_home = false;
	/* The named override, and an explicit one that cannot be used. */
	assert_int_equal(open_journal("none", "web", false, &config, &err), 0);
	assert_null(config.dir);
	assert_string_equal(config.vm, "web");
	assert_int_equal(open_journal("/proc/no", "web", false, &config, &err), -1);
	assert_non_null(strstr(err.text, "--journal: "));
}

/* Nothing is known of a VM without a name, and a target is started by its migration. */
static void without_an_identity_or_incoming_it_goes_on_with_a_warning(void **state)
{
	(void)state;
	struct swo_journal_config config;
	struct swo_error err;

	assert_int_equal(open_journal(NULL, NULL, false, &config, &err), 0);
	assert_null(config.dir);
	assert_non_null(strstr(warned, "no journal: a migration in doubt"));
	assert_int_equal(open_journal(NULL, "web", true, &config, &err), 0);
	assert_null(config.dir);
	assert_non_null(strstr(warned, "/proc/no"));
}

static void a_pidfile_is_removed_unless_it_is_anothers_by_now(void **state)
{
	(void)state;
	struct vm_pidfile file = {0}, none = {0};
	char dir[32], path[64], other[64], text[32] = "";
	struct swo_error err;

	assert_int_equal(vm_pidfile_write(&none, &err), 0);
	vm_pidfile_remove(&none);
	assert_int_equal(dir_make(dir), 0);
	snprintf(path, sizeof(path), "%s/pid", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	file.path = path;
	/* Not written: not its own. */
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	fclose(out);
	vm_pidfile_remove(&file);
	assert_int_equal(access(path, F_OK), 0);

	assert_int_equal(vm_pidfile_write(&file, &err), 0);
	FILE *in = fopen(path, "re");

	assert_non_null(in);
	assert_non_null(fgets(text, sizeof(text), in));
	fclose(in);
	char pid[32];

	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	assert_string_equal(text, pid);

	/* Another file in its place stays. */
	out = fopen(other, "we");
	assert_non_null(out);
	fclose(out);
	assert_int_equal(rename(path, other), 0);
	out = fopen(path, "we");
	assert_non_null(out);
	fclose(out);
	vm_pidfile_remove(&file);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(rename(other, path), 0);
	vm_pidfile_remove(&file);
	assert_int_equal(access(path, F_OK), -1);

	file.path = "/proc/no/pid";
	assert_int_equal(vm_pidfile_write(&file, &err), -1);
	assert_non_null(strstr(err.text, "--pidfile: "));
	assert_int_equal(dir_remove(dir), 0);
}

static void metrics_are_replaced_as_a_whole_for_everyone_to_read(void **state)
{
	(void)state;
	char dir[DIR_PATH_MAX], path[64], other[80], got[16] = "";
	struct swo_error err;
	struct stat st;

	assert_int_equal(dir_make(dir), 0);
	snprintf(path, sizeof(path), "%s/vm.prom", dir);
	snprintf(other, sizeof(other), "%s.%d", path, (int)getpid());
	/* A link in the way of the new file is not followed. */
	assert_int_equal(symlink("/proc/no/target", other), 0);
	const mode_t mask = umask(077);

	assert_int_equal(vm_metrics_write(path, "first", &err), 0);
	FILE *reader = fopen(path, "re");

	assert_non_null(reader);
	assert_int_equal(vm_metrics_write(path, "second", &err), 0);
	umask(mask);
	assert_non_null(fgets(got, sizeof(got), reader));
	assert_string_equal(got, "first");
	fclose(reader);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_int_equal(st.st_size, 6);
	assert_int_equal(access(other, F_OK), -1);
	assert_int_equal(vm_metrics_write("/proc/no/vm.prom", "x", &err), -1);
	assert_non_null(strstr(err.text, "--metrics: cannot write '/proc/no/vm.prom'"));
	assert_int_equal(dir_remove(dir), 0);
}

static void one_byte_reports_that_it_is_ready(void **state)
{
	(void)state;
	struct swo_error err;
	int fds[2];
	char bytes[8];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(vm_ready_fd_check(fds[1], &err), 0);
	assert_int_equal(vm_ready_fd_check(fds[0], &err), -1);
	assert_non_null(strstr(err.text, "reading only"));
	vm_ready_fd_write(fds[1]);
	assert_int_equal(read(fds[0], bytes, sizeof(bytes)), 1);
	assert_int_equal(read(fds[0], bytes, sizeof(bytes)), 0);
	close(fds[0]);
	assert_int_equal(vm_ready_fd_check(fds[1], &err), -1);
	assert_non_null(strstr(err.text, "--ready-fd"));
	vm_ready_fd_write(-1);
}

/* What is sent to this address arrives at a socket of this name, whose first byte may be 0. */
static void expect_notified(const char *address, const char *name, size_t len)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char text[64] = "";
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(at.sun_path, name, len);
	assert_int_equal(bind(fd, (const struct sockaddr *)&at,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
		0);
	assert_int_equal(setenv("NOTIFY_SOCKET", address, 1), 0);
	vm_notify("STATUS=%s", "active");
	assert_int_equal(recv(fd, text, sizeof(text), 0), 13);
	assert_memory_equal(text, "STATUS=active", 13);
	close(fd);
}

static void a_supervisor_is_notified_and_never_waited_for(void **state)
{
	(void)state;
	char dir[32], path[64], name[64], bytes[64], longest[300];

	assert_int_equal(dir_make(dir), 0);
	snprintf(path, sizeof(path), "%s/notify", dir);
	expect_notified(path, path, strlen(path));
	snprintf(name, sizeof(name), "@%s", dir);
	snprintf(bytes, sizeof(bytes), "@%s", dir);
	bytes[0] = 0;
	expect_notified(name, bytes, strlen(name));

	/* The socket is closed, and then there is no address at all. */
	vm_notify("READY=1");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = 0;
	setenv("NOTIFY_SOCKET", longest, 1);
	vm_notify("READY=1");
	setenv("NOTIFY_SOCKET", "relative", 1);
	vm_notify("READY=1");
	unsetenv("NOTIFY_SOCKET");
	vm_notify("READY=1");
	unlink(path);
	assert_int_equal(dir_remove(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_vm_whose_journals_cannot_be_examined_is_not_started),
		cmocka_unit_test(without_an_identity_or_incoming_it_goes_on_with_a_warning),
		cmocka_unit_test(metrics_are_replaced_as_a_whole_for_everyone_to_read),
		cmocka_unit_test(one_byte_reports_that_it_is_ready),
		cmocka_unit_test(a_supervisor_is_notified_and_never_waited_for),
		cmocka_unit_test(a_pidfile_is_removed_unless_it_is_anothers_by_now),
	};

	swo_log_set(SWO_LOG_WARN, keep_warning, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
