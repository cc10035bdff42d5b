/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only */
/*
 * states.c - the migration states, and the next arc on the path to another state. Source:
 * linux/vfio.h, "VFIO migration v2".
 */
#include "internal.h"

#include "base/state_names.h"

static const char *const names[SVF_STATES] = STATE_NAMES;

const char *svf_state_name(unsigned state)
{
	return state < SVF_STATES ? names[state] : "?";
}

int svf_state_by_name(const char *name, size_t len)
{
	for (int state = 0; state < SVF_STATES; state++)
		if (svf_text_is(name, len, names[state]))
			return state;
	return -1;
}

#define BIT(state) (1u << SVF_##state)

/* Single arcs. For a device without P2P, those around the P2P states are merged. */
static const uint8_t arcs_p2p[SVF_STATES] = {
	[SVF_RUNNING] = BIT(RUNNING_P2P) | BIT(PRE_COPY),
	[SVF_RUNNING_P2P] = BIT(RUNNING) | BIT(STOP) | BIT(PRE_COPY_P2P),
	[SVF_PRE_COPY] = BIT(RUNNING) | BIT(PRE_COPY_P2P),
	[SVF_PRE_COPY_P2P] = BIT(RUNNING_P2P) | BIT(PRE_COPY) | BIT(STOP_COPY),
	[SVF_STOP] = BIT(RUNNING_P2P) | BIT(STOP_COPY) | BIT(RESUMING),
	[SVF_STOP_COPY] = BIT(STOP),
	[SVF_RESUMING] = BIT(STOP),
};
static const uint8_t arcs_plain[SVF_STATES] = {
	[SVF_RUNNING] = BIT(STOP) | BIT(PRE_COPY),
	[SVF_PRE_COPY] = BIT(RUNNING) | BIT(STOP_COPY),
	[SVF_STOP] = BIT(RUNNING) | BIT(STOP_COPY) | BIT(RESUMING),
	[SVF_STOP_COPY] = BIT(STOP),
	[SVF_RESUMING] = BIT(STOP),
};

static unsigned usable(unsigned mig_flags)
{
	unsigned set = BIT(STOP) | BIT(RUNNING) | BIT(STOP_COPY) | BIT(RESUMING);

	if (mig_flags & SVF_MIG_P2P)
		set |= BIT(RUNNING_P2P);
	if (mig_flags & SVF_MIG_PRE_COPY)
		set |= BIT(PRE_COPY);
	if ((mig_flags & SVF_MIG_P2P) && (mig_flags & SVF_MIG_PRE_COPY))
		set |= BIT(PRE_COPY_P2P);
	return set;
}

int svf_next_state(unsigned from, unsigned to, unsigned mig_flags)
{
	const uint8_t *arcs = mig_flags & SVF_MIG_P2P ? arcs_p2p : arcs_plain;
	unsigned allowed = usable(mig_flags), inner = allowed, reached;

	if (from >= SVF_STATES || to >= SVF_STATES || !(allowed & (1u << from)) ||
		!(allowed & (1u << to)))
		return -SVF_EINVAL;
	if (from == to)
		return (int)to;
	if (from == SVF_STOP_COPY && svf_state_saves(to))
		return -SVF_EINVAL;
	/* A data session may not be opened and closed along the path: only within the saving
	   group may a path lead through it. */
	if (!svf_state_saves(from) || !svf_state_saves(to))
		inner &= ~(BIT(PRE_COPY) | BIT(PRE_COPY_P2P) | BIT(STOP_COPY));
	/* Breadth-first, backwards from `to`, until a neighbour of `from` is reached. */
	reached = 1u << to;
	for (unsigned ring = 0; ring < SVF_STATES; ring++) {
		unsigned hit = arcs[from] & reached & (inner | (1u << to));

		if (hit)
			return __builtin_ctz(hit);
		for (unsigned state = 0; state < SVF_STATES; state++)
			if ((inner & (1u << state)) && (arcs[state] & reached))
				hit |= 1u << state;
		reached |= hit;
	}
	return -SVF_EINVAL;
}
