/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trial.c - `switchover exec --check` loads the library as the VMM would, and has it report.
 */
#include "cmd/exec/check.h"

#include "base/poll.h"
#include "cmd/common/cmd.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRIAL_MS   10000
#define OUTPUT_MAX 65536
#define ANSWER	   "pattern="

/* What a program prints on both of its outputs, at most `room` of it. -1: it did not end. */
static int run(const char *path, char *const argv[], char *out, size_t room, struct swo_error *err)
{
	const swo_deadline until = swo_deadline_ms(TRIAL_MS);
	int ends[2], status;
	size_t len = 0;
	ssize_t got = -1;

	if (pipe2(ends, O_CLOEXEC))
		return swo_error_set(err, SWO_E_IO, errno, "a pipe");
	const pid_t child = fork();

	if (child == 0) {
		if (dup2(ends[1], STDOUT_FILENO) >= 0 && dup2(ends[1], STDERR_FILENO) >= 0)
			execv(path, argv);
		_exit(127);
	}
	close(ends[1]);
	while (child > 0 && len + 1 < room && !base_wait_fd(ends[0], POLLIN, until, NULL)) {
		got = read(ends[0], out + len, room - 1 - len);
		if (got <= 0)
			break;
		len += (size_t)got;
	}
	out[len] = '\0';
	close(ends[0]);
	if (child < 0)
		return swo_error_set(err, SWO_E_IO, errno, "a process for the trial");
	if (got)
		kill(child, SIGKILL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return got ? swo_error_set(err, SWO_E_IO, 0, "'%s' did not end", path) : 0;
}

/* Its first line, without what a terminal could take for more than text. */
static const char *first_line(char *output, char *line, size_t room)
{
	output[strcspn(output, "\n")] = '\0';
	swo_escape(output, line, room);
	return *line ? line : "it printed nothing";
}

int exec_try_load(const struct exec_program *program, const char *library, struct swo_error *err)
{
	char elf[PATH_MAX]; /* $ORIGIN in its search path is the folder of the file, not of a link */
	char *const argv[] = {
		(char *)program->linker, "--preload", (char *)library, "--list", elf, NULL};
	char output[OUTPUT_MAX], line[300];

	if (!realpath(program->elf, elf))
		return swo_error_set(err, SWO_E_INVALID, errno, "'%s'", program->elf);
	if (run(program->linker, argv, output, sizeof(output), err))
		return -1;
	/* "ERROR: ld.so: object ..." or "version ... not found" comes first. */
	if (strstr(output, library) && !strstr(output, "not found") && !strstr(output, "ERROR"))
		return 0;
	return swo_error_set(err, SWO_E_INVALID, 0, "%s does not load '%s' with '%s': %s",
		program->linker, library, program->elf, first_line(output, line, sizeof(line)));
}

int exec_try_pattern(const char *path, char pattern[EXEC_PATTERN_ROOM], struct swo_error *err)
{
	char *const argv[] = {(char *)path, "exec", "--trial", NULL};
	char output[4096], line[300];

	if (run("/proc/self/exe", argv, output, sizeof(output), err))
		return -1;
	const char *answer = strstr(output, ANSWER);

	if (!answer)
		return swo_error_set(err, SWO_E_INVALID, 0, "the library does not work here: %s",
			first_line(output, line, sizeof(line)));
	answer += strlen(ANSWER);
	snprintf(pattern, EXEC_PATTERN_ROOM, "%.*s", (int)strcspn(answer, "\n"), answer);
	return 0;
}

/* True in a child that goes on in the place of this process; *status is the child's otherwise. */
static bool fork_and_go_on(int *status)
{
	const pid_t child = fork();

	if (child == 0)
		return true;
	*status = CLI_FAILED;
	if (child > 0 && waitpid(child, status, 0) == child)
		*status = WIFEXITED(*status) ? WEXITSTATUS(*status) : CLI_FAILED;
	return false;
}

int exec_trial(void)
{
	void *symbol = dlsym(RTLD_DEFAULT, "switchover_preload_pattern");
	const char *(*pattern)(void);
	int status;

	memcpy(&pattern, &symbol, sizeof(pattern));
	if (!pattern || !fork_and_go_on(&status) || !fork_and_go_on(&status))
		return pattern ? status : CLI_FAILED;
	const char *name = pattern();

	if (name)
		printf(ANSWER "%s\n", name);
	return name ? CLI_OK : CLI_FAILED;
}
