/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_vm.c - see fake_vm.h.
 */
#include "fake_vm.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RAM_SIZE (6u << 20)

/* No vCPU may run when a device is set to quiesce. */
static void check_quiet(struct fake_device *d, enum swo_device_state to)
{
	struct fake_vm *vm = d->opaque;

	if (to == SWO_DEVICE_STOP_COPY && d->state != to && fake_vm_runs(vm))
		atomic_fetch_add(&vm->offences, 1);
}

/* The "vCPU" and its log */

static void *fake_vcpu(void *opaque)
{
	struct fake_vm *vm = opaque;
	uint8_t *ram = swo_ram_region(vm->vm.ram, 0)->host;
	uint64_t random = 88172645463325252u;
	unsigned turn = 0;

	for (;;) {
		pthread_mutex_lock(&vm->mutex);
		if (vm->quit) {
			pthread_mutex_unlock(&vm->mutex);
			return NULL;
		}
		const bool held = turn++ % 100 < atomic_load(&vm->throttle);

		for (int i = 0; vm->running && !held && i < 4; i++) {
			random ^= random << 13, random ^= random >> 7, random ^= random << 17;
			uint64_t page = random % (RAM_SIZE / SWO_PAGE_SIZE);

			vm->counter++;
			memcpy(ram + page * SWO_PAGE_SIZE + random % 4000, &vm->counter, 8);
			vm->written[page / 64] |= UINT64_C(1) << (page % 64);
		}
		pthread_mutex_unlock(&vm->mutex);
		swo_sleep_until(swo_now_ns() + 200000);
	}
}

static int log_start(void *self, struct swo_error *err)
{
	struct fake_vm *vm = self;

	(void)err;
	atomic_fetch_add(&vm->log_starts, 1);
	pthread_mutex_lock(&vm->mutex);
	memset(vm->written, 0, RAM_SIZE / SWO_PAGE_SIZE / 8);
	pthread_mutex_unlock(&vm->mutex);
	return 0;
}

static int log_collect(void *self, struct swo_ram *ram, struct swo_error *err)
{
	struct fake_vm *vm = self;

	(void)err;
	pthread_mutex_lock(&vm->mutex);
	swo_ram_mark_bitmap(ram, 0, vm->written, RAM_SIZE / SWO_PAGE_SIZE);
	memset(vm->written, 0, RAM_SIZE / SWO_PAGE_SIZE / 8);
	pthread_mutex_unlock(&vm->mutex);
	return 0;
}

static void log_stop(void *self)
{
	(void)self;
}

void fake_vm_run(struct fake_vm *vm, bool running)
{
	pthread_mutex_lock(&vm->mutex);
	vm->running = running;
	pthread_mutex_unlock(&vm->mutex);
}

bool fake_vm_runs(struct fake_vm *vm)
{
	pthread_mutex_lock(&vm->mutex);
	bool runs = vm->running;
	pthread_mutex_unlock(&vm->mutex);
	return runs;
}

/* The callbacks of the engine */

static int layout(void *opaque, struct swo_buf *out, struct swo_error *err)
{
	struct fake_vm *vm = opaque;

	return swo_buf_append(out, vm->layout, strlen(vm->layout), err);
}

static int stop(void *opaque, struct swo_error *err)
{
	struct fake_vm *vm = opaque;

	if (vm->fail_stop)
		return swo_error_set(err, SWO_E_IO, EIO, "the vCPUs do not stop");
	if (vm->on_stop)
		vm->on_stop(vm);
	if (swo_runstate_get(vm->vm.runstate) != SWO_RUN_STATE_RUNNING)
		return swo_error_set(err, SWO_E_STATE, 0, "a user has stopped it");
	fake_vm_run(vm, false);
	if (swo_runstate_change(
		    vm->vm.runstate, SWO_RUN_STATE_FINISH_MIGRATE, SWO_ON_ERROR_ROLLBACK, err)) {
		fake_vm_run(vm, true);
		return -1;
	}
	return 0;
}

static int start(void *opaque, struct swo_error *err)
{
	struct fake_vm *vm = opaque;

	if (vm->leaves)
		return 0;

	void (*on_start)(struct fake_vm *) = vm->on_start;

	if (on_start)
		on_start(vm);
	int rc = swo_runstate_change(
		vm->vm.runstate, SWO_RUN_STATE_RUNNING, SWO_ON_ERROR_CONTINUE, err);

	atomic_fetch_add(&vm->starts, 1);
	fake_vm_run(vm, true);
	if (!rc && vm->fail_start)
		return swo_error_set(err, SWO_E_IO, EIO, "it starts, but limps");
	return rc;
}

static void set_run_state(void *opaque, enum swo_run_state state)
{
	struct fake_vm *vm = opaque;

	swo_runstate_change(vm->vm.runstate, state, SWO_ON_ERROR_CONTINUE, NULL);
}

static int machine_save(void *opaque, struct swo_buf *out, struct swo_error *err)
{
	struct fake_vm *vm = opaque;

	if (vm->on_save)
		vm->on_save(vm);
	if (vm->fail_machine_save)
		return swo_error_set(err, SWO_E_IO, EIO, "the vCPUs' state");
	if (swo_buf_append(out, &vm->counter, sizeof(vm->counter), err))
		return -1;
	for (size_t i = 0; i < vm->padding; i += sizeof(vm->counter))
		if (swo_buf_append(out, &vm->counter, sizeof(vm->counter), err))
			return -1;
	return 0;
}

static int machine_load(void *opaque, const void *data, size_t len, struct swo_error *err)
{
	struct fake_vm *vm = opaque;

	if (vm->on_load)
		vm->on_load(vm);
	if (vm->fail_machine_load || len != sizeof(vm->counter))
		return swo_error_set(err, SWO_E_CORRUPT, 0, "the vCPUs' state does not fit");
	memcpy(&vm->counter, data, len);
	return 0;
}

static int config_save(void *opaque, unsigned index, struct swo_buf *out, struct swo_error *err)
{
	struct fake_vm *vm = opaque;

	return swo_buf_append(out, &vm->config[index], 1, err);
}

static int config_load(
	void *opaque, unsigned index, const void *data, size_t len, struct swo_error *err)
{
	struct fake_vm *vm = opaque;

	if (vm->fail_config_load || len != 1)
		return swo_error_set(err, SWO_E_CORRUPT, 0, "device vf%u: its config", index);
	if (vm->devices[index].state != SWO_DEVICE_RESUMING)
		atomic_fetch_add(&vm->offences, 1);
	vm->config_seen[index] = *(const uint8_t *)data;
	return 0;
}

static int config_renew(void *opaque, unsigned index, struct swo_error *err)
{
	struct fake_vm *vm = opaque;
	const struct fake_device *d = &vm->devices[index];

	if (vm->fail_config_renew)
		return swo_error_set(err, SWO_E_DEVICE, 0, "device vf%u: its config again", index);
	if (d->state != SWO_DEVICE_RESUMING || (!vm->any_length && d->loaded_len < d->size))
		atomic_fetch_add(&vm->offences, 1);
	vm->renewed[index]++;
	return 0;
}

static int ram_reach(void *opaque, bool reach, struct swo_error *err)
{
	struct fake_vm *vm = opaque;

	/* Neither under a guest that runs, nor twice. */
	if (fake_vm_runs(vm) || reach != vm->out_of_reach)
		atomic_fetch_add(&vm->offences, 1);
	vm->out_of_reach = !reach;
	if (reach && vm->fail_reach)
		return swo_error_set(err, SWO_E_DEVICE, EIO, "the devices do not reach RAM");
	return 0;
}

static int throttle(void *opaque, unsigned percent, struct swo_error *err)
{
	struct fake_vm *vm = opaque;
	const unsigned calls = atomic_fetch_add(&vm->throttle_calls, 1);

	if (calls < FAKE_THROTTLES)
		vm->throttles[calls] = percent;
	atomic_store(&vm->throttle, percent);
	return vm->fail_throttle ? swo_error_set(err, SWO_E_IO, EIO, "the vCPUs do not slow down")
				 : 0;
}

static const struct swo_vm_ops vm_ops = {
	.layout = layout,
	.stop = stop,
	.start = start,
	.set_state = set_run_state,
	.machine_save = machine_save,
	.machine_load = machine_load,
	.config_save = config_save,
	.config_load = config_load,
	.config_renew = config_renew,
	.ram_reach = ram_reach,
	.throttle = throttle,
};

/* Life */

uint64_t fake_vm_flags = FAKE_FLAGS_ALL;

uint64_t fake_arc_deadlines_ms[FAKE_DEVICES_MAX];

static void add_device(struct fake_vm *vm, unsigned i, size_t size)
{
	struct fake_device *d = &vm->devices[i];
	const struct swo_device_params params = {.size = sizeof(struct swo_device_params),
		.arc_deadline_ms = fake_arc_deadlines_ms[i] ? fake_arc_deadlines_ms[i] : 2000};
	char name[16];

	snprintf(name, sizeof(name), "vf%u", i);
	fake_device_init(d, name, NULL);
	assert_true(fake_device_give_state(d, size, (uint8_t)(17 * i + 1)));
	d->flags = fake_vm_flags;
	d->opaque = vm;
	d->inside_arc = check_quiet;
	assert_int_equal(swo_device_create(name, &fake_device_ops, d, &params, &d->dev, NULL), 0);
	assert_int_equal(swo_device_follow(d->dev, vm->vm.runstate, 1, vm->vm.transitions,
				 SWO_JOIN_PASS, NULL),
		0);
	vm->table[i] = d->dev;
	vm->config[i] = (uint8_t)(100 + i);
}

void fake_vm_open(struct fake_vm *vm, unsigned devices, bool running, size_t device_size,
	enum swo_transitions transitions)
{
	memset(vm, 0, sizeof(*vm));
	pthread_mutex_init(&vm->mutex, NULL);
	strcpy(vm->layout, "fake");
	vm->written = calloc(RAM_SIZE / SWO_PAGE_SIZE / 8, 1);
	assert_non_null(vm->written);
	vm->vm = (struct swo_vm){.ops = &vm_ops,
		.opaque = vm,
		.runstate =
			swo_runstate_new(running ? SWO_RUN_STATE_RUNNING : SWO_RUN_STATE_INMIGRATE),
		.ram = swo_ram_new(),
		.cpu_dirty = &vm->dirty,
		.devices = vm->table,
		.device_count = devices,
		.transitions = transitions,
		.autostart = true};
	vm->dirty = (struct swo_dirty_source){.name = "fake",
		.self = vm,
		.start = log_start,
		.collect = log_collect,
		.stop = log_stop};
	assert_int_equal(swo_ram_add(vm->vm.ram, "ram", 0, RAM_SIZE, -1, NULL), 0);
	for (unsigned i = 0; i < devices; i++)
		add_device(vm, i, device_size);
	vm->running = running;
	assert_int_equal(pthread_create(&vm->writer, NULL, fake_vcpu, vm), 0);
}

void fake_vm_close(struct fake_vm *vm)
{
	swo_migration_free(vm->migration);
	pthread_mutex_lock(&vm->mutex);
	vm->quit = true;
	pthread_mutex_unlock(&vm->mutex);
	pthread_join(vm->writer, NULL);
	for (unsigned i = 0; i < vm->vm.device_count; i++) {
		struct fake_device *d = &vm->devices[i];

		fake_release(d);
		/* One that hung is not waited for as long below, and its memory is to be used again. */
		assert_true(swo_worker_idle_wait(
			swo_device_worker(d->dev), swo_deadline_ms(FAKE_GUARD_MS)));
		swo_device_unfollow(d->dev);
		swo_device_destroy(d->dev);
		assert_true(d->destroyed);
		assert_int_equal(atomic_load(&d->offences), 0);
		fake_device_fini(d);
	}
	swo_runstate_free(vm->vm.runstate);
	swo_ram_free(vm->vm.ram);
	free(vm->written);
	pthread_mutex_destroy(&vm->mutex);
	assert_int_equal(atomic_load(&vm->offences), 0);
}

const char *fake_uri(void)
{
	static char uri[128], dir[64];
	static int n;

	if (!dir[0]) {
		strcpy(dir, "/tmp/swo-test-XXXXXX");
		assert_non_null(mkdtemp(dir));
	}
	snprintf(uri, sizeof(uri), "unix:%s/%d", dir, n++);
	return uri;
}

struct swo_migration_params fake_params(void)
{
	struct swo_migration_params params;

	swo_migration_params_init(&params);
	params.downtime_limit_ms = 60000;
	params.commit_deadline_ms = 5000;
	return params;
}

void fake_migrate(
	struct fake_vm *source, struct fake_vm *target, const struct swo_migration_params *params)
{
	const struct swo_migration_params defaults = fake_params();
	const char *uri = fake_uri();
	struct swo_error err = {0};

	if (swo_migration_receive(&target->vm, uri, params ? params : &defaults, NULL, NULL,
		    &target->migration, &err) ||
		swo_migration_send(&source->vm, uri, params ? params : &defaults, NULL, NULL,
			&source->migration, &err))
		fail_msg("%s", err.text);
}

struct swo_migration_info fake_end(struct fake_vm *vm)
{
	struct swo_migration_info info;

	if (!swo_migration_wait(vm->migration, swo_deadline_ms(FAKE_GUARD_MS)))
		fail_msg("the migration did not end");
	swo_migration_info(vm->migration, &info);
	return info;
}

unsigned fake_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}
