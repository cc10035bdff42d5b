/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * settings.h - the settings in the environment, set by `switchover exec`, by libvirt's domain XML
 * or by a systemd unit.
 *
 *   SWITCHOVER_PRELOAD  on (default), observe (only record), off
 *   SWITCHOVER_VMM      auto (default: by the program's name), qemu, cloud-hypervisor, none
 *   SWITCHOVER_LOG      a file for messages (default: standard error)
 *   SWITCHOVER_OBSERVE  a file for the record of each device; "%p" in it is the process ID
 *   SWITCHOVER_VERBOSE  1: also log when arcs are started speculatively
 *   SWITCHOVER_PID      the process that `switchover exec` started: the VMM, whatever its name
 */
#ifndef PRELOAD_SETTINGS_H
#define PRELOAD_SETTINGS_H

#include "patterns.h"

struct settings {
	bool off;
	bool observe_only;
	bool verbose;
	enum pattern_vmm vmm;
	bool is_vmm;	     /* not only a child that inherits the settings: by its name or ID */
	const char *log;     /* NULL: standard error */
	const char *observe; /* NULL: no */
};

/*
 * Returns the name of a variable with an invalid value, for the caller to report, or NULL. An
 * invalid value disables everything: the VMM must then run as if the library were not loaded.
 */
const char *settings_read(struct settings *out, const char *program);

#endif
