/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * siblings.c - the rules of docs/preload.md: the same arc from the same state, no device leaves
 * P2P before all are in it, and one failure at a barrier rolls all devices back.
 */
#include "siblings.h"

#include "device/core/vfio_abi.h"
#include "state.h"
#include "worker.h"

static bool has_p2p(const struct tracked_device *device)
{
	return device->flags & VFIO_MIGRATION_P2P;
}

static bool any_has_p2p(void)
{
	devices_for_each(device) if (has_p2p(device)) return true;
	return false;
}

static void read_unknown_state(struct tracked_device *device)
{
	if (device->state == STATE_UNKNOWN && device->speculation == SPECULATION_NONE &&
		!device->calls)
		device->state = state_get(device->fd);
}

static bool may_follow(const struct tracked_device *other, const struct tracked_device *requested)
{
	return other != requested && other->speculation == SPECULATION_NONE && !other->calls &&
	       !other->failed && has_p2p(other) == has_p2p(requested) &&
	       other->state == requested->state;
}

/* True if the device is already where the arc leads, as far as DMA is concerned. */
static bool is_there(uint32_t state, uint32_t to)
{
	const bool runs = state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_PRE_COPY;
	const bool will_run = to == SWO_DEVICE_RUNNING || to == SWO_DEVICE_PRE_COPY;

	return state != STATE_UNKNOWN && state != SWO_DEVICE_ERROR && runs == will_run;
}

/*
 * The library moves no device out of P2P while a P2P-capable device has not been requested to
 * enter it. Requests count, not states: the VMM has not yet seen an arc that was started
 * speculatively.
 */
static bool barrier_allows(const struct tracked_device *requested, const struct pattern_arc *arc)
{
	if (!arc->via && !pattern_leaves_p2p(arc->from, arc->to))
		return true;
	devices_for_each(other)
	{
		if (other == requested || !has_p2p(other) || may_follow(other, requested))
			continue;
		if (!pattern_is_p2p(other->state) && !is_there(other->state, arc->to))
			return false;
	}
	return true;
}

static void await_all(struct tracked_device **taken, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		while (taken[i]->speculation == SPECULATION_RUNS)
			pthread_cond_wait(&devices.changed, &devices.lock);
}

/*
 * Returns the devices to the state that the VMM has for them. A resuming device cannot return:
 * it stays at the barrier, from where the arc that the VMM will request is legal as well.
 */
static void take_back(struct tracked_device **taken, unsigned count, uint32_t from)
{
	for (unsigned i = 0; i < count; i++)
		if (taken[i]->result.rc == 0 && from != SWO_DEVICE_RESUMING)
			worker_start(taken[i], taken[i]->step, from, from);
	await_all(taken, count);
	for (unsigned i = 0; i < count; i++) {
		taken[i]->state = taken[i]->result.rc ? STATE_UNKNOWN : taken[i]->step;
		devices_set_speculation(taken[i], SPECULATION_NONE);
	}
	pthread_cond_broadcast(&devices.changed);
}

/* Moves all devices to the barrier that the VMM leaves out. False: one of them failed. */
static bool pass_barrier(struct tracked_device *requested, const struct pattern_arc *arc,
	struct tracked_device **taken, unsigned count)
{
	struct device_result own;
	const int fd = requested->fd;
	bool all = true;

	for (unsigned i = 0; i < count; i++)
		worker_start(taken[i], arc->from, arc->to, arc->via);
	const unsigned generation = devices_call_begin(requested);

	pthread_mutex_unlock(&devices.lock);
	state_set(fd, arc->via, &own);
	pthread_mutex_lock(&devices.lock);
	if (devices_call_end(requested, generation))
		requested->state = own.rc < 0 ? STATE_UNKNOWN : arc->via;
	await_all(taken, count);
	for (unsigned i = 0; i < count; i++)
		all = all && taken[i]->result.rc == 0;
	return all && own.rc == 0;
}

unsigned siblings_start(enum pattern_vmm vmm, struct tracked_device *device, uint32_t to)
{
	struct tracked_device *taken[TRACKED_MAX];
	unsigned count = 0;
	const bool p2p = any_has_p2p();

	/* Next to devices with P2P states one without them is left alone. What a VMM requests of a
	   device that has just failed is its way to handle that, not part of a pass. */
	if (devices.count < 2 || has_p2p(device) != p2p || device->calls || device->failed)
		return 0;
	devices_for_each(other) read_unknown_state(other);
	const struct pattern_arc *arc = pattern_find(vmm, p2p, device->state, to);

	if (!arc || !barrier_allows(device, arc))
		return 0;
	devices_for_each(other)
	{
		if (!may_follow(other, device))
			continue;
		if (worker_ready(other))
			taken[count++] = other;
		else if (arc->via)
			return 0; /* this device would not reach the barrier */
	}
	if (count == 0)
		return 0;
	if (arc->via && !pass_barrier(device, arc, taken, count)) {
		take_back(taken, count, arc->from);
		return 0;
	}
	for (unsigned i = 0; i < count; i++)
		worker_start(taken[i], arc->from, arc->to, arc->to);
	return count;
}
