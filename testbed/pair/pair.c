/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pair.c - two machines and their devices as processes: started, booted, migrated
 * over QMP, ended.
 */
#include "testbed/pair/pair.h"

#include "testbed/pki.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS     60000  /* for all processes to listen */
#define RETRY_MS     500    /* between two looks whether they still live */
#define BOOT_MS	     120000 /* until the guest rings every device: KVM may have to emulate it ... */
#define BOOT_EACH_MS 4000   /* ... and then each device adds seconds */

/* Arguments of the processes */

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

const char *lab_side_name(enum lab_side side)
{
	return side == LAB_SOURCE ? "source" : "target";
}

/* The host that plays this part now: what lies in the directory is named after it. */
static const char *host_of(const struct lab *lab, enum lab_side side)
{
	return lab_side_name(lab->turned ? (enum lab_side) !side : side);
}

static int start_device(struct lab *lab, enum lab_side side, unsigned i, struct swo_error *err)
{
	const struct bench_config *config = lab->config;
	const char *s = host_of(lab, side);
	struct args args = {.count = 0};
	char log[128], name[32];
	int pf = bench_pf_of(config, i);

	if (lab_is_kernel(lab))
		return lab_kernel_prepare(lab, side, i, err);
	arg(&args, "%s/switchover-simvf", bench_program_dir());
	arg(&args, "--socket=%s/%s-vf%u", lab->dir, s, i);
	arg(&args, "--control=%s/%s-vf%u.ctl", lab->dir, s, i);
	arg(&args, "--name=vf%u", i);
	arg(&args, "--profile=%s", bench_profile_of(config, i));
	arg(&args, "--quiet");
	if (config->state_bytes)
		arg(&args, "--state-size=%" PRIu64, config->state_bytes);
	if (lab->simvf_option)
		arg(&args, "%s", lab->simvf_option);
	if (pf >= 0) {
		/* Each side's firmware is its own: they are different hosts. */
		arg(&args, "--pf=%s-%s-%d", config->pf ? config->pf : "pf", s, pf);
		arg(&args, "--pf-dir=%s", lab->dir);
	}
	if (config->pf_arcs)
		arg(&args, "--pf-arcs");
	snprintf(name, sizeof(name), "%s's device vf%u", s, i);
	snprintf(log, sizeof(log), "%s/%s-vf%u.log", lab->dir, s, i);
	lab->ends[side].devs[i] = spawn_args(&args, name, log, err);
	return lab->ends[side].devs[i] < 0 ? -1 : 0;
}

/* What both machines have in common. */
static void machine_args(const struct lab *lab, enum lab_side side, struct args *args)
{
	const struct bench_config *config = lab->config;

	arg(args, "%s/switchover", bench_program_dir());
	arg(args, "vm");
	arg(args, "--accel=%s", config->accel);
	arg(args, "--vcpus=%u", config->vcpus);
	arg(args, "--ram=%s", config->ram);
	arg(args, "--qmp=unix:%s/%s.qmp", lab->dir, host_of(lab, side));
	arg(args, "--journal=%s", lab->dir);
	arg(args, "--uuid=" LAB_UUID);
	arg(args, "--quiet");
	if (config->fill_ram)
		arg(args, "--fill-ram");
	if (config->handover)
		arg(args, "--handover=%s", config->handover);
	arg(args, "--transitions=%s", lab->transitions);
	if (config->join)
		arg(args, "--join=%s", config->join);
	arg(args, "--doorbell-period-us=%u", bench_doorbell_period_us(config, lab->vfs));
	arg(args, "--doorbell-turns=%u", bench_doorbell_turns(config, lab->vfs));
	arg(args, "--dirty-rate=%u", config->dirty_rate);
	arg(args, "--dma-pages=%u", config->dma_pages);
	arg(args, "--dma-rate=%u", config->dma_rate);
	/* One device has no sibling to write to. */
	arg(args, "--p2p-rate=%u", lab->vfs > 1 ? config->p2p_rate : 0);
	arg(args, "--irq-every=%u", config->irq_every);
	if (config->costs_file)
		arg(args, "--costs=%s", config->costs_file);
	if (config->probed)
		arg(args, "--probe=%s/" LAB_PROBE, lab->dir);
	if (config->handler_cost_ms)
		arg(args, "--handler-cost=%u", config->handler_cost_ms);
}

static int start_machine(struct lab *lab, enum lab_side side, struct swo_error *err)
{
	struct args args = {.count = 0};
	char log[128], bus[24] = "", path[LAB_PATH_MAX];

	machine_args(lab, side, &args);
	for (unsigned i = 0; i < lab->config->root_ports; i++)
		arg(&args, "--root-port=rp%u", i);
	for (unsigned i = 0; i < lab->vfs; i++) {
		arg(&args, "--device");
		if (lab->config->root_ports)
			snprintf(bus, sizeof(bus), ",bus=rp%u", i % lab->config->root_ports);
		if (lab_is_kernel(lab))
			lab_kernel_path(lab, side, i, path);
		else
			snprintf(path, sizeof(path), "vfio-user,socket=%s/%s-vf%u", lab->dir,
				host_of(lab, side), i);
		arg(&args, "%s,id=vf%u%s%s%s", path, i, bus,
			lab->quiet_devices ? "" : ",migration-events=on",
			lab->device_options ? lab->device_options : "");
	}
	if (side == LAB_TARGET)
		arg(&args, "--incoming=defer");
	snprintf(log, sizeof(log), "%s/%s.log", lab->dir, host_of(lab, side));
	lab->ends[side].vm = spawn_args(&args, lab_side_name(side), log, err);
	return lab->ends[side].vm < 0 ? -1 : 0;
}

/* One directory serves both ends: the names of the files keep them apart. */
static int make_credentials(struct lab *lab, struct swo_error *err)
{
	if (!lab->config->tls)
		return 0;
	return !strcmp(lab->config->tls, "psk")
		       ? pki_write_psk(lab->dir, "qemu", err)
		       : pki_write_x509(lab->dir, LAB_TLS_HOST, "source.example", err);
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

static int choose_uri(struct lab *lab, struct swo_error *err)
{
	if (!strcmp(lab->config->channel, "unix")) {
		snprintf(lab->listen_uri, sizeof(lab->listen_uri), "unix:%s/migration", lab->dir);
	} else {
		int port = free_port(err);

		if (port < 0)
			return -1;
		snprintf(lab->listen_uri, sizeof(lab->listen_uri), "tcp:127.0.0.1:%d", port);
	}
	strcpy(lab->uri, lab->listen_uri);
	return 0;
}

/* Steps */

void lab_say(const struct lab *lab, const char *what)
{
	if (lab->config->verbose)
		fprintf(stderr, "%u %s: %s\n", lab->vfs, lab->transitions, what);
}

/* Tries again and again, but no longer than those who are to answer live. */
static int open_control(struct lab *lab, enum lab_side side, unsigned i, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(START_MS);

	while (ask_open(&lab->ends[side].controls[i], err, RETRY_MS, "%s/%s-vf%u.ctl", lab->dir,
		lab_side_name(side), i))
		if (swo_deadline_passed(deadline) || bench_check_alive(err))
			return -1;
	return 0;
}

static int open_monitor(struct lab *lab, enum lab_side side, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(START_MS);
	char uri[128];

	snprintf(uri, sizeof(uri), "unix:%s/%s.qmp", lab->dir, host_of(lab, side));
	while (ask_qmp_open(&lab->ends[side].qmp, uri, RETRY_MS, err))
		if (swo_deadline_passed(deadline) || bench_check_alive(err))
			return -1;
	return 0;
}

int lab_start(struct lab *lab, struct swo_error *err)
{
	lab_say(lab, "starting devices and machines");
	if (lab->config->probed && lab_write_probe(lab, err))
		return -1;
	for (enum lab_side side = LAB_SOURCE; side < LAB_SIDES; side++) {
		for (unsigned i = 0; i < lab->vfs; i++)
			if (start_device(lab, side, i, err))
				return -1;
		if (lab_is_kernel(lab))
			continue;
		for (unsigned i = 0; i < lab->vfs; i++)
			if (open_control(lab, side, i, err))
				return -1;
	}
	for (enum lab_side side = LAB_SOURCE; side < LAB_SIDES; side++) {
		uint64_t from_ns = swo_now_ns();

		if (start_machine(lab, side, err) || open_monitor(lab, side, err))
			return -1;
		double ms = (double)(swo_now_ns() - from_ns) / 1e6;

		lab->start_ms = ms > lab->start_ms ? ms : lab->start_ms;
	}
	return 0;
}

/* What was told of the migration before is not news of the next. */
static void forget_events(struct qmp *qmp)
{
	json_t *event;

	while ((event = qmp_event(qmp, swo_now_ns(), NULL)))
		json_decref(event);
}

/* Ends the machine that has given its VM away, in its own way. */
static int end_source(struct lab *lab, struct swo_error *err)
{
	struct lab_end *end = &lab->ends[LAB_SOURCE];
	swo_deadline deadline = swo_deadline_ms(START_MS);
	siginfo_t info = {0};

	if (ask_qmp_do(&end->qmp, "quit", NULL, err))
		return -1;
	while (!waitid(P_PID, (id_t)bench_pid(end->vm), &info, WEXITED | WNOHANG | WNOWAIT) &&
		!info.si_pid) {
		if (swo_deadline_passed(deadline))
			return swo_error_set(err, SWO_E_TIMEOUT, 0, "the source does not quit");
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	qmp_close(&end->qmp);
	bench_kill(end->vm);
	end->vm = -1;
	if (info.si_code != CLD_EXITED || info.si_status)
		return swo_error_set(err, SWO_E_PEER_LOST, 0, "the source ended with %s %d",
			info.si_code == CLD_EXITED ? "status" : "signal", info.si_status);
	return 0;
}

int lab_turn(struct lab *lab, struct swo_error *err)
{
	if (end_source(lab, err))
		return -1;
	struct lab_end end = lab->ends[LAB_SOURCE];

	lab->ends[LAB_SOURCE] = lab->ends[LAB_TARGET];
	lab->ends[LAB_TARGET] = end;
	lab->turned = !lab->turned;
	forget_events(&lab->ends[LAB_SOURCE].qmp);
	snprintf(lab->listen_uri, sizeof(lab->listen_uri), "unix:%s/migration-%s", lab->dir,
		host_of(lab, LAB_TARGET));
	strcpy(lab->uri, lab->listen_uri);
	return start_machine(lab, LAB_TARGET, err) || open_monitor(lab, LAB_TARGET, err) ? -1 : 0;
}

int lab_check(struct lab *lab, struct swo_error *err)
{
	if (!lab->deaths_expected)
		return bench_check_alive(err);
	return bench_interrupted ? swo_error_set(err, SWO_E_CANCELLED, 0, "interrupted") : 0;
}

/* -1: no answer. */
static double count_doorbells(
	struct lab *lab, enum lab_side side, unsigned i, struct swo_error *err)
{
	json_t *report = lab_report(lab, side, i, err);
	double count = report ? json_path_number(report, "doorbells") : -1;

	json_decref(report);
	return count;
}

/* Until one device has heard so many. */
static int wait_for_device(struct lab *lab, enum lab_side side, unsigned i, double wanted,
	swo_deadline deadline, struct swo_error *err)
{
	for (;;) {
		double count = count_doorbells(lab, side, i, err);

		if (count < 0)
			return -1;
		if (count >= wanted && count > 0)
			return 0;
		if (swo_deadline_passed(deadline))
			return swo_error_set(err, SWO_E_TIMEOUT, 0,
				"the guest on the %s does not ring device vf%u steadily "
				"(%.0f doorbells so far)",
				lab_side_name(side), i, count);
		if (lab_check(lab, err))
			return -1;
		swo_sleep_until(swo_now_ns() + 10000000);
	}
}

static bool is_excepted(uint64_t except, unsigned i)
{
	return i < 64 && except >> i & 1;
}

int lab_wait_for_doorbells(struct lab *lab, enum lab_side side, uint64_t except, unsigned more,
	uint64_t within_ms, struct swo_error *err)
{
	swo_deadline deadline = swo_deadline_ms(within_ms);
	double first[BENCH_VFS_MAX] = {0};

	/* All at first: they are rung together, and so need not be waited for one after the other.
	 */
	for (unsigned i = 0; i < lab->vfs; i++)
		if (!is_excepted(except, i) && (first[i] = count_doorbells(lab, side, i, err)) < 0)
			return -1;
	for (unsigned i = 0; i < lab->vfs; i++)
		if (!is_excepted(except, i) &&
			wait_for_device(lab, side, i, first[i] + more, deadline, err))
			return -1;
	return 0;
}

int lab_boot(struct lab *lab, struct swo_error *err)
{
	uint64_t within_ms = BOOT_MS + (uint64_t)lab->vfs * BOOT_EACH_MS;

	lab_say(lab, "waiting for the guest");
	/* Until the last device is found the first ones may be rung irregularly. */
	if (lab_wait_for_doorbells(lab, LAB_SOURCE, 0, 50, within_ms, err) ||
		lab_wait_for_doorbells(lab, LAB_SOURCE, 0, 50, within_ms, err))
		return -1;
	/* Gaps while the guest came up are not the migration's. */
	for (unsigned i = 0; i < lab->vfs; i++) {
		if (lab_is_kernel(lab)) {
			if (lab_kernel_put(lab, LAB_SOURCE, i, "reset_stats", "1", err))
				return -1;
			continue;
		}
		json_t *answer = ask(&lab->ends[LAB_SOURCE].controls[i], "reset-stats", err);

		if (!answer)
			return -1;
		json_decref(answer);
	}
	return 0;
}

json_t *lab_report(struct lab *lab, enum lab_side side, unsigned i, struct swo_error *err)
{
	if (lab_is_kernel(lab))
		return lab_kernel_report(lab, side, i, err);
	return ask(&lab->ends[side].controls[i], "report", err);
}

json_t *lab_qmp(struct lab *lab, enum lab_side side, const char *command, json_t *arguments,
	struct swo_error *err)
{
	return ask_qmp(&lab->ends[side].qmp, command, arguments, err);
}

/* Begin and end */

int lab_init(struct lab *lab, const struct bench_config *config, unsigned vfs,
	const char *transitions, struct swo_error *err)
{
	const char *tmp = getenv("TMPDIR");

	*lab = (struct lab){.config = config, .vfs = vfs, .transitions = transitions};
	for (enum lab_side side = LAB_SOURCE; side < LAB_SIDES; side++) {
		struct lab_end *end = &lab->ends[side];

		end->vm = -1;
		end->qmp.sock = (struct json_sock)JSON_SOCK_INIT;
		for (unsigned i = 0; i < BENCH_VFS_MAX; i++) {
			end->devs[i] = -1;
			end->controls[i] = (struct json_sock)JSON_SOCK_INIT;
		}
	}
	/* A socket's path has little room: a long TMPDIR is not for us. */
	if (!tmp || strlen(tmp) > 20)
		tmp = "/tmp";
	snprintf(lab->dir, sizeof(lab->dir), "%s/switchover-lab.XXXXXX", tmp);
	if (!mkdtemp(lab->dir)) {
		lab->dir[0] = 0;
		return swo_error_set(err, SWO_E_IO, errno, "make a directory in %s", tmp);
	}
	return choose_uri(lab, err) || make_credentials(lab, err) ? -1 : 0;
}

void lab_free(struct lab *lab, bool keep)
{
	for (enum lab_side side = LAB_SOURCE; side < LAB_SIDES; side++) {
		struct lab_end *end = &lab->ends[side];

		for (unsigned i = 0; i < lab->vfs; i++)
			json_sock_close(&end->controls[i]);
		qmp_close(&end->qmp);
	}
	/* All at once: their ends overlap. */
	bench_kill_all();
	if (!lab->dir[0])
		return;
	if (keep)
		fprintf(stderr, "switchover: logs and sockets are in %s\n", lab->dir);
	else
		ask_remove_dir(lab->dir);
}
