/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine.h - what a migration sets and reads of a device, and an embedder does not.
 */
#ifndef DEVICE_CORE_ENGINE_H
#define DEVICE_CORE_ENGINE_H

#include "switchover/device.h"

/* The means, and the page size of its reports; 0: none is active. */
void device_set_dirty_tracking(
	struct swo_device *dev, enum swo_dirty_tracking kind, uint64_t page_size);
uint64_t device_dma_log_page(struct swo_device *dev);
/*
 * A buffer of `words` zero words for the bitmap of a report: for one thread at a time, which
 * leaves them all 0. Kept until more are requested. NULL: no memory.
 */
uint64_t *device_dma_log_bits(struct swo_device *dev, size_t words);

/* The state for a device whose hung arc ends after all: RUNNING (source) or reset (target). */
enum device_settle { DEVICE_SETTLE_RUN, DEVICE_SETTLE_RESET };
void device_set_settle(struct swo_device *dev, enum device_settle settle);

/*
 * swo_device_on_arrival for an owner whose memory is counted: `hold` takes a reference (on) before
 * fn becomes due, and drops it after fn has returned. Under the device's lock when it takes: so
 * once this was called with fn NULL, no reference is taken any more.
 */
void device_on_arrival_held(struct swo_device *dev, enum swo_device_state state,
	void (*fn)(void *opaque), void (*hold)(void *opaque, bool on), void *opaque);

/*
 * Does the device answer? Launch queues a state query behind whatever its worker is doing; wait
 * waits for it. At the deadline the device is lost (SWO_E_TIMEOUT), with a job of its worker that
 * may go on for any time: if that ends, the device goes to the state of device_set_settle. Paths
 * that other threads launch meanwhile wait for the check. -1 from launch: the device is lost
 * already, or in the middle of a path.
 */
int device_check_launch(struct swo_device *dev, swo_deadline deadline, struct swo_error *err);
int device_check_wait(struct swo_device *dev, struct swo_error *err);
/* swo_device_discard in two parts, so that several devices are reset at the same time. */
int device_discard_launch(struct swo_device *dev, struct swo_error *err);

/*
 * On the device's worker: SWO_E_STATE, with both states, unless the device is in the state that it
 * was left in. A device can be reset from outside at any time: by its PF, or after an error of its
 * bus. From then on the state is the one found.
 */
int device_check_state(struct swo_device *dev, struct swo_error *err);
/* When it was last found in that state. 0: never. */
uint64_t device_seen_ns(struct swo_device *dev);
/* On its worker, after a failure: if the device was reset, that is the error instead. */
void device_explain(struct swo_device *dev, struct swo_error *err);
/* swo_device_launch after that check; to the same state: the check alone. No arrival. */
int device_launch_checked(
	struct swo_device *dev, enum swo_device_state state, struct swo_error *err);

/*
 * What a switchover that failed has shown of the device: an arc takes at least so long, its state
 * moves at most so fast. Unknown (rates: 0): nothing. It is counted for 10 minutes; the worse figure
 * stays.
 */
void device_learn(struct swo_device *dev, const struct swo_device_costs *shown);
/* All unknown once that is over. */
struct swo_device_costs device_learned(struct swo_device *dev);
/* Of each of these figures the worse one. */
void device_costs_worsen(struct swo_device_costs *costs, const struct swo_device_costs *shown);

#endif
