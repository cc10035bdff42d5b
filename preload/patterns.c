/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * patterns.c - the tables. docs/preload.md gives the reason for each line: why the arc may
 * start on a device before the VMM requests it there.
 */
#include "patterns.h"

#include "base/state_names.h"
#include "device/core/vfio_abi.h"

#include <string.h>

enum {
	STOP = SWO_DEVICE_STOP,
	RUNNING = SWO_DEVICE_RUNNING,
	STOP_COPY = SWO_DEVICE_STOP_COPY,
	RESUMING = SWO_DEVICE_RESUMING,
	RUNNING_P2P = SWO_DEVICE_RUNNING_P2P,
	PRE_COPY = SWO_DEVICE_PRE_COPY,
	PRE_COPY_P2P = SWO_DEVICE_PRE_COPY_P2P,
};

/*
 * QEMU (hw/vfio/migration.c, 8.2 to 11.1): the prepare handlers move each device to a P2P
 * state, then the handlers move each device out of it. This applies to stop, to continue, and
 * to the roll-back of a failed stop.
 */
static const struct pattern_arc qemu[] = {
	{RUNNING, RUNNING_P2P, 0},
	{PRE_COPY, PRE_COPY_P2P, 0},
	{RUNNING_P2P, STOP, 0},
	{PRE_COPY_P2P, STOP, 0},
	{PRE_COPY_P2P, STOP_COPY, 0},
	{STOP, STOP_COPY, 0}, /* devices without PRE_COPY, each before its state is read */
	{RESUMING, RUNNING_P2P, 0},
	{STOP, RUNNING_P2P, 0},
	{STOP_COPY, RUNNING_P2P, 0},
	{PRE_COPY_P2P, RUNNING_P2P, 0},
	{RUNNING_P2P, RUNNING, 0},
};

/*
 * Cloud Hypervisor (pause, snapshot, resume and live migration, its pull requests 8303 and 8528
 * of 2026): one pass, without a P2P stop.
 */
static const struct pattern_arc cloud_hypervisor[] = {
	{RUNNING, STOP, RUNNING_P2P},
	{STOP, STOP_COPY, 0},
	{RESUMING, RUNNING, RUNNING_P2P},
	{STOP, RUNNING, RUNNING_P2P},
};

/*
 * Devices of which none has the P2P states: QEMU then registers no prepare handlers, and both VMMs
 * request the same arcs. Loaded state is complete on all devices before the first runs.
 */
static const struct pattern_arc without_p2p[] = {
	{RUNNING, STOP, 0},
	{PRE_COPY, STOP, 0},
	{PRE_COPY, STOP_COPY, 0},
	{STOP, STOP_COPY, 0},
	{RESUMING, RUNNING, STOP},
	{STOP, RUNNING, 0},
	{STOP_COPY, RUNNING, 0},
};

#define ARCS(table) table, sizeof(table) / sizeof(*(table))

static const struct table {
	const char *name;
	const struct pattern_arc *arcs;
	unsigned count;
} tables[] =
	{
		[VMM_NONE] = {"none", NULL, 0},
		[VMM_QEMU] = {"qemu", ARCS(qemu)},
		[VMM_CLOUD_HYPERVISOR] = {"cloud-hypervisor", ARCS(cloud_hypervisor)},
},
  no_p2p = {NULL, ARCS(without_p2p)};

const struct pattern_arc *pattern_find(enum pattern_vmm vmm, bool p2p, uint32_t from, uint32_t to)
{
	const struct table *table = p2p || vmm == VMM_NONE ? &tables[vmm] : &no_p2p;

	for (unsigned i = 0; i < table->count; i++)
		if (table->arcs[i].from == from && table->arcs[i].to == to)
			return &table->arcs[i];
	return NULL;
}

enum pattern_vmm pattern_vmm_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	if (!strncmp(name, "qemu-system-", 12) || !strncmp(name, "qemu-kvm", 8) ||
		!strcmp(name, "kvm"))
		return VMM_QEMU;
	if (!strncmp(name, "cloud-hypervisor", 16))
		return VMM_CLOUD_HYPERVISOR;
	return VMM_NONE;
}

bool pattern_vmm_named(const char *name, enum pattern_vmm *out)
{
	for (unsigned i = 0; i < sizeof(tables) / sizeof(*tables); i++)
		if (!strcmp(name, tables[i].name)) {
			*out = (enum pattern_vmm)i;
			return true;
		}
	return false;
}

const char *pattern_name(enum pattern_vmm vmm)
{
	return tables[vmm].name;
}

bool pattern_is_p2p(uint32_t state)
{
	return state == RUNNING_P2P || state == PRE_COPY_P2P;
}

bool pattern_leaves_p2p(uint32_t from, uint32_t to)
{
	return pattern_is_p2p(from) && !pattern_is_p2p(to);
}

const char *pattern_state_name(uint32_t state)
{
	static const char *const names[] = STATE_NAMES;

	return state < sizeof(names) / sizeof(*names) ? names[state] : "?";
}
