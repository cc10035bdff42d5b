/* SPDX-License-Identifier: BSD-3-Clause */
/* test_link.c - each fault of the link has its effect, that effect alone, and is counted. */
#include "channel/conn.h"
#include "migration/wire.h"
#include "testbed/link.h"
#include "tests/support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GUARD_MS 20000
#define QUIET_MS 50 /* nothing that is held back may come in this time */

struct rig {
	char dir[64], listen_uri[100], to_uri[100];
	struct channel_listener *listener;
	struct link *link;
	struct channel_conn *source[2], *target[2]; /* the ends of up to two connections */
};

static void open_rig(struct rig *rig, const char *listen_uri)
{
	struct swo_error err = {0};

	*rig = (struct rig){.dir = "/tmp/swo-link-XXXXXX"};
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->to_uri, sizeof(rig->to_uri), "unix:%s/target", rig->dir);
	snprintf(rig->listen_uri, sizeof(rig->listen_uri), "unix:%s/link", rig->dir);
	assert_int_equal(channel_listener_open(rig->to_uri, NULL, NULL, &rig->listener, &err), 0);
	rig->link = link_start(listen_uri ? listen_uri : rig->listen_uri, rig->to_uri, &err);
	if (!rig->link)
		fail_msg("%s", err.text);
}

static void connect_rig(struct rig *rig, unsigned i)
{
	assert_int_equal(channel_conn_open(link_uri(rig->link), NULL, swo_deadline_ms(GUARD_MS),
				 &rig->source[i], NULL),
		0);
	assert_int_equal(channel_listener_accept(
				 rig->listener, swo_deadline_ms(GUARD_MS), &rig->target[i], NULL),
		0);
}

static void close_rig(struct rig *rig)
{
	for (unsigned i = 0; i < 2; i++) {
		if (rig->source[i])
			channel_conn_close(rig->source[i]);
		if (rig->target[i])
			channel_conn_close(rig->target[i]);
	}
	link_stop(rig->link);
	channel_listener_close(rig->listener);
	assert_int_equal(rmdir(rig->dir), 0);
}

static void put(struct channel_conn *conn, const char *text)
{
	struct iovec iov = {(char *)(uintptr_t)text, strlen(text)};

	assert_int_equal(channel_conn_send(conn, &iov, 1, GUARD_MS, NULL), 0);
}

static void expect(struct channel_conn *conn, const char *text)
{
	char got[64] = "";
	struct iovec iov = {got, strlen(text)};

	assert_int_equal(channel_conn_recv(conn, &iov, 1, GUARD_MS, NULL), 0);
	assert_string_equal(got, text);
}

static void expect_end(struct channel_conn *conn)
{
	char byte;
	struct iovec iov = {&byte, 1};
	struct swo_error err = {0};

	assert_int_equal(channel_conn_recv(conn, &iov, 1, GUARD_MS, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
}

static void expect_nothing(struct channel_conn *conn)
{
	assert_false(channel_conn_readable(conn, swo_deadline_ms(QUIET_MS)));
}

static void send_message(struct channel_conn *conn, uint16_t type, const char *payload)
{
	struct channel_frame_header header = {
		.magic = CHANNEL_FRAME_MAGIC, .type = type, .length = (uint32_t)strlen(payload)};
	struct iovec iov[2] = {
		{&header, sizeof(header)}, {(char *)(uintptr_t)payload, strlen(payload)}};

	assert_int_equal(channel_conn_send(conn, iov, 2, GUARD_MS, NULL), 0);
}

static unsigned receive_message(struct channel_conn *conn)
{
	struct channel_frame_header header;
	char payload[64];
	struct iovec iov = {&header, sizeof(header)};

	assert_int_equal(channel_conn_recv(conn, &iov, 1, GUARD_MS, NULL), 0);
	iov = (struct iovec){payload, header.length};
	assert_true(header.length <= sizeof(payload));
	assert_int_equal(channel_conn_recv(conn, &iov, 1, GUARD_MS, NULL), 0);
	return header.type;
}

/* Cases */

static void passes_both_ways(const char *listen_uri)
{
	struct rig rig;

	open_rig(&rig, listen_uri);
	connect_rig(&rig, 0);
	put(rig.source[0], "there");
	expect(rig.target[0], "there");
	put(rig.target[0], "back");
	expect(rig.source[0], "back");
	channel_conn_close(rig.source[0]);
	rig.source[0] = NULL;
	expect_end(rig.target[0]);
	assert_int_equal(link_hits(rig.link), 0);
	close_rig(&rig);
}

static void bytes_pass_both_ways_over_unix_and_tcp_and_so_does_an_end(void **state)
{
	(void)state;
	passes_both_ways(NULL);
	passes_both_ways("tcp:127.0.0.1:0");
}

static void descriptors_pass(void **state)
{
	(void)state;
	struct rig rig;
	int ends[2], got;
	char byte = 0;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(channel_conn_accept_fds(rig.target[0], true, NULL), 0);
	assert_int_equal(channel_conn_attach_fds(rig.source[0], &ends[1], 1, NULL), 0);
	put(rig.source[0], "a pipe");
	expect(rig.target[0], "a pipe");
	assert_int_equal(channel_conn_take_fds(rig.target[0], &got, 1, NULL), 0);
	assert_int_equal(write(got, "x", 1), 1);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	assert_int_equal(byte, 'x');
	close(got);
	close(ends[0]);
	close(ends[1]);
	close_rig(&rig);
}

static void a_cut_drops_every_connection_and_refuses_new_ones_until_it_passes_again(void **state)
{
	(void)state;
	struct rig rig;
	struct channel_conn *late;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	connect_rig(&rig, 1);
	link_set(rig.link, LINK_CUT);
	assert_int_equal(link_hits(rig.link), 2);
	for (unsigned i = 0; i < 2; i++) {
		expect_end(rig.source[i]);
		expect_end(rig.target[i]);
		channel_conn_close(rig.source[i]);
		channel_conn_close(rig.target[i]);
	}
	assert_int_equal(
		channel_conn_open(link_uri(rig.link), NULL, swo_deadline_ms(GUARD_MS), &late, NULL),
		0);
	expect_end(late);
	channel_conn_close(late);
	assert_int_equal(link_hits(rig.link), 3);
	link_set(rig.link, LINK_PASS);
	connect_rig(&rig, 0);
	put(rig.source[0], "again");
	expect(rig.target[0], "again");
	rig.source[1] = rig.target[1] = NULL;
	close_rig(&rig);
}

static void a_stall_holds_back_what_comes_and_loses_none_of_it(void **state)
{
	(void)state;
	struct rig rig;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	link_set(rig.link, LINK_STALL);
	assert_int_equal(link_hits(rig.link), 1);
	put(rig.source[0], "there");
	put(rig.target[0], "back");
	expect_nothing(rig.target[0]);
	expect_nothing(rig.source[0]);
	link_set(rig.link, LINK_PASS);
	expect(rig.target[0], "there");
	expect(rig.source[0], "back");
	close_rig(&rig);
}

static void a_stall_of_one_direction_leaves_the_other_alone(void **state)
{
	(void)state;
	struct rig rig;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	link_set(rig.link, LINK_STALL_TO_TARGET);
	put(rig.source[0], "held");
	put(rig.target[0], "back");
	expect(rig.source[0], "back");
	expect_nothing(rig.target[0]);
	link_set(rig.link, LINK_STALL_TO_SOURCE);
	expect(rig.target[0], "held");
	put(rig.target[0], "late");
	expect_nothing(rig.source[0]);
	link_set(rig.link, LINK_PASS);
	expect(rig.source[0], "late");
	assert_int_equal(link_hits(rig.link), 2);
	close_rig(&rig);
}

static void the_busiest_connection_waits_while_the_other_overtakes_it(void **state)
{
	(void)state;
	struct rig rig;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	connect_rig(&rig, 1);
	put(rig.source[1], "this one carried most");
	expect(rig.target[1], "this one carried most");
	link_set(rig.link, LINK_REORDER);
	assert_int_equal(link_hits(rig.link), 1);
	put(rig.source[1], "first");
	put(rig.source[0], "then");
	expect(rig.target[0], "then");
	expect_nothing(rig.target[1]);
	link_set(rig.link, LINK_PASS);
	expect(rig.target[1], "first");
	close_rig(&rig);
}

static void flips(enum link_mode mode, unsigned hit)
{
	struct rig rig;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	connect_rig(&rig, 1);
	link_set(rig.link, mode);
	put(rig.source[!hit], "aaaa");
	expect(rig.target[!hit], "aaaa");
	assert_int_equal(link_hits(rig.link), 0);
	put(rig.source[hit], "aaaa");
	expect(rig.target[hit], "aaqa");
	put(rig.source[hit], "aaaa");
	expect(rig.target[hit], "aaaa");
	assert_int_equal(link_hits(rig.link), 1);
	close_rig(&rig);
}

static void one_bit_is_flipped_once_on_the_connection_that_was_meant(void **state)
{
	(void)state;
	flips(LINK_FLIP_CONTROL, 0);
	flips(LINK_FLIP_DATA, 1);
}

static void a_cut_at_a_message_lets_what_is_before_it_pass_and_not_the_message(void **state)
{
	(void)state;
	struct rig rig;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	link_at(rig.link, WIRE_GO, LINK_CUT);
	send_message(rig.source[0], WIRE_CONFIG, "its payload");
	send_message(rig.source[0], WIRE_END_ALL, "");
	assert_int_equal(receive_message(rig.target[0]), WIRE_CONFIG);
	assert_int_equal(receive_message(rig.target[0]), WIRE_END_ALL);
	assert_int_equal(link_hits(rig.link), 0);
	send_message(rig.source[0], WIRE_GO, "lost");
	expect_end(rig.target[0]);
	expect_end(rig.source[0]);
	assert_int_equal(link_hits(rig.link), 1);
	assert_int_equal(link_seen(rig.link, WIRE_CONFIG), 1);
	assert_int_equal(link_seen(rig.link, WIRE_END_ALL), 1);
	assert_int_equal(link_seen(rig.link, WIRE_GO), 1);
	close_rig(&rig);
}

/* Two in one piece: the first is on its way when the second is found. */
static void a_message_that_came_along_with_the_one_before_is_cut_alone(void **state)
{
	(void)state;
	struct rig rig;
	struct channel_frame_header two[2] = {{.magic = CHANNEL_FRAME_MAGIC, .type = WIRE_STARTING},
		{.magic = CHANNEL_FRAME_MAGIC, .type = WIRE_STARTED}};
	struct iovec iov = {two, sizeof(two)};

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	link_at(rig.link, WIRE_STARTED, LINK_CUT);
	assert_int_equal(channel_conn_send(rig.target[0], &iov, 1, GUARD_MS, NULL), 0);
	assert_int_equal(receive_message(rig.source[0]), WIRE_STARTING);
	expect_end(rig.source[0]);
	assert_int_equal(link_hits(rig.link), 1);
	close_rig(&rig);
}

static void a_stall_at_a_message_holds_it_until_the_link_passes(void **state)
{
	(void)state;
	struct rig rig;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	link_at(rig.link, WIRE_STARTED, LINK_STALL_TO_SOURCE);
	send_message(rig.target[0], WIRE_READY, "");
	assert_int_equal(receive_message(rig.source[0]), WIRE_READY);
	send_message(rig.target[0], WIRE_STARTED, "");
	expect_nothing(rig.source[0]);
	assert_int_equal(link_seen(rig.link, WIRE_STARTED), 1);
	link_set(rig.link, LINK_PASS);
	assert_int_equal(receive_message(rig.source[0]), WIRE_STARTED);
	close_rig(&rig);
}

/* A header that comes in two pieces, and bytes that are no frames (TLS). */
static void frames_are_found_however_they_are_cut_and_not_where_there_are_none(void **state)
{
	(void)state;
	struct rig rig;
	struct channel_frame_header header = {.magic = CHANNEL_FRAME_MAGIC, .type = WIRE_GO};
	char got[sizeof(header)];

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	for (size_t at = 0, step = 7; at < sizeof(header); at += step) {
		size_t n = sizeof(header) - at < step ? sizeof(header) - at : step;
		struct iovec out = {(char *)&header + at, n}, in = {got + at, n};

		assert_int_equal(link_seen(rig.link, WIRE_GO), 0);
		assert_int_equal(channel_conn_send(rig.source[0], &out, 1, GUARD_MS, NULL), 0);
		assert_int_equal(channel_conn_recv(rig.target[0], &in, 1, GUARD_MS, NULL), 0);
	}
	assert_memory_equal(got, &header, sizeof(header));
	assert_int_equal(link_seen(rig.link, WIRE_GO), 1);
	header.magic = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct iovec out = {&header, sizeof(header)}, in = {got, sizeof(got)};

		assert_int_equal(channel_conn_send(rig.source[0], &out, 1, GUARD_MS, NULL), 0);
		assert_int_equal(channel_conn_recv(rig.target[0], &in, 1, GUARD_MS, NULL), 0);
		header.magic = CHANNEL_FRAME_MAGIC;
	}
	assert_int_equal(link_seen(rig.link, WIRE_GO), 1);
	close_rig(&rig);
}

static void an_address_that_cannot_be_had_is_named(void **state)
{
	(void)state;
	struct swo_error err = {0};

	assert_null(link_start("unix:/not/there", "unix:/not/there/either", &err));
	assert_non_null(strstr(err.text, "unix:/not/there"));
	assert_null(link_start("udp:1", "unix:/tmp/x", &err));
	assert_int_equal(err.code, SWO_E_INVALID);
}

/* Each way, behind one another and not one after the other, and in order; an end comes last. */
static void a_delay_holds_each_byte_for_half_a_round_trip(void **state)
{
	(void)state;
	static const uint64_t half_ns = 100000000;
	struct rig rig;

	open_rig(&rig, NULL);
	connect_rig(&rig, 0);
	link_set_delay(rig.link, 2 * half_ns, 0);
	for (unsigned from = 0; from < 2; from++) {
		struct channel_conn *sender = from ? rig.target[0] : rig.source[0];
		struct channel_conn *receiver = from ? rig.source[0] : rig.target[0];
		const uint64_t start = swo_now_ns();

		for (unsigned i = 0; i < 10; i++) {
			put(sender, "late");
			usleep(5000); /* so that the link reads each alone */
		}
		expect(receiver, "late");
		assert_true(swo_now_ns() - start >= half_ns);
		for (unsigned i = 1; i < 10; i++)
			expect(receiver, "late");
		assert_true(swo_now_ns() - start < 10 * half_ns);
	}
	put(rig.source[0], "last");
	channel_conn_shutdown(rig.source[0]);
	expect(rig.target[0], "last");
	expect_end(rig.target[0]);
	close_rig(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_delay_holds_each_byte_for_half_a_round_trip),
		cmocka_unit_test(bytes_pass_both_ways_over_unix_and_tcp_and_so_does_an_end),
		cmocka_unit_test(descriptors_pass),
		cmocka_unit_test(
			a_cut_drops_every_connection_and_refuses_new_ones_until_it_passes_again),
		cmocka_unit_test(a_stall_holds_back_what_comes_and_loses_none_of_it),
		cmocka_unit_test(a_stall_of_one_direction_leaves_the_other_alone),
		cmocka_unit_test(the_busiest_connection_waits_while_the_other_overtakes_it),
		cmocka_unit_test(one_bit_is_flipped_once_on_the_connection_that_was_meant),
		cmocka_unit_test(
			a_cut_at_a_message_lets_what_is_before_it_pass_and_not_the_message),
		cmocka_unit_test(a_message_that_came_along_with_the_one_before_is_cut_alone),
		cmocka_unit_test(a_stall_at_a_message_holds_it_until_the_link_passes),
		cmocka_unit_test(
			frames_are_found_however_they_are_cut_and_not_where_there_are_none),
		cmocka_unit_test(an_address_that_cannot_be_had_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
