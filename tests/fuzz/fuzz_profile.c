/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_profile.c - profile files: accepted ones make a device, for others the error has the
 * line.
 */
#include "fuzz.h"
#include "model/model.h"

#include <stdlib.h>

static const struct svf_ops no_ops;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct svf_profile profile;
	const char *why = NULL;
	unsigned line = 0;

	svf_profile_init(&profile);
	if (!svf_profile_parse(&profile, (const char *)data, size, &line, &why)) {
		fuzz_check(why && line >= 1 && line <= size + 1);
		return 0;
	}
	if (profile.state_bytes > 4 << 20)
		return 0;
	struct svf *dev = malloc(sizeof(*dev));
	void *memory = malloc(svf_memory_size(profile.state_bytes));
	uint64_t inbox[SVF_INBOX_WORDS] = {0};
	struct svf_config config = {.profile = profile,
		.mig_flags = 7,
		.ops = &no_ops,
		.memory = memory,
		.inbox = inbox};

	fuzz_check(dev && memory);
	(void)!svf_init(dev, &config, 1);
	free(memory);
	free(dev);
	return 0;
}
