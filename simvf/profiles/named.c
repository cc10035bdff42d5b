/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * named.c - finds a profile by name: one of this folder, which are built in, or a file in the
 * same format.
 */
#include "named.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX 65536

static const struct {
	const char *name, *text;
} built_in[] = {
#include "profiles.inc"
};

const char *svf_profile_names(void)
{
	static char names[512];

	if (!names[0])
		for (size_t i = 0; i < SWO_ARRAY_SIZE(built_in); i++) {
			size_t at = strlen(names);

			snprintf(names + at, sizeof(names) - at, "%s%s", i ? ", " : "",
				built_in[i].name);
		}
	return names;
}

static int parse(const char *name, const char *text, size_t len, struct svf_profile *profile,
	struct swo_error *err)
{
	const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
	const char *why = NULL;
	unsigned line = 0;

	svf_profile_init(profile);
	snprintf(profile->name, sizeof(profile->name), "%.*s",
		(int)(strcspn(base, ".") < sizeof(profile->name) - 1 ? strcspn(base, ".")
								     : sizeof(profile->name) - 1),
		base);
	if (!svf_profile_parse(profile, text, len, &line, &why))
		return swo_error_set(
			err, SWO_E_INVALID, 0, "profile '%s', line %u: %s", name, line, why);
	return 0;
}

int svf_profile_load(const char *name, struct svf_profile *profile, struct swo_error *err)
{
	char *text = NULL;
	size_t len;
	FILE *file;
	int rc;

	for (size_t i = 0; i < SWO_ARRAY_SIZE(built_in); i++)
		if (!strcmp(name, built_in[i].name))
			return parse(
				name, built_in[i].text, strlen(built_in[i].text), profile, err);
	if (!strchr(name, '/') && !strchr(name, '.'))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"unknown profile '%s'; expected one of %s, or a file", name,
			svf_profile_names());
	file = fopen(name, "re");
	if (!file)
		return swo_error_set(err, SWO_E_IO, errno, "profile '%s'", name);
	text = malloc(FILE_MAX);
	len = text ? fread(text, 1, FILE_MAX, file) : 0;
	if (!text || ferror(file) || len == FILE_MAX)
		rc = swo_error_set(err, SWO_E_INVALID, 0,
			"cannot read profile '%s', or it is longer than %d bytes", name, FILE_MAX);
	else
		rc = parse(name, text, len, profile, err);
	fclose(file);
	free(text);
	return rc;
}

bool svf_profile_shares_pf(const char *name)
{
	struct svf_profile profile;

	return !svf_profile_load(name, &profile, NULL) && profile.shared_pf;
}
