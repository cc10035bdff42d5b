/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.h - what a migratable device supports, and whether it does what linux/vfio.h
 * asks of it: a conformance run over any backend, with costs.
 *
 * Names of checks and what they mean: docs/probe.md. They are kept, for programs.
 */
#ifndef SWITCHOVER_PROBE_H
#define SWITCHOVER_PROBE_H

#include "switchover/device.h"

#define SWO_PROBE_REGIONS 9
#define SWO_PROBE_IRQS	  5

/* What can be known without changing anything. */
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

/* Fails when the device cannot migrate, or does not answer. */
SWO_API int swo_probe_describe(
	const struct swo_probe_target *target, struct swo_probe_info *out, struct swo_error *err);

/* The conformance run */

enum swo_verdict {
	SWO_VERDICT_PASS,
	SWO_VERDICT_SKIP, /* could not be tried; the text says why */
	SWO_VERDICT_RISK, /* allowed, or common, and dangerous to who relies on it */
	SWO_VERDICT_FAIL,
};
SWO_API const char *swo_verdict_name(enum swo_verdict verdict); /* "pass" */

struct swo_probe_result {
	char name[72]; /* "arc.RUNNING->RUNNING_P2P" */
	enum swo_verdict verdict;
	unsigned count; /* times that it was tried; the verdict is the worst */
	char text[400];
};

/* All in nanoseconds; zeros when never measured. */
struct swo_probe_cost {
	unsigned count;
	uint64_t median;
	uint64_t max;
};

struct swo_probe_device {
	char name[64];
	char backend[16];
	struct swo_probe_info info;
	bool lost; /* it hung or went away: the rest was not tried */
	struct swo_probe_result *results;
	unsigned result_count;
	struct swo_probe_cost arcs[SWO_DEVICE_STATES][SWO_DEVICE_STATES];
	struct swo_probe_cost reset;
	uint64_t state_bytes; /* of a whole state, saved while stopped */
	/* Of those, what need not be saved any more when PRE_COPY gave all it had; 0: not known. */
	uint64_t precopy_bytes;
	struct swo_probe_cost save, load;
};

/* What several devices make of working at once. */
enum swo_sharing {
	SWO_SHARING_UNKNOWN, /* too short to tell, or not measured */
	SWO_SHARING_INDEPENDENT,
	SWO_SHARING_PARTLY,
	SWO_SHARING_SERIALISED,
};
SWO_API const char *swo_sharing_name(enum swo_sharing sharing);

struct swo_probe_siblings {
	enum swo_sharing sharing;
	uint64_t alone_max; /* ns: the slowest alone, */
	uint64_t alone_sum; /* one after another, */
	uint64_t parallel;  /* and all at once; medians */
};

struct swo_probe_report {
	unsigned device_count;
	struct swo_probe_device *devices;
	struct swo_probe_siblings quiesce, save, load; /* zeros for a single device */
	unsigned fails, risks;			       /* of all devices */
	bool interrupted;			       /* by `stop`: not all was tried */
};

struct swo_probe_params {
	unsigned runs;	      /* for costs; 0: 5 */
	uint64_t deadline_ms; /* of one call: longer counts as hanging; 0: 10000 */
	uint64_t limit_ms;    /* an arc that takes longer is a failure; 0: none */
	uint64_t max_state;   /* bytes; a larger state is not tried to load; 0: 256 MiB */
	/* Told what is begun; may be NULL. */
	void (*progress)(void *opaque, const char *device, const char *what);
	/* Asked before each call: true ends the run early; may be NULL. */
	bool (*stop)(void *opaque);
	void *opaque;
};

/*
 * Changes the state of every device many times and resets them; they must not be in use, and
 * what they hold is lost. At the end, also an early one, they run. Takes over the devices, also on
 * failure, and destroys them, but for one that hangs: it is left behind, with its thread.
 *
 * Succeeds whatever the devices do: see the report. The caller frees it.
 */
SWO_API int swo_probe_exercise(const struct swo_probe_target *targets, unsigned count,
	const struct swo_probe_params *params, struct swo_probe_report **out,
	struct swo_error *err);
SWO_API void swo_probe_report_free(struct swo_probe_report *report);

#endif
