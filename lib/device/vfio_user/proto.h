/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proto.h - the vfio-user protocol: every number and every structure, once, for the client and
 * the simulated server. No functions.
 *
 * Source: the vfio-user specification 0.2 (QEMU's docs/interop/vfio-user.rst), and linux/vfio.h
 * for the states, features, region and interrupt flags. Extensions (P2P states, MIG_DATA_SIZE,
 * "x-switchover"): docs/vfio-user.md. Everything is in the host's byte order, packed.
 */
#ifndef DEVICE_VFIO_USER_PROTO_H
#define DEVICE_VFIO_USER_PROTO_H

#include "device/core/vfio_abi.h"

#include <stddef.h>
#include <stdint.h>

#define VFIO_USER_PACKED	 __attribute__((packed))
#define VFIO_USER_SIZE(type, n)	 _Static_assert(sizeof(struct type) == (n), "size of " #type)
#define VFIO_USER_AT(type, m, n) _Static_assert(offsetof(struct type, m) == (n), #type "." #m)

/* The header */

struct vfio_user_header {
	uint16_t id; /* the sender's choice, echoed in the reply */
	uint16_t command;
	uint32_t size; /* of the complete message, with this header */
	uint32_t flags;
	uint32_t error; /* an errno when VFIO_USER_ERROR is set; may be 0 even then */
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_header, 16);
VFIO_USER_AT(vfio_user_header, command, 2);
VFIO_USER_AT(vfio_user_header, size, 4);
VFIO_USER_AT(vfio_user_header, flags, 8);
VFIO_USER_AT(vfio_user_header, error, 12);

#define VFIO_USER_TYPE_MASK 0xfu
#define VFIO_USER_COMMAND   0u
#define VFIO_USER_REPLY	    1u
#define VFIO_USER_NO_REPLY  0x10u /* commands: no answer is wanted, not even an error */
#define VFIO_USER_ERROR	    0x20u /* replies: it failed; such a reply is a header only */

enum vfio_user_command {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_GET_INFO = 4,
	VFIO_USER_GET_REGION_INFO = 5,
	VFIO_USER_GET_REGION_IO_FDS = 6,
	VFIO_USER_GET_IRQ_INFO = 7,
	VFIO_USER_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DMA_READ = 11,  /* server to client */
	VFIO_USER_DMA_WRITE = 12, /* server to client */
	VFIO_USER_RESET = 13,
	VFIO_USER_REGION_WRITE_MULTI = 15,
	VFIO_USER_DEVICE_FEATURE = 16,
	VFIO_USER_MIG_DATA_READ = 17,
	VFIO_USER_MIG_DATA_WRITE = 18,
	VFIO_USER_COMMANDS
};

/* VERSION */

#define VFIO_USER_MAJOR 0
#define VFIO_USER_MINOR 2

/* Followed by a JSON text with its NUL, or by nothing. */
struct vfio_user_version {
	uint16_t major;
	uint16_t minor;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_version, 4);

#define VFIO_USER_KEY_CAPABILITIES   "capabilities"
#define VFIO_USER_KEY_MAX_MSG_FDS    "max_msg_fds"
#define VFIO_USER_KEY_MAX_DATA_XFER  "max_data_xfer_size"
#define VFIO_USER_KEY_MAX_DMA_MAPS   "max_dma_maps"
#define VFIO_USER_KEY_PGSIZES	     "pgsizes"
#define VFIO_USER_KEY_TWIN_SOCKET    "twin_socket"
#define VFIO_USER_KEY_SUPPORTED	     "supported" /* in twin_socket */
#define VFIO_USER_KEY_FD_INDEX	     "fd_index"	 /* in twin_socket, replies only */
#define VFIO_USER_KEY_WRITE_MULTIPLE "write_multiple"
/*
 * An extension, in "capabilities": {"x-switchover": {"max_write": 1048576, "exact_reads":
 * true}}. max_write: the sender accepts MIG_DATA_WRITE of so many bytes of data; for other
 * peers the limit is 32 KiB. exact_reads: its MIG_DATA_READ replies need no padding; other
 * peers get it.
 */
#define VFIO_USER_KEY_X_SWITCHOVER "x-switchover"
#define VFIO_USER_KEY_MAX_WRITE	   "max_write"
#define VFIO_USER_KEY_EXACT_READS  "exact_reads"

#define VFIO_USER_DEFAULT_MAX_MSG_FDS	1u
#define VFIO_USER_DEFAULT_MAX_DATA_XFER 1048576u
#define VFIO_USER_DEFAULT_MAX_DMA_MAPS	65535u
#define VFIO_USER_DEFAULT_PGSIZES	4096u

/* DMA */

#define VFIO_USER_DMA_PROT_READ	 1u
#define VFIO_USER_DMA_PROT_WRITE 2u

struct vfio_user_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset; /* in the fd */
	uint64_t address;
	uint64_t size;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_dma_map, 32);
VFIO_USER_AT(vfio_user_dma_map, offset, 8);
VFIO_USER_AT(vfio_user_dma_map, address, 16);
VFIO_USER_AT(vfio_user_dma_map, size, 24);

struct vfio_user_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t address;
	uint64_t size;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_dma_unmap, 24);
VFIO_USER_AT(vfio_user_dma_unmap, address, 8);
VFIO_USER_AT(vfio_user_dma_unmap, size, 16);

/* DMA_READ and DMA_WRITE, request and reply; data follows a READ's reply and a WRITE's request. */
struct vfio_user_dma_access {
	uint64_t address;
	uint64_t count;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_dma_access, 16);
VFIO_USER_AT(vfio_user_dma_access, count, 8);

/* Device, regions, interrupts */

#define VFIO_USER_DEVICE_RESET 1u
#define VFIO_USER_DEVICE_PCI   2u

struct vfio_user_device_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_device_info, 16);
VFIO_USER_AT(vfio_user_device_info, num_regions, 8);
VFIO_USER_AT(vfio_user_device_info, num_irqs, 12);

#define VFIO_USER_REGION_READABLE  ((uint32_t)VFIO_REGION_INFO_FLAG_READ)
#define VFIO_USER_REGION_WRITEABLE ((uint32_t)VFIO_REGION_INFO_FLAG_WRITE)
#define VFIO_USER_REGION_MMAP	   ((uint32_t)VFIO_REGION_INFO_FLAG_MMAP)
#define VFIO_USER_REGION_CAPS	   ((uint32_t)VFIO_REGION_INFO_FLAG_CAPS)

/* VFIO's PCI indices (linux/vfio.h). */
enum {
	VFIO_USER_PCI_BAR0 = VFIO_PCI_BAR0_REGION_INDEX,
	VFIO_USER_PCI_BAR5 = VFIO_PCI_BAR5_REGION_INDEX,
	VFIO_USER_PCI_ROM = VFIO_PCI_ROM_REGION_INDEX,
	VFIO_USER_PCI_CONFIG = VFIO_PCI_CONFIG_REGION_INDEX,
	VFIO_USER_PCI_VGA = VFIO_PCI_VGA_REGION_INDEX,
	VFIO_USER_PCI_REGIONS = VFIO_PCI_NUM_REGIONS,
};
enum {
	VFIO_USER_PCI_INTX = VFIO_PCI_INTX_IRQ_INDEX,
	VFIO_USER_PCI_MSI = VFIO_PCI_MSI_IRQ_INDEX,
	VFIO_USER_PCI_MSIX = VFIO_PCI_MSIX_IRQ_INDEX,
	VFIO_USER_PCI_ERR = VFIO_PCI_ERR_IRQ_INDEX,
	VFIO_USER_PCI_REQ = VFIO_PCI_REQ_IRQ_INDEX,
	VFIO_USER_PCI_IRQS = VFIO_PCI_NUM_IRQS,
};

struct vfio_user_region_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t cap_offset; /* from the start of this structure; 0: none */
	uint64_t size;
	uint64_t offset; /* in the fd that comes with the reply */
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_region_info, 32);
VFIO_USER_AT(vfio_user_region_info, index, 8);
VFIO_USER_AT(vfio_user_region_info, cap_offset, 12);
VFIO_USER_AT(vfio_user_region_info, size, 16);
VFIO_USER_AT(vfio_user_region_info, offset, 24);

struct vfio_user_cap {
	uint16_t id;
	uint16_t version;
	uint32_t next; /* from the start of the region info; 0: the last */
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_cap, 8);
VFIO_USER_AT(vfio_user_cap, version, 2);
VFIO_USER_AT(vfio_user_cap, next, 4);

#define VFIO_USER_CAP_SPARSE_MMAP	  VFIO_REGION_INFO_CAP_SPARSE_MMAP
#define VFIO_USER_CAP_SPARSE_MMAP_VERSION 1

struct vfio_user_cap_sparse {
	struct vfio_user_cap header;
	uint32_t nr_areas;
	uint32_t reserved;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_cap_sparse, 16);
VFIO_USER_AT(vfio_user_cap_sparse, nr_areas, 8);

struct vfio_user_sparse_area {
	uint64_t offset;
	uint64_t size;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_sparse_area, 16);
VFIO_USER_AT(vfio_user_sparse_area, size, 8);

#define VFIO_USER_IRQ_EVENTFD VFIO_IRQ_INFO_EVENTFD

struct vfio_user_irq_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_irq_info, 16);
VFIO_USER_AT(vfio_user_irq_info, index, 8);
VFIO_USER_AT(vfio_user_irq_info, count, 12);

#define VFIO_USER_IRQ_DATA_NONE	     VFIO_IRQ_SET_DATA_NONE
#define VFIO_USER_IRQ_DATA_BOOL	     VFIO_IRQ_SET_DATA_BOOL
#define VFIO_USER_IRQ_DATA_EVENTFD   VFIO_IRQ_SET_DATA_EVENTFD
#define VFIO_USER_IRQ_ACTION_MASK    VFIO_IRQ_SET_ACTION_MASK
#define VFIO_USER_IRQ_ACTION_UNMASK  VFIO_IRQ_SET_ACTION_UNMASK
#define VFIO_USER_IRQ_ACTION_TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

/* With DATA_BOOL `count` bytes follow; with DATA_EVENTFD `count` fds, or none to remove them. */
struct vfio_user_irq_set {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t start;
	uint32_t count;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_irq_set, 20);
VFIO_USER_AT(vfio_user_irq_set, index, 8);
VFIO_USER_AT(vfio_user_irq_set, start, 12);
VFIO_USER_AT(vfio_user_irq_set, count, 16);

/* REGION_READ and REGION_WRITE, request and reply; data follows a READ's reply, a WRITE's request.
 */
struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_region_access, 16);
VFIO_USER_AT(vfio_user_region_access, region, 8);
VFIO_USER_AT(vfio_user_region_access, count, 12);

/* DEVICE_FEATURE */

struct vfio_user_feature {
	uint32_t argsz; /* request: size of the reply buffer; reply: required size */
	uint32_t flags; /* index in the low half, method above */
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_feature, 8);
VFIO_USER_AT(vfio_user_feature, flags, 4);

#define VFIO_USER_FEATURE_INDEX ((uint32_t)VFIO_DEVICE_FEATURE_MASK)
#define VFIO_USER_FEATURE_GET	((uint32_t)VFIO_DEVICE_FEATURE_GET)
#define VFIO_USER_FEATURE_SET	((uint32_t)VFIO_DEVICE_FEATURE_SET)
#define VFIO_USER_FEATURE_PROBE ((uint32_t)VFIO_DEVICE_FEATURE_PROBE)

enum vfio_user_feature_index {
	VFIO_USER_FEATURE_MIGRATION = VFIO_DEVICE_FEATURE_MIGRATION,
	VFIO_USER_FEATURE_MIG_STATE = VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
	VFIO_USER_FEATURE_DMA_LOG_START = VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
	VFIO_USER_FEATURE_DMA_LOG_STOP = VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
	VFIO_USER_FEATURE_DMA_LOG_REPORT = VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
	VFIO_USER_FEATURE_MIG_DATA_SIZE = VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
};

struct vfio_user_mig_flags { /* MIGRATION, GET; the SWO_MIG_* bits of device.h */
	uint64_t flags;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_mig_flags, 8);

struct vfio_user_mig_state { /* MIG_STATE, GET and SET; states are enum swo_device_state */
	uint32_t device_state;
	uint32_t data_fd; /* unused here: send all ones, ignore on receipt */
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_mig_state, 8);
VFIO_USER_AT(vfio_user_mig_state, data_fd, 4);

struct vfio_user_mig_data_size { /* MIG_DATA_SIZE, GET */
	uint64_t stop_copy_length;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_mig_data_size, 8);

struct vfio_user_dma_range {
	uint64_t iova;
	uint64_t length;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_dma_range, 16);
VFIO_USER_AT(vfio_user_dma_range, length, 8);

struct vfio_user_log_start { /* DMA_LOG_START, SET; followed by num_ranges ranges */
	uint64_t page_size;
	uint32_t num_ranges; /* 0: everything */
	uint32_t reserved;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_log_start, 16);
VFIO_USER_AT(vfio_user_log_start, num_ranges, 8);

struct vfio_user_log_report { /* DMA_LOG_REPORT, GET; a bitmap of u64 words follows in the reply */
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_log_report, 24);
VFIO_USER_AT(vfio_user_log_report, length, 8);
VFIO_USER_AT(vfio_user_log_report, page_size, 16);

/* Migration data */

/* Data follows a READ's reply (padded or not: only `size` counts) and a WRITE's request. */
struct vfio_user_mig_data {
	uint32_t argsz; /* 8 + size */
	uint32_t size;
} VFIO_USER_PACKED;
VFIO_USER_SIZE(vfio_user_mig_data, 8);
VFIO_USER_AT(vfio_user_mig_data, size, 4);

#endif
