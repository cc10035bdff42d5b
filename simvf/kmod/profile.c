// SPDX-License-Identifier: GPL-2.0-only
/*
 * profile.c - the costs of the devices: the profiles of ../profiles, built in, and their text
 * format in sysfs.
 */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "simvf.h"

static const struct {
	const char *name, *text;
} profiles[] = {
#include "profiles.inc"
};

bool simvf_profile_named(struct svf_profile *profile, const char *name)
{
	const char *why;
	unsigned int i, line;

	for (i = 0; i < ARRAY_SIZE(profiles); i++) {
		if (strcmp(profiles[i].name, name))
			continue;
		svf_profile_init(profile);
		if (!svf_profile_parse(
			    profile, profiles[i].text, strlen(profiles[i].text), &line, &why)) {
			pr_err("simvf: profile %s, line %u: %s\n", name, line, why);
			return false;
		}
		strscpy(profile->name, name, sizeof(profile->name));
		return true;
	}
	return false;
}

/* The name of a profile, or "key = value" lines. */
int simvf_profile_change(struct svf_profile *profile, const char *text, size_t len)
{
	struct svf_profile changed = *profile;
	char name[SVF_PROFILE_NAME] = {};
	const char *why = "";
	unsigned int line;

	if (!memchr(text, '=', len)) {
		while (len && isspace(text[len - 1]))
			len--;
		if (len >= sizeof(name))
			return -EINVAL;
		memcpy(name, text, len);
		return simvf_profile_named(profile, name) ? 0 : -EINVAL;
	}
	if (!svf_profile_parse(&changed, text, len, &line, &why)) {
		pr_warn("simvf: profile, line %u: %s\n", line, why);
		return -EINVAL;
	}
	strscpy(changed.name, "custom", sizeof(changed.name));
	*profile = changed;
	return 0;
}

static int show_ms(char *buf, int at, const char *key, u64 ns)
{
	u32 rest;
	u64 ms = div_u64_rem(ns, NSEC_PER_MSEC, &rest);

	return sysfs_emit_at(buf, at, "%s = %llu.%06u\n", key, ms, rest);
}

static int show_rate(char *buf, int at, const char *key, u64 rate)
{
	u32 rest;
	u64 mb = div_u64_rem(rate, 1000000, &rest);

	return sysfs_emit_at(buf, at, "%s = %llu.%06u\n", key, mb, rest);
}

/* In the format that can be written back. */
ssize_t simvf_profile_show(const struct svf_profile *profile, char *buf)
{
	int at = sysfs_emit(buf, "# %s\n", profile->name);

	at += show_ms(buf, at, "to_p2p_ms", profile->to_p2p_ns);
	at += show_ms(buf, at, "to_stop_copy_ms", profile->to_stop_copy_ns);
	at += show_ms(buf, at, "resuming_to_stop_ms", profile->resuming_to_stop_ns);
	at += show_ms(buf, at, "to_running_p2p_ms", profile->to_running_p2p_ns);
	at += show_ms(buf, at, "to_running_ms", profile->to_running_ns);
	at += show_ms(buf, at, "config_load_ms", profile->config_load_ns);
	at += sysfs_emit_at(buf, at, "state_bytes = %llu\n", profile->state_bytes);
	at += sysfs_emit_at(buf, at, "precopy_percent = %u\n", profile->precopy_percent);
	at += show_rate(buf, at, "save_rate", profile->save_rate);
	at += show_rate(buf, at, "load_rate", profile->load_rate);
	at += show_ms(buf, at, "load_fixed_ms", profile->load_fixed_ns);
	return at;
}
