/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_hello.c - the first words of both sides: HELLO, and the target's answer.
 */
#include "fuzz.h"
#include "migration/hello.h"
#include "migration/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct swo_device_costs costs[4];
	struct hello hello;
	struct migration_hello_ok ok;
	uint8_t count = 0;

	fuzz_take(&data, &size, &count, 1);
	if (!migration_hello_parse(data, size, &hello, NULL)) {
		struct swo_buf text = SWO_BUF_INIT(WIRE_HELLO_MAX);

		fuzz_check(hello.device_count <= SWO_DEVICES_MAX);
		fuzz_check(hello.ram_count <= SWO_RAM_REGIONS_MAX);
		fuzz_check(hello.channels >= 1 && hello.channels <= WIRE_CHANNELS_MAX);
		/* What was understood can be said again, and is understood again. */
		if (!migration_hello_format(&hello, &text, NULL)) {
			struct hello twin;

			fuzz_check(!migration_hello_parse(text.data, text.len, &twin, NULL));
			migration_hello_free(&twin);
		}
		swo_buf_free(&text);
		migration_hello_free(&hello);
	}
	migration_hello_ok_parse(data, size, costs, count % 5, &ok, NULL);
	return 0;
}
