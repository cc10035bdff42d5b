/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * args.h - the command line of `switchover vm`.
 */
#ifndef CMD_VM_ARGS_H
#define CMD_VM_ARGS_H

#include "cmd/common/tls_args.h"
#include "cmd/vm/journal.h"
#include "cmd/vm/notify.h"
#include "cmd/vm/pidfile.h"
#include "vmm/machine/machine.h"

#define VM_ROOT_PORTS_MAX 30

struct vm_options {
	struct vmm_machine_config config;
	struct vmm_device_config devices[VMM_DEVICES_MAX];
	const char *root_ports[VM_ROOT_PORTS_MAX];
	const char *qmp, *incoming, *timeline, *metrics;
	struct vm_pidfile pidfile; /* --pidfile */
	int ready_fd;		   /* -1: none */
	const char *costs, *probe; /* as for switchover plan; NULL: none */
	struct tls_args tls;
	bool quiet, named;
	struct vm_journal journal;
	struct swo_journal_config journal_config;
	char monitor[PATH_MAX + 128]; /* the URI of --qmp, with an absolute path */
};

/* Fills *options, which is zeroed, with defaults and the command line; exits on an invalid
   one. */
void vm_parse_args(int argc, char **argv, struct vm_options *options);

#endif
