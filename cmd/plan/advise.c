/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * advise.c - the predictions for one host, and what changing one thing would be worth: the
 * model is run again with each change.
 */
#include "cmd/plan/plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Less is not worth a line. */
#define WORTH_NS UINT64_C(200000)

/* A host that can be changed: the devices are a copy. */
struct host {
	struct swo_plan_setup setup;
	struct swo_plan_device *devices;
};

void plan_make_devices(const struct device_kinds *kinds, const struct plan_request *request,
	struct swo_plan_device *devices, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct swo_plan_device *d = &devices[i];

		*d = kinds->kinds[i % kinds->count];
		/* A name stands for one device. */
		if (i >= kinds->count || !d->name[0]) {
			memset(d->name, 0, sizeof(d->name));
			snprintf(d->name, sizeof(d->name), "vf%u", i);
		}
		if (request->pfs)
			d->costs.pf = (int)(i % request->pfs);
	}
}

static int predict(const struct swo_plan_setup *setup, uint64_t *ns, struct swo_error *err)
{
	struct swo_plan_result result;

	if (swo_plan_run(setup, &result, NULL, err))
		return -1;
	*ns = result.blackout_ns;
	swo_plan_free(&result);
	return 0;
}

/* With the default finalise and config, whatever is given: those can be set. */
static struct swo_plan_bound bound_of(const struct swo_plan_setup *setup)
{
	struct swo_plan_setup early = *setup;

	early.config = early.finalise = SWO_WHEN_EARLY;
	return swo_plan_lower_bound(&early);
}

/* Changes */

struct advising {
	const struct swo_plan_setup *setup;
	struct plan_answer *answer;
	struct host host; /* unchanged, except during a prediction */
	bool of_devices;  /* what is being weighed now */
	struct swo_error *err;
	int rc;
};

static void restore(struct advising *a)
{
	a->host.setup = *a->setup;
	a->host.setup.devices = a->host.devices;
	memcpy(a->host.devices, a->setup->devices, a->setup->count * sizeof(*a->host.devices));
}

/* The host was changed: what is that worth? And back again. */
static void weigh(struct advising *a, const char *fmt, ...) SWO_PRINTF(2, 3);
static void weigh(struct advising *a, const char *fmt, ...)
{
	struct plan_answer *answer = a->answer;
	uint64_t ns = 0;

	if (!a->rc)
		a->rc = predict(&a->host.setup, &ns, a->err);
	restore(a);
	if (a->rc || ns + WORTH_NS > answer->result.blackout_ns ||
		answer->change_count == PLAN_CHANGES_MAX)
		return;
	struct plan_change *change = &answer->changes[answer->change_count++];
	va_list ap;

	change->blackout_ns = ns;
	change->of_devices = a->of_devices;
	va_start(ap, fmt);
	vsnprintf(change->what, sizeof(change->what), fmt, ap);
	va_end(ap);
}

static void weigh_switches(struct advising *a)
{
	struct swo_plan_setup *s = &a->host.setup;

	s->transitions = SWO_TRANSITIONS_PARALLEL;
	weigh(a, "let all devices change state at once (transitions=parallel)");
	s->stream = SWO_WHEN_EARLY;
	weigh(a, "send a device's state as soon as it has stopped (stream=early)");
	s->finalise = SWO_WHEN_EARLY;
	weigh(a, "take RESUMING->STOP as soon as a device is loaded (finalise=early)");
	s->config = SWO_WHEN_EARLY;
	weigh(a, "apply the devices' config before the stop (config=early)");
	s->join = SWO_JOIN_PASS;
	weigh(a, "join the devices at the end of the pass (join=pass)");
}

/* Every other device of a PF moves to a new one. Gives the number of PFs then; 0: there are none.
 */
static unsigned split_pfs(struct host *host)
{
	unsigned pfs = 0, count = host->setup.count;

	/* Numbers first doubled, so that the new ones are free. */
	for (unsigned i = 0; i < count; i++)
		if (host->devices[i].costs.pf >= 0)
			host->devices[i].costs.pf *= 2;
	for (unsigned i = 0; i < count; i++) {
		unsigned turn = 0;

		if (host->devices[i].costs.pf < 0)
			continue;
		for (unsigned k = 0; k < i; k++)
			turn += host->devices[k].costs.pf >= 0 &&
				host->devices[k].costs.pf / 2 == host->devices[i].costs.pf / 2;
		host->devices[i].costs.pf += (int)(turn % 2);
		pfs += turn < 2;
	}
	return pfs;
}

static void weigh_host(struct advising *a)
{
	struct swo_plan_setup *s = &a->host.setup;
	unsigned channels = s->channels * 2 > 16 ? 16 : s->channels * 2;
	unsigned pfs = split_pfs(&a->host);

	weigh(a, "put the VFs on %u PFs", pfs);
	s->pf_arcs = false;
	weigh(a, "have a PF that does not take its VFs' arcs in turn");
	s->wire_rate *= 2;
	weigh(a, "use a wire that is twice as fast");
	s->channels = channels;
	weigh(a, "use %u channels", channels);
	s->window *= 4;
	weigh(a, "set device-window to %llu MiB", (unsigned long long)(a->setup->window * 4 >> 20));
	s->rtt_ns /= 2;
	weigh(a, "halve the round trip");
	s->ram_bytes = 0;
	weigh(a, "stop when no memory is left to send");
	/* What comes once is mostly waiting for each other. */
	s->overhead.arc_ns /= 2;
	s->overhead.stream_ns /= 2;
	s->overhead.state_rate *= 2;
	weigh(a, "have twice the CPUs for the engine");
}

/* Except in names and PFs. */
static bool all_alike(const struct swo_plan_setup *setup)
{
	const struct swo_plan_device *first = &setup->devices[0];

	for (unsigned i = 1; i < setup->count; i++)
		if (setup->devices[i].depth != first->depth ||
			memcmp(&setup->devices[i].costs, &first->costs,
				offsetof(struct swo_device_costs, pf)) != 0)
			return false;
	return true;
}

static void leave_out(struct host *host, unsigned i)
{
	host->setup.count--;
	memmove(&host->devices[i], &host->devices[i + 1],
		(host->setup.count - i) * sizeof(*host->devices));
}

/* Which single device costs most? Only where they differ: of a kind, none does. */
static void weigh_each(struct advising *a)
{
	uint64_t best_ns = UINT64_MAX, ns = 0;
	unsigned best = 0, n = a->setup->count;

	if (n < 2 || n > 64 || all_alike(a->setup))
		return;
	for (unsigned i = 0; i < n && !a->rc; i++) {
		leave_out(&a->host, i);
		a->rc = predict(&a->host.setup, &ns, a->err);
		restore(a);
		if (!a->rc && ns < best_ns) {
			best_ns = ns;
			best = i;
		}
	}
	leave_out(&a->host, best);
	weigh(a, "unplug %s before, and plug one in afterwards", a->setup->devices[best].name);
}

/* Changes of devices */

/* What is not known stays so. */
static void change(uint64_t *figure, double factor)
{
	if (*figure != SWO_UNKNOWN)
		*figure = (uint64_t)((double)*figure * factor);
}

static void weigh_state(struct advising *a)
{
	for (unsigned i = 0; i < a->setup->count; i++)
		a->host.devices[i].costs.precopy_bytes = a->host.devices[i].costs.state_bytes;
	weigh(a, "have devices whose whole state can be sent before the stop");
	for (unsigned i = 0; i < a->setup->count; i++) {
		change(&a->host.devices[i].costs.save_rate, 2);
		change(&a->host.devices[i].costs.load_rate, 2);
	}
	weigh(a, "have devices that save and load twice as fast");
}

static uint64_t *arc_of(struct swo_device_costs *c, unsigned arc)
{
	uint64_t *const arcs[] = {&c->running_to_p2p_ns, &c->p2p_to_stop_ns,
		&c->resuming_to_stop_ns, &c->stop_to_p2p_ns, &c->p2p_to_running_ns};

	return arcs[arc];
}

static void weigh_arcs(struct advising *a)
{
	static const char *const names[] = {"PRE_COPY->PRE_COPY_P2P", "PRE_COPY_P2P->STOP_COPY",
		"RESUMING->STOP", "STOP->RUNNING_P2P", "RUNNING_P2P->RUNNING"};

	for (unsigned arc = 0; arc < SWO_ARRAY_SIZE(names); arc++) {
		for (unsigned i = 0; i < a->setup->count; i++)
			change(arc_of(&a->host.devices[i].costs, arc), 0.5);
		weigh(a, "halve %s of every device", names[arc]);
	}
}

/* All of it */

static int by_gain(const void *one, const void *other)
{
	const struct plan_change *a = one, *b = other;

	if (a->of_devices != b->of_devices)
		return a->of_devices ? 1 : -1;
	if (a->blackout_ns != b->blackout_ns)
		return a->blackout_ns < b->blackout_ns ? -1 : 1;
	return strcmp(a->what, b->what);
}

static int advise(
	const struct swo_plan_setup *setup, struct plan_answer *answer, struct swo_error *err)
{
	struct advising a = {.setup = setup, .answer = answer, .err = err};

	a.host.devices = calloc(setup->count + 1, sizeof(*a.host.devices));
	if (!a.host.devices)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a plan");
	restore(&a);
	weigh_switches(&a);
	weigh_host(&a);
	weigh_each(&a);
	a.of_devices = true;
	weigh_state(&a);
	weigh_arcs(&a);
	free(a.host.devices);
	qsort(answer->changes, answer->change_count, sizeof(*answer->changes), by_gain);
	return a.rc;
}

int plan_answer(const struct swo_plan_setup *setup, struct plan_answer *answer,
	struct swo_timeline *timeline, struct swo_error *err)
{
	struct swo_plan_setup pipelined = *setup, late = *setup;

	*answer = (struct plan_answer){.vfs = setup->count};
	late.stream = late.finalise = late.config = SWO_WHEN_LATE;
	late.join = SWO_JOIN_DEPTH;
	pipelined.stream = pipelined.finalise = pipelined.config = SWO_WHEN_EARLY;
	pipelined.join = SWO_JOIN_PASS;
	pipelined.transitions = late.transitions = SWO_TRANSITIONS_PARALLEL;
	answer->bound = bound_of(setup);
	if (predict(&pipelined, &answer->pipelined_ns, err) ||
		predict(&late, &answer->parallel_ns, err))
		return -1;
	late.transitions = SWO_TRANSITIONS_SERIAL;
	if (predict(&late, &answer->serial_ns, err) ||
		swo_plan_run(setup, &answer->result, timeline, err))
		return -1;
	if (advise(setup, answer, err)) {
		plan_answer_free(answer);
		return -1;
	}
	return 0;
}

void plan_answer_free(struct plan_answer *answer)
{
	swo_plan_free(&answer->result);
	*answer = (struct plan_answer){0};
}
