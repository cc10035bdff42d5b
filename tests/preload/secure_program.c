/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * secure_program.c - prints whether it runs with AT_SECURE, and with the library. With an argument
 * it then waits for the end of its input. `drop PROGRAM...` starts a program as another user.
 */
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define OTHER_USER 65534

static int drop(char **argv)
{
	if (setgroups(0, NULL) || setresgid(OTHER_USER, OTHER_USER, OTHER_USER) ||
		setresuid(OTHER_USER, OTHER_USER, OTHER_USER))
		return 125;
	execvp(argv[0], argv);
	return 125;
}

int main(int argc, char **argv)
{
	char line[512], *library = "no";
	FILE *maps = fopen("/proc/self/maps", "re");

	if (argc > 2 && !strcmp(argv[1], "drop"))
		return drop(argv + 2);
	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "/libswitchover-preload.so"))
			library = "with";
	if (maps)
		fclose(maps);
	printf("secure %lu, %s library\n", getauxval(AT_SECURE), library);
	fflush(stdout);
	while (argc > 1 && getchar() != EOF)
		;
	return 0;
}
