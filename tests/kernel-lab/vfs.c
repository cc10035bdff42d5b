/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfs.c - makes VFs: opens a PF that is bound to vfio-pci, sets a VF token, turns on so many VFs,
 * binds them to simvf_pci, and holds the PF, since vfio-pci takes its VFs away with it.
 */
#include "testbed/pair/pair.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PCI "/sys/bus/pci"

/* 82576 data sheet, 8.8.13: a VF's MSI-X interrupts need the PF in this mode. */
#define IGB_PF	      0x10c9
#define IGB_GPIE      0x1514
#define IGB_GPIE_MSIX 0x10

#ifndef VFIO_DEVICE_FEATURE_PCI_VF_TOKEN /* 5.7 */
#define VFIO_DEVICE_FEATURE_PCI_VF_TOKEN 0
#endif

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die(path);
	close(fd);
}

static void bind_to(const char *address, const char *driver)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), PCI "/devices/%s/driver_override", address);
	put(path, driver);
	snprintf(path, sizeof(path), PCI "/devices/%s/driver/unbind", address);
	if (!access(path, F_OK))
		put(path, address);
	put(PCI "/drivers_probe", address);
	snprintf(path, sizeof(path), PCI "/drivers/%s/%s", driver, address);
	if (access(path, F_OK))
		die(path);
}

static void find_group(const char *address, char out[PATH_MAX])
{
	char link[PATH_MAX], path[PATH_MAX];

	snprintf(path, sizeof(path), PCI "/devices/%s/iommu_group", address);
	ssize_t n = readlink(path, link, sizeof(link) - 1);

	if (n < 0)
		die(path);
	link[n] = '\0';
	snprintf(out, PATH_MAX, "/dev/vfio/%.16s", strrchr(link, '/') + 1);
}

static int open_device(const char *address)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char node[PATH_MAX];

	find_group(address, node);
	int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	int group = open(node, O_RDWR | O_CLOEXEC);

	if (container < 0 || group < 0 || ioctl(group, VFIO_GROUP_GET_STATUS, &status) ||
		ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
		ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die(node);
	int fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);

	if (fd < 0)
		die(address);
	return fd;
}

static void set_token(int device, const char *text)
{
	struct {
		struct vfio_device_feature feature;
		uint8_t uuid[16];
	} set = {.feature = {.argsz = sizeof(set),
			 .flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN}};

	for (unsigned i = 0; i < sizeof(set.uuid); text++)
		if (*text != '-') {
			char digits[3] = {text[0], text[1], '\0'};

			set.uuid[i++] = (uint8_t)strtoul(digits, NULL, 16);
			text++;
		}
	if (ioctl(device, VFIO_DEVICE_FEATURE, &set))
		die("VF token");
}

static void let_vfs_interrupt(int device)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX};
	struct vfio_region_info bar = {.argsz = sizeof(bar), .index = 0};
	uint32_t mode = IGB_GPIE_MSIX;
	uint16_t id[2], command = 0;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
		ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
		pread(device, id, sizeof(id), (off_t)config.offset) != sizeof(id))
		die("PF");
	if (id[0] != 0x8086 || id[1] != IGB_PF)
		return;
	if (pread(device, &command, 2, (off_t)config.offset + 4) != 2)
		die("PF's command");
	command |= 2; /* memory */
	if (pwrite(device, &command, 2, (off_t)config.offset + 4) != 2 ||
		pwrite(device, &mode, 4, (off_t)bar.offset + IGB_GPIE) != 4)
		die("PF's GPIE");
}

static void bind_vfs(const char *pf, unsigned count)
{
	char path[PATH_MAX], link[PATH_MAX];

	for (unsigned i = 0; i < count; i++) {
		snprintf(path, sizeof(path), PCI "/devices/%s/virtfn%u", pf, i);
		ssize_t n = readlink(path, link, sizeof(link) - 1);

		if (n < 0)
			die(path);
		link[n] = '\0';
		bind_to(strrchr(link, '/') + 1, "simvf_pci");
	}
}

/* lab-vfs ADDRESS NUMBER: prints a line when they are there, and stays. */
int main(int argc, char **argv)
{
	char path[PATH_MAX];

	if (argc != 3)
		return 2;
	bind_to(argv[1], "vfio-pci");
	int device = open_device(argv[1]);

	set_token(device, PAIR_VF_TOKEN);
	let_vfs_interrupt(device);
	snprintf(path, sizeof(path), PCI "/devices/%s/sriov_drivers_autoprobe", argv[1]);
	put(path, "0");
	snprintf(path, sizeof(path), PCI "/devices/%s/sriov_numvfs", argv[1]);
	put(path, argv[2]);
	bind_vfs(argv[1], (unsigned)atoi(argv[2]));
	puts("bound");
	fflush(stdout);
	pause();
	return 0;
}
