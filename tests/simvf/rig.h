/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rig.h - a simulated VF in a test: the model with a clock that the test advances, RAM of a few
 * pages, and a record of its requests to the environment.
 */
#ifndef TESTS_SIMVF_RIG_H
#define TESTS_SIMVF_RIG_H

#include "model/model.h"
#include "tests/support/cm.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MS	  UINT64_C(1000000)
#define RIG_RAM	  (16 * 4096)
#define RIG_STEPS 100000 /* more steps mean a hang */

struct rig {
	struct svf dev;
	void *memory;
	uint64_t now;
	uint64_t inbox[SVF_INBOX_WORDS];
	uint64_t sibling[SVF_INBOX_WORDS]; /* the target of P2P writes */
	uint8_t ram[RIG_RAM];
	uint64_t reads, writes, irqs[SIMVF_MSIX_VECTORS], dies, closes;
};

static int rig_dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	struct rig *rig = opaque;

	if (addr > RIG_RAM || len > RIG_RAM - addr)
		return -14;
	memcpy(buf, rig->ram + addr, len);
	rig->reads++;
	return 0;
}

static int rig_dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	struct rig *rig = opaque;

	if (addr > RIG_RAM || len > RIG_RAM - addr)
		return -14;
	memcpy(rig->ram + addr, buf, len);
	rig->writes++;
	return 0;
}

static int rig_p2p_write(void *opaque, uint64_t addr, uint64_t value)
{
	struct rig *rig = opaque;

	rig->sibling[addr / 8 % SVF_INBOX_WORDS] = value;
	return 0;
}

static bool rig_irq(void *opaque, unsigned vector)
{
	((struct rig *)opaque)->irqs[vector]++;
	return true;
}

static void rig_event(void *opaque, enum svf_event event)
{
	struct rig *rig = opaque;

	if (event == SVF_EVENT_DIE)
		rig->dies++;
	else if (event == SVF_EVENT_CLOSE)
		rig->closes++;
	else
		svf_reset(&rig->dev, rig->now);
}

static const struct svf_ops rig_ops = {.dma_read = rig_dma_read,
	.dma_write = rig_dma_write,
	.p2p_write = rig_p2p_write,
	.irq = rig_irq,
	.event = rig_event};

static inline struct rig *rig_new(const struct svf_profile *profile, unsigned flags, uint64_t seed)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct svf_config config = {.profile = *profile,
		.mig_flags = flags,
		.seed = seed,
		.ops = &rig_ops,
		.opaque = rig};

	assert_non_null(rig);
	rig->now = 1000 * MS;
	rig->memory = malloc(svf_memory_size(profile->state_bytes));
	config.memory = rig->memory;
	config.inbox = rig->inbox;
	assert_int_equal(svf_init(&rig->dev, &config, rig->now), 0);
	return rig;
}

static inline void rig_free(struct rig *rig)
{
	free(rig->memory);
	free(rig);
}

static inline struct svf_profile rig_profile(uint64_t state_bytes, uint32_t precopy_percent)
{
	struct svf_profile profile;

	svf_profile_init(&profile);
	profile.state_bytes = state_bytes;
	profile.precopy_percent = precopy_percent;
	return profile;
}

/* Advances the clock to the next event of the device. */
static inline void rig_wait(struct rig *rig)
{
	uint64_t next = svf_next(&rig->dev);

	assert_true(next != SVF_NEVER);
	if (next > rig->now)
		rig->now = next;
	svf_run(&rig->dev, rig->now);
}

/* Advances the clock by `ns`, with every event at its due time. */
static inline void rig_pass(struct rig *rig, uint64_t ns)
{
	uint64_t end = rig->now + ns;

	while (svf_next(&rig->dev) <= end)
		rig_wait(rig);
	rig->now = end;
	svf_run(&rig->dev, rig->now);
}

static inline int rig_go(struct rig *rig, unsigned state)
{
	int rc = svf_set_state(&rig->dev, state, rig->now);

	for (unsigned i = 0; rc == SVF_PENDING; i++) {
		assert_true(i < RIG_STEPS);
		rig_wait(rig);
		rc = svf_advance(&rig->dev, rig->now);
	}
	return rc;
}

/* One read as a server does it: -errno or the number of bytes. */
static inline long rig_read(struct rig *rig, void *buf, size_t len)
{
	size_t got = 0;
	int rc = 0;

	for (unsigned i = 0; i < RIG_STEPS; i++) {
		rc = svf_read(&rig->dev, buf, len, &got, rig->now);
		if (rc != SVF_PENDING)
			break;
		rig_wait(rig);
	}
	return rc < 0 ? rc : (long)got;
}

static inline int rig_write(struct rig *rig, const void *buf, size_t len)
{
	int rc = SVF_PENDING;

	for (unsigned i = 0; i < RIG_STEPS; i++) {
		rc = svf_write(&rig->dev, buf, len, rig->now);
		if (rc != SVF_PENDING)
			break;
		rig_wait(rig);
	}
	return rc;
}

struct bytes {
	uint8_t *data;
	size_t len, room;
};

/* Reads until 0, in pieces of `chunk`, appending to the stream. */
static inline long rig_read_all(struct rig *rig, struct bytes *out, size_t chunk)
{
	for (;;) {
		long n;

		if (out->room - out->len < chunk) {
			out->room = 2 * out->room + chunk;
			out->data = realloc(out->data, out->room);
			assert_non_null(out->data);
		}
		n = rig_read(rig, out->data + out->len, chunk);
		if (n <= 0)
			return n;
		out->len += (size_t)n;
	}
}

static inline int rig_write_all(struct rig *rig, const uint8_t *data, size_t len, size_t chunk)
{
	while (len) {
		size_t n = len < chunk ? len : chunk;
		int rc = rig_write(rig, data, n);

		if (rc)
			return rc;
		data += n;
		len -= n;
	}
	return 0;
}

static inline void rig_doorbell(struct rig *rig, unsigned vcpu, uint64_t number)
{
	uint64_t done;

	assert_int_equal(svf_region_write(&rig->dev, SIMVF_BAR_REGS, SIMVF_DOORBELL(vcpu), &number,
				 8, rig->now, &done),
		0);
}

static inline void rig_set(struct rig *rig, uint64_t reg, uint64_t value, size_t len)
{
	uint64_t done;

	svf_run(&rig->dev, rig->now);
	assert_int_equal(
		svf_region_write(&rig->dev, SIMVF_BAR_REGS, reg, &value, len, rig->now, &done), 0);
}

static inline uint64_t rig_get(struct rig *rig, uint64_t reg, size_t len)
{
	uint64_t value = 0;

	svf_run(&rig->dev, rig->now);
	assert_int_equal(svf_region_read(&rig->dev, SIMVF_BAR_REGS, reg, &value, len), 0);
	return value;
}

#endif
