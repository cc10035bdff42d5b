/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm.c - `switchover vm`: a machine, its monitor, and a loop that waits for signals,
 * for `quit`, and for what is worth a line on stderr.
 */
#include "base/fd.h"
#include "base/log.h"
#include "cmd/common/cmd.h"
#include "cmd/common/file.h"
#include "cmd/common/verbs.h"
#include "cmd/vm/args.h"
#include "cmd/vm/costs.h"
#include "cmd/vm/metrics.h"
#include "vmm/machine/qmp.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define NEWS_MAX	 64
#define ANSWER_MS	 60000
#define EXIT_LOOK_MS	 200
#define TIMELINE_WAIT_MS 5000

/* What is worth a line */

/* News come on threads that must not wait for stderr: the main loop writes it. */
struct news {
	pthread_mutex_t mutex;
	char line[NEWS_MAX][64];
	unsigned count;
	bool changed; /* a migration's status has: the metrics can be written */
	bool ended;   /* a migration has: its timeline can be written */
	int fd;
	struct qmp_server *qmp;
};

static void wake(struct news *news)
{
	const uint64_t one = 1;

	if (write(news->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		swo_log(SWO_LOG_ERROR, "eventfd: %s", strerror(errno));
}

/* With the mutex held. */
static void add_line(struct news *news, const char *what, const char *detail)
{
	if (news->count < NEWS_MAX)
		snprintf(news->line[news->count++], sizeof(news->line[0]), "%s%s", what, detail);
}

static void on_event(void *opaque, const char *name, json_t *data)
{
	struct news *news = opaque;

	pthread_mutex_lock(&news->mutex);
	if (news->qmp)
		qmp_server_event(news->qmp, name, data);
	else
		json_decref(data);
	if (!strcmp(name, "STOP"))
		add_line(news, "stopped", "");
	else if (!strcmp(name, "RESUME"))
		add_line(news, "running", "");
	pthread_mutex_unlock(&news->mutex);
	wake(news);
}

static void on_status(void *opaque, enum swo_migration_status status)
{
	struct news *news = opaque;

	pthread_mutex_lock(&news->mutex);
	add_line(news, "migration: ", swo_migration_status_name(status));
	news->changed = true;
	news->ended |= status == SWO_MIGRATION_COMPLETED || status == SWO_MIGRATION_FAILED ||
		       status == SWO_MIGRATION_CANCELLED;
	pthread_mutex_unlock(&news->mutex);
	wake(news);
}

static const char *why_ended(struct vmm_machine *machine, struct swo_migration_info *info)
{
	return vmm_machine_migration_info(machine, info) && info->error.code != SWO_E_NONE
		       ? info->error.text
		       : NULL;
}

static void write_timeline(const struct vm_options *o, struct vmm_machine *machine)
{
	size_t len = strlen(o->timeline);
	enum vmm_timeline_format format = VMM_TIMELINE_JSON;
	struct swo_error err;
	char *text;

	if (len > 4 && !strcmp(o->timeline + len - 4, ".txt"))
		format = VMM_TIMELINE_PICTURE;
	else if (len > 12 && !strcmp(o->timeline + len - 12, ".chrome.json"))
		format = VMM_TIMELINE_CHROME;
	vmm_machine_migration_wait(machine, swo_deadline_ms(TIMELINE_WAIT_MS));
	if (vmm_machine_timeline(machine, format, 120, false, &text, &err)) {
		swo_log(SWO_LOG_WARN, "--timeline: %s", err.text);
		return;
	}

	if (write_file("--timeline", o->timeline, text, &err))
		swo_log(SWO_LOG_WARN, "%s", err.text);
	free(text);
}

static int write_metrics(
	const struct vm_options *o, struct vmm_machine *machine, struct swo_error *err)
{
	char *text;

	if (vmm_machine_metrics(machine, &text, err))
		return -1;
	int rc = vm_metrics_write(o->metrics, text, err);

	free(text);
	return rc;
}

/* After the end its figures are final. */
static void renew_metrics(const struct vm_options *o, struct vmm_machine *machine, bool ended)
{
	struct swo_error err;

	if (ended)
		vmm_machine_migration_wait(machine, swo_deadline_ms(TIMELINE_WAIT_MS));
	if (write_metrics(o, machine, &err))
		swo_log(SWO_LOG_WARN, "%s", err.text);
}

static void tell_news(const struct vm_options *o, struct news *news, struct vmm_machine *machine)
{
	struct swo_migration_info info;
	char lines[NEWS_MAX][sizeof(news->line[0])];
	const char *why;

	pthread_mutex_lock(&news->mutex);
	unsigned count = news->count;
	bool ended = news->ended, changed = news->changed;

	memcpy(lines, news->line, count * sizeof(lines[0]));
	news->count = 0;
	news->ended = news->changed = false;
	pthread_mutex_unlock(&news->mutex);
	if (count)
		vm_notify("STATUS=%s", lines[count - 1]);
	for (unsigned i = 0; i < count && !o->quiet; i++)
		base_print("%s: %s\n", o->config.name, lines[i]);
	if (ended && !o->quiet && (why = why_ended(machine, &info)))
		base_print("%s: migration %s: %s\n", o->config.name,
			swo_migration_status_name(info.status), why);
	if (ended && o->timeline)
		write_timeline(o, machine);
	if (changed && o->metrics)
		renew_metrics(o, machine, ended);
}

/* The loop */

static int open_signals(void)
{
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* nohup(1) ignores it. */
	if (sigaction(SIGHUP, NULL, &old) || old.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	/* Before any thread: they all inherit it. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void on_signal(
	const struct vm_options *o, struct vmm_machine *machine, int signals, unsigned *seen)
{
	struct signalfd_siginfo info;
	struct swo_error err;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (vmm_machine_quit(machine, (*seen)++ > 0, &err))
		base_print("%s: %s (a second signal does)\n", o->config.name, err.text);
}

/* Whether to end with the incoming migration; *until: at the latest then, 0: no reason to. */
static bool is_to_exit(struct vmm_machine *machine, swo_deadline *until)
{
	const enum vmm_incoming incoming = vmm_machine_incoming_failed(machine);

	if (incoming == VMM_INCOMING_GOES_ON)
		*until = 0;
	else if (!*until)
		*until = swo_deadline_ms(ANSWER_MS);
	return incoming == VMM_INCOMING_FAILED || (*until && swo_deadline_passed(*until));
}

/* Returns the exit status. */
static int loop(
	const struct vm_options *o, struct vmm_machine *machine, struct news *news, int signals)
{
	struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
		{.fd = vmm_machine_quit_fd(machine), .events = POLLIN},
		{.fd = news->fd, .events = POLLIN}};
	swo_deadline exit_by = 0; /* a failed target waits so long for its source; 0: no exit */
	bool failed = false;
	unsigned seen = 0;
	uint64_t ignored;

	while (!failed) {
		if (poll(fds, SWO_ARRAY_SIZE(fds), exit_by ? EXIT_LOOK_MS : -1) < 0)
			continue;
		if (fds[2].revents & POLLIN && read(news->fd, &ignored, sizeof(ignored)) > 0)
			tell_news(o, news, machine);
		if (fds[0].revents & POLLIN)
			on_signal(o, machine, signals, &seen);
		if (fds[1].revents & POLLIN)
			break;
		failed = is_to_exit(machine, &exit_by);
	}
	on_event(news, "SHUTDOWN",
		json_pack("{s:b, s:s}", "guest", 0, "reason",
			failed ? "host-error"
			: seen ? "host-signal"
			       : "host-qmp-quit"));
	return failed ? CLI_FAILED : CLI_OK;
}

/* The whole */

static int begin(
	struct vm_options *o, struct vmm_machine *machine, struct news *news, struct swo_error *err)
{
	struct qmp_server *qmp = NULL;

	if (o->qmp && qmp_machine_serve(machine, o->qmp, &qmp, err))
		return -1;
	pthread_mutex_lock(&news->mutex);
	news->qmp = qmp;
	pthread_mutex_unlock(&news->mutex);
	if (o->metrics && write_metrics(o, machine, err))
		return -1;
	if (vm_pidfile_write(&o->pidfile, err))
		return -1;
	if (!o->quiet)
		base_print("%s: %s, %u vCPUs, %llu MiB, %u devices%s%s\n", o->config.name,
			vmm_machine_accel(machine), o->config.vcpus,
			(unsigned long long)(o->config.ram_size >> 20), o->config.device_count,
			o->config.incoming ? ", waits for a migration" : "",
			o->config.paused ? ", paused" : "");
	if (o->incoming && vmm_machine_incoming(machine, o->incoming, o->config.exit_on_error, err))
		return -1;
	if (vmm_machine_launch(machine, err))
		return -1;
	vm_ready_fd_write(o->ready_fd);
	vm_notify("READY=1\nMAINPID=%d\nSTATUS=%s", (int)getpid(),
		o->config.incoming ? "waits for a migration" : "the machine is there");
	return 0;
}

static void finish(const struct vm_options *o, struct vmm_machine *machine, struct news *news)
{
	vm_notify("STOPPING=1");
	pthread_mutex_lock(&news->mutex);
	struct qmp_server *qmp = news->qmp;

	news->qmp = NULL;
	pthread_mutex_unlock(&news->mutex);
	qmp_server_stop(qmp);
	tell_news(o, news, machine);
	vmm_machine_free(machine);
	vm_pidfile_remove(&o->pidfile);
}

/* For messages, which may be read in another directory. */
static const char *name_monitor(struct vm_options *o)
{
	char here[PATH_MAX] = "";
	const bool relative = o->qmp && o->qmp[0] != '/';

	if (!o->qmp || (relative && !getcwd(here, sizeof(here))))
		return NULL;
	snprintf(o->monitor, sizeof(o->monitor), "unix:%s%s%s", here, relative ? "/" : "", o->qmp);
	return o->monitor;
}

static int run(struct vm_options *o)
{
	struct news news = {
		.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	int signals = open_signals(), status = CLI_OK;
	struct vmm_machine *machine;
	struct swo_error err;

	o->config.devices = o->devices;
	o->config.root_ports = o->root_ports;
	o->config.tls = o->tls.tls;
	o->config.insecure = o->tls.insecure;
	o->config.event = on_event;
	o->config.migration_status = on_status;
	o->config.opaque = &news;
	/* Every device and every one of its interrupts is a file. */
	base_raise_open_files();
	if (news.fd < 0 || signals < 0) {
		swo_log(SWO_LOG_ERROR, "eventfd or signalfd: %s", strerror(errno));
		return CLI_FAILED;
	}
	if (vm_journal_open(&o->journal, o->named ? o->config.name : NULL, o->config.incoming,
		    &o->journal_config, &err)) {
		swo_log(SWO_LOG_ERROR, "%s: %s", o->config.name, err.text);
		return CLI_FAILED;
	}
	o->config.uuid = o->journal.uuid ? o->journal.identity : NULL;
	o->config.journal = o->journal_config.dir ? &o->journal_config : NULL;
	o->config.monitor = name_monitor(o);
	if (vmm_machine_create(&o->config, &machine, &err)) {
		swo_log(SWO_LOG_ERROR, "%s: %s", o->config.name, err.text);
		return CLI_FAILED;
	}
	if (vm_costs_set(machine, o->costs, o->probe, &err) || begin(o, machine, &news, &err)) {
		swo_log(SWO_LOG_ERROR, "%s: %s", o->config.name, err.text);
		status = CLI_FAILED;
	} else {
		status = loop(o, machine, &news, signals);
	}
	finish(o, machine, &news);
	close(news.fd);
	close(signals);
	return status;
}

int cmd_vm(int argc, char **argv)
{
	struct vm_options *o = calloc(1, sizeof(*o));
	int status = CLI_FAILED;

	if (!o)
		return CLI_FAILED;
	vm_parse_args(argc, argv, o);
	status = run(o);
	free(o);
	return status;
}
