/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows over a long link: the source enlarges them, within both sides' link_window, and a target
 * takes no other request for one.
 */
#include "fake_vm.h"
#include "frames.h"
#include "migration/hello.h"
#include "migration/internal.h"
#include "outcome.h"
#include "testbed/link.h"

#include <stdlib.h>
#include <string.h>

#define MIB	    (UINT64_C(1) << 20)
#define DEVICES	    2
#define DEVICE_SIZE (3u << 20)
#define RTT_NS	    UINT64_C(5000000) /* 10 Gbit/s carry 6 MiB in it */

/* Windows that were enlarged, of a migration over such a link or a short one. */
static unsigned widened(uint64_t rtt_ns, size_t source_window, size_t target_window)
{
	struct swo_migration_params here = fake_params(), there = fake_params();
	static struct fake_vm source, target;
	char to[128], from[128];
	struct swo_error err = {0};

	strcpy(to, fake_uri());
	strcpy(from, fake_uri());
	struct link *link = link_start(from, to, &err);

	assert_non_null(link);
	link_set_delay(link, rtt_ns, 0);
	fake_vm_open(&source, DEVICES, true, DEVICE_SIZE, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&target, DEVICES, false, DEVICE_SIZE, SWO_TRANSITIONS_PARALLEL);
	here.link_window = source_window;
	there.link_window = target_window;
	if (swo_migration_receive(&target.vm, to, &there, NULL, NULL, &target.migration, &err) ||
		swo_migration_send(&source.vm, from, &here, NULL, NULL, &source.migration, &err))
		fail_msg("%s", err.text);
	expect_arrived(&source, &target, true);
	const unsigned seen = link_seen(link, WIRE_WINDOW);

	fake_vm_close(&source);
	fake_vm_close(&target);
	link_stop(link);
	return seen;
}

static void windows_follow_the_round_trip_within_both_sides_limit(void **state)
{
	(void)state;
	const size_t far = SWO_DEFAULT_LINK_WINDOW;

	assert_int_equal(widened(RTT_NS, far, far), DEVICES);
	assert_int_equal(widened(0, far, far), 0);
	assert_int_equal(widened(RTT_NS, 0, far), 0);
	assert_int_equal(widened(RTT_NS, far, 0), 0);
	/* HELLO requests 2 MiB for each: 5 leave half a MiB more. */
	assert_int_equal(widened(RTT_NS, 5 * MIB, far), DEVICES);
	assert_int_equal(widened(RTT_NS, far, 4 * MIB), 0);
}

/* A target that has answered HELLO, with windows of 1 MiB and 3 MiB in all. */
struct asked {
	struct fake_vm vm;
	struct channel control, data;
	struct wire_go ticket;
	uint64_t link_window;
	char text[65536];
};

static void open_asked(struct asked *asked)
{
	static const char id[] = "00000000-0000-4000-8000-000000000001";
	struct swo_migration_params params = fake_params();
	struct swo_buf text = SWO_BUF_INIT(65536);
	struct channel_frame_header header = {.type = WIRE_HELLO};
	struct swo_device_costs costs[DEVICES];
	struct migration_hello_ok ok;
	struct hello hello;
	char uri[128];

	strcpy(uri, fake_uri());
	fake_vm_open(&asked->vm, DEVICES, false, DEVICE_SIZE, SWO_TRANSITIONS_PARALLEL);
	params.link_window = 3 * MIB;
	assert_int_equal(swo_migration_receive(&asked->vm.vm, uri, &params, NULL, NULL,
				 &asked->vm.migration, NULL),
		0);
	assert_int_equal(migration_hello_describe(&asked->vm.vm, &hello, NULL), 0);
	strcpy(hello.id, id);
	hello.channels = 1;
	hello.running = true;
	for (unsigned i = 0; i < DEVICES; i++)
		hello.devices[i].window = MIB;
	assert_int_equal(migration_hello_format(&hello, &text, NULL), 0);
	migration_hello_free(&hello);
	asked->control = dial(uri);
	assert_int_equal(send_frame(&asked->control, header, text.data, text.len), 0);
	swo_buf_free(&text);
	assert_int_equal(next_frame(&asked->control, &header, asked->text), WIRE_HELLO_OK);
	assert_int_equal(
		migration_hello_ok_parse(asked->text, header.length, costs, DEVICES, &ok, NULL), 0);
	asked->link_window = ok.link_window;
	asked->data = dial(uri);
	asked->ticket.nonce = ok.ticket;
	strcpy(asked->ticket.id, id);
	assert_int_equal(
		send_frame(&asked->data, (struct channel_frame_header){.type = WIRE_ATTACH},
			&asked->ticket, sizeof(asked->ticket)),
		0);
}

static void close_asked(struct asked *asked)
{
	channel_close(&asked->data);
	channel_close(&asked->control);
	fake_vm_close(&asked->vm);
}

static void ask(struct asked *asked, unsigned device, uint64_t window)
{
	const struct channel_frame_header header = {
		.type = WIRE_WINDOW, .device = device, .offset = window};

	assert_int_equal(send_frame(&asked->control, header, NULL, 0), 0);
}

/* It answers: it has taken all that was sent before. */
static void expect_answer(struct asked *asked)
{
	struct channel_frame_header header = {.type = WIRE_CLOCK};
	int type;

	assert_int_equal(send_frame(&asked->control, header, NULL, 0), 0);
	while ((type = next_frame(&asked->control, &header, asked->text)) == WIRE_CREDIT)
		;
	assert_int_equal(type, WIRE_CLOCK_REPLY);
}

static void expect_failed(struct asked *asked, const char *words)
{
	const struct swo_migration_info info = fake_end(&asked->vm);

	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	if (!strstr(info.error.text, words))
		fail_msg("'%s' without '%s'", info.error.text, words);
	assert_int_equal(atomic_load(&asked->vm.starts), 0);
}

static void a_target_gives_what_it_offers_and_no_more(void **state)
{
	(void)state;
	static const struct {
		unsigned device;
		uint64_t window;
		const char *words;
	} bad[] = {
		{0, MIB, "expected more than 1048576"},
		{0, MIB / 2, "expected more than 1048576"},
		{0, 2 * MIB + 1, "at most 3145728 for all devices together (link-window)"},
		{1, UINT64_MAX, "at most 3145728"},
		{1, UINT64_MAX - MIB + 1, "at most 3145728"},
		{DEVICES, 2 * MIB, "expected less than 2"},
	};
	static struct asked asked;

	for (size_t i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		open_asked(&asked);
		assert_int_equal(asked.link_window, 3 * MIB);
		ask(&asked, bad[i].device, bad[i].window);
		expect_failed(&asked, bad[i].words);
		close_asked(&asked);
	}
	open_asked(&asked);
	ask(&asked, 0, 2 * MIB);
	expect_answer(&asked);
	ask(&asked, 1, MIB + 1);
	expect_failed(&asked, "at most 3145728");
	close_asked(&asked);
}

/* Of the device that has data only: its ring is in use. */
static void a_window_stays_once_there_is_data(void **state)
{
	(void)state;
	static const uint8_t bytes[4096];
	struct channel_frame_header header = {.type = WIRE_DEVICE};
	static struct asked asked;

	open_asked(&asked);
	assert_int_equal(send_frame(&asked.data, header, bytes, sizeof(bytes)), 0);
	/* CREDIT, as the device is drained: the data has been taken. */
	assert_int_equal(next_frame(&asked.control, &header, asked.text), WIRE_CREDIT);
	ask(&asked, 1, 3 * MIB / 2);
	expect_answer(&asked);
	ask(&asked, 0, 3 * MIB / 2);
	expect_failed(&asked, "WINDOW after its data");
	close_asked(&asked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(windows_follow_the_round_trip_within_both_sides_limit),
		cmocka_unit_test(a_target_gives_what_it_offers_and_no_more),
		cmocka_unit_test(a_window_stays_once_there_is_data),
	};

	swo_log_set(SWO_LOG_ERROR, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
