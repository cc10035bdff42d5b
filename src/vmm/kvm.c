/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kvm.c - the KVM accelerator. Not in this build yet: creation says so, and AUTO
 * takes the native one.
 */
#include "accel_int.h"

int accel_kvm_new(
	const struct vmm_accel_config *config, struct vmm_accel **out, struct swo_error *err)
{
	(void)config;
	(void)out;
	return swo_error_set(err, SWO_E_UNSUPPORTED, 0,
		"this build has no KVM accelerator; use the native one");
}
