/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.h - what the machines of a pair are, what their devices do, and how they migrate.
 */
#ifndef TESTBED_PAIR_CONFIG_H
#define TESTBED_PAIR_CONFIG_H

#include "switchover/base.h"

#define PAIR_VFS_MAX 256

struct pair_config {
	const char *profile; /* of simvf, or "mixed": four in turn */
	const char *backend; /* vfio-user, kernel, pci */
	const char *accel;   /* auto, kvm, native */
	const char *channel; /* unix, tcp */
	const char *tls;     /* x509, psk; NULL: none */
	unsigned channels;
	const char *handover;			       /* copy, fd; NULL: the default, copy */
	const char *join, *stream, *finalise, *config; /* NULL: the VMM's default */
	const char *pf;				       /* all on this one; NULL: by the profile */
	unsigned pfs;	  /* spread over so many; 0: option not given */
	unsigned pf_from; /* the devices from this one on share one; 0: option not given */
	bool pf_arcs;
	bool late_dma;	     /* devices write to RAM until they have stopped */
	bool no_dma_log;     /* they have no log of that, or may have none: allowed */
	unsigned root_ports; /* devices lie behind so many, in turn; 0: on the root bus */
	const char *ram;     /* in the VMM's format */
	bool prealloc;	     /* all of it is allocated at the start */
	bool fill_ram;	     /* every page of it is written before the guest starts */
	unsigned vcpus;
	unsigned dirty_rate, dma_pages, dma_rate, p2p_rate, irq_every;
	unsigned handler_cost_ms;
	unsigned stop_writes;	     /* pages that a handler writes in each stop */
	unsigned doorbell_period_us; /* 0: by the number of VFs */
	/* A link between the machines (link.h): round trip, rate to the target in bytes a second, and
	   bytes that wait before it. All 0: none; the rate alone 0: no limit. */
	double link_rtt_ms;
	uint64_t link_rate, link_buffer;
	uint64_t max_bandwidth; /* bytes a second before the stop; 0: no limit */
	uint64_t state_bytes;	/* of each device, instead of the profile's; 0: the profile's */
	const char *costs_file; /* calibrated costs; NULL: none */
	bool probed;		/* the machines get the profile's figures as a probe */
	bool verbose;		/* each step is printed */
};

void pair_defaults(struct pair_config *config);
bool pair_has_link(const struct pair_config *config);
bool pair_hands_over(const struct pair_config *config); /* RAM, by descriptor */
unsigned pair_doorbell_period_us(const struct pair_config *config, unsigned vfs);
/* In so many turns, so that some device is rung every millisecond with any number of VFs. */
unsigned pair_doorbell_turns(const struct pair_config *config, unsigned vfs);
/* The profile of device i, and the PF it is on (-1: none). */
const char *pair_profile_of(const struct pair_config *config, unsigned i);
int pair_pf_of(const struct pair_config *config, unsigned i);
/* Devices are not processes, but of simvf.ko or simvf_pci.ko (kernel.c). */
bool pair_config_is_kernel(const struct pair_config *config);
/* SWO_E_INVALID when these have fewer devices than that. */
int pair_check_kernel(const struct pair_config *config, unsigned devices, struct swo_error *err);

#endif
