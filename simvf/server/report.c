/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report.c - the device's counters as JSON; docs/simvf.md describes the members.
 */
#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

static json_t *milliseconds(uint64_t ns)
{
	return json_real((double)ns / 1e6);
}

static uint64_t rss_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long long size = 0, resident = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static json_t *arcs(const struct svf *dev)
{
	json_t *list = json_array();

	for (unsigned from = 0; from < SVF_STATES; from++)
		for (unsigned to = 0; to < SVF_STATES; to++) {
			const struct svf_arc_stats *a = &dev->stats.arcs[from][to];

			if (!a->last_start_ns)
				continue;
			json_array_append_new(
				list, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "from",
					      svf_state_name(from), "to", svf_state_name(to),
					      "count", number(a->count), "last_start_ns",
					      number(a->last_start_ns), "last_end_ns",
					      number(a->last_end_ns), "errors", number(a->errors)));
		}
	return list;
}

static json_t *profile_values(const struct svf_profile *p)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o, s:b}",
		"to_p2p_ms", milliseconds(p->to_p2p_ns), "to_stop_copy_ms",
		milliseconds(p->to_stop_copy_ns), "resuming_to_stop_ms",
		milliseconds(p->resuming_to_stop_ns), "to_running_p2p_ms",
		milliseconds(p->to_running_p2p_ns), "to_running_ms", milliseconds(p->to_running_ns),
		"config_load_ms", milliseconds(p->config_load_ns), "state_bytes",
		number(p->state_bytes), "precopy_percent", (int)p->precopy_percent,
		"save_bytes_per_s", number(p->save_rate), "load_bytes_per_s", number(p->load_rate),
		"load_fixed_ms", milliseconds(p->load_fixed_ns), "guesses", p->guesses);
}

/* The last number of each vCPU that rang a doorbell. */
static json_t *doorbell_numbers(const struct svf *dev)
{
	unsigned count = SIMVF_DOORBELLS;
	json_t *list = json_array();

	while (count && !dev->regs.last[count - 1])
		count--;
	for (unsigned vcpu = 0; vcpu < count; vcpu++)
		json_array_append_new(list, number(dev->regs.last[vcpu]));
	return list;
}

static void add(json_t *report, const char *key, uint64_t value)
{
	json_object_set_new(report, key, number(value));
}

json_t *srv_report(struct srv *s)
{
	const struct svf_stats *t = &s->dev->stats;
	json_t *r = json_object();

	svf_look_at_inbox(s->dev);
	json_object_set_new(r, "device", json_string(s->args->name));
	json_object_set_new(r, "profile", json_string(s->dev->config.profile.name));
	json_object_set_new(r, "state", json_string(svf_state_name(s->dev->state)));
	add(r, "doorbells", t->doorbells);
	add(r, "doorbells_lost", t->lost);
	add(r, "doorbells_repeated", t->repeated);
	add(r, "first_doorbell_ns", t->first_doorbell_ns);
	add(r, "last_doorbell_ns", t->last_doorbell_ns);
	add(r, "max_gap_ns", t->max_gap_ns);
	add(r, "max_gap_start_ns", t->max_gap_start_ns);
	json_object_set_new(r, "doorbell_numbers", doorbell_numbers(s->dev));
	add(r, "quiesce_violations", t->quiesce_violations);
	add(r, "p2p_writes", t->p2p_writes);
	add(r, "p2p_received", t->p2p_received);
	add(r, "p2p_backwards", t->p2p_backwards);
	add(r, "p2p_violations", t->p2p_violations);
	add(r, "state_mismatches", t->state_mismatches);
	json_object_set_new(
		r, "state_hash", json_sprintf("%016llx", (unsigned long long)t->state_hash));
	add(r, "dma_pages", t->dma_pages);
	add(r, "dma_errors", t->dma_errors);
	add(r, "ram_mismatches", t->ram_mismatches);
	add(r, "irqs", t->irqs);
	add(r, "resets", t->resets);
	add(r, "fault_hits", t->fault_hits);
	json_object_set_new(r, "arcs", arcs(s->dev));
	add(r, "bytes_saved", t->bytes_saved);
	add(r, "bytes_loaded", t->bytes_loaded);
	add(r, "rss_bytes", rss_bytes());
	json_object_set_new(r, "profile_values", profile_values(&s->dev->config.profile));
	return r;
}

int srv_report_write(struct srv *s, const char *path, struct swo_error *err)
{
	json_t *report = srv_report(s);
	int rc = report ? json_dump_file(report, path, JSON_INDENT(1)) : -1;

	json_decref(report);
	return rc ? swo_error_set(err, SWO_E_IO, errno, "--report: cannot write '%s'", path) : 0;
}

void srv_report_line(struct srv *s)
{
	const struct svf_stats *t = &s->dev->stats;

	fprintf(stderr,
		"%s: %s, doorbells %llu (lost %llu, repeated %llu), violations: quiesce %llu, "
		"p2p %llu; mismatches: state %llu, RAM %llu; resets %llu\n",
		s->args->name, svf_state_name(s->dev->state), (unsigned long long)t->doorbells,
		(unsigned long long)t->lost, (unsigned long long)t->repeated,
		(unsigned long long)t->quiesce_violations, (unsigned long long)t->p2p_violations,
		(unsigned long long)t->state_mismatches, (unsigned long long)t->ram_mismatches,
		(unsigned long long)t->resets);
}
