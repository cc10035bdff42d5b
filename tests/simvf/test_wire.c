/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server as a client sees it on the socket: valid messages, malformed ones, and concurrent
 * device activity.
 */
#include "wire.h"

static void it_describes_a_pci_device(void **state)
{
	(void)state;
	struct server s = wire_start("info", NULL);
	struct client c = wire_connect(&s, false);
	struct vfio_user_device_info info = {.argsz = sizeof(info)};
	struct vfio_user_region_info region = {.argsz = 4096, .index = SIMVF_BAR_INBOX};
	struct vfio_user_irq_info irq = {.argsz = sizeof(irq), .index = VFIO_USER_PCI_MSIX};
	uint32_t io_fds[4] = {16, 0, 0, 0};

	assert_int_equal(wire_ask(&c, VFIO_USER_GET_INFO, &info, sizeof(info)), 0);
	memcpy(&info, c.reply, sizeof(info));
	assert_int_equal(info.flags, VFIO_USER_DEVICE_RESET | VFIO_USER_DEVICE_PCI);
	assert_int_equal(info.num_regions, 9);
	assert_int_equal(info.num_irqs, 5);

	assert_int_equal(wire_ask(&c, VFIO_USER_GET_REGION_INFO, &region, sizeof(region)), 0);
	assert_int_equal(c.len, 64);
	assert_int_equal(c.fds.count, 1);
	memcpy(&region, c.reply, sizeof(region));
	assert_int_equal(region.size, SIMVF_BAR_INBOX_SIZE);
	assert_int_equal(region.flags, 15);
	assert_int_equal(region.cap_offset, 32);
	region.argsz = sizeof(region); /* no space for the capability: no fd either */
	assert_int_equal(wire_ask(&c, VFIO_USER_GET_REGION_INFO, &region, sizeof(region)), 0);
	assert_int_equal(c.fds.count, 0);
	assert_int_equal(c.len, 32);
	memcpy(&region, c.reply, sizeof(region));
	assert_int_equal(region.argsz, 64);
	region = (struct vfio_user_region_info){.argsz = 32, .index = VFIO_USER_PCI_CONFIG};
	assert_int_equal(wire_ask(&c, VFIO_USER_GET_REGION_INFO, &region, sizeof(region)), 0);
	memcpy(&region, c.reply, sizeof(region));
	assert_int_equal(region.size, 256);
	region.index = 9;
	assert_int_equal(wire_ask(&c, VFIO_USER_GET_REGION_INFO, &region, sizeof(region)), EINVAL);

	assert_int_equal(wire_ask(&c, VFIO_USER_GET_REGION_IO_FDS, io_fds, sizeof(io_fds)), 0);
	assert_int_equal(wire_ask(&c, VFIO_USER_GET_IRQ_INFO, &irq, sizeof(irq)), 0);
	memcpy(&irq, c.reply, sizeof(irq));
	assert_int_equal(irq.count, SIMVF_MSIX_VECTORS);
	wire_close(&c);
	wire_stop(&s);
}

static void it_negotiates_first_and_only_once_and_closes_on_another_major(void **state)
{
	(void)state;
	struct server s = wire_start("version", NULL);
	struct client c = wire_connect_raw(&s);
	struct vfio_user_device_info info = {.argsz = sizeof(info)};
	static const uint16_t old[2] = {0, 0}, wrong[2] = {1, 0}, newer[2] = {0, 99};
	char nothing;

	assert_int_equal(wire_ask(&c, VFIO_USER_GET_INFO, &info, sizeof(info)), EINVAL);
	assert_int_equal(wire_ask(&c, VFIO_USER_VERSION, old, sizeof(old)), 0);
	assert_int_equal(((uint16_t *)c.reply)[1], 0);
	assert_int_equal(wire_ask(&c, VFIO_USER_VERSION, old, sizeof(old)), EINVAL);
	wire_close(&c);
	c = wire_connect_raw(&s);
	assert_int_equal(wire_ask(&c, VFIO_USER_VERSION, newer, sizeof(newer)), 0);
	assert_int_equal(((uint16_t *)c.reply)[1], VFIO_USER_MINOR);
	wire_close(&c);
	c = wire_connect_raw(&s);
	assert_int_equal(wire_ask(&c, VFIO_USER_VERSION, wrong, sizeof(wrong)), EINVAL);
	assert_int_equal(recv(c.fd, &nothing, 1, 0), 0);
	wire_close(&c);
	wire_stop(&s);
}

static void features_are_probed_got_and_set_as_they_are_offered(void **state)
{
	(void)state;
	struct server s = wire_start("feature", NULL),
		      less = wire_start(
			      "less", "--no-p2p", "--no-pre-copy", "--no-data-size", NULL);
	struct client c = wire_connect(&s, false);
	const uint32_t get = VFIO_USER_FEATURE_GET, set = VFIO_USER_FEATURE_SET;
	const uint32_t probe = VFIO_USER_FEATURE_PROBE;
	uint64_t flags;

	assert_int_equal(wire_feature(&c, get | VFIO_USER_FEATURE_MIGRATION, NULL, 0, 8), 0);
	memcpy(&flags, c.reply + 8, 8);
	assert_int_equal(flags, 7);
	assert_int_equal(
		wire_feature(&c, probe | get | set | VFIO_USER_FEATURE_MIG_STATE, NULL, 0, 8), 0);
	assert_int_equal(
		wire_feature(&c, probe | set | VFIO_USER_FEATURE_MIGRATION, NULL, 0, 8), EINVAL);
	assert_int_equal(wire_feature(&c, probe | 3, NULL, 0, 8), ENOTTY);
	assert_int_equal(
		wire_feature(&c, get | set | VFIO_USER_FEATURE_MIG_STATE, NULL, 0, 8), EINVAL);
	assert_int_equal(wire_feature(&c, get | VFIO_USER_FEATURE_MIG_DATA_SIZE, NULL, 0, 8), 0);
	memcpy(&flags, c.reply + 8, 8);
	assert_in_range(flags, 1 << 20, 2 << 20);
	assert_int_equal(wire_set_state(&c, 0), EINVAL);
	assert_int_equal(wire_set_state(&c, 8), EINVAL);
	assert_int_equal(wire_state(&c), RUNNING);
	wire_close(&c);
	c = wire_connect(&less, false);
	assert_int_equal(wire_feature(&c, get | VFIO_USER_FEATURE_MIGRATION, NULL, 0, 8), 0);
	memcpy(&flags, c.reply + 8, 8);
	assert_int_equal(flags, 1);
	assert_int_equal(wire_set_state(&c, RUNNING_P2P), EINVAL);
	assert_int_equal(wire_set_state(&c, PRE_COPY), EINVAL);
	assert_int_equal(
		wire_feature(&c, get | VFIO_USER_FEATURE_MIG_DATA_SIZE, NULL, 0, 8), ENOTTY);
	wire_close(&c);
	wire_stop(&s);
	wire_stop(&less);
}

static void a_client_that_negotiates_it_gets_state_without_padding(void **state)
{
	(void)state;
	static const char version[] = "\0\0\2\0{\"capabilities\":{\"max_data_xfer_size\":1048576,"
				      "\"x-switchover\":{\"exact_reads\":true}}}";
	struct server s = wire_start("exact", "--state-size", "64K", NULL);
	struct client c = wire_connect_raw(&s);
	struct vfio_user_mig_data ask = {.argsz = 8 + CHUNK, .size = CHUNK}, back;

	assert_int_equal(wire_ask(&c, VFIO_USER_VERSION, version, sizeof(version)), 0);
	assert_int_equal(wire_set_state(&c, PRE_COPY), 0);
	assert_int_equal(wire_set_state(&c, STOP_COPY), 0);
	for (unsigned n = 0; n < 2; n++) {
		assert_int_equal(wire_ask(&c, VFIO_USER_MIG_DATA_READ, &ask, sizeof(ask)), 0);
		memcpy(&back, c.reply, sizeof(back));
		assert_int_equal(c.len, sizeof(back) + back.size);
		assert_int_equal(back.size > 65536, n == 0); /* all of it, then the end */
	}
	wire_close(&c);
	wire_stop(&s);
}

static void stream_all(struct client *from, struct client *to, uint32_t chunk)
{
	long n;

	while ((n = wire_read(from, chunk)) > 0)
		assert_int_equal(wire_write(to, from->reply + 8, (uint32_t)n), 0);
	assert_int_equal(n, 0);
}

static void a_device_migrates_between_two_processes_with_nothing_lost(void **state)
{
	(void)state;
	struct server a = wire_start("a", "--state-size", "5M", "--precopy-percent", "50", NULL);
	struct server b = wire_start("b", "--state-size", "5M", "--load-rate", "500", NULL);
	struct client source = wire_connect(&a, false), target = wire_connect(&b, true);
	char hash[2][32];

	for (uint64_t n = 1; n <= 500; n++)
		wire_doorbell(&source, n % 4, (n + 3) / 4);
	assert_int_equal(wire_set_state(&target, RESUMING), 0);
	assert_int_equal(wire_set_state(&source, PRE_COPY), 0);
	stream_all(&source, &target, CHUNK);
	wire_doorbell(&source, 0, 126);
	stream_all(&source, &target, 5000);
	assert_int_equal(wire_set_state(&source, STOP_COPY), 0);
	stream_all(&source, &target, 100000);
	assert_int_equal(wire_set_state(&target, RUNNING), 0);
	wire_doorbell(&target, 0, 127);
	wire_doorbell(&target, 1, 126);
	assert_int_equal(wire_state(&target), RUNNING);
	assert_int_equal(wire_counter(&b, "doorbells"), 2);
	assert_int_equal(wire_counter(&b, "doorbells_lost"), 0);
	assert_int_equal(wire_counter(&b, "doorbells_repeated"), 0);
	assert_int_equal(wire_counter(&a, "doorbells"), 501);
	assert_int_equal(wire_counter(&a, "bytes_saved"), wire_counter(&b, "bytes_loaded"));
	assert_int_equal(wire_counter(&b, "state_mismatches"), 0);
	wire_text(&a, "state_hash", hash[0], sizeof(hash[0]));
	wire_text(&b, "state_hash", hash[1], sizeof(hash[1]));
	assert_string_equal(hash[0], hash[1]);
	wire_close(&source);
	wire_close(&target);
	wire_stop(&a);
	wire_stop(&b);
}

static void a_read_that_waits_for_the_save_rate_is_complete(void **state)
{
	(void)state;
	struct server a = wire_start("a", "--state-size", "5M", "--save-rate", "200", NULL);
	struct server b = wire_start("b", "--state-size", "5M", NULL);
	struct client source = wire_connect(&a, false), target = wire_connect(&b, false);

	assert_int_equal(wire_set_state(&target, RESUMING), 0);
	assert_int_equal(wire_set_state(&source, STOP_COPY), 0);
	/* Not a divisor of a grant: the ready bytes end in the middle of a reply. */
	stream_all(&source, &target, 700001);
	assert_int_equal(wire_set_state(&target, RUNNING), 0);
	assert_int_equal(wire_counter(&b, "state_mismatches"), 0);
	wire_close(&source);
	wire_close(&target);
	wire_stop(&a);
	wire_stop(&b);
}

static void a_disconnect_keeps_the_devices_state(void **state)
{
	(void)state;
	struct server s = wire_start("gone", NULL);
	struct client c = wire_connect(&s, false);

	wire_doorbell(&c, 0, 1);
	assert_int_equal(wire_set_state(&c, STOP_COPY), 0);
	wire_close(&c);
	c = wire_connect(&s, false);
	assert_int_equal(wire_state(&c), STOP_COPY);
	assert_int_equal(wire_set_state(&c, RUNNING), 0);
	assert_int_equal(wire_get(&c, SIMVF_REG_DOORBELLS, 8), 1);
	wire_close(&c);
	wire_stop(&s);
}

static void a_hung_arc_leaves_the_control_socket_alive_and_answers_when_released(void **state)
{
	(void)state;
	struct server s = wire_start("hang", "--fault", "arc=RUNNING->RUNNING_P2P:hang,x1", NULL);
	struct client c = wire_connect(&s, false);
	struct vfio_user_mig_state body = {.device_state = RUNNING_P2P};
	struct vfio_user_feature f = {16, VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_MIG_STATE};
	uint8_t message[16];
	char name[32];

	memcpy(message, &f, 8);
	memcpy(message + 8, &body, 8);
	wire_send(&c, VFIO_USER_DEVICE_FEATURE, message, sizeof(message), false, NULL, 0);
	wire_text(&s, "state", name, sizeof(name));
	assert_string_equal(name, "RUNNING");
	wire_tell(&s, "{\"cmd\":\"release\"}");
	assert_int_equal(wire_receive(&c), 0);
	assert_int_equal(wire_state(&c), RUNNING_P2P);
	/* an arc whose client has disconnected: the next client may reset the device */
	assert_int_equal(wire_set_state(&c, RUNNING), 0);
	wire_tell(&s, "{\"cmd\":\"fault\",\"spec\":\"arc=RUNNING->RUNNING_P2P:hang\"}");
	wire_send(&c, VFIO_USER_DEVICE_FEATURE, message, sizeof(message), false, NULL, 0);
	wire_close(&c);
	c = wire_connect(&s, false);
	while (wire_set_state(&c, RUNNING_P2P) != EBUSY)
		; /* the first command is not received yet, or hangs and this one is refused */
	assert_int_equal(wire_ask(&c, VFIO_USER_RESET, NULL, 0), 0);
	wire_tell(&s, "{\"cmd\":\"clear-faults\"}");
	assert_int_equal(wire_set_state(&c, RUNNING_P2P), 0);
	wire_close(&c);
	wire_stop(&s);
}

static void await_hits(const struct server *s, json_int_t hits)
{
	while (wire_counter(s, "fault_hits") < hits)
		usleep(1000);
}

static void a_reset_inside_ends_an_arc_with_an_error_and_a_log_waits_for_its_release(void **state)
{
	(void)state;
	struct server s = wire_start("inside", "--fault", "arc=RUNNING->RUNNING_P2P:hang,x1",
		"--fault", "log=start:hang,x1", NULL);
	struct client c = wire_connect(&s, false);
	struct vfio_user_feature f = {16, VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_MIG_STATE};
	struct vfio_user_mig_state body = {.device_state = RUNNING_P2P};
	struct vfio_user_log_start start = {.page_size = 4096};
	uint8_t message[8 + sizeof(start)];

	memcpy(message, &f, 8);
	memcpy(message + 8, &body, 8);
	wire_send(&c, VFIO_USER_DEVICE_FEATURE, message, 16, false, NULL, 0);
	await_hits(&s, 1);
	/* The control socket stays open and silent: its end would wake the server, too. */
	int control = wire_socket(s.control);
	char reply[64];

	assert_int_equal(write(control, "{\"cmd\":\"reset\"}\n", 16), 16);
	assert_true(read(control, reply, sizeof(reply)) > 0);
	assert_int_equal(wire_receive(&c), EIO);
	close(control);
	assert_int_equal(wire_state(&c), RUNNING);
	assert_int_equal(wire_counter(&s, "resets"), 1);

	f.flags = VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_DMA_LOG_START;
	f.argsz = sizeof(message);
	memcpy(message, &f, 8);
	memcpy(message + 8, &start, sizeof(start));
	wire_send(&c, VFIO_USER_DEVICE_FEATURE, message, sizeof(message), false, NULL, 0);
	await_hits(&s, 2);
	uint16_t start_id = c.id;
	/* Registers go on, with replies that overtake; another command waits for its turn. */
	assert_int_equal(wire_get(&c, SIMVF_REG_DOORBELLS, 8), 0);
	f.flags = VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_MIG_STATE;
	f.argsz = 16;
	wire_send(&c, VFIO_USER_DEVICE_FEATURE, &f, sizeof(f), false, NULL, 0);
	uint16_t state_id = c.id;
	assert_int_equal(wire_get(&c, SIMVF_REG_DOORBELLS, 8), 0);
	wire_tell(&s, "{\"cmd\":\"release\"}");
	c.id = start_id;
	assert_int_equal(wire_receive(&c), 0);
	c.id = state_id;
	assert_int_equal(wire_receive(&c), 0);
	assert_int_equal(c.len, 16);
	wire_close(&c);
	wire_stop(&s);
}

static void faults_reach_the_wire(void **state)
{
	(void)state;
	struct server s =
		wire_start("fault", "--fault", "arc=*->STOP_COPY:fail=ENOSPC,x1", "--fault",
			"socket:close@doorbell=3", "--fault", "die@arc=RUNNING->RUNNING_P2P", NULL);
	struct client c = wire_connect(&s, false);
	json_t *reply;
	char nothing;
	int status;

	assert_int_equal(wire_set_state(&c, PRE_COPY), 0);
	assert_int_equal(wire_set_state(&c, STOP_COPY), ENOSPC);
	assert_int_equal(wire_set_state(&c, PRE_COPY), 0);
	for (uint64_t n = 1; n <= 3; n++)
		wire_doorbell(&c, 0, n);
	assert_int_equal(recv(c.fd, &nothing, 1, 0), 0);
	wire_close(&c);
	reply = wire_control(&s, "{\"cmd\":\"fault\",\"spec\":\"arc=sideways\"}");
	assert_non_null(json_object_get(reply, "error"));
	json_decref(reply);
	c = wire_connect(&s, false);
	assert_int_equal(wire_get(&c, SIMVF_REG_DOORBELLS, 8), 3);
	assert_int_equal(wire_set_state(&c, RUNNING), 0);
	wire_send(&c, VFIO_USER_RESET, NULL, 0, true, NULL, 0);
	struct vfio_user_feature f = {16, VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_MIG_STATE};
	uint32_t message[4] = {f.argsz, f.flags, STOP, 0};
	wire_send(&c, VFIO_USER_DEVICE_FEATURE, message, sizeof(message), false, NULL, 0);
	assert_int_equal(recv(c.fd, &nothing, 1, 0), 0);
	status = wire_wait(&s);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	unlink(s.socket); /* a killed server leaves its socket */
	unlink(s.control);
	wire_close(&c);
}

static void interrupts_reach_their_eventfds_until_they_are_taken_away(void **state)
{
	(void)state;
	struct server s = wire_start("irq", NULL);
	struct client c = wire_connect(&s, false);
	int events[2], pipes[2][2];
	struct vfio_user_irq_set set = {.argsz = sizeof(set),
		.flags = VFIO_USER_IRQ_DATA_EVENTFD | VFIO_USER_IRQ_ACTION_TRIGGER,
		.index = VFIO_USER_PCI_MSIX,
		.start = 1,
		.count = 2};
	uint64_t value;

	for (unsigned i = 0; i < 2; i++) { /* a pipe instead of an eventfd: it receives 8 bytes */
		assert_int_equal(pipe(pipes[i]), 0);
		events[i] = pipes[i][1];
	}
	wire_send(&c, VFIO_USER_SET_IRQS, &set, sizeof(set), false, events, 2);
	assert_int_equal(wire_receive(&c), 0);
	wire_send(&c, VFIO_USER_SET_IRQS, &set, sizeof(set), false, events, 1);
	assert_int_equal(wire_receive(&c), EINVAL);
	wire_set(&c, SIMVF_REG_IRQ_EVERY, 2, 4);
	wire_set(&c, SIMVF_REG_CONTROL, SIMVF_CONTROL_IRQ, 4);
	for (uint64_t n = 1; n <= 4; n++)
		for (unsigned vcpu = 0; vcpu < 3; vcpu++)
			wire_doorbell(&c, vcpu, n);
	assert_int_equal(wire_get(&c, SIMVF_REG_IRQS, 8), 4); /* no eventfd on vector 0 */
	for (unsigned i = 0; i < 2; i++)
		for (unsigned times = 0; times < 2; times++)
			assert_int_equal(read(pipes[i][0], &value, 8), 8);
	set = (struct vfio_user_irq_set){.argsz = sizeof(set),
		.flags = VFIO_USER_IRQ_DATA_NONE | VFIO_USER_IRQ_ACTION_TRIGGER,
		.index = VFIO_USER_PCI_MSIX};
	assert_int_equal(wire_ask(&c, VFIO_USER_SET_IRQS, &set, sizeof(set)), 0);
	for (unsigned i = 0; i < 2; i++) {
		close(pipes[i][1]);
		assert_int_equal(read(pipes[i][0], &value, 8), 0); /* the server closed it */
		close(pipes[i][0]);
	}
	set.start = 16;
	set.count = 1;
	assert_int_equal(wire_ask(&c, VFIO_USER_SET_IRQS, &set, sizeof(set)), EINVAL);
	set.start = UINT32_MAX;
	assert_int_equal(wire_ask(&c, VFIO_USER_SET_IRQS, &set, sizeof(set)), EINVAL);
	wire_close(&c);
	wire_stop(&s);
}

static void a_config_restore_is_answered_when_its_time_is_over(void **state)
{
	(void)state;
	struct server s = wire_start("config", "--config-load-ms", "70", NULL);
	struct client c = wire_connect(&s, false);
	uint16_t command = 6;
	uint64_t start;

	assert_int_equal(wire_set_state(&c, RESUMING), 0);
	start = swo_now_ns();
	assert_int_equal(wire_region_write(&c, VFIO_USER_PCI_CONFIG, 4, &command, 2), 0);
	assert_true(swo_now_ns() - start >= 70000000);
	wire_close(&c);
	wire_stop(&s);
}

static void the_report_is_written_at_the_end(void **state)
{
	(void)state;
	char path[96];
	struct server s;
	json_t *report;

	snprintf(path, sizeof(path), "%s/report.json", wire_dir);
	s = wire_start("report", "--report", path, "--name", "vf7", "--profile", "even", NULL);
	wire_stop(&s);
	report = json_load_file(path, 0, NULL);
	assert_non_null(report);
	assert_string_equal(json_string_value(json_object_get(report, "device")), "vf7");
	assert_string_equal(json_string_value(json_object_get(report, "profile")), "even");
	assert_true(json_is_true(
		json_object_get(json_object_get(report, "profile_values"), "guesses")));
	json_decref(report);
	unlink(path);
}

static void a_path_that_is_in_use_is_not_taken(void **state)
{
	(void)state;
	struct server s = wire_start("taken", NULL);
	pid_t pid = fork();
	int status;

	if (!pid) {
		close(2);
		execl(wire_program, wire_program, "--socket", s.socket, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	struct client c = wire_connect(&s, false);
	wire_close(&c);
	wire_stop(&s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_describes_a_pci_device),
		cmocka_unit_test(it_negotiates_first_and_only_once_and_closes_on_another_major),
		cmocka_unit_test(features_are_probed_got_and_set_as_they_are_offered),
		cmocka_unit_test(a_client_that_negotiates_it_gets_state_without_padding),
		cmocka_unit_test(a_device_migrates_between_two_processes_with_nothing_lost),
		cmocka_unit_test(a_read_that_waits_for_the_save_rate_is_complete),
		cmocka_unit_test(a_disconnect_keeps_the_devices_state),
		cmocka_unit_test(
			a_hung_arc_leaves_the_control_socket_alive_and_answers_when_released),
		cmocka_unit_test(
			a_reset_inside_ends_an_arc_with_an_error_and_a_log_waits_for_its_release),
		cmocka_unit_test(faults_reach_the_wire),
		cmocka_unit_test(interrupts_reach_their_eventfds_until_they_are_taken_away),
		cmocka_unit_test(a_config_restore_is_answered_when_its_time_is_over),
		cmocka_unit_test(the_report_is_written_at_the_end),
		cmocka_unit_test(a_path_that_is_in_use_is_not_taken),
	};

	if (!wire_begin(argc, argv))
		return 2;
	return wire_end(cmocka_run_group_tests(tests, NULL, NULL));
}
