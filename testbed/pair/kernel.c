/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kernel.c - the devices of simvf.ko and simvf_pci.ko as devices of a pair: one kernel has the
 * devices of both sides. They are configured and queried through sysfs (docs/kmod.md).
 */
#include "testbed/pair/pair.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLATFORM "/sys/bus/platform/devices/simvf"
#define PCI	 "/sys/bus/pci/drivers/simvf_pci"
#define TEXT_MAX 4096 /* maximum size of a file in sysfs */

bool pair_config_is_kernel(const struct pair_config *config)
{
	return !strcmp(config->backend, "kernel") || !strcmp(config->backend, "pci");
}

bool pair_is_kernel(const struct pair *pair)
{
	return pair_config_is_kernel(pair->config);
}

bool pair_is_pci(const struct pair *pair)
{
	return !strcmp(pair->config->backend, "pci");
}

static int is_function(const struct dirent *entry)
{
	return strchr(entry->d_name, ':') != NULL;
}

/* In the order of their addresses; returns their number, and the address of one. */
static unsigned find_function(unsigned index, char out[PAIR_BDF_MAX])
{
	struct dirent **functions;
	int count = scandir(PCI, &functions, is_function, alphasort);

	out[0] = '\0';
	for (int i = 0; i < count; i++) {
		if ((unsigned)i == index)
			snprintf(out, PAIR_BDF_MAX, "%.12s", functions[i]->d_name);
		free(functions[i]);
	}
	if (count >= 0)
		free(functions);
	return count < 0 ? 0 : (unsigned)count;
}

void pair_pci_address(
	const struct pair *pair, enum pair_side side, unsigned i, char out[PAIR_BDF_MAX])
{
	find_function(pair_kernel_number(pair, side, i), out);
}

/* The hosts keep their devices when source and target swap roles. */
unsigned pair_kernel_number(const struct pair *pair, enum pair_side side, unsigned i)
{
	bool second = (side == PAIR_TARGET) != pair->turned;

	return (second ? pair->vfs : 0) + i;
}

/* The name of a mediated device follows tests/kernel-lab/bed.c. */
void pair_kernel_path(
	const struct pair *pair, enum pair_side side, unsigned i, char out[PAIR_PATH_MAX])
{
	char address[PAIR_BDF_MAX];

	if (pair_is_pci(pair)) {
		pair_pci_address(pair, side, i, address);
		snprintf(out, PAIR_PATH_MAX, PCI "/%s", address);
		return;
	}
	snprintf(out, PAIR_PATH_MAX,
		pair->vmm->cdev ? "/sys/bus/mdev/devices/51d5f000-0000-4000-8000-%012x"
				: PLATFORM ".%u",
		pair_kernel_number(pair, side, i));
}

static int fault(const char *path, struct swo_error *err)
{
	if (errno == ENOENT)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"no device '%s'; load simvf.ko with devices=N, N at least twice the largest "
			"of --vfs",
			path);
	return swo_error_set(err, SWO_E_IO, errno, "%s", path);
}

void pair_group_node(
	const struct pair *pair, enum pair_side side, unsigned i, char *out, size_t room)
{
	char device[PAIR_PATH_MAX], link[PAIR_PATH_MAX + 16], group[PAIR_PATH_MAX];

	pair_kernel_path(pair, side, i, device);
	snprintf(link, sizeof(link), "%s/iommu_group", device);
	ssize_t len = readlink(link, group, sizeof(group) - 1);
	group[len < 0 ? 0 : len] = '\0';
	const char *number = strrchr(group, '/');

	snprintf(out, room, "/dev/vfio/%s:%s%s", number ? number + 1 : "", strrchr(device, '/') + 1,
		pair_is_pci(pair) ? " vf_token=" PAIR_VF_TOKEN : "");
}

static int check_functions(unsigned devices, struct swo_error *err)
{
	char address[PAIR_BDF_MAX];
	unsigned count = find_function(0, address);

	if (count < devices)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"%u PCI functions are bound to simvf_pci, and twice the largest of --vfs is %u",
			count, devices);
	return 0;
}

int pair_check_kernel(const struct pair_config *config, unsigned devices, struct swo_error *err)
{
	char path[PAIR_PATH_MAX];

	if (!strcmp(config->backend, "pci"))
		return check_functions(devices, err);
	snprintf(path, sizeof(path), PLATFORM ".%u", devices - 1);
	return access(path, F_OK) ? fault(path, err) : 0;
}

static void file_path(const struct pair *pair, enum pair_side side, unsigned i, const char *file,
	char out[2 * PAIR_PATH_MAX])
{
	char device[PAIR_PATH_MAX];

	pair_kernel_path(pair, side, i, device);
	snprintf(out, 2 * PAIR_PATH_MAX, "%s/%s", device, file);
}

int pair_kernel_put(const struct pair *pair, enum pair_side side, unsigned i, const char *file,
	const char *text, struct swo_error *err)
{
	char path[2 * PAIR_PATH_MAX];
	size_t len = strlen(text);

	file_path(pair, side, i, file, path);
	swo_autofd int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		return fault(path, err);
	return 0;
}

static int get(const struct pair *pair, enum pair_side side, unsigned i, const char *file,
	char text[TEXT_MAX + 1], struct swo_error *err)
{
	char path[2 * PAIR_PATH_MAX];

	file_path(pair, side, i, file, path);
	swo_autofd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, TEXT_MAX);
	if (len < 0)
		return fault(path, err);
	text[len] = '\0';
	return 0;
}

int pair_kernel_prepare(struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err)
{
	int pf = pair_pf_of(pair->config, i);
	char number[16], state[48];

	/* Each side has its own firmware, as on different hosts. 0 means none here. */
	snprintf(number, sizeof(number), "%d",
		pf < 0 ? 0 : 1 + pf + (int)(pair_kernel_number(pair, side, 0) ? pair->vfs : 0));
	snprintf(state, sizeof(state), "state_bytes = %" PRIu64 "\n", pair->config->state_bytes);
	/* Those of a PCI function are its test's to choose. */
	if (strcmp(pair->config->backend, "pci") &&
		pair_kernel_put(pair, side, i, "rules",
			pair->config->no_dma_log ? "full-size increments no-log"
						 : "full-size increments",
			err))
		return -1;
	return pair_kernel_put(pair, side, i, "profile", pair_profile_of(pair->config, i), err) ||
			       (pair->config->state_bytes &&
				       pair_kernel_put(pair, side, i, "profile", state, err)) ||
			       pair_kernel_put(pair, side, i, "pf", number, err) ||
			       pair_kernel_put(pair, side, i, "pf_arcs",
				       pair->config->pf_arcs ? "1" : "0", err) ||
			       pair_kernel_put(pair, side, i, "faults", "clear", err) ||
			       (pair->simvf_option && !strncmp(pair->simvf_option, "--fault=", 8) &&
				       pair_kernel_put(pair, side, i, "faults",
					       pair->simvf_option + 8, err)) ||
			       pair_kernel_put(pair, side, i, "reset_stats", "1", err)
		       ? -1
		       : 0;
}

int pair_kernel_state(const struct pair *pair, enum pair_side side, unsigned i,
	char out[PAIR_STATUS_MAX], struct swo_error *err)
{
	char text[TEXT_MAX + 1];

	if (get(pair, side, i, "state", text, err))
		return -1;
	snprintf(out, PAIR_STATUS_MAX, "%.*s", (int)strcspn(text, "\n"), text);
	return 0;
}

/* "name value" lines. */
static void add_counters(json_t *report, char *text)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = '\0';
		json_object_set_new(
			report, line, json_integer((json_int_t)strtoull(value, NULL, 10)));
	}
}

/* "key = value" lines, with the names and units of a device process' report. */
static json_t *profile_values(char *text)
{
	json_t *out = json_object();
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strstr(line, " = ");

		if (!value || *line == '#')
			continue;
		*value = '\0';
		double figure = strtod(value + 3, NULL);

		if (!strcmp(line, "save_rate") || !strcmp(line, "load_rate")) {
			char name[24];

			snprintf(name, sizeof(name), "%.4s_bytes_per_s", line);
			json_object_set_new(out, name, json_real(figure * 1e6));
		} else {
			json_object_set_new(out, line, json_real(figure));
		}
	}
	return out;
}

json_t *pair_kernel_report(
	const struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err)
{
	char text[TEXT_MAX + 1], state[TEXT_MAX + 1], hash[TEXT_MAX + 1], profile[TEXT_MAX + 1];
	char name[16];

	if (get(pair, side, i, "counters", text, err) || get(pair, side, i, "state", state, err) ||
		get(pair, side, i, "state_hash", hash, err) ||
		get(pair, side, i, "profile", profile, err))
		return NULL;
	json_t *report = json_object();

	state[strcspn(state, "\n")] = hash[strcspn(hash, "\n")] = '\0';
	add_counters(report, text);
	snprintf(name, sizeof(name), "vf%u", i);
	json_object_set_new(report, "device", json_string(name));
	json_object_set_new(report, "state_hash", json_string(hash));
	json_object_set_new(report, "state", json_string(state));
	json_object_set_new(report, "profile_values", profile_values(profile));
	return report;
}
