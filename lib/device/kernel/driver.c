/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver.c - why a device does not migrate: the driver that it is bound to, and the one that the
 * kernel has for it. Read when there is an error to explain.
 */
#include "device/kernel/internal.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define ALIAS_MAX 256

/* The name at the end of a link in the device's directory. */
static bool link_name(const char *dir, const char *link, char *out, size_t room)
{
	char path[PATH_MAX + 16], target[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, link);
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	if (len <= 0)
		return false;
	target[len] = '\0';
	const char *name = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;

	return strlen(name) < room && strcpy(out, name);
}

static bool read_line(const char *path, char *out, int room)
{
	FILE *file = fopen(path, "re");
	bool got = file && fgets(out, room, file);

	if (file)
		fclose(file);
	if (got)
		out[strcspn(out, "\n")] = '\0';
	return got;
}

static unsigned wildcards(const char *pattern)
{
	unsigned n = 0;

	for (; *pattern; pattern++)
		n += *pattern == '*';
	return n;
}

/*
 * The module with the most specific alias vfio_pci:..., which the variant drivers have beside
 * pci:...; as libvirt chooses it.
 */
static bool find_variant(const struct vfio_sys *sys, const char *dir, char *module, size_t room)
{
	char path[PATH_MAX + 16], line[ALIAS_MAX * 2], alias[ALIAS_MAX], wanted[ALIAS_MAX + 8];
	struct utsname host;
	unsigned least = UINT_MAX;

	snprintf(path, sizeof(path), "%s/modalias", dir);
	if (!read_line(path, alias, sizeof(alias)) || strncmp(alias, "pci:", 4) != 0 ||
		uname(&host))
		return false;
	snprintf(wanted, sizeof(wanted), "vfio_%s", alias);
	snprintf(path, sizeof(path), "%s/%s/modules.alias", sys->modules, host.release);
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file)) {
		char pattern[ALIAS_MAX], name[64];

		if (sscanf(line, "alias %255s %63s", pattern, name) != 2 ||
			strncmp(pattern, "vfio_pci:", 9) != 0 || !strcmp(name, "vfio_pci") ||
			fnmatch(pattern, wanted, 0) || wildcards(pattern) >= least ||
			strlen(name) >= room)
			continue;
		least = wildcards(pattern);
		strcpy(module, name);
	}
	if (file)
		fclose(file);
	return least != UINT_MAX;
}

/* sysfs writes mlx5_vfio_pci with underscores or hyphens, as the driver is registered. */
static bool same(const char *a, const char *b)
{
	for (; *a && (*a == *b || ((*a == '-' || *a == '_') && (*b == '-' || *b == '_'))); a++, b++)
		;
	return !*a && !*b;
}

void kernel_why_no_migration(const struct vfio_sys *sys, const char *dir, char *out, size_t room)
{
	char driver[64] = "", variant[64] = "";

	if (!*dir || !link_name(dir, "driver", driver, sizeof(driver)))
		snprintf(out, room,
			"its driver does not offer migration; bind the device to its migration driver "
			"(mlx5_vfio_pci, for instance) instead of vfio-pci");
	else if (find_variant(sys, dir, variant, sizeof(variant)) && !same(driver, variant))
		snprintf(out, room,
			"its driver %s does not offer migration; bind the device to %s, which this "
			"kernel has for it (docs/device.md)",
			driver, variant);
	else if (same(driver, "vfio-pci"))
		snprintf(out, room,
			"its driver vfio-pci does not offer migration, and this kernel has no "
			"migration driver for it (is the driver's option set in the kernel?)");
	else if (same(driver, "mlx5_vfio_pci"))
		snprintf(out, room,
			"its driver %s does not offer migration; allow it for this function: "
			"devlink port function set ... migratable enable, before it is bound",
			driver);
	else
		snprintf(out, room,
			"its driver %s does not offer migration for it; see the driver's "
			"documentation for the firmware that it needs",
			driver);
}
