/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * command.c - see command.h.
 */
#include "command.h"

#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

char command_dir[] = "/tmp/swo-preload-XXXXXX";
char command_output[COMMAND_OUTPUT_MAX];

int command_make_dir(void **state)
{
	(void)state;
#ifdef __SANITIZE_ADDRESS__
	/* A library that is preloaded into a sanitized program comes before the sanitizer. */
	setenv("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0", 1);
#endif
	return mkdtemp(command_dir) ? 0 : -1;
}

int command_remove_dir(void **state)
{
	(void)state;
	return command_run("rm -r %s", command_dir);
}

int command_run(const char *fmt, ...)
{
	char command[8192] = "exec 2>&1; ";
	const size_t head = strlen(command);
	va_list args;

	va_start(args, fmt);
	vsnprintf(command + head, sizeof(command) - head, fmt, args);
	va_end(args);
	FILE *pipe = popen(command, "r");

	assert_non_null(pipe);
	const size_t len = fread(command_output, 1, sizeof(command_output) - 1, pipe);

	command_output[len] = '\0';
	const int status = pclose(pipe);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void command_says(const char *what)
{
	if (!strstr(command_output, what))
		fail_msg("expected: %s; got: %s", what, command_output);
}

void command_does_not_say(const char *what)
{
	if (strstr(command_output, what))
		fail_msg("not expected: %s; got: %s", what, command_output);
}
