/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metrics.c - a machine's migrations as metrics, in Prometheus' text format 0.0.4. What is not known
 * is absent: 0 would be a figure.
 */
#include "internal.h"
#include "qmp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A copy of all that is written, so that no lock is held while it is. */
struct snapshot {
	struct machine_counters counters;
	bool any, is_source;
	struct swo_migration_info info;
	struct device_run {
		uint64_t left_ns, back_ns; /* it left RUNNING, and was in it again; 0: unknown */
	} * runs;
};

/* Outcomes */

void machine_count_ended(struct vmm_machine *m)
{
	struct machine_counters *counters = &m->counters;
	struct swo_migration_info info;

	if (!m->migration || m->counted || !swo_migration_wait(m->migration, swo_now_ns()))
		return;
	swo_migration_info(m->migration, &info);
	m->counted = true;
	if (info.status == SWO_MIGRATION_COMPLETED) {
		counters->completed++;
		counters->limit_misses += info.over_limit_ns > 0;
		return;
	}
	if (info.status == SWO_MIGRATION_CANCELLED)
		counters->cancelled++;
	else
		counters->failed++;
	if (info.projected_downtime_ns)
		counters->ceiling_aborts++;
	else if ((unsigned)info.error.code < MACHINE_REASONS)
		counters->aborts[info.error.code]++;
}

static bool is_running(enum swo_device_state state)
{
	return state == SWO_DEVICE_RUNNING || state == SWO_DEVICE_PRE_COPY;
}

/* Of the last migration, both sides of which are in a source's timeline. */
static void find_runs(struct vmm_machine *m, struct device_run *runs)
{
	struct swo_span span;

	for (size_t i = 0; swo_timeline_get(m->timeline, i, &span); i++) {
		unsigned at = 0;

		if (span.event != SWO_EVENT_ARC || span.failed)
			continue;
		while (at < m->device_count &&
			strcmp(swo_device_name(m->devices[at].dev), span.device) != 0)
			at++;
		if (at == m->device_count)
			continue;
		if (span.side == SWO_SIDE_SOURCE && is_running(span.from) && !is_running(span.to))
			runs[at].left_ns = span.start_ns;
		else if (span.side == SWO_SIDE_TARGET && span.to == SWO_DEVICE_RUNNING)
			runs[at].back_ns = span.end_ns;
	}
}

static int take(struct vmm_machine *m, struct snapshot *out)
{
	*out = (struct snapshot){.runs = calloc(m->device_count + 1, sizeof(*out->runs))};
	if (!out->runs)
		return -1;
	pthread_mutex_lock(&m->lock);
	machine_count_ended(m);
	out->counters = m->counters;
	out->any = m->migration;
	out->is_source = m->is_source;
	if (out->any)
		swo_migration_info(m->migration, &out->info);
	if (out->any && m->is_source && m->timeline && out->info.status == SWO_MIGRATION_COMPLETED)
		find_runs(m, out->runs);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

/* Text */

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP switchover_%s %s\n# TYPE switchover_%s %s\n", name, help, name, type);
}

static void put_label(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=\"", name);
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			fputc('\\', out);
		if (*value == '\n')
			fputs("\\n", out);
		else
			fputc(*value, out);
	}
	fputc('"', out);
}

/* labels: name, value, ..., NULL, besides the VM's */
static void begin_sample(
	FILE *out, const struct vmm_machine *m, const char *name, const char *const *labels)
{
	fprintf(out, "switchover_%s{", name);
	put_label(out, "vm", m->name);
	for (; labels && *labels; labels += 2) {
		fputc(',', out);
		put_label(out, labels[0], labels[1]);
	}
	fputs("} ", out);
}

static void put_number(FILE *out, const struct vmm_machine *m, const char *name,
	const char *const *labels, uint64_t value)
{
	begin_sample(out, m, name, labels);
	fprintf(out, "%" PRIu64 "\n", value);
}

/* Not by way of %f: its decimal point depends on the locale. */
static void put_seconds(FILE *out, const struct vmm_machine *m, const char *name,
	const char *const *labels, uint64_t ns)
{
	begin_sample(out, m, name, labels);
	fprintf(out, "%" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000, ns % 1000000000);
}

static void put_counters(FILE *out, const struct vmm_machine *m, const struct machine_counters *c)
{
	family(out, "migrations_total", "counter", "Migrations that have ended, by outcome.");
	put_number(out, m, "migrations_total", (const char *const[]){"outcome", "completed", NULL},
		c->completed);
	put_number(out, m, "migrations_total", (const char *const[]){"outcome", "failed", NULL},
		c->failed);
	put_number(out, m, "migrations_total", (const char *const[]){"outcome", "cancelled", NULL},
		c->cancelled);
	family(out, "aborts_total", "counter",
		"Migrations that failed or were cancelled, by reason.");
	put_number(out, m, "aborts_total",
		(const char *const[]){"reason", "downtime-ceiling", NULL}, c->ceiling_aborts);
	for (unsigned code = SWO_E_NONE + 1; code < MACHINE_REASONS; code++)
		put_number(out, m, "aborts_total",
			(const char *const[]){
				"reason", swo_error_code_name((enum swo_error_code)code), NULL},
			c->aborts[code]);
	family(out, "downtime_limit_misses_total", "counter",
		"Completed migrations whose downtime was over downtime-limit.");
	put_number(out, m, "downtime_limit_misses_total", NULL, c->limit_misses);
}

static void put_migration(FILE *out, const struct vmm_machine *m, const struct snapshot *s)
{
	const struct swo_migration_info *info = &s->info;

	family(out, "migration_in_doubt", "gauge",
		"1 while it is not known on which host the VM runs, else 0.");
	put_number(out, m, "migration_in_doubt", NULL,
		s->any && info->status == SWO_MIGRATION_IN_DOUBT);
	if (!s->any || !s->is_source)
		return;
	/* Without some devices it is no prediction of the whole. */
	if (info->predicted_downtime_ns && !info->predicted_without) {
		family(out, "downtime_predicted_seconds", "gauge",
			"Predicted downtime of the last migration.");
		put_seconds(
			out, m, "downtime_predicted_seconds", NULL, info->predicted_downtime_ns);
	}
	if (info->downtime_ns) {
		family(out, "downtime_seconds", "gauge",
			"Measured downtime (blackout) of the last migration.");
		put_seconds(out, m, "downtime_seconds", NULL, info->downtime_ns);
	}
	family(out, "ram_sent_bytes", "gauge", "RAM that the last migration has sent.");
	put_number(out, m, "ram_sent_bytes", NULL, info->ram_sent);
	family(out, "device_state_sent_bytes", "gauge",
		"Device state that the last migration has sent.");
	put_number(out, m, "device_state_sent_bytes", NULL, info->device_sent);
}

static void put_blackouts(FILE *out, const struct vmm_machine *m, const struct snapshot *s)
{
	bool begun = false;

	for (unsigned i = 0; i < m->device_count; i++) {
		const struct device_run *run = &s->runs[i];

		if (!run->left_ns || run->back_ns <= run->left_ns)
			continue;
		if (!begun)
			family(out, "device_blackout_seconds", "gauge",
				"From the start of the arc with which a device left RUNNING to the "
				"end of the one back to it, in the last migration.");
		begun = true;
		put_seconds(out, m, "device_blackout_seconds",
			(const char *const[]){"device", swo_device_name(m->devices[i].dev), NULL},
			run->back_ns - run->left_ns);
	}
}

/* All samples of a family belong together: once the expected costs, then the measured ones. */
static void put_arcs(
	FILE *out, const struct vmm_machine *m, const char *name, const char *help, bool measured)
{
	bool begun = false;

	for (unsigned i = 0; i < m->device_count; i++)
		for (unsigned at = 0; at < SWO_DEVICE_STATES * SWO_DEVICE_STATES; at++) {
			const enum swo_device_state from = at / SWO_DEVICE_STATES,
						    to = at % SWO_DEVICE_STATES;
			struct swo_device *dev = m->devices[i].dev;
			const struct swo_arc_cost cost = swo_device_arc_cost(dev, from, to);

			if (measured ? !cost.count : cost.mean_ns == SWO_UNKNOWN)
				continue;
			if (!begun)
				family(out, name, "gauge", help);
			begun = true;
			put_seconds(out, m, name,
				(const char *const[]){"device", swo_device_name(dev), "from",
					swo_device_state_name(from), "to",
					swo_device_state_name(to), NULL},
				measured ? cost.last_ns : cost.mean_ns);
		}
}

int vmm_machine_metrics(struct vmm_machine *m, char **text, struct swo_error *err)
{
	struct snapshot s;
	size_t size;
	FILE *out;

	*text = NULL;
	if (take(m, &s) || !(out = open_memstream(text, &size))) {
		free(s.runs);
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "the metrics");
	}
	put_counters(out, m, &s.counters);
	put_migration(out, m, &s);
	put_blackouts(out, m, &s);
	put_arcs(out, m, "device_arc_predicted_seconds",
		"Time that an arc of a device is expected to take.", false);
	put_arcs(out, m, "device_arc_seconds", "Time that the last run of an arc took.", true);
	free(s.runs);
	const bool whole = !ferror(out);

	if (!fclose(out) && whole)
		return 0;
	free(*text);
	*text = NULL;
	return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "the metrics");
}

const struct qmp_type qmp_metrics_info = QMP_OBJECT_OF({"text", &qmp_string, false});

int qmp_query_metrics(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	char *text;

	(void)args;
	if (vmm_machine_metrics(opaque, &text, err))
		return -1;
	*ret = json_pack("{s:s}", "text", text);
	free(text);
	return *ret ? 0 : swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "the metrics");
}
