/* SPDX-License-Identifier: BSD-3-Clause */
/* Migrations with TLS, and refused ones without it: accepted peers, and which side runs afterwards. */
#include "channel/conn.h"
#include "outcome.h"
#include "testbed/control.h"
#include "testbed/pki.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Credentials of two CAs, which do not trust each other, and two keys. */
struct dirs {
	char top[32], ours[48], theirs[48], psk[48], other_psk[48];
};

static int make_dirs(void **state)
{
	struct dirs *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	strcpy(d->top, "/tmp/swo-secure-XXXXXX");
	assert_non_null(mkdtemp(d->top));
	const struct {
		char *path;
		const char *name;
	} all[] = {{d->ours, "ours"}, {d->theirs, "theirs"}, {d->psk, "psk"},
		{d->other_psk, "other-psk"}};
	for (size_t i = 0; i < SWO_ARRAY_SIZE(all); i++) {
		snprintf(all[i].path, 48, "%.30s/%s", d->top, all[i].name);
		assert_int_equal(mkdir(all[i].path, 0700), 0);
	}
	assert_int_equal(pki_write_x509(d->ours, "target.example", "source.example", NULL), 0);
	assert_int_equal(pki_write_x509(d->theirs, "target.example", "source.example", NULL), 0);
	assert_int_equal(pki_write_psk(d->psk, "qemu", NULL), 0);
	assert_int_equal(pki_write_psk(d->other_psk, "qemu", NULL), 0);
	*state = d;
	return 0;
}

static int remove_dirs(void **state)
{
	struct dirs *d = *state;

	control_remove_dir(d->ours);
	control_remove_dir(d->theirs);
	control_remove_dir(d->psk);
	control_remove_dir(d->other_psk);
	control_remove_dir(d->top);
	free(d);
	return 0;
}

/* NULL: plain. */
static struct swo_migration_params with(const char *creds)
{
	struct swo_migration_params params = fake_params();

	if (creds)
		strcpy(params.tls.creds, creds);
	strcpy(params.tls.hostname, "target.example");
	return params;
}

static void listen_as(struct fake_vm *target, const char *uri, const char *creds)
{
	const struct swo_migration_params params = with(creds);
	struct swo_error err = {0};

	if (swo_migration_receive(&target->vm, uri, &params, NULL, NULL, &target->migration, &err))
		fail_msg("%s", err.text);
}

static void send_as(struct fake_vm *source, const char *uri, const char *creds)
{
	const struct swo_migration_params params = with(creds);
	struct swo_error err = {0};

	if (swo_migration_send(&source->vm, uri, &params, NULL, NULL, &source->migration, &err))
		fail_msg("%s", err.text);
}

static void moves_with(const char *creds, unsigned channels)
{
	struct swo_migration_params params = with(creds);
	struct fake_vm source, target;

	params.channels = channels;
	fake_vm_open(&source, 4, true, 300000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&target, 4, false, 300000, SWO_TRANSITIONS_PARALLEL);
	target.vm.autostart = false;
	fake_migrate(&source, &target, &params);
	struct swo_migration_info info = fake_end(&source);
	if (info.status != SWO_MIGRATION_COMPLETED)
		fail_msg("source: %s", info.error.text);
	assert_int_equal(fake_end(&target).status, SWO_MIGRATION_COMPLETED);
	assert_int_equal(swo_ram_hash(source.vm.ram), swo_ram_hash(target.vm.ram));
	for (unsigned i = 0; i < 4; i++)
		assert_true(target.devices[i].loaded_ok);
	fake_vm_close(&source);
	fake_vm_close(&target);
}

static void a_vm_moves_completely_with_certificates_over_any_number_of_channels(void **state)
{
	for (unsigned channels = 1; channels <= 16; channels *= 4)
		moves_with(((struct dirs *)*state)->ours, channels);
}

static void a_vm_moves_completely_with_a_shared_key_over_any_number_of_channels(void **state)
{
	for (unsigned channels = 1; channels <= 16; channels *= 4)
		moves_with(((struct dirs *)*state)->psk, channels);
}

/* A source with `bad` is rejected and continues to run; the target then accepts one with `good`. */
static void turns_away(const char *good, const char *bad, const char *words)
{
	struct fake_vm stranger, source, target;
	char uri[128];

	snprintf(uri, sizeof(uri), "%s", fake_uri());
	fake_vm_open(&stranger, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&source, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&target, 2, false, 1000, SWO_TRANSITIONS_PARALLEL);
	listen_as(&target, uri, good);
	send_as(&stranger, uri, bad);
	struct swo_migration_info info = fake_end(&stranger);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	if (!strstr(info.error.text, words))
		fail_msg("error '%s' without '%s'", info.error.text, words);
	assert_true(fake_vm_runs(&stranger));
	assert_false(fake_vm_runs(&target));
	send_as(&source, uri, good);
	expect_arrived(&source, &target, true);
	fake_vm_close(&stranger);
	fake_vm_close(&source);
	fake_vm_close(&target);
}

/* Each is waited for 5 s: one after another they would outlast the source's patience. */
static void silent_strangers_keep_no_source_out(void **state)
{
	struct channel_conn *stranger[12];
	struct fake_vm source, target;
	char uri[128];

	snprintf(uri, sizeof(uri), "%s", fake_uri());
	fake_vm_open(&source, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&target, 2, false, 1000, SWO_TRANSITIONS_PARALLEL);
	listen_as(&target, uri, ((struct dirs *)*state)->ours);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(stranger); i++)
		assert_int_equal(channel_conn_open(uri, NULL, swo_deadline_ms(FAKE_GUARD_MS),
					 &stranger[i], NULL),
			0);
	send_as(&source, uri, ((struct dirs *)*state)->ours);
	expect_arrived(&source, &target, true);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(stranger); i++)
		channel_conn_close(stranger[i]);
	fake_vm_close(&source);
	fake_vm_close(&target);
}

/* A target's socket without an answer; with backlog 0 its kernel does not either, when full.
 */
static int mute_listener(int backlog, char uri[64])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	snprintf(uri, 64, "tcp:127.0.0.1:%u", ntohs(address.sin_port));
	return fd;
}

/* True if a connection to this port is pending. */
static bool is_connecting(unsigned port)
{
	FILE *file = fopen("/proc/net/tcp", "re");
	unsigned to, state;
	bool found = false;
	char line[256];

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, " %*u: %*x:%*x %*x:%x %x", &to, &state) == 2 && to == port &&
			state == TCP_SYN_SENT;
	fclose(file);
	return found;
}

/* Until the source waits for an answer: to its first bytes, or for its connection where the queue
   is full. The connection, which is the caller's; -1: it has none. */
static int await_waiting(int listener, const char *uri, bool full)
{
	swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
	const unsigned port = (unsigned)strtoul(strrchr(uri, ':') + 1, NULL, 10);

	while (full && !is_connecting(port)) {
		assert_false(swo_deadline_passed(guard));
		swo_sleep_until(swo_now_ns() + 1000000);
	}
	if (full)
		return -1;
	struct pollfd pfd = {.fd = accept(listener, NULL, NULL), .events = POLLIN};

	assert_true(pfd.fd >= 0);
	assert_int_equal(poll(&pfd, 1, FAKE_GUARD_MS), 1);
	return pfd.fd;
}

/* The deadlines of this source are much longer than the guard of the test. */
static void cancels_at_once(int listener, bool full, const char *uri, const char *creds)
{
	struct swo_migration_params params = with(creds);
	struct swo_error err = {0};
	struct fake_vm source;

	params.setup_deadline_ms = params.idle_deadline_ms = 10 * FAKE_GUARD_MS;
	fake_vm_open(&source, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	if (swo_migration_send(&source.vm, uri, &params, NULL, NULL, &source.migration, &err))
		fail_msg("%s", err.text);
	int answered_never = await_waiting(listener, uri, full);

	assert_int_equal(swo_migration_cancel(source.migration, &err), 0);
	assert_int_equal(fake_end(&source).status, SWO_MIGRATION_CANCELLED);
	assert_true(fake_vm_runs(&source));
	fake_vm_close(&source);
	swo_close_fd(&answered_never);
}

static void a_cancel_does_not_wait_for_a_silent_handshake(void **state)
{
	char uri[64];
	int fd = mute_listener(8, uri);

	cancels_at_once(fd, false, uri, ((struct dirs *)*state)->ours);
	cancels_at_once(fd, false, uri, ((struct dirs *)*state)->psk);
	cancels_at_once(fd, false, uri, NULL);
	close(fd);
}

static void a_cancel_does_not_wait_for_a_host_that_does_not_answer(void **state)
{
	(void)state;
	struct channel_conn *others[4] = {NULL};
	char uri[64];
	int fd = mute_listener(0, uri);

	/* They fill its queue; one of them finds it full. */
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(others); i++)
		if (channel_conn_open(uri, NULL, swo_deadline_ms(50), &others[i], NULL))
			break;
	assert_null(others[SWO_ARRAY_SIZE(others) - 1]);
	cancels_at_once(fd, true, uri, NULL);
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(others); i++)
		channel_conn_close(others[i]);
	close(fd);
}

static void a_source_of_another_ca_is_rejected_and_the_right_one_still_accepted(void **state)
{
	const struct dirs *d = *state;

	turns_away(d->ours, d->theirs, "the certificate of the target");
}

static void a_source_with_another_key_is_rejected_and_the_right_one_still_accepted(void **state)
{
	const struct dirs *d = *state;

	turns_away(d->psk, d->other_psk, "does not have the key of \"qemu\"");
}

static void a_plain_source_is_rejected_by_a_target_with_tls_and_the_right_one_still_accepted(
	void **state)
{
	const struct dirs *d = *state;

	turns_away(d->ours, NULL, "uses TLS and this side does not");
}

static void a_source_with_tls_does_not_talk_to_a_plain_target_and_the_right_one_still_taken(
	void **state)
{
	const struct dirs *d = *state;

	turns_away(NULL, d->ours, "it does not use TLS");
}

/* Over TCP a source without TLS gets no values (test_hello). */
static void a_source_that_differs_gets_both_values_over_tls(void **state)
{
	const char *creds = ((struct dirs *)*state)->psk;
	struct fake_vm source, target;
	char uri[64];
	int fd = mute_listener(1, uri);

	close(fd);
	fake_vm_open(&source, 2, true, 1000, SWO_TRANSITIONS_PARALLEL);
	fake_vm_open(&target, 2, false, 1000, SWO_TRANSITIONS_PARALLEL);
	strcpy(source.layout, "here");
	strcpy(target.layout, "there");
	listen_as(&target, uri, creds);
	send_as(&source, uri, creds);
	const struct swo_migration_info info = fake_end(&source);

	if (!strstr(info.error.text, "is 'here' on the source and 'there' on the target"))
		fail_msg("%s", info.error.text);
	fake_vm_close(&source);
	fake_vm_close(&target);
}

static void credentials_that_are_no_good_are_an_error_at_once(void **state)
{
	const struct dirs *d = *state;
	struct swo_migration_params params = with(d->top);
	struct swo_migration *migration = NULL;
	struct swo_error err = {0};
	struct fake_vm vm;

	fake_vm_open(&vm, 1, true, 1000, SWO_TRANSITIONS_PARALLEL);
	assert_int_equal(
		swo_migration_send(&vm.vm, fake_uri(), &params, NULL, NULL, &migration, &err), -1);
	assert_int_equal(err.code, SWO_E_INVALID);
	assert_non_null(strstr(err.text, "neither ca-cert.pem"));
	assert_true(fake_vm_runs(&vm));
	fake_vm_close(&vm);
	fake_vm_open(&vm, 1, false, 1000, SWO_TRANSITIONS_PARALLEL);
	assert_int_equal(
		swo_migration_receive(&vm.vm, fake_uri(), &params, NULL, NULL, &migration, &err),
		-1);
	assert_non_null(strstr(err.text, "neither ca-cert.pem"));
	fake_vm_close(&vm);
}

static void without_tls_a_vm_does_not_leave_this_host_nor_enter_it(void **state)
{
	(void)state;
	struct swo_migration_params params = with(NULL);
	struct swo_migration *migration = NULL;
	struct swo_error err = {0};
	struct fake_vm vm;

	fake_vm_open(&vm, 1, false, 1000, SWO_TRANSITIONS_PARALLEL);
	assert_int_equal(swo_migration_receive(
				 &vm.vm, "tcp:0.0.0.0:0", &params, NULL, NULL, &migration, &err),
		-1);
	assert_non_null(strstr(err.text, "tls-creds"));
	assert_non_null(strstr(err.text, "insecure"));
	fake_vm_close(&vm);
	/* TEST-NET-1 (RFC 5737): it is not even tried. */
	fake_vm_open(&vm, 1, true, 1000, SWO_TRANSITIONS_PARALLEL);
	send_as(&vm, "tcp:192.0.2.1:9", NULL);
	struct swo_migration_info info = fake_end(&vm);
	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "192.0.2.1 is not loopback"));
	assert_true(fake_vm_runs(&vm));
	fake_vm_close(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(silent_strangers_keep_no_source_out),
		cmocka_unit_test(a_cancel_does_not_wait_for_a_silent_handshake),
		cmocka_unit_test(a_cancel_does_not_wait_for_a_host_that_does_not_answer),
		cmocka_unit_test(
			a_vm_moves_completely_with_certificates_over_any_number_of_channels),
		cmocka_unit_test(
			a_vm_moves_completely_with_a_shared_key_over_any_number_of_channels),
		cmocka_unit_test(
			a_source_of_another_ca_is_rejected_and_the_right_one_still_accepted),
		cmocka_unit_test(
			a_source_with_another_key_is_rejected_and_the_right_one_still_accepted),
		cmocka_unit_test(
			a_plain_source_is_rejected_by_a_target_with_tls_and_the_right_one_still_accepted),
		cmocka_unit_test(
			a_source_with_tls_does_not_talk_to_a_plain_target_and_the_right_one_still_taken),
		cmocka_unit_test(a_source_that_differs_gets_both_values_over_tls),
		cmocka_unit_test(credentials_that_are_no_good_are_an_error_at_once),
		cmocka_unit_test(without_tls_a_vm_does_not_leave_this_host_nor_enter_it),
	};
	return cmocka_run_group_tests(tests, make_dirs, remove_dirs);
}
