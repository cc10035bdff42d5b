/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * states.c - the states of a device and the arcs between them, as tables. Rules: the kernel's
 * uapi linux/vfio.h, "VFIO migration v2"; no other code decides which arc is legal.
 */
#include "switchover/device.h"

bool swo_device_state_supported(enum swo_device_state state, uint64_t mig_flags)
{
	static const uint64_t needs[SWO_DEVICE_STATES] = {
		[SWO_DEVICE_ERROR] = 0,
		[SWO_DEVICE_STOP] = SWO_MIG_STOP_COPY,
		[SWO_DEVICE_RUNNING] = SWO_MIG_STOP_COPY,
		[SWO_DEVICE_STOP_COPY] = SWO_MIG_STOP_COPY,
		[SWO_DEVICE_RESUMING] = SWO_MIG_STOP_COPY,
		[SWO_DEVICE_RUNNING_P2P] = SWO_MIG_STOP_COPY | SWO_MIG_P2P,
		[SWO_DEVICE_PRE_COPY] = SWO_MIG_STOP_COPY | SWO_MIG_PRE_COPY,
		[SWO_DEVICE_PRE_COPY_P2P] = SWO_MIG_STOP_COPY | SWO_MIG_P2P | SWO_MIG_PRE_COPY,
	};
	if ((size_t)state >= SWO_DEVICE_STATES)
		return false;
	return (mig_flags & needs[state]) == needs[state];
}

/* Short names for the table. */
#define S  SWO_DEVICE_STOP
#define R  SWO_DEVICE_RUNNING
#define SC SWO_DEVICE_STOP_COPY
#define RS SWO_DEVICE_RESUMING
#define RP SWO_DEVICE_RUNNING_P2P
#define P  SWO_DEVICE_PRE_COPY
#define PP SWO_DEVICE_PRE_COPY_P2P
#define NO SWO_DEVICE_ERROR /* refused */

/*
 * The next single arc for a device that has every state. States excluded by the flags are
 * skipped: the path without a state is the path through it, shortened.
 */
static const uint8_t next_hop[SWO_DEVICE_STATES][SWO_DEVICE_STATES] = {
	/* clang-format off */
	/* now \ wanted  ERROR  S   R   SC  RS  RP  P   PP */
	[SWO_DEVICE_ERROR] = {NO, NO, NO, NO, NO, NO, NO, NO},
	[S]  =               {NO, S,  RP, SC, RS, RP, RP, RP},
	[R]  =               {NO, RP, R,  RP, RP, RP, P,  RP},
	[SC] =               {NO, S,  S,  SC, S,  S,  NO, NO},
	[RS] =               {NO, S,  S,  S,  RS, S,  S,  S},
	[RP] =               {NO, S,  R,  S,  S,  RP, R,  PP},
	[P]  =               {NO, R,  R,  PP, R,  R,  P,  PP},
	[PP] =               {NO, RP, RP, SC, RP, RP, P,  PP},
	/* clang-format on */
};

int swo_device_next_state(enum swo_device_state from, enum swo_device_state to, uint64_t mig_flags,
	enum swo_device_state *next)
{
	if (!swo_device_state_supported(from, mig_flags) ||
		!swo_device_state_supported(to, mig_flags))
		return -1;

	enum swo_device_state hop = next_hop[from][to];
	while (hop != NO && !swo_device_state_supported(hop, mig_flags))
		hop = next_hop[hop][to];
	if (hop == NO)
		return -1;
	*next = hop;
	return 0;
}
