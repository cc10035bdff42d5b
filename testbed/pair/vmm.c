/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vmm.c - the VMMs of a pair, and their command lines.
 */
#include "testbed/pair/vmm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In the kernel lab QEMU runs in its own root folder, with the libraries of its Debian release. */
static const char *const in_root[] = {"/bin/chroot", "/qemu", NULL};
static const char *const under_exec[] = {
	"/bin/chroot", "/qemu", "/lab/bin/switchover", "exec", "--", NULL};

/* Its log, and "--", follow. */
static const char *const logged[] = {
	"/bin/chroot", "/qemu", "/lab/bin/switchover", "exec", "--log", NULL};

/* A guest without a boot device: its firmware does not access the devices. */
static const char *const diskless[] = {"-M", "pc,accel=tcg", "-cpu", "qemu64", "-m", "16",
	"-no-user-config", "-vga", "none", "-device", "isa-debugcon,iobase=0x402,chardev=boot",
	NULL};
/* As libvirt sets it. */
static const char *const sandboxed[] = {"-M", "pc,accel=tcg", "-cpu", "qemu64", "-m", "16",
	"-no-user-config", "-vga", "none", "-device", "isa-debugcon,iobase=0x402,chardev=boot",
	"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	NULL};
/* A guest that never runs. */
static const char *const standing[] = {
	"-machine", "q35,accel=kvm:tcg,memory-backend=ram", "-S", NULL};

const struct pair_vmm pair_vmms[] = {
	{.name = "switchover", .ours = true, .multifd = true},
	{.name = "switchover-prealloc", .ours = true, .multifd = true, .prealloc = true},
	{.name = "qemu", .prefix = in_root, .options = diskless},
	{.name = "qemu-multifd", .prefix = in_root, .options = diskless, .multifd = true},
	{.name = "qemu-exec", .prefix = under_exec, .options = diskless},
	{.name = "qemu-exec-multifd", .prefix = under_exec, .options = diskless, .multifd = true},
	{.name = "qemu-cdev", .prefix = in_root, .options = diskless, .cdev = true},
	{.name = "qemu-exec-cdev", .prefix = under_exec, .options = diskless, .cdev = true},
	{.name = "qemu-exec-sandbox", .prefix = under_exec, .options = sandboxed},
	{.name = "qemu-exec-daemon", .prefix = logged, .options = diskless, .daemon = true},
	{.name = "qemu-ram", .options = standing, .memfd = true, .multifd = true},
	{.name = "qemu-ram-prealloc",
		.options = standing,
		.memfd = true,
		.prealloc = true,
		.multifd = true},
};

const struct pair_vmm *pair_vmm_named(const char *name)
{
	for (size_t i = 0; i < SWO_ARRAY_SIZE(pair_vmms); i++)
		if (!strcmp(pair_vmms[i].name, name))
			return &pair_vmms[i];
	return NULL;
}

/* Command lines */

void pair_arg(struct pair_args *args, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	int rc = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (rc < 0 || args->count == PAIR_ARGS_MAX) {
		args->failed = true;
		if (rc >= 0)
			free(text);
		return;
	}
	args->argv[args->count++] = text;
}

int pair_args_spawn(
	struct pair_args *args, const char *name, const char *log, struct swo_error *err)
{
	int handle = args->failed ? swo_error_set(err, SWO_E_NO_MEMORY, 0, "arguments of %s", name)
				  : process_spawn(name, args->argv, log, err);

	for (size_t i = 0; i < args->count; i++)
		free((char *)args->argv[i]);
	return handle;
}

static void add_all(struct pair_args *args, const char *const *list)
{
	for (; list && *list; list++)
		pair_arg(args, "%s", *list);
}

/* switchover vm */

static void add_ours(const struct pair *pair, enum pair_side side, struct pair_args *args)
{
	const struct pair_config *config = pair->config;

	pair_arg(args, "%s/switchover", process_program_dir());
	pair_arg(args, "vm");
	pair_arg(args, "--accel=%s", config->accel);
	pair_arg(args, "--vcpus=%u", config->vcpus);
	pair_arg(args, "--ram=%s", config->ram);
	pair_arg(args, "--qmp=unix:%s/%s.qmp", pair->dir, pair_host(pair, side));
	pair_arg(args, "--journal=%s", pair->no_journal ? "none" : pair->dir);
	pair_arg(args, "--uuid=" PAIR_UUID);
	pair_arg(args, "--quiet");
	if (pair->paused)
		pair_arg(args, "--paused");
	if (config->prealloc || pair->vmm->prealloc)
		pair_arg(args, "--prealloc");
	if (config->fill_ram)
		pair_arg(args, "--fill-ram");
	if (config->handover)
		pair_arg(args, "--handover=%s", config->handover);
	pair_arg(args, "--transitions=%s", pair->transitions);
	if (config->join)
		pair_arg(args, "--join=%s", config->join);
	pair_arg(args, "--doorbell-period-us=%u", pair_doorbell_period_us(config, pair->vfs));
	pair_arg(args, "--doorbell-turns=%u", pair_doorbell_turns(config, pair->vfs));
	pair_arg(args, "--dirty-rate=%u", config->dirty_rate);
	pair_arg(args, "--dma-pages=%u", config->dma_pages);
	pair_arg(args, "--dma-rate=%u", config->dma_rate);
	/* One device has no sibling to write to. */
	pair_arg(args, "--p2p-rate=%u", pair->vfs > 1 ? config->p2p_rate : 0);
	pair_arg(args, "--irq-every=%u", config->irq_every);
	if (config->costs_file)
		pair_arg(args, "--costs=%s", config->costs_file);
	if (config->probed)
		pair_arg(args, "--probe=%s/" PAIR_PROBE, pair->dir);
	if (config->handler_cost_ms)
		pair_arg(args, "--handler-cost=%u", config->handler_cost_ms);
	if (config->stop_writes)
		pair_arg(args, "--stop-writes=%u", config->stop_writes);
	for (unsigned i = 0; i < config->root_ports; i++)
		pair_arg(args, "--root-port=rp%u", i);
}

static void add_our_device(
	const struct pair *pair, enum pair_side side, unsigned i, struct pair_args *args)
{
	char bus[24] = "", path[PAIR_PATH_MAX + 64];

	if (pair->config->root_ports)
		snprintf(bus, sizeof(bus), ",bus=rp%u", i % pair->config->root_ports);
	/* Type1 tracks by group only. */
	if (pair_is_pci(pair) || (pair_is_kernel(pair) && pair->config->no_dma_log)) {
		strcpy(path, "vfio,path=");
		pair_group_node(pair, side, i, path + strlen(path), sizeof(path) - strlen(path));
	} else if (pair_is_kernel(pair)) {
		strcpy(path, "vfio,path=");
		pair_kernel_path(pair, side, i, path + strlen(path));
	} else {
		snprintf(path, sizeof(path), "vfio-user,socket=%s/%s-vf%u", pair->dir,
			pair_host(pair, side), i);
	}
	pair_arg(args, "--device");
	pair_arg(args, "%s,id=vf%u%s%s%s", path, i, bus,
		pair->quiet_devices ? "" : ",migration-events=on",
		pair->device_options ? pair->device_options : "");
}

/* QEMU */

/*
 * The source's RAM can be filled from outside, and is mapped as if a guest had written it; the
 * target's is that of `-m` alone.
 */
static void add_memory(const struct pair *pair, enum pair_side side, struct pair_args *args)
{
	pair_arg(args, "-m");
	pair_arg(args, "%lluM", strtoull(pair->config->ram, NULL, 10) >> 20);
	pair_arg(args, "-object");
	pair_arg(args, "%s,id=ram,size=%s%s",
		side == PAIR_SOURCE ? "memory-backend-memfd,share=on" : "memory-backend-ram",
		pair->config->ram,
		side == PAIR_SOURCE || pair->vmm->prealloc ? ",prealloc=on" : "");
}

static void add_qemu(const struct pair *pair, enum pair_side side, struct pair_args *args)
{
	const char *host = pair_host(pair, side);

	if (pair->vmm->daemon) {
		/* The same as that of its output, which -daemonize sends to /dev/null. */
		pair_arg(args, "%s/%s.log", pair->dir, host);
		pair_arg(args, "--");
	}
	pair_arg(args, "%s", pair->qemu ? pair->qemu : "/usr/bin/qemu-system-x86_64");
	add_all(args, pair->vmm->options);
	add_all(args, (const char *const[]){"-nodefaults", "-display", "none", NULL});
	if (pair->vmm->memfd) {
		add_memory(pair, side, args);
	} else {
		pair_arg(args, "-chardev");
		pair_arg(args, "file,id=boot,path=%s/%s.boot", pair->dir, host);
	}
	pair_arg(args, "-qmp");
	pair_arg(args, "unix:%s/%s.qmp,server=on,wait=off", pair->dir, host);
	if (pair->vmm->daemon) {
		add_all(args, (const char *const[]){"-daemonize", "-pidfile", NULL});
		pair_arg(args, "%s/%s.pid", pair->dir, host);
	}
	if (pair->vmm->cdev)
		add_all(args, (const char *const[]){"-object", "iommufd,id=iommufd0", NULL});
}

static void add_qemu_device(
	const struct pair *pair, enum pair_side side, unsigned i, struct pair_args *args)
{
	char path[PAIR_PATH_MAX];

	pair_kernel_path(pair, side, i, path);
	pair_arg(args, "-device");
	/*
	 * Debian's kernels cannot report DMA logging (docs/kmod.md). Behind QEMU's emulated IOMMU, BARs
	 * of its own emulated functions cannot be mapped for DMA.
	 */
	pair_arg(args, "vfio-pci,id=vf%u,sysfsdev=%s,enable-migration=on%s%s%s", i, path,
		pair->vmm->cdev ? ",iommufd=iommufd0" : ",x-device-dirty-page-tracking=off",
		pair->vmm->multifd ? ",x-migration-multifd-transfer=on" : "",
		pair_is_pci(pair) ? ",x-no-mmap=on,vf-token=" PAIR_VF_TOKEN : "");
}

void pair_vmm_args(const struct pair *pair, enum pair_side side, struct pair_args *args)
{
	const bool ours = pair->vmm->ours;

	add_all(args, pair->vmm->prefix);
	(ours ? add_ours : add_qemu)(pair, side, args);
	for (unsigned i = 0; i < pair->vfs; i++)
		(ours ? add_our_device : add_qemu_device)(pair, side, i, args);
	if (side == PAIR_TARGET)
		add_all(args, ours ? (const char *const[]){"--incoming=defer", NULL}
				   : (const char *const[]){"-incoming", "defer", NULL});
}
