/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * iommu.c - the tracker of an IOMMU's dirty bits against the kernel's iommufd, with its mock devices
 * (CONFIG_IOMMUFD_TEST): no emulated IOMMU has dirty bits. They are no VFIO devices, so that part
 * of the kernel is simulated; the page tables, their mappings and bits are the kernel's own. Their
 * pages are half of the CPU's, and their aperture begins at 16 MiB.
 */
#include "device/core/engine.h"
#include "memory/dma_log.h"
#include "tests/device/kernel/fake_kernel.h"
#include "tests/support/must.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* drivers/iommu/iommufd/iommufd_test.h of Linux 6.12, as far as it is used here. */
#define TEST_MOCK_DOMAIN_REPLACE 10
#define TEST_MOCK_DOMAIN_FLAGS	 12
#define TEST_DIRTY		 13
#define MOCK_NO_DIRTY		 1u
#define MOCK_PAGE		 2048u
struct test_cmd {
	__u32 size, op, id, reserved;
	union {
		struct {
			__u32 stdev, hwpt, idev, flags;
		} mock;
		struct {
			__u32 pt;
		} replace;
		struct {
			__u32 flags;
			__aligned_u64 iova, length, page_size, bitmap, count;
		} dirty;
	};
	__u32 last;
};
#define TEST_CMD _IO(IOMMUFD_TYPE, 0x80 + 32)

#define OPS	 (&swo_vfio_kernel_ops)
#define PAGE	 4096
#define PAGES(n) ((n)*UINT64_C(4096))
#define BASE	 (UINT64_C(32) << 20)
#define COUNT	 64

static struct swo_error err;
static struct vfio_sys sys;
static struct swo_vfio_context *context;
static void *memory;
static int simulated; /* an iommufd of the simulated kernel */
static uint32_t ioas, hwpt, hwpts, mock_flags, stdev[FK_DEVICES], bound;

/* The devices of the simulated kernel are mock devices of the real one. */
static int bind_mock(int fd, unsigned long request, struct vfio_device_bind_iommufd *bind)
{
	const int iommufd = bind->iommufd;
	struct test_cmd cmd = {.size = sizeof(cmd),
		.op = TEST_MOCK_DOMAIN_FLAGS,
		.id = ioas,
		.mock = {.flags = mock_flags}};

	bind->iommufd = simulated;
	if (fk_sys.ioctl(fd, request, bind) || ioctl(iommufd, TEST_CMD, &cmd))
		return -1;
	bind->out_devid = cmd.mock.idev;
	stdev[bound++ % FK_DEVICES] = cmd.mock.stdev;
	return 0;
}

static int iommufd_now = -1;

static int mock_ioctl(int fd, unsigned long request, void *arg)
{
	if (request == VFIO_DEVICE_BIND_IOMMUFD) {
		iommufd_now = ((struct vfio_device_bind_iommufd *)arg)->iommufd;
		return bind_mock(fd, request, arg);
	}
	if (request == VFIO_DEVICE_ATTACH_IOMMUFD_PT) {
		struct test_cmd cmd = {.size = sizeof(cmd),
			.op = TEST_MOCK_DOMAIN_REPLACE,
			.id = stdev[(bound - 1) % FK_DEVICES],
			.replace = {.pt = ((struct vfio_device_attach_iommufd_pt *)arg)->pt_id}};

		return ioctl(iommufd_now, TEST_CMD, &cmd);
	}
	if (fd >= simulated)
		return fk_sys.ioctl(fd, request, arg);
	const int rc = ioctl(fd, request, arg);

	if (!rc && request == IOMMU_IOAS_ALLOC)
		ioas = ((struct iommu_ioas_alloc *)arg)->out_ioas_id;
	if (!rc && request == IOMMU_HWPT_ALLOC) {
		hwpt = ((struct iommu_hwpt_alloc *)arg)->out_hwpt_id;
		hwpts++;
	}
	return rc;
}

static int mock_open(const char *path, int flags)
{
	return strcmp(path, "/dev/iommu") ? fk_sys.open(path, flags) : open(path, flags);
}

static int mock_close(int fd)
{
	return fd >= simulated ? fk_sys.close(fd) : close(fd);
}

static int setup(void **state)
{
	(void)state;
	fk_init();
	sys = fk_sys;
	sys.open = mock_open;
	sys.ioctl = mock_ioctl;
	sys.close = mock_close;
	simulated = fk_sys.open("/dev/iommu", O_RDWR);
	ioas = hwpt = hwpts = mock_flags = bound = 0;
	memory =
		mmap(NULL, PAGES(COUNT), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(memory != MAP_FAILED);
	MUST(swo_vfio_context_new(&context, &err));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	swo_vfio_context_unref(context);
	fk_sys.close(simulated);
	munmap(memory, PAGES(COUNT));
	return 0;
}

static void *open_device(unsigned n)
{
	const struct swo_vfio_kernel_params params = {
		.size = sizeof(struct swo_vfio_kernel_params), .context = context};
	char path[48];
	void *self;

	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%u", n);
	MUST(kernel_open(&sys, "vf0", path, &params, &self, &err));
	MUST(OPS->dma_map(self, BASE, PAGES(COUNT), -1, 0, memory, 3, &err));
	return self;
}

/* As a device does that writes to these half pages. */
static int dirty(uint64_t first, uint64_t bits)
{
	struct test_cmd cmd = {.size = sizeof(cmd),
		.op = TEST_DIRTY,
		.id = hwpt,
		.dirty = {.iova = BASE + PAGES(first),
			.length = 64 * MOCK_PAGE,
			.page_size = MOCK_PAGE,
			.bitmap = (uintptr_t)&bits}};

	return ioctl(iommufd_now, TEST_CMD, &cmd);
}

static uint64_t report(void *self)
{
	uint64_t bits = 0;

	MUST(OPS->dma_log_report(self, BASE, PAGES(COUNT), PAGE, &bits, &err));
	return bits;
}

static enum swo_dirty_tracking start(void *self)
{
	enum swo_dirty_tracking kind = SWO_DIRTY_TRACKING_OFF;
	uint64_t page = PAGE;

	MUST(OPS->host_log_start(self, &page, NULL, 0, &kind, &err));
	return kind;
}

static void the_kernel_reports_its_dirty_bits_once(void **state)
{
	(void)state;
	void *a = open_device(0), *b = open_device(1);
	uint64_t bits = 0;

	/* One page table for both. */
	assert_int_equal(hwpts, 1);
	assert_int_equal(dirty(0, 1), -1);
	assert_int_equal(start(a), SWO_DIRTY_TRACKING_IOMMU);
	assert_int_equal(start(b), SWO_DIRTY_TRACKING_IOMMU);
	/* Half pages 0, 3 and 62 from page 0 on, and 1 from page 32 on. */
	assert_int_equal(dirty(0, 1 | 8 | UINT64_C(1) << 62), 0);
	assert_int_equal(dirty(32, 2), 0);
	assert_int_equal(report(a), 1 | 2 | UINT64_C(1) << 31 | UINT64_C(1) << 32);
	assert_int_equal(report(b), 0);
	assert_int_equal(dirty(0, 4), 0);
	MUST(OPS->dma_log_stop(a, &err));
	assert_int_equal(report(b), 2);
	MUST(OPS->dma_log_stop(b, &err));
	FAILS(OPS->dma_log_report(b, BASE, PAGES(COUNT), PAGE, &bits, &err), SWO_E_STATE);
	assert_int_equal(dirty(0, 1), -1);
	OPS->destroy(a);
	OPS->destroy(b);
}

static void a_start_begins_clean(void **state)
{
	(void)state;
	void *a = open_device(0);

	start(a);
	assert_int_equal(dirty(0, 1), 0);
	MUST(OPS->dma_log_stop(a, &err));
	start(a);
	assert_int_equal(report(a), 0);
	OPS->destroy(a);
}

static void an_iommu_without_dirty_bits_is_left_alone(void **state)
{
	(void)state;
	enum swo_dirty_tracking kind;
	uint64_t page = PAGE;

	mock_flags = MOCK_NO_DIRTY;
	void *a = open_device(0);

	assert_int_equal(hwpts, 0);
	FAILS(OPS->host_log_start(a, &page, NULL, 0, &kind, &err), SWO_E_UNSUPPORTED);
	OPS->destroy(a);
}

static void guest_memory_is_marked(void **state)
{
	(void)state;
	struct swo_ram *ram = swo_ram_new();
	struct swo_device *dev;

	MUST(swo_ram_add(ram, "ram", BASE, PAGES(COUNT), -1, &err));
	/* The device has no log of its own. */
	fk.fail_request = VFIO_DEVICE_FEATURE;
	fk.fail_feature = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
	fk.fail_errno = EOPNOTSUPP;
	fk.fail_count = 2;
	MUST(swo_device_create("vf0", OPS, open_device(0), NULL, &dev, &err));
	MUST(memory_dma_log_start(dev, ram, &err));
	assert_int_equal(swo_device_dirty_tracking(dev), SWO_DIRTY_TRACKING_IOMMU);
	assert_int_equal(dirty(0, 1 | 2 | 64), 0);
	MUST(memory_dma_log_collect(dev, ram, &err));
	assert_int_equal(swo_ram_dirty_pages(ram), 2);
	assert_int_equal(swo_ram_region(ram, 0)->dirty[0], 1 | 8);
	memory_dma_log_stop(dev);
	swo_device_destroy(dev);
	swo_ram_free(ram);
}

/* 77: this kernel has no mock devices. */
static int look_for_mocks(void)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct test_cmd cmd = {.size = sizeof(cmd), .op = TEST_MOCK_DOMAIN_FLAGS};
	const int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	int rc = fd < 0 || ioctl(fd, IOMMU_IOAS_ALLOC, &alloc) ? -1 : 0;

	cmd.id = alloc.out_ioas_id;
	if (!rc)
		rc = ioctl(fd, TEST_CMD, &cmd);
	if (rc)
		printf("# no mock devices of iommufd (CONFIG_IOMMUFD_TEST): %s\n", strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc ? 77 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			the_kernel_reports_its_dirty_bits_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_start_begins_clean, setup, teardown),
		cmocka_unit_test_setup_teardown(
			an_iommu_without_dirty_bits_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(guest_memory_is_marked, setup, teardown),
	};

	const int missing = look_for_mocks();

	return missing ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
