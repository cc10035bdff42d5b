/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.h - what a migratable device supports, and whether it follows linux/vfio.h: a
 * conformance run over any backend, with costs.
 *
 * docs/probe.md lists the names of checks. They are stable, for programs.
 */
#ifndef SWITCHOVER_PROBE_H
#define SWITCHOVER_PROBE_H

#include "switchover/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SWO_PROBE_REGIONS 9
#define SWO_PROBE_IRQS	  5

/* Properties that can be read without changing the device. */
struct swo_probe_info {
	uint64_t mig_flags;
	uint32_t features; /* SWO_FEATURE_* */
	enum swo_device_state state;
	bool has_data_size;
	uint64_t data_size;
	struct swo_region_info regions[SWO_PROBE_REGIONS]; /* size 0: none */
	struct swo_irq_info irqs[SWO_PROBE_IRQS];	   /* count 0: none */
};

struct swo_probe_target {
	const char *name;
	const struct swo_device_ops *ops;
	void *self;
};

/* Fails if the device cannot migrate, or does not respond. */
SWO_API int swo_probe_describe(
	const struct swo_probe_target *target, struct swo_probe_info *out, struct swo_error *err);

/* The conformance run */

enum swo_verdict {
	SWO_VERDICT_PASS,
	SWO_VERDICT_SKIP, /* could not be run; the text has the reason */
	SWO_VERDICT_RISK, /* allowed, or common, but dangerous for a VMM that relies on it */
	SWO_VERDICT_FAIL,
};
SWO_API const char *swo_verdict_name(enum swo_verdict verdict); /* "pass" */

struct swo_probe_result {
	char name[72]; /* "arc.RUNNING->RUNNING_P2P" */
	enum swo_verdict verdict;
	unsigned count; /* number of runs; the verdict is the worst */
	char text[400];
};
/* What a check of this name tests, and which document demands it; a constant. */
SWO_API const char *swo_probe_rule(const char *check);

/* All in nanoseconds; zeros if never measured. */
struct swo_probe_cost {
	unsigned count;
	uint64_t median;
	uint64_t max;
};

struct swo_probe_device {
	char name[64];
	char backend[16];
	struct swo_probe_info info;
	bool lost; /* it hung or disconnected: the rest was not run */
	struct swo_probe_result *results;
	unsigned result_count;
	struct swo_probe_cost arcs[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	struct swo_probe_cost reset;
	uint64_t state_bytes; /* of the complete state, saved while stopped */
	/* The part that is no longer saved after a complete PRE_COPY; 0: unknown. */
	uint64_t precopy_bytes;
	struct swo_probe_cost save, load;
	/* Of `load`: what its end costs, however little was loaded. None seen: count 0. */
	struct swo_probe_cost load_fixed;
};

/* The effect of several devices working concurrently. */
enum swo_sharing {
	SWO_SHARING_UNKNOWN, /* too short to measure, or not measured */
	SWO_SHARING_INDEPENDENT,
	SWO_SHARING_PARTLY,
	SWO_SHARING_SERIALISED,
};
SWO_API const char *swo_sharing_name(enum swo_sharing sharing);

struct swo_probe_siblings {
	enum swo_sharing sharing;
	uint64_t alone_max; /* ns: the slowest alone,*/
	uint64_t alone_sum; /* one after another, */
	uint64_t parallel;  /* and all at once; medians */
};

struct swo_probe_report {
	unsigned device_count;
	struct swo_probe_device *devices;
	struct swo_probe_siblings quiesce, save, load; /* zeros for a single device */
	unsigned fails, risks;			       /* of all devices */
	bool interrupted;			       /* by `stop`: some checks were not run */
};

struct swo_probe_params {
	unsigned runs;	      /* for costs; 0: 5 */
	uint64_t deadline_ms; /* for one call: longer counts as a hang; 0: 10000 */
	uint64_t limit_ms;    /* an arc that takes longer is a failure; 0: none */
	uint64_t max_state;   /* bytes; a larger state is not loaded; 0: 256 MiB */
	/* Called when a step starts; may be NULL. */
	void (*progress)(void *opaque, const char *device, const char *what);
	/* Called before each call of the device: true ends the run early; may be NULL. */
	bool (*stop)(void *opaque);
	void *opaque;
	/* Load truncated, changed, extended and foreign states, too: with a real device they reach
	   firmware, which other devices may share. */
	bool hostile;
};

/*
 * Changes the state of every device many times and resets them; they must not be in use, and
 * their state is lost. At the end, also an early one, they run. Takes ownership of the devices,
 * also on failure, and destroys them, except one that hangs: it is leaked, with its thread.
 * Requests that a driver must refuse come last, after all other checks of all devices: a faulty
 * driver may be unusable after one.
 *
 * Succeeds whatever the devices do: see the report. The caller frees it.
 */
SWO_API int swo_probe_exercise(const struct swo_probe_target *targets, unsigned count,
	const struct swo_probe_params *params, struct swo_probe_report **out,
	struct swo_error *err);
SWO_API void swo_probe_report_free(struct swo_probe_report *report);

#ifdef __cplusplus
}
#endif

#endif
