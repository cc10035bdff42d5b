/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * held.c - see held.h: releases a held migration, and reads the devices' counters.
 */
#include "held.h"

#include <stdio.h>
#include <string.h>

#define START_MS  60000
#define ANSWER_MS 20000
#define END_MS	  60000
#define STEP_MS	  20
#define LOOK_MS	  5

unsigned held_device(const struct held *held, enum pair_side side, unsigned i)
{
	return pair_kernel_number(&held->pair, side, i);
}

/* Starting */

static void sleep_or_fail(unsigned ms)
{
	struct swo_error err;

	if (process_sleep_ms(ms, &err))
		fail_msg("%s", err.text);
}

/*
 * Prints the log lines of a side's VMM that contain this text (NULL: all); returns their
 * number.
 */
static unsigned show_log(const struct held *held, enum pair_side side, const char *words)
{
	char path[128], line[1024];
	unsigned count = 0;

	snprintf(path, sizeof(path), "%s/%s.log", held->pair.dir, pair_side_name(side));
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file))
		if (!words || strstr(line, words)) {
			printf("# %s: %s", pair_side_name(side), line);
			count++;
		}
	if (file)
		fclose(file);
	return count;
}

unsigned held_surprises(const struct held *held)
{
	unsigned count = 0;

	for (unsigned side = 0; side < PAIR_SIDES; side++)
		count += show_log(
			held, side, "each device now changes state only when the VMM requests it");
	return count;
}

static bool firmware_is_idle(const struct held *held)
{
	char path[128], text[16384];
	size_t len;

	snprintf(path, sizeof(path), "%s/source.boot", held->pair.dir);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = 0;
	return strstr(text, "No bootable device") != NULL;
}

static void prepare(struct held *held, enum pair_side side)
{
	struct swo_error err;

	for (unsigned i = 0; i < held->pair.vfs; i++) {
		bed_prepare(held_device(held, side, i), held->config.profile);
		if (pair_kernel_prepare(&held->pair, side, i, &err))
			fail_msg("%s", err.text);
	}
}

void held_start(struct held *held, const struct pair_vmm *vmm, unsigned count, const char *profile)
{
	struct pair_config *config = &held->config;
	struct swo_error err;

	assert_true(count > 0 && count <= HELD_DEVICES);
	held->violations = 0;
	pair_defaults(config);
	config->backend = "kernel";
	config->profile = profile;
	config->channels = vmm->multifd ? 4 : 2;
	/* A guest that leaves the devices alone, as the one whose firmware finds nothing to boot does. */
	config->accel = "native";
	config->vcpus = 1;
	config->ram = "16M";
	config->dirty_rate = config->dma_pages = config->p2p_rate = config->irq_every = 0;
	config->doorbell_period_us = 4000000;
	if (pair_init(&held->pair, config, count, "parallel", &err))
		fail_msg("%s", err.text);
	held->pair.vmm = vmm;
	held->pair.no_journal = held->pair.quiet_devices = true;
	/* The next VMM compared may want the other kind of device. */
	bed_mdev = false;
	if (vmm->cdev)
		bed_make_mdevs();
	for (unsigned side = 0; side < PAIR_SIDES; side++)
		for (unsigned i = 0; i < count; i++)
			bed_prepare(held_device(held, side, i), profile);
	if (pair_start(&held->pair, &err)) {
		/* Their own output is more specific than the timeout. */
		for (unsigned side = 0; side < PAIR_SIDES; side++)
			show_log(held, side, NULL);
		fail_msg("%s", err.text);
	}
	swo_deadline until = swo_deadline_ms(START_MS);
	while (!vmm->ours && !firmware_is_idle(held)) {
		sleep_or_fail(STEP_MS);
		if (swo_deadline_passed(until))
			fail_msg("timed out waiting for the end of the source's firmware");
	}
}

void held_kill(struct held *held, enum pair_side side)
{
	process_kill(held->pair.ends[side].vm);
	held->pair.ends[side].vm = -1;
}

bool held_killed(const struct held *held, enum pair_side side)
{
	return held->pair.ends[side].vm < 0;
}

void held_new_target(struct held *held)
{
	struct swo_error err;

	held_kill(held, PAIR_TARGET);
	qmp_close(&held->pair.ends[PAIR_TARGET].qmp);
	prepare(held, PAIR_TARGET);
	if (pair_start_machine(&held->pair, PAIR_TARGET, &err))
		fail_msg("%s", err.text);
}

void held_stop(struct held *held)
{
	if (held->pair.config)
		pair_free(&held->pair, false);
	held->pair.config = NULL;
}

/* The monitor */

json_t *held_ask(struct held *held, enum pair_side side, const char *command, json_t *arguments)
{
	struct swo_error err = {.code = SWO_E_NONE};
	json_t *answer = qmp_execute(
		&held->pair.ends[side].qmp, command, arguments, swo_deadline_ms(ANSWER_MS), &err);

	if (!answer)
		printf("# %s, %s: %s\n", pair_side_name(side), command, err.text);
	return answer;
}

bool held_tell(struct held *held, enum pair_side side, const char *command, json_t *arguments)
{
	json_t *answer = held_ask(held, side, command, arguments);

	json_decref(answer);
	return answer != NULL;
}

bool held_alive(struct held *held, enum pair_side side)
{
	struct swo_error err = {.code = SWO_E_NONE};
	json_t *answer = qmp_execute(
		&held->pair.ends[side].qmp, "query-status", NULL, swo_deadline_ms(ANSWER_MS), &err);

	json_decref(answer);
	return answer != NULL;
}

static void must(struct held *held, enum pair_side side, const char *command, json_t *arguments)
{
	if (!held_tell(held, side, command, arguments))
		fail_msg("the %s refuses %s", pair_side_name(side), command);
}

/* Migrating */

unsigned held_count_in(const struct held *held, enum pair_side side, const char *state)
{
	unsigned count = 0;
	char text[32];

	for (unsigned i = 0; i < held->pair.vfs; i++) {
		bed_get(held_device(held, side, i), "state", text, sizeof(text));
		text[strcspn(text, "\n")] = 0;
		count += !strcmp(text, state);
	}
	return count;
}

void held_await(struct held *held, const char *moment, unsigned i)
{
	swo_deadline until = swo_deadline_ms(END_MS);
	const struct moment *m = moment_named(moment);
	struct swo_error err = {0};

	while (!moment_is_now(&held->pair, m, i, &err)) {
		if (err.code || swo_deadline_passed(until))
			fail_msg("timed out: the %s's device %u did not reach %s %s",
				pair_side_name(m->side), i, m->word, err.text);
		swo_sleep_until(swo_deadline_ms(5));
	}
}

static bool all_in(const struct held *held, enum pair_side side, const char *state)
{
	return held_count_in(held, side, state) == held->pair.vfs;
}

/* QEMU 10 and older go on as soon as nothing is left to be sent, whatever is allowed. */
static bool cannot_be_held(const char *status)
{
	return !strcmp(status, "device") || !strcmp(status, "completed");
}

/* Which a look at the states takes for the last before the stop. */
static bool is_in_precopy(struct held *held)
{
	bool is = all_in(held, PAIR_TARGET, "RESUMING") && all_in(held, PAIR_SOURCE, "PRE_COPY");

	if (!is)
		return false;
	uint64_t violations = held_order_violations(held);

	/* Had one been stopped meanwhile, it would be seen now. */
	if (all_in(held, PAIR_SOURCE, "PRE_COPY"))
		held->violations += violations;
	return true;
}

static bool memory_was_sent(struct held *held)
{
	bool precopy = is_in_precopy(held);
	json_t *info = held_ask(held, PAIR_SOURCE, "query-migrate", NULL);
	const char *status = info ? json_path_string(info, "status") : "";
	bool sent = cannot_be_held(status) ||
		    (precopy && !strcmp(status, "active") &&
			    json_path_number(info, "ram.dirty-sync-count") >= 2 &&
			    json_path_number(info, "ram.remaining") < 1);

	json_decref(info);
	return sent;
}

void held_begin(struct held *held)
{
	struct swo_error err;

	/* So little is allowed that it does not stop before it is let. Ours is not held back: its
	   prediction is not bent by a setting, and would allow it. */
	held->pair.parameters =
		held->pair.vmm->ours ? json_pack("{s:i}", "downtime-limit", 2000000)
				     : json_pack("{s:i, s:i, s:i}", "downtime-limit", 1,
					       "avail-switchover-bandwidth", 1, "max-bandwidth", 0);
	int rc = pair_migrate(&held->pair, &err);

	json_decref(held->pair.parameters);
	held->pair.parameters = NULL;
	if (rc)
		fail_msg("%s", err.text);
}

/* Where it is stuck. */
static void show_standstill(struct held *held)
{
	json_t *info = held_ask(held, PAIR_SOURCE, "query-migrate", NULL);
	char *text = info ? json_dumps(info, JSON_COMPACT) : NULL, state[32];

	printf("# query-migrate: %s\n", text ? text : "no answer");
	free(text);
	json_decref(info);
	for (unsigned side = 0; side < PAIR_SIDES; side++) {
		for (unsigned i = 0; i < held->pair.vfs; i++) {
			bed_get(held_device(held, side, i), "state", state, sizeof(state));
			printf("# %s: vf%u is in %s", pair_side_name(side), i, state);
		}
		show_log(held, side, NULL);
	}
}

void held_precopy(struct held *held)
{
	swo_deadline until = swo_deadline_ms(END_MS);

	held->violations = 0;
	held->violations = held_order_violations(held);
	if (held->pair.vmm->ours)
		return;
	held_begin(held);
	while (!memory_was_sent(held)) {
		sleep_or_fail(LOOK_MS);
		if (swo_deadline_passed(until)) {
			show_standstill(held);
			fail_msg("timed out waiting for PRE_COPY and RESUMING of the devices");
		}
	}
}

void held_switch(struct held *held)
{
	if (held->pair.vmm->ours) {
		held_begin(held);
		return;
	}
	must(held, PAIR_SOURCE, "migrate-set-parameters",
		json_pack("{s:i, s:I}", "downtime-limit", 2000000, "avail-switchover-bandwidth",
			(json_int_t)1 << 40));
}

void held_handed_over(struct held *held)
{
	swo_deadline until = swo_deadline_ms(END_MS);

	while (!all_in(held, PAIR_TARGET, "RUNNING")) {
		sleep_or_fail(STEP_MS);
		if (swo_deadline_passed(until))
			fail_msg("timed out waiting for the devices to run on the target");
	}
}

const char *held_outcome(struct held *held)
{
	static char status[32];
	swo_deadline until = swo_deadline_ms(END_MS);

	for (;;) {
		struct swo_error err = {.code = SWO_E_NONE};
		json_t *info = qmp_execute(&held->pair.ends[PAIR_SOURCE].qmp, "query-migrate", NULL,
			swo_deadline_ms(END_MS), &err);

		snprintf(
			status, sizeof(status), "%s", info ? json_path_string(info, "status") : "");
		json_decref(info);
		if (!info || !strcmp(status, "completed") || !strcmp(status, "failed") ||
			!strcmp(status, "cancelled"))
			return status;
		if (swo_deadline_passed(until))
			fail_msg("the migration does not end; it is '%s'", status);
		swo_sleep_until(swo_deadline_ms(STEP_MS));
	}
}

bool held_runs(struct held *held, enum pair_side side, unsigned within_ms)
{
	swo_deadline until = swo_deadline_ms(within_ms);

	for (;;) {
		struct swo_error err;
		json_t *status = qmp_execute(&held->pair.ends[side].qmp, "query-status", NULL,
			swo_deadline_ms(ANSWER_MS), &err);
		bool runs = status && json_is_true(json_path(status, "running"));
		bool gone = !status;

		json_decref(status);
		if (runs || gone || swo_deadline_passed(until))
			return runs;
		swo_sleep_until(swo_deadline_ms(STEP_MS));
	}
}

/* What the devices saw */

double held_outage_ms(const struct held *held)
{
	uint64_t first = UINT64_MAX, last = 0;

	for (unsigned i = 0; i < held->pair.vfs; i++) {
		struct bed_arc to_p2p =
			bed_arc(held_device(held, PAIR_SOURCE, i), SVF_PRE_COPY, SVF_PRE_COPY_P2P);
		struct bed_arc to_running =
			bed_arc(held_device(held, PAIR_TARGET, i), SVF_RUNNING_P2P, SVF_RUNNING);

		assert_int_equal(to_p2p.count, 1);
		assert_int_equal(to_running.count, 1);
		first = to_p2p.start < first ? to_p2p.start : first;
		last = to_running.end > last ? to_running.end : last;
	}
	return (double)(last - first) / 1e6;
}

uint64_t held_order_violations(const struct held *held)
{
	return held_counter(held, PAIR_SOURCE, "p2p_order_violations") +
	       held_counter(held, PAIR_TARGET, "p2p_order_violations") - held->violations;
}

uint64_t held_counter(const struct held *held, enum pair_side side, const char *name)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < held->pair.vfs; i++)
		sum += bed_counter(held_device(held, side, i), name);
	return sum;
}

bool held_state_equal(const struct held *held)
{
	for (unsigned i = 0; i < held->pair.vfs; i++) {
		char saved[64], loaded[64];

		bed_get(held_device(held, PAIR_SOURCE, i), "state_hash", saved, sizeof(saved));
		bed_get(held_device(held, PAIR_TARGET, i), "state_hash", loaded, sizeof(loaded));
		if (strcmp(saved, loaded) != 0 || !strncmp(saved, "0000000000000000", 16))
			return false;
	}
	return true;
}
