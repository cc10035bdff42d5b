// SPDX-License-Identifier: GPL-2.0-only
/*
 * sysfs.c - a device's settings and counters, in /sys/devices/platform/simvf.N, or in the
 * folder of its mediated device: profile, PF, faults, counters. docs/kmod.md describes them.
 */
#include <linux/device.h>
#include <linux/export.h>
#include <linux/kstrtox.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "compat.h"
#include "simvf.h"

static struct simvf *of(struct device *device)
{
	return dev_get_drvdata(device);
}

static ssize_t profile_show(struct device *device, struct device_attribute *attr, char *buf)
{
	struct simvf *dev = of(device);
	ssize_t len;

	mutex_lock(&dev->lock);
	len = simvf_profile_show(&dev->model->config.profile, buf);
	mutex_unlock(&dev->lock);
	return len;
}

/*
 * A change of the size or of the pre-copy share replaces the device's model, so it must not be
 * open.
 */
static int change_profile(struct simvf *dev, const char *text, size_t len)
{
	const struct svf_config *config = &dev->model->config;
	struct svf_profile profile = config->profile;
	int ret = simvf_profile_change(&profile, text, len);

	if (ret)
		return ret;
	if (profile.state_bytes == config->profile.state_bytes &&
		profile.precopy_percent == config->profile.precopy_percent) {
		dev->model->config.profile = profile;
		return 0;
	}
	if (dev->open)
		return -EBUSY;
	ret = simvf_model_make(
		dev, &profile, config->seed, config->mig_flags, config->arcs_reserve);
	if (ret)
		return ret;
	/* the new model has no faults and no arcs in progress */
	memset(dev->faults, 0, sizeof(dev->faults));
	memset(dev->sums, 0, sizeof(dev->sums));
	return 0;
}

static ssize_t profile_store(
	struct device *device, struct device_attribute *attr, const char *buf, size_t count)
{
	struct simvf *dev = of(device);
	int ret;

	mutex_lock(&dev->state_mutex);
	mutex_lock(&dev->lock);
	ret = change_profile(dev, buf, count);
	mutex_unlock(&dev->lock);
	mutex_unlock(&dev->state_mutex);
	return ret ? ret : count;
}
static DEVICE_ATTR_RW(profile);

#define NUMBER(name, member, limit)                                                                \
	static ssize_t name##_show(                                                                \
		struct device *device, struct device_attribute *attr, char *buf)                   \
	{                                                                                          \
		return sysfs_emit(buf, "%u\n", (u32)of(device)->member);                           \
	}                                                                                          \
	static ssize_t name##_store(struct device *device, struct device_attribute *attr,          \
		const char *buf, size_t count)                                                     \
	{                                                                                          \
		struct simvf *dev = of(device);                                                    \
		u32 value;                                                                         \
		int ret = kstrtou32(buf, 0, &value);                                               \
                                                                                                   \
		if (ret)                                                                           \
			return ret;                                                                \
		if (value > (limit))                                                               \
			return -EINVAL;                                                            \
		mutex_lock(&dev->lock);                                                            \
		dev->member = value;                                                               \
		mutex_unlock(&dev->lock);                                                          \
		return count;                                                                      \
	}                                                                                          \
	static DEVICE_ATTR_RW(name)

NUMBER(pf, pf, SIMVF_PFS);
NUMBER(pf_arcs, model->config.arcs_reserve, 1);
NUMBER(p2p_set, p2p_set, U32_MAX);
NUMBER(precopy_zero, precopy_zero, 1);

static ssize_t rules_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return simvf_rules_show(of(device), buf);
}

static ssize_t rules_store(
	struct device *device, struct device_attribute *attr, const char *buf, size_t count)
{
	int ret = simvf_rules_set(of(device), buf);

	return ret ? ret : count;
}
static DEVICE_ATTR_RW(rules);

/* Faults */

static ssize_t faults_show(struct device *device, struct device_attribute *attr, char *buf)
{
	struct simvf *dev = of(device);
	unsigned int i;
	int at = 0;

	mutex_lock(&dev->lock);
	for (i = 0; i < SVF_FAULTS; i++)
		if (dev->faults[i].spec[0])
			at += sysfs_emit_at(buf, at, "%s %llu%s\n", dev->faults[i].spec,
				dev->model->faults[i].hits,
				dev->model->faults[i].used ? "" : " spent");
	mutex_unlock(&dev->lock);
	return at;
}

static int add_fault(struct simvf *dev, const char *spec)
{
	struct svf_fault fault;
	const char *why = "";
	unsigned int i;

	if (!svf_fault_parse(spec, &fault, &why)) {
		dev_warn(dev->vdev.dev, "fault '%s': %s\n", spec, why);
		return -EINVAL;
	}
	/* The VFIO core refuses illegal arcs itself. */
	if (fault.what == SVF_DIE || fault.what == SVF_CLOSE || fault.what == SVF_RESET ||
		fault.where == SVF_AT_ILLEGAL || fault.where == SVF_AT_LOG)
		return -EOPNOTSUPP;
	/* The slot that svf_add_fault uses: the first free one. */
	for (i = 0; i < SVF_FAULTS && dev->model->faults[i].used; i++)
		;
	if (svf_add_fault(dev->model, &fault))
		return -ENOSPC;
	strscpy(dev->faults[i].spec, spec, sizeof(dev->faults[i].spec));
	return 0;
}

static ssize_t faults_store(
	struct device *device, struct device_attribute *attr, const char *buf, size_t count)
{
	struct simvf *dev = of(device);
	char text[SIMVF_SPEC_MAX], *spec;
	int ret = 0;

	if (strscpy(text, buf, sizeof(text)) < 0)
		return -EINVAL;
	spec = strim(text);
	mutex_lock(&dev->lock);
	if (!strcmp(spec, "clear")) {
		svf_clear_faults(dev->model);
		memset(dev->faults, 0, sizeof(dev->faults));
	} else {
		ret = add_fault(dev, spec);
	}
	mutex_unlock(&dev->lock);
	return ret ? ret : count;
}
static DEVICE_ATTR_RW(faults);

static ssize_t release_store(
	struct device *device, struct device_attribute *attr, const char *buf, size_t count)
{
	struct simvf *dev = of(device);

	mutex_lock(&dev->lock);
	svf_release(dev->model, ktime_get_ns());
	simvf_changed(dev);
	mutex_unlock(&dev->lock);
	return count;
}
static DEVICE_ATTR_WO(release);

/* Counters */

static ssize_t state_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", svf_state_name(READ_ONCE(of(device)->model->state)));
}
static DEVICE_ATTR_RO(state);

static ssize_t arcs_show(struct device *device, struct device_attribute *attr, char *buf)
{
	struct simvf *dev = of(device);
	unsigned int from, to;
	int at = 0;

	mutex_lock(&dev->lock);
	for (from = 0; from < SVF_STATES; from++)
		for (to = 0; to < SVF_STATES; to++) {
			const struct svf_arc_stats *s = &dev->model->stats.arcs[from][to];
			const struct simvf_arc_sums *sums = &dev->sums[from][to];

			if (!s->last_start_ns)
				continue;
			at += sysfs_emit_at(buf, at, "%s %s %llu %llu %llu %llu %llu %llu\n",
				svf_state_name(from), svf_state_name(to), s->count, s->errors,
				s->last_start_ns, s->last_end_ns, sums->max_ns, sums->sum_ns);
		}
	mutex_unlock(&dev->lock);
	return at;
}
static DEVICE_ATTR_RO(arcs);

static const struct {
	const char *name;
	size_t at;
} counters[] = {
#define COUNTER(name)                                                                              \
	{                                                                                          \
#name, offsetof(struct svf_stats, name)                                            \
	}
	COUNTER(doorbells),
	{"doorbells_lost", offsetof(struct svf_stats, lost)},
	{"doorbells_repeated", offsetof(struct svf_stats, repeated)},
	COUNTER(first_doorbell_ns),
	COUNTER(last_doorbell_ns),
	COUNTER(max_gap_ns),
	COUNTER(max_gap_start_ns),
	COUNTER(quiesce_violations),
	COUNTER(p2p_writes),
	COUNTER(p2p_received),
	COUNTER(p2p_backwards),
	COUNTER(p2p_violations),
	COUNTER(state_mismatches),
	COUNTER(dma_pages),
	COUNTER(dma_errors),
	COUNTER(ram_mismatches),
	COUNTER(irqs),
	COUNTER(resets),
	COUNTER(bytes_saved),
	COUNTER(bytes_loaded),
#undef COUNTER
};

static ssize_t counters_show(struct device *device, struct device_attribute *attr, char *buf)
{
	struct simvf *dev = of(device);
	const struct svf_stats *stats = &dev->model->stats;
	unsigned int i;
	int at = 0;

	mutex_lock(&dev->lock);
	stats = &dev->model->stats;
	if (dev->open)
		svf_look_at_inbox(dev->model);
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		at += sysfs_emit_at(buf, at, "%s %llu\n", counters[i].name,
			*(const uint64_t *)((const char *)stats + counters[i].at));
	at += sysfs_emit_at(buf, at, "p2p_order_violations %llu\n", dev->p2p_order_violations);
	at += sysfs_emit_at(buf, at, "seed %llu\n", dev->model->seed);
	mutex_unlock(&dev->lock);
	return at;
}
static DEVICE_ATTR_RO(counters);

static ssize_t state_hash_show(struct device *device, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%016llx\n", of(device)->model->stats.state_hash);
}
static DEVICE_ATTR_RO(state_hash);

static ssize_t reset_stats_store(
	struct device *device, struct device_attribute *attr, const char *buf, size_t count)
{
	struct simvf *dev = of(device);

	mutex_lock(&dev->lock);
	svf_reset_stats(dev->model);
	memset(dev->sums, 0, sizeof(dev->sums));
	dev->p2p_order_violations = 0;
	mutex_unlock(&dev->lock);
	return count;
}
static DEVICE_ATTR_WO(reset_stats);

static struct attribute *simvf_attrs[] = {
	&dev_attr_profile.attr,
	&dev_attr_pf.attr,
	&dev_attr_pf_arcs.attr,
	&dev_attr_p2p_set.attr,
	&dev_attr_precopy_zero.attr,
	&dev_attr_rules.attr,
	&dev_attr_faults.attr,
	&dev_attr_release.attr,
	&dev_attr_state.attr,
	&dev_attr_arcs.attr,
	&dev_attr_counters.attr,
	&dev_attr_state_hash.attr,
	&dev_attr_reset_stats.attr,
	NULL,
};

static const struct attribute_group simvf_group = {
	.attrs = simvf_attrs,
};

const struct attribute_group *simvf_groups[] = {&simvf_group, NULL};
EXPORT_SYMBOL_GPL(simvf_groups);
