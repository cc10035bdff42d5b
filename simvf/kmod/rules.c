// SPDX-License-Identifier: GPL-2.0-only
/*
 * rules.c - how drivers differ where the uAPI leaves it open, by name and one by one. Sources: the
 * drivers of Linux 6.12 to 7.2, drivers/vfio/pci.
 */
#include <linux/export.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "compat.h"
#include "simvf.h"

static const struct {
	const char *name;
	u32 rules;
} drivers[] =
	{
		{"mlx5", SIMVF_RULE_FULL_SIZE | SIMVF_RULE_INCREMENTS | SIMVF_RULE_OVERWRITES},
		{"virtio", SIMVF_RULE_FULL_SIZE | SIMVF_RULE_INCREMENTS | SIMVF_RULE_NO_LOG |
				   SIMVF_RULE_OVERWRITES},
		{"qat", SIMVF_RULE_FULL_SIZE | SIMVF_RULE_NO_LOG | SIMVF_RULE_ZERO},
		{"hisilicon", SIMVF_RULE_NO_LOG | SIMVF_RULE_NO_P2P},
		{"xe", SIMVF_RULE_FULL_SIZE | SIMVF_RULE_NO_LOG | SIMVF_RULE_NO_PRECOPY},
},
  single[] = {
	  {"full-size", SIMVF_RULE_FULL_SIZE},
	  {"increments", SIMVF_RULE_INCREMENTS},
	  {"no-log", SIMVF_RULE_NO_LOG},
	  {"no-p2p", SIMVF_RULE_NO_P2P},
	  {"no-precopy", SIMVF_RULE_NO_PRECOPY},
	  {"zero", SIMVF_RULE_ZERO},
	  {"overwrites", SIMVF_RULE_OVERWRITES},
	  {"uninterruptible", SIMVF_RULE_UNINTERRUPTIBLE},
	  {"reset-again", SIMVF_RULE_RESET_AGAIN},
};

static int add(u32 *rules, const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(drivers); i++)
		if (!strcmp(name, drivers[i].name)) {
			*rules |= drivers[i].rules;
			return 0;
		}
	for (i = 0; i < ARRAY_SIZE(single); i++)
		if (!strcmp(name, single[i].name)) {
			*rules |= single[i].rules;
			return 0;
		}
	return -EINVAL;
}

static int apply(struct simvf *dev, u32 rules)
{
	const struct svf_config *config = &dev->model->config;
	unsigned int flags = SIMVF_FLAGS_OF_KERNEL;
	const u32 before = dev->rules;
	int ret;

	if (rules & SIMVF_RULE_NO_P2P)
		flags &= ~VFIO_MIGRATION_P2P;
	if (rules & SIMVF_RULE_NO_PRECOPY)
		flags &= ~SVF_MIG_PRE_COPY;
	dev->rules = rules;
	ret = simvf_model_make(dev, &config->profile, config->seed, flags, config->arcs_reserve);
	if (ret) {
		dev->rules = before;
		return ret;
	}
	/* the new model has no faults and no arcs in progress */
	memset(dev->faults, 0, sizeof(dev->faults));
	memset(dev->sums, 0, sizeof(dev->sums));
	dev->vdev.migration_flags = flags;
	dev->vdev.log_ops = rules & SIMVF_RULE_NO_LOG ? NULL : &simvf_log_ops;
	dev->precopy_zero = rules & SIMVF_RULE_ZERO;
	return 0;
}

/* Names with spaces between them, each of a driver or a rule; none: all as by the uAPI. */
int simvf_rules_set(struct simvf *dev, const char *text)
{
	char copy[SIMVF_SPEC_MAX], *rest = copy, *name;
	u32 rules = 0;
	int ret = 0;

	if (strscpy(copy, text, sizeof(copy)) < 0)
		return -EINVAL;
	while (!ret && (name = strsep(&rest, " \n")))
		if (*name)
			ret = add(&rules, name);
	/* Without a function of its own there is nothing to overwrite, and nothing that is busy. */
	if (!ret && !dev->loaded && (rules & (SIMVF_RULE_OVERWRITES | SIMVF_RULE_RESET_AGAIN)))
		ret = -EOPNOTSUPP;
	if (ret)
		return ret;
	mutex_lock(&dev->state_mutex);
	mutex_lock(&dev->lock);
	ret = dev->open ? -EBUSY : apply(dev, rules);
	mutex_unlock(&dev->lock);
	mutex_unlock(&dev->state_mutex);
	return ret;
}
EXPORT_SYMBOL_GPL(simvf_rules_set);

ssize_t simvf_rules_show(struct simvf *dev, char *buf)
{
	unsigned int i;
	int at = 0;

	for (i = 0; i < ARRAY_SIZE(single); i++)
		if (dev->rules & single[i].rules)
			at += sysfs_emit_at(buf, at, "%s%s", at ? " " : "", single[i].name);
	return at + sysfs_emit_at(buf, at, "\n");
}
