/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * identity.c - the identity of a VM: one rule, for journals and for HELLO.
 */
#include "switchover/journal.h"

#include "base/uuid.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* A UUID in any of its forms, as uuidgen prints it; false if it is malformed. */
static bool canonical_uuid(const char *text, char out[BASE_UUID_LEN + 1])
{
	size_t len;

	if (!strncasecmp(text, "urn:uuid:", strlen("urn:uuid:")))
		text += strlen("urn:uuid:");
	len = strlen(text);
	if (len == BASE_UUID_LEN + 2 && text[0] == '{' && text[len - 1] == '}')
		text++;
	else if (len != BASE_UUID_LEN)
		return false;
	if (!base_uuid_begins(text))
		return false;
	for (unsigned i = 0; i < BASE_UUID_LEN; i++)
		out[i] = (char)tolower((unsigned char)text[i]);
	out[BASE_UUID_LEN] = 0;
	return true;
}

int swo_vm_identity(
	const char *uuid, const char *name, char out[SWO_JOURNAL_VM_MAX], struct swo_error *err)
{
	char canonical[BASE_UUID_LEN + 1];

	if (uuid) {
		if (!canonical_uuid(uuid, canonical))
			return swo_error_set(err, SWO_E_INVALID, 0,
				"malformed UUID '%.60s': expected the format of uuidgen", uuid);
		strcpy(out, canonical);
		return 0;
	}
	if (!name)
		name = "";
	if (strlen(name) >= SWO_JOURNAL_VM_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"VM name: %zu bytes, at most %d; a longer one cannot be migrated",
			strlen(name), SWO_JOURNAL_VM_MAX - 1);
	strcpy(out, canonical_uuid(name, canonical) ? canonical : name);
	return 0;
}

bool swo_vm_identity_equal(const char *a, const char *b)
{
	char one[BASE_UUID_LEN + 1], other[BASE_UUID_LEN + 1];

	if (!*a || !*b)
		return false;
	if (canonical_uuid(a, one) && canonical_uuid(b, other))
		return !strcmp(one, other);
	return !strcmp(a, b);
}
