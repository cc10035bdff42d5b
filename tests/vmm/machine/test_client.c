/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_client.c - the monitor as clients of QEMU use it: what query-qmp-schema states is what the
 * commands take and return, and the conversations of libvirt, at its start and for a migration.
 */
#include "base/net.h"
#include "box.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct box box;
static struct talk talk; /* big */
static json_t *schema;	 /* what query-qmp-schema has returned */

/* The schema, read as a client does */

static json_t *entry(const char *name)
{
	json_t *found = NULL, *one;
	size_t i;

	json_array_foreach (schema, i, one)
		if (!strcmp(json_string_value(json_object_get(one, "name")), name)) {
			if (found)
				fail_msg("two entries are named %s", name);
			found = one;
		}
	if (!found)
		fail_msg("the schema refers to %s, and lacks it", name);
	return found;
}

static const char *text_of(const json_t *object, const char *member)
{
	const char *text = json_string_value(json_object_get(object, member));

	assert_non_null(text);
	return text;
}

static bool is_meta(const json_t *type, const char *meta)
{
	return !strcmp(text_of(type, "meta-type"), meta);
}

static bool fits(const char *type_name, const json_t *value);

static bool fits_builtin(const json_t *type, const json_t *value)
{
	const char *kind = text_of(type, "json-type");

	return !strcmp(kind, "value") || (!strcmp(kind, "string") && json_is_string(value)) ||
	       (!strcmp(kind, "int") && json_is_integer(value)) ||
	       (!strcmp(kind, "number") && json_is_number(value)) ||
	       (!strcmp(kind, "boolean") && json_is_boolean(value)) ||
	       (!strcmp(kind, "null") && json_is_null(value));
}

static bool fits_enum(const json_t *type, const json_t *value)
{
	json_t *word;
	size_t i;

	json_array_foreach (json_object_get(type, "values"), i, word)
		if (json_equal(word, (json_t *)(uintptr_t)value))
			return true;
	return false;
}

/* How many of the value's members the type has; -1: one of them is missing or of another type. */
static int count_members(const json_t *type, const json_t *value)
{
	json_t *m, *variant;
	int known = 0;
	size_t i;

	json_array_foreach (json_object_get(type, "members"), i, m) {
		const json_t *member = json_object_get(value, text_of(m, "name"));

		if (!member && !json_object_get(m, "default"))
			return -1;
		if (member && !fits(text_of(m, "type"), member))
			return -1;
		known += member != NULL;
	}
	json_array_foreach (json_object_get(type, "variants"), i, variant)
		if (!strcmp(text_of(value, text_of(type, "tag")), text_of(variant, "case"))) {
			const int more = count_members(entry(text_of(variant, "type")), value);

			return more < 0 ? -1 : known + more;
		}
	return known;
}

static bool fits_list(const json_t *type, const json_t *value, const char *members)
{
	const char *element = members ? NULL : text_of(type, "element-type");
	json_t *one;
	size_t i;

	if (members) {
		json_array_foreach (json_object_get(type, members), i, one)
			if (fits(text_of(one, "type"), value))
				return true;
		return false;
	}
	if (!json_is_array(value))
		return false;
	json_array_foreach (value, i, one)
		if (!fits(element, one))
			return false;
	return true;
}

static bool fits(const char *type_name, const json_t *value)
{
	const json_t *type = entry(type_name);

	if (is_meta(type, "builtin"))
		return fits_builtin(type, value);
	if (is_meta(type, "enum"))
		return fits_enum(type, value);
	if (is_meta(type, "array"))
		return fits_list(type, value, NULL);
	if (is_meta(type, "alternate"))
		return fits_list(type, value, "members");
	assert_true(is_meta(type, "object"));
	return json_is_object(value) && count_members(type, value) == (int)json_object_size(value);
}

/* Runs it: the reply must be as the schema has it. */
static json_t *ask_in_schema(struct talk *t, const char *name, const char *args)
{
	char text[1024];
	json_t *ret;

	snprintf(text, sizeof(text), "{\"execute\": \"%s\", \"arguments\": %s}", name,
		args ? args : "{}");
	ret = talk_do(t, text);
	if (!fits(text_of(entry(name), "ret-type"), ret)) {
		char *got = json_dumps(ret, 0);

		fail_msg("%s: the reply is not as the schema has it: %s", name, got);
	}
	return ret;
}

static int up(void **state)
{
	(void)state;
	box_up(&box, NULL);
	talk_open(&talk, box.path, true);
	schema = talk_do(&talk, "{\"execute\": \"query-qmp-schema\"}");
	return 0;
}

static int down(void **state)
{
	(void)state;
	json_decref(schema);
	talk_close(&talk);
	box_down(&box);
	return 0;
}

/* The schema and the dispatcher */

static void walk(const char *type_name, unsigned depth)
{
	const json_t *type = entry(type_name);
	json_t *one;
	size_t i;

	assert_true(depth < 16);
	if (is_meta(type, "array"))
		walk(text_of(type, "element-type"), depth + 1);
	json_array_foreach (json_object_get(type, "members"), i, one)
		if (!is_meta(type, "enum"))
			walk(text_of(one, "type"), depth + 1);
	json_array_foreach (json_object_get(type, "variants"), i, one)
		walk(text_of(one, "type"), depth + 1);
	if (is_meta(type, "enum"))
		assert_int_equal(json_array_size(json_object_get(type, "values")),
			json_array_size(json_object_get(type, "members")));
}

static void every_command_is_in_the_schema_with_all_that_it_refers_to(void **state)
{
	json_t *list = talk_do(&talk, "{\"execute\": \"query-commands\"}"), *one;
	size_t i, commands = 0, events = 0;

	(void)state;
	json_array_foreach (schema, i, one) {
		(void)entry(text_of(one, "name"));
		commands += is_meta(one, "command");
		events += is_meta(one, "event");
		if (is_meta(one, "command") || is_meta(one, "event"))
			walk(text_of(one, "arg-type"), 0);
		if (is_meta(one, "command"))
			walk(text_of(one, "ret-type"), 0);
	}
	assert_int_equal(commands, json_array_size(list));
	json_array_foreach (list, i, one)
		assert_true(is_meta(entry(text_of(one, "name")), "command"));
	assert_true(events >= 5);
	assert_true(fits(text_of(entry("query-qmp-schema"), "ret-type"), schema));
	json_decref(list);
}

/* A value that is of none of these types, but for "any". */
static const char *stranger(const char *type_name)
{
	json_t *of_list = json_array(), *of_object = json_object();
	const bool list = fits(type_name, of_list), object = fits(type_name, of_object);

	json_decref(of_list);
	json_decref(of_object);
	if (list && object)
		return NULL;
	return list ? "7" : "[]";
}

static void refuse(const char *command, const char *args, const char *part)
{
	char text[512];

	snprintf(text, sizeof(text), "{\"execute\": \"%s\", \"arguments\": %s}", command, args);
	talk_refused(&talk, text, "GenericError", part);
}

/* Before a command runs: so none of these has an effect. */
static void the_commands_take_what_the_schema_says_and_nothing_else(void **state)
{
	json_t *command, *m;
	size_t i, j, members = 0;
	char args[128], part[128];

	(void)state;
	json_array_foreach (schema, i, command) {
		const char *name = text_of(command, "name");

		if (!is_meta(command, "command") || !strcmp(name, "qmp_capabilities"))
			continue;
		json_t *type = entry(text_of(command, "arg-type"));
		bool complete = true;

		json_array_foreach (json_object_get(type, "members"), j, m)
			if (!json_object_get(m, "default")) {
				snprintf(part, sizeof(part), "Parameter '%s' is missing",
					text_of(m, "name"));
				if (complete)
					refuse(name, "{}", part);
				complete = false;
			}
		if (complete)
			refuse(name, "{\"stranger\": 1}", "'stranger' is unexpected");
		json_array_foreach (json_object_get(type, "members"), j, m) {
			const char *value = stranger(text_of(m, "type"));

			if (!value)
				continue;
			snprintf(args, sizeof(args), "{\"%s\": %s}", text_of(m, "name"), value);
			refuse(name, args, complete ? text_of(m, "name") : "'");
			members++;
		}
	}
	assert_true(members > 60);
	box_rings(&box);
}

/* As libvirt reads them at its start, and others do */
static void replies_are_as_the_schema_says(void **state)
{
	json_t *command;
	size_t i, asked = 0;

	(void)state;
	json_array_foreach (schema, i, command) {
		const char *name = text_of(command, "name");

		if (!is_meta(command, "command") || !strstr(name, "query-") ||
			!strcmp(name, "x-query-timeline"))
			continue;
		json_decref(ask_in_schema(&talk, name, NULL));
		asked++;
	}
	assert_true(asked >= 14);
}

/* libvirt */

/* The command is known, and its reply as the schema has it; or it is refused by its name. */
static void say(struct talk *t, const char *command, const char *args, bool known)
{
	char text[1024], part[128];

	if (known) {
		json_decref(ask_in_schema(t, command, args));
		return;
	}
	snprintf(text, sizeof(text),
		"{\"execute\": \"%s\", \"arguments\": %s, \"id\": \"libvirt-1\"}", command,
		args ? args : "{}");
	snprintf(part, sizeof(part), "The command %s has not been found", command);
	talk_refused(t, text, "CommandNotFound", part);
}

/* Of its probe of a QEMU binary, and of its start of a VM: in their order. */
static void libvirt_can_begin(void **state)
{
	static const struct {
		const char *command, *args;
		bool known;
	} lines[] = {
		{"query-version", NULL, true},
		{"query-target", NULL, true},
		{"query-commands", NULL, true},
		{"query-kvm", NULL, true},
		{"query-accelerators", NULL, false},
		{"qom-list-types", "{\"abstract\": false}", false},
		{"query-machines", NULL, false},
		{"query-cpu-definitions", NULL, false},
		{"query-tpm-models", NULL, false},
		{"query-migrate-capabilities", NULL, true},
		{"query-qmp-schema", NULL, true},
		{"query-gic-capabilities", NULL, false},
		{"query-sev-capabilities", NULL, false},
		{"query-cpu-model-expansion",
			"{\"type\": \"static\", \"model\": {\"name\": \"max\"}}", false},
		{"query-command-line-options", NULL, false},
		{"query-chardev", NULL, false},
		{"query-hotpluggable-cpus", NULL, false},
		{"query-cpus-fast", NULL, true},
		{"qom-list", "{\"path\": \"/machine/peripheral\"}", false},
		{"query-iothreads", NULL, false},
		{"query-balloon", NULL, false},
		{"query-block", NULL, false},
		{"query-name", NULL, true},
		{"query-uuid", NULL, true},
		{"query-status", NULL, true},
		{"query-migrate-parameters", NULL, true},
		{"cont", NULL, true},
		{"query-status", NULL, true},
		{"stop", NULL, true},
		{"cont", NULL, true},
		{"system_powerdown", NULL, false},
		{"system_reset", NULL, false},
		{"announce-self", "{\"initial\": 50, \"max\": 550, \"rounds\": 5, \"step\": 50}",
			false},
	};

	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(lines); i++)
		say(&talk, lines[i].command, lines[i].args, lines[i].known);
	box_rings(&box);
}

/* What a client requests that exists, or that changes nothing, is taken; the rest is named. */
static void qemus_parameters_and_capabilities_are_taken_or_named(void **state)
{
	static const char *const off[] = {"xbzrle", "rdma-pin-all", "postcopy-ram", "x-colo",
		"release-ram", "dirty-bitmaps", "postcopy-blocktime", "late-block-activate",
		"x-ignore-shared", "validate-uuid", "background-snapshot", "zero-copy-send",
		"postcopy-preempt", "dirty-limit", "mapped-ram"};
	static const char *const on[] = {"auto-converge", "events", "return-path", "multifd",
		"switchover-ack", "pause-before-switchover"};
	static const struct {
		const char *args, *error;
	} others[] = {
		{"{\"xbzrle-cache-size\": 1}",
			"'xbzrle-cache-size' has no effect here: it can only "
			"be 67108864"},
		{"{\"multifd-compression\": \"zstd\"}",
			"'multifd-compression' does not accept value "
			"'zstd'"},
		{"{\"mode\": \"cpr-reboot\"}", "'mode' does not accept value 'cpr-reboot'"},
		{"{\"direct-io\": true}", "'direct-io' has no effect here"},
		{"{\"cpr-exec-command\": [\"x\"]}", "'cpr-exec-command' has no effect here"},
		{"{\"downtime-limit\": 100, \"announce-rounds\": 6}", "'announce-rounds'"},
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(off) + SWO_ARRAY_SIZE(on); i++) {
		const bool may = i >= SWO_ARRAY_SIZE(off);
		const char *name = may ? on[i - SWO_ARRAY_SIZE(off)] : off[i];

		for (int state_on = 1; state_on >= 0; state_on--) {
			snprintf(text, sizeof(text),
				"{\"capabilities\": [{\"capability\": \"%s\", \"state\": %s}]}",
				name, state_on ? "true" : "false");
			if (may || !state_on)
				say(&talk, "migrate-set-capabilities", text, true);
			else
				refuse("migrate-set-capabilities", text, name);
		}
	}
	for (size_t i = 0; i < SWO_ARRAY_SIZE(others); i++)
		refuse("migrate-set-parameters", others[i].args, others[i].error);

	/* As libvirt does after a migration: all that there is goes back. */
	json_t *before = talk_do(&talk, "{\"execute\": \"query-migrate-parameters\"}");
	json_t *all =
		json_pack("{s:s, s:O}", "execute", "migrate-set-parameters", "arguments", before);
	char *request = json_dumps(all, 0);

	assert_int_equal(json_integer_value(json_object_get(before, "downtime-limit")), 300);
	json_decref(talk_do(&talk, request));
	json_t *after = talk_do(&talk, "{\"execute\": \"query-migrate-parameters\"}");

	assert_true(json_equal(before, after));
	free(request);
	json_decref(all);
	json_decref(before);
	json_decref(after);
}

static void an_address_is_one_uri_or_one_channel(void **state)
{
#define ADDR(addr) "{\"channels\": [{\"channel-type\": \"main\", \"addr\": {" addr "}}]}"
	static const struct {
		const char *args, *error; /* NULL: started */
	} cases[] = {
		{"{}", "need either 'uri' or 'channels' argument"},
		{"{\"channels\": []}", "need either 'uri' or 'channels' argument"},
		{"{\"uri\": \"unix:/none\", \"channels\": [{\"channel-type\": \"main\", \"addr\": "
		 "{\"transport\": \"socket\", \"type\": \"unix\", \"path\": \"/none\"}}]}",
			"need either 'uri' or 'channels' argument"},
		{ADDR("\"transport\": \"socket\", \"type\": \"unix\""),
			"Parameter 'channels[0].addr.path' is missing"},
		{ADDR("\"transport\": \"exec\", \"args\": []"), "does not accept value 'exec'"},
		{ADDR("\"transport\": \"socket\", \"type\": \"vsock\""), "value 'vsock'"},
		{"{\"channels\": [{\"channel-type\": \"cpr\"}]}", "does not accept value 'cpr'"},
		{"{\"uri\": \"unix:/none\", \"resume\": true}", "no paused migration"},
		{"{\"uri\": \"unix:/none\", \"blk\": true}", "'blk' can only be false"},
		{"{\"uri\": \"unix:/none\", \"inc\": true}", "'inc' can only be false"},
		{"{\"uri\": \"exec:cat\"}", "invalid URI"},
		{"{\"uri\": \"unix:/none\", \"detach\": true, \"blk\": false, \"inc\": false, "
		 "\"resume\": false}",
			NULL},
		{ADDR("\"transport\": \"socket\", \"type\": \"unix\", \"path\": \"/none\""), NULL},
		{ADDR("\"transport\": \"socket\", \"type\": \"inet\", \"host\": \"::1\", \"port\": "
		      "\"1\""),
			NULL},
	};

	(void)state;
	for (size_t i = 0; i < SWO_ARRAY_SIZE(cases); i++) {
		if (cases[i].error) {
			refuse("migrate", cases[i].args, cases[i].error);
			continue;
		}
		say(&talk, "migrate", cases[i].args, true);
		box_wait_migration(&talk, "failed");
		assert_true(vmm_machine_migration_wait(box.machine, swo_deadline_ms(TALK_MS)));
	}
	box_rings(&box);
#undef ADDR
}

/* Descriptors */

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(strlen(path) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Sends `getfd` with these descriptors, and closes them here. */
static void send_fds(struct talk *t, const char *name, int *fds, unsigned count)
{
	char text[128];
	const int len = snprintf(text, sizeof(text),
		"{\"execute\": \"getfd\", \"arguments\": {\"fdname\": \"%s\"}}", name);
	struct iovec piece = {.iov_base = text, .iov_len = (size_t)len};
	struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};

	assert_int_equal(base_send_fds(t->fd, &msg, fds, count, 0), len);
	while (count)
		close(fds[--count]);
}

static void pass_fd(struct talk *t, const char *name, int fd)
{
	json_t *reply;

	send_fds(t, name, &fd, 1);
	reply = talk_reply(t);
	assert_non_null(json_object_get(reply, "return"));
	json_decref(reply);
}

static bool closes(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	char byte;

	return poll(&pfd, 1, TALK_MS) == 1 && recv(fd, &byte, 1, 0) == 0;
}

static void descriptors_are_kept_by_name_until_they_are_used_or_closed(void **state)
{
	int pair[2], extra[2], both[2];
	char name[32];

	(void)state;
	refuse("getfd", "{\"fdname\": \"x\"}", "No file descriptor supplied via SCM_RIGHTS");
	refuse("closefd", "{\"fdname\": \"x\"}", "File descriptor named 'x' not found");
	refuse("closefd", "{\"fdname\": \"\"}", "not found");
	refuse("migrate", "{\"uri\": \"fd:x\"}", "File descriptor named 'x' has not been found");
	refuse("migrate-incoming", "{\"uri\": \"fd:x\"}", "a target listens itself");

	/* The second of that name closes the first; of several in one message the first counts. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pass_fd(&talk, "x", pair[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, extra), 0);
	both[0] = dup(extra[1]);
	both[1] = pair[0];
	send_fds(&talk, "x", (int[]){both[0], dup(both[1])}, 2);
	json_decref(talk_reply(&talk));
	close(extra[1]);
	assert_true(closes(pair[0]));
	say(&talk, "closefd", "{\"fdname\": \"x\"}", true);
	assert_true(closes(extra[0]));
	close(pair[0]);
	close(extra[0]);

	/* Neither a bad name, nor too many, nor one that is no connection, leaves one open. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	send_fds(&talk, "1x", &pair[1], 1);
	json_decref(talk_reply(&talk));
	assert_true(closes(pair[0]));
	close(pair[0]);
	for (unsigned i = 0; i < MACHINE_FDS_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		pass_fd(&talk, name, open("/dev/null", O_RDONLY | O_CLOEXEC));
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	send_fds(&talk, "more", &pair[1], 1);
	json_t *reply = talk_reply(&talk);

	assert_non_null(json_object_get(reply, "error"));
	json_decref(reply);
	assert_true(closes(pair[0]));
	close(pair[0]);
	say(&talk, "closefd", "{\"fdname\": \"n0\"}", true);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pass_fd(&talk, "pair", pair[1]);
	refuse("migrate", "{\"uri\": \"fd:pair\"}", "is not connected to an address");
	assert_true(closes(pair[0]));
	close(pair[0]);
	refuse("migrate", "{\"uri\": \"fd:pair\"}", "has not been found");
	refuse("migrate", "{\"uri\": \"fd:n1\"}", "is no connected socket");
}

/* A migration */

static void incoming(struct vmm_machine_config *config)
{
	config->incoming = true;
}

static json_int_t ram_member(json_t *info, const char *name)
{
	json_t *value = json_object_get(json_object_get(info, "ram"), name);

	assert_true(json_is_integer(value));
	return json_integer_value(value);
}

static void libvirt_can_migrate(void **state)
{
	static struct box_pair pair; /* big */
	static const char all_off[] =
		"{\"capabilities\": [{\"capability\": \"xbzrle\", \"state\": false}, "
		"{\"capability\": \"auto-converge\", \"state\": false}, {\"capability\": "
		"\"rdma-pin-all\", \"state\": false}, {\"capability\": \"postcopy-ram\", "
		"\"state\": false}, {\"capability\": \"return-path\", \"state\": true}, "
		"{\"capability\": \"multifd\", \"state\": true}, {\"capability\": "
		"\"late-block-activate\", \"state\": false}, {\"capability\": \"events\", "
		"\"state\": true}]}";
	char args[512];
	json_t *info;

	(void)state;
	box_pair_up(&pair, NULL, incoming);
	json_decref(talk_do(&pair.t, "{\"execute\": \"migrate_cancel\"}"));
	box_wait_migration(&pair.t, "cancelled");
	say(&pair.t, "migrate-set-capabilities", all_off, true);
	say(&pair.t, "migrate-set-parameters",
		"{\"tls-creds\": \"\", \"tls-hostname\": \"\", \"multifd-channels\": 2}", true);
	say(&pair.t, "nbd-server-start", NULL, false);
	snprintf(args, sizeof(args),
		"{\"channels\": [{\"channel-type\": \"main\", \"addr\": {\"transport\": "
		"\"socket\", \"type\": \"unix\", \"path\": \"%s/mig\"}}], \"exit-on-error\": "
		"false}",
		pair.target.dir);
	say(&pair.t, "migrate-incoming", args, true);

	say(&pair.s, "query-migrate-capabilities", NULL, true);
	say(&pair.s, "migrate-set-capabilities", all_off, true);
	/* It always has, to release the storage while no guest writes. */
	say(&pair.s, "migrate-set-capabilities",
		"{\"capabilities\": [{\"capability\": \"pause-before-switchover\", \"state\": "
		"true}]}",
		true);
	say(&pair.s, "migrate-set-parameters",
		"{\"tls-creds\": \"\", \"tls-hostname\": \"\", \"max-bandwidth\": "
		"9223372036853727232, \"downtime-limit\": 60000, \"multifd-channels\": 2, "
		"\"multifd-compression\": \"none\"}",
		true);
	snprintf(args, sizeof(args), "%s/mig", pair.target.dir);
	pass_fd(&pair.s, "migrate", connect_to(args));
	say(&pair.s, "migrate", "{\"detach\": true, \"resume\": false, \"uri\": \"fd:migrate\"}",
		true);
	box_wait_migration(&pair.s, "pre-switchover");
	say(&pair.s, "query-migrate", NULL, true);
	say(&pair.s, "query-status", NULL, true);
	say(&pair.s, "migrate-continue", "{\"state\": \"pre-switchover\"}", true);
	box_wait_migration(&pair.s, "completed");
	info = ask_in_schema(&pair.s, "query-migrate", NULL);
	assert_int_equal(ram_member(info, "precopy-bytes") + ram_member(info, "downtime-bytes"),
		ram_member(info, "transferred"));
	/* The VMM itself writes to some pages in each stop. */
	assert_true(ram_member(info, "downtime-bytes") > 0);
	assert_true(ram_member(info, "pages-per-second") > 0);
	assert_int_equal(ram_member(info, "remaining"), 0);
	assert_int_equal(ram_member(info, "postcopy-bytes"), 0);
	json_decref(info);
	say(&pair.s, "query-status", NULL, true);
	box_wait_migration(&pair.t, "completed");
	json_decref(ask_in_schema(&pair.t, "query-migrate", NULL));
	say(&pair.t, "query-status", NULL, true);
	say(&pair.t, "cont", NULL, true);
	box_pair_down(&pair);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, up, down)
	const struct CMUnitTest tests[] = {
		CASE(every_command_is_in_the_schema_with_all_that_it_refers_to),
		CASE(the_commands_take_what_the_schema_says_and_nothing_else),
		CASE(replies_are_as_the_schema_says),
		CASE(libvirt_can_begin),
		CASE(qemus_parameters_and_capabilities_are_taken_or_named),
		CASE(an_address_is_one_uri_or_one_channel),
		CASE(descriptors_are_kept_by_name_until_they_are_used_or_closed),
		CASE(libvirt_can_migrate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
