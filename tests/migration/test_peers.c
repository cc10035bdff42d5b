/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine against peers that violate the protocol, or die at the worst moment: one side is real,
 * the other is simulated by this test, frame by frame.
 */
#include "migration/internal.h"
#include "stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const id = "00000000-0000-4000-8000-000000000001";

/* A target, and this test as its source:
 */

struct play {
	struct fake_vm vm;
	char uri[128];
	struct channel control, data;
	struct channel_frame_header header;
	struct wire_go ticket;
	const char *identity; /* of the source */
	char text[65536];
};

static const uint64_t hello_nonce = UINT64_C(0xfedcba9876543210);
static uint64_t go_within_ms = 300;

static void open_target_of(struct play *play, const char *identity)
{
	struct swo_migration_params params = fake_params();

	fake_vm_open(&play->vm, 2, false, 1000, SWO_TRANSITIONS_PARALLEL);
	play->vm.vm.identity = identity;
	play->identity = identity;
	params.commit_deadline_ms = go_within_ms;
	strcpy(play->uri, fake_uri());
	assert_int_equal(swo_migration_receive(&play->vm.vm, play->uri, &params, NULL, NULL,
				 &play->vm.migration, NULL),
		0);
}

static void open_target(struct play *play)
{
	open_target_of(play, NULL);
}

/* As the right source would send it. */
static void describe_hello(struct play *play, struct hello *out)
{
	struct swo_vm vm = play->vm.vm;

	vm.identity = play->identity;
	assert_int_equal(migration_hello_describe(&vm, out, NULL), 0);
	strcpy(out->id, id);
	out->nonce = hello_nonce;
	out->channels = 1;
	out->running = true;
	out->devices[0].window = out->devices[1].window = 65536;
}

/* Connections are served concurrently: only then is a second one with this ticket one too many. */
static void await_attached(struct play *play)
{
	struct swo_migration *m = play->vm.migration;
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	bool attached = false;

	while (!attached && !swo_deadline_passed(guard)) {
		swo_sleep_until(swo_now_ns() + 1000000);
		pthread_mutex_lock(&m->mutex);
		attached = m->data_open;
		pthread_mutex_unlock(&m->mutex);
	}
	assert_true(attached);
}

static void say_hello_of(struct play *play, bool spread)
{
	struct swo_buf text = SWO_BUF_INIT(65536);
	struct swo_device_costs costs[2];
	struct migration_hello_ok ok;
	struct hello hello;

	describe_hello(play, &hello);
	if (spread) {
		hello.channels = 2;
		hello.devices[0].spread = true;
		hello.devices[0].window = 2 << 20;
	}
	assert_int_equal(migration_hello_format(&hello, &text, NULL), 0);
	migration_hello_free(&hello);
	play->control = dial(play->uri);
	send_frame(&play->control, (struct channel_frame_header){.type = WIRE_HELLO}, text.data,
		text.len);
	swo_buf_free(&text);
	assert_int_equal(next_frame(&play->control, &play->header, play->text), WIRE_HELLO_OK);
	strcpy(play->ticket.id, id);
	assert_int_equal(
		migration_hello_ok_parse(play->text, play->header.length, costs, 2, &ok, NULL), 0);
	play->ticket.nonce = ok.ticket;
	play->data = dial(play->uri);
	send_frame(&play->data, (struct channel_frame_header){.type = WIRE_ATTACH}, &play->ticket,
		sizeof(play->ticket));
}

static void say_hello(struct play *play)
{
	say_hello_of(play, false);
}

/* For every input: the target refuses, with the reason, and the VM never ran. */
static void expect_refusal(struct play *play, const char *words)
{
	struct swo_migration_info info = fake_end(&play->vm);

	if (!strstr(info.error.text, words))
		fail_msg("error '%s' without '%s'", info.error.text, words);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_int_equal(atomic_load(&play->vm.starts), 0);
	assert_int_equal(play->vm.devices[0].state, SWO_DEVICE_RUNNING); /* reset */
	assert_int_equal(play->vm.devices[0].resets, 1);
}

static void close_play(struct play *play)
{
	channel_close(&play->data);
	channel_close(&play->control);
	fake_vm_close(&play->vm);
}

struct bad_frame {
	struct channel_frame_header header;
	size_t len;
	const char *words;
};

/* Each, as the first after HELLO, on the data channel or the control connection. */
static void are_refused(const struct bad_frame *bad, size_t count, bool control)
{
	static char zeros[70000];
	static struct play play;

	for (size_t i = 0; i < count; i++) {
		open_target(&play);
		say_hello(&play);
		send_frame(control ? &play.control : &play.data, bad[i].header, zeros, bad[i].len);
		expect_refusal(&play, bad[i].words);
		close_play(&play);
	}
}

static void frames_that_do_not_belong_are_refused_by_name(void **state)
{
	(void)state;
	static const struct bad_frame bad[] = {
		{{.type = WIRE_RAM, .device = 9}, 4096, "out of bounds"},
		{{.type = WIRE_RAM, .offset = 1}, 4096, "out of bounds"},
		{{.type = WIRE_RAM, .offset = UINT64_MAX - 4095}, 4096, "out of bounds"},
		{{.type = WIRE_RAM}, 100, "out of bounds"},
		{{.type = WIRE_RAM}, 0, "out of bounds"},
		{{.type = WIRE_RAM, .offset = (2 << 20) - 4096}, 8192, "out of order"},
		{{.type = WIRE_RAM_ZERO}, 4, "malformed RAM_ZERO: 4 bytes"},
		{{.type = WIRE_DEVICE, .device = 7}, 10, "device 7"},
		{{.type = WIRE_DEVICE, .offset = 10}, 10, "offset 10, expected 0"},
		{{.type = WIRE_DEVICE}, 65537, "window"},
		{{.type = WIRE_DEVICE}, 0, "window"},
		{{.type = WIRE_INITIAL}, 5, "mark"},
		{{.type = WIRE_DEVICE_END}, 3, "mark"},
		{{.type = WIRE_FIN}, 1, "FIN"},
		{{.type = WIRE_GO}, 48, "on a data channel"},
		{{.type = 999}, 0, "on a data channel"},
	};

	are_refused(bad, SWO_ARRAY_SIZE(bad), false);
}

static void stripes_out_of_place_are_refused_by_name(void **state)
{
	(void)state;
	/* Channel 0 of two has the stripes 0, 2, ... of device 0, and its marks. */
	static const struct {
		struct channel_frame_header first, second;
		size_t first_len, second_len;
		const char *words;
	} bad[] = {
		{{.type = WIRE_DEVICE, .offset = WIRE_STRIPE}, {0}, 10, 0,
			"offset 262144, expected 0"},
		{{.type = WIRE_DEVICE}, {0}, WIRE_STRIPE + 1, 0, "exceed a stripe"},
		{{.type = WIRE_DEVICE}, {.type = WIRE_DEVICE}, 10, 10, "offset 0, expected 10"},
		{{.type = WIRE_DEVICE_END, .offset = 5}, {.type = WIRE_DEVICE}, 8, 6,
			"after the end"},
		{{.type = WIRE_DEVICE}, {.type = WIRE_DEVICE_END, .offset = 5}, 6, 8,
			"6 bytes of its state, expected 5"},
		{{.type = WIRE_DEVICE, .device = 1}, {0}, 10, 0, "another channel than its own"},
		{{.type = WIRE_DEVICE_END, .device = 1}, {0}, 8, 0, "another channel than its own"},
	};
	static char zeros[WIRE_STRIPE + 1];
	static struct play play;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		open_target(&play);
		say_hello_of(&play, true);
		send_frame(&play.data, bad[i].first, zeros, bad[i].first_len);
		if (bad[i].second.type)
			send_frame(&play.data, bad[i].second, zeros, bad[i].second_len);
		expect_refusal(&play, bad[i].words);
		close_play(&play);
	}
}

static void control_frames_that_do_not_belong_are_refused_by_name(void **state)
{
	(void)state;
	static const struct bad_frame bad[] = {
		{{.type = WIRE_READY}, 0, "control connection"},
		{{.type = WIRE_END_ALL}, 3, "END_ALL"},
		{{.type = WIRE_CONFIG, .device = 7}, 3, "device 7"},
		{{.type = WIRE_PING}, 5000, "at most"},
		{{.type = WIRE_GO}, 3, "malformed GO: 3 bytes"},
		{{.type = WIRE_ABORT}, 5, "the source aborted"},
	};

	are_refused(bad, SWO_ARRAY_SIZE(bad), true);
}

static void a_flipped_bit_is_found_by_the_checksum(void **state)
{
	(void)state;
	static struct play play;
	struct channel_frame_header header = {
		.magic = CHANNEL_FRAME_MAGIC, .type = WIRE_RAM, .length = 4096};
	static char page[4096] = "page";

	open_target(&play);
	say_hello(&play);
	header.checksum = channel_frame_checksum(&header, page);
	page[77] ^= 4;
	struct iovec iov[2] = {{&header, sizeof(header)}, {page, sizeof(page)}};
	assert_int_equal(channel_conn_send(play.data.conn, iov, 2, STALL_MS, NULL), 0);
	expect_refusal(&play, "wrong checksum");
	close_play(&play);
}

static void send_state(struct play *play, bool truncated)
{
	struct channel_frame_header header;
	uint64_t counter = 5;

	for (unsigned i = 0; i < 2; i++) {
		const struct fake_device *d = &play->vm.devices[i];
		uint64_t hash;

		send_frame(&play->control,
			(struct channel_frame_header){.type = WIRE_CONFIG, .device = i, .pass = 1},
			"c", 1);
		header = (struct channel_frame_header){.type = WIRE_DEVICE, .device = i};
		channel_send(&play->data, &header, d->saved, d->size, NULL);
		hash = migration_sum(0, header.checksum);
		header = (struct channel_frame_header){.type = WIRE_DEVICE_END,
			.device = i,
			.offset = d->size + truncated,
			.pass = 1};
		channel_send(&play->data, &header, &hash, sizeof(hash), NULL);
	}
	send_frame(&play->control, (struct channel_frame_header){.type = WIRE_MACHINE}, &counter,
		sizeof(counter));
	struct wire_totals totals = {play->data.frames_sent, play->data.bytes_sent};
	send_frame(&play->data, (struct channel_frame_header){.type = WIRE_FIN}, &totals,
		sizeof(totals));
	struct wire_end end = {.all = totals, .running = 1};
	send_frame(&play->control, (struct channel_frame_header){.type = WIRE_END_ALL}, &end,
		sizeof(end));
}

static void await_ready(struct play *play)
{
	int type;

	while ((type = next_frame(&play->control, &play->header, play->text)) != WIRE_READY)
		assert_true(
			type == WIRE_CREDIT || type == WIRE_INITIAL_LOADED || type == WIRE_AGREED);
	assert_int_equal(play->header.offset, hello_nonce);
}

static void a_truncated_device_stream_is_refused_before_the_device_sees_its_end(void **state)
{
	(void)state;
	static struct play play;

	open_target(&play);
	say_hello(&play);
	send_state(&play, true);
	expect_refusal(&play, "1000 bytes of its state, expected 1001");
	close_play(&play);
}

static void a_ready_target_starts_on_go_only_and_answers_a_second_go_alike(void **state)
{
	(void)state;
	static struct play play;

	open_target(&play);
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	assert_int_equal(atomic_load(&play.vm.starts), 0);
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_GO}, play.text,
		sizeof(struct wire_go));
	assert_int_equal(next_frame(&play.control, &play.header, play.text), WIRE_STARTED);
	assert_int_equal(fake_end(&play.vm).status, SWO_MIGRATION_COMPLETED);
	assert_true(fake_vm_runs(&play.vm));

	/* A source in doubt sends ASK on a new connection. */
	struct channel ask = dial(play.uri);
	send_frame(&ask, (struct channel_frame_header){.type = WIRE_ASK}, &play.ticket,
		sizeof(play.ticket));
	assert_int_equal(next_frame(&ask, &play.header, play.text), WIRE_STARTED);
	channel_close(&ask);
	close_play(&play);
}

static atomic_bool may_start;

static void hold_start(struct fake_vm *vm)
{
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);

	(void)vm;
	while (!atomic_load(&may_start) && !swo_deadline_passed(guard))
		swo_sleep_until(swo_now_ns() + 1000000);
}

static void ask(struct play *play, enum wire_type answer)
{
	struct channel channel = dial(play->uri);

	send_frame(&channel, (struct channel_frame_header){.type = WIRE_ASK}, &play->ticket,
		sizeof(play->ticket));
	assert_int_equal(next_frame(&channel, &play->header, play->text), answer);
	assert_int_equal(play->header.offset, hello_nonce);
	channel_close(&channel);
}

static void a_target_that_is_starting_answers_a_second_go_and_a_question(void **state)
{
	(void)state;
	static struct play play;
	struct wire_go go;

	atomic_store(&may_start, false);
	open_target(&play);
	play.vm.on_start = hold_start;
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	memcpy(&go, play.text, sizeof(go));
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_GO}, &go, sizeof(go));
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_GO}, &go, sizeof(go));
	assert_int_equal(next_frame(&play.control, &play.header, play.text), WIRE_STARTING);
	ask(&play, WIRE_STARTING);
	/* And it is not affected by late events. */
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_ABORT}, "no", 2);
	assert_int_equal(swo_migration_cancel(play.vm.migration, NULL), -1);
	atomic_store(&may_start, true);
	assert_int_equal(next_frame(&play.control, &play.header, play.text), WIRE_STARTED);
	assert_int_equal(fake_end(&play.vm).status, SWO_MIGRATION_COMPLETED);
	/* Once more: the same reply. The timeline may arrive in between. */
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_GO}, &go, sizeof(go));
	assert_int_equal(next_frame(&play.control, &play.header, play.text), WIRE_STARTED);
	ask(&play, WIRE_STARTED);
	assert_int_equal(atomic_load(&play.vm.starts), 1);
	close_play(&play);
}

static void a_second_abort_changes_nothing(void **state)
{
	(void)state;
	static struct play play;

	open_target(&play);
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_ABORT}, "first", 5);
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_ABORT}, "second", 6);
	assert_int_equal(next_frame(&play.control, &play.header, play.text), WIRE_REFUSED);
	expect_refusal(&play, "the source aborted: first");
	close_play(&play);
}

static void a_go_with_another_nonce_is_refused(void **state)
{
	(void)state;
	static struct play play;

	open_target(&play);
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	play.text[40] ^= 1;
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_GO}, play.text,
		sizeof(struct wire_go));
	assert_int_equal(next_frame(&play.control, &play.header, play.text), WIRE_REFUSED);
	expect_refusal(&play, "ID or nonce of another migration");
	close_play(&play);
}

static void a_query_of_another_process_gets_the_targets_answer(void **state)
{
	(void)state;
	static struct play play;
	char reason[SWO_REASON_MAX + 1];
	enum swo_migration_answer answer;
	struct swo_error err = {0};

	open_target(&play);
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	struct swo_migration_query query = {.size = sizeof(query),
		.uri = play.uri,
		.id = id,
		.nonce = play.ticket.nonce ^ 1,
		.deadline_ms = 5000};

	/* Of another migration: no reply, and nothing changes. */
	assert_int_equal(swo_migration_query(&query, &answer, reason, &err), 0);
	assert_int_equal(answer, SWO_ANSWER_NONE);
	assert_true(reason[0] != 0);
	/* Nor is a reply valid that has another nonce than the HELLO that this journal records. */
	query.nonce = play.ticket.nonce;
	query.hello_nonce = hello_nonce ^ 1;
	assert_int_equal(swo_migration_query(&query, &answer, reason, &err), 0);
	assert_int_equal(answer, SWO_ANSWER_NONE);
	assert_non_null(strstr(reason, "is not the target of this migration"));
	query.hello_nonce = hello_nonce;
	assert_int_equal(swo_migration_query(&query, &answer, reason, &err), 0);
	assert_int_equal(answer, SWO_ANSWER_REFUSED);
	close_play(&play);

	/* The listener is closed. */
	query.deadline_ms = 100;
	assert_int_equal(swo_migration_query(&query, &answer, reason, &err), 0);
	assert_int_equal(answer, SWO_ANSWER_NONE);
}

static void a_query_that_lacks_something_is_invalid(void **state)
{
	(void)state;
	const struct swo_migration_query good = {.size = sizeof(good),
		.uri = "unix:/nonexistent/socket",
		.id = "00000000-0000-4000-8000-000000000001",
		.nonce = 1,
		.deadline_ms = 100};
	struct swo_migration_query bad[5] = {good, good, good, good, good};
	char reason[SWO_REASON_MAX + 1];
	enum swo_migration_answer answer;

	bad[0].size = 0;
	bad[1].uri = NULL;
	bad[2].id = NULL;
	bad[3].id = "short";
	bad[4].nonce = 0;
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		struct swo_error err = {0};

		assert_int_equal(swo_migration_query(&bad[i], &answer, reason, &err), -1);
		assert_int_equal(err.code, SWO_E_INVALID);
	}
}

static void a_ready_target_outlives_its_connection_and_refuses_on_ask(void **state)
{
	(void)state;
	static struct play play;

	open_target(&play);
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	struct wire_go go;
	memcpy(&go, play.text, sizeof(go));
	channel_shutdown(&play.control);

	struct channel ask = dial(play.uri);
	send_frame(&ask, (struct channel_frame_header){.type = WIRE_ASK}, &play.ticket,
		sizeof(play.ticket));
	assert_int_equal(next_frame(&ask, &play.header, play.text), WIRE_REFUSED);
	channel_close(&ask);
	assert_int_equal(fake_end(&play.vm).status, SWO_MIGRATION_FAILED);
	assert_int_equal(atomic_load(&play.vm.starts), 0);
	close_play(&play);
}

static void a_ready_target_refuses_when_go_never_comes(void **state)
{
	(void)state;
	static struct play play;

	open_target(&play);
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	expect_refusal(&play, "timed out waiting for GO");
	close_play(&play);
}

static void strangers_do_not_disturb_a_waiting_target(void **state)
{
	(void)state;
	static struct play play;
	char garbage[200];

	memset(garbage, 'x', sizeof(garbage));
	open_target(&play);
	for (int i = 0; i < 4; i++) {
		struct channel stranger = dial(play.uri);
		struct iovec iov = {garbage, sizeof(garbage)};

		if (i == 0)
			channel_conn_send(stranger.conn, &iov, 1, STALL_MS, NULL);
		if (i == 1)
			send_frame(&stranger, (struct channel_frame_header){.type = WIRE_HELLO},
				"{", 1);
		if (i == 2)
			send_frame(&stranger, (struct channel_frame_header){.type = WIRE_ASK}, id,
				WIRE_ID_LEN);
		if (i == 3)
			send_frame(&stranger, (struct channel_frame_header){.type = WIRE_ATTACH},
				id, WIRE_ID_LEN);
		int type = next_frame(&stranger, &play.header, play.text);
		assert_true(type == WIRE_ABORT || type == -1);
		channel_close(&stranger);
	}
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	close_play(&play);
}

static unsigned warned, last_count;

static void count_warnings(void *opaque, enum swo_log_level level, const char *text)
{
	(void)opaque;
	warned += level == SWO_LOG_WARN;
	if (sscanf(text, "%u warnings of this kind", &last_count) != 1)
		last_count = 0;
}

static void strangers_do_not_fill_the_log(void **state)
{
	(void)state;
	static struct play play;
	struct channel_frame_header header;
	static char text[65536];

	warned = 0;
	swo_log_set(SWO_LOG_WARN, count_warnings, NULL);
	open_target(&play);
	for (int i = 0; i < 60; i++) {
		struct channel stranger = dial(play.uri);

		send_frame(&stranger, (struct channel_frame_header){.type = 999}, NULL, 0);
		assert_int_equal(next_frame(&stranger, &header, text), WIRE_ABORT);
		channel_close(&stranger);
	}
	fake_vm_close(&play.vm);
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	/* Eight in each 10 s, and how many there were besides. */
	assert_in_range(warned, 9, 40);
	assert_true(last_count > 0);
}

/* HELLO of another VM, or another version; and the answer. */
static void expect_dismissed(
	struct play *play, const char *vm, const char *from, const char *to, const char *words)
{
	struct channel other = dial(play->uri);
	struct swo_buf text = SWO_BUF_INIT(65536);
	struct hello hello;

	describe_hello(play, &hello);
	free(hello.identity);
	hello.identity = strdup(vm);
	assert_int_equal(migration_hello_format(&hello, &text, NULL), 0);
	assert_int_equal(swo_buf_append(&text, "", 1, NULL), 0);
	migration_hello_free(&hello);
	char *at = strstr((char *)text.data, from);
	assert_non_null(at);
	memcpy(at, to, strlen(to));
	send_frame(
		&other, (struct channel_frame_header){.type = WIRE_HELLO}, text.data, text.len - 1);
	assert_int_equal(next_frame(&other, &play->header, play->text), WIRE_ABORT);
	if (!strstr(play->text, words))
		fail_msg("error '%s' without '%s'", play->text, words);
	swo_buf_free(&text);
	channel_close(&other);
}

static void a_source_of_another_vm_or_version_is_rejected_and_the_right_one_accepted(void **state)
{
	(void)state;
	static const char *const own = "00000000-0000-4000-8000-0000000000AA";
	static struct play play;
	char now[32], then[32];

	open_target_of(&play, own);
	expect_dismissed(&play, "00000000-0000-4000-8000-0000000000bb", "{", "{", "has VM");
	expect_dismissed(&play, "", "{", "{", "reports no identity");
	for (int version = 0; version < WIRE_VERSION + 3; version++) {
		if (version == WIRE_VERSION)
			continue;
		snprintf(now, sizeof(now), "\"version\":%d", WIRE_VERSION);
		snprintf(then, sizeof(then), "\"version\":%d", version);
		expect_dismissed(
			&play, own, now, then, "of the migration protocol, this side has version");
	}
	/* A UUID is the same in either case. */
	play.identity = "00000000-0000-4000-8000-0000000000aa";
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	close_play(&play);
}

/* More of them than the target has ears for at a time; one after another they would keep it for 40
 * s. */
static void silent_connections_block_no_source(void **state)
{
	(void)state;
	static struct play play;
	struct channel stranger[20];

	open_target(&play);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(stranger); i++)
		stranger[i] = dial(play.uri);
	say_hello(&play);
	send_state(&play, false);
	await_ready(&play);
	close_play(&play);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(stranger); i++)
		channel_close(&stranger[i]);
}

/* A process with the ID, but without the ticket: it is rejected, and nothing changes. */
static void expect_turned_away(
	struct play *play, enum wire_type type, unsigned device, uint64_t wrong, const char *words)
{
	struct channel stranger = dial(play->uri);
	struct channel_frame_header header;
	struct wire_go ticket = play->ticket;
	static char text[65536];

	ticket.nonce ^= wrong;
	send_frame(&stranger,
		(struct channel_frame_header){.type = (uint16_t)type, .device = device}, &ticket,
		sizeof(ticket));
	assert_int_equal(next_frame(&stranger, &header, text), WIRE_ABORT);
	if (!strstr(text, words))
		fail_msg("error '%s' without '%s'", text, words);
	channel_close(&stranger);
}

static void a_target_has_one_source_that_no_other_joins_ends_or_replaces(void **state)
{
	(void)state;
	static struct play play;
	struct swo_buf text = SWO_BUF_INIT(65536);
	struct wire_go go = {.nonce = 0};
	struct hello hello;

	go_within_ms = FAKE_GUARD_MS;
	open_target(&play);
	go_within_ms = 300;
	say_hello(&play);
	assert_true(play.ticket.nonce != 0);
	await_attached(&play);
	/* Before READY and after it: another source, another channel, the same one again, a
	 * question. */
	for (int ready = 0; ready < 2; ready++) {
		expect_turned_away(&play, WIRE_ATTACH, 0, 1, "unexpected data channel");
		expect_turned_away(&play, WIRE_ATTACH, 0, 0, "unexpected data channel");
		expect_turned_away(&play, WIRE_ASK, 0, 1, "does not have");
		describe_hello(&play, &hello);
		strcpy(hello.id, "00000000-0000-4000-8000-000000000002");
		text.len = 0;
		assert_int_equal(migration_hello_format(&hello, &text, NULL), 0);
		migration_hello_free(&hello);
		struct channel other = dial(play.uri);
		send_frame(&other, (struct channel_frame_header){.type = WIRE_HELLO}, text.data,
			text.len);
		assert_int_equal(next_frame(&other, &play.header, play.text), WIRE_ABORT);
		assert_non_null(strstr(play.text, "already has its migration"));
		channel_close(&other);
		if (!ready) {
			send_state(&play, false);
			await_ready(&play);
			memcpy(&go, play.text, sizeof(go));
		}
	}
	/* The one it was started for is not disturbed. */
	send_frame(&play.control, (struct channel_frame_header){.type = WIRE_GO}, &go, sizeof(go));
	assert_int_equal(next_frame(&play.control, &play.header, play.text), WIRE_STARTED);
	assert_int_equal(fake_end(&play.vm).status, SWO_MIGRATION_COMPLETED);
	swo_buf_free(&text);
	close_play(&play);
}

enum target_moment { TARGET_IS_LOADING, TARGET_IS_READY, TARGET_HAS_STARTED, TARGET_MOMENTS };

static void play_target_to(struct play *play, enum target_moment moment)
{
	struct wire_go go;

	open_target(play);
	say_hello(play);
	if (moment == TARGET_IS_LOADING)
		return;
	send_state(play, false);
	await_ready(play);
	if (moment == TARGET_IS_READY)
		return;
	memcpy(&go, play->text, sizeof(go));
	send_frame(&play->control, (struct channel_frame_header){.type = WIRE_GO}, &go, sizeof(go));
	assert_int_equal(next_frame(&play->control, &play->header, play->text), WIRE_STARTED);
}

/* On the control connection or the data channel, with zeros, of which none is a right GO. */
static void every_message_twice_starts_no_target(void **state)
{
	(void)state;
	static const unsigned types[] = {0, WIRE_HELLO, WIRE_CLOCK, WIRE_CONFIG, WIRE_MACHINE,
		WIRE_END_ALL, WIRE_GO, WIRE_ABORT, WIRE_DONE, WIRE_ASK, WIRE_ASK + 1, WIRE_HELLO_OK,
		WIRE_CLOCK_REPLY, WIRE_CREDIT, WIRE_INITIAL_LOADED, WIRE_READY, WIRE_STARTING,
		WIRE_STARTED, WIRE_REFUSED, WIRE_TIMELINE, WIRE_AGREED, WIRE_PING, WIRE_PING + 1,
		WIRE_ATTACH, WIRE_RAM, WIRE_RAM_ZERO, WIRE_DEVICE, WIRE_INITIAL, WIRE_DEVICE_END,
		WIRE_FIN, WIRE_FIN + 1, 999};
	static const char zeros[48];
	static struct play play;

	go_within_ms = 100;
	for (unsigned i = 0; i < TARGET_MOMENTS * 2 * SWO_ARRAY_SIZE(types); i++) {
		const enum target_moment moment = (enum target_moment)(i % TARGET_MOMENTS);
		const bool control = i / TARGET_MOMENTS % 2;
		const unsigned type = types[i / TARGET_MOMENTS / 2];
		const bool started = moment == TARGET_HAS_STARTED;

		play_target_to(&play, moment);
		for (unsigned twice = 0; twice < 2; twice++)
			send_frame(control ? &play.control : &play.data,
				(struct channel_frame_header){.type = (uint16_t)type}, zeros,
				type == WIRE_RAM ? 0 : sizeof(zeros));
		channel_shutdown(&play.control);
		const struct swo_migration_info info = fake_end(&play.vm);

		if (info.status != (started ? SWO_MIGRATION_COMPLETED : SWO_MIGRATION_FAILED) ||
			atomic_load(&play.vm.starts) != started ||
			swo_migration_may_run(play.vm.migration) != started)
			fail_msg("type %u at %d, control %d: status %d, %d starts, '%s'", type,
				moment, control, info.status, atomic_load(&play.vm.starts),
				info.error.text);
		close_play(&play);
	}
	go_within_ms = 300;
}

/* A source, and this test as its target */

static void play_to_go(struct stage *stage)
{
	stage_open(stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
	stage_play_to_go(stage);
}

static void await_doubt(struct stage *stage)
{
	assert_true(stage_await_doubt(stage).committed);
	assert_false(fake_vm_runs(&stage->vm));
	assert_false(swo_migration_may_run(stage->vm.migration));
	assert_int_equal(swo_migration_cancel(stage->vm.migration, NULL), -1);
}

static void answer_ask(struct stage *stage, enum wire_type answer)
{
	static char text[65536];

	for (;;) {
		struct channel ask = stage_take_call(stage);
		int type = next_frame(&ask, &stage->header, text);

		if (type == WIRE_ASK) {
			assert_string_equal(text, stage->hello.id);
			stage_reply(stage, &ask, answer, NULL, 0);
			channel_close(&ask);
			return;
		}
		channel_close(&ask);
	}
}

static void a_source_whose_target_dies_after_go_is_parked_until_resolved(void **state)
{
	(void)state;
	static struct stage stage;

	for (int run_here = 0; run_here < 2; run_here++) {
		play_to_go(&stage);
		channel_shutdown(&stage.control);
		await_doubt(&stage);
		/* No answer, ever: only an operator settles it. */
		assert_int_equal(swo_migration_resolve(stage.vm.migration, run_here, NULL), 0);
		/* ASK may be in flight; there is no reply. */
		struct swo_migration_info info = fake_end(&stage.vm);
		assert_int_equal(info.status, SWO_MIGRATION_FAILED);
		assert_int_equal(fake_vm_runs(&stage.vm), run_here);
		assert_int_equal(swo_migration_may_run(stage.vm.migration), run_here);
		stage_close(&stage);
	}
}

static void a_source_in_doubt_completes_on_started(void **state)
{
	(void)state;
	static struct stage stage;

	play_to_go(&stage);
	/* GO was received, but STARTED never sent: first a timeout, then ASK. */
	await_doubt(&stage);
	answer_ask(&stage, WIRE_STARTED);
	assert_int_equal(fake_end(&stage.vm).status, SWO_MIGRATION_COMPLETED);
	assert_false(fake_vm_runs(&stage.vm));
	stage_close(&stage);
}

static void a_source_in_doubt_completes_by_a_late_started_on_its_first_connection(void **state)
{
	(void)state;
	static struct stage stage;

	play_to_go(&stage);
	await_doubt(&stage);
	/* Its ASK gets no reply. */
	stage_reply(&stage, &stage.control, WIRE_STARTED, NULL, 0);
	assert_int_equal(fake_end(&stage.vm).status, SWO_MIGRATION_COMPLETED);
	assert_false(fake_vm_runs(&stage.vm));
	stage_close(&stage);
}

static void started_before_go_means_nothing(void **state)
{
	(void)state;
	static struct stage stage;

	stage_open(&stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
	stage_reply(&stage, &stage.control, WIRE_STARTED, NULL, 0);
	stage_play_to_go(&stage);
	await_doubt(&stage);
	answer_ask(&stage, WIRE_REFUSED);
	assert_int_equal(fake_end(&stage.vm).status, SWO_MIGRATION_FAILED);
	assert_true(fake_vm_runs(&stage.vm));
	stage_close(&stage);
}

/* Repeated messages of any size: the first one counts, and nothing is read twice. */
static void repeated_messages_of_a_target_change_nothing(void **state)
{
	(void)state;
	static const char first[] = "{\"version\":1,\"clock\":\"CLOCK_MONOTONIC\",\"dropped\":0,"
				    "\"spans\":[]}";
	static char large[500000];
	static struct stage stage;

	memset(large, ' ', sizeof(large));
	stage_timeline = swo_timeline_new(SWO_SIDE_SOURCE, 1000);
	stage_open(&stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
	stage_play_to_ready(&stage);
	struct wire_go other = stage.go;

	other.nonce = 43;
	stage_reply(&stage, &stage.control, WIRE_READY, &other, sizeof(other));
	stage_reply(&stage, &stage.control, WIRE_STARTED, NULL, 0);
	stage_reply(&stage, &stage.control, WIRE_STARTED, "again", 5);
	send_frame(&stage.control, (struct channel_frame_header){.type = WIRE_TIMELINE}, first,
		strlen(first));
	for (int i = 0; i < 6; i++)
		send_frame(&stage.control, (struct channel_frame_header){.type = WIRE_TIMELINE},
			large, sizeof(large));
	stage_reply(&stage, &stage.control, WIRE_REFUSED, "no", 2);
	struct swo_migration_info info = fake_end(&stage.vm);

	/* STARTED may arrive before GO was sent, and is ignored then; so may REFUSED. */
	if (info.status != SWO_MIGRATION_COMPLETED &&
		strcmp(info.error.text, "the target refused: no"))
		assert_string_equal(info.error.text, "the target refused after GO: no");
	stage_close(&stage);
	swo_timeline_free(stage_timeline);
	stage_timeline = NULL;
}

static void a_source_in_doubt_runs_again_when_the_target_refused(void **state)
{
	(void)state;
	static struct stage stage;

	play_to_go(&stage);
	channel_shutdown(&stage.control);
	await_doubt(&stage);
	answer_ask(&stage, WIRE_STARTING); /* decides nothing yet */
	assert_false(fake_vm_runs(&stage.vm));
	answer_ask(&stage, WIRE_REFUSED);
	assert_int_equal(fake_end(&stage.vm).status, SWO_MIGRATION_FAILED);
	assert_true(fake_vm_runs(&stage.vm));
	assert_int_equal(stage.vm.devices[0].state, SWO_DEVICE_RUNNING);
	stage_close(&stage);
}

static void after_go_an_abort_from_the_target_does_not_resume_the_source(void **state)
{
	(void)state;
	static struct stage stage;

	play_to_go(&stage);
	send_frame(&stage.control, (struct channel_frame_header){.type = WIRE_ABORT}, "never mind",
		10);
	await_doubt(&stage);
	answer_ask(&stage, WIRE_REFUSED);
	fake_end(&stage.vm);
	assert_true(fake_vm_runs(&stage.vm));
	stage_close(&stage);
}

/* A process that did not get HELLO, such as one that took over the address, decides nothing. */
static void a_reply_without_the_nonce_of_hello_decides_nothing(void **state)
{
	(void)state;
	static const enum wire_type replies[] = {WIRE_STARTED, WIRE_REFUSED, WIRE_STARTING};
	static struct stage stage;
	struct swo_migration_info info;
	uint64_t nonce;

	/* READY: the source goes back to running. */
	stage_open(&stage, SWO_HANDOVER_COPY, SWO_HANDOVER_COPY);
	assert_true(stage.hello.nonce != 0);
	stage.hello.nonce ^= 1;
	stage_play_to_ready(&stage);
	info = fake_end(&stage.vm);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "malformed READY: another nonce than HELLO"));
	assert_true(fake_vm_runs(&stage.vm));
	stage_close(&stage);

	/* After GO, on the control connection and in reply to ASK: it stays in doubt. */
	for (unsigned i = 0; i < 2; i++) {
		play_to_go(&stage);
		nonce = stage.hello.nonce;
		stage.hello.nonce = i ? 0 : nonce ^ 1;
		stage_reply(&stage, &stage.control, replies[i], NULL, 0);
		await_doubt(&stage);
		for (unsigned k = 0; k < SWO_ARRAY_SIZE(replies); k++)
			answer_ask(&stage, replies[k]);
		/* Another ASK: none of the replies counted. */
		stage.hello.nonce = nonce;
		answer_ask(&stage, WIRE_STARTING);
		await_doubt(&stage);
		answer_ask(&stage, replies[i]);
		assert_int_equal(fake_end(&stage.vm).status,
			i ? SWO_MIGRATION_FAILED : SWO_MIGRATION_COMPLETED);
		assert_int_equal(fake_vm_runs(&stage.vm), i);
		stage_close(&stage);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_that_do_not_belong_are_refused_by_name),
		cmocka_unit_test(stripes_out_of_place_are_refused_by_name),
		cmocka_unit_test(control_frames_that_do_not_belong_are_refused_by_name),
		cmocka_unit_test(a_flipped_bit_is_found_by_the_checksum),
		cmocka_unit_test(
			a_truncated_device_stream_is_refused_before_the_device_sees_its_end),
		cmocka_unit_test(a_ready_target_starts_on_go_only_and_answers_a_second_go_alike),
		cmocka_unit_test(a_target_that_is_starting_answers_a_second_go_and_a_question),
		cmocka_unit_test(a_second_abort_changes_nothing),
		cmocka_unit_test(a_go_with_another_nonce_is_refused),
		cmocka_unit_test(every_message_twice_starts_no_target),
		cmocka_unit_test(a_query_of_another_process_gets_the_targets_answer),
		cmocka_unit_test(a_query_that_lacks_something_is_invalid),
		cmocka_unit_test(a_ready_target_outlives_its_connection_and_refuses_on_ask),
		cmocka_unit_test(a_ready_target_refuses_when_go_never_comes),
		cmocka_unit_test(strangers_do_not_disturb_a_waiting_target),
		cmocka_unit_test(strangers_do_not_fill_the_log),
		cmocka_unit_test(
			a_source_of_another_vm_or_version_is_rejected_and_the_right_one_accepted),
		cmocka_unit_test(silent_connections_block_no_source),
		cmocka_unit_test(a_target_has_one_source_that_no_other_joins_ends_or_replaces),
		cmocka_unit_test(a_source_whose_target_dies_after_go_is_parked_until_resolved),
		cmocka_unit_test(a_source_in_doubt_completes_on_started),
		cmocka_unit_test(
			a_source_in_doubt_completes_by_a_late_started_on_its_first_connection),
		cmocka_unit_test(started_before_go_means_nothing),
		cmocka_unit_test(repeated_messages_of_a_target_change_nothing),
		cmocka_unit_test(a_source_in_doubt_runs_again_when_the_target_refused),
		cmocka_unit_test(after_go_an_abort_from_the_target_does_not_resume_the_source),
		cmocka_unit_test(a_reply_without_the_nonce_of_hello_decides_nothing),
	};
	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
