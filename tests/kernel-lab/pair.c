/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pair.c - see pair.h: the VMMs' command lines, their monitors, and what the devices counted.
 */
#include "pair.h"

#include "testbed/process.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_MS  60000
#define ANSWER_MS 20000
#define END_MS	  60000
#define STEP_MS	  20
#define LOOK_MS	  5

/* QEMU has a root folder of its own, so that its libraries are Debian's of its release. */
static const char *const in_root[] = {"/bin/chroot", "/qemu", NULL};
static const char *const under_exec[] = {
	"/bin/chroot", "/qemu", "/lab/bin/switchover", "exec", "--", NULL};

static const char *const as_it_is[] = {"/lab/bin/switchover", "vm", NULL};

const struct pair_vmm pair_vmms[] = {
	{.name = "qemu", .prefix = in_root},
	{.name = "qemu-multifd", .prefix = in_root, .multifd = true},
	{.name = "qemu-exec", .prefix = under_exec},
	{.name = "qemu-exec-multifd", .prefix = under_exec, .multifd = true},
	{.name = "qemu-cdev", .prefix = in_root, .cdev = true},
	{.name = "qemu-exec-cdev", .prefix = under_exec, .cdev = true},
	{.name = "qemu-exec-sandbox", .prefix = under_exec, .sandbox = true},
	{.name = "switchover", .prefix = as_it_is, .ours = true},
};
const unsigned pair_vmm_count = SWO_ARRAY_SIZE(pair_vmms);

const struct pair_vmm *pair_vmm_named(const char *name)
{
	for (unsigned i = 0; i < pair_vmm_count; i++)
		if (!strcmp(pair_vmms[i].name, name))
			return &pair_vmms[i];
	return NULL;
}

unsigned pair_device(enum pair_side side, unsigned i)
{
	return side == PAIR_SOURCE ? i : PAIR_DEVICES + i;
}

static const char *side_name(enum pair_side side)
{
	return side == PAIR_SOURCE ? "source" : "target";
}

void pair_init(void)
{
	bench_proc_init();
}

/* Starting */

struct words {
	const char *argv[64];
	char text[8192];
	unsigned count;
	size_t used;
};

static void add(struct words *words, const char *format, ...) SWO_PRINTF(2, 3);
static void add(struct words *words, const char *format, ...)
{
	size_t room = sizeof(words->text) - words->used;
	va_list args;

	va_start(args, format);
	int len = vsnprintf(words->text + words->used, room, format, args);
	va_end(args);
	assert_true(len >= 0 && (size_t)len < room);
	assert_true(words->count + 1 < SWO_ARRAY_SIZE(words->argv));
	words->argv[words->count++] = words->text + words->used;
	words->used += (size_t)len + 1;
}

static void add_all(struct words *words, const char *const *list)
{
	for (; *list; list++)
		add(words, "%s", *list);
}

static void add_devices(struct words *words, const struct pair *pair, enum pair_side side)
{
	if (pair->vmm->cdev)
		add_all(words, (const char *const[]){"-object", "iommufd,id=iommufd0", NULL});
	for (unsigned i = 0; i < pair->count; i++) {
		char name[BED_NAME_MAX];

		bed_name(pair_device(side, i), name);
		add(words, "-device");
		if (pair->vmm->cdev) {
			add(words,
				"vfio-pci,id=vf%u,sysfsdev=/sys/bus/mdev/devices/%s,"
				"iommufd=iommufd0,enable-migration=on",
				i, name);
			continue;
		}
		/* Debian's kernels cannot report DMA logging (docs/kmod.md). */
		add(words,
			"vfio-pci,id=vf%u,sysfsdev=/sys/bus/platform/devices/%s,"
			"enable-migration=on,x-device-dirty-page-tracking=off%s",
			i, name, pair->vmm->multifd ? ",x-migration-multifd-transfer=on" : "");
	}
}

static void add_qemu(struct words *words, const struct pair *pair, enum pair_side side)
{
	static const char *const machine[] = {"/usr/bin/qemu-system-x86_64", "-M", "pc,accel=tcg",
		"-cpu", "qemu64", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none",
		"-vga", "none", "-device", "isa-debugcon,iobase=0x402,chardev=boot", NULL};
	const char *name = side_name(side);

	add_all(words, machine);
	add(words, "-chardev");
	add(words, "file,id=boot,path=%s/%s.boot", pair->dir, name);
	add(words, "-qmp");
	add(words, "unix:%s/%s.qmp,server=on,wait=off", pair->dir, name);
	add_devices(words, pair, side);
	/* All of it, as libvirt sets it. */
	if (pair->vmm->sandbox)
		add_all(words, (const char *const[]){"-sandbox",
				       "on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
				       "resourcecontrol=deny",
				       NULL});
	if (side == PAIR_TARGET)
		add_all(words, (const char *const[]){"-incoming", "defer", NULL});
}

/* Its guest leaves the devices alone, as the one whose firmware finds nothing to boot does. */
static void add_ours(struct words *words, const struct pair *pair, enum pair_side side)
{
	static const char *const machine[] = {"--accel=native", "--vcpus=1", "--ram=16M",
		"--dirty-rate=0", "--dma-pages=0", "--p2p-rate=0", "--irq-every=0",
		"--doorbell-period-us=4000000", "--journal=none", "--quiet", NULL};

	add_all(words, machine);
	add(words, "--qmp=unix:%s/%s.qmp", pair->dir, side_name(side));
	for (unsigned i = 0; i < pair->count; i++)
		add(words, "--vfio=/sys/bus/platform/devices/simvf.%u,id=vf%u",
			pair_device(side, i), i);
	if (side == PAIR_TARGET)
		add(words, "--incoming=defer");
}

static void spawn(struct pair *pair, enum pair_side side)
{
	const char *name = side_name(side);
	struct words words = {.count = 0};
	struct swo_error err;
	char log[128];

	add_all(&words, pair->vmm->prefix);
	if (pair->vmm->ours)
		add_ours(&words, pair, side);
	else
		add_qemu(&words, pair, side);
	words.argv[words.count] = NULL;
	snprintf(log, sizeof(log), "%s/%s.log", pair->dir, name);
	pair->ends[side].process = bench_spawn(name, words.argv, log, &err);
	if (pair->ends[side].process < 0)
		fail_msg("%s", err.text);
}

static void sleep_or_fail(unsigned ms)
{
	struct swo_error err;

	if (bench_sleep_ms(ms, &err))
		fail_msg("%s", err.text);
}

/* Prints what a side's VMM has said, of its lines those with these words (NULL: all); how many. */
static unsigned show_log(const struct pair *pair, enum pair_side side, const char *words)
{
	char path[128], line[1024];
	unsigned count = 0;

	snprintf(path, sizeof(path), "%s/%s.log", pair->dir, side_name(side));
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file))
		if (!words || strstr(line, words)) {
			printf("# %s: %s", side_name(side), line);
			count++;
		}
	if (file)
		fclose(file);
	return count;
}

unsigned pair_surprises(const struct pair *pair)
{
	unsigned count = 0;

	for (unsigned side = 0; side < PAIR_SIDES; side++)
		count += show_log(pair, side,
			"each device now changes state only when the VMM requests it");
	return count;
}

static void open_monitor(struct pair *pair, enum pair_side side)
{
	char uri[128];
	struct swo_error err;

	snprintf(uri, sizeof(uri), "unix:%s/%s.qmp", pair->dir, side_name(side));
	if (qmp_open(&pair->ends[side].qmp, uri, true, swo_deadline_ms(START_MS),
		    &bench_interrupted, &err)) {
		/* What it said itself says more than that it does not answer. */
		show_log(pair, side, NULL);
		fail_msg("the %s's monitor: %s", side_name(side), err.text);
	}
}

static bool firmware_is_idle(const struct pair *pair)
{
	char path[128], text[16384];
	size_t len;

	snprintf(path, sizeof(path), "%s/source.boot", pair->dir);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[len] = 0;
	return strstr(text, "No bootable device") != NULL;
}

static void prepare(const struct pair *pair, enum pair_side side)
{
	for (unsigned i = 0; i < pair->count; i++) {
		unsigned device = pair_device(side, i);

		bed_prepare(device, pair->profile);
		/* VFs of one adapter share the rates at which it saves and loads. */
		if (!strcmp(pair->profile, "cx7"))
			assert_int_equal(bed_put(device, "pf", side == PAIR_SOURCE ? "1" : "2"), 0);
	}
}

void pair_start(struct pair *pair, const struct pair_vmm *vmm, unsigned count, const char *profile)
{
	*pair = (struct pair){
		.vmm = vmm, .count = count, .profile = profile, .dir = "/tmp/pair.XXXXXX"};
	for (unsigned side = 0; side < PAIR_SIDES; side++)
		pair->ends[side] = (struct pair_end){.process = -1, .qmp.sock = JSON_SOCK_INIT};
	assert_true(count > 0 && count <= PAIR_DEVICES);
	assert_non_null(mkdtemp(pair->dir));
	/* The next VMM compared may want the other kind of device. */
	bed_mdev = false;
	if (vmm->cdev)
		bed_make_mdevs();
	for (unsigned side = 0; side < PAIR_SIDES; side++)
		prepare(pair, side);
	for (unsigned side = 0; side < PAIR_SIDES; side++)
		spawn(pair, side);
	for (unsigned side = 0; side < PAIR_SIDES; side++)
		open_monitor(pair, side);
	swo_deadline until = swo_deadline_ms(START_MS);
	while (!pair->vmm->ours && !firmware_is_idle(pair)) {
		sleep_or_fail(STEP_MS);
		if (swo_deadline_passed(until))
			fail_msg("the source's firmware does not come to its end");
	}
}

void pair_kill(struct pair *pair, enum pair_side side)
{
	if (pair->ends[side].process >= 0)
		bench_kill(pair->ends[side].process);
	pair->ends[side].process = -1;
}

void pair_new_target(struct pair *pair)
{
	pair_kill(pair, PAIR_TARGET);
	qmp_close(&pair->ends[PAIR_TARGET].qmp);
	prepare(pair, PAIR_TARGET);
	spawn(pair, PAIR_TARGET);
	open_monitor(pair, PAIR_TARGET);
}

void pair_stop(struct pair *pair)
{
	for (unsigned side = 0; side < PAIR_SIDES; side++) {
		pair_kill(pair, side);
		qmp_close(&pair->ends[side].qmp);
	}
}

/* The monitor */

json_t *pair_ask(struct pair *pair, enum pair_side side, const char *command, json_t *arguments)
{
	struct swo_error err = {.code = SWO_E_NONE};
	json_t *answer = qmp_execute(
		&pair->ends[side].qmp, command, arguments, swo_deadline_ms(ANSWER_MS), &err);

	if (!answer)
		printf("# %s, %s: %s\n", side_name(side), command, err.text);
	return answer;
}

bool pair_tell(struct pair *pair, enum pair_side side, const char *command, json_t *arguments)
{
	json_t *answer = pair_ask(pair, side, command, arguments);

	json_decref(answer);
	return answer != NULL;
}

bool pair_alive(struct pair *pair, enum pair_side side)
{
	struct swo_error err = {.code = SWO_E_NONE};
	json_t *answer = qmp_execute(
		&pair->ends[side].qmp, "query-status", NULL, swo_deadline_ms(ANSWER_MS), &err);

	json_decref(answer);
	return answer != NULL;
}

static void must(struct pair *pair, enum pair_side side, const char *command, json_t *arguments)
{
	if (!pair_tell(pair, side, command, arguments))
		fail_msg("the %s refuses %s", side_name(side), command);
}

static json_t *capability(const char *name)
{
	return json_pack("{s:[{s:s, s:b}]}", "capabilities", "capability", name, "state", 1);
}

/* Migrating */

unsigned pair_count_in(const struct pair *pair, enum pair_side side, const char *state)
{
	unsigned count = 0;
	char text[32];

	for (unsigned i = 0; i < pair->count; i++) {
		bed_get(pair_device(side, i), "state", text, sizeof(text));
		text[strcspn(text, "\n")] = 0;
		count += !strcmp(text, state);
	}
	return count;
}

void pair_await(enum pair_side side, unsigned i, const char *state)
{
	swo_deadline until = swo_deadline_ms(END_MS);
	char text[32];

	for (;;) {
		bed_get(pair_device(side, i), "state", text, sizeof(text));
		text[strcspn(text, "\n")] = 0;
		if (!strcmp(text, state))
			return;
		if (swo_deadline_passed(until))
			fail_msg("the %s's device %u does not come to %s; it is in %s",
				side_name(side), i, state, text);
		swo_sleep_until(swo_deadline_ms(5));
	}
}

static bool all_in(const struct pair *pair, enum pair_side side, const char *state)
{
	return pair_count_in(pair, side, state) == pair->count;
}

/* QEMU 10 and older go on as soon as nothing is left to be sent, whatever is allowed. */
static bool cannot_be_held(const char *status)
{
	return !strcmp(status, "device") || !strcmp(status, "completed");
}

/* Which a look at the states takes for the last before the stop. */
static bool is_in_precopy(struct pair *pair)
{
	bool is = all_in(pair, PAIR_TARGET, "RESUMING") && all_in(pair, PAIR_SOURCE, "PRE_COPY");

	if (!is)
		return false;
	uint64_t violations = pair_order_violations(pair);

	/* Had one been stopped meanwhile, it would be seen now. */
	if (all_in(pair, PAIR_SOURCE, "PRE_COPY"))
		pair->violations += violations;
	return true;
}

static bool memory_was_sent(struct pair *pair)
{
	bool precopy = is_in_precopy(pair);
	json_t *info = pair_ask(pair, PAIR_SOURCE, "query-migrate", NULL);
	const char *status = info ? json_path_string(info, "status") : "";
	bool sent = cannot_be_held(status) ||
		    (precopy && !strcmp(status, "active") &&
			    json_path_number(info, "ram.dirty-sync-count") >= 2 &&
			    json_path_number(info, "ram.remaining") < 1);

	json_decref(info);
	return sent;
}

void pair_begin(struct pair *pair)
{
	char uri[128];

	for (unsigned side = 0; pair->vmm->multifd && side < PAIR_SIDES; side++) {
		must(pair, side, "migrate-set-capabilities", capability("multifd"));
		must(pair, side, "migrate-set-parameters",
			json_pack("{s:i}", "multifd-channels", 4));
	}
	/* So little is allowed that it does not stop before it is let. Ours is not held back: its
	   prediction is not bent by a setting, and would let it go. */
	must(pair, PAIR_SOURCE, "migrate-set-parameters",
		pair->vmm->ours ? json_pack("{s:i}", "downtime-limit", 2000000)
				: json_pack("{s:i, s:i, s:i}", "downtime-limit", 1,
					  "avail-switchover-bandwidth", 1, "max-bandwidth", 0));
	snprintf(uri, sizeof(uri), "unix:%s/migration", pair->dir);
	must(pair, PAIR_TARGET, "migrate-incoming", json_pack("{s:s}", "uri", uri));
	must(pair, PAIR_SOURCE, "migrate", json_pack("{s:s}", "uri", uri));
}

/* Where it is stuck. */
static void show_standstill(struct pair *pair)
{
	json_t *info = pair_ask(pair, PAIR_SOURCE, "query-migrate", NULL);
	char *text = info ? json_dumps(info, JSON_COMPACT) : NULL, state[32];

	printf("# query-migrate: %s\n", text ? text : "no answer");
	free(text);
	json_decref(info);
	for (unsigned side = 0; side < PAIR_SIDES; side++) {
		for (unsigned i = 0; i < pair->count; i++) {
			bed_get(pair_device(side, i), "state", state, sizeof(state));
			printf("# %s: vf%u is in %s", side_name(side), i, state);
		}
		show_log(pair, side, NULL);
	}
}

void pair_precopy(struct pair *pair)
{
	swo_deadline until = swo_deadline_ms(END_MS);

	pair->violations = 0;
	pair->violations = pair_order_violations(pair);
	if (pair->vmm->ours)
		return;
	pair_begin(pair);
	while (!memory_was_sent(pair)) {
		sleep_or_fail(LOOK_MS);
		if (swo_deadline_passed(until)) {
			show_standstill(pair);
			fail_msg("the devices do not come to PRE_COPY and RESUMING");
		}
	}
}

void pair_switch(struct pair *pair)
{
	if (pair->vmm->ours) {
		pair_begin(pair);
		return;
	}
	must(pair, PAIR_SOURCE, "migrate-set-parameters",
		json_pack("{s:i, s:I}", "downtime-limit", 2000000, "avail-switchover-bandwidth",
			(json_int_t)1 << 40));
}

void pair_handed_over(struct pair *pair)
{
	swo_deadline until = swo_deadline_ms(END_MS);

	while (!all_in(pair, PAIR_TARGET, "RUNNING")) {
		sleep_or_fail(STEP_MS);
		if (swo_deadline_passed(until))
			fail_msg("the devices do not come to run on the target");
	}
}

const char *pair_outcome(struct pair *pair)
{
	static char status[32];
	swo_deadline until = swo_deadline_ms(END_MS);

	for (;;) {
		struct swo_error err = {.code = SWO_E_NONE};
		json_t *info = qmp_execute(&pair->ends[PAIR_SOURCE].qmp, "query-migrate", NULL,
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

bool pair_runs(struct pair *pair, enum pair_side side, unsigned within_ms)
{
	swo_deadline until = swo_deadline_ms(within_ms);

	for (;;) {
		struct swo_error err;
		json_t *status = qmp_execute(&pair->ends[side].qmp, "query-status", NULL,
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

double pair_outage_ms(const struct pair *pair)
{
	uint64_t first = UINT64_MAX, last = 0;

	for (unsigned i = 0; i < pair->count; i++) {
		struct bed_arc to_p2p =
			bed_arc(pair_device(PAIR_SOURCE, i), SVF_PRE_COPY, SVF_PRE_COPY_P2P);
		struct bed_arc to_running =
			bed_arc(pair_device(PAIR_TARGET, i), SVF_RUNNING_P2P, SVF_RUNNING);

		assert_int_equal(to_p2p.count, 1);
		assert_int_equal(to_running.count, 1);
		first = to_p2p.start < first ? to_p2p.start : first;
		last = to_running.end > last ? to_running.end : last;
	}
	return (double)(last - first) / 1e6;
}

uint64_t pair_order_violations(const struct pair *pair)
{
	return pair_counter(pair, PAIR_SOURCE, "p2p_order_violations") +
	       pair_counter(pair, PAIR_TARGET, "p2p_order_violations") - pair->violations;
}

uint64_t pair_counter(const struct pair *pair, enum pair_side side, const char *name)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < pair->count; i++)
		sum += bed_counter(pair_device(side, i), name);
	return sum;
}

bool pair_state_equal(const struct pair *pair)
{
	for (unsigned i = 0; i < pair->count; i++) {
		char saved[64], loaded[64];

		bed_get(pair_device(PAIR_SOURCE, i), "state_hash", saved, sizeof(saved));
		bed_get(pair_device(PAIR_TARGET, i), "state_hash", loaded, sizeof(loaded));
		if (strcmp(saved, loaded) != 0 || !strncmp(saved, "0000000000000000", 16))
			return false;
	}
	return true;
}
