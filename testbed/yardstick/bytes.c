/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bytes.c - measures throughput: RAM against QEMU, device state against plain sockets, each pair in
 * turns in one run. See `./run bench-bytes --help`.
 */
#include "bytes.h"
#include "number.h"
#include "testbed/control.h"
#include "testbed/process.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct figures {
	double value[BYTES_ROUNDS_MAX]; /* ascending */
	unsigned count;
};

struct arguments {
	struct bytes_setting setting;
	bool ram, state;
	const char *json;
};

static void insert(struct figures *f, double value)
{
	unsigned at = f->count++;

	for (; at && f->value[at - 1] > value; at--)
		f->value[at] = f->value[at - 1];
	f->value[at] = value;
}

static double median(const struct figures *f)
{
	return f->count ? f->value[f->count / 2] : 0;
}

/* Rows */

static void put_json(const struct arguments *a, const char *what, const char *who,
	const struct figures *f, const char *unit, double ratio, double cpu)
{
	if (!a->json)
		return;
	FILE *out = fopen(a->json, "ae");

	if (!out) {
		fprintf(stderr, "bytes: cannot write '%s': %s\n", a->json, strerror(errno));
		return;
	}
	fprintf(out,
		"{\"what\":\"%s\",\"who\":\"%s\",\"channels\":%u,\"channel\":\"%s\",\"bytes\":"
		"%" PRIu64
		",\"runs\":%u,\"unit\":\"%s\",\"min\":%.6g,\"median\":%.6g,\"max\":%.6g,\"ratio\":"
		"%.4f",
		what, who, a->setting.channels, a->setting.tcp ? "tcp" : "unix",
		!strcmp(what, "ram") ? a->setting.ram : a->setting.state, f->count, unit,
		f->value[0], median(f), f->value[f->count - 1], ratio);
	if (cpu > 0)
		fprintf(out, ",\"cpu_s_per_GB\":%.4f", cpu);
	fprintf(out, "}\n");
	fclose(out);
}

/*
 * If this host is itself a VM, the first touch of memory costs many times as much as later ones. So
 * touch all memory that two machines need, and free it, before any measurement.
 */
static void touch(uint64_t size)
{
	void *all = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (all != MAP_FAILED)
		munmap(all, size);
}

static int ram_rows(const struct arguments *a, struct swo_error *err)
{
	const struct bytes_setting *s = &a->setting;
	static struct figures all[BYTES_WHO_COUNT], cpus[BYTES_WHO_COUNT];
	const unsigned whos = s->no_qemu ? BYTES_QEMU : BYTES_WHO_COUNT;

	touch(2 * s->ram);
	for (unsigned round = 0; round < s->rounds; round++)
		for (unsigned who = 0; who < whos; who++) {
			struct bytes_speed speed;

			if (bytes_ram(s, who, &speed, err))
				return swo_error_prefix(err, "%s", bytes_who_names[who]);
			insert(&all[who], (double)s->ram / speed.rate);
			insert(&cpus[who], speed.cpu * 1e9 / (double)s->ram);
		}
	printf("RAM, %" PRIu64 " MiB, every page written, %u channels over %s, %u rounds; seconds "
	       "from migrate to completed on both sides, CPU s/GB\n",
		s->ram >> 20, s->channels, s->tcp ? "tcp" : "unix", s->rounds);
	for (unsigned who = 0; who < whos; who++) {
		/* Beside it: the same memory, allocated at the start or not. */
		const unsigned ours =
			who == BYTES_QEMU ? BYTES_SWITCHOVER : BYTES_SWITCHOVER_PREALLOC;
		const double ratio = median(&all[ours]) / median(&all[who]);

		printf("  %-19s %6.3f (%.3f .. %.3f)  %6.0f MB/s  %.2f (%.2f .. %.2f)",
			bytes_who_names[who], median(&all[who]), all[who].value[0],
			all[who].value[all[who].count - 1],
			(double)s->ram / 1e6 / median(&all[who]), median(&cpus[who]),
			cpus[who].value[0], cpus[who].value[cpus[who].count - 1]);
		if (who >= BYTES_QEMU)
			printf("  %s / this %.2f, CPU %.2f", bytes_who_names[ours], ratio,
				median(&cpus[ours]) / median(&cpus[who]));
		printf("\n");
		put_json(a, "ram", bytes_who_names[who], &all[who], "s", ratio, median(&cpus[who]));
	}
	return 0;
}

static int state_rows(const struct arguments *a, struct swo_error *err)
{
	const struct bytes_setting *s = &a->setting;
	struct bytes_setting one = *s;
	/* plain, tuned, devices, one device */
	static struct figures speeds[4], cpus[4];

	one.devices = 1;
	touch(2 * s->state);
	/* The first round warms up and does not count. */
	for (unsigned round = 0; round <= s->rounds; round++) {
		struct bytes_speed speed[4];

		if (bytes_state_plain(s, false, &speed[0], err) ||
			bytes_state_plain(s, true, &speed[1], err) ||
			bytes_state_engine(s, &speed[2], err) ||
			bytes_state_engine(&one, &speed[3], err))
			return -1;
		for (unsigned i = 0; i < SWO_ARRAY_SIZE(speeds) && round; i++) {
			insert(&speeds[i], speed[i].rate);
			insert(&cpus[i], speed[i].cpu * 1e9 / (double)s->state);
		}
	}
	static const char *const names[] = {
		"plain sockets", "tuned as ours", "devices", "one device"};

	printf("Device state, %" PRIu64
	       " MiB in all, %u channels over %s, %u rounds; MB/s, CPU s/GB\n",
		s->state >> 20, s->channels, s->tcp ? "tcp" : "unix", s->rounds);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(names); i++) {
		const struct figures *f = &speeds[i];
		const double ratio = median(f) / median(&speeds[0]),
			     tuned = median(f) / median(&speeds[1]);
		char name[32];

		snprintf(name, sizeof(name), "%s", names[i]);
		if (i == 2)
			snprintf(name, sizeof(name), "%u devices", s->devices);
		printf("  %-14s %6.0f (%.0f .. %.0f)", name, median(f) / 1e6, f->value[0] / 1e6,
			f->value[f->count - 1] / 1e6);
		printf("  %.2f", median(&cpus[i]));
		if (i)
			printf("  this / plain %.2f, tuned %.2f", ratio, tuned);
		printf("\n");
		put_json(a, "state", name, f, "bytes/s", ratio, median(&cpus[i]));
	}
	return 0;
}

/* The command line */

static const struct argp_option options[] = {
	{"ram", 'm', "MIB", 0, "RAM of the machine (4096); 0: leave RAM out", 0},
	{"state", 's', "MIB", 0, "State of all devices together (1024); 0: leave state out", 0},
	{"devices", 'd', "N", 0, "How many have it (as many as channels)", 0},
	{"channels", 'n', "N", 0, "Connections, 1 to 16 (4)", 0},
	{"channel", 'c', "KIND", 0, "tcp or unix (tcp)", 0},
	{"rounds", 'r', "N", 0, "How often each is measured, in turns (3)", 0},
	{"qemu", 'q', "PROGRAM", 0, "QEMU (/usr/bin/qemu-system-x86_64); none: leave it out", 0},
	{"json", 'j', "FILE", 0, "Append one object per row", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;
	struct bytes_setting *s = &a->setting;

	switch (key) {
	case 'm':
		s->ram = number(state, arg, 0, 1 << 20) << 20;
		break;
	case 's':
		s->state = number(state, arg, 0, 1 << 20) << 20;
		break;
	case 'd':
		s->devices = (unsigned)number(state, arg, 1, 16);
		break;
	case 'n':
		s->channels = (unsigned)number(state, arg, 1, 16);
		break;
	case 'c':
		s->tcp = !strcmp(arg, "tcp");
		if (!s->tcp && strcmp(arg, "unix"))
			argp_error(state, "--channel: expected unix or tcp, got '%s'", arg);
		break;
	case 'r':
		s->rounds = (unsigned)number(state, arg, 1, BYTES_ROUNDS_MAX);
		break;
	case 'q':
		s->qemu = arg;
		s->no_qemu = !strcmp(arg, "none");
		break;
	case 'j':
		a->json = arg;
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument '%s'", arg);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* $SWITCHOVER, else two folders up in the build. */
static void find_switchover(void)
{
	char path[420];
	ssize_t len = readlink("/proc/self/exe", path, 380);

	for (int up = 0; len > 0 && up < 3; up++) {
		const char *slash = memrchr(path, '/', (size_t)len);

		len = slash ? slash - path : 0;
	}
	if (len > 0) {
		strcpy(path + len, "/switchover");
		setenv("SWITCHOVER", path, false);
	}
}

int main(int argc, char **argv)
{
	const struct argp argp = {.options = options,
		.parser = parse_option,
		.doc = "Measure how fast RAM and device state move over loopback: RAM of a machine "
		       "with a stopped VM against QEMU with multifd, device state against plain "
		       "sockets. Everything in turns, in one run."};
	struct arguments a = {.setting = {.ram = UINT64_C(4) << 30,
				      .state = 1 << 30,
				      .channels = 4,
				      .rounds = 3,
				      .tcp = true,
				      .qemu = "/usr/bin/qemu-system-x86_64",
				      .dir = "/tmp/swo-bytes-XXXXXX"}};
	struct swo_error err = {0};
	int rc = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (!a.setting.devices)
		a.setting.devices = a.setting.channels;
	if (!a.setting.no_qemu && a.setting.ram && access(a.setting.qemu, X_OK)) {
		fprintf(stderr, "bytes: no QEMU at '%s': install qemu-system-x86, or set --qemu\n",
			a.setting.qemu);
		return 2;
	}
	find_switchover();
	if (!mkdtemp(a.setting.dir)) {
		fprintf(stderr, "bytes: mkdtemp '%s': %s\n", a.setting.dir, strerror(errno));
		return 1;
	}
	process_init();
	if (a.setting.state)
		rc = state_rows(&a, &err);
	if (!rc && a.setting.ram)
		rc = ram_rows(&a, &err);
	if (rc)
		fprintf(stderr, "bytes: %s\n", err.text);
	process_kill_all();
	control_remove_dir(a.setting.dir);
	return rc ? 1 : 0;
}
