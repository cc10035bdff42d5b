/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * compat.h - all differences between the kernels that simvf builds for: 6.1, 6.12, and what 7.x
 * changed.
 */
#ifndef SIMVF_KMOD_COMPAT_H
#define SIMVF_KMOD_COMPAT_H

#include <linux/eventfd.h>
#include <linux/hrtimer.h>
#include <linux/mm.h>
#include <linux/version.h>
#include <linux/vfio.h>

#define SIMVF_SINCE(major, minor) (LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0))

/* PRE_COPY and the iommufd operations came with 6.2. */
#ifdef VFIO_MIGRATION_PRE_COPY
#define SIMVF_FLAGS_OF_KERNEL                                                                      \
	(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY)
#else
#define SIMVF_FLAGS_OF_KERNEL (VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P)
#endif

static inline void simvf_eventfd_signal(struct eventfd_ctx *ctx)
{
#if SIMVF_SINCE(6, 8)
	eventfd_signal(ctx);
#else
	eventfd_signal(ctx, 1);
#endif
}

static inline void simvf_vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
#if SIMVF_SINCE(6, 3)
	vm_flags_set(vma, flags);
#else
	vma->vm_flags |= flags;
#endif
}

static inline void simvf_timer_setup(
	struct hrtimer *timer, enum hrtimer_restart (*function)(struct hrtimer *timer))
{
#if SIMVF_SINCE(6, 13)
	hrtimer_setup(timer, function, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
#else
	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	timer->function = function;
#endif
}

#endif
