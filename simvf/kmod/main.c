// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - the module: its parameters, the devices' registration with VFIO, and the platform
 * devices that represent VFs. No IOMMU is needed: memory is accessed through VFIO.
 */
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>

#include "compat.h"
#include "simvf.h"

MODULE_DESCRIPTION("Simulated VFIO PCI devices that can be live-migrated");
MODULE_AUTHOR("The switchover project");
MODULE_LICENSE("GPL");
MODULE_VERSION(SIMVF_VERSION);
#if IS_ENABLED(CONFIG_IOMMUFD)
#if SIMVF_SINCE(6, 13)
MODULE_IMPORT_NS("IOMMUFD");
#else
MODULE_IMPORT_NS(IOMMUFD);
#endif
#endif

static unsigned int devices = 2;
module_param(devices, uint, 0444);
MODULE_PARM_DESC(devices, "Number of devices, 1 to 256 (2)");

static char *profile = "instant";
module_param(profile, charp, 0444);
MODULE_PARM_DESC(profile, "Costs of the devices: instant, even, cx7, cx7-measured[-own], "
			  "cx7-measured-102m[-own], vf-small, mixed-mlx5, mixed-qat, mixed-big or "
			  "mixed-instant (instant)");

static unsigned int mig_flags = 7;
module_param(mig_flags, uint, 0444);
MODULE_PARM_DESC(mig_flags, "Migration features: 1 STOP_COPY (always), 2 P2P, 4 PRE_COPY, as far "
			    "as the kernel supports them (7)");

static unsigned int pfs;
module_param(pfs, uint, 0444);
MODULE_PARM_DESC(pfs, "Number of physical functions, assigned to the devices in turn; devices of "
		      "one PF save and load one after another; 0: none is shared (0)");

static bool pf_arcs;
module_param(pf_arcs, bool, 0444);
MODULE_PARM_DESC(pf_arcs, "Run arcs of devices of one PF one at a time too (N)");

static bool precopy_zero;
module_param(precopy_zero, bool, 0444);
MODULE_PARM_DESC(precopy_zero,
	"In PRE_COPY, return 0 for a read without data, as some drivers do, not ENOMSG (N)");

static unsigned long long seed = 1;
module_param(seed, ullong, 0444);
MODULE_PARM_DESC(seed, "Seed of the state's bytes; device N has seed + N (1)");

/* Figures of the profile, one by one. */
#define FIGURE(name, text)                                                                         \
	static char *name;                                                                         \
	module_param(name, charp, 0444);                                                           \
	MODULE_PARM_DESC(name, text " (the profile's)")

FIGURE(to_p2p_ms, "Time to RUNNING_P2P and PRE_COPY_P2P from the running states, in ms");
FIGURE(to_stop_copy_ms, "Time of PRE_COPY_P2P->STOP_COPY and RUNNING_P2P->STOP, in ms");
FIGURE(resuming_to_stop_ms, "Time of RESUMING->STOP after everything is loaded, in ms");
FIGURE(to_running_p2p_ms, "Time of STOP->RUNNING_P2P, in ms");
FIGURE(to_running_ms, "Time of RUNNING_P2P->RUNNING and PRE_COPY_P2P->PRE_COPY, in ms");
FIGURE(config_load_ms, "Time that restoring PCI_COMMAND takes, in ms");
FIGURE(state_bytes, "Size of the state, such as 64K or 20M");
FIGURE(precopy_percent, "How much of it can be sent while the device runs, in percent");
FIGURE(save_rate, "Rate at which state is saved, in MB/s; 0: no limit");
FIGURE(load_rate, "Rate at which state is loaded, in MB/s; 0: no limit");
FIGURE(load_fixed_ms, "Fixed time of a load, in the write that completes the image, in ms");

static struct svf_profile costs;
static struct platform_device *platform_devices[SIMVF_DEVICES_MAX];

static int read_costs(void)
{
	const struct {
		const char *key, *value;
	} figures[] = {
		{"to_p2p_ms", to_p2p_ms},
		{"to_stop_copy_ms", to_stop_copy_ms},
		{"resuming_to_stop_ms", resuming_to_stop_ms},
		{"to_running_p2p_ms", to_running_p2p_ms},
		{"to_running_ms", to_running_ms},
		{"config_load_ms", config_load_ms},
		{"state_bytes", state_bytes},
		{"precopy_percent", precopy_percent},
		{"save_rate", save_rate},
		{"load_rate", load_rate},
		{"load_fixed_ms", load_fixed_ms},
	};
	const char *why = "";
	unsigned int i;

	if (!simvf_profile_named(&costs, profile)) {
		pr_err("simvf: unknown profile '%s'\n", profile);
		return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(figures); i++) {
		if (!figures[i].value ||
			svf_profile_set(&costs, figures[i].key, figures[i].value, &why))
			continue;
		pr_err("simvf: %s=%s: %s\n", figures[i].key, figures[i].value, why);
		return -EINVAL;
	}
	return 0;
}

struct simvf *simvf_alloc(
	struct device *parent, unsigned int index, const struct vfio_device_ops *ops)
{
	struct simvf *dev = vfio_alloc_device(simvf, vdev, parent, ops);
	int ret;

	if (IS_ERR(dev))
		return dev;
	dev->index = index;
	dev->pf = pfs ? dev->index % pfs + 1 : 0;
	dev->precopy_zero = precopy_zero;
	dev->rules = SIMVF_RULES_DEFAULT;
	dev->vdev.migration_flags = (mig_flags & SIMVF_FLAGS_OF_KERNEL) | VFIO_MIGRATION_STOP_COPY;
	dev->vdev.mig_ops = &simvf_mig_ops;
	dev->vdev.log_ops = &simvf_log_ops;
	ret = simvf_model_make(dev, &costs, seed + dev->index, dev->vdev.migration_flags, pf_arcs);
	if (ret) {
		vfio_put_device(&dev->vdev);
		return ERR_PTR(ret);
	}
	/* Before registration: the attributes exist as soon as probe returns. */
	dev_set_drvdata(parent, dev);
	simvf_peers_add(dev);
	return dev;
}
EXPORT_SYMBOL_GPL(simvf_alloc);

void simvf_free(struct simvf *dev)
{
	simvf_peers_remove(dev);
	dev_set_drvdata(dev->vdev.dev, NULL);
	vfio_put_device(&dev->vdev);
}
EXPORT_SYMBOL_GPL(simvf_free);

struct simvf *simvf_create(struct device *parent, unsigned int index)
{
	struct simvf *dev = simvf_alloc(parent, index, &simvf_vfio_ops);
	int ret;

	if (IS_ERR(dev))
		return dev;
	ret = vfio_register_emulated_iommu_dev(&dev->vdev);
	if (!ret)
		return dev;
	simvf_free(dev);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL_GPL(simvf_create);

void simvf_destroy(struct simvf *dev)
{
	vfio_unregister_group_dev(&dev->vdev);
	simvf_free(dev);
}
EXPORT_SYMBOL_GPL(simvf_destroy);

static int probe(struct platform_device *pdev)
{
	return PTR_ERR_OR_ZERO(simvf_create(&pdev->dev, pdev->id));
}

static void unbind(struct platform_device *pdev)
{
	simvf_destroy(platform_get_drvdata(pdev));
}

#if SIMVF_SINCE(6, 11)
#define REMOVE unbind
#else
static int remove(struct platform_device *pdev)
{
	unbind(pdev);
	return 0;
}
#define REMOVE remove
#endif

static struct platform_driver driver = {
	.probe = probe,
	.remove = REMOVE,
	.driver =
		{
			.name = "simvf",
			.dev_groups = simvf_groups,
		},
};

static void unmake(void)
{
	unsigned int i;

	for (i = 0; i < devices; i++)
		platform_device_unregister(platform_devices[i]);
	platform_driver_unregister(&driver);
}

static int __init simvf_init(void)
{
	unsigned int i;
	int ret;

	if (!devices || devices > SIMVF_DEVICES_MAX || pfs > SIMVF_PFS) {
		pr_err("simvf: expected devices 1 to %u, pfs 0 to %u\n", SIMVF_DEVICES_MAX,
			SIMVF_PFS);
		return -EINVAL;
	}
	ret = read_costs();
	if (ret)
		return ret;
	ret = platform_driver_register(&driver);
	if (ret)
		return ret;
	for (i = 0; i < devices; i++) {
		struct platform_device *pdev = platform_device_register_simple("simvf", i, NULL, 0);

		ret = PTR_ERR_OR_ZERO(pdev);
		if (!ret) {
			platform_devices[i] = pdev;
			if (!platform_get_drvdata(
				    pdev)) { /* the core hides the return value of probe */
				ret = -ENODEV;
				i++;
			}
		}
		if (ret) {
			devices = i;
			unmake();
			return ret;
		}
	}
	return 0;
}

static void __exit simvf_exit(void)
{
	unmake();
}

module_init(simvf_init);
module_exit(simvf_exit);
