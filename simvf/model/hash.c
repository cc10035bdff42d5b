/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * hash.c - the stream's checksum: 64-bit words in four independent lanes, so that it runs near
 * memory speed without special instructions. Also the hash by which two devices are compared.
 */
#include "internal.h"

#define PRIME UINT64_C(0x9fb21c651e98df25)

static uint64_t step(uint64_t lane, uint64_t word)
{
	lane = (lane ^ word) * PRIME;
	return lane ^ (lane >> 29);
}

uint64_t svf_hash(uint64_t seed, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t lane[4] = {seed, seed + 1, seed + 2, seed + 3};
	size_t left = len;

	for (; left >= 32; left -= 32, p += 32) {
		lane[0] = step(lane[0], svf_word(p));
		lane[1] = step(lane[1], svf_word(p + 8));
		lane[2] = step(lane[2], svf_word(p + 16));
		lane[3] = step(lane[3], svf_word(p + 24));
	}
	for (; left >= 8; left -= 8, p += 8)
		lane[0] = step(lane[0], svf_word(p));
	return svf_chain(svf_chain(svf_chain(svf_mix(lane[0] + len), lane[1]), lane[2]), lane[3]);
}

uint64_t svf_record_checksum(const struct svf_record *record, const void *payload)
{
	uint64_t sum = svf_hash(SVF_KIND, record, offsetof(struct svf_record, checksum));

	return svf_hash(sum, payload, record->length);
}

uint64_t svf_state_hash(const struct svf *dev)
{
	const uint64_t *inbox = dev->inbox_still;
	uint64_t hash = svf_hash(dev->seed, &dev->regs, sizeof(dev->regs));

	hash = svf_hash(hash, inbox, sizeof(dev->inbox_still));
	hash = svf_chain(hash, dev->version_sum);
	return svf_chain(hash, dev->blocks);
}
