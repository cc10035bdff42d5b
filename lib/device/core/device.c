/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.c - creates a device on top of a backend, reads its features and state, and frees or
 * leaks it; and the accessors of what has been measured.
 */
#include "device/core/internal.h"

#include "base/memory.h"
#include "base/sized.h"
#include "device/core/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_DEADLINE_MS 30000
/* How long what a failed switchover has shown is counted. */
#define LEARNED_MS 600000
/* A device that hung once is not waited for as long a second time. */
#define LOST_GRACE_MS 100

static uint64_t or_default(uint64_t ms)
{
	if (!ms)
		return DEFAULT_DEADLINE_MS;
	/* An hour, so that no sum overflows. */
	return ms < 3600000 ? ms : 3600000;
}

static int check_ops(const char *name, const struct swo_device_ops *ops, struct swo_error *err)
{
	if (ops->get_mig_flags && ops->get_state && ops->set_state)
		return 0;
	return swo_error_set(err, SWO_E_INVALID, 0,
		"device %s: backend '%s' lacks get_mig_flags, get_state or set_state", name,
		ops->name ? ops->name : "unnamed");
}

static void forget(struct swo_device *dev)
{
	swo_device_costs_init(&dev->learned);
	dev->learned.save_rate = dev->learned.load_rate = 0;
}

static struct swo_device *new_device(const char *name, const struct swo_device_ops *ops, void *self,
	const struct swo_device_params *params, struct swo_error *err)
{
	struct swo_device *dev = calloc(1, sizeof(*dev));

	if (!dev) {
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s", name);
		return NULL;
	}
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	swo_device_costs_init(&dev->expected);
	forget(dev);
	dev->ops = *ops;
	dev->self = self;
	dev->arc_deadline_ms = or_default(params->arc_deadline_ms);
	dev->data_deadline_ms = or_default(params->data_deadline_ms);
	dev->timeline = params->timeline;
	pthread_mutex_init(&dev->mutex, NULL);
	swo_cond_init(&dev->changed);
	if (!swo_worker_create(dev->name, &dev->worker, err))
		return dev;
	pthread_cond_destroy(&dev->changed);
	pthread_mutex_destroy(&dev->mutex);
	free(dev);
	return NULL;
}

int swo_device_create(const char *name, const struct swo_device_ops *given_ops, void *self,
	const struct swo_device_params *given, struct swo_device **out, struct swo_error *err)
{
	struct swo_device_ops ops;
	struct swo_device_params params = {0};
	struct swo_device *dev = NULL;

	/* Without the size, not even destroy is known. */
	if (base_sized_copy("swo_device_ops", &ops, sizeof(ops), given_ops, err))
		return swo_error_prefix(err, "device %s", name);
	if (given && base_sized_copy("swo_device_params", &params, sizeof(params), given, err))
		swo_error_prefix(err, "device %s", name);
	else if (!check_ops(name, &ops, err))
		dev = new_device(name, &ops, self, &params, err);
	if (!dev) {
		if (ops.destroy)
			ops.destroy(self);
		return -1;
	}
	if (device_do(dev, TASK_QUERY, SWO_DEVICE_ERROR, false, err)) {
		swo_device_destroy(dev);
		return -1;
	}
	*out = dev;
	return 0;
}

void swo_device_destroy(struct swo_device *dev)
{
	if (!dev)
		return;
	swo_device_unfollow(dev);
	swo_device_set_timeline(dev, NULL);

	bool lost = swo_device_health(dev) == SWO_DEVICE_LOST;
	if (!swo_worker_destroy(
		    dev->worker, swo_deadline_ms(lost ? LOST_GRACE_MS : dev->arc_deadline_ms))) {
		swo_log(SWO_LOG_WARN,
			"device %s: the backend still hangs; leaking it with its memory and "
			"its thread",
			dev->name);
		base_leak_hung(dev);
		return;
	}
	if (dev->ops.destroy)
		dev->ops.destroy(dev->self);
	pthread_cond_destroy(&dev->changed);
	pthread_mutex_destroy(&dev->mutex);
	free(dev->dma_log_bits);
	free(dev);
}

const char *swo_device_name(const struct swo_device *dev)
{
	return dev->name;
}

uint64_t swo_device_mig_flags(const struct swo_device *dev)
{
	return dev->mig_flags;
}

uint64_t swo_device_arc_deadline_ms(const struct swo_device *dev)
{
	return dev->arc_deadline_ms;
}

uint64_t swo_device_data_deadline_ms(const struct swo_device *dev)
{
	return dev->data_deadline_ms;
}

bool swo_device_release(struct swo_device *dev)
{
	if (!dev->ops.release)
		return false;
	device_mark_lost(dev);
	dev->ops.release(dev->self);
	return true;
}

const struct swo_device_ops *swo_device_backend(const struct swo_device *dev, void **self)
{
	if (self)
		*self = dev->self;
	return &dev->ops;
}

struct swo_worker *swo_device_worker(struct swo_device *dev)
{
	return dev->worker;
}

void swo_device_set_timeline(struct swo_device *dev, struct swo_timeline *timeline)
{
	pthread_mutex_lock(&dev->mutex);
	dev->timeline = timeline;
	pthread_mutex_unlock(&dev->mutex);
}

void swo_device_observe(
	struct swo_device *dev, void (*fn)(void *opaque, enum swo_device_state state), void *opaque)
{
	pthread_mutex_lock(&dev->mutex);
	/* The caller may free the old one's `opaque` afterwards. */
	while (dev->observing && !swo_worker_is_current(dev->worker))
		pthread_cond_wait(&dev->changed, &dev->mutex);
	dev->observer = (struct observer){fn, opaque};
	pthread_mutex_unlock(&dev->mutex);
}

int swo_device_on_reset(
	struct swo_device *dev, void (*fn)(void *opaque), void *opaque, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(dev->data_deadline_ms);
	int rc = 0;

	pthread_mutex_lock(&dev->mutex);
	while (dev->telling_reset && !swo_worker_is_current(dev->worker) && !rc)
		if (!swo_cond_wait(&dev->changed, &dev->mutex, deadline))
			rc = swo_error_set(err, SWO_E_TIMEOUT, 0,
				"device %s: what follows its reset has not ended", dev->name);
	if (!rc) {
		dev->on_reset = fn;
		dev->on_reset_opaque = opaque;
	}
	pthread_mutex_unlock(&dev->mutex);
	return rc;
}

void device_set_dirty_tracking(
	struct swo_device *dev, enum swo_dirty_tracking kind, uint64_t page_size)
{
	pthread_mutex_lock(&dev->mutex);
	dev->dirty_tracking = kind;
	dev->dma_log_page = page_size;
	pthread_mutex_unlock(&dev->mutex);
}

enum swo_dirty_tracking swo_device_dirty_tracking(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	const enum swo_dirty_tracking kind = dev->dirty_tracking;
	pthread_mutex_unlock(&dev->mutex);
	return kind;
}

const char *swo_dirty_tracking_name(enum swo_dirty_tracking kind)
{
	static const char *const names[] = {"off", "none", "device-log", "iommu", "type1"};

	return (unsigned)kind < SWO_ARRAY_SIZE(names) ? names[kind] : "unknown";
}

uint64_t device_dma_log_page(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	uint64_t page_size = dev->dma_log_page;
	pthread_mutex_unlock(&dev->mutex);
	return page_size;
}

uint64_t *device_dma_log_bits(struct swo_device *dev, size_t words)
{
	if (words > dev->dma_log_words) {
		free(dev->dma_log_bits);
		dev->dma_log_words = 0;
		dev->dma_log_bits = base_calloc_prefaulted(words * sizeof(*dev->dma_log_bits));
		if (!dev->dma_log_bits)
			return NULL;
		dev->dma_log_words = words;
	}
	return dev->dma_log_bits;
}

int swo_device_launch(struct swo_device *dev, enum swo_device_state state, struct swo_error *err)
{
	return device_begin(dev, TASK_WALK, state, false, err);
}

int device_launch_checked(
	struct swo_device *dev, enum swo_device_state state, struct swo_error *err)
{
	return device_begin(dev, TASK_WALK_CHECKED, state, false, err);
}

int swo_device_wait(struct swo_device *dev, struct swo_error *err)
{
	return device_end(dev, err);
}

int swo_device_set_state(struct swo_device *dev, enum swo_device_state state, struct swo_error *err)
{
	return device_do(dev, TASK_WALK, state, false, err);
}

int swo_device_refresh(struct swo_device *dev, struct swo_error *err)
{
	return device_do(dev, TASK_REFRESH, SWO_DEVICE_ERROR, false, err);
}

void device_on_arrival_held(struct swo_device *dev, enum swo_device_state state,
	void (*fn)(void *opaque), void (*hold)(void *opaque, bool on), void *opaque)
{
	if ((unsigned)state >= SWO_DEVICE_STATES)
		return;
	pthread_mutex_lock(&dev->mutex);
	dev->arrival[state] = (struct arrival){fn, opaque, hold};
	pthread_mutex_unlock(&dev->mutex);
}

void swo_device_on_arrival(
	struct swo_device *dev, enum swo_device_state state, void (*fn)(void *opaque), void *opaque)
{
	device_on_arrival_held(dev, state, fn, NULL, opaque);
}

void device_set_settle(struct swo_device *dev, enum device_settle settle)
{
	pthread_mutex_lock(&dev->mutex);
	dev->settle = settle;
	pthread_mutex_unlock(&dev->mutex);
}

void swo_device_costs_init(struct swo_device_costs *costs)
{
	*costs = (struct swo_device_costs){SWO_UNKNOWN, SWO_UNKNOWN, SWO_UNKNOWN, SWO_UNKNOWN,
		SWO_UNKNOWN, SWO_UNKNOWN, SWO_UNKNOWN, SWO_UNKNOWN, SWO_UNKNOWN, SWO_UNKNOWN,
		SWO_UNKNOWN, -1};
}

/* Combines two figures of which one may be unknown. */
static uint64_t sum_known(uint64_t a, uint64_t b)
{
	if (a == SWO_UNKNOWN || b == SWO_UNKNOWN)
		return a == SWO_UNKNOWN ? b : a;
	return a + b;
}

static uint64_t expected_ns(
	const struct swo_device_costs *c, enum swo_device_state from, enum swo_device_state to)
{
	const uint64_t stop = sum_known(c->running_to_p2p_ns, c->p2p_to_stop_ns),
		       start = sum_known(c->stop_to_p2p_ns, c->p2p_to_running_ns);
	const struct {
		enum swo_device_state from, to;
		uint64_t ns;
	} arcs[] = {{SWO_DEVICE_PRE_COPY, SWO_DEVICE_PRE_COPY_P2P, c->running_to_p2p_ns},
		{SWO_DEVICE_RUNNING, SWO_DEVICE_RUNNING_P2P, c->running_to_p2p_ns},
		{SWO_DEVICE_PRE_COPY_P2P, SWO_DEVICE_STOP_COPY, c->p2p_to_stop_ns},
		{SWO_DEVICE_PRE_COPY, SWO_DEVICE_STOP_COPY, stop},
		{SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, c->p2p_to_stop_ns},
		{SWO_DEVICE_RUNNING, SWO_DEVICE_STOP, stop},
		{SWO_DEVICE_RESUMING, SWO_DEVICE_STOP, c->resuming_to_stop_ns},
		{SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, c->stop_to_p2p_ns},
		{SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_RUNNING, c->p2p_to_running_ns},
		{SWO_DEVICE_STOP, SWO_DEVICE_RUNNING, start}};

	for (size_t i = 0; i < SWO_ARRAY_SIZE(arcs); i++)
		if (arcs[i].from == from && arcs[i].to == to)
			return arcs[i].ns;
	return SWO_UNKNOWN;
}

struct swo_arc_cost swo_device_arc_cost(
	struct swo_device *dev, enum swo_device_state from, enum swo_device_state to)
{
	struct swo_arc_cost cost = {.mean_ns = SWO_UNKNOWN};

	if ((unsigned)from >= SWO_DEVICE_STATES || (unsigned)to >= SWO_DEVICE_STATES)
		return cost;
	pthread_mutex_lock(&dev->mutex);
	cost = dev->cost[from][to];
	if (!cost.count)
		cost.mean_ns = expected_ns(&dev->expected, from, to);
	pthread_mutex_unlock(&dev->mutex);
	return cost;
}

/* The known arcs on the path from one state to another. */
static uint64_t path_ns(
	struct swo_device *dev, enum swo_device_state from, enum swo_device_state to)
{
	uint64_t ns = from == to ? 0 : SWO_UNKNOWN;
	enum swo_device_state next;

	/* No path is longer than there are states. */
	for (int hops = 0; from != to && hops < SWO_DEVICE_STATES; hops++, from = next) {
		if (swo_device_next_state(from, to, dev->mig_flags, &next))
			return SWO_UNKNOWN;
		ns = sum_known(ns, swo_device_arc_cost(dev, from, next).mean_ns);
	}
	return ns;
}

struct swo_device_costs swo_device_known_costs(struct swo_device *dev)
{
	const bool session = dev->mig_flags & SWO_MIG_PRE_COPY, p2p = dev->mig_flags & SWO_MIG_P2P;
	const enum swo_device_state runs = session ? SWO_DEVICE_PRE_COPY : SWO_DEVICE_RUNNING;
	const enum swo_device_state quiet = !p2p      ? runs
					    : session ? SWO_DEVICE_PRE_COPY_P2P
						      : SWO_DEVICE_RUNNING_P2P;
	const enum swo_device_state ready = p2p ? SWO_DEVICE_RUNNING_P2P : SWO_DEVICE_STOP;

	pthread_mutex_lock(&dev->mutex);
	struct swo_device_costs costs = dev->expected;
	pthread_mutex_unlock(&dev->mutex);

	costs.running_to_p2p_ns = path_ns(dev, runs, quiet);
	costs.p2p_to_stop_ns = path_ns(dev, quiet, SWO_DEVICE_STOP_COPY);
	costs.resuming_to_stop_ns = path_ns(dev, SWO_DEVICE_RESUMING, SWO_DEVICE_STOP);
	costs.stop_to_p2p_ns = path_ns(dev, SWO_DEVICE_STOP, ready);
	costs.p2p_to_running_ns = path_ns(dev, ready, SWO_DEVICE_RUNNING);
	return costs;
}

void swo_device_expect(struct swo_device *dev, const struct swo_device_costs *expected)
{
	pthread_mutex_lock(&dev->mutex);
	dev->expected = *expected;
	pthread_mutex_unlock(&dev->mutex);
}

static void longer(uint64_t *ns, uint64_t shown)
{
	if (shown != SWO_UNKNOWN && (*ns == SWO_UNKNOWN || shown > *ns))
		*ns = shown;
}

static void slower(uint64_t *rate, uint64_t shown)
{
	if (shown && (!*rate || shown < *rate))
		*rate = shown;
}

void device_costs_worsen(struct swo_device_costs *costs, const struct swo_device_costs *shown)
{
	longer(&costs->running_to_p2p_ns, shown->running_to_p2p_ns);
	longer(&costs->p2p_to_stop_ns, shown->p2p_to_stop_ns);
	longer(&costs->resuming_to_stop_ns, shown->resuming_to_stop_ns);
	longer(&costs->load_fixed_ns, shown->load_fixed_ns);
	slower(&costs->save_rate, shown->save_rate);
	slower(&costs->load_rate, shown->load_rate);
}

/* With the mutex held. */
static void forget_old(struct swo_device *dev)
{
	if (swo_deadline_passed(dev->learned_until))
		forget(dev);
}

void device_learn(struct swo_device *dev, const struct swo_device_costs *shown)
{
	pthread_mutex_lock(&dev->mutex);
	forget_old(dev);
	device_costs_worsen(&dev->learned, shown);
	dev->learned_until = swo_deadline_ms(LEARNED_MS);
	pthread_mutex_unlock(&dev->mutex);
}

struct swo_device_costs device_learned(struct swo_device *dev)
{
	pthread_mutex_lock(&dev->mutex);
	forget_old(dev);
	const struct swo_device_costs learned = dev->learned;
	pthread_mutex_unlock(&dev->mutex);
	return learned;
}
