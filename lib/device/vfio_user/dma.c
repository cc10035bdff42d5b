/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma.c - the guest memory that a vfio-user server may access: maps with an fd that it can
 * mmap, and its DMA_READ and DMA_WRITE messages within the maps.
 */
#include "device/vfio_user/internal.h"

#include <errno.h>
#include <stdlib.h>

/* With dma_lock held: the map that contains `addr`. */
static struct vfio_user_map *map_at(struct vfio_user *vu, uint64_t addr)
{
	for (struct vfio_user_map *map = vu->maps; map; map = map->next)
		if (addr >= map->iova && addr - map->iova < map->size)
			return map;
	return NULL;
}

/* With dma_lock held: checks an access of the server. Adjacent maps count as one. */
static bool is_allowed(struct vfio_user *vu, uint64_t addr, uint64_t len, uint32_t prot)
{
	while (len) {
		const struct vfio_user_map *map = map_at(vu, addr);

		if (!map || !(map->prot & prot))
			return false;
		uint64_t here = map->size - (addr - map->iova);

		if (here >= len)
			return true;
		addr += here;
		len -= here;
	}
	return true;
}

int vfio_user_dma_access(void *opaque, bool write, uint64_t addr, void *buf, size_t len)
{
	struct vfio_user *vu = opaque;
	uint32_t prot = write ? VFIO_USER_DMA_PROT_WRITE : VFIO_USER_DMA_PROT_READ;
	int rc = EFAULT;

	/* Held during the access: there must be none after an unmap. */
	pthread_mutex_lock(&vu->dma_lock);
	if (!is_allowed(vu, addr, len, prot))
		rc = EFAULT;
	else if (write && vu->params.dma_write)
		rc = vu->params.dma_write(vu->params.opaque, addr, buf, len);
	else if (!write && vu->params.dma_read)
		rc = vu->params.dma_read(vu->params.opaque, addr, buf, len);
	/* After the write: otherwise a report in between would lose it. */
	if (write && len && vu->logging)
		vfio_user_log_mark(vu, addr, len);
	pthread_mutex_unlock(&vu->dma_lock);
	return rc;
}

/* With dma_lock held. */
static int add_map(struct vfio_user *vu, struct vfio_user_map *map, struct swo_error *err)
{
	if (vu->map_count >= vu->max_maps)
		return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
			"device %s: its server accepts at most %llu DMA maps", vu->name,
			(unsigned long long)vu->max_maps);
	for (const struct vfio_user_map *m = vu->maps; m; m = m->next)
		if (map->iova - m->iova < m->size || m->iova - map->iova < map->size)
			return swo_error_set(err, SWO_E_INVALID, 0,
				"device %s: DMA map 0x%llx+0x%llx overlaps 0x%llx+0x%llx", vu->name,
				(unsigned long long)map->iova, (unsigned long long)map->size,
				(unsigned long long)m->iova, (unsigned long long)m->size);
	if (vfio_user_log_add_map(vu, map, err))
		return -1;
	map->next = vu->maps;
	vu->maps = map;
	vu->map_count++;
	return 0;
}

/* With dma_lock held. */
static void free_map(struct vfio_user *vu, struct vfio_user_map *map)
{
	for (struct vfio_user_map **m = &vu->maps; *m; m = &(*m)->next)
		if (*m == map) {
			*m = map->next;
			vu->map_count--;
			break;
		}
	free(map->pending);
	free(map);
}

#define MAPS_AT_ONCE 16

/* One DMA_MAP in flight. Must not be moved before it is finished. */
struct mapping {
	struct vfio_user_map *map;
	struct vfio_user_dma_map request;
	uint8_t slack[VU_REPLY_SLACK];
	struct vfio_user_call call;
};

static void forget_map(struct vfio_user *vu, struct vfio_user_map *map)
{
	pthread_mutex_lock(&vu->dma_lock);
	free_map(vu, map);
	pthread_mutex_unlock(&vu->dma_lock);
}

static struct vfio_user_map *new_map(
	struct vfio_user *vu, const struct swo_dma_map *from, struct swo_error *err)
{
	if (!from->size || from->size - 1 > UINT64_MAX - from->iova) {
		swo_error_set(err, SWO_E_INVALID, 0, "device %s: invalid DMA map 0x%llx+0x%llx",
			vu->name, (unsigned long long)from->iova, (unsigned long long)from->size);
		return NULL;
	}
	struct vfio_user_map *map = calloc(1, sizeof(*map));

	if (!map) {
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "device %s: DMA map", vu->name);
		return NULL;
	}
	*map = (struct vfio_user_map){.iova = from->iova,
		.size = from->size,
		.prot = from->prot & (VFIO_USER_DMA_PROT_READ | VFIO_USER_DMA_PROT_WRITE),
		.by_fd = from->fd >= 0 && vu->max_fds};
	return map;
}

/* With dma_job held. */
static int start_map(struct vfio_user *vu, const struct swo_dma_map *from, struct mapping *m,
	struct swo_error *err)
{
	m->map = new_map(vu, from, err);
	if (!m->map)
		return -1;
	m->request = (struct vfio_user_dma_map){.argsz = sizeof(m->request),
		.flags = m->map->prot,
		.offset = from->offset,
		.address = m->map->iova,
		.size = m->map->size};
	m->call = (struct vfio_user_call){.command = VFIO_USER_DMA_MAP,
		.request = {{&m->request, sizeof(m->request)}},
		.fds = &from->fd,
		.fd_count = m->map->by_fd,
		.reply = {{m->slack, sizeof(m->slack)}},
		.deadline = swo_deadline_ms(vu->params.command_deadline_ms)};
	/* Added before the request: the server may use it before its reply arrives. */
	pthread_mutex_lock(&vu->dma_lock);
	int rc = add_map(vu, m->map, err);

	pthread_mutex_unlock(&vu->dma_lock);
	if (rc || vfio_user_start(vu->client, &m->call, err)) {
		forget_map(vu, m->map);
		return -1;
	}
	return 0;
}

/* With dma_job held: at most MAPS_AT_ONCE. */
static int map_some(
	struct vfio_user *vu, const struct swo_dma_map *maps, size_t count, struct swo_error *err)
{
	struct mapping under_way[MAPS_AT_ONCE];
	struct swo_error later;
	size_t started = 0;
	int rc = 0;

	while (!rc && started < count) {
		rc = start_map(vu, &maps[started], &under_way[started], err);
		started += !rc;
	}
	for (size_t i = 0; i < started; i++)
		if (vfio_user_finish(vu->client, &under_way[i].call, rc ? &later : err)) {
			forget_map(vu, under_way[i].map);
			rc = -1;
		}
	return rc;
}

int vfio_user_dma_map_many(
	void *self, const struct swo_dma_map *maps, size_t count, struct swo_error *err)
{
	struct vfio_user *vu = self;
	int rc = 0;

	pthread_mutex_lock(&vu->dma_job);
	for (size_t done = 0; !rc && done < count; done += MAPS_AT_ONCE)
		rc = map_some(vu, maps + done,
			count - done < MAPS_AT_ONCE ? count - done : MAPS_AT_ONCE, err);
	pthread_mutex_unlock(&vu->dma_job);
	return rc;
}

int vfio_user_dma_map(void *self, uint64_t iova, uint64_t size, int fd, uint64_t offset, void *host,
	uint32_t prot, struct swo_error *err)
{
	const struct swo_dma_map map = {iova, size, fd, offset, prot};

	(void)host; /* accessed by fd, or by the callbacks of the parameters */
	return vfio_user_dma_map_many(self, &map, 1, err);
}

static int unmap(struct vfio_user *vu, uint64_t iova, uint64_t size, struct swo_error *err)
{
	struct vfio_user_dma_unmap request = {
		.argsz = sizeof(request), .address = iova, .size = size};
	uint8_t slack[VU_REPLY_SLACK];

	pthread_mutex_lock(&vu->dma_lock);
	struct vfio_user_map *map = map_at(vu, iova);

	pthread_mutex_unlock(&vu->dma_lock);
	if (!map || map->iova != iova || map->size != size)
		return swo_error_set(err, SWO_E_INVALID, 0, "device %s: no DMA map 0x%llx+0x%llx",
			vu->name, (unsigned long long)iova, (unsigned long long)size);
	if (vfio_user_command(vu, VFIO_USER_DMA_UNMAP, NULL, &request, sizeof(request), slack, 0,
		    sizeof(slack), NULL, vu->params.command_deadline_ms, err))
		return -1;
	pthread_mutex_lock(&vu->dma_lock);
	free_map(vu, map);
	pthread_mutex_unlock(&vu->dma_lock);
	return 0;
}

int vfio_user_dma_unmap(void *self, uint64_t iova, uint64_t size, struct swo_error *err)
{
	struct vfio_user *vu = self;

	pthread_mutex_lock(&vu->dma_job);
	int rc = unmap(vu, iova, size, err);

	pthread_mutex_unlock(&vu->dma_job);
	return rc;
}

void vfio_user_dma_free(struct vfio_user *vu)
{
	while (vu->maps)
		free_map(vu, vu->maps);
	free(vu->report);
}
