/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_qmp.c - conversations with a QMP server: greeting, negotiation, ids, split requests,
 * garbage, events, slow commands beside quick ones.
 */
#include "qmp_talk.h"
#include "tests/support/blocked.h"
#include "tests/support/cm.h"
#include "tests/support/dir.h"
#include "vmm/qmp/parser.h"
#include "vmm/qmp/qmp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct rig {
	char dir[32], path[64];
	struct swo_worker *worker;
	struct qmp_server *server;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	bool started, released;
	blocked_tid stopper;
	unsigned calls;
};

static int run_echo(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct rig *rig = opaque;

	(void)err;
	rig->calls++;
	*ret = json_pack("{s:O}", "value", json_object_get(args, "value"));
	return 0;
}

static int run_nothing(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)opaque;
	(void)args;
	(void)ret;
	(void)err;
	return 0;
}

static int run_fail(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	(void)opaque;
	(void)args;
	(void)ret;
	return swo_error_set(err, SWO_E_STATE, 0, "it is %s", "not the moment");
}

/* Until released. */
static int run_slow(void *opaque, json_t *args, json_t **ret, struct swo_error *err)
{
	struct rig *rig = opaque;
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	(void)args;
	(void)err;
	pthread_mutex_lock(&rig->mutex);
	rig->started = true;
	pthread_cond_broadcast(&rig->changed);
	while (!rig->released && !swo_cond_wait(&rig->changed, &rig->mutex, deadline))
		;
	pthread_mutex_unlock(&rig->mutex);
	*ret = json_pack("{s:b}", "slow", 1);
	return 0;
}

static const struct qmp_type echo_args = QMP_OBJECT_OF({"value", &qmp_any, false});
static const struct qmp_type numbers = QMP_LIST_OF(&qmp_int);
static const struct qmp_type kinds = QMP_ENUM_OF("round", "square");
static const struct qmp_type round_args = QMP_OBJECT_OF({"radius", &qmp_number, false});
static const struct qmp_type square_args =
	QMP_OBJECT_OF({"side", &qmp_int, false}, {"corners", &numbers, true});
static const struct qmp_type shape = {.kind = QMP_OBJECT,
	.members = QMP_MEMBERS({"kind", &kinds, false}),
	.tag = "kind",
	.variants = (const struct qmp_type *const[]){&round_args, &square_args}};
static const struct qmp_type shapes = QMP_LIST_OF(&shape);
static const struct qmp_type word_auto = QMP_ENUM_OF("auto");
static const struct qmp_type size_or_auto = {.kind = QMP_ALTERNATE,
	.members = QMP_MEMBERS({.type = &qmp_int}, {.type = &word_auto}, {.type = &qmp_null})};
static const struct qmp_type typed_args = QMP_OBJECT_OF({"text", &qmp_string, false},
	{"number", &qmp_int, true}, {"flag", &qmp_bool, true}, {"shapes", &shapes, true},
	{"size", &size_or_auto, true});
static const struct qmp_command commands[] = {
	{"echo", &echo_args, &echo_args, false, run_echo},
	{"nothing", NULL, NULL, false, run_nothing},
	{"fail", NULL, NULL, false, run_fail},
	{"typed", &typed_args, NULL, false, run_nothing},
	{"slow", NULL, NULL, true, run_slow},
};
static const struct qmp_event events[] = {{"FIRST", &echo_args}, {"SECOND", NULL}};

static int up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct qmp_config config = {.commands = commands,
		.command_count = SWO_ARRAY_SIZE(commands),
		.events = events,
		.event_count = SWO_ARRAY_SIZE(events),
		.opaque = rig};
	struct swo_error err;

	assert_non_null(rig);
	assert_int_equal(dir_make(rig->dir), 0);
	snprintf(rig->path, sizeof(rig->path), "%s/qmp", rig->dir);
	pthread_mutex_init(&rig->mutex, NULL);
	swo_cond_init(&rig->changed);
	assert_int_equal(swo_worker_create("test", &rig->worker, &err), 0);
	config.path = rig->path;
	config.worker = rig->worker;
	assert_int_equal(qmp_server_start(&config, &rig->server, &err), 0);
	*state = rig;
	return 0;
}

static int down(void **state)
{
	struct rig *rig = *state;

	qmp_server_stop(rig->server);
	assert_int_equal(access(rig->path, F_OK), -1);
	assert_true(swo_worker_destroy(rig->worker, swo_deadline_ms(TALK_MS)));
	assert_int_equal(dir_remove(rig->dir), 0);
	free(rig);
	return 0;
}

static void release(struct rig *rig)
{
	pthread_mutex_lock(&rig->mutex);
	rig->released = true;
	pthread_cond_broadcast(&rig->changed);
	pthread_mutex_unlock(&rig->mutex);
}

static void wait_started(struct rig *rig)
{
	swo_deadline deadline = swo_deadline_ms(TALK_MS);

	pthread_mutex_lock(&rig->mutex);
	while (!rig->started)
		assert_int_equal(swo_cond_wait(&rig->changed, &rig->mutex, deadline), 0);
	pthread_mutex_unlock(&rig->mutex);
}

static void the_greeting_has_version_and_capabilities(void **state)
{
	struct rig *rig = *state;
	struct talk talk;
	json_t *ret;

	talk_open(&talk, rig->path, true);
	ret = talk_do(&talk, "{\"execute\": \"query-version\"}");
	assert_true(json_is_integer(json_object_get(json_object_get(ret, "qemu"), "major")));
	assert_true(json_is_string(json_object_get(ret, "package")));
	json_decref(ret);
	talk_close(&talk);
}

static void only_the_owner_may_connect(void **state)
{
	struct rig *rig = *state;
	struct stat st;

	assert_int_equal(stat(rig->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void before_negotiation_no_command_is_found(void **state)
{
	struct rig *rig = *state;
	struct talk talk;

	talk_open(&talk, rig->path, false);
	talk_refused(&talk, "{\"execute\": \"nothing\"}", "CommandNotFound", "qmp_capabilities");
	talk_refused(&talk, "{\"execute\": \"query-version\"}", "CommandNotFound", "negotiation");
	talk_refused(&talk,
		"{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": [\"oob\"]}}",
		"GenericError", "capability");
	json_decref(talk_do(
		&talk, "{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": []}}"));
	json_decref(talk_do(&talk, "{\"execute\": \"nothing\"}"));
	talk_refused(&talk, "{\"execute\": \"qmp_capabilities\"}", "CommandNotFound", "already");
	talk_close(&talk);
}

static void each_client_negotiates_for_itself(void **state)
{
	struct rig *rig = *state;
	struct talk one, two;

	talk_open(&one, rig->path, true);
	talk_open(&two, rig->path, false);
	json_decref(talk_do(&one, "{\"execute\": \"nothing\"}"));
	talk_refused(&two, "{\"execute\": \"nothing\"}", "CommandNotFound", "negotiation");
	talk_close(&one);
	talk_close(&two);
}

static void any_id_comes_back_as_it_was(void **state)
{
	static const char *const ids[] = {
		"1", "\"x\\u00e4\"", "{\"a\": [1, null]}", "null", "[]", "1.5", "true"};
	struct rig *rig = *state;
	struct talk talk;
	char text[128];

	talk_open(&talk, rig->path, true);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(ids); i++) {
		json_error_t error;
		json_t *id = json_loads(ids[i], JSON_DECODE_ANY, &error), *reply;

		snprintf(text, sizeof(text), "{\"execute\": \"%s\", \"id\": %s}",
			i % 2 ? "nothing" : "no-such", ids[i]);
		reply = talk_ask(&talk, text);
		assert_true(json_equal(json_object_get(reply, "id"), id));
		json_decref(reply);
		json_decref(id);
	}
	json_t *reply = talk_ask(&talk, "{\"execute\": \"nothing\"}");

	assert_null(json_object_get(reply, "id"));
	json_decref(reply);
	talk_close(&talk);
}

static void a_request_may_come_byte_by_byte(void **state)
{
	static const char text[] = " {\"execute\" : \"echo\", \"arguments\":\r\n {\"value\": "
				   "\"br{ck\\\"ts]\"}, \"id\": [{}]}";
	struct rig *rig = *state;
	struct talk talk;
	json_t *reply;

	talk_open(&talk, rig->path, true);
	for (size_t i = 0; i < strlen(text); i++)
		talk_send(&talk, text + i, 1);
	reply = talk_reply(&talk);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(reply, "return"), "value")),
		"br{ck\"ts]");
	json_decref(reply);
	talk_close(&talk);
}

static void requests_may_come_together_and_are_answered_in_order(void **state)
{
	struct rig *rig = *state;
	struct talk talk;
	char text[4096];
	size_t len = 0;

	talk_open(&talk, rig->path, true);
	for (int i = 0; i < 50; i++)
		len += (size_t)snprintf(
			text + len, sizeof(text) - len, "{\"execute\":\"nothing\",\"id\":%d}", i);
	talk_send(&talk, text, len);
	for (int i = 0; i < 50; i++) {
		json_t *reply = talk_reply(&talk);

		assert_int_equal(json_integer_value(json_object_get(reply, "id")), i);
		json_decref(reply);
	}
	talk_close(&talk);
}

static void malformed_requests_get_the_right_error_and_affect_no_other_client(void **state)
{
	struct rig *rig = *state;
	struct talk talk;

	talk_open(&talk, rig->path, true);
	talk_refused(&talk, "hello there\n", "GenericError", "JSON object");
	talk_refused(&talk, "{\"execute\": }", "GenericError", "invalid JSON");
	talk_refused(&talk, "{]", "GenericError", "invalid JSON");
	talk_refused(&talk, "[1, 2]", "GenericError", "must be a JSON object");
	talk_refused(&talk, "{}", "GenericError", "lacks member 'execute'");
	talk_refused(&talk, "{\"execute\": 1}", "GenericError", "must be a string");
	talk_refused(&talk, "{\"execute\": \"nothing\", \"arguments\": []}", "GenericError",
		"must be an object");
	talk_refused(&talk, "{\"execute\": \"nothing\", \"what\": 1}", "GenericError",
		"'what' is unexpected");
	talk_refused(&talk, "{\"execute\": \"nothing\", \"execute\": \"nothing\"}", "GenericError",
		"invalid JSON");
	talk_refused(&talk, "{\"execute\": \"\\ud800\"}", "GenericError", "invalid JSON");
	talk_refused(&talk, "{\"execute\": \"n\xc3\x28\"}", "GenericError", "invalid JSON");
	/* An unterminated string does not consume the next request after a flush. */
	talk_send(&talk, "{\"execute\": \"not", 16);
	json_decref(talk_do(&talk, "\xff{\"execute\": \"nothing\"}"));
	talk_close(&talk);
}

static void unknown_commands_and_wrong_arguments_are_refused(void **state)
{
	struct rig *rig = *state;
	struct talk talk;

	talk_open(&talk, rig->path, true);
	talk_refused(&talk, "{\"execute\": \"frobnicate\"}", "CommandNotFound", "frobnicate");
	talk_refused(&talk, "{\"execute\": \"typed\"}", "GenericError", "'text' is missing");
	talk_refused(&talk, "{\"execute\": \"typed\", \"arguments\": {\"text\": 1}}",
		"GenericError", "'text', expected: string");
	talk_refused(&talk,
		"{\"execute\": \"typed\", \"arguments\": {\"text\": \"\", \"number\": 1.5}}",
		"GenericError", "'number', expected: integer");
	talk_refused(&talk,
		"{\"execute\": \"typed\", \"arguments\": {\"text\": \"\", \"flag\": null}}",
		"GenericError", "'flag', expected: boolean");
	talk_refused(&talk,
		"{\"execute\": \"typed\", \"arguments\": {\"text\": \"\", \"more\": 1}}",
		"GenericError", "'more' is unexpected");
	talk_refused(&talk, "{\"execute\": \"nothing\", \"arguments\": {\"a\": 1}}", "GenericError",
		"'a' is unexpected");
	json_decref(talk_do(&talk, "{\"execute\": \"typed\", \"arguments\": {\"text\": \"\", "
				   "\"number\": 1, \"flag\": false}}"));
	talk_refused(&talk, "{\"execute\": \"fail\"}", "GenericError", "not the moment");
	talk_close(&talk);
}

/* Within objects and lists too, with the place of what is wrong; the texts are QEMU's. */
static void arguments_are_checked_to_the_bottom(void **state)
{
	static const struct {
		const char *args, *error; /* NULL: taken */
	} cases[] = {
		{"'shapes': 3", "Invalid parameter type for 'shapes', expected: array"},
		{"'shapes': [3]", "Invalid parameter type for 'shapes[0]', expected: object"},
		{"'shapes': [{}]", "Parameter 'shapes[0].kind' is missing"},
		{"'shapes': [{'kind': 'flat'}]", "Parameter 'kind' does not accept value 'flat'"},
		{"'shapes': [{'kind': 'round'}]", "Parameter 'shapes[0].radius' is missing"},
		{"'shapes': [{'kind': 'round', 'radius': 1.5}, {'kind': 'square', 'side': 1, "
		 "'radius': 1}]",
			"Parameter 'shapes[1].radius' is unexpected"},
		{"'shapes': [{'kind': 'square', 'side': 1, 'corners': [1, '2']}]",
			"Invalid parameter type for 'shapes[0].corners[1]', expected: integer"},
		{"'shapes': [{'kind': 'square', 'side': 1, 'corners': [1, 2]}]", NULL},
		{"'shapes': []", NULL},
		{"'size': 7", NULL},
		{"'size': 'auto'", NULL},
		{"'size': null", NULL},
		{"'size': 'big'", "Parameter 'size' does not accept value 'big'"},
		{"'size': true", "for 'size', expected: integer or string or null"},
	};
	struct rig *rig = *state;
	struct talk talk;
	char text[256];

	talk_open(&talk, rig->path, true);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(cases); i++) {
		snprintf(text, sizeof(text), "{'execute': 'typed', 'arguments': {'text': '', %s}}",
			cases[i].args);
		for (char *at = text; *at; at++)
			*at = *at == '\'' ? '"' : *at;
		if (cases[i].error)
			talk_refused(&talk, text, "GenericError", cases[i].error);
		else
			json_decref(talk_do(&talk, text));
	}
	talk_close(&talk);
}

/* Clients have patterns for QEMU's bytes. */
static void replies_have_the_bytes_that_qemu_would_send(void **state)
{
	static const struct {
		const char *request, *reply;
	} lines[] = {
		{"{\"execute\":\"nothing\"}", "{\"return\": {}}\r\n"},
		{"{\"execute\":\"echo\",\"arguments\":{\"value\":[1,\"\xc3\xa9\xf0\x9f\x98\x80\"]},"
		 "\"id\":7}",
			"{\"return\": {\"value\": [1, \"\\u00E9\\uD83D\\uDE00\"]}, \"id\": 7}\r\n"},
		{"{\"execute\":\"fail\"}", "{\"error\": {\"class\": \"GenericError\", \"desc\": "
					   "\"it is not the moment\"}}\r\n"},
	};
	struct rig *rig = *state;
	struct talk talk;

	talk_open(&talk, rig->path, true);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(lines); i++) {
		const size_t len = strlen(lines[i].reply);
		char got[256] = "";

		talk_send(&talk, lines[i].request, strlen(lines[i].request));
		for (size_t at = 0; at < len;) {
			const ssize_t n = recv(talk.fd, got + at, len - at, 0);

			assert_true(n > 0);
			at += (size_t)n;
		}
		assert_string_equal(got, lines[i].reply);
	}
	talk_close(&talk);
}

static void a_request_too_long_or_too_deep_ends_its_connection_only(void **state)
{
	struct rig *rig = *state;
	struct talk talk, other;
	static char text[QMP_REQUEST_MAX + 64];
	json_t *reply;

	talk_open(&other, rig->path, true);
	talk_open(&talk, rig->path, true);
	memset(text, 'x', sizeof(text));
	memcpy(text, "{\"execute\": \"", 13);
	/* The server may close before it has read all of it. */
	for (size_t at = 0; at < sizeof(text);) {
		ssize_t sent = send(talk.fd, text + at, sizeof(text) - at, MSG_NOSIGNAL);

		if (sent <= 0)
			break;
		at += (size_t)sent;
	}
	reply = talk_reply(&talk);
	if (reply)
		assert_non_null(json_object_get(reply, "error"));
	json_decref(reply);
	assert_null(talk_next(&talk));
	talk_close(&talk);

	talk_open(&talk, rig->path, true);
	memset(text, '[', 1000);
	talk_send(&talk, text, QMP_DEPTH_MAX + 1);
	reply = talk_reply(&talk);
	assert_non_null(json_object_get(reply, "error"));
	json_decref(reply);
	assert_null(talk_next(&talk));
	talk_close(&talk);
	json_decref(talk_do(&other, "{\"execute\": \"nothing\"}"));
	talk_close(&other);
}

static void events_go_to_every_client_that_has_negotiated(void **state)
{
	struct rig *rig = *state;
	struct talk one, two, mute;
	json_t *event, *stamp;

	talk_open(&one, rig->path, true);
	talk_open(&two, rig->path, true);
	talk_open(&mute, rig->path, false);
	qmp_server_event(rig->server, "FIRST", json_pack("{s:i}", "n", 7));
	qmp_server_event(rig->server, "SECOND", NULL);
	for (struct talk *talk = &one; talk; talk = talk == &one ? &two : NULL) {
		event = talk_next(talk);
		assert_string_equal(json_string_value(json_object_get(event, "event")), "FIRST");
		assert_int_equal(
			json_integer_value(json_object_get(json_object_get(event, "data"), "n")),
			7);
		stamp = json_object_get(event, "timestamp");
		assert_true(json_integer_value(json_object_get(stamp, "seconds")) > 0);
		assert_true(json_integer_value(json_object_get(stamp, "microseconds")) < 1000000);
		json_decref(event);
		event = talk_next(talk);
		assert_string_equal(json_string_value(json_object_get(event, "event")), "SECOND");
		assert_null(json_object_get(event, "data"));
		json_decref(event);
	}
	/* The third client receives its own reply first. */
	json_decref(talk_do(&mute, "{\"execute\": \"qmp_capabilities\"}"));
	assert_int_equal(json_array_size(mute.events), 0);
	talk_close(&one);
	talk_close(&two);
	talk_close(&mute);
}

static void a_slow_command_delays_only_its_client(void **state)
{
	struct rig *rig = *state;
	struct talk one, two;
	json_t *reply;

	talk_open(&one, rig->path, true);
	talk_open(&two, rig->path, true);
	talk_send(&one, "{\"execute\": \"slow\", \"id\": 1}{\"execute\": \"nothing\", \"id\": 2}",
		60);
	wait_started(rig);
	json_decref(talk_do(&two, "{\"execute\": \"nothing\"}"));
	release(rig);
	reply = talk_reply(&one);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")), 1);
	json_decref(reply);
	reply = talk_reply(&one);
	assert_int_equal(json_integer_value(json_object_get(reply, "id")), 2);
	json_decref(reply);
	talk_close(&one);
	talk_close(&two);
}

static void a_client_may_disconnect_while_its_command_runs(void **state)
{
	struct rig *rig = *state;
	struct talk one, two;

	talk_open(&one, rig->path, true);
	talk_open(&two, rig->path, true);
	talk_send(&one, "{\"execute\": \"slow\"}", 19);
	wait_started(rig);
	talk_close(&one);
	json_decref(talk_do(&two, "{\"execute\": \"nothing\"}"));
	release(rig);
	json_decref(talk_do(&two, "{\"execute\": \"slow\"}"));
	talk_close(&two);
}

static void the_server_stops_with_connected_clients(void **state)
{
	struct rig *rig = *state;
	struct talk one, two;

	talk_open(&one, rig->path, true);
	talk_open(&two, rig->path, false);
	qmp_server_event(rig->server, "LAST", NULL);
	qmp_server_stop(rig->server);
	rig->server = NULL;
	json_decref(talk_event(&one, "LAST"));
	assert_null(talk_next(&one));
	assert_null(talk_next(&two));
	talk_close(&one);
	talk_close(&two);
}

static void *stop_server(void *opaque)
{
	struct rig *rig = opaque;

	atomic_store(&rig->stopper, gettid());
	qmp_server_stop(rig->server);
	return NULL;
}

/* Like `quit`, which stops its own server. */
static void a_command_that_runs_when_the_server_ends_is_still_answered(void **state)
{
	struct rig *rig = *state;
	struct talk talk;
	pthread_t stopper;

	static const char slow[] = "{\"execute\": \"slow\"}";

	talk_open(&talk, rig->path, true);
	talk_send(&talk, slow, sizeof(slow) - 1);
	pthread_mutex_lock(&rig->mutex);
	while (!rig->started)
		assert_int_equal(
			swo_cond_wait(&rig->changed, &rig->mutex, swo_deadline_ms(TALK_MS)), 0);
	pthread_mutex_unlock(&rig->mutex);
	assert_int_equal(pthread_create(&stopper, NULL, stop_server, rig), 0);
	/* The server has noticed it, and waits for the command. */
	assert_true(blocked_await(&rig->stopper));
	pthread_mutex_lock(&rig->mutex);
	rig->released = true;
	pthread_cond_broadcast(&rig->changed);
	pthread_mutex_unlock(&rig->mutex);
	json_t *reply = talk_reply(&talk);

	assert_true(json_is_true(json_object_get(json_object_get(reply, "return"), "slow")));
	json_decref(reply);
	pthread_join(stopper, NULL);
	rig->server = NULL;
	talk_close(&talk);
}

static void query_commands_lists_all_commands(void **state)
{
	struct rig *rig = *state;
	struct talk talk;
	json_t *list, *entry;
	unsigned found = 0;
	size_t i;

	talk_open(&talk, rig->path, true);
	list = talk_do(&talk, "{\"execute\": \"query-commands\"}");
	json_array_foreach (list, i, entry) {
		const char *name = json_string_value(json_object_get(entry, "name"));

		found += !strcmp(name, "qmp_capabilities") || !strcmp(name, "echo");
	}
	assert_int_equal(json_array_size(list), SWO_ARRAY_SIZE(commands) + 4);
	assert_int_equal(found, 2);
	json_decref(list);
	talk_close(&talk);
}

static void a_path_in_use_is_refused_and_a_stale_one_replaced(void **state)
{
	struct rig *rig = *state;
	struct qmp_config config = {.path = rig->path, .worker = rig->worker};
	struct qmp_server *second;
	struct swo_error err;
	char path[80], longer[200];

	assert_int_equal(qmp_server_start(&config, &second, &err), -1);
	assert_non_null(strstr(err.text, "in use"));
	/* The socket of a killed process. */
	snprintf(path, sizeof(path), "%s/stale", rig->dir);
	struct qmp_config stale = {.path = path, .worker = rig->worker};

	assert_int_equal(qmp_server_start(&stale, &second, &err), 0);
	assert_int_equal(rename(path, strcat(strcpy(longer, path), "2")), 0);
	qmp_server_stop(second);
	stale.path = longer;
	assert_int_equal(access(longer, F_OK), 0);
	assert_int_equal(qmp_server_start(&stale, &second, &err), 0);
	qmp_server_stop(second);
	/* A file that is not a socket is never replaced. */
	FILE *file = fopen(path, "w");

	fclose(file);
	stale.path = path;
	assert_int_equal(qmp_server_start(&stale, &second, &err), -1);
	assert_int_equal(access(path, F_OK), 0);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	stale.path = longer;
	assert_int_equal(qmp_server_start(&stale, &second, &err), -1);
}

/* Deterministic noise: for any input, the parser ends every feed within bounds. */
static void the_parser_survives_noise_and_stays_within_bounds(void **state)
{
	static const char alphabet[] = "{}[]\":,\\ \n\xff"
				       "a1";
	struct qmp_parser parser;
	uint64_t x = 1;
	unsigned messages = 0;

	(void)state;
	qmp_parser_init(&parser);
	for (unsigned round = 0; round < 20000; round++) {
		char data[40], why[256];
		size_t at = 0, used;

		for (size_t i = 0; i < sizeof(data); i++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			data[i] = alphabet[(x >> 33) % (sizeof(alphabet) - 1)];
		}
		while (at < sizeof(data)) {
			json_t *message;
			enum qmp_parsed parsed = qmp_parser_feed(
				&parser, data + at, sizeof(data) - at, &used, &message, why);

			assert_true(used > 0 && used <= sizeof(data) - at);
			assert_true((parsed == QMP_PARSED_MESSAGE) == (message != NULL));
			messages += message != NULL;
			json_decref(message);
			at += used;
			assert_true(parser.buf.len <= QMP_REQUEST_MAX);
			if (parsed == QMP_PARSED_FATAL) {
				qmp_parser_free(&parser);
				qmp_parser_init(&parser);
			}
		}
	}
	assert_true(messages > 0);
	qmp_parser_free(&parser);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, up, down)
	const struct CMUnitTest tests[] = {
		CASE(the_greeting_has_version_and_capabilities),
		CASE(only_the_owner_may_connect),
		CASE(before_negotiation_no_command_is_found),
		CASE(each_client_negotiates_for_itself),
		CASE(any_id_comes_back_as_it_was),
		CASE(a_request_may_come_byte_by_byte),
		CASE(requests_may_come_together_and_are_answered_in_order),
		CASE(malformed_requests_get_the_right_error_and_affect_no_other_client),
		CASE(unknown_commands_and_wrong_arguments_are_refused),
		CASE(arguments_are_checked_to_the_bottom),
		CASE(replies_have_the_bytes_that_qemu_would_send),
		CASE(a_request_too_long_or_too_deep_ends_its_connection_only),
		CASE(events_go_to_every_client_that_has_negotiated),
		CASE(a_slow_command_delays_only_its_client),
		CASE(a_client_may_disconnect_while_its_command_runs),
		CASE(the_server_stops_with_connected_clients),
		CASE(a_command_that_runs_when_the_server_ends_is_still_answered),
		CASE(query_commands_lists_all_commands),
		CASE(a_path_in_use_is_refused_and_a_stale_one_replaced),
		cmocka_unit_test(the_parser_survives_noise_and_stays_within_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
