/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * internal.h - private to the vfio-user backend: connecting, regions and interrupts, migration,
 * DMA.
 */
#ifndef DEVICE_VFIO_USER_INTERNAL_H
#define DEVICE_VFIO_USER_INTERNAL_H

#include "device/core/regions.h"
#include "device/vfio_user/client.h"

#define VU_WINDOW      4      /* MIG_DATA_WRITEs on their way at once */
#define VU_SMALL_WRITE 32768u /* what every server is known to take whole */
#define VU_REPLY_SLACK 32     /* room for payloads that some servers send needlessly */

/* A write without its acknowledgement yet. */
struct vfio_user_write {
	struct vfio_user_call call;
	uint8_t reply[VU_REPLY_SLACK];
};

/* A requested read that has not been collected yet. */
struct vfio_user_read {
	struct vfio_user_call call;
	struct vfio_user_mig_data head;
	void *buf;
};

struct vfio_user_map {
	uint64_t iova;
	uint64_t size;
	uint32_t prot;
	bool by_fd; /* otherwise the server accesses it by messages only, and does not log it */
	uint64_t *pending; /* while logging: unreported dirty pages; bit 0 at iova */
	struct vfio_user_map *next;
};

struct vfio_user {
	char name[64];
	struct swo_vfio_user_params params;
	struct vfio_user_client *client;
	uint32_t quirks;
	unsigned max_fds;   /* accepted by the server in one message */
	uint32_t max_read;  /* data bytes in one reply */
	uint32_t max_write; /* data bytes in one command, except MIG_DATA_WRITE */
	uint32_t read_chunk;
	uint32_t write_chunk;
	uint64_t max_maps;
	bool has_data_size;
	bool has_dma_log;

	struct device_regions regions;
	int dummy; /* unused eventfd; see DETACH_BY_DUMMY */

	/* Used by the worker only. */
	bool pre_copy; /* the last requested state is PRE_COPY or PRE_COPY_P2P */
	struct vfio_user_write window[VU_WINDOW];
	unsigned window_first;
	unsigned window_count;
	struct vfio_user_read reads[SWO_READS_AHEAD];
	unsigned reads_first;
	unsigned reads_count;

	pthread_mutex_t dma_job; /* one map, unmap, start, stop or report at a time */
	pthread_mutex_t
		dma_lock; /* the maps and their pending bits: also used by the service thread */
	struct vfio_user_map *maps;
	uint64_t map_count;
	bool logging;
	uint64_t log_page;
	uint64_t *report; /* a reply's bitmap */
	size_t report_words;
};

/* request.c */

/* A command with a flat request; the reply must have `reply_min` to `reply_room` bytes. */
int vfio_user_command(struct vfio_user *vu, uint16_t command, const char *what, const void *request,
	size_t request_len, void *reply, size_t reply_min, size_t reply_room, size_t *reply_len,
	uint64_t deadline_ms, struct swo_error *err);
/*
 * DEVICE_FEATURE. `data` is sent after the 8 bytes of header, `reply` receives the data after
 * them: at least reply_min bytes.
 */
int vfio_user_feature(struct vfio_user *vu, uint32_t flags, const char *what, const void *data,
	size_t data_len, void *reply, size_t reply_min, size_t reply_room, uint64_t deadline_ms,
	struct swo_error *err);
/* True if an error means that the server does not have the feature. */
bool vfio_user_is_unsupported(const struct swo_error *err);

/* info.c: at connect, and the ops. */
int vfio_user_read_info(struct vfio_user *vu, struct swo_error *err);
void vfio_user_free_info(struct vfio_user *vu);
int vfio_user_region_info(
	void *self, uint32_t region, struct swo_region_info *info, struct swo_error *err);
int vfio_user_region_read(void *self, uint32_t region, uint64_t offset, void *buf, uint32_t len,
	struct swo_error *err);
int vfio_user_region_write(void *self, uint32_t region, uint64_t offset, const void *buf,
	uint32_t len, bool posted, struct swo_error *err);
void vfio_user_lost(void *self);
int vfio_user_region_fd(void *self, uint32_t region, int *fd, uint64_t *fd_offset,
	uint64_t *region_offset, uint64_t *size, struct swo_error *err);
int vfio_user_irq_info(
	void *self, uint32_t index, struct swo_irq_info *info, struct swo_error *err);
int vfio_user_set_irqs(void *self, uint32_t index, uint32_t start, const int *fds, uint32_t count,
	struct swo_error *err);
/* migration.c */
int vfio_user_get_mig_flags(void *self, uint64_t *flags, struct swo_error *err);
int vfio_user_get_state(void *self, enum swo_device_state *state, struct swo_error *err);
int vfio_user_set_state(void *self, enum swo_device_state state, struct swo_error *err);
int vfio_user_set_state_seen(void *self, enum swo_device_state state, enum swo_device_state seen[2],
	struct swo_error *err);
int vfio_user_data_read(void *self, void *buf, size_t len, size_t *got, struct swo_error *err);
int vfio_user_data_ask(void *self, void *buf, size_t len, struct swo_error *err);
int vfio_user_data_write(void *self, const void *buf, size_t len, struct swo_error *err);
int vfio_user_data_flush(void *self, struct swo_error *err);
int vfio_user_data_size(void *self, uint64_t *stop_copy_length, struct swo_error *err);
size_t vfio_user_read_chunk(void *self);
size_t vfio_user_write_chunk(void *self);
int vfio_user_reset(void *self, struct swo_error *err);

/* dma.c */
vfio_user_dma_fn vfio_user_dma_access;
int vfio_user_dma_map(void *self, uint64_t iova, uint64_t size, int fd, uint64_t offset, void *host,
	uint32_t prot, struct swo_error *err);
int vfio_user_dma_map_many(
	void *self, const struct swo_dma_map *maps, size_t count, struct swo_error *err);
int vfio_user_dma_unmap(void *self, uint64_t iova, uint64_t size, struct swo_error *err);
void vfio_user_dma_free(struct vfio_user *vu);

/* log.c */
int vfio_user_dma_log_start(void *self, uint64_t *page_size, const struct swo_dma_range *ranges,
	size_t count, struct swo_error *err);
int vfio_user_dma_log_stop(void *self, struct swo_error *err);
int vfio_user_dma_log_report(void *self, uint64_t iova, uint64_t length, uint64_t page_size,
	uint64_t *bitmap, struct swo_error *err);
/* With dma_lock held: allocates a map's pending bits, if a log is running. */
int vfio_user_log_add_map(struct vfio_user *vu, struct vfio_user_map *map, struct swo_error *err);
/* With dma_lock held: records a write of the server by message. */
void vfio_user_log_mark(struct vfio_user *vu, uint64_t addr, uint64_t len);

#endif
