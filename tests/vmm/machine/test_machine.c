/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_machine.c - one machine by its monitor: stop and cont, devices that are slow or
 * fail, parameters, what is refused when.
 */
#include "box.h"
#include "tests/support/cm.h"

#include "vmm/pci/internal.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

static void paused(struct vmm_machine_config *config)
{
	config->paused = true;
}

static void incoming(struct vmm_machine_config *config)
{
	config->incoming = true;
}

/* One machine, and a client of its monitor. */
static struct box box;
static struct talk talk;

static int open_with(void (*change)(struct vmm_machine_config *config))
{
	box_up(&box, change);
	talk_open(&talk, box.path, true);
	return 0;
}

static int open_running(void **state)
{
	(void)state;
	return open_with(NULL);
}

static int open_paused(void **state)
{
	(void)state;
	return open_with(paused);
}

static int close_machine(void **state)
{
	(void)state;
	talk_close(&talk);
	box_down(&box);
	return 0;
}

#define running_test(f) cmocka_unit_test_setup_teardown(f, open_running, close_machine)
#define paused_test(f)	cmocka_unit_test_setup_teardown(f, open_paused, close_machine)

static void a_launched_guest_finds_its_devices_and_rings_them(void **state)
{
	json_t *ret;

	(void)state;
	box_rings(&box);
	box_expect_status(&talk, "running", true);
	ret = talk_do(&talk, "{\"execute\": \"x-query-guest\"}");
	assert_int_equal(json_integer_value(json_object_get(ret, "devices")), BOX_DEVICES);
	assert_int_equal(json_integer_value(json_object_get(ret, "error")), 0);
	assert_true(json_integer_value(json_object_get(ret, "doorbells")) > 0);
	json_decref(ret);
}

static void a_device_that_the_host_wants_back_is_given_back(void **state)
{
	struct vmm_pci_function *fn = box.machine->devices[1].fn;
	uint64_t before, word;

	(void)state;
	box_rings(&box);
	assert_int_equal(eventfd_write(box.fake[1].host_irqs[1], 1), 0);

	json_t *event = talk_event(&talk, "DEVICE_DELETED");

	assert_string_equal(
		json_string_value(json_object_get(json_object_get(event, "data"), "device")),
		"vf1");
	json_decref(event);
	assert_true(__atomic_load_n(&box.fake[1].released, __ATOMIC_ACQUIRE));
	assert_int_equal(swo_device_health(box.machine->devices[1].dev), SWO_DEVICE_LOST);
	/* The guest reads ones from it, and goes on with the other one. */
	uint64_t bar = pci_bar_address(fn, 0);

	vmm_pci_mmio_read(box.machine->pci, bar, &word, sizeof(word));
	assert_true(word == UINT64_MAX);
	before = fake_pci_doorbells(&box.fake[1]);
	vmm_pci_mmio_write(box.machine->pci, bar + 0x1000, &word, sizeof(word));
	assert_int_equal(fake_pci_doorbells(&box.fake[1]), before);
	uint64_t other = fake_pci_doorbells(&box.fake[0]);

	while (fake_pci_doorbells(&box.fake[0]) < other + 5)
		swo_sleep_until(swo_now_ns() + 1000000);
	box_expect_status(&talk, "running", true);
	/* It does not come back, and its name is in the reason why this VM cannot be migrated. */
	json_decref(talk_do(&talk, "{\"execute\": \"stop\"}"));
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	assert_int_equal(swo_device_health(box.machine->devices[1].dev), SWO_DEVICE_LOST);
}

static void a_device_that_the_host_reports_as_failed_stops_the_vm(void **state)
{
	(void)state;
	box_rings(&box);
	assert_int_equal(eventfd_write(box.fake[0].host_irqs[0], 1), 0);
	json_decref(talk_event(&talk, "STOP"));
	box_expect_status(&talk, "internal-error", false);
	talk_refused(&talk, "{\"execute\": \"cont\"}", "GenericError", "failed or ended");
}

static void a_paused_machine_does_nothing_until_cont(void **state)
{
	(void)state;
	box_expect_status(&talk, "prelaunch", false);
	assert_int_equal(fake_pci_doorbells(&box.fake[0]), 0);
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	json_decref(talk_event(&talk, "RESUME"));
	box_expect_status(&talk, "running", true);
	box_rings(&box);
}

static void stop_stops_vcpus_and_devices_and_cont_brings_them_back(void **state)
{
	json_t *ret;

	(void)state;
	box_rings(&box);
	talk_refused(&talk, "{\"execute\": \"x-check-ram\"}", "GenericError", "stop it first");
	talk_refused(&talk, "{\"execute\": \"x-ram-hash\"}", "GenericError", "stop it first");
	json_decref(talk_do(&talk, "{\"execute\": \"stop\"}"));
	json_decref(talk_event(&talk, "STOP"));
	box_expect_status(&talk, "paused", false);
	assert_int_equal(fake_state(&box.fake[0].device), SWO_DEVICE_STOP);
	assert_int_equal(fake_state(&box.fake[1].device), SWO_DEVICE_STOP);
	ret = talk_do(&talk, "{\"execute\": \"x-check-ram\"}");
	assert_true(json_integer_value(json_object_get(ret, "pages")) > 0);
	assert_int_equal(json_integer_value(json_object_get(ret, "mismatches")), 0);
	json_decref(ret);
	ret = talk_do(&talk, "{\"execute\": \"x-ram-hash\"}");
	assert_int_equal(json_string_length(json_object_get(ret, "hash")), 16);
	json_decref(ret);
	/* Idempotent. */
	json_decref(talk_do(&talk, "{\"execute\": \"stop\"}"));
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	json_decref(talk_event(&talk, "RESUME"));
	assert_int_equal(fake_state(&box.fake[0].device), SWO_DEVICE_RUNNING);
	box_rings(&box);
}

static void the_monitor_answers_while_a_device_is_slow_to_stop(void **state)
{
	struct talk one, two;
	struct pollfd pfd = {.events = POLLIN};

	(void)state;
	box_up(&box, NULL);
	talk_open(&one, box.path, true);
	talk_open(&two, box.path, true);
	fake_script(&box.fake[1].device, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, FAKE_HANG, 1);
	talk_send(&one, "{\"execute\": \"stop\"}", 19);
	assert_true(fake_await_hang(&box.fake[1].device));
	/* Both its own queries and those of other clients, except another change. */
	box_expect_status(&two, "running", true);
	json_decref(talk_do(&two, "{\"execute\": \"x-query-devices\"}"));
	json_decref(talk_do(&two, "{\"execute\": \"query-migrate-parameters\"}"));
	json_decref(talk_do(&two, "{\"execute\": \"x-query-guest\"}"));
	pfd.fd = one.fd;
	assert_int_equal(poll(&pfd, 1, 0), 0);
	fake_release(&box.fake[1].device);
	json_decref(talk_reply(&one));
	box_expect_status(&two, "paused", false);
	talk_close(&one);
	talk_close(&two);
	box_down(&box);
}

static void a_device_that_fails_a_plain_stop_is_reported_and_the_vm_is_paused(void **state)
{
	(void)state;
	fake_script(&box.fake[0].device, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, FAKE_FAIL, 0);
	talk_refused(&talk, "{\"execute\": \"stop\"}", "GenericError", "vf0");
	box_expect_status(&talk, "paused", false);
	assert_int_equal(fake_state(&box.fake[1].device), SWO_DEVICE_STOP);
	fake_script(&box.fake[0].device, SWO_DEVICE_RUNNING_P2P, SWO_DEVICE_STOP, FAKE_PASS, 0);
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	box_rings(&box);
}

static void a_device_that_fails_the_switchovers_stop_leaves_the_vm_running(void **state)
{
	struct swo_error err;

	(void)state;
	fake_script(&box.fake[1].device, SWO_DEVICE_STOP, SWO_DEVICE_STOP_COPY, FAKE_FAIL, 0);
	assert_int_equal(machine_ops.stop(box.machine, &err), -1);
	assert_non_null(strstr(err.text, "vf1"));
	box_expect_status(&talk, "running", true);
	assert_int_equal(fake_state(&box.fake[0].device), SWO_DEVICE_RUNNING);
	assert_int_equal(fake_state(&box.fake[1].device), SWO_DEVICE_RUNNING);
	box_rings(&box);
}

static void a_device_that_fails_cont_leaves_the_vm_stopped(void **state)
{
	(void)state;
	json_decref(talk_do(&talk, "{\"execute\": \"stop\"}"));
	fake_script(&box.fake[1].device, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_FAIL, 0);
	talk_refused(&talk, "{\"execute\": \"cont\"}", "GenericError", "stays stopped");
	box_expect_status(&talk, "paused", false);
	fake_script(&box.fake[1].device, SWO_DEVICE_STOP, SWO_DEVICE_RUNNING_P2P, FAKE_PASS, 0);
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	box_rings(&box);
}

static void a_users_stop_just_before_the_engines_is_respected(void **state)
{
	struct swo_error err;

	(void)state;
	json_decref(talk_do(&talk, "{\"execute\": \"stop\"}"));
	assert_int_equal(machine_ops.stop(box.machine, &err), -1);
	assert_int_equal(err.code, SWO_E_STATE);
	/* Next the engine rolls the stop back. */
	assert_int_equal(machine_ops.start(box.machine, &err), 0);
	box_expect_status(&talk, "paused", false);
}

static void a_vcpu_that_cannot_go_on_ends_in_internal_error_for_good(void **state)
{
	(void)state;
	machine_vcpu_failed(box.machine, 0, "injected by a test");
	machine_vcpu_failed(box.machine, 0, "again");
	json_decref(talk_event(&talk, "STOP"));
	/* The reply follows the job, on the same worker. */
	talk_refused(&talk, "{\"execute\": \"cont\"}", "GenericError", "failed or ended");
	box_expect_status(&talk, "internal-error", false);
}

static void a_target_refuses_the_commands_of_a_source_and_cont_does_not_start_it(void **state)
{
	char text[256];

	(void)state;
	box_up(&box, incoming);
	talk_open(&talk, box.path, true);
	box_expect_status(&talk, "inmigrate", false);
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	box_expect_status(&talk, "inmigrate", false);
	box_uri_command(text, "migrate", &box);
	talk_refused(&talk, text, "GenericError", "waiting for an incoming migration");
	box_uri_command(text, "migrate-incoming", &box);
	json_decref(talk_do(&talk, text));
	talk_refused(&talk, text, "GenericError", "already");
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	box_expect_status(&talk, "inmigrate", false);
	talk_close(&talk);
	box_down(&box);
}

static void a_vm_without_incoming_refuses_a_migration(void **state)
{
	char text[256];

	(void)state;
	box_uri_command(text, "migrate-incoming", &box);
	talk_refused(&talk, text, "GenericError", "--incoming");
	talk_refused(&talk,
		"{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"carrier:pigeon\"}}",
		"GenericError", "carrier");
	talk_refused(&talk,
		"{\"execute\": \"x-query-timeline\", \"arguments\": {\"format\": \"xml\"}}",
		"GenericError", "'xml'");
	json_t *ret = talk_do(&talk, "{\"execute\": \"query-migrate\"}");

	assert_int_equal(json_object_size(ret), 0);
	json_decref(ret);
	json_decref(talk_do(&talk, "{\"execute\": \"migrate_cancel\"}"));
	talk_refused(&talk,
		"{\"execute\": \"x-migrate-resolve\", \"arguments\": {\"run-here\": true}}",
		"GenericError", "no migration");
	box_expect_status(&talk, "running", true);
}

static json_t *parameter(const char *name)
{
	json_t *ret = talk_do(&talk, "{\"execute\": \"query-migrate-parameters\"}");
	json_t *value = json_object_get(ret, name);

	assert_non_null(value);
	json_incref(value);
	json_decref(ret);
	return value;
}

static void expect_number(const char *name, json_int_t number)
{
	json_t *value = parameter(name);

	assert_int_equal(json_integer_value(value), number);
	json_decref(value);
}

static void expect_word(const char *name, const char *word)
{
	json_t *value = parameter(name);

	assert_string_equal(json_string_value(value), word);
	json_decref(value);
}

static void parameters_are_set_together_or_not_at_all(void **state)
{
	(void)state;
	json_decref(talk_do(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": 77, "
		"\"multifd-channels\": 3, \"x-stream\": \"late\", \"x-finalise\": \"ram\", "
		"\"x-transitions\": \"serial\", \"x-join\": \"depth\", \"x-commit-deadline-ms\": "
		"500, "
		"\"x-idle-deadline\": 700}}"));
	expect_number("downtime-limit", 77);
	expect_number("multifd-channels", 3);
	expect_number("x-commit-deadline-ms", 500);
	expect_number("x-idle-deadline-ms", 700);
	expect_word("x-stream", "late");
	expect_word("x-finalise", "ram");
	expect_word("x-transitions", "serial");
	expect_word("x-join", "depth");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": 1, "
		"\"multifd-channels\": 99}}",
		"GenericError", "channels");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": 1, "
		"\"x-stream\": \"ram\"}}",
		"GenericError", "stream");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": "
		"\"1\"}}",
		"GenericError", "expected: integer");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": "
		"-1}}",
		"GenericError", "downtime-limit");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"x-join\": \"never\"}}",
		"GenericError", "'never'");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"downtime-limit\": 1, "
		"\"x-nothing\": 1}}",
		"GenericError", "'x-nothing'");
	expect_number("downtime-limit", 77);
	/* The handlers follow: stop and cont still work. */
	json_decref(talk_do(&talk, "{\"execute\": \"stop\"}"));
	assert_int_equal(fake_state(&box.fake[1].device), SWO_DEVICE_STOP);
	json_decref(talk_do(&talk, "{\"execute\": \"cont\"}"));
	box_rings(&box);
}

static void convergence_is_set_by_qemus_names(void **state)
{
	(void)state;
	expect_number("cpu-throttle-initial", 20);
	expect_number("cpu-throttle-increment", 10);
	expect_number("max-cpu-throttle", 99);
	expect_number("x-timeout-ms", 0);
	expect_word("x-timeout-strategy", "cancel");
	json_decref(talk_do(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": "
		"{\"cpu-throttle-initial\": 30, \"cpu-throttle-increment\": 5, "
		"\"max-cpu-throttle\": 80, \"x-timeout\": 9000, \"x-stall-timeout-ms\": 4000, "
		"\"x-timeout-strategy\": \"force\"}}"));
	expect_number("cpu-throttle-initial", 30);
	expect_number("max-cpu-throttle", 80);
	expect_number("x-timeout-ms", 9000);
	expect_number("x-stall-timeout-ms", 4000);
	expect_word("x-timeout-strategy", "force");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": "
		"{\"max-cpu-throttle\": 29}}",
		"GenericError", "from cpu-throttle-initial (30) to 99");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-parameters\", \"arguments\": "
		"{\"cpu-throttle-increment\": 100}}",
		"GenericError", "cpu-throttle-increment");
	json_decref(talk_do(&talk,
		"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
		"[{\"capability\": \"auto-converge\", \"state\": true}]}}"));
	json_t *ret = talk_do(&talk, "{\"execute\": \"query-migrate-capabilities\"}"), *one;
	size_t i, found = 0;

	json_array_foreach (ret, i, one)
		if (!strcmp(json_string_value(json_object_get(one, "capability")), "auto-converge"))
			found += json_is_true(json_object_get(one, "state"));
	assert_int_equal(found, 1);
	json_decref(ret);
}

static void only_real_capabilities_are_offered(void **state)
{
	json_t *ret;

	(void)state;
	json_decref(talk_do(&talk,
		"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
		"[{\"capability\": \"events\", \"state\": true}, {\"capability\": \"multifd\", "
		"\"state\": false}]}}"));
	ret = talk_do(&talk, "{\"execute\": \"query-migrate-capabilities\"}");
	assert_int_equal(json_array_size(ret), 6);
	for (size_t i = 0; i < 6; i++) {
		json_t *entry = json_array_get(ret, i);

		assert_int_equal(json_is_true(json_object_get(entry, "state")),
			!strcmp(json_string_value(json_object_get(entry, "capability")), "events"));
	}
	json_decref(ret);
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
		"[{\"capability\": \"postcopy-ram\", \"state\": true}]}}",
		"GenericError", "postcopy-ram");
	talk_refused(&talk,
		"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
		"[1]}}",
		"GenericError", "capabilities[0]");
}

static void quit_wakes_a_waiter(void **state)
{
	struct pollfd pfd = {.events = POLLIN};

	(void)state;
	pfd.fd = vmm_machine_quit_fd(box.machine);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	json_decref(talk_do(&talk, "{\"execute\": \"quit\"}"));
	assert_int_equal(poll(&pfd, 1, 0), 1);
}

static void handlers_that_take_time_are_called_at_each_depth(void **state)
{
	(void)state;
	assert_int_equal(box.machine->config.handler_cost_ms, 0);
	box.machine->config.handler_cost_ms = 20;
	struct swo_error err;

	assert_int_equal(machine_handlers_add(box.machine, &err), 0);
	uint64_t start = swo_now_ns();

	json_decref(talk_do(&talk, "{\"execute\": \"stop\"}"));
	/* Depths 0 and 1, one after the other: the minimum. */
	assert_true(swo_now_ns() - start >= 40 * 1000000);
}

static void an_invalid_machine_is_refused_with_the_reason(void **state)
{
	struct fake_pci fake[2];
	struct vmm_device_config devices[2] = {
		{.id = "vf0", .slot = -1, .ops = fake_pci_ops(), .self = &fake[0]},
		{.id = "vf0", .slot = -1, .ops = fake_pci_ops(), .self = &fake[1]}};
	struct vmm_machine_config config = {.accel = VMM_ACCEL_NATIVE,
		.vcpus = 1,
		.ram_size = BOX_RAM,
		.devices = devices,
		.device_count = 2};
	struct vmm_machine *machine;
	struct swo_error err;

	(void)state;
	fake_pci_init(&fake[0], "a");
	fake_pci_init(&fake[1], "b");
	assert_int_equal(vmm_machine_create(&config, &machine, &err), -1);
	assert_non_null(strstr(err.text, "vf0"));
	assert_true(fake[0].device.destroyed && fake[1].device.destroyed);
	fake_pci_fini(&fake[0]);
	fake_pci_fini(&fake[1]);
	config.device_count = 0;
	config.vcpus = 65;
	assert_int_equal(vmm_machine_create(&config, &machine, &err), -1);
	assert_non_null(strstr(err.text, "vCPUs: 65"));
	config.vcpus = 1;
	config.ram_size = 4096;
	assert_int_equal(vmm_machine_create(&config, &machine, &err), -1);
	assert_non_null(strstr(err.text, "RAM"));
}

static void a_device_option_is_parsed_or_refused(void **state)
{
	static const char *const bad[] = {"", "vfio-pci,host=1", "vfio-user",
		"vfio-user,socket=", "vfio-user,socket=a,addr=20", "vfio-user,socket=a,addr=1.8",
		"vfio-user,socket=a,addr=x", "vfio-user,socket=a,addr=1x",
		"vfio-user,socket=a,what", "vfio-user,socket=a,colour=red",
		"vfio-user,socket=a,id=01234567890123456789012345678901",
		"vfio-user,socket=a,addr=-1", "vfio-user,socket=a,arc-deadline=9",
		"vfio-user,socket=a,finalise=soon", "vfio", "vfio,path=", "vfio,socket=a",
		"vfio,path=a,socket=b", "vfio-user,socket=a,path=b",
		"vfio-user,socket=a,migration-events=yes",
		"vfio-user,socket=a,quirks=", "vfio-user,socket=a,quirks=small-writes+odd",
		"vfio,path=a,quirks=small-writes", "vfio,fd=2", "vfio,fd=4,path=a", "vfio,fd=4x",
		"vfio,path=a,iommufd=", "vfio-user,socket=a,fd=4",
		"vfio-user,socket=a,vf-token-fd=4",
		"vfio,path=a,vf-token=", "vfio,path=a,vf-token=x,vf-token-fd=4",
		"vfio,path=a,vf-token-file=b,vf-token-fd=4"};
	struct vmm_device_config device;
	struct swo_error err;

	(void)state;
	assert_int_equal(
		vmm_device_parse("vfio-user,socket=/a/b,id=x,bus=rp0,addr=1f.7", &device, &err), 0);
	assert_string_equal(device.socket, "/a/b");
	assert_string_equal(device.id, "x");
	assert_string_equal(device.bus, "rp0");
	assert_int_equal(device.slot, 31);
	assert_int_equal(device.function, 7);
	assert_int_equal(vmm_device_parse("vfio-user,socket=s", &device, &err), 0);
	assert_int_equal(device.slot, -1);
	assert_false(device.finalise_own);
	assert_int_equal(vmm_device_parse("vfio-user,socket=s,arc-deadline=400,finalise=late",
				 &device, &err),
		0);
	assert_int_equal(device.arc_deadline_ms, 400);
	assert_true(device.finalise_own && device.finalise == SWO_WHEN_LATE);
	assert_false(device.migration_events);
	assert_int_equal(
		vmm_device_parse("vfio-user,socket=s,migration-events=on", &device, &err), 0);
	assert_true(device.migration_events);
	assert_int_equal(device.quirks, 0);
	assert_int_equal(vmm_device_parse("vfio-user,socket=s,quirks=discard-precopy+small-writes",
				 &device, &err),
		0);
	assert_int_equal(device.quirks, SWO_VFIO_USER_DISCARD_PRECOPY | SWO_VFIO_USER_SMALL_WRITES);
	assert_int_equal(
		vmm_device_parse("vfio,path=/dev/vfio/7:0000:01:00.2,id=k", &device, &err), 0);
	assert_string_equal(device.path, "/dev/vfio/7:0000:01:00.2");
	assert_string_equal(device.socket, "");
	assert_int_equal(vmm_device_parse("vfio,fd=7,iommufd=8,vf-token-fd=9", &device, &err), 0);
	assert_int_equal(device.fd, 7);
	assert_int_equal(device.iommufd, 8);
	assert_int_equal(device.token_fd, 9);
	assert_int_equal(vmm_device_parse("vfio,path=a,vf-token-file=/t", &device, &err), 0);
	assert_string_equal(device.token_file, "/t");
	/* A token that stands in what is refused is not repeated. */
	assert_int_equal(vmm_device_parse("vfio,path=a,vf-token=5ec4e7,what=1", &device, &err), -1);
	assert_null(strstr(err.text, "5ec4e7"));
	assert_non_null(strstr(err.text, "vfio,path=a,vf-token='"));
	assert_int_equal(
		vmm_device_parse("vfio,path=a:b vf_token=5ec4e7,what=1", &device, &err), -1);
	assert_null(strstr(err.text, "5ec4e7"));
	for (unsigned i = 0; i < SWO_ARRAY_SIZE(bad); i++) {
		assert_int_equal(vmm_device_parse(bad[i], &device, &err), -1);
		assert_int_equal(err.code, SWO_E_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		running_test(a_launched_guest_finds_its_devices_and_rings_them),
		running_test(a_device_that_the_host_wants_back_is_given_back),
		running_test(a_device_that_the_host_reports_as_failed_stops_the_vm),
		paused_test(a_paused_machine_does_nothing_until_cont),
		running_test(stop_stops_vcpus_and_devices_and_cont_brings_them_back),
		cmocka_unit_test(the_monitor_answers_while_a_device_is_slow_to_stop),
		running_test(a_device_that_fails_a_plain_stop_is_reported_and_the_vm_is_paused),
		running_test(a_device_that_fails_the_switchovers_stop_leaves_the_vm_running),
		running_test(a_device_that_fails_cont_leaves_the_vm_stopped),
		running_test(a_users_stop_just_before_the_engines_is_respected),
		running_test(a_vcpu_that_cannot_go_on_ends_in_internal_error_for_good),
		cmocka_unit_test(
			a_target_refuses_the_commands_of_a_source_and_cont_does_not_start_it),
		running_test(a_vm_without_incoming_refuses_a_migration),
		running_test(parameters_are_set_together_or_not_at_all),
		running_test(only_real_capabilities_are_offered),
		running_test(convergence_is_set_by_qemus_names),
		running_test(quit_wakes_a_waiter),
		running_test(handlers_that_take_time_are_called_at_each_depth),
		cmocka_unit_test(an_invalid_machine_is_refused_with_the_reason),
		cmocka_unit_test(a_device_option_is_parsed_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
