/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_hello.c - the first messages of both sides: HELLO and HELLO_OK.
 */
#include "fuzz.h"
#include "journal/write.h"
#include "migration/hello.h"
#include "migration/wire.h"

#include <string.h>

/* The same costs come out of what is sent again, unknown ones too. */
static void check_answer(
	const struct swo_device_costs *costs, unsigned count, const struct migration_hello_ok *ok)
{
	struct swo_buf text = SWO_BUF_INIT(WIRE_HELLO_MAX);
	struct swo_device_costs twin[4];
	struct migration_hello_ok again;

	fuzz_check(!migration_hello_ok_format(costs, count, ok, &text, NULL));
	fuzz_check(!migration_hello_ok_parse(text.data, text.len, twin, count, &again, NULL));
	fuzz_check(again.ticket == ok->ticket && again.handover == ok->handover);
	for (unsigned i = 0; i < count; i++) {
		fuzz_check(twin[i].resuming_to_stop_ns == costs[i].resuming_to_stop_ns);
		fuzz_check(twin[i].stop_to_p2p_ns == costs[i].stop_to_p2p_ns);
		fuzz_check(twin[i].p2p_to_running_ns == costs[i].p2p_to_running_ns);
	}
	swo_buf_free(&text);
}

/* They match, and a difference is one line with an end. */
static void check_same(const struct hello *hello, const struct hello *twin)
{
	static struct swo_agreement none;
	struct refusal why = {0};

	fuzz_check(hello->nonce == twin->nonce && hello->allow_no_p2p == twin->allow_no_p2p);
	fuzz_check(journal_is_id(hello->id) && !strcmp(hello->id, twin->id));
	fuzz_check(hello->agreement.count <= SWO_AGREEMENT_MAX);
	fuzz_check(!migration_agreement_check(&hello->agreement, &twin->agreement, &why));
	fuzz_check(!migration_agreement_check_lines(hello->layout, twin->layout, &why));
	if (!hello->agreement.count)
		return;
	fuzz_check(migration_agreement_check(&hello->agreement, &none, &why));
	fuzz_check(why.full.text[0] && !strchr(why.full.text, '\n') && why.brief[0]);
}

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
		/* A parsed HELLO can be built again, and parsed again. */
		if (!migration_hello_format(&hello, &text, NULL)) {
			struct hello twin;

			fuzz_check(!migration_hello_parse(text.data, text.len, &twin, NULL));
			check_same(&hello, &twin);
			migration_hello_free(&twin);
		}
		swo_buf_free(&text);
		migration_hello_free(&hello);
	}
	if (!migration_hello_ok_parse(data, size, costs, count % 5, &ok, NULL))
		check_answer(costs, count % 5, &ok);
	return 0;
}
