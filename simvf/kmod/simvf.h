/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * simvf.h - shared by the module's files: the device, its locks, and which functions wake which
 * waiters.
 *
 * Locks, outermost first: state_mutex (a SET of the migration state, reset, open, close), a
 * stream's io_mutex (one read or write of the data_fd), lock (the model, briefly). User memory
 * is never accessed under lock except by the device's own DMA.
 */
#ifndef SIMVF_KMOD_SIMVF_H
#define SIMVF_KMOD_SIMVF_H

#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "../model/model.h"

#define SIMVF_DEVICES_MAX 256
#define SIMVF_PFS	  256
#define SIMVF_SPEC_MAX	  96 /* the text of a fault */

struct platform_device;
struct simvf_stream;

struct simvf_arc_sums { /* not in the model's own statistics */
	u64 max_ns, sum_ns;
};

struct simvf_fault_text {
	char spec[SIMVF_SPEC_MAX];
};

/* What real drivers do that the uAPI leaves open (docs/kmod.md). */
#define SIMVF_RULE_FULL_SIZE	   BIT(0) /* MIG_DATA_SIZE is that of the whole state, at any time */
#define SIMVF_RULE_NO_LOG	   BIT(1) /* no DMA log */
#define SIMVF_RULE_NO_P2P	   BIT(2)
#define SIMVF_RULE_NO_PRECOPY	   BIT(3)
#define SIMVF_RULE_ZERO		   BIT(4) /* as the attribute precopy_zero */
#define SIMVF_RULE_OVERWRITES	   BIT(5) /* an image ends MSI-X and bus mastering */
#define SIMVF_RULE_UNINTERRUPTIBLE BIT(6) /* not even SIGKILL ends the wait for an arc */
#define SIMVF_RULE_RESET_AGAIN	   BIT(7) /* every other VFIO_DEVICE_RESET fails with EAGAIN */
#define SIMVF_RULE_INCREMENTS	   BIT(8) /* GET_PRECOPY_INFO alone saves what has changed */

/* What a device starts with: a user that copes with these copes without. */
#define SIMVF_RULES_DEFAULT (SIMVF_RULE_FULL_SIZE | SIMVF_RULE_INCREMENTS)

struct simvf {
	/* First: what is the driver data of the one is that of the other. */
	union {
		struct vfio_device vdev;
		struct vfio_pci_core_device pci; /* simvf_pci.ko */
	};
	struct list_head peer; /* all devices: simvf_peers */
	unsigned int index;

	struct mutex state_mutex;
	struct mutex lock;
	wait_queue_head_t wait;
	unsigned int changes; /* counts events that a thread in `wait` may be waiting for */

	struct svf *model;
	void *memory; /* of the model */
	struct page *inbox;
	struct eventfd_ctx *irq[SIMVF_MSIX_VECTORS];
	struct simvf_stream *stream; /* the open session; not owned */

	bool open;
	pid_t owner; /* tgid of the process that opened it */
	u32 p2p_set; /* siblings of one VM; 0: devices that the same process opened */
	u32 pf;	     /* 1..SIMVF_PFS, or 0 for none */
	bool precopy_zero;
	u32 rules;

	/* Of simvf_pci.ko; NULL: none. */
	void (*loaded)(struct simvf *dev); /* a complete image was written; io_mutex is held */
	bool (*interrupt)(struct simvf *dev, unsigned int vector); /* lock is held */
	void __iomem *bar; /* the function's BAR 0, while it is open */
	bool refused;	   /* the last reset, by SIMVF_RULE_RESET_AGAIN */

	struct hrtimer timer;
	struct work_struct work;

	u64 p2p_order_violations;
	struct simvf_arc_sums sums[SVF_STATES][SVF_STATES];
	struct simvf_fault_text faults[SVF_FAULTS];
};

static inline struct simvf *to_simvf(struct vfio_device *vdev)
{
	return container_of(vdev, struct simvf, vdev);
}

static inline void *simvf_inbox(struct simvf *dev)
{
	return page_address(dev->inbox);
}

/*
 * main.c: creates a device on this parent as its driver data; also for simvf_mdev.ko. simvf_pci.ko
 * registers its devices by itself, and counts them as siblings only while they are registered.
 */
struct simvf *simvf_create(struct device *parent, unsigned int index);
void simvf_destroy(struct simvf *dev);
struct simvf *simvf_alloc(
	struct device *parent, unsigned int index, const struct vfio_device_ops *ops);
void simvf_free(struct simvf *dev);

/* device.c */
extern const struct vfio_device_ops simvf_vfio_ops;
int simvf_region_info(struct vfio_region_info *info);

/* irq.c; lock is held */
u32 simvf_irq_count(u32 index);
long simvf_set_irqs(struct simvf *dev, void __user *arg);
void simvf_irqs_drop(struct simvf *dev);
bool simvf_irq_raise(struct simvf *dev, unsigned int vector);

/* engine.c */
extern const struct svf_ops simvf_model_ops;
int simvf_model_make(struct simvf *dev, const struct svf_profile *profile, u64 seed,
	unsigned int mig_flags, bool pf_arcs);
void simvf_model_free(struct simvf *dev);
void simvf_engine_init(struct simvf *dev);
void simvf_engine_stop(struct simvf *dev);
void simvf_kick(struct simvf *dev);    /* lock is held: have the engines run when it is time */
void simvf_changed(struct simvf *dev); /* lock is held: kick, and wake all waiters */
/*
 * Sleeps until `until` (ns) or until something changes after `changes` was read under lock.
 * mode: TASK_KILLABLE or TASK_INTERRUPTIBLE. -EINTR on a signal that the mode accepts.
 */
int simvf_sleep(struct simvf *dev, u64 until, unsigned int changes, unsigned int mode);

/* migration.c */
extern const struct vfio_migration_ops simvf_mig_ops;
int simvf_reset(struct simvf *dev);
void simvf_peers_add(struct simvf *dev);
void simvf_peers_remove(struct simvf *dev);

/* stream.c */
struct file *simvf_stream_open(struct simvf *dev, bool saving);
void simvf_stream_attach(struct simvf *dev, struct file *file); /* lock is held */
void simvf_stream_end(struct simvf *dev);			/* lock is held */

/* dmalog.c */
extern const struct vfio_log_ops simvf_log_ops;

/* profile.c */
bool simvf_profile_named(struct svf_profile *profile, const char *name);
int simvf_profile_change(struct svf_profile *profile, const char *text, size_t len);
ssize_t simvf_profile_show(const struct svf_profile *profile, char *buf);

/* rules.c */
int simvf_rules_set(struct simvf *dev, const char *text); /* -EBUSY while it is open */
ssize_t simvf_rules_show(struct simvf *dev, char *buf);

/* sysfs.c */
extern const struct attribute_group *simvf_groups[];

#endif
