/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * named.h - finds a profile by name. Not for the kernel module: it needs a C library.
 */
#ifndef SIMVF_PROFILES_NAMED_H
#define SIMVF_PROFILES_NAMED_H

#include "profile.h"

#include "switchover/base.h"

/* A built-in profile, or the path of a file. SWO_E_INVALID names the profile, line and reason. */
int svf_profile_load(const char *name, struct svf_profile *profile, struct swo_error *err);
/* Are the devices of this profile on one PF by default? An unknown profile: no. */
bool svf_profile_shares_pf(const char *name);
/* "instant, even, ..." */
const char *svf_profile_names(void);

#endif
