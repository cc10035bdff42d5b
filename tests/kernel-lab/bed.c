/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bed.c - see bed.h: opening devices by either way, their ioctls, their sysfs.
 */
#include "bed.h"

#include "abi.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MDEVS "/sys/class/simvf_mdev/simvf_mdev/mdev_supported_types/simvf_mdev-vf/create"

uint8_t *bed_ram;
bool bed_cdev;
bool bed_mdev;
static int container = -1;
static uint32_t ioas;
static struct bed_device *opened[BED_DEVICES]; /* by index */

/* Sysfs */

void bed_name(unsigned index, char out[BED_NAME_MAX])
{
	snprintf(out, BED_NAME_MAX, bed_mdev ? "51d5f000-0000-4000-8000-%012x" : "simvf.%u", index);
}

void bed_make_mdevs(void)
{
	char name[BED_NAME_MAX];

	bed_mdev = true;
	for (unsigned i = 0; i < BED_DEVICES; i++) {
		int fd = open(MDEVS, O_WRONLY | O_CLOEXEC);

		bed_name(i, name);
		assert_true(fd >= 0);
		/* A test before this one may have made it. */
		assert_true(write(fd, name, strlen(name)) > 0 || errno == EEXIST);
		close(fd);
	}
}

static void attribute_path(char *out, size_t room, unsigned index, const char *attribute)
{
	char name[BED_NAME_MAX];

	bed_name(index, name);
	snprintf(out, room, "/sys/bus/%s/devices/%s/%s", bed_mdev ? "mdev" : "platform", name,
		attribute);
}

int bed_put(unsigned index, const char *attribute, const char *text)
{
	char path[160];
	int fd, rc = 0;

	attribute_path(path, sizeof(path), index, attribute);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		rc = errno;
	close(fd);
	return rc;
}

void bed_get(unsigned index, const char *attribute, char *buf, size_t room)
{
	char path[160];
	ssize_t n;
	int fd;

	attribute_path(path, sizeof(path), index, attribute);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	n = read(fd, buf, room - 1);
	close(fd);
	assert_true(n >= 0);
	buf[n] = 0;
}

uint64_t bed_counter(unsigned index, const char *name)
{
	char text[4096], *line, *rest = text;

	bed_get(index, "counters", text, sizeof(text));
	while ((line = strtok_r(rest, "\n", &rest))) {
		size_t len = strlen(name);

		if (!strncmp(line, name, len) && line[len] == ' ')
			return strtoull(line + len, NULL, 10);
	}
	fail_msg("simvf.%u has no counter '%s'", index, name);
	return 0;
}

struct bed_arc bed_arc(unsigned index, unsigned from, unsigned to)
{
	char text[4096], *line, *rest = text, a[32], b[32];
	struct bed_arc arc;

	bed_get(index, "arcs", text, sizeof(text));
	while ((line = strtok_r(rest, "\n", &rest))) {
		unsigned long long n[6];

		if (sscanf(line, "%31s %31s %llu %llu %llu %llu %llu %llu", a, b, &n[0], &n[1],
			    &n[2], &n[3], &n[4], &n[5]) != 8)
			fail_msg("simvf.%u: arcs has '%s'", index, line);
		arc = (struct bed_arc){n[0], n[1], n[2], n[3], n[4], n[5]};
		if (!strcmp(a, svf_state_name(from)) && !strcmp(b, svf_state_name(to)))
			return arc;
	}
	return (struct bed_arc){0};
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Opening */

static void make_ram(void)
{
	if (bed_ram)
		return;
	bed_ram = mmap(
		NULL, BED_RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(bed_ram != MAP_FAILED);
}

int bed_map(uint64_t iova, void *addr, size_t len)
{
	struct lab_ioas_map map = {.size = sizeof(map),
		.flags = LAB_IOAS_MAP_FIXED_RW,
		.ioas_id = ioas,
		.user_va = (uintptr_t)addr,
		.length = len,
		.iova = iova};
	struct vfio_iommu_type1_dma_map dma = {.argsz = sizeof(dma),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)addr,
		.iova = iova,
		.size = len};

	if (bed_cdev)
		return ioctl(container, LAB_IOAS_MAP, &map) ? errno : 0;
	return ioctl(container, VFIO_IOMMU_MAP_DMA, &dma) ? errno : 0;
}

void bed_unmap(uint64_t iova, size_t len)
{
	struct lab_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = ioas, .iova = iova, .length = len};
	struct vfio_iommu_type1_dma_unmap dma = {.argsz = sizeof(dma), .iova = iova, .size = len};

	if (bed_cdev)
		assert_int_equal(ioctl(container, LAB_IOAS_UNMAP, &unmap), 0);
	else
		assert_int_equal(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &dma), 0);
}

static void open_by_cdev(struct bed_device *dev)
{
	struct lab_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct lab_attach attach = {.argsz = sizeof(attach)};
	struct lab_bind bind = {.argsz = sizeof(bind)};
	char pattern[160], path[160];
	glob_t found;

	attribute_path(pattern, sizeof(pattern), dev->index, "vfio-dev/vfio*");
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", strrchr(found.gl_pathv[0], '/') + 1);
	globfree(&found);
	dev->fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(dev->fd >= 0);
	if (container < 0) {
		container = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		assert_true(container >= 0);
		assert_int_equal(ioctl(container, LAB_IOAS_ALLOC, &alloc), 0);
		ioas = alloc.out_ioas_id;
		assert_int_equal(bed_map(BED_RAM_IOVA, bed_ram, BED_RAM_BYTES), 0);
	}
	bind.iommufd = container;
	assert_int_equal(ioctl(dev->fd, LAB_BIND_IOMMUFD, &bind), 0);
	attach.pt_id = ioas;
	assert_int_equal(ioctl(dev->fd, LAB_ATTACH_IOMMUFD_PT, &attach), 0);
}

static void open_by_group(struct bed_device *dev)
{
	char link[160], target[256], path[64], name[BED_NAME_MAX];
	bool first = container < 0;
	ssize_t n;

	attribute_path(link, sizeof(link), dev->index, "iommu_group");
	n = readlink(link, target, sizeof(target) - 1);
	assert_true(n > 0);
	target[n] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%.20s", strrchr(target, '/') + 1);
	dev->group = open(path, O_RDWR | O_CLOEXEC);
	assert_true(dev->group >= 0);
	if (first)
		container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	assert_true(container >= 0);
	assert_int_equal(ioctl(dev->group, VFIO_GROUP_SET_CONTAINER, &container), 0);
	/* the container drops its IOMMU, and its maps, with its last group */
	if (!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		assert_int_equal(bed_map(BED_RAM_IOVA, bed_ram, BED_RAM_BYTES), 0);
	bed_name(dev->index, name);
	dev->fd = ioctl(dev->group, VFIO_GROUP_GET_DEVICE_FD, name);
	assert_true(dev->fd >= 0);
}

void bed_prepare(unsigned index, const char *profile)
{
	make_ram();
	assert_true(index < BED_DEVICES);
	if (getenv("LAB_MDEV") && !bed_mdev)
		bed_make_mdevs();
	assert_int_equal(bed_put(index, "faults", "clear"), 0);
	assert_int_equal(bed_put(index, "reset_stats", "1"), 0);
	assert_int_equal(bed_put(index, "pf", "0"), 0);
	assert_int_equal(bed_put(index, "pf_arcs", "0"), 0);
	assert_int_equal(bed_put(index, "p2p_set", "0"), 0);
	assert_int_equal(bed_put(index, "precopy_zero", "0"), 0);
	assert_int_equal(bed_put(index, "profile", "instant"), 0);
	assert_int_equal(bed_put(index, "profile", profile), 0);
}

void bed_open(struct bed_device *dev, unsigned index, const char *profile)
{
	*dev = (struct bed_device){.index = index, .fd = -1, .data = -1, .group = -1};
	bed_prepare(index, profile);
	opened[index] = dev;
	bed_cdev = getenv("LAB_CDEV") != NULL;
	if (bed_cdev)
		open_by_cdev(dev);
	else
		open_by_group(dev);
}

void bed_close(struct bed_device *dev)
{
	drop(&dev->data);
	drop(&dev->fd);
	drop(&dev->group);
	opened[dev->index] = NULL;
}

int bed_teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < BED_DEVICES; i++) {
		bed_put(i, "release", "1");
		if (opened[i])
			bed_close(opened[i]);
	}
	return 0;
}

/* Ioctls */

int bed_feature(struct bed_device *dev, uint32_t flags, void *data, size_t len)
{
	uint64_t room[16];
	struct vfio_device_feature *f = (void *)room;

	assert_true(len <= sizeof(room) - sizeof(*f));
	f->argsz = (uint32_t)(sizeof(*f) + len);
	f->flags = flags;
	memcpy(f->data, data, len);
	if (ioctl(dev->fd, VFIO_DEVICE_FEATURE, f))
		return errno;
	memcpy(data, f->data, len);
	return 0;
}

int bed_set(struct bed_device *dev, unsigned state)
{
	struct vfio_device_feature_mig_state s = {.device_state = state, .data_fd = -1};
	int rc = bed_feature(
		dev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s, sizeof(s));

	if (!rc && s.data_fd >= 0) {
		drop(&dev->data);
		dev->data = s.data_fd;
	}
	return rc;
}

unsigned bed_state(struct bed_device *dev)
{
	struct vfio_device_feature_mig_state s = {0};

	assert_int_equal(
		bed_feature(dev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s,
			sizeof(s)),
		0);
	return s.device_state;
}

int bed_reset(struct bed_device *dev)
{
	return ioctl(dev->fd, VFIO_DEVICE_RESET) ? errno : 0;
}

int bed_precopy_info(struct bed_device *dev, uint64_t *initial, uint64_t *dirty)
{
	struct lab_precopy_info info = {.argsz = sizeof(info)};

	if (ioctl(dev->data, LAB_PRECOPY_INFO, &info))
		return errno;
	*initial = info.initial_bytes;
	*dirty = info.dirty_bytes;
	return 0;
}

ssize_t bed_read_all(struct bed_device *dev, uint8_t *buf, size_t room)
{
	size_t done = 0;

	while (done < room) {
		ssize_t n = read(dev->data, buf + done, room - done);

		if (n < 0 && errno != ENOMSG)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int bed_write_all(struct bed_device *dev, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = write(dev->data, buf, len);

		if (n <= 0)
			return n ? errno : EIO;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

uint64_t bed_reg(struct bed_device *dev, unsigned region, uint64_t offset, size_t len)
{
	uint64_t value = 0;

	assert_int_equal(
		pread(dev->fd, &value, len, (off_t)(((uint64_t)region << 40) + offset)), len);
	return value;
}

int bed_poke(struct bed_device *dev, unsigned region, uint64_t offset, uint64_t value, size_t len)
{
	ssize_t n = pwrite(dev->fd, &value, len, (off_t)(((uint64_t)region << 40) + offset));

	return n == (ssize_t)len ? 0 : n < 0 ? errno : EIO;
}

uint64_t bed_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void bed_sleep_ms(unsigned ms)
{
	struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&pause, NULL);
}
