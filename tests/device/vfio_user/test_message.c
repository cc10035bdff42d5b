/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user messages: framing over a real socket pair, and the VERSION payload. */
#include "device/vfio_user/message.h"
#include "tests/support/cm.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOON() swo_deadline_ms(10000)

static int pair(void **state)
{
	int *sv = calloc(2, sizeof(int));

	if (!sv || socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		return -1;
	*state = sv;
	return 0;
}

static int unpair(void **state)
{
	int *sv = *state;

	swo_close_fd(&sv[0]);
	swo_close_fd(&sv[1]);
	free(sv);
	return 0;
}

static void a_message_arrives_complete_with_its_fds(void **state)
{
	int *sv = *state, pipes[2];
	char data[] = "payload";
	struct vfio_user_header h =
		vfio_user_command_header(7, VFIO_USER_DMA_MAP, sizeof(data), false);
	struct iovec iov[] = {{&h, sizeof(h)}, {NULL, 0}, {data, sizeof(data)}};
	struct swo_error err;
	size_t sent;

	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(vfio_user_send(sv[0], iov, 3, pipes, 2, SOON(), &sent, &err), 0);
	assert_int_equal(sent, sizeof(h) + sizeof(data));

	struct vfio_user_header in;
	struct vfio_user_fds fds;
	char body[64];

	assert_int_equal(vfio_user_recv(sv[1], &in, body, sizeof(body), &fds, SOON(), &err), 0);
	assert_memory_equal(&in, &h, sizeof(h));
	assert_int_equal(vfio_user_payload(&in), sizeof(data));
	assert_string_equal(body, data);
	assert_int_equal(fds.count, 2);
	assert_true(fcntl(fds.fd[0], F_GETFD) & FD_CLOEXEC);
	int taken = vfio_user_fds_take(&fds, 1);
	assert_int_equal(write(taken, "x", 1), 1);
	assert_int_equal(read(pipes[0], body, 1), 1);
	assert_int_equal(vfio_user_fds_take(&fds, 1), -1);
	assert_int_equal(vfio_user_fds_take(&fds, 2), -1);
	vfio_user_fds_close(&fds);
	close(taken);
	close(pipes[0]);
	close(pipes[1]);
}

struct big_send {
	int sock;
	size_t size;
	int rc;
};

static void *send_big(void *opaque)
{
	struct big_send *big = opaque;
	uint8_t *data = malloc(big->size);
	struct vfio_user_header h =
		vfio_user_command_header(1, VFIO_USER_MIG_DATA_WRITE, big->size, false);
	struct iovec iov[] = {{&h, sizeof(h)}, {data, big->size}};

	for (size_t i = 0; i < big->size; i++)
		data[i] = (uint8_t)(i * 7);
	big->rc = vfio_user_send(big->sock, iov, 2, NULL, 0, SOON(), NULL, NULL);
	free(data);
	return NULL;
}

static void a_message_larger_than_the_socket_buffer_arrives_complete(void **state)
{
	int *sv = *state;
	struct big_send big = {.sock = sv[0], .size = 1 << 20};
	struct vfio_user_header in;
	struct swo_error err;
	pthread_t thread;
	uint8_t *body = malloc(big.size);

	assert_int_equal(swo_thread_start(&thread, "send-big", send_big, &big, &err), 0);
	assert_int_equal(vfio_user_recv(sv[1], &in, body, big.size, NULL, SOON(), &err), 0);
	pthread_join(thread, NULL);
	assert_int_equal(big.rc, 0);
	assert_int_equal(vfio_user_payload(&in), big.size);
	for (size_t i = 0; i < big.size; i++)
		if (body[i] != (uint8_t)(i * 7))
			fail_msg("byte %zu differs", i);
	free(body);
}

static void a_full_socket_times_out_and_reports_the_bytes_sent(void **state)
{
	int *sv = *state;
	size_t room = 1 << 20, sent;
	char *data = calloc(1, room);
	struct vfio_user_header h =
		vfio_user_command_header(1, VFIO_USER_MIG_DATA_WRITE, room, false);
	struct iovec iov[] = {{&h, sizeof(h)}, {data, room}};
	struct swo_error err;

	assert_int_equal(
		vfio_user_send(sv[0], iov, 2, NULL, 0, swo_deadline_ms(20), &sent, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_in_range(sent, 1, room);
	free(data);
}

static void a_closed_peer_is_lost_without_a_signal(void **state)
{
	int *sv = *state;
	struct vfio_user_header h = vfio_user_command_header(1, VFIO_USER_RESET, 0, false);
	struct iovec iov = {&h, sizeof(h)};
	struct swo_error err;

	swo_close_fd(&sv[1]);
	assert_int_equal(vfio_user_send(sv[0], &iov, 1, NULL, 0, SOON(), NULL, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
	assert_int_equal(vfio_user_recv_header(sv[0], &h, NULL, SOON(), NULL, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
}

static void half_a_header_times_out_as_broken(void **state)
{
	int *sv = *state;
	struct vfio_user_header h;
	struct swo_error err;
	size_t got;

	assert_int_equal(
		vfio_user_recv_header(sv[1], &h, NULL, swo_deadline_ms(10), &got, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_int_equal(got, 0);
	assert_int_equal(write(sv[0], "12345", 5), 5);
	assert_int_equal(
		vfio_user_recv_header(sv[1], &h, NULL, swo_deadline_ms(10), &got, &err), -1);
	assert_int_equal(err.code, SWO_E_TIMEOUT);
	assert_int_equal(got, 5);
	swo_close_fd(&sv[0]);
	assert_int_equal(vfio_user_recv_header(sv[1], &h, NULL, SOON(), &got, &err), -1);
	assert_int_equal(err.code, SWO_E_PEER_LOST);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 512; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void unexpected_fds_are_closed(void **state)
{
	int *sv = *state, many[VFIO_USER_FDS_MAX + 8];
	struct vfio_user_header h = vfio_user_command_header(1, VFIO_USER_RESET, 4, false);
	struct iovec iov[] = {{&h, sizeof(h)}, {many, 4}};
	struct swo_error err;
	struct vfio_user_fds fds;
	char body[16];

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(many); i++)
		many[i] = STDIN_FILENO;
	unsigned before = open_fds();

	/* Not wanted at all; and wanted, but the header turns out bad. */
	assert_int_equal(vfio_user_send(sv[0], iov, 2, many, 3, SOON(), NULL, &err), 0);
	assert_int_equal(vfio_user_recv(sv[1], &h, body, sizeof(body), NULL, SOON(), &err), 0);
	h.size = 1;
	assert_int_equal(vfio_user_send(sv[0], iov, 1, many, 3, SOON(), NULL, &err), 0);
	assert_int_equal(vfio_user_recv(sv[1], &h, body, sizeof(body), &fds, SOON(), &err), -1);
	assert_int_equal(err.code, SWO_E_PROTOCOL);
	assert_int_equal(open_fds(), before);

	/* More than any message may bring. */
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(many))] = {0};
	struct msghdr msg = {.msg_iov = iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(many));
	memcpy(CMSG_DATA(cmsg), many, sizeof(many));
	assert_int_equal(sendmsg(sv[0], &msg, 0), sizeof(h));
	assert_int_equal(vfio_user_recv_header(sv[1], &h, &fds, SOON(), NULL, &err), -1);
	assert_int_equal(err.code, SWO_E_PROTOCOL);
	assert_int_equal(open_fds(), before);
}

static void a_header_is_accepted_only_within_bounds(void **state)
{
	(void)state;
	static const struct {
		struct vfio_user_header h;
		int rc;
	} cases[] = {
		{{.size = 16}, 0},
		{{.size = 116}, 0},
		{{.size = 15}, -1},
		{{.size = 0}, -1},
		{{.size = 117}, -1},
		{{.size = UINT32_MAX}, -1},
		{{.size = 20, .flags = VFIO_USER_REPLY}, 0},
		{{.size = 20, .flags = 2}, -1},
		{{.size = 20, .flags = 15}, -1},
		{{.size = 16, .flags = VFIO_USER_REPLY | VFIO_USER_ERROR, .error = 22}, 0},
		{{.size = 16, .flags = VFIO_USER_REPLY | VFIO_USER_ERROR}, 0},
		{{.size = 20, .flags = VFIO_USER_REPLY | VFIO_USER_ERROR}, 0},
	};

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(cases); i++) {
		struct swo_error err = {0};

		if (vfio_user_header_check(&cases[i].h, 100, &err) != cases[i].rc)
			fail_msg("case %u", i);
		assert_int_equal(err.code, cases[i].rc ? SWO_E_PROTOCOL : SWO_E_NONE);
	}
}

static void a_reply_echoes_its_request(void **state)
{
	(void)state;
	struct vfio_user_header q =
		vfio_user_command_header(0xbeef, VFIO_USER_REGION_READ, 16, false);
	struct vfio_user_header ok = vfio_user_reply_header(&q, 20, 0);
	struct vfio_user_header bad = vfio_user_reply_header(&q, 20, 22);

	assert_true(vfio_user_is_reply(&ok) && !vfio_user_is_reply(&q));
	assert_int_equal(ok.id, 0xbeef);
	assert_int_equal(ok.command, VFIO_USER_REGION_READ);
	assert_int_equal(ok.size, 36);
	assert_int_equal(bad.size, 16);
	assert_int_equal(bad.error, 22);
	assert_int_equal(bad.flags, VFIO_USER_REPLY | VFIO_USER_ERROR);
}

static void version_capabilities_survive_the_wire(void **state)
{
	(void)state;
	struct vfio_user_caps caps, back;
	struct swo_buf buf = SWO_BUF_INIT(4096);
	struct swo_error err;

	vfio_user_caps_init(&caps);
	caps.max_msg_fds = 8;
	caps.max_data_xfer = 65536;
	caps.twin_socket = true;
	caps.twin_fd_index = 0;
	caps.max_write = 1048576;
	caps.exact_reads = true;
	assert_int_equal(vfio_user_version_build(&caps, &buf, &err), 0);
	assert_int_equal(buf.data[buf.len - 1], 0);
	assert_int_equal(vfio_user_version_parse(buf.data, buf.len, &back, &err), 0);
	assert_int_equal(back.minor, VFIO_USER_MINOR);
	assert_int_equal(back.max_msg_fds, 8);
	assert_int_equal(back.max_data_xfer, 65536);
	assert_int_equal(back.max_dma_maps, VFIO_USER_DEFAULT_MAX_DMA_MAPS);
	assert_true(back.twin_socket);
	assert_int_equal(back.twin_fd_index, 0);
	assert_int_equal(back.max_write, 1048576);
	assert_true(back.exact_reads);
	swo_buf_free(&buf);
}

/* A client such as QEMU takes a key that it has not proposed for an error. */
static void an_answer_has_only_the_keys_that_were_proposed(void **state)
{
	(void)state;
	struct swo_error err;

	for (unsigned keys = 0; keys <= VFIO_USER_HAS_ALL; keys++) {
		struct vfio_user_caps caps, back;
		struct swo_buf buf = SWO_BUF_INIT(4096);

		vfio_user_caps_init(&caps);
		caps.max_write = caps.max_msg_fds = 7;
		caps.keys = keys;
		assert_int_equal(vfio_user_version_build(&caps, &buf, &err), 0);
		assert_int_equal(vfio_user_version_parse(buf.data, buf.len, &back, &err), 0);
		assert_int_equal(back.keys, keys);
		assert_int_equal(back.max_write, keys & VFIO_USER_HAS_X_SWITCHOVER ? 7 : 0);
		assert_int_equal(back.max_msg_fds,
			keys & VFIO_USER_HAS_MAX_MSG_FDS ? 7 : VFIO_USER_DEFAULT_MAX_MSG_FDS);
		swo_buf_free(&buf);
	}
}

static int parse_text(
	const char *text, size_t len, struct vfio_user_caps *caps, struct swo_error *err)
{
	uint8_t payload[512] = {0, 0, 2, 0};

	memcpy(payload + 4, text, len);
	return vfio_user_version_parse(payload, 4 + len, caps, err);
}

static void missing_version_members_have_their_defaults(void **state)
{
	(void)state;
	static const char *const texts[] = {"{}", "{\"capabilities\":{}}",
		"{\"capabilities\":{\"migration\":{\"pgsize\":4096},\"future\":[1]}}"};
	struct vfio_user_caps caps;
	struct swo_error err;

	assert_int_equal(parse_text("", 0, &caps, &err), 0);
	assert_int_equal(caps.max_msg_fds, 1);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(texts); i++) {
		assert_int_equal(parse_text(texts[i], strlen(texts[i]) + 1, &caps, &err), 0);
		assert_int_equal(caps.max_data_xfer, 1048576);
		assert_int_equal(caps.max_write, 0);
		assert_false(caps.exact_reads);
		assert_false(caps.twin_socket);
		assert_int_equal(caps.twin_fd_index, -1);
	}
}

static void a_bad_version_payload_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {"x", "[]", "\"\"", "{", "{}{}", "{\"capabilities\":3}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_data_xfer_size\":1e400}}",
		"{\"capabilities\":{\"max_data_xfer_size\":99999999999999999999}}",
		"{\"capabilities\":{\"twin_socket\":true}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}",
		"{\"capabilities\":{\"twin_socket\":{\"fd_index\":-1}}}",
		"{\"capabilities\":{\"write_multiple\":\"no\"}}",
		"{\"capabilities\":{\"x-switchover\":1}}",
		"{\"capabilities\":{\"x-switchover\":{\"max_write\":null}}}",
		"{\"capabilities\":{\"x-switchover\":{\"exact_reads\":1}}}", ""};
	struct vfio_user_caps caps;
	struct swo_error err;

	for (unsigned i = 0; i < SWO_ARRAY_SIZE(texts); i++) {
		err.code = SWO_E_NONE;
		if (!parse_text(texts[i], strlen(texts[i]) + 1, &caps, &err))
			fail_msg("taken: %s", texts[i]);
		assert_int_equal(err.code, SWO_E_PROTOCOL);
	}
	assert_int_equal(parse_text("{}", 2, &caps, &err), -1); /* no NUL */
	assert_int_equal(vfio_user_version_parse("\0\0\2", 3, &caps, &err), -1);
	uint8_t *huge = calloc(1, 1 << 20);
	assert_int_equal(vfio_user_version_parse(huge, 1 << 20, &caps, &err), -1);
	free(huge);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_message_arrives_complete_with_its_fds, pair, unpair),
		cmocka_unit_test_setup_teardown(
			a_message_larger_than_the_socket_buffer_arrives_complete, pair, unpair),
		cmocka_unit_test_setup_teardown(
			a_full_socket_times_out_and_reports_the_bytes_sent, pair, unpair),
		cmocka_unit_test_setup_teardown(
			a_closed_peer_is_lost_without_a_signal, pair, unpair),
		cmocka_unit_test_setup_teardown(half_a_header_times_out_as_broken, pair, unpair),
		cmocka_unit_test_setup_teardown(unexpected_fds_are_closed, pair, unpair),
		cmocka_unit_test(a_header_is_accepted_only_within_bounds),
		cmocka_unit_test(a_reply_echoes_its_request),
		cmocka_unit_test(version_capabilities_survive_the_wire),
		cmocka_unit_test(an_answer_has_only_the_keys_that_were_proposed),
		cmocka_unit_test(missing_version_members_have_their_defaults),
		cmocka_unit_test(a_bad_version_payload_is_refused),
	};

	return cmocka_run_group_tests_name("vfio_user_message", tests, NULL, NULL);
}
