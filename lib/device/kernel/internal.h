/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - private to the kernel backend: paths, containers and I/O address spaces, regions
 * and interrupts, migration, DMA.
 */
#ifndef DEVICE_KERNEL_INTERNAL_H
#define DEVICE_KERNEL_INTERNAL_H

#include "device/core/regions.h"
#include "device/core/vfio_abi.h"

#include <sys/types.h>

#define VK_PATH_MAX 256
#define VK_NAME_MAX 256

/*
 * The system calls, so that tests can simulate a kernel. As in libc: -1 and errno; read and
 * write with an offset of -1 are read(2) and write(2), otherwise pread(2) and pwrite(2).
 */
struct vfio_sys {
	int (*open)(const char *path, int flags);
	int (*ioctl)(int fd, unsigned long request, void *arg);
	ssize_t (*read)(int fd, void *buf, size_t len, off_t offset);
	ssize_t (*write)(int fd, const void *buf, size_t len, off_t offset);
	void *(*mmap)(size_t len, int prot, int fd, off_t offset); /* shared; MAP_FAILED */
	int (*munmap)(void *addr, size_t len);
	int (*dup)(int fd);  /* closed on exec */
	int (*shut)(int fd); /* closes the file; the number stays in use until close */
	int (*close)(int fd);
	const char *dev;     /* "/dev" */
	const char *sysfs;   /* "/sys" */
	const char *modules; /* "/lib/modules" */
};
extern const struct vfio_sys kernel_sys_host;

/* path.c */

struct kernel_where {
	bool by_cdev;
	char node[VK_PATH_MAX];	  /* the cdev or the group's */
	char device[VK_NAME_MAX]; /* by group: the kernel's name of the device */
	char dir[VK_PATH_MAX];	  /* the device's directory in sysfs; "": not found */
	int fd;			  /* by cdev: opened by another process, and not bound; -1: none */
	char token[37];		  /* of a VF; "": none. Never shown */
};
/*
 * A path, or a PCI address with or without its domain: 0000:3b:00.2, 3b:00.2. Either may be followed by
 * " vf_token=UUID".
 */
int kernel_resolve(const struct vfio_sys *sys, const char *name, const char *path,
	struct kernel_where *where, struct swo_error *err);
/* An opened cdev. */
void kernel_resolve_fd(const struct vfio_sys *sys, int fd, struct kernel_where *where);
/* SWO_E_INVALID, without the token in the text, unless it is a UUID. */
int kernel_check_token(const char *name, const char *token, struct swo_error *err);

/* driver.c: why a device in this directory of sysfs ("": unknown) offers no migration. */
void kernel_why_no_migration(const struct vfio_sys *sys, const char *dir, char *out, size_t room);

/* context.c */

struct kernel_map {
	uint64_t iova;
	uint64_t size;
	uint32_t prot;
	int fd; /* as passed by the caller, only for comparison */
	uint64_t offset;
	void *host;
	void *ours; /* mapped here, since the kernel requires an address; NULL: host is the caller's */
	struct vfio_kernel *owner; /* of the BAR that this is; NULL: RAM, or unknown */
	uint32_t region;	   /* the BAR, and where in it */
	uint64_t region_at;
	bool as_dmabuf;
	bool absent; /* until the owner decodes its memory */
	unsigned users;
	struct kernel_map *next;
};

/* A page table of an IOMMU with dirty bits; it exists until the address space is closed. */
struct kernel_hwpt {
	uint32_t id;
	unsigned trackers; /* devices for which it tracks */
	struct kernel_hwpt *next;
};

enum kernel_space_kind { VK_TYPE1, VK_IOAS, VK_SPACES };

/* The owner of maps: a container or an I/O address space. */
struct kernel_space {
	enum kernel_space_kind kind;
	int fd; /* /dev/vfio/vfio or /dev/iommu; -1 until needed */
	uint32_t ioas;
	bool given;	/* fd is a duplicate of the caller's iommufd */
	bool has_iommu; /* container: SET_IOMMU is done; iommufd: it has an IOAS */
	struct kernel_map *maps;
	struct kernel_hwpt *hwpts;
	unsigned trackers; /* container: devices for which it tracks */
};

/* A group can be opened only once, but may have several devices. */
struct kernel_group {
	char node[VK_PATH_MAX];
	int fd;
	unsigned users;
	struct kernel_group *next;
};

struct swo_vfio_context {
	const struct vfio_sys *sys;
	pthread_mutex_t lock;
	unsigned users;
	struct kernel_space spaces[VK_SPACES];
	struct kernel_group *groups;
	struct vfio_kernel *devices; /* those that are attached */
};

struct vfio_kernel;
/* Fills dev->fd, space and group. */
int kernel_attach(struct vfio_kernel *vk, const struct kernel_where *where, struct swo_error *err);
void kernel_detach(struct vfio_kernel *vk);

/* The device */

struct kernel_own_map {
	struct kernel_map *map;
	struct kernel_own_map *next;
};

struct vfio_kernel {
	char name[64];
	struct swo_vfio_kernel_params params;
	const struct vfio_sys *sys;
	char dir[VK_PATH_MAX]; /* in sysfs; "": unknown */
	struct swo_vfio_context *context;
	struct kernel_space *space;
	struct kernel_group *group; /* NULL: by cdev */
	struct vfio_kernel *next;   /* in the context's list */
	bool decodes;		    /* atomic: its memory, as last written to COMMAND */
	struct kernel_hwpt *hwpt;   /* by cdev: NULL: the kernel's own choice, without dirty bits */
	int fd;

	bool released; /* atomic; the file of `fd` is closed */

	uint32_t device_flags; /* VFIO_DEVICE_FLAGS_* */
	struct device_regions regions;
	bool has_data_size;
	bool has_dma_log;
	bool has_precopy_v2;

	/* Used by the worker only. */
	int data_fd; /* of the session; -1: none */
	enum swo_device_state state;
	bool write_failed; /* only a reset helps */

	pthread_mutex_t irq_lock;
	bool irq_on[DEVICE_IRQS_MAX];

	pthread_mutex_t dma_lock; /* own maps and the log */
	struct kernel_own_map *maps;
	uint64_t *bits; /* for reports of type1; all 0 between them */
	size_t bits_words;
	enum swo_dirty_tracking tracking; /* what is running; OFF: nothing */
	bool log_broken;		  /* it can be started but not read */
	uint64_t probed_iova;		  /* the page of the first report ... */
	uint64_t probed_size;		  /* ... its size, and ... */
	bool probed_was_dirty;		  /* ... the bit which that report cleared */
};

/* backend.c: swo_vfio_kernel_open and _adopt on a simulated system, for tests. */
int kernel_open(const struct vfio_sys *sys, const char *name, const char *path,
	const struct swo_vfio_kernel_params *params, void **self, struct swo_error *err);
int kernel_adopt(const struct vfio_sys *sys, const char *name, int fd,
	const struct swo_vfio_kernel_params *params, void **self, struct swo_error *err);

/* sys.c */
/* ioctl(2), repeated after EINTR. Returns 0 or more, or -errno. */
int kernel_ioctl(const struct vfio_kernel *vk, int fd, unsigned long request, void *arg);
static inline bool kernel_is_released(const struct vfio_kernel *vk)
{
	return __atomic_load_n(&vk->released, __ATOMIC_ACQUIRE);
}
/*
 * VFIO_DEVICE_FEATURE: `len` bytes of data are passed and returned. Returns 0, the
 * descriptor that the feature made, or -errno. data NULL: none.
 */
int kernel_feature(const struct vfio_kernel *vk, uint32_t flags, void *data, size_t len);
/* True if this errno means that the feature does not exist. */
bool kernel_is_unsupported(int os_errno);

/* info.c */
int kernel_read_info(struct vfio_kernel *vk, struct swo_error *err);
int kernel_region_info(
	void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err);
int kernel_region_read(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
	struct swo_error *err);
int kernel_region_write(void *self, uint32_t region, uint64_t offset, const void *buf, uint32_t len,
	bool posted, struct swo_error *err);
int kernel_region_fd(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err);
int kernel_irq_info(void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err);
int kernel_set_irqs(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
	struct swo_error *err);

/* migration.c */
int kernel_get_mig_flags(void *self, uint64_t *flags, struct swo_error *err);
int kernel_get_state(void *self, enum swo_device_state *state, struct swo_error *err);
int kernel_set_state(void *self, enum swo_device_state state, struct swo_error *err);
int kernel_data_read(void *self, void *buf, size_t len, size_t *got, struct swo_error *err);
int kernel_data_write(void *self, const void *buf, size_t len, struct swo_error *err);
int kernel_precopy_info(void *self, struct swo_precopy_info *out, struct swo_error *err);
int kernel_data_size(void *self, uint64_t *stop_copy_length, struct swo_error *err);
size_t kernel_read_chunk(void *self);
size_t kernel_write_chunk(void *self);
int kernel_reset(void *self, struct swo_error *err);
void kernel_close_session(struct vfio_kernel *vk);

/* dma.c */
int kernel_dma_map(void *self, uint64_t iova, uint64_t size, int fd, uint64_t offset, void *host,
	uint32_t prot, struct swo_error *err);
int kernel_dma_unmap(void *self, uint64_t iova, uint64_t size, struct swo_error *err);
void kernel_dma_free(struct vfio_kernel *vk);

/* With the context's lock held: the kernel's map and unmap of a range with an address. */
int kernel_map_host(const struct vfio_kernel *vk, const struct kernel_map *map);
int kernel_unmap_any(const struct vfio_kernel *vk, const struct kernel_map *map);

/* peer.c: the BARs of siblings. With the context's lock held */
void kernel_peer_find(struct swo_vfio_context *context, struct kernel_map *map);
int kernel_peer_map(const struct vfio_kernel *vk, struct kernel_map *map);
/* No map refers to this device any more. */
void kernel_peer_forget(struct swo_vfio_context *context, const struct vfio_kernel *owner);
/* Without it: the device may decode its memory again; what others have mapped of it is there then. */
void kernel_peer_redo(struct vfio_kernel *owner);
void kernel_peer_config_written(
	struct vfio_kernel *owner, uint64_t offset, const uint8_t *data, uint32_t len);

/* iova.c: "; the IOMMU can map only ..." if that is why this map was refused, else "". */
void kernel_iova_advice(
	const struct vfio_kernel *vk, uint64_t iova, uint64_t size, char *out, size_t room);

/* tracker.c */
/*
 * Attaches the device, which is bound as `dev_id`, to a page table with dirty bits of its address
 * space. False: its IOMMU has none, and it is not attached. With the context's lock held.
 */
bool kernel_attach_hwpt(struct vfio_kernel *vk, struct kernel_space *space, uint32_t dev_id);
void kernel_free_hwpts(struct kernel_space *space);
/* Tracking by the host: *kind is IOMMU or TYPE1, in pages of *page bytes. */
int kernel_tracker_start(struct vfio_kernel *vk, uint64_t *page,
	const struct vfio_device_feature_dma_logging_range *ranges, size_t count,
	enum swo_dirty_tracking *kind, struct swo_error *err);
/* 0 or -errno, as kernel_ioctl. */
int kernel_tracker_report(
	struct vfio_kernel *vk, uint64_t iova, uint64_t length, uint64_t page, uint64_t *bitmap);
int kernel_tracker_stop(struct vfio_kernel *vk);

/* log.c */
int kernel_host_log_start(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
	size_t count, enum swo_dirty_tracking *kind, struct swo_error *err);
int kernel_dma_log_start(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
	size_t count, struct swo_error *err);
int kernel_dma_log_stop(void *self, struct swo_error *err);
int kernel_dma_log_report(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
	uint64_t *bitmap, struct swo_error *err);

#endif
