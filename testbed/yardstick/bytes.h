/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bytes.h - what bench/bytes measures: RAM of a machine that stands still, beside QEMU's in the
 * same run; and device state through the engine, beside plain sockets in the same run.
 */
#ifndef TESTBED_YARDSTICK_BYTES_H
#define TESTBED_YARDSTICK_BYTES_H

#include "switchover/base.h"

#define BYTES_ROUNDS_MAX 99

struct bytes_setting {
	uint64_t ram;
	uint64_t state; /* bytes of all devices together */
	unsigned channels, rounds, devices;
	bool tcp, no_qemu;
	const char *qemu;
	char dir[64]; /* sockets */
};

/* Who carries RAM. */
enum bytes_who {
	BYTES_SWITCHOVER,
	BYTES_SWITCHOVER_PREALLOC,
	BYTES_QEMU,
	BYTES_QEMU_PREALLOC,
	BYTES_WHO_COUNT
};
extern const char *const bytes_who_names[BYTES_WHO_COUNT];

/* What moving bytes came to. */
struct bytes_speed {
	double rate; /* bytes/s */
	double cpu;  /* seconds of all threads, both sides */
};

/*
 * Two machines, the source's RAM written to the last page, neither runs. From `migrate`
 * until both report completion. Ours: every page is compared then.
 */
int bytes_ram(const struct bytes_setting *s, enum bytes_who who, struct bytes_speed *speed,
	struct swo_error *err);

/* `s->devices` devices whose state is in memory already, out of one engine and into another,
 * from memory to memory. */
int bytes_state_engine(
	const struct bytes_setting *s, struct bytes_speed *speed, struct swo_error *err);
/* The same number of bytes over s->channels plain sockets; tuned: with the engine's socket options
 * (channel/tune.h), else with large buffers and the system's congestion control. */
int bytes_state_plain(const struct bytes_setting *s, bool tuned, struct bytes_speed *speed,
	struct swo_error *err);

#endif
