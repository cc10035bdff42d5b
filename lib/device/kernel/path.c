/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path.c - from the path of a device to the node that opens it: a cdev, a group and a device in
 * it, or a path in sysfs that leads to either.
 */
#include "base/uuid.h"
#include "device/kernel/internal.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int too_long(const char *name, const char *path, struct swo_error *err)
{
	return swo_error_set(
		err, SWO_E_INVALID, 0, "device %s: path '%.100s' is too long", name, path);
}

static bool all_digits(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return len > 0;
}

/* The number of entries of a directory, and the first. -1: no such directory. */
static int list(const char *path, const char *prefix, char *first, size_t room)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	int count = 0;

	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		if (!count++)
			snprintf(first, room, "%s", entry->d_name);
	}
	closedir(dir);
	return count;
}

/* The only device of a group, if none is named. */
static int find_member(const struct vfio_sys *sys, const char *name, const char *group, size_t len,
	struct kernel_where *where, struct swo_error *err)
{
	char path[VK_PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%.*s/devices", sys->sysfs,
		(int)len, group);

	if (n < 0 || (size_t)n >= sizeof(path))
		return too_long(name, group, err);
	int count = list(path, "", where->device, sizeof(where->device));

	if (count == 1)
		return 0;
	if (count < 0)
		return swo_error_set(err, SWO_E_IO, errno,
			"device %s: cannot list %s; is there a group %.*s", name, path, (int)len,
			group);
	return swo_error_set(err, SWO_E_INVALID, 0,
		"device %s: group %.*s has %d devices; select one as %s/vfio/%.*s:NAME (names are "
		"in %s)",
		name, (int)len, group, count, sys->dev, (int)len, group, path);
}

static int from_group(const struct vfio_sys *sys, const char *name, const char *path,
	const char *group, struct kernel_where *where, struct swo_error *err)
{
	size_t len = strcspn(group, ":");

	if (!all_digits(group, len))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: '%.100s' is not a group: expected %s/vfio/NUMBER[:NAME] (noiommu "
			"groups cannot migrate)",
			name, path, sys->dev);
	int n = snprintf(
		where->node, sizeof(where->node), "%s/vfio/%.*s", sys->dev, (int)len, group);

	if (n < 0 || (size_t)n >= sizeof(where->node))
		return too_long(name, path, err);
	if (!group[len])
		return find_member(sys, name, group, len, where, err);
	n = snprintf(where->device, sizeof(where->device), "%s", group + len + 1);
	if (!group[len + 1])
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: missing device name after the ':' of '%.100s'", name, path);
	return n < 0 || (size_t)n >= sizeof(where->device) ? too_long(name, path, err) : 0;
}

/* 1: there is a cdev, and an iommufd for it, and this user may open it; 0: no. */
static int try_cdev(const struct vfio_sys *sys, const char *device, struct kernel_where *where)
{
	char dir[PATH_MAX + 16], vfio[VK_NAME_MAX], iommu[VK_PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/vfio-dev", device);
	snprintf(iommu, sizeof(iommu), "%s/iommu", sys->dev);
	if (list(dir, "vfio", vfio, sizeof(vfio)) < 1 || access(iommu, F_OK))
		return 0;
	int n = snprintf(where->node, sizeof(where->node), "%s/vfio/devices/%s", sys->dev, vfio);

	where->by_cdev = true;
	return n > 0 && (size_t)n < sizeof(where->node) && !access(where->node, R_OK | W_OK);
}

static int from_sysfs(const struct vfio_sys *sys, const char *name, const char *path,
	struct kernel_where *where, struct swo_error *err)
{
	char device[PATH_MAX], link[PATH_MAX + 16], group[PATH_MAX];

	if (!realpath(path, device))
		return swo_error_set(err, SWO_E_INVALID, errno, "device %s: '%.200s'", name, path);
	if (strlen(device) >= sizeof(where->dir))
		return too_long(name, path, err);
	strcpy(where->dir, device);
	if (try_cdev(sys, device, where))
		return 0;
	where->by_cdev = false;
	snprintf(link, sizeof(link), "%s/iommu_group", device);
	ssize_t len = readlink(link, group, sizeof(group) - 1);

	if (len < 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: '%.200s' has neither a VFIO device nor an IOMMU group; bind it "
			"to a VFIO driver first (docs/device.md)",
			name, path);
	group[len] = '\0';
	const char *number = strrchr(group, '/') ? strrchr(group, '/') + 1 : group;
	int n = snprintf(where->node, sizeof(where->node), "%s/vfio/%.32s", sys->dev, number);
	int m = snprintf(where->device, sizeof(where->device), "%.100s", strrchr(device, '/') + 1);

	if (n < 0 || (size_t)n >= sizeof(where->node) || m < 0)
		return too_long(name, path, err);
	if (access(where->node, F_OK))
		return swo_error_set(err, SWO_E_INVALID, errno,
			"device %s: '%.200s' is not bound to a VFIO driver (no %s)", name, path,
			where->node);
	return 0;
}

/* "DDDD:BB:SS.F" or "BB:SS.F" */
static bool is_pci_address(const char *text, char out[16])
{
	unsigned domain = 0, bus, slot, function;
	int end = -1;

	if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &end) != 4) {
		domain = 0;
		if (sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &end) != 3)
			return false;
	}
	if (end < 0 || text[end] || slot > 31 || function > 7)
		return false;
	snprintf(out, 16, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff, slot, function);
	return true;
}

/* For explanations only: the directory is left empty where it is not found. */
static void find_dir(const struct vfio_sys *sys, struct kernel_where *where)
{
	char path[2 * VK_PATH_MAX + 64], device[PATH_MAX];

	if (where->by_cdev)
		snprintf(path, sizeof(path), "%s/class/vfio-dev/%.64s/device", sys->sysfs,
			strrchr(where->node, '/') + 1);
	else
		snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%.16s/devices/%.64s",
			sys->sysfs, strrchr(where->node, '/') + 1, where->device);
	if (realpath(path, device) && strlen(device) < sizeof(where->dir))
		strcpy(where->dir, device);
}

int kernel_check_token(const char *name, const char *token, struct swo_error *err)
{
	if (base_uuid_begins(token) && !token[BASE_UUID_LEN])
		return 0;
	return swo_error_set(err, SWO_E_INVALID, 0,
		"device %s: its VF token is not a UUID: expected 32 hexadecimal digits in groups of 8, "
		"4, 4, 4 and 12",
		name);
}

/* What follows the path is a secret: it is in no message. */
static int split_token(const char *name, const char *path, char bare[PATH_MAX],
	struct kernel_where *where, struct swo_error *err)
{
	static const char key[] = " vf_token=";
	const size_t len = strcspn(path, " ");
	const char *at = path + len;

	if (len >= PATH_MAX)
		return too_long(name, "(longer than any)", err);
	memcpy(bare, path, len);
	bare[len] = '\0';
	if (!*at)
		return 0;
	if (strncmp(at, key, sizeof(key) - 1) != 0)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s: what follows '%.100s' is not a VF token: expected vf_token=UUID",
			name, bare);
	at += sizeof(key) - 1;
	if (kernel_check_token(name, at, err))
		return -1;
	strcpy(where->token, at);
	return 0;
}

/* By its number, since the node may be in another namespace. */
void kernel_resolve_fd(const struct vfio_sys *sys, int fd, struct kernel_where *where)
{
	char path[VK_PATH_MAX], device[PATH_MAX];
	struct stat st;

	*where = (struct kernel_where){.by_cdev = true, .fd = fd};
	snprintf(where->node, sizeof(where->node), "descriptor %d", fd);
	if (fstat(fd, &st) || !S_ISCHR(st.st_mode))
		return;
	snprintf(path, sizeof(path), "%s/dev/char/%u:%u/device", sys->sysfs, major(st.st_rdev),
		minor(st.st_rdev));
	if (realpath(path, device) && strlen(device) < sizeof(where->dir))
		strcpy(where->dir, device);
}

int kernel_resolve(const struct vfio_sys *sys, const char *name, const char *given,
	struct kernel_where *where, struct swo_error *err)
{
	char prefix[VK_PATH_MAX], address[16], in_sysfs[VK_PATH_MAX], path[PATH_MAX];

	*where = (struct kernel_where){.fd = -1};
	if (split_token(name, given, path, where, err))
		return -1;
	snprintf(prefix, sizeof(prefix), "%s/vfio/", sys->dev);
	size_t len = strlen(prefix);

	if (is_pci_address(path, address)) {
		snprintf(in_sysfs, sizeof(in_sysfs), "%s/bus/pci/devices/%s", sys->sysfs, address);
		if (access(in_sysfs, F_OK))
			return swo_error_set(err, SWO_E_INVALID, 0,
				"device %s: this host has no PCI device %s", name, address);
		return from_sysfs(sys, name, in_sysfs, where, err);
	}
	if (strncmp(path, prefix, len) != 0)
		return from_sysfs(sys, name, path, where, err);
	if (strncmp(path + len, "devices/", 8) != 0) {
		if (from_group(sys, name, path, path + len, where, err))
			return -1;
		find_dir(sys, where);
		return 0;
	}
	where->by_cdev = true;
	int n = snprintf(where->node, sizeof(where->node), "%s", path);

	if (n < 0 || (size_t)n >= sizeof(where->node))
		return too_long(name, path, err);
	find_dir(sys, where);
	return 0;
}
