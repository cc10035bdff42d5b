/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets with deadlines: addresses, connect, listen, descriptor passing. */
#include "base/net.h"
#include "base/poll.h"
#include "tests/support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/test-net-XXXXXX";

static void socket_path(char *out, size_t size)
{
	snprintf(out, size, "%s/s", dir);
	unlink(out);
}

static int listen_unix(struct base_address *address, int backlog)
{
	char path[64];
	int fd = -1;

	socket_path(path, sizeof(path));
	assert_int_equal(base_unix_address(path, address, NULL), 0);
	assert_int_equal(base_listen(address, backlog, &fd), 0);
	return fd;
}

static void a_socket_path_has_its_length_checked(void **state)
{
	(void)state;
	struct base_address address;
	struct swo_error err;
	char path[120];

	memset(path, 'x', sizeof(path));
	path[108] = 0;
	assert_int_equal(base_unix_address(path, &address, &err), -1);
	assert_non_null(strstr(err.text, "longer than 107 bytes"));
	path[107] = 0;
	assert_int_equal(base_unix_address(path, &address, &err), 0);
	assert_string_equal(address.un.sun_path, path);
	assert_int_equal(base_unix_address("", &address, &err), -1);
}

static void a_uri_resolves_to_addresses(void **state)
{
	(void)state;
	struct base_address addresses[BASE_ADDRESSES_MAX];
	struct base_uri uri;
	struct swo_error err;

	assert_int_equal(base_uri_parse("tcp:127.0.0.1:80", &uri, NULL), 0);
	assert_int_equal(
		base_resolve(&uri, false, swo_deadline_ms(20000), NULL, addresses, &err), 1);
	assert_int_equal(addresses[0].in.sin_port, htons(80));
	assert_int_equal(base_uri_parse("unix:/x", &uri, NULL), 0);
	assert_int_equal(
		base_resolve(&uri, false, swo_deadline_ms(20000), NULL, addresses, &err), 1);
	assert_int_equal(addresses[0].any.sa_family, AF_UNIX);
	assert_int_equal(base_uri_parse("tcp:no such host:80", &uri, NULL), 0);
	assert_int_equal(
		base_resolve(&uri, false, swo_deadline_ms(20000), NULL, addresses, &err), -1);
	assert_non_null(strstr(err.text, "cannot resolve the host 'no such host'"));
}

static void a_listener_of_a_path_is_its_owners_alone_and_connects(void **state)
{
	(void)state;
	struct base_address address;
	struct stat st;
	swo_autofd int listener = listen_unix(&address, 4), fd = -1, other = -1;

	assert_int_equal(stat(address.un.sun_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(2000), NULL, &fd), 0);
	other = base_accept(listener);
	assert_true(other >= 0);
	assert_true(fcntl(other, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(other, F_GETFD) & FD_CLOEXEC);
	assert_true(base_peer_is_ours(other));
}

static void connecting_names_what_is_wrong(void **state)
{
	(void)state;
	struct base_address address;
	int listener = listen_unix(&address, 4), fd = -1;

	swo_close_fd(&listener);
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(2000), NULL, &fd), ECONNREFUSED);
	unlink(address.un.sun_path);
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(2000), NULL, &fd), ENOENT);
	assert_int_equal(fd, -1);
}

/* A process of another user listens at the path until it is killed. */
static pid_t listen_as(uid_t uid, const char *folder, struct base_address *address)
{
	char path[80], byte;
	int ready[2];

	snprintf(path, sizeof(path), "%s/s", folder);
	assert_int_equal(base_unix_address(path, address, NULL), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid_t child = fork();

	if (!child) {
		int fd;

		if (setuid(uid) || base_listen(address, 4, &fd) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return child;
}

static void what_another_user_listens_at_is_connected_to_only_when_allowed(void **state)
{
	(void)state;
	enum { OTHER = 54321 };
	char folder[] = "/tmp/switchover-net.XXXXXX";
	struct base_address address;
	struct swo_error err = {0};
	int fd = -1;

	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chown(folder, OTHER, (gid_t)-1), 0);
	pid_t child = listen_as(OTHER, folder, &address);
	int rc = base_connect(&address, 1, swo_deadline_ms(10000), NULL, &fd);

	assert_int_equal(rc, EOWNERDEAD);
	base_connect_error(&err, SWO_E_IO, rc, "connect to unix:/x");
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_non_null(strstr(err.text, "another user's process"));
	assert_non_null(strstr(err.text, "--peer-uid"));
	/* Another one's permission is no permission. */
	swo_peer_uid_allow(OTHER + 1);
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(10000), NULL, &fd), EOWNERDEAD);
	swo_peer_uid_allow(OTHER);
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(10000), NULL, &fd), 0);
	close(fd);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	unlink(address.un.sun_path);
	rmdir(folder);
}

static void the_next_address_is_tried(void **state)
{
	(void)state;
	struct base_address addresses[2];
	swo_autofd int listener = listen_unix(&addresses[1], 4), fd = -1;

	assert_int_equal(base_unix_address("/nowhere/at/all", &addresses[0], NULL), 0);
	assert_int_equal(base_connect(addresses, 2, swo_deadline_ms(2000), NULL, &fd), 0);
	assert_true(listener >= 0 && fd >= 0);
}

/* A backlog of 0 accepts one; the second waits for space. */
static void a_full_backlog_is_waited_for_until_the_deadline(void **state)
{
	(void)state;
	struct base_address address;
	swo_autofd int listener = listen_unix(&address, 0), first = -1, second = -1;

	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(2000), NULL, &first), 0);
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(20), NULL, &second), EAGAIN);
	swo_autofd int taken = base_accept(listener);
	assert_true(taken >= 0);
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(2000), NULL, &second), 0);
}

static void a_cancel_ends_an_attempt_now_and_later(void **state)
{
	(void)state;
	struct base_address address;
	swo_autofd int listener = listen_unix(&address, 4), fd = -1;
	struct base_cancel cancel = BASE_CANCEL_INIT;
	volatile int interrupt = 1;
	int pair[2];

	assert_true(listener >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(base_cancel_arm(&cancel, pair[0]));
	base_cancel_fire(&cancel);
	/* Shut down: readable at once, with EOF. */
	assert_int_equal(base_wait_fd(pair[0], POLLIN, swo_deadline_ms(2000), NULL), 0);
	assert_int_equal(read(pair[0], &(char){0}, 1), 0);
	assert_false(base_cancel_disarm(&cancel));
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(2000), &cancel, &fd), ECANCELED);
	cancel = (struct base_cancel)BASE_CANCEL_INIT;
	cancel.interrupt = &interrupt;
	assert_int_equal(base_connect(&address, 1, swo_deadline_ms(2000), &cancel, &fd), ECANCELED);
	close(pair[0]);
	close(pair[1]);
}

static void a_stale_socket_goes_and_a_used_one_stays(void **state)
{
	(void)state;
	struct base_address address;
	struct swo_error err;
	int listener = listen_unix(&address, 4);
	const char *path = address.un.sun_path;

	assert_int_equal(base_unix_unlink_stale(path, &err), -1);
	assert_non_null(strstr(err.text, "in use"));
	swo_close_fd(&listener);
	assert_int_equal(base_unix_unlink_stale(path, &err), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(base_unix_unlink_stale(path, &err), 0);
	listener = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(base_unix_unlink_stale(path, &err), -1);
	close(listener);
	assert_int_equal(access(path, F_OK), 0);
}

static void waiting_ends_at_the_deadline_or_the_interrupt(void **state)
{
	(void)state;
	volatile int interrupt = 0;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(base_wait_fd(pair[0], POLLIN, swo_deadline_ms(5), NULL), ETIMEDOUT);
	assert_int_equal(base_wait_fd(pair[0], POLLIN, swo_deadline_ms(5), &interrupt), ETIMEDOUT);
	assert_int_equal(base_wait_fd(pair[0], POLLOUT, swo_deadline_ms(2000), &interrupt), 0);
	interrupt = 1;
	assert_int_equal(
		base_wait_fd(pair[0], POLLOUT, swo_deadline_ms(2000), &interrupt), ECANCELED);
	close(pair[1]);
	assert_int_equal(base_wait_fd(pair[0], POLLIN, swo_deadline_ms(2000), NULL), 0);
	close(pair[0]);
}

static ssize_t receive(int sock, int *fds, unsigned room, unsigned *count, bool *cut)
{
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	return base_recv_fds(sock, &msg, fds, room, count, cut, MSG_DONTWAIT);
}

static void send_some(int sock, unsigned count)
{
	int fds[BASE_FDS_MAX];
	struct iovec iov = {.iov_base = (char[]){'x'}, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	for (unsigned i = 0; i < count; i++)
		fds[i] = STDIN_FILENO;
	assert_int_equal(base_send_fds(sock, &msg, fds, count, 0), 1);
}

static void descriptors_travel_and_what_does_not_fit_is_closed(void **state)
{
	(void)state;
	int pair[2], fds[4], before = dup(STDIN_FILENO);
	unsigned count = 0;
	bool cut = false;

	close(before);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(receive(pair[1], fds, 4, &count, &cut), -1);
	assert_int_equal(errno, EAGAIN);
	send_some(pair[0], 3);
	assert_int_equal(receive(pair[1], fds, 4, &count, &cut), 1);
	assert_int_equal(count, 3);
	assert_false(cut);
	assert_true(fcntl(fds[2], F_GETFD) & FD_CLOEXEC);
	/* One more fits. */
	send_some(pair[0], 3);
	assert_int_equal(receive(pair[1], fds, 4, &count, &cut), 1);
	assert_int_equal(count, 4);
	assert_true(cut);
	while (count)
		close(fds[--count]);
	close(pair[0]);
	close(pair[1]);
	/* No descriptor was left open. */
	int after = dup(STDIN_FILENO);
	assert_int_equal(after, before);
	close(after);
}

static void more_descriptors_than_a_message_carries_are_refused(void **state)
{
	(void)state;
	int fds[BASE_FDS_MAX + 1] = {0};
	struct iovec iov = {.iov_base = (char[]){'x'}, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	assert_int_equal(base_send_fds(0, &msg, fds, BASE_FDS_MAX + 1, 0), -1);
	assert_int_equal(errno, EINVAL);
}

static void a_vector_loses_what_is_done_and_empty_pieces(void **state)
{
	(void)state;
	char bytes[8];
	struct iovec pieces[] = {{bytes, 0}, {bytes, 3}, {bytes + 3, 0}, {bytes + 3, 5}};
	struct iovec *left = pieces;
	unsigned count = base_iov_advance(&left, 4, 0);

	assert_int_equal(count, 3);
	count = base_iov_advance(&left, count, 4);
	assert_int_equal(count, 1);
	assert_ptr_equal(left->iov_base, bytes + 4);
	assert_int_equal(left->iov_len, 4);
	assert_int_equal(base_iov_advance(&left, count, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_socket_path_has_its_length_checked),
		cmocka_unit_test(a_uri_resolves_to_addresses),
		cmocka_unit_test(a_listener_of_a_path_is_its_owners_alone_and_connects),
		cmocka_unit_test(connecting_names_what_is_wrong),
		cmocka_unit_test(what_another_user_listens_at_is_connected_to_only_when_allowed),
		cmocka_unit_test(the_next_address_is_tried),
		cmocka_unit_test(a_full_backlog_is_waited_for_until_the_deadline),
		cmocka_unit_test(a_cancel_ends_an_attempt_now_and_later),
		cmocka_unit_test(a_stale_socket_goes_and_a_used_one_stays),
		cmocka_unit_test(waiting_ends_at_the_deadline_or_the_interrupt),
		cmocka_unit_test(descriptors_travel_and_what_does_not_fit_is_closed),
		cmocka_unit_test(more_descriptors_than_a_message_carries_are_refused),
		cmocka_unit_test(a_vector_loses_what_is_done_and_empty_pieces),
	};
	char path[64];

	if (!mkdtemp(dir))
		return 1;
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	socket_path(path, sizeof(path));
	rmdir(dir);
	return rc;
}
