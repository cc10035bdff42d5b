/* SPDX-License-Identifier: BSD-3-Clause */
/* Malformed and unexpected messages: the server replies or closes, and continues. */
#include "wire.h"

static void every_command_of_every_small_length_is_replied_to_once(void **state)
{
	(void)state;
	struct server s = wire_start("lengths", NULL);
	struct client c = wire_connect(&s, false);
	uint8_t body[96];

	for (unsigned fill = 0; fill < 256; fill += 51)
		for (uint16_t command = 0; command < 24; command++)
			for (size_t len = 0; len < sizeof(body); len += 4) {
				memset(body, (int)fill, sizeof(body));
				wire_ask(&c, command, body, len);
			}
	assert_int_equal(wire_ask(&c, VFIO_USER_RESET, NULL, 0), 0);
	assert_int_equal(wire_get(&c, SIMVF_REG_ID, 4), SIMVF_ID);
	wire_close(&c);
	wire_stop(&s);
}

static void a_message_that_is_too_long_is_refused_and_skipped(void **state)
{
	(void)state;
	struct server s = wire_start("long", NULL);
	struct client c = wire_connect(&s, false);
	struct vfio_user_mig_data read = {.argsz = 16, .size = UINT32_MAX};
	uint8_t *body = calloc(3, CHUNK);

	assert_int_equal(wire_ask(&c, VFIO_USER_MIG_DATA_WRITE, body, 3 * CHUNK), EINVAL);
	assert_int_equal(wire_get(&c, SIMVF_REG_ID, 4), SIMVF_ID);
	assert_int_equal(wire_ask(&c, VFIO_USER_MIG_DATA_READ, &read, sizeof(read)), EINVAL);
	wire_send(&c, VFIO_USER_MIG_DATA_WRITE, body, 2 * CHUNK, true, NULL, 0);
	assert_int_equal(wire_get(&c, SIMVF_REG_ID, 4), SIMVF_ID);
	free(body);
	wire_close(&c);
	wire_stop(&s);
}

static void a_message_may_come_byte_by_byte(void **state)
{
	(void)state;
	struct server s = wire_start("bytes", NULL);
	struct client c = wire_connect(&s, false);
	struct vfio_user_region_access access = {.region = SIMVF_BAR_REGS, .count = 4};
	struct vfio_user_header header =
		vfio_user_command_header(++c.id, VFIO_USER_REGION_READ, sizeof(access), false);
	uint8_t message[32];

	memcpy(message, &header, 16);
	memcpy(message + 16, &access, 16);
	for (unsigned i = 0; i < sizeof(message); i++)
		assert_int_equal(send(c.fd, message + i, 1, 0), 1);
	assert_int_equal(wire_receive(&c), 0);
	wire_close(&c);
	wire_stop(&s);
}

static void noise_closes_the_connection_at_most(void **state)
{
	(void)state;
	struct server s = wire_start("noise", NULL);
	struct client c;

	srand(1);
	for (unsigned round = 0; round < 200; round++) {
		uint8_t noise[512];
		size_t len = 1 + (size_t)rand() % sizeof(noise);

		c = round % 2 ? wire_connect(&s, false) : wire_connect_raw(&s);
		for (size_t i = 0; i < len; i++)
			noise[i] = (uint8_t)(rand() % (round % 3 ? 256 : 20));
		if (round % 4 == 1) { /* a valid header before a random body */
			struct vfio_user_header header = vfio_user_command_header(
				1, (uint16_t)(1 + rand() % 18), len - len % 4, rand() % 2);

			send(c.fd, &header, sizeof(header), MSG_NOSIGNAL);
		}
		send(c.fd, noise, len, MSG_NOSIGNAL);
		wire_close(&c);
	}
	c = wire_connect(&s, false);
	assert_int_equal(wire_ask(&c, VFIO_USER_RESET, NULL, 0), 0);
	assert_int_equal(wire_get(&c, SIMVF_REG_ID, 4), SIMVF_ID);
	wire_close(&c);
	wire_stop(&s);
}

static void unexpected_fds_are_closed(void **state)
{
	(void)state;
	struct server s = wire_start("fds", NULL);
	struct client c = wire_connect(&s, false);
	struct vfio_user_device_info info = {.argsz = sizeof(info)};
	int pipes[2], fds[8];
	char nothing;

	assert_int_equal(pipe(pipes), 0);
	for (unsigned i = 0; i < 8; i++)
		fds[i] = pipes[1];
	wire_send(&c, VFIO_USER_GET_INFO, &info, sizeof(info), false, fds, 8);
	assert_int_equal(wire_receive(&c), 0);
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &nothing, 1), 0);
	close(pipes[0]);
	wire_close(&c);
	wire_stop(&s);
}

static void bad_lines_on_the_control_socket_are_answered(void **state)
{
	(void)state;
	struct server s = wire_start("control", NULL);
	static const char *const lines[] = {"", "{", "[]", "5", "{}", "{\"cmd\":5}",
		"{\"cmd\":\"dance\"}", "{\"cmd\":\"fault\"}", "{\"cmd\":\"fault\",\"spec\":7}"};
	int status;

	for (size_t i = 0; i < SWO_ARRAY_SIZE(lines); i++) {
		json_t *reply = wire_control(&s, lines[i]);

		assert_non_null(json_object_get(reply, "error"));
		json_decref(reply);
	}
	wire_tell(&s, "{\"cmd\":\"reset-stats\"}");
	wire_tell(&s, "{\"cmd\":\"quit\"}");
	status = wire_wait(&s);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_of_every_small_length_is_replied_to_once),
		cmocka_unit_test(a_message_that_is_too_long_is_refused_and_skipped),
		cmocka_unit_test(a_message_may_come_byte_by_byte),
		cmocka_unit_test(noise_closes_the_connection_at_most),
		cmocka_unit_test(unexpected_fds_are_closed),
		cmocka_unit_test(bad_lines_on_the_control_socket_are_answered),
	};

	if (!wire_begin(argc, argv))
		return 2;
	return wire_end(cmocka_run_group_tests(tests, NULL, NULL));
}
