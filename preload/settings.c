/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * settings.c - reads the environment, once, when the library is loaded.
 */
#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *value_of(const char *name)
{
	const char *value = secure_getenv(name);

	return value && *value ? value : NULL;
}

const char *settings_read(struct settings *out, const char *program)
{
	const char *mode = value_of("SWITCHOVER_PRELOAD");
	const char *vmm = value_of("SWITCHOVER_VMM");
	const char *verbose = value_of("SWITCHOVER_VERBOSE");
	const char *pid = value_of("SWITCHOVER_PID");

	*out = (struct settings){
		.off = mode && !strcmp(mode, "off"),
		.observe_only = mode && !strcmp(mode, "observe"),
		.verbose = verbose && !strcmp(verbose, "1"),
		.vmm = pattern_vmm_of(program),
		.log = value_of("SWITCHOVER_LOG"),
		.observe = value_of("SWITCHOVER_OBSERVE"),
	};
	if (mode && strcmp(mode, "on") && !out->off && !out->observe_only) {
		out->off = true;
		return "SWITCHOVER_PRELOAD";
	}
	if (vmm && strcmp(vmm, "auto") && !pattern_vmm_named(vmm, &out->vmm)) {
		out->off = true;
		return "SWITCHOVER_VMM";
	}
	out->is_vmm = out->vmm != VMM_NONE &&
		      (pattern_vmm_of(program) == out->vmm || (pid && atol(pid) == getpid()));
	return NULL;
}
