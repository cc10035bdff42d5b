/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello.h - the first messages of both sides, as JSON: the VM to migrate, and the check of its
 * compatibility.
 */
#ifndef MIGRATION_HELLO_H
#define MIGRATION_HELLO_H

#include "migration/agreement.h"

/* The HELLO of a source. The structure owns the strings: migration_hello_free. */
struct hello {
	char id[40];
	uint64_t nonce; /* in READY and in every reply to GO and ASK; 0: the source is older */
	unsigned minor; /* minor version of the protocol, of the source */
	char *identity; /* of the VM; "": it has none */
	unsigned channels;
	bool running; /* at present; END_ALL is decisive */
	enum swo_when finalise;
	enum swo_when config;
	enum swo_handover handover;
	bool allow_no_p2p; /* several devices, although one has no P2P state */
	char *layout;
	struct swo_agreement agreement;
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
		uint64_t window; /* the most bytes in flight */
		bool spread;	 /* its stream uses all channels */
	} * devices;
};

void migration_hello_free(struct hello *hello);
int migration_hello_format(const struct hello *hello, struct swo_buf *out, struct swo_error *err);
/* The input is not trusted; at most SWO_DEVICES_MAX devices. */
int migration_hello_parse(const void *data, size_t len, struct hello *out, struct swo_error *err);

/*
 * The target's reply. It also has the costs of each device's arcs on the target; unknown costs
 * are left out, and the rest of that structure is not sent.
 */
struct migration_hello_ok {
	unsigned minor; /* minor version of the protocol: the lower of both */
	uint64_t ticket;
	uint64_t link_window;	    /* of the target; 0: it cannot enlarge windows */
	enum swo_handover handover; /* as performed; COPY: the target may not support others */
};
int migration_hello_ok_format(const struct swo_device_costs *costs, unsigned count,
	const struct migration_hello_ok *ok, struct swo_buf *out, struct swo_error *err);
int migration_hello_ok_parse(const void *data, size_t len, struct swo_device_costs *costs,
	unsigned count, struct migration_hello_ok *out, struct swo_error *err);

/* Describes `vm` (without id, channels, running, windows). */
int migration_hello_describe(const struct swo_vm *vm, struct hello *out, struct swo_error *err);
/* Several devices, of `side`, need the P2P states, unless `allow`. */
int migration_hello_check_p2p(
	const struct hello *hello, const char *side, bool allow, struct refusal *why);
/* Checks that the source's HELLO is compatible with this VM. */
int migration_hello_check(const struct hello *source, const struct swo_vm *vm,
	const struct swo_migration_params *params, struct refusal *why);

#endif
