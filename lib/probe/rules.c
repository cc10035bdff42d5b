/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rules.c - for each check the rule that it tests, and the document that has it.
 */
#include "probe/internal.h"

#include <string.h>

#define VFIO_H "linux/vfio.h, enum vfio_device_mig_state: "

/* By the beginning of a check's name; the first that fits. */
static const struct {
	const char *prefix, *rule;
} rules[] = {
	{"arc.RESUMING->STOP", VFIO_H "leaving RESUMING ends the data session: the whole state is "
				      "loaded, or the arc fails"},
	{"arc.", VFIO_H "the driver must support the single arcs of its flags"},
	{"combination.", VFIO_H "any other request is a path of arcs, which the driver walks"},
	{"same.", VFIO_H "a request for the current state succeeds and does nothing"},
	{"illegal.", VFIO_H "an arc that does not exist fails with EINVAL, and the state is kept"},
	{"recovery.", VFIO_H "a failed arc leaves the device in its former state or in ERROR, and "
			     "VFIO_DEVICE_RESET leads from ERROR to RUNNING"},
	{"reset.", VFIO_H "VFIO_DEVICE_RESET leads to RUNNING from every state"},
	{"save.read", "linux/vfio.h, data_fd: the state is read to its end, a read of 0"},
	{"load.", "linux/vfio.h, data_fd: what was read from one device is written to another, in "
		  "order, and accepted"},
	{"session.none",
		"linux/vfio.h, data_fd: it exists in PRE_COPY, STOP_COPY and RESUMING only"},
	{"session.closed",
		"linux/vfio.h, data_fd: it exists in PRE_COPY, STOP_COPY and RESUMING only"},
	{"session.pre-copy", VFIO_H "PRE_COPY and STOP_COPY are one data session, and one stream"},
	{"session.", VFIO_H
		"leaving the states of a data session ends it; the next one begins with its first byte"},
	{"data.identity", "switchover, docs/probe.md: a state that is loaded is the state that was "
			  "saved"},
	{"data.short",
		"linux/vfio.h, data_fd: a stream; the sizes of reads and writes mean nothing"},
	{"data.", "switchover, docs/probe.md: a damaged state is refused, at the latest by "
		  "RESUMING->STOP"},
	{"data-size", "linux/vfio.h, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE"},
	{"precopy-info", "linux/vfio.h, VFIO_MIG_GET_PRECOPY_INFO"},
	{"dma-log", "linux/vfio.h, VFIO_DEVICE_FEATURE_DMA_LOGGING_START and _REPORT"},
	{"dma-map", "linux/vfio.h, VFIO_IOMMU_MAP_DMA; vfio-user: DMA_MAP"},
	{"config-space", "linux/vfio.h, VFIO_PCI_CONFIG_REGION_INDEX: as the device's"},
	{"p2p.order", VFIO_H "in the P2P states a device starts no access, and answers those of "
			     "others"},
	{"cost.", "the option --limit"},
	{"siblings.", "switchover, docs/probe.md: devices at once against one by one"},
	{"describe", "linux/vfio.h, VFIO_DEVICE_FEATURE_MIGRATION and _MIG_DEVICE_STATE"},
	{"start", VFIO_H "RUNNING is the initial state"},
	{"state", "linux/vfio.h, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: GET reports the state"},
	{"interrupted", "the run was ended early"},
};

const char *swo_probe_rule(const char *check)
{
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(rules); i++)
		if (!strncmp(check, rules[i].prefix, strlen(rules[i].prefix)))
			return rules[i].rule;
	return "switchover, docs/probe.md";
}
