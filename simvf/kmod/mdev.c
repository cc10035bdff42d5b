// SPDX-License-Identifier: GPL-2.0-only
/*
 * mdev.c - simvf_mdev.ko: the same devices as mediated devices, created by a UUID in sysfs.
 * QEMU accepts a device without an IOMMU through iommufd only from the mdev bus. A separate
 * module, since not every kernel has that bus.
 */
#include <linux/device.h>
#include <linux/idr.h>
#include <linux/mdev.h>
#include <linux/module.h>

#include "compat.h"
#include "simvf.h"

MODULE_DESCRIPTION("Simulated VFIO PCI devices that can be live-migrated, as mediated devices");
MODULE_AUTHOR("The switchover project");
MODULE_LICENSE("GPL");
MODULE_VERSION(SIMVF_VERSION);

static DEFINE_IDA(indices);
/* The parent device: type names begin with its name, simvf_mdev-vf. */
static struct class class = {.name = "simvf_mdev"};
static struct device *root;
static struct mdev_parent parent;

static int probe(struct mdev_device *mdev)
{
	/* Indices after the platform devices: seeds and PFs follow the index. */
	int index =
		ida_alloc_range(&indices, SIMVF_DEVICES_MAX, 2 * SIMVF_DEVICES_MAX - 1, GFP_KERNEL);
	struct simvf *dev;

	if (index < 0)
		return index;
	dev = simvf_create(&mdev->dev, index);
	if (!IS_ERR(dev))
		return 0;
	ida_free(&indices, index);
	return PTR_ERR(dev);
}

static void unbind(struct mdev_device *mdev)
{
	struct simvf *dev = dev_get_drvdata(&mdev->dev);
	unsigned int index = dev->index;

	simvf_destroy(dev);
	ida_free(&indices, index);
}

static struct mdev_driver driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.max_instances = SIMVF_DEVICES_MAX,
	.probe = probe,
	.remove = unbind,
	.driver =
		{
			.name = "simvf_mdev",
			.owner = THIS_MODULE,
			.mod_name = KBUILD_MODNAME,
			.dev_groups = simvf_groups,
		},
};

static struct mdev_type vf = {
	.sysfs_name = "vf",
	.pretty_name = "Simulated VF",
};
static struct mdev_type *types[] = {&vf};

static int __init simvf_mdev_init(void)
{
	int ret = mdev_register_driver(&driver);

	if (ret)
		return ret;
	ret = class_register(&class);
	if (ret)
		goto no_class;
	root = device_create(&class, NULL, MKDEV(0, 0), NULL, "simvf_mdev");
	ret = PTR_ERR_OR_ZERO(root);
	if (ret)
		goto no_root;
	ret = mdev_register_parent(&parent, root, &driver, types, ARRAY_SIZE(types));
	if (!ret)
		return 0;
	device_unregister(root);
no_root:
	class_unregister(&class);
no_class:
	mdev_unregister_driver(&driver);
	return ret;
}

static void __exit simvf_mdev_exit(void)
{
	mdev_unregister_parent(&parent);
	device_unregister(root);
	class_unregister(&class);
	mdev_unregister_driver(&driver);
}

module_init(simvf_mdev_init);
module_exit(simvf_mdev_exit);
