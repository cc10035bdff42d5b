/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_kernel.h - a kernel with two VFIO devices, simulated behind struct vfio_sys: by cdev
 * (vfio0, vfio1) and by group (5 and 6). It counts objects and injects faults.
 */
#ifndef TESTS_DEVICE_KERNEL_FAKE_KERNEL_H
#define TESTS_DEVICE_KERNEL_FAKE_KERNEL_H

#include "device/kernel/internal.h"

#define FK_DEVICES    2
#define FK_STATE_ROOM 65536
#define FK_MAPS	      32
#define FK_HWPTS      4

struct fk_device {
	enum swo_device_state state;
	uint64_t flags;
	unsigned opens;
	uint8_t state_data[256]; /* what it has to save, after a head and before a sum */
	uint8_t stream[FK_STATE_ROOM];
	size_t stream_len, stream_at, loaded;
	/*
	 * What has changed since the last save, and what is saved of it, both beyond `stream`: as
	 * mlx5 and virtio, it saves in PRE_COPY only when GET_PRECOPY_INFO is called and all is read.
	 */
	size_t changed, saved;
	size_t initial;	   /* of `saved`: new initial data */
	unsigned saves;	   /* images: at the session's start, in GET_PRECOPY_INFO, at the stop */
	bool reinit;	   /* the next of them is new initial data */
	int data_fd;	   /* the session's; -1: none */
	unsigned sessions; /* started so far */
	bool logging;
	uint64_t log_page;
	uint64_t dirty; /* a page from dirty_from on each */
	uint64_t dirty_from;
	uint32_t range_count;  /* of the last START */
	uint64_t range_length; /* the first one's */
	uint8_t config[256];
	int irq_fds[4];
	unsigned irqs_on;
	bool precopy_v2;
	bool emulated;	/* it is behind no IOMMU: the kernel itself writes for it */
	unsigned iommu; /* that it is behind */
	char token[37]; /* its PF's; "": none */
	void *bar;	/* where BAR 0 is mapped; NULL: nowhere */
};

/* A page table of iommufd with dirty bits. */
struct fk_hwpt {
	unsigned iommu;
	bool tracking;
	uint64_t dirty; /* a page from 0 on each */
};

struct fk_map {
	bool by_iommufd;
	uint64_t iova, size, vaddr;
	uint32_t prot;
	unsigned dmabuf_of; /* a device's number + 1; 0: memory */
};

struct fake_kernel {
	struct fk_device device[FK_DEVICES];
	struct fk_map maps[FK_MAPS];
	unsigned map_count;
	unsigned open_fds; /* must be 0 in the end */
	unsigned mmaps;	   /* likewise */
	unsigned set_iommu_calls;
	struct fk_hwpt hwpt[FK_HWPTS];
	unsigned hwpt_count;
	bool container_tracks;
	uint64_t container_dirty; /* a page from 0 on each */

	/* What kind of kernel it is. */
	bool no_iommufd; /* neither /dev/iommu nor reports of a DMA log */
	bool iommus_have_dirty_bits;
	bool no_data_size;
	bool no_cdev_token; /* before Linux 6.17 */
	bool has_dmabuf;    /* Linux 6.19 */
	bool no_vf;	    /* its BARs cannot be mapped for others while it does not decode */
	bool narrow_iommu;  /* 39 bits, and not 0xfee00000 */
	uint64_t data_size; /* reported instead of the right one; 0: that */
	bool no_precopy_info;
	bool knows_precopy_v2;
	bool returns_zero;   /* in PRE_COPY instead of ENOMSG */
	uint32_t info_flags; /* left in the flags of GET_PRECOPY_INFO without version 2 */
	bool lax;	     /* accepts any state */
	bool no_reset;
	bool reset_keeps_resuming; /* it resets the device, and not the state of its migration */
	bool allows_stop_copy_to_pre_copy;
	int wrong_errno; /* for what is illegal, instead of EINVAL */
	bool group_not_viable;
	uint32_t max_ranges; /* 0: any */
	size_t max_io;	     /* bytes of state at once; 0: any */
	unsigned interrupts; /* so many calls end with EINTR first */

	/* The next calls of this request, or feature, that fail. */
	unsigned long fail_request;
	uint32_t fail_feature; /* with GET or SET, when fail_request is VFIO_DEVICE_FEATURE */
	int fail_errno;
	unsigned fail_count;
	/* An arc that fails: once each time it is counted down. */
	enum swo_device_state fail_from, fail_to;
	int fail_arc_errno;
	unsigned fail_arcs;
	bool fail_to_error; /* and leaves ERROR */
	int fail_read, fail_write;
};

extern struct fake_kernel fk;
extern const struct vfio_sys fk_sys;

void fk_init(void);
/* The last warning since then; false: warnings go where they went before. */
extern char fk_logged[1024];
void fk_keep_log(bool keep);

#endif
