/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.h - a migratable device: its states and arcs, the worker that takes it along them,
 * their timing, deadlines and recovery. The backend (a kernel VFIO device, a vfio-user server)
 * is a table of functions.
 */
#ifndef SWITCHOVER_DEVICE_H
#define SWITCHOVER_DEVICE_H

#include "switchover/base.h"
#include "switchover/runstate.h"
#include "switchover/timeline.h"
#include "switchover/vfio.h"

#ifdef __cplusplus
extern "C" {
#endif

/* States and arcs */

/* VFIO_DEVICE_FEATURE_MIGRATION flags. */
#define SWO_MIG_STOP_COPY (UINT64_C(1) << 0)
#define SWO_MIG_P2P	  (UINT64_C(1) << 1)
#define SWO_MIG_PRE_COPY  (UINT64_C(1) << 2)

/* True if a device with these flags has this state. ERROR: always. */
SWO_API bool swo_device_state_supported(enum swo_device_state state, uint64_t mig_flags);
/*
 * The next single arc on the path from `from` to `to`: returns 0 and *next, or -1 if the uAPI
 * does not allow the pair (from or to ERROR, STOP_COPY->PRE_COPY(_P2P), a state that the flags
 * exclude). from == to gives *next == to. A pure table.
 */
SWO_API int swo_device_next_state(enum swo_device_state from, enum swo_device_state to,
	uint64_t mig_flags, enum swo_device_state *next);

/* Backends */

struct swo_region_info {
	uint64_t size;
	uint32_t flags; /* VFIO_REGION_INFO_FLAG_*: 1 read, 2 write, 4 mmap */
};

struct swo_irq_info {
	uint32_t flags; /* VFIO_IRQ_INFO_*: 1 eventfd */
	uint32_t count;
};

struct swo_dma_range {
	uint64_t iova;
	uint64_t length;
};

/* The arguments of dma_map; there is no host address. */
struct swo_dma_map {
	uint64_t iova;
	uint64_t size;
	int fd;
	uint64_t offset;
	uint32_t prot;
};

/* Of the data that a device has in PRE_COPY, in bytes. */
struct swo_precopy_info {
	uint64_t initial_bytes; /* to be sent and loaded before the device is stopped */
	uint64_t dirty_bytes;	/* changed relative to what was read */
	bool reinit; /* there is new initial data, whatever was reported before (Linux 7.2) */
};

#define SWO_READS_AHEAD 2

/* How the pages that a device writes are found during a migration of which it is a source. */
enum swo_dirty_tracking {
	SWO_DIRTY_TRACKING_OFF,	   /* not chosen yet, or not needed: RAM is handed over */
	SWO_DIRTY_TRACKING_NONE,   /* all RAM is sent in the stop */
	SWO_DIRTY_TRACKING_DEVICE, /* the device's own log */
	SWO_DIRTY_TRACKING_IOMMU,  /* dirty bits of the IOMMU's page table (iommufd) */
	SWO_DIRTY_TRACKING_TYPE1,  /* what the kernel writes for emulated devices (VFIO type1) */
};
/* "off", "none", "device-log", "iommu", "type1" */
SWO_API const char *swo_dirty_tracking_name(enum swo_dirty_tracking kind);

/*
 * The operations of a backend. Every function blocks until done, has a deadline of its own
 * where the medium allows one, returns 0 or -1 with *err set, and names the device in *err.
 * `self` is the backend's object.
 *
 * Only the device's worker calls the migration functions (the first group). The others may be
 * called from any thread at any time, also during a migration job; none after `destroy`. An
 * optional function that is NULL, or fails with SWO_E_UNSUPPORTED, is not offered.
 */
struct swo_device_ops {
	size_t size;	  /* of this structure */
	const char *name; /* "vfio-user", "kernel" */

	/* -- migration -- */
	/* Features, once, at creation: SWO_MIG_* flags. SWO_E_UNSUPPORTED: cannot migrate. */
	int (*get_mig_flags)(void *self, uint64_t *flags, struct swo_error *err);
	int (*get_state)(void *self, enum swo_device_state *state, struct swo_error *err);
	/* One single arc (or a same-state no-op). Opens and closes the data session. */
	int (*set_state)(void *self, enum swo_device_state state, struct swo_error *err);
	/*
	 * Reads up to `len` bytes of state: *got > 0 bytes; *got == 0 is the end in STOP_COPY,
	 * and "no data for now" in PRE_COPY (both -ENOMSG and a read of 0).
	 */
	int (*data_read)(void *self, void *buf, size_t len, size_t *got, struct swo_error *err);
	/*
	 * For a remote backend: sends in STOP_COPY the request whose reply a data_read of the
	 * same `buf` and `len` will collect later, so that the caller can wait for other
	 * devices meanwhile. Up to SWO_READS_AHEAD requests may be open; they are collected in
	 * the order of the requests, also after an error: `buf` must stay until then. Optional.
	 */
	int (*data_ask)(void *self, void *buf, size_t len, struct swo_error *err);
	/* Writes all of it, or fails (after which only a reset helps). */
	int (*data_write)(void *self, const void *buf, size_t len, struct swo_error *err);
	/*
	 * For a backend whose data_write returns before the device has read the data: waits
	 * until it has, and fails if it did not. Optional. Leaving a state implies it.
	 */
	int (*data_flush)(void *self, struct swo_error *err);
	/*
	 * VFIO_MIG_GET_PRECOPY_INFO; optional. PRE_COPY states only. Not only a query: a driver may
	 * save its next increment in this call alone (mlx5, virtio), and until then reads return 0.
	 */
	int (*precopy_info)(void *self, struct swo_precopy_info *info, struct swo_error *err);
	/*
	 * VFIO_DEVICE_FEATURE_MIG_DATA_SIZE; optional; any state. Drivers report the size of the
	 * complete state, in every state (mlx5, QAT, virtio, xe); a vfio-user server may report what
	 * is left.
	 */
	int (*data_size)(void *self, uint64_t *stop_copy_length, struct swo_error *err);
	/* The largest data_read / data_write that is useful for this peer, in bytes. */
	size_t (*read_chunk)(void *self);
	size_t (*write_chunk)(void *self);
	/* Resets: RUNNING afterwards on a kernel device; a vfio-user server may keep its state. */
	int (*reset)(void *self, struct swo_error *err);

	/* -- DMA: optional log of the device's writes to guest memory -- */
	/* *page_size: a hint in, the device's choice out. ranges 0: everything mapped. */
	int (*dma_log_start)(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
		size_t count, struct swo_error *err);
	int (*dma_log_stop)(void *self, struct swo_error *err);
	/*
	 * ORs one bit per page of [iova, iova + length) into `bitmap` (bit 0 = first page) and
	 * clears the device's log. On error treat the whole range as dirty.
	 */
	int (*dma_log_report)(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
		uint64_t *bitmap, struct swo_error *err);
	/* Maps [iova, iova+size) at fd+offset for the device; prot: 1 read, 2 write. */
	int (*dma_map)(void *self, uint64_t iova, uint64_t size, int fd, uint64_t offset,
		void *host, uint32_t prot, struct swo_error *err);
	int (*dma_unmap)(void *self, uint64_t iova, uint64_t size, struct swo_error *err);
	/*
	 * Several dma_maps, requested without waiting in between. Optional. On failure the
	 * first error; some of the others may have succeeded.
	 */
	int (*dma_map_many)(
		void *self, const struct swo_dma_map *maps, size_t count, struct swo_error *err);

	/* -- regions and interrupts, by VFIO's PCI indices -- */
	int (*region_info)(
		void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err);
	int (*region_read)(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
		struct swo_error *err);
	/*
	 * posted: need not wait for the device's reply; the order is kept, and none is dropped
	 * unless the device is lost.
	 */
	int (*region_write)(void *self, uint32_t region, uint64_t offset, const void *buf,
		uint32_t len, bool posted, struct swo_error *err);
	/*
	 * The fd, offset and size for mapping a region's mappable part; optional. The backend
	 * keeps the fd. region_offset: the offset of that part in the region.
	 */
	int (*region_fd)(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
		uint64_t *region_offset, uint64_t *size, struct swo_error *err);
	int (*irq_info)(
		void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err);
	/*
	 * One eventfd per vector from `start`; fd -1 removes a vector; count 0: disable all.
	 * The caller keeps the fds.
	 */
	int (*set_irqs)(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
		struct swo_error *err);

	void (*destroy)(void *self);

	/* SWO_FEATURE_* as reported by the device; sends no request that changes it. Optional. */
	uint32_t (*features)(void *self);

	/*
	 * Where dma_log_start is missing or fails: tracking by the host, without the device's help,
	 * as dma_log_start. Reported and stopped by dma_log_report and dma_log_stop. *kind: what it
	 * is. Optional.
	 */
	int (*host_log_start)(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
		size_t count, enum swo_dirty_tracking *kind, struct swo_error *err);

	/*
	 * The device was declared lost while it was to do something: until it sends something again,
	 * region_read fails at once, and so does a region_write that would have to wait. Returns
	 * at once. Optional: for a backend whose accesses wait for the device.
	 */
	void (*lost)(void *self);

	/*
	 * Gives the device back to the host at once, while other calls may be in progress: their maps
	 * of its regions are the caller's to remove. Every later call but destroy fails. Any thread.
	 * Optional.
	 */
	void (*release)(void *self);

	/*
	 * For a remote backend: set_state with the device's state right before and right after the
	 * arc, all requested at once: a device that was reset meanwhile takes an arc from elsewhere.
	 * SWO_E_UNSUPPORTED before anything is requested: get_state is called instead. Optional.
	 */
	int (*set_state_seen)(void *self, enum swo_device_state state,
		enum swo_device_state seen[2], struct swo_error *err);
};

/* A device's features beyond its migration flags, as reported, before any is used. */
#define SWO_FEATURE_DMA_LOG	    0x1u
#define SWO_FEATURE_DATA_SIZE	    0x2u
#define SWO_FEATURE_PRECOPY_INFO    0x4u /* only certain in PRE_COPY */
#define SWO_FEATURE_PRECOPY_INFO_V2 0x8u
#define SWO_FEATURE_RESET	    0x10u

/* A device */

struct swo_device;

struct swo_device_params {
	size_t size;		       /* of this structure */
	uint64_t arc_deadline_ms;      /* for each arc; 0: 30000 */
	uint64_t data_deadline_ms;     /* one read or write of state; 0: 30000 */
	struct swo_timeline *timeline; /* arcs are recorded here; may be NULL */
};

/*
 * Takes ownership of `self` (also on failure: it is destroyed then). `ops` is copied. Starts the device's
 * worker, and reads flags and state. Errors are those of the backend.
 */
SWO_API int swo_device_create(const char *name, const struct swo_device_ops *ops, void *self,
	const struct swo_device_params *params, struct swo_device **out, struct swo_error *err);
/*
 * Waits for the worker; a device with a hung arc is leaked, with its memory and its thread, and
 * that is logged.
 */
SWO_API void swo_device_destroy(struct swo_device *dev);

SWO_API const char *swo_device_name(const struct swo_device *dev);
SWO_API uint64_t swo_device_mig_flags(const struct swo_device *dev);
SWO_API const struct swo_device_ops *swo_device_backend(const struct swo_device *dev, void **self);
SWO_API struct swo_worker *swo_device_worker(struct swo_device *dev);
/* The deadline of one read or write of the device's state. */
SWO_API uint64_t swo_device_data_deadline_ms(const struct swo_device *dev);
/* The deadline of one arc. */
SWO_API uint64_t swo_device_arc_deadline_ms(const struct swo_device *dev);
SWO_API void swo_device_set_timeline(struct swo_device *dev, struct swo_timeline *timeline);

/* Of the latest migration; kept after its end. Any thread. */
SWO_API enum swo_dirty_tracking swo_device_dirty_tracking(struct swo_device *dev);

/* The state after the last completed arc; does not access the device. */
SWO_API enum swo_device_state swo_device_state(struct swo_device *dev);

/* The device's health beyond its state; sticky until swo_device_refresh clears it. */
enum swo_device_health {
	SWO_DEVICE_SOUND,
	SWO_DEVICE_WAS_RESET, /* recovery reset it, and its state is lost */
	SWO_DEVICE_LOST,      /* an arc hangs, or the backend has failed */
};
SWO_API enum swo_device_health swo_device_health(struct swo_device *dev);
/*
 * For how long the arc, reset or query has been under way that the device was last requested to
 * do, in ns, and its text, "PRE_COPY->PRE_COPY_P2P"; one that hangs and was given up counts until it
 * ends. 0: nothing is; text is "" then. Any thread.
 */
SWO_API uint64_t swo_device_under_way(struct swo_device *dev, char *text, size_t room);

/*
 * Goes to `state` arc by arc, on the device's worker: launch queues the path and returns at
 * once (it never allocates), wait joins it. One path at a time: otherwise SWO_E_STATE. If an
 * arc passes its deadline, wait returns SWO_E_TIMEOUT and the device is marked LOST; if that
 * arc ends later, the device goes to a harmless state (see `settle`). After a failed arc the
 * state is read back; nothing else is done.
 *
 * An error names the device and the arc: "device vf2: PRE_COPY_P2P->STOP_COPY: ...".
 */
SWO_API int swo_device_launch(
	struct swo_device *dev, enum swo_device_state state, struct swo_error *err);
SWO_API int swo_device_wait(struct swo_device *dev, struct swo_error *err);
/*
 * Launch and wait. On the device's own worker (in a job, or an arrival function) the path runs
 * synchronously: no deadline but the backend's, and no arrival function is called.
 */
SWO_API int swo_device_set_state(
	struct swo_device *dev, enum swo_device_state state, struct swo_error *err);

/*
 * `fn` runs on the worker right after the device has reached `state`, after the waiter was
 * woken: the device streams as soon as it has stopped, and a join never waits for the stream.
 * Set it before launch; fn NULL removes it, but a call in progress goes on: `opaque` must outlive
 * it. One per state. A later path queues behind `fn`, for at most the arc deadline: so fn must end
 * when requested.
 */
SWO_API void swo_device_on_arrival(struct swo_device *dev, enum swo_device_state state,
	void (*fn)(void *opaque), void *opaque);

/*
 * Called for every state that this device has reached, on its worker, before the waiter is
 * woken. One observer at a time; fn NULL removes it, and waits for a call in progress on another
 * thread: its `opaque` may be freed then.
 */
SWO_API void swo_device_observe(struct swo_device *dev,
	void (*fn)(void *opaque, enum swo_device_state state), void *opaque);

/*
 * Called whenever the device was reset at a request of the functions below, on its worker, before
 * its state is read: what the VMM has set in it (configuration space, interrupts) may be lost. May
 * access regions and interrupts; must not wait for the worker. fn NULL removes it, and waits for a
 * call in progress, up to the deadline of one read or write of data: SWO_E_TIMEOUT, and `opaque` is
 * still in use.
 */
SWO_API int swo_device_on_reset(
	struct swo_device *dev, void (*fn)(void *opaque), void *opaque, struct swo_error *err);

/*
 * Returns to RUNNING: along legal arcs first; by a reset as the last resort, which is logged
 * and sets WAS_RESET. Reads the state first, so it is correct after any failure. Blocks, with
 * the arcs' deadlines. stop_short: leave the device in RUNNING_P2P (or STOP without P2P) so
 * that a barrier can follow. Fails only if the device is lost.
 */
SWO_API int swo_device_recover(struct swo_device *dev, bool stop_short, struct swo_error *err);

/*
 * Discards the device's state: a reset, then legal arcs to RUNNING if the reset does not lead
 * there. For a target that aborts: loaded state must not start to run. Sets WAS_RESET.
 */
SWO_API int swo_device_discard(struct swo_device *dev, struct swo_error *err);

/*
 * Resets a device before its first use: an earlier user may have left it in any state, with DMA
 * under way into memory that is another's now. To RUNNING; the device is SOUND. A device without a
 * reset is logged and driven to RUNNING. Call it before memory is mapped for the device.
 */
SWO_API int swo_device_take_over(struct swo_device *dev, struct swo_error *err);
/* The same in two halves, for several devices at once: swo_device_wait() joins it. */
SWO_API int swo_device_take_over_launch(struct swo_device *dev, struct swo_error *err);

/*
 * Gives the device back to the host, which has requested it (VFIO's REQ interrupt): it is LOST for
 * ever. Does not wait for what it is doing. Any thread. false: its backend cannot, and it is unchanged.
 */
SWO_API bool swo_device_release(struct swo_device *dev);

/* Reads the device's state and clears old health: before a new migration. */
SWO_API int swo_device_refresh(struct swo_device *dev, struct swo_error *err);

/* A figure that is not known. 0 is a known figure. */
#define SWO_UNKNOWN UINT64_MAX

/*
 * Measured costs of one arc over all runs of this device. last_ns and max_ns are 0 if it never
 * ran; mean_ns then is the expected cost, or SWO_UNKNOWN.
 */
struct swo_arc_cost {
	uint64_t count;
	uint64_t last_ns;
	uint64_t max_ns;
	uint64_t mean_ns; /* weighted towards recent runs */
};
SWO_API struct swo_arc_cost swo_device_arc_cost(
	struct swo_device *dev, enum swo_device_state from, enum swo_device_state to);

/* The costs of a switchover of one device, from whatever source. Each may be SWO_UNKNOWN. */
struct swo_device_costs {
	uint64_t running_to_p2p_ns;   /* source: from PRE_COPY, or from RUNNING without PRE_COPY */
	uint64_t p2p_to_stop_ns;      /* to STOP_COPY */
	uint64_t resuming_to_stop_ns; /* target, after all is loaded */
	uint64_t stop_to_p2p_ns;
	uint64_t p2p_to_running_ns;
	uint64_t config_load_ns;
	uint64_t state_bytes;
	uint64_t precopy_bytes; /* of these, sent and loaded before the stop */
	uint64_t save_rate;	/* bytes/s; 0: no limit */
	uint64_t load_rate;
	uint64_t load_fixed_ns; /* of each load, however little: in the write that completes it */
	int pf; /* devices with the same number save and load one after another; -1: not shared */
};
/* All unknown, on no PF. */
SWO_API void swo_device_costs_init(struct swo_device_costs *costs);

/* Sets the expected costs, from a probe or from the caller: they apply to arcs that never ran. */
SWO_API void swo_device_expect(struct swo_device *dev, const struct swo_device_costs *expected);
/*
 * The known costs of a device: arcs as measured, else as expected; the rest as expected. Without
 * P2P states p2p_to_stop_ns is the whole stop and p2p_to_running_ns the whole start; the other
 * halves are 0.
 */
SWO_API struct swo_device_costs swo_device_known_costs(struct swo_device *dev);

/* Following the run state */

enum swo_transitions {
	SWO_TRANSITIONS_SERIAL,	  /* each arc inside the device's handler: one device at a time */
	SWO_TRANSITIONS_PARALLEL, /* launched, then joined: see swo_slow_desc */
};

/*
 * Makes the device follow the VM's run state:
 *
 *   stop   prepare: ->RUNNING_P2P, or ->PRE_COPY_P2P from PRE_COPY (without P2P: nothing)
 *          change:  ->STOP_COPY if the new state is FINISH_MIGRATE or a data session is open (the
 *                   device was in PRE_COPY), else ->STOP
 *   start  prepare: ->RUNNING_P2P, through STOP (without P2P: nothing)
 *          change:  ->RUNNING
 *
 * On a stop, the prepare pass does not run a device that is already stopped. A start
 * that rolls back a failed stop, or a stop for FINISH_MIGRATE, recovers the device
 * (swo_device_recover) instead of failing again; never one in RESUMING, which would lose its
 * state. A lost device is skipped, with a warning.
 */
SWO_API int swo_device_follow(struct swo_device *dev, struct swo_runstate *rs, int depth,
	enum swo_transitions transitions, enum swo_join join_at, struct swo_error *err);
SWO_API void swo_device_unfollow(struct swo_device *dev);
/* Does it follow this one? Not during a follow or unfollow. */
SWO_API bool swo_device_follows(const struct swo_device *dev, const struct swo_runstate *rs);

/* Backends that come with the library */

/*
 * Workarounds for some servers; see docs/vfio-user.md. The client selects them by the server's
 * version; more can be forced on.
 */
#define SWO_VFIO_USER_DISCARD_PRECOPY	0x1u /* do not use its PRE_COPY */
#define SWO_VFIO_USER_SMALL_WRITES	0x2u /* no message above 32 KiB of data */
#define SWO_VFIO_USER_REPORT_PER_REGION 0x4u /* DMA log: only from a mapping's base on */
#define SWO_VFIO_USER_DETACH_BY_DUMMY	0x8u /* cannot remove a vector in the middle */

struct swo_vfio_user_params {
	size_t size;		      /* of this structure */
	uint64_t command_deadline_ms; /* every command but SET state, RESET and data; 0: 5000 */
	uint64_t slow_deadline_ms;    /* those; 0: 120000. Longer than any arc deadline */
	size_t read_chunk;	      /* 0: selected from the peer's limits */
	size_t write_chunk;	      /* 0: likewise; 32 KiB for an unknown peer */
	/* Guest memory for DMA_READ/DMA_WRITE messages of servers that do not mmap: copies between
	   `buf` and [addr, addr + len); returns 0, or an errno for the reply. Called on the
	   client's service thread. NULL: such messages are answered with EFAULT. */
	int (*dma_read)(void *opaque, uint64_t addr, void *buf, size_t len);
	int (*dma_write)(void *opaque, uint64_t addr, const void *buf, size_t len);
	void *opaque;
	uint32_t quirks; /* SWO_VFIO_USER_*, in addition to those chosen */
};

extern SWO_API const struct swo_device_ops swo_vfio_user_ops;
/*
 * Connects to a vfio-user server's socket, negotiates, and reads regions and interrupts. The
 * server is not trusted: a malformed message fails this device and nothing else.
 * *self is for swo_device_create (or swo_vfio_user_ops.destroy).
 */
SWO_API int swo_vfio_user_connect(const char *name, const char *socket_path,
	const struct swo_vfio_user_params *params, void **self, struct swo_error *err);

/*
 * The DMA maps of the kernel devices of one VM: one container for devices opened by group, one I/O
 * address space for those opened by cdev, each created for the first device that needs it. The same
 * map of several devices is made once. Reference-counted: the creator and every device have a
 * reference.
 */
struct swo_vfio_context;

SWO_API int swo_vfio_context_new(struct swo_vfio_context **out, struct swo_error *err);
/*
 * Devices opened by cdev use this iommufd instead of opening /dev/iommu: for a process that is given
 * its descriptors. The context keeps a duplicate. SWO_E_STATE once a device has opened one.
 */
SWO_API int swo_vfio_context_set_iommufd(
	struct swo_vfio_context *context, int iommufd, struct swo_error *err);
SWO_API void swo_vfio_context_unref(struct swo_vfio_context *context); /* NULL: nothing */

struct swo_vfio_kernel_params {
	size_t size;			  /* of this structure */
	struct swo_vfio_context *context; /* NULL: a private one */
	size_t read_chunk;		  /* 0: 1 MiB */
	size_t write_chunk;		  /* 0: 1 MiB */
	/*
	 * The token of a VF whose PF is bound to vfio-pci, as the text of a UUID; NULL: none. By cdev it
	 * requires Linux 6.17. It is a secret, and in no error or log.
	 */
	const char *vf_token;
};

extern SWO_API const struct swo_device_ops swo_vfio_kernel_ops;
/*
 * Opens a kernel VFIO device. path is one of
 *
 *   /dev/vfio/devices/vfioN   by cdev and iommufd
 *   /dev/vfio/N[:NAME]        by group and type1 container; NAME is needed if the group has more
 *                             than one device
 *   a device's path in sysfs  by cdev if there is one that this user may open, otherwise by group
 *   0000:3b:00.2, 3b:00.2     a PCI address: likewise
 *
 * " vf_token=UUID" after the path does the same as params->vf_token.
 *
 * A hung driver hangs its caller: no call here has a deadline.
 * *self is for swo_device_create (or swo_vfio_kernel_ops.destroy).
 */
SWO_API int swo_vfio_kernel_open(const char *name, const char *path,
	const struct swo_vfio_kernel_params *params, void **self, struct swo_error *err);
/*
 * The same for a device that another process has opened: `fd` is /dev/vfio/devices/vfioN, not bound to
 * an iommufd yet. A duplicate is used: the caller keeps `fd`, but the device stays in use until both
 * are closed.
 */
SWO_API int swo_vfio_kernel_adopt(const char *name, int fd,
	const struct swo_vfio_kernel_params *params, void **self, struct swo_error *err);

#ifdef __cplusplus
}
#endif

#endif
