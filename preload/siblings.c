/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * siblings.c - the rules of docs/preload.md: the same arc from the same state, none out of
 * P2P before all are in it, and one failure at a barrier takes everything back.
 */
#include "siblings.h"

#include "device/core/vfio_abi.h"
#include "state.h"
#include "worker.h"

static bool has_p2p(const struct tracked_device *device)
{
	return device->flags & VFIO_MIGRATION_P2P;
}

static void learn(struct tracked_device *device)
{
	if (device->state == FLEET_STATE_UNKNOWN && device->ahead == FLEET_IDLE && !device->calls)
		device->state = state_get(device->fd);
}

static bool goes_along(const struct tracked_device *other, const struct tracked_device *asked)
{
	return other != asked && other->ahead == FLEET_IDLE && !other->calls && !other->failed &&
	       has_p2p(other) && other->state == asked->state;
}

/* Is it where the arc leads already, as far as DMA is concerned? */
static bool is_there(uint32_t state, uint32_t to)
{
	const bool runs = state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_PRE_COPY;
	const bool will_run = to == SWO_DEVICE_RUNNING || to == SWO_DEVICE_PRE_COPY;

	return state != FLEET_STATE_UNKNOWN && state != SWO_DEVICE_ERROR && runs == will_run;
}

/*
 * No device leaves P2P, by our doing, while one that has P2P has not been asked into it. (What is
 * asked for counts: an arc of ours that is under way has been begun, but the VMM has not seen it.)
 */
static bool barrier_allows(const struct tracked_device *asked, const struct pattern_arc *arc)
{
	if (!arc->via && !pattern_leaves_p2p(arc->from, arc->to))
		return true;
	devices_for_each(other)
	{
		if (other == asked || !has_p2p(other) || goes_along(other, asked))
			continue;
		if (!pattern_is_p2p(other->state) && !is_there(other->state, arc->to))
			return false;
	}
	return true;
}

static void await_all(struct tracked_device **taken, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		while (taken[i]->ahead == FLEET_WORKS)
			pthread_cond_wait(&fleet.changed, &fleet.lock);
}

/* Back to where the VMM believes them. What was resuming cannot go back: it stays at the barrier,
   from which the arc that the VMM is going to ask for leads on all the same. */
static void take_back(struct tracked_device **taken, unsigned count, uint32_t from)
{
	for (unsigned i = 0; i < count; i++)
		if (taken[i]->result.rc == 0 && from != SWO_DEVICE_RESUMING)
			worker_begin(taken[i], taken[i]->step, from, from);
	await_all(taken, count);
	for (unsigned i = 0; i < count; i++) {
		taken[i]->state = taken[i]->result.rc ? FLEET_STATE_UNKNOWN : taken[i]->step;
		devices_set_speculation(taken[i], FLEET_IDLE);
	}
	pthread_cond_broadcast(&fleet.changed);
}

/* Takes all to the barrier that the VMM leaves out. False: one does not get there. */
static bool pass_barrier(struct tracked_device *asked, const struct pattern_arc *arc,
	struct tracked_device **taken, unsigned count)
{
	struct device_result own;
	const int fd = asked->fd;
	bool all = true;

	for (unsigned i = 0; i < count; i++)
		worker_begin(taken[i], arc->from, arc->to, arc->via);
	const unsigned generation = devices_call_begin(asked);

	pthread_mutex_unlock(&fleet.lock);
	state_set(fd, arc->via, &own);
	pthread_mutex_lock(&fleet.lock);
	if (devices_call_end(asked, generation))
		asked->state = own.rc < 0 ? FLEET_STATE_UNKNOWN : arc->via;
	await_all(taken, count);
	for (unsigned i = 0; i < count; i++)
		all = all && taken[i]->result.rc == 0;
	return all && own.rc == 0;
}

unsigned siblings_begin(enum pattern_vmm vmm, struct tracked_device *device, uint32_t to)
{
	struct tracked_device *taken[FLEET_DEVICES_MAX];
	unsigned count = 0;

	if (fleet.count < 2 || !has_p2p(device) || device->calls)
		return 0;
	devices_for_each(other) learn(other);
	const struct pattern_arc *arc = foresee(vmm, device->state, to);

	if (!arc || !barrier_allows(device, arc))
		return 0;
	devices_for_each(other)
	{
		if (!goes_along(other, device))
			continue;
		if (worker_ready(other))
			taken[count++] = other;
		else if (arc->via)
			return 0; /* it would be left behind at the barrier */
	}
	if (count == 0)
		return 0;
	if (arc->via && !pass_barrier(device, arc, taken, count)) {
		take_back(taken, count, arc->from);
		return 0;
	}
	for (unsigned i = 0; i < count; i++)
		worker_begin(taken[i], arc->from, arc->to, arc->to);
	return count;
}
