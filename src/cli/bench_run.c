/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_run.c - one migration: two machines and their devices are started, the
 * guest boots, is migrated over QMP, runs on a little; then everybody is asked what they saw.
 */
#include "cli/bench.h"
#include "cli/bench_ask.h"
#include "cli/qmp_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_MS   60000  /* for all processes to listen */
#define BOOT_MS	   120000 /* until the guest rings every device: KVM may have to emulate it */
#define MIGRATE_MS 300000
#define SETTLE_MS  300 /* the guest runs so long before and after, to show that it does */

enum { SOURCE, TARGET, SIDES };

struct side {
	int vm;
	int devs[BENCH_VFS_MAX];
	struct qmp qmp;
	struct json_sock controls[BENCH_VFS_MAX];
};

struct run {
	const struct bench_config *config;
	unsigned vfs;
	const char *transitions;
	char dir[64];
	char uri[128];
	struct side sides[SIDES];
	struct bench_sample *sample;
};

/* ---- arguments of the processes ---------------------------------------------------------- */

#define ARGS_MAX (32 + 2 * BENCH_VFS_MAX)

struct args {
	const char *argv[ARGS_MAX + 1];
	size_t count;
	bool failed;
};

static void arg(struct args *args, const char *fmt, ...) SWO_PRINTF(2, 3);
static void arg(struct args *args, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	int rc = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (rc < 0 || args->count == ARGS_MAX) {
		args->failed = true;
		if (rc >= 0)
			free(text);
		return;
	}
	args->argv[args->count++] = text;
}

static int spawn_args(struct args *args, const char *name, const char *log, struct swo_error *err)
{
	int handle = args->failed ? swo_error_set(err, SWO_E_NO_MEMORY, 0, "arguments of %s", name)
				  : bench_spawn(name, args->argv, log, err);

	for (size_t i = 0; i < args->count; i++)
		free((char *)args->argv[i]);
	return handle;
}

static const char *side_name(int side)
{
	return side == SOURCE ? "source" : "target";
}

static int start_device(struct run *run, int side, unsigned i, struct swo_error *err)
{
	const struct bench_config *config = run->config;
	const char *s = side_name(side);
	struct args args = {.count = 0};
	char log[128], name[32];
	int pf = bench_pf_of(config, i);

	arg(&args, "%s/switchover-simvf", bench_program_dir());
	arg(&args, "--socket=%s/%s-vf%u", run->dir, s, i);
	arg(&args, "--control=%s/%s-vf%u.ctl", run->dir, s, i);
	arg(&args, "--name=vf%u", i);
	arg(&args, "--profile=%s", bench_profile_of(config, i));
	arg(&args, "--quiet");
	if (pf >= 0) {
		/* Each side's firmware is its own: they are different hosts. */
		arg(&args, "--pf=%s-%s-%d", config->pf ? config->pf : "pf", s, pf);
		arg(&args, "--pf-dir=%s", run->dir);
	}
	if (config->pf_arcs)
		arg(&args, "--pf-arcs");
	snprintf(name, sizeof(name), "%s's device vf%u", s, i);
	snprintf(log, sizeof(log), "%s/%s-vf%u.log", run->dir, s, i);
	run->sides[side].devs[i] = spawn_args(&args, name, log, err);
	return run->sides[side].devs[i] < 0 ? -1 : 0;
}

/* What both machines have in common. */
static void machine_args(const struct run *run, int side, struct args *args)
{
	const struct bench_config *config = run->config;

	arg(args, "/proc/self/exe");
	arg(args, "vm");
	arg(args, "--accel=%s", config->accel);
	arg(args, "--vcpus=%u", config->vcpus);
	arg(args, "--ram=%s", config->ram);
	arg(args, "--qmp=unix:%s/%s.qmp", run->dir, side_name(side));
	arg(args, "--quiet");
	arg(args, "--transitions=%s", run->transitions);
	if (config->join)
		arg(args, "--join=%s", config->join);
	arg(args, "--doorbell-period-us=%u", bench_doorbell_period_us(config, run->vfs));
	arg(args, "--dirty-rate=%u", config->dirty_rate);
	arg(args, "--dma-pages=%u", config->dma_pages);
	arg(args, "--dma-rate=%u", config->dma_rate);
	/* One device has no sibling to write to. */
	arg(args, "--p2p-rate=%u", run->vfs > 1 ? config->p2p_rate : 0);
	arg(args, "--irq-every=%u", config->irq_every);
	if (config->handler_cost_ms)
		arg(args, "--handler-cost=%u", config->handler_cost_ms);
}

static int start_machine(struct run *run, int side, struct swo_error *err)
{
	struct args args = {.count = 0};
	char log[128];

	machine_args(run, side, &args);
	for (unsigned i = 0; i < run->vfs; i++) {
		arg(&args, "--device");
		arg(&args, "vfio-user,socket=%s/%s-vf%u,id=vf%u", run->dir, side_name(side), i, i);
	}
	if (side == TARGET)
		arg(&args, "--incoming=defer");
	snprintf(log, sizeof(log), "%s/%s.log", run->dir, side_name(side));
	run->sides[side].vm = spawn_args(&args, side_name(side), log, err);
	return run->sides[side].vm < 0 ? -1 : 0;
}

/* A port that was free a moment ago; the next migration asks anew. */
static int free_port(struct swo_error *err)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	swo_autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) ||
		getsockname(fd, (struct sockaddr *)&addr, &len))
		return swo_error_set(err, SWO_E_IO, errno, "find a free port on 127.0.0.1");
	return ntohs(addr.sin_port);
}

static int choose_uri(struct run *run, struct swo_error *err)
{
	if (!strcmp(run->config->channel, "unix")) {
		snprintf(run->uri, sizeof(run->uri), "unix:%s/migration", run->dir);
		return 0;
	}
	int port = free_port(err);
	snprintf(run->uri, sizeof(run->uri), "tcp:127.0.0.1:%d", port);
	return port < 0 ? -1 : 0;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static void say(const struct run *run, const char *what)
{
	if (run->config->verbose)
		fprintf(stderr, "%u %s: %s\n", run->vfs, run->transitions, what);
}

static int start_all(struct run *run, struct swo_error *err)
{
	say(run, "starting devices and machines");
	if (choose_uri(run, err))
		return -1;
	for (int side = SOURCE; side < SIDES; side++) {
		for (unsigned i = 0; i < run->vfs; i++)
			if (start_device(run, side, i, err))
				return -1;
		for (unsigned i = 0; i < run->vfs; i++)
			if (ask_open(&run->sides[side].controls[i], err, START_MS, "%s/%s-vf%u.ctl",
				    run->dir, side_name(side), i))
				return -1;
	}
	for (int side = SOURCE; side < SIDES; side++) {
		char uri[128];

		if (start_machine(run, side, err))
			return -1;
		snprintf(uri, sizeof(uri), "unix:%s/%s.qmp", run->dir, side_name(side));
		if (ask_qmp_open(&run->sides[side].qmp, uri, START_MS, err))
			return -1;
	}
	return 0;
}

/* Until every device of a side has heard `more` doorbells more than at the first look. */
static int wait_for_doorbells(
	struct run *run, int side, unsigned more, uint64_t deadline_ms, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(deadline_ms);

	for (unsigned i = 0; i < run->vfs; i++) {
		double first = -1, count = 0;

		for (;;) {
			json_t *report = ask(&run->sides[side].controls[i], "report", err);

			if (!report)
				return -1;
			count = json_path_number(report, "doorbells");
			json_decref(report);
			if (first < 0)
				first = count;
			if (count >= first + more && first + count > 0)
				break;
			if (swo_deadline_passed(deadline))
				return swo_error_set(err, SWO_E_TIMEOUT, 0,
					"the guest on the %s does not ring device vf%u steadily "
					"(%.0f doorbells so far)",
					side_name(side), i, count);
			if (bench_sleep_ms(10, err))
				return -1;
		}
	}
	return 0;
}

static int boot(struct run *run, struct swo_error *err)
{
	say(run, "waiting for the guest");
	/* Until the last device is found the first ones may be rung irregularly. */
	if (wait_for_doorbells(run, SOURCE, 50, BOOT_MS, err) ||
		wait_for_doorbells(run, SOURCE, 50, BOOT_MS, err))
		return -1;
	/* Gaps while the guest came up are not the migration's. */
	for (unsigned i = 0; i < run->vfs; i++) {
		json_t *answer = ask(&run->sides[SOURCE].controls[i], "reset-stats", err);

		if (!answer)
			return -1;
		json_decref(answer);
	}
	return bench_sleep_ms(SETTLE_MS, err);
}

static int set_parameters(struct run *run, int side, struct swo_error *err)
{
	const struct bench_config *config = run->config;
	/* Far beyond what any profile needs: what is measured is not to be a refusal. */
	json_t *parameters = json_pack(
		"{s:i, s:i}", "downtime-limit", 60000, "multifd-channels", (int)config->channels);

	if (config->stream)
		json_object_set_new(parameters, "x-stream", json_string(config->stream));
	if (config->finalise)
		json_object_set_new(parameters, "x-finalise", json_string(config->finalise));
	if (config->config)
		json_object_set_new(parameters, "x-config", json_string(config->config));
	return ask_qmp_do(&run->sides[side].qmp, "migrate-set-parameters", parameters, err);
}

static bool is_end(const char *status)
{
	return !strcmp(status, "completed") || !strcmp(status, "failed") ||
	       !strcmp(status, "cancelled") || !strcmp(status, "in-doubt");
}

/* An event tells of the end at once; asking now and then is for a monitor that sends none. */
static bool has_ended(struct run *run, unsigned look)
{
	struct qmp *source = &run->sides[SOURCE].qmp;
	json_t *event = qmp_event(source, swo_deadline_ms(50), NULL);
	bool ended = is_end(json_path_string(event, "data.status"));

	json_decref(event);
	if (!ended && look % 20 == 19) {
		json_t *info = ask_qmp(source, "query-migrate", NULL, NULL);

		ended = is_end(json_path_string(info, "status"));
		json_decref(info);
	}
	return ended;
}

/* Watches it to its end, sampling both machines. */
static int wait_for_end(struct run *run, struct swo_error *err)
{
	struct bench_sample *sample = run->sample;
	swo_deadline deadline = swo_deadline_ms(MIGRATE_MS);

	for (unsigned look = 0;; look++) {
		bool ended = has_ended(run, look);

		for (int side = SOURCE; side < SIDES; side++)
			bench_sample_process(bench_pid(run->sides[side].vm), &sample->threads_max,
				&sample->rss_max_bytes);
		if (bench_check_alive(err))
			return -1;
		if (ended)
			return 0;
		if (swo_deadline_passed(deadline))
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"the migration did not end in %d s", MIGRATE_MS / 1000);
	}
}

static int migrate(struct run *run, struct swo_error *err)
{
	say(run, "migrating");
	for (int side = SOURCE; side < SIDES; side++)
		if (set_parameters(run, side, err))
			return -1;
	if (ask_qmp_do(&run->sides[TARGET].qmp, "migrate-incoming",
		    json_pack("{s:s}", "uri", run->uri), err) ||
		ask_qmp_do(&run->sides[SOURCE].qmp, "migrate", json_pack("{s:s}", "uri", run->uri),
			err))
		return -1;
	return wait_for_end(run, err);
}

static int gather_reports(struct run *run, int side, json_t **out, struct swo_error *err)
{
	*out = json_array();
	for (unsigned i = 0; i < run->vfs; i++) {
		json_t *report = ask(&run->sides[side].controls[i], "report", err);

		if (!report || json_array_append_new(*out, report))
			return -1;
	}
	return 0;
}

static int gather(struct run *run, struct bench_gathered *g, struct swo_error *err)
{
	struct qmp *source = &run->sides[SOURCE].qmp, *target = &run->sides[TARGET].qmp;

	g->vfs = run->vfs;
	if (!(g->source_migrate = ask_qmp(source, "query-migrate", NULL, err)) ||
		!(g->source_status = ask_qmp(source, "query-status", NULL, err)) ||
		!(g->timeline = ask_timeline(source, err)))
		return -1;
	bool completed = !strcmp(json_path_string(g->source_migrate, "status"), "completed");
	/* Shows that the machine runs over there; when it does not, the evaluation says why. */
	if (completed && (wait_for_doorbells(run, TARGET, 20, BOOT_MS, err) ||
				 bench_sleep_ms(SETTLE_MS, err)))
		return -1;
	if (!(g->target_status = ask_qmp(target, "query-status", NULL, err)))
		return -1;
	if (completed && (!(g->target_guest = ask_qmp(target, "x-query-guest", NULL, err)) ||
				 ask_qmp_do(target, "stop", NULL, err) ||
				 !(g->target_ram = ask_qmp(target, "x-check-ram", NULL, err))))
		return -1;
	return gather_reports(run, SOURCE, &g->source_reports, err) ||
	       gather_reports(run, TARGET, &g->target_reports, err);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int make_dir(struct run *run, struct swo_error *err)
{
	const char *tmp = getenv("TMPDIR");

	/* A socket's path has little room: a long TMPDIR is not for us. */
	if (!tmp || strlen(tmp) > 20)
		tmp = "/tmp";
	snprintf(run->dir, sizeof(run->dir), "%s/switchover-bench.XXXXXX", tmp);
	if (!mkdtemp(run->dir))
		return swo_error_set(err, SWO_E_IO, errno, "make a directory in %s", tmp);
	return 0;
}

static void end_all(struct run *run)
{
	for (int side = SOURCE; side < SIDES; side++) {
		for (unsigned i = 0; i < run->vfs; i++)
			json_sock_close(&run->sides[side].controls[i]);
		qmp_close(&run->sides[side].qmp);
	}
	bench_kill_all();
}

int bench_migrate_once(const struct bench_config *config, unsigned vfs, const char *transitions,
	struct bench_sample *sample, struct swo_error *err)
{
	struct run *run = calloc(1, sizeof(*run));
	struct bench_gathered gathered = {0};

	*sample = (struct bench_sample){0};
	if (!run)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "one run");
	*run = (struct run){
		.config = config, .vfs = vfs, .transitions = transitions, .sample = sample};
	for (int side = SOURCE; side < SIDES; side++) {
		run->sides[side].qmp.sock = (struct json_sock)JSON_SOCK_INIT;
		for (unsigned i = 0; i < vfs; i++)
			run->sides[side].controls[i] = (struct json_sock)JSON_SOCK_INIT;
	}
	if (make_dir(run, err)) {
		free(run);
		return -1;
	}
	int rc = start_all(run, err) || boot(run, err) || migrate(run, err) ||
		 gather(run, &gathered, err);
	if (rc) {
		/* A process that died says more than the one that missed it. */
		bench_check_alive(err);
	} else {
		bench_evaluate(config, &gathered, sample);
	}
	end_all(run);
	bench_gathered_free(&gathered);
	if (config->keep || ((rc || !sample->whole) && !bench_interrupted))
		fprintf(stderr, "switchover bench: logs and sockets are in %s\n", run->dir);
	else
		ask_remove_dir(run->dir);
	free(run);
	return rc ? -1 : 0;
}
