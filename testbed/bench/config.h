/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config.h - what a measurement is of: machines, devices, the migration, the rows, the files. Read
 * from the options, completed by defaults, checked before anything is started.
 */
#ifndef TESTBED_BENCH_CONFIG_H
#define TESTBED_BENCH_CONFIG_H

#include "switchover/migration.h"

#define BENCH_LIST_MAX 16
#define BENCH_VFS_MAX  256

enum bench_kind { BENCH_RUN, BENCH_ABLATE, BENCH_SCALE, BENCH_CALIBRATE };

struct bench_config {
	enum bench_kind kind;
	unsigned vfs[BENCH_LIST_MAX];
	unsigned vfs_count;
	const char *transitions[2]; /* "serial", "parallel" */
	unsigned transitions_count;
	const char *profile; /* of simvf, or "mixed": four in turn */
	const char *backend; /* vfio-user, kernel */
	unsigned runs;
	const char *accel;   /* auto, kvm, native */
	const char *channel; /* unix, tcp */
	const char *tls;     /* x509, psk; NULL: none */
	unsigned channels;
	const char *handover;			       /* copy, fd; NULL: the default, copy */
	const char *join, *stream, *finalise, *config; /* NULL: the VMM's default */
	const char *pf;				       /* all on this one; NULL: by the profile */
	unsigned pfs; /* spread over so many; 0: option not given */
	bool pf_arcs;
	unsigned root_ports; /* devices lie behind so many, in turn; 0: on the root bus */
	const char *ram;     /* as the VMM takes it */
	bool fill_ram;	     /* every page of it is written before the guest starts */
	unsigned vcpus;
	unsigned dirty_rate, dma_pages, dma_rate, p2p_rate, irq_every;
	unsigned handler_cost_ms;
	unsigned doorbell_period_us; /* 0: by the number of VFs */
	uint64_t max_bandwidth;	     /* bytes a second before the stop; 0: no limit */
	const char *output;	     /* of calibrate: the file for the engine overhead */
	uint64_t state_bytes;	/* of each device, instead of the profile's; 0: the profile's */
	const char *costs_file; /* what was calibrated; NULL: nothing */
	struct swo_engine_overhead overhead; /* from there */
	bool probed;			     /* the machines get the profile's figures as a probe */
	bool keep, verbose;
	const char *json, *timeline; /* files to write; NULL: none */
};

void bench_defaults(struct bench_config *config);
/* Fills *config with a verb's defaults and the command line; ends the program on invalid usage. */
void bench_parse_args(enum bench_kind kind, int argc, char **argv, struct bench_config *config);
/*
 * Everything that can be known before a process is started: options that exclude each other,
 * profiles, sizes, files to read and to write, programs and devices. Reads config->costs.
 * SWO_E_INVALID is invalid usage. The error names the option. Leaves no file behind.
 */
int bench_check(struct bench_config *config, struct swo_error *err);
/* SWO_E_INVALID when simvf.ko has fewer devices than these (testbed/pair/kernel.c). */
int bench_check_kernel(unsigned devices, struct swo_error *err);
/* SWO_E_IO, naming the option, when this file cannot be written; it is not changed. NULL: fine. */
int bench_check_output(const char *option, const char *path, struct swo_error *err);
bool bench_hands_over(const struct bench_config *config); /* RAM, by descriptor */
unsigned bench_doorbell_period_us(const struct bench_config *config, unsigned vfs);
/* In so many turns, so that some device is rung every millisecond with any number of VFs. */
unsigned bench_doorbell_turns(const struct bench_config *config, unsigned vfs);
/* The profile of device i, and the PF it is on (-1: none). */
const char *bench_profile_of(const struct bench_config *config, unsigned i);
int bench_pf_of(const struct bench_config *config, unsigned i);

#endif
