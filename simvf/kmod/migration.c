// SPDX-License-Identifier: GPL-2.0-only
/*
 * migration.c - the migration state: one arc at a time, along the core's table, each timed; and
 * the check that siblings keep the P2P order.
 */
#include <linux/export.h>
#include <linux/file.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "simvf.h"

static DEFINE_SPINLOCK(peers_lock);
static LIST_HEAD(peers);

void simvf_peers_add(struct simvf *dev)
{
	spin_lock(&peers_lock);
	list_add_tail(&dev->peer, &peers);
	spin_unlock(&peers_lock);
}

void simvf_peers_remove(struct simvf *dev)
{
	spin_lock(&peers_lock);
	list_del_init(&dev->peer);
	spin_unlock(&peers_lock);
}

static bool saves(unsigned int state)
{
	return state == SVF_PRE_COPY || state == SVF_PRE_COPY_P2P || state == SVF_STOP_COPY;
}

static bool moves(unsigned int state)
{
	return state == SVF_RUNNING || state == SVF_PRE_COPY;
}

static bool stopped(unsigned int state)
{
	return state == SVF_STOP || state == SVF_STOP_COPY || state == SVF_RESUMING;
}

static bool siblings(const struct simvf *a, const struct simvf *b)
{
	if (a->p2p_set || b->p2p_set)
		return a->p2p_set == b->p2p_set;
	return a->owner == b->owner;
}

/*
 * When stopping, all devices are in a P2P state before any stops; when starting, all are before
 * any leaves it. Reads the others' states without their locks: a user that keeps the order has
 * waited for them.
 */
static void watch_order(struct simvf *dev, unsigned int from, unsigned int to)
{
	bool stops = !stopped(from) && stopped(to), starts = !moves(from) && moves(to);
	struct simvf *other;

	if (!stops && !starts)
		return;
	spin_lock(&peers_lock);
	list_for_each_entry(other, &peers, peer)
	{
		unsigned int state = READ_ONCE(other->model->state);

		if (other == dev || !READ_ONCE(other->open) || !siblings(dev, other))
			continue;
		if ((stops && moves(state)) || (starts && stopped(state)))
			dev->p2p_order_violations++;
	}
	spin_unlock(&peers_lock);
}

static bool opens_session(unsigned int from, unsigned int to)
{
	return to == SVF_RESUMING || (!saves(from) && saves(to));
}

static void arc_ended(struct simvf *dev, unsigned int from, unsigned int to)
{
	const struct svf_arc_stats *stats = &dev->model->stats.arcs[from][to];
	struct simvf_arc_sums *sums = &dev->sums[from][to];
	u64 took = stats->last_end_ns - stats->last_start_ns;

	sums->sum_ns += took;
	sums->max_ns = max(sums->max_ns, took);
	if (dev->model->state == to)
		watch_order(dev, from, to);
	if (saves(from) && !saves(dev->model->state))
		simvf_stream_end(dev);
	if (from == SVF_RESUMING && dev->model->state != SVF_RESUMING)
		simvf_stream_end(dev);
}

/* One single arc. The lock is held, but not for the duration of the arc. */
static int walk(struct simvf *dev, unsigned int to)
{
	unsigned int from = dev->model->state;
	int ret = svf_set_state(dev->model, to, ktime_get_ns());

	if (ret == -SVF_EBUSY) /* a caller was killed in the middle of an arc */
		return ret;
	while (ret == SVF_PENDING) {
		u64 due = dev->model->walk.due;
		unsigned int changes = dev->changes;

		simvf_kick(dev);
		mutex_unlock(&dev->lock);
		ret = simvf_sleep(dev, due, changes,
			dev->rules & SIMVF_RULE_UNINTERRUPTIBLE ? TASK_UNINTERRUPTIBLE
								: TASK_KILLABLE);
		mutex_lock(&dev->lock);
		if (ret)
			return ret;
		ret = svf_advance(dev->model, ktime_get_ns());
	}
	arc_ended(dev, from, to);
	return ret;
}

static struct file *arc(struct simvf *dev, unsigned int to)
{
	struct file *file = NULL;
	int ret;

	if (opens_session(READ_ONCE(dev->model->state), to)) {
		file = simvf_stream_open(dev, to != SVF_RESUMING);
		if (IS_ERR(file))
			return file;
	}
	mutex_lock(&dev->lock);
	ret = walk(dev, to);
	if (!ret && file)
		simvf_stream_attach(dev, file);
	simvf_changed(dev);
	mutex_unlock(&dev->lock);
	if (!ret)
		return file;
	if (file)
		fput(file);
	return ERR_PTR(ret);
}

static struct file *set_state(struct vfio_device *vdev, enum vfio_device_mig_state wanted)
{
	struct simvf *dev = to_simvf(vdev);
	struct file *file = NULL;

	if (wanted == VFIO_DEVICE_STATE_ERROR)
		return ERR_PTR(-EINVAL);
	if (mutex_lock_killable(&dev->state_mutex))
		return ERR_PTR(-EINTR);
	while (!IS_ERR(file) && READ_ONCE(dev->model->state) != wanted) {
		enum vfio_device_mig_state next;
		int ret = -EINVAL;

		/* the core warns about a driver that requests an arc out of ERROR */
		if (dev->model->state != SVF_ERROR)
			ret = vfio_mig_get_next_state(vdev, dev->model->state, wanted, &next);
		/* The arc that opens a session is the last one of its path. */
		if (file)
			fput(file);
		file = ret ? ERR_PTR(ret) : arc(dev, next);
	}
	mutex_unlock(&dev->state_mutex);
	return file;
}

static int get_state(struct vfio_device *vdev, enum vfio_device_mig_state *current_state)
{
	struct simvf *dev = to_simvf(vdev);

	if (mutex_lock_killable(&dev->state_mutex))
		return -EINTR;
	*current_state = READ_ONCE(dev->model->state);
	mutex_unlock(&dev->state_mutex);
	return 0;
}

#if SIMVF_SINCE(6, 2)
static int get_data_size(struct vfio_device *vdev, unsigned long *stop_copy_length)
{
	struct simvf *dev = to_simvf(vdev);

	if (mutex_lock_killable(&dev->state_mutex))
		return -EINTR;
	mutex_lock(&dev->lock);
	*stop_copy_length = dev->rules & SIMVF_RULE_FULL_SIZE ? svf_full_length(dev->model)
							      : svf_stop_copy_length(dev->model);
	mutex_unlock(&dev->lock);
	mutex_unlock(&dev->state_mutex);
	return 0;
}
#endif

const struct vfio_migration_ops simvf_mig_ops = {
	.migration_set_state = set_state,
	.migration_get_state = get_state,
#if SIMVF_SINCE(6, 2)
	.migration_get_data_size = get_data_size,
#endif
};

int simvf_reset(struct simvf *dev)
{
	if (mutex_lock_killable(&dev->state_mutex))
		return -EINTR;
	mutex_lock(&dev->lock);
	simvf_stream_end(dev);
	svf_reset(dev->model, ktime_get_ns());
	simvf_changed(dev);
	mutex_unlock(&dev->lock);
	mutex_unlock(&dev->state_mutex);
	return 0;
}
EXPORT_SYMBOL_GPL(simvf_reset);
