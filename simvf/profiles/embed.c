/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * embed.c - a build tool: writes files to stdout as a C table of names and texts, so that the
 * program contains the profiles and the files stay the only source.
 */
#include <stdio.h>
#include <string.h>

static int embed(const char *path)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	const char *dot = strrchr(base, '.');
	FILE *file = fopen(path, "r");
	int c;

	if (!file) {
		perror(path);
		return 1;
	}
	printf("{\"%.*s\",\n\"", dot ? (int)(dot - base) : (int)strlen(base), base);
	while ((c = getc(file)) != EOF) {
		if (c == '\n')
			printf("\\n\"\n\"");
		else if (c == '"' || c == '\\')
			printf("\\%c", c);
		else
			putchar(c);
	}
	printf("\"},\n");
	return fclose(file);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (embed(argv[i]))
			return 1;
	return 0;
}
