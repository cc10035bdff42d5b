// SPDX-License-Identifier: GPL-2.0-only
/*
 * engine.c - time and environment for the model: a timer and a work item that run its engines,
 * guest memory by vfio_dma_rw, and the PF whose firmware several devices share.
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "simvf.h"

#define SLACK_NS    20000
#define LATE_NS	    50000 /* the least time between two checks of an overdue event */
#define KMALLOC_MAX 65536

/* Guest memory */

/*
 * The work item has no mm, and can reach any process's memory. Events that are overdue at a
 * register access or an arc run in the caller's context, whose mm must then be that of the
 * mapping.
 */
static int dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	struct simvf *dev = opaque;

	return dev->open ? vfio_dma_rw(&dev->vdev, addr, buf, len, false) : -ENODEV;
}

static int dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	struct simvf *dev = opaque;

	return dev->open ? vfio_dma_rw(&dev->vdev, addr, (void *)buf, len, true) : -ENODEV;
}

static int p2p_write(void *opaque, uint64_t addr, uint64_t value)
{
	struct simvf *dev = opaque;

	if (addr % 8 || !dev->open)
		return -EFAULT;
	return vfio_dma_rw(&dev->vdev, addr, &value, sizeof(value), true);
}

static bool irq(void *opaque, unsigned int vector)
{
	struct simvf *dev = opaque;

	return dev->interrupt ? dev->interrupt(dev, vector) : simvf_irq_raise(dev, vector);
}

/* Faults that end a process or a connection are refused when they are set: neither exists here. */
static void event(void *opaque, enum svf_event what)
{
}

/* The firmware of a PF */

static DEFINE_SPINLOCK(pf_lock);
static u64 pf_busy_until[SIMVF_PFS + 1][SVF_LANES];

static uint64_t reserve(void *opaque, enum svf_lane lane, uint64_t earliest, uint64_t duration)
{
	struct simvf *dev = opaque;
	u64 *until = &pf_busy_until[dev->pf][lane];
	u64 end;

	if (!dev->pf)
		return earliest + duration;
	spin_lock(&pf_lock);
	end = max_t(u64, *until, earliest) + duration;
	*until = end;
	spin_unlock(&pf_lock);
	return end;
}

const struct svf_ops simvf_model_ops = {
	.dma_read = dma_read,
	.dma_write = dma_write,
	.p2p_write = p2p_write,
	.irq = irq,
	.event = event,
	.reserve = reserve,
};

int simvf_model_make(struct simvf *dev, const struct svf_profile *profile, u64 seed,
	unsigned int mig_flags, bool pf_arcs)
{
	struct svf_config config = {
		.profile = *profile,
		.mig_flags = mig_flags,
		.seed = seed,
		.arcs_reserve = pf_arcs,
		.increments = dev->rules & SIMVF_RULE_INCREMENTS,
		.ops = &simvf_model_ops,
		.opaque = dev,
		.inbox = simvf_inbox(dev),
	};
	struct svf *model = dev->model;
	int ret;

	if (!model)
		model = kvzalloc(sizeof(*model), GFP_KERNEL);
	config.memory = kvzalloc(svf_memory_size(profile->state_bytes), GFP_KERNEL);
	ret = model && config.memory ? svf_init(model, &config, ktime_get_ns()) : -ENOMEM;
	if (ret) {
		kvfree(config.memory);
		if (!dev->model)
			kvfree(model);
		return ret;
	}
	kvfree(dev->memory);
	dev->memory = config.memory;
	dev->model = model;
	return 0;
}

void simvf_model_free(struct simvf *dev)
{
	kvfree(dev->model);
	kvfree(dev->memory);
}

/* Time */

static enum hrtimer_restart ring(struct hrtimer *timer)
{
	struct simvf *dev = container_of(timer, struct simvf, timer);

	queue_work(system_highpri_wq, &dev->work);
	return HRTIMER_NORESTART;
}

static void arm(struct simvf *dev, u64 earliest)
{
	u64 next = svf_next(dev->model);

	if (!dev->open || next == SVF_NEVER)
		return;
	hrtimer_start(&dev->timer, ns_to_ktime(max_t(u64, next, earliest)), HRTIMER_MODE_ABS);
}

static void run(struct work_struct *work)
{
	struct simvf *dev = container_of(work, struct simvf, work);

	mutex_lock(&dev->lock);
	if (dev->open) {
		svf_run(dev->model, ktime_get_ns());
		dev->changes++;
		/* An event that is due at once, such as an arc's end, is handled by the waiting thread. */
		arm(dev, ktime_get_ns() + LATE_NS);
	}
	mutex_unlock(&dev->lock);
	wake_up_all(&dev->wait);
}

void simvf_engine_init(struct simvf *dev)
{
	simvf_timer_setup(&dev->timer, ring);
	INIT_WORK(&dev->work, run);
}

/* dev->open is false already, so that no other thread starts them again. */
void simvf_engine_stop(struct simvf *dev)
{
	hrtimer_cancel(&dev->timer);
	cancel_work_sync(&dev->work);
}

void simvf_kick(struct simvf *dev)
{
	lockdep_assert_held(&dev->lock);
	arm(dev, 0);
}

void simvf_changed(struct simvf *dev)
{
	dev->changes++;
	simvf_kick(dev);
	wake_up_all(&dev->wait);
}

int simvf_sleep(struct simvf *dev, u64 until, unsigned int changes, unsigned int mode)
{
	ktime_t expires = until > KTIME_MAX ? KTIME_MAX : ns_to_ktime(until);
	DEFINE_WAIT(entry);
	int ret = 0;

	prepare_to_wait(&dev->wait, &entry, mode);
	if (signal_pending_state(mode, current))
		ret = -EINTR;
	else if (READ_ONCE(dev->changes) == changes && ktime_get_ns() < until)
		schedule_hrtimeout_range(&expires, SLACK_NS, HRTIMER_MODE_ABS);
	finish_wait(&dev->wait, &entry);
	if (signal_pending_state(mode, current))
		ret = -EINTR;
	return ret;
}
