/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bytes_state.c - device state from memory to memory: by the engine, with devices that only copy
 * memory, and by plain sockets with a busy thread at each end.
 */
#include "bytes.h"
#include "channel/conn.h"
#include "switchover/migration.h"
#include "testbed/fake_device.h"
#include "testbed/pair/pair.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUARD_MS    60000
#define CHUNK	    (1u << 20)
#define PLAIN	    (256u << 10) /* bytes per write to a plain socket: the fastest size */
#define DEVICES_MAX 16
#define RAM_SIZE    (2u << 20)

/* Wall clock and CPU time */

struct watch {
	uint64_t start_ns;
	double cpu;
};

static double cpu_seconds(void)
{
	struct rusage all;

	getrusage(RUSAGE_SELF, &all);
	return (double)(all.ru_utime.tv_sec + all.ru_stime.tv_sec) +
	       (double)(all.ru_utime.tv_usec + all.ru_stime.tv_usec) / 1e6;
}

static struct watch watch_start(void)
{
	return (struct watch){swo_now_ns(), cpu_seconds()};
}

static struct bytes_speed watch_stop(const struct watch *watch, uint64_t bytes)
{
	return (struct bytes_speed){
		(double)bytes / ((double)(swo_now_ns() - watch->start_ns) / 1e9),
		cpu_seconds() - watch->cpu};
}

/* A VM that has only devices, and devices that are only memory */

struct vm {
	struct swo_vm vm;
	struct fake_device devices[DEVICES_MAX];
	struct swo_device *table[DEVICES_MAX];
	struct swo_migration *migration;
};

static int nothing_out(void *vm, struct swo_buf *out, struct swo_error *err)
{
	(void)vm;
	return swo_buf_append(out, "-", 1, err);
}

static int nothing_in(void *vm, const void *data, size_t len, struct swo_error *err)
{
	(void)vm, (void)data, (void)len, (void)err;
	return 0;
}

static int config_out(void *vm, unsigned index, struct swo_buf *out, struct swo_error *err)
{
	(void)index;
	return nothing_out(vm, out, err);
}

static int config_in(void *vm, unsigned index, const void *data, size_t len, struct swo_error *err)
{
	(void)index;
	return nothing_in(vm, data, len, err);
}

static int stop(void *opaque, struct swo_error *err)
{
	return swo_runstate_change(((struct vm *)opaque)->vm.runstate, SWO_RUN_STATE_FINISH_MIGRATE,
		SWO_ON_ERROR_ROLLBACK, err);
}

static int start(void *opaque, struct swo_error *err)
{
	return swo_runstate_change(((struct vm *)opaque)->vm.runstate, SWO_RUN_STATE_RUNNING,
		SWO_ON_ERROR_CONTINUE, err);
}

static void set_run_state(void *opaque, enum swo_run_state state)
{
	swo_runstate_change(((struct vm *)opaque)->vm.runstate, state, SWO_ON_ERROR_CONTINUE, NULL);
}

/* No vCPU writes memory. */
static int no_writes(void *self, struct swo_error *err)
{
	(void)self, (void)err;
	return 0;
}

static int no_dirty_pages(void *self, struct swo_ram *ram, struct swo_error *err)
{
	(void)ram;
	return no_writes(self, err);
}

static void no_more_writes(void *self)
{
	(void)self;
}

static struct swo_dirty_source idle_vcpus = {
	.name = "none", .start = no_writes, .collect = no_dirty_pages, .stop = no_more_writes};

static const struct swo_vm_ops vm_ops = {
	.layout = nothing_out,
	.stop = stop,
	.start = start,
	.set_state = set_run_state,
	.machine_save = nothing_out,
	.machine_load = nothing_in,
	.config_save = config_out,
	.config_load = config_in,
};

/* Like a device of the kernel: no read-ahead. */
static const struct swo_device_ops *device_ops(void)
{
	static struct swo_device_ops ops;

	ops = fake_device_ops;
	ops.data_ask = NULL;
	return &ops;
}

static int add_device(struct vm *vm, unsigned i, size_t size, struct swo_error *err)
{
	const struct swo_device_params params = {.size = sizeof(struct swo_device_params)};
	struct fake_device *d = &vm->devices[i];
	char name[16];

	snprintf(name, sizeof(name), "vf%u", i);
	fake_device_init(d, name, NULL);
	d->flags = SWO_MIG_STOP_COPY;
	d->chunk = CHUNK;
	if (!fake_device_give_state(d, size, (uint8_t)(2 * i + 3)))
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "state of %zu bytes", size);
	/* Mapped before, and compared after the measured time. */
	memset(d->loaded, 0xee, size);
	d->expected = NULL;
	if (swo_device_create(name, device_ops(), d, &params, &d->dev, err))
		return -1;
	vm->table[i] = d->dev;
	vm->vm.device_count = i + 1;
	return swo_device_follow(
		d->dev, vm->vm.runstate, 1, SWO_TRANSITIONS_PARALLEL, SWO_JOIN_PASS, err);
}

static int open_vm(
	struct vm *vm, const struct bytes_setting *s, bool running, struct swo_error *err)
{
	int rc = 0;

	vm->vm = (struct swo_vm){.ops = &vm_ops,
		.opaque = vm,
		.runstate =
			swo_runstate_new(running ? SWO_RUN_STATE_RUNNING : SWO_RUN_STATE_INMIGRATE),
		.ram = swo_ram_new(),
		.cpu_dirty = &idle_vcpus,
		.devices = vm->table,
		.transitions = SWO_TRANSITIONS_PARALLEL,
		.autostart = true};
	if (!vm->vm.runstate || !vm->vm.ram)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a VM");
	rc = swo_ram_add(vm->vm.ram, "ram", 0, RAM_SIZE, -1, err);
	for (unsigned i = 0; i < s->devices && !rc; i++)
		rc = add_device(vm, i, s->state / s->devices, err);
	return rc;
}

static void close_vm(struct vm *vm)
{
	swo_migration_free(vm->migration);
	for (unsigned i = 0; i < DEVICES_MAX; i++) {
		struct fake_device *d = &vm->devices[i];

		if (d->dev) {
			swo_device_unfollow(d->dev);
			swo_device_destroy(d->dev);
		}
		if (d->group)
			fake_device_fini(d);
	}
	swo_runstate_free(vm->vm.runstate);
	swo_ram_free(vm->vm.ram);
}

static int end_of(struct vm *vm, struct swo_error *err)
{
	struct swo_migration_info info;

	if (!swo_migration_wait(vm->migration, swo_deadline_ms(GUARD_MS)))
		return swo_error_set(
			err, SWO_E_TIMEOUT, 0, "timed out waiting for the end of the migration");
	swo_migration_info(vm->migration, &info);
	if (info.status == SWO_MIGRATION_COMPLETED)
		return 0;
	*err = info.error;
	return -1;
}

static int migrate(const struct bytes_setting *s, struct vm *source, struct vm *target,
	struct bytes_speed *speed, struct swo_error *err)
{
	struct swo_migration_params params;
	char uri[160];
	int port = 0;

	swo_migration_params_init(&params);
	params.downtime_limit_ms = GUARD_MS;
	params.channels = s->channels;
	/* They do not write to each other. */
	params.allow_no_p2p = true;
	if (s->tcp && (port = pair_free_port(err)) < 0)
		return -1;
	snprintf(uri, sizeof(uri), "unix:%s/state", s->dir);
	if (s->tcp)
		snprintf(uri, sizeof(uri), "tcp:127.0.0.1:%d", port);
	if (swo_migration_receive(&target->vm, uri, &params, NULL, NULL, &target->migration, err))
		return -1;
	const struct watch watch = watch_start();

	if (swo_migration_send(&source->vm, uri, &params, NULL, NULL, &source->migration, err) ||
		end_of(source, err) || end_of(target, err))
		return -1;
	*speed = watch_stop(&watch, s->state);
	for (unsigned i = 0; i < s->devices; i++)
		if (memcmp(source->devices[i].saved, target->devices[i].loaded,
			    source->devices[i].size) ||
			atomic_load(&source->devices[i].offences) ||
			atomic_load(&target->devices[i].offences))
			return swo_error_set(err, SWO_E_CORRUPT, 0,
				"device %u: its state differs after the migration", i);
	return 0;
}

int bytes_state_engine(
	const struct bytes_setting *s, struct bytes_speed *speed, struct swo_error *err)
{
	static struct vm source, target;

	memset(&source, 0, sizeof(source));
	memset(&target, 0, sizeof(target));
	int rc = open_vm(&source, s, true, err) || open_vm(&target, s, false, err)
			 ? -1
			 : migrate(s, &source, &target, speed, err);
	close_vm(&source);
	close_vm(&target);
	return rc;
}

/* Plain sockets */

struct stream {
	struct channel_conn *out, *in;
	uint8_t *from, *to;
	size_t size;
	struct swo_error error[2];
	int rc[2];
};

static void *pump(struct stream *stream, bool sending)
{
	for (size_t at = 0; at < stream->size && !stream->rc[sending];) {
		const size_t n = stream->size - at < PLAIN ? stream->size - at : PLAIN;
		struct iovec iov = {
			.iov_base = (sending ? stream->from : stream->to) + at, .iov_len = n};

		stream->rc[sending] = sending ? channel_conn_send(stream->out, &iov, 1, GUARD_MS,
							&stream->error[1])
					      : channel_conn_recv(stream->in, &iov, 1, GUARD_MS,
							&stream->error[0]);
		at += n;
	}
	return NULL;
}

static void *pump_out(void *opaque)
{
	return pump(opaque, true);
}

static void *pump_in(void *opaque)
{
	return pump(opaque, false);
}

static int connect_stream(
	const struct bytes_setting *s, struct stream *stream, struct swo_error *err)
{
	struct channel_listener *listener;
	char uri[160];
	int port = 0;

	if (s->tcp && (port = pair_free_port(err)) < 0)
		return -1;
	snprintf(uri, sizeof(uri), "unix:%s/plain", s->dir);
	if (s->tcp)
		snprintf(uri, sizeof(uri), "tcp:127.0.0.1:%d", port);
	if (channel_listener_open(uri, NULL, NULL, &listener, err))
		return -1;
	const swo_deadline deadline = swo_deadline_ms(GUARD_MS);
	int rc = channel_conn_open(uri, NULL, deadline, &stream->out, err) ||
				 channel_listener_accept(listener, deadline, &stream->in, err)
			 ? -1
			 : 0;
	channel_listener_close(listener);
	return rc;
}

/* The settings of channel_tune for another host, with the system's congestion control. */
static void untune(int fd)
{
	char algorithm[32] = "";
	int size = 2 << 20;
	FILE *in = fopen("/proc/sys/net/ipv4/tcp_congestion_control", "re");

	if (in && fscanf(in, "%31s", algorithm) == 1)
		(void)setsockopt(
			fd, IPPROTO_TCP, TCP_CONGESTION, algorithm, (socklen_t)strlen(algorithm));
	if (in)
		fclose(in);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static int run_streams(const struct bytes_setting *s, struct stream *streams,
	struct bytes_speed *speed, struct swo_error *err)
{
	pthread_t threads[2 * DEVICES_MAX];
	unsigned started = 0;
	int rc = 0;
	const struct watch watch = watch_start();

	for (; started < 2 * s->channels && !rc; started += !rc)
		rc = swo_thread_start(&threads[started], "plain", started % 2 ? pump_in : pump_out,
			&streams[started / 2], err);
	if (rc)
		for (unsigned i = 0; i < s->channels; i++) {
			channel_conn_shutdown(streams[i].out);
			channel_conn_shutdown(streams[i].in);
		}
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	*speed = watch_stop(&watch, s->state);
	for (unsigned i = 0; i < s->channels && !rc; i++)
		for (int side = 0; side < 2 && !rc; side++)
			if (streams[i].rc[side]) {
				*err = streams[i].error[side];
				rc = -1;
			}
	return rc;
}

int bytes_state_plain(
	const struct bytes_setting *s, bool tuned, struct bytes_speed *speed, struct swo_error *err)
{
	static struct stream streams[DEVICES_MAX];
	int rc = 0;

	memset(streams, 0, sizeof(streams));
	for (unsigned i = 0; i < s->channels && !rc; i++) {
		struct stream *stream = &streams[i];

		stream->size = s->state / s->channels;
		stream->from = malloc(stream->size);
		stream->to = malloc(stream->size);
		if (!stream->from || !stream->to) {
			rc = swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "a plain stream");
			break;
		}
		memset(stream->from, (int)i + 1, stream->size);
		/*
		 * Fill with a value other than zero: zero pages would be allocated at the first
		 * touch only.
		 */
		memset(stream->to, 0xee, stream->size);
		rc = connect_stream(s, stream, err);
		if (!rc && !tuned) {
			untune(channel_conn_fd(stream->out));
			untune(channel_conn_fd(stream->in));
		}
	}
	if (!rc)
		rc = run_streams(s, streams, speed, err);
	for (unsigned i = 0; i < s->channels; i++) {
		channel_conn_close(streams[i].out);
		channel_conn_close(streams[i].in);
		free(streams[i].from);
		free(streams[i].to);
	}
	return rc;
}
