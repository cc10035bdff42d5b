/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm.c - `switchover vm`: options to a machine, its monitor, and a loop that waits
 * for signals, for `quit`, and for what is worth a line on stderr.
 */
#include "cli/cli.h"
#include "cli/tls_args.h"
#include "cli/vm_journal.h"
#include "vmm/machine.h"
#include "vmm/qmp_machine.h"

#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define ROOT_PORTS_MAX	 30
#define NEWS_MAX	 64
#define TIMELINE_WAIT_MS 5000

/* ---- options ------------------------------------------------------------------------------- */

struct options {
	struct vmm_machine_config config;
	struct vmm_device_config devices[VMM_DEVICES_MAX];
	const char *root_ports[ROOT_PORTS_MAX];
	const char *qmp, *incoming, *timeline, *pidfile;
	struct tls_args tls;
	bool quiet, named;
	struct vm_journal journal;
	struct swo_journal_config journal_config;
};

enum {
	OPT_NAME = 256,
	OPT_ACCEL,
	OPT_VCPUS,
	OPT_RAM,
	OPT_DEVICE,
	OPT_ROOT_PORT,
	OPT_QMP,
	OPT_INCOMING,
	OPT_TRANSITIONS,
	OPT_JOIN,
	OPT_PERIOD,
	OPT_DIRTY_RATE,
	OPT_DMA_PAGES,
	OPT_DMA_RATE,
	OPT_P2P_RATE,
	OPT_IRQ_EVERY,
	OPT_HANDLER_COST,
	OPT_TIMELINE,
	OPT_PIDFILE,
	OPT_QUIET,
	OPT_UUID,
	OPT_JOURNAL,
	OPT_JOURNAL_SYNC,
	OPT_HANDOVER,
	OPT_FILL_RAM,
};

static const struct argp_option options[] = {
	{0, 0, 0, 0, "The machine:", 1},
	{"name", OPT_NAME, "NAME", 0, "What it is called in messages (vm)", 1},
	{"uuid", OPT_UUID, "UUID", 0,
		"What it is known by in journals; without one, its --name if that is given", 1},
	{"accel", OPT_ACCEL, "KIND", 0, "auto, kvm or native (auto: kvm where it works)", 1},
	{"vcpus", OPT_VCPUS, "N", 0, "1 to 64 (1)", 1},
	{"ram", OPT_RAM, "SIZE", 0, "Bytes, or with K, M, G; whole MiB (256M)", 1},
	{"device", OPT_DEVICE, "vfio-user,socket=PATH[,id=NAME][,bus=PORT][,addr=SLOT[.FUNCTION]]",
		0,
		"Pass a device through; may be repeated. Also ,arc-deadline=MS and "
		",finalise=early|ram|late",
		1},
	{"root-port", OPT_ROOT_PORT, "ID", 0,
		"A PCI bridge that devices can lie behind (bus=ID); may be repeated", 1},
	{0, 0, 0, 0, "Control:", 2},
	{"qmp", OPT_QMP, "unix:PATH", 0, "Serve QMP there, for this user only", 2},
	{"incoming", OPT_INCOMING, "URI|defer", 0,
		"Wait for a migration on unix:PATH or tcp:HOST:PORT, or for migrate-incoming", 2},
	{"paused", 'S', NULL, 0, "Do not start the guest; as a target, arrive paused", 2},
	{"transitions", OPT_TRANSITIONS, "HOW", 0,
		"Devices change state serial or parallel (parallel)", 2},
	{"join", OPT_JOIN, "WHERE", 0,
		"Parallel transitions are waited for at the end of their depth or pass (pass)", 2},
	{"handover", OPT_HANDOVER, "HOW", 0,
		"Migrations copy RAM, or hand it over by descriptor to a target on this host: copy "
		"or fd (copy)",
		2},
	{"journal", OPT_JOURNAL, "DIR|none", 0,
		"Keep the migrations' journals there (/var/lib/switchover for root, else "
		"~/.local/state/switchover)",
		2},
	{"journal-sync", OPT_JOURNAL_SYNC, NULL, 0,
		"Journals are to survive the host's death, not only this process's", 2},
	{"timeline", OPT_TIMELINE, "FILE", 0,
		"Write each migration's timeline there: .txt a picture, .chrome.json a Chrome "
		"trace, "
		"else JSON",
		2},
	{"pidfile", OPT_PIDFILE, "FILE", 0, "Write the process id there", 2},
	{"quiet", OPT_QUIET, NULL, 0, "Say nothing but warnings and errors", 2},
	{0, 0, 0, 0, "What the guest does:", 3},
	{"doorbell-period-us", OPT_PERIOD, "US", 0,
		"Each vCPU rings every device this often (1000)", 3},
	{"dirty-rate", OPT_DIRTY_RATE, "N", 0, "Each vCPU rewrites so many pages a second (1000)",
		3},
	{"dma-pages", OPT_DMA_PAGES, "N", 0, "Ring of each device's DMA engine (64; 0: off)", 3},
	{"dma-rate", OPT_DMA_RATE, "N", 0, "Pages a second and device (100)", 3},
	{"p2p-rate", OPT_P2P_RATE, "N", 0,
		"Writes a second of each device into its sibling (100; 0: off)", 3},
	{"irq-every", OPT_IRQ_EVERY, "N", 0, "An interrupt every so many doorbells (16; 0: never)",
		3},
	{0, 0, 0, 0, "Measuring:", 4},
	{"fill-ram", OPT_FILL_RAM, NULL, 0, "Write every page of RAM before the guest starts", 4},
	{"handler-cost", OPT_HANDLER_COST, "MS", 0,
		"An ordinary run-state handler at each depth that takes so long", 4},
	{0},
};

static uint64_t take_number(
	struct argp_state *state, const char *name, const char *text, uint64_t min, uint64_t max)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || errno || value < min || value > max)
		argp_error(state, "--%s wants a number from %llu to %llu, not '%s'", name,
			(unsigned long long)min, (unsigned long long)max, text);
	return value;
}

static uint64_t take_size(struct argp_state *state, const char *text)
{
	static const char units[] = "KMGT";
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (*text < '0' || *text > '9' || errno || (*end && (!unit || end[1])) ||
		value > UINT64_MAX >> shift)
		argp_error(state, "--ram wants a size as in 256M or 4G, not '%s'", text);
	return (uint64_t)value << shift;
}

/* The index of `text` among the words. */
static unsigned take_word(
	struct argp_state *state, const char *name, const char *text, const char *const *words)
{
	char list[64] = "";

	for (unsigned i = 0; words[i]; i++) {
		if (!strcmp(words[i], text))
			return i;
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? ", " : "",
			words[i]);
	}
	argp_error(state, "--%s is one of: %s; not '%s'", name, list, text);
	return 0;
}

static void add_device(struct argp_state *state, struct options *o, const char *text)
{
	struct swo_error err;

	if (o->config.device_count == VMM_DEVICES_MAX)
		argp_error(state, "a machine has %d devices at most", VMM_DEVICES_MAX);
	else if (vmm_device_parse(text, &o->devices[o->config.device_count++], &err))
		argp_error(state, "%s", err.text);
}

static void add_root_port(struct argp_state *state, struct options *o, const char *id)
{
	if (o->config.root_port_count == ROOT_PORTS_MAX)
		argp_error(state, "a machine has %d root ports at most", ROOT_PORTS_MAX);
	else
		o->root_ports[o->config.root_port_count++] = id;
}

static error_t parse_guest(int key, char *arg, struct argp_state *state, struct options *o)
{
	struct vmm_guest_params *guest = &o->config.guest;

	switch (key) {
	case OPT_PERIOD:
		guest->doorbell_period_us =
			(uint32_t)take_number(state, "doorbell-period-us", arg, 1, 10000000);
		return 0;
	case OPT_DIRTY_RATE:
		guest->dirty_pages_per_s =
			(uint32_t)take_number(state, "dirty-rate", arg, 0, 100000000);
		return 0;
	case OPT_DMA_PAGES:
		guest->dma_pages = (uint32_t)take_number(state, "dma-pages", arg, 0, 1000000);
		return 0;
	case OPT_DMA_RATE:
		guest->dma_rate = (uint32_t)take_number(state, "dma-rate", arg, 0, 10000000);
		return 0;
	case OPT_P2P_RATE:
		guest->p2p_rate = (uint32_t)take_number(state, "p2p-rate", arg, 0, 10000000);
		return 0;
	case OPT_IRQ_EVERY:
		guest->irq_every = (uint32_t)take_number(state, "irq-every", arg, 0, 1000000000);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_machine(int key, char *arg, struct argp_state *state, struct options *o)
{
	static const char *const accels[] = {"auto", "kvm", "native", NULL};
	static const char *const transitions[] = {"serial", "parallel", NULL};
	static const char *const handovers[] = {"copy", "fd", NULL};
	static const char *const joins[] = {"depth", "pass", NULL};

	switch (key) {
	case OPT_NAME:
		o->config.name = arg;
		o->named = true;
		return 0;
	case OPT_ACCEL:
		o->config.accel = (enum vmm_accel_kind)take_word(state, "accel", arg, accels);
		return 0;
	case OPT_VCPUS:
		o->config.vcpus = (unsigned)take_number(state, "vcpus", arg, 1, VMM_VCPUS_MAX);
		return 0;
	case OPT_RAM:
		o->config.ram_size = take_size(state, arg);
		return 0;
	case OPT_DEVICE:
		add_device(state, o, arg);
		return 0;
	case OPT_ROOT_PORT:
		add_root_port(state, o, arg);
		return 0;
	case OPT_TRANSITIONS:
		o->config.transitions =
			(enum swo_transitions)take_word(state, "transitions", arg, transitions);
		return 0;
	case OPT_JOIN:
		o->config.join = (enum swo_join)take_word(state, "join", arg, joins);
		return 0;
	case OPT_FILL_RAM:
		o->config.fill_ram = true;
		return 0;
	case OPT_HANDOVER:
		o->config.handover =
			(enum swo_handover)take_word(state, "handover", arg, handovers);
		return 0;
	case OPT_HANDLER_COST:
		o->config.handler_cost_ms =
			(unsigned)take_number(state, "handler-cost", arg, 0, 60000);
		return 0;
	default:
		return parse_guest(key, arg, state, o);
	}
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->tls;
		return 0;
	case OPT_QMP:
		if (strncmp(arg, "unix:", 5) != 0)
			argp_error(state, "--qmp wants unix:PATH, not '%s'", arg);
		o->qmp = arg + 5;
		return 0;
	case OPT_INCOMING:
		o->config.incoming = true;
		o->incoming = strcmp(arg, "defer") ? arg : NULL;
		return 0;
	case 'S':
		o->config.paused = true;
		return 0;
	case OPT_UUID:
		if (vm_journal_check_uuid(arg))
			argp_error(state, "--uuid %s, not '%s'", vm_journal_check_uuid(arg), arg);
		o->journal.uuid = arg;
		return 0;
	case OPT_JOURNAL:
		o->journal.dir = arg;
		return 0;
	case OPT_JOURNAL_SYNC:
		o->journal.sync = true;
		return 0;
	case OPT_TIMELINE:
		o->timeline = arg;
		return 0;
	case OPT_PIDFILE:
		o->pidfile = arg;
		return 0;
	case OPT_QUIET:
		o->quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': everything is an option here", arg);
		return 0;
	case ARGP_KEY_END:
		if (o->config.incoming && !o->incoming && !o->qmp)
			argp_error(state, "--incoming defer waits for a command: it needs --qmp");
		return 0;
	default:
		return parse_machine(key, arg, state, o);
	}
}

static const struct argp_child children[] = {{&tls_argp, 0, "Migrating:", 2}, {0}};

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.children = children,
	.doc = "Run a virtual machine with passthrough devices, or receive one.\v"
	       "SIGTERM and SIGINT end it as `quit` does; while a migration is not settled, the "
	       "second one does. Exit status: 0 ended when asked to; 1 something failed; 2 the "
	       "command line makes no sense.",
};

/* ---- what is worth a line -------------------------------------------------------------------- */

/* News come on threads that must not wait for stderr: the main loop writes it. */
struct news {
	pthread_mutex_t mutex;
	char line[NEWS_MAX][64];
	unsigned count;
	bool ended; /* a migration has: its timeline can be written */
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

static void write_timeline(const struct options *o, struct vmm_machine *machine)
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

	FILE *file = fopen(o->timeline, "we");
	bool bad = !file || fputs(text, file) < 0;

	if ((file && fclose(file)) || bad)
		swo_log(SWO_LOG_WARN, "--timeline: cannot write %s: %s", o->timeline,
			strerror(errno));
	free(text);
}

static void tell_news(const struct options *o, struct news *news, struct vmm_machine *machine)
{
	struct swo_migration_info info;
	char lines[NEWS_MAX][sizeof(news->line[0])];
	const char *why;

	pthread_mutex_lock(&news->mutex);
	unsigned count = news->count;
	bool ended = news->ended;

	memcpy(lines, news->line, count * sizeof(lines[0]));
	news->count = 0;
	news->ended = false;
	pthread_mutex_unlock(&news->mutex);
	for (unsigned i = 0; i < count && !o->quiet; i++)
		fprintf(stderr, "%s: %s\n", o->config.name, lines[i]);
	if (ended && !o->quiet && (why = why_ended(machine, &info)))
		fprintf(stderr, "%s: migration %s: %s\n", o->config.name,
			swo_migration_status_name(info.status), why);
	if (ended && o->timeline)
		write_timeline(o, machine);
}

/* ---- the loop ------------------------------------------------------------------------------- */

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* Before any thread: they all inherit it. */
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void on_signal(
	const struct options *o, struct vmm_machine *machine, int signals, unsigned *seen)
{
	struct signalfd_siginfo info;
	struct swo_error err;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (vmm_machine_quit(machine, (*seen)++ > 0, &err))
		fprintf(stderr, "%s: %s (a second signal does)\n", o->config.name, err.text);
}

static void loop(
	const struct options *o, struct vmm_machine *machine, struct news *news, int signals)
{
	struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
		{.fd = vmm_machine_quit_fd(machine), .events = POLLIN},
		{.fd = news->fd, .events = POLLIN}};
	unsigned seen = 0;
	uint64_t ignored;

	for (;;) {
		if (poll(fds, SWO_ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[2].revents & POLLIN && read(news->fd, &ignored, sizeof(ignored)) > 0)
			tell_news(o, news, machine);
		if (fds[0].revents & POLLIN)
			on_signal(o, machine, signals, &seen);
		if (fds[1].revents & POLLIN)
			break;
	}
	on_event(news, "SHUTDOWN",
		json_pack("{s:b, s:s}", "guest", 0, "reason",
			seen ? "host-signal" : "host-qmp-quit"));
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Every device and every one of its interrupts is a file. */
static void raise_open_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int write_pidfile(const char *path, struct swo_error *err)
{
	FILE *file = path ? fopen(path, "we") : NULL;

	if (!path)
		return 0;
	if (!file || fprintf(file, "%d\n", (int)getpid()) < 0 || fclose(file))
		return swo_error_set(err, SWO_E_IO, errno, "--pidfile: cannot write %s", path);
	return 0;
}

static int begin(const struct options *o, struct vmm_machine *machine, struct news *news,
	struct swo_error *err)
{
	struct qmp_server *qmp = NULL;

	if (o->qmp && qmp_machine_serve(machine, o->qmp, &qmp, err))
		return -1;
	pthread_mutex_lock(&news->mutex);
	news->qmp = qmp;
	pthread_mutex_unlock(&news->mutex);
	if (write_pidfile(o->pidfile, err))
		return -1;
	if (!o->quiet)
		fprintf(stderr, "%s: %s, %u vCPUs, %llu MiB, %u devices%s%s\n", o->config.name,
			vmm_machine_accel(machine), o->config.vcpus,
			(unsigned long long)(o->config.ram_size >> 20), o->config.device_count,
			o->config.incoming ? ", waits for a migration" : "",
			o->config.paused ? ", paused" : "");
	if (o->incoming && vmm_machine_incoming(machine, o->incoming, err))
		return -1;
	return vmm_machine_launch(machine, err);
}

static void finish(const struct options *o, struct vmm_machine *machine, struct news *news)
{
	pthread_mutex_lock(&news->mutex);
	struct qmp_server *qmp = news->qmp;

	news->qmp = NULL;
	pthread_mutex_unlock(&news->mutex);
	qmp_server_stop(qmp);
	tell_news(o, news, machine);
	vmm_machine_free(machine);
	if (o->pidfile)
		unlink(o->pidfile);
}

static int run(struct options *o)
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
	raise_open_files();
	if (news.fd < 0 || signals < 0) {
		swo_log(SWO_LOG_ERROR, "eventfd or signalfd: %s", strerror(errno));
		return CLI_FAILED;
	}
	if (vm_journal_open(&o->journal, o->named ? o->config.name : NULL, o->config.incoming,
		    &o->journal_config, &err)) {
		swo_log(SWO_LOG_ERROR, "%s: %s", o->config.name, err.text);
		return CLI_FAILED;
	}
	o->config.journal = o->journal_config.dir ? &o->journal_config : NULL;
	if (vmm_machine_create(&o->config, &machine, &err)) {
		swo_log(SWO_LOG_ERROR, "%s: %s", o->config.name, err.text);
		return CLI_FAILED;
	}
	if (begin(o, machine, &news, &err)) {
		swo_log(SWO_LOG_ERROR, "%s: %s", o->config.name, err.text);
		status = CLI_FAILED;
	} else {
		loop(o, machine, &news, signals);
	}
	finish(o, machine, &news);
	close(news.fd);
	close(signals);
	return status;
}

int cmd_vm(int argc, char **argv)
{
	struct options *o = calloc(1, sizeof(*o));
	int status = CLI_FAILED;

	if (!o)
		return CLI_FAILED;
	o->config = (struct vmm_machine_config){.name = "vm",
		.vcpus = 1,
		.ram_size = UINT64_C(256) << 20,
		.transitions = SWO_TRANSITIONS_PARALLEL,
		.join = SWO_JOIN_PASS,
		.guest = {.doorbell_period_us = 1000,
			.dirty_pages_per_s = 1000,
			.dma_pages = 64,
			.dma_rate = 100,
			.p2p_rate = 100,
			.irq_every = 16}};
	if (!argp_parse(&argp, argc, argv, 0, NULL, o))
		status = run(o);
	free(o);
	return status;
}
