// SPDX-License-Identifier: GPL-2.0-only
/*
 * irq.c - MSI-X vectors: eventfds that user space sets, and the loopback trigger.
 */
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "simvf.h"

u32 simvf_irq_count(u32 index)
{
	return index == VFIO_PCI_MSIX_IRQ_INDEX ? SIMVF_MSIX_VECTORS : 0;
}

void simvf_irqs_drop(struct simvf *dev)
{
	unsigned int vector;

	for (vector = 0; vector < SIMVF_MSIX_VECTORS; vector++) {
		if (dev->irq[vector])
			eventfd_ctx_put(dev->irq[vector]);
		dev->irq[vector] = NULL;
	}
}

bool simvf_irq_raise(struct simvf *dev, unsigned int vector)
{
	if (!dev->irq[vector])
		return false;
	simvf_eventfd_signal(dev->irq[vector]);
	return true;
}

/* All or none: the fds are looked up before the first vector changes. */
static int set_eventfds(struct simvf *dev, const struct vfio_irq_set *set, const s32 *fds)
{
	struct eventfd_ctx *fresh[SIMVF_MSIX_VECTORS] = {};
	u32 i;

	for (i = 0; i < set->count; i++) {
		if (fds[i] < 0)
			continue;
		fresh[i] = eventfd_ctx_fdget(fds[i]);
		if (IS_ERR(fresh[i])) {
			int ret = PTR_ERR(fresh[i]);

			while (i--)
				if (fresh[i])
					eventfd_ctx_put(fresh[i]);
			return ret;
		}
	}
	for (i = 0; i < set->count; i++) {
		if (dev->irq[set->start + i])
			eventfd_ctx_put(dev->irq[set->start + i]);
		dev->irq[set->start + i] = fresh[i];
	}
	return 0;
}

static int apply(struct simvf *dev, const struct vfio_irq_set *set, const void *data)
{
	const u8 *wanted = data;
	u32 i;

	switch (set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return set_eventfds(dev, set, data);
	case VFIO_IRQ_SET_DATA_NONE:
		if (!set->count)
			simvf_irqs_drop(dev);
		for (i = 0; i < set->count; i++)
			simvf_irq_raise(dev, set->start + i);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		for (i = 0; i < set->count; i++)
			if (wanted[i])
				simvf_irq_raise(dev, set->start + i);
		return 0;
	default:
		return -EINVAL;
	}
}

long simvf_set_irqs(struct simvf *dev, void __user *arg)
{
	const size_t head = offsetofend(struct vfio_irq_set, count);
	struct vfio_irq_set set;
	size_t data_size = 0;
	void *data = NULL;
	int ret;

	if (copy_from_user(&set, arg, head))
		return -EFAULT;
	ret = vfio_set_irqs_validate_and_prepare(
		&set, simvf_irq_count(set.index), VFIO_PCI_NUM_IRQS, &data_size);
	if (ret)
		return ret;
	if ((set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (data_size) {
		data = memdup_user(arg + head, data_size);
		if (IS_ERR(data))
			return PTR_ERR(data);
	}
	mutex_lock(&dev->lock);
	ret = apply(dev, &set, data);
	mutex_unlock(&dev->lock);
	kfree(data);
	return ret;
}
