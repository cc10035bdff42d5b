/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_kernel.c - the kernel's side: nodes, containers, features, sessions. Written from
 * linux/vfio.h, not from the backend.
 */
#include "fake_kernel.h"

#include "device/core/vfio_abi.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FD_BASE 100000
#define FDS	64
#define MAGIC	0x454b4146u

enum kind { FREE, CONTAINER, GROUP, DEVICE, IOMMU, DATA, DMABUF, NOTHING };

struct open_file {
	enum kind kind;
	unsigned device;
	bool bound, attached, in_container;
};

struct fake_kernel fk;
static struct open_file files[FDS];

char fk_logged[1024];

static void keep_log(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque;
	(void)level;
	snprintf(fk_logged, sizeof(fk_logged), "%s", text);
}

void fk_keep_log(bool keep)
{
	fk_logged[0] = '\0';
	swo_log_set(SWO_LOG_WARN, keep ? keep_log : NULL, NULL);
}

void fk_init(void)
{
	memset(&fk, 0, sizeof(fk));
	memset(files, 0, sizeof(files));
	for (unsigned i = 0; i < FK_DEVICES; i++) {
		struct fk_device *dev = &fk.device[i];

		dev->state = SWO_DEVICE_RUNNING;
		dev->flags = 7;
		dev->data_fd = -1;
		for (unsigned b = 0; b < sizeof(dev->state_data); b++)
			dev->state_data[b] = (uint8_t)(b * 7 + i);
		memcpy(dev->config, "\x36\x1b\x01\x00", 4);
	}
}

static int fail(int why)
{
	errno = why;
	return -1;
}

static struct open_file *file_of(int fd)
{
	if (fd < FD_BASE || fd >= FD_BASE + FDS || files[fd - FD_BASE].kind == FREE)
		return NULL;
	return &files[fd - FD_BASE];
}

/* Devices are accessed by their own threads, which share the table of files. */
static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;

static int new_fd(enum kind kind, unsigned device)
{
	int fd = -1;

	pthread_mutex_lock(&files_lock);
	for (int i = 0; i < FDS && fd < 0; i++)
		if (files[i].kind == FREE) {
			files[i] = (struct open_file){.kind = kind, .device = device};
			fk.open_fds++;
			fd = FD_BASE + i;
		}
	pthread_mutex_unlock(&files_lock);
	return fd < 0 ? fail(EMFILE) : fd;
}

static int fk_open(const char *path, int flags)
{
	unsigned n;

	(void)flags;
	if (!strcmp(path, "/dev/vfio/vfio"))
		return new_fd(CONTAINER, 0);
	if (!strcmp(path, "/dev/iommu"))
		return fk.no_iommufd ? fail(ENOENT) : new_fd(IOMMU, 0);
	if (sscanf(path, "/dev/vfio/devices/vfio%u", &n) == 1 && n < FK_DEVICES)
		return new_fd(DEVICE, n);
	if (sscanf(path, "/dev/vfio/%u", &n) == 1 && n >= 5 && n < 5 + FK_DEVICES) {
		for (int i = 0; i < FDS; i++)
			if (files[i].kind == GROUP && files[i].device == n - 5)
				return fail(EBUSY);
		return new_fd(GROUP, n - 5);
	}
	return fail(ENOENT);
}

/* Of what nothing has been done with yet: an unbound device, an iommufd. */
static int fk_dup(int fd)
{
	const struct open_file *file = file_of(fd);

	if (!file)
		return fail(EBADF);
	return new_fd(file->kind, file->device);
}

/* The number is taken until it is closed. */
static int fk_shut(int fd)
{
	struct open_file *file = file_of(fd);

	if (!file || file->kind != DEVICE)
		return fail(EBADF);
	fk.device[file->device].opens--;
	file->bound = file->in_container = false;
	file->kind = NOTHING;
	return fd;
}

static int fk_close(int fd)
{
	struct open_file *file = file_of(fd);

	if (!file)
		return fail(EBADF);
	if (file->kind == DEVICE && (file->bound || file->in_container))
		fk.device[file->device].opens--;
	/* A process that closes a container, and its duplicates, without unmapping loses the maps. */
	unsigned same = 0;

	for (unsigned i = 0; i < FDS; i++)
		same += files[i].kind == file->kind;
	if (file->kind == IOMMU && same == 1)
		fk.hwpt_count = 0;
	if ((file->kind == CONTAINER || file->kind == IOMMU) && same == 1)
		for (unsigned i = 0; i < fk.map_count; i++)
			if (fk.maps[i].by_iommufd == (file->kind == IOMMU))
				fk.maps[i--] = fk.maps[--fk.map_count];
	pthread_mutex_lock(&files_lock);
	file->kind = FREE;
	fk.open_fds--;
	pthread_mutex_unlock(&files_lock);
	return 0;
}

/* State */

static uint32_t sum_of(const uint8_t *data, size_t len)
{
	uint32_t sum = 17;

	for (size_t i = 0; i < len; i++)
		sum = sum * 31 + data[i];
	return sum;
}

/* magic, length, data, sum */
static void make_stream(struct fk_device *dev)
{
	uint32_t head[2] = {MAGIC, sizeof(dev->state_data)};

	memcpy(dev->stream, head, sizeof(head));
	memcpy(dev->stream + 8, dev->state_data, sizeof(dev->state_data));
	uint32_t sum = sum_of(dev->stream, 8 + sizeof(dev->state_data));

	memcpy(dev->stream + 8 + sizeof(dev->state_data), &sum, 4);
	dev->stream_len = 12 + sizeof(dev->state_data);
	dev->stream_at = 0;
	dev->changed = dev->saved = dev->initial = 0;
	dev->saves = 1;
}

/* The next image: all that has changed since the last one. */
static void save_increment(struct fk_device *dev)
{
	if (!dev->changed)
		return;
	dev->saved += dev->changed;
	dev->changed = 0;
	dev->saves++;
}

static int take_stream(struct fk_device *dev)
{
	uint32_t head[2], sum;

	if (fk.lax) {
		if (dev->loaded > 8)
			memcpy(dev->state_data, dev->stream + 8,
				dev->loaded - 8 < sizeof(dev->state_data)
					? dev->loaded - 8
					: sizeof(dev->state_data));
		return 0;
	}
	if (dev->loaded != 12 + sizeof(dev->state_data))
		return EINVAL;
	memcpy(head, dev->stream, sizeof(head));
	memcpy(&sum, dev->stream + dev->loaded - 4, 4);
	if (head[0] != MAGIC || head[1] != sizeof(dev->state_data) ||
		sum != sum_of(dev->stream, dev->loaded - 4))
		return EINVAL;
	memcpy(dev->state_data, dev->stream + 8, sizeof(dev->state_data));
	return 0;
}

static bool saves(enum swo_device_state s)
{
	return s == SWO_DEVICE_PRE_COPY || s == SWO_DEVICE_PRE_COPY_P2P ||
	       s == SWO_DEVICE_STOP_COPY;
}

static int one_arc(unsigned n, enum swo_device_state next, int *new_session)
{
	struct fk_device *dev = &fk.device[n];

	if (fk.fail_arcs && fk.fail_from == dev->state && fk.fail_to == next) {
		fk.fail_arcs--;
		if (fk.fail_to_error) {
			dev->state = SWO_DEVICE_ERROR;
			dev->data_fd = -1;
		}
		return fk.fail_arc_errno;
	}
	if (dev->state == SWO_DEVICE_RESUMING) {
		int why = take_stream(dev);

		if (why)
			return why;
	}
	bool had = saves(dev->state);

	if (had && next == SWO_DEVICE_STOP_COPY)
		save_increment(dev);

	if ((had && !saves(next)) || dev->state == SWO_DEVICE_RESUMING)
		dev->data_fd = -1;
	dev->state = next;
	if (saves(next) && !had) {
		make_stream(dev);
		/* In PRE_COPY the first half may go. */
		*new_session = 1;
	} else if (next == SWO_DEVICE_RESUMING) {
		dev->loaded = 0;
		*new_session = 1;
	}
	return 0;
}

static int set_state(unsigned n, struct vfio_device_feature_mig_state *data)
{
	struct fk_device *dev = &fk.device[n];
	enum swo_device_state want = (enum swo_device_state)data->device_state, next;
	int new_session = 0;

	data->data_fd = -1;
	if (data->device_state >= SWO_DEVICE_STATES)
		return EINVAL;
	if (fk.allows_stop_copy_to_pre_copy && dev->state == SWO_DEVICE_STOP_COPY &&
		want == SWO_DEVICE_PRE_COPY)
		dev->state = want;
	while (dev->state != want) {
		if (swo_device_next_state(dev->state, want, dev->flags, &next))
			return fk.wrong_errno ? fk.wrong_errno : EINVAL;
		int why = one_arc(n, next, &new_session);

		if (why)
			return why;
	}
	if (want == SWO_DEVICE_ERROR)
		return EINVAL;
	if (new_session) {
		dev->data_fd = data->data_fd = new_fd(DATA, n);
		dev->sessions++;
	}
	return 0;
}

/* Features */

static int log_start(struct fk_device *dev, struct vfio_device_feature_dma_logging_control *c)
{
	const struct vfio_device_feature_dma_logging_range *ranges =
		(const void *)(uintptr_t)c->ranges;

	if (dev->logging || !c->num_ranges)
		return EINVAL;
	if (fk.max_ranges && c->num_ranges > fk.max_ranges)
		return E2BIG;
	dev->logging = true;
	dev->range_count = c->num_ranges;
	dev->range_length = ranges[0].length;
	c->page_size = dev->log_page ? dev->log_page : c->page_size;
	return 0;
}

static int log_report(struct fk_device *dev, const struct vfio_device_feature_dma_logging_report *r)
{
	uint64_t *bitmap = (uint64_t *)(uintptr_t)r->bitmap;

	if (fk.no_iommufd)
		return EOPNOTSUPP;
	if (!dev->logging || r->page_size < 4096)
		return EINVAL;
	for (unsigned page = 0; page < 64; page++) {
		uint64_t at = dev->dirty_from + page * UINT64_C(4096);

		if (!(dev->dirty >> page & 1) || at < r->iova || at - r->iova >= r->length)
			continue;
		uint64_t bit = (at - r->iova) / r->page_size;

		bitmap[bit / 64] |= UINT64_C(1) << bit % 64;
		dev->dirty &= ~(UINT64_C(1) << page);
	}
	return 0;
}

/* The BARs of devices: PFN maps, which iommufd takes as dma-bufs only. */

static bool decodes(const struct fk_device *dev)
{
	return dev->config[4] & 2;
}

/* Of BAR 0. Returns an errno, or *made is the buffer's descriptor. */
static int export_bar(unsigned n, const struct vfio_abi_dma_buf *slice, int *made)
{
	if (slice->region_index || slice->flags || slice->nr_ranges != 1 ||
		(slice->offset | slice->length) % 4096 || slice->offset + slice->length > 16384)
		return EINVAL;
	*made = new_fd(DMABUF, n);
	return 0;
}

static void revoke(unsigned n)
{
	for (unsigned i = 0; i < fk.map_count; i++)
		if (fk.maps[i].dmabuf_of == n + 1)
			fk.maps[i--] = fk.maps[--fk.map_count];
}

static uint32_t methods(unsigned n, uint32_t index)
{
	switch (index) {
	case VFIO_DEVICE_FEATURE_MIGRATION:
		return fk.device[n].flags ? VFIO_DEVICE_FEATURE_GET : 0;
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		return VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
		return VFIO_DEVICE_FEATURE_SET;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		return VFIO_DEVICE_FEATURE_GET;
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
		return fk.no_data_size ? 0 : VFIO_DEVICE_FEATURE_GET;
	case VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2:
		return fk.knows_precopy_v2 ? VFIO_DEVICE_FEATURE_SET : 0;
	case VFIO_DEVICE_FEATURE_DMA_BUF:
		return fk.has_dmabuf ? VFIO_DEVICE_FEATURE_GET : 0;
	default:
		return 0;
	}
}

static int feature(unsigned n, struct vfio_device_feature *f, int *made)
{
	uint32_t index = f->flags & VFIO_DEVICE_FEATURE_MASK;
	uint32_t wanted = f->flags & (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET);
	static const size_t sizes[] = {
		[1] = 8, [2] = 8, [6] = 24, [7] = 0, [8] = 32, [9] = 8, [11] = 32, [12] = 0};
	struct fk_device *dev = &fk.device[n];

	if (!methods(n, index))
		return ENOTTY;
	if (wanted & ~methods(n, index))
		return EINVAL;
	if (f->flags & VFIO_DEVICE_FEATURE_PROBE)
		return 0;
	if (!wanted || f->argsz < sizeof(*f) + sizes[index])
		return EINVAL;
	if (fk.fail_count && fk.fail_request == VFIO_DEVICE_FEATURE &&
		fk.fail_feature == (wanted | index)) {
		fk.fail_count--;
		return fk.fail_errno;
	}
	void *data = f->data;
	struct vfio_device_feature_mig_state state = {0};

	switch (index) {
	case VFIO_DEVICE_FEATURE_DMA_BUF:
		return export_bar(n, data, made);
	case VFIO_DEVICE_FEATURE_MIGRATION:
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: {
		/* The complete state, whatever was read of it: as drivers do. */
		uint64_t value = index == VFIO_DEVICE_FEATURE_MIGRATION ? dev->flags
				 : fk.data_size				? fk.data_size
						: 12 + sizeof(dev->state_data);

		memcpy(data, &value, 8);
		return 0;
	}
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: {
		int why = 0;

		memcpy(&state, data, sizeof(state));
		if (wanted == VFIO_DEVICE_FEATURE_SET)
			why = set_state(n, &state);
		else
			state = (struct vfio_device_feature_mig_state){
				.device_state = dev->state, .data_fd = -1};
		memcpy(data, &state, sizeof(state));
		return why;
	}
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
		return log_start(dev, data);
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
		if (!dev->logging)
			return EINVAL;
		dev->logging = false;
		return 0;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
		return log_report(dev, data);
	default:
		dev->precopy_v2 = true;
		return 0;
	}
}

/* Regions and interrupts:
 */

static int region_info(struct vfio_region_info *info)
{
	struct {
		struct vfio_region_info info;
		struct vfio_region_info_cap_sparse_mmap sparse;
		struct vfio_region_sparse_mmap_area areas[2];
	} full = {.info = *info,
		.sparse = {.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
			.nr_areas = 2},
		.areas = {{.offset = 0, .size = 4096}, {.offset = 8192, .size = 8192}}};
	uint32_t room = info->argsz;

	full.info.cap_offset = 0;
	full.info.offset = (uint64_t)info->index << 40;
	full.info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	full.info.argsz = sizeof(full.info);
	if (info->index == 7) {
		full.info.size = 256;
	} else if (info->index == 0) {
		full.info.size = 16384;
		full.info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
		full.info.argsz = sizeof(full);
		if (room >= sizeof(full)) {
			full.info.cap_offset = sizeof(full.info);
			memcpy(info, &full, sizeof(full));
			return 0;
		}
	} else if (info->index == 8) {
		return EINVAL;
	}
	memcpy(info, &full.info, sizeof(full.info));
	return 0;
}

static int set_irqs(struct fk_device *dev, const struct vfio_irq_set *set)
{
	if (set->index != VFIO_PCI_MSIX_IRQ_INDEX)
		return EINVAL;
	if (!set->count) {
		if (!dev->irqs_on)
			return EINVAL; /* as vfio-pci */
		dev->irqs_on = 0;
		return 0;
	}
	if (!(set->flags & VFIO_IRQ_SET_DATA_EVENTFD) || set->start + set->count > 4 ||
		set->argsz < sizeof(*set) + set->count * 4)
		return EINVAL;
	memcpy(dev->irq_fds + set->start, set->data, set->count * 4);
	dev->irqs_on = set->start + set->count;
	return 0;
}

/* As vfio-pci: the token has to be given where the PF has one, and only there. */
static int check_token(const struct fk_device *dev, const char *token)
{
	if (!*dev->token)
		return *token ? EINVAL : 0;
	return strcmp(dev->token, token) ? EACCES : 0;
}

static int check_bind_token(const struct fk_device *dev, const void *arg)
{
	const struct vfio_device_bind_iommufd *bind = arg;
	const uint8_t *bytes;
	uint64_t address;
	char text[37] = "";

	if (!bind->flags)
		return check_token(dev, "");
	if (fk.no_cdev_token || bind->flags != 1 || bind->argsz < 24)
		return EINVAL;
	memcpy(&address, (const uint8_t *)arg + 16, sizeof(address));
	bytes = (const uint8_t *)(uintptr_t)address;
	for (unsigned i = 0, at = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[at++] = '-';
		at += (unsigned)snprintf(text + at, sizeof(text) - at, "%02x", bytes[i]);
	}
	return check_token(dev, text);
}

#define IOAS_ID	  77
#define DEVICE_ID 200
#define HWPT_ID	  300

static int attach(struct open_file *file, uint32_t id)
{
	const struct fk_device *dev = &fk.device[file->device];

	if (id != IOAS_ID && (id < HWPT_ID || id >= HWPT_ID + fk.hwpt_count))
		return ENOENT;
	if (id != IOAS_ID && dev->emulated)
		return ENOENT;
	if (id != IOAS_ID && fk.hwpt[id - HWPT_ID].iommu != dev->iommu)
		return EINVAL;
	file->attached = true;
	return 0;
}

static int device_ioctl(struct open_file *file, unsigned long request, void *arg, int *made)
{
	struct fk_device *dev = &fk.device[file->device];

	if (request == VFIO_DEVICE_BIND_IOMMUFD) {
		const struct vfio_device_bind_iommufd *bind = arg;
		const struct open_file *iommu = file_of(bind->iommufd);

		if (bind->argsz < 16 || !iommu || iommu->kind != IOMMU)
			return EINVAL;
		int rc = check_bind_token(dev, arg);

		if (rc)
			return rc;
		if (dev->opens) /* as the VFIO core: by cdev only once */
			return EINVAL;
		dev->opens++;
		file->bound = true;
		((struct vfio_device_bind_iommufd *)arg)->out_devid = DEVICE_ID + file->device;
		return 0;
	}
	if (!file->bound && !file->in_container)
		return EINVAL;
	switch (request) {
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		return attach(file, ((struct vfio_device_attach_iommufd_pt *)arg)->pt_id);
	case VFIO_DEVICE_GET_INFO:
		((struct vfio_device_info *)arg)->flags =
			VFIO_DEVICE_FLAGS_PCI | (fk.no_reset ? 0 : VFIO_DEVICE_FLAGS_RESET);
		((struct vfio_device_info *)arg)->num_regions = 9;
		((struct vfio_device_info *)arg)->num_irqs = 5;
		return 0;
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(arg);
	case VFIO_DEVICE_GET_IRQ_INFO: {
		struct vfio_irq_info *info = arg;

		if (info->index >= VFIO_PCI_ERR_IRQ_INDEX)
			return EINVAL;
		info->flags = VFIO_IRQ_INFO_EVENTFD;
		info->count = info->index == VFIO_PCI_MSIX_IRQ_INDEX ? 4 : 0;
		return 0;
	}
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(dev, arg);
	case VFIO_DEVICE_RESET:
		if (fk.no_reset)
			return ENOTTY;
		if (fk.reset_keeps_resuming && dev->state == SWO_DEVICE_RESUMING)
			return 0;
		dev->state = SWO_DEVICE_RUNNING;
		dev->data_fd = -1;
		revoke(file->device);
		return 0;
	case VFIO_DEVICE_FEATURE:
		return feature(file->device, arg, made);
	default:
		return ENOTTY;
	}
}

/* Maps */

static int add_map(bool by_iommufd, uint64_t iova, uint64_t size, uint64_t vaddr, uint32_t prot)
{
	for (unsigned i = 0; i < fk.map_count; i++)
		if (fk.maps[i].by_iommufd == by_iommufd &&
			iova < fk.maps[i].iova + fk.maps[i].size && fk.maps[i].iova < iova + size)
			return EEXIST;
	if (fk.map_count == FK_MAPS)
		return ENOSPC;
	fk.maps[fk.map_count++] = (struct fk_map){by_iommufd, iova, size, vaddr, prot, 0};
	return 0;
}

static int del_map(bool by_iommufd, uint64_t iova, uint64_t size)
{
	for (unsigned i = 0; i < fk.map_count; i++)
		if (fk.maps[i].by_iommufd == by_iommufd && fk.maps[i].iova == iova &&
			fk.maps[i].size == size) {
			fk.maps[i] = fk.maps[--fk.map_count];
			return 0;
		}
	return ENOENT;
}

static const uint64_t reachable[2][2] = {{0, 0xfedfffff}, {0xfef00000, 0x7fffffffff}};

static bool can_map(uint64_t iova, uint64_t size)
{
	if (!fk.narrow_iommu)
		return true;
	for (unsigned i = 0; i < 2; i++)
		if (iova >= reachable[i][0] && iova + size - 1 <= reachable[i][1])
			return true;
	return false;
}

/* The capability comes second. */
static int type1_info(struct vfio_iommu_type1_info *info)
{
	struct vfio_info_cap_header first = {.id = 3, .next = sizeof(*info) + 16};
	struct vfio_iommu_type1_info_cap_iova_range ranges = {
		.header = {.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE}, .nr_iovas = 2};
	uint8_t *at = (uint8_t *)info + sizeof(*info);

	if (!fk.narrow_iommu)
		return 0;
	if (info->argsz < sizeof(*info) + 16 + sizeof(ranges) + sizeof(reachable))
		return EINVAL;
	info->flags = VFIO_IOMMU_INFO_CAPS;
	info->cap_offset = sizeof(*info);
	memcpy(at, &first, sizeof(first));
	memcpy(at + 16, &ranges, sizeof(ranges));
	memcpy(at + 16 + sizeof(ranges), reachable, sizeof(reachable));
	return 0;
}

static int ioas_ranges(struct iommu_ioas_iova_ranges *request)
{
	unsigned room = request->num_iovas;

	request->num_iovas = fk.narrow_iommu ? 2 : 0;
	if (room < request->num_iovas)
		return EMSGSIZE;
	memcpy((void *)(uintptr_t)request->allowed_iovas, reachable,
		request->num_iovas * sizeof(reachable[0]));
	return 0;
}

/* Is it mapped without a gap? */
static bool is_mapped(bool by_iommufd, uint64_t iova, uint64_t size)
{
	for (uint64_t at = iova; at < iova + size; at += 4096) {
		bool found = false;

		for (unsigned i = 0; i < fk.map_count; i++)
			found |= fk.maps[i].by_iommufd == by_iommufd && at >= fk.maps[i].iova &&
				 at - fk.maps[i].iova < fk.maps[i].size;
		if (!found)
			return false;
	}
	return true;
}

static bool behind_an_iommu(void)
{
	for (int i = 0; i < FDS; i++)
		if (files[i].kind == GROUP && files[i].in_container &&
			!fk.device[files[i].device].emulated)
			return true;
	return false;
}

/* As type1: whole maps only; what is mapped is overwritten, the rest of the bitmap is left. */
static int container_report(const struct vfio_iommu_type1_dirty_bitmap_get *get)
{
	const uint64_t end = get->iova + get->size;
	uint64_t *bitmap = (uint64_t *)(void *)get->bitmap.data;

	if (get->bitmap.pgsize != 4096 || get->iova % 4096 || !get->size || get->size % 4096 ||
		get->bitmap.size < (get->size / 4096 + 63) / 64 * 8 || !fk.container_tracks)
		return EINVAL;
	for (unsigned i = 0; i < fk.map_count; i++) {
		const struct fk_map *map = &fk.maps[i];

		if (map->by_iommufd || map->iova >= end || map->iova + map->size <= get->iova)
			continue;
		if (map->iova < get->iova || map->iova + map->size > end)
			return EINVAL;
		for (uint64_t at = map->iova; at < map->iova + map->size; at += 4096) {
			const uint64_t bit = (at - get->iova) / 4096, page = at / 4096;
			const bool dirty =
				behind_an_iommu() || (page < 64 && fk.container_dirty >> page & 1);

			bitmap[bit / 64] &= ~(UINT64_C(1) << bit % 64);
			bitmap[bit / 64] |= (uint64_t)dirty << bit % 64;
			if (page < 64)
				fk.container_dirty &= ~(UINT64_C(1) << page);
		}
	}
	return 0;
}

static int container_dirty(const struct vfio_iommu_type1_dirty_bitmap *dirty)
{
	switch (dirty->flags) {
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
		if (dirty->argsz < sizeof(*dirty))
			return EINVAL;
		fk.container_tracks = dirty->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
		return 0;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
		if (dirty->argsz <
			sizeof(*dirty) + sizeof(struct vfio_iommu_type1_dirty_bitmap_get))
			return EINVAL;
		return container_report((const void *)dirty->data);
	default:
		return EINVAL;
	}
}

/* The device of a BAR that is mapped at this address; -1: it is RAM. */
static int bar_at(uint64_t address)
{
	for (unsigned i = 0; i < FK_DEVICES; i++)
		if (address && fk.device[i].bar == (void *)(uintptr_t)address)
			return (int)i;
	return -1;
}

static int map_file(const struct iommu_ioas_map_file *request)
{
	const struct open_file *file = file_of(request->fd);

	if (!file || file->kind != DMABUF || request->start || request->ioas_id != IOAS_ID)
		return EINVAL;
	if (!decodes(&fk.device[file->device]))
		return ENODEV; /* it is revoked */
	int rc = add_map(true, request->iova, request->length, 0, request->flags);

	if (!rc)
		fk.maps[fk.map_count - 1].dmabuf_of = file->device + 1;
	return rc;
}

static int container_ioctl(unsigned long request, void *arg)
{
	const struct vfio_iommu_type1_dma_map *map = arg;
	const struct vfio_iommu_type1_dma_unmap *unmap = arg;
	bool joined = false;

	for (int i = 0; i < FDS; i++)
		joined |= files[i].kind == GROUP && files[i].in_container;
	switch (request) {
	case VFIO_SET_IOMMU:
		if (!joined)
			return EINVAL;
		fk.set_iommu_calls++;
		return 0;
	case VFIO_IOMMU_GET_INFO:
		return type1_info(arg);
	case VFIO_IOMMU_DIRTY_PAGES:
		return joined ? container_dirty(arg) : EINVAL;
	case VFIO_IOMMU_MAP_DMA:
		if (!can_map(map->iova, map->size))
			return EINVAL;
		if (fk.no_vf && bar_at(map->vaddr) >= 0 && !decodes(&fk.device[bar_at(map->vaddr)]))
			return EFAULT;
		return add_map(false, map->iova, map->size, map->vaddr, map->flags);
	case VFIO_IOMMU_UNMAP_DMA:
		return del_map(false, unmap->iova, unmap->size);
	default:
		return ENOTTY;
	}
}

static int hwpt_alloc(struct iommu_hwpt_alloc *alloc)
{
	const uint32_t device = alloc->dev_id - DEVICE_ID;

	if (alloc->size < 40 || alloc->data_type || alloc->data_len || alloc->data_uptr)
		return EINVAL;
	if (alloc->__reserved || alloc->flags & ~2u)
		return EOPNOTSUPP;
	if (device >= FK_DEVICES || fk.device[device].emulated || alloc->pt_id != IOAS_ID)
		return ENOENT;
	if (alloc->flags && !fk.iommus_have_dirty_bits)
		return EOPNOTSUPP;
	if (fk.hwpt_count == FK_HWPTS)
		return ENOMEM;
	fk.hwpt[fk.hwpt_count] = (struct fk_hwpt){.iommu = fk.device[device].iommu};
	alloc->out_hwpt_id = HWPT_ID + fk.hwpt_count++;
	return 0;
}

static int hwpt_track(const struct iommu_hwpt_set_dirty_tracking *set)
{
	if (set->size < sizeof(*set) || set->__reserved || set->flags & ~1u)
		return EOPNOTSUPP;
	if (set->hwpt_id < HWPT_ID || set->hwpt_id >= HWPT_ID + fk.hwpt_count)
		return ENOENT;
	struct fk_hwpt *hwpt = &fk.hwpt[set->hwpt_id - HWPT_ID];

	hwpt->tracking = set->flags;
	if (hwpt->tracking)
		hwpt->dirty = 0;
	return 0;
}

static int hwpt_report(const struct iommu_hwpt_get_dirty_bitmap *get)
{
	uint64_t *bitmap = (uint64_t *)(uintptr_t)get->data;

	if (get->size < sizeof(*get) || get->__reserved || get->flags & ~1u)
		return EOPNOTSUPP;
	if (get->hwpt_id < HWPT_ID || get->hwpt_id >= HWPT_ID + fk.hwpt_count)
		return ENOENT;
	struct fk_hwpt *hwpt = &fk.hwpt[get->hwpt_id - HWPT_ID];

	if (!get->length || !get->page_size || get->iova % 4096 || get->length % 4096 ||
		get->iova % get->page_size || get->length % get->page_size || !hwpt->tracking ||
		!is_mapped(true, get->iova, get->length))
		return EINVAL;
	for (uint64_t at = get->iova; at < get->iova + get->length && at < 64 * 4096; at += 4096) {
		const uint64_t page = at / 4096, bit = (at - get->iova) / get->page_size;

		if (hwpt->dirty >> page & 1)
			bitmap[bit / 64] |= UINT64_C(1) << bit % 64;
		if (!get->flags)
			hwpt->dirty &= ~(UINT64_C(1) << page);
	}
	return 0;
}

static int iommu_ioctl(unsigned long request, void *arg)
{
	const struct iommu_ioas_map *map = arg;
	const struct iommu_ioas_unmap *unmap = arg;

	switch (request) {
	case IOMMU_IOAS_ALLOC:
		((struct iommu_ioas_alloc *)arg)->out_ioas_id = IOAS_ID;
		return 0;
	case IOMMU_HWPT_ALLOC:
		return hwpt_alloc(arg);
	case IOMMU_HWPT_SET_DIRTY_TRACKING:
		return hwpt_track(arg);
	case IOMMU_HWPT_GET_DIRTY_BITMAP:
		return hwpt_report(arg);
	case IOMMU_IOAS_MAP:
		if (map->ioas_id != IOAS_ID || !(map->flags & IOMMU_IOAS_MAP_FIXED_IOVA) ||
			!can_map(map->iova, map->length))
			return EINVAL;
		if (bar_at(map->user_va) >= 0)
			return EFAULT;
		return add_map(true, map->iova, map->length, map->user_va, map->flags);
	case IOMMU_IOAS_MAP_FILE:
		return map_file(arg);
	case IOMMU_IOAS_IOVA_RANGES:
		return ioas_ranges(arg);
	case IOMMU_IOAS_UNMAP:
		return del_map(true, unmap->iova, unmap->length);
	default:
		return ENOTTY;
	}
}

/* Positive: an fd. */
static int group_ioctl(struct open_file *file, unsigned long request, void *arg)
{
	struct fk_device *dev = &fk.device[file->device];
	char name[8], *token;

	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		((struct vfio_group_status *)arg)->flags =
			fk.group_not_viable ? 0 : VFIO_GROUP_FLAGS_VIABLE;
		return 0;
	case VFIO_GROUP_SET_CONTAINER:
		file->in_container = true;
		return 0;
	case VFIO_GROUP_GET_DEVICE_FD: {
		snprintf(name, sizeof(name), "dev%u", file->device);
		token = strstr(arg, " vf_token=");
		if (strncmp(arg, name, 4) != 0 || (!token && strlen(arg) != 4) ||
			(token && token != (char *)arg + 4))
			return -ENODEV;
		if (check_token(dev, token ? token + 10 : ""))
			return -check_token(dev, token ? token + 10 : "");
		if (dev->opens)
			return -EBUSY;
		int fd = new_fd(DEVICE, file->device);

		file_of(fd)->in_container = true;
		dev->opens++;
		return fd;
	}
	default:
		return -ENOTTY;
	}
}

static int precopy_info(const struct open_file *file, struct vfio_precopy_info *info)
{
	struct fk_device *dev = &fk.device[file->device];
	const size_t half = dev->stream_len / 2;

	if (fk.no_precopy_info)
		return ENOTTY;
	if (info->argsz < 24 ||
		(dev->state != SWO_DEVICE_PRE_COPY && dev->state != SWO_DEVICE_PRE_COPY_P2P))
		return EINVAL;
	if (dev->precopy_v2)
		info->flags = 0;
	else
		info->flags |= fk.info_flags;
	/* A device that is quiet saves nothing. */
	if (dev->state == SWO_DEVICE_PRE_COPY && dev->stream_at >= half && !dev->saved) {
		save_increment(dev);
		if (dev->reinit && dev->precopy_v2) {
			info->flags |= VFIO_PRECOPY_INFO_REINIT;
			dev->initial = dev->saved;
		}
		dev->reinit = false;
	}
	info->initial_bytes = dev->stream_at < half ? half - dev->stream_at : dev->initial;
	info->dirty_bytes = info->initial_bytes ? 0 : dev->saved + dev->changed;
	return 0;
}

static int fk_ioctl(int fd, unsigned long request, void *arg)
{
	struct open_file *file = file_of(fd);
	int rc, made = -1;

	if (!file)
		return fail(EBADF);
	if (fk.interrupts) {
		fk.interrupts--;
		return fail(EINTR);
	}
	if (fk.fail_count && fk.fail_request == request && request != VFIO_DEVICE_FEATURE) {
		fk.fail_count--;
		return fail(fk.fail_errno);
	}
	switch (file->kind) {
	case CONTAINER:
		if (request == VFIO_GET_API_VERSION)
			return VFIO_API_VERSION;
		if (request == VFIO_CHECK_EXTENSION)
			return (uintptr_t)arg == VFIO_TYPE1v2_IOMMU;
		rc = container_ioctl(request, arg);
		break;
	case GROUP:
		rc = group_ioctl(file, request, arg);
		return rc < 0 ? fail(-rc) : rc;
	case DEVICE:
		rc = device_ioctl(file, request, arg, &made);
		if (!rc && made >= 0)
			return made;
		break;
	case IOMMU:
		rc = iommu_ioctl(request, arg);
		break;
	case DATA:
		rc = request == VFIO_MIG_GET_PRECOPY_INFO ? precopy_info(file, arg) : ENOTTY;
		break;
	default:
		rc = EBADF;
	}
	return rc ? fail(rc) : 0;
}

/* Read and write:
 */

static ssize_t config_access(struct fk_device *dev, void *buf, size_t len, off_t at, bool write)
{
	if (at >> 40 != 7 || (size_t)(at & 0xff) + len > sizeof(dev->config))
		return fail(EINVAL);
	/* A dword at once. */
	size_t n = len < 4 ? len : 4;

	memcpy(write ? dev->config + (at & 0xff) : buf, write ? buf : dev->config + (at & 0xff), n);
	if (write && !decodes(dev))
		revoke((unsigned)(dev - fk.device));
	return (ssize_t)n;
}

static ssize_t fk_read(int fd, void *buf, size_t len, off_t offset)
{
	struct open_file *file = file_of(fd);

	if (!file || (file->kind != DATA && file->kind != DEVICE))
		return fail(EBADF);
	struct fk_device *dev = &fk.device[file->device];

	if (fk.interrupts) {
		fk.interrupts--;
		return fail(EINTR);
	}
	if (file->kind == DEVICE)
		return config_access(dev, buf, len, offset, false);
	if (dev->data_fd != fd || !saves(dev->state))
		return fail(ENODEV);
	if (fk.fail_read)
		return fail(fk.fail_read);
	size_t end = dev->state == SWO_DEVICE_STOP_COPY ? dev->stream_len : dev->stream_len / 2;
	size_t n = dev->stream_at < end ? end - dev->stream_at : 0;

	if (!n && dev->saved) {
		n = dev->saved < len ? dev->saved : len;
		memset(buf, 0xee, n);
		dev->saved -= n;
		dev->initial -= n < dev->initial ? n : dev->initial;
		return (ssize_t)n;
	}
	if (!n && dev->state != SWO_DEVICE_STOP_COPY && !fk.returns_zero)
		return fail(ENOMSG);
	n = n < len ? n : len;
	if (fk.max_io && n > fk.max_io)
		n = fk.max_io;
	memcpy(buf, dev->stream + dev->stream_at, n);
	dev->stream_at += n;
	return (ssize_t)n;
}

static ssize_t fk_write(int fd, const void *buf, size_t len, off_t offset)
{
	struct open_file *file = file_of(fd);

	if (!file || (file->kind != DATA && file->kind != DEVICE))
		return fail(EBADF);
	struct fk_device *dev = &fk.device[file->device];

	if (fk.interrupts) {
		fk.interrupts--;
		return fail(EINTR);
	}
	if (file->kind == DEVICE)
		return config_access(dev, (void *)(uintptr_t)buf, len, offset, true);
	if (dev->data_fd != fd || dev->state != SWO_DEVICE_RESUMING)
		return fail(ENODEV);
	if (fk.fail_write)
		return fail(fk.fail_write);
	if (fk.max_io && len > fk.max_io)
		len = fk.max_io;
	if (dev->loaded + len > sizeof(dev->stream))
		return fail(ENOSPC);
	memcpy(dev->stream + dev->loaded, buf, len);
	dev->loaded += len;
	return (ssize_t)len;
}

static void *fk_mmap(size_t len, int prot, int fd, off_t offset)
{
	(void)prot;
	(void)offset;
	if (!file_of(fd) || file_of(fd)->kind != DEVICE) {
		errno = EBADF;
		return MAP_FAILED;
	}
	fk.mmaps++;
	return fk.device[file_of(fd)->device].bar = calloc(1, len);
}

static int fk_munmap(void *addr, size_t len)
{
	(void)len;
	fk.mmaps--;
	for (unsigned i = 0; i < FK_DEVICES; i++)
		if (fk.device[i].bar == addr)
			fk.device[i].bar = NULL;
	free(addr);
	return 0;
}

const struct vfio_sys fk_sys = {
	.open = fk_open,
	.ioctl = fk_ioctl,
	.read = fk_read,
	.write = fk_write,
	.mmap = fk_mmap,
	.munmap = fk_munmap,
	.dup = fk_dup,
	.shut = fk_shut,
	.close = fk_close,
	.dev = "/dev",
	.sysfs = "/sys",
};
