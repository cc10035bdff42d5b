/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.c - checks that the VMM has supplied everything that one side of a migration needs. A
 * missing member is refused by name before the migration starts.
 */
#include "migration/internal.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct callback {
	const char *name;
	size_t offset;
	bool source, target;
	bool of_devices; /* only with a device */
} callbacks[] = {
#define CALLBACK(name) #name, offsetof(struct swo_vm_ops, name)
	{CALLBACK(layout), true, true, false},
	{CALLBACK(stop), true, false, false},
	{CALLBACK(start), true, true, false},
	{CALLBACK(set_state), true, true, false},
	{CALLBACK(machine_save), true, false, false},
	{CALLBACK(machine_load), false, true, false},
	{CALLBACK(config_save), true, false, true},
	{CALLBACK(config_load), false, true, true},
#undef CALLBACK
};

static const struct callback device_callbacks[] = {
#define CALLBACK(name) #name, offsetof(struct swo_device_ops, name)
	{CALLBACK(get_state), true, true, true},
	{CALLBACK(set_state), true, true, true},
	{CALLBACK(data_read), true, false, true},
	{CALLBACK(data_write), false, true, true},
	{CALLBACK(reset), true, true, true},
#undef CALLBACK
};

static bool is_set(const void *ops, size_t offset)
{
	void (*callback)(void);

	memcpy(&callback, (const char *)ops + offset, sizeof(callback));
	return callback;
}

static int missing(const char *member, const char *what, struct swo_error *err)
{
	return swo_error_set(err, SWO_E_INVALID, 0, "%s is missing: %s", member, what);
}

static int check_ops(const struct swo_vm *vm, bool is_source, struct swo_error *err)
{
	char member[48];

	if (!vm->ops)
		return missing("swo_vm.ops", "the VMM's callbacks", err);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(callbacks); i++) {
		const struct callback *c = &callbacks[i];

		if (!(is_source ? c->source : c->target) || (c->of_devices && !vm->device_count) ||
			is_set(vm->ops, c->offset))
			continue;
		snprintf(member, sizeof(member), "swo_vm_ops.%s", c->name);
		return missing(member, is_source ? "a source calls it" : "a target calls it", err);
	}
	return 0;
}

static int check_device(
	const struct swo_vm *vm, unsigned index, bool is_source, struct swo_error *err)
{
	const struct swo_device_ops *ops;
	struct swo_device *dev = vm->devices[index];
	char member[64];
	void *self;

	if (!dev)
		return swo_error_set(
			err, SWO_E_INVALID, 0, "swo_vm.devices[%u] is missing: it is NULL", index);
	ops = swo_device_backend(dev, &self);
	for (size_t i = 0; i < SWO_ARRAY_SIZE(device_callbacks); i++) {
		const struct callback *c = &device_callbacks[i];

		if (!(is_source ? c->source : c->target) || is_set(ops, c->offset))
			continue;
		snprintf(member, sizeof(member), "swo_device_ops.%s", c->name);
		return missing(member, swo_device_name(dev), err);
	}
	if (!swo_device_follows(dev, vm->runstate))
		return swo_error_set(err, SWO_E_INVALID, 0,
			"device %s does not follow the VM's run state: call swo_device_follow "
			"before the migration",
			swo_device_name(dev));
	return 0;
}

static int check_dirty_source(const struct swo_dirty_source *dirty, struct swo_error *err)
{
	if (!dirty)
		return missing("swo_vm.cpu_dirty",
			"without it a source that copies RAM does not find what vCPUs write", err);
	if (!dirty->start || !dirty->collect || !dirty->stop)
		return missing(!dirty->start	 ? "swo_dirty_source.start"
			       : !dirty->collect ? "swo_dirty_source.collect"
						 : "swo_dirty_source.stop",
			"a source that copies RAM calls it", err);
	return 0;
}

/* Two machines without one would always be equal. */
static int check_layout(const struct swo_vm *vm, struct swo_error *err)
{
	struct swo_buf text = SWO_BUF_INIT(WIRE_HELLO_MAX / 2);
	int rc = vm->ops->layout(vm->opaque, &text, err);

	if (!rc && (!text.len || !*text.data))
		rc = swo_error_set(err, SWO_E_INVALID, 0,
			"swo_vm_ops.layout returned an empty text: it must describe the machine");
	swo_buf_free(&text);
	return rc;
}

int migration_check_throttle(
	const struct swo_vm *vm, const struct swo_migration_params *params, struct swo_error *err)
{
	return params->converge.auto_converge && !vm->ops->throttle
		       ? missing("swo_vm_ops.throttle", "auto-converge calls it", err)
		       : 0;
}

int swo_vm_check(const struct swo_vm *vm, enum swo_side side,
	const struct swo_migration_params *params, struct swo_error *err)
{
	const bool is_source = side == SWO_SIDE_SOURCE;

	if (check_ops(vm, is_source, err))
		return -1;
	if (!vm->runstate)
		return missing("swo_vm.runstate", "the VM's run state", err);
	if (!vm->ram)
		return missing("swo_vm.ram", "the VM's memory", err);
	if (!swo_ram_count(vm->ram))
		return missing("swo_vm.ram", "it has no region", err);
	if (vm->device_count > SWO_DEVICES_MAX)
		return swo_error_set(err, SWO_E_INVALID, 0,
			"swo_vm.device_count is %u, but must be from 0 to %u", vm->device_count,
			SWO_DEVICES_MAX);
	if (vm->device_count && !vm->devices)
		return missing("swo_vm.devices", "the VM's devices", err);
	for (unsigned i = 0; i < vm->device_count; i++)
		if (check_device(vm, i, is_source, err))
			return -1;
	if (check_layout(vm, err))
		return -1;
	if (is_source && migration_check_throttle(vm, params, err))
		return -1;
	if (is_source && params->handover == SWO_HANDOVER_COPY)
		return check_dirty_source(vm->cpu_dirty, err);
	return 0;
}
