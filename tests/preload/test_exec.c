/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What `switchover exec` finds out before it starts a VMM, or of one that runs: whether the library
 * gets in, and what it would do.
 */
#include "command.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Programs that cannot be started are refused before the exec. */

static void put_file(const char *name, const void *bytes, size_t len, mode_t mode)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", command_dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void put_text(const char *name, const char *text)
{
	put_file(name, text, strlen(text), 0700);
}

static void refused(const char *name, const char *why)
{
	assert_int_equal(command_run(EXEC "--vmm qemu -- %s/%s", command_dir, name), 126);
	command_says(why);
}

static void a_program_that_cannot_be_preloaded_is_refused_at_the_start(void **state)
{
	(void)state;
	char self[1 << 16];
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	const ssize_t len = read(fd, self, sizeof(self));

	close(fd);
	assert_true(len > 4096);
	put_text("text", "hello, world, this is not a program but a text, and a long one\n");
	refused("text", "neither an ELF program nor a script");
	put_text("script", "#!/bin/sh\nexit 9\n");
	assert_int_equal(command_run(EXEC "-- %s/script", command_dir), 9);
	put_text("loop", "#!./loop\n");
	assert_int_equal(command_run("cd %s && " EXEC "-- ./loop", command_dir), 126);
	command_says("too many interpreters");
	put_file("closed", self, (size_t)len, 0600);
	refused("closed", "Permission denied");
	self[18] = (char)0xf3; /* e_machine: RISC-V */
	put_file("foreign", self, (size_t)len, 0700);
	refused("foreign", "another machine");
	self[18] = 62;
#if defined(__x86_64__)
	memset(self + 54, 0xff, 2); /* e_phentsize */
	put_file("damaged", self, (size_t)len, 0700);
	refused("damaged", "damaged ELF");
#endif
	assert_int_equal(command_run(EXEC "-- %s/nosuch", command_dir), 126 + 1);
	assert_int_equal(command_run(EXEC "-- nosuch-program-anywhere"), 127);
	command_says("no program 'nosuch-program-anywhere' in PATH");
	assert_int_equal(command_run(EXEC "--library %s/nosuch.so -- true", command_dir), 126);
	assert_int_equal(command_run(EXEC), 2);
	assert_int_equal(command_run(EXEC "--vmm vmware -- true"), 2);
	assert_int_equal(command_run(EXEC "--record a --observe b -- true"), 2);
}

static void a_static_program_is_refused(void **state)
{
	(void)state;
	assert_int_equal(command_run(EXEC "-- %s", STATIC_PROGRAM), 126);
	command_says("statically linked");
}

static void a_sandbox_that_kills_is_refused(void **state)
{
	(void)state;
	put_text("cloud-hypervisor", "#!/bin/sh\nexit 9\n");
	refused("cloud-hypervisor", "seccomp");
	assert_int_equal(command_run(EXEC "-- %s/cloud-hypervisor --seccomp log", command_dir), 9);
	assert_int_equal(
		command_run(EXEC "-- %s/cloud-hypervisor --seccomp=false", command_dir), 9);
	assert_int_equal(
		command_run(EXEC "-- %s/cloud-hypervisor --seccomp true", command_dir), 126);
}

/* --check */

static void check_reports_what_the_library_will_do(void **state)
{
	(void)state;
	put_text("script", "#!/bin/sh\nexit 9\n");
	assert_int_equal(command_run(EXEC "--check -- true"), 0);
	command_says("no pattern for its name, so nothing would start early; set --vmm");
	assert_int_equal(command_run(EXEC "--check -- %s/script", command_dir), 0);
	command_says("a script; the programs that it starts are matched by their own names");
	assert_int_equal(command_run("ln -s %s %s/qemu-system-x86_64", FAKE_VMM, command_dir), 0);
	assert_int_equal(command_run(EXEC "--check -- %s/qemu-system-x86_64 4", command_dir), 0);
	command_says("/qemu-system-x86_64 can be started with ");
	command_says(": pattern qemu, also when it daemonizes\n");
	command_does_not_say("device");
	command_does_not_say("--log");
	assert_int_equal(command_run(EXEC "--check --record %s/none -- "
					  "%s/qemu-system-x86_64 -daemonize",
				 command_dir, command_dir),
		0);
	command_says("set --log");
	assert_int_equal(command_run("test -e %s/none", command_dir), 1);
	assert_int_equal(
		command_run("SWITCHOVER_PRELOAD=off " EXEC "--check -- %s/qemu-system-x86_64 4",
			command_dir),
		0);
	command_says("turns");
	assert_int_equal(
		command_run("SWITCHOVER_PRELOAD=of " EXEC "--check -- %s/qemu-system-x86_64 4",
			command_dir),
		0); /* exec sets it */
}

static void check_finds_a_library_that_does_not_load(void **state)
{
	(void)state;
	put_text("no.so", "not a library");
	assert_int_equal(command_run(EXEC "--check --library %s/no.so -- true", command_dir), 126);
	command_says("does not load");
	command_says("no.so");
	/* It loads, and is another one. */
	assert_int_equal(command_run(EXEC "--check --library %s -- true", OTHER_LIB), 126);
	command_says("the library does not work here");
}

/* A running process */

static void pid_reports_whether_a_process_has_the_library(void **state)
{
	(void)state;
	assert_int_equal(command_run("sleep 30 & " EXEC "--pid $!; rc=$?; kill $!; exit $rc"), 126);
	command_says("(sleep) was started without the library");
	assert_int_equal(
		command_run(
			EXEC "--vmm qemu -- sleep 30 & "
			     "for i in $(seq 100); do " EXEC "--pid $! >/dev/null 2>&1 && break; "
			     "sleep 0.1; done; " EXEC "--pid $!; rc=$?; kill $!; exit $rc"),
		0);
	command_says("(sleep) has ");
	command_says("/libswitchover-preload.so");
	assert_int_equal(command_run("sh -c 'exit 0' & wait $!; " EXEC "--pid $!"), 126);
	command_says("cannot examine process");
	assert_int_equal(command_run(EXEC "--pid 0"), 2);
	assert_int_equal(command_run(EXEC "--pid 12x"), 2);
	assert_int_equal(command_run(EXEC "--pid 1 -- true"), 2);
}

/* AT_SECURE */

static bool skipped(const char *why)
{
	print_message("# skipped: %s\n", why);
	return true;
}

/* False: a program with a file capability, and the library beside it; both may be read by all users. */
static bool lacks_capabilities(void)
{
	static const struct vfs_cap_data capability = {
		.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
		.data = {{.permitted = 1u << CAP_NET_BIND_SERVICE}},
	};
	char path[256];

	if (geteuid() != 0)
		return skipped("only root can give a file a capability and change its user");
	snprintf(path, sizeof(path), "%s/qemu-system-secure", command_dir);
	assert_int_equal(command_run("chmod 755 %s && cp -f %s %s && cp -f %s %s", command_dir,
				 SECURE_PROGRAM, path, PRELOAD_LIB, command_dir),
		0);
	if (setxattr(path, "security.capability", &capability, sizeof(capability), 0))
		return skipped("no file capabilities in /tmp");
	assert_int_equal(command_run(SECURE_PROGRAM " drop %s </dev/null", path), 0);
	if (!strstr(command_output, "secure 1"))
		return skipped("no program gains privileges in /tmp");
	return false;
}

static void a_program_with_a_file_capability_is_refused(void **state)
{
	(void)state;
	if (lacks_capabilities())
		skip();
	/* The library would not get in, without a message. */
	assert_int_equal(command_run("LD_PRELOAD=%s/libswitchover-preload.so " SECURE_PROGRAM
				     " drop %s/qemu-system-secure",
				 command_dir, command_dir),
		0);
	command_says("secure 1, no library\n");
	command_does_not_say("ld.so");
	/* For root the capability changes nothing. */
	assert_int_equal(command_run(EXEC "-- %s/qemu-system-secure", command_dir), 0);
	command_says("secure 0, with library\n");
	if (command_run(SECURE_PROGRAM " drop test -x %s", SWITCHOVER)) {
		skipped("other users may not start the program that is tested");
		skip();
	}
	for (int check = 0; check < 2; check++) {
		assert_int_equal(
			command_run(SECURE_PROGRAM " drop " EXEC "%s -- %s/qemu-system-secure",
				check ? "--check" : "", command_dir),
			126);
		command_says("has file capabilities");
		command_says("AT_SECURE in docs/preload.md");
	}
}

/* As long as the kernel would honour it. */
static void a_set_user_id_program_is_refused(void **state)
{
	(void)state;
	if (lacks_capabilities())
		skip();
	assert_int_equal(command_run("cp %s %s/set && chmod 4755 %s/set", SECURE_PROGRAM,
				 command_dir, command_dir),
		0);
	assert_int_equal(command_run(EXEC "-- %s/set", command_dir), 0);
	command_says("secure 0, with library\n");
	if (command_run(SECURE_PROGRAM " drop test -x %s", SWITCHOVER)) {
		skipped("other users may not start the program that is tested");
		skip();
	}
	assert_int_equal(command_run(SECURE_PROGRAM " drop " EXEC "-- %s/set", command_dir), 126);
	command_says("set-user-ID");
	assert_int_equal(
		command_run("setpriv --no-new-privs " SECURE_PROGRAM " drop " EXEC "-- %s/set",
			command_dir),
		0);
	command_says("secure 0, with library\n");
}

static void at_secure_of_a_running_process_is_reported(void **state)
{
	(void)state;
	if (lacks_capabilities())
		skip();
	assert_int_equal(
		command_run(
			"mkfifo %s/in && { LD_PRELOAD=%s/libswitchover-preload.so " SECURE_PROGRAM
			" drop %s/qemu-system-secure wait <%s/in >%s/out & } && exec 9>%s/in && "
			"for i in $(seq 100); do grep -q secure %s/out && break; sleep 0.1; done; " EXEC
			"--pid $!",
			command_dir, command_dir, command_dir, command_dir, command_dir,
			command_dir, command_dir),
		126);
	command_says("(qemu-system-sec) has AT_SECURE set");
	command_says("AT_SECURE in docs/preload.md");
}

/* The way out: set-user-ID, in a default directory, by a name without a slash. */
static void a_set_user_id_library_in_a_default_directory_gets_in(void **state)
{
	(void)state;
	char folder[512] = "";

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skipped("a sanitizer does not start in a program that ignores its environment");
	skip();
#endif
	if (lacks_capabilities())
		skip();
	assert_int_equal(command_run("grep -o '/.*/libc.so.6' /proc/self/maps | head -1"), 0);
	snprintf(
		folder, sizeof(folder), "%.*s", (int)(strlen(command_output) - 11), command_output);
	if (command_run(
		    "mkdir -p %s/t && unshare -m sh -c 'set -e; d=%s/t; mount -t tmpfs none $d; "
		    "mkdir $d/u $d/w; mount -t overlay -o "
		    "lowerdir=%s,upperdir=$d/u,workdir=$d/w none %s; "
		    "cp %s/libswitchover-preload.so %s; echo mounted; "
		    "export LD_PRELOAD=libswitchover-preload.so; "
		    "%s drop %s/qemu-system-secure; "
		    "chmod 4755 %s/libswitchover-preload.so; "
		    "%s drop %s/qemu-system-secure'",
		    command_dir, command_dir, folder, folder, command_dir, folder, SECURE_PROGRAM,
		    command_dir, folder, SECURE_PROGRAM, command_dir) &&
		!strstr(command_output, "mounted")) {
		skipped("no overlay can be mounted in a mount namespace");
		skip();
	}
	command_says("secure 1, no library\n");
	command_says("secure 1, with library\n");
	command_says("]: loaded, pattern qemu\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_that_cannot_be_preloaded_is_refused_at_the_start),
		cmocka_unit_test(a_static_program_is_refused),
		cmocka_unit_test(a_sandbox_that_kills_is_refused),
		cmocka_unit_test(check_reports_what_the_library_will_do),
		cmocka_unit_test(check_finds_a_library_that_does_not_load),
		cmocka_unit_test(pid_reports_whether_a_process_has_the_library),
		cmocka_unit_test(a_program_with_a_file_capability_is_refused),
		cmocka_unit_test(a_set_user_id_program_is_refused),
		cmocka_unit_test(at_secure_of_a_running_process_is_reported),
		cmocka_unit_test(a_set_user_id_library_in_a_default_directory_gets_in),
	};

	return cmocka_run_group_tests(tests, command_make_dir, command_remove_dir);
}
