/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RAM handed over by descriptor, against a peer that is simulated frame by frame: the descriptors
 * sent with HELLO and their checks, and the word in shared memory when one side is dead.
 */
#include "memory/share.h"
#include "migration/internal.h"
#include "stage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const id = "00000000-0000-4000-8000-000000000001";

/* A source, and this test as its target */

static void play_to_go(struct stage *stage)
{
	stage_open(stage, SWO_HANDOVER_FD, SWO_HANDOVER_FD);
	stage_play_to_go(stage);
}

/* The target is dead, as its process would be. */
static void die(struct stage *stage)
{
	channel_shutdown(&stage->control);
	channel_shutdown(&stage->data);
	channel_listener_close(stage->listener);
	stage->listener = NULL;
}

static uint64_t resumed_with;

static void hash_at_resume(struct fake_vm *vm)
{
	resumed_with = swo_ram_hash(vm->vm.ram);
}

static void a_source_whose_target_died_before_its_start_runs_again(void **state)
{
	(void)state;
	static struct stage stage;

	play_to_go(&stage);
	stage.vm.on_start = hash_at_resume;
	die(&stage);
	struct swo_migration_info info = fake_end(&stage.vm);

	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	assert_non_null(strstr(info.error.text, "had not started the VM"));
	assert_true(fake_vm_runs(&stage.vm));
	assert_int_equal(resumed_with, stage.hash);
	/* And the remains of that target cannot start. */
	assert_false(ram_share_begin(&stage.share));
	stage_close(&stage);
}

static void a_source_that_waits_in_vain_takes_the_vm_back_from_a_target_that_lives(void **state)
{
	(void)state;
	static struct stage stage;

	play_to_go(&stage);
	/* No answer: commit-deadline passes. */
	assert_int_equal(fake_end(&stage.vm).status, SWO_MIGRATION_FAILED);
	assert_true(fake_vm_runs(&stage.vm));
	assert_false(ram_share_begin(&stage.share));
	stage_close(&stage);
}

static void no_decision_makes_a_source_run_whose_target_had_started(void **state)
{
	(void)state;
	struct swo_error err = {0};
	static struct stage stage;

	play_to_go(&stage);
	assert_true(ram_share_begin(&stage.share));
	die(&stage);
	struct swo_migration_info info = stage_await_doubt(&stage);

	assert_true(info.committed);
	assert_int_equal(swo_migration_resolve(stage.vm.migration, true, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	assert_non_null(strstr(err.text, "has started the VM in the RAM that both share"));
	assert_false(fake_vm_runs(&stage.vm));
	assert_false(swo_migration_may_run(stage.vm.migration));
	/* It can be given up, and then RAM is released. */
	assert_int_equal(swo_migration_resolve(stage.vm.migration, false, &err), 0);
	assert_int_equal(fake_end(&stage.vm).status, SWO_MIGRATION_FAILED);
	assert_false(fake_vm_runs(&stage.vm));
	assert_false(swo_migration_may_run(stage.vm.migration));
	assert_true(swo_ram_is_gone(stage.vm.vm.ram));
	stage_close(&stage);
}

/* A target that breaks the rule: it starts although it has no GO, or refuses although it has started. */
static void a_source_stays_away_from_ram_in_which_its_target_has_begun(void **state)
{
	(void)state;
	static struct stage stage;

	for (unsigned moment = 0; moment < 3; moment++) {
		stage_open(&stage, SWO_HANDOVER_FD, SWO_HANDOVER_FD);
		if (moment == 1)
			stage_play_to_ready(&stage);
		if (moment == 2)
			stage_play_to_go(&stage);
		assert_true(ram_share_begin(&stage.share));
		stage_reply(&stage, &stage.control, WIRE_REFUSED, "no", 2);
		/* At READY the source may have committed: then it is in doubt, and completes. */
		if (moment == 1)
			stage_reply(&stage, &stage.control, WIRE_STARTED, NULL, 0);
		const struct swo_migration_info info = fake_end(&stage.vm);

		if (moment != 1)
			assert_int_equal(info.status, SWO_MIGRATION_FAILED);
		if (info.status == SWO_MIGRATION_FAILED &&
			!strstr(info.error.text, "without GO, so that it cannot run here"))
			fail_msg("%s", info.error.text);
		assert_false(fake_vm_runs(&stage.vm));
		assert_false(swo_migration_may_run(stage.vm.migration));
		assert_true(swo_ram_is_gone(stage.vm.vm.ram));
		stage_close(&stage);
	}
}

static void a_target_without_descriptors_is_an_error_with_a_remedy(void **state)
{
	(void)state;
	static struct stage stage;

	stage_open(&stage, SWO_HANDOVER_FD, SWO_HANDOVER_COPY);
	struct swo_migration_info info = fake_end(&stage.vm);

	assert_int_equal(info.status, SWO_MIGRATION_FAILED);
	if (!strstr(info.error.text, "cannot take RAM by descriptor") ||
		!strstr(info.error.text, "handover=copy"))
		fail_msg("%s", info.error.text);
	assert_true(fake_vm_runs(&stage.vm));
	stage_close(&stage);
}

/* A listener of another user; root can connect to it, and must not pass it descriptors. */
static void another_users_process_gets_no_descriptor(void **state)
{
	(void)state;
	struct swo_migration_params params = fake_params();
	const char *uri = fake_uri();
	char dir[128], byte;
	struct fake_vm vm;
	int ends[2];

	if (geteuid())
		skip();
	snprintf(dir, sizeof(dir), "%s", uri + strlen("unix:"));
	*strrchr(dir, '/') = 0;
	assert_int_equal(chown(dir, 65534, 65534), 0);
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	if (!pid) {
		struct channel_listener *listener;

		if (setgid(65534) || setuid(65534) ||
			channel_listener_open(uri, NULL, NULL, &listener, NULL))
			_exit(1);
		if (write(ends[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	fake_vm_open(&vm, 1, true, 1000, SWO_TRANSITIONS_PARALLEL);
	params.handover = SWO_HANDOVER_FD;
	assert_int_equal(
		swo_migration_send(&vm.vm, uri, &params, NULL, NULL, &vm.migration, NULL), 0);
	struct swo_migration_info info = fake_end(&vm);

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(ends[0]);
	close(ends[1]);
	if (!strstr(info.error.text, "another user's process listens"))
		fail_msg("%s", info.error.text);
	assert_true(fake_vm_runs(&vm));
	fake_vm_close(&vm);
}

/* A target, and this test as its source:
 */

struct play {
	struct fake_vm vm;
	char uri[128];
	struct channel control;
	struct channel_frame_header header;
	char text[65536];
};

static void open_target(struct play *play)
{
	struct swo_migration_params params = fake_params();

	fake_vm_open(&play->vm, 0, false, 1000, SWO_TRANSITIONS_PARALLEL);
	strcpy(play->uri, fake_uri());
	assert_int_equal(swo_migration_receive(&play->vm.vm, play->uri, &params, NULL, NULL,
				 &play->vm.migration, NULL),
		0);
}

/* Sends HELLO with these descriptors, and receives the reply. */
static int say_hello(struct play *play, const int *fds, unsigned count)
{
	struct swo_buf text = SWO_BUF_INIT(65536);
	struct hello hello;
	struct channel_conn *conn;

	assert_int_equal(migration_hello_describe(&play->vm.vm, &hello, NULL), 0);
	strcpy(hello.id, id);
	hello.channels = 1;
	hello.handover = SWO_HANDOVER_FD;
	assert_int_equal(migration_hello_format(&hello, &text, NULL), 0);
	migration_hello_free(&hello);
	assert_int_equal(
		channel_conn_open(play->uri, NULL, swo_deadline_ms(STALL_MS), &conn, NULL), 0);
	channel_init(&play->control, conn, STALL_MS);
	assert_int_equal(channel_conn_attach_fds(conn, fds, count, NULL), 0);
	send_frame(&play->control, (struct channel_frame_header){.type = WIRE_HELLO}, text.data,
		text.len);
	swo_buf_free(&text);
	return next_frame(&play->control, &play->header, play->text);
}

static int memfd(uint64_t size, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void expect_refused(struct play *play, const int *fds, unsigned count, const char *words)
{
	if (say_hello(play, fds, count) != WIRE_ABORT || !strstr(play->text, words))
		fail_msg("frame %u '%s' instead of '%s'", play->header.type, play->text, words);
	channel_close(&play->control);
}

static void descriptors_that_are_not_the_vms_ram_are_refused_and_closed(void **state)
{
	(void)state;
	static struct play play;

	open_target(&play);
	const uint64_t size = swo_ram_region(play.vm.vm.ram, 0)->size;
	const int sealed = F_SEAL_SHRINK | F_SEAL_GROW;
	int word = memfd(SWO_PAGE_SIZE, sealed), ram = memfd(size, sealed);
	int small = memfd(size / 2, sealed), loose = memfd(size, 0);
	int stiff = memfd(size, sealed | F_SEAL_WRITE), null = open("/dev/null", O_RDWR);
	char path[64];
	int many[CHANNEL_FDS_MAX];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", ram);
	int readable = open(path, O_RDONLY);

	for (unsigned i = 0; i < CHANNEL_FDS_MAX; i++)
		many[i] = word;
	unsigned before = fake_entries("/proc/self/fd");

	expect_refused(&play, NULL, 0, ": 0, expected 2");
	expect_refused(&play, (int[]){word}, 1, ": 1, expected 2");
	expect_refused(&play, many, CHANNEL_FDS_MAX, ": 17, expected 2");
	expect_refused(&play, (int[]){word, small}, 2, "bytes, expected");
	expect_refused(&play, (int[]){word, loose}, 2, "not sealed against shrinking");
	expect_refused(&play, (int[]){word, stiff}, 2, "cannot be written");
	expect_refused(&play, (int[]){word, readable}, 2, "cannot be written");
	expect_refused(&play, (int[]){word, null}, 2, "not in a memfd");
	expect_refused(&play, (int[]){null, ram}, 2, "not in a memfd");
	/* Valid except for its content. */
	expect_refused(&play, (int[]){word, ram}, 2, "not the shared word");
	/* The last one, too, once the target has checked it. */
	for (swo_deadline guard = swo_deadline_ms(FAKE_GUARD_MS);
		fake_entries("/proc/self/fd") != before && !swo_deadline_passed(guard);)
		swo_sleep_until(swo_now_ns() + 1000000);
	assert_int_equal(fake_entries("/proc/self/fd"), before);
	/* The target still has its own RAM, and keeps waiting. */
	assert_true(swo_ram_is_writable(play.vm.vm.ram));

	struct fake_vm source;
	struct swo_migration_params params = fake_params();

	fake_vm_open(&source, 0, true, 1000, SWO_TRANSITIONS_PARALLEL);
	params.handover = SWO_HANDOVER_FD;
	assert_int_equal(swo_migration_send(&source.vm, play.uri, &params, NULL, NULL,
				 &source.migration, NULL),
		0);
	assert_int_equal(fake_end(&source).status, SWO_MIGRATION_COMPLETED);
	fake_vm_close(&source);
	fake_vm_close(&play.vm);
	const int all[] = {word, ram, small, loose, stiff, null, readable};
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(all); i++)
		close(all[i]);
}

static void two_regions_of_one_memory_are_refused(void **state)
{
	(void)state;
	const uint64_t size = 65536;
	int ram = memfd(size, F_SEAL_SHRINK);
	struct swo_ram *two = swo_ram_new();
	struct swo_error err = {0};

	assert_int_equal(swo_ram_add(two, "a", 0, size, -1, NULL), 0);
	assert_int_equal(swo_ram_add(two, "b", 1 << 20, size, -1, NULL), 0);
	assert_int_equal(memory_ram_check_fds(two, (int[]){ram, ram}, &err), -1);
	assert_non_null(strstr(err.text, "two regions have the same memfd"));
	swo_ram_free(two);
	close(ram);
}

/* The word */

static void of_two_processes_that_exchange_the_word_one_succeeds(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		struct swo_ram *ram = swo_ram_new();
		struct shared_ram here, there;
		struct channel_conn *a, *b;
		int ends[2], status;
		char byte;

		ram_share_init(&here);
		ram_share_init(&there);
		assert_int_equal(swo_ram_add(ram, "ram", 0, 65536, -1, NULL), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
		assert_int_equal(channel_conn_adopt(ends[0], "a", &a, NULL), 0);
		assert_int_equal(channel_conn_adopt(ends[1], "b", &b, NULL), 0);
		assert_int_equal(channel_conn_accept_fds(b, true, NULL), 0);
		assert_int_equal(ram_share_offer(&here, ram, a, NULL), 0);
		struct iovec out = {.iov_base = &byte, .iov_len = 1}, in = out;
		assert_int_equal(channel_conn_send(a, &out, 1, STALL_MS, NULL), 0);
		assert_int_equal(channel_conn_recv(b, &in, 1, STALL_MS, NULL), 0);
		assert_int_equal(ram_share_take(&there, ram, b, NULL), 0);
		pid_t pid = fork();
		if (!pid)
			_exit(ram_share_begin(&there) ? 7 : 8);
		bool forbidden = ram_share_forbid(&here);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), forbidden ? 8 : 7);
		/* And it stays so. */
		assert_int_equal(ram_share_forbid(&there), forbidden);
		assert_int_equal(ram_share_begin(&here), !forbidden);
		ram_share_close(&here);
		ram_share_close(&there);
		channel_conn_close(a);
		channel_conn_close(b);
		swo_ram_free(ram);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_two_processes_that_exchange_the_word_one_succeeds),
		cmocka_unit_test(a_source_whose_target_died_before_its_start_runs_again),
		cmocka_unit_test(
			a_source_that_waits_in_vain_takes_the_vm_back_from_a_target_that_lives),
		cmocka_unit_test(no_decision_makes_a_source_run_whose_target_had_started),
		cmocka_unit_test(a_source_stays_away_from_ram_in_which_its_target_has_begun),
		cmocka_unit_test(a_target_without_descriptors_is_an_error_with_a_remedy),
		cmocka_unit_test(another_users_process_gets_no_descriptor),
		cmocka_unit_test(descriptors_that_are_not_the_vms_ram_are_refused_and_closed),
		cmocka_unit_test(two_regions_of_one_memory_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
