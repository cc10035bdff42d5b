/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * machine.c - putting a machine together, what is done with it by hand (stop, cont, quit), a vCPU
 * that cannot go on, and taking it apart.
 */
#include "internal.h"

#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MIB	    (UINT64_C(1) << 20)
#define RAM_MIN	    (8 * MIB)
#define RAM_MAX	    (UINT64_C(1) << 40)
#define TEARDOWN_MS 10000

static int check(const struct vmm_machine_config *config, struct swo_error *err)
{
	if (!config->vcpus || config->vcpus > VMM_VCPUS_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"invalid number of vCPUs: %u, expected 1 to %d", config->vcpus,
			VMM_VCPUS_MAX);
	if (config->ram_size % MIB || config->ram_size < RAM_MIN || config->ram_size > RAM_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"invalid RAM size: %llu bytes, expected a multiple of 1 MiB from %llu MiB to %llu MiB",
			(unsigned long long)config->ram_size, (unsigned long long)(RAM_MIN / MIB),
			(unsigned long long)(RAM_MAX / MIB));
	if (config->device_count > VMM_DEVICES_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0, "too many devices: %u, at most %d",
			config->device_count, VMM_DEVICES_MAX);
	return 0;
}

static int make_ram(struct vmm_machine *m, struct swo_error *err)
{
	uint64_t low = m->config.ram_size < VMM_RAM_LOW_MAX ? m->config.ram_size : VMM_RAM_LOW_MAX;

	m->ram = swo_ram_new();
	if (!m->ram)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "RAM");
	if (swo_ram_set_dump(m->ram, !m->config.no_dump, err) ||
		swo_ram_add(m->ram, "ram", 0, low, -1, err))
		return -1;
	if (m->config.ram_size > low &&
		swo_ram_add(m->ram, "ram-high", VMM_RAM_HIGH, m->config.ram_size - low, -1, err))
		return -1;
	/* RAM that a target is handed by descriptor takes the place of this. */
	return m->config.prealloc && !(m->config.incoming && m->config.handover == SWO_HANDOVER_FD)
		       ? swo_ram_populate(m->ram, err)
		       : 0;
}

static int msi_add(void *opaque, int eventfd, unsigned *handle, struct swo_error *err)
{
	return vmm_accel_msi_add(opaque, eventfd, handle, err);
}

static int msi_set(void *opaque, unsigned handle, uint64_t addr, uint32_t data, bool masked,
	struct swo_error *err)
{
	return vmm_accel_msi_set(opaque, handle, addr, data, masked, err);
}

static void msi_del(void *opaque, unsigned handle)
{
	vmm_accel_msi_del(opaque, handle);
}

static int map(
	void *opaque, unsigned slot, uint64_t gpa, uint64_t size, void *host, struct swo_error *err)
{
	return vmm_accel_map(opaque, slot, gpa, size, host, err);
}

/*
 * The bus is created after the accelerator, which needs its address: hence the detour through
 * m.
 */
static void mmio_read(void *opaque, uint64_t gpa, void *data, unsigned len)
{
	vmm_pci_mmio_read(((struct vmm_machine *)opaque)->pci, gpa, data, len);
}

static void mmio_write(void *opaque, uint64_t gpa, const void *data, unsigned len)
{
	vmm_pci_mmio_write(((struct vmm_machine *)opaque)->pci, gpa, data, len);
}

static void pio_read(void *opaque, uint16_t port, void *data, unsigned len)
{
	vmm_pci_pio_read(((struct vmm_machine *)opaque)->pci, port, data, len);
}

static void pio_write(void *opaque, uint16_t port, const void *data, unsigned len)
{
	vmm_pci_pio_write(((struct vmm_machine *)opaque)->pci, port, data, len);
}

/* A vCPU or a device that fails */

static void fail(void *opaque)
{
	struct vmm_machine *m = opaque;
	struct swo_error err;
	int rc;

	swo_log(SWO_LOG_ERROR, "%s: %s", m->name, m->fail_text);
	machine_migration_abort(m, m->fail_text);
	pthread_mutex_lock(&m->run_lock);
	if (machine_is_running(m))
		rc = machine_halt(m, SWO_RUN_STATE_INTERNAL_ERROR, SWO_ON_ERROR_CONTINUE, &err);
	else
		rc = swo_runstate_change(
			m->runstate, SWO_RUN_STATE_INTERNAL_ERROR, SWO_ON_ERROR_CONTINUE, &err);
	if (rc)
		swo_log(SWO_LOG_ERROR, "%s: %s", m->name, err.text);
	pthread_mutex_unlock(&m->run_lock);
}

void machine_failed(struct vmm_machine *m, const char *why)
{
	pthread_mutex_lock(&m->lock);
	const bool first = !atomic_load(&m->failing);

	if (first)
		snprintf(m->fail_text, sizeof(m->fail_text), "%s", why);
	/* The text is complete before this. */
	atomic_store(&m->failing, true);
	pthread_mutex_unlock(&m->lock);
	if (!first)
		return;
	m->fail_job.fn = fail;
	m->fail_job.opaque = m;
	swo_worker_submit(m->worker, &m->fail_job);
}

/* Called by a vCPU's thread, which cannot wait for itself. */
void machine_vcpu_failed(void *opaque, unsigned vcpu, const char *why)
{
	struct vmm_machine *m = opaque;
	char text[sizeof(m->fail_text)];

	snprintf(text, sizeof(text), "vCPU %u failed: %s", vcpu, why);
	machine_failed(m, text);
}

/* The parts */

static int make_board(struct vmm_machine *m, struct swo_error *err)
{
	struct vmm_accel_config config = {.kind = m->config.accel,
		.vcpus = m->config.vcpus,
		.ram = m->ram,
		.bus = {mmio_read, mmio_write, pio_read, pio_write, machine_vcpu_failed, m},
		.guest = m->config.guest};
	struct vmm_msi_ops msi = {msi_add, msi_set, msi_del, NULL};
	struct vmm_map_ops maps = {map, NULL};

	if (vmm_accel_create(&config, &m->accel, err))
		return -1;
	msi.opaque = maps.opaque = m->accel;
	if (vmm_pci_create(m->ram, &msi, &maps, &m->pci, err))
		return -1;
	for (unsigned i = 0; i < m->config.root_port_count; i++)
		if (vmm_pci_add_root_port(m->pci, m->config.root_ports[i], err))
			return -1;
	return 0;
}

static int assemble(struct vmm_machine *m, struct swo_error *err)
{
	enum swo_run_state state =
		m->config.incoming ? SWO_RUN_STATE_INMIGRATE : SWO_RUN_STATE_PRELAUNCH;

	m->runstate = swo_runstate_new(state);
	if (!m->runstate)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "run state");
	m->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->quit_fd < 0)
		return swo_error_set(err, SWO_E_NO_MEMORY, errno, "eventfd");
	if (swo_worker_create("machine", &m->worker, err) || make_ram(m, err) ||
		make_board(m, err) || machine_devices_connect(m, m->config.devices, err) ||
		vmm_pci_realize(m->pci, err) || machine_devices_watch_resets(m, true, err) ||
		machine_devices_follow(m, &m->setup, err) || machine_handlers_add(m, err) ||
		machine_stop_writes_add(m, err) || machine_host_events_start(m, err))
		return -1;
	if (m->config.incoming)
		return 0;
	if (vmm_accel_boot(m->accel, err) || machine_stop_writes_fit(m, err))
		return -1;
	return m->config.fill_ram ? vmm_accel_fill_ram(m->accel, err) : 0;
}

int vmm_machine_create(
	const struct vmm_machine_config *config, struct vmm_machine **out, struct swo_error *err)
{
	struct vmm_machine *m;

	if (check(config, err))
		return -1;
	m = calloc(1, sizeof(*m));
	if (!m)
		return swo_error_set(err, SWO_E_NO_MEMORY, ENOMEM, "machine");
	m->config = *config;
	m->hold = config->paused;
	m->quit_fd = -1;
	snprintf(m->name, sizeof(m->name), "%s", config->name ? config->name : "vm");
	pthread_mutex_init(&m->run_lock, NULL);
	pthread_mutex_init(&m->lock, NULL);
	swo_migration_params_init(&m->setup.params);
	m->setup.params.tls = config->tls;
	m->setup.params.insecure = config->insecure;
	m->setup.params.handover = config->handover;
	m->setup.multifd = true;
	m->setup.transitions = m->transitions = config->transitions;
	m->setup.join = m->join = config->join;
	if (assemble(m, err)) {
		vmm_machine_free(m);
		return -1;
	}
	m->config.name = m->name;
	m->config.devices = NULL;
	m->config.root_ports = NULL;
	*out = m;
	return 0;
}

int vmm_machine_launch(struct vmm_machine *m, struct swo_error *err)
{
	int rc = 0;

	pthread_mutex_lock(&m->run_lock);
	/* The monitor may have been faster. */
	if (!m->config.incoming && !m->hold && !machine_is_running(m))
		rc = machine_start(m, SWO_ON_ERROR_ROLLBACK, err);
	atomic_store(&m->launched, true);
	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

/* By hand */

static int refuse_stop(struct swo_migration_info *info, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_STATE, 0,
		"a switchover is in progress (%s); stop the VM on the host where it runs afterwards",
		swo_migration_status_name(info->status));
}

/* With run_lock held. */
static int stop(struct vmm_machine *m, struct swo_error *err)
{
	const enum swo_run_state state = swo_runstate_get(m->runstate);
	struct swo_migration_info info = {0};
	int rc;

	switch (state) {
	case SWO_RUN_STATE_RUNNING:
		rc = machine_halt(m, SWO_RUN_STATE_PAUSED, SWO_ON_ERROR_CONTINUE, err);
		if (rc && !machine_is_running(m))
			swo_error_prefix(err, "the VM is paused, with an error");
		return rc;
	case SWO_RUN_STATE_INMIGRATE:
	case SWO_RUN_STATE_PRELAUNCH:
		m->hold = true;
		return 0;
	case SWO_RUN_STATE_FINISH_MIGRATE:
		/* The migration decides whether it runs again. */
		vmm_machine_migration_info(m, &info);
		return refuse_stop(&info, err);
	default:
		return 0;
	}
}

int vmm_machine_stop(struct vmm_machine *m, struct swo_error *err)
{
	struct swo_migration_info info;

	/* At once, not after the arcs of the devices. */
	if (vmm_machine_migration_info(m, &info) && info.status == SWO_MIGRATION_DEVICE)
		return refuse_stop(&info, err);
	pthread_mutex_lock(&m->run_lock);
	int rc = stop(m, err);

	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

/* With run_lock held. */
static int cont(struct vmm_machine *m, struct swo_error *err)
{
	if (machine_is_running(m))
		return 0;
	if (machine_may_cont(m, err))
		return -1;
	m->hold = false;
	if (swo_runstate_get(m->runstate) == SWO_RUN_STATE_INMIGRATE)
		return 0; /* it runs when it has arrived */
	return machine_start(m, SWO_ON_ERROR_ROLLBACK, err)
		       ? swo_error_prefix(err, "the VM stays stopped")
		       : 0;
}

int vmm_machine_cont(struct vmm_machine *m, struct swo_error *err)
{
	pthread_mutex_lock(&m->run_lock);
	int rc = cont(m, err);

	pthread_mutex_unlock(&m->run_lock);
	return rc;
}

/* The end */

static int quit_refused(struct vmm_machine *m, struct swo_error *err)
{
	struct swo_migration_info info;
	bool is_source;

	pthread_mutex_lock(&m->lock);
	is_source = m->is_source && machine_is_migrating(m);
	pthread_mutex_unlock(&m->lock);
	if (!is_source || !vmm_machine_migration_info(m, &info) || !info.committed)
		return 0;
	return swo_error_set(err, SWO_E_STATE, 0,
		"migration %s is past its point of no return and in doubt (%s): this may be the only "
		"copy of the VM; resolve it with x-migrate-resolve, or quit with force",
		info.id, swo_migration_status_name(info.status));
}

int vmm_machine_quit(struct vmm_machine *m, bool force, struct swo_error *err)
{
	const uint64_t one = 1;

	if (!force && quit_refused(m, err))
		return -1;
	if (write(m->quit_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		return swo_error_set(err, SWO_E_IO, errno, "quit");
	return 0;
}

/* In the order of use: a thread that may use an object ends before it is freed. */
void vmm_machine_free(struct vmm_machine *m)
{
	struct swo_error err;

	if (!m)
		return;
	machine_host_events_stop(m);
	machine_migration_end(m);
	if ((m->accel && vmm_accel_pause(m->accel, swo_deadline_ms(TEARDOWN_MS), &err)) ||
		machine_devices_watch_resets(m, false, &err) ||
		(m->worker && !swo_worker_destroy(m->worker, swo_deadline_ms(TEARDOWN_MS)))) {
		swo_log(SWO_LOG_WARN, "%s: a thread hangs; leaking its memory", m->name);
		base_leak_hung(m);
		return;
	}
	vmm_pci_free(m->pci);
	vmm_accel_free(m->accel);
	machine_devices_free(m);
	if (m->runstate)
		swo_runstate_free(m->runstate);
	swo_ram_free(m->ram);
	swo_timeline_free(m->timeline);
	machine_fds_free(m);
	swo_close_fd(&m->quit_fd);
	pthread_mutex_destroy(&m->run_lock);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

const char *vmm_machine_accel(const struct vmm_machine *m)
{
	return vmm_accel_name(m->accel);
}

const char *vmm_machine_name(const struct vmm_machine *m)
{
	return m->name;
}

const char *vmm_machine_uuid(const struct vmm_machine *m)
{
	return m->config.uuid;
}

unsigned vmm_machine_vcpus(const struct vmm_machine *m)
{
	return m->config.vcpus;
}

int vmm_machine_vcpu_thread(const struct vmm_machine *m, unsigned vcpu)
{
	return vmm_accel_thread(m->accel, vcpu);
}

enum swo_run_state vmm_machine_state(struct vmm_machine *m)
{
	return swo_runstate_get(m->runstate);
}

struct swo_worker *vmm_machine_worker(struct vmm_machine *m)
{
	return m->worker;
}

int vmm_machine_quit_fd(const struct vmm_machine *m)
{
	return m->quit_fd;
}

unsigned vmm_machine_device_count(const struct vmm_machine *m)
{
	return m->device_count;
}

struct swo_device *vmm_machine_device(struct vmm_machine *m, unsigned index)
{
	return m->devices[index].dev;
}

void vmm_machine_device_address(const struct vmm_machine *m, unsigned index, char out[8])
{
	vmm_pci_address(m->devices[index].fn, out);
}
