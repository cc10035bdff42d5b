/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * profile.h - the costs of a device: its arcs, its state, its rates, parsed from "key = value"
 * text. Freestanding, like the model: the simulator, the kernel module and `switchover plan`
 * share it.
 */
#ifndef SIMVF_PROFILES_PROFILE_H
#define SIMVF_PROFILES_PROFILE_H

#ifdef __KERNEL__
#include <linux/types.h>
#ifndef UINT64_C
#define UINT64_C(c) c##ULL
#endif
#ifndef UINT64_MAX
#define UINT64_MAX (~UINT64_C(0))
#define UINT32_MAX (~0u)
#endif
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#define SVF_PROFILE_NAME 32
#define SVF_BLOCK	 4096u
#define SVF_STATE_MAX	 (UINT64_C(16) << 30)
#define SVF_GRANT	 (UINT64_C(1) << 20) /* the unit of work of the engines, and of a PF */

struct svf_profile {
	char name[SVF_PROFILE_NAME];
	uint64_t to_p2p_ns;	       /* RUNNING->RUNNING_P2P, PRE_COPY->PRE_COPY_P2P */
	uint64_t to_stop_copy_ns;      /* PRE_COPY_P2P->STOP_COPY, RUNNING_P2P->STOP */
	uint64_t resuming_to_stop_ns;  /* after everything is loaded */
	uint64_t to_running_p2p_ns;    /* STOP->RUNNING_P2P */
	uint64_t to_running_ns;	       /* RUNNING_P2P->RUNNING, PRE_COPY_P2P->PRE_COPY */
	uint64_t config_load_ns;       /* a write to PCI_COMMAND while it is restored */
	uint64_t state_bytes;	       /* whole blocks */
	uint64_t save_rate, load_rate; /* bytes/s; 0: no limit */
	uint64_t load_fixed_ns;	       /* of each load, in the write that completes the image */
	uint32_t precopy_percent;      /* share of the state that PRE_COPY can send */
	bool shared_pf;		       /* by default all VFs of it are on one PF */
	bool guesses;		       /* some of these are estimates */
};

void svf_profile_init(struct svf_profile *profile);
/* The part of the state that can be sent while the device runs. */
static inline uint64_t svf_profile_precopy_bytes(const struct svf_profile *p)
{
	return p->state_bytes / 100 * p->precopy_percent +
	       p->state_bytes % 100 * p->precopy_percent / 100;
}
/* Sets one figure from text; false, with *why, if the key or the value is invalid. */
bool svf_profile_set(
	struct svf_profile *profile, const char *key, const char *value, const char **why);
/* "key = value" lines, # comments. On failure *line has the line, *why the reason. */
bool svf_profile_parse(struct svf_profile *profile, const char *text, size_t len, unsigned *line,
	const char **why);

#endif
