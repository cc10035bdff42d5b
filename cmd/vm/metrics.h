/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metrics.h - the file of `switchover vm --metrics`.
 */
#ifndef CMD_VM_METRICS_H
#define CMD_VM_METRICS_H

#include "switchover/base.h"

/*
 * Replaces the file, mode 0644, by rename: a reader finds the old text or the new one. The new one is
 * first in PATH.PID in the same folder, which a collector of *.prom does not read.
 */
int vm_metrics_write(const char *path, const char *text, struct swo_error *err);

#endif
