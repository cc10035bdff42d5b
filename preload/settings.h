/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * settings.h - what the environment says. `switchover exec` sets it; so may libvirt's
 * domain XML or a systemd unit.
 *
 *   SWITCHOVER_PRELOAD  on (default), observe: only look, off: not even that
 *   SWITCHOVER_VMM      auto (default: by the program's name), qemu, cloud-hypervisor, none
 *   SWITCHOVER_LOG      a file for messages (default: standard error)
 *   SWITCHOVER_OBSERVE  a file for what every device did; "%p" in it is the process' id
 *   SWITCHOVER_VERBOSE  1: also say when arcs were begun ahead
 */
#ifndef PRELOAD_SETTINGS_H
#define PRELOAD_SETTINGS_H

#include "patterns.h"

struct settings {
	bool off;
	bool observe_only;
	bool verbose;
	enum pattern_vmm vmm;
	const char *log;     /* NULL: standard error */
	const char *observe; /* NULL: no */
};

/* A value that means nothing is said aloud by the caller: returns its name, or NULL. Whatever is
   wrong switches everything off: a VMM must run as if we were not there. */
const char *settings_read(struct settings *out, const char *program);

#endif
