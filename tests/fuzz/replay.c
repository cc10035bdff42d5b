/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay.c - feeds a fuzzer every file of its corpus, so that old findings stay found.
 * A crash is the failure. Usage: fuzz-NAME DIRECTORY. Prints TAP.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (1 << 20)

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static bool replay(const char *dir, const char *name)
{
	static uint8_t buffer[INPUT_MAX];
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FILE *in = fopen(path, "rb");
	if (!in)
		return false;
	size_t len = fread(buffer, 1, sizeof(buffer), in);
	bool bad = ferror(in) || fclose(in);

	/* Of its own size: reading past its end is noticed by a sanitizer. */
	uint8_t *input = bad ? NULL : malloc(len ? len : 1);
	if (!input)
		return false;
	memcpy(input, buffer, len);
	LLVMFuzzerTestOneInput(input, len);
	free(input);
	return true;
}

int main(int argc, char **argv)
{
	struct dirent **names;
	int count = argc == 2 ? scandir(argv[1], &names, is_input, alphasort) : -1;
	int failed = 0;

	if (count < 1) {
		fprintf(stderr, "usage: %s CORPUS (which has at least one file)\n", argv[0]);
		return 2;
	}
	swo_log_set(SWO_LOG_ERROR, fuzz_quiet, NULL);
	printf("1..1\n");
	for (int i = 0; i < count; i++) {
		/* Before it, for it may be the last one. */
		printf("# %s\n", names[i]->d_name);
		fflush(stdout);
		failed += !replay(argv[1], names[i]->d_name);
		free(names[i]);
	}
	free(names);
	printf("%sok 1 - none of %d inputs is a finding\n", failed ? "not " : "", count);
	return failed ? 1 : 0;
}
