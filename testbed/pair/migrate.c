/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migrate.c - a migration between the two machines over QMP: its parameters, start and end.
 */
#include "testbed/pair/pair.h"

#include <stdio.h>
#include <string.h>

static int set_parameters(struct pair *pair, enum pair_side side, struct swo_error *err)
{
	const struct pair_config *config = pair->config;
	/* Far above the need of any profile: the limit must not abort a measurement. */
	json_t *parameters = json_pack(
		"{s:i, s:i}", "downtime-limit", 60000, "multifd-channels", (int)config->channels);

	if (config->max_bandwidth)
		json_object_set_new(parameters, "max-bandwidth",
			json_integer((json_int_t)config->max_bandwidth));
	if (config->stream)
		json_object_set_new(parameters, "x-stream", json_string(config->stream));
	if (config->finalise)
		json_object_set_new(parameters, "x-finalise", json_string(config->finalise));
	if (config->config)
		json_object_set_new(parameters, "x-config", json_string(config->config));
	/*
	 * Debian's kernels report no device's log, and type1 tracks nothing behind an IOMMU. Devices
	 * of simvf.ko have type1: with less than that the migration is to fail.
	 */
	if ((config->no_dma_log && strcmp(config->backend, "kernel")) ||
		(pair_is_pci(pair) && pair->vmm->ours))
		json_object_set_new(parameters, "x-allow-no-dirty-tracking", json_true());
	if (config->tls) {
		json_object_set_new(parameters, "tls-creds", json_string(pair->dir));
		json_object_set_new(parameters, "tls-hostname", json_string(PAIR_TLS_HOST));
	}
	if (pair->parameters)
		json_object_update(parameters, pair->parameters);
	return monitor_command(&pair->ends[side].qmp, "migrate-set-parameters", parameters, err);
}

/* As in QEMU, the monitor sends a migration's status only if the capability is set. */
static int set_capabilities(struct pair *pair, enum pair_side side, struct swo_error *err)
{
	return monitor_command(&pair->ends[side].qmp, "migrate-set-capabilities",
		json_pack("{s:[{s:s, s:b}, {s:s, s:b}]}", "capabilities", "capability", "events",
			"state", 1, "capability", "multifd", "state", (int)pair->vmm->multifd),
		err);
}

#define SAMPLE_MS 50

static bool is_end(const char *status)
{
	return !strcmp(status, "completed") || !strcmp(status, "failed") ||
	       !strcmp(status, "cancelled") || !strcmp(status, "in-doubt");
}

/* An event reports the end immediately; the periodic query is for monitors without events. */
static bool has_ended(struct pair *pair, enum pair_side side, unsigned look, char *status)
{
	struct qmp *qmp = &pair->ends[side].qmp;
	json_t *answer = qmp_event(qmp, swo_deadline_ms(50), NULL);
	const char *word = json_path_string(answer, "data.status");

	if (!is_end(word) && look % 20 == 19) {
		json_decref(answer);
		answer = monitor_execute(qmp, "query-migrate", NULL, NULL);
		word = json_path_string(answer, "status");
	}
	bool ended = is_end(word);
	if (ended)
		snprintf(status, PAIR_STATUS_MAX, "%s", word);
	json_decref(answer);
	return ended;
}

static void sample_processes(struct pair *pair)
{
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		process_sample(
			process_pid(pair->ends[side].vm), &pair->threads_max, &pair->rss_max_bytes);
}

int pair_wait_side(struct pair *pair, enum pair_side side, uint64_t within_ms, char *status,
	struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(within_ms), next_sample = 0;

	for (unsigned look = 0; !has_ended(pair, side, look, status); look++) {
		/*
		 * Do not sample at every event: sampling takes CPU time from the sampled processes.
		 */
		if (swo_deadline_passed(next_sample)) {
			sample_processes(pair);
			next_sample = swo_deadline_ms(SAMPLE_MS);
		}
		if (pair_check(pair, err))
			return -1;
		if (swo_deadline_passed(deadline))
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"timed out waiting for the end of the migration (%llu s)",
				(unsigned long long)within_ms / 1000);
	}
	return 0;
}

int pair_wait_end(struct pair *pair, uint64_t within_ms, char *status, struct swo_error *err)
{
	return pair_wait_side(pair, PAIR_SOURCE, within_ms, status, err);
}

struct link *pair_put_link(struct pair *pair, struct swo_error *err)
{
	char uri[128];
	bool local = !strncmp(pair->listen_uri, "unix:", 5);

	snprintf(uri, sizeof(uri), "unix:%s/link", pair->dir);
	struct link *link = link_start(local ? uri : "tcp:127.0.0.1:0", pair->listen_uri, err);

	if (!link)
		return NULL;
	snprintf(pair->uri, sizeof(pair->uri), "%s", link_uri(link));
	link_set_rate(link, pair->config->link_rate);
	link_set_delay(
		link, (uint64_t)(pair->config->link_rtt_ms * 1e6), pair->config->link_buffer);
	return link;
}

/* Discard events of the previous migration. */
static void forget_events(struct qmp *qmp)
{
	json_t *event;

	while ((event = qmp_event(qmp, swo_now_ns(), NULL)))
		json_decref(event);
}

int pair_listen(struct pair *pair, struct swo_error *err)
{
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		forget_events(&pair->ends[side].qmp);
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++)
		if (set_capabilities(pair, side, err) || set_parameters(pair, side, err))
			return -1;
	return monitor_command(&pair->ends[PAIR_TARGET].qmp, "migrate-incoming",
		json_pack("{s:s}", "uri", pair->listen_uri), err);
}

int pair_send(struct pair *pair, struct swo_error *err)
{
	return monitor_command(
		&pair->ends[PAIR_SOURCE].qmp, "migrate", json_pack("{s:s}", "uri", pair->uri), err);
}

int pair_migrate(struct pair *pair, struct swo_error *err)
{
	pair_say(pair, "migrating");
	return pair_listen(pair, err) || pair_send(pair, err) ? -1 : 0;
}
