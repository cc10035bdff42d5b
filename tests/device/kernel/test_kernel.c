/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening, regions, interrupts and maps of the kernel backend, against a fake kernel. */
#include "device/core/vfio_abi.h"
#include "fake_kernel.h"
#include "tests/support/must.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define OPS (&swo_vfio_kernel_ops)

static struct swo_error err;

static void *open_in(const char *path, struct swo_vfio_context *context)
{
	struct swo_vfio_kernel_params params = {
		.size = sizeof(struct swo_vfio_kernel_params), .context = context};
	void *self;

	MUST(kernel_open(&fk_sys, "vf0", path, &params, &self, &err));
	return self;
}

static int open_fails(const char *path)
{
	struct swo_vfio_kernel_params params = {.size = sizeof(struct swo_vfio_kernel_params)};
	void *self;

	return kernel_open(&fk_sys, "vf0", path, &params, &self, &err);
}

static int setup(void **state)
{
	(void)state;
	fk_init();
	return 0;
}

/* After every case: the kernel has all objects back. */
static int teardown(void **state)
{
	(void)state;
	return fk.open_fds || fk.map_count || fk.mmaps || fk.device[0].opens ||
	       fk.device[1].opens || fk.device[0].logging;
}

/* Opening */

static void a_device_opens_by_cdev_and_by_group(void **state)
{
	(void)state;
	static const char *const paths[] = {"/dev/vfio/devices/vfio0", "/dev/vfio/5:dev0"};

	for (unsigned i = 0; i < 2; i++) {
		void *dev = open_in(paths[i], NULL);
		enum swo_device_state now;
		uint64_t flags;

		MUST(OPS->get_mig_flags(dev, &flags, &err));
		assert_int_equal(flags, 7);
		MUST(OPS->get_state(dev, &now, &err));
		assert_int_equal(now, SWO_DEVICE_RUNNING);
		assert_int_equal(OPS->features(dev), SWO_FEATURE_DMA_LOG | SWO_FEATURE_DATA_SIZE |
							     SWO_FEATURE_PRECOPY_INFO |
							     SWO_FEATURE_RESET);
		OPS->destroy(dev);
	}
}

static void the_reason_of_a_failed_open_is_reported(void **state)
{
	(void)state;
	FAILS(open_fails("/dev/vfio/devices/vfio7"), SWO_E_IO);
	assert_non_null(strstr(err.text, "/dev/vfio/devices/vfio7"));
	assert_non_null(strstr(err.text, "bound to a VFIO driver"));
	FAILS(open_fails("/dev/vfio/5:other"), SWO_E_DEVICE);
	assert_non_null(strstr(err.text, "no device of that name"));
	FAILS(open_fails("/dev/vfio/noiommu-0"), SWO_E_INVALID);
	FAILS(open_fails("/dev/vfio/5:"), SWO_E_INVALID);
	FAILS(open_fails("/nowhere/at/all"), SWO_E_INVALID);
	fk.group_not_viable = true;
	FAILS(open_fails("/dev/vfio/5:dev0"), SWO_E_STATE);
	assert_non_null(strstr(err.text, "not viable"));
	fk.group_not_viable = false;
	fk.no_iommufd = true;
	FAILS(open_fails("/dev/vfio/devices/vfio0"), SWO_E_UNSUPPORTED);
	assert_non_null(strstr(err.text, "by its group"));
}

static void each_step_of_opening_that_fails_gives_everything_back(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		unsigned long request;
	} steps[] = {
		{"/dev/vfio/devices/vfio0", IOMMU_IOAS_ALLOC},
		{"/dev/vfio/devices/vfio0", VFIO_DEVICE_BIND_IOMMUFD},
		{"/dev/vfio/devices/vfio0", VFIO_DEVICE_ATTACH_IOMMUFD_PT},
		{"/dev/vfio/devices/vfio0", VFIO_DEVICE_GET_INFO},
		{"/dev/vfio/devices/vfio0", VFIO_DEVICE_GET_REGION_INFO},
		{"/dev/vfio/devices/vfio0", VFIO_DEVICE_GET_IRQ_INFO},
		{"/dev/vfio/5:dev0", VFIO_GROUP_GET_STATUS},
		{"/dev/vfio/5:dev0", VFIO_GROUP_SET_CONTAINER},
		{"/dev/vfio/5:dev0", VFIO_SET_IOMMU},
		{"/dev/vfio/5:dev0", VFIO_GROUP_GET_DEVICE_FD},
	};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(steps); i++) {
		fk.fail_request = steps[i].request;
		fk.fail_errno = EIO;
		fk.fail_count = 1;
		FAILS(open_fails(steps[i].path), SWO_E_DEVICE);
		assert_int_equal(err.os_errno, EIO);
		assert_int_equal(fk.fail_count, 0);
		assert_int_equal(fk.open_fds, 0);
		assert_int_equal(fk.device[0].opens, 0);
	}
}

static void a_device_that_is_in_use_is_not_opened_twice(void **state)
{
	(void)state;
	void *dev = open_in("/dev/vfio/devices/vfio0", NULL);

	FAILS(open_fails("/dev/vfio/devices/vfio0"), SWO_E_DEVICE);
	assert_non_null(strstr(err.text, "it is in use"));
	FAILS(open_fails("/dev/vfio/5:dev0"), SWO_E_DEVICE);
	OPS->destroy(dev);
}

#define TOKEN "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"
#define OTHER "cd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"

static int open_with_token(const char *path, const char *token, void **self)
{
	struct swo_vfio_kernel_params params = {
		.size = sizeof(struct swo_vfio_kernel_params), .vf_token = token};

	return kernel_open(&fk_sys, "vf0", path, &params, self, &err);
}

static void a_vf_token_is_passed_on_and_never_shown(void **state)
{
	static const char *const paths[] = {"/dev/vfio/devices/vfio0", "/dev/vfio/5:dev0"};
	void *dev;

	(void)state;
	strcpy(fk.device[0].token, TOKEN);
	for (unsigned i = 0; i < 2; i++) {
		char path[128];

		MUST(open_with_token(paths[i], TOKEN, &dev));
		OPS->destroy(dev);
		/* As the kernel takes it by group: for both. */
		snprintf(path, sizeof(path), "%s vf_token=%s", paths[i], TOKEN);
		dev = open_in(path, NULL);
		OPS->destroy(dev);
		FAILS(open_fails(paths[i]), SWO_E_DEVICE);
		assert_int_equal(err.os_errno, EACCES);
		assert_non_null(strstr(err.text, "pass that token"));
		FAILS(open_with_token(paths[i], OTHER, &dev), SWO_E_DEVICE);
		assert_non_null(strstr(err.text, "is another one"));
		assert_null(strstr(err.text, "cd8d"));
		FAILS(open_with_token(paths[i], "secret", &dev), SWO_E_INVALID);
		assert_non_null(strstr(err.text, "not a UUID"));
		assert_null(strstr(err.text, "secret"));
		snprintf(path, sizeof(path), "%s vf_token=%s0", paths[i], TOKEN);
		FAILS(open_fails(path), SWO_E_INVALID);
		assert_null(strstr(err.text, "bd8d"));
	}
	*fk.device[0].token = '\0';
	for (unsigned i = 0; i < 2; i++) {
		FAILS(open_with_token(paths[i], TOKEN, &dev), SWO_E_DEVICE);
		assert_non_null(strstr(err.text, "requires no VF token"));
		assert_null(strstr(err.text, "bd8d"));
	}
	strcpy(fk.device[0].token, TOKEN);
	fk.no_cdev_token = true;
	FAILS(open_with_token(paths[0], TOKEN, &dev), SWO_E_DEVICE);
	assert_non_null(strstr(err.text, "before Linux 6.17"));
	MUST(open_with_token(paths[1], TOKEN, &dev));
	OPS->destroy(dev);
	FAILS(open_fails("/dev/vfio/nothing vf_token=" TOKEN), SWO_E_INVALID);
	assert_null(strstr(err.text, "bd8d"));
	FAILS(open_fails("/dev/vfio/5:dev0 vf-token=" TOKEN), SWO_E_INVALID);
	assert_non_null(strstr(err.text, "not a VF token"));
	assert_null(strstr(err.text, "bd8d"));
}

static void opened_descriptors_are_adopted(void **state)
{
	struct swo_vfio_kernel_params params = {.size = sizeof(struct swo_vfio_kernel_params)};
	int cdev = fk_sys.open("/dev/vfio/devices/vfio0", 0),
	    iommufd = fk_sys.open("/dev/iommu", 0);
	void *dev;

	(void)state;
	MUST(swo_vfio_context_new(&params.context, &err));
	params.context->sys = &fk_sys;
	MUST(swo_vfio_context_set_iommufd(params.context, iommufd, &err));
	FAILS(swo_vfio_context_set_iommufd(params.context, iommufd, &err), SWO_E_STATE);
	fk.no_iommufd = true; /* it is not opened here */
	MUST(kernel_adopt(&fk_sys, "vf0", cdev, &params, &dev, &err));
	MUST(OPS->dma_map(dev, 0, 4096, -1, 0, &params, 3, &err));
	/* The caller's can be closed at once. */
	fk_sys.close(cdev);
	fk_sys.close(iommufd);
	MUST(OPS->dma_map(dev, 4096, 4096, -1, 0, &params, 3, &err));
	assert_int_equal(fk.map_count, 2);
	OPS->destroy(dev);
	swo_vfio_context_unref(params.context);
}

static void a_descriptor_that_cannot_be_adopted_is_named(void **state)
{
	struct swo_vfio_kernel_params params = {.size = sizeof(struct swo_vfio_kernel_params)};
	int group = fk_sys.open("/dev/vfio/5", 0), cdev = fk_sys.open("/dev/vfio/devices/vfio0", 0);
	void *dev;

	(void)state;
	FAILS(kernel_adopt(&fk_sys, "vf0", 7, &params, &dev, &err), SWO_E_IO);
	assert_non_null(strstr(err.text, "device vf0: cannot use descriptor 7"));
	FAILS(kernel_adopt(&fk_sys, "vf0", group, &params, &dev, &err), SWO_E_DEVICE);
	assert_non_null(strstr(err.text, "no /dev/vfio/devices/vfioN"));
	MUST(swo_vfio_context_new(&params.context, &err));
	params.context->sys = &fk_sys;
	FAILS(swo_vfio_context_set_iommufd(params.context, 7, &err), SWO_E_IO);
	MUST(swo_vfio_context_set_iommufd(params.context, group, &err));
	FAILS(kernel_adopt(&fk_sys, "vf0", cdev, &params, &dev, &err), SWO_E_DEVICE);
	assert_non_null(strstr(err.text, "no /dev/iommu"));
	fk_sys.close(group);
	fk_sys.close(cdev);
	swo_vfio_context_unref(params.context);
}

static void a_map_that_the_iommu_cannot_reach_says_what_it_can(void **state)
{
	static const char *const paths[] = {"/dev/vfio/devices/vfio0", "/dev/vfio/5:dev0"};
	static const uint64_t bad[] = {0xfee00000, 0xfedff000, 0x7ffffff000, 0x8000000000};

	(void)state;
	fk.narrow_iommu = true;
	for (unsigned i = 0; i < 2; i++) {
		void *dev = open_in(paths[i], NULL);

		for (unsigned b = 0; b < SWO_ARRAY_SIZE(bad); b++) {
			FAILS(OPS->dma_map(dev, bad[b], 8192, -1, 0, &err, 3, &err), SWO_E_DEVICE);
			assert_int_equal(err.os_errno, EINVAL);
			assert_non_null(strstr(err.text,
				"can map only 0x0 to 0xfedfffff, 0xfef00000 to 0x7fffffffff"));
		}
		MUST(OPS->dma_map(dev, 0xfef00000, 4096, -1, 0, &err, 3, &err));
		/* Another reason is not explained by the ranges. */
		fk.fail_request = i ? VFIO_IOMMU_MAP_DMA : IOMMU_IOAS_MAP;
		fk.fail_errno = ENOMEM;
		fk.fail_count = 1;
		FAILS(OPS->dma_map(dev, 0, 4096, -1, 0, &err, 3, &err), SWO_E_DEVICE);
		assert_non_null(strstr(err.text, "ulimit -l"));
		OPS->destroy(dev);
	}
}

static void a_released_device_is_closed_and_refuses_everything(void **state)
{
	static const char *const paths[] = {"/dev/vfio/devices/vfio0", "/dev/vfio/5:dev0"};
	enum swo_device_state now;
	uint8_t byte;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		void *dev = open_in(paths[i], NULL);

		MUST(OPS->dma_map(dev, 0, 4096, -1, 0, &err, 3, &err));
		OPS->release(dev);
		assert_int_equal(fk.device[0].opens, 0);
		FAILS(OPS->get_state(dev, &now, &err), SWO_E_DEVICE);
		assert_int_equal(err.os_errno, ENODEV);
		FAILS(OPS->region_read(dev, 7, 0, &byte, 1, &err), SWO_E_PEER_LOST);
		assert_non_null(strstr(err.text, "given back to the host"));
		FAILS(OPS->region_write(dev, 7, 4, &byte, 1, true, &err), SWO_E_PEER_LOST);
		FAILS(OPS->reset(dev, &err), SWO_E_DEVICE);
		OPS->destroy(dev);
	}
}

static void groups_share_one_container(void **state)
{
	(void)state;
	struct swo_vfio_context *context;

	MUST(swo_vfio_context_new(&context, &err));
	void *a = open_in("/dev/vfio/5:dev0", context);
	void *b = open_in("/dev/vfio/6:dev1", context);

	/* A container, two groups, two devices. */
	assert_int_equal(fk.open_fds, 5);
	assert_int_equal(fk.set_iommu_calls, 1);
	OPS->destroy(a);
	OPS->destroy(b);
	/* An empty container has lost its IOMMU, which is set again. */
	a = open_in("/dev/vfio/5:dev0", context);
	assert_int_equal(fk.set_iommu_calls, 2);
	OPS->destroy(a);
	swo_vfio_context_unref(context);
}

/* Paths */

static void put(const char *root, const char *path, bool is_dir)
{
	char full[300];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	if (is_dir)
		assert_int_equal(mkdir(full, 0700), 0);
	else
		fclose(fopen(full, "we"));
}

static void a_path_in_sysfs_leads_to_the_cdev_or_else_to_the_group(void **state)
{
	(void)state;
	char root[] = "/tmp/swo-sysfs-XXXXXX", dev[64], sysfs[64], path[128], text[160];
	struct kernel_where where;

	assert_non_null(mkdtemp(root));
	snprintf(dev, sizeof(dev), "%s/dev", root);
	snprintf(sysfs, sizeof(sysfs), "%s/sys", root);
	struct vfio_sys sys = {.dev = dev, .sysfs = sysfs};
	static const char *const dirs[] = {"dev", "dev/vfio", "dev/vfio/devices", "sys",
		"sys/0000:65:00.1", "sys/kernel", "sys/kernel/iommu_groups",
		"sys/kernel/iommu_groups/12", "sys/kernel/iommu_groups/12/devices",
		"sys/kernel/iommu_groups/12/devices/0000:65:00.1"};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(dirs); i++)
		put(root, dirs[i], true);
	snprintf(path, sizeof(path), "%s/0000:65:00.1", sysfs);
	FAILS(kernel_resolve(&sys, "vf0", path, &where, &err), SWO_E_INVALID);
	assert_non_null(strstr(err.text, "neither a VFIO device nor an IOMMU group"));

	snprintf(text, sizeof(text), "%s/iommu_group", path);
	assert_int_equal(symlink("../../../kernel/iommu_groups/12", text), 0);
	FAILS(kernel_resolve(&sys, "vf0", path, &where, &err), SWO_E_INVALID);
	assert_non_null(strstr(err.text, "not bound"));
	put(root, "dev/vfio/12", false);
	MUST(kernel_resolve(&sys, "vf0", path, &where, &err));
	assert_false(where.by_cdev);
	assert_string_equal(where.device, "0000:65:00.1");
	assert_non_null(strstr(where.node, "/dev/vfio/12"));

	/* A cdev without an iommufd is of no use. */
	put(root, "sys/0000:65:00.1/vfio-dev", true);
	put(root, "sys/0000:65:00.1/vfio-dev/vfio3", true);
	put(root, "dev/vfio/devices/vfio3", false);
	MUST(kernel_resolve(&sys, "vf0", path, &where, &err));
	assert_false(where.by_cdev);
	put(root, "dev/iommu", false);
	MUST(kernel_resolve(&sys, "vf0", path, &where, &err));
	assert_true(where.by_cdev);
	assert_non_null(strstr(where.node, "/dev/vfio/devices/vfio3"));

	/* A group alone is enough when it has one member. */
	snprintf(text, sizeof(text), "%s/vfio/12", dev);
	MUST(kernel_resolve(&sys, "vf0", text, &where, &err));
	assert_string_equal(where.device, "0000:65:00.1");
	put(root, "sys/kernel/iommu_groups/12/devices/0000:65:00.2", true);
	FAILS(kernel_resolve(&sys, "vf0", text, &where, &err), SWO_E_INVALID);
	assert_non_null(strstr(err.text, "2 devices"));
	snprintf(text, sizeof(text), "rm -r '%s'", root);
	assert_int_equal(system(text), 0);
}

static void a_pci_address_stands_for_its_directory(void **state)
{
	(void)state;
	static const char *const good[] = {"0000:65:00.1", "65:00.1", "0:65:0.1"};
	static const char *const none[] = {"0000:65:00.2", "66:00.1", "1:65:00.1"};
	char root[] = "/tmp/swo-sysfs-XXXXXX", dev[64], sysfs[64], text[160];
	static const char *const dirs[] = {"dev", "dev/vfio", "dev/vfio/devices", "sys", "sys/bus",
		"sys/bus/pci", "sys/bus/pci/devices", "sys/bus/pci/devices/0000:65:00.1",
		"sys/bus/pci/devices/0000:65:00.1/vfio-dev",
		"sys/bus/pci/devices/0000:65:00.1/vfio-dev/vfio3"};
	struct kernel_where where;

	assert_non_null(mkdtemp(root));
	snprintf(dev, sizeof(dev), "%s/dev", root);
	snprintf(sysfs, sizeof(sysfs), "%s/sys", root);
	struct vfio_sys sys = {.dev = dev, .sysfs = sysfs};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(dirs); i++)
		put(root, dirs[i], true);
	put(root, "dev/iommu", false);
	put(root, "dev/vfio/devices/vfio3", false);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(good); i++) {
		MUST(kernel_resolve(&sys, "vf0", good[i], &where, &err));
		assert_non_null(strstr(where.node, "/dev/vfio/devices/vfio3"));
		assert_non_null(strstr(where.dir, "/0000:65:00.1"));
	}
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(none); i++) {
		FAILS(kernel_resolve(&sys, "vf0", none[i], &where, &err), SWO_E_INVALID);
		assert_non_null(strstr(err.text, "this host has no PCI device"));
	}
	/* Not addresses: paths that do not exist. */
	FAILS(kernel_resolve(&sys, "vf0", "65:00.8", &where, &err), SWO_E_INVALID);
	FAILS(kernel_resolve(&sys, "vf0", "65:00.1x", &where, &err), SWO_E_INVALID);
	snprintf(text, sizeof(text), "rm -r '%s'", root);
	assert_int_equal(system(text), 0);
}

static void put_text(const char *root, const char *path, const char *text)
{
	char full[256];

	snprintf(full, sizeof(full), "%s/%s", root, path);
	FILE *file = fopen(full, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void what_hinders_a_migration_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *driver, *modalias, *text;
	} cases[] = {
		{NULL, "", "bind the device to its migration driver"},
		{"vfio-pci", "pci:v000015B3d0000101Esv*", "bind the device to mlx5_vfio_pci"},
		{"vfio-pci", "pci:v00008086d00001520sv*", "this kernel has no migration driver"},
		{"mlx5_vfio_pci", "pci:v000015B3d0000101Esv*", "migratable enable"},
		{"mlx5-vfio-pci", "pci:v000015B3d0000101Esv*", "migratable enable"},
		{"qat_vfio_pci", "pci:v00008086d00004941sv*", "its driver qat_vfio_pci does not"},
		/* The more specific of two aliases. */
		{"vfio-pci", "pci:v00001DEDd00001041sv*", "bind the device to special_vfio_pci"},
	};
	char root[] = "/tmp/swo-sysfs-XXXXXX", text[512], why[256];
	struct utsname host;

	assert_int_equal(uname(&host), 0);
	assert_non_null(mkdtemp(root));
	struct vfio_sys sys = {.modules = root};

	put(root, host.release, true);
	snprintf(text, sizeof(text), "%s/modules.alias", host.release);
	put_text(root, text,
		"# Aliases\n"
		"alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n"
		"alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
		"alias vfio_pci:v000015B3d0000101Esv* mlx5_vfio_pci\n"
		"alias vfio_pci:v00001DEDd*sv* general_vfio_pci\n"
		"alias vfio_pci:v00001DEDd00001041sv* special_vfio_pci\n");
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(cases); i++) {
		put(root, "device", true);
		put_text(root, "device/modalias", cases[i].modalias);
		if (cases[i].driver) {
			snprintf(text, sizeof(text), "/sys/bus/pci/drivers/%s", cases[i].driver);
			snprintf(why, sizeof(why), "%s/device/driver", root);
			assert_int_equal(symlink(text, why), 0);
		}
		snprintf(text, sizeof(text), "%s/device", root);
		kernel_why_no_migration(&sys, text, why, sizeof(why));
		if (!strstr(why, cases[i].text))
			fail_msg("case %u: %s", i, why);
		snprintf(text, sizeof(text), "rm -r '%s/device'", root);
		assert_int_equal(system(text), 0);
	}
	snprintf(text, sizeof(text), "rm -r '%s'", root);
	assert_int_equal(system(text), 0);
}

/* The kernel only tries to lock the device: it has it a moment later. */
static void a_reset_that_finds_the_device_locked_is_repeated(void **state)
{
	(void)state;
	void *dev = open_in("/dev/vfio/devices/vfio0", NULL);

	fk.fail_request = VFIO_DEVICE_RESET;
	fk.fail_errno = EAGAIN;
	fk.fail_count = 5;
	MUST(swo_vfio_kernel_ops.reset(dev, &err));
	assert_int_equal(fk.fail_count, 0);
	/* One that stays locked is an error, which names the reason. */
	fk.fail_count = 100000;
	FAILS(swo_vfio_kernel_ops.reset(dev, &err), SWO_E_DEVICE);
	assert_int_equal(err.os_errno, EAGAIN);
	assert_in_range(fk.fail_count, 1, 100000 - 2);
	fk.fail_count = 0;
	swo_vfio_kernel_ops.destroy(dev);
}

/* Regions and interrupts:
 */

static void regions_are_read_and_written_completely(void **state)
{
	(void)state;
	void *dev = open_in("/dev/vfio/devices/vfio0", NULL);
	struct swo_region_info info;
	uint8_t buf[16] = {0}, back[16];
	uint64_t offset, from, size;
	int fd;

	for (uint8_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i + 1);
	fk.interrupts = 3;
	MUST(OPS->region_write(dev, 7, 64, buf, sizeof(buf), true, &err));
	MUST(OPS->region_read(dev, 7, 64, back, sizeof(back), &err));
	assert_memory_equal(buf, back, sizeof(buf));
	FAILS(OPS->region_read(dev, 7, 250, back, 8, &err), SWO_E_INVALID);
	FAILS(OPS->region_read(dev, 30, 0, back, 8, &err), SWO_E_INVALID);
	MUST(OPS->region_info(dev, 8, &info, &err));
	assert_int_equal(info.size, 0);
	MUST(OPS->region_info(dev, 0, &info, &err));
	assert_int_equal(info.flags, 7);
	/* The larger of the two areas. */
	MUST(OPS->region_fd(dev, 0, &fd, &offset, &from, &size, &err));
	assert_int_equal(offset, 8192);
	assert_int_equal(from, 8192);
	assert_int_equal(size, 8192);
	FAILS(OPS->region_fd(dev, 7, &fd, &offset, &from, &size, &err), SWO_E_UNSUPPORTED);
	OPS->destroy(dev);
}

static void a_wrong_description_of_a_region_is_refused(void **state)
{
	(void)state;
	struct {
		struct vfio_region_info info;
		struct vfio_region_info_cap_sparse_mmap sparse;
		struct vfio_region_sparse_mmap_area area;
	} good = {.info = {.argsz = sizeof(good),
			  .flags = VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS,
			  .size = 8192,
			  .cap_offset = sizeof(good.info)},
		.sparse = {.header = {.id = 1, .version = 1}, .nr_areas = 1},
		.area = {.offset = 4096, .size = 4096}},
	  bad;
	static struct device_regions all = {.device = "vf0", .from = "driver"};

	MUST(device_region_parse(&all, 0, &good, sizeof(good), &err));
	assert_int_equal(all.region[0].area_offset, 4096);
	bad = good;
	bad.area.size = 8192;
	FAILS(device_region_parse(&all, 0, &bad, sizeof(bad), &err), SWO_E_PROTOCOL);
	bad = good;
	bad.sparse.nr_areas = 2;
	FAILS(device_region_parse(&all, 0, &bad, sizeof(bad), &err), SWO_E_PROTOCOL);
	bad = good;
	bad.info.cap_offset = sizeof(bad) - 4;
	FAILS(device_region_parse(&all, 0, &bad, sizeof(bad), &err), SWO_E_PROTOCOL);
	bad = good;
	bad.sparse.header.next = bad.info.cap_offset;
	FAILS(device_region_parse(&all, 0, &bad, sizeof(bad), &err), SWO_E_PROTOCOL);
	bad = good;
	bad.info.size = UINT64_MAX;
	FAILS(device_region_parse(&all, 0, &bad, sizeof(bad), &err), SWO_E_PROTOCOL);
}

static void vectors_get_their_eventfds_and_lose_them(void **state)
{
	(void)state;
	void *dev = open_in("/dev/vfio/devices/vfio0", NULL);
	struct swo_irq_info info;

	MUST(OPS->irq_info(dev, VFIO_PCI_MSIX_IRQ_INDEX, &info, &err));
	assert_int_equal(info.count, 4);
	/* A disabled interrupt is not disabled again; the kernel would refuse. */
	MUST(OPS->set_irqs(dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, NULL, 0, &err));
	MUST(OPS->set_irqs(dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, (int[]){11, 12, 13}, 3, &err));
	MUST(OPS->set_irqs(dev, VFIO_PCI_MSIX_IRQ_INDEX, 1, (int[]){-1}, 1, &err));
	assert_int_equal(fk.device[0].irq_fds[0], 11);
	assert_int_equal(fk.device[0].irq_fds[1], -1);
	assert_int_equal(fk.device[0].irq_fds[2], 13);
	FAILS(OPS->set_irqs(dev, VFIO_PCI_MSIX_IRQ_INDEX, 3, (int[]){1, 2}, 2, &err),
		SWO_E_INVALID);
	MUST(OPS->set_irqs(dev, VFIO_PCI_MSIX_IRQ_INDEX, 0, NULL, 0, &err));
	assert_int_equal(fk.device[0].irqs_on, 0);
	OPS->destroy(dev);
}

/* DMA maps:
 */

static uint8_t ram[65536];

static void maps_are_made_and_taken_away(const char *path)
{
	void *dev = open_in(path, NULL);

	MUST(OPS->dma_map(dev, 0x10000, 0x8000, -1, 0, ram, 3, &err));
	assert_int_equal(fk.map_count, 1);
	assert_int_equal(fk.maps[0].iova, 0x10000);
	assert_int_equal(fk.maps[0].size, 0x8000);
	assert_int_equal(fk.maps[0].vaddr, (uintptr_t)ram);
	FAILS(OPS->dma_map(dev, 0x10000, 0x8000, -1, 0, ram, 3, &err), SWO_E_INVALID);
	FAILS(OPS->dma_map(dev, 0x14000, 0x8000, -1, 0, ram, 3, &err), SWO_E_DEVICE);
	FAILS(OPS->dma_map(dev, 0, 0, -1, 0, ram, 3, &err), SWO_E_INVALID);
	FAILS(OPS->dma_map(dev, UINT64_MAX, 2, -1, 0, ram, 3, &err), SWO_E_INVALID);
	FAILS(OPS->dma_unmap(dev, 0x10000, 0x4000, &err), SWO_E_INVALID);
	MUST(OPS->dma_unmap(dev, 0x10000, 0x8000, &err));
	assert_int_equal(fk.map_count, 0);
	/* The remaining maps are removed with the device. */
	MUST(OPS->dma_map(dev, 0, 0x8000, -1, 0, ram, 1, &err));
	OPS->destroy(dev);
}

static void maps_are_added_and_removed_by_both_interfaces(void **state)
{
	(void)state;
	maps_are_made_and_taken_away("/dev/vfio/devices/vfio0");
	maps_are_made_and_taken_away("/dev/vfio/5:dev0");
}

static void devices_that_share_a_context_map_once(void **state)
{
	(void)state;
	static const char *const paths[2][2] = {
		{"/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1"},
		{"/dev/vfio/5:dev0", "/dev/vfio/6:dev1"}};

	for (unsigned i = 0; i < 2; i++) {
		struct swo_vfio_context *context;

		MUST(swo_vfio_context_new(&context, &err));
		void *a = open_in(paths[i][0], context), *b = open_in(paths[i][1], context);

		MUST(OPS->dma_map(a, 0, 0x8000, -1, 0, ram, 3, &err));
		MUST(OPS->dma_map(b, 0, 0x8000, -1, 0, ram, 3, &err));
		assert_int_equal(fk.map_count, 1);
		MUST(OPS->dma_unmap(a, 0, 0x8000, &err));
		assert_int_equal(fk.map_count, 1);
		OPS->destroy(b);
		assert_int_equal(fk.map_count, 0);
		OPS->destroy(a);
		swo_vfio_context_unref(context);
	}
}

static void write_command(void *dev, uint16_t command)
{
	MUST(OPS->region_write(dev, 7, 4, &command, sizeof(command), false, &err));
}

static void a_siblings_bar_is_mapped_by_its_fd(void **state)
{
	(void)state;
	struct swo_vfio_context *context;
	uint64_t offset, from, size;
	int fd;

	MUST(swo_vfio_context_new(&context, &err));
	void *a = open_in("/dev/vfio/5:dev0", context), *b = open_in("/dev/vfio/6:dev1", context);

	MUST(OPS->region_fd(b, 0, &fd, &offset, &from, &size, &err));
	MUST(OPS->dma_map(a, 0x80000000, size, fd, offset, NULL, 3, &err));
	assert_int_equal(fk.mmaps, 1);
	assert_int_equal(fk.map_count, 1);
	MUST(OPS->dma_unmap(a, 0x80000000, size, &err));
	assert_int_equal(fk.mmaps, 0);
	write_command(b, 2);
	/* A kernel that does not accept such memory returns an error, and no map is left. */
	fk.fail_request = VFIO_IOMMU_MAP_DMA;
	fk.fail_errno = EFAULT;
	fk.fail_count = 1;
	FAILS(OPS->dma_map(a, 0x80000000, size, fd, offset, NULL, 3, &err), SWO_E_DEVICE);
	assert_non_null(strstr(err.text, "cannot map this kind of memory"));
	assert_int_equal(fk.mmaps, 0);
	OPS->destroy(a);
	OPS->destroy(b);
	swo_vfio_context_unref(context);
}

static void iommufd_maps_a_siblings_bar_as_a_dma_buf(void **state)
{
	struct swo_vfio_context *context;
	uint64_t offset, from, size;
	int fd;

	(void)state;
	MUST(swo_vfio_context_new(&context, &err));
	void *a = open_in("/dev/vfio/devices/vfio0", context);
	void *b = open_in("/dev/vfio/devices/vfio1", context);

	MUST(OPS->region_fd(b, 0, &fd, &offset, &from, &size, &err));
	write_command(b, 2);
	/* Without: there is no other way. */
	FAILS(OPS->dma_map(a, 0x80000000, size, fd, offset, NULL, 3, &err), SWO_E_DEVICE);
	assert_non_null(strstr(err.text, "Linux 6.19"));
	assert_int_equal(fk.mmaps, 0);
	fk.has_dmabuf = true;
	MUST(OPS->dma_map(a, 0x80000000, size, fd, offset, NULL, 3, &err));
	assert_int_equal(fk.map_count, 1);
	assert_int_equal(fk.maps[0].dmabuf_of, 2);
	assert_int_equal(fk.mmaps, 0);
	/* It is revoked while the owner does not decode, and then there again. */
	write_command(b, 0);
	assert_int_equal(fk.map_count, 0);
	write_command(b, 6);
	assert_int_equal(fk.map_count, 1);
	assert_int_equal(fk.maps[0].iova, 0x80000000);
	MUST(OPS->reset(b, &err));
	assert_int_equal(fk.map_count, 1);
	MUST(OPS->dma_unmap(a, 0x80000000, size, &err));
	assert_int_equal(fk.map_count, 0);
	/* Too early: once the owner decodes. */
	write_command(b, 0);
	MUST(OPS->dma_map(a, 0x90000000, size, fd, offset, NULL, 3, &err));
	assert_int_equal(fk.map_count, 0);
	write_command(b, 2);
	assert_int_equal(fk.map_count, 1);
	OPS->destroy(b); /* before its sibling */
	MUST(OPS->dma_unmap(a, 0x90000000, size, &err));
	OPS->destroy(a);
	swo_vfio_context_unref(context);
}

static void a_function_that_is_no_vf_is_mapped_once_it_decodes(void **state)
{
	struct swo_vfio_context *context;
	uint64_t offset, from, size;
	int fd;

	(void)state;
	fk.no_vf = true;
	MUST(swo_vfio_context_new(&context, &err));
	void *a = open_in("/dev/vfio/5:dev0", context), *b = open_in("/dev/vfio/6:dev1", context);

	MUST(OPS->region_fd(b, 0, &fd, &offset, &from, &size, &err));
	MUST(OPS->dma_map(a, 0x80000000, size, fd, offset, NULL, 3, &err));
	assert_int_equal(fk.map_count, 0);
	write_command(b, 2);
	assert_int_equal(fk.map_count, 1);
	/* type1 keeps it. */
	write_command(b, 0);
	write_command(b, 2);
	assert_int_equal(fk.map_count, 1);
	OPS->destroy(a);
	OPS->destroy(b);
	swo_vfio_context_unref(context);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_device_opens_by_cdev_and_by_group),
		CASE(the_reason_of_a_failed_open_is_reported),
		CASE(each_step_of_opening_that_fails_gives_everything_back),
		CASE(a_device_that_is_in_use_is_not_opened_twice),
		CASE(a_vf_token_is_passed_on_and_never_shown),
		CASE(opened_descriptors_are_adopted),
		CASE(a_descriptor_that_cannot_be_adopted_is_named),
		CASE(a_map_that_the_iommu_cannot_reach_says_what_it_can),
		CASE(a_released_device_is_closed_and_refuses_everything),
		CASE(groups_share_one_container),
		CASE(a_reset_that_finds_the_device_locked_is_repeated),
		CASE(a_pci_address_stands_for_its_directory),
		CASE(what_hinders_a_migration_is_named),
		CASE(a_path_in_sysfs_leads_to_the_cdev_or_else_to_the_group),
		CASE(regions_are_read_and_written_completely),
		CASE(a_wrong_description_of_a_region_is_refused),
		CASE(vectors_get_their_eventfds_and_lose_them),
		CASE(maps_are_added_and_removed_by_both_interfaces),
		CASE(devices_that_share_a_context_map_once),
		CASE(a_siblings_bar_is_mapped_by_its_fd),
		CASE(iommufd_maps_a_siblings_bar_as_a_dma_buf),
		CASE(a_function_that_is_no_vf_is_mapped_once_it_decodes),
	};

	return cmocka_run_group_tests_name("vfio_kernel", tests, NULL, NULL);
}
