/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello.h - the first words of both sides, as JSON: what is to be moved, and
 * whether it fits.
 */
#ifndef MIGRATION_HELLO_H
#define MIGRATION_HELLO_H

#include "switchover/migration.h"

/* What a source says of itself. Strings are owned by the struct: migration_hello_free. */
struct hello {
	char id[40];
	unsigned minor; /* version of the wire, as the source has it */
	char *identity; /* of the VM; "": it has none */
	unsigned channels;
	bool running; /* now; END_ALL has the last word */
	enum swo_when finalise;
	enum swo_when config;
	enum swo_handover handover;
	char *layout;
	unsigned ram_count;
	struct migration_hello_ram {
		char name[SWO_RAM_NAME_MAX];
		uint64_t gpa;
		uint64_t size;
	} ram[SWO_RAM_REGIONS_MAX];
	unsigned device_count;
	struct migration_hello_device {
		char name[32];
		uint64_t mig_flags;
		uint64_t window; /* bytes it may have in flight */
		bool spread;	 /* its stream uses all channels */
	} * devices;
};

void migration_hello_free(struct hello *hello);
int migration_hello_format(const struct hello *hello, struct swo_buf *out, struct swo_error *err);
/* Trusts nothing; at most SWO_DEVICES_MAX devices. */
int migration_hello_parse(const void *data, size_t len, struct hello *out, struct swo_error *err);

/*
 * The target's answer. Beside it go the costs of each device's arcs on the target; what is not
 * known of them is left out, and the rest of the structure is not sent.
 */
struct migration_hello_ok {
	unsigned minor; /* version of the wire: the lower of both sides' */
	uint64_t ticket;
	enum swo_handover handover; /* what it has done; COPY: it may not know another way */
};
int migration_hello_ok_format(const struct swo_device_costs *costs, unsigned count,
	const struct migration_hello_ok *ok, struct swo_buf *out, struct swo_error *err);
int migration_hello_ok_parse(const void *data, size_t len, struct swo_device_costs *costs,
	unsigned count, struct migration_hello_ok *out, struct swo_error *err);

/* Describes `vm` (not id, channels, running, windows). */
int migration_hello_describe(const struct swo_vm *vm, struct hello *out, struct swo_error *err);
/* Does what the source says fit this VM? The error says what differs, and on which side. */
int migration_hello_check(
	const struct hello *source, const struct swo_vm *vm, struct swo_error *err);

#endif
