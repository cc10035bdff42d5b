/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pair.c - two machines and their devices as processes: starts, boots, migrates (over QMP) and ends
 * them.
 */
#include "testbed/pair/vmm.h"

#include "testbed/pki.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 60000 /* for all processes to listen */
#define RETRY_MS 500   /* between two checks that they are alive */
#define BOOT_MS                                                                                    \
	120000 /* until the guest has rung every device; KVM may have to emulate instructions */
#define BOOT_EACH_MS 4000 /* added for each device */

/* Processes */

const char *pair_side_name(enum pair_side side)
{
	return side == PAIR_SOURCE ? "source" : "target";
}

const char *pair_host(const struct pair *pair, enum pair_side side)
{
	return pair_side_name(pair->turned ? (enum pair_side) !side : side);
}

static int start_device(struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err)
{
	const struct pair_config *config = pair->config;
	const char *s = pair_host(pair, side);
	struct pair_args args = {.count = 0};
	char log[128], name[32];
	int pf = pair_pf_of(config, i);

	if (pair_is_kernel(pair))
		return pair_kernel_prepare(pair, side, i, err);
	pair_arg(&args, "%s/switchover-simvf", process_program_dir());
	pair_arg(&args, "--socket=%s/%s-vf%u", pair->dir, s, i);
	pair_arg(&args, "--control=%s/%s-vf%u.ctl", pair->dir, s, i);
	pair_arg(&args, "--name=vf%u", i);
	pair_arg(&args, "--profile=%s", pair_profile_of(config, i));
	pair_arg(&args, "--quiet");
	if (config->state_bytes)
		pair_arg(&args, "--state-size=%" PRIu64, config->state_bytes);
	if (pair->simvf_option)
		pair_arg(&args, "%s", pair->simvf_option);
	if (pf >= 0) {
		/* Each side has its own firmware, as on different hosts. */
		pair_arg(&args, "--pf=%s-%s-%d", config->pf ? config->pf : "pf", s, pf);
		pair_arg(&args, "--pf-dir=%s", pair->dir);
	}
	if (config->pf_arcs)
		pair_arg(&args, "--pf-arcs");
	if (config->late_dma)
		pair_arg(&args, "--late-dma");
	if (config->no_dma_log)
		pair_arg(&args, "--no-dma-log");
	snprintf(name, sizeof(name), "%s's device vf%u", s, i);
	snprintf(log, sizeof(log), "%s/%s-vf%u.log", pair->dir, s, i);
	pair->ends[side].devs[i] = pair_args_spawn(&args, name, log, err);
	return pair->ends[side].devs[i] < 0 ? -1 : 0;
}

static int start_machine(struct pair *pair, enum pair_side side, struct swo_error *err)
{
	struct pair_args args = {.count = 0};
	char log[128], pid_file[128];

	pair_vmm_args(pair, side, &args);
	snprintf(log, sizeof(log), "%s/%s.log", pair->dir, pair_host(pair, side));
	pair->ends[side].vm = pair_args_spawn(&args, pair_side_name(side), log, err);
	if (pair->ends[side].vm < 0 || !pair->vmm->daemon)
		return pair->ends[side].vm < 0 ? -1 : 0;
	snprintf(pid_file, sizeof(pid_file), "%s/%s.pid", pair->dir, pair_host(pair, side));
	return process_follow(pair->ends[side].vm, pid_file, START_MS, err);
}

/* Both ends share one directory; their file names differ. */
static int make_credentials(struct pair *pair, struct swo_error *err)
{
	if (!pair->config->tls)
		return 0;
	return !strcmp(pair->config->tls, "psk")
		       ? pki_write_psk(pair->dir, "qemu", err)
		       : pki_write_x509(pair->dir, PAIR_TLS_HOST, "source.example", err);
}

int pair_free_port(struct swo_error *err)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	swo_autofd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) ||
		getsockname(fd, (struct sockaddr *)&addr, &len))
		return swo_error_set(err, SWO_E_IO, errno, "find a free port on 127.0.0.1");
	return ntohs(addr.sin_port);
}

static int choose_uri(struct pair *pair, struct swo_error *err)
{
	if (!strcmp(pair->config->channel, "unix")) {
		snprintf(
			pair->listen_uri, sizeof(pair->listen_uri), "unix:%s/migration", pair->dir);
	} else {
		int port = pair_free_port(err);

		if (port < 0)
			return -1;
		snprintf(pair->listen_uri, sizeof(pair->listen_uri), "tcp:127.0.0.1:%d", port);
	}
	strcpy(pair->uri, pair->listen_uri);
	return 0;
}

/* Steps */

void pair_say(const struct pair *pair, const char *what)
{
	if (pair->config->verbose)
		fprintf(stderr, "%u %s: %s\n", pair->vfs, pair->transitions, what);
}

/* Retries until the deadline, as long as the peer processes are alive. */
static int open_control(struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(START_MS);

	while (control_open(&pair->ends[side].controls[i], err, RETRY_MS, "%s/%s-vf%u.ctl",
		pair->dir, pair_side_name(side), i))
		if (swo_deadline_passed(deadline) || process_check_alive(err))
			return -1;
	return 0;
}

static int open_monitor(struct pair *pair, enum pair_side side, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(START_MS);
	char uri[128];

	snprintf(uri, sizeof(uri), "unix:%s/%s.qmp", pair->dir, pair_host(pair, side));
	while (monitor_open(&pair->ends[side].qmp, uri, RETRY_MS, err)) {
		/* QEMU serves one client at a time: close this connection. */
		qmp_close(&pair->ends[side].qmp);
		if (swo_deadline_passed(deadline) || process_check_alive(err))
			return -1;
	}
	return 0;
}

int pair_start_machine(struct pair *pair, enum pair_side side, struct swo_error *err)
{
	return start_machine(pair, side, err) || open_monitor(pair, side, err) ? -1 : 0;
}

static int reset_counters(struct pair *pair, enum pair_side side, struct swo_error *err)
{
	for (unsigned i = 0; i < pair->vfs; i++) {
		if (pair_is_kernel(pair)) {
			if (pair_kernel_put(pair, side, i, "reset_stats", "1", err))
				return -1;
			continue;
		}
		json_t *answer = control_request(&pair->ends[side].controls[i], "reset-stats", err);

		if (!answer)
			return -1;
		json_decref(answer);
	}
	return 0;
}

int pair_start(struct pair *pair, struct swo_error *err)
{
	pair_say(pair, "starting devices and machines");
	if (pair->config->probed && pair_write_probe(pair, err))
		return -1;
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++) {
		for (unsigned i = 0; i < pair->vfs; i++)
			if (start_device(pair, side, i, err))
				return -1;
		if (pair_is_kernel(pair))
			continue;
		for (unsigned i = 0; i < pair->vfs; i++)
			if (open_control(pair, side, i, err))
				return -1;
	}
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++) {
		uint64_t from_ns = swo_now_ns();

		if (pair_start_machine(pair, side, err))
			return -1;
		double ms = (double)(swo_now_ns() - from_ns) / 1e6;

		pair->start_ms = ms > pair->start_ms ? ms : pair->start_ms;
	}
	/* A machine resets its devices when it starts; the source's counters begin in pair_boot(). */
	return reset_counters(pair, PAIR_TARGET, err);
}

#define END_MS 3000 /* to quit, before it is killed */

static bool has_exited(const struct pair_end *end, siginfo_t *info)
{
	pid_t pid = end->vm < 0 ? 0 : process_pid(end->vm);

	*info = (siginfo_t){0};
	return !pid || waitid(P_PID, (id_t)pid, info, WEXITED | WNOHANG | WNOWAIT) || info->si_pid;
}

void pair_end_machine(struct pair *pair, enum pair_side side)
{
	struct pair_end *end = &pair->ends[side];
	swo_deadline deadline = swo_deadline_ms(END_MS);
	siginfo_t info;

	if (!has_exited(end, &info))
		monitor_command(&end->qmp, "quit", json_pack("{s:b}", "force", 1), NULL);
	while (!has_exited(end, &info) && !process_over(deadline))
		swo_sleep_until(swo_now_ns() + 1000000);
	qmp_close(&end->qmp);
	process_kill(end->vm);
	end->vm = -1;
}

int pair_renew_machine(struct pair *pair, enum pair_side side, struct swo_error *err)
{
	pair_end_machine(pair, side);
	if (pair_start_machine(pair, side, err))
		return -1;
	/* A machine resets its devices when it starts; the source's count from pair_boot(). */
	return side == PAIR_TARGET ? reset_counters(pair, PAIR_TARGET, err) : 0;
}

/* Ends the machine whose VM has moved away, by its own quit. */
static int end_source(struct pair *pair, struct swo_error *err)
{
	struct pair_end *end = &pair->ends[PAIR_SOURCE];
	swo_deadline deadline = swo_deadline_ms(START_MS);
	siginfo_t info;

	if (has_exited(end, &info)) { /* it was killed: a test's doing */
		pair_end_machine(pair, PAIR_SOURCE);
		return 0;
	}
	if (monitor_command(&end->qmp, "quit", NULL, err))
		return -1;
	while (!has_exited(end, &info)) {
		if (process_over(deadline))
			return swo_error_set(
				err, SWO_E_TIMEOUT, 0, "timed out waiting for the source to quit");
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	qmp_close(&end->qmp);
	process_kill(end->vm);
	end->vm = -1;
	if (info.si_code != CLD_EXITED || info.si_status)
		return swo_error_set(err, SWO_E_PEER_LOST, 0, "the source ended with %s %d",
			info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	return 0;
}

int pair_turn(struct pair *pair, struct swo_error *err)
{
	if (end_source(pair, err))
		return -1;
	struct pair_end end = pair->ends[PAIR_SOURCE];

	pair->ends[PAIR_SOURCE] = pair->ends[PAIR_TARGET];
	pair->ends[PAIR_TARGET] = end;
	pair->turned = !pair->turned;
	snprintf(pair->listen_uri, sizeof(pair->listen_uri), "unix:%s/migration-%s", pair->dir,
		pair_host(pair, PAIR_TARGET));
	strcpy(pair->uri, pair->listen_uri);
	/* A machine resets its devices when it starts. */
	return start_machine(pair, PAIR_TARGET, err) || open_monitor(pair, PAIR_TARGET, err) ||
			       reset_counters(pair, PAIR_TARGET, err)
		       ? -1
		       : 0;
}

int pair_check(struct pair *pair, struct swo_error *err)
{
	if (!pair->deaths_expected)
		return process_check_alive(err);
	return process_interrupted ? swo_error_set(err, SWO_E_CANCELLED, 0, "interrupted") : 0;
}

/* -1: no answer. */
static double count_doorbells(
	struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err)
{
	json_t *report = pair_report(pair, side, i, err);
	double count = report ? json_path_number(report, "doorbells") : -1;

	json_decref(report);
	return count;
}

/* Waits until one device has received this many doorbells. */
static int wait_for_device(struct pair *pair, enum pair_side side, unsigned i, double wanted,
	swo_deadline deadline, struct swo_error *err)
{
	for (;;) {
		double count = count_doorbells(pair, side, i, err);

		if (count < 0)
			return -1;
		if (count >= wanted && count > 0)
			return 0;
		if (swo_deadline_passed(deadline))
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"the guest on the %s does not ring device vf%u steadily "
				"(%.0f doorbells so far)",
				pair_side_name(side), i, count);
		if (pair_check(pair, err))
			return -1;
		swo_sleep_until(swo_now_ns() + 10000000);
	}
}

static bool is_excepted(uint64_t except, unsigned i)
{
	return i < 64 && except >> i & 1;
}

int pair_wait_for_doorbells(struct pair *pair, enum pair_side side, uint64_t except, unsigned more,
	uint64_t within_ms, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(within_ms);
	double first[PAIR_VFS_MAX] = {0};

	/* Read all counters first: the devices are rung in parallel, so the waits overlap. */
	for (unsigned i = 0; i < pair->vfs; i++)
		if (!is_excepted(except, i) && (first[i] = count_doorbells(pair, side, i, err)) < 0)
			return -1;
	for (unsigned i = 0; i < pair->vfs; i++)
		if (!is_excepted(except, i) &&
			wait_for_device(pair, side, i, first[i] + more, deadline, err))
			return -1;
	return 0;
}

int pair_boot(struct pair *pair, struct swo_error *err)
{
	uint64_t within_ms = BOOT_MS + (uint64_t)pair->vfs * BOOT_EACH_MS;

	pair_say(pair, "waiting for the guest");
	/* Until the guest has found the last device, it may ring the first ones irregularly. */
	if (pair_wait_for_doorbells(pair, PAIR_SOURCE, 0, 50, within_ms, err) ||
		pair_wait_for_doorbells(pair, PAIR_SOURCE, 0, 50, within_ms, err))
		return -1;
	/* Exclude gaps during the boot of the guest. */
	return reset_counters(pair, PAIR_SOURCE, err);
}

int pair_reset_counters(struct pair *pair, struct swo_error *err)
{
	return reset_counters(pair, PAIR_SOURCE, err) || reset_counters(pair, PAIR_TARGET, err) ? -1
												: 0;
}

json_t *pair_report(struct pair *pair, enum pair_side side, unsigned i, struct swo_error *err)
{
	if (pair_is_kernel(pair))
		return pair_kernel_report(pair, side, i, err);
	return control_request(&pair->ends[side].controls[i], "report", err);
}

json_t *pair_qmp(struct pair *pair, enum pair_side side, const char *command, json_t *arguments,
	struct swo_error *err)
{
	return monitor_execute(&pair->ends[side].qmp, command, arguments, err);
}

/* Start and end */

int pair_init(struct pair *pair, const struct pair_config *config, unsigned vfs,
	const char *transitions, struct swo_error *err)
{
	const char *tmp = getenv("TMPDIR");

	*pair = (struct pair){.vmm = pair_vmm_named("switchover"),
		.config = config,
		.vfs = vfs,
		.transitions = transitions};
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++) {
		struct pair_end *end = &pair->ends[side];

		end->vm = -1;
		end->qmp.sock = (struct json_sock)JSON_SOCK_INIT;
		for (unsigned i = 0; i < PAIR_VFS_MAX; i++) {
			end->devs[i] = -1;
			end->controls[i] = (struct json_sock)JSON_SOCK_INIT;
		}
	}
	/* The path of a socket must be short: ignore a long TMPDIR. */
	if (!tmp || strlen(tmp) > 20)
		tmp = "/tmp";
	snprintf(pair->dir, sizeof(pair->dir), "%s/switchover-pair.XXXXXX", tmp);
	if (!mkdtemp(pair->dir)) {
		pair->dir[0] = 0;
		return swo_error_set(err, SWO_E_IO, errno, "make a directory in %s", tmp);
	}
	return choose_uri(pair, err) || make_credentials(pair, err) ? -1 : 0;
}

void pair_free(struct pair *pair, bool keep)
{
	for (enum pair_side side = PAIR_SOURCE; side < PAIR_SIDES; side++) {
		struct pair_end *end = &pair->ends[side];

		for (unsigned i = 0; i < pair->vfs; i++)
			json_sock_close(&end->controls[i]);
		qmp_close(&end->qmp);
	}
	/* Signal all processes before waiting: they exit in parallel. */
	process_kill_all();
	if (!pair->dir[0])
		return;
	if (keep)
		fprintf(stderr, "switchover: logs and sockets are in %s\n", pair->dir);
	else
		control_remove_dir(pair->dir);
}
