/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.c - the properties that a device reports, and the order of a conformance run.
 */
#include "probe/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *swo_verdict_name(enum swo_verdict verdict)
{
	static const char *const names[] = {"pass", "skip", "risk", "fail"};

	return (unsigned)verdict < SWO_ARRAY_SIZE(names) ? names[verdict] : "unknown";
}

/* Describing */

int swo_probe_describe(
	const struct swo_probe_target *target, struct swo_probe_info *out, struct swo_error *err)
{
	const struct swo_device_ops *ops = target->ops;
	struct swo_error ignored;

	*out = (struct swo_probe_info){0};
	if (ops->get_mig_flags(target->self, &out->mig_flags, err) ||
		ops->get_state(target->self, &out->state, err))
		return -1;
	if (ops->features)
		out->features = ops->features(target->self);
	if (!(out->mig_flags & SWO_MIG_PRE_COPY))
		out->features &= ~(SWO_FEATURE_PRECOPY_INFO | SWO_FEATURE_PRECOPY_INFO_V2);
	if (ops->data_size && out->features & SWO_FEATURE_DATA_SIZE)
		out->has_data_size = !ops->data_size(target->self, &out->data_size, &ignored);
	/* A missing region has size 0. */
	for (uint32_t i = 0; ops->region_info && i < SWO_PROBE_REGIONS; i++)
		if (ops->region_info(target->self, i, &out->regions[i], &ignored))
			out->regions[i] = (struct swo_region_info){0};
	for (uint32_t i = 0; ops->irq_info && i < SWO_PROBE_IRQS; i++)
		if (ops->irq_info(target->self, i, &out->irqs[i], &ignored))
			out->irqs[i] = (struct swo_irq_info){0};
	return 0;
}

/* The run */

static void tell(const struct session *s, const char *what)
{
	if (s->params.progress && !s->lost)
		s->params.progress(s->params.opaque, s->target.name, what);
}

static void begin(struct session *s)
{
	struct swo_error err;

	if (swo_probe_describe(&s->target, &s->out->info, &err)) {
		probe_note(s, SWO_VERDICT_FAIL, "describe", "%s", err.text);
		s->lost = true;
		return;
	}
	s->flags = s->out->info.mig_flags;
	s->state = s->out->info.state;
	if (s->state != SWO_DEVICE_RUNNING)
		probe_note(s, SWO_VERDICT_RISK, "start", "the device was in %s before this run",
			swo_device_state_name(s->state));
	probe_reset_device(s);
}

struct check {
	const char *what;
	void (*run)(struct session *s);
};

static void run(struct session *s, const struct check *checks, unsigned count)
{
	for (unsigned i = 0; i < count && !s->lost; i++) {
		tell(s, checks[i].what);
		checks[i].run(s);
	}
}

/* What any migration may do. */
static void run_legal(struct session *s)
{
	static const struct check checks[] = {
		{"arcs", probe_check_arcs},
		{"combinations", probe_check_combinations},
		{"resets", probe_check_resets},
		{"sessions", probe_check_sessions},
		{"data", probe_check_data},
		{"extras", probe_check_extras},
		{"costs", probe_measure_costs},
	};

	begin(s);
	/* First: the first saved state is also loaded, even if a fault triggers once. */
	if (!s->lost)
		probe_need_good(s, "load.finalise");
	run(s, checks, SWO_ARRAY_SIZE(checks));
}

/* What may damage a device whose driver has a fault: last. */
static void run_illegal(struct session *s)
{
	static const struct check checks[] = {
		{"hostile states", probe_check_hostile},
		{"illegal requests", probe_check_refusals},
	};

	run(s, checks, SWO_ARRAY_SIZE(checks));
	if (!s->lost)
		probe_reset_device(s);
}

static void count(struct swo_probe_report *report)
{
	for (unsigned i = 0; i < report->device_count; i++)
		for (unsigned r = 0; r < report->devices[i].result_count; r++) {
			enum swo_verdict verdict = report->devices[i].results[r].verdict;

			report->fails += verdict == SWO_VERDICT_FAIL;
			report->risks += verdict == SWO_VERDICT_RISK;
		}
}

static int open_all(struct session **s, const struct swo_probe_target *targets, unsigned n,
	const struct swo_probe_params *params, struct swo_probe_report *report,
	struct swo_error *err)
{
	for (unsigned i = 0; i < n; i++) {
		s[i] = calloc(1, sizeof(**s));
		if (!s[i]) {
			/* Destroyed from here on. */
			for (unsigned k = i; k < n; k++)
				targets[k].ops->destroy(targets[k].self);
			return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "probe");
		}
		if (probe_session_open(s[i], &targets[i], params, &report->devices[i], err)) {
			for (unsigned k = i + 1; k < n; k++)
				targets[k].ops->destroy(targets[k].self);
			return -1;
		}
	}
	return 0;
}

static void run_all(struct session **s, unsigned n, struct swo_probe_report *report)
{
	for (unsigned i = 0; i < n && !report->interrupted; i++) {
		run_legal(s[i]);
		report->interrupted = s[i]->stopped;
	}
	if (!report->interrupted)
		probe_check_siblings(s, n, report);
	for (unsigned i = 0; i < n && !report->interrupted; i++) {
		run_illegal(s[i]);
		report->interrupted = s[i]->stopped;
	}
	for (unsigned i = 0; i < n; i++) {
		report->interrupted |= s[i]->stopped;
		probe_leave_running(s[i]);
	}
}

int swo_probe_exercise(const struct swo_probe_target *targets, unsigned n,
	const struct swo_probe_params *params, struct swo_probe_report **out, struct swo_error *err)
{
	struct swo_probe_report *report = calloc(1, sizeof(*report));
	struct session **s = calloc(n + 1, sizeof(struct session *));
	int rc = -1;

	if (report)
		report->devices = calloc(n + 1, sizeof(*report->devices));
	if (!report || !report->devices || !s) {
		swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "probe");
		for (unsigned i = 0; i < n; i++)
			targets[i].ops->destroy(targets[i].self);
	} else {
		report->device_count = n;
		rc = open_all(s, targets, n, params, report, err);
	}
	if (!rc) {
		run_all(s, n, report);
		count(report);
	}
	for (unsigned i = 0; s && i < n; i++)
		if (s[i]) {
			if (!rc)
				report->devices[i].lost = s[i]->lost;
			probe_session_close(s[i]);
		}
	free(s);
	if (rc)
		swo_probe_report_free(report);
	else
		*out = report;
	return rc;
}

void swo_probe_report_free(struct swo_probe_report *report)
{
	if (!report)
		return;
	for (unsigned i = 0; report->devices && i < report->device_count; i++)
		free(report->devices[i].results);
	free(report->devices);
	free(report);
}
