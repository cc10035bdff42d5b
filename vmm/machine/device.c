/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device.c - the machine's passthrough devices: parses --device, connects them, adds them to
 * the bus and to the handlers of the run state.
 */
#include "internal.h"

#include "base/number.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --device */

/* Without a token, which is a secret. */
static int bad(struct swo_error *err, const char *text, const char *why)
{
	const char *by_key = strstr(text, "vf-token="), *by_path = strstr(text, "vf_token=");
	const char *secret = by_key && (!by_path || by_key < by_path) ? by_key : by_path;
	int len = secret && secret - text < 111 ? (int)(secret - text) + 9 : 120;

	return swo_error_set(err, SWO_E_INVALID, 0,
		"--device '%.*s': %s; expected "
		"vfio-user,socket=PATH or vfio,path=PATH, then "
		"[,id=NAME][,bus=PORT][,addr=SLOT[.FUNCTION]]"
		"[,arc-deadline=MS][,finalise=early|ram|late][,migration-events=on|off]"
		"[,quirks=NAME[+NAME...]]; vfio also has fd=N instead of path=, iommufd=N, "
		"vf-token-file=PATH and vf-token-fd=N",
		len, text, why);
}

static int parse_addr(const char *value, struct vmm_device_config *out)
{
	uint64_t slot, function = 0;

	if (base_digits(&value, 16, &slot) || slot > 31)
		return -1;
	if (*value == '.') {
		value++;
		if (base_digits(&value, 16, &function) || function > 7)
			return -1;
	}
	out->slot = (int)slot;
	out->function = (int)function;
	return *value ? -1 : 0;
}

static int take_text(char *to, size_t room, const char *value)
{
	if (!*value || strlen(value) >= room)
		return -1;
	strcpy(to, value);
	return 0;
}

static int parse_deadline(const char *value, struct vmm_device_config *out)
{
	return base_number("arc-deadline", value, 10, 3600 * 1000, &out->arc_deadline_ms, NULL);
}

static int parse_finalise(const char *value, struct vmm_device_config *out)
{
	static const char *const names[] = {
		[SWO_WHEN_EARLY] = "early", [SWO_WHEN_RAM] = "ram", [SWO_WHEN_LATE] = "late"};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(names); i++)
		if (!strcmp(value, names[i])) {
			out->finalise = (enum swo_when)i;
			out->finalise_own = true;
			return 0;
		}
	return -1;
}

static int parse_on(const char *value, bool *out)
{
	*out = !strcmp(value, "on");
	return *out || !strcmp(value, "off") ? 0 : -1;
}

static const struct {
	const char *name;
	uint32_t flag;
} quirks[] = {
	{"discard-precopy", SWO_VFIO_USER_DISCARD_PRECOPY},
	{"small-writes", SWO_VFIO_USER_SMALL_WRITES},
	{"report-per-region", SWO_VFIO_USER_REPORT_PER_REGION},
	{"detach-by-dummy", SWO_VFIO_USER_DETACH_BY_DUMMY},
};

static uint32_t quirk(const char *name)
{
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(quirks); i++)
		if (!strcmp(name, quirks[i].name))
			return quirks[i].flag;
	return 0;
}

static int parse_quirks(char *value, uint32_t *out)
{
	char *save = NULL;

	for (char *name = strtok_r(value, "+", &save); name; name = strtok_r(NULL, "+", &save)) {
		if (!quirk(name))
			return -1;
		*out |= quirk(name);
	}
	return *out ? 0 : -1;
}

/* Not the standard ones. */
static int parse_fd(const char *value, int *out)
{
	uint64_t fd;

	if (base_number("fd", value, 3, INT_MAX, &fd, NULL))
		return -1;
	*out = (int)fd;
	return 0;
}

/* Of a kernel device only. Returns 1: another key. */
static int parse_kernel_pair(
	const char *key, const char *value, struct vmm_device_config *out, const char **why)
{
	*why = "path= must be a path of up to 255 bytes";
	if (!strcmp(key, "path"))
		return take_text(out->path, sizeof(out->path), value);
	*why = "fd=, iommufd= and vf-token-fd= must be the number of an inherited descriptor, from 3";
	if (!strcmp(key, "fd"))
		return parse_fd(value, &out->fd);
	if (!strcmp(key, "iommufd"))
		return parse_fd(value, &out->iommufd);
	if (!strcmp(key, "vf-token-fd"))
		return parse_fd(value, &out->token_fd);
	*why = "vf-token-file= must be a path of up to 255 bytes";
	if (!strcmp(key, "vf-token-file"))
		return take_text(out->token_file, sizeof(out->token_file), value);
	*why = "vf-token= must be a UUID";
	if (!strcmp(key, "vf-token"))
		return take_text(out->token, sizeof(out->token), value);
	return 1;
}

static int parse_pair(char *pair, struct vmm_device_config *out, const char **why)
{
	char *value = strchr(pair, '=');

	*why = "KEY without =VALUE";
	if (!value)
		return -1;
	*value++ = '\0';
	*why = "socket= must be a path of up to 107 bytes";
	if (!strcmp(pair, "socket"))
		return take_text(out->socket, sizeof(out->socket), value);
	int rc = parse_kernel_pair(pair, value, out, why);

	if (rc <= 0)
		return rc;
	*why = "id= and bus= must be names of up to 31 bytes";
	if (!strcmp(pair, "id"))
		return take_text(out->id, sizeof(out->id), value);
	if (!strcmp(pair, "bus"))
		return take_text(out->bus, sizeof(out->bus), value);
	*why = "addr= must be a slot from 0 to 1f, in hexadecimal, optionally with .FUNCTION from 0 to 7";
	if (!strcmp(pair, "addr"))
		return parse_addr(value, out);
	*why = "arc-deadline= must be milliseconds from 10 to 3600000";
	if (!strcmp(pair, "arc-deadline"))
		return parse_deadline(value, out);
	*why = "finalise= must be early, ram or late";
	if (!strcmp(pair, "finalise"))
		return parse_finalise(value, out);
	*why = "migration-events= must be on or off";
	if (!strcmp(pair, "migration-events"))
		return parse_on(value, &out->migration_events);
	*why = "quirks= must be discard-precopy, small-writes, report-per-region or "
	       "detach-by-dummy, several with +";
	if (!strcmp(pair, "quirks"))
		return parse_quirks(value, &out->quirks);
	*why = "unknown key";
	return -1;
}

static bool is_kernel(const struct vmm_device_config *config)
{
	return *config->path || config->fd || config->iommufd || *config->token ||
	       *config->token_file || config->token_fd;
}

int vmm_device_parse(const char *text, struct vmm_device_config *out, struct swo_error *err)
{
	char copy[512], *save = NULL, *part;
	const char *why;

	*out = (struct vmm_device_config){.slot = -1};
	if (strlen(text) >= sizeof(copy))
		return bad(err, text, "longer than 511 bytes");
	strcpy(copy, text);
	part = strtok_r(copy, ",", &save);
	bool kernel = part && !strcmp(part, "vfio");

	if (!part || (!kernel && strcmp(part, "vfio-user") != 0))
		return bad(err, text, "unknown kind of device");
	while ((part = strtok_r(NULL, ",", &save)))
		if (parse_pair(part, out, &why))
			return bad(err, text, why);
	if (!kernel && !*out->socket)
		return bad(err, text, "socket= is missing");
	if (kernel && !*out->path == !out->fd)
		return bad(err, text, "one of path= and fd= is required");
	if (!!*out->token + !!*out->token_file + !!out->token_fd > 1)
		return bad(err, text, "there is one VF token");
	if (kernel && out->quirks)
		return bad(err, text, "quirks= are of vfio-user servers");
	if (kernel ? *out->socket : is_kernel(out))
		return bad(err, text,
			"socket= is for vfio-user, path=, fd=, iommufd= and vf-token...= for vfio");
	return 0;
}

/* Connecting to devices */

static int dma_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
	const void *host = swo_ram_host(opaque, addr, len);

	if (!host)
		return EFAULT;
	memcpy(buf, host, len);
	return 0;
}

static int dma_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
	void *host = swo_ram_host(opaque, addr, len);

	/* RAM that is handed over belongs to the source until GO, and to the target afterwards. */
	if (!host || !swo_ram_is_writable(opaque))
		return EFAULT;
	memcpy(host, buf, len);
	return 0;
}

static int use_iommufd(struct vmm_machine *m, int fd, struct swo_error *err)
{
	if (!fd || fd == m->iommufd)
		return 0;
	m->iommufd = fd;
	return swo_vfio_context_set_iommufd(m->vfio, fd, err);
}

/* Kernel devices share one container, or address space: RAM is mapped once for all. */
static int open_kernel(struct vmm_machine *m, const struct vmm_device_config *config,
	const char *id, void **self, struct swo_error *err)
{
	struct swo_vfio_kernel_params params = {.size = sizeof(struct swo_vfio_kernel_params)};
	char token[MACHINE_TOKEN_ROOM] = "";

	if ((!m->vfio && swo_vfio_context_new(&m->vfio, err)) ||
		machine_vf_token(config, id, token, err))
		return -1;
	params.context = m->vfio;
	params.vf_token = *token ? token : NULL;
	int rc = use_iommufd(m, config->iommufd, err);

	if (!rc && config->fd)
		rc = swo_vfio_kernel_adopt(id, config->fd, &params, self, err);
	else if (!rc)
		rc = swo_vfio_kernel_open(id, config->path, &params, self, err);
	explicit_bzero(token, sizeof(token));
	return rc;
}

static int open_backend(struct vmm_machine *m, const struct vmm_device_config *config,
	const char *id, const struct swo_device_ops **ops, void **self, struct swo_error *err)
{
	struct swo_vfio_user_params params = {.size = sizeof(struct swo_vfio_user_params),
		.dma_read = dma_read,
		.dma_write = dma_write,
		.opaque = m->ram,
		.quirks = config->quirks};

	*ops = config->ops;
	*self = config->self;
	if (config->ops)
		return 0;
	if (is_kernel(config)) {
		*ops = &swo_vfio_kernel_ops;
		return open_kernel(m, config, id, self, err);
	}
	*ops = &swo_vfio_user_ops;
	return swo_vfio_user_connect(id, config->socket, &params, self, err);
}

static int connect_device(struct vmm_machine *m, const struct vmm_device_config *config,
	unsigned index, struct swo_error *err)
{
	struct machine_device *device = &m->devices[index];
	struct swo_device_params params = {.size = sizeof(struct swo_device_params),
		.arc_deadline_ms = config->arc_deadline_ms};
	const struct swo_device_ops *ops;
	void *self;
	char id[40];

	if (*config->id)
		snprintf(id, sizeof(id), "%s", config->id);
	else
		snprintf(id, sizeof(id), "vf%u", index);
	if (open_backend(m, config, id, &ops, &self, err) ||
		swo_device_create(id, ops, self, &params, &device->dev, err))
		return -1;
	m->device_list[index] = device->dev;
	m->device_count = index + 1;
	device->finalise = config->finalise;
	device->finalise_own = config->finalise_own;
	device->migration_events = config->migration_events;
	return 0;
}

/* At once, since a function level reset takes 100 ms. */
static int take_over_devices(struct vmm_machine *m, struct swo_error *err)
{
	struct swo_error later;
	unsigned launched = 0;
	int rc = 0;

	while (!rc && launched < m->device_count) {
		rc = swo_device_take_over_launch(m->devices[launched].dev, err);
		launched += !rc;
	}
	for (unsigned i = 0; i < launched; i++)
		rc |= swo_device_wait(m->devices[i].dev, rc ? &later : err);
	return rc;
}

static void was_reset(void *opaque)
{
	struct swo_error err;

	if (vmm_pci_renew(opaque, true, &err))
		swo_log(SWO_LOG_WARN, "after a reset: %s", err.text);
}

int machine_devices_watch_resets(struct vmm_machine *m, bool watch, struct swo_error *err)
{
	int rc = 0;

	for (unsigned i = 0; i < m->device_count; i++)
		rc |= swo_device_on_reset(
			m->devices[i].dev, watch ? was_reset : NULL, m->devices[i].fn, err);
	return rc;
}

static int add_to_bus(struct vmm_machine *m, const struct vmm_device_config *config, unsigned index,
	struct swo_error *err)
{
	struct machine_device *device = &m->devices[index];
	struct vmm_pci_device_desc desc = {.id = swo_device_name(device->dev),
		.bus = *config->bus ? config->bus : NULL,
		.slot = config->slot,
		.function = config->function};

	desc.ops = swo_device_backend(device->dev, &desc.self);
	return vmm_pci_add_device(m->pci, &desc, &device->fn, err);
}

int machine_devices_connect(
	struct vmm_machine *m, const struct vmm_device_config *configs, struct swo_error *err)
{
	unsigned count = m->config.device_count;

	m->devices = calloc(count + 1, sizeof(*m->devices));
	m->device_list = calloc(count + 1, sizeof(struct swo_device *));
	if (!m->devices || !m->device_list)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "devices");
	for (unsigned i = 0; i < count; i++)
		if (connect_device(m, &configs[i], i, err))
			return -1;
	/* Before any memory is mapped for any: some share one address space. */
	if (take_over_devices(m, err))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (add_to_bus(m, &configs[i], i, err))
			return -1;
	return 0;
}

void machine_devices_free(struct vmm_machine *m)
{
	for (unsigned i = 0; i < m->device_count; i++) {
		swo_device_unfollow(m->devices[i].dev);
		swo_device_destroy(m->devices[i].dev);
	}
	swo_vfio_context_unref(m->vfio);
	free(m->devices);
	free(m->device_list);
}

/* Handlers */

int machine_devices_follow(
	struct vmm_machine *m, const struct vmm_migration_setup *setup, struct swo_error *err)
{
	for (unsigned i = 0; i < m->device_count; i++) {
		struct machine_device *device = &m->devices[i];

		swo_device_unfollow(device->dev);
		if (swo_device_follow(device->dev, m->runstate, vmm_pci_depth(device->fn),
			    setup->transitions, setup->join, err))
			return -1;
	}
	return 0;
}

/*
 * Simulates the run state handlers that a VMM has at that depth besides its passthrough
 * devices.
 */
static int take_time(void *opaque, bool running, enum swo_run_state state, struct swo_error *err)
{
	const struct vmm_machine *m = opaque;

	(void)running;
	(void)state;
	(void)err;
	swo_sleep_until(swo_now_ns() + m->config.handler_cost_ms * UINT64_C(1000000));
	return 0;
}

int machine_handlers_add(struct vmm_machine *m, struct swo_error *err)
{
	int deepest = m->config.root_port_count ? 2 : 1;
	struct swo_handler *handler;

	for (int depth = 0; m->config.handler_cost_ms && depth <= deepest; depth++) {
		char name[24];
		struct swo_handler_desc desc = {.size = sizeof(struct swo_handler_desc),
			.name = name,
			.depth = depth,
			.change = take_time,
			.opaque = m};

		snprintf(name, sizeof(name), "handler at depth %d", depth);
		if (swo_runstate_add(m->runstate, &desc, &handler, err))
			return -1;
	}
	return 0;
}
