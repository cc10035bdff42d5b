// SPDX-License-Identifier: GPL-2.0-only
/*
 * device.c - the VFIO device as user space opens it: info, regions and their accesses,
 * the mapping of the inbox, reset.
 */
#include <linux/export.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "simvf.h"

/* vfio-pci's layout of the device file: the region's number above its offsets */
#define REGION_SHIFT 40
#define REGION_MASK  ((1ULL << REGION_SHIFT) - 1)
#define PIECE	     256 /* bytes of a region at a time */

static int open_device(struct vfio_device *vdev)
{
	struct simvf *dev = to_simvf(vdev);
	u64 resets;

	mutex_lock(&dev->state_mutex);
	mutex_lock(&dev->lock);
	resets = dev->model->stats.resets;
	svf_reset(dev->model, ktime_get_ns());
	dev->model->stats.resets = resets; /* not requested by user space */
	dev->owner = current->tgid;
	dev->open = true;
	mutex_unlock(&dev->lock);
	mutex_unlock(&dev->state_mutex);
	return 0;
}

static void close_device(struct vfio_device *vdev)
{
	struct simvf *dev = to_simvf(vdev);

	mutex_lock(&dev->state_mutex);
	mutex_lock(&dev->lock);
	dev->open = false;
	simvf_stream_end(dev);
	simvf_irqs_drop(dev);
	svf_log_stop(dev->model);
	simvf_changed(dev);
	mutex_unlock(&dev->lock);
	simvf_engine_stop(dev);
	mutex_unlock(&dev->state_mutex);
}

/* Accesses to regions */

static ssize_t read_region(struct vfio_device *vdev, char __user *buf, size_t count, loff_t *ppos)
{
	struct simvf *dev = to_simvf(vdev);
	u64 offset = *ppos & REGION_MASK, pos = *ppos;
	unsigned int region = pos >> REGION_SHIFT;
	size_t done = 0;

	if (offset >= svf_region_size(region))
		return -EINVAL;
	count = min_t(u64, count, svf_region_size(region) - offset);
	while (done < count) {
		size_t n = min_t(size_t, count - done, PIECE);
		u8 piece[PIECE];
		int ret;

		mutex_lock(&dev->lock);
		ret = svf_region_read(dev->model, region, offset + done, piece, n);
		simvf_kick(dev);
		mutex_unlock(&dev->lock);
		if (ret)
			return ret;
		if (copy_to_user(buf + done, piece, n))
			return -EFAULT;
		done += n;
	}
	*ppos += done;
	return done;
}

/* Restoring the config space takes time, which the caller waits for. */
static int await(struct simvf *dev, u64 due)
{
	while (ktime_get_ns() < due)
		if (simvf_sleep(dev, due, READ_ONCE(dev->changes), TASK_KILLABLE))
			return -EINTR;
	return 0;
}

static ssize_t write_region(
	struct vfio_device *vdev, const char __user *buf, size_t count, loff_t *ppos)
{
	struct simvf *dev = to_simvf(vdev);
	u64 offset = *ppos & REGION_MASK, pos = *ppos;
	unsigned int region = pos >> REGION_SHIFT;
	size_t done = 0;

	if (offset >= svf_region_size(region))
		return -EINVAL;
	count = min_t(u64, count, svf_region_size(region) - offset);
	while (done < count) {
		size_t n = min_t(size_t, count - done, PIECE);
		u8 piece[PIECE];
		u64 due;
		int ret;

		if (copy_from_user(piece, buf + done, n))
			return -EFAULT;
		mutex_lock(&dev->lock);
		ret = svf_region_write(
			dev->model, region, offset + done, piece, n, ktime_get_ns(), &due);
		simvf_kick(dev);
		mutex_unlock(&dev->lock);
		if (!ret)
			ret = await(dev, due);
		if (ret)
			return ret;
		done += n;
	}
	*ppos += done;
	return done;
}

/* A page with a struct page behind it, so that iommufd can pin it for siblings' P2P. */
static int map_region(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	unsigned int region = vma->vm_pgoff >> (REGION_SHIFT - PAGE_SHIFT);
	unsigned long page = vma->vm_pgoff & ((1UL << (REGION_SHIFT - PAGE_SHIFT)) - 1);

	if (region != SIMVF_BAR_INBOX || page || vma->vm_end - vma->vm_start != PAGE_SIZE ||
		!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	simvf_vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	return vm_insert_page(vma, vma->vm_start, to_simvf(vdev)->inbox);
}

/* Ioctls */

static long get_info(void __user *arg)
{
	const size_t size = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, arg, size))
		return -EFAULT;
	if (info.argsz < size)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user(arg, &info, size) ? -EFAULT : 0;
}

int simvf_region_info(struct vfio_region_info *info)
{
	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info->offset = (u64)info->index << REGION_SHIFT;
	info->size = svf_region_size(info->index);
	info->flags = 0;
	if (info->size)
		info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (info->index == SIMVF_BAR_INBOX)
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	return 0;
}
EXPORT_SYMBOL_GPL(simvf_region_info);

#if SIMVF_SINCE(6, 19)
static int get_region_info_caps(
	struct vfio_device *vdev, struct vfio_region_info *info, struct vfio_info_cap *caps)
{
	return simvf_region_info(info);
}
#else
static long get_region_info(void __user *arg)
{
	const size_t size = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;
	int ret;

	if (copy_from_user(&info, arg, size))
		return -EFAULT;
	if (info.argsz < size)
		return -EINVAL;
	info.cap_offset = 0;
	ret = simvf_region_info(&info);
	if (ret)
		return ret;
	return copy_to_user(arg, &info, size) ? -EFAULT : 0;
}
#endif

static long get_irq_info(void __user *arg)
{
	const size_t size = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, arg, size))
		return -EFAULT;
	if (info.argsz < size || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.count = simvf_irq_count(info.index);
	info.flags = info.count ? VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE : 0;
	return copy_to_user(arg, &info, size) ? -EFAULT : 0;
}

static long ioctl_device(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return get_info((void __user *)arg);
#if !SIMVF_SINCE(6, 19)
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info((void __user *)arg);
#endif
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq_info((void __user *)arg);
	case VFIO_DEVICE_SET_IRQS:
		return simvf_set_irqs(to_simvf(vdev), (void __user *)arg);
	case VFIO_DEVICE_RESET:
		return simvf_reset(to_simvf(vdev));
	default:
		return -ENOTTY;
	}
}

/* Making and unmaking */

static int init_device(struct vfio_device *vdev)
{
	struct simvf *dev = to_simvf(vdev);

	mutex_init(&dev->state_mutex);
	mutex_init(&dev->lock);
	init_waitqueue_head(&dev->wait);
	INIT_LIST_HEAD(&dev->peer);
	simvf_engine_init(dev);
	dev->inbox = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return dev->inbox ? 0 : -ENOMEM;
}

static void release_device(struct vfio_device *vdev)
{
	struct simvf *dev = to_simvf(vdev);

	simvf_model_free(dev);
	put_page(dev->inbox);
}

const struct vfio_device_ops simvf_vfio_ops = {
	.name = "simvf",
	.init = init_device,
	.release = release_device,
	.open_device = open_device,
	.close_device = close_device,
	.read = read_region,
	.write = write_region,
	.mmap = map_region,
	.ioctl = ioctl_device,
#if SIMVF_SINCE(6, 19)
	.get_region_info_caps = get_region_info_caps,
#endif
#if SIMVF_SINCE(6, 2)
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
#endif
#if SIMVF_SINCE(6, 6)
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
#endif
};
EXPORT_SYMBOL_GPL(simvf_vfio_ops);
