/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.c - reads the program's ELF header as the kernel and the dynamic linker
 * will, and trusts nothing in it.
 */
#include "cmd/exec/check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SCRIPTS_DEEP 4 /* as many as the kernel follows */
#define HEADERS_MAX  4096

static bool is_program(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return false;
	if (!S_ISREG(st.st_mode)) {
		errno = EACCES;
		return false;
	}
	return access(path, X_OK) == 0;
}

int exec_find(const char *program, char *path, size_t room, struct swo_error *err)
{
	int denied = 0;

	if (!*program) {
		errno = ENOENT;
		return swo_error_set(err, SWO_E_INVALID, 0, "the program's name is empty");
	}
	if (strchr(program, '/')) {
		if (is_program(program) && (size_t)snprintf(path, room, "%s", program) < room)
			return 0;
		const int why = errno;

		swo_error_set(err, SWO_E_INVALID, why, "cannot start '%s'", program);
		errno = why;
		return -1;
	}
	const char *dirs = getenv("PATH");

	if (!dirs)
		dirs = "/usr/local/bin:/usr/bin:/bin";
	for (const char *dir = dirs;; dir++) {
		const size_t len = strcspn(dir, ":");
		const int n =
			snprintf(path, room, "%.*s%s%s", (int)len, dir, len ? "/" : "./", program);

		if (n > 0 && (size_t)n < room) {
			if (is_program(path))
				return 0;
			if (errno == EACCES)
				denied = EACCES;
		}
		dir += len;
		if (!*dir)
			break;
	}
	swo_error_set(err, SWO_E_INVALID, 0,
		denied ? "'%s' is in PATH, but may not be executed" : "no program '%s' in PATH",
		program);
	errno = denied ? denied : ENOENT;
	return -1;
}

/*
 * Whether the kernel will set AT_SECURE (see execve(2) and commoncap.c): the dynamic linker then
 * drops LD_PRELOAD, silently. A security module may set it too, which is seen in a process only:
 * exec_check_running().
 */
static int check_privileges(const char *path, int fd, struct swo_error *err)
{
	struct stat st;
	struct statvfs mount;

	if (fstat(fd, &st) || fstatvfs(fd, &mount))
		return swo_error_set(err, SWO_E_INVALID, errno, "cannot examine '%s'", path);
	const bool nosuid = mount.f_flag & ST_NOSUID;
	/* This keeps IDs as they are, but a capability is still tried for. */
	const bool same_ids = nosuid || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	const mode_t set_group = S_ISGID | S_IXGRP;
	const uid_t user = !same_ids && (st.st_mode & S_ISUID) ? st.st_uid : geteuid();
	const gid_t group =
		!same_ids && (st.st_mode & set_group) == set_group ? st.st_gid : getegid();

	if (user != getuid() || group != getgid())
		return swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' would run as another user or group than its caller (set-user-ID or "
			"set-group-ID): the dynamic linker ignores LD_PRELOAD there. Start the VMM "
			"itself under `switchover exec`, or see AT_SECURE in docs/preload.md",
			path);
	if (!nosuid && getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' has file capabilities: the dynamic linker ignores LD_PRELOAD there. "
			"Set them in its parent instead (for example AmbientCapabilities= of "
			"systemd), or see AT_SECURE in docs/preload.md",
			path);
	return 0;
}

/* Fills `linker`, or leaves it empty: there is none. */
static int read_headers(int fd, const Elf64_Ehdr *elf, char linker[PATH_MAX])
{
	linker[0] = '\0';
	if (elf->e_phentsize != sizeof(Elf64_Phdr) || elf->e_phnum > HEADERS_MAX)
		return -1;
	for (unsigned i = 0; i < elf->e_phnum; i++) {
		Elf64_Phdr header;
		const uint64_t at = elf->e_phoff + i * sizeof(header);

		if (at > INT64_MAX ||
			pread(fd, &header, sizeof(header), (off_t)at) != (ssize_t)sizeof(header))
			return -1;
		if (header.p_type != PT_INTERP)
			continue;
		if (header.p_filesz < 2 || header.p_filesz > PATH_MAX ||
			header.p_offset > INT64_MAX ||
			pread(fd, linker, header.p_filesz, (off_t)header.p_offset) !=
				(ssize_t)header.p_filesz ||
			linker[header.p_filesz - 1] || !linker[0])
			return -1;
	}
	return 0;
}

static int own_machine(void)
{
	Elf64_Ehdr elf = {0};
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (pread(fd, &elf, sizeof(elf), 0) != (ssize_t)sizeof(elf))
			elf.e_machine = EM_NONE;
		close(fd);
	}
	return elf.e_machine;
}

static int check_elf(const char *path, int fd, const Elf64_Ehdr *elf, char linker[PATH_MAX],
	struct swo_error *err)
{
	const int machine = own_machine();

	if (elf->e_ident[EI_CLASS] != ELFCLASS64 || (machine && elf->e_machine != machine))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' is built for another machine than this library, which can not be "
			"loaded there",
			path);
	if (read_headers(fd, elf, linker))
		return swo_error_set(err, SWO_E_INVALID, 0, "'%s' is a damaged ELF file", path);
	if (!linker[0])
		return swo_error_set(err, SWO_E_INVALID, 0,
			"'%s' is statically linked: no library can be loaded in front of it. Use a "
			"build that "
			"is linked dynamically",
			path);
	return 0;
}

/* "#!/bin/sh -e": the interpreter's path, in place. */
static char *interpreter_of(char *head)
{
	char *at = head + 2;

	at += strspn(at, " \t");
	at[strcspn(at, " \t\n")] = '\0';
	return at;
}

static int check_file(const char *path, int depth, struct exec_program *out, struct swo_error *err)
{
	union {
		Elf64_Ehdr elf;
		char text[PATH_MAX];
	} head = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return swo_error_set(err, SWO_E_INVALID, errno, "cannot read '%s'", path);
	const ssize_t got = pread(fd, head.text, sizeof(head.text) - 1, 0);
	int rc;

	if (got > 2 && !memcmp(head.text, "#!", 2)) {
		if (depth == SCRIPTS_DEEP)
			rc = swo_error_set(
				err, SWO_E_INVALID, 0, "'%s': too many interpreters in turn", path);
		else
			rc = check_file(interpreter_of(head.text), depth + 1, out, err);
	} else if (got < (ssize_t)sizeof(head.elf) || memcmp(head.elf.e_ident, ELFMAG, SELFMAG)) {
		rc = swo_error_set(
			err, SWO_E_INVALID, 0, "'%s' is neither an ELF program nor a script", path);
	} else {
		snprintf(out->elf, sizeof(out->elf), "%s", path);
		out->is_script = depth > 0;
		rc = check_elf(path, fd, &head.elf, out->linker, err);
		if (!rc)
			rc = check_privileges(path, fd, err);
	}
	close(fd);
	return rc;
}

int exec_can_preload(const char *path, struct exec_program *out, struct swo_error *err)
{
	return check_file(path, 0, out, err);
}

static bool beside_us(char *path, size_t room)
{
	char self[PATH_MAX];
	const ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len <= 0)
		return false;
	self[len] = '\0';
	char *slash = strrchr(self, '/');

	if (!slash)
		return false;
	*slash = '\0';
	const int n = snprintf(path, room, "%s/libswitchover-preload.so", self);

	return n > 0 && (size_t)n < room && access(path, R_OK) == 0;
}

int exec_find_library(const char *given, char *path, size_t room, struct swo_error *err)
{
	if (given) {
		char real[PATH_MAX];

		if (!realpath(given, real) || access(real, R_OK) ||
			(size_t)snprintf(path, room, "%s", real) >= room)
			return swo_error_set(
				err, SWO_E_INVALID, errno, "cannot open the library '%s'", given);
	} else if (!beside_us(path, room)) {
		snprintf(path, room, "%s", SWO_LIBDIR "/libswitchover-preload.so");
		if (access(path, R_OK))
			return swo_error_set(err, SWO_E_INVALID, 0,
				"no libswitchover-preload.so beside this program or in "
				"%s; set --library",
				SWO_LIBDIR);
	}
	if (strpbrk(path, ": "))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"the library's path '%s' contains a space or a colon, which LD_PRELOAD does "
			"not support; move it to another path",
			path);
	return 0;
}

int exec_check_sandbox(const char *program, char *const argv[], struct swo_error *err)
{
	const char *slash = strrchr(program, '/');
	const char *value = NULL;

	/* QEMU's -sandbox allows threads, futexes and writes to open files: all that the library needs. */
	if (strncmp(slash ? slash + 1 : program, "cloud-hypervisor", 16))
		return 0;
	for (int i = 1; argv[i]; i++) {
		if (!strcmp(argv[i], "--seccomp") && argv[i + 1])
			value = argv[i + 1];
		else if (!strncmp(argv[i], "--seccomp=", 10))
			value = argv[i] + 10;
	}
	if (value && (!strcmp(value, "false") || !strcmp(value, "log")))
		return 0;
	return swo_error_set(err, SWO_E_INVALID, 0,
		"cloud-hypervisor's seccomp filters kill a thread that creates another one, as this "
		"library does: add `--seccomp log` or `--seccomp false` to its options");
}
