// SPDX-License-Identifier: GPL-2.0-only
/*
 * pci.c - simvf_pci.ko: a variant driver on vfio-pci-core. Configuration space, MSI-X, IOMMU, FLR
 * and VF tokens are those of a real PCI function; BARs 0 and 2, DMA, and all that migrates are the
 * model's. Interrupts of an 82576 VF ("igb", which QEMU emulates) come from the function itself,
 * so that they need its MSI-X and its bus mastering.
 */
#include <linux/delay.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "simvf.h"

MODULE_DESCRIPTION("PCI functions as simulated VFIO devices that can be live-migrated");
MODULE_AUTHOR("The switchover project");
MODULE_LICENSE("GPL");
MODULE_VERSION(SIMVF_VERSION);

static char *rules = "";
module_param(rules, charp, 0444);
MODULE_PARM_DESC(rules, "The rules that each device starts with, as in its file rules (none)");

static unsigned int flr_ms;
module_param(flr_ms, uint, 0644);
MODULE_PARM_DESC(
	flr_ms, "How long VFIO_DEVICE_RESET takes besides the function's own FLR, in ms (0)");

static DEFINE_IDA(indices);

/* 82576 VF data sheet, chapter 9; bit N is vector N */
#define IGB_VF	    0x10ca
#define IGB_VTEICS  0x1520
#define IGB_VTEIMS  0x1524
#define IGB_VTEICR  0x1580
#define IGB_VECTORS 3

static bool is_igb(const struct simvf *dev)
{
	return dev->pci.pdev->vendor == PCI_VENDOR_ID_INTEL && dev->pci.pdev->device == IGB_VF;
}

/* It is level-triggered inside: an old cause is cleared first. */
static bool interrupt(struct simvf *dev, unsigned int vector)
{
	if (!dev->bar || vector >= IGB_VECTORS)
		return false;
	iowrite32(BIT(vector), dev->bar + IGB_VTEICR);
	iowrite32(BIT(vector), dev->bar + IGB_VTEIMS);
	iowrite32(BIT(vector), dev->bar + IGB_VTEICS);
	return true;
}

static void mask_vectors(struct simvf *dev)
{
	struct vfio_pci_core_device *core = &dev->pci;
	void __iomem *bar = pci_iomap(core->pdev, core->msix_bar, 0);
	int vector, count = pci_msix_vec_count(core->pdev);

	if (!bar)
		return;
	for (vector = 0; vector < count; vector++)
		iowrite32(PCI_MSIX_ENTRY_CTRL_MASKBIT, bar + core->msix_offset +
							       vector * PCI_MSIX_ENTRY_SIZE +
							       PCI_MSIX_ENTRY_VECTOR_CTRL);
	pci_iounmap(core->pdev, bar);
}

/* As firmware that takes these from the image, which was saved where they were off. */
static void loaded(struct simvf *dev)
{
	struct pci_dev *pdev = dev->pci.pdev;
	u16 flags;

	if (!(dev->rules & SIMVF_RULE_OVERWRITES))
		return;
	if (pdev->msix_cap) {
		mask_vectors(dev);
		pci_read_config_word(pdev, pdev->msix_cap + PCI_MSIX_FLAGS, &flags);
		pci_write_config_word(
			pdev, pdev->msix_cap + PCI_MSIX_FLAGS, flags & ~PCI_MSIX_FLAGS_ENABLE);
	}
	pci_clear_master(pdev);
}

static bool is_models(unsigned int region)
{
	return region == SIMVF_BAR_REGS || region == SIMVF_BAR_INBOX;
}

static ssize_t read_region(struct vfio_device *vdev, char __user *buf, size_t count, loff_t *ppos)
{
	const __le16 id[] = {cpu_to_le16(SIMVF_PCI_VENDOR), cpu_to_le16(SIMVF_PCI_DEVICE)};
	u64 at = *ppos & VFIO_PCI_OFFSET_MASK;
	unsigned int region = VFIO_PCI_OFFSET_TO_INDEX(*ppos);
	ssize_t n;

	if (is_models(region))
		return simvf_vfio_ops.read(vdev, buf, count, ppos);
	n = vfio_pci_core_read(vdev, buf, count, ppos);
	/* The driver in the guest goes by the IDs. */
	if (region == VFIO_PCI_CONFIG_REGION_INDEX && n > 0 && at < sizeof(id) &&
		copy_to_user(buf, (const u8 *)id + at, min_t(size_t, n, sizeof(id) - at)))
		return -EFAULT;
	return n;
}

static ssize_t write_region(
	struct vfio_device *vdev, const char __user *buf, size_t count, loff_t *ppos)
{
	if (is_models(VFIO_PCI_OFFSET_TO_INDEX(*ppos)))
		return simvf_vfio_ops.write(vdev, buf, count, ppos);
	return vfio_pci_core_write(vdev, buf, count, ppos);
}

static int map_region(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	if (is_models(vma->vm_pgoff >> (VFIO_PCI_OFFSET_SHIFT - PAGE_SHIFT)))
		return simvf_vfio_ops.mmap(vdev, vma);
	return vfio_pci_core_mmap(vdev, vma);
}

#if SIMVF_SINCE(6, 19)
static int get_region_info_caps(
	struct vfio_device *vdev, struct vfio_region_info *info, struct vfio_info_cap *caps)
{
	if (is_models(info->index))
		return simvf_vfio_ops.get_region_info_caps(vdev, info, caps);
	return vfio_pci_ioctl_get_region_info(vdev, info, caps);
}
#else
static bool asks_for_models_region(void __user *arg)
{
	struct vfio_region_info info;

	return !copy_from_user(&info, arg, offsetofend(struct vfio_region_info, index)) &&
	       is_models(info.index);
}
#endif

/* vfio-pci's own is EAGAIN while anything else, such as a read of sysfs, holds the function. */
static long reset(struct simvf *dev)
{
	long ret;

	if (dev->rules & SIMVF_RULE_RESET_AGAIN) {
		dev->refused = !dev->refused;
		if (dev->refused)
			return -EAGAIN;
	}
	ret = vfio_pci_core_ioctl(&dev->vdev, VFIO_DEVICE_RESET, 0);
	msleep(READ_ONCE(flr_ms));
	return ret ? ret : simvf_reset(dev);
}

static long ioctl_device(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case VFIO_DEVICE_RESET:
		return reset(to_simvf(vdev));
#if !SIMVF_SINCE(6, 19)
	case VFIO_DEVICE_GET_REGION_INFO:
		if (asks_for_models_region((void __user *)arg))
			return simvf_vfio_ops.ioctl(vdev, cmd, arg);
		fallthrough;
#endif
	default:
		return vfio_pci_core_ioctl(vdev, cmd, arg);
	}
}

static int init_device(struct vfio_device *vdev)
{
	int ret = simvf_vfio_ops.init(vdev);

	if (!ret)
		ret = vfio_pci_core_init_dev(vdev);
	return ret;
}

static void release_device(struct vfio_device *vdev)
{
	simvf_vfio_ops.release(vdev);
	vfio_pci_core_release_dev(vdev);
}

static int open_device(struct vfio_device *vdev)
{
	struct simvf *dev = to_simvf(vdev);
	int ret = vfio_pci_core_enable(&dev->pci);

	if (ret)
		return ret;
	dev->refused = false;
	if (is_igb(dev))
		dev->bar = pci_iomap(dev->pci.pdev, 0, 0);
	ret = simvf_vfio_ops.open_device(vdev);
	vfio_pci_core_finish_enable(&dev->pci);
	return ret;
}

static void close_device(struct vfio_device *vdev)
{
	struct simvf *dev = to_simvf(vdev);

	simvf_vfio_ops.close_device(vdev);
	if (dev->bar)
		pci_iounmap(dev->pci.pdev, dev->bar);
	dev->bar = NULL;
	vfio_pci_core_close_device(vdev);
}

static const struct vfio_device_ops ops = {
	.name = "simvf-pci",
	.init = init_device,
	.release = release_device,
	.open_device = open_device,
	.close_device = close_device,
	.ioctl = ioctl_device,
	.device_feature = vfio_pci_core_ioctl_feature,
	.read = read_region,
	.write = write_region,
	.mmap = map_region,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
#if SIMVF_SINCE(6, 19)
	.get_region_info_caps = get_region_info_caps,
#endif
#if SIMVF_SINCE(6, 2)
	.bind_iommufd = vfio_iommufd_physical_bind,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
#endif
#if SIMVF_SINCE(6, 6)
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
#endif
};

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	/* Indices after those of simvf_mdev.ko: seeds and PFs follow the index. */
	int index = ida_alloc_range(
		&indices, 2 * SIMVF_DEVICES_MAX, 3 * SIMVF_DEVICES_MAX - 1, GFP_KERNEL);
	struct simvf *dev;
	int ret;

	if (index < 0)
		return index;
	dev = simvf_alloc(&pdev->dev, index, &ops);
	ret = PTR_ERR_OR_ZERO(dev);
	if (ret)
		goto no_device;
	dev->interrupt = interrupt;
	dev->loaded = loaded;
	ret = simvf_rules_set(dev, rules);
	if (!ret)
		ret = vfio_pci_core_register_device(&dev->pci);
	if (!ret)
		return 0;
	simvf_free(dev);
no_device:
	ida_free(&indices, index);
	return ret;
}

static void unbind(struct pci_dev *pdev)
{
	struct simvf *dev = dev_get_drvdata(&pdev->dev);
	unsigned int index = dev->index;

	vfio_pci_core_unregister_device(&dev->pci);
	simvf_free(dev);
	ida_free(&indices, index);
}

static pci_ers_result_t error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	return vfio_pci_core_aer_err_detected(pdev, state);
}

static const struct pci_error_handlers error_handlers = {.error_detected = error_detected};

/* Only functions whose driver_override names it. */
static const struct pci_device_id ids[] = {
	{PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_ANY_ID, PCI_ANY_ID)}, {}};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver simvf_pci = {
	.name = "simvf_pci",
	.id_table = ids,
	.probe = probe,
	.remove = unbind,
	.dev_groups = simvf_groups,
	.err_handler = &error_handlers,
	.driver_managed_dma = true,
};
module_pci_driver(simvf_pci);
